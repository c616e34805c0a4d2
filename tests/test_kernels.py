"""The compiled kernels against their reference twins, hand-computed values, SciPy and central differences.

`CASES` is the table of operations: one row for each kernel, which defines the arguments and, for sums, the magnitudes
of the terms, on which the tolerance is based.
"""

from __future__ import annotations

import itertools
import math
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradient_cases
import kernel_calls as kernels
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizer_cases import NOT_NEGATIVE, OPTIMIZERS, required
from tolerances import assert_close, tolerance

from nnfast import reference
from nnfast.kernels import arrays

DTYPES = (np.float32, np.float64)
ACTIVATIONS = ("identity", "step", "sigmoid", "tanh", "relu", "softmax")
ELEMENTWISE = ("exp", "log", "step", "identity", "sigmoid", "tanh", "relu")
LOSSES = [name for name in kernels.LOSSES if name != "quantile"]  # which has a third array
OF_CLASSES = sorted(kernels.OF_LABELS)
OF_PROBABILITIES = [  # their predictions are probabilities
    name
    for row in gradient_cases.LOSSES.values()
    for name, made in row.kernels.items()
    if made in (gradient_cases.shares, gradient_cases.chances)
]
OF_SHARES = ("kl_divergence", "softmax_kl_divergence")  # their targets are rows of probabilities

# every loss with every kind of target it takes
LOSS_TARGETS = [(name, kind) for name in LOSSES for kind in ("one-hot", "soft")] + [
    (name, "labels") for name in OF_CLASSES
]

dtypes = st.sampled_from(DTYPES)
sizes = st.integers(1, 70)  # around the widths of vectors at every level, and of tiles
sizes_or_none = st.integers(0, 70)
seeds = st.integers(0, 2**32 - 1)


# ---- the table


@dataclass(frozen=True)
class Case:
    """How to call a kernel: `arguments(rng, dtype, m, k, n)`; `scale(*arguments)` sums the terms' magnitudes."""

    arguments: Callable
    scale: Callable | None = None
    has_out: bool = True


def normal(rng, dtype, *shape):
    return rng.normal(0, 3, shape).astype(dtype)


def positive(rng, dtype, *shape):
    return np.abs(normal(rng, dtype, *shape))


def probabilities(rng, dtype, *shape):
    return rng.uniform(0.01, 0.99, shape).astype(dtype)


def soft_targets(rng, dtype, m, n):
    """Rows of weights that sum to one, some of them exactly zero."""
    t = rng.uniform(0, 1, (m, n)) * (rng.uniform(0, 1, (m, n)) < 0.7) + np.eye(1, n)
    return (t / t.sum(axis=1, keepdims=True)).astype(dtype)


def labels(rng, m, n):
    return rng.integers(0, n, m)


def targets_of(loss, rng, dtype, m, n):
    if loss in OF_CLASSES:
        return soft_targets(rng, dtype, m, n) if rng.integers(2) else labels(rng, m, n)
    if loss in OF_SHARES:
        return soft_targets(rng, dtype, m, n)
    return probabilities(rng, dtype, m, n) if "binary" in loss else normal(rng, dtype, m, n)


def predictions_of(loss, rng, dtype, m, n):
    return probabilities(rng, dtype, m, n) if loss in OF_PROBABILITIES else normal(rng, dtype, m, n)


def activation_case(name, scale=None):
    make = positive if name == "log" else normal
    return Case(lambda rng, dtype, m, k, n: (make(rng, dtype, m, n),), scale)


def backward_case(name, scale=None):
    def arguments(rng, dtype, m, k, n):
        return normal(rng, dtype, m, n), getattr(reference, name)(normal(rng, dtype, m, n))

    return Case(arguments, scale)


def loss_case(name, scale=None):
    def arguments(rng, dtype, m, k, n):
        return predictions_of(name, rng, dtype, m, max(n, 1)), targets_of(name, rng, dtype, m, max(n, 1))

    return Case(arguments, scale)


def one_hot(prediction, target):
    return np.eye(prediction.shape[-1])[target] if target.ndim < prediction.ndim else target


def depth(x):
    """How far the logits of a row are below the largest: the scale of the rounding error of x - max(x)."""
    return 1 + x.max(axis=-1, keepdims=True, initial=-np.inf) - x


def softmax_scale(x):
    return reference.softmax(x) * (depth(x) + 1)


def softmax_backward_scale(gradient, y):
    return y * (np.abs(gradient) + np.abs(gradient * y).sum(axis=-1, keepdims=True))


def cross_entropy_scale(p, t):
    return reference.cross_entropy(p, t)


def binary_cross_entropy_scale(p, t):
    return np.mean(t * np.abs(np.log(p)) + (1 - t) * (1 + np.abs(np.log(1 - p)))) if p.size else 0


def softmax_cross_entropy_scale(x, t):
    t = one_hot(x, t)
    log_sum = np.abs(np.log(np.exp(x - x.max(axis=-1, keepdims=True, initial=-np.inf)).sum(axis=-1, keepdims=True)))
    return np.sum(t * (log_sum + depth(x).max(axis=-1, keepdims=True, initial=0))) / max(len(x), 1)


def softmax_cross_entropy_backward_scale(x, t):
    t = one_hot(x, t)
    return (softmax_scale(x) * t.sum(axis=-1, keepdims=True) + t) / max(len(x), 1)


def sigmoid_binary_cross_entropy_scale(x, t):
    return np.mean(np.abs(x) + np.abs(x * t) + 1) if x.size else 0


def difference_scale(x, t, *_):
    return np.mean(np.abs(x) + np.abs(t) + 1) if x.size else 0


def poisson_scale(x, t):
    return np.mean(np.exp(x) + np.abs(t * x)) if x.size else 0


def hinge_scale(x, t):
    return np.mean(1 + np.abs(x * t)) if x.size else 0


def kl_divergence_scale(x, t):
    return np.sum(t * (1 + np.abs(scipy.special.xlogy(1, np.where(t == 0, 1, t))) + np.abs(x))) / max(len(x), 1)


def softmax_kl_divergence_scale(x, t):
    return softmax_cross_entropy_scale(x, t) + kl_divergence_scale(0 * x, t)


def quantile_arguments(rng, dtype, m, k, n):
    n = max(n, 1)
    return normal(rng, dtype, m, n), normal(rng, dtype, m, n), probabilities(rng, dtype, n)


EXACT_BACKWARD = (
    "sum_squared_error", "mean_squared_error", "cross_entropy", "binary_cross_entropy", "mean_absolute_error", "hinge",
    "kl_divergence",
)  # fmt: skip


def any_loss_scale(x, t):
    """Of losses without a scale of their own: the magnitude of what they are computed from, and of the result."""
    return 1 + np.abs(x).max(initial=0)


def any_loss_backward_scale(x, t):
    """Slopes at probabilities are divided by them, or by what is missing to one."""
    steep = 1 / x + 1 / (1 - x) if x.size and x.min() > 0 and x.max() < 1 else 0
    return (any_loss_scale(x, t) + steep) / max(len(x), 1)


def backward_difference_scale(x, t, *_):
    """The rounding of a difference is multiplied by a slope of at most one."""
    return (np.abs(x) + np.abs(t) + 1) / max(x.size, 1)


def product_scale(a, b, **transposed):
    return reference.matmul(np.abs(a), np.abs(b), **transposed)


def dense_arguments(rng, dtype, m, k, n):
    bias = normal(rng, dtype, n) if rng.integers(2) else None
    return normal(rng, dtype, m, k), normal(rng, dtype, k, n), bias


def dense_scale(x, w, b, activation="identity"):
    terms = np.abs(x) @ np.abs(w) + (0 if b is None else np.abs(b))
    if activation == "softmax":  # each logit of the row contributes an error
        y = reference.dense(x, w, b, "softmax")
        z = reference.dense(x, w, b)
        return y * (terms + (y * terms).sum(axis=-1, keepdims=True) + depth(z) + 1)
    return terms + 1  # no other activation has a slope above 1


