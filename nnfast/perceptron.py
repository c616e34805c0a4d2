"""The perceptron, its learning rule and the logic gates it can and cannot be.

A perceptron fires (1) where the weighted sum of its inputs plus a bias is greater than zero, and stays silent (0)
elsewhere. One of them draws one straight line, which is enough for AND, NAND and OR; XOR needs two of them stacked
under a third. Chapter 2 of Saito's "Deep Learning from Scratch".
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._validation import as_array, check_float, check_int, own_error_state

__all__ = ["AND", "NAND", "OR", "XOR", "ConvergenceWarning", "Perceptron"]

OVERFLOW = "the numbers overflow float64: bring the features of x to similar, small ranges"
BLOCK = 64  # rows judged together while learning: few enough that a mistake throws little work away
SECONDS = 60.0  # for the linear programme: with tens of thousands of rows and hundreds of features it may take hours


class ConvergenceWarning(UserWarning):
    """`Perceptron.fit` ended with rows still on the wrong side; the message says whether training longer can help."""


class Perceptron:
    """A neuron that fires where ``weights @ x + bias > 0``.

    Parameters
    ----------
    weights : array_like, shape (n_features,)
        How much each input counts. `Perceptron(np.zeros(n_features))` is an untrained one.
    bias : float
        How easily the neuron fires: the larger, the easier.

    Attributes
    ----------
    weights : ndarray of float64, shape (n_features,)
    bias : float
    mistakes_ : list of int
        After `fit`: the mistakes that were corrected in each epoch.
    converged_ : bool
        After `fit`: no row of the data is on the wrong side.
    linearly_separable_ : bool or None
        After `fit`: whether any weights and bias at all put each row on its right side; None if that stayed undecided.

    Raises
    ------
    TypeError
        If the weights or the bias are not real numbers.
    ValueError
        If they are not finite, or the weights are empty or have other than one dimension.

    Notes
    -----
    All is computed in float64. The model is Rosenblatt's ("The perceptron", Psychological Review 65, 1958), in the
    form of chapter 2 of Saito's "Deep Learning from Scratch": a sum of exactly zero does not fire.

    Examples
    --------
    >>> import numpy as np
    >>> from nnfast.perceptron import Perceptron
    >>> gate = Perceptron([0.5, 0.5], bias=-0.7)
    >>> gate(1, 1), gate(1, 0)
    (1, 0)
    >>> x = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> gate.predict(x)
    array([0, 0, 0, 1])
    >>> Perceptron(np.zeros(2)).fit(x, [0, 1, 1, 1]).predict(x)
    array([0, 1, 1, 1])
    """

    mistakes_: list[int]
    converged_: bool
    linearly_separable_: bool | None

    def __init__(self, weights: ArrayLike, bias: float = 0.0) -> None:
        self.weights = weights
        self.bias = bias

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights, an array of its own that may be written to; assigning copies."""
        return self._weights

    @weights.setter
    def weights(self, value: ArrayLike) -> None:
        self._check_writable()
        weights = as_array("weights", value, np.float64, ndim=1, finite=True)
        if not weights.size:
            raise ValueError("weights must hold at least one number, got none")
        self._weights = weights.copy()

    @property
    def bias(self) -> float:
        """The bias."""
        return self._bias

    @bias.setter
    def bias(self, value: float) -> None:
        self._check_writable()
        self._bias = check_float("bias", value)

    def _check_writable(self) -> None:
        if hasattr(self, "_bias") and not self._weights.flags.writeable:
            raise ValueError(f"the perceptron is read-only; make a perceptron of your own, such as {self!r}")

    def __copy__(self) -> Perceptron:
        """A copy has weights of its own, which may be changed even if these may not."""
        twin = type(self).__new__(type(self))
        vars(twin).update(vars(self), _weights=self._weights.copy())
        return twin

    def __repr__(self) -> str:
        """Show the call that makes this perceptron."""
        return f"Perceptron({self.weights.tolist()}, bias={self.bias})"

    def __call__(self, *inputs: ArrayLike) -> int | NDArray[np.int64]:
        """Return what `predict` returns, from one array or from the inputs one by one.

        Parameters
        ----------
        *inputs : array_like
            Either one array with the features in its last axis, or a number or array for each feature; these
            broadcast against each other as in any NumPy function.

        Raises
        ------
        ValueError
            If there are more or fewer inputs than weights, or their shapes do not broadcast.

        Examples
        --------
        >>> from nnfast.perceptron import AND
        >>> AND(1, 1), AND([1, 1])
        (1, 1)
        >>> AND([0, 0, 1, 1], [0, 1, 0, 1])
        array([0, 0, 0, 1])
        """
        if len(inputs) == 1 and np.ndim(inputs[0]) > 0:
            return self.predict(inputs[0])
        if len(inputs) != self.weights.size:
            raise ValueError(f"expected one array or {self.weights.size} inputs, got {len(inputs)}")
        arrays = [as_array(f"input {i}", value, np.float64, finite=True) for i, value in enumerate(inputs, 1)]
        try:
            arrays = list(np.broadcast_arrays(*arrays))
        except ValueError:
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise ValueError(f"input 1 to input {len(arrays)} must have shapes that broadcast, got {shapes}") from None
        return self.predict(np.stack(arrays, axis=-1))

    @own_error_state
    def decision_function(self, x: ArrayLike, /) -> float | NDArray[np.float64]:
        """Return the weighted sum of the inputs plus the bias: positive where the neuron fires.

        Parameters
        ----------
        x : array_like, shape (n_features,), (n, n_features) or (..., n_features)
            One sample or many.

        Returns
        -------
        float or ndarray of float64, shape (n,) or (...,)
            A float for one sample.

        Raises
        ------
        TypeError
            If `x` does not hold real numbers.
        ValueError
            If its last axis has another length than the weights, or a value is not finite.
        OverflowError
            If a weighted sum passes the range of float64.

        Examples
        --------
        >>> Perceptron([2.0, 1.0], bias=-1.0).decision_function([[1, 1], [0, 1]])
        array([2., 0.])
        """
        x = as_array("x", x, np.float64, finite=True)
        if x.ndim == 0 or x.shape[-1] != self.weights.size:
            raise ValueError(f"x must have {self.weights.size} feature(s) in its last axis, got shape {x.shape}")
        scores = _scores(x, self.weights, self.bias)
        if not np.isfinite(scores).all():
            raise OverflowError(OVERFLOW)
        return scores if x.ndim > 1 else float(scores)

    def predict(self, x: ArrayLike, /) -> int | NDArray[np.int64]:
        """Return 1 where the neuron fires and 0 where it does not.

        Parameters
        ----------
        x : array_like, shape (n_features,), (n, n_features) or (..., n_features)
            One sample or many.

        Returns
        -------
        int or ndarray of int64, shape (n,) or (...,)
            An int for one sample.

        Raises
        ------
        TypeError
            If `x` does not hold real numbers.
        ValueError
            If its last axis has another length than the weights, or a value is not finite.
        OverflowError
            If a weighted sum passes the range of float64.

        Examples
        --------
        >>> Perceptron([2.0, 1.0], bias=-1.0).predict([[1, 1], [0, 1]])
        array([1, 0])
        """
        scores = self.decision_function(x)
        return int(scores > 0) if isinstance(scores, float) else (scores > 0).astype(np.int64)

    def fit(self, x: ArrayLike, y: ArrayLike, /, *, learning_rate: float = 1.0, epochs: int = 1000) -> Perceptron:
        """Learn from data with the perceptron learning rule, going on from the present weights and bias.

        The rows are visited in the order given, again and again, and each that is on the wrong side moves the line:
        ``weights += learning_rate * (y - predicted) * x`` and ``bias += learning_rate * (y - predicted)``. Learning
        ends after an epoch without a mistake. If there is none within `epochs`, a linear programme decides whether
        the data is not linearly separable or only not learned yet, and a warning says which.

        Parameters
        ----------
        x : array_like, shape (n, n_features)
            The samples.
        y : array_like, shape (n,)
            Their labels, 0 or 1 (or booleans).
        learning_rate : float
            The length of a correction. From zero weights and bias it only scales the result.
        epochs : int
            The most passes over the data.

        Returns
        -------
        Perceptron
            The perceptron itself, with `mistakes_`, `converged_` and `linearly_separable_` set.

        Raises
        ------
        TypeError
            If an argument does not hold real numbers.
        ValueError
            If shapes do not fit, `x` is empty or not finite, a label is other than 0 and 1, a hyperparameter is out of
            range, or the weights are read-only, as those of the gates in this module are.
        OverflowError
            If a number passes the range of float64. Whatever is raised, the perceptron is as it was.

        Warns
        -----
        ConvergenceWarning
            If rows are still on the wrong side after the last epoch.

        Notes
        -----
        From zero weights and bias there are at most ``(R / gap) ** 2`` mistakes, whatever the order of the rows: R is
        the length of the longest vector (x, 1), and the gap is the largest distance that a plane through the origin can
        keep from all these vectors with the two classes on its two sides (Novikoff, "On convergence proofs on
        perceptrons", 1962). So a narrow gap, or features of very different ranges, make learning slow.

        The linear programme works on centred and scaled features. It sees a gap wider than about 1e-9 of the spread of
        the data; a narrower one counts as none. It gives up after a minute, which takes thousands of rows with hundreds
        of features.

        Examples
        --------
        >>> import numpy as np
        >>> nand = Perceptron(np.zeros(2)).fit([[0, 0], [0, 1], [1, 0], [1, 1]], [1, 1, 1, 0])
        >>> nand.converged_, nand.mistakes_
        (True, [2, 3, 3, 2, 1, 0])
        """
        x = as_array("x", x, np.float64, shape=(None, self.weights.size), finite=True)
        if not len(x):
            raise ValueError("x must hold at least one row, got none")
        fires = _as_fires(y, len(x))
        learning_rate = check_float("learning_rate", learning_rate, 0, open_ends=True)
        epochs = check_int("epochs", epochs, 1)
        self._check_writable()

        weights, bias, mistakes = self.weights.copy(), np.float64(self.bias), []
        try:
            with np.errstate(all="ignore", over="raise", invalid="raise"):
                for _ in range(epochs):
                    bias, wrong = _epoch(weights, bias, x, fires, learning_rate)
                    mistakes.append(wrong)
                    if not wrong:
                        break
                n_wrong = int(np.count_nonzero((_scores(x, weights, bias) > 0) != fires))
            separable = _linearly_separable(x, fires) if n_wrong else True
        except FloatingPointError:
            raise OverflowError(OVERFLOW) from None

        self._weights, self._bias, self.mistakes_ = weights, float(bias), mistakes
        self.converged_, self.linearly_separable_ = not n_wrong, separable
        if n_wrong:
            wrong_rows = f"after {epochs} epoch(s) {n_wrong} of {len(x)} rows are on the wrong side"
            warnings.warn(f"{_VERDICTS[separable]}; {wrong_rows}", ConvergenceWarning, stacklevel=2)
        return self


