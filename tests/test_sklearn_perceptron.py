"""nnfast.sklearn.Perceptron: the rule by hand, and beside nnfast's and scikit-learn's perceptrons; checks and traps."""

from __future__ import annotations

import inspect
import pickle
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.5")

import scipy.sparse
import sklearn
from sklearn import linear_model
from sklearn.base import clone
from sklearn.datasets import load_iris, make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from tolerances import tolerance

import nnfast.perceptron
from nnfast import reference
from nnfast.sklearn import Perceptron

CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
AND, XOR = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 0])
LEARNED_SLOWLY = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def in_order(**options) -> Perceptron:
    return Perceptron(shuffle=False, **options)


def quietly(estimator, *data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(*data, **options)


def state(estimator) -> str:
    return repr({name: np.asarray(value).tolist() for name, value in vars(estimator).items()})


def assert_same(one, other):
    np.testing.assert_array_equal(one.coef_, other.coef_)
    np.testing.assert_array_equal(one.intercept_, other.intercept_)
    assert one.coef_.dtype == other.coef_.dtype
    assert one.mistakes_ == other.mistakes_


def noisy(n_classes: int = 2, n: int = 300, n_features: int = 5):
    return make_blobs(n, n_features, centers=n_classes, cluster_std=6.0, random_state=0)


# scikit-learn's own Perceptron fails these as well: it lists the first two, and has the third in its tags.
WEIGHTS_ARE_RATES = "a weight is a factor of the learning rate, and depends on the place of the row among the others"
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": WEIGHTS_ARE_RATES,
    "check_sample_weight_equivalence_on_sparse_data": WEIGHTS_ARE_RATES,
    "check_sample_weights_invariance": WEIGHTS_ARE_RATES,  # until 1.5
}
MARKED = "expected_failed_checks" in inspect.signature(parametrize_with_checks).parameters  # since 1.6


def checks_of_scikit_learn(*estimators):
    known = {"expected_failed_checks": lambda estimator: EXPECTED} if MARKED else {}
    mark = parametrize_with_checks(list(estimators), **known)
    names, cases = mark.args  # a generator in scikit-learn 1.5, which pytest no longer likes
    return pytest.mark.parametrize(names, list(cases), **mark.kwargs)


@LEARNED_SLOWLY
@checks_of_scikit_learn(Perceptron(max_iter=5), Perceptron(max_iter=5, shuffle=False, eta0=0.1))
def test_checks_of_scikit_learn(estimator, check):
    name = check.func.__name__
    if not MARKED and name in EXPECTED and check.keywords.get("kind") != "ones":
        pytest.xfail(EXPECTED[name])
    check(estimator)


class TestRule:
    def test_first_epochs_of_and_by_hand(self):
        # Epoch 1: only (1, 1) is wrong: w = (1, 1), b = 1. Epoch 2: (0, 0) fires: b = 0; (0, 1) fires: w = (1, 0),
        # b = -1; (1, 0) is silent; (1, 1) does not fire: w = (2, 1), b = 0.
        classifier = quietly(in_order(max_iter=2), CORNERS, AND)
        np.testing.assert_array_equal(classifier.coef_, [[2.0, 1.0]])
        np.testing.assert_array_equal(classifier.intercept_, [0.0])
        assert classifier.mistakes_ == [1, 3]
        assert classifier.n_iter_ == 2
        assert classifier.t_ == 9
        assert classifier.converged_ is False

    def test_three_classes_by_hand(self):
        # Plane of "a": 1 is silent: w = 1, b = 1; 0 fires: b = 0; -1 is silent. Of "b": 0 is silent: b = 1; -1 fires:
        # w = 1, b = 0. Of "c": -1 is silent: w = -1, b = 1.
        classifier = quietly(in_order(max_iter=1), [[1], [0], [-1]], ["a", "b", "c"])
        np.testing.assert_array_equal(classifier.coef_, [[1.0], [1.0], [-1.0]])
        np.testing.assert_array_equal(classifier.intercept_, [0.0, 0.0, 1.0])
        assert classifier.mistakes_ == [5]

    @pytest.mark.parametrize(
        ("options", "weights"),
        [
            ({}, [0.5, 3]),
            ({"class_weight": {1: 0.5, 0: 3}}, None),
            ({"class_weight": {0: 6}}, [0.5, 0.5]),
            ({"class_weight": "balanced"}, [0.5, 3]),  # one row of each class: balanced
        ],
    )
    def test_weights_are_factors_of_the_learning_rate(self, options, weights):
        # 1 is silent: w = 2 / 2 = 1, b = 1; 2 has the sum 3: w = 1 - 2 * 3 * 2 = -11, b = 1 - 2 * 3 = -5.
        classifier = in_order(eta0=2, max_iter=1, **options)
        quietly(classifier, [[1], [2]], [1, 0], sample_weight=weights)
        np.testing.assert_array_equal(classifier.coef_, [[-11.0]])
        np.testing.assert_array_equal(classifier.intercept_, [-5.0])

    def test_class_weight_of_several_classes_belongs_to_its_own_plane(self):
        # As in test_three_classes_by_hand, with a correction of 4 for 0 in the plane of "b": b = 4; -1 fires: b = 3.
        classifier = quietly(in_order(max_iter=1, class_weight={"b": 4}), [[1], [0], [-1]], ["a", "b", "c"])
        np.testing.assert_array_equal(classifier.coef_, [[1.0], [1.0], [-1.0]])
        np.testing.assert_array_equal(classifier.intercept_, [0.0, 3.0, 1.0])

    def test_without_intercept_it_stays_as_it_is(self):
        classifier = in_order(fit_intercept=False, max_iter=1)
        quietly(classifier, [[1], [3]], [1, 0])  # 1 is silent: w = 1; 3 fires: w = -2
        assert (classifier.coef_[0, 0], classifier.intercept_[0]) == (-2.0, 0.0)
        quietly(classifier, [[1], [3]], [1, 0], intercept_init=-4)  # 1 is silent: w = 1; 3 has the sum -1
        assert (classifier.coef_[0, 0], classifier.intercept_[0]) == (1.0, -4.0)

    @pytest.mark.parametrize("coef", [[2.0, 1.0], [[2.0, 1.0]]])
    @pytest.mark.parametrize("intercept", [0.0, [0.0]])
    def test_initial_weights(self, coef, intercept):
        classifier = in_order().fit(CORNERS, AND, coef, intercept)
        assert classifier.mistakes_ == [3, 2, 1, 0]  # what is left after the two epochs above
        assert_same(classifier, in_order().fit(CORNERS, AND, coef_init=coef, intercept_init=intercept))

    def test_initial_weights_are_copied(self):
        coef, intercept = np.zeros((3, 4)), np.zeros(3)
        quietly(Perceptron(max_iter=2), *load_iris(return_X_y=True), coef, intercept)
        assert not coef.any()
        assert not intercept.any()

    def test_a_sum_of_exactly_zero_is_the_first_class(self):
        classifier = in_order().fit([[1.0], [2.0]], ["no", "yes"], [1.0], -1.0)
        assert classifier.mistakes_ == [0]
        assert classifier.predict([[1.0], [np.nextafter(1, 2)]]).tolist() == ["no", "yes"]

    def test_all_classes_silent_or_tied(self):
        classifier = quietly(in_order(max_iter=1), [[1], [0], [-1]], ["a", "b", "c"])
        assert classifier.predict([[5.0]]).tolist() == ["a"]  # a tie of a and b: the first
        np.testing.assert_array_equal(classifier.decision_function([[5.0]]), [[5.0, 5.0, -4.0]])