def numbers(rng, dtype, *shape):
    """Numbers of any dtype, over its whole range if it has whole numbers."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return normal(rng, dtype, *shape)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def convert_arguments(rng, dtype, m, k, n):
    """Numbers of some dtype with some strides, and rows or None for all of them."""
    x = numbers(rng, rng.choice(list(kernels.NUMBERS)), 2 * m, 3 * n)
    rows, columns = slice(None, None, rng.choice([2, -2])), slice(None, None, rng.choice([3, -3]))
    some = [x[:m, :n], np.asfortranarray(x)[:m, :n], x[rows, columns], np.asfortranarray(x)[rows, columns]]
    return some[rng.integers(4)], dtype, perhaps(rng, rng.integers(0, m, k)) if m else None


# Options that every optimizer has.
COMMON_OPTIONS = (
    {},
    {"weight_decay": 0.1},
    {"clip_value": 0.5},
    {"gradient_scale": 0.25},
    {"weight_decay": 0.1, "clip_value": 0.5, "gradient_scale": 0.75},
)
OPTIMIZER_CASES = [(name, options) for name, row in OPTIMIZERS.items() for options in (*COMMON_OPTIONS, *row.options)]


def optimizer_arguments(name):
    """Parameters, gradient, moments, and hyperparameters."""
    moments, numbers = required(name, getattr(reference, name))

    def draw(rng, dtype, n):
        x = normal(rng, dtype, n)
        return np.round(64 * x) / 64 if OPTIMIZERS[name].jumps else x

    return lambda rng, dtype, m, k, n: (
        draw(rng, dtype, n), draw(rng, dtype, n),
        *(1 + draw(rng, dtype, n) ** 2 if moment in NOT_NEGATIVE else draw(rng, dtype, n) for moment in moments),
        *numbers.values(),
    )  # fmt: skip


def noise_arguments(strength):
    return lambda rng, dtype, m, k, n: (normal(rng, dtype, m, n), strength, int(rng.integers(0, 2**64, dtype="u8")), k)


def gaussian_noise_scale(x, deviation, key, row0):
    return np.abs(x) + np.abs(reference.gaussian_noise(x, deviation, key, row0) - x)


def perhaps(rng, values):
    return values if rng.integers(2) else None


def layer_norm_arguments(rng, dtype, m, k, n):
    gamma, beta = perhaps(rng, normal(rng, dtype, n)), perhaps(rng, normal(rng, dtype, n))
    return normal(rng, dtype, m, n), gamma, beta, 1e-5


def layer_norm_scale(x, gamma, beta, epsilon):
    """The errors of x - mean and, through the variance, those of the whole row."""
    stats = np.empty((len(x), 2))
    xhat = reference.layer_norm(x, None, None, epsilon, stats)
    terms = (np.abs(x) + np.abs(x).mean(axis=1, keepdims=True)) * stats[:, 1:]
    terms = terms + np.abs(xhat) * (1 + np.abs(xhat) * terms).mean(axis=1, keepdims=True)
    return terms * (1 if gamma is None else np.abs(gamma)) + (0 if beta is None else np.abs(beta))


def layer_norm_backward_arguments(rng, dtype, m, k, n):
    x, gamma, _, epsilon = layer_norm_arguments(rng, dtype, m, k, n)
    stats = np.empty((m, 2), dtype)
    quiet(reference.layer_norm, x, None, None, epsilon, stats)
    return normal(rng, dtype, m, n), x, gamma, stats


def layer_norm_backward_scale(gradient, x, gamma, stats):
    h = np.abs(gradient if gamma is None else gradient * gamma)
    d = (np.abs(x) + np.abs(stats[:, :1])) * stats[:, 1:]
    return (h + h.mean(axis=1, keepdims=True) + d * (h * d).mean(axis=1, keepdims=True)) * stats[:, 1:]


def batch_norm_moments_scale(x):
    return np.stack([np.abs(x).mean(axis=0), ((np.abs(x) + np.abs(x.mean(axis=0))) ** 2).mean(axis=0)])


def column_moments(rng, dtype, n):
    return (None, None) if rng.random() < 0.2 else (normal(rng, dtype, n), positive(rng, dtype, n))


def batch_norm_arguments(rng, dtype, m, k, n):
    gamma, beta = perhaps(rng, normal(rng, dtype, n)), perhaps(rng, normal(rng, dtype, n))
    return normal(rng, dtype, m, n), *column_moments(rng, dtype, n), gamma, beta, 1e-5


def deviation(variance, epsilon):
    return 1 if variance is None else np.sqrt(variance + epsilon)


def distance(x, mean, variance, epsilon):
    return np.abs(x) if mean is None else (np.abs(x) + np.abs(mean)) / deviation(variance, epsilon)


def batch_norm_scale(x, mean, variance, gamma, beta, epsilon):
    terms = distance(x, mean, variance, epsilon) * (1 if gamma is None else np.abs(gamma))
    return terms + (0 if beta is None else np.abs(beta))


def batch_norm_sums_arguments(rng, dtype, m, k, n):
    return normal(rng, dtype, m, n), normal(rng, dtype, m, n), *column_moments(rng, dtype, n), 1e-5


def batch_norm_sums_scale(gradient, x, mean, variance, epsilon):
    products = np.abs(gradient) * distance(x, mean, variance, epsilon)
    return np.stack([np.abs(gradient).sum(axis=0), products.sum(axis=0)])


def batch_norm_backward_arguments(rng, dtype, m, k, n):
    gradient, x, mean, variance, epsilon = batch_norm_sums_arguments(rng, dtype, m, k, n)
    sums = perhaps(rng, normal(rng, dtype, 2, n))
    return gradient, x, mean, variance, perhaps(rng, normal(rng, dtype, n)), sums, m + 1, epsilon


def batch_norm_backward_scale(gradient, x, mean, variance, gamma, sums, count, epsilon):
    terms = np.abs(gradient)
    if sums is not None:
        terms = terms + np.abs(sums[0]) / count + distance(x, mean, variance, epsilon) * np.abs(sums[1]) / count
    return terms * (1 if gamma is None else np.abs(gamma)) / deviation(variance, epsilon)


def drawn_columns(rng, dtype, m, n):
    """Encodings of each kind, and rows of numbers and of codes, some of them unknown."""
    columns, x = [], normal(rng, dtype, m, n)
    for c in range(n):
        edges = np.cumsum(1 + rng.integers(0, 3, rng.choice([0, 2, 3, 9, 40]))) / 4 - 2  # exact in float32
        numbers = ("number", tuple(edges.tolist()), 1.5, 0.25)
        kinds = [
            numbers,
            ("flag",),
            ("one_hot", int(rng.integers(2, 20))),
            ("embedding", *rng.integers(2, 20, 2).tolist()),
        ]
        columns.append(kinds[rng.integers(4)])
        if columns[c][0] in ("one_hot", "embedding"):
            x[:, c] = rng.integers(-1, columns[c][1] + 2, m)
            x[rng.random(m) < 0.1, c] = rng.choice([np.nan, 0.5, 1e30, -0.0, np.inf])
    return columns, x


def outputs_of(columns):
    return reference.encode(np.zeros((1, len(columns))), columns, np.zeros(learned_by(columns))).shape[1]


def learned_by(columns):
    return sum(column[1] * column[2] for column in columns if column[0] == "embedding")


def encode_arguments(rng, dtype, m, k, n):
    columns, x = drawn_columns(rng, dtype, m, n)
    return x, columns, normal(rng, dtype, learned_by(columns))


def encode_scale(x, columns, embeddings):
    """A piece is a difference times one over its width, which is 1/4 at least."""
    return 1 + 4 * np.abs(np.nan_to_num(x, posinf=0)).max(axis=1, keepdims=True, initial=0, where=np.abs(x) < 1e9)


def encode_backward_arguments(rng, dtype, m, k, n):
    columns, x = drawn_columns(rng, dtype, m, n)
    return normal(rng, dtype, m, outputs_of(columns)), x, columns


def encode_backward_scale(gradient, x, columns):
    return np.abs(gradient).max(axis=1, keepdims=True, initial=1)


def sparse_rows(rng, dtype, m, k):
    """Rows of which about a fifth is stored, as values, columns and starts; some rows are empty, some zeros stored."""
    stored = (rng.uniform(0, 1, (m, k)) < 0.2) & (rng.uniform(0, 1, (m, 1)) < 0.9)
    rows, columns = np.nonzero(stored)
    starts = np.append(0, np.cumsum(stored.sum(axis=1)))
    values = normal(rng, dtype, len(rows))
    values[: len(values) // 9] = 0
    return values, columns.astype(np.int32), starts.astype(np.int64)


def as_matrix(values, columns, starts, k):
    x = np.zeros((len(starts) - 1, k), values.dtype)
    x[np.repeat(np.arange(len(x)), np.diff(starts)), columns] = values
    return x


def sparse_dense_arguments(rng, dtype, m, k, n):
    return (*sparse_rows(rng, dtype, m, k), normal(rng, dtype, k, n), normal(rng, dtype, n), "tanh")


def sparse_dense_scale(values, columns, starts, weights, bias, activation):
    return dense_scale(as_matrix(values, columns, starts, len(weights)), weights, bias, activation)


def sparse_backward_weights_scale(values, columns, starts, gradient, k):
    return np.abs(as_matrix(values, columns, starts, k)).T @ np.abs(gradient)


def perceptron_scores_arguments(rng, dtype, m, k, n):
    return normal(rng, dtype, m, k), normal(rng, dtype, n, k), normal(rng, dtype, n)


def perceptron_epoch_arguments(rng, dtype, m, k, n, make=normal):
    """With some planes, an order with repetitions and row weights, each of which may be missing."""
    n = max(n, 1)
    planes, order = rng.permutation(n)[: rng.integers(n + 1)], rng.integers(0, max(m, 1), rng.integers(2 * m + 1))
    return (
        make(rng, dtype, m, k),
        rng.integers(-1, n + 1, m),
        make(rng, dtype, n, k),
        make(rng, dtype, n),
        rng.integers(1, 4, (n, 2)) / 2,
        planes,
        perhaps(rng, order),
        perhaps(rng, rng.integers(0, 3, m).astype(float)),
    )


KEPT = sorted(kernels.FROM_INPUT)  # the derivative is computed from the input
OTHERS = sorted(kernels.ACTIVATIONS.keys() - kernels.FROM_INPUT - kernels.MIXING - set(ACTIVATIONS))


def tail_scale(name):
    """The exponential of a rounded argument has an error of as many roundings as the argument is large."""
    return lambda x: np.abs(getattr(reference, name)(x)) * (1 + np.abs(x) ** 3)


def kept_backward_case(name):
    return Case(
        lambda rng, dtype, m, k, n: (normal(rng, dtype, m, n), normal(rng, dtype, m, n)),
        lambda gradient, x: np.abs(gradient) * (1 + np.abs(x)),
    )


def log_softmax_backward_scale(gradient, y):
    return np.abs(gradient) + np.exp(y) * (1 - y) * np.abs(gradient).sum(axis=-1, keepdims=True)


CASES = {
    **{name: activation_case(name) for name in OTHERS},
    **{name: activation_case(name, tail_scale(name)) for name in KEPT},
    **{f"{name}_backward": backward_case(name, lambda g, y: 2 * np.abs(g)) for name in OTHERS},
    **{f"{name}_backward": kept_backward_case(name) for name in KEPT},
    "log_softmax": activation_case("log_softmax", lambda x: depth(x) + np.log(x.shape[-1] or 1)),
    "log_softmax_backward": backward_case("log_softmax", log_softmax_backward_scale),
    "apply_keep": Case(lambda rng, dtype, m, k, n: (normal(rng, dtype, m, n), "gelu"), has_out=False),
    "multiply": Case(lambda rng, dtype, m, k, n: (normal(rng, dtype, m, n), normal(rng, dtype, m, n))),
    **{name: activation_case(name) for name in ELEMENTWISE},
    **{f"{name}_backward": backward_case(name) for name in ACTIVATIONS[:-1]},
    "softmax": activation_case("softmax", softmax_scale),
    "softmax_backward": backward_case("softmax", softmax_backward_scale),
    **{name: loss_case(name, any_loss_scale) for name in LOSSES},
    **{f"{name}_backward": loss_case(name, any_loss_backward_scale) for name in LOSSES},
    "sum_squared_error": loss_case("sum_squared_error", reference.sum_squared_error),
    "mean_squared_error": loss_case("mean_squared_error", reference.mean_squared_error),
    "cross_entropy": loss_case("cross_entropy", cross_entropy_scale),
    "binary_cross_entropy": loss_case("binary_cross_entropy", binary_cross_entropy_scale),
    "softmax_cross_entropy": loss_case("softmax_cross_entropy", softmax_cross_entropy_scale),
    "sigmoid_binary_cross_entropy": loss_case("sigmoid_binary_cross_entropy", sigmoid_binary_cross_entropy_scale),
    "mean_absolute_error": loss_case("mean_absolute_error", difference_scale),
    "huber": loss_case("huber", difference_scale),
    "log_cosh": loss_case("log_cosh", difference_scale),
    "poisson": loss_case("poisson", poisson_scale),
    "quantile": Case(quantile_arguments, difference_scale),
    "hinge": loss_case("hinge", hinge_scale),
    "kl_divergence": loss_case("kl_divergence", kl_divergence_scale),
    "softmax_kl_divergence": loss_case("softmax_kl_divergence", softmax_kl_divergence_scale),
    **{f"{name}_backward": loss_case(name) for name in EXACT_BACKWARD},
    **{f"{name}_backward": loss_case(name, backward_difference_scale) for name in ("huber", "log_cosh")},
    "poisson_backward": loss_case("poisson", lambda x, t: (np.exp(x) + np.abs(t)) / max(x.size, 1)),
    "quantile_backward": Case(quantile_arguments, backward_difference_scale),
    "softmax_kl_divergence_backward": loss_case("softmax_kl_divergence", softmax_cross_entropy_backward_scale),
    "softmax_cross_entropy_backward": loss_case("softmax_cross_entropy", softmax_cross_entropy_backward_scale),
    "sigmoid_binary_cross_entropy_backward": loss_case(
        "sigmoid_binary_cross_entropy", lambda x, t: (reference.sigmoid(x) + t) / max(x.size, 1)
    ),
    "matmul": Case(lambda rng, dtype, m, k, n: (normal(rng, dtype, m, k), normal(rng, dtype, k, n)), product_scale),
    "dense": Case(dense_arguments, dense_scale),
    "dense_backward_input": Case(
        lambda rng, dtype, m, k, n: (normal(rng, dtype, m, n), normal(rng, dtype, k, n)),
        lambda gradient, w: np.abs(gradient) @ np.abs(w).T,
    ),
    "dense_backward_weights": Case(
        lambda rng, dtype, m, k, n: (normal(rng, dtype, m, k), normal(rng, dtype, m, n)),
        lambda x, gradient: np.abs(x).T @ np.abs(gradient),
    ),
    "dense_backward_bias": Case(
        lambda rng, dtype, m, k, n: (normal(rng, dtype, m, n),), lambda gradient: np.abs(gradient).sum(axis=0)
    ),
    "rank_one": Case(
        lambda rng, dtype, m, k, n: (
            normal(rng, dtype, max(m, 1), n),
            rng.integers(0, max(m, 1), k),
            normal(rng, dtype, k),
            normal(rng, dtype, n),
        ),
        lambda z, rows, scale, direction: np.abs(z[rows]) + np.abs(np.outer(scale, direction)),
    ),
    "sparse_dense": Case(sparse_dense_arguments, sparse_dense_scale),
    "sparse_backward_weights": Case(
        lambda rng, dtype, m, k, n: (*sparse_rows(rng, dtype, m, k), normal(rng, dtype, m, n), k),
        sparse_backward_weights_scale,
    ),
    "sparse_descend": Case(
        lambda rng, dtype, m, k, n: (
            *sparse_rows(rng, dtype, m, k),
            normal(rng, dtype, m, n),
            normal(rng, dtype, k, n),
            0.1,
        ),
        has_out=False,
    ),
    "perceptron_scores": Case(
        perceptron_scores_arguments, lambda x, weights, bias: np.abs(x) @ np.abs(weights).T + np.abs(bias)
    ),
    "perceptron_epoch": Case(perceptron_epoch_arguments, has_out=False),
    "rescale": Case(
        lambda rng, dtype, m, k, n: (normal(rng, dtype, m, n), 1.5, -0.3),
        lambda x, scale, offset: np.abs(x * scale) + abs(offset),
    ),
    "add": Case(
        lambda rng, dtype, m, k, n: (normal(rng, dtype, m, n), normal(rng, dtype, m, n)),
        lambda a, b: np.abs(a) + np.abs(b),
    ),
    "encode": Case(encode_arguments, encode_scale),
    "encode_backward": Case(encode_backward_arguments, encode_backward_scale),
    "encode_backward_table": Case(
        encode_backward_arguments,
        lambda gradient, x, columns: reference.encode_backward_table(abs(gradient), x, columns),
    ),
    "convert": Case(convert_arguments),
    "dropout": Case(noise_arguments(0.4)),
    "gaussian_noise": Case(noise_arguments(2.5), gaussian_noise_scale),
    "noise_key": Case(lambda rng, dtype, m, k, n: (m, k, n), has_out=False),
    "layer_norm": Case(layer_norm_arguments, layer_norm_scale),
    "layer_norm_backward": Case(layer_norm_backward_arguments, layer_norm_backward_scale),
    "layer_norm_backward_parameters": Case(
        lambda rng, dtype, m, k, n: (*(normal(rng, dtype, *shape) for shape in ((m, n), (m, n), (m, 2), (n,), (n,))),),
        has_out=False,
    ),
    "batch_norm_moments": Case(lambda rng, dtype, m, k, n: (normal(rng, dtype, m, n),), batch_norm_moments_scale),
    "batch_norm": Case(batch_norm_arguments, batch_norm_scale),
    "batch_norm_sums": Case(batch_norm_sums_arguments, batch_norm_sums_scale),
    "batch_norm_backward": Case(batch_norm_backward_arguments, batch_norm_backward_scale),
    **{name: Case(optimizer_arguments(name), has_out=False) for name in OPTIMIZERS},
    "average": Case(lambda rng, dtype, m, k, n: (normal(rng, dtype, n), normal(rng, dtype, n), 0.9), has_out=False),
    "square_sum": Case(lambda rng, dtype, m, k, n: (normal(rng, dtype, n),), has_out=False),
    "dot": Case(
        lambda rng, dtype, m, k, n: (normal(rng, dtype, n), normal(rng, dtype, n)),
        lambda x, y: np.abs(x * y).sum(),
        has_out=False,
    ),
    "penalty": Case(lambda rng, dtype, m, k, n: (normal(rng, dtype, n), 0.1, 0.2), has_out=False),
    "add_penalty": Case(
        lambda rng, dtype, m, k, n: (normal(rng, dtype, n), normal(rng, dtype, n), 0.1, 0.2), has_out=False
    ),
    "all_finite": Case(lambda rng, dtype, m, k, n: (normal(rng, dtype, m, n),), has_out=False),
    "score": Case(
        lambda rng, dtype, m, k, n: (normal(rng, dtype, m, max(n, 1)), labels(rng, m, max(n, 1)), "top_k_accuracy"),
        has_out=False,
    ),
    "draw": Case(lambda rng, dtype, m, k, n: (np.arange(n), m, k), has_out=False),
    "shuffle": Case(lambda rng, dtype, m, k, n: (np.arange(n), m), has_out=False),
}


def test_every_kernel_has_a_row():
    public = {name for name, value in vars(kernels).items() if not name.startswith("_") and callable(value)}
    assert set(CASES) == public


WITH_OUT = [name for name, case in CASES.items() if case.has_out]


def widened(arguments):
    """The arguments in float64, in which the reference is exact compared with a float32 kernel."""
    return [a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a for a in arguments]


def read_only(arguments):
    for a in arguments:
        if isinstance(a, np.ndarray):
            a.flags.writeable = False
    return arguments


def quiet(function, *args, **kwargs):
    """Run a reference without warnings: where it warns (0/0 for no rows, inf - inf), the kernels return NaN."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice|Degrees of freedom", RuntimeWarning)
        return function(*args, **kwargs)


