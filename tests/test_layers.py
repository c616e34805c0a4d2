"""The classes of layers, initial values, losses and optimizers."""

from __future__ import annotations

import copy
import inspect
import pickle
import re

import numpy as np
import pytest
from gradient_cases import LAYERS
from numpy_network import unchanged
from optimizer_cases import OPTIMIZERS
from tolerances import assert_close

import nnfast as nf
from nnfast import optimizers
from nnfast.initializers import NAMES as INITIALIZERS
from nnfast.losses import NAMES as LOSSES
from nnfast.losses import OutputLoss

ACTIVATIONS = ("identity", "step", "sigmoid", "tanh", "relu", "softmax")


def weights(shape, activation="identity", *, seed=0, **arguments):
    """The initial weights of one layer."""
    n_in, units = shape
    net = nf.Sequential([nf.Dense(units, activation, **arguments)], input_shape=n_in, dtype="float64", seed=seed)
    return net.params["W1"]


# ---- Dense


def test_attributes_and_repr_of_a_layer():
    layer = nf.Dense(50, activation="relu")
    assert (layer.units, layer.activation, layer.initializer) == (50, "relu", "he_normal")
    assert repr(layer) == "Dense(50, activation='relu')"
    assert repr(nf.Dense(2, initializer=0.5)) == "Dense(2, initializer=0.5)"
    assert repr(nf.Dense(2, initializer=np.eye(2))) == "Dense(2, initializer=array(...))"
    assert nf.Dense(np.int64(3)).units == 3


def test_a_layer_does_not_change():
    """Its network was compiled from it, and so is each copy of the network."""
    layer = nf.Dense(3)
    message = "^a layer is a description and does not change: make a new Dense with another units"
    with pytest.raises(AttributeError, match=message):
        layer.units = 4
    assert layer.units == 3


@pytest.mark.parametrize("units", [0, -1])
def test_units_are_positive(units):
    with pytest.raises(ValueError, match=rf"^units must be at least 1, got {units}$"):
        nf.Dense(units)


@pytest.mark.parametrize("units", [2.0, "2", None, True, [2]])
def test_units_are_an_integer(units):
    with pytest.raises(TypeError, match="^units must be an integer, got"):
        nf.Dense(units)


def test_activations_are_named():
    for name in ACTIVATIONS:
        assert nf.Dense(2, name).activation == name
    with pytest.raises(ValueError, match=r"^activation must be one of 'identity', .*'relu'.*, got 'ReLU'$"):
        nf.Dense(2, "ReLU")
    with pytest.raises(TypeError, match=r"^activation must be a name or an object of nnfast.activations, got None"):
        nf.Dense(2, None)


def test_softmax_on_one_unit_is_refused_with_the_right_pairing():
    with pytest.raises(ValueError, match=r"softmax on one unit is always 1: use Dense\(1, activation='sigmoid'\)"):
        nf.Dense(1, "softmax")


def test_the_rest_of_a_layer_is_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        nf.Dense(2, "relu", "he_normal")


# ---- initial values

# The standard deviation of each initializer, as a function of n_in and n_out.
DEVIATIONS = {
    "glorot": lambda n_in, n_out: np.sqrt(2 / (n_in + n_out)),
    "he": lambda n_in, n_out: np.sqrt(2 / n_in),
    "lecun": lambda n_in, n_out: np.sqrt(1 / n_in),
}
MANY = (400, 250)  # 100,000 weights: their sample deviation is accurate to a quarter of a percent


