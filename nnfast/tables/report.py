"""Tables that say what was found out about the columns of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

HEADER = ("column", "kind", "missing", "becomes", "because")
WIDEST = 40  # characters of a name


class Described(Protocol):
    """A column, as `nnfast.tables.Column`."""

    @property
    def name(self) -> str | None: ...  # noqa: D102
    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def reason(self) -> str: ...  # noqa: D102
    @property
    def n_missing(self) -> int: ...  # noqa: D102
    @property
    def becomes(self) -> str: ...  # noqa: D102


def report_text(columns: Sequence[Described], max_rows: int | None) -> str:
    """Return a table as text; of more than `max_rows` columns, the first and the last ones."""
    rows = _rows(columns)
    note = ""
    if max_rows is not None and len(rows) > max_rows:
        last = max_rows // 3
        note = f"... {len(rows) - max_rows:,} more columns"
        rows = [*rows[: max_rows - last], *rows[len(rows) - last :]]
    widths = [max(map(len, cells)) for cells in zip(HEADER, *rows, strict=True)]
    lines = [_line(cells, widths) for cells in (HEADER, *rows)]
    if note:
        lines.insert(1 + len(rows) - last, note)
    return "\n".join([*lines, *_advice(columns)])


def _advice(columns: Sequence[Described]) -> list[str]:
    """Return how to use a column that is left out though its values differ."""
    for position, column in enumerate(columns):
        if column.kind in ("identifier", "text"):
            key = repr(position if column.name is None else column.name)
            return [f"To use a column that is left out, say what it is, as with kinds={{{key}: 'category'}}."]
    return []


def _rows(columns: Sequence[Described]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for position, column in enumerate(columns):
        name = str(position) if column.name is None else column.name.replace("\n", " ")
        name = name if len(name) <= WIDEST else f"{name[: WIDEST - 3]}..."
        rows.append((name, column.kind, f"{column.n_missing:,}", column.becomes, column.reason))
    return rows


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return a line with numbers of missing values to the right."""
    padded = [cell.rjust(w) if i == 2 else cell.ljust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))]
    return "  ".join(padded).rstrip()


def report_html(columns: Sequence[Described]) -> str:
    """Return the table for notebooks."""
    from html import escape

    from nnfast._html import table

    rows = [(name, kind, becomes, reason, missing) for name, kind, missing, becomes, reason in _rows(columns)]
    lines = [table(("column", "kind", "becomes", "because", "missing"), rows, 1)]
    return f"<div>{''.join(lines + [f'<div>{escape(line)}</div>' for line in _advice(columns)])}</div>"