class TestBesideOthers:
    @pytest.mark.parametrize("max_iter", [1, 7, 1000])
    @pytest.mark.parametrize("eta0", [1.0, 0.3])
    def test_nnfast_perceptron(self, max_iter, eta0):
        for X, y in (noisy(), (CORNERS, AND), make_blobs(200, 3, centers=2, random_state=1)):
            single = nnfast.perceptron.Perceptron(np.zeros(X.shape[1]))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", nnfast.perceptron.ConvergenceWarning)
                single.fit(X, y, learning_rate=eta0, epochs=max_iter)
            classifier = quietly(in_order(max_iter=max_iter, eta0=eta0), X, y)
            np.testing.assert_array_equal(classifier.coef_[0], single.weights)
            assert classifier.intercept_[0] == single.bias
            assert classifier.mistakes_ == single.mistakes_
            assert classifier.converged_ == single.converged_
            np.testing.assert_array_equal(classifier.decision_function(X), single.decision_function(X))
            np.testing.assert_array_equal(classifier.predict(X), single.predict(X))

    @pytest.mark.parametrize("n_classes", [2, 4])
    @pytest.mark.parametrize("options", [{}, {"eta0": 0.1}, {"fit_intercept": False}, {"class_weight": "balanced"}])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_scikit_learn_where_no_sum_is_zero(self, n_classes, options, weighted):
        # Both begin with weights of their own, since the first sum from zero would be zero.
        X, y = noisy(n_classes)
        X, y = X[y < 3 if n_classes == 4 else slice(20, None)], y[y < 3 if n_classes == 4 else slice(20, None)]
        n_planes = 3 if n_classes == 4 else 1
        rng = np.random.default_rng(0)
        begin = {"coef_init": rng.normal(size=(n_planes, 5)), "intercept_init": rng.normal(size=n_planes)}
        weight = rng.uniform(0.5, 2, len(y)) if weighted else None
        theirs = linear_model.Perceptron(tol=None, shuffle=False, max_iter=20, **options)
        theirs.fit(X, y, **{name: value.copy() for name, value in begin.items()}, sample_weight=weight)
        ours = quietly(in_order(max_iter=20, **options), X, y, **begin, sample_weight=weight)
        close = {"rtol": tolerance(np.float64, "trajectory"), "atol": tolerance(np.float64, "trajectory")}
        np.testing.assert_allclose(ours.coef_, theirs.coef_, **close)
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, **close)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        assert (ours.n_iter_, ours.t_) == (theirs.n_iter_, theirs.t_)
        assert ours.mistakes_[-1] > 0

    def test_scikit_learn_corrects_a_sum_of_zero_of_either_class(self):
        theirs = linear_model.Perceptron(tol=None, shuffle=False, max_iter=1).fit([[1.0], [-1.0]], [0, 1])
        ours = quietly(in_order(max_iter=1), [[1.0], [-1.0]], [0, 1])
        # They correct the first row, although its class is predicted: w = -1, b = -1; then -1 has a sum of zero, and is
        # wrong for both. We correct the second row alone.
        assert (theirs.coef_[0, 0], theirs.intercept_[0]) == (-2.0, 0.0)
        assert (ours.coef_[0, 0], ours.intercept_[0]) == (-1.0, 1.0)

    def test_scikit_learn_on_sparse_data_without_intercept(self):
        X, y = noisy()
        X = scipy.sparse.csr_matrix(np.where(np.abs(X) < 4, 0, X))
        begin = np.random.default_rng(0).normal(size=5)
        options = {"max_iter": 20, "shuffle": False, "fit_intercept": False}
        theirs = linear_model.Perceptron(tol=None, **options).fit(X, y, begin.copy())
        ours = quietly(Perceptron(**options), X, y, begin)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=tolerance(np.float64, "trajectory"))

    def test_attributes_of_scikit_learn(self):
        for X, y in (noisy(2), noisy(3)):
            ours, theirs = (
                quietly(Perceptron(max_iter=3), X, y),
                linear_model.Perceptron(max_iter=3, tol=None).fit(X, y),
            )
            for name in ("coef_", "intercept_", "classes_"):
                assert getattr(ours, name).shape == getattr(theirs, name).shape
                assert getattr(ours, name).dtype == getattr(theirs, name).dtype
            assert ours.decision_function(X).shape == theirs.decision_function(X).shape
            assert ours.n_features_in_ == theirs.n_features_in_

    def test_parameters_mean_and_default_to_those_of_scikit_learn(self):
        theirs = linear_model.Perceptron().get_params()
        ours = Perceptron().get_params()
        assert ours.pop("check_separability") is False
        assert ours == {name: theirs[name] for name in ours}


