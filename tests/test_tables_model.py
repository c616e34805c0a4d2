"""Models for tables: held rows, temperature, targets, weights, importances, and files."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

import nnfast as nf
import nnfast.tables
from nnfast import LoadError
from nnfast.tables import Recipe, TableModel, fit_table, training
from nnfast.tables.targets import Classes, Numbers
from nnfast.tables.training import FEWEST_ROWS, MOST_TEMPERATURE, PRIOR_ROWS, Best, Samples, calibrate, held_parts

RANDOM = np.random.default_rng(16)
N = 120
X = RANDOM.standard_normal((N, 3))
REAL = X[:, 0] + X[:, 1] ** 2
CODES = np.digitize(REAL, [0.3, 1.5])
WEIGHTS = RANDOM.uniform(0.5, 2, N)
TABLE = {
    "size": [None if i % 7 == 0 else float(x) for i, x in enumerate(X[:, 0])],
    "colour": [None if i % 11 == 0 else ["red", "green", "blue"][i % 3] for i in range(N)],
    "street": [f"street {i % 40}" for i in range(N)],
    "since": [np.datetime64("2020-01-01") + 13 * i for i in range(N)],
    "sold": [i % 4 == 0 for i in range(N)],
    "rooms": [i % 5 for i in range(N)],
    "country": ["CH"] * N,
}
QUICK = Recipe(hidden=(8,), epochs=4, learning_rate=0.02)


def quick(x=X, y=REAL, **options):
    return fit_table(x, y, **{"recipe": QUICK, "seed": 0, "verbose": 0, **options})


def parameters(model):
    return [member.net.flat_params.tobytes() for member in model.members]


def outputs(model, x):
    return model.predict(x) if model.classes is None else model.predict_proba(x)


# ---- held rows

label_counts = st.lists(st.integers(1, 30), min_size=1, max_size=12)


@given(label_counts, st.booleans(), st.floats(0.01, 0.5), st.integers(1, 8), st.integers(0, 2**32))
def test_held_parts_are_disjoint_and_leave_some_of_each_class(counts, is_classes, fraction, count, seed):
    random = np.random.default_rng(seed)
    n = sum(counts)
    classes = random.permutation(np.repeat(np.arange(len(counts)), counts)) if is_classes else None
    parts = held_parts(classes, n, fraction, count, random)
    assert len(parts) == count
    n_parts = max(2, round(1 / fraction))
    if n < FEWEST_ROWS or (is_classes and max(counts) == 1):
        assert all(len(part) == 0 for part in parts)
        return
    assert all(0 < len(part) < n for part in parts)
    together = np.concatenate(parts[:n_parts])
    if n >= n_parts and not is_classes:
        assert len(np.unique(together)) == len(together)
        assert all(n // n_parts <= len(part) <= -(-n // n_parts) for part in parts)
    if not is_classes:
        return
    for label, total in enumerate(counts):
        for part in parts:
            held = int((classes[part] == label).sum())
            assert held < total or total == 0
            assert held <= -(-total // min(n_parts, sum(c for c in counts if c > 1)))
            if total == 1:
                assert held == 0


@pytest.mark.parametrize("classes", [None, CODES])
def test_the_first_parts_hold_every_row_once(classes):
    parts = held_parts(classes, N, 0.2, 5, np.random.default_rng(0))
    assert np.sort(np.concatenate(parts)).tolist() == list(range(N))
    more = held_parts(classes, N, 0.2, 7, np.random.default_rng(0))
    assert [part.tolist() for part in more[:5]] == [part.tolist() for part in parts]
    assert not np.intersect1d(more[5], more[6]).size


@pytest.mark.parametrize("n", range(2, 13))
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_tiny_tables(n, task):
    y = np.arange(n) % 2 if task == "classification" else X[:n, 0]
    model = quick(X[:n], y, task=task, n_members=3)
    assert outputs(model, X[:n]).shape[0] == n
    assert np.isfinite(outputs(model, X)).all()
    assert (model.held is not None) == (n >= FEWEST_ROWS)
    assert len(model.held_scores) == (3 if n >= FEWEST_ROWS else 0)
    if n < FEWEST_ROWS:  # no epoch is chosen, and no temperature
        assert [len(member.history["loss"]) for member in model.members] == [QUICK.epochs] * 3
        assert [member.factor for member in model.members] == [1.0] * 3


@pytest.mark.parametrize("counts", [(30, 1), (2, *[1] * 9), (11, 2, 1, 1), (5, 5)])
def test_rare_classes(counts):
    y = np.repeat(np.arange(len(counts)), counts)
    model = quick(X[: len(y)], y, task="classification", n_members=4)
    assert model.classes.tolist() == list(range(len(counts)))
    probabilities = model.predict_proba(X)
    assert probabilities.shape == (N, len(counts))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


# ---- temperature


def raw_network(n_classes, seed=0):
    layers = [nf.Dense(n_classes, activation="softmax")]
    return nf.Sequential(layers, input_shape=3, seed=seed, loss="cross_entropy")


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("size", [0.3, 3, 30])
def test_the_temperature_minimizes_the_log_loss(n_classes, weights, size):
    net = raw_network(n_classes)
    net.params["W1"] *= np.float32(size)
    rows = X.astype(np.float32)
    noisy = net.predict(rows * np.float32(1 / size)) + 0.3 * RANDOM.uniform(size=(N, n_classes))
    y = noisy.argmax(axis=1)
    z = (rows @ net.params["W1"] + net.params["b1"]).astype(np.float64)
    net_before = net.copy()
    factor = calibrate(net, Samples(rows, y, weights))

    def log_loss(logarithm):
        scaled = np.exp(logarithm) * z
        scaled -= scaled.max(axis=1, keepdims=True)
        losses = np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(N), y]
        return np.average(losses, weights=weights)

    most = np.log(MOST_TEMPERATURE)
    best = minimize_scalar(log_loss, bounds=(-most, most), method="bounded", options={"xatol": 1e-8}).x
    assert np.log(factor) == pytest.approx(best * N / (N + PRIOR_ROWS), abs=2e-3)
    np.testing.assert_allclose(net.params["W1"], net_before.params["W1"] * factor, rtol=1e-6)
    np.testing.assert_allclose(net.params["b1"], net_before.params["b1"] * factor, rtol=1e-6)


def test_without_held_rows_the_temperature_is_1():
    net = raw_network(2)
    before = net.flat_params.copy()
    assert calibrate(net, Samples(np.empty((0, 3), np.float32), np.empty(0, np.int64), None)) == 1.0
    np.testing.assert_array_equal(net.flat_params, before)


# ---- targets


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (np.array(["b", "a"])[np.arange(N) % 2], "classification"),
        (np.arange(N) % 2 == 0, "classification"),
        (np.arange(N) % 20, "classification"),
        (np.arange(N) % 21, "regression"),
        (np.arange(N) % 2 * 1.0, "regression"),
        (np.array(["b", "a"], object)[np.arange(N) % 2], "classification"),
    ],
)
def test_the_task_is_told_from_the_targets(y, task):
    model = quick(y=y)
    assert model.task == task
    assert model.predict(X).dtype == (y.dtype if task == "classification" else np.float64)
    assert (model.classes is None) == (task == "regression")


def test_numbers_as_objects():
    y = np.array([Fraction(i, 7) for i in range(N)], object)
    assert parameters(quick(y=y, task="regression")) == parameters(quick(y=y.astype(float)))


def test_quantiles_are_a_regression():
    assert quick(y=np.arange(N) % 3, quantiles=[0.5]).task == "regression"


@pytest.mark.parametrize("value", [0.0, -7.5, 1e300, 1e-300])
def test_a_constant_target_is_predicted(value):
    model = quick(y=np.full(N, value), task="regression")
    assert (model.predict(X) == value).all()


@pytest.mark.parametrize("size", [1e300, 4e307, 1e-300, 1e8, 1e-40])
@pytest.mark.parametrize("quantiles", [None, [0.1, 0.5, 0.9]])
def test_huge_and_tiny_targets(size, quantiles):
    y = size * (REAL / abs(REAL).max())
    with np.errstate(all="raise", under="ignore"):
        model = quick(y=y, quantiles=quantiles)
        predicted = model.predict(X)
        assert (model.importances(repeats=1) >= 0).all()
    assert y.min() <= predicted.min() <= predicted.max() <= y.max()
    unit = quick(y=y / size, quantiles=quantiles)
    np.testing.assert_allclose(predicted / size, unit.predict(X), atol=1e-3)
    for name, error in model.held_scores[0].items():
        assert error / size == pytest.approx(unit.held_scores[0][name], rel=1e-3)


def test_predictions_lie_within_the_range_of_the_targets():
    target = Numbers.of(np.array([1.0, 2.0, 4.0]))
    assert target.response(np.array([[-100.0], [0.0], [100.0]])).tolist() == [[1.0], [target.mean], [4.0]]


def test_quantiles_cover_about_their_share_and_never_cross():
    x = RANDOM.uniform(size=(1500, 1))
    y = x[:, 0] + (0.1 + x[:, 0]) * RANDOM.standard_normal(1500)
    recipe = Recipe(hidden=(32, 32), epochs=40, learning_rate=0.01)
    model = fit_table(x[:1000], y[:1000], quantiles=[0.9, 0.1, 0.5], recipe=recipe, seed=0, verbose=0)
    assert model.target.quantiles == (0.1, 0.5, 0.9)
    found = model.predict_quantiles(x[1000:])
    assert found.shape == (500, 3)
    assert (np.diff(found, axis=1) >= 0).all()
    np.testing.assert_array_equal(model.predict(x[1000:]), found[:, 1])
    below = (y[1000:, np.newaxis] < found).mean(axis=0)
    np.testing.assert_allclose(below, [0.1, 0.5, 0.9], atol=0.06)
    width = found[:, 2] - found[:, 0]
    assert width[x[1000:, 0] > 0.8].mean() > 2 * width[x[1000:, 0] < 0.2].mean()


# ---- weights, threads, seeds


def test_a_row_of_weight_0_counts_as_absent():
    weights = np.where(np.arange(N) % 5 == 0, 0.0, WEIGHTS)
    used = weights > 0
    wild = X.copy()
    wild[~used] = 1e30
    for y, odd in ((REAL, 1e300), (CODES, 9)):
        expected = quick(X[used], y[used], sample_weight=weights[used])
        model = quick(wild, np.where(used, y, odd), sample_weight=weights)
        assert parameters(model) == parameters(expected)
        assert parameters(model) != parameters(quick(X[used], y[used]))


def test_most_rows_of_weight_0():
    weights = np.zeros(N)
    weights[:12] = 1
    assert len(quick(sample_weight=weights).held.values) == 3  # of 12


@pytest.mark.parametrize("y", [REAL, CODES])
def test_only_ratios_of_weights_matter(y):
    expected = parameters(quick(y=y, sample_weight=WEIGHTS))
    for factor in (2.0**-900, 2.0**900, 0.25):
        assert parameters(quick(y=y, sample_weight=factor * WEIGHTS)) == expected
    assert parameters(quick(y=y, sample_weight=np.full(N, 7.0))) == parameters(quick(y=y))
    tiny = np.where(np.arange(N) % 3 == 0, 1e-200, 1e100)
    assert parameters(quick(y=y, sample_weight=tiny)) == parameters(quick(y=y, sample_weight=1.0 * (tiny > 1)))


def test_weights_count_in_the_choice_of_the_epoch_and_in_scores():
    heavy = np.where(REAL > 1, 100.0, 1.0)
    plain, weighted = quick(), quick(sample_weight=heavy)
    assert abs(weighted.predict(X) - REAL)[REAL > 1].mean() < abs(plain.predict(X) - REAL)[REAL > 1].mean()
    rows = held_parts(None, N, 0.2, 1, np.random.default_rng(0))[0]
    difference = weighted.predict(X[rows]) - REAL[rows]
    scores = weighted.held_scores[0]
    assert scores["root_mean_squared_error"] == pytest.approx(np.average(difference**2, weights=heavy[rows]) ** 0.5)
    assert scores["mean_absolute_error"] == pytest.approx(np.average(abs(difference), weights=heavy[rows]))


def test_class_weight_multiplies_the_weights_of_rows():
    labels = np.array(["a", "b", "c"])[CODES]
    model = quick(y=labels, sample_weight=WEIGHTS, class_weight={"b": 3})
    assert parameters(model) == parameters(quick(y=labels, sample_weight=WEIGHTS * np.where(labels == "b", 3, 1)))
    balanced = quick(y=labels, class_weight="balanced")
    rows = N / (3 * np.bincount(CODES)[CODES])
    assert parameters(balanced) == parameters(quick(y=labels, sample_weight=rows))
    assert parameters(balanced) != parameters(quick(y=labels))


@pytest.mark.parametrize("y", [REAL, CODES])
def test_the_number_of_threads_changes_no_bits(y):
    one, two = (quick(TABLE, y, n_members=3, n_threads=n) for n in (1, 2))
    assert parameters(one) == parameters(two)
    assert outputs(one, TABLE).tobytes() == outputs(two, TABLE).tobytes()
    assert one.held_scores == two.held_scores


def test_the_seed_determines_everything():
    assert parameters(quick()) == parameters(quick())
    assert parameters(quick(seed=1)) != parameters(quick())
    assert parameters(quick(seed=None)) != parameters(quick(seed=None))
    assert parameters(quick(seed=np.random.default_rng(0))) == parameters(quick())


def test_members_hold_back_different_rows_and_are_averaged():
    model = quick(n_members=3, recipe=QUICK._replace(linear=False))
    assert len(set(parameters(model))) == 3
    raw = model.prepared(X)
    single = [TableModel(model.preparation, model.target, [member]) for member in model.members]
    average = np.mean([member.outputs(raw) for member in single], axis=0)
    np.testing.assert_allclose(model.outputs(raw), average, rtol=1e-12)


@pytest.mark.parametrize("y", [REAL, CODES])
def test_a_row_has_the_same_bits_alone(y):
    model = quick(TABLE, y, n_members=2)
    together = outputs(model, TABLE)
    for i in range(0, N, 17):
        alone = outputs(model, {name: values[i : i + 1] for name, values in TABLE.items()})
        assert alone.tobytes() == together[i : i + 1].tobytes()


def test_max_seconds_ends_the_training():
    recipe = Recipe(hidden=(64, 64), epochs=100_000, patience=100_000)
    model = fit_table(X, REAL, recipe=recipe, max_seconds=0.3, n_members=2, seed=0, verbose=0)
    assert max(len(member.history["loss"]) for member in model.members) < 100_000
    assert np.isfinite(model.predict(X)).all()


# ---- tables


def interrupted_after(epochs, monkeypatch):
    """Let Ctrl-C come after so many looks at epochs, of all networks together."""
    look, looks = Best.look, []

    def counted(best, net):
        look(best, net)
        looks.append(net)
        if len(looks) == epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(Best, "look", counted)


@pytest.mark.parametrize("y", [REAL, CODES], ids=["numbers", "classes"])
def test_ctrl_c_returns_what_was_learned(y, monkeypatch):
    epochs = Recipe(hidden=(8,), epochs=50, learning_rate=0.02)
    interrupted_after(20, monkeypatch)
    with pytest.warns(
        UserWarning, match=r"^training was interrupted after \d+ epochs: the model is what was learned until then$"
    ):
        model = quick(y=y, n_members=2, recipe=epochs, n_threads=1)
    assert model.interrupted
    for member in model.members:
        assert len(member.held_losses) == len(member.history["loss"])
        assert 0 < len(member.held_losses) < 50
    assert len(model.held_scores) == len(model.members)
    assert outputs(model, X).std() > 0
    assert not quick().interrupted


def test_ctrl_c_before_the_end_of_an_epoch_leaves_networks_out(monkeypatch):
    first = []

    def fit_many(networks, *args, **options):
        networks[1].fit(args[0], args[1], epochs=2, optimizer=options["optimizer"][1], verbose=0)
        first.append(networks[1])
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit_many", fit_many)
    message = "after 2 epochs: the model is what was learned until then, without 2 networks that had not finished one$"
    with pytest.warns(UserWarning, match=message):
        model = quick(n_members=3)
    assert [member.net for member in model.members] == first

    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit_many", stopped)
    with pytest.raises(KeyboardInterrupt):
        quick()


def test_an_epoch_whose_callback_ctrl_c_prevented_counts(monkeypatch):
    """The averages are compared all the same, and kept instead of the last weights."""
    whole = quick(recipe=QUICK._replace(epochs=1))

    def interrupted(best, net):
        raise KeyboardInterrupt

    monkeypatch.setattr(Best, "look", interrupted)
    with pytest.warns(UserWarning, match="^training was interrupted after 1 epoch: the model"):
        model = quick()
    assert len(model.members[0].held_losses) == len(whole.members[0].held_losses) == 1
    assert model.response(model.prepared(X)).std() > 0


@pytest.fixture
def handled():
    """Let SIGINT raise KeyboardInterrupt, as it may not in the background; yield what sets other handlers."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield lambda handler: signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda number, frame: None])
