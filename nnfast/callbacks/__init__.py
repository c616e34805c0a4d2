"""Callbacks of `Sequential.fit`: stop early, keep the best, write checkpoints and logs.

Pass them as ``net.fit(..., callbacks=[nf.callbacks.EarlyStopping(), ...])``; they are called in this order. A callback
of your own is a function ``f(net, history)``, called after each epoch, or a subclass of `Callback`.
"""

from nnfast.callbacks.base import Lambda
from nnfast.callbacks.checkpoint import Checkpoint
from nnfast.callbacks.learning_rate import LearningRateFinder
from nnfast.callbacks.logs import CSVLog, Logging, TensorBoard
from nnfast.callbacks.stopping import EarlyStopping, StopOnNaN
from nnfast.training.hooks import Callback

__all__ = [
    "CSVLog",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "Lambda",
    "LearningRateFinder",
    "Logging",
    "StopOnNaN",
    "TensorBoard",
]


def __dir__() -> list[str]:
    return sorted(__all__)
