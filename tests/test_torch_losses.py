"""Training with each loss that PyTorch has, against PyTorch: 100 steps from equal weights on equal batches."""

from __future__ import annotations

import kernel_calls as kernels
import numpy as np
import pytest
from tolerances import assert_close

import nnfast as nf

torch = pytest.importorskip("torch", reason="the trajectories of PyTorch need torch")
F = torch.nn.functional

ROWS, FEATURES, BATCH, STEPS, UNITS = 40, 4, 8, 100, 3
RNG = np.random.default_rng(5)
X = RNG.normal(size=(ROWS, FEATURES))
SCORE = np.tanh(X @ RNG.normal(size=(FEATURES, UNITS))) + 0.3 * RNG.normal(size=(ROWS, UNITS))
LABELS = SCORE.argmax(axis=1)
SHARES = np.exp(SCORE) / np.exp(SCORE).sum(axis=1, keepdims=True)
COUNTS = np.floor(3 * np.exp(SCORE))
ANSWERS = (SCORE > 0).astype(float)
QUANTILES = (0.1, 0.5, 0.8)


def pinball(x, t):
    d, q = t[:, :1] - x, torch.tensor(QUANTILES, dtype=torch.float64)
    return torch.maximum(q * d, (q - 1) * d)


def smooth(t, s):
    return t * (1 - s) + s / 2


# loss, activation of the output layer, targets, and the loss of each row in PyTorch computed from that layer's output
CASES = {
    "mean squared": ("mean_squared_error", "identity", SCORE, lambda x, t: F.mse_loss(x, t, reduction="none").mean(1)),
    "sum squared": (
        "sum_squared_error", "identity", SCORE, lambda x, t: F.mse_loss(x, t, reduction="none").sum(1) / 2,
    ),
    "absolute": ("mean_absolute_error", "identity", SCORE, lambda x, t: F.l1_loss(x, t, reduction="none").mean(1)),
    "huber": (
        nf.losses.Huber(0.4), "tanh", SCORE, lambda x, t: F.huber_loss(x, t, reduction="none", delta=0.4).mean(1),
    ),
    "log cosh": ("log_cosh", "identity", SCORE, lambda x, t: torch.log(torch.cosh(x - t)).mean(1)),
    "poisson": ("poisson", "identity", COUNTS, lambda x, t: F.poisson_nll_loss(x, t, reduction="none").mean(1)),
    "poisson of rates": (
        nf.losses.Poisson(log_input=False), "sigmoid", ANSWERS,
        lambda x, t: F.poisson_nll_loss(torch.sigmoid(x), t, log_input=False, reduction="none").mean(1),
    ),
    "quantiles": (nf.losses.Quantile(QUANTILES), "identity", SCORE[:, 0], lambda x, t: pinball(x, t).mean(1)),
    "hinge": ("hinge", "identity", 2 * ANSWERS - 1, lambda x, t: torch.relu(1 - t * x).mean(1)),
    "kl": (
        "kl_divergence", "softmax", SHARES,
        lambda x, t: F.kl_div(F.log_softmax(x, dim=1), t, reduction="none").sum(1),
    ),
    "classes": ("cross_entropy", "softmax", LABELS, lambda x, t: F.cross_entropy(x, t, reduction="none")),
    "smooth classes": (
        nf.losses.CrossEntropy(label_smoothing=0.1), "softmax", LABELS,
        lambda x, t: F.cross_entropy(x, t, reduction="none", label_smoothing=0.1),
    ),
    "smooth shares": (
        nf.losses.CrossEntropy(label_smoothing=0.2), "softmax", SHARES,
        lambda x, t: F.cross_entropy(x, t, reduction="none", label_smoothing=0.2),
    ),
    "labels of many": (
        "binary_cross_entropy", "sigmoid", ANSWERS,
        lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction="none").mean(1),
    ),
    "smooth labels of many": (
        nf.losses.BinaryCrossEntropy(label_smoothing=0.1), "sigmoid", ANSWERS,
        lambda x, t: F.binary_cross_entropy_with_logits(x, smooth(t, 0.1), reduction="none").mean(1),
    ),
}  # fmt: skip


