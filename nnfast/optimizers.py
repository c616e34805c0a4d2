"""Optimizers, as descriptions: hyperparameters alone. Their state lives in the network that they train.

Hyperparameters may be changed at any time and are read at each call; one object may serve many networks. Definitions
and defaults are PyTorch's.
"""

from __future__ import annotations

from typing import Any, ClassVar

from nnfast._validation import check_float, choose, describe


class Optimizer:
    """What every optimizer has: its kind and how many moments it keeps for each parameter."""

    kind: ClassVar[str]
    n_moments: ClassVar[int]

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate
        self.values()

    def values(self) -> tuple[str, int, float, float, float, float]:
        """Return what the engine needs, checked: kind, moments, learning rate, beta1, beta2, epsilon.

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
        rate = check_float("learning_rate", self.learning_rate, 0.0, float("inf"), open_ends=True)
        return (self.kind, self.n_moments, rate, 0.0, 0.0, 0.0)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"


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

    def __init__(
        self, learning_rate: float = 1e-3, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
    ) -> None:
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        super().__init__(learning_rate)

    def values(self) -> tuple[str, int, float, float, float, float]:
        """Return what the engine needs, checked: kind, moments, learning rate, beta1, beta2, epsilon.

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
        kind, moments, rate, *_ = super().values()
        for name in ("beta1", "beta2"):
            if check_float(name, getattr(self, name), 0.0, 1.0) == 1.0:
                raise ValueError(f"{name} must be below 1, got 1.0")
        epsilon = check_float("epsilon", self.epsilon, 0.0, float("inf"), open_ends=True)
        return (kind, moments, rate, float(self.beta1), float(self.beta2), epsilon)


OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {"sgd": SGD, "adam": Adam}


def resolve_optimizer(optimizer: Any) -> Optimizer:
    """Return the optimizer; a name means its defaults.

    Raises
    ------
    TypeError, ValueError
        If it is neither an optimizer nor the name of one.
    """
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str):
        return OPTIMIZERS[choose("optimizer", optimizer, tuple(OPTIMIZERS))]()
    raise TypeError(
        f"optimizer must be an Optimizer or one of {', '.join(map(repr, OPTIMIZERS))}, got {describe(optimizer)}"
    )