def test_the_names_of_initializers():
    assert set(INITIALIZERS) == {f"{name}_{shape}" for name in DEVIATIONS for shape in ("uniform", "normal")}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initial_weights_have_the_distribution_of_their_name(name):
    w = weights(MANY, initializer=name).ravel()
    deviation = DEVIATIONS[name.split("_")[0]](*MANY)
    in_units = w / deviation
    errors = 5 / np.sqrt(w.size)  # five standard errors, for numbers with standard deviation one
    assert abs(in_units.mean()) < errors
    assert abs(in_units.std() - 1) < errors
    if name.endswith("uniform"):
        limit = np.sqrt(3)
        assert limit * (1 - 100 / w.size) < np.abs(in_units).max() <= limit
        within = {limit / 4: 1 / 4, limit / 2: 1 / 2}
    else:
        assert 4 < np.abs(in_units).max() < 6
        within = {1: 0.6826895, 2: 0.9544997}
    for bound, part in within.items():
        assert abs(np.mean(np.abs(in_units) < bound) - part) < errors
    assert abs(np.corrcoef(w[:-1], w[1:])[0, 1]) < errors


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_default_is_he_for_relu_and_glorot_otherwise(activation):
    name = "he_normal" if activation == "relu" else "glorot_uniform"
    np.testing.assert_array_equal(weights((30, 20), activation), weights((30, 20), activation, initializer=name))


def test_a_number_is_a_standard_deviation():
    w = weights(MANY, initializer=0.01).ravel() / 0.01
    assert abs(w.mean()) < 5 / np.sqrt(w.size)
    assert abs(w.std() - 1) < 5 / np.sqrt(w.size)
    assert 4 < np.abs(w).max() < 6, "a normal distribution"
    assert not weights((3, 4), initializer=0).any()


def test_an_array_is_the_weights_themselves():
    values = np.arange(6.0).reshape(2, 3)
    layer = nf.Dense(3, initializer=values, bias_initializer=[1, 2, 3])
    net = nf.Sequential([layer], input_shape=2)
    np.testing.assert_array_equal(net.params["W1"], values)
    np.testing.assert_array_equal(net.params["b1"], [1, 2, 3])
    np.testing.assert_array_equal(
        nf.Sequential([nf.Dense(1, initializer=[[3], [4]])], input_shape=2).params["W1"], [[3], [4]]
    )
    with pytest.raises(ValueError, match=r"^initializer must have shape \(5, 3\), got \(2, 3\)"):
        nf.Sequential([layer], input_shape=5)


def test_a_layer_keeps_its_own_copy_of_initial_arrays():
    w, b = np.zeros((2, 3)), np.zeros(3)
    layer = nf.Dense(3, initializer=w, bias_initializer=b)
    w += 1
    b += 1
    net = nf.Sequential([layer], input_shape=2)
    assert not net.params["W1"].any()
    assert not net.params["b1"].any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_biases_are_zero_or_as_given(dtype):
    net = nf.Sequential([nf.Dense(3), nf.Dense(2, bias_initializer=0.25)], input_shape=4, dtype=dtype)
    np.testing.assert_array_equal(net.params["b1"], np.zeros(3))
    np.testing.assert_array_equal(net.params["b2"], [0.25, 0.25])


@pytest.mark.parametrize("bias", [[1.0, 2.0], np.zeros((3, 1)), np.zeros((1, 3))])
def test_biases_are_not_broadcast(bias):
    with pytest.raises(ValueError, match="^bias_initializer must have"):
        nf.Dense(3, bias_initializer=bias)


@pytest.mark.parametrize("bias", [np.nan, [1, 2, np.inf]])
def test_biases_are_finite(bias):
    with pytest.raises(ValueError, match="^bias_initializer must be finite"):
        nf.Dense(3, bias_initializer=bias)


def test_biases_are_numbers():
    with pytest.raises(TypeError, match="^bias_initializer must hold real numbers, got 'zeros'"):
        nf.Dense(3, bias_initializer="zeros")


def test_unknown_initializers():
    with pytest.raises(ValueError, match=r"^initializer must be one of 'glorot_uniform', .*'lecun_normal', got 'he'$"):
        nf.Dense(2, initializer="he")
    with pytest.raises(ValueError, match="^initializer is a standard deviation and must not be negative, got -1"):
        nf.Dense(2, initializer=-1)
    with pytest.raises(ValueError, match="^initializer must be finite"):
        nf.Dense(2, initializer=np.nan)
    for wrong in (True, object(), ["he_normal"], np.zeros((2, 2), complex)):
        with pytest.raises(TypeError, match="^initializer must be a name, a standard deviation or an array"):
            nf.Dense(2, initializer=wrong)
    with pytest.raises(ValueError, match="^initializer must"):
        nf.Dense(2, initializer=[[1.0, 2.0], [3.0]])


