from typing import Final

import numpy as np
from numpy.random import BitGenerator

FUNCTIONS: Final[dict[str, int]]
ACTIVATIONS: Final[dict[str, int]]
LOSSES: Final[dict[str, int]]
METRICS: Final[dict[str, int]]
OPTIMIZERS: Final[dict[str, int]]
FROM_INPUT: Final[frozenset[str]]
MIXING: Final[frozenset[str]]
FUSED: Final[frozenset[str]]
OF_LABELS: Final[frozenset[str]]
COMPILER: Final[str]
CHECKED: Final[bool]

def exp(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def log(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def step(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def identity(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def sigmoid(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def tanh(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def relu(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def softmax(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def step_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def identity_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def sigmoid_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def tanh_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def relu_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def softmax_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def log_softmax(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def log_softmax_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def selu(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def selu_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def hard_sigmoid(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def hard_sigmoid_backward(gradient: np.ndarray, output: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def gelu_tanh(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def gelu_tanh_backward(gradient: np.ndarray, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def silu(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def silu_backward(gradient: np.ndarray, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def leaky_relu(x: np.ndarray, negative_slope: float = 0.01, out: np.ndarray | None = None) -> np.ndarray: ...
def leaky_relu_backward(
    gradient: np.ndarray, output: np.ndarray, negative_slope: float = 0.01, out: np.ndarray | None = None
) -> np.ndarray: ...
def elu(x: np.ndarray, alpha: float = 1.0, out: np.ndarray | None = None) -> np.ndarray: ...
def elu_backward(
    gradient: np.ndarray, output: np.ndarray, alpha: float = 1.0, out: np.ndarray | None = None
) -> np.ndarray: ...
def gelu(x: np.ndarray, approximate: str = "none", out: np.ndarray | None = None) -> np.ndarray: ...
def gelu_backward(
    gradient: np.ndarray, x: np.ndarray, approximate: str = "none", out: np.ndarray | None = None
) -> np.ndarray: ...
def softplus(x: np.ndarray, beta: float = 1.0, out: np.ndarray | None = None) -> np.ndarray: ...
def softplus_backward(
    gradient: np.ndarray, x: np.ndarray, beta: float = 1.0, out: np.ndarray | None = None
) -> np.ndarray: ...
def apply_keep(
    x: np.ndarray,
    activation: str,
    alpha: float = 0.0,
    out: np.ndarray | None = None,
    derivative: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]: ...
def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def sum_squared_error(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.floating: ...
def sum_squared_error_backward(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray: ...
def mean_squared_error(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.floating: ...
def mean_squared_error_backward(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray: ...
def mean_absolute_error(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.floating: ...
def mean_absolute_error_backward(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray: ...
def huber(
    prediction: np.ndarray, target: np.ndarray, delta: float = 1.0, out: np.ndarray | None = None
) -> np.floating: ...
def huber_backward(
    prediction: np.ndarray, target: np.ndarray, delta: float = 1.0, out: np.ndarray | None = None
) -> np.ndarray: ...
def log_cosh(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.floating: ...
def log_cosh_backward(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def poisson(
    prediction: np.ndarray, target: np.ndarray, log_input: bool = True, out: np.ndarray | None = None
) -> np.floating: ...
def poisson_backward(
    prediction: np.ndarray, target: np.ndarray, log_input: bool = True, out: np.ndarray | None = None
) -> np.ndarray: ...
def quantile(
    prediction: np.ndarray, target: np.ndarray, quantiles: np.ndarray, out: np.ndarray | None = None
) -> np.floating: ...
def quantile_backward(
    prediction: np.ndarray, target: np.ndarray, quantiles: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray: ...
def hinge(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.floating: ...
def hinge_backward(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def cross_entropy(
    prediction: np.ndarray, target: np.ndarray, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.floating: ...
def cross_entropy_backward(
    prediction: np.ndarray, target: np.ndarray, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.ndarray: ...
def binary_cross_entropy(
    prediction: np.ndarray, target: np.ndarray, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.floating: ...
def binary_cross_entropy_backward(
    prediction: np.ndarray, target: np.ndarray, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.ndarray: ...
def kl_divergence(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.floating: ...
def kl_divergence_backward(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
def softmax_cross_entropy(
    prediction: np.ndarray, target: np.ndarray, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.floating: ...
def softmax_cross_entropy_backward(
    prediction: np.ndarray, target: np.ndarray, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.ndarray: ...
def sigmoid_binary_cross_entropy(
    prediction: np.ndarray, target: np.ndarray, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.floating: ...
def sigmoid_binary_cross_entropy_backward(
    prediction: np.ndarray, target: np.ndarray, label_smoothing: float = 0.0, out: np.ndarray | None = None
) -> np.ndarray: ...
def softmax_kl_divergence(prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None) -> np.floating: ...
def softmax_kl_divergence_backward(
    prediction: np.ndarray, target: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray: ...
def count_correct(prediction: np.ndarray, target: np.ndarray, threshold: float | None = None) -> int: ...
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
    mean: np.ndarray,
    variance: np.ndarray,
    gamma: np.ndarray | None,
    beta: np.ndarray | None,
    epsilon: float,
    out: np.ndarray | None = None,
) -> np.ndarray: ...
def batch_norm_sums(
    gradient: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    epsilon: float,
    out: np.ndarray | None = None,
    *,
    columns: tuple[int, int] | None = None,
) -> np.ndarray: ...
def batch_norm_backward(
    gradient: np.ndarray,
    x: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    gamma: np.ndarray | None,
    sums: np.ndarray | None,
    count: int,
    epsilon: float,
    out: np.ndarray | None = None,
) -> np.ndarray: ...
def sgd(
    parameters: np.ndarray,
    gradient: np.ndarray,
    learning_rate: float,
    *,
    buffer: np.ndarray | None = None,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    step: int = 1,
    weight_decay: float = 0.0,
    clip_value: float | None = None,
    gradient_scale: float = 1.0,
) -> None: ...
def adagrad(
    parameters: np.ndarray,
    gradient: np.ndarray,
    total: np.ndarray,
    learning_rate: float,
    learning_rate_decay: float,
    epsilon: float,
    step: int,
    *,
    weight_decay: float = 0.0,
    clip_value: float | None = None,
    gradient_scale: float = 1.0,
) -> None: ...
def rmsprop(
    parameters: np.ndarray,
    gradient: np.ndarray,
    square: np.ndarray,
    learning_rate: float,
    alpha: float,
    epsilon: float,
    *,
    mean: np.ndarray | None = None,
    buffer: np.ndarray | None = None,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    clip_value: float | None = None,
    gradient_scale: float = 1.0,
) -> None: ...
def adadelta(
    parameters: np.ndarray,
    gradient: np.ndarray,
    square: np.ndarray,
    square_change: np.ndarray,
    learning_rate: float,
    rho: float,
    epsilon: float,
    *,
    weight_decay: float = 0.0,
    clip_value: float | None = None,
    gradient_scale: float = 1.0,
) -> None: ...
def adam(
    parameters: np.ndarray,
    gradient: np.ndarray,
    first_moment: np.ndarray,
    second_moment: np.ndarray,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
    *,
    largest: np.ndarray | None = None,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    clip_value: float | None = None,
    gradient_scale: float = 1.0,
) -> None: ...
def adamw(
    parameters: np.ndarray,
    gradient: np.ndarray,
    first_moment: np.ndarray,
    second_moment: np.ndarray,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    step: int,
    *,
    largest: np.ndarray | None = None,
    weight_decay: float = 0.0,
    clip_value: float | None = None,
    gradient_scale: float = 1.0,
) -> None: ...
def nadam(
    parameters: np.ndarray,
    gradient: np.ndarray,
    first_moment: np.ndarray,
    second_moment: np.ndarray,
    learning_rate: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    momentum_decay: float,
    product: float,
    step: int,
    *,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
    clip_value: float | None = None,
    gradient_scale: float = 1.0,
) -> float: ...
def average(average: np.ndarray, values: np.ndarray, weight: float) -> None: ...
def square_sum(x: np.ndarray) -> float: ...
def penalty(parameters: np.ndarray, l1: float, l2: float) -> float: ...
def add_penalty(parameters: np.ndarray, gradient: np.ndarray, l1: float, l2: float) -> None: ...
def all_finite(x: np.ndarray) -> bool: ...
def shuffle(order: np.ndarray, bit_generator: BitGenerator) -> None: ...
