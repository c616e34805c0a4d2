"""The activations that are not in the book: values and derivatives against SciPy, PyTorch and hand-computed numbers."""

from __future__ import annotations

import kernel_calls as kernels
import numpy as np
import pytest
import scipy.special
from tolerances import ULPS, assert_close, ulp_error

import nnfast as nf
from nnfast import activations, functions, reference
from nnfast.activations import ELU, GELU, LeakyReLU, ReLU, Softplus, resolve_activation

DTYPES = (np.float32, np.float64)
IN_THE_BOOK = {"identity", "step", "sigmoid", "tanh", "relu", "softmax"}  # tests/test_kernels.py tests these
NAMES = [name for name in activations.NAMES if name not in IN_THE_BOOK]
KEPT = [name for name in NAMES if name in kernels.FROM_INPUT]  # the derivative is computed from the input
PARAMETERS = {"leaky_relu": (0.01, 0.3), "elu": (1.0, 0.5), "softplus": (1.0, 3.0)}
CASES = [(name, (p,) if p is not None else ()) for name in NAMES for p in PARAMETERS.get(name, (None,))]


def derivative(module, name, x, parameter, gradient=None):
    """f'(x) times a gradient."""
    at = x if name in KEPT else getattr(module, name)(x, *parameter)
    return getattr(module, f"{name}_backward")(np.ones_like(x) if gradient is None else gradient, at, *parameter)


# ---- values


def softplus(x, beta=1.0):
    return np.logaddexp(0, beta * x) / beta


EXACT = {
    "leaky_relu": lambda x, slope: np.where(x > 0, x, slope * x),
    "elu": lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "gelu": lambda x: x / 2 * scipy.special.erfc(-x / np.sqrt(2)),
    "gelu_tanh": lambda x: x * scipy.special.expit(np.sqrt(8 / np.pi) * (x + 0.044715 * x**3)),
    "silu": lambda x: x * scipy.special.expit(x),
    "softplus": softplus,
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "log_softmax": lambda x: scipy.special.log_softmax(x, axis=-1),
}


def test_every_activation_has_its_formula():
    assert set(EXACT) == set(NAMES), "EXACT in this file needs the formula of each activation, with SciPy or NumPy"
    with_parameter = {name for name in NAMES if resolve_activation(name).alpha}
    assert set(PARAMETERS) == with_parameter, "PARAMETERS in this file needs two values, the first of which the default"


@pytest.mark.parametrize("module", [kernels, reference, functions], ids=["kernels", "reference", "functions"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_values(module, dtype, name, parameter):
    if not hasattr(module, name):
        pytest.skip("gelu_tanh is gelu(x, 'tanh') there")
    x = np.random.default_rng(0).normal(0, 2, (7, 19)).astype(dtype)
    x[0, :5] = 0, -3, 3, -0.5, 20
    assert_close(getattr(module, name)(x, *parameter), EXACT[name](x.astype(float), *parameter), scale=1 + np.abs(x))


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize("dtype", DTYPES)
def test_hand_computed_values(module, dtype):
    x, g = np.array([-4, -1, 0, 2], dtype), np.array([6, 6, 6, 6], dtype)
    np.testing.assert_array_equal(module.leaky_relu(x, 0.25), [-1, -0.25, 0, 2])
    np.testing.assert_array_equal(
        module.leaky_relu_backward(g, np.array([-1, -0.25, 0, 2], dtype), 0.25), [1.5, 1.5, 1.5, 6]
    )
    np.testing.assert_array_equal(module.elu_backward(g, np.array([-0.5, -0.25, 0, 2], dtype)), [3, 4.5, 6, 6])
    assert_close(module.hard_sigmoid(x), [0, 1 / 3, 0.5, 5 / 6])
    corners = np.array([-3, 3, 0, 1], dtype)
    assert_close(derivative(module, "hard_sigmoid", corners, (), g), [0, 0, 1, 1])
    assert_close(derivative(module, "selu", np.zeros(1, dtype), ()), [1.7580993408473766])
    assert_close(module.gelu(np.array([1, -1], dtype)), [0.8413447460685429, -0.15865525393145705])
    assert_close(derivative(module, "gelu", np.array([0, 1], dtype), ()), [0.5, 1.0833154705876864])
    assert_close(module.gelu_tanh(np.ones(1, dtype)), [0.8411919906082768])
    assert_close(module.silu(np.ones(1, dtype)), [0.7310585786300049])
    assert_close(derivative(module, "silu", np.ones(1, dtype), ()), [0.9276705118714869])
    assert_close(module.softplus(np.zeros(1, dtype), 2.0), [0.34657359027997264])
    assert_close(module.mish(np.array([1, -1], dtype)), [0.8650983882673103, -0.30340146137410895])
    assert_close(derivative(module, "mish", np.array([0, 1], dtype), ()), [0.6, 1.0490362200997922])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "parameter"), [case for case in CASES if case[0] in KEPT])