def test_layers_draw_one_after_another_from_one_stream():
    net = nf.Sequential([nf.Dense(4), nf.Dense(4)], input_shape=4, seed=1)
    assert not np.array_equal(net.params["W1"], net.params["W2"])
    rounded = nf.Sequential([nf.Dense(4), nf.Dense(4)], input_shape=4, seed=1, dtype="float64").flat_params.astype("f4")
    np.testing.assert_array_equal(net.flat_params, rounded, "the dtype only rounds the values")


# ---- losses


@pytest.mark.parametrize(
    ("activation", "loss"),
    [
        ("softmax", "cross_entropy"),
        ("sigmoid", "binary_cross_entropy"),
        ("identity", "mean_squared_error"),
        ("tanh", "mean_squared_error"),
        ("relu", "mean_squared_error"),
        ("step", "mean_squared_error"),
    ],
)
def test_the_default_loss_belongs_to_the_last_activation(activation, loss):
    assert nf.Sequential([nf.Dense(3, "relu"), nf.Dense(2, activation)]).loss_name == loss


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", ["mean_squared_error", "sum_squared_error"])
def test_squared_errors_fit_any_output(activation, loss):
    assert nf.Sequential([nf.Dense(2, activation)], loss=loss).loss_name == loss


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "softmax"])
def test_cross_entropy_needs_softmax(activation):
    message = (
        f"^loss 'cross_entropy' needs an output layer with activation 'softmax' or 'log_softmax', got '{activation}'$"
    )
    with pytest.raises(ValueError, match=message):
        nf.Sequential([nf.Dense(2, activation)], loss="cross_entropy")


def test_cross_entropy_on_one_output_names_the_pair_for_two_classes():
    with pytest.raises(
        ValueError, match=r"got 'sigmoid' \(for one output, use 'binary_cross_entropy' with 'sigmoid'\)$"
    ):
        nf.Sequential([nf.Dense(1, "sigmoid")], loss="cross_entropy")


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "sigmoid"])
def test_binary_cross_entropy_needs_sigmoid(activation):
    message = f"^loss 'binary_cross_entropy' needs an output layer with activation 'sigmoid', got '{activation}'"
    with pytest.raises(ValueError, match=message) as caught:
        nf.Sequential([nf.Dense(2, activation)], loss="binary_cross_entropy")
    assert ("with softmax, use 'cross_entropy'" in str(caught.value)) == (activation == "softmax")


@pytest.mark.parametrize("loss", ["mse", "categorical_crossentropy", ""])
def test_unknown_losses(loss):
    message = re.escape(f"loss must be one of {', '.join(map(repr, LOSSES))}, got {loss!r}")
    with pytest.raises(ValueError, match=f"^{message}$"):
        nf.Sequential([nf.Dense(2)], loss=loss)


@pytest.mark.parametrize("loss", [0, 1, False, []])
def test_a_loss_is_a_name(loss):
    with pytest.raises(TypeError, match="^loss must be one of"):
        nf.Sequential([nf.Dense(2)], loss=loss)


def test_losses_average_over_what_they_say():
    """Two rows, two outputs; errors 1, 2, 3, 4."""
    y = np.array([[1.0, 2.0], [3.0, 4.0]])
    nets = {
        loss: nf.Sequential([nf.Dense(2, initializer=0)], input_shape=1, loss=loss)
        for loss in ("mean_squared_error", "sum_squared_error")
    }
    assert nets["mean_squared_error"].loss([[0.0], [0.0]], y) == 30 / 4
    assert nets["sum_squared_error"].loss([[0.0], [0.0]], y) == 30 / 2 / 2
    logits = nf.Sequential([nf.Dense(2, "softmax", initializer=0)], input_shape=1, dtype="float64")
    assert_close(logits.loss([[0.0], [0.0]], [0, 1]), np.log(2))
    binary = nf.Sequential([nf.Dense(2, "sigmoid", initializer=0)], input_shape=1, dtype="float64")
    assert_close(binary.loss([[0.0], [0.0]], [[0, 1], [1, 0]]), np.log(2))


