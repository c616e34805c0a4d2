"""The state of a network, shared by training, gradients, files and checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._samples import Columns, Rows, Sparse, as_samples, check_finite, check_range, is_sparse, rows_of
from nnfast._threads import allowed_threads
from nnfast._validation import (
    as_array,
    check_bool,
    check_holds,
    check_int,
    check_out,
    check_shape,
    choose,
    describe,
    to_array,
    warn,
)
from nnfast.engine.program import Guard, OneRow, Program, Source
from nnfast.kernels.arrays import all_finite
from nnfast.layers import (
    Activation,
    BatchNorm,
    Compiler,
    Layer,
    check_layers,
    output_activation,
    output_shape,
    walk,
)
from nnfast.losses import Custom, Loss, OutputLoss
from nnfast.metrics import MetricSet

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import ArrayLike

    from nnfast._typing import Samples

BLOCK_ROWS = 4096  # at most, of rows that are copied at a time
BLOCK_NUMBERS = 2**22  # in these rows, unless there is only one


class ArrayViews(Mapping[str, np.ndarray]):
    """The arrays of a network by name (``"W1"``, ``"b1"``, ...) or path (``"0.W"``, ...): views of one vector.

    Assigning copies the values into the view, after checking the shape.
    """

    def __init__(self, views: dict[str, np.ndarray], paths: dict[str, str]) -> None:
        self._views = views
        self._paths = paths

    def __getitem__(self, name: str) -> np.ndarray:
        view = self._views.get(name)
        if view is not None:
            return view[...]  # a new view, whose shape the caller may change
        try:
            return self._views[self.name_of(name)][...]
        except KeyError:
            raise KeyError(f"no array {name!r}: there are {', '.join(self._views)}") from None

    def __setitem__(self, name: str, value: ArrayLike) -> None:
        view = self[name]
        view[...] = as_array(name, value, view.dtype, shape=view.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def name_of(self, path: str) -> str:
        """Return the name of the array with this path; anything else is returned unchanged."""
        return self._paths.get(path, path)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the arrays, in order."""
        return tuple(self._paths)

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name!r}: {view.shape}" for name, view in self._views.items()) + "}"


def checked_dtype(dtype: Any) -> np.dtype:
    """Return the dtype of a network; TypeError or ValueError unless it is float32 or float64."""
    name = dtype
    if not (dtype is None or isinstance(dtype, str)):
        with suppress(Exception):  # `choose` says what is wrong
            name = np.dtype(dtype).name
    return np.dtype(choose("dtype", name, ("float32", "float64")))


def streams(seed: int | Generator | None) -> tuple[Generator, Generator, Generator]:
    """Return independent generators for initial values, for shuffling, and for the seed of noise."""
    from numpy.random import PCG64, Generator, SeedSequence

    entropy: int | list[int] | None
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, (bool, np.timedelta64))
    if isinstance(seed, Generator):
        entropy = [int(word) for word in seed.integers(0, 2**32, 8)]
    elif seed is None or (whole and seed >= 0):
        entropy = None if seed is None else int(seed)
    else:
        error = ValueError if whole else TypeError
        raise error(f"seed must be a non-negative int, a numpy.random.Generator or None, got {describe(seed)}")
    initial, shuffling, noise = (Generator(PCG64(sequence)) for sequence in SeedSequence(entropy).spawn(3))
    return initial, shuffling, noise


Layout = Iterable[tuple[str, str, int, tuple[int, ...]]]


def views(layout: Layout, vector: np.ndarray) -> dict[str, np.ndarray]:
    """Return views of the arrays in a vector by name, according to `layout`."""
    return {name: vector[at : at + prod(shape)].reshape(shape) for name, _, at, shape in layout}


def paths(layout: Layout) -> dict[str, str]:
    """Return a mapping from paths, which files store, to names."""
    return {path: name for name, path, _, _ in layout}


