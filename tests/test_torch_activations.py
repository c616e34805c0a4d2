"""A hundred steps of a small network with each activation follow PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

import nnfast as nf
from nnfast.activations import ELU, NAMES, LeakyReLU, Softplus, resolve_activation

torch = pytest.importorskip("torch", reason="the trajectories of PyTorch need torch")


class HardSigmoid(torch.nn.Module):
    """PyTorch's own uses 1/6 rounded to float32."""

    def forward(self, x):
        return torch.nn.functional.relu6(x + 3) / 6


RATE = 2e-3  # small enough for the steepest activation

IN_THE_BOOK = {"identity", "step", "sigmoid", "tanh", "relu", "softmax"}  # tests/test_trajectory.py has these
# PyTorch's modules are of the same name, but for some.
MODULES = {
    name: (name, getattr(torch.nn, type(resolve_activation(name)).__name__, None))
    for name in NAMES
    if name not in IN_THE_BOOK
} | {
    "leaky_relu 0.3": (LeakyReLU(0.3), lambda: torch.nn.LeakyReLU(0.3)),
    "elu 0.5": (ELU(0.5), lambda: torch.nn.ELU(0.5)),
    "hard_sigmoid": ("hard_sigmoid", HardSigmoid),
    "gelu_tanh": ("gelu_tanh", lambda: torch.nn.GELU("tanh")),
    "softplus 3": (Softplus(3.0), lambda: torch.nn.Softplus(3.0, threshold=1000)),
    "log_softmax": ("log_softmax", lambda: torch.nn.LogSoftmax(-1)),
}


@pytest.mark.parametrize("case", MODULES)
def test_training_follows_pytorch(case):
    activation, module = MODULES[case]
    net = nf.Sequential(
        [nf.Dense(9, activation), nf.Dense(7, activation), nf.Dense(2)], input_shape=5, dtype="float64", seed=0
    )
    peer = torch.nn.Sequential(
        torch.nn.Linear(5, 9), module(), torch.nn.Linear(9, 7), module(), torch.nn.Linear(7, 2)
    ).double()
    with torch.no_grad():
        for i, layer in enumerate(peer[::2], start=1):
            layer.weight.copy_(torch.tensor(net.params[f"W{i}"].T))
            layer.bias.copy_(torch.tensor(net.params[f"b{i}"]))
    rng = np.random.default_rng(1)
    x = rng.normal(0, 2, (12, 5))
    y = np.sin(x @ rng.normal(size=(5, 2)))
    begin = net.flat_params.copy()
    descent = torch.optim.SGD(peer.parameters(), lr=RATE)
    for _ in range(100):
        loss = torch.nn.functional.mse_loss(peer(torch.tensor(x)), torch.tensor(y))
        descent.zero_grad()
        loss.backward()
        descent.step()
        assert_close(np.float64(net.train_step(x, y, nf.SGD(RATE))), loss.item(), scale=1.0, kind="trajectory")
    for i, layer in enumerate(peer[::2], start=1):
        assert_close(net.params[f"W{i}"], layer.weight.detach().numpy().T, scale=1.0, kind="trajectory")
        assert_close(net.params[f"b{i}"], layer.bias.detach().numpy(), scale=1.0, kind="trajectory")
    assert np.abs(net.flat_params - begin).max() > 0.01, "it hardly moved: the comparison says nothing"
