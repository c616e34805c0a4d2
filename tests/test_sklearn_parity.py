"""The estimators beside scikit-learn's own: equal initial weights, optima, loss curves, predictions and scores.

All in float64, and without shuffling where trajectories are compared: the order of the rows is nnfast's own.
"""

from __future__ import annotations

import inspect
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.5", reason="nnfast.sklearn needs scikit-learn")

from sklearn.datasets import make_multilabel_classification
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from sklearn_cases import SKLEARN, THEIRS, MLPClassifier, MLPRegressor, dataset
from tolerances import assert_close, tolerance

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NAMES = ["iris", "wine", "breast cancer", "digits", "diabetes"]
ACTIVATIONS = ["identity", "logistic", "tanh", "relu"]
WEIGHTS = pytest.mark.skipif(SKLEARN < (1, 7), reason="scikit-learn's MLPs have no weights before 1.7")
POISSON = pytest.mark.skipif(SKLEARN < (1, 7), reason="scikit-learn's MLPs have no Poisson loss before 1.7")


def problem(kind, n=150):
    """The class of ours, features, and targets of a kind; scikit-learn's data, or a few counts."""
    if kind == "binary":
        X, y = dataset("breast cancer")
        return MLPClassifier, X[:n], y[:n]
    if kind == "multiclass":
        X, y = dataset("iris")
        return MLPClassifier, X[::-1][:n], y[::-1][:n]
    if kind == "multilabel":
        X, y = make_multilabel_classification(n, 6, n_classes=3, random_state=0)
        return MLPClassifier, X / 5, y
    X, y = dataset("diabetes")
    X, y = X[:n], y[:n]
    if kind == "regression":
        return MLPRegressor, X, y
    if kind == "multi-output":
        return MLPRegressor, X, np.column_stack([y, X[:, 0] * y, np.sin(3 * y)])
    assert kind == "counts"
    return MLPRegressor, X, np.random.default_rng(0).poisson(np.exp(y / 2)).astype(float)


def weights_for(X):
    return np.random.default_rng(1).choice([0.0, 0.5, 1.0, 2.5], len(X), p=[0.1, 0.3, 0.3, 0.3])


def both(ours, X, y, *, weighted=False, **options):
    """Ours and scikit-learn's, fitted on the same."""
    arguments = (X, y, weights_for(X)) if weighted else (X, y)
    return tuple(estimator(**options).fit(*arguments) for estimator in (ours, THEIRS[ours]))


def compare(ours, theirs, X, kind="trajectory"):
    """Compare what both have learned: each loss, each parameter, each prediction."""
    for name in ["loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"]:
        found, expected = getattr(ours, name), getattr(theirs, name)
        if expected is None:
            assert found is None, name
        else:
            assert_close(np.asarray(found, np.float64), expected, scale=1 + np.abs(expected), kind=kind)
    for name in ["n_iter_", "t_", "n_layers_", "n_outputs_", "n_features_in_", "out_activation_"]:
        assert getattr(ours, name) == getattr(theirs, name), name
    for name in ["coefs_", "intercepts_"]:
        for found, expected in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert_close(np.asarray(found), expected, scale=1 + np.abs(expected).max(), kind=kind)
    expected = theirs.predict(X)
    if isinstance(theirs, THEIRS[MLPRegressor]):
        assert_close(ours.predict(X), expected, scale=1 + np.abs(expected), kind=kind)
        return
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    assert_close(ours.predict_proba(X), theirs.predict_proba(X), scale=1, kind=kind)
    sure = np.abs(theirs.predict_proba(X) - 0.5).min(axis=1) > tolerance(float, kind)
    np.testing.assert_array_equal(ours.predict(X)[sure], expected[sure])
    assert ours.predict(X).dtype == expected.dtype


# ---- what there is