def test_value_and_derivative_in_one_pass(dtype, name, parameter):
    """The same bits as in two passes; both may overwrite the input; for zero or more elements."""
    alpha = parameter[0] if parameter else 0.0
    for n in range(71):
        x = np.random.default_rng(n).normal(0, 4, n).astype(dtype)
        y, slope = kernels.apply_keep(x, name, alpha)
        np.testing.assert_array_equal(y, getattr(kernels, name)(x, *parameter))
        np.testing.assert_array_equal(slope, derivative(kernels, name, x, parameter))
        for module in (kernels, reference):
            expected = module.apply_keep(x, name, alpha)
            assert_close(expected[0], y, scale=1 + np.abs(x))
            assert_close(expected[1], slope, scale=1 + np.abs(x))
            over = x.copy()
            out, d = module.apply_keep(over, name, alpha, derivative=over)
            assert d is over
            np.testing.assert_array_equal(out, expected[0])
            np.testing.assert_array_equal(over, expected[1])
    over = x.copy()
    assert kernels.apply_keep(over, name, alpha, out=over)[0] is over
    np.testing.assert_array_equal(over, y)


def test_only_what_keeps_its_derivative_is_kept():
    with pytest.raises(ValueError, match="^the derivative of relu is computed from its output$"):
        kernels.apply_keep(np.ones(3), "relu")
    with pytest.raises(KeyError, match="erf"):
        kernels.apply_keep(np.ones(3), "erf")


# ---- errors


def exact_float32(name, x):
    """In float64, whose error is far below one float32 unit in the last place."""
    return EXACT[name](x.astype(np.float64), *PARAMETERS.get(name, ())[:1])


@pytest.mark.parametrize("name", [name for name in NAMES if name in ULPS])
def test_error_in_float32(name):
    """Every 4099th float32 number, and the range where the function varies."""
    x = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate([x[np.isfinite(x)], np.linspace(-110, 30, 100_001, dtype=np.float32)])
    with np.errstate(all="ignore"):
        exact = exact_float32(name, x)
    error = ulp_error(getattr(kernels, name)(x), exact)
    assert error.max() <= ULPS[name], f"{name}({x[error.argmax()]!r}) is {error.max()} off"


