"""The perceptron, its learning rule and the logic gates it can and cannot represent.

A perceptron fires (1) where the weighted sum of its inputs plus a bias is greater than zero, and does not fire (0)
elsewhere. A single perceptron draws one straight line, which is enough for AND, NAND and OR; XOR needs two whose
outputs feed a third. See chapter 2 of Saito's "Deep Learning from Scratch".
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nnfast._validation import as_array, check_float, check_int, ignore_float_errors
from nnfast.kernels import arrays

__all__ = ["AND", "NAND", "OR", "XOR", "ConvergenceWarning", "Perceptron"]

SECONDS = 60.0  # limit of the linear program: with tens of thousands of rows and hundreds of features it may take hours


class ConvergenceWarning(UserWarning):
    """`Perceptron.fit` ended with rows still on the wrong side; the message says whether training longer can help."""


class Perceptron:
    """A neuron that fires where ``weights @ x + bias > 0``.

    Parameters
    ----------
    weights : array_like, shape (n_features,)
        How much each input counts. `Perceptron(np.zeros(n_features))` is untrained.
    bias : float
        How easily the neuron fires: the larger, the easier.

    Attributes
    ----------
    weights : ndarray of float64, shape (n_features,)
    bias : float
    mistakes_ : list of int
        After `fit`: the number of mistakes corrected in each epoch.
    converged_ : bool
        After `fit`: whether no row of the data is on the wrong side.
    linearly_separable_ : bool or None
        After `fit`: whether any weights and bias put each row on the correct side; None if not determined.

    Raises
    ------
    TypeError
        If the weights or the bias are not real numbers.
    ValueError
        If they are not finite, or the weights are empty or not one-dimensional.

    Notes
    -----
    Computations are in float64. The model is Rosenblatt's ("The perceptron", Psychological Review 65, 1958), in the
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
        """The weights: an array that may be changed in place. An array that is assigned is copied."""
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
            raise ValueError(f"the perceptron is read-only; create your own, such as {self!r}")

    def __copy__(self) -> Perceptron:
        """Return a copy with its own weights, which are writable even if these are not."""
        twin = type(self).__new__(type(self))
        vars(twin).update(vars(self), _weights=self._weights.copy())
        return twin

    def __repr__(self) -> str:
        """Show the call that makes this perceptron."""
        return f"Perceptron({self.weights.tolist()}, bias={self.bias})"

    def __call__(self, *inputs: ArrayLike) -> int | NDArray[np.int64]:
        """Return what `predict` returns, given one array or each input separately.

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
            If the length of its last axis is not that of the weights, or a value is not finite.
        OverflowError
            If a weighted sum exceeds the range of float64.

        Examples
        --------
        >>> Perceptron([2.0, 1.0], bias=-1.0).decision_function([[1, 1], [0, 1]])
        array([2., 0.])
        """
        x = as_array("x", x, np.float64, finite=True)
        if x.ndim == 0 or x.shape[-1] != self.weights.size:
            raise ValueError(f"x must have {self.weights.size} feature(s) in its last axis, got shape {x.shape}")
        rows = Rows("x", x.reshape(-1, self.weights.size), x.dtype)
        scores = rows.scores(self.weights[None], np.array([self.bias])).reshape(x.shape[:-1])
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
            If the length of its last axis is not that of the weights, or a value is not finite.
        OverflowError
            If a weighted sum exceeds the range of float64.

        Examples
        --------
        >>> Perceptron([2.0, 1.0], bias=-1.0).predict([[1, 1], [0, 1]])
        array([1, 0])
        """
        scores = self.decision_function(x)
        return int(scores > 0) if isinstance(scores, float) else (scores > 0).astype(np.int64)

    def fit(self, x: ArrayLike, y: ArrayLike, /, *, learning_rate: float = 1.0, epochs: int = 1000) -> Perceptron:
        """Learn from data with the perceptron learning rule, starting from the current weights and bias.

        The rows are visited repeatedly in the given order, and each row on the wrong side moves the line:
        ``weights += learning_rate * (y - predicted) * x`` and ``bias += learning_rate * (y - predicted)``. Learning
        ends after an epoch without a mistake. If there is no such epoch within `epochs`, a linear program determines
        whether the data is not linearly separable or just not learned yet, and a warning says which.

        Parameters
        ----------
        x : array_like, shape (n, n_features)
            The samples.
        y : array_like, shape (n,)
            Their labels, 0 or 1 (or booleans).
        learning_rate : float
            The size of a correction. Starting from zero weights and bias, it only scales the result.
        epochs : int
            The maximum number of passes over the data.

        Returns
        -------
        Perceptron
            The perceptron itself, with `mistakes_`, `converged_` and `linearly_separable_` set.

        Raises
        ------
        TypeError
            If an argument does not hold real numbers.
        ValueError
            If shapes do not match, `x` is empty or not finite, a label is neither 0 nor 1, a hyperparameter is out of
            range, or the weights are read-only, like those of the gates in this module.
        OverflowError
            If a number exceeds the range of float64. Whatever is raised, the perceptron is unchanged.

        Warns
        -----
        ConvergenceWarning
            If rows are still on the wrong side after the last epoch.

        Notes
        -----
        Starting from zero weights and bias, there are at most ``(R / gap) ** 2`` mistakes, whatever the order of the
        rows: R is the length of the longest vector (x, 1), and the gap is the largest distance to all these vectors
        that a plane through the origin can have with the two classes on opposite sides (Novikoff, "On convergence
        proofs on perceptrons", 1962). So a narrow gap, or features of very different ranges, make learning slow.

        The linear program works on centred and scaled features. It detects a gap wider than about 1e-9 of the spread of
        the data; a narrower one counts as none. It gives up after a minute, which only happens with thousands of rows
        and hundreds of features.

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

        rows, planes = Rows("x", x, x.dtype), np.zeros(1, np.int64)
        labels = (~fires).astype(np.int64)  # 0 for the rows of plane 0, which is the only one
        rates = np.array([[learning_rate, learning_rate]])
        weights, bias, mistakes = self.weights[None].copy(), np.array([self.bias]), []
        for _ in range(epochs):
            mistakes.append(int(rows.epoch(labels, weights, bias, rates, planes)[0]))
            if not mistakes[-1]:
                break
        n_wrong = np.count_nonzero((rows.scores(weights, bias)[:, 0] > 0) != fires)
        separable = linearly_separable("x", x, fires) if n_wrong else True

        self._weights, self._bias, self.mistakes_ = weights[0], float(bias[0]), mistakes
        self.converged_, self.linearly_separable_ = not n_wrong, separable
        if n_wrong:
            where = f"after {epochs} epoch(s), {n_wrong} of {len(x)} rows are on the wrong side"
            warnings.warn(f"{VERDICTS[separable]}; {where}", ConvergenceWarning, stacklevel=2)
        return self


VERDICTS = {
    False: "the data is not linearly separable: no weights and bias put each row on the correct side",
    True: "not learned yet, although the data is linearly separable: call fit again to continue, with more epochs or "
    "with features of similar ranges",
    None: "not learned, and the linear program could not determine whether the data is linearly separable",
}


class Rows:
    """The samples of a perceptron, or of several, which are then called planes.

    Parameters
    ----------
    name : str
        What messages call the samples.
    x : ndarray, shape (n, n_features), or CompressedRows
        C-contiguous and finite.
    dtype : dtype
        That of `x`, and of all weights and biases.
    """

    def __init__(self, name: str, x: NDArray[Any] | arrays.CompressedRows, dtype: Any) -> None:
        self.name = name
        self.x = x
        self.dtype = dtype

    def scores(self, weights: NDArray[Any], bias: NDArray[Any]) -> NDArray[Any]:
        """Return the weighted sums of each row plus the biases, of shape (n, n_planes).

        `weights` has the shape (n_planes, n_features), and `bias` (n_planes,). A row has the same bits alone, in a
        batch and while learning. OverflowError if a sum is not finite.
        """
        scores = arrays.perceptron_scores(self.x, weights, bias)
        if not np.isfinite(scores).all():
            raise overflow(self.name, self.dtype)
        return scores

    def epoch(
        self,
        labels: NDArray[np.int64],
        weights: NDArray[Any],
        bias: NDArray[Any],
        rates: NDArray[np.float64],
        planes: NDArray[np.int64],
        order: NDArray[np.int64] | None = None,
        row_weights: NDArray[np.float64] | None = None,
        *,
        fit_bias: bool = True,
    ) -> NDArray[np.int64]:
        """Visit the rows and correct each mistake: the perceptron learning rule.

        Parameters
        ----------
        labels : ndarray of int64, shape (n,)
            Plane k should be positive for the rows of label k alone; a score of exactly zero is not.
        weights : ndarray, shape (n_planes, n_features)
            Corrected in place, like `bias`; undefined after an error.
        bias : ndarray, shape (n_planes,)
        rates : ndarray of float64, shape (n_planes, 2)
            The learning rates of each plane: for rows of other labels, and for those of its own.
        planes : ndarray of int64
            The planes to visit.
        order : ndarray of int64, optional
            The rows to visit, in this order; all by default.
        row_weights : ndarray of float64, shape (n,), optional
            Factors of the learning rates.
        fit_bias : bool
            Whether to correct the biases as well.

        Returns
        -------
        ndarray of int64
            The number of mistakes of each of `planes`.

        Raises
        ------
        OverflowError
            If a number exceeds the range of the dtype.
        """
        try:
            return arrays.perceptron_epoch(
                self.x, labels, weights, bias, rates, planes, order, row_weights, fit_bias=fit_bias
            )
        except FloatingPointError:
            raise overflow(self.name, self.dtype) from None


def overflow(name: str, dtype: Any) -> OverflowError:
    """Return the error about numbers that exceed the range of a dtype; `name` is that of the samples."""
    return OverflowError(f"the numbers overflow {dtype}: scale the features of {name} to similar, small ranges")


def _as_fires(y: ArrayLike, n: int) -> NDArray[np.bool_]:
    """Return the labels as booleans."""
    labels = as_array("y", y, np.float64, shape=(n,))
    others = np.flatnonzero((labels != 0) & (labels != 1))
    if others.size:
        raise ValueError(f"y must hold the labels 0 and 1, got {labels[others[0]]:g} at index {others[0]}")
    fires: NDArray[np.bool_] = labels == 1
    return fires


@ignore_float_errors
def linearly_separable(name: str, x: NDArray[np.float64], fires: NDArray[np.bool_]) -> bool | None:
    """Return whether some line strictly separates the rows that fire from the others; None if unknown.

    This is so if and only if weights and a bias exist with ``sign * (x @ weights + bias) >= 1`` for each row, since
    separating weights may be scaled to any length. A linear program without an objective determines whether they exist.
    Neither scaling or shifting a feature nor scaling a row changes the answer; both are done so that the tolerances of
    the solver are relative to the data. OverflowError, with the `name` of the samples, if these exceed float64.
    """
    from scipy.optimize import linprog

    x = x[:, (x != x[0]).any(axis=0)]  # a constant feature carries no information, and has no scale
    try:
        with np.errstate(over="raise"):
            x = x - np.median(x, axis=0)
            # The median, not the maximum: one far outlier must not squeeze all other rows into one point.
            x /= np.nanmedian(np.where(x == 0, np.nan, np.abs(x)), axis=0)
    except FloatingPointError:
        raise overflow(name, x.dtype) from None
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
    gate.weights.flags.writeable = False  # changing a gate would change it everywhere
    return gate


AND = _gate([0.5, 0.5], -0.7)
NAND = _gate([-0.5, -0.5], 0.7)
OR = _gate([0.5, 0.5], -0.2)


def XOR(*inputs: ArrayLike) -> int | NDArray[np.int64]:
    """Return 1 where exactly one of two inputs is 1: ``AND(NAND(x1, x2), OR(x1, x2))``.

    No single line separates the ones of XOR from its zeros, but two lines do: the first layer (NAND and OR) draws them,
    and the second (AND) selects the region between them.

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