class TestLearning:
    def test_iris_one_class_is_separable_from_the_rest(self):
        X, y = load_iris(return_X_y=True)
        classifier = Perceptron().fit(X, y == 0)
        assert classifier.converged_ is True
        assert classifier.linearly_separable_ is True
        assert classifier.mistakes_[-1] == 0
        assert classifier.n_iter_ == len(classifier.mistakes_) < 1000
        assert classifier.score(X, y == 0) == 1.0

    def test_shuffling_visits_each_row_once_in_an_order_of_the_seed(self):
        X, y = noisy(3)
        one = quietly(Perceptron(max_iter=5), X, y)
        assert_same(one, quietly(Perceptron(max_iter=5, random_state=0), X, y))
        assert_same(one, quietly(Perceptron(max_iter=5, random_state=np.random.RandomState(0)), X, y))
        assert one.mistakes_ != quietly(Perceptron(max_iter=5, random_state=1), X, y).mistakes_
        random, visited, order = np.random.RandomState(0), in_order(), np.arange(len(y))
        for _ in range(5):
            reference.shuffle(order, int(random.randint(2**63 - 1, dtype=np.int64)))
            visited.partial_fit(X[order], y[order], classes=[0, 1, 2])
        assert_same(one, visited)

    def test_partial_fit_is_one_epoch(self):
        for X, y in (noisy(2), noisy(3)):
            classifier = in_order()
            for k in range(1, 6):
                assert classifier.partial_fit(X, y, classes=np.unique(y) if k == 1 else None) is classifier
                assert classifier.n_iter_ == 1
                assert classifier.t_ == 1 + k * len(y)
            assert_same(classifier, quietly(in_order(max_iter=5), X, y))
            assert classifier.converged_ is False
            assert classifier.linearly_separable_ is None

    def test_partial_fit_after_fit_continues(self):
        X, y = noisy(3)
        classifier = quietly(in_order(max_iter=3), X, y).partial_fit(X, y)
        assert_same(classifier, quietly(in_order(max_iter=4), X, y))

    def test_partial_fit_with_one_class_at_a_time(self):
        X, y = make_blobs(60, 2, centers=[[-9, 0], [0, 9], [9, 0]], random_state=0)
        classifier = in_order()
        for _ in range(30):
            for k in range(3):
                classifier.partial_fit(X[y == k], y[y == k], classes=[0, 1, 2])
        assert classifier.score(X, y) > 0.9

    def test_converged_if_the_last_correction_was_the_last_needed(self):
        classifier = in_order().partial_fit([[1.0]], [1], classes=[0, 1])
        assert classifier.mistakes_ == [1]
        assert classifier.converged_ is True
        assert classifier.linearly_separable_ is True

    def test_warm_start(self):
        X, y = noisy(3)
        classifier = quietly(in_order(max_iter=3, warm_start=True), X, y)
        first = classifier.mistakes_
        quietly(classifier, X, y)
        whole = quietly(in_order(max_iter=6), X, y)
        np.testing.assert_array_equal(classifier.coef_, whole.coef_)
        assert first + classifier.mistakes_ == whole.mistakes_
        assert classifier.t_ == 1 + 3 * len(y)
        quietly(classifier.set_params(warm_start=False), X, y)
        assert_same(classifier, quietly(in_order(max_iter=3), X, y))

    @pytest.mark.parametrize("shuffle", [False, True])
    def test_a_row_of_weight_zero_is_as_none(self, shuffle):
        X, y = noisy(3)
        weights = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
        kept = weights > 0
        options = {"max_iter": 4, "shuffle": shuffle}
        one = quietly(Perceptron(**options), X, y, sample_weight=weights)
        other = quietly(Perceptron(**options), X[kept], y[kept], sample_weight=weights[kept])
        assert_same(one, other)
        assert one.t_ == other.t_

    def test_a_class_of_weight_zero_alone_is_a_class(self):
        classifier = in_order().fit([[1.0], [2.0], [3.0]], [0, 1, 2], sample_weight=[1, 1, 0])
        assert classifier.classes_.tolist() == [0, 1, 2]

    def test_constant_and_single_features_and_rows(self):
        classifier = in_order().fit([[7.0, 0.0], [7.0, 1.0]], [0, 1])
        assert classifier.predict([[7, 0], [7, 1]]).tolist() == [0, 1]
        assert quietly(in_order(), [[7.0], [7.0]], [0, 1]).converged_ is False
        assert in_order().fit([[0.0], [1.0]], [0, 1]).predict([[1.0]]).tolist() == [1]


