"""Numerical derivatives: their values for any function of any array, what happens to the array, and each error."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import types
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from tolerances import assert_close

import nnfast as nf
from nnfast.gradients import functions

SIGNATURE = "double (int, double *, void *)"


def refuses(error, message):
    """Expect an error whose message begins with this text."""
    return pytest.raises(error, match=f"^{re.escape(message)}")


def squares(x):
    return np.sum(x**2)


def roughly(x):
    """A function of arrays of any shape, with derivatives of all orders."""
    return float(np.sum(np.sin(np.asarray(x, np.float64)) * 2))


def same_bits(a, b):
    """Compare bits; some bytes of a longdouble have no meaning."""
    return (a == b).all() and (np.signbit(a) == np.signbit(b)).all()


# ---- numerical_diff


class TestDiff:
    def test_of_a_number(self):
        found = nf.numerical_diff(lambda x: 0.01 * x**2 + 0.1 * x, 5)
        assert_close(found, 0.2, scale=1.0, kind="difference")
        assert_close(np.float64(nf.numerical_diff(math.sin, 1.0)), np.cos(1.0), scale=1.0, kind="difference")

    @pytest.mark.parametrize("x", [3, 3.0, np.int8(3), np.float64(3), np.float32(3), np.array(3), np.array(3.0)])
    def test_of_a_number_is_a_float(self, x):
        seen = []
        found = nf.numerical_diff(lambda at: seen.append(at) or at * at, x, None)
        assert type(found) is float
        assert {type(at) for at in seen} == {float}
        kind = np.float32 if getattr(x, "dtype", None) == np.float32 else np.float64
        assert_close(kind(found), 6.0, scale=9.0, kind="best difference")

    @pytest.mark.parametrize("x", [[1, 2, 3], [1.0, 2.0, 3.0], (1, 2, 3), np.array([1, 2, 3], np.uint8)])
    def test_of_each_element(self, x):
        found = nf.numerical_diff(lambda x: x**3, x)
        assert found.dtype == np.float64
        assert_close(found, np.array([3.0, 12.0, 27.0]), scale=27.0, kind="difference")

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
    def test_keeps_the_dtype_of_an_array(self, dtype):
        x = np.array([[0.5, -2.0], [0.0, 4.0]], dtype)
        before = x.copy()
        found = nf.numerical_diff(lambda x: x**2 + x, x, h=None)
        assert found.dtype == dtype
        assert_close(found, 2 * before + 1, scale=20.0, kind="best difference")
        assert same_bits(x, before)

    def test_float32_with_a_given_h_warns_at_the_callers_line(self):
        x = np.array([1.0, 2.0], np.float32)
        with pytest.warns(UserWarning, match="^x is float32: rounding may be larger than the differences") as caught:
            nf.numerical_diff(lambda x: x**2, x)
        assert [w.filename for w in caught] == [__file__]

    def test_h_is_the_distance_between_the_rounded_points(self):
        """With float32 at 1000, an h of 1e-3 becomes 9.8e-4, 2 % less."""
        with pytest.warns(UserWarning, match="float32"):
            found = nf.numerical_diff(lambda x: x * 2, np.array([1000.0], np.float32), h=1e-3)
        assert found == [2.0]

    def test_a_number_may_give_an_array(self):
        found = nf.numerical_diff(lambda x: np.array([x, x**2]), 3.0)
        assert_close(found, np.array([1.0, 6.0]), scale=9.0, kind="difference")

    @pytest.mark.parametrize("give", [np.uint8, np.int64, bool, np.bool_])
    def test_values_that_are_no_floats(self, give):
        assert nf.numerical_diff(lambda x: give(x > 2), 2.0, h=0.25) == 2.0
        assert nf.numerical_diff(lambda x: give(x < 2), 2.0, h=0.25) == -2.0, "unsigned values do not wrap"

    def test_keeps_nan(self):
        assert math.isnan(nf.numerical_diff(lambda x: math.nan, 1.0))

    def test_f_gets_separate_arrays(self):
        def f(x):
            x *= 2
            return x

        x = np.array([1.0, 2.0])
        assert_close(nf.numerical_diff(f, x), np.array([2.0, 2.0]), scale=2.0, kind="difference")
        assert (x == [1, 2]).all()

    def test_empty(self):
        assert nf.numerical_diff(lambda x: x, np.empty((0, 2))).shape == (0, 2)

    @pytest.mark.parametrize(
        ("x", "options", "error", "message"),
        [
            (1.0, {"h": 0}, ValueError, "h must be a finite number in (0.0, inf), got 0.0"),
            (1.0, {"h": -1e-4}, ValueError, "h must be a finite number in (0.0, inf), got -0.0001"),
            (1.0, {"h": math.nan}, ValueError, "h must be a finite number in (0.0, inf), got nan"),
            (1.0, {"h": "small"}, TypeError, "h must be a number, got 'small' (str)"),
            (1.0, {"h": [1e-4]}, TypeError, "h must be a number, got [0.0001] (list)"),
            (1.0, {"h": True}, TypeError, "h must be a number, got True (bool)"),
            (5.0, {"h": 1e-50}, ValueError, "h must change x, but x = 5.0 (float64) moved by 1e-50 is 5.0: h=None"),
            ([1.0, 1e20], {}, ValueError, "h must change x, but x[1] = 1e+20 (float64) moved by 0.0001 is 1e+20"),
            ("5", {}, TypeError, "x must hold real numbers, got '5' (str)"),
            (1j, {}, TypeError, "x must hold real numbers, got 1j (complex)"),
            (None, {}, TypeError, "x must hold real numbers, got None (NoneType)"),
            ([True], {}, TypeError, "x must hold real numbers, got [True] (list)"),
            ([[1.0], [1.0, 2.0]], {}, ValueError, "x must be a rectangular array of numbers"),
            (math.nan, {}, ValueError, "x must be finite, got NaN or infinity"),
            ([1.0, math.inf], {}, ValueError, "x must be finite, got NaN or infinity at index 1"),
        ],
    )  # fmt: skip
    def test_refusals(self, x, options, error, message):
        with refuses(error, message):
            nf.numerical_diff(lambda x: x, x, **options)

    @pytest.mark.parametrize(
        ("f", "error", "message"),
        [
            (3, TypeError, "f must be callable, got 3 (int)"),
            (lambda x: "a", TypeError, "the result of f must hold real numbers, got 'a' (str)"),
            (lambda x: None, TypeError, "the result of f must hold real numbers, got None (NoneType)"),
            (lambda x: x * 1j, TypeError, "the result of f must hold real numbers, got"),
            (np.sum, ValueError, "f must return an array of shape (2,), got ()"),
            (lambda x: x[:1], ValueError, "f must return an array of shape (2,), got (1,)"),
        ],
    )
    def test_refuses_functions(self, f, error, message):
        with refuses(error, message):
            nf.numerical_diff(f, [1.0, 2.0])

    def test_refuses_values_of_two_shapes(self):
        with refuses(ValueError, "f must return an array of shape (2,), got (1,)"):
            nf.numerical_diff(lambda x: [x] * (1 + (x > 1)), 1.0)


# ---- numerical_gradient

ARRAYS = {
    "0-d": lambda dtype: np.array(0.5, dtype),
    "empty": lambda dtype: np.empty((2, 0, 3), dtype),
    "1-d": lambda dtype: np.linspace(-1, 1, 5).astype(dtype),
    "3-d": lambda dtype: np.linspace(-1, 1, 24).astype(dtype).reshape(2, 3, 4),
    "transposed": lambda dtype: np.linspace(-1, 1, 6).astype(dtype).reshape(2, 3).T,
    "every other": lambda dtype: np.linspace(-1, 1, 20).astype(dtype).reshape(4, 5)[::2, ::-2],
    "backwards": lambda dtype: np.linspace(-1, 1, 9).astype(dtype)[::-2],
    "of Fortran": lambda dtype: np.asfortranarray(np.linspace(-1, 1, 6).astype(dtype).reshape(2, 3)),
    "swapped bytes": lambda dtype: np.linspace(-1, 1, 5).astype(np.dtype(dtype).newbyteorder()),
}
DTYPES = [np.float16, np.float32, np.float64, np.longdouble]


def sines(x):
    return np.sum(np.sin(np.asarray(x, np.longdouble)) * 2)


def slopes_of_sines(x):
    return 2 * np.cos(np.asarray(x, np.longdouble))


@pytest.mark.parametrize("method", ["central", "forward"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ARRAYS)
def test_gradient_of_any_array(kind, dtype, method):
    x = ARRAYS[kind](dtype)
    before = x.copy()
    found = nf.numerical_gradient(sines, x, None, method)
    assert found.shape == x.shape
    assert found.dtype == dtype
    assert found.dtype.isnative
    assert same_bits(x, before)
    kind = "best difference" if method == "central" else "forward difference"
    assert_close(found, slopes_of_sines(before), scale=np.full(x.shape, 2.0), kind=kind)


@given(
    x=npst.arrays(
        st.sampled_from([np.float64, np.dtype(">f8"), np.int64, np.uint8]),
        npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements=st.integers(0, 20),
    ),
    order=st.sampled_from("CF"),
    step=st.sampled_from([1, 2, -1]),
    vectorized=st.booleans(),
)
def test_gradient_of_any_view(x, order, step, vectorized):
    x = np.asarray(x, order=order)[(slice(None, None, step),) * x.ndim]
    before = x.tobytes()

    def f(x):
        return np.sum(np.sin(x).reshape(len(x), -1), axis=1) if vectorized else np.sum(np.sin(x))

    found = nf.numerical_gradient(f, x, vectorized=vectorized)
    assert x.tobytes() == before
    assert found.dtype == np.float64
    # the error of a sum of up to 64 terms is up to 64 times larger
    assert_close(found, np.cos(x.astype(np.float64)), scale=np.full(x.shape, 64.0), kind="difference")


def test_gradient_is_the_book_s():
    for at, expected in (([3.0, 4.0], [6, 8]), ([0.0, 2.0], [0, 4]), ([3.0, 0.0], [6, 0])):
        found = nf.numerical_gradient(squares, np.array(at))
        assert_close(found, np.array(expected, float), scale=np.full(2, 10.0), kind="difference")


@pytest.mark.parametrize("x", [np.array([3, 4]), [3, 4], (3, 4), np.array([3, 4], np.uint8)])
def test_integers_become_float64_in_a_copy(x):
    found = nf.numerical_gradient(squares, x)
    assert found.dtype == np.float64
    assert_close(found, np.array([6.0, 8.0]), scale=np.full(2, 10.0), kind="difference")
    assert list(x) == [3, 4]


def test_a_writable_array_is_what_f_may_look_at():
    class Weights(np.ndarray):
        pass

    base = np.array([3.0, 0.0, 4.0, 0.0])
    for x in (base.copy(), base[::2], base.copy().view(Weights), base.astype(">f8"), base.reshape(2, 2).T):
        seen = []
        found = nf.numerical_gradient(lambda _, x=x, seen=seen: seen.append(_) or squares(x), x)
        assert all(argument is x for argument in seen)
        assert type(found) is np.ndarray
        assert_close(found, 2 * np.asarray(x, float), scale=np.full(x.shape, 8.0), kind="difference")
    assert (base == [3, 0, 4, 0]).all()


def test_a_file_mapped_into_memory_is_changed_in_place(tmp_path):
    x = np.memmap(tmp_path / "x", np.float64, "w+", shape=(2,))
    x[:] = [3, 4]
    found = nf.numerical_gradient(lambda _: squares(np.asarray(x)), x)
    assert_close(found, np.array([6.0, 8.0]), scale=np.full(2, 10.0), kind="difference")


def test_a_read_only_array_is_copied():
    x = np.array([3.0, 4.0])
    x.flags.writeable = False
    found = nf.numerical_gradient(squares, x)
    assert_close(found, np.array([6.0, 8.0]), scale=np.full(2, 10.0), kind="difference")
    row = np.broadcast_to(3.0, (2, 2))
    assert_close(
        nf.numerical_gradient(squares, row), np.full((2, 2), 6.0), scale=np.full((2, 2), 36.0), kind="difference"
    )


AWKWARD = [0.1, -0.0, 5e-324, 1e-300, 1 / 3, -1e5]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("call", range(13))
def test_the_array_is_restored_bit_for_bit_when_f_raises(error, call):
    x = np.array(AWKWARD)
    before, calls = x.tobytes(), 0

    def f(_):
        nonlocal calls
        calls += 1
        if calls > call:
            raise error
        return 0.0

    expected = pytest.raises(error) if call < 12 else contextlib.nullcontext()
    with expected:
        nf.numerical_gradient(f, x)
    assert calls == min(call + 1, 12)
    assert x.tobytes() == before


@pytest.mark.usefixtures("listening")
def test_a_signal_in_the_middle_restores_the_array():
    """Not an exception raised by `f`, but a signal that arrives at any time."""
    x = np.array(AWKWARD * 100)
    before = x.tobytes()
    main = threading.get_ident()
    for delay in np.linspace(0.001, 0.03, 20):
        timer = threading.Timer(delay, lambda: signal.pthread_kill(main, signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            while True:
                nf.numerical_gradient(lambda x: 0.0, x)
        timer.join()
        assert x.tobytes() == before


def make_net(dtype, activation="tanh"):
    layers = [nf.Dense(5, activation), nf.Dense(3, "softmax")]
    return nf.Sequential(layers, input_shape=4, dtype=dtype, seed=0)


def make_data(n=7):
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, 4)), rng.integers(0, 3, n)


def test_the_book_s_way_to_the_gradient_of_a_network():
    net, (x, y) = make_net("float64"), make_data()
    before = net.flat_params.tobytes()
    exact = net.gradient(x, y)
    for name in net.params:
        found = nf.numerical_gradient(lambda _: net.loss(x, y), net.params[name])
        assert_close(found, exact[name], scale=np.ones(found.shape), kind="difference")
        assert np.abs(found).max() > 0.01, "it is not the gradient of a copy"
    assert net.flat_params.tobytes() == before


def test_a_float32_network_warns_and_an_h_that_fits_works():
    net, (x, y) = make_net("float32"), make_data()
    message = r"^x is float32: rounding may be larger than the differences; use float64, or h=None for one that fits$"
    with pytest.warns(UserWarning, match=message) as caught:
        found = nf.numerical_gradient(lambda _: net.loss(x, y), net.params["W1"])
    line = sys._getframe().f_lineno - 1
    assert [(w.filename, w.lineno) for w in caught] == [(__file__, line)]
    assert found.dtype == np.float32
    exact = net.gradient(x, y)
    for name in net.params:
        found = nf.numerical_gradient(lambda _: net.loss(x, y), net.params[name], None)
        assert_close(found, exact[name], scale=np.ones(found.shape), kind="best difference")


@pytest.mark.parametrize("function", [nf.numerical_jacobian, nf.numerical_gradient])
@pytest.mark.parametrize("vectorized", [False, True])
def test_the_warning_of_float32_names_the_callers_line(function, vectorized):
    x = np.ones(2, np.float16) * 2
    with pytest.warns(UserWarning, match="^x is float16") as caught:
        function(lambda x: x.reshape(-1, 2)[:, 0] if vectorized else x[0], x, 0.5, vectorized=vectorized)
    assert [w.filename for w in caught] == [__file__]


def test_no_warning_of_what_cannot_be_done():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with refuses(ValueError, "h must change x, but x[0] = 1.0 (float16) moved by 0.0001 is 1.0"):
            nf.numerical_gradient(squares, np.ones(2, np.float16))


def test_longdouble_keeps_its_digits():
    if np.finfo(np.longdouble).eps == np.finfo(np.float64).eps:
        pytest.skip("longdouble is float64 here")
    x = np.array([1, 2], np.longdouble) / 3
    found = nf.numerical_gradient(sines, x, None)
    assert_close(found, slopes_of_sines(x), scale=np.ones(2), kind="best difference")
    found = nf.numerical_gradient(lambda x: 2 * np.sin(x).sum(axis=1), x, None, vectorized=True)
    assert_close(found, slopes_of_sines(x), scale=np.ones(2), kind="best difference")


def test_each_element_has_an_h_that_fits_it():
    x = np.array([1e-3, 1e9, -1e-9, -1e30])
    found = nf.numerical_gradient(lambda x: np.sum(x * [1.0, 1e-9, 1.0, 1e-30]), x, None)
    assert_close(found, np.array([1.0, 1e-9, 1.0, 1e-30]), kind="difference")


def test_the_width_of_h_in_float16_is_exact():
    x = np.linspace(0.01, 0.1, 100).astype(np.float16)
    assert (nf.numerical_gradient(lambda x: np.sum(x, dtype=np.float64), x, None) == 1).all()
    assert (nf.numerical_diff(lambda x: x, x, None) == 1).all()


def test_forward_asks_once_for_the_value_here():
    x, points = np.array([1.0, 2.0, 3.0]), []
    found = nf.numerical_gradient(lambda x: points.append(x.copy()) or squares(x), x, 1e-6, "forward")
    assert len(points) == 4
    assert (points[0] == x).all()
    for i, point in enumerate(points[1:]):
        assert np.flatnonzero(point != x).tolist() == [i]
        assert point[i] > x[i]
    assert_close(found, 2 * x + 1e-6, scale=np.full(3, 14.0), kind="difference")  # the error of the formula is h


def test_central_is_central():
    found = nf.numerical_gradient(lambda x: np.sum(x**3), np.array([2.0]), 0.5)
    assert found == [12.25]
    assert nf.numerical_gradient(lambda x: np.sum(x**3), np.array([2.0]), 0.5, "forward") == [15.25]


@pytest.mark.parametrize("value", [np.array([5.0]), np.array([[5.0]]), [5.0], 5, True, np.float32(5), np.array(5)])
def test_f_may_give_its_number_in_any_wrapping(value):
    found = nf.numerical_gradient(lambda x: value, np.array([1.0, 2.0]))
    assert (found == 0).all()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("5", "f must return one real number, got '5' (str)"),
        (None, "f must return one real number, got None (NoneType)"),
        (1j, "f must return one real number, got 1j (complex)"),
        (np.ones(2), "f must return one real number, got an array of shape (2,) and dtype float64"),
        ([], "f must return one real number, got [] (list)"),
        ({}, "f must return one real number, got {} (dict)"),
    ],
)
@pytest.mark.parametrize("method", ["central", "forward"])
def test_f_must_give_one_number(value, message, method):
    x = np.array([1.0, 2.0])
    with refuses(TypeError, message):
        nf.numerical_gradient(lambda x: value, x, method=method)
    assert (x == [1, 2]).all()


def test_values_that_are_not_finite_make_slopes_that_are_not():
    found = nf.numerical_gradient(lambda x: math.nan if x[0] > 1 else x[1], np.array([1.0, 2.0]))
    assert np.isnan(found[0])
    assert_close(found[1], 1.0, scale=2.0, kind="difference")


@pytest.mark.parametrize("function", [nf.numerical_gradient, nf.numerical_jacobian])
@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        ([1.0], {"method": "backward"}, ValueError, "method must be one of 'central', 'forward', got 'backward'"),
        ([1.0], {"method": None}, TypeError, "method must be one of 'central', 'forward', got None (NoneType)"),
        ([1.0], {"h": 0}, ValueError, "h must be a finite number in (0.0, inf), got 0.0"),
        ([1.0], {"h": "a"}, TypeError, "h must be a number, got 'a' (str)"),
        ([1.0], {"h": 1j}, TypeError, "h must be a number, got 1j (complex)"),
        ([[1, 2.0], [3, 1e20]], {}, ValueError, "h must change x, but x[1, 1] = 1e+20 (float64) moved by 0.0001"),
        (np.float64(1), {"h": 1e-20}, ValueError, "h must change x, but x = 1.0 (float64) moved by 1e-20 is 1.0"),
        ([1.7e308], {"h": 1e307}, ValueError, "h must change x, but x[0] = 1.7e+308 (float64) moved by 1e+307 is inf"),
        ([[1, math.nan]], {}, ValueError, "x must be finite, got NaN or infinity at index (0, 1)"),
        (math.inf, {}, ValueError, "x must be finite, got NaN or infinity"),
        (["a"], {}, TypeError, "x must hold real numbers, got ['a'] (list)"),
        ([1j], {}, TypeError, "x must hold real numbers, got [1j] (list)"),
        (np.ma.masked_array([1.0, 2.0], [True, False]), {}, ValueError, "x must not have masked values"),
    ],
)  # fmt: skip
def test_refusals(function, vectorized, x, options, error, message):
    called = []
    with refuses(error, message):
        function(called.append, x, vectorized=vectorized, **options)
    assert not called


@pytest.mark.parametrize("function", [nf.numerical_gradient, nf.numerical_jacobian])
def test_more_refusals(function):
    with refuses(TypeError, "vectorized must be True or False, got 1 (int)"):
        function(squares, [1.0], vectorized=1)
    with refuses(TypeError, "f must be callable, got 'f' (str)"):
        function("f", [1.0])


# ---- many points at once


def rows_of_sines(stack):
    return 2 * np.sin(stack).reshape(len(stack), -1).sum(axis=1)


@pytest.mark.parametrize("method", ["central", "forward"])
@pytest.mark.parametrize("kind", ARRAYS)
def test_vectorized_gives_the_same(kind, method):
    x = ARRAYS[kind](np.float64)
    before = x.tobytes()
    found = nf.numerical_gradient(rows_of_sines, x, None, method, vectorized=True)
    one = nf.numerical_gradient(lambda x: rows_of_sines(x[None])[0], x, None, method)
    assert found.shape == x.shape
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, one)
    assert x.tobytes() == before


@pytest.mark.parametrize("method", ["central", "forward"])
@pytest.mark.parametrize("points", [1, 2, 3, 7, 100])
def test_large_stacks_come_in_parts(points, method, monkeypatch):
    x = np.linspace(-1, 1, 7)
    whole = nf.numerical_gradient(rows_of_sines, x, method=method, vectorized=True)
    monkeypatch.setattr(functions, "STACK_BYTES", points * x.nbytes + 7)
    sizes = []
    parts = nf.numerical_gradient(
        lambda stack: sizes.append(stack.shape) or rows_of_sines(stack), x, method=method, vectorized=True
    )
    assert max(size for size, _ in sizes) == min(points, 7)
    assert {width for _, width in sizes} == {7}
    assert sum(size for size, _ in sizes) == (14 if method == "central" else 8)
    np.testing.assert_array_equal(parts, whole)


def test_a_point_larger_than_a_part(monkeypatch):
    monkeypatch.setattr(functions, "STACK_BYTES", 1)
    found = nf.numerical_gradient(rows_of_sines, np.zeros((2, 2)), vectorized=True)
    assert_close(found, np.full((2, 2), 2.0), scale=np.full((2, 2), 8.0), kind="difference")


@pytest.mark.parametrize("method", ["central", "forward"])
def test_a_function_may_change_its_stack(method):
    def f(stack):
        stack *= stack
        return stack.sum(axis=1)

    x = np.array([3.0, 4.0])
    found = nf.numerical_gradient(f, x, 1e-6, method, vectorized=True)
    error = 1e-6 * (method == "forward")
    assert_close(found, np.array([6.0, 8.0]) + error, scale=np.full(2, 25.0), kind="difference")
    assert (x == [3, 4]).all()


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda stack: stack, "f must return values of shape (2,) for 2 points, got shape (2, 2)"),
        (lambda stack: 0.0, "f must return values of shape (2,) for 2 points, got shape ()"),
        (lambda stack: stack[:1, 0], "f must return values of shape (2,) for 2 points, got shape (1,)"),
        (np.sum, "f must return values of shape (2,) for 2 points, got shape ()"),
        (lambda stack: stack.sum(axis=1)[None], "f must return values of shape (2,) for 2 points, got shape (1, 2)"),
    ],
)
def test_vectorized_needs_a_number_for_each_point(f, message):
    with refuses(ValueError, message):
        nf.numerical_gradient(f, [1.0, 2.0], vectorized=True)


def test_vectorized_values_may_be_a_column():
    found = nf.numerical_gradient(lambda stack: stack.sum(axis=1, keepdims=True), [1.0, 2.0], vectorized=True)
    assert_close(found, np.ones(2), scale=np.full(2, 3.0), kind="difference")


@pytest.mark.parametrize("value", [None, "aa", [1j, 1j]])
def test_vectorized_needs_real_numbers(value):
    with refuses(TypeError, "the result of f must hold real numbers, got"):
        nf.numerical_gradient(lambda stack: value, [1.0, 2.0], vectorized=True)


# ---- Jacobians


def jacobian_of(shape_in, shape_out):
    """Return a function from one shape to another, and its derivative."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((*shape_out, *shape_in))

    def f(x):
        return np.sin(np.tensordot(a, x, len(shape_in)) if shape_in else a * x)

    def slope(x):
        inner = np.tensordot(a, x, len(shape_in)) if shape_in else a * x
        return np.cos(inner).reshape((*shape_out, *[1] * len(shape_in))) * a

    return f, slope


