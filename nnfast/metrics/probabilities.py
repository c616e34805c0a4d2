"""Metrics of the values of outputs, and not only of the answers they give: ROC AUC and log loss."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from nnfast._validation import ignore_float_errors
from nnfast.losses import OutputLoss
from nnfast.metrics.answers import Answers
from nnfast.metrics.base import Computation, Metric, answers_misfit, got
from nnfast.metrics.by_class import ByClass
from nnfast.metrics.rows import counting


class RocAUC(ByClass, name="roc_auc"):
    """The area under the receiver operating characteristic, as scikit-learn's ``roc_auc_score``.

    The probability that an output is larger for a row of its class than for another row. For softmax outputs, each
    class against the rest (scikit-learn's ``multi_class="ovr"``); for several binary outputs, each label.

    Parameters
    ----------
    average : {"auto", "macro", "weighted"} or None
        How the areas of classes, or of the labels of several binary outputs, are averaged:

        - ``"auto"``: the area of the positive class, class 1, if there are two classes (one binary output, or two
          softmax outputs), otherwise ``"macro"``;
        - ``"macro"``: the mean over all;
        - ``"weighted"``: the mean, weighted by how often each is true, and without those that never are;
        - None: no average, but a value for each class, recorded as ``"roc_auc_class_0"`` and so on.

    Raises
    ------
    TypeError, ValueError
        If `average` is none of these.

    Notes
    -----
    Equal outputs count half: the Mann-Whitney statistic divided by its largest value, which is the area by the
    trapezoidal rule (Hanley and McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747), with the weights of
    rows. It is NaN if an output is NaN, and for a class that has all rows or none; then the mean is NaN as well.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(1, "sigmoid", initializer=[[1.0]])], input_shape=1)
    >>> values = net.evaluate([[0.0], [1.0], [1.0], [2.0]], [0, 0, 1, 1], metrics=["roc_auc"])
    >>> values["roc_auc"]
    0.875
    """

    averages = ("auto", "macro", "weighted")

    def for_output(self, output: OutputLoss) -> Computation:
        """Return how the metric is computed at a compatible output layer."""
        return partial(self.averaged, Answers(output))

    @ignore_float_errors
    def averaged(
        self, answers: Answers, outputs: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None
    ) -> Any:
        """Return the average or, if there is none, the areas of all classes."""
        outputs, targets, weights = counting(outputs, targets, sample_weight)
        true = answers.true(targets)
        which = (1,) if self.average == "auto" and answers.binary else range(answers.classes)
        areas, sizes = np.empty((2, len(which)))
        for i, c in enumerate(which):
            scores = outputs[:, c] if outputs.shape[1] > 1 else (outputs[:, 0] if c else -outputs[:, 0])
            of_class = true[:, c] if answers.several else true == c
            areas[i], sizes[i] = area_under_roc(scores, of_class, weights), weights[of_class].sum()
        if self.average is None:
            return areas
        if self.average == "weighted":
            return np.where(sizes == 0, 0, areas * sizes).sum() / sizes.sum()
        return areas.sum() / len(areas)


def area_under_roc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> float:
    """Return the probability that a positive row has a larger score than a negative one, where ties count half."""
    if not len(scores) or np.isnan(scores).any():
        return float("nan")
    order = np.argsort(scores, kind="stable")
    scores, positive, weights = scores[order], positive[order], weights[order]
    first = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))  # of equal scores
    positives = np.add.reduceat(np.where(positive, weights, 0), first)
    negatives = np.add.reduceat(np.where(positive, 0, weights), first)
    below = np.cumsum(negatives) - negatives / 2
    return float((positives * below).sum() / (positives.sum() * negatives.sum()))


class LogLoss(Metric, name="log_loss"):
    """The mean negative logarithm of the probability of the targets, as scikit-learn's ``log_loss``.

    For an output layer with softmax, log-softmax or sigmoid, whatever the loss; the mean over rows and, for several
    binary outputs, over their labels.

    Notes
    -----
    ``-sum(target * log(p))`` for classes, where labels stand for 1 at their class and 0 elsewhere, and
    ``-target * log(p) - (1 - target) * log(1 - p)`` for binary outputs, in float64. As in scikit-learn, probabilities
    are at least the epsilon of their dtype and at most 1 minus that, so that the value is finite; the logarithms that
    log-softmax computes are used as they are. Unlike the losses ``"cross_entropy"`` and ``"binary_cross_entropy"``, it
    has no label smoothing or penalties.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential(
    ...     [nf.Dense(2, "softmax", initializer=0.0)], input_shape=1, loss=nf.losses.CrossEntropy(label_smoothing=0.5)
    ... )
    >>> round(net.evaluate([[1.0]], [0], metrics=["log_loss"])["log_loss"], 4)  # log(2)
    0.6931
    """

    direction = "lower"

    def misfit(self, output: OutputLoss, targets: np.ndarray) -> str:
        """Return why the metric cannot be computed from these targets; an empty string if it can."""
        if output.answers is None or not (output.function.classes or output.activation == "sigmoid"):
            return f"outputs that are probabilities, as from softmax, log_softmax or sigmoid, {got(output)}"
        if targets.ndim > 1 and not bool(((targets >= 0) & (targets <= 1)).all()):
            return "labels, or targets from 0 to 1, got other values in y"
        return answers_misfit(output, targets)

    def for_output(self, output: OutputLoss) -> Computation:
        """Return how the metric is computed at a compatible output layer."""
        return partial(log_loss, output.function.classes, output.function.logarithms)


@ignore_float_errors
def log_loss(
    classes: bool, logarithms: bool, outputs: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None
) -> float:
    """Return the log loss of probabilities, or of their logarithms, of exclusive `classes` or of binary answers."""
    outputs, targets, weights = counting(outputs, targets, sample_weight)
    if not logarithms:
        epsilon = np.finfo(outputs.dtype).eps
        outputs = np.clip(outputs, epsilon, 1 - epsilon)
    logs = outputs.astype(np.float64)
    if not classes:
        losses = -np.where(targets == 0, 0, targets * np.log(logs)) - (1 - targets) * np.log1p(-logs)
        return float((weights[:, None] * losses).sum() / (weights.sum() * losses.shape[1]))
    if not logarithms:
        np.log(logs, out=logs)
    if targets.ndim == 1:
        losses = -logs[np.arange(len(logs)), targets]
    else:
        losses = -np.where(targets == 0, 0, targets * logs).sum(axis=1)
    return float((weights * losses).sum() / weights.sum())
