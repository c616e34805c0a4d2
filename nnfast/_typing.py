"""Types of arguments, for type checkers: nothing imports this module at run time."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import ArrayLike


class SupportsDLPack(Protocol):
    """An array of another library, which NumPy reads by DLPack."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...


class SupportsArrayInterface(Protocol):
    """An array of another library, which NumPy reads by its array interface."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


class SparseRows(Protocol):
    """A CSR matrix or array of SciPy."""

    @property
    def indptr(self) -> Any: ...

    def tocsr(self, *args: Any, **kwargs: Any) -> Any: ...


# Rows of numbers: arrays, nested lists, data frames and sparse matrices.
Samples = ArrayLike | SupportsDLPack | SupportsArrayInterface | SparseRows
# Samples, targets and, if they are given, the weights of rows.
Data = tuple[Samples, ArrayLike] | tuple[Samples, ArrayLike, ArrayLike | None]
