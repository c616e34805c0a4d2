"""Multilayer perceptrons with the parameters, attributes and methods of scikit-learn's, and more."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from scipy.special import xlogy
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import type_of_target, unique_labels

from nnfast._validation import describe, ignore_float_errors
from nnfast.losses import (
    BinaryCrossEntropy,
    BinaryFocal,
    CrossEntropy,
    Focal,
    Huber,
    Loss,
    MeanAbsoluteError,
    Poisson,
    Quantile,
    SumSquaredError,
)
from nnfast.metrics.regression import r2
from nnfast.sequential import Sequential
from nnfast.sklearn._versions import Interval, StrOptions, check_partial_fit_first_call, with_callbacks
from nnfast.sklearn.base import BaseMLP, steps_one_by_one
from nnfast.sklearn.common import refuse_balanced, store
from nnfast.sklearn.training import Rows, Validation


class MLPClassifier(ClassifierMixin, BaseMLP):
    """A multilayer perceptron that classifies, with the parameters of scikit-learn's `MLPClassifier` and more.

    With the same `random_state` it begins with the same weights as scikit-learn's, and computes the same losses and
    steps: it differs in the order of the rows, and in what is described below.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default=(100,)
        The number of units of each hidden layer; ``()`` for none.
    activation : str, Activation, or list of these, default="relu"
        The activation of the hidden layers: ``"identity"``, ``"logistic"``, ``"tanh"``, ``"relu"``, or any other of
        `nnfast.activations`, by name or as an object such as ``nf.activations.LeakyReLU(0.2)``. A list has one for
        each hidden layer. Layers with an activation that scikit-learn does not have begin with nnfast's initial weights
        for it.
    solver : {"adam", "sgd", "lbfgs"}, default="adam"
        Adam; stochastic gradient descent with momentum; or L-BFGS, which uses all data at once and often needs the
        least time on few data. Adam's `epsilon` is that of section 2 of its paper, as in scikit-learn and Keras.
    alpha : float, default=0.0001
        The L2 penalty: ``alpha / 2`` times the sum of the squares of all weights is divided by the sum of the sample
        weights of the mini-batch, and added to its loss.
    batch_size : int or "auto", default="auto"
        The rows of a mini-batch; ``"auto"`` means ``min(200, n_samples)``, or with `batch_norm` a little less if the
        last one would have one row. Without effect with ``solver="lbfgs"``.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        How the learning rate of ``solver="sgd"`` changes. ``"invscaling"``: after each epoch it is ``learning_rate_init
        / (t_ + 1) ** power_t``. ``"adaptive"``: it is divided by 5 when training would otherwise end because nothing
        improves, until it is at most 1e-6.
    learning_rate_init : float, default=0.001
        The learning rate at the beginning, of ``"sgd"`` and ``"adam"``.
    power_t : float, default=0.5
        The exponent of ``"invscaling"``.
    max_iter : int, default=200
        The maximum number of epochs, or of iterations of L-BFGS.
    shuffle : bool, default=True
        Whether to visit the rows in a new order in each epoch.
    random_state : int, RandomState or None, default=None
        Determines the initial weights, the split of `early_stopping`, the order of rows, and dropout.
    tol : float, default=1e-4
        An epoch has improved if the loss (or, with `early_stopping`, the score) is better than the best one by at least
        `tol`. For L-BFGS, the size of the gradient at which it has converged.
    verbose : bool, default=False
        Whether to print the loss and the score after each epoch.
    warm_start : bool, default=False
        Whether `fit` continues from the previous one, with its weights and, unlike scikit-learn, the state of its
        optimizer, and holds back the same rows for `early_stopping`, if as many are given. ``"adaptive"`` begins with
        `learning_rate_init` again.
    momentum : float, default=0.9
        Of ``solver="sgd"``, in [0, 1).
    nesterovs_momentum : bool, default=True
        Whether to use Nesterov's momentum.
    early_stopping : bool, default=False
        Whether to watch the score on rows that are held back: `validation_fraction` of them (stratified if there are
        two classes), or `X_val` and `y_val`. At the end the weights with the best score are restored. Without effect
        with ``solver="lbfgs"``.
    validation_fraction : float, default=0.1
        The fraction of rows to hold back for `early_stopping`.
    beta_1, beta_2 : float, default=0.9, 0.999
        The decays of Adam's means, in [0, 1).
    epsilon : float, default=1e-8
        Adam's epsilon.
    n_iter_no_change : int or inf, default=10
        Training ends after more than so many epochs in a row without improvement.
    max_fun : int, default=15000
        The maximum number of times that L-BFGS computes the loss.
    loss : {"log_loss", "focal"} or Loss, default="log_loss"
        The cross entropy, the focal loss, or an object of `nnfast.losses` that fits the output layer: softmax for
        several classes, else sigmoid.
    class_weight : dict, list of dict, "balanced" or None, default=None
        Weights of the classes in training, as for `sklearn.utils.class_weight.compute_sample_weight`. They multiply
        `sample_weight`; in validation they do not count.
    dropout : float or list of float, default=0.0
        The fraction of each hidden layer's outputs that are dropped at random in training; a list has one for each
        layer.
    batch_norm : bool, default=False
        Whether the inputs of the hidden layers' activations are normalized in each mini-batch.
    scoring : str, callable or None, default=None
        What early stopping watches: None for the accuracy, ``"loss"`` for the loss on the validation rows (of which
        `validation_scores_` are the negatives), or a scorer as for `sklearn.model_selection.cross_val_score`.
    max_seconds : float or None, default=None
        The longest time to train for; training ends after the step during which it is exceeded.
    n_ensembles : int, default=1
        How many networks to train, which differ in their initial weights and the order of rows, on all cores at the
        same time (L-BFGS: one after another). Their probabilities are averaged.
    n_threads : int or None, default=None
        The maximum number of threads for training and predicting; None means what `nnfast.get_num_threads` says. The
        results do not depend on it.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list
        The class labels.
    loss_ : float
        The loss of the last epoch, penalty included.
    best_loss_ : float or None
        The lowest loss; None with early stopping.
    loss_curve_ : list of float
        The loss of each epoch (of L-BFGS too).
    validation_scores_, validation_loss_curve_ : list of float, or None
        The score and the loss (without penalty) on the validation rows after each epoch.
    best_validation_score_ : float or None
        The best score; None without early stopping.
    converged_ : bool
        Whether the last `fit` ended because nothing improved (or L-BFGS converged), and not at `max_iter`,
        `max_seconds` or an interruption.
    t_ : int
        The number of training rows seen so far, each as often as it was seen.
    coefs_, intercepts_ : list of ndarray
        The weights, of shapes (inputs, outputs), and the biases of each layer: views, which may be written to. Assigned
        before the first `partial_fit`, or `fit` with `warm_start`, they are what training begins with.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, if `X` has names that are all strings.
    n_iter_ : int
        The number of epochs, or of iterations, of the last fit.
    n_layers_, n_outputs_ : int
        The number of layers, input and output included, and of outputs.
    out_activation_ : str
        The activation of the output layer: ``"softmax"`` or ``"logistic"``.
    network_ : Sequential
        The network, with all that nnfast offers; AttributeError if there are several.
    networks_ : list of Sequential
        All networks. With several, attributes that are curves or numbers are averages over them.

    See Also
    --------
    MLPRegressor : For numbers instead of classes.
    nnfast.Sequential : The network itself.

    Notes
    -----
    float32 data are computed in float32, all other data in float64. The loss of a mini-batch is averaged by the sample
    weights. Labels may be of any kind that scikit-learn takes; a matrix of 0 and 1 of shape (n_samples, n_labels) means
    several labels for each row.

    Initial weights: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks"
    (2010). Adam: Kingma and Ba (2015). The focal loss: Lin et al., "Focal loss for dense object detection" (2017).

    Unlike scikit-learn's, `momentum` must be below 1, and `predict_proba` has one column if there is only one class.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from nnfast.sklearn import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), MLPClassifier(solver="lbfgs", alpha=0.1, max_iter=1000, random_state=0))
    >>> model.fit(X, y).score(X, y) > 0.95
    True
    """

    own_tags: ClassVar = {**BaseMLP.own_tags, "classifier_tags.multi_label": True}
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"log_loss", "focal"}), Loss],
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
    }
    class_weight: Any

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: str | Loss = "log_loss",
        class_weight: Any = None,
        dropout: Any = 0.0,
        batch_norm: bool = False,
        scoring: Any = None,
        max_seconds: float | None = None,
        n_ensembles: int = 1,
        n_threads: int | None = None,
    ) -> None:
        store(self, locals())

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPClassifier:
        """Train on samples and their classes.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The samples: finite numbers.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Their classes, or for each label whether a sample has it.
        sample_weight : array-like of shape (n_samples,), default=None
            The weights of the samples; not negative. By default all are 1.
        X_val, y_val, sample_weight_val : array-like, default=None
            Samples to validate on after each epoch. With `early_stopping` they are used instead of a part of `X`.

        Returns
        -------
        MLPClassifier
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, which leaves the estimator as it was, or training diverged so that weights are
            not finite.

        Warns
        -----
        ConvergenceWarning
            Of scikit-learn: if `max_iter` came before convergence.
        """
        self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))
        return self

    @available_if(steps_one_by_one)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPClassifier:
        """Train for one epoch on the given samples, continuing with all that was learned.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array-like of shape (n_classes,), default=None
            All classes that will ever occur, or with several labels the numbers of their columns; needed in the first
            call.
        X_val, y_val, sample_weight_val : array-like, default=None
            Samples to validate on after the epoch. With `early_stopping`, which needs them here, the best weights are
            restored when the score has not improved for more than `n_iter_no_change` calls; `converged_` is then True.

        Returns
        -------
        MLPClassifier
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit.
        """
        self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), classes, incremental=True)
        return self

    # ---- targets

    def _set_targets(self, y: Any, classes: Any, *, anew: bool, incremental: bool) -> None:
        """Set the classes, or check that they are those of the previous fit."""
        if incremental:
            if check_partial_fit_first_call(self, classes):
                self._set_classes(classes, y)
                if self._several_labels and not np.array_equal(np.unique(classes), self.classes_):
                    raise ValueError(
                        f"classes must be the numbers 0 to {len(self.classes_) - 1} of the columns of y, which holds 0 "
                        f"and 1 for each label, got {describe(classes)}"
                    )
        elif anew:
            self._set_classes(y, y)
        else:
            labels = unique_labels(y)
            if set(labels) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                    f"Previously got {self.classes_}, `y` has {labels}"
                )

    def _targets(self, y: Any) -> np.ndarray:
        """Return labels as 0 to n_classes - 1, of two classes as 0 and 1, or a matrix of 0 and 1."""
        if self._several_labels:
            return self._label_matrix(y)
        places = np.searchsorted(self.classes_, y) if len(self.classes_) else np.zeros(0, np.int64)
        known = places < len(self.classes_)
        known &= self.classes_[np.where(known, places, 0)] == y
        if not known.all():
            labels = unique_labels(y)
            unknown = np.setdiff1d(labels, self.classes_)
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {labels}, of "
                f"which {unknown} were not known before: all classes must occur in the y of fit, or be named in the "
                "first call of partial_fit"
            )
        return places.astype(np.int64, copy=False)

    def _set_classes(self, labels: Any, y: Any) -> None:
        """Set the classes, which are those in `labels`, and whether a row of `y` may have several of them."""
        kind = type_of_target(y)
        several = kind.startswith("multilabel")
        if not several and kind not in ("binary", "multiclass"):
            raise ValueError(
                f"Unknown label type: {kind}. y must hold classes, of shape (n_samples,), or 0 and 1 for each label, "
                "of shape (n_samples, n_labels); for numbers use MLPRegressor"
            )
        shape = y.shape if hasattr(y, "shape") else np.shape(y)
        self.classes_ = np.arange(shape[1]) if several else np.unique(labels)
        self._several_labels = several

    def _label_matrix(self, y: Any) -> np.ndarray:
        """Return a matrix of labels as floats."""
        given: Any = y
        matrix = np.asarray(given.toarray() if sparse.issparse(y) else y)
        if matrix.ndim != 2 or matrix.shape[1] != len(self.classes_) or not np.isin(matrix, (0, 1)).all():
            raise ValueError(
                f"y must hold 0 and 1 for each of {len(self.classes_)} labels, as in the previous call, got "
                f"{describe(matrix)}"
            )
        return matrix.astype(np.float32)

    def _output(self, targets: np.ndarray) -> tuple[int, str, Loss, str]:
        """Return the units, the activation and the loss of the output layer."""
        several = len(self.classes_) > 2 and not self._several_labels
        units = len(self.classes_) if several or self._several_labels else 1
        if isinstance(self.loss, Loss):
            loss = self.loss
        elif self.loss == "focal":
            loss = Focal() if several else BinaryFocal()
        else:
            loss = CrossEntropy() if several else BinaryCrossEntropy(reduction="sum")
        return units, "softmax" if several else "sigmoid", loss, "softmax" if several else "logistic"

    def _row_weights(self, y: Any, targets: np.ndarray, *, incremental: bool) -> np.ndarray | None:
        """Return the weight of each row's class."""
        if self.class_weight is None:
            return None
        if incremental:
            refuse_balanced(self.class_weight)
        if self._several_labels:
            given = self.class_weight  # a class that does not occur in these rows may have a weight, or none
            if isinstance(given, (list, tuple)):
                given = [{0: 1, 1: 1} | entry if isinstance(entry, dict) else entry for entry in given]
            weights: np.ndarray = compute_sample_weight(given, y)
            return weights
        if not isinstance(self.class_weight, (str, dict)):
            raise ValueError(
                "class_weight must be a dict of class to weight or 'balanced' unless there are several labels for each "
                f"row, got {describe(self.class_weight)}"
            )
        rows = y if self.class_weight == "balanced" else self.classes_
        each = compute_class_weight(self.class_weight, classes=self.classes_, y=rows)
        return each[targets]

    def _strata(self, targets: np.ndarray) -> np.ndarray | None:
        """Return the classes if there are two, as scikit-learn stratifies."""
        return targets.astype(bool).reshape(-1, 1) if self.n_outputs_ == 1 else None

    # ---- scores

    @property
    def validation_metric(self) -> tuple[str, ...] | None:
        """The accuracy, as nnfast computes it."""
        return ("subset_accuracy",) if self._several_labels else ("accuracy",)

    def _default_score(self, validation: Validation) -> float:
        """Return the accuracy."""
        rows = validation.rows
        return float(accuracy_score(validation.y, self.predict(rows.X), sample_weight=rows.weights))

    # ---- predicting

    def _response(self, outputs: np.ndarray) -> np.ndarray:
        """Return probabilities, a column for each class or label."""
        if self.n_outputs_ == 1 and not self._several_labels:
            if len(self.classes_) == 1:
                return np.ones_like(outputs)
            both = np.empty((len(outputs), 2), outputs.dtype)
            both[:, 1:] = outputs
            np.subtract(1, outputs, out=both[:, :1])
            return both
        return outputs

    def _response_gradient(self, net: Sequential, X: Any) -> np.ndarray:
        """Return the gradient of the probabilities."""
        gradient = net.jacobian(X)
        if self.n_outputs_ == 1 and not self._several_labels:
            return np.zeros_like(gradient) if len(self.classes_) == 1 else np.concatenate([-gradient, gradient], axis=1)
        return gradient

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class of each sample.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            The most probable classes; for several labels, 1 where a label's probability is above one half, else 0.

        Raises
        ------
        ValueError
            If the estimator is not fitted, or `X` does not fit the data of `fit` or is not finite.
        """
        probabilities = self._outputs(X)
        if self._several_labels:
            return (probabilities > 0.5).astype(np.int64)
        found: np.ndarray = self.classes_[probabilities.argmax(axis=1)]
        return found

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            The probability of each class, in the order of `classes_`; of each label, if there are several.

        Raises
        ------
        ValueError
            If the estimator is not fitted, or `X` does not fit the data of `fit` or is not finite.
        """
        return self._outputs(X)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Predict the logarithms of probabilities.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            The logarithm of what `predict_proba` returns.

        Raises
        ------
        ValueError
            If the estimator is not fitted, or `X` does not fit the data of `fit` or is not finite.
        """
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)


class MLPRegressor(RegressorMixin, BaseMLP):
    """A multilayer perceptron for numbers, with the parameters of scikit-learn's `MLPRegressor` and more.

    Parameters
    ----------
    loss : {"squared_error", "poisson", "absolute_error", "huber", "quantile"} or Loss, default="squared_error"
        Half the squared error; half the Poisson deviance, for targets that are not negative and a prediction that is
        the exponential of the network's output; the absolute error; Huber's loss with delta 1; the pinball loss of
        `quantile`; or an object of `nnfast.losses`, such as ``nf.losses.Huber(delta=2.0)`` or
        ``nf.losses.Quantile([0.1, 0.5, 0.9])``, which predicts several quantiles.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate, learning_rate_init, power_t, max_iter,\
 shuffle, random_state, tol, verbose, warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction,\
 beta_1, beta_2, epsilon, n_iter_no_change, max_fun
        As for `MLPClassifier`.
    quantile : float or None, default=None
        In (0, 1): which quantile to predict with ``loss="quantile"``.
    dropout, batch_norm, scoring, max_seconds, n_ensembles, n_threads
        As for `MLPClassifier`; the default score is R².

    Attributes
    ----------
    out_activation_ : str
        ``"identity"``, or ``"exp"`` with the Poisson loss.
    loss_, best_loss_, loss_curve_, validation_scores_, validation_loss_curve_, best_validation_score_, converged_, t_,\
 coefs_, intercepts_, n_features_in_, feature_names_in_, n_iter_, n_layers_, n_outputs_, network_, networks_
        As for `MLPClassifier`.

    See Also
    --------
    MLPClassifier : For classes instead of numbers.
    nnfast.Sequential : The network itself.

    Notes
    -----
    The squared error of several outputs is their sum where its gradient is computed, and their mean in `loss_` and
    `loss_curve_`, as in scikit-learn; L-BFGS minimizes the sum. All other losses but ``"poisson"`` are averaged over
    outputs. ``network_`` predicts the logarithm of the mean if the loss is ``"poisson"``.

    The reported loss of an epoch is the average over its mini-batches, weighted by their numbers of rows as in
    scikit-learn. With `sample_weight`, two parts of it are averaged by the weights of the rows instead: the squared
    error of several outputs, and of shuffled rows what depends on the targets alone in the Poisson deviance.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from nnfast.sklearn import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = MLPRegressor(hidden_layer_sizes=(20,), solver="lbfgs", alpha=1.0, max_iter=5000, random_state=0)
    >>> model.fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.4
    True
    """

    _options_of_targets: ClassVar[dict[str, bool]] = {"y_numeric": True}
    own_tags: ClassVar = {**BaseMLP.own_tags, "target_tags.multi_output": True}
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson", "absolute_error", "huber", "quantile"}), Loss],
        "quantile": [Interval(Real, 0, 1, closed="neither"), None],
    }
    quantile: float | None

    def __init__(
        self,
        loss: str | Loss = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        quantile: float | None = None,
        dropout: Any = 0.0,
        batch_norm: bool = False,
        scoring: Any = None,
        max_seconds: float | None = None,
        n_ensembles: int = 1,
        n_threads: int | None = None,
    ) -> None:
        store(self, locals())

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPRegressor:
        """Train on samples and their targets.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The samples: finite numbers.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets: finite numbers.
        sample_weight, X_val, y_val, sample_weight_val
            As for `MLPClassifier.fit`.

        Returns
        -------
        MLPRegressor
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit, which leaves the estimator as it was, or training diverged so that weights are
            not finite.

        Warns
        -----
        ConvergenceWarning
            Of scikit-learn: if `max_iter` came before convergence.
        """
        self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))
        return self

    @available_if(steps_one_by_one)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPRegressor:
        """Train for one epoch on the given samples, continuing with all that was learned.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        X_val, y_val, sample_weight_val : array-like, default=None
            As for `MLPClassifier.partial_fit`.

        Returns
        -------
        MLPRegressor
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit.
        """
        self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), incremental=True)
        return self

    # ---- targets

    def _set_targets(self, y: Any, classes: Any, *, anew: bool, incremental: bool) -> None:
        """Do nothing: there are no classes to store."""

    def _targets(self, y: Any) -> np.ndarray:
        """Return the targets."""
        return np.asarray(y)

    def _output(self, targets: np.ndarray) -> tuple[int, str, Loss, str]:
        """Return the units, the activation and the loss of the output layer."""
        loss = self._loss_object()
        units = (1 if targets.ndim == 1 else targets.shape[1]) * len(loss.per_output() or (0,))
        logarithms = isinstance(loss, Poisson) and loss.log_input
        return units, "identity", loss, "exp" if logarithms else "identity"

    def _loss_object(self) -> Loss:
        """Return the loss."""
        if isinstance(self.loss, Loss):
            return self.loss
        if self.loss == "quantile":
            if self.quantile is None:
                raise ValueError("quantile must be a number in (0, 1) with loss='quantile', got None")
            return Quantile(self.quantile)
        if self.loss == "poisson":
            return Poisson(reduction="sum")
        return {"absolute_error": MeanAbsoluteError, "huber": Huber, "squared_error": SumSquaredError}[self.loss]()

    # ---- the loss that is reported

    @property
    def scale_of_loss(self) -> float:
        """The factor for the squared error, which is reported as the mean over the outputs."""
        return 1 / self.n_outputs_ if self.loss == "squared_error" else 1.0

    @property
    def training_metrics(self) -> tuple[str, ...]:
        """The mean squared error, if the loss without penalties is scaled."""
        return () if self.scale_of_loss == 1 else ("mean_squared_error",)

    def constant_of_loss(self, rows: Rows) -> float:
        """Return the terms of the Poisson deviance that the negative log-likelihood leaves out."""
        if self.loss != "poisson":
            return 0.0
        y = rows.targets.reshape(len(rows.targets), -1).astype(np.float64)
        return float(np.average((xlogy(y, y) - y).sum(axis=1), weights=rows.weights))

    # ---- scores

    @property
    def validation_metric(self) -> tuple[str, ...] | None:
        """None: R² is computed from predictions, which need not be the outputs."""
        return None

    def _check_scoring(self) -> None:
        """Raise ValueError or TypeError if the score cannot be computed."""
        if self.scoring is None and len(self._loss_object().per_output() or (0,)) > 1:
            raise ValueError(
                "scoring must be 'loss' or a scorer of your own if the loss predicts several quantiles: R² needs one "
                "prediction for each target"
            )
        super()._check_scoring()

    @ignore_float_errors
    def _default_score(self, validation: Validation) -> float:
        """Return R²; NaN if a prediction is not finite."""
        rows = validation.rows
        targets = rows.targets.reshape(len(rows.targets), -1).astype(np.float64)
        predicted = self._outputs(rows.X).astype(np.float64)
        if not np.isfinite(predicted).all():
            return float("nan")
        weights = np.ones(len(targets)) if rows.weights is None else rows.weights
        return r2(predicted, targets, weights)

    # ---- predicting

    def _response(self, outputs: np.ndarray) -> np.ndarray:
        """Return the estimates: the outputs, or their exponentials."""
        return np.exp(outputs) if self.out_activation_ == "exp" else outputs

    def _response_gradient(self, net: Sequential, X: Any) -> np.ndarray:
        """Return the gradient of the estimates; of one output, without its axis."""
        gradient = net.jacobian(X)
        if self.out_activation_ == "exp":
            gradient *= np.exp(net.predict(X))[:, :, None]
        return gradient[:, 0] if self.n_outputs_ == 1 else gradient

    def predict(self, X: Any) -> np.ndarray:
        """Predict the target of each sample.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The estimates.

        Raises
        ------
        ValueError
            If the estimator is not fitted, or `X` does not fit the data of `fit` or is not finite.
        """
        estimates = self._outputs(X)
        return estimates[:, 0] if estimates.shape[1] == 1 else estimates
