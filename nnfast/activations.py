"""Activation functions, as descriptions: which function, and its parameter. The arithmetic is the kernels'.

A layer takes one by name, with the parameter at its default, or as an object. The functions themselves, on plain
arrays, are in `nnfast.functions`. Definitions and defaults are PyTorch's.
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

from nnfast._description import Description, declared_in, field, not_negative, one_of, positive
from nnfast._validation import choose, describe

__all__ = [
    "ELU",
    "GELU",
    "SELU",
    "HardSigmoid",
    "Identity",
    "LeakyReLU",
    "LogSoftmax",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Step",
    "Tanh",
]


class Activation(Description):
    """An activation function: what all of them have in common.

    Objects do not change, and are equal if they are the same function with the same parameter.

    Attributes
    ----------
    name : str
        The name of the function, as in ``Dense(8, activation=name)``.
    alpha : float
        Its parameter; 0.0 for a function without one.
    has_kink : bool
        Whether its derivative jumps somewhere.
    mixes : bool
        Whether each output depends on the whole row.
    excludes : bool
        Whether the outputs are classes that exclude each other.
    derivative_from_input : bool
        Whether the derivative is computed from the input, not from the output.
    learns : bool
        Whether the derivative is different from zero anywhere.
    not_negative, unbounded : bool
        Whether the outputs can be rates, or logarithms of rates, as `nnfast.losses.Poisson` needs them.
    threshold : float or None
        Where an output turns from no to yes.
    initializer : str
        The default for the weights of a layer that ends in it.
    loss : str
        The default of a network that ends in it.
    """

    name: ClassVar[str] = ""
    has_kink: ClassVar[bool] = False
    mixes: ClassVar[bool] = False
    excludes: ClassVar[bool] = False
    derivative_from_input: ClassVar[bool] = False
    learns: ClassVar[bool] = True
    not_negative: ClassVar[bool] = False
    unbounded: ClassVar[bool] = False
    threshold: ClassVar[float | None] = None
    initializer: ClassVar[str] = "glorot_uniform"
    loss: ClassVar[str] = "mean_squared_error"
    alpha = 0.0  # not a field: only some functions have one

    what = "an activation"
    shows_defaults = True

    def derive(self) -> None:
        """Keep the parameter as `alpha`, too: the kernels know it by that name."""
        for known in self.fields:
            vars(self)["alpha"] = getattr(self, known.name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Activation):
            return NotImplemented
        return (self.name, self.alpha) == (other.name, other.alpha)

    def __hash__(self) -> int:
        return hash((self.name, self.alpha))

    def given(self) -> str | Activation:
        """Return its name where the parameter is the default, else itself."""
        return self if self.changed() else self.name

    def config(self) -> str | list[Any]:
        """Return what a file holds of it: its name, and the parameter where it is not the default."""
        return [self.name, self.alpha] if self.changed() else self.name


class Identity(Activation):
    """The function ``x``: a layer without an activation.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Dense(1).function
    Identity()
    """

    name = "identity"
    unbounded = True


class Step(Activation):
    """1 above zero, else 0 (McCulloch and Pitts 1943): it has no slope to train through.

    Examples
    --------
    >>> from nnfast.activations import Step
    >>> Step().name
    'step'
    """

    name = "step"
    has_kink = True
    learns = False
    threshold = 0.5


class Sigmoid(Activation):
    """The logistic function ``1 / (1 + exp(-x))`` (Rumelhart, Hinton and Williams 1986).

    Examples
    --------
    >>> from nnfast.activations import Sigmoid
    >>> Sigmoid() == Sigmoid()
    True
    """

    name = "sigmoid"
    not_negative = True
    threshold = 0.5
    loss = "binary_cross_entropy"


class Tanh(Activation):
    """The hyperbolic tangent (LeCun et al. 1998, *Efficient BackProp*).

    Examples
    --------
    >>> from nnfast.activations import Tanh
    >>> Tanh().name
    'tanh'
    """

    name = "tanh"


class ReLU(Activation):
    """``max(x, 0)`` (Nair and Hinton 2010); its derivative at zero is taken as 0.

    Examples
    --------
    >>> from nnfast.activations import ReLU
    >>> ReLU().name
    'relu'
    """

    name = "relu"
    has_kink = True
    not_negative = True
    initializer = "he_normal"


class LeakyReLU(Activation):
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

    name = "leaky_relu"
    has_kink = True
    unbounded = True
    initializer = "he_normal"
    negative_slope: float = field(not_negative, default=0.01)


class ELU(Activation):
    """``x`` above zero and ``alpha * (exp(x) - 1)`` below (Clevert, Unterthiner and Hochreiter 2016).

    The derivative at zero is `alpha`.

    Parameters
    ----------
    alpha : float
        Minus the limit to the left; not negative.

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

    name = "elu"
    initializer = "he_normal"
    alpha: float = field(not_negative, default=1.0)


