"""Losses with parameters, the targets that they accept, and sample weights."""

from __future__ import annotations

import copy
import inspect
import json
import math
import pickle
import re

import kernel_calls as kernels
import numpy as np
import pytest
import scipy.special
from numpy_network import NumpyNetwork
from tolerances import assert_close

import nnfast as nf
from nnfast import functions, losses, reference
from nnfast.kernels import arrays

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3))
SCORE = np.tanh(X @ RNG.normal(size=(3, 4))) + 0.2 * RNG.normal(size=(12, 4))
LABELS = SCORE.argmax(axis=1)
SHARES = scipy.special.softmax(SCORE, axis=1)
ANSWERS = (SCORE > 0).astype(float)

# each loss with an output layer and targets that it fits
FITTING = {
    "cross_entropy": (nf.losses.CrossEntropy(), "softmax", LABELS),
    "smooth labels": (nf.losses.CrossEntropy(label_smoothing=0.1), "softmax", LABELS),
    "smooth shares": (nf.losses.CrossEntropy(label_smoothing=0.1), "softmax", SHARES),
    "binary_cross_entropy": (nf.losses.BinaryCrossEntropy(), "sigmoid", ANSWERS),
    "smooth answers": (nf.losses.BinaryCrossEntropy(label_smoothing=0.1), "sigmoid", ANSWERS),
    "mean_squared_error": (nf.losses.MeanSquaredError(), "identity", SCORE),
    "sum_squared_error": (nf.losses.SumSquaredError(), "identity", SCORE),
    "mean_absolute_error": (nf.losses.MeanAbsoluteError(), "identity", SCORE),
    "huber": (nf.losses.Huber(delta=0.4), "identity", SCORE),
    "log_cosh": (nf.losses.LogCosh(), "identity", SCORE),
    "poisson": (nf.losses.Poisson(), "identity", np.floor(3 * np.exp(SCORE))),
    "rates": (nf.losses.Poisson(log_input=False), "sigmoid", ANSWERS),
    "quantile": (nf.losses.Quantile([0.2, 0.7]), "identity", SCORE[:, :2]),
    "hinge": (nf.losses.Hinge(), "identity", 2 * ANSWERS - 1),
    "kl_divergence": (nf.losses.KLDivergence(), "softmax", SHARES),
    "focal": (nf.losses.Focal(gamma=1.5, alpha=0.6), "softmax", LABELS),
    "focal shares": (nf.losses.Focal(gamma=0.5), "log_softmax", SHARES),
    "binary_focal": (nf.losses.BinaryFocal(gamma=3.0, alpha=0.4), "sigmoid", ANSWERS),
}
# the same with the losses of outputs added up
OF_OUTPUTS = [name for name, (loss, _, _) in FITTING.items() if "reduction" in loss.fields]
FITTING |= {
    f"{name}, added up": (type(loss)(**loss.parameters, reduction="sum"), *rest)
    for name, (loss, *rest) in FITTING.items()
    if name in OF_OUTPUTS
}
by_loss = pytest.mark.parametrize("name", FITTING)


def make(name, dtype="float64", units=4, hidden=5):
    loss, output, y = FITTING[name]
    layers = [nf.Dense(hidden, "tanh"), nf.Dense(units, output)]
    return nf.Sequential(layers, input_shape=3, loss=loss, dtype=dtype, seed=1), y


# ---- hand-computed values and SciPy

MODULES = pytest.mark.parametrize("module", [kernels, reference, functions], ids=["kernels", "reference", "functions"])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
REDUCED = [name for name in kernels.LOSSES if "reduction" in inspect.signature(getattr(functions, name)).parameters]


