"""L-BFGS: the loss over the whole data as a function of one vector, minimized by SciPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from nnfast._network import Network
from nnfast._samples import Rows
from nnfast._threads import allowed_threads, get_num_threads
from nnfast._validation import ignore_float_errors
from nnfast.engine.program import aligned_zeros
from nnfast.gradients.network import gradient_and_loss
from nnfast.layers import walk
from nnfast.metrics import Scoring
from nnfast.optimizers import LBFGS

HUGE_LOSS = 1e100  # returned to the line search instead of a loss that is not finite


class _Stop(Exception):
    """Raised to end the minimization."""


class Minimization:
    """A run of L-BFGS iterations, each of which counts as a step.

    In callbacks and afterwards, the network has the parameters of a completed iteration; during an iteration, those of
    the line search.

    Raises
    ------
    ValueError
        If a layer is random in training, or the initial loss is not finite; nothing has changed then.

    Attributes
    ----------
    step_loss, step_scores : ndarray
        The loss and the totals of the metrics after each iteration.
    rates : ndarray
        Empty: the line search determines the length of each step.
    """

    def __init__(
        self,
        network: Network,
        rows: Rows,
        targets: np.ndarray,
        weights: np.ndarray | None,
        total: int,
        gradient: str,
        metrics: Sequence[Scoring],
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
        self.frozen = np.zeros(len(self.program.parameters), bool)
        for _, path, at, shape in self.program.layout:
            self.frozen[at : at + prod(shape)] = not layers[path.rsplit(".", 1)[0]].trainable
        self.double = network.in_double() if gradient == "numerical" else None
        self.step_loss = np.empty(total)
        self.step_scores = np.zeros((total, len(metrics)))
        self.step_weight = None if weights is None else np.full(total, np.add.accumulate(weights)[-1])
        self.rates = np.empty(0)
        self.vector = aligned_zeros(len(self.program.parameters), network.dtype)  # the gradient
        self._done = (0, self.program.parameters.copy())  # assigned together, so that Ctrl-C cannot separate them
        if self._loss_and_gradient(self.program.parameters.astype(np.float64))[0] == HUGE_LOSS:
            raise ValueError("the initial loss is not finite: L-BFGS cannot start from there")

    @property
    def step(self) -> int:
        """Number of iterations done so far."""
        return self._done[0]

    def run(self, optimizer: LBFGS, after: Callable[[int], bool]) -> str:
        """Iterate until convergence, until all iterations are done, or until `after`, called after each, returns False.

        Return why it has not converged, or "" if it has. The optimizer's slot is cleared by the first iteration, or at
        the end if there is none. Other threads that copy the network wait for the end of an iteration.
        """
        from scipy import optimize

        state = np.geterr()  # the user's settings, for callbacks
        parameters = self.program.parameters
        # one more than wanted: SciPy tests an iteration for convergence when it begins the next one
        options = optimizer.options() | {"maxiter": len(self.step_loss) + 1, "maxfun": 2**31 - 1}
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
                        self._loss_and_gradient, start, jac=True, method="L-BFGS-B", callback=finished, options=options
                    )
                if not self.step:
                    self._clear_slot()
            except _Stop as stop:
                if stop.__cause__ is not None:
                    raise stop.__cause__ from None
                return self._cut_off()
            finally:
                parameters[:] = self._done[1]
        return "" if end.success else self._stuck()

    def _stuck(self) -> str:
        return (
            f"L-BFGS did not converge: after {self.step} iterations it found no lower loss. Near the minimum, "
            "this is due to rounding: use dtype='float64', or a larger tolerance; otherwise scale x and y to about 1"
        )

    def _cut_off(self) -> str:
        return (
            f"L-BFGS did not converge in {self.step} iterations, the limit set by epochs: "
            "give more epochs, or scale x and y to about 1"
        )

    @ignore_float_errors
    def _loss_and_gradient(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss and its gradient at a point; where they are not finite, a large loss and a zero gradient."""
        if self.step == len(self.step_loss):
            raise _Stop
        self.program.parameters[:] = vector  # may overflow float32
        loss = self._by_backpropagation() if self.double is None else self._by_differences(self.double)
        gradient = self.vector.astype(np.float64)
        gradient[self.frozen] = 0
        if np.isfinite(loss) and np.isfinite(gradient).all():
            return loss, gradient
        return HUGE_LOSS, np.zeros_like(gradient)

    def _by_backpropagation(self) -> float:
        data = self.rows, self.targets, self.weights
        return self.program.gradient(*data, self.vector, None, *allowed_threads(), training=True)

    def _by_differences(self, double: Network) -> float:
        double.built.parameters[:] = self.program.parameters
        self.vector[:], loss, _ = gradient_and_loss(double, self.rows[:], self.targets, self.weights, ())
        return loss

    @ignore_float_errors
    def _finish(self, vector: np.ndarray) -> None:
        """Record the point that an iteration has reached."""
        step, parameters = self.step, self.program.parameters
        parameters[:] = vector
        done = (step + 1, parameters.copy())  # allocations come before any lasting change
        data = self.rows, self.targets, self.weights
        self.step_loss[step], self.step_scores[step] = self.program.training_loss(
            *data, self.metrics, get_num_threads(), lasting=True
        )
        if not step:
            self._clear_slot()
        self._done = done

    def _clear_slot(self) -> None:
        self.program.slot.reset()
        self.program.forget()
