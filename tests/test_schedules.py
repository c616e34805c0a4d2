"""Learning rate schedules: their rates, and networks trained with them, against PyTorch and hand-computed numbers."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest
from numpy_network import NumpyNetwork, state, unchanged
from tolerances import assert_close

import nnfast as nf
from nnfast import schedules
from nnfast.engine.program import Training
from nnfast.schedules import Constant, Cosine, Exponential, InverseTime, OneCycle, ReduceOnPlateau, Step

N, BATCH, PER_EPOCH = 23, 5, 5
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 3))
LABELS = (X @ rng.normal(size=(3, 4))).argmax(axis=1)


def make_net(*, dtype="float64"):
    return nf.Sequential([nf.Dense(5, "tanh"), nf.Dense(4, "softmax")], input_shape=3, dtype=dtype, seed=5)


def fit(net, learning_rate, *, optimizer=nf.Adam, **arguments):
    """Fit the labels, without output, in epochs of five steps."""
    arguments = {"batch_size": BATCH, "shuffle": False, "verbose": 0} | arguments
    return net.fit(X, LABELS, optimizer=optimizer(learning_rate), **arguments)


# ---- numbers worked out by hand

BY_HAND = {
    "constant": (Constant(0.5), [0, 1, 10**9], [0.5, 0.5, 0.5]),
    "warm-up": (Constant(0.4, warmup=4, start_factor=0.0), [0, 1, 2, 3, 4, 5, 99], [0, 0.1, 0.2, 0.3, 0.4, 0.4, 0.4]),
    "warm-up from a third": (Constant(0.3, warmup=2), [0, 1, 2], [0.1, 0.2, 0.3]),
    "step": (Step(1.0, step_size=3, gamma=0.5), [0, 2, 3, 5, 6, 9], [1, 1, 0.5, 0.5, 0.25, 0.125]),
    "step by tenths": (Step(1.0, step_size=1), [0, 1, 2], [1, 0.1, 0.01]),
    "exponential": (Exponential(0.8, gamma=0.5), [0, 1, 4], [0.8, 0.4, 0.05]),
    "exponential to nothing": (Exponential(0.8, gamma=0.5), [10**9], [0.0]),
    "inverse time": (InverseTime(0.6, steps=10, decay=2.0), [0, 5, 10, 25], [0.6, 0.3, 0.2, 0.1]),
    "cosine": (Cosine(0.2, steps=60), [0, 20, 30, 40, 60, 90, 10**12], [0.2, 0.15, 0.1, 0.05, 0, 0, 0]),
    "cosine to a minimum": (Cosine(0.3, steps=6, minimum=0.1), [0, 2, 3, 4, 6, 7], [0.3, 0.25, 0.2, 0.15, 0.1, 0.1]),
    "cosine after a warm-up": (
        Cosine(0.8, steps=10, warmup=4, start_factor=0.5),
        [0, 1, 2, 4, 6, 7, 8, 10],
        [0.4, 0.5, 0.6, 0.8, 0.6, 0.4, 0.2, 0],
    ),
    "one cycle": (
        OneCycle(1.0, steps=13, pct_start=7 / 13, div_factor=2, final_div_factor=5),  # up in 6 steps, down in 6
        [0, 2, 3, 4, 6, 8, 9, 10, 12, 13, 10**9],
        [0.5, 0.625, 0.75, 0.875, 1, 0.775, 0.55, 0.325, 0.1, 0.1, 0.1],
    ),
    "one cycle of lines": (
        OneCycle(1.0, steps=9, pct_start=5 / 9, div_factor=2, final_div_factor=5, anneal_strategy="linear"),
        [0, 1, 2, 4, 5, 6, 8, 9],
        [0.5, 0.625, 0.75, 1, 0.775, 0.55, 0.1, 0.1],
    ),
    "one cycle of three phases": (  # up in 2 steps, down in 2, and 4 steps to the end
        OneCycle(1.0, steps=9, pct_start=1 / 3, div_factor=2, final_div_factor=5, three_phase=True,
                 anneal_strategy="linear"),
        [0, 1, 2, 3, 4, 6, 8, 10],
        [0.5, 0.75, 1, 0.75, 0.5, 0.3, 0.1, 0.1],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_rates_are_those_worked_out_by_hand(name):
    schedule, steps, expected = BY_HAND[name]
    rates = schedule.rates(steps)
    assert rates.dtype == np.float64
    assert_close(rates, expected, scale=schedule.learning_rate)
    assert (rates >= 0).all()


def test_momenta_are_those_worked_out_by_hand():
    lines = {"learning_rate": 1.0, "steps": 9, "anneal_strategy": "linear", "base_momentum": 0.5, "max_momentum": 0.9}
    two, three = OneCycle(pct_start=5 / 9, **lines), OneCycle(pct_start=1 / 3, three_phase=True, **lines)
    assert_close(two.momenta([0, 1, 4, 6, 8, 20]), [0.9, 0.8, 0.5, 0.7, 0.9, 0.9])
    assert_close(three.momenta([0, 1, 2, 3, 4, 6, 8, 20]), [0.9, 0.7, 0.5, 0.7, 0.9, 0.9, 0.9, 0.9])
    assert OneCycle(cycle_momentum=False, **lines).momenta([0]) is None
    assert Cosine(0.1, steps=5).momenta([0]) is None


def test_a_schedule_by_epoch_changes_between_epochs():
    by_step, by_epoch = Exponential(0.8, gamma=0.5), Exponential(0.8, gamma=0.5, by="epoch")
    steps = np.arange(12)
    assert_close(by_epoch.rates(steps, 5), np.repeat([0.8, 0.4, 0.2], [5, 5, 2]))
    np.testing.assert_array_equal(by_step.rates(steps, 5), by_step.rates(steps))
    cycle = {"steps": 20, "pct_start": 0.4}
    momenta = OneCycle(1.0, by="epoch", **cycle).momenta(np.arange(100), 5)
    np.testing.assert_array_equal(momenta, OneCycle(1.0, **cycle).momenta(np.arange(100) // 5))


def test_rates_are_of_the_shape_of_the_steps():
    schedule = Exponential(0.8, gamma=0.5)
    assert schedule.rates(3).shape == ()
    assert schedule.rates([]).shape == (0,)
    assert schedule.rates([[1, 2], [3, 4]]).shape == (2, 2)
    np.testing.assert_array_equal(schedule.rates(np.arange(3, dtype=np.uint8)), [0.8, 0.4, 0.2])


@pytest.mark.parametrize("by", ["step", "epoch"])
@pytest.mark.parametrize("first", [0, 17, schedules.BLOCK - 3, 5 * schedules.BLOCK - 1])
def test_the_engine_gets_the_rates_of_any_range_in_the_same_bits(first, by):
    schedule = OneCycle(0.1, steps=3 * schedules.BLOCK, by=by)
    found, at, last = [], first, first + 2 * schedules.BLOCK
    while at < last:
        rates, momenta = schedule.following(at, last, 3)
        assert 0 < len(rates) == len(momenta) <= schedules.BLOCK
        found += zip(rates.tolist(), momenta.tolist(), strict=True)
        at += len(rates)
    assert len(found) == last - first
    steps = np.arange(first, last)
    assert_close(np.array(found), np.stack([schedule.rates(steps, 3), schedule.momenta(steps, 3)], axis=1), scale=1.0)
    for i in (0, 1, 2, 3, 4, len(found) - 1):
        assert schedule.at(first + i, 3) == found[i]


# ---- PyTorch


def torch_rates(make_scheduler, rate, steps, *, betas=None):
    """The learning rates, and beta1, that PyTorch's scheduler gives to each step."""
    import torch

    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([parameter], lr=rate, betas=(0.9, 0.999))
    scheduler = make_scheduler(optimizer)
    found = []
    for _ in range(steps):
        found.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"][0]))
        optimizer.step()
        scheduler.step()
    return np.array(found).T


