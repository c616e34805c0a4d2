"""The estimators in what people build around them: pickles, searches, pipelines, frames, metadata, callbacks."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import threading
import time
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.5", reason="nnfast.sklearn needs scikit-learn")

import joblib
import sklearn
from scipy import stats
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.model_selection import (
    GridSearchCV,
    HalvingRandomSearchCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from sklearn_cases import SKLEARN, THEIRS, MLPClassifier, MLPRegressor, dataset, quick

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

MLPS = [MLPClassifier, MLPRegressor]
BOTH = pytest.mark.parametrize("mlp", MLPS)
OPTIONS = [
    {},
    {"solver": "sgd", "learning_rate": "invscaling"},
    {"solver": "lbfgs"},
    {"early_stopping": True},
    {"warm_start": True, "solver": "sgd", "momentum": 0.5},
    {"n_ensembles": 2},
    {"dropout": 0.2, "batch_norm": True, "activation": "gelu"},
]
CONFIGURED = pytest.mark.parametrize("options", OPTIONS, ids=str)


def data_for(mlp):
    X, y = dataset("iris" if mlp is MLPClassifier else "diabetes")
    rows = np.random.default_rng(0).permutation(len(X))[:150]
    return X[rows], y[rows]


def outputs(model, X):
    return model.predict_proba(X) if is_classifier(model) else model.predict(X)


def assert_same(one, other, X):
    """The same bits in what two models have learned and predict."""
    for a, b in zip(one.networks_, other.networks_, strict=True):
        np.testing.assert_array_equal(a.flat_params, b.flat_params)
        assert a.statistics.keys() == b.statistics.keys()
        for name in a.statistics:
            np.testing.assert_array_equal(a.statistics[name], b.statistics[name])
    np.testing.assert_array_equal(outputs(one, X), outputs(other, X))
    assert one.loss_ == other.loss_
    assert one.n_iter_ == other.n_iter_


# ---- copies


COPIES = {
    "pickle": lambda model, folder: pickle.loads(pickle.dumps(model)),
    "old pickle": lambda model, folder: pickle.loads(pickle.dumps(model, protocol=2)),
    "deepcopy": lambda model, folder: copy.deepcopy(model),
    "joblib": lambda model, folder: joblib.load(joblib.dump(model, folder / "model.joblib")[0]),
    "compressed joblib": lambda model, folder: joblib.load(joblib.dump(model, folder / "model.gz", compress=3)[0]),
}


@CONFIGURED
@BOTH
@pytest.mark.parametrize("how", COPIES)
def test_a_copy_predicts_the_same(how, mlp, options, tmp_path):
    X, y = data_for(mlp)
    model = quick(mlp, **options).fit(X, y)
    copied = COPIES[how](model, tmp_path)
    assert_same(copied, model, X)
    assert copied.get_params() == model.get_params()
    assert copied.score(X, y) == model.score(X, y)


@BOTH
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("options", [o for o in OPTIONS if "early_stopping" not in o], ids=str)
def test_a_copy_goes_on_as_the_original_would(options, how, mlp, tmp_path):
    X, y = data_for(mlp)
    model = quick(mlp, **options).fit(X, y)
    parts = [slice(0, 50), slice(30, 100)]
    learn = mlp.fit if options.get("solver") == "lbfgs" else mlp.partial_fit
    model.set_params(warm_start=True)
    learn(model, X[:40], y[:40])
    copied = COPIES[how](model, tmp_path)
    before = [net.flat_params.copy() for net in copied.networks_]
    for rows in parts:
        learn(model, X[rows], y[rows])
    for old, net in zip(before, copied.networks_, strict=True):  # not changed with the original
        np.testing.assert_array_equal(old, net.flat_params)
    for rows in parts:
        learn(copied, X[rows], y[rows])
    assert_same(copied, model, X)


@CONFIGURED
@BOTH
def test_a_clone_is_not_fitted_and_learns_the_same(mlp, options):
    X, y = data_for(mlp)
    model = quick(mlp, **options).fit(X, y)
    cloned = clone(model)
    assert cloned.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        cloned.predict(X)
    assert not [name for name in vars(cloned) if name.endswith("_") and not name.startswith("_")]
    assert_same(cloned.fit(X, y), model, X)


@BOTH
def test_fitting_again_begins_anew(mlp):
    X, y = data_for(mlp)
    model, once = quick(mlp).fit(X[:, :3], y).fit(X, y), quick(mlp).fit(X, y)
    assert_same(model, once, X)
    assert model.loss_curve_ == once.loss_curve_


@BOTH
def test_a_copy_from_mapped_memory_predicts(mlp, tmp_path):
    X, y = data_for(mlp)
    model = quick(mlp).fit(X, y)
    joblib.dump(model, tmp_path / "model.joblib")
    assert_same(joblib.load(tmp_path / "model.joblib", mmap_mode="r"), model, X)


@BOTH
def test_a_fitted_model_is_shown(mlp):
    X, y = data_for(mlp)
    for model in (quick(mlp), quick(mlp).fit(X, y)):
        assert repr(model).startswith(f"{mlp.__name__}(hidden_layer_sizes=8")
        assert mlp.__name__ in sklearn.utils.estimator_html_repr(model)
    assert is_classifier(model) == (mlp is MLPClassifier)
    assert is_regressor(model) == (mlp is MLPRegressor)


@CONFIGURED
@BOTH
def test_skops_needs_to_trust_our_names_only(mlp, options):
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    X, y = data_for(mlp)
    model = quick(mlp, **options).fit(X, y)
    dumped = skops.dumps(model)
    names = skops.get_untrusted_types(data=dumped)
    assert all(name.startswith("nnfast.") for name in names), names
    assert_same(skops.loads(dumped, trusted=names), model, X)


# ---- searches

GRID = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(4,), (8, 4)]}


def searched(**options):
    X, y = dataset("iris")
    search = GridSearchCV(quick(MLPClassifier, learning_rate_init=0.02), GRID, cv=3, **options)
    return search.fit(X, y), X


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_a_search_in_parallel_finds_the_same(backend):
    alone, X = searched()
    with joblib.parallel_config(backend):
        together, _ = searched(n_jobs=2)
    for name in ["mean_test_score", "std_test_score"]:
        np.testing.assert_array_equal(together.cv_results_[name], alone.cv_results_[name])
    assert together.best_params_ == alone.best_params_
    assert_same(together.best_estimator_, alone.best_estimator_, X)


def test_halving_search():
    X, y = dataset("iris")
    choices = {"alpha": stats.loguniform(1e-5, 1), "activation": ["relu", "tanh"]}
    search = HalvingRandomSearchCV(
        quick(MLPClassifier, learning_rate_init=0.05),
        choices,
        resource="max_iter",
        max_resources=30,
        random_state=0,
        cv=3,
    )
    search.fit(X, y)
    assert search.best_estimator_.max_iter > 3
    assert search.n_iterations_ > 1
    assert search.score(X, y) > 0.8


def test_several_scores():
    X, y = dataset("wine")
    scores = cross_validate(
        quick(MLPClassifier, learning_rate_init=0.02), X, y, cv=3, scoring=["accuracy", "neg_log_loss", "roc_auc_ovr"]
    )
    assert scores["test_accuracy"].min() > 0.8
    assert scores["test_neg_log_loss"].max() < 0
    assert scores["test_roc_auc_ovr"].min() > 0.9


def test_cross_val_predict():
    X, y = dataset("wine")
    model = quick(MLPClassifier, learning_rate_init=0.02)
    p = cross_val_predict(model, X, y, cv=3, method="predict_proba")
    assert p.shape == (len(X), 3)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (p.argmax(axis=1) == y).mean() > 0.8
    log_p = cross_val_predict(model, X, y, cv=3, method="predict_log_proba")
    np.testing.assert_allclose(np.exp(log_p), p)


# ---- models made of models


def test_calibration():
    X, y = dataset("breast cancer")
    model = CalibratedClassifierCV(quick(MLPClassifier, learning_rate_init=0.02), cv=3).fit(X[::2], y[::2])
    assert model.score(X[1::2], y[1::2]) > 0.9


def test_bagging():
    X, y = dataset("iris")
    model = BaggingClassifier(
        quick(MLPClassifier, learning_rate_init=0.05), n_estimators=3, max_features=0.75, n_jobs=2
    )
    with joblib.parallel_config("threading"):
        model.fit(X, y)
        assert model.score(X, y) > 0.8
    first, second, _ = model.estimators_
    assert not np.array_equal(first.coefs_[0], second.coefs_[0])


def test_stacking_and_voting():
    X, y = dataset("iris")
    stacked = StackingClassifier([("a", quick(MLPClassifier)), ("b", quick(MLPClassifier, alpha=1.0))], cv=3)
    assert stacked.fit(X, y).score(X, y) > 0.8
    X, y = dataset("diabetes")
    a, b = (quick(MLPRegressor, random_state=seed).fit(X, y).predict(X) for seed in range(2))
    voting = VotingRegressor([(str(seed), quick(MLPRegressor, random_state=seed)) for seed in range(2)]).fit(X, y)
    np.testing.assert_array_equal(voting.predict(X), (a + b) / 2)


def test_transformed_targets():
    X, y = dataset("diabetes")
    model = TransformedTargetRegressor(quick(MLPRegressor, max_iter=100), transformer=StandardScaler())
    assert model.fit(X, 150 + 70 * y).score(X, 150 + 70 * y) > 0.3


def test_permutation_importance():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    model = quick(MLPRegressor, solver="lbfgs", max_iter=200).fit(X, 2 * X[:, 1])
    found = permutation_importance(model, X, 2 * X[:, 1], n_repeats=2, random_state=0).importances_mean
    assert found.argmax() == 1
    assert found[1] > 10 * max(abs(found[0]), abs(found[2]))
    slopes = np.diff(partial_dependence(model, X, [1], grid_resolution=5, kind="average")["average"][0])
    assert (slopes > 0).all()


# ---- frames


@pytest.fixture
def pandas():
    return pytest.importorskip("pandas", reason="pandas is not installed")


@pytest.fixture
def frame(pandas):
    X, y = dataset("iris")
    return pandas.DataFrame(X, columns=["sl", "sw", "pl", "pw"]), pandas.Series(
        np.array(["s", "c", "v"])[y], name="kind"
    )


def test_a_pipeline_hands_on_names(frame):
    X, y = frame
    model = make_pipeline(StandardScaler(), quick(MLPClassifier)).set_output(transform="pandas").fit(X, y)
    assert list(model[-1].feature_names_in_) == list(X.columns)
    assert model[-1].n_features_in_ == 4
    plain = make_pipeline(StandardScaler(), quick(MLPClassifier)).fit(X.to_numpy(), y)
    assert not hasattr(plain[-1], "feature_names_in_")
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X.to_numpy()))
    assert set(model.predict(X)) <= {"s", "c", "v"}


def test_columns_of_several_kinds(pandas):
    rng = np.random.default_rng(0)
    kind = rng.choice(["a", "b", "c"], 120)
    X = pandas.DataFrame(
        {"x": rng.standard_normal(120), "n": rng.integers(0, 9, 120), "kind": pandas.Categorical(kind)}
    )
    y = (X["x"] > 0) ^ (kind == "a")
    for sparse in (True, False):
        columns = ColumnTransformer(
            [("number", StandardScaler(), ["x", "n"]), ("kind", OneHotEncoder(sparse_output=sparse), ["kind"])],
            sparse_threshold=float(sparse),
        )
        model = make_pipeline(columns, quick(MLPClassifier, solver="lbfgs", max_iter=200)).fit(X, y)
        assert model.score(X, y) > 0.9
        assert model[-1].n_features_in_ == 5


@BOTH
def test_names_must_stay(mlp, frame):
    X, y = frame[0], data_for(mlp)[1][: len(frame[0])]
    X = X[: len(y)]
    named, unnamed = quick(mlp).fit(X, y), quick(mlp).fit(X.to_numpy(), y)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        named.predict(X.to_numpy())
    with pytest.warns(UserWarning, match=f"X has feature names, but {mlp.__name__} was fitted without feature names"):
        unnamed.predict(X)
    with pytest.raises(ValueError, match="feature names should match those that were passed during fit"):
        named.predict(X[X.columns[::-1]])
    with pytest.raises(ValueError, match="feature names should match those that were passed during fit"):
        named.partial_fit(X.rename(columns={"sl": "other"}), y)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        named.score(X, y)
        unnamed.score(X.to_numpy(), y)
        named.partial_fit(X, y)


SCORED = {
    "by default": {},
    "loss": {"scoring": "loss"},
    "by name": {"scoring": "neg_mean_squared_error"},
    "by a function": {"scoring": lambda model, X, y: model.score(X, y)},
    "several networks": {"n_ensembles": 2},
}


@pytest.mark.parametrize("how", SCORED)
@BOTH
def test_early_stopping_on_a_frame_does_not_warn_of_names(mlp, how, pandas):
    """What is set aside and scored has no names, or those of the frame."""
    X, y = data_for(mlp)
    model = quick(mlp, early_stopping=True, **SCORED[how])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "X (has|does)", UserWarning)
        model.fit(pandas.DataFrame(X).add_prefix("x"), y)
    assert list(model.feature_names_in_) == [f"x{i}" for i in range(X.shape[1])]


@BOTH
def test_targets_in_a_frame(mlp, pandas):
    X, y = data_for(mlp)
    targets = np.column_stack([y > y.mean(), X[:, 0] > 0]).astype(int)
    frame = pandas.DataFrame(targets, columns=["one", "other"])
    assert_same(quick(mlp).fit(X, frame), quick(mlp).fit(X, targets), X)
    assert quick(mlp).fit(X, frame).predict(X).shape == (len(X), 2)


def test_polars():
    polars = pytest.importorskip("polars", reason="polars is not installed")
    X, y = dataset("iris")
    frame = polars.DataFrame({name: X[:, i] for i, name in enumerate("abcd")})
    model = quick(MLPClassifier).fit(frame, polars.Series(y))
    theirs = THEIRS[MLPClassifier](8, max_iter=1).fit(frame, y)  # scikit-learn 1.5 sees no names in newer frames
    assert list(getattr(model, "feature_names_in_", [])) == list(getattr(theirs, "feature_names_in_", []))
    np.testing.assert_array_equal(model.predict_proba(frame), quick(MLPClassifier).fit(X, y).predict_proba(X))


# ---- metadata


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@BOTH
def test_weights_reach_the_fit_of_a_search(mlp, routing):
    X, y = data_for(mlp)
    weights = np.where(X[:, 0] > 0, 1.0, 0.1)
    model = quick(mlp).set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
    search = GridSearchCV(model, {"alpha": [0.1]}, cv=2).fit(X, y, sample_weight=weights)
    assert_same(search.best_estimator_, quick(mlp, alpha=0.1).fit(X, y, sample_weight=weights), X)
    assert not np.array_equal(search.best_estimator_.coefs_[0], quick(mlp, alpha=0.1).fit(X, y).coefs_[0])


@BOTH
def test_weights_must_be_asked_for(mlp, routing):
    X, y = data_for(mlp)
    with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
        GridSearchCV(quick(mlp), {"alpha": [0.1]}, cv=2).fit(X, y, sample_weight=np.ones(len(y)))


@BOTH
def test_weights_reach_the_last_step_of_a_pipeline(mlp):
    X, y = data_for(mlp)
    weights = np.where(X[:, 0] > 0, 1.0, 0.1)
    pipeline = make_pipeline(StandardScaler(), quick(mlp))
    pipeline.fit(X, y, **{f"{mlp.__name__.lower()}__sample_weight": weights})
    Z = pipeline[0].transform(X)
    assert_same(pipeline[-1], quick(mlp).fit(Z, y, sample_weight=weights), Z)


@BOTH
def test_weights_of_partial_fit_and_of_the_score(mlp, routing):
    X, y = data_for(mlp)
    weights = np.where(X[:, 0] > 0, 1.0, 0.0)
    model = quick(mlp).set_partial_fit_request(sample_weight=True)
    classes = {"classes": np.unique(y)} if mlp is MLPClassifier else {}
    model.partial_fit(X, y, sample_weight=weights, **classes)
    unweighted = quick(mlp).partial_fit(X, y, **classes)
    assert not np.array_equal(model.coefs_[0], unweighted.coefs_[0])
    assert model.score(X, y, sample_weight=weights) == pytest.approx(model.score(X[weights > 0], y[weights > 0]))


# ---- partial_fit


def test_a_stream():
    X, y = dataset("digits")
    order = np.random.default_rng(0).permutation(len(X))
    model, classes = quick(MLPClassifier, hidden_layer_sizes=16, learning_rate_init=0.02), np.arange(10)
    seen = []
    for i, rows in enumerate(np.array_split(order[:1000], 40)):
        model.partial_fit(X[rows], y[rows], **({} if i else {"classes": classes}))
        seen.append(model.loss_)
    assert np.mean(seen[-5:]) < np.mean(seen[:5]) / 2
    assert model.score(X[order[1000:]], y[order[1000:]]) > 0.7
    assert model.t_ == 1000
    assert len(model.loss_curve_) == 40


@BOTH
def test_partial_fit_needs_a_stochastic_solver(mlp):
    assert not hasattr(mlp(solver="lbfgs"), "partial_fit")
    assert hasattr(mlp(solver="sgd"), "partial_fit")
    with pytest.raises(AttributeError):
        mlp(solver="lbfgs").partial_fit  # noqa: B018


@pytest.mark.parametrize("options", [{}, {"solver": "sgd"}, {"n_ensembles": 2}, {"dropout": 0.3}], ids=str)
@BOTH
def test_training_in_parts_is_training_at_once(mlp, options):
    """The state of the optimizer stays between two calls."""
    X, y = data_for(mlp)
    options = {"shuffle": False, "tol": 0, "n_iter_no_change": np.inf, "batch_size": 40, **options}
    once = quick(mlp, max_iter=12, **options).fit(X, y)
    warm = quick(mlp, max_iter=7, warm_start=True, **options).fit(X, y).set_params(max_iter=5).fit(X, y)
    parts = quick(mlp, **options)
    for i in range(12):
        parts.partial_fit(X, y, **({"classes": np.unique(y)} if i == 0 and mlp is MLPClassifier else {}))
    for model in (warm, parts):
        for a, b in zip(model.networks_, once.networks_, strict=True):
            np.testing.assert_array_equal(a.flat_params, b.flat_params)
        assert model.loss_curve_ == once.loss_curve_
        assert model.t_ == once.t_


@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, {"n_ensembles": 3}, {"early_stopping": True}], ids=str)
@BOTH
def test_threads_have_no_influence(mlp, options):
    X, y = data_for(mlp)
    one, two = (quick(mlp, hidden_layer_sizes=64, n_threads=n, **options).fit(X, y) for n in (1, 2))
    assert_same(one, two, X)


def test_learning_curve_by_partial_fit():
    X, y = dataset("iris")
    order = np.random.default_rng(0).permutation(len(X))
    _, train, test = learning_curve(
        quick(MLPClassifier, learning_rate_init=0.1),
        X[order],
        y[order],
        cv=3,
        train_sizes=[0.1, 0.5, 1.0],
        exploit_incremental_learning=True,
    )
    assert train.shape == test.shape == (3, 3)
    assert test[-1].mean() > test[0].mean()


# ---- Ctrl-C


def test_an_interrupted_fit_keeps_what_it_has_learned(listening):
    X, y = dataset("iris")
    model = quick(MLPClassifier, max_iter=10**8, tol=0, n_iter_no_change=np.inf)
    threading.Thread(target=lambda: (time.sleep(0.3), os.kill(os.getpid(), signal.SIGINT))).start()
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    assert 1 < model.n_iter_ < 10**8
    assert model.score(X, y) > 0.9


# ---- scikit-learn's callbacks

callback = pytest.mark.skipif(SKLEARN < (1, 9), reason="scikit-learn has callbacks since 1.9")


class Stop:
    """A callback of one's own: stops after some epochs, and notes what it was told."""

    def __init__(self, epochs):
        self.epochs, self.begun, self.ended, self.set_up, self.torn_down = epochs, 0, 0, 0, 0

    def setup(self, estimator, context):
        self.set_up += 1

    def teardown(self, estimator, context):
        self.torn_down += 1

    def on_fit_task_begin(self, estimator, context):
        self.begun += context.max_subtasks == 0

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        if context.max_subtasks != 0:
            return False
        self.ended += 1
        self.last = fitted_estimator
        return self.ended == self.epochs


