"""The estimators with input that is wrong, rare or awkward."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

pytest.importorskip("sklearn", minversion="1.5", reason="nnfast.sklearn needs scikit-learn")

from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn_cases import THEIRS, MLPClassifier, MLPRegressor, dataset, quick

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

MLPS = [MLPClassifier, MLPRegressor]
BOTH = pytest.mark.parametrize("mlp", MLPS)
SOLVERS = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])


def data_for(mlp, n=60):
    X, y = dataset("iris" if mlp is MLPClassifier else "diabetes")
    rows = np.random.default_rng(0).permutation(len(X))[:n]
    return X[rows], y[rows]


def outputs(model, X):
    return model.predict(X) if isinstance(model, MLPRegressor) else model.predict_proba(X)


def assert_same(one, other, X):
    for a, b in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(outputs(one, X), outputs(other, X))


def unchanged(model):
    """What a call that fails must leave as it is."""
    state = {name: value for name, value in vars(model).items() if name.endswith("_")}
    return {name: repr(value) for name, value in state.items()}


# ---- numbers that are none, or too large


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@BOTH
def test_features_that_are_not_finite(mlp, bad):
    X, y = data_for(mlp)
    wrong = X.copy()
    wrong[3, 1] = bad
    model = quick(mlp).fit(X, y)
    before = unchanged(model)
    for call in (
        lambda: quick(mlp).fit(wrong, y),
        lambda: model.partial_fit(wrong, y),
        lambda: model.predict(wrong),
        lambda: model.score(wrong, y),
        lambda: quick(mlp).fit(sparse.csr_array(wrong), y),
    ):
        with pytest.raises(ValueError, match="X contains (NaN|infinity)"):
            call()
    assert unchanged(model) == before


@BOTH
def test_data_for_validation_that_are_wrong(mlp):
    X, y = data_for(mlp)
    wrong = X.copy()
    wrong[3, 1] = np.nan
    model = quick(mlp, early_stopping=True)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X, y, X_val=wrong, y_val=y)
    with pytest.raises(ValueError, match="features"):
        model.fit(X, y, X_val=X[:, 1:], y_val=y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y, X_val=X, y_val=y[1:])
    for given in ({"X_val": X}, {"y_val": y}, {"sample_weight_val": np.ones(len(y))}):
        with pytest.raises((ValueError, TypeError), match="X_val"):
            model.fit(X, y, **given)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_targets_that_are_not_finite(bad):
    X, y = data_for(MLPRegressor)
    y = y.copy()
    y[0] = bad
    with pytest.raises(ValueError, match="y contains (NaN|infinity)"):
        quick(MLPRegressor).fit(X, y)
    with pytest.raises(ValueError, match="NaN|infinity|continuous"):
        quick(MLPClassifier).fit(X, y)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@BOTH
def test_weights_that_are_not_finite(mlp, bad):
    X, y = data_for(mlp)
    weights = np.ones(len(y))
    weights[0] = bad
    with pytest.raises(ValueError, match=r"(?i)weight.* contains (NaN|infinity)"):
        quick(mlp).fit(X, y, weights)


@pytest.mark.filterwarnings("ignore:the training diverged:RuntimeWarning")
@pytest.mark.parametrize("size", [1e-300, 1e10, 1e30, 1e100])
@SOLVERS
@BOTH
def test_very_large_and_small_features_end_in_an_error_or_finite(mlp, solver, size):
    """And without a warning of NumPy's."""
    X, y = data_for(mlp)
    model = quick(mlp, solver=solver)
    try:
        model.fit(X * size, y)
    except ValueError as error:
        assert "non-finite parameter" in str(error)
        assert size > 1
    else:
        assert all(np.isfinite(coefs).all() for coefs in model.coefs_ + model.intercepts_)


@pytest.mark.filterwarnings("ignore:the training diverged:RuntimeWarning")
@BOTH
def test_features_whose_products_overflow(mlp):
    X, y = data_for(mlp)
    X = np.abs(X) * (np.finfo(float).max / 5)
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        quick(mlp, activation="identity", solver="sgd").fit(X, y)


# ---- data of few rows, columns or classes


