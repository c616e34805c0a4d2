"""Metrics, as descriptions: measures of the quality of outputs besides the loss.

A metric is given by name, as an object such as ``nf.metrics.TopKAccuracy(3)``, or as a function of targets and outputs.
Rows may have weights; the gradient does not depend on metrics. Accuracies and `MeanAbsoluteError` are averages over
rows or elements, which the engine computes, also in training; the others are computed from the outputs for a whole data
set and, at the end of each epoch of training, from those that the mini-batches had before their updates.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

from nnfast.metrics.accuracy import ACCURACY as ACCURACY
from nnfast.metrics.accuracy import Accuracy, SubsetAccuracy, TopKAccuracy
from nnfast.metrics.base import Metric
from nnfast.metrics.base import MetricLike as MetricLike
from nnfast.metrics.base import Scoring as Scoring
from nnfast.metrics.chosen import NAMES as NAMES
from nnfast.metrics.chosen import MetricSet as MetricSet
from nnfast.metrics.chosen import names_in as names_in
from nnfast.metrics.chosen import resolve_metric as resolve_metric
from nnfast.metrics.chosen import resolve_metrics as resolve_metrics

if TYPE_CHECKING:
    from nnfast.metrics.by_class import F1, BalancedAccuracy, FBeta, Precision, Recall
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

# Imported when first asked for, to keep `import nnfast` quick.
_MODULES = {
    "by_class": ("F1", "BalancedAccuracy", "FBeta", "Precision", "Recall"),
    "confusion": ("confusion_matrix",),
    "function": ("FunctionMetric",),
    "probabilities": ("LogLoss", "RocAUC"),
    "regression": ("R2", "MeanAbsoluteError", "MeanSquaredError", "RootMeanSquaredError"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(_import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