def test_a_program_that_handles_ctrl_c_itself_still_does(handler, handled, monkeypatch):
    handled(handler)
    restore = Best.restore

    def interrupted(*args):
        assert signal.getsignal(signal.SIGINT) is handler
        signal.raise_signal(signal.SIGINT)
        return restore(*args)

    monkeypatch.setattr(Best, "restore", interrupted)
    assert not quick().interrupted


@pytest.mark.parametrize("place", ["restore", "calibrate", "_describe_held"])
def test_ctrl_c_after_the_last_epoch_waits_until_the_model_is_whole(place, handled, monkeypatch):
    at = {"restore": Best, "calibrate": nnfast.tables.model, "_describe_held": nnfast.tables.model}[place]
    usual = getattr(at, place)

    def interrupted(*args):
        signal.raise_signal(signal.SIGINT)
        return usual(*args)

    expected = quick(y=CODES)
    monkeypatch.setattr(at, place, interrupted)
    with pytest.warns(UserWarning, match="^training was interrupted after 4 epochs"):
        model = quick(y=CODES)
    assert model.interrupted
    assert parameters(model) == parameters(expected)
    assert model.held_scores == expected.held_scores
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("recipe", "rows", "epochs", "patience"),
    [
        (Recipe(), 10, 256, 38),
        (Recipe(), 25_000, 256, 38),
        (Recipe(), 50_000, 128, 19),
        (Recipe(), 10**7, 32, 5),
        (Recipe(epochs=1000, patience=100), 100_000, 250, 25),
        (Recipe(epochs=20, patience=3), 10**6, 20, 3),
        (Recipe(epochs=500, patience=1), 10**6, 32, 1),
    ],
)
def test_many_rows_have_fewer_epochs(recipe, rows, epochs, patience):
    chosen = recipe.for_rows(rows)
    assert (chosen.epochs, chosen.patience) == (epochs, patience)
    assert chosen == recipe._replace(epochs=epochs, patience=patience)