@callback
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@BOTH
def test_a_callback_that_stops(mlp, solver):
    X, y = data_for(mlp)
    stop = Stop(4)
    model = quick(mlp, solver=solver, max_iter=30).set_callbacks(stop).fit(X, y)
    assert model.n_iter_ == 4
    assert (stop.set_up, stop.torn_down, stop.begun, stop.ended) == (1, 1, 4, 4)
    np.testing.assert_array_equal(outputs(stop.last, X), outputs(model, X))
    assert_same(quick(mlp, solver=solver, max_iter=4).fit(X, y), model, X)


@callback
@BOTH
def test_a_callback_that_looks_on_changes_nothing(mlp):
    X, y = data_for(mlp)
    stop = Stop(10**6)
    for options in ({}, {"early_stopping": True}):
        assert_same(quick(mlp, **options).set_callbacks(stop).fit(X, y), quick(mlp, **options).fit(X, y), X)


@callback
def test_a_callback_that_fails_is_torn_down():
    class Failing(Stop):
        def on_fit_task_end(self, estimator, context):
            raise RuntimeError("of its own")

    X, y = dataset("iris")
    failing = Failing(1)
    with pytest.raises(RuntimeError, match="of its own"):
        quick(MLPClassifier).set_callbacks(failing).fit(X, y)
    assert failing.torn_down == 1


