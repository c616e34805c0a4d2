"""Networks to and from estimators of scikit-learn, which is imported only where estimators are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import getattr_static
from math import prod
from typing import Any, NamedTuple

import numpy as np

from nnfast._network import Network
from nnfast._validation import describe
from nnfast.files import state
from nnfast.files.assembling import Arrays, Moments, assembled
from nnfast.layers import Activation, Dense, Dropout, Flatten, GaussianNoise, Layer, Rescaling, Reshape, Scale
from nnfast.losses import BinaryCrossEntropy, CrossEntropy, Hinge, Loss, Poisson, SumSquaredError, resolve_loss
from nnfast.optimizers import SGD, Adam, Optimizer, resolve_optimizer
from nnfast.schedules import Schedule

METHODS = ("predict", "predict_proba", "decision_function", "transform")  # whose results a network computes
SCALERS = ("StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler")
REGRESSORS = (
    "LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "SGDRegressor",
    "LinearSVR", "HuberRegressor", "BayesianRidge", "ARDRegression", "Lars", "LassoLars", "MultiTaskLasso",
    "MultiTaskElasticNet", "OrthogonalMatchingPursuit", "QuantileRegressor", "TheilSenRegressor",
)  # fmt: skip
PROBABLE = ("LogisticRegression", "LogisticRegressionCV")
DECIDING = ("SGDClassifier", "Perceptron", "LinearSVC", "RidgeClassifier", "RidgeClassifierCV")
PERCEPTRONS = ("MLPClassifier", "MLPRegressor")
KNOWN = {*SCALERS, *REGRESSORS, *PROBABLE, *DECIDING, *PERCEPTRONS, "Pipeline", "TransformedTargetRegressor"}
SUPPORTED = (
    "supported are MLPClassifier and MLPRegressor of scikit-learn and nnfast; LogisticRegression, LinearRegression, "
    "Ridge, Lasso, ElasticNet, SGDClassifier, SGDRegressor, Perceptron, LinearSVC, LinearSVR and other linear models; "
    "a Pipeline of StandardScaler, MinMaxScaler, MaxAbsScaler or RobustScaler and one of these; and a "
    "TransformedTargetRegressor with a StandardScaler"
)
ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu", "softmax": "softmax"}
AUTO_BATCH = 200  # rows of a mini-batch, at most, with batch_size="auto"
TINY = 1e-150  # the square of its inverse is finite


class Chain(NamedTuple):
    """The layers of a network, each with its arrays by role, and what else determines it.

    Attributes
    ----------
    dtype : dtype or None
        None for scalers, which have that of the estimator behind them.
    moments : Moments or None
        By the paths of the parameters in this chain.
    """

    layers: list[tuple[Layer, Arrays]]
    dtype: np.dtype | None = None
    loss: Loss | None = None
    moments: Moments | None = None


# ---- estimators as networks


def load(estimator: Any, loss: Any, seed: Any, network_of: Callable[[Any], Network]) -> Network:
    """Implement `nnfast.from_sklearn`; `network_of` returns the network that a `Sequential` holds."""
    loss = None if loss is None else resolve_loss(loss)
    chain, dtype, n_features = _Reader(network_of).read(estimator)
    layers = [layer for layer, _ in chain.layers]
    arrays = {f"{i}.{role}": array for i, (_, own) in enumerate(chain.layers) for role, array in own.items()}
    return assembled(layers, arrays, (n_features,), dtype, loss or chain.loss, seed, chain.moments)


class _Reader:
    """Reads estimators; `network_of` is as for `load`."""

    def __init__(self, network_of: Callable[[Any], Network]) -> None:
        self.network_of = network_of

    def read(self, estimator: Any) -> tuple[Chain, np.dtype, int]:
        """Return the chain of an estimator, its dtype, and the number of features of its samples."""
        chain = self.chain(estimator, "estimator")
        if chain.dtype is None:
            raise ValueError(f"{_named('estimator', estimator)} only scales: {SUPPORTED}")
        return chain, chain.dtype, _width(chain)

    def chain(self, estimator: Any, where: str) -> Chain:
        """Return the chain of an estimator; `where` names it in messages."""
        kind = _kind(estimator, where)
        if kind == "Pipeline":
            return self.pipeline(estimator, where)
        if kind == "TransformedTargetRegressor":
            return self.transformed(estimator, where)
        _check_fitted(estimator, kind, where)
        if kind in SCALERS:
            return _scaler(estimator, kind, where)
        if kind in PERCEPTRONS:
            own = hasattr(estimator, "networks_")
            return self.network(estimator, where) if own else _perceptron(estimator, kind)
        return _linear(estimator, kind, where)

    def pipeline(self, pipeline: Any, where: str) -> Chain:
        """Return the chain of a Pipeline."""
        joined = Chain([])
        for name, step in pipeline.steps:
            if step is None or (isinstance(step, str) and step == "passthrough"):
                continue
            if joined.dtype is not None:
                raise ValueError(f"{where}: step {name!r} comes after an estimator, which is not supported")
            place = f"{where}, step {name!r}"
            chain = self.chain(step, place)
            if joined.layers and chain.layers and _width(joined) != _width(chain):
                raise ValueError(
                    f"{_named(place, step)} is for {_width(chain)} features, and the step before it for "
                    f"{_width(joined)}"
                )
            joined = _joined(joined, chain)
        return joined

    def transformed(self, estimator: Any, where: str) -> Chain:
        """Return the chain of a TransformedTargetRegressor, which ends with what its scaler undoes."""
        _check_fitted(estimator, "TransformedTargetRegressor", where)
        inner = self.chain(estimator.regressor_, f"{where}, its regressor")
        scaler = estimator.transformer_
        if _kind(scaler, f"{where}, its transformer") != "StandardScaler":
            raise ValueError(f"{_named(f'{where}, its transformer', scaler)} must be a StandardScaler")
        if isinstance(inner.loss, Poisson):
            raise ValueError(
                f"{where}, its regressor: one whose prediction is an exponential cannot be followed by a scaler"
            )
        units = len(inner.layers[-1][1]["b"]) if "b" in inner.layers[-1][1] else inner.layers[-1][1]["W"].shape[1]
        gamma, beta = (
            np.broadcast_to(default if array is None else array, units)
            for array, default in ((scaler.scale_, 1.0), (scaler.mean_, 0.0))
        )
        layers = [*inner.layers, (Scale(trainable=False), {"gamma": gamma, "beta": beta})]
        return Chain(layers, inner.dtype, inner.loss)  # the moments are those of the loss of scaled targets

    def network(self, estimator: Any, where: str) -> Chain:
        """Return the chain of one of nnfast's own estimators."""
        if len(estimator.networks_) > 1:
            raise ValueError(
                f"{_named(where, estimator)} has {len(estimator.networks_)} networks, whose outputs it averages: "
                "choose one of its networks_, each of which is a Sequential already"
            )
        network = self.network_of(estimator.network_)
        description, arrays = state.to_state(network)
        layers = [
            (layer, {role: arrays[f"{i}.{role}"] for role in ROLES if f"{i}.{role}" in arrays})
            for i, layer in enumerate(network.layers)
        ]
        slot, moments = description["optimizer"], None
        if slot is not None:
            views = {i: network.named(arrays[f"optimizer.{i}"]) for i in slot["moments"]}
            vectors = {i: {path: named[path] for path in named.paths} for i, named in views.items()}
            kept = [vectors.get(i) for i in range(max(vectors, default=-1) + 1)]
            moments = Moments(slot["kind"], slot["steps"], kept, slot["product"])
        return Chain(layers, network.dtype, network.output_loss.loss, moments)