@pytest.mark.parametrize("ours", THEIRS)
def test_parameters_have_the_same_names_and_defaults(ours):
    found = inspect.signature(ours.__init__).parameters
    for name, parameter in inspect.signature(THEIRS[ours].__init__).parameters.items():
        assert found[name].default == parameter.default, name
        assert found[name].kind == parameter.kind, name
    if SKLEARN >= (1, 7):  # before, the regressor had no `loss`, which is now its first
        positional = [
            [p.name for p in inspect.signature(mlp.__init__).parameters.values() if p.kind == p.POSITIONAL_OR_KEYWORD]
            for mlp in (ours, THEIRS[ours])
        ]
        assert positional[0] == positional[1]


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "lbfgs"}], ids=str)
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
def test_attributes_and_methods(kind, options):
    ours, X, y = problem(kind)
    found, expected = both(ours, X, y, max_iter=2, random_state=0, **options)
    public = {name for name in dir(expected) if not name.startswith("_") and hasattr(expected, name)}
    if options.get("solver") == "lbfgs":
        public.discard("partial_fit")  # scikit-learn's regressor shows it by mistake, and fails when it is called
    missing = {name for name in public if not hasattr(found, name)}
    assert not missing
    for name in sorted(public):
        value = getattr(expected, name)
        if not callable(value) and value is not None:
            kind_of = list if isinstance(value, list) else np.ndarray if isinstance(value, np.ndarray) else type(value)
            assert isinstance(getattr(found, name), (kind_of, float) if isinstance(value, float) else kind_of), name
    for name in ["fit", "predict", "score", *(["predict_proba"] if ours is MLPClassifier else [])]:
        names = list(inspect.signature(getattr(expected, name)).parameters)
        assert list(inspect.signature(getattr(found, name)).parameters)[: len(names)] == names


# ---- initial weights


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_initial_weights_have_the_same_bits(kind, activation, dtype):
    ours, X, y = problem(kind)
    options = {"hidden_layer_sizes": (7, 5), "activation": activation, "random_state": 3, "max_iter": 1}
    rate = 1e-30  # with which a step changes nothing
    found, expected = both(ours, X.astype(dtype), y, solver="sgd", momentum=0, learning_rate_init=rate, **options)
    for name in ["coefs_", "intercepts_"]:
        for a, b in zip(getattr(found, name), getattr(expected, name), strict=True):
            assert a.dtype == b.dtype == dtype
            np.testing.assert_array_equal(a, b)


def test_a_shared_generator_is_left_as_scikit_learn_leaves_it():
    ours, X, y = problem("multiclass")
    after = []
    for estimator in (ours, THEIRS[ours]):
        random = np.random.RandomState(5)
        for options in ({}, {"early_stopping": True}):
            estimator(8, max_iter=2, shuffle=False, random_state=random, **options).fit(X, y)
        after.append(random.randint(2**31, size=3))
    np.testing.assert_array_equal(*after)


# ---- L-BFGS

# How far apart the optima are to which scikit-learn itself comes when the data are multiplied by 1 + 1e-14: below 1e-7
# in loss for these cases, but up to 5e-3 for others. Without much regularization, and with relu in particular, the loss
# has many local minima, and rounding decides between them.
CASES = [
    *((name, activation, 10.0) for name in NAMES for activation in ["identity", "logistic", "tanh"]),
    *((name, "tanh", 1.0) for name in NAMES),
    *((name, "identity", 1e-4) for name in ["iris", "wine", "diabetes"]),
    ("iris", "relu", 10.0),
    ("wine", "relu", 10.0),
    ("diabetes", "relu", 10.0),
]
LBFGS = {"hidden_layer_sizes": 8, "solver": "lbfgs", "tol": 1e-7, "max_iter": 5000, "max_fun": 100_000}


def table(name, n=600):
    X, y = dataset(name)
    rows = np.random.default_rng(0).permutation(len(X))[:n]
    return (MLPRegressor if name == "diabetes" else MLPClassifier), X[rows], y[rows]


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("name", "activation", "alpha"), CASES)
def test_lbfgs_comes_to_the_same_optimum(name, activation, alpha):
    ours, X, y = table(name)
    found, expected = both(ours, X, y, activation=activation, alpha=alpha, random_state=0, **LBFGS)
    assert_close(found.loss_, expected.loss_, scale=1, kind="scikit-learn")
    assert found.score(X, y) == pytest.approx(expected.score(X, y), abs=1 / len(X))


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("name", "activation"),
    [
        *((name, activation) for name in NAMES for activation in ["logistic", "tanh"]),
        ("iris", "relu"),
        ("wine", "relu"),
    ],
)
def test_lbfgs_ends_where_scikit_learn_finds_nothing_better(name, activation):
    """Also where the loss has many minima: from ours, scikit-learn does not come further."""
    ours, X, y = table(name)
    alpha = 10.0 if activation == "relu" else 1e-4
    found = ours(activation=activation, alpha=alpha, random_state=0, **LBFGS).fit(X, y)
    again = THEIRS[ours](activation=activation, alpha=alpha, random_state=0, **LBFGS, warm_start=True)
    again.set_params(max_iter=1)
    with pytest.warns(UserWarning, match="converge"):
        again.fit(X, y)
    again.set_params(max_iter=LBFGS["max_iter"])
    again.coefs_ = [np.array(coefs) for coefs in found.coefs_]
    again.intercepts_ = [np.array(intercepts) for intercepts in found.intercepts_]
    again.fit(X, y)
    assert_close(found.loss_, again.loss_, scale=1, kind="scikit-learn")


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("weighted", [False, pytest.param(True, marks=WEIGHTS)], ids=["equal", "weighted"])
@pytest.mark.parametrize(
    "kind", ["binary", "multiclass", "multilabel", "regression", pytest.param("counts", marks=POISSON)]
)
def test_lbfgs_with_other_targets(kind, weighted):
    ours, X, y = problem(kind)
    options = {"activation": "tanh", "alpha": 10.0, "random_state": 0, **LBFGS}
    if kind == "counts":
        options["loss"] = "poisson"
    found, expected = both(ours, X, y, weighted=weighted, **options)
    assert_close(found.loss_, expected.loss_, scale=1, kind="scikit-learn")


