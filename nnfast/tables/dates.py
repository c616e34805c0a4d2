"""Dates as numbers: days since 1970, and the parts of a date that may repeat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnfast._validation import ignore_float_errors

# Their order counts in `nnfast.tables.c`, too. "days" counts days since 1970, with the time of the day as a fraction.
# The sines and cosines place a month, a weekday and a time of the day on a circle, so that December is next to January.
PARTS = (
    "days", "year", "month sine", "month cosine", "day", "weekday sine", "weekday cosine", "hour sine", "hour cosine",
)  # fmt: skip
DIGITS = 12  # after the point, of sines and cosines
PERIODS = {"month": 12, "weekday": 7, "hour": 24}


@ignore_float_errors
def parts_of(dates: np.ndarray, parts: Sequence[str]) -> list[np.ndarray]:
    """Return parts of dates as float64, each a vector with NaN where a date is missing.

    Parameters
    ----------
    dates : ndarray of datetime64
    parts : sequence of str
        Which of `PARTS` to compute.
    """
    missing = np.isnat(dates)
    counts: dict[str, np.ndarray] = {}
    found = []
    for part in parts:
        name, _, wave = part.partition(" ")
        if name not in counts:
            counts[name] = _count(dates, name)
        values = counts[name]
        if wave:
            angles = values * (2 * np.pi / PERIODS[name])
            # rounded, so that it is the same number each time, also for another processor
            values = np.round(np.sin(angles) if wave == "sine" else np.cos(angles), DIGITS)
        found.append(np.where(missing, np.nan, values))
    return found


def _count(dates: np.ndarray, name: str) -> np.ndarray:
    """Return one count of dates as float64; where a date is missing, it has no meaning."""
    days = dates.astype("datetime64[D]")
    if name in ("days", "hour"):
        fraction = (dates - days) / np.timedelta64(1, "D")
        return fraction * 24 if name == "hour" else days.astype(np.int64) + fraction
    if name == "weekday":  # from Monday; day 0 was a Thursday
        return ((days.astype(np.int64) + 3) % 7).astype(np.float64)
    if name == "year":
        return 1970.0 + dates.astype("datetime64[Y]").astype(np.int64)
    months = dates.astype("datetime64[M]")
    if name == "month":  # from 0
        return (months.astype(np.int64) % 12).astype(np.float64)
    return 1.0 + (days - months.astype("datetime64[D]")).astype(np.int64)
