"""PyTorch, eager and compiled."""

from __future__ import annotations

import logging
import shutil
from typing import Any

import numpy as np

from bench.data import Data, Parameters
from bench.peers.base import Predictor, Trainer
from bench.workloads import Network, Workload


def sequential(network: Network, parameters: Parameters) -> Any:
    """Return the network as a module; linear layers hold their weights transposed."""
    import torch
    from torch import nn

    activation = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}[network.activation]
    modules: list[Any] = []
    for weights, bias in parameters:
        linear = nn.Linear(*weights.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(weights.T)))
            linear.bias.copy_(torch.from_numpy(bias.copy()))
        modules += [linear, activation()]
    return nn.Sequential(*modules[:-1])


class PyTorch(Trainer):
    """The loop of every tutorial, with the fused optimizer and gradients set to None instead of zero."""

    name = "PyTorch"
    module = package = "torch"

    def __init__(self, workload: Workload, data: Data, initial: Parameters, threads: int) -> None:
        import torch
        from torch import nn

        torch.set_num_threads(threads)
        self.net, self.loss = sequential(workload.network, initial), nn.CrossEntropyLoss()
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[workload.optimizer]
        self.optimizer = kind(self.net.parameters(), lr=workload.learning_rate, fused=True)
        self.x = torch.from_numpy(data.x).split(workload.batch)
        self.y = torch.from_numpy(data.y).split(workload.batch)

    def run(self, steps: int) -> None:
        """Train."""
        self.step_loss = [self.step(self.x[i % len(self.x)], self.y[i % len(self.x)]) for i in range(steps)]

    def step(self, x: Any, y: Any) -> Any:
        """Train on one mini-batch; return its loss."""
        loss = self.loss(self.net(x), y)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def parameters(self) -> Parameters:
        """Return weights and biases."""
        layers = [layer for layer in self.net if hasattr(layer, "weight")]
        return [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in layers]


class CompiledPyTorch(PyTorch):
    """The same, with `torch.compile` for the network and its loss, and for the optimizer's step."""

    name = "torch.compile"

    @classmethod
    def missing(cls) -> str | None:
        """Return why this peer cannot take part, or None if it can."""
        return super().missing() or (None if shutil.which("g++") else "torch.compile needs g++, which is not installed")

    def __init__(self, workload: Workload, data: Data, initial: Parameters, threads: int) -> None:
        import torch

        super().__init__(workload, data, initial, threads)
        torch._logging.set_logs(all=logging.ERROR)  # its warnings do not matter to the benchmark
        net, cross_entropy, optimizer = self.net, self.loss, self.optimizer
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[workload.optimizer]
        rate: Any = workload.learning_rate if workload.optimizer == "sgd" else torch.tensor(workload.learning_rate)
        optimizer = self.optimizer = kind(net.parameters(), lr=rate)  # the compiler fuses its loops itself
        self.compiled_loss = torch.compile(lambda x, y: cross_entropy(net(x), y))
        self.compiled_update = torch.compile(lambda: optimizer.step())
        self.prepared = False

    def prepare(self, steps: int) -> None:
        """Compile by training for a few steps, and undo them."""
        import torch

        if self.prepared:
            return
        before = [p.detach().clone() for p in self.net.parameters()]
        super().run(3)
        with torch.no_grad():
            for p, value in zip(self.net.parameters(), before, strict=True):
                p.copy_(value)
            for state in self.optimizer.state.values():
                for value in state.values():
                    if isinstance(value, torch.Tensor):
                        value.zero_()
        self.prepared = True

    def step(self, x: Any, y: Any) -> Any:
        """Train on one mini-batch; return its loss."""
        loss = self.compiled_loss(x, y)
        loss.backward()
        self.compiled_update()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


class PyTorchPredictor(Predictor):
    """A module in inference mode."""

    name = "PyTorch"
    module = package = "torch"

    def __init__(self, network: Network, parameters: Parameters, threads: int) -> None:
        import torch
        from torch import nn

        torch.set_num_threads(threads)
        self.net = nn.Sequential(*sequential(network, parameters), nn.Softmax(dim=1)).eval()
        self.inference_mode, self.from_numpy = torch.inference_mode, torch.from_numpy

    def one(self, row: np.ndarray) -> np.ndarray:
        """Predict a batch of one."""
        return self.many(row[None])[0]

    def many(self, x: np.ndarray) -> np.ndarray:
        """Predict a batch."""
        with self.inference_mode():
            return self.net(self.from_numpy(x)).numpy()