@callback
def test_scoring_monitor():
    from sklearn.callback import ScoringMonitor

    X, y = dataset("iris")
    monitor = ScoringMonitor(scoring="accuracy")
    model = quick(MLPClassifier, max_iter=6).set_callbacks(monitor).fit(X, y)
    log = monitor.get_logs()
    scores = [row["accuracy"] for row in log.data if row["task_name"] != "fit"]
    expected = [quick(MLPClassifier, max_iter=n).fit(X, y).score(X, y) for n in range(1, 7)]
    assert scores == expected
    assert scores[-1] == model.score(X, y)


@callback
def test_callbacks_see_what_the_user_gave(frame):
    from sklearn.callback import ScoringMonitor

    class Looking(Stop):
        def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
            self.X, self.y, self.metadata = X, y, metadata

    X, y = frame
    looking, monitor = Looking(0), ScoringMonitor(scoring="accuracy")
    weights = 1.0 + np.arange(len(y)) % 3
    model = quick(MLPClassifier, max_iter=4).set_callbacks(looking, monitor).fit(X, y, weights)
    np.testing.assert_array_equal(np.asarray(looking.X), X)
    np.testing.assert_array_equal(looking.y, y)
    last = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] != "fit"][-1]
    assert last == pytest.approx(model.score(X, y, weights))


