"""Metrics: measures of the quality of outputs besides the loss."""

from nnfast.metrics.base import ACCURACY as ACCURACY
from nnfast.metrics.base import Accuracy, MeanAbsoluteError, Metric, SubsetAccuracy, TopKAccuracy
from nnfast.metrics.base import MetricSet as MetricSet
from nnfast.metrics.base import Scoring as Scoring
from nnfast.metrics.base import names_in as names_in
from nnfast.metrics.base import resolve_metric as resolve_metric
from nnfast.metrics.base import resolve_metrics as resolve_metrics
from nnfast.metrics.confusion import confusion_matrix

__all__ = ["Accuracy", "MeanAbsoluteError", "Metric", "SubsetAccuracy", "TopKAccuracy", "confusion_matrix"]
