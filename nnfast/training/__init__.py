"""Training on mini-batches and by L-BFGS."""

from nnfast.training.loop import DIVERGED, History, divergence, fit

__all__ = ["DIVERGED", "History", "divergence", "fit"]
