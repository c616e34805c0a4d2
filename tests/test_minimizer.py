"""The engine's L-BFGS compared with SciPy's, which is without bounds the same method, iteration by iteration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from tolerances import assert_close

from nnfast.engine.program import Minimizer, aligned_zeros

HUGE = 1e100  # instead of a value that is not finite
TIGHT = {"tolerance": 0.0, "gradient_tolerance": 0.0}


@dataclass
class Run:
    """What a minimization did: the points and values after each iteration, and how it ended."""

    points: list[np.ndarray]
    values: list[float]
    evaluations: list[int]  # up to the end of each iteration
    end: str


class Counted:
    """A function with values that are finite, as `fit` evaluates it; it counts its calls."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, x):
        self.calls += 1
        with np.errstate(all="ignore"):
            value, gradient = self.function(x)
        if np.isfinite(value) and np.isfinite(gradient).all():
            return float(value), np.asarray(gradient, float)
        return HUGE, np.zeros(len(x))


def minimized(function, start, iterations, *, history_size=10, tolerance=2.2e-9, gradient_tolerance=1e-5):
    f, run = Counted(function), Run([], [], [], "")
    gradient = aligned_zeros(len(start), np.float64)
    minimizer = Minimizer(np.array(start, float), gradient, history_size, tolerance, gradient_tolerance)
    value, gradient[:] = f(minimizer.point)
    task: str = minimizer.begin(value)
    while task in ("evaluate", "iterated"):
        if task == "evaluate":
            if len(run.values) == iterations:
                task = "cut off"
                break
            value, gradient[:] = f(minimizer.point)
            task = minimizer.take(value)
        else:
            run.points.append(minimizer.point.copy())
            run.values.append(value)
            run.evaluations.append(f.calls)
            task = minimizer.go_on()
    assert minimizer.trials == f.calls - 1
    run.end = task
    return run


class CutOff(Exception):
    pass


def minimized_by_scipy(function, start, iterations, *, history_size=10, tolerance=2.2e-9, gradient_tolerance=1e-5):
    f, run = Counted(function), Run([], [], [], "cut off")

    def evaluated(x):
        if len(run.values) == iterations:
            raise CutOff
        return f(x)

    def done(intermediate_result):
        run.points.append(intermediate_result.x.copy())
        run.values.append(float(intermediate_result.fun))
        run.evaluations.append(f.calls)

    options = {"maxcor": history_size, "ftol": tolerance, "gtol": gradient_tolerance, "maxfun": 10**6,
               "maxiter": iterations + 1}  # fmt: skip
    try:
        end = optimize.minimize(
            evaluated, np.array(start, float), jac=True, method="L-BFGS-B", callback=done, options=options
        )
        run.end = "converged" if end.success else "stuck"
    except CutOff:
        pass
    return run


def assert_same(mine, theirs, *, to=None):
    """The iterates, the values and the numbers of evaluations, of the first iterations or of all."""
    if to is None:
        assert (len(mine.points), mine.end) == (len(theirs.points), theirs.end)
    assert mine.evaluations[:to] == theirs.evaluations[:to]
    for k, (point, expected) in enumerate(zip(mine.points[:to], theirs.points[:to], strict=True)):
        assert_close(point, expected, scale=max(1, np.abs(expected).max()), kind="minimization")
        assert_close(mine.values[k], theirs.values[k], scale=max(1, abs(theirs.values[k])), kind="minimization")


# ---- functions


def quadratic(n, condition):
    rng = np.random.default_rng(n)
    axes = np.linalg.qr(rng.normal(size=(n, n)))[0]
    A, b = axes * np.geomspace(1, condition, n) @ axes.T, rng.normal(size=n)
    return lambda x: (0.5 * x @ A @ x - b @ x, A @ x - b)


def rosenbrock(x):
    return optimize.rosen(x), optimize.rosen_der(x)


def logistic(n, rows=200, penalty=1e-3):
    rng = np.random.default_rng(n)
    x = rng.normal(size=(rows, n))
    y = np.sign(x @ rng.normal(size=n) + rng.normal(size=rows))

    def f(w):
        z = y * (x @ w)
        gradient = penalty * w - x.T @ (y * scipy.special.expit(-z)) / rows
        return np.logaddexp(0, -z).mean() + penalty * w @ w / 2, gradient

    return f


