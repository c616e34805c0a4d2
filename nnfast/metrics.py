"""Metrics, as descriptions: measures of the quality of outputs besides the loss.

A metric is given by name, or as an object such as ``nf.metrics.TopKAccuracy(3)``. Metrics are averages over rows or
over elements, weighted if rows have weights; the gradient does not depend on them. Those listed here are computed by
the engine, also in training; a subclass of `Metric` can compute any other from the outputs for a whole data set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from nnfast._description import Description, Field
from nnfast._validation import as_tuple, check_int, choose, describe
from nnfast.losses import OutputLoss, Poisson

__all__ = ["Accuracy", "MeanAbsoluteError", "Metric", "SubsetAccuracy", "TopKAccuracy"]

DIRECTIONS = ("higher", "lower")


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


class Metric(Description, noun="a metric", tag="name"):
    """Base class of metrics: a name, a direction, and how to compute it.

    A metric of your own is a subclass with `name`, `direction` and `compute`, and any attributes. It is computed for
    whole data sets, in `Sequential.evaluate` and for the validation data of `Sequential.fit`, not for mini-batches.

    Attributes
    ----------
    name : str
        As in `History`, where validation metrics are prefixed with ``val_``.
    direction : {"higher", "lower"}
        Which values are better.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> class LargestError(nf.metrics.Metric):
    ...     name, direction = "largest_error", "lower"
    ...
    ...     def compute(self, outputs, targets, sample_weight):
    ...         return np.abs(outputs - targets).max()
    >>> net = nf.Sequential([nf.Dense(1, initializer=0.0)], input_shape=2, seed=0)
    >>> net.evaluate([[0, 1], [1, 0]], [1.0, 3.0], metrics=[LargestError()])
    {'loss': 5.0, 'largest_error': 3.0}
    """

    name: ClassVar[Any]  # a string, or a property
    direction: ClassVar[str] = "higher"

    def compute(self, outputs: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None) -> float:
        """Compute the metric over a data set; all arrays are read-only.

        Parameters
        ----------
        outputs : ndarray of shape (n, *output_shape)
            What `Sequential.predict` returns.
        targets : ndarray
            Labels as int64 of shape (n,), or an array of the shape and dtype of `outputs`, as the loss takes them.
        sample_weight : ndarray of shape (n,), float64, or None
            The weights of rows.

        Returns
        -------
        float
        """
        raise NotImplementedError(f"{type(self).__name__} is computed by the engine")

    def __setattr__(self, name: str, value: object) -> None:
        if self.has_own_compute:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def has_own_compute(self) -> bool:
        """Whether the metric is computed in Python; otherwise the engine does it."""
        return type(self).compute is not Metric.compute

    def scoring(self, output: OutputLoss) -> Scoring | None:
        """Return the metric for a compatible output layer in the engine's format; None if the engine has no such."""
        return None

    def misfit(self, output: OutputLoss, targets: np.ndarray) -> str:
        """Return why the metric cannot be computed from these targets, as `OutputLoss.targets` returns them.

        An empty string if it can.
        """
        return ""

    def check(self, output: OutputLoss, targets: np.ndarray) -> None:
        """Raise ValueError if the metric cannot be computed; the message gives what is needed and what was given."""
        why = (not self.has_own_compute and output.misfit(targets)) or self.misfit(output, targets)
        if why:
            raise ValueError(f"metric {self.name!r} needs {why}")


def _positive_int(name: str, value: Any) -> int:
    return check_int(name, value, 1)


def _got(output: OutputLoss) -> str:
    return f"got activation {output.activation!r} with loss {output.name!r}"


def _without_answers(output: OutputLoss, targets: np.ndarray) -> str:
    """Return why binary outputs cannot be compared with the targets; an empty string if they can."""
    if output.answers is None:
        return f"an output layer with sigmoid or step, or loss 'hinge', {_got(output)}"
    if output.answers == 0.5 and not bool(((targets == 0) | (targets == 1)).all()):
        return f"targets of 0 and 1 with loss {output.name!r}, got other values in y"
    return ""


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
        if output.answers is None:
            return f"an output layer with softmax, sigmoid or step, or loss 'hinge', {_got(output)}"
        if output.answers == "classes":
            return _without_classes(output, targets)
        return _without_answers(output, targets)


def _without_classes(output: OutputLoss, targets: np.ndarray) -> str:
    """Return why the largest output cannot be compared with the target's class; an empty string if it can."""
    if output.answers != "classes":
        return f"classes that exclude each other, as of an output layer with softmax, {_got(output)}"
    if output.function.logarithms and not output.fused and targets.ndim > 1:  # the targets are logarithms
        return f"labels, or rows of probabilities, and so a loss such as 'cross_entropy', {_got(output)}"
    return ""


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

    k: int = Field(_positive_int, default=5)

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
        return _without_classes(output, targets)


class MeanAbsoluteError(Metric, name="mean_absolute_error"):
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

    direction = "lower"

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


ACCURACY = Accuracy()
_TOP_K = re.compile(r"top_([1-9][0-9]{0,8})_accuracy")


