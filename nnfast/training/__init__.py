"""Training on mini-batches and by L-BFGS."""

from nnfast.training.arguments import FitArguments, Given
from nnfast.training.history import History
from nnfast.training.loop import DIVERGED, divergence, fit

__all__ = ["DIVERGED", "FitArguments", "Given", "History", "divergence", "fit"]
