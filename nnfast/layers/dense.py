"""The fully connected layer."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._description import Field
from nnfast._validation import as_array, check_bool, check_count, check_reduction
from nnfast.activations import Activation, activation_from, resolve_activation
from nnfast.initializers import check_initializer, initial_weights
from nnfast.layers.base import Array, Compiler, Layer, check_penalty, check_values
from nnfast.layers.elementwise import check_mixing

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import ArrayLike


def _activation(name: str, value: Any) -> Activation:
    return resolve_activation(value, name)


def _initializer(name: str, value: Any) -> Any:
    return None if value is None else check_initializer(value)


class Dense(Layer, name="dense"):
    """A fully connected layer: ``activation(x @ W + b)``.

    Parameters
    ----------
    units : int
        Outputs of the layer.
    activation : str or Activation
        Applied to each output; softmax and log_softmax to each row of outputs. A name such as ``"relu"``, or an object
        of `nnfast.activations`, which lists them all, such as ``LeakyReLU(0.2)``.
    use_bias : bool
        Whether there is a ``b``.
    l1, l2 : float
        Penalties: ``l1 * sum(abs(W)) + l2 * sum(W**2)`` is added to the loss, as in Keras. They are included in `loss`,
        `gradient` and the history of `fit`; the weight decay of an optimizer is not.
    penalty : {"mean", "sum"}
        What the penalties are added to: the mean of the rows' losses, or their sum before it is divided by the sum of
        the sample weights (the number of rows, if there are none), as in scikit-learn. With ``"sum"``, the last
        mini-batch of an epoch has a larger penalty if it is smaller. Rows whose weights are all zero have no penalty
        then. ``l2=alpha / 2, penalty="sum"`` is scikit-learn's `alpha`.
    trainable : bool
        False leaves the parameters unchanged in training.
    initializer : str, float or array_like, optional
        The initial weights: a name (``"glorot_uniform"``, ``"he_normal"``, ``"lecun_normal"``, ...), the standard
        deviation of a normal distribution, or the weights themselves, of shape (inputs, units). The default depends on
        the activation: ``"he_normal"`` for relu and similar functions, ``"lecun_normal"`` for selu, whose constants
        need it, and ``"glorot_uniform"`` otherwise.
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
        If an argument has the wrong type or value.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Dense(50, activation="sigmoid")
    Dense(50, activation='sigmoid')
    >>> nf.Dense(50, activation=nf.activations.LeakyReLU(0.2)).function
    LeakyReLU(negative_slope=0.2)
    """

    numbered_as = "W"
    units: int = Field(check_count)
    activation: str | Activation = Field(_activation, default="identity")  # type: ignore[assignment]
    use_bias: bool = Field(check_bool, default=True, kw_only=True)
    l1: float = Field(check_penalty, default=0.0, kw_only=True)
    l2: float = Field(check_penalty, default=0.0, kw_only=True)
    penalty: str = Field(check_reduction, default="mean", kw_only=True)
    trainable: bool = Field(check_bool, default=True, kw_only=True)
    initializer: str | float | ArrayLike | None = Field(_initializer, default=None, kw_only=True, in_files=False)
    bias_initializer: float | ArrayLike = Field(check_values, default=0.0, kw_only=True, in_files=False, shown=False)

    def settle(self) -> None:
        own = vars(self)
        function = own["function"] = own["activation"]
        own["activation"] = function.name
        own["fixed_shape"] = (self.units,)
        check_mixing(function, self.units, "use Dense(1, activation='sigmoid') for two classes")
        if self.initializer is None:
            own["initializer"] = function.initializer
        biases = own["bias_initializer"]
        if np.ndim(biases):
            as_array("bias_initializer", biases, shape=(self.units,))
        if not self.use_bias and np.any(biases):
            raise ValueError("bias_initializer has no effect with use_bias=False")

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.units,)

    def arrays(self, shape: tuple[int, ...]) -> tuple[Array, ...]:
        weights = prod(shape), self.units

        def initial(generator: Generator) -> np.ndarray:
            return initial_weights(self.initializer, weights, generator)

        W = Array("W", weights, initial, "initializer", self.l1, self.l2, self.penalty, True)
        b = Array("b", (self.units,), lambda generator: self.bias_initializer, "bias_initializer")
        return (W, b) if self.use_bias else (W,)

    def add_stages(self, to: Compiler, path: str) -> None:
        to.add_stage(self, path, "dense", function=self.function.name, alpha=self.function.alpha)

    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().config()
        config.pop("activation", None)
        return config | {"activation": self.function.config()}

    @classmethod
    def decoded(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        return arguments | {"activation": activation_from(arguments["activation"])}

    def shown(self) -> dict[str, Any]:
        shown = super().shown()
        if "activation" in shown:
            shown["activation"] = self.function.given()
        if isinstance(self.initializer, str) and self.initializer == self.function.initializer:
            shown.pop("initializer", None)
        return shown

    @property
    def label(self) -> str:
        """What a table of layers calls it."""
        return f"Dense({self.units}{'' if self.trainable else ', trainable=False'})"