class TestLabelsAndFrames:
    @pytest.mark.parametrize(
        "labels",
        [
            ["no", "yes"],
            [-1, 1],
            [-(2**62), 2**62],
            [2**63 - 2, 2**63 - 1],  # equal as floats
            [0.0, 1.0],
            [False, True],
            np.array(["a", "b"], dtype=object),
        ],
    )
    def test_labels(self, labels):
        labels = np.asarray(labels)
        classifier = in_order().fit(CORNERS, labels[AND])
        np.testing.assert_array_equal(classifier.classes_, labels)
        np.testing.assert_array_equal(classifier.predict(CORNERS), labels[AND])
        assert classifier.predict(CORNERS).dtype == labels.dtype
        assert_same(classifier, in_order().fit(CORNERS, AND))
        step = in_order()
        for _ in classifier.mistakes_:
            step.partial_fit(CORNERS, labels[AND], classes=labels)
        assert_same(classifier, step)

    def test_column_of_labels_warns_as_scikit_learn_does(self):
        from sklearn.exceptions import DataConversionWarning

        with pytest.warns(DataConversionWarning):
            in_order().fit(CORNERS, AND[:, None])

    def test_data_frames(self):
        pandas = pytest.importorskip("pandas")
        X = pandas.DataFrame(CORNERS, columns=["left", "right"])
        classifier = in_order().fit(X, pandas.Series(AND).map({0: "no", 1: "yes"}))
        assert classifier.feature_names_in_.tolist() == ["left", "right"]
        assert classifier.predict(X).tolist() == ["no", "no", "no", "yes"]
        for method in (classifier.predict, lambda X: classifier.partial_fit(X, ["no"] * 4)):
            with pytest.raises(ValueError, match="feature names should match"):
                method(X.rename(columns={"left": "top"}))
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            classifier.predict(CORNERS)
        with pytest.raises(ValueError, match="feature names should match"):
            classifier.set_params(warm_start=True).fit(X[["right", "left"]], ["no", "no", "no", "yes"])

    def test_object_array_of_numbers(self):
        assert_same(in_order().fit(CORNERS.astype(object), AND), in_order().fit(CORNERS, AND))

    def test_pickle_clone_and_repr(self):
        classifier = Perceptron(eta0=0.5, class_weight={0: 2}).fit(CORNERS, AND)
        again = pickle.loads(pickle.dumps(classifier))
        assert state(again) == state(classifier)
        assert repr(clone(classifier)) == repr(classifier)
        assert not hasattr(clone(classifier), "coef_")

    def test_search_and_pipeline(self):
        X, y = load_iris(return_X_y=True)
        pipeline = make_pipeline(StandardScaler(), Perceptron(max_iter=20))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            search = GridSearchCV(pipeline, {"perceptron__eta0": [0.1, 1.0]}, error_score="raise").fit(X, y)
        assert search.best_score_ > 0.7

    def test_metadata_routing(self):
        weights = [1.0, 1.0, 1.0, 3.0]
        with sklearn.config_context(enable_metadata_routing=True):
            inner = in_order().set_fit_request(sample_weight=True).set_partial_fit_request(sample_weight=True)
            pipeline = make_pipeline(inner).fit(CORNERS, AND, sample_weight=weights)
        assert_same(pipeline[-1], in_order().fit(CORNERS, AND, sample_weight=weights))
        assert pipeline[-1].mistakes_ != in_order().fit(CORNERS, AND).mistakes_


