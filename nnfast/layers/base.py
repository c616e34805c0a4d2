"""What layers have in common: shapes, arrays, and the stages of a program that they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from nnfast._description import Description
from nnfast._validation import MAX_SIZE, as_array, check_float, shown
from nnfast.activations import resolve_activation

if TYPE_CHECKING:
    from numpy.random import Generator

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
    penalty : {"mean", "sum"}
        Whether they are added to the average of the rows' losses or to their sum.
    decays : bool
        Whether weight decay applies to it where `decay_biases` is False.
    """

    role: str
    shape: tuple[int, ...]
    initial: float | Callable[[Generator], Any] = 0.0
    argument: str = ""
    l1: float = 0.0
    l2: float = 0.0
    penalty: str = "mean"
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
    penalty: str
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
    ends : dict
        For the path of each layer, the number of the stage whose output is the layer's (-1 is the input of the
        network), and the shape of that output.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.stages: list[dict[str, Any]] = []
        self.shape = shape
        self.ends: dict[str, tuple[int, tuple[int, ...]]] = {}
        self._outputs = 0
        self._numbers: dict[str, int] = {}

    def add_layers(self, layers: Sequence[Layer], path: str = "") -> None:
        """Add layers; `path` is that of the chain they are in, with a dot at its end."""
        for i, layer in enumerate(layers):
            layer.add_stages(self, f"{path}{i}")
            self.ends[f"{path}{i}"] = len(self.stages) - 1, self.shape

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
                NamedArray(f"{a.role}{number}", f"{path}.{a.role}", *a[1:])  # the fields after the name are the same
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


class Layer(Description, noun="a layer", tag="kind"):
    """A layer: a description that does not change.

    Layers are equal if they are of one class and were given the same arguments, arrays with the same content.

    Attributes
    ----------
    kind : str
        Its name in files.
    numbered_as : str
        The first of its arrays: layers with the same arrays are numbered together, W1, W2, ...; gamma1, ...
    function : Activation
        The activation that it ends in.
    layers : tuple of Layer
        The layers within it.
    fixed_shape : tuple of int or None
        The shape of its output, if that does not depend on the input.
    reshapes : bool
        Whether it changes nothing but the shape.
    random : bool
        Whether it is random in training.
    depth, size : int
        How deep residual layers are nested in it; the number of layers, itself and those within it.
    """

    kind: ClassVar[str]
    numbered_as: ClassVar[str] = ""
    # fields, or derived from them, in some kinds of layers; these are the values for all others
    function = resolve_activation("identity")
    layers = ()  # type: Sequence[Layer]
    depth = 0
    size = 1
    fixed_shape = None  # type: tuple[int, ...] | None
    reshapes = False
    random = False
    trainable = True
    l1 = 0.0
    l2 = 0.0
    penalty = "mean"

    @property
    def activation(self) -> str:
        """The name of the activation that it ends in."""
        return self.function.name

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

    def replaced(self, **values: Any) -> Layer:
        """Return a copy with other values of some fields, which are checked already and determine no others.

        Parameters
        ----------
        **values : object
            The values by name of the field.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.Dense(3, "relu").replaced(trainable=False)
        Dense(3, activation='relu', trainable=False)
        """
        twin = copy(self)
        vars(twin).update(values)
        return twin

    @property
    def label(self) -> str:
        """What a table of layers calls it."""
        return repr(self)


def check_penalty(name: str, value: Any) -> float:
    """Return a factor of a penalty: a finite number that is not negative."""
    return check_float(name, value, 0.0)


def check_values(name: str, value: Any) -> float | np.ndarray:
    """Return initial values: a finite number, or a vector of them."""
    array = as_array(name, value, np.float64, ndim=(0, 1), finite=True)
    return array.copy() if array.ndim else float(array)