SHAPES = [(), (3,), (1,), (2, 3), (0,), (2, 0)]


@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("method", ["central", "forward"])
@pytest.mark.parametrize("shape_out", SHAPES)
@pytest.mark.parametrize("shape_in", SHAPES)
def test_jacobian_has_the_shapes_of_both(shape_in, shape_out, method, vectorized):
    f, slope = jacobian_of(shape_in, shape_out)
    x = np.random.default_rng(1).standard_normal(shape_in)
    before = np.array(x)
    called = (
        (lambda stack: np.array([f(point) for point in stack]).reshape(len(stack), *shape_out)) if vectorized else f
    )
    found = nf.numerical_jacobian(called, x, None, method, vectorized=vectorized)
    assert found.shape == (*shape_out, *shape_in)
    assert found.dtype == np.float64
    kind = "difference" if method == "central" else "forward difference"
    assert_close(found, slope(before), scale=np.full(found.shape, 10.0), kind=kind)
    assert np.asarray(x).tobytes() == before.tobytes()


def test_jacobian_of_a_number_is_the_gradient():
    x = np.array([[0.5, 1.0, -2.0]])
    np.testing.assert_array_equal(nf.numerical_jacobian(roughly, x), nf.numerical_gradient(roughly, x))


def test_jacobian_of_an_array_that_f_gives_again_and_again():
    """It returns the same object each time, or the argument itself."""
    out = np.empty(2)
    found = nf.numerical_jacobian(lambda x: np.multiply(x, 3, out=out), np.array([1.0, 2.0]))
    assert_close(found, 3 * np.eye(2), scale=np.full((2, 2), 6.0), kind="difference")
    found = nf.numerical_jacobian(lambda x: x, np.array([1.0, 2.0]))
    assert_close(found, np.eye(2), scale=np.full((2, 2), 2.0), kind="difference")