@SOLVERS
@BOTH
def test_one_sample(mlp, solver):
    X, y = data_for(mlp)
    model = quick(mlp, solver=solver).fit(X[:1], y[:1])
    assert model.predict(X).shape == (len(X),)
    if mlp is MLPClassifier:
        np.testing.assert_array_equal(model.predict(X), np.full(len(X), y[0]))
    with pytest.raises(ValueError, match=r"(?i)sample"):
        quick(mlp).fit(X[:0], y[:0])


@pytest.mark.parametrize("n", [1, 2, 4])
@BOTH
def test_too_few_samples_for_early_stopping(mlp, n):
    X, y = data_for(mlp)
    with pytest.raises(ValueError, match=r"validation set is too small|train set will be empty|test_size|too few"):
        quick(mlp, early_stopping=True).fit(X[:n], np.zeros(n, int) if mlp is MLPClassifier else y[:n])


@SOLVERS
@pytest.mark.parametrize("label", [1, 0, "a", True])
def test_one_class(label, solver):
    X, _ = data_for(MLPClassifier)
    y = np.full(len(X), label)
    model = quick(MLPClassifier, solver=solver).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), y)
    assert list(model.classes_) == [label]
    assert model.predict(X).dtype == y.dtype
    assert model.score(X, y) == 1


@SOLVERS
@BOTH
def test_one_feature(mlp, solver):
    X, y = data_for(mlp)
    model = quick(mlp, solver=solver).fit(X[:, 2:3], y)
    assert model.coefs_[0].shape == (1, 8)
    assert np.isfinite(outputs(model, X[:, 2:3])).all()


@SOLVERS
@BOTH
def test_constant_features(mlp, solver):
    X, y = data_for(mlp)
    X = np.column_stack([X, np.zeros(len(X)), np.full(len(X), 3.0)])
    model = quick(mlp, solver=solver).fit(X, y)
    assert np.isfinite(outputs(model, X)).all()
    constant = quick(mlp, solver=solver).fit(np.ones_like(X), y)
    assert np.ptp(outputs(constant, np.ones_like(X)), axis=0).max() == 0


def test_a_constant_target():
    X, _ = data_for(MLPRegressor)
    model = quick(MLPRegressor, solver="lbfgs", max_iter=200).fit(X, np.full(len(X), 7.0))
    np.testing.assert_allclose(model.predict(X), 7, atol=0.1)


@BOTH
def test_no_features(mlp):
    with pytest.raises(ValueError, match="0 feature"):
        quick(mlp).fit(np.empty((5, 0)), [0, 1, 0, 1, 0])


# ---- arrays of other shapes and types


@BOTH
def test_features_of_one_dimension(mlp):
    X, y = data_for(mlp)
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        quick(mlp).fit(X[:, 0], y)
    model = quick(mlp).fit(X, y)
    for call in (model.predict, lambda x: model.partial_fit(x, y[:1])):
        with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
            call(X[0])
    with pytest.raises(ValueError, match="dim 3"):
        model.predict(X[None])


@BOTH
def test_lengths_must_agree(mlp):
    X, y = data_for(mlp)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        quick(mlp).fit(X, y[1:])
    with pytest.raises(ValueError, match="sample_weight.shape"):
        quick(mlp).fit(X, y, np.ones(len(y) - 1))


@BOTH
def test_targets_in_a_column(mlp):
    X, y = data_for(mlp)
    with pytest.warns(DataConversionWarning, match="column-vector"):
        model = quick(mlp).fit(X, y[:, None])
    assert_same(model, quick(mlp).fit(X, y), X)
    assert model.predict(X).shape == (len(X),)


@BOTH
def test_the_number_of_features_must_stay(mlp):
    X, y = data_for(mlp)
    model = quick(mlp).fit(X, y)
    before = unchanged(model)
    n = X.shape[1]
    for call in (model.predict, lambda x: model.partial_fit(x, y)):
        with pytest.raises(ValueError, match=f"X has {n - 1} features, but {mlp.__name__} is expecting {n} features"):
            call(X[:, 1:])
    assert unchanged(model) == before
    assert quick(mlp, warm_start=False).fit(X, y).fit(X[:, 1:], y).n_features_in_ == n - 1


