"""Metrics of a whole data set: hand-computed values, the formulas in loops, names, messages, and use in training."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from math import log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close

import nnfast as nf
from nnfast import metrics
from nnfast.losses import OutputLoss
from nnfast.metrics import MetricSet
from nnfast.reference import data_metrics as reference

nan = float("nan")


def values_of(chosen, output, outputs, y, weights=None, dtype=np.float64):
    """All values by name, as `Sequential.evaluate` computes them from outputs."""
    outputs = np.asarray(outputs, dtype)
    targets = output.targets(y, len(outputs), np.dtype(dtype))
    weights = None if weights is None else np.array(weights, np.float64)
    return MetricSet.chosen(chosen, output, targets, weighted=weights is not None).computed(outputs, targets, weights)


def value_of(metric, *arguments, **options):
    (value,) = values_of([metric], *arguments, **options).values()
    return value


BINARY = OutputLoss(None, "sigmoid", 1)
LABELS = OutputLoss(None, "sigmoid", 3)
CLASSES = OutputLoss(None, "softmax", 3)
LINEAR = OutputLoss(None, "identity", 1)
PLANE = OutputLoss(None, "identity", 2)

# ---- values computed by hand: of classes 0, 0, 1, 1, 2 the answers are 0, 1, 1, 1, 0
ROWS = [[0.7, 0.2, 0.1], [0.2, 0.5, 0.3], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.5, 0.2, 0.3]]
OF_CLASS = [0, 0, 1, 1, 2]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("precision_by_class", [1 / 2, 2 / 3, 0]),
        ("recall_by_class", [1 / 2, 1, 0]),
        ("f1_by_class", [1 / 2, 4 / 5, 0]),
        ("precision", [(1 / 2 + 2 / 3) / 3]),
        ("precision_macro", [(1 / 2 + 2 / 3) / 3]),
        ("precision_micro", [3 / 5]),
        ("precision_weighted", [(2 * 1 / 2 + 2 * 2 / 3) / 5]),
        ("recall", [(1 / 2 + 1) / 3]),
        ("recall_weighted", [3 / 5]),
        ("f1", [(1 / 2 + 4 / 5) / 3]),
        ("f1_micro", [3 / 5]),
        ("f1_weighted", [(1 + 8 / 5) / 5]),
        (metrics.FBeta(2, average=None), [5 / 10, 10 / 11, 0]),
        (metrics.FBeta(0.5), [(1.25 / 2.5 + 2.5 / 3.5) / 3]),
        ("balanced_accuracy", [(1 / 2 + 1 + 0) / 3]),
        # class 0: 0.7 and 0.2 against 0.1, 0.3, 0.5; class 1: 0.8 and 0.4 against 0.2, 0.5, 0.2; class 2: 0.3 against
        # 0.1, 0.3, 0.1, 0.3, of which ties count half
        ("roc_auc_by_class", [4 / 6, 5 / 6, 3 / 4]),
        ("roc_auc", [(4 / 6 + 5 / 6 + 3 / 4) / 3]),
        ("roc_auc_macro", [(4 / 6 + 5 / 6 + 3 / 4) / 3]),
        ("roc_auc_weighted", [(2 * 4 / 6 + 2 * 5 / 6 + 3 / 4) / 5]),
        ("log_loss", [-(log(0.7) + log(0.2) + log(0.8) + log(0.4) + log(0.3)) / 5]),
    ],
)
@pytest.mark.parametrize("one_hot", [False, True])
def test_values_of_classes(name, expected, one_hot):
    y = np.eye(3)[OF_CLASS] if one_hot else OF_CLASS
    found = values_of([name], CLASSES, ROWS, y)
    assert list(found.values()) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # with these weights the counts are 3 right of class 0, 1 of class 0 as 1, 0.5 right of 1, 2 of class 2 as 0
        ("precision_by_class", [3 / 5, 0.5 / 1.5, 0]),
        ("recall_by_class", [3 / 4, 1, 0]),
        ("f1_by_class", [2 * 3 / 9, 2 * 0.5 / 2, 0]),
        ("recall_weighted", [3.5 / 6.5]),
        ("balanced_accuracy", [(3 / 4 + 1) / 3]),
        # class 0: 3 at 0.7 and 1 at 0.2 against 0.5 at 0.1 and 2 at 0.5
        ("roc_auc_by_class", [(3 * 2.5 + 0.5) / (4 * 2.5), (0.5 * 6) / (0.5 * 6), (4 + 0.5 - 0.5) / 4.5]),
        ("log_loss", [-(3 * log(0.7) + log(0.2) + 0.5 * log(0.8) + 2 * log(0.3)) / 6.5]),
    ],
)
def test_weighted_values_of_classes(name, expected):
    found = values_of([name], CLASSES, ROWS, OF_CLASS, [3, 1, 0.5, 0, 2])
    assert list(found.values()) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("precision", [1 / 2]),
        ("recall", [1 / 3]),
        ("f1", [2 / 5]),
        ("precision_by_class", [2 / 4, 1 / 2]),
        ("recall_by_class", [2 / 3, 1 / 3]),
        ("f1_macro", [(4 / 7 + 2 / 5) / 2]),
        ("f1_micro", [1 / 2]),
        (metrics.FBeta(2), [5 / (4 * 3 + 2)]),
        ("balanced_accuracy", [(2 / 3 + 1 / 3) / 2]),
        # positives at 0.9, 0.4, 0.1 against negatives at 0.6, 0.4, 0.2
        ("roc_auc", [(3 + 1.5 + 0) / 9]),
        ("roc_auc_by_class", [4.5 / 9, 4.5 / 9]),
        ("log_loss", [-(log(0.9) + log(0.4) + log(0.1) + log(0.4) + log(0.6) + log(0.8)) / 6]),
    ],
)
@pytest.mark.parametrize("form", ["one output", "two classes", "margins"])
def test_values_of_two_classes(name, expected, form):
    """The same whether they are one output, two that exclude each other, or a margin; class 1 is the positive one."""
    p, y = np.array([0.9, 0.4, 0.1, 0.6, 0.4, 0.2]), np.array([1, 1, 1, 0, 0, 0])
    output, outputs = BINARY, p[:, None]
    if form == "two classes":
        output, outputs = OutputLoss(None, "softmax", 2), np.column_stack([1 - p, p])
    if form == "margins":
        output, outputs = OutputLoss("hinge", "identity", 1), 10 * p[:, None] - 5
        if name == "log_loss":
            return
    assert list(values_of([name], output, outputs, y).values()) == pytest.approx(expected, rel=1e-14)


SEVERAL = [[0.9, 0.1, 0.2], [0.4, 0.7, 0.3], [0.6, 0.6, 0.1], [0.2, 0.3, 0.4]]
ANSWERS = [[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("precision_by_class", [1 / 2, 1, 0]),
        ("recall_by_class", [1 / 2, 1, 0]),
        ("f1", [(1 / 2 + 1) / 3]),
        ("f1_micro", [2 * 3 / (4 + 5)]),
        ("precision_micro", [3 / 4]),
        ("recall_micro", [3 / 5]),
        ("f1_weighted", [(2 * 1 / 2 + 2 * 1) / 5]),
        ("roc_auc_by_class", [3 / 4, 1, 0]),
        ("roc_auc", [(3 / 4 + 1) / 3]),
        (
            "log_loss",
            [-sum(map(log, (0.9, 0.9, 0.8, 0.4, 0.7, 0.7, 0.4, 0.6, 0.1, 0.8, 0.7, 0.6))) / 12],
        ),
    ],
)
def test_values_of_several_labels(name, expected):
    assert list(values_of([name], LABELS, SEVERAL, ANSWERS).values()) == pytest.approx(expected, rel=1e-14)


def test_a_threshold_of_outputs_whatever_the_loss_is_computed_from():
    """An output at the threshold says no, as in `Sequential.predict_class`."""
    for loss in (None, "mean_squared_error"):
        output = OutputLoss(loss, "sigmoid", 1)
        assert value_of("recall", output, [[0.5], [0.5001], [0.3]], [1, 1, 1]) == 1 / 3
    assert value_of("recall", OutputLoss("hinge", "tanh", 1), [[0.0], [0.1], [-0.3]], [1, 1, 1]) == 1 / 3
    assert value_of("recall", OutputLoss("huber", "step", 1), [[0.0], [1.0], [1.0]], [1, 1, 1]) == 2 / 3


@pytest.mark.parametrize(
    ("name", "expected", "weighted"),
    [
        ("mean_squared_error", (1 + 0 + 4) / 3, (3 * 1 + 2 * 4) / 5.5),
        ("root_mean_squared_error", sqrt(5 / 3), sqrt(11 / 5.5)),
        ("r2", 1 - 5 / 8, 1 - 11 / (3 * 4 + 2 * 4 - 5.5 * (-2 / 5.5) ** 2)),  # targets -2, 0, 2, seen from their mean
    ],
)
def test_values_of_estimates(name, expected, weighted):
    outputs, y, weights = [[2.0], [3.0], [3.0]], [1.0, 3.0, 5.0], [3, 0.5, 2]
    assert value_of(name, LINEAR, outputs, y) == pytest.approx(expected, rel=1e-14)
    assert value_of(name, LINEAR, outputs, y, weights) == pytest.approx(weighted, rel=1e-14)


def test_estimates_of_several_outputs_and_of_labels():
    outputs, y = [[0.0, 1.0], [2.0, 5.0]], [[2.0, 1.0], [2.0, 1.0]]
    assert value_of("mean_squared_error", PLANE, outputs, y) == (4 + 16) / 4
    assert value_of("root_mean_squared_error", PLANE, outputs, y) == (sqrt(2) + sqrt(8)) / 2  # not of all elements
    assert value_of("r2", PLANE, outputs, [[1.0, 1.0], [3.0, 1.0]]) == ((1 - 2 / 2) + 0) / 2
    assert value_of("mean_squared_error", CLASSES, [[0.5, 0.5, 0]], [1]) == 0.5 / 3
    reshaped = np.array(outputs).reshape(2, 2, 1)
    assert metrics.MeanSquaredError().for_output(PLANE)(reshaped, np.array(y).reshape(2, 2, 1), None) == 5


# ---- where a value is not defined


def test_classes_that_do_not_occur():
    rows, y = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1]], [0, 0]  # class 2 is neither true nor predicted
    found = values_of(["precision_by_class", "recall_by_class", "f1_by_class"], CLASSES, rows, y)
    assert list(found.values()) == [1, 0, 0, 0.5, 0, 0, pytest.approx(2 / 3), 0, 0]
    assert value_of("precision", CLASSES, rows, y) == 0.5  # of the two that occur
    assert value_of("recall", CLASSES, rows, y) == 0.25
    assert value_of("balanced_accuracy", CLASSES, rows, y) == 0.5  # of those that are true
    found = values_of(["roc_auc_by_class", "roc_auc", "roc_auc_weighted"], CLASSES, rows, y)
    assert all(np.isnan(value) for value in found.values())
    rows, y = [*rows, [0.2, 0.3, 0.5]], [0, 0, 1]
    found = values_of(["roc_auc_by_class", "roc_auc", "roc_auc_weighted"], CLASSES, rows, y)
    assert list(found.values()) == pytest.approx([1, 0.5, nan, nan, (2 + 0.5) / 3], nan_ok=True)


def test_labels_that_do_not_occur():
    """They count as 0, unlike classes that do not occur: they are asked about in each row."""
    rows, answers = [[0.9, 0.8, 0.1], [0.2, 0.7, 0.1]], [[1, 1, 0], [0, 1, 0]]
    for name in ("precision", "recall", "f1"):
        assert value_of(name, LABELS, rows, answers) == 2 / 3
        assert value_of(f"{name}_weighted", LABELS, rows, answers) == 1
        assert value_of(f"{name}_weighted", LABELS, rows, np.zeros((2, 3))) == 0


def test_areas_of_both_classes_are_the_same():
    p, y = [[0.9], [0.1], [0.2], [0.95]], [1, 0, 0, 0]
    assert list(values_of(["roc_auc_by_class"], BINARY, p, y).values()) == [2 / 3, 2 / 3]
    assert list(values_of(["roc_auc", "roc_auc_macro"], BINARY, p, y).values()) == [2 / 3, 2 / 3]


def test_two_classes_of_which_one_does_not_occur():
    for name in ("precision", "recall", "f1"):
        assert value_of(name, BINARY, [[0.1], [0.2]], [0, 0]) == 0
        assert value_of(name, BINARY, [[0.1], [0.2]], [1, 1]) == 0
        assert value_of(name, BINARY, [[0.9], [0.8]], [1, 1]) == 1
    for y in ([0, 0], [1, 1]):
        assert np.isnan(value_of("roc_auc", BINARY, [[0.1], [0.2]], y))


def test_r2_of_constant_targets_and_of_one_row():
    assert value_of("r2", LINEAR, [[0.1], [0.1], [0.1]], [0.1, 0.1, 0.1]) == 1  # though their mean is rounded
    assert value_of("r2", LINEAR, [[0.1], [0.2], [0.1]], [0.1, 0.1, 0.1]) == 0
    assert np.isnan(value_of("r2", LINEAR, [[nan], [0.2], [0.1]], [0.1, 0.1, 0.1]))
    assert np.isnan(value_of("r2", LINEAR, [[1.0]], [1.0]))
    assert np.isnan(value_of("r2", LINEAR, [[1.0], [2.0]], [1.0, 3.0], [1, 0]))  # a row of weight 0 is absent


def test_outputs_of_nan():
    """They answer nothing: a positive that is missed, and of no predicted class."""
    p, y = [[nan], [0.9], [nan], [0.2]], [1, 1, 0, 0]
    found = values_of(["precision_by_class", "recall_by_class", "balanced_accuracy", "recall_micro"], BINARY, p, y)
    assert list(found.values()) == [1, 1, 0.5, 0.5, 0.5, 0.5]
    rows, y = [[0.8, 0.1, nan], [0.3, 0.6, 0.1]], [0, 1]
    assert list(values_of(["recall_by_class"], CLASSES, rows, y).values()) == [0, 1, 0]
    found = values_of(["precision_by_class", "recall_by_class"], LABELS, rows, [[1, 0, 1], [1, 1, 0]])
    assert list(found.values()) == [1, 1, 0, 0.5, 1, 0]
    for name in ("roc_auc", "log_loss", "mean_squared_error", "root_mean_squared_error", "r2"):
        assert np.isnan(value_of(name, BINARY, p, [1, 1, 0, 0]))
        weighted = value_of(name, BINARY, p, [1, 1, 0, 0], [0, 1, 0, 1])  # a row of weight 0 is absent
        assert weighted == value_of(name, BINARY, [[0.9], [0.2]], [1, 0])
        assert np.isfinite(weighted)


EVERY = ["precision_by_class", "recall", "f1_weighted", "f1_micro", "roc_auc", "roc_auc_weighted", "log_loss",
         "mean_squared_error", "root_mean_squared_error", "r2"]  # fmt: skip


@pytest.mark.parametrize("output", [BINARY, LABELS, CLASSES], ids=["binary", "labels", "classes"])
def test_no_rows_that_count(output):
    """As an epoch that `stop` cuts off may have: no error, no warning, and no number but the default of 0."""
    k = output.n_out
    with np.errstate(all="raise"):
        for rows, weights in ((2, [0, 0]), (0, None)):
            found = values_of(EVERY, output, np.full((rows, k), 1 / k), np.zeros((rows, k)) + np.eye(1, k), weights)
            assert all(np.isnan(value) or value == 0 for value in found.values())
            assert np.isnan(found["log_loss"])


def test_probabilities_of_zero_and_one_are_clipped():
    for dtype in (np.float32, np.float64):
        epsilon = float(np.finfo(dtype).eps)
        assert value_of("log_loss", BINARY, [[0.0]], [1], dtype=dtype) == pytest.approx(-log(epsilon))
        assert value_of("log_loss", BINARY, [[1.0]], [1], dtype=dtype) == pytest.approx(epsilon)
        assert value_of("log_loss", CLASSES, [[0.0, 1.0, 0.0]], [0], dtype=dtype) == pytest.approx(-log(epsilon))
        logs = OutputLoss(None, "log_softmax", 3)
        assert value_of("log_loss", logs, [[-500.0, 0.0, -np.inf]], [0], dtype=dtype) == 500
        assert value_of("log_loss", logs, [[-500.0, 0.0, -np.inf]], [[0.5, 0.5, 0]], dtype=dtype) == 250


@pytest.mark.parametrize("scale", [1e-300, 2.0**600, 1e300])
def test_weights_count_by_their_ratios(scale):
    weights = np.array([3, 1, 0.5, 2, 1])
    for name in ("f1", "f1_micro", "roc_auc", "balanced_accuracy", "log_loss", "r2"):
        found = value_of(name, CLASSES, ROWS, OF_CLASS, weights * scale)
        assert found == pytest.approx(value_of(name, CLASSES, ROWS, OF_CLASS, weights), rel=1e-13)


# ---- the formulas in loops

SIZES = {"n": st.integers(1, 25), "k": st.integers(2, 5), "weighted": st.booleans(), "seed": st.integers(0, 2**32 - 1)}
OF_COUNTS = ("precision", "recall", "f1")


def drawn(rng, n, weighted):
    return rng.choice([0.25, 0.5, 1.0, 3.0], n) if weighted else np.ones(n)


@given(**SIZES)
def test_classes_agree_with_the_formulas(n, k, weighted, seed):
    rng = np.random.default_rng(seed)
    output, weights = OutputLoss(None, "softmax", k), drawn(rng, n, weighted)
    outputs = rng.choice([0.0, 0.25, 0.5, 1.0], (n, k))  # many ties
    outputs[rng.random(n) < 0.05, rng.integers(0, k)] = nan
    targets = rng.integers(0, rng.integers(1, k + 1), n)  # often without the last classes
    answers = np.where(np.isnan(outputs).any(axis=1), -1, outputs.argmax(axis=1))
    found = values_of([f"{name}_by_class" for name in OF_COUNTS], output, outputs, targets, weights)
    each = [reference.precision_recall_f(targets, answers, weights, c) for c in range(k)]
    for i, name in enumerate(OF_COUNTS):
        expected = np.array([triple[i] for triple in each])
        assert_close(np.array([found[f"{name}_class_{c}"] for c in range(k)]), expected)
        occurs = np.isin(np.arange(k), (targets, answers))
        macro = expected[1] if k == 2 else expected[occurs].mean()
        assert_close(value_of(name, output, outputs, targets, weights), macro)
    recalls = reference.balanced_accuracy(targets, answers, weights)
    assert_close(value_of("balanced_accuracy", output, outputs, targets, weights), recalls)
    areas = values_of(["roc_auc_by_class"], output, outputs, targets, weights)
    for c, area in enumerate(areas.values()):
        known = nan if np.isnan(outputs[:, c]).any() else reference.roc_auc(targets == c, outputs[:, c], weights)
        assert_close(area, known)


@given(**SIZES)
def test_log_loss_agrees_with_the_formula(n, k, weighted, seed):
    rng = np.random.default_rng(seed)
    weights, labels = drawn(rng, n, weighted), rng.integers(0, k, n)
    p, soft = rng.dirichlet(np.full(k, 0.3), (2, n))
    output = OutputLoss(None, "softmax", k)
    assert_close(value_of("log_loss", output, p, soft, weights), reference.log_loss(soft, p, weights))
    expected = reference.log_loss(np.eye(k)[labels], p, weights)
    assert_close(value_of("log_loss", output, p, labels, weights), expected)
    logs = np.log(np.maximum(p, 2.0**-52))
    assert_close(value_of("log_loss", OutputLoss(None, "log_softmax", k), logs, labels, weights), expected, scale=n)
    columns = zip(soft.T, p.T, strict=True)
    pairs = [reference.log_loss(np.stack([1 - t, t], 1), np.stack([1 - q, q], 1), weights) for t, q in columns]
    found = value_of("log_loss", OutputLoss(None, "sigmoid", k), p, soft, weights)
    assert_close(found, np.mean(pairs), scale=100 * max(pairs))


@given(**SIZES)
def test_estimates_agree_with_the_formulas(n, k, weighted, seed):
    rng = np.random.default_rng(seed)
    weights, outputs, y = drawn(rng, n, weighted), rng.normal(size=(n, k)), rng.normal(size=(n, k))
    y[:, 0] = y[0, 0]
    for name in ("mean_squared_error", "root_mean_squared_error", "r2"):
        each = [getattr(reference, name)(t, o, weights) for t, o in zip(y.T, outputs.T, strict=True)]
        found = value_of(name, OutputLoss(None, "identity", k), outputs, y, weights)
        assert_close(found, np.mean(each), scale=np.sum(np.abs(each)) + (10 if name == "r2" else 0))


@given(n=st.integers(2, 12), k=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
def test_whole_weights_are_repeated_rows_and_zero_is_absence(n, k, seed):
    rng = np.random.default_rng(seed)
    output = OutputLoss(None, "sigmoid", k) if k < 3 else CLASSES
    outputs, weights = rng.choice([0.1, 0.25, 0.5, 0.75], (n, k)), np.append(1, rng.integers(0, 4, n - 1))
    y = rng.integers(0, 2, (n, k)) if k < 3 else rng.integers(0, 3, n)
    found = values_of(EVERY, output, outputs, y, weights)
    repeated = np.repeat(np.arange(n), weights)
    for name, value in values_of(EVERY, output, outputs[repeated], y[repeated]).items():
        # a single row has no R², however often it counts
        if name != "r2" or np.count_nonzero(weights) > 1:
            assert found[name] == pytest.approx(value, rel=1e-12, abs=1e-12, nan_ok=True), name


# ---- names, descriptions, messages

KINDS = {
    "precision": metrics.Precision, "recall": metrics.Recall, "f1": metrics.F1, "roc_auc": metrics.RocAUC,
    "balanced_accuracy": metrics.BalancedAccuracy, "log_loss": metrics.LogLoss, "r2": metrics.R2,
    "mean_squared_error": metrics.MeanSquaredError, "root_mean_squared_error": metrics.RootMeanSquaredError,
}  # fmt: skip
LOWER = {"log_loss", "mean_squared_error", "root_mean_squared_error"}


def test_names_and_directions():
    for name, kind in KINDS.items():
        assert metrics.resolve_metric(name) == kind()
        assert (kind().name, kind().direction) == (name, "lower" if name in LOWER else "higher")
        assert kind.registry[name] is kind
    of_engine = {"Accuracy", "SubsetAccuracy", "TopKAccuracy", "MeanAbsoluteError"}
    others = {"Metric", "FBeta", "FunctionMetric", "confusion_matrix"}
    assert set(metrics.__all__) == {kind.__name__ for kind in KINDS.values()} | of_engine | others


def test_every_name_is_in_the_registry_once_its_module_is_imported():
    for name in metrics.NAMES:
        assert metrics.resolve_metric(name).name == name
    assert set(metrics.Metric.registry) == set(metrics.NAMES)
    assert list(metrics.NAMES) == sorted(metrics.NAMES)


def test_modules_that_are_imported_when_asked_for():
    """By a name, as an attribute, or by a star import; not by `import nnfast`."""
    late = "by_class", "probabilities", "regression", "function", "confusion", "answers", "rows"
    code = f"""