# ---- parity with the reference


@pytest.mark.parametrize("name", WITH_OUT)
@given(m=sizes_or_none, k=sizes_or_none, n=sizes_or_none, dtype=dtypes, seed=seeds)
def test_parity(name, m, k, n, dtype, seed):
    case, kernel, twin = CASES[name], getattr(kernels, name), getattr(reference, name)
    arguments = read_only(case.arguments(np.random.default_rng(seed), dtype, m, k, n))
    copies = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    result = kernel(*arguments)
    scale = case.scale and quiet(case.scale, *widened(arguments))
    assert result.dtype == dtype
    assert_close(result, quiet(twin, *widened(arguments)), scale=scale)
    same = quiet(twin, *arguments)
    assert same.dtype == dtype
    assert_close(result, same, scale=scale)
    for argument, copy in zip(arguments, copies, strict=True):
        if isinstance(argument, np.ndarray):
            np.testing.assert_array_equal(argument, copy)


@pytest.mark.parametrize("name", WITH_OUT)
@given(m=sizes, k=sizes, n=sizes, dtype=dtypes, seed=seeds)
@settings(max_examples=15)
def test_out(name, m, k, n, dtype, seed):
    """Both twins write and return `out`, and nothing outside of it."""
    case = CASES[name]
    arguments = read_only(case.arguments(np.random.default_rng(seed), dtype, m, k, n))
    for module in (kernels, reference):
        expected = np.asarray(getattr(module, name)(*arguments))
        frame = np.full(expected.size + 40, -7, dtype)
        out = frame[20 : 20 + expected.size].reshape(expected.shape)
        assert getattr(module, name)(*arguments, out=out) is out
        np.testing.assert_array_equal(out, expected)
        assert (frame[:20] == -7).all()
        assert (frame[20 + expected.size :] == -7).all()


@pytest.mark.parametrize("name", [*ELEMENTWISE, "softmax", *(f"{name}_backward" for name in ACTIVATIONS)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_out_may_be_an_input(name, dtype):
    for n in (1, 3, 8, 37):
        arguments = CASES[name].arguments(np.random.default_rng(n), dtype, 5, 0, n)
        expected = getattr(kernels, name)(*arguments)
        for i in range(len(arguments)):
            copies = [a.copy() for a in arguments]
            getattr(kernels, name)(*copies, out=copies[i])
            np.testing.assert_array_equal(copies[i], expected)


@pytest.mark.parametrize("name", [*ELEMENTWISE, "softmax"])
@given(shape=st.lists(st.integers(0, 5), max_size=4).map(tuple), dtype=dtypes, seed=seeds)
@settings(max_examples=30)
def test_any_number_of_axes(name, shape, dtype, seed):
    x = np.asarray(np.random.default_rng(seed).uniform(0.5, 4, shape), dtype)
    result = getattr(kernels, name)(x)
    scalar = name == "softmax" and not shape  # the twin needs an axis to sum along
    expected = np.ones((), dtype) if scalar else np.asarray(getattr(reference, name)(x))
    assert isinstance(result, np.ndarray)
    assert_close(result, expected, scale=np.ones(shape) if name == "softmax" else None)


TRANSPOSED = list(itertools.product((False, True), repeat=2))
# inner sizes over a block of 128, rows wide enough that the right factor is packed, more rows than a tile has
LARGE = [(1, 300, 257), (11, 127, 33), (12, 40, 256), (13, 129, 40), (12, 300, 256), (25, 260, 300), (2, 600, 5)]


def integers(rng, dtype, *shape):
    """Integers small enough that every product and every sum of them is exact, in any order."""
    return rng.integers(-8, 9, shape).astype(dtype)


def factors(make, rng, dtype, m, k, n, transpose_a, transpose_b):
    shape_a, shape_b = (k, m) if transpose_a else (m, k), (n, k) if transpose_b else (k, n)
    return make(rng, dtype, *shape_a), make(rng, dtype, *shape_b)


@pytest.mark.parametrize(("transpose_a", "transpose_b"), TRANSPOSED)
@given(m=sizes_or_none, k=sizes_or_none, n=sizes_or_none, dtype=dtypes, seed=seeds)
def test_matmul(transpose_a, transpose_b, m, k, n, dtype, seed):
    check_matmul(transpose_a, transpose_b, m, k, n, dtype, seed)


@pytest.mark.parametrize(("transpose_a", "transpose_b"), TRANSPOSED)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "k", "n"), LARGE)
def test_matmul_of_large_matrices(transpose_a, transpose_b, dtype, m, k, n):
    check_matmul(transpose_a, transpose_b, m, k, n, dtype, 0)


def check_matmul(transpose_a, transpose_b, m, k, n, dtype, seed):
    rng = np.random.default_rng(seed)
    transposed = {"transpose_a": transpose_a, "transpose_b": transpose_b}
    a, b = factors(integers, rng, dtype, m, k, n, transpose_a, transpose_b)
    np.testing.assert_array_equal(kernels.matmul(a, b, **transposed), reference.matmul(a, b, **transposed), strict=True)
    a, b = factors(normal, rng, dtype, m, k, n, transpose_a, transpose_b)
    wide = widened((a, b))
    expected, scale = reference.matmul(*wide, **transposed), product_scale(*wide, **transposed)
    assert_close(kernels.matmul(a, b, **transposed), expected, scale=scale)
    out = np.full((m, n), np.nan, dtype)
    kernels.matmul(a, b, out, **transposed)
    assert_close(out, expected, scale=scale)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@given(m=sizes_or_none, k=sizes_or_none, n=sizes, dtype=dtypes, biased=st.booleans(), seed=seeds)
def test_dense(activation, m, k, n, dtype, biased, seed):
    check_dense(activation, m, k, n, dtype, biased, seed)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("biased", [False, True])
def test_dense_of_large_layers(activation, dtype, biased):
    for m, k, n in LARGE:
        check_dense(activation, m, k, n, dtype, biased, 1)


def check_dense(activation, m, k, n, dtype, biased, seed):
    """For `step`, which jumps, check only exact sums."""
    make = integers if activation == "step" else normal
    rng = np.random.default_rng(seed)
    x, w, b = make(rng, dtype, m, k), make(rng, dtype, k, n), make(rng, dtype, n) if biased else None
    w, b = (w, b) if activation == "step" else (w / dtype(4), b)
    wide = widened((x, w, b))
    expected = reference.dense(*wide, activation)
    scale = None if activation == "step" else dense_scale(*wide, activation)
    assert_close(kernels.dense(x, w, b, activation), expected, scale=scale)
    out = np.full((m, n), np.nan, dtype)
    assert kernels.dense(x, w, b, activation, out=out) is out
    assert_close(out, expected, scale=scale)


