"""L-BFGS: the loss over the whole data as a function of one vector, minimized by SciPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite, prod
from typing import Any

import numpy as np

from nnfast._network import Network
from nnfast._samples import Rows
from nnfast._threads import allowed_threads, get_num_threads
from nnfast.engine.program import ActivationMemory, aligned_zeros
from nnfast.gradients.network import gradient_and_loss
from nnfast.kernels.arrays import all_finite
from nnfast.layers import walk
from nnfast.metrics import Scoring
from nnfast.optimizers import LBFGS

LIMIT_REACHED = 1  # the status of SciPy's result
HUGE_LOSS = 1e100  # returned to the line search instead of a loss that is not finite


class _Stop(Exception):
    """Raised to end the minimization."""


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
        from scipy import optimize  # noqa: F401  fails before anything has changed

        layers = dict(walk(network.layers))
        for path, layer in layers.items():
            if layer.random:
                raise ValueError(
                    f"L-BFGS needs a loss that is not random, but layers[{path}] is random in training: {layer!r}"
                )
        self.program, self.metrics = network.built, metrics
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
        # the last point that was evaluated, with the loss, the gradient and the totals of the metrics there
        self.point = np.full_like(self.program.parameters, np.nan)
        self.loss = np.nan
        self.vector = aligned_zeros(len(self.point), network.dtype)
        self.scores = np.zeros(len(metrics))
        self._done = (0, self.program.parameters.copy())  # assigned together, so that Ctrl-C cannot separate them
        with np.errstate(all="ignore"):
            self.evaluate(self._done[1])
        if self.loss == HUGE_LOSS:
            raise ValueError("the initial loss is not finite: L-BFGS cannot start from there")

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

    def run(self, optimizer: LBFGS, after: Callable[[int], bool]) -> str:
        """Iterate until convergence, until all iterations are done, or until `after`, called after each, returns False.

        Return why it has not converged, or "" if it has. The optimizer's slot is cleared by the first iteration, or at
        the end if there is none. Other threads that copy the network wait for the end of an iteration.
        """
        from scipy import optimize

        state = np.geterr()  # the user's settings, for callbacks
        parameters = self.program.parameters
        # one more than wanted: SciPy tests an iteration for convergence when it begins the next one
        options = optimizer.options() | {"maxiter": len(self.step_loss) + 1}
        minimize: Any = optimize.minimize  # it has too many overloads to type
        with self.program.guard.change as change:

            def finished(intermediate_result: optimize.OptimizeResult) -> None:
                self._finish(intermediate_result.x)
                change.pause()
                try:
                    with np.errstate(**state):
                        going_on = after(self.step)
                except StopIteration as error:  # from a callback: SciPy would take it for a request to stop
                    raise _Stop from error
                finally:
                    change.resume()
                if not going_on and self.step < len(self.step_loss):
                    raise _Stop

            try:
                start = parameters.astype(np.float64)
                with np.errstate(all="ignore"):
                    end = minimize(
                        self.loss_at, start, jac=self.gradient_at, method="L-BFGS-B", callback=finished, options=options
                    )
                if not self.step:
                    self._clear_slot()
            except _Stop as stop:
                if stop.__cause__ is not None:
                    raise stop.__cause__ from None
                return self._cut_off()
            finally:
                parameters[:] = self._done[1]
        if end.success:
            return ""
        return self._out_of_evaluations(end.nfev, options["maxfun"]) if end.status == LIMIT_REACHED else self._stuck()

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

    def loss_at(self, vector: np.ndarray) -> float:
        """Return the loss at a point; a large one where the loss or its gradient is not finite."""
        if self.step == len(self.step_loss):
            raise _Stop
        self.evaluate(vector)
        return self.loss

    def gradient_at(self, vector: np.ndarray) -> np.ndarray:
        """Return the gradient of the loss at a point; zero where the loss or its gradient is not finite."""
        self.evaluate(vector)
        if self.loss == HUGE_LOSS:
            return np.zeros(len(vector))
        gradient = self.vector.astype(np.float64)
        for part in self.frozen:
            gradient[part] = 0
        return gradient

    def evaluate(self, vector: np.ndarray) -> None:
        """Compute the loss, its gradient and the metrics at a point, unless it is the last one."""
        point = vector.astype(self.point.dtype, copy=False)  # may overflow float32
        if np.array_equal(point, self.point):
            return
        self.point.fill(np.nan)  # until all is known
        self.program.parameters[:] = point
        loss = self._by_backpropagation() if self.double is None else self._by_differences(self.double)
        self.loss = loss if isfinite(loss) and all_finite(self.vector) else HUGE_LOSS
        self.point[:] = point

    def _by_backpropagation(self) -> float:
        return self.program.gradient(
            self.rows, self.targets, self.weights, self.vector, None, *allowed_threads(), training=True,
            metrics=self.metrics, scores=self.scores, outputs=self.outputs, memory=self.memory,
        )  # fmt: skip

    def _by_differences(self, double: Network) -> float:
        double.built.parameters[:] = self.program.parameters
        self.vector[:], loss, _ = gradient_and_loss(double, self.rows[:], self.targets, self.weights, ())
        return loss

    def _finish(self, vector: np.ndarray) -> None:
        """Record the point that an iteration has reached."""
        step, program = self.step, self.program
        program.parameters[:] = vector
        done = (step + 1, program.parameters.copy())  # allocations come before any lasting change
        if self.passes_again or not np.array_equal(done[1], self.point):
            loss, self.scores[:] = program.training_loss(
                self.rows, self.targets, self.weights, self.metrics, get_num_threads(), lasting=True,
                outputs=self.outputs, memory=self.memory,
            )  # fmt: skip
        else:
            loss = self.loss
            program.noise_steps += 1  # as each step in training
        self.step_loss[step], self.step_scores[step] = loss, self.scores
        if not step:
            self._clear_slot()
        self._done = done

    def _clear_slot(self) -> None:
        self.program.slot.reset()
        self.program.forget()
