from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.random import BitGenerator

_Loss = tuple[str, tuple[float, ...], np.ndarray | None, bool]
_Own = Callable[..., tuple[float, np.ndarray]] | tuple[int, int, bool] | None
_Metrics = Sequence[tuple[Any, ...]]  # of `nnfast.metrics.Scoring`, which is read by name
_Optimizer = tuple[Any, ...]  # `nnfast.optimizers.Hyperparameters`, which is read by name

def aligned_zeros(n: int, dtype: Any) -> np.ndarray: ...

class Holding:
    def __enter__(self) -> Holding: ...
    def __exit__(self, *exception: object) -> None: ...
    def resume(self) -> None: ...
    def pause(self) -> None: ...

class Guard:
    whole: Holding
    change: Holding
    def __enter__(self) -> Guard: ...
    def __exit__(self, *exception: object) -> None: ...

class Guards:
    def __init__(self, guards: Iterable[Guard]) -> None: ...
    def __enter__(self) -> Guards: ...
    def __exit__(self, *exception: object) -> None: ...

STAGES: dict[str, int]

class Slot:
    kind: str | None
    steps: int
    moments: list[np.ndarray | None]
    product: float
    average: np.ndarray | None
    averaged: bool
    epochs: int
    plateau: dict[str, Any] | None
    def steps_of(self, kind: str) -> int: ...
    def reset(self) -> None: ...
    def restore(
        self,
        kind: str,
        steps: int,
        epochs: int,
        product: float,
        moments: Sequence[np.ndarray | None],
        average: np.ndarray | None,
        plateau: dict[str, Any] | None,
    ) -> None: ...

class Place:
    epochs: int
    def state(self) -> dict[str, Any] | None: ...
    def steps_done(self, visits: tuple[Any, ...]) -> int: ...  # `nnfast.training.visits.Visits`
    def restore(self, state: dict[str, Any]) -> None: ...

class Source:
    dtype: np.dtype[Any]
    arrays: tuple[np.ndarray, ...]
    shape: tuple[int, int]
    blocks: int
    looked_at: int
    is_sparse: bool
    def __init__(self, dtype: Any, arrays: Sequence[np.ndarray], columns: int | None = None) -> None: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray: ...
    def not_finite(self, first: int) -> int: ...
    def first_disorder(self) -> int: ...
    def most_stored(self, rows: int, order: np.ndarray | None = None) -> int: ...

_Rows = np.ndarray | Source

class ActivationMemory: ...

class OneRow:
    dtype: np.dtype[Any]
    parameters: np.ndarray
    statistics: np.ndarray
    def predict_row(self, x: Any) -> np.ndarray | None: ...
    def predict_one(self, x: Any, out: Any) -> bool: ...

class Snapshot(OneRow):
    address: int
    function_address: int
    capsule: object
    def __init__(self, program: Program) -> None: ...

class Program(OneRow):
    guard: Guard
    place: Place
    layout: list[tuple[str, str, int, tuple[int, ...]]]
    gradients: np.ndarray
    slot: Slot
    seed: int
    noise_steps: int
    statistics_layout: list[tuple[str, str, int, tuple[int, ...]]]
    saved_rows: int
    has_gradients: bool
    learns: bool
    def __init__(
        self,
        dtype: Any,
        stages: Sequence[dict[str, Any]],
        loss: _Loss | None,
        seed: int,
        guard: Guard,
        same: Program | None = None,
        own: _Own = None,
    ) -> None: ...
    def settle(self) -> None: ...
    def chunks(self, rows: int) -> list[int]: ...
    def forget(self) -> None: ...
    def predict(self, x: _Rows, out: np.ndarray, threads: int, fixed: bool, fused: bool = False) -> None: ...
    def predict_rows(self, x: Any, out: Any, threads: int, fixed: bool) -> np.ndarray | None: ...
    def predict_stage(self, x: _Rows, out: np.ndarray, stage: int, threads: int, fixed: bool) -> None: ...
    def accepts_rows(self, x: Any) -> bool: ...
    def accepts_outputs(self, outputs: Any, n: int) -> bool: ...
    def accepts(self, x: Any, targets: Any, any_targets: bool) -> bool: ...
    def evaluate(
        self,
        x: _Rows,
        targets: np.ndarray,
        weights: np.ndarray | None,
        metrics: _Metrics,
        threads: int,
        fixed: bool,
        order: np.ndarray | None = None,
    ) -> tuple[float, np.ndarray]: ...
    def jacobian(self, x: np.ndarray, out: np.ndarray, threads: int, fixed: bool) -> None: ...
    def training_loss(
        self,
        x: _Rows,
        targets: np.ndarray,
        weights: np.ndarray | None,
        metrics: _Metrics,
        threads: int,
        lasting: bool = False,
        outputs: np.ndarray | None = None,
        memory: ActivationMemory | None = None,
    ) -> tuple[float, np.ndarray]: ...
    def gradient(
        self,
        x: _Rows,
        targets: np.ndarray,
        weights: np.ndarray | None,
        out: np.ndarray,
        gx: np.ndarray | None,
        threads: int,
        fixed: bool,
        training: bool = False,
        metrics: _Metrics = (),
        scores: np.ndarray | None = None,
        outputs: np.ndarray | None = None,
        memory: ActivationMemory | None = None,
    ) -> float: ...
    def forward(self, x: np.ndarray, out: np.ndarray, threads: int) -> None: ...
    def backward(self, gout: np.ndarray, gx: np.ndarray, parameters: bool, accumulate: bool, threads: int) -> None: ...
    def update(self, optimizer: _Optimizer, scheduled: tuple[float, float | None] | None = None) -> None: ...
    def train_step(
        self,
        x: _Rows,
        targets: np.ndarray,
        weights: np.ndarray | None,
        optimizer: _Optimizer,
        threads: int,
        fixed: bool,
        scheduled: tuple[float, float | None] | None = None,
    ) -> float: ...