class TestDtypes:
    @pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_matrix])
    def test_float32_stays_float32(self, make):
        X, y = noisy(3)
        X = np.round(X)  # so that both dtypes compute exactly
        single = quietly(Perceptron(max_iter=5), make(X.astype(np.float32)), y)
        double = quietly(Perceptron(max_iter=5), make(X), y)
        assert single.coef_.dtype == single.intercept_.dtype == np.float32
        assert single.decision_function(make(X)).dtype == np.float32
        np.testing.assert_array_equal(single.coef_, double.coef_)
        assert single.mistakes_ == double.mistakes_

    def test_float32_computes_in_float32(self):
        X = np.array([[1.0], [2.0**-30]], np.float32)
        classifier = in_order(fit_intercept=False, max_iter=1)
        quietly(classifier, X, [1, 0])
        np.testing.assert_array_equal(classifier.coef_, [[1.0]])  # 1 - 2**-30 in float64
        assert quietly(classifier, X.astype(float), [1, 0]).coef_[0, 0] == 1 - 2.0**-30

    def test_rates_in_float32(self):
        # 1 - 2**-25 is 1 in float32, twice; in float64 both together would leave the number before 1.
        X = np.array([[1], [0], [0]], np.float32)
        classifier = quietly(in_order(max_iter=1), X, [1, 0, 0], sample_weight=[1, 2.0**-25, 2.0**-25])
        assert classifier.mistakes_ == [3]
        assert classifier.intercept_[0] == 1

    @pytest.mark.parametrize("dtype", [np.int8, np.int64, bool, np.float16, ">f8"])
    def test_other_dtypes_become_float64(self, dtype):
        classifier = in_order().fit(CORNERS.astype(dtype), AND)
        assert classifier.coef_.dtype == np.float64
        assert_same(classifier, in_order().fit(CORNERS, AND))

    def test_any_memory(self):
        X, y = noisy(3)
        misaligned = np.frombuffer(b"-" + X.tobytes(), np.uint8)[1:].view(np.float64).reshape(X.shape)
        assert not misaligned.flags.aligned
        plain = quietly(Perceptron(max_iter=5), X, y)
        for other in (misaligned, np.asfortranarray(X), X[::-1].copy()[::-1], np.repeat(X, 2, axis=1)[:, ::2]):
            assert_same(quietly(Perceptron(max_iter=5), other, y), plain)
            np.testing.assert_array_equal(plain.decision_function(other), plain.decision_function(X))

    def test_weights_set_by_hand(self):
        X, y = noisy(3)
        plain, other = quietly(Perceptron(max_iter=5), X, y), quietly(Perceptron(max_iter=1), X, y)
        other.coef_, other.intercept_ = np.asfortranarray(plain.coef_), plain.intercept_.astype(np.longdouble)
        np.testing.assert_array_equal(other.decision_function(X), plain.decision_function(X))
        np.testing.assert_array_equal(other.partial_fit(X, y).coef_, plain.partial_fit(X, y).coef_)

    def test_partial_fit_keeps_the_dtype_of_the_first_call(self):
        classifier = in_order().partial_fit(CORNERS.astype(np.float32), AND, classes=[0, 1])
        classifier.partial_fit(CORNERS.astype(np.float64), AND)
        assert classifier.coef_.dtype == np.float32
        with pytest.raises(ValueError, match="too large for dtype..float32"):
            classifier.partial_fit(CORNERS * 1e200, AND)

    def test_data_is_left_alone(self):
        X, y, weights = CORNERS.astype(float), AND.copy(), np.ones(4)
        for array in (X, y, weights):
            array.flags.writeable = False
        Perceptron().fit(X, y, sample_weight=weights).partial_fit(X, y)


class TestSparse:
    @staticmethod
    def data():
        rng = np.random.default_rng(0)
        X = rng.integers(-3, 4, (200, 30)) * (
            rng.random((200, 30)) < 0.1
        )  # integers: the order of a sum does not matter
        X[:5] = X[60:70] = X[-3:] = 0  # empty rows at the ends and between
        return X.astype(float), rng.integers(0, 3, 200)

    @pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix", "coo_matrix", "csr_array", "csc_array"])
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_equals_dense(self, kind, shuffle):
        X, y = self.data()
        matrix = getattr(scipy.sparse, kind)(X)
        weights = np.arange(200) % 3
        for labels in (y, y > 0):
            dense = quietly(Perceptron(max_iter=5, shuffle=shuffle), X, labels, sample_weight=weights)
            sparse = quietly(Perceptron(max_iter=5, shuffle=shuffle), matrix, labels, sample_weight=weights)
            assert_same(sparse, dense)
            np.testing.assert_array_equal(sparse.decision_function(matrix), dense.decision_function(X))
            np.testing.assert_array_equal(dense.predict(matrix), dense.predict(X))
            assert_same(dense.partial_fit(X, labels), sparse.partial_fit(matrix, labels))

    def test_unusual_matrices(self):
        X, y = self.data()
        plain = scipy.sparse.csr_matrix(X)
        doubled = scipy.sparse.csr_matrix(
            (np.repeat(plain.data / 2, 2), np.repeat(plain.indices, 2), 2 * plain.indptr), X.shape
        )
        backward = plain[:, ::-1].tocsr()[:, ::-1]
        wide = scipy.sparse.csr_matrix((plain.data, plain.indices.astype(np.int64), plain.indptr.astype(np.int64)))
        zeros = scipy.sparse.csr_matrix((X.ravel(), np.tile(np.arange(30), 200), np.arange(201) * 30), X.shape)
        roomy = scipy.sparse.csr_matrix(plain)
        roomy.data, roomy.indices = np.append(plain.data, [7, 7]), np.append(plain.indices, [99, 99]).astype(np.int32)
        empty = scipy.sparse.csr_matrix(X.shape)
        dense = quietly(Perceptron(max_iter=5), X, y)
        for matrix in (doubled, backward, wide, zeros, roomy):
            stored = matrix.data.copy()
            sparse = quietly(Perceptron(max_iter=5), matrix, y)
            assert_same(sparse, dense)
            np.testing.assert_array_equal(sparse.decision_function(matrix), dense.decision_function(X))
            np.testing.assert_array_equal(matrix.data, stored)
        assert_same(quietly(Perceptron(max_iter=5), empty, y), quietly(Perceptron(max_iter=5), np.zeros(X.shape), y))

    def test_never_dense(self):
        n, n_features = 2000, 5_000_000  # 80 GB if dense
        columns = np.arange(n) * 2000
        X = scipy.sparse.csr_matrix((np.ones(n), columns, np.arange(n + 1)), (n, n_features))
        classifier = Perceptron(max_iter=20).fit(X, np.arange(n) % 2)
        assert classifier.score(X, np.arange(n) % 2) == 1.0

    def test_nan_and_changed_width(self):
        X, y = self.data()
        classifier = quietly(Perceptron(max_iter=2), scipy.sparse.csr_matrix(X), y)
        with pytest.raises(ValueError, match="X has 29 features, but Perceptron is expecting 30"):
            classifier.predict(scipy.sparse.csr_matrix(X[:, 1:]))
        with pytest.raises(ValueError, match="NaN"):
            classifier.fit(scipy.sparse.csr_matrix(X * np.nan), y)


