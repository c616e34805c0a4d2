"""Activation functions as descriptions: the function and its parameter. The kernels do the arithmetic.

A layer accepts an activation by name, with its default parameter, or as an object. The functions themselves, for
arrays, are in `nnfast.functions`. Definitions and defaults are PyTorch's.
"""

from __future__ import annotations

from typing import Any, ClassVar

from nnfast._description import Description, Field
from nnfast._validation import check_not_negative, check_positive, choose, describe

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "HardSigmoid",
    "Identity",
    "LeakyReLU",
    "LogSoftmax",
    "Mish",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Step",
    "Tanh",
]


def _approximation(name: str, value: Any) -> str:
    return choose(name, value, ("none", "tanh"))


class Activation(Description, noun="an activation", tag="name"):
    """Base class of activation functions.

    Objects are immutable, and equal if they are the same function with the same parameter.

    Attributes
    ----------
    name : str
        The name of the function, as in ``Dense(8, activation=name)``.
    alpha : float
        The parameter; 0.0 for a function without one.
    """

    name: ClassVar[str] = ""
    alpha = 0.0
    shows_defaults = True
    kinks: ClassVar[bool] = False  # the derivative jumps somewhere
    flat: ClassVar[bool] = False  # the derivative is zero everywhere
    from_input: ClassVar[bool] = False  # the derivative is computed from the input, not from the output
    mixes: ClassVar[bool] = False  # each output is computed from all inputs of the row
    classes: ClassVar[bool] = False  # the outputs are of mutually exclusive classes
    logarithms: ClassVar[bool] = False  # ... and are the logarithms of their probabilities
    threshold: ClassVar[float | None] = None  # the prediction is 1 if the output is above it
    not_negative: ClassVar[bool] = False  # outputs may be rates: not negative
    unbounded: ClassVar[bool] = False  # outputs may be logarithms of rates: any number
    initializer: ClassVar[str] = "glorot_uniform"  # default for the weights of a layer
    loss: ClassVar[str] = "mean_squared_error"  # default for an output layer

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Activation):
            return NotImplemented
        return (self.name, self.alpha) == (other.name, other.alpha)

    def __hash__(self) -> int:
        return hash((self.name, self.alpha))

    @classmethod
    def named(cls) -> tuple[Activation, ...]:
        """Return the objects that can be given by name: the function with its defaults."""
        return (cls(),)

    def given(self) -> str | Activation:
        """Return the name if the parameter is the default, else the object."""
        return self.name if self == _BY_NAME[self.name] else self

    def config(self) -> str | list[Any]:
        """Return what a file stores: the name, and the parameter if it is not the default."""
        return self.name if self == _BY_NAME[self.name] else [self.name, self.alpha]


class Identity(Activation, name="identity"):
    """The function ``x``: a layer without an activation.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Dense(1).function
    Identity()
    """

    unbounded = True


class Step(Activation, name="step"):
    """1 above zero, else 0 (McCulloch and Pitts 1943): its derivative is zero, so no gradient passes through it.

    Examples
    --------
    >>> from nnfast.activations import Step
    >>> Step().name
    'step'
    """

    kinks = flat = True
    threshold = 0.5


class Sigmoid(Activation, name="sigmoid"):
    """The logistic function ``1 / (1 + exp(-x))`` (Rumelhart, Hinton and Williams 1986).

    Examples
    --------
    >>> from nnfast.activations import Sigmoid
    >>> Sigmoid() == Sigmoid()
    True
    """

    not_negative = True
    threshold = 0.5
    loss = "binary_cross_entropy"


class Tanh(Activation, name="tanh"):
    """The hyperbolic tangent (LeCun et al. 1998, *Efficient BackProp*).

    Examples
    --------
    >>> from nnfast.activations import Tanh
    >>> Tanh().name
    'tanh'
    """


class ReLU(Activation, name="relu"):
    """``max(x, 0)`` (Nair and Hinton 2010); its derivative at zero is defined as 0.

    Examples
    --------
    >>> from nnfast.activations import ReLU
    >>> ReLU().name
    'relu'
    """

    kinks = not_negative = True
    initializer = "he_normal"


class LeakyReLU(Activation, name="leaky_relu"):
    """``x`` above zero and ``negative_slope * x`` below (Maas, Hannun and Ng 2013).

    The derivative at zero is `negative_slope`.

    Parameters
    ----------
    negative_slope : float
        Not negative.

    Raises
    ------
    TypeError, ValueError
        If `negative_slope` is not a finite number, or negative.

    Examples
    --------
    >>> import nnfast as nf
    >>> from nnfast.activations import LeakyReLU
    >>> nf.Dense(8, activation=LeakyReLU(0.2)).activation
    'leaky_relu'
    """

    kinks = unbounded = True
    initializer = "he_normal"
    negative_slope: float = Field(check_not_negative, default=0.01)

    def settle(self) -> None:
        """Store the parameter under the name that the kernels use."""
        vars(self).update(alpha=self.negative_slope)


class ELU(Activation, name="elu"):
    """``x`` above zero and ``alpha * (exp(x) - 1)`` below (Clevert, Unterthiner and Hochreiter 2016).

    The derivative at zero is `alpha`.

    Parameters
    ----------
    alpha : float
        Minus the limit for ``x`` toward minus infinity; not negative.

    Raises
    ------
    TypeError, ValueError
        If `alpha` is not a finite number, or negative.

    Examples
    --------
    >>> from nnfast.activations import ELU
    >>> ELU()
    ELU(alpha=1.0)
    """

    initializer = "he_normal"
    alpha: float = Field(check_not_negative, default=1.0)


