"""Networks from estimators of scikit-learn, and back."""

import pickle
import warnings

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_classification, make_multilabel_classification, make_regression
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    MultiTaskLasso,
    Perceptron,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC, LinearSVR

import nnfast as nf
import nnfast.sklearn as nfs

VERSION = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
TOLERANCE = {np.float32: 1e-6, np.float64: 1e-12}
ADAM = nf.Adam(1e-3, corrected_epsilon=True)


def classes(n_classes=3, dtype=np.float64):
    X, y = make_classification(
        120, 6, n_informative=5, n_redundant=0, n_classes=n_classes, class_sep=0.5, random_state=0
    )
    return X.astype(dtype), y


def numbers(n_targets=1, dtype=np.float64):
    X, y = make_regression(120, 6, n_targets=n_targets, noise=5.0, random_state=0)
    return X.astype(dtype), (y / 100).astype(dtype)


def column(values):
    return np.asarray(values).reshape(len(values), -1)


def probabilities(model, X):
    """Return probabilities as a network has them: one for two classes."""
    found = model.predict_proba(X)
    return found[:, 1:] if found.shape[1] == 2 and len(np.shape(model.classes_)) == 1 else found


def close(net, expected, X, dtype=np.float64):
    assert net.dtype == dtype
    np.testing.assert_allclose(net.predict(X), expected, rtol=0, atol=TOLERANCE[dtype] * max(1, abs(expected).max()))


# ---- what estimators compute


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("library", [MLPClassifier, nfs.MLPClassifier])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_classifiers(library, n_classes, activation, dtype):
    X, y = classes(n_classes, dtype)
    model = library((7, 5), activation=activation, max_iter=20, random_state=0).fit(X, y)
    net = nf.from_sklearn(model)
    close(net, probabilities(model, X), X, dtype)
    assert net.loss_name == ("binary_cross_entropy" if n_classes == 2 else "cross_entropy")
    if n_classes == 2:
        assert (net.predict_class(X) == model.predict(X)).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("library", [MLPRegressor, nfs.MLPRegressor])
@pytest.mark.parametrize("n_targets", [1, 3])
def test_regressors(library, n_targets, dtype):
    X, y = numbers(n_targets, dtype)
    model = library(hidden_layer_sizes=(7,), max_iter=20, random_state=0).fit(X, y)
    net = nf.from_sklearn(model)
    close(net, column(model.predict(X)), X, dtype)
    assert net.loss_function == nf.losses.SumSquaredError()


def test_several_labels():
    X, y = make_multilabel_classification(100, 6, n_classes=4, random_state=0)
    for library in (MLPClassifier, nfs.MLPClassifier):
        model = library((7,), max_iter=20, random_state=0).fit(X, y)
        close(nf.from_sklearn(model), model.predict_proba(X), X)


@pytest.mark.parametrize("library", [MLPRegressor, nfs.MLPRegressor])
def test_logarithms(library):
    if library is MLPRegressor and VERSION < (1, 7):
        pytest.skip("loss='poisson' came with scikit-learn 1.7")
    X, y = numbers()
    model = library("poisson", (7,), max_iter=20, random_state=0).fit(X, np.exp(y))
    net = nf.from_sklearn(model)
    close(net, np.log(column(model.predict(X))), X)
    assert isinstance(net.loss_function, nf.losses.Poisson)
    back = net.to_sklearn() if VERSION >= (1, 7) else None
    assert back is None or np.allclose(back.predict(X), model.predict(X), rtol=1e-12)


