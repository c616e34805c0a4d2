"""Optimizers against PyTorch's: the same steps from the same gradients, and the same networks from the same batches."""

from __future__ import annotations

import inspect

import kernel_calls as kernels
import numpy as np
import pytest
from optimizer_cases import OPTIMIZERS as ROWS
from optimizer_cases import begun, noisy_gradient, update
from tolerances import assert_close

import nnfast as nf
from nnfast import reference
from nnfast.optimizers import OPTIMIZERS

torch = pytest.importorskip("torch", reason="the trajectories of PyTorch need torch")

STEPS = 100
IN_PYTORCH = {"learning_rate": "lr", "learning_rate_decay": "lr_decay", "epsilon": "eps"}
# Hyperparameters that PyTorch applies elsewhere, or does not have.
OURS = {"decay_biases", "clip_value", "clip_norm", "average_decay"}
KERAS = {"corrected_epsilon"}  # epsilon as in Keras and scikit-learn
OPTIONS = {name: row.pytorch for name, row in ROWS.items() if row.pytorch}
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
    own = {IN_PYTORCH.get(key, key): value for key, value in options.items() if key not in OURS}
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


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_of_pytorch_is_compared(name) -> None:
    known = hasattr(torch.optim, OPTIMIZERS[name].__name__)
    assert (name in OPTIONS) == known, (
        f"tests/optimizer_cases.py: `pytorch` in the row of {name} must {'not ' * (not known)}have hyperparameters"
    )


@pytest.mark.parametrize("name", OPTIONS)
def test_every_hyperparameter_is_compared(name) -> None:
    tried = {key for options in OPTIONS[name] for key in options}
    assert set(OPTIMIZERS[name].fields) - tried - KERAS == OURS


@pytest.mark.parametrize("name", OPTIONS)
def test_defaults_are_those_of_pytorch(name) -> None:
    mine, theirs = OPTIMIZERS[name](), inspect.signature(getattr(torch.optim, OPTIMIZERS[name].__name__)).parameters
    betas = dict(zip(("beta1", "beta2"), theirs["betas"].default, strict=True)) if "betas" in theirs else {}
    for field in mine.fields.keys() - OURS - KERAS:
        expected = betas[field] if field in betas else theirs[IN_PYTORCH.get(field, field)].default
        assert getattr(mine, field) == expected, field


# ---- single steps, from given gradients


@pytest.mark.parametrize("module", [kernels, reference], ids=lambda module: module.__name__)
@pytest.mark.parametrize("case", [*CASES, *CLIPPING], ids=named)
def test_steps_are_those_of_pytorch(module, case) -> None:
    name, options = case
    rng = np.random.default_rng(3)
    begin, noise = rng.normal(size=19), 0.1 * rng.normal(size=(STEPS, 19))
    values, mine, product = OPTIMIZERS[name](**options).values(), begin.copy(), 1.0
    moments = begun(values, mine)
    theirs = torch.tensor(begin)
    optimizer = in_pytorch(name, [theirs], options)
    for step in range(STEPS):
        theirs.grad = torch.tensor(noisy_gradient(theirs.numpy(), noise[step]))
        clip([theirs], options)
        optimizer.step()
        product = update(module, values, mine, noisy_gradient(mine, noise[step]), moments, step + 1, product)
    assert_close(mine, theirs.numpy(), scale=np.maximum(1, np.abs(theirs.numpy())), kind="trajectory")
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
