"""What the pictures contain: regions, points, lines, curves, labels."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.sparse
from contrast import contrast
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.figure import Figure

import nnfast as nf
from nnfast import functions
from nnfast.perceptron import AND, NAND, OR, XOR, Perceptron
from nnfast.plotting import (
    plot_activation_histograms,
    plot_activations,
    plot_confusion_matrix,
    plot_decision_boundary,
    plot_descent,
    plot_gradient_field,
    plot_gradient_histograms,
    plot_gradient_report,
    plot_history,
    plot_importances,
    plot_predictions,
    plot_residuals,
    plot_schedule,
    plot_weight_histograms,
    plot_worst_mistakes,
)
from nnfast.plotting.panels import TITLE_WIDTH

CORNERS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
CENTRES = np.array([[0.0, 0.0], [3.0, 1.0], [1.0, 4.0]])


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def ax():
    return Figure().subplots()


def nearest_centre(points):
    return ((points[:, None] - CENTRES) ** 2).sum(axis=-1).argmin(axis=1)


def regions_of(ax):
    """Return the points in the middle of the mesh's cells, and the cells' values."""
    (mesh,) = (artist for artist in ax.collections if isinstance(artist, QuadMesh))
    corners = mesh.get_coordinates()
    middles = (corners[:-1, :-1] + corners[1:, 1:]) / 2
    return middles.reshape(-1, 2), np.asarray(mesh.get_array()).ravel(), mesh


def points_of(ax):
    """Return the offsets of each class, by label."""
    return {
        str(artist.get_label()): np.asarray(artist.get_offsets())
        for artist in ax.collections
        if isinstance(artist, PathCollection)
    }


def legend_of(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


class TestDecisionBoundary:
    @pytest.mark.parametrize("gate", [AND, NAND, OR, XOR], ids=["AND", "NAND", "OR", "XOR"])
    def test_regions_are_the_predictions(self, gate, ax):
        assert plot_decision_boundary(gate, CORNERS, gate(CORNERS), resolution=50, ax=ax) is ax
        middles, values, _ = regions_of(ax)
        assert len(values) == 50 * 50
        np.testing.assert_array_equal(values, gate(middles))
        assert set(values) == {0, 1}

    def test_points_by_class(self, ax):
        plot_decision_boundary(XOR, CORNERS, [0, 1, 1, 0], resolution=5, ax=ax)
        points = points_of(ax)
        assert list(points) == ["class 0", "class 1"]
        np.testing.assert_array_equal(points["class 0"], [[0, 0], [1, 1]])
        np.testing.assert_array_equal(points["class 1"], [[0, 1], [1, 0]])

    def test_region_and_points_of_a_class_share_a_colour(self, ax):
        plot_decision_boundary(nearest_centre, CENTRES, [0, 1, 2], resolution=30, ax=ax)
        _, values, mesh = regions_of(ax)
        for artist in (artist for artist in ax.collections if isinstance(artist, PathCollection)):
            number = int(str(artist.get_label()).removeprefix("class "))
            cells = mesh.to_rgba(values[values == number])[:, :3]
            assert len(cells)
            np.testing.assert_array_equal(cells, np.broadcast_to(artist.get_facecolor()[0, :3], cells.shape))

    @pytest.mark.parametrize("n", [3, 10], ids=["palette", "colour map"])
    def test_many_classes_have_different_colours(self, n, ax):
        x = np.column_stack([np.arange(n), np.zeros(n)])
        plot_decision_boundary(lambda points: points[:, 0].round().clip(0, n - 1), x, range(n), ax=ax)
        colors = {tuple(artist.get_facecolor()[0]) for artist in ax.collections if isinstance(artist, PathCollection)}
        assert len(colors) == n
        assert legend_of(ax) == [f"class {i}" for i in range(n)]

    def test_class_numbers_need_not_be_consecutive(self, ax):
        plot_decision_boundary(lambda points: np.where(points[:, 0] > 0.5, 40, -3), CORNERS, [-3, -3, 40, 7], ax=ax)
        assert legend_of(ax) == ["class -3", "class 7", "class 40"]
        middles, values, _ = regions_of(ax)
        np.testing.assert_array_equal(values, np.where(middles[:, 0] > 0.5, 2, 0))

    def test_a_class_that_only_the_model_knows_has_its_region(self, ax):
        plot_decision_boundary(nearest_centre, CENTRES[:2], [0, 1], margin=5, resolution=20, ax=ax)
        middles, values, _ = regions_of(ax)
        np.testing.assert_array_equal(values, nearest_centre(middles))
        assert 2 in values
        assert legend_of(ax) == ["class 0", "class 1", "class 2"]

    def test_a_network_is_asked_for_its_classes(self, ax):
        class Network:
            def predict_class(self, points):
                return nearest_centre(points)

            def __call__(self, points):
                raise AssertionError("the outputs were asked for")

        plot_decision_boundary(Network(), CENTRES, [0, 1, 2], resolution=20, ax=ax)
        middles, values, _ = regions_of(ax)
        np.testing.assert_array_equal(values, nearest_centre(middles))

    def test_the_line_is_where_the_perceptron_starts_to_fire(self, ax):
        plot_decision_boundary(Perceptron([2.0, 1.0], bias=-1.0), CORNERS, [0, 0, 1, 1], ax=ax)
        (line,) = ax.lines
        across, up = line.get_data()
        np.testing.assert_allclose(up, 1 - 2 * across)
        assert min(across) < ax.get_xlim()[0] or min(up) < ax.get_ylim()[0]
        assert max(across) > ax.get_xlim()[1] or max(up) > ax.get_ylim()[1]

    @pytest.mark.parametrize(("weights", "axis"), [([0.0, 4.0], 1), ([4.0, 0.0], 0)], ids=["flat", "upright"])
    def test_lines_along_the_axes(self, weights, axis, ax):
        plot_decision_boundary(Perceptron(weights, bias=-1.0), CORNERS, [0, 0, 1, 1], ax=ax)
        data = ax.lines[0].get_data()
        np.testing.assert_allclose(data[axis], 0.25)
        low, high = (ax.get_xlim, ax.get_ylim)[1 - axis]()
        assert min(data[1 - axis]) < low < high < max(data[1 - axis])

    def test_a_perceptron_without_weights_has_no_line(self, ax):
        plot_decision_boundary(Perceptron([0.0, 0.0], bias=1.0), CORNERS, [0, 0, 0, 1], ax=ax)
        assert [len(line.get_xdata()) for line in ax.lines] == [0]
        assert set(regions_of(ax)[1]) == {1}

    def test_features_of_very_different_ranges(self, ax):
        x = CORNERS * [1.0, 1e6]
        plot_decision_boundary(Perceptron([1e6, 1.0], bias=-1.5e6), x, [0, 0, 0, 1], ax=ax)
        across, up = ax.lines[0].get_data()
        np.testing.assert_allclose(up, 1.5e6 - 1e6 * across)
        assert np.ptp(across) > np.ptp(ax.get_xlim()) / 2

    def test_only_a_perceptron_has_a_line(self, ax):
        plot_decision_boundary(XOR, CORNERS, XOR(CORNERS), ax=ax)
        assert not ax.lines

    def test_points_lie_over_lines_over_regions(self, ax):
        plot_decision_boundary(AND, CORNERS, AND(CORNERS), ax=ax)
        _, _, mesh = regions_of(ax)
        points = [artist for artist in ax.collections if isinstance(artist, PathCollection)]
        assert mesh.zorder < ax.lines[0].zorder < min(artist.zorder for artist in points)

    def test_biases_move_the_line(self, ax):
        plot_decision_boundary(Perceptron([1.0, 1.0], bias=-1.5), CORNERS, [0, 0, 0, 1], biases=[-0.5, -2.5], ax=ax)
        sums = [line.get_xdata() + line.get_ydata() for line in ax.lines]
        np.testing.assert_allclose(sums, [[0.5, 0.5], [1.5, 1.5], [2.5, 2.5]])
        assert legend_of(ax)[2:] == [
            "bias -0.5: fires at 3 of 4",
            "bias -1.5: fires at 1 of 4",
            "bias -2.5: fires at 0 of 4",
        ]
        assert [line.get_linestyle() for line in ax.lines].index("-") == 1
        assert len({line.get_linestyle() for line in ax.lines}) == 3

    def test_the_bias_of_the_perceptron_among_biases_is_drawn_once(self, ax):
        plot_decision_boundary(AND, CORNERS, AND(CORNERS), biases=np.array([-0.7, -0.2]), ax=ax)
        assert legend_of(ax)[2:] == ["bias -0.2: fires at 3 of 4", "bias -0.7: fires at 1 of 4"]

    def test_margin_and_view(self, ax):
        plot_decision_boundary(AND, CORNERS * [1, 10], [0, 0, 0, 1], margin=0.5, ax=ax)
        assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 1.5), (-5.0, 15.0))
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("$x_1$", "$x_2$")

    def test_one_point_has_room_around_it(self, ax):
        plot_decision_boundary(AND, [[1.0, 2.0]], [1], margin=0, ax=ax)
        assert (ax.get_xlim(), ax.get_ylim()) == ((0.5, 1.5), (1.5, 2.5))

    def test_legend_stands_beside_the_picture(self):
        ax = plot_decision_boundary(AND, CORNERS, AND(CORNERS), biases=[-0.2])
        ax.figure.canvas.draw()
        legend = ax.get_legend().get_window_extent()
        assert legend.x0 > ax.get_window_extent().x1
        assert legend.x1 <= ax.figure.bbox.x1

    def test_new_figure_only_without_axes(self, ax):
        plot_decision_boundary(AND, CORNERS, AND(CORNERS), ax=ax)
        assert plt.get_fignums() == []
        made = plot_decision_boundary(AND, CORNERS, AND(CORNERS))
        assert plt.get_fignums() == [made.figure.number]

    @pytest.mark.parametrize(
        ("model", "x", "y", "options", "error", "message"),
        [
            (AND, CORNERS[:, :1], [0, 0, 0, 1], {}, ValueError, r"x must have shape \(n, 2\), got \(4, 1\)"),
            (AND, np.empty((0, 2)), [], {}, ValueError, "x must hold at least one row"),
            (AND, CORNERS * np.nan, [0, 0, 0, 1], {}, ValueError, "x must be finite"),
            (AND, CORNERS, [0, 1], {}, ValueError, r"y must have shape \(4,\), got \(2,\)"),
            (AND, CORNERS, [0, 0, 0, 0.5], {}, ValueError, "y must hold classes as whole numbers, got 0.5"),
            (AND, CORNERS, [0, 0, 0, 1], {"resolution": 1}, ValueError, "resolution must be at least 2, got 1"),
            (AND, CORNERS, [0, 0, 0, 1], {"margin": -1}, ValueError, "margin must be a finite number"),
            (AND, CORNERS, [0, 0, 0, 1], {"biases": 0.5}, ValueError, "biases must have 1 dimension"),
            (AND, CORNERS, [0, 0, 0, 1], {"biases": [np.inf]}, ValueError, "biases must be finite"),
            (XOR, CORNERS, [0, 1, 1, 0], {"biases": [0.5]}, TypeError, "biases needs a Perceptron as the model, got <"),
            ("AND", CORNERS, [0, 0, 0, 1], {}, TypeError, "model must be a network, a perceptron or a function"),
            (Perceptron([1.0]), CORNERS, [0, 0, 0, 1], {}, ValueError, r"x must have 1 feature\(s\) in its last axis"),
            (lambda points: points, CORNERS, [0, 0, 0, 1], {}, ValueError, "the result of model must have shape"),
            (lambda points: points[:, 0], CORNERS, [0, 0, 0, 1], {}, ValueError, "the result of model must hold"),
        ],
    )
    def test_bad_arguments(self, model, x, y, options, error, message):
        with pytest.raises(error, match=message):
            plot_decision_boundary(model, x, y, **options)
        assert plt.get_fignums() == []


class TestActivations:
    def test_curves_and_derivatives_by_hand(self):
        axes = plot_activations(["step", "identity", "sigmoid", "tanh", "relu"])
        assert axes.shape == (5,)
        x = axes[0].lines[2].get_xdata()
        sigmoid = 1 / (1 + np.exp(-x))
        expected = {
            "step": (x > 0, 0 * x),
            "identity": (x, 1 + 0 * x),
            "sigmoid": (sigmoid, sigmoid * (1 - sigmoid)),
            "tanh": (np.tanh(x), 1 / np.cosh(x) ** 2),
            "relu": (np.where(x > 0, x, 0), x > 0),
        }
        assert [ax.get_title() for ax in axes] == list(expected)
        for ax, (name, curves) in zip(axes, expected.items(), strict=True):
            assert legend_of(ax) == [f"{name}(x)", "derivative"]
            drawn = [line for line in ax.lines if not line.get_label().startswith("_")]
            for line, curve in zip(drawn, curves, strict=True):
                np.testing.assert_allclose(line.get_ydata(), curve)
            assert drawn[1].get_linewidth() < drawn[0].get_linewidth()

    def test_values_are_those_of_functions(self):
        (ax,) = plot_activations(["tanh"])
        curve = ax.lines[2]
        np.testing.assert_array_equal(curve.get_ydata(), functions.tanh(curve.get_xdata()))

    def test_the_book_s_four_by_default(self):
        assert [ax.get_title() for ax in plot_activations()] == ["step", "sigmoid", "tanh", "relu"]

    def test_on_given_axes(self):
        given = Figure().subplots(2, 2)
        assert list(plot_activations(axes=given)) == list(given.ravel())
        (only,) = plot_activations("relu", axes=given[0, 0])
        assert only is given[0, 0]
        assert plt.get_fignums() == []

    @pytest.mark.parametrize(
        ("names", "axes", "error", "message"),
        [
            ([], None, ValueError, "names must hold at least one of step, identity"),
            (["softmax"], None, ValueError, "names must be one of 'step', .*, got 'softmax'"),
            ([1], None, TypeError, r"names must be one of .*, got 1 \(int\)"),
            (["relu"], [None, None], ValueError, "axes must hold 1 axes, got 2"),
            (["relu"], [1], TypeError, r"axes must hold matplotlib axes, got 1 \(int\)"),
            (None, None, TypeError, r"names must be a sequence of names, got None \(NoneType\)"),
        ],
    )
    def test_bad_arguments(self, names, axes, error, message):
        with pytest.raises(error, match=message):
            plot_activations(names, axes=axes)
        assert plt.get_fignums() == []


class History(dict):
    """A stand-in for what `Sequential.fit` returns."""

    def __init__(self, step_loss, **values):
        super().__init__(values)
        self.step_loss = np.asarray(step_loss, np.float32)


def curves_of(ax):
    return {line.get_label(): line.get_data() for line in ax.lines}


class TestHistory:
    def test_all_that_was_recorded(self):
        history = History(
            [3, 2, 1, 0.5], loss=[2.5, 0.75], accuracy=[0.5, 0.75], val_loss=[1.5, 1.0], val_accuracy=[0.25, 0.5]
        )
        by_step, loss, accuracy = plot_history(history)
        np.testing.assert_array_equal(curves_of(by_step)["mini-batch"], [[1, 2, 3, 4], [3, 2, 1, 0.5]])
        for ax, training, validation in ((loss, [2.5, 0.75], [1.5, 1.0]), (accuracy, [0.5, 0.75], [0.25, 0.5])):
            assert list(curves_of(ax)) == legend_of(ax) == ["training", "validation"]
            np.testing.assert_array_equal(curves_of(ax)["training"], [[1, 2], training])
            np.testing.assert_array_equal(curves_of(ax)["validation"], [[1, 2], validation])
        assert [ax.get_title() for ax in (by_step, loss)] == ["loss over steps", "loss over epochs"]
        assert (by_step.get_xlabel(), by_step.get_ylabel()) == ("step", "loss")
        assert (loss.get_xlabel(), loss.get_ylabel()) == ("epoch", "loss")
        assert (accuracy.get_xlabel(), accuracy.get_ylabel()) == ("epoch", "accuracy")

    def test_without_validation(self):
        _, loss = plot_history(History([3, 2], loss=[3, 2]))
        assert list(curves_of(loss)) == ["training"]

    def test_a_metric_on_the_validation_data_alone(self):
        *_, own = plot_history(History([3, 2], loss=[3, 2], val_loss=[3, 2], val_own=[5, 6]))
        assert list(curves_of(own)) == ["validation"]
        assert own.get_title() == "own over epochs"

    def test_one_epoch_is_a_visible_point(self):
        _, _, accuracy = plot_history(History([3, 2], loss=[2.5], accuracy=[0.5]))
        (line,) = accuracy.lines
        assert line.get_marker() == "o"
        assert line.get_markersize() > 0
        low, high = accuracy.get_xlim()
        assert [tick for tick in accuracy.get_xticks() if low <= tick <= high] == [1]

    def test_one_step_is_a_visible_point(self):
        by_step, _ = plot_history(History([3], loss=[3]))
        assert by_step.lines[0].get_marker() == "o"

    def test_each_metric_has_its_panel(self):
        history = History([3, 2], loss=[3, 2], top_2_accuracy=[0.5, 1.0], **{"$x_1$": [2.0, 1.0], "val_$x_1$": [3, 2]})
        panels = plot_history(history)
        assert [ax.get_ylabel() for ax in panels] == ["loss", "loss", "top 2 accuracy", r"\$x 1\$"]
        assert [len(ax.lines) for ax in panels] == [1, 1, 1, 2]
        panels[0].figure.canvas.draw()  # a name is not mathematics

    def test_metrics_of_classes_share_a_panel(self):
        by_class = {f"{prefix}f1_class_{k}": [k / 10, k / 10] for prefix in ("", "val_") for k in range(10)}
        history = History([3, 2], loss=[3, 2], accuracy=[0.1, 0.2], **by_class, f1_macro=[0.4, 0.5])
        panels = plot_history(history)
        assert [ax.get_ylabel() for ax in panels] == ["loss", "loss", "accuracy", "f1 class", "f1 macro"]
        shared = panels[3]
        curves = curves_of(shared)
        assert len(curves) == 20
        for k in range(10):
            np.testing.assert_array_equal(curves[f"{k}, training"][1], k / 10)
            np.testing.assert_array_equal(curves[f"{k}, validation"][1], k / 10)
        assert legend_of(shared) == [*map(str, range(10)), "training", "validation"]
        assert len({tuple(line.get_color()) for line in shared.lines[::2]}) == 10
        assert [line.get_linestyle() for line in shared.lines] == ["-", "--"] * 10

    def test_a_metric_is_not_hidden_by_those_of_classes(self):
        history = History([3], loss=[3], f1=[0.5], f1_0=[0.25], f1_1=[0.75])
        assert [ax.get_ylabel() for ax in plot_history(history)] == ["loss", "loss", "f1", "f1 "]

    def test_a_learning_rate_that_changes_is_drawn(self):
        history = History([3, 2, 1], loss=[2])
        history.learning_rate = np.array([0.1, 0.05, 0.05])
        rate = plot_history(history)[-1]
        assert (rate.get_title(), rate.get_xlabel()) == ("learning rate over steps", "step")
        np.testing.assert_array_equal(rate.lines[0].get_data(), [[1, 2, 3], [0.1, 0.05, 0.05]])

    @pytest.mark.parametrize("rates", [[], [0.1], [0.1, 0.1, 0.1]], ids=["L-BFGS", "one step", "constant"])
    def test_a_learning_rate_that_does_not_change_is_not(self, rates):
        history = History([3, 2, 1], loss=[2])
        history.learning_rate = np.array(rates)
        assert [ax.get_title() for ax in plot_history(history)] == ["loss over steps", "loss over epochs"]

    def test_quantities_are_chosen_by_name(self):
        history = History([3, 2], loss=[3, 2], accuracy=[0.5, 1], f1_0=[1, 1], f1_1=[1, 1])
        history.learning_rate = np.full(2, 0.1)
        panels = plot_history(history, quantities=["f1", "learning_rate", "step_loss"])
        assert [ax.get_ylabel() for ax in panels] == ["f1", "learning rate", "loss"]
        assert [ax.get_ylabel() for ax in plot_history(history, quantities="accuracy")] == ["accuracy"]

    @pytest.mark.parametrize(
        ("quantities", "error", "message"),
        [
            ("acc", ValueError, r"quantities must hold names among step_loss, loss, accuracy, got 'acc' \(str\)"),
            (["loss", 1], ValueError, r"quantities must hold names among .*, got 1 \(int\)"),
            ("learning_rate", ValueError, "quantities must hold names among"),  # none was recorded
            ([], ValueError, "quantities must hold at least one of step_loss, loss, accuracy, got none"),
            (1, TypeError, r"quantities must be a sequence of names, got 1 \(int\)"),
        ],
    )
    def test_quantities_that_were_not_recorded(self, quantities, error, message):
        with pytest.raises(error, match=message):
            plot_history(History([3], loss=[3], accuracy=[1]), quantities=quantities)
        assert plt.get_fignums() == []

    def test_a_long_curve_has_its_running_mean(self):
        losses = np.arange(1000.0)
        by_step, _ = plot_history(History(losses, loss=[losses.mean()]))
        curves = curves_of(by_step)
        assert list(curves) == ["mini-batch", "mean of the last 20"]
        steps, means = curves["mean of the last 20"]
        np.testing.assert_array_equal(steps, np.arange(20, 1001))
        np.testing.assert_allclose(means, np.arange(9.5, 990))

    def test_a_training_that_diverged_is_drawn_as_far_as_it_goes(self):
        losses = np.ones(200)
        losses[100:150], losses[150:] = np.inf, np.nan
        by_step, _ = plot_history(History(losses, loss=[1.0, np.nan]))
        by_step.figure.canvas.draw()
        _, means = curves_of(by_step)["mean of the last 10"]
        np.testing.assert_array_equal(means[:91], 1.0)
        assert not np.isfinite(means[91:]).any()

    def test_interrupted_before_the_first_epoch_ended(self):
        by_step, by_epoch = plot_history(History([], loss=[]))
        assert len(by_step.lines[0].get_xdata()) == 0
        assert not by_epoch.lines

    def test_on_given_axes(self):
        given = Figure().subplots(2, 1)
        assert list(plot_history(History([1.0], loss=[1.0]), axes=given)) == list(given)
        assert plt.get_fignums() == []

    @pytest.mark.parametrize(
        ("history", "error", "message"),
        [
            (None, TypeError, r"history must be what Sequential.fit returns, or several of these, got None"),
            ("adam", TypeError, r"history must be what Sequential.fit returns, or several of these, got 'adam'"),
            ([1.0, 0.5], TypeError, r"history\[0\] must be what Sequential.fit returns, got 1.0 \(float\)"),
            (
                {"loss": [1.0]},
                TypeError,
                r"history\['loss'\] must be what Sequential.fit returns, got",
            ),
            ({}, ValueError, "history must hold at least one History, got none"),
            ([], ValueError, "history must hold at least one History, got none"),
        ],
    )
    def test_bad_history(self, history, error, message):
        with pytest.raises(error, match=message):
            plot_history(history)
        assert plt.get_fignums() == []

    def test_wrong_number_of_axes(self, ax):
        with pytest.raises(ValueError, match="axes must hold 2 axes, got 1"):
            plot_history(History([1.0], loss=[1.0]), axes=ax)


class TestSeveralHistories:
    @pytest.fixture
    def runs(self):
        adam = History([3, 2], loss=[3, 2], accuracy=[0.5, 1], val_accuracy=[0.25, 0.5])
        sgd = History([4, 3, 2], loss=[4, 3, 2], own_1=[5, 5, 5], own_2=[6, 6, 6])
        return {"adam": adam, "_sgd $": sgd}

    def test_runs_share_the_panel_of_a_quantity(self, runs):
        panels = plot_history(runs)
        assert [ax.get_ylabel() for ax in panels] == ["loss", "loss", "accuracy", "own 1", "own 2"]
        np.testing.assert_array_equal(panels[0].lines[0].get_data(), [[1, 2], [3, 2]])
        np.testing.assert_array_equal(panels[0].lines[1].get_data(), [[1, 2, 3], [4, 3, 2]])
        np.testing.assert_array_equal(panels[1].lines[1].get_data(), [[1, 2, 3], [4, 3, 2]])
        assert legend_of(panels[0]) == legend_of(panels[1]) == ["adam", r" _sgd \$"]
        assert legend_of(panels[2]) == ["adam", r" _sgd \$", "training", "validation"]
        panels[0].figure.canvas.draw()

    def test_a_run_has_one_colour_in_all_panels(self, runs):
        loss, accuracy, own = plot_history(runs, quantities=["loss", "accuracy", "own_1"])
        colors = [line.get_color() for line in loss.lines]
        assert len(set(colors)) == 2
        assert {line.get_color() for line in accuracy.lines} == {colors[0]}
        assert [line.get_color() for line in own.lines] == [colors[1]]
        assert [line.get_linestyle() for line in accuracy.lines] == ["-", "--"]

    def test_long_curves_are_their_running_means(self):
        long = History(np.arange(1000.0), loss=[1.0])
        (ax,) = plot_history({"a": long, "b": long}, quantities="step_loss")
        assert [len(line.get_xdata()) for line in ax.lines] == [981, 981]
        assert ax.get_ylabel() == "loss, running mean"

    def test_a_list_is_numbered(self, runs):
        (ax,) = plot_history(list(runs.values()), quantities="loss")
        assert legend_of(ax) == ["run 1", "run 2"]

    def test_one_named_run_keeps_its_name(self, runs):
        (ax,) = plot_history({"adam": runs["adam"]}, quantities="loss")
        assert legend_of(ax) == ["adam"]

    @pytest.mark.parametrize("n", [5, 6, 12])
    def test_the_legend_of_many_runs_is_beside_the_last_panel(self, runs, n):
        panels = plot_history([runs["adam"]] * n)
        names = [f"run {i + 1}" for i in range(n)]
        first, *_, accuracy = panels
        assert legend_of(accuracy) == [*names, "training", "validation"]
        first.figure.canvas.draw()
        beside = accuracy.get_legend().get_window_extent().x0 > accuracy.get_window_extent().x1
        assert accuracy.get_legend().get_window_extent().x1 <= accuracy.figure.bbox.x1
        assert beside == (n > 5)
        if n > 5:
            assert first.get_legend() is None
        else:
            assert legend_of(first) == names

    def test_of_very_many_runs_the_legend_names_the_ends(self, runs):
        (ax,) = plot_history([runs["adam"]] * 50, quantities="loss")
        assert len({tuple(line.get_color()) for line in ax.lines}) == 50
        assert legend_of(ax) == ["run 1", "...", "run 50"]

    def test_rates_are_drawn_if_one_of_them_changes(self, runs):
        runs["adam"].learning_rate = np.array([0.1, 0.1])
        assert plot_history(runs)[-1].get_title() == "own 2 over epochs"
        runs["_sgd $"].learning_rate = np.array([0.1, 0.1, 0.05])
        rates = plot_history(runs)[-1]
        assert [line.get_ydata().tolist() for line in rates.lines] == [[0.1, 0.1], [0.1, 0.1, 0.05]]


class TestSchedule:
    def test_the_curve_is_the_rate_of_each_step(self):
        schedule = nf.schedules.Exponential(0.1, gamma=0.5, by="epoch")
        (ax,) = plot_schedule(schedule, 12, 4)
        steps, rates = ax.lines[0].get_data()
        np.testing.assert_array_equal(steps, np.arange(12))
        np.testing.assert_array_equal(rates, schedule.rates(np.arange(12), 4))
        assert (ax.get_title(), ax.get_xlabel()) == ("learning rate", "step")
        assert ax.get_ylim()[0] == 0

    def test_a_cycle_shows_the_momentum_too(self):
        schedule = nf.schedules.OneCycle(0.1, steps=50)
        rate, momentum = plot_schedule(schedule, 60)
        np.testing.assert_array_equal(rate.lines[0].get_ydata(), schedule.rates(np.arange(60)))
        np.testing.assert_array_equal(momentum.lines[0].get_ydata(), schedule.momenta(np.arange(60)))
        assert momentum.get_title() == "momentum"

    def test_given_axes_are_drawn_on(self, ax):
        assert list(plot_schedule(nf.schedules.Cosine(0.1, steps=5), 5, axes=ax)) == [ax]
        assert plt.get_fignums() == []

    @pytest.mark.parametrize("schedule", [None, 0.1, nf.schedules.ReduceOnPlateau(0.1)])
    def test_schedules_that_do_not_depend_on_time(self, schedule):
        with pytest.raises(TypeError, match="schedule must be one of nnfast.schedules that depends on time alone"):
            plot_schedule(schedule, 10)

    def test_arguments_that_do_not_fit(self, ax):
        cosine = nf.schedules.Cosine(0.1, steps=5, by="epoch")
        with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
            plot_schedule(cosine, 0, 5)
        with pytest.raises(ValueError, match="steps_per_epoch is required"):
            plot_schedule(cosine, 5)
        with pytest.raises(ValueError, match="axes must hold 2 axes, got 1"):
            plot_schedule(nf.schedules.OneCycle(0.1, steps=50), 50, axes=ax)


class TestLayerHistograms:
    """Bars are shares of values, one panel for each layer."""

    @pytest.fixture
    def net(self):
        layers = [
            nf.Rescaling(0.5),
            nf.Dense(6, "relu"),
            nf.Dropout(0.5),
            nf.Reshape((2, 3)),
            nf.Flatten(),
            nf.Residual([nf.LayerNorm(), nf.Dense(6, use_bias=False)]),
            nf.BatchNorm(),
            nf.Dense(3, "softmax"),
        ]
        net = nf.Sequential(layers, input_shape=4, seed=0)
        net.statistics["mean2"] = np.linspace(-1, 1, 6)
        return net

    X = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)

    def check(self, ax, arrays, bins=30):
        """Compare the bars of a panel with NumPy's histogram."""
        drawn = [(patch.get_data().values, patch.get_data().edges) for patch in ax.patches if patch.get_fill()]
        assert len(drawn) == len(arrays)
        limits = min(a.min() for a in arrays), max(a.max() for a in arrays)
        for (shares, edges), array in zip(drawn, arrays, strict=True):
            assert len(shares) == bins
            counts, expected = np.histogram(array, bins, limits)
            np.testing.assert_allclose(edges, expected, rtol=1e-6, atol=1e-7)
            np.testing.assert_allclose(np.sum(shares), 1)
            assert np.abs(np.cumsum(shares) - np.cumsum(counts) / array.size).max() <= 2 / array.size  # at edges

    def test_activations_are_the_outputs_of_each_layer(self, net):
        panels = plot_activation_histograms(net, self.X)
        assert [ax.get_title() for ax in panels] == [
            "0: Rescaling(0.5)", "1: Dense(6), relu", "5: Residual", "6: BatchNorm()", "7: Dense(3), softmax",
        ]  # fmt: skip
        first = self.X / 2
        second = np.maximum(first @ net.params["W1"] + net.params["b1"], 0)
        for ax, expected in ((panels[0], first), (panels[1], second), (panels[-1], net.predict(self.X))):
            self.check(ax, [expected])
            assert ax.get_xlabel() == f"mean {expected.mean(dtype=float):.2g}, std {expected.std(dtype=float):.2g}"

    @pytest.mark.parametrize("sparse", [False, True])
    def test_activations_of_data_as_they_lie(self, net, sparse):
        bytes_of = (np.abs(self.X) * 50).astype(np.uint8)
        rows = scipy.sparse.csr_array(bytes_of) if sparse else np.asfortranarray(bytes_of)
        for ax, expected in zip(
            plot_activation_histograms(net, rows), plot_activation_histograms(net, bytes_of.astype(float)), strict=True
        ):
            assert ax.get_xlabel() == expected.get_xlabel()
            for found, other in zip(ax.patches, expected.patches, strict=True):
                np.testing.assert_array_equal(found.get_data().values, other.get_data().values)

    def test_parameters_by_layer(self, net):
        net.params["b1"] = [1, 2, 3, 4, 5, 6]
        panels = plot_weight_histograms(net, bins=7)
        titles = ["1: Dense(6), relu", "5.0: LayerNorm()", "5.1: Dense(6), identity", "6: BatchNorm()"]
        assert [ax.get_title() for ax in panels] == [*titles, "7: Dense(3), softmax"]
        self.check(panels[0], [net.params["W1"], net.params["b1"]], 7)
        self.check(panels[2], [net.params["W2"]], 7)
        assert legend_of(panels[0]) == ["W1", "b1"]
        assert panels[2].get_legend() is None
        assert panels[0].get_xlabel().splitlines()[1] == "b1: mean 3.5, std 1.7"

    @pytest.mark.parametrize("training", [False, True])
    def test_gradients_by_layer(self, net, training):
        y = np.arange(50) % 3
        panels = plot_gradient_histograms(net, self.X, y, training=training)
        gradient = net.gradient(self.X, y, training=training)
        assert len(panels) == 5
        self.check(panels[0], [gradient["W1"], gradient["b1"]])
        self.check(panels[-1], [gradient["W3"], gradient["b3"]])

    def test_limits_are_the_same_in_each_panel_and_what_is_outside_is_told(self, net):
        net.params["W2"] = np.where(np.arange(36).reshape(6, 6) < 9, 5.0, 0.5)
        panels = plot_weight_histograms(net, limits=(-1, 1), bins=4)
        for ax in panels:
            np.testing.assert_allclose(ax.patches[0].get_data().edges, [-1, -0.5, 0, 0.5, 1])
        np.testing.assert_allclose(panels[2].patches[0].get_data().values, [0, 0, 0, 0.75])
        assert panels[2].get_xlabel().endswith("25.0% outside")
        assert "outside" not in panels[1].get_xlabel()

    def test_values_that_are_not_finite_are_told(self, net):
        net.params["W2"] = np.where(np.arange(36).reshape(6, 6) < 9, np.nan, 0.5)
        net.params["W3"] = np.full((6, 3), np.inf)
        net.params["b3"] = np.nan * np.ones(3)
        panels = plot_weight_histograms(net)
        assert panels[2].get_xlabel() == "W2: mean 0.5, std 0, 9 not finite"
        assert panels[4].get_xlabel() == "W3: not finite\nb3: not finite"
        panels[0].figure.canvas.draw()

    @pytest.mark.parametrize("value", [0.0, 3e20, -1e-30])
    def test_a_single_value_has_a_bar_in_the_middle(self, value):
        net = nf.Sequential([nf.Dense(3, use_bias=False)], input_shape=2, seed=0)
        net.params["W1"] = np.full((2, 3), value)
        (ax,) = plot_weight_histograms(net, bins=3)
        shares, edges, _ = ax.patches[0].get_data()
        np.testing.assert_array_equal(shares, [0, 1, 0])
        assert edges[1] < np.float32(value) < edges[2]

    def test_panels_do_not_overlap(self):
        for n in (2, 5, 12):
            net = nf.Sequential([nf.Dense(50, nf.activations.LeakyReLU(0.25)) for _ in range(n)], input_shape=4, seed=0)
            panels = plot_weight_histograms(net)
            figure = panels[0].figure
            figure.canvas.draw()
            boxes = [ax.get_tightbbox() for ax in panels]
            for i, box in enumerate(boxes):
                assert inside(figure, box)
                assert not any(box.overlaps(other) for other in boxes[i + 1 :])

    def test_networks_that_do_not_fit(self, net):
        for draw in (plot_weight_histograms, lambda net: plot_activation_histograms(net, self.X)):
            with pytest.raises(TypeError, match=r"net must be a Sequential, got \[1\] \(list\)"):
                draw([1])
            with pytest.raises(RuntimeError, match="input shape of the network is not known yet"):
                draw(nf.Sequential([nf.Dense(2)]))
        with pytest.raises(ValueError, match="net must have parameters"):
            plot_weight_histograms(nf.Sequential([nf.Dropout(0.5)], input_shape=2))
        assert plt.get_fignums() == []

    @pytest.mark.parametrize(
        ("x", "options", "error", "message"),
        [
            (np.zeros((2, 5)), {}, ValueError, r"x must have shape \(n, 4\), got \(2, 5\)"),
            (np.zeros((0, 4)), {}, ValueError, r"x must have at least one row, got shape \(0, 4\)"),
            (scipy.sparse.csr_array((2, 5)), {}, ValueError, r"x must have shape \(n, 4\), got \(2, 5\)"),
            (scipy.sparse.csr_array((0, 4)), {}, ValueError, r"x must have at least one row, got shape \(0, 4\)"),
            (None, {"bins": 0}, ValueError, "bins must be at least 1, got 0"),
            (None, {"bins": 2.5}, TypeError, "bins must be an integer, got 2.5"),
            (None, {"limits": (1, 0)}, ValueError, r"limits must be \(low, high\) with low < high, got \(1.0, 0.0\)"),
            (None, {"limits": 1}, ValueError, r"limits must have shape \(2,\), got \(\)"),
            (None, {"limits": (0, np.inf)}, ValueError, "limits must be finite"),
            (None, {"axes": [None]}, ValueError, "axes must hold 5 axes, got 1"),
        ],
    )
    def test_bad_arguments(self, net, x, options, error, message):
        with pytest.raises(error, match=message):
            plot_activation_histograms(net, self.X if x is None else x, **options)
        assert plt.get_fignums() == []


