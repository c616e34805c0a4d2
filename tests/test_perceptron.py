"""The perceptron, the gates, its learning rule and the verdict of the linear program."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnfast import perceptron
from nnfast.perceptron import AND, NAND, OR, XOR, ConvergenceWarning, Perceptron

CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
TRUTH = {"AND": [0, 0, 0, 1], "NAND": [1, 1, 1, 0], "OR": [0, 1, 1, 1], "XOR": [0, 1, 1, 0]}
GATES = {"AND": AND, "NAND": NAND, "OR": OR, "XOR": XOR}
SINGLE = ["AND", "NAND", "OR"]


def untrained(n_features: int = 2) -> Perceptron:
    return Perceptron(np.zeros(n_features))


class TestGates:
    @pytest.mark.parametrize("name", GATES)
    def test_truth_table_one_pair_at_a_time(self, name):
        outputs = [GATES[name](int(x1), int(x2)) for x1, x2 in CORNERS]
        assert outputs == TRUTH[name]
        assert all(type(output) is int for output in outputs)

    @pytest.mark.parametrize("name", GATES)
    def test_truth_table_at_once(self, name):
        for outputs in (GATES[name](CORNERS), GATES[name](*CORNERS.T), GATES[name](*CORNERS.T.tolist())):
            np.testing.assert_array_equal(outputs, TRUTH[name])
            assert outputs.dtype == np.int64

    def test_inputs_broadcast(self):
        np.testing.assert_array_equal(AND(1, [0, 1]), [0, 1])
        np.testing.assert_array_equal(XOR([[0], [1]], [0, 1]), [[0, 1], [1, 0]])

    def test_inputs_that_do_not_broadcast(self):
        with pytest.raises(
            ValueError, match=r"^input 1 to input 2 must have shapes that broadcast, got \(2,\), \(3,\)"
        ):
            AND([0, 1], [0, 1, 1])

    @pytest.mark.parametrize("inputs", [(), (1,), (0, 1, 1)])
    def test_wrong_number_of_inputs(self, inputs):
        with pytest.raises(ValueError, match=f"expected one array or 2 inputs, got {len(inputs)}"):
            AND(*inputs)

    def test_bad_inputs_are_named(self):
        with pytest.raises(TypeError, match="input 2 must hold real numbers, got 'on'"):
            AND(0, "on")
        with pytest.raises(ValueError, match=r"x must have 2 feature\(s\) in its last axis, got shape \(3,\)"):
            OR([0, 1, 1])

    @pytest.mark.parametrize("name", SINGLE)
    def test_training_a_gate_is_refused_and_changes_nothing(self, name):
        gate = GATES[name]
        before = repr(gate)
        refused = pytest.raises(ValueError, match="^the perceptron is read-only; create your own, such as")
        with refused:
            gate.fit(CORNERS, TRUTH["OR" if name == "AND" else "AND"])
        with refused:
            gate.bias = 5
        with refused:
            gate.weights = [1, 1]
        assert repr(gate) == before

    def test_a_copy_of_a_gate_can_be_trained(self):
        for mine in (
            Perceptron(AND.weights, AND.bias),
            copy.copy(AND),
            copy.deepcopy(AND),
            pickle.loads(pickle.dumps(AND)),
        ):
            mine.fit(CORNERS, TRUTH["OR"])
            np.testing.assert_array_equal(mine.predict(CORNERS), TRUTH["OR"])
        np.testing.assert_array_equal(AND(CORNERS), TRUTH["AND"])


class TestModel:
    def test_decision_function_by_hand(self):
        model = Perceptron([2.0, -1.0, 0.5], bias=-1.0)
        assert model.decision_function([1, 2, 4]) == 1.0  # 2 - 2 + 2 - 1
        np.testing.assert_array_equal(model.decision_function([[1, 2, 4], [0, 0, 0]]), [1.0, -1.0])

    def test_a_sum_of_exactly_zero_does_not_fire(self):
        model = Perceptron([1.0], bias=-1.0)
        assert model.predict([1.0]) == 0
        assert model.predict([np.nextafter(1, 2)]) == 1

    def test_shapes_and_types(self):
        model = Perceptron([1.0, 1.0])
        assert type(model.predict([1, 1])) is int
        assert type(model.decision_function([1, 1])) is float
        assert model.predict(np.ones((5, 2))).shape == (5,)
        assert model.predict(np.ones((0, 2))).shape == (0,)
        assert model.predict(np.ones((3, 4, 2))).shape == (3, 4)

    def test_calling_is_predicting(self):
        x = np.random.default_rng(0).normal(size=(20, 2))
        model = Perceptron([1.0, -2.0], bias=0.3)
        np.testing.assert_array_equal(model(x), model.predict(x))
        np.testing.assert_array_equal(model(*x.T), model.predict(x))
        assert model(x[0]) == model.predict(x[0])

    def test_one_feature(self):
        negation = Perceptron([-1.0], bias=0.5)
        assert [negation(0), negation(1)] == [1, 0]
        np.testing.assert_array_equal(negation([[0], [1]]), [1, 0])

    def test_a_row_scores_the_same_bits_alone_and_in_a_batch(self):
        rng = np.random.default_rng(0)
        for n_features in (1, 2, 3, 17, 64, 100):
            x = rng.normal(size=(33, n_features))
            model = Perceptron(rng.normal(size=n_features), bias=0.1)
            np.testing.assert_array_equal([model.decision_function(row) for row in x], model.decision_function(x))

    @pytest.mark.parametrize("layout", ["fortran", "reversed", "byte-swapped", "read-only", "list"])
    def test_any_layout_of_input(self, layout):
        x = np.random.default_rng(0).normal(size=(20, 2))
        other = {
            "fortran": np.asfortranarray(x),
            "reversed": x[::-1].copy()[::-1],
            "byte-swapped": x.astype(x.dtype.newbyteorder()),
            "read-only": np.frombuffer(x.tobytes()).reshape(x.shape),
            "list": x.tolist(),
        }[layout]
        model = Perceptron([1.0, -2.0], bias=0.3)
        np.testing.assert_array_equal(model.decision_function(other), model.decision_function(x))

    def test_computes_in_float64(self):
        model = Perceptron(np.array([1, 1], np.float32))
        assert model.weights.dtype == np.float64
        assert model.decision_function(np.array([1, 2.0**-40])) == 1 + 2.0**-40

    def test_weights_are_copied(self):
        weights = np.array([1.0, 1.0])
        model = Perceptron(weights)
        weights[:] = 0
        np.testing.assert_array_equal(model.weights, [1.0, 1.0])

    def test_weights_and_bias_may_be_set(self):
        model = Perceptron([0.5, 0.5], bias=-0.7)
        model.bias = -0.2
        np.testing.assert_array_equal(model.predict(CORNERS), TRUTH["OR"])
        model.weights[:] = -0.5
        model.bias = 0.7
        np.testing.assert_array_equal(model.predict(CORNERS), TRUTH["NAND"])
        model.weights = [1, 0, 0]
        assert model(1, 0, 0) == 1

    def test_repr_makes_it_again(self):
        model = Perceptron([0.1, -2.0], bias=1 / 3)
        again = eval(repr(model))
        np.testing.assert_array_equal(again.weights, model.weights)
        assert again.bias == model.bias

    @pytest.mark.parametrize(
        ("weights", "bias", "error", "message"),
        [
            ([], 0.0, ValueError, "weights must hold at least one number"),
            (1.0, 0.0, ValueError, r"weights must have 1 dimension\(s\), got shape \(\)"),
            ([[1.0, 2.0]], 0.0, ValueError, r"weights must have 1 dimension\(s\), got shape \(1, 2\)"),
            ([1.0, np.nan], 0.0, ValueError, "weights must be finite, got NaN or infinity at index 1"),
            (["a"], 0.0, TypeError, "weights must hold real numbers"),
            ([1.0], np.inf, ValueError, "bias must be a finite number"),
            ([1.0], "0", TypeError, "bias must be a number, got '0'"),
        ],
    )
    def test_bad_weights_and_bias(self, weights, bias, error, message):
        with pytest.raises(error, match=message):
            Perceptron(weights, bias)

    @pytest.mark.parametrize(
        ("x", "error", "message"),
        [
            (1.0, ValueError, r"x must have 2 feature\(s\) in its last axis, got shape \(\)"),
            (np.ones((4, 3)), ValueError, r"x must have 2 feature\(s\) in its last axis, got shape \(4, 3\)"),
            ([[1.0, 2.0], [3.0, np.inf]], ValueError, r"x must be finite, got NaN or infinity at index \(1, 1\)"),
            ([1j, 0], TypeError, "x must hold real numbers"),
        ],
    )
    def test_bad_samples(self, x, error, message):
        for method in (Perceptron([1.0, 1.0]).predict, Perceptron([1.0, 1.0]).decision_function):
            with pytest.raises(error, match=message):
                method(x)

    def test_data_is_positional_only(self):
        with pytest.raises(TypeError, match="positional-only"):
            Perceptron([1.0, 1.0]).predict(x=[1, 1])
        with pytest.raises(TypeError, match="positional-only"):
            untrained().fit(x=CORNERS, y=TRUTH["AND"])


class TestLearningRule:
    @pytest.mark.parametrize("name", SINGLE)
    def test_learns_each_separable_gate(self, name):
        model = untrained()
        assert model.fit(CORNERS, TRUTH[name]) is model
        np.testing.assert_array_equal(model.predict(CORNERS), TRUTH[name])
        assert model.converged_ is True
        assert model.linearly_separable_ is True
        assert model.mistakes_[-1] == 0

    def test_first_epochs_of_and_by_hand(self):
        # Epoch 1: only (1, 1) is wrong: w = (1, 1), b = 1. Epoch 2: (0, 0) fires: b = 0; (0, 1) fires: w = (1, 0),
        # b = -1; (1, 0) is silent; (1, 1) does not fire: w = (2, 1), b = 0.
        model = untrained()
        with pytest.warns(ConvergenceWarning):
            model.fit(CORNERS, TRUTH["AND"], epochs=2)
        np.testing.assert_array_equal(model.weights, [2.0, 1.0])
        assert model.bias == 0.0
        assert model.mistakes_ == [1, 3]

    @pytest.mark.parametrize("n_features", [1, 3, 4, 70])
    def test_equals_visiting_rows_one_by_one(self, n_features):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(400, n_features))
        y = x @ rng.normal(size=n_features) + rng.normal(size=400) > 0.2
        start = rng.normal(size=n_features)
        weights, bias, mistakes = start, 0.1, []
        for _ in range(7):
            mistakes.append(0)
            for row, label in zip(x, y, strict=True):
                error = int(label) - Perceptron(weights, bias).predict(row)
                weights = weights + 0.3 * error * row
                bias = bias + 0.3 * error
                mistakes[-1] += abs(error)
        assert mistakes[-1] > 0
        model = Perceptron(start, bias=0.1)
        with pytest.warns(ConvergenceWarning):
            model.fit(x, y, learning_rate=0.3, epochs=7)
        np.testing.assert_array_equal(model.weights, weights)
        assert model.bias == bias
        assert model.mistakes_ == mistakes

    def test_goes_on_from_the_present_weights(self):
        x, y = CORNERS, TRUTH["AND"]
        in_one = untrained().fit(x, y)
        in_steps = untrained()
        with pytest.warns(ConvergenceWarning):
            in_steps.fit(x, y, epochs=2)
        in_steps.fit(x, y)
        np.testing.assert_array_equal(in_steps.weights, in_one.weights)
        assert in_steps.bias == in_one.bias

    def test_perfect_from_the_start_stays_as_it_is(self):
        model = Perceptron([0.5, 0.5], bias=-0.7).fit(CORNERS, TRUTH["AND"])
        assert repr(model) == repr(AND)
        assert model.mistakes_ == [0]

    def test_converged_where_the_last_correction_was_the_last_needed(self):
        model = untrained(1)
        model.fit([[1.0]], [1], epochs=1)
        assert model.mistakes_ == [1]
        assert model.converged_ is True

    def test_from_zero_the_learning_rate_only_scales(self):
        one, half = untrained().fit(CORNERS, TRUTH["NAND"]), untrained()
        half.fit(CORNERS, TRUTH["NAND"], learning_rate=0.5)
        np.testing.assert_array_equal(half.weights, one.weights / 2)
        assert half.bias == one.bias / 2
        assert half.mistakes_ == one.mistakes_

    @pytest.mark.parametrize("labels", [[0, 0, 0, 1], [False, False, False, True], [0.0, 0.0, 0.0, 1.0]])
    def test_labels_of_any_real_dtype(self, labels):
        np.testing.assert_array_equal(untrained().fit(CORNERS, labels).predict(CORNERS), TRUTH["AND"])

    @pytest.mark.parametrize("label", [0, 1])
    def test_one_class_is_separable(self, label):
        model = untrained().fit(CORNERS, np.full(4, label))
        np.testing.assert_array_equal(model.predict(CORNERS), label)

    def test_data_is_left_alone(self):
        x, y = CORNERS.astype(float), np.array(TRUTH["OR"])
        untrained().fit(x, y)
        np.testing.assert_array_equal(x, CORNERS)
        np.testing.assert_array_equal(y, TRUTH["OR"])

    @given(st.integers(1, 4), st.integers(1, 30), st.integers(0, 2**32 - 1))
    @settings(max_examples=50, deadline=None)
    def test_novikoff_bounds_the_mistakes(self, n_features, n, seed):
        # Small integers, so that all sums are exact and every score is at least 1/2 from zero.
        rng = np.random.default_rng(seed)
        teacher = rng.integers(-3, 4, n_features)
        x = rng.integers(-4, 5, (n, n_features))
        scores = x @ teacher + 0.5
        model = untrained(n_features).fit(x, scores > 0, epochs=10_000)
        radius_squared = ((x**2).sum(axis=1) + 1).max()
        gap_squared = (scores**2).min() / (teacher @ teacher + 0.25)
        assert model.converged_
        assert sum(model.mistakes_) <= radius_squared / gap_squared


class TestVerdict:
    """What `fit` reports about data that it has not learned."""

    @staticmethod
    def fit_in_vain(x, y, **options) -> tuple[Perceptron, str]:
        model = untrained(np.shape(x)[1])
        with pytest.warns(ConvergenceWarning) as caught:
            model.fit(x, y, **options)
        assert len(caught) == 1
        assert caught[0].filename == __file__
        assert model.converged_ is False
        return model, str(caught[0].message)

    def test_xor_is_not_linearly_separable(self):
        model, message = self.fit_in_vain(CORNERS, TRUTH["XOR"])
        assert model.linearly_separable_ is False
        assert len(model.mistakes_) == 1000
        assert message.startswith("the data is not linearly separable: no weights and bias put each row on the correct")
        wrong = np.count_nonzero(model.predict(CORNERS) != TRUTH["XOR"])
        assert message.endswith(f"after 1000 epoch(s), {wrong} of 4 rows are on the wrong side")

    def test_not_learned_yet(self):
        model, message = self.fit_in_vain(CORNERS, TRUTH["AND"], epochs=2)
        assert model.linearly_separable_ is True
        assert message.startswith("not learned yet, although the data is linearly separable: call fit again")
        assert "after 2 epoch(s)" in message
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.fit(CORNERS, TRUTH["AND"])
        assert model.converged_ is True

    def test_the_same_point_in_both_classes(self):
        model, _ = self.fit_in_vain([[1.0, 2.0], [3.0, 1.0], [1.0, 2.0]], [0, 1, 1], epochs=5)
        assert model.linearly_separable_ is False

    def test_the_same_point_only(self):
        model, _ = self.fit_in_vain([[1.0, 2.0], [1.0, 2.0]], [0, 1], epochs=5)
        assert model.linearly_separable_ is False

    def test_a_point_between_two_others(self):
        model, _ = self.fit_in_vain([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], [0, 1, 0], epochs=50)
        assert model.linearly_separable_ is False

    @pytest.mark.parametrize("scale", [1e-100, 1e-9, 1.0, 1e9, 1e100])
    @pytest.mark.parametrize("shift", [0.0, 1e3, 1e12])
    @pytest.mark.parametrize("name", ["AND", "XOR"])
    def test_scale_and_place_do_not_matter(self, name, scale, shift):
        x = (CORNERS + shift) * scale
        model, _ = self.fit_in_vain(x, TRUTH[name], epochs=1)
        assert model.linearly_separable_ is (name == "AND")

    @pytest.mark.parametrize("name", ["AND", "XOR"])
    def test_features_of_very_different_ranges(self, name):
        model, _ = self.fit_in_vain(CORNERS * [1e-8, 1e8], TRUTH[name], epochs=1)
        assert model.linearly_separable_ is (name == "AND")

    @pytest.mark.parametrize("name", ["AND", "XOR"])
    def test_one_far_outlier(self, name):
        x = np.vstack([CORNERS, [1e12, 1e12]])
        model, _ = self.fit_in_vain(x, [*TRUTH[name], 1], epochs=1)
        assert model.linearly_separable_ is (name == "AND")

    def test_heavy_tails(self):
        rng = np.random.default_rng(0)
        for _ in range(100):
            x = rng.standard_cauchy((100, 4)) ** 5
            scores = x @ rng.normal(size=4) + rng.normal()
            model, _ = self.fit_in_vain(x, scores > 0, epochs=1)
            assert model.linearly_separable_ is True

    @pytest.mark.parametrize("name", ["AND", "XOR"])
    def test_a_constant_feature(self, name):
        model, _ = self.fit_in_vain(np.column_stack([CORNERS, np.full(4, 7.0)]), TRUTH[name], epochs=1)
        assert model.linearly_separable_ is (name == "AND")

    def test_narrow_gap(self):
        rng = np.random.default_rng(0)
        along = rng.normal(size=200)
        fires = rng.random(200) < 0.5
        x = np.column_stack([along, along + np.where(fires, 1e-6, -1e-6)])
        model, _ = self.fit_in_vain(x, fires, epochs=3)
        assert model.linearly_separable_ is True
        middle = np.argsort(along)[100]
        x[middle, 1] += 4e-6 * (1 - 2 * fires[middle])  # through the other class and beyond
        model, _ = self.fit_in_vain(x, fires, epochs=3)
        assert model.linearly_separable_ is False

    @given(st.integers(1, 2), st.integers(2, 8), st.integers(0, 2**32 - 1))
    @settings(max_examples=50, deadline=None)
    def test_agrees_with_learning_to_the_end(self, n_features, n, seed):
        # On such a small lattice no gap is narrow, so long training decides as well.
        rng = np.random.default_rng(seed)
        x, y = rng.integers(0, 3, (n, n_features)), rng.integers(0, 2, n)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = untrained(n_features).fit(x, y, epochs=1)
            patient = untrained(n_features).fit(x, y, epochs=1000)
        assert model.linearly_separable_ is patient.converged_

    def test_undecided_if_the_linear_programme_runs_out_of_time(self, monkeypatch):
        monkeypatch.setattr(perceptron, "SECONDS", 0.0)
        rng = np.random.default_rng(0)
        model, message = self.fit_in_vain(rng.normal(size=(300, 20)), rng.random(300) < 0.5, epochs=2)
        assert model.linearly_separable_ is None
        assert message.startswith("not learned, and the linear program could not determine")


class TestBadInput:
    @pytest.mark.parametrize(
        ("x", "y", "options", "error", "message"),
        [
            (CORNERS[:, :1], [0, 0, 0, 1], {}, ValueError, r"x must have shape \(n, 2\), got \(4, 1\)"),
            (CORNERS[0], [0], {}, ValueError, r"x must have shape \(n, 2\), got \(2,\)"),
            (np.empty((0, 2)), [], {}, ValueError, "x must hold at least one row"),
            ([[0, np.nan], [1, 1]], [0, 1], {}, ValueError, r"x must be finite, got NaN or infinity at index \(0, 1\)"),
            (CORNERS, [0, 0, 1], {}, ValueError, r"y must have shape \(4,\), got \(3,\)"),
            (CORNERS, [[0], [0], [0], [1]], {}, ValueError, r"y must have shape \(4,\), got \(4, 1\)"),
            (CORNERS, [1, -1, -1, 1], {}, ValueError, "y must hold the labels 0 and 1, got -1 at index 1"),
            (CORNERS, [0, 1, 0.5, 1], {}, ValueError, "y must hold the labels 0 and 1, got 0.5 at index 2"),
            (CORNERS, [0, 1, 0, np.nan], {}, ValueError, "y must hold the labels 0 and 1, got nan at index 3"),
            (CORNERS, ["n", "n", "n", "y"], {}, TypeError, "y must hold real numbers"),
            (CORNERS, [0, 0, 0, 1], {"learning_rate": 0}, ValueError, "learning_rate must be a finite number in"),
            (CORNERS, [0, 0, 0, 1], {"learning_rate": "1"}, TypeError, "learning_rate must be a number, got '1'"),
            (CORNERS, [0, 0, 0, 1], {"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
            (CORNERS, [0, 0, 0, 1], {"epochs": 1.5}, TypeError, "epochs must be an integer, got 1.5"),
        ],
    )
    def test_refused_and_nothing_changed(self, x, y, options, error, message):
        model = Perceptron([0.25, -0.5], bias=0.125)
        with pytest.raises(error, match=message):
            model.fit(x, y, **options)
        assert repr(model) == "Perceptron([0.25, -0.5], bias=0.125)"
        assert not hasattr(model, "converged_")

    @pytest.mark.parametrize("x", [[1e308, 1e308], [[0.0, 0.0], [1e308, 1e308]], [1e308, -1e308]])
    def test_overflow_of_a_score(self, x):
        model = Perceptron([10.0, 10.0])
        for ask in (model.decision_function, model.predict, model):
            with pytest.raises(OverflowError, match="the numbers overflow float64"):
                ask(x)

    def test_overflow_of_the_bias(self):
        model = Perceptron([-1.5e308], bias=1e308)
        with pytest.raises(OverflowError, match="the numbers overflow float64"):
            model.fit([[1.0]], [1], learning_rate=1e308)
        assert repr(model) == "Perceptron([-1.5e+308], bias=1e+308)"

    @pytest.mark.parametrize(
        "x", [[[1e200, 1.0], [2e200, 1.0]], [[0, 1e-300], [1, 2e-300], [2, 1e100], [0, 1e-300]]], ids=["sum", "scale"]
    )
    def test_overflow_is_an_error_and_nothing_changed(self, x):
        model = untrained()
        with pytest.raises(OverflowError, match="the numbers overflow float64: scale the features of x to similar"):
            model.fit(x, np.arange(len(x)) % 2)
        assert repr(model) == "Perceptron([0.0, 0.0], bias=0.0)"
        assert not hasattr(model, "converged_")


def test_import_brings_neither_scipy_nor_matplotlib():
    code = "import sys, nnfast.perceptron; print([m for m in ('scipy', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
