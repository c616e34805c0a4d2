"""Layer and batch normalization: PyTorch, numerical gradients, long sums, large means, ranges of columns, and
memory next to the arrays."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import assert_close

import nnfast as nf
from nnfast import reference
from nnfast.kernels import arrays as kernels

DTYPES = (np.float32, np.float64)
EPSILON = 1e-5
SIZES = st.integers(1, 70)
SHAPES = [(1, 1), (1, 40), (2, 7), (5, 64), (33, 10), (130, 37), (3, 5000)]


def normal(rng, dtype, *shape):
    return rng.normal(0.7, 3, shape).astype(dtype)


def layer_stats(x):
    stats = np.empty((len(x), 2), x.dtype)
    kernels.layer_norm(x, None, None, EPSILON, stats)
    return stats


def layer_parameters(gradient, x, stats, **options):
    """The gradients with respect to gamma and beta."""
    gradients = np.zeros((2, x.shape[1]), x.dtype)
    kernels.layer_norm_backward_parameters(gradient, x, stats, *gradients, **options)
    return gradients


def batch_forward(x, gamma, beta):
    return kernels.batch_norm(x, *kernels.batch_norm_moments(x), gamma, beta, EPSILON)


def batch_backward(gradient, x, gamma):
    """The gradients with respect to x, gamma and beta."""
    moments = kernels.batch_norm_moments(x)
    sums = kernels.batch_norm_sums(gradient, x, *moments, EPSILON)
    return kernels.batch_norm_backward(gradient, x, *moments, gamma, sums, len(x), EPSILON), *sums[::-1]


def layer_backward(gradient, x, gamma):
    stats = layer_stats(x)
    return kernels.layer_norm_backward(gradient, x, gamma, stats), *layer_parameters(gradient, x, stats)


# ---- values


def test_hand_computed():
    """The deviations -3, -1, 1, 3 from the mean have variance 5."""
    x = np.array([[1.0, 3.0, 5.0, 7.0]])
    xhat = np.array([[-3.0, -1.0, 1.0, 3.0]]) / np.sqrt(5)
    gamma, beta = np.array([1.0, 2.0, -1.0, 0.5]), np.array([0.0, 1.0, 0.0, -1.0])
    stats = np.empty((1, 2))
    assert_close(kernels.layer_norm(x, gamma, beta, 0.0, stats), xhat * gamma + beta, scale=np.ones((1, 4)))
    assert_close(stats, [[4, 1 / np.sqrt(5)]])
    assert_close(kernels.layer_norm(x, None, None, 4.0), xhat * np.sqrt(5) / 3)
    assert_close(kernels.batch_norm_moments(x.T.copy()), [[4], [5]])
    assert_close(kernels.batch_norm(x.T.copy(), np.array([4.0]), np.array([5.0]), None, None, 0.0), xhat.T)
    sums = kernels.batch_norm_sums(np.ones((4, 1)), x.T.copy(), np.array([3.0]), np.array([4.0]), 0.0)
    assert_close(sums, [[4], [2]])  # xhat is -1, 0, 1, 2
    fixed = kernels.batch_norm_backward(x, x, gamma, np.full(4, 4.0), gamma, None, 1, 0.0)
    assert_close(fixed, x * gamma / 2)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[1] > 1])  # with one it is all rounding errors
def test_layer_norm_is_that_of_pytorch(shape):
    torch = pytest.importorskip("torch", reason="the trajectories of PyTorch need torch")
    rng = np.random.default_rng(1)
    x, gradient = normal(rng, np.float64, *shape), normal(rng, np.float64, *shape)
    gamma, beta = normal(rng, np.float64, shape[1]), normal(rng, np.float64, shape[1])
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    y = torch.nn.functional.layer_norm(tensors[0], shape[1:], *tensors[1:], eps=EPSILON)
    y.backward(torch.tensor(gradient))
    hold(kernels.layer_norm(x, gamma, beta, EPSILON), y.detach().numpy())
    for mine, tensor in zip(layer_backward(gradient, x, gamma), tensors, strict=True):
        hold(mine, tensor.grad.numpy())


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[0] > 1])
def test_batch_norm_is_that_of_pytorch(shape):
    torch = pytest.importorskip("torch", reason="the trajectories of PyTorch need torch")
    rng = np.random.default_rng(2)
    x, gradient = normal(rng, np.float64, *shape), normal(rng, np.float64, *shape)
    gamma, beta = normal(rng, np.float64, shape[1]), normal(rng, np.float64, shape[1])
    mean, variance = normal(rng, np.float64, shape[1]), np.abs(normal(rng, np.float64, shape[1]))
    for training in (True, False):
        tensors = [torch.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
        running = torch.tensor(mean), torch.tensor(variance)
        y = torch.nn.functional.batch_norm(tensors[0], *running, *tensors[1:], training=training, eps=EPSILON)
        y.backward(torch.tensor(gradient))
        if training:
            hold(batch_forward(x, gamma, beta), y.detach().numpy())
            backward = batch_backward(gradient, x, gamma)
            condition = 1 + np.abs(x).max(axis=0) / x.std(axis=0)  # three rows may be close together
        else:
            hold(kernels.batch_norm(x, mean, variance, gamma, beta, EPSILON), y.detach().numpy())
            sums = kernels.batch_norm_sums(gradient, x, mean, variance, EPSILON)
            out = kernels.batch_norm_backward(gradient, x, mean, variance, gamma, None, 1, EPSILON)
            backward = out, *sums[::-1]
            condition = 1
        for mine, tensor in zip(backward, tensors, strict=True):
            hold(mine, tensor.grad.numpy(), condition)


def hold(mine, theirs, condition=1):
    """Compare relative to the largest: an element may be a small difference of large terms. `condition`: per column."""
    assert_close(mine, theirs, scale=np.full(theirs.shape, condition * (1 + np.abs(theirs).max())))


@pytest.mark.parametrize("forward", ["layer", "batch"])
@pytest.mark.parametrize("shape", [(1, 5), (2, 3), (6, 9), (9, 33)])
@pytest.mark.parametrize("scaled", [True, False])
def test_numerical_gradients(forward, shape, scaled):
    rng = np.random.default_rng(3)
    x, gradient = normal(rng, np.float64, *shape), normal(rng, np.float64, *shape)
    gamma, beta = np.ones(shape[1]), np.zeros(shape[1])
    if scaled:
        gamma, beta = normal(rng, np.float64, shape[1]), normal(rng, np.float64, shape[1])

    def objective():
        if forward == "layer":
            return (gradient * reference.layer_norm(x, gamma, beta, 0.5)).sum()
        y = reference.batch_norm(x, *reference.batch_norm_moments(x), gamma, beta, 0.5)
        return (gradient * y).sum()

    def numerical(a):
        out = np.empty_like(a)
        for i in np.ndindex(a.shape):
            kept, values = a[i], []
            for h in (-1e-5, 1e-5):
                a[i] = kept + h
                values.append(objective())
            a[i] = kept
            out[i] = (values[1] - values[0]) / 2e-5
        return out

    factor = gamma if scaled else None
    if forward == "layer":
        stats = np.empty((len(x), 2))
        kernels.layer_norm(x, factor, None, 0.5, stats)
        analytic = kernels.layer_norm_backward(gradient, x, factor, stats), *layer_parameters(gradient, x, stats)
    else:
        moments = kernels.batch_norm_moments(x)
        sums = kernels.batch_norm_sums(gradient, x, *moments, 0.5)
        analytic = kernels.batch_norm_backward(gradient, x, *moments, factor, sums, len(x), 0.5), *sums[::-1]
    size = np.abs(gradient).sum() * (1 + np.abs(gamma).max()) + np.abs(beta).sum()
    for mine, a in zip(analytic, (x, gamma, beta), strict=True):
        assert_close(mine, numerical(a), scale=np.full(a.shape, size), kind="difference")


# ---- long sums


@pytest.mark.parametrize("mean", [0.0, 100.0])
def test_sums_of_many_rows_lose_nothing(mean):
    """60,000 rows of float32 are as accurate as one block, where adding in order would lose three digits."""
    rng = np.random.default_rng(4)
    x = rng.normal(mean, 1, (60_000, 11)).astype(np.float32)
    gradient = rng.uniform(0.5, 1.5, x.shape).astype(np.float32)
    wide, wide_gradient = x.astype(np.float64), gradient.astype(np.float64)
    moments = kernels.batch_norm_moments(x)
    assert_close(moments[0], wide.mean(axis=0), scale=np.abs(wide).mean(axis=0))
    assert_close(moments[1], ((wide - moments[0]) ** 2).mean(axis=0))
    for sums in (
        kernels.batch_norm_sums(gradient, x, *moments, EPSILON)[::-1],
        layer_parameters(gradient, x, np.tile(np.float32([mean, 1]), (len(x), 1))),
    ):
        assert_close(sums[1], wide_gradient.sum(axis=0))
    expected = reference.batch_norm_sums(*(a.astype(np.float64) for a in (gradient, x, *moments)), EPSILON)
    scale = (wide_gradient * (np.abs(wide) + mean)).sum(axis=0)
    assert_close(kernels.batch_norm_sums(gradient, x, *moments, EPSILON)[1], expected[1], scale=scale)


def test_sums_of_long_rows_lose_nothing():
    x = np.random.default_rng(5).normal(3, 1, (3, 300_000)).astype(np.float32)
    wide, stats = x.astype(np.float64), layer_stats(x)
    assert_close(stats[:, 0], wide.mean(axis=1))
    assert_close(stats[:, 1], 1 / np.sqrt(wide.var(axis=1) + EPSILON))
    gradient = np.abs(x)
    expected = reference.layer_norm_backward(wide * np.sign(wide), wide, None, stats.astype(np.float64))
    assert_close(kernels.layer_norm_backward(gradient, x, None, stats), expected, scale=np.abs(wide) + 8)


# ---- large means


def exact_columns(x):
    """The mean and the variance of each column, and the deviations from the mean: exact, then rounded to float64."""
    means, variances, deviations = [], [], []
    for column in x.T:
        values = [Fraction(float(v)) for v in column]
        mean = sum(values) / len(values)
        means.append(float(mean))
        variances.append(float(sum((v - mean) ** 2 for v in values) / len(values)))
        deviations.append([float(v - mean) for v in values])
    return np.array(means), np.array(variances), np.array(deviations).T


@pytest.mark.parametrize("twin", [kernels, reference])
@pytest.mark.parametrize(
    ("dtype", "mean", "deviation"),
    [(np.float32, 1e3, 1.0), (np.float32, 1e6, 1.0), (np.float64, 1e3, 1.0), (np.float64, 1e6, 0.03)],
)
@pytest.mark.parametrize("m", [16, 64, 300, 1500])
def test_moments_of_a_large_mean_are_exact(twin, dtype, mean, deviation, m):
    """The mean is exact except for its last rounding, and the variance is as accurate as for numbers around zero."""
    rng = np.random.default_rng(m)
    x = rng.normal(mean * rng.uniform(1, 1.9, 9), deviation, (m, 9)).astype(dtype)
    means, variances, _ = exact_columns(x)
    found = twin.batch_norm_moments(x)
    rounding = np.abs(means) + 64 * np.sqrt(variances)
    assert_close(found[0], means, scale=rounding, kind="rounding")
    assert_close(found[1], variances, scale=variances)
    stats = np.empty((9, 2), dtype)
    twin.layer_norm(np.ascontiguousarray(x.T), None, None, EPSILON, stats)
    assert_close(stats[:, 0], means, scale=rounding, kind="rounding")
    assert_close(stats[:, 1], 1 / np.sqrt(variances + EPSILON), scale=1 / np.sqrt(variances + EPSILON))


@pytest.mark.parametrize("deviation", [1.0, 0.03])
@pytest.mark.parametrize("m", [16, 64, 300])
def test_a_large_mean_costs_its_rounding_alone(deviation, m):
    """The errors of outputs and gradients follow from half a unit in the last place of the mean, and no more."""
    rng = np.random.default_rng(m)
    x = rng.normal(1e6 * rng.uniform(1, 1.9, 9), deviation, (m, 9))
    gradient, gamma = rng.normal(0.3, 1, x.shape), rng.uniform(0.5, 2, 9)
    means, variances, deviations = exact_columns(x)
    inverse = 1 / np.sqrt(variances + EPSILON)
    xhat = deviations * inverse
    each = means * inverse  # the error of xhat, in roundings of the mean
    small = 64 * np.abs(gradient).max()  # roundings of everything else

    y = kernels.batch_norm(x, *kernels.batch_norm_moments(x), gamma, None, EPSILON)
    assert_close(y, xhat * gamma, scale=gamma * (each + 64 * np.abs(xhat)), kind="rounding")
    found, gamma_gradient, beta_gradient = batch_backward(gradient, x, gamma)
    assert_close(beta_gradient, gradient.sum(axis=0), scale=np.abs(gradient).sum(axis=0))
    terms = np.abs(gradient.sum(axis=0)) * each + 64 * np.abs(gradient * xhat).sum(axis=0)
    assert_close(gamma_gradient, (gradient * xhat).sum(axis=0), scale=terms, kind="rounding")
    shift, slope = gradient.mean(axis=0), (gradient * xhat).mean(axis=0)
    expected = gamma * inverse * (gradient - shift - xhat * slope)
    terms = each * (np.abs(slope) + np.abs(xhat * shift)) + small * (1 + np.abs(xhat))
    assert_close(found, expected, scale=gamma * inverse * terms, kind="rounding")


@pytest.mark.parametrize("dtype", DTYPES)
def test_running_statistics_of_a_large_mean(dtype):
    """After one batch: a tenth of its mean, and nine tenths of 1 plus a tenth of its variance."""
    x = np.random.default_rng(8).normal(1e6, 30, (64, 9)).astype(dtype)
    means, variances, _ = exact_columns(x)
    net = nf.Sequential([nf.BatchNorm(momentum=0.1)], input_shape=9, dtype=np.dtype(dtype).name)
    net.forward(x, training=True)
    mean, variance = net.statistics.values()
    assert_close(mean, means / 10, scale=means / 5, kind="rounding")
    assert_close(variance, 0.9 + variances * 64 / 63 / 10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_constant_column_has_no_variance(dtype):
    """Its mean is exactly its value, which the rounding of a long sum would change."""
    x = np.full((1001, 5), [0.1, 0.7, 1e-3, 1e6 + 0.1, -3.3], dtype)
    found = kernels.batch_norm_moments(x)
    np.testing.assert_array_equal(found[0], x[0])
    assert (found[1] >= 0).all()
    assert_close(found[1], np.zeros(5), scale=np.finfo(dtype).eps * np.square(x[0].astype(np.float64)))
    stats = layer_stats(np.ascontiguousarray(x.T))
    np.testing.assert_array_equal(stats[:, 0], x[0])


@pytest.mark.parametrize("twin", [kernels, reference])
@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_where_numbers_overflow(twin, dtype):
    """The mean of an infinite number is infinite; deviations that overflow leave the mean unchanged."""
    large = np.finfo(dtype).max
    x = np.array([[1, np.inf, large], [2, 1, -large], [3, 2, -large]], dtype)
    with np.errstate(all="ignore"):
        found = twin.batch_norm_moments(x)
    assert_close(found[0], [2, np.inf, -(large / 3)])
    assert_close(found[1, :1], [2 / 3])
    assert not np.isfinite(found[1, 1:]).any()


# ---- bits


@pytest.mark.parametrize("dtype", DTYPES)
@given(m=SIZES, n=SIZES, rows=st.integers(1, 9), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_a_row_has_the_same_bits_alone_and_in_any_batch(dtype, m, n, rows, seed):
    rng = np.random.default_rng(seed)
    x, gradient, (gamma, beta, mean) = normal(rng, dtype, m, n), normal(rng, dtype, m, n), normal(rng, dtype, 3, n)
    variance, sums = np.abs(normal(rng, dtype, n)), normal(rng, dtype, 2, n)

    def results(some):
        stats = layer_stats(x[some])
        return (
            stats,
            kernels.layer_norm(x[some], gamma, beta, EPSILON),
            kernels.layer_norm_backward(gradient[some], x[some], gamma, stats),
            kernels.batch_norm(x[some], mean, variance, gamma, beta, EPSILON),
            kernels.batch_norm_backward(gradient[some], x[some], mean, variance, gamma, sums, 7, EPSILON),
            kernels.batch_norm_backward(gradient[some], x[some], mean, variance, gamma, None, 7, EPSILON),
        )

    whole = results(slice(None))
    for first in range(0, m, rows):
        some = slice(first, first + rows)
        for part, all_rows in zip(results(some), whole, strict=True):
            np.testing.assert_array_equal(part, all_rows[some])


@pytest.mark.parametrize("dtype", DTYPES)
@given(m=st.integers(1, 200), n=SIZES, cuts=st.lists(st.integers(0, 70), max_size=4), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_it_does_not_matter_how_columns_are_shared(dtype, m, n, cuts, seed):
    """Each part writes only its own columns, with the same bits as in the whole."""
    rng = np.random.default_rng(seed)
    x, gradient = normal(rng, dtype, m, n), normal(rng, dtype, m, n)
    moments, stats = kernels.batch_norm_moments(x), layer_stats(x)

    def layer(out, **columns):
        kernels.layer_norm_backward_parameters(gradient, x, stats, *out, **columns)

    for function in (
        layer,
        lambda out, **columns: kernels.batch_norm_moments(x, out, **columns),
        lambda out, **columns: kernels.batch_norm_sums(gradient, x, *moments, EPSILON, out, **columns),
    ):
        whole, shared = np.zeros((2, n), dtype), np.full((2, n), -7, dtype)
        function(whole)
        edges = [0, *sorted(min(cut, n) for cut in cuts), n]
        for first, last in itertools.pairwise(edges):
            function(shared, columns=(first, last))
            np.testing.assert_array_equal(shared[:, :last], whole[:, :last])
            assert (shared[:, last:] == -7).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_without_moments_a_batch_norm_scales_and_shifts(dtype, shape):
    """As with means of 0 and variances of 1, bit for bit, whatever epsilon is."""
    rng = np.random.default_rng(7)
    x, gradient = normal(rng, dtype, *shape), normal(rng, dtype, *shape)
    gamma, beta = normal(rng, dtype, shape[1]), normal(rng, dtype, shape[1])
    moments, n = (np.zeros(shape[1], dtype), np.ones(shape[1], dtype)), len(x)
    y = kernels.batch_norm(x, None, None, gamma, beta, EPSILON)
    assert_close(y, x * gamma + beta, scale=np.abs(x * gamma) + np.abs(beta))
    np.testing.assert_array_equal(y, kernels.batch_norm(x, *moments, gamma, beta, 0.0))
    back = kernels.batch_norm_backward(gradient, x, None, None, gamma, None, n, EPSILON)
    np.testing.assert_array_equal(back, gradient * gamma)
    sums = kernels.batch_norm_sums(gradient, x, None, None, EPSILON)
    np.testing.assert_array_equal(sums, kernels.batch_norm_sums(gradient, x, *moments, 0.0))
    expected = np.stack([gradient.sum(axis=0, dtype=float), (gradient * x).sum(axis=0, dtype=float)])
    assert_close(sums, expected, scale=np.stack([np.abs(gradient).sum(axis=0), np.abs(gradient * x).sum(axis=0)]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_a_batch_norm_accumulate(dtype):
    rng = np.random.default_rng(8)
    x, gradient = normal(rng, dtype, 20, 37), normal(rng, dtype, 20, 37)
    fresh, before = kernels.batch_norm_sums(gradient, x, None, None, EPSILON), normal(rng, dtype, 2, 37)
    total = before.copy()
    kernels.batch_norm_sums(gradient, x, None, None, EPSILON, total, accumulate=True)
    np.testing.assert_array_equal(total, before + fresh)
    total = before.copy()
    reference.batch_norm_sums(gradient, x, None, None, EPSILON, total, accumulate=True)
    assert_close(total, before + fresh, scale=np.abs(before) + np.abs(gradient).sum(axis=0) * (1 + np.abs(x).max()))


@pytest.mark.parametrize("dtype", DTYPES)
def test_parameters_accumulate_and_may_be_left_out(dtype):
    rng = np.random.default_rng(6)
    x, gradient = normal(rng, dtype, 20, 37), normal(rng, dtype, 20, 37)
    stats = layer_stats(x)
    fresh = layer_parameters(gradient, x, stats)
    before = normal(rng, dtype, 2, 37)
    for twin in (kernels, reference):
        total = before.copy()
        twin.layer_norm_backward_parameters(gradient, x, stats, *total, accumulate=True)
        assert_close(total, before + fresh, scale=np.abs(before) + layer_scale(gradient, x, stats))
        for left_out in (0, 1):
            some = [fresh[0] * 0, fresh[1] * 0]
            some[left_out] = None
            twin.layer_norm_backward_parameters(gradient, x, stats, *some)
            other = 1 - left_out
            assert_close(some[other], fresh[other], scale=layer_scale(gradient, x, stats)[other])


def layer_scale(gradient, x, stats):
    products = np.abs(gradient) * (np.abs(x) + np.abs(stats[:, :1])) * stats[:, 1:]
    return np.stack([products.sum(axis=0), np.abs(gradient).sum(axis=0)])


@pytest.mark.parametrize("dtype", DTYPES)
@given(m=SIZES, n=SIZES, seed=st.integers(0, 99))
@settings(max_examples=30)
def test_parameters_of_layer_norm_are_their_twin(dtype, m, n, seed):
    rng = np.random.default_rng(seed)
    x, gradient = normal(rng, dtype, m, n), normal(rng, dtype, m, n)
    stats = layer_stats(x)
    expected = np.empty((2, n))
    reference.layer_norm_backward_parameters(*(a.astype(np.float64) for a in (gradient, x, stats)), *expected)
    assert_close(layer_parameters(gradient, x, stats), expected, scale=layer_scale(gradient, x, stats))


# ---- NaN, and outputs that are inputs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 5, 8, 37, 64])
def test_nan_stays_in_its_row_or_column(dtype, n):
    rng = np.random.default_rng(7)
    x, gradient = normal(rng, dtype, 30, n), normal(rng, dtype, 30, n)
    i, j = 13, n // 2
    row, column = np.arange(30) == i, np.arange(n) == j
    x[i, j] = np.nan
    for result in (kernels.layer_norm(x, None, None, EPSILON), layer_stats(x), layer_backward(gradient, x, None)[0]):
        np.testing.assert_array_equal(np.isnan(result).any(axis=1), row)
        np.testing.assert_array_equal(np.isnan(result).all(axis=1), row)
    for result in (batch_forward(x, None, None), batch_backward(gradient, x, None)[0], kernels.batch_norm_moments(x)):
        np.testing.assert_array_equal(np.isnan(result).any(axis=0), column)
        np.testing.assert_array_equal(np.isnan(result).all(axis=0), column)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_out_may_be_x_or_the_gradient(dtype, shape):
    rng = np.random.default_rng(8)
    x, gradient = normal(rng, dtype, *shape), normal(rng, dtype, *shape)
    gamma, beta, mean = normal(rng, dtype, 3, shape[1])
    variance, sums, stats = np.abs(beta) + 1, normal(rng, dtype, 2, shape[1]), layer_stats(x)
    for function, arguments in (
        (lambda x, out=None: kernels.rescale(x, 2.0, 1.0, out), [x]),
        (kernels.add, [x, gradient]),
        (lambda x, out=None: kernels.layer_norm(x, gamma, beta, EPSILON, None, out), [x]),
        (lambda g, x, out=None: kernels.layer_norm_backward(g, x, gamma, stats, out), [gradient, x]),
        (lambda x, out=None: kernels.batch_norm(x, mean, variance, gamma, beta, EPSILON, out), [x]),
        (
            lambda g, x, out=None: kernels.batch_norm_backward(g, x, mean, variance, gamma, sums, 3, EPSILON, out),
            [gradient, x],
        ),
    ):
        expected = function(*arguments)
        for i in range(len(arguments)):
            copies = [a.copy() for a in arguments]
            assert function(*copies, out=copies[i]) is copies[i]
            np.testing.assert_array_equal(copies[i], expected)


def test_ranges_out_of_range_are_refused():
    x = np.ones((2, 3))
    for columns in ((0, 4), (-1, 2), (2, 1)):
        with pytest.raises(ValueError, match=r"^columns must be a range within 0\.\.3, got \("):
            kernels.batch_norm_moments(x, columns=columns)
