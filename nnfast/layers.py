"""Layers, as descriptions: what they are, how they begin, and which steps of a program they become.

The arithmetic is the engine's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from inspect import signature
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from nnfast._validation import (
    MAX_SIZE,
    as_array,
    as_tuple,
    check_bool,
    check_float,
    check_int,
    content,
    describe,
    shown,
)
from nnfast.activations import Activation as ActivationFunction
from nnfast.activations import activation_from, resolve_activation
from nnfast.initializers import check_initializer, initial_weights

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import ArrayLike


MAX_DEPTH = 100  # of residual layers, which Python walks one within the other
MAX_LAYERS = 10_000  # of a network, those within residual layers included
MAX_OUTPUTS = 2**39  # of all layers together: the engine counts bytes of them


class Array(NamedTuple):
    """An array that a layer has: what it learns, or the running statistics that it keeps.

    Attributes
    ----------
    role : str
        Its name in the layer, such as ``"W"``.
    shape : tuple of int
    initial : float or callable
        The first values: a number, or a function of a random generator that returns them.
    argument : str
        The argument of the layer that gives the first values, for messages.
    l1, l2 : float
        Penalties on it.
    decays : bool
        Whether weight decay applies to it where `decay_biases` is False.
    """

    role: str
    shape: tuple[int, ...]
    initial: float | Callable[[Generator], Any] = 0.0
    argument: str = ""
    l1: float = 0.0
    l2: float = 0.0
    decays: bool = False


class NamedArray(NamedTuple):
    """An array of a network.

    Attributes
    ----------
    name : str
        Such as ``"W1"``.
    path : str
        Such as ``"0.W"``: the path of its layer, and its role there.
    """

    name: str
    path: str
    shape: tuple[int, ...]
    initial: float | Callable[[Generator], Any]
    argument: str
    l1: float
    l2: float
    decays: bool


class Compiler:
    """Makes the stages of a program from layers, one after another.

    Parameters
    ----------
    shape : tuple of int
        Of a sample.

    Attributes
    ----------
    stages : list of dict
        As `nnfast.engine.program.Program` takes them.
    shape : tuple of int
        Of the output of the last stage.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.stages: list[dict[str, Any]] = []
        self.shape = shape
        self._outputs = 0
        self._numbers: dict[str, int] = {}

    def add_layers(self, layers: Sequence[Layer], path: str = "") -> None:
        """Add layers; `path` is that of the chain they are in, with a dot at its end."""
        for i, layer in enumerate(layers):
            layer.add_stages(self, f"{path}{i}")

    def add_stage(self, layer: Layer, path: str, kind: str, **more: Any) -> None:
        """Add a stage of a kind in `nnfast.engine.program.STAGES`, with the shapes and arrays of `layer`."""
        shape, self.shape = self.shape, layer.output_shape(self.shape)
        n_in, n_out = prod(shape), prod(self.shape)
        if max(n_in, n_out) > MAX_SIZE:
            raise MemoryError(
                f"no layer can have more than {MAX_SIZE} inputs or outputs, got {shown(max(n_in, n_out))}"
            )
        self._outputs += n_out
        if self._outputs > MAX_OUTPUTS:
            raise MemoryError(f"the layers of a network can have at most {MAX_OUTPUTS} outputs together")
        if layer.numbered_as:
            self._numbers[layer.numbered_as] = self._numbers.get(layer.numbered_as, 0) + 1
        number = self._numbers.get(layer.numbered_as, 0)

        def named(arrays: Sequence[Array]) -> list[NamedArray]:
            return [
                NamedArray(
                    f"{a.role}{number}", f"{path}.{a.role}", a.shape, a.initial, a.argument, a.l1, a.l2, a.decays
                )
                for a in arrays
            ]

        self.stages.append(
            {
                "kind": kind,
                "path": path,
                "input_shape": shape,
                "output_shape": self.shape,
                "arrays": named(layer.arrays(shape)),
                "statistics": named(layer.statistics(shape)),
                "frozen": not layer.trainable,
                **more,
            }
        )