ROLES = ("W", "b", "gamma", "beta", "mean", "variance")


def _width(chain: Chain) -> int:
    """Return the number of features of the samples of a chain, which begins with a Dense or a Scale."""
    arrays = chain.layers[0][1]
    width: int = arrays["W" if "W" in arrays else "gamma"].shape[0]
    return width


def _joined(first: Chain, second: Chain) -> Chain:
    """Return one chain after another."""
    moments, n = second.moments, len(first.layers)
    if moments is not None:
        shifted = [
            vector and {_shifted(path, n): array for path, array in vector.items()} for vector in moments.vectors
        ]
        moments = Moments(moments.kind, moments.steps, shifted, moments.product)
    return Chain([*first.layers, *second.layers], second.dtype, second.loss, moments)


def _shifted(path: str, n: int) -> str:
    """Return the path of an array when there are `n` more layers before its own."""
    layer, _, role = path.partition(".")
    return f"{int(layer) + n}.{role}"


def _kind(estimator: Any, where: str) -> str:
    """Return the name of the supported class that an estimator is of, and whose methods it has.

    Raises
    ------
    TypeError, ValueError
        If it is of no such class.
    """
    kind = type(estimator)
    if isinstance(estimator, type):
        raise TypeError(f"{where} must be a fitted object, got the class {estimator.__name__}")
    for base in kind.__mro__:
        library = base.__module__.partition(".")[0]
        if base.__name__ in KNOWN and (library == "sklearn" or base.__module__.startswith("nnfast.sklearn.")):
            changed = [
                name for name in METHODS if getattr_static(kind, name, None) is not getattr_static(base, name, None)
            ]
            if changed:
                raise ValueError(
                    f"{_named(where, estimator)} has {' and '.join(changed)} of its own, and not of {base.__name__}, "
                    f"whose results a network computes: {SUPPORTED}"
                )
            return base.__name__
    if not hasattr(estimator, "fit"):
        raise TypeError(f"{where} must be a fitted estimator of scikit-learn or nnfast, got {describe(estimator)}")
    if hasattr(estimator, "best_estimator_"):
        raise ValueError(f"{_named(where, estimator)} is not supported: give its best_estimator_")
    raise ValueError(f"{_named(where, estimator)} is not supported: {SUPPORTED}")


