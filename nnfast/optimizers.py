"""Optimizers, as descriptions: hyperparameters alone. Their state lives in the network that they train.

Hyperparameters may be changed at any time and are read at each call; one object may serve many networks. Definitions
and defaults are PyTorch's.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from nnfast._validation import check_float, choose, describe

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

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        resolve_optimizer(self)
        self.values()

    def __setattr__(self, name: str, value: object) -> None:
        if type(self) in OPTIMIZERS.values() and name not in self.hyperparameters:  # a subclass may have more
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
        return (self.kind, self.n_moments, _positive("learning_rate", self.learning_rate, dtype), 0.0, 0.0, 0.0)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"


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
    learning_rate : float
        Above zero.

    Raises
    ------
    TypeError, ValueError
        If the learning rate is not a positive number.

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

    def __init__(self, learning_rate: float = 1e-3) -> None:
        super().__init__(learning_rate)


class Adam(Optimizer):
    """Adam: steps scaled by running means of the gradient and of its square.

    Parameters
    ----------
    learning_rate : float
        Above zero.
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
        self, learning_rate: float = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
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


OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {"sgd": SGD, "adam": Adam}


def resolve_optimizer(optimizer: Any) -> Optimizer:
    """Return the optimizer; a name means its defaults.

    Raises
    ------
    TypeError, ValueError
        If it is neither an optimizer nor the name of one.
    """
    if isinstance(optimizer, Optimizer) and isinstance(optimizer, OPTIMIZERS.get(getattr(optimizer, "kind", ""), ())):
        return optimizer
    if isinstance(optimizer, str):
        return OPTIMIZERS[choose("optimizer", optimizer, tuple(OPTIMIZERS))]()
    raise TypeError(
        f"optimizer must be an SGD, an Adam or one of {', '.join(map(repr, OPTIMIZERS))}, got {describe(optimizer)}"
    )