@MODULES
@DTYPES
class TestValues:
    def test_absolute(self, module, dtype):
        x, t = np.array([[1, -2], [3, 4]], dtype), np.array([[0, 2], [3, 1]], dtype)
        assert module.mean_absolute_error(x, t) == 2
        np.testing.assert_array_equal(module.mean_absolute_error_backward(x, t), [[0.25, -0.25], [0, 0.25]])

    def test_huber(self, module, dtype):
        x, t = np.array([[0.5, -3, 0, 2]], dtype), np.zeros((1, 4), dtype)
        # 1/8, 2.5, 0, 1.5 and, with delta 2: 1/8, 4, 0, 2
        assert module.huber(x, t) == 4.125 / 4
        assert module.huber(x, t, 2.0) == 6.125 / 4
        np.testing.assert_array_equal(module.huber_backward(x, t, 2.0), [[0.125, -0.5, 0, 0.5]])
        assert_close(module.huber(x, t, 1.5), scipy.special.huber(1.5, x.astype(float)).mean(), scale=4.0)

    def test_log_cosh(self, module, dtype):
        x, t = np.array([[0, 1, -2]], dtype), np.zeros((1, 3), dtype)
        assert_close(module.log_cosh(x, t), (math.log(math.cosh(1)) + math.log(math.cosh(2))) / 3, scale=2.0)
        assert_close(module.log_cosh_backward(x, t), [[0, math.tanh(1) / 3, -math.tanh(2) / 3]])
        far = np.array([[1e30, -1e30]], dtype)
        assert_close(module.log_cosh(far, np.zeros((1, 2), dtype)), 1e30)
        assert module.log_cosh(t, t) == 0

    def test_poisson(self, module, dtype):
        x, t = np.log(np.array([[1, 2, 4]], dtype)), np.array([[0, 2, 1]], dtype)
        expected = (1 + 2 - 2 * math.log(2) + 4 - math.log(4)) / 3
        assert_close(module.poisson(x, t), expected, scale=10.0)
        rates = np.array([[1, 2, 4]], dtype)
        expected = (1 + 2 - 2 * math.log(2 + 1e-8) + 4 - math.log(4 + 1e-8)) / 3  # as PyTorch avoids log(0)
        assert_close(module.poisson(rates, t, False), expected, scale=10.0)
        assert_close(module.poisson_backward(x, t), [[1 / 3, 0, 1]], scale=[2.0])
        expected = [[1 / 3, (1 - 2 / (2 + 1e-8)) / 3, (1 - 1 / (4 + 1e-8)) / 3]]
        assert_close(module.poisson_backward(rates, t, False), expected, scale=[2.0])

    def test_quantile(self, module, dtype):
        x, t = np.array([[1, 1, 1], [2, 2, 2]], dtype), np.array([[3, 1, 0], [1, 2, 6]], dtype)
        q = np.array([0.25, 0.5, 0.75], dtype)
        # 2/4 + 0 + 1/4; 3/4 + 0 + 3
        assert module.quantile(x, t, q) == 4.5 / 6
        expected = np.array([[-0.25, 0, 0.25], [0.75, 0, -0.75]]) / 6
        assert_close(module.quantile_backward(x, t, q), expected, scale=1.0 + 0 * expected)

    def test_hinge(self, module, dtype):
        x, t = np.array([[0.5, 1, -2, -0.5]], dtype), np.array([[1, 1, 1, -1]], dtype)
        assert module.hinge(x, t) == (0.5 + 0 + 3 + 0.5) / 4
        np.testing.assert_array_equal(module.hinge_backward(x, t), [[-0.25, 0, -0.25, 0.25]])

    def test_divergence(self, module, dtype):
        p, t = np.array([[0.25, 0.25, 0.5], [0.5, 0.5, 0]], dtype), np.array([[0.5, 0.5, 0], [0.25, 0.75, 0]], dtype)
        with np.errstate(divide="ignore"):
            x = np.log(p)
        expected = scipy.special.kl_div(t.astype(float), p.astype(float)).sum() / 2 + (p - t).sum() / 2
        assert_close(module.kl_divergence(x, t), expected, scale=4.0)
        np.testing.assert_array_equal(module.kl_divergence_backward(x, t), -t / 2)
        assert_close(module.softmax_kl_divergence(x, t), expected, scale=4.0)
        assert_close(module.softmax_kl_divergence_backward(x, t), (p - t) / 2, scale=2.0 + 0 * p)

    def test_focal(self, module, dtype):
        """Of the paper: with gamma 2, a class of probability 0.9 counts a hundredth of its cross entropy."""
        p, t = np.array([[0.9, 0.1], [0.5, 0.5]], dtype), np.array([0, 1])
        each = [0.01 * math.log(0.9), 0.25 * math.log(0.5)]
        for target in (t, np.eye(2, dtype=dtype)[t]):
            assert_close(module.focal(p, target), -0.25 * sum(each) / 2, scale=1.0)
            assert_close(module.softmax_focal(np.log(p), target), -0.25 * sum(each) / 2, scale=1.0)
        slopes = [2 * 0.1 * math.log(0.9) - 0.01 / 0.9, 2 * 0.5 * math.log(0.5) - 0.25 / 0.5]
        expected = np.diag(slopes) * 0.25 / 2
        assert_close(module.focal_backward(p, t), expected, scale=1 + 0 * p)
        s = 0.25 / 2 * slopes[0] * 0.9 * 0.1
        assert_close(module.softmax_focal_backward(np.log(p), t)[0], [s, -s], scale=np.ones(2))
        assert_close(module.binary_focal(p, np.array([[1, 0], [1, 0]], dtype)), (
            -0.25 * sum(each) - 0.75 * sum(each)
        ) / 4, scale=1.0)  # fmt: skip
        assert_close(module.binary_focal_backward(p[:1], np.ones((1, 2), dtype))[0, 0], 0.125 * slopes[0], scale=1.0)

    def test_outputs_added_up(self, module, dtype):
        """The sums over the outputs of each row, averaged over rows."""
        x, t = np.array([[1, -2], [3, 4]], dtype), np.array([[0, 2], [3, 1]], dtype)
        assert module.mean_squared_error(x, t, reduction="sum") == (1 + 16 + 0 + 9) / 2
        np.testing.assert_array_equal(module.mean_squared_error_backward(x, t, reduction="sum"), [[1, -4], [0, 3]])
        assert module.mean_absolute_error(x, t, reduction="sum") == (1 + 4 + 0 + 3) / 2
        assert module.huber(x, t, 2.0, reduction="sum") == (0.5 + 6 + 0 + 4) / 2
        assert_close(module.log_cosh(x, t, reduction="sum"), np.log(np.cosh([1, 4, 0, 3])).sum() / 2, scale=8.0)
        assert_close(
            module.poisson(x, t, reduction="sum"), (np.exp(x).sum(dtype=float) - 0 + 4 - 9 - 4) / 2, scale=90.0
        )
        assert module.quantile(x, t, np.array([0.25, 0.75], dtype), reduction="sum") == (0.75 + 3 + 0 + 0.75) / 2
        assert module.hinge(x, np.sign(t - 1.5).astype(dtype), reduction="sum") == (2 + 3 + 0 + 5) / 2
        zeros, half = np.zeros((2, 3), dtype), np.full((2, 3), 0.5, dtype)
        for name, at in (("binary_cross_entropy", half), ("sigmoid_binary_cross_entropy", zeros)):
            assert_close(getattr(module, name)(at, half, reduction="sum"), 3 * math.log(2), scale=3.0)
        for name, at in (("binary_focal", half), ("sigmoid_binary_focal", zeros)):
            expected = 3 * 0.25 * 0.25 * math.log(2)
            assert_close(getattr(module, name)(at, half + half, reduction="sum"), expected, scale=3.0)
        assert module.mean_squared_error(x[0], t[0], reduction="sum") == 17  # one row

    @pytest.mark.parametrize("name", REDUCED)
    def test_sums_are_averages_times_the_number_of_outputs(self, module, dtype, name):
        rng = np.random.default_rng(0)
        x, t = rng.uniform(0.1, 0.9, (2, 5, 37)).astype(dtype)
        numbers = (rng.uniform(0.1, 0.9, 37).astype(dtype),) if name == "quantile" else ()
        for suffix in ("", "_backward"):
            function = getattr(module, name + suffix)
            expected = 37 * function(x, t, *numbers).astype(float)
            assert_close(function(x, t, *numbers, reduction="sum"), expected, scale=40 + np.abs(expected))

    @pytest.mark.parametrize("n", [3, 40])
    @pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
    def test_focal_losses_with_scipy(self, module, dtype, n, gamma):
        rng = np.random.default_rng(n)
        x, labels = rng.normal(0, 2, size=(5, n)).astype(dtype), rng.integers(0, n, 5)
        logs = scipy.special.log_softmax(x.astype(float), axis=1)
        for t in (labels, rng.dirichlet(np.ones(n), 5).astype(dtype)):
            rows = np.eye(n)[t] if t.ndim == 1 else t.astype(float)
            expected = -0.7 * (rows * (1 - np.exp(logs)) ** gamma * logs).sum() / 5
            assert_close(module.softmax_focal(x, t, gamma, 0.7), expected, scale=20.0)
            assert_close(module.focal(np.exp(logs).astype(dtype), t, gamma, 0.7), expected, scale=20.0)
            if gamma == 0:
                whole = module.softmax_cross_entropy_backward(x, t)
                assert_close(module.softmax_focal_backward(x, t, 0.0, 1.0), whole, scale=1 + 0 * x)
        t = rng.uniform(size=(5, n)).astype(dtype)
        log_p, log_q = scipy.special.log_expit(x.astype(float)), scipy.special.log_expit(-x.astype(float))
        each = 0.7 * t * np.exp(gamma * log_q) * log_p + 0.3 * (1 - t) * np.exp(gamma * log_p) * log_q
        assert_close(module.sigmoid_binary_focal(x, t, gamma, 0.7), -each.mean(), scale=5.0)
        assert_close(module.binary_focal(scipy.special.expit(x), t, gamma, 0.7), -each.mean(), scale=5.0)

    @pytest.mark.parametrize("n", [3, 40])
    def test_label_smoothing(self, module, dtype, n):
        """The loss of smoothed targets, which weight SciPy's logarithms."""
        rng, s = np.random.default_rng(n), 0.2
        x, labels = rng.normal(size=(5, n)).astype(dtype), rng.integers(0, n, 5)
        t = np.eye(n)[labels] * (1 - s) + s / n
        logs = scipy.special.log_softmax(x.astype(float), axis=1)
        expected = -(t * logs).sum() / 5
        gradient = (np.exp(logs) - t) / 5
        for target in (labels, np.eye(n, dtype=dtype)[labels]):
            assert_close(module.softmax_cross_entropy(x, target, s), expected, scale=20.0)
            assert_close(module.softmax_cross_entropy_backward(x, target, s), gradient, scale=2.0 + 0 * x)
            p = np.exp(logs).astype(dtype)
            assert_close(module.cross_entropy(p, target, s), expected, scale=20.0)
            assert_close(module.cross_entropy_backward(p, target, s), -t / np.exp(logs) / 5)
        t = rng.uniform(size=(5, n)).astype(dtype)
        smooth = t * (1 - s) + s / 2
        each = smooth * scipy.special.log_expit(x.astype(float)) + (1 - smooth) * scipy.special.log_expit(
            -x.astype(float)
        )
        assert_close(module.sigmoid_binary_cross_entropy(x, t, s), -each.mean(), scale=5.0)
        p = scipy.special.expit(x)
        assert_close(module.binary_cross_entropy(p, t, s), -each.mean(), scale=5.0)
        gradient = (p - smooth) / x.size
        assert_close(module.sigmoid_binary_cross_entropy_backward(x, t, s), gradient, scale=1.0 + 0 * x)
        assert_close(module.binary_cross_entropy_backward(p, t, s), gradient / (p * (1 - p)), scale=10.0 + 0 * x)


