"""Training on mini-batches and by L-BFGS."""

from nnfast.training.arguments import FitArguments, Given
from nnfast.training.history import History
from nnfast.training.loop import DIVERGED, divergence, fit
from nnfast.training.many import arguments_of_many, fit_many

__all__ = ["DIVERGED", "FitArguments", "Given", "History", "arguments_of_many", "divergence", "fit", "fit_many"]