def growing(x):
    return np.ones(1 if np.sum(x) > 1 else 2)


@pytest.mark.parametrize("method", ["central", "forward"])
def test_jacobian_needs_one_shape(method):
    with refuses(ValueError, "f must return arrays of the same shape, got (1,) and (2,)"):
        nf.numerical_jacobian(growing, [1.0], method=method)


@pytest.mark.parametrize("method", ["central", "forward"])
def test_jacobian_needs_one_shape_of_all_stacks(method, monkeypatch):
    monkeypatch.setattr(functions, "STACK_BYTES", 8)
    with refuses(ValueError, "f must return arrays of the same shape, got (1,) and (2,)"):
        nf.numerical_jacobian(lambda stack: growing(stack)[None], [1.0], method=method, vectorized=True)
    with refuses(ValueError, "f must return arrays of the same shape, got (1,) and (2,)"):
        nf.numerical_jacobian(
            lambda stack: np.ones((1, 2 - (stack[0, 0] == 1))), [1.0, 2.0], method="central", vectorized=True
        )


@pytest.mark.parametrize("value", [None, "a", 1j, {}])
def test_jacobian_needs_numbers(value):
    with refuses(TypeError, "the result of f must hold real numbers, got"):
        nf.numerical_jacobian(lambda x: value, [1.0])