def test_the_training_follows_the_number_of_rows(monkeypatch):
    monkeypatch.setattr(training, "MANY_ROWS", N // 2)
    recipe = Recipe(hidden=(8,), epochs=80, patience=1000)
    (member,) = quick(recipe=recipe).members
    assert len(member.history["loss"]) == 40


def test_wide_and_narrow_tables():
    wide = RANDOM.standard_normal((40, 1000))
    assert quick(wide, wide[:, 7]).predict(wide).shape == (40,)
    assert quick(X[:, :1]).predict(X[:, :1]).shape == (N,)


def test_unseen_categories_and_missing_values():
    model = quick(TABLE, CODES)
    changed = TABLE | {"colour": ["violet"] * N, "street": [None] * N, "size": [np.nan] * N, "since": [None] * N}
    assert np.isfinite(model.predict_proba(changed)).all()


def test_importances_find_the_columns_that_matter():
    x = {"none": X[:, 2], "much": X[:, 0], "constant": ["a"] * N, "some": [["u", "v"][i % 2] for i in range(N)]}
    y = 3 * X[:, 0] + np.arange(N) % 2
    recipe = Recipe(hidden=(32,), epochs=60, learning_rate=0.02)
    for target, options in ((y, {}), (y > 0, {}), (y, {"quantiles": [0.02, 0.5]})):
        model = fit_table(x, target, recipe=recipe, seed=0, verbose=0, **options)
        shares = model.importances()
        assert shares.shape == (4,)
        assert shares.sum() == pytest.approx(1)
        assert shares[1] > 0.7
        assert shares[2] == 0
        np.testing.assert_array_equal(shares, model.importances())
        assert (shares != model.importances(seed=1)).any()


def test_a_network_for_export_computes_the_same():
    for y in (REAL, CODES):
        model = quick(TABLE, y)
        net = model.to_network()
        np.testing.assert_allclose(net.predict(model.prepared(TABLE)), model.response(model.prepared(TABLE)), atol=1e-5)
        assert parameters(model) == parameters(quick(TABLE, y))  # unchanged
    with pytest.raises(ValueError, match="^the model has 2 networks, where one is needed: train with n_members=1$"):
        quick(n_members=2).to_network()
    with pytest.raises(ValueError, match="^the targets are too large for float32: up to"):
        quick(y=1e40 * REAL).to_network()


# ---- refusals


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"n_members": 0}, ValueError, "^n_members must be at least 1, got 0$"),
        ({"n_members": 1001}, ValueError, "^n_members must be at most 1000, got 1001$"),
        ({"task": "rank"}, ValueError, "^task must be one of 'auto', 'classification', 'regression', got 'rank'$"),
        ({"y": REAL[:5]}, ValueError, r"^y must have shape \(120,\), one value for each row of X, got shape \(5,\)$"),
        ({"y": ["a"] * N}, ValueError, r"^y must have at least two classes, got 1 class: \['a'\]$"),
        ({"y": ["a"] * N, "task": "regression"}, ValueError, "^y must be of numbers for task='regression', got "),
        ({"y": [None, *["a", "b"] * 59, "a"]}, ValueError, "^y must have a class for each row, and misses 1$"),
        ({"y": np.array([1, "a"] * 60, object)}, TypeError, "^y must have labels that can be sorted"),
        ({"y": np.where(X[:, 0] > 0, np.nan, 1)}, ValueError, "^y must be finite, got NaN or infinity at index"),
        ({"y": [np.datetime64("2020-01-01")] * N, "quantiles": [0.5]}, TypeError, "^y must hold real numbers, got an"),
        ({"y": [None, 1.5] * 60, "task": "regression"}, TypeError, "^y must hold real numbers, got .* with None at"),
        ({"y": np.where(X[:, 0] > 0, 1e308, -1e308)}, ValueError, "^y must be of numbers whose differences are fin"),
        ({"y": np.arange(N) * 1.0, "task": "classification", "quantiles": [0.5]}, ValueError, "^quantiles need task="),
        ({"quantiles": [0.1, 0.9]}, ValueError, r"^quantiles must contain 0.5, which predict returns, got"),
        ({"sample_weight": -WEIGHTS}, ValueError, "^sample_weight must not be negative"),
        ({"sample_weight": 0 * WEIGHTS}, ValueError, "^sample_weight must not be all zero$"),
        ({"sample_weight": WEIGHTS[:3]}, ValueError, "^sample_weight must have shape"),
        ({"class_weight": "balanced"}, ValueError, "^class_weight needs classes, and y has numbers: use sample_weight"),
        ({"y": CODES, "class_weight": "even"}, ValueError, "^class_weight must be one of 'balanced', got 'even'$"),
        (
            {"y": CODES, "class_weight": {5: 1}},
            ValueError,
            r"^class_weight must be of classes in y, got 5 .*; they are",
        ),
        (
            {"y": CODES, "class_weight": {1: 0}},
            ValueError,
            "^class_weight must have weights above 0, from 1e-30 to 1e30, got",
        ),
        ({"recipe": Recipe(held=0.6)}, ValueError, "^held must be above 0 and at most 0.5, got 0.6$"),
        ({"recipe": Recipe(batch_size=0)}, ValueError, "^batch_size must be at least 1, got 0$"),
        ({"n_threads": 0}, ValueError, "must be at least 1, got 0"),
    ],
)
def test_bad_arguments(options, kind, message):
    with pytest.raises(kind, match=message):
        quick(X, **{"y": REAL, **options})