@pytest.mark.parametrize("module", [kernels, reference], ids=["kernels", "reference"])
def test_focal_losses_without_weight_keep_nan(module):
    for name in ("binary_focal", "sigmoid_binary_focal"):
        for suffix in ("", "_backward"):
            function = getattr(module, name + suffix)
            assert np.isnan(function(np.array([[np.nan, 0.5]]), np.zeros((1, 2)), 2.0, 1.0)).any()


@pytest.mark.parametrize("n", [3, 40, 5000])
@pytest.mark.parametrize("name", ["focal", "softmax_focal", "binary_focal", "sigmoid_binary_focal"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 3.5])
def test_focal_kernels_are_their_twins_and_their_gradients_numerical_ones(name, n, gamma):
    rng = np.random.default_rng(n)
    x = rng.uniform(0.1, 0.9, size=(4, n))
    for target in (rng.dirichlet(np.ones(n), 4), rng.integers(0, n, 4))[: 1 if "binary" in name else 2]:
        arguments = x, target, gamma, 0.6
        for suffix in ("", "_backward"):
            found = getattr(kernels, name + suffix)(*arguments)
            assert_close(found, getattr(reference, name + suffix)(*arguments), scale=20.0 + 0 * found)
        if n < 5000:
            numerical = nf.numerical_gradient(
                lambda p, t=target: float(getattr(kernels, name)(p, t, gamma, 0.6)), x, h=1e-5
            )
            assert_close(found, numerical, scale=1 + np.abs(numerical), kind="difference")