_VERDICTS = {
    False: "the data is not linearly separable: no weights and bias put each row on its right side",
    True: "not learned yet, though the data is linearly separable: fit again to go on, with more epochs or with "
    "features of similar ranges",
    None: "not learned, and the linear programme could not decide whether the data is linearly separable",
}


def _scores(x: NDArray[np.float64], weights: NDArray[np.float64], bias: float) -> Any:
    # One dot product for each row, so that a row scores the same bits alone, in a batch and while learning.
    return np.vecdot(x, weights) + bias


def _as_fires(y: ArrayLike, n: int) -> NDArray[np.bool_]:
    """Return the labels as booleans."""
    labels = as_array("y", y, np.float64, shape=(n,))
    others = np.flatnonzero((labels != 0) & (labels != 1))
    if others.size:
        raise ValueError(f"y must hold the labels 0 and 1, got {labels[others[0]]:g} at index {others[0]}")
    fires: NDArray[np.bool_] = labels == 1
    return fires


def _epoch(
    weights: NDArray[np.float64],
    bias: np.float64,
    x: NDArray[np.float64],
    fires: NDArray[np.bool_],
    learning_rate: float,
) -> tuple[np.float64, int]:
    """Visit each row once; correct `weights` in place at each mistake. Return the bias and the number of mistakes.

    The weights do not change between two mistakes, so the rows there are judged together: the result is that of
    visiting them one by one.
    """
    start = mistakes = 0
    while start < len(x):
        block = slice(start, start + BLOCK)
        wrong = np.flatnonzero((_scores(x[block], weights, bias) > 0) != fires[block])
        if not wrong.size:
            start += BLOCK
            continue
        row = start + int(wrong[0])
        step = learning_rate if fires[row] else -learning_rate
        weights += step * x[row]
        bias += step
        mistakes += 1
        start = row + 1
    return bias, mistakes


