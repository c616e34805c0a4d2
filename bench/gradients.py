"""Numerical gradients: of a network, against the book's loop, and of a function of many variables, against peers."""

from __future__ import annotations

import ctypes
import subprocess
import sysconfig
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from bench.data import evaluate, initial_parameters, load
from bench.race import ratios, spread
from bench.workloads import WORKLOADS

DIGITS = 100
SAMPLED = 400  # parameters on which the book's loop is timed; the others take as long
VARIABLES = 1000
H = 1e-4
ROSENBROCK = """
double rosenbrock(int n, double *x, void *user_data) {
    double sum = 0;
    for (int i = 0; i + 1 < n; i++) {
        double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
        sum += 100 * a * a + b * b;
    }
    return sum;
}
"""


def compare_gradients(rounds: int, steps: int) -> dict[str, Any]:
    """Return the figures for a network, for training with numerical gradients, and for a function."""
    return {"network": of_network(rounds), "training": of_training(steps), "function": of_function(rounds)}


# ---- a network


def of_network(rounds: int) -> dict[str, Any]:
    """Time all parameters of the book's network on 100 digits, in float64, with nnfast; a sample of them in NumPy."""
    workload = WORKLOADS["book"]
    data, initial = load(workload), initial_parameters(workload.network)
    x, y = data.x[:DIGITS].astype(np.float64), data.y[:DIGITS]
    net = network("float64", initial)
    book = Book([(w.astype(np.float64), b.astype(np.float64)) for w, b in initial])
    picked = np.linspace(0, net.n_parameters - 1, SAMPLED).astype(int)
    whole, scaled = [], []
    for _ in range(rounds):
        start = perf_counter()
        gradient = net.numerical_gradient(x, y, h=H, verbose=0)
        whole.append(perf_counter() - start)
        start = perf_counter()
        sampled = book.numerical_gradient(x, y, picked)
        scaled.append((perf_counter() - start) * net.n_parameters / SAMPLED)
    flat = np.concatenate([array.ravel() for array in gradient.values()])
    return {
        "data": data.source, "digits": DIGITS, "parameters": net.n_parameters, "sampled": SAMPLED,
        "seconds": {"nnfast": spread(whole), "NumPy": spread(scaled)},
        "ratio": ratios(scaled, whole),
        "difference": float(np.abs(flat[picked] - sampled).max()),
        "largest": float(np.abs(sampled).max()),
    }  # fmt: skip


def network(dtype: str, initial: Any) -> Any:
    """Return the book's network."""
    import nnfast as nf

    layers = [nf.Dense(50, "sigmoid"), nf.Dense(10, "softmax")]
    net = nf.Sequential(layers, input_shape=784, dtype=dtype, seed=0)
    for i, (weights, bias) in enumerate(initial, start=1):
        net.params[f"W{i}"], net.params[f"b{i}"] = weights, bias
    return net


class Book:
    """The loop of chapter 4 of the book, in NumPy: two evaluations of the loss for each parameter."""

    def __init__(self, parameters: list[tuple[np.ndarray, np.ndarray]]) -> None:
        self.arrays = [array for pair in parameters for array in pair]

    def loss(self, x: np.ndarray, y: np.ndarray) -> float:
        """Return the mean cross entropy."""
        w1, b1, w2, b2 = self.arrays
        z = 1 / (1 + np.exp(-(x @ w1 + b1))) @ w2 + b2
        z = np.exp(z - z.max(axis=1, keepdims=True))
        p = z / z.sum(axis=1, keepdims=True)
        return float(-np.log(p[np.arange(len(y)), y]).mean())

    def numerical_gradient(self, x: np.ndarray, y: np.ndarray, picked: np.ndarray) -> np.ndarray:
        """Return the partial derivatives with respect to the parameters with these indices."""
        ends = np.cumsum([array.size for array in self.arrays])
        slopes = np.empty(len(picked))
        for i, number in enumerate(picked):
            at = int(np.searchsorted(ends, number, side="right"))
            flat = self.arrays[at].reshape(-1)
            k = number - (ends[at] - flat.size)
            before = flat[k]
            flat[k] = before + H
            above = self.loss(x, y)
            flat[k] = before - H
            below = self.loss(x, y)
            flat[k] = before
            slopes[i] = (above - below) / (2 * H)
        return slopes