class TestConfusionMatrix:
    def test_counts_of_a_network(self, ax):
        x, y = nf.datasets.load_digits()
        net = nf.Sequential([nf.Dense(10, "softmax")], input_shape=64, seed=0)
        net.fit(x, y, epochs=2, verbose=0)
        assert plot_confusion_matrix(net, x, y, ax=ax) is ax
        predicted = net.predict_class(x)
        expected = [[np.count_nonzero((y == i) & (predicted == j)) for j in range(10)] for i in range(10)]
        np.testing.assert_array_equal(ax.images[0].get_array(), expected)
        assert [text.get_text() for text in ax.texts] == [f"{count:,}" for row in expected for count in row]
        right = np.trace(expected)
        assert ax.get_title() == f"{right:,} of 1,797 right ({right / 1797:.1%})"
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")

    X = np.zeros((6, 1))
    Y = np.array([0, 0, 0, 1, 1, 3])
    PREDICTED = np.array([0, 0, 1, 1, 3, 3])

    @pytest.mark.parametrize(
        ("normalize", "expected"),
        [
            (None, [[2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]]),
            ("true", [[2 / 3, 1 / 3, 0, 0], [0, 1 / 2, 0, 1 / 2], [0, 0, 0, 0], [0, 0, 0, 1]]),
            ("pred", [[1, 1 / 2, 0, 0], [0, 1 / 2, 0, 1 / 2], [0, 0, 0, 0], [0, 0, 0, 1 / 2]]),
            ("all", [[2 / 6, 1 / 6, 0, 0], [0, 1 / 6, 0, 1 / 6], [0, 0, 0, 0], [0, 0, 0, 1 / 6]]),
        ],
    )
    def test_by_hand(self, normalize, expected, ax):
        plot_confusion_matrix(lambda x: self.PREDICTED, self.X, self.Y, normalize=normalize, ax=ax)
        np.testing.assert_allclose(ax.images[0].get_array(), expected)
        shown = [text.get_text() for text in ax.texts]
        assert shown == [f"{value:.2f}" if normalize else str(value) for row in expected for value in row]
        assert ax.get_title() == "4 of 6 right (66.7%)"

    @pytest.mark.parametrize("normalize", [None, "true", "pred", "all"])
    def test_equal_to_scikit_learn(self, normalize, ax):
        metrics = pytest.importorskip("sklearn.metrics")
        generator = np.random.default_rng(0)
        y, predicted = generator.integers(0, 7, (2, 300))
        plot_confusion_matrix(lambda x: predicted, np.zeros((300, 1)), y, normalize=normalize, ax=ax)
        expected = metrics.confusion_matrix(y, predicted, normalize=normalize)
        np.testing.assert_allclose(ax.images[0].get_array(), expected)

    def test_classes_that_neither_occur_nor_are_predicted_are_shown(self, ax):
        net = nf.Sequential([nf.Dense(5, "softmax", initializer=0.0)], input_shape=1, seed=0)
        plot_confusion_matrix(net, [[1.0], [2.0]], [0, 1], ax=ax)
        assert ax.images[0].get_array().shape == (5, 5)

    def test_targets_as_rows_and_as_a_column(self, ax):
        plot_confusion_matrix(lambda x: self.PREDICTED, self.X, np.eye(4)[self.Y], ax=ax)
        rows = ax.images[0].get_array()
        plot_confusion_matrix(lambda x: self.PREDICTED, self.X, self.Y[:, None], ax=ax)
        np.testing.assert_array_equal(ax.images[1].get_array(), rows)
        np.testing.assert_array_equal(rows, [[2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]])

    def test_binary_outputs_and_margins(self, ax):
        x = [[-1.0], [2.0], [3.0]]
        sigmoid = nf.Sequential([nf.Dense(1, "sigmoid", initializer=[[1.0]])], input_shape=1, seed=0)
        plot_confusion_matrix(sigmoid, x, [0, 0, 1], ax=ax)
        hinge = nf.Sequential([nf.Dense(1, initializer=[[1.0]])], input_shape=1, loss="hinge", seed=0)
        plot_confusion_matrix(hinge, x, [-1, -1, 1], ax=ax)
        for image in ax.images:
            np.testing.assert_array_equal(image.get_array(), [[1, 1], [0, 1]])

    def test_names(self, ax):
        plot_confusion_matrix(lambda x: self.PREDICTED, self.X, self.Y, names=["a", "_b", "$c", "d"], ax=ax)
        labels = ["a", " _b", r"\$c", "d"]
        assert [text.get_text() for text in ax.get_xticklabels()] == labels
        assert [text.get_text() for text in ax.get_yticklabels()] == labels
        ax.figure.canvas.draw()

    def test_long_names_are_upright(self):
        names = ["a very long name of a class", "b"]
        y = np.array([0, 1])
        wide = plot_confusion_matrix(lambda x: y, y, y, names=["short", "b"])
        long = plot_confusion_matrix(lambda x: y, y, y, names=names)
        assert [ax.get_xticklabels()[0].get_rotation() for ax in (wide, long)] == [0, 90]

    @pytest.mark.parametrize("n", [20, 21, 100])
    def test_many_classes_have_a_scale_rather_than_numbers(self, n):
        y = np.arange(n)
        ax = plot_confusion_matrix(lambda x: y, y, y)
        assert len(ax.texts) == (n * n if n <= 20 else 0)
        assert len(ax.figure.axes) == (1 if n <= 20 else 2)
        ax.figure.canvas.draw()
        for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
            boxes = [label.get_window_extent() for label in labels]
            assert not any(a.overlaps(b) for a, b in pairwise(boxes))

    def test_numbers_are_readable_on_their_colour(self, ax):
        y = np.repeat([0, 1, 1], [1000, 600, 3])
        predicted = np.repeat([0, 1, 0], [1000, 600, 3])
        plot_confusion_matrix(lambda x: predicted, y, y, ax=ax)
        (image,) = ax.images
        for text, value in zip(ax.texts, np.ravel(image.get_array()), strict=True):
            paper = image.cmap(image.norm(value))[:3]
            assert contrast(matplotlib.colors.to_rgb(text.get_color()), paper) > 4.5

    @pytest.mark.parametrize(
        ("model", "y", "options", "error", "message"),
        [
            (None, [0, 1], {}, TypeError, "model must be a network, a perceptron or a function of points, got None"),
            (lambda x: [[0, 1]], [0, 1], {}, ValueError, r"the result of model must have shape \(n,\), got \(1, 2\)"),
            (lambda x: [0, -1], [0, 1], {}, ValueError, "the result of model must hold classes numbered from 0 to 999"),
            (lambda x: [0, 1], [0, 1, 2], {}, ValueError, r"y must have shape \(2,\), got \(3,\)"),
            (lambda x: [0, 1], np.eye(3), {}, ValueError, r"y must have shape \(2, n\), got \(3, 3\)"),
            (lambda x: [0, 1], [0, 0.5], {}, ValueError, "y must hold classes as whole numbers, got 0.5"),
            (lambda x: [0, 1], [0, -1], {}, ValueError, "y must hold classes numbered from 0 to 999 at most, got -1"),
            (lambda x: [0, 1], [0, 10**9], {}, ValueError, "y must hold classes numbered from 0 to 999 at most"),
            (
                lambda x: [0, 1],
                [0, 1],
                {"normalize": "rows"},
                ValueError,
                "normalize must be one of 'true', 'pred', 'a",
            ),
            (
                lambda x: [0, 1],
                [0, 1],
                {"names": ["a"]},
                ValueError,
                "names must hold 2 names, one for each class, got",
            ),
            (lambda x: [0, 1], [0, 1], {"names": "ab"}, ValueError, "names must hold 2 names, one for each class, got"),
        ],
    )
    def test_bad_arguments(self, model, y, options, error, message):
        with pytest.raises(error, match=message):
            plot_confusion_matrix(model, [[1.0], [2.0]], y, **options)
        assert plt.get_fignums() == []

    def test_no_samples(self):
        with pytest.raises(ValueError, match="x must have at least one row, got none"):
            plot_confusion_matrix(lambda x: x, [], [])
        net = nf.Sequential([nf.Dense(2, "softmax")], input_shape=1, seed=0)
        with pytest.raises(ValueError, match="x must have at least one row, got none"):
            plot_confusion_matrix(net, np.zeros((0, 1)), [])
        assert plt.get_fignums() == []

    def test_a_function_is_given_the_samples_as_they_are(self, ax):
        x = {"any": "thing"}
        plot_confusion_matrix(lambda given: [1] if given is x else [0], x, [1], ax=ax)
        np.testing.assert_array_equal(ax.images[0].get_array(), [[0, 0], [0, 1]])