def warmed_cosine(optimizer, warmup, steps, minimum):
    from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

    parts = [LinearLR(optimizer, total_iters=warmup), CosineAnnealingLR(optimizer, steps - warmup, eta_min=minimum)]
    return SequentialLR(optimizer, parts, milestones=[warmup])


TORCH = {
    "constant": (Constant(0.3), lambda o, lr: lr.ConstantLR(o, factor=1.0)),
    "warm-up": (Constant(0.3, warmup=40), lambda o, lr: lr.LinearLR(o, total_iters=40)),
    "warm-up from a half": (
        Constant(0.3, warmup=7, start_factor=0.5), lambda o, lr: lr.LinearLR(o, start_factor=0.5, total_iters=7)
    ),
    "step": (Step(0.3, step_size=7), lambda o, lr: lr.StepLR(o, 7)),
    "step by halves": (Step(0.3, step_size=30, gamma=0.5), lambda o, lr: lr.StepLR(o, 30, 0.5)),
    "exponential": (Exponential(0.3, gamma=0.97), lambda o, lr: lr.ExponentialLR(o, 0.97)),
    "inverse time": (
        InverseTime(0.3, steps=7, decay=0.4), lambda o, lr: lr.LambdaLR(o, lambda t: 1 / (1 + 0.4 * t / 7))
    ),
    "cosine": (Cosine(0.3, steps=150), lambda o, lr: lr.CosineAnnealingLR(o, 150)),
    "cosine to a minimum": (
        Cosine(0.3, steps=150, minimum=0.02), lambda o, lr: lr.CosineAnnealingLR(o, 150, eta_min=0.02)
    ),
    "cosine after a warm-up": (
        Cosine(0.3, steps=150, warmup=20, minimum=0.01), lambda o, lr: warmed_cosine(o, 20, 150, 0.01)
    ),
}  # fmt: skip
CYCLES = {
    "defaults": {},
    "linear": {"anneal_strategy": "linear"},
    "three phases": {"three_phase": True},
    "three phases of lines": {"three_phase": True, "anneal_strategy": "linear", "pct_start": 0.37},
    "a late peak": {"pct_start": 0.71, "base_momentum": 0.8, "max_momentum": 0.99},
    "other factors": {"div_factor": 3.0, "final_div_factor": 7.0},
}
TORCH |= {
    f"one cycle, {name}": (
        OneCycle(0.3, steps=150, **options), lambda o, lr, options=options: lr.OneCycleLR(o, 0.3, 151, **options)
    )
    for name, options in CYCLES.items()
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
def test_rates_are_those_of_pytorch(name):
    torch = pytest.importorskip("torch", reason="the schedules of PyTorch need torch")
    schedule, make_scheduler = TORCH[name]
    if isinstance(schedule, OneCycle):  # its last call of `step` would be one too many
        schedule = OneCycle(**(vars(schedule) | {"steps": 151}))
    rates, betas = torch_rates(lambda o: make_scheduler(o, torch.optim.lr_scheduler), 0.3, 150)
    steps = np.arange(150)
    assert_close(schedule.rates(steps), rates, scale=0.3, kind="recursion")
    momenta = schedule.momenta(steps)
    assert_close(np.full(150, 0.9) if momenta is None else momenta, betas, scale=1.0, kind="recursion")


OPTIONS = {
    "defaults": {},
    "no patience": {"patience": 0},
    "a cooldown": {"patience": 1, "cooldown": 3},
    "a minimum": {"patience": 0, "factor": 0.5, "minimum": 0.01},
    "large steps alone": {"patience": 2, "threshold": 0.3},
    "by difference": {"patience": 2, "threshold": 0.05, "threshold_mode": "abs"},
    "reductions too small to make": {"patience": 0, "factor": 1 - 1e-8},
}


@pytest.mark.parametrize("monitor", ["loss", "val_accuracy"])
@pytest.mark.parametrize("name", OPTIONS)
def test_plateaus_are_those_of_pytorch(name, monitor):
    torch = pytest.importorskip("torch", reason="the schedules of PyTorch need torch")
    generator = np.random.default_rng(3)
    values = np.exp(-np.arange(60) / 20) + 0.1 * generator.random(60)
    values[[5, 6, 40]] = np.nan
    values = values if monitor == "loss" else 1.5 - values
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    options = {"min_lr" if key == "minimum" else key: value for key, value in OPTIONS[name].items()}
    mode = "min" if monitor == "loss" else "max"
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode, **options)

    schedule = ReduceOnPlateau(0.3, monitor=monitor, **OPTIONS[name])
    plateau = schedule.begun(None)
    rates = set()
    for value in values.tolist():
        scheduler.step(value)
        plateau = schedule.after(plateau, value, monitor.endswith("accuracy"))
        schedules.check_plateau(plateau)
        assert plateau["rate"] == optimizer.param_groups[0]["lr"]
        rates.add(plateau["rate"])
    assert len(rates) > 1 or name in ("defaults", "reductions too small to make")


