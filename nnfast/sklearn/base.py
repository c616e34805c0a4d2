"""What the multilayer perceptrons for scikit-learn share: parameters, the flow of `fit`, attributes, predictions."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted

from nnfast._threads import at_most
from nnfast._validation import warn
from nnfast.activations import NAMES as ACTIVATIONS
from nnfast.activations import Activation
from nnfast.kernels.arrays import all_finite
from nnfast.losses import Loss
from nnfast.sequential import Sequential
from nnfast.sklearn._versions import (
    CallbackSupport,
    Interval,
    Options,
    StrOptions,
    Tags,
    check_sample_weight,
    safe_indexing,
    validate_data,
)
from nnfast.sklearn.common import DTYPES, as_rows, unchanged_on_error
from nnfast.sklearn.networks import Design, Member, Weights
from nnfast.sklearn.training import Fit, Rows, Trained, Validation

STOCHASTIC = ("sgd", "adam")
INFINITY = float("inf")
OWN = ("_members", "_given", "_several_labels", "_split_from")  # what a fit sets besides names that end with "_"
VALIDATION = ("X_val", "y_val", "sample_weight_val")


def steps_one_by_one(estimator: BaseMLP) -> bool:
    """Return whether an estimator has `partial_fit`; AttributeError says why not."""
    if estimator.solver not in STOCHASTIC:
        raise AttributeError(
            f"partial_fit is only available for the solvers 'sgd' and 'adam', got solver={estimator.solver!r}, which "
            "uses all data at once"
        )
    return True


class BaseMLP(Tags, CallbackSupport, Trained, BaseEstimator):
    """Base class of `MLPClassifier` and `MLPRegressor`: the parameters that they share, and how they are fitted."""

    own_tags: ClassVar = {"input_tags.sparse": True}
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({*ACTIVATIONS, "logistic"}), Activation, list, tuple],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {INFINITY})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
        "batch_norm": ["boolean"],
        "scoring": [str, callable, None],
        "max_seconds": [Interval(Real, 0, None, closed="neither"), None],
        "n_ensembles": [Interval(Integral, 1, None, closed="left")],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
    }
    # the parameters besides those of `Trained`
    hidden_layer_sizes: Any
    activation: Any
    batch_size: Any
    random_state: Any
    warm_start: bool
    validation_fraction: float
    loss: str | Loss
    dropout: Any
    batch_norm: bool
    n_ensembles: int

    # ---- what an estimator for one task adds

    @abstractmethod
    def _set_targets(self, y: Any, classes: Any, *, anew: bool, incremental: bool) -> None:
        """Store what is known about the targets, or check that they agree with what is stored."""

    @abstractmethod
    def _targets(self, y: Any) -> np.ndarray:
        """Return targets in the form that the networks take."""

    @abstractmethod
    def _output(self, targets: np.ndarray) -> tuple[int, str, Loss, str]:
        """Return the units, the activation and the loss of the output layer, and scikit-learn's name for the second."""

    @abstractmethod
    def _response(self, outputs: np.ndarray) -> np.ndarray:
        """Return probabilities or estimates, given the outputs of a network."""

    @abstractmethod
    def _default_score(self, validation: Validation) -> float:
        """Return the default score of the estimator on validation rows."""

    def _row_weights(self, y: Any, targets: np.ndarray, *, incremental: bool) -> np.ndarray | None:
        """Return a weight for each row in training, besides `sample_weight`."""
        return None

    # ---- fitting

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any, Any],
        classes: Any = None,
        *,
        incremental: bool = False,
    ) -> None:
        """Implement `fit` and `partial_fit`.

        All arguments are checked before any network changes. An error leaves the estimator as it was, unless networks
        of a previous fit were already being trained further.
        """
        anew = not hasattr(self, "_members") or not (self.warm_start or incremental)
        with unchanged_on_error(self, OWN):
            fit = self._prepared(X, y, sample_weight, validation, classes, anew=anew, incremental=incremental)
            if anew:
                self._train(fit, X, y)
        if not anew:
            self._train(fit, X, y)
        fit.warn_unconverged()
        if not all(np.isfinite(member.net.flat_params).all() for member in self._members):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed. Scale X (and y) to about 1, or use a smaller learning_rate_init"
            )

    def _train(self, fit: Fit, X: Any, y: Any) -> None:
        """Train the networks, and set the attributes that say how it went, also if an error ends the training."""
        self._members = fit.members
        self.__dict__.pop("_given", None)
        try:
            fit.context = self._context(X, y) if fit.observed else None
            fit.run()
        finally:
            self._set_results(fit)
        if fit.context is not None:
            fit.context.call_on_fit_task_end(estimator=self, X=X, y=y)

    def _prepared(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any, Any],
        classes: Any,
        *,
        anew: bool,
        incremental: bool,
    ) -> Fit:
        """Check all arguments, and return a training that can begin; no network has changed."""
        if anew or not incremental:
            self._validate_params()
        hidden = self._hidden()
        given = X, y
        X, y = self._checked_data(X, y, reset=anew)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, X)
        self._set_targets(y, classes, anew=anew, incremental=incremental)
        targets = self._targets(y)
        weights = self._row_weights(y, targets, incremental=incremental)
        random: Any = check_random_state(self.random_state) if anew or not incremental else None  # takes some time
        members = self._begun(hidden, targets, X.dtype, random, anew=anew, incremental=incremental)
        held = self._held(validation)
        rows, train = Rows(as_rows(X), targets, _product(sample_weight, weights)), None
        if held is None and self.early_stopping and self.solver in STOCHASTIC:
            if incremental:
                raise ValueError(
                    "partial_fit does not support early_stopping=True without rows to validate on: give X_val and "
                    "y_val, or use early_stopping=False"
                )
            if anew or "_split_from" not in self.__dict__:
                self._split_from = copy.deepcopy(random)
            else:  # the same rows again, on which the networks were not trained
                random = copy.deepcopy(self._split_from)
            rows, held, train = self._split(X, y, targets, sample_weight, weights, random)
        if held is not None:
            self._check_scoring()
        observed = hasattr(self, "_skl_callbacks") or hasattr(self, "_parent_callback_ctx")
        seen = (_later(given[0], X, train), _later(given[1], y, train)) if observed and not incremental else None
        return Fit(self, members, rows, held, once=incremental, observed=seen)

    def _hidden(self) -> list[int]:
        """Return the units of the hidden layers."""
        sizes = self.hidden_layer_sizes
        hidden = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        for size in hidden:
            if not isinstance(size, (int, np.integer)) or isinstance(size, bool):
                raise TypeError(f"hidden_layer_sizes must be one or more integers, got {hidden}")
        if any(size <= 0 for size in hidden):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {hidden}.")
        return [int(size) for size in hidden]

    def _checked_data(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        """Return samples of float64 or float32, and targets of one axis or two."""
        options = {"accept_sparse": ["csr", "csc"], "multi_output": True, "dtype": DTYPES, "reset": reset}
        X, y = validate_data(self, X, y, **options, **self._options_of_targets)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    _options_of_targets: ClassVar[dict[str, bool]] = {}

    def _begun(
        self,
        hidden: list[int],
        targets: np.ndarray,
        dtype: Any,
        random: np.random.RandomState,
        *,
        anew: bool,
        incremental: bool,
    ) -> list[Member]:
        """Return the networks to train: new ones, or those of the previous fit."""
        if not anew:
            dtype = self._members[0].net.dtype
        self.n_outputs_, output, loss, self.out_activation_ = self._output(targets)
        self.n_layers_ = len(hidden) + 2
        design = Design(
            self.n_features_in_, self.n_outputs_, hidden, self.activation, self.dropout, bool(self.batch_norm),
            float(self.alpha) / 2, output, loss, dtype,
        )  # fmt: skip
        if self.solver == "lbfgs" and any(design.rates):
            raise ValueError("dropout must be 0 with solver='lbfgs', which needs a loss that is not random")
        if anew:
            members = [Member(design.build(random)) for _ in range(self.n_ensembles)]
            if incremental or self.warm_start:  # these were assigned before the first fit, to begin with
                self._set_given(members)
            return members
        if len(self._members) != self.n_ensembles:
            raise ValueError(
                f"n_ensembles must stay as it was in the previous fit, whose networks are used again: got "
                f"{self.n_ensembles}, and there are {len(self._members)}. Use warm_start=False, or clone the "
                "estimator, to begin anew"
            )
        return [member.with_net(design.continued(member.net)) for member in self._members]

    def _held(self, validation: tuple[Any, Any, Any]) -> Validation | None:
        """Return the rows to validate on that were given."""
        X, y, weights = validation
        if X is None and y is None and weights is None:
            return None
        if X is None or y is None:
            got = [name for name, value in zip(VALIDATION, validation, strict=True) if value is not None]
            raise ValueError(f"X_val and y_val must be given together, got {' and '.join(got)} alone")
        try:
            X, y = self._checked_data(X, y, reset=False)
            if weights is not None:
                weights = check_sample_weight(weights, X)
            return Validation(Rows(as_rows(X), self._targets(y), weights), y)
        except ValueError as error:
            raise ValueError(f"in {', '.join(VALIDATION)}: {error}") from error

    def _split(
        self, X: Any, y: Any, targets: np.ndarray, sample_weight: Any, weights: Any, random: np.random.RandomState
    ) -> tuple[Rows, Validation, np.ndarray]:
        """Set a fraction of the rows aside, the same as scikit-learn for the same `random_state`.

        Also return the numbers of the other rows.
        """
        train, held = train_test_split(
            np.arange(X.shape[0]), random_state=random, test_size=self.validation_fraction,
            stratify=self._strata(targets),
        )  # fmt: skip
        if len(held) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        X = as_rows(X)

        def chosen(values: Any, rows: np.ndarray) -> Any:
            return None if values is None else values[rows]

        rows = Rows(X[train], targets[train], _product(chosen(sample_weight, train), chosen(weights, train)))
        return rows, Validation(Rows(X[held], targets[held], chosen(sample_weight, held)), y[held]), train

    def _strata(self, targets: np.ndarray) -> np.ndarray | None:
        """Return the classes by which the split of early stopping is stratified, if any."""
        return None

    def batch_size_of(self, n: int) -> int:
        """Return the rows of a mini-batch."""
        if self.batch_size == "auto":
            size = min(200, n)
            while self.batch_norm and n % size == 1 and size > 2:
                size -= 1
            return size
        if self.batch_size > n:
            warn(
                f"Got `batch_size` less than 1 or larger than sample size. It is going to be clipped: {n} rows, and "
                f"batch_size={self.batch_size}",
                UserWarning,
            )
        return min(int(self.batch_size), n)

    def _context(self, X: Any, y: Any) -> Any:
        """Return the context of scikit-learn's callbacks."""
        several = self.n_ensembles > 1
        context = self._init_callback_context(
            max_subtasks=self.n_ensembles if several else self.max_iter, sequential_subtasks=not several
        )
        return context.call_on_fit_task_begin(estimator=self, X=X, y=y)

    def _set_results(self, fit: Fit) -> None:
        """Set the attributes that say how the training went; of several networks, averages."""
        members, validated, early = self._members, fit.validation is not None, fit.stops_early
        self.n_iter_ = max(member.n_iter for member in members)
        self.t_ = max(member.samples for member in members)
        self.loss_curve_ = _averages([member.loss_curve for member in members])
        self.converged_ = all(member.converged for member in members)
        scores = _averages([member.validation_scores for member in members])
        self.validation_scores_ = scores if validated else None
        losses = _averages([member.validation_losses for member in members])
        self.validation_loss_curve_ = losses if validated else None
        trained = _trained(members)
        self.best_validation_score_ = float(np.mean([member.best_score for member in trained])) if early else None
        self.best_loss_ = None if early else float(np.mean([member.best_loss for member in trained]))
        self.loss_ = float(np.mean([(member.loss_curve or [np.nan])[-1] for member in trained]))

    # ---- scoring while training

    def with_members(self, members: list[Member]) -> BaseMLP:
        """Return a copy of the estimator that has these networks, not copies; its samples have no names."""
        twin = copy.copy(self)
        twin._members = members
        twin.__dict__.pop("feature_names_in_", None)
        return twin

    def __copy__(self) -> Any:
        """Return a shallow copy, which shares the networks."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def attributes_with(self, members: list[Member]) -> dict[str, Any]:
        """Return the attributes that make an estimator with copies of these networks."""
        return {"_members": [Member.restored(member.state()) for member in members]}

    def _check_scoring(self) -> None:
        """Raise ValueError or TypeError if the score cannot be computed."""
        if self.scoring not in (None, "loss"):
            check_scoring(self, scoring=self.scoring)

    def score_on(self, validation: Validation) -> float:
        """Return what early stopping watches."""
        if self.scoring is None:
            return self._default_score(validation)
        rows = validation.rows
        weights = {} if rows.weights is None else {"sample_weight": rows.weights}
        return float(check_scoring(self, scoring=self.scoring)(self, rows.X, validation.y, **weights))

    # ---- predicting

    def _outputs(self, X: Any) -> np.ndarray:
        """Return the average of the networks' responses to samples."""
        check_fitted(self)
        members = self._members
        X = self._checked_samples(X)
        if self.n_threads is None:  # a context takes as long as a small prediction
            return self._averaged(members, X)
        with at_most(self.n_threads):
            return self._averaged(members, X)

    def _averaged(self, members: Sequence[Member], X: Any) -> np.ndarray:
        if len(members) == 1:
            return self._response(members[0].net.predict(X))
        found: np.ndarray = np.mean([self._response(member.net.predict(X)) for member in _trained(members)], axis=0)
        return found

    def _checked_samples(self, X: Any) -> Any:
        """Return samples in the form that the networks take; scikit-learn checks all but the usual case."""
        if (
            type(X) is np.ndarray
            and X.ndim == 2
            and X.dtype in DTYPES
            and X.shape[1] == self.n_features_in_
            and len(X)
            and X.flags.c_contiguous
            and "feature_names_in_" not in self.__dict__
            and all_finite(X)
        ):
            return X
        return as_rows(validate_data(self, X, accept_sparse=["csr", "csc"], reset=False))

    def input_gradient(self, X: Any) -> np.ndarray:
        """Return the gradient of what is predicted with respect to the features.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        ndarray of shape (n_samples, n_features), or (n_samples, n_outputs, n_features)
            Of a regressor with one output, the derivative of its prediction with respect to each feature; with
            several outputs, of each of them. Of a classifier, the derivatives of each column of `predict_proba`.

        Raises
        ------
        ValueError
            If the estimator is not fitted, or `X` does not fit the data of `fit` or is not finite.

        Examples
        --------
        >>> from nnfast.sklearn import MLPRegressor
        >>> model = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", random_state=0, alpha=0, tol=1e-9)
        >>> model.fit([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0.0, 2.0, 3.0]).input_gradient([[5.0, 5.0]]).round(3)
        array([[2., 3.]])
        """
        check_fitted(self)
        X = self._checked_samples(X)
        with at_most(self.n_threads):
            gradients = [self._response_gradient(member.net, X) for member in _trained(self._members)]
        found: np.ndarray = np.mean(gradients, axis=0)
        return found

    def _response_gradient(self, net: Sequential, X: Any) -> np.ndarray:
        """Return the gradient of a network's response to samples, of shape (n, outputs, features)."""
        return net.jacobian(X)

    # ---- what is learned

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether there are networks."""
        return "_members" in self.__dict__

    @property
    def networks_(self) -> list[Sequential]:
        """The networks."""
        if "_members" not in self.__dict__:
            raise AttributeError(f"this {type(self).__name__} is not fitted yet: it has no networks_")
        return [member.net for member in self._members]

    @property
    def network_(self) -> Sequential:
        """The network, if there is only one."""
        return self._single("network_")[0]

    def _single(self, name: str) -> list[Sequential]:
        """Return the networks; AttributeError if there are several."""
        nets = self.networks_
        if len(nets) > 1:
            raise AttributeError(f"there is no {name} of {len(nets)} networks: see networks_")
        return nets

    @property
    def coefs_(self) -> list[np.ndarray]:
        """The weights of each layer: views, which may be written to."""
        return self._arrays("coefs_", "W")

    @coefs_.setter
    def coefs_(self, value: Any) -> None:
        self._assign("coefs_", value)

    @property
    def intercepts_(self) -> list[np.ndarray]:
        """The biases of each layer: views, which may be written to."""
        return self._arrays("intercepts_", "b")

    @intercepts_.setter
    def intercepts_(self, value: Any) -> None:
        self._assign("intercepts_", value)

    def _arrays(self, name: str, role: str) -> list[np.ndarray]:
        given = self.__dict__.get("_given", {})
        if name in given:
            found: list[np.ndarray] = given[name]
            return found
        params = self._single(name)[0].params
        return Weights(params[f"{role}{i}"] for i in range(1, self.n_layers_))

    def _assign(self, name: str, value: Any) -> None:
        """Write arrays into the network or, before the first fit, keep them for it."""
        if "_members" not in self.__dict__:
            self.__dict__.setdefault("_given", {})[name] = value
            return
        _write(name, value, getattr(self, name))

    def _set_given(self, members: list[Member]) -> None:
        """Write arrays that were assigned before the first fit into a new network."""
        given = self.__dict__.get("_given", {})
        if given and len(members) > 1:
            raise ValueError(
                f"{' and '.join(given)} were assigned before the first fit, to begin with, and n_ensembles="
                f"{len(members)} networks need to begin differently: use n_ensembles=1"
            )
        for name, role in (("coefs_", "W"), ("intercepts_", "b")):
            if name in given:
                params = members[0].net.params
                _write(name, given[name], [params[f"{role}{i}"] for i in range(1, self.n_layers_)])

    # ---- files

    def __getstate__(self) -> dict[str, Any]:
        """Return parameters and attributes in plain containers and arrays."""
        state = dict(super().__getstate__())
        if "_members" in state:
            state["_members"] = [member.state() for member in state["_members"]]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` has returned."""
        super().__setstate__(state)
        if "_members" in self.__dict__:
            states: Any = self._members
            self._members = [Member.restored(member) for member in states]


def check_fitted(estimator: BaseMLP) -> None:
    """Raise scikit-learn's NotFittedError if there are no networks."""
    if "_members" not in estimator.__dict__:
        check_is_fitted(estimator)


def _trained(members: Sequence[Member]) -> Sequence[Member]:
    """Return the networks that were trained: `max_seconds` may end an ensemble before all have begun."""
    return [member for member in members if member.loss_curve] or members


def _later(given: Any, checked: Any, rows: np.ndarray | None) -> Callable[[], Any]:
    """Return a function that returns some rows of the data, of the user's own frame if it is one."""
    data = given if hasattr(given, "iloc") else checked
    return lambda: data if rows is None else safe_indexing(as_rows(data), rows)


def _product(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    """Return the product of weights, of which None means 1."""
    if first is None or second is None:
        return second if first is None else first
    return first * second


def _averages(curves: list[list[float]]) -> list[float]:
    """Return the average of several curves, in each epoch over those that have it."""
    if len(curves) == 1:
        return list(curves[0])
    longest = max(map(len, curves))
    return [float(np.mean([curve[i] for curve in curves if i < len(curve)])) for i in range(longest)]


def _write(name: str, values: Any, views: Sequence[np.ndarray]) -> None:
    """Write arrays into the parameters of a network: all of them, or after an error none."""
    if len(values) != len(views):
        raise ValueError(f"{name} must have an array for each of the {len(views)} layers, got {len(values)}")
    arrays = [np.array(value, view.dtype) for value, view in zip(values, views, strict=True)]
    for i, (array, view) in enumerate(zip(arrays, views, strict=True)):
        if array.shape != view.shape:
            raise ValueError(f"{name}[{i}] must have shape {view.shape}, got {array.shape}")
    for array, view in zip(arrays, views, strict=True):
        view[...] = array