@callback
def test_progress_bar(capsys):
    pytest.importorskip("rich", reason="scikit-learn's progress bar needs rich")
    from sklearn.callback import ProgressBar

    X, y = dataset("iris")
    quick(MLPClassifier, max_iter=3).set_callbacks(ProgressBar()).fit(X, y)
    assert "MLPClassifier" in capsys.readouterr().out
    make_pipeline(StandardScaler(), quick(MLPClassifier, max_iter=3)).set_callbacks(ProgressBar()).fit(X, y)
    assert "MLPClassifier" in capsys.readouterr().out


# ---- what ours have beyond scikit-learn's, beside scikit-learn's own functions


@pytest.mark.parametrize("weights", ["balanced", {0: 1.0, 1: 3.0, 2: 0.5}], ids=str)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_class_weight_is_a_weight_of_each_row(solver, weights):
    X, y = dataset("wine")
    X, y = X[20:], y[20:]
    equal = quick(MLPClassifier, solver=solver).fit(X, y, compute_sample_weight(weights, y))
    assert_same(quick(MLPClassifier, solver=solver, class_weight=weights).fit(X, y), equal, X)


@BOTH
@pytest.mark.parametrize("scoring", [None, "loss", "neg_mean_absolute_error", "balanced_accuracy"])
def test_validation_scores_are_those_of_a_scorer(scoring, mlp):
    if scoring == ("neg_mean_absolute_error" if mlp is MLPClassifier else "balanced_accuracy"):
        pytest.skip("a score of the other task")
    X, y = data_for(mlp)
    options = {"early_stopping": True, "scoring": scoring, "shuffle": False, "n_iter_no_change": np.inf}
    model = quick(mlp, max_iter=5, **options).fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:])
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == 5
    if scoring == "loss":
        np.testing.assert_array_equal(model.validation_scores_, -np.array(model.validation_loss_curve_))
        return
    scorer = sklearn.metrics.get_scorer(scoring) if scoring else lambda model, X, y: model.score(X, y)
    assert model.best_validation_score_ == pytest.approx(scorer(model, X[80:], y[80:]))
    assert max(model.validation_scores_) == model.best_validation_score_


