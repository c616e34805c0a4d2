"""The metric kernel against hand-computed values, its reference twin and scikit-learn; metrics as descriptions."""

from __future__ import annotations

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


OUTPUT_LAYERS = [
    ("softmax", None),
    ("softmax", "mean_squared_error"),
    ("softmax", "kl_divergence"),
    ("log_softmax", None),
    ("log_softmax", "mean_squared_error"),
    ("sigmoid", None),
    ("sigmoid", "sum_squared_error"),
    ("step", "huber"),
    ("tanh", "hinge"),
    ("identity", "hinge"),
    ("relu", None),
    ("sigmoid", nf.losses.Quantile(0.5)),
    ("sigmoid", nf.losses.Poisson(log_input=False)),
]


def at(activation, loss=None, n_out=3):
    return OutputLoss(loss, activation, n_out)


def test_names_and_directions():
    found = [(metric.name, metric.direction) for metric in (kind() for kind in metrics.METRICS)]
    assert found == [
        ("accuracy", "higher"),
        ("subset_accuracy", "higher"),
        ("top_5_accuracy", "higher"),
        ("mean_absolute_error", "lower"),
    ]
    assert set(metrics.__all__) == {kind.__name__ for kind in metrics.METRICS}


def test_metrics_are_resolved_by_name():
    for kind in metrics.METRICS:
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
            "a metric must be one of 'accuracy', 'mean_absolute_error', .* or of nf.metrics, got 'acc'",
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
        ("subset_accuracy", at("softmax"), CLASSES, "each say yes or no, .* 'softmax' .* use 'accuracy'"),
        ("subset_accuracy", at("identity"), SHARES, "an output layer with sigmoid or step, or loss 'hinge', got"),
        ("subset_accuracy", at("sigmoid", "huber"), SHARES, "targets of 0 and 1"),
        ("top_2_accuracy", at("sigmoid"), ANSWERS, "classes that exclude each other, as of an output layer with soft"),
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
    ("activation", "loss", "targets"),
    [(*layer, targets) for layer in OUTPUT_LAYERS for targets in (SHARES, ANSWERS)],
)
def test_accuracy_applies_where_it_always_did(activation, loss, targets):
    output = at(activation, loss)
    assert (metrics.Accuracy().misfit(output, targets) == "") == (output.counting(targets) is not None)