class TestWorstMistakes:
    """Weights of one make the output a copy of the input, of which each sample is a picture."""

    def mistaken(self, activation="softmax", **options):
        """Return a network of 25 classes that predicts the brightest pixel, samples and classes; row 0 is right."""
        net = nf.Sequential([nf.Dense(25, activation, initializer=np.eye(25))], input_shape=25, seed=0, **options)
        x = np.zeros((5, 25), np.float32)
        x[range(5), [0, 1, 2, 3, 4]] = [9, 3, 7, 1, 5]
        return net, x, np.array([0, 10, 11, 12, 13])

    def test_the_largest_losses_come_first(self):
        net, x, y = self.mistaken()
        panels = plot_worst_mistakes(net, x, y)
        assert [ax.get_xlabel() for ax in panels] == ["row 2", "row 4", "row 1", "row 3"]
        for ax, row in zip(panels, (2, 4, 1, 3), strict=True):
            share = np.exp(x[row].max()) / np.exp(x[row]).sum()
            rest = 1 / np.exp(x[row]).sum()
            assert ax.get_title() == f"predicted {row} ({share:.1%})\ntrue {y[row]} ({rest:.1%})"
            image = ax.images[0].get_array()
            assert image.shape == (5, 5)
            assert image.argmax() == row
            np.testing.assert_allclose(image.max(), x[row].max() / 7)  # one scale for all

    def test_no_more_than_asked_for_and_unneeded_axes_are_empty(self):
        net, x, y = self.mistaken()
        assert [ax.get_xlabel() for ax in plot_worst_mistakes(net, x, y, n=2)] == ["row 2", "row 4"]
        given = Figure().subplots(2, 3)
        panels = plot_worst_mistakes(net, x, y, n=6, axes=given)
        assert list(panels) == list(given.ravel()[:4])
        for ax in given.ravel()[4:]:
            assert not ax.images
            assert not ax.get_frame_on()
            assert not len(ax.get_xticks())
        with pytest.raises(ValueError, match="axes must hold 12 axes, got 6"):
            plot_worst_mistakes(net, x, y, axes=given)

    def test_no_mistakes(self):
        net, x, _ = self.mistaken()
        (ax,) = plot_worst_mistakes(net, x, range(5))
        assert not ax.images
        assert [text.get_text() for text in ax.texts] == ["no mistakes\nin 5 samples"]

    def test_targets_as_rows_and_names(self):
        net, x, y = self.mistaken()
        panels = plot_worst_mistakes(net, x, np.eye(25)[y], names=[f"name {i}" for i in range(25)])
        assert panels[0].get_title().splitlines()[1].startswith("true name 11 (")

    @pytest.mark.parametrize(
        ("sample", "shape", "drawn"),
        [
            ((25,), None, (5, 5)),
            ((24,), (4, 6), (4, 6)),
            ((12,), (2, 2, 3), (2, 2, 3)),
            ((4, 6), None, (4, 6)),
            ((4, 6, 1), None, (4, 6)),
            ((1, 4, 6), None, (4, 6)),
            ((4, 6, 3), None, (4, 6, 3)),
            ((3, 4, 6), None, (4, 6, 3)),
            ((24,), (1, 4, 6), (4, 6)),
        ],
    )
    def test_shapes_of_pictures(self, sample, shape, drawn):
        net = nf.Sequential([nf.Flatten(), nf.Dense(2, "softmax")], input_shape=sample, seed=0)
        x = np.arange(np.prod(sample), dtype=float).reshape(1, *sample) / 100
        wrong = 1 - net.predict_class(x)
        (ax,) = plot_worst_mistakes(net, x, wrong, shape=shape)
        image = np.asarray(ax.images[0].get_array())
        assert image.shape == drawn
        pixels = np.arange(np.prod(sample)) / (np.prod(sample) - 1)
        if sample == (3, 4, 6):
            pixels = np.moveaxis(pixels.reshape(sample), 0, 2)
        np.testing.assert_allclose(image.ravel(), pixels.ravel())
        ax.figure.canvas.draw()

    @pytest.mark.parametrize(
        ("sample", "shape", "error", "message"),
        [
            (
                (13,),
                None,
                ValueError,
                r"x must hold pictures, got samples of shape \(13,\): if .*, give shape=\(height, w",
            ),
            ((4,), None, ValueError, r"x must hold pictures, got samples of shape \(4,\)"),  # not 2 x 2
            ((2, 2, 2), None, ValueError, r"x must hold pictures, got samples of shape \(2, 2, 2\)"),
            (
                (25,),
                (4, 6),
                ValueError,
                r"shape must be that of a picture with the 25 numbers of a sample, got \(4, 6\)",
            ),
            ((8,), (2, 2, 2), ValueError, r"shape must be that of a picture with the 8 numbers .*, got \(2, 2, 2\)"),
            ((25,), (5, 0), ValueError, "shape must be at least 1, got 0"),
            ((25,), 5, TypeError, "shape must be a sequence of integers, got 5"),
        ],
    )
    def test_samples_that_are_not_pictures(self, sample, shape, error, message):
        net = nf.Sequential([nf.Flatten(), nf.Dense(2, "softmax")], input_shape=sample, seed=0)
        with pytest.raises(error, match=message):
            plot_worst_mistakes(net, np.ones((1, *sample)), [0], shape=shape)
        assert plt.get_fignums() == []

    def test_one_output_has_the_probabilities_of_both_classes(self):
        net = nf.Sequential([nf.Dense(1, "sigmoid", initializer=0.0, bias_initializer=1.0)], input_shape=25, seed=0)
        (ax,) = plot_worst_mistakes(net, np.ones((2, 25)), [1, 0])
        assert ax.get_title() == "predicted 1 (73.1%)\ntrue 0 (26.9%)"

    def test_log_softmax_gives_probabilities_too(self):
        titles = []
        for activation in ("softmax", "log_softmax"):
            net, x, y = self.mistaken(activation, loss="cross_entropy")
            titles.append([ax.get_title() for ax in plot_worst_mistakes(net, x, y)])
        assert titles[0] == titles[1]
        assert "%" in titles[0][0]

    def test_margins_are_not_probabilities(self):
        net = nf.Sequential([nf.Dense(1, initializer=0.0, bias_initializer=1.0)], input_shape=25, loss="hinge", seed=0)
        (ax,) = plot_worst_mistakes(net, np.ones((2, 25)), [1, -1])
        assert ax.get_title() == "predicted 1\ntrue 0"

    def test_networks_that_do_not_fit(self):
        with pytest.raises(TypeError, match=r"net must be a Sequential, got <function"):
            plot_worst_mistakes(lambda x: x, np.ones((1, 25)), [0])
        with pytest.raises(ValueError, match="predict_class needs an output layer with"):
            plot_worst_mistakes(nf.Sequential([nf.Dense(2)], input_shape=25), np.ones((1, 25)), [0])
        labels = nf.Sequential([nf.Dense(3, "sigmoid")], input_shape=25)
        with pytest.raises(ValueError, match=r"the result of net must have shape \(1,\), got \(1, 3\)"):
            plot_worst_mistakes(labels, np.ones((1, 25)), [[0, 1, 1]])
        with pytest.raises(ValueError, match=r"x must have at least one row, got shape \(0, 25\)"):
            plot_worst_mistakes(labels, np.ones((0, 25)), [])
        net, x, y = self.mistaken()
        with pytest.raises(ValueError, match="n must be at least 1, got 0"):
            plot_worst_mistakes(net, x, y, n=0)
        with pytest.raises(ValueError, match="names must hold 25 names"):
            plot_worst_mistakes(net, x, y, names=["a"])
        assert plt.get_fignums() == []

    @pytest.mark.parametrize("n", [1, 2, 5, 12])
    def test_titles_do_not_overlap(self, n):
        x, y = nf.datasets.load_digits()
        net = nf.Sequential([nf.Dense(10, "softmax", initializer=0.01)], input_shape=64, seed=0)
        names = [f"a rather long name, {i}" for i in range(10)]
        panels = plot_worst_mistakes(net, x, y, n=n, names=names)
        figure = panels[0].figure
        figure.canvas.draw()
        boxes = [ax.get_tightbbox() for ax in panels]
        assert len(boxes) == n
        for i, box in enumerate(boxes):
            assert inside(figure, box)
            assert not any(box.overlaps(other) for other in boxes[i + 1 :])


