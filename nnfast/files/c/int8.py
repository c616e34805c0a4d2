"""Quantization: dense layers in C with weights and inputs of 8 bits.

For each dense layer, the calibration data give the range of its inputs, ``low`` to ``high``, which includes zero. An
input ``x`` becomes ``q = floor((x - start) / step) - 128``, clipped to -128 ... 127, with ``step = (high - low) / 255``
and a `start` for which zero is in the middle of the step of an integer ``zero``. The weights of an output ``j`` become
``w = round(W / scale_j)``, from -127 to 127, with ``scale_j = max(abs(W_j)) / 127``. Then::

    y_j = (sum_i (q_i - zero) w_ij + b_j / factor_j) factor_j,  factor_j = step scale_j

The sum is one of integers of 32 bits: ``-zero * sum_i w_ij`` and the rounded bias are one constant. The product with
``factor_j`` is a float; activations, normalizations and sums of residual layers are computed in float. A fused
multiply-add cannot change the rounding of any expression, so a network of dense layers and relu gives the same bits
everywhere. The formulas are those of Jacob et al., "Quantization and training of neural networks for efficient
integer-arithmetic-only inference" (2018), whose layers pass integers on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnfast import functions
from nnfast._threads import allowed_threads
from nnfast.activations import NAMES
from nnfast.files.c.plan import Constant, Operation, Plan
from nnfast.kernels.packing import KINDS as COLUMNS
from nnfast.metrics.answers import Answers

if TYPE_CHECKING:
    from nnfast._network import Network

MAX_INPUTS = 2**15  # of a layer: no sum of so many products and a constant leaves 32 bits; wider layers stay float
MAX_BIAS = 2.0**30
SMALLEST_STEP, LARGEST_RANGE = 1e-30, 1e30  # of inputs: float32 holds what is computed from them


class Difference(NamedTuple):
    """How far the outputs of an int8 network are from those of the network that it was made of.

    Attributes
    ----------
    largest, mean : float
        The largest and the mean absolute difference of an output, over the calibration data.
    agreement : float or None
        The share of samples with the same classes as in `Sequential.predict_class`; None if there are no classes.
    """

    largest: float
    mean: float
    agreement: float | None


class Quantized:
    """A plan with int8 dense layers.

    Parameters
    ----------
    plan : Plan
        In float32.
    rows : ndarray
        The calibration data.

    Raises
    ------
    ValueError
        If there is no layer to quantize.

    Attributes
    ----------
    operations, constants, dtype
        As those of a `Plan`.
    widest : int
        The largest number of inputs of a dense layer.
    rows, outputs : ndarray
        The calibration data, and what the C code computes for them.
    """

    def __init__(self, plan: Plan, rows: np.ndarray) -> None:
        self.dtype = plan.dtype
        self.rows = rows
        self.operations: list[Operation] = []
        self.constants: dict[str, Constant] = {}
        self.widest = 0
        values = {0: rows.astype(np.float32)}
        for operation in plan.operations:
            inputs = [values[value] for value in operation.reads]
            given = [plan.constants[name] for name in operation.constants]
            if operation.function == "dense" and operation.inputs <= MAX_INPUTS:
                operation, result = self._dense(operation, inputs[0], *given)
            else:
                self.constants |= {constant.name: constant for constant in given}
                result = _computed(operation, inputs, [constant.values for constant in given])
            self.operations.append(operation)
            values[operation.writes] = result.astype(np.float32)
        if not self.widest:
            raise ValueError(
                f"dtype='int8' needs a Dense layer with at most {MAX_INPUTS} inputs, and the network has none: "
                "the others stay float"
            )
        self.outputs = values[self.operations[-1].writes]

    def _dense(self, operation: Operation, x: np.ndarray, W: Constant, b: Constant) -> tuple[Operation, np.ndarray]:
        """Quantize a dense layer; return its operation, and what it computes for `x`."""
        low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
        if not high - low <= LARGEST_RANGE:
            raise ValueError(f"the calibration data have too large a range before {W.name}: scale them to about 1")
        step = np.float32(max((high - low) / 255, SMALLEST_STEP) if high > low else 1.0)
        zero = round(-low / float(step))  # from 0 to 255; in C, 128 is subtracted
        start, inverse = np.float32(-(zero + 0.5) * float(step)), np.float32(1 / float(step))
        scale = np.abs(W.values).max(axis=0).astype(np.float64) / 127
        scale = np.maximum(scale, np.abs(b.values).astype(np.float64) / (float(step) * MAX_BIAS))
        scale[scale == 0] = 1.0
        w = np.rint(W.values / scale).astype(np.int8)
        zeros = (zero - 128) * w.sum(axis=0, dtype=np.int64)
        offset = np.rint(b.values / (float(step) * scale)).astype(np.int64) - zeros
        factor = (float(step) * scale).astype(np.float32)
        number = W.name.removeprefix("W")
        constants = (
            Constant(W.name, f"{W.comment} Those of an output side by side.", w.T, "int8_t"),
            Constant(b.name, f"{b.comment} In steps of the sums, with the zero of the inputs.", offset, "int32_t"),
            Constant(f"factor_{W.name}", f"Steps of the sums of layer {number}.", factor),
        )
        self.constants |= {constant.name: constant for constant in constants}
        self.widest = max(self.widest, operation.inputs)
        q = np.clip((x - start) * inverse, 0, 255).astype(np.int64) - 128
        sums = q.astype(np.float64) @ w.astype(np.float64) + offset  # exact
        quantized = Operation(
            "dense_int8",
            operation.reads,
            operation.writes,
            operation.inputs,
            operation.outputs,
            tuple(constant.name for constant in constants),
            (float(start), float(inverse)),
            in_place=False,
            comment=operation.comment,
        )
        return quantized, sums.astype(np.float32) * factor


def _computed(operation: Operation, inputs: list[np.ndarray], constants: list[np.ndarray]) -> np.ndarray:
    """Return what an operation computes for rows of float32."""
    given = [*inputs, *(constant.astype(np.float32) for constant in constants), *map(np.float32, operation.numbers)]
    result: np.ndarray = COMPUTED[operation.function](*given)
    return result


def _normalized(x: np.ndarray, epsilon: float) -> np.ndarray:
    return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + epsilon)


def _encoded(x: np.ndarray, columns: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Compute what the C function `encode` does."""
    outputs = []
    for v, (kind, size, codes) in zip(x.T, columns.reshape(-1, 3).astype(int).tolist(), strict=True):
        if kind == COLUMNS["flag"]:
            outputs.append(v[:, np.newaxis])
        elif kind == COLUMNS["number"]:
            (limit, inverse, scale), pieces = numbers[:3], numbers[3 : 2 * size + 1].reshape(-1, 2)
            bounded = np.clip(v, -limit, limit)
            outputs.append((bounded / np.sqrt(1 + (bounded * inverse) ** 2))[:, np.newaxis])
            outputs.append(scale * np.clip((v[:, np.newaxis] - pieces[:, 0]) * pieces[:, 1], 0, 1))
            numbers = numbers[2 * size + 1 :]
        else:
            known = (v >= 0) & (v < codes) & (np.floor(v) == v)
            code = np.where(known, v, 0).astype(int)
            rows = np.array([[-1], [1]]) if size == 1 else np.eye(codes)
            if kind == COLUMNS["embedding"]:
                rows, numbers = numbers[: codes * size].reshape(codes, size), numbers[codes * size :]
            outputs.append(known[:, np.newaxis] * rows[code])
    return np.concatenate(outputs, axis=1)