def network(activation, rows=60, inputs=4, hidden=8):
    """The mean squared error of a network with one hidden layer."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(rows, inputs)), rng.normal(size=rows)

    def f(p):
        W, b, v, c = np.split(p, np.cumsum([inputs * hidden, hidden, hidden]))
        z = x @ W.reshape(inputs, hidden) + b
        h, slope = (np.tanh(z), 1 - np.tanh(z) ** 2) if activation == "tanh" else (np.maximum(z, 0), z > 0)
        error = h @ v + c - y
        back = 2 / rows * np.outer(error, v) * slope
        return (error**2).mean(), np.concatenate(
            [(x.T @ back).ravel(), back.sum(0), 2 / rows * h.T @ error, [2 * error.mean()]]
        )

    return f


def badly_scaled(x):
    scale = np.geomspace(1, 1e6, len(x))
    return np.sum(scale * (x - 1) ** 2 + (x - 1) ** 4), 2 * scale * (x - 1) + 4 * (x - 1) ** 3


def barrier(x):
    """Infinite where an element is not between -3 and 1."""
    if (np.abs(x + 1) >= 2).any():
        return np.inf, np.zeros(len(x))
    return np.sum(x - np.log(1 - x) - np.log(x + 3)), 1 + 1 / (1 - x) - 1 / (x + 3)


def hole(x):
    """Infinite around the minimum."""
    return (x @ x if x @ x > 1 else np.inf), 2 * x


def exponentials(x):
    return np.sum(np.exp(x) - 3 * x), np.exp(x) - 3


def edges(x):
    return np.abs(x).sum() + 0.1 * (x @ x), np.sign(x) + 0.2 * x


def linear(x):
    return x.sum(), np.ones(len(x))


def normal(n):
    return np.random.default_rng(0).normal(size=n)


# name: function, start, how many iterations rounding errors leave comparable
CASES: dict[str, tuple[Any, np.ndarray, int]] = {
    **{f"quadratic in {n}, {c:g}": (quadratic(n, c), normal(n), k)
       for n, c, k in ((3, 10, 50), (20, 100, 50), (50, 1e4, 40), (200, 1e3, 35), (7, 1e8, 10))},
    **{f"Rosenbrock in {n}": (rosenbrock, np.linspace(-1.2, 1, n), k)
       for n, k in ((2, 20), (5, 22), (10, 30), (50, 20))},
    "logistic in 5": (logistic(5), np.zeros(5), 50),
    "logistic in 40": (logistic(40), np.zeros(40), 50),
    "tanh network": (network("tanh"), normal(49), 40),
    "relu network": (network("relu"), normal(49), 30),
    "badly scaled": (badly_scaled, np.zeros(12), 17),
    "barrier": (barrier, np.array([0.9, -2.5, 0.5, 0]), 50),
    "close to a barrier": (barrier, np.array([0.999, -2.999, 0.5, 0]), 50),
    "hole": (hole, np.array([3.0, 4]), 50),
    "exponentials": (exponentials, np.array([5.0, -9, 30]), 40),
    "edges": (edges, 3 * normal(6), 40),
    "linear": (linear, np.zeros(4), 50),
}  # fmt: skip


@pytest.mark.once
@pytest.mark.parametrize("history_size", [1, 4, 10])
@pytest.mark.parametrize("name", CASES)
def test_the_iterates_are_those_of_scipy(name, history_size):
    function, start, comparable = CASES[name]
    mine, theirs = (run(function, start, 50, history_size=history_size) for run in (minimized, minimized_by_scipy))
    assert len(theirs.points) > 1
    assert_same(mine, theirs, to=comparable)


@pytest.mark.parametrize("name", ["quadratic in 20, 100", "logistic in 5", "logistic in 40", "barrier"])
def test_it_ends_where_scipy_does(name):
    function, start, _ = CASES[name]
    for options in ({}, {"tolerance": 1e-4}, {"gradient_tolerance": 1e-2}, {"tolerance": 0.0}):
        mine, theirs = (run(function, start, 1000, **options) for run in (minimized, minimized_by_scipy))
        assert theirs.end == "converged"
        assert_same(mine, theirs)


def test_at_a_minimum_it_has_converged():
    for run in (minimized, minimized_by_scipy):
        result = run(lambda x: (x @ x, 2 * x), np.zeros(3), 50)
        assert (result.points, result.end) == ([], "converged")


def test_where_the_gradient_is_wrong_no_lower_value_is_found():
    for run in (minimized, minimized_by_scipy):
        result = run(lambda x: (x @ x, -2 * x), np.ones(3), 50)
        assert (result.points, result.end) == ([], "stuck")


def test_pairs_that_lead_nowhere_are_forgotten():
    """A gradient that is wrong only on one side: first its pairs are blamed, then there is no lower value."""

    def f(x):
        return x @ x, (2 if x[0] > 0.3 else -2) * x

    start = np.array([1.0, 0.2, -0.4])
    mine, theirs = (run(f, start, 50, **TIGHT) for run in (minimized, minimized_by_scipy))
    assert 0 < len(theirs.points) < 50
    assert_same(mine, theirs)


@pytest.mark.parametrize("name", ["quadratic in 3, 10", "quadratic in 20, 100", "logistic in 5", "logistic in 40"])
def test_the_minimum_of_a_convex_function(name):
    function, start, _ = CASES[name]
    result = minimized(function, start, 1000, tolerance=0.0, gradient_tolerance=1e-9)
    best = optimize.root(lambda x: function(x)[1], result.points[-1], tol=1e-14).x
    assert_close(result.values[-1], function(best)[0], scale=1.0, kind="trajectory")
    assert (np.diff(result.values) <= 0).all()


FUNCTIONS = {  # of z = A x + b, and the derivative
    "sine": (lambda z: np.sin(z).sum() + 0.01 * z @ z, lambda z: np.cos(z) + 0.02 * z),
    "power": (lambda z: (np.abs(z) ** 1.5).sum(), lambda z: 1.5 * np.sqrt(np.abs(z)) * np.sign(z)),
    "logarithm": (lambda z: np.log1p(z * z).sum(), lambda z: 2 * z / (1 + z * z)),
    "wells": (lambda z: (z**4 - z**2).sum(), lambda z: 4 * z**3 - 2 * z),
    "wall": (lambda z: np.sin(z).sum() - 0.1 * z @ z if z @ z < 20 else np.inf, lambda z: np.cos(z) - 0.2 * z),
}


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 5), name=st.sampled_from(list(FUNCTIONS)))
@settings(max_examples=150)
def test_random_functions(seed, n, name):
    """Of any scale, not convex, with values that are not finite: the first iterations try all of the line search."""
    rng = np.random.default_rng(seed)
    value, slope = FUNCTIONS[name]
    A, b = rng.normal(size=(3, n)) * 10 ** rng.uniform(-1, 1), rng.normal(size=3)
    scale = 10 ** rng.uniform(-3, 3)

    def f(x):
        return scale * value(A @ x + b), scale * A.T @ slope(A @ x + b)

    start = rng.normal(size=n) / np.abs(A).max()
    mine, theirs = (run(f, start, 5) for run in (minimized, minimized_by_scipy))
    assert mine.evaluations == theirs.evaluations
    for point, expected in zip(mine.points, theirs.points, strict=True):
        assert_close(point, expected, scale=max(1, np.abs(expected).max()), kind="difference")


# ---- arguments


def test_the_point_moves_in_place_and_the_gradient_is_read_there():
    point, gradient = np.ones(3), aligned_zeros(3, np.float64)
    minimizer = Minimizer(point, gradient, 10, 0.0, 0.0)
    gradient[:] = [3, 0, 4]
    assert minimizer.begin(25.0) == "evaluate"
    assert minimizer.point is point
    assert minimizer.gradient is gradient
    assert_close(point, np.array([0.4, 1, 0.2]), scale=1.0)  # the first step has length 1


@pytest.mark.parametrize("n", [1, 7, 8, 9, 4097])
def test_nothing_is_written_beside_the_vectors(n):
    rng = np.random.default_rng(n)
    room = np.full((2, n + 64), np.nan)
    point, gradient = room[0, 32 : 32 + n], room[1, 32 : 32 + n]
    target, scale = rng.normal(size=n), rng.uniform(1, 3, n)
    point[:] = 0
    minimizer = Minimizer(point, gradient, 3, 0.0, 1e-12)
    gradient[:] = 2 * scale * (point - target)
    task = minimizer.begin(float(scale @ (point - target) ** 2))
    while task in ("evaluate", "iterated"):
        if task == "evaluate":
            gradient[:] = 2 * scale * (point - target)
            task = minimizer.take(float(scale @ (point - target) ** 2))
        else:
            task = minimizer.go_on()
    assert_close(point, target, scale=1.0, kind="difference")
    assert np.isnan(np.delete(room, np.s_[32 : 32 + n], axis=1)).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones(3, np.float32), np.ones(3), 10), TypeError, "expected an array of shape"),
        ((np.ones(3), np.ones(4), 10), TypeError, "expected an array of shape"),
        ((np.ones(3), np.ones((3, 2))[:, 0], 10), TypeError, "expected a C-contiguous"),
        ((np.ones(3), None, 10), TypeError, "expected an array of shape"),
        ((np.ones(3), np.ones(3), 0), ValueError, "history_size must be at least 1"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        Minimizer(*arguments, 0.0, 0.0)
