"""Networks from models of Keras 3, with any of its backends: the model carries its library, which is not imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from nnfast._network import Network
from nnfast._validation import describe
from nnfast.activations import ELU, LeakyReLU, resolve_activation
from nnfast.activations import Activation as ActivationFunction
from nnfast.files.assembling import Arrays, Moments, assembled
from nnfast.layers import (
    Activation,
    BatchNorm,
    Dense,
    Dropout,
    Flatten,
    GaussianNoise,
    Layer,
    LayerNorm,
    Rescaling,
    Reshape,
    Residual,
    Scale,
)
from nnfast.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Hinge,
    Huber,
    KLDivergence,
    LogCosh,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
    resolve_loss,
)

LIBRARY = "keras"
ACTIVATIONS: dict[str, str | ActivationFunction] = {
    "linear": "identity",
    "relu": "relu",
    "leaky_relu": LeakyReLU(0.2),
    "elu": "elu",
    "selu": "selu",
    "gelu": "gelu",
    "silu": "silu",
    "swish": "silu",
    "softplus": "softplus",
    "mish": "mish",
    "sigmoid": "sigmoid",
    "hard_sigmoid": "hard_sigmoid",
    "tanh": "tanh",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
}
ROLES = {"kernel": "W", "bias": "b", "moving_mean": "mean", "moving_variance": "variance"}
DTYPES = ("float32", "float64")
# Keras's optimizers with the formulas of nnfast's, and the names of their moments. Adagrad and RMSprop differ: they add
# epsilon before the square root is taken.
OPTIMIZERS = {
    "Adam": ("adam", ("momentum", "velocity", "velocity_hat")),
    "AdamW": ("adamw", ("momentum", "velocity", "velocity_hat")),
    "Nadam": ("nadam", ("momentum", "velocity")),
    "SGD": ("sgd", ("momentum",)),
    "Lion": ("lion", ("momentum",)),
    "Adadelta": ("adadelta", ("accumulated_grad", "accumulated_delta_var")),
}
LOSSES: dict[str, tuple[type[Loss], dict[str, Any]]] = {
    "meansquarederror": (MeanSquaredError, {}),
    "meanabsoluteerror": (MeanAbsoluteError, {}),
    "huber": (Huber, {}),
    "logcosh": (LogCosh, {}),
    "poisson": (Poisson, {"log_input": False}),
    "binarycrossentropy": (BinaryCrossEntropy, {}),
    "categoricalcrossentropy": (CrossEntropy, {}),
    "sparsecategoricalcrossentropy": (CrossEntropy, {}),
    "kldivergence": (KLDivergence, {}),
    "hinge": (Hinge, {}),
}
NEUTRAL = {  # options of losses, and the values with which they are nnfast's
    "reduction": ("sum_over_batch_size", "mean", "mean_with_sample_weight"),
    "from_logits": (False,),
    "axis": (-1,),
    "ignore_class": (None,),
}
TAKEN = ("label_smoothing", "delta")  # options of losses that nnfast has too


def load(model: Any, loss: Any, seed: Any) -> Network:
    """Implement `nnfast.from_keras`."""
    loss = None if loss is None else resolve_loss(loss)
    library: Any = sys.modules.get(LIBRARY)
    models: Any = getattr(library, "Model", ())
    if not isinstance(model, models):
        raise TypeError(
            f"model must be a model of Keras 3, got {describe(model)}: read a file with keras.saving.load_model first"
        )
    with _about("model cannot become a network"):
        reader = _Reader()
        layers = reader.model(model, "", frozen=False) or [Activation("identity")]
        found = _loss(library, model) if loss is None else loss
        moments = _moments(model, reader.places)
        dtype = reader.dtype or np.dtype(str(model.compute_dtype))
        try:
            return assembled(layers, reader.arrays, reader.input_shape, dtype, found, seed, moments)
        except ValueError as error:
            if loss is None and found is not None and f"loss {found.name!r}" in str(error):
                raise ValueError(f"its loss does not fit: {error}; give another with loss=") from None
            raise


@contextmanager
def _about(what: str) -> Iterator[None]:
    """Say what a ValueError in the block is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def _shown(layer: Any) -> str:
    """Return the name of a layer and of its class."""
    return f"{layer.name} ({type(layer).__name__})"


def _is(kind: type, name: str) -> bool:
    """Whether a class is the one of Keras with this name."""
    return kind.__name__ == name and kind.__module__.partition(".")[0] == LIBRARY