# ---- compiled functions

SOURCE = """
#include <math.h>
#include <time.h>

static void sleep_a_millisecond(void) {
    struct timespec t = {0, 1000000};
    nanosleep(&t, 0);
}
double cubic(int n, double *x, void *user_data) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i] * x[i] * x[(i + 1) % n] + x[i];
    return sum;
}
double scaled(int n, double *x, void *user_data) { return *(double *)user_data * cubic(n, x, 0); }
double nothing(int n, double *x, void *user_data) { return user_data ? NAN : x[0]; }
double slow(int n, double *x, void *user_data) {
    sleep_a_millisecond();
    return x[0];
}
double patient(int n, double *x, void *user_data) { /* waits until somebody sets a flag */
    for (int i = 0; i < 20000; i++) {
        if (*(volatile int *)user_data) return x[0];
        sleep_a_millisecond();
    }
    return NAN;
}
double crowded(int n, double *x, void *user_data) { /* counts callers, and the most at once */
    int *count = user_data;
    int now = __atomic_add_fetch(&count[0], 1, __ATOMIC_SEQ_CST);
    int most = __atomic_load_n(&count[1], __ATOMIC_SEQ_CST);
    while (now > most && !__atomic_compare_exchange_n(&count[1], &most, now, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
    sleep_a_millisecond();
    __atomic_sub_fetch(&count[0], 1, __ATOMIC_SEQ_CST);
    return x[0];
}
double tiny(int n, double *x, void *user_data) { /* a subnormal number, if they are kept */
    volatile double least = 1e-310;
    return least * 1.0 > 0 ? x[0] : NAN;
}
float single(int n, float *x, void *user_data) { return x[0]; }
"""