class Layer:
    """What every layer is: a description that does not change.

    Layers are equal if they are of one class and were given the same arguments, arrays with the same content.

    Attributes
    ----------
    kind : str
        Its name in files.
    arguments : tuple of str
        What the constructor takes, and files hold, in this order.
    """

    kind: ClassVar[str]
    arguments: ClassVar[tuple[str, ...]] = ()
    units: int | None = None
    l1: float = 0.0
    l2: float = 0.0
    trainable: bool = True
    function: ActivationFunction = resolve_activation("identity")
    _depth: int = 0  # of residual layers within each other
    _size: int = 1  # layers, itself and those within it

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(
            f"a layer is a description and does not change: make a new {type(self).__name__} with another {name}"
        )

    @property
    def activation(self) -> str:
        """The name of the function that it ends in."""
        return self.function.name

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, others = ({name: content(value) for name, value in vars(layer).items()} for layer in (self, other))
        return mine == others

    def __hash__(self) -> int:
        return hash((type(self), *map(content, vars(self).values())))

    numbered_as: ClassVar[str] = ""  # layers of one kind of arrays are numbered together: W1, W2; gamma1, ...

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a sample's output.

        Parameters
        ----------
        shape : tuple of int
            The shape of a sample, without the axis of the batch.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.Dense(3).output_shape((28, 28))
        (3,)
        """
        return shape

    def arrays(self, shape: tuple[int, ...]) -> tuple[Array, ...]:
        """Return the arrays that the layer learns.

        Parameters
        ----------
        shape : tuple of int
            The shape of a sample.

        Examples
        --------
        >>> import nnfast as nf
        >>> [(array.role, array.shape) for array in nf.Dense(3).arrays((28, 28))]
        [('W', (784, 3)), ('b', (3,))]
        """
        return ()

    def statistics(self, shape: tuple[int, ...]) -> tuple[Array, ...]:
        """Return the running statistics that the layer keeps.

        Parameters
        ----------
        shape : tuple of int
            The shape of a sample.

        Examples
        --------
        >>> import nnfast as nf
        >>> [(array.role, array.shape) for array in nf.BatchNorm().statistics((5,))]
        [('mean', (5,)), ('variance', (5,))]
        """
        return ()

    def add_stages(self, to: Compiler, path: str) -> None:
        """Add the layer's stages to a program that is being made.

        Parameters
        ----------
        to : Compiler
            Takes the stages, one after another.
        path : str
            The path of the layer in its network, such as ``"0"`` or ``"2.1"``.

        Examples
        --------
        >>> import nnfast as nf
        >>> from nnfast.layers import Compiler
        >>> compiler = Compiler((4,))
        >>> nf.Dense(3).add_stages(compiler, "0")
        >>> compiler.stages[0]["kind"], compiler.shape
        ('dense', (3,))
        """
        raise NotImplementedError

    def count(self, shape: tuple[int, ...]) -> int:
        """Return the number of parameters.

        Parameters
        ----------
        shape : tuple of int
            The shape of a sample.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.Dense(3).count((28, 28))
        2355
        """
        return sum(prod(array.shape) for array in self.arrays(shape))

    def _config(self) -> dict[str, Any]:
        """Return what a file holds of it: its kind and arguments; how arrays began is not known any more then."""
        return {"kind": self.kind, **self._changed()}

    def _changed(self) -> dict[str, Any]:
        """Return the arguments that have no default, or another value."""
        defaults = _defaults(type(self))
        values = {name: getattr(self, name) for name in self.arguments}
        return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}

    @property
    def _label(self) -> str:
        """What a table of layers calls it."""
        return repr(self)

    def __repr__(self) -> str:
        defaults = _defaults(type(self))
        changed = {n: "array(...)" if isinstance(v, np.ndarray) else repr(v) for n, v in self._changed().items()}
        shown = [f"{n}={v}" if n in defaults else v for n, v in changed.items()]
        return f"{type(self).__name__}({', '.join(shown)})"


_DEFAULTS: dict[type[Layer], dict[str, Any]] = {}


def _defaults(kind: type[Layer]) -> dict[str, Any]:
    """The arguments that may be left out, with the values that they have then."""
    if kind not in _DEFAULTS:
        parameters = signature(kind).parameters.values()
        _DEFAULTS[kind] = {p.name: p.default for p in parameters if p.default is not p.empty}
    return _DEFAULTS[kind]


def _penalty(name: str, value: float) -> float:
    return check_float(name, value, 0.0, float("inf"), open_ends=False)


class Dense(Layer):
    """A fully connected layer: ``activation(x @ W + b)``.

    Parameters
    ----------
    units : int
        Outputs of the layer.
    activation : str or Activation
        Applied to each output; softmax and log_softmax to each row of outputs. A name (``"identity"``, ``"step"``,
        ``"sigmoid"``, ``"tanh"``, ``"relu"``, ``"leaky_relu"``, ``"elu"``, ``"selu"``, ``"gelu"``, ``"gelu_tanh"``,
        ``"silu"``, ``"softplus"``, ``"hard_sigmoid"``, ``"softmax"``, ``"log_softmax"``), or an object of
        `nnfast.activations` where a parameter is not the default.
    use_bias : bool
        Whether there is a ``b``.
    l1, l2 : float
        Penalties: the loss grows by ``l1 * sum(abs(W)) + l2 * sum(W**2)``, as in Keras. They are a part of what `loss`,
        `gradient` and the history of `fit` tell; the weight decay of an optimizer is not.
    trainable : bool
        False leaves the parameters as they are in training.
    initializer : str, float or array_like, optional
        The initial weights: a name (``"glorot_uniform"``, ``"he_normal"``, ``"lecun_normal"``, ...), the standard
        deviation of a normal distribution, or the weights themselves, of shape (inputs, units). By default
        ``"he_normal"`` for relu and its kin (leaky_relu, elu, gelu, gelu_tanh, silu, softplus), ``"lecun_normal"`` for
        selu, whose constants are made for it, and ``"glorot_uniform"`` otherwise.
    bias_initializer : float or array_like
        The initial biases: one number, or an array of shape (units,).

    Attributes
    ----------
    activation : str
        The name of the activation.
    function : Activation
        The activation as an object, with its parameter.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type, or no layer can have it.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Dense(50, activation="sigmoid")
    Dense(50, activation='sigmoid')
    >>> nf.Dense(50, activation=nf.activations.LeakyReLU(0.2)).function
    LeakyReLU(negative_slope=0.2)
    """

    kind = "dense"
    arguments = ("units", "use_bias", "l1", "l2", "trainable")
    units: int
    use_bias: bool
    l1: float
    l2: float
    trainable: bool
    initializer: Any
    bias_initializer: np.ndarray

    def __init__(
        self,
        units: int,
        activation: str | ActivationFunction = "identity",
        *,
        use_bias: bool = True,
        l1: float = 0.0,
        l2: float = 0.0,
        trainable: bool = True,
        initializer: str | float | ArrayLike | None = None,
        bias_initializer: float | ArrayLike = 0.0,
    ) -> None:
        units = check_int("units", units, 1)
        function = resolve_activation(activation)
        _check_mixing(function, units, "use Dense(1, activation='sigmoid') for two classes")
        bias = as_array("bias_initializer", bias_initializer, np.float64, ndim=(0, 1), finite=True)
        if bias.ndim:
            as_array("bias_initializer", bias, shape=(units,))
        use_bias = check_bool("use_bias", use_bias)
        if not use_bias and bias.any():
            raise ValueError("bias_initializer is of no use with use_bias=False")
        vars(self).update(
            units=units,
            function=function,
            use_bias=use_bias,
            l1=_penalty("l1", l1),
            l2=_penalty("l2", l2),
            trainable=check_bool("trainable", trainable),
            initializer=check_initializer(function.initializer if initializer is None else initializer),
            bias_initializer=bias.copy(),
        )

    numbered_as = "dense"

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.units,)

    def arrays(self, shape: tuple[int, ...]) -> tuple[Array, ...]:
        weights = prod(shape), self.units

        def initial(generator: Generator) -> np.ndarray:
            return initial_weights(self.initializer, weights, generator)

        W = Array("W", weights, initial, "initializer", self.l1, self.l2, True)
        b = Array("b", (self.units,), lambda generator: self.bias_initializer, "bias_initializer")
        return (W, b) if self.use_bias else (W,)

    def add_stages(self, to: Compiler, path: str) -> None:
        to.add_stage(self, path, "dense", function=self.function.name, alpha=self.function.alpha)

    def _config(self) -> dict[str, Any]:
        """Return what a file holds of it."""
        return {"kind": self.kind, **super()._changed(), "activation": self.function.config()}

    @property
    def _label(self) -> str:
        """What a table of layers calls it."""
        return f"Dense({self.units})"

    def _changed(self) -> dict[str, Any]:
        changed = super()._changed()
        if self.function.name != "identity":
            changed = {"units": changed.pop("units"), "activation": self.function.given(), **changed}
        if isinstance(self.initializer, np.ndarray) or self.initializer != self.function.initializer:
            changed["initializer"] = self.initializer
        return changed


def _check_mixing(function: ActivationFunction, units: int, instead: str) -> None:
    if function.name in ("softmax", "log_softmax") and units == 1:
        constant = 1 if function.name == "softmax" else 0
        raise ValueError(f"{function.name} on one unit is always {constant}: {instead}")


class Activation(Layer):
    """An activation function as a layer of its own.

    Parameters
    ----------
    function : str or Activation
        As the `activation` of `Dense`.

    Raises
    ------
    TypeError, ValueError
        If there is no such function.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(8), nf.LayerNorm(), nf.Activation("gelu"), nf.Dense(1)], input_shape=2, seed=0)
    >>> net.predict([[1.0, 2.0]]).shape
    (1, 1)
    """

    kind = "activation"
    arguments = ("function",)

    def __init__(self, function: str | ActivationFunction) -> None:
        vars(self).update(function=resolve_activation(function, "function"))

    def add_stages(self, to: Compiler, path: str) -> None:
        _check_mixing(self.function, prod(to.shape), "it needs two inputs at least")
        to.add_stage(self, path, "activation", function=self.function.name, alpha=self.function.alpha)

    def _config(self) -> dict[str, Any]:
        """Return what a file holds of it."""
        return {"kind": self.kind, "function": self.function.config()}

    def __repr__(self) -> str:
        return f"Activation({self.function.given()!r})"


class Rescaling(Layer):
    """``x * scale + offset``: the same two numbers for all.

    Parameters
    ----------
    scale, offset : float
        Finite.

    Raises
    ------
    TypeError, ValueError
        If they are no finite numbers.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Rescaling(1 / 255)], input_shape=2)
    >>> net.predict([[0.0, 255.0]])
    array([[0., 1.]], dtype=float32)
    """

    kind = "rescaling"
    arguments = ("scale", "offset")
    scale: float
    offset: float

    def __init__(self, scale: float, offset: float = 0.0) -> None:
        infinity = float("inf")
        vars(self).update(
            scale=check_float("scale", scale, -infinity, infinity, open_ends=True),
            offset=check_float("offset", offset, -infinity, infinity, open_ends=True),
        )

    def add_stages(self, to: Compiler, path: str) -> None:
        to.add_stage(self, path, "rescaling", numbers={"scale": self.scale, "offset": self.offset})


class Dropout(Layer):
    """Inverted dropout: in training each number is zero with probability `rate`, else divided by ``1 - rate``.

    Outside of training it does nothing: as in `predict` and, unless they are told otherwise, in `loss` and `gradient`.

    Parameters
    ----------
    rate : float
        In [0, 1).

    Raises
    ------
    TypeError, ValueError
        If the rate is not in [0, 1): a rate of 1 would leave nothing.

    Notes
    -----
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting" (2014). Which numbers are
    dropped is told by the network's seed, the step of training, the layer, and the place in the mini-batch: not by the
    number of threads.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dropout(0.5)], input_shape=8, seed=0)
    >>> out = net.forward([[1.0] * 8], training=True)
    >>> sorted(set(out[0].tolist()))
    [0.0, 2.0]
    >>> net.predict([[1.0] * 8])
    array([[1., 1., 1., 1., 1., 1., 1., 1.]], dtype=float32)
    """

    kind = "dropout"
    arguments = ("rate",)
    rate: float

    def __init__(self, rate: float) -> None:
        rate = check_float("rate", rate, 0.0, 1.0)
        if rate > 1 - 2**-32:  # as finely as it is drawn
            raise ValueError(f"rate must be below 1, for dropout of all numbers leaves nothing, got {rate}")
        vars(self).update(rate=rate)

    def add_stages(self, to: Compiler, path: str) -> None:
        to.add_stage(self, path, "dropout", numbers={"rate": self.rate})


class GaussianNoise(Layer):
    """In training, adds to each number one of a normal distribution with mean 0. Outside of training it does nothing.

    Parameters
    ----------
    stddev : float
        The standard deviation of the noise; not negative.

    Raises
    ------
    TypeError, ValueError
        If it is no such number.

    Notes
    -----
    Bishop, "Training with noise is equivalent to Tikhonov regularization" (1995). The noise is told as `Dropout`'s is.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.GaussianNoise(0.1), nf.Dense(1)], input_shape=3, seed=0)
    >>> bool((net.forward([[1.0, 2.0, 3.0]], training=True) == net.predict([[1.0, 2.0, 3.0]])).all())
    False
    """

    kind = "gaussian_noise"
    arguments = ("stddev",)
    stddev: float

    def __init__(self, stddev: float) -> None:
        vars(self).update(stddev=_penalty("stddev", stddev))

    def add_stages(self, to: Compiler, path: str) -> None:
        to.add_stage(self, path, "gaussian_noise", numbers={"stddev": self.stddev})


class _Norm(Layer):
    """What batch and layer normalization have in common."""

    epsilon: float
    affine: bool
    l1: float
    l2: float
    trainable: bool

    def _settle(self, epsilon: float, affine: bool, l1: float, l2: float, trainable: bool) -> None:
        vars(self).update(
            epsilon=check_float("epsilon", epsilon, 0.0, float("inf"), open_ends=True),
            affine=check_bool("affine", affine),
            l1=_penalty("l1", l1),
            l2=_penalty("l2", l2),
            trainable=check_bool("trainable", trainable),
        )
        if not self.affine and (self.l1 or self.l2):
            raise ValueError("l1 and l2 need affine=True: without it there is no gamma to be penalised")

    numbered_as = "norm"

    def arrays(self, shape: tuple[int, ...]) -> tuple[Array, ...]:
        width = (prod(shape),)
        gamma = Array("gamma", width, 1.0, l1=self.l1, l2=self.l2)
        return (gamma, Array("beta", width)) if self.affine else ()


class BatchNorm(_Norm):
    """Batch normalization: ``gamma * (x - mean) / sqrt(variance + epsilon) + beta`` in each column.

    In training, mean and (biased) variance are those of the mini-batch; and ``running = (1 - momentum) * running +
    momentum * batch``, with the unbiased variance, as in PyTorch. Outside of training, as in `predict` and `loss`, the
    running ones are used: they are in ``net.statistics``.

    Parameters
    ----------
    momentum : float
        Of the running statistics, in [0, 1]: PyTorch's, which is 1 less Keras'.
    epsilon : float
        Added to the variance; above zero.
    affine : bool
        Whether gamma and beta are learned; without, they are 1 and 0.
    l1, l2 : float
        Penalties on gamma, as those of `Dense` on weights.
    trainable : bool
        False leaves gamma, beta and the running statistics as they are, and uses the latter in training too, as in
        Keras.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type, or out of its range.

    Notes
    -----
    Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate shift"
    (2015). A mini-batch of one row has no variance, and is refused in training.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.BatchNorm()], input_shape=1, seed=0)
    >>> net.forward([[1.0], [2.0], [3.0]], training=True).ravel().round(3)
    array([-1.225,  0.   ,  1.225], dtype=float32)
    >>> net.statistics["mean1"]
    array([0.2], dtype=float32)
    """

    kind = "batch_norm"
    arguments = ("momentum", "epsilon", "affine", "l1", "l2", "trainable")
    momentum: float

    def __init__(
        self,
        *,
        momentum: float = 0.1,
        epsilon: float = 1e-5,
        affine: bool = True,
        l1: float = 0.0,
        l2: float = 0.0,
        trainable: bool = True,
    ) -> None:
        vars(self).update(momentum=check_float("momentum", momentum, 0.0, 1.0))
        self._settle(epsilon, affine, l1, l2, trainable)

    def statistics(self, shape: tuple[int, ...]) -> tuple[Array, ...]:
        width = (prod(shape),)
        return Array("mean", width), Array("variance", width, 1.0)

    def add_stages(self, to: Compiler, path: str) -> None:
        to.add_stage(self, path, "batch_norm", numbers={"epsilon": self.epsilon, "momentum": self.momentum})


class LayerNorm(_Norm):
    """Layer normalization: ``gamma * (x - mean) / sqrt(variance + epsilon) + beta`` in each row.

    Mean and (biased) variance are those of the row.

    Parameters
    ----------
    epsilon : float
        Added to the variance; above zero.
    affine : bool
        Whether gamma and beta are learned; without, they are 1 and 0.
    l1, l2 : float
        Penalties on gamma, as those of `Dense` on weights.
    trainable : bool
        False leaves gamma and beta as they are in training.

    Raises
    ------
    TypeError, ValueError
        If an argument is of a wrong type, or out of its range.

    Notes
    -----
    Ba, Kiros and Hinton, "Layer normalization" (2016).

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.LayerNorm()], input_shape=3)
    >>> net.predict([[1.0, 2.0, 3.0]]).round(3)
    array([[-1.225,  0.   ,  1.225]], dtype=float32)
    """

    kind = "layer_norm"
    arguments = ("epsilon", "affine", "l1", "l2", "trainable")

    def __init__(
        self,
        *,
        epsilon: float = 1e-5,
        affine: bool = True,
        l1: float = 0.0,
        l2: float = 0.0,
        trainable: bool = True,
    ) -> None:
        self._settle(epsilon, affine, l1, l2, trainable)

    def add_stages(self, to: Compiler, path: str) -> None:
        to.add_stage(self, path, "layer_norm", numbers={"epsilon": self.epsilon})


class Residual(Layer):
    """The sum of what a chain of layers makes of its input, and that input.

    Parameters
    ----------
    layers : sequence of Layer
        From the input on; they must have as many outputs as inputs. They may be residual too, up to 100 within each
        other.

    Raises
    ------
    TypeError, ValueError
        If `layers` is empty, contains a non-layer, or there are too many.

    Notes
    -----
    He, Zhang, Ren and Sun, "Deep residual learning for image recognition" (2016).

    Examples
    --------
    >>> import nnfast as nf
    >>> block = nf.Residual([nf.LayerNorm(), nf.Dense(8, "gelu"), nf.Dense(4)])
    >>> nf.Sequential([nf.Dense(4), block, nf.Dense(1)], input_shape=2, seed=0).params["1.1.W"].shape
    (4, 8)
    """

    kind = "residual"
    arguments = ("layers",)
    layers: tuple[Layer, ...]

    def __init__(self, layers: Sequence[Layer]) -> None:
        chain = check_layers(layers)
        depth = 1 + max(layer._depth for layer in chain)
        _check_depth(depth)
        vars(self).update(layers=chain, _depth=depth, _size=1 + sum(layer._size for layer in chain))

    def add_stages(self, to: Compiler, path: str) -> None:
        other, shape = len(to.stages) - 1, to.shape
        to.add_layers(self.layers, f"{path}.")
        if to.shape != shape:
            raise ValueError(
                f"the layers of a Residual must have as many outputs as inputs: {prod(shape)} go in at layer {path}, "
                f"and {prod(to.shape)} come out"
            )
        to.add_stage(self, path, "add", other=other)

    def count(self, shape: tuple[int, ...]) -> int:
        total = 0
        for layer in self.layers:
            total += layer.count(shape)
            shape = layer.output_shape(shape)
        return total

    def _config(self) -> dict[str, Any]:
        """Return what a file holds of it."""
        return {"kind": self.kind, "layers": [layer._config() for layer in self.layers]}

    @property
    def _label(self) -> str:
        """What a table of layers calls it."""
        return "Residual"

    def __repr__(self) -> str:
        return f"Residual({list(self.layers)!r})"


LAYERS: dict[str, type[Layer]] = {
    layer.kind: layer
    for layer in (Dense, Activation, Rescaling, Dropout, GaussianNoise, BatchNorm, LayerNorm, Residual)
}


def check_layers(layers: Any) -> tuple[Layer, ...]:
    """Return the chain that `layers` is.

    Raises
    ------
    TypeError, ValueError
        If it is none, or empty, or of more than `MAX_LAYERS`.
    """
    chain = as_tuple("layers", layers, "layers")
    for i, layer in enumerate(chain):
        if not isinstance(layer, Layer):
            raise TypeError(f"layers[{i}] must be a layer such as Dense, got {describe(layer)}")
    if not chain:
        raise ValueError("layers must have at least one layer, got none")
    _check_number(sum(layer._size for layer in chain))
    return chain


def _check_number(layers: int) -> None:
    if layers > MAX_LAYERS:
        raise ValueError(
            f"a network can have at most {MAX_LAYERS:,} layers, those within residual layers included, got {layers:,}"
        )


def _check_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"residual layers must be at most {MAX_DEPTH} deep within each other, got {depth}")


def walk(layers: Sequence[Layer], path: str = "") -> Iterator[tuple[str, Layer]]:
    """Go through layers and those within them, each with its path."""
    for i, layer in enumerate(layers):
        yield f"{path}{i}", layer
        if isinstance(layer, Residual):
            yield from walk(layer.layers, f"{path}{i}.")


def layers_from(configs: list[dict[str, Any]]) -> list[Layer]:
    """Make the layers of a file; that there are not too many is known before one is made.

    Raises
    ------
    KeyError, TypeError, ValueError
        If they are not described well.
    """
    number, chains = 0, [(0, configs)]
    while chains:
        depth, chain = chains.pop()
        if not isinstance(chain, list) or not all(isinstance(config, dict) for config in chain):
            raise TypeError(f"layers must be a list of descriptions, got {describe(chain)}")
        number += len(chain)
        _check_number(number)
        _check_depth(depth)
        chains += [(depth + 1, config["layers"]) for config in chain if "layers" in config]
    return [layer_from(config) for config in configs]


def layer_from(config: dict[str, Any]) -> Layer:
    """Make the layer that its `_config` describes.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it describes none.
    """
    arguments = dict(config)
    kind = arguments.pop("kind")
    if kind not in LAYERS:
        raise ValueError(f"unknown kind of layer {kind!r}")
    layer = LAYERS[kind]
    known = (*layer.arguments, "activation") if layer is Dense else layer.arguments
    for name in known:
        if name not in arguments and (name == "activation" or name not in _defaults(layer)):
            raise KeyError(name)
    for name in arguments:
        if name not in known:
            raise ValueError(f"a layer of kind {kind!r} has no {name!r}")
    for name in ("activation", "function"):
        if name in arguments:
            arguments[name] = activation_from(arguments[name])
    if layer is Residual:
        arguments["layers"] = [layer_from(inner) for inner in arguments["layers"]]
    return layer(**arguments)


def output_units(layers: Sequence[Layer]) -> int | None:
    """Return how many outputs a chain has; None if as many as inputs."""
    return next((layer.units for layer in reversed(layers) if layer.units is not None), None)