def test_lbfgs_with_several_outputs():
    """scikit-learn hands L-BFGS the mean of the outputs' errors, but the gradient of their sum, and gives up soon.

    nnfast minimizes the sum.
    """
    ours, X, y = problem("multi-output")
    found, expected = both(ours, X, y, activation="tanh", alpha=10.0, random_state=0, **LBFGS)
    penalty, error = (
        [5 * sum(np.square(coefs).sum() for coefs in model.coefs_) / len(X) for model in (found, expected)],
        [np.square(model.predict(X) - y).sum(axis=1).mean() / 2 for model in (found, expected)],
    )
    assert penalty[0] + error[0] < penalty[1] + error[1]
    assert found.converged_
    assert found.loss_ == pytest.approx(penalty[0] + error[0] / 3)


# ---- loss curves of the stochastic solvers

EPOCHS = {"max_iter": 50, "shuffle": False, "batch_size": 32, "random_state": 0, "hidden_layer_sizes": (7, 5)}
ALWAYS = {"tol": 0, "n_iter_no_change": np.inf}
SGD = {"solver": "sgd", "learning_rate_init": 0.05}
ADAM = {"solver": "adam", "learning_rate_init": 0.01}
MOMENTA = {
    "none": {"momentum": 0},
    "plain": {"momentum": 0.9, "nesterovs_momentum": False},
    "nesterov": {"momentum": 0.9, "nesterovs_momentum": True},
}
SCHEDULES = {
    "constant": ALWAYS,
    "invscaling": {"power_t": 0.3, **ALWAYS},
    "adaptive": {"tol": 0.01, "n_iter_no_change": 2},  # divides the rate several times within 50 epochs
}


@pytest.mark.parametrize("momentum", MOMENTA)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_curves_of_sgd(schedule, momentum):
    ours, X, y = problem("multiclass")
    options = {**EPOCHS, **SGD, **SCHEDULES[schedule], **MOMENTA[momentum]}
    compare(*both(ours, X, y, learning_rate=schedule, activation="tanh", **options), X)