class Call(NamedTuple):
    """A call of a layer, or of an operator, in a functional model.

    Attributes
    ----------
    layer : object or None
        None for an operator such as ``+``.
    name, kind : str
        Its name, and that of its class.
    inputs : list of (str, int)
        The calls whose outputs are its inputs.
    options : dict
        The other arguments.
    """

    layer: Any
    name: str
    kind: str
    inputs: list[tuple[str, int]]
    options: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


Place = tuple[str, int]  # the name of a layer, and the number of its call


class _Graph:
    """The calls in a functional model, read from its configuration.

    Attributes
    ----------
    calls : dict
        Of each place.
    start, end : Place
        Of the input and of the output.
    """

    def __init__(self, model: Any) -> None:
        config = model.get_config()
        layers = {layer.name: layer for layer in model.layers}
        self.calls: dict[Place, Call] = {}
        for entry in config["layers"]:
            layer = layers.get(entry["name"])
            kind = type(layer).__name__ if layer is not None else entry["class_name"]
            nodes = entry["inbound_nodes"]
            for i, node in enumerate(nodes or [{"args": [], "kwargs": {}}]):
                inputs = [*_histories(node["args"]), *_histories(node["kwargs"])]
                call = Call(layer, entry["name"], kind, inputs, node["kwargs"])
                self.calls[entry["name"], i] = call
        self.start = _place(config["input_layers"])
        name, number = _place(config["output_layers"])
        if any(_is(kind, "Functional") for kind in type(layers.get(name)).__mro__):
            number -= 1  # of functional models, the calls are numbered from 1 there, and from 0 elsewhere
        self.end = name, number
        self.depths = self._depths()

    def _depths(self) -> dict[Place, int]:
        """Return the number of calls on the longest way to each call."""
        depths: dict[Place, int] = {}
        waiting = [self.end]
        while waiting:
            place = waiting[-1]
            missing = [source for source in self.calls[place].inputs if source not in depths]
            if missing:
                waiting += missing
                continue
            depths[place] = 1 + max((depths[source] for source in self.calls[place].inputs), default=0)
            waiting.pop()
        return depths

    def chain(self, end: Place, start: Place) -> list[tuple[Call, list[Any] | None]]:
        """Return the calls that lead from one place to another, and for a sum the calls within its residual block."""
        found: list[tuple[Call, list[Any] | None]] = []
        while end != start:
            call = self.calls[end]
            if call.kind == "Add" and len(call.inputs) == 2:
                first, second = sorted(call.inputs, key=self.depths.__getitem__)
                found.append((call, self._inner(call, second, first)))
                end = first
            elif len(call.inputs) == 1:
                found.append((call, None))
                end = call.inputs[0]
            elif not call.inputs:
                raise _ElsewhereError(call)
            else:
                raise ValueError(
                    f"{call} has {len(call.inputs)} inputs, which is supported only of sums x + f(x): use Add"
                )
        return found[::-1]

    def _inner(self, call: Call, end: Place, start: Place) -> list[Any]:
        try:
            return self.chain(end, start)
        except _ElsewhereError:
            raise ValueError(
                f"{call} adds two results of which neither is computed from the other: a sum must be a residual block, "
                "x + f(x)"
            ) from None


class _ElsewhereError(Exception):
    """A result is not computed from the one that was looked for."""