@BOTH
def test_data_for_validation_go_through_a_pipeline(mlp, routing):
    if SKLEARN < (1, 6):
        pytest.skip("Pipeline has transform_input since 1.6")
    X, y = data_for(mlp)
    X = 1 + 3 * X
    model = quick(mlp, early_stopping=True).set_fit_request(X_val=True, y_val=True)
    scaler = StandardScaler()
    pipeline = sklearn.pipeline.make_pipeline(scaler, model, transform_input=["X_val"])
    pipeline.fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:])
    scaler.fit(X[:80])
    Z, Z_val = scaler.transform(X[:80]), scaler.transform(X[80:])
    assert_same(pipeline[-1], quick(mlp, early_stopping=True).fit(Z, y[:80], X_val=Z_val, y_val=y[80:]), Z)


@BOTH
def test_an_ensemble_is_the_mean_of_its_networks(mlp):
    X, y = data_for(mlp)
    model = quick(mlp, n_ensembles=3).fit(X, y)
    assert len(model.networks_) == 3
    mean = np.mean([net.predict(X) for net in model.networks_], axis=0)
    np.testing.assert_allclose(outputs(model, X), mean if mlp is MLPClassifier else mean[:, 0])
    assert model.score(X, y) == pytest.approx(
        np.mean(model.predict(X) == y) if mlp is MLPClassifier else sklearn.metrics.r2_score(y, model.predict(X))
    )


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
def test_quantiles(quantile):
    X, y = dataset("diabetes")
    model = quick(MLPRegressor, loss="quantile", quantile=quantile, solver="lbfgs", max_iter=500).fit(X, y)
    assert np.mean(y <= model.predict(X)) == pytest.approx(quantile, abs=0.03)
    loss = sklearn.metrics.mean_pinball_loss(y, model.predict(X), alpha=quantile)
    constant = sklearn.metrics.mean_pinball_loss(y, np.full_like(y, np.quantile(y, quantile)), alpha=quantile)
    assert loss < 0.85 * constant


def test_gradients_with_respect_to_the_input():
    X, y = dataset("diabetes")
    model = quick(MLPRegressor, activation="tanh").fit(X, y)
    found, h = model.input_gradient(X[:5]), 1e-5
    for j in range(X.shape[1]):
        step = h * np.eye(X.shape[1])[j]
        expected = (model.predict(X[:5] + step) - model.predict(X[:5] - step)) / (2 * h)
        np.testing.assert_allclose(found[:, j], expected, rtol=1e-5, atol=1e-8)


def test_a_fit_with_little_time_ends():
    X, y = dataset("iris")
    model = quick(MLPClassifier, max_iter=10**8, tol=0, n_iter_no_change=np.inf, max_seconds=0.2)
    start = time.monotonic()
    model.fit(X, y)
    assert time.monotonic() - start < 20
    assert not model.converged_
    assert model.n_iter_ < 10**8