WIDTHS = [1, 2, 3, 5, 8, 10, 16, 23, 40, 64, 100, 133]  # around one vector, several, and more than fit in registers


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", WIDTHS)
@pytest.mark.parametrize("k", [1, 4, 9, 70, 1100])
@pytest.mark.parametrize("activation", ["identity", "relu", "softmax"])
def test_sparse_rows_have_the_bits_of_a_matrix(activation, k, n, dtype):
    rng = np.random.default_rng(k + n)
    w, b = normal(rng, dtype, k, n), normal(rng, dtype, n)
    for m in (1, 2, 45):
        x = sparse_rows(rng, dtype, m, k)
        dense = as_matrix(*x, k)
        for bias in (None, b):
            expected = kernels.dense(dense, w, bias, activation)
            np.testing.assert_array_equal(kernels.sparse_dense(*x, w, bias, activation), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", WIDTHS)
@pytest.mark.parametrize("chunks", [1, 2, 4, 8])
def test_sparse_gradients_have_the_bits_of_a_matrix(chunks, n, dtype):
    rng = np.random.default_rng(n)
    for m, k in ((1, 7), (3, 1), (50, 37), (261, 20)):
        x, gradient, w = sparse_rows(rng, dtype, m, k), normal(rng, dtype, m, n), normal(rng, dtype, k, n)
        dense = as_matrix(*x, k)
        ends = [m * i // chunks for i in range(chunks + 1)]
        sums = [
            kernels.dense_backward_weights(dense[i:j].copy(), gradient[i:j].copy()) for i, j in itertools.pairwise(ends)
        ]
        while len(sums) > 1:
            sums = [a + b for a, b in zip(sums[::2], sums[1::2], strict=True)]
        result = kernels.sparse_backward_weights(*x, gradient, k, chunks=chunks)
        np.testing.assert_array_equal(result, sums[0])
        absent = np.setdiff1d(np.arange(k), x[1])
        expected = w.copy()
        kernels.sgd(expected, result, 0.3)
        before = w.copy()
        kernels.sparse_descend(*x, gradient, w, 0.3, chunks=chunks)
        np.testing.assert_array_equal(w, expected)
        np.testing.assert_array_equal(w[absent], before[absent])


@given(m=sizes_or_none, k=sizes_or_none, n=sizes_or_none, dtype=dtypes, seed=seeds)
def test_sparse_descend(m, k, n, dtype, seed):
    *x, gradient, w, rate = CASES["sparse_descend"].arguments(np.random.default_rng(seed), dtype, m, k, n)
    wide = widened((*x, gradient, w))
    scale = np.abs(wide[-1]) + rate * sparse_backward_weights_scale(*wide[:-1], k)
    kernels.sparse_descend(*x, gradient, w, rate)
    reference.sparse_descend(*wide, rate)
    assert_close(w, wide[-1], scale=scale)


def compressed(x):
    """The rows of a matrix, of which the elements that are not zero are stored."""
    rows, columns = np.nonzero(x)
    starts = np.append(0, np.cumsum((x != 0).sum(axis=1))).astype(np.int64)
    return arrays.CompressedRows(x[rows, columns], columns.astype(np.int32), starts, x.shape[1])


def test_compressed_rows_hold_pointers_and_cannot_be_pickled():
    with pytest.raises(TypeError, match="CompressedRows"):
        pickle.dumps(compressed(np.eye(3)))


@pytest.mark.parametrize("rows", [np.asarray, compressed])
@given(m=sizes_or_none, k=sizes_or_none, n=st.integers(1, 6), dtype=dtypes, fit_bias=st.booleans(), seed=seeds)
def test_perceptron_epoch(rows, m, k, n, dtype, fit_bias, seed):
    """All sums are exact, so both twins make the same mistakes."""
    arguments = perceptron_epoch_arguments(np.random.default_rng(seed), dtype, m, k, n, integers)
    x, labels, weights, bias, *others = read_only(arguments)
    x = (x * (np.abs(x) < 4)).astype(dtype)
    results = []
    for visit, samples in ((kernels.perceptron_epoch, rows(x)), (reference.perceptron_epoch, x)):
        changed = weights.copy(), bias.copy()
        results.append((visit(samples, labels, *changed, *others, fit_bias=fit_bias), *changed))
    for result, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(result, expected, strict=True)
    assert fit_bias or (results[0][2] == bias).all()


@pytest.mark.parametrize("rows", [np.asarray, compressed])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", WIDTHS)
def test_a_row_has_the_same_score_alone_in_a_batch_and_while_learning(rows, dtype, k):
    rng = np.random.default_rng(k)
    x = normal(rng, dtype, 60, k) * (rng.random((60, k)) < 0.8).astype(dtype)
    labels, weights, bias = rng.integers(0, 3, 60), normal(rng, dtype, 3, k), normal(rng, dtype, 3)
    rates, row_weights = rng.uniform(0.1, 2, (3, 2)), rng.uniform(0.1, 2, 60)
    alone = np.concatenate([kernels.perceptron_scores(rows(x[i : i + 1]), weights, bias) for i in range(60)])
    np.testing.assert_array_equal(kernels.perceptron_scores(rows(x), weights, bias), alone)
    w, b, mistakes = weights.copy(), bias.copy(), np.zeros(3, int)
    for i in range(60):
        scores = kernels.perceptron_scores(rows(x[i : i + 1]), w, b)[0]
        for plane in np.flatnonzero((scores > 0) != (labels[i] == np.arange(3))):
            fires = labels[i] == plane
            change = dtype(rates[plane, int(fires)] * row_weights[i]) * (1 if fires else -1)
            w[plane] += change * x[i]
            b[plane] += change
            mistakes[plane] += 1
    assert mistakes.sum() > 10
    result = kernels.perceptron_epoch(rows(x), labels, weights, bias, rates, np.arange(3), None, row_weights)
    np.testing.assert_array_equal(result, mistakes)
    np.testing.assert_array_equal(weights, w)
    np.testing.assert_array_equal(bias, b)


@pytest.mark.parametrize("rows", [np.asarray, compressed])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [1, 5, 40])
@pytest.mark.parametrize("where", ["score", "weights", "bias"])
def test_overflow_of_a_perceptron_is_an_error(rows, dtype, k, where):
    large = np.finfo(dtype).max
    last, weight, bias, rate = {
        "score": (large, 2, 0, 1),
        "weights": (large, -1, 0, 2),
        "bias": (1, -large, large / 2, large),
    }[where]
    x, weights, bias = np.zeros((2, k), dtype), np.full((1, k), weight, dtype), np.array([bias], dtype)
    x[0, -1], rates = last, np.array([[rate, rate]], np.float64)
    for visit, samples in ((kernels.perceptron_epoch, rows(x)), (reference.perceptron_epoch, x)):
        with pytest.raises(FloatingPointError, match="overflow"):
            visit(samples, np.array([0, 1]), weights.copy(), bias.copy(), rates, np.arange(1))


def many_visits():
    """An epoch of tenths of a second, of which each row is a mistake once. Weight 1 counts them, by `unit`."""
    unit = 2.0**-20
    x, weights, bias = np.array([[0, -unit], [0, unit]]), np.zeros((1, 2)), np.array([-1.0])
    order, planes = np.arange(200_000) % 2, np.zeros(1000, np.int64)
    arguments = x, np.array([0, 1]), weights, bias, np.array([[2.0, 2.0]]), planes, order
    return arguments, lambda: -weights[0, 1] / (2 * unit)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer that sends signals")
def test_an_epoch_of_a_perceptron_can_be_interrupted():
    arguments, count = many_visits()

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(KeyboardInterrupt):
            kernels.perceptron_epoch(*arguments)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert 0 < count() < 200_000


@pytest.mark.once
def test_other_threads_run_during_an_epoch_of_a_perceptron():
    arguments, count = many_visits()
    go, seen = threading.Event(), []
    thread = threading.Thread(target=lambda: (go.wait(), seen.append(True)))
    interval = sys.getswitchinterval()
    thread.start()
    try:
        sys.setswitchinterval(100)  # from now on a thread only runs if another releases the GIL on its own
        go.set()
        kernels.perceptron_epoch(*arguments)
        assert seen
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert count() == 200_000


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 10, 70])
def test_the_bias_gradient_of_many_rows_is_exact(dtype, n):
    """Added row by row, 20,000 gradients of the same sign would lose two to four digits."""
    gradient = np.random.default_rng(9).uniform(0.5, 1.5, (20_000, n)).astype(dtype)
    expected = [math.fsum(column) for column in gradient.T.astype(np.float64)]
    assert_close(kernels.dense_backward_bias(gradient), expected, scale=2 * np.abs(expected), kind="rounding")


@pytest.mark.parametrize("name", ["dense_backward_input", "dense_backward_weights", "dense_backward_bias"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "k", "n"), LARGE)
def test_dense_backward_of_large_layers(name, dtype, m, k, n):
    case = CASES[name]
    arguments = case.arguments(np.random.default_rng(2), dtype, m, k, n)
    wide = widened(arguments)
    assert_close(getattr(kernels, name)(*arguments), getattr(reference, name)(*wide), scale=case.scale(*wide))
    exact = [a.round() for a in arguments]
    np.testing.assert_array_equal(getattr(kernels, name)(*exact), getattr(reference, name)(*exact))


@pytest.mark.parametrize(("name", "options"), OPTIMIZER_CASES, ids=str)
@given(n=sizes_or_none, dtype=dtypes, seed=seeds)
@settings(max_examples=25)
def test_optimizers(name, options, n, dtype, seed):
    """One step of both twins from the same numbers; the errors are proportional to their magnitudes."""
    rng = np.random.default_rng(seed)
    mine = list(CASES[name].arguments(rng, dtype, 0, 0, n))
    # a mean whose variance is far from zero, and as large as a momentum may be
    options = {key: normal(rng, dtype, n) / 8 if value is None else value for key, value in options.items()}
    for key in NOT_NEGATIVE:
        if key in options:
            options[key] = 1 + options[key] ** 2
    theirs, wide = widened(mine), dict(zip(options, widened(options.values()), strict=True))
    sizes = [np.abs(a) if isinstance(a, np.ndarray) else a for a in theirs]
    begin, original = sizes[0].copy(), mine[1].copy()
    getattr(reference, name)(*sizes, **{k: np.abs(v) if isinstance(v, np.ndarray) else v for k, v in wide.items()})
    returned = getattr(kernels, name)(*mine, **options)
    expected = getattr(reference, name)(*theirs, **wide)
    assert returned == (None if expected is None else pytest.approx(expected, abs=tolerance("float64", "sum")))
    assert_close(mine[0], theirs[0], scale=2 * (begin + np.abs(sizes[0])))
    for moment, wanted in zip(mine[2:], theirs[2:], strict=True):
        if isinstance(moment, np.ndarray):
            assert_close(moment, wanted, scale=1 + np.abs(wanted))
    for key, moment in options.items():
        if isinstance(moment, np.ndarray):
            assert_close(moment, wide[key], scale=1 + np.abs(wide[key]))
    np.testing.assert_array_equal(mine[1], original)


@given(n=sizes_or_none, dtype=dtypes, seed=seeds)
def test_averages_and_penalties(n, dtype, seed):
    rng = np.random.default_rng(seed)
    a, p, g = normal(rng, dtype, n), normal(rng, dtype, n), normal(rng, dtype, n)
    p[rng.random(n) < 0.2] = 0
    wide = widened((a, p, g))
    scale = np.abs(a) + np.abs(p) + np.abs(g)
    assert kernels.average(a, p, 0.9) is None
    reference.average(wide[0], wide[1], 0.9)
    assert_close(a, wide[0], scale=scale)
    for l1, l2 in ((0.1, 0.3), (0.1, 0), (0, 0.3), (0, 0)):
        assert_close(dtype(kernels.penalty(p, l1, l2)), reference.penalty(wide[1], l1, l2), scale=1 + n)
        mine, theirs = g.copy(), wide[2].copy()
        assert kernels.add_penalty(p, mine, l1, l2) is None
        reference.add_penalty(wide[1], theirs, l1, l2)
        assert_close(mine, theirs, scale=scale)
    assert_close(dtype(kernels.square_sum(g)), reference.square_sum(wide[2]), scale=reference.square_sum(wide[2]))
    products = np.abs(wide[1] * wide[2]).sum()
    assert_close(dtype(kernels.dot(p, g)), reference.dot(wide[1], wide[2]), scale=products)


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_sums(dtype):
    """They are summed in blocks that are added in double precision."""
    x = np.full(2**21 + 5, 1 / 8, dtype)
    x[-1] = -3
    assert kernels.square_sum(x) == (x.size - 1) / 64 + 9
    assert kernels.dot(x, 2 * x) == (x.size - 1) / 32 + 18
    assert kernels.penalty(x, 2.0, 0.0) == (x.size - 1) / 4 + 6
    assert kernels.penalty(x, 0.0, 2.0) == (x.size - 1) / 32 + 18


def test_penalties_have_their_gradient():
    p, h = np.array([0.5, -0.25, 1.5, -2.0]), 1e-5
    gradient = np.zeros(4)
    kernels.add_penalty(p, gradient, 0.3, 0.7)
    for i in range(4):
        side = h * np.eye(4)[i]
        slope = (kernels.penalty(p + side, 0.3, 0.7) - kernels.penalty(p - side, 0.3, 0.7)) / (2 * h)
        assert_close(gradient[i], slope, scale=1.0, kind="difference")


