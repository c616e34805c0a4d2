"""A network as a list of C function calls, and the variables that hold the values between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnfast._validation import check_holds
from nnfast.files.c.functions import FUNCTIONS
from nnfast.files.state import arrays_of
from nnfast.kernels.packing import KINDS as COLUMNS
from nnfast.layers import Compiler, Layer, walk

if TYPE_CHECKING:
    from nnfast._network import Network


class Constant(NamedTuple):
    """A constant array of the C file; `values` of shape (inputs, outputs) are the weights of a dense layer."""

    name: str
    comment: str
    values: np.ndarray
    type: str = "REAL"


class Operation(NamedTuple):
    """A call of a C function.

    Attributes
    ----------
    function : str
        A key of `nnfast.files.c.functions.FUNCTIONS`.
    reads : tuple of int
        The numbers of the values that it reads; 0 is the input of the network.
    writes : int
        The number of the value that it computes.
    inputs, outputs : int
        How many numbers the first value that it reads has, and how many the one that it computes.
    constants : tuple of str
        The constant arrays that it is given.
    numbers : tuple of float
        The numbers that it is given after them.
    in_place : bool
        Whether it changes the value that it reads. Otherwise it is also given where the output is, and its size.
    comment : str
        The comment above it; empty if it belongs to the same layer as the operation before.
    """

    function: str
    reads: tuple[int, ...]
    writes: int
    inputs: int
    outputs: int
    constants: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()
    in_place: bool = True
    comment: str = ""


class Plan:
    """The operations of a network, in order, and their constants by name.

    Parameters
    ----------
    network : Network
        Built, with finite parameters.
    dtype : dtype
        Of numbers in C.

    Raises
    ------
    RuntimeError
        If the network is not built.
    ValueError
        If a parameter is not finite, or too large for `dtype`.
    """

    def __init__(self, network: Network, dtype: np.dtype) -> None:
        self.dtype = dtype
        self.arrays = _snapshot(network)
        self.operations: list[Operation] = []
        self.constants: dict[str, Constant] = {}
        self.values = [0]  # the input, and the number of the value that each stage computes
        self._title = ""
        compiler = Compiler(network.built_shape)
        compiler.add_layers(network.layers)
        self.others = [stage["other"] + 1 for stage in compiler.stages if stage["kind"] == "add"]
        layers = dict(walk(network.layers))
        for stage in compiler.stages:
            self.values.append(self.values[-1])
            self._title = _title(stage, layers[stage["path"]])
            KINDS[stage["kind"]](self, stage, prod(stage["output_shape"]))
        if not self.operations:
            self._title = "The output is the input."
            self.add("copy", prod(network.built_shape), in_place=False)
        for constant in self.constants.values():
            with np.errstate(over="ignore"):
                if not np.isfinite(constant.values.astype(dtype)).all():
                    raise ValueError(f"{constant.name} has numbers that are too large for {dtype}")

    def add(
        self,
        function: str,
        outputs: int,
        constants: tuple[str, ...] = (),
        numbers: tuple[float, ...] = (),
        *,
        inputs: int = 0,
        in_place: bool = True,
        other: int | None = None,
    ) -> None:
        """Append an operation on the value that was computed last; one that is not in place has `inputs`."""
        reads = (self.values[-1],) if other is None else (self.values[-1], other)
        writes = self.operations[-1].writes + 1 if self.operations else 1
        self.operations.append(
            Operation(function, reads, writes, inputs or outputs, outputs, constants, numbers, in_place, self._title)
        )
        self.values[-1] = writes
        self._title = ""

    def constant(self, name: str, comment: str, values: np.ndarray, kind: str = "REAL") -> str:
        """Add a constant of a C type, and return its name."""
        self.constants[name] = Constant(name, comment, values, kind)
        return name

    def number(self, path: str, value: float) -> float:
        """Return a hyperparameter of a layer, which numbers in C can hold."""
        check_holds(f"layers[{path}]", value, self.dtype)
        return value


def rename_constants(plan: Any, suffix: str) -> None:
    """Add a suffix to the names of the constants of a `Plan`, or of one with int8 layers."""
    renamed = [Constant(each.name + suffix, each.comment, each.values, each.type) for each in plan.constants.values()]
    plan.constants = {each.name: each for each in renamed}
    plan.operations = [
        Operation(
            each.function, each.reads, each.writes, each.inputs, each.outputs,
            tuple(name + suffix for name in each.constants), each.numbers, each.in_place, each.comment,
        )
        for each in plan.operations
    ]  # fmt: skip


def _snapshot(network: Network) -> dict[str, np.ndarray]:
    """Return copies of all arrays by path; while another thread trains, as they are after one of its steps."""
    program = network.built
    with network.guard.whole:
        program.settle()
        arrays = {path: view.copy() for path, view in arrays_of(network).items()}
    for path, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"all parameters must be finite to be written as C, but {path} has NaN or infinite ones")
    return arrays


def _title(stage: dict[str, Any], layer: Layer) -> str:
    name = type(layer).__name__ + (f", {layer.activation}" if layer.activation != "identity" else "")
    inputs, outputs = prod(stage["input_shape"]), prod(stage["output_shape"])
    return f"Layer {stage['path']}: {name}, {inputs} -> {outputs}"


# ---- kinds of stages


def _names(stage: dict[str, Any], kind: str = "arrays") -> dict[str, str]:
    """Return the names of a stage's arrays by role."""
    return {array.path.rpartition(".")[2]: array.name for array in stage[kind]}


