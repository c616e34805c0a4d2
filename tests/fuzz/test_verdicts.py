"""Gradient checks over random networks and functions: no right gradient is called wrong, and no planted error passes.

The right gradients are those that other tests compare with PyTorch and with reference twins. An error counts as above
the noise if it is 1e-5 of the slope, and many times the error of numerical gradients with a good h: in 9 of 10 entries,
and at least one unit in the last place of the value divided by the book's h of 1e-4.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from gradient_cases import ACTIVATIONS, LAYERS, LOSSES, loss_of
from numpy.random import Generator, default_rng
from rounds import seeds

import nnfast as nf

VISIBLE = 30  # times the typical error of a numerical gradient
BOOK_STEP = 1e-4  # over which one unit in the last place of the value may be a slope
EPSILON = float(np.finfo(np.float64).eps)
SMALLEST = 1e-5  # relative errors that must be found
NETWORKS, FUNCTIONS = 48, 60  # in a short run

Arrays = dict[str, np.ndarray]


@dataclass
class Problem:
    """A network, data for it, and options of the check."""

    net: nf.Sequential
    x: np.ndarray
    y: np.ndarray
    options: dict[str, Any]
    smooth: bool

    def gradient(self) -> Arrays:
        return dict(self.net.gradient(self.x, self.y, **self.options))

    def check(self, **more: object) -> nf.GradientReport:
        return self.net.check_gradient(self.x, self.y, **self.options, **more, verbose=0)

    def noise(self, exact: Arrays) -> dict[str, float]:
        """The typical error of a numerical gradient of each array, with the best of several h."""
        found = dict.fromkeys(exact, np.inf)
        least = EPSILON * abs(self.net.loss(self.x, self.y, training=bool(self.options["training"]))) / BOOK_STEP
        for h in (1e-3, 1e-4, 6e-6, 4e-7, 2e-8):
            numerical = self.net.numerical_gradient(self.x, self.y, h=h, **self.options, verbose=0)
            for name, gradient in exact.items():
                found[name] = min(found[name], float(np.quantile(np.abs(numerical[name] - gradient), 0.9)))
        return {name: max(least, noise) for name, noise in found.items()}


def random_problem(seed: int) -> Problem:
    """A network of up to three hidden parts, with any layers, activation and loss, and inputs and rows of any size."""
    rng = default_rng(seed)
    loss = str(rng.choice(list(LOSSES)))
    output = str(rng.choice(list(LOSSES[loss].targets)))
    features, units = int(rng.integers(2, 13)), int(rng.integers(2, 6))
    hidden: list[nf.layers.Layer] = []
    used = {output}
    for _ in range(rng.integers(0, 4)):
        width = int(rng.integers(2, 13))
        name = str(rng.choice([n for n in ACTIVATIONS if n != "step"]))
        hidden.append(nf.Dense(width, name))
        used.add(name)
        if rng.random() < 0.4:
            kind = str(rng.choice(list(LAYERS)))
            hidden.append(LAYERS[kind](width))
            if kind == "Dense with penalties":
                used.add("relu")  # an absolute value
    if rng.random() < 0.2:
        hidden.insert(0, nf.LayerNorm())
    make = LOSSES[loss].make
    net = nf.Sequential(
        [*hidden, nf.Dense(units, output)],
        input_shape=features,
        loss=loss_of(loss) if make is None else make(),
        dtype="float64",
        seed=seed,
    )
    if rng.random() < 0.5:
        net.flat_params[:] += 0.3 * rng.normal(size=net.n_parameters)
    rows = int(np.exp(rng.uniform(np.log(5), np.log(1000))))
    x = 10 ** rng.uniform(-3, 4) * rng.normal(size=(rows, features))
    if rng.random() < 0.2:
        x[rng.random(x.shape) < 0.3] = 0
    if rng.random() < 0.1:
        x[: rows // 2] = 0
    targets = LOSSES[loss].targets[output]
    y = targets[rng.integers(len(targets))](np.tanh(rng.normal(size=(rows, units))))
    options: dict[str, Any] = {"training": bool(rng.random() < 0.3)}
    while not np.isfinite(net.loss(x, y, training=options["training"])):  # for which a check raises an error
        x = x / 10
    names = list(net.params)
    if rng.random() < 0.3 and rows <= 100:
        names.append("x")
    options["wrt"] = names
    if rng.random() < 0.2:
        options["sample_weight"] = rng.integers(0, 3, rows) + (rng.random(rows) < 0.5) + 1e-3
    smooth = not (nf.losses.Loss.registry[loss].kinks or any(ACTIVATIONS[name].kinks for name in used))
    return Problem(net, x, y, options, smooth)


def wrong_gradients(exact: Arrays, rng: Generator, smooth: bool) -> Iterator[tuple[str, Arrays]]:
    """Yield gradients with one planted error each."""
    name = str(rng.choice(list(exact)))
    g = exact[name]
    size = 10 ** rng.uniform(np.log10(SMALLEST), 0) if smooth else 10 ** rng.uniform(-2, 0)
    one = np.array(g)
    at = tuple(rng.integers(0, n) for n in g.shape)
    one[at] *= 1 + float(rng.choice([-1, 1])) * 1.01 * size
    largest = np.array(g)
    largest.flat[np.abs(g).argmax()] *= 1 + 1.01 * size
    yield f"sign of {name}", {**exact, name: -g}
    yield f"factor {1 + size} of {name}", {**exact, name: g * (1 + 1.01 * size)}
    yield f"{name}{list(at)} off by {size}", {**exact, name: one}
    yield f"largest of {name} off by {size}", {**exact, name: largest}
    yield f"{name} forgotten", {**exact, name: 0 * g}
    yield f"all off by {size}", {n: a * (1 - 1.01 * size) for n, a in exact.items()}
    if g.ndim == 2:
        yield f"{name} transposed", {**exact, name: g.reshape(g.shape[::-1]).T}
        row = np.array(g)
        row[rng.integers(len(g))] = 0
        yield f"a row of {name} forgotten", {**exact, name: row}


def visible(exact: Arrays, wrong: Arrays, noise: dict[str, float]) -> bool:
    """Return whether some entry has an error that must be found."""
    return any(bool((np.abs(wrong[n] - g) > VISIBLE * noise[n] + SMALLEST * np.abs(g)).any()) for n, g in exact.items())


def false_alarm(seed: int) -> str:
    problem = random_problem(seed)
    report = problem.check()
    return "" if report else f"{seed}: {report}"


def misses(seed: int) -> tuple[list[str], int]:
    """Return the planted errors that pass, and how many were tried."""
    problem = random_problem(seed)
    exact = problem.gradient()
    noise = problem.noise(exact)
    missed, count = [], 0
    for what, wrong in wrong_gradients(exact, default_rng(seed), problem.smooth):
        if visible(exact, wrong, noise):
            count += 1
            if problem.check(gradient=wrong):
                missed.append(f"{seed}: {what}")
    return missed, count


def test_no_network_raises_a_false_alarm() -> None:
    assert not [text for text in map(false_alarm, seeds(NETWORKS)) if text]


def test_no_planted_error_of_a_network_passes() -> None:
    found = [misses(seed) for seed in seeds(NETWORKS // 4)]
    assert not [miss for missed, _ in found for miss in missed]
    assert sum(count for _, count in found) > 2 * len(found), "hardly any error was planted"


# ---- functions that are not networks

Function = tuple[Callable[[np.ndarray], float], Callable[[np.ndarray], np.ndarray]]


def _sum_of(
    value: Callable[[np.ndarray], np.ndarray], slope: Callable[[np.ndarray], np.ndarray], a: np.ndarray, b: np.ndarray
) -> Function:
    return lambda x: float(np.sum(a * value(b * x))), lambda x: a * b * slope(b * x)


SUMS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray], bool]] = {
    "sin": (np.sin, np.cos, True),
    "exp": (lambda u: np.exp(np.minimum(u, 50)), lambda u: np.exp(np.minimum(u, 50)) * (u <= 50), False),
    "square": (np.square, lambda u: 2 * u, True),
    "cube": (lambda u: u**3, lambda u: 3 * u**2, True),
    "linear": (lambda u: u, np.ones_like, True),
    "abs": (np.abs, np.sign, False),
    "relu": (lambda u: np.maximum(u, 0), lambda u: np.float64(u > 0), False),
    "atan": (np.arctan, lambda u: 1 / (1 + u**2), True),
    "log": (lambda u: np.log1p(u**2), lambda u: 2 * u / (1 + u**2), True),
    "clip": (lambda u: np.clip(u, -1, 1), lambda u: np.float64(np.abs(u) <= 1), False),
    "root": (lambda u: np.sqrt(1 + u**2), lambda u: u / np.sqrt(1 + u**2), True),
}


def random_function(seed: int) -> tuple[Function, np.ndarray, bool]:
    """Return a function, a point, and whether the function is smooth there."""
    rng = default_rng(seed)
    size = int(rng.integers(1, 12))
    x = 10.0 ** rng.integers(-3, 4) * rng.normal(size=size)
    kind = rng.integers(4)
    if kind == 0:  # a regression with residuals of any size
        a, y = rng.normal(size=(int(rng.integers(1, 300)), size)), rng.normal(size=1) * 10.0 ** rng.integers(-3, 4)
        return (lambda v: float(np.mean((a @ v - y) ** 2)), lambda v: 2 * a.T @ (a @ v - y) / len(a)), x, True
    if kind == 1:  # Rosenbrock's

        def f(v: np.ndarray) -> float:
            return float(np.sum(100 * (v[1:] - v[:-1] ** 2) ** 2 + (1 - v[:-1]) ** 2) + v[-1])

        def slope(v: np.ndarray) -> np.ndarray:
            g = np.zeros_like(v)
            g[:-1] = -400 * v[:-1] * (v[1:] - v[:-1] ** 2) - 2 * (1 - v[:-1])
            g[1:] += 200 * (v[1:] - v[:-1] ** 2)
            g[-1] += 1
            return g

        return (f, slope), x, True
    name = str(rng.choice(list(SUMS)))
    value, derivative, smooth = SUMS[name]
    a = rng.normal(size=size) * 10.0 ** rng.integers(-6, 7)
    f, slope = _sum_of(value, derivative, a, rng.normal(size=size) * 10.0 ** rng.integers(-2, 2))
    offset = float(rng.choice([0, 1, 1e3, 1e6])) * float(np.abs(a).max())
    return ((lambda v: offset + f(v)), slope), x, smooth


def best_noise(f: Callable[[np.ndarray], float], exact: np.ndarray, x: np.ndarray) -> float:
    found = [np.abs(nf.numerical_gradient(f, x.copy(), h) - exact) for h in (None, 1e-3, 1e-4, 1e-7)]
    return max(EPSILON * abs(f(x)) / BOOK_STEP, min(float(np.quantile(error, 0.9)) for error in found))


def function_alarm(seed: int) -> str:
    (f, gradient), x, _ = random_function(seed)
    report = nf.check_gradient(f, gradient, x)
    return "" if report else f"{seed}: {report}"


def test_no_function_raises_a_false_alarm() -> None:
    assert not [text for text in map(function_alarm, seeds(FUNCTIONS)) if text]


def function_misses(seed: int) -> tuple[list[str], int]:
    (f, gradient), x, smooth = random_function(seed)
    exact = gradient(x)
    noise = {"x": best_noise(f, exact, x)}
    missed, count = [], 0
    for what, wrong in wrong_gradients({"x": exact}, default_rng(seed), smooth):
        if visible({"x": exact}, wrong, noise):
            count += 1
            if nf.check_gradient(f, wrong["x"], x):
                missed.append(f"{seed}: {what}")
    return missed, count


def test_no_planted_error_of_a_function_passes() -> None:
    found = [function_misses(seed) for seed in seeds(FUNCTIONS // 3)]
    assert not [miss for missed, _ in found for miss in missed]
    assert sum(count for _, count in found) > len(found), "hardly any error was planted"


@pytest.mark.parametrize("seed", range(5))
def test_functions_in_float32_raise_no_alarm(seed: int) -> None:
    """Functions that round their argument, terms or value to single precision."""
    rng = default_rng(seed)
    a = rng.normal(size=20)
    x = rng.normal(size=20)

    def argument(v: np.ndarray) -> float:
        return float(np.sum(np.tanh(np.float32(v).astype(np.float64) * a)) / 7)

    def terms(v: np.ndarray) -> float:
        return float(np.sum(np.tanh(v * a).astype(np.float32).astype(np.float64)) / 7)

    def value(v: np.ndarray) -> float:
        return float(np.float32(np.sum(np.tanh(v * a)) / 7))

    right = (1 - np.tanh(x * a) ** 2) * a / 7
    for f in (argument, terms, value):
        assert nf.check_gradient(f, right, x), f
        assert not nf.check_gradient(f, -right, x), f


def main(networks: int, functions: int) -> None:
    """Print the rates of a long run: `PYTHONPATH=tests python tests/fuzz/test_verdicts.py 2000 500`."""
    nf.set_num_threads(1)
    with ProcessPoolExecutor() as pool:
        for what, count, alarm, miss in (
            ("networks", networks, false_alarm, misses),
            ("functions", functions, function_alarm, function_misses),
        ):
            alarms = [text for text in pool.map(alarm, range(count), chunksize=8) if text]
            found = list(pool.map(miss, range(count), chunksize=8))
            missed = [text for texts, _ in found for text in texts]
            print(*alarms, *missed, sep="\n")
            planted = sum(n for _, n in found)
            print(f"{count:,} {what}: {len(alarms)} false alarms, {len(missed)} of {planted:,} planted errors missed")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
