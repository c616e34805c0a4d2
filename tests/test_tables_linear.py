"""The linear model beside the networks of a table model: its fit, its share, and how the two are joined."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

import nnfast as nf
import nnfast.tables
from nnfast.tables import Recipe, fit_table
from nnfast.tables import linear as linear_module
from nnfast.tables import training as tables_training
from nnfast.tables.encoding import encoding_of
from nnfast.tables.linear import LEAST, PENALTY, PRIOR_ROWS, fit_linear
from nnfast.tables.preparation import Preparation
from nnfast.tables.targets import TINY, Classes, Numbers
from nnfast.tables.training import Samples

N = 240
RANDOM = np.random.default_rng(5)
X = RANDOM.normal(size=(N, 4))
TABLE = {
    "a": X[:, 0],
    "b": [None if i % 6 == 0 else float(x) for i, x in enumerate(X[:, 1])],
    "kind": [["x", "y", "z"][i % 3] for i in range(N)],
    "street": [f"street {i % 40}" for i in range(N)],
    "c": X[:, 2],
}
LINEAR = X[:, 0] - 2 * X[:, 2] + np.array([0.0, 1.0, -1.0])[np.arange(N) % 3]
NOISE = RANDOM.normal(size=N)
WEIGHTS = RANDOM.uniform(0.2, 3, N)
QUICK = Recipe(hidden=(16, 8), epochs=30, learning_rate=0.01)


def samples_of(table, target, y, weights=None):
    preparation = Preparation().fit(table)
    weights = None if weights is None else weights / weights.mean()
    return preparation, Samples(preparation.transform(table), target.values(y), weights)


def features(preparation, raw):
    """Return the standardized inputs of the linear model: numbers clipped smoothly, flags, and one-hot codes."""
    found = []
    for x, (kind, *more) in zip(raw.T.astype(float), preparation.encoding_columns(), strict=True):
        if kind == "number":
            found.append((x / np.sqrt(1 + (x / 3) ** 2))[:, None])
        elif kind == "flag":
            found.append(x[:, None])
        elif kind == "one_hot":
            codes = (x[:, None] == np.arange(more[0])).astype(float)
            found.append(codes if more[0] > 2 else codes[:, 1:] - codes[:, :1])
    stacked = np.hstack(found)
    return (stacked - stacked.mean(axis=0)) / stacked.std(axis=0)


# ---- the fit


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_numbers_are_fitted_by_ridge_regression(weights):
    y = LINEAR + NOISE
    target = Numbers.of(y)
    preparation, samples = samples_of(TABLE, target, y, weights)
    linear = fit_linear(encoding_of(preparation), samples, np.arange(N), target)
    z = np.column_stack([features(preparation, samples.raw), np.ones(N)])
    w = np.ones(N) if weights is None else weights / weights.mean()
    penalty = np.diag([PENALTY] * (z.shape[1] - 1) + [0.0])
    solution = np.linalg.lstsq(z.T @ (w[:, None] * z) + penalty, z.T @ (w * samples.values[:, 0]), rcond=None)[0]
    np.testing.assert_allclose(linear.predict(samples.raw)[:, 0], z @ solution, atol=2e-4)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_classes_are_fitted_by_penalized_logistic_regression(weights):
    y = np.digitize(LINEAR + NOISE, [-0.7, 0.9])
    target = Classes.of(y)
    preparation, samples = samples_of(TABLE, target, y, weights)
    linear = fit_linear(encoding_of(preparation), samples, np.arange(N), target)
    z = features(preparation, samples.raw)
    w = np.ones(N) if weights is None else weights / weights.mean()

    def loss(flat):
        W, b = flat[:-3].reshape(-1, 3), flat[-3:]
        return -(w * log_softmax(z @ W + b, axis=1)[np.arange(N), y]).sum() + PENALTY * (W**2).sum()

    best = minimize(loss, np.zeros(3 * z.shape[1] + 3), tol=1e-10).x
    expected = softmax(z @ best[:-3].reshape(-1, 3) + best[-3:], axis=1)
    np.testing.assert_allclose(linear.predict(samples.raw), expected, atol=2e-3)


def test_columns_that_are_the_same_in_all_rows_of_the_fit():
    table = {"a": np.append(np.zeros(200), np.arange(40.0)), "b": X[:, 1]}
    target = Numbers.of(LINEAR)
    preparation, samples = samples_of(table, target, LINEAR)
    linear = fit_linear(encoding_of(preparation), samples, np.arange(200), target)
    assert np.isfinite(linear.predict(samples.raw)).all()


# ---- the sum of logits


def test_classes_add_logits():
    target = Classes(np.arange(4))
    p, q = (softmax(RANDOM.normal(0, 3, (50, 4)), axis=1).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(target.added(p, q), softmax(np.log(p) + np.log(q), axis=1), rtol=1e-5)
    np.testing.assert_allclose(target.logits(p), np.log(p), rtol=1e-6)
    opposite = target.added(np.array([[1, 0, 0, 0]], np.float32), np.array([[0, 1, 0, 0]], np.float32))
    np.testing.assert_allclose(opposite, [[0.5, 0.5, 0, 0]], atol=1e-30)
    assert target.logits(np.zeros((1, 4)))[0, 0] == np.log(TINY)
    codes = RANDOM.integers(0, 4, 50)
    logits = RANDOM.normal(0, 5, (50, 4))
    np.testing.assert_allclose(
        target.losses(logits, codes), -log_softmax(logits, axis=1)[np.arange(50), codes], rtol=1e-12
    )


def test_numbers_are_added():
    target = Numbers(2.0, 3.0, -9.0, 9.0)
    np.testing.assert_array_equal(target.added(np.array([[1.5]], np.float32), np.array([[-4.0]], np.float32)), [[-2.5]])
    np.testing.assert_array_equal(target.losses(np.array([[1.0], [4.0]]), np.array([[3.0], [3.5]])), [4.0, 0.25])
    quantiles = Numbers(0.0, 1.0, -9.0, 9.0, (0.1, 0.5))
    # 2 too low: 0.1 * 2 and 0.5 * 2; 1 too high: 0.9 and 0.5
    losses = quantiles.losses(np.array([[1.0, 1.0], [4.0, 4.0]]), np.array([[3.0], [3.0]]))
    np.testing.assert_allclose(losses, [1.2, 1.4])


# ---- the share


@pytest.mark.parametrize("task", ["numbers", "classes", "quantiles"])
def test_a_linear_table_gets_a_share_that_helps(task):
    x = RANDOM.normal(size=(700, 12))
    signal = x @ RANDOM.normal(size=12)
    y = signal + RANDOM.normal(size=700) if task != "classes" else signal > RANDOM.logistic(size=700)
    options = {"quantiles": [0.1, 0.5, 0.9]} if task == "quantiles" else {}
    with_it, without = (
        fit_table(x[:200], y[:200], recipe=Recipe(hidden=(32, 32), linear=linear), seed=0, verbose=0, **options)
        for linear in (True, False)
    )
    assert with_it.linear_share > 0.3
    assert without.linear is None
    assert without.linear_share == 0
    if task == "classes":
        losses = [
            -np.log(model.predict_proba(x[200:])[np.arange(500), y[200:].astype(int)]).mean()
            for model in (with_it, without)
        ]
    else:
        losses = [((model.predict(x[200:]) - y[200:]) ** 2).mean() for model in (with_it, without)]
    assert losses[0] < losses[1]


def test_a_table_without_anything_linear_gets_none():
    x = RANDOM.uniform(-1, 1, (1500, 2))
    y = np.sign(x[:, 0] * x[:, 1])
    model = fit_table(x, y, task="regression", recipe=Recipe(hidden=(32, 32), epochs=60), seed=0, verbose=0)
    assert model.linear is None
    assert model.linear_share == 0


@pytest.mark.parametrize("y", [LINEAR + NOISE, np.digitize(LINEAR, [-1.0, 1.0])], ids=["numbers", "classes"])
def test_the_parts_sum_up_to_what_the_model_computes(y, monkeypatch):
    """The share is the best of a grid on the held rows, less what is believed; weights are multiplied by it."""
    alone = fit_table(TABLE, y, n_members=2, recipe=QUICK._replace(linear=False), seed=0, verbose=0)
    model = fit_table(TABLE, y, n_members=2, recipe=QUICK, seed=0, verbose=0)
    raw, share, target = model.prepared(TABLE), model.linear_share, model.target
    values = target.values(y)
    random = np.random.default_rng(0)
    parts = tables_training.held_parts(values if values.ndim == 1 else None, N, 0.2, 2, random)
    encoding = encoding_of(model.preparation)
    samples = Samples(raw, values, None)
    linears = [fit_linear(encoding, samples, np.setdiff1d(np.arange(N), part), target) for part in parts]
    total = np.zeros(21)
    for member, linear, part in zip(alone.members, linears, parts, strict=True):
        a, b = (target.logits(net.predict(raw[part])) for net in (member.net, linear))
        total += [target.losses(s * b + (1 - s) * a, values[part]).sum() for s in np.linspace(0, 1, 21)]
    rows = sum(map(len, parts))
    assert share == pytest.approx(np.linspace(0, 1, 21)[total.argmin()] * rows / (rows + PRIOR_ROWS))
    assert share > LEAST
    mean = np.mean([target.logits(net.predict(raw)) for net in linears], axis=0)
    for one, both in zip(alone.members, model.members, strict=True):
        logits = (1 - share) * target.logits(one.net.predict(raw)) + share * mean
        expected = logits if values.ndim == 2 else softmax(logits, axis=1)
        actual = model.member_outputs(both, raw, model.linear.predict(raw))
        np.testing.assert_allclose(actual, expected, atol=1e-5)
        assert both.factor == pytest.approx(one.factor * (1 - share))


def test_the_scores_are_those_of_both_together():
    y = np.digitize(LINEAR, [-1.0, 1.0])
    model = fit_table(TABLE, y, recipe=QUICK, seed=0, verbose=0)
    held = model.held
    p = model.response(held.raw)
    right = p.argmax(axis=1) == held.values
    assert model.held_scores[0]["accuracy"] == pytest.approx(right.mean())
    assert model.held_scores[0]["log_loss"] == pytest.approx(-np.log(p[np.arange(len(p)), held.values]).mean())


def test_a_table_of_embeddings_alone_has_none():
    table = {"street": TABLE["street"]}
    model = fit_table(table, LINEAR, recipe=QUICK, seed=0, verbose=0)
    assert model.linear is None
    assert np.isfinite(model.predict(table)).all()


def test_more_rows_than_are_needed(monkeypatch):
    """Of more rows, some that are evenly spread are used; they are encoded some at a time."""
    target = Numbers.of(LINEAR)
    preparation, samples = samples_of(TABLE, target, LINEAR)
    encoding = encoding_of(preparation)
    expected = fit_linear(encoding, samples, np.arange(0, N, 3), target)
    monkeypatch.setattr(linear_module, "MOST_ROWS", N // 3)
    monkeypatch.setattr(linear_module, "ROWS", 7)
    actual = fit_linear(encoding, samples, np.arange(N), target)
    np.testing.assert_array_equal(actual.flat_params, expected.flat_params)


def test_max_seconds_ends_the_fit_of_the_linear_model():
    x = RANDOM.normal(size=(20_000, 60))
    model = fit_table(x, RANDOM.integers(0, 200, 20_000), recipe=QUICK, seed=0, verbose=0, max_seconds=0.5)
    assert model.predict(x[:3]).shape == (3,)


def test_few_rows_have_none():
    assert fit_table(X[:9], LINEAR[:9], recipe=QUICK, seed=0, verbose=0).linear is None


def test_networks_that_diverged_leave_it_out():
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
        model = fit_table(X, LINEAR, recipe=QUICK._replace(learning_rate=1e30), seed=0, verbose=0)
    assert model.linear is None


def test_the_number_of_threads_changes_no_bits():
    one, two = (fit_table(TABLE, LINEAR, recipe=QUICK, seed=0, verbose=0, n_threads=n) for n in (1, 2))
    assert one.linear_share == two.linear_share > 0
    assert one.linear.flat_params.tobytes() == two.linear.flat_params.tobytes()


def test_linear_must_be_a_bool():
    with pytest.raises(TypeError, match="^linear must be True or False, got "):
        fit_table(X, LINEAR, recipe=Recipe(linear="yes"))


# ---- files and exports


def test_files_keep_it(tmp_path):
    y = np.digitize(LINEAR, [-1.0, 1.0])
    for linear, version in ((True, 2), (False, 1)):
        model = fit_table(TABLE, y, n_members=2, recipe=QUICK._replace(linear=linear), seed=0, verbose=0)
        model.save(tmp_path / "model.npz")
        again = nnfast.tables.load(tmp_path / "model.npz")
        assert again.linear_share == model.linear_share
        assert again.predict_proba(TABLE).tobytes() == model.predict_proba(TABLE).tobytes()
        with np.load(tmp_path / "model.npz") as archive:
            assert f'"version": {version}, "preparation"' in str(archive["description"])


def test_no_single_network_computes_what_depends_on_all_units():
    model = fit_table(TABLE, LINEAR, recipe=QUICK._replace(activation="softmax"), seed=0, verbose=0)
    assert model.linear is not None
    with pytest.raises(ValueError, match="^no single network computes a linear model beside softmax: use Recipe"):
        model.to_network()


@pytest.mark.parametrize("hidden", [(), (8,), (16, 8), (8, 8, 4)])
@pytest.mark.parametrize("y", [LINEAR + NOISE, np.digitize(LINEAR, [-1.0, 1.0])], ids=["numbers", "classes"])
def test_one_network_computes_both(y, hidden):
    model = fit_table(TABLE, y, recipe=QUICK._replace(hidden=hidden), seed=0, verbose=0)
    if hidden:
        assert model.linear is not None
    net = model.to_network()
    raw = model.prepared(TABLE)
    assert isinstance(net, nf.Sequential)
    np.testing.assert_allclose(net.predict(raw), model.response(raw), atol=2e-5)
