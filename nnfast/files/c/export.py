"""Networks as C: one source file in C99, and its header."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnfast._validation import choose, describe
from nnfast._version import __version__
from nnfast.files.c.functions import BLOCKS, source
from nnfast.files.c.int8 import Difference, Quantized, differences
from nnfast.files.c.plan import Constant, Operation, Plan, rename_constants, variables
from nnfast.files.writing import check_writable, replacing

if TYPE_CHECKING:
    from nnfast._network import Network
    from nnfast._typing import Samples

WIDTH = 110  # characters in a line of numbers
REALS = {"float32": "float", "float64": "double"}


class CExport(NamedTuple):
    """What `nnfast.Sequential.to_c` has written.

    Attributes
    ----------
    source, header : str
        The paths of the two files.
    function : str
        The name of the C function that predicts.
    constant_bytes : int
        The size of the weights and other constant arrays.
    stack_bytes : int
        The size of the arrays that the function has on the stack.
    difference : Difference or None
        With int8, how far the outputs for the calibration data are from those of the network.
    """

    source: str
    header: str
    function: str
    constant_bytes: int
    stack_bytes: int
    difference: Difference | None


class Code(NamedTuple):
    """A network as C.

    Attributes
    ----------
    constants : str
        The definitions of its constants.
    body : str
        What is between the braces of the function that computes the output ``y`` for the sample ``x``.
    functions : set of str
        Which of `nnfast.files.c.functions.FUNCTIONS` it calls.
    stack : int
        The bytes of its arrays on the stack.
    size : int
        The bytes of its constants.
    """

    constants: str
    body: str
    functions: set[str]
    stack: int
    size: int


def export(
    network: Network,
    path: str | os.PathLike[str],
    prefix: str | None,
    dtype: Any,
    calibration: Samples | None,
) -> CExport:
    """Write a network as C, as documented in `nnfast.Sequential.to_c`."""
    paths = paths_of(path)
    name = checked_prefix(prefix, paths[0])
    chosen = checked_dtype(network.dtype.name if dtype is None else dtype, calibration is not None)
    rows = None if calibration is None else _calibration_rows(network, calibration)
    plan, difference = planned(network, chosen, rows)
    code = code_of(plan)
    text = _source(network, plan, code, name, os.path.basename(paths[1]))
    write_files(paths, text, _header(network, name, REALS[plan.dtype.name], code.stack))
    return CExport(*paths, f"{name}_predict", code.size, code.stack, difference)


def planned(
    network: Network, dtype: str, rows: np.ndarray | None, suffix: str = ""
) -> tuple[Plan | Quantized, Difference | None]:
    """Return a network as a list of calls, with constants whose names end in `suffix`, and what int8 changes."""
    plan: Plan | Quantized = Plan(network, np.dtype("float32" if dtype == "int8" else dtype))
    difference = None
    if rows is not None:
        assert isinstance(plan, Plan)
        plan = quantized = Quantized(plan, rows)
        difference = differences(network, quantized)
    if suffix:
        rename_constants(plan, suffix)
    return plan, difference


def code_of(plan: Plan | Quantized) -> Code:
    """Return the C of a plan."""
    real = REALS[plan.dtype.name]
    places, sizes = variables(plan.operations)
    body, functions = _body(plan, places)
    declared = "".join(f"    {real} {array}[{size}];\n" for array, size in sizes.items())
    stack = sum(sizes.values()) * plan.dtype.itemsize
    if isinstance(plan, Quantized):
        declared += f"    int8_t q[{plan.widest}]; /* the input of a dense layer */\n"
        stack += plan.widest
    constants = "".join(_definition(constant, plan.dtype) for constant in plan.constants.values())
    size = sum(constant.values.size * _item_size(constant, plan) for constant in plan.constants.values())
    return Code(constants, declared + body if declared else body.removeprefix("\n"), functions, stack, size)


def write_files(paths: Sequence[str], *texts: str) -> None:
    """Write files, each atomically, and none of them if one of the paths cannot be written."""
    for file_name in paths:
        check_writable(file_name)
    for file_name, content in zip(paths, texts, strict=True):
        with replacing(file_name) as file:
            file.write(content.encode("utf-8", "surrogateescape"))  # of the name of the file


# ---- arguments


def paths_of(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Return the paths of the source file and of its header, for a path with or without one of their endings."""
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise TypeError(f"path must be a path such as 'model.c', got {describe(path)}") from None
    base, ending = os.path.splitext(text)
    base = base if ending in (".c", ".h") else text
    if re.search(r'^$|["\\\x00-\x1f]', os.path.basename(base)):
        raise ValueError(f"path must end in the name of a file that #include can take, such as 'model.c', got {path!r}")
    return f"{base}.c", f"{base}.h"


