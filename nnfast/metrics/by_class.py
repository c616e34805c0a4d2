"""Metrics that are computed for each class and averaged: from how often it was predicted, and how often rightly."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np

from nnfast._description import Field
from nnfast._validation import check_positive, describe, ignore_float_errors
from nnfast.losses import OutputLoss
from nnfast.metrics.answers import Answers, Tally
from nnfast.metrics.base import Computation, Metric, answers_misfit, got
from nnfast.metrics.rows import counting

AVERAGES = ("auto", "macro", "micro", "weighted")  # and None


def _average(name: str, value: Any) -> Any:
    if not (value is None or isinstance(value, str)):
        raise TypeError(f"{name} must be a name or None, got {describe(value)}")
    return value


def fractions(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return ``part / whole``, and 0 where `whole` is 0."""
    return np.where(whole == 0, 0.0, part / np.where(whole == 0, 1.0, whole))


class ByClass(Metric):
    """Base class of metrics that are computed for each class or, for several binary outputs, for each label."""

    stem: ClassVar[Any]  # what the name begins with: a string, or a property
    averages: ClassVar[tuple[str, ...]] = AVERAGES
    average: str | None = Field(_average, default="auto", kw_only=True)

    def __init_subclass__(cls, name: str = "", **others: Any) -> None:
        """Enter the registry; the class keeps the property `name`, which depends on `average`."""
        super().__init_subclass__(name=name, **others)
        if name:
            cls.stem = name
            del cls.name

    @classmethod
    def named(cls, end: str) -> Metric | None:
        """Return the metric with the average that the end of a name stands for, or None."""
        averages = {"": "auto", "_by_class": None} | {f"_{average}": average for average in cls.averages[1:]}
        return cls(average=averages[end]) if end in averages else None

    def settle(self) -> None:
        """Check the average."""
        if self.average not in (*self.averages, None):
            known = ", ".join(map(repr, self.averages))
            raise ValueError(f"average must be one of {known}, or None for each class, got {self.average!r}")

    @property
    def name(self) -> str:
        """Such as ``"f1"``, ``"f1_macro"`` or ``"f1_by_class"``."""
        ends = {"auto": "", None: "_by_class"}
        return f"{self.stem}{ends.get(self.average, f'_{self.average}')}"

    def names(self, output: OutputLoss) -> tuple[str, ...]:
        """Return the name or, by class, one for each, such as ``"f1_class_0"``."""
        if self.average is not None:
            return (self.name,)
        return tuple(f"{self.stem}_class_{i}" for i in range(Answers(output).classes))

    def misfit(self, output: OutputLoss, targets: np.ndarray) -> str:
        """Return why the metric cannot be computed from these targets; an empty string if it can."""
        return answers_misfit(output, targets)


class Counted(ByClass):
    """Base class of metrics that depend on how often each class was predicted, true, or both."""

    def for_output(self, output: OutputLoss) -> Computation:
        """Return how the metric is computed at a compatible output layer."""
        return partial(self.averaged, Answers(output))

    @ignore_float_errors
    def averaged(
        self, answers: Answers, outputs: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None
    ) -> Any:
        """Return the average or, if there is none, the values of all classes."""
        tally = Tally.of(answers, *counting(outputs, targets, sample_weight))
        if self.average == "micro":
            return self.from_counts(tally.total())[0]
        values = self.from_counts(tally)
        if self.average is None:
            return values
        if self.average == "auto" and answers.binary:
            return values[1]
        if self.average == "weighted":
            return fractions((values * tally.true).sum(), tally.true.sum())
        present = values[answers.several | (tally.predicted + tally.true > 0)]
        return present.sum() / len(present)

    def from_counts(self, tally: Tally) -> np.ndarray:
        """Return the value of each class."""
        raise NotImplementedError


class Precision(Counted, name="precision"):
    """Of what was predicted as a class, the fraction that is of it, as scikit-learn's ``precision_score``.

    For softmax outputs, of which the largest is the answer, and binary outputs (sigmoid, step, or loss ``"hinge"``).

    Parameters
    ----------
    average : {"auto", "macro", "micro", "weighted"} or None
        How the values of classes or, for several binary outputs, of labels are averaged:

        - ``"auto"``: the value of the positive class, class 1, if there are two classes (one binary output, or two
          softmax outputs), otherwise ``"macro"``;
        - ``"macro"``: the mean over all classes that occur among targets or answers, or over all labels;
        - ``"micro"``: from the counts of all classes together;
        - ``"weighted"``: the mean, weighted by how often each class is true;
        - None: no average, but a value for each class, recorded as ``"precision_class_0"`` and so on.

    Raises
    ------
    TypeError, ValueError
        If `average` is none of these.

    Notes
    -----
    For each class ``right / predicted``, sums of weights of rows; 0 for a class that is never predicted, as by default
    in scikit-learn, but without its warning. A row of weight 0 is ignored, and so is its class. A row of softmax
    outputs with NaN, or a binary output that is NaN, has no answer: it is never right, and counts for no predicted
    class. Where outputs differ by less than their rounding, the answer may differ from `Sequential.predict_class`.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(1, "sigmoid", initializer=[[1.0]])], input_shape=1)
    >>> x, y = [[-2.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]
    >>> values = net.evaluate(x, y, metrics=["precision", "recall", nf.metrics.Precision(average=None)])
    >>> list(values)
    ['loss', 'precision', 'recall', 'precision_class_0', 'precision_class_1']
    >>> round(values["precision"], 4), values["recall"]
    (0.6667, 1.0)
    """

    def from_counts(self, tally: Tally) -> np.ndarray:
        """Return the value of each class."""
        return fractions(tally.right, tally.predicted)


