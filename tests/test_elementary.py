"""exp, log, tanh and sigmoid: their error over the whole range, their special values, and the values around these."""

from __future__ import annotations

import math

import kernel_calls as kernels
import numpy as np
import pytest
import scipy.special
from tolerances import ULPS, assert_close, ulp_error

DTYPES = (np.float32, np.float64)
FUNCTIONS = ("exp", "log", "tanh", "sigmoid")
NEIGHBOURS = 300  # floats tested on either side of a special point

needs_longdouble = pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 2.0**-60, reason="numpy.longdouble has no more digits than float64 on this platform"
)


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


EXACT = {"exp": np.exp, "log": np.log, "tanh": np.tanh, "sigmoid": sigmoid}


def bits_of(dtype):
    return np.dtype(dtype).str.replace("f", "i")


def around(points, dtype):
    """The floats next to each of the points, on both sides."""
    bits = np.asarray(points, dtype).view(bits_of(dtype))
    return (bits[:, np.newaxis] + np.arange(-NEIGHBOURS, NEIGHBOURS + 1, dtype=bits.dtype)).ravel().view(dtype)


def special_points(dtype):
    """Where a formula changes: the ends of its range, its branches, and its argument reductions."""
    info = np.finfo(dtype)
    halves = np.arange(-64, 64) + 0.5
    points = np.concatenate(
        [
            [1e-30, info.tiny, info.max / 2, 1.0, 2.0, 0.5, math.sqrt(0.5), math.sqrt(2.0)],
            [math.log(info.max), math.log(info.tiny), math.log(info.smallest_subnormal), -746, -104, 746, 104],
            [10, 20, 40, 9.01, 19.06, 17.33, 36.74, math.log(info.eps)],
            halves * math.log(2),
            math.sqrt(0.5) * 2.0 ** np.arange(-100, 100, 7),
        ]
    )
    points = np.concatenate([points, -points])
    subnormal = np.arange(1, 4 * NEIGHBOURS, dtype=bits_of(dtype)).view(dtype)
    return np.concatenate([around(points, dtype), subnormal, -subnormal])


def worst(name, x, wide):
    """The largest error of a kernel on `x`, in units in the last place, and where."""
    with np.errstate(all="ignore"):
        exact = EXACT[name](x.astype(wide))
    error = ulp_error(getattr(kernels, name)(x), exact)
    at = int(error.argmax())
    return float(error[at]), float(x[at])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_in_float32(name):
    """Every 1021st of all float32 numbers, NaN and subnormals among them: about 2**22."""
    x = np.arange(0, 2**32, 1021, dtype=np.uint64).astype(np.uint32).view(np.float32)
    with np.errstate(invalid="ignore"):  # signalling NaN
        x = np.concatenate([x, special_points(np.float32)])
        error, where = worst(name, x, np.float64)
    assert error <= ULPS[name], f"{name}({where!r}) is {error} units in the last place off"


@needs_longdouble
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_in_float64(name):
    """Random bit patterns, uniform points where the function varies, small arguments of all magnitudes."""
    rng = np.random.default_rng(7)
    exponents = np.arange(-1074, 1024, 0.1)
    x = np.concatenate(
        [
            rng.integers(0, 2**64, 40_000, dtype=np.uint64).view(np.float64),
            np.linspace(-750, 750, 40_000),
            np.linspace(-40, 40, 40_000),
            np.linspace(0.2, 4, 20_000),
            2.0**exponents,
            -(2.0**exponents),
            special_points(np.float64),
        ]
    )
    error, where = worst(name, x, np.longdouble)
    assert error <= ULPS[name], f"{name}({where!r}) is {error} units in the last place off"