# ---- networks


def torch_training(net, make_optimizer, make_scheduler, steps, *, by_epoch=False):
    """Train a copy of the network with PyTorch, on the mini-batches in order; return the parameters by name."""
    import torch

    layers = []
    for i in (1, 2):
        weights = net.params[f"W{i}"]
        layer = torch.nn.Linear(*weights.shape, dtype=torch.float64)
        layer.weight.data = torch.from_numpy(weights.T.copy())
        layer.bias.data = torch.from_numpy(net.params[f"b{i}"].copy())
        layers.append(layer)
    model = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1])
    optimizer = make_optimizer(model.parameters())
    scheduler = make_scheduler(optimizer, torch.optim.lr_scheduler)
    for step in range(steps):
        rows = slice(step % PER_EPOCH * BATCH, (step % PER_EPOCH + 1) * BATCH)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(X[rows])), torch.from_numpy(LABELS[rows]))
        loss.backward()
        optimizer.step()
        if not by_epoch or step % PER_EPOCH == PER_EPOCH - 1:
            scheduler.step()
    return {
        f"{name}{i}": array.detach().numpy()
        for i, layer in enumerate(layers, start=1)
        for name, array in (("W", layer.weight.T), ("b", layer.bias))
    }


TRAJECTORIES = {
    "step": (Step(0.1, step_size=13, gamma=0.7), lambda o, lr: lr.StepLR(o, 13, 0.7)),
    "exponential by epoch": (Exponential(0.1, gamma=0.8, by="epoch"), lambda o, lr: lr.ExponentialLR(o, 0.8)),
    "cosine after a warm-up": (Cosine(0.1, steps=101, warmup=10), lambda o, lr: warmed_cosine(o, 10, 101, 0.0)),
    "one cycle": (
        OneCycle(0.1, steps=101, cycle_momentum=False),
        lambda o, lr: lr.OneCycleLR(o, 0.1, 101, cycle_momentum=False),
    ),
    "one cycle with beta1": (OneCycle(0.1, steps=101), lambda o, lr: lr.OneCycleLR(o, 0.1, 101)),
}
WITHOUT_MOMENTUM = [name for name, (schedule, _) in TRAJECTORIES.items() if not schedule.cycle_momentum]


@pytest.mark.parametrize(
    ("name", "optimizer"), [*((name, "Adam") for name in TRAJECTORIES), *((name, "SGD") for name in WITHOUT_MOMENTUM)]
)
def test_a_trajectory_is_that_of_pytorch(name, optimizer):
    torch = pytest.importorskip("torch", reason="the trajectories of PyTorch need torch")
    schedule, make_scheduler = TRAJECTORIES[name]
    net = make_net()
    begin = net.flat_params.copy()
    expected = torch_training(
        net, lambda p: getattr(torch.optim, optimizer)(p, lr=0.1), make_scheduler, 100, by_epoch=schedule.by == "epoch"
    )
    history = fit(net, schedule, optimizer=getattr(nf, optimizer), epochs=20)
    for name, parameters in expected.items():
        assert_close(net.params[name], parameters, scale=1.0, kind="trajectory")
    assert np.abs(net.flat_params - begin).max() > 0.01, "it hardly moved: the comparison says nothing"
    assert_close(history.learning_rate, schedule.rates(np.arange(100), PER_EPOCH), scale=0.1)