class SELU(Activation, name="selu"):
    """``1.0507 * x`` above zero and ``1.0507 * 1.6733 * (exp(x) - 1)`` below (Klambauer et al. 2017).

    The two constants, rounded here to four digits, preserve mean 0 and variance 1 from layer to layer if the variance
    of weights is 1 / inputs: initializer ``"lecun_normal"``, the default of a layer with this activation.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Dense(8, activation="selu").initializer
    'lecun_normal'
    """

    kinks = True
    initializer = "lecun_normal"


class GELU(Activation, name="gelu"):
    """``x`` times the standard normal distribution function of ``x`` (Hendrycks and Gimpel 2016).

    Parameters
    ----------
    approximate : {"none", "tanh"}
        ``"none"`` is exact, ``x * (1 + erf(x / sqrt(2))) / 2``; ``"tanh"`` is the approximation in the paper,
        ``x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``, named ``"gelu_tanh"``.

    Raises
    ------
    TypeError, ValueError
        If `approximate` is neither of these.

    Examples
    --------
    >>> from nnfast.activations import GELU
    >>> GELU(), GELU("tanh").name
    (GELU(approximate='none'), 'gelu_tanh')
    """

    from_input = True
    initializer = "he_normal"
    approximate: str = Field(_approximation, default="none")

    def settle(self) -> None:
        """Set the name if it is the approximation."""
        if self.approximate == "tanh":
            vars(self).update(name="gelu_tanh")

    @classmethod
    def named(cls) -> tuple[Activation, ...]:
        """Return the function and its approximation, each of which has a name."""
        return cls(), cls("tanh")


class SiLU(Activation, name="silu"):
    """``x / (1 + exp(-x))`` (Elfwing, Uchibe and Doya 2017), also known as swish (Ramachandran, Zoph and Le 2017).

    Examples
    --------
    >>> from nnfast.activations import SiLU
    >>> SiLU().name
    'silu'
    """

    from_input = True
    initializer = "he_normal"


class Softplus(Activation, name="softplus"):
    """``log(1 + exp(beta * x)) / beta``, a smooth relu (Dugas et al. 2000).

    PyTorch returns ``x`` itself where ``beta * x > 20``; here the formula is used everywhere, with results larger by up
    to ``2.1e-9 / beta``.

    Parameters
    ----------
    beta : float
        Above zero: the larger, the sharper the bend.

    Raises
    ------
    TypeError, ValueError
        If `beta` is not a finite number above zero.

    Examples
    --------
    >>> from nnfast.activations import Softplus
    >>> Softplus(beta=2)
    Softplus(beta=2.0)
    """

    from_input = not_negative = True
    initializer = "he_normal"
    beta: float = Field(check_positive, default=1.0)

    def settle(self) -> None:
        """Store the parameter under the name that the kernels use."""
        vars(self).update(alpha=self.beta)


class Mish(Activation, name="mish"):
    """``x * tanh(log(1 + exp(x)))``, smooth and not monotonic (Misra 2019).

    Examples
    --------
    >>> from nnfast.activations import Mish
    >>> Mish().name
    'mish'
    """

    from_input = True
    initializer = "he_normal"


class HardSigmoid(Activation, name="hard_sigmoid"):
    """``(x + 3) / 6``, clipped to [0, 1] (Howard et al. 2019): a piecewise linear sigmoid, with PyTorch's slope.

    The derivative at the corners is defined as 0.

    Examples
    --------
    >>> from nnfast.activations import HardSigmoid
    >>> HardSigmoid().name
    'hard_sigmoid'
    """

    kinks = not_negative = True


class Softmax(Activation, name="softmax"):
    """``exp(x)`` divided by its sum over the row (Bridle 1990): probabilities of classes.

    Examples
    --------
    >>> from nnfast.activations import Softmax
    >>> Softmax().name
    'softmax'
    """

    mixes = classes = True
    loss = "cross_entropy"


class LogSoftmax(Activation, name="log_softmax"):
    """The logarithm of `Softmax`, ``x - log(sum(exp(x)))``, also where the probability underflows.

    Examples
    --------
    >>> from nnfast.activations import LogSoftmax
    >>> LogSoftmax().name
    'log_softmax'
    """

    mixes = classes = logarithms = True
    loss = "cross_entropy"


_BY_NAME: dict[str, Activation] = {
    activation.name: activation for kind in Activation.registry.values() for activation in kind.named()
}
NAMES = tuple(_BY_NAME)


def activation_from(config: Any) -> Activation:
    """Return the activation that `Activation.config` describes.

    Raises
    ------
    TypeError, ValueError
        If it does not describe an activation.

    Examples
    --------
    >>> from nnfast.activations import ELU, activation_from
    >>> activation_from(ELU(0.5).config())
    ELU(alpha=0.5)
    """
    if not isinstance(config, list):
        return resolve_activation(config)
    name, alpha = config
    kind: Any = type(resolve_activation(name))  # a class whose constructor takes the parameter
    return kind(alpha)


def resolve_activation(activation: Any, name: str = "activation") -> Activation:
    """Return the activation for a name; return an object unchanged.

    Parameters
    ----------
    activation : str or Activation
        A name means the function with its default parameter.
    name : str
        The name of the argument in error messages.

    Raises
    ------
    TypeError, ValueError
        If it is neither a name nor an activation, or no activation has that name.

    Examples
    --------
    >>> from nnfast.activations import resolve_activation
    >>> resolve_activation("leaky_relu")
    LeakyReLU(negative_slope=0.01)
    """
    if isinstance(activation, Activation):
        return activation
    if not isinstance(activation, str):
        raise TypeError(f"{name} must be a name or an object of nnfast.activations, got {describe(activation)}")
    return _BY_NAME[choose(name, activation, NAMES)]
