"""What a network consists of: its arrays by name, its random streams, and the checks of its shape and dtype."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._validation import as_array, check_int, choose, describe

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import ArrayLike


class ArrayViews(Mapping[str, np.ndarray]):
    """The arrays of a network by name (``"W1"``, ``"b1"``, ...) or path (``"0.W"``, ...): views of one vector.

    Assigning copies the values into the view, after checking the shape.
    """

    def __init__(self, views: dict[str, np.ndarray], paths: dict[str, str]) -> None:
        self._views = views
        self._paths = paths

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            return self._views[self.name_of(name)]
        except KeyError:
            raise KeyError(f"no array {name!r}: there are {', '.join(self._views)}") from None

    def __setitem__(self, name: str, value: ArrayLike) -> None:
        view = self[name]
        view[...] = as_array(name, value, view.dtype, shape=view.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def name_of(self, path: str) -> str:
        """Return the name of the array with this path; anything else is returned unchanged."""
        return self._paths.get(path, path)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of the arrays, in their order."""
        return tuple(self._paths)

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name!r}: {view.shape}" for name, view in self._views.items()) + "}"


def checked_dtype(dtype: Any) -> np.dtype:
    """Return the dtype of a network; TypeError or ValueError unless it is float32 or float64."""
    name = dtype
    if not (dtype is None or isinstance(dtype, str)):
        with suppress(Exception):  # `choose` says what is wrong
            name = np.dtype(dtype).name
    return np.dtype(choose("dtype", name, ("float32", "float64")))


def streams(seed: int | Generator | None) -> tuple[Generator, Generator, Generator]:
    """Return independent generators for initial values, for shuffling, and for the seed of noise."""
    from numpy.random import PCG64, Generator, SeedSequence

    entropy: int | list[int] | None
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, (bool, np.timedelta64))
    if isinstance(seed, Generator):
        entropy = [int(word) for word in seed.integers(0, 2**32, 8)]
    elif seed is None or (whole and seed >= 0):
        entropy = None if seed is None else int(seed)
    else:
        error = ValueError if whole else TypeError
        raise error(f"seed must be a non-negative int, a numpy.random.Generator or None, got {describe(seed)}")
    initial, shuffling, noise = (Generator(PCG64(sequence)) for sequence in SeedSequence(entropy).spawn(3))
    return initial, shuffling, noise


Layout = Iterable[tuple[str, str, int, tuple[int, ...]]]


def views(layout: Layout, vector: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays in a vector by name: views, laid out as `layout` says."""
    return {name: vector[at : at + prod(shape)].reshape(shape) for name, _, at, shape in layout}


def paths(layout: Layout) -> dict[str, str]:
    """Return the name of each path; files store paths."""
    return {path: name for name, path, _, _ in layout}


def checked_shape(shape: Any) -> tuple[int, ...]:
    """Return the shape of a sample as a tuple; TypeError or ValueError unless it consists of positive integers."""
    if isinstance(shape, np.ndarray):
        shape = shape.tolist()  # of no axis, it is one number
    several = isinstance(shape, Sequence) and not isinstance(shape, (str, bytes))
    sizes = tuple(shape) if several else (shape,)
    if not sizes:
        raise ValueError("input_shape must have at least one axis, got ()")
    return tuple(check_int("input_shape", size, 1) for size in sizes)


def shape_of_rows(shape: tuple[int, ...]) -> str:
    """Return the shape of a batch of samples, as messages show it."""
    return f"(n, {', '.join(map(str, shape))})"
