"""TabularClassifier and TabularRegressor: scikit-learn's checks and tools, frames, and what must be refused."""

from __future__ import annotations

import copy
import doctest
import inspect
import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.5", reason="nnfast.sklearn needs scikit-learn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import estimator_checks

import nnfast.tables
from nnfast.sklearn import TabularClassifier, TabularRegressor
from nnfast.sklearn import tabular as module

RANDOM = np.random.default_rng(11)
N = 90
X = RANDOM.standard_normal((N, 3))
REAL = X[:, 0] + X[:, 1] ** 2
CODES = np.digitize(REAL, [0.3, 1.5])
QUICK = {"hidden_layer_sizes": 8, "max_iter": 5, "learning_rate_init": 0.02, "random_state": 0, "n_members": 1}
KINDS = {TabularClassifier: CODES, TabularRegressor: REAL}
EACH = pytest.mark.parametrize("kind", KINDS)


def fitted(kind, x=X, y=None, sample_weight=None, **options):
    return kind(**{**QUICK, **options}).fit(x, KINDS[kind] if y is None else y, sample_weight)


def outputs(model, x=X):
    return model.predict_proba(x) if isinstance(model, TabularClassifier) else model.predict(x)


def parameters(model):
    return [member.net.flat_params.tobytes() for member in model.model_.members]


# ---- scikit-learn's checks

HELD = "which rows are held back to choose the epoch depends on the number of rows and on their order"
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": HELD,
    "check_sample_weights_invariance(kind=zeros)": HELD,  # until scikit-learn 1.5
}


def checks():
    """Each check, marked where it must fail; see tests/test_sklearn_estimators.py."""
    options = {"max_iter": 20, "hidden_layer_sizes": 16, "learning_rate_init": 0.02}
    mark = estimator_checks.parametrize_with_checks([kind(**options) for kind in KINDS])
    names, cases = mark.args
    marked = []
    for estimator, check in cases:
        reason = EXPECTED.get(estimator_checks._get_check_estimator_ids(check))
        marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
        marked.append(pytest.param(estimator, check, marks=marks))
    return pytest.mark.parametrize(names, marked, **mark.kwargs)


@checks()
def test_checks(estimator, check):
    check(estimator)


def test_examples_run():
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    examples = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert len(examples) == 2
    for test in examples:
        assert runner.run(test).failed == 0


# ---- parameters


@EACH
def test_parameters(kind):
    names = set(inspect.signature(kind).parameters)
    model = kind()
    assert set(model.get_params()) == names
    assert names == set(kind._parameter_constraints)
    options = {"n_members": 3, "dropout": 0.3, "kinds": {"a": "category"}}
    twin = clone(kind(**options))
    assert {name: twin.get_params()[name] for name in options} == options
    assert twin.set_params(max_iter=7).max_iter == 7
    documented = kind.__doc__ + TabularClassifier.__doc__
    assert all(name in documented for name in names)