def test_losses_from_logits_stay_finite_and_exact_where_probabilities_end():
    net = nf.Sequential([nf.Dense(2, "softmax", initializer=[[1.0, -1.0]])], input_shape=1)
    assert net.loss([[5000.0]], [1]) == 10000
    assert net.loss([[5000.0]], [0]) == 0
    assert net.gradient([[5000.0]], [1])["b1"].tolist() == [1, -1]
    binary = nf.Sequential([nf.Dense(1, "sigmoid", initializer=[[1.0]])], input_shape=1)
    assert binary.loss([[5000.0]], [0]) == 5000
    assert binary.gradient([[5000.0]], [0])["b1"].tolist() == [1]


# how accuracy is counted: the fused loss only has logits
@pytest.mark.parametrize(
    ("name", "activation", "targets", "counts"),
    [
        (None, "softmax", [[1, 0]], "classes"),
        ("mean_squared_error", "softmax", [[1, 0]], "classes"),
        (None, "sigmoid", [[1, 0]], 0.0),
        ("mean_squared_error", "sigmoid", [[1, 0]], 0.5),
        ("mean_squared_error", "sigmoid", [[1, 0.25]], None),
        (None, "step", [[1, 0]], 0.5),
        (None, "identity", [[1, 0]], None),
        (None, "tanh", [[1, 0]], None),
    ],
)
def test_what_counts_as_right(name, activation, targets, counts):
    output, targets = OutputLoss(name, activation, 2), np.array(targets, np.float32)
    misfit = nf.metrics.Accuracy().misfit(output, targets)
    assert (None if misfit else output.answers) == counts


# ---- optimizers


KINDS = tuple(optimizers.OPTIMIZERS.values())
NAMES = ", ".join(map(repr, optimizers.NAMES))


def test_defaults_are_those_of_the_source():
    """Where it is not PyTorch, whose defaults are compared in test_torch_optimizers.py."""
    for name, row in OPTIMIZERS.items():
        optimizer = optimizers.OPTIMIZERS[name]()
        assert {field: getattr(optimizer, field) for field in row.defaults} == row.defaults
    assert any(row.defaults for row in OPTIMIZERS.values())


@pytest.mark.parametrize("kind", KINDS)
def test_hyperparameters_are_the_arguments_of_an_optimizer(kind):
    first, *others = inspect.signature(kind).parameters.values()
    assert tuple(kind.fields) == (first.name, *(p.name for p in others))
    assert all(p.kind is p.KEYWORD_ONLY for p in others)
    assert kind(0.5).learning_rate == 0.5
    assert kind.__name__ in nf.__all__


def test_optimizers_show_what_differs_from_their_defaults():
    assert repr(nf.SGD()) == "SGD(learning_rate=0.001)"
    assert repr(nf.Adam(0.5, beta2=0.9, clip_norm=2)) == "Adam(learning_rate=0.5, beta2=0.9, clip_norm=2)"
    sgd = nf.SGD()
    sgd.momentum = 0.5
    sgd.values()
    assert repr(sgd) == "SGD(learning_rate=0.001, momentum=0.5)"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0, -0.1, np.nan, np.inf])
def test_learning_rates_are_positive_and_finite(kind, rate):
    with pytest.raises(ValueError, match=rf"^learning_rate must be a finite number in \(0.0, inf\), got {float(rate)}"):
        kind(rate)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", ["0.1", None, True, [0.1]])
def test_learning_rates_are_numbers(kind, rate):
    with pytest.raises(TypeError, match="^learning_rate must be a number, got"):
        kind(rate)


def those_with(*names):
    """Each optimizer with each of these hyperparameters that it has."""
    return [(kind, name) for name in names for kind in KINDS if name in kind.fields]


@pytest.mark.parametrize(("kind", "name"), those_with("beta1", "beta2", "alpha", "rho", "momentum", "average_decay"))
def test_decays_are_below_one(kind, name):
    assert getattr(kind(**{name: 0.0}), name) == 0
    with pytest.raises(ValueError, match=f"^{name} must be below 1, got 1.0"):
        kind(**{name: 1.0})
    for wrong in (-0.1, 1.5, np.nan):
        with pytest.raises(ValueError, match=rf"^{name} must be a finite number in \[0.0, 1.0\], got {wrong}"):
            kind(**{name: wrong})
    with pytest.raises(TypeError, match=f"^{name} must be a number, got '0.9'"):
        kind(**{name: "0.9"})