@given(m=sizes_or_none, n=sizes_or_none, dtype=dtypes, seed=seeds, bad=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_all_finite(m, n, dtype, seed, bad):
    rng = np.random.default_rng(seed)
    x = normal(rng, dtype, m, n)
    x.flat[: x.size // 2] = np.finfo(dtype).max  # large but finite
    assert kernels.all_finite(x) is True
    if x.size:
        x.flat[rng.integers(x.size)] = bad
        assert kernels.all_finite(x) is False
        assert reference.all_finite(x) is False


def test_all_finite_sees_every_place():
    for dtype in DTYPES:
        x = np.zeros(70, dtype)
        for n, bad in itertools.product(range(1, 71), (np.nan, np.inf, -np.inf)):
            x[n - 1] = bad
            assert not kernels.all_finite(x[:n])
            x[n - 1] = 0


@given(n=st.integers(0, 300), seed=st.integers(0, 2**64 - 1))
def test_shuffle(n, seed):
    orders = [np.arange(n), np.arange(n)]
    assert kernels.shuffle(orders[0], seed) is None
    assert reference.shuffle(orders[1], seed) is None
    np.testing.assert_array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(np.sort(orders[0]), np.arange(n))


@given(n=st.integers(0, 300), rows=st.integers(1, 50), seed=st.integers(0, 2**64 - 1))
def test_draw(n, rows, seed):
    orders = [np.full(n, -1), np.full(n, -1)]
    assert kernels.draw(orders[0], rows, seed) is None
    assert reference.draw(orders[1], rows, seed) is None
    np.testing.assert_array_equal(orders[0], orders[1])
    assert ((orders[0] >= 0) & (orders[0] < rows)).all()


def test_draw_is_uniform():
    order = np.empty(60_000, np.int64)
    kernels.draw(order, 12, 7)
    assert scipy.stats.chisquare(np.bincount(order, minlength=12)).pvalue > 0.001
    pairs = order[::2] * 12 + order[1::2]
    assert scipy.stats.chisquare(np.bincount(pairs, minlength=144)).pvalue > 0.001


def test_shuffle_is_uniform():
    """Each of the 24 orders of 4 is about equally frequent (chi-square with 23 degrees of freedom)."""
    counts, rounds = dict.fromkeys(itertools.permutations(range(4)), 0), 4_800
    for seed in range(rounds):
        order = np.arange(4)
        kernels.shuffle(order, seed)
        counts[tuple(order.tolist())] += 1
    assert scipy.stats.chisquare(list(counts.values())).pvalue > 0.001


# ---- hand-computed values, and SciPy's


def row(dtype, *values):
    return np.array([values], dtype)


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize("dtype", DTYPES)
class TestKnownValues:
    def test_activations(self, module, dtype):
        x = np.array([-2, -0.5, -0.0, 0, 0.5, 3], dtype)
        np.testing.assert_array_equal(module.step(x), [0, 0, 0, 0, 1, 1])
        np.testing.assert_array_equal(module.relu(x), [0, 0, 0, 0, 0.5, 3])
        np.testing.assert_array_equal(module.identity(x), x)
        assert not np.shares_memory(module.identity(x), x)
        assert_close(module.sigmoid(x), scipy.special.expit(x.astype(float)))
        assert_close(module.tanh(x), [math.tanh(v) for v in x])
        assert_close(module.exp(x), [math.exp(v) for v in x])
        assert_close(module.log(x[4:]), [-0.6931471805599453, 1.0986122886681098])

    def test_softmax(self, module, dtype):
        logits = np.log(np.array([[1, 2, 5], [3, 3, 2]])).astype(dtype)
        assert_close(module.softmax(logits), [[0.125, 0.25, 0.625], [0.375, 0.375, 0.25]], scale=[1.0])
        x = normal(np.random.default_rng(3), dtype, 7, 19)
        wide = x.astype(float)
        assert_close(module.softmax(x), scipy.special.softmax(wide, axis=-1), scale=softmax_scale(wide))

    def test_activations_backward(self, module, dtype):
        """gradient times the derivative, computed from the output."""
        gradient = np.array([2, -3, 4], dtype)
        y = np.array([0.5, 0.25, 0.0], dtype)
        np.testing.assert_array_equal(module.identity_backward(gradient, y), gradient)
        np.testing.assert_array_equal(module.step_backward(gradient, y), [0, 0, 0])
        np.testing.assert_array_equal(module.sigmoid_backward(gradient, y), [2 * 0.25, -3 * 0.1875, 0])
        np.testing.assert_array_equal(module.tanh_backward(gradient, y), [2 * 0.75, -3 * 0.9375, 4])
        np.testing.assert_array_equal(module.relu_backward(gradient, y), [2, -3, 0])
        # y = (1/2, 1/4, 1/4), gradient (4, 0, 8): mean 2 + 2 = 4
        y = row(dtype, 0.5, 0.25, 0.25)
        np.testing.assert_array_equal(module.softmax_backward(row(dtype, 4, 0, 8), y), [[0, -1, 1]])

    def test_squared_errors(self, module, dtype):
        prediction, target = np.array([[1, 2], [3, 4]], dtype), np.array([[0, 4], [3, 1]], dtype)
        # squares 1, 4, 0, 9
        assert module.sum_squared_error(prediction, target) == 14 / 2 / 2
        assert module.mean_squared_error(prediction, target) == 14 / 4
        np.testing.assert_array_equal(module.sum_squared_error_backward(prediction, target), [[0.5, -1], [0, 1.5]])
        np.testing.assert_array_equal(module.mean_squared_error_backward(prediction, target), [[0.5, -1], [0, 1.5]])
        # three outputs in one row: here the two average differently
        a, b = row(dtype, 1, 2, 3), row(dtype, 0, 0, 0)
        assert module.sum_squared_error(a, b) == 7
        assert_close(module.mean_squared_error(a, b), 14 / 3)
        np.testing.assert_array_equal(module.sum_squared_error_backward(a, b), [[1, 2, 3]])
        assert_close(module.mean_squared_error_backward(a, b), [[2 / 3, 4 / 3, 2]])

    def test_cross_entropy(self, module, dtype):
        prediction = np.array([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]], dtype)
        labels = np.array([0, 1])
        ln2 = 0.6931471805599453
        for target in (labels, np.eye(3, dtype=dtype)[labels]):
            assert_close(module.cross_entropy(prediction, target), (1 + 3) * ln2 / 2)
            np.testing.assert_array_equal(module.cross_entropy_backward(prediction, target), [[-1, 0, 0], [0, -4, 0]])
        soft = np.array([[0.5, 0.5, 0], [0, 1, 0]], dtype)
        assert_close(module.cross_entropy(prediction, soft), (0.5 + 1 + 3) * ln2 / 2)
        np.testing.assert_array_equal(module.cross_entropy_backward(prediction, soft), [[-0.5, -1, 0], [0, -4, 0]])
        p = probabilities(np.random.default_rng(4), dtype, 9, 13)
        t = soft_targets(np.random.default_rng(5), dtype, 9, 13)
        expected = -scipy.special.xlogy(t.astype(float), p.astype(float)).sum() / 9
        assert_close(module.cross_entropy(p, t), expected, scale=expected)

    def test_cross_entropy_of_nan(self, module, dtype):
        """The gradient is NaN where the probability is, and nowhere else; the loss is NaN."""
        prediction, nan = row(dtype, 0.5, np.nan, 0.25), np.nan
        for label, expected in ((0, [[-2, nan, 0]]), (1, [[0, nan, 0]]), (2, [[0, nan, -4]])):
            for target in (np.array([label]), np.eye(3, dtype=dtype)[[label]]):
                assert np.isnan(module.cross_entropy(prediction, target))
                np.testing.assert_array_equal(module.cross_entropy_backward(prediction, target), expected)

    def test_cross_entropy_clips(self, module, dtype):
        """At the dtype's epsilon, from 0 and from 1."""
        eps = float(np.finfo(dtype).eps)
        hard = row(dtype, 0, 1)
        assert_close(module.cross_entropy(hard, np.array([0])), -math.log(eps))
        assert_close(module.cross_entropy(hard, np.array([1])), -math.log1p(-eps))
        assert_close(module.cross_entropy_backward(hard, np.array([0])), row(dtype, -1 / eps, 0))
        assert_close(module.cross_entropy(hard, row(dtype, 1, 0)), -math.log(eps))
        assert_close(module.cross_entropy_backward(hard, row(dtype, 1, 0)), row(dtype, -1 / eps, 0))
        assert_close(module.binary_cross_entropy(hard, row(dtype, 1, 1)), (-math.log(eps) - math.log1p(-eps)) / 2)
        assert_close(module.binary_cross_entropy(hard, row(dtype, 1, 0)), -math.log(eps))
        assert_close(module.binary_cross_entropy_backward(hard, row(dtype, 1, 0)), row(dtype, -0.5 / eps, 0.5 / eps))

    def test_binary_cross_entropy(self, module, dtype):
        prediction, target = row(dtype, 0.5, 0.25), row(dtype, 1, 0)
        assert_close(module.binary_cross_entropy(prediction, target), -(math.log(0.5) + math.log(0.75)) / 2)
        assert_close(module.binary_cross_entropy_backward(prediction, target), [[-1, 0.25 / 0.1875 / 2]])
        p = probabilities(np.random.default_rng(6), dtype, 4, 11)
        t = probabilities(np.random.default_rng(7), dtype, 4, 11)
        wide = p.astype(float), t.astype(float)
        expected = -(scipy.special.xlogy(wide[1], wide[0]) + scipy.special.xlog1py(1 - wide[1], -wide[0])).mean()
        assert_close(module.binary_cross_entropy(p, t), expected, scale=binary_cross_entropy_scale(*wide))

    def test_softmax_cross_entropy(self, module, dtype):
        # softmax of (log 1, log 2, log 5) is (1/8, 1/4, 5/8)
        logits = np.log(row(float, 1, 2, 5)).astype(dtype)
        assert_close(module.softmax_cross_entropy(logits, np.array([1])), math.log(4), scale=2)
        assert_close(module.softmax_cross_entropy(logits, row(dtype, 0, 1, 0)), math.log(4), scale=2)
        soft = row(dtype, 0.5, 0.5, 0)
        assert_close(module.softmax_cross_entropy(logits, soft), (math.log(8) + math.log(4)) / 2, scale=2)
        assert_close(module.softmax_cross_entropy_backward(logits, np.array([1])), [[0.125, -0.75, 0.625]], scale=[1.0])
        assert_close(module.softmax_cross_entropy_backward(logits, soft), [[-0.375, -0.25, 0.625]], scale=[1.0])
        two_rows = np.repeat(logits, 2, axis=0)
        gradient = module.softmax_cross_entropy_backward(two_rows, np.array([1, 0]))
        assert_close(gradient, [[0.0625, -0.375, 0.3125], [-0.4375, 0.125, 0.3125]], scale=[1.0])
        # targets that do not sum to one weight the row: sum(t) log-sum-exp - sum(t x), here t = (0, 3, 0)
        assert_close(module.softmax_cross_entropy(logits, row(dtype, 0, 3, 0)), 3 * math.log(4), scale=6)
        x, t = normal(np.random.default_rng(8), dtype, 6, 21), soft_targets(np.random.default_rng(9), dtype, 6, 21)
        wide = x.astype(float), t.astype(float)
        expected = -(wide[1] * scipy.special.log_softmax(wide[0], axis=-1)).sum() / 6
        assert_close(module.softmax_cross_entropy(x, t), expected, scale=softmax_cross_entropy_scale(*wide))
        chosen = np.arange(6)
        expected = (scipy.special.logsumexp(wide[0], axis=-1) - wide[0][chosen, chosen]).mean()
        scale = softmax_cross_entropy_scale(wide[0], chosen)
        assert_close(module.softmax_cross_entropy(x, chosen), expected, scale=scale)

    def test_sigmoid_binary_cross_entropy(self, module, dtype):
        x, t = row(dtype, 0, 2, -2), row(dtype, 1, 1, 1)
        expected = [math.log(2), math.log1p(math.exp(-2)), math.log1p(math.exp(2))]
        assert_close(module.sigmoid_binary_cross_entropy(x, t), sum(expected) / 3)
        gradient = [-0.5, -0.11920292202211755, -0.8807970779778823]
        assert_close(module.sigmoid_binary_cross_entropy_backward(x, t), np.array([gradient]) / 3, scale=[1.0])
        x, t = normal(np.random.default_rng(10), dtype, 5, 17), probabilities(np.random.default_rng(11), dtype, 5, 17)
        wide = x.astype(float), t.astype(float)
        each = wide[1] * scipy.special.log_expit(wide[0]) + (1 - wide[1]) * scipy.special.log_expit(-wide[0])
        scale = sigmoid_binary_cross_entropy_scale(*wide)
        assert_close(module.sigmoid_binary_cross_entropy(x, t), -each.mean(), scale=scale)

    def test_matmul_and_dense(self, module, dtype):
        a, b = np.array([[1, 2, 3], [4, 5, 6]], dtype), np.array([[1, 0], [-1, 2], [0.5, 1]], dtype)
        at, bt = a.T.copy(), b.T.copy()
        product = [[0.5, 7], [2, 16]]
        np.testing.assert_array_equal(module.matmul(a, b), product)
        np.testing.assert_array_equal(module.matmul(at, b, transpose_a=True), product)
        np.testing.assert_array_equal(module.matmul(a, bt, transpose_b=True), product)
        np.testing.assert_array_equal(module.matmul(at, bt, transpose_a=True, transpose_b=True), product)
        bias = np.array([-1, 1], dtype)
        np.testing.assert_array_equal(module.dense(a, b, None), product)
        np.testing.assert_array_equal(module.dense(a, b, bias), [[-0.5, 8], [1, 17]])
        np.testing.assert_array_equal(module.dense(a, b, bias, "relu"), [[0, 8], [1, 17]])
        np.testing.assert_array_equal(module.dense(a, b, bias, "step"), [[0, 1], [1, 1]])
        assert_close(module.dense(a, b, bias, "tanh"), np.tanh([[-0.5, 8], [1, 17]]))
        assert_close(module.dense(a, b, bias, "sigmoid"), scipy.special.expit([[-0.5, 8], [1, 17]]))
        assert_close(module.dense(a, b, bias, "softmax")[:, 0], scipy.special.expit([-8.5, -16]), scale=[1.0])
        gradient = np.array([[1, 2], [3, -1]], dtype)
        np.testing.assert_array_equal(module.dense_backward_bias(gradient), [4, 1])
        np.testing.assert_array_equal(module.dense_backward_weights(a, gradient), [[13, -2], [17, -1], [21, 0]])
        np.testing.assert_array_equal(module.dense_backward_input(gradient, b), [[1, 3, 2.5], [3, -5, 0.5]])

    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_optimizers(self, module, dtype, name):
        for step in OPTIMIZERS[name].by_hand:
            arguments = {k: np.array(v, dtype) if isinstance(v, list) else v for k, v in step.arguments.items()}
            assert getattr(module, name)(**arguments) == step.returned
            for key, expected in step.after.items():
                assert_close(arguments[key], np.array(expected, np.float64), scale=1 + np.abs(expected))

    def test_the_variance_of_rmsprop_is_not_negative(self, module, dtype):
        p, square, mean = (np.array([x], dtype) for x in (1.0, 1.0, 2.0))
        module.rmsprop(p, np.zeros(1, dtype), square, 0.5, 0.5, 1.0, mean=mean)
        assert p == 1
        square[:] = np.nan
        module.rmsprop(p, np.zeros(1, dtype), square, 0.5, 0.5, 1.0, mean=mean)
        assert np.isnan(p)

    def test_penalties(self, module, dtype):
        p, g = np.array([0.5, -2, 0], dtype), np.array([1, 1, 1], dtype)
        assert module.penalty(p, 2.0, 4.0) == 2 * 2.5 + 4 * 4.25
        module.add_penalty(p, g, 2.0, 4.0)
        np.testing.assert_array_equal(g, [1 + 2 + 4, 1 - 2 - 16, 1])
        a = np.array([4, 4, 4], dtype)
        module.average(a, p, 0.25)
        np.testing.assert_array_equal(a, [3.125, 2.5, 3])

    def test_all_finite(self, module, dtype):
        assert module.all_finite(np.array([1, -1], dtype))
        assert not module.all_finite(np.array([1, np.inf], dtype))


# ---- derivatives, against central differences


def central_differences(function, x):
    """The gradient of a scalar function, by f(x + h) - f(x - h), with h the cube root of epsilon."""
    gradient = np.empty_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        h = np.finfo(x.dtype).eps ** (1 / 3) * max(1, abs(x[i]))
        up[i] += h
        down[i] -= h
        gradient[i] = (function(up) - function(down)) / (up[i] - down[i])
    return gradient


def assert_gradient(gradient, function, x):
    numeric = central_differences(function, x)
    assert_close(gradient, numeric, scale=np.abs(numeric).max() + abs(function(x)), kind="difference")


def away_from_zero(rng, *shape):
    """Numbers of both signs, farther than h from the kink of relu and step."""
    x = rng.normal(0, 1, shape)
    return x + np.copysign(0.1, x)


@pytest.mark.parametrize("module", [kernels, reference])
class TestDerivatives:
    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_activation(self, module, name):
        rng = np.random.default_rng(0)
        x, weights = away_from_zero(rng, 3, 11), rng.normal(size=(3, 11))
        function, backward = getattr(module, name), getattr(module, f"{name}_backward")
        assert_gradient(backward(weights, function(x)), lambda x: np.sum(weights * function(x)), x)

    @pytest.mark.parametrize(("name", "kind"), LOSS_TARGETS)
    def test_loss(self, module, name, kind):
        rng = np.random.default_rng(1)
        loss, backward = getattr(module, name), getattr(module, f"{name}_backward")
        x = rng.uniform(0.1, 0.9, (4, 9)) if name in OF_PROBABILITIES else rng.normal(size=(4, 9))
        if kind == "soft":
            target = soft_targets(rng, np.float64, 4, 9) if name in OF_CLASSES else rng.uniform(0, 1, (4, 9))
        else:
            target = np.array([3, 0, 8, 3])
            target = target if kind == "labels" else np.eye(9)[target]
        assert_gradient(backward(x, target), lambda x: float(loss(x, target)), x)

    @pytest.mark.parametrize("name", OF_CLASSES)
    def test_loss_of_weighted_rows(self, module, name):
        """Target rows need not sum to one."""
        rng = np.random.default_rng(2)
        x, target = rng.uniform(0.1, 0.9, (4, 9)), rng.uniform(0, 2, (4, 9))
        loss, backward = getattr(module, name), getattr(module, f"{name}_backward")
        assert_gradient(backward(x, target), lambda x: float(loss(x, target)), x)

    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_dense(self, module, activation):
        """With respect to input, weights and bias, through the activation."""
        rng = np.random.default_rng(3)
        x, w, b = away_from_zero(rng, 5, 3), rng.normal(size=(3, 7)), rng.normal(size=7)
        weights = rng.normal(size=(5, 7))
        assert np.abs(module.dense(x, w, b)).min() > 1e-3  # no unit at its kink

        def value(x, w, b):
            return np.sum(weights * module.dense(x, w, b, activation))

        through = getattr(module, f"{activation}_backward")(weights, module.dense(x, w, b, activation))
        assert_gradient(module.dense_backward_input(through, w), lambda x: value(x, w, b), x)
        assert_gradient(module.dense_backward_weights(x, through), lambda w: value(x, w, b), w)
        assert_gradient(module.dense_backward_bias(through), lambda b: value(x, w, b), b)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_derivative_of_relu_at_zero_is_zero(dtype):
    x = np.array([0.0, -0.0, np.finfo(dtype).smallest_subnormal], dtype)
    np.testing.assert_array_equal(kernels.relu_backward(np.ones(3, dtype), kernels.relu(x)), [0, 0, 1])


# ---- extreme inputs


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize("dtype", DTYPES)
class TestExtremes:
    def test_large_logits(self, module, dtype):
        x = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [1e4, 1e4, -1e4]], dtype)
        np.testing.assert_array_equal(module.sigmoid(x[0]), [1, 0, 0.5])
        np.testing.assert_array_equal(module.tanh(x[0]), [1, -1, 0])
        third = 1 / 3
        assert_close(module.softmax(x), [[1, 0, 0], [third] * 3, [0.5, 0.5, 0]])
        for target in (np.array([1, 0, 2]), np.eye(3, dtype=dtype)[[1, 0, 2]]):
            loss = (2e4 + math.log(3) + 2e4 + math.log(2)) / 3
            assert_close(module.softmax_cross_entropy(x, target), loss)
            gradient = np.array([[1, -1, 0], [third - 1, third, third], [0.5, 0.5, -1]]) / 3
            assert_close(module.softmax_cross_entropy_backward(x, target), gradient, scale=[1.0])
        logits, target = row(dtype, 1e4, -1e4, 1e4, -1e4), row(dtype, 1, 0, 0, 1)
        assert_close(module.sigmoid_binary_cross_entropy(logits, target), 2e4 / 4)
        gradient = module.sigmoid_binary_cross_entropy_backward(logits, target)
        np.testing.assert_array_equal(gradient, [[0, 0, 0.25, -0.25]])

    def test_the_largest_numbers(self, module, dtype):
        huge = np.finfo(dtype).max
        np.testing.assert_array_equal(module.relu(row(dtype, huge, -huge)), [[huge, 0]])
        np.testing.assert_array_equal(module.tanh(row(dtype, huge, -huge)), [[1, -1]])
        np.testing.assert_array_equal(module.sigmoid(row(dtype, huge, -huge)), [[1, 0]])
        np.testing.assert_array_equal(module.softmax(row(dtype, huge, 0, huge / 2)), [[1, 0, 0]])
        assert module.softmax_cross_entropy(row(dtype, huge, 0), np.array([0])) == 0
        assert module.softmax_cross_entropy(row(dtype, huge, 0), np.array([1])) == huge

    def test_subnormals(self, module, dtype):
        small = np.finfo(dtype).smallest_subnormal
        x = np.array([[small, -small, 5 * small]], dtype)
        np.testing.assert_array_equal(module.relu(x), [[small, 0, 5 * small]])
        np.testing.assert_array_equal(module.step(x), [[1, 0, 1]])
        np.testing.assert_array_equal(module.tanh(x), x)
        np.testing.assert_array_equal(module.identity(x), x)
        assert_close(module.softmax(x), [[1 / 3] * 3])
        np.testing.assert_array_equal(module.matmul(x, np.ones((3, 1), dtype)), [[5 * small]])
        np.testing.assert_array_equal(module.dense(x, np.eye(3, dtype=dtype), None), x)
        np.testing.assert_array_equal(module.dense_backward_bias(x), x[0])
        parameters = x[0].copy()
        module.sgd(parameters, np.array([0, 0, small], dtype), 1.0)
        np.testing.assert_array_equal(parameters, [small, -small, 4 * small])

    def test_impossible_classes(self, module, dtype):
        """A logit of -inf is a probability of zero: its loss is zero, or infinite if it is the target."""
        x = np.array([[0, -np.inf, 0], [-np.inf, -np.inf, 3]], dtype)
        np.testing.assert_array_equal(quiet(module.softmax, x), [[0.5, 0, 0.5], [0, 0, 1]])
        for target in (np.array([0, 2]), np.eye(3, dtype=dtype)[[0, 2]]):
            assert_close(quiet(module.softmax_cross_entropy, x, target), math.log(2) / 2)
            gradient = quiet(module.softmax_cross_entropy_backward, x, target)
            np.testing.assert_array_equal(gradient, [[-0.25, 0, 0.25], [0, 0, 0]])
        for target in (np.array([1, 2]), np.eye(3, dtype=dtype)[[1, 2]]):
            assert quiet(module.softmax_cross_entropy, x, target) == np.inf
            gradient = quiet(module.softmax_cross_entropy_backward, x, target)
            np.testing.assert_array_equal(gradient, [[0.25, -0.5, 0.25], [0, 0, 0]])

    @pytest.mark.parametrize("n", [1, 3, 4, 8, 16, 21])
    def test_rows_without_a_softmax(self, module, dtype, n):
        """All logits -inf, or one +inf: 0/0 and inf/inf. Other rows are unaffected."""
        x = np.zeros((3, n), dtype)
        x[1] = -np.inf
        result = quiet(module.softmax, x)
        assert np.isnan(result[1]).all()
        assert_close(result[[0, 2]], np.full((2, n), 1 / n))
        x[1] = 0
        x[1, n - 1] = np.inf
        result = quiet(module.softmax, x)
        assert np.isnan(result[1, n - 1])
        assert_close(result[[0, 2]], np.full((2, n), 1 / n))

    def test_rows_of_zeros(self, module, dtype):
        x, zeros = normal(np.random.default_rng(0), dtype, 2, 5), np.zeros((2, 5), dtype)
        assert_close(module.softmax(zeros), np.full((2, 5), 0.2))
        assert_close(module.softmax_cross_entropy(zeros, np.array([0, 4])), math.log(5))
        assert module.softmax_cross_entropy(x, zeros) == 0  # a target row of zeros does not count as a sample
        np.testing.assert_array_equal(module.softmax_cross_entropy_backward(x, zeros), zeros)
        assert module.cross_entropy(zeros, zeros) == 0
        np.testing.assert_array_equal(module.cross_entropy_backward(zeros, zeros), zeros)
        np.testing.assert_array_equal(module.softmax_backward(x, zeros), zeros)
        assert_close(module.sigmoid_binary_cross_entropy(zeros, zeros), math.log(2))


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize("dtype", DTYPES)
class TestNaN:
    """NaN in gives NaN out, wherever it is in a row, and does not affect the other rows."""

    @pytest.mark.parametrize("name", [*ELEMENTWISE, "softmax"])
    def test_activation(self, module, dtype, name):
        for n in (1, 4, 8, 21):
            for at in range(n):
                x = np.ones((3, n), dtype)
                x[1, at] = np.nan
                result = quiet(getattr(module, name), x)
                expected = x != x if name != "softmax" else [[False] * n, [True] * n, [False] * n]
                np.testing.assert_array_equal(np.isnan(result), expected)

    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_activation_backward(self, module, dtype, name):
        """NaN in the gradient; and in the output, if the derivative depends on it."""
        backward = getattr(module, f"{name}_backward")
        for n in (1, 4, 8, 21):
            for at in range(n):
                x, bad = np.full((1, n), 0.5, dtype), np.full((1, n), 0.5, dtype)
                bad[0, at] = np.nan
                if name != "step":
                    assert np.isnan(backward(bad, x)[0, at])
                if name != "identity":
                    assert np.isnan(backward(x, bad)[0, at])

    @pytest.mark.parametrize(("name", "kind"), LOSS_TARGETS)
    def test_loss(self, module, dtype, name, kind):
        for n in (1, 4, 8, 21):
            target = np.array([0, n - 1, 0])
            if kind != "labels":
                target = np.eye(n, dtype=dtype)[target] if kind == "one-hot" else np.full((3, n), 1 / n, dtype)
            for at in range(n):
                x = np.full((3, n), 0.5, dtype)
                x[1, at] = np.nan
                assert np.isnan(quiet(getattr(module, name), x, target))
                gradient = quiet(getattr(module, f"{name}_backward"), x, target)
                assert np.isnan(gradient[1, at])
                assert np.isfinite(gradient[[0, 2]]).all()

    def test_products(self, module, dtype):
        """In the rows and columns that contain it, even where it is multiplied by zero."""
        for n in (1, 4, 9, 33):
            a, b = np.zeros((5, n), dtype), np.zeros((n, n), dtype)
            a[2, n - 1] = np.nan
            expected = np.zeros((5, n), bool)
            expected[2] = True
            np.testing.assert_array_equal(np.isnan(module.matmul(a, b)), expected)
            for activation in ACTIVATIONS:
                np.testing.assert_array_equal(np.isnan(module.dense(a, b, None, activation)), expected)
            np.testing.assert_array_equal(np.isnan(module.dense_backward_bias(a)), [False] * (n - 1) + [True])

    def test_optimizers(self, module, dtype):
        bad = np.array([False, True, False])
        for name, options in OPTIMIZER_CASES:
            arguments = list(CASES[name].arguments(np.random.default_rng(0), dtype, 0, 0, 3))
            options = {key: np.full(3, 0.1, dtype) if value is None else value for key, value in options.items()}
            arguments[1][bad] = np.nan
            quiet(getattr(module, name), *arguments, **options)
            for array in (*arguments, *options.values()):
                if isinstance(array, np.ndarray):
                    np.testing.assert_array_equal(np.isnan(array), bad)

    def test_averages_and_penalties(self, module, dtype):
        bad = np.array([1, np.nan, 0], dtype)
        for l1, l2 in ((1.0, 0.0), (0.0, 1.0)):
            gradient = np.ones(3, dtype)
            module.add_penalty(bad, gradient, l1, l2)
            np.testing.assert_array_equal(np.isnan(gradient), [False, True, False])
            assert np.isnan(module.penalty(bad, l1, l2))
        assert np.isnan(module.square_sum(bad))
        assert np.isnan(module.dot(bad, np.zeros(3, dtype)))
        mean = np.ones(3, dtype)
        module.average(mean, bad, 0.5)
        np.testing.assert_array_equal(np.isnan(mean), [False, True, False])


