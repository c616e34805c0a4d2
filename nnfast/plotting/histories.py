"""The history of a training, or of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._validation import as_array, as_tuple, describe, ignore_float_errors, require
from nnfast.metrics import names_in
from nnfast.plotting.panels import COLORS, colors_for, panels_of, plain, text

RUNNING_MEAN_FROM = 100  # steps: shorter curves need no running mean
MARKED_EPOCHS = 50  # up to which each epoch has a marker
CURVES_INSIDE = 5  # up to which the legend has room within the axes
NAMED_CURVES = 20  # up to which the legend names all curves of a panel


class Curve(NamedTuple):
    """What was recorded under one name in one run, with its label, None if it is alone in its panel, and its colour."""

    run: Any
    name: str
    label: str | None
    color: Any


@ignore_float_errors
def plot_history(
    history: Any, /, *, quantities: str | Sequence[str] | None = None, axes: ArrayLike | None = None
) -> NDArray[Any]:
    """Draw all that a training recorded, or compare several trainings.

    The panels are the loss over steps; over epochs the loss and each metric, such as the accuracy; and the learning
    rate, if it changes. Metrics that differ only in a number at their end, such as those of classes, share a panel.
    Training curves are averages over the mini-batches of each epoch while it ran; validation curves are evaluated at
    its end.

    Parameters
    ----------
    history : History, mapping of str to History, or sequence of History
        What `Sequential.fit` returns. Several histories, by name or as `fit_many` returns them, are drawn into the same
        panels: each has its colour, and validation curves are dashed. More than five are named beside the last panel.
    quantities : str or sequence of str, optional
        What to draw, in this order: ``"step_loss"``, ``"loss"``, metrics by name (those that share a panel by what
        their names have in common, such as ``"f1_class"``), ``"learning_rate"``. By default all that was recorded.
    axes : sequence of matplotlib.axes.Axes, optional
        One for each panel. By default a new figure.

    Returns
    -------
    ndarray of matplotlib.axes.Axes
        One for each panel.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If `history` is something else, one of `quantities` was not recorded, or `axes` has another number of axes.

    Examples
    --------
    >>> import nnfast as nf
    >>> from matplotlib.figure import Figure
    >>> x, y = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0, 0, 1]
    >>> runs = {}
    >>> for name in ("sgd", "adam"):
    ...     net = nf.Sequential([nf.Dense(2, activation="softmax")], input_shape=2, seed=0)
    ...     runs[name] = net.fit(x, y, epochs=3, batch_size=2, optimizer=name, verbose=0)
    >>> [ax.get_title() for ax in plot_history(runs["sgd"], axes=Figure().subplots(1, 3))]
    ['loss over steps', 'loss over epochs', 'accuracy over epochs']
    >>> (ax,) = plot_history(runs, quantities="loss", axes=Figure().subplots())
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['sgd', 'adam']
    """
    runs = _runs_of(history)
    single = len(runs) == 1 and "" in runs
    recorded = _recorded(runs, grouped=single)
    chosen = [name for name in recorded if name != "learning_rate" or any(map(_rate_changes, runs.values()))]
    if quantities is not None:
        chosen = _checked(quantities, list(recorded))
    ticker = require("matplotlib.ticker", "plot")
    panels = panels_of(axes, len(chosen))
    for name, ax in zip(chosen, panels, strict=True):
        curves = _curves(runs, recorded[name], single)
        named = single or len(curves) <= CURVES_INSIDE or ax is panels[-1]
        what = "loss" if name == "step_loss" else plain(name)
        if name in ("step_loss", "learning_rate"):
            _draw_over_steps(ax, name, curves, named)
            ax.set(title=f"{what} over steps", xlabel="step")
        else:
            _draw_over_epochs(ax, curves, named)
            ax.set(title=f"{what} over epochs", xlabel="epoch")
        ax.set_ylabel(ax.get_ylabel() or what)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True, min_n_ticks=1))
        ax.grid(color="0.92")
    return panels


def _runs_of(history: Any) -> dict[Any, Any]:
    """Return the histories by name; a single one is named "" and several in a sequence are numbered."""
    if _is_history(history):
        return {"": history}
    if isinstance(history, Mapping):
        runs = dict(history)
    elif isinstance(history, Iterable) and not isinstance(history, (str, bytes, np.ndarray)):
        runs = dict(enumerate(history))
    else:
        raise TypeError(f"history must be what Sequential.fit returns, or several of these, got {describe(history)}")
    if not runs:
        raise ValueError("history must hold at least one History, got none")
    for name, run in runs.items():
        if not _is_history(run):
            raise TypeError(f"history[{name!r}] must be what Sequential.fit returns, got {describe(run)}")
    return {f"run {name + 1}": run for name, run in runs.items()} if not isinstance(history, Mapping) else runs


def _is_history(value: Any) -> bool:
    return isinstance(value, Mapping) and hasattr(value, "step_loss")


def _recorded(runs: Mapping[Any, Any], grouped: bool) -> dict[str, list[str]]:
    """Return the names of panels, each with the names of what it shows."""
    names = list(dict.fromkeys(name for run in runs.values() for name in names_in(run)))
    metrics = _groups(names) if grouped else {name: [name] for name in names}
    recorded = {"step_loss": ["step_loss"], "loss": ["loss"], **metrics}
    if any(len(_rates(run)) for run in runs.values()):
        recorded["learning_rate"] = ["learning_rate"]
    return recorded


def _groups(names: Sequence[str]) -> dict[str, list[str]]:
    """Join names that differ only in a number at their end, under what they have in common."""
    stems: dict[str, list[str]] = {}
    for name in names:
        stems.setdefault(name.rstrip("0123456789"), []).append(name)
    groups = {}
    for stem, members in stems.items():
        common = stem.rstrip("_")
        shared = common if common and common not in names else stem
        groups[shared if len(members) > 1 else members[0]] = members
    return groups


def _checked(quantities: Any, recorded: list[str]) -> list[str]:
    names = [quantities] if isinstance(quantities, str) else as_tuple("quantities", quantities, "names")
    for name in names:
        if name not in recorded:
            raise ValueError(f"quantities must hold names among {', '.join(recorded)}, got {describe(name)}")
    if not names:
        raise ValueError(f"quantities must hold at least one of {', '.join(recorded)}, got none")
    return list(names)


def _rates(run: Any) -> NDArray[np.float64]:
    return as_array("history.learning_rate", getattr(run, "learning_rate", ()), np.float64, ndim=1)


def _rate_changes(run: Any) -> bool:
    rates = _rates(run)
    return len(rates) > 1 and bool((rates != rates[0]).any())


def _curves(runs: Mapping[Any, Any], names: list[str], single: bool) -> list[Curve]:
    """Return the curves of a panel: one for each run or, of a single run, one for each name."""
    if single and len(names) == 1:
        return [Curve(runs[""], names[0], None, COLORS[0])]
    if single:
        start = len(names[0].rstrip("0123456789"))
        return [Curve(runs[""], name, name[start:], c) for name, c in zip(names, colors_for(len(names)), strict=True)]
    colors = colors_for(len(runs))
    return [Curve(run, names[0], text(str(key)), c) for (key, run), c in zip(runs.items(), colors, strict=True)]


def _draw_over_steps(ax: Any, name: str, curves: list[Curve], named: bool) -> None:
    """Draw the loss or the learning rate of each step."""
    for curve in curves:
        values = as_array(f"history.{name}", getattr(curve.run, name, ()), np.float64, ndim=1)
        if name == "step_loss" and len(values) >= RUNNING_MEAN_FROM:
            _draw_running_mean(ax, values, curve)
        else:
            style = {"color": curve.color, "marker": "o" if len(values) == 1 else ""}
            ax.plot(np.arange(1, len(values) + 1), values, **style, label=curve.label or "mini-batch")
    if curves[0].label is not None:
        _add_legend(ax, curves, named=named)
    elif name == "step_loss":
        ax.legend(loc=_free_corner(ax))


def _draw_running_mean(ax: Any, losses: NDArray[np.float64], curve: Curve) -> None:
    """Draw the running mean of losses, and the losses themselves if the curve is alone."""
    steps = np.arange(1, len(losses) + 1)
    window = max(10, len(losses) // 50)
    sums = np.cumsum(np.append(0, losses))  # if the training diverged, the means end there
    means = (sums[window:] - sums[:-window]) / window
    label = curve.label
    if label is None:
        label = f"mean of the last {window}"
        ax.plot(steps, losses, color=COLORS[5], linewidth=0.6, alpha=0.7, label="mini-batch")
    else:
        ax.set_ylabel("loss, running mean")
    ax.plot(steps[window - 1 :], means, color=curve.color, linewidth=2, label=label)


def _draw_over_epochs(ax: Any, curves: list[Curve], named: bool) -> None:
    """Draw the values of epochs, on the training and the validation data."""
    dashes = {}
    for curve in curves:
        for prefix, label, color, dash, marker in (
            ("", "training", COLORS[0], "-", "o"),
            ("val_", "validation", COLORS[3], "--", "s"),
        ):
            values = curve.run.get(f"{prefix}{curve.name}", ())
            if not len(values):
                continue
            style = {"marker": marker, "markersize": 4 if len(values) <= MARKED_EPOCHS else 0}
            if curve.label is None:
                style |= {"color": color, "label": label}
            else:
                style |= {"color": curve.color, "linestyle": dash, "label": f"{curve.label}, {label}"}
                dashes[label] = dash
            ax.plot(np.arange(1, len(values) + 1), values, **style)
    if curves[0].label is not None:
        _add_legend(ax, curves, dashes if len(dashes) > 1 else {}, named=named)
    elif ax.lines:
        ax.legend(loc=_free_corner(ax))


def _add_legend(ax: Any, curves: list[Curve], dashes: Mapping[str, str] | None = None, *, named: bool = True) -> None:
    """Add a legend of colours, if `named`, and of dashes; of very many curves only the first and the last are named."""
    Line2D = require("matplotlib.lines", "plot").Line2D
    labelled = [(curve.label, curve.color) for curve in curves]
    if len(curves) > NAMED_CURVES:
        labelled[1:-1] = [("...", "none")]
    handles = [Line2D([], [], color=color, label=label, linewidth=2) for label, color in labelled if named]
    handles += [Line2D([], [], color="0.4", linestyle=dash, label=label) for label, dash in (dashes or {}).items()]
    where: dict[str, Any] = {"loc": _free_corner(ax)}
    if len(handles) > CURVES_INSIDE + 2:
        where = {"loc": "upper left", "bbox_to_anchor": (1.01, 1), "borderaxespad": 0, "frameon": False}
    if handles:
        ax.legend(handles=handles, fontsize="small", handlelength=1.6, **where)


def _free_corner(ax: Any) -> str:
    """Return the corner in which curves that rise or fall leave room."""
    values = ax.lines[-1].get_ydata() if ax.lines else []
    return "lower right" if len(values) > 1 and values[-1] > values[0] else "upper right"
