"""Which metrics a training records."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from nnfast.losses import OutputLoss
from nnfast.metrics import MetricLike, MetricSet
from nnfast.optimizers import Optimizer
from nnfast.schedules import ReduceOnPlateau


class RecordedMetrics(NamedTuple):
    """What a fit records besides the loss.

    Attributes
    ----------
    training : MetricSet
        On the mini-batches.
    validation : MetricSet or None
        On the validation data.
    """

    training: MetricSet
    validation: MetricSet | None

    @classmethod
    def chosen(
        cls,
        metrics: Sequence[MetricLike] | None,
        output: OutputLoss,
        targets: np.ndarray,
        validation_targets: np.ndarray | None,
        *,
        weighted: bool,
        validation_weighted: bool,
    ) -> RecordedMetrics:
        """Return what is asked for, or the accuracy where it can be computed; ValueError if a metric cannot be.

        `weighted` and `validation_weighted` say whether rows have weights.
        """
        training = MetricSet.chosen(metrics, output, targets, weighted=weighted)
        if validation_targets is None:
            return cls(training, None)
        same = None if metrics is None else training.metrics
        try:
            validation = MetricSet.chosen(same, output, validation_targets, weighted=validation_weighted)
        except ValueError as error:
            raise ValueError(f"validation_data: {error}") from None
        return cls(training, validation)

    @property
    def names(self) -> tuple[str, ...]:
        """The entries of the history, in order."""
        return tuple(self.directions)

    @property
    def directions(self) -> dict[str, str]:
        """Which values are better, "higher" or "lower", of all entries of the history."""
        entries = {"loss": "lower"} | self.training.directions
        if self.validation is not None:
            entries |= {"val_loss": "lower"}
            entries |= {f"val_{name}": direction for name, direction in self.validation.directions.items()}
        return entries

    def check_monitor(self, optimizer: Optimizer) -> None:
        """Raise ValueError if a schedule monitors a value that is not recorded."""
        schedule = getattr(optimizer, "learning_rate", None)
        if isinstance(schedule, ReduceOnPlateau):
            check_recorded("monitor", schedule.monitor, self.directions)


def check_recorded(argument: str, name: str, names: Collection[str]) -> None:
    """Raise ValueError if a fit does not record a quantity."""
    if name not in names:
        raise ValueError(
            f"{argument} must be one of {', '.join(names)}, which this fit records, got {name!r}: "
            "validation_data adds val_loss, and metrics=[...] adds metrics"
        )
