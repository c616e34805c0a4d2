"""The record of a training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np


class History(Mapping[str, list[float]]):
    """Record of the training of a network.

    A mapping from ``"loss"`` and the names of the metrics, such as ``"accuracy"``, and the same with ``val_`` for the
    validation data, to one value per epoch. The loss and the metrics on the training data are averages over the epoch's
    mini-batches, each before its update.

    Attributes
    ----------
    step_loss : ndarray of float64
        The loss of each mini-batch.
    learning_rate : ndarray of float64
        The learning rate of each mini-batch; empty for L-BFGS, which does not have one.
    steps_per_epoch : int
        Number of mini-batches per epoch.
    threads : dict
        How many steps were done with each number of threads, which `fit` chooses while it runs (see
        `nf.set_num_threads`); empty for L-BFGS and numerical gradients.
    directions : dict
        Which values are better, ``"higher"`` or ``"lower"``, of each quantity.
    converged : bool or None
        For L-BFGS, whether the loss converged; False if the last epoch, `Sequential.stop` or the limit of time or of
        evaluations came first. None for other optimizers.
    """

    def __init__(
        self, steps_per_epoch: int, names: Sequence[str] = ("loss",), directions: Mapping[str, str] | None = None
    ) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.directions = dict(directions or {"loss": "lower"})
        self.step_loss = np.empty(0)
        self.learning_rate = np.empty(0)
        self.threads: dict[int, int] = {}
        self.converged: bool | None = None
        self._names = tuple(names)
        self._epochs: list[tuple[float, ...]] = []  # the record, never handed out: one row per epoch
        self._lists: dict[str, list[float]] = {}  # the lists that are handed out, filled on access

    def __getitem__(self, name: str) -> list[float]:
        if name not in self._names:
            raise KeyError(f"no {name!r} was recorded: there are {', '.join(self._names)}")
        values = self._lists.setdefault(name, [])
        known, column = len(values), self._names.index(name)
        values[known:] = [epoch[column] for epoch in self._epochs[known:]]
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        last = ", ".join(f"{name} {values[-1]:.4g}" for name, values in self.items() if values)
        return f"History({len(self._epochs)} epochs, {len(self.step_loss)} steps{': ' + last if last else ''})"

    def _repr_html_(self) -> str:
        from nnfast._html import history_html

        return history_html(self)

    def plot(self, axes: Any = None, *, quantities: str | Sequence[str] | None = None) -> Any:
        """Draw all that was recorded, with matplotlib: losses, metrics and, if it changes, the learning rate.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, optional
            Where to draw, as for `plotting.plot_history`, which can also compare several histories; by default in a new
            figure.
        quantities : str or sequence of str, optional
            What to draw, as for `plotting.plot_history`.

        Returns
        -------
        ndarray of Axes

        Raises
        ------
        ImportError
            If matplotlib is missing; the message names the extra that installs it.
        TypeError, ValueError
            If one of `quantities` was not recorded, or `axes` has another number of axes.

        Examples
        --------
        >>> import nnfast as nf
        >>> from matplotlib.figure import Figure
        >>> net = nf.Sequential([nf.Dense(2, activation="softmax")], input_shape=2, seed=0)
        >>> history = net.fit([[0, 1], [1, 0]], [0, 1], epochs=3, verbose=0)
        >>> [ax.get_title() for ax in history.plot(Figure().subplots(1, 3))]
        ['loss over steps', 'loss over epochs', 'accuracy over epochs']
        """
        from nnfast.plotting import plot_history

        return plot_history(self, quantities=quantities, axes=axes)


def add_epochs(history: History, values: list[tuple[float, ...]]) -> None:
    """Add the values of epochs, all or none: Ctrl-C cannot interrupt a list's `extend`."""
    history._epochs.extend(values)


def epochs_of(history: History) -> Sequence[tuple[float, ...]]:
    """Return the record itself, which grows by `add_epochs`."""
    return history._epochs