@pytest.mark.parametrize(("kind", "name"), those_with("epsilon", "clip_value", "clip_norm"))
@pytest.mark.parametrize("wrong", [0.0, -1e-8, np.inf, np.nan])
def test_what_is_positive(kind, name, wrong):
    with pytest.raises(ValueError, match=rf"^{name} must be a finite number in \(0.0, inf\), got {wrong}"):
        kind(**{name: wrong})
    with pytest.raises(TypeError, match=f"^{name} must be a number, got '1'"):
        kind(**{name: "1"})


@pytest.mark.parametrize(
    ("kind", "name"),
    those_with("weight_decay", "learning_rate_decay", "initial_accumulator_value", "momentum_decay"),
)
@pytest.mark.parametrize("wrong", [-0.1, np.inf, np.nan])
def test_what_is_not_negative(kind, name, wrong):
    assert getattr(kind(**{name: 0}), name) == 0
    with pytest.raises(ValueError, match=rf"^{name} must be a finite number in \[0.0, inf\], got {wrong}"):
        kind(**{name: wrong})
    with pytest.raises(TypeError, match=f"^{name} must be a number, got None"):
        kind(**{name: None})


@pytest.mark.parametrize(
    ("kind", "name"),
    those_with("nesterov", "amsgrad", "corrected_epsilon", "centered", "decoupled_weight_decay", "decay_biases"),
)
def test_what_is_true_or_false(kind, name):
    with pytest.raises(TypeError, match=f"^{name} must be True or False, got 1"):
        kind(**{name: 1})


def test_what_needs_a_momentum():
    for dampening in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"^dampening must be a finite number in \[0.0, 1.0\], got"):
            nf.SGD(momentum=0.9, dampening=dampening)
    assert nf.SGD(momentum=0.9, dampening=1).dampening == 1
    message = "^dampening needs a momentum above 0, got dampening=0.5, momentum=0.0"
    with pytest.raises(ValueError, match=message):
        nf.SGD(dampening=0.5)
    message = "^nesterov needs a momentum above 0 and no dampening, got momentum="
    with pytest.raises(ValueError, match=message + "0.0, dampening=0.0"):
        nf.SGD(nesterov=True)
    with pytest.raises(ValueError, match=message + "0.9, dampening=0.5"):
        nf.SGD(momentum=0.9, dampening=0.5, nesterov=True)


def test_checked_values_are_kept_until_something_changes():
    sgd = nf.SGD(0.5)
    values = sgd.values(np.dtype("float32"))
    assert sgd.values(np.dtype("float32")) is values
    sgd.learning_rate = 0.25
    assert sgd.values(np.dtype("float32")).learning_rate == 0.25
    with pytest.raises(ValueError, match="^learning_rate must be from"):
        nf.SGD(1e-39).values(np.dtype("float32"))  # fits float64
    for twin in (copy.copy(sgd), copy.deepcopy(sgd), pickle.loads(pickle.dumps(sgd))):
        assert repr(twin) == repr(sgd)
        twin.learning_rate = 1.0
        assert (twin.values().learning_rate, sgd.values().learning_rate) == (1.0, 0.25)
    rate = np.array(0.5)
    sgd.learning_rate = rate  # may change without a check
    assert sgd.values().learning_rate == 0.5
    rate[...] = 0.125
    assert sgd.values().learning_rate == 0.125