def of_training(steps: int) -> dict[str, Any]:
    """Run the book's experiment with a numerical gradient for each mini-batch, then with backpropagation."""
    import nnfast as nf

    workload = WORKLOADS["book"]
    data, initial = load(workload), initial_parameters(workload.network)
    result: dict[str, Any] = {"steps": steps, "rows": len(data.x), "data": data.source}
    for gradient in ("numerical", "backpropagation"):
        net = network("float32", initial)
        start = perf_counter()
        net.fit(
            data.x, data.y, steps=steps, batch_size=workload.batch, optimizer=nf.SGD(workload.learning_rate),
            gradient=gradient, shuffle=False, verbose=0,
        )  # fmt: skip
        seconds = perf_counter() - start
        parameters = [(net.params[f"W{i}"], net.params[f"b{i}"]) for i in (1, 2)]
        _, accuracy = evaluate(workload, parameters, data.x_test, data.y_test)
        result[gradient] = {"seconds": seconds, "accuracy": accuracy}
    return result


# ---- a function


def of_function(rounds: int) -> dict[str, Any]:
    """Time the gradient of Rosenbrock's function by everything that can compute it."""
    from scipy.optimize import rosen, rosen_der

    x = np.random.default_rng(0).uniform(-2, 2, VARIABLES)
    exact = rosen_der(x)
    with TemporaryDirectory() as folder:
        contenders, absent = contenders_for(x, rosen, Path(folder))
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        errors = {}
        for _ in range(rounds):
            for name, gradient in contenders.items():
                start = perf_counter()
                found = gradient()
                seconds[name].append(perf_counter() - start)
                errors[name] = float(np.abs(found - exact).max() / np.abs(exact).max())
    own = median(seconds["nnfast, Python function"])
    results = {
        name: {"seconds": spread(s), "ratio": median(s) / own, "error": errors[name]} for name, s in seconds.items()
    }
    return {"variables": VARIABLES, "contenders": results, "absent": absent}


def contenders_for(
    x: np.ndarray, rosen: Callable[[np.ndarray], Any], folder: Path
) -> tuple[dict[str, Callable[[], np.ndarray]], dict[str, str]]:
    """Return the functions that compute a gradient at `x`, and why others cannot take part."""
    from scipy.optimize import approx_fprime

    import nnfast as nf

    contenders: dict[str, Callable[[], np.ndarray]] = {
        "nnfast, Python function": lambda: nf.numerical_gradient(rosen, x),
        "nnfast, vectorized": lambda: nf.numerical_gradient(lambda stack: rosen(stack.T), x, vectorized=True),
        "SciPy approx_fprime": lambda: approx_fprime(x, rosen, 1e-8),
    }
    absent = {}
    compiled = compile_rosenbrock(folder)
    if compiled is None:
        absent["nnfast, compiled"] = "there is no C compiler"
    else:
        contenders["nnfast, compiled"] = lambda: nf.numerical_gradient(compiled, x)
    if find_spec("numdifftools"):
        from numdifftools import Gradient

        contenders["numdifftools"] = lambda: Gradient(rosen)(x)
    else:
        absent["numdifftools"] = "numdifftools is not installed"
    return contenders, absent


def compile_rosenbrock(folder: Path) -> Any:
    """Return the function compiled by the system's C compiler, or None if there is none."""
    source, library = folder / "rosenbrock.c", folder / "rosenbrock.so"
    source.write_text(ROSENBROCK, encoding="utf-8")
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    try:
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    function = ctypes.CDLL(str(library)).rosenbrock
    function.restype = ctypes.c_double
    function.argtypes = (ctypes.c_int, ctypes.POINTER(ctypes.c_double), ctypes.c_void_p)
    return function