class Recall(Counted, name="recall"):
    """Of the rows of a class, the fraction that was predicted as such, as scikit-learn's ``recall_score``.

    Parameters
    ----------
    average : {"auto", "macro", "micro", "weighted"} or None
        As for `Precision`.

    Raises
    ------
    TypeError, ValueError
        If `average` is none of these.

    Notes
    -----
    For each class ``right / true``, and 0 for a class that is never true; otherwise as `Precision`.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.metrics.Recall(average="macro").name
    'recall_macro'
    """

    def from_counts(self, tally: Tally) -> np.ndarray:
        """Return the value of each class."""
        return fractions(tally.right, tally.true)


class FBeta(Counted):
    """The weighted harmonic mean of precision and recall, as scikit-learn's ``fbeta_score``.

    Parameters
    ----------
    beta : float
        How many times as important recall is as precision, above 0.
    average : {"auto", "macro", "micro", "weighted"} or None
        As for `Precision`.

    Raises
    ------
    TypeError, ValueError
        If `beta` is not a positive number, or `average` is none of these.

    Notes
    -----
    For each class ``(1 + beta**2) * right / (beta**2 * true + predicted)``, and 0 for a class that is neither true nor
    predicted; otherwise as `Precision`.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.metrics.FBeta(2, average="macro").name
    'f2_macro'
    """

    beta: float = Field(check_positive)

    @property
    def stem(self) -> str:
        """Such as ``"f2"`` or ``"f0.5"``."""
        return f"f{self.beta!r}".removesuffix(".0")

    def from_counts(self, tally: Tally) -> np.ndarray:
        """Return the value of each class."""
        return f_score(tally, self.beta)


class F1(Counted, name="f1"):
    """The harmonic mean of precision and recall, as scikit-learn's ``f1_score``.

    Parameters
    ----------
    average : {"auto", "macro", "micro", "weighted"} or None
        As for `Precision`.

    Raises
    ------
    TypeError, ValueError
        If `average` is none of these.

    Notes
    -----
    For each class ``2 * right / (true + predicted)``, and 0 for a class that is neither true nor predicted; otherwise
    as `Precision`.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(3, "softmax", initializer=[[0.0, 1.0, 2.0]])], input_shape=1)
    >>> values = net.evaluate([[1.0], [2.0], [-1.0]], [2, 1, 0], metrics=["f1", "f1_micro", "f1_by_class"])
    >>> list(values)
    ['loss', 'f1', 'f1_micro', 'f1_class_0', 'f1_class_1', 'f1_class_2']
    >>> round(values["f1"], 4), values["f1_class_0"], values["f1_class_1"]
    (0.5556, 1.0, 0.0)
    """

    def from_counts(self, tally: Tally) -> np.ndarray:
        """Return the value of each class."""
        return f_score(tally, 1.0)


def f_score(tally: Tally, beta: float) -> np.ndarray:
    """Return the F score of each class."""
    share = 1 / (1 + beta * beta)  # of what is predicted, in the mean with what is true
    return fractions(tally.right, share * tally.predicted + (1 - share) * tally.true)


class BalancedAccuracy(Metric, name="balanced_accuracy"):
    """The mean over classes of the fraction that is right, as scikit-learn's ``balanced_accuracy_score``.

    For softmax outputs, or one binary output; the mean is over the classes that occur among the targets.

    Notes
    -----
    The recall as in `Recall`, averaged; always guessing the same gives ``1 / classes``. NaN is never right.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(1, "sigmoid", initializer=[[1.0]])], input_shape=1)
    >>> net.evaluate([[1.0], [2.0], [3.0], [4.0]], [1, 1, 1, 0], metrics=["accuracy", "balanced_accuracy"])[
    ...     "balanced_accuracy"
    ... ]
    0.5
    """

    def misfit(self, output: OutputLoss, targets: np.ndarray) -> str:
        """Return why the metric cannot be computed from these targets; an empty string if it can."""
        why = answers_misfit(output, targets)
        if not why and Answers(output).several:
            return f"mutually exclusive classes, {got(output)} and {output.n_out} outputs: use 'recall_macro'"
        return why

    def for_output(self, output: OutputLoss) -> Computation:
        """Return how the metric is computed at a compatible output layer."""
        return partial(balanced_accuracy, Answers(output))


@ignore_float_errors
def balanced_accuracy(
    answers: Answers, outputs: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None
) -> float:
    """Return the mean recall of the classes that occur."""
    tally = Tally.of(answers, *counting(outputs, targets, sample_weight))
    each = fractions(tally.right, tally.true)[tally.true > 0]
    return float(each.sum() / len(each))