@own_error_state
def _linearly_separable(x: NDArray[np.float64], fires: NDArray[np.bool_]) -> bool | None:
    """Tell whether some line has all rows that fire strictly on one side and the others on the other; None if unknown.

    That is so if and only if weights and a bias exist with ``sign * (x @ weights + bias) >= 1`` for each row, since
    weights that separate at all may be made as long as it takes. Whether they exist, a linear programme without an
    objective decides. Neither scaling or moving a feature nor scaling a row changes the answer; both are done so that
    the tolerances of the solver are relative to the data.
    """
    from scipy.optimize import linprog

    x = x[:, (x != x[0]).any(axis=0)]  # a constant feature says nothing, and has no scale
    with np.errstate(all="ignore", over="raise"):
        x = x - np.median(x, axis=0)
        # The median, not the largest: one far outlier must not squeeze all other rows into one point.
        x /= np.nanmedian(np.where(x == 0, np.nan, np.abs(x)), axis=0)
    rows = np.column_stack([x, np.ones(len(x))])
    rows *= np.where(fires, 1.0, -1.0)[:, None] / np.abs(rows).max(axis=1, keepdims=True)
    result = linprog(
        np.zeros(rows.shape[1]),
        A_ub=-rows,
        b_ub=-np.ones(len(rows)),
        bounds=(None, None),
        method="highs-ds",
        options={"time_limit": SECONDS},
    )
    infeasible = 2
    if result.status == infeasible:
        return False
    return True if result.x is not None and (rows @ result.x > 0).all() else None


