"""Estimators for tables, good by default: `TabularClassifier` and `TabularRegressor`."""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import assert_all_finite, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from nnfast._threads import at_most
from nnfast.activations import NAMES as ACTIVATIONS
from nnfast.sequential import Sequential
from nnfast.sklearn._versions import (
    Interval,
    StrOptions,
    Tags,
    check_features,
    check_sample_weight,
    check_table,
    fit_context,
)
from nnfast.sklearn.common import DTYPES, store, unchanged_on_error
from nnfast.tables.model import TableModel, fit_table
from nnfast.tables.training import Recipe

AUTO = Recipe()


class _Tabular(Tags, BaseEstimator):
    """What the two estimators share: parameters, checks of data, attributes."""

    own_tags: ClassVar = {"input_tags.allow_nan": True, "input_tags.categorical": True, "input_tags.string": True}
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_members": [Interval(Integral, 1, None, closed="left")],
        "kinds": [dict, None],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "validation_fraction": [Interval(Real, 0, 0.5, closed="right")],
        "max_seconds": [Interval(Real, 0, None, closed="neither"), None],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    n_members: int
    kinds: dict[Any, str] | None
    hidden_layer_sizes: Any
    activation: str
    dropout: float
    learning_rate_init: float
    weight_decay: float
    batch_size: int
    max_iter: int
    n_iter_no_change: int
    validation_fraction: float
    max_seconds: float | None
    n_threads: int | None
    random_state: Any
    verbose: bool | int
    model_: TableModel

    def _recipe(self, label_smoothing: float) -> Recipe:
        sizes = self.hidden_layer_sizes
        hidden = tuple(int(size) for size in (sizes if hasattr(sizes, "__iter__") else [sizes]))
        if min(hidden, default=1) < 1:
            raise ValueError(f"hidden_layer_sizes must be > 0, got {list(hidden)}")
        return Recipe(
            hidden=hidden, activation=self.activation, dropout=float(self.dropout),
            learning_rate=float(self.learning_rate_init), weight_decay=float(self.weight_decay),
            label_smoothing=label_smoothing, epochs=int(self.max_iter), batch_size=int(self.batch_size),
            patience=int(self.n_iter_no_change), held=float(self.validation_fraction),
        )  # fmt: skip

    def _fit(self, X: Any, y: Any, sample_weight: Any, label_smoothing: float = 0.0, **more: Any) -> None:
        """Implement `fit`. An error leaves the estimator as it was."""
        with unchanged_on_error(self):
            recipe = self._recipe(label_smoothing)
            X = self._checked(X, reset=True)
            if sample_weight is not None:
                sample_weight = check_sample_weight(sample_weight, X, dtype=np.float64)
            seed = int(check_random_state(self.random_state).randint(2**31))
            self.model_ = fit_table(
                X, y, n_members=int(self.n_members), kinds=self.kinds, sample_weight=sample_weight, recipe=recipe,
                max_seconds=self.max_seconds, n_threads=self.n_threads, seed=seed, verbose=int(bool(self.verbose)),
                **more,
            )  # fmt: skip
            self.n_iter_ = max(len(member.history["loss"]) for member in self.model_.members if member.history)
            self._importances: np.ndarray | None = None

    def _checked(self, X: Any, *, reset: bool) -> Any:
        """Return a table after the checks of scikit-learn: frames as they are, anything else as an array."""
        if not hasattr(X, "columns"):
            X = check_table(self, X)
        check_features(self, X, reset=reset)
        return X

    def _response(self, X: Any) -> np.ndarray:
        """Return what the model computes for rows; the usual case of an array of numbers takes a short way."""
        model: TableModel | None = self.__dict__.get("model_")
        if model is None:
            check_is_fitted(self)
            raise AssertionError
        usual = (
            type(X) is np.ndarray
            and X.dtype in DTYPES
            and X.ndim == 2
            and X.shape[1] == self.n_features_in_
            and len(X)
            and "feature_names_in_" not in self.__dict__
        )
        raw = model.prepared(X if usual else self._checked(X, reset=False))
        if self.n_threads is None:  # a context takes as long as a small prediction
            return model.response(raw)
        with at_most(self.n_threads):
            return model.response(raw)

    @property
    def network_(self) -> Sequential:
        """The network behind the preparation, if there is one member."""
        check_is_fitted(self)
        if len(self.model_.members) > 1:
            raise AttributeError(f"there is no network_ of {len(self.model_.members)} networks: see model_.members")
        return self.model_.to_network()

    @property
    def feature_importances_(self) -> np.ndarray:
        """How much worse predictions of held rows become if a column is shuffled: shares of the sum."""
        check_is_fitted(self)
        if self._importances is None:
            with at_most(self.n_threads):
                self._importances = self.model_.importances()
        return self._importances

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file that `nnfast.tables.load` reads, without pickle.

        Parameters
        ----------
        path : path
            Usually with the extension ``.npz``; no extension is added.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        check_is_fitted(self)
        self.model_.save(path)


