"""Descents, gradient fields and gradient checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._validation import as_array, check_float, check_int, describe, ignore_float_errors, require
from nnfast.plotting.panels import COLORS, MAX_RESOLUTION, TITLE_WIDTH, frame_of, grid_of, new_axes, panels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN_IF_DIVERGED = 8  # points of a path that diverged


def plot_descent(
    f: Callable[[NDArray[np.float64]], Any],
    descent: Any,
    /,
    *,
    low: ArrayLike | None = None,
    high: ArrayLike | None = None,
    margin: float = 0.2,
    resolution: int = 100,
    ax: Axes | None = None,
) -> Axes:
    """Draw a descent on a function of two variables: the contours of the function, and the path over them.

    Parameters
    ----------
    f : callable
        A function of an array of shape (2,) that returns one number.
    descent : Descent
        What `gradient_descent` returned for `f`.
    low, high : array_like, shape (2,), optional
        The lower left and the upper right corner; the same corners make several descents comparable. By default they
        are chosen to fit the path.
    margin : float
        The margin around the path, as a fraction of its range.
    resolution : int
        The number of grid points along each axis at which `f` is evaluated.
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
        If `descent` is something else or does not have two variables, or a number is out of range.

    Examples
    --------
    >>> import nnfast as nf
    >>> from matplotlib.figure import Figure
    >>> def f(x):
    ...     return x[0] ** 2 + x[1] ** 2
    >>> ax = plot_descent(f, nf.gradient_descent(f, [-3.0, 4.0], steps=20), ax=Figure().subplots())
    >>> ax.get_title()
    'all 20 steps were taken'
    """
    path = as_array("descent.path", getattr(descent, "path", None), np.float64, shape=(None, 2))
    shown = path[:SHOWN_IF_DIVERGED] if descent.diverged else path  # the rest would shrink them to a dot
    resolution = check_int("resolution", resolution, 2, MAX_RESOLUTION)
    frame = frame_of(shown, check_float("margin", margin, 0))
    low, high = _corners(frame[0] if low is None else low, frame[1] if high is None else high)
    across, up, values = _values_on_grid(f, low, high, resolution)
    if ax is None:
        (ax,) = new_axes(1)
    _draw_descent(ax, across, up, values, path, shown)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), xlabel="$x_0$", ylabel="$x_1$")
    ax.set_title("diverged" if descent.diverged else descent.reason)
    ax.legend(loc="best", fontsize="small")
    return ax


@ignore_float_errors
def _draw_descent(
    ax: Axes,
    across: NDArray[np.float64],
    up: NDArray[np.float64],
    values: NDArray[np.float64],
    path: NDArray[np.float64],
    shown: NDArray[np.float64],
) -> None:
    """Draw the contours of a function, and the part of a path to show."""
    ax.contour(across, up, values, levels=20, cmap="Greys_r", linewidths=0.8, zorder=0)
    steps = f"{len(path) - 1} steps" if len(shown) == len(path) else f"{len(shown) - 1} of {len(path) - 1} steps"
    ax.plot(*shown.T, color=COLORS[0], marker="o", markersize=4, linewidth=1.2, label=steps)
    ax.plot(*shown[0], color=COLORS[1], marker="s", markersize=8, linestyle="", label="first point")
    if len(shown) == len(path):
        ax.plot(*shown[-1], color=COLORS[3], marker="*", markersize=13, linestyle="", label="last point")


def plot_gradient_field(
    f: Callable[[NDArray[np.float64]], Any],
    /,
    *,
    low: ArrayLike = (-2.0, -2.0),
    high: ArrayLike = (2.0, 2.0),
    resolution: int = 17,
    ax: Axes | None = None,
) -> Axes:
    """Draw the negative gradient of a function of two variables: an arrow at each point, from numerical gradients.

    Parameters
    ----------
    f : callable
        A function of an array of shape (2,) that returns one number.
    low, high : array_like, shape (2,)
        The lower left and the upper right corner.
    resolution : int
        The number of arrows along each axis.
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
        If an argument is invalid.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> ax = plot_gradient_field(lambda x: x[0] ** 2 + x[1] ** 2, ax=Figure().subplots())
    >>> ax.get_xlabel()
    '$x_0$'
    """
    from nnfast.gradients.functions import numerical_gradient

    low, high = _corners(low, high)
    resolution = check_int("resolution", resolution, 2, MAX_RESOLUTION)
    across, up, values = _values_on_grid(f, low, high, max(60, resolution))
    points = grid_of(low, high, resolution)[2].reshape(-1, 2)
    arrows = -np.array([numerical_gradient(f, point, None) for point in points])
    if ax is None:
        (ax,) = new_axes(1)
    with np.errstate(all="ignore"):
        ax.contour(across, up, values, levels=12, cmap="Greys_r", linewidths=0.6, zorder=0)
        ax.quiver(*points.T, *arrows.T, angles="xy", color=COLORS[0], width=0.004)
    ax.set(xlabel="$x_0$", ylabel="$x_1$", title="negative gradient")
    ax.set_aspect("equal")
    return ax


@ignore_float_errors
def plot_gradient_report(report: Any, /, *, axes: ArrayLike | None = None) -> NDArray[Any]:
    """Draw a map of the errors found by a gradient check: a panel for each array, a cell for each number.

    Parameters
    ----------
    report : GradientReport
        What `check_gradient` returned.
    axes : sequence of matplotlib.axes.Axes, optional
        One for each array. By default a new figure.

    Returns
    -------
    ndarray of matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If `report` is something else, or the number of axes differs from that of the arrays.

    Examples
    --------
    >>> import nnfast as nf
    >>> from matplotlib.figure import Figure
    >>> report = nf.check_gradient(lambda x: x[0] * x[1], lambda x: [x[1], x[1]], [2.0, 3.0])
    >>> [ax.get_title() for ax in plot_gradient_report(report, axes=[Figure().subplots()])]
    ['x: differs at [1]']
    """
    if not isinstance(report, Mapping) or not hasattr(report, "tolerance"):
        raise TypeError(f"report must be what check_gradient returns, got {describe(report)}")
    colors = require("matplotlib.colors", "plot")
    panels = panels_of(axes, len(report))
    scale = colors.LogNorm(1e-3 * report.tolerance, max(1e-3, 1e3 * report.tolerance))
    for ax, array in zip(panels, report.values(), strict=True):
        left_out = array.kinks | array.undecided
        cells = np.atleast_2d(np.clip(np.where(left_out, np.nan, array.errors), scale.vmin, scale.vmax))
        cells = cells.reshape(-1, cells.shape[-1])
        image = ax.imshow(cells, aspect="auto", cmap="viridis", norm=scale, interpolation="nearest")
        for marker, label, where in (("x", "kink", array.kinks), ("$?$", "undecided", array.undecided)):
            if where.any():
                rows, columns = np.nonzero(where.reshape(cells.shape))
                ax.plot(columns, rows, linestyle="", marker=marker, color=COLORS[4], markersize=4, label=label)
                ax.legend(fontsize="small")
        ax.set_title(fill(f"{array.name}: {array.why or 'right'}", TITLE_WIDTH), fontsize="small")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.yaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="column", ylabel="row")
        if len(cells) == 1:
            ax.set(xlabel="entry", ylabel="", yticks=[])
    label = f"relative error (over {report.tolerance:g}: wrong)"
    bar = panels[-1].figure.colorbar(image, ax=panels.tolist(), label=label)
    bar.ax.axhline(report.tolerance, color=COLORS[3], linewidth=2)
    return panels


def _corners(low: ArrayLike, high: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    lower, upper = (as_array(n, v, np.float64, shape=(2,), finite=True) for n, v in (("low", low), ("high", high)))
    if not (lower < upper).all():
        raise ValueError(f"high must be above low, got {upper} and {lower}")
    return lower, upper


def _values_on_grid(
    f: Callable[[NDArray[np.float64]], Any], low: NDArray[np.float64], high: NDArray[np.float64], resolution: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return both axes of a grid, and the values of a function of two variables on it."""
    if not callable(f):
        raise TypeError(f"f must be callable, got {describe(f)}")
    across, up, grid = grid_of(low, high, resolution)
    values = [as_array("the result of f", f(point.copy()), np.float64) for point in grid.reshape(-1, 2)]
    if any(value.size != 1 for value in values):
        raise ValueError(f"f must return one number, got shape {next(v.shape for v in values if v.size != 1)}")
    return across, up, np.array([float(value.item()) for value in values]).reshape(grid.shape[:-1])