@pytest.mark.parametrize("n", [3, 40, 5000])
@pytest.mark.parametrize("name", ["cross_entropy", "softmax_cross_entropy"])
def test_smoothed_kernels_are_their_twins(name, n):
    rng = np.random.default_rng(n)
    x, labels = rng.uniform(0.1, 0.9, size=(7, n)), rng.integers(0, n, 7)
    for target in (labels, rng.dirichlet(np.ones(n), 7)):
        for suffix in ("", "_backward"):
            found = getattr(kernels, name + suffix)(x, target, 0.3)
            assert_close(found, getattr(reference, name + suffix)(x, target, 0.3), scale=10.0 + 0 * found)


def test_gradients_of_smoothed_losses_are_numerical_ones():
    rng = np.random.default_rng(3)
    x = rng.uniform(0.2, 0.8, size=(4, 5))
    for name in ("cross_entropy", "softmax_cross_entropy", "binary_cross_entropy", "sigmoid_binary_cross_entropy"):
        t = rng.dirichlet(np.ones(5), 4)
        found = getattr(kernels, f"{name}_backward")(x, t, 0.3)
        expected = nf.numerical_gradient(lambda p, name=name, t=t: float(getattr(kernels, name)(p, t, 0.3)), x, h=1e-5)
        assert_close(found, expected, scale=1 + np.abs(expected), kind="difference")


