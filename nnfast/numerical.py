"""Numerical gradients of a whole network, and training with them: chapter 4 of Saito's *Deep Learning from Scratch*.

All in float64: in float32 rounding is as large as the differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._progress import share_of_work
from nnfast._threads import get_num_threads
from nnfast._validation import describe
from nnfast.engine.program import Differences, Training

if TYPE_CHECKING:
    from numpy.random import BitGenerator

    from nnfast.sequential import Sequential

INPUT = "x"  # among the names of arrays
H = 1e-4  # the step of the differences that a network is trained by


def chosen_names(net: Sequential, wrt: str | Sequence[str] | None) -> list[str]:
    """Return the names of the arrays that `wrt` asks for, which may be paths; of all parameters for None.

    Raises
    ------
    TypeError, ValueError
        If one of them is no array of the network; the message lists those there are.
    """
    names = list(net.params)
    if wrt is None:
        return names
    paths = net.params._paths
    asked = [wrt] if isinstance(wrt, str) else wrt
    if not isinstance(asked, Sequence) or not all(isinstance(name, str) for name in asked):
        raise TypeError(f"wrt must be names of arrays, got {describe(wrt)}")
    chosen = list(dict.fromkeys(paths.get(name, name) for name in asked))
    for name in chosen:
        if name not in (*names, INPUT):
            raise ValueError(f"wrt must hold names among {', '.join((*names, INPUT))}, got {name!r}")
    if not chosen:
        raise ValueError(f"wrt must hold at least one of {', '.join((*names, INPUT))}, got none")
    return chosen


def slopes(
    net: Sequential, rows: np.ndarray, targets: np.ndarray, names: Sequence[str], h: float, verbose: int = 0
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the slopes of the loss to the right and to the left of each number in the arrays of these names.

    Parameters
    ----------
    net : Sequential
        In float64.
    rows, targets : ndarray
        As the engine takes them.
    names : sequence of str
        As from `chosen_names`.
    h : float
        The step.
    verbose : {0, 1}
        Whether long work shows its progress.
    """
    program = net._built
    numbers = {f"{name}{s + 1}": i for i, (s, name, _, _) in enumerate(program.layout)} | {INPUT: -1}
    differences = Differences(program, rows, targets, [numbers[name] for name in names], h, get_num_threads())
    with share_of_work("numerical gradient", verbose) as show:
        while not differences.run():
            show(differences.done)
    found = {}
    both = differences.slopes
    for name in names:
        if name == INPUT:
            part = both[len(program.parameters) :].reshape(*rows.shape, 2)
        else:
            _, _, at, shape = program.layout[numbers[name]]
            part = both[at : at + int(np.prod(shape))].reshape(*shape, 2)
        found[name] = (part[..., 0], part[..., 1])
    return found


def gradient_and_loss(
    double: Sequential, rows: np.ndarray, targets: np.ndarray, counts: str | float | None, h: float = H
) -> tuple[np.ndarray, float, int]:
    """Return the numerical gradient as one vector, the loss and, if asked to count, how many answers are right."""
    rows, targets = _in_double(rows), _in_double(targets)
    loss, correct = double._built.evaluate(rows, targets, counts, get_num_threads())
    sides = slopes(double, rows, targets, list(double.params), h)
    return np.concatenate([((right + left) / 2).ravel() for right, left in sides.values()]), loss, correct


class NumericalTraining(Training):
    """A run of mini-batch steps by numerical gradients."""

    def __init__(
        self,
        net: Sequential,
        rows: np.ndarray,
        targets: np.ndarray,
        batch: int,
        total: int,
        optimizer: tuple[Any, ...],
        bit_generator: BitGenerator | None,
        counts: str | float | None,
        h: float = H,
    ) -> None:
        self.double, self.counts, self.h = net._in_double(), counts, h
        first = _in_double(rows[:batch]), _in_double(targets[:batch])
        Differences(self.double._built, *first, [], h, get_num_threads())  # is there memory? nothing has changed yet
        super().__init__(net._built, rows, targets, batch, total, optimizer, bit_generator, counts, 1)

    def run(self, until: int, optimizer: tuple[Any, ...], scheduled: bool = False, seconds: float = 0.1) -> int:
        """Take a step, if there is one left before `until`; return the steps done so far."""
        if self.step < until:
            self._take_step(optimizer, scheduled)
        return self.step

    def _take_step(self, optimizer: tuple[Any, ...], scheduled: bool) -> None:
        if self.double._built is not self.program:
            self.double.flat_params[:] = self.program.parameters
        rows = self.rows
        gradient, loss, correct = gradient_and_loss(self.double, self.x[rows], self.targets[rows], self.counts, self.h)
        self.take(gradient, loss, correct, optimizer, scheduled)


def _in_double(array: np.ndarray) -> np.ndarray:
    """Rows or targets in float64; labels as they are."""
    return array if array.ndim == 1 else array.astype(np.float64, copy=False)
