"""The perceptron of chapter 2 of Saito's "Deep Learning from Scratch", as a classifier of scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, unique_labels
from sklearn.utils.validation import check_is_fitted

from nnfast._validation import (
    as_array,
    as_weights,
    check_axes,
    check_holds,
    check_positive,
    ignore_float_errors,
    shown,
    warn,
)
from nnfast.kernels.arrays import CompressedRows, shuffle
from nnfast.perceptron import VERDICTS, Rows, linearly_separable
from nnfast.sklearn._versions import (
    Interval,
    StrOptions,
    Tags,
    check_partial_fit_first_call,
    fit_context,
    validate_data,
)
from nnfast.sklearn.common import DTYPES, as_rows, refuse_balanced, unchanged_on_error

__all__ = ["Perceptron"]

RATE = "eta0, multiplied by the weights of classes and samples,"
SHOWN = 5  # maximum number of classes in a message
REMEDIES: dict[Any, str] = VERDICTS | {
    True: "not learned yet, although the data is linearly separable: increase max_iter, or give the features similar "
    "ranges",
    "not asked": "not learned: increase max_iter, or give the features similar ranges, as StandardScaler does; "
    "check_separability=True determines whether the data is linearly separable at all",
}


class Perceptron(Tags, ClassifierMixin, BaseEstimator):
    """Linear classifier with the perceptron learning rule.

    The rows are visited one by one, and each row on the wrong side of the plane moves it:
    ``coef_ += eta0 * (y - predicted) * x`` and ``intercept_ += eta0 * (y - predicted)``, where `y` and `predicted` are
    1 for the positive class and 0 for the other. Learning ends after an epoch without a mistake. With more than two
    classes there is a plane for each, which separates it from all others.

    Parameters
    ----------
    fit_intercept : bool, default=True
        Whether to learn the intercept. If False, it stays as it is: zero, or `intercept_init`.
    max_iter : int, default=1000
        The maximum number of epochs, that is, of passes over the data, in `fit`.
    shuffle : bool, default=True
        Whether to visit the rows in a new random order in each epoch. If False, they are visited in the given order.
    eta0 : float, default=1.0
        The learning rate: the size of a correction. If all weights start from zero, it only scales the result.
    random_state : int, RandomState instance or None, default=0
        Determines the random order of the rows.
    class_weight : dict, "balanced" or None, default=None
        Positive factors of `eta0`, ``{label: factor}``; a class that is missing has the factor 1. With more than
        two classes, a factor applies to the rows of the class where its own plane is learned. "balanced" stands for
        ``n_samples / (n_classes * np.bincount(y))``.
    warm_start : bool, default=False
        Whether `fit` continues from the weights of the previous call.
    check_separability : bool, default=False
        Whether to determine by a linear program, if learning has not converged, if the data is linearly separable. With
        thousands of rows and hundreds of features this may take up to a minute for each plane.

    Attributes
    ----------
    classes_ : ndarray, shape (n_classes,)
        The labels, sorted. Of two classes, the second is the positive one.
    coef_ : ndarray, shape (1, n_features) for two classes, otherwise (n_classes, n_features)
        The weights, of the dtype of the samples.
    intercept_ : ndarray, shape (1,) or (n_classes,)
        The biases.
    n_iter_ : int
        The number of epochs of the last call; 1 after `partial_fit`.
    t_ : int
        1 plus the number of rows visited since the last call of `fit`, counting each row once in an epoch.
    mistakes_ : list of int
        The number of corrections in each epoch since the last call of `fit`, of all planes together.
    converged_ : bool
        Whether no row of the last call's data is on the wrong side of a plane.
    linearly_separable_ : bool or None
        Whether planes exist that have all rows of the last call's data on the correct side; None if not determined. It
        is True if learning has converged, and otherwise determined by `fit` if `check_separability` is true.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        The names of the features, if `X` has names that are all strings.

    See Also
    --------
    nnfast.perceptron.Perceptron : The same rule for a single neuron without scikit-learn.
    sklearn.linear_model.Perceptron : Stochastic gradient descent with the loss of the perceptron.

    Notes
    -----
    The rule is that of chapter 2 of Saito's "Deep Learning from Scratch" and of Rosenblatt ("The perceptron",
    Psychological Review 65, 1958). What distinguishes it from `sklearn.linear_model.Perceptron`:

    - A sum of exactly zero counts as the negative class, as it does in `predict`. scikit-learn counts it as wrong for
      either class, so it also corrects rows of the negative class with a sum of zero: the first row, for example.
    - Learning ends after an epoch without a mistake, and only then; there is no `tol`, early stopping or penalty.
    - The intercept of sparse data is learned at the same rate as that of dense data, not at a hundredth of it.
    - The same seed of `random_state` leads to another order of the rows.

    Without zero sums, and with ``shuffle=False`` and dense float64 data, both have the same weights after the same
    number of epochs, up to rounding. scikit-learn with ``tol=None`` goes on until `max_iter`.

    Weights of samples and classes are factors of the learning rate. So a row of weight 2 is corrected twice as much as
    another, which is not the same as having it in the data twice; a row of weight 0 is the same as none. If the data is
    linearly separable, learning converges with any positive weights.

    float32 samples are computed in float32, all others in float64. Sparse samples are never converted to dense ones;
    their sums are added in another order, so they may differ from those of dense samples in the last bits.

    Examples
    --------
    >>> from nnfast.sklearn import Perceptron
    >>> X = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> classifier = Perceptron(shuffle=False).fit(X, ["no", "no", "no", "yes"])
    >>> classifier.predict([[1, 1], [0, 1]])
    array(['yes', 'no'], dtype='<U3')
    >>> classifier.coef_, classifier.intercept_
    (array([[2., 1.]]), array([-2.]))
    >>> classifier.mistakes_
    [1, 3, 3, 2, 1, 0]
    """

    own_tags = {"input_tags.sparse": True}  # noqa: RUF012
    _parameter_constraints: dict[str, list[Any]] = {  # noqa: RUF012
        "fit_intercept": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "eta0": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "warm_start": ["boolean"],
        "check_separability": ["boolean"],
    }

    classes_: NDArray[Any]
    coef_: NDArray[Any]
    intercept_: NDArray[Any]
    n_iter_: int
    t_: int
    mistakes_: list[int]
    converged_: bool
    linearly_separable_: bool | None
    n_features_in_: int
    feature_names_in_: NDArray[Any]

    def __init__(
        self,
        *,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        shuffle: bool = True,
        eta0: float = 1.0,
        random_state: int | np.random.RandomState | None = 0,
        class_weight: dict[Any, float] | str | None = None,
        warm_start: bool = False,
        check_separability: bool = False,
    ) -> None:
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.eta0 = eta0
        self.random_state = random_state
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.check_separability = check_separability

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        coef_init: ArrayLike | None = None,
        intercept_init: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Perceptron:
        """Learn until an epoch without a mistake, for at most `max_iter` epochs.

        Parameters
        ----------
        X : {array-like, sparse matrix}, shape (n_samples, n_features)
            The samples. CSC matrices are converted to CSR.
        y : array-like, shape (n_samples,)
            Their labels, of two or more classes.
        coef_init : array-like, shape (n_features,), (1, n_features) or (n_classes, n_features), optional
            The weights to start from, instead of zero.
        intercept_init : array-like, shape (), (1,) or (n_classes,), optional
            The intercepts to start from, instead of zero.
        sample_weight : array-like, shape (n_samples,), optional
            Factors of the learning rate. A row of weight zero contributes nothing.

        Returns
        -------
        Perceptron
            The estimator itself.

        Raises
        ------
        ValueError
            If an argument or a parameter is out of range or does not fit the others, or there is only one class.
        TypeError
            If weights do not hold real numbers.
        OverflowError
            If a number exceeds the range of the dtype. Whatever is raised, the estimator is unchanged.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If rows are still on the wrong side after the last epoch.
        """
        with unchanged_on_error(self):
            again = self.warm_start and hasattr(self, "coef_")
            X, y = self._read(X, y, dtype=DTYPES, reset=not again)
            check_classification_targets(y)
            classes = np.unique(y)
            if again and not np.array_equal(classes, self.classes_):
                raise ValueError(
                    f"warm_start=True continues with the classes {_listed(self.classes_)}, got {_listed(classes)} in y"
                )
            self.classes_ = classes
            self._start(X.dtype, coef_init, intercept_init, again)
            message = self._learn(X, y, sample_weight, self.max_iter, self.check_separability)
        if message:
            warn(message, ConvergenceWarning)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Perceptron:
        """Learn for one epoch, from the current weights.

        Parameters
        ----------
        X : {array-like, sparse matrix}, shape (n_samples, n_features)
            The samples. They are computed in the dtype of those of the first call.
        y : array-like, shape (n_samples,)
            Their labels, not necessarily of all classes.
        classes : array-like, shape (n_classes,), optional
            All labels that will ever come. Needed in the first call, and may be left out later.
        sample_weight : array-like, shape (n_samples,), optional
            Factors of the learning rate. A row of weight zero contributes nothing.

        Returns
        -------
        Perceptron
            The estimator itself.

        Raises
        ------
        ValueError
            If an argument or a parameter is out of range or does not fit the others or the previous calls, such as a
            label that is not among the classes.
        TypeError
            If weights do not hold real numbers.
        OverflowError
            If a number exceeds the range of the dtype. Whatever is raised, the estimator is unchanged.
        """
        refuse_balanced(self.class_weight)
        with unchanged_on_error(self):
            again = hasattr(self, "coef_")
            dtype = self.coef_.dtype if again else DTYPES
            X, y = self._read(X, y, dtype=dtype, reset=not again)
            check_classification_targets(y)
            check_partial_fit_first_call(self, classes)
            unknown = np.setdiff1d(unique_labels(self.classes_, y), self.classes_)
            if unknown.size:
                raise ValueError(
                    f"y has the labels {_listed(unknown)}, which are not among the classes {_listed(self.classes_)} of "
                    "the first call: pass all labels that will ever come as its classes"
                )
            if not again:
                self._start(X.dtype, None, None, again)
            self._learn(X, y, sample_weight, 1, False)
        return self

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Return the weighted sums of the features plus the intercept.

        Parameters
        ----------
        X : {array-like, sparse matrix}, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray, shape (n_samples,) for two classes, otherwise (n_samples, n_classes)
            Positive on the side of ``classes_[1]``, or of the class of the column. A row has the same bits alone and
            in any batch.

        Raises
        ------
        ValueError
            If `X` does not fit the data of `fit` or is not finite.
        OverflowError
            If a sum exceeds the range of the dtype.
        """
        check_is_fitted(self)
        X = self._read(X, dtype=self.coef_.dtype, reset=False)
        scores = _rows(X).scores(_readable(self.coef_, X.dtype), _readable(self.intercept_, X.dtype))
        return scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class of each row: the one with the largest sum. Of two classes, a sum of zero is the first.

        Parameters
        ----------
        X : {array-like, sparse matrix}, shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray, shape (n_samples,)
            Labels from `classes_`.

        Raises
        ------
        ValueError
            If `X` does not fit the data of `fit` or is not finite.
        OverflowError
            If a sum exceeds the range of the dtype.
        """
        scores = self.decision_function(X)
        return self.classes_[scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(np.intp)]

    @ignore_float_errors  # a number too large for float32 becomes infinite, which is an error with a message of its own
    def _read(self, *data: Any, **options: Any) -> Any:
        """Return samples, and labels if there are any, as arrays or as a CSR matrix."""
        return validate_data(self, *data, accept_sparse="csr", order="C", **options)

    def _start(self, dtype: Any, coef: ArrayLike | None, intercept: ArrayLike | None, again: bool) -> None:
        """Set the weights and intercepts before the first epoch, and forget the epochs before."""
        n_classes = len(self.classes_)
        if n_classes < 2:
            raise ValueError(f"the number of classes has to be greater than one, got 1 class: {_listed(self.classes_)}")
        n_planes = 1 if n_classes == 2 else n_classes
        shape = (n_planes, self.n_features_in_)
        if coef is not None:
            self.coef_ = _initial("coef_init", coef, shape, dtype)
        else:
            self.coef_ = self.coef_.astype(dtype) if again else np.zeros(shape, dtype)
        if intercept is not None:
            self.intercept_ = _initial("intercept_init", intercept, shape[:1], dtype)
        else:
            self.intercept_ = self.intercept_.astype(dtype) if again else np.zeros(n_planes, dtype)
        self.t_, self.mistakes_ = 1, []

    def _learn(self, X: Any, y: NDArray[Any], sample_weight: Any, max_iter: int, check_separability: bool) -> str:
        """Learn for at most `max_iter` epochs. Return a warning if that was too little, otherwise an empty text."""
        if check_separability and not isinstance(X, np.ndarray):
            raise ValueError(f"check_separability=True needs dense samples, got {type(X).__name__}: use X.toarray()")
        if check_separability and not self.fit_intercept:
            raise ValueError("check_separability=True needs fit_intercept=True: the linear program has an intercept")
        targets = self._targets(y, sample_weight, X.dtype)
        if targets.weights is not None and not targets.weights.all():
            kept = targets.weights > 0
            X, targets = X[kept], targets[kept]
        rows, coef, intercept = _rows(X), self.coef_.astype(X.dtype, "C"), self.intercept_.astype(X.dtype)
        mistakes = self._visit(coef, intercept, rows, targets, max_iter)
        counts = _count_wrong(coef, intercept, rows, targets) if mistakes[-1] else {}
        separable = None if counts else True
        if counts and check_separability:
            separable = _all_separable(X.astype(np.float64), (targets.labels == k for k in counts))

        self.coef_, self.intercept_, self.mistakes_ = coef, intercept, self.mistakes_ + mistakes
        self.n_iter_, self.t_ = len(mistakes), self.t_ + len(mistakes) * len(targets.labels)
        self.converged_, self.linearly_separable_ = not counts, separable
        if not counts:
            return ""
        verdict = REMEDIES[separable if check_separability else "not asked"]
        return f"{verdict}; after {max_iter} epoch(s), {self._where_wrong(counts, len(targets.labels))}"

    def _visit(
        self, coef: NDArray[Any], intercept: NDArray[Any], rows: Rows, targets: _Targets, max_iter: int
    ) -> list[int]:
        """Visit all rows in each epoch, and correct the planes in place. Return the number of mistakes in each."""
        random = check_random_state(self.random_state) if self.shuffle else None
        planes, order = (np.arange(n, dtype=np.int64) for n in (len(coef), len(targets.labels)))
        mistakes = []
        for _ in range(max_iter):
            if random:
                shuffle(order, random.randint(2**63 - 1, dtype=np.int64))
            wrong = rows.epoch(
                targets.labels,
                coef,
                intercept,
                targets.rates,
                planes,
                order if random else None,
                targets.weights,
                fit_bias=self.fit_intercept,
            )
            mistakes.append(int(wrong.sum()))
            planes = planes[wrong > 0]
            if not planes.size:
                break
        return mistakes

    @ignore_float_errors
    def _targets(self, y: NDArray[Any], sample_weight: Any, dtype: Any) -> _Targets:
        """Return the targets, after checking everything that determines the sizes of corrections."""
        eta0 = check_positive("eta0", self.eta0)
        if isinstance(self.class_weight, dict):
            for label, factor in self.class_weight.items():
                check_positive(f"class_weight[{shown(label)}]", factor)
        factors = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        weights = as_weights(sample_weight, len(y))
        used = np.ones(1) if weights is None else weights[weights > 0]
        for size in (eta0 * min(factors.min(), 1) * used.min(), eta0 * max(factors.max(), 1) * used.max()):
            check_holds(RATE, check_positive(RATE, size), dtype)
        codes = np.searchsorted(self.classes_, y).astype(np.int64, copy=False)
        if len(factors) == 2:  # one plane, whose own class is the second
            return _Targets(1 - codes, weights, eta0 * factors[None])
        return _Targets(codes, weights, eta0 * np.stack([np.ones(len(factors)), factors], axis=1))

    def _where_wrong(self, counts: dict[int, int], n: int) -> str:
        if len(self.classes_) == 2:
            return f"{counts[0]} of {n} rows are on the wrong side"
        planes = [f"class {shown(self.classes_[k].item())} ({count})" for k, count in counts.items()]
        more = f", and of {len(planes) - SHOWN} more" if len(planes) > SHOWN else ""
        return f"some of {n} rows are on the wrong side of the plane of {', '.join(planes[:SHOWN])}{more}"


class _Targets:
    """The plane on whose positive side each row should be, and the rates at which mistakes are corrected.

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
        Plane k should be positive for the rows of label k alone.
    weights : ndarray of float64, shape (n,), optional
        Factors of the rates.
    rates : ndarray of float64, shape (n_planes, 2)
        For each plane the rate of rows of other labels, and of its own.
    """

    def __init__(
        self, labels: NDArray[np.int64], weights: NDArray[np.float64] | None, rates: NDArray[np.float64]
    ) -> None:
        self.labels = labels
        self.weights = weights
        self.rates = rates

    def __getitem__(self, kept: NDArray[np.bool_]) -> _Targets:
        return _Targets(self.labels[kept], None if self.weights is None else self.weights[kept], self.rates)


def _readable(array: Any, dtype: Any) -> NDArray[Any]:
    """Return an array as the kernels read it, without copying if it already is one."""
    return np.require(array, dtype, ["C", "A"])


def _rows(X: Any) -> Rows:
    if isinstance(X, np.ndarray):
        return Rows("X", _readable(X, X.dtype), X.dtype)
    check_axes("X", X.shape)
    X = as_rows(X)
    stored = X.indptr[-1]  # there may be more memory
    columns, starts = X.indices[:stored].astype(np.int32, copy=False), X.indptr.astype(np.int64, copy=False)
    return Rows("X", CompressedRows(_readable(X.data[:stored], X.dtype), columns, starts, X.shape[1]), X.dtype)


def _count_wrong(coef: NDArray[Any], intercept: NDArray[Any], rows: Rows, targets: _Targets) -> dict[int, int]:
    """Return the number of rows on the wrong side of each plane that has such rows."""
    counts = {}
    for k in range(len(coef)):  # one by one, since the scores of all may need more memory than the samples
        fires = rows.scores(coef[k : k + 1], intercept[k : k + 1])[:, 0] > 0
        counts[k] = int(np.count_nonzero(fires != (targets.labels == k)))
    return {k: count for k, count in counts.items() if count}


def _all_separable(X: NDArray[np.float64], sides: Iterable[NDArray[np.bool_]]) -> bool | None:
    """Return whether a plane exists for each of `sides`; the first without one decides."""
    known = True
    for fires in sides:
        separable = linearly_separable("X", X, fires)
        if separable is False:
            return False
        known = known and separable is not None
    return True if known else None


def _initial(name: str, value: ArrayLike, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """Return initial weights in this shape; a single plane may be given without its axis."""
    array = as_array(name, value, dtype, finite=True)
    if array.shape != shape and not (shape[0] == 1 and array.shape == shape[1:]):
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    return array.reshape(shape)


def _listed(labels: NDArray[Any]) -> str:
    names = [shown(label) for label in labels[:SHOWN].tolist()]
    return ", ".join(names) + (f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else "")
