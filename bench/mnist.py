"""The recipe of examples/mnist_best.py in nnfast and in PyTorch: its accuracy and its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from bench.data import Data, load_images
from bench.ingredients import with_parameters
from bench.race import spread

EXAMPLE = Path(__file__).parents[1] / "examples" / "mnist_best.py"
Trainer = Callable[[Any, Data, int, int, int], tuple[float, np.ndarray]]


def compare_mnist(seeds: int, steps: int | None, threads: int) -> dict[str, Any]:
    """Return accuracies, losses and times of both, in turn, one training for each seed.

    `steps` makes it shorter: at least this many mini-batches, in one epoch if there is enough data.
    """
    recipe, data = load_recipe(), load_images()
    rows, epochs = len(data.x), recipe.EPOCHS
    if steps is not None:
        rows = min(rows, steps * recipe.BATCH)
        epochs = ceil(steps * recipe.BATCH / rows)
    data = replace(data, x=data.x[:rows], y=data.y[:rows])
    trainers: dict[str, Trainer] = {"nnfast": by_nnfast}
    absent = {} if find_spec("torch") else {"PyTorch": "torch is not installed"}
    if not absent:
        trainers["PyTorch"] = by_torch
    results: dict[str, list[dict[str, float]]] = {name: [] for name in trainers}
    for seed in range(seeds):
        for name, train in trainers.items():
            seconds, probabilities = train(recipe, data, seed, epochs, threads)
            results[name].append({"seconds": seconds} | judge(probabilities, data.y_test))
    peers = {
        name: {figure: spread([training[figure] for training in found]) for figure in found[0]}
        for name, found in results.items()
    }
    return {
        "data": data.source, "rows": rows, "epochs": epochs, "batch": recipe.BATCH, "seeds": seeds,
        "peers": peers, "absent": absent,
    }  # fmt: skip


def judge(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the accuracy and the mean cross entropy."""
    of_labels = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    accuracy = (probabilities.argmax(axis=1) == labels).mean()
    return {"accuracy": float(accuracy), "loss": float(-np.log(of_labels).mean())}


def load_recipe() -> Any:
    """Return the example as a module: it is a script outside of any package."""
    spec = spec_from_file_location("mnist_best", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def by_nnfast(recipe: Any, data: Data, seed: int, epochs: int, threads: int) -> tuple[float, np.ndarray]:
    """Train with nnfast; return the seconds, and the probabilities that the network predicts for the test data."""
    import nnfast as nf

    net = recipe.network(data.x.shape[1], seed)
    with nf.num_threads(threads):
        start = perf_counter()
        recipe.train(net, data.x, data.y, seed, epochs)
        seconds = perf_counter() - start
        return seconds, net.predict(data.x_test)


def by_torch(recipe: Any, data: Data, seed: int, epochs: int, threads: int) -> tuple[float, np.ndarray]:
    """Return the same for PyTorch, which starts from the same initial values."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    net = module_of(recipe, data.x.shape[1], seed)
    y, loss = torch.from_numpy(data.y), torch.nn.CrossEntropyLoss(label_smoothing=recipe.SMOOTHING)
    sgd = torch.optim.SGD(
        net.parameters(), lr=recipe.RATE, momentum=0.9, nesterov=True, weight_decay=recipe.DECAY, fused=True
    )
    cycle = torch.optim.lr_scheduler.OneCycleLR(sgd, recipe.RATE, epochs * -(-len(data.x) // recipe.BATCH))
    rng = np.random.default_rng(seed)
    start = perf_counter()
    for _ in range(epochs):
        x = torch.from_numpy(recipe.shifted(data.x, rng))
        for rows in torch.randperm(len(x)).split(recipe.BATCH):
            loss(net(x[rows]), y[rows]).backward()
            sgd.step()
            sgd.zero_grad(set_to_none=True)
            cycle.step()
    seconds = perf_counter() - start
    with torch.inference_mode():
        return seconds, net.eval()(torch.from_numpy(data.x_test)).softmax(dim=1).numpy()


def module_of(recipe: Any, n_in: int, seed: int) -> Any:
    """Return the recipe's network as a module."""
    from torch import nn

    layers: list[Any] = []
    for sizes in ((n_in, 512), (512, 512)):
        layers += [nn.Linear(*sizes, bias=False), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(recipe.DROPOUT)]
    return with_parameters(nn.Sequential(*layers, nn.Linear(512, 10)), recipe.network(n_in, seed))