def _named(where: str, estimator: Any) -> str:
    """Return what names an estimator in messages."""
    return f"{where} ({type(estimator).__name__})"


def _check_fitted(estimator: Any, kind: str, where: str) -> None:
    """Raise ValueError unless an estimator is fitted."""
    if not hasattr(estimator, FITTED.get(kind, "coef_")):
        raise ValueError(f"{_named(where, estimator)} is not fitted: call its fit first")


FITTED = {
    "StandardScaler": "n_samples_seen_",
    "MinMaxScaler": "scale_",
    "MaxAbsScaler": "scale_",
    "RobustScaler": "n_features_in_",
    "MLPClassifier": "out_activation_",
    "MLPRegressor": "out_activation_",
    "TransformedTargetRegressor": "regressor_",
}


# ---- one estimator


def _scaler(scaler: Any, kind: str, where: str) -> Chain:
    """Return the frozen layers that a scaler is."""
    if getattr(scaler, "clip", False):
        raise ValueError(f"{_named(where, scaler)} has clip=True, which no layer does: fit it without")
    if kind == "MinMaxScaler":
        return Chain([_fixed(scaler.scale_, scaler.min_)])
    # centered first: factor and offset in one would lose digits of features that are large and vary little
    center = getattr(scaler, "mean_" if kind == "StandardScaler" else "center_", None)
    layers = []
    if center is not None and getattr(scaler, "with_mean", True) and getattr(scaler, "with_centering", True):
        layers.append(_fixed(np.ones(len(center)), -center))
    if scaler.scale_ is not None:
        layers.append(_fixed(1 / scaler.scale_))
    return Chain(layers)


def _fixed(gamma: np.ndarray, beta: np.ndarray | None = None) -> tuple[Layer, Arrays]:
    """Return a frozen layer with a factor and an offset for each feature."""
    arrays = {"gamma": gamma} if beta is None else {"gamma": gamma, "beta": beta}
    return Scale(use_bias=beta is not None, trainable=False), arrays


