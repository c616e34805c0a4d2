"""Histograms of activations, parameters and gradients, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._samples import is_sparse
from nnfast._validation import as_array, check_int, check_shape, describe, ignore_float_errors
from nnfast.layers import Dense, walk
from nnfast.plotting.panels import COLORS, TITLE_WIDTH, panels_of

if TYPE_CHECKING:
    from nnfast.layers import Layer

MAX_BINS = 10_000


def plot_activation_histograms(
    net: Any,
    x: ArrayLike,
    /,
    *,
    bins: int = 30,
    limits: tuple[float, float] | None = None,
    axes: ArrayLike | None = None,
) -> NDArray[Any]:
    """Draw a histogram of the outputs of each layer.

    If the outputs of a deep layer are all equal, or all at the ends of their range, the layers before it learn little.
    Layers that only reshape, and dropout and noise, which do nothing in prediction, have no panel.

    Parameters
    ----------
    net : Sequential
        The network.
    x : array_like of shape (n, *input_shape)
        Samples.
    bins : int
        The number of bars.
    limits : (float, float), optional
        The range of values, the same in each panel; the label below says how many values are outside of it. By default
        that of the layer's outputs.
    axes : sequence of matplotlib.axes.Axes, optional
        One for each layer. By default a new figure.

    Returns
    -------
    ndarray of matplotlib.axes.Axes
        From the input to the output.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    RuntimeError
        If the network is not built.
    TypeError, ValueError
        If an argument does not fit, or `axes` has another number of axes.

    Notes
    -----
    Chapter 6.2 of Saito's *Deep Learning from Scratch*.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> from matplotlib.figure import Figure
    >>> net = nf.Sequential([nf.Dense(50, "sigmoid"), nf.Dense(3, "softmax")], input_shape=2, seed=0)
    >>> x = np.random.default_rng(0).standard_normal((100, 2))
    >>> [ax.get_title() for ax in plot_activation_histograms(net, x, axes=Figure().subplots(1, 2))]
    ['0: Dense(50), sigmoid', '1: Dense(3), softmax']
    """
    _check_network(net)
    net.params  # noqa: B018  raises an error if the network is not built
    rows: Any = x if is_sparse(x) else as_array("x", x, net.dtype)
    check_shape("x", rows, (None, *net.input_shape))
    if not rows.shape[0]:
        raise ValueError(f"x must have at least one row, got shape {rows.shape}")
    drawn = [i for i, layer in enumerate(net.layers) if not (layer.reshapes or layer.random)]
    outputs = (net.activations(rows, i) for i in drawn)
    titles = [_title(str(i), net.layers[i]) for i in drawn]
    return _draw(titles, ({"": out} for out in outputs), bins, limits, axes)


def plot_weight_histograms(
    net: Any, /, *, bins: int = 30, limits: tuple[float, float] | None = None, axes: ArrayLike | None = None
) -> NDArray[Any]:
    """Draw histograms of the parameters of each layer: its weights, biases and others.

    Parameters
    ----------
    net : Sequential
        The network.
    bins, limits
        As for `plot_activation_histograms`.
    axes : sequence of matplotlib.axes.Axes, optional
        One for each layer with parameters, those within residual layers included. By default a new figure.

    Returns
    -------
    ndarray of matplotlib.axes.Axes
        From the input to the output.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    RuntimeError
        If the network is not built.
    TypeError, ValueError
        If an argument does not fit, the network has no parameters, or `axes` has another number of axes.

    Examples
    --------
    >>> import nnfast as nf
    >>> from matplotlib.figure import Figure
    >>> net = nf.Sequential([nf.Dense(50, "relu"), nf.Dense(1)], input_shape=2, seed=0)
    >>> first, last = plot_weight_histograms(net, axes=Figure().subplots(1, 2))
    >>> [text.get_text() for text in first.get_legend().get_texts()]
    ['W1', 'b1']
    """
    _check_network(net)
    return _draw_by_layer(net, net.params, bins, limits, axes)


def plot_gradient_histograms(
    net: Any,
    x: ArrayLike,
    y: ArrayLike,
    /,
    *,
    training: bool = False,
    bins: int = 30,
    limits: tuple[float, float] | None = None,
    axes: ArrayLike | None = None,
) -> NDArray[Any]:
    """Draw histograms of the gradient of the loss with respect to the parameters of each layer.

    Parameters
    ----------
    net : Sequential
        The network.
    x, y : array_like
        Samples and targets, as for `Sequential.loss`.
    training : bool
        Whether to compute the gradient as in a step of training: with dropout, and with the statistics of the batch.
    bins, limits
        As for `plot_activation_histograms`.
    axes : sequence of matplotlib.axes.Axes, optional
        One for each layer with parameters, those within residual layers included. By default a new figure.

    Returns
    -------
    ndarray of matplotlib.axes.Axes
        From the input to the output.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    RuntimeError
        If the network is not built.
    TypeError, ValueError
        If an argument does not fit, the network has no parameters, or `axes` has another number of axes.

    Examples
    --------
    >>> import nnfast as nf
    >>> from matplotlib.figure import Figure
    >>> net = nf.Sequential([nf.Dense(50, "relu"), nf.Dense(1)], input_shape=2, seed=0)
    >>> axes = plot_gradient_histograms(net, [[0, 1], [1, 0]], [1.0, 2.0], axes=Figure().subplots(1, 2))
    >>> [ax.get_title() for ax in axes]
    ['0: Dense(50), relu', '1: Dense(1), identity']
    """
    _check_network(net)
    return _draw_by_layer(net, net.gradient(x, y, training=training), bins, limits, axes)


def _check_network(net: Any) -> None:
    if not (hasattr(net, "layers") and hasattr(net, "gradient")):
        raise TypeError(f"net must be a Sequential, got {describe(net)}")


def _title(path: str, layer: Layer) -> str:
    activation = f", {layer.activation}" if isinstance(layer, Dense) else ""
    return fill(f"{path}: {layer.label}{activation}", TITLE_WIDTH)


def _draw_by_layer(net: Any, arrays: Any, bins: int, limits: Any, axes: ArrayLike | None) -> NDArray[Any]:
    """Draw the arrays of each layer, given by name and path, in a panel."""
    layers = dict(walk(net.layers))
    panels: dict[str, dict[str, np.ndarray]] = {}
    for path in arrays.paths:
        panels.setdefault(path.rpartition(".")[0], {})[arrays.name_of(path)] = arrays[path]
    if not panels:
        raise ValueError("net must have parameters, got a network without any")
    return _draw([_title(path, layers[path]) for path in panels], iter(panels.values()), bins, limits, axes)


@ignore_float_errors
def _draw(
    titles: list[str],
    contents: Iterator[Mapping[str, np.ndarray]],
    bins: int,
    limits: tuple[float, float] | None,
    axes: ArrayLike | None,
) -> NDArray[Any]:
    """Draw a panel for each title, with histograms of some arrays, by name."""
    bins = check_int("bins", bins, 1, MAX_BINS)
    if limits is not None:
        limits = tuple(as_array("limits", limits, np.float64, shape=(2,), finite=True).tolist())
        if not limits[0] < limits[1]:
            raise ValueError(f"limits must be (low, high) with low < high, got {limits}")
    panels = panels_of(axes, len(titles), height=3.2)
    for ax, title, arrays in zip(panels, titles, contents, strict=True):
        edges = _edges(arrays, bins, limits)
        notes = []
        for color, (name, array) in zip((COLORS[0], COLORS[3], COLORS[2]), arrays.items(), strict=False):
            counts, _ = np.histogram(array[np.isfinite(array)], edges)
            style = {"color": color, "label": name} | ({"alpha": 0.35} if len(arrays) > 1 else {})
            ax.stairs(counts / array.size, edges, fill=True, **style)
            if len(arrays) > 1:
                ax.stairs(counts / array.size, edges, color=color)
            notes.append(_note(name, array, int(counts.sum())))
        if len(arrays) > 1:
            ax.legend(fontsize="small")
        ax.set_title(title, fontsize="medium")
        ax.set_xlabel("\n".join(notes), fontsize="small")
        ax.set_ylabel("share of values")
    return panels


def _edges(arrays: Mapping[str, np.ndarray], bins: int, limits: tuple[float, float] | None) -> NDArray[np.float64]:
    """Return the edges of bars for all finite values; bars around it for a single value."""
    if limits is None:
        finite = [array[np.isfinite(array)] for array in arrays.values()]
        ends = [end for values in finite if values.size for end in (float(values.min()), float(values.max()))]
        limits = (min(ends), max(ends)) if ends else (0.0, 1.0)
    low, high = limits
    if low == high:
        room = abs(low) / 2 or 0.5
        low, high = low - room, high + room
    share = np.linspace(0, 1, bins + 1)
    return low * (1 - share) + high * share  # the difference could overflow


def _note(name: str, array: np.ndarray, shown: int) -> str:
    """Say what a histogram does not show."""
    finite = array[np.isfinite(array)].astype(np.float64)
    start = f"{name}: " if name else ""
    if not finite.size:
        return f"{start}not finite"
    note = f"{start}mean {finite.mean():.2g}, std {finite.std():.2g}"
    outside = finite.size - shown
    if outside:
        note += f", {outside / array.size:.1%} outside"
    if finite.size < array.size:
        note += f", {array.size - finite.size:,} not finite"
    return note