def test_what_only_nnfast_has():
    X, y = classes()
    model = nfs.MLPClassifier((7, 5), activation=["gelu", "mish"], batch_norm=True, dropout=0.2, max_iter=5)
    model.fit(X, y)
    net = nf.from_sklearn(model)
    close(net, model.predict_proba(X), X)
    again = net.copy()
    net.params["W1"][...] = 0
    np.testing.assert_array_equal(nf.from_sklearn(model).predict(X), again.predict(X))  # it has copies


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("kind", [LogisticRegression, LogisticRegressionCV])
def test_logistic_regression(kind, n_classes, intercept):
    X, y = classes(n_classes)
    options = {"cv": 3, "Cs": 3} if kind is LogisticRegressionCV else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model = kind(fit_intercept=intercept, **options).fit(X, np.array(list("dbca"))[y])
    net = nf.from_sklearn(model)
    close(net, probabilities(model, X), X)
    assert net.layers[0].use_bias is intercept
    best = net.predict_class(X) if n_classes == 2 else net.predict(X).argmax(axis=1)
    assert (model.classes_[best] == model.predict(X)).all()


@pytest.mark.skipif(VERSION >= (1, 8), reason="multi_class was removed")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_logistic_regression_of_old_versions():
    X, y = classes(2)
    model = LogisticRegression(multi_class="multinomial").fit(X, y)
    close(nf.from_sklearn(model), probabilities(model, X), X)
    X, y = classes(3)
    for options in ({"multi_class": "ovr"}, {"solver": "liblinear"}):
        with pytest.raises(ValueError, match="learned each class against the rest"):
            nf.from_sklearn(LogisticRegression(**options).fit(X, y))