@pytest.mark.parametrize("method", ["fit", "train_step", "update"])
@pytest.mark.parametrize(
    ("optimizer", "name"),
    [
        (nf.SGD(1e39), "learning_rate"),
        (nf.SGD(1e-46), "learning_rate"),
        (nf.Adam(1e-39), "learning_rate"),
        (nf.Adam(epsilon=1e-40), "epsilon"),
        (nf.Adam(epsilon=1e39), "epsilon"),
        (nf.SGD(weight_decay=1e-39), "weight_decay"),
        (nf.NAdam(clip_value=1e-39), "clip_value"),
        (nf.RMSprop(clip_norm=1e39), "clip_norm"),
    ],
)
def test_hyperparameters_must_fit_the_network(method, optimizer, name):
    """In float32, which has a smaller range than Python's numbers."""
    for dtype in ("float32", "float64"):
        net = nf.Sequential([nf.Dense(1)], input_shape=2, dtype=dtype, seed=0)
        net.forward([[1.0, 2.0]], training=True)
        net.backward([[1.0]])
        data = () if method == "update" else ([[1.0, 2.0]], [3.0])
        if dtype == "float64":
            getattr(net, method)(*data, optimizer=optimizer)
            continue
        with unchanged(net), pytest.raises(ValueError, match=f"^{name} must be from 1.18e-38 to .* of float32, got"):
            getattr(net, method)(*data, optimizer=optimizer)
        net.update("sgd")  # the gradients are still there
    with pytest.raises(ValueError, match="^learning_rate must be from"):
        nf.SGD(5e-324)  # fits every network


def test_misspelt_hyperparameters_are_refused():
    sgd, adam = nf.SGD(), nf.Adam()
    with pytest.raises(AttributeError, match="^SGD has no hyperparameter 'lr': there are learning_rate, momentum, "):
        sgd.lr = 5
    message = "^Adam has no hyperparameter 'beta_1': there are learning_rate, beta1, beta2, epsilon, "
    with pytest.raises(AttributeError, match=message):
        adam.beta_1 = 0.5
    sgd.learning_rate = adam.beta1 = 0.5
    assert (sgd.values().learning_rate, adam.values().beta1) == (0.5, 0.5)

    class Decaying(nf.SGD):
        def __init__(self):
            super().__init__(0.5)
            self.decay = 0.1

    assert Decaying().values() == sgd.values()


def test_optimizers_that_the_engine_does_not_know():
    message = f"^{re.escape('optimizer must be an optimizer, such as nf.SGD(0.1), or one of')} {NAMES}, got "
    with pytest.raises(TypeError, match=message + r"Optimizer\(learning_rate=0.1\)"):
        nf.optimizers.Optimizer(0.1)

    class Momentum(nf.optimizers.Optimizer):
        kind = "momentum"

    class Renamed(nf.SGD):
        kind = "momentum"

        def __init__(self):
            self.learning_rate = 0.1

    with pytest.raises(TypeError, match=message + "Momentum"):
        Momentum(0.1)
    net = nf.Sequential([nf.Dense(1)], seed=0)
    with unchanged(net), pytest.raises(TypeError, match=message + "Renamed"):
        net.fit([[1.0, 2.0]], [3.0], optimizer=Renamed())
    assert net.input_shape is None


def test_the_decays_of_adam_are_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        nf.Adam(0.1, 0.9)


def test_optimizers_by_name_mean_the_defaults():
    nets = [nf.Sequential([nf.Dense(1)], input_shape=2, seed=0) for _ in range(2)]
    for name, kind in optimizers.OPTIMIZERS.items():
        for net, optimizer in zip(nets, (name, kind()), strict=True):
            net.train_step([[1.0, 2.0]], [3.0], optimizer)
        np.testing.assert_array_equal(nets[0].flat_params, nets[1].flat_params)


@pytest.mark.parametrize("method", ["fit", "train_step", "update"])
def test_unknown_optimizers(method):
    net = nf.Sequential([nf.Dense(1)], input_shape=2, seed=0)
    data = () if method == "update" else ([[1.0, 2.0]], [3.0])
    with pytest.raises(ValueError, match=f"^optimizer must be one of {NAMES}, got 'SGD'"):
        getattr(net, method)(*data, optimizer="SGD")
    for wrong in (None, 0.1, nf.SGD):
        with pytest.raises(TypeError, match="^optimizer must be an optimizer, such as nf.SGD"):
            getattr(net, method)(*data, optimizer=wrong)


# ---- numbers that a dtype cannot represent