def torch_trajectory(net, output, loss, y, weights, rate):
    """The losses of the steps, and the parameters after the last."""
    p = {name: torch.tensor(array.copy(), requires_grad=True) for name, array in net.params.items()}
    sgd = torch.optim.SGD(p.values(), lr=rate)
    y = torch.tensor(y if y.ndim == 2 or y.dtype.kind == "i" else y[:, None])
    losses = []
    for step in range(STEPS):
        rows = slice(step * BATCH % ROWS, step * BATCH % ROWS + BATCH)
        out = torch.tanh(torch.tensor(X[rows]) @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]
        w = torch.tensor(weights[rows])
        value = (w * loss(torch.tanh(out) if output == "tanh" else out, y[rows])).sum() / w.sum()
        sgd.zero_grad()
        value.backward()
        sgd.step()
        losses.append(value.item())
    return losses, {name: array.detach().numpy() for name, array in p.items()}


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("case", CASES)
def test_training_follows_pytorch(case, weighted):
    loss, output, y, theirs = CASES[case]
    weights = np.random.default_rng(1).uniform(0, 3, ROWS) if weighted else np.ones(ROWS)
    net = nf.Sequential(
        [nf.Dense(5, "tanh"), nf.Dense(UNITS, output)], input_shape=FEATURES, loss=loss, dtype="float64", seed=2
    )
    begin = net.flat_params.copy()
    losses, parameters = torch_trajectory(net, output, theirs, y, weights, 0.1)
    history = net.fit(
        X, y, steps=STEPS, batch_size=BATCH, optimizer=nf.SGD(0.1), shuffle=False, verbose=0,
        sample_weight=weights if weighted else None,
    )  # fmt: skip
    assert_close(history.step_loss, losses, scale=1 + np.abs(losses), kind="difference")
    for name, array in parameters.items():
        assert_close(net.params[name], array, scale=1.0, kind="difference")
    assert np.abs(net.flat_params - begin).max() > 0.1, "it hardly moved: the comparison says nothing"


# ---- the kernels

WIDE = {n: np.random.default_rng(n).normal(0, 2, (6, n)) for n in (3, 40)}


def of_torch(function, x, t, **options):
    """The loss and its gradient."""
    p = torch.tensor(x, requires_grad=True)
    value = function(p, torch.tensor(t), **options)
    value.backward()
    return value.item(), p.grad.numpy()


@pytest.mark.parametrize("n", WIDE)
@pytest.mark.parametrize(
    ("name", "theirs", "target", "parameters", "options"),
    [
        ("mean_absolute_error", F.l1_loss, "values", (), {}),
        ("huber", F.huber_loss, "values", (), {}),
        ("huber", F.huber_loss, "values", (0.3,), {"delta": 0.3}),
        ("poisson", F.poisson_nll_loss, "counts", (), {}),
        ("kl_divergence", F.kl_div, "shares", (), {"reduction": "batchmean"}),
        ("softmax_cross_entropy", F.cross_entropy, "labels", (0.15,), {"label_smoothing": 0.15}),
        ("softmax_cross_entropy", F.cross_entropy, "shares", (0.15,), {"label_smoothing": 0.15}),
        ("softmax_cross_entropy", F.cross_entropy, "labels", (1.0,), {"label_smoothing": 1.0}),
    ],
)
def test_kernels_are_those_of_pytorch(n, name, theirs, target, parameters, options):
    x, rng = WIDE[n], np.random.default_rng(7)
    t = {
        "values": rng.normal(0, 2, x.shape),
        "counts": rng.poisson(2.0, x.shape).astype(float),
        "shares": rng.dirichlet(np.ones(n), 6) * (rng.random(x.shape) < 0.8),
        "labels": rng.integers(0, n, 6),
    }[target]
    value, gradient = of_torch(theirs, x, t, **options)
    scale = 1 + np.abs(value)
    assert_close(getattr(kernels, name)(x, t, *parameters), value, scale=scale, kind="trajectory")
    assert_close(getattr(kernels, f"{name}_backward")(x, t, *parameters), gradient, scale=scale, kind="trajectory")


def test_rates_are_those_of_pytorch():
    x, t = np.abs(WIDE[3]), np.floor(np.abs(WIDE[3][::-1]))
    value, gradient = of_torch(F.poisson_nll_loss, x, t, log_input=False)
    assert_close(kernels.poisson(x, t, False), value, scale=1.0, kind="trajectory")
    assert_close(kernels.poisson_backward(x, t, False), gradient, scale=1 + np.abs(gradient), kind="trajectory")


def test_derivatives_at_the_kinks_are_those_of_pytorch():
    x, t = np.array([[2.0, -1.0, 0.5]]), np.array([[2.0, -1.0, 0.5]])
    assert not kernels.mean_absolute_error_backward(x, t).any()
    assert not of_torch(F.l1_loss, x, t)[1].any()
    assert_close(kernels.huber_backward(x + 1, t), of_torch(F.huber_loss, x + 1, t)[1])
    x, t = np.array([[1.0, -1.0]]), np.array([[1.0, -1.0]])
    assert not kernels.hinge_backward(x, t).any()
    assert not of_torch(lambda p, t: torch.relu(1 - t * p).mean(), x, t)[1].any()