COMPUTED: dict[str, Callable[..., np.ndarray]] = {
    "copy": lambda x: x,
    "dense": lambda x, W, b: x @ W + b,
    "rescale": lambda x, scale, offset: x * scale + offset,
    "multiply": lambda x, gamma: x * gamma,
    "multiply_add": lambda x, gamma, beta: x * gamma + beta,
    "standardize": lambda x, mean, factor, beta: (x - mean) * factor + beta,
    "normalize": _normalized,
    "encode": _encoded,
    "add": lambda x, other: x + other,
    "apply_gelu_tanh": lambda x: functions.gelu(x, "tanh"),
    **{f"apply_{name}": getattr(functions, name) for name in NAMES if name not in ("identity", "gelu_tanh")},
}


def differences(network: Network, quantized: Quantized) -> Difference:
    """Compare the outputs for the calibration data with those of the network."""
    exact = np.empty((len(quantized.rows), network.units), network.dtype)
    network.built.predict(quantized.rows, exact, *allowed_threads())
    error = np.abs(quantized.outputs.astype(np.float64) - exact)
    agreement = None
    if network.output_loss.answers is not None:
        answers = Answers(network.output_loss)
        same = answers.predicted(quantized.outputs) == answers.predicted(exact)
        agreement = float(same.reshape(len(same), -1).all(axis=1).mean())
    return Difference(float(error.max()), float(error.mean()), agreement)
