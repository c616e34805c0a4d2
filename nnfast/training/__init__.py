"""Training on mini-batches and by L-BFGS."""

from nnfast._validation import UNSET
from nnfast.training.arguments import FitArguments, Patience
from nnfast.training.batches import Batches
from nnfast.training.data import Given
from nnfast.training.history import History
from nnfast.training.hooks import Callback
from nnfast.training.loop import DIVERGED, divergence, fit

__all__ = [
    "DIVERGED",
    "UNSET",
    "Batches",
    "Callback",
    "FitArguments",
    "Given",
    "History",
    "Patience",
    "divergence",
    "fit",
]
