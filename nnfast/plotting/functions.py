"""Activation functions and schedules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._validation import as_tuple, check_int, choose, describe, ignore_float_errors, require
from nnfast.plotting.panels import COLORS, panels_of
from nnfast.schedules import MAX_TIME, TimedSchedule

ACTIVATIONS = ("step", "identity", "sigmoid", "tanh", "relu")


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
    panels = panels_of(axes, len(names))
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
    panels = panels_of(axes, len(curves))
    for ax, (name, values), color in zip(panels, curves.items(), (COLORS[0], COLORS[3]), strict=False):
        ax.plot(times, values, color=color, linewidth=2)
        ax.set(title=name, xlabel="step", ylabel=name)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True, min_n_ticks=1))
        ax.grid(color="0.92")
    panels[0].set_ylim(bottom=0)
    return panels