def checked_prefix(prefix: Any, path: str) -> str:
    """Return the prefix of all public names in C: by default the name of the source file, as far as C allows it."""
    if prefix is None:
        name = re.sub(r"[^A-Za-z0-9_]", "_", os.path.basename(path).removesuffix(".c")).strip("_")
        return name if name[:1].isalpha() else f"net_{name}".rstrip("_")
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a name in C such as 'model', got {describe(prefix)}")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", prefix):
        raise ValueError(
            f"prefix must be a name in C, a letter and then letters, digits and underscores, got {prefix!r}"
        )
    return str(prefix)


def checked_dtype(dtype: Any, calibrated: bool) -> str:
    """Return the name of a type of numbers; ValueError if there is none, or it does not go with calibration data."""
    chosen = choose("dtype", _name_of(dtype), (*REALS, "int8"))
    if (chosen == "int8") != calibrated:
        raise ValueError(
            "dtype='int8' needs calibration=x: typical samples, from which the range of each layer's inputs is "
            "determined"
            if chosen == "int8"
            else f"calibration is only for dtype='int8', got dtype {chosen!r}"
        )
    return chosen


def _name_of(dtype: Any) -> Any:
    try:
        return dtype if isinstance(dtype, str) else np.dtype(dtype).name
    except TypeError:
        return dtype  # `choose` says what is wrong


def _calibration_rows(network: Network, calibration: Samples) -> np.ndarray:
    try:
        rows = network.rows(calibration)
    except (TypeError, ValueError) as error:
        raise type(error)(f"calibration: {error}") from None
    if not len(rows):
        raise ValueError("calibration must have at least one sample, got none")
    with np.errstate(over="ignore"):
        finite = np.isfinite(rows.astype(np.float32)).all()
    if not finite:
        raise ValueError("calibration must be finite in float32, but has NaN, infinite or too large numbers")
    return rows


# ---- the text


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

/* Compute the output y, of {macro}_OUTPUTS numbers, for the sample x, of {macro}_INPUTS numbers.
 * The two must not overlap.
 *
 * Nothing is kept between calls, so several threads may call the function at the same time. It allocates
 * no memory: its arrays take {stack} bytes of the stack, and its other variables less than 1000. */
void {name}_predict(const {real} *x, {real} *y);

#ifdef __cplusplus
}}
#endif

#endif
"""


def _of_shape(shape: tuple[int, ...]) -> str:
    return f", of shape ({', '.join(map(str, shape))}), in C order" if len(shape) > 1 else ""


def _source(network: Network, plan: Plan | Quantized, code: Code, name: str, header: str) -> str:
    """Return the text of the C file."""
    real = REALS[plan.dtype.name]
    headers = ["<math.h>", *(["<stdint.h>"] if isinstance(plan, Quantized) else [])]
    return f"""\
/* A neural network, written by nnfast {__version__}.
 *
 * {numbers_of(network, plan)}
 * C99 with {" and ".join(headers)} alone; numbers must be those of IEEE 754. Compile it with -O3. */
#include "{header}"

{"".join(f"#include {name}{chr(10)}" for name in headers)}
/* ---- functions */

