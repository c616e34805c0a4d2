"""Networks as C: one source file in C99 and its header, which predict one row."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnfast._validation import as_array, check_holds, choose, describe
from nnfast._version import __version__
from nnfast.files.c_functions import BLOCK, source
from nnfast.files.writing import replacing
from nnfast.layers import Compiler, Layer, walk

if TYPE_CHECKING:
    from nnfast._network import Network

WIDTH = 110  # characters in a line of numbers
RESERVED = frozenset(
    "auto bool break case catch char class const continue default delete do double else enum extern false float for "
    "friend goto if inline int long namespace new operator private protected public register restrict return short "
    "signed sizeof static struct switch template this throw true try typedef union unsigned using virtual void "
    "volatile while".split()
)
REALS = {"float32": "float", "float64": "double"}


class CExport(NamedTuple):
    """What `nnfast.Sequential.to_c` has written.

    Attributes
    ----------
    source, header : str
        The paths of the two files.
    predict : str
        The name of the C function.
    constant_bytes : int
        The size of the weights and other constants.
    stack_bytes : int
        The size of the arrays that the function has on the stack.
    """

    source: str
    header: str
    predict: str
    constant_bytes: int
    stack_bytes: int


class Operation(NamedTuple):
    """A statement of the function that predicts.

    Attributes
    ----------
    comment : str
        What stands above it; empty for one that belongs to that before.
    call : str
        The statement, with ``{x}`` for its input, ``{y}`` for its output and ``{other}`` for a second input.
    function : str
        The function that it calls.
    reads : tuple of int
        The numbers of the values that it reads: 0 is the input of the network.
    writes : int
        The number of the value that it computes.
    size : int
        How many numbers that has.
    in_place : bool
        Whether it changes its (first) input: there is no ``{x}`` then.
    """

    comment: str
    call: str
    function: str
    reads: tuple[int, ...]
    writes: int
    size: int
    in_place: bool = True


class Constant(NamedTuple):
    """A constant array of the C file."""

    name: str
    comment: str
    values: np.ndarray


class Plan:
    """The operations of a network, in order, and their constants.

    Parameters
    ----------
    dtype : dtype
        Of the constants.
    arrays : mapping
        The parameters and running statistics by path.
    """

    def __init__(self, dtype: np.dtype, arrays: dict[str, np.ndarray]) -> None:
        self.dtype = dtype
        self.arrays = arrays
        self.operations: list[Operation] = []
        self.constants: list[Constant] = []
        self.values = [0]  # the number of the value that each stage computes, the input of the network first
        self._title = ""

    @property
    def value(self) -> int:
        """The number of the value that was computed last."""
        return self.operations[-1].writes if self.operations else 0

    def begin(self, title: str) -> None:
        """Begin a layer: its title stands above the next operation."""
        self._title = title

    def add(self, function: str, arguments: str, size: int, *, in_place: bool = True, other: int | None = None) -> None:
        """Append an operation on the value computed last."""
        reads = (self.values[-1],) if other is None else (self.values[-1], other)
        writes = self.value + 1
        call = f"{function}({arguments});"
        self.operations.append(Operation(self._title, call, function, reads, writes, size, in_place))
        self.values[-1] = writes
        self._title = ""

    def constant(self, name: str, comment: str, values: np.ndarray) -> str:
        """Append a constant and return its name."""
        with np.errstate(over="ignore"):
            rounded = np.ascontiguousarray(values, self.dtype)
        self.constants.append(Constant(name, comment, rounded))
        return name

    def number(self, path: str, value: float) -> str:
        """Return a hyperparameter of a layer as a constant in C."""
        check_holds(f"layers[{path}]", value, self.dtype)
        return _literals(np.array([value], self.dtype))[0]


def export(network: Network, path: str | os.PathLike[str], prefix: str | None, dtype: Any) -> CExport:
    """Write a network as C, as documented in `nnfast.Sequential.to_c`."""
    base = _base(path)
    name = _checked_prefix(prefix, base)
    real = network.dtype if dtype is None else np.dtype(choose("dtype", _name_of(dtype), tuple(REALS)))
    plan = _plan(network, real)
    paths = f"{base}.c", f"{base}.h"
    text, stack = _source(network, plan, name, os.path.basename(paths[1]))
    header = _header(network, name, REALS[real.name], stack)
    for file_name, content in zip(paths, (text, header), strict=True):
        with replacing(file_name) as file:
            file.write(content.encode("ascii"))
    return CExport(*paths, f"{name}_predict", sum(constant.values.nbytes for constant in plan.constants), stack)


# ---- arguments


def _base(path: str | os.PathLike[str]) -> str:
    """Return the path of both files without their endings."""
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise TypeError(f"path must be a path such as 'model.c', got {describe(path)}") from None
    base, ending = os.path.splitext(text)
    return base if ending in (".c", ".h") else text


def _checked_prefix(prefix: Any, base: str) -> str:
    """Return the prefix of all public names in C: by default the name of the file, as far as C allows it."""
    if prefix is None:
        name = re.sub(r"[^A-Za-z0-9_]", "_", os.path.basename(base)).lstrip("_")
        name = name if name[:1].isalpha() else f"net_{name}".rstrip("_")
        return name
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a name in C such as 'model', got {describe(prefix)}")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", prefix) or prefix in RESERVED:
        raise ValueError(
            f"prefix must be a name in C, a letter and then letters, digits and underscores, got {prefix!r}"
        )
    return str(prefix)


def _name_of(dtype: Any) -> Any:
    try:
        return dtype if isinstance(dtype, str) else np.dtype(dtype).name
    except TypeError:
        return dtype  # `choose` says what is wrong


def _snapshot(network: Network) -> dict[str, np.ndarray]:
    """Return copies of all arrays by path, as they are after one of the steps of training."""
    program = network.built
    with network.guard.whole:
        program.settle()
        arrays = {
            path: views[path].copy() for views in (network.params, network.statistics) for path in views.paths
        }
    for path, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"the array {path} must be finite to be written as C, but has NaN or infinite numbers")
    return arrays


# ---- the operations


def _plan(network: Network, dtype: np.dtype) -> Plan:
    arrays = _snapshot(network)
    shape = network.built_shape
    compiler = Compiler(shape)
    compiler.add_layers(network.layers)
    layers = dict(walk(network.layers))
    plan = Plan(dtype, arrays)
    for stage in compiler.stages:
        plan.values.append(plan.values[-1])
        sizes = prod(stage["input_shape"]), prod(stage["output_shape"])
        plan.begin(_title(stage["path"], layers[stage["path"]], *sizes))
        KINDS[stage["kind"]](plan, stage, sizes[1])
    if not plan.operations:
        plan.begin("The output is the input.")
        plan.add("copy", "{x}, {y}, " + str(prod(shape)), prod(shape), in_place=False)
    for constant in plan.constants:
        if not np.isfinite(constant.values).all():
            raise ValueError(f"{constant.name} must be finite in C, but its numbers are too large for {dtype}")
    return plan


def _title(path: str, layer: Layer, inputs: int, outputs: int) -> str:
    name = type(layer).__name__ + (f", {layer.activation}" if layer.activation != "identity" else "")
    sizes = f"{inputs} -> {outputs}" if inputs != outputs else f"{outputs}"
    return f"Layer {path}: {name}, {sizes}"


def _weights(W: np.ndarray) -> np.ndarray:
    """Return weights in the order of the C function `dense`."""
    whole = W.shape[1] // BLOCK * BLOCK
    blocks = [W[:, j : j + BLOCK].ravel() for j in range(0, whole, BLOCK)]
    return np.concatenate([*blocks, W[:, whole:].T.ravel()])


def _dense(plan: Plan, stage: dict[str, Any], n: int) -> None:
    path, inputs = stage["path"], prod(stage["input_shape"])
    names = {array.path.rpartition(".")[2]: array.name for array in stage["arrays"]}
    W, b = plan.arrays[f"{path}.W"], plan.arrays.get(f"{path}.b", np.zeros(n, plan.dtype))
    shape = f"layer {path}: {inputs} inputs, {n} outputs"
    weights = plan.constant(names["W"], f"Weights of {shape}.", _weights(W))
    biases = plan.constant(
        names.get("b", f"b{names['W'][1:]}"), f"Biases of layer {path}." if "b" in names else "No biases.", b
    )
    plan.add("dense", f"{weights}, {biases}, {inputs}, {n}, {{x}}, {{y}}", n, in_place=False)
    _activation(plan, stage, n)


def _activation(plan: Plan, stage: dict[str, Any], n: int) -> None:
    function, alpha = stage["function"], stage["alpha"]
    if function == "identity":
        return
    parameter = f", {plan.number(stage['path'], alpha)}" if function in ("leaky_relu", "elu", "softplus") else ""
    plan.add(f"apply_{function}", f"{{y}}, {n}{parameter}", n)


def _rescaling(plan: Plan, stage: dict[str, Any], n: int) -> None:
    scale, offset = (plan.number(stage["path"], stage["numbers"][name]) for name in ("scale", "offset"))
    plan.add("rescale", f"{scale}, {offset}, {n}, {{y}}", n)


def _nothing(plan: Plan, stage: dict[str, Any], n: int) -> None:
    """Dropout and noise, outside of training."""


def _affine(plan: Plan, stage: dict[str, Any]) -> dict[str, str]:
    """Append gamma and beta, if the layer has them, and return their names in C by role."""
    names = {}
    for array in stage["arrays"]:
        role = array.path.rpartition(".")[2]
        names[role] = plan.constant(array.name, f"{role} of layer {stage['path']}.", plan.arrays[array.path])
    return names


def _scale(plan: Plan, stage: dict[str, Any], n: int) -> None:
    names = _affine(plan, stage)
    plan.add("multiply_add" if "beta" in names else "multiply", f"{', '.join(names.values())}, {n}, {{y}}", n)


def _layer_norm(plan: Plan, stage: dict[str, Any], n: int) -> None:
    plan.add("normalize", f"{{y}}, {n}, {plan.number(stage['path'], stage['numbers']['epsilon'])}", n)
    names = _affine(plan, stage)
    if names:
        plan.add("multiply_add", f"{', '.join(names.values())}, {n}, {{y}}", n)


def _batch_norm(plan: Plan, stage: dict[str, Any], n: int) -> None:
    path = stage["path"]
    mean, variance = (plan.arrays[f"{path}.{role}"].astype(np.float64) for role in ("mean", "variance"))
    factor = plan.arrays.get(f"{path}.gamma", np.ones(n)) / np.sqrt(variance + stage["numbers"]["epsilon"])
    beta = plan.arrays.get(f"{path}.beta", np.zeros(n))
    number = stage["statistics"][0].name.removeprefix("mean")
    names = (
        plan.constant(f"mean{number}", f"Running mean of layer {path}.", mean),
        plan.constant(f"factor{number}", f"gamma / sqrt(variance + epsilon) of layer {path}.", factor),
        plan.constant(f"beta{number}", f"beta of layer {path}.", beta),
    )
    plan.add("standardize", f"{', '.join(names)}, {n}, {{y}}", n)


def _add(plan: Plan, stage: dict[str, Any], n: int) -> None:
    plan.add("add", f"{{other}}, {n}, {{y}}", n, other=plan.values[stage["other"] + 1])


# By kind of stage, as in nnfast.engine.program.STAGES.
KINDS: dict[str, Callable[[Plan, dict[str, Any], int], None]] = {
    "dense": _dense,
    "activation": _activation,
    "rescaling": _rescaling,
    "dropout": _nothing,
    "gaussian_noise": _nothing,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "scale": _scale,
    "add": _add,
}


# ---- where values are


def _places(operations: Sequence[Operation]) -> tuple[dict[int, str], dict[str, int]]:
    """Return the C variable that holds each value, and the sizes of those variables that are arrays on the stack.

    An operation works in place if its input is not needed any more. The last value is in ``y``.
    """
    last = operations[-1].writes
    needed = {value: i for i, operation in enumerate(operations) for value in operation.reads}  # by which one last
    needed[last] = len(operations)

    def reuses(i: int) -> bool:
        changed, *others = operations[i].reads
        return operations[i].in_place and changed != 0 and needed[changed] == i and changed not in others

    of_output = {last}  # values that are computed in y
    for i in reversed(range(len(operations))):
        if operations[i].writes in of_output and reuses(i):
            of_output.add(operations[i].reads[0])
    places, arrays = {0: "x"}, dict[str, int]()
    for i, operation in enumerate(operations):
        if operation.writes in of_output:
            place = "y"
        elif reuses(i):
            place = places[operation.reads[0]]
        else:
            taken = {places[value] for value in places if needed[value] >= i}
            place = next(name for k in range(1, len(operations) + 1) if (name := f"h{k}") not in taken)
            arrays[place] = max(arrays.get(place, 0), operation.size)
        places[operation.writes] = place
    return places, arrays


# ---- the text


class _Body(NamedTuple):
    """The statements of the function that predicts, and the functions that they call."""

    text: str
    functions: set[str]


def _body(operations: Sequence[Operation], places: dict[int, str]) -> _Body:
    lines, functions = [], set[str]()
    for operation in operations:
        x, y = places[operation.reads[0]], places[operation.writes]
        if operation.comment:
            lines.append(f"\n    /* {operation.comment} */\n")
        if operation.in_place and x != y:
            lines.append(f"    copy({x}, {y}, {operation.size});\n")
            functions.add("copy")
        other = places[operation.reads[-1]]
        lines.append(f"    {operation.call.format(x=x, y=y, other=other)}\n")
        functions.add(operation.function)
    return _Body("".join(lines), functions)


def _header(network: Network, name: str, real: str, stack: int) -> str:
    macro = name.upper()
    inputs, outputs = network.built_shape, network.output_shape
    return f"""\
