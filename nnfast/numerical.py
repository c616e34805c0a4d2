"""Numerical gradients of a whole network, and training with them: chapter 4 of Saito's *Deep Learning from Scratch*.

All in float64: in float32 rounding is as large as the differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._progress import share_of_work
from nnfast._threads import get_num_threads
from nnfast._validation import describe
from nnfast.engine.program import Differences, Program
from nnfast.kernels import arrays as kernels

if TYPE_CHECKING:
    from numpy.random import BitGenerator

    from nnfast.sequential import Sequential

INPUT = "x"  # among the names of arrays


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


class NumericalTraining:
    """A run of mini-batch steps by numerical gradients, with the face of `engine.program.Training`."""

    def __init__(
        self,
        net: Sequential,
        rows: np.ndarray,
        targets: np.ndarray,
        batch: int,
        total: int,
        bit_generator: BitGenerator | None,
        counts: str | float | None,
        h: float = 1e-4,
    ) -> None:
        self.step_loss = np.empty(total)
        self.step_correct = np.zeros(0 if counts is None else total, np.int64)
        self.step = 0
        self.program: Program = net._built
        self.net = net._in_double()
        self.rows = rows.astype(np.float64)
        self.targets = targets if targets.ndim == 1 else targets.astype(np.float64)
        self.batch, self.counts, self.h = batch, counts, h
        self.per_epoch = ceil(len(rows) / batch)
        self.bit_generator = bit_generator
        self.order = np.arange(len(rows))

    def run(self, until: int, optimizer: tuple[Any, ...]) -> int:
        """Take a step, if there is one left before `until`; return the steps done so far."""
        if self.step < until:
            self._take_step(optimizer)
        return self.step

    def _take_step(self, optimizer: tuple[Any, ...]) -> None:
        at = self.step % self.per_epoch * self.batch
        if at == 0 and self.bit_generator is not None:
            kernels.shuffle(self.order, self.bit_generator)
        chosen = self.order[at : at + self.batch]
        rows, targets = self.rows[chosen], self.targets[chosen]
        if self.net._built is not self.program:
            self.net.flat_params[:] = self.program.parameters
        loss, correct = self.net._built.evaluate(rows, targets, self.counts, get_num_threads())
        sides = slopes(self.net, rows, targets, list(self.net.params), self.h)
        gradient = np.concatenate([((right + left) / 2).ravel() for right, left in sides.values()])
        self.program.gradients[:] = gradient
        self.program.update(optimizer)
        self.step_loss[self.step] = loss
        if self.counts is not None:
            self.step_correct[self.step] = correct
        self.step += 1
