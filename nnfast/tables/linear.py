"""A linear model beside the networks of a table model, with a share in their outputs that held rows choose.

Where a table is nearly linear, and where it has few rows for its classes, a linear model has less error than a network;
nearly everywhere else its share is 0. Outputs are mixed before the softmax, as sums of logits, or as sums of numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnfast import training
from nnfast.layers import ColumnEncoding, Dense, Dropout, Residual
from nnfast.optimizers import LBFGS
from nnfast.sequential import Sequential, network_of
from nnfast.tables.targets import Target
from nnfast.tables.training import Samples, Trained, scale_outputs

MOST_ROWS = 2**16  # that it is fitted to: a linear model needs no more
PENALTY = 0.5  # times the sum of the squared weights of standardized columns, beside the sum of the losses
ITERATIONS, EVALUATIONS = 100, 200
SHARES = np.linspace(0.0, 1.0, 21)
PRIOR_ROWS = 10  # how many held rows weigh as much as the belief that the linear model needs no share
MOST_OUTPUTS = 2**22  # on held rows that the share is chosen by
LEAST = 0.025  # a smaller share is none


def fit_linear(encoding: ColumnEncoding, samples: Samples, rows: np.ndarray, target: Target) -> Sequential:
    """Return a linear model of the first output of each number, of flags and one-hot codes, fitted to some rows."""
    chosen = samples.chosen(rows[:: -(-len(rows) // MOST_ROWS)])
    places = _places(encoding)
    x = Sequential([encoding], input_shape=samples.raw.shape[1], seed=0).predict(chosen.raw)[:, places]
    mean, width = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    width[width == 0] = 1.0
    last = target.output_layer()
    layer = Dense(last.units, last.activation, initializer=0.0, l2=PENALTY, penalty="sum")
    net = Sequential([layer], input_shape=len(places), loss=target.loss(0.0), seed=0)
    arguments = training.FitArguments(
        network_of(net), training.Given(((x - mean) / width).astype(np.float32), chosen.values),
        sample_weight=chosen.weights, epochs=ITERATIONS, optimizer=LBFGS(max_evaluations=EVALUATIONS),
        batch_size=32, shuffle=True,  # the defaults: LBFGS accepts no others
        steps=None, gradient="backpropagation", metrics=[], verbose=0, callbacks=[], warns_unconverged=False,
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


def _places(encoding: ColumnEncoding) -> np.ndarray:
    """Return the outputs of an encoding that a linear model uses."""
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

    The networks lose the share.

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

    Both begin with the same encoding. A first layer passes its outputs on, and adds those of the linear model; a
    residual layer adds those of the network to them; the last layer chooses these.
    """
    encoding, *hidden, last = net.layers
    hidden = [layer for layer in hidden if not isinstance(layer, Dropout)]
    width, units = list(linear.params.values())[-2].shape
    n = width + units
    inner = [*hidden, Dense(n)]
    layers = [encoding, Dense(n), Residual(inner), Dense(units, last.activation)]
    whole = Sequential(layers, input_shape=net.input_shape, loss=net.loss_function, seed=0)
    own, arrays = list(net.params.values()), list(whole.params.values())
    if len(own) % 2:  # numbers of embeddings come before weights and biases
        arrays.pop(0)[...] = own.pop(0)
    weights, biases, *inner_arrays, chosen, zeros = arrays
    W, b = list(linear.params.values())[-2:]
    weights[...] = np.hstack([np.eye(width), W])
    biases[...] = np.append(np.zeros(width), b)
    for array, values in zip(inner_arrays, own, strict=True):  # the others of a layer's inputs and outputs are 0
        array[...] = 0.0
        array[(*(slice(size) for size in values.shape[:-1]), slice(-values.shape[-1], None))] = values
    chosen[...] = np.eye(n)[:, width:]
    zeros[...] = 0.0
    return whole