def _histories(value: Any) -> list[Place]:
    """Return the places of all tensors in the arguments of a call."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            name, call, _ = value["config"]["keras_history"]
            return [(name, call)]
        return [place for inner in value.values() for place in _histories(inner)]
    if isinstance(value, (list, tuple)):
        return [place for inner in value for place in _histories(inner)]
    return []


def _place(value: Any) -> Place:
    """Return the place of the only input or output in a configuration."""
    while not (isinstance(value, (list, tuple)) and isinstance(value[0], str)):
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
    return value[0], value[1]


class _Reader:
    """Makes layers of those of a model.

    Attributes
    ----------
    input_shape, shape : tuple of int
        Of a sample, and of the output of the last layer.
    dtype : dtype or None
        That of the weights; None before the first.
    arrays : dict
        By path.
    places : dict
        The paths of arrays, by those of Keras's variables.
    """

    def __init__(self) -> None:
        self.input_shape: tuple[int, ...] = ()
        self.shape: tuple[int, ...] = ()
        self.dtype: np.dtype | None = None
        self.arrays: Arrays = {}
        self.places: dict[str, str] = {}
        self._frozen = False
        self._seen: set[int] = set()  # the layers with weights

    # ---- models

    def model(self, model: Any, path: str, *, frozen: bool, layers: list[Layer] | None = None) -> list[Layer]:
        """Add the layers of a model to a chain, and return it."""
        layers = [] if layers is None else layers
        kinds = type(model).__mro__
        base = next((kind for kind in kinds if _is(kind, "Sequential") or _is(kind, "Functional")), None)
        if base is None or type(model).call is not base.call:  # type: ignore[attr-defined]
            raise ValueError(
                f"{_shown(model)} has a call method of its own, whose layers are not known: build it of layers with "
                "keras.Sequential or keras.Model(inputs, outputs)"
            )
        if not model.built:
            raise ValueError(f"{_shown(model)} is not built: call its build with the shape of the input first")
        self._check_ends(model)
        if not self.shape:
            sizes = tuple(model.inputs[0].shape)[1:]
            if not sizes or None in sizes:
                raise ValueError(f"the shape of a sample must be known, got {sizes}: give all sizes but the batch's")
            self.shape = self.input_shape = sizes
        if base.__name__ == "Sequential":
            for layer in model.layers:
                self.add(layer, layers, path, frozen=frozen)
        else:
            graph = _Graph(model)
            try:
                self.calls(graph.chain(graph.end, graph.start), layers, path, frozen=frozen)
            except _ElsewhereError:
                raise ValueError(f"the output of {_shown(model)} is not computed from its input") from None
        return layers

    def _check_ends(self, model: Any) -> None:
        for what, tensors in (("input", model.inputs), ("output", model.outputs)):
            if len(tensors) != 1:
                raise ValueError(f"{_shown(model)} must have one {what}, and has {len(tensors)}")

    def calls(self, calls: Sequence[Any], layers: list[Layer], path: str, *, frozen: bool) -> None:
        """Add layers for the calls in a functional model."""
        for call, inner in calls:
            if inner is not None:
                self._residual(call, inner, layers, path, frozen=frozen)
            elif call.layer is None:
                raise ValueError(f"the operator {call} is not supported: {SUPPORTED}")
            elif call.options.get("training"):
                raise ValueError(f"{call} is called with training=True, which is not supported: leave it out")
            elif call.options.get("mask") is not None:
                raise ValueError(f"{call} is called with a mask, which is not supported")
            else:
                self.add(call.layer, layers, path, frozen=frozen)

    def _residual(self, call: Call, inner: Sequence[Any], layers: list[Layer], path: str, *, frozen: bool) -> None:
        """Add a residual block."""
        if call.layer is not None and not _is(type(call.layer), "Add"):
            raise ValueError(f"{call} is not supported: {SUPPORTED}")
        before = self.shape
        block: list[Layer] = []
        self.calls(inner, block, f"{path}{len(layers)}.", frozen=frozen)
        if self.shape != before:
            raise ValueError(f"{call} adds samples of shapes {before} and {self.shape}, which must be equal")
        layers.append(Residual(block or [Activation("identity")]))

    def add(self, layer: Any, layers: list[Layer], path: str, *, frozen: bool) -> None:
        """Add what a layer is to a chain, whose path with a dot at its end is `path`."""
        self._frozen = frozen or not layer.trainable
        if hasattr(layer, "layers") and hasattr(layer, "inputs") and hasattr(layer, "compile"):
            self.model(layer, path, frozen=self._frozen, layers=layers)
            return
        kind = type(layer)
        make = LAYERS.get(kind.__name__) if _is(kind, kind.__name__) else None
        if make is None:
            raise ValueError(f"{_shown(layer)} is not supported: {SUPPORTED}")
        self._check_dtype(layer)
        if layer.weights and id(layer) in self._seen:
            raise ValueError(f"{_shown(layer)} is used twice, with the same weights, which is not supported")
        self._seen.add(id(layer))
        with _about(_shown(layer)):
            for made, arrays in make(self, layer, layer.get_config()):
                self._append(made, arrays, layer, layers, path)

    def _append(self, made: Layer, arrays: Arrays, layer: Any, layers: list[Layer], path: str) -> None:
        last = layers[-1] if layers else None
        if made.function.mixes and len(made.output_shape(self.shape)) != 1:
            raise ValueError(f"samples must have one axis for softmax, got shape {self.shape}")
        self.shape = made.output_shape(self.shape)
        if isinstance(made, Activation) and isinstance(last, Dense) and last.activation == "identity":
            layers[-1] = Dense(
                last.units, made.function, use_bias=last.use_bias, l1=last.l1, l2=last.l2, trainable=last.trainable
            )
            return
        place = f"{path}{len(layers)}"
        names = {ROLES.get(variable.name, variable.name): variable.path for variable in layer.weights}
        for role, array in arrays.items():
            self.arrays[f"{place}.{role}"] = array
            if role in names:
                self.places[names[role]] = f"{place}.{role}"
        layers.append(made)

    def _check_dtype(self, layer: Any) -> None:
        """Raise ValueError unless a layer computes and keeps its weights in the dtype of all others."""
        if getattr(layer, "quantization_mode", None):
            raise ValueError(f"{_shown(layer)} is quantized ({layer.quantization_mode}), which is not supported")
        dtypes = {layer.compute_dtype, layer.variable_dtype} if layer.weights else {layer.compute_dtype}
        if len(dtypes) > 1 or not dtypes <= set(DTYPES):
            raise ValueError(
                f"{_shown(layer)} computes in {layer.compute_dtype} with variables of {layer.variable_dtype}: only "
                f"{' and '.join(DTYPES)} are supported; build the model with that dtype and load the weights into it"
            )
        if not layer.weights:
            return
        dtype = np.dtype(layer.variable_dtype)
        self.dtype = self.dtype or dtype
        if dtype != self.dtype:
            raise ValueError(f"{_shown(layer)} has weights of {dtype}, and those before of {self.dtype}")

    def _weights(self, layer: Any, *expected: str) -> Arrays:
        """Return the weights of a layer by Keras's names."""
        unknown = [variable.name for variable in layer.weights if variable.name not in expected]
        if unknown:
            raise ValueError(f"its weights {', '.join(unknown)} are not supported")
        return {variable.name: _array(variable) for variable in layer.weights}

    def _features(self) -> int:
        """Return the number of features of a sample; ValueError if it has several axes."""
        if len(self.shape) != 1:
            raise ValueError(f"samples must have one axis, got shape {self.shape}")
        return self.shape[0]

    # ---- layers

    def dense(self, layer: Any, config: dict[str, Any]) -> Made:
        self._features()
        weights = self._weights(layer, "kernel", "bias")
        arrays = {ROLES[name]: array for name, array in weights.items()}
        made = Dense(
            config["units"], _activation(config["activation"]), use_bias="bias" in weights,
            trainable=not self._frozen, **_penalties(config["kernel_regularizer"]),
        )  # fmt: skip
        return [(made, arrays)]

    def activation(self, layer: Any, config: dict[str, Any]) -> Made:
        function = resolve_activation(_activation(config["activation"]))
        return [] if function.name == "identity" else [(Activation(function), {})]

    def relu(self, layer: Any, config: dict[str, Any]) -> Made:
        if config["max_value"] is not None or config["threshold"]:
            raise ValueError("max_value and threshold are not supported")
        slope = float(config["negative_slope"])
        return [(Activation(LeakyReLU(slope) if slope else "relu"), {})]

    def leaky_relu(self, layer: Any, config: dict[str, Any]) -> Made:
        return [(Activation(LeakyReLU(float(config["negative_slope"]))), {})]

    def elu(self, layer: Any, config: dict[str, Any]) -> Made:
        return [(Activation(ELU(float(config["alpha"]))), {})]

    def softmax(self, layer: Any, config: dict[str, Any]) -> Made:
        if config["axis"] not in (-1, len(self.shape), [-1], [len(self.shape)]):
            raise ValueError(f"axis={config['axis']} is not supported, only that of the features")
        return [(Activation("softmax"), {})]

    def batch_norm(self, layer: Any, config: dict[str, Any]) -> Made:
        if config.get("renorm"):
            raise ValueError("renorm is not supported")
        weights = self._weights(layer, "gamma", "beta", "moving_mean", "moving_variance")
        arrays = {ROLES[name]: weights.pop(name) for name in ("moving_mean", "moving_variance")}
        momentum = round(1 - config["momentum"], 9)
        return self._norm(BatchNorm, config, weights, arrays, momentum=momentum)

    def layer_norm(self, layer: Any, config: dict[str, Any]) -> Made:
        if config.get("rms_scaling"):
            raise ValueError("rms_scaling is not supported")
        return self._norm(LayerNorm, config, self._weights(layer, "gamma", "beta"), {})

    def _norm(self, kind: type[Layer], config: dict[str, Any], weights: Arrays, arrays: Arrays, **options: Any) -> Made:
        """Return a normalization layer; a factor alone becomes a layer of its own."""
        width = self._features()
        if config["axis"] not in (-1, 1, [-1], [1]):
            raise ValueError(f"axis={config['axis']} is not supported, only that of the features")
        if "beta" in weights and "gamma" not in weights:
            weights = {"gamma": np.ones(width), **weights}
        penalties = _penalties(config["gamma_regularizer"]) if "gamma" in weights else {}
        options |= {"epsilon": config["epsilon"], "trainable": not self._frozen}
        if len(weights) == 1:
            factor = Scale(use_bias=False, trainable=not self._frozen, **penalties)
            return [(kind(affine=False, **options), arrays), (factor, weights)]
        return [(kind(affine=bool(weights), **options, **penalties), {**arrays, **weights})]

    def dropout(self, layer: Any, config: dict[str, Any]) -> Made:
        if config.get("noise_shape") is not None:
            raise ValueError("noise_shape is not supported")
        return [(Dropout(float(config["rate"])), {})] if config["rate"] else []

    def noise(self, layer: Any, config: dict[str, Any]) -> Made:
        return [(GaussianNoise(float(config["stddev"])), {})]

    def flatten(self, layer: Any, config: dict[str, Any]) -> Made:
        if config.get("data_format") == "channels_first" and len(self.shape) > 1:
            raise ValueError("data_format='channels_first', which changes the order of numbers, is not supported")
        return [] if len(self.shape) == 1 else [(Flatten(), {})]

    def reshape(self, layer: Any, config: dict[str, Any]) -> Made:
        return [(Reshape(tuple(config["target_shape"])), {})]

    def rescaling(self, layer: Any, config: dict[str, Any]) -> Made:
        scale, offset = (np.asarray(config[name], np.float64) for name in ("scale", "offset"))
        if scale.ndim == offset.ndim == 0:
            return [(Rescaling(float(scale), float(offset)), {})]
        return [self._fixed(scale, offset)]

    def normalization(self, layer: Any, config: dict[str, Any]) -> Made:
        if layer.mean is None:
            raise ValueError("it is not adapted: call its adapt with data first")
        mean, variance = _array(layer.mean), _array(layer.variance)
        deviation = np.maximum(np.sqrt(variance), sys.modules[LIBRARY].config.epsilon())
        if config["invert"]:
            return [self._fixed(deviation, mean)]
        # centered first: factor and offset in one would lose digits of features that are large and vary little
        return [self._fixed(np.ones(1), -mean), self._fixed(1 / deviation.astype(np.float64))]

    def _fixed(self, gamma: np.ndarray, beta: np.ndarray | None = None) -> tuple[Layer, Arrays]:
        """Return a frozen layer with a factor and an offset for each number of a sample."""
        arrays = {"gamma": gamma} if beta is None else {"gamma": gamma, "beta": beta}
        wide = {role: np.broadcast_to(array, (1, *self.shape)).reshape(-1) for role, array in arrays.items()}
        return Scale(use_bias=beta is not None, trainable=False), wide

    def nothing(self, layer: Any, config: dict[str, Any]) -> Made:
        return []


