"""What each ingredient costs: the time of a step with it divided by that of a plain step, here and in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np

from bench.data import load
from bench.race import EARLY_STEPS, TOLERANCES, ratios, time_in_turn
from bench.workloads import WORKLOADS

WORKLOAD = WORKLOADS["tabular"]


@dataclass(frozen=True)
class Recipe:
    """How to train the tabular network; by default in the plain way.

    Parameters
    ----------
    activation : {"relu", "gelu"}
        Of the hidden layers.
    norm : {"batch", "layer"}, optional
        Between each hidden layer and its activation.
    dropout : float
        After each hidden layer.
    third : {"chain", "residual"}, optional
        A third hidden layer, with as many units as the second: by itself, or in a residual layer.
    weighted : bool
        Whether samples have weights.
    label_smoothing, weight_decay : float
        Of the loss, and of AdamW, which replaces Adam.
    clip_norm, average_decay : float, optional
        Of the gradient, and of the averaged parameters.
    """

    activation: str = "relu"
    norm: str | None = None
    dropout: float = 0.0
    third: str | None = None
    weighted: bool = False
    label_smoothing: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = None
    average_decay: float | None = None


PLAIN, THIRD = Recipe(), Recipe(third="chain")
INGREDIENTS: dict[str, tuple[Recipe, Recipe, float | None]] = {  # with it, without it, highest acceptable ratio
    "dropout 0.2": (Recipe(dropout=0.2), PLAIN, 1.25),
    "BatchNorm": (Recipe(norm="batch"), PLAIN, 1.3),
    "LayerNorm": (Recipe(norm="layer"), PLAIN, 1.3),
    "gelu": (Recipe(activation="gelu"), PLAIN, 1.3),
    "sample weights": (Recipe(weighted=True), PLAIN, 1.05),
    "clipping by norm": (Recipe(clip_norm=1.0), PLAIN, 1.1),
    "label smoothing": (Recipe(label_smoothing=0.1), PLAIN, None),
    "weight decay": (Recipe(weight_decay=0.01), PLAIN, None),
    "average": (Recipe(average_decay=0.999), PLAIN, None),
    "residual sum": (Recipe(third="residual"), THIRD, None),
}


def compare_ingredients(rounds: int, steps: int, threads: int) -> dict[str, Any]:
    """Return each ingredient's ratios, also those of PyTorch if it is installed.

    Each round trains with the ingredient and without it, in turn, for `steps` steps each. Before that, both libraries
    take a few steps from the same parameters: their losses must agree.
    """
    makers: dict[str, type] = {"nnfast": NNFast}
    absent = {} if find_spec("torch") else {"PyTorch": "torch is not installed"}
    if not absent:
        makers["PyTorch"] = PyTorch
    found: dict[str, Any] = {}
    for name, (recipe, base, bar) in INGREDIENTS.items():
        found[name] = {"bar": bar}
        losses = {}
        for library, maker in makers.items():
            trainers = {"with": maker(recipe, threads), "without": maker(base, threads)}
            losses[library] = trainers["with"].run(EARLY_STEPS)
            trainers["without"].run(EARLY_STEPS)
            seconds = time_in_turn(trainers, rounds, steps, None)
            found[name][library] = {
                "ratio": ratios(seconds["with"], seconds["without"]),
                "microseconds": {which: 1e6 * median(times) for which, times in seconds.items()},
                "early_loss": losses[library],
            }
        found[name]["agree"] = agree(losses) or recipe.dropout > 0  # dropout uses other random numbers
    return {
        "workload": str(WORKLOAD), "rounds": rounds, "steps": steps, "threads": threads, "ingredients": found,
        "absent": absent,
    }  # fmt: skip


def agree(losses: dict[str, float]) -> bool:
    """Return whether PyTorch, if installed, has the same loss as nnfast."""
    own = losses["nnfast"]
    return all(abs(loss - own) <= TOLERANCES["adam"]["early_loss"] * own for loss in losses.values())


def sample_weights(n: int) -> np.ndarray:
    """Return a weight for each of `n` samples, with mean 1."""
    return np.random.default_rng(0).uniform(0.5, 1.5, n)


class NNFast:
    """`Sequential.fit`."""

    def __init__(self, recipe: Recipe, threads: int) -> None:
        import nnfast as nf

        self.net, self.data, self.num_threads = network(recipe), load(WORKLOAD), lambda: nf.num_threads(threads)
        self.weights = sample_weights(len(self.data.x)) if recipe.weighted else None
        options: dict[str, Any] = {"clip_norm": recipe.clip_norm, "average_decay": recipe.average_decay}
        if recipe.weight_decay:
            self.optimizer: Any = nf.AdamW(WORKLOAD.learning_rate, weight_decay=recipe.weight_decay, **options)
        else:
            self.optimizer = nf.Adam(WORKLOAD.learning_rate, **options)

    def prepare(self, steps: int) -> None:
        """There is nothing to prepare."""

    def run(self, steps: int) -> float:
        """Train; return the loss of the last mini-batch."""
        with self.num_threads():
            history = self.net.fit(
                self.data.x, self.data.y, steps=steps, batch_size=WORKLOAD.batch, optimizer=self.optimizer,
                sample_weight=self.weights, shuffle=False, verbose=0,
            )  # fmt: skip
        return float(history.step_loss[-1])


def network(recipe: Recipe) -> Any:
    """Return the network of a recipe."""
    import nnfast as nf

    norms: dict[str, Callable[[], nf.BatchNorm | nf.LayerNorm]] = {"batch": nf.BatchNorm, "layer": nf.LayerNorm}

    def hidden(units: int) -> list[Any]:
        if recipe.norm is None:
            layers: list[Any] = [nf.Dense(units, recipe.activation)]
        else:
            layers = [nf.Dense(units), norms[recipe.norm](), nf.Activation(recipe.activation)]
        return layers + [nf.Dropout(recipe.dropout)] * (recipe.dropout > 0)

    *_, last, classes = WORKLOAD.sizes
    layers = [layer for units in WORKLOAD.sizes[1:-1] for layer in hidden(units)]
    if recipe.third is not None:
        layers += [nf.Residual(hidden(last))] if recipe.third == "residual" else hidden(last)
    layers.append(nf.Dense(classes, "softmax"))
    loss = nf.losses.CrossEntropy(recipe.label_smoothing)
    return nf.Sequential(layers, input_shape=WORKLOAD.sizes[0], loss=loss, seed=0)


class PyTorch:
    """The usual modules in eager mode, with the fused optimizer."""

    def __init__(self, recipe: Recipe, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.recipe, self.torch, data = recipe, torch, load(WORKLOAD)
        self.net = module(recipe)
        self.parameters = list(self.net.parameters())
        kind = torch.optim.AdamW if recipe.weight_decay else torch.optim.Adam
        self.optimizer = kind(self.parameters, lr=WORKLOAD.learning_rate, weight_decay=recipe.weight_decay, fused=True)
        weights = sample_weights(len(data.x)).astype(np.float32)
        self.batches = list(
            zip(*(torch.from_numpy(array).split(WORKLOAD.batch) for array in (data.x, data.y, weights)), strict=True)
        )
        self.average = recipe.average_decay and torch.optim.swa_utils.AveragedModel(
            self.net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average_decay)
        )

    def prepare(self, steps: int) -> None:
        """There is nothing to prepare."""

    def run(self, steps: int) -> float:
        """Train; return the loss of the last mini-batch."""
        losses = [self.step(*self.batches[i % len(self.batches)]) for i in range(steps)]
        return float(losses[-1])

    def step(self, x: Any, y: Any, weights: Any) -> Any:
        """Train on one mini-batch; return its loss."""
        cross_entropy, out = self.torch.nn.functional.cross_entropy, self.net(x)
        if self.recipe.weighted:
            loss = (cross_entropy(out, y, reduction="none") * weights).sum() / weights.sum()
        else:
            loss = cross_entropy(out, y, label_smoothing=self.recipe.label_smoothing)
        loss.backward()
        if self.recipe.clip_norm is not None:
            self.torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average:
            self.average.update_parameters(self.net)
        return loss.detach()


def module(recipe: Recipe) -> Any:
    """Return the same network as a module, with nnfast's initial values."""
    from torch import nn

    class Residual(nn.Sequential):
        def forward(self, x: Any) -> Any:
            return x + super().forward(x)

    def hidden(n_in: int, units: int) -> list[Any]:
        norm = {None: [], "batch": [nn.BatchNorm1d], "layer": [nn.LayerNorm]}[recipe.norm]
        activation = {"relu": nn.ReLU, "gelu": nn.GELU}[recipe.activation]
        dropout = [nn.Dropout(recipe.dropout)] * (recipe.dropout > 0)
        return [nn.Linear(n_in, units), *(kind(units) for kind in norm), activation(), *dropout]

    *sizes, last, classes = WORKLOAD.sizes
    layers = [layer for pair in zip(sizes, [*sizes[1:], last], strict=True) for layer in hidden(*pair)]
    if recipe.third is not None:
        layers += [Residual(*hidden(last, last))] if recipe.third == "residual" else hidden(last, last)
    return with_parameters(nn.Sequential(*layers, nn.Linear(last, classes)), network(recipe))


def with_parameters(net: Any, own: Any) -> Any:
    """Return a module with the parameters of an nnfast network; linear layers hold their weights transposed."""
    import torch

    with torch.no_grad():
        for theirs, values in zip(net.parameters(), own.params.values(), strict=True):
            theirs.copy_(torch.from_numpy(values.T.copy()))
    return net
