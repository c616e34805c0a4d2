"""The metric kernel against hand-computed values, its reference twin and scikit-learn; metrics as descriptions."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close

import nnfast as nf
from nnfast import metrics, reference
from nnfast.kernels import arrays as kernels
from nnfast.losses import OutputLoss

DTYPES = (np.float32, np.float64)
BOTH = pytest.mark.parametrize("score", [kernels.score, reference.score], ids=["kernel", "reference"])
COUNTS = ("class_accuracy", "top_k_accuracy", "binary_accuracy", "subset_accuracy")
nan = float("nan")

OUTPUTS = [[0.5, 0.25, 0.25], [0.25, 0.5, 0.5], [0.75, nan, 0.0], [-1.0, -2.0, -3.0]]
TARGETS = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
LABELS = [0, 2, 0, 1]


@BOTH
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize(
    ("metric", "k", "expected"),
    [
        ("class_accuracy", 1, [1, 0, 0, 0]),  # of equal outputs the first is the largest; NaN is never right
        ("top_k_accuracy", 1, [1, 0, 0, 0]),
        ("top_k_accuracy", 2, [1, 1, 0, 1]),
        ("top_k_accuracy", 3, [1, 1, 0, 1]),
        ("absolute_error", 1, [1.0, 1.25, nan, 7.0]),
    ],
)
def test_scores_of_classes(score, dtype, labels, metric, k, expected):
    target = np.array(LABELS) if labels else np.array(TARGETS, dtype)
    scores = score(np.array(OUTPUTS, dtype), target, metric, k=k)
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(scores, expected)


@BOTH
@pytest.mark.parametrize("dtype", DTYPES)
def test_of_equal_outputs_the_first_are_the_largest(score, dtype):
    outputs = np.ones((4, 4), dtype)
    for k in range(1, 5):
        np.testing.assert_array_equal(score(outputs, np.arange(4), "top_k_accuracy", k=k), np.arange(4) < k)


@BOTH
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("metric", "threshold", "expected"),
    [
        ("binary_accuracy", 0.5, [3, 3, 2, 2]),  # an output at the threshold says no
        ("binary_accuracy", 0.25, [3, 2, 2, 2]),
        ("subset_accuracy", 0.5, [1, 1, 0, 0]),
        ("subset_accuracy", -2.5, [0, 0, 0, 0]),
    ],
)
def test_scores_of_yes_and_no(score, dtype, metric, threshold, expected):
    outputs = np.array([[0.75, 0.25, 0.25], [0.25, 0.5, 0.75], [0.75, nan, 0.0], [-1.0, -2.0, -3.0]], dtype)
    np.testing.assert_array_equal(score(outputs, np.array(TARGETS, dtype), metric, threshold), expected)


@BOTH
def test_weights_multiply_scores(score):
    outputs, labels = np.array(OUTPUTS), np.array(LABELS)
    weights = np.array([0.5, 3.0, 0.0, 2.0])
    for metric, k, expected in (
        ("top_k_accuracy", 2, [0.5, 3.0, 0.0, 2.0]),
        ("absolute_error", 1, [0.5, 3.75, 0.0, 14.0]),  # a row of weight zero contributes nothing, not even its NaN
    ):
        np.testing.assert_array_equal(score(outputs, labels, metric, k=k, weights=weights), expected)


@BOTH
@pytest.mark.parametrize("metric", COUNTS)
def test_totals(score, metric):
    outputs = np.array(OUTPUTS)
    scores = score(outputs, np.array(TARGETS), metric, 0.3, k=2)
    total = score(outputs, np.array(TARGETS), metric, 0.3, k=2, total=True)
    assert type(total) is int
    assert total == scores.sum() > 0


@given(
    m=st.integers(0, 40),
    n=st.integers(1, 70),
    k=st.integers(1, 9),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**32 - 1),
)
def test_counts_agree_with_the_reference(m, n, k, dtype, seed):
    """Values from a short list, so that many are equal; some NaN."""
    rng = np.random.default_rng(seed)
    values = np.array([-1, 0, 0.25, 0.5, 2, np.inf, -np.inf, np.nan], dtype)
    outputs = rng.choice(values, (m, n), p=[0.16, 0.16, 0.16, 0.16, 0.16, 0.09, 0.09, 0.02])
    soft = rng.choice(np.array([0, 0.5, 1], dtype), (m, n))
    weights = rng.choice([0.0, 0.5, 3.0], m)
    for metric in COUNTS:
        for target in (soft, rng.integers(0, n, m)) if "class" in metric or "top" in metric else (soft,):
            for threshold in (0.0, 0.5):
                arguments = (outputs, target, metric, threshold, k)
                np.testing.assert_array_equal(kernels.score(*arguments), reference.score(*arguments))
                np.testing.assert_array_equal(
                    kernels.score(*arguments, weights=weights), reference.score(*arguments, weights=weights)
                )
                assert kernels.score(*arguments, total=True) == reference.score(*arguments, total=True)


@given(
    m=st.integers(0, 5),
    n=st.one_of(st.integers(1, 70), st.sampled_from([4095, 4096, 4097, 8200])),  # around a block of a sum
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**32 - 1),
)
def test_absolute_errors(m, n, dtype, seed):
    rng = np.random.default_rng(seed)
    outputs, target = rng.normal(0, 3, (2, m, n)).astype(dtype)
    labels = rng.integers(0, n, m)
    for t in (target, labels):
        values = target if t is target else np.eye(1, n, 0)[0][(np.arange(n) - labels[:, None]) % n]
        actual, scale = kernels.score(outputs, t, "absolute_error"), (np.abs(outputs) + np.abs(values)).sum(axis=1)
        expected = np.abs(outputs.astype(np.float64) - values).sum(axis=1)
        assert_close(actual.astype(dtype), expected, scale=scale)
        if t is target or n <= 70:
            assert_close(actual.astype(dtype), reference.score(outputs, t, "absolute_error"), scale=scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 3, 8, 17, 4097])
def test_a_label_has_the_error_of_its_one_hot_row(n, dtype):
    """To the bit."""
    rng = np.random.default_rng(n)
    outputs, labels = rng.normal(size=(7, n)).astype(dtype), rng.integers(0, n, 7)
    labels[:2] = 0, n - 1
    one_hot = np.zeros((7, n), dtype)
    one_hot[np.arange(7), labels] = 1
    assert (
        kernels.score(outputs, labels, "absolute_error").tobytes()
        == kernels.score(outputs, one_hot, "absolute_error").tobytes()
    )


def test_scikit_learn_agrees():
    theirs = pytest.importorskip("sklearn.metrics", reason="compared with scikit-learn")
    rng = np.random.default_rng(0)
    outputs, labels, weights = rng.normal(size=(200, 6)), rng.integers(0, 6, 200), rng.uniform(size=200)
    total = weights.sum()
    for k in range(1, 6):
        expected = theirs.top_k_accuracy_score(labels, outputs, k=k, sample_weight=weights)
        mine = kernels.score(outputs, labels, "top_k_accuracy", k=k, weights=weights).sum() / total
        assert_close(mine, expected, kind="peer")
    mine = kernels.score(outputs, labels, "class_accuracy", weights=weights).sum() / total
    assert_close(mine, theirs.accuracy_score(labels, outputs.argmax(axis=1), sample_weight=weights), kind="peer")
    answers = (outputs + rng.normal(0, 0.3, outputs.shape) > 0).astype(float)
    mine = kernels.score(outputs, answers, "subset_accuracy", 0.0, weights=weights).sum() / total
    assert 0.1 < mine < 0.9
    assert_close(mine, theirs.accuracy_score(answers, outputs > 0, sample_weight=weights), kind="peer")
    mine = kernels.score(outputs, answers, "absolute_error", weights=weights).sum() / (total * 6)
    assert_close(mine, theirs.mean_absolute_error(answers, outputs, sample_weight=weights), kind="peer")


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((LABELS, "binary_accuracy"), {}, ValueError, "binary_accuracy needs targets of the prediction's shape, got"),
        ((LABELS, "subset_accuracy"), {}, ValueError, "subset_accuracy needs targets of the prediction's shape, got"),
        (([0, 1, 3, 0], "top_k_accuracy"), {}, ValueError, r"labels must be in 0\.\.2, got 3"),
        (([0, -1, 2, 0], "absolute_error"), {}, ValueError, r"labels must be in 0\.\.2, got -1"),
        (([0, 1], "class_accuracy"), {}, ValueError, "expected shape"),
        ((LABELS, "r2"), {}, KeyError, "r2"),
        ((LABELS, "absolute_error"), {"total": True}, ValueError, "a total is the number of right answers"),
        ((LABELS, "class_accuracy"), {"total": True, "weights": np.ones(4)}, ValueError, "a total is the number"),
        ((LABELS, "class_accuracy"), {"weights": np.ones(3)}, ValueError, "expected shape"),
        ((LABELS, "class_accuracy"), {"weights": np.ones(4, np.float32)}, TypeError, "expected dtype"),
    ],
)
def test_bad_arguments_of_the_kernel(arguments, options, error, message):
    target, metric = arguments
    with pytest.raises(error, match=message):
        kernels.score(np.array(OUTPUTS), np.array(target), metric, **options)


# ---- descriptions


ANSWERS = np.array([[0.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
SHARES = np.array([[0.2, 0.5, 0.3], [0.1, 0.8, 0.1]])
CLASSES = np.array([1, 1])


KINDS = (metrics.Accuracy, metrics.SubsetAccuracy, metrics.TopKAccuracy, metrics.MeanAbsoluteError)  # of the engine


def at(activation, loss=None, n_out=3):
    return OutputLoss(loss, activation, n_out)


def test_names_and_directions():
    found = [(metric.name, metric.direction) for metric in (kind() for kind in KINDS)]
    assert found == [
        ("accuracy", "higher"),
        ("subset_accuracy", "higher"),
        ("top_5_accuracy", "higher"),
        ("mean_absolute_error", "lower"),
    ]


def test_metrics_are_resolved_by_name():
    for kind in KINDS:
        assert metrics.resolve_metric(kind().name) == kind()
    assert metrics.resolve_metric("top_12_accuracy") == metrics.TopKAccuracy(12) != metrics.TopKAccuracy(5)
    mine = metrics.TopKAccuracy(2)
    assert metrics.resolve_metric(mine) is mine
    assert hash(mine) == hash(metrics.TopKAccuracy(2))
    assert repr(mine) == "TopKAccuracy(k=2)"
    assert metrics.resolve_metrics(["accuracy", mine]) == (metrics.Accuracy(), mine)


@pytest.mark.parametrize(
    ("metric", "error", "message"),
    [
        (
            "acc",
            ValueError,
            "a metric must be one of 'accuracy', .* 'top_5_accuracy', of nf.metrics, or a function of .*, got 'acc'",
        ),
        ("top_0_accuracy", ValueError, "got 'top_0_accuracy'"),
        ("top_k_accuracy", ValueError, "got 'top_k_accuracy'"),
        (metrics.Accuracy, TypeError, "a metric must be one of"),
        (None, TypeError, "got None"),
    ],
)
def test_unknown_metrics(metric, error, message):
    with pytest.raises(error, match=message):
        metrics.resolve_metric(metric)


def test_bad_arguments_of_metrics():
    with pytest.raises(ValueError, match="metrics must not contain duplicates, got 'top_3_accuracy' twice"):
        metrics.resolve_metrics(["top_3_accuracy", "accuracy", metrics.TopKAccuracy(3)])
    with pytest.raises(TypeError, match="metrics must be a sequence of metrics, got 'accuracy'"):
        metrics.resolve_metrics("accuracy")
    for k in (0, -1):
        with pytest.raises(ValueError, match=f"k must be at least 1, got {k}"):
            metrics.TopKAccuracy(k)
    with pytest.raises(TypeError, match="k must be an integer"):
        metrics.TopKAccuracy(2.0)
    with pytest.raises(AttributeError, match="a metric is a description and does not change: make a new TopKAccuracy"):
        metrics.TopKAccuracy(2).k = 3


@pytest.mark.parametrize(
    ("metric", "output", "targets", "scoring"),
    [
        ("accuracy", at("softmax"), CLASSES, ("class_accuracy", 0.0, 1, False, 1)),
        ("accuracy", at("softmax", "mean_squared_error"), SHARES, ("class_accuracy", 0.0, 1, False, 1)),
        ("accuracy", at("sigmoid"), SHARES, ("binary_accuracy", 0.0, 1, False, 3)),
        ("accuracy", at("sigmoid", "mean_squared_error"), ANSWERS, ("binary_accuracy", 0.5, 1, False, 3)),
        ("accuracy", at("identity", "hinge"), 2 * ANSWERS - 1, ("binary_accuracy", 0.0, 1, False, 3)),
        ("subset_accuracy", at("sigmoid"), ANSWERS, ("subset_accuracy", 0.0, 1, False, 1)),
        ("subset_accuracy", at("step", "mean_squared_error"), ANSWERS, ("subset_accuracy", 0.5, 1, False, 1)),
        ("top_2_accuracy", at("log_softmax"), CLASSES, ("top_k_accuracy", 0.0, 2, False, 1)),
        ("mean_absolute_error", at("softmax"), CLASSES, ("absolute_error", 0.0, 1, True, 3)),
        ("mean_absolute_error", at("identity"), SHARES, ("absolute_error", 0.0, 1, True, 3)),
        ("mean_absolute_error", at("softplus", nf.losses.Poisson(False)), ANSWERS, ("absolute_error", 0.0, 1, True, 3)),
        ("mean_absolute_error", at("identity", nf.losses.Quantile(0.5)), SHARES, ("absolute_error", 0.0, 1, True, 3)),
    ],
)
def test_what_the_engine_is_given(metric, output, targets, scoring):
    found = metrics.resolve_metric(metric)
    found.check(output, targets)
    assert found.scoring(output) == scoring
    assert scoring[0] in kernels.METRICS


@pytest.mark.parametrize(
    ("metric", "output", "targets", "message"),
    [
        ("accuracy", at("relu"), SHARES, "softmax, sigmoid or step, or loss 'hinge', got activation 'relu' with loss"),
        ("accuracy", at("sigmoid", "huber"), SHARES, "targets of 0 and 1 with loss 'huber', got other values in y"),
        ("accuracy", at("log_softmax", "huber"), SHARES, "labels, or rows of probabilities, and so a loss such as"),
        ("subset_accuracy", at("softmax"), CLASSES, "binary outputs, .* 'softmax' .* use 'accuracy'"),
        ("subset_accuracy", at("identity"), SHARES, "an output layer with sigmoid or step, or loss 'hinge', got"),
        ("subset_accuracy", at("sigmoid", "huber"), SHARES, "targets of 0 and 1"),
        ("top_2_accuracy", at("sigmoid"), ANSWERS, "mutually exclusive classes, as from an output layer with"),
        ("top_3_accuracy", at("softmax"), CLASSES, "more than 3 classes, got 3: every answer would be right"),
        ("mean_absolute_error", at("identity", "hinge"), ANSWERS, "got loss 'hinge', whose outputs are margins"),
        ("mean_absolute_error", at("identity", "poisson"), ANSWERS, "'poisson', whose outputs estimate their logari"),
        ("mean_absolute_error", at("log_softmax"), CLASSES, "'cross_entropy', whose outputs estimate their logarith"),
        (
            "mean_absolute_error",
            at("identity", nf.losses.Quantile([0.1, 0.5, 0.9])),
            SHARES,
            "one output for each target, got loss 'quantile' with 3 quantiles",
        ),
    ],
)
def test_metrics_that_do_not_fit(metric, output, targets, message):
    with pytest.raises(ValueError, match=f"metric '{metric}' needs .*{message}"):
        metrics.resolve_metric(metric).check(output, targets)


@pytest.mark.parametrize(
    ("activation", "loss", "shares", "answers"),
    [
        ("softmax", None, True, True),
        ("softmax", "mean_squared_error", True, True),
        ("softmax", "kl_divergence", True, True),
        ("log_softmax", None, True, True),
        ("log_softmax", "mean_squared_error", False, False),  # the targets are logarithms
        ("sigmoid", None, True, True),
        ("sigmoid", "sum_squared_error", False, True),  # a squared error is of classes only if the targets are
        ("step", "huber", False, True),
        ("tanh", "hinge", True, True),
        ("identity", "hinge", True, True),
        ("relu", None, False, False),
        ("sigmoid", nf.losses.Quantile(0.5), False, False),
        ("sigmoid", nf.losses.Poisson(log_input=False), False, True),
    ],
)
def test_where_accuracy_is_the_default(activation, loss, shares, answers):
    for targets, expected in ((SHARES, shares), (ANSWERS, answers)):
        chosen = metrics.MetricSet.chosen(None, at(activation, loss), targets)
        assert chosen.metrics == ((metrics.Accuracy(),) if expected else ())


# ---- in evaluate and fit

RNG = np.random.default_rng(5)
X = RNG.normal(size=(23, 4))
WEIGHTS = RNG.choice([0.0, 0.5, 1.0, 3.0], 23)
BINARY = RNG.integers(0, 2, (23, 3)).astype(float)
CASES = {
    "classes": ("softmax", None, RNG.integers(0, 3, 23), ["accuracy", "top_2_accuracy", "mean_absolute_error"]),
    "probabilities": (
        "softmax",
        "mean_squared_error",
        np.eye(3)[RNG.integers(0, 3, 23)],
        ["accuracy", "top_1_accuracy"],
    ),
    "answers": ("sigmoid", None, BINARY, ["subset_accuracy", "mean_absolute_error", "accuracy"]),
    "margins": ("identity", "hinge", 2 * BINARY - 1, ["accuracy", "subset_accuracy"]),
    "regression": ("identity", None, RNG.normal(size=(23, 3)), ["mean_absolute_error"]),
}
EVERY_CASE = pytest.mark.parametrize("case", CASES)


def make_net(case, dtype="float64", **arguments):
    output, loss, _, _ = CASES[case]
    layers = [nf.Dense(6, "tanh"), nf.Dense(3, output)]
    return nf.Sequential(layers, input_shape=4, loss=loss, dtype=dtype, seed=3, **arguments)


def expected_metrics(case, outputs, y, weights=None):
    """From the outputs, in plain NumPy."""
    found = {}
    weights = np.ones(len(outputs)) if weights is None else weights
    for name in CASES[case][3]:
        per_row = 1
        if case in ("classes", "probabilities"):
            of_class = y if y.ndim == 1 else y.argmax(axis=1)
            rank = (outputs > outputs[np.arange(len(y)), of_class][:, None]).sum(axis=1)
            scores = rank < {"top_2_accuracy": 2}.get(name, 1)
            if name == "mean_absolute_error":
                scores, per_row = np.abs(outputs - np.eye(3)[y]).sum(axis=1), 3
        elif name == "mean_absolute_error":
            scores, per_row = np.abs(outputs - y).sum(axis=1), 3
        else:
            right = (outputs > (0 if case == "margins" else 0.5)) == (y > 0.5)
            scores, per_row = (right.all(axis=1), 1) if name == "subset_accuracy" else (right.sum(axis=1), 3)
        found[name] = (weights * scores).sum() / (weights.sum() * per_row)
    return found


@EVERY_CASE
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["rows", "weighted"])
def test_evaluate(case, weights):
    net, y, names = make_net(case), *CASES[case][2:]
    values = net.evaluate(X, y, metrics=names, sample_weight=weights)
    assert list(values) == ["loss", *names]
    assert values["loss"] == net.loss(X, y, sample_weight=weights)
    for name, value in expected_metrics(case, net.predict(X), y, weights).items():
        assert values[name] == pytest.approx(value, rel=1e-13)
    if "accuracy" in names:
        assert values["accuracy"] == net.accuracy(X, y, sample_weight=weights)
    assert net.evaluate(X, y, metrics=[]) == {"loss": net.loss(X, y)}


@EVERY_CASE
def test_evaluation_by_default(case):
    net, y, names = make_net(case), *CASES[case][2:]
    assert list(net.evaluate(X, y)) == ["loss", *(["accuracy"] if "accuracy" in names else [])]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", ["classes", "answers"])
def test_the_number_of_threads_does_not_matter(case, weighted):
    _, _, y, names = CASES[case]
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, 23, 20_000)
    x, y, weights = X[chosen] + rng.normal(size=(20_000, 4)), y[chosen], rng.random(20_000) if weighted else None
    net = nf.Sequential([nf.Dense(64, "relu"), nf.Dense(3, CASES[case][0])], input_shape=4, seed=3)
    found = []
    for threads in (1, 2, 3):
        with nf.num_threads(threads):
            twin = net.copy()
            history = twin.fit(x, y, batch_size=5000, metrics=names, sample_weight=weights, verbose=0)
            found.append((twin.evaluate(x, y, metrics=names, sample_weight=weights), dict(history)))
    assert found[0] == found[1] == found[2]


@EVERY_CASE
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["rows", "weighted"])
@pytest.mark.parametrize("gradient", ["backpropagation", "numerical"])
def test_running_metrics_are_those_of_the_mini_batches(case, weights, gradient):
    """Each mini-batch before its update."""
    net, y, names = make_net(case), *CASES[case][2:]
    twin, expected, sums = net.copy(), [], []
    for first in range(0, 23, 5):
        batch = slice(first, first + 5)
        part = None if weights is None else weights[batch]
        expected.append(expected_metrics(case, twin.predict(X[batch]), y[batch], part))
        sums.append(len(X[batch]) if part is None else part.sum())
        twin.fit(
            X[batch], y[batch], steps=1, batch_size=5, shuffle=False, sample_weight=part, optimizer=nf.SGD(0.5),
            gradient=gradient, verbose=0
        )  # fmt: skip
    history = net.fit(
        X, y, batch_size=5, shuffle=False, sample_weight=weights, metrics=names, optimizer=nf.SGD(0.5),
        gradient=gradient, verbose=0
    )  # fmt: skip
    assert list(history) == ["loss", *names]
    for name in names:
        mean = np.average([values[name] for values in expected], weights=sums)
        assert history[name] == [pytest.approx(mean, rel=1e-12)]


@pytest.mark.filterwarnings("ignore:L-BFGS did not converge")
@EVERY_CASE
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_metrics_do_not_change_the_training(case, optimizer, dtype):
    """To the bit, although the last activation is applied where the loss was computed without it."""
    _, _, y, names = CASES[case]
    nets = [make_net(case, dtype) for _ in range(2)]
    histories = [
        net.fit(X, y, epochs=4, optimizer=optimizer, metrics=metrics, verbose=0, validation_data=(X, y))
        for net, metrics in zip(nets, ([], names), strict=True)
    ]
    for array, other in zip(nets[0].params.values(), nets[1].params.values(), strict=True):
        assert array.tobytes() == other.tobytes()
    assert list(histories[0]) == ["loss", "val_loss"]
    assert list(histories[1]) == ["loss", *names, "val_loss", *(f"val_{name}" for name in names)]
    assert histories[0]["val_loss"] == histories[1]["val_loss"]
    last = nets[1].evaluate(X, y, metrics=names)
    assert [histories[1][f"val_{name}"][-1] for name in names] == [last[name] for name in names]
    if optimizer == "lbfgs":  # which records the whole data after each iteration
        assert histories[1]["val_loss"] == pytest.approx(histories[1]["loss"], rel=1e-6)
        for name in names:
            assert histories[1][f"val_{name}"] == pytest.approx(histories[1][name], rel=1e-6)


def test_layers_that_reshape_outputs():
    net = nf.Sequential([nf.Dense(6), nf.Reshape((2, 3))], input_shape=4, dtype="float64", seed=0)
    y = RNG.normal(size=(23, 2, 3))
    found = net.evaluate(X, y, metrics=["mean_absolute_error", Bias()])
    assert found["mean_absolute_error"] == pytest.approx(np.abs(net.predict(X) - y).mean(), rel=1e-13)
    assert found["bias"] == pytest.approx((net.predict(X) - y).mean())


class Bias(metrics.Metric):
    name = "bias"
    direction = "lower"

    def compute(self, outputs, targets, sample_weight):
        assert outputs.shape == targets.shape
        return np.average((outputs - targets).reshape(len(outputs), -1).mean(axis=1), weights=sample_weight)


def test_a_metric_of_ones_own():
    net, y = make_net("regression"), CASES["regression"][2]
    names = [Bias(), "mean_absolute_error"]
    found = net.evaluate(X, y, metrics=names)
    assert list(found) == ["loss", "bias", "mean_absolute_error"]
    assert found["bias"] == pytest.approx((net.predict(X) - y).mean())
    weighted = net.evaluate(X, y, metrics=names, sample_weight=WEIGHTS)["bias"]
    assert weighted == pytest.approx((WEIGHTS @ (net.predict(X) - y)).sum() / WEIGHTS.sum() / 3)
    history = net.fit(X, y, epochs=3, metrics=names, validation_data=(X, y), verbose=0)
    names = ["loss", "bias", "mean_absolute_error"]
    assert list(history) == names + [f"val_{name}" for name in names]
    assert history.directions == dict.fromkeys(history, "lower")
    assert history["val_bias"][-1] == pytest.approx((net.predict(X) - y).mean())


def test_a_metric_of_labels_sees_labels():
    seen = []

    class Seen(metrics.Metric):
        name = "seen"

        def compute(self, outputs, targets, sample_weight):
            seen.append((outputs.dtype, outputs.shape, targets.dtype, targets.tolist(), sample_weight))
            return 1

    net, y = make_net("classes", "float32"), CASES["classes"][2]
    assert net.evaluate(X, y, metrics=[Seen()])["seen"] == 1.0
    assert seen == [(np.float32, (23, 3), np.int64, y.tolist(), None)]


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_metric_cannot_change_the_data(written):
    class Writing(metrics.Metric):
        name = "writing"

        def compute(self, *arrays):
            arrays[written][...] = 0
            return 1.0

    net, y, weights = make_net("regression"), CASES["regression"][2].copy(), WEIGHTS.copy()
    with pytest.raises(ValueError, match="read-only"):
        net.evaluate(X, y, metrics=[Writing()], sample_weight=weights)
    np.testing.assert_array_equal(y, CASES["regression"][2])
    np.testing.assert_array_equal(weights, WEIGHTS)
    y[0] = weights[0] = 1  # the caller may still write to them


def test_a_metric_may_have_attributes():
    class Within(metrics.Metric):
        def __init__(self, limit):
            self.limit, self.name = limit, f"within_{limit}"

        def compute(self, outputs, targets, sample_weight):
            self.calls = getattr(self, "calls", 0) + 1
            return (np.abs(outputs - targets) <= self.limit).mean()

    one, two = Within(1), Within(2)
    found = make_net("regression").evaluate(X, CASES["regression"][2], metrics=[one, two])
    assert 0 < found["within_1"] < found["within_2"] <= 1
    assert (one.calls, two.calls) == (1, 1)


def test_a_subclass_of_a_metric_of_the_engine_may_compute():
    class Strict(metrics.Accuracy):
        name = "strict"

        def compute(self, outputs, targets, sample_weight):
            return 42

    assert make_net("classes").evaluate(X, CASES["classes"][2], metrics=[Strict()])["strict"] == 42


def test_metrics_that_overflow_leak_no_floating_point_errors():
    net = nf.Sequential([nf.Dense(1, initializer=0.0)], input_shape=1, loss="mean_absolute_error", dtype="float64")
    with np.errstate(all="raise"), pytest.warns(RuntimeWarning, match="diverged"):
        history = net.fit(
            np.zeros((4, 1)), np.full(4, 1.5e308), batch_size=1, metrics=["mean_absolute_error"], verbose=0
        )
    assert history["mean_absolute_error"] == [np.inf]


@pytest.mark.parametrize("value", [None, "1", np.ones(2), 1j, [1.0], [[1], [1, 2]]])
def test_a_metric_must_return_a_number(value):
    class Odd(metrics.Metric):
        name = "odd"

        def compute(self, outputs, targets, sample_weight):
            return value

    with pytest.raises(TypeError, match=r"^Odd\.compute must return a number, got"):
        make_net("regression").evaluate(X, CASES["regression"][2], metrics=[Odd()])


def test_metrics_that_cannot_be_used():
    net, y = make_net("regression"), CASES["regression"][2]
    before = net.params["W1"].copy()

    class WithoutCompute(metrics.Metric):
        name = "nothing"

    for name in ("loss", "val_bias", "", 3):
        odd = type("Odd", (Bias,), {"name": name})()
        with pytest.raises(ValueError, match=r"^Odd\.name must be a string other than 'loss' that does not begin with"):
            net.evaluate(X, y, metrics=[odd])
    with pytest.raises(ValueError, match=r"^Nameless\.name must be a string .*, got None"):
        net.evaluate(X, y, metrics=[type("Nameless", (metrics.Metric,), {})()])
    with pytest.raises(ValueError, match=r"direction must be one of 'higher', 'lower', got 'up'"):
        net.evaluate(X, y, metrics=[type("Odd", (Bias,), {"direction": "up"})()])
    for call in (net.evaluate, net.fit):
        with pytest.raises(TypeError, match=r"^WithoutCompute must define compute\(outputs, targets, sample_weight\)$"):
            call(X, y, metrics=[WithoutCompute()])
    with pytest.raises(ValueError, match=r"metrics must not contain duplicates, got 'accuracy' twice"):
        net.evaluate(X, y, metrics=["accuracy", type("Own", (Bias,), {"name": "accuracy"})()])
    for call in (net.evaluate, net.fit):
        with pytest.raises(ValueError, match="^metric 'accuracy' needs an output layer with softmax"):
            call(X, y, metrics=["accuracy"])
        with pytest.raises(TypeError, match=r"^metrics must be a sequence of metrics, got 'accuracy'"):
            call(X, y, metrics="accuracy")
    np.testing.assert_array_equal(net.params["W1"], before)
    assert net.history is None


def test_validation_targets_that_a_metric_cannot_take():
    net = nf.Sequential([nf.Dense(3, "sigmoid")], input_shape=4, loss="mean_squared_error", seed=0)
    with pytest.raises(ValueError, match="^validation_data: metric 'accuracy' needs targets of 0 and 1"):
        net.fit(X, BINARY, metrics=["accuracy"], validation_data=(X, BINARY / 2), verbose=0)


@pytest.mark.parametrize(
    ("monitor", "metric"),
    [("mean_absolute_error", "mean_absolute_error"), ("val_bias", Bias()), ("val_accuracy", "accuracy")],
)
def test_plateaus_of_metrics(monitor, metric):
    """The rate falls after each epoch without improvement in the metric's direction."""
    case = "classes" if metric == "accuracy" else "regression"
    net, y = make_net(case), CASES[case][2]
    schedule = nf.schedules.ReduceOnPlateau(4.0, monitor=monitor, patience=0, factor=0.5)
    history = net.fit(
        X, y, epochs=8, batch_size=23, optimizer=nf.SGD(schedule), metrics=[metric], validation_data=(X, y), verbose=0
    )
    best, rate, rates = None, 4.0, []
    for value in history[monitor]:
        rates.append(rate)
        sign = 1 if case == "classes" else -1
        if best is None or sign * value > sign * best + 1e-4 * best:
            best = value
        else:
            rate *= 0.5
    np.testing.assert_allclose(history.learning_rate, rates)
    assert rate < 4.0


def test_a_plateau_of_a_metric_that_is_not_recorded():
    net, y = make_net("classes"), CASES["classes"][2]
    schedule = nf.schedules.ReduceOnPlateau(0.1, monitor="val_top_2_accuracy")
    with pytest.raises(
        ValueError, match=r"one of loss, accuracy, which this fit records, got 'val_top_2_accuracy': val"
    ):
        net.fit(X, y, optimizer=nf.SGD(schedule), verbose=0)


def test_progress_shows_the_metrics(capsys):
    make_net("classes").fit(X, CASES["classes"][2], metrics=["top_2_accuracy", "accuracy"])
    shown = capsys.readouterr().err
    assert re.fullmatch(r"epoch 1/1: top_2_accuracy [01]\.\d{4}, accuracy [01]\.\d{4}\n", shown)
