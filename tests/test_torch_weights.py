"""Training with weights of classes, against PyTorch's weighted losses: equal weights, equal batches, many steps."""

from __future__ import annotations

import numpy as np
import pytest
from tolerances import assert_close

import nnfast as nf

torch = pytest.importorskip("torch", reason="compared with PyTorch's weighted losses")

ROWS, FEATURES, BATCH, EPOCHS = 40, 4, 8, 20
RNG = np.random.default_rng(5)
X = RNG.normal(size=(ROWS, FEATURES))
LABELS = RNG.choice(3, ROWS, p=[0.7, 0.2, 0.1])
TABLES = {"some": {0: 0.25, 2: 4.0}, "zero": {0: 1.0, 1: 2.0, 2: 0.0}, "balanced": "balanced"}


def vector(table):
    """The weight of each of three classes."""
    if table == "balanced":
        return len(LABELS) / (3 * np.bincount(LABELS, minlength=3))
    return np.array([table.get(label, 1.0) for label in range(3)])


def their_losses(net, loss):
    """The parameters after the same steps in PyTorch, and the loss of each."""
    layer = torch.nn.Linear(FEATURES, net.output_shape[0], dtype=torch.float64)
    layer.weight.data, layer.bias.data = (
        torch.tensor(net.params["W1"].T.copy()), torch.tensor(net.params["b1"].copy())
    )  # fmt: skip
    optimizer, losses = torch.optim.SGD(layer.parameters(), lr=0.1), []
    for i in list(range(0, ROWS, BATCH)) * EPOCHS:
        optimizer.zero_grad()
        value = loss(layer(torch.tensor(X[i : i + BATCH])), slice(i, i + BATCH))
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return layer.weight.detach().numpy().T, layer.bias.detach().numpy(), losses


@pytest.mark.parametrize("name", TABLES)
def test_weighted_cross_entropy(name):
    """The mean of `torch.nn.CrossEntropyLoss(weight)` is by the sum of the weights, as ours."""
    net = nf.Sequential([nf.Dense(3, "softmax")], input_shape=FEATURES, dtype="float64", seed=0)
    weighted = torch.nn.CrossEntropyLoss(weight=torch.tensor(vector(TABLES[name])))
    weights, biases, losses = their_losses(net, lambda z, rows: weighted(z, torch.tensor(LABELS[rows])))
    history = net.fit(X, LABELS, epochs=EPOCHS, batch_size=BATCH, shuffle=False, optimizer=nf.SGD(0.1),
                      class_weight=TABLES[name], verbose=0)  # fmt: skip
    assert_close(net.params["W1"], weights, scale=1.0, kind="trajectory")
    assert_close(net.params["b1"], biases, scale=1.0, kind="trajectory")
    assert_close(history.step_loss, losses, scale=1.0, kind="trajectory")


def test_weighted_binary_cross_entropy():
    """PyTorch divides by the number of rows: so the weighted losses are divided by their weights here."""
    y, table = (LABELS > 0).astype(int), {0: 0.5, 1: 3.0}
    each = torch.tensor(np.array([table[label] for label in y.tolist()]))
    net = nf.Sequential([nf.Dense(1, "sigmoid")], input_shape=FEATURES, dtype="float64", seed=0)

    def loss(z, rows):
        targets, weight = torch.tensor(y[rows, None].astype(float)), each[rows, None]
        total = torch.nn.functional.binary_cross_entropy_with_logits(z, targets, weight=weight, reduction="sum")
        return total / weight.sum()

    weights, biases, losses = their_losses(net, loss)
    history = net.fit(X, y, epochs=EPOCHS, batch_size=BATCH, shuffle=False, optimizer=nf.SGD(0.1), class_weight=table,
                      verbose=0)  # fmt: skip
    assert_close(net.params["W1"], weights, scale=1.0, kind="trajectory")
    assert_close(net.params["b1"], biases, scale=1.0, kind="trajectory")
    assert_close(history.step_loss, losses, scale=1.0, kind="trajectory")