@pytest.mark.parametrize(
    ("layer", "number"),
    [
        (nf.LayerNorm(epsilon=1e-50), "1e-50"),
        (nf.BatchNorm(epsilon=1e-300), "1e-300"),
        (nf.Activation(nf.activations.LeakyReLU(1e300)), r"1e\+300"),
        (nf.Rescaling(1e200), r"1e\+200"),
        (nf.Dense(2, l2=1e-60), "1e-60"),
    ],
    ids=repr,
)
def test_numbers_that_float32_cannot_hold(layer, number):
    with pytest.raises(
        ValueError, match=rf"^layers\[0\] has the number {number}, but float32 only holds numbers from 1.18e-38"
    ):
        nf.Sequential([layer], input_shape=2)
    nf.Sequential([layer], input_shape=2, dtype="float64")


def test_losses_that_float32_cannot_hold():
    with pytest.raises(ValueError, match=r"^loss Huber\(delta=1e-50\) has the number 1e-50, but float32"):
        nf.Sequential([nf.Dense(1)], input_shape=2, loss=nf.losses.Huber(1e-50))


def test_residuals_deep_within_each_other():
    layer = nf.Dense(2)
    for _ in range(100):
        layer = nf.Residual([layer])
    assert nf.Sequential([layer, nf.Dense(1)], input_shape=2).predict([[1.0, 2.0]]).shape == (1, 1)
    with pytest.raises(ValueError, match="^residual layers must be at most 100 deep within each other, got 101"):
        nf.Residual([layer])


def test_the_average_of_frozen_layers_is_what_they_are():
    net = nf.Sequential([nf.Dense(3, trainable=False), nf.Dense(1)], input_shape=2, seed=0)
    x, y = [[1.0, 2.0], [3.0, 4.0]], [1.0, 2.0]
    optimizer = nf.SGD(0.01, average_decay=0.5)
    net.train_step(x, y, optimizer)
    net.params["W1"] = np.full((2, 3), 7.0)
    net.train_step(x, y, optimizer)
    average = net.averaged()
    assert (average.params["W1"] == 7).all()
    assert not (average.params["W2"] == net.params["W2"]).all()


# ---- equality


def test_layers_compare_by_value():
    def layers():
        return [
            nf.Dense(2),
            nf.Dense(3),
            nf.Dense(2, "relu"),
            nf.Dense(2, nf.activations.LeakyReLU(0.2)),
            nf.Dense(2, use_bias=False),
            nf.Dense(2, l2=0.5),
            nf.Dense(2, initializer=0.5),
            nf.Dense(2, initializer=[[1.0, 2.0]]),
            nf.Dense(2, initializer=[[1.0], [2.0]]),
            nf.Dense(2, bias_initializer=[1.0, 2.0]),
            nf.BatchNorm(),
            nf.LayerNorm(),
            *(make(3) for make in LAYERS.values()),
            nf.Residual([nf.Dense(2)]),
            nf.Residual([nf.Dense(2), nf.Dense(2)]),
        ]

    for i, one in enumerate(layers()):
        for j, other in enumerate(layers()):
            assert (one == other) == (i == j)
            assert (hash(one) == hash(other)) == (i == j)
    assert len({*layers(), *layers()}) == len(layers())
    assert nf.Dense(2, bias_initializer=-0.0) == nf.Dense(2, bias_initializer=0.0)
    assert hash(nf.Dense(2, bias_initializer=-0.0)) == hash(nf.Dense(2, bias_initializer=0.0))
    assert nf.Dense(2, initializer=np.ones((1, 2), "f4")) == nf.Dense(2, initializer=[[1, 1]])
    assert nf.Dense(2, "relu") == nf.Dense(2, "relu", initializer="he_normal")
    assert nf.Dense(2) != "Dense(2)"


def test_optimizers_compare_by_value_and_may_change():
    one, other = nf.SGD(0.1, momentum=0.9), nf.SGD(0.1, momentum=0.9)
    one.values()
    assert one == other
    other.momentum = 0.5
    assert one != other
    assert nf.Adam(0.1) != nf.AdamW(0.1, weight_decay=0.0)
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)


def test_names_that_are_numpy_strings_show_as_plain_ones():
    assert repr(nf.schedules.Constant(0.1, by=np.str_("epoch"))).endswith("by='epoch')")