{source(code.functions, real)}
/* ---- constants */
{code.constants}
/* ---- the network */

void {name}_predict(const {real} *x, {real} *y)
{{
{code.body}}}
"""


def numbers_of(network: Network, plan: Plan | Quantized) -> str:
    """Return a sentence on the types of the numbers."""
    if isinstance(plan, Quantized):
        return "The weights of dense layers, and their inputs, are integers of 8 bits; all other numbers are float."
    rounded = f", rounded from {network.dtype}" if plan.dtype != network.dtype else ""
    return f"Its parameters are {plan.dtype}{rounded}."


def _body(plan: Plan | Quantized, places: dict[int, str]) -> tuple[str, set[str]]:
    """Return the statements of the function that predicts, and the functions that they call."""
    lines, functions = [], set[str]()
    for operation in plan.operations:
        x, y = places[operation.reads[0]], places[operation.writes]
        if operation.comment:
            lines.append(f"\n    /* {operation.comment} */\n")
        if operation.in_place and x != y:
            lines.append(f"    copy({x}, {y}, {operation.outputs});\n")
            functions.add("copy")
        lines.append(f"    {_call(operation, x, y, [places[value] for value in operation.reads[1:]], plan.dtype)};\n")
        functions.add(operation.function)
    return "".join(lines), functions


def _call(operation: Operation, x: str, y: str, others: list[str], dtype: np.dtype) -> str:
    if operation.function == "copy":
        values = [x, y, str(operation.outputs)]
    elif operation.in_place:
        values = [y, str(operation.outputs)]
    else:
        values = [x, str(operation.inputs), y, str(operation.outputs)]
    numbers = literals(np.array(operation.numbers, dtype))
    scratch = ["q"] if operation.function == "dense_int8" else []
    return f"{operation.function}({', '.join([*values, *others, *operation.constants, *numbers, *scratch])})"


def _item_size(constant: Constant, plan: Plan | Quantized) -> int:
    return {"REAL": plan.dtype.itemsize, "int8_t": 1, "int32_t": 4, "int": 4}[constant.type]


def _definition(constant: Constant, dtype: np.dtype) -> str:
    values = constant.values
    if constant.type == "REAL":
        kind, values = REALS[dtype.name], _in_order(values).astype(dtype)
        texts = literals(values)
    else:
        kind, values = constant.type, values.ravel()
        texts = list(map(str, values.tolist()))
    return definition(kind, constant.name, constant.comment, texts if values.any() else texts[:1], values.size)


def definition(kind: str, name: str, comment: str, texts: Sequence[str], size: int) -> str:
    """Return a constant array of `size` numbers: the given ones, and then zeros."""
    start = f"\n/* {comment} */\nstatic const {kind} {name}[{size}] = {{"
    return f"{start}{texts[0]}}};\n" if len(texts) == 1 else f"{start}\n{wrapped(texts)}\n}};\n"


def _in_order(values: np.ndarray) -> np.ndarray:
    """Return a vector; of a matrix of weights, in the order in which the C function `dense` reads them."""
    if values.ndim == 1:
        return values
    blocks, first = [], 0
    for width in BLOCKS:
        while first + width <= values.shape[1]:
            blocks.append(values[:, first : first + width].ravel())
            first += width
    return np.concatenate([*blocks, values[:, first:].T.ravel()])


def literals(values: np.ndarray) -> list[str]:
    """Return numbers as C constants: the shortest decimal text that means exactly this number."""
    suffix = "f" if values.dtype == np.float32 else ""
    texts = values.astype("U32").tolist()
    return [f"{text if '.' in text or 'e' in text else text + '.0'}{suffix}" for text in texts]


def wrapped(texts: Sequence[str]) -> str:
    """Return constants separated by commas, in lines of at most `WIDTH` characters."""
    lines, line = [], "   "
    for text in texts:
        if len(line) + len(text) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {text},"
    return "\n".join([*lines, line])