def test_a_trajectory_on_a_plateau_is_that_of_a_numpy_program():
    """With the rates that PyTorch's rule, tested above, computes from the losses."""
    net, twin = make_net(), NumpyNetwork(make_net())
    schedule = ReduceOnPlateau(2.0, monitor="loss", factor=0.5, patience=1, threshold=0.3)
    history = fit(net, schedule, optimizer=nf.SGD, epochs=30)
    plateau = schedule.begun(None)
    for epoch, loss in enumerate(history["loss"]):
        np.testing.assert_array_equal(history.learning_rate[5 * epoch : 5 * epoch + 5], plateau["rate"])
        twin.fit(X, LABELS, steps=5, batch_size=BATCH, optimizer=nf.SGD(plateau["rate"]))
        plateau = schedule.after(plateau, loss, False)
    for name, parameters in twin.parameters.items():
        assert_close(net.params[name], parameters, scale=1.0, kind="trajectory")
    assert len(set(history.learning_rate)) > 2


SCHEDULES = {
    "step": Step(0.1, step_size=7, gamma=0.7),
    "by epoch": Exponential(0.1, gamma=0.8, by="epoch"),
    "cosine": Cosine(0.1, steps=45, warmup=10),
    "one cycle": OneCycle(0.1, steps=45),
    "one cycle by epoch": OneCycle(0.1, steps=10, by="epoch"),
    "plateau": ReduceOnPlateau(0.5, monitor="loss", factor=0.5, patience=0, threshold=0.3, cooldown=1),
}


def quiet_slices(monkeypatch):
    """Interrupt each run of the engine after a step or two, as a slow machine would."""
    run = Training.run

    class Sliced(Training):
        def run(self, until, optimizer, scheduled=False, seconds=0.1):
            return run(self, until, optimizer, scheduled, 0.0)

    monkeypatch.setattr("nnfast.training.loop.Training", Sliced)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_fit_is_its_parts(name, monkeypatch, tmp_path):
    """In one call, in slices of time, in two halves, with a copy or a file between them: the same bits."""
    nets = {way: make_net(dtype="float32") for way in ("whole", "sliced", "halves", "copied", "saved")}
    rates = {}
    for way in ("whole", "halves", "copied", "saved"):
        epochs = [12] if way == "whole" else [5, 7]
        rates[way] = []
        for each in epochs:
            rates[way] += fit(nets[way], SCHEDULES[name], epochs=each).learning_rate.tolist()
            if way == "copied":
                nets[way] = pickle.loads(pickle.dumps(nets[way].copy()))
            elif way == "saved":
                nets[way].save(tmp_path / "net.npz")
                nets[way] = nf.load(tmp_path / "net.npz")
    quiet_slices(monkeypatch)
    rates["sliced"] = fit(nets["sliced"], SCHEDULES[name], epochs=12).learning_rate.tolist()
    for way, net in nets.items():
        assert rates[way] == rates["whole"]
        assert state(net)[:2] == state(nets["whole"])[:2], way
    assert len(set(rates["whole"])) > 2


@pytest.mark.parametrize("name", ["step", "cosine", "one cycle"])
@pytest.mark.parametrize("own_loop", [False, True], ids=["train_step", "update"])
def test_a_loop_of_steps_is_a_fit(name, own_loop):
    net, loop = make_net(), make_net()
    fit(net, SCHEDULES[name], epochs=12)
    optimizer = nf.Adam(SCHEDULES[name])
    for step in range(60):
        rows = slice(step % PER_EPOCH * BATCH, (step % PER_EPOCH + 1) * BATCH)
        if own_loop:
            out = loop.forward(X[rows], training=True)
            loop.backward(np.zeros_like(out))
            loop.grads["W1"][...], loop.grads["b1"][...], loop.grads["W2"][...], loop.grads["b2"][...] = (
                loop.gradient(X[rows], LABELS[rows])[key] for key in ("W1", "b1", "W2", "b2")
            )
            loop.update(optimizer)
        else:
            loop.train_step(X[rows], LABELS[rows], optimizer)
    np.testing.assert_array_equal(loop.flat_params, net.flat_params)


def test_any_number_of_threads_gives_the_same_bits():
    x, y = rng.normal(size=(3000, 60)), rng.integers(0, 4, 3000)
    found = []
    for threads in (1, 2, 5):
        net = nf.Sequential([nf.Dense(90, "tanh"), nf.Dense(4, "softmax")], input_shape=60, seed=5)
        with nf.num_threads(threads):
            net.fit(x, y, epochs=2, batch_size=500, optimizer=nf.Adam(OneCycle(0.01, steps=12)), verbose=0)
        found.append(net.flat_params.tobytes())
    assert found == found[:1] * 3


def test_a_fit_by_numerical_gradients_follows_the_schedule():
    schedule = OneCycle(0.1, steps=20)
    net, numerical = make_net(), make_net()
    fit(net, schedule, epochs=2)
    history = fit(numerical, schedule, epochs=2, gradient="numerical")
    assert_close(history.learning_rate, schedule.rates(np.arange(10)), scale=0.1)
    assert np.abs(numerical.flat_params - net.flat_params).max() < 1e-4
    plateau = fit(make_net(), ReduceOnPlateau(0.1, monitor="accuracy", patience=0), epochs=6, gradient="numerical")
    assert plateau.learning_rate[-1] < 0.1