import sys, nnfast as nf
loaded = lambda: [name for name in {late} if "nnfast.metrics." + name in sys.modules]
print(loaded())
nf.metrics.resolve_metric("r2")
print(loaded())
assert nf.metrics.F1().name == "f1" and nf.metrics.resolve_metric(max).name == "max"
try:
    nf.metrics.F2
except AttributeError as error:
    print(error)
assert dir(nf.metrics) == sorted(nf.metrics.__all__)
from nnfast.metrics import *
print(loaded(), confusion_matrix([0], [0]))
"""
    found = subprocess.check_output([sys.executable, "-P", "-W", "error", "-c", code], text=True).splitlines()
    assert found == [
        "[]",
        "['regression', 'rows']",
        "module 'nnfast.metrics' has no attribute 'F2'",
        f"{list(late)} [[1]]",
    ]


def test_names_of_averages():
    for name in ("precision", "recall", "f1"):
        for average in ("macro", "micro", "weighted"):
            assert metrics.resolve_metric(f"{name}_{average}") == KINDS[name](average=average) != KINDS[name]()
            assert KINDS[name](average=average).name == f"{name}_{average}"
        assert metrics.resolve_metric(f"{name}_by_class") == KINDS[name](average=None)
    assert metrics.resolve_metric("roc_auc_weighted") == metrics.RocAUC(average="weighted")
    assert repr(metrics.F1(average=None)) == "F1(average=None)"
    assert repr(metrics.FBeta(2)) == "FBeta(2.0)"
    assert [metrics.FBeta(beta).name for beta in (1, 2, 0.5, 1.0000001)] == ["f1", "f2", "f0.5", "f1.0000001"]
    assert metrics.FBeta(0.5, average="micro").name == "f0.5_micro"


@pytest.mark.parametrize(
    "name", ["f2", "f1_auto", "f1_", "_by_class", "f1_by", "roc_auc_micro", "log_loss_macro", "accuracy_micro", "auc"]
)
def test_names_that_are_not_metrics(name):
    with pytest.raises(ValueError, match=f"^a metric must be one of 'accuracy', .* got '{name}'$"):
        metrics.resolve_metric(name)


def test_bad_arguments():
    with pytest.raises(
        ValueError, match=r"^average must be one of 'auto', 'macro', .*, or None for each class, got 'x"
    ):
        metrics.F1(average="x")
    with pytest.raises(
        ValueError, match=r"^average must be one of 'auto', 'macro', 'weighted', or None .*, got 'micro'"
    ):
        metrics.RocAUC(average="micro")
    with pytest.raises(TypeError, match=r"^average must be a name or None, got 3"):
        metrics.Precision(average=3)
    for beta in (0, -1, np.inf, nan):
        with pytest.raises(ValueError, match="^beta must be a finite number in"):
            metrics.FBeta(beta)
    with pytest.raises(TypeError, match="^beta must be a number, got '2'"):
        metrics.FBeta("2")
    with pytest.raises(TypeError, match=r"^FBeta\(\) missing a required argument: 'beta'"):
        metrics.FBeta()
    with pytest.raises(AttributeError, match="a metric is a description and does not change: make a new F1"):
        metrics.F1().average = "macro"
    with pytest.raises(NotImplementedError, match="F1 is computed at an output layer, by Sequential.evaluate"):
        metrics.F1().compute(np.zeros((2, 1)), np.zeros((2, 1)), None)


def test_extreme_betas():
    for beta, name in ((1e-200, "precision"), (1e200, "recall")):
        found = value_of(metrics.FBeta(beta), BINARY, [[0.9], [0.8], [0.2]], [1, 1, 1])
        assert found == value_of(name, BINARY, [[0.9], [0.8], [0.2]], [1, 1, 1])


@pytest.mark.parametrize(
    ("metric", "output", "y", "message"),
    [
        (
            "f1",
            LINEAR,
            [[0.0], [1.0]],
            "'f1' needs an output layer with softmax, sigmoid or step, or loss 'hinge', got",
        ),
        ("recall_macro", OutputLoss("huber", "sigmoid", 1), [0.5, 1], "'recall_macro' needs targets of 0 and 1"),
        ("roc_auc", OutputLoss("huber", "log_softmax", 2), -np.ones((2, 2)), "'roc_auc' needs labels, or rows of"),
        ("balanced_accuracy", LABELS, np.zeros((2, 3)), "mutually exclusive .* and 3 outputs: use 'recall_macro'"),
        ("balanced_accuracy", LINEAR, [0.0, 1.0], "'balanced_accuracy' needs an output layer with softmax"),
        (
            "log_loss",
            OutputLoss("hinge", "tanh", 1),
            [0, 1],
            "needs outputs that are probabilities, .* activation 'tanh'",
        ),
        (
            "log_loss",
            OutputLoss("huber", "step", 1),
            [0, 1],
            "needs outputs that are probabilities, .* 'step' with loss",
        ),
        (
            "log_loss",
            OutputLoss("huber", "softmax", 2),
            [[0, 2], [1, 0]],
            "'log_loss' needs labels, or targets from 0 to",
        ),
        (
            "log_loss",
            OutputLoss("huber", "log_softmax", 2),
            np.zeros((2, 2)),
            "'log_loss' needs labels, or rows of prob",
        ),
        ("r2", OutputLoss("hinge", "tanh", 1), [0, 1], "needs outputs that estimate the targets, got loss 'hinge'"),
        ("mean_squared_error", OutputLoss("poisson", "identity", 1), [0, 1], "'poisson', whose outputs estimate their"),
    ],
)
def test_metrics_that_do_not_fit(metric, output, y, message):
    with pytest.raises(ValueError, match=f"^metric .*{message}"):
        value_of(metric, output, np.zeros((2, output.n_out)), y)


def test_values_of_the_same_name():
    class Taken(metrics.Metric):
        name = "f1_class_1"

        def compute(self, outputs, targets, sample_weight):
            return 0.0

    with pytest.raises(ValueError, match="^metrics must not contain duplicates, got 'f1_class_1' twice$"):
        values_of(["f1_by_class", Taken()], CLASSES, ROWS, OF_CLASS)
    with pytest.raises(ValueError, match="^metrics must not contain duplicates, got 'f1' twice$"):
        values_of(["f1", metrics.FBeta(1)], CLASSES, ROWS, OF_CLASS)


def test_all_values_have_a_direction():
    chosen = MetricSet.chosen(["log_loss", "accuracy", "recall_by_class", "f1"], CLASSES, np.array(OF_CLASS))
    assert chosen.directions == {
        "log_loss": "lower", "accuracy": "higher", "recall_class_0": "higher", "recall_class_1": "higher",
        "recall_class_2": "higher", "f1": "higher",
    }  # fmt: skip
    assert [metric.name for metric in chosen.others] == ["log_loss", "recall_by_class", "f1"]
    assert MetricSet.chosen(["roc_auc_by_class"], BINARY, np.eye(1)).directions == {
        "roc_auc_class_0": "higher", "roc_auc_class_1": "higher",
    }  # fmt: skip


def test_a_subclass_of_a_metric_by_class_may_compute():
    class Own(metrics.F1):
        name = "own"

        def compute(self, outputs, targets, sample_weight):
            return len(outputs)

    assert values_of([Own(average=None)], CLASSES, ROWS, OF_CLASS) == {"own": 5.0}


# ---- functions


def worst(targets, outputs):
    return np.abs(targets - outputs).max()


def mean_error(targets, outputs, *, sample_weight=None):
    return np.average((outputs - targets)[:, 0], weights=sample_weight)


def test_functions():
    outputs, y = [[2.0], [3.0]], [1.0, 5.0]
    assert values_of([worst, mean_error], LINEAR, outputs, y) == {"worst": 2.0, "mean_error": -0.5}
    assert value_of(mean_error, LINEAR, outputs, y, [3, 1]) == (3 - 2) / 4
    made = metrics.FunctionMetric(worst, name="largest", direction="lower")
    assert (made.name, made.direction, made.function) == ("largest", "lower", worst)
    assert values_of([made], LINEAR, outputs, y) == {"largest": 2.0}
    assert metrics.resolve_metric(worst) == metrics.FunctionMetric(worst) != made
    assert metrics.resolve_metric(worst).direction == "higher"
    assert repr(made).startswith("FunctionMetric(<function worst at")
    assert repr(made).endswith("name='largest', direction='lower')")
    assert value_of(metrics.FunctionMetric(lambda t, o: t.sum(), name="sum"), CLASSES, ROWS, OF_CLASS) == 4  # labels


def test_weights_that_a_function_does_not_take():
    others = (lambda t, o, sample_weights=None: 0, lambda t, o, sample_weight=None, /: 0)  # by position only
    for kind in (worst, *(metrics.FunctionMetric(function, name="worst") for function in others)):
        with pytest.raises(
            ValueError,
            match="^metric 'worst' cannot weight rows, but they have weights, from .*: define .* parameter sample_w",
        ):
            value_of(kind, LINEAR, [[2.0], [3.0]], [1.0, 5.0], [3, 1])
    assert metrics.FunctionMetric(max).takes_weights  # it has no signature: a call will tell
    taking = metrics.FunctionMetric(lambda t, o, **options: options["sample_weight"].sum(), name="taking")
    assert value_of(taking, LINEAR, [[2.0], [3.0]], [1.0, 5.0], [3, 1]) == 4


def test_functions_without_a_name():
    for function in (lambda t, o: 0.0, partial(worst)):
        with pytest.raises(
            ValueError, match=r"^a metric needs a name, got .*: use nf.metrics.FunctionMetric\(function, "
        ):
            value_of(function, LINEAR, [[2.0]], [1.0])
        assert value_of(metrics.FunctionMetric(function, name="it"), LINEAR, [[1.0]], [1.0]) == 0


def test_bad_functions():
    with pytest.raises(TypeError, match=r"^function must be callable, as function\(targets, outputs\), got 'f1'"):
        metrics.FunctionMetric("f1")
    with pytest.raises(TypeError, match="^name must be a string, got 3"):
        metrics.FunctionMetric(worst, name=3)
    with pytest.raises(ValueError, match="^direction must be one of 'higher', 'lower', got 'up'"):
        metrics.FunctionMetric(worst, direction="up")
    for name in ("loss", "val_worst", ""):
        with pytest.raises(ValueError, match=r"^FunctionMetric\.name must be a string other than 'loss'"):
            value_of(metrics.FunctionMetric(worst, name=name), LINEAR, [[2.0]], [1.0])
    for value in (None, "1", np.ones(2), 1j):
        with pytest.raises(TypeError, match="^odd must return a (real )?number, got"):
            value_of(metrics.FunctionMetric(lambda t, o, value=value: value, name="odd"), LINEAR, [[2.0]], [1.0])

    def writing(targets, outputs):
        outputs[...] = 0

    with pytest.raises(ValueError, match="read-only"):
        value_of(writing, LINEAR, [[2.0]], [1.0])


# ---- with networks

X = np.random.default_rng(5).normal(size=(40, 4))
Y = np.random.default_rng(6).integers(0, 3, 40)
NAMES = ["f1_by_class", "accuracy", "roc_auc", "log_loss", "recall_micro"]


def make_net(activation="softmax", units=3, **options):
    return nf.Sequential([nf.Dense(6, "tanh"), nf.Dense(units, activation)], input_shape=4, seed=3, **options)


def test_evaluate():
    net, weights = make_net(), np.random.default_rng(7).choice([0.0, 1, 2.5], 40)
    for given_weights in (None, weights):
        found = net.evaluate(X, Y, metrics=NAMES, sample_weight=given_weights)
        assert list(found) == ["loss", "f1_class_0", "f1_class_1", "f1_class_2", *NAMES[1:]]
        expected = values_of(NAMES, CLASSES, net.predict(X), Y, given_weights, np.float32)
        expected["accuracy"] = net.accuracy(X, Y, sample_weight=given_weights)
        assert found == pytest.approx({"loss": net.loss(X, Y, sample_weight=given_weights)} | expected, rel=1e-12)
        assert found["log_loss"] == pytest.approx(found["loss"], rel=1e-6)
        assert found["recall_micro"] == pytest.approx(found["accuracy"])


def test_evaluate_with_functions():
    net, y = make_net("identity", 1), X[:, 0]
    outputs = net.predict(X)[:, 0]
    found = net.evaluate(X, y, metrics=[mean_error, worst, "r2"])
    assert list(found) == ["loss", "mean_error", "worst", "r2"]
    assert found["mean_error"] == pytest.approx((outputs - y).mean(), rel=1e-4)
    weights = np.arange(40.0)
    found = net.evaluate(X, y, metrics=[mean_error], sample_weight=weights)
    assert found["mean_error"] == pytest.approx(np.average(outputs - y, weights=weights), rel=1e-4)
    with pytest.raises(ValueError, match="^metric 'worst' cannot weight rows, but they have weights"):
        net.evaluate(X, y, metrics=[worst], sample_weight=weights)


@pytest.mark.parametrize("units", [1, 4])
@pytest.mark.parametrize(("activation", "loss"), [("sigmoid", None), ("identity", "hinge"), ("step", "huber")])
def test_answers_are_those_of_predict_class(activation, loss, units):
    net = make_net(activation, units, loss=loss)
    y = np.random.default_rng(8).integers(0, 2, (40, units))
    answers = net.predict_class(X).reshape(40, units)
    found = net.evaluate(X, y, metrics=["recall_micro", "accuracy", "precision_by_class"])
    yes = min(units - 1, 1)  # class 1 of one output, or label 1 of several
    right = (answers & y)[:, yes].sum()
    assert found["precision_class_1"] == pytest.approx(right / answers[:, yes].sum())
    if units == 1:
        assert found["recall_micro"] == pytest.approx(found["accuracy"])
    else:
        assert found["recall_micro"] == pytest.approx((answers & y).sum() / y.sum())


def test_of_validation_data():
    net = make_net()
    history = net.fit(X, Y, epochs=3, validation_data=(X[:20], Y[:20]), metrics=NAMES, verbose=0)
    entries = ["f1_class_0", "f1_class_1", "f1_class_2", *NAMES[1:]]
    assert [name for name in history if name.startswith("val_")] == [f"val_{name}" for name in ("loss", *entries)]
    last = net.evaluate(X[:20], Y[:20], metrics=NAMES)
    assert {name: history[f"val_{name}"][-1] for name in last} == last
    assert all(len(history[name]) == 3 for name in history)


def test_nothing_leaks_floating_point_errors():
    with np.errstate(all="raise"):
        net = make_net("sigmoid", 1)
        net.evaluate(X, np.zeros(40), metrics=["f1", "roc_auc", "precision_by_class", "r2", "log_loss"])
        net = make_net("identity", 1, dtype="float64")
        net.params["W2"] = np.full((6, 1), 1e300)
        assert net.evaluate(X, np.zeros(40), metrics=["root_mean_squared_error"])["root_mean_squared_error"] == np.inf