def test_too_many_classes():
    with pytest.raises(ValueError, match="^y must have at most 10,000 classes, got 10,001: numbers need task='regr"):
        Classes.of(np.arange(10_001))


def test_methods_for_other_targets():
    numbers, classes = quick(), quick(y=CODES)
    with pytest.raises(AttributeError, match="^predict_proba needs classes, and this model predicts numbers"):
        numbers.predict_proba(X)
    for model in (numbers, classes):
        with pytest.raises(AttributeError, match="^predict_quantiles needs a model that was trained with quantiles="):
            model.predict_quantiles(X)
    with pytest.raises(AttributeError, match="^importances need rows that were held back in training"):
        quick(X[:5], REAL[:5]).importances()
    with pytest.raises(ValueError, match="^repeats must be at least 1, got 0$"):
        numbers.importances(repeats=0)
    with pytest.raises(ValueError, match="^X must have 3 columns, as in fit, got 2$"):
        numbers.predict(X[:, :2])
    assert repr(classes) == "TableModel(3 classes from 3 columns, 1 network and a linear model)"
    alone = quick(n_members=2, recipe=QUICK._replace(linear=False))
    assert repr(alone) == "TableModel(a number from 3 columns, 2 networks)"


# ---- files

TARGETS = {
    "text": np.array(["b", "aa", "ü"])[CODES],
    "objects": np.array(["b", "aa", "ü"], object)[CODES],
    "integers": CODES - 5,
    "unsigned": CODES.astype(np.uint8),
    "booleans": CODES > 0,
    "float labels": CODES / 3,
    "numbers": REAL,
    "huge numbers": 1e300 * REAL,
    "quantiles": REAL,
}