def test_the_measure_of_errors_measures():
    one = np.array([1.0], np.float32)
    assert ulp_error(np.nextafter(one, np.float32(2)), np.array([1.0])) == 1
    assert ulp_error(np.array([np.inf], np.float32), np.array([1e300])) == 0
    assert ulp_error(np.finfo(np.float32).max.reshape(1), np.array([1e300])) > 1e6
    assert ulp_error(np.array([np.inf], np.float32), np.array([3e38])) > 1e6
    assert ulp_error(np.array([np.nan], np.float32), np.array([1.0])) == np.inf
    assert ulp_error(np.array([1.0], np.float32), np.array([np.nan])) == np.inf
    assert ulp_error(np.array([0.0], np.float32), np.array([2.0**-149])) == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(dtype):
    def value(function, x):
        return function(np.array([x], dtype))[0]

    inf, nan, zero = np.inf, np.nan, 0.0
    table = [
        (kernels.exp, [(zero, 1), (-zero, 1), (inf, inf), (-inf, 0), (nan, nan), (1e4, inf), (-1e4, 0)]),
        (kernels.log, [(1, 0), (zero, -inf), (-zero, -inf), (inf, inf), (-inf, nan), (-1, nan), (nan, nan)]),
        (kernels.tanh, [(zero, 0), (inf, 1), (-inf, -1), (1e4, 1), (-1e4, -1), (nan, nan)]),
        (kernels.sigmoid, [(zero, 0.5), (-zero, 0.5), (inf, 1), (-inf, 0), (1e4, 1), (-1e4, 0), (nan, nan)]),
    ]
    for function, rows in table:
        for x, expected in rows:
            np.testing.assert_equal(value(function, x), dtype(expected), err_msg=f"{function.__name__}({x})")
    assert not np.signbit(value(kernels.tanh, 0.0))
    assert np.signbit(value(kernels.tanh, -0.0))
    assert value(kernels.log, -np.finfo(dtype).smallest_subnormal) != 0  # NaN, as for all negative numbers


@pytest.mark.parametrize("dtype", DTYPES)
def test_known_values(dtype):
    """Against Python's math and SciPy, which share no code with the kernels or their reference."""
    x = np.array([-2.5, -1.0, -0.125, 0.25, 1.0, 3.0], dtype)
    assert_close(kernels.exp(x), [math.exp(v) for v in x.tolist()])
    assert_close(kernels.tanh(x), [math.tanh(v) for v in x.tolist()])
    assert_close(kernels.sigmoid(x), scipy.special.expit(x.astype(np.float64)))
    assert_close(kernels.log(np.abs(x)), [math.log(abs(v)) for v in x.tolist()])
    assert_close(kernels.exp(np.ones(1, dtype)), [2.718281828459045])
    assert_close(kernels.log(np.full(1, 10, dtype)), [2.302585092994046])
    assert_close(kernels.tanh(np.full(1, 0.5, dtype)), [0.46211715726000975])
    assert_close(kernels.sigmoid(np.full(1, 2, dtype)), [0.8807970779778823])


@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_results(dtype):
    info = np.finfo(dtype)
    x = np.linspace(math.log(info.smallest_subnormal), math.log(info.tiny), 500).astype(dtype)
    for function in (kernels.exp, kernels.sigmoid):
        result = function(x)
        assert (result[1:] > 0).all()
        assert (result[:-1] < info.tiny).all()
    small = np.arange(1, 200, dtype=bits_of(dtype)).view(dtype)
    np.testing.assert_array_equal(kernels.tanh(small), small)  # tanh(x) = x - x**3/3
    np.testing.assert_array_equal(kernels.exp(small), np.ones_like(small))


@pytest.mark.parametrize("dtype", DTYPES)
def test_symmetry(dtype):
    x = np.random.default_rng(1).normal(0, 5, 1000).astype(dtype)
    np.testing.assert_array_equal(kernels.tanh(-x), -kernels.tanh(x))
    assert (kernels.sigmoid(x) <= 1).all()
    assert (np.abs(kernels.tanh(x)) <= 1).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*FUNCTIONS, "step", "relu", "identity"])
def test_a_value_does_not_depend_on_its_place(name, dtype):
    """The last, partial vector of an array gives the same bits as the whole vectors before it."""
    function = getattr(kernels, name)
    x = np.abs(np.random.default_rng(2).normal(0, 3, 140)).astype(dtype)
    x[::2] *= 1 if name == "log" else -1
    expected = function(x)
    for n in range(1, 71):
        np.testing.assert_array_equal(function(x[:n]), expected[:n])
        np.testing.assert_array_equal(function(x[n : 2 * n]), expected[n : 2 * n])