def test_what_no_loss_takes_is_refused():
    x = np.ones((2, 3))
    for call, message in (
        (lambda: functions.huber(x, x, 0.0), "^delta must be a finite number"),
        (lambda: functions.quantile(x, x, 1.0), r"^quantiles must lie in \(0, 1\)"),
        (
            lambda: functions.quantile(x, x, [0.5, 0.6]),
            r"^quantiles must be a number or have shape \(3,\), got \(2,\)",
        ),
        (lambda: functions.cross_entropy(x, x, 1.5), "^label_smoothing must be a finite number"),
        (lambda: kernels.huber(x, np.array([0, 1])), "^labels need a loss over classes"),
        (lambda: kernels.quantile(x, x, np.ones(2)), "expected shape"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(TypeError, match="^log_input must be True or False"):
        functions.poisson(x, x, 1)
    for name in REDUCED:
        more = (0.5,) if name == "quantile" else ()
        for suffix in ("", "_backward"):
            with pytest.raises(ValueError, match="^reduction must be one of 'mean', 'sum', got 'none'$"):
                getattr(functions, name + suffix)(x, x, *more, reduction="none")
            with pytest.raises(TypeError, match=r"^reduction must be one of 'mean', 'sum', got None \(NoneType\)$"):
                getattr(functions, name + suffix)(x, x, *more, reduction=None)


# ---- the classes


def test_descriptions_say_what_they_are():
    assert repr(nf.losses.Huber(2.0)) == "Huber(delta=2.0)"
    assert repr(nf.losses.Quantile((0.1, 0.9))) == "Quantile(quantiles=[0.1, 0.9])"
    assert repr(nf.losses.LogCosh()) == "LogCosh()"
    assert nf.losses.Huber() == nf.losses.Huber(1.0) != nf.losses.Huber(2.0)
    assert len({nf.losses.Huber(), nf.losses.Huber(1.0), nf.losses.LogCosh()}) == 2
    with pytest.raises(AttributeError, match="does not change: make a new Huber"):
        nf.losses.Huber().delta = 3.0
    assert set(losses.__all__) == {"Custom", *(kind.__name__ for kind in losses.LOSSES.values())}


@pytest.mark.parametrize("name", OF_OUTPUTS)
def test_outputs_are_averaged_or_added_up(name):
    summed, _, y = FITTING[f"{name}, added up"]
    averaged = FITTING[name][0]
    assert (averaged.reduction, summed.reduction) == ("mean", "sum")
    assert summed != averaged == type(averaged)(**averaged.parameters, reduction="mean")
    assert hash(summed) != hash(averaged)
    assert repr(summed).endswith("reduction='sum')")
    assert eval(repr(summed), vars(losses)) == summed
    assert losses.loss_from(json.loads(json.dumps(summed.config()))) == summed
    assert "reduction" not in repr(averaged)
    assert "reduction" not in averaged.config()  # in files as before
    (mean, _), (total, _) = make(name), make(f"{name}, added up")
    for weights in (None, COUNTS):
        assert_close(total.loss(X, y, sample_weight=weights), 4 * mean.loss(X, y, sample_weight=weights), scale=40.0)
        assert total.evaluate(X, y, sample_weight=weights)["loss"] == total.loss(X, y, sample_weight=weights)
        found, expected = (net.gradient(X, y, sample_weight=weights) for net in (total, mean))
        for key in found:
            assert_close(found[key], 4 * expected[key], scale=40 + 0 * found[key])
    with pytest.raises(TypeError, match="positional argument"):
        type(averaged)(*averaged.parameters.values(), "sum")
    for value, error, got in (("none", ValueError, "'none'"), (None, TypeError, r"None \(NoneType\)")):
        with pytest.raises(error, match=f"^reduction must be one of 'mean', 'sum', got {got}$"):
            type(averaged)(**averaged.parameters, reduction=value)


def test_what_losses_say_of_outputs_is_what_kernels_do():
    """With two outputs, the sum over both is twice their average, where a kernel averages."""
    x, t, each = np.full((3, 2), 0.3), np.tile([0.2, 0.8], (3, 1)), np.full(2, 0.4)
    for kind in losses.LOSSES.values():
        averages = "reduction" in kind.fields
        assert averages or kind.reduction == "sum"
        for name in {kind.name, *kind.fused.values()} & set(kernels.LOSSES):
            assert averages == (name in REDUCED)
            more = {"per_output": each if name == "quantile" else None, "numbers": (0.5, 0.5)}
            once, twice = (arrays.loss(name, x, t, **more, summed=summed) for summed in (False, True))
            assert_close(twice, once * (2 if averages else 1), scale=10.0)
            assert abs(once) > 0.001


def test_minimization_of_outputs_added_up():
    net, y = make("huber, added up")
    history = net.fit(X, y, epochs=20, optimizer=nf.LBFGS(tolerance=0.5), verbose=0)
    assert_close(history["loss"][-1], net.loss(X, y), scale=10.0)


@pytest.mark.parametrize("name", [name for name in losses.NAMES if name != "quantile"])
def test_a_name_means_the_defaults(name):
    loss = losses.resolve_loss(name)
    assert loss == losses.LOSSES[name]()
    assert loss.config() == name
    assert losses.loss_from(name) == loss


def test_quantiles_are_asked_for():
    with pytest.raises(ValueError, match=re.escape("needs quantiles: use nf.losses.Quantile([0.1, 0.5, 0.9])")):
        nf.Sequential([nf.Dense(3)], loss="quantile")


@pytest.mark.parametrize(
    ("make_loss", "error", "message"),
    [
        (lambda: nf.losses.Focal(gamma=-1), ValueError, "^gamma must be a finite number"),
        (lambda: nf.losses.Focal(alpha=0), ValueError, "^alpha must be above 0, got 0.0"),
        (lambda: nf.losses.BinaryFocal(alpha=1.5), ValueError, "^alpha must be a finite number"),
        (lambda: nf.losses.Huber(0), ValueError, "^delta must be a finite number"),
        (lambda: nf.losses.Huber("1"), TypeError, "^delta must be a number"),
        (lambda: nf.losses.Poisson(1), TypeError, "^log_input must be True or False"),
        (lambda: nf.losses.Quantile(["0.1", 0.5]), TypeError, r"^quantiles must hold real numbers, got '0\.1' \(str\)"),
        (lambda: nf.losses.Quantile([]), ValueError, "^quantiles must hold at least one"),
        (lambda: nf.losses.Quantile([0.5, 1.0]), ValueError, "^quantiles must be a finite number in"),
        (lambda: nf.losses.Quantile([0.5, 0.5]), ValueError, "^quantiles must not hold duplicates"),
        (lambda: nf.losses.Quantile([[0.5]]), ValueError, "^quantiles must have 0 or 1 dimension"),
        (lambda: nf.losses.CrossEntropy(1.0), ValueError, "^label_smoothing must be below 1"),
        (lambda: nf.losses.BinaryCrossEntropy(-0.1), ValueError, "^label_smoothing must be a finite number"),
    ],
)
def test_parameters_are_checked(make_loss, error, message):
    with pytest.raises(error, match=message):
        make_loss()


@pytest.mark.parametrize(
    ("loss", "output", "units", "message"),
    [
        ("poisson", "softplus", 1, r"needs .* 'identity' .*use Poisson\(log_input=False\)"),
        ("poisson", "tanh", 1, "needs an output layer with activation 'identity' or 'leaky_relu', got 'tanh'$"),
        (nf.losses.Poisson(False), "identity", 1, r"needs .*'softplus' .*use Poisson\(log_input=True\)"),
        ("hinge", "sigmoid", 1, r"needs .* 'identity' or 'tanh', got 'sigmoid' \(with sigmoid, use 'binary_cross"),
        ("kl_divergence", "identity", 3, "needs .* 'softmax' or 'log_softmax', got 'identity'$"),
        ("cross_entropy", "identity", 3, "needs .* 'softmax' or 'log_softmax', got 'identity'$"),
        (nf.losses.Quantile([0.1, 0.9]), "identity", 3, "a multiple of 2, got 3 outputs$"),
        (nf.losses.Quantile([0.1, 0.9]), "softmax", 2, "needs independent outputs"),
    ],
)
def test_pairs_that_make_no_sense_are_refused(loss, output, units, message):
    with pytest.raises(ValueError, match=f"^loss .*{message}"):
        losses.OutputLoss(loss, output, units)


@pytest.mark.parametrize("loss", ["cross_entropy", "kl_divergence"])
def test_log_softmax_is_fused_too(loss):
    same = [losses.OutputLoss(loss, output, 3) for output in ("softmax", "log_softmax")]
    assert same[0].kernel(np.float64) == same[1].kernel(np.float64)
    assert [s.takes_classes for s in same] == [True, True]
    assert [s.answers for s in same] == ["classes", "classes"]
    assert [nf.metrics.Accuracy().misfit(s, np.eye(3)) for s in same] == ["", ""]


# ---- targets


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("poisson", -np.ones((12, 4)), "^y must not be negative for loss 'poisson', got -1"),
        ("kl_divergence", np.full((12, 4), 0.5), "^each row of y must sum to 1 for loss 'kl_divergence', got 2"),
        ("kl_divergence", SCORE, r"^y must lie in \[0, 1\] for loss 'kl_divergence'"),
        ("hinge", np.full((12, 4), 0.5), "^y must hold -1 and 1, or 0 and 1, for loss 'hinge', got 0.5"),
        (
            "hinge",
            np.tile([-1.0, 0.0, 1.0, 1.0], (12, 1)),
            "^y must hold -1 and 1, or 0 and 1, for .*got 0",
        ),
        ("quantile", SCORE, r"^y must have shape \(12, 2\), got \(12, 4\)"),
    ],
)
def test_targets_that_are_not_right(name, y, message):
    net, _ = make(name)
    with pytest.raises(ValueError, match=message):
        net.loss(X, y)


