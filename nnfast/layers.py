"""Layers, as descriptions: what they are and how they begin. The arithmetic is the engine's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._validation import as_array, check_int, choose
from nnfast.initializers import check_initializer, default_initializer
from nnfast.kernels.arrays import ACTIVATIONS

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Dense:
    """A fully connected layer: ``activation(x @ W + b)``.

    Parameters
    ----------
    units : int
        Outputs of the layer.
    activation : {"identity", "step", "sigmoid", "tanh", "relu", "softmax"}
        Applied to each output; softmax to each row of outputs.
    initializer : str, float or array_like, optional
        The initial weights: a name (``"glorot_uniform"``, ``"he_normal"``, ``"lecun_normal"``, ...), the standard
        deviation of a normal distribution, or the weights themselves, of shape (inputs, units). By default
        ``"he_normal"`` for relu and ``"glorot_uniform"`` otherwise.
    bias_initializer : float or array_like
        The initial biases: one number, or an array of shape (units,).

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type, or no layer can have it.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Dense(50, activation="sigmoid")
    Dense(50, activation='sigmoid', initializer='glorot_uniform')
    """

    units: int
    activation: str
    initializer: Any
    bias_initializer: np.ndarray

    def __init__(
        self,
        units: int,
        activation: str = "identity",
        *,
        initializer: str | float | ArrayLike | None = None,
        bias_initializer: float | ArrayLike = 0.0,
    ) -> None:
        units = check_int("units", units, 1)
        activation = choose("activation", activation, tuple(ACTIVATIONS))
        if activation == "softmax" and units == 1:
            raise ValueError("softmax on one unit is always 1: use Dense(1, activation='sigmoid') for two classes")
        bias = as_array("bias_initializer", bias_initializer, np.float64, ndim=(0, 1), finite=True)
        if bias.ndim:
            as_array("bias_initializer", bias, shape=(units,))
        chosen = check_initializer(default_initializer(activation) if initializer is None else initializer)
        vars(self).update(units=units, activation=activation, initializer=chosen, bias_initializer=bias.copy())

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a layer is a description and does not change: make a new Dense with another {name}")

    def __repr__(self) -> str:
        initial = "array(...)" if isinstance(self.initializer, np.ndarray) else repr(self.initializer)
        return f"Dense({self.units}, activation={self.activation!r}, initializer={initial})"
