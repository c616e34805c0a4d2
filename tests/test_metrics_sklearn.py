"""Metrics beside scikit-learn's, on generated cases: ties, weights, classes that do not occur."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_metrics_data import value_of, values_of
from tolerances import assert_close

import nnfast as nf
from nnfast import metrics
from nnfast.losses import OutputLoss

theirs = pytest.importorskip("sklearn.metrics", reason="compared with scikit-learn")

nan = float("nan")
SIZES = {"n": st.integers(1, 30), "k": st.integers(2, 5), "weighted": st.booleans(), "seed": st.integers(0, 2**32 - 1)}
FEWER = settings(max_examples=25)  # scikit-learn takes milliseconds for each call
OF_COUNTS = {
    "precision": theirs.precision_score,
    "recall": theirs.recall_score,
    "f1": theirs.f1_score,
    "f2": lambda *a, **k: theirs.fbeta_score(*a, beta=2, **k),
}


def ours(name, average="auto"):
    kind = {
        "precision": metrics.Precision,
        "recall": metrics.Recall,
        "f1": metrics.F1,
        "f2": lambda average: metrics.FBeta(2, average=average),
    }[name]
    return kind(average=average)


def drawn(rng, n, weighted):
    """Weights, of which some are zero: then a row counts as absent, and so does a class that it alone has."""
    weights = rng.choice([0.0, 0.5, 1.0, 3.0], n) if weighted else np.ones(n)
    weights[0] = 1
    return weights


def quiet(function, *arguments, **options):
    """The value that scikit-learn gives, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


def compare(found, expected):
    assert_close(
        np.asarray(found, np.float64),
        np.asarray(expected, np.float64),
        kind="peer",
        scale=1 + np.abs(np.nan_to_num(expected)),
    )


@FEWER
@given(**SIZES)
def test_counts_of_classes(n, k, weighted, seed):
    rng = np.random.default_rng(seed)
    output, weights = OutputLoss(None, "softmax", k), drawn(rng, n, weighted)
    outputs = rng.choice([0.0, 0.25, 0.5, 1.0], (n, k))
    y = rng.integers(0, rng.integers(1, k + 1), n)
    counts = np.flatnonzero(weights)
    true, answers, given_weights = y[counts], outputs.argmax(axis=1)[counts], weights[counts]
    for name, function in OF_COUNTS.items():
        for average in ("macro", "micro", "weighted"):
            found = value_of(ours(name, average), output, outputs, y, weights)
            compare(found, quiet(function, true, answers, average=average, sample_weight=given_weights))
        if k > 2:
            assert value_of(ours(name), output, outputs, y, weights) == value_of(
                ours(name, "macro"), output, outputs, y, weights
            )
        found = list(values_of([ours(name, None)], output, outputs, y, weights).values())
        options = {"labels": range(k), "average": None, "sample_weight": given_weights}
        compare(found, quiet(function, true, answers, **options))
    found = value_of("balanced_accuracy", output, outputs, y, weights)
    compare(found, quiet(theirs.balanced_accuracy_score, true, answers, sample_weight=given_weights))
    found = metrics.confusion_matrix(y, outputs.argmax(axis=1), n_classes=k, sample_weight=weights)
    compare(found, theirs.confusion_matrix(true, answers, labels=range(k), sample_weight=given_weights))


@FEWER
@given(
    n=SIZES["n"], weighted=SIZES["weighted"], seed=SIZES["seed"], form=st.sampled_from(["sigmoid", "softmax", "hinge"])
)
def test_counts_of_two_classes(n, weighted, seed, form):
    rng = np.random.default_rng(seed)
    weights, p, y = drawn(rng, n, weighted), rng.choice([0.0, 0.25, 0.5, 0.75], n), rng.integers(0, 2, n)
    if rng.random() < 0.2:
        y[:] = y[0]
    output, outputs = {
        "sigmoid": (OutputLoss(None, "sigmoid", 1), p[:, None]),
        "softmax": (OutputLoss(None, "softmax", 2), np.column_stack([1 - p, p])),
        "hinge": (OutputLoss("hinge", "identity", 1), p[:, None] - 0.5),
    }[form]
    for name, function in OF_COUNTS.items():
        found = value_of(ours(name), output, outputs, y, weights)
        compare(found, quiet(function, y, p > 0.5, sample_weight=weights))
        found = list(values_of([ours(name, None)], output, outputs, y, weights).values())
        compare(found, quiet(function, y, p > 0.5, sample_weight=weights, average=None, labels=[0, 1]))
    found = value_of("roc_auc", output, outputs, y, weights)
    counts = weights > 0
    compare(found, quiet(theirs.roc_auc_score, y[counts], p[counts], sample_weight=weights[counts]))
    if form != "hinge":
        found = value_of("log_loss", output, outputs, y, weights)
        compare(found, quiet(theirs.log_loss, y, y_proba=p, sample_weight=weights, labels=[0, 1]))