@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_matrix])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_scores_the_same_bits_alone_and_in_a_batch(make, dtype):
    for n_features in (1, 3, 17, 100):
        X = np.random.default_rng(0).normal(size=(40, n_features)).astype(dtype)
        X[X < -1] = 0
        classifier = quietly(Perceptron(max_iter=2), make(X), np.arange(40) % 3)
        alone = np.concatenate([classifier.decision_function(make(X[k : k + 1])) for k in range(40)])
        np.testing.assert_array_equal(classifier.decision_function(make(X)), alone)
        np.testing.assert_array_equal(classifier.decision_function(make(X[7:])), alone[7:])


class TestVerdict:
    @staticmethod
    def fit_in_vain(X, y, **options) -> tuple[Perceptron, str]:
        classifier = in_order(**options)
        with pytest.warns(ConvergenceWarning) as caught:
            classifier.fit(X, y)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        assert classifier.converged_ is False
        return classifier, str(caught[0].message)

    def test_not_asked(self):
        classifier, message = self.fit_in_vain(CORNERS, XOR, max_iter=9)
        assert classifier.linearly_separable_ is None
        wrong = np.count_nonzero(classifier.predict(CORNERS) != XOR)
        assert message == (
            "not learned: increase max_iter, or give the features similar ranges, as StandardScaler does; "
            "check_separability=True determines whether the data is linearly separable at all; after 9 epoch(s), "
            f"{wrong} of 4 rows are on the wrong side"
        )

    def test_not_linearly_separable(self):
        classifier, message = self.fit_in_vain(CORNERS, XOR, check_separability=True)
        assert classifier.linearly_separable_ is False
        assert classifier.n_iter_ == 1000
        assert message.startswith("the data is not linearly separable: no weights and bias put each row on the correct")

    def test_not_learned_yet(self):
        classifier, message = self.fit_in_vain(CORNERS, AND, max_iter=2, check_separability=True)
        assert classifier.linearly_separable_ is True
        assert message.startswith("not learned yet, although the data is linearly separable: increase max_iter")

    def test_one_of_three_planes(self):
        X, y = load_iris(return_X_y=True)
        names = np.array(["setosa", "versicolor", "virginica"])[y]
        classifier, message = self.fit_in_vain(X, names, max_iter=50, check_separability=True)
        assert classifier.linearly_separable_ is False
        assert "some of 150 rows are on the wrong side of the plane of class 'versicolor' (" in message
        assert "setosa" not in message
        easy = y != 2
        assert quietly(in_order(max_iter=1, check_separability=True), X[easy], y[easy]).linearly_separable_ is True

    def test_many_classes_in_a_message(self):
        X, y = np.zeros((40, 1)), np.arange(40) % 8
        _, message = self.fit_in_vain(X, y, max_iter=1)
        assert message.endswith("class 3 (5), class 4 (5), and of 3 more")

    def test_undecided_if_the_linear_program_runs_out_of_time(self, monkeypatch):
        monkeypatch.setattr(nnfast.perceptron, "SECONDS", 0.0)
        rng = np.random.default_rng(0)
        X, y = rng.normal(size=(300, 20)), rng.random(300) < 0.5
        classifier, message = self.fit_in_vain(X, y, max_iter=2, check_separability=True)
        assert classifier.linearly_separable_ is None
        assert message.startswith("not learned, and the linear program could not determine")

    def test_a_row_of_weight_zero_does_not_count(self):
        X, y = np.vstack([CORNERS, [[1, 1]]]), [*AND, 0]
        classifier = in_order(check_separability=True).fit(X, y, sample_weight=[1, 1, 1, 1, 0])
        assert classifier.converged_ is True

    def test_fitted_even_if_the_warning_is_an_error(self):
        classifier = in_order(max_iter=2)
        with warnings.catch_warnings(), pytest.raises(ConvergenceWarning):
            warnings.simplefilter("error")
            classifier.fit(CORNERS, XOR)
        assert classifier.n_iter_ == 2


