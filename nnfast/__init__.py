"""Neural networks at compiled speed on the CPU you already have."""

import importlib as _importlib
import os as _os
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

try:
    import nnfast.kernels.dispatch as _dispatch  # noqa: F401
except ImportError as _error:
    from nnfast._command import exit_if_command as _exit_if_command

    _exit_if_command(_error)
    raise

from nnfast import activations, columns, losses, metrics, schedules
from nnfast._config import show_config
from nnfast._threads import get_num_threads, num_threads, set_num_threads
from nnfast._version import __version__
from nnfast.layers import (
    Activation,
    BatchNorm,
    ColumnEncoding,
    Dense,
    Dropout,
    Flatten,
    GaussianNoise,
    LayerNorm,
    Rescaling,
    Reshape,
    Residual,
    Scale,
)
from nnfast.optimizers import LBFGS, SGD, Adadelta, Adagrad, Adam, AdamW, Lion, NAdam, RMSprop
from nnfast.sequential import Sequential

if _TYPE_CHECKING:
    from nnfast import callbacks, datasets, functions, perceptron, plotting, tables
    from nnfast._exchange import from_keras, from_onnx, from_sklearn, from_torch, load
    from nnfast._many import fit_many
    from nnfast.files.errors import LoadError
    from nnfast.gradients import (
        Descent,
        GradientReport,
        assert_gradient_correct,
        check_gradient,
        gradient_descent,
        numerical_diff,
        numerical_gradient,
        numerical_jacobian,
    )
    from nnfast.perceptron import Perceptron
    from nnfast.predictor import Predictor, get_include
    from nnfast.training import History

__all__ = [
    "LBFGS",
    "SGD",
    "Activation",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "BatchNorm",
    "ColumnEncoding",
    "Dense",
    "Descent",
    "Dropout",
    "Flatten",
    "GaussianNoise",
    "GradientReport",
    "History",
    "LayerNorm",
    "Lion",
    "LoadError",
    "NAdam",
    "Perceptron",
    "Predictor",
    "RMSprop",
    "Rescaling",
    "Reshape",
    "Residual",
    "Scale",
    "Sequential",
    "__version__",
    "activations",
    "assert_gradient_correct",
    "callbacks",
    "check_gradient",
    "columns",
    "datasets",
    "fit_many",
    "from_keras",
    "from_onnx",
    "from_sklearn",
    "from_torch",
    "functions",
    "get_include",
    "get_num_threads",
    "gradient_descent",
    "load",
    "losses",
    "metrics",
    "num_threads",
    "numerical_diff",
    "numerical_gradient",
    "numerical_jacobian",
    "perceptron",
    "plotting",
    "schedules",
    "set_num_threads",
    "show_config",
    "tables",
]

# Imported when first asked for, to keep `import nnfast` quick.
_LAZY_MODULES = ("callbacks", "datasets", "functions", "perceptron", "plotting", "tables")
_LAZY_NAMES = {
    "Descent": "gradients",
    "GradientReport": "gradients",
    "History": "training",
    "LoadError": "files.errors",
    "Perceptron": "perceptron",
    "Predictor": "predictor",
    "assert_gradient_correct": "gradients",
    "check_gradient": "gradients",
    "fit_many": "_many",
    "from_keras": "_exchange",
    "from_onnx": "_exchange",
    "from_sklearn": "_exchange",
    "from_torch": "_exchange",
    "get_include": "predictor",
    "gradient_descent": "gradients",
    "load": "_exchange",
    "numerical_diff": "gradients",
    "numerical_gradient": "gradients",
    "numerical_jacobian": "gradients",
}


def __getattr__(name: str) -> _Any:
    if name in _LAZY_MODULES:
        return _importlib.import_module(f"nnfast.{name}")
    if name in _LAZY_NAMES:
        return getattr(_importlib.import_module(f"nnfast.{_LAZY_NAMES[name]}"), name)
    raise AttributeError(f"module 'nnfast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _import_what_trains() -> None:
    """Import what is left to import for training, or wait for another thread that imports it."""
    _importlib.import_module("nnfast.training.many")
    _importlib.import_module("nnfast._many")


if hasattr(_os, "register_at_fork"):  # a forked process would wait forever for an import begun by another thread
    _os.register_at_fork(before=_import_what_trains)