EXTREMES = (0.0, -0.0, 1e4, -1e4, -95.0, -720.0, 1e-42, -1e-42, np.inf, -np.inf, np.nan, 1.0, -3.5)


@pytest.mark.parametrize("name", [*ELEMENTWISE, *(f"{name}_backward" for name in ACTIVATIONS[:-1]), *LOSSES])
@given(m=sizes, n=sizes, dtype=dtypes, seed=seeds)
@settings(max_examples=40)
def test_parity_on_extremes(name, m, n, dtype, seed):
    """Where no finite result exists, both twins must return the same special value."""
    rng = np.random.default_rng(seed)
    m = 1 if name in LOSSES else m  # NaN in one row would hide the other rows
    x = rng.choice(np.array(EXTREMES, dtype), (m, n))
    if name in LOSSES:
        x[0] = np.where(rng.uniform(size=n) < rng.choice([0, 0.1, 1]), x[0], 0.5)
        target = rng.choice(np.array([0, 0.5, 1], dtype), (m, n))
        arguments = (x, labels(rng, m, n) if name in OF_CLASSES and rng.integers(2) else target)
    else:
        arguments = (rng.choice(np.array(EXTREMES, dtype), (m, n)), x) if name.endswith("_backward") else (x,)
    expected = quiet(getattr(reference, name), *arguments)
    scale = np.abs(expected) + 1 if name in LOSSES else None
    if name in OF_SHARES:  # a sum of large terms that cancel
        scale = scale + np.abs(arguments[1] * np.where(np.isfinite(x), x, 0)).sum()
    assert_close(getattr(kernels, name)(*arguments), expected, scale=scale)