class TabularClassifier(ClassifierMixin, _Tabular):
    """A classifier for tables that is good by default: a frame goes in as it is.

    Numbers, categories, dates and missing values are told from the columns, prepared, and encoded within the networks;
    a part of the rows that is held back chooses the epoch, whose averaged weights are kept, the temperature, and the
    share that a linear model has in the outputs.

    Parameters
    ----------
    n_members : int, default=2
        How many networks to train, each with other rows held back, on all cores at the same time; their probabilities
        are averaged. 1 takes half of the time and has a little more error; 4 take twice the time and have less.
    kinds : dict or None, default=None
        The kinds of columns that are not told correctly, by name or position: ``"number"``, ``"category"``,
        ``"date"``, or ``"drop"`` to leave one out. See `nnfast.tables.Preparation`.
    hidden_layer_sizes : int or sequence of int, default=(256, 256, 256)
        The units of the hidden layers.
    activation : str, default="selu"
        The activation of the hidden layers, by its name in `nnfast.activations`.
    dropout : float, default=0.15
        The fraction of each hidden layer's outputs that are dropped at random in training.
    label_smoothing : float, default=0.1
        The share of each target that is spread evenly over all classes.
    learning_rate_init : float, default=0.002
        The learning rate of AdamW at first; it follows a cosine to 0 at `max_iter` epochs.
    weight_decay : float, default=0.02
        Of AdamW, for all weights but biases.
    batch_size : int, default=256
        The rows of a mini-batch, at most.
    max_iter : int, default=256
        The maximum number of epochs, for up to 25,000 rows. For more rows it is reduced in inverse proportion, to 32 at
        least.
    n_iter_no_change : int, default=38
        Training ends after so many epochs in a row without a lower loss on the held rows.
    validation_fraction : float, default=0.2
        The fraction of rows that each network holds back: one of 1/2, 1/3, 1/4, and so on, the nearest. Tables with
        fewer than 10 rows are trained on all rows for `max_iter` epochs.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, above 0, in training and on the held rows; 1 if not given.
    max_seconds : float or None, default=None
        The longest time to train for.
    n_threads : int or None, default=None
        The maximum number of threads; None means what `nnfast.get_num_threads` says. Results do not depend on it.
    random_state : int, RandomState or None, default=None
        Determines held rows, initial weights and the order of rows.
    verbose : bool, default=False
        Whether to show the progress.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    model_ : nnfast.tables.TableModel
        The fitted model, which predicts without scikit-learn, and writes ONNX and C.
    feature_importances_ : ndarray of shape (n_features_in_,)
        How much worse the log loss on held rows becomes if a column is shuffled, as shares of the sum; computed when
        first asked for.
    network_ : Sequential
        With one member: the network behind the preparation.
    n_iter_ : int
        The number of epochs of the network that was trained longest.
    n_features_in_ : int
        The number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they are all strings.

    See Also
    --------
    TabularRegressor : For numbers.
    MLPClassifier : For prepared numbers, with the parameters of scikit-learn's.
    nnfast.tables.fit_table : The same without scikit-learn.

    Notes
    -----
    The recipe is mostly RealMLP's: Holzmüller et al., "Better by default" (2024), with the piecewise-linear encoding of
    Gorishniy et al., "On embeddings for numerical features in tabular deep learning" (2022), and averaged weights:
    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992).

    Examples
    --------
    >>> import numpy as np
    >>> from nnfast.sklearn import TabularClassifier
    >>> random = np.random.default_rng(0)
    >>> X = np.column_stack([random.uniform(size=300).round(2), random.choice(["a", "b"], 300)]).astype(object)
    >>> y = np.where((X[:, 0].astype(float) > 0.5) == (X[:, 1] == "a"), "yes", "no")
    >>> model = TabularClassifier(n_members=1, random_state=0).fit(X, y)
    >>> model.predict([[0.9, "a"], [0.9, "b"]])
    array(['yes', 'no'], dtype='<U3')
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_Tabular._parameter_constraints,
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def __init__(
        self,
        *,
        n_members: int = 2,
        kinds: dict[Any, str] | None = None,
        hidden_layer_sizes: Any = AUTO.hidden,
        activation: str = AUTO.activation,
        dropout: float = AUTO.dropout,
        label_smoothing: float = AUTO.label_smoothing,
        learning_rate_init: float = AUTO.learning_rate,
        weight_decay: float = AUTO.weight_decay,
        batch_size: int = AUTO.batch_size,
        max_iter: int = AUTO.epochs,
        n_iter_no_change: int = AUTO.patience,
        validation_fraction: float = AUTO.held,
        class_weight: Any = None,
        max_seconds: float | None = None,
        n_threads: int | None = None,
        random_state: Any = None,
        verbose: bool | int = False,
    ) -> None:
        store(self, locals())

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TabularClassifier:
        """Train on a table and the class of each row.

        Parameters
        ----------
        X : frame or array-like of shape (n_samples, n_features)
            Numbers, categories, dates, and missing values.
        y : array-like of shape (n_samples,)
            The classes: at least two.
        sample_weight : array-like of shape (n_samples,), default=None
            The weights of the rows; not negative. A row of weight 0 counts as absent.

        Returns
        -------
        TabularClassifier
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or value.
        """
        y = column_or_1d(y, warn=True)
        if y.dtype.kind != "O":  # objects may be missing values of pandas, of which the model tells
            assert_all_finite(y, input_name="y")
            check_classification_targets(y)
        self._fit(
            X, y, sample_weight, float(self.label_smoothing), task="classification", class_weight=self.class_weight
        )
        self.classes_ = self.model_.classes
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class for each row.

        Parameters
        ----------
        X : frame or array-like of shape (n_samples, n_features)
            Rows like those of `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            If `X` does not have the columns of `fit`.
        """
        return self._response(X)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : frame or array-like of shape (n_samples, n_features)
            Rows like those of `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            If `X` does not have the columns of `fit`.
        """
        response = self._response(X)
        return self.model_.target.predicted(response)


class TabularRegressor(RegressorMixin, _Tabular):
    """A regressor for tables that is good by default: a frame goes in as it is.

    As `TabularClassifier`, with standardized targets; predictions lie within the range of the targets in training.

    Parameters
    ----------
    quantiles : sequence of float or None, default=None
        Quantiles to predict instead of the mean, such as ``[0.05, 0.5, 0.95]``: 0.5, which `predict` returns, must be
        one of them, and `predict_quantiles` returns all.
    n_members : int, default=2
        How many networks to train, each with other rows held back, on all cores at the same time; their predictions
        are averaged. 1 takes half of the time and has a little more error; 4 take twice the time and have less.
    kinds, hidden_layer_sizes, activation, dropout, learning_rate_init, weight_decay, batch_size
        As for `TabularClassifier`.
    max_iter, n_iter_no_change, validation_fraction, max_seconds, n_threads, random_state, verbose
        As for `TabularClassifier`.

    Attributes
    ----------
    model_ : nnfast.tables.TableModel
        The fitted model, which predicts without scikit-learn, and writes ONNX and C.
    feature_importances_ : ndarray of shape (n_features_in_,)
        How much worse the squared error on held rows becomes if a column is shuffled, as shares of the sum; computed
        when first asked for.
    network_ : Sequential
        With one member: the network behind the preparation.
    n_iter_ : int
        The number of epochs of the network that was trained longest.
    n_features_in_ : int
        The number of columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if they are all strings.

    See Also
    --------
    TabularClassifier : For classes.
    MLPRegressor : For prepared numbers, with the parameters of scikit-learn's.

    Notes
    -----
    Quantiles are trained with the pinball loss, and sorted, so that they do not cross.

    Examples
    --------
    >>> import numpy as np
    >>> from nnfast.sklearn import TabularRegressor
    >>> X = np.random.default_rng(0).uniform(size=(400, 2))
    >>> y = X[:, 0] * X[:, 1]
    >>> TabularRegressor(n_members=1, random_state=0).fit(X, y).score(X, y) > 0.97
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_Tabular._parameter_constraints,
        "quantiles": ["array-like", None],
    }

    def __init__(
        self,
        *,
        quantiles: Any = None,
        n_members: int = 2,
        kinds: dict[Any, str] | None = None,
        hidden_layer_sizes: Any = AUTO.hidden,
        activation: str = AUTO.activation,
        dropout: float = AUTO.dropout,
        learning_rate_init: float = AUTO.learning_rate,
        weight_decay: float = AUTO.weight_decay,
        batch_size: int = AUTO.batch_size,
        max_iter: int = AUTO.epochs,
        n_iter_no_change: int = AUTO.patience,
        validation_fraction: float = AUTO.held,
        max_seconds: float | None = None,
        n_threads: int | None = None,
        random_state: Any = None,
        verbose: bool | int = False,
    ) -> None:
        store(self, locals())

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TabularRegressor:
        """Train on a table and the number of each row.

        Parameters
        ----------
        X : frame or array-like of shape (n_samples, n_features)
            Numbers, categories, dates, and missing values.
        y : array-like of shape (n_samples,)
            Finite numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            The weights of the rows; not negative. A row of weight 0 counts as absent.

        Returns
        -------
        TabularRegressor
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type, shape or value.
        """
        y = column_or_1d(y, dtype=np.float64, warn=True)
        self._fit(X, y, sample_weight, task="regression", quantiles=self.quantiles)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the predicted number for each row: the mean, or the median if there are quantiles.

        Parameters
        ----------
        X : frame or array-like of shape (n_samples, n_features)
            Rows like those of `fit`.

        Returns
        -------
        ndarray of shape (n_samples,)

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            If `X` does not have the columns of `fit`.
        """
        response = self._response(X)
        return self.model_.target.predicted(response)

    def predict_quantiles(self, X: Any) -> np.ndarray:
        """Return the quantiles for each row, in increasing order.

        Parameters
        ----------
        X : frame or array-like of shape (n_samples, n_features)
            Rows like those of `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_quantiles)

        Raises
        ------
        AttributeError
            If it was fitted without `quantiles`.
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            If `X` does not have the columns of `fit`.
        """
        response = self._response(X)
        if not getattr(self.model_.target, "quantiles", ()):
            raise AttributeError("predict_quantiles needs quantiles in fit, such as quantiles=[0.05, 0.5, 0.95]")
        return response
