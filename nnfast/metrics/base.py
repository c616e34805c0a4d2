"""What a metric is: a name, a direction, and how it is computed at an output layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np

from nnfast._description import Description
from nnfast._validation import describe
from nnfast.losses import OutputLoss

DIRECTIONS = ("higher", "lower")

# From the outputs, the targets and the weights of rows or None: a number or, for a metric by class, one for each.
Computation = Callable[[np.ndarray, np.ndarray, "np.ndarray | None"], Any]


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
    whole data sets: in `Sequential.evaluate`, for the validation data of `Sequential.fit` and, at the end of each epoch
    of training, from the outputs that the mini-batches had before their updates.

    For a function of targets and outputs, see `FunctionMetric`.

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
        raise NotImplementedError(f"{type(self).__name__} is computed at an output layer, by Sequential.evaluate")

    def __setattr__(self, name: str, value: object) -> None:
        if self.has_own_compute:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def has_own_compute(self) -> bool:
        """Whether a subclass defines `compute`, which then takes precedence."""
        return type(self).compute is not Metric.compute

    def scoring(self, output: OutputLoss) -> Scoring | None:
        """Return the metric for a compatible output layer in the engine's format; None if the engine has none."""
        return None

    @classmethod
    def named(cls, end: str) -> Metric | None:
        """Return the metric whose name is that of the class in the registry followed by `end`, or None."""
        return None if end else cls()

    def for_output(self, output: OutputLoss) -> Computation:
        """Return how the metric is computed at a compatible output layer, if the engine does not compute it."""
        return self.compute

    def names(self, output: OutputLoss) -> tuple[str, ...]:
        """Return the names of what is computed at a compatible output layer: usually one, by class several."""
        return (self.name,)

    @property
    def takes_weights(self) -> bool:
        """Whether rows may have weights."""
        return True

    def misfit(self, output: OutputLoss, targets: np.ndarray) -> str:
        """Return why the metric cannot be computed from these targets, as `OutputLoss.targets` returns them.

        An empty string if it can.
        """
        return ""

    def check(self, output: OutputLoss, targets: np.ndarray, *, weighted: bool = False) -> None:
        """Raise ValueError if the metric cannot be computed; the message gives what is needed and what was given."""
        why = (not self.has_own_compute and output.misfit(targets)) or self.misfit(output, targets)
        if why:
            raise ValueError(f"metric {self.name!r} needs {why}")
        if weighted and not self.takes_weights:
            raise ValueError(
                f"metric {self.name!r} cannot weight rows, but they have weights, from sample_weight or class_weight: "
                "define the function with a parameter sample_weight"
            )


def got(output: OutputLoss) -> str:
    """Return what the output layer is, for the end of a message."""
    return f"got activation {output.activation!r} with loss {output.name!r}"


def without_answers(output: OutputLoss, targets: np.ndarray) -> str:
    """Return why binary outputs cannot be compared with the targets; an empty string if they can."""
    if output.answers is None:
        return f"an output layer with sigmoid or step, or loss 'hinge', {got(output)}"
    if output.answers == 0.5 and not bool(((targets == 0) | (targets == 1)).all()):
        return f"targets of 0 and 1 with loss {output.name!r}, got other values in y"
    return ""


def without_classes(output: OutputLoss, targets: np.ndarray) -> str:
    """Return why the largest output cannot be compared with the target's class; an empty string if it can."""
    if output.answers != "classes":
        return f"mutually exclusive classes, as from an output layer with softmax, {got(output)}"
    if output.function.logarithms and not output.fused and targets.ndim > 1:  # the targets are logarithms
        return f"labels, or rows of probabilities, and so a loss such as 'cross_entropy', {got(output)}"
    return ""


def answers_misfit(output: OutputLoss, targets: np.ndarray) -> str:
    """Return why outputs cannot be right or wrong about the targets; an empty string if they can."""
    if output.answers is None:
        return f"an output layer with softmax, sigmoid or step, or loss 'hinge', {got(output)}"
    return without_classes(output, targets) if output.answers == "classes" else without_answers(output, targets)


def as_number(what: str, value: Any) -> float:
    """Return what a function returned as a float; TypeError if it is not a real number."""
    if not isinstance(value, (int, float, np.number, np.bool_, np.ndarray)) or np.asarray(value).ndim:
        raise TypeError(f"{what} must return a number, got {describe(value)}")
    if np.asarray(value).dtype.kind not in "iufb":
        raise TypeError(f"{what} must return a real number, got {describe(value)}")
    return float(value)


MetricLike = str | Metric | Callable[..., Any]  # what a metric is given as
