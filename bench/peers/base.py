"""What each peer has to offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.metadata import version
from importlib.util import find_spec
from typing import ClassVar

from bench.data import Data, Parameters
from bench.workloads import Workload


class Peer(ABC):
    """A network that one library trains, written as the library's own experts would write it.

    The constructor does all that is not training. Libraries are imported there, not at the top of the file.

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

    @abstractmethod
    def __init__(self, workload: Workload, data: Data, initial: Parameters, threads: int) -> None: ...

    @abstractmethod
    def run(self, steps: int) -> None:
        """Go on with training for so many mini-batches, in the order of the data, beginning with the first row.

        The loss of each mini-batch is computed and kept, as far as the library can.
        """

    @abstractmethod
    def parameters(self) -> Parameters:
        """Return the weights and biases as they are now."""
