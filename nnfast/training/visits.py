"""How the rows of an epoch are divided into mini-batches, and how many of these there are."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple


class Visits(NamedTuple):
    """The mini-batches of a training, for the engine.

    Attributes
    ----------
    rows : int
        The number of rows to train on.
    n : int
        The number of rows that an epoch visits.
    batch : int
        Rows in a mini-batch; the last one of an epoch may be smaller.
    drawing : {"IN_ORDER", "SHUFFLED", "REPLACED"}
        How the rows of an epoch are chosen.
    per_epoch : int
        Steps in an epoch.
    epochs, steps : int or None
        How many epochs, or steps, to train for; without limit if both are None.
    """

    rows: int
    n: int
    batch: int
    drawing: str
    per_epoch: int
    epochs: int | None
    steps: int | None

    @classmethod
    def of_rows(
        cls, rows: int, batch: int, epochs: int | None, steps: int | None, *, drawing: str, drop_last: bool
    ) -> Visits:
        """Return the mini-batches of some rows."""
        per_epoch = rows // batch if drop_last else ceil(rows / batch)
        n = per_epoch * batch if drop_last or drawing == "REPLACED" else rows
        return cls(rows, n, batch, drawing, per_epoch, epochs, steps)

    @property
    def total(self) -> int | None:
        """The number of steps if no epoch is continued; None if there is no limit."""
        if self.steps is not None:
            return self.steps
        return None if self.epochs is None else self.epochs * self.per_epoch
