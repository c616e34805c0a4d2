"""What a table model predicts: classes, numbers or quantiles, for its networks and for the user."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._validation import describe, ignore_float_errors
from nnfast.layers import Dense
from nnfast.losses import CrossEntropy, Loss, MeanSquaredError, Quantile

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

MAX_CLASSES = 10_000
SMALL = 1e-30  # a sum of products of probabilities in which the limit `TINY` may be seen
TINY = float(np.finfo(np.float32).tiny)  # the least probability whose logarithm is taken
DTYPES = {"b": bool, "i": np.int64, "u": np.uint64, "f": np.float64, "U": np.str_, "O": object}  # of labels in files


class Target(ABC):
    """What a table model predicts.

    Attributes
    ----------
    task : {"classification", "regression"}
    units : int
        The outputs of a network.
    score : str
        The metric that is reported first, as for `Sequential.evaluate`.
    """

    task: str
    units: int

    @abstractmethod
    def values(self, y: np.ndarray) -> np.ndarray:
        """Return targets as the networks take them."""

    @abstractmethod
    def output_layer(self) -> Dense:
        """Return the last layer of a network; its outputs are 0 or equal at first."""

    @abstractmethod
    def loss(self, label_smoothing: float) -> Loss:
        """Return the loss to train with."""

    @abstractmethod
    def logits(self, outputs: np.ndarray) -> np.ndarray:
        """Return what a network computed before its last activation, up to a constant for each row, as float64."""

    @abstractmethod
    def losses(self, logits: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the loss of each row."""

    @abstractmethod
    def added(self, outputs: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return the outputs for the sum of the logits of two networks, as float64."""

    @abstractmethod
    def response(self, outputs: np.ndarray) -> np.ndarray:
        """Return probabilities, or predictions in the unit of the target, given the networks' average outputs."""

    @abstractmethod
    def predicted(self, response: np.ndarray) -> np.ndarray:
        """Return the prediction for each row, given what `response` returned."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Return a description that JSON can hold."""


class Classes(Target):
    """Classes, of which a row has one.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        The labels, sorted; at least two.
    """

    task = "classification"

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = classes
        self.units = len(classes)
        if self.units < 2:
            raise ValueError(f"y must have at least two classes, got {self.units} class: {classes.tolist()}")
        if self.units > MAX_CLASSES:
            raise ValueError(
                f"y must have at most {MAX_CLASSES:,} classes, got {self.units:,}: numbers need task='regression'"
            )

    @classmethod
    def of(cls, y: np.ndarray) -> Classes:
        """Return the classes in a vector of labels."""
        try:
            return cls(np.unique(y))
        except TypeError:
            raise TypeError("y must have labels that can be sorted: all text, or all numbers") from None

    def values(self, y: np.ndarray) -> np.ndarray:
        codes = np.searchsorted(self.classes, y)
        return np.minimum(codes, self.units - 1)

    def output_layer(self) -> Dense:
        return Dense(self.units, activation="softmax", initializer=0.0)

    def loss(self, label_smoothing: float) -> Loss:
        return CrossEntropy(label_smoothing=label_smoothing)

    def logits(self, outputs: np.ndarray) -> np.ndarray:
        return logarithms(outputs)

    def losses(self, logits: np.ndarray, values: np.ndarray) -> np.ndarray:
        scaled = logits - logits.max(axis=1, keepdims=True)
        found: np.ndarray = np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(scaled)), values]
        return found

    def added(self, outputs: np.ndarray, others: np.ndarray) -> np.ndarray:
        # the softmax of a sum of logarithms is a product, divided by its sum
        product = np.multiply(outputs, others, dtype=np.float64)
        total = product.sum(axis=1, keepdims=True)
        if total.min(initial=1.0) < SMALL:  # TINY matters, as in `logits`
            product = np.maximum(outputs, TINY, dtype=np.float64) * np.maximum(others, TINY, dtype=np.float64)
            total = product.sum(axis=1, keepdims=True)
        product /= total
        return product

    def response(self, outputs: np.ndarray) -> np.ndarray:
        return outputs

    def predicted(self, response: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.classes[response.argmax(axis=1)]
        return found

    def config(self) -> dict[str, Any]:
        kind = self.classes.dtype.kind
        if kind not in DTYPES or not all(isinstance(label, (str, int, float)) for label in self.classes.tolist()):
            raise ValueError(f"a model with classes of dtype {self.classes.dtype} cannot be saved: use text or numbers")
        return {"task": self.task, "classes": self.classes.tolist(), "kind": kind}


class Numbers(Target):
    """A number, or quantiles of it.

    Parameters
    ----------
    mean, scale : float
        The networks are trained on ``(y - mean) / scale``.
    low, high : float
        The range of the predictions: the smallest and the largest target in training.
    quantiles : tuple of float
        Distinct numbers in (0, 1), increasing; if there are none, the mean is predicted.
    """

    task = "regression"

    def __init__(self, mean: float, scale: float, low: float, high: float, quantiles: Sequence[float] = ()) -> None:
        self.mean, self.scale, self.low, self.high = mean, scale, low, high
        self.quantiles = tuple(quantiles)
        self.units = len(self.quantiles) or 1

    @classmethod
    def of(cls, y: np.ndarray, quantiles: Sequence[float] = (), weights: np.ndarray | None = None) -> Numbers:
        """Return a target that is standardized by the average and the standard deviation of a vector."""
        low, high = float(y.min()), float(y.max())
        if not isfinite(high - low):
            raise ValueError(f"y must be of numbers whose differences are finite, got values from {low} to {high}")
        middle = low / 2 + high / 2  # so that squares of large numbers do not overflow
        width = max(high - middle, middle - low)
        scaled = (y - middle) / (width or 1.0)
        mean = float(np.average(scaled, weights=weights))
        deviation = float(np.sqrt(np.average((scaled - mean) ** 2, weights=weights)))
        return cls(middle + mean * width, deviation * width or 1.0, low, high, quantiles)

    def values(self, y: np.ndarray) -> np.ndarray:
        found: np.ndarray = ((y - self.mean) / self.scale).astype(np.float32)
        return found[:, np.newaxis]

    def output_layer(self) -> Dense:
        return Dense(self.units, initializer=0.0)

    def loss(self, label_smoothing: float) -> Loss:
        return Quantile(self.quantiles) if self.quantiles else MeanSquaredError()

    def logits(self, outputs: np.ndarray) -> np.ndarray:
        return outputs.astype(np.float64)

    def losses(self, logits: np.ndarray, values: np.ndarray) -> np.ndarray:
        error = values - logits
        if not self.quantiles:
            return error[:, 0] ** 2
        below = np.array(self.quantiles)
        found: np.ndarray = np.maximum(below * error, (below - 1) * error).sum(axis=1)
        return found

    def added(self, outputs: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.add(outputs, others, dtype=np.float64)

    @ignore_float_errors
    def response(self, outputs: np.ndarray) -> np.ndarray:
        numbers = np.clip(outputs * self.scale + self.mean, self.low, self.high)
        # sorted quantiles do not cross: Chernozhukov, Fernandez-Val, Galichon, "Quantile and probability curves without
        # crossing" (2010)
        return np.sort(numbers, axis=1) if self.quantiles else numbers

    def predicted(self, response: np.ndarray) -> np.ndarray:
        return response[:, self.quantiles.index(0.5) if self.quantiles else 0]

    def config(self) -> dict[str, Any]:
        return {
            "task": self.task, "mean": self.mean, "scale": self.scale, "low": self.low, "high": self.high,
            "quantiles": list(self.quantiles),
        }  # fmt: skip


def logarithms(probabilities: np.ndarray) -> np.ndarray:
    """Return the logarithms of probabilities as float64, none below that of `TINY`."""
    found: np.ndarray = np.log(np.maximum(probabilities, TINY, dtype=np.float64))
    return found


def check_quantiles(quantiles: ArrayLike | None) -> tuple[float, ...]:
    """Return quantiles in increasing order; none for None."""
    if quantiles is None:
        return ()
    found = tuple(sorted(Quantile(quantiles).quantiles))  # type: ignore[arg-type]  # which checks them
    if 0.5 not in found:
        raise ValueError(f"quantiles must contain 0.5, which predict returns, got {describe(quantiles)}")
    return found


def target_from(config: dict[str, Any]) -> Target:
    """Return the target that a file describes.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the description is damaged.
    """
    task = config["task"]
    if task == "classification":
        labels, kind = config["classes"], config["kind"]
        if (
            type(labels) is not list
            or kind not in DTYPES
            or not all(type(a) in (str, int, float, bool) for a in labels)
        ):
            raise ValueError("its classes must be a list of texts or numbers")
        classes: np.ndarray = np.array(labels, DTYPES[kind])
        if len(labels) > 1 and not (classes[1:] > classes[:-1]).all():
            raise ValueError("its classes must be different and sorted")
        return Classes(classes)
    if task != "regression":
        raise ValueError(f"its task must be 'classification' or 'regression', got {task!r}")
    numbers = [config[name] for name in ("mean", "scale", "low", "high")]
    if not all(type(number) is float and isfinite(number) for number in numbers) or numbers[1] <= 0:
        raise ValueError(f"the mean, scale and range of its target must be finite numbers, got {numbers!r}")
    quantiles = config["quantiles"]
    if type(quantiles) is not list:
        raise ValueError(f"its quantiles must be a list, got {quantiles!r}")
    mean, scale, low, high = numbers
    if low > high:
        raise ValueError(f"the range of its target must not be empty, got {low} to {high}")
    return Numbers(mean, scale, low, high, check_quantiles(quantiles or None))
