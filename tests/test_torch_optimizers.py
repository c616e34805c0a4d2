"""Optimizers against PyTorch's: the same steps from the same gradients, and the same networks from the same batches."""

from __future__ import annotations

import kernel_calls as kernels
import numpy as np
import pytest
from tolerances import assert_close

import nnfast as nf
from nnfast import reference
from nnfast.optimizers import OPTIMIZERS, Optimizer

torch = pytest.importorskip("torch", reason="the trajectories of PyTorch need torch")

STEPS = 100
IN_PYTORCH = {"learning_rate": "lr", "learning_rate_decay": "lr_decay", "epsilon": "eps"}
# Each kind with each of its options, and all of them together.
OPTIONS = {
    "sgd": [
        {"learning_rate": 0.05},
        {"learning_rate": 0.05, "momentum": 0.9},
        {"learning_rate": 0.05, "momentum": 0.9, "dampening": 0.5},
        {"learning_rate": 0.05, "momentum": 0.9, "nesterov": True},
        {"learning_rate": 0.05, "weight_decay": 0.1},
        {"learning_rate": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
        {"learning_rate": 0.05, "momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1},
    ],
    "adam": [
        {"learning_rate": 0.01},
        {"learning_rate": 0.01, "beta1": 0.7, "beta2": 0.9, "epsilon": 1e-3},
        {"learning_rate": 0.01, "amsgrad": True, "beta2": 0.8},
        {"learning_rate": 0.01, "weight_decay": 0.1},
        {"learning_rate": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True},
        {"learning_rate": 0.01, "amsgrad": True, "beta2": 0.8, "weight_decay": 0.1},
    ],
    "adamw": [
        {"learning_rate": 0.01},
        {"learning_rate": 0.01, "weight_decay": 0.0},
        {"learning_rate": 0.01, "beta1": 0.7, "beta2": 0.9, "epsilon": 1e-3},
        {"learning_rate": 0.01, "weight_decay": 0.5, "amsgrad": True, "beta2": 0.8},
    ],
    "nadam": [
        {"learning_rate": 0.01},
        {"learning_rate": 0.01, "momentum_decay": 0.1, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3},
        {"learning_rate": 0.01, "weight_decay": 0.1},
        {"learning_rate": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    "adagrad": [
        {"learning_rate": 0.1},
        {"learning_rate": 0.1, "learning_rate_decay": 0.05, "epsilon": 1e-3},
        {"learning_rate": 0.1, "initial_accumulator_value": 0.5},
        {"learning_rate": 0.1, "learning_rate_decay": 0.05, "initial_accumulator_value": 0.5, "weight_decay": 0.1},
    ],
    "rmsprop": [
        {"learning_rate": 0.01},
        {"learning_rate": 0.01, "alpha": 0.8, "epsilon": 1e-3},
        {"learning_rate": 0.01, "momentum": 0.8},
        {"learning_rate": 0.01, "centered": True, "epsilon": 1e-2},
        {"learning_rate": 0.01, "momentum": 0.8, "centered": True, "epsilon": 1e-2, "weight_decay": 0.1},
    ],
    "adadelta": [
        {"learning_rate": 1.0},
        {"learning_rate": 0.5, "rho": 0.7, "epsilon": 1e-3},
        {"learning_rate": 0.5, "epsilon": 1e-3, "weight_decay": 0.1},
    ],
}
CASES = [(name, options) for name, many in OPTIONS.items() for options in many]
# Options that the engine applies around the kernel, for whole networks only.
WHOLE = [(name, many[-1] | {"clip_norm": 0.05}) for name, many in OPTIONS.items()]
WHOLE += [(name, many[-1] | {"clip_norm": 0.05, "clip_value": 0.01}) for name, many in OPTIONS.items()]
WHOLE += [(name, many[-1] | {"weight_decay": 0.2, "decay_biases": False}) for name, many in OPTIONS.items()]
CLIPPING = [(name, many[-1] | {"clip_value": 0.01}) for name, many in OPTIONS.items()]


@pytest.fixture(autouse=True)
def double_precision():
    """Also for PyTorch's scalars: NAdam's product of momenta has the default dtype."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(default)


def named(case):
    name, options = case
    return "-".join((name, *(f"{key}={value}" for key, value in options.items() if key != "learning_rate")))


def in_pytorch(name, parameters, options):
    """PyTorch's optimizer with these hyperparameters, in its single-tensor version."""
    ours = ("clip_value", "clip_norm", "decay_biases")
    own = {IN_PYTORCH.get(key, key): value for key, value in options.items() if key not in ours}
    if not options.get("decay_biases", True):
        weights, biases = ([p for p in parameters if p.ndim == ndim] for ndim in (2, 1))
        parameters = [{"params": weights}, {"params": biases, "weight_decay": 0.0}]
    if "beta1" in own or "beta2" in own:
        own["betas"] = (own.pop("beta1", 0.9), own.pop("beta2", 0.999))
    return getattr(torch.optim, OPTIMIZERS[name].__name__)(parameters, foreach=False, **own)


def clip(parameters, options):
    if "clip_norm" in options:
        torch.nn.utils.clip_grad_norm_(parameters, options["clip_norm"])
    if "clip_value" in options:
        torch.nn.utils.clip_grad_value_(parameters, options["clip_value"])


def test_every_hyperparameter_is_compared() -> None:
    assert set(OPTIONS) == set(OPTIMIZERS)
    for name, many in OPTIONS.items():
        tried = {key for options in many for key in options}
        own = set(OPTIMIZERS[name].fields)
        assert own - tried == {"decay_biases", "clip_value", "clip_norm", "average_decay"}


# ---- single steps, from given gradients


class Stepper:
    """Steps of a kernel or its twin, with the state that an optimizer with these hyperparameters needs."""

    def __init__(self, module, optimizer: Optimizer, parameters: np.ndarray) -> None:
        self.function, self.values = getattr(module, optimizer.kind), optimizer.values()
        self.parameters, self.step, self.product = parameters, 0, 1.0
        self.moments = [None if v is None else np.full_like(parameters, v) for v in self.values.moments]

    def __call__(self, gradient: np.ndarray) -> None:
        self.step += 1
        v, p, m = self.values, self.parameters, self.moments
        common = {"weight_decay": v.weight_decay, "clip_value": None if np.isinf(v.clip_value) else v.clip_value}
        adam = (v.learning_rate, v.beta1, v.beta2, v.epsilon)
        decoupled = {"decoupled_weight_decay": v.decoupled_weight_decay}
        match v.kind:
            case "sgd":
                self.function(
                    p, gradient, v.learning_rate, buffer=m[0], momentum=v.momentum, dampening=v.dampening,
                    nesterov=v.nesterov, step=self.step, **common,
                )  # fmt: skip
            case "adagrad":
                self.function(p, gradient, m[0], v.learning_rate, v.learning_rate_decay, v.epsilon, self.step, **common)
            case "rmsprop":
                self.function(
                    p, gradient, m[0], v.learning_rate, v.alpha, v.epsilon, mean=m[1], buffer=m[2],
                    momentum=v.momentum, **common,
                )  # fmt: skip
            case "adadelta":
                self.function(p, gradient, m[0], m[1], v.learning_rate, v.rho, v.epsilon, **common)
            case "adam":
                self.function(p, gradient, m[0], m[1], *adam, self.step, largest=m[2], **decoupled, **common)
            case "adamw":
                self.function(p, gradient, m[0], m[1], *adam, self.step, largest=m[2], **common)
            case "nadam":
                self.product = self.function(
                    p, gradient, m[0], m[1], *adam, v.momentum_decay, self.product, self.step, **decoupled, **common
                )


def gradient_of(p: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The gradient of a flattened Rosenbrock function, with noise."""
    slope = np.zeros_like(p)
    curve = p[1:] - p[:-1] ** 2
    slope[:-1] = -4 * p[:-1] * curve - 2 * (1 - p[:-1])
    slope[1:] += 2 * curve
    return slope / (1 + np.abs(slope)) + noise


@pytest.mark.parametrize("module", [kernels, reference], ids=lambda module: module.__name__)
@pytest.mark.parametrize("case", [*CASES, *CLIPPING], ids=named)
def test_steps_are_those_of_pytorch(module, case) -> None:
    name, options = case
    rng = np.random.default_rng(3)
    begin, noise = rng.normal(size=19), 0.1 * rng.normal(size=(STEPS, 19))
    mine = Stepper(module, OPTIMIZERS[name](**options), begin.copy())
    theirs = torch.tensor(begin)
    optimizer = in_pytorch(name, [theirs], options)
    for step in range(STEPS):
        theirs.grad = torch.tensor(gradient_of(theirs.numpy(), noise[step]))
        clip([theirs], options)
        optimizer.step()
        mine(gradient_of(mine.parameters, noise[step]))
    assert_close(mine.parameters, theirs.numpy(), scale=np.maximum(1, np.abs(theirs.numpy())), kind="trajectory")
    assert np.abs(theirs.numpy() - begin).max() > 0.01, "it hardly moved: the comparison says nothing"


# ---- whole networks

BATCH, ROWS, FEATURES, HIDDEN = 8, 50, 5, 7
TRAINED = {"cross_entropy": ("softmax", 4), "mean_squared_error": ("identity", 3)}


def trajectory(name: str, options: dict, net: nf.Sequential, x: np.ndarray, y: np.ndarray) -> tuple[list, np.ndarray]:
    """The losses and the parameters of the same network in PyTorch, after the same batches."""
    activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[net.layers[0].activation]
    n_out = net.layers[-1].units
    twin = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, HIDDEN), activation(), torch.nn.Linear(HIDDEN, HIDDEN), activation(),
        torch.nn.Linear(HIDDEN, n_out),
    ).double()  # fmt: skip
    with torch.no_grad():
        for parameter, array in zip(twin.parameters(), net.params.values(), strict=True):
            parameter[:] = torch.tensor(array.T)
    loss_of = torch.nn.CrossEntropyLoss() if net.loss_name == "cross_entropy" else torch.nn.MSELoss()
    parameters = list(twin.parameters())
    optimizer = in_pytorch(name, parameters, options)
    losses = []
    for step in range(STEPS):
        at = step % -(-ROWS // BATCH) * BATCH
        loss = loss_of(twin(torch.tensor(x[at : at + BATCH])), torch.tensor(y[at : at + BATCH]))
        optimizer.zero_grad()
        loss.backward()
        clip(parameters, options)
        optimizer.step()
        losses.append(loss.item())
    return losses, np.concatenate([p.detach().numpy().T.ravel() for p in parameters])


@pytest.mark.parametrize("loss", TRAINED)
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("case", [*CASES, *CLIPPING, *WHOLE], ids=named)
def test_networks_are_those_of_pytorch(case, activation, loss) -> None:
    name, options = case
    output, units = TRAINED[loss]
    net = nf.Sequential(
        [nf.Dense(HIDDEN, activation), nf.Dense(HIDDEN, activation), nf.Dense(units, output)],
        input_shape=FEATURES, loss=loss, dtype="float64", seed=1,
    )  # fmt: skip
    rng = np.random.default_rng(2)
    x = rng.normal(size=(ROWS, FEATURES))
    score = np.tanh(x @ rng.normal(size=(FEATURES, units)))
    y = score.argmax(axis=1) if output == "softmax" else score
    begin = net.flat_params.copy()
    losses, parameters = trajectory(name, options, net, x, y)
    history = net.fit(
        x, y, steps=STEPS, batch_size=BATCH, optimizer=OPTIMIZERS[name](**options), shuffle=False, verbose=0
    )
    assert_close(history.step_loss, losses, scale=np.maximum(1, losses), kind="PyTorch")
    assert_close(net.flat_params, parameters, scale=np.maximum(1, np.abs(parameters)), kind="PyTorch")
    assert np.abs(net.flat_params - begin).max() > 0.01, "it hardly moved: the comparison says nothing"