def saved(folder, **options):
    model = quick(TABLE, n_members=2, **options)
    path = folder / "model.npz"
    model.save(path)
    return model, path


@pytest.mark.parametrize("name", TARGETS)
def test_files_give_the_same_bits_back(name, tmp_path):
    task = "regression" if "numbers" in name or name == "quantiles" else "classification"
    quantiles = [0.2, 0.5] if name == "quantiles" else None
    model, path = saved(tmp_path, y=TARGETS[name], task=task, quantiles=quantiles)
    again = nnfast.tables.load(path)
    assert again.predict(TABLE).tolist() == model.predict(TABLE).tolist()
    assert again.predict(TABLE).dtype.kind == model.predict(TABLE).dtype.kind
    assert outputs(again, TABLE).tobytes() == outputs(model, TABLE).tobytes()
    assert parameters(again) == parameters(model)
    assert [member.factor for member in again.members] == [member.factor for member in model.members]
    assert again.preparation.columns == model.preparation.columns
    assert again.task == model.task
    if quantiles:
        assert again.predict_quantiles(TABLE).tobytes() == model.predict_quantiles(TABLE).tobytes()
    with pytest.raises(AttributeError, match="^importances need rows that were held back in training, which a file"):
        again.importances()
    second = tmp_path / "second.npz"
    again.save(second)
    assert second.read_bytes() == path.read_bytes()


