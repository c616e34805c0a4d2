"""Penalties in the sum of the rows' losses, which are divided by the sum of the rows' weights: as in scikit-learn."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest
from numpy_network import NumpyNetwork, book_gradient, state
from tolerances import assert_close

import nnfast as nf

RNG = np.random.default_rng(0)
N = 22
X = RNG.normal(size=(N, 3)) * (RNG.random((N, 3)) < 0.8)
Y = RNG.normal(size=(N, 2))
WEIGHTS = np.where(np.arange(N) % 5 == 2, 0.0, 0.5 + np.arange(N) % 3)
BOTH = pytest.mark.parametrize("penalty", ["mean", "sum"])


def layers(penalty="sum", l1=0.05, l2=0.1):
    return [
        nf.Dense(5, "tanh", l1=l1, l2=l2, penalty=penalty),
        nf.LayerNorm(epsilon=0.1, l2=l2, penalty=penalty),
        nf.Scale(l1=l1, penalty=penalty),
        nf.Dense(2, l2=3 * l2),  # in the mean
    ]


def make(penalty="sum", dtype="float64", **options):
    return nf.Sequential(layers(penalty, **options), input_shape=3, dtype=dtype, seed=1)


def bare(net):
    """The same network without penalties."""
    other = nf.Sequential(layers(l1=0.0, l2=0.0), input_shape=3, dtype=str(net.dtype), seed=1)
    other.flat_params[:] = net.flat_params
    return other


def penalties(net):
    """Those in the sum, and those in the mean."""
    p = net.params
    in_sum = 0.05 * np.abs(p["W1"]).sum() + 0.1 * (p["W1"] ** 2).sum()
    in_sum += 0.1 * (p["gamma1"] ** 2).sum() + 0.05 * np.abs(p["gamma2"]).sum()
    return in_sum, 0.3 * (p["W2"] ** 2).sum()


# ---- the loss and its gradient


def test_by_hand():
    """One weight: the squared errors of 2 * x - y are 1, 1 and 4; the penalty is 0.5 * 2 + 0.25 * 4 = 2."""
    x, y = np.array([[1.0], [2.0], [1.0]]), np.array([[1.0], [3.0], [4.0]])
    layer = nf.Dense(1, use_bias=False, initializer=[[2.0]], l1=0.5, l2=0.25, penalty="sum")
    net = nf.Sequential([layer], input_shape=1, dtype="float64")
    assert net.loss(x, y) == (1 + 1 + 4 + 2) / 3
    assert net.loss(x, y, sample_weight=[2.0, 1.0, 0.5]) == (2 + 1 + 2 + 2) / 3.5
    # derivatives of the squared errors: 2, 4, -4; of the penalty: 0.5 + 2 * 0.25 * 2
    assert net.gradient(x, y)["W1"] == (2 + 4 - 4 + 1.5) / 3
    weighted = (2 * 2 + 4 - 0.5 * 4 + 1.5) / 3.5
    assert net.gradient(x, y, sample_weight=[2.0, 1.0, 0.5])["W1"] == weighted
    assert net.train_step(x, y, optimizer=nf.SGD(1.0), sample_weight=[2.0, 1.0, 0.5]) == (2 + 1 + 2 + 2) / 3.5
    assert net.params["W1"] == 2 - weighted


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loss_is_divided_by_the_weights_of_all_rows(dtype, weights):
    net = make(dtype=dtype)
    in_sum, in_mean = penalties(net)
    expected = (
        bare(net).loss(X, Y, sample_weight=weights) + in_sum / (N if weights is None else weights.sum()) + in_mean
    )
    assert_close(np.asarray(net.loss(X, Y, sample_weight=weights), dtype), expected, scale=10.0)
    assert net.evaluate(X, Y, sample_weight=weights)["loss"] == net.loss(X, Y, sample_weight=weights)
    assert_close(np.asarray(net.loss(X, Y, sample_weight=weights, training=True), dtype), expected, scale=10.0)


@BOTH
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
def test_gradients_are_numerical_ones(penalty, weights):
    net = make(penalty)
    found = net.gradient(X, Y, sample_weight=weights)
    numerical = net.numerical_gradient(X, Y, sample_weight=weights)
    for name, gradient in found.items():
        book = book_gradient(lambda: net.loss(X, Y, sample_weight=weights), net.params[name], 1e-5)
        for other in (book, numerical[name]):
            assert_close(gradient, other, scale=1 + np.abs(other), kind="difference")
    assert net.check_gradient(X, Y, sample_weight=weights)


def test_a_loss_of_the_users_own_has_the_same_penalties():
    def squares(outputs, targets, sample_weight=None):
        w = np.ones(len(outputs)) if sample_weight is None else sample_weight
        error = outputs - targets
        scale = (w / w.sum() / error.shape[1])[:, None]
        return float((scale * error**2).sum()), (2 * scale * error).astype(outputs.dtype)

    net = make()
    own = nf.Sequential(layers(), input_shape=3, dtype="float64", loss=squares, seed=1)
    assert_close(own.loss(X, Y, sample_weight=WEIGHTS), net.loss(X, Y, sample_weight=WEIGHTS), scale=10.0)
    assert own.check_gradient(X, Y, sample_weight=WEIGHTS)
    own.train_step(X, Y, sample_weight=WEIGHTS)
    net.train_step(X, Y, sample_weight=WEIGHTS)
    assert_close(own.flat_params, net.flat_params, scale=np.full(net.n_parameters, 10.0))


def test_backward_knows_no_penalties():
    net = make()
    net.backward(2 * (net.forward(X, training=True) - Y) / Y.size)
    for name, gradient in bare(net).gradient(X, Y).items():
        assert_close(net.grads[name], gradient, scale=np.full(gradient.shape, 10.0))


# ---- training


@BOTH
@pytest.mark.parametrize("clip_norm", [None, 0.5])
@pytest.mark.parametrize("batch_size", [4, 16, N])
def test_training_is_that_of_the_twin(penalty, batch_size, clip_norm):
    """The last mini-batch is smaller: its penalty is larger. Small ones are updated layer by layer."""
    net = make(penalty)
    twin = NumpyNetwork(net)
    optimizer = nf.Adam(0.01, clip_norm=clip_norm)
    history = net.fit(X, Y, epochs=3, batch_size=batch_size, optimizer=optimizer, shuffle=False, verbose=0)
    steps = -(-N // batch_size)
    losses = np.array(twin.fit(X, Y, steps=3 * steps, batch_size=batch_size, optimizer=optimizer)).reshape(3, steps)
    rows = np.diff([*range(0, N, batch_size), N])
    assert_close(np.array(history["loss"]), losses @ rows / N, kind="trajectory")
    for name, values in twin.parameters.items():
        assert_close(net.params[name], values, scale=np.full(values.shape, 10.0), kind="trajectory")


def test_validation_is_divided_by_its_own_weights():
    net = make()
    history = net.fit(X[:14], Y[:14], epochs=2, batch_size=5, validation_data=(X[14:], Y[14:], WEIGHTS[14:]), verbose=0)
    in_sum, in_mean = penalties(net)
    expected = bare(net).loss(X[14:], Y[14:], sample_weight=WEIGHTS[14:]) + in_sum / WEIGHTS[14:].sum() + in_mean
    assert_close(history["val_loss"][-1], expected, scale=10.0)
    assert history["val_loss"][-1] == net.loss(X[14:], Y[14:], sample_weight=WEIGHTS[14:])


def test_a_row_of_weight_two_counts_as_two():
    twice, weighted = make(), make()
    rows = np.repeat(np.arange(N), 2)
    optimizer = nf.SGD(0.1)
    twice.fit(X[rows], Y[rows], epochs=2, batch_size=8, optimizer=optimizer, shuffle=False, verbose=0)
    weighted.fit(
        X, Y, epochs=2, batch_size=4, optimizer=optimizer, shuffle=False, sample_weight=np.full(N, 2.0), verbose=0
    )
    assert_close(weighted.flat_params, twice.flat_params, scale=np.full(twice.n_parameters, 10.0), kind="trajectory")


def test_rows_of_weight_zero_have_no_penalty():
    net = make()
    before, (_, in_mean) = net.params["W1"].copy(), penalties(net)
    assert_close(net.train_step(X, Y, optimizer=nf.SGD(0.1), sample_weight=np.zeros(N)), in_mean)
    np.testing.assert_array_equal(net.params["W1"], before)
    weights = np.where(np.arange(N) < 4, 0.0, 1.0)  # of the first mini-batch all
    history = net.fit(X, Y, epochs=2, batch_size=4, shuffle=False, sample_weight=weights, verbose=0)
    assert np.isfinite(history["loss"]).all()
    assert np.isfinite(net.flat_params).all()


@BOTH
def test_numerical_training_takes_the_same_steps(penalty):
    exact, numerical = make(penalty), make(penalty)
    options = {"epochs": 2, "batch_size": 8, "optimizer": nf.SGD(0.05), "sample_weight": WEIGHTS, "verbose": 0}
    first = exact.fit(X, Y, **options)
    second = numerical.fit(X, Y, gradient="numerical", **options)
    assert_close(np.array(second["loss"]), np.array(first["loss"]), kind="difference")
    scale = np.full(exact.n_parameters, 10.0)
    assert_close(numerical.flat_params, exact.flat_params, scale=scale, kind="difference")


@pytest.mark.parametrize("gradient", ["backpropagation", "numerical"])
def test_lbfgs_minimizes_it(gradient):
    """Ridge regression, whose optimum is a solution of linear equations."""
    net = nf.Sequential([nf.Dense(1, use_bias=False, l2=0.7, penalty="sum")], input_shape=3, dtype="float64", seed=0)
    optimizer = nf.LBFGS(tolerance=0, gradient_tolerance=1e-7)
    history = net.fit(X, Y[:, 0], optimizer=optimizer, sample_weight=WEIGHTS, gradient=gradient, epochs=99, verbose=0)
    expected = np.linalg.solve(X.T * WEIGHTS @ X + 0.7 * np.eye(3), X.T * WEIGHTS @ Y[:, :1])
    assert_close(net.params["W1"], expected, scale=1 + np.abs(expected), kind="difference")
    assert_close(history["loss"][-1], net.loss(X, Y[:, 0], sample_weight=WEIGHTS), scale=10.0)


@BOTH
def test_sparse_rows(penalty):
    sparse = pytest.importorskip("scipy.sparse")
    for optimizer in (nf.SGD(0.1), nf.Adam(0.01)):
        plain, stored = make(penalty), make(penalty)
        options = {"epochs": 3, "batch_size": 8, "optimizer": optimizer, "sample_weight": WEIGHTS, "verbose": 0}
        first = plain.fit(X, Y, **options)
        second = stored.fit(sparse.csr_array(X), Y, **options)
        assert first["loss"] == second["loss"]
        assert plain.flat_params.tobytes() == stored.flat_params.tobytes()
    assert plain.loss(X, Y) == stored.loss(sparse.csr_array(X), Y)


@BOTH
def test_any_number_of_threads(penalty):
    rng = np.random.default_rng(5)
    x, y, weights = rng.normal(size=(700, 40)), rng.normal(size=(700, 3)), rng.uniform(0, 2, size=700)
    found = set()
    for threads in (1, 2, 3):
        chain = [nf.Dense(64, "tanh", l1=1e-3, l2=1e-2, penalty=penalty), nf.BatchNorm(l2=0.1, penalty=penalty),
                 nf.Dense(3, l2=1e-2, penalty=penalty)]  # fmt: skip
        net = nf.Sequential(chain, input_shape=40, seed=0)
        with nf.num_threads(threads, fixed=True):
            history = net.fit(x, y, epochs=2, batch_size=300, sample_weight=weights, verbose=0)
            loss = net.loss(x, y, sample_weight=weights)
        found.add((net.flat_params.tobytes(), tuple(history["loss"]), loss))
    assert len(found) == 1


def test_many_networks():
    single, many = make(), [make(), make("mean")]
    options = {"epochs": 2, "batch_size": 8, "sample_weight": WEIGHTS, "verbose": 0}
    history = single.fit(X, Y, **options)
    assert nf.fit_many(many, X, Y, **options)[0]["loss"] == history["loss"]
    assert many[0].flat_params.tobytes() == single.flat_params.tobytes() != many[1].flat_params.tobytes()


def test_mini_batches_that_an_iterator_yields():
    fed, plain = make(), make()
    batches = [(X[at : at + 8], Y[at : at + 8], WEIGHTS[at : at + 8]) for at in range(0, N, 8)]
    first = fed.fit(batches, epochs=1, verbose=0)
    second = plain.fit(X, Y, epochs=1, batch_size=8, shuffle=False, sample_weight=WEIGHTS, verbose=0)
    assert first["loss"] == second["loss"]
    assert fed.flat_params.tobytes() == plain.flat_params.tobytes()


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_of_scikit_learn(weighted):
    """From its initial weights and without shuffling: the loss of each epoch, whose last mini-batch is smaller."""
    network = pytest.importorskip("sklearn.neural_network", reason="compared with scikit-learn")
    import sklearn

    weights = {"sample_weight": WEIGHTS} if weighted else {}
    if weighted and tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 7):
        pytest.skip("its networks take no weights before 1.7")
    alpha, rate = 0.7, 0.05
    options = {"solver": "sgd", "alpha": alpha, "learning_rate_init": rate, "batch_size": 8, "shuffle": False}
    options |= {"momentum": 0.0, "activation": "tanh", "random_state": 0, "tol": 0.0}
    model = network.MLPRegressor(hidden_layer_sizes=(5,), max_iter=10, **options)
    with pytest.warns(match="Maximum iterations"):
        model.fit(X, Y[:, 0], **weights)
    rng = np.random.RandomState(0)
    chain = [nf.Dense(5, "tanh", l2=alpha / 2, penalty="sum"), nf.Dense(1, l2=alpha / 2, penalty="sum")]
    net = nf.Sequential(chain, input_shape=3, dtype="float64", loss="sum_squared_error")
    for i, (inputs, outputs) in enumerate(((3, 5), (5, 1)), 1):
        bound = np.sqrt(6 / (inputs + outputs))
        net.params[f"W{i}"] = rng.uniform(-bound, bound, (inputs, outputs))
        net.params[f"b{i}"] = rng.uniform(-bound, bound, outputs)
    history = net.fit(X, Y[:, 0], epochs=10, batch_size=8, optimizer=nf.SGD(rate), shuffle=False, verbose=0, **weights)
    if not weighted:  # else scikit-learn averages the losses of mini-batches by their rows, not by their weights
        assert_close(np.array(history["loss"]), np.array(model.loss_curve_), kind="trajectory")
    for i, (W, b) in enumerate(zip(model.coefs_, model.intercepts_, strict=True), 1):
        assert_close(net.params[f"W{i}"], W, scale=1 + np.abs(W), kind="trajectory")
        assert_close(net.params[f"b{i}"], b, scale=1 + np.abs(b), kind="trajectory")


def test_the_loss_of_scikit_learn_for_several_labels():
    """It adds the cross entropies of the outputs up."""
    network = pytest.importorskip("sklearn.neural_network", reason="compared with scikit-learn")
    labels = (Y > 0).astype(int)
    options = {"solver": "sgd", "alpha": 0.5, "learning_rate_init": 0.1, "batch_size": 8, "shuffle": False, "tol": 0.0}
    model = network.MLPClassifier(hidden_layer_sizes=(), momentum=0.0, max_iter=5, random_state=0, **options)
    with pytest.warns(match="Maximum iterations"):
        model.fit(X, labels)
    chain = [nf.Dense(2, "sigmoid", l2=0.25, penalty="sum")]
    loss = nf.losses.BinaryCrossEntropy(reduction="sum")
    net = nf.Sequential(chain, input_shape=3, dtype="float64", loss=loss)
    rng, bound = np.random.RandomState(0), np.sqrt(6 / 5)
    net.params["W1"] = rng.uniform(-bound, bound, (3, 2))
    net.params["b1"] = rng.uniform(-bound, bound, 2)
    history = net.fit(X, labels, epochs=5, batch_size=8, optimizer=nf.SGD(0.1), shuffle=False, verbose=0)
    assert_close(np.array(history["loss"]), np.array(model.loss_curve_), kind="trajectory")
    assert_close(net.params["W1"], model.coefs_[0], scale=1 + np.abs(model.coefs_[0]), kind="trajectory")


# ---- descriptions and files


@pytest.mark.parametrize("kind", [nf.Scale, nf.BatchNorm, nf.LayerNorm, lambda **more: nf.Dense(3, **more)])
def test_descriptions(kind):
    layer = kind(l2=0.5, penalty="sum")
    assert layer.penalty == "sum"
    assert repr(layer).endswith("l2=0.5, penalty='sum')")
    assert layer != kind(l2=0.5) == kind(l2=0.5, penalty="mean")
    assert repr(kind(l2=0.5)) == repr(kind(l2=0.5, penalty="mean"))
    assert "penalty" not in kind(l2=0.5).config()
    assert layer.config()["penalty"] == "sum"
    assert nf.layers.Layer.from_config(json.loads(json.dumps(layer.config()))) == layer
    assert copy.deepcopy(layer) == pickle.loads(pickle.dumps(layer)) == layer
    assert layer.replaced(trainable=False).penalty == "sum"
    with pytest.raises(ValueError, match="^penalty must be one of 'mean', 'sum', got 'total'$"):
        kind(penalty="total")
    with pytest.raises(TypeError, match=r"^penalty must be one of 'mean', 'sum', got None \(NoneType\)$"):
        kind(penalty=None)


def test_the_place_of_the_field():
    with pytest.raises(TypeError, match=r"Dense\(\) too many positional arguments"):
        nf.Dense(3, "relu", "sum")


def test_networks_survive_copies_and_files(tmp_path):
    net = make()
    net.fit(X, Y, epochs=1, batch_size=8, verbose=0)
    net.save(tmp_path / "net.npz")
    twins = net.copy(), pickle.loads(pickle.dumps(net)), nf.load(tmp_path / "net.npz")
    expected = net.loss(X, Y), net.train_step(X, Y), net.flat_params.tobytes()
    for twin in twins:
        assert [getattr(layer, "penalty", None) for layer in twin.layers] == ["sum", "sum", "sum", "mean"]
        assert (twin.loss(X, Y), twin.train_step(X, Y), twin.flat_params.tobytes()) == expected
        assert repr(twin) == repr(net)
        assert state(twin)[:2] == state(net)[:2]


def test_files_of_networks_with_penalties_in_the_mean_are_as_before():
    """No word of it: earlier versions can read them. tests/test_old_files.py reads theirs."""
    assert "penalty" not in state(make("mean"))[0]
    assert '"penalty": "sum"' in state(make())[0]


def test_summary(capsys):
    make().summary()
    assert "Scale(l1=0.05, penalty='sum')" in capsys.readouterr().out


def test_freezing_keeps_it():
    net = make()
    loss = net.loss(X, Y)
    net.freeze(0)
    assert net.layers[0].penalty == "sum"
    assert net.loss(X, Y) == loss
    before = net.params["W1"].copy()
    net.train_step(X, Y)
    np.testing.assert_array_equal(net.params["W1"], before)


# ---- an l2 penalty alone, which the update itself adds to the gradient


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(nf.optimizers.OPTIMIZERS))
def test_the_update_adds_the_penalty_with_the_bits_of_a_pass_of_its_own(name, dtype, penalty):
    """A limit on the norm that nothing reaches computes all gradients, penalties included, before any update."""
    decay = {"weight_decay": 0.0} if name == "adamw" else {}
    found = []
    for clip_norm in (None, 1e30):
        net = make(penalty, dtype, l1=0.0)
        optimizer = nf.optimizers.OPTIMIZERS[name](clip_norm=clip_norm, **decay)
        net.fit(X, Y, epochs=3, batch_size=8, optimizer=optimizer, sample_weight=WEIGHTS, verbose=0)
        found.append(net.flat_params)
    np.testing.assert_array_equal(*found)
    assert not np.isclose(found[0], bare_fit(name, dtype, decay)).all()


def bare_fit(name, dtype, decay):
    """What the same training leads to without penalties."""
    net = bare(make(dtype=dtype))
    net.fit(
        X,
        Y,
        epochs=3,
        batch_size=8,
        optimizer=nf.optimizers.OPTIMIZERS[name](**decay),
        sample_weight=WEIGHTS,
        verbose=0,
    )
    return net.flat_params