def inside(figure, box):
    whole = figure.bbox.padded(1)
    return whole.contains(box.x0, box.y0) and whole.contains(box.x1, box.y1)


def bowl(x):
    return x[0] ** 2 + x[1] ** 2


def test_a_descent_is_seen_whole_or_between_given_corners(ax):
    descent = nf.gradient_descent(bowl, [-3.0, 4.0], steps=20)
    plot_descent(bowl, descent, ax=ax)
    view = np.transpose([ax.get_xlim(), ax.get_ylim()])
    assert (view[0] < descent.path.min(axis=0)).all()
    assert (view[1] > descent.path.max(axis=0)).all()

    plot_descent(bowl, descent, low=(-5, -6), high=(7, 8), ax=ax)
    assert (ax.get_xlim(), ax.get_ylim()) == ((-5, 7), (-6, 8))
    plot_descent(bowl, descent, high=(7, 8), ax=ax)
    assert (ax.get_xlim(), ax.get_ylim()) == ((view[0, 0], 7), (view[0, 1], 8))


@pytest.mark.parametrize("corners", [{"low": (1, 1), "high": (2, 0)}, {"low": (1, 1, 1)}, {"high": "far"}])
def test_corners_that_do_not_fit_are_refused(corners, ax):
    descent = nf.gradient_descent(bowl, [-3.0, 4.0], steps=20)
    with pytest.raises((TypeError, ValueError), match="^(low|high) must"):
        plot_descent(bowl, descent, ax=ax, **corners)
    with pytest.raises((TypeError, ValueError), match="^(low|high) must"):
        plot_gradient_field(bowl, ax=ax, **corners)