def _perceptron(estimator: Any, kind: str) -> Chain:
    """Return the chain of one of scikit-learn's multilayer perceptrons."""
    output = estimator.out_activation_
    functions = [ACTIVATIONS[estimator.activation]] * (len(estimator.coefs_) - 1)
    functions.append(ACTIVATIONS.get(output, "identity"))  # the network has the logarithm of an exponential
    penalty: dict[str, Any] = {"l2": estimator.alpha / 2, "penalty": "sum"} if estimator.alpha else {}
    layers: list[tuple[Layer, Arrays]] = [
        (Dense(len(b), function, **penalty), {"W": W, "b": b})
        for W, b, function in zip(estimator.coefs_, estimator.intercepts_, functions, strict=True)
    ]
    loss: Loss = Poisson(reduction="sum") if output == "exp" else SumSquaredError()
    if kind == "MLPClassifier":
        loss = CrossEntropy() if output == "softmax" else BinaryCrossEntropy(reduction="sum")
    return Chain(layers, _dtype(estimator.coefs_[0]), loss, _moments(estimator))


def _moments(estimator: Any) -> Moments | None:
    """Return the state of a perceptron's optimizer, None if there is none.

    It is in a private attribute, which scikit-learn has had since its first version of the perceptron; where there is
    none, training begins with a new state.
    """
    optimizer = vars(estimator).get("_optimizer")
    if optimizer is None or estimator.solver not in ("adam", "sgd"):
        return None
    names = ("ms", "vs") if hasattr(optimizer, "ms") else ("velocities",)
    if not all(hasattr(optimizer, name) for name in names):
        return None
    vectors = [_by_path(getattr(optimizer, name)) for name in names]
    if names == ("ms", "vs"):
        return Moments("adam", int(optimizer.t), vectors)
    # scikit-learn's velocity includes the learning rate, and the sign of the step
    rate = -float(optimizer.learning_rate)
    velocities = {path: array / rate for path, array in vectors[0].items()}
    rows = AUTO_BATCH if estimator.batch_size == "auto" else estimator.batch_size
    steps = max(1, round(estimator.t_ / rows))  # scikit-learn does not count them
    return Moments("sgd", steps, [velocities if optimizer.momentum else None], 0.0)


def _by_path(arrays: Sequence[np.ndarray]) -> Arrays:
    """Return arrays in scikit-learn's order, all weights and then all biases, by path."""
    n = len(arrays) // 2
    return {f"{i % n}.{'W' if i < n else 'b'}": array for i, array in enumerate(arrays)}


def _linear(estimator: Any, kind: str, where: str) -> Chain:
    """Return the chain of a linear model."""
    coef = estimator.coef_.toarray() if hasattr(estimator.coef_, "toarray") else np.asarray(estimator.coef_)
    W = np.atleast_2d(coef).T
    n_outputs = W.shape[1]
    function, loss, factor = _response(estimator, kind, n_outputs, where)
    arrays = {"W": W * factor}
    biased = getattr(estimator, "fit_intercept", True) or np.any(estimator.intercept_)
    if biased:
        arrays["b"] = np.broadcast_to(np.asarray(estimator.intercept_) * factor, n_outputs)
    return Chain([(Dense(n_outputs, function, use_bias=bool(biased)), arrays)], _dtype(coef), loss)


def _response(estimator: Any, kind: str, n_outputs: int, where: str) -> tuple[str, Loss | None, int]:
    """Return the activation and the loss of a linear model, and the factor of its weights."""
    if kind in REGRESSORS:
        return "identity", None, 1
    if kind in PROBABLE:
        way = getattr(estimator, "multi_class", None)  # until scikit-learn 1.7
        several = n_outputs > 1
        if several and (way == "ovr" or (way != "multinomial" and estimator.solver == "liblinear")):
            raise ValueError(
                f"{_named(where, estimator)} learned each class against the rest, and scales their probabilities to a "
                "sum of one, which no layer does: fit it with another solver than 'liblinear', and without multi_class"
            )
        # the probabilities of two classes were those of the outputs z and -z, with multi_class="multinomial"
        return ("softmax", None, 1) if several else ("sigmoid", None, 2 if way == "multinomial" else 1)
    loss = getattr(estimator, "loss", None)
    if kind == "SGDClassifier" and loss == "log_loss" and n_outputs == 1:
        return "sigmoid", None, 1
    return "identity", Hinge() if loss == "hinge" else None, 1


