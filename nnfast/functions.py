"""Activation functions and losses on plain arrays of any shape.

The functions of chapters 3 and 4 of Saito's *Deep Learning from Scratch*, at compiled speed. float32 arrays are
computed in float32; everything else (float64, integers, lists) in float64. Any memory layout is accepted; ``out`` is a
writable array of the result's shape and dtype, and may overlap the input.

Every ``f_backward`` returns the gradient that flows back through ``f``. Those of activations are computed from the
*output* ``f(x)``, which a forward pass has at hand; those of `gelu`, `silu`, `softplus` and `mish`, whose
output does not determine the derivative, from the input ``x``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._validation import (
    as_array,
    as_labels,
    check_bool,
    check_float,
    check_holds,
    check_out,
    check_reduction,
    check_shape,
    choose,
    to_array,
)
from nnfast.kernels import arrays as kernels

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from numpy.typing import ArrayLike

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "binary_focal",
    "binary_focal_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "elu",
    "elu_backward",
    "focal",
    "focal_backward",
    "gelu",
    "gelu_backward",
    "hard_sigmoid",
    "hard_sigmoid_backward",
    "hinge",
    "hinge_backward",
    "huber",
    "huber_backward",
    "identity",
    "identity_backward",
    "kl_divergence",
    "kl_divergence_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "log_cosh",
    "log_cosh_backward",
    "log_softmax",
    "log_softmax_backward",
    "mean_absolute_error",
    "mean_absolute_error_backward",
    "mean_squared_error",
    "mean_squared_error_backward",
    "mish",
    "mish_backward",
    "poisson",
    "poisson_backward",
    "quantile",
    "quantile_backward",
    "relu",
    "relu_backward",
    "selu",
    "selu_backward",
    "sigmoid",
    "sigmoid_backward",
    "sigmoid_binary_cross_entropy",
    "sigmoid_binary_cross_entropy_backward",
    "sigmoid_binary_focal",
    "sigmoid_binary_focal_backward",
    "silu",
    "silu_backward",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
    "softmax_focal",
    "softmax_focal_backward",
    "softmax_kl_divergence",
    "softmax_kl_divergence_backward",
    "softplus",
    "softplus_backward",
    "step",
    "step_backward",
    "sum_squared_error",
    "sum_squared_error_backward",
    "tanh",
    "tanh_backward",
]


def _run(
    kernel: Callable[..., Any],
    arguments: tuple[Any, ...],
    out: np.ndarray | None,
    shape: tuple[int, ...],
    dtype: np.dtype,
) -> Any:
    """Write a kernel's result to `out`, through a new array where the kernel cannot safely write to `out` directly."""
    if out is None:
        result = kernel(*arguments)
        return result if shape else result[()]
    check_out("out", out, shape, dtype)
    overlap = any(isinstance(a, np.ndarray) and np.may_share_memory(out, a) for a in arguments)
    if out.flags.carray and out.dtype.isnative and not overlap:
        return kernel(*arguments, out=out)
    out[...] = kernel(*arguments)
    return out


def _numbers(parameters: dict[str, float], dtype: np.dtype) -> tuple[float, ...]:
    """Return the values of the parameters, which must be representable in `dtype`."""
    for name, value in parameters.items():
        if isinstance(value, float):
            check_holds(name, value, dtype)
    return tuple(parameters.values())


def _activate(name: str, x: ArrayLike, out: np.ndarray | None, **parameters: float) -> np.ndarray:
    x = as_array("x", x)
    return _run(kernels.apply, (name, x, *_numbers(parameters, x.dtype)), out, x.shape, x.dtype)


def _activate_backward(
    activation: str,
    gradient: ArrayLike,
    at: ArrayLike,
    out: np.ndarray | None,
    name: str = "output",
    **parameters: float,
) -> np.ndarray:
    """`name` says what the derivative is computed from."""
    at = as_array(name, at)
    gradient = as_array("gradient", gradient, at.dtype, shape=at.shape)
    arguments = activation, gradient, at, *_numbers(parameters, at.dtype)
    return _run(kernels.apply_backward, arguments, out, at.shape, at.dtype)


def _gelu(approximate: str) -> str:
    """Return the name of the kernel."""
    return "gelu_tanh" if choose("approximate", approximate, ("none", "tanh")) == "tanh" else "gelu"


def _targets(target: ArrayLike, prediction: np.ndarray, labels: bool) -> np.ndarray:
    """Return the target in the form the kernels expect: int64 labels, or an array of the prediction's shape."""
    array = to_array("target", target)
    if not (labels and array.ndim == prediction.ndim - 1):
        return as_array("target", target, prediction.dtype, shape=prediction.shape)
    check_shape("target", array, prediction.shape[:-1])
    return as_labels("target", array, prediction.shape[-1])


def _loss(
    kind: str,
    prediction: ArrayLike,
    target: ArrayLike,
    out: np.ndarray | None,
    labels: bool = False,
    backward: bool = False,
    per_output: np.ndarray | None = None,
    reduction: str = "mean",
    **parameters: float,
) -> Any:
    summed = check_reduction("reduction", reduction) == "sum"
    prediction = as_array("prediction", prediction)
    if prediction.ndim == 0 or prediction.size == 0:
        raise ValueError(f"prediction must have at least one row of outputs, got shape {prediction.shape}")
    target = _targets(target, prediction, labels)
    arguments = kind, prediction, target, per_output, _numbers(parameters, prediction.dtype), summed
    if backward:
        return _run(kernels.loss_backward, arguments, out, prediction.shape, prediction.dtype)
    return _run(kernels.loss, arguments, out, (), prediction.dtype)


