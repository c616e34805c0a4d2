"""The regions of the plane that a model assigns to each class."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._validation import as_array, check_float, check_int, describe, ignore_float_errors, require
from nnfast.perceptron import Perceptron
from nnfast.plotting.panels import (
    MARKERS,
    MAX_RESOLUTION,
    as_classes,
    colors_for,
    frame_of,
    grid_of,
    new_axes,
    predicted_classes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = ("--", ":", "-.")


def plot_decision_boundary(
    model: Any,
    x: ArrayLike,
    y: ArrayLike,
    /,
    *,
    biases: ArrayLike = (),
    margin: float = 0.25,
    resolution: int = 300,
    ax: Axes | None = None,
) -> Axes:
    """Draw the regions of the plane that a model assigns to each class, and the data on top of them.

    For a `Perceptron`, its line is drawn too, and with `biases` the lines for other biases: the larger the bias, the
    larger the part of the plane where the neuron fires.

    Parameters
    ----------
    model : Perceptron, Sequential or callable
        A network with two inputs, a gate such as `AND` or `XOR`, or any function that takes an array of shape (n, 2)
        and returns the n classes.
    x : array_like, shape (n, 2)
        The samples.
    y : array_like of int, shape (n,)
        Their classes.
    biases : array_like of float, shape (k,)
        Other biases of the perceptron for which to draw the line.
    margin : float
        The margin around the samples, as a fraction of their range.
    resolution : int
        The number of grid points along each axis at which the model is evaluated.
    ax : matplotlib.axes.Axes, optional
        Where to draw. By default a new figure. The legend is to the right of the axes: a figure made with
        ``layout="constrained"`` makes room for it.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If `model` is none of the above, or `biases` are given and it is not a `Perceptron`.
    ValueError
        If `x` is not finite or empty, shapes do not fit, classes are not whole numbers, or a number is out of range.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from nnfast.perceptron import AND
    >>> x = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> ax = plot_decision_boundary(AND, x, AND(x), biases=[-0.2, -1.2], ax=Figure().subplots())
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['class 0', 'class 1', 'bias -0.2: fires at 3 of 4', 'bias -0.7: fires at 1 of 4', 'bias -1.2: fires at 0 of 4']
    """
    require("matplotlib", "plot")
    x = as_array("x", x, np.float64, shape=(None, 2), finite=True)
    if not len(x):
        raise ValueError("x must hold at least one row, got none")
    y = as_classes("y", y, len(x))
    resolution = check_int("resolution", resolution, 2, MAX_RESOLUTION)
    biases = as_array("biases", biases, np.float64, ndim=1, finite=True)
    if biases.size and not isinstance(model, Perceptron):
        raise TypeError(f"biases needs a Perceptron as the model, got {describe(model)}")

    low, high = frame_of(x, check_float("margin", margin, 0))
    across, up, grid = grid_of(low, high, resolution)
    points = grid.reshape(-1, 2).copy()  # the model may change them
    regions = predicted_classes("model", model, points, len(points)).reshape(resolution, resolution)
    if ax is None:
        (ax,) = new_axes(1)
    _draw_classes(ax, across, up, regions, x, y)
    if isinstance(model, Perceptron):
        _draw_lines(ax, model, biases.tolist(), x, low, high)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="$x_1$", ylabel="$x_2$")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False)  # never over the data
    return ax


@ignore_float_errors
def _draw_classes(
    ax: Axes,
    across: NDArray[np.float64],
    up: NDArray[np.float64],
    regions: NDArray[np.int64],
    x: NDArray[np.float64],
    y: NDArray[np.int64],
) -> None:
    """Draw the regions of classes, and the samples of each."""
    colors = require("matplotlib.colors", "plot")
    classes = np.union1d(y, regions)
    palette = colors_for(len(classes))
    # The index of a class determines its colour, not its number.
    ax.pcolormesh(
        across,
        up,
        np.searchsorted(classes, regions),
        cmap=colors.ListedColormap(palette),
        vmin=-0.5,
        vmax=len(classes) - 0.5,
        alpha=0.25,
        shading="nearest",
        rasterized=True,
    )
    for i, label in enumerate(classes):
        ax.scatter(
            x[y == label, 0],
            x[y == label, 1],
            s=70 if len(x) <= 50 else 32,
            color=palette[i],
            marker=MARKERS[i % len(MARKERS)],
            edgecolors="white",
            linewidths=0.6,
            zorder=3,
            label=f"class {label}",
        )


@ignore_float_errors
def _draw_lines(
    ax: Axes,
    model: Perceptron,
    biases: Sequence[float],
    x: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> None:
    """Draw the line of the perceptron, solid, and its lines for other biases; none if the weights are zero."""
    dashes = cycle(DASHES)
    for bias in sorted({model.bias, *biases}, reverse=True):
        fires = np.count_nonzero(Perceptron(model.weights, bias).predict(x))
        label = f"bias {bias:g}: fires at {fires} of {len(x)}"
        across, up = _line(model.weights, bias, low, high)
        if bias == model.bias:
            ax.plot(across, up, color="black", linewidth=2.2, label=label)
        else:
            ax.plot(across, up, color="0.3", linewidth=1.4, linestyle=next(dashes), label=label)


def _line(
    weights: NDArray[np.float64], bias: float, low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two points of ``weights @ x + bias = 0``, beyond opposite edges of the view: both x1, then both x2."""
    # In units of the view; otherwise a feature in the millions would make the other one vanish.
    span = high - low
    normal = span * weights
    length = np.hypot(*normal)
    if length == 0:
        return np.empty(0), np.empty(0)
    normal = normal / length
    offset = (np.vecdot(weights, low) + bias) / length
    centre = np.array([0.5, 0.5])
    nearest = centre - (normal @ centre + offset) * normal
    along = np.array([-normal[1], normal[0]])
    first, last = low + span * (nearest - along), low + span * (nearest + along)
    return np.array([first[0], last[0]]), np.array([first[1], last[1]])