/* A neural network, written by nnfast {__version__}. */
#ifndef {macro}_H
#define {macro}_H

#define {macro}_INPUTS {prod(inputs)} /* numbers in a sample{_of_shape(inputs)} */
#define {macro}_OUTPUTS {prod(outputs)} /* numbers in an output{_of_shape(outputs)} */

#ifdef __cplusplus
extern "C" {{
#endif

/* Compute the output y, of {macro}_OUTPUTS numbers, for the sample x, of {macro}_INPUTS numbers, which must not overlap.
 *
 * Nothing is kept between calls, so several threads may call the function at the same time. It allocates no memory: its
 * arrays take {stack} bytes of the stack, and its other variables less than 1000. */
void {name}_predict(const {real} *x, {real} *y);

#ifdef __cplusplus
}}
#endif

#endif
"""


def _of_shape(shape: tuple[int, ...]) -> str:
    return f", of shape ({', '.join(map(str, shape))}), in C order" if len(shape) > 1 else ""


def _source(network: Network, plan: Plan, name: str, header: str) -> tuple[str, int]:
    """Return the text of the C file, and how many bytes its arrays take on the stack."""
    real = REALS[plan.dtype.name]
    places, arrays = _places(plan.operations)
    body = _body(plan.operations, places)
    converted = f", rounded from {network.dtype}" if plan.dtype != network.dtype else ""
    declared = "".join(f"    {real} {array}[{size}];\n" for array, size in arrays.items())
    text = f"""\