Made = list[tuple[Layer, Arrays]]
LAYERS: dict[str, Callable[[_Reader, Any, dict[str, Any]], Made]] = {
    "Dense": _Reader.dense,
    "Activation": _Reader.activation,
    "ReLU": _Reader.relu,
    "LeakyReLU": _Reader.leaky_relu,
    "ELU": _Reader.elu,
    "Softmax": _Reader.softmax,
    "BatchNormalization": _Reader.batch_norm,
    "LayerNormalization": _Reader.layer_norm,
    "Dropout": _Reader.dropout,
    "GaussianNoise": _Reader.noise,
    "Flatten": _Reader.flatten,
    "Reshape": _Reader.reshape,
    "Rescaling": _Reader.rescaling,
    "Normalization": _Reader.normalization,
    "InputLayer": _Reader.nothing,
    "Identity": _Reader.nothing,
}
SUPPORTED = f"supported are {', '.join(LAYERS)}, models of these, and Add as x + f(x)"


def _activation(config: Any) -> str | ActivationFunction:
    """Return the activation that a configuration names."""
    found = ACTIVATIONS.get(config) if isinstance(config, str) else None
    if found is None:
        name = config.get("config", config) if isinstance(config, dict) else config
        raise ValueError(f"activation {name!r} is not supported, only {', '.join(ACTIVATIONS)}")
    return found