def checked_shape(shape: Any) -> tuple[int, ...]:
    """Return the shape of a sample as a tuple; TypeError or ValueError unless it consists of positive integers."""
    if isinstance(shape, np.ndarray):
        shape = shape.tolist()  # an array without axes becomes a number
    several = isinstance(shape, Sequence) and not isinstance(shape, (str, bytes))
    sizes = tuple(shape) if several else (shape,)
    if not sizes:
        raise ValueError("input_shape must have at least one axis, got ()")
    return tuple(check_int("input_shape", size, 1) for size in sizes)


def shape_of_rows(shape: tuple[int, ...]) -> str:
    """Return the shape of a batch of samples as text for messages."""
    return f"(n, {', '.join(map(str, shape))})"


def predicted(
    program: OneRow, row: ArrayLike, out: np.ndarray | None, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
) -> np.ndarray:
    """Return the outputs for one sample, in `out` unless that is None, of which nothing is known yet."""
    sample = as_array("row", row, program.dtype, shape=input_shape)
    if out is None:
        out = np.empty(output_shape, program.dtype)
    else:
        check_out("out", out, output_shape, program.dtype)
        if not out.flags.carray:
            raise ValueError("out must be C-contiguous and aligned")
    program.predict_one(sample.reshape(-1), np.asarray(out).reshape(-1))
    return out


def _compiled(layers: Sequence[Layer], shape: tuple[int, ...]) -> Compiler:
    """Return a compiler with the stages of a network."""
    compiler = Compiler(shape)
    compiler.add_layers(layers)
    if not compiler.stages:  # all layers reshape
        Activation("identity").add_stages(compiler, "0")
    return compiler