def test_error_in_the_tail_of_gelu_tanh():
    x = np.linspace(-11, 0, 50_001, dtype=np.float32)
    v = np.sqrt(8 / np.pi) * np.abs(x + 0.044715 * x.astype(float) ** 3)
    assert (ulp_error(kernels.gelu_tanh(x), EXACT["gelu_tanh"](x.astype(float))) <= 6 + 4 * v).all()


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 2.0**-60, reason="numpy.longdouble has no more digits than float64")
@pytest.mark.parametrize("name", [*(name for name in NAMES if name in ULPS), "gelu_tanh"])
def test_error_in_float64(name):
    mp = pytest.importorskip("mpmath", reason="more digits than float64 has need mpmath").mp
    one = mp.mpf(1)
    scale, alpha = mp.mpf("1.0507009873554804934193349852946"), mp.mpf("1.6732632423543772848170429916717")
    exact = {
        "elu": lambda x: x if x > 0 else mp.expm1(x),
        "selu": lambda x: scale * (x if x > 0 else alpha * mp.expm1(x)),
        "gelu": lambda x: x * mp.erfc(-x / mp.sqrt(2)) / 2,
        "gelu_tanh": lambda x: x / (1 + mp.exp(-mp.sqrt(8 / mp.pi) * (x + mp.mpf("0.044715") * x**3))),
        "silu": lambda x: x / (1 + mp.exp(-x)),
        "softplus": lambda x: mp.log1p(mp.exp(-abs(x))) + max(x, 0),
        "mish": lambda x: x * mp.tanh(mp.log1p(mp.exp(x))),
    }[name]
    rng = np.random.default_rng(5)
    x = np.concatenate(
        [rng.uniform(-760, 50, 300), rng.uniform(-40, 5, 700), rng.normal(0, 1, 500), -np.logspace(-300, 1)]
    )
    with mp.workdps(40):
        values = [exact(one * float(v)) for v in x]
        wide = np.array([np.longdouble(mp.nstr(v, 25) if abs(v) > mp.mpf("1e-4000") else 0) for v in values])
    bound = ULPS.get(name, 6) + (4 * np.sqrt(8 / np.pi) * np.abs(x + 0.044715 * x**3) if name == "gelu_tanh" else 0)
    error = ulp_error(getattr(kernels, name)(x), wide)
    assert (error <= bound).all(), (
        f"{name}({x[(error - bound).argmax()]!r}) is off by {error[(error - bound).argmax()]}"
    )


# ---- special values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_nan_stays_nan(dtype, name, parameter):
    x = np.array([1, np.nan, 2], dtype)
    function, backward = getattr(kernels, name), getattr(kernels, f"{name}_backward")
    expected = [True] * 3 if name == "log_softmax" else [False, True, False]
    np.testing.assert_array_equal(np.isnan(function(x, *parameter)), expected)
    np.testing.assert_array_equal(np.isnan(backward(np.ones(3, dtype), x, *parameter)), [False, True, False])
    assert np.isnan(backward(x, np.full(3, 0.5, dtype), *parameter)[1])
    if name in KEPT:
        y, slope = kernels.apply_keep(x, name, *parameter)
        assert np.isnan(y[1])
        assert np.isnan(slope[1])


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize("dtype", DTYPES)
def test_infinite_and_huge_arguments(module, dtype):
    huge = np.finfo(dtype).max
    x = np.array([-np.inf, -huge, -1e4, 1e4, huge, np.inf], dtype)
    ends = {"elu": -1.0, "selu": -1.7580993408473766, "hard_sigmoid": 0.0, **dict.fromkeys(KEPT, 0.0)}
    with np.errstate(all="ignore"):
        for name, left in ends.items():
            right = np.ones(3) if name == "hard_sigmoid" else x[3:] * (1.0507009873554805 if name == "selu" else 1)
            with np.errstate(over="ignore"):
                assert_close(getattr(module, name)(x), np.concatenate([np.full(3, left), right]).astype(dtype))
        for name in KEPT:
            np.testing.assert_array_equal(derivative(module, name, x, ()), [0, 0, 0, 1, 1, 1])
        np.testing.assert_array_equal(module.leaky_relu(x, 0.5), np.where(x < 0, x / 2, x))
        far = np.array([[0, -huge / 2, -np.inf]], dtype)
        np.testing.assert_array_equal(module.log_softmax(far), far)