def test_labels_that_no_file_can_hold(tmp_path):
    model = quick(y=np.array([b"a", b"b"])[CODES // 2], task="classification")
    with pytest.raises(ValueError, match="^a model with classes of dtype .* cannot be saved: use text or numbers$"):
        model.save(tmp_path / "model.npz")
    assert not list(tmp_path.iterdir())


def test_files_open_without_scikit_learn_and_pandas(tmp_path):
    model, path = saved(tmp_path, y=TARGETS["text"])
    (tmp_path / "table.py").write_text(f"from numpy import datetime64\nTABLE = {TABLE!r}\n".replace("np.", ""))
    program = f"""
import sys
for name in ("sklearn", "pandas", "polars", "pyarrow", "matplotlib"):
    sys.modules[name] = None
sys.path.insert(0, {str(tmp_path)!r})
from table import TABLE
import nnfast.tables
model = nnfast.tables.load({str(path)!r})
print(model.predict_proba(TABLE).tobytes().hex(), *model.predict(TABLE)[:3])
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, encoding="utf-8")
    expected = [model.predict_proba(TABLE).tobytes().hex(), *model.predict(TABLE)[:3]]
    assert run.stdout.split() == [str(value) for value in expected]


def with_description(file_bytes, change):
    """The arrays of a file, whose description `change` replaces or changes."""
    with np.load(io.BytesIO(file_bytes)) as file:
        arrays = dict(file)
    (name,) = [key for key, value in arrays.items() if value.dtype.kind == "U"]
    description = json.loads(str(arrays[name]))
    return arrays | {name: np.array(json.dumps(change(description)))}


def load_or_refuse(path):
    """Any file either opens or is refused in one of three ways, and never warns."""
    try:
        nnfast.tables.load(path).predict(TABLE)
    except (LoadError, OSError, MemoryError):
        return False
    except (TypeError, ValueError) as error:  # it opened, and is one for other columns
        assert "X" in str(error) or "column" in str(error)
    return True


@pytest.fixture(scope="module")
def file_bytes(tmp_path_factory):
    options = {"y": CODES, "recipe": Recipe(hidden=(2,), epochs=1)}
    return saved(tmp_path_factory.mktemp("tables"), **options)[1].read_bytes()


def test_truncated_files(file_bytes, tmp_path):
    path = tmp_path / "model.npz"
    for length in (*range(0, len(file_bytes), max(1, len(file_bytes) // 60)), len(file_bytes) - 1):
        path.write_bytes(file_bytes[:length])
        assert not load_or_refuse(path)


@settings(max_examples=150)
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes(file_bytes, tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("changed") / "model.npz"
    content = bytearray(file_bytes)
    for place, value in changes:
        content[int(place * len(content))] = value
    path.write_bytes(content)
    load_or_refuse(path)


BAD = st.sampled_from([None, True, 0, -1, 10**30, 1.5, -1e308, "", "0", "a", [], [[]], {}, {"a": 1}])


@settings(max_examples=200)
@given(data=st.data())
def test_changed_descriptions(file_bytes, tmp_path_factory, data):
    """One value of the description, at any depth, is replaced or left out."""

    def change(description):
        at = description
        while True:
            key = data.draw(st.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))
            if not isinstance(at[key], (dict, list)) or not at[key] or data.draw(st.integers(0, 4)) == 0:
                break
            at = at[key]
        if data.draw(st.booleans()):
            at[key] = data.draw(BAD)
        else:
            del at[key]
        return description

    path = tmp_path_factory.mktemp("changed") / "model.npz"
    np.savez(path, **with_description(file_bytes, change))
    load_or_refuse(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "it has version 3 of the format, and this nnfast reads 1 and 2"),
        ({"linear": []}, "its linear model must be an object, with a share from 0 to 1"),
        ({"linear_share": 1.5}, "its linear model must be an object, with a share from 0 to 1"),
        ({"format": "nnfast"}, "is not a table model saved by nnfast: its description is not that of a table model"),
        ({"networks": []}, "it must have from 1 to 1000 networks"),
        ({"factors": [1.0]}, "is damaged"),
        ({"target": {"task": "rank"}}, "its task must be 'classification' or 'regression', got 'rank'"),
        ({"target": {"task": "classification", "classes": [2, 1], "kind": "i"}}, "must be different and sorted"),
        ({"target": {"task": "classification", "classes": [1, 2], "kind": "i"}}, "network 0 must have 2 outputs"),
        ({"target": {"task": "classification", "classes": [[1]], "kind": "i"}}, "must be a list of texts or numbers"),
        (
            {"target": {"task": "regression", "mean": 0.0, "scale": 0.0, "low": 0.0, "high": 1.0, "quantiles": []}},
            "must be finite numbers",
        ),
        (
            {"target": {"task": "regression", "mean": 0.0, "scale": 1.0, "low": 2.0, "high": 1.0, "quantiles": []}},
            "must not be empty, got 2.0 to 1.0",
        ),
        (
            {"target": {"task": "regression", "mean": 0.0, "scale": 1.0, "low": 0.0, "high": 1.0, "quantiles": 3}},
            "its quantiles must be a list, got 3",
        ),
    ],
)
def test_damaged_descriptions_are_named(file_bytes, tmp_path, change, message):
    path = tmp_path / "model.npz"
    np.savez(path, **with_description(file_bytes, lambda description: description | change))
    with pytest.raises(LoadError, match=message):
        nnfast.tables.load(path)


def test_files_of_other_kinds(tmp_path):
    path = tmp_path / "model.npz"
    raw_network(2).save(path)
    with pytest.raises(LoadError, match="is not a table model saved by nnfast: .*nnfast.load reads networks"):
        nnfast.tables.load(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(LoadError, match="is not a table model saved by nnfast"):
        nnfast.tables.load(path)
    with pytest.raises(OSError, match="no_such"):
        nnfast.tables.load(tmp_path / "no_such.npz")


# ---- averaged weights


def test_the_network_has_the_averages_with_the_lowest_loss_on_its_held_rows():
    random = np.random.default_rng(0)
    X = random.normal(size=(300, 3)).astype(np.float32)
    y = X[:, 0] * X[:, 1] + random.normal(size=300)
    recipe = Recipe(hidden=(32,), epochs=80, patience=6)
    model = fit_table(X, y, n_members=2, recipe=recipe, seed=0, verbose=0)
    for member in model.members:
        losses = member.held_losses
        least = int(np.argmin(losses))
        assert len(losses) == len(member.history["loss"]) == min(80, least + 1 + 6)
        assert least + 1 < len(losses) or len(losses) == 80
    held, net = model.held, model.members[0].net
    assert net.loss(held.raw, held.values) == pytest.approx(min(model.members[0].held_losses), rel=1e-6)


def test_averages_differ_from_the_last_weights_by_what_the_recipe_says():
    """With an average over next to nothing, the weights of an epoch themselves are compared."""
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 2)).astype(np.float32)
    y = X[:, 0] + random.normal(size=200)
    few = [
        fit_table(X, y, recipe=Recipe(hidden=(8,), epochs=5, averaged=a), seed=0, verbose=0) for a in (0.0, 0.0, 4.0)
    ]
    losses = [model.members[0].held_losses for model in few]
    assert losses[0] == losses[1] != losses[2]
    trained = few[0].members[0].history
    assert trained["loss"] == few[2].members[0].history["loss"]  # averages change nothing in training
