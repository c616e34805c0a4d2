"""The categories of a column, and the codes of values."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from nnfast._validation import shown
from nnfast.tables.frames import Label, float_of, instant, is_missing, kind_of

Category = str | bool | int | float
UNKNOWN = -1  # the code of a value that is none of the categories
INT_BITS = 64  # of a category that is an integer; larger ones are kept as text
_UNSEEN = -2  # of a value that needs a closer look


class Counted(NamedTuple):
    """The distinct values of a column with their frequencies, and the number of missing values."""

    counts: dict[Category, int]
    n_missing: int


def counted(label: Label, column: np.ndarray) -> Counted:
    """Count the values of a column.

    Raises
    ------
    TypeError
        If a value, such as a list, cannot be a category.
    """
    values = _objects(column)
    try:
        tally: Any = Counter(values).items()
    except TypeError:  # not hashable, though its text may be a category
        tally = ((value, 1) for value in values)
    counts: dict[Category, int] = {}
    n_missing = 0
    for value, count in tally:
        category = _category(label, value)
        if category is None:
            n_missing += count
        else:
            counts[category] = counts.get(category, 0) + count
    return Counted(counts, n_missing)


def _objects(column: np.ndarray) -> list[Any]:
    """Return the values of a column as Python's objects."""
    if column.dtype.kind == "M":
        return [instant(value) for value in column]
    return column.tolist()


def _category(label: Label, value: Any) -> Category | None:
    """Return a value as it is kept and compared, None if it is missing."""
    if isinstance(value, str):
        return str.__str__(value)  # also of a subclass
    if is_missing(value):
        return None
    kind = kind_of(value)
    if kind == "bool":
        return bool(value)
    if kind == "number":
        if hasattr(value, "__index__"):
            number = int(value)
            return number if number.bit_length() <= INT_BITS else hex(number)
        real = float_of(value)
        return real if np.isfinite(real) else str(real)
    if kind == "date":
        return str(instant(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (list, dict, set, complex, np.ndarray)) or hasattr(value, "to_numpy"):
        raise TypeError(
            f"{label} of X has a {type(value).__name__}, {shown(value)}, which is neither a number, a date nor a "
            "category: make columns of its parts, or leave the column out by 'drop' in kinds"
        )
    return str(value)


def _text(category: Category) -> str:
    """Return a category as text, by which 3, 3.0 and "3" are equal."""
    if isinstance(category, float) and category.is_integer():
        return str(int(category))
    return str(category)


class Categories:
    """Categories, each with a code from 0.

    A value has the code of the category that is equal to it, or else of the one with the same text: 3 is the category
    "3". Missing values have a code of their own if they occurred when the categories were determined. All other values
    have the code -1.

    Parameters
    ----------
    values : sequence of str, bool, int or float
        The categories, without equal ones.
    missing : bool
        Whether there is one more code, for missing values.

    Attributes
    ----------
    values : tuple
    missing : bool
    n_codes : int
    code_of_missing : int
        -1 if they have none.

    Examples
    --------
    >>> import numpy as np
    >>> from nnfast.tables.categories import Categories
    >>> from nnfast.tables.frames import Label
    >>> jobs = Categories(["cook", "pilot"], missing=True)
    >>> jobs.codes(Label("job", 0), np.array(["pilot", None, "judge"], dtype=object))
    array([ 1.,  2., -1.], dtype=float32)
    """

    def __init__(self, values: Any, *, missing: bool) -> None:
        self.values: tuple[Category, ...] = tuple(values)
        self.missing = missing
        self.n_codes = len(self.values) + missing
        self._code: dict[Any, int] = {value: code for code, value in enumerate(self.values)}
        self._by_text = {_text(value): code for code, value in enumerate(self.values)}
        self.code_of_missing = len(self.values) if missing else UNKNOWN

    @classmethod
    def most_frequent(cls, counted: Counted, maximum: int) -> Categories:
        """Return at most `maximum` categories: the most frequent values, in ascending order, numbers before text."""
        values = sorted(counted.counts, key=_place)
        if len(values) > maximum:
            values.sort(key=lambda value: -counted.counts[value])  # stable
            values = sorted(values[:maximum], key=_place)
        return cls(values, missing=counted.n_missing > 0)

    def codes(self, label: Label, column: np.ndarray) -> np.ndarray:
        """Return the code of each value as float32.

        Raises
        ------
        TypeError
            If a value, such as a list, cannot be a category.
        """
        values = _objects(column)
        code = self._code.get
        try:
            codes = [code(value, _UNSEEN) for value in values]
        except TypeError:  # not hashable
            codes = [_UNSEEN] * len(values)
        if _UNSEEN in codes:
            codes = [
                self._looked_up(label, value) if found == _UNSEEN else found
                for value, found in zip(values, codes, strict=True)
            ]
        return np.array(codes, dtype=np.float32)

    def text_codes(self) -> dict[str, int]:
        """Return the codes of text, for where there is nothing but text.

        Empty text is a missing value, unless it is a category. Text that is a category comes before text of numbers,
        which may have a fraction of 0 or not. True and 1 are equal, and so is their text, as are False and 0.
        """
        codes = {value: code for value, code in self._code.items() if isinstance(value, str)}
        for value, code in self._code.items():
            if not isinstance(value, str):
                twins = [other for other in (True, False) if other == value]
                for other in (value, *twins, *(int(twin) for twin in twins)):
                    codes.setdefault(_text(other), code)
                    if _is_whole(other):
                        codes.setdefault(f"{int(other)}.0", code)
        if self.missing:
            codes.setdefault("", self.code_of_missing)
        return codes

    def _looked_up(self, label: Label, value: Any) -> int:
        category = _category(label, value)
        if category is None:
            return self.code_of_missing
        code = self._code.get(category)
        return self._by_text.get(_text(category), UNKNOWN) if code is None else code


def _is_whole(value: Category) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and float(value).is_integer()


def _place(value: Category) -> tuple[bool, Category]:
    """Return a key that sorts categories."""
    return isinstance(value, str), value
