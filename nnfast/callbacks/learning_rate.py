"""The learning rate range test: which learning rate to train with."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._description import Field
from nnfast._validation import check_int, check_positive, describe, ignore_float_errors
from nnfast.callbacks.base import DeclaredCallback
from nnfast.optimizers import LBFGS, resolve_optimizer
from nnfast.schedules import TimedSchedule
from nnfast.sequential import Sequential
from nnfast.training import DIVERGED, Callback

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from nnfast._typing import Data, Samples
    from nnfast.optimizers import Optimizer
    from nnfast.training.history import History

OWN = ("callbacks", "epochs", "steps", "verbose")  # arguments of `fit` that the finder sets itself
MAX_STEPS = 100_000
MEMORY = 0.9  # of the running mean of the losses, by which they are seen to explode
EXPLODED = 3.0  # by how many times the size of the first loss the running mean may rise above its minimum
WINDOW = 7  # a smoothed loss is that of so many steps, of decreasing weights, on each side
BELOW = 10.0  # how many times below the rate with the lowest loss the suggestion is


def _steps(name: str, value: Any) -> int:
    return check_int(name, value, 10, MAX_STEPS)


class _Ramp(TimedSchedule):
    """A rate that grows from `learning_rate` to `high`, by the same factor at each of the steps."""

    high: float = Field(check_positive)
    duration: int = Field(_steps)

    def _rates(self, times: np.ndarray) -> np.ndarray:
        part = np.minimum(times, self.duration - 1) / (self.duration - 1)
        return self.learning_rate * (self.high / self.learning_rate) ** part


class _StopIfExploded(Callback):
    """Stop when the running mean of the losses is far above its minimum, or a loss is not finite."""

    def __init__(self) -> None:
        self.sum = self.weight = 0.0
        self.lowest = float("inf")

    def on_step_end(self, net: Any, history: History) -> None:
        """Look at the loss of the step."""
        first, last = float(history.step_loss[0]), float(history.step_loss[-1])
        self.sum = MEMORY * self.sum + (1 - MEMORY) * last
        self.weight = MEMORY * self.weight + (1 - MEMORY)
        mean = self.sum / self.weight
        self.lowest = min(self.lowest, mean)
        if not mean <= self.lowest + EXPLODED * max(abs(first), first - self.lowest):  # nor is NaN
            net.stop()


class LearningRateFinder(DeclaredCallback):
    """Find a learning rate: the range test, in which the rate grows at each step until the loss explodes.

    `find` trains a copy of a network; the network itself does not change. Call it before `fit`: the finder is not for
    the argument `callbacks`.

    Parameters
    ----------
    low, high : float
        The first and the last learning rate. It grows by the same factor at each step.
    steps : int
        The number of steps, from 10 to 100,000. The test ends earlier if the loss explodes.

    Attributes
    ----------
    rates, losses : ndarray of float64
        The learning rate of each step, and its loss before the update; empty before `find`.
    suggestion : float or None
        A learning rate to try first: a tenth of the one with the lowest smoothed loss. None if the loss never fell.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range.

    Notes
    -----
    Smith, "Cyclical learning rates for training neural networks" (2017), section 3.3, with the exponential growth of
    Howard's fastai and its suggestion ``minimum``.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.random.default_rng(0).standard_normal((400, 2))
    >>> y = (x[:, 0] * x[:, 1] > 0).astype(int)
    >>> net = nf.Sequential([nf.Dense(16, "tanh"), nf.Dense(2, "softmax")], input_shape=2, seed=0)
    >>> finder = nf.callbacks.LearningRateFinder()
    >>> rate = finder.find(net, x, y, optimizer=nf.Adam())
    >>> 0.003 < rate < 0.3
    True
    >>> history = net.fit(x, y, epochs=10, optimizer=nf.Adam(rate), verbose=0)
    """

    low: float = Field(check_positive, default=1e-6)
    high: float = Field(check_positive, default=10.0)
    steps: int = Field(_steps, default=100, kw_only=True)

    def settle(self) -> None:
        """Raise ValueError if the rates are in the wrong order."""
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got low={self.low} and high={self.high}")
        self.rates, self.losses = np.empty(0), np.empty(0)
        self.suggestion: float | None = None

    def on_train_begin(self, net: Any, history: History) -> None:
        """Raise RuntimeError: a finder is not called by fit."""
        raise RuntimeError(
            "LearningRateFinder trains a copy of the network by itself: call its find(net, x, y) before fit, "
            "and leave it out of callbacks"
        )

    def find(
        self,
        net: Sequential,
        x: Samples | Iterable[Data],
        y: ArrayLike | None = None,
        /,
        *,
        optimizer: str | Optimizer = "adam",
        **arguments: Any,
    ) -> float | None:
        """Train a copy of a network with a growing learning rate, from a new optimizer state.

        Parameters
        ----------
        net : Sequential
            The network, which does not change.
        x, y
            As for `Sequential.fit`; an iterator of mini-batches is consumed.
        optimizer : str or Optimizer
            As for `Sequential.fit`, except `LBFGS`; its learning rate is not used.
        **arguments
            Other arguments of `Sequential.fit`, such as `batch_size`; not `epochs`, `steps`, `callbacks` or `verbose`.

        Returns
        -------
        float or None
            The suggestion.

        Raises
        ------
        TypeError, ValueError, RuntimeError, MemoryError
            If an argument does not fit, and as for `Sequential.fit`; the results of the previous `find` are kept.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(1)], input_shape=1, seed=0)
        >>> finder = nf.callbacks.LearningRateFinder(1e-4, 100)
        >>> rate = finder.find(net, [[1.0], [2.0]], [1.0, 2.0], optimizer="sgd", shuffle=False)
        >>> len(finder.rates) == len(finder.losses) < 100
        True
        """
        if not isinstance(net, Sequential):
            raise TypeError(f"net must be a Sequential, got {describe(net)}")
        for name in OWN:
            if name in arguments:
                raise TypeError(f"{name} is not an argument of find, which runs the finder's {self.steps} steps")
        ramped = copy(resolve_optimizer(optimizer))
        if isinstance(ramped, LBFGS):
            raise ValueError("optimizer must have a learning rate, which LBFGS does not have")
        ramped.learning_rate = _Ramp(self.low, self.high, self.steps)
        twin = net.copy()
        if twin.input_shape is not None:
            twin.reset_optimizer()  # schedules count the steps of its state
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", DIVERGED, RuntimeWarning)  # it is meant to
            history = twin.fit(
                x, y, steps=self.steps, optimizer=ramped, callbacks=[_StopIfExploded()], verbose=0, **arguments
            )
        self.rates, self.losses = history.learning_rate, history.step_loss
        self.suggestion = self._suggested()
        return self.suggestion

    def _suggested(self) -> float | None:
        smoothed = self._smoothed()
        at = int(smoothed.argmin()) if len(smoothed) else 0
        return float(self.rates[at]) / BELOW if at else None

    @ignore_float_errors
    def _smoothed(self) -> np.ndarray:
        """Return weighted means of the losses around each step, up to the first that is not finite."""
        finite = np.isfinite(self.losses)
        losses = self.losses if finite.all() else self.losses[: finite.argmin()]
        if not len(losses):
            return losses
        weights = np.hanning(2 * WINDOW + 3)[1:-1]
        part = slice(WINDOW, WINDOW + len(losses))
        return np.convolve(losses, weights)[part] / np.convolve(np.ones(len(losses)), weights)[part]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the losses over the learning rates, and the suggestion, with matplotlib.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw. By default a new figure.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is missing; the message names the extra that installs it.
        RuntimeError
            If there is nothing to draw yet.

        Examples
        --------
        >>> import nnfast as nf
        >>> from matplotlib.figure import Figure
        >>> net = nf.Sequential([nf.Dense(1)], input_shape=1, seed=0)
        >>> finder = nf.callbacks.LearningRateFinder(1e-4, 100)
        >>> rate = finder.find(net, [[1.0], [2.0]], [1.0, 2.0], optimizer="sgd")
        >>> finder.plot(Figure().subplots()).get_xscale()
        'log'
        """
        if not len(self.rates):
            raise RuntimeError("there is nothing to plot yet: call find(net, x, y) first")
        from nnfast.plotting.panels import COLORS, new_axes

        if ax is None:
            (ax,) = new_axes(1)
        assert ax is not None
        smoothed = self._smoothed()
        ax.plot(self.rates, self.losses, color=COLORS[5], linewidth=0.8, label="mini-batch")
        ax.plot(self.rates[: len(smoothed)], smoothed, color=COLORS[0], linewidth=2, label="smoothed")
        if self.suggestion is not None:
            ax.axvline(self.suggestion, color=COLORS[3], linestyle="--", label=f"suggestion {self.suggestion:.2g}")
        ax.set(xscale="log", xlabel="learning rate", ylabel="loss", title="loss over learning rates")
        if self.suggestion is not None:  # the losses that explode would flatten the rest
            low, top = smoothed.min(), smoothed[: smoothed.argmin()].max()
            ax.set_ylim(low - 0.3 * (top - low), top + 0.3 * (top - low))
        ax.grid(color="0.92")
        ax.legend()
        return ax