def _dense(plan: Plan, stage: dict[str, Any], n: int) -> None:
    path, names = stage["path"], _names(stage)
    W = plan.arrays[f"{path}.W"]
    b = plan.arrays[f"{path}.b"] if "b" in names else np.zeros(n, W.dtype)
    comment = f"Weights of layer {path}: {len(W)} inputs, {n} outputs."
    weights = plan.constant(names["W"], comment, W)
    number = names["W"].removeprefix("W")
    biases = plan.constant(f"b{number}", f"Biases of layer {path}{'' if 'b' in names else ', which has none'}.", b)
    plan.add("dense", n, (weights, biases), inputs=len(W), in_place=False)
    _activation(plan, stage, n)


def _activation(plan: Plan, stage: dict[str, Any], n: int) -> None:
    function = stage["function"]
    if function != "identity":
        name = f"apply_{function}"
        numbers = (plan.number(stage["path"], stage["alpha"]),) if FUNCTIONS[name].parameter else ()
        plan.add(name, n, numbers=numbers)


def _rescaling(plan: Plan, stage: dict[str, Any], n: int) -> None:
    scale, offset = (plan.number(stage["path"], stage["numbers"][name]) for name in ("scale", "offset"))
    plan.add("rescale", n, numbers=(scale, offset))


def _nothing(plan: Plan, stage: dict[str, Any], n: int) -> None:
    """Dropout and noise, outside of training."""


def _scale(plan: Plan, stage: dict[str, Any], n: int) -> None:
    names = _names(stage)
    for role, name in names.items():
        plan.constant(name, f"{role} of layer {stage['path']}.", plan.arrays[f"{stage['path']}.{role}"])
    plan.add("multiply_add" if "beta" in names else "multiply", n, tuple(names.values()))


def _layer_norm(plan: Plan, stage: dict[str, Any], n: int) -> None:
    plan.add("normalize", n, numbers=(plan.number(stage["path"], stage["numbers"]["epsilon"]),))
    if stage["arrays"]:
        _scale(plan, stage, n)