def _dtype(coef: np.ndarray) -> np.dtype:
    return np.dtype(np.float32 if coef.dtype == np.float32 else np.float64)


# ---- networks as estimators


def to_estimator(network: Network, classes: Any, optimizer: Any) -> Any:
    """Implement `Sequential.to_sklearn`."""
    network.built  # noqa: B018  raises RuntimeError if there is nothing to convert
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise ImportError("to_sklearn needs scikit-learn: pip install nnfast[sklearn]") from None
    with network.guard.whole:  # a consistent state, while another thread trains the network
        design = _Design(network)
        settings, moments = _settings(network, design, optimizer)
        arrays = state.arrays_of(network)
        estimator = design.unfitted(settings)
        _initialize(estimator, design, _checked_classes(classes, design), network.dtype)
        design.copy(arrays, estimator.coefs_, estimator.intercepts_)
        _begin(estimator, network, design, moments)
        return design.behind_scaler(estimator, arrays)


class _Design:
    """What a perceptron of scikit-learn has, read from a network's layers.

    Attributes
    ----------
    scales : list of (int, Layer)
        The layers before the first Dense that become a StandardScaler, with their positions.
    dense : list of int
        The positions of the Dense layers.
    units : list of int
        The number of features, and the units of each layer.
    activation : str
        Scikit-learn's name of that of the hidden layers.
    output : str
        The activation of the output layer.
    exponential : bool
        Whether the network predicts the logarithms of what the estimator predicts.
    folds : bool
        Whether the two outputs of a softmax become the one that scikit-learn has for two classes, their difference.

    Raises
    ------
    ValueError
        If there is none; the message names the layer.
    """

    def __init__(self, network: Network) -> None:
        assert network.input_shape is not None
        self.scales: list[tuple[int, Layer]] = []
        self.dense: list[int] = []
        self.layers = network.layers
        functions: list[str] = []
        for i, layer in enumerate(network.layers):
            if isinstance(layer, Dense):
                self.dense.append(i)
                functions.append(layer.function.name)
            elif isinstance(layer, Activation) and functions and functions[-1] == "identity":
                functions[-1] = layer.activation
            elif isinstance(layer, (Scale, Rescaling)) and not self.dense:
                self.scales.append((i, layer))
            elif not isinstance(layer, (Dropout, GaussianNoise, Flatten, Reshape)):
                raise ValueError(
                    f"layers[{i}], {layer!r}, has no counterpart in a perceptron of scikit-learn, which consists of "
                    "Dense layers; Scale and Rescaling may come before them"
                )
        if not self.dense:
            raise ValueError("the network has no Dense layer, of which a perceptron of scikit-learn consists")
        if len(network.output_shape) > 1:
            raise ValueError(f"the outputs of samples must have one axis, got shape {network.output_shape}")
        self.units = [prod(network.input_shape), *(network.layers[i].output_shape(())[0] for i in self.dense)]
        *hidden, self.output = functions
        self.activation = self._hidden(hidden)
        if self.output not in OUTPUTS:
            raise ValueError(
                f"layers[{self.dense[-1]}] has activation {self.output!r}, and the output of a perceptron of "
                f"scikit-learn must have one of {', '.join(OUTPUTS)}"
            )
        loss = network.output_loss.loss
        self.exponential = self.output == "identity" and isinstance(loss, Poisson) and loss.log_input
        self.folds = self.units[-1] == 2 and self.output in ("softmax", "log_softmax")
        if self.folds:
            self.units[-1] = 1

    def _hidden(self, functions: list[str]) -> str:
        """Return scikit-learn's name of the activation of all hidden layers."""
        names = {ours: theirs for theirs, ours in ACTIVATIONS.items() if ours != "softmax"}
        for i, function in zip(self.dense, functions, strict=False):
            if function not in names:
                raise ValueError(
                    f"layers[{i}] has activation {function!r}, and the hidden layers of a perceptron of scikit-learn "
                    f"must have one of {', '.join(names)}"
                )
            if function != functions[0]:
                raise ValueError(
                    f"layers[{i}] has activation {function!r} and layers[{self.dense[0]}] {functions[0]!r}: the hidden "
                    "layers of a perceptron of scikit-learn have the same"
                )
        return names[functions[0]] if functions else "identity"

    @property
    def classifies(self) -> bool:
        """Whether the outputs are probabilities."""
        return self.output != "identity"

    @property
    def alpha(self) -> float:
        """The penalty if scikit-learn has it: the same on all weights, and on sums."""
        first, *others = (self.layers[i] for i in self.dense)
        same = all((layer.l1, layer.l2, layer.penalty) == (0.0, first.l2, first.penalty) for layer in (first, *others))
        return 2 * first.l2 if same and first.penalty == "sum" else 0.0

    def copy(self, arrays: Arrays, coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> None:
        """Write a network's arrays, by path, into those of an estimator."""
        for i, coef, intercept in zip(self.dense, coefs, intercepts, strict=True):
            W, b = arrays[f"{i}.W"], arrays.get(f"{i}.b", np.zeros(self.layers[i].output_shape(())))
            if self.folds and i == self.dense[-1]:
                W, b = W[:, 1:] - W[:, :1], b[1:] - b[:1]
            coef[...], intercept[...] = W, b

    def unfitted(self, settings: dict[str, Any]) -> Any:
        """Return an estimator."""
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        shape = {"hidden_layer_sizes": tuple(self.units[1:-1]), "activation": self.activation}
        settings = {**shape, **settings, "random_state": 0}  # which draws nothing from NumPy's global stream
        if self.classifies:
            return MLPClassifier(**settings)
        if self.exponential:
            if "loss" not in MLPRegressor().get_params():
                raise ValueError(
                    "the network predicts logarithms (loss 'poisson'), which MLPRegressor supports since "
                    "scikit-learn 1.7: update it"
                )
            settings["loss"] = "poisson"
        return MLPRegressor(**settings)

    def behind_scaler(self, estimator: Any, arrays: Arrays) -> Any:
        """Return the estimator; if there are layers that scale, behind a StandardScaler."""
        if not self.scales:
            return estimator
        from sklearn.pipeline import Pipeline
        from sklearn.preprocessing import StandardScaler

        n = self.units[0]
        mean, factor = np.zeros(n), np.ones(n)
        for i, layer in self.scales:  # so far: (x - mean) * factor
            if isinstance(layer, Rescaling):
                gamma, beta = np.full(n, layer.scale), np.full(n, layer.offset)
            else:
                gamma, beta = (
                    np.asarray(arrays.get(f"{i}.{role}", np.zeros(n)), np.float64) for role in ("gamma", "beta")
                )
            factor = factor * gamma
            if not (np.abs(factor) > TINY).all():
                raise ValueError(
                    f"layers[{i}], {layer!r}, multiplies feature {int(np.argmin(np.abs(factor)))} by zero, which no "
                    "StandardScaler does: remove the feature"
                )
            mean = mean - beta / factor
        scaler = StandardScaler().fit(np.zeros((1, n)))
        scaler.mean_, scaler.scale_, scaler.var_ = mean, 1 / factor, 1 / factor**2
        return Pipeline([("scaler", scaler), ("network", estimator)])


OUTPUTS = ("softmax", "log_softmax", "sigmoid", "identity")


def _settings(network: Network, design: _Design, optimizer: Any) -> tuple[dict[str, Any], str | None]:
    """Return parameters of an estimator, and the kind of the network's optimizer if training goes on with its state."""
    settings: dict[str, Any] = {"alpha": design.alpha}
    if optimizer is None:
        return settings, None
    chosen = resolve_optimizer(optimizer)
    rate = chosen.learning_rate
    chosen.values(network.dtype)  # raises an error for hyperparameters out of range
    if isinstance(rate, Schedule):
        raise ValueError(f"optimizer must have a number as learning_rate, got {chosen!r}")
    expected: Optimizer
    if isinstance(chosen, Adam):
        betas = {"beta_1": chosen.beta1, "beta_2": chosen.beta2}
        settings |= {"solver": "adam", **betas, "epsilon": chosen.epsilon}
        expected = Adam(rate, beta1=chosen.beta1, beta2=chosen.beta2, epsilon=chosen.epsilon, corrected_epsilon=True)
    elif isinstance(chosen, SGD):
        settings |= {"solver": "sgd", "momentum": chosen.momentum, "nesterovs_momentum": chosen.nesterov}
        expected = SGD(rate, momentum=chosen.momentum, nesterov=chosen.nesterov)
    else:
        raise ValueError(f"optimizer must be Adam or SGD, which scikit-learn has, got {chosen!r}")
    if chosen != expected:
        raise ValueError(f"optimizer must be as scikit-learn's, {expected!r}, got {chosen!r}")
    settings["learning_rate_init"] = rate
    slot = network.built.slot
    return settings, chosen.kind if slot.kind == chosen.kind and slot.steps else None


def _checked_classes(classes: Any, design: _Design) -> Any:
    """Return the classes of a classifier, None for a regressor."""
    n = design.units[-1]
    if not design.classifies:
        if classes is not None:
            raise ValueError(
                f"classes must be left out: the output layer has activation {design.output!r}, and the network becomes "
                "an MLPRegressor"
            )
        return None
    several = design.output == "sigmoid" and n > 1
    n_classes = max(n, 2)
    if classes is None:
        return np.arange(n_classes)
    if several:
        raise ValueError(
            f"classes must be left out: each of the {n} outputs is a label of its own, which a sample has or has not"
        )
    try:
        found, ordered = np.asarray(classes), np.unique(classes)
    except TypeError as error:
        raise TypeError(f"classes must be labels that can be ordered, got {describe(classes)}: {error}") from None
    if found.ndim != 1 or len(found) != n_classes:
        raise ValueError(f"classes must be {n_classes} labels, in the order of the outputs, got {describe(classes)}")
    if not np.array_equal(ordered, found):
        raise ValueError(
            "classes must be different labels in ascending order, as scikit-learn keeps them, got "
            f"{describe(classes)}: their order must be that of the outputs, so relabel the data, or reorder the "
            "weights of the last layer"
        )
    return found


def _initialize(estimator: Any, design: _Design, classes: Any, dtype: np.dtype) -> None:
    """Give an estimator arrays of the right shapes, by a step on a made-up sample."""
    X = np.zeros((1, design.units[0]), dtype)
    n = design.units[-1]
    if classes is None:
        estimator.partial_fit(X, np.zeros(1 if n == 1 else (1, n)))
    elif design.output == "sigmoid" and n > 1:
        estimator.partial_fit(X, np.zeros((1, n), int), classes=classes)
    else:
        estimator.partial_fit(X, classes[:1], classes=classes)


def _begin(estimator: Any, network: Network, design: _Design, kind: str | None) -> None:
    """Make an estimator forget the made-up sample, and take over the state of the network's optimizer of this kind.

    The state of scikit-learn's optimizer is in a private attribute. Without it, `partial_fit` begins with a new one.
    """
    estimator.set_params(random_state=None)
    estimator.t_ = estimator.n_iter_ = 0
    estimator.loss_curve_, estimator.best_loss_, estimator.loss_ = [], np.inf, np.nan
    optimizer = vars(estimator).pop("_optimizer", None)
    if kind is None or optimizer is None or design.folds:
        return
    slot = network.built.slot
    names = {"ms": 1.0, "vs": 1.0} if kind == "adam" else {"velocities": -estimator.learning_rate_init}
    for (name, factor), moment in zip(names.items(), slot.moments, strict=False):
        if moment is not None:
            views = network.named(moment * factor)
            coefs, intercepts = (
                [np.zeros_like(array) for array in own] for own in (estimator.coefs_, estimator.intercepts_)
            )
            design.copy({path: views[path] for path in views.paths}, coefs, intercepts)
            setattr(optimizer, name, coefs + intercepts)
        else:
            setattr(optimizer, name, [np.zeros_like(array) for array in estimator.coefs_ + estimator.intercepts_])
    if kind == "adam":
        optimizer.t = slot.steps
    vars(estimator)["_optimizer"] = optimizer
