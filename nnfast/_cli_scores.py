"""Scores of table models for the command line, with their spread, and tables of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import floor, isfinite, log10
from typing import NamedTuple

import numpy as np

from nnfast._validation import ignore_float_errors
from nnfast.metrics import confusion_matrix
from nnfast.metrics.probabilities import area_under_roc
from nnfast.metrics.regression import r2
from nnfast.tables.targets import Classes, Target

RESAMPLES, FEWEST_RESAMPLES = 200, 25
WORK = 5_000_000  # rows in all resamples, about
MOST_CLASSES = 12  # of a matrix as text
LONGEST = 16  # characters of a class in a matrix

Measure = Callable[[np.ndarray], float]  # of the weights of the rows


class Score(NamedTuple):
    """A score, its standard deviation, and that of a prediction that is the same for all rows, None if unknown."""

    name: str
    value: float
    spread: float
    trivial: float | None


@ignore_float_errors
def scores_of(target: Target, response: np.ndarray, truth: np.ndarray, trivial: np.ndarray | None) -> list[Score]:
    """Return the scores of predictions.

    Parameters
    ----------
    target : Target
    response : ndarray of shape (n, outputs)
        As from `TableModel.response`.
    truth : ndarray of shape (n,)
        The numbers of the classes, or the numbers to predict.
    trivial : ndarray of shape (outputs,), optional
        A response without regard to the row: shares of classes, or a mean.
    """
    n = len(truth)
    measures = _measures(target, response, truth)
    constant = {} if trivial is None else _measures(target, np.tile(trivial, (n, 1)), truth)
    random = np.random.default_rng(0)
    spreads: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(max(FEWEST_RESAMPLES, min(RESAMPLES, WORK // n))):
        weights = np.bincount(random.integers(n, size=n), minlength=n).astype(np.float64)
        for name, measure in measures.items():
            spreads[name].append(measure(weights))
    ones = np.ones(n)
    return [
        Score(name, measure(ones), _deviation(spreads[name]), constant[name](ones) if constant else None)
        for name, measure in measures.items()
    ]


def _deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of the values that are numbers."""
    known = [value for value in values if isfinite(value)]
    return float(np.std(known)) if known else float("nan")


def _measures(target: Target, response: np.ndarray, truth: np.ndarray) -> dict[str, Measure]:
    """Return what is measured, as functions of the weights of rows."""
    if isinstance(target, Classes):
        right = response.argmax(axis=1) == truth
        least = np.finfo(np.float32).eps
        losses = -np.log(np.clip(response[np.arange(len(truth)), truth], least, 1 - least))
        measures: dict[str, Measure] = {
            "accuracy": lambda weights: float(np.average(right, weights=weights)),
            "log loss": lambda weights: float(np.average(losses, weights=weights)),
        }
        if target.units == 2 and 0 < truth.sum() < len(truth):
            measures["ROC AUC"] = lambda weights: area_under_roc(response[:, 1], truth == 1, weights)
        return measures
    predicted = target.predicted(response)
    errors = predicted - truth
    return {
        "RMSE": lambda weights: float(np.sqrt(np.average(errors**2, weights=weights))),
        "MAE": lambda weights: float(np.average(abs(errors), weights=weights)),
        "R2": lambda weights: r2(predicted[:, None], truth[:, None], weights),
    }


def report_lines(
    target: Target, response: np.ndarray, truth: np.ndarray, what: str, trivial: np.ndarray | None = None
) -> list[str]:
    """Return the scores of predictions, and for few classes the confusion matrix.

    The arguments are those of `scores_of`; `what` says what kind of rows they are.
    """
    constant = "most frequent class" if isinstance(target, Classes) else "mean"
    lines = _score_lines(scores_of(target, response, truth, trivial), len(truth), what, constant)
    if isinstance(target, Classes):
        if trivial is not None:
            lines[-1] += "; the log loss beside it is that of the shares of the classes"
        matrix = matrix_lines(target, response.argmax(axis=1), truth)
        lines += ["", *matrix] if matrix else []
    return lines


def _score_lines(scores: Sequence[Score], n: int, what: str, trivial: str) -> list[str]:
    """Return scores as lines; `trivial` says what the constant prediction is."""
    known = scores[0].trivial is not None
    rows = [[f"{n:,} {what}", "model", *([trivial] if known else [])]]
    for score in scores:
        cells = [score.name, f"{number(score.value)} ± {number(score.spread, 2)}"]
        rows.append([*cells, number(score.trivial)] if score.trivial is not None else cells)
    return [*lines_of(rows), f"±: the standard deviation over random resamples of the {what} (bootstrap)"]


def number(value: float, digits: int = 4) -> str:
    """Return a number with a few digits."""
    if not isfinite(value) or value == 0:
        return f"{value:g}"
    places = digits - 1 - floor(log10(abs(value)))
    return f"{value:,.{max(places, 0)}f}" if places <= digits + 3 and abs(value) < 1e9 else f"{value:.{digits}g}"


def matrix_lines(target: Classes, predicted: np.ndarray, truth: np.ndarray) -> list[str]:
    """Return a confusion matrix as lines; none if there are many classes, or long ones."""
    names = [str(label) for label in target.classes.tolist()]
    if len(names) > MOST_CLASSES or max(map(len, names)) > LONGEST:
        return []
    counts = confusion_matrix(truth, predicted, n_classes=len(names))
    rows = [["true \\ predicted", *names]]
    rows += [[name, *(f"{count:,}" for count in row)] for name, row in zip(names, counts.tolist(), strict=True)]
    return lines_of(rows)


def lines_of(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of a table as lines: the first column to the left, the others to the right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(w) if i else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    ]
