from collections.abc import Sequence
from typing import Any, Final

import numpy as np

FUNCTIONS: Final[dict[str, int]]
ACTIVATIONS: Final[dict[str, int]]
LOSSES: Final[dict[str, int]]
METRICS: Final[dict[str, int]]
OPTIMIZERS: Final[dict[str, int]]
NUMBERS: Final[dict[str, int]]
FROM_INPUT: Final[frozenset[str]]
MIXING: Final[frozenset[str]]
FUSED: Final[frozenset[str]]
OF_LABELS: Final[frozenset[str]]
COMPILER: Final[str]
CHECKED: Final[bool]

def apply(function: str, x: np.ndarray, alpha: float = 0.0, out: np.ndarray | None = None) -> np.ndarray: ...
def apply_backward(
    activation: str, gradient: np.ndarray, at: np.ndarray, alpha: float = 0.0, out: np.ndarray | None = None
) -> np.ndarray: ...
def apply_keep(
    x: np.ndarray,
    activation: str,
    alpha: float = 0.0,
    out: np.ndarray | None = None,
    derivative: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]: ...
def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def loss(
    kind: str,
    prediction: np.ndarray,
    target: np.ndarray,
    per_output: np.ndarray | None = None,
    numbers: tuple[float, ...] = (),
    summed: bool = False,
    out: np.ndarray | None = None,
) -> np.floating: ...
def loss_backward(
    kind: str,
    prediction: np.ndarray,
    target: np.ndarray,
    per_output: np.ndarray | None = None,
    numbers: tuple[float, ...] = (),
    summed: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray: ...
def score(
    prediction: np.ndarray,
    target: np.ndarray,
    metric: str,
    threshold: float = 0.5,
    k: int = 1,
    weights: np.ndarray | None = None,
    total: bool = False,
) -> np.ndarray | int: ...
def matmul(
    a: np.ndarray,
    b: np.ndarray,
    out: np.ndarray | None = None,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
) -> np.ndarray: ...
def rank_one(
    z: np.ndarray, rows: np.ndarray, scale: np.ndarray, direction: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray: ...
def dense(
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None,
    activation: str = "identity",
    out: np.ndarray | None = None,
    *,
    alpha: float = 0.0,
) -> np.ndarray: ...
def dense_backward_input(gradient: np.ndarray, weights: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def dense_backward_weights(x: np.ndarray, gradient: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def dense_backward_bias(gradient: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def sparse_dense(
    values: np.ndarray,
    columns: np.ndarray,
    starts: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None,
    activation: str = "identity",
    out: np.ndarray | None = None,
    *,
    alpha: float = 0.0,
) -> np.ndarray: ...
def sparse_backward_weights(
    values: np.ndarray,
    columns: np.ndarray,
    starts: np.ndarray,
    gradient: np.ndarray,
    n_in: int,
    out: np.ndarray | None = None,
    *,
    chunks: int = 1,
) -> np.ndarray: ...
def sparse_descend(
    values: np.ndarray,
    columns: np.ndarray,
    starts: np.ndarray,
    gradient: np.ndarray,
    weights: np.ndarray,
    learning_rate: float,
    *,
    chunks: int = 1,
) -> None: ...

class CompressedRows:
    def __init__(self, values: np.ndarray, columns: np.ndarray, starts: np.ndarray, n_in: int) -> None: ...

def perceptron_scores(
    x: np.ndarray | CompressedRows, weights: np.ndarray, bias: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray: ...
def perceptron_epoch(
    x: np.ndarray | CompressedRows,
    labels: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    rates: np.ndarray,
    planes: np.ndarray,
    order: np.ndarray | None = None,
    row_weights: np.ndarray | None = None,
    *,
    fit_bias: bool = True,
) -> np.ndarray: ...
def convert(x: np.ndarray, dtype: Any, rows: np.ndarray | None = None, out: np.ndarray | None = None) -> np.ndarray: ...
def encode(
    x: np.ndarray,
    columns: Sequence[tuple[Any, ...]],
    embeddings: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray: ...
def encode_backward(
    gradient: np.ndarray, x: np.ndarray, columns: Sequence[tuple[Any, ...]], out: np.ndarray | None = None
) -> np.ndarray: ...
def encode_backward_table(
    gradient: np.ndarray, x: np.ndarray, columns: Sequence[tuple[Any, ...]], out: np.ndarray | None = None
) -> np.ndarray: ...
def rescale(x: np.ndarray, scale: float, offset: float, out: np.ndarray | None = None) -> np.ndarray: ...
def add(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def noise_key(seed: int, step: int, layer: int) -> int: ...
def dropout(
    x: np.ndarray, rate: float, key: int, row0: int = 0, keep: np.ndarray | None = None, out: np.ndarray | None = None
) -> np.ndarray: ...
def gaussian_noise(
    x: np.ndarray, deviation: float, key: int, row0: int = 0, out: np.ndarray | None = None
) -> np.ndarray: ...
def layer_norm(
    x: np.ndarray,
    gamma: np.ndarray | None,
    beta: np.ndarray | None,
    epsilon: float,
    stats: np.ndarray | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray: ...
def layer_norm_backward(
    gradient: np.ndarray, x: np.ndarray, gamma: np.ndarray | None, stats: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray: ...
def layer_norm_backward_parameters(
    gradient: np.ndarray,
    x: np.ndarray,
    stats: np.ndarray,
    gamma_gradient: np.ndarray | None,
    beta_gradient: np.ndarray | None,
    *,
    columns: tuple[int, int] | None = None,
    accumulate: bool = False,
) -> None: ...
def batch_norm_moments(
    x: np.ndarray, out: np.ndarray | None = None, *, columns: tuple[int, int] | None = None
) -> np.ndarray: ...
def batch_norm(
    x: np.ndarray,
    mean: np.ndarray | None,
    variance: np.ndarray | None,
    gamma: np.ndarray | None,
    beta: np.ndarray | None,
    epsilon: float,
    out: np.ndarray | None = None,
) -> np.ndarray: ...
def batch_norm_sums(
    gradient: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray | None,
    variance: np.ndarray | None,
    epsilon: float,
    out: np.ndarray | None = None,
    *,
    columns: tuple[int, int] | None = None,
    accumulate: bool = False,
) -> np.ndarray: ...
def batch_norm_backward(
    gradient: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray | None,
    variance: np.ndarray | None,
    gamma: np.ndarray | None,
    sums: np.ndarray | None,
    count: int,
    epsilon: float,
    out: np.ndarray | None = None,
) -> np.ndarray: ...
def update(
    kind: str,
    parameters: np.ndarray,
    gradient: np.ndarray,
    moments: tuple[np.ndarray | None, ...] = (),
    step: int = 1,
    product: float | None = None,
    **hyperparameters: float | None,
) -> float: ...
def average(average: np.ndarray, values: np.ndarray, weight: float) -> None: ...
def square_sum(x: np.ndarray) -> float: ...
def dot(x: np.ndarray, y: np.ndarray) -> float: ...
def penalty(parameters: np.ndarray, l1: float, l2: float) -> float: ...
def add_penalty(parameters: np.ndarray, gradient: np.ndarray, l1: float, l2: float) -> None: ...
def all_finite(x: np.ndarray) -> bool: ...
def shuffle(order: np.ndarray, seed: int) -> None: ...
def draw(order: np.ndarray, rows: int, seed: int) -> None: ...