def test_hinge_takes_zeros_and_ones():
    net, y = make("hinge")
    assert net.loss(X, y) == net.loss(X, ANSWERS)
    assert net.loss(X, y.astype(int)) == net.loss(X, ANSWERS.astype(bool))
    expected = ((net.predict(X) > 0) == (ANSWERS == 1)).mean()
    assert_close(net.accuracy(X, y), expected)
    np.testing.assert_array_equal(net.predict_class(X), net.predict(X) > 0)


def test_quantiles_stand_beside_each_other_for_each_target():
    net, y = make("quantile")
    out, expected = net.predict(X), 0.0
    for t in range(2):
        for i, q in enumerate((0.2, 0.7)):
            expected += float(reference.quantile(out[:, [2 * t + i]], y[:, [t]], np.array([q]))) / 4
    assert_close(net.loss(X, y), expected, scale=1.0)


def test_quantiles_are_found():
    rng = np.random.default_rng(0)
    y = rng.exponential(size=4000)
    net = nf.Sequential([nf.Dense(3)], input_shape=1, loss=nf.losses.Quantile([0.1, 0.5, 0.9]), seed=0)
    net.fit(np.zeros((4000, 1)), y, epochs=60, batch_size=100, optimizer=nf.SGD(0.1), verbose=0)
    below = (y[:, None] < net.predict([[0.0]])).mean(axis=0)
    np.testing.assert_allclose(below, [0.1, 0.5, 0.9], atol=0.03)


@by_loss
def test_networks_learn(name):
    net, y = make(name, "float32")
    before = net.loss(X, y)
    net.fit(X, y, epochs=200, batch_size=4, optimizer=nf.Adam(0.01), verbose=0)
    assert net.loss(X, y) < before
    assert np.isfinite(net.flat_params).all()


@by_loss
def test_losses_survive_copies_and_files(name, tmp_path):
    net, y = make(name)
    net.train_step(X, y)
    net.save(tmp_path / "net.npz")
    loss = FITTING[name][0]
    json.dumps(loss.config())
    for twin in (net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net)), nf.load(tmp_path / "net.npz")):
        assert twin.loss_function == loss
        assert twin.loss(X, y) == net.loss(X, y)
        assert repr(twin) == repr(net)
    assert copy.copy(loss) == pickle.loads(pickle.dumps(loss)) == loss


@pytest.mark.parametrize("wrong", [5, {"name": "huber", "slope": 1}, {"delta": 1}, {"name": "nonsense"}, ["huber"]])
def test_invalid_descriptions(wrong):
    with pytest.raises((KeyError, TypeError, ValueError)):
        losses.loss_from(wrong)


def test_parameters_are_shown():
    net, _ = make("huber")
    assert "loss=Huber(delta=0.4)" in repr(net)
    assert "loss Huber(delta=0.4)," in net._summary()
    assert "loss='hinge'" in repr(make("hinge")[0])


# ---- sample weights

COUNTS = np.array([2, 1, 0, 3, 1, 0, 1, 2, 1, 4, 0, 1])
REPEATED = np.repeat(np.arange(12), COUNTS)


def test_weights_of_many_classes():
    """More classes than the kernel for few classes handles."""
    rng = np.random.default_rng(2)
    net = nf.Sequential(
        [nf.Dense(50, "softmax")], input_shape=3, dtype="float64", seed=0, loss=FITTING["smooth labels"][0]
    )
    y = rng.integers(0, 50, 12)
    mine, theirs = net.gradient(X, y, sample_weight=COUNTS), net.gradient(X[REPEATED], y[REPEATED])
    assert_close(mine["W1"], theirs["W1"], scale=10.0 + 0 * mine["W1"])


@by_loss
def test_a_row_of_weight_k_counts_as_k_rows(name):
    net, y = make(name)
    x, rows, weights = X[REPEATED], y[REPEATED], COUNTS.astype(float)
    assert_close(net.loss(X, y, sample_weight=weights), net.loss(x, rows), scale=10.0)
    mine, theirs = net.gradient(X, y, sample_weight=COUNTS), net.gradient(x, rows)
    for key in mine:
        assert_close(mine[key], theirs[key], scale=10.0 + 0 * mine[key])
    numerical = net.numerical_gradient(X, y, sample_weight=COUNTS, h=1e-5)
    for key in mine:
        assert_close(numerical[key], mine[key], scale=10.0 + 0 * mine[key], kind="difference")
    assert net.check_gradient(X, y, sample_weight=COUNTS)
    twin = net.copy()
    assert_close(net.train_step(X, y, sample_weight=COUNTS), twin.train_step(x, rows), scale=10.0)
    assert_close(net.flat_params, twin.flat_params, scale=10.0 + 0 * net.flat_params)


