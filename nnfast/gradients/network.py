"""Numerical gradients of a whole network, and training with them: chapter 4 of Saito's *Deep Learning from Scratch*.

Everything is computed in float64: in float32, rounding errors are as large as the differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._network import Network
from nnfast._progress import share_of_work
from nnfast._samples import Rows
from nnfast._threads import allowed_threads, get_num_threads
from nnfast._validation import describe, ignore_float_errors
from nnfast.engine.program import Differences, Training
from nnfast.layers import walk
from nnfast.metrics import Scoring

if TYPE_CHECKING:
    from numpy.random import BitGenerator

INPUT = "x"  # the name of the input among those of the arrays
H = 1e-4  # the difference used for training
AT_ONCE = 16  # numbers between two looks at the clock


def chosen_names(network: Network, wrt: str | Sequence[str] | None) -> list[str]:
    """Return the names of the arrays that `wrt` lists by name or path; of all parameters if it is None.

    Raises
    ------
    TypeError, ValueError
        If one of them is not an array of the network; the message lists the valid names.
    """
    names = list(network.params)
    if wrt is None:
        return names
    asked = [wrt] if isinstance(wrt, str) else wrt
    if not isinstance(asked, Sequence) or not all(isinstance(name, str) for name in asked):
        raise TypeError(f"wrt must be a name or a sequence of names, got {describe(wrt)}")
    chosen = list(dict.fromkeys(network.params.name_of(name) for name in asked))
    for name in chosen:
        if name not in (*names, INPUT):
            raise ValueError(f"wrt must hold names among {', '.join((*names, INPUT))}, got {name!r}")
    if not chosen:
        raise ValueError(f"wrt must hold at least one of {', '.join((*names, INPUT))}, got none")
    return chosen


def slopes(
    network: Network,
    rows: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None,
    names: Sequence[str],
    h: float,
    verbose: int = 0,
    *,
    training: bool = False,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the slopes of the loss to the right and to the left of each element of the arrays in `names`.

    Parameters
    ----------
    network : Network
        In float64.
    rows, targets, weights : ndarray
        In the engine's format; weights may be None.
    names : sequence of str
        As returned by `chosen_names`.
    h : float
        The difference.
    verbose : {0, 1}
        Whether to show the progress of long computations.
    training : bool
        Whether to compute the loss as in the next training step.
    """
    if network.output_loss.in_python:
        return _slopes_of_loss(network, rows, targets, weights, names, h, verbose, training=training)
    program = network.built
    numbers = {name: i for i, (name, _, _, _) in enumerate(program.layout)} | {INPUT: -1}
    arrays = [numbers[name] for name in names]
    differences = Differences(program, rows, targets, weights, arrays, h, get_num_threads(), training)
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
    weight = len(rows) if weights is None else float(weights.sum())
    for name, path, _, _ in program.layout:
        if name in found:
            right, left = found[name]
            found[name] = (
                right + _slope_of_penalty(network, name, path, weight, h),
                left + _slope_of_penalty(network, name, path, weight, -h),
            )
    return found


