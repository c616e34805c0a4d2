"""What PyTorch's modules and functions are, in operators of ONNX where it has them, else in parts of a chain.

The functions in the tables have the parameters of those in PyTorch, so that arguments bind to them in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from nnfast.activations import Activation, Softplus, resolve_activation
from nnfast.files.onnx.recognizing import BATCH, SHAPE, UNBIASED
from nnfast.files.onnx.schema import Tensor
from nnfast.files.pytorch import modules

PART = "part"  # an operator: a part of a chain, ready
LEAST_THRESHOLD = 20  # of softplus: above it, PyTorch's linear branch differs by less than single precision shows


class Call(NamedTuple):
    """A node: an operator, what it is computed from, and its attributes.

    Inputs and values may be tensors of PyTorch and numbers: they are constant.
    """

    operator: str
    inputs: tuple[Any, ...]
    attributes: dict[str, Any]


class Unsupported(Exception):
    """A call that nnfast has no layer for; the message says why."""


def operator(name: str, *inputs: Any, **attributes: Any) -> Call:
    """Return a node with an operator of ONNX."""
    return Call(name, inputs, attributes)


def part(kind: str, x: Any, **values: Any) -> Call:
    """Return a node that is a part of a chain."""
    return Call(PART, (x,), {"kind": kind, "values": values})


def activation(function: str | Activation, x: Any) -> Call:
    """Return an activation."""
    return part("activation", x, function=resolve_activation(function))


# ---- activations


def _leaky_relu(x: Any, negative_slope: float = 0.01, inplace: bool = False) -> Call:
    return operator("LeakyRelu", x, alpha=float(negative_slope))


def _elu(x: Any, alpha: float = 1.0, inplace: bool = False) -> Call:
    return operator("Elu", x, alpha=float(alpha))


def _gelu(x: Any, approximate: str = "none") -> Call:
    return operator("Gelu", x, approximate=approximate)


def _softplus(x: Any, beta: float = 1.0, threshold: float = LEAST_THRESHOLD) -> Call:
    if threshold < LEAST_THRESHOLD:
        raise Unsupported(f"softplus needs a threshold of {LEAST_THRESHOLD} at least, got {threshold}")
    return operator("Softplus", x) if beta == 1 else activation(Softplus(beta), x)


def _over_features(name: str) -> Callable[..., Call]:
    def call(x: Any, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Call:
        if dim not in (1, -1) or dtype is not None:
            raise Unsupported(f"give it dim=1, the axis of the features, and no dtype; got dim={dim}, dtype={dtype}")
        return operator(name, x, axis=dim)

    return call


def _simple(name: str) -> Callable[..., Call]:
    return lambda x, inplace=False: operator(name, x)


def _function(name: str) -> Callable[..., Call]:
    return lambda x, inplace=False: activation(name, x)


# ---- layers


def _linear(x: Any, weight: Any, bias: Any = None) -> Call:
    return operator("Gemm", x, weight, *(() if bias is None else (bias,)), transB=1)


def _layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Call:
    if len(normalized_shape) != 1:
        raise Unsupported(f"only the last axis can be normalized, got normalized_shape={tuple(normalized_shape)}")
    values = {SHAPE: tuple(normalized_shape), "epsilon": eps, "gamma": weight, "beta": bias}
    return part("layer_norm", x, **values, **{UNBIASED: weight is not None and bias is None})


def _batch_norm(m: Any, x: Any) -> Call:
    if m.running_mean is None or m.momentum is None:
        raise Unsupported("it needs track_running_stats=True and a momentum")
    return part(
        "batch_norm", x, shape=(m.num_features,), epsilon=m.eps, momentum=float(m.momentum), gamma=m.weight,
        beta=m.bias, mean=m.running_mean, variance=m.running_var,
        trainable=not isinstance(m, modules.FrozenBatchNorm1d),
    )  # fmt: skip


def _dropout(x: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Call:
    return part("dropout", x, rate=float(p)) if p and training else operator("Identity", x)


def _flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Call:
    if (start_dim, end_dim) != (1, -1):
        raise Unsupported(f"only start_dim=1 and end_dim=-1 are supported, got {start_dim} and {end_dim}")
    return part("flatten", x, axis=1)


def _unflatten(x: Any, dim: int, sizes: Any) -> Call:
    if dim != 1 or not all(isinstance(size, int) for size in sizes):
        raise Unsupported(f"only dim=1 and integers are supported, got {dim} and {sizes}")
    return part("reshape", x, sizes=[BATCH, *sizes], zeros=0)


def _reshape(x: Any, *shape: Any) -> Call:
    sizes = [*shape[0]] if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else [*shape]
    if not all(size is BATCH or type(size) is int for size in sizes):
        raise Unsupported("its sizes must be integers, but for that of the batch")
    return part("reshape", x, sizes=sizes, zeros=1)


def _squeeze(x: Any, dim: int | None = None) -> Call:
    return part("squeeze", x, axes=None if dim is None else [dim])


# ---- arithmetic


def _sum(name: str) -> Callable[..., Call]:
    def call(x: Any, y: Any, *, alpha: float = 1) -> Call:
        if alpha != 1:
            raise Unsupported(f"only alpha=1 is supported, got {alpha}")
        return operator(name, x, y)

    return call


def _div(x: Any, y: Any, *, rounding_mode: str | None = None) -> Call:
    if rounding_mode is not None:
        raise Unsupported(f"rounding_mode={rounding_mode!r}")
    return operator("Div", x, y)


def _clip(x: Any, min: Any = None, max: Any = None) -> Call:
    if max is None and min is not None:
        return operator("Max", x, min)
    return operator("Clip", x, *(bound for bound in (min, max) if bound is not None))


def _to(x: Any, dtype: Any = None) -> Call:
    codes = {"torch.float32": Tensor.FLOAT, "torch.float64": Tensor.DOUBLE}
    if str(dtype) not in codes:
        raise Unsupported(f"only casts to torch.float32 and torch.float64 are supported, got {dtype}")
    return operator("Cast", x, to=codes[str(dtype)])


def _pow(x: Any, exponent: Any) -> Call:
    return operator("Pow", x, exponent)


SIMPLE = {  # functions of one tensor, and operators
    "relu": "Relu",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "selu": "Selu",
    "exp": "Exp",
    "log": "Log",
    "neg": "Neg",
    "abs": "Abs",
    "sqrt": "Sqrt",
    "erf": "Erf",
    "erfc": "Erfc",
    "reciprocal": "Reciprocal",
    "contiguous": "Identity",
    "clone": "Identity",
}
FUNCTIONS: dict[str, Callable[..., Call]] = {
    **{name: _simple(onnx) for name, onnx in SIMPLE.items()},
    "silu": _function("silu"),
    "mish": _function("mish"),
    "hardsigmoid": _function("hard_sigmoid"),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "gelu": _gelu,
    "softplus": _softplus,
    "softmax": _over_features("Softmax"),
    "log_softmax": _over_features("LogSoftmax"),
    "linear": _linear,
    "layer_norm": _layer_norm,
    "dropout": _dropout,
    "flatten": _flatten,
    "unflatten": _unflatten,
    "view": _reshape,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "matmul": lambda x, y: operator("MatMul", x, y),
    "mm": lambda x, y: operator("MatMul", x, y),
    "addmm": lambda bias, x, weight: operator("Gemm", x, weight, bias),
    "add": _sum("Add"),
    "sub": _sum("Sub"),
    "mul": lambda x, y: operator("Mul", x, y),
    "div": _div,
    "truediv": _div,
    "true_divide": _div,
    "pow": _pow,
    "square": lambda x: operator("Mul", x, x),
    "relu6": lambda x, inplace=False: operator("Clip", x, 0.0, 6.0),
    "clamp": _clip,
    "gt": lambda x, y: operator("Greater", x, y),
    "maximum": lambda x, y: operator("Max", x, y),
    "float": lambda x: operator("Cast", x, to=Tensor.FLOAT),
    "double": lambda x: operator("Cast", x, to=Tensor.DOUBLE),
    "to": _to,
}
MODULES: dict[type[nn.Module], Callable[[Any, Any], Call]] = {
    nn.Linear: lambda m, x: _linear(x, m.weight, m.bias),
    nn.BatchNorm1d: _batch_norm,
    nn.LayerNorm: lambda m, x: _layer_norm(x, m.normalized_shape, m.weight, m.bias, m.eps),
    nn.Dropout: lambda m, x: _dropout(x, m.p),
    nn.Flatten: lambda m, x: _flatten(x, m.start_dim, m.end_dim),
    nn.Unflatten: lambda m, x: _unflatten(x, m.dim, m.unflattened_size),
    nn.Identity: lambda m, x: operator("Identity", x),
    nn.ReLU: lambda m, x: operator("Relu", x),
    nn.Tanh: lambda m, x: operator("Tanh", x),
    nn.Sigmoid: lambda m, x: operator("Sigmoid", x),
    nn.LeakyReLU: lambda m, x: _leaky_relu(x, m.negative_slope),
    nn.ELU: lambda m, x: _elu(x, m.alpha),
    nn.SELU: lambda m, x: operator("Selu", x),
    nn.GELU: lambda m, x: _gelu(x, m.approximate),
    nn.SiLU: lambda m, x: activation("silu", x),
    nn.Softplus: lambda m, x: _softplus(x, m.beta, m.threshold),
    nn.Mish: lambda m, x: activation("mish", x),
    nn.Hardsigmoid: lambda m, x: activation("hard_sigmoid", x),
    nn.ReLU6: lambda m, x: operator("Clip", x, 0.0, 6.0),
    nn.Softmax: lambda m, x: FUNCTIONS["softmax"](x, m.dim),
    nn.LogSoftmax: lambda m, x: FUNCTIONS["log_softmax"](x, m.dim),
    modules.Scale: lambda m, x: part("scale", x, gamma=m.weight, beta=m.bias),
    modules.Rescaling: lambda m, x: part("rescaling", x, scale=m.scale, offset=m.offset),
    modules.GaussianNoise: lambda m, x: part("gaussian_noise", x, stddev=m.stddev),
    modules.Step: lambda m, x: activation("step", x),
}
SHOWN = sorted(kind.__name__ for kind in MODULES if kind.__module__.startswith("torch"))