class Training:
    program: Program
    x: _Rows
    targets: np.ndarray
    weights: np.ndarray | None
    rows: slice | np.ndarray
    outputs: np.ndarray | None
    meetings: int
    first: int
    total: int
    step: int
    epochs: int
    within_epoch: bool
    step_loss: np.ndarray
    step_scores: np.ndarray
    threads: dict[int, int]
    rates: np.ndarray
    momenta: np.ndarray | None
    def __init__(
        self,
        program: Program,
        x: _Rows | None,
        targets: np.ndarray | None,
        weights: np.ndarray | None,
        visits: tuple[Any, ...],  # `nnfast.training.visits.Visits`, which is read by name
        optimizer: _Optimizer,
        bit_generator: BitGenerator,
        metrics: _Metrics,
        names: Sequence[str],
        threads: int,
        fixed: bool = False,
        rows: np.ndarray | None = None,
        keep_outputs: bool = False,
    ) -> None: ...
    @property
    def finished(self) -> bool: ...
    def start(self, optimizer: _Optimizer) -> None: ...
    def be_patient(self, tolerance: float, limit: int, best: float, waited: int) -> None: ...
    def count_epochs(self, counted: bool, before: int) -> None: ...
    def feed(self, x: _Rows, targets: np.ndarray, weights: np.ndarray | None) -> None: ...
    def end_epoch(self) -> None: ...
    def seen(self, current: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]: ...
    def averages(
        self, first: int, last: int, per_row: Sequence[int], current: bool = False
    ) -> list[tuple[float, ...]]: ...
    def schedule(self, rates: np.ndarray, momenta: np.ndarray | None) -> None: ...
    def run(self, until: int, optimizer: _Optimizer, scheduled: bool = False, seconds: float = 0.1) -> int: ...
    def take(
        self,
        gradient: np.ndarray,
        loss: float,
        scores: np.ndarray,
        optimizer: _Optimizer,
        scheduled: bool,
        outputs: np.ndarray | None = None,
    ) -> None: ...

def run_many(
    runs: Sequence[tuple[Training, int, _Optimizer, bool]],
    threads: int,
    fixed: bool,
    more: bool,
    seconds: float = 0.1,
) -> None: ...

_Task = Literal["evaluate", "iterated", "converged", "stuck"]

class Minimizer:
    point: np.ndarray
    gradient: np.ndarray
    trials: int
    def __init__(
        self,
        point: np.ndarray,
        gradient: np.ndarray,
        history_size: int,
        tolerance: float,
        gradient_tolerance: float,
    ) -> None: ...
    def begin(self, value: float) -> _Task: ...
    def take(self, value: float) -> _Task: ...
    def go_on(self) -> _Task: ...

class Differences:
    done: float
    slopes: np.ndarray
    def __init__(
        self,
        program: Program,
        x: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray | None,
        arrays: Sequence[int],
        h: float,
        threads: int,
        training: bool = False,
        structured: bool = True,
    ) -> None: ...
    def run(self, seconds: float = 0.1) -> bool: ...