def test_another_kind_of_optimizer_and_a_reset_begin_afresh():
    schedule = Exponential(0.1, gamma=0.9)
    net = make_net()
    fit(net, schedule, epochs=2)
    assert fit(net, schedule, epochs=1).learning_rate[0] == schedule.rates(10)
    assert fit(net, schedule, optimizer=nf.SGD, epochs=1).learning_rate[0] == 0.1
    net.reset_optimizer()
    assert fit(net, schedule, optimizer=nf.SGD, epochs=1).learning_rate[0] == 0.1
    net.train_step(X, LABELS, nf.Adam(schedule))
    assert fit(net, schedule, epochs=1).learning_rate[0] == schedule.rates(1)


def test_a_plateau_begins_afresh_when_the_optimizer_does():
    schedule = ReduceOnPlateau(0.5, monitor="accuracy", patience=0)
    net = make_net()
    reduced = fit(net, schedule, epochs=10).learning_rate[-1]
    assert reduced < 0.5
    assert fit(net, schedule, epochs=1).learning_rate[0] <= reduced
    assert fit(net, ReduceOnPlateau(0.5, monitor="loss", patience=0), epochs=1).learning_rate[0] == 0.5
    assert fit(net, ReduceOnPlateau(0.4, monitor="loss", patience=0), epochs=1).learning_rate[0] == 0.4
    for begin_afresh in (net.reset_optimizer, lambda: net.train_step(X, LABELS, "sgd")):
        fit(net, schedule, epochs=10)
        begin_afresh()
        assert fit(net, schedule, epochs=1).learning_rate[0] == 0.5


def test_one_schedule_serves_many_networks():
    optimizer = nf.Adam(ReduceOnPlateau(0.5, monitor="accuracy", patience=0))
    one, other = make_net(), make_net()
    first = one.fit(X, LABELS, epochs=10, optimizer=optimizer, verbose=0)
    second = other.fit(X, LABELS, epochs=10, optimizer=optimizer, verbose=0)
    np.testing.assert_array_equal(first.learning_rate, second.learning_rate)
    assert state(one)[:2] == state(other)[:2]


@pytest.mark.parametrize("mode", ["rel", "abs"])
@pytest.mark.parametrize("higher", [False, True])
def test_every_number_is_better_than_an_infinite_one(mode, higher):
    schedule = ReduceOnPlateau(0.1, patience=0, threshold_mode=mode)
    plateau = schedule.begun(None)
    worst = -np.inf if higher else np.inf
    for value in (worst, *(np.arange(1.0, 6) if higher else np.arange(6.0, 1, -1))):
        plateau = schedule.after(plateau, value, higher)
    assert plateau["rate"] == 0.1


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_a_plateau_of_validation(monitor):
    schedule = ReduceOnPlateau(0.5, monitor=monitor, patience=0, factor=0.5)
    history = fit(make_net(), schedule, epochs=15, validation_data=(X[:7], LABELS[:7]))
    plateau = schedule.begun(None)
    for rate, value in zip(history.learning_rate[::5], history[monitor], strict=True):
        assert rate == plateau["rate"]
        plateau = schedule.after(plateau, value, monitor == "val_accuracy")
    assert history.learning_rate[-1] < 0.5


def test_an_epoch_that_steps_cut_off_counts_when_it_is_completed():
    schedule, net = ReduceOnPlateau(0.5, monitor="loss", patience=5), make_net()
    first = fit(net, schedule, steps=8)
    assert len(first["loss"]) == 2
    plateau = schedule.after(schedule.begun(None), first["loss"][0], False)
    assert net._network.built.slot.plateau == plateau
    second = fit(net, schedule, steps=2)
    assert net._network.built.slot.plateau == schedule.after(plateau, second["loss"][0], False)


def test_a_callback_may_exchange_the_schedule():
    """By a number, another schedule, or one that waits for a plateau; the current one determines the next rate."""
    rates = [Exponential(0.1, gamma=0.5), 0.3, OneCycle(0.2, steps=50), ReduceOnPlateau(0.7, monitor="loss"), 0.4]
    optimizer, net = nf.Adam(rates[0]), make_net()

    def exchange(net, history):
        assert len(history.learning_rate) == len(history.step_loss) == 5 * len(history["loss"])
        optimizer.learning_rate = rates[len(history["loss"]) % 5]

    history = net.fit(X, LABELS, batch_size=BATCH, epochs=5, optimizer=optimizer, callbacks=[exchange], verbose=0)
    steps = np.arange(25)
    expected = [rates[0].rates(steps[:5]), [0.3] * 5, rates[2].rates(steps[10:15]), [0.7] * 5, [0.4] * 5]
    np.testing.assert_array_equal(history.learning_rate, np.concatenate(expected))


def test_a_history_has_the_rate_of_each_step():
    history = fit(make_net(), 0.25, steps=13)
    np.testing.assert_array_equal(history.learning_rate, np.full(13, 0.25))
    assert history.learning_rate.dtype == np.float64
    stopped = fit(make_net(), Cosine(0.1, steps=50), epochs=9, callbacks=[lambda net, history: net.stop()])
    assert len(stopped.learning_rate) == 5
    assert nf.History(1).learning_rate.shape == (0,)


def test_a_rate_of_zero_changes_nothing():
    net = make_net()
    fit(net, Cosine(0.1, steps=5), epochs=1)
    before = net.flat_params.copy()
    fit(net, Cosine(0.1, steps=5), epochs=3)
    np.testing.assert_array_equal(net.flat_params, before)


