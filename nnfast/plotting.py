"""Plots of decisions, activations, training, schedules, descents and gradients. Requires matplotlib (extra `plot`).

Each function draws on the given axes, or on a new pyplot figure, and returns the axes; showing, saving and closing the
figure are left to the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._validation import (
    as_array,
    as_tuple,
    check_float,
    check_int,
    choose,
    describe,
    ignore_float_errors,
    require,
)
from nnfast.metrics import names_in
from nnfast.perceptron import Perceptron
from nnfast.schedules import MAX_TIME, TimedSchedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "plot_activations",
    "plot_decision_boundary",
    "plot_descent",
    "plot_gradient_field",
    "plot_gradient_report",
    "plot_history",
    "plot_schedule",
]

# Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), which colour-blind people can also distinguish.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
MARKERS = "osD^vPX"
DASHES = ("--", ":", "-.")
ACTIVATIONS = ("step", "identity", "sigmoid", "tanh", "relu")
SHOWN_IF_DIVERGED = 8  # points of a path that diverged
TITLE_WIDTH = 32  # characters, for one of many panels
MAX_RESOLUTION = 10_000
RUNNING_MEAN_FROM = 100  # steps: shorter curves need no running mean


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
    y = _as_classes("y", y, len(x))
    resolution = check_int("resolution", resolution, 2, MAX_RESOLUTION)
    biases = as_array("biases", biases, np.float64, ndim=1, finite=True)
    if biases.size and not isinstance(model, Perceptron):
        raise TypeError(f"biases needs a Perceptron as the model, got {describe(model)}")

    low, high = _frame(x, check_float("margin", margin, 0))
    across, up, grid = _grid(low, high, resolution)
    regions = _classes(model, grid.reshape(-1, 2)).reshape(resolution, resolution)
    if ax is None:
        (ax,) = _new_axes(1)
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
    palette = _palette(len(classes))
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
def plot_activations(
    names: Sequence[str] = ("step", "sigmoid", "tanh", "relu"), *, axes: ArrayLike | None = None
) -> NDArray[Any]:
    """Draw activation functions side by side, each with its derivative.

    Parameters
    ----------
    names : sequence of {"step", "identity", "sigmoid", "tanh", "relu"}
        The activations, from left to right.
    axes : sequence of matplotlib.axes.Axes, optional
        As many axes as names. By default a new figure.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, shape (len(names),)

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If `names` is empty, a name is unknown, or the number of axes differs from that of the names.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> axes = plot_activations(["sigmoid", "relu"], axes=Figure().subplots(1, 2))
    >>> [ax.get_title() for ax in axes]
    ['sigmoid', 'relu']
    """
    from nnfast import functions

    given = [names] if isinstance(names, str) else as_tuple("names", names, "names")
    names = [choose("names", name, ACTIVATIONS) for name in given]
    if not names:
        raise ValueError(f"names must hold at least one of {', '.join(ACTIVATIONS)}, got none")
    panels = _panels(axes, len(names))
    x = np.linspace(-5, 5, 1001)
    for ax, name in zip(panels, names, strict=True):
        output = getattr(functions, name)(x)
        slope = getattr(functions, f"{name}_backward")(np.ones_like(x), output)
        ax.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        ax.axvline(0, color="0.8", linewidth=0.8, zorder=0)
        ax.plot(x, output, color=COLORS[0], linewidth=2.5, label=f"{name}(x)")
        ax.plot(x, slope, color=COLORS[3], linewidth=1.2, linestyle="--", label="derivative")
        ax.set(title=name, xlabel="$x$")
        ax.legend(loc="upper left", frameon=False, handlelength=1.2, borderaxespad=0.2)
        ax.margins(x=0, y=0.08)
    return panels


@ignore_float_errors
def plot_history(history: Any, /, *, axes: ArrayLike | None = None) -> NDArray[Any]:
    """Draw the history of a training: the loss over iterations, and each metric, such as the accuracy, over epochs.

    Without metrics, as in regression, the second panel shows the loss over epochs. Training curves are averages over
    the mini-batches of each epoch while it ran; validation curves are evaluated at its end.

    Parameters
    ----------
    history : History
        What `Sequential.fit` returns.
    axes : sequence of matplotlib.axes.Axes, optional
        One, and one for each metric: two if there is none. By default a new figure.

    Returns
    -------
    ndarray of matplotlib.axes.Axes

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If `history` is something else, or `axes` has another number of axes.

    Examples
    --------
    >>> import nnfast as nf
    >>> from matplotlib.figure import Figure
    >>> net = nf.Sequential([nf.Dense(2, activation="softmax")], input_shape=2, loss="cross_entropy", seed=0)
    >>> history = net.fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0, 0, 1], epochs=3, batch_size=2, verbose=0)
    >>> [ax.get_title() for ax in plot_history(history, axes=Figure().subplots(1, 2))]
    ['loss over iterations', 'accuracy over epochs']
    """
    if not isinstance(history, Mapping) or not hasattr(history, "step_loss"):
        raise TypeError(f"history must be what Sequential.fit returns, got {describe(history)}")
    ticker = require("matplotlib.ticker", "plot")
    names = names_in(history) or ["loss"]
    panels = _panels(axes, 1 + len(names))
    by_step = panels[0]

    losses = as_array("history.step_loss", history.step_loss, np.float64, ndim=1)
    steps = np.arange(1, len(losses) + 1)
    if len(losses) < RUNNING_MEAN_FROM:
        by_step.plot(steps, losses, color=COLORS[0], label="mini-batch")
    else:
        window = max(10, len(losses) // 50)
        sums = np.cumsum(np.append(0, losses))  # if the training diverged, the means end there
        means = (sums[window:] - sums[:-window]) / window
        by_step.plot(steps, losses, color=COLORS[5], linewidth=0.6, alpha=0.7, label="mini-batch")
        by_step.plot(steps[window - 1 :], means, color=COLORS[0], linewidth=2, label=f"mean of the last {window}")
    by_step.set(title="loss over iterations", xlabel="iteration")

    for name, ax in zip(names, panels[1:], strict=True):
        _plot_over_epochs(ax, history, name)

    for ylabel, ax in zip(["loss", *names], panels, strict=True):
        ax.set_ylabel(_plain(ylabel))
        ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True, min_n_ticks=1))
        ax.grid(color="0.92")
        if ax.lines:
            values = ax.lines[-1].get_ydata()
            rises = len(values) > 1 and values[-1] > values[0]
            ax.legend(loc="lower right" if rises else "upper right")
    return panels


def _plot_over_epochs(ax: Any, history: Mapping[str, Sequence[float]], name: str) -> None:
    for entry, label, color, marker in ((name, "training", 0, "o"), (f"val_{name}", "validation", 3, "s")):
        values = history.get(entry, ())
        if len(values):
            epochs = np.arange(1, len(values) + 1)
            markersize = 4 if len(values) <= 50 else 0
            ax.plot(epochs, values, color=COLORS[color], marker=marker, markersize=markersize, label=label)
    ax.set(title=f"{_plain(name)} over epochs", xlabel="epoch")


def _plain(name: str) -> str:
    """The name as text, which matplotlib does not take for mathematics."""
    return name.replace("_", " ").replace("$", r"\$")


@ignore_float_errors
def plot_schedule(
    schedule: Any, steps: int, steps_per_epoch: int | None = None, *, axes: ArrayLike | None = None
) -> NDArray[Any]:
    """Draw the learning rate of a schedule at each step and, if it has one, the momentum.

    Parameters
    ----------
    schedule : schedule
        A schedule of `nnfast.schedules` that depends on time alone: any but `ReduceOnPlateau`.
    steps : int
        The number of steps, from the first one.
    steps_per_epoch : int, optional
        Steps per epoch; required by a schedule that counts epochs.
    axes : sequence of matplotlib.axes.Axes, optional
        One, or two for a schedule that cycles the momentum. By default a new figure.

    Returns
    -------
    ndarray of matplotlib.axes.Axes, shape (1,) or (2,)

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If `schedule` is something else, a number is out of range, or the number of axes is wrong.

    Examples
    --------
    >>> import nnfast as nf
    >>> from matplotlib.figure import Figure
    >>> axes = plot_schedule(nf.schedules.OneCycle(0.1, steps=100), 100, axes=Figure().subplots(1, 2))
    >>> [ax.get_title() for ax in axes]
    ['learning rate', 'momentum']
    """
    if not isinstance(schedule, TimedSchedule):
        raise TypeError(
            "schedule must be one of nnfast.schedules that depends on time alone, unlike ReduceOnPlateau, "
            f"got {describe(schedule)}"
        )
    times = np.arange(check_int("steps", steps, 1, MAX_TIME))
    curves = {"learning rate": schedule.rates(times, steps_per_epoch)}
    momenta = schedule.momenta(times, steps_per_epoch)
    if momenta is not None:
        curves["momentum"] = momenta
    ticker = require("matplotlib.ticker", "plot")
    panels = _panels(axes, len(curves))
    for ax, (name, values), color in zip(panels, curves.items(), (COLORS[0], COLORS[3]), strict=False):
        ax.plot(times, values, color=color, linewidth=2)
        ax.set(title=name, xlabel="step", ylabel=name)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True, min_n_ticks=1))
        ax.grid(color="0.92")
    panels[0].set_ylim(bottom=0)
    return panels


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
    frame = _frame(shown, check_float("margin", margin, 0))
    low, high = _corners(frame[0] if low is None else low, frame[1] if high is None else high)
    across, up, values = _values_on_grid(f, low, high, resolution)
    if ax is None:
        (ax,) = _new_axes(1)
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
    points = _grid(low, high, resolution)[2].reshape(-1, 2)
    arrows = -np.array([numerical_gradient(f, point, None) for point in points])
    if ax is None:
        (ax,) = _new_axes(1)
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
    panels = _panels(axes, len(report))
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
    across, up, grid = _grid(low, high, resolution)
    values = [as_array("the result of f", f(point.copy()), np.float64) for point in grid.reshape(-1, 2)]
    if any(value.size != 1 for value in values):
        raise ValueError(f"f must return one number, got shape {next(v.shape for v in values if v.size != 1)}")
    return across, up, np.array([float(value.item()) for value in values]).reshape(grid.shape[:-1])


@ignore_float_errors
def _grid(
    low: NDArray[np.float64], high: NDArray[np.float64], resolution: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return both axes of a grid, and its points."""
    across, up = (np.linspace(*ends, resolution) for ends in zip(low, high, strict=True))
    return across, up, np.stack(np.meshgrid(across, up), axis=-1)


