"""What each peer has to offer: a network that trains, one that predicts, or both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.metadata import version
from importlib.util import find_spec
from typing import ClassVar

import numpy as np

from bench.data import Data, Parameters
from bench.workloads import Network, Workload


class Peer(ABC):
    """A library. It is imported in the constructors below, not at the top of a file."""

    name: ClassVar[str]
    module: ClassVar[str]  # what is imported
    package: ClassVar[str]  # what is installed

    @classmethod
    def missing(cls) -> str | None:
        """Say why this peer cannot take part, or None if it can."""
        return None if find_spec(cls.module) else f"{cls.package} is not installed"

    @classmethod
    def version(cls) -> str:
        """Return the version of the library."""
        return version(cls.package)


class Trainer(Peer):
    """A network that one library trains, written as the library's own experts would write it.

    The constructor does all that is not training.

    Parameters
    ----------
    workload : Workload
        What to train.
    data : Data
        What to train it on.
    initial : list of (weights, bias)
        What to start from; to be copied.
    threads : int
        How many the library may use, where that is not a matter of the environment.
    """

    @abstractmethod
    def __init__(self, workload: Workload, data: Data, initial: Parameters, threads: int) -> None: ...

    def prepare(self, steps: int) -> None:
        """Compile what `run` of so many steps needs, without training."""

    @abstractmethod
    def run(self, steps: int) -> None:
        """Go on with training for so many mini-batches, in the order of the data, beginning with the first row.

        The loss of each mini-batch is computed and kept, as far as the library can.
        """

    @abstractmethod
    def parameters(self) -> Parameters:
        """Return the weights and biases as they are now."""


class Predictor(Peer):
    """A network that one library runs.

    Parameters
    ----------
    network : Network
        What it is.
    parameters : list of (weights, bias)
        What it has learned.
    threads : int
        As for a trainer.
    """

    @abstractmethod
    def __init__(self, network: Network, parameters: Parameters, threads: int) -> None: ...

    @abstractmethod
    def one(self, row: np.ndarray) -> np.ndarray:
        """Return the probabilities of the classes for one sample, of shape (features,), as fast as the library can."""

    @abstractmethod
    def many(self, x: np.ndarray) -> np.ndarray:
        """Return the probabilities of the classes for samples, of shape (n, features)."""
