"""Metrics, as descriptions: measures of the quality of outputs besides the loss.

A metric is given by name, or as an object such as ``nf.metrics.TopKAccuracy(3)``. Metrics are averages
over rows or over elements, weighted if rows have weights; the gradient does not depend on them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from nnfast._validation import as_tuple, check_int, describe
from nnfast.losses import OutputLoss, Poisson

__all__ = ["Accuracy", "MeanAbsoluteError", "SubsetAccuracy", "TopKAccuracy"]


class Scoring(NamedTuple):
    """A metric for a given output layer, in the engine's format.

    Attributes
    ----------
    kernel : str
        The kind of score, by its name in `nnfast.kernels.arrays.METRICS`.
    threshold : float
        Outputs above it are positive answers.
    k : int
        How many of the largest outputs count as the answer.
    from_outputs : bool
        Whether scores are computed from the outputs, also where the loss is computed from what the last activation is
        applied to; otherwise from what the loss is computed from.
    per_row : int
        Contribution of a row to the denominator: 1, or its number of elements.
    """

    kernel: str
    threshold: float = 0.0
    k: int = 1
    from_outputs: bool = False
    per_row: int = 1


class Metric:
    """Base class of metrics: a name, a direction, the requirements, and the kernel.

    Attributes
    ----------
    name : str
        As in `History`, where validation metrics are prefixed with ``val_``.
    direction : {"higher", "lower"}
        Which values are better.
    """

    name: str
    direction: ClassVar[Literal["higher", "lower"]] = "higher"

    def __init__(self, **parameters: Any) -> None:
        vars(self).update(parameters)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a metric is a description and does not change: make a new {type(self).__name__}")

    def scoring(self, output: OutputLoss) -> Scoring:
        """Return the metric for a compatible output layer."""
        raise NotImplementedError

    def misfit(self, output: OutputLoss, targets: np.ndarray) -> str:
        """Return why the metric cannot be computed from these targets, as `OutputLoss.targets` returns them.

        An empty string if it can.
        """
        raise NotImplementedError

    def check(self, output: OutputLoss, targets: np.ndarray) -> None:
        """Raise ValueError if the metric cannot be computed; the message gives what is needed and what was given."""
        why = self.misfit(output, targets)
        if why:
            raise ValueError(f"metric {self.name!r} needs {why}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def _got(output: OutputLoss) -> str:
    return f"got activation {output.activation!r} with loss {output.name!r}"


def _without_answers(output: OutputLoss, targets: np.ndarray) -> str:
    """Return why binary outputs cannot be compared with the targets; an empty string if they can."""
    if output.answers is None:
        return f"an output layer with sigmoid or step, or loss 'hinge', {_got(output)}"
    if output.counting(targets) is None:
        return f"targets of 0 and 1 with loss {output.name!r}, got other values in y"
    return ""


class Accuracy(Metric):
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

    name = "accuracy"

    def __init__(self) -> None:
        super().__init__()

    def scoring(self, output: OutputLoss) -> Scoring:
        """Return the metric for a compatible output layer."""
        if output.answers == "classes":
            return Scoring("class_accuracy")
        assert isinstance(output.answers, float)
        return Scoring("binary_accuracy", output.answers, per_row=output.n_out)

    def misfit(self, output: OutputLoss, targets: np.ndarray) -> str:
        """Return why the metric cannot be computed from these targets; an empty string if it can."""
        if output.answers is None:
            return f"an output layer with softmax, sigmoid or step, or loss 'hinge', {_got(output)}"
        if output.answers == "classes":
            return _without_classes(output, targets)
        return _without_answers(output, targets)


def _without_classes(output: OutputLoss, targets: np.ndarray) -> str:
    """Return why the largest output cannot be compared with the target's class; an empty string if it can."""
    if output.answers != "classes":
        return f"classes that exclude each other, as of an output layer with softmax, {_got(output)}"
    if output.counting(targets) is None:
        return f"labels, or rows of probabilities, and so a loss such as 'cross_entropy', {_got(output)}"
    return ""


