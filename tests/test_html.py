"""What networks and histories look like in a notebook: tables and charts, well-formed and escaped."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
from contrast import contrast

import nnfast as nf
from nnfast import _html

NAN, INF = np.nan, np.inf


class History(dict):
    """A stand-in for what `Sequential.fit` returns."""

    def __init__(self, step_loss, directions=None, **values):
        super().__init__(values)
        self.step_loss = np.asarray(step_loss)
        self.directions = {name: "lower" if "loss" in name else "higher" for name in values} | (directions or {})


def parse(html):
    """Return the element that `html` is: as XML, so that nothing is left open or unescaped."""
    assert "<script" not in html
    return ElementTree.fromstring(html)


def cells_of(element):
    return [[cell.text or "" for cell in row] for row in element.iter("tr")]


def heading_of(element):
    return element[0].text


def charts_of(element):
    return list(element.iter("svg"))


def texts_of(svg):
    return ["".join(text.itertext()) for text in svg.iter("text")]


def curves_of(svg):
    """Return the points of the curves, by colour: a list of lines and dots."""
    curves = {}
    for part in svg:
        if part.tag == "polyline":
            points = [tuple(map(float, point.split(","))) for point in part.get("points").split()]
            curves.setdefault(part.get("stroke"), []).append(points)
        elif part.tag == "circle":
            curves.setdefault(part.get("fill"), []).append([(float(part.get("cx")), float(part.get("cy")))])
    return curves


class TestNetwork:
    def test_the_table_is_that_of_the_summary(self, capsys):
        layers = [nf.Dense(50, "relu"), nf.Residual([nf.LayerNorm(), nf.Dense(50)]), nf.Dense(3, "softmax")]
        net = nf.Sequential(layers, input_shape=(28, 28), seed=0)
        element = parse(net._repr_html_())
        assert heading_of(element) == "input (n, 28, 28), loss cross_entropy, float32, 42,053 parameters"
        assert cells_of(element) == [
            ["layer", "activation", "output", "parameters"],
            ["Dense(50)", "relu", "(n, 50)", "39,250"],
            ["Residual", "", "(n, 50)", "2,650"],
            ["LayerNorm()", "", "(n, 50)", "100"],
            ["Dense(50)", "identity", "(n, 50)", "2,550"],
            ["Dense(3)", "softmax", "(n, 3)", "153"],
        ]
        net.summary()
        printed = capsys.readouterr().out.splitlines()
        assert printed[0] == heading_of(element)
        assert [line.split()[0] for line in printed[3:]] == [row[0] for row in cells_of(element)[1:]]

    def test_layers_within_others_are_indented_and_numbers_are_on_the_right(self):
        net = nf.Sequential([nf.Residual([nf.Residual([nf.Dense(2)])])], input_shape=2, seed=0)
        styles = [row[0].get("style") for row in parse(net._repr_html_()).iter("tr")]
        assert styles[1:] == [
            "text-align:left", "padding-left:2em;text-align:left", "padding-left:3em;text-align:left",
        ]  # fmt: skip
        assert {row[3].get("style") for row in parse(net._repr_html_()).iter("tr")} == {"text-align:right"}

    def test_before_it_is_built(self):
        element = parse(nf.Sequential([nf.Dense(3)])._repr_html_())
        assert heading_of(element) == "input not known yet, loss mean_squared_error, float32"
        assert cells_of(element)[1] == ["Dense(3)", "identity", "(n, 3)", "?"]

    @pytest.mark.parametrize(("n", "rows"), [(60, 60), (61, 61), (62, 61), (1000, 61)])
    def test_a_long_table_is_cut_in_the_middle(self, n, rows):
        net = nf.Sequential([nf.Dense(i % 7 + 1) for i in range(n)], input_shape=1, seed=0)
        cells = cells_of(parse(net._repr_html_()))[1:]
        assert len(cells) == rows
        expected = [f"Dense({i % 7 + 1})" for i in range(n)]
        if n > rows:
            expected[40:-20] = [f"... {n - 60:,} more layers"]
        assert [row[0] for row in cells] == expected

    def test_what_it_shows_is_escaped(self):
        net = nf.Sequential([nf.Dense(1)], input_shape=1, loss=nf.losses.Quantile([0.5]), seed=0)

        class Strange(nf.Sequential):
            _loss_text = "<b>&amp;"

        strange = Strange([nf.Dense(1)], input_shape=1, seed=0)
        assert "Quantile" in heading_of(parse(net._repr_html_()))
        assert "loss <b>&amp;, float32" in heading_of(parse(strange._repr_html_()))


class TestHistory:
    def test_a_training(self):
        x, y = nf.datasets.load_digits()
        net = nf.Sequential([nf.Dense(10, "softmax")], input_shape=64, seed=0)
        history = net.fit(x, y, epochs=3, validation_data=(x[:99], y[:99]), verbose=0)
        element = parse(history._repr_html_())
        best = 1 + int(np.argmin(history["val_loss"]))
        assert heading_of(element) == f"3 epochs, 171 steps; best epoch by validation loss: {best}"
        header, *rows = cells_of(element)
        assert header == ["", "last", "best", "in epoch"]
        assert [row[0] for row in rows] == ["loss", "validation loss", "accuracy", "validation accuracy"]
        for row, (name, values) in zip(rows, ((n, history[n]) for n in ("loss", "val_loss", "accuracy")), strict=False):
            choose = np.argmax if name == "accuracy" else np.argmin
            assert row[1:] == [f"{values[-1]:.4g}", f"{values[choose(values)]:.4g}", str(1 + choose(values))]
        assert [svg[0].text for svg in charts_of(element)] == ["loss over epochs", "accuracy over epochs"]

    def test_best_values_by_the_direction_of_the_metric(self):
        values = [2.0, NAN, 3.0, 1.0, 1.5, 3.0]
        directions = {"accuracy": "higher", "val_accuracy": "higher", "own": "lower", "f1_class_12": "higher"}
        history = History([1.0], directions, loss=values, **dict.fromkeys(directions, values))
        rows = {row[0]: row[2:] for row in cells_of(parse(_html.history_html(history)))[1:]}
        assert rows == {
            "loss": ["1", "4"], "accuracy": ["3", "3"], "validation accuracy": ["3", "3"], "own": ["1", "4"],
            "f1 class 12": ["3", "3"],
        }  # fmt: skip

    def test_the_curves_are_the_values(self):
        history = History([1.0], loss=[5.0, 3.0, 1.0], val_loss=[4.0, 4.0, 3.0])
        (svg,) = charts_of(parse(_html.history_html(history)))
        curves = curves_of(svg)
        assert list(curves) == list(_html.COLORS.values())
        (training,), (validation,) = curves.values()
        (left, top), (middle, half), (right, bottom) = training
        assert middle == (left + right) / 2
        assert half == (top + bottom) / 2
        quarter = (bottom - top) / 4
        assert validation == [(left, top + quarter), (middle, top + quarter), (right, half)]
        assert texts_of(svg) == ["loss", "5", "1", "1", "epoch", "3", "\u25a0 training \u25a0 validation"]
        width, height = float(svg.get("width")), float(svg.get("height"))
        assert 0 < left < right < width
        assert 0 < top < bottom < height

    def test_lines_end_where_values_are_not_finite(self):
        history = History([1.0], loss=[NAN, 5.0, 3.0, INF, 2.0, -INF, NAN, 1.0, 1.0])
        (svg,) = charts_of(parse(_html.history_html(history)))
        (parts,) = curves_of(svg).values()
        assert [len(part) for part in parts] == [2, 1, 2]
        assert texts_of(svg) == ["loss", "5", "1", "1", "epoch", "9"]

    def test_one_epoch_shows_its_steps(self):
        element = parse(_html.history_html(History([3.0, 2.0], loss=[2.5], accuracy=[0.5])))
        assert heading_of(element) == "1 epoch, 2 steps; best epoch by loss: 1"
        (svg,) = charts_of(element)
        assert texts_of(svg) == ["loss", "3", "2", "1", "step", "2"]

    def test_one_step_is_a_point(self):
        (svg,) = charts_of(parse(_html.history_html(History([3.0], loss=[3.0]))))
        assert [len(part) for part in curves_of(svg)[_html.COLORS["training"]]] == [1]
        assert texts_of(svg) == ["loss", "3", "", "", "step", "1"]

    @pytest.mark.parametrize(
        ("history", "heading"),
        [
            (History([], loss=[]), "0 epochs, 0 steps"),
            (History([]), "0 epochs, 0 steps"),
            (History([NAN], loss=[NAN]), "1 epoch, 1 step"),
        ],
    )
    def test_nothing_to_draw(self, history, heading):
        element = parse(_html.history_html(history))
        assert heading_of(element) == heading
        assert not charts_of(element)

    def test_a_history_before_any_training(self):
        assert heading_of(parse(nf.History(5)._repr_html_())) == "0 epochs, 0 steps"

    @pytest.mark.parametrize("value", [0.0, 1e308, -1e-320])
    def test_constant_values_are_in_the_middle(self, value):
        (svg,) = charts_of(parse(_html.history_html(History([1.0], loss=[value, value]))))
        ((points,),) = curves_of(svg).values()
        assert points[0][1] == points[1][1] == _html.TOP + (_html.HEIGHT - _html.TOP - _html.BOTTOM) / 2

    def test_values_whose_difference_is_infinite(self):
        with np.errstate(all="raise"):
            (svg,) = charts_of(parse(_html.history_html(History([1.0], loss=[1.5e308, -1.5e308, 0.0]))))
        ((points,),) = curves_of(svg).values()
        assert points[2][1] == (points[0][1] + points[1][1]) / 2

    def test_long_curves_are_thinned_and_keep_their_ends(self):
        losses = np.linspace(3, 1, 100_000)
        html = _html.history_html(History(losses, loss=losses))
        assert len(html) < 10_000
        ((points,),) = curves_of(charts_of(parse(html))[0]).values()
        assert len(points) == _html.MOST_POINTS
        assert points[0] == (_html.LEFT, _html.TOP)
        assert points[-1] == (_html.WIDTH - _html.RIGHT, _html.HEIGHT - _html.BOTTOM)

    def test_names_are_escaped_and_short_in_titles(self):
        name = '<script>alert("&")</script>' + "very " * 20
        element = parse(_html.history_html(History([1.0], loss=[1, 2], **{name: [1, 2]})))
        assert cells_of(element)[2][0] == name
        title = texts_of(charts_of(element)[1])[0]
        assert title == '<script>alert("&")</scrip...'
        assert len(title) == _html.MOST_LETTERS

    def test_colours_are_seen_on_light_and_dark_pages(self):
        """With the contrast that WCAG 2 asks of graphics; text and frames have the colour of the page's text."""
        for color in _html.COLORS.values():
            channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
            assert contrast(channels, (1, 1, 1)) >= 3
            assert contrast(channels, (17 / 255,) * 3) >= 3
        html = _html.history_html(History([1.0], loss=[1, 2], val_loss=[1, 2]))
        used = {element.get(kind) for element in parse(html).iter() for kind in ("fill", "stroke")}
        assert used == {None, "none", "currentColor", *_html.COLORS.values()}
        assert "background" not in html


def test_html_is_imported_when_asked_for():
    code = "import sys, nnfast; print('nnfast._html' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-P", "-c", code], text=True) == "False\n"


def test_html_needs_no_matplotlib():
    code = """if True:
        import sys
        sys.modules["matplotlib"] = None
        import nnfast as nf
        net = nf.Sequential([nf.Dense(2, "softmax")], input_shape=2, seed=0)
        history = net.fit([[0, 1], [1, 0]], [0, 1], epochs=2, verbose=0)
        print(net._repr_html_()[:5], history._repr_html_()[:5])
    """
    assert subprocess.check_output([sys.executable, "-P", "-c", code], text=True) == "<div> <div>\n"
