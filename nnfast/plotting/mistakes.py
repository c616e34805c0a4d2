"""Confusion matrices, and the worst mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, prod
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._validation import (
    as_array,
    as_tuple,
    check_int,
    choose,
    describe,
    ignore_float_errors,
    require,
    to_array,
)
from nnfast.metrics import confusion_matrix
from nnfast.plotting.panels import as_classes, new_axes, panels_of, predicted_classes, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUMBERED = 20  # classes up to which each cell has its number
LABELLED = 40  # classes up to which each has its label
LEAST_SIDE = 5  # of a square picture: four features are more likely those of a flower
LETTER = 0.09  # inches of a small letter, about
MOST_PICTURES = 1000
MOST_CLASSES = 1000
PICTURE_TITLE = 26  # characters
DIVISORS = {"true": "share of the true class", "pred": "share of the predicted class", "all": "share of all samples"}


def plot_confusion_matrix(
    model: Any,
    x: ArrayLike,
    y: ArrayLike,
    /,
    *,
    normalize: str | None = None,
    names: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how often samples of each class were predicted as each class.

    Parameters
    ----------
    model : Sequential or callable
        A network for classification, or any function that takes `x` and returns the n classes, such as
        ``lambda x: predictions``.
    x : array_like of shape (n, *input_shape)
        The samples; a function is given them as they are.
    y : array_like
        Their classes, of shape (n,), or as rows of probabilities, such as one-hot rows.
    normalize : {"true", "pred", "all"}, optional
        Show shares rather than counts: of the samples of each true class (rows add up to 1), of each predicted class
        (columns do), or of all samples. As in scikit-learn.
    names : sequence of str, optional
        The names of the classes, from class 0. By default their numbers.
    ax : matplotlib.axes.Axes, optional
        Where to draw. By default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        With at most 20 classes each cell shows its number, otherwise there is a scale. The colour follows the root of
        the number, so that rare mistakes are visible beside many right answers.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError, ValueError
        If `model` is none of the above, does not return one class for each sample, or an argument does not fit.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> ax = plot_confusion_matrix(lambda x: [0, 1, 1, 1], [[1], [2], [3], [4]], [0, 0, 1, 1], ax=Figure().subplots())
    >>> ax.get_title(), [text.get_text() for text in ax.texts]
    ('3 of 4 right (75.0%)', ['1', '1', '0', '2'])
    """
    predicted = _numbered("the result of model", predicted_classes("model", model, x))
    n = len(predicted)
    if not n:
        raise ValueError("x must have at least one row, got none")
    labels = _labels(model, y, n)
    share = None if normalize is None else choose("normalize", normalize, tuple(DIVISORS))
    known = _outputs_of(model)
    classes = max(known, 1 + int(max(labels.max(), predicted.max())))
    labels_of_classes = _names(names, classes)
    counts = confusion_matrix(labels, predicted, n_classes=classes)
    if ax is None:
        side = min(12.0, max(4.6, 2.0 + 0.48 * min(classes, NUMBERED)))
        (ax,) = new_axes(1, single=(side + 0.6 * (classes > NUMBERED), side))
    _draw_matrix(ax, _shares(counts, share), labels_of_classes, DIVISORS.get(share or "", "samples"))
    right = int(np.trace(counts))
    ax.set_title(f"{right:,} of {n:,} right ({right / n:.1%})")
    return ax