@pytest.mark.parametrize("options", [{"hidden_layer_sizes": 9}, {"hidden_layer_sizes": (8, 8)}], ids=str)
@BOTH
def test_warm_start_with_other_layers_is_refused(mlp, options):
    X, y = data_for(mlp)
    model = quick(mlp, warm_start=True).fit(X, y)
    before = outputs(model, X)
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        model.set_params(**options).fit(X, y)
    np.testing.assert_array_equal(outputs(model, X), before)


@BOTH
def test_arrays_of_objects(mlp):
    X, y = data_for(mlp)
    targets = y.astype(object) if mlp is MLPRegressor else y
    assert_same(quick(mlp).fit(X.astype(object), targets), quick(mlp).fit(X, y), X)
    with pytest.raises(ValueError, match="could not convert string to float"):
        quick(mlp).fit(np.full(X.shape, "x", object), y)
    with pytest.raises((TypeError, ValueError), match="argument must be .* number|setting an array element|sequence"):
        quick(mlp).fit(np.full(X.shape, {}, object), y)
    with pytest.raises(ValueError, match="Complex data not supported"):
        quick(mlp).fit(X * 1j, y)


@BOTH
def test_layouts_in_memory(mlp):
    X, y = data_for(mlp)
    expected = quick(mlp).fit(X, y)
    frozen = X.copy()
    frozen.flags.writeable = False
    wide = np.zeros((2 * len(X), 3 * X.shape[1]))
    wide[::2, ::3] = X
    big = X.astype(">f8")
    for other in (np.asfortranarray(X), frozen, wide[::2, ::3], X[::-1].copy()[::-1], big, X.tolist()):
        assert_same(quick(mlp).fit(other, y), expected, X)
        np.testing.assert_array_equal(outputs(expected, other), outputs(expected, X))
    np.testing.assert_array_equal(frozen, X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64, np.uint8, bool])
@pytest.mark.parametrize("activation", ["relu", "logistic"])
@SOLVERS
@BOTH
def test_dtypes(mlp, solver, activation, dtype):
    """float32 stays float32, in parameters and in what is predicted; everything else is float64."""
    X, y = data_for(mlp)
    X = np.abs(2 * X).astype(dtype)
    model = quick(mlp, solver=solver, activation=activation).fit(X, y)
    expected = np.float32 if dtype == np.float32 else np.float64
    assert {array.dtype for array in model.coefs_ + model.intercepts_} == {np.dtype(expected)}
    assert outputs(model, X).dtype == expected
    if mlp is MLPClassifier:
        assert model.predict_log_proba(X).dtype == expected
    assert isinstance(model.loss_, float)
    if dtype != np.float32:
        assert_same(model, quick(mlp, solver=solver, activation=activation).fit(X.astype(float), y), X)


@BOTH
def test_a_float32_model_learns_what_a_float64_model_does(mlp):
    X, y = data_for(mlp)
    narrow, wide = quick(mlp).fit(X.astype(np.float32), y), quick(mlp).fit(X, y)
    np.testing.assert_allclose(outputs(narrow, X.astype(np.float32)), outputs(wide, X), rtol=1e-3, atol=1e-4)