def cubic(x):
    """The same operations as in C, in the same order."""
    values, total = x.ravel().tolist(), 0.0
    for value, following in zip(values, values[1:] + values[:1], strict=True):
        total += value * value * following + value
    return total


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    if os.name == "nt" or shutil.which(compiler[0]) is None:
        pytest.skip(f"there is no C compiler {compiler[0]!r}")
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "functions.c").write_text(SOURCE)
    subprocess.run(
        [*compiler, "-O2", "-ffp-contract=off", "-fPIC", "-shared", "functions.c", "-o", "functions.so", "-lm"],
        cwd=folder, check=True,
    )  # fmt: skip
    return ctypes.CDLL(str(folder / "functions.so"))


DOUBLES = ctypes.POINTER(ctypes.c_double)
ARGUMENTS = (ctypes.c_int, DOUBLES, ctypes.c_void_p)


def declared(f):
    f.restype, f.argtypes = ctypes.c_double, ARGUMENTS
    return f


def pointer_to(data):
    return ctypes.cast(ctypes.byref(data), ctypes.c_void_p)


@pytest.fixture
def low_level():
    return pytest.importorskip("scipy").LowLevelCallable


@pytest.mark.parametrize("method", ["central", "forward"])
@pytest.mark.parametrize("kind", ARRAYS)
def test_compiled_gives_the_bits_of_python(library, kind, method):
    x = ARRAYS[kind](np.float64)
    before = x.tobytes()
    for h in (1e-4, None):
        found = nf.numerical_gradient(declared(library.cubic), x, h, method)
        assert found.dtype == np.float64
        assert found.shape == x.shape
        np.testing.assert_array_equal(found, nf.numerical_gradient(cubic, np.array(x), h, method))
    assert x.tobytes() == before


def test_compiled_takes_lists_and_integers(library):
    found = nf.numerical_gradient(declared(library.cubic), [[1, 2], [3, 4]])
    np.testing.assert_array_equal(found, nf.numerical_gradient(cubic, [[1, 2], [3, 4]]))


@pytest.mark.parametrize("method", ["central", "forward"])
def test_compiled_gives_the_same_bits_on_any_number_of_threads(library, method):
    x = np.random.default_rng(0).standard_normal(3000)
    found = []
    for threads in (1, 2, 3, 100):
        with nf.num_threads(threads):
            found.append(nf.numerical_gradient(declared(library.cubic), x, method=method).tobytes())
    assert len(set(found)) == 1


def test_low_level_callable(library, low_level):
    x = np.array([1.0, 2.0, 3.0])
    found = nf.numerical_gradient(low_level(declared(library.cubic)), x)
    np.testing.assert_array_equal(found, nf.numerical_gradient(cubic, x))
    found = nf.numerical_gradient(low_level(declared(library.nothing)), x)
    assert np.isfinite(found).all(), "no user data is a null pointer"


def test_low_level_callable_with_user_data(library, low_level):
    x, factor = np.array([1.0, 2.0, 3.0]), ctypes.c_double(-2.0)
    f = low_level(declared(library.scaled), pointer_to(factor))
    np.testing.assert_array_equal(nf.numerical_gradient(f, x), nf.numerical_gradient(lambda x: -2 * cubic(x), x))
    f = low_level(library.scaled, pointer_to(factor), SIGNATURE)
    np.testing.assert_array_equal(nf.numerical_gradient(f, x), nf.numerical_gradient(lambda x: -2 * cubic(x), x))


def test_numba_cfunc(library, monkeypatch):
    """A stand-in with the two attributes of a numba cfunc."""
    f = types.SimpleNamespace(ctypes=declared(library.cubic), address=1)
    x = np.array([1.0, 2.0, 3.0])
    monkeypatch.delitem(sys.modules, "numba", raising=False)
    with refuses(TypeError, "f must be callable, got"):
        nf.numerical_gradient(f, x)
    monkeypatch.setitem(sys.modules, "numba", types.ModuleType("numba"))
    np.testing.assert_array_equal(nf.numerical_gradient(f, x), nf.numerical_gradient(cubic, x))


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_double, *ARGUMENTS)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_callback_of_python_code(threads):
    @CALLBACK
    def f(n, x, user_data):
        assert user_data is None
        return cubic(np.array(x[:n]))

    x = np.linspace(-1, 1, 200)
    with nf.num_threads(threads):
        np.testing.assert_array_equal(nf.numerical_gradient(f, x), nf.numerical_gradient(cubic, x))


