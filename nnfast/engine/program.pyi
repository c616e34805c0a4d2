from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import BitGenerator

_Optimizer = tuple[str, int, float, float, float, float]

def aligned_zeros(n: int, dtype: Any) -> np.ndarray: ...

class Program:
    dtype: np.dtype[Any]
    layout: list[tuple[int, str, int, tuple[int, ...]]]
    parameters: np.ndarray
    gradients: np.ndarray
    optimizer_kind: str | None
    optimizer_steps: int
    plateau: dict[str, Any] | None
    moments: list[np.ndarray]
    saved_rows: int
    has_gradients: bool
    def __init__(self, dtype: Any, steps: Sequence[tuple[int, int, str, bool]], loss: str) -> None: ...
    def __enter__(self) -> Program: ...
    def __exit__(self, *exception: object) -> None: ...
    def reset_optimizer(self) -> None: ...
    def restore_optimizer(
        self, kind: str, steps: int, moments: Sequence[np.ndarray], plateau: dict[str, Any] | None
    ) -> None: ...
    def steps_of(self, kind: str) -> int: ...
    def forget(self) -> None: ...
    def predict(self, x: np.ndarray, out: np.ndarray, threads: int, fused: bool = False) -> None: ...
    def predict_one(self, x: Any, out: Any) -> bool: ...
    def evaluate(
        self, x: np.ndarray, targets: np.ndarray, counts: str | float | None, threads: int
    ) -> tuple[float, int]: ...
    def gradient(
        self, x: np.ndarray, targets: np.ndarray, out: np.ndarray, gx: np.ndarray | None, threads: int
    ) -> float: ...
    def forward(self, x: np.ndarray, out: np.ndarray, threads: int) -> None: ...
    def backward(self, gout: np.ndarray, gx: np.ndarray, parameters: bool, accumulate: bool, threads: int) -> None: ...
    def update(self, optimizer: _Optimizer, scheduled: tuple[float, float | None] | None = None) -> None: ...
    def train_step(
        self,
        x: np.ndarray,
        targets: np.ndarray,
        optimizer: _Optimizer,
        threads: int,
        scheduled: tuple[float, float | None] | None = None,
    ) -> float: ...

class Training:
    program: Program
    x: np.ndarray
    targets: np.ndarray
    rows: slice | np.ndarray
    step: int
    step_loss: np.ndarray
    step_correct: np.ndarray
    rates: np.ndarray
    momenta: np.ndarray | None
    def __init__(
        self,
        program: Program,
        x: np.ndarray,
        targets: np.ndarray,
        batch: int,
        total: int,
        optimizer: _Optimizer,
        bit_generator: BitGenerator | None,
        counts: str | float | None,
        threads: int,
    ) -> None: ...
    def schedule(self, rates: np.ndarray, momenta: np.ndarray | None) -> None: ...
    def run(self, until: int, optimizer: _Optimizer, scheduled: bool = False, seconds: float = 0.1) -> int: ...
    def take(self, gradient: np.ndarray, loss: float, correct: int, optimizer: _Optimizer, scheduled: bool) -> None: ...

class Differences:
    done: float
    slopes: np.ndarray
    def __init__(
        self, program: Program, x: np.ndarray, targets: np.ndarray, arrays: Sequence[int], h: float, threads: int
    ) -> None: ...
    def run(self, seconds: float = 0.1) -> bool: ...
