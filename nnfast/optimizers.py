"""Optimizers, as descriptions: hyperparameters alone. Their state lives in the network that they train.

Hyperparameters may be changed at any time and are read at each call; one object may serve many networks. Definitions
and defaults are PyTorch's.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from nnfast._validation import check_float, check_int, choose, describe
from nnfast.schedules import Schedule, TimedSchedule

# The smallest and the largest number of a dtype that loses nothing: below, the engine flushes to zero.
_RANGES = {
    np.dtype(name): (float(np.finfo(name).smallest_normal), float(np.finfo(name).max))
    for name in ("float32", "float64")
}


class Optimizer:
    """What every optimizer has: its kind, how many moments it keeps for each parameter, and its hyperparameters."""

    kind: ClassVar[str]
    n_moments: ClassVar[int]
    hyperparameters: ClassVar[tuple[str, ...]] = ("learning_rate",)

    def __init__(self, learning_rate: float | Schedule) -> None:
        self.learning_rate = learning_rate
        resolve_optimizer(self)
        self.values()

    def __setattr__(self, name: str, value: object) -> None:
        if type(self) in NAMES.values() and name not in self.hyperparameters:  # a subclass may have more
            raise AttributeError(
                f"{type(self).__name__} has no hyperparameter {name!r}: there are {', '.join(self.hyperparameters)}"
            )
        super().__setattr__(name, value)

    def values(self, dtype: Any = np.float64) -> tuple[str, int, float, float, float, float]:
        """Return what the engine needs, checked: kind, moments, learning rate, beta1, beta2, epsilon.

        Parameters
        ----------
        dtype : dtype
            Of the network, float32 or float64: its numbers must be able to hold the hyperparameters.

        Raises
        ------
        TypeError, ValueError
            If a hyperparameter is out of its range.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.SGD(learning_rate=0.1).values()
        ('sgd', 0, 0.1, 0.0, 0.0, 0.0)
        """
        return (self.kind, self.n_moments, _first_rate(self, dtype), 0.0, 0.0, 0.0)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"


def _first_rate(optimizer: Optimizer, dtype: Any) -> float:
    """Return the learning rate, or the one that its schedule is told from, checked."""
    rate = optimizer.learning_rate
    if not isinstance(rate, Schedule):
        return _positive("learning_rate", rate, dtype)
    if rate.cycle_momentum and not (hasattr(optimizer, "beta1") or getattr(optimizer, "momentum", 0) > 0):
        raise ValueError(
            f"learning_rate cycles the momentum too, and {type(optimizer).__name__} has none: "
            f"give {type(rate).__name__} cycle_momentum=False"
        )
    return _positive("learning_rate", rate.learning_rate, dtype)


def rate_at(optimizer: Optimizer, step: int) -> tuple[float, float | None] | None:
    """Return the learning rate of update number `step`, from 0, and its momentum or None; None without a schedule.

    Raises
    ------
    ValueError
        If the schedule is by epoch: there are none outside of `fit`.
    """
    schedule = optimizer.learning_rate
    if not isinstance(schedule, Schedule):
        return None
    if not isinstance(schedule, TimedSchedule) or schedule.by == "epoch":
        raise ValueError(
            f"learning_rate must be a number or a schedule by step outside of fit, which alone knows epochs, "
            f"got {schedule!r}: change a number yourself, after each epoch"
        )
    return schedule.at(step)


def _positive(name: str, value: Any, dtype: Any) -> float:
    """Return a number above zero that `dtype` can hold."""
    number = check_float(name, value, 0.0, float("inf"), open_ends=True)
    low, high = _RANGES[np.dtype(dtype)]
    if not low <= number <= high:
        raise ValueError(f"{name} must be from {low:.3g} to {high:.3g} for a network of {dtype}, got {number}")
    return number


class SGD(Optimizer):
    """Stochastic gradient descent: ``W -= learning_rate * gradient``.

    Parameters
    ----------
    learning_rate : float or schedule
        Above zero, or one of `nnfast.schedules`.

    Raises
    ------
    TypeError, ValueError
        If the learning rate is neither a positive number nor a schedule.

    Notes
    -----
    Chapter 4.4.1 of Saito's *Deep Learning from Scratch*.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.SGD(learning_rate=0.1)
    SGD(learning_rate=0.1)
    """

    kind = "sgd"
    n_moments = 0

    def __init__(self, learning_rate: float | Schedule = 1e-3) -> None:
        super().__init__(learning_rate)


class Adam(Optimizer):
    """Adam: steps scaled by running means of the gradient and of its square.

    Parameters
    ----------
    learning_rate : float or schedule
        Above zero, or one of `nnfast.schedules`.
    beta1, beta2 : float
        Decay of the two running means, in [0, 1).
    epsilon : float
        Added to the root of the second mean; above zero.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is out of its range.

    Notes
    -----
    Kingma and Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1, with epsilon where PyTorch has it:
    ``W -= learning_rate / (1 - beta1**t) * m / (sqrt(v) / sqrt(1 - beta2**t) + epsilon)``.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Adam(learning_rate=0.01)
    Adam(learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-08)
    """

    kind = "adam"
    n_moments = 2
    hyperparameters = ("learning_rate", "beta1", "beta2", "epsilon")

    def __init__(
        self, learning_rate: float | Schedule = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
    ) -> None:
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        super().__init__(learning_rate)

    def values(self, dtype: Any = np.float64) -> tuple[str, int, float, float, float, float]:
        """Return what the engine needs, checked: kind, moments, learning rate, beta1, beta2, epsilon.

        Parameters
        ----------
        dtype : dtype
            Of the network, float32 or float64: its numbers must be able to hold the hyperparameters.

        Raises
        ------
        TypeError, ValueError
            If a hyperparameter is out of its range.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.Adam().values()
        ('adam', 2, 0.001, 0.9, 0.999, 1e-08)
        """
        kind, moments, rate, *_ = super().values(dtype)
        for name in ("beta1", "beta2"):
            if check_float(name, getattr(self, name), 0.0, 1.0) == 1.0:
                raise ValueError(f"{name} must be below 1, got 1.0")
        epsilon = _positive("epsilon", self.epsilon, dtype)
        return (kind, moments, rate, float(self.beta1), float(self.beta2), epsilon)


class LBFGS(Optimizer):
    """L-BFGS: a quasi-Newton method on the whole data at once, through SciPy. For small data and smooth networks.

    For `fit` alone, where ``epochs`` is the largest number of iterations, 200 if it is left out: fit ends earlier when
    the loss has converged. Each iteration is one epoch of the history, whose loss and accuracy are those after it.
    There are no mini-batches, so ``steps``, ``batch_size`` and ``shuffle`` are left alone. An iteration may need the
    gradient several times. No state is kept for a later fit, and what another optimizer has left is cleared.

    Parameters
    ----------
    history_size : int
        How many pairs of steps and changes of the gradient approximate the curvature.
    tolerance : float
        Converged when an iteration lowers the loss by less than this part of it (of 1, if the loss is below 1).
    gradient_tolerance : float
        Converged when no entry of the gradient is larger.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is out of its range.

    Notes
    -----
    Byrd, Lu, Nocedal and Zhu, "A limited memory algorithm for bound constrained optimization" (1995), as
    ``scipy.optimize.minimize(method="L-BFGS-B")`` has it, tolerances included. In float32 it ends when rounding hides
    the way down: float64 gets closer.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(4, "tanh"), nf.Dense(2, "softmax")], input_shape=2, dtype="float64", seed=0)
    >>> history = net.fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0], optimizer=nf.LBFGS(), verbose=0)
    >>> history["accuracy"][-1], len(history["loss"]) < 200  # it has converged
    (1.0, True)
    """

    kind = "lbfgs"
    n_moments = 0
    hyperparameters = ("history_size", "tolerance", "gradient_tolerance")

    def __init__(self, *, history_size: int = 10, tolerance: float = 2.2e-9, gradient_tolerance: float = 1e-5) -> None:
        self.history_size = history_size
        self.tolerance = tolerance
        self.gradient_tolerance = gradient_tolerance
        resolve_optimizer(self)
        self.options()

    def options(self) -> dict[str, Any]:
        """Return what SciPy needs, checked.

        Raises
        ------
        TypeError, ValueError
            If a hyperparameter is out of its range.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.LBFGS().options()
        {'maxcor': 10, 'ftol': 2.2e-09, 'gtol': 1e-05}
        """
        return {
            "maxcor": check_int("history_size", self.history_size, 1),
            "ftol": check_float("tolerance", self.tolerance, 0.0),
            "gtol": check_float("gradient_tolerance", self.gradient_tolerance, 0.0),
        }

    def values(self, dtype: Any = np.float64) -> tuple[str, int, float, float, float, float]:
        """Refuse to take a single step.

        Parameters
        ----------
        dtype : dtype
            Of the network.

        Raises
        ------
        TypeError
            Always.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.LBFGS().values()
        Traceback (most recent call last):
        TypeError: LBFGS minimises the loss over the whole data: use fit(x, y, optimizer=LBFGS(...)), not single steps
        """
        raise TypeError(
            f"{type(self).__name__} minimises the loss over the whole data: "
            "use fit(x, y, optimizer=LBFGS(...)), not single steps"
        )


OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {"sgd": SGD, "adam": Adam}  # those that may fill a network's slot
NAMES: dict[str, type[SGD] | type[Adam] | type[LBFGS]] = {**OPTIMIZERS, "lbfgs": LBFGS}


def resolve_optimizer(optimizer: Any) -> Optimizer:
    """Return the optimizer; a name means its defaults.

    Raises
    ------
    TypeError, ValueError
        If it is neither an optimizer nor the name of one.
    """
    if isinstance(optimizer, Optimizer) and isinstance(optimizer, NAMES.get(getattr(optimizer, "kind", ""), ())):
        return optimizer
    if isinstance(optimizer, str):
        return NAMES[choose("optimizer", optimizer, tuple(NAMES))]()
    raise TypeError(
        f"optimizer must be an SGD, an Adam, an LBFGS or one of {', '.join(map(repr, NAMES))}, "
        f"got {describe(optimizer)}"
    )
