"""Activations in the operators of ONNX: what is written for each, and what is recognized.

A formula is `X`, the input; a name, which stands for a number or an array; a number; or an operator with its
arguments, and attributes as pairs. So ``("Mul", X, ("Sigmoid", X))`` is silu. Writing and reading use the same table.

Definitions of the operators: https://onnx.ai/onnx/operators/. Of some of them ONNX Runtime has only a version in single
precision; and attributes are in single precision, in any model. Networks in double precision use more basic ones.
"""

from __future__ import annotations

from math import pi, sqrt
from typing import Any

X, ALPHA = "x", "alpha"
EPSILON, GAMMA, BETA = "epsilon", "gamma", "beta"
DTYPE = "dtype"  # the code of the network's

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017

Formula = Any  # a str, a float, or a tuple of a str and formulas, with dicts for attributes


def _gelu(factor: Formula) -> tuple[Formula, ...]:
    """Return ``x * factor / 2`` in the orders in which it is written."""
    return (
        ("Mul", ("Mul", X, 0.5), factor),
        ("Mul", ("Mul", X, factor), 0.5),
        ("Mul", X, ("Mul", factor, 0.5)),
    )


def _below_zero(alpha: Formula) -> Formula:
    """Return ``alpha * (exp(x) - 1)`` below zero, and ``x`` above."""
    return "Add", ("Max", X, 0.0), ("Mul", alpha, ("Sub", ("Exp", ("Min", X, 0.0)), 1.0))


def _log1pexp(x: Formula) -> Formula:
    """Return ``log(1 + exp(x))`` without the operator Softplus."""
    return "Add", ("Relu", x), ("Log", ("Add", ("Exp", ("Neg", ("Abs", x))), 1.0))


_SCALED_ERF = ("Div", X, sqrt(2)), ("Mul", X, sqrt(0.5))
_CUBES = ("Mul", ("Mul", X, X), X), ("Pow", X, 3.0)
_SIGMOID = ("Sigmoid", X)
_SOFTPLUS = ("Softplus", X)
_STEEP = ("Softplus", ("Mul", X, ALPHA))
_GELUS = [_gelu(("Add", ("Erf", scaled), 1.0)) for scaled in _SCALED_ERF]
_GELUS_TANH = [
    _gelu(("Add", ("Tanh", ("Mul", ("Add", X, ("Mul", cube, 0.044715)), sqrt(2 / pi))), 1.0)) for cube in _CUBES
]

# What is written, by the name of the activation.
SINGLE: dict[str, Formula] = {
    "identity": X,
    "step": ("Cast", ("Greater", X, 0.0), {"to": DTYPE}),
    "sigmoid": _SIGMOID,
    "tanh": ("Tanh", X),
    "relu": ("Relu", X),
    "leaky_relu": ("LeakyRelu", X, {"alpha": ALPHA}),
    "elu": ("Elu", X, {"alpha": ALPHA}),
    "selu": ("Selu", X),
    "gelu": _GELUS[0][0],
    "gelu_tanh": _GELUS_TANH[0][0],
    "silu": ("Mul", X, _SIGMOID),
    "softplus": ("Div", _STEEP, ALPHA),
    "mish": ("Mul", X, ("Tanh", _SOFTPLUS)),
    "hard_sigmoid": ("Clip", ("Div", ("Add", X, 3.0), 6.0), 0.0, 1.0),
    "softmax": ("Softmax", X, {"axis": -1}),
    "log_softmax": ("LogSoftmax", X, {"axis": -1}),
}

DOUBLE = SINGLE | {
    "leaky_relu": ("Add", ("Max", X, 0.0), ("Mul", ALPHA, ("Min", X, 0.0))),
    "elu": _below_zero(ALPHA),
    "selu": ("Mul", _below_zero(SELU_ALPHA), SELU_SCALE),
    "silu": ("Div", X, ("Add", ("Exp", ("Neg", X)), 1.0)),  # ONNX Runtime 1.20 to 1.24 replaces the other by its own
    "softplus": ("Div", _log1pexp(("Mul", X, ALPHA)), ALPHA),
    "mish": ("Mul", X, ("Tanh", _log1pexp(X))),
}

# (x - mean) / sqrt(variance + epsilon)
_CENTERED = ("Sub", X, ("ReduceMean", X))
_SQUARES = ("Mul", _CENTERED, _CENTERED), ("Pow", _CENTERED, 2.0)
_DEVIATIONS = [("Sqrt", ("Add", ("ReduceMean", square), EPSILON)) for square in _SQUARES]
NORM = ("Div", _CENTERED, _DEVIATIONS[0])

# What other programs write, beside the tables above.
LOOSE = {  # a bound for a number: PyTorch's softplus is x itself above 20, where it differs by less than rounding does
    "threshold": lambda number: number >= 20,
}
OTHERS: list[tuple[str, Formula]] = [
    *(("gelu", formula) for orders in _GELUS for formula in orders),
    *(("gelu_tanh", formula) for orders in _GELUS_TANH for formula in orders),
    ("gelu", ("Mul", ("Mul", X, 0.5), ("Erfc", ("Mul", ("Neg", X), sqrt(0.5))))),
    ("gelu", ("Gelu", X, {"approximate": "none"})),
    ("gelu_tanh", ("Gelu", X, {"approximate": "tanh"})),
    ("mish", ("Mish", X)),
    ("relu", ("Max", X, 0.0)),
    ("softplus", ("Where", ("Greater", X, "threshold"), X, _SOFTPLUS)),
    ("softplus", ("Where", ("Greater", ("Mul", X, ALPHA), "threshold"), X, ("Div", _STEEP, ALPHA))),
    ("softplus", _SOFTPLUS),
    ("hard_sigmoid", ("Div", ("Clip", ("Add", X, 3.0), 0.0, 6.0), 6.0)),
    ("hard_sigmoid", ("Mul", ("Clip", ("Add", X, 3.0), 0.0, 6.0), 1 / 6)),
]
_INVERSES = [
    inverse
    for deviation in _DEVIATIONS
    for inverse in (("Mul", ("Reciprocal", deviation), GAMMA), ("Div", GAMMA, deviation))
]
NORMS: list[Formula] = [
    NORM,
    ("Div", _CENTERED, _DEVIATIONS[1]),
    *(  # TensorFlow's: x * factor + (beta - mean * factor)
        ("Add", ("Mul", X, inverse), ("Add", ("Mul", ("Neg", ("ReduceMean", X)), inverse), BETA))
        for inverse in _INVERSES
    ),
]
BOTH: Formula = ("Concat", ("Sub", 1.0, X), X, {"axis": 1})  # the probabilities of two classes, as in skl2onnx
