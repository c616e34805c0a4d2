"""Networks of all layers against the same networks in PyTorch: many training steps in double precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from tolerances import assert_close

import nnfast as nf
from nnfast.optimizers import Optimizer

torch = pytest.importorskip("torch", reason="the trajectories of PyTorch need torch")

STEPS, BATCH, ROWS, FEATURES, CLASSES = 100, 8, 50, 5, 4
X = np.random.default_rng(2).normal(size=(ROWS, FEATURES))
Y = np.tanh(X @ np.random.default_rng(3).normal(size=(FEATURES, CLASSES))).argmax(axis=1)


@pytest.fixture(autouse=True)
def double_precision():
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(default)


class TorchResidual(torch.nn.Module):
    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class TorchRescaling(torch.nn.Module):
    def __init__(self, scale: float, offset: float) -> None:
        super().__init__()
        self.scale, self.offset = scale, offset

    def forward(self, x):
        return x * self.scale + self.offset


FUNCTIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh, "gelu": torch.nn.GELU, "softplus": torch.nn.Softplus}


def module_of(layer: nf.layers.Layer, width: int) -> tuple[list[torch.nn.Module], int]:
    """The PyTorch module of a layer, and its width; the softmax of the last layer is part of the loss."""
    match layer:
        case nf.Dense():
            parts = [torch.nn.Linear(width, layer.units, bias=layer.use_bias)]
            if layer.activation not in ("identity", "softmax"):
                parts.append(FUNCTIONS[layer.activation]())
            width = layer.units
        case nf.Activation():
            parts = [] if layer.activation == "softmax" else [FUNCTIONS[layer.activation]()]
        case nf.Rescaling():
            parts = [TorchRescaling(layer.scale, layer.offset)]
        case nf.BatchNorm():
            parts = [torch.nn.BatchNorm1d(width, layer.epsilon, layer.momentum, layer.affine)]
        case nf.LayerNorm():
            parts = [torch.nn.LayerNorm(width, layer.epsilon, layer.affine)]
        case nf.Residual():
            parts = [TorchResidual(chain_of(layer.layers, width))]
    if not layer.trainable:
        for part in parts:
            part.requires_grad_(False)
    return parts, width


def chain_of(layers, width: int) -> torch.nn.Sequential:
    modules = []
    for layer in layers:
        parts, width = module_of(layer, width)
        modules += parts
    return torch.nn.Sequential(*modules)


def twin_of(net: nf.Sequential) -> torch.nn.Sequential:
    """The network in PyTorch, with the same parameters in the same order."""
    twin = chain_of(net.layers, FEATURES)
    with torch.no_grad():
        for parameter, array in zip(twin.parameters(), net.params.values(), strict=True):
            parameter[:] = torch.tensor(array.T)
    return twin.train()


def flat(module: torch.nn.Module) -> np.ndarray:
    return np.concatenate([p.detach().numpy().T.ravel() for p in module.parameters()])


def running(module: torch.nn.Module) -> np.ndarray:
    norms = [m for m in module.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    return np.concatenate([np.empty(0), *(v.numpy() for m in norms for v in (m.running_mean, m.running_var))])


def train(
    twin: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    criterion: Callable,
    *,
    penalty: Callable = lambda: 0.0,
    clip_norm: float | None = None,
    rates: Callable[[int], float] | None = None,
    after: Callable[[], object] = lambda: None,
) -> list[float]:
    losses = []
    for step in range(STEPS):
        if rates is not None:
            optimizer.param_groups[0]["lr"] = rates(step)
        at = step % -(-ROWS // BATCH) * BATCH
        loss = criterion(twin(torch.tensor(X[at : at + BATCH])), torch.tensor(Y[at : at + BATCH])) + penalty()
        optimizer.zero_grad()
        loss.backward()
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(twin.parameters(), clip_norm)
        optimizer.step()
        after()
        losses.append(loss.item())
    return losses


def network(*layers: nf.layers.Layer, loss: object = None) -> nf.Sequential:
    net = nf.Sequential(
        [*layers, nf.Dense(CLASSES, "softmax")], input_shape=FEATURES, loss=loss, dtype="float64", seed=1
    )
    net.flat_params[:] += 0.1 * np.random.default_rng(4).normal(size=net.n_parameters)
    return net


def fit(net: nf.Sequential, optimizer: Optimizer) -> nf.training.History:
    return net.fit(X, Y, steps=STEPS, batch_size=BATCH, optimizer=optimizer, shuffle=False, verbose=0)


def assert_same(net: nf.Sequential, history: nf.training.History, twin: torch.nn.Module, losses: list[float]) -> None:
    """Compare losses, parameters, running statistics, and predictions outside of training."""
    twin.eval()
    outputs = torch.softmax(twin(torch.tensor(X)), dim=1).detach().numpy()
    statistics = np.concatenate([np.empty(0), *net.statistics.values()])
    for found, expected in (
        (history.step_loss, losses),
        (net.flat_params, flat(twin)),
        (statistics, running(twin)),
        (net.predict(X), outputs),
    ):
        assert_close(found, expected, scale=np.maximum(1, np.abs(expected)), kind="PyTorch")


D, BN, LN, R, A = nf.Dense, nf.BatchNorm, nf.LayerNorm, nf.Residual, nf.Activation
NETWORKS = {
    "batch norm": (D(7), BN(), A("relu"), D(6, "tanh"), BN(momentum=0.3, epsilon=1e-3)),
    "batch norm first": (BN(), D(7, "tanh"), BN(affine=False)),
    "layer norm": (D(7), LN(), A("gelu"), D(6, "tanh"), LN(epsilon=1e-3)),
    "layer norm without gamma": (LN(affine=False), D(6, "tanh")),
    "no bias": (D(7, use_bias=False), BN(), A("softplus")),
    "residual": (D(6), R([LN(), D(9, "gelu"), D(6)]), R([BN(), D(6, "tanh")])),
    "residual over the input, nested": (R([D(5, "tanh"), R([BN(), D(5, "gelu"), nf.Rescaling(0.5, 0.1)])]),),
    "everything": (nf.Rescaling(0.5, 0.2), D(8, use_bias=False), BN(), A("gelu"), R([LN(), D(8, "tanh"), BN()]), LN()),
}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_those_of_pytorch(name: str, optimizer: str) -> None:
    net = network(*NETWORKS[name])
    twin, begin = twin_of(net), net.flat_params.copy()
    if optimizer == "sgd":
        theirs, mine = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9), nf.SGD(0.05, momentum=0.9)
    else:
        theirs, mine = torch.optim.Adam(twin.parameters(), lr=0.01), nf.Adam(0.01)
    losses = train(twin, theirs, torch.nn.CrossEntropyLoss())
    assert_same(net, fit(net, mine), twin, losses)
    assert np.abs(net.flat_params - begin).max() > 0.1


@pytest.mark.parametrize("name", ["batch norm", "everything"])
def test_weight_decay_and_clipping_by_norm(name: str) -> None:
    """The norm is over all gradients, including those of normalization layers."""
    net = network(*NETWORKS[name])
    twin = twin_of(net)
    theirs = torch.optim.AdamW(twin.parameters(), lr=0.01, weight_decay=0.1, eps=1e-3)
    losses = train(twin, theirs, torch.nn.CrossEntropyLoss(), clip_norm=0.2)
    assert_same(net, fit(net, nf.AdamW(0.01, weight_decay=0.1, epsilon=1e-3, clip_norm=0.2)), twin, losses)


def test_decay_of_weights_alone() -> None:
    """Neither biases nor the parameters of normalization layers decay."""
    net = network(*NETWORKS["everything"])
    twin = twin_of(net)
    weights, others = ([p for p in twin.parameters() if (p.ndim == 2) == wanted] for wanted in (True, False))
    groups = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    losses = train(twin, torch.optim.SGD(groups, lr=0.05, weight_decay=0.1), torch.nn.CrossEntropyLoss())
    assert_same(net, fit(net, nf.SGD(0.05, weight_decay=0.1, decay_biases=False)), twin, losses)


def test_label_smoothing_with_batch_norm() -> None:
    net = network(*NETWORKS["batch norm"], loss=nf.losses.CrossEntropy(label_smoothing=0.1))
    twin = twin_of(net)
    losses = train(twin, torch.optim.SGD(twin.parameters(), lr=0.1), torch.nn.CrossEntropyLoss(label_smoothing=0.1))
    assert_same(net, fit(net, nf.SGD(0.1)), twin, losses)


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_penalties(clip_norm: float | None) -> None:
    """On weights and gamma, not on biases: they are part of the loss, and so of the clipped norm."""
    net = network(D(7, "tanh", l2=0.01), BN(l1=0.003, l2=0.02), D(6, "gelu", l1=0.002, l2=0.004), LN(l2=0.05))
    twin = twin_of(net)
    first, norm, second, last = twin[0].weight, twin[2].weight, twin[3].weight, twin[5].weight

    def penalty():
        return (
            0.01 * (first**2).sum() + 0.003 * norm.abs().sum() + 0.02 * (norm**2).sum()
            + 0.002 * second.abs().sum() + 0.004 * (second**2).sum() + 0.05 * (last**2).sum()
        )  # fmt: skip

    theirs = torch.optim.SGD(twin.parameters(), lr=0.05)
    losses = train(twin, theirs, torch.nn.CrossEntropyLoss(), penalty=penalty, clip_norm=clip_norm)
    assert_same(net, fit(net, nf.SGD(0.05, clip_norm=clip_norm)), twin, losses)


@pytest.mark.parametrize("name", ["batch norm", "everything"])
def test_averages_of_parameters(name: str) -> None:
    net = network(*NETWORKS[name])
    twin = twin_of(net)
    swa = torch.optim.swa_utils
    averaged = swa.AveragedModel(twin, multi_avg_fn=swa.get_ema_multi_avg_fn(0.9))
    theirs = torch.optim.Adam(twin.parameters(), lr=0.01)
    losses = train(twin, theirs, torch.nn.CrossEntropyLoss(), after=lambda: averaged.update_parameters(twin))
    assert_same(net, fit(net, nf.Adam(0.01, average_decay=0.9)), twin, losses)
    mine = net.averaged().flat_params
    assert_close(mine, flat(averaged), scale=np.maximum(1, np.abs(mine)), kind="PyTorch")
    assert np.abs(mine - net.flat_params).max() > 0.01


def test_frozen_layers() -> None:
    """Gradients pass through them; the clipped norm is that of the other layers."""
    net = network(
        D(7, "tanh"), D(7, "gelu", trainable=False), LN(trainable=False), R([D(7, "tanh", trainable=False)]), BN()
    )
    twin, begin = twin_of(net), {name: view.copy() for name, view in net.params.items()}
    theirs = torch.optim.Adam([p for p in twin.parameters() if p.requires_grad], lr=0.01)
    losses = train(twin, theirs, torch.nn.CrossEntropyLoss(), clip_norm=0.3)
    assert_same(net, fit(net, nf.Adam(0.01, clip_norm=0.3)), twin, losses)
    moved = {name for name, view in net.params.items() if (view != begin[name]).any()}
    assert moved == {"W1", "b1", "gamma2", "beta2", "W4", "b4"}


def test_a_frozen_batch_norm() -> None:
    """Always in evaluation mode, as in Keras."""
    net = network(D(7, "tanh"), BN(trainable=False), D(6, "gelu"), BN())
    net.statistics["mean1"] = np.linspace(-1, 1, 7)
    net.statistics["variance1"] = np.linspace(0.5, 2, 7)
    twin = twin_of(net)
    with torch.no_grad():
        twin[2].running_mean[:] = torch.tensor(net.statistics["mean1"])
        twin[2].running_var[:] = torch.tensor(net.statistics["variance1"])
    twin[2].eval()
    theirs = torch.optim.SGD([p for p in twin.parameters() if p.requires_grad], lr=0.1)
    losses = train(twin, theirs, torch.nn.CrossEntropyLoss())
    assert_same(net, fit(net, nf.SGD(0.1)), twin, losses)


def test_a_schedule_with_nesterov() -> None:
    schedule = nf.schedules.Cosine(0.1, steps=STEPS)
    rates = schedule.following(0, STEPS, 7)[0]
    net = network(*NETWORKS["everything"])
    twin = twin_of(net)
    theirs = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    losses = train(twin, theirs, torch.nn.CrossEntropyLoss(), rates=lambda step: float(rates[step]))
    mine = nf.SGD(schedule, momentum=0.9, nesterov=True)
    assert_same(net, fit(net, mine), twin, losses)
    assert rates[0] > 10 * rates[-1] >= 0