/* A neural network, written by nnfast {__version__}. Its parameters are {plan.dtype}{converted}.
 *
 * C99 with <math.h> alone; numbers must be those of IEEE 754. Compile it with -O3, or -O2 for less code. */
#include "{header}"

#include <math.h>

/* ---- functions */

{source(body.functions, real)}
/* ---- constants */
{"".join(_definition(constant, real) for constant in plan.constants)}
/* ---- the network */

void {name}_predict(const {real} *x, {real} *y)
{{
{declared}{body.text if declared else body.text.removeprefix(chr(10))}}}
"""
    return text, sum(arrays.values()) * plan.dtype.itemsize


def _definition(constant: Constant, real: str) -> str:
    values = constant.values
    start = f"\n/* {constant.comment} */\nstatic const {real} {constant.name}[{values.size}] = {{"
    if not values.any():
        return f"{start}{_literals(values[:1])[0]}}};\n"
    return f"{start}\n{_wrapped(_literals(values))}\n}};\n"


def _literals(values: np.ndarray) -> list[str]:
    """Return numbers as C constants: the shortest decimal text that means exactly this number."""
    suffix = "f" if values.dtype == np.float32 else ""
    texts = values.astype("U32").tolist()
    return [f"{text if '.' in text or 'e' in text else text + '.0'}{suffix}" for text in texts]


def _wrapped(texts: list[str]) -> str:
    """Return constants separated by commas, in lines of at most `WIDTH` characters."""
    lines, line = [], "   "
    for text in texts:
        if len(line) + len(text) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {text},"
    return "\n".join([*lines, line])