@by_loss
def test_each_row_pulls_by_its_own_weight(name):
    """For any weights, the gradient is the weighted average of the gradients of single rows."""
    net, y = make(name)
    each = [net.gradient(X[i : i + 1], y[i : i + 1])["W1"] for i in range(12)]
    values = np.array([net.loss(X[i : i + 1], y[i : i + 1]) for i in range(12)])
    for changed in range(12):
        weights = np.ones(12)
        weights[changed] = 3.5
        expected = np.tensordot(weights, each, 1) / weights.sum()
        assert_close(net.gradient(X, y, sample_weight=weights)["W1"], expected, scale=10.0 + 0 * expected)
        assert_close(net.loss(X, y, sample_weight=weights), weights @ values / weights.sum(), scale=10.0)


@pytest.mark.parametrize("name", ["cross_entropy", "binary_cross_entropy", "hinge"])
def test_accuracies_are_weighted(name):
    net, y = make(name)
    assert_close(net.accuracy(X, y, sample_weight=COUNTS), net.accuracy(X[REPEATED], y[REPEATED]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@by_loss
def test_weights_of_one_change_no_bit(name, dtype):
    net, y = make(name, dtype)
    assert net.loss(X, y, sample_weight=np.ones(12)) == net.loss(X, y)
    twin = net.copy()
    arguments = {"epochs": 3, "batch_size": 5, "verbose": 0}
    plain, weighted = net.fit(X, y, **arguments), twin.fit(X, y, sample_weight=np.ones(12), **arguments)
    assert plain.step_loss.tobytes() == weighted.step_loss.tobytes()
    assert net.flat_params.tobytes() == twin.flat_params.tobytes()
    assert dict(plain) == dict(weighted)


@pytest.mark.parametrize("shuffle", [False, True])
@by_loss
def test_mini_batches_average_over_their_weights(name, shuffle):
    """Compared with a loop over `train_step`, with batches selected in NumPy."""
    net, y = make(name)
    twin, numpy_twin = net.copy(), NumpyNetwork(net, 1 if shuffle else None)
    weights = np.random.default_rng(4).uniform(0, 2, 12)
    weights[3] = 0
    history = net.fit(
        X, y, epochs=3, batch_size=5, shuffle=shuffle, sample_weight=weights, optimizer=nf.SGD(0.05), verbose=0,
        validation_data=(X, y, weights),
    )  # fmt: skip
    batches = [rows.copy() for rows in numpy_twin.batches(12, 5, 9)]
    steps = [twin.train_step(X[b], y[b], nf.SGD(0.05), sample_weight=weights[b]) for b in batches]
    assert history.step_loss.tolist() == steps
    assert net.flat_params.tobytes() == twin.flat_params.tobytes()
    sums = np.array([weights[b].sum() for b in batches]).reshape(3, 3)
    expected = (np.reshape(steps, (3, 3)) * sums).sum(axis=1) / sums.sum(axis=1)
    assert_close(history["loss"], expected, scale=10 + np.abs(expected))
    assert history["val_loss"][-1] == net.loss(X, y, sample_weight=weights)


@by_loss
def test_numerical_training_with_weights(name):
    net, y = make(name)
    twin, weights = net.copy(), np.arange(12.0)
    arguments = {"steps": 3, "batch_size": 5, "sample_weight": weights, "verbose": 0, "shuffle": False}
    numerical = net.fit(X, y, gradient="numerical", **arguments)
    assert_close(
        numerical.step_loss, twin.fit(X, y, **arguments).step_loss, scale=10.0 + np.zeros(3), kind="difference"
    )
    # where the loss has no curvature, rounding alone determines some of the h
    straight = name.removesuffix(", added up") in ("mean_absolute_error", "hinge", "quantile")
    kind = "rough difference" if straight else "difference"
    assert_close(net.flat_params, twin.flat_params, scale=1.0 + 0 * net.flat_params, kind=kind)


@by_loss
def test_a_batch_of_no_weight_changes_nothing(name):
    weights = np.r_[np.zeros(6), np.ones(6)]
    for gradient in ("backpropagation", "numerical"):
        net, y = make(name)
        before = net.flat_params.copy()
        history = net.fit(
            X, y, steps=1, batch_size=6, shuffle=False, sample_weight=weights, gradient=gradient, verbose=0
        )
        assert history.step_loss.tolist() == [0.0]
        assert history["loss"] == [0.0]
        assert net.flat_params.tobytes() == before.tobytes()


def test_an_infinite_loss_of_weight_zero_counts_as_zero():
    net = nf.Sequential([nf.Dense(1, initializer=[[1.0]])], input_shape=1, loss="poisson")
    assert net.loss([[1e4], [0.0]], [1, 0]) == np.inf
    assert net.loss([[1e4], [0.0]], [1, 0], sample_weight=[0, 1]) == 1
    assert net.gradient([[1e4], [0.0]], [1, 0], sample_weight=[0, 1])["b1"] == 1


@pytest.mark.parametrize(("name", "units"), [*((name, 4) for name in FITTING), ("cross_entropy", 40)])
def test_weights_give_the_same_bits_on_any_number_of_threads(name, units):
    loss, output, y = FITTING[name]
    n = 3000
    rng = np.random.default_rng(0)
    x, rows = rng.normal(size=(n, 3)), np.tile(y, (n // 12,) + (1,) * (y.ndim - 1))
    weights, found = rng.uniform(size=n), []
    for count in (1, 2, 3):
        net = nf.Sequential([nf.Dense(200, "relu"), nf.Dense(units, output)], input_shape=3, loss=loss, seed=0)
        with nf.num_threads(count):
            history = net.fit(x, rows, epochs=1, batch_size=1000, sample_weight=weights, verbose=0)
            value = net.loss(x, rows, sample_weight=weights)
        found.append((history.step_loss.tobytes(), net.flat_params.tobytes(), value, *map(tuple, history.values())))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones(11), ValueError, r"^sample_weight must have shape \(12,\), got \(11,\)"),
        (np.ones((12, 1)), ValueError, r"^sample_weight must have shape \(12,\), got \(12, 1\)"),
        (-np.ones(12), ValueError, "^sample_weight must not be negative, got -1.0 at index 0"),
        (np.full(12, np.nan), ValueError, "^sample_weight must be finite"),
        (np.zeros(12), ValueError, "^sample_weight must not be all zero"),
        (["a"] * 12, TypeError, "^sample_weight must hold real numbers"),
    ],
)
def test_weights_are_checked(weights, error, message):
    net, y = make("cross_entropy")
    before = net.flat_params.copy()
    for call in (
        net.loss,
        net.accuracy,
        net.gradient,
        net.numerical_gradient,
        net.check_gradient,
        net.train_step,
        net.fit,
    ):
        if call == net.train_step and "all zero" in message:
            continue  # a mini-batch of fit may be like this: see the next test
        with pytest.raises(error, match=message):
            call(X, y, sample_weight=weights)
    with pytest.raises(error, match=f"^validation_data: {message[1:]}"):
        net.fit(X, y, validation_data=(X, y, weights))
    np.testing.assert_array_equal(net.flat_params, before)


@pytest.mark.parametrize("optimizer", [nf.SGD(0.1, momentum=0.9), nf.Adam(weight_decay=0.1)])
def test_a_step_of_rows_without_weight_is_that_of_fit(optimizer):
    """Loss and gradient of the data are zero; momentum and decay continue."""
    (net, y), losses = make("cross_entropy"), []
    twin = net.copy()
    weights = np.repeat([1.0, 0.0, 2.0], 4)
    for first in (0, 4, 8):
        rows = slice(first, first + 4)
        before = net.flat_params.copy()
        losses.append(net.train_step(X[rows], y[rows], optimizer, sample_weight=weights[rows]))
        assert (net.flat_params != before).any()
    history = twin.fit(X, y, batch_size=4, shuffle=False, optimizer=optimizer, sample_weight=weights, verbose=0)
    assert losses[1] == 0
    assert losses == history.step_loss.tolist()
    np.testing.assert_array_equal(net.flat_params, twin.flat_params)


@pytest.mark.parametrize("weight", [1e-310, 1e308])
def test_weights_whose_sum_is_beyond_float64(weight):
    net, y = make("cross_entropy")
    with pytest.raises(ValueError, match="^sample_weight must be zero or from 2.23e-308 to"):
        net.loss(X, y, sample_weight=np.full(12, weight))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_average_over_many_rows_is_exact(weighted):
    """Added one after another, the losses of 50,000 rows would have an error of ten roundings or more."""
    rng = np.random.default_rng(11)
    x, y = rng.normal(1000, 1, (50_000, 1)), np.zeros((50_000, 1))
    weights = rng.uniform(0.5, 1.5, len(x)) if weighted else None
    net = nf.Sequential([nf.Dense(1, use_bias=False)], input_shape=1, loss="mean_squared_error", dtype="float64")
    net.flat_params[:] = 1
    losses = (x * x).ravel()
    expected = math.fsum(losses if weights is None else losses * weights)
    expected /= len(x) if weights is None else math.fsum(weights)
    for found in (net.loss(x, y, sample_weight=weights), net.train_step(x, y, sample_weight=weights)):
        assert_close(found, expected, scale=4 * expected, kind="rounding")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_quantiles", [1, 3, 5000])
def test_quantiles_return_in_turn_however_many_outputs_there_are(n_quantiles, dtype):
    """The engine sums in blocks of 4096 outputs, and stores the quantiles once."""
    quantiles = np.linspace(0, 1, n_quantiles + 2)[1:-1]
    targets = 15_000 // n_quantiles
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, targets * n_quantiles)), rng.normal(size=(3, targets))
    net = nf.Sequential(
        [nf.Activation("identity")], input_shape=x.shape[1], loss=nf.losses.Quantile(quantiles), dtype=dtype
    )
    each = np.tile(quantiles, targets)
    expected = float(reference.quantile(x, np.repeat(y, n_quantiles, axis=1), each))
    assert net.loss(x, y) == pytest.approx(expected, rel=1e-6)
    net = nf.Sequential([nf.Rescaling(1.0), nf.LayerNorm(), nf.Activation("identity")], input_shape=x.shape[1],
                        loss=nf.losses.Quantile(quantiles), dtype=dtype)  # fmt: skip
    out = net.predict(x).astype(float)
    slope = reference.quantile_backward(out, np.repeat(y, n_quantiles, axis=1), each)
    np.testing.assert_allclose(net.gradient(x, y)["beta1"], slope.sum(axis=0), rtol=1e-4, atol=1e-9)


def test_there_are_not_too_many_quantiles():
    nf.losses.Quantile(np.linspace(0, 1, 10_002)[1:-1])
    with pytest.raises(ValueError, match="^quantiles must hold at most 10,000 numbers, got 10,001$"):
        nf.losses.Quantile(np.linspace(0, 1, 10_003)[1:-1])