def _new_axes(n: int) -> NDArray[Any]:
    plt = require("matplotlib.pyplot", "plot")
    size = (7.0, 4.6) if n == 1 else (1 + 3.2 * n, 3.4)
    _, axes = plt.subplots(1, n, squeeze=False, figsize=size, layout="constrained")
    row: NDArray[Any] = axes[0]
    return row


def _panels(axes: ArrayLike | None, n: int) -> NDArray[Any]:
    """Return `axes` as a flat array of length `n`, or the axes of a new figure."""
    if axes is None:
        return _new_axes(n)
    panels = np.asarray(axes, dtype=object).ravel()
    if panels.size != n:
        raise ValueError(f"axes must hold {n} axes, got {panels.size}")
    for panel in panels:
        if not hasattr(panel, "plot"):
            raise TypeError(f"axes must hold matplotlib axes, got {describe(panel)}")
    return panels


def _as_classes(name: str, value: ArrayLike, n: int) -> NDArray[np.int64]:
    numbers = as_array(name, value, np.float64, shape=(n,), finite=True)
    classes = numbers.astype(np.int64)
    if (classes != numbers).any():
        raise ValueError(f"{name} must hold classes as whole numbers, got {numbers[classes != numbers][0]:g}")
    return classes


def _classes(model: Any, points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the model's class for each point."""
    predict: Callable[[NDArray[np.float64]], Any] | None = getattr(model, "predict_class", None)
    if predict is None and callable(model):
        predict = model
    if predict is None:
        raise TypeError(f"model must be a network, a perceptron or a function of points, got {describe(model)}")
    return _as_classes("the result of model", predict(points.copy()), len(points))  # the model may change it


def _palette(n: int) -> list[Any]:
    if n <= len(COLORS):
        return list(COLORS[:n])
    colormap = require("matplotlib", "plot").colormaps["viridis"]
    return list(colormap(np.linspace(0, 1, n)))


@ignore_float_errors
def _frame(x: NDArray[np.float64], margin: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lower left and the upper right corner of a view with a margin around the points."""
    low, high = x.min(axis=0), x.max(axis=0)
    room = np.where(high > low, margin * (high - low), 0.5)  # a constant feature needs room, whatever the margin
    return low - room, high + room


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