# ---- positions


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_bits_do_not_depend_on_the_place(dtype, name, parameter):
    """In the last, partial vector, and in any batch."""
    function, backward = getattr(kernels, name), getattr(kernels, f"{name}_backward")
    rng = np.random.default_rng(2)
    for n in (*range(1, 71), 5000):
        x, g = rng.normal(0, 3, (9, n)).astype(dtype), rng.normal(size=(9, n)).astype(dtype)
        y = function(x, *parameter)
        back = backward(g, y, *parameter)
        for rows in (slice(0, 1), slice(4, 5), slice(3, 9)):
            np.testing.assert_array_equal(function(x[rows], *parameter), y[rows])
            np.testing.assert_array_equal(backward(g[rows], y[rows], *parameter), back[rows])
        over = x.copy()
        function(over, *parameter, out=over)
        np.testing.assert_array_equal(over, y)
        backward(g, over, *parameter, out=over)
        np.testing.assert_array_equal(over, back)
        backward(g, y, *parameter, out=g)
        np.testing.assert_array_equal(g, back)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_a_dense_layer_applies_it(dtype, name, parameter):
    alpha = parameter[0] if parameter else 0.0
    for m, k, n in ((1, 3, 1), (5, 4, 37), (13, 8, 16), (3, 2, 70)):
        rng = np.random.default_rng(n)
        x, w, b = (rng.integers(-8, 9, shape).astype(dtype) / 8 for shape in ((m, k), (k, n), (n,)))
        for bias in (None, b):
            z = kernels.dense(x, w, bias)
            np.testing.assert_array_equal(
                kernels.dense(x, w, bias, name, alpha=alpha), getattr(kernels, name)(z, *parameter)
            )
            expected = reference.dense(*(a if a is None else a.astype(float) for a in (x, w, bias)), name, alpha=alpha)
            assert_close(kernels.dense(x, w, bias, name, alpha=alpha), expected, scale=2 + np.abs(expected))


# ---- PyTorch


def in_torch(torch, name):
    """PyTorch's function of the same name, but for some; its own hardsigmoid uses 1/6 rounded to float32."""
    f = torch.nn.functional
    others = {
        "hard_sigmoid": lambda x: f.relu6(x + 3) / 6,
        "gelu_tanh": lambda x: f.gelu(x, approximate="tanh"),
        "softplus": lambda x, beta: f.softplus(x, beta, threshold=1000),
        "log_softmax": lambda x: f.log_softmax(x, -1),
    }
    return others.get(name) or getattr(f, name)


@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_pytorch_has_the_same_values_and_derivatives(name, parameter):
    torch = pytest.importorskip("torch", reason="the values of PyTorch need torch")
    x = np.concatenate([np.random.default_rng(3).normal(0, 3, 60), [0.0, -3.0, 3.0, 1e-300]]).reshape(4, 16)
    g = np.random.default_rng(4).normal(size=x.shape)
    point = torch.tensor(x, requires_grad=True)
    y = in_torch(torch, name)(point, *parameter)
    y.backward(torch.tensor(g))
    assert_close(getattr(kernels, name)(x, *parameter), y.detach().numpy(), scale=1 + np.abs(x), kind="peer")
    assert_close(derivative(kernels, name, x, parameter, g), point.grad.numpy(), scale=1 + np.abs(x), kind="peer")


# ---- derivatives


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize(("name", "parameter"), CASES)
def test_derivatives_are_those_of_differences(module, name, parameter):
    rng, h = np.random.default_rng(0), 1e-5
    x, weights = rng.normal(0, 2, (3, 11)), rng.normal(size=(3, 11))
    x[np.abs(x) < 0.01] = 0.5  # away from the kinks
    x[np.abs(np.abs(x) - 3) < 0.01] = 1

    def total(at):
        return np.sum(weights * getattr(module, name)(at, *parameter))

    steps = h * np.eye(x.size).reshape(x.size, *x.shape)
    numerical = np.array([total(x + step) - total(x - step) for step in steps]).reshape(x.shape) / (2 * h)
    assert_close(
        derivative(module, name, x, parameter, weights), numerical, scale=10 + np.abs(numerical), kind="difference"
    )