@pytest.mark.parametrize("solver", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_curves_of_activations(activation, solver):
    ours, X, y = problem("multiclass")
    compare(*both(ours, X, y, activation=activation, alpha=0.3, **EPOCHS, **ALWAYS, **solver), X)


def whole(kind, X, weighted):
    """One mini-batch where the reported loss of several is defined in another way: weighted ones of several outputs."""
    return {"batch_size": len(X)} if weighted and kind == "multi-output" else {}


@pytest.mark.parametrize("weighted", [False, pytest.param(True, marks=WEIGHTS)], ids=["equal", "weighted"])
@pytest.mark.parametrize("solver", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("kind", ["binary", "multilabel", "regression", "multi-output", "multiclass"])
def test_curves_of_targets(kind, solver, weighted):
    ours, X, y = problem(kind)
    options = {**EPOCHS, **ALWAYS, **solver, **whole(kind, X, weighted)}
    compare(*both(ours, X, y, weighted=weighted, alpha=0.3, **options), X)


@POISSON
@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("solver", [SGD, ADAM], ids=["sgd", "adam"])
def test_curves_of_counts(solver, weighted):
    ours, X, y = problem("counts")
    options = {**EPOCHS, **ALWAYS, **solver, "learning_rate_init": 0.01}
    compare(*both(ours, X, y, weighted=weighted, loss="poisson", **options), X)


@pytest.mark.parametrize(
    "options",
    [
        {"solver": "adam", "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3},
        {"solver": "adam", "batch_size": 150},
        {"solver": "sgd", "batch_size": 8, "learning_rate_init": 0.01},
        {"solver": "sgd", "batch_size": "auto", "hidden_layer_sizes": (4, 4, 4, 4), "activation": "tanh"},
        {"solver": "adam", "hidden_layer_sizes": 3, "alpha": 0},
        {"solver": "adam", "hidden_layer_sizes": [], "alpha": 1.0},
    ],
    ids=str,
)
def test_curves_of_other_options(options):
    ours, X, y = problem("multiclass")
    compare(*both(ours, X, y, **{**EPOCHS, **ALWAYS, **options}), X)


@pytest.mark.parametrize("solver", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression", "multi-output"])
def test_convergence(kind, solver):
    """Both stop after the same epoch."""
    ours, X, y = problem(kind)
    options = {**EPOCHS, **solver, "tol": 0.005, "n_iter_no_change": 3, "max_iter": 300}
    found, expected = both(ours, X, y, **options)
    assert 4 < expected.n_iter_ < 300
    compare(found, expected, X)


@pytest.mark.parametrize("weighted", [False, pytest.param(True, marks=WEIGHTS)], ids=["equal", "weighted"])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression", "multi-output"])
def test_early_stopping(kind, weighted):
    """The same rows are split off, the same scores computed, the same parameters restored."""
    ours, X, y = problem(kind)
    options = {**EPOCHS, **SGD, "early_stopping": True, "validation_fraction": 0.2, "n_iter_no_change": 4}
    options |= whole(kind, X[int(0.2 * len(X)) :], weighted)
    compare(*both(ours, X, y, weighted=weighted, activation="tanh", tol=0.001, **options), X)


@pytest.mark.parametrize("solver", [SGD, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_partial_fit(kind, solver):
    """The optimizer goes on where the last call left it."""
    ours, X, y = problem(kind)
    pair = []
    for estimator in (ours, THEIRS[ours]):
        model = estimator(**{**EPOCHS, **solver})
        for start in [0, 40, 90, 0, 40, 90, 20]:
            rows = slice(start, start + 50)
            classes = {"classes": np.unique(y)} if start == 0 and kind == "multiclass" else {}
            model.partial_fit(X[rows], y[rows], **classes)
        pair.append(model)
    compare(*pair, X)


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_warm_start(kind):
    """Without momentum, since scikit-learn forgets it between two calls of `fit`, and nnfast does not."""
    ours, X, y = problem(kind)
    pair = []
    for estimator in (ours, THEIRS[ours]):
        model = estimator(**{**EPOCHS, **SGD, **ALWAYS, "max_iter": 10, "momentum": 0, "warm_start": True})
        pair.append(model.fit(X, y).set_params(max_iter=25).fit(X[::2], y[::2]))
    compare(*pair, X)


@pytest.mark.parametrize(
    "options",
    [
        {"max_iter": 4},
        {"tol": 0.05, "n_iter_no_change": 2, "learning_rate_init": 0.05},
        {"tol": 0.05, "n_iter_no_change": 2, "learning_rate_init": 0.05, "early_stopping": True},
        {"tol": 0.1, "n_iter_no_change": 1, "solver": "sgd", "learning_rate": "adaptive"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_what_is_printed_and_warned_of(kind, options, capsys):
    ours, X, y = problem(kind)
    seen = []
    for estimator in (ours, THEIRS[ours]):
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            estimator(**{"max_iter": 60, "random_state": 0, "shuffle": False, "verbose": True, **options}).fit(X, y)
        seen.append((capsys.readouterr().out, [(w.category, str(w.message)) for w in warned]))
    assert "Iteration 4, loss = " in seen[1][0]
    assert seen[0] == seen[1]
    assert len(seen[0][1]) == (options.get("max_iter") == 4)


# ---- scores


@pytest.mark.parametrize("name", NAMES)
def test_cross_validated_scores_with_defaults(name):
    """On average over folds and seeds not worse by more than one standard error of scikit-learn's mean."""
    ours, X, y = table(name, 200)
    scores = {}
    for estimator in (ours, THEIRS[ours]):
        scores[estimator] = []
        for seed in range(2):
            folds = (KFold if ours is MLPRegressor else StratifiedKFold)(5, shuffle=True, random_state=seed)
            scores[estimator] += list(cross_val_score(estimator(random_state=seed), X, y, cv=folds))
    theirs = np.array(scores[THEIRS[ours]])
    error = theirs.std(ddof=1) / np.sqrt(len(theirs))
    assert np.mean(scores[ours]) >= theirs.mean() - error
