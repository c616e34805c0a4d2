"""Gradients of everything that has one: by backpropagation, by the engine's differences, and by simple loops.

The table of everything is in gradient_cases.py.
"""

from __future__ import annotations

from collections.abc import Callable

import kernel_calls as kernels
import numpy as np
import pytest
from gradient_cases import (
    ACTIVATIONS,
    CASES,
    LAYER_CASES,
    LAYERS,
    LOSSES,
    Case,
    LayerCase,
    loss_of,
)
from numpy_network import NumpyNetwork, away_from_kinks, book_gradient, unchanged
from optimizer_cases import OPTIMIZERS
from tolerances import assert_close, tolerance

import nnfast as nf
from nnfast import losses, reference

H = 1e-5  # its square, and the rounding of the loss divided by it, are both about 1e-10

by_case = pytest.mark.parametrize("case", CASES, ids=str)
by_layer = pytest.mark.parametrize("case", LAYER_CASES, ids=str)


# ---- everything has a row


def test_every_row_is_of_its_layer() -> None:
    """That every layer has a row is tested in test_contract.py."""
    for name, make in LAYERS.items():
        assert type(make(3)).__name__ == name.split()[0]


def test_every_activation_has_a_row() -> None:
    assert set(kernels.ACTIVATIONS) == set(ACTIVATIONS)


def test_every_loss_has_a_row() -> None:
    assert set(losses.NAMES) == set(LOSSES)
    for name, row in LOSSES.items():
        assert set(row.kernels) == {name, *losses.LOSSES[name].fused.values()}
    assert set(kernels.LOSSES) == {kernel for row in LOSSES.values() for kernel in row.kernels}


def test_descriptions_and_kernels_agree() -> None:
    assert {name for name, function in ACTIVATIONS.items() if function.from_input} == kernels.FROM_INPUT
    assert {name for name, function in ACTIVATIONS.items() if function.mixes} == kernels.MIXING
    kinds = losses.LOSSES.values()
    assert {kernel for kind in kinds for kernel in kind.fused.values()} - set(losses.NAMES) == kernels.FUSED
    of_labels = [kind for kind in kinds if kind.takes_labels]
    assert {kernel for kind in of_labels for kernel in (kind.name, *kind.fused.values())} == kernels.OF_LABELS