FORMATS = {
    "csr matrix": sparse.csr_matrix,
    "csc matrix": sparse.csc_matrix,
    "csr array": sparse.csr_array,
    "csc array": sparse.csc_array,
    "coo array": sparse.coo_array,
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@SOLVERS
@BOTH
def test_sparse_equals_dense(mlp, solver, dtype, kind):
    X, y = data_for(mlp)
    X = np.where(X > 0.5, X, 0).astype(dtype)
    dense = quick(mlp, solver=solver, early_stopping=solver == "sgd").fit(X, y)
    model = quick(mlp, solver=solver, early_stopping=solver == "sgd").fit(FORMATS[kind](X), y)
    bound = {"rtol": 1e-3, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-6, "atol": 1e-9}
    np.testing.assert_allclose(outputs(model, FORMATS[kind](X)), outputs(dense, X), **bound)
    np.testing.assert_allclose(outputs(model, X), outputs(model, FORMATS[kind](X)), **bound)
    assert model.coefs_[0].dtype == dtype
    assert model.loss_ == pytest.approx(dense.loss_, rel=bound["rtol"])
    if solver == "adam":
        model.partial_fit(FORMATS[kind](X), y)
        dense.partial_fit(X, y)
        np.testing.assert_allclose(outputs(model, X), outputs(dense, X), **bound)


@BOTH
def test_sparse_matrices_that_are_awkward(mlp):
    X, y = data_for(mlp)
    X = np.where(X > 0.5, X, 0)
    expected = quick(mlp).fit(X, y)
    twice = sparse.coo_array((np.repeat(X[X != 0] / 2, 2), tuple(np.repeat(i, 2) for i in np.nonzero(X))), X.shape)
    long = sparse.csr_array(X)
    long.indices, long.indptr = long.indices.astype(np.int64), long.indptr.astype(np.int64)
    zeros = sparse.csr_array(X)
    zeros.data[::3] = 0
    for other, same in ((twice, X), (long, X), (zeros, zeros.toarray())):
        found, wanted = quick(mlp).fit(other, y), expected if same is X else quick(mlp).fit(same, y)
        np.testing.assert_allclose(outputs(found, other), outputs(wanted, same), rtol=1e-6, atol=1e-9)
    nothing = sparse.csr_array(X.shape)
    assert np.ptp(outputs(quick(mlp).fit(nothing, y), nothing), axis=0).max() == 0


# ---- weights


@BOTH
def test_rows_of_weight_zero_count_as_absent(mlp):
    X, y = data_for(mlp)
    weights = np.where(np.arange(len(y)) % 3, 1.0, 0.0)
    wild = np.where(weights[:, None] > 0, X, 1e6)
    options = {"solver": "lbfgs", "activation": "tanh", "alpha": 10.0, "max_iter": 1000, "tol": 1e-8}
    with_zeros = quick(mlp, **options).fit(wild, y, weights)
    without = quick(mlp, **options).fit(X[weights > 0], y[weights > 0])
    np.testing.assert_allclose(outputs(with_zeros, X), outputs(without, X), atol=1e-4)


@SOLVERS
@BOTH
def test_weights_that_are_all_zero(mlp, solver):
    X, y = data_for(mlp)
    with pytest.raises(ValueError, match="(?i)weight"):
        quick(mlp, solver=solver).fit(X, y, np.zeros(len(y)))


@SOLVERS
@BOTH
def test_negative_weights(mlp, solver):
    X, y = data_for(mlp)
    weights = np.ones(len(y))
    weights[3] = -1
    model = quick(mlp, solver=solver)
    with pytest.raises(ValueError, match="(?i)negative.*weight|weight.*negative"):
        model.fit(X, y, weights)
    assert not hasattr(model, "coefs_")


@BOTH
def test_a_batch_without_weight(mlp):
    """A batch in which no row counts must not end in NaN."""
    X, y = data_for(mlp, 60)
    weights = np.repeat([1.0, 0.0, 1.0], 20)
    model = quick(mlp, batch_size=20, shuffle=False).fit(X, y, weights)
    assert np.isfinite(outputs(model, X)).all()
    assert np.isfinite(model.loss_)


@BOTH
def test_weights_of_other_kinds(mlp):
    X, y = data_for(mlp)
    weights = 1 + np.arange(len(y)) % 3
    expected = quick(mlp).fit(X, y, weights.astype(float))
    for other in (weights, weights.tolist(), weights.astype(np.float32), weights.astype(object)):
        assert_same(quick(mlp).fit(X, y, other), expected, X)
    assert_same(quick(mlp).fit(X, y, 1.0), quick(mlp).fit(X, y), X)


# ---- labels

LABELS = {
    "negative": np.array([-7, -1, 3]),
    "minus one and one": np.array([-1, 1]),
    "beyond 2**53": 2**53 + np.arange(3),
    "uint64": np.array([0, 2**63, 2**64 - 1], np.uint64),
    "int8": np.array([-128, 0, 127], np.int8),
    "bool": np.array([False, True]),
    "strings": np.array(["b", "a", "ccc"]),
    "objects": np.array(["b", "a", "ccc"], object),
    "floats": np.array([-1.0, 0.0, 2.0]),
    "far apart": np.array([-(2**62), 0, 2**62]),
}


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("kind", LABELS)
def test_labels(kind, early):
    X, y = data_for(MLPClassifier)
    labels = LABELS[kind]
    y = labels[y % len(labels)]
    model = quick(MLPClassifier, learning_rate_init=0.05, early_stopping=early).fit(X, y)
    np.testing.assert_array_equal(model.classes_, np.unique(labels))
    assert model.classes_.dtype == labels.dtype
    found = model.predict(X)
    assert found.dtype == labels.dtype
    assert model.score(X, y) == np.mean(found == y)
    assert model.score(X, y) > 0.5
    np.testing.assert_array_equal(model.classes_[model.predict_proba(X).argmax(axis=1)], found)
    if not early:
        streamed = quick(MLPClassifier).partial_fit(X[:5], y[:5], classes=labels[::-1]).partial_fit(X[5:], y[5:])
        np.testing.assert_array_equal(streamed.classes_, np.unique(labels))
        assert streamed.predict(X).dtype == labels.dtype


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0.5, 1.25, 2.0], "(?i)continuous|unknown label type"),
        ([1, "a", 2], "(?i)mix|label|type|not supported"),
        ([None, "a", "b"], "(?i)none|null|label|type|not supported|missing"),
    ],
)
def test_what_is_no_label(labels, message):
    X, y = data_for(MLPClassifier)
    with pytest.raises((ValueError, TypeError), match=message):
        quick(MLPClassifier).fit(X, np.array(labels, object if "a" in labels else float)[y])


