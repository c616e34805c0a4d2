"""What was fitted for each column of a table, and how rows become a matrix of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nnfast._validation import shown
from nnfast.tables.categories import Categories
from nnfast.tables.dates import parts_of
from nnfast.tables.frames import Frame, Label
from nnfast.tables.scaling import scale_into
from nnfast.tables.values import to_dates, to_numbers

VALUE = ("value",)  # the parts of a number
ROWS = 2**16  # of a large array that are converted at a time


class Input(NamedTuple):
    """What was fitted for one column of a table.

    Attributes
    ----------
    name : str or None
    kind, reason : str
        As in `nnfast.tables.kinds`.
    n_missing : int
        The number of training rows without a value.
    parts : tuple of str
        The numbers made of it: ``("value",)``, parts of a date, or none.
    flagged : bool
        Whether a flag says where a value is missing.
    categories : Categories or None
    """

    name: str | None
    kind: str
    reason: str
    n_missing: int
    parts: tuple[str, ...] = ()
    flagged: bool = False
    categories: Categories | None = None

    @property
    def used(self) -> bool:
        """Whether anything becomes of it."""
        return bool(self.parts) or self.flagged or self.categories is not None


class Plan:
    """A fitted preparation: first all numbers, then flags, then codes of categories, each in the order of the columns.

    Parameters
    ----------
    inputs : sequence of Input
        One for each column of the table.
    center, width : ndarray of float64
        The scale of each number.
    edges : sequence of (ndarray of float32 or None)
        The edges of each number's piecewise-linear encoding.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        center: np.ndarray,
        width: np.ndarray,
        edges: Sequence[np.ndarray | None],
    ) -> None:
        self.inputs, self.edges = tuple(inputs), tuple(edges)
        self.center, self.width = center, width
        self.names = None if inputs[0].name is None else [str(given.name) for given in inputs]
        self.used = [i for i, given in enumerate(inputs) if given.used]
        self.flagged = [i for i, given in enumerate(inputs) if given.flagged]
        self.coded = [i for i, given in enumerate(inputs) if given.categories is not None]
        self.n_numbers = len(center)
        self.n_raw = self.n_numbers + len(self.flagged) + len(self.coded)
        # the columns of a matrix of numbers that become numbers as they are; None if there is more to do
        taken = [i for i in self.used if inputs[i].parts]
        self._taken = taken if all(inputs[i].kind == "number" for i in self.used) else None
        self.takes_numbers = self._taken is not None
        self._takes_all = taken == list(range(len(inputs)))

    def raw_names(self) -> list[str]:
        """Return the names of the columns of the matrix."""
        names = [str(i) if given.name is None else given.name for i, given in enumerate(self.inputs)]
        numbers = [
            names[i] if part == "value" else f"{names[i]}: {part}" for i in self.used for part in self.inputs[i].parts
        ]
        return [*numbers, *(f"{names[i]}: missing" for i in self.flagged), *(names[i] for i in self.coded)]

    def used_names(self) -> list[str]:
        """Return a name, not empty, for each column of which something becomes: its number, if the table has none."""
        names = [self.inputs[i].name for i in self.used]
        return [str(i) if name is None else name or f"column {i}" for i, name in zip(self.used, names, strict=True)]

    def places(self) -> list[list[int]]:
        """Return for each column of the table the columns of the matrix that it became."""
        numbers = iter(range(self.n_numbers))
        found: list[list[int]] = []
        for given in self.inputs:
            found.append([next(numbers) for _ in given.parts] if given.used else [])
        for place, i in enumerate((*self.flagged, *self.coded), start=self.n_numbers):
            found[i].append(place)
        return found

    def takes(self, X: object) -> bool:
        """Return whether `X` is a matrix of numbers for `of_matrix`."""
        return (
            type(X) is np.ndarray
            and self._taken is not None
            and X.ndim == 2
            and X.shape[1] == len(self.inputs)
            and X.dtype.kind in "fiu"
            and X.dtype.itemsize <= 8
            and len(X) > 0
        )

    def of_matrix(self, matrix: np.ndarray) -> np.ndarray:
        """Return the prepared rows of a matrix of numbers."""
        n, k = len(matrix), self.n_numbers
        raw = np.empty((n, self.n_raw), np.float32)
        for first in range(0, n, ROWS):
            rows, out = (matrix, raw) if n <= ROWS else (matrix[first : first + ROWS], raw[first : first + ROWS])
            scale_into(out[:, :k], rows if self._takes_all else rows[:, self._taken], self.center, self.width)
            if self.flagged:
                out[:, k:] = np.isnan(rows[:, self.flagged])
        return raw

    def of_frame(self, frame: Frame) -> np.ndarray:
        """Return the prepared rows of a table."""
        at = self._places(frame)
        raw = np.empty((frame.n_rows, self.n_raw), np.float32)
        values = np.empty((frame.n_rows, self.n_numbers))
        number, flag, code = 0, self.n_numbers, self.n_numbers + len(self.flagged)
        for i in self.used:
            given, column, label = self.inputs[i], frame.columns[at[i]], frame.label(at[i])
            if given.categories is not None:
                raw[:, code] = given.categories.codes(label, column)
                code += 1
                continue
            found, missing = numbers_of(label, column, given.kind, given.parts)
            for part in found:
                values[:, number] = part
                number += 1
            if given.flagged:
                raw[:, flag] = missing
                flag += 1
        scale_into(raw[:, : self.n_numbers], values, self.center, self.width)
        return raw

    def _places(self, frame: Frame) -> Sequence[int]:
        """Return where each column is in a table; ValueError if one is missing."""
        n = len(self.inputs)
        if frame.names is None or self.names is None:
            if len(frame.columns) != n:
                raise ValueError(f"X must have {n} columns, as in fit, got {len(frame.columns)}")
            return range(n)
        if frame.names == self.names:
            return range(n)
        place = {name: i for i, name in enumerate(frame.names)}
        lost = [self.names[i] for i in self.used if self.names[i] not in place]
        if lost:
            more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
            raise ValueError(f"X must have the columns of fit, but lacks {', '.join(map(shown, lost[:5]))}{more}")
        return [place.get(name, -1) for name in self.names]


def numbers_of(
    label: Label, column: np.ndarray, kind: str, parts: Sequence[str]
) -> tuple[Sequence[np.ndarray], np.ndarray]:
    """Return the numbers made of a column of numbers or dates, with NaN for missing values, and which are missing."""
    if kind == "date":
        dates = to_dates(label, column)
        return parts_of(dates, parts), np.isnat(dates)
    values = to_numbers(label, column)
    return [values] if parts else [], np.isnan(values)