def plot_worst_mistakes(
    net: Any,
    x: ArrayLike,
    y: ArrayLike,
    /,
    *,
    n: int = 12,
    shape: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    axes: ArrayLike | None = None,
) -> NDArray[Any]:
    """Draw the misclassified samples with the largest losses, as pictures.

    Above each picture are the predicted and the true class, each with its probability if the network estimates it;
    below is its row in `x`.

    Parameters
    ----------
    net : Sequential
        A network for classification.
    x : array_like of shape (n_samples, *input_shape)
        The samples.
    y : array_like
        Their classes, as for `Sequential.loss`.
    n : int
        The largest number of pictures.
    shape : (height, width), (height, width, 3), (1, height, width) or (3, height, width), optional
        The shape of a picture; three channels are red, green and blue. By default the shape of a sample or, for samples
        that are vectors of a square number of pixels (25 or more), that square.
    names : sequence of str, optional
        The names of the classes, from class 0. By default their numbers.
    axes : sequence of matplotlib.axes.Axes, optional
        As many as `n`; those that are not needed remain empty. By default a new figure.

    Returns
    -------
    ndarray of matplotlib.axes.Axes
        Those with a picture, the worst mistake first. If there is no mistake, one with a note that says so.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    RuntimeError
        If the network is not built.
    TypeError, ValueError
        If the samples are not pictures of `shape`, the network does not predict one class for each sample, or an
        argument does not fit.

    Examples
    --------
    >>> import nnfast as nf
    >>> from matplotlib.figure import Figure
    >>> x, y = nf.datasets.load_digits()
    >>> net = nf.Sequential([nf.Dense(10, "softmax")], input_shape=64, seed=0)
    >>> history = net.fit(x, y, epochs=5, verbose=0)
    >>> len(plot_worst_mistakes(net, x, y, n=4, axes=Figure().subplots(2, 2)))
    4
    """
    if not (hasattr(net, "predict_class") and hasattr(net, "loss")):
        raise TypeError(f"net must be a Sequential, got {describe(net)}")
    x = to_array("x", x)
    if not x.ndim or not len(x):
        raise ValueError(f"x must have at least one row, got shape {x.shape}")
    rows = len(x)
    labels = _labels(net, y, rows)
    most = check_int("n", n, 1, MOST_PICTURES)
    picture = _picture_shape(x.shape[1:], shape)
    predicted = predicted_classes("net", net, x, rows)
    classes = _names(names, max(_outputs_of(net), 1 + int(max(labels.max(), predicted.max()))))
    worst = _worst(net, x, to_array("y", y), np.flatnonzero(predicted != labels))[:most]
    titles = _titles(net, x[worst], predicted[worst], labels[worst], classes)
    images = _images(x[worst], picture)
    lines = 1 + max((title.count("\n") for title in titles), default=0)
    size = {"width": 1.9, "height": 0.4 + 0.16 * lines + 1.75 * min(1, images.shape[1] / images.shape[2]), "spare": 0.2}
    shown = max(1, len(worst))
    panels = panels_of(axes, shown if axes is None else most, **size)
    for ax in panels:
        ax.set(xticks=[], yticks=[])
        ax.set_frame_on(False)
    if not len(worst):
        panels[0].text(0.5, 0.5, f"no mistakes\nin {rows:,} samples", ha="center", va="center")
    for ax, row, title, image in zip(panels, worst, titles, images, strict=False):
        ax.imshow(image, cmap="gray", vmin=0, vmax=1)
        ax.set_title(title, fontsize="small")
        ax.set_xlabel(f"row {row}", fontsize="small")
    return panels[:shown]


def _titles(
    net: Any, x: np.ndarray, predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: list[str]
) -> list[str]:
    """Return what was predicted for samples and what is true, with their probabilities if the network has them."""
    probabilities = _probabilities(net, x)
    titles = []
    for i, pair in enumerate(zip(predicted, labels, strict=True)):
        lines = []
        for what, label in zip(("predicted", "true"), pair, strict=True):
            share = "" if probabilities is None else f" ({probabilities[i, label]:.1%})"
            lines.append(fill(f"{what} {text(classes[label])}{share}", PICTURE_TITLE))
        titles.append("\n".join(lines))
    return titles


def _labels(model: Any, y: ArrayLike, n: int) -> NDArray[np.int64]:
    """Return the class of each sample, given by its number or a row of probabilities; for hinge, -1 is class 0."""
    array = as_array("y", y, np.float64, ndim=(1, 2), finite=True)
    if array.ndim == 2 and array.shape[1] > 1:
        as_array("y", array, shape=(n, None))
        return array.argmax(axis=1)
    labels = as_classes("y", array.ravel(), n)
    return (labels > 0).astype(np.int64) if getattr(model, "loss_name", "") == "hinge" else _numbered("y", labels)


def _numbered(name: str, classes: NDArray[np.int64]) -> NDArray[np.int64]:
    wrong = classes[(classes < 0) | (classes >= MOST_CLASSES)]
    if wrong.size:
        raise ValueError(f"{name} must hold classes numbered from 0 to {MOST_CLASSES - 1} at most, got {wrong[0]}")
    return classes


def _outputs_of(model: Any) -> int:
    """Return the number of classes that a network knows; 0 for any other model."""
    shape = getattr(model, "output_shape", ())
    return max(2, prod(shape)) if shape else 0


