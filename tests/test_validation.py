"""Argument validation: what it accepts, and its error messages."""

from __future__ import annotations

import decimal
import fractions
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from nnfast._validation import (
    MAX_SIZE,
    as_array,
    check_bool,
    check_float,
    check_int,
    check_out,
    check_shape,
    choose,
    describe,
    require,
    where_not_finite,
)


def refuses(error, message):
    """Expect an error with exactly this message."""
    return pytest.raises(error, match=f"^{re.escape(message)}$")


class TestAsArray:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_an_array_the_kernels_can_read_is_passed_on(self, dtype):
        x = np.ones((2, 3), dtype)
        assert np.shares_memory(as_array("x", x), x)
        assert np.shares_memory(as_array("x", x, dtype, ndim=2, shape=(2, 3), finite=True), x)

    @given(
        x=npst.arrays(
            st.sampled_from(
                [np.bool_, np.int8, np.uint16, np.int64, np.float16, np.float32, np.float64, np.dtype(">f4")]
            ),
            npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
            elements=st.integers(0, 1),
        ),
        order=st.sampled_from("CF"),
        step=st.sampled_from([1, 2, -1]),
        dtype=st.sampled_from([None, np.float32, np.float64, np.int64]),
    )
    def test_the_result_is_canonical(self, x, order, step, dtype):
        x = np.asarray(x, order=order)[(slice(None, None, step),) * x.ndim]
        result = as_array("x", x, dtype)
        assert type(result) is np.ndarray
        single = x.dtype.newbyteorder("=") == np.float32
        assert result.dtype == (dtype or (np.float32 if single else np.float64))
        assert result.flags.c_contiguous
        assert result.flags.aligned
        assert result.dtype.isnative
        np.testing.assert_array_equal(result, x)
        assert result.shape == x.shape

    def test_misaligned(self):
        raw = np.zeros(17, np.uint8)
        x = raw[1:].view(np.float64)
        x[:] = [1, 2]
        result = as_array("x", x)
        assert result.flags.aligned
        np.testing.assert_array_equal(result, [1, 2])

    def test_subclasses_become_arrays(self):
        assert type(as_array("x", np.ma.masked_array([1.0, 2.0]))) is np.ndarray

    def test_lists_numbers_and_arrays_of_others(self):
        class Table:
            def __array__(self, dtype=None, copy=None):
                return np.array([[1, 2]])

        assert as_array("x", [[1, 2], [3, 4]]).dtype == np.float64
        assert as_array("x", 3).shape == ()
        assert as_array("x", True) == 1
        np.testing.assert_array_equal(as_array("x", Table()), [[1.0, 2.0]])

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (None, "x must hold real numbers, got None (NoneType)"),
            ("ab", "x must hold real numbers, got 'ab' (str)"),
            (1j, "x must hold real numbers, got 1j (complex)"),
            (
                [1, None],
                "x must hold real numbers, got [1, None] (list), with None at index 1: "
                "drop the rows with missing values",
            ),
            (
                np.zeros(2, complex),
                "x must hold real numbers, got an array of shape (2,) and dtype complex128: use x.real or np.abs(x)",
            ),
            (
                np.zeros((1, 2), "V4"),
                "x must hold real numbers, got an array of shape (1, 2) and dtype |V4: "
                "numpy.lib.recfunctions.structured_to_unstructured turns fields into columns",
            ),
        ],
    )
    def test_what_is_no_number(self, value, message):
        with refuses(TypeError, message):
            as_array("x", value)

    def test_ragged(self):
        with pytest.raises(ValueError, match=r"^labels must be a rectangular array of numbers: "):
            as_array("labels", [[1, 2], [3]])

    def test_ndim(self):
        assert as_array("x", [1.0], ndim=1).shape == (1,)
        assert as_array("x", [1.0], ndim=(1, 2)).shape == (1,)
        with refuses(ValueError, "x must have 2 dimension(s), got shape (1,)"):
            as_array("x", [1.0], ndim=2)
        with refuses(ValueError, "x must have 2 or 3 dimension(s), got shape ()"):
            as_array("x", 1.0, ndim=(2, 3))

    def test_shape(self):
        assert as_array("x", [[1.0, 2.0]], shape=(None, 2)).shape == (1, 2)
        with refuses(ValueError, "x must have shape (n, 3), got (1, 2)"):
            as_array("x", [[1.0, 2.0]], shape=(None, 3))

    def test_axes_of_two_thousand_million(self):
        """The shape alone raises the error, before anything is copied."""
        long = np.broadcast_to(np.float32(0), (1, MAX_SIZE + 1))
        with refuses(ValueError, "x has an axis longer than 2147483647: shape (1, 2147483648)"):
            as_array("x", long)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_finite(self, bad):
        with refuses(ValueError, "x must be finite, got NaN or infinity at index 1"):
            as_array("x", [0.0, bad, bad], finite=True)
        with refuses(ValueError, "x must be finite, got NaN or infinity at index (1, 0)"):
            as_array("x", [[0.0, 1.0], [bad, 2.0]], finite=True)
        np.testing.assert_array_equal(as_array("x", [0.0, bad]), [0.0, bad])
        assert as_array("x", [1.0, np.finfo(float).max], finite=True).shape == (2,)