def resolve_metric(metric: Any) -> Metric:
    """Return the metric that is given by name, such as ``"accuracy"`` or ``"top_3_accuracy"``, or as an object.

    Raises
    ------
    TypeError, ValueError
        If it is neither a metric nor the name of one, or its name or direction is not valid.
    """
    if isinstance(metric, Metric):
        name = getattr(metric, "name", None)
        if not isinstance(name, str) or name in ("", "loss") or name.startswith("val_"):
            raise ValueError(
                f"{type(metric).__name__}.name must be a string other than 'loss' that does not begin with 'val_', "
                f"got {describe(name)}"
            )
        choose(f"{type(metric).__name__}.direction", metric.direction, DIRECTIONS)
        if type(metric).scoring is Metric.scoring and not metric.has_own_compute:
            raise TypeError(f"{type(metric).__name__} must define compute(outputs, targets, sample_weight)")
        return metric
    known = f"one of {', '.join(map(repr, sorted((*Metric.registry, 'top_5_accuracy'))))}"
    if not isinstance(metric, str):
        raise TypeError(f"a metric must be {known} or of nf.metrics, got {describe(metric)}")
    top = _TOP_K.fullmatch(metric)
    if top:
        return TopKAccuracy(int(top[1]))
    if metric not in Metric.registry:
        raise ValueError(f"a metric must be {known} or of nf.metrics, got {metric!r}")
    found: Metric = Metric.registry[metric]()
    return found


def resolve_metrics(metrics: Sequence[Any]) -> tuple[Metric, ...]:
    """Return the metrics that are given by name or as objects.

    Raises
    ------
    TypeError, ValueError
        If `metrics` is not a sequence, contains anything else, or contains two metrics of the same name.
    """
    if isinstance(metrics, str):
        raise TypeError(f"metrics must be a sequence of metrics, got {metrics!r}: use [{metrics!r}]")
    found = tuple(map(resolve_metric, as_tuple("metrics", metrics, "metrics")))
    names = [metric.name for metric in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"metrics must not contain duplicates, got {name!r} twice")
    return found


class MetricSet:
    """Metrics at a given output layer: those that the engine computes, and those computed from all outputs.

    Parameters
    ----------
    metrics : iterable of Metric
        Compatible with the output layer.
    output : OutputLoss
        The loss at the output layer.

    Attributes
    ----------
    scorings : tuple of Scoring
        For the engine.
    others : tuple of Metric
        Those that the engine does not compute.
    """

    def __init__(self, metrics: Iterable[Metric], output: OutputLoss) -> None:
        self.metrics = tuple(metrics)
        scorings = [(m, None if m.has_own_compute else m.scoring(output)) for m in self.metrics]
        self.scorings = tuple(scoring for _, scoring in scorings if scoring is not None)
        self.names = tuple(metric.name for metric, scoring in scorings if scoring is not None)
        self.others = tuple(metric for metric, scoring in scorings if scoring is None)

    @classmethod
    def chosen(cls, metrics: Sequence[Any] | None, output: OutputLoss, targets: np.ndarray) -> MetricSet:
        """Return the metrics that are asked for; if that is None, the accuracy where it can be computed.

        Raises
        ------
        TypeError, ValueError
            If `metrics` is not valid, or one of them cannot be computed from the targets.
        """
        if metrics is None:
            return cls(() if output.misfit(targets) or ACCURACY.misfit(output, targets) else (ACCURACY,), output)
        chosen = resolve_metrics(metrics)
        for metric in chosen:
            metric.check(output, targets)
        return cls(chosen, output)

    def averages(self, totals: np.ndarray, weight: Any) -> dict[str, Any]:
        """Return the averages of what the engine has computed, by name.

        Parameters
        ----------
        totals : ndarray of shape (..., metrics)
            Sums over rows.
        weight : float or ndarray of shape (...)
            The sum of the weights of these rows.
        """
        scored = enumerate(zip(self.names, self.scorings, strict=True))
        return {name: totals[..., i] / (weight * scoring.per_row) for i, (name, scoring) in scored}

    def computed(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> dict[str, float]:
        """Return the metrics that the engine does not compute, by name.

        Raises
        ------
        TypeError
            If one of them returns something other than a number.
        """
        given = [None if array is None else _read_only(array) for array in (outputs, targets, weights)]
        found = {}
        for metric in self.others:
            value: Any = metric.compute(*given)  # type: ignore[arg-type]  # only the weights may be None
            if not isinstance(value, (int, float, np.number, np.bool_, np.ndarray)) or np.asarray(value).ndim:
                raise TypeError(f"{type(metric).__name__}.compute must return a number, got {describe(value)}")
            if np.asarray(value).dtype.kind not in "iufb":
                raise TypeError(f"{type(metric).__name__}.compute must return a real number, got {describe(value)}")
            found[metric.name] = float(value)
        return found


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def names_in(history: Iterable[str]) -> list[str]:
    """Return the metrics among the entries of a history, in order, without ``val_``."""
    names = dict.fromkeys(name.removeprefix("val_") for name in history)
    return [name for name in names if name != "loss"]