def _gate(weights: ArrayLike, bias: float) -> Perceptron:
    gate = Perceptron(weights, bias)
    gate.weights.flags.writeable = False  # a gate that somebody changes would be another gate for everybody
    return gate


AND = _gate([0.5, 0.5], -0.7)
NAND = _gate([-0.5, -0.5], 0.7)
OR = _gate([0.5, 0.5], -0.2)


def XOR(*inputs: ArrayLike) -> int | NDArray[np.int64]:
    """Return 1 where exactly one of two inputs is 1: ``AND(NAND(x1, x2), OR(x1, x2))``.

    No single line parts the ones of XOR from its zeros. Two lines do: the first layer draws them, NAND and OR, and the
    second takes what lies between them, AND.

    Parameters
    ----------
    *inputs : array_like
        `x1` and `x2`, or one array with both in its last axis, as for the other gates.

    Returns
    -------
    int or ndarray of int64
        An int for one pair.

    Raises
    ------
    ValueError
        If there are more or fewer than two inputs, or their shapes do not broadcast.

    Examples
    --------
    >>> from nnfast.perceptron import XOR
    >>> XOR(0, 1), XOR(1, 1)
    (1, 0)
    >>> XOR([[0, 0], [0, 1], [1, 0], [1, 1]])
    array([0, 1, 1, 0])
    """
    return AND(NAND(*inputs), OR(*inputs))