# ---- files


@pytest.mark.parametrize(
    "change",
    [
        {"bad": -1}, {"bad": 1.5}, {"bad": True}, {"cooldown": None}, {"rate": "A"}, {"rate": -0.1}, {"rate": 7.0},
        {"best": "A"}, {"best": [1]}, {"monitor": None}, {"learning_rate": 0}, {"more": 1}, {"waiting": False},
        {"waiting": 1},
    ],
    ids=str,
)  # fmt: skip
def test_states_from_files_that_do_not_fit_are_refused(change):
    plateau = ReduceOnPlateau(0.5).begun(None)
    schedules.check_plateau(plateau)
    with pytest.raises((TypeError, ValueError)):
        schedules.check_plateau(plateau | change)


@pytest.mark.parametrize("plateau", [[], {}, "A", 0, True])
def test_what_is_no_state_is_refused(plateau):
    with pytest.raises(ValueError, match="^plateau must have bad, best, cooldown, learning_rate, monitor, rate, got "):
        schedules.check_plateau(plateau)


# ---- the classes


@pytest.mark.parametrize("name", BY_HAND)
def test_schedules_are_descriptions(name):
    schedule = BY_HAND[name][0]
    twin = eval(repr(schedule), vars(schedules))
    assert vars(twin) == vars(schedule)
    for other in (copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
        assert vars(other) == vars(schedule)
    with pytest.raises(
        AttributeError,
        match=f"a schedule is a description and does not change: make a new {type(schedule).__name__} with",
    ):
        schedule.learning_rate = 0.1
    assert repr(nf.Adam(schedule)) == f"Adam(learning_rate={schedule!r})"


def test_a_plateau_is_a_description():
    schedule = ReduceOnPlateau(0.5, patience=3)
    assert vars(eval(repr(schedule), vars(schedules))) == vars(schedule)
    with pytest.raises(AttributeError, match="make a new ReduceOnPlateau with another patience"):
        schedule.patience = 4


# ---- bad input

REFUSED = {
    "no rate": (lambda: Constant(0.0), ValueError, "learning_rate must be a finite number in (0.0, inf), got 0.0"),
    "a negative rate": (lambda: Cosine(-0.1, steps=5), ValueError, "learning_rate must be a finite number in (0.0"),
    "a rate that is a text": (lambda: Cosine("A", steps=5), TypeError, "learning_rate must be a number, got 'A'"),
    "another unit": (lambda: Constant(0.1, by="batch"), ValueError, "by must be one of 'step', 'epoch', got 'batch'"),
    "a negative warm-up": (lambda: Constant(0.1, warmup=-1), ValueError, "warmup must be at least 0, got -1"),
    "a warm-up down": (lambda: Constant(0.1, warmup=3, start_factor=2), ValueError, "start_factor must be a finite"),
    "no steps": (lambda: Cosine(0.1, steps=0), ValueError, "steps must be at least 1, got 0"),
    "a fraction of steps": (lambda: Cosine(0.1, steps=1.5), TypeError, "steps must be an integer"),
    "a warm-up longer than the whole": (
        lambda: Cosine(0.1, steps=5, warmup=5), ValueError,
        "warmup must be less than steps, got warmup=5 and steps=5",
    ),
    "a minimum below zero": (lambda: Cosine(0.1, steps=5, minimum=-1e-3), ValueError, "minimum must be a finite"),
    "a minimum above the rate": (
        lambda: Cosine(0.1, steps=5, minimum=0.2), ValueError, "minimum must be at most learning_rate=0.1, got 0.2"
    ),
    "steps of no size": (lambda: Step(0.1, step_size=0), ValueError, "step_size must be at least 1, got 0"),
    "no gamma": (lambda: Step(0.1, step_size=1, gamma=0), ValueError, "gamma must be above 0, got 0.0"),
    "a negative gamma": (lambda: Exponential(0.1, gamma=-0.5), ValueError, "gamma must be a finite number in [0"),
    "a gamma above one": (lambda: Exponential(0.1, gamma=1.5), ValueError, "gamma must be a finite number in [0"),
    "no decay": (lambda: InverseTime(0.1, steps=5, decay=0), ValueError, "decay must be a finite number in (0.0, inf)"),
    "no time for decay": (lambda: InverseTime(0.1, steps=0), ValueError, "steps must be at least 1, got 0"),
    "no rise": (lambda: OneCycle(0.1, steps=100, pct_start=0), ValueError, "pct_start must be a finite number in (0"),
    "no fall": (lambda: OneCycle(0.1, steps=100, pct_start=1), ValueError, "pct_start must be a finite number in (0"),
    "a cycle too short": (
        lambda: OneCycle(0.1, steps=3), ValueError,
        "each phase must have a positive length, but with steps=3, pct_start=0.3 and three_phase=False they would end"
        " at 0, -0.1, 2",
    ),
    "no third phase": (
        lambda: OneCycle(0.1, steps=100, pct_start=0.6, three_phase=True), ValueError, "each phase must have a positive"
    ),
    "another way": (
        lambda: OneCycle(0.1, steps=9, anneal_strategy="cubic"), ValueError,
        "anneal_strategy must be one of 'cos', 'linear', got 'cubic'",
    ),
    "momenta the wrong way round": (
        lambda: OneCycle(0.1, steps=9, base_momentum=0.9, max_momentum=0.8), ValueError,
        "base_momentum must be at most max_momentum, got 0.9 and 0.8",
    ),
    "a momentum of one": (
        lambda: OneCycle(0.1, steps=9, max_momentum=1.0), ValueError, "max_momentum must be below 1, got 1.0"
    ),
    "a start above the peak": (lambda: OneCycle(0.1, steps=9, div_factor=0.5), ValueError, "div_factor must be a"),
    "an end above the start": (
        lambda: OneCycle(0.1, steps=9, final_div_factor=0.5), ValueError, "final_div_factor must be a finite number"
    ),
    "cycles that are no truth": (lambda: OneCycle(0.1, steps=9, cycle_momentum=1), TypeError, "cycle_momentum must be"),
    "phases that are no truth": (lambda: OneCycle(0.1, steps=9, three_phase=3), TypeError, "three_phase must be True"),
    "another thing to look at": (
        lambda: ReduceOnPlateau(0.1, monitor=3), TypeError,
        "monitor must be the name of a value that fit records, such as 'val_loss', got 3",
    ),
    "a factor of one": (lambda: ReduceOnPlateau(0.1, factor=1), ValueError, "factor must be a finite number in (0"),
    "negative patience": (lambda: ReduceOnPlateau(0.1, patience=-1), ValueError, "patience must be at least 0, got -1"),
    "a negative threshold": (lambda: ReduceOnPlateau(0.1, threshold=-1), ValueError, "threshold must be a finite"),
    "another threshold": (
        lambda: ReduceOnPlateau(0.1, threshold_mode="half"), ValueError, "threshold_mode must be one of 'rel', 'abs'"
    ),
    "a negative cooldown": (lambda: ReduceOnPlateau(0.1, cooldown=-1), ValueError, "cooldown must be at least 0"),
    "a plateau above the rate": (
        lambda: ReduceOnPlateau(0.1, minimum=0.2), ValueError, "minimum must be at most learning_rate=0.1, got 0.2"
    ),
    "negative steps": (lambda: Constant(0.1).rates([-1]), ValueError, "steps must be at least 0, got -1"),
    "fractions of steps": (lambda: Constant(0.1).rates([0.5]), TypeError, "steps must be integers, got [0.5]"),
    "epochs of no steps": (lambda: Constant(0.1).rates([0], 0), ValueError, "steps_per_epoch must be at least 1"),
    "epochs of unknown length": (
        lambda: Constant(0.1, by="epoch").rates([0]), ValueError,
        "steps_per_epoch is required because this schedule is by epoch: Constant(0.1, ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused_with_the_reason(name):
    make, error, message = REFUSED[name]
    with pytest.raises(error, match=re.escape(message)):
        make()


@pytest.mark.parametrize("schedule", [Constant(0.1, by="epoch"), ReduceOnPlateau(0.1)], ids=["by epoch", "plateau"])
def test_epochs_are_unknown_outside_of_fit(schedule):
    net = make_net()
    message = r"^learning_rate must be a number or a schedule by step outside fit, since only fit counts epochs, got "
    with unchanged(net), pytest.raises(ValueError, match=message):
        net.train_step(X, LABELS, nf.SGD(schedule))
    net.backward(net.forward(X, training=True))
    with unchanged(net), pytest.raises(ValueError, match=message):
        net.update(nf.SGD(schedule))
    net.update(nf.SGD(0.1))


@pytest.mark.parametrize(
    ("arguments", "monitor", "recorded"),
    [
        ({}, "val_loss", "loss, accuracy"),
        ({}, "val_accuracy", "loss, accuracy"),
    ],
)
def test_a_plateau_of_what_is_not_recorded_is_refused(arguments, monitor, recorded):
    net = make_net()
    message = f"^monitor must be one of {recorded}, which this fit records, got '{monitor}': "
    with unchanged(net), pytest.raises(ValueError, match=message):
        fit(net, ReduceOnPlateau(0.1, monitor=monitor), **arguments)
    regression = nf.Sequential([nf.Dense(1)], seed=0)
    with pytest.raises(ValueError, match="^monitor must be one of loss, which this fit records, got 'accuracy': "):
        regression.fit(X, X[:, 0], optimizer=nf.SGD(ReduceOnPlateau(0.1, monitor="accuracy")), verbose=0)
    with pytest.raises(ValueError, match="^monitor must be one of loss, which this fit records, got 'time': "):
        regression.fit(X, X[:, 0], optimizer=nf.SGD(ReduceOnPlateau(0.1, monitor="time")), verbose=0)
    with pytest.raises(
        ValueError, match="^monitor must be one of loss, val_loss, which this fit records, got 'val_acc"
    ):
        schedule = ReduceOnPlateau(0.1, monitor="val_accuracy")
        regression.fit(X, X[:, 0], optimizer=nf.SGD(schedule), validation_data=(X, X[:, 1]), verbose=0)
    assert regression.input_shape is None, "nothing has changed"


def test_a_callback_that_sets_such_a_plateau_gets_the_error():
    net, optimizer = make_net(), nf.SGD(0.1)

    def bring(net, history):
        optimizer.learning_rate = ReduceOnPlateau(0.1)

    with pytest.raises(
        ValueError, match="^monitor must be one of loss, accuracy, which this fit records, got 'val_loss'"
    ):
        net.fit(X, LABELS, epochs=2, optimizer=optimizer, callbacks=[bring], verbose=0)
    net.train_step(X, LABELS)


def test_a_momentum_that_is_not_there_is_not_cycled():
    message = "^learning_rate cycles the momentum too, but SGD has none: pass cycle_momentum=False to OneCycle$"
    with pytest.raises(ValueError, match=message):
        nf.SGD(OneCycle(0.1, steps=9))
    nf.SGD(OneCycle(0.1, steps=9, cycle_momentum=False))


def test_rates_fit_the_dtype():
    with pytest.raises(ValueError, match="learning_rate must be from .* for a network of float32, got 1e\\+300"):
        fit(make_net(dtype="float32"), Constant(1e300))
    with pytest.raises(TypeError, match="learning_rate must be a number, got "):
        nf.SGD(Constant)


def test_epochs_are_those_of_fits_whatever_their_size():
    """Each fit begins an epoch: a different batch size or earlier single steps do not shift the epochs."""
    net = nf.Sequential([nf.Dense(1)], input_shape=2, seed=0)
    x, y = np.ones((40, 2)), np.zeros(40)
    optimizer = nf.SGD(schedules.Exponential(1e-2, gamma=0.5, by="epoch"))
    net.train_step(x, y, nf.SGD(1e-3))
    first = net.fit(x, y, epochs=2, batch_size=10, optimizer=optimizer, verbose=0)
    assert first.learning_rate.tolist() == [1e-2] * 4 + [5e-3] * 4
    second = net.copy().fit(x, y, epochs=2, batch_size=40, optimizer=optimizer, verbose=0)
    assert second.learning_rate.tolist() == [2.5e-3, 1.25e-3]


# ---- bounds, and equality

MOST = schedules.MAX_TIME
EVERY = [
    schedules.Constant(0.1, warmup=MOST, start_factor=5e-324),
    schedules.Step(1e308, step_size=MOST, gamma=5e-324),
    schedules.Step(1e308, step_size=1, gamma=5e-324),
    schedules.Exponential(1e308, gamma=5e-324),
    schedules.InverseTime(1e308, steps=1, decay=1e308),
    schedules.InverseTime(5e-324, steps=MOST, decay=5e-324),
    schedules.Cosine(1e308, steps=MOST, warmup=MOST - 1),
    schedules.Cosine(1.7e308, steps=10, minimum=1e308),
    schedules.OneCycle(1.7e308, steps=MOST),
    schedules.OneCycle(5e-324, steps=10, div_factor=1.7e308, final_div_factor=1.7e308),
]


@pytest.mark.parametrize("schedule", EVERY, ids=repr)
def test_rates_at_the_bounds(schedule):
    """Finite, without warnings, and never above the base rate of the schedule."""
    with np.errstate(all="raise"):
        rates = schedule.rates(np.array([0, 1, 9, MOST - 1, MOST], "u8"))
        momenta = schedule.momenta([0, MOST])
    assert ((rates >= 0) & (rates <= schedule.learning_rate * (1 + 1e-15))).all()
    assert momenta is None or np.isfinite(momenta).all()


@pytest.mark.parametrize("steps", [np.array(2**63, "u8"), [MOST + 1], 2**63, np.array([MOST + 1], object)], ids=repr)
def test_steps_beyond_what_float64_counts(steps):
    for call in (schedules.Step(0.1, step_size=3).rates, schedules.OneCycle(0.1, steps=9).momenta):
        with pytest.raises(ValueError, match=f"^steps must be at most {MOST}, got "):
            call(steps)
    with pytest.raises(ValueError, match=f"^steps_per_epoch must be at most {MOST}, got "):
        schedules.Step(0.1, step_size=3, by="epoch").rates([0], 10**30)


@pytest.mark.parametrize(
    ("kind", "name", "others"),
    [
        (schedules.Constant, "warmup", {}),
        (schedules.Step, "step_size", {}),
        (schedules.InverseTime, "steps", {}),
        (schedules.Cosine, "steps", {}),
        (schedules.Cosine, "warmup", {"steps": 10}),
        (schedules.OneCycle, "steps", {}),
        (schedules.ReduceOnPlateau, "patience", {}),
        (schedules.ReduceOnPlateau, "cooldown", {}),
    ],
)
def test_counts_are_bounded(kind, name, others):
    for wrong in (MOST + 1, 10**400, 10**5000, np.uint64(2**64 - 1)):
        with pytest.raises(ValueError, match=f"^{name} must be at most {MOST}, got "):
            kind(0.1, **{name: wrong, **others})


def test_schedules_compare_by_value():
    for schedule in (*EVERY, schedules.ReduceOnPlateau(0.1, patience=3)):
        arguments = dict(vars(schedule))
        twin = type(schedule)(**arguments)
        assert twin == schedule
        assert hash(twin) == hash(schedule)
        assert twin != type(schedule)(**arguments | {"learning_rate": np.nextafter(schedule.learning_rate, 1)})
    assert (
        len({schedules.Step(0.1, step_size=3), schedules.Step(0.1, step_size=3), schedules.Step(0.1, step_size=4)}) == 2
    )
    assert schedules.Step(0.1, step_size=3, gamma=0.5) != schedules.Exponential(0.1, gamma=0.5)
    assert schedules.Step(0.1, step_size=3) != 0.1
    assert nf.Adam(schedules.Step(0.1, step_size=3)) == nf.Adam(schedules.Step(0.1, step_size=3))
