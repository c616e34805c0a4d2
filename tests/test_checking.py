"""Gradient checks: right gradients pass at any scale; planted mistakes are caught, located and named."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy_network import state
from tolerances import assert_close

import nnfast as nf
from nnfast.gradients import ArrayReport, GradientReport


def refuses(error, message):
    """Expect an error whose message begins with this text."""
    return pytest.raises(error, match=f"^{re.escape(message)}")


def rng(seed=0):
    return np.random.default_rng(seed)


# ---- right gradients


def rosenbrock(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def slope_of_rosenbrock(x):
    slope = np.zeros_like(x)
    slope[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    slope[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return slope


def log_sum_exp(x):
    return np.log(np.sum(np.exp(x - x.max()))) + x.max()


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


RIGHT = {
    "squares": (lambda x: np.sum(x**2), lambda x: 2 * x),
    "sines": (lambda x: np.sum(np.sin(x)), np.cos),
    "fourth powers": (lambda x: np.sum(x**4), lambda x: 4 * x**3),
    "steep exponentials": (lambda x: np.sum(np.exp(10 * x)), lambda x: 10 * np.exp(10 * x)),
    "Rosenbrock's": (rosenbrock, slope_of_rosenbrock),
    "log sum exp": (log_sum_exp, softmax),
    "a sum that cancels": (lambda x: np.sum(x) - x.size * np.mean(x), np.zeros_like),
    "a constant": (lambda x: 3.0, np.zeros_like),
    "zero": (lambda x: 0.0, np.zeros_like),
    "linear": (lambda x: x @ np.arange(x.size), lambda x: np.arange(x.size)),
    "fast sines": (lambda x: np.sum(np.sin(1000 * x)), lambda x: 1000 * np.cos(1000 * x)),
    "squares of far points": (lambda x: np.sum((x - 100.0) ** 2), lambda x: 2 * (x - 100)),
}
SCALES = [1.0, 1e12, 1e-12, -1.0, 1e-150]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", RIGHT)
def test_right_gradients_pass(name, scale):
    f, gradient = RIGHT[name]
    x = rng().standard_normal(6)
    before = x.copy()
    report = nf.check_gradient(lambda x: scale * f(x), lambda x: scale * gradient(x), x)
    assert report, report
    assert not report["x"].kinks.any()
    assert report["x"].relative_error <= 1e-5
    assert (report["x"].why, report["x"].wrong.any()) == ("", False)
    assert (x == before).all()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", [*RIGHT][:-1])
@pytest.mark.parametrize(
    "mistake", [lambda g: -g, lambda g: 0.5 * g, lambda g: 1.001 * g, lambda g: g + np.abs(g).max() / 100]
)
def test_and_wrong_ones_of_the_same_functions_do_not(name, scale, mistake):
    f, gradient = RIGHT[name]
    x = rng().standard_normal(6)
    if not gradient(x).any():
        assert not nf.check_gradient(lambda x: scale * f(x), scale * np.full(6, 0.001), x)
        return
    report = nf.check_gradient(lambda x: scale * f(x), mistake(scale * gradient(x)), x)
    assert not report, report
    assert report["x"].why


@pytest.mark.parametrize(
    "name", ["squares", "sines", "fourth powers", "a sum that cancels", "linear", "squares of far points"]
)
@pytest.mark.parametrize("size", [1e6, 1e3, 1e-3])
def test_right_gradients_pass_far_from_one(name, size):
    f, gradient = RIGHT[name]
    x = size * rng().standard_normal(6)
    report = nf.check_gradient(f, gradient, x)
    assert report, report
    if gradient(x).any():
        assert not nf.check_gradient(f, lambda x: 1.001 * gradient(x), x)


def test_numbers_of_many_sizes():
    x = np.array([1e6, 1e-3, 1.0, -5.0, 0.0])
    report = nf.check_gradient(lambda x: np.sum(np.sin(x)), np.cos, x)
    assert report, report
    report = nf.check_gradient(lambda x: np.sum(np.sin(x)), lambda x: np.cos(x) + 1e-3 * (x == 1e-3), x)
    assert report["x"].wrong.tolist() == [False, True, False, False, False]


@pytest.mark.parametrize("at", [np.zeros(3), np.full(3, 0.1), np.array([1 / 3, -0.7, 1e3])])
@pytest.mark.parametrize("value", [0.0, 1.0, -5.0])
def test_at_a_minimum(at, value):
    """All partial derivatives are zero: rounding must not count as an error of 100 %."""
    report = nf.check_gradient(lambda x: np.sum((x - at) ** 2) + value, lambda x: 2 * (x - at), at)
    assert report, report
    assert not nf.check_gradient(lambda x: np.sum((x - at) ** 2) + value, lambda x: 2 * (x - at) + 1e-3, at)


@given(
    shape=st.sampled_from([(), (1,), (4,), (2, 3), (2, 1, 3)]),
    seed=st.integers(0, 2**32 - 1),
    order=st.integers(-12, 12),
    where=st.integers(-4, 5),
)
def test_any_polynomial(shape, seed, order, where):
    random = rng(seed)
    a, b, c = (random.standard_normal(shape) for _ in range(3))
    x = random.standard_normal(shape) * 10.0**where

    def f(x):
        return 10.0**order * np.sum(a * x + b * x**2 + c * x**3)

    def gradient(x):
        return 10.0**order * (a + 2 * b * x + 3 * c * x**2)

    report = nf.check_gradient(f, gradient, x)
    assert report, report
    assert report["x"].gradient.shape == report["x"].numerical.shape == report["x"].errors.shape == shape
    largest = np.abs(gradient(x)).argmax()
    wrong = np.array(gradient(x))
    wrong.flat[largest] *= 1.01
    report = nf.check_gradient(f, wrong, x)
    assert not report, report
    assert np.flatnonzero(report["x"].wrong).tolist() == [largest]


def test_gradient_may_be_an_array():
    assert nf.check_gradient(lambda x: np.sum(x**2), [2, 4], [1, 2])
    assert not nf.check_gradient(lambda x: np.sum(x**2), [2, 5], [1, 2])


def test_empty():
    report = nf.check_gradient(np.sum, np.zeros((0, 3)), np.zeros((0, 3)))
    assert report
    array = report["x"]
    assert (array.relative_error, array.absolute_error, array.relative_at, array.absolute_at) == (0, 0, (), ())
    assert "(0, 3)" in str(report)


def test_a_number():
    report = nf.check_gradient(lambda x: x**2, lambda x: 2 * x, 3.0)
    assert report
    assert report["x"].relative_at == ()
    report = nf.check_gradient(lambda x: x**2, lambda x: 3 * x, 3.0)
    assert report["x"].why == "differs"
    assert "WRONG: differs" in str(report)


def test_functions_get_copies():
    def f(x):
        x *= 2
        return np.sum(x)

    def gradient(x):
        x[:] = 2
        return x

    x = np.array([1.0, 2.0])
    assert nf.check_gradient(f, gradient, x)
    assert x.tolist() == [1, 2]


def test_h_and_tolerance():
    f, gradient = RIGHT["fourth powers"]
    x = np.array([1.0, 2.0])
    assert nf.check_gradient(f, gradient, x, h=1e-3).h == 1e-3
    assert nf.check_gradient(f, gradient, x, tolerance=1e-3).tolerance == 1e-3
    assert not nf.check_gradient(f, lambda x: 1.0001 * gradient(x), x)
    assert nf.check_gradient(f, lambda x: 1.0001 * gradient(x), x, tolerance=1e-3)
    assert nf.check_gradient(f, gradient, x, h=0.3), "what fails is checked again with a smaller h"
    assert not nf.check_gradient(f, lambda x: 1.001 * gradient(x), x, h=0.3)


def test_h_that_is_no_multiple_of_what_numbers_can_move():
    """A smaller h than this would change nothing, and there is still a report."""
    x = np.array([1e12])
    report = nf.check_gradient(lambda x: np.sum(3 * x), lambda x: x * 0 + 2, x, h=1e-3)
    assert not report
    assert report["x"].gradient == [2]


# ---- mistakes


def matrix_function(n, m):
    a = rng().standard_normal((n, m))
    return (lambda w: np.sum(a * w) + np.sum(np.tanh(w))), lambda w: a + 1 - np.tanh(w) ** 2


def planted(gradient, at, error):
    def wrong(x):
        slope = np.array(gradient(x))
        slope[at] += error
        return slope

    return wrong


MISTAKES = {
    "has the wrong sign": lambda g: -g,
    "is 0.25 times the numerical one: a factor is wrong": lambda g: g / 4,
    "is 7 times the numerical one: a factor is wrong": lambda g: g * 7,
    "is -2 times the numerical one: a factor is wrong": lambda g: g * -2,
    "is 1.0001 times the numerical one: a factor is wrong": lambda g: g * 1.0001,
    "is zero: a term is missing": lambda g: 0 * g,
    "is transposed": lambda g: g.T.reshape(g.shape),
    "differs at [1, 2]": lambda g: planted(lambda g: g, (1, 2), 1e-3)(g),
    "differs at [0, 1], [1, 2]": lambda g: planted(lambda g: g, ([0, 1], [1, 2]), 1e-3)(g),
    "differs only in row 1": lambda g: planted(lambda g: g, 1, 1e-3)(g),
    "differs only in column 2": lambda g: planted(lambda g: g, (slice(None), 2), 1e-3)(g),
    "differs only in columns 0, 2": lambda g: planted(lambda g: g, (slice(None), [0, 2]), 1e-3)(g),
    "differs only in rows 0, 2": lambda g: planted(lambda g: g, ([0, 2], slice(None)), 1e-3)(g),
    "differs in all of": lambda g: g + rng(2).uniform(1e-3, 1, g.shape),
    "is not finite at [1, 2]": lambda g: planted(lambda g: g, (1, 2), np.nan)(g),
    "is not finite at [0, 0], [0, 1], [0, 2] and": lambda g: g / 0.0,
}


@pytest.mark.parametrize("shape", [(3, 3), (3, 4), (6, 5)])
@pytest.mark.parametrize("why", MISTAKES)
@pytest.mark.parametrize("scale", [1.0, 1e9, 1e-9])
def test_mistakes_are_named(why, shape, scale):
    f, gradient = matrix_function(*shape)
    w = rng(1).standard_normal(shape)
    with np.errstate(divide="ignore"):
        claimed = scale * MISTAKES[why](gradient(w))
    report = nf.check_gradient(lambda w: scale * f(w), claimed, w)
    assert not report
    array = report["x"]
    if why.endswith("and"):
        assert array.why == f"{why} {w.size - 3} more"
    elif why.endswith("of"):
        assert array.why == f"differs in {w.size} of {w.size} entries"
    else:
        assert array.why == why
    different = ~(np.abs(claimed - scale * gradient(w)) <= 1e-9 * scale)
    np.testing.assert_array_equal(array.wrong, different)
    assert array.wrong[array.relative_at]
    assert array.wrong[array.absolute_at]
    assert f"WRONG: {array.why}" in str(report)


def test_mistakes_of_vectors():
    f, gradient = RIGHT["sines"]
    x = rng().standard_normal(6)
    assert nf.check_gradient(f, planted(gradient, 3, 0.1), x)["x"].why == "differs at [3]"
    assert nf.check_gradient(f, planted(gradient, slice(4), 0.1), x)["x"].why == "differs in 4 of 6 entries"
    assert nf.check_gradient(f, planted(gradient, 3, np.inf), x)["x"].why == "is not finite at [3]"


def test_errors_are_what_they_are_said_to_be():
    report = nf.check_gradient(lambda x: np.sum(3 * x), [3.0, 3.3, 2.0], [1.0, 2.0, 3.0])
    array = report["x"]
    assert isinstance(array, ArrayReport)
    assert (array.relative_at, array.absolute_at) == ((2,), (2,))
    assert_close(array.absolute_error, 1.0, scale=10.0, kind="difference")
    assert array.relative_error == array.errors[2]
    # the difference divided by the larger of the two: rounding is far below the tolerance
    assert array.errors == pytest.approx([0, 0.3 / 3.3, 1 / 3], abs=1e-3)
    assert (array.errors <= np.array([1e-9, 0.3 / 3.3, 1 / 3])).all(), "an allowance for rounding makes them smaller"
    assert array.gradient.tolist() == [3.0, 3.3, 2.0]
    assert_close(array.numerical, np.full(3, 3.0), scale=np.full(3, 10.0), kind="difference")
    assert array.wrong.tolist() == [False, True, True]


# ---- kinks


def relu(x):
    return np.maximum(x, 0)


NEAR = np.array([0.0, 1.0, -2.0, 1e-6, -1e-7, 1e-9, -1e-9])
SPOILT = np.array([True, False, False, True, True, True, True])  # by a kink within h


@pytest.mark.parametrize("at_zero", [0.0, 0.3, 1.0])
def test_relu_at_and_near_zero(at_zero):
    def gradient(x):
        return np.where(x == 0, at_zero, x > 0)

    report = nf.check_gradient(lambda x: np.sum(relu(x)), gradient, NEAR)
    assert report, report
    assert report["x"].kinks.tolist() == SPOILT.tolist()
    assert report["x"].relative_error < 1e-6
    assert "5 entries at kinks left out" in str(report)


def test_abs_at_and_near_zero():
    """At zero the central difference is right by chance."""
    report = nf.check_gradient(lambda x: np.sum(np.abs(x)), np.sign, NEAR)
    assert report, report
    assert not report["x"].kinks[~SPOILT].any()
    assert report["x"].kinks[3:].all()
    report = nf.check_gradient(lambda x: np.sum(np.abs(x)), lambda x: np.where(x == 0, -0.9, np.sign(x)), NEAR)
    assert report["x"].kinks[0]


@pytest.mark.parametrize("slope", [1.001, -0.001, 5.0, -1.0])
def test_a_slope_outside_of_both_sides_is_wrong_at_a_kink_too(slope):
    report = nf.check_gradient(lambda x: np.sum(relu(x)), lambda x: np.where(x == 0, slope, x > 0), NEAR)
    assert not report
    assert report["x"].wrong.tolist() == [True] + [False] * 6
    assert report["x"].why == "is not between the slopes on both sides of the kink at [0]"
    report = nf.check_gradient(lambda x: np.sum(relu(x)), lambda x: np.where(x == 0, slope, 2.0 * (x == 1)), NEAR[:3])
    assert report["x"].why == "differs at [0], [1]", "not only the kink"


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("error", [1.0, -0.01, 0.5])
def test_a_wrong_slope_beside_kinks_is_caught(at, error):
    report = nf.check_gradient(lambda x: np.sum(relu(x)), planted(lambda x: np.float64(x > 0), at, error), NEAR)
    assert not report
    assert np.flatnonzero(report["x"].wrong).tolist() == [at]
    assert report["x"].why == f"differs at [{at}]"


def test_kinks_do_not_hide_a_wrong_sign():
    report = nf.check_gradient(lambda x: np.sum(relu(x)) + np.sum(x), lambda x: -1.0 - (x > 0), NEAR)
    assert not report
    assert report["x"].wrong.all()


@pytest.mark.parametrize("spread", [0.0, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4])
@pytest.mark.parametrize("samples", [1, 10, 1000])
def test_sums_of_many_kinks(samples, spread):
    """Each number has kinks at many distances, within h and beyond it."""
    a, w = rng().standard_normal((samples, 5)), spread * rng(1).standard_normal(5)

    def f(w):
        return np.sum(relu(a @ w)) + 3 * np.sum(w)

    def gradient(w):
        return a.T @ (a @ w > 0) + 3

    report = nf.check_gradient(f, gradient, w)
    assert report, report
    report = nf.check_gradient(f, lambda w: gradient(w) + samples, w)
    assert report["x"].wrong.all()


def test_a_kink_is_no_excuse_for_curvature():
    """With a large h, curvature is not mistaken for a kink."""
    report = nf.check_gradient(lambda x: np.sum(np.exp(x)), np.exp, [0.0, 1.0, 3.0], h=0.3)
    assert report, report
    array = report["x"]
    assert not array.kinks.any()
    assert array.relative_error == array.errors.max() <= report.tolerance, "those of the smaller h"
    assert (np.abs(array.numerical / np.exp([0.0, 1.0, 3.0]) - 1) <= report.tolerance).all()
    report = nf.check_gradient(lambda x: np.sum(np.exp(x)), lambda x: np.exp(x) * 1.0002, [0.0, 1.0, 3.0], h=0.3)
    assert report["x"].wrong.all(), "although it lies between the slopes of both sides"


def test_curvature_at_the_smallest_h_is_not_a_kink():
    x = np.array([np.pi * 318309.25])
    assert nf.check_gradient(lambda x: np.sum(np.sin(x)), np.cos, x)
    report = nf.check_gradient(lambda x: np.sum(np.sin(x)), lambda x: np.cos(x) + 3e-5, x)
    assert not report, "although it lies between the slopes of both sides"
    assert report["x"].why == "differs at [0]"


def test_a_slope_between_two_kinks():
    """The slopes on both sides are larger."""
    d = 5e-10

    def f(x):
        return np.sum(100 * x + 2 * relu(x - d) - relu(-x - d))

    report = nf.check_gradient(f, [100.0], [0.0])
    assert report, report
    assert report["x"].kinks.all()
    assert not nf.check_gradient(f, [99.9], [0.0])
    assert not nf.check_gradient(f, [103.0], [0.0])


def test_a_root():
    """Its slope on both sides grows without bound, yet zero is between them."""
    assert nf.check_gradient(lambda x: np.sqrt(np.abs(x[0])), [0.0], [0.0])
    assert nf.check_gradient(lambda x: np.sqrt(x[0]), lambda x: 0.5 / np.sqrt(x), [1e-5])


def test_the_edge_of_where_f_is_finite():
    with np.errstate(invalid="ignore"):
        report = nf.check_gradient(lambda x: np.sum(np.log(x)), lambda x: 1 / x, [1e-6, 1.0, 3e-6])
        assert report, report
        report = nf.check_gradient(lambda x: np.sum(np.sqrt(x)), [1.0, 0.5], [0.0, 1.0])
        wrong = nf.check_gradient(lambda x: np.sum(np.sqrt(x)), [1.0, 0.6], [0.0, 1.0])
    assert report, "undecided entries are not a failure"
    assert report["x"].why == "undecided: f is not finite beside [0]"
    assert report["x"].undecided.tolist() == [True, False]
    assert str(report).startswith("gradient of <lambda>: right, 1 entry undecided (h =")
    assert wrong["x"].wrong.tolist() == [False, True]


def step(x):
    return np.float64(x > 0)


def test_a_step_function_has_slope_zero():
    report = nf.check_gradient(lambda x: np.sum(step(x)), np.zeros_like, NEAR)
    assert report, report
    assert report["x"].kinks.tolist() == SPOILT.tolist()


@pytest.mark.parametrize("slope", [5.0, 1e-3, 1e4, -1.0])
def test_a_slope_at_a_jump_is_undecided_unless_it_is_that_of_one_side(slope):
    report = nf.check_gradient(lambda x: np.sum(step(x)), planted(np.zeros_like, 0, slope), NEAR)
    assert report
    assert report["x"].undecided.tolist() == [True] + [False] * 6
    assert report["x"].why == "undecided: f jumps at [0]"
    report = nf.check_gradient(lambda x: np.sum(step(x)) + np.sum(x), [slope, slope, 1], NEAR[:3])
    assert report["x"].wrong.tolist() == [False, True, False], "but for the jump"


@pytest.mark.parametrize("at", [1, 3, 4, 5])
def test_a_wrong_slope_beside_a_jump_is_caught(at):
    report = nf.check_gradient(lambda x: np.sum(step(x)) + np.sum(x), planted(np.ones_like, at, 0.01), NEAR)
    assert not report
    assert report["x"].wrong[at]
    assert report["x"].why.startswith("differs at")


def test_a_jump_on_both_sides_has_no_slope():
    report = nf.check_gradient(lambda x: np.sum(np.sign(x)), np.zeros_like, NEAR)
    assert report
    assert report["x"].why == "undecided: f jumps at [0]"
    assert report["x"].undecided.tolist() == [True] + [False] * 6


def test_rounding_that_hides_the_slopes_is_reported():
    for f in (lambda x: 1e14 + np.sum(x), lambda x: 1e17 + np.sum(x)):  # the first changes with x, the second does not
        report = nf.check_gradient(f, np.ones_like, [1.0, 2.0])
        assert report
        assert report["x"].why == "undecided: rounding of f hides its slope at [0], [1]: use a larger h"
        assert report["x"].undecided.all()
        assert str(report).startswith("gradient of <lambda>: undecided (h =")
        assert re.split(r"  +", str(report).splitlines()[3])[-1] == report["x"].why
    report = nf.check_gradient(lambda x: 1e14 + np.sum(x), lambda x: -np.ones_like(x), [1.0, 2.0], h=2.0**20)
    assert report["x"].why == "has the wrong sign"
    assert nf.check_gradient(lambda x: 1e14 + np.sum(x), np.ones_like, [1.0, 2.0], h=2.0**20)
    report = nf.check_gradient(lambda x: 1e6 + np.sum(x), lambda x: -np.ones_like(x), [1.0, 2.0])
    assert report["x"].why == "has the wrong sign"


def test_an_h_so_small_that_all_is_rounding_lets_no_mistake_pass():
    f, gradient = RIGHT["squares"]
    x = rng().standard_normal(6)
    for h in (1e-9, 1e-11, 1e-13, 1e-15):
        assert not nf.check_gradient(f, lambda x: 0.9 * gradient(x), x, h=h)
        assert not nf.check_gradient(f, lambda x: 0 * x, x, h=h)


@pytest.mark.parametrize("factor", [1 + 1e-5, 1 - 1e-5, 1.0001])
def test_a_hundred_thousandth_is_found(factor):
    for name in ("squares", "sines", "fourth powers", "squares of far points"):
        f, gradient = RIGHT[name]
        x = rng().standard_normal(6)
        assert not nf.check_gradient(f, lambda x, gradient=gradient: factor * gradient(x), x), name


# ---- functions that misbehave


def test_a_random_function_is_called_random():
    random = rng()
    f, gradient = RIGHT["squares"]
    report = nf.check_gradient(lambda x: f(x) + 1e-9 * random.normal(), gradient, [1.0, 2.0])
    assert not report
    assert re.match(
        r"gradient of <lambda>: CANNOT BE CHECKED: the function is random: for the same argument it returned "
        r"5\.0000\d+ and (5\.0|4\.9999)\d+",
        str(report),
    )
    assert report.random.startswith("for the same argument it returned")
    assert not nf.check_gradient(f, gradient, [1.0, 2.0]).random
    with pytest.raises(AssertionError, match="the function is random"):
        nf.assert_gradient_correct(lambda x: f(x) + random.normal(), gradient, [1.0, 2.0])


def test_a_function_in_float32_is_judged_with_larger_h():
    a = rng().standard_normal(20)

    def f(x):
        return float(np.float32(np.sum(np.tanh(x * a))))

    def gradient(x):
        return a * (1 - np.tanh(x * a) ** 2)

    x = rng(1).standard_normal(20)
    report = nf.check_gradient(f, gradient, x)
    assert report, report
    assert not nf.check_gradient(f, lambda x: 1.1 * gradient(x), x)
    small = nf.check_gradient(lambda x: float(np.float32(1e6 + np.sum(x))), np.ones_like, [1.0, 2.0, 3.0])
    assert small["x"].why == (
        "undecided: f computes in float32, whose rounding hides its slopes: compute in float64, or use a larger h"
    )


@pytest.mark.parametrize("digits", [3, 6, 9])
@pytest.mark.parametrize("seed", range(10))
def test_a_function_that_rounds_its_value_raises_no_alarm(digits, seed):
    a, x = rng(seed).standard_normal((2, 8))

    def gradient(x):
        return (1 - np.tanh(x * a) ** 2) * a

    def f(x):
        return round(float(np.sum(np.tanh(x * a))), digits)

    report = nf.check_gradient(f, gradient, x)
    assert report, report
    if digits > 3:
        assert not nf.check_gradient(f, lambda x: -gradient(x), x)
    else:
        assert report["x"].why.startswith("undecided: rounding of f hides its slope")


@pytest.mark.parametrize("frequency", [1e12, 3e13, 1e15])
def test_waves_that_no_h_resolves_are_undecided(frequency):
    def f(x):
        return np.sum(np.sin(frequency * x))

    report = nf.check_gradient(f, lambda x: frequency * np.cos(frequency * x), [0.1, 0.2, 0.3])
    assert report, report
    assert report["x"].undecided.all()
    assert not nf.check_gradient(np.sum, [1e300, 1.0, -1e12], [0.1, 0.2, 0.3]), "a smooth function has no such slopes"


def test_a_function_that_reads_another_array_is_reported():
    w = np.array([1.0, 2.0])
    report = nf.check_gradient(lambda x: np.sum(w**2), lambda x: 2 * x, w)
    assert not report
    assert report["x"].why == (
        "is not zero, but f returned the same value wherever x was moved: does it read another array?"
    )


def test_arrays_that_callables_keep_and_change():
    kept = np.empty(3)

    def gradient(x):
        kept[:] = 4 * x**3
        return kept

    def f(x):
        kept[:] = 0
        x[:] = x**4
        return np.sum(x)

    x = np.array([1.0, 2.0, 3.0])
    assert nf.check_gradient(f, gradient, x)
    claimed = 4 * x**3
    kept = claimed
    assert nf.check_gradient(f, claimed, x), "an array that f writes over later"
    assert x.tolist() == [1, 2, 3]


def test_a_function_need_not_be_defined_far_from_the_point():
    """What cannot be decided with the usual h is evaluated farther away, where this function raises an error."""
    import math

    def f(x):
        return 1e9 + math.log(x[0]) + math.sqrt(x[1])

    report = nf.check_gradient(f, lambda x: [1 / x[0], 0.5 / math.sqrt(x[1])], [1e-4, 1e-3])
    assert report, report


def test_the_function_sees_the_caller_s_error_state():
    states = []

    def f(x):
        states.append(np.geterr())
        return np.sum(x**2)

    with np.errstate(all="raise"):
        assert nf.check_gradient(f, lambda x: 2 * x, [1e-3, 1.0])
        expected = np.geterr()
    assert all(state == expected for state in states[:5])


@pytest.mark.parametrize("size", [1e-8, 1e-12, 1e-20, 1e-100])
@pytest.mark.parametrize("name", ["log cosh", "log of 1 + squares", "squares", "squares around 1"])
def test_right_gradients_pass_beside_a_minimum_whose_value_is_zero(name, size):
    """h is so small that the value does not change, although the value itself, zero, has no rounding error."""
    f, gradient = {
        "log cosh": (lambda x: np.sum(np.log(np.cosh(x))), np.tanh),
        "log of 1 + squares": (lambda x: np.sum(np.log(1 + x**2)), lambda x: 2 * x / (1 + x**2)),
        "squares": (lambda x: np.sum(x**2), lambda x: 2 * x),
        "squares around 1": (lambda x: np.sum((x + 1 - 1) ** 2), lambda x: 2 * (x + 1 - 1)),
    }[name]
    report = nf.check_gradient(f, gradient, size * rng().standard_normal(8))
    assert report, report


@pytest.mark.parametrize("digits", [4, 6, 8])
def test_rounded_values_are_no_flat_function(digits):
    w, x = rng().standard_normal((2, 8))
    for f in (
        lambda x: round(float(w @ np.sin(x)), digits),
        lambda x: float(w @ np.sin(np.round(x, digits))),
        lambda x: float((w * np.sin(x) + 10.0 ** (15 - digits) - 10.0 ** (15 - digits)).sum()),
    ):
        report = nf.check_gradient(f, lambda x: w * np.cos(x), x)
        assert report, report
        assert not nf.check_gradient(f, lambda x: -10 * w * np.cos(x), x)


def test_a_flat_part_of_a_function_is_no_rounding():
    for f in (
        lambda x: np.sum(np.sign(x) * np.maximum(np.abs(x) - 1e-7, 0)),
        lambda x: np.sum(np.maximum(np.abs(x) - 1e-7, 0)),
    ):
        report = nf.check_gradient(f, np.zeros_like, [1e-8, -3e-8, 0.0])
        assert report, report


@pytest.mark.parametrize("noise", [1e-12, 1e-10, 1e-9])
def test_noise_is_no_jump(noise):
    def f(x):
        return np.sum(np.sin(x)) + noise * np.sin(1e15 * np.sum(x))  # deterministic

    x = rng().standard_normal(8)
    report = nf.check_gradient(f, np.cos, x)
    assert report, report
    assert not nf.check_gradient(f, lambda x: -np.cos(x), x)
    assert not nf.check_gradient(f, lambda x: 1.01 * np.cos(x), x)
    assert not nf.check_gradient(f, lambda x: 0 * x, x)


@pytest.mark.parametrize("error", [IndexError, AssertionError, RuntimeError, TypeError])
def test_a_function_may_raise_anything_far_from_the_point(error):
    def f(x):
        if np.abs(x - 1).max() > 1e-5:
            raise error("too far")
        return np.sum(x**2)

    assert nf.check_gradient(f, lambda x: 2 * x, np.ones(3))
    assert nf.check_gradient(f, lambda x: -2 * x, np.ones(3))["x"].why == "has the wrong sign"


def test_a_function_may_raise_at_h_beside_the_point():
    import math

    for f, slope in ((lambda x: math.log(x[0]), 1e7), (lambda x: float(x[0]) ** 0.5, 0.5 * 1e-7**-0.5)):
        report = nf.check_gradient(f, [slope], [1e-7])
        assert report, report
        assert not nf.check_gradient(f, [-slope], [1e-7])


# ---- the report


def test_report_is_a_mapping_and_a_truth():
    report = nf.check_gradient(lambda x: np.sum(x**2), lambda x: 2 * x, [1.0, 2.0])
    assert isinstance(report, GradientReport)
    assert (list(report), len(report), "x" in report, "y" in report) == (["x"], 1, True, False)
    assert bool(report) is bool(report["x"]) is True
    with pytest.raises(KeyError, match="no array 'W1' was checked: there are x"):
        report["W1"]
    assert report == report
    assert report != nf.check_gradient(lambda x: np.sum(x**2), lambda x: 2 * x, [1.0, 2.0])


def test_report_prints_as_a_table():
    def loss(w):
        return np.sum(w**2) + np.abs(w[0, 0])

    report = nf.check_gradient(loss, lambda w: -2 * w + [[1, 0], [0, 0]], [[0.0, 1.0], [2.0, 3.0]], tolerance=1e-4)
    lines = str(report).splitlines()
    assert repr(report) == str(report)
    assert lines[0] == "gradient of loss: WRONG in x, 1 entry at kinks left out (h = 6.1e-06, tolerance = 0.0001)"
    assert re.split(r"  +", lines[1]) == [
        "array", "shape", "relative error", "at", "gradient", "numerical", "absolute error", "kinks", "verdict"
    ]  # fmt: skip
    assert re.fullmatch(r"(-+  )+-+", lines[2])
    assert len(lines) == 4
    row = re.split(r"  +", lines[3])
    assert row == ["x", "(2, 2)", "2.0e+00", "[1, 1]", "-6", "6", "1.2e+01", "1", "WRONG: has the wrong sign"]
    cells = {"shape": "(2, 2)", "at ": "[1, 1]", "gradient": "-6  ", "kinks": "1      WRONG", "verdict": "WRONG"}
    assert [lines[1].index(name) for name in cells] == [lines[3].index(cell) for cell in cells.values()]


def test_report_of_nothing_but_kinks_shows_no_numbers():
    report = nf.check_gradient(lambda x: np.sum(relu(x)), [0.0, 0.0], [0.0, 0.0])
    assert re.split(r"  +", str(report).splitlines()[3]) == ["x", "(2,)", "0.0e+00", "0.0e+00", "2", "right"]


def test_report_names_the_function():
    def mine(x):
        return np.sum(x)

    assert str(nf.check_gradient(mine, [1.0], [1.0])).startswith("gradient of mine: right (h =")
    assert str(nf.check_gradient(partial(mine), [1.0], [1.0])).startswith("gradient of partial: right (h =")


@pytest.mark.parametrize(
    ("f", "gradient", "x", "options", "error", "message"),
    [
        (3, [1.0], [1.0], {}, TypeError, "f must be callable, got 3 (int)"),
        (np.sum, [1.0], ["a"], {}, TypeError, "x must hold real numbers, got ['a'] (list)"),
        (np.sum, [1.0], [1j], {}, TypeError, "x must hold real numbers, got [1j] (list)"),
        (np.sum, [1.0, 1.0], [1.0, np.nan], {}, ValueError, "x must be finite, got NaN or infinity at index 1"),
        (np.sum, [1.0], [1.0, 2.0], {}, ValueError, "gradient must have shape (2,), got (1,)"),
        (np.sum, lambda x: [1.0], [1.0, 2.0], {}, ValueError, "the result of gradient must have shape (2,), got (1,)"),
        (np.sum, np.ones((2, 3)), np.ones((3, 2)), {}, ValueError,
         "gradient must have shape (3, 2), got (2, 3): it is transposed"),
        (np.sum, lambda x: x.T, np.ones((3, 2)), {}, ValueError,
         "the result of gradient must have shape (3, 2), got (2, 3): it is transposed"),
        (np.sum, None, [1.0], {}, TypeError, "gradient must hold real numbers, got None (NoneType)"),
        (np.sum, lambda x: None, [1.0], {}, TypeError, "the result of gradient must hold real numbers, got None"),
        (lambda x: x, [1.0, 1.0], [1.0, 2.0], {}, TypeError, "f must return one real number, got an array of shape"),
        (lambda x: np.nan, [1.0], [1.0], {}, ValueError, "f must be finite at x, got nan"),
        (lambda x: np.inf, [1.0], [1.0], {}, ValueError, "f must be finite at x, got inf"),
        (np.sum, [1.0], [1.0], {"h": 0}, ValueError, "h must be a finite number in (0.0, inf), got 0.0"),
        (np.sum, [1.0], [1.0], {"h": "a"}, TypeError, "h must be a number, got 'a' (str)"),
        (np.sum, [1.0], [1e20], {"h": 1.0}, ValueError, "h must change x, but x[0] = 1e+20 (float64) moved by 1"),
        (np.sum, [1.0], [1.0], {"tolerance": 0}, ValueError, "tolerance must be a finite number in (0.0, 1.0), got 0"),
        (np.sum, [1.0], [1.0], {"tolerance": 1}, ValueError, "tolerance must be a finite number in (0.0, 1.0), got 1"),
        (np.sum, [1.0], [1.0], {"tolerance": None}, TypeError, "tolerance must be a number, got None (NoneType)"),
    ],
)  # fmt: skip
def test_refusals(f, gradient, x, options, error, message):
    with refuses(error, message):
        nf.check_gradient(f, gradient, x, **options)


# ---- networks

ACTIVATIONS = ["identity", "sigmoid", "tanh", "relu"]
ENDS = [
    ("softmax", "cross_entropy"),
    ("sigmoid", "binary_cross_entropy"),
    ("identity", "mean_squared_error"),
    ("tanh", "sum_squared_error"),
]


def make_net(hidden="tanh", end="softmax", loss="cross_entropy", dtype="float64", input_shape=4, seed=0):
    layers = [nf.Dense(5, hidden), nf.Dense(3, end)]
    return nf.Sequential(layers, loss=loss, input_shape=input_shape, dtype=dtype, seed=seed)


def make_data(end="softmax", n=6, shape=(4,)):
    random = rng(1)
    x = random.standard_normal((n, *shape))
    y = random.integers(0, 3, n) if end == "softmax" else random.integers(0, 2, (n, 3)).astype(float)
    return x, y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("end", "loss"), ENDS)
@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_networks_are_right(hidden, end, loss, dtype):
    net = make_net(hidden, end, loss, dtype)
    x, y = make_data(end)
    before = state(net)
    report = net.check_gradient(x, y, wrt=["W1", "b1", "W2", "b2", "x"], verbose=0)
    assert report, report
    assert list(report) == ["W1", "b1", "W2", "b2", "x"]
    assert all(array.gradient.dtype == np.float64 for array in report.values())
    assert max(array.relative_error for array in report.values()) < 1e-6, "in float64, whatever the network is"
    assert str(before) == str(state(net))


def test_inputs_of_two_axes_are_reported_in_their_shape():
    net = make_net(input_shape=(2, 2))
    x, y = make_data(shape=(2, 2))
    report = net.check_gradient(x, y, wrt="x")
    assert report
    assert report["x"].gradient.shape == report["x"].errors.shape == (6, 2, 2)
    wrong = net.gradient(x, y, wrt="x")["x"]
    wrong[4, 1, 0] += 0.1
    report = net.check_gradient(x, y, gradient={"x": wrong})
    assert list(report) == ["x"]
    assert report["x"].relative_at == (4, 1, 0)
    assert report["x"].why == "differs at [4, 1, 0]"
    with refuses(ValueError, "gradient['x'] must have shape (6, 2, 2), got (6, 4)"):
        net.check_gradient(x, y, gradient={"x": wrong.reshape(6, 4)})


def test_a_user_gradient():
    net = make_net()
    x, y = make_data()
    mine = dict(net.gradient(x, y))
    assert list(net.check_gradient(x, y, gradient=mine)) == ["W1", "b1", "W2", "b2"]
    assert net.check_gradient(x, y, gradient=net.gradient(x, y))
    mine["W2"] = -mine["W2"]
    report = net.check_gradient(x, y, gradient=mine)
    assert [name for name, array in report.items() if not array] == ["W2"]
    assert report["W2"].why == "has the wrong sign"
    assert net.check_gradient(x, y, gradient=mine, wrt=["b1", "W1"])
    assert list(net.check_gradient(x, y, gradient=mine, wrt=["b1", "W1"])) == ["b1", "W1"]


def test_a_gradient_of_one_s_own_may_hold_lists_and_some_arrays():
    net = make_net(dtype="float32")
    x, y = make_data()
    assert list(
        net.check_gradient(
            x, y, gradient={"b2": net._around(net._network.in_double(), {}).gradient(x, y)["b2"].tolist()}
        )
    ) == ["b2"]


def test_paths_are_names():
    net = make_net()
    x, y = make_data()
    exact = net.gradient(x, y)
    report = net.check_gradient(x, y, gradient={"1.W": exact["W2"], "0.b": -exact["b1"]})
    assert list(report) == ["W2", "b1"]
    assert bool(report["W2"])
    assert not report["b1"]
    assert list(net.check_gradient(x, y, gradient={"1.W": exact["W2"], "b1": exact["b1"]}, wrt="W2")) == ["W2"]
    assert list(net.check_gradient(x, y, wrt=["1.W", "W2"])) == ["W2"]


KNOWN = "W1, b1, W2, b2, x"


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (lambda g: {**g, "W3": g["W1"]}, {}, ValueError, f"gradient must have names among {KNOWN}, got 'W3'"),
        (lambda g: {**g, 3: g["W1"]}, {}, ValueError, f"gradient must have names among {KNOWN}, got 3"),
        (lambda g: {**g, "W3": g["W1"]}, {"wrt": "W1"}, ValueError, f"gradient must have names among {KNOWN}"),
        (lambda g: {}, {}, ValueError, f"gradient must hold at least one of {KNOWN}, got none"),
        (lambda g: {"W1": g["W1"]}, {"wrt": ["W1", "b1"]}, ValueError,
         "gradient must hold 'b1', which wrt lists, got W1"),
        (lambda g: {"W1": g["W1"], "0.W": g["W1"]}, {}, ValueError, "gradient must hold each array once, got 'W1'"),
        (lambda g: {"W1": g["W1"].T}, {}, ValueError, "gradient['W1'] must have shape (4, 5), got (5, 4): it is"),
        (lambda g: {"b1": g["b1"][:, None]}, {}, ValueError, "gradient['b1'] must have shape (5,), got (5, 1)"),
        (lambda g: {"b1": None}, {}, TypeError, "gradient['b1'] must hold real numbers, got None (NoneType)"),
        (lambda g: {"0.b": None}, {}, TypeError, "gradient['b1'] must hold real numbers, got None (NoneType)"),
        (lambda g: g["W1"], {}, TypeError, "gradient must be a mapping from names to arrays, got an array"),
        (lambda g: None, {"wrt": "W3"}, ValueError, f"wrt must hold names among {KNOWN}, got 'W3'"),
        (lambda g: None, {"wrt": []}, ValueError, f"wrt must hold at least one of {KNOWN}, got none"),
        (lambda g: None, {"wrt": 3}, TypeError, "wrt must be a name or a sequence of names, got 3 (int)"),
        (lambda g: g, {"wrt": "W3"}, ValueError, f"wrt must hold names among {KNOWN}, got 'W3'"),
        (lambda g: None, {"h": 0}, ValueError, "h must be a finite number in (0.0, inf), got 0.0"),
        (lambda g: None, {"tolerance": 2}, ValueError, "tolerance must be a finite number in (0.0, 1.0), got 2.0"),
    ],
)  # fmt: skip
def test_refusals_of_networks(change, options, error, message):
    net = make_net()
    x, y = make_data()
    with refuses(error, message):
        net.check_gradient(x, y, gradient=change(dict(net.gradient(x, y))), **options)


def test_more_refusals_of_networks():
    x, y = make_data()
    with pytest.raises(RuntimeError, match="build"):
        make_net(input_shape=None).check_gradient(x, y)
    net = make_net()
    with refuses(ValueError, "x must have shape"):
        net.check_gradient(x[:, :3], y)
    net.params["W1"] = np.nan * net.params["W1"]
    with refuses(ValueError, "the loss must be finite, got nan"):
        net.check_gradient(x, y)


def test_h_and_tolerance_of_networks():
    net = make_net()
    x, y = make_data()
    report = net.check_gradient(x, y, h=1e-3, tolerance=1e-4)
    assert (report.h, report.tolerance, bool(report)) == (1e-3, 1e-4, True)
    wrong = {name: 1.00005 * array for name, array in net.gradient(x, y).items()}
    assert net.check_gradient(x, y, gradient=wrong, tolerance=1e-4)
    assert not net.check_gradient(x, y, gradient=wrong)


@pytest.mark.parametrize("h", [1e-30, 1e-16, 1e-14, 1e3])
def test_an_h_that_decides_nothing_is_followed_by_the_usual_one(h):
    net = make_net()
    x, y = make_data()
    report = net.check_gradient(x, y, h=h)
    assert report, report
    assert not any(array.undecided.any() for array in report.values())
    exact = net.gradient(x, y)
    assert not net.check_gradient(x, y, gradient={**exact, "W1": 1.001 * exact["W1"]}, h=h)


def test_relu_networks_at_kinks():
    """Rows of zeros and biases of zero: each unit is at its kink."""
    net = make_net("relu")
    x, y = make_data()
    x[:3] = 0
    report = net.check_gradient(x, y)
    assert report, report
    assert report["b1"].kinks.any()
    assert not report["W1"].kinks.any()
    wrong = {name: array + 0.1 for name, array in net.gradient(x, y).items()}
    report = net.check_gradient(x, y, gradient=wrong)
    assert not any(report.values()), "in each array"


def test_networks_within_h_of_kinks():
    net = make_net("relu", seed=3)
    x, y = make_data(n=40)
    net.params["W1"] = net.params["W1"] * 1e-6
    report = net.check_gradient(x, y)
    assert report, report
    assert report["b1"].kinks.any()
    assert not net.check_gradient(x, y, gradient={"b1": -net.gradient(x, y)["b1"] - 0.1})


def test_a_claim_that_convention_makes_at_a_kink_is_no_error():
    """relu(u) - relu(-u) is u, but at zero backpropagation takes both derivatives as zero."""
    layers = [nf.Dense(2, "relu", initializer=[[1.0, -1.0]]), nf.Dense(1, initializer=[[1.0], [-1.0]])]
    net = nf.Sequential(layers, input_shape=1, dtype="float64", seed=0)
    x, y = np.zeros((3, 1)), [1.0, 2.0, 3.0]
    assert not net.gradient(x, y, wrt="x")["x"].any()
    report = net.check_gradient(x, y, wrt="x")
    assert report, report
    assert report["x"].kinks.all()
    assert not net.check_gradient(x, y, gradient={"x": np.full((3, 1), 0.5)}), "what is no convention is wrong"


def half_empty(hidden):
    net = nf.Sequential(
        [nf.Dense(8, hidden), nf.Dense(6, hidden), nf.Dense(3, "softmax")], input_shape=4, dtype="float64", seed=0
    )
    x = rng().standard_normal((20, 4))
    x[::2] = 0
    return net, x, rng().integers(0, 3, 20)


@pytest.mark.parametrize("wrt", [None, "x"])
@pytest.mark.parametrize("hidden", ["leaky_relu", "selu"])
def test_a_claim_that_convention_makes_may_be_given(hidden, wrt):
    net, x, y = half_empty(hidden)
    gradient = dict(net.gradient(x, y, wrt=wrt or [*net.params]))
    report = net.check_gradient(x, y, gradient=gradient, verbose=0)
    assert report, report
    name = wrt or "b1"
    gradient[name] = -gradient[name]
    assert not net.check_gradient(x, y, gradient=gradient, verbose=0)


@pytest.mark.parametrize("hidden", ["relu", "tanh", "sigmoid"])
def test_a_gradient_in_float32_may_be_off_by_its_rounding(hidden):
    net = nf.Sequential([nf.Dense(30, hidden), nf.Dense(3, "softmax")], input_shape=20, dtype="float32", seed=0)
    x, y = rng().standard_normal((100, 20)), rng().integers(0, 3, 100)
    gradient = dict(net.gradient(x, y))
    report = net.check_gradient(x, y, gradient=gradient, verbose=0)
    assert report, report
    assert max(array.relative_error for array in report.values()) <= report.tolerance
    for factor in (-1, 0, 1.0001):
        assert not net.check_gradient(x, y, gradient={**gradient, "W1": gradient["W1"] * np.float32(factor)}, verbose=0)


@pytest.mark.parametrize("h", [1.0, 1e3, 1e100, 1e-15])
def test_a_poor_h_raises_no_alarm(h):
    net, x, y = half_empty("relu")
    report = net.check_gradient(x, y, h=h, verbose=0)
    assert report, report
    assert not net.check_gradient(x, y, h=h, gradient={n: -g for n, g in net.gradient(x, y).items()}, verbose=0)


def test_a_few_open_entries_do_not_cost_the_differences_of_all(monkeypatch):
    from nnfast.gradients import checking

    calls, slopes = [], checking.slopes
    monkeypatch.setattr(checking, "slopes", lambda *args, **options: calls.append(1) or slopes(*args, **options))
    net = nf.Sequential([nf.Dense(50), nf.Dense(10, "softmax")], input_shape=300, seed=0)
    x, y = rng().random((20, 300)), rng().integers(0, 10, 20)
    gradient = {name: np.array(g) for name, g in net._around(net._network.in_double(), {}).gradient(x, y).items()}
    gradient["W1"][7, 3] *= 1.01
    report = net.check_gradient(x, y, gradient=gradient, verbose=0)
    assert np.argwhere(report["W1"].wrong).tolist() == [[7, 3]]
    assert len(calls) <= 3


def test_networks_of_the_step_activation():
    net = make_net("step")
    x, y = make_data()
    assert net.check_gradient(x, y)
    assert not net.check_gradient(x, y)["W1"].gradient.any()


def test_the_report_of_a_network_is_titled_by_it():
    net = make_net()
    lines = str(net.check_gradient(*make_data())).splitlines()
    assert lines[0] == f"gradient of {net!r}: right (h = 6.1e-06, tolerance = 1e-06)"
    assert [line.split()[0] for line in lines[3:]] == ["W1", "b1", "W2", "b2"]
    assert all(line.endswith("right") for line in lines[3:])


# ---- mistakes in the network itself


def n_times(arrays):
    """As if the division by the number of samples were forgotten."""
    return {name: 6 * array for name, array in arrays.items()}


def one_sign(arrays):
    return {**arrays, "W2": -arrays["W2"]}


def bias(arrays):
    return {**arrays, "b1": 0 * arrays["b1"]}


def turned(arrays):
    """With the right shape, but in the wrong order."""
    return {**arrays, "W1": arrays["W1"].T.reshape(arrays["W1"].shape)}


def last_sample(arrays):
    wrong = np.array(arrays["W2"])
    wrong[3] = 0
    return {**arrays, "W2": wrong}


FACTOR = "is 6 times the numerical one: a factor is wrong"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", ["tanh", "relu"])
@pytest.mark.parametrize(
    ("mistake", "whys"),
    [
        (lambda arrays: arrays, {}),
        (one_sign, {"W2": "has the wrong sign"}),
        (n_times, dict.fromkeys(["W1", "b1", "W2", "b2"], FACTOR)),
        (bias, {"b1": "is zero: a term is missing"}),
        (turned, {"W1": "is transposed"}),
        (last_sample, {"W2": "differs only in row 3"}),
    ],
)
def test_mistakes_in_the_network_are_caught(monkeypatch, hidden, dtype, mistake, whys):
    net = make_net(hidden, dtype=dtype)
    x, y = make_data()
    gradient = nf.Sequential.gradient
    monkeypatch.setattr(nf.Sequential, "gradient", lambda *args, **options: mistake(dict(gradient(*args, **options))))
    report = net.check_gradient(x, y)
    assert {name: array.why for name, array in report.items() if not array} == whys
    assert bool(report) is not bool(whys)


def test_square_weights_that_are_transposed(monkeypatch):
    net = nf.Sequential([nf.Dense(4, "tanh"), nf.Dense(3, "softmax")], input_shape=4, dtype="float64", seed=0)
    x, y = make_data()
    gradient = nf.Sequential.gradient

    def wrong(*args, **options):
        arrays = dict(gradient(*args, **options))
        return {**arrays, "W1": arrays["W1"].T}

    monkeypatch.setattr(nf.Sequential, "gradient", wrong)
    report = net.check_gradient(x, y)
    assert {name: array.why for name, array in report.items() if not array} == {"W1": "is transposed"}


def test_weights_of_another_shape_are_named(monkeypatch):
    net, (x, y) = make_net(), make_data()
    gradient = nf.Sequential.gradient
    monkeypatch.setattr(
        nf.Sequential, "gradient", lambda *args, **options: {n: g.T for n, g in gradient(*args, **options).items()}
    )
    message = "the network's gradient['W1'] must have shape (4, 5), got (5, 4): it is transposed"
    with refuses(ValueError, message):
        net.check_gradient(x, y)


# ---- for test suites


def test_assert_gradient_correct_of_functions():
    f, gradient = RIGHT["sines"]
    assert nf.assert_gradient_correct(f, gradient, [1.0, 2.0]) is None
    assert nf.assert_gradient_correct(f, lambda x: 1.001 * gradient(x), [1.0, 2.0], tolerance=0.01) is None
    with pytest.raises(AssertionError) as caught:
        nf.assert_gradient_correct(f, lambda x: -gradient(x), [1.0, 2.0])
    assert str(caught.value) == str(nf.check_gradient(f, lambda x: -gradient(x), [1.0, 2.0]))
    with refuses(TypeError, "f must be callable, got 3 (int)"):
        nf.assert_gradient_correct(3, gradient, [1.0])
    with pytest.raises(TypeError, match="toleranz"):
        nf.assert_gradient_correct(f, gradient, [1.0], toleranz=1)


def test_assert_gradient_correct_of_networks(monkeypatch):
    net, (x, y) = make_net(), make_data()
    exact = net.gradient(x, y)
    assert nf.assert_gradient_correct(net, x, y) is None
    assert nf.assert_gradient_correct(net, x, y, wrt="x", verbose=0) is None
    with pytest.raises(AssertionError, match="WRONG in b2 .*\n.*\n.*\nb2 .*WRONG: has the wrong sign$"):
        nf.assert_gradient_correct(net, x, y, gradient={"b2": -exact["b2"]})
    gradient = nf.Sequential.gradient
    monkeypatch.setattr(nf.Sequential, "gradient", lambda *args, **options: n_times(dict(gradient(*args, **options))))
    with pytest.raises(AssertionError, match="WRONG in W1, b1, W2, b2 "):
        nf.assert_gradient_correct(net, x, y)