@FEWER
@given(**SIZES)
def test_counts_and_areas_of_several_labels(n, k, weighted, seed):
    rng = np.random.default_rng(seed)
    output, weights = OutputLoss(None, "sigmoid", k), drawn(rng, n, weighted)
    outputs, y = rng.choice([0.0, 0.25, 0.5, 0.75, 1.0], (n, k)), rng.integers(0, 2, (n, k))
    y[:, rng.random(k) < 0.2] = 0
    for name, function in OF_COUNTS.items():
        for average in ("macro", "micro", "weighted"):
            found = value_of(ours(name, average), output, outputs, y, weights)
            compare(found, quiet(function, y, outputs > 0.5, average=average, sample_weight=weights))
        found = list(values_of([ours(name, None)], output, outputs, y, weights).values())
        compare(found, quiet(function, y, outputs > 0.5, average=None, sample_weight=weights))
    counts = weights > 0
    options = {"sample_weight": weights[counts], "average": None}
    found = list(values_of(["roc_auc_by_class"], output, outputs, y, weights).values())
    each = [quiet(theirs.roc_auc_score, y[counts, c], outputs[counts, c], **options) for c in range(k)]
    compare(found, each)
    compare(value_of("roc_auc", output, outputs, y, weights), np.mean(each))
    if (weights @ y).any():
        found = value_of("roc_auc_weighted", output, outputs, y, weights)
        compare(
            found,
            quiet(theirs.roc_auc_score, y[counts], outputs[counts], sample_weight=weights[counts], average="weighted"),
        )


@FEWER
@given(**SIZES)
def test_areas_and_log_loss_of_classes(n, k, weighted, seed):
    rng = np.random.default_rng(seed)
    k, weights = k + 1, drawn(rng, n, weighted)
    output, y = OutputLoss(None, "softmax", k), rng.integers(0, rng.integers(1, k + 1), n)
    outputs = rng.integers(1, 4, (n, k)).astype(float)  # many ties, also among shares
    outputs /= outputs.sum(axis=1, keepdims=True)
    counts = weights > 0
    options = {"labels": range(k), "sample_weight": weights[counts], "multi_class": "ovr"}
    for average, name in (("macro", "roc_auc"), (None, "roc_auc_by_class"), ("weighted", "roc_auc_weighted")):
        found = list(values_of([name], output, outputs, y, weights).values())
        compare(found, np.ravel(quiet(theirs.roc_auc_score, y[counts], outputs[counts], average=average, **options)))
    outputs[rng.random(n) < 0.3] = np.eye(k)[0]
    for dtype in (np.float32, np.float64):
        found = value_of("log_loss", output, outputs, y, weights, dtype=dtype)
        expected = quiet(theirs.log_loss, y, y_proba=outputs.astype(dtype), labels=range(k), sample_weight=weights)
        assert found == pytest.approx(expected, rel=1e-5 if dtype == np.float32 else 1e-12)  # theirs in float32


@FEWER
@given(n=st.integers(2, 30), k=SIZES["k"], weighted=SIZES["weighted"], seed=SIZES["seed"])
def test_estimates(n, k, weighted, seed):
    rng = np.random.default_rng(seed)
    output, weights = OutputLoss(None, "identity", k), drawn(rng, n, weighted)
    weights[1] = 2
    outputs, y = rng.integers(-3, 4, (2, n, k)) / 4  # so that the mean of constant targets is exact
    constant = rng.random(k) < 0.3
    y[:, constant] = y[0, constant]
    same = rng.random(k) < 0.2
    outputs[:, same] = y[:, same]
    for name, function in (
        ("mean_squared_error", theirs.mean_squared_error),
        ("root_mean_squared_error", theirs.root_mean_squared_error),
        ("mean_absolute_error", theirs.mean_absolute_error),
        ("r2", theirs.r2_score),
    ):
        if name != "mean_absolute_error":  # which the engine computes
            compare(value_of(name, output, outputs, y, weights), function(y, outputs, sample_weight=weights))
        given_function = metrics.FunctionMetric(function)
        assert value_of(given_function, output, outputs, y, weights) == function(y, outputs, sample_weight=weights)


def test_functions_of_scikit_learn_as_metrics():
    """By their names, with and without weights; those that need answers through a function of one's own."""
    rng = np.random.default_rng(0)
    x, y, weights = rng.normal(size=(50, 3)), rng.normal(size=50), rng.choice([0.0, 1.0, 2.5], 50)
    net = nf.Sequential([nf.Dense(1)], input_shape=3, seed=0, dtype="float64")
    chosen = [theirs.r2_score, theirs.mean_pinball_loss, "r2"]
    for given_weights in (None, weights):
        found = net.evaluate(x, y, metrics=chosen, sample_weight=given_weights)
        assert list(found) == ["loss", "r2_score", "mean_pinball_loss", "r2"]
        assert found["r2_score"] == pytest.approx(found["r2"], rel=1e-12)

    def matthews(targets, outputs, sample_weight=None):
        return theirs.matthews_corrcoef(targets, outputs.argmax(axis=1), sample_weight=sample_weight)

    classes = nf.Sequential([nf.Dense(3, "softmax")], input_shape=3, seed=0)
    labels = rng.integers(0, 3, 50)
    history = classes.fit(
        x, labels, epochs=2, metrics=["accuracy", matthews], validation_data=(x, labels, weights), verbose=0
    )
    expected = theirs.matthews_corrcoef(labels, classes.predict_class(x), sample_weight=weights)
    assert history["val_matthews"][-1] == pytest.approx(expected)
