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
from .optimizers import adam, all_finite, sgd
from .shuffling import shuffle

__all__ = [
    "adam",
    "all_finite",
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "count_correct",
    "cross_entropy",
    "cross_entropy_backward",
    "dense",
    "dense_backward_bias",
    "dense_backward_input",
    "dense_backward_weights",
    "exp",
    "identity",
    "identity_backward",
    "log",
    "matmul",
    "mean_squared_error",
    "mean_squared_error_backward",
    "rank_one",
    "relu",
    "relu_backward",
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