# ---- the classes


def test_every_kernel_has_a_description():
    assert set(kernels.ACTIVATIONS) == set(activations.NAMES)
    objects = {name: resolve_activation(name) for name in activations.NAMES}
    for name, activation in objects.items():
        assert activation.name == name
        assert resolve_activation(activation) is activation
        twin = type(activation)() if name != "gelu_tanh" else GELU("tanh")
        assert twin == activation
        assert hash(twin) == hash(activation)
        assert eval(repr(activation), vars(activations)) == activation
        assert activation.alpha == PARAMETERS.get(name, (0.0,))[0]
    assert len(set(objects.values())) == len(objects)
    assert {type(activation).__name__ for activation in objects.values()} == set(activations.__all__)


def test_descriptions_are_equal_by_value_and_do_not_change():
    assert LeakyReLU(0.2) == LeakyReLU(0.2) != LeakyReLU()
    assert Softplus(2) != ELU(2)
    assert ReLU() != "relu"
    assert repr(Softplus(2)) == "Softplus(beta=2.0)"
    message = "^an activation is a description and does not change: make a new LeakyReLU"
    for attribute in ("negative_slope", "alpha", "other"):
        with pytest.raises(AttributeError, match=message):
            setattr(LeakyReLU(), attribute, 1.0)


@pytest.mark.parametrize("call", [lambda f, **k: f(**k), lambda f, **k: f([1.0], **k)], ids=["description", "function"])
def test_parameters_are_checked(call):
    of_function = call(lambda *args: len(args)) == 1
    home = functions if of_function else activations
    pairs = {"negative_slope": ("leaky_relu", "LeakyReLU"), "alpha": ("elu", "ELU"), "beta": ("softplus", "Softplus")}
    for parameter, names in pairs.items():
        make = getattr(home, names[not of_function])
        for bad in (-0.5, np.nan, np.inf):
            with pytest.raises(ValueError, match=f"^{parameter} must be a finite number in "):
                call(make, **{parameter: bad})
        with pytest.raises(TypeError, match=f"^{parameter} must be a number, got 'a'"):
            call(make, **{parameter: "a"})
    gelu = getattr(home, "gelu" if of_function else "GELU")
    with pytest.raises(ValueError, match=r"^approximate must be one of 'none', 'tanh', got 'erf'$"):
        call(gelu, approximate="erf")
    with pytest.raises(ValueError, match=r"^beta must be a finite number in \(0"):
        call(getattr(home, "softplus" if of_function else "Softplus"), beta=0)


def test_a_layer_takes_a_name_or_an_object():
    assert nf.Dense(3, "leaky_relu").function == LeakyReLU()
    layer = nf.Dense(3, LeakyReLU(0.2))
    assert (layer.activation, layer.function, layer.initializer) == ("leaky_relu", LeakyReLU(0.2), "he_normal")
    assert repr(layer) == "Dense(3, activation=LeakyReLU(negative_slope=0.2))"
    assert repr(nf.Dense(3, GELU())) == "Dense(3, activation='gelu')"
    assert nf.Dense(3, "selu").initializer == "lecun_normal"
    assert nf.Dense(3, "hard_sigmoid").initializer == nf.Dense(3, "log_softmax").initializer == "glorot_uniform"
    for name in ("relu", "leaky_relu", "elu", *KEPT):
        assert nf.Dense(3, name).initializer == "he_normal"
    for bad in (None, 3, LeakyReLU):
        with pytest.raises(TypeError, match=r"^activation must be a name or an object of nnfast.activations, got "):
            nf.Dense(2, bad)
    with pytest.raises(ValueError, match="^log_softmax on one unit is always 0: "):
        nf.Dense(1, "log_softmax")