# ---- the same bits, alone or in any batch


# Large enough to be done in blocks of rows and of k, and in copies of blocks; with tails.
LARGE_SHAPES = [(300, 700, 130), (700, 300, 50), (130, 1000, 97)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "k", "n"), LARGE_SHAPES)
def test_large_products(dtype, m, k, n):
    rng = np.random.default_rng(m)
    a, b = normal(rng, dtype, m, k), normal(rng, dtype, k, n)
    exact, scale = widened([a, b])[0] @ widened([a, b])[1], np.abs(a) @ np.abs(b)
    for name in ("", "a", "b", "ab"):
        turned = [np.ascontiguousarray(x.T) if flag in name else x for x, flag in ((a, "a"), (b, "b"))]
        result = kernels.matmul(*turned, transpose_a="a" in name, transpose_b="b" in name)
        assert_close(result, exact, scale=scale)
        if "a" not in name:  # the blocks change nothing about a row's bits
            for row in (0, 7, m - 1):
                alone = kernels.matmul(turned[0][row : row + 1], turned[1], transpose_b="b" in name)
                np.testing.assert_array_equal(alone[0], result[row])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 5, 16, 40, 301])
@pytest.mark.parametrize("k", [1, 3, 8, 20, 200])
def test_one_sample_is_one_of_many(dtype, k, n):
    """The weight gradient and the input gradient of one sample have code of their own."""
    rng = np.random.default_rng(k)
    x, gradient, w = normal(rng, dtype, 1, k), normal(rng, dtype, 1, n), normal(rng, dtype, k, n)
    np.testing.assert_array_equal(kernels.dense_backward_weights(x, gradient), x.T * gradient)
    two = np.concatenate([gradient, gradient])
    np.testing.assert_array_equal(kernels.dense_backward_input(gradient, w)[0], kernels.dense_backward_input(two, w)[1])


SAME_BITS_SHAPES = [(70, 5, 3), (33, 17, 10), (40, 130, 50), (27, 300, 256), (13, 40, 301), (25, 1, 1)]


def assert_same_bits(function, x, *others):
    """Each row alone, and each of several ranges of rows, equals the same rows of the whole."""
    whole = function(x, *others)
    stretches = [(i, i + 1) for i in range(len(x))]
    stretches += [(0, 2), (1, 5), (0, 6), (3, 15), (1, len(x)), (0, len(x) - 1)]
    for first, last in stretches:
        np.testing.assert_array_equal(function(x[first:last], *others), whole[first:last])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("m", "k", "n"), SAME_BITS_SHAPES)
def test_dense_gives_a_row_the_same_bits(activation, dtype, m, k, n):
    rng = np.random.default_rng(m)
    x, w, b = normal(rng, dtype, m, k), normal(rng, dtype, k, n), normal(rng, dtype, n)
    assert_same_bits(kernels.dense, x, w, b, activation)
    assert_same_bits(kernels.dense, x, w, None, activation)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "k", "n"), SAME_BITS_SHAPES)
def test_the_way_back_gives_a_row_the_same_bits(dtype, m, k, n):
    rng = np.random.default_rng(n)
    gradient, w, x = normal(rng, dtype, m, n), normal(rng, dtype, k, n), normal(rng, dtype, m, k)
    assert_same_bits(kernels.dense_backward_input, gradient, w)
    assert_same_bits(kernels.matmul, x, w)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 10, 16, 33, 100])
def test_softmax_gives_a_row_the_same_bits(dtype, n):
    rng = np.random.default_rng(n)
    x, gradient = normal(rng, dtype, 20, n), normal(rng, dtype, 20, n)
    assert_same_bits(kernels.softmax, x)
    y = kernels.softmax(x)
    whole = kernels.softmax_backward(gradient, y)
    for i in range(20):
        np.testing.assert_array_equal(kernels.softmax_backward(gradient[i], y[i]), whole[i])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("m", "k", "n"), SAME_BITS_SHAPES)
def test_dense_is_its_parts(activation, dtype, m, k, n):
    """The activation inside a dense layer gives the same bits as the separate function."""
    rng = np.random.default_rng(m + n)
    x, w, b = normal(rng, dtype, m, k), normal(rng, dtype, k, n), normal(rng, dtype, n)
    expected = getattr(kernels, activation)(kernels.matmul(x, w) + b)
    np.testing.assert_array_equal(kernels.dense(x, w, b, activation), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9, 10, 31, 32, 33])
@pytest.mark.parametrize(("loss", "kind"), LOSS_TARGETS)
def test_a_row_has_the_same_loss_alone_and_in_any_batch(loss, kind, n, dtype):
    """Also where few columns are computed with vectors across the rows. The average divides by a power of two."""
    rng = np.random.default_rng(n)
    x, t = predictions_of(loss, rng, dtype, 32, n), targets_of(loss, rng, dtype, 32, n)
    t = labels(rng, 32, n) if kind == "labels" else np.asarray(one_hot(x, t), dtype)
    value, backward = getattr(kernels, loss), getattr(kernels, f"{loss}_backward")
    whole = 32 * backward(x, t)
    for first, last in ((0, 1), (7, 8), (31, 32), (3, 5), (28, 32), (1, 17), (13, 29)):
        part = (last - first) * backward(x[first:last], t[first:last])
        np.testing.assert_array_equal(part, whole[first:last])
    rows = np.array([value(x[i : i + 1], t[i : i + 1]) for i in range(32)], np.float64)
    assert_close(value(x, t), rows.mean(), scale=np.abs(rows).mean())


# ---- bad input


UNFIT = r"expected dtype|C-contiguous|float32 or float64"


