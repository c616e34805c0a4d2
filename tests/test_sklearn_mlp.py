"""What the estimators offer beyond scikit-learn's: each option against what it stands for, and what must be refused."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.5", reason="nnfast.sklearn needs scikit-learn")

from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.metrics import accuracy_score, log_loss, make_scorer, mean_squared_error, r2_score, roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from tolerances import assert_close

import nnfast as nf
from nnfast.sklearn import MLPClassifier, MLPRegressor
from nnfast.training import FitArguments, Given, Patience, fit
from nnfast.training.many import fit_many

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(14)
N, D = 90, 4
X = RNG.standard_normal((N, D))
BINARY = (X[:, 0] + X[:, 1] + 0.3 * RNG.standard_normal(N) > 0).astype(int)
CLASSES = np.digitize(X[:, 0] + 0.3 * RNG.standard_normal(N), [-0.5, 0.6])
LABELS = (X[:, :3] + 0.3 * RNG.standard_normal((N, 3)) > 0).astype(int)
REAL = 2 * X[:, 0] - X[:, 1] + 0.1 * RNG.standard_normal(N)
SEVERAL = np.column_stack([REAL, X[:, 2] * X[:, 3]])
COUNTS = RNG.poisson(np.exp(X[:, 0] / 2)).astype(float)
WEIGHTS = RNG.random(N) + 0.1
for shared in (X, BINARY, CLASSES, LABELS, REAL, SEVERAL, COUNTS, WEIGHTS):
    shared.flags.writeable = False

TASKS = {
    "binary": (MLPClassifier, BINARY),
    "multiclass": (MLPClassifier, CLASSES),
    "multilabel": (MLPClassifier, LABELS),
    "regression": (MLPRegressor, REAL),
    "several outputs": (MLPRegressor, SEVERAL),
}
EACH_TASK = pytest.mark.parametrize("task", TASKS)
BOTH = pytest.mark.parametrize("task", ["multiclass", "regression"])
NOT_REPORTED = {"network_", "networks_"}


def classifier(**options):
    return MLPClassifier(**{"hidden_layer_sizes": 5, "max_iter": 6, "random_state": 0, "batch_size": 20, **options})


def regressor(**options):
    return MLPRegressor(**{"hidden_layer_sizes": 5, "max_iter": 6, "random_state": 0, "batch_size": 20, **options})


def model_of(task, **options):
    kind, y = TASKS[task]
    return (classifier if kind is MLPClassifier else regressor)(**options), y


def outputs(model, x=X):
    return model.predict_proba(x) if is_classifier(model) else model.predict(x)


def parameters(model):
    return [net.flat_params.copy() for net in model.networks_]


def attributes(model):
    """What is known after a fit, as text and bytes."""
    known = {name: value for name, value in vars(model).items() if name.endswith("_") and not name.startswith("_")}
    known |= {"_several_labels": getattr(model, "_several_labels", None)}
    return pickle.dumps(sorted(known.items()))


def assert_same(one, other):
    """The same bits in what two models have learned, and the same report."""
    for a, b in zip(parameters(one), parameters(other), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("loss_curve_", "validation_scores_", "validation_loss_curve_", "best_loss_", "best_validation_score_",
                 "loss_", "n_iter_", "t_", "converged_"):  # fmt: skip
        np.testing.assert_equal(getattr(one, name), getattr(other, name), name)


# ---- class_weight


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize(
    ("y", "weights"),
    [
        (BINARY, {0: 1, 1: 3.5}),
        (BINARY, "balanced"),
        (CLASSES, {0: 0.5, 2: 2, 1: 1}),
        (CLASSES, "balanced"),
        (np.array(["a", "b", "c"])[CLASSES], {"a": 3, "b": 1, "c": 2}),
        (LABELS, [{0: 1, 1: 2}, {0: 3, 1: 1}, {0: 1, 1: 1}]),
        (LABELS, [{1: 2}, {0: 3}, {}]),
        (LABELS, "balanced"),
    ],
    ids=["two", "two balanced", "three", "three balanced", "names", "labels", "some labels", "labels balanced"],
)
def test_class_weight_is_the_equivalent_sample_weight(y, weights, solver):
    full = weights
    if isinstance(weights, list):
        full = [{0: 1, 1: 1} | entry for entry in weights]
    rows = compute_sample_weight(full, y)
    for given, product in ((None, rows), (WEIGHTS, rows * WEIGHTS)):
        model = classifier(class_weight=weights, solver=solver).fit(X, y, given)
        assert_same(model, classifier(solver=solver).fit(X, y, product))
        assert parameters(model)[0].tobytes() != parameters(classifier(solver=solver).fit(X, y, given))[0].tobytes()


def test_class_weight_of_parts_of_the_data():
    first, second = CLASSES < 2, CLASSES > 0  # each part lacks a class
    weights = {0: 1, 1: 2, 2: 5}
    model, twin = classifier(class_weight=weights), classifier()
    for rows in (first, second):
        model.partial_fit(X[rows], CLASSES[rows], classes=[0, 1, 2])
        twin.partial_fit(X[rows], CLASSES[rows], compute_sample_weight(weights, CLASSES)[rows], classes=[0, 1, 2])
    assert_same(model, twin)
    rows = LABELS[:, 0] == 0
    model = classifier(class_weight=[{1: 2}, {0: 2}, {}]).partial_fit(X[rows], LABELS[rows], classes=[0, 1, 2])
    expected = np.where(LABELS[rows][:, 1] == 0, 2.0, 1.0)
    assert_same(model, classifier().partial_fit(X[rows], LABELS[rows], expected, classes=[0, 1, 2]))


def test_class_weight_does_not_count_in_validation():
    validation = {"X_val": X, "y_val": BINARY}
    model = classifier(class_weight={0: 1, 1: 5}, early_stopping=True).fit(X, BINARY, **validation)
    weights = compute_sample_weight({0: 1, 1: 5}, BINARY)
    twin = classifier(early_stopping=True).fit(X, BINARY, weights, **validation)
    assert_same(model, twin)
    assert model.best_validation_score_ == pytest.approx(accuracy_score(BINARY, model.predict(X)))


@pytest.mark.parametrize(
    ("y", "weights", "message"),
    [
        (BINARY, {0: 1, 5: 2}, "class_weight"),
        (BINARY, {0: -1, 1: 2}, "negative"),
        (BINARY, {0: 0, 1: 0}, "all zero"),
        (BINARY, {0: np.nan, 1: 2}, "finite"),
        (BINARY, [{0: 1, 1: 2}], "^class_weight must be a dict of class to weight or 'balanced' unless"),
        (BINARY, "even", "^The 'class_weight' parameter of MLPClassifier must be"),
        (LABELS, {0: 1, 1: 2}, "list of dicts"),
        (LABELS, [{0: 1, 1: 2}], "match number of outputs"),
    ],
)
def test_wrong_class_weights(y, weights, message):
    with pytest.raises(ValueError, match=message):
        classifier(class_weight=weights).fit(X, y)


def test_balanced_needs_all_rows():
    with pytest.raises(ValueError, match=r"^class_weight='balanced' needs all rows at once"):
        classifier(class_weight="balanced").partial_fit(X, BINARY, classes=[0, 1])


# ---- layers


def kinds(model):
    return [type(layer).__name__ for layer in model.network_.layers]


def test_layers_of_the_network():
    options = {"hidden_layer_sizes": (6, 5)}
    assert kinds(classifier(**options).fit(X, BINARY)) == ["Dense", "Dense", "Dense"]
    model = classifier(dropout=0.25, batch_norm=True, activation="gelu", **options).fit(X, CLASSES)
    assert kinds(model) == [*["Dense", "BatchNorm", "Activation", "Dropout"] * 2, "Dense"]
    layers = model.network_.layers
    assert [layer.rate for layer in layers if isinstance(layer, nf.Dropout)] == [0.25, 0.25]
    assert [layer.units for layer in layers if isinstance(layer, nf.Dense)] == [6, 5, 3]
    assert layers[-1].function == nf.activations.Softmax()
    model = regressor(dropout=[0, 0.5], activation=["tanh", nf.activations.LeakyReLU(0.2)], **options).fit(X, REAL)
    assert kinds(model) == ["Dense", "Dense", "Dropout", "Dense"]
    found = [layer.function for layer in model.network_.layers if isinstance(layer, nf.Dense)]
    assert found == [nf.activations.Tanh(), nf.activations.LeakyReLU(0.2), nf.activations.Identity()]
    assert kinds(regressor(hidden_layer_sizes=(), dropout=0.5, batch_norm=True).fit(X, REAL)) == ["Dense"]


def test_every_activation_by_name_and_as_an_object():
    for name in nf.activations.NAMES:
        model = regressor(activation=name, max_iter=2)
        if name == "step":
            with pytest.warns(UserWarning, match="gradient"):
                model.fit(X, REAL)
        else:
            model.fit(X, REAL)
        assert model.network_.layers[0].function.name == name
    assert_same(classifier(activation="logistic").fit(X, BINARY), classifier(activation="sigmoid").fit(X, BINARY))
    assert_same(
        classifier(activation="elu").fit(X, BINARY), classifier(activation=[nf.activations.ELU()]).fit(X, BINARY)
    )


def test_dropout_and_batch_norm_act_in_training_alone():
    plain, dropped = (classifier(dropout=rate, max_iter=2).fit(X, BINARY) for rate in (0.0, 0.5))
    assert plain.loss_ != dropped.loss_
    np.testing.assert_array_equal(dropped.predict_proba(X), dropped.predict_proba(X))
    model = classifier(batch_norm=True).fit(X, BINARY)
    assert_close(model.predict_proba(X[:1]), model.predict_proba(X)[:1])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"dropout": [0.1, 0.2]}, ValueError, "^dropout must be one for all hidden layers or a list with one for each"),
        ({"dropout": [1.0]}, ValueError, r"^dropout\[0\] must be a number in \[0, 1\), got 1.0$"),
        ({"dropout": ["much"]}, TypeError, r"^dropout\[0\] must be a number"),
        ({"dropout": [True]}, TypeError, r"^dropout\[0\] must be a number"),
        ({"dropout": 1.0}, ValueError, "^The 'dropout' parameter of MLPClassifier must be"),
        ({"dropout": -0.1}, ValueError, "^The 'dropout' parameter of MLPClassifier must be"),
        ({"activation": ["relu", "tanh"]}, ValueError, "^activation must be one for all hidden layers or a list"),
        ({"activation": ["bent"]}, ValueError, r"^activation\[0\] must be one of .*'relu'.*, got 'bent'"),
        ({"activation": [3]}, TypeError, r"^activation\[0\] must be"),
        ({"activation": "bent"}, ValueError, "^The 'activation' parameter of MLPClassifier must be"),
        ({"hidden_layer_sizes": (10.5,)}, TypeError, "^hidden_layer_sizes must be one or more integers"),
        ({"hidden_layer_sizes": (True,)}, TypeError, "^hidden_layer_sizes must be one or more integers"),
        ({"hidden_layer_sizes": ("10",)}, TypeError, "^hidden_layer_sizes must be one or more integers"),
        ({"hidden_layer_sizes": [[3, 4]]}, TypeError, "^hidden_layer_sizes must be one or more integers"),
    ],
)
def test_wrong_layers(options, kind, message, solver):
    with pytest.raises(kind, match=message):
        classifier(solver=solver, **options).fit(X, BINARY)


def test_dropout_does_not_go_with_lbfgs():
    for rate in (0.1, [0.1]):
        with pytest.raises(ValueError, match="^dropout must be 0 with solver='lbfgs'"):
            classifier(solver="lbfgs", dropout=rate).fit(X, BINARY)


def test_batch_norm_meets_no_mini_batch_of_one_row():
    model = classifier(batch_norm=True, batch_size="auto", max_iter=1)
    assert model.batch_size_of(201) == 199
    assert model.batch_size_of(199 * 200 + 1) == 198
    assert model.batch_size_of(200) == model.batch_size_of(202) == 200
    assert classifier(batch_size="auto").batch_size_of(201) == 200
    x = np.repeat(X, 3, axis=0)[:201]
    assert len(model.fit(x, np.arange(201) % 2).network_.history.step_loss) == 2
    with pytest.raises(ValueError, match="BatchNorm needs at least two rows"):
        classifier(batch_norm=True, batch_size=89).fit(X, BINARY)


# ---- losses


def test_names_of_losses():
    expected = {
        "squared_error": nf.losses.SumSquaredError(),
        "absolute_error": nf.losses.MeanAbsoluteError(),
        "huber": nf.losses.Huber(),
        "poisson": nf.losses.Poisson(reduction="sum"),
    }
    for name, loss in expected.items():
        assert regressor(loss=name).fit(X, COUNTS).network_.loss_function == loss
    assert regressor(loss="quantile", quantile=0.3).fit(X, REAL).network_.loss_function == nf.losses.Quantile(0.3)
    for y, focal, entropy in [
        (BINARY, nf.losses.BinaryFocal(), nf.losses.BinaryCrossEntropy(reduction="sum")),
        (CLASSES, nf.losses.Focal(), nf.losses.CrossEntropy()),
        (LABELS, nf.losses.BinaryFocal(), nf.losses.BinaryCrossEntropy(reduction="sum")),
    ]:
        assert classifier(loss="focal").fit(X, y).network_.loss_function == focal
        assert classifier().fit(X, y).network_.loss_function == entropy
        assert_same(classifier(loss=focal).fit(X, y), classifier(loss="focal").fit(X, y))


@pytest.mark.parametrize("loss", ["absolute_error", "huber"])
@pytest.mark.parametrize("y", [REAL, SEVERAL], ids=["one", "two"])
def test_the_loss_is_what_its_name_says(loss, y):
    model = regressor(loss=loss, solver="lbfgs", alpha=0.0, max_iter=20).fit(X, y, X_val=X, y_val=y)
    error = np.abs(model.predict(X) - y)
    formula = error if loss == "absolute_error" else np.where(error < 1, error**2 / 2, error - 0.5)
    assert model.loss_ == pytest.approx(formula.mean(), rel=1e-12)
    assert model.validation_loss_curve_[-1] == pytest.approx(formula.mean(), rel=1e-12)


def test_focal_loss():
    model = classifier(loss="focal", solver="lbfgs", alpha=0.0, max_iter=20).fit(X, CLASSES)
    p = model.predict_proba(X)[np.arange(N), CLASSES]
    assert model.loss_ == pytest.approx(np.mean(-0.25 * (1 - p) ** 2 * np.log(p)), rel=1e-12)


def test_quantiles_cover_what_they_say():
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, (3000, 1))
    y = x[:, 0] + rng.standard_normal(3000) * (1 + x[:, 0] / 2)
    options = {"batch_size": 100, "max_iter": 40, "learning_rate_init": 0.01, "tol": 0}
    for quantile in (0.1, 0.9):
        model = regressor(loss="quantile", quantile=quantile, **options).fit(x[:2000], y[:2000])
        # five standard errors of a fraction of 1,000 held rows, and as much for what 2,000 rows can teach
        allowed = 5 * np.sqrt(quantile * (1 - quantile) * (1 / 1000 + 1 / 2000))
        assert abs(np.mean(y[2000:] < model.predict(x[2000:])) - quantile) < allowed
    model = regressor(loss=nf.losses.Quantile([0.1, 0.5, 0.9]), **options).fit(x[:2000], y[:2000])
    found = model.predict(x[2000:])
    assert found.shape == (1000, 3)
    assert model.n_outputs_ == 3
    for quantile, column in zip([0.1, 0.5, 0.9], found.T, strict=True):
        assert abs(np.mean(y[2000:] < column) - quantile) < 5 * np.sqrt(0.25 * (1 / 1000 + 1 / 2000))


def test_quantiles_need_a_score_of_their_own():
    model = regressor(loss=nf.losses.Quantile([0.1, 0.9]), early_stopping=True)
    with pytest.raises(ValueError, match="^scoring must be 'loss' or a scorer of your own"):
        model.fit(X, REAL)
    assert not hasattr(model, "networks_")
    model.set_params(scoring="loss").fit(X, REAL)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert regressor(loss=nf.losses.Quantile([0.1, 0.9])).fit(X, SEVERAL).predict(X).shape == (N, 4)


def test_a_missing_quantile():
    with pytest.raises(ValueError, match=r"^quantile must be a number in \(0, 1\) with loss='quantile', got None$"):
        regressor(loss="quantile").fit(X, REAL)
    with pytest.raises(ValueError, match="^The 'quantile' parameter of MLPRegressor"):
        regressor(loss="quantile", quantile=1.0).fit(X, REAL)


@pytest.mark.parametrize("loss", ["poisson", nf.losses.Poisson()], ids=str)
def test_poisson(loss):
    model = regressor(loss=loss, solver="lbfgs", alpha=0.0, max_iter=30).fit(X, COUNTS)
    assert (model.predict(X) > 0).all()
    assert model.out_activation_ == "exp"
    assert_close(model.predict(X), np.exp(model.network_.predict(X)[:, 0]), kind="sum", scale=model.predict(X))
    with pytest.raises(ValueError, match="y must not be negative for loss 'poisson'"):
        model.fit(X, COUNTS - 1)


def own(outputs, targets):
    return np.mean((outputs - targets) ** 2), 2 * (outputs - targets) / outputs.size


def test_loss_objects():
    wide = regressor(loss=nf.losses.Huber(delta=50.0), alpha=0.0).fit(X, REAL)
    assert parameters(wide)[0] == pytest.approx(parameters(regressor(alpha=0.0).fit(X, REAL))[0], rel=1e-9)
    smooth = classifier(loss=nf.losses.CrossEntropy(label_smoothing=0.2), solver="lbfgs", max_iter=300).fit(X, CLASSES)
    sharp = classifier(solver="lbfgs", max_iter=300).fit(X, CLASSES)
    assert smooth.predict_proba(X).max() < sharp.predict_proba(X).max()
    model = regressor(loss=nf.losses.Custom(own)).fit(X, REAL)
    twin = regressor(loss=nf.losses.MeanSquaredError()).fit(X, REAL)
    assert parameters(model)[0] == pytest.approx(parameters(twin)[0], rel=1e-9)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.predict(X), model.predict(X))


def test_a_loss_that_is_set_later_changes_nothing():
    model = regressor(loss="poisson").fit(X, COUNTS)
    before, gradient = model.predict(X), model.input_gradient(X)
    for loss in ("squared_error", nf.losses.Custom(own), nf.losses.Quantile([0.1, 0.9])):
        model.set_params(loss=loss)
        for twin in (model, pickle.loads(pickle.dumps(model))):
            np.testing.assert_array_equal(twin.predict(X), before)
            np.testing.assert_array_equal(twin.input_gradient(X), gradient)
            assert twin.network_.loss_function == nf.losses.Poisson(reduction="sum")
    model = regressor(loss=nf.losses.Custom(own)).fit(X, REAL).set_params(loss="huber")
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("task", "loss"),
    [
        ("binary", nf.losses.CrossEntropy()),
        ("binary", nf.losses.Focal()),
        ("binary", nf.losses.Poisson()),
        ("multiclass", nf.losses.BinaryCrossEntropy()),
        ("multiclass", nf.losses.Quantile(0.5)),
        ("multilabel", nf.losses.CrossEntropy()),
        ("regression", nf.losses.CrossEntropy()),
        ("regression", nf.losses.BinaryFocal()),
        ("regression", nf.losses.Poisson(log_input=False)),
    ],
    ids=str,
)
def test_a_loss_that_does_not_fit_the_output(task, loss):
    model, y = model_of(task, loss=loss)
    with pytest.raises(ValueError, match=f"^loss '{loss.name}' needs"):
        model.fit(X, y)
    with pytest.raises(ValueError, match=f"^The 'loss' parameter of {type(model).__name__} must be"):
        model.set_params(loss="hinge").fit(X, y)


# ---- validation while training


def by_hand(model, y, x_val, y_val, weights):
    """The score and the loss, without penalty, of a fitted model on rows to validate on."""
    if is_classifier(model):
        score = accuracy_score(y_val, model.predict(x_val), sample_weight=weights)
        p = model.predict_proba(x_val)
        if y.ndim == 2:
            loss = -np.average((y_val * np.log(p) + (1 - y_val) * np.log(1 - p)).sum(axis=1), weights=weights)
        else:
            loss = log_loss(y_val, p, sample_weight=weights, labels=model.classes_)
        return score, loss
    predicted = model.predict(x_val)
    score = r2_score(y_val, predicted, sample_weight=weights)
    return score, mean_squared_error(y_val, predicted, sample_weight=weights) / 2


@pytest.mark.parametrize(
    "options", [{}, {"solver": "sgd", "learning_rate": "invscaling"}, {"solver": "lbfgs"}], ids=["adam", "sgd", "lbfgs"]
)
@pytest.mark.parametrize("weights", [None, WEIGHTS[60:]], ids=["plain", "weighted"])
@EACH_TASK
def test_validation_after_each_epoch(task, weights, options):
    _, y = model_of(task)
    data = {"X_val": X[60:], "y_val": y[60:], "sample_weight_val": weights}
    model, _ = model_of(task, alpha=0.1, **options)
    model.fit(X[:60], y[:60], **data)
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == model.n_iter_ == 6
    expected = []
    for epochs in range(1, 7):
        after, _ = model_of(task, alpha=0.1, max_iter=epochs, **options)
        expected.append(by_hand(after.fit(X[:60], y[:60]), y, X[60:], y[60:], weights))
    found = np.transpose([model.validation_scores_, model.validation_loss_curve_])
    assert_close(found, np.array(expected), kind="peer", scale=1 + np.abs(expected))
    np.testing.assert_array_equal(after.loss_curve_, model.loss_curve_)  # looking on changes nothing
    np.testing.assert_array_equal(parameters(after), parameters(model))
    assert model.best_validation_score_ is None
    assert model.best_loss_ == min(model.loss_curve_)


def test_validation_of_poisson_and_sparse_rows():
    data = {"X_val": sparse.csr_matrix(X[60:]), "y_val": COUNTS[60:]}
    model = regressor(loss="poisson", alpha=0.0).fit(sparse.csc_matrix(X[:60]), COUNTS[:60], **data)
    predicted = model.predict(X[60:])
    y = COUNTS[60:]
    with np.errstate(divide="ignore", invalid="ignore"):
        deviance = np.where(y > 0, y * np.log(y / predicted), 0) - y + predicted
    assert model.validation_loss_curve_[-1] == pytest.approx(deviance.mean(), rel=1e-12)
    assert model.validation_scores_[-1] == pytest.approx(r2_score(y, predicted), rel=1e-12)


def test_labels_to_validate_on_may_be_strings():
    names = np.array(["one", "two", "three"])[CLASSES]
    data = {"X_val": X, "y_val": names}
    named = classifier(early_stopping=True).fit(X, names, **data)
    assert named.validation_scores_[-1] == pytest.approx(accuracy_score(names, named.predict(X)), abs=0.5)
    assert max(named.validation_scores_) == accuracy_score(names, named.predict(X))


@pytest.mark.parametrize(
    ("options", "score"),
    [
        ({"scoring": None}, accuracy_score),
        ({"scoring": "loss"}, None),
        ({"scoring": "roc_auc"}, roc_auc_score),
        ({"scoring": make_scorer(log_loss, greater_is_better=False, response_method="predict_proba")}, None),
    ],
    ids=["default", "loss", "roc_auc", "scorer"],
)
def test_early_stopping_restores_the_best(options, score):
    options |= {"early_stopping": True, "max_iter": 60, "tol": 0, "n_iter_no_change": 60, "learning_rate_init": 0.1}
    model = classifier(**options).fit(X[:40], BINARY[:40], X_val=X[40:], y_val=BINARY[40:])
    best = int(np.argmax(model.validation_scores_))
    assert best < 59  # or there would be nothing to restore
    twin = classifier(**{**options, "max_iter": best + 1}).fit(X[:40], BINARY[:40], X_val=X[40:], y_val=BINARY[40:])
    np.testing.assert_array_equal(parameters(model), parameters(twin))
    assert model.best_validation_score_ == max(model.validation_scores_)
    if score is None:
        assert model.best_validation_score_ == pytest.approx(-log_loss(BINARY[40:], model.predict_proba(X[40:])))
        assert model.best_validation_score_ == -min(model.validation_loss_curve_) or options["scoring"] != "loss"
    else:
        found = model.predict(X[40:]) if score is accuracy_score else model.predict_proba(X[40:])[:, 1]
        assert model.best_validation_score_ == score(BINARY[40:], found)
    assert model.best_loss_ is None


def test_statistics_of_batch_norm_are_restored_too():
    options = {"early_stopping": True, "scoring": "loss", "batch_norm": True, "learning_rate_init": 0.2, "max_iter": 30}
    model = regressor(**options).fit(X[:40], REAL[:40], X_val=X[40:], y_val=REAL[40:])
    assert np.argmin(model.validation_loss_curve_) < model.n_iter_ - 1
    loss = mean_squared_error(REAL[40:], model.predict(X[40:])) / 2
    assert loss == pytest.approx(min(model.validation_loss_curve_), rel=1e-12)


def test_early_stopping_of_its_own_rows_scores_on_held_rows():
    model = regressor(early_stopping=True, validation_fraction=0.3, scoring="loss").fit(X, REAL)
    assert model.t_ == model.n_iter_ * 63
    assert model.validation_scores_ == [-loss for loss in model.validation_loss_curve_]


class Strict:
    """A scorer that looks at what it gets."""

    def __init__(self):
        self.seen = []

    def __call__(self, model, x, y, sample_weight=None):
        self.seen.append((x.shape, len(y), sample_weight is not None, len(model.networks_)))
        return float(len(self.seen))


@pytest.mark.parametrize("n_ensembles", [1, 3])
def test_a_scorer_of_ones_own(n_ensembles):
    scorer = Strict()
    model = classifier(early_stopping=True, scoring=scorer, n_ensembles=n_ensembles)
    model.fit(X, BINARY, X_val=X[:30], y_val=BINARY[:30], sample_weight_val=WEIGHTS[:30])
    assert scorer.seen == [((30, D), 30, True, 1)] * 6 * n_ensembles


@pytest.mark.parametrize("options", [{}, {"scoring": "neg_mean_squared_error"}, {"loss": "absolute_error"}], ids=str)
def test_validation_on_a_frame_does_not_warn(options):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    model = regressor(early_stopping=True, **options).fit(frame, REAL)
    assert list(model.feature_names_in_) == list("abcd")
    assert_same(model, regressor(early_stopping=True, **options).fit(X, REAL))
    regressor(**options).fit(frame, REAL, X_val=frame[:20], y_val=REAL[:20])
    with pytest.raises(ValueError, match="in X_val, y_val, sample_weight_val: .*feature names"):
        model.fit(frame, REAL, X_val=frame.rename(columns={"a": "z"}), y_val=REAL)


WRONG_VALIDATION = {
    "X alone": ({"X_val": X}, "^X_val and y_val must be given together, got X_val alone$"),
    "y alone": ({"y_val": BINARY}, "^X_val and y_val must be given together, got y_val alone$"),
    "weights alone": ({"sample_weight_val": WEIGHTS}, "must be given together, got sample_weight_val alone$"),
    "features": ({"X_val": X[:, :3], "y_val": BINARY}, "^in X_val, y_val.*X has 3 features"),
    "length": ({"X_val": X, "y_val": BINARY[:50]}, "^in X_val, y_val.*inconsistent numbers of samples"),
    "NaN": ({"X_val": X * np.nan, "y_val": BINARY}, "^in X_val, y_val.*NaN"),
    "labels": ({"X_val": X, "y_val": BINARY + 1}, r"^in X_val, y_val.*classes not in"),
    "matrix": ({"X_val": X, "y_val": LABELS}, r"."),
    "weights": ({"X_val": X, "y_val": BINARY, "sample_weight_val": WEIGHTS[:5]}, "^in X_val, y_val.*sample_weight"),
    "negative": ({"X_val": X, "y_val": BINARY, "sample_weight_val": -WEIGHTS}, "rows to validate on.*negative"),
    "no weight": ({"X_val": X, "y_val": BINARY, "sample_weight_val": 0 * WEIGHTS}, "^in .*zero"),
}


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("case", WRONG_VALIDATION)
def test_wrong_rows_to_validate_on(case, solver):
    data, message = WRONG_VALIDATION[case]
    model = classifier(solver=solver).fit(X, BINARY)
    before, known = parameters(model), attributes(model)
    with pytest.raises(ValueError, match=message):
        model.fit(X, BINARY, **data)
    np.testing.assert_array_equal(parameters(model), before)
    assert attributes(model) == known


def test_wrong_targets_to_validate_on():
    for options, y, y_val, message in [
        ({}, REAL, SEVERAL, "rows to validate on: y must have shape"),
        ({}, SEVERAL, REAL, "rows to validate on: y must have shape"),
        ({"loss": "poisson"}, COUNTS, COUNTS - 1, "rows to validate on: y must not be negative"),
        ({}, REAL, np.full(N, np.inf), "infinity"),
    ]:
        model = regressor(**options).fit(X, y)
        before, known = parameters(model), attributes(model)
        with pytest.raises(ValueError, match=message):
            model.fit(X, y, X_val=X, y_val=y_val)
        np.testing.assert_array_equal(parameters(model), before)
        assert attributes(model) == known


# ---- how long training lasts


def test_max_seconds():
    for options in ({}, {"verbose": 0, "solver": "sgd"}, {"solver": "lbfgs", "tol": 0}, {"n_ensembles": 2}):
        model = classifier(max_iter=10**6, tol=0, n_iter_no_change=np.inf, max_seconds=0.05, max_fun=10**9)
        model.set_params(**({"tol": 0} | options)).fit(X, BINARY)
        assert 1 <= model.n_iter_ < 10**6
        assert np.isfinite(model.loss_)
    with pytest.raises(ValueError, match="^The 'max_seconds' parameter"):
        classifier(max_seconds=0).fit(X, BINARY)


@pytest.mark.parametrize("looked_at", [False, True])
def test_an_epoch_that_was_cut_short_is_not_continued(looked_at):
    x, y = np.tile(X, (3, 1)), np.tile(BINARY, 3)
    validation = {"X_val": X, "y_val": BINARY} if looked_at else {}
    model = classifier(batch_size=1, max_seconds=1e-9).fit(x, y, **validation)  # ends after its first step
    assert model.t_ == len(model.network_.history.step_loss) == 1
    assert model.n_iter_ == 1
    assert not model.converged_
    model.set_params(max_seconds=None).partial_fit(x[::-1], y[::-1], **validation)
    assert model.t_ == 1 + len(x)
    assert len(model.network_.history.step_loss) == len(x)


def test_an_endless_patience():
    model = classifier(n_iter_no_change=np.inf, tol=1e9, max_iter=40).fit(X, BINARY)
    assert model.n_iter_ == 40
    assert not model.converged_
    model = classifier(n_iter_no_change=3, tol=1e9, max_iter=40).fit(X, BINARY)
    assert model.n_iter_ == 5  # the first epoch is better than none
    assert model.converged_
    for wrong in (0, 2.5, -np.inf, np.nan):
        with pytest.raises(ValueError, match="^The 'n_iter_no_change' parameter"):
            classifier(n_iter_no_change=wrong).fit(X, BINARY)


PATIENCE = [
    {"tol": 0, "n_iter_no_change": 2},
    {"tol": 1e-2, "n_iter_no_change": 1},
    {"tol": 3e-3, "n_iter_no_change": 5},
    {"tol": 1e3, "n_iter_no_change": 4},
    {"tol": 0, "n_iter_no_change": np.inf},
    {"tol": 1e-2, "n_iter_no_change": 3, "solver": "sgd", "learning_rate_init": 0.1},
    {"tol": 1e-4, "n_iter_no_change": 2, "solver": "sgd", "learning_rate_init": 0.1, "nesterovs_momentum": False},
    {"tol": 1e-3, "n_iter_no_change": 2, "n_ensembles": 3, "dropout": 0.3},
]


@pytest.mark.parametrize("options", PATIENCE, ids=str)
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_engine_ends_where_python_would(task, options, capsys):
    options = {"max_iter": 60, "learning_rate_init": 0.05} | options
    model, y = model_of(task, **options)
    model.fit(X, y)
    ended = []
    for how in ("verbose", "validation"):
        twin, _ = model_of(task, **options, verbose=how == "verbose")
        twin.fit(X, y, **({"X_val": X, "y_val": y} if how == "validation" else {}))
        for name in ("loss_curve_", "best_loss_", "loss_", "n_iter_", "t_", "converged_"):
            np.testing.assert_equal(getattr(twin, name), getattr(model, name), name)
        np.testing.assert_array_equal(parameters(twin), parameters(model))
        ended.append(twin)
    for net, *others in zip(model.networks_, *(twin.networks_ for twin in ended), strict=True):
        assert {len(other.history["loss"]) for other in others} == {len(net.history["loss"])}
    if options["n_iter_no_change"] == np.inf:
        assert model.n_iter_ == 60
    elif options["tol"] >= 1e-2:
        assert model.converged_
        assert model.n_iter_ < 60
    assert model.converged_ == (model.n_iter_ < 60)


def test_partial_fits_and_warm_starts_agree_with_python_too(capsys):
    models = [classifier(verbose=verbose, n_iter_no_change=2, tol=1e-2, warm_start=True) for verbose in (False, True)]
    for model in models:
        for _ in range(7):
            model.partial_fit(X, BINARY, classes=[0, 1])
        model.fit(X, BINARY).fit(X, BINARY)
    assert_same(*models)


@pytest.mark.filterwarnings("ignore:.*the training diverged")
@pytest.mark.parametrize("n_ensembles", [1, 2])
def test_both_end_where_the_loss_is_no_number(n_ensembles, capsys):
    options = {"solver": "sgd", "learning_rate_init": 1e200, "max_iter": 50, "n_ensembles": n_ensembles}
    models = [regressor(**options, verbose=verbose) for verbose in (False, True)]
    for model in models:
        with pytest.raises(ValueError, match="^Solver produced non-finite parameter weights"):
            model.fit(X, REAL)
        assert model.n_iter_ < 50
        assert not model.converged_
        assert np.isnan(model.loss_)
    assert models[0].n_iter_ == models[1].n_iter_
    np.testing.assert_equal(models[0].loss_curve_, models[1].loss_curve_)
    assert models[0].best_loss_ == models[1].best_loss_


def losses_of(nets, patiences, epochs=40, together=False):
    """The losses of each network, trained until its patience ends."""
    shared = {"epochs": epochs, "steps": None, "batch_size": 30, "gradient": "backpropagation", "shuffle": True,
              "sample_weight": None, "metrics": (), "verbose": 0, "callbacks": []}  # fmt: skip
    given = Given(X, REAL)
    arguments = [
        FitArguments(net._network, given, optimizer=nf.Adam(0.05), patience=patience, **shared)
        for net, patience in zip(nets, patiences, strict=True)
    ]
    if together:
        fit_many(arguments, nets)
    else:
        for own, net in zip(arguments, nets, strict=True):
            fit(own, net)
    return [net.history["loss"] for net in nets]


def net_for_patience(seed=0):
    return nf.Sequential([nf.Dense(5, "tanh"), nf.Dense(1)], input_shape=D, seed=seed, dtype="float64")


def end_of(losses, tolerance, limit, best=np.inf, waited=0):
    """The number of epochs until training ends, computed here."""
    for epoch, loss in enumerate(losses, 1):
        waited = waited + 1 if loss > best - tolerance else 0
        best = min(best, loss)
        if waited > limit or np.isnan(loss):
            return epoch
    return len(losses)


@pytest.mark.parametrize("together", [False, True])
def test_patience(together):
    cases = [Patience(0, 0), Patience(1e-2, 1), Patience(0.1, 2), Patience(1e9, 3), Patience(0, 2, best=0.5, waited=2),
             Patience(0, 3, best=-1.0, waited=3), Patience(1e-3, 2**62), None]  # fmt: skip
    whole = losses_of([net_for_patience()], [None])[0]
    found = losses_of([net_for_patience() for _ in cases], cases, together=together)
    lengths = [len(losses) for losses in found]
    assert lengths == [end_of(whole, *patience) if patience else 40 for patience in cases]
    assert lengths[3] == 5
    assert lengths[5] == 1
    assert len(set(lengths)) > 4
    for losses in found:
        assert losses == whole[: len(losses)]


def test_patience_that_has_ended_stays_ended_only_for_its_training():
    net = net_for_patience()
    assert len(losses_of([net], [Patience(1e9, 2)])[0]) == 4
    assert len(losses_of([net], [None], epochs=3)[0]) == 3
    assert len(losses_of([net], [Patience(1e9, 2)])[0]) == 4


# ---- warm start and partial_fit


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "sgd"},
        {"solver": "sgd", "learning_rate": "invscaling"},
        {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5},
        {"dropout": 0.3, "batch_norm": True},
        {"n_ensembles": 2},
    ],
    ids=str,
)
@EACH_TASK
def test_two_warm_fits_are_one_long_fit(task, options):
    options = {"tol": 0, "n_iter_no_change": np.inf, **options}
    whole, y = model_of(task, max_iter=10, **options)
    whole.fit(X, y)
    model, _ = model_of(task, max_iter=5, warm_start=True, **options)
    model.fit(X, y)
    model = pickle.loads(pickle.dumps(model)).fit(X, y)
    np.testing.assert_array_equal(parameters(model), parameters(whole))
    assert model.loss_curve_ == whole.loss_curve_
    assert model.t_ == whole.t_
    assert [net.epochs_trained for net in model.networks_] == [10] * len(model.networks_)
    parts, _ = model_of(task, **options)
    first = {"classes": np.unique(y) if y.ndim == 1 else np.arange(3)} if is_classifier(parts) else {}
    for _ in range(10):
        parts.partial_fit(X, y, **first)
    np.testing.assert_array_equal(parameters(parts), parameters(whole))
    assert parts.loss_curve_ == whole.loss_curve_
    assert parts.t_ == whole.t_


def test_a_warm_fit_honours_what_has_changed_and_keeps_the_optimizer():
    changes = {"alpha": 10.0, "dropout": 0.5, "activation": "tanh", "loss": "huber", "learning_rate_init": 0.1}
    for name, value in changes.items():
        model = regressor(warm_start=True, alpha=0.0).fit(X, REAL)
        same = copy.deepcopy(model).fit(X, REAL)
        model.set_params(**{name: value}).fit(X, REAL)
        assert not np.array_equal(parameters(model), parameters(same)), name
        assert model.network_.history.learning_rate[-1] == (0.1 if name == "learning_rate_init" else 0.001)
    model = regressor(warm_start=True, alpha=0.0, shuffle=False, tol=0).fit(X, REAL)
    again = copy.deepcopy(model).set_params(alpha=1e-300).fit(X, REAL)  # another penalty, which is next to none
    np.testing.assert_allclose(parameters(again)[0], parameters(model.fit(X, REAL))[0], rtol=1e-12)
    anew = regressor(shuffle=False, warm_start=True, alpha=0.0).fit(X, REAL)
    anew.network_.reset_optimizer()
    assert not np.allclose(parameters(anew.fit(X, REAL))[0], parameters(model)[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_layer_sizes": (6,)}, "^hidden_layer_sizes and batch_norm must stay as they were"),
        ({"hidden_layer_sizes": (5, 5)}, "^hidden_layer_sizes and batch_norm must stay as they were"),
        ({"hidden_layer_sizes": ()}, "^hidden_layer_sizes and batch_norm must stay as they were"),
        ({"batch_norm": True}, "^hidden_layer_sizes and batch_norm must stay as they were"),
        ({"n_ensembles": 2}, "^n_ensembles must stay as it was .*: got 2, and there are 1"),
    ],
    ids=str,
)
@BOTH
def test_what_a_warm_fit_cannot_change(task, change, message):
    model, y = model_of(task, warm_start=True)
    before, known = parameters(model.fit(X, y)), attributes(model)
    old = {name: getattr(model, name) for name in change}
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=message):
            getattr(model.set_params(**change), method)(X, y)
        np.testing.assert_array_equal(parameters(model), before)
        assert attributes(model) == known
    model.set_params(**old).fit(X, y)
    whole, _ = model_of(task, max_iter=12, tol=0)
    np.testing.assert_array_equal(parameters(model), parameters(whole.fit(X, y)))


def test_a_warm_fit_with_fewer_layers_of_the_same_shapes_is_refused():
    model = regressor(hidden_layer_sizes=(2, 2), solver="lbfgs", warm_start=True).fit(X[:, :2], SEVERAL)
    with pytest.raises(ValueError, match="^hidden_layer_sizes and batch_norm must stay as they were"):
        model.set_params(hidden_layer_sizes=(2,)).fit(X[:, :2], SEVERAL)


def test_dropout_may_come_and_go():
    options = {"hidden_layer_sizes": (5, 5), "batch_norm": True, "warm_start": True, "learning_rate_init": 1e-300}
    model = regressor(**options).fit(X, REAL)
    before = parameters(model)
    for dropout in ([0.5, 0], [0, 0.5], 0.3, 0.0):
        model.set_params(dropout=dropout).fit(X, REAL)
        assert kinds(model).count("Dropout") == np.count_nonzero(np.broadcast_to(dropout, 2))
        np.testing.assert_allclose(parameters(model), before, atol=1e-290)  # at this rate, next to nothing can change


def test_another_solver_goes_on_from_the_weights():
    model = classifier(warm_start=True).fit(X, BINARY)
    for solver in ("lbfgs", "sgd", "adam"):
        before = model.loss_
        model.set_params(solver=solver).fit(X, BINARY)
        assert model.loss_curve_[-1] < before * 1.05
    assert len(model.loss_curve_) == 24


@pytest.mark.parametrize("random_state", [None, 0, "stream", "PCG64"])
@BOTH
def test_a_warm_fit_holds_back_the_same_rows(task, random_state):
    """The second fit must not be validated on rows that the first was trained on."""
    seen = []

    def scorer(model, x, y):
        seen.append(x)
        return 0.0

    if random_state == "stream":
        random_state = np.random.RandomState(5)
    elif random_state == "PCG64":
        random_state = np.random.RandomState(np.random.PCG64(5))
    model, y = model_of(
        task, early_stopping=True, warm_start=True, scoring=scorer, random_state=random_state, max_iter=1
    )
    for _ in range(3):
        model.fit(X, y)
        model = pickle.loads(pickle.dumps(model.set_params(scoring=None))).set_params(scoring=scorer)
    for other in seen[1:]:
        np.testing.assert_array_equal(other, seen[0])
    model.set_params(warm_start=False).fit(X, y)
    assert isinstance(random_state, int) == np.array_equal(seen[-1], seen[0])


def test_partial_fit_with_early_stopping():
    options = {"early_stopping": True, "n_iter_no_change": 3, "learning_rate_init": 0.1, "tol": 0, "scoring": "loss"}
    model, scores, states = regressor(**options), [], []
    for _ in range(100):
        model.partial_fit(X[:40], REAL[:40], X_val=X[40:], y_val=REAL[40:])
        scores.append(-mean_squared_error(REAL[40:], model.predict(X[40:])) / 2)
        states.append(parameters(model)[0])
        if model.converged_:
            break
    assert model.converged_
    best = int(np.argmax(model.validation_scores_))
    assert model.best_validation_score_ == model.validation_scores_[best]
    np.testing.assert_array_equal(states[-1], states[best])  # restored
    assert scores[-1] == pytest.approx(model.best_validation_score_, rel=1e-12)
    whole = regressor(**options, max_iter=100).fit(X[:40], REAL[:40], X_val=X[40:], y_val=REAL[40:])
    assert whole.validation_scores_ == model.validation_scores_
    np.testing.assert_array_equal(parameters(whole), parameters(model))
    model.partial_fit(X[:40], REAL[:40], X_val=X[40:], y_val=REAL[40:])
    assert not model.converged_


def test_what_was_best_is_forgotten_by_a_training_without_early_stopping():
    validation = {"X_val": X, "y_val": REAL}
    model = regressor(early_stopping=True, scoring=lambda model, x, y: 1.0, warm_start=True).fit(X, REAL, **validation)
    model.set_params(early_stopping=False, max_iter=20).fit(X, REAL)
    before = parameters(model)
    model.set_params(early_stopping=True, scoring=lambda model, x, y: 0.0, n_iter_no_change=1, learning_rate_init=1e-9)
    for _ in range(4):
        model.partial_fit(X, REAL, **validation)
    assert model.best_validation_score_ == 0.0
    np.testing.assert_allclose(parameters(model), before, rtol=0.01)


@BOTH
def test_partial_fit_with_early_stopping_needs_rows_to_validate_on(task):
    model, y = model_of(task, early_stopping=True)
    first = {"classes": [0, 1, 2]} if task == "multiclass" else {}
    with pytest.raises(ValueError, match="^partial_fit does not support early_stopping=True without rows"):
        model.partial_fit(X, y, **first)
    assert not hasattr(model, "networks_")
    assert not hasattr(model, "classes_")
    model.partial_fit(X, y, X_val=X, y_val=y, **first)
    with pytest.raises(ValueError, match="^partial_fit does not support early_stopping=True without rows"):
        model.partial_fit(X, y)


def test_a_refused_first_partial_fit_leaves_no_classes():
    model = classifier()
    for wrong in ([0, 1, 2, 3], [0, 1], ["a", "b", "c"]):
        with pytest.raises(ValueError, match="^classes must be the numbers 0 to 2 of the columns of y"):
            model.partial_fit(X, LABELS, classes=wrong)
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(X * np.nan, BINARY, classes=[0, 1])
    with pytest.raises(ValueError, match="classes not in"):
        model.partial_fit(X, CLASSES, classes=[0, 1])
    model.partial_fit(X, CLASSES, classes=[0, 1, 2])
    assert list(model.classes_) == [0, 1, 2]


# ---- ensembles


@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, {"dropout": 0.2, "batch_norm": True}], ids=str)
@EACH_TASK
def test_an_ensemble_is_the_mean_of_its_networks(task, options):
    limit = nf.get_num_threads()
    model, y = model_of(task, n_ensembles=3, **options)
    model.fit(X, y)
    assert len(model.networks_) == 3
    for one, other in pairwise(parameters(model)):
        assert not np.isclose(one, other).any() or options.get("batch_norm")
        assert not np.allclose(one, other, rtol=0.01)
    each = [net.predict(X) for net in model.networks_]
    expected = np.mean(each, axis=0)
    if task == "binary":
        expected = np.column_stack([1 - expected[:, 0], expected[:, 0]])
    assert_close(outputs(model), np.squeeze(expected) if task == "regression" else expected, scale=1, kind="sum")
    if task == "multiclass":
        np.testing.assert_array_equal(model.predict(X), expected.argmax(axis=1))
    if task == "multilabel":
        np.testing.assert_array_equal(model.predict(X), expected > 0.5)
    first, _ = model_of(task, **options)
    np.testing.assert_array_equal(parameters(first.fit(X, y))[0], parameters(model)[0])
    for n_threads in (1, 2, 4):
        twin, _ = model_of(task, n_ensembles=3, n_threads=n_threads, **options)
        assert_same(twin.fit(X, y), model)
        np.testing.assert_array_equal(outputs(twin), outputs(model))
    assert nf.get_num_threads() == limit


def test_any_number_of_threads_is_a_limit():
    model = classifier(n_threads=10**6, n_ensembles=2).fit(X, BINARY)
    np.testing.assert_array_equal(model.predict(X), classifier(n_ensembles=2).fit(X, BINARY).predict(X))


def test_curves_of_an_ensemble_are_averages():
    model = regressor(n_ensembles=3, max_iter=8).fit(X, REAL, X_val=X[:20], y_val=REAL[:20])
    alone = [net.history["loss"] for net in model.networks_]
    np.testing.assert_allclose(model.loss_curve_, np.mean(alone, axis=0), rtol=1e-12)
    assert model.loss_ == pytest.approx(np.mean(alone, axis=0)[-1], rel=1e-12)
    assert model.best_loss_ == pytest.approx(np.mean(np.min(alone, axis=1)), rel=1e-12)
    scores = [r2_score(REAL[:20], net.predict(X[:20])) for net in model.networks_]
    assert model.validation_scores_[-1] == pytest.approx(np.mean(scores), rel=1e-9)


@pytest.mark.parametrize("looked_at", [False, True])
def test_each_network_of_an_ensemble_stops_when_it_should(looked_at):
    options = {"n_ensembles": 3, "max_iter": 100, "learning_rate_init": 0.1, "n_iter_no_change": 2, "scoring": "loss"}
    if looked_at:
        model = regressor(early_stopping=True, **options).fit(X[:50], REAL[:50], X_val=X[50:], y_val=REAL[50:])
        losses = [mean_squared_error(REAL[50:], net.predict(X[50:])) / 2 for net in model.networks_]
        assert -model.best_validation_score_ == pytest.approx(np.mean(losses), rel=1e-9)
    else:
        model = regressor(tol=1e-2, **options).fit(X, REAL)
    epochs = [len(net.history["loss"]) for net in model.networks_]
    assert len(set(epochs)) > 1
    assert max(epochs) == model.n_iter_ == len(model.loss_curve_) < 100
    assert model.converged_
    curves = [net.history["loss"] for net in model.networks_]
    for i, found in enumerate(model.loss_curve_):
        assert found == pytest.approx(np.mean([curve[i] for curve in curves if i < len(curve)]), rel=1e-12)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@EACH_TASK
def test_what_an_ensemble_has_not(task, solver):
    model, y = model_of(task, n_ensembles=2, solver=solver)
    model.fit(X, y)
    for name in ("network_", "coefs_", "intercepts_"):
        assert not hasattr(model, name)
        with pytest.raises(AttributeError, match=f"^there is no {name} of 2 networks: see networks_$"):
            getattr(model, name)
    with pytest.raises(AttributeError, match="^there is no coefs_ of 2 networks"):
        model.coefs_ = []
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_same(twin, model)
        np.testing.assert_array_equal(outputs(twin), outputs(model))


def test_an_ensemble_without_enough_time():
    model = regressor(n_ensembles=5, max_seconds=1e-9, batch_size=1, max_iter=1000).fit(X, REAL)
    assert np.isfinite(model.loss_)
    assert np.isfinite(model.best_loss_)
    assert model.n_iter_ == 1
    assert np.isfinite(model.predict(X)).all()


# ---- gradients with respect to the features


def central(function, x, h=1e-5):
    """Central differences of a function of the rows of x: (n, ..., features)."""
    columns = []
    for i in range(x.shape[1]):
        step = np.zeros(x.shape[1])
        step[i] = h
        columns.append((function(x + step) - function(x - step)) / (2 * h))
    return np.stack(columns, axis=-1)


GRADIENTS = {
    **{task: (task, {}) for task in TASKS},
    "batch norm": ("multiclass", {"batch_norm": True, "dropout": 0.2, "activation": "gelu"}),
    "no hidden layer": ("binary", {"hidden_layer_sizes": ()}),
    "ensemble": ("multiclass", {"n_ensembles": 3}),
    "ensemble of regressors": ("regression", {"n_ensembles": 3, "n_threads": 1}),
    "quantiles": ("regression", {"loss": nf.losses.Quantile([0.2, 0.8])}),
}


@pytest.mark.parametrize("case", GRADIENTS)
def test_input_gradient(case):
    task, options = GRADIENTS[case]
    model, y = model_of(task, **{"activation": "tanh", "learning_rate_init": 0.1, **options})
    model.fit(X, y)
    expected = central(lambda x: outputs(model, x), X[:7])
    found = model.input_gradient(X[:7])
    assert_close(found, expected, scale=1 + np.abs(expected), kind="rough difference")
    assert np.abs(found).max() > 1e-3
    np.testing.assert_array_equal(model.input_gradient(sparse.csr_matrix(X[:7])), found)
    np.testing.assert_array_equal(model.input_gradient(X[3:4]), found[3:4])


def test_input_gradient_of_counts_and_of_one_class():
    model = regressor(loss="poisson", activation="tanh", n_ensembles=2, learning_rate_init=0.1).fit(X, COUNTS)
    expected = central(model.predict, X[:7])
    assert_close(model.input_gradient(X[:7]), expected, scale=1 + np.abs(expected), kind="rough difference")
    two = regressor(loss="poisson", activation="tanh").fit(X, np.column_stack([COUNTS, COUNTS + 1]))
    expected = central(two.predict, X[:7])
    assert_close(two.input_gradient(X[:7]), expected, scale=1 + np.abs(expected), kind="rough difference")
    single = classifier().fit(X, np.zeros(N))
    np.testing.assert_array_equal(single.input_gradient(X[:7]), np.zeros((7, 1, D)))
    np.testing.assert_array_equal(single.predict_proba(X), np.ones((N, 1)))


def test_input_gradient_of_what_does_not_fit():
    model = classifier()
    with pytest.raises(ValueError, match="not fitted"):
        model.input_gradient(X)
    with pytest.raises(ValueError, match="3 features"):
        model.fit(X, BINARY).input_gradient(X[:, :3])
    assert model.input_gradient(X.astype(np.float32)).shape == (N, 2, D)


# ---- coefs_ and intercepts_


@BOTH
def test_weights_are_views(task):
    model, y = model_of(task)
    model.fit(X, y)
    assert [w.shape for w in model.coefs_] == [(D, 5), (5, 3 if task == "multiclass" else 1)]
    assert [b.shape for b in model.intercepts_] == [(5,), (3 if task == "multiclass" else 1,)]
    for w, b, (wi, bi) in zip(model.coefs_, model.intercepts_, [("W1", "b1"), ("W2", "b2")], strict=True):
        assert np.shares_memory(w, model.network_.params[wi])
        assert np.shares_memory(b, model.network_.params[bi])
    before = outputs(model)
    model.coefs_[0][:] *= 2
    changed = outputs(model)
    assert not np.allclose(before, changed)
    model.coefs_[0] = model.coefs_[0] / 2
    np.testing.assert_array_equal(outputs(model), before)
    model.intercepts_[-1] += 1.0  # which reads, adds in place and assigns
    assert not np.allclose(outputs(model), before) or task == "multiclass"  # softmax does not see what is common
    model.intercepts_[-1] -= 1.0
    model.coefs_ = [w * 2 for w in model.coefs_]
    assert not np.allclose(outputs(model), before)
    model.coefs_ = [w.tolist() for w in np.array(model.coefs_[0]) / 2 * np.ones((1, 1, 1))] + [model.coefs_[1] / 2]
    np.testing.assert_allclose(outputs(model), before)
    assert pickle.loads(pickle.dumps(model.coefs_))[0].tobytes() == model.coefs_[0].tobytes()
    assert isinstance(model.coefs_, list)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("coefs_", [np.zeros((D, 5))], "^coefs_ must have an array for each of the 2 layers, got 1$"),
        ("coefs_", [np.zeros((D, 5))] * 3, "^coefs_ must have an array for each of the 2 layers, got 3$"),
        ("coefs_", [np.zeros((D, 5)), np.zeros(5)], r"^coefs_\[1\] must have shape \(5, 1\), got \(5,\)$"),
        ("coefs_", [np.zeros((D, 5)), np.zeros((1, 1))], r"^coefs_\[1\] must have shape \(5, 1\), got \(1, 1\)$"),
        ("coefs_", [np.zeros((D, 5)), [["a"]] * 5], "could not convert"),
        ("intercepts_", [np.zeros(5), 0.0], r"^intercepts_\[1\] must have shape \(1,\), got \(\)$"),
    ],
)
def test_weights_of_other_shapes_change_nothing(name, value, message):
    model = regressor().fit(X, REAL)
    before = parameters(model)
    with pytest.raises(ValueError, match=message):
        setattr(model, name, value)
    np.testing.assert_array_equal(parameters(model), before)
    anew = regressor(warm_start=True)
    setattr(anew, name, value)
    with pytest.raises(ValueError, match=message):
        anew.fit(X, REAL)
    assert not hasattr(anew, "networks_")


def test_items_of_other_shapes_are_refused():
    model = regressor().fit(X, REAL)
    before = parameters(model)
    with pytest.raises(ValueError, match=r"^the array must have shape \(4, 5\), got \(5,\)$"):
        model.coefs_[0] = np.zeros(5)
    with pytest.raises(TypeError, match="^assign one array at a time"):
        model.coefs_[:] = [np.zeros((D, 5))]
    with pytest.raises(IndexError):
        model.coefs_[2] = np.zeros((D, 5))
    np.testing.assert_array_equal(parameters(model), before)


@pytest.mark.parametrize("how", ["partial_fit", "warm_start", "fit"])
def test_weights_assigned_before_the_first_fit(how):
    W = [np.full((D, 5), 0.25), np.full((5, 1), -0.5)]
    b = [np.zeros(5), np.ones(1)]
    model = regressor(warm_start=how == "warm_start", solver="sgd", learning_rate_init=1e-300, max_iter=1)
    model.coefs_, model.intercepts_ = W, b
    assert model.coefs_ is W
    with pytest.raises(ValueError, match="not fitted"):
        model.predict(X)
    model = pickle.loads(pickle.dumps(model))
    (model.partial_fit if how == "partial_fit" else model.fit)(X, REAL)
    if how == "fit":
        assert_same(model, regressor(solver="sgd", learning_rate_init=1e-300, max_iter=1).fit(X, REAL))
        return
    for found, expected in zip([*model.coefs_, *model.intercepts_], [*W, *b], strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-290)
    assert not np.shares_memory(model.coefs_[0], W[0])
    assert not hasattr(clone(model), "coefs_")


def test_several_networks_cannot_begin_with_the_same_weights():
    model = regressor(n_ensembles=2, warm_start=True)
    model.intercepts_ = [np.zeros(5), np.zeros(1)]
    with pytest.raises(ValueError, match="^intercepts_ were assigned before the first fit.*n_ensembles=2"):
        model.fit(X, REAL)
    assert model.set_params(n_ensembles=1).fit(X, REAL).n_iter_ == 6


# ---- interruptions and errors


class Interrupting:
    """A scorer that presses Ctrl-C, or fails."""

    def __init__(self, after, error):
        self.after, self.error = after, error

    def __call__(self, model, x, y, sample_weight=None):
        self.after -= 1
        if self.after < 0:
            raise self.error
        return -self.after


@pytest.mark.parametrize("options", [{}, {"n_ensembles": 2}, {"solver": "sgd"}, {"solver": "lbfgs"}], ids=str)
@BOTH
def test_ctrl_c_while_python_looks_on(task, options):
    model, y = model_of(task, scoring=Interrupting(3, KeyboardInterrupt), **options)
    with pytest.warns(UserWarning, match="^Training interrupted by user.$"):
        model.fit(X, y, X_val=X, y_val=y)
    assert 1 <= model.n_iter_ <= 4
    assert np.isfinite(outputs(model)).all()
    assert not model.converged_
    assert model.set_params(scoring=None).fit(X, y).n_iter_ == 6


def test_ctrl_c_in_the_first_epoch_leaves_a_model():
    model = regressor(scoring=Interrupting(0, KeyboardInterrupt))
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, REAL, X_val=X, y_val=REAL)
    assert np.isfinite(model.predict(X)).all()
    assert model.validation_scores_ == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("n_ensembles", [1, 3])
def test_ctrl_c_while_the_engine_trains(n_ensembles, listening):
    model = classifier(max_iter=10**6, tol=0, n_iter_no_change=np.inf, n_ensembles=n_ensembles, max_seconds=60)
    ended = threading.Event()

    def interrupt():
        while not (hasattr(model, "networks_") and model.networks_[-1].epochs_trained):
            if ended.wait(0.01):  # the fit has ended without it
                return
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.warns(UserWarning, match="^Training interrupted by user.$"):
        model.fit(X, BINARY)
    ended.set()
    thread.join()
    assert 1 <= model.n_iter_ < 10**6
    assert len(model.loss_curve_) == model.n_iter_
    assert model.n_iter_ * N <= model.t_ < (model.n_iter_ + 1) * N
    assert np.isfinite(model.loss_)
    assert model.score(X, BINARY) > 0.8


def test_early_stopping_restores_the_best_after_ctrl_c():
    class Scorer(Interrupting):
        def __call__(self, model, x, y, sample_weight=None):
            super().__call__(model, x, y)
            return float(self.after)  # each epoch is worse

    model = regressor(early_stopping=True, scoring=Scorer(4, KeyboardInterrupt))
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, REAL, X_val=X, y_val=REAL)
    first = regressor(max_iter=1).fit(X, REAL)
    np.testing.assert_array_equal(parameters(model), parameters(first))


BAD_FITS = {
    "features": lambda y: ((X[:, :3], y[:-1]), {}),
    "NaN": lambda y: ((X * np.nan, y), {}),
    "targets": lambda y: ((X, np.full(N, np.nan)), {}),
    "length": lambda y: ((X[:, :2], y[:5]), {}),
    "weights": lambda y: ((X[:, :2], y, WEIGHTS[:5]), {}),
    "negative weights": lambda y: ((X[:, :2], y, -WEIGHTS), {}),
    "no weight": lambda y: ((X[:, :2], y, 0 * WEIGHTS), {}),
    "X_val alone": lambda y: ((X[:, :2], y), {"X_val": X}),
    "features of X_val": lambda y: ((X[:, :2], y), {"X_val": X, "y_val": y}),
    "y_val": lambda y: ((X[:, :2], y), {"X_val": X[:, :2], "y_val": y[:5]}),
}
BAD_PARAMETERS = {
    "alpha": -1, "solver": "newton", "hidden_layer_sizes": (0,), "activation": ["bent"], "dropout": [0.1, 0.2],
    "n_ensembles": 0, "n_threads": 0, "max_seconds": -1, "scoring": "beauty", "random_state": "x",
    "validation_fraction": 1.5, "batch_norm": "yes", "loss": nf.losses.Hinge(), "tol": "small", "batch_size": 0,
}  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"warm_start": True, "solver": "sgd", "learning_rate": "adaptive"}], ids=str)
@BOTH
def test_a_refused_fit_changes_nothing(task, options):
    model, y = model_of(task, early_stopping=True, **options)
    assert "coefs_" not in vars(model)
    model.fit(X, y)
    twin = copy.deepcopy(model)
    before, known, predicted = parameters(model), attributes(model), outputs(model)
    others = np.where(y > 0, 7, 9)  # other classes, or other targets

    def check(name):
        assert attributes(model) == known, name
        np.testing.assert_array_equal(parameters(model), before, name)
        np.testing.assert_array_equal(outputs(model), predicted, name)

    for name, bad in BAD_FITS.items():
        args, data = bad(others)
        methods = ["fit"] if name == "X_val alone" else ["fit", "partial_fit"]
        for method in methods:
            with pytest.raises((ValueError, TypeError)):
                getattr(model, method)(*args, **data)
            check((name, method))
    for name, value in BAD_PARAMETERS.items():
        old = getattr(model, name)
        with pytest.raises((ValueError, TypeError)):
            model.set_params(**{name: value}).fit(X[:, :2] if not options else X, others if not options else y)
        model.set_params(**{name: old})
        check(name)
    with pytest.raises(ValueError, match="too small"):
        model.fit(X[:5, : 4 if options else 2], y[:5])
    check("few rows")
    assert_same(model.fit(X, y), twin.fit(X, y))  # and it goes on as if nothing had been asked


@pytest.mark.parametrize("kind", ["scorer", "loss"])
def test_a_function_that_fails(kind):
    calls = []

    def failing(outputs, targets):
        calls.append(len(outputs))
        if len(calls) > 8:
            raise RuntimeError("of its own")
        return own(outputs, targets)

    options = {"scoring": Interrupting(3, RuntimeError("of its own"))} if kind == "scorer" else {}
    data = {"X_val": X[:, :2], "y_val": REAL} if kind == "scorer" else {}
    model = regressor().fit(X, REAL)
    before, known = parameters(model), attributes(model)
    bad = {**options, **({"loss": nf.losses.Custom(failing)} if kind == "loss" else {})}
    with pytest.raises(RuntimeError, match="of its own"):
        model.set_params(**bad).fit(X[:, :2], REAL, **data)
    assert attributes(model) == known
    np.testing.assert_array_equal(parameters(model), before)
    fresh = regressor(**options)
    if kind == "scorer":
        fresh.scoring = Interrupting(3, RuntimeError("of its own"))
        with pytest.raises(RuntimeError, match="of its own"):
            fresh.fit(X[:, :2], REAL, **data)
        assert not hasattr(fresh, "networks_")
        assert not hasattr(fresh, "n_features_in_")


# ---- imports


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)


def test_without_scikit_learn_the_error_names_the_extra():
    found = run("import sys; sys.modules['sklearn'] = None\nimport nnfast\nimport nnfast.sklearn")
    assert found.returncode == 1
    assert "ImportError: nnfast.sklearn needs scikit-learn: pip install 'nnfast[sklearn]'" in found.stderr


def test_nnfast_alone_imports_neither_scikit_learn_nor_scipy():
    found = run("import sys, nnfast; print([n for n in ('sklearn', 'scipy', 'nnfast.sklearn') if n in sys.modules])")
    assert found.stdout.strip() == "[]"


# ---- data of all kinds are left as they are


def as_read_only(values):
    values = np.array(values)
    values.flags.writeable = False
    return values


def with_duplicates(values):
    """A sparse matrix of the same values whose entries are halves, unsorted."""
    rows, columns = np.nonzero(np.ones(values.shape))
    halves = np.concatenate([values.ravel(), values.ravel()]) / 2
    order = np.random.default_rng(1).permutation(len(halves))
    rows, columns = np.tile(rows, 2)[order], np.tile(columns, 2)[order]
    by_row = np.argsort(rows, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(values)))])
    return sparse.csr_matrix((halves[order][by_row], columns[by_row], indptr), shape=values.shape)


KINDS = {
    "float64": np.array,
    "float32": lambda values: np.array(values, np.float32),
    "int": lambda values: (10 * values).astype(int),
    "bool": lambda values: values > 0,
    "object": lambda values: values.astype(object),
    "Fortran": np.asfortranarray,
    "strided": lambda values: np.repeat(np.repeat(values, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda values: values[::-1].copy()[::-1],
    "read-only": as_read_only,
    "big-endian": lambda values: values.astype(">f8"),
    "lists": lambda values: values.tolist(),
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "coo": sparse.coo_matrix,
    "csr array": sparse.csr_array,
    "duplicates": with_duplicates,
}


def content(data):
    """All that a caller could see of data."""
    if sparse.issparse(data):
        parts = [
            part
            for name in ("data", "indices", "indptr", "row", "col")
            if (part := getattr(data, name, None)) is not None
        ]
        return [(part.dtype, part.tobytes()) for part in parts]
    return pickle.dumps(data) if isinstance(data, list) else (data.dtype, data.tolist())


@pytest.mark.parametrize("kind", KINDS)
@BOTH
def test_data_of_all_kinds(task, kind):
    model, y = model_of(task)
    x = KINDS[kind](X)
    before = content(x)
    model.fit(x, y, WEIGHTS, X_val=x, y_val=y)
    found = outputs(model, x)
    model.input_gradient(x)
    model.partial_fit(x, y)
    assert content(x) == before
    dense = x.toarray() if sparse.issparse(x) else np.asarray(x)
    dense = dense if dense.dtype == np.float32 else dense.astype(float)
    twin, _ = model_of(task)
    twin.fit(np.ascontiguousarray(dense), y, WEIGHTS)
    assert found.dtype == twin.network_.dtype == dense.dtype
    scale = 1 + np.abs(found)
    assert_close(found, outputs(twin, dense), scale=scale, kind="saved")


def test_memory_maps(tmp_path):
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = classifier(early_stopping=True).fit(mapped, BINARY)
    assert_same(model, classifier(early_stopping=True).fit(X, BINARY))
    np.testing.assert_array_equal(model.predict_proba(mapped), model.predict_proba(X))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(library):
    frames = pytest.importorskip(library)
    names = list("abcd")
    frame = frames.DataFrame(dict(zip(names, X.T, strict=True)))
    target = frames.Series("y", REAL) if library == "polars" else frames.Series(REAL, name="y")
    before = frame.to_numpy().copy()
    model = regressor(early_stopping=True, max_iter=3).fit(frame, target, X_val=frame, y_val=target)
    np.testing.assert_array_equal(frame.to_numpy(), before)
    known = getattr(StandardScaler().fit(frame), "feature_names_in_", None)  # not to old versions, of polars' frames
    assert (known is None and library == "polars") or list(known) == names
    np.testing.assert_array_equal(getattr(model, "feature_names_in_", None), known)
    np.testing.assert_array_equal(model.predict(frame), regressor(max_iter=3).fit(X, REAL).predict(X))
    np.testing.assert_array_equal(model.input_gradient(frame).shape, (N, D))


# ---- threads


@pytest.mark.parametrize("options", [{}, {"n_ensembles": 2, "n_threads": 1}, {"solver": "lbfgs"}], ids=str)
def test_clones_may_be_fitted_at_the_same_time(options):
    model = classifier(max_iter=30, hidden_layer_sizes=40, early_stopping=True, n_threads=2).set_params(**options)
    model.fit(X, CLASSES)
    twins = [clone(model) for _ in range(4)]
    errors = []

    def train(twin):
        try:
            with warnings.catch_warnings():
                twin.fit(X, CLASSES)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=train, args=(twin,)) for twin in twins]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for twin in twins:
        assert_same(twin, model)


def test_a_model_may_be_asked_from_several_threads():
    model = classifier(n_ensembles=2, n_threads=2).fit(X, CLASSES)
    x = np.tile(X, (50, 1))
    expected, gradient = model.predict_proba(x), model.input_gradient(X)
    found = []

    def ask():
        found.extend((model.predict_proba(x), model.input_gradient(X)) for _ in range(5))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    for probabilities, other in found:
        np.testing.assert_array_equal(probabilities, expected)
        np.testing.assert_array_equal(other, gradient)
