"""L-BFGS: the loss over the whole data as a function of one vector, minimized by the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite, prod
from time import perf_counter

import numpy as np

from nnfast._network import Network
from nnfast._samples import Rows
from nnfast._threads import allowed_threads, get_num_threads
from nnfast.engine.program import ActivationMemory, Minimizer, aligned_zeros
from nnfast.gradients.network import gradient_and_loss
from nnfast.kernels.arrays import all_finite
from nnfast.layers import walk
from nnfast.metrics import Scoring
from nnfast.optimizers import LBFGS

HUGE_LOSS = 1e100  # returned to the line search instead of a loss that is not finite


class Minimization:
    """A run of L-BFGS iterations, each of which counts as a step.

    In callbacks and afterwards, the network has the parameters of a completed iteration; during an iteration, those of
    the line search. The loss and the metrics after an iteration are those computed with the gradient there; only
    running statistics, and the loss beside a numerical gradient, need another forward pass.

    Raises
    ------
    ValueError
        If a layer is random in training, or the initial loss is not finite; nothing has changed then.

    Attributes
    ----------
    first : int
        Zero: no epoch is continued.
    step_loss, step_scores : ndarray
        The loss and the totals of the metrics after each iteration.
    rates : ndarray
        Empty: the line search determines the length of each step.
    """

    first = 0

    def __init__(
        self,
        network: Network,
        rows: Rows,
        targets: np.ndarray,
        weights: np.ndarray | None,
        total: int,
        gradient: str,
        metrics: Sequence[Scoring],
        *,
        keep_outputs: bool = False,
    ) -> None:
        layers = dict(walk(network.layers))
        for path, layer in layers.items():
            if layer.random:
                raise ValueError(
                    f"L-BFGS needs a loss that is not random, but layers[{path}] is random in training: {layer!r}"
                )
        self.network, self.program, self.metrics = network, network.built, metrics
        self.rows, self.targets, self.weights = rows, targets, weights
        self.frozen = [
            slice(at, at + prod(shape))
            for _, path, at, shape in self.program.layout
            if not layers[path.rsplit(".", 1)[0]].trainable
        ]
        self.double = network.in_double() if gradient == "numerical" else None
        self.step_loss = np.empty(total)
        self.step_scores = np.zeros((total, len(metrics)))
        self.rates = np.empty(0)
        self.weight = len(rows) if weights is None else float(np.add.accumulate(weights)[-1])  # in the order of rows
        self.outputs = np.empty((len(rows), network.units), network.dtype) if keep_outputs else None
        self.memory = ActivationMemory()
        self.passes_again = self.double is not None or len(self.program.statistics) > 0
        # of the last point that was evaluated: the loss, the gradient and the totals of the metrics
        self.loss = np.nan
        self.gradient = aligned_zeros(len(self.program.parameters), np.float64)
        self.vector = self.gradient  # in the dtype of the network
        if network.dtype != np.float64:
            self.vector = aligned_zeros(len(self.gradient), network.dtype)
        self.scores = np.zeros(len(metrics))
        self.due = 0.0  # when somebody looks at the training next
        with np.errstate(all="ignore"):
            self._begin()

    @property
    def step(self) -> int:
        """Number of iterations done so far."""
        return self._done[0]

    @property
    def epochs(self) -> int:
        """Number of epochs, which iterations count as."""
        return self.step

    @property
    def within_epoch(self) -> bool:
        """Whether an epoch has begun; never, between iterations."""
        return False

    @property
    def finished(self) -> bool:
        """Whether all iterations are done."""
        return self.step == len(self.step_loss)

    def averages(self, first: int, last: int, per_row: Sequence[int], current: bool) -> list[tuple[float, ...]]:
        """Return the loss and the averages of the metrics, a tuple for each epoch from `first` up to `last`."""
        losses = self.step_loss[first:last].tolist()
        if not per_row:
            return [(loss,) for loss in losses]
        scores = self.step_scores[first:last] / (self.weight * np.array(per_row, float))
        return [(loss, *row) for loss, row in zip(losses, scores.tolist(), strict=True)]

    def seen(self, current: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return outputs, targets and weights of the epoch."""
        assert self.outputs is not None
        return self.outputs, self.targets, self.weights

    def run(self, optimizer: LBFGS, look: Callable[[int], float | None]) -> str:
        """Iterate until convergence, until all iterations are done, or until `look` returns None.

        `look` is called after the first iteration, and then again as soon as the seconds that it returned have passed
        or `stop` was called. Return why it has not converged, or "" if it has. The optimizer's slot is cleared by the
        first iteration, or at the end if there is none. Other threads that copy the network wait for the end of an
        iteration.
        """
        options = optimizer.options()
        minimizer = Minimizer(
            self.program.parameters.astype(np.float64), self.gradient,
            options["maxcor"], options["ftol"], options["gtol"],
        )  # fmt: skip
        state = np.geterr()  # the user's settings, for callbacks
        with self.program.guard.change as change, np.errstate(all="ignore"):

            def pause() -> bool:
                """Let others see the network; return whether to go on."""
                change.pause()
                try:
                    if perf_counter() < self.due and not self.network.stopping:
                        return True
                    with np.errstate(**state):
                        seconds = look(self.step)
                    self.due = perf_counter() + (seconds or 0.0)
                    return seconds is not None
                finally:
                    change.resume()

            try:
                if not np.array_equal(self.program.parameters, self._done[1]):  # a callback has set them
                    self._begin()
                return self._iterate(minimizer, options["maxfun"], pause)
            finally:
                self.program.parameters[:] = self._done[1]

    def _iterate(self, minimizer: Minimizer, limit: int, pause: Callable[[], bool]) -> str:
        task = minimizer.begin(self.loss)
        while True:
            if task == "evaluate":
                if self.finished:
                    return self._cut_off()
                task = minimizer.take(self.evaluate(minimizer.point))
            elif task == "iterated":
                self._finish()
                if not pause() and not self.finished:
                    return self._cut_off()
                task = minimizer.go_on() if minimizer.trials < limit else "stuck"  # the first point counts, too
            else:
                if not self.step:
                    self._clear_slot()
                if task == "converged":
                    return ""
                evaluations = minimizer.trials + 1
                return self._stuck() if evaluations <= limit else self._out_of_evaluations(evaluations, limit)

    def _stuck(self) -> str:
        return (
            f"L-BFGS did not converge: after {self.step} iterations it found no lower loss. Near the minimum, "
            "this is due to rounding: use dtype='float64', or a larger tolerance; otherwise scale x and y to about 1"
        )

    def _out_of_evaluations(self, count: int, limit: int) -> str:
        return (
            f"L-BFGS did not converge in {self.step} iterations, which evaluated the loss and its gradient {count} "
            f"times, more than max_evaluations={limit}: increase it, or scale x and y to about 1"
        )

    def _cut_off(self) -> str:
        return (
            f"L-BFGS did not converge in {self.step} iterations, the limit set by epochs: "
            "give more epochs, or scale x and y to about 1"
        )

    def _begin(self) -> None:
        """Evaluate the point where it begins."""
        self._done = (0, self.program.parameters.copy())
        if self.evaluate(self._done[1]) == HUGE_LOSS:
            raise ValueError("the initial loss is not finite: L-BFGS cannot start from there")

    def evaluate(self, point: np.ndarray) -> float:
        """Compute the loss at a point, its gradient and the metrics.

        Where the loss or its gradient is not finite, the loss is a large number, and the gradient zero.
        """
        self.program.parameters[:] = point  # may overflow float32
        self.loss = self._by_backpropagation() if self.double is None else self._by_differences(self.double)
        if not (isfinite(self.loss) and all_finite(self.vector)):
            self.loss = HUGE_LOSS
            self.gradient.fill(0)
            return HUGE_LOSS
        if self.gradient is not self.vector:
            self.gradient[:] = self.vector
        for part in self.frozen:
            self.gradient[part] = 0
        return self.loss

    def _by_backpropagation(self) -> float:
        return self.program.gradient(
            self.rows, self.targets, self.weights, self.vector, None, *allowed_threads(), training=True,
            metrics=self.metrics, scores=self.scores, outputs=self.outputs, memory=self.memory,
        )  # fmt: skip

    def _by_differences(self, double: Network) -> float:
        double.built.parameters[:] = self.program.parameters
        self.vector[:], loss, _ = gradient_and_loss(double, self.rows[:], self.targets, self.weights, ())
        return loss

    def _finish(self) -> None:
        """Record the point that an iteration has reached, which is the last one that was evaluated."""
        step, program = self.step, self.program
        done = (step + 1, program.parameters.copy())  # allocations come before any lasting change
        if self.passes_again:
            self.loss, self.scores[:] = program.training_loss(
                self.rows, self.targets, self.weights, self.metrics, get_num_threads(), lasting=True,
                outputs=self.outputs, memory=self.memory,
            )  # fmt: skip
        else:
            program.noise_steps += 1  # as each step in training
        self.step_loss[step] = self.loss
        if self.metrics:
            self.step_scores[step] = self.scores
        if not step:
            self._clear_slot()
        self._done = done

    def _clear_slot(self) -> None:
        self.program.slot.reset()
        self.program.forget()