def test_a_long_verdict_on_a_gradient_takes_lines(ax):
    report = nf.check_gradient(bowl, lambda x: 4 * x, [3.0, 4.0])
    plot_gradient_report(report, axes=[ax])
    lines = ax.get_title().splitlines()
    assert " ".join(lines) == f"x: {report['x'].why}"
    assert len(lines) > 1
    assert max(map(len, lines)) <= TITLE_WIDTH
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("entry", "")


def test_pictures_under_any_error_state():
    x = np.array([[1e-300, 1e300] * 13, [-1e-310, 1.0] * 13])[:, :25]
    net = nf.Sequential([nf.Dense(3, "softmax", initializer=1e-300)], input_shape=25, dtype="float64", seed=0)
    wrong = (net.predict_class(x) + 1) % 3
    history = History([1.0], loss=[1e308, np.inf, np.nan], val_own=[1e-310])
    history.step_loss = np.array([1e308, 1e-310] * 100)
    with np.errstate(all="raise"):
        plot_history(history)
        plot_history({"a": history, "b": history})
        plot_activation_histograms(net, x)
        plot_weight_histograms(net, limits=(-1e308, 1e308))
        plot_gradient_histograms(net, x, wrong)
        plot_worst_mistakes(net, x, wrong)
        for normalize in (None, "true", "pred", "all"):
            plot_confusion_matrix(net, x, wrong, normalize=normalize)


