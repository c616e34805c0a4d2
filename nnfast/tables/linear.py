"""A linear model beside the networks of a table model, with a share in their outputs that held rows choose.

Where a table is nearly linear, and where it has few rows for its classes, a linear model has less error than a network;
nearly everywhere else its share is 0. Outputs are mixed before the softmax, as sums of logits, or as sums of numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnfast import training
from nnfast.activations import resolve_activation
from nnfast.layers import Activation, ColumnEncoding, Dense, Dropout, Residual
from nnfast.optimizers import LBFGS
from nnfast.sequential import Sequential, network_of
from nnfast.tables.targets import Target
from nnfast.tables.training import Samples, Trained, scale_outputs

MOST_ROWS = 2**15  # that it is fitted to: a linear model needs no more
ROWS = 2**10  # that are encoded at a time
PENALTY = 0.5  # times the sum of the squared weights of standardized columns, beside the sum of the losses
ITERATIONS, EVALUATIONS = 100, 200
SHARES = np.linspace(0.0, 1.0, 21)
PRIOR_ROWS = 10  # how many held rows weigh as much as the belief that the linear model needs no share
MOST_OUTPUTS = 2**22  # on held rows that the share is chosen by
LEAST = 0.025  # a smaller share is none


def fit_linear(
    encoding: ColumnEncoding, samples: Samples, rows: np.ndarray, target: Target, max_seconds: float | None = None
) -> Sequential:
    """Return a linear model of the outputs that `places_of` chooses, fitted to some rows."""
    chosen = samples.chosen(rows[:: -(-len(rows) // MOST_ROWS)])
    places = places_of(encoding)
    x = _encoded(encoding, chosen.raw, places)
    mean, width = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    width[width == 0] = 1.0
    x -= mean.astype(np.float32)
    x /= width.astype(np.float32)
    last = target.output_layer()
    layer = Dense(last.units, last.activation, initializer=0.0, l2=PENALTY, penalty="sum")
    net = Sequential([layer], input_shape=len(places), loss=target.loss(0.0), seed=0)
    arguments = training.FitArguments(
        network_of(net), training.Given(x, chosen.values),
        sample_weight=chosen.weights, epochs=ITERATIONS, optimizer=LBFGS(max_evaluations=EVALUATIONS),
        batch_size=32, shuffle=True,  # the defaults: LBFGS accepts no others
        max_seconds=max_seconds, steps=None, gradient="backpropagation", metrics=[], verbose=0, callbacks=[],
        warns_unconverged=False,
    )  # fmt: skip
    training.fit(arguments, net)
    W, b = (array.astype(np.float64) for array in net.params.values())
    W /= width[:, np.newaxis]
    linear = Sequential([encoding, last], input_shape=samples.raw.shape[1], loss=target.loss(0.0), seed=0)
    linear.flat_params[...] = 0.0
    weights, biases = list(linear.params.values())[-2:]
    weights[places] = W
    biases[...] = b - np.einsum("i,ij->j", mean, W)  # no BLAS, whose sums depend on the number of threads
    return linear


def _encoded(encoding: ColumnEncoding, raw: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return some outputs of an encoding; all of them, which are many more, are there for some rows at a time only."""
    net = Sequential([encoding], input_shape=raw.shape[1], seed=0)
    x = np.empty((len(raw), len(places)), np.float32)
    for first in range(0, len(raw), ROWS):
        x[first : first + ROWS] = net.predict(raw[first : first + ROWS])[:, places]
    return x


def places_of(encoding: ColumnEncoding) -> np.ndarray:
    """Return which outputs of an encoding a linear model uses: the first of each number, flags and one-hot codes."""
    places, at = list[int](), 0
    for column in encoding.columns:
        used = {"number": 1, "embedding": 0}.get(column.kind, column.outputs)
        places += range(at, at + used)
        at += column.outputs
    return np.array(places, np.intp)


