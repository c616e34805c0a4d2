"""Neural networks at compiled speed on the CPU you already have."""

import importlib as _importlib
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from nnfast import functions
from nnfast._config import show_config
from nnfast._threads import get_num_threads, num_threads, set_num_threads
from nnfast._version import __version__
from nnfast.layers import Dense
from nnfast.optimizers import SGD, Adam
from nnfast.saving import load
from nnfast.sequential import Sequential
from nnfast.training import History

if _TYPE_CHECKING:
    from nnfast import datasets, perceptron, plotting
    from nnfast.perceptron import Perceptron

__all__ = [
    "SGD",
    "Adam",
    "Dense",
    "History",
    "Perceptron",
    "Sequential",
    "__version__",
    "datasets",
    "functions",
    "get_num_threads",
    "load",
    "num_threads",
    "perceptron",
    "plotting",
    "set_num_threads",
    "show_config",
]

# Imported when first asked for, to keep `import nnfast` quick.
_LAZY_MODULES = ("datasets", "perceptron", "plotting")


def __getattr__(name: str) -> _Any:
    if name in _LAZY_MODULES:
        return _importlib.import_module(f"nnfast.{name}")
    if name == "Perceptron":
        return _importlib.import_module("nnfast.perceptron").Perceptron
    raise AttributeError(f"module 'nnfast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