class SubsetAccuracy(Metric):
    """The fraction of rows in which every binary output is right: the exact match ratio.

    Same as scikit-learn's ``accuracy_score`` for several labels. Needs an output layer with sigmoid or step, or
    loss ``"hinge"``.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.metrics.SubsetAccuracy().name
    'subset_accuracy'
    """

    name = "subset_accuracy"

    def __init__(self) -> None:
        super().__init__()

    def scoring(self, output: OutputLoss) -> Scoring:
        """Return the metric for a compatible output layer."""
        assert isinstance(output.answers, float)
        return Scoring("subset_accuracy", output.answers)

    def misfit(self, output: OutputLoss, targets: np.ndarray) -> str:
        """Return why the metric cannot be computed from these targets; an empty string if it can."""
        if output.answers == "classes":
            return (
                "outputs that each say yes or no, as of an output layer with sigmoid, "
                f"{_got(output)}: for classes that exclude each other use 'accuracy'"
            )
        return _without_answers(output, targets)


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

    k: int

    def __init__(self, k: int = 5) -> None:
        super().__init__(k=check_int("k", k, 1))

    @property
    def name(self) -> str:  # type: ignore[override]
        """Such as ``"top_5_accuracy"``."""
        return f"top_{self.k}_accuracy"

    def scoring(self, output: OutputLoss) -> Scoring:
        """Return the metric for a compatible output layer."""
        return Scoring("top_k_accuracy", k=self.k)

    def misfit(self, output: OutputLoss, targets: np.ndarray) -> str:
        """Return why the metric cannot be computed from these targets; an empty string if it can."""
        if output.answers == "classes" and self.k >= output.n_out:
            return f"more than {self.k} classes, got {output.n_out}: every answer would be right, use a smaller k"
        return _without_classes(output, targets)


class MeanAbsoluteError(Metric):
    """The mean of absolute errors over all elements, as scikit-learn's ``mean_absolute_error``.

    Computed from the outputs, whatever the loss is computed from; labels stand for 1 at their class and 0 elsewhere.
    The outputs must estimate the targets: margins (loss ``"hinge"``), logarithms of the targets, and several quantiles
    do not.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.metrics.MeanAbsoluteError().direction
    'lower'
    """

    name = "mean_absolute_error"
    direction = "lower"

    def __init__(self) -> None:
        super().__init__()

    def scoring(self, output: OutputLoss) -> Scoring:
        """Return the metric for a compatible output layer."""
        return Scoring("absolute_error", from_outputs=True, per_row=output.n_out)

    def misfit(self, output: OutputLoss, targets: np.ndarray) -> str:
        """Return why the metric cannot be computed from these targets; an empty string if it can."""
        if output.name == "hinge":
            return "outputs that estimate the targets, got loss 'hinge', whose outputs are margins"
        logs = output.activation == "log_softmax" and output.fused
        if logs or (isinstance(output.loss, Poisson) and output.loss.log_input):
            return f"outputs that estimate the targets, {_got(output)}, whose outputs estimate their logarithms"
        if output.outputs_per_target > 1:
            return f"one output for each target, got loss 'quantile' with {output.outputs_per_target} quantiles"
        return ""


METRICS: tuple[type[Metric], ...] = (Accuracy, SubsetAccuracy, TopKAccuracy, MeanAbsoluteError)
_NAMES = {kind.name: kind for kind in (Accuracy, SubsetAccuracy, MeanAbsoluteError)}
_TOP_K = re.compile(r"top_([1-9][0-9]{0,8})_accuracy")


def resolve_metric(metric: Any) -> Metric:
    """Return the metric that is given by name, such as ``"accuracy"`` or ``"top_3_accuracy"``, or as an object.

    Raises
    ------
    TypeError, ValueError
        If it is neither a metric nor the name of one.
    """
    if type(metric) in METRICS:
        found: Metric = metric
        return found
    known = f"one of {', '.join(map(repr, sorted((*_NAMES, 'top_5_accuracy'))))}"
    if not isinstance(metric, str):
        raise TypeError(f"a metric must be {known} or of nf.metrics, got {describe(metric)}")
    top = _TOP_K.fullmatch(metric)
    if top:
        return TopKAccuracy(int(top[1]))
    if metric not in _NAMES:
        raise ValueError(f"a metric must be {known} or of nf.metrics, got {metric!r}")
    return _NAMES[metric]()


def resolve_metrics(metrics: Sequence[Any]) -> tuple[Metric, ...]:
    """Return the metrics that are given by name or as objects.

    Raises
    ------
    TypeError, ValueError
        If `metrics` is not a sequence, contains anything else, or contains a metric twice.
    """
    if isinstance(metrics, str):
        raise TypeError(f"metrics must be a sequence of metrics, got {metrics!r}: use [{metrics!r}]")
    found = tuple(map(resolve_metric, as_tuple("metrics", metrics, "metrics")))
    for i, metric in enumerate(found):
        if metric in found[:i]:
            raise ValueError(f"metrics must not contain duplicates, got {metric.name!r} twice")
    return found
