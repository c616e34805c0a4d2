"""Values of a column as what its kind says they are: numbers or dates; text is read where it holds them."""

from __future__ import annotations

import datetime
import re
from typing import Any

import numpy as np

from nnfast._validation import ignore_float_errors, shown
from nnfast.tables.frames import RESOLUTION, Label, float_of, instant, is_missing, kind_of

# Text that stands for a missing value in columns of numbers and dates. In columns of categories it is a category.
MARKS = frozenset({"", "?", "-", ".", "na", "n/a", "#n/a", "nan", "<na>", "nat", "null", "none"})

_DATE = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?\s?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII | re.IGNORECASE
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?inf(?:inity)?", re.ASCII | re.IGNORECASE)


def is_mark(text: str) -> bool:
    """Return whether text stands for a missing number or date."""
    return text.strip().lower() in MARKS


def number_in(text: str) -> float | None:
    """Return the number that is written as text, NaN for the mark of a missing one, None if it is neither."""
    text = text.strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    return np.nan if text.lower() in MARKS else None


def date_in(text: str) -> np.datetime64 | None:
    """Return the ISO 8601 date that is written as text, NaT for the mark of a missing one, None if it is neither."""
    text = text.strip()
    if _DATE.fullmatch(text):
        try:
            return instant(datetime.datetime.fromisoformat(text.replace(" +", "+").replace(" -", "-")))
        except (ValueError, OverflowError):  # no such day
            return None
    return np.datetime64("NaT", "us") if text.lower() in MARKS else None


def to_numbers(label: Label, column: np.ndarray) -> np.ndarray:
    """Return a column as float64, with NaN for missing values; ValueError names a value that is not a number."""
    if column.dtype.kind in "fiub":
        return column.astype(np.float64)
    if column.dtype.kind == "O":
        numbers = [_number(value) for value in column.tolist()]
        if None not in numbers:
            return np.array(numbers, dtype=np.float64)
        row = numbers.index(None)
    else:
        row = 0
    raise ValueError(f"{label} of X must hold numbers, but row {row} has {shown(column[row : row + 1].tolist()[0])}")


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return number_in(value)
    return float_of(value) if kind_of(value) in ("missing", "number", "bool") else None


@ignore_float_errors
def to_dates(label: Label, column: np.ndarray) -> np.ndarray:
    """Return a column as datetime64, with NaT for missing values; ValueError names a value that is not a date."""
    if column.dtype.kind == "M":
        return column
    dates = [_date(value) for value in column.tolist()]
    if None not in dates:
        return np.array(dates, dtype=RESOLUTION)
    row = dates.index(None)
    got = shown(column[row : row + 1].tolist()[0])
    raise ValueError(
        f"{label} of X must hold dates, but row {row} has {got}: give dates, or text such as '2024-12-31' or "
        "'2024-12-31 23:59'"
    )


def _date(value: Any) -> np.datetime64 | None:
    if isinstance(value, str):
        return date_in(value)
    return instant(value) if is_missing(value) or kind_of(value) == "date" else None