def _names(names: Sequence[str] | None, classes: int) -> list[str]:
    if names is None:
        return [str(i) for i in range(classes)]
    given = as_tuple("names", names, "names")
    if isinstance(names, str) or len(given) != classes:
        raise ValueError(f"names must hold {classes} names, one for each class, got {describe(names)}")
    return [str(name) for name in given]


@ignore_float_errors
def _shares(counts: NDArray[np.int64], share: str | None) -> NDArray[Any]:
    if share is None:
        return counts
    axis = {"true": 1, "pred": 0, "all": None}[share]
    return np.nan_to_num(counts / counts.sum(axis=axis, keepdims=True))  # a class without samples has zeros


@ignore_float_errors
def _draw_matrix(ax: Any, values: NDArray[Any], names: list[str], what: str) -> None:
    """Draw a matrix with labels, and with numbers or a scale."""
    n = len(values)
    norm = require("matplotlib.colors", "plot").PowerNorm(0.5, 0, values.max())
    image = ax.imshow(values, cmap="Blues", norm=norm, interpolation="nearest")
    every = -(-n // LABELLED)
    size = "small" if n <= NUMBERED else 6
    room = ax.get_window_extent().width / ax.figure.dpi / len(names[::every])  # inches for each label
    long = LETTER * max(map(len, names[::every])) > room
    ax.set_xticks(range(0, n, every), [text(name) for name in names[::every]], rotation=90 * long, fontsize=size)
    ax.set_yticks(range(0, n, every), [text(name) for name in names[::every]], fontsize=size)
    ax.set(xlabel="predicted class", ylabel="true class")
    if n > NUMBERED:
        ax.figure.colorbar(image, ax=ax, label=what)
        return
    for i, j in np.ndindex(n, n):
        value = values[i, j]
        color = "white" if norm(value) > 0.55 else "black"
        number = f"{value:,}" if values.dtype.kind == "i" else f"{value:.2f}"
        fits = LETTER * len(number) < room
        ax.text(j, i, number, ha="center", va="center", color=color, fontsize=9 if fits else 6)
    if values.dtype.kind == "f":
        ax.set_xlabel(f"predicted class\n{what}")


def _picture_shape(sample: tuple[int, ...], shape: Sequence[int] | None) -> tuple[int, ...]:
    """Return the shape of a picture; ValueError if a sample is none."""
    if shape is not None:
        sizes = tuple(check_int("shape", size, 1) for size in as_tuple("shape", shape, "integers"))
        if prod(sizes) != prod(sample) or not _is_picture(sizes):
            raise ValueError(
                f"shape must be that of a picture with the {prod(sample)} numbers of a sample, got {sizes}"
            )
        return sizes
    if _is_picture(sample):
        return sample
    side = isqrt(sample[0]) if len(sample) == 1 else 0
    if side >= LEAST_SIDE and side * side == sample[0]:
        return side, side
    raise ValueError(
        f"x must hold pictures, got samples of shape {sample}: if they are pictures, give shape=(height, width)"
    )


def _is_picture(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 or (len(shape) == 3 and (shape[2] in (1, 3) or shape[0] in (1, 3)))


@ignore_float_errors
def _images(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return samples as pictures with values from 0 to 1, on one scale."""
    images = x.reshape(len(x), *shape).astype(np.float64)
    low, high = images.min(initial=np.inf), images.max(initial=-np.inf)
    images = (images - low) / (high - low) if high > low else np.zeros_like(images)
    if images.ndim == 4 and shape[2] not in (1, 3):
        images = np.moveaxis(images, 1, 3)
    return images[..., 0] if images.shape[3:] == (1,) else images


def _worst(net: Any, x: np.ndarray, y: np.ndarray, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return rows by their loss, the largest first."""
    losses = np.array([net.loss(x[row : row + 1], y[row : row + 1]) for row in rows])
    return rows[np.argsort(-losses, kind="stable")]


def _probabilities(net: Any, x: np.ndarray) -> np.ndarray | None:
    """Return the probabilities of classes, of shape (n, classes); None if the network does not estimate them."""
    activation = next((layer.activation for layer in reversed(net.layers) if not layer.reshapes), "")
    outputs = net.predict(x).reshape(len(x), prod(net.output_shape)).astype(np.float64)
    if net.loss_name == "hinge" or activation not in ("softmax", "log_softmax", "sigmoid"):
        return None
    if activation == "log_softmax":
        return np.exp(outputs)
    return outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])