def _slopes_of_loss(
    network: Network,
    rows: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None,
    names: Sequence[str],
    h: float,
    verbose: int,
    *,
    training: bool,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Do the same as `slopes` for a loss in Python: from two losses over all rows for each number."""
    from nnfast.gradients.functions import one_sided_slopes

    program, rows = network.built, rows.copy()
    points = {name: rows if name == INPUT else network.params[name] for name in names}
    total, done = sum(point.size for point in points.values()), 0

    def loss(_: Any = None) -> float:
        if training:
            return program.training_loss(rows, targets, weights, (), get_num_threads())[0]
        return program.evaluate(rows, targets, weights, (), *allowed_threads())[0]

    here = loss()
    found = {}
    with share_of_work("numerical gradient", verbose) as show:
        for name, point in points.items():
            sides = np.empty((2, point.size))
            for first in range(0, point.size, AT_ONCE):
                entries = np.arange(first, min(first + AT_ONCE, point.size))
                sides[:, entries] = one_sided_slopes(loss, point, here, np.full(len(entries), h), entries)
                done += len(entries)
                show(done / total)
            found[name] = (sides[0].reshape(point.shape), sides[1].reshape(point.shape))
    return found


@ignore_float_errors
def _slope_of_penalty(network: Network, name: str, path: str, weight: float, h: float) -> np.ndarray | float:
    """Return what the penalty on a layer's weights adds to the slopes; the engine's differences omit it.

    `weight`: the sum of the rows' weights.
    """
    place, role = path.rsplit(".", 1)
    layer = dict(walk(network.layers))[place]
    if role not in ("W", "E", "gamma") or not (layer.l1 or layer.l2) or (layer.penalty == "sum" and not weight):
        return 0.0
    share = 1 / weight if layer.penalty == "sum" else 1.0

    def penalty(w: np.ndarray) -> np.ndarray:
        return layer.l1 * np.abs(w) + layer.l2 * w**2

    weights = network.params[name]
    return share * (penalty(weights + h) - penalty(weights)) / h


def gradient_and_loss(
    double: Network,
    rows: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None,
    metrics: Sequence[Scoring],
    h: float = H,
    *,
    lasting: bool = False,
    outputs: np.ndarray | None = None,
) -> tuple[np.ndarray, float, np.ndarray]:
    """Return the numerical gradient in training as one vector, the loss and the totals of the metrics.

    If `lasting`, the running statistics and the noise advance, as if the step were taken. The outputs are written to
    `outputs` unless that is None.
    """
    rows, targets = _in_double(rows), _in_double(targets)
    sides = slopes(double, rows, targets, weights, list(double.params), h, training=True)
    loss, scores = double.built.training_loss(rows, targets, weights, metrics, get_num_threads(), lasting, outputs)
    return np.concatenate([((right + left) / 2).ravel() for right, left in sides.values()]), loss, scores


class NumericalTraining(Training):
    """A run of mini-batch steps with numerical gradients."""

    def __init__(
        self,
        network: Network,
        x: Rows,
        targets: np.ndarray,
        weights: np.ndarray | None,
        visits: Any,
        optimizer: tuple[Any, ...],
        bit_generator: BitGenerator,
        metrics: Sequence[Scoring],
        names: Sequence[str],
        h: float = H,
        **options: Any,
    ) -> None:
        self.double, self.metrics, self.h = network.in_double(), metrics, h
        first = _in_double(x[: visits.batch]), _in_double(targets[: visits.batch])
        if not network.output_loss.in_python:  # any MemoryError is raised here, before anything has changed
            Differences(self.double.built, *first, None, [], h, get_num_threads(), training=True)
        super().__init__(
            network.built, x, targets, weights, visits, optimizer, bit_generator, metrics, names, 1, **options
        )
        if self.outputs is not None:
            self.batch_outputs = np.empty((visits.batch, network.units))

    def run(self, until: int, optimizer: tuple[Any, ...], scheduled: bool = False, seconds: float = 0.1) -> int:
        """Take a step, if there is one left before `until`; return the number of steps done so far."""
        if self.step < until:
            self._take_step(optimizer, scheduled)
        return self.step

    def _take_step(self, optimizer: tuple[Any, ...], scheduled: bool) -> None:
        self.double.built.parameters[:] = self.program.parameters
        self.double.built.statistics[:] = self.program.statistics
        rows, outputs = self.rows, None
        weights = None if self.weights is None else self.weights[rows]
        if self.outputs is not None:
            outputs = self.batch_outputs[: len(self.targets[rows])]
        gradient, loss, scores = gradient_and_loss(
            self.double, self.x[rows], self.targets[rows], weights, self.metrics, self.h, lasting=True, outputs=outputs
        )
        with self.program.guard.change:
            self.program.noise_steps = self.double.built.noise_steps
            self.program.statistics[:] = self.double.built.statistics
            self.take(gradient, loss, scores, optimizer, scheduled, outputs)


def _in_double(array: np.ndarray) -> np.ndarray:
    """Return rows or targets in float64; labels unchanged."""
    return array if array.ndim == 1 else array.astype(np.float64, copy=False)
