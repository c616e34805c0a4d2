"""Layers, as descriptions: what they are and how they begin. The arithmetic is the engine's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._validation import as_array, check_int
from nnfast.activations import Activation, resolve_activation
from nnfast.initializers import check_initializer, default_initializer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class Dense:
    """A fully connected layer: ``activation(x @ W + b)``.

    Parameters
    ----------
    units : int
        Outputs of the layer.
    activation : str or Activation
        Applied to each output; softmax and log_softmax to each row of outputs. A name (``"identity"``, ``"step"``,
        ``"sigmoid"``, ``"tanh"``, ``"relu"``, ``"leaky_relu"``, ``"elu"``, ``"selu"``, ``"gelu"``, ``"gelu_tanh"``,
        ``"silu"``, ``"softplus"``, ``"hard_sigmoid"``, ``"softmax"``, ``"log_softmax"``), or an object of
        `nnfast.activations` where a parameter is not the default.
    initializer : str, float or array_like, optional
        The initial weights: a name (``"glorot_uniform"``, ``"he_normal"``, ``"lecun_normal"``, ...), the standard
        deviation of a normal distribution, or the weights themselves, of shape (inputs, units). By default
        ``"he_normal"`` for relu and its kin (leaky_relu, elu, gelu, gelu_tanh, silu, softplus), ``"lecun_normal"`` for
        selu, whose constants are made for it, and ``"glorot_uniform"`` otherwise.
    bias_initializer : float or array_like
        The initial biases: one number, or an array of shape (units,).

    Attributes
    ----------
    activation : str
        The name of the activation.
    function : Activation
        The activation as an object, with its parameter.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type, or no layer can have it.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Dense(50, activation="sigmoid")
    Dense(50, activation='sigmoid', initializer='glorot_uniform')
    >>> nf.Dense(50, activation=nf.activations.LeakyReLU(0.2)).function
    LeakyReLU(negative_slope=0.2)
    """

    units: int
    activation: str
    function: Activation
    initializer: Any
    bias_initializer: np.ndarray

    def __init__(
        self,
        units: int,
        activation: str | Activation = "identity",
        *,
        initializer: str | float | ArrayLike | None = None,
        bias_initializer: float | ArrayLike = 0.0,
    ) -> None:
        units = check_int("units", units, 1)
        function = resolve_activation(activation)
        if function.name in ("softmax", "log_softmax") and units == 1:
            constant = 1 if function.name == "softmax" else 0
            raise ValueError(
                f"{function.name} on one unit is always {constant}: use Dense(1, activation='sigmoid') for two classes"
            )
        bias = as_array("bias_initializer", bias_initializer, np.float64, ndim=(0, 1), finite=True)
        if bias.ndim:
            as_array("bias_initializer", bias, shape=(units,))
        chosen = check_initializer(default_initializer(function.name) if initializer is None else initializer)
        vars(self).update(
            units=units,
            activation=function.name,
            function=function,
            initializer=chosen,
            bias_initializer=bias.copy(),
        )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a layer is a description and does not change: make a new Dense with another {name}")

    def __repr__(self) -> str:
        initial = "array(...)" if isinstance(self.initializer, np.ndarray) else repr(self.initializer)
        plain = self.function == resolve_activation(self.activation)
        activation = self.activation if plain else self.function
        return f"Dense({self.units}, activation={activation!r}, initializer={initial})"