@pytest.mark.parametrize(
    "model",
    [
        LinearRegression(), LinearRegression(fit_intercept=False), Ridge(), Lasso(0.01), ElasticNet(0.01),
        HuberRegressor(), SGDRegressor(random_state=0), LinearSVR(random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)  # fmt: skip
def test_linear_regressors(model):
    X, y = numbers()
    close(nf.from_sklearn(model.fit(X, y)), column(model.predict(X)), X)


def test_linear_regressors_of_several_outputs_and_in_float32():
    X, y = numbers(3)
    for model in (LinearRegression(), Ridge(), Lasso(0.01), MultiTaskLasso(0.01)):
        close(nf.from_sklearn(model.fit(X, y)), model.predict(X), X)
    X, y = numbers(1, np.float32)
    model = LinearRegression().fit(X, y)
    close(nf.from_sklearn(model), column(model.predict(X)), X, np.float32)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "model",
    [
        SGDClassifier(random_state=0), SGDClassifier(loss="modified_huber", random_state=0),
        Perceptron(random_state=0), LinearSVC(random_state=0), LinearSVC(loss="hinge", random_state=0),
        RidgeClassifier(), nfs.Perceptron(max_iter=5), SGDClassifier(loss="log_loss", random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.*not.*separa")
def test_decisions(model, n_classes):
    X, y = classes(n_classes)
    model = clone(model).fit(X, y)
    net = nf.from_sklearn(model)
    loss = getattr(model, "loss", None)
    probable = loss == "log_loss" and n_classes == 2
    close(net, probabilities(model, X) if probable else column(model.decision_function(X)), X)
    assert (net.loss_name == "hinge") == (loss == "hinge")
    if n_classes > 2:
        assert (model.classes_[net.predict(X).argmax(axis=1)] == model.predict(X)).all()
    elif not probable:
        assert (model.classes_[(net.predict(X)[:, 0] > 0).astype(int)] == model.predict(X)).all()


def test_sparse_coefficients():
    X, y = classes()
    model = SGDClassifier(penalty="l1", random_state=0).fit(X, y).sparsify()
    close(nf.from_sklearn(model), model.decision_function(X), X)


# ---- pipelines


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "scalers",
    [
        [StandardScaler()], [StandardScaler(with_mean=False)], [StandardScaler(with_std=False)],
        [StandardScaler(with_mean=False, with_std=False)], [MinMaxScaler((-1, 3))], [MaxAbsScaler()],
        [RobustScaler()], [RobustScaler(with_centering=False)], [RobustScaler(with_scaling=False)],
        ["passthrough", MinMaxScaler(), None, StandardScaler()],
    ],
    ids=str,
)  # fmt: skip
def test_pipelines(scalers, dtype):
    X, y = classes(3, dtype)
    X = X * 3 + 100  # where a factor and an offset in one would lose digits
    model = Pipeline([(f"step{i}", step) for i, step in enumerate([*scalers, MLPClassifier((5,), max_iter=3)])])
    model.fit(X, y)
    net = nf.from_sklearn(model)
    np.testing.assert_allclose(net.predict(X), model.predict_proba(X), atol=1e-4 if dtype == np.float32 else 1e-12)
    assert net.dtype == dtype
    scales = [layer for layer in net.layers if isinstance(layer, nf.Scale)]
    assert not any(layer.trainable for layer in scales)


def test_pipeline_in_a_pipeline_goes_on_training():
    X, y = classes()
    scaler = StandardScaler().fit(X)
    inner = MLPClassifier((5,), max_iter=3, shuffle=False, batch_size=120, random_state=0).fit(scaler.transform(X), y)
    model = make_pipeline(scaler, make_pipeline("passthrough", inner))
    net = nf.from_sklearn(model)
    close(net, model.predict_proba(X), X)
    for _ in range(20):
        inner.partial_fit(scaler.transform(X), y)
        net.train_step(X, y, optimizer=ADAM)
    close(net, model.predict_proba(X), X)


def test_scaled_targets():
    X, y = numbers(2)
    for targets, inner in ((y, Ridge()), (y[:, 0], MLPRegressor(hidden_layer_sizes=(5,), max_iter=5))):
        model = TransformedTargetRegressor(make_pipeline(StandardScaler(), inner), transformer=StandardScaler())
        model.fit(X, 10 * targets + 3)
        net = nf.from_sklearn(model)
        close(net, column(model.predict(X)), X)
        assert not net.layers[-1].trainable


# ---- training goes on


def stepped(dtype=np.float64, **options):
    X, y = classes(3, dtype)
    defaults = {"max_iter": 6, "random_state": 0, "shuffle": False, "batch_size": 40, "alpha": 0.1}
    return MLPClassifier((7, 5), **{**defaults, **options}).fit(X, y), X, y


@pytest.mark.parametrize(
    ("options", "optimizer"),
    [
        ({}, nf.Adam(1e-3, corrected_epsilon=True)),
        ({"beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-3, "learning_rate_init": 0.01},
         nf.Adam(0.01, beta1=0.8, beta2=0.99, epsilon=1e-3, corrected_epsilon=True)),
        ({"solver": "sgd"}, nf.SGD(1e-3, momentum=0.9, nesterov=True)),
        ({"solver": "sgd", "nesterovs_momentum": False}, nf.SGD(1e-3, momentum=0.9)),
        ({"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.1}, nf.SGD(0.1)),
    ],
)  # fmt: skip
def test_steps_are_scikit_learns(options, optimizer):
    model, X, y = stepped(**options)
    net = nf.from_sklearn(model)
    before = net.flat_params.copy()
    for _ in range(10):
        model.partial_fit(X, y)
        for start in range(0, 120, 40):
            net.train_step(X[start : start + 40], y[start : start + 40], optimizer=optimizer)
    assert abs(net.flat_params - before).max() > 1e-3
    for i in range(3):
        np.testing.assert_allclose(net.params[f"W{i + 1}"], model.coefs_[i], rtol=0, atol=1e-10)
        np.testing.assert_allclose(net.params[f"b{i + 1}"], model.intercepts_[i], rtol=0, atol=1e-10)
    # and back again: scikit-learn continues with what nnfast has reached
    back = net.to_sklearn(optimizer=optimizer).set_params(shuffle=False, batch_size=40)
    assert back.alpha == model.alpha
    for _ in range(10):
        model.partial_fit(X, y)
        back.partial_fit(X, y)
    for i in range(3):
        np.testing.assert_allclose(back.coefs_[i], model.coefs_[i], rtol=0, atol=1e-10)


def test_steps_of_several_outputs():
    X, y = numbers(3)
    model = MLPRegressor(hidden_layer_sizes=(5,), max_iter=3, shuffle=False, batch_size=120, random_state=0).fit(X, y)
    net = nf.from_sklearn(model)
    for _ in range(10):
        model.partial_fit(X, y)
        net.train_step(X, y, optimizer=ADAM)
    np.testing.assert_allclose(net.predict(X), model.predict(X), rtol=0, atol=1e-10)


def test_current_learning_rate():
    model, X, y = stepped(solver="sgd", learning_rate="invscaling", learning_rate_init=0.1)
    net = nf.from_sklearn(model)
    rate = 0.1 / (model.t_ + 1) ** 0.5
    model.set_params(batch_size=120).partial_fit(X, y)
    net.train_step(X, y, optimizer=nf.SGD(rate, momentum=0.9, nesterov=True))
    np.testing.assert_allclose(net.params["W1"], model.coefs_[0], rtol=0, atol=1e-10)


def test_steps_of_nnfasts_own_estimators():
    X, y = classes()
    model = nfs.MLPClassifier((5,), max_iter=3, shuffle=False, batch_size=120, random_state=0).fit(X, y)
    net = nf.from_sklearn(make_pipeline(StandardScaler(with_mean=False, with_std=False), model).fit(X, y))
    model.partial_fit(X, y)
    net.train_step(X, y, optimizer=ADAM)
    np.testing.assert_array_equal(net.flat_params, model.network_.flat_params)


def test_lbfgs_and_early_stopping_leave_nothing_to_continue_with():
    for options in ({"solver": "lbfgs"}, {"early_stopping": True}, {"warm_start": True}):
        model, X, y = stepped(**options)
        net = nf.from_sklearn(model, loss="cross_entropy", seed=1)
        close(net, model.predict_proba(X), X)
        net.fit(X, y, epochs=1, verbose=0)


# ---- errors


class Changed(MLPClassifier):
    def predict_proba(self, X):
        return super().predict_proba(X) ** 2


class Named(MLPClassifier):
    """The same under another name."""


def test_subclasses():
    X, y = classes()
    model = Named((5,), max_iter=3).fit(X, y)
    close(nf.from_sklearn(model), model.predict_proba(X), X)
    with pytest.raises(ValueError, match=r"estimator \(Changed\) has predict_proba of its own, and not of MLPClassif"):
        nf.from_sklearn(Changed((5,), max_iter=3).fit(X, y))


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor, nfs.MLPClassifier, LogisticRegression, SGDClassifier])
def test_not_fitted(kind):
    with pytest.raises(ValueError, match=rf"estimator \({kind.__name__}\) is not fitted: call its fit first"):
        nf.from_sklearn(kind())
    with pytest.raises(ValueError, match=r"estimator, step 'b' \(.*\) is not fitted"):
        nf.from_sklearn(Pipeline([("a", StandardScaler().fit(np.ones((2, 2)))), ("b", kind())]))
    with pytest.raises(ValueError, match=r"step 'a' \(StandardScaler\) is not fitted"):
        nf.from_sklearn(Pipeline([("a", StandardScaler()), ("b", kind())]))
    with pytest.raises(TypeError, match=f"a fitted object, got the class {kind.__name__}"):
        nf.from_sklearn(kind)


def test_what_is_not_supported():
    X, y = classes()
    for model in (SVC(), RandomForestClassifier(3)):
        name = type(model).__name__
        with pytest.raises(ValueError, match=rf"estimator \({name}\) is not supported: supported are MLPC"):
            nf.from_sklearn(model.fit(X, y))
    for step in (FunctionTransformer(), OneHotEncoder()):
        with pytest.raises(ValueError, match=rf"estimator, step 'a' \({type(step).__name__}\) is not supp"):
            nf.from_sklearn(Pipeline([("a", step), ("b", MLPClassifier())]))
    with pytest.raises(ValueError, match=r"step 'a' \(MinMaxScaler\) has clip=True"):
        nf.from_sklearn(Pipeline([("a", MinMaxScaler(clip=True)), ("b", LogisticRegression())]).fit(X, y))
    search = GridSearchCV(MLPClassifier((3,), max_iter=2), {"alpha": [0.1]}, cv=2).fit(X, y)
    with pytest.raises(ValueError, match=r"\(GridSearchCV\) is not supported: give its best_estimator_"):
        nf.from_sklearn(search)
    with pytest.raises(ValueError, match="only scales"):
        nf.from_sklearn(make_pipeline(StandardScaler()).fit(X))
    with pytest.raises(ValueError, match="only scales"):
        nf.from_sklearn(make_pipeline("passthrough"))
    with pytest.raises(ValueError, match="has 2 networks, whose outputs it averages"):
        nf.from_sklearn(nfs.MLPClassifier((3,), n_ensembles=2, max_iter=2).fit(X, y))
    with pytest.raises(ValueError, match="step 'b' comes after an estimator"):
        nf.from_sklearn(Pipeline([("a", LogisticRegression().fit(X, y)), ("b", LogisticRegression().fit(X, y))]))
    steps = [("a", StandardScaler().fit(X[:, :2])), ("b", LogisticRegression().fit(X, y))]
    with pytest.raises(ValueError, match=r"step 'b' \(LogisticRegression\) is for 6 features, and .* before it for 2"):
        nf.from_sklearn(Pipeline(steps))
    begun = nfs.MLPClassifier()
    begun.coefs_ = [np.zeros((6, 3))]
    with pytest.raises(ValueError, match=r"estimator \(MLPClassifier\) is not fitted"):
        nf.from_sklearn(begun)
    for wrong in (None, 3, "model.pkl", X):
        with pytest.raises(TypeError, match="estimator must be a fitted estimator of scikit-learn or nnfast, got"):
            nf.from_sklearn(wrong)
    fitted = MLPClassifier((3,), max_iter=2).fit(X, y)
    with pytest.raises(ValueError, match="loss"):
        nf.from_sklearn(fitted, loss="binary_cross_entropy")
    with pytest.raises(TypeError, match="seed"):
        nf.from_sklearn(fitted, seed="a")


def test_what_targets_are_transformed_by():
    X, y = numbers()
    for options, message in (
        ({"func": np.log1p, "inverse_func": np.expm1}, r"its transformer \(FunctionTransformer\) is not supported"),
        ({"transformer": MinMaxScaler()}, r"its transformer \(MinMaxScaler\) must be a StandardScaler"),
    ):
        model = TransformedTargetRegressor(Ridge(), **options).fit(X, abs(y))
        with pytest.raises(ValueError, match=message):
            nf.from_sklearn(model)
    with pytest.raises(ValueError, match="is not fitted"):
        nf.from_sklearn(TransformedTargetRegressor(Ridge()))
    scaler = StandardScaler(with_mean=False)
    model = TransformedTargetRegressor(nfs.MLPRegressor("poisson", (3,), max_iter=2), transformer=scaler)
    with pytest.raises(ValueError, match="prediction is an exponential"):
        nf.from_sklearn(model.fit(X, np.arange(len(X)) + 1.0))


# ---- networks as estimators


def network(layers, dtype=np.float64, loss=None, shape=6):
    net = nf.Sequential(layers, input_shape=shape, loss=loss, dtype=dtype, seed=0)
    net.flat_params[...] = np.random.default_rng(0).normal(size=net.n_parameters) / 2
    return net


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["identity", "sigmoid", "tanh", "relu"])
@pytest.mark.parametrize("output", [(1, "sigmoid"), (2, "softmax"), (4, "softmax"), (2, "log_softmax")])
def test_to_classifiers(activation, output, dtype):
    net = network([nf.Dense(5, activation), nf.Dropout(0.5), nf.Dense(4, activation), nf.Dense(*output)], dtype)
    X = classes(2, dtype)[0]
    model = net.to_sklearn()
    assert type(model) is MLPClassifier
    expected = np.exp(net.predict(X)) if output[1] == "log_softmax" else net.predict(X)
    found = model.predict_proba(X)
    np.testing.assert_allclose(found[:, -expected.shape[1] :], expected, rtol=0, atol=TOLERANCE[dtype])
    assert (model.predict(X) == net.predict_class(X).ravel()).all()
    assert model.coefs_[0].dtype == dtype
    assert model.score(X, model.predict(X)) == 1
    assert model.t_ == model.n_iter_ == 0
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), found)
    np.testing.assert_allclose(
        nf.from_sklearn(model).predict(X), found[:, 1:] if found.shape[1] == 2 else found, atol=1e-6
    )


@pytest.mark.parametrize("labels", [["no", "yes"], [False, True], [-1, 1], np.array([2.0, 5.0])])
def test_labels(labels):
    net = network([nf.Dense(3, "tanh"), nf.Dense(1, "sigmoid")])
    X = classes()[0]
    model = net.to_sklearn(classes=labels)
    np.testing.assert_array_equal(model.classes_, labels)
    np.testing.assert_array_equal(model.predict(X), np.array(labels)[net.predict_class(X).ravel()])
    model.partial_fit(X, model.predict(X))
    with pytest.raises(ValueError, match="classes"):
        model.partial_fit(X, np.arange(len(X)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_to_regressors(n_outputs, dtype):
    X, y = numbers(n_outputs, dtype)
    net = network([nf.Dense(5), nf.Activation("tanh"), nf.GaussianNoise(0.1), nf.Dense(n_outputs)], dtype)
    model = net.to_sklearn()
    assert type(model) is MLPRegressor
    np.testing.assert_allclose(column(model.predict(X)), net.predict(X), rtol=0, atol=10 * TOLERANCE[dtype])
    before = model.score(X, y)
    for _ in range(300):
        model.partial_fit(X, y)
    assert model.score(X, y) > before
    assert model.get_params()["random_state"] is None


def test_to_several_labels():
    X, y = make_multilabel_classification(100, 6, n_classes=4, random_state=0)
    net = network([nf.Dense(5, "relu"), nf.Dense(4, "sigmoid")])
    model = net.to_sklearn()
    np.testing.assert_allclose(model.predict_proba(X), net.predict(X), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(model.predict(X), net.predict_class(X))
    model.partial_fit(X, y)
    with pytest.raises(ValueError, match="classes must be left out: each of the 4 outputs"):
        net.to_sklearn(classes=[0, 1, 2, 3])


def test_to_pipelines():
    X = classes()[0] * 3 + 100
    layers = [nf.Rescaling(0.5, -50.0), nf.Scale(), nf.Scale(use_bias=False), nf.Flatten(), nf.Dense(3, "softmax")]
    net = network(layers)
    net.params["gamma1"][...] = [1, 2, -3, 4, 5, 6]
    model = net.to_sklearn(classes=list("abc"))
    assert [type(step).__name__ for step in model.named_steps.values()] == ["StandardScaler", "MLPClassifier"]
    np.testing.assert_allclose(model.predict_proba(X), net.predict(X), rtol=0, atol=1e-10)
    np.testing.assert_allclose(nf.from_sklearn(model).predict(X), net.predict(X), rtol=0, atol=1e-10)
    pickle.loads(pickle.dumps(model)).predict(X)
    net.params["gamma1"][2] = 0
    with pytest.raises(ValueError, match=r"layers\[1\], Scale\(\), multiplies feature 2 by zero"):
        net.to_sklearn()


def test_round_trip_of_a_pipeline_is_exact_in_double_precision():
    X, y = classes()
    model = make_pipeline(StandardScaler(), MLPClassifier((5,), max_iter=5, random_state=0)).fit(X * 3 + 1e4, y)
    again = nf.from_sklearn(model).to_sklearn()
    np.testing.assert_allclose(again.predict_proba(X * 3 + 1e4), model.predict_proba(X * 3 + 1e4), rtol=0, atol=1e-12)


def test_no_hidden_layers_no_biases_and_several_axes():
    X = np.random.default_rng(0).normal(size=(20, 2, 3))
    net = network([nf.Flatten(), nf.Dense(3, "softmax", use_bias=False)], shape=(2, 3))
    model = net.to_sklearn()
    assert model.hidden_layer_sizes == ()
    np.testing.assert_allclose(model.predict_proba(X.reshape(20, 6)), net.predict(X), rtol=0, atol=1e-12)
    assert not model.intercepts_[0].any()


def test_the_global_random_stream_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    network([nf.Dense(3)]).to_sklearn()
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nf.Dense(3), nf.BatchNorm(), nf.Dense(1)], r"layers\[1\], BatchNorm\(\), has no counterpart"),
        ([nf.Dense(3), nf.Scale(), nf.Dense(1)], r"layers\[1\], Scale\(\), has no counterpart"),
        ([nf.Dense(3, "tanh"), nf.Activation("tanh"), nf.Dense(1)], r"layers\[1\], Activation"),
        ([nf.Residual([nf.Dense(6)]), nf.Dense(1)], r"layers\[0\], Residual"),
        ([nf.Dense(3, "gelu"), nf.Dense(1)], r"layers\[0\] has activation 'gelu', and the hidden layers"),
        ([nf.Dense(3, "relu"), nf.Dense(3, "tanh"), nf.Dense(1)], r"layers\[1\] has activation 'tanh' and layers\[0\]"),
        ([nf.Dense(3, "relu"), nf.Dense(1, "tanh")], r"layers\[1\] has activation 'tanh', and the output"),
        ([nf.Scale()], "no Dense layer"),
        ([nf.Dense(4), nf.Reshape((2, 2))], r"must have one axis, got shape \(2, 2\)"),
    ],
)
def test_networks_that_are_no_perceptrons(layers, message):
    with pytest.raises(ValueError, match=message):
        network(layers).to_sklearn()