def test_compiled_runs_without_the_gil(library, low_level):
    """It waits for a flag that another Python thread sets."""
    flag = ctypes.c_int(0)
    f = low_level(declared(library.patient), pointer_to(flag))
    timer = threading.Timer(0.05, lambda: setattr(flag, "value", 1))
    timer.start()
    found = nf.numerical_gradient(f, [1.0, 2.0])
    timer.join()
    assert_close(found, np.array([1.0, 0.0]), scale=np.ones(2), kind="difference")


@pytest.mark.parametrize("threads", [1, 2])
def test_compiled_runs_on_threads(library, low_level, threads):
    count = (ctypes.c_int * 2)()
    f = low_level(declared(library.crowded), pointer_to(count))
    with nf.num_threads(threads):
        found = nf.numerical_gradient(f, np.arange(100.0))
    assert list(count) == [0, threads]
    assert_close(found, np.eye(100)[0], scale=np.ones(100), kind="difference")


def test_compiled_keeps_subnormal_numbers(library):
    with nf.num_threads(2):
        assert np.isfinite(nf.numerical_gradient(declared(library.tiny), np.arange(100.0))).all()


def test_forward_calls_a_compiled_function_once_for_the_value_here():
    points = []

    @CALLBACK
    def f(n, x, user_data):
        points.append(x[:n])
        return x[0]

    with nf.num_threads(1):
        nf.numerical_gradient(f, [1.0, 2.0], 0.5, "forward")
    assert points == [[1.0, 2.0], [1.5, 2.0], [1.0, 2.5]]


@pytest.mark.measures
@pytest.mark.usefixtures("listening")
def test_ctrl_c_ends_a_compiled_function(library):
    x = np.zeros(50_000)  # takes nearly a minute
    main = threading.get_ident()
    sent = []

    def interrupt():
        sent.append(time.monotonic())
        signal.pthread_kill(main, signal.SIGINT)

    timer = threading.Timer(0.2, interrupt)
    with nf.num_threads(2), pytest.raises(KeyboardInterrupt):
        timer.start()
        nf.numerical_gradient(declared(library.slow), x)
    assert time.monotonic() - sent[0] < 5
    timer.join()
    np.testing.assert_array_equal(
        nf.numerical_gradient(declared(library.cubic), [1.0, 2.0]), nf.numerical_gradient(cubic, [1.0, 2.0])
    )


@pytest.mark.parametrize(
    ("restype", "argtypes", "got"),
    [
        (ctypes.c_int, None, "got restype c_int and argtypes ()"),
        (ctypes.c_double, None, "got restype c_double and argtypes ()"),
        (None, ARGUMENTS, "got restype None and argtypes (c_int, LP_c_double, c_void_p)"),
        (ctypes.c_float, ARGUMENTS, "got restype c_float and argtypes ("),
        (ctypes.c_double, (ctypes.c_int, DOUBLES), "got restype c_double and argtypes (c_int, LP_c_double)"),
        (ctypes.c_double, (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p), "got restype c_double and argtypes (c_int"),
        (ctypes.c_double, (ctypes.c_int, ctypes.POINTER(ctypes.c_float), ctypes.c_void_p), "got restype c_double and"),
        (ctypes.c_double, (ctypes.c_short, DOUBLES, ctypes.c_void_p), "got restype c_double and argtypes (c_short, LP"),
        (ctypes.c_double, (ctypes.c_int, DOUBLES, ctypes.c_double), "got restype c_double and argtypes (c_int, LP"),
        (ctypes.c_double, (DOUBLES, ctypes.c_int, ctypes.c_void_p), "got restype c_double and argtypes (LP_c_d"),
    ],
)  # fmt: skip
def test_ctypes_signatures_that_are_refused(library, restype, argtypes, got):
    f = library["cubic"]  # a separate function object
    f.restype, f.argtypes = restype, argtypes
    with refuses(TypeError, f"f must have the signature {SIGNATURE}, {got}") as caught:
        nf.numerical_gradient(f, [1.0])
    assert str(caught.value).endswith(": set them to c_double and (c_int, POINTER(c_double), c_void_p)")


@pytest.mark.parametrize("signature", ["double (int, double *)", "double (double)", "float (int, float *, void *)"])
def test_signatures_of_low_level_callables_that_are_refused(library, low_level, signature):
    f = low_level(library["cubic"], signature=signature)
    with refuses(TypeError, f"f must have the signature {SIGNATURE}, got {signature}"):
        nf.numerical_gradient(f, [1.0])


def test_what_wants_the_gil_is_refused(library, low_level):
    f = declared(ctypes.PyDLL(library._name)["cubic"])
    for given_f in (f, low_level(f)):
        with refuses(
            TypeError, "f must run without the GIL, got a function of a ctypes.PyDLL: load it with ctypes.CDLL"
        ):
            nf.numerical_gradient(given_f, [1.0])


def test_null_pointers_are_refused():
    with refuses(ValueError, "f must point to a function, got a null pointer"):
        nf.numerical_gradient(CALLBACK(), [1.0])
    with refuses(ValueError, "f must point to a function, got a null pointer"):
        nf.numerical_gradient(CALLBACK(), [])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble])
def test_compiled_takes_float64(library, dtype):
    if np.dtype(dtype) == np.float64:
        pytest.skip("longdouble is float64 here")
    with refuses(TypeError, f"x must be float64 for a compiled function, got {np.dtype(dtype)}"):
        nf.numerical_gradient(declared(library.cubic), np.ones(2, dtype), 0.5)


def test_compiled_takes_one_point_and_gives_one_number(library):
    with refuses(ValueError, "vectorized must be False for a compiled function, which takes one point"):
        nf.numerical_gradient(declared(library.cubic), [1.0], vectorized=True)
    with refuses(TypeError, "f must be a Python function for a Jacobian: a compiled function returns one number"):
        nf.numerical_jacobian(declared(library.cubic), [1.0])


# ---- gradient_descent


def bowl(x):
    return x[0] ** 2 + x[1] ** 2