def blend(
    trained: Sequence[Trained], fitted: Sequence[Sequential], samples: Samples, target: Target
) -> tuple[Sequential | None, float]:
    """Return the linear model that is to be added to all networks, None if it has no share, and its share.

    What the networks compute is multiplied by the rest.

    Parameters
    ----------
    trained : sequence of Trained
        Networks, and the rows that they held back.
    fitted : sequence of Sequential
        For each of them, a linear model that was fitted without these rows; none if no rows are held back.
    samples : Samples
    target : Target
    """
    share = _share(trained, fitted, samples, target) if fitted else 0.0
    if share < LEAST:
        return None, 0.0
    linear = fitted[0].copy()
    linear.flat_params[...] = np.mean([net.flat_params for net in fitted], axis=0) * share
    for each in trained:
        scale_outputs(each.net, 1 - share)
    return linear, share


def _share(trained: Sequence[Trained], fitted: Sequence[Sequential], samples: Samples, target: Target) -> float:
    """Return the share of linear models with the least loss on the held rows of all networks."""
    total: np.ndarray = np.zeros(len(SHARES))
    count = 0
    for each, net in zip(trained, fitted, strict=True):
        held = samples.chosen(each.part[:: -(-len(each.part) * target.units // MOST_OUTPUTS)])
        outputs = [target.logits(model.predict(held.raw)) for model in (each.net, net)]
        weights = np.ones(len(held.raw)) if held.weights is None else held.weights
        for k, share in enumerate(SHARES):
            mixed = (1 - share) * outputs[0] + share * outputs[1]
            total[k] += np.sum(target.losses(mixed, held.values) * weights)
        count += len(held.raw)
    if not np.isfinite(total).all():  # one of them has diverged
        return 0.0
    return float(SHARES[total.argmin()]) * count / (count + PRIOR_ROWS)


def joined(net: Sequential, linear: Sequential) -> Sequential:
    """Return one network that computes the sum of a network and a linear model before the last activation.

    Both begin with the same encoding. The first layer computes the units of the network's first hidden layer, and
    beside them the outputs of the linear model; the others are within a residual layer, which adds the network's
    outputs to these; the last layer chooses them.

    Raises
    ------
    ValueError
        If the activation of the first hidden layer depends on all of its units.
    """
    own, added = list(net.params.values()), list(linear.params.values())[-2:]
    layers = [layer for layer in net.layers if not isinstance(layer, Dropout)]
    encoding, hidden, last = layers[0], layers[1:-1], layers[-1]
    if not hidden:
        whole = net.copy()
        for array, values in zip(list(whole.params.values())[-2:], added, strict=True):
            array += values
        return whole
    first, *hidden = hidden
    assert isinstance(first, Dense) and isinstance(last, Dense)
    if resolve_activation(first.activation).mixes:
        raise ValueError(
            f"no single network computes a linear model beside {first.activation}: use Recipe(linear=False)"
        )
    n = first.units + last.units
    inner = [Activation(first.activation), *hidden, Dense(n)]
    layers = [encoding, Dense(n), Residual(inner), Dense(last.units, last.activation)]
    whole = Sequential(layers, input_shape=net.input_shape, loss=net.loss_function, seed=0)
    arrays = list(whole.params.values())
    if len(own) % 2:  # numbers of embeddings come before weights and biases
        arrays.pop(0)[...] = own.pop(0)
    for array, values, others in zip(arrays[:2], own[:2], added, strict=True):
        array[...] = np.concatenate([values, others], axis=-1)
    for array, values in zip(arrays[2:-2], own[2:], strict=True):  # the other inputs and outputs have weights of 0
        array[...] = 0.0
        array[(*(slice(size) for size in values.shape[:-1]), slice(-values.shape[-1], None))] = values
    arrays[-2][...] = np.eye(n, last.units, -first.units)
    arrays[-1][...] = 0.0
    return whole