@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_beyond_the_range_of_a_dtype(order):
    """Finite numbers never become infinite by conversion; infinite numbers may stay infinite."""
    x = np.array([[1.0, 2.0], [np.inf, -1e39]], order=order)
    with refuses(ValueError, "x must fit into float32, got -1e+39 at index (1, 1)"):
        as_array("x", x, np.float32)
    with refuses(ValueError, "x must fit into float32, got 1e+39 at index 0"):
        as_array("x", [1e39], np.float32, finite=True)
    with refuses(ValueError, "x must fit into float32, got 1e+39"):
        as_array("x", 1e39, np.float32)
    np.testing.assert_array_equal(as_array("x", [np.inf, -np.inf], np.float32), [np.inf, -np.inf])
    assert as_array("x", [1e-300], np.float32) == 0
    assert as_array("x", [float(np.finfo(np.float32).max)], np.float32) == np.finfo(np.float32).max


def test_where_not_finite():
    x = np.zeros((2, 3, 4))
    x[1, 0, 2] = x[1, 2, 3] = np.inf
    assert where_not_finite(x) == "at index (1, 0, 2)"


def test_check_shape():
    x = np.zeros((2, 3))
    check_shape("x", x, (2, 3))
    check_shape("x", x, (None, None))
    check_shape("x", np.float64(1), ())
    for shape, wanted in [
        ((3, 2), "(3, 2)"),
        ((None,), "(n,)"),
        ((6,), "(6,)"),
        ((), "()"),
        ((None, 3, 1), "(n, 3, 1)"),
    ]:
        with refuses(ValueError, f"x must have shape {wanted}, got (2, 3)"):
            check_shape("x", x, shape)


def test_check_out():
    out = np.zeros((2, 3), np.float32)
    assert check_out("out", out, (2, 3), np.float32) is out
    assert check_out("out", out.T, (3, 2), np.float32).base is out
    with refuses(TypeError, "out must be a numpy array, got [1.0] (list)"):
        check_out("out", [1.0], (1,), np.float64)
    with refuses(TypeError, "out must have dtype float64, got float32"):
        check_out("out", out, (2, 3), np.float64)
    with refuses(ValueError, "result must have shape (2, 4), got (2, 3)"):
        check_out("result", out, (2, 4), np.float32)
    out.flags.writeable = False
    with refuses(ValueError, "out must be writable, got a read-only array"):
        check_out("out", out, (2, 3), np.float32)


class TestCheckInt:
    @pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)])
    def test_integers(self, value):
        assert type(check_int("epochs", value, 1)) is int
        assert check_int("epochs", value, 3) == 3

    def test_large(self):
        assert check_int("seed", 2**70, 0) == 2**70

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (3.0, "epochs must be an integer, got 3.0 (float)"),
            (np.float32(3), "epochs must be an integer, got np.float32(3.0) (float32)"),
            (True, "epochs must be an integer, got True (bool)"),
            (np.True_, "epochs must be an integer, got np.True_ (bool)"),
            ("3", "epochs must be an integer, got '3' (str)"),
            (None, "epochs must be an integer, got None (NoneType)"),
            (np.array([3, 4]), "epochs must be an integer, got an array of shape (2,) and dtype int64"),
            (np.array(3.0), "epochs must be an integer, got an array of shape () and dtype float64"),
        ],
    )
    def test_others(self, value, message):
        with refuses(TypeError, message):
            check_int("epochs", value, 1)

    def test_minimum(self):
        with refuses(ValueError, "epochs must be at least 1, got 0"):
            check_int("epochs", 0, 1)
        assert check_int("epochs", -5, -5) == -5