class TestBadInput:
    @pytest.mark.parametrize(
        ("X", "y", "options", "error", "message"),
        [
            (CORNERS, [1, 1, 1, 1], {}, ValueError, "number of classes has to be greater than one, got 1 class: 1$"),
            ([[1.0, 2.0]], [1], {}, ValueError, "number of classes has to be greater than one, got 1 class: 1$"),
            (CORNERS[0], AND, {}, ValueError, "Expected 2D array, got 1D array instead"),
            (np.empty((0, 2)), [], {}, ValueError, "Found array with 0 sample"),
            (np.empty((4, 0)), AND, {}, ValueError, "0 feature"),
            (CORNERS * np.nan, AND, {}, ValueError, "Input X contains NaN"),
            (CORNERS + np.inf, AND, {}, ValueError, "Input X contains infinity"),
            (CORNERS * 1j, AND, {}, ValueError, "Complex data not supported"),
            ([["a", "b"], ["c", "d"]], [0, 1], {}, ValueError, "could not convert string to float"),
            (CORNERS, [0, 1, 2], {}, ValueError, "inconsistent numbers of samples"),
            (CORNERS, [0.1, 0.2, 0.3, 0.4], {}, ValueError, "Unknown label type"),
            (CORNERS, [0, 0, 1, np.nan], {}, ValueError, "Input y contains NaN"),
            (CORNERS, [[0, 1]] * 4, {}, ValueError, r"y should be a 1d array, got an array of shape \(4, 2\)"),
            (CORNERS, None, {}, ValueError, "requires y to be passed"),
            (
                CORNERS,
                AND,
                {"sample_weight": [1, 1, 1]},
                ValueError,
                r"sample_weight must have shape \(4,\), got \(3,\)",
            ),
            (CORNERS, AND, {"sample_weight": [0, 0, 0, 0]}, ValueError, "sample_weight must not be all zero"),
            (CORNERS, AND, {"sample_weight": [1, -1, 1, 1]}, ValueError, "must not be negative, got -1.0 at index 1"),
            (CORNERS, AND, {"sample_weight": [1, np.nan, 1, 1]}, ValueError, "sample_weight must be finite"),
            (CORNERS, AND, {"coef_init": [1.0]}, ValueError, r"coef_init must have shape \(1, 2\), got \(1,\)"),
            (CORNERS, AND, {"coef_init": [1.0, np.inf]}, ValueError, "coef_init must be finite"),
            (CORNERS, AND, {"coef_init": ["a", "b"]}, TypeError, "coef_init must hold real numbers"),
            (
                CORNERS,
                AND,
                {"intercept_init": [1, 2]},
                ValueError,
                r"intercept_init must have shape \(1,\), got \(2,\)",
            ),
            (
                CORNERS,
                [0, 0, 1, 2],
                {"coef_init": [1, 2]},
                ValueError,
                r"coef_init must have shape \(3, 2\), got \(2,\)",
            ),
            (CORNERS, [0, 0, 1, 2], {"intercept_init": 1}, ValueError, r"must have shape \(3,\), got \(\)"),
        ],
    )
    def test_data(self, X, y, options, error, message):
        for fitted in (False, True):
            classifier = in_order(max_iter=20)
            if fitted:
                classifier.fit(CORNERS, AND)
            before = state(classifier)
            with pytest.raises(error, match=message):
                classifier.fit(X, y, **options)
            assert state(classifier) == before

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"eta0": 0}, ValueError, "'eta0' parameter of Perceptron must be a float in the range"),
            ({"eta0": np.inf}, ValueError, "eta0"),
            ({"eta0": np.nan}, ValueError, "'eta0' parameter of Perceptron must be"),
            ({"eta0": "1"}, ValueError, "'eta0' parameter of Perceptron must be"),
            ({"eta0": 1e-320}, ValueError, "eta0, multiplied by the weights of classes and samples, has the number"),
            ({"max_iter": 0}, ValueError, "'max_iter' parameter of Perceptron must be an int in the range"),
            ({"max_iter": 1.5}, ValueError, "'max_iter' parameter of Perceptron must be an int"),
            ({"shuffle": "yes"}, ValueError, "'shuffle' parameter of Perceptron must be"),
            ({"fit_intercept": None}, ValueError, "'fit_intercept' parameter of Perceptron must be"),
            ({"random_state": "a"}, ValueError, "'random_state' parameter of Perceptron must be"),
            ({"class_weight": "heavy"}, ValueError, "'class_weight' parameter of Perceptron must be"),
            (
                {"class_weight": {0: -1}},
                ValueError,
                r"class_weight\[0\] must be a finite number in \(0.0, inf\), got -1",
            ),
            ({"class_weight": {0: 0}}, ValueError, r"class_weight\[0\] must be a finite number"),
            ({"class_weight": {1: "a"}}, TypeError, r"class_weight\[1\] must be a number, got 'a'"),
            (
                {"check_separability": True, "fit_intercept": False},
                ValueError,
                "check_separability=True needs fit_intercept=True",
            ),
        ],
    )
    def test_parameters(self, options, error, message):
        classifier = in_order().set_params(**options)
        before = repr(sorted(vars(classifier)))
        with pytest.raises(error, match=message):
            classifier.fit(CORNERS, AND)
        assert repr(sorted(vars(classifier))) == before

    def test_rates_that_the_dtype_cannot_hold(self):
        for eta0, weight in ((1e-30, 1e-30), (1e30, 1e30)):
            with pytest.raises(ValueError, match="multiplied by the weights .* float32 only holds numbers from"):
                in_order(eta0=eta0).fit(CORNERS.astype(np.float32), AND, sample_weight=[1, 1, 1, weight])

    def test_unknown_parameter_is_refused(self):
        with pytest.raises(TypeError, match="tol"):
            Perceptron(tol=1e-3)

    def test_separability_of_sparse_data(self):
        X = scipy.sparse.csr_matrix(CORNERS)
        with pytest.raises(
            ValueError, match=r"check_separability=True needs dense samples, got csr_matrix: use X.toarr"
        ):
            in_order(check_separability=True).fit(X, AND)

    def test_warm_start_with_other_classes_or_features(self):
        classifier = in_order(warm_start=True).fit(CORNERS, AND)
        before = state(classifier)
        with pytest.raises(ValueError, match=r"warm_start=True continues with the classes 0, 1, got 0, 1, 2 in y"):
            classifier.fit(CORNERS, [0, 1, 2, 2])
        with pytest.raises(ValueError, match="warm_start=True continues with the classes 0, 1, got 'a', 'b' in y"):
            classifier.fit(CORNERS, ["a", "a", "b", "b"])
        with pytest.raises(ValueError, match="X has 1 features, but Perceptron is expecting 2"):
            classifier.fit(CORNERS[:, :1], AND)
        assert state(classifier) == before

    def test_partial_fit(self):
        classifier = in_order()
        with pytest.raises(ValueError, match="classes must be passed on the first call"):
            classifier.partial_fit(CORNERS, AND)
        with pytest.raises(ValueError, match="got 1 class: 0$"):
            classifier.partial_fit(CORNERS, AND * 0, classes=[0])
        with pytest.raises(ValueError, match="y has the labels 1, which are not among the classes 0, 2 of the first"):
            classifier.partial_fit(CORNERS, AND, classes=[0, 2])
        assert not hasattr(classifier, "classes_")
        assert not hasattr(classifier, "n_features_in_")
        classifier.partial_fit(CORNERS, AND, classes=[0, 1])
        before = state(classifier)
        for y, classes, message in (
            ([0, 1, 2, 3], None, "y has the labels 2, 3, which are not among the classes 0, 1 of the first call"),
            (["0", "1", "0", "1"], None, "Mix of label input types"),
            (AND, [0, 1, 2], "is not the same as on last call"),
        ):
            with pytest.raises(ValueError, match=message):
                classifier.partial_fit(CORNERS, y, classes=classes)
        with pytest.raises(ValueError, match="X has 1 features, but Perceptron is expecting 2"):
            classifier.partial_fit(CORNERS[:, :1], AND)
        with pytest.raises(ValueError, match="class_weight='balanced' needs all rows at once"):
            classifier.set_params(class_weight="balanced").partial_fit(CORNERS, AND)
        classifier.set_params(class_weight=None)
        assert state(classifier) == before

    def test_not_fitted(self):
        for method in (Perceptron().predict, Perceptron().decision_function):
            with pytest.raises(NotFittedError):
                method(CORNERS)

    def test_overflow_leaves_everything_as_it_was(self):
        for X, name in (([[1e200, 1.0], [2e200, 1.0]], "float64"), (np.float32([[1e25, 1], [2e25, 1]]), "float32")):
            for make in (np.asarray, scipy.sparse.csr_matrix):
                classifier = in_order().fit(CORNERS, AND)
                before = state(classifier)
                with pytest.raises(OverflowError, match=f"the numbers overflow {name}: scale the features of X to sim"):
                    classifier.fit(make(X), [0, 1])
                assert state(classifier) == before
        classifier.set_params(max_iter=3)
        before = state(classifier)
        with pytest.raises(OverflowError, match="the numbers overflow float64"):
            classifier.partial_fit([[-1.0, -1.0], [1e200, 1.0], [2e200, 1.0]], [1, 0, 1])
        assert state(classifier) == before

    def test_overflow_of_a_score(self):
        classifier = in_order().fit(CORNERS, AND)
        for ask in (classifier.predict, classifier.decision_function):
            with pytest.raises(OverflowError, match="the numbers overflow float64: scale the features of X"):
                ask([[1e308, 1e308]])
        large = in_order().fit(CORNERS * 1e100, CORNERS.any(axis=1))
        assert large.predict(CORNERS * 1e100).tolist() == [False, True, True, True]

    def test_interrupted(self, monkeypatch):
        classifier = in_order().fit(CORNERS, AND)
        before = state(classifier)

        def interrupt(*arguments, **options):
            raise KeyboardInterrupt

        monkeypatch.setattr(nnfast.perceptron.Rows, "epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            classifier.fit(noisy(3)[0], noisy(3)[1])
        assert state(classifier) == before

    def test_the_state_of_floating_point_errors_has_no_effect(self):
        with np.errstate(all="raise"):
            classifier = quietly(in_order(max_iter=5), CORNERS * 1e-200, AND)  # products are less than float64 holds
            classifier.predict(CORNERS * 1e-200)
            with pytest.raises(ValueError, match=r"must be a finite number in \(0.0, inf\), got 0.0"):
                in_order(eta0=1e-300, class_weight={0: 1e-300}).fit(CORNERS, AND)
