"""Layers that work on each number by itself: activations, and rescaling."""

from __future__ import annotations

from math import prod
from typing import Any

from nnfast._description import Field
from nnfast._validation import check_float
from nnfast.activations import Activation as ActivationFunction
from nnfast.activations import activation_from, resolve_activation
from nnfast.layers.base import Compiler, Layer


def check_mixing(function: ActivationFunction, units: int, instead: str) -> None:
    """Raise ValueError for a function of a whole row where the row has one number."""
    if function.mixes and units == 1:
        constant = 0 if function.logarithms else 1
        raise ValueError(f"{function.name} on one unit is always {constant}: {instead}")


def _function(name: str, value: Any) -> ActivationFunction:
    return resolve_activation(value, name)


def _finite(name: str, value: Any) -> float:
    return check_float(name, value, open_ends=True)


class Activation(Layer, name="activation"):
    """An activation function as a layer of its own.

    Parameters
    ----------
    function : str or Activation
        As the `activation` of `Dense`.

    Raises
    ------
    TypeError, ValueError
        If there is no such function.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(8), nf.LayerNorm(), nf.Activation("gelu"), nf.Dense(1)], input_shape=2, seed=0)
    >>> net.predict([[1.0, 2.0]]).shape
    (1, 1)
    """

    function: str | ActivationFunction = Field(_function)  # type: ignore[assignment]

    def _resolved(self) -> ActivationFunction:
        function: ActivationFunction = vars(self)["function"]
        return function

    def add_stages(self, to: Compiler, path: str) -> None:
        function = self._resolved()
        check_mixing(function, prod(to.shape), "it needs two inputs at least")
        to.add_stage(self, path, "activation", function=function.name, alpha=function.alpha)

    def config(self) -> dict[str, Any]:
        return {"kind": self.kind, "function": self._resolved().config()}

    @classmethod
    def decoded(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"function": activation_from(arguments["function"])}

    def shown(self) -> dict[str, Any]:
        return {"function": self._resolved().given()}


class Rescaling(Layer, name="rescaling"):
    """``x * scale + offset``: with the same two numbers everywhere.

    Parameters
    ----------
    scale, offset : float
        Finite.

    Raises
    ------
    TypeError, ValueError
        If they are not finite numbers.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Rescaling(1 / 255)], input_shape=2)
    >>> net.predict([[0.0, 255.0]])
    array([[0., 1.]], dtype=float32)
    """

    scale: float = Field(_finite)
    offset: float = Field(_finite, default=0.0)

    def add_stages(self, to: Compiler, path: str) -> None:
        to.add_stage(self, path, "rescaling", numbers={"scale": self.scale, "offset": self.offset})