def test_wrong_arguments():
    net = network([nf.Dense(3, "softmax")])
    with pytest.raises(ValueError, match="classes must be 3 labels, in the order of the outputs"):
        net.to_sklearn(classes=[0, 1])
    with pytest.raises(ValueError, match="different labels in ascending order"):
        net.to_sklearn(classes=["b", "a", "c"])
    with pytest.raises(ValueError, match="different labels in ascending order"):
        net.to_sklearn(classes=[0, 0, 1])
    with pytest.raises(TypeError, match="classes must be labels that can be ordered"):
        net.to_sklearn(classes=[1, "a", None])
    with pytest.raises(ValueError, match="classes must be left out: the output layer has activation 'identity'"):
        network([nf.Dense(3)]).to_sklearn(classes=[0, 1, 2])
    with pytest.raises(RuntimeError, match="input shape"):
        nf.Sequential([nf.Dense(3)]).to_sklearn()
    with pytest.raises(ValueError, match="optimizer must be Adam or SGD"):
        net.to_sklearn(optimizer="rmsprop")
    with pytest.raises(
        ValueError, match=r"as scikit-learn's, Adam\(learning_rate=0.001, corrected_epsilon=True\), got"
    ):
        net.to_sklearn(optimizer="adam")
    with pytest.raises(ValueError, match="optimizer must be as scikit-learn's"):
        net.to_sklearn(optimizer=nf.SGD(0.1, weight_decay=0.1))
    with pytest.raises(ValueError, match="a number as learning_rate"):
        net.to_sklearn(optimizer=nf.SGD(nf.schedules.Cosine(0.1, steps=10)))


def test_convergence_warning_is_scikit_learns():
    with pytest.warns(ConvergenceWarning):
        stepped(max_iter=1)