def _penalties(config: Any) -> dict[str, Any]:
    """Return the penalties that a configuration of a regularizer describes; other kinds are left out."""
    kinds = {"L1": ("l1",), "L2": ("l2",), "L1L2": ("l1", "l2")}
    if not isinstance(config, dict) or config["class_name"] not in kinds:
        return {}
    return {name: float(config["config"][name]) for name in kinds[config["class_name"]]}


# ---- training


def _loss(library: Any, model: Any) -> Loss | None:
    """Return the loss that a model was compiled with; None if it was not.

    Raises
    ------
    ValueError
        If nnfast does not have it.
    """
    given = getattr(model, "loss", None)
    while isinstance(given, (list, tuple, dict)) and len(given) == 1:
        given = next(iter(given.values())) if isinstance(given, dict) else given[0]
    if given is None:
        return None
    found: Any = None if isinstance(given, (list, tuple, dict)) else library.losses.get(given)
    kind: Any = type(found) if isinstance(found, library.losses.Loss) else found
    name = getattr(kind, "__name__", repr(given))
    known = LOSSES.get(name.replace("_", "").lower())
    if known is None or kind.__module__.partition(".")[0] != LIBRARY:
        raise ValueError(f"its loss {name} is not supported: give one with loss=")
    options = found.get_config() if isinstance(found, library.losses.Loss) else {}
    for option, values in NEUTRAL.items():
        if option in options and options[option] not in values:
            raise ValueError(
                f"its loss {name} has {option}={options[option]!r}, which is not supported: give a loss with loss="
            )
    if known[0] is Huber and "delta" not in options and kind is not found:
        _check_delta(library, found, name)
    taken = {option: float(options[option]) for option in TAKEN if options.get(option)}
    return known[0](**known[1], **taken)