def _batch_norm(plan: Plan, stage: dict[str, Any], n: int) -> None:
    """A factor and an offset: part of the weights and biases of a dense layer before it, if nothing is between."""
    path = stage["path"]
    mean, variance = (plan.arrays[f"{path}.{role}"].astype(np.float64) for role in ("mean", "variance"))
    factor = plan.arrays.get(f"{path}.gamma", np.ones(n)) / np.sqrt(variance + stage["numbers"]["epsilon"])
    beta = plan.arrays.get(f"{path}.beta", np.zeros(n))
    last = plan.operations[-1] if plan.operations else None
    value = plan.values[-1]
    shared = any(plan.values[other] == value for other in plan.others if other < len(plan.values) - 1)
    if last is not None and last.function == "dense" and last.writes == value and not shared:
        W, b = (plan.constants[name] for name in last.constants)
        folded = f"{{}} Those of the BatchNorm that follows, layer {path}, are included."
        plan.constant(W.name, folded.format(W.comment), W.values * factor)
        plan.constant(b.name, folded.format(b.comment), (b.values - mean) * factor + beta)
        return
    number = _names(stage, "statistics")["mean"].removeprefix("mean")
    names = (
        plan.constant(f"mean{number}", f"Running mean of layer {path}.", mean),
        plan.constant(f"factor{number}", f"gamma / sqrt(variance + epsilon) of layer {path}.", factor),
        plan.constant(f"beta{number}", f"beta of layer {path}.", beta),
    )
    plan.add("standardize", n, names)


def _add(plan: Plan, stage: dict[str, Any], n: int) -> None:
    plan.add("add", n, other=plan.values[stage["other"] + 1])


def _encoding(plan: Plan, stage: dict[str, Any], n: int) -> None:
    path, columns = stage["path"], stage["columns"]
    table = plan.arrays.get(f"{path}.E")
    name = path.replace(".", "_")
    kinds = np.array([(COLUMNS[column.kind], column.outputs, getattr(column, "n", 0)) for column in columns])
    numbers = [np.zeros(0, plan.dtype)]
    learned = 0
    for column in columns:
        if column.kind == "number":
            edges = np.array(column.edges, plan.dtype)
            pieces = np.column_stack([edges[:-1], 1 / np.diff(edges)]).ravel()
            numbers += [np.array([column.clip * 2.0**30, 1 / column.clip, column.scale]), pieces]
        elif column.learned:
            assert table is not None
            numbers.append(table[learned : learned + column.learned])
            learned += column.learned
    values = np.concatenate(numbers) if len(numbers) > 1 else np.zeros(1)
    names = (
        plan.constant(f"columns{name}", f"Kind, outputs and codes of the columns of layer {path}.", kinds, "int"),
        plan.constant(f"numbers{name}", f"Numbers of the columns of layer {path}.", values),
    )
    plan.add("encode", n, names, inputs=len(columns), in_place=False)


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
    "encoding": _encoding,
}


# ---- where values are


def variables(operations: Sequence[Operation]) -> tuple[dict[int, str], dict[str, int]]:
    """Return the C variable that holds each value, and the sizes of those variables that are arrays on the stack.

    An operation works in place if the value that it changes is not needed any more. The last value is in ``y``.
    """
    last = operations[-1].writes
    # by value: the last operation that reads it
    needed = {value: i for i, operation in enumerate(operations) for value in operation.reads}
    needed[last] = len(operations)

    def reuses(i: int) -> bool:
        changed, *others = operations[i].reads
        return operations[i].in_place and changed != 0 and needed[changed] == i and changed not in others

    of_output = {last}  # values that are computed in y
    for i in reversed(range(len(operations))):
        if operations[i].writes in of_output and reuses(i):
            of_output.add(operations[i].reads[0])
    places, sizes = {0: "x"}, dict[str, int]()
    for i, operation in enumerate(operations):
        if operation.writes in of_output:
            place = "y"
        elif reuses(i):
            place = places[operation.reads[0]]
        else:
            taken = {places[value] for value in places if needed[value] >= i}
            place = next(name for k in range(1, len(operations) + 1) if (name := f"h{k}") not in taken)
            sizes[place] = max(sizes.get(place, 0), operation.outputs)
        places[operation.writes] = place
    return places, sizes
