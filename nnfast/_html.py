"""Tables and small line charts as HTML, for notebooks: without scripts, and readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from nnfast._validation import ignore_float_errors
from nnfast.metrics import names_in

COLORS = {"training": "#0072B2", "validation": "#D55E00"}  # both have a contrast of 3 to white and to black
FIRST_ROWS, LAST_ROWS = 40, 20  # of a long table
MOST_POINTS = 200  # of a curve
WIDTH, HEIGHT = 300, 150  # of a chart
MOST_LETTERS = 28  # of its title
LEFT, RIGHT, TOP, BOTTOM = 52, 8, 24, 22  # margins around its curves


def network_html(heading: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of layers; leading spaces in the first column indent it."""
    left_out = len(rows) - FIRST_ROWS - LAST_ROWS
    if left_out > 1:
        more = (f"... {left_out:,} more layers", *[""] * (len(header) - 1))
        rows = [*rows[:FIRST_ROWS], more, *rows[-LAST_ROWS:]]
    return f"<div><div>{escape(heading)}</div>{table(header, rows, 1)}</div>"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> str:
    """Return a table of text, with numbers in the last columns; leading spaces of a cell indent it."""
    sides = ["left"] * (len(header) - numbers) + ["right"] * numbers
    lines = [_row("th", header, sides), *(_row("td", row, sides) for row in rows)]
    return "\n".join(["<table><thead>", lines[0], "</thead><tbody>", *lines[1:], "</tbody></table>"])


def _row(tag: str, cells: Sequence[str], sides: Sequence[str]) -> str:
    parts = []
    for cell, side in zip(cells, sides, strict=True):
        content = cell.lstrip(" ")
        indent = f"padding-left:{1 + (len(cell) - len(content)) / 2:g}em;" if len(content) < len(cell) else ""
        parts.append(f'<{tag} style="{indent}text-align:{side}">{escape(content)}</{tag}>')
    return f"<tr>{''.join(parts)}</tr>"


@ignore_float_errors
def history_html(history: Any) -> str:
    """Return a table of the last and the best values of a history, and charts of the loss and the first metric."""
    names = ["loss", *names_in(history)]
    rows = [row for name in names for row in _rows(history, name)]
    epochs, steps = max(map(len, history.values()), default=0), len(history.step_loss)
    heading = f"{epochs:,} epoch{'s' * (epochs != 1)}, {steps:,} step{'s' * (steps != 1)}"
    by = "val_loss" if history.get("val_loss") else "loss"
    best = _best(history.get(by, ()), "lower")
    if best is not None:
        heading += f"; best epoch by {_words(by)}: {best + 1:,}"
    charts = []
    for name in names[:2]:
        curves = {label: history.get(entry, ()) for entry, label in _entries(name)}
        charts.append(chart(_words(name), "epoch", curves))
    if epochs < 2:
        charts = [chart("loss", "step", {"training": history.step_loss})]
    parts = "\n".join([table(("", "last", "best", "in epoch"), rows, 3) if rows else "", *charts])
    row = "display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start"
    return f'<div><div>{escape(heading)}</div><div style="{row}">{parts}</div></div>'


def _entries(name: str) -> tuple[tuple[str, str], ...]:
    return (name, "training"), (f"val_{name}", "validation")


def _words(name: str) -> str:
    """Return the name of an entry of a history as words."""
    what = name.removeprefix("val_").replace("_", " ")
    return f"validation {what}" if name.startswith("val_") else what


def _rows(history: Any, name: str) -> Iterator[tuple[str, str, str, str]]:
    """Return what a table says of the training and the validation values of a quantity."""
    for entry, _ in _entries(name):
        values = history.get(entry, ())
        if len(values):
            best = _best(values, history.directions[entry])
            found = ("", "") if best is None else (f"{values[best]:.4g}", f"{best + 1:,}")
            yield (_words(entry), f"{values[-1]:.4g}", *found)


def _best(values: Sequence[float], direction: str) -> int | None:
    """Return the index of the best value, the first of several; None if there is none."""
    numbers = np.asarray(values, np.float64)
    if not numbers.size or np.isnan(numbers).all():
        return None
    return int(np.nanargmax(numbers) if direction == "higher" else np.nanargmin(numbers))


def chart(name: str, unit: str, curves: Mapping[str, Any]) -> str:
    """Return an SVG of a quantity over epochs or steps 1, 2, ..., with curves by label; "" if no value is finite."""
    arrays = {label: np.asarray(values, np.float64) for label, values in curves.items()}
    arrays = {label: values for label, values in arrays.items() if np.isfinite(values).any()}
    if not arrays:
        return ""
    finite = np.concatenate([values[np.isfinite(values)] for values in arrays.values()])
    low, high, length = finite.min(), finite.max(), max(map(len, arrays.values()))
    drawn = [_curve(values, COLORS[label], low, high, length) for label, values in arrays.items()]
    if len(arrays) > 1:
        names = [f'<tspan fill="{COLORS[label]}">&#9632;</tspan> {escape(label)}' for label in arrays]
        drawn.append(_text(WIDTH - RIGHT, TOP - 10, "end", " ".join(names)))
    title = name if len(name) <= MOST_LETTERS else f"{name[: MOST_LETTERS - 3]}..."
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    labels = [
        _text(0, TOP - 10, "start", escape(title)),
        _text(LEFT - 4, TOP + 4, "end", f"{high:.3g}"),
        _text(LEFT - 4, bottom, "end", f"{low:.3g}" if low < high else ""),
        _text(LEFT, HEIGHT - 6, "middle", "1" if length > 1 else ""),
        _text((LEFT + right) // 2, HEIGHT - 6, "middle", unit),
        _text(right, HEIGHT - 6, "end", f"{length:,}"),
    ]
    frame = f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="currentColor" stroke-opacity="0.4"/>'
    start = f'<svg width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
    style = 'font-size="11" font-family="sans-serif" fill="currentColor"'
    return "\n".join(
        [f"{start} {style}>", f"<title>{escape(name)} over {unit}s</title>", frame, *labels, *drawn, "</svg>"]
    )


def _text(x: float, y: float, anchor: str, content: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{content}</text>'


@ignore_float_errors
def _curve(values: np.ndarray, color: str, low: float, high: float, length: int) -> str:
    """Return a line through values, interrupted where they are not finite; single points as dots."""
    at = np.unique(np.linspace(0, len(values) - 1, min(len(values), MOST_POINTS)).astype(np.int64))
    spread = high / 2 - low / 2  # high - low could overflow
    share = (values[at] / 2 - low / 2) / spread if spread > 0 else 0 * values[at] + 0.5
    x = LEFT + (WIDTH - LEFT - RIGHT) * (at / (length - 1) if length > 1 else np.full(1, 0.5))
    y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share
    parts = []
    finite = np.isfinite(y)
    for run in np.split(np.arange(len(at)), np.flatnonzero(np.diff(finite)) + 1):
        points = [f"{x[i]:.1f},{y[i]:.1f}" for i in run if finite[i]]
        if len(points) > 1:
            parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        elif points:
            cx, cy = points[0].split(",")
            parts.append(f'<circle cx="{cx}" cy="{cy}" r="2.5" fill="{color}"/>')
    return "\n".join(parts)