class TestDescent:
    def test_the_book_s_example(self):
        found = nf.gradient_descent(bowl, [-3.0, 4.0], learning_rate=0.1, steps=100)
        assert_close(found.x, np.array([-3.0, 4.0]) * 0.8**100, scale=np.ones(2), kind="difference")
        assert (found.steps, found.converged, found.diverged) == (100, False, False)
        assert found.reason == "all 100 steps were taken"

    def test_a_learning_rate_that_is_too_large(self):
        found = nf.gradient_descent(bowl, [-3.0, 4.0], learning_rate=10.0, steps=100)
        assert (found.steps, found.converged, found.diverged) == (100, False, True)
        assert re.fullmatch(
            r"diverged: after 100 steps f has risen from 25 to 1\.\d+e\+25\d; "
            r"learning_rate=10 is too large, try a smaller one",
            found.reason,
        )

    def test_a_descent_that_leaves_the_numbers_stops(self):
        found = nf.gradient_descent(bowl, [-3.0, 4.0], learning_rate=10.0, steps=1000)
        assert found.diverged
        assert 100 < found.steps < 200
        assert not np.isfinite(found.fun)
        assert found.reason == (
            f"diverged: after {found.steps} steps f or x is no longer finite; "
            "learning_rate=10 is too large, try a smaller one"
        )

    def test_one_that_leaves_them_where_f_is_finite(self):
        found = nf.gradient_descent(lambda x: np.exp(-x[0]), [0.0], 1e308, 5, gradient=lambda x: [-10.0])
        assert found.diverged
        assert (found.fun, found.steps) == (0.0, 1)

    def test_a_learning_rate_that_is_too_small(self):
        found = nf.gradient_descent(bowl, [-3.0, 4.0], learning_rate=1e-10, steps=100)
        assert_close(found.x, np.array([-3.0, 4.0]) * (1 - 2e-8), scale=np.ones(2), kind="difference")
        assert (np.abs(found.x) < [3, 4]).all()
        assert not found.diverged

    @pytest.mark.parametrize("x0", [np.array([-3.0, 4.0]), [-3, 4], np.array([-3, 4]), (-3.0, 4.0)])
    def test_x0_is_not_changed(self, x0):
        before = list(x0)
        found = nf.gradient_descent(bowl, x0, steps=3)
        assert list(x0) == before
        assert found.x.dtype == np.float64
        assert (found.path[0] == before).all()

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_keeps_the_dtype(self, dtype):
        found = nf.gradient_descent(lambda x: np.sum(x * x), np.array([1.0, -2.0], dtype), steps=50)
        assert found.x.dtype == found.path.dtype == dtype
        assert (np.abs(found.x) < 0.1).all()

    @pytest.mark.parametrize("shape", [(), (2, 3), (0,)])
    def test_any_shape(self, shape):
        found = nf.gradient_descent(squares, np.ones(shape), steps=4)
        assert found.path.shape == (5, *shape)
        assert_close(found.x, np.full(shape, 0.8**4), scale=np.full(shape, 6.0), kind="difference")

    def test_path_and_values_belong_together(self):
        found = nf.gradient_descent(bowl, [-3.0, 4.0], steps=7)
        assert found.path.shape == (8, 2)
        assert found.values.shape == (8,)
        assert found.steps == 7
        assert type(found.fun) is float
        np.testing.assert_array_equal(found.values, [bowl(x) for x in found.path])
        np.testing.assert_array_equal(found.x, found.path[-1])
        assert found.fun == found.values[-1]
        slopes = [nf.numerical_gradient(bowl, x.copy(), None) for x in found.path[:-1]]
        np.testing.assert_array_equal(found.path[1:], found.path[:-1] - 0.1 * np.array(slopes))

    def test_a_user_gradient(self):
        found = nf.gradient_descent(bowl, [-3, 4], 0.25, 3, lambda x: [2 * x[0], 2 * x[1]])
        assert found.x.tolist() == [-3 / 8, 4 / 8]

    def test_functions_get_copies(self):
        points = []

        def f(x):
            points.append(x.copy())
            value = bowl(x)
            x[:] = 0
            return value

        def gradient(x):
            x *= 2
            return x

        found = nf.gradient_descent(f, [-3, 4], 0.25, 3, gradient)
        assert found.x.tolist() == [-3 / 8, 4 / 8]
        np.testing.assert_array_equal(points, found.path)

    def test_tol(self):
        found = nf.gradient_descent(bowl, [-3.0, 4.0], steps=1000, tol=1e-3)
        assert found.converged
        assert not found.diverged
        assert found.steps < 100
        lengths = 2 * np.linalg.norm(found.path, axis=1)
        assert (lengths[:-1] > 1e-3).all()
        assert lengths[-1] <= 1e-3
        assert re.fullmatch(r"the gradient's length is 0\.000\d+, at most tol=0\.001", found.reason)

    @pytest.mark.parametrize(
        ("f", "x0"),
        [
            (squares, [0.0, 0.0]),
            (lambda x: np.sum((x - 0.1) ** 2), [0.1, 0.1]),
            (lambda x: np.sum((x - 0.1) ** 2) + 1e6, [0.1, 0.1]),
            (lambda x: np.sum((x - 1e5) ** 2), [1e5, 1e5]),
            (lambda x: np.sum(np.cosh(x / 3)), np.zeros(2, np.float32)),
            (lambda x: 3.0, [1.0]),
        ],
    )
    def test_already_at_the_minimum(self, f, x0):
        """Rounding alone is not divergence."""
        found = nf.gradient_descent(f, x0)
        assert not found.diverged, found.reason
        assert_close(found.x, np.asarray(x0), scale=np.full(len(x0), 1 + f(np.asarray(x0))), kind="best difference")
        found = nf.gradient_descent(f, x0, tol=1e-2)
        assert found.converged
        assert found.steps == 0

    def test_a_rise_by_rounding_is_no_divergence(self):
        found = nf.gradient_descent(lambda x: 1e8 + x[0] ** 2, [0.0], 0.1, 10, lambda x: [-1e-3])
        assert found.fun > 1e8
        assert not found.diverged
        found = nf.gradient_descent(lambda x: x[0] ** 2, [0.0], 0.1, 10, lambda x: [-1e-10])
        assert found.fun > 0
        assert not found.diverged

    def test_from_near_the_minimum_with_too_large_a_rate(self):
        assert nf.gradient_descent(lambda x: np.sum((x - 0.1) ** 2), [0.1 + 1e-6], 10.0, 20).diverged

    def test_climbing_is_divergence(self):
        found = nf.gradient_descent(bowl, [1.0, 0.0], gradient=lambda x: -x)
        assert found.diverged

    def test_what_f_raises_is_raised(self):
        with pytest.raises(LookupError, match="^mine$"):
            nf.gradient_descent(lambda x: (_ for _ in ()).throw(LookupError("mine")), [1.0])

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_f_must_be_finite_at_the_start(self, value):
        with refuses(ValueError, f"f must be finite at x0, got {value}"):
            nf.gradient_descent(lambda x: value, [1.0])

    def test_a_gradient_that_is_not_finite(self):
        found = nf.gradient_descent(bowl, [1.0, 1.0], gradient=lambda x: [math.nan, 0])
        assert (found.diverged, found.steps) == (True, 0)
        assert found.reason == "diverged: after 0 steps the gradient is not finite at x0"
        found = nf.gradient_descent(bowl, [1.0, 1.0], gradient=lambda x: x if x[0] > 0.5 else x * math.inf)
        assert found.diverged
        assert found.reason.startswith(
            f"diverged: after {found.steps} steps the gradient is not finite; learning_rate=0.1"
        )

    def test_looks_like(self):
        found = nf.gradient_descent(bowl, [-3, 4], 0.25, 3, lambda x: 2 * x)
        assert repr(found) == "Descent(x=[-0.375,  0.5  ], fun=0.390625, steps=3: all 3 steps were taken)"

    def test_is_equal_to_itself_alone(self):
        found = nf.gradient_descent(bowl, [-3, 4], steps=1)
        assert found == found
        assert found != nf.gradient_descent(bowl, [-3, 4], steps=1)
        assert len({found, found}) == 1

    @pytest.mark.parametrize(
        ("x0", "options", "error", "message"),
        [
            ([1.0], {"learning_rate": 0}, ValueError, "learning_rate must be a finite number in (0.0, inf), got 0.0"),
            ([1.0], {"learning_rate": -1}, ValueError, "learning_rate must be a finite number in (0.0, inf), got -1.0"),
            ([1.0], {"learning_rate": "a"}, TypeError, "learning_rate must be a number, got 'a' (str)"),
            ([1.0], {"steps": 0}, ValueError, "steps must be at least 1, got 0"),
            ([1.0], {"steps": 1.0}, TypeError, "steps must be an integer, got 1.0 (float)"),
            ([1.0], {"tol": -1}, ValueError, "tol must be a finite number in [0.0, inf], got -1.0"),
            ([1.0], {"gradient": 3}, TypeError, "gradient must be callable, got 3 (int)"),
            ([1.0], {"gradient": lambda x: [1, 2]}, ValueError, "the result of gradient must have shape (1,), got"),
            ([1.0], {"gradient": lambda x: None}, TypeError, "the result of gradient must hold real numbers, got None"),
            ([1.0], {"gradient": lambda x: [1j]}, TypeError, "the result of gradient must hold real numbers, got [1j]"),
            ([1.0, math.nan], {}, ValueError, "x0 must be finite, got NaN or infinity at index 1"),
            ("a", {}, TypeError, "x0 must hold real numbers, got"),
        ],
    )  # fmt: skip
    def test_refusals(self, x0, options, error, message):
        with refuses(error, message):
            nf.gradient_descent(squares, x0, **options)

    def test_refuses_functions(self):
        with refuses(TypeError, "f must be callable, got 3 (int)"):
            nf.gradient_descent(3, [1.0])
        with refuses(TypeError, "f must return one real number, got an array of shape (2,) and dtype float64"):
            nf.gradient_descent(lambda x: x, [1.0, 2.0])