@pytest.mark.once
@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize("output", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_table_says_which_losses_fit(loss: str, output: str, units: int) -> None:
    fits = output in LOSSES[loss].targets and not (ACTIVATIONS[output].mixes and units == 1)
    try:
        nf.Sequential([nf.Dense(units, output)], loss=loss_of(loss))
    except ValueError:
        assert not fits
    else:
        assert fits


def test_every_row_is_in_cases_of_every_kind() -> None:
    for name in ACTIVATIONS:
        chains = [case.activations for case in CASES]
        assert any(chain[0] == name for chain in chains if len(chain) > 1)
        assert any(name in chain[1:-1] for chain in chains)
        assert {len(chain) for chain in chains if chain[-1] == name} >= {1, 2}
    assert {len(case.activations) for case in CASES} == {1, 2, 3, 4}
    fitting = {
        (loss, output, target)
        for loss, row in LOSSES.items()
        for output in row.targets
        for target in row.targets[output]
    }
    assert {(case.loss, case.activations[-1], case.targets) for case in CASES} == fitting


# ---- three ways to a gradient


@by_case
def test_numerical_gradients_are_those_of_the_books_loop(case: Case) -> None:
    """With respect to parameters and input, up to the rounding of the losses; also at the kinks of relu."""
    net, (x, y) = case.network(), case.data()
    names = [*net.params, "x"]
    found = net.numerical_gradient(x, y, h=H, wrt=names)
    assert list(found) == names
    for name in names:
        expected = book_gradient(lambda: net.loss(x, y), x if name == "x" else net.params[name], H)
        assert_close(found[name], expected, scale=(1 + net.loss(x, y)) / H)


@pytest.mark.once
@by_case
def test_numerical_gradients_are_those_of_a_numpy_program(case: Case) -> None:
    """The program shares no line with the engine and uses no compiled kernel."""
    net, (x, y) = case.network(), case.data()
    twin, rows = NumpyNetwork(net), np.eye(case.units)[y] if y.ndim == 1 else y
    for name, found in net.numerical_gradient(x, y, h=H, wrt=[*net.params, "x"]).items():
        expected = book_gradient(lambda: twin.loss_of(x, rows), x if name == "x" else twin.parameters[name], H)
        assert_close(found, expected, scale=(1 + net.loss(x, y)) / H)


@by_case
def test_gradients_are_numerical_ones(case: Case) -> None:
    net, (x, y) = case.network(), case.data(rows=24)
    keep = away_from_kinks(net, x, 1000 * H)
    x, y = x[keep], y[keep]
    assert len(x) >= 5
    names = [*net.params, "x"]
    found, expected = net.gradient(x, y, wrt=names), net.numerical_gradient(x, y, h=H, wrt=names)
    assert list(found) == list(expected) == names
    for name in names:
        assert_close(found[name], expected[name], scale=net.loss(x, y) + np.abs(expected[name]), kind="difference")
    assert any(found[name].any() for name in names) != case.flat
    assert net.check_gradient(x, y, wrt=names)


@pytest.mark.once
@by_case
def test_check_gradient_finds_what_is_wrong(case: Case) -> None:
    net, (x, y) = case.network(), case.data()
    wrong = {name: array + 0.01 for name, array in net.gradient(x, y).items()}
    report = net.check_gradient(x, y, gradient=wrong)
    assert not any(report[name] for name in net.params)


# ---- layers


@by_layer
def test_numerical_gradients_through_layers_are_those_of_the_books_loop(case: LayerCase) -> None:
    net, (x, y) = case.network(), case.data()
    names = [*net.params, "x"]
    with unchanged(net):
        found = net.numerical_gradient(x, y, h=H, wrt=names, **case.arguments)
    assert list(found) == names
    for name in names:
        array = x if name == "x" else net.params[name]
        expected = book_gradient(lambda: net.loss(x, y, **case.arguments), array, H)
        assert_close(found[name], expected, scale=(1 + net.loss(x, y, **case.arguments)) / H)


@by_layer
def test_gradients_through_layers_are_numerical_ones(case: LayerCase) -> None:
    net, (x, y) = case.network(), case.data()
    names = [*net.params, "x"]
    with unchanged(net):
        found = net.gradient(x, y, wrt=names, **case.arguments)
        expected = net.numerical_gradient(x, y, h=H, wrt=names, **case.arguments)
        report = net.check_gradient(x, y, wrt=names, **case.arguments)
    loss = net.loss(x, y, **case.arguments)
    for name in names:
        assert_close(found[name], expected[name], scale=1 + loss + np.abs(expected[name]), kind="difference")
    assert report


@by_layer
def test_losses_and_gradients_through_layers_are_those_of_a_numpy_program(case: LayerCase) -> None:
    net, (x, y) = case.network(), case.data()
    twin = NumpyNetwork(net)
    loss, expected = twin.loss_and_gradient(x, y, training=case.training, weights=case.weights())
    assert_close(net.loss(x, y, **case.arguments), loss, scale=1 + loss, kind="trajectory")
    found = net.gradient(x, y, wrt=[*net.params, "x"], **case.arguments)
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        assert_close(found[name], gradient, scale=1 + np.abs(gradient), kind="trajectory")
    outputs = twin.forward(x)[-1]
    if net._network.output_loss.fused:
        outputs = getattr(reference, net.layers[-1].activation)(outputs)
    assert_close(net.predict(x), outputs, scale=1 + np.abs(outputs))


TRAINED = [
    case
    for case in LAYER_CASES
    if case.training and case.layer in LAYERS
    if not (case.place == "alone" and (case.layer.endswith("frozen") or not case.network().n_parameters))
]


@pytest.mark.parametrize("gradient", ["backpropagation", "numerical"])
@pytest.mark.parametrize("case", TRAINED, ids=str)
def test_training_of_layers_is_that_of_a_numpy_program(case: LayerCase, gradient: str) -> None:
    """Parameters, frozen ones included, running statistics, and noise."""
    net, twin, (x, y) = case.network(), NumpyNetwork(case.network()), case.data(rows=24)
    weights = case.weights(rows=24)
    losses = [
        twin.train_step(x[rows], y[rows], nf.SGD(0.02), None if weights is None else weights[rows])
        for rows in twin.batches(len(x), 10, 5)
    ]
    history = net.fit(
        x, y, steps=5, batch_size=10, optimizer=nf.SGD(0.02), gradient=gradient, shuffle=False, verbose=0,
        sample_weight=weights,
    )  # fmt: skip
    kind = "trajectory" if gradient == "backpropagation" else "rough difference"
    assert_close(history.step_loss, losses, scale=1 + np.abs(losses), kind=kind)
    for found, expected in ((net.params, twin.parameters), (net.statistics, twin.statistics)):
        for name, array in expected.items():
            assert_close(found[name], array, scale=1 + np.abs(array), kind=kind)
    assert net._network.built.noise_steps == twin.noise_steps


@pytest.mark.parametrize(
    ("kernel", "prediction", "target", "parameters"),
    [
        (kernel, prediction, target, row.parameters)
        for row in LOSSES.values()
        for kernel, prediction in row.kernels.items()
        for target in dict.fromkeys(target for targets in row.targets.values() for target in targets)
        if target.__name__ != "labels" or "cross_entropy" in kernel
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_kernels_of_losses_are_derived_rightly(
    kernel: str, prediction: Callable, target: Callable, parameters: tuple
) -> None:
    """Also those that no network runs, because it uses them fused with the last activation."""
    rng = np.random.default_rng(0)
    p, t = prediction(rng.normal(size=(6, 3))), target(rng.normal(size=(6, 3)))
    found = getattr(kernels, f"{kernel}_backward")(p, t, *parameters)
    value = getattr(kernels, kernel)
    expected = nf.numerical_gradient(lambda p: float(value(p, t, *parameters)), p, h=H)
    assert_close(found, expected, scale=1 + np.abs(expected), kind="difference")


# ---- optimizers

# Two trainings diverge from each other where one comes close to a kink.
SMOOTH = [
    case
    for case in CASES
    if len(case.activations) == 2
    and not any(ACTIVATIONS[a].kinks for a in case.activations)
    and not losses.LOSSES[case.loss].kinks
]


# Alternately shuffled and in order.
TRAININGS = [
    pytest.param(case, optimizer, (i + j) % 2 == 0, id=f"{case}-{optimizer}-{('shuffled', 'in order')[(i + j) % 2]}")
    for i, case in enumerate(SMOOTH)
    for j, optimizer in enumerate(OPTIMIZERS)
]


@pytest.mark.parametrize(("case", "optimizer", "shuffle"), TRAININGS)
def test_training_by_numerical_gradients_is_training(case: Case, optimizer: str, shuffle: bool) -> None:
    """Backpropagation and differences agree with mini-batches that do not divide the data, and in a second `fit`."""
    nets = {gradient: case.network() for gradient in ("numerical", "backpropagation")}
    x, y = case.data(rows=11)
    begin = nets["numerical"].flat_params.copy()
    for steps in (5, 6):
        history = {
            gradient: net.fit(
                x, y, steps=steps, batch_size=4, optimizer=OPTIMIZERS[optimizer].make(), gradient=gradient,
                shuffle=shuffle, verbose=0,
            )
            for gradient, net in nets.items()
        }  # fmt: skip
        numerical, expected = history["numerical"], history["backpropagation"]
        assert_close(numerical.step_loss, expected.step_loss, scale=1 + expected.step_loss, kind="difference")
        assert list(numerical) == list(expected)
        assert numerical["loss"] == pytest.approx(expected["loss"], abs=tolerance("float64", "difference"))
        assert numerical.get("accuracy") == expected.get("accuracy")
    mine, theirs = (nets[gradient].flat_params for gradient in ("numerical", "backpropagation"))
    assert_close(mine, theirs, scale=1.0, kind="difference")
    assert np.abs(mine - begin).max() > 0.02, "it hardly moved: the comparison says nothing"
    streams = [net._network.shuffle_stream.bit_generator.state for net in nets.values()]
    assert streams[0] == streams[1]
