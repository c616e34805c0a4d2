"""Accuracies, which the engine computes: the fractions of rows or elements that are right."""

from __future__ import annotations

import numpy as np

from nnfast._description import Field
from nnfast._validation import check_count
from nnfast.losses import OutputLoss
from nnfast.metrics.base import Metric, Scoring, answers_misfit, got, without_answers, without_classes


class Accuracy(Metric, name="accuracy"):
    """The fraction of right answers, as in scikit-learn's ``accuracy_score`` and Keras' ``Accuracy``.

    The fraction of rows for softmax outputs, of which the largest is the answer; the fraction of elements for binary
    outputs (sigmoid, step, or loss ``"hinge"``), as in Keras' ``BinaryAccuracy``.

    Notes
    -----
    Among equal outputs, the first is the answer. NaN is never right.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.metrics.Accuracy().direction
    'higher'
    """

    def scoring(self, output: OutputLoss) -> Scoring:
        """Return the metric for a compatible output layer."""
        if output.answers == "classes":
            return Scoring("class_accuracy")
        assert isinstance(output.answers, float)
        return Scoring("binary_accuracy", output.answers, per_row=output.n_out)

    def misfit(self, output: OutputLoss, targets: np.ndarray) -> str:
        """Return why the metric cannot be computed from these targets; an empty string if it can."""
        return answers_misfit(output, targets)


class SubsetAccuracy(Metric, name="subset_accuracy"):
    """The fraction of rows in which every binary output is right: the exact match ratio.

    Same as scikit-learn's ``accuracy_score`` for several labels. Needs an output layer with sigmoid or step, or
    loss ``"hinge"``.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.metrics.SubsetAccuracy().name
    'subset_accuracy'
    """

    def scoring(self, output: OutputLoss) -> Scoring:
        """Return the metric for a compatible output layer."""
        assert isinstance(output.answers, float)
        return Scoring("subset_accuracy", output.answers)

    def misfit(self, output: OutputLoss, targets: np.ndarray) -> str:
        """Return why the metric cannot be computed from these targets; an empty string if it can."""
        if output.answers == "classes":
            return (
                "binary outputs, as from an output layer with sigmoid, "
                f"{got(output)}: for mutually exclusive classes use 'accuracy'"
            )
        return without_answers(output, targets)


class TopKAccuracy(Metric):
    """The fraction of rows whose class is among the `k` largest outputs, as Keras' ``TopKCategoricalAccuracy``.

    Parameters
    ----------
    k : int
        At least 1; the network must have more classes.

    Raises
    ------
    TypeError, ValueError
        If `k` is not a positive integer.

    Notes
    -----
    Among equal outputs, the first count as larger, as in a stable sort (in scikit-learn's ``top_k_accuracy_score``, the
    last). The target class of a row of probabilities is the first of the largest. A row with NaN is never right.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.metrics.TopKAccuracy(3).name
    'top_3_accuracy'
    """

    k: int = Field(check_count, default=5)

    @property
    def name(self) -> str:
        """Such as ``"top_5_accuracy"``."""
        return f"top_{self.k}_accuracy"

    def scoring(self, output: OutputLoss) -> Scoring:
        """Return the metric for a compatible output layer."""
        return Scoring("top_k_accuracy", k=self.k)

    def misfit(self, output: OutputLoss, targets: np.ndarray) -> str:
        """Return why the metric cannot be computed from these targets; an empty string if it can."""
        if output.answers == "classes" and self.k >= output.n_out:
            return f"more than {self.k} classes, got {output.n_out}: every answer would be right, use a smaller k"
        return without_classes(output, targets)


ACCURACY = Accuracy()
