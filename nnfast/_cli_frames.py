"""Tables in files, for the command line: CSV and Parquet files are read by pandas, which is imported here alone."""

from __future__ import annotations

import csv
import gzip
import io
import re
import warnings
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import IO, Any

import numpy as np

from nnfast._cli_files import UsageError, is_number, warn
from nnfast._validation import require, shown
from nnfast.files.errors import short
from nnfast.tables import as_frame
from nnfast.tables.frames import missing_in
from nnfast.tables.values import number_in

SAMPLE = 2**16  # bytes of a file from which the separator is told
MOST_NAMED = 30  # columns in a message
DECIMAL_COMMA = re.compile(r"(^|;)\s*[+-]?\d+,\d+\s*(;|$)", re.MULTILINE)


def read_frame(path: str) -> Any:
    """Read a table as a DataFrame of pandas.

    Raises
    ------
    UsageError
        If pandas or PyArrow is missing, or the file cannot be read, is something else, or has no rows.
    """
    parquet = path.lower().endswith(".parquet")
    try:
        pandas = require("pandas", "tables")
        if parquet:
            require("pyarrow", "tables")
    except ImportError as error:
        raise UsageError(f"{path}: {error}") from None
    try:
        with open(path, "rb") as file:  # by pandas, a path could also be an address on the internet
            frame = pandas.read_parquet(file) if parquet else _read_csv(pandas, path, file)
    except UsageError:
        raise
    except FileNotFoundError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except MemoryError:
        raise
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text in UTF-8: save it again as CSV in UTF-8") from None
    except Exception as error:  # each reader raises errors of its own
        what = "Parquet file" if parquet else "table with a line of names above its rows"
        raise UsageError(f"{path} is not a {what}, or is damaged: {_line(error)}") from None
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    frame.columns = [str(name) for name in frame.columns]
    if not len(frame):
        raise UsageError(f"{path}: there are no rows below the names of the columns")
    return frame


def _line(error: Exception) -> str:
    """Return the message of an error as one line."""
    return " ".join(short(error).split()) or type(error).__name__


def _read_csv(pandas: Any, path: str, file: IO[bytes]) -> Any:
    opened: Any = gzip.GzipFile(fileobj=file) if path.lower().endswith(".gz") else file
    sample = opened.read(SAMPLE)
    opened.seek(0)
    header, _, rows = sample.decode("utf-8-sig", "replace").lstrip().partition("\n")
    names = next(csv.reader([header]), [])
    if names and all(map(is_number, names)):
        raise UsageError(f"{path}: its first line must hold the names of the columns, got {shown(header.strip())}")
    separator, decimal = "\t" if ".tsv" in path.lower()[-7:] else ",", "."
    if separator == "," and "," not in header and ";" in header:
        separator, decimal = ";", "," if DECIMAL_COMMA.search(rows) else "."
        warn(f"{path}: columns are taken to be separated by semicolons, and the decimal mark to be {decimal!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)  # rows longer than the line of names
        return pandas.read_csv(
            opened, sep=separator, decimal=decimal, encoding="utf-8-sig", index_col=False, low_memory=False
        )


def check_target(path: str, names: Sequence[str], target: str) -> None:
    """Raise UsageError with the closest column and the list of all if there is no target column."""
    if target in names:
        return
    lower = [name.lower() for name in names]
    near = get_close_matches(target.lower(), lower, 1)
    guess = f", did you mean {shown(names[lower.index(near[0])])}?" if near else ":"
    raise UsageError(f"--target: {path} has no column {shown(target)}{guess} {listed(names)}")


def listed(names: Sequence[str]) -> str:
    """Return a sentence with the names of columns."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"its columns are {', '.join(map(shown, names[:MOST_NAMED]))}{more}"


def targets_in(frame: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the targets in a column, and where they are not missing, as booleans of the length of the column.

    Text that holds numbers only becomes numbers, and whole numbers become integers where missing ones had made them
    floats. Other text becomes text, and so does a mixture.
    """
    column = as_frame(frame[[name]]).columns[0]
    known = ~missing_in(column)
    targets = column[known]
    if targets.dtype.kind == "O" and len(targets):
        values = targets.tolist()
        if all(isinstance(value, bool | np.bool_) for value in values):
            return targets.astype(bool), known
        numbers = [number_in(value) if isinstance(value, str) else None for value in values]
        if None in numbers or np.isnan(np.array(numbers, float)).all():
            return np.array([str(value) for value in values]), known
        found = np.array(numbers, float)
        known[known] = ~np.isnan(found)
        targets = found[~np.isnan(found)]
        lost = True
    else:
        lost = not known.all()
    if lost and targets.dtype.kind == "f" and (np.abs(targets) < 2**53).all() and (targets == np.rint(targets)).all():
        targets = targets.astype(np.int64)
    return targets, known


def csv_lines(names: Sequence[str], columns: Sequence[Iterable[Any]]) -> list[str]:
    """Return columns as the lines of a CSV file; numbers have all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    lines = [text.getvalue()]
    for row in zip(*columns, strict=True):
        text.seek(0)
        text.truncate()
        writer.writerow(row)
        lines.append(text.getvalue())
    return lines