def unfit(dtype):
    """Arrays of shape (4, 3) that a kernel cannot read."""
    good = np.ones((4, 3), dtype)
    raw = np.zeros(good.nbytes + 1, np.uint8)
    return {
        "Fortran order": np.asfortranarray(good),
        "every other row": np.ones((8, 3), dtype)[::2],
        "byte-swapped": good.astype(good.dtype.newbyteorder()),
        "misaligned": raw[1:].view(dtype).reshape(4, 3),
        "integers": good.astype(np.int64),
        "half precision": good.astype(np.float16),
        "the other dtype": good.astype(np.float32 if dtype == np.float64 else np.float64),
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", list(unfit(np.float64)))
def test_unfit_arrays_are_refused(dtype, kind):
    good, bad = np.ones((4, 3), dtype), unfit(dtype)[kind]
    pairs = [kernels.sigmoid_backward, kernels.mean_squared_error, kernels.cross_entropy_backward]
    for kernel in pairs:
        for arguments in ((good, bad), (bad, good)):
            with pytest.raises((TypeError, ValueError), match=UNFIT):
                kernel(*arguments)
    for kernel in (kernels.exp, kernels.softmax):
        with pytest.raises((TypeError, ValueError), match=UNFIT):
            kernel(good, out=bad)
    square = np.ones((3, 3), dtype)
    for call in (
        lambda: kernels.matmul(bad, square),
        lambda: kernels.matmul(square, bad, transpose_b=True),
        lambda: kernels.dense(bad, square, None),
        lambda: kernels.dense(square, bad.reshape(3, 4) if bad.flags.c_contiguous else bad.T[:, ::-1], None),
        lambda: kernels.dense_backward_input(bad, square),
        lambda: kernels.dense_backward_weights(good, bad),
        lambda: kernels.sgd(good, bad, 0.1),
        lambda: kernels.sgd(bad, good, 0.1),
        lambda: kernels.adam(good, good, good, bad, 0.1, 0.9, 0.999, 1e-8, 1),
        lambda: kernels.adam(good, good, good, good, 0.1, 0.9, 0.999, 1e-8, 1, largest=bad),
        lambda: kernels.average(bad, good, 0.9),
        lambda: kernels.average(good, bad, 0.9),
        lambda: kernels.add_penalty(bad, good, 0.1, 0.1),
        lambda: kernels.add_penalty(good, bad, 0.1, 0.1),
    ):
        with pytest.raises((TypeError, ValueError), match=UNFIT):
            call()


@pytest.mark.parametrize("dtype", DTYPES)
def test_wrong_shapes_are_refused(dtype):
    a, b, v = np.ones((4, 3), dtype), np.ones((3, 4), dtype), np.ones(3, dtype)
    for call in (
        lambda: kernels.exp(a, out=b),
        lambda: kernels.relu_backward(a, b),
        lambda: kernels.mean_squared_error(a, b),
        lambda: kernels.mean_squared_error(a, a, out=v),
        lambda: kernels.softmax_cross_entropy(a, np.zeros(3, np.int64)),
        lambda: kernels.matmul(a, a),
        lambda: kernels.matmul(a, b, transpose_b=True),
        lambda: kernels.matmul(a, v),
        lambda: kernels.matmul(a, b, out=a),
        lambda: kernels.dense(a, a, None),
        lambda: kernels.dense(a, b, v),
        lambda: kernels.dense(a, b, None, out=a),
        lambda: kernels.dense(v, b, None),
        lambda: kernels.dense_backward_input(a, b),
        lambda: kernels.dense_backward_weights(a, b),
        lambda: kernels.dense_backward_bias(a, out=np.ones(4, dtype)),
        lambda: kernels.sgd(a, b, 0.1),
        lambda: kernels.adam(v, v, v, np.ones(4, dtype), 0.1, 0.9, 0.999, 1e-8, 1),
        lambda: kernels.sgd(v, v, 0.1, buffer=np.ones(4, dtype)),
        lambda: kernels.average(a, b, 0.9),
        lambda: kernels.add_penalty(a, b, 0.1, 0.1),
        lambda: kernels.score(a, np.zeros(3, np.int64), "class_accuracy"),
    ):
        with pytest.raises(ValueError, match=r"shape|cannot multiply"):
            call()


def test_read_only_outputs_are_refused():
    a, frozen = np.ones((4, 3)), np.ones((4, 3))
    frozen.flags.writeable = False
    for call in (
        lambda: kernels.exp(a, out=frozen),
        lambda: kernels.tanh_backward(a, a, out=frozen),
        lambda: kernels.mean_squared_error_backward(a, a, out=frozen),
        lambda: kernels.sgd(frozen, a, 0.1),
        lambda: kernels.adam(a, a, frozen, a, 0.1, 0.9, 0.999, 1e-8, 1),
        lambda: kernels.average(frozen, a, 0.9),
        lambda: kernels.add_penalty(a, frozen, 0.1, 0.1),
        lambda: kernels.shuffle(np.broadcast_to(np.int64(1), 3), 0),
    ):
        with pytest.raises(ValueError, match="writable"):
            call()
    np.testing.assert_array_equal(frozen, np.ones((4, 3)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("label", [-1, 3, 2**62, -(2**62)])
def test_labels_out_of_range_are_refused(dtype, label):
    prediction, target = np.full((4, 3), 0.5, dtype), np.array([0, 1, label, 2])
    told = rf"labels must be in 0\.\.2, got {label}$"
    for name in (*OF_CLASSES, *(f"{name}_backward" for name in OF_CLASSES)):
        with pytest.raises(ValueError, match=told):
            getattr(kernels, name)(prediction, target)
    with pytest.raises(ValueError, match=told):
        kernels.score(prediction, target, "class_accuracy")


def test_unknown_operations_are_refused():
    a = np.ones((2, 2))
    for call in (
        lambda: arrays.apply("maxout", a),
        lambda: arrays.apply_backward("maxout", a, a),
        lambda: arrays.apply_backward("exp", a, a),
        lambda: arrays.loss("maxout", a, a),
        lambda: arrays.loss_backward("maxout", a, a),
        lambda: arrays.update("maxout", a, a),
    ):
        with pytest.raises(KeyError, match="maxout|exp"):
            call()
    with pytest.raises(TypeError, match="^no optimizer has the hyperparameter momemtum$"):
        arrays.update("sgd", a, a, learning_rate=0.1, momemtum=0.9)
    np.testing.assert_array_equal(a, 1)


def test_unknown_activations_are_refused():
    with pytest.raises((KeyError, ValueError), match="maxout"):
        kernels.dense(np.ones((2, 2)), np.ones((2, 2)), None, "maxout")


# The arguments of an epoch of three planes, and what each must not be.
VISIT = ("a", "j", "a", "v", "a[:, :2].copy()", "j", "j", "v")
NOT_VISITS = (
    "None or v or s or a[:2]",
    "None or j[:2] or v",
    "None or v or a[:, :2].copy() or np.broadcast_to(1.0, (3, 3))",
    "None or v[:2] or np.broadcast_to(1.0, 3)",
    "None or a or v or j",
    "None or v or j + 1 or j - 1",
    "v or j + 1 or j - 1",
    "j or v[:2]",
)

# Without an error, each would read invalid memory; so each runs in a separate process.
NOT_MATRICES = [
    "k.add(v, None)",
    "k.dropout(v, 0.5, 0)",
    "k.dropout(a, 0.5, 0, 0, v)",
    "k.gaussian_noise(None, 0.5, 0)",
    "k.layer_norm(a, v[:1], None, 1e-5)",
    "k.layer_norm(a, None, None, 1e-5, v)",
    "k.layer_norm_backward(a, a, None, None)",
    "k.layer_norm_backward_parameters(a, a, a, v, v)",
    "k.batch_norm_moments(v)",
    "k.batch_norm_moments(a, columns=(0, 99))",
    "k.batch_norm(a, None, v, None, None, 1e-5)",
    "k.batch_norm_sums(a, a, v, None, 1e-5)",
    "k.batch_norm_backward(a, a, v, v, None, a[:1], 1, 1e-5)",
    "k.exp(None)",
    "k.relu_backward(None, v)",
    "k.relu_backward(v, None)",
    "k.mean_squared_error(None, v)",
    "k.mean_squared_error(v, None)",
    "k.matmul(None, a)",
    "k.matmul(a, None)",
    "k.matmul(s, s)",
    "k.dense(None, a, None)",
    "k.dense(a, None, None)",
    "k.dense(s, a, None)",
    "k.dense(a, s, None)",
    "k.dense(v, a, None)",
    "k.dense(a, v, None)",
    "k.dense_backward_input(s, a)",
    "k.dense_backward_input(a, s)",
    "k.dense_backward_input(a, None)",
    "k.dense_backward_weights(s, a)",
    "k.dense_backward_weights(a, s)",
    "k.dense_backward_weights(a, None)",
    "k.dense_backward_bias(s)",
    "k.dense_backward_bias(v)",
    "k.dense_backward_bias(None)",
    "k.rank_one(None, np.arange(2), v, v)",
    "k.rank_one(a, None, v, v)",
    "k.rank_one(a, np.arange(2), None, v)",
    "k.rank_one(a, np.arange(2), v, None)",
    "k.encode(None, [('flag',)]*3)",
    "k.encode(s, [('flag',)]*3)",
    "k.encode(v, [('flag',)]*3)",
    "k.encode(a, [('flag',)]*2)",
    "k.encode(a, [('embedding', 2, 2)]*3)",
    "k.encode(a, [('embedding', 2, 2)]*3, v)",
    "k.encode(a, [('embedding', 2, -2), *[('flag',)]*2], v)",
    "k.encode_backward(None, a, [('flag',)]*3)",
    "k.encode_backward(a, a, [('one_hot', 3), *[('flag',)]*2])",
    "k.encode_backward(a, None, [('flag',)]*3)",
    "k.encode_backward_table(None, a, [('flag',)]*3)",
    "k.encode_backward_table(a[:1], a, [('embedding', 2, 1)]*3)",
    "k.encode_backward_table(a, None, [('flag',)]*3)",
    "k.sparse_dense(None, i, o, a, None)",
    "k.sparse_dense(v, None, o, a, None)",
    "k.sparse_dense(v, i, None, a, None)",
    "k.sparse_dense(v, i, o[:0], a, None)",
    "k.sparse_dense(v, i + 1, o, a, None)",
    "k.sparse_dense(v, i - 1, o, a, None)",
    "k.sparse_dense(v, i[::-1].copy(), o, a, None)",
    "k.sparse_dense(v, i, o + 1, a, None)",
    "k.sparse_dense(v, i, o[::-1].copy(), a, None)",
    "k.sparse_dense(v, i, np.array([0, 4, 3]), a, None)",
    "k.sparse_dense(v, i, o, None, None)",
    "k.sparse_dense(v, i, o, s, None)",
    "k.sparse_dense(v, i, o, a, v[:1])",
    "k.sparse_backward_weights(v, i, o, None, 3)",
    "k.sparse_backward_weights(v, i, o, a, 3)",
    "k.sparse_backward_weights(v, i, o, a[:1], 2)",
    "k.sparse_backward_weights(v, i, o, a[:1], 3, chunks=3)",
    "k.sparse_descend(v, i, o, a[:1], None, 0.1)",
    "k.sparse_descend(v, i, o, a[:1], a[:2], 0.1)",
    "k.perceptron_scores(None, a, v)",
    "k.perceptron_scores(a, None, v)",
    "k.perceptron_scores(a, a, None)",
    "k.perceptron_scores(v, a, v)",
    "k.perceptron_scores(a, v, v)",
    "k.perceptron_scores(s, a, v)",
    "k.perceptron_scores(a, a, v[:2])",
    "k.perceptron_scores(a, a[:, :2].copy(), v)",
    "k.perceptron_scores(a, a.astype(np.float32), v)",
    "k.perceptron_scores(c, a[:, :2].copy(), v)",
    "k.perceptron_scores(c, a.astype(np.float32), v.astype(np.float32))",
    "e.CompressedRows(None, i, o, 3)",
    "e.CompressedRows(v, None, o, 3)",
    "e.CompressedRows(v, i, None, 3)",
    "e.CompressedRows(v, i, o[:0], 3)",
    "e.CompressedRows(v, i, o, 2)",
    "e.CompressedRows(v, i.astype(np.int64), o, 3)",
    "e.CompressedRows.__new__(e.CompressedRows)",
    *(
        f"k.perceptron_epoch({', '.join(value if j == place else right for j, right in enumerate(VISIT))})"
        for place, values in enumerate(NOT_VISITS)
        for value in values.split(" or ")
    ),
    "k.sgd(None, v, 0.1)",
    "k.sgd(v, None, 0.1)",
    *(
        f"k.{name}(v, v, {', '.join('None' if other == moment else 'v' for other in moments)}, **{numbers})"
        for name in OPTIMIZERS
        for moments, numbers in [required(name, getattr(reference, name))]
        for moment in moments
    ),
    "e.update('adam', v, v, (v,), learning_rate=0.1)",
    "e.update('sgd', v, v, (v, v, v, v), learning_rate=0.1)",
    "e.loss('quantile', a, a)",
    "e.loss_backward('quantile', a, a)",
    "e.loss('huber', a, a, v, (1.0,))",
    "e.loss('huber', a, a, None, (1.0, 2.0, 3.0))",
    "k.average(None, v, 0.1)",
    "k.average(v, None, 0.1)",
    "k.square_sum(None)",
    "k.dot(None, v)",
    "k.dot(v, None)",
    "k.penalty(None, 0.1, 0.1)",
    "k.add_penalty(None, v, 0.1, 0.1)",
    "k.add_penalty(v, None, 0.1, 0.1)",
    "k.all_finite(None)",
    "k.score(None, v, 'absolute_error')",
    "k.score(v, None, 'absolute_error')",
    "k.score(v, v, 'absolute_error', weights=v)",
    "k.shuffle(None, 0)",
    "k.draw(None, 3, 0)",
]

REFUSE = """
import sys
import numpy as np
sys.path.append(sys.argv.pop(1))
import kernel_calls as k
from nnfast.kernels import arrays as e
a, v, s = np.ones((3, 3)), np.ones(3), np.array(1.0)
i, j, o = np.arange(3, dtype=np.int32), np.arange(3), np.array([0, 3])
c = e.CompressedRows(v, i, o, 3)
for call in sys.argv[1:]:
    print(call, flush=True)
    try:
        eval(call)
    except (TypeError, ValueError):
        print("refused", flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
"""


def test_what_is_no_matrix_is_refused():
    """None, scalars and vectors in place of a matrix: an error, and the process survives."""
    run = subprocess.run(
        [sys.executable, "-P", "-c", REFUSE, str(Path(__file__).parent), *NOT_MATRICES], capture_output=True, text=True
    )
    expected = "".join(f"{call}\nrefused\n" for call in NOT_MATRICES)
    assert run.stdout == expected, f"exit code {run.returncode}, {run.stderr}"