class SELU(Activation):
    """``1.0507 * x`` above zero and ``1.0507 * 1.6733 * (exp(x) - 1)`` below (Klambauer et al. 2017).

    The two constants, here to four digits, keep mean 0 and variance 1 from layer to layer if weights have the variance
    1 / inputs: initializer ``"lecun_normal"``, the default of a layer with this activation.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Dense(8, activation="selu").initializer
    'lecun_normal'
    """

    name = "selu"
    has_kink = True
    initializer = "lecun_normal"


class GELU(Activation):
    """``x`` times the normal distribution function of ``x`` (Hendrycks and Gimpel 2016).

    Parameters
    ----------
    approximate : {"none", "tanh"}
        ``"none"`` is exact, ``x * (1 + erf(x / sqrt(2))) / 2``; ``"tanh"`` is the paper's approximation of it,
        ``x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``, named ``"gelu_tanh"``.

    Raises
    ------
    TypeError, ValueError
        If `approximate` is neither.

    Examples
    --------
    >>> from nnfast.activations import GELU
    >>> GELU(), GELU("tanh").name
    (GELU(approximate='none'), 'gelu_tanh')
    """

    name = "gelu"
    derivative_from_input = True
    initializer = "he_normal"
    approximate: str = field(one_of("none", "tanh"), default="none")

    def derive(self) -> None:
        """Choose the name."""
        if self.approximate == "tanh":
            vars(self)["name"] = "gelu_tanh"

    def given(self) -> str | Activation:
        """Return its name, which says all."""
        return self.name

    def config(self) -> str | list[Any]:
        """Return what a file holds of it: its name."""
        return self.name


class SiLU(Activation):
    """``x / (1 + exp(-x))`` (Elfwing, Uchibe and Doya 2017), also known as swish (Ramachandran, Zoph and Le 2017).

    Examples
    --------
    >>> from nnfast.activations import SiLU
    >>> SiLU().name
    'silu'
    """

    name = "silu"
    derivative_from_input = True
    initializer = "he_normal"


class Softplus(Activation):
    """``log(1 + exp(beta * x)) / beta``, a smooth relu (Dugas et al. 2000).

    PyTorch takes ``x`` itself from ``beta * x = 20`` on; here the formula holds everywhere, which is up to
    ``2.1e-9 / beta`` more.

    Parameters
    ----------
    beta : float
        Above zero; the larger, the sharper the bend.

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

    name = "softplus"
    derivative_from_input = True
    not_negative = True
    initializer = "he_normal"
    beta: float = field(positive, default=1.0)


class HardSigmoid(Activation):
    """``(x + 3) / 6`` held within 0 and 1 (Howard et al. 2019): a sigmoid of straight lines, with PyTorch's slope.

    The derivative at the corners is taken as 0.

    Examples
    --------
    >>> from nnfast.activations import HardSigmoid
    >>> HardSigmoid().name
    'hard_sigmoid'
    """

    name = "hard_sigmoid"
    has_kink = True
    not_negative = True


class Softmax(Activation):
    """``exp(x)`` over its sum along a row (Bridle 1990): probabilities of classes.

    Examples
    --------
    >>> from nnfast.activations import Softmax
    >>> Softmax().name
    'softmax'
    """

    name = "softmax"
    mixes = True
    excludes = True
    loss = "cross_entropy"


class LogSoftmax(Activation):
    """The logarithm of `Softmax`, ``x - log(sum(exp(x)))``, also where the probability is too small for a number.

    Examples
    --------
    >>> from nnfast.activations import LogSoftmax
    >>> LogSoftmax().name
    'log_softmax'
    """

    name = "log_softmax"
    mixes = True
    excludes = True
    loss = "cross_entropy"


_BY_NAME = {cls.name: cls for cls in declared_in(globals(), Activation)}
NAMES = tuple(name for cls in _BY_NAME for name in ((cls, "gelu_tanh") if cls == "gelu" else (cls,)))


@cache
def _default(name: str) -> Activation:
    """Return the activation of this name, with its default parameter."""
    return GELU("tanh") if name == "gelu_tanh" else _BY_NAME[name]()


def activation_from(config: Any) -> Activation:
    """Return the activation that `Activation.config` describes.

    Raises
    ------
    TypeError, ValueError
        If it describes none.

    Examples
    --------
    >>> from nnfast.activations import ELU, activation_from
    >>> activation_from(ELU(0.5).config())
    ELU(alpha=0.5)
    """
    if not isinstance(config, list):
        return resolve_activation(config)
    name, alpha = config
    kind: Any = type(resolve_activation(name))  # one with a parameter, then
    return kind(alpha)


def resolve_activation(activation: Any, name: str = "activation") -> Activation:
    """Return the object of a name, or an object as it is.

    Parameters
    ----------
    activation : str or Activation
        A name stands for the function with its default parameter.
    name : str
        What the caller's user calls the argument.

    Raises
    ------
    TypeError, ValueError
        If it is neither, or no activation has that name.

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
    return _default(choose(name, activation, NAMES))