class TestCheckFloat:
    @pytest.mark.parametrize(
        "value",
        [0.5, np.float32(0.5), np.float16(0.5), np.array(0.5), fractions.Fraction(1, 2), decimal.Decimal("0.5")],
    )
    def test_numbers(self, value):
        assert type(check_float("rate", value)) is float
        assert check_float("rate", value, 0.5, 0.5) == 0.5

    def test_integers_are_numbers(self):
        assert check_float("rate", 2) == 2.0
        assert check_float("rate", np.int64(-2)) == -2.0

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("0.5", "rate must be a number, got '0.5' (str)"),
            (b"0.5", "rate must be a number, got b'0.5' (bytes)"),
            (None, "rate must be a number, got None (NoneType)"),
            (True, "rate must be a number, got True (bool)"),
            (1j, "rate must be a number, got 1j (complex)"),
            (np.complex128(1j), "rate must be a number, got np.complex128(1j) (complex128)"),
            ([0.5], "rate must be a number, got [0.5] (list)"),
            (np.array([0.5, 1.0]), "rate must be a number, got an array of shape (2,) and dtype float64"),
            (np.array([0.5]), "rate must be a number, got an array of shape (1,) and dtype float64"),
        ],
    )
    def test_others(self, value, message):
        with refuses(TypeError, message):
            check_float("rate", value)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_finite(self, value):
        with refuses(ValueError, f"rate must be a finite number in [-inf, inf], got {value}"):
            check_float("rate", value)

    def test_too_large_for_a_float(self):
        with pytest.raises(ValueError, match=r"^rate must be a finite number in \[-inf, inf\], got "):
            check_float("rate", 10**400)

    def test_bounds(self):
        assert check_float("beta", 0, 0, 1) == 0
        assert check_float("beta", 1, 0, 1) == 1
        assert check_float("beta", 0.5, 0, 1, open_ends=True) == 0.5
        with refuses(ValueError, "beta must be a finite number in [0, 1], got 1.5"):
            check_float("beta", 1.5, 0, 1)
        with refuses(ValueError, "beta must be a finite number in [0, 1], got -0.5"):
            check_float("beta", -0.5, 0, 1)
        for end in (0, 1):
            with refuses(ValueError, f"beta must be a finite number in (0, 1), got {float(end)}"):
                check_float("beta", end, 0, 1, open_ends=True)


def test_choose():
    assert choose("loss", "b", ["a", "b"]) == "b"
    with refuses(ValueError, "loss must be one of 'a', 'b', got 'c'"):
        choose("loss", "c", ("a", "b"))
    with refuses(ValueError, "loss must be one of 'a', 'b', got 'A'"):
        choose("loss", "A", {"a": 1, "b": 2})
    with refuses(TypeError, "loss must be one of 'a', 'b', got None (NoneType)"):
        choose("loss", None, ("a", "b"))
    with refuses(TypeError, "loss must be one of 'a', 'b', got ['a'] (list)"):
        choose("loss", ["a"], ("a", "b"))


def test_describe():
    assert describe(np.zeros((2, 0), np.int8)) == "an array of shape (2, 0) and dtype int8"
    assert describe({"a": 1}) == "{'a': 1} (dict)"


def test_require():
    assert require("decimal", "plot") is decimal
    with refuses(ImportError, "no_such_module is needed for this: pip install 'nnfast[plot]'") as caught:
        require("no_such_module", "plot")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    with refuses(ImportError, "no_such_module is needed for this: pip install 'nnfast[plot]'"):
        require("no_such_module.part", "plot")


def test_check_bool():
    assert check_bool("shuffle", True) is check_bool("shuffle", np.bool_(True)) is True
    assert check_bool("shuffle", False) is False
    for wrong in ("False", 0, 1, None):
        with refuses(TypeError, f"shuffle must be True or False, got {wrong!r} ({type(wrong).__name__})"):
            check_bool("shuffle", wrong)
