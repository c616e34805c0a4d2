"""What kind of values each column of a table holds, told from its training rows or by the user."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from nnfast._validation import choose, describe, shown
from nnfast.tables.categories import Counted, counted
from nnfast.tables.frames import Frame, missing_in
from nnfast.tables.values import date_in, is_mark, number_in

GIVEN = ("number", "category", "date", "drop")  # what a user may say
LEARNED = ("number", "category", "date")
KINDS = (*GIVEN, "constant", "identifier", "text")

FEW = 20  # columns of fewer strings are too short to tell that nearly all differ
NEARLY_ALL = 0.9  # the share of strings that differ in identifiers and texts
LONG = 40  # the mean number of characters from which on they are texts

_WHOLE_NAMES = re.compile(r"|index|idx|row|row[ _.]?(names?|num(ber)?|nr|no)|level[ _]0|unnamed:? ?_?0", re.IGNORECASE)
_LAST_WORDS = re.compile(r"(.*[\W_])?(id|uid|uuid|guid)", re.IGNORECASE)


class Kind(NamedTuple):
    """The kind of a column, why it is this kind, and how many values are missing.

    `counted` holds the frequencies of a category's values.
    """

    kind: str
    reason: str
    n_missing: int
    counted: Counted | None = None


def kinds_of(frame: Frame, kinds: Mapping[Any, str] | None = None) -> list[Kind]:
    """Return the kind of each column.

    Parameters
    ----------
    frame : Frame
        The training rows.
    kinds : mapping, optional
        Kinds of some columns, by name or by position: ``"number"``, ``"category"``, ``"date"``, or ``"drop"`` to leave
        a column out. The kinds of all other columns are told from their values.

    Returns
    -------
    list of Kind

    Raises
    ------
    KeyError
        If `kinds` names a column that does not exist.
    TypeError, ValueError
        If `kinds` has something other than a kind, or a column has a value that is of no kind.

    Examples
    --------
    >>> from nnfast.tables import as_frame
    >>> from nnfast.tables.kinds import kinds_of
    >>> frame = as_frame({"age": [31, 48], "joined": ["2019-02-01", "2023-11-30"], "job": ["cook", None]})
    >>> [column.kind for column in kinds_of(frame)]
    ['number', 'date', 'category']
    """
    given = _given(frame, kinds)
    return [_kind(frame, i, given.get(i)) for i in range(len(frame.columns))]


def _given(frame: Frame, kinds: Mapping[Any, str] | None) -> dict[int, str]:
    """Return the kinds that the user gives, by position."""
    if kinds is None:
        return {}
    if not isinstance(kinds, Mapping):
        raise TypeError(f"kinds must be a dict of columns and their kinds, got {describe(kinds)}")
    given = {}
    for column, kind in kinds.items():
        position = _position(frame, column)
        if position in given:
            raise ValueError(f"kinds must have one kind for each column, got two for {frame.label(position)}")
        given[position] = choose(f"kinds[{shown(column)}]", kind, GIVEN)
    return given


def _position(frame: Frame, column: Any) -> int:
    names, n = frame.names, len(frame.columns)
    if isinstance(column, str):
        if names is None:
            raise KeyError(f"kinds has {shown(column)}, but X has no names of columns: use positions, 0 to {n - 1}")
        if column in names:
            return names.index(column)
        from difflib import get_close_matches

        near = get_close_matches(column, names, 1)
        remedy = f": did you mean {shown(near[0])}?" if near else f", which has {', '.join(map(shown, names[:8]))}"
        raise KeyError(f"kinds has {shown(column)}, which is not a column of X{remedy}{', ...' * (n > 8 and not near)}")
    if isinstance(column, (int, np.integer)) and not isinstance(column, bool):
        if 0 <= column < n:
            return int(column)
        raise KeyError(f"kinds has column {column}, but X has columns 0 to {n - 1}")
    raise TypeError(f"kinds must have names or positions of columns, got {describe(column)}")


def _kind(frame: Frame, position: int, given: str | None) -> Kind:
    """Return the kind of one column."""
    label, column = frame.label(position), frame.columns[position]
    missing = missing_in(column)
    n_missing = int(missing.sum())
    if given == "drop":
        return Kind("drop", "kinds says so", n_missing)
    if n_missing == len(column):
        return Kind("constant", "all values are missing", n_missing)
    present = column[~missing] if n_missing else column
    if column.dtype.kind != "O":
        if not n_missing and (present == present[0]).all():
            return Kind("constant", f"all values are {shown(present[0].item())}", 0)
        kind, reason = _of_array(frame, position, present)
    else:
        tally = counted(label, column)
        if len(tally.counts) == 1 and not n_missing:
            return Kind("constant", f"all values are {shown(next(iter(tally.counts)))}", 0)
        kind, reason = _of_objects(frame, position, tally)
    if given is not None:
        kind, reason = given, "kinds says so"
    if kind != "category":
        return Kind(kind, reason, n_missing)
    return Kind(kind, reason, n_missing, tally if column.dtype.kind == "O" else counted(label, column))


def _of_array(frame: Frame, position: int, present: np.ndarray) -> tuple[str, str]:
    """Return the kind of numbers, booleans or datetime64, and why."""
    if position in frame.declared:
        return "category", "its type says so"
    if present.dtype.kind == "b":
        return "category", "it holds booleans"
    if present.dtype.kind == "M":
        return "date", "it holds dates"
    with np.errstate(invalid="ignore"):
        whole = present.dtype.kind != "f" or bool((np.floor(present) == present).all())
    if whole and _is_named_identifier(frame, position) and len(np.unique(present)) == len(present):
        return "identifier", "its name is that of an identifier, and its whole numbers all differ"
    return "number", "it holds whole numbers" if whole else "it holds numbers"


def _is_named_identifier(frame: Frame, position: int) -> bool:
    if frame.names is None:
        return False
    name = frame.names[position].strip()
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)  # of a name such as customerId
    return _WHOLE_NAMES.fullmatch(name) is not None or _LAST_WORDS.fullmatch(words) is not None


def _of_objects(frame: Frame, position: int, tally: Counted) -> tuple[str, str]:
    """Return the kind of objects of several types or of text, and why."""
    if position in frame.declared:
        return "category", "its type says so"
    if not all(isinstance(value, str) for value in tally.counts):
        if all(isinstance(value, bool) for value in tally.counts):
            return "category", "it holds booleans"
        return "category", "it holds values of several types"
    return _of_text(frame, position, tally)


def _of_text(frame: Frame, position: int, tally: Counted) -> tuple[str, str]:
    texts: list[str] = [str(text) for text in tally.counts]
    values = [text for text in texts if not is_mark(text)]
    if values and all(number_in(text) is not None for text in values):
        if not any(_is_code(text) for text in values):
            numbers = np.array([number_in(text) for text in values])
            all_differ = len(values) == sum(tally.counts[text] for text in values)
            if all_differ and _is_named_identifier(frame, position) and (np.floor(numbers) == numbers).all():
                return "identifier", "its name is that of an identifier, and its whole numbers all differ"
            return "number", "its text holds numbers"
        return "category", "its text holds digits with zeros in front, as codes have"
    if values and all(date_in(text) is not None for text in values):
        return "date", "its text holds dates"
    n = sum(tally.counts.values())
    if n >= FEW and len(texts) >= NEARLY_ALL * n:
        if sum(map(len, texts)) >= LONG * len(texts):
            return (
                "text",
                f"it holds text: {len(texts):,} of {n:,} values differ, {_mean_length(texts)} characters long",
            )
        return "identifier", f"{len(texts):,} of {n:,} values differ"
    return "category", "it holds text"


def _mean_length(texts: list[str]) -> int:
    return round(sum(map(len, texts)) / len(texts))


def _is_code(text: str) -> bool:
    """Return whether digits are a code, such as a postal code: with a zero in front of others."""
    text = text.strip()
    return len(text) > 1 and text[0] == "0" and text.isdecimal()
