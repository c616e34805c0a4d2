"""Training of the networks of a table model: which rows are held back, the recipe, and the temperature."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import ceil, inf
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnfast._many import fit_many
from nnfast._threads import at_most
from nnfast._validation import check_bool, check_float, check_int
from nnfast.layers import Dense, Dropout, Layer
from nnfast.optimizers import AdamW
from nnfast.schedules import Cosine
from nnfast.sequential import Sequential, network_of
from nnfast.tables.targets import Target, logarithms

if TYPE_CHECKING:
    from nnfast.training import History

MANY_ROWS, LEAST_EPOCHS = 25_000, 32  # with more rows there are fewer epochs, but at least this many
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
        At most, for up to 25,000 rows. For more rows, the number is reduced in inverse proportion, to 32 at least, so
        that a network still visits the same number of rows in all.
    batch_size : int
        At most: the number of rows, if there are fewer.
    patience : int
        Training ends after so many epochs in a row without a lower loss on the held rows. For many rows it is reduced
        in the same proportion as `epochs`.
    averaged : float
        Over how many epochs the weights are averaged, with weights that decay exponentially; the averages are what is
        compared on the held rows, and kept.
    held : float
        The fraction of rows that each network holds back: one of 1/2, 1/3, 1/4, and so on, the nearest.
    linear : bool
        Whether a linear model may have a share in the outputs, if there are held rows, which choose the share.

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
    averaged: float = 5.0
    held: float = 0.2
    linear: bool = True

    def checked(self) -> Recipe:
        """Return the recipe itself, if `train` can divide by its numbers; layers and optimizer check the others."""
        for name in ("epochs", "batch_size", "patience"):
            check_int(name, getattr(self, name), 1)
        check_float("averaged", self.averaged, 0.0)
        check_bool("linear", self.linear)
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

    def for_rows(self, rows: int) -> Recipe:
        """Return the recipe with the epochs and the patience for a table of so many rows."""
        epochs = max(min(self.epochs, LEAST_EPOCHS), round(self.epochs * min(1.0, MANY_ROWS / rows)))
        return self._replace(epochs=epochs, patience=max(1, round(self.patience * epochs / self.epochs)))

    def optimizer(self, rows: int) -> AdamW:
        """Return the optimizer for a training on `rows` rows."""
        steps = ceil(rows / self.batch_size)
        rate = Cosine(self.learning_rate, steps=self.epochs * steps)
        decay = 1 - 1 / max(self.averaged * steps, 1.0)
        return AdamW(rate, beta2=self.beta2, weight_decay=self.weight_decay, decay_biases=False, average_decay=decay)


class Samples(NamedTuple):
    """Prepared rows, targets as the networks take them, and weights or None."""

    raw: np.ndarray
    values: np.ndarray
    weights: np.ndarray | None

    def chosen(self, rows: np.ndarray) -> Samples:
        """Return some of the rows."""
        weights = None if self.weights is None else self.weights[rows]
        return Samples(self.raw[rows], self.values[rows], weights)


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


class Best:
    """The averages of a network's weights that had the lowest loss on held rows.

    Attributes
    ----------
    losses : list of float
        Of the averages after each epoch, on the held rows.
    """

    def __init__(self, net: Sequential, held: Samples, patience: int) -> None:
        self.losses: list[float] = []
        self._averaged, self._held, self._patience = net.copy(), held, patience
        self._best: np.ndarray | None = None
        self._least, self._bad = inf, 0

    def look(self, net: Sequential) -> None:
        """Compare the averages after an epoch with those before, and end the training if it no longer helps."""
        self.compare(net)
        if self._bad >= self._patience:
            net.stop()

    def compare(self, net: Sequential) -> None:
        """Compare the averages after an epoch with those before."""
        program = network_of(net).built
        program.settle()
        weights = self._averaged.flat_params
        weights[...] = program.slot.average
        raw, values, row_weights = self._held
        self.losses.append(self._averaged.loss(raw, values, sample_weight=row_weights))
        self._bad += 1
        if self.losses[-1] < self._least:
            self._least, self._bad, self._best = self.losses[-1], 0, weights.copy()

    def restore(self, net: Sequential) -> None:
        """Give the network the best averages, if there are any."""
        if self._best is not None:
            net.flat_params[...] = self._best


class Trained(NamedTuple):
    """A trained network, the rows that it held back, its history, and its losses on those rows after each epoch."""

    net: Sequential
    part: np.ndarray
    history: History
    held_losses: list[float]


def train(
    networks: Sequence[Sequential],
    samples: Samples,
    parts: Sequence[np.ndarray],
    recipe: Recipe,
    *,
    max_seconds: float | None = None,
    n_threads: int | None = None,
    verbose: int = 0,
) -> tuple[list[Trained], bool]:
    """Train networks, each without the rows of its part, which choose its best epoch.

    Return the trained ones, and whether Ctrl-C ended the training: then those that have not finished an epoch are left
    out, and KeyboardInterrupt is raised if none has.
    """
    everything = np.arange(len(samples.raw))
    rows = [np.setdiff1d(everything, part, assume_unique=True) for part in parts]
    held = zip(networks, parts, strict=True) if len(parts[0]) else ()
    best = {id(net): Best(net, samples.chosen(part), recipe.patience) for net, part in held}
    interrupted = False
    try:
        with at_most(n_threads):
            histories: Sequence[History | None] = fit_many(
                networks, samples.raw, samples.values,
                epochs=recipe.epochs,
                batch_size=[min(recipe.batch_size, len(chosen)) for chosen in rows],
                optimizer=[recipe.optimizer(len(chosen)) for chosen in rows],
                rows=rows,
                sample_weight=samples.weights,
                metrics=[],
                max_seconds=max_seconds,
                verbose=verbose,
                callbacks=[lambda net, history: best[id(net)].look(net)] if best else [],
            )  # fmt: skip
    except KeyboardInterrupt:
        if not any(net.epochs_trained for net in networks):
            raise
        interrupted, histories = True, [net.history if net.epochs_trained else None for net in networks]
    trained = []
    with interrupts_later() as later, at_most(n_threads):
        for net, part, history in zip(networks, parts, histories, strict=True):
            if history is None:
                continue
            looked = best.get(id(net))
            if looked is not None:
                if len(looked.losses) < len(history["loss"]):  # Ctrl-C came in between
                    looked.compare(net)
                looked.restore(net)
            net.reset_optimizer()  # its vectors would be copied and pickled with the network
            trained.append(Trained(net, part, history, [] if looked is None else looked.losses))
    return trained, interrupted or bool(later)


@contextmanager
def interrupts_later() -> Iterator[list[int]]:
    """Let Ctrl-C wait until the end of a block that must not be left in the middle; it is added to the list.

    This is so where it would raise KeyboardInterrupt: in the main thread, unless the program handles it itself.
    """
    later: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield later
        return
    signal.signal(signal.SIGINT, lambda number, frame: later.append(number))
    try:
        yield later
    finally:
        signal.signal(signal.SIGINT, before)


def calibrate(network: Sequential, held: Samples) -> float:
    """Multiply the inputs of a network's softmax by the factor with the least log loss on held rows, and return it.

    The inverse of the factor is called the temperature: Guo et al., "On calibration of modern neural networks" (2017).
    The loss is convex in the factor, whose derivative is bisected. With few rows the factor stays near 1.
    """
    n = len(held.raw)
    if not n:
        return 1.0
    logits = logarithms(network.predict(held.raw))
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
    scale_outputs(network, factor)
    return float(factor)


def scale_outputs(network: Sequential, factor: float) -> None:
    """Multiply what a network computes before its last activation."""
    for name in list(network.params)[-2:]:  # of the last layer: weights and biases
        network.params[name][...] *= np.float32(factor)
