"""Axes, colours and grids, which all plots share."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._validation import as_array, describe, ignore_float_errors, require

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), which colour-blind people can also distinguish.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
MARKERS = "osD^vPX"
TITLE_WIDTH = 32  # characters, for one of many panels
MAX_RESOLUTION = 10_000
MOST_COLUMNS = 4  # of panels in a new figure


def new_axes(
    n: int, *, width: float = 3.2, height: float = 3.0, spare: float = 1.0, single: tuple[float, float] = (7.0, 4.6)
) -> NDArray[Any]:
    """Return `n` axes in rows of a new figure; sizes are in inches, `single` that of the figure for one."""
    plt = require("matplotlib.pyplot", "plot")
    if n == 1:
        _, axes = plt.subplots(squeeze=False, figsize=single, layout="constrained")
        return np.asarray(axes[0])
    rows = ceil(n / MOST_COLUMNS)
    columns = ceil(n / rows)
    size = (spare + width * columns, 0.4 + height * rows)
    _, axes = plt.subplots(rows, columns, squeeze=False, figsize=size, layout="constrained")
    for ax in axes.flat[n:]:
        ax.remove()
    return np.asarray(axes.ravel()[:n])


def panels_of(axes: ArrayLike | None, n: int, **size: Any) -> NDArray[Any]:
    """Return `axes` as a flat array of length `n`, or the axes of a new figure."""
    if axes is None:
        return new_axes(n, **size)
    panels = np.asarray(axes, dtype=object).ravel()
    if panels.size != n:
        raise ValueError(f"axes must hold {n} axes, got {panels.size}")
    for panel in panels:
        if not hasattr(panel, "plot"):
            raise TypeError(f"axes must hold matplotlib axes, got {describe(panel)}")
    return panels


def colors_for(n: int) -> list[Any]:
    """Return `n` colours."""
    if n <= len(COLORS):
        return list(COLORS[:n])
    colormap = require("matplotlib", "plot").colormaps["viridis"]
    return list(colormap(np.linspace(0, 1, n)))


def plain(name: str) -> str:
    """Return the name of a quantity as text."""
    return text(name.replace("_", " "))


def text(name: str) -> str:
    """Return a name so that matplotlib does not take it for mathematics or for a label to leave out."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def as_classes(name: str, value: ArrayLike, n: int | None = None) -> NDArray[np.int64]:
    """Return whole numbers of shape (n,), by default of any length, as int64, whatever their dtype."""
    numbers = as_array(name, value, np.float64, shape=(n,), finite=True)
    classes = numbers.astype(np.int64)
    if (classes != numbers).any():
        raise ValueError(f"{name} must hold classes as whole numbers, got {numbers[classes != numbers][0]:g}")
    return classes


def predicted_classes(name: str, model: Any, x: Any, n: int | None = None) -> NDArray[np.int64]:
    """Return the class of each sample that a network predicts or a function returns; errors call the model `name`."""
    predict: Callable[[Any], Any] | None = getattr(model, "predict_class", None)
    if predict is None and callable(model):
        predict = model
    if predict is None:
        raise TypeError(f"{name} must be a network, a perceptron or a function of points, got {describe(model)}")
    return as_classes(f"the result of {name}", predict(x), n)


@ignore_float_errors
def grid_of(
    low: NDArray[np.float64], high: NDArray[np.float64], resolution: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return both axes of a grid, and its points."""
    across, up = (np.linspace(*ends, resolution) for ends in zip(low, high, strict=True))
    return across, up, np.stack(np.meshgrid(across, up), axis=-1)


@ignore_float_errors
def frame_of(x: NDArray[np.float64], margin: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower left and the upper right corner of a view with a margin around the points."""
    low, high = x.min(axis=0), x.max(axis=0)
    room = np.where(high > low, margin * (high - low), 0.5)  # a constant feature needs room, whatever the margin
    return low - room, high + room