def _quantiles(quantiles: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    """Return one quantile per output, in the dtype that `prediction` is computed in."""
    outputs = as_array("prediction", prediction)
    array = as_array("quantiles", quantiles, outputs.dtype, ndim=(0, 1))
    if not ((array > 0) & (array < 1)).all():
        raise ValueError(f"quantiles must lie in (0, 1), got {array}")
    n = outputs.shape[-1] if outputs.ndim else 1
    if array.ndim and array.shape != (n,):
        raise ValueError(f"quantiles must be a number or have shape ({n},), got {array.shape}")
    return np.ascontiguousarray(np.broadcast_to(array, (n,)))


def _smoothing(label_smoothing: float) -> float:
    return check_float("label_smoothing", label_smoothing, 0.0, 1.0)


def _focal(gamma: float, alpha: float) -> tuple[float, float]:
    alpha = check_float("alpha", alpha, 0.0, 1.0)
    if not alpha:
        raise ValueError("alpha must be above 0, got 0.0")
    return check_float("gamma", gamma, 0.0), alpha


# ---- the sections that the docstrings of a family share, which `_documented` inserts

# Between two lines of a docstring: from version 3.13 on, Python removes the indentation of the code.
_NEWLINE = "\n    " if sys.version_info < (3, 13) else "\n"


def _indented(text: str) -> str:
    """Indent the text like the docstrings it is inserted into, except for blank lines."""
    return text.replace("\n", _NEWLINE).replace(f"{_NEWLINE}\n", "\n\n")


_ACTIVATION = _indented("""\
Parameters
----------
x : array_like
    Input of any shape.%(own)s
out : ndarray, optional
    Array to write the result to.

Returns
-------
ndarray
    Array of the same shape as `x`.

Raises
------
TypeError, ValueError
    If `x` does not contain real numbers%(either)s `out` does not match the result's shape and dtype%(errors)s.

""")
_FROM_OUTPUT = _indented("""\
Parameters
----------
gradient : array_like
    The gradient of a loss with respect to ``%(of)s(x)``.
output : array_like
    ``%(of)s(x)``, of the same shape.%(own)s
out : ndarray, optional
    Array to write the result to.

Returns
-------
ndarray
    The gradient with respect to ``x``.

Raises
------
TypeError, ValueError
    If the arguments do not contain real numbers%(either)s the shapes differ%(errors)s.

""")
_FROM_INPUT = _FROM_OUTPUT.replace(
    f"output : array_like{_NEWLINE}    ``%(of)s(x)``", f"x : array_like{_NEWLINE}    The input of the function"
)
_LOSS = _indented("""\
Parameters
----------
prediction : array_like
    %(prediction)s, along the last axis.
target : array_like
    %(target)s%(own)s
out : ndarray of shape (), optional
    Array to write the loss to.%(reduction)s

Returns
-------
numpy.floating
    The loss; `out` if given.

Raises
------
TypeError, ValueError
    If the shapes differ%(either)s the arrays are empty%(errors)s.

""")
_LOSS_BACKWARD = _indented("""\
Parameters
----------
prediction, target : array_like
    As for `%(of)s`.%(own)s
out : ndarray, optional
    Array to write the gradient to.%(reduction)s

Returns
-------
ndarray
    Gradient, of the same shape as `prediction`.

Raises
------
TypeError, ValueError
    As for `%(of)s`.

""")
_REDUCTION = _indented("""
reduction : {"mean", "sum"}
    Whether the losses of a row's outputs are averaged or added up; rows are averaged in both cases.""")
_LABELS = "Targets of the same shape, or integer labels, one for each row."

_particular: dict[str, tuple[str, str]] = {}  # the parameters and errors of `f` that not all of its family have


def _documented(
    family: str,
    *,
    errors: str = "",
    prediction: str = "Rows of outputs",
    target: str = "Targets, of the same shape.",
) -> Callable[[F], F]:
    """Return a decorator that completes the docstring of a function with the sections its family shares.

    The function's own docstring has a summary, the parameters that not all of its family have, notes and examples. The
    examples get the line that imports the function. `f_backward` is described with the parameters and errors of `f`,
    which must come first. An argument `reduction` is described, too.

    Parameters
    ----------
    family : str
        The shared sections.
    errors : str
        When `f` raises an error, in addition to what its family says.
    prediction, target : str
        What these arguments of a loss contain.
    """

    def complete(function: F) -> F:
        doc = function.__doc__
        if doc is None:  # python -OO
            return function
        name = function.__name__
        of = name.removesuffix("_backward")
        notes = doc.find("Notes\n")
        end = notes if notes >= 0 else doc.index("Examples\n")
        summary, _, own = doc[:end].partition(f"Parameters{_NEWLINE}----------")
        reduction = _REDUCTION if "reduction" in (function.__kwdefaults__ or ()) else ""
        if of == name:
            why = errors
            if reduction:
                why = f"{errors.removeprefix('or ')}, or `reduction` is unknown".removeprefix(", ")
            _particular[of] = own.rstrip(), f",{_NEWLINE}    {why}" if why else ""
        own, more = _particular[of]
        words = {"of": of, "own": own, "prediction": prediction, "target": target, "reduction": reduction}
        words |= {"either": "," if more else " or", "errors": more}
        before, prompt, example = doc[end:].partition(">>> ")
        start = f"{prompt}from {__name__} import {name}{_NEWLINE}{prompt}"
        function.__doc__ = f"{summary}{family % words}{before}{start}{example}"
        return function

    return complete


@_documented(_ACTIVATION)
def step(x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """The Heaviside step function: 1 where ``x > 0``, else 0.

    Notes
    -----
    Chapter 3.2.2 of the book. NaN stays NaN.

    Examples
    --------
    >>> step([-1.0, 0.0, 2.0])
    array([0., 0., 1.])
    """
    return _activate("step", x, out)


@_documented(_FROM_OUTPUT)
def step_backward(gradient: ArrayLike, output: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """Zero: `step` is flat wherever it has a derivative.

    Examples
    --------
    >>> step_backward([1.0, 1.0], [0.0, 1.0])
    array([0., 0.])
    """
    return _activate_backward("step", gradient, output, out)


@_documented(_ACTIVATION)
def identity(x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """A copy of ``x``: the output activation of a regression network.

    Notes
    -----
    Chapter 3.5.1 of the book.

    Examples
    --------
    >>> identity([-1.0, 0.0, 2.0])
    array([-1.,  0.,  2.])
    """
    return _activate("identity", x, out)


@_documented(_FROM_OUTPUT)
def identity_backward(gradient: ArrayLike, output: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """A copy of ``gradient``.

    Examples
    --------
    >>> identity_backward([1.0, 2.0], [3.0, 4.0])
    array([1., 2.])
    """
    return _activate_backward("identity", gradient, output, out)


@_documented(_ACTIVATION)
def sigmoid(x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """The logistic function ``1 / (1 + exp(-x))``.

    Notes
    -----
    Chapter 3.2.4 of the book; computed from ``exp(-abs(x))``, so nothing overflows.

    Examples
    --------
    >>> sigmoid([-1.0, 0.0, 2.0]).round(4)
    array([0.2689, 0.5   , 0.8808])
    """
    return _activate("sigmoid", x, out)


@_documented(_FROM_OUTPUT)
def sigmoid_backward(gradient: ArrayLike, output: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """``gradient * output * (1 - output)``.

    Examples
    --------
    >>> sigmoid_backward([1.0, 1.0], [0.5, 0.75])
    array([0.25  , 0.1875])
    """
    return _activate_backward("sigmoid", gradient, output, out)


@_documented(_ACTIVATION)
def tanh(x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """The hyperbolic tangent.

    Notes
    -----
    ``(exp(x) - exp(-x)) / (exp(x) + exp(-x))``.

    Examples
    --------
    >>> tanh([-1.0, 0.0, 2.0]).round(4)
    array([-0.7616,  0.    ,  0.964 ])
    """
    return _activate("tanh", x, out)


@_documented(_FROM_OUTPUT)
def tanh_backward(gradient: ArrayLike, output: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """``gradient * (1 - output**2)``.

    Examples
    --------
    >>> tanh_backward([1.0, 1.0], [0.0, 0.5])
    array([1.  , 0.75])
    """
    return _activate_backward("tanh", gradient, output, out)


@_documented(_ACTIVATION)
def relu(x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """The rectified linear unit ``max(x, 0)``.

    Notes
    -----
    Chapter 3.2.7 of the book. NaN stays NaN.

    Examples
    --------
    >>> relu([-1.0, 0.0, 2.0])
    array([0., 0., 2.])
    """
    return _activate("relu", x, out)


@_documented(_FROM_OUTPUT)
def relu_backward(gradient: ArrayLike, output: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """``gradient`` where ``output > 0``, else 0: the derivative at zero is taken as 0.

    Examples
    --------
    >>> relu_backward([1.0, 1.0], [0.0, 2.0])
    array([0., 1.])
    """
    return _activate_backward("relu", gradient, output, out)


@_documented(_ACTIVATION)
def softmax(x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """``exp(x)`` divided by its sum along the last axis: class probabilities.

    Notes
    -----
    Chapter 3.5.2 of the book; the largest value is subtracted first, so nothing overflows.

    Examples
    --------
    >>> softmax([0.3, 2.9, 4.0]).round(4)
    array([0.0182, 0.2452, 0.7366])
    """
    return _activate("softmax", x, out)


@_documented(_FROM_OUTPUT)
def softmax_backward(gradient: ArrayLike, output: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """``output * (gradient - sum(gradient * output))``, the sum along the last axis.

    Examples
    --------
    >>> softmax_backward([1.0, 0.0], [0.25, 0.75])
    array([ 0.1875, -0.1875])
    """
    return _activate_backward("softmax", gradient, output, out)


@_documented(_ACTIVATION)
def log_softmax(x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """The logarithm of `softmax` along the last axis.

    Notes
    -----
    ``x - log(sum(exp(x)))``; the largest value is subtracted first, so nothing overflows, and probabilities that are
    too small to be represented still have a logarithm.

    Examples
    --------
    >>> log_softmax([0.3, 2.9, 4.0]).round(4)
    array([-4.0057, -1.4057, -0.3057])
    """
    return _activate("log_softmax", x, out)


@_documented(_FROM_OUTPUT)
def log_softmax_backward(gradient: ArrayLike, output: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """``gradient - exp(output) * sum(gradient)``, the sum along the last axis.

    Examples
    --------
    >>> log_softmax_backward([1.0, 0.0], [0.0, 0.0])
    array([ 0., -1.])
    """
    return _activate_backward("log_softmax", gradient, output, out)


@_documented(_ACTIVATION, errors="or `negative_slope` is negative")
def leaky_relu(x: ArrayLike, negative_slope: float = 0.01, out: np.ndarray | None = None) -> np.ndarray:
    """``x`` for positive ``x``, else ``negative_slope * x``.

    Parameters
    ----------
    negative_slope : float
        Slope below zero; must not be negative.

    Notes
    -----
    Maas, Hannun and Ng (2013).

    Examples
    --------
    >>> leaky_relu([-1.0, 0.0, 2.0], 0.1)
    array([-0.1,  0. ,  2. ])
    """
    negative_slope = check_float("negative_slope", negative_slope, 0.0)
    return _activate("leaky_relu", x, out, negative_slope=negative_slope)


@_documented(_FROM_OUTPUT)
def leaky_relu_backward(
    gradient: ArrayLike, output: ArrayLike, negative_slope: float = 0.01, out: np.ndarray | None = None
) -> np.ndarray:
    """``gradient`` where ``output > 0``, else ``negative_slope * gradient``, also at zero.

    Examples
    --------
    >>> leaky_relu_backward([1.0, 1.0], [-3.0, 2.0], 0.1)
    array([0.1, 1. ])
    """
    negative_slope = check_float("negative_slope", negative_slope, 0.0)
    return _activate_backward("leaky_relu", gradient, output, out, negative_slope=negative_slope)


@_documented(_ACTIVATION, errors="or `alpha` is negative")
def elu(x: ArrayLike, alpha: float = 1.0, out: np.ndarray | None = None) -> np.ndarray:
    """``x`` for positive ``x``, else ``alpha * (exp(x) - 1)``.

    Parameters
    ----------
    alpha : float
        The function tends to ``-alpha`` as ``x`` tends to minus infinity; must not be negative.

    Notes
    -----
    Clevert, Unterthiner and Hochreiter (2016).

    Examples
    --------
    >>> elu([-1.0, 0.0, 2.0]).round(4)
    array([-0.6321,  0.    ,  2.    ])
    """
    alpha = check_float("alpha", alpha, 0.0)
    return _activate("elu", x, out, alpha=alpha)


@_documented(_FROM_OUTPUT)
def elu_backward(
    gradient: ArrayLike, output: ArrayLike, alpha: float = 1.0, out: np.ndarray | None = None
) -> np.ndarray:
    """``gradient`` where ``output > 0``, else ``gradient * (output + alpha)``.

    Examples
    --------
    >>> elu_backward([1.0, 1.0], [-0.5, 2.0])
    array([0.5, 1. ])
    """
    alpha = check_float("alpha", alpha, 0.0)
    return _activate_backward("elu", gradient, output, out, alpha=alpha)


@_documented(_ACTIVATION)
def selu(x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """``scale * x`` for positive ``x``, else ``scale * alpha * (exp(x) - 1)``.

    Notes
    -----
    Klambauer et al. (2017), with ``scale = 1.0507009873554805`` and ``alpha = 1.6732632423543772``: mean 0 and variance
    1 are then a fixed point of layers whose weights have variance 1 / inputs.

    Examples
    --------
    >>> selu([-1.0, 0.0, 2.0]).round(4)
    array([-1.1113,  0.    ,  2.1014])
    """
    return _activate("selu", x, out)


@_documented(_FROM_OUTPUT)
def selu_backward(gradient: ArrayLike, output: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """``gradient * scale`` where ``output > 0``, else ``gradient * (output + scale * alpha)``.

    Examples
    --------
    >>> selu_backward([1.0, 1.0], [0.0, 2.0]).round(4)
    array([1.7581, 1.0507])
    """
    return _activate_backward("selu", gradient, output, out)


@_documented(_ACTIVATION)
def hard_sigmoid(x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """``(x + 3) / 6`` clipped to [0, 1].

    Notes
    -----
    Howard et al. (2019), as in PyTorch.

    Examples
    --------
    >>> hard_sigmoid([-4.0, 0.0, 1.5, 3.0])
    array([0.  , 0.5 , 0.75, 1.  ])
    """
    return _activate("hard_sigmoid", x, out)


@_documented(_FROM_OUTPUT)
def hard_sigmoid_backward(gradient: ArrayLike, output: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """``gradient / 6`` where ``0 < output < 1``, else 0, also at the corners.

    Examples
    --------
    >>> hard_sigmoid_backward([6.0, 6.0], [0.5, 1.0])
    array([1., 0.])
    """
    return _activate_backward("hard_sigmoid", gradient, output, out)


@_documented(_ACTIVATION, errors="or `approximate` is not one of the two")
def gelu(x: ArrayLike, approximate: str = "none", out: np.ndarray | None = None) -> np.ndarray:
    """``x`` times the standard normal cumulative distribution function of ``x``.

    Parameters
    ----------
    approximate : {"none", "tanh"}
        Which of the two formulas to use.

    Notes
    -----
    Hendrycks and Gimpel (2016). Exact, ``x * (1 + erf(x / sqrt(2))) / 2``, or with ``approximate="tanh"`` their
    approximation, ``x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))) / 2``. Results for large negative ``x`` are
    accurate to full precision.

    Examples
    --------
    >>> gelu([-1.0, 0.0, 2.0]).round(4)
    array([-0.1587,  0.    ,  1.9545])
    >>> gelu([-1.0, 0.0, 2.0], "tanh").round(4)
    array([-0.1588,  0.    ,  1.9546])
    """
    return _activate(_gelu(approximate), x, out)


@_documented(_FROM_INPUT)
def gelu_backward(
    gradient: ArrayLike, x: ArrayLike, approximate: str = "none", out: np.ndarray | None = None
) -> np.ndarray:
    """``gradient`` times the derivative of `gelu` at ``x``.

    Examples
    --------
    >>> gelu_backward([1.0, 1.0], [0.0, 2.0]).round(4)
    array([0.5   , 1.0852])
    """
    return _activate_backward(_gelu(approximate), gradient, x, out, "x")


@_documented(_ACTIVATION)
def silu(x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """``x / (1 + exp(-x))``, also known as swish.

    Notes
    -----
    Elfwing, Uchibe and Doya (2017); Ramachandran, Zoph and Le (2017).

    Examples
    --------
    >>> silu([-1.0, 0.0, 2.0]).round(4)
    array([-0.2689,  0.    ,  1.7616])
    """
    return _activate("silu", x, out)


@_documented(_FROM_INPUT)
def silu_backward(gradient: ArrayLike, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """``gradient`` times the derivative of `silu` at ``x``.

    Examples
    --------
    >>> silu_backward([1.0, 1.0], [0.0, 2.0]).round(4)
    array([0.5   , 1.0908])
    """
    return _activate_backward("silu", gradient, x, out, "x")


@_documented(_ACTIVATION, errors="or `beta` is not positive")
def softplus(x: ArrayLike, beta: float = 1.0, out: np.ndarray | None = None) -> np.ndarray:
    """``log(1 + exp(beta * x)) / beta``, a smooth relu.

    Parameters
    ----------
    beta : float
        Positive; the larger, the sharper the bend.

    Notes
    -----
    Dugas et al. (2000). PyTorch returns ``x`` where ``beta * x > 20``; here the formula holds everywhere, which
    gives up to ``2.1e-9 / beta`` more.

    Examples
    --------
    >>> softplus([-1.0, 0.0, 2.0]).round(4)
    array([0.3133, 0.6931, 2.1269])
    """
    beta = check_float("beta", beta, 0.0, open_ends=True)
    return _activate("softplus", x, out, beta=beta)


@_documented(_FROM_INPUT)
def softplus_backward(
    gradient: ArrayLike, x: ArrayLike, beta: float = 1.0, out: np.ndarray | None = None
) -> np.ndarray:
    """``gradient * sigmoid(beta * x)``.

    Examples
    --------
    >>> softplus_backward([1.0, 1.0], [0.0, 2.0]).round(4)
    array([0.5   , 0.8808])
    """
    beta = check_float("beta", beta, 0.0, open_ends=True)
    return _activate_backward("softplus", gradient, x, out, "x", beta=beta)


@_documented(_ACTIVATION)
def mish(x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """``x * tanh(log(1 + exp(x)))``.

    Notes
    -----
    Misra (2019).

    Examples
    --------
    >>> mish([-1.0, 0.0, 2.0]).round(4)
    array([-0.3034,  0.    ,  1.944 ])
    """
    return _activate("mish", x, out)


@_documented(_FROM_INPUT)
def mish_backward(gradient: ArrayLike, x: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """``gradient`` times the derivative of `mish` at ``x``.

    Examples
    --------
    >>> mish_backward([1.0, 1.0], [0.0, 2.0]).round(4)
    array([0.6   , 1.0693])
    """
    return _activate_backward("mish", gradient, x, out, "x")


@_documented(_LOSS)
def sum_squared_error(prediction: ArrayLike, target: ArrayLike, out: np.ndarray | None = None) -> np.floating:
    """Half the sum of squared errors, averaged over rows.

    Notes
    -----
    ``0.5 * sum((prediction - target)**2) / rows``. Chapter 4.2.1 of the book defines it for one row, here a
    one-dimensional array; for a batch, the book sums over all rows, whereas nnfast averages over them.

    Examples
    --------
    >>> sum_squared_error([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0],
    ...                   [0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).round(4)
    np.float64(0.0975)
    """
    return _loss("sum_squared_error", prediction, target, out)


@_documented(_LOSS_BACKWARD)
def sum_squared_error_backward(prediction: ArrayLike, target: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """Return the gradient of `sum_squared_error` with respect to `prediction`.

    It is ``(prediction - target) / rows``.

    Examples
    --------
    >>> sum_squared_error_backward([1.0, 2.0], [0.0, 4.0])
    array([ 1., -2.])
    """
    return _loss("sum_squared_error", prediction, target, out, backward=True)


@_documented(_LOSS)
def mean_squared_error(
    prediction: ArrayLike, target: ArrayLike, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.floating:
    """The mean of squared errors over all elements, as in PyTorch's ``MSELoss``.

    Notes
    -----
    ``mean((prediction - target)**2)``.

    Examples
    --------
    >>> mean_squared_error([1.0, 2.0, 4.0], [1.0, 2.0, 1.0])
    np.float64(3.0)
    """
    return _loss("mean_squared_error", prediction, target, out, reduction=reduction)


@_documented(_LOSS_BACKWARD)
def mean_squared_error_backward(
    prediction: ArrayLike, target: ArrayLike, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.ndarray:
    """Return the gradient of `mean_squared_error` with respect to `prediction`.

    It is ``2 * (prediction - target) / size``.

    Examples
    --------
    >>> mean_squared_error_backward([1.0, 2.0], [0.0, 4.0])
    array([ 1., -2.])
    """
    return _loss("mean_squared_error", prediction, target, out, backward=True, reduction=reduction)


@_documented(_LOSS)
def mean_absolute_error(
    prediction: ArrayLike, target: ArrayLike, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.floating:
    """The mean of absolute errors over all elements, as in PyTorch's ``L1Loss``.

    Notes
    -----
    ``mean(abs(prediction - target))``.

    Examples
    --------
    >>> mean_absolute_error([1.0, 2.0, 4.0], [1.0, 3.0, 2.0])
    np.float64(1.0)
    """
    return _loss("mean_absolute_error", prediction, target, out, reduction=reduction)


@_documented(_LOSS_BACKWARD)
def mean_absolute_error_backward(
    prediction: ArrayLike, target: ArrayLike, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.ndarray:
    """Return the gradient of `mean_absolute_error` with respect to `prediction`.

    It is ``sign(prediction - target) / size``: zero where they are equal.

    Examples
    --------
    >>> mean_absolute_error_backward([1.0, 2.0, 4.0, 4.0], [1.0, 3.0, 2.0, 2.0])
    array([ 0.  , -0.25,  0.25,  0.25])
    """
    return _loss("mean_absolute_error", prediction, target, out, backward=True, reduction=reduction)


@_documented(_LOSS, errors="or `delta` is not positive")
def huber(
    prediction: ArrayLike,
    target: ArrayLike,
    delta: float = 1.0,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.floating:
    """Half the squared error up to `delta` and its tangent beyond, averaged over all elements.

    Parameters
    ----------
    delta : float
        Threshold between the two regimes; positive.

    Notes
    -----
    ``d**2 / 2`` for ``abs(d) <= delta``, else ``delta * (abs(d) - delta / 2)``, with ``d = prediction - target``;
    PyTorch's ``HuberLoss``.

    Examples
    --------
    >>> huber([1.0, 0.0], [0.0, 4.0])
    np.float64(2.0)
    """
    delta = check_float("delta", delta, 0.0, float("inf"), open_ends=True)
    return _loss("huber", prediction, target, out, delta=delta, reduction=reduction)


@_documented(_LOSS_BACKWARD)
def huber_backward(
    prediction: ArrayLike,
    target: ArrayLike,
    delta: float = 1.0,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    """Return the gradient of `huber` with respect to `prediction`.

    It is ``clip(prediction - target, -delta, delta) / size``.

    Examples
    --------
    >>> huber_backward([1.0, 0.0], [0.5, 4.0])
    array([ 0.25, -0.5 ])
    """
    delta = check_float("delta", delta, 0.0, float("inf"), open_ends=True)
    return _loss("huber", prediction, target, out, backward=True, delta=delta, reduction=reduction)


@_documented(_LOSS)
def log_cosh(
    prediction: ArrayLike, target: ArrayLike, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.floating:
    """The logarithm of the hyperbolic cosine of errors, averaged over all elements, as in Keras.

    Notes
    -----
    ``mean(log(cosh(d)))`` with ``d = prediction - target``, computed as ``abs(d) + log1p(exp(-2 * abs(d))) - log(2)``:
    nothing overflows.

    Examples
    --------
    >>> log_cosh([1.0, -1000.0], [0.0, 0.0]).round(4)
    np.float64(499.8703)
    """
    return _loss("log_cosh", prediction, target, out, reduction=reduction)


@_documented(_LOSS_BACKWARD)
def log_cosh_backward(
    prediction: ArrayLike, target: ArrayLike, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.ndarray:
    """Return the gradient of `log_cosh` with respect to `prediction`.

    It is ``tanh(prediction - target) / size``.

    Examples
    --------
    >>> log_cosh_backward([1.0, -1000.0], [0.0, 0.0]).round(4)
    array([ 0.3808, -0.5   ])
    """
    return _loss("log_cosh", prediction, target, out, backward=True, reduction=reduction)


@_documented(_LOSS, target="Counts, of the same shape.")
def poisson(
    prediction: ArrayLike,
    target: ArrayLike,
    log_input: bool = True,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.floating:
    """The negative log-likelihood of counts, averaged over all elements, as in PyTorch's ``PoissonNLLLoss``.

    Parameters
    ----------
    log_input : bool
        Whether predictions are the logarithms of rates.

    Notes
    -----
    ``exp(prediction) - target * prediction``, or ``prediction - target * log(prediction + 1e-8)`` for rates; the part
    that depends only on the target is left out.

    Examples
    --------
    >>> poisson([0.0, 1.0], [1, 2]).round(4)
    np.float64(0.8591)
    """
    return _loss("poisson", prediction, target, out, log_input=check_bool("log_input", log_input), reduction=reduction)


@_documented(_LOSS_BACKWARD)
def poisson_backward(
    prediction: ArrayLike,
    target: ArrayLike,
    log_input: bool = True,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    """Return the gradient of `poisson` with respect to `prediction`.

    It is ``(exp(prediction) - target) / size``, or ``(1 - target / (prediction + 1e-8)) / size`` for rates.

    Examples
    --------
    >>> poisson_backward([2.0, 4.0], [1, 4], log_input=False).round(4)
    array([0.25, 0.  ])
    """
    return _loss(
        "poisson",
        prediction,
        target,
        out,
        log_input=check_bool("log_input", log_input),
        backward=True,
        reduction=reduction,
    )


@_documented(_LOSS, errors="or a quantile is out of range")
def quantile(
    prediction: ArrayLike,
    target: ArrayLike,
    quantiles: ArrayLike,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.floating:
    """The pinball loss, which is minimized by a quantile of the target, averaged over all elements.

    Parameters
    ----------
    quantiles : float or array_like of shape (outputs,)
        Quantiles to predict, in (0, 1).

    Notes
    -----
    ``q * d`` for ``d = target - prediction > 0``, else ``(q - 1) * d``.

    Examples
    --------
    >>> quantile([[1.0, 1.0]], [[2.0, 2.0]], [0.25, 0.75])
    np.float64(0.5)
    """
    return _loss("quantile", prediction, target, out, per_output=_quantiles(quantiles, prediction), reduction=reduction)


@_documented(_LOSS_BACKWARD)
def quantile_backward(
    prediction: ArrayLike,
    target: ArrayLike,
    quantiles: ArrayLike,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    """Return the gradient of `quantile` with respect to `prediction`.

    It is ``-q / size`` where the target is above the prediction, ``(1 - q) / size`` where it is below, and zero where
    they are equal.

    Examples
    --------
    >>> quantile_backward([[1.0, 3.0]], [[2.0, 2.0]], [0.25, 0.75])
    array([[-0.125,  0.125]])
    """
    return _loss(
        "quantile",
        prediction,
        target,
        out,
        per_output=_quantiles(quantiles, prediction),
        backward=True,
        reduction=reduction,
    )


@_documented(_LOSS, target="Targets of -1 or 1, of the same shape.")
def hinge(
    prediction: ArrayLike, target: ArrayLike, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.floating:
    """How far outputs fall short of a margin of one, averaged over all elements.

    Notes
    -----
    ``mean(max(0, 1 - target * prediction))``.

    Examples
    --------
    >>> hinge([0.5, -0.5, 3.0, -2.0], [1, 1, 1, 1])
    np.float64(1.25)
    """
    return _loss("hinge", prediction, target, out, reduction=reduction)


@_documented(_LOSS_BACKWARD)
def hinge_backward(
    prediction: ArrayLike, target: ArrayLike, out: np.ndarray | None = None, *, reduction: str = "mean"
) -> np.ndarray:
    """Return the gradient of `hinge` with respect to `prediction`.

    It is ``-target / size`` where ``target * prediction < 1``, else 0: also at the kink.

    Examples
    --------
    >>> hinge_backward([0.5, 1.0, 3.0, -2.0], [1, 1, 1, -1])
    array([-0.25,  0.  ,  0.  ,  0.  ])
    """
    return _loss("hinge", prediction, target, out, backward=True, reduction=reduction)


@_documented(_LOSS, target=_LABELS, errors="a label is not a class, or `label_smoothing` is out of range")
def cross_entropy(
    prediction: ArrayLike, target: ArrayLike, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.floating:
    """The cross entropy of predicted probabilities, averaged over rows.

    Parameters
    ----------
    label_smoothing : float
        The fraction of each target that is spread evenly over all classes, as in PyTorch; in [0, 1].

    Notes
    -----
    ``-sum(target * log(prediction)) / rows``, chapter 4.2.2 of the book. Probabilities are clipped to lie at least
    the dtype's epsilon away from 0 and 1, as in scikit-learn's ``log_loss``, so that the loss is finite.

    Examples
    --------
    >>> cross_entropy([[0.1, 0.6, 0.3]], [1]).round(4)
    np.float64(0.5108)
    """
    label_smoothing = _smoothing(label_smoothing)
    return _loss("cross_entropy", prediction, target, out, labels=True, label_smoothing=label_smoothing)


@_documented(_LOSS_BACKWARD)
def cross_entropy_backward(
    prediction: ArrayLike, target: ArrayLike, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.ndarray:
    """Return the gradient of `cross_entropy` with respect to `prediction`.

    It is ``-target / prediction / rows``, at the clipped prediction.

    Examples
    --------
    >>> cross_entropy_backward([0.25, 0.75], [0.0, 1.0]).round(4)
    array([-0.    , -1.3333])
    """
    label_smoothing = _smoothing(label_smoothing)
    return _loss("cross_entropy", prediction, target, out, labels=True, backward=True, label_smoothing=label_smoothing)


@_documented(_LOSS, errors="or `label_smoothing` is out of range")
def binary_cross_entropy(
    prediction: ArrayLike,
    target: ArrayLike,
    label_smoothing: float = 0.0,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.floating:
    """The binary cross entropy of predicted probabilities, averaged over all elements, as in PyTorch's ``BCELoss``.

    Parameters
    ----------
    label_smoothing : float
        Moves targets towards one half: ``target * (1 - label_smoothing) + label_smoothing / 2``; in [0, 1].

    Notes
    -----
    ``-mean(target * log(prediction) + (1 - target) * log(1 - prediction))``. Probabilities are clipped to lie at
    least the dtype's epsilon away from 0 and 1.

    Examples
    --------
    >>> binary_cross_entropy([0.9, 0.2], [1, 0]).round(4)
    np.float64(0.1643)
    """
    label_smoothing = _smoothing(label_smoothing)
    return _loss("binary_cross_entropy", prediction, target, out, label_smoothing=label_smoothing, reduction=reduction)


@_documented(_LOSS_BACKWARD)
def binary_cross_entropy_backward(
    prediction: ArrayLike,
    target: ArrayLike,
    label_smoothing: float = 0.0,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    """Return the gradient of `binary_cross_entropy` with respect to `prediction`.

    It is ``(prediction - target) / (prediction * (1 - prediction)) / size``, at the clipped prediction.

    Examples
    --------
    >>> binary_cross_entropy_backward([0.5, 0.25], [1.0, 0.0]).round(4)
    array([-1.    ,  0.6667])
    """
    label_smoothing = _smoothing(label_smoothing)
    return _loss(
        "binary_cross_entropy",
        prediction,
        target,
        out,
        backward=True,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )


@_documented(_LOSS, target=_LABELS, errors="a label is not a class, or `gamma` or `alpha` is out of range")
def focal(
    prediction: ArrayLike, target: ArrayLike, gamma: float = 2.0, alpha: float = 0.25, out: np.ndarray | None = None
) -> np.floating:
    """The focal loss of predicted probabilities of classes, averaged over rows (Lin et al. 2017).

    Parameters
    ----------
    gamma : float
        The exponent, at least 0: the larger, the less likely answers count.
    alpha : float
        A factor; in (0, 1].

    Notes
    -----
    ``-alpha * sum(target * (1 - prediction)**gamma * log(prediction)) / rows``. Probabilities are clipped to lie at
    least the dtype's epsilon away from 0 and 1.

    Examples
    --------
    >>> focal([[0.25, 0.75]], [1]).round(4)
    np.float64(0.0045)
    """
    gamma, alpha = _focal(gamma, alpha)
    return _loss("focal", prediction, target, out, labels=True, gamma=gamma, alpha=alpha)


@_documented(_LOSS_BACKWARD)
def focal_backward(
    prediction: ArrayLike, target: ArrayLike, gamma: float = 2.0, alpha: float = 0.25, out: np.ndarray | None = None
) -> np.ndarray:
    """Return the gradient of `focal` with respect to `prediction`.

    Examples
    --------
    >>> focal_backward([[0.5, 0.5]], [[0.5, 0.5]], gamma=0.0, alpha=1.0)
    array([[-1., -1.]])
    """
    gamma, alpha = _focal(gamma, alpha)
    return _loss("focal", prediction, target, out, labels=True, backward=True, gamma=gamma, alpha=alpha)


@_documented(_LOSS, errors="or `gamma` or `alpha` is out of range")
def binary_focal(
    prediction: ArrayLike,
    target: ArrayLike,
    gamma: float = 2.0,
    alpha: float = 0.25,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.floating:
    """The focal loss of predicted probabilities, averaged over all elements (Lin et al. 2017).

    Parameters
    ----------
    gamma : float
        The exponent, at least 0: the larger, the less likely answers count.
    alpha : float
        The weight of targets of 1; that of targets of 0 is ``1 - alpha``; in (0, 1].

    Notes
    -----
    ``-alpha * target * (1 - p)**gamma * log(p) - (1 - alpha) * (1 - target) * p**gamma * log(1 - p)``. Probabilities
    are clipped to lie at least the dtype's epsilon away from 0 and 1.

    Examples
    --------
    >>> binary_focal([0.75, 0.5], [1, 0]).round(4)
    np.float64(0.0672)
    """
    gamma, alpha = _focal(gamma, alpha)
    return _loss("binary_focal", prediction, target, out, gamma=gamma, alpha=alpha, reduction=reduction)


@_documented(_LOSS_BACKWARD)
def binary_focal_backward(
    prediction: ArrayLike,
    target: ArrayLike,
    gamma: float = 2.0,
    alpha: float = 0.25,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    """Return the gradient of `binary_focal` with respect to `prediction`.

    Examples
    --------
    >>> binary_focal_backward([0.5], [1.0], gamma=0.0, alpha=1.0)
    array([-2.])
    """
    gamma, alpha = _focal(gamma, alpha)
    return _loss("binary_focal", prediction, target, out, backward=True, gamma=gamma, alpha=alpha, reduction=reduction)


@_documented(_LOSS, prediction="Rows of log-probabilities", target="Rows of probabilities, of the same shape.")
def kl_divergence(prediction: ArrayLike, target: ArrayLike, out: np.ndarray | None = None) -> np.floating:
    """The Kullback-Leibler divergence of predicted log-probabilities from the target, averaged over rows.

    Notes
    -----
    ``sum(target * (log(target) - prediction)) / rows``, where a target of zero contributes nothing; PyTorch's
    ``KLDivLoss(reduction="batchmean")``.

    Examples
    --------
    >>> import numpy as np
    >>> kl_divergence(np.log([[0.25, 0.75]]), [[0.5, 0.5]]).round(4)
    np.float64(0.1438)
    """
    return _loss("kl_divergence", prediction, target, out)


@_documented(_LOSS_BACKWARD)
def kl_divergence_backward(prediction: ArrayLike, target: ArrayLike, out: np.ndarray | None = None) -> np.ndarray:
    """Return the gradient of `kl_divergence` with respect to `prediction`.

    It is ``-target / rows``.

    Examples
    --------
    >>> kl_divergence_backward([[-1.0, -2.0]], [[0.5, 0.5]])
    array([[-0.5, -0.5]])
    """
    return _loss("kl_divergence", prediction, target, out, backward=True)


@_documented(_LOSS, target=_LABELS, errors="a label is not a class, or `label_smoothing` is out of range")
def softmax_cross_entropy(
    prediction: ArrayLike, target: ArrayLike, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.floating:
    """The cross entropy of ``softmax(prediction)``, computed from the logits, averaged over rows.

    Parameters
    ----------
    label_smoothing : float
        The fraction of each target that is spread evenly over all classes, as in PyTorch; in [0, 1].

    Notes
    -----
    ``log(sum(exp(prediction))) - prediction[label]`` for labels: exact where `cross_entropy` of `softmax` would clip.

    Examples
    --------
    >>> softmax_cross_entropy([[1.0, 2.0, 0.0]], [1]).round(4)
    np.float64(0.4076)
    """
    label_smoothing = _smoothing(label_smoothing)
    return _loss("softmax_cross_entropy", prediction, target, out, labels=True, label_smoothing=label_smoothing)


@_documented(_LOSS_BACKWARD)
def softmax_cross_entropy_backward(
    prediction: ArrayLike, target: ArrayLike, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.ndarray:
    """Return the gradient of `softmax_cross_entropy` with respect to `prediction`.

    It is ``(softmax(prediction) - target) / rows`` for target rows that sum to one.

    Examples
    --------
    >>> softmax_cross_entropy_backward([0.0, 0.0], [1.0, 0.0])
    array([-0.5,  0.5])
    """
    label_smoothing = _smoothing(label_smoothing)
    return _loss(
        "softmax_cross_entropy", prediction, target, out, labels=True, backward=True, label_smoothing=label_smoothing
    )


@_documented(_LOSS, errors="or `label_smoothing` is out of range")
def sigmoid_binary_cross_entropy(
    prediction: ArrayLike,
    target: ArrayLike,
    label_smoothing: float = 0.0,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.floating:
    """The binary cross entropy of ``sigmoid(prediction)``, computed from logits, averaged over all elements.

    Parameters
    ----------
    label_smoothing : float
        Moves targets towards one half: ``target * (1 - label_smoothing) + label_smoothing / 2``; in [0, 1].

    Notes
    -----
    ``mean(log(1 + exp(prediction)) - target * prediction)``, PyTorch's ``BCEWithLogitsLoss``.

    Examples
    --------
    >>> sigmoid_binary_cross_entropy([2.0, -1.0], [1, 0]).round(4)
    np.float64(0.2201)
    """
    label_smoothing = _smoothing(label_smoothing)
    return _loss(
        "sigmoid_binary_cross_entropy", prediction, target, out, label_smoothing=label_smoothing, reduction=reduction
    )


@_documented(_LOSS_BACKWARD)
def sigmoid_binary_cross_entropy_backward(
    prediction: ArrayLike,
    target: ArrayLike,
    label_smoothing: float = 0.0,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    """Return the gradient of `sigmoid_binary_cross_entropy` with respect to `prediction`.

    It is ``(sigmoid(prediction) - target) / size``.

    Examples
    --------
    >>> sigmoid_binary_cross_entropy_backward([0.0, 0.0], [1.0, 0.0])
    array([-0.25,  0.25])
    """
    label_smoothing = _smoothing(label_smoothing)
    return _loss(
        "sigmoid_binary_cross_entropy",
        prediction,
        target,
        out,
        backward=True,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )


@_documented(_LOSS, target=_LABELS, errors="a label is not a class, or `gamma` or `alpha` is out of range")
def softmax_focal(
    prediction: ArrayLike, target: ArrayLike, gamma: float = 2.0, alpha: float = 0.25, out: np.ndarray | None = None
) -> np.floating:
    """`focal` of ``softmax(prediction)``, computed from the logits.

    Parameters
    ----------
    gamma : float
        The exponent, at least 0: the larger, the less likely answers count.
    alpha : float
        A factor; in (0, 1].

    Notes
    -----
    Finite for any finite logits.

    Examples
    --------
    >>> softmax_focal([[0.0, 0.0]], [1]).round(4)
    np.float64(0.0433)
    """
    gamma, alpha = _focal(gamma, alpha)
    return _loss("softmax_focal", prediction, target, out, labels=True, gamma=gamma, alpha=alpha)


@_documented(_LOSS_BACKWARD)
def softmax_focal_backward(
    prediction: ArrayLike, target: ArrayLike, gamma: float = 2.0, alpha: float = 0.25, out: np.ndarray | None = None
) -> np.ndarray:
    """Return the gradient of `softmax_focal` with respect to `prediction`.

    Examples
    --------
    >>> softmax_focal_backward([[0.0, 0.0]], [1], gamma=0.0, alpha=1.0)
    array([[ 0.5, -0.5]])
    """
    gamma, alpha = _focal(gamma, alpha)
    return _loss("softmax_focal", prediction, target, out, labels=True, backward=True, gamma=gamma, alpha=alpha)


@_documented(_LOSS, errors="or `gamma` or `alpha` is out of range")
def sigmoid_binary_focal(
    prediction: ArrayLike,
    target: ArrayLike,
    gamma: float = 2.0,
    alpha: float = 0.25,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.floating:
    """`binary_focal` of ``sigmoid(prediction)``, computed from the logits.

    Parameters
    ----------
    gamma : float
        The exponent, at least 0: the larger, the less likely answers count.
    alpha : float
        The weight of targets of 1; that of targets of 0 is ``1 - alpha``; in (0, 1].

    Notes
    -----
    Finite for any finite logits; for targets of 0 and 1, torchvision's ``sigmoid_focal_loss``.

    Examples
    --------
    >>> sigmoid_binary_focal([0.0], [1]).round(4)
    np.float64(0.0433)
    """
    gamma, alpha = _focal(gamma, alpha)
    return _loss("sigmoid_binary_focal", prediction, target, out, gamma=gamma, alpha=alpha, reduction=reduction)


@_documented(_LOSS_BACKWARD)
def sigmoid_binary_focal_backward(
    prediction: ArrayLike,
    target: ArrayLike,
    gamma: float = 2.0,
    alpha: float = 0.25,
    out: np.ndarray | None = None,
    *,
    reduction: str = "mean",
) -> np.ndarray:
    """Return the gradient of `sigmoid_binary_focal` with respect to `prediction`.

    Examples
    --------
    >>> sigmoid_binary_focal_backward([0.0], [1], gamma=0.0, alpha=1.0)
    array([-0.5])
    """
    gamma, alpha = _focal(gamma, alpha)
    return _loss(
        "sigmoid_binary_focal", prediction, target, out, backward=True, gamma=gamma, alpha=alpha, reduction=reduction
    )


@_documented(_LOSS, target="Rows of probabilities, of the same shape.")
def softmax_kl_divergence(prediction: ArrayLike, target: ArrayLike, out: np.ndarray | None = None) -> np.floating:
    """The Kullback-Leibler divergence of ``softmax(prediction)`` from the target, averaged over rows.

    Notes
    -----
    `kl_divergence` of ``log_softmax(prediction)``, computed from the logits.

    Examples
    --------
    >>> softmax_kl_divergence([[0.0, 0.0]], [[1.0, 0.0]]).round(4)
    np.float64(0.6931)
    """
    return _loss("softmax_kl_divergence", prediction, target, out)


@_documented(_LOSS_BACKWARD)
def softmax_kl_divergence_backward(
    prediction: ArrayLike, target: ArrayLike, out: np.ndarray | None = None
) -> np.ndarray:
    """Return the gradient of `softmax_kl_divergence` with respect to `prediction`.

    It is ``(softmax(prediction) - target) / rows`` for target rows that sum to one.

    Examples
    --------
    >>> softmax_kl_divergence_backward([[0.0, 0.0]], [[1.0, 0.0]])
    array([[-0.5,  0.5]])
    """
    return _loss("softmax_kl_divergence", prediction, target, out, backward=True)
