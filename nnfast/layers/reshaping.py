"""Layers that change the shape of a sample and none of its numbers: they cost nothing."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from nnfast._description import Field
from nnfast._validation import MAX_AXES, MAX_SIZE, as_tuple, check_int
from nnfast.layers.base import Compiler, Layer


class _Reshaping(Layer):
    """What both have in common."""

    reshapes = True

    def add_stages(self, to: Compiler, path: str) -> None:
        try:
            to.shape = self.output_shape(to.shape)
        except ValueError as error:
            raise ValueError(f"layers[{path}]: {error}") from None


class Flatten(_Reshaping, name="flatten"):
    """A sample as one row of numbers, whatever its shape.

    `Dense` flattens its input by itself: this layer makes it visible, and flattens the output of a network.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Flatten(), nf.Rescaling(0.5)], input_shape=(2, 2))
    >>> net.predict(np.ones((1, 2, 2)))
    array([[0.5, 0.5, 0.5, 0.5]], dtype=float32)
    """

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (prod(shape),)


def _shape(name: str, value: Any) -> tuple[int, ...]:
    sizes = as_tuple(name, value, "integers")
    if not 1 <= len(sizes) <= MAX_AXES:
        raise ValueError(f"{name} must have from 1 to {MAX_AXES} axes, got {len(sizes)}")
    checked = tuple(check_int(name, size, -1, MAX_SIZE) for size in sizes)
    if 0 in checked or checked.count(-1) > 1:
        raise ValueError(f"{name} must hold positive integers, or -1 once for the size that is left, got {checked}")
    return checked


class Reshape(_Reshaping, name="reshape"):
    """A sample in another shape, in the order of its numbers in memory (C order).

    Parameters
    ----------
    shape : sequence of int
        The shape of a sample, without the axis of the batch; one size may be -1, which stands for what is left.

    Raises
    ------
    TypeError, ValueError
        If `shape` is not such a sequence; and when the network is built, if the sample has another number of elements.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(6), nf.Reshape((2, -1))], input_shape=4, seed=0)
    >>> net.predict([[0.0, 1.0, 2.0, 3.0]]).shape
    (1, 2, 3)
    """

    shape: Sequence[int] = Field(_shape)

    def settle(self) -> None:
        if -1 not in self.shape:
            vars(self)["fixed_shape"] = tuple(self.shape)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        known = prod(size for size in self.shape if size != -1)
        left, rest = divmod(prod(shape), known)
        if rest or (left != 1 and -1 not in self.shape):
            raise ValueError(
                f"Reshape to {tuple(self.shape)} does not fit samples of shape {shape}, "
                f"which have {prod(shape)} numbers"
            )
        return tuple(left if size == -1 else size for size in self.shape)