def test_predictions_and_residuals_are_points(ax):
    y, predicted = np.array([1.0, 4.0, 2.0]), np.array([1.5, 3.0, 2.0])
    assert plot_predictions(y, predicted, ax=ax) is ax
    diagonal, points = ax.lines
    assert diagonal.get_xydata().tolist() == [[1, 1], [4, 4]]
    assert points.get_xydata().tolist() == [[1, 1.5], [4, 3], [2, 2]]
    below = Figure().subplots()
    plot_residuals(y, predicted, ax=below)
    zero, points = below.lines
    assert set(zero.get_ydata()) == {0}
    assert points.get_xydata().tolist() == [[1.5, -0.5], [3, 1], [2, 0]]
    many = Figure().subplots()
    plot_residuals(np.arange(2000.0), np.zeros(2000), ax=many)
    assert many.lines[-1].get_alpha() < points.get_alpha()
    for draw in (plot_predictions, plot_residuals):
        assert draw(y, predicted).figure is plt.gcf()


def test_the_most_important_columns_are_at_the_top(ax):
    names = ["a", "$b$", "_c", "d" * 30]
    assert plot_importances([0.1, 0.4, 0.2, 0.3], names, n=3, ax=ax) is ax
    assert [bar.get_width() for bar in ax.patches] == [0.4, 0.3, 0.2]
    assert [label.get_text() for label in ax.get_yticklabels()] == [r"\$b\$", "d" * 21 + "...", " _c"]
    bottom, top = ax.get_ylim()
    assert bottom > top
    assert len(plot_importances([0.5, 0.5], ["a", "b"]).patches) == 2


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plot_predictions([], []), "y must have at least one value, got none"),
        (lambda: plot_predictions([1, 2], [1]), r"predictions must have shape \(2,\), got \(1,\)"),
        (lambda: plot_residuals([[1]], [1]), "y must have 1 dimension"),
        (lambda: plot_residuals([1.0], [np.nan]), "predictions must be finite"),
        (lambda: plot_importances([0.5, 0.5], ["a"]), "names must hold 2 names, one for each importance, got "),
        (lambda: plot_importances([0.5], "a"), "names must hold 1 names, one for each importance, got 'a'"),
        (lambda: plot_importances([], []), "names must hold 0 names"),
        (lambda: plot_importances([0.5], ["a"], n=0), "n must be at least 1, got 0"),
    ],
)
def test_estimates_and_importances_that_do_not_fit(draw, message):
    with pytest.raises((TypeError, ValueError), match=message):
        draw()