def test_a_class_that_comes_later():
    X, y = data_for(MLPClassifier)
    first = y < 2
    model = quick(MLPClassifier).partial_fit(X[first], y[first], classes=[0, 1])
    before = unchanged(model), [np.array(coefs) for coefs in model.coefs_]
    with pytest.raises(ValueError, match=r"classes"):
        model.partial_fit(X, y)
    with pytest.raises(ValueError, match=r"classes"):
        model.partial_fit(X, y, classes=[0, 1, 2])
    assert unchanged(model) == before[0]
    for old, new in zip(before[1], model.coefs_, strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        quick(MLPClassifier).partial_fit(X, y)
    announced = quick(MLPClassifier).partial_fit(X[first], y[first], classes=[0, 1, 2])
    assert announced.partial_fit(X, y).predict_proba(X).shape == (len(X), 3)


def test_classes_of_fit_stay_for_partial_fit():
    X, y = data_for(MLPClassifier)
    model = quick(MLPClassifier).fit(X, y)
    some = y != 1
    model.partial_fit(X[some], y[some])
    assert list(model.classes_) == [0, 1, 2]
    two = quick(MLPClassifier).fit(X[some], y[some])
    with pytest.raises(ValueError, match="classes"):
        two.partial_fit(X, y)


def test_a_rare_class_and_early_stopping():
    X, y = data_for(MLPClassifier)
    y = np.zeros(len(X), int)
    y[0] = 1
    with pytest.raises(ValueError, match="has only 1 member|have only 1 member|too few"):
        quick(MLPClassifier, early_stopping=True).fit(X, y)


def test_multilabel_targets():
    X, y = data_for(MLPClassifier)
    for Y in (np.eye(3, dtype=int)[y], np.ones((len(y), 3), int), np.zeros((len(y), 3), int)):
        model = quick(MLPClassifier).fit(X, Y)
        assert model.predict(X).shape == model.predict_proba(X).shape == Y.shape
        assert set(np.unique(model.predict(X))) <= {0, 1}
    assert_same(
        quick(MLPClassifier).fit(X, sparse.csr_array(np.eye(3, dtype=int)[y])),
        quick(MLPClassifier).fit(X, np.eye(3, dtype=int)[y]),
        X,
    )
    with pytest.raises(ValueError, match="(?i)multioutput|label|target"):
        quick(MLPClassifier).fit(X, np.column_stack([y, y]))


# ---- calls in the wrong order, and hyperparameters


@BOTH
def test_not_fitted(mlp):
    X, _ = data_for(mlp)
    names = ["predict", "predict_proba", "predict_log_proba"] if mlp is MLPClassifier else ["predict"]
    for name in names:
        with pytest.raises(NotFittedError, match=f"{mlp.__name__} instance is not fitted yet"):
            getattr(mlp(), name)(X)


WRONG = {
    "hidden_layer_sizes": [0, (5, 0), (3, -1), "abc", (2.5,), True, ["8"], None],
    "activation": ["sigmo", 3],
    "solver": ["newton", None],
    "alpha": [-1, "x", np.nan],
    "batch_size": [0, -3, 1.5, "all"],
    "learning_rate": ["fast", 0.1],
    "learning_rate_init": [0, -1, "x"],
    "power_t": [-1],
    "max_iter": [0, 1.5, "x"],
    "shuffle": ["yes"],
    "random_state": ["x", -1],
    "tol": [-1],
    "momentum": [-0.1, 1.1],
    "nesterovs_momentum": ["no"],
    "early_stopping": ["yes"],
    "validation_fraction": [-0.1, 1.0],
    "beta_1": [-0.1, 1.0],
    "beta_2": [-0.1, 1.0],
    "epsilon": [0, -1],
    "n_iter_no_change": [0, 1.5],
    "max_fun": [0, 1.5],
}
WRONG_BEYOND = {
    "dropout": [-0.1, 1.0, [0.1, 0.2, 0.3], "x"],
    "batch_norm": ["yes"],
    "activation": [["relu", "relu", "relu"]],
    "scoring": ["no score"],
    "max_seconds": [0, -1, "x"],
    "n_ensembles": [0, 1.5],
    "n_threads": [0, "x"],
    "loss": ["no loss"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
@BOTH
def test_hyperparameters_that_are_wrong(mlp, name, value):
    """Refused as scikit-learn refuses them, when `fit` is called and not before."""
    X, y = data_for(mlp)
    model = mlp(**{name: value})
    errors = (ValueError, TypeError)
    with pytest.raises(errors):
        THEIRS[mlp](**{name: value, **({} if name == "early_stopping" else {"early_stopping": True})}).fit(X, y)
    with pytest.raises(errors, match=name if name != "random_state" else "random_state|seed|Seed"):
        model.set_params(**({} if name in ("early_stopping", "solver") else {"early_stopping": True})).fit(X, y)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG_BEYOND.items() for value in values], ids=str
)
@BOTH
def test_hyperparameters_beyond_that_are_wrong(mlp, name, value):
    X, y = data_for(mlp)
    model = mlp(early_stopping=True, **{name: value})
    with pytest.raises((ValueError, TypeError), match=name):
        model.fit(X, y)
    assert not hasattr(model, "coefs_")


@BOTH
def test_a_batch_larger_than_the_data(mlp):
    X, y = data_for(mlp)
    with pytest.warns(UserWarning, match="batch_size.*clipped"):
        model = quick(mlp, batch_size=1000).fit(X, y)
    assert_same(model, quick(mlp, batch_size=len(X)).fit(X, y), X)


@BOTH
def test_a_large_batch_does_not_matter_to_a_solver_without_batches(mlp):
    X, y = data_for(mlp)
    options = {"solver": "lbfgs", "max_iter": 500, "tol": 1e-2}
    assert_same(quick(mlp, batch_size=1000, **options).fit(X, y), quick(mlp, **options).fit(X, y), X)


@pytest.mark.parametrize("how", ["fit", "partial_fit"])
@BOTH
def test_an_error_leaves_a_fitted_model_as_it_was(mlp, how):
    X, y = data_for(mlp)
    model = quick(mlp).fit(X, y)
    before, predicted = unchanged(model), outputs(model, X)
    learn = getattr(model, how)
    for bad in (
        lambda: learn(X, y, -np.ones(len(y))),
        lambda: learn(X, y, np.full(len(y), np.nan)),
        lambda: learn(X, y, np.zeros(len(y))),
        lambda: learn(X, y[1:]),
        lambda: learn(X * np.nan, y),
        lambda: learn(X, y + 0.5 if mlp is MLPClassifier else y * np.nan),
        lambda: model.fit(X, y, X_val=X[:, 1:], y_val=y),
        lambda: model.set_params(scoring="no score").fit(X, y, X_val=X, y_val=y),
    ):
        with pytest.raises(ValueError, match="."):
            bad()
        np.testing.assert_array_equal(outputs(model, X), predicted)
        assert unchanged(model) == before


@BOTH
def test_the_data_are_not_changed(mlp):
    X, y = data_for(mlp)
    given = X.copy(), y.copy(), np.ones(len(y))
    for options in ({}, {"solver": "lbfgs"}, {"early_stopping": True}):
        model = quick(mlp, **options).fit(*given)
        model.predict(given[0])
    np.testing.assert_array_equal(given[0], X)
    np.testing.assert_array_equal(given[1], y)
    np.testing.assert_array_equal(given[2], 1)
