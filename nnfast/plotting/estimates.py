"""Predicted numbers against true ones, residuals, and the importance of columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from nnfast._validation import as_array, as_tuple, check_int, describe, ignore_float_errors
from nnfast.plotting.panels import COLORS, new_axes, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CROWD = 1000  # points from which on they are small and transparent
LONGEST_NAME = 24  # characters


@ignore_float_errors
def plot_predictions(y: ArrayLike, predictions: ArrayLike, /, *, ax: Axes | None = None) -> Axes:
    """Draw predicted numbers against true ones; right predictions lie on the dashed line.

    Parameters
    ----------
    y : array_like of shape (n,)
        The true numbers.
    predictions : array_like of shape (n,)
        The predicted numbers.
    ax : matplotlib.axes.Axes, optional
        Where to draw. By default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If `y` and `predictions` are not finite numbers of the same length, at least one.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> ax = plot_predictions([1, 2, 3], [1.1, 1.8, 3.2], ax=Figure().subplots())
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('true value', 'predicted value')
    """
    true, predicted = _numbers(y, predictions)
    if ax is None:
        (ax,) = new_axes(1, single=(5.0, 4.6))
    ends = [min(true.min(), predicted.min()), max(true.max(), predicted.max())]
    ax.plot(ends, ends, color="0.4", linestyle="--", linewidth=1)
    ax.plot(true, predicted, **_points(len(true)))
    ax.set(title="predicted against true", xlabel="true value", ylabel="predicted value")
    ax.grid(color="0.92")
    return ax


@ignore_float_errors
def plot_residuals(y: ArrayLike, predictions: ArrayLike, /, *, ax: Axes | None = None) -> Axes:
    """Draw residuals, ``y - predictions``, against the predictions.

    Points above the line were predicted too low. Residuals without a pattern leave nothing to learn from the prediction
    itself.

    Parameters
    ----------
    y : array_like of shape (n,)
        The true numbers.
    predictions : array_like of shape (n,)
        The predicted numbers.
    ax : matplotlib.axes.Axes, optional
        Where to draw. By default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If `y` and `predictions` are not finite numbers of the same length, at least one.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> ax = plot_residuals([1, 2, 3], [1.5, 1.5, 2.5], ax=Figure().subplots())
    >>> ax.lines[-1].get_ydata()
    array([-0.5,  0.5,  0.5])
    """
    true, predicted = _numbers(y, predictions)
    if ax is None:
        (ax,) = new_axes(1, single=(5.0, 4.6))
    ax.axhline(0, color="0.4", linestyle="--", linewidth=1)
    ax.plot(predicted, true - predicted, **_points(len(true)))
    ax.set(title="residuals", xlabel="predicted value", ylabel="true less predicted value")
    ax.grid(color="0.92")
    return ax


def plot_importances(importances: ArrayLike, names: Sequence[str], /, *, n: int = 15, ax: Axes | None = None) -> Axes:
    """Draw how much each column of a table matters, the most important one at the top.

    Parameters
    ----------
    importances : array_like of shape (columns,)
        As from `TableModel.importances`, or ``feature_importances_`` of an estimator.
    names : sequence of str
        The names of the columns.
    n : int
        The largest number of columns to draw.
    ax : matplotlib.axes.Axes, optional
        Where to draw. By default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If `importances` are not finite numbers, at least one, or `names` does not have one name for each.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> ax = plot_importances([0.2, 0.7, 0.1], ["age", "income", "city"], n=2, ax=Figure().subplots())
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['income', 'age']
    """
    values = as_array("importances", importances, np.float64, ndim=1, finite=True)
    given = as_tuple("names", names, "names")
    if isinstance(names, str) or len(given) != len(values) or not len(values):
        raise ValueError(f"names must hold {len(values)} names, one for each importance, got {describe(names)}")
    first = np.argsort(-values, kind="stable")[: check_int("n", n, 1)]
    if ax is None:
        (ax,) = new_axes(1, single=(6.0, 1.2 + 0.28 * len(first)))
    places = np.arange(len(first))
    labels = [text(_shortened(str(given[i]))) for i in first]
    ax.barh(places, values[first], color=COLORS[0])
    ax.set_yticks(places, labels)
    ax.invert_yaxis()
    ax.set(title="importance of columns", xlabel="importance")
    ax.grid(color="0.92", axis="x")
    ax.set_axisbelow(True)
    return ax


def _shortened(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."


def _numbers(y: ArrayLike, predictions: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return both as vectors of the same length; TypeError or ValueError if they are not."""
    true = as_array("y", y, np.float64, ndim=1, finite=True)
    if not len(true):
        raise ValueError("y must have at least one value, got none")
    return true, as_array("predictions", predictions, np.float64, shape=(len(true),), finite=True)


def _points(n: int) -> dict[str, Any]:
    """Return the style of `n` points."""
    crowd = n > CROWD
    return {
        "color": COLORS[0],
        "marker": "o",
        "linestyle": "",
        "markersize": 2 if crowd else 4,
        "alpha": 0.3 if crowd else 0.7,
        "markeredgewidth": 0,
    }
