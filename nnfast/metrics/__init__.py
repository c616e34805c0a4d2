"""Metrics, as descriptions: measures of the quality of outputs besides the loss.

A metric is given by name, as an object such as ``nf.metrics.TopKAccuracy(3)``, or as a function of targets and outputs.
Rows may have weights; the gradient does not depend on metrics. Accuracies and `MeanAbsoluteError` are averages over
rows or elements, which the engine computes, also in training; the others are computed from the outputs for a whole data
set and, at the end of each epoch of training, from those that the mini-batches had before their updates.
"""

from nnfast.metrics.accuracy import ACCURACY as ACCURACY
from nnfast.metrics.accuracy import Accuracy, SubsetAccuracy, TopKAccuracy
from nnfast.metrics.base import Metric
from nnfast.metrics.base import MetricLike as MetricLike
from nnfast.metrics.base import Scoring as Scoring
from nnfast.metrics.by_class import F1, BalancedAccuracy, FBeta, Precision, Recall
from nnfast.metrics.chosen import MetricSet as MetricSet
from nnfast.metrics.chosen import names_in as names_in
from nnfast.metrics.chosen import resolve_metric as resolve_metric
from nnfast.metrics.chosen import resolve_metrics as resolve_metrics
from nnfast.metrics.confusion import confusion_matrix
from nnfast.metrics.function import FunctionMetric
from nnfast.metrics.probabilities import LogLoss, RocAUC
from nnfast.metrics.regression import R2, MeanAbsoluteError, MeanSquaredError, RootMeanSquaredError

__all__ = [
    "F1",
    "R2",
    "Accuracy",
    "BalancedAccuracy",
    "FBeta",
    "FunctionMetric",
    "LogLoss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "RocAUC",
    "RootMeanSquaredError",
    "SubsetAccuracy",
    "TopKAccuracy",
    "confusion_matrix",
]