class Network:
    """The state of a network, for the modules that train, differentiate, check and save it.

    `Sequential` holds one. All arguments and errors are as documented there. Without `initialize`, no initial values
    are drawn: the caller sets all arrays.

    Attributes
    ----------
    output_loss : OutputLoss
        The loss, fitted to the output layer.
    output_shape : tuple of int
        The shape of a sample's output.
    units : int
        The number of outputs.
    input_shape : tuple of int or None
        The shape of a sample; None before `build`.
    ends : dict
        As in `Compiler`; empty before `build`.
    program, row_program : Program or None
        The compiled network, None before `build`; and the same object if a sample and its output have one axis each,
        so that `predict_one` need not reshape them, else None.
    guard : Guard
        Held while the network is trained or a consistent state of it is needed.
    initial_stream, shuffle_stream : Generator
        For initial values and for shuffling.
    noise_seed : int
        The seed of dropout and noise.
    stopping : bool
        Whether `Sequential.stop` has been called since `fit` began.
    history : History or None
        The history of the last `fit`.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        input_shape: int | Sequence[int] | None,
        loss: str | Loss | Callable[..., Any] | None,
        dtype: Any,
        seed: int | Generator | None,
        *,
        initialize: bool = True,
    ) -> None:
        self.layers = check_layers(layers)
        shape = None if input_shape is None else checked_shape(input_shape)
        outputs = output_shape(self.layers, shape)
        if outputs is None:
            raise ValueError(
                "a network without a Dense layer outside residual layers has as many outputs as inputs: "
                "give input_shape"
            )
        self.output_shape = outputs
        self.units = prod(outputs)
        self.output_loss = OutputLoss(loss, output_activation(self.layers), self.units)
        self.dtype = checked_dtype(dtype)
        self.initial_stream, self.shuffle_stream, noise = streams(seed)
        self.noise_seed = int(noise.integers(2**63))
        self.input_shape: tuple[int, ...] | None = None
        self.history: Any = None  # a History; its package imports this module
        self.ends: dict[str, tuple[int, tuple[int, ...]]] = {}
        self.program: Program | None = None
        self.row_program: Program | None = None
        self.stopping = False
        self.guard = Guard()
        self._state_before_build: Any = None
        self._params: ArrayViews | None = None  # views of the program's parameters, made when first asked for
        self._flat_layer = next((place for place in walk(self.layers) if place[1].function.flat), None)
        if shape is not None:
            self.build(shape, initialize=initialize)

    # ---- building

    def build(self, sizes: tuple[int, ...], *, initialize: bool = True) -> None:
        """Allocate the parameters and, with `initialize`, set their initial values.

        The caller holds the guard, or the network is not shared yet.
        """
        compiler = _compiled(self.layers, sizes)
        for stage in compiler.stages:
            penalties = (penalty for array in stage["arrays"] for penalty in (array.l1, array.l2))
            for number in (stage.get("alpha", 0.0), *stage.get("numbers", {}).values(), *penalties):
                check_holds(f"layers[{stage['path']}]", number, self.dtype)
        loss = self.output_loss.kernel(self.dtype)
        for number in loss[1] if loss is not None else ():
            check_holds(f"loss {self.output_loss.loss!r}", number, self.dtype)
        program = self._program_of(compiler.stages)
        with self.guard.change:
            before = self.initial_stream.bit_generator.state
            try:
                if initialize:
                    self._initialize(program, compiler)
            except BaseException:
                self.initial_stream.bit_generator.state = before
                raise
            self._state_before_build = before
            self.program, self._params = program, None
            self.row_program = program if len(sizes) == len(self.output_shape) == 1 else None
            self.input_shape = sizes
            self.ends = compiler.ends

    def _program_of(self, stages: list[dict[str, Any]], same: Program | None = None) -> Program:
        """Return a program of these stages, which shares its arrays with `same`."""
        loss, own = self.output_loss.kernel(self.dtype), self.output_loss.own(self.output_shape)
        return Program(self.dtype, stages, loss, self.noise_seed, self.guard, same, own)

    def _initialize(self, program: Program, compiler: Compiler) -> None:
        """Set the initial values of the parameters."""
        arrays = (array for stage in compiler.stages for array in stage["arrays"])
        for array, (_, path, at, shape) in zip(arrays, program.layout, strict=True):
            values = array.initial(self.initial_stream) if callable(array.initial) else array.initial
            view = program.parameters[at : at + prod(shape)].reshape(shape)
            view[...] = as_array(f"{array.argument} of layers[{path.rpartition('.')[0]}]", values, self.dtype)

    def describe_again(self, layers: tuple[Layer, ...]) -> None:
        """Replace the layers by others that differ in `trainable` alone; a saved forward pass is discarded.

        The caller holds the guard. Calls in other threads that do not wait finish with the program they began with.
        """
        program = self.program
        if program is not None:
            assert self.input_shape is not None
            stages = _compiled(layers, self.input_shape).stages
            program = self._program_of(stages, same=program)
        with self.guard.change:
            self.layers, self.program = layers, program
            if self.row_program is not None:
                self.row_program = program

    @property
    def stream_states(self) -> list[Any]:
        """The states of the random streams."""
        return [stream.bit_generator.state for stream in (self.initial_stream, self.shuffle_stream)]

    def restore_streams(self, states: Sequence[Any], seed: int, steps: int) -> None:
        """Restore the random streams and the noise from a copy or a file."""
        for stream, state in zip((self.initial_stream, self.shuffle_stream), states, strict=True):
            stream.bit_generator.state = state
        self.noise_seed = check_int("the seed of noise", seed, 0, 2**63 - 1)
        if self.program is not None:
            self.program.seed = self.noise_seed
            self.program.noise_steps = check_int("the steps of noise", steps, 0, 2**62)

    def unbuild(self) -> None:
        """Undo `build`."""
        with self.guard.change:
            self.initial_stream.bit_generator.state = self._state_before_build
            self.program = self.row_program = self.input_shape = self._params = None
            self.ends = {}

    @property
    def built(self) -> Program:
        """The compiled network; RuntimeError if there is none."""
        if self.program is None:
            raise RuntimeError(
                "the input shape of the network is not known yet: give input_shape, or call fit or build first"
            )
        return self.program

    @property
    def built_shape(self) -> tuple[int, ...]:
        """The shape of a sample; RuntimeError if it is not known."""
        self.built  # noqa: B018  says what to do if there is none
        assert self.input_shape is not None
        return self.input_shape

    # ---- arrays

    @property
    def params(self) -> ArrayViews:
        """The parameters by name."""
        if self._params is None:
            self._params = self.named(self.built.parameters)
        return self._params

    @property
    def statistics(self) -> ArrayViews:
        """The running statistics by name."""
        program = self.built
        layout = program.statistics_layout
        return ArrayViews(views(layout, program.statistics), paths(layout))

    def named(self, vector: np.ndarray) -> ArrayViews:
        """Return the arrays in a vector with the layout of the parameters."""
        layout = self.built.layout
        return ArrayViews(views(layout, vector), paths(layout))

    def in_double(self) -> Network:
        """Return a copy of the network in float64, which no other thread trains."""
        program = self.built
        with self.guard.whole:
            program.settle()
            states = self.stream_states
            parameters, statistics = program.parameters.copy(), program.statistics.copy()
            steps = program.noise_steps
        double = Network(self.layers, self.input_shape, self.output_loss.loss, "float64", 0, initialize=False)
        double.restore_streams(states, self.noise_seed, steps)
        double.built.parameters[:] = parameters
        double.built.statistics[:] = statistics
        return double

    # ---- arguments

    def path_of(self, name: str, layer: Any) -> str:
        """Return the path of a layer that the argument `name` selects by index or path.

        Raises
        ------
        TypeError, ValueError
            If it is neither, or there is no such layer.
        """
        n = len(self.layers)
        if isinstance(layer, str):
            known = [path for path, _ in walk(self.layers)]
            if layer not in known:
                shown = ", ".join(known if len(known) <= 20 else [*known[:20], "..."])
                raise ValueError(f"{name} must be the path of a layer, one of {shown}, got {layer!r}")
            return layer
        if isinstance(layer, (bool, np.bool_)) or not hasattr(layer, "__index__"):
            raise TypeError(f"{name} must be an index such as -1, or a path such as '2.0', got {describe(layer)}")
        number = check_int(name, layer, -n, n - 1)
        return str(number % n)

    def rows(self, x: Samples) -> np.ndarray:
        """Return `x` as a matrix with one flattened sample per row, converted as a whole."""
        if self.row_program is not None and self.row_program.accepts_rows(x):
            return x  # type: ignore[return-value]  # an array
        if is_sparse(x):
            return self.rows_in_place(x)[:]
        array = as_array("x", x, self.dtype)
        self._check_samples(array, self.built_shape)
        return array.reshape(len(array), prod(self.built_shape))

    def rows_in_place(self, x: Any, shape: tuple[int, ...] | None = None, *, finite: bool = False) -> Rows:
        """Return `x` as rows that the engine, if they are many, converts when it gathers them.

        `shape` is by default that of the network. `finite`: raise ValueError for NaN and infinity.
        """
        if shape is None and not finite and self.row_program is not None and self.row_program.accepts_rows(x):
            return x
        if isinstance(x, Source):  # which another network has checked
            return x
        shape = shape or self.built_shape
        samples = as_samples("x", x, self.dtype)
        self._check_samples(samples, shape)
        rows = rows_of(samples, self.dtype, prod(shape))
        if finite:
            check_finite("x", rows, shape)
        else:
            check_range("x", rows, shape)
        return rows

    @staticmethod
    def _check_samples(samples: np.ndarray | Columns | Sparse, shape: tuple[int, ...]) -> None:
        """Raise ValueError unless samples have this shape."""
        if samples.shape == shape:
            raise ValueError(
                f"x must have shape {shape_of_rows(shape)}, got {samples.shape}: "
                "for one sample, predict_one(x) or x[None]"
            )
        check_shape("x", samples, (None, *shape))

    def batch(self, x: Any, y: ArrayLike) -> tuple[Rows, np.ndarray]:
        """Return the same as `dense_batch`, but sparse rows as they are."""
        return self.data(x, y) if type(x) is not np.ndarray and is_sparse(x) else self.dense_batch(x, y)

    def dense_batch(self, x: Any, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Return `x` as by `rows` and `y` in the engine's format; both have at least one row."""
        if self.row_program is not None and self.row_program.accepts(x, y, self.output_loss.takes_any):
            return x, y  # type: ignore[return-value]  # arrays
        rows = self.rows(x)
        return rows, self._targets(x, rows, y)

    def data(
        self, x: Any, y: ArrayLike, shape: tuple[int, ...] | None = None, *, finite: bool = False
    ) -> tuple[Rows, np.ndarray]:
        """Return `x` as by `rows_in_place` and `y` in the engine's format; both have at least one row.

        `finite`: raise ValueError for NaN and infinity.
        """
        program = self.row_program
        if program is not None and shape in (None, self.input_shape):
            ready = program.accepts(x, y, self.output_loss.takes_any)
            if ready and not (finite and y.ndim == 2):  # type: ignore[union-attr]  # an array
                if finite:
                    check_finite("x", x, self.built_shape)
                return x, y  # type: ignore[return-value]
        rows = self.rows_in_place(x, shape, finite=finite)
        return rows, self._targets(x, rows, y, finite=finite)

    def _targets(self, x: Any, rows: Rows, y: ArrayLike, *, finite: bool = False) -> np.ndarray:
        """Return targets for the rows of `x`, of which there must be at least one."""
        if not len(rows):
            raise ValueError(f"x must have at least one row, got shape {getattr(x, 'shape', None) or np.shape(x)}")
        return self.output_loss.targets(self._flat(y), len(rows), self.dtype, finite=finite)

    def _flat(self, y: ArrayLike) -> ArrayLike:
        """Return targets of outputs with several axes as a matrix; labels, and those of a loss in Python, unchanged."""
        if len(self.output_shape) == 1:
            return y
        array = to_array("y", y)
        if self.output_loss.in_python:
            return array.reshape(-1, *self.output_shape) if array.ndim == 1 and self.units == 1 else y
        if array.ndim != 1:
            check_shape("y", array, (None, *self.output_shape))
            array = array.reshape(len(array), self.units)
        return array

    def warn_of_zero_gradients(self) -> None:
        """Warn if a layer, and those before it, cannot learn because the gradient of its activation is zero."""
        if self._flat_layer is not None:
            path, layer = self._flat_layer
            warn(
                f"layers[{path}] has activation {layer.activation!r}, whose gradient is zero: "
                "neither it nor any layer before it learns",
                UserWarning,
            )

    def check_batch(self, rows: int, which: str = ": give it more rows") -> None:
        """Raise ValueError if a batch norm would be trained on one row; `which` says where, and what to do."""
        if rows < 2 and any(isinstance(layer, BatchNorm) and layer.trainable for _, layer in walk(self.layers)):
            raise ValueError(
                f"BatchNorm needs at least two rows in each training mini-batch, since one row has no variance; "
                f"got {rows}{which}"
            )

    def check_trainable(self) -> None:
        """Raise ValueError if there is nothing to train."""
        learns = (
            self.program.learns
            if self.program is not None
            else any(layer.arrays((1,)) and layer.trainable for _, layer in walk(self.layers))
        )
        if not learns:
            raise ValueError("there is nothing to train: no layer has trainable parameters")

    # ---- running

    def check_answers(self, outputs: np.ndarray, rows: Rows) -> None:
        """Raise ValueError if outputs are NaN, from which a class cannot be determined."""
        missing = np.flatnonzero(np.isnan(outputs).any(axis=1))
        if not len(missing):
            return
        listed = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        if not all_finite(rows[missing[:100]]):
            why = "x is not finite there: remove these rows, or fill the values in"
        elif not all_finite(self.built.parameters):
            why = "the parameters are not finite, as after training that diverged: train again, with a smaller "
            why += "learning rate and x scaled to about 1"
        else:
            why = f"they exceed the range of {self.dtype}: scale x to about 1"
        raise ValueError(
            f"outputs must be numbers to determine a class, got NaN in {len(missing)} of {len(rows)} rows "
            f"({listed}): {why}"
        )

    def warn_of_one_hot(self, targets: np.ndarray, metrics: MetricSet) -> None:
        """Warn if the accuracy counts outputs separately, but exactly one target in each row is 1."""
        if "binary_accuracy" not in [scoring.kernel for scoring in metrics.scorings]:
            return
        if self.units < 3 or len(targets) < 2:
            return
        for part in (targets[:100], targets):  # the first rows are usually enough
            ones = part > 0.5
            if not (ones.sum(axis=1) == 1).all():
                return
        warn(
            f"y has exactly one 1 in each row, but each of the {self.units} outputs is counted separately: always "
            f"predicting 0 would be right in {1 - 1 / self.units:.0%}. For mutually exclusive classes, end with "
            "Dense(..., activation='softmax') with loss 'cross_entropy'",
            UserWarning,
        )

    def in_training(self, training: bool, rows: int) -> bool:
        """Check the argument `training`."""
        if check_bool("training", training):
            self.check_batch(rows)
        return training

    def evaluate(
        self,
        rows: Rows,
        targets: np.ndarray,
        weights: np.ndarray | None,
        metrics: MetricSet,
        chosen: np.ndarray | None = None,
    ) -> dict[str, float]:
        """Return the loss and the metrics by name, for all rows or those with the numbers in `chosen`."""
        n = len(rows) if chosen is None else len(chosen)
        if weights is not None and chosen is not None:
            weights = weights[chosen]
        loss, totals = self.built.evaluate(rows, targets, weights, metrics.scorings, *allowed_threads(), chosen)
        weight = n if weights is None else float(np.add.accumulate(weights)[-1])  # in the order of rows
        values = {name: float(value) for name, value in metrics.averages(totals, weight).items()}
        if metrics.others:
            targets = targets if chosen is None else targets[chosen]
            values |= self.computed(metrics, self._outputs(rows, chosen), targets, weights)
        return {"loss": loss, **{name: values[name] for name in metrics.directions}}

    def computed(
        self, metrics: MetricSet, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None
    ) -> dict[str, float]:
        """Return the metrics that the engine does not compute, by name."""
        outputs = outputs.reshape(len(outputs), *self.output_shape)
        if targets.ndim > 1 and not self.output_loss.in_python:
            targets = targets.reshape(outputs.shape)
        return metrics.computed(outputs, targets, weights)

    def warn_of_float32(self, rows: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> None:
        """Warn if a loss in Python computes with too few digits for numerical gradients of this float64 network."""
        loss = self.output_loss.loss
        if isinstance(loss, Custom) and self.output_loss.in_python:
            if weights is not None:
                loss.check_weights()
            loss.warn_of_float32(self._outputs(rows, None), targets, weights)

    def _outputs(self, rows: Rows, chosen: np.ndarray | None) -> np.ndarray:
        """Return the outputs for all rows, or for those with the numbers in `chosen`, a block of which is copied."""
        n = len(rows) if chosen is None else len(chosen)
        outputs = np.empty((n, self.units), self.dtype)
        if chosen is None:
            self.built.predict(rows, outputs, *allowed_threads())
        else:
            size = max(1, min(BLOCK_ROWS, BLOCK_NUMBERS // rows.shape[1]))
            for first in range(0, n, size):
                block = slice(first, first + size)
                self.built.predict(rows[chosen[block]], outputs[block], *allowed_threads())
        return outputs.reshape(n, *self.output_shape)
