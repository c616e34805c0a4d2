"""The networks of the estimators: their layers, scikit-learn's initial weights, and the record of their training."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf, sqrt
from typing import Any

import numpy as np

from nnfast._validation import describe
from nnfast.activations import Activation as ActivationFunction
from nnfast.activations import resolve_activation
from nnfast.files import state as states
from nnfast.layers import Activation, BatchNorm, Dense, Dropout, Layer
from nnfast.losses import Custom, Loss
from nnfast.optimizers import Optimizer
from nnfast.sequential import Sequential, network_of, sequential_of

NAMES = {"logistic": "sigmoid"}  # scikit-learn's names of activations that have another name here
GLOROT = {"identity": 6.0, "sigmoid": 2.0, "tanh": 6.0, "relu": 6.0}  # scikit-learn's factors of initial weights


class Design:
    """The design of the networks of an estimator.

    Parameters
    ----------
    n_features, n_outputs : int
        The numbers of inputs and outputs.
    hidden : sequence of int
        The units of the hidden layers.
    activation, dropout : object
        One for all hidden layers, or a list or tuple with one for each.
    batch_norm : bool
        Whether a batch normalization stands before each activation.
    l2 : float
        The penalty on all weights.
    output : str
        The activation of the output layer.
    loss : Loss
        The loss.
    dtype : dtype
        The dtype of the parameters.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.
    """

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        hidden: Sequence[int],
        activation: Any,
        dropout: Any,
        batch_norm: bool,
        l2: float,
        output: str,
        loss: Loss,
        dtype: np.dtype,
    ) -> None:
        self.units = [n_features, *hidden, n_outputs]
        self.functions = [_function(name, value) for name, value in _each("activation", activation, len(hidden))]
        self.rates = [_rate(name, value) for name, value in _each("dropout", dropout, len(hidden))]
        self.batch_norm, self.l2, self.output, self.loss, self.dtype = batch_norm, l2, output, loss, dtype
        last = _function("activation", activation) if not hidden and not _several(activation) else None
        self.before_output = self.functions[-1] if hidden else last

    @property
    def layers(self) -> list[Layer]:
        """The layers."""
        found: list[Layer] = []
        for units, function, rate in zip(self.units[1:-1], self.functions, self.rates, strict=True):
            if self.batch_norm:
                found += [self._dense(units, "identity"), BatchNorm(), Activation(function)]
            else:
                found.append(self._dense(units, function))
            if rate:
                found.append(Dropout(rate))
        return [*found, self._dense(self.units[-1], self.output)]

    def _dense(self, units: int, activation: str | ActivationFunction) -> Dense:
        return Dense(units, activation, l2=self.l2, penalty="sum")

    def build(self, random: np.random.RandomState) -> Sequential:
        """Return a new network; its weights are drawn as scikit-learn draws them, the rest from a seed of its own.

        Hidden layers with an activation that scikit-learn does not have keep nnfast's initial values.
        """
        drawn = list(self._drawn(random))
        twin = copy.deepcopy(random)  # draws nothing from the original: in scikit-learn, the split comes next
        seed = int(twin.randint(2**32, dtype=np.uint32))
        net = Sequential(self.layers, input_shape=self.units[0], loss=self.loss, dtype=self.dtype, seed=seed)
        for name, values in drawn:
            net.params[name][...] = values
        return net

    def _drawn(self, random: np.random.RandomState) -> Iterator[tuple[str, np.ndarray]]:
        """Draw the initial weights of Glorot and Bengio, and biases of the same range, layer by layer."""
        functions = [*self.functions, self.before_output]
        for i, ((fan_in, fan_out), function) in enumerate(zip(pairwise(self.units), functions, strict=True), 1):
            factor = GLOROT.get(function.name) if function else None
            if factor is None and i < len(functions):
                continue
            bound = sqrt((factor or 6.0) / (fan_in + fan_out))
            yield f"W{i}", random.uniform(-bound, bound, (fan_in, fan_out))
            yield f"b{i}", random.uniform(-bound, bound, fan_out)

    def continued(self, net: Sequential) -> Sequential:
        """Return a network that continues from another: the same one if its layers and its loss are still right.

        Raises
        ------
        ValueError
            If its arrays have other shapes.
        """
        if net.layers == tuple(self.layers) and net.loss_function == self.loss:
            return net
        description, arrays = states.to_state(network_of(net))
        before, now = _with_arrays(net.layers), _with_arrays(self.layers)
        places = {str(i): str(j) for i, j in zip(before, now, strict=False)}
        moved: dict[str, np.ndarray] = {}
        for path, array in arrays.items():
            layer, _, name = path.partition(".")
            moved[f"{places.get(layer, layer)}.{name}"] = array
        try:
            if len(before) != len(now):
                raise ValueError("another number of layers")
            return sequential_of(states.from_state(description, moved, self.layers, self.loss))
        except (KeyError, ValueError):
            raise ValueError(
                "hidden_layer_sizes and batch_norm must stay as they were in the previous fit, whose weights are used "
                f"again: now the layers have {self.units} units, and the fitted network is {net!r}. Use "
                "warm_start=False, or clone the estimator, to begin anew"
            ) from None


def _with_arrays(layers: Sequence[Layer]) -> list[int]:
    """Return the positions of the layers that are not dropouts, which may come and go."""
    return [i for i, layer in enumerate(layers) if not isinstance(layer, Dropout)]


def _several(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _each(name: str, value: Any, count: int) -> list[tuple[str, Any]]:
    """Return the value of each hidden layer, with its name in messages."""
    if not _several(value):
        return [(name, value)] * count
    if len(value) != count:
        raise ValueError(
            f"{name} must be one for all hidden layers or a list with one for each of the {count}, got {len(value)}"
        )
    return [(f"{name}[{i}]", entry) for i, entry in enumerate(value)]


def _function(name: str, value: Any) -> ActivationFunction:
    return resolve_activation(NAMES.get(value, value) if isinstance(value, str) else value, name)


def _rate(name: str, value: Any) -> float:
    """Return a rate of dropout; 0 means that there is none."""
    if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number in [0, 1), got {describe(value)}")
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be a number in [0, 1), got {value}")
    return float(value)


class Member:
    """A network of an estimator, and the record of its training.

    Attributes
    ----------
    net : Sequential
        The network.
    optimizer : Optimizer or None
        The optimizer that trained it last.
    rate : float or None
        The learning rate of ``solver="sgd"``, which changes with ``learning_rate="adaptive"`` and ``"invscaling"``.
    n_iter : int
        Epochs, or iterations of L-BFGS, of the last fit.
    samples : int
        Rows seen in all fits.
    loss_curve, validation_scores, validation_losses : list of float
        A number for each epoch of all fits.
    best_loss, best_score : float
        The best of them.
    best : list of ndarray or None
        The parameters and running statistics with the best score.
    no_improvement : int
        Epochs in a row that were not better by `tol`.
    converged : bool
        Whether the last fit ended because it had converged.
    """

    def __init__(self, net: Sequential) -> None:
        self.net = net
        self.optimizer: Optimizer | None = None
        self.rate: float | None = None
        self.n_iter = self.samples = self.no_improvement = 0
        self.loss_curve: list[float] = []
        self.validation_scores: list[float] = []
        self.validation_losses: list[float] = []
        self.best_loss, self.best_score = inf, -inf
        self.best: list[np.ndarray] | None = None
        self.converged = False

    def with_net(self, net: Sequential) -> Member:
        """Return a record that goes on from this one, with a network that may be the same."""
        member = copy.copy(self)
        member.net = net
        return member

    @property
    def arrays(self) -> list[np.ndarray]:
        """Views of all parameters and running statistics."""
        return [self.net.flat_params, *self.net.statistics.values()]

    def keep(self) -> None:
        """Copy the parameters and statistics, as the best ones."""
        if self.best is None:
            self.best = [np.empty_like(array) for array in self.arrays]
        for kept, array in zip(self.best, self.arrays, strict=True):
            kept[...] = array

    def restore(self) -> None:
        """Go back to the best parameters, if there are any."""
        for kept, array in zip(self.best or (), self.arrays, strict=False):
            array[...] = kept

    def state(self) -> dict[str, Any]:
        """Return all of it in plain containers and arrays, for pickles and other files."""
        description, arrays = states.to_state(network_of(self.net))
        net: dict[str, Any] = {"description": description, "arrays": arrays}
        if isinstance(self.net.loss_function, Custom):  # a function of the user's, which no description contains
            net["loss"] = self.net.loss_function
        return {**vars(self), "net": net, "optimizer": None}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Member:
        """Return the member that `state` describes."""
        member = cls.__new__(cls)
        vars(member).update(state)
        net = state["net"]
        member.net = sequential_of(states.from_state(net["description"], net["arrays"], loss=net.get("loss")))
        return member


class Weights(list):  # type: ignore[type-arg]
    """Views of the weights or the biases of a network; an array that is assigned to one of them is copied into it."""

    def __setitem__(self, index: Any, value: Any) -> None:
        """Write into the network."""
        if isinstance(index, slice):
            raise TypeError("assign one array at a time, such as coefs_[0] = W")
        view = self[index]
        array = np.asarray(value)
        if array.shape != view.shape:
            raise ValueError(f"the array must have shape {view.shape}, got {array.shape}")
        view[...] = array
