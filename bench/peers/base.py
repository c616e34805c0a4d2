"""What each peer implements: a network that trains, one that predicts, or both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.metadata import version
from importlib.util import find_spec
from typing import ClassVar

import numpy as np

from bench.data import Data, Parameters
from bench.workloads import Network, Workload


class Peer(ABC):
    """A library, imported in the constructors below and not at the top of a file."""

    name: ClassVar[str]
    module: ClassVar[str]  # the name to import
    package: ClassVar[str]  # the name to install

    @classmethod
    def missing(cls) -> str | None:
        """Return why this peer cannot take part, or None if it can."""
        return None if find_spec(cls.module) else f"{cls.package} is not installed"

    @classmethod
    def version(cls) -> str:
        """Return the version of the library."""
        return version(cls.package)


class Trainer(Peer):
    """A network that one library trains, written as experts in that library would write it.

    The constructor does everything that is not training.

    Parameters
    ----------
    workload : Workload
        What to train.
    data : Data
        What to train it on.
    initial : list of (weights, bias)
        What to start from; copy it.
    threads : int
        How many the library may use, unless the environment determines that.
    """

    @abstractmethod
    def __init__(self, workload: Workload, data: Data, initial: Parameters, threads: int) -> None: ...

    def prepare(self, steps: int) -> None:
        """Compile what `run(steps)` needs, without training."""

    @abstractmethod
    def run(self, steps: int) -> None:
        """Continue training for `steps` mini-batches, in the order of the data, beginning with the first row.

        The loss of each mini-batch is computed and kept, if the library can do that.
        """

    @abstractmethod
    def parameters(self) -> Parameters:
        """Return the current weights and biases."""


class Predictor(Peer):
    """A network that one library runs.

    Parameters
    ----------
    network : Network
        The network.
    parameters : list of (weights, bias)
        Its parameters.
    threads : int
        As for `Trainer`.
    """

    @abstractmethod
    def __init__(self, network: Network, parameters: Parameters, threads: int) -> None: ...

    @abstractmethod
    def one(self, row: np.ndarray) -> np.ndarray:
        """Return the probabilities of the classes for one sample, of shape (features,), as fast as the library can."""

    @abstractmethod
    def many(self, x: np.ndarray) -> np.ndarray:
        """Return the probabilities of the classes for samples, of shape (n, features)."""
