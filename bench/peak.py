"""How fast this machine multiplies matrices: the fastest installed library on two matrices of 2048 x 2048."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import numpy as np

SIZE, TRIES = 2048, 5


class Peak:
    """The best rate so far, in operations per second; measure it again and again, since machines are noisy."""

    def __init__(self, threads: int) -> None:
        rng = np.random.default_rng(0)
        a, b = (rng.standard_normal((SIZE, SIZE), np.float32) for _ in range(2))
        candidates = {"NumPy": (None, with_numpy), "PyTorch": ("torch", with_torch), "JAX": ("jax", with_jax)}
        self.products = {
            name: make(a, b, threads)
            for name, (module, make) in candidates.items()
            if module is None or find_spec(module)
        }
        self.best = dict.fromkeys(self.products, 0.0)
        for product in self.products.values():
            product()  # warms up

    def measure(self) -> None:
        """Measure each library some more."""
        for name, product in self.products.items():
            for _ in range(TRIES):
                start = perf_counter()
                product()
                self.best[name] = max(self.best[name], 2 * SIZE**3 / (perf_counter() - start))

    @property
    def library(self) -> str:
        """The name of the fastest library."""
        return max(self.best, key=self.best.__getitem__)

    @property
    def flops(self) -> float:
        """Its operations per second."""
        return self.best[self.library]

    def figures(self) -> dict[str, Any]:
        """Return the figures for the file of results."""
        return {"size": SIZE, "gflops": {name: flops / 1e9 for name, flops in self.best.items()}}


def with_numpy(a: np.ndarray, b: np.ndarray, threads: int) -> Callable[[], object]:
    """NumPy's BLAS."""
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)


def with_torch(a: np.ndarray, b: np.ndarray, threads: int) -> Callable[[], object]:
    """PyTorch's."""
    import torch

    torch.set_num_threads(threads)
    left, right, out = torch.from_numpy(a), torch.from_numpy(b), torch.empty(SIZE, SIZE)
    return lambda: torch.mm(left, right, out=out)


def with_jax(a: np.ndarray, b: np.ndarray, threads: int) -> Callable[[], object]:
    """JAX's."""
    import jax

    left, right, product = jax.numpy.asarray(a), jax.numpy.asarray(b), jax.jit(lambda a, b: a @ b)
    return lambda: product(left, right).block_until_ready()
