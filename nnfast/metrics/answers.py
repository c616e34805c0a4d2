"""Outputs as answers: the class of each row, or for several binary outputs a yes or no each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnfast.losses import OutputLoss

NO_ANSWER = -1  # of an output that is NaN, or of a row of classes with NaN


class Answers:
    """How the outputs of a layer become answers, as in `Sequential.predict_class`.

    Parameters
    ----------
    output : OutputLoss
        Whose outputs are classes or binary.

    Attributes
    ----------
    several : bool
        Whether there are several binary outputs: one for each label, any number of which may be true for a row.
    classes : int
        The number of these labels or, if not `several`, of classes: two for one binary output.
    """

    def __init__(self, output: OutputLoss) -> None:
        self.largest = output.answers == "classes"  # the largest output is the answer
        self.several = not self.largest and output.n_out > 1
        self.classes = max(output.n_out, 2)
        # `answers` is a threshold of what the loss is computed from, this one of outputs
        self.threshold = output.function.threshold if output.fused else output.answers

    @property
    def binary(self) -> bool:
        """Whether a row is of one of two classes, of which class 1 is the positive one."""
        return self.classes == 2 and not self.several

    def true(self, targets: np.ndarray) -> np.ndarray:
        """Return the classes of rows as integers of shape (n,) or, if `several`, labels as booleans (n, classes)."""
        if self.largest:
            return targets if targets.ndim == 1 else targets.argmax(axis=1)
        return targets > 0.5 if self.several else (targets[:, 0] > 0.5).astype(np.int64)

    def predicted(self, outputs: np.ndarray) -> np.ndarray:
        """Return the answers in the form of `true`, all as integers, with NO_ANSWER where an output is NaN."""
        if self.largest:
            return np.where(np.isnan(outputs.max(axis=1)), NO_ANSWER, outputs.argmax(axis=1))
        answers = np.where(np.isnan(outputs), NO_ANSWER, outputs > self.threshold)
        return answers if self.several else answers[:, 0]


class Tally(NamedTuple):
    """The weights of rows, for each class or label.

    Attributes
    ----------
    right : ndarray of shape (classes,)
        Predicted as this class, and of it: true positives.
    predicted : ndarray of shape (classes,)
        Predicted as this class.
    true : ndarray of shape (classes,)
        Of this class.
    """

    right: np.ndarray
    predicted: np.ndarray
    true: np.ndarray

    @classmethod
    def of(cls, answers: Answers, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> Tally:
        """Count the rows that `counting` returns."""
        true, predicted, k = answers.true(targets), answers.predicted(outputs), answers.classes
        if answers.several:
            yes = predicted == 1
            # no matrix products, whose bits depend on the addresses of their operands
            return cls(*((weights[:, None] * which).sum(axis=0) for which in (yes & true, yes, true)))
        right = np.flatnonzero(true == predicted)
        return cls(
            np.bincount(true[right], weights[right], k),
            np.bincount(predicted - NO_ANSWER, weights, k + 1)[1:],
            np.bincount(true, weights, k),
        )

    def total(self) -> Tally:
        """Return the sums over classes, of shape (1,)."""
        return Tally(*(each.sum(keepdims=True) for each in self))
