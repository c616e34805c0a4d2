"""Training of the networks of a table model: which rows are held back, the recipe, and the temperature."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnfast._many import fit_many
from nnfast._threads import MAX_THREADS, num_threads
from nnfast._validation import check_float, check_int
from nnfast.callbacks import EarlyStopping
from nnfast.layers import Dense, Dropout, Layer
from nnfast.optimizers import AdamW
from nnfast.schedules import Cosine
from nnfast.sequential import Sequential

if TYPE_CHECKING:
    from nnfast.tables.targets import Target
    from nnfast.training import History

FEWEST_ROWS = 10  # of a table from which some are held back
PRIOR_ROWS = 20  # how many held rows weigh as much as the belief that no temperature is needed
MOST_TEMPERATURE = 4.0  # and its inverse the least


class Recipe(NamedTuple):
    """How networks for tables are built and trained.

    Parameters
    ----------
    hidden : tuple of int
        The units of the hidden layers.
    activation : str
        Of the hidden layers, by its name.
    dropout : float
        The fraction of each hidden layer's outputs that are dropped at random.
    learning_rate : float
        At the beginning; it follows a cosine to 0 after `epochs`.
    beta2 : float
        Of AdamW.
    weight_decay : float
        Of AdamW, for all weights but biases.
    label_smoothing : float
        The share of each class label that is spread evenly over all classes.
    epochs : int
        At most.
    batch_size : int
        At most: the number of rows, if there are fewer.
    patience : int
        Training ends after so many epochs in a row without a lower loss on the held rows.
    held : float
        The fraction of rows that each network holds back: one of 1/2, 1/3, 1/4, and so on, the nearest.

    Notes
    -----
    Most of it is RealMLP's: Holzmüller et al., "Better by default: strong pre-tuned MLPs and boosted trees on tabular
    data" (2024), https://arxiv.org/abs/2407.04491.

    Examples
    --------
    >>> from nnfast.tables import Recipe
    >>> Recipe(hidden=(64, 64)).epochs
    256
    """

    hidden: tuple[int, ...] = (256, 256, 256)
    activation: str = "selu"
    dropout: float = 0.15
    learning_rate: float = 0.002
    beta2: float = 0.95
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    epochs: int = 256
    batch_size: int = 256
    patience: int = 38
    held: float = 0.2

    def checked(self) -> Recipe:
        """Return the recipe itself, if `train` can divide by its numbers; layers and optimizer check the others."""
        for name in ("epochs", "batch_size", "patience"):
            check_int(name, getattr(self, name), 1)
        if not 0 < check_float("held", self.held) <= 0.5:
            raise ValueError(f"held must be above 0 and at most 0.5, got {self.held}")
        return self

    def network(self, encoding: Sequence[Layer], width: int, target: Target, seed: int) -> Sequential:
        """Return an untrained network behind the layers that encode `width` columns."""
        hidden: list[Layer] = []
        for units in self.hidden:
            hidden.append(Dense(units, activation=self.activation))
            if self.dropout:
                hidden.append(Dropout(self.dropout))
        layers = [*encoding, *hidden, target.output_layer()]
        return Sequential(layers, input_shape=width, loss=target.loss(self.label_smoothing), seed=seed)

    def optimizer(self, rows: int) -> AdamW:
        """Return the optimizer for a training on `rows` rows."""
        steps = self.epochs * ceil(rows / self.batch_size)
        rate = Cosine(self.learning_rate, steps=steps)
        return AdamW(rate, beta2=self.beta2, weight_decay=self.weight_decay, decay_biases=False)


class Samples(NamedTuple):
    """Prepared rows, targets as the networks take them, and weights or None."""

    raw: np.ndarray
    values: np.ndarray
    weights: np.ndarray | None


def held_parts(
    classes: np.ndarray | None, n: int, fraction: float, count: int, random: np.random.Generator
) -> list[np.ndarray]:
    """Return for each of `count` networks the rows that are held back: disjoint parts, as long as there are any.

    Each part has about the same share of each class. The only row of a class is never held back. Without rows to
    spare, all parts are empty; otherwise none is.
    """
    rows: np.ndarray = np.arange(n)
    if classes is not None:
        rows = np.flatnonzero(np.bincount(classes)[classes] > 1)
    if n < FEWEST_ROWS or not len(rows):
        return [np.empty(0, np.int64)] * count
    n_parts = min(max(2, round(1 / fraction)), len(rows))
    parts: list[np.ndarray] = []
    while len(parts) < count:
        order = random.permutation(rows)
        if classes is not None:
            order = order[np.argsort(classes[order], kind="stable")]
        parts += [np.sort(order[k::n_parts]) for k in range(n_parts)]
    return parts[:count]


def train(
    networks: Sequence[Sequential],
    samples: Samples,
    parts: Sequence[np.ndarray],
    recipe: Recipe,
    *,
    max_seconds: float | None = None,
    n_threads: int | None = None,
    verbose: int = 0,
) -> list[History]:
    """Train networks, each without the rows of its part, which choose its best epoch."""
    n = len(samples.raw)
    everything = np.arange(n)
    rows = [np.setdiff1d(everything, part, assume_unique=True) for part in parts]
    held = len(parts[0]) > 0
    stopping = EarlyStopping("val_loss", patience=recipe.patience, restore_best=True)
    with at_most(n_threads):
        return fit_many(
            networks, samples.raw, samples.values,
            epochs=recipe.epochs,
            batch_size=[min(recipe.batch_size, len(chosen)) for chosen in rows],
            optimizer=[recipe.optimizer(len(chosen)) for chosen in rows],
            rows=rows,
            validation_rows=list(parts) if held else None,
            sample_weight=samples.weights,
            metrics=[],
            max_seconds=max_seconds,
            verbose=verbose,
            callbacks=[stopping] if held else [],
        )  # fmt: skip


def at_most(n_threads: int | None) -> AbstractContextManager[None]:
    """Limit the number of threads inside a ``with`` block, unless it is None."""
    return nullcontext() if n_threads is None else num_threads(min(n_threads, MAX_THREADS))


def calibrate(network: Sequential, held: Samples) -> float:
    """Multiply the inputs of a network's softmax by the factor with the least log loss on held rows, and return it.

    The inverse of the factor is called the temperature: Guo et al., "On calibration of modern neural networks" (2017).
    The loss is convex in the factor, whose derivative is bisected. With few rows the factor stays near 1.
    """
    n = len(held.raw)
    if not n:
        return 1.0
    logits = np.log(np.maximum(network.predict(held.raw), np.finfo(np.float32).tiny, dtype=np.float64))
    own = logits[np.arange(n), held.values]

    def slope(factor: float) -> float:
        p = np.exp(factor * (logits - logits.max(axis=1, keepdims=True)))
        expected = (p * logits).sum(axis=1) / p.sum(axis=1)
        return float(np.average(expected - own, weights=held.weights))

    low, high = 1 / MOST_TEMPERATURE, MOST_TEMPERATURE
    for _ in range(30):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    factor = (low * high) ** (0.5 * n / (n + PRIOR_ROWS))
    for name in list(network.params)[-2:]:  # of the last layer: weights and biases
        network.params[name][...] *= np.float32(factor)
    return float(factor)