def _check_delta(library: Any, loss: Any, name: str) -> None:
    """Raise ValueError unless Huber's delta is 1, if the configuration of the loss does not contain it."""
    value = _array(loss(library.ops.zeros((1, 1)), 3 * library.ops.ones((1, 1))))
    if abs(float(value) - 2.5) > 1e-3:
        raise ValueError(
            f"its loss {name} has a delta that its configuration does not contain: give loss=nf.losses.Huber(delta)"
        )


def _moments(model: Any, places: dict[str, str]) -> Moments | None:
    """Return the state of a model's optimizer; None if there is none, or nnfast's formulas differ."""
    optimizer: Any = getattr(model, "optimizer", None)
    name = type(optimizer).__name__
    if name not in OPTIMIZERS or not _is(type(optimizer), name) or not optimizer.built:
        return None
    config = optimizer.get_config()
    steps = int(_array(optimizer.iterations))
    if not steps or config.get("gradient_accumulation_steps"):
        return None
    kind, names = OPTIMIZERS[name]
    variables = {variable.path.rpartition("/")[2]: variable for variable in optimizer.variables}
    vectors: list[Arrays | None] = []
    for moment in names:
        found = {
            place: _array(variables[key])
            for path, place in places.items()
            if (key := f"{path.replace('/', '_')}_{moment}") in variables
        }
        vectors.append(found or None)
    product = 1.0
    if kind == "sgd":  # Keras's velocity includes the learning rate, and the sign of the step
        rate, product = -float(_array(optimizer.learning_rate)), 0.0
        vectors = [
            velocities and {place: array / rate for place, array in velocities.items()} for velocities in vectors
        ]
    elif kind == "nadam":
        decays = 0.96 ** np.arange(1, min(steps, 100_000) + 1)
        product = float(np.prod(config["beta_1"] * (1 - 0.5 * decays)))
    return Moments(kind, steps, vectors, product)


def _array(variable: Any) -> np.ndarray:
    """Return the value of a variable or tensor."""
    library = sys.modules[LIBRARY]
    tensor = variable.value if isinstance(variable, library.Variable) else variable
    found: np.ndarray = library.ops.convert_to_numpy(tensor)
    return found
