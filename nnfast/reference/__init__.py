"""The readable specification: every compiled kernel in plain NumPy, under the same name and signature.

Nothing here is used at run time, and nothing here imports nnfast: the tests hold the compiled kernels to it. Arrays are
of a float dtype; `out` is written and returned where it is given.
"""

from .activations import (
    exp,
    identity,
    identity_backward,
    log,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    softmax,
    softmax_backward,
    step,
    step_backward,
    tanh,
    tanh_backward,
)
from .dense import dense, dense_backward_bias, dense_backward_input, dense_backward_weights, matmul, rank_one
from .elementwise import add, rescale
from .losses import (
    binary_cross_entropy,
    binary_cross_entropy_backward,
    count_correct,
    cross_entropy,
    cross_entropy_backward,
    mean_squared_error,
    mean_squared_error_backward,
    sigmoid_binary_cross_entropy,
    sigmoid_binary_cross_entropy_backward,
    softmax_cross_entropy,
    softmax_cross_entropy_backward,
    sum_squared_error,
    sum_squared_error_backward,
)
from .noise import dropout, gaussian_noise, noise_key
from .norms import (
    batch_norm,
    batch_norm_backward,
    batch_norm_moments,
    batch_norm_sums,
    layer_norm,
    layer_norm_backward,
    layer_norm_backward_parameters,
)
from .optimizers import adam, all_finite, sgd
from .shuffling import shuffle

__all__ = [
    "adam",
    "add",
    "all_finite",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_moments",
    "batch_norm_sums",
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "count_correct",
    "cross_entropy",
    "cross_entropy_backward",
    "dense",
    "dense_backward_bias",
    "dense_backward_input",
    "dense_backward_weights",
    "dropout",
    "exp",
    "gaussian_noise",
    "identity",
    "identity_backward",
    "layer_norm",
    "layer_norm_backward",
    "layer_norm_backward_parameters",
    "log",
    "matmul",
    "mean_squared_error",
    "mean_squared_error_backward",
    "noise_key",
    "rank_one",
    "relu",
    "relu_backward",
    "rescale",
    "sgd",
    "shuffle",
    "sigmoid",
    "sigmoid_backward",
    "sigmoid_binary_cross_entropy",
    "sigmoid_binary_cross_entropy_backward",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
    "step",
    "step_backward",
    "sum_squared_error",
    "sum_squared_error_backward",
    "tanh",
    "tanh_backward",
]