@EACH
def test_parameters_build_the_network_and_the_training(kind):
    options = {"hidden_layer_sizes": (7, 5), "activation": "relu", "dropout": 0.0, "max_iter": 3, "n_members": 2}
    model = fitted(kind, **options)
    assert len(model.model_.members) == 2
    layers = model.model_.members[0].net.layers
    assert [layer.units for layer in layers[1:]] == [7, 5, model.model_.target.units]
    assert layers[1].function.name == "relu"
    assert model.n_iter_ == 3
    patient = fitted(kind, max_iter=300, n_iter_no_change=2, learning_rate_init=0.3)
    assert patient.n_iter_ < 300
    held = fitted(kind, validation_fraction=0.5).model_.held
    assert len(held.values) in (N // 2, N // 2 + 1)
    kinds = fitted(kind, np.column_stack([X, CODES]), kinds={3: "category"}).model_.preparation
    assert [column.kind for column in kinds.columns] == ["number"] * 3 + ["category"]
    for name, value in {
        "weight_decay": 5.0, "batch_size": 8, "learning_rate_init": 0.01, "dropout": 0.5, "random_state": 1,
        **({"label_smoothing": 0.5} if kind is TabularClassifier else {"quantiles": [0.5]}),
    }.items():  # fmt: skip
        assert parameters(fitted(kind, **{name: value})) != parameters(fitted(kind)), name


def test_verbose_shows_the_progress(capfd, monkeypatch):
    monkeypatch.setattr("nnfast._progress.PATIENCE", 0.0)
    for verbose in (False, True):
        fitted(TabularRegressor, verbose=verbose, max_iter=50)
        assert bool(capfd.readouterr().err) == verbose


@EACH
def test_random_state(kind):
    assert parameters(fitted(kind)) == parameters(fitted(kind))
    assert parameters(fitted(kind, n_members=2, n_threads=1)) == parameters(fitted(kind, n_members=2, n_threads=2))
    assert parameters(fitted(kind, random_state=None)) != parameters(fitted(kind, random_state=None))
    state = np.random.RandomState(0)
    assert parameters(fitted(kind, random_state=state)) != parameters(fitted(kind, random_state=state))
    model = fitted(kind, n_threads=2)
    assert outputs(model).tobytes() == outputs(fitted(kind)).tobytes()


@EACH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_members": 0}, "The 'n_members' parameter of"),
        ({"kinds": ["number"]}, "The 'kinds' parameter of"),
        ({"activation": "bent"}, "The 'activation' parameter of"),
        ({"dropout": 1.0}, "The 'dropout' parameter of"),
        ({"validation_fraction": 0.6}, "The 'validation_fraction' parameter of"),
        ({"max_seconds": 0}, "The 'max_seconds' parameter of"),
        ({"n_threads": 0}, "The 'n_threads' parameter of"),
        ({"hidden_layer_sizes": (5, 0)}, r"hidden_layer_sizes must be > 0, got \[5, 0\]"),
    ],
)
def test_bad_parameters(kind, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        fitted(kind, **options)


@EACH
def test_an_error_leaves_the_estimator_as_it_was(kind):
    model = fitted(kind)
    before = dict(vars(model))
    for bad in (X[:, :0], np.full((N, 2), 1.0), X[:5]):
        with pytest.raises(ValueError, match="feature|column|must have shape"):
            model.fit(bad, KINDS[kind])
        assert vars(model) == before


# ---- scikit-learn's tools


@EACH
def test_selection_of_models(kind):
    scores = cross_val_score(kind(**QUICK), X, KINDS[kind], cv=3, error_score="raise")
    assert np.isfinite(scores).all()
    search = GridSearchCV(kind(**QUICK), {"n_members": [1, 2]}, cv=2, error_score="raise").fit(X, KINDS[kind])
    assert len(search.best_estimator_.model_.members) == search.best_params_["n_members"]
    line = make_pipeline(StandardScaler(), kind(**QUICK)).fit(X, KINDS[kind])
    assert line.predict(X).shape == (N,)


@EACH
def test_copies_predict_the_same_bits(kind):
    model = fitted(kind, n_members=2)
    for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert outputs(twin).tobytes() == outputs(model).tobytes()
        assert twin.feature_importances_.tolist() == model.feature_importances_.tolist()


@EACH
def test_files(kind, tmp_path):
    model = fitted(kind)
    model.save(tmp_path / "model.npz")
    assert nnfast.tables.load(tmp_path / "model.npz").predict(X).tolist() == model.predict(X).tolist()


@EACH
def test_the_score(kind):
    model = fitted(kind)
    measure = accuracy_score if kind is TabularClassifier else r2_score
    assert model.score(X, KINDS[kind]) == measure(KINDS[kind], model.predict(X))


# ---- classes, weights, quantiles


@pytest.mark.parametrize("labels", [["no", "yes", "maybe"], [5, -1, 7], [1.0, 2.0, 4.0], [True, False, True]])
def test_labels(labels):
    y = np.array(labels)[CODES]
    model = fitted(TabularClassifier, y=y)
    assert model.classes_.tolist() == sorted(set(labels))
    assert model.classes_.dtype == y.dtype
    assert model.predict(X).dtype == y.dtype
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (N, len(set(labels)))
    np.testing.assert_array_equal(model.predict(X), model.classes_[probabilities.argmax(axis=1)])


@EACH
def test_weights(kind):
    weights = np.where(np.arange(N) % 4 == 0, 0.0, RANDOM.uniform(0.5, 2, N))
    used = weights > 0
    expected = fitted(kind, X[used], KINDS[kind][used], weights[used])
    assert parameters(fitted(kind, sample_weight=weights)) == parameters(expected)
    assert parameters(fitted(kind)) != parameters(expected)
    with pytest.raises(ValueError, match="weight"):
        fitted(kind, sample_weight=-weights)


def test_class_weight():
    weighted = fitted(TabularClassifier, class_weight={1: 4.0})
    rows = np.where(CODES == 1, 4.0, 1.0)
    assert parameters(weighted) == parameters(fitted(TabularClassifier, sample_weight=rows))
    assert parameters(fitted(TabularClassifier, class_weight="balanced")) != parameters(fitted(TabularClassifier))
    with pytest.raises(ValueError, match="^class_weight must be of classes in y, got 9"):
        fitted(TabularClassifier, class_weight={9: 1.0})


def test_quantiles():
    model = fitted(TabularRegressor, quantiles=[0.9, 0.5, 0.1])
    found = model.predict_quantiles(X)
    assert found.shape == (N, 3)
    assert (np.diff(found, axis=1) >= 0).all()
    np.testing.assert_array_equal(model.predict(X), found[:, 1])
    with pytest.raises(AttributeError, match="^predict_quantiles needs quantiles in fit, such as quantiles="):
        fitted(TabularRegressor).set_params(quantiles=[0.5]).predict_quantiles(X)
    with pytest.raises(ValueError, match="^quantiles must contain 0.5, which predict returns, got"):
        fitted(TabularRegressor, quantiles=[0.1])


# ---- attributes


@EACH
def test_attributes(kind):
    unfitted = kind()
    for name in ("feature_importances_", "network_"):
        with pytest.raises(NotFittedError):
            getattr(unfitted, name)
    with pytest.raises(NotFittedError):
        unfitted.predict(X)
    with pytest.raises(NotFittedError):
        unfitted.save("model.npz")
    model = fitted(kind)
    assert model.n_features_in_ == 3
    assert model.feature_importances_ is model.feature_importances_  # computed once
    assert model.feature_importances_.sum() == pytest.approx(1)
    raw = model.model_.prepared(X)
    np.testing.assert_allclose(model.network_.predict(raw), model.model_.response(raw), atol=1e-5)
    several = fitted(kind, n_members=2)
    assert not hasattr(several, "network_")
    with pytest.raises(AttributeError, match="^there is no network_ of 2 networks: see model_.members$"):
        _ = several.network_


# ---- one row


@EACH
@pytest.mark.parametrize("n_members", [1, 3])
def test_a_row_has_the_same_bits_alone_however_it_comes(kind, n_members):
    model = fitted(kind, n_members=n_members)
    for dtype in (np.float64, np.float32):
        together = outputs(model, X.astype(dtype))
        for i in range(0, N, 13):
            row = X[i : i + 1].astype(dtype)
            assert outputs(model, row).tobytes() == together[i : i + 1].tobytes()  # the short way
            assert outputs(model, row.tolist()).tobytes() == together[i : i + 1].tobytes()  # scikit-learn's checks


@EACH
def test_the_short_way_checks_as_well(kind):
    model = fitted(kind)
    with pytest.raises(ValueError, match="X has 2 features, but Tabular.* is expecting 3 features as input"):
        model.predict(X[:1, :2])
    with pytest.raises(ValueError, match="Reshape your data"):
        model.predict(X[0])
    with pytest.raises(ValueError, match="Found array with 0 sample"):
        model.predict(X[:0])
    assert np.isfinite(outputs(model, np.full((1, 3), np.nan))).all()


# ---- frames

TABLE = {
    "size": [None if i % 7 == 0 else float(x) for i, x in enumerate(X[:, 0])],
    "colour": [None if i % 11 == 0 else ["red", "green", "blue"][i % 3] for i in range(N)],
    "since": [np.datetime64("2020-01-01") + 13 * i for i in range(N)],
    "sold": [i % 4 == 0 for i in range(N)],
}


def pandas_frame(table=TABLE):
    return pytest.importorskip("pandas", reason="pandas is not installed").DataFrame(table)


def polars_frame():
    polars = pytest.importorskip("polars", reason="polars is not installed")
    return polars.DataFrame(TABLE | {"since": [day.item() for day in TABLE["since"]]})


@EACH
@pytest.mark.parametrize("make", [pandas_frame, polars_frame])
def test_frames(kind, make):
    frame = make()
    model = fitted(kind, frame)
    seen = getattr(FunctionTransformer().fit(frame), "feature_names_in_", [])  # 1.5 sees no names in newer frames
    assert list(getattr(model, "feature_names_in_", [])) == list(seen)
    assert [column.kind for column in model.model_.preparation.columns] == ["number", "category", "date", "category"]
    assert outputs(model, frame).tobytes() == outputs(fitted(kind, make()), frame).tobytes()
    assert model.feature_importances_.shape == (4,)
    assert outputs(model, frame[:1]).tobytes() == outputs(model, frame)[:1].tobytes()
    other_way_round = frame[list(TABLE)[::-1]]
    if len(seen):
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(other_way_round)
    else:  # columns are matched by the names that the preparation has seen
        assert outputs(model, other_way_round).tobytes() == outputs(model, frame).tobytes()


def test_an_array_after_a_frame_warns():
    frame = pandas_frame({name: X[:, i] for i, name in enumerate("abc")})
    model = fitted(TabularRegressor, frame)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but TabularRegressor was fitted with"):
        predicted = model.predict(X)
    np.testing.assert_array_equal(predicted, model.predict(frame))


def test_frames_with_declared_categories_and_missing_targets():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame({"code": pandas.Categorical(CODES), "size": X[:, 0]})
    model = fitted(TabularRegressor, frame)
    assert model.model_.preparation.columns[0].kind == "category"
    y = pandas.Series(np.where(CODES > 0, "a", "b")).astype("string")
    assert set(fitted(TabularClassifier, frame, y).predict(frame)) <= {"a", "b"}
    y[3] = pandas.NA
    with pytest.raises(ValueError, match="^y must have a class for each row, and misses 1$"):
        fitted(TabularClassifier, frame, y)


def test_lists_of_mixed_rows():
    rows = [[float(x), "a" if i % 2 else "b"] for i, x in enumerate(X[:, 0])]
    model = fitted(TabularClassifier, rows)
    assert [column.kind for column in model.model_.preparation.columns] == ["number", "category"]
    assert model.predict([[0.5, "c"]]).shape == (1,)
