"""Optimizers and their states to and from PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from nnfast._network import Network
from nnfast.layers import walk
from nnfast.optimizers import OPTIMIZERS, SGD, Optimizer
from nnfast.schedules import Schedule

NAMES = {"learning_rate": "lr", "learning_rate_decay": "lr_decay", "epsilon": "eps"}  # of hyperparameters in PyTorch
BETAS = ("beta1", "beta2")  # which PyTorch has as a pair
OWN = {  # hyperparameters that PyTorch's optimizers lack, with the values that change nothing
    "corrected_epsilon": False,
    "clip_value": None,
    "clip_norm": None,
    "average_decay": None,
}
# Options of PyTorch that do not change what is computed; `initial_lr` and others are the notes of schedulers.
TECHNICAL = {"params", "foreach", "capturable", "differentiable", "fused", "param_names"}
TECHNICAL |= {"initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum"}


class Learned(NamedTuple):
    """A trainable array of a network.

    Attributes
    ----------
    name : str
        That of the parameter in the module.
    parameter : nn.Parameter
    array : ndarray
        A view of its memory, with the shape that it has in the network.
    decays : bool
        Whether it is among the weights, which decay where biases do not.
    """

    name: str
    parameter: nn.Parameter
    array: np.ndarray
    decays: bool

    def laid_out(self, tensor: torch.Tensor) -> np.ndarray:
        """Return a tensor like the parameter as an array like that of the network."""
        shape = tuple(self.parameter.shape)
        if tuple(tensor.shape) != shape:
            raise ValueError(f"optimizer: its state of {self.name} must have shape {shape}, got {tuple(tensor.shape)}")
        values = tensor.detach().to("cpu", self.parameter.dtype).contiguous().numpy()
        return np.lib.stride_tricks.as_strided(values, self.array.shape, self.array.strides)


class State(NamedTuple):
    """What PyTorch's optimizer remembers of a parameter.

    Attributes
    ----------
    moments : tuple of str
        The names of nnfast's moments in PyTorch, in order.
    steps : bool
        Whether the number of steps is among it.
    product : str
        The name of the product of momenta, empty if there is none.
    """

    moments: tuple[str, ...]
    steps: bool = True
    product: str = ""


STATES = {
    "sgd": State(("momentum_buffer",), steps=False),
    "adam": State(("exp_avg", "exp_avg_sq", "max_exp_avg_sq")),
    "adamw": State(("exp_avg", "exp_avg_sq", "max_exp_avg_sq")),
    "nadam": State(("exp_avg", "exp_avg_sq"), product="mu_product"),
    "adagrad": State(("sum",)),
    "rmsprop": State(("square_avg", "grad_avg", "momentum_buffer")),
    "adadelta": State(("square_avg", "acc_delta")),
}
KINDS = {getattr(torch.optim, OPTIMIZERS[kind].__name__): kind for kind in STATES}


def decaying(network: Network) -> set[str]:
    """Return the paths of the arrays that decay where biases do not."""
    layers = walk(network.layers)
    return {f"{path}.{array.role}" for path, layer in layers for array in layer.arrays((1,)) if array.decays}


# ---- from PyTorch


def check_optimizer(optimizer: Any) -> None:
    """Raise TypeError unless it is an optimizer of PyTorch that nnfast has."""
    if type(optimizer) not in KINDS:
        supported = ", ".join(kind.__name__ for kind in KINDS)
        raise TypeError(
            f"optimizer must be one of torch.optim that nnfast has ({supported}), got {type(optimizer).__qualname__}"
        )


def from_torch(optimizer: torch.optim.Optimizer, learned: Mapping[str, Learned]) -> Optimizer:
    """Return an optimizer with the same hyperparameters.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        PyTorch's.
    learned : dict
        The trainable arrays by path.

    Raises
    ------
    ValueError
        If nnfast has no such optimizer.
    """
    kind = OPTIMIZERS[KINDS[type(optimizer)]]
    groups = [{k: v for k, v in group.items() if k not in TECHNICAL} for group in optimizer.param_groups]
    values: dict[str, Any] = {}
    if _decays_weights_alone(optimizer, learned):
        values["decay_biases"] = False
        for group in groups:
            group["weight_decay"] = max(group["weight_decay"] for group in groups)
    first, *others = groups
    for group in others:
        for name, value in group.items():
            if first.get(name) != value:
                raise ValueError(
                    f"optimizer: its groups of parameters have different {name}, {first.get(name)} and {value}; nnfast "
                    "has one for all, or for the weights of dense layers a weight_decay that all others have not"
                )
    if "betas" in first:
        values |= dict(zip(BETAS, first.pop("betas"), strict=True))
    given = {ours: theirs for ours in kind.fields if (theirs := NAMES.get(ours, ours)) in first}
    values |= {ours: first.pop(theirs) for ours, theirs in given.items()}
    for name, value in first.items():
        if value and kind.constants.get(name) != value:
            raise ValueError(f"optimizer: {type(optimizer).__name__} with {name}={value} is not supported")
    try:
        return kind(**{name: _plain(value) for name, value in values.items()})
    except ValueError as error:
        raise ValueError(f"optimizer: {error}") from None


def _decays_weights_alone(optimizer: torch.optim.Optimizer, learned: Mapping[str, Learned]) -> bool:
    """Whether the groups differ in that weights decay and nothing else does."""
    weights = {id(array.parameter): array.decays for array in learned.values()}
    decaying = [
        (weights[id(parameter)], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
        if id(parameter) in weights
    ]
    rates = {rate for _, rate in decaying if rate}
    return (
        len(rates) == 1
        and {decays for decays, _ in decaying} == {True, False}
        and all(decays == bool(rate) for decays, rate in decaying)
    )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) else value


def restore_state(
    network: Network, optimizer: torch.optim.Optimizer, ours: Optimizer, learned: Mapping[str, Learned]
) -> None:
    """Give a network the state of an optimizer of PyTorch.

    Parameters
    ----------
    network : Network
        A new one.
    optimizer : torch.optim.Optimizer
        PyTorch's.
    ours : Optimizer
        The same in nnfast.
    learned : dict
        For the path of each trainable array, a `Learned`.

    Raises
    ------
    ValueError
        If a parameter is not one of the optimizer's, or the states of parameters do not fit together.
    """
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for path, array in learned.items():
        if id(array.parameter) not in known:
            raise ValueError(
                f"optimizer: {array.name}, the array {path} of the network, is not one of its parameters: add it, or "
                "freeze it with requires_grad_(False)"
            )
    kind, program = STATES[ours.kind], network.built
    initial = ours.values(network.dtype).moments
    kept = {name: i for i, name in enumerate(kind.moments) if initial[i] is not None}
    states = {path: optimizer.state.get(array.parameter) or {} for path, array in learned.items()}
    counts = {path: _steps(state, kept, kind) for path, state in states.items()}
    if len(set(counts.values())) > 1:
        least, most = (choose(counts, key=counts.__getitem__) for choose in (min, max))
        raise ValueError(
            f"optimizer: it has made {counts[least]} steps with {learned[least].name}, and {counts[most]} with "
            f"{learned[most].name}; in nnfast all parameters take part in each step"
        )
    steps = max(counts.values(), default=0)
    if not steps:
        return
    vectors = [None if value is None else np.full_like(program.parameters, value) for value in initial]
    for name, i in kept.items():
        views = network.named(np.asarray(vectors[i]))
        for path, state in states.items():
            if state.get(name) is None:
                raise ValueError(f"optimizer: it has no {name} of {learned[path].name}: make a step with it first")
            views[path] = learned[path].laid_out(state[name])
    product = 1.0
    if kind.product:
        product = float(next(iter(states.values()))[kind.product])
    elif isinstance(ours, SGD):  # it tells the first step from the others
        product = ours.momentum
    program.slot.restore(ours.kind, steps, 0, product, vectors, None, None)


def _steps(state: Mapping[str, Any], kept: Mapping[str, int], kind: State) -> int:
    """Return the steps that were made; for SGD, which does not count them, 1 if there were any."""
    if kind.steps:
        return int(state.get("step", 0))
    return int(any(state.get(name) is not None for name in kept))


# ---- to PyTorch


def to_torch(network: Network, ours: Optimizer, parameters: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """Return PyTorch's optimizer with the state of a network; `parameters` are those of the module, by path.

    Raises
    ------
    ValueError
        If PyTorch has no such optimizer, or there is nothing to train.
    """
    if ours.kind not in STATES:
        supported = ", ".join(OPTIMIZERS[kind].__name__ for kind in STATES)
        raise ValueError(f"optimizer: {type(ours).__name__} is not in torch.optim; supported are {supported}")
    ours.values(network.dtype)  # checks them
    trainable = {path: parameter for path, parameter in parameters.items() if parameter.requires_grad}
    if not trainable:
        raise ValueError("optimizer: there is nothing to train: all layers are frozen, or have no parameters")
    groups: list[dict[str, Any]] = [{"params": [*trainable.values()]}]
    if ours.weight_decay and not ours.decay_biases:
        weights = decaying(network)
        chosen = [[p for path, p in trainable.items() if (path in weights) == decays] for decays in (True, False)]
        groups = [{"params": chosen[0]}, {"params": chosen[1], "weight_decay": 0.0}]
    made = getattr(torch.optim, OPTIMIZERS[ours.kind].__name__)(groups, **_hyperparameters(ours))
    if network.built.slot.steps_of(ours.kind):
        _fill(made, network, ours, trainable)
    return made


def _hyperparameters(ours: Optimizer) -> dict[str, Any]:
    """Return the hyperparameters as PyTorch's optimizer takes them, without `decay_biases`."""
    given = {name: getattr(ours, name) for name in ours.fields if name != "decay_biases"}
    if isinstance(given["learning_rate"], Schedule):
        raise ValueError(
            "optimizer: its learning rate must be a number, got a schedule: make the optimizer with the present "
            "rate, and continue with a scheduler of torch.optim.lr_scheduler"
        )
    for name, neutral in OWN.items():
        if name in given and given.pop(name) != neutral:
            raise ValueError(f"optimizer: PyTorch's {type(ours).__name__} has no {name}")
    if BETAS[0] in given:
        given["betas"] = tuple(given.pop(name) for name in BETAS)
    if not given.get("decoupled_weight_decay"):
        given.pop("decoupled_weight_decay", None)  # which older versions do not have
    return {NAMES.get(name, name): value for name, value in given.items()}


def _fill(
    made: torch.optim.Optimizer, network: Network, ours: Optimizer, parameters: Mapping[str, nn.Parameter]
) -> None:
    """Give PyTorch's optimizer the state of a network."""
    slot, kind = network.built.slot, STATES[ours.kind]
    initial = ours.values(network.dtype).moments
    views = [None if moment is None else network.named(moment) for moment in slot.moments]
    for path, parameter in parameters.items():
        state = made.state[parameter] = {"step": torch.tensor(float(slot.steps))} if kind.steps else {}
        if kind.product:
            state[kind.product] = torch.tensor(slot.product)
        for name, value, view in zip(kind.moments, initial, views, strict=False):
            if value is not None and view is not None:
                state[name] = torch.from_numpy(np.array(view[path].T))
            elif value is not None and kind.steps:  # an option that was turned on since
                state[name] = torch.full_like(parameter, value, requires_grad=False)