def test_public_names():
    assert nf.plotting.__all__ == [
        "COLORS", "MARKERS", "plot_activation_histograms", "plot_activations", "plot_confusion_matrix",
        "plot_decision_boundary", "plot_descent", "plot_gradient_field", "plot_gradient_histograms",
        "plot_gradient_report", "plot_history", "plot_importances", "plot_predictions", "plot_residuals",
        "plot_schedule", "plot_weight_histograms", "plot_worst_mistakes",
    ]  # fmt: skip
    for name in nf.plotting.__all__:
        assert getattr(nf.plotting, name) is not None


def test_matplotlib_is_imported_when_something_is_drawn():
    code = "import sys, nnfast; nnfast.plotting.plot_history; print('matplotlib' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-P", "-c", code], text=True) == "False\n"


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot_decision_boundary(AND, CORNERS, AND(CORNERS)),
        lambda: plot_activations(),
        lambda: plot_history(History([1.0], loss=[1.0])),
        lambda: plot_confusion_matrix(lambda x: [0], [[1]], [0]),
        lambda: plot_weight_histograms(nf.Sequential([nf.Dense(1)], input_shape=1)),
        lambda: plot_predictions([1], [1]),
        lambda: plot_residuals([1], [1]),
        lambda: plot_importances([1], ["a"]),
    ],
    ids=[
        "decision boundary",
        "activations",
        "history",
        "confusion matrix",
        "weights",
        "predictions",
        "residuals",
        "importances",
    ],
)
def test_without_matplotlib_the_extra_is_named(draw, monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r"matplotlib\S* is needed for this: pip install 'nnfast\[plot\]'"):
        draw()


