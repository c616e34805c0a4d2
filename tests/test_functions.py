"""`nnfast.functions`: any array in, the kernels' numbers out; and errors that name the argument."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from tolerances import assert_close

from nnfast import activations, functions, reference
from nnfast.activations import resolve_activation
from nnfast.kernels import arrays as kernels

DTYPES = (np.float32, np.float64)
ACTIVATIONS = [name for name in activations.NAMES if name != "gelu_tanh"]  # which is gelu(x, "tanh")
FROM_INPUT = [name for name in ACTIVATIONS if resolve_activation(name).from_input]  # the derivative
BACKWARD = {name for name in functions.__all__ if name.endswith("_backward")}
LOSSES = sorted(set(functions.__all__) - BACKWARD - set(ACTIVATIONS) - {"quantile"})
OF_CLASSES = sorted(kernels.OF_LABELS)

# the functions of one array, of two arrays of one shape whose result has that shape too, and the losses
ONE = ACTIVATIONS
TWO = [f"{name}_backward" for name in (*ACTIVATIONS, *LOSSES)]

dtypes = st.sampled_from(DTYPES)
seeds = st.integers(0, 2**32 - 1)
shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9)
row_shapes = npst.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=9)


def test_every_function_is_tested():
    of_quantiles = {"quantile", "quantile_backward"}  # take an additional argument: see tests/test_losses.py
    assert set(functions.__all__) == {*ONE, *TWO, *LOSSES, *of_quantiles}


def values(seed, shape, dtype):
    """Values between 0 and 1: valid for every function, also for those of probabilities."""
    return np.asarray(np.random.default_rng(seed).uniform(0.05, 0.95, shape), dtype)


# ---- layouts: the same numbers, arranged differently in memory


def strided(x):
    big = np.zeros(tuple(2 * n for n in x.shape), x.dtype)
    view = big[(..., *(slice(None, None, 2) for _ in x.shape))]
    view[...] = x
    return view


def backwards(x):
    every_axis = (..., *(slice(None, None, -1) for _ in x.shape))
    return x[every_axis].copy()[every_axis]


def misaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


LAYOUTS = {
    "C order": np.copy,
    "Fortran order": lambda x: np.array(x, order="F"),
    "strided": strided,
    "backwards": backwards,
    "misaligned": misaligned,
    "read-only": read_only,
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "subclass": lambda x: np.ma.masked_array(x.copy()),
}
WRITABLE = ("C order", "Fortran order", "strided", "backwards", "misaligned")
layouts = st.sampled_from(list(LAYOUTS))


@pytest.mark.parametrize("layout", ["Fortran order", "strided", "backwards", "misaligned", "byte-swapped"])
def test_layouts_are_what_they_say(layout):
    x = values(0, (3, 4), np.float32)
    y = LAYOUTS[layout](x)
    np.testing.assert_array_equal(y, x)
    assert not y.flags.carray or not y.dtype.isnative


@pytest.mark.parametrize("name", ONE)
@given(shape=shapes, dtype=dtypes, seed=seeds, layout=layouts)
def test_of_one_array(name, shape, dtype, seed, layout):
    x = np.asarray(values(seed, shape, dtype) * 4 - 2)
    result = getattr(functions, name)(LAYOUTS[layout](x))
    assert result.dtype == dtype
    if shape == ():
        assert isinstance(result, np.floating)
        x = x.reshape(1)  # the twin of softmax sums along an axis
    expected = getattr(reference, name)(x).reshape(shape)
    sums = name in ("softmax", "log_softmax", *FROM_INPUT)
    assert_close(result, expected, scale=1 + np.abs(expected) if sums else None)


OF_ONE_TERM = [
    f"{name}_backward"
    for name in (
        "elu", "hard_sigmoid", "identity", "leaky_relu", "relu", "tanh", "cross_entropy", "binary_cross_entropy",
        "hinge", "huber", "kl_divergence", "log_cosh", "mean_absolute_error", "mean_squared_error", "sum_squared_error",
    )
]  # fmt: skip


def expected_of_two(name, a, b):
    """Computed by the reference, which needs an axis to sum along."""
    return getattr(reference, name)(np.atleast_1d(a), np.atleast_1d(b)).reshape(a.shape)


@pytest.mark.parametrize("name", TWO)
@given(shape=row_shapes, dtype=dtypes, seed=seeds, first=layouts, second=layouts)
def test_of_two_arrays(name, shape, dtype, seed, first, second):
    a, b = values(seed, shape, dtype), values(seed + 1, shape, dtype)
    result = getattr(functions, name)(LAYOUTS[first](a), LAYOUTS[second](b))
    assert result.dtype == dtype
    # each but these has a few terms of either sign, none larger than this sum
    terms = np.abs(a) + np.abs(b) + (np.abs(a) * np.abs(b)).sum(axis=-1, keepdims=True) + b.sum(axis=-1, keepdims=True)
    assert_close(result, expected_of_two(name, a, b), scale=None if name in OF_ONE_TERM else terms)


@pytest.mark.parametrize("name", [f"{name}_backward" for name in ACTIVATIONS])
def test_derivatives_of_scalars_and_of_nothing(name):
    result = getattr(functions, name)(2.0, 0.5)
    assert isinstance(result, np.float64)
    assert_close(result, expected_of_two(name, np.array(2.0), np.array(0.5)))
    for shape in [(0,), (0, 3), (3, 0)]:
        assert getattr(functions, name)(np.ones(shape), np.ones(shape)).shape == shape


@pytest.mark.parametrize("name", LOSSES)
@given(shape=row_shapes, dtype=dtypes, seed=seeds, first=layouts, second=layouts)
def test_losses(name, shape, dtype, seed, first, second):
    a, b = values(seed, shape, dtype), values(seed + 1, shape, dtype)
    result = getattr(functions, name)(LAYOUTS[first](a), LAYOUTS[second](b))
    assert isinstance(result, dtype)
    expected = getattr(reference, name)(a, b)
    assert_close(result, expected, scale=5 + np.log(shape[-1]) * b.sum() / b[..., 0].size)


@pytest.mark.parametrize("name", [*OF_CLASSES, *(f"{name}_backward" for name in OF_CLASSES)])
@given(shape=row_shapes, dtype=dtypes, seed=seeds, layout=layouts, kind=st.sampled_from("bBhHiIlLqQ?"))
def test_labels(name, shape, dtype, seed, layout, kind):
    """Labels of every integer dtype and layout give the same bits as int64, and the numbers of one-hot rows."""
    prediction = values(seed, shape, dtype)
    target = np.asarray(np.random.default_rng(seed).integers(0, min(shape[-1], 2 if kind == "?" else 128), shape[:-1]))
    function = getattr(functions, name)
    result = function(prediction, LAYOUTS[layout](target.astype(kind)))
    np.testing.assert_array_equal(result, function(prediction, target.astype(np.int64)))
    expected = getattr(reference, name)(prediction, np.eye(shape[-1], dtype=dtype)[target])
    assert_close(result, expected, scale=np.abs(expected) + 1 + np.log(shape[-1]))


# ---- dtypes


@pytest.mark.parametrize("name", ONE)
@pytest.mark.parametrize("kind", ["?", "b", "B", "h", "i", "q", "Q", "e", "d", "g", ">d", ">q"])
def test_all_but_float32_is_computed_in_float64(name, kind):
    x = np.array([[0, 1, 1], [1, 0, 0]])
    result = getattr(functions, name)(x.astype(kind))
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, getattr(functions, name)(x.astype(np.float64)))
    np.testing.assert_array_equal(result, getattr(functions, name)(x.tolist()))


@pytest.mark.parametrize("name", [*TWO, *LOSSES])
def test_the_dtype_is_that_of_the_main_argument(name):
    """The prediction of a loss, or the output of an activation; the other argument is converted."""
    single, double = values(0, (2, 3), np.float32), values(1, (2, 3), np.float64)
    of_loss = any(loss in name for loss in LOSSES)
    main_first = getattr(functions, name)(single, double)
    main_second = getattr(functions, name)(double, single)
    assert (main_first.dtype, main_second.dtype) == ((np.float32, np.float64) if of_loss else (np.float64, np.float32))


def test_nested_lists_and_numbers():
    np.testing.assert_array_equal(functions.relu([[1, -2], [-3, 4]]), [[1, 0], [0, 4]])
    assert functions.step(3) == 1
    assert functions.softmax(3.0) == 1
    assert functions.mean_squared_error([1, 2], [3, 2]) == 2
    assert functions.sum_squared_error([1, 2], [3, 2]) == 2
    assert functions.cross_entropy([0.25, 0.75], 0) == functions.cross_entropy([[0.25, 0.75]], [0])


def test_losses_average_over_all_rows():
    """An array with any number of axes contains rows along its last axis."""
    prediction, target = values(0, (2, 3, 4), np.float64), values(1, (2, 3, 4), np.float64)
    for name in LOSSES:
        function = getattr(functions, name)
        flat = function(prediction.reshape(6, 4), target.reshape(6, 4))
        assert function(prediction, target) == flat
        rows = [function(p, t) for p, t in zip(prediction.reshape(6, 4), target.reshape(6, 4), strict=True)]
        assert_close(flat, np.mean(rows), scale=np.mean(np.abs(rows)) + 1)


# ---- out


@pytest.mark.parametrize("name", [*ONE, *TWO])
@pytest.mark.parametrize("layout", WRITABLE)
@pytest.mark.parametrize("dtype", DTYPES)
def test_out_of_any_layout(name, layout, dtype):
    arguments = [values(i, (5, 7), dtype) for i in range(1 if name in ONE else 2)]
    expected = getattr(functions, name)(*arguments)
    out = LAYOUTS[layout](np.full((5, 7), np.nan, dtype))
    assert getattr(functions, name)(*arguments, out=out) is out
    np.testing.assert_array_equal(out, expected)
    if list(inspect.signature(getattr(functions, name)).parameters)[len(arguments)] == "out":
        assert getattr(functions, name)(*arguments, out) is out


@pytest.mark.parametrize("name", [*ONE, *TWO])
@given(dtype=dtypes, seed=seeds, shift=st.integers(-3, 3), which=st.integers(0, 1))
def test_out_may_overlap_the_input(name, dtype, seed, shift, which):
    """The input itself, or a view of the same memory shifted by some elements."""
    arguments = [values(seed + i, (4, 9), dtype) for i in range(1 if name in ONE else 2)]
    expected = getattr(functions, name)(*arguments)
    memory, which = np.zeros(36 + 6, dtype), which % len(arguments)
    shared = memory[3:39].reshape(4, 9)
    shared[...] = arguments[which]
    arguments[which] = shared
    out = memory[3 + shift : 39 + shift].reshape(4, 9)
    assert getattr(functions, name)(*arguments, out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", [*ONE, *TWO])
def test_out_may_be_the_input_transposed(name):
    arguments = [values(i, (5, 5), np.float64) for i in range(1 if name in ONE else 2)]
    expected = getattr(functions, name)(*arguments)
    out = arguments[0].T
    getattr(functions, name)(*arguments, out=out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_out_of_a_loss(name, dtype):
    prediction, target = values(0, (5, 7), dtype), values(1, (5, 7), dtype)
    expected = getattr(functions, name)(prediction, target)
    out = np.full((), np.nan, dtype)
    assert getattr(functions, name)(prediction, target, out=out) is out
    assert out == expected
    inside = prediction[2, 3:4].reshape(())  # overlaps the prediction
    assert np.shares_memory(inside, prediction)
    getattr(functions, name)(prediction, target, out=inside)
    assert inside == expected


@pytest.mark.parametrize("name", ONE)
def test_out_of_a_scalar_and_of_nothing(name):
    out = np.empty(())
    assert getattr(functions, name)(0.5, out=out) is out
    assert out == getattr(functions, name)(0.5)
    empty = np.empty((0, 3), np.float32)
    assert getattr(functions, name)(empty.copy(), out=empty) is empty


BAD_OUT = {
    "shape": (np.empty((3, 2)), ValueError, r"^out must have shape \(2, 3\), got \(3, 2\)$"),
    "axes": (np.empty((1, 2, 3)), ValueError, r"^out must have shape \(2, 3\), got \(1, 2, 3\)$"),
    "dtype": (np.empty((2, 3), np.float32), TypeError, "^out must have dtype float64, got float32$"),
    "integers": (np.empty((2, 3), np.int64), TypeError, "^out must have dtype float64, got int64$"),
    "byte order": (np.empty((2, 3), np.dtype(float).newbyteorder()), TypeError, "^out must have dtype float64, got "),
    "read-only": (np.broadcast_to(0.0, (2, 3)), ValueError, "^out must be writable, got a read-only array$"),
    "list": ([[0.0] * 3] * 2, TypeError, r"^out must be a numpy array, got \[\[0.0, .*\(list\)$"),
}


@pytest.mark.parametrize("name", [*ONE, *TWO])
@pytest.mark.parametrize("kind", list(BAD_OUT))
def test_out_that_does_not_fit_raises_an_error(name, kind):
    out, error, message = BAD_OUT[kind]
    arguments = [values(i, (2, 3), np.float64) for i in range(1 if name in ONE else 2)]
    with pytest.raises(error, match=message):
        getattr(functions, name)(*arguments, out=out)


@pytest.mark.parametrize("name", LOSSES)
def test_out_that_does_not_fit_a_loss_raises_an_error(name):
    x = values(0, (2, 3), np.float64)
    with pytest.raises(ValueError, match=r"^out must have shape \(\), got \(2, 3\)$"):
        getattr(functions, name)(x, x, out=np.empty((2, 3)))
    with pytest.raises(TypeError, match=r"^out must have dtype float64, got float32$"):
        getattr(functions, name)(x, x, out=np.empty((), np.float32))


# ---- bad input

NO_NUMBERS = [None, "1", ["a"], 1j, [1, None], np.zeros(2, complex), np.zeros(2, "M8[s]"), np.array([0, None]), {1: 2}]


@pytest.mark.parametrize("bad", NO_NUMBERS, ids=repr)
def test_what_is_not_a_number_raises_an_error(bad):
    good = np.ones(2)
    for name in ONE:
        with pytest.raises(TypeError, match=r"^x must hold real numbers, got "):
            getattr(functions, name)(bad)
    for name in ACTIVATIONS:
        with pytest.raises(TypeError, match=r"^gradient must hold real numbers, got "):
            getattr(functions, f"{name}_backward")(bad, good)
        at = "x" if name in FROM_INPUT else "output"
        with pytest.raises(TypeError, match=f"^{at} must hold real numbers, got "):
            getattr(functions, f"{name}_backward")(good, bad)
    for loss in LOSSES:
        for name in (loss, f"{loss}_backward"):
            with pytest.raises(TypeError, match=r"^prediction must hold real numbers, got "):
                getattr(functions, name)(bad, good)


def test_targets_pass_the_same_checks():
    for target, message in (
        ([[1], [0, 0]], "rectangular"),
        (np.ma.masked_equal([[1, 0], [0, 1]], 0), "not have masked values"),
    ):
        with pytest.raises(ValueError, match=f"^target must .*{message}"):
            functions.cross_entropy([[0.5, 0.5], [0.5, 0.5]], target)


def test_ragged_lists_raise_an_error():
    with pytest.raises(ValueError, match=r"^x must be a rectangular array of numbers: "):
        functions.relu([[1, 2], [3]])


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_shapes_are_not_broadcast(name):
    backward = getattr(functions, f"{name}_backward")
    for shape in [(3,), (1, 3), (2, 1), (), (3, 2), (2, 3, 1)]:
        with pytest.raises(ValueError, match=r"^gradient must have shape \(2, 3\), got \("):
            backward(np.ones(shape), np.ones((2, 3)))


@pytest.mark.parametrize("name", [name + end for name in LOSSES for end in ("", "_backward")])
def test_shapes_of_targets_are_not_broadcast(name):
    for shape in [(3,), (1, 3), (2, 1), (), (3, 2), (2, 3, 1)]:
        with pytest.raises((ValueError, TypeError), match=r"^target (must have shape|holds labels)"):
            getattr(functions, name)(np.full((2, 3), 0.5), np.ones(shape))
    for shape in [(), (0,), (0, 3), (3, 0)]:
        with pytest.raises(ValueError, match=r"^prediction must have at least one row of outputs, got shape \("):
            getattr(functions, name)(np.ones(shape), np.ones(shape))


@pytest.mark.parametrize("name", [name + end for name in OF_CLASSES for end in ("", "_backward")])
def test_labels_that_are_not_classes_raise_an_error(name):
    function, prediction = getattr(functions, name), np.full((2, 3), 0.5)
    with pytest.raises(
        ValueError, match=r"^target holds labels up to 3, which need at least 4 outputs, but there are 3$"
    ):
        function(prediction, [0, 3])
    with pytest.raises(ValueError, match=r"^target holds labels and must not be negative, got -1: use classes, targ"):
        function(prediction, [1, -1])
    with pytest.raises(
        ValueError,
        match=rf"^target holds labels up to {2**64 - 1}, which need at least {2**64} outputs, but there are 3$",
    ):
        function(prediction, np.array([1, 2**64 - 1], np.uint64))
    with pytest.raises(
        TypeError, match=r"^target must hold one integer label per row, got dtype float64: use target\.astype"
    ):
        function(prediction, [0.0, 1.0])
    with pytest.raises(ValueError, match=r"^target must have shape \(2,\), got \(3,\)$"):
        function(prediction, [0, 1, 2])


@pytest.mark.parametrize("name", [name + end for name in LOSSES if name not in OF_CLASSES for end in ("", "_backward")])
def test_labels_are_for_losses_over_classes(name):
    with pytest.raises(ValueError, match=r"^target must have shape \(2, 3\), got \(2,\)$"):
        getattr(functions, name)(np.full((2, 3), 0.5), [0, 1])


def test_inputs_do_not_change():
    for name in [*ONE, *TWO, *LOSSES]:
        arguments = [values(i, (5, 7), np.float32) for i in range(1 if name in ONE else 2)]
        copies = [a.copy() for a in arguments]
        result = getattr(functions, name)(*arguments)
        for argument, copy in zip(arguments, copies, strict=True):
            np.testing.assert_array_equal(argument, copy)
            assert not np.may_share_memory(result, argument)


# ---- long rows


@pytest.mark.parametrize(
    "name", ["mean_squared_error", "sum_squared_error", "binary_cross_entropy", "sigmoid_binary_cross_entropy"]
)
def test_a_long_row_is_summed_in_blocks(name):
    """A single float32 accumulator for ten million elements would be wrong by percents."""
    prediction, target = np.full(10**7, 0.3, np.float32), np.full(10**7, 0.6, np.float32)
    loss = getattr(functions, name)
    few = loss(prediction[:64].astype(np.float64), target[:64].astype(np.float64))
    expected = few * (10**7 / 64 if name == "sum_squared_error" else 1)
    assert_close(loss(prediction, target), expected, scale=expected * 8)


def test_softmax_of_a_long_row():
    x = np.random.default_rng(0).normal(size=10**6).astype(np.float32)
    assert_close(functions.softmax(x), reference.softmax(x.astype(np.float64)), scale=functions.softmax(x))
    value = functions.softmax_cross_entropy(x, np.int64(5))
    assert_close(value, reference.softmax_cross_entropy(x[None].astype(np.float64), np.array([5])), scale=value)


def test_infinite_logits_cost_nothing_where_they_are_right():
    loss = functions.sigmoid_binary_cross_entropy
    assert [float(loss([x], [t])) for x, t in ((np.inf, 1), (-np.inf, 0), (np.inf, 0), (-np.inf, 1))] == [
        0,
        0,
        np.inf,
        np.inf,
    ]
    assert np.isnan(loss([np.nan], [0.0]))


PARAMETERS = {"leaky_relu": "negative_slope", "elu": "alpha", "softplus": "beta", "huber": "delta"}


@pytest.mark.parametrize("value", [1e300, 1e-300, 1e-40])
@pytest.mark.parametrize("end", ["", "_backward"])
@pytest.mark.parametrize(("name", "parameter"), PARAMETERS.items())
def test_parameters_that_float32_does_not_hold(name, parameter, end, value):
    """They would become infinite or zero, and silently turn results into NaN."""
    function, x = getattr(functions, name + end), np.array([-1, 0, 1], np.float32)
    arguments = (x, x) if end or name == "huber" else (x,)
    with pytest.raises(
        ValueError, match=rf"^{parameter} has the number {re.escape(str(value))}, but float32 only holds numbers"
    ):
        function(*arguments, **{parameter: value})
    function(*(argument.astype(np.float64) for argument in arguments), **{parameter: value})


# ---- docstrings, which are completed at import


def sections(name):
    """The sections of a docstring by title, in order."""
    _, *parts = re.split(r"^(\w+)\n-+\n", inspect.cleandoc(getattr(functions, name).__doc__), flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def entries(name):
    """What a docstring says about each parameter, in order."""
    texts = re.findall(r"^(\S.*?)(?: : .*)?\n((?:    .*\n)+)", sections(name)["Parameters"], flags=re.MULTILINE)
    return {parameter: text for names, text in texts for parameter in names.split(", ")}


@pytest.mark.parametrize("name", functions.__all__)
def test_docstrings_are_complete(name):
    found = sections(name)
    assert [title for title in found if title != "Notes"] == ["Parameters", "Returns", "Raises", "Examples"]
    assert list(entries(name)) == list(inspect.signature(getattr(functions, name)).parameters)
    assert re.fullmatch(r"\S+\n    \S[^\n]*\.\n\n", found["Returns"])
    assert re.fullmatch(r"TypeError, ValueError\n(    \S[^\n]*\n)+\n", found["Raises"])
    assert re.match(
        rf">>> from nnfast\.functions import {name}\n(>>> import numpy as np\n)?>>> {name}\(", found["Examples"]
    )
    assert "%" not in getattr(functions, name).__doc__


@pytest.mark.parametrize("name", [*ACTIVATIONS, *LOSSES, "quantile"])
def test_docstrings_of_derivatives_describe_the_parameters_of_the_function(name):
    shared = ("x", "output", "gradient", "prediction", "target", "out")
    own, also = (
        {parameter: text for parameter, text in entries(function).items() if parameter not in shared}
        for function in (name, f"{name}_backward")
    )
    assert own == also
    errors, raised = sections(name)["Raises"], sections(f"{name}_backward")["Raises"]
    if name in ACTIVATIONS:
        conditions = re.findall(r",\n    or (.*)\.", errors)
        assert conditions == re.findall(r",\n    or (.*)\.", raised)
        assert len(conditions) == len(own)
    else:
        assert raised == f"TypeError, ValueError\n    As for `{name}`.\n\n"


@pytest.mark.once
def test_functions_without_docstrings():
    code = "from nnfast import functions as f; print([f.elu.__doc__, f.elu(2.0), float(f.huber([1.0], [0.0]))])"
    done = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[None, np.float64(2.0), 0.5]\n"