# ---- functions that reuse or change arrays


@pytest.mark.parametrize("method", ["central", "forward"])
@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize("jacobian", [False, True])
def test_a_function_may_return_the_same_array_each_time(method, vectorized, jacobian):
    buffer = np.empty(1000)
    x = np.array([1.0, 2.0, 3.0])

    def f(v):
        if vectorized and not jacobian:
            return np.sum(v**2, axis=1, out=buffer[: len(v)])
        if vectorized:
            return np.square(v, out=buffer[: v.size].reshape(v.shape))
        return np.square(v, out=buffer[:3]) if jacobian else np.sum(v**2, out=buffer[:1].reshape(()))

    find = nf.numerical_jacobian if jacobian else nf.numerical_gradient
    found = find(f, x, 1e-6, method, vectorized=vectorized)
    np.testing.assert_allclose(found, np.diag(2 * x) if jacobian else 2 * x, atol=1e-4)


def test_a_derivative_of_a_function_that_returns_the_same_array():
    buffer = np.empty(3)
    found = nf.numerical_diff(lambda v: np.multiply(v, v, out=buffer), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(found, [2, 4, 6], atol=1e-6)

    def changes(v):
        v *= 2
        return v

    x = np.array([1.0, 2.0])
    np.testing.assert_allclose(nf.numerical_diff(changes, x), [2, 2], atol=1e-6)
    assert x.tolist() == [1, 2]


def clipped(v):
    v[v < 0] = 0
    return float(np.sum(v * [1, 2, 3]))


@pytest.mark.parametrize("find", [nf.numerical_gradient, nf.numerical_jacobian])
@pytest.mark.parametrize("method", ["central", "forward"])
@pytest.mark.parametrize("make", [np.array, list])
def test_a_function_that_changes_its_argument_is_refused(find, method, make):
    x = make([1.0, -2.0, 3.0])
    message = (
        "f must not change its argument, but it changed x[1] from -2.0 to 0.0: make it work on a copy, such as x.copy()"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        find(clipped, x, 1e-4, method)
    assert list(x) == [1, -2, 3]


def test_a_function_that_changes_its_argument_and_fails_leaves_the_array():
    def f(v):
        v[:] = 7
        raise RuntimeError("boom")

    for order in "CF":
        x = np.array([[1.0, 2.0], [3.0, 4.0]], order=order)
        with pytest.raises(RuntimeError, match="boom"):
            nf.numerical_gradient(f, x)
        assert x.tolist() == [[1, 2], [3, 4]]


def test_a_descent_of_a_function_that_changes_its_argument_is_refused():
    with pytest.raises(ValueError, match="f must not change its argument"):
        nf.gradient_descent(clipped, [1.0, -2.0, 3.0])


@pytest.mark.parametrize("x", [np.array([[1, 2], [0, 1]]), [[1.0, 2.0], [0.0, 1.0]]])
def test_a_function_that_reads_what_was_copied_is_reported(x):
    with pytest.warns(
        UserWarning, match="f returned the same at all points: if it reads .* as a writable array of floats"
    ):
        found = nf.numerical_gradient(lambda _: float(np.sum(np.array(x) ** 2)), x)
    assert not found.any()


def test_an_array_that_is_moved_itself_brings_no_warning():
    w = np.array([[1.0, 2.0], [0.0, 1.0]])
    np.testing.assert_allclose(nf.numerical_gradient(lambda _: float(np.sum(w**2)), w), 2 * w, atol=1e-6)
    assert not nf.numerical_gradient(lambda _: 3.0, w).any()


def test_derivatives_do_not_depend_on_the_error_state():
    x = np.array([1e-300, 1e-160, 1.0])
    calls = {
        "gradient": lambda: nf.numerical_gradient(lambda v: float(v[0] + v[2]), x.copy()),
        "small": lambda: nf.numerical_gradient(lambda v: 1e-310 * float(v[0]), x.copy()),
        "jacobian": lambda: nf.numerical_jacobian(lambda v: v.copy(), x.copy(), None),
        "diff": lambda: nf.numerical_diff(lambda v: v.copy(), x),
        "float32": lambda: nf.numerical_gradient(lambda v: float(v[0]) * 1e-60, np.ones(2, np.float32), None),
        "descent": lambda: nf.gradient_descent(lambda v: 1e-200 * float(v[0]), [1.0]).x,
    }
    for name, call in calls.items():
        expected = call()
        with np.errstate(all="raise"):
            np.testing.assert_array_equal(call(), expected, err_msg=name)