def test_colours_differ_also_without_hue(ax):
    """Markers distinguish classes where colours cannot."""
    plot_decision_boundary(nearest_centre, CENTRES, [0, 1, 2], resolution=5, ax=ax)
    shapes = [a.get_paths()[0].vertices.tobytes() for a in ax.collections if isinstance(a, PathCollection)]
    assert len(set(shapes)) == 3


def test_functions_that_change_their_argument_are_drawn_as_they_are():
    def f(point):
        point[0] = abs(point[0])
        return point[0] + point[1]

    def model(points):
        points[:] = 0
        return np.arange(len(points)) % 2

    ax = Figure().subplots()
    with pytest.raises(ValueError, match="f must not change its argument"):
        nf.plotting.plot_gradient_field(f, ax=ax)
    x = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    nf.plotting.plot_decision_boundary(model, x, [0, 1, 1], ax=Figure().subplots())
    assert x.tolist() == [[0, 1], [1, 0], [2, 2]]


def test_undecided_entries_are_marked():
    report = nf.check_gradient(lambda x: float(x[0] > 0) + x[1] ** 2, [5.0, 4.0], [0.0, 2.0])
    (ax,) = report.plot([Figure().subplots()])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["undecided"]
    assert ax.get_title().replace("\n", " ") == "x: undecided: f jumps at [0]"
