"""L-BFGS: its optimum compared with scikit-learn's, what it records, how it ends, and its errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from numpy_network import state, unchanged
from tolerances import assert_close

import nnfast as nf
from nnfast.engine.program import Minimizer
from nnfast.training.lbfgs import HUGE_LOSS, Minimization

# most end early; test_it_warns_where_it_is_cut_off tests the warning
pytestmark = pytest.mark.filterwarnings("ignore:L-BFGS did not converge")

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 3))
LABELS = (X @ rng.normal(size=(3, 4)) + rng.normal(size=(60, 4))).argmax(axis=1)
DIGITS = pytest.param("digits", marks=pytest.mark.once)  # it takes more time than all the others


def make_net(*, dtype="float64", hidden=(5,)):
    layers = [nf.Dense(units, "tanh") for units in hidden]
    return nf.Sequential([*layers, nf.Dense(4, "softmax")], input_shape=3, dtype=dtype, seed=5)


def fit(net, **arguments):
    return net.fit(X, LABELS, **({"optimizer": "lbfgs", "verbose": 0} | arguments))


def standardised(load):
    x, y = load(return_X_y=True)
    return (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1), y


# ---- the optimum


def test_a_line_is_found_at_once():
    x = np.linspace(-1, 1, 50)[:, None]
    net = nf.Sequential([nf.Dense(1)], input_shape=1, dtype="float64", seed=0)
    history = net.fit(x, 3 * x[:, 0] - 2, optimizer=nf.LBFGS(tolerance=0, gradient_tolerance=1e-12), verbose=0)
    assert len(history["loss"]) < 10
    assert_close(net.params["W1"], [[3.0]], kind="trajectory")
    assert_close(net.params["b1"], [-2.0], kind="trajectory")


def test_the_optimum_of_a_convex_loss_is_that_of_logistic_regression():
    """For classes that overlap: separable classes have none."""
    linear_model = pytest.importorskip("sklearn.linear_model", reason="compared with scikit-learn")
    net = make_net(hidden=())
    fit(net, epochs=1000, optimizer=nf.LBFGS(tolerance=0, gradient_tolerance=1e-11))
    model = linear_model.LogisticRegression(C=np.inf, solver="newton-cg", tol=1e-10).fit(X, LABELS)
    assert_close(net.predict(X), model.predict_proba(X), scale=1.0, kind="forward difference")
    slopes = net.params["W1"] - net.params["W1"].mean(axis=1, keepdims=True)  # a common offset is arbitrary
    assert_close(slopes.T, model.coef_ - model.coef_.mean(axis=0), scale=10.0, kind="forward difference")


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", DIGITS])
def test_with_a_penalty_the_optimum_is_that_of_logistic_regression(name):
    """There is then one optimum, also for separable classes. For two classes scikit-learn penalizes the difference."""
    datasets = pytest.importorskip("sklearn.datasets", reason="compared with scikit-learn")
    from sklearn.linear_model import LogisticRegression

    x, y = standardised(getattr(datasets, f"load_{name}"))
    classes = y.max() + 1
    net = nf.Sequential([nf.Dense(classes, "softmax", l2=(1 if classes == 2 else 0.5) / len(x), initializer=0.0)],
                        input_shape=x.shape[1], dtype="float64")  # fmt: skip
    net.fit(x, y, epochs=5000, optimizer=nf.LBFGS(tolerance=0, gradient_tolerance=1e-8), verbose=0)
    model = LogisticRegression(C=1.0, solver="newton-cg", tol=1e-8, max_iter=1000).fit(x, y)
    best = -np.log(model.predict_proba(x)[np.arange(len(x)), y]).mean() + (model.coef_**2).sum() / (2 * len(x))
    assert_close(net.loss(x, y), best, kind="trajectory")
    assert_close(net.predict(x), model.predict_proba(x), scale=10.0, kind="forward difference")


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", DIGITS])
def test_classifiers_are_as_good_as_those_of_scikit_learn(name):
    datasets = pytest.importorskip("sklearn.datasets", reason="compared with scikit-learn")
    from sklearn.neural_network import MLPClassifier

    x, y = standardised(getattr(datasets, f"load_{name}"))
    net = nf.Sequential([nf.Dense(10, "tanh"), nf.Dense(y.max() + 1, "softmax")], input_shape=x.shape[1],
                        dtype="float64", seed=0)  # fmt: skip
    before = net.loss(x, y)
    history = net.fit(x, y, epochs=2000, optimizer="lbfgs", verbose=0)
    model = MLPClassifier((10,), activation="tanh", solver="lbfgs", alpha=0, tol=1e-5, max_iter=2000, max_fun=10**6,
                          random_state=0).fit(x, y)  # fmt: skip
    assert history["loss"][-1] <= max(1.1 * model.loss_, before / 10_000)
    assert len(history["loss"]) < 2000
    assert max(np.abs(gradient).max() for gradient in net.gradient(x, y).values()) < 1e-3


def test_regression_is_as_good_as_that_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets", reason="compared with scikit-learn")
    from sklearn.neural_network import MLPRegressor

    x, y = standardised(datasets.load_diabetes)
    y = (y - y.mean()) / y.std()
    net = nf.Sequential([nf.Dense(3, "tanh"), nf.Dense(1)], input_shape=10, dtype="float64", seed=0)
    net.fit(x, y, epochs=3000, optimizer="lbfgs", verbose=0)
    model = MLPRegressor(hidden_layer_sizes=(3,), activation="tanh", solver="lbfgs", alpha=0, tol=1e-5,
                         max_iter=3000, max_fun=10**6, random_state=0).fit(x, y)  # fmt: skip
    assert net.loss(x, y) <= 1.1 * 2 * model.loss_, "scikit-learn halves the square"


@pytest.mark.parametrize("gradient", ["backpropagation", "numerical"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_either_gradient_in_either_dtype_reaches_the_optimum(gradient, dtype):
    best, net = make_net(hidden=()), make_net(dtype=dtype, hidden=())
    fit(best, optimizer=nf.LBFGS(tolerance=0, gradient_tolerance=1e-10), epochs=1000)
    history = fit(net, gradient=gradient)
    assert history["loss"][-1] < best.loss(X, LABELS) + 1e-6
    assert net.dtype == dtype


# ---- what it records


def test_each_iteration_is_an_epoch_whose_loss_is_the_one_after_it():
    net, seen = make_net(), []

    def look(net, history):
        seen.append((net.loss(X, LABELS), net.accuracy(X, LABELS), net.loss(X[:9], LABELS[:9])))
        np.testing.assert_array_equal(history.step_loss, history["loss"])

    history = fit(net, epochs=12, validation_data=(X[:9], LABELS[:9]), callbacks=[look])
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert len(seen) == len(history["loss"]) == 12
    assert [list(values) for values in zip(*seen, strict=True)] == [history[n] for n in list(history)[:3]]
    assert history["loss"][-1] == net.loss(X, LABELS)
    assert (np.diff(history["loss"]) < 0).all()
    assert history.steps_per_epoch == 1
    assert history.learning_rate.shape == (0,)
    assert net.history is history


def test_it_ends_when_it_has_converged():
    loose = fit(make_net(), optimizer=nf.LBFGS(tolerance=1e-2))
    tight = fit(make_net(), optimizer=nf.LBFGS(tolerance=1e-6))
    flat = fit(make_net(), optimizer=nf.LBFGS(gradient_tolerance=0.1))
    assert 0 < len(loose["loss"]) < len(tight["loss"]) <= 200
    assert 0 < len(flat["loss"]) < len(tight["loss"])
    assert len(fit(make_net(), optimizer=nf.LBFGS(tolerance=0, gradient_tolerance=0), epochs=7)["loss"]) == 7
    assert len(fit(make_net(), optimizer=nf.LBFGS(tolerance=0, gradient_tolerance=0))["loss"]) == 200, "by default"


def test_it_warns_where_it_is_cut_off():
    with pytest.warns(RuntimeWarning, match="^L-BFGS did not converge in 3 iterations.*: give more epochs") as warned:
        history = fit(make_net(), epochs=3)
    assert [w.filename for w in warned] == [__file__]
    assert history.converged is False


@pytest.mark.filterwarnings("error")
def test_it_does_not_warn_where_it_has_converged_or_was_stopped():
    loose = nf.LBFGS(tolerance=1e-3)
    history = fit(make_net(), optimizer=loose)
    assert history.converged is True
    iterations = len(history["loss"])
    again = fit(make_net(), optimizer=loose, epochs=iterations)
    assert again.converged is True, "in the last iteration that is allowed"
    assert again["loss"] == history["loss"]
    with pytest.warns(RuntimeWarning, match="did not converge"):
        assert fit(make_net(), optimizer=loose, epochs=iterations - 1).converged is False
    stopped = fit(make_net(), callbacks=[lambda net, history: net.stop()])
    assert stopped.converged is False
    assert make_net().fit(X, LABELS, verbose=0).converged is None


def minimized_by_scipy(net, **options):
    """What SciPy itself makes of a copy of the network: its result, with the parameters."""
    from scipy import optimize

    twin = net.copy()

    def loss_and_gradient(vector):
        twin.flat_params[:] = vector
        gradient = twin.gradient(X, LABELS)
        return twin.loss(X, LABELS), np.concatenate([each.ravel() for each in gradient.values()])

    start = net.flat_params.copy()
    return optimize.minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options=options)


def test_without_limits_it_is_scipy_with_its_own_defaults():
    net = make_net(hidden=())  # which converges before rounding errors have grown
    result = minimized_by_scipy(net)
    history = fit(net, epochs=15000)
    assert len(history["loss"]) == result.nit
    assert_close(net.flat_params, result.x, scale=1.0, kind="minimization")
    assert nf.LBFGS().tolerance == 1e7 * np.finfo(float).eps, "the default of scipy.optimize.fmin_l_bfgs_b"


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 25])
def test_the_limit_of_evaluations_is_that_of_scipy(limit):
    """The iteration that exceeds it is completed, and is the last."""
    net = make_net()
    result = minimized_by_scipy(net, maxfun=limit)
    message = f"in {result.nit} iterations, .* {result.nfev} times, more than max_evaluations={limit}: increase it"
    with pytest.warns(RuntimeWarning, match=message):
        history = fit(net, optimizer=nf.LBFGS(max_evaluations=limit))
    assert history.converged is False
    assert result.nfev > limit
    assert len(history["loss"]) == result.nit
    assert_close(net.flat_params, result.x, scale=1.0, kind="minimization")


@pytest.mark.filterwarnings("error")
def test_a_limit_of_evaluations_that_is_not_reached():
    loose, limited = (nf.LBFGS(tolerance=1e-3, max_evaluations=limit) for limit in (None, 500))
    free, within = fit(make_net(), optimizer=loose), fit(make_net(), optimizer=limited)
    assert within.converged is True
    assert within["loss"] == free["loss"]


def test_an_iteration_evaluates_no_more_than_scipy():
    """No forward pass for the history, whatever it keeps; the first point is evaluated once."""
    calls, one_hot = [], np.eye(4)[LABELS]

    def squares(outputs, targets):
        calls.append(outputs)
        return ((outputs - targets) ** 2).mean(), 2 * (outputs - targets) / outputs.size

    def largest_error(targets, outputs):
        return float(np.abs(targets - outputs).max())

    def make():
        layers = [nf.Dense(5, "tanh"), nf.Dense(4)]
        return nf.Sequential(layers, input_shape=3, loss=squares, dtype="float64", seed=5)

    counts = []
    for metrics in ([], ["mean_absolute_error", largest_error]):
        calls.clear()
        net = make()
        history = net.fit(X, one_hot, epochs=20, optimizer=nf.LBFGS(max_evaluations=15), metrics=metrics, verbose=0)
        counts.append(len(calls))
        found = net.evaluate(X, one_hot, metrics=metrics)
        assert history["loss"][-1] == found["loss"]
        for name in list(history)[1:]:
            assert_close(history[name][-1], found[name], scale=1.0)
    assert counts == [16, 16]


def wide_or_narrow(layers, **options):
    return nf.Sequential([*layers, nf.Dense(4, "softmax")], input_shape=3, dtype="float64", seed=5, **options)


SHARES = 0.1 * np.full((len(X), 4), 0.25) + 0.9 * np.eye(4)[LABELS]

# the network and the arguments of fit
CONFIGURATIONS = {
    "plain": (make_net, {}),
    "float32": (lambda: make_net(dtype="float32"), {}),
    "no metrics": (make_net, {"metrics": []}),
    "kept outputs": (make_net, {"metrics": ["roc_auc", "f1"]}),
    "metrics of outputs": (make_net, {"metrics": ["mean_absolute_error", "accuracy"], "y": SHARES}),
    "weights": (make_net, {"sample_weight": np.linspace(0, 2, len(X))}),
    "penalty": (lambda: wide_or_narrow([nf.Dense(9, "relu", l2=0.01)]), {}),
    "frozen": (lambda: wide_or_narrow([nf.Dense(9, "relu", trainable=False)]), {}),
    "norm of rows": (lambda: wide_or_narrow([nf.Dense(9), nf.LayerNorm()]), {}),
    "running statistics": (lambda: wide_or_narrow([nf.Dense(9), nf.BatchNorm()]), {}),
    "numerical": (lambda: make_net(dtype="float32"), {"gradient": "numerical"}),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_what_is_recorded_is_what_another_pass_computes(name):
    """To the bit: the loss and the metrics in training, at the point after each iteration."""
    make, arguments = CONFIGURATIONS[name]
    net, seen, options = make(), [], {"y": LABELS} | arguments
    y, weights = options.pop("y"), options.get("sample_weight")

    def look(net, history):
        program = net._network.built
        loss, _ = program.training_loss(X.astype(net.dtype), y, weights, (), 1)
        seen.append((loss, program.noise_steps))

    history = net.fit(X, y, epochs=6, optimizer="lbfgs", callbacks=[look], verbose=0, **options)
    assert [loss for loss, _ in seen] == history["loss"]
    assert [steps for _, steps in seen] == [1, 2, 3, 4, 5, 6]
    if name not in ("running statistics", "no metrics"):  # evaluation differs from training, or there are none
        found = net.evaluate(X, y, sample_weight=weights, metrics=options.get("metrics"))
        assert {each: history[each][-1] for each in list(history)} == found


def test_running_statistics_advance_once_an_iteration():
    """Whatever the line search has tried."""
    net, means = wide_or_narrow([nf.Dense(9), nf.BatchNorm()]), []

    def look(net, history):
        means.append((X @ net.params["W1"] + net.params["b1"]).mean(axis=0))

    fit(net, epochs=5, callbacks=[look])
    expected = np.zeros(9)
    momentum = net.layers[1].momentum
    for mean in means:
        expected = (1 - momentum) * expected + momentum * mean
    assert_close(net._network.built.statistics[:9], expected, scale=1.0)


def test_parameters_that_a_callback_sets_before_the_first_iteration_count():
    class Other(nf.callbacks.Callback):
        def on_train_begin(self, net, history):
            net.flat_params[:] = other.flat_params

    net, other = make_net(), make_net()
    other.flat_params[:] = other.flat_params[::-1].copy()
    fit(net, epochs=3, callbacks=[Other()])
    fit(other, epochs=3)
    np.testing.assert_array_equal(net.flat_params, other.flat_params)


def test_parameters_that_a_callback_sets_before_the_first_iteration_must_have_a_loss():
    class Bad(nf.callbacks.Callback):
        def on_train_begin(self, net, history):
            net.flat_params[:] = np.nan

    net = make_net()
    with pytest.raises(ValueError, match="^the initial loss is not finite"):
        fit(net, callbacks=[Bad()])
    assert net.history["loss"] == []
    net.flat_params[:] = 0
    fit(net, epochs=1)


def test_it_says_where_no_lower_loss_is_found():
    net = nf.Sequential([nf.Dense(5, "relu"), nf.Dense(1)], input_shape=3, dtype="float64", seed=0)
    with pytest.warns(RuntimeWarning, match="did not converge: after .* no lower loss.*scale x and y"):
        history = net.fit(1e18 * X, X[:, 0], optimizer="lbfgs", verbose=0)
    assert history.converged is False


@pytest.mark.parametrize("iteration", [0, 2])
def test_no_memory_leaves_the_last_iteration(iteration, monkeypatch):
    """The pairs get their memory after the checks: before the first iteration nothing has changed."""

    class ShortOfMemory(Minimizer):
        def __init__(self, *arguments):
            if not iteration:
                raise MemoryError("mine")
            self.left = iteration

        def go_on(self):
            self.left -= 1
            if not self.left:
                raise MemoryError("mine")
            return super().go_on()

    net, shorter = make_net(), make_net()
    for one in (net, shorter):
        fit(one, optimizer="adam", epochs=2)
        out = one.forward(X, training=True)
    monkeypatch.setattr("nnfast.training.lbfgs.Minimizer", ShortOfMemory)
    with pytest.raises(MemoryError, match="mine"):
        fit(net)
    monkeypatch.undo()
    if iteration:
        fit(shorter, epochs=iteration)
    else:
        net.backward(out)  # the forward pass is still valid
    assert state(net)[:2] == state(shorter)[:2]


def test_at_an_optimum_there_is_nothing_to_do():
    net = nf.Sequential([nf.Dense(1, initializer=0.0)], input_shape=1, dtype="float64", seed=0)
    net.train_step(np.ones((4, 1)), np.zeros(4), "adam")
    history = net.fit(np.ones((4, 1)), np.zeros(4), optimizer="lbfgs", verbose=0)
    assert history["loss"] == []
    assert history.converged is True
    assert not net.flat_params.any()
    assert "optimizer" not in str(state(net)[1].keys()), "what Adam has left is cleared"


def test_a_longer_memory_takes_another_way():
    losses = {m: fit(make_net(), optimizer=nf.LBFGS(history_size=m), epochs=40)["loss"] for m in (1, 10)}
    assert losses[1][:2] == losses[10][:2]
    assert losses[1][-1] > losses[10][-1]


@pytest.mark.parametrize("threads", [2, 5])
def test_any_number_of_threads_gives_the_same_bits(threads):
    x, y = rng.normal(size=(3000, 60)), rng.integers(0, 4, 3000)
    nets = [nf.Sequential([nf.Dense(40, "tanh"), nf.Dense(4, "softmax")], input_shape=60, seed=5) for _ in range(2)]
    for net, count in zip(nets, (1, threads), strict=True):
        with nf.num_threads(count):
            net.fit(x, y, epochs=4, optimizer="lbfgs", verbose=0)
    np.testing.assert_array_equal(nets[0].flat_params, nets[1].flat_params)


def test_it_neither_leaves_nor_takes_state():
    net, fresh = make_net(), make_net()
    fit(net, optimizer="adam", epochs=2)
    fresh.flat_params[:] = net.flat_params
    fit(net, epochs=5)
    fit(fresh, epochs=5)
    assert state(net)[1].keys() == state(fresh)[1].keys() == set(make_net().params._paths)
    np.testing.assert_array_equal(net.flat_params, fresh.flat_params)
    net.copy()


def test_a_forward_pass_before_it_is_gone():
    net = make_net()
    out = net.forward(X, training=True)
    fit(net, epochs=1)
    with pytest.raises(RuntimeError, match="backward needs a forward"):
        net.backward(out)


def test_an_unbuilt_network_is_built():
    net = nf.Sequential([nf.Dense(4, "softmax")], seed=0)
    net.fit(X, LABELS, epochs=2, optimizer="lbfgs", verbose=0)
    assert net.input_shape == (3,)


def test_progress_is_shown(capsys):
    fit(make_net(), epochs=3, verbose=1)
    assert capsys.readouterr().err.startswith("epoch 3/3: accuracy ")
    fit(make_net(), epochs=3)
    assert capsys.readouterr().err == ""


def test_scipy_is_not_imported():
    code = """if True:
        import sys
        import nnfast as nf
        net = nf.Sequential([nf.Dense(2, "softmax")], input_shape=2, seed=0)
        nf.LBFGS()
        before = "scipy" in sys.modules
        net.fit([[0, 1], [1, 0]], [0, 1], optimizer="lbfgs", epochs=3)
        print(before, "scipy" in sys.modules)
    """
    assert subprocess.check_output([sys.executable, "-P", "-c", code], text=True) == "False False\n"


# ---- ending early


def test_stop_from_a_callback():
    net, shorter = make_net(), make_net()
    history = fit(net, callbacks=[lambda net, history: len(history["loss"]) == 4 and net.stop()])
    assert len(history["loss"]) == len(history.step_loss) == 4
    fit(shorter, epochs=4)
    np.testing.assert_array_equal(net.flat_params, shorter.flat_params)


def make_endless():
    """A network too small for its data, with arguments of a fit that goes on for minutes."""
    net = nf.Sequential([nf.Dense(20, "tanh"), nf.Dense(10, "softmax")], input_shape=50, dtype="float64", seed=0)
    optimizer = nf.LBFGS(tolerance=0, gradient_tolerance=0)
    data = rng.normal(size=(3000, 50)), rng.integers(0, 10, 3000)
    return net, data, {"epochs": 10**6, "optimizer": optimizer, "verbose": 0}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("end", ["stop", "max_seconds"])
def test_without_callbacks_it_ends_after_an_iteration_and_records_all(end):
    """What nobody looks at is recorded once in a while."""
    net, data, arguments = make_endless()
    seen = []

    def stop():
        while net.history is None or len(net.history["loss"]) < 2:
            time.sleep(0.01)
        seen.extend(net.history["loss"])
        net.stop()

    if end == "stop":
        other = threading.Thread(target=stop)
        other.start()
        history = net.fit(*data, **arguments)
        other.join()
    else:
        history = net.fit(*data, max_seconds=0.3, **arguments)
    assert history.converged is False
    assert len(history["loss"]) == len(history["accuracy"]) == len(history.step_loss) > 1
    np.testing.assert_array_equal(history["loss"], history.step_loss)
    assert history["loss"][: len(seen)] == seen
    assert history["loss"][-1] == net.loss(*data)


@pytest.mark.parametrize("error", [KeyError, StopIteration])
def test_an_error_in_a_callback_passes_and_leaves_the_last_iteration(error):
    net, shorter = make_net(), make_net()

    def fail(net, history):
        if len(history["loss"]) == 3:
            raise error("mine")

    with pytest.raises(error, match="mine"):
        fit(net, callbacks=[fail])
    fit(shorter, epochs=3)
    np.testing.assert_array_equal(net.flat_params, shorter.flat_params)
    assert len(net.history["loss"]) == 3
    net.train_step(X, LABELS)


@pytest.mark.skipif(os.name == "nt", reason="a process cannot send itself Ctrl-C alone")
@pytest.mark.usefixtures("listening")
def test_ctrl_c_leaves_the_network_as_the_last_iteration_did():
    net, (x, y), arguments = make_endless()

    def interrupt():
        while net.history is None or not net.history["loss"]:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Thread(target=interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        net.fit(x, y, **arguments)
    timer.join()
    assert len(net.history["loss"]) == len(net.history.step_loss) > 0
    assert net.loss(x, y) == net.history["loss"][-1]
    net.train_step(x, y)


def test_a_step_too_far_is_turned_back():
    """Where the loss overflows, the line search gets a large finite value instead of infinity, which would break it."""
    net = nf.Sequential([nf.Dense(6, "relu"), nf.Dense(1)], input_shape=3, dtype="float32", seed=0)
    x, y = X.astype(np.float32), X[:, :1].astype(np.float32)
    run = Minimization(net._network, x, y, None, 50, "backpropagation", ())
    far = np.full(net.n_parameters, 1e30)
    loss = run.evaluate(far)
    assert not np.isfinite(net.loss(x, y))
    assert loss == HUGE_LOSS
    assert not run.gradient.any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e3, 1e10, 1e18])
def test_features_of_a_wrong_scale_end_in_numbers(scale, dtype):
    net = nf.Sequential([nf.Dense(5, "relu"), nf.Dense(1)], input_shape=3, dtype=dtype, seed=0)
    before = net.loss(scale * X, X[:, 0])
    history = net.fit(scale * X, X[:, 0], optimizer="lbfgs", verbose=0)
    assert history["loss"][-1] == net.loss(scale * X, X[:, 0]) < before
    assert np.isfinite(net.flat_params).all()


def test_a_loss_that_is_not_finite_to_begin_with_is_refused():
    net = make_net(dtype="float32")
    net.params["W2"][0, 0] = np.nan
    with (
        unchanged_but_history(net),
        pytest.raises(ValueError, match="^the initial loss is not finite: L-BFGS cannot"),
    ):
        fit(net)


class unchanged_but_history:
    def __init__(self, net):
        self.net, self.before = net, state(net)[:2]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        assert state(self.net)[:2] == self.before


# ---- bad input


@pytest.mark.parametrize(
    "arguments", [{"steps": 5}, {"batch_size": 16}, {"batch_size": 60}, {"shuffle": False}], ids=str
)
def test_mini_batches_mean_nothing_to_it(arguments):
    net, (name,) = make_net(), arguments
    message = f"^{name} must be left out with LBFGS, which uses all data at once and counts its iterations as ep"
    with unchanged(net), pytest.raises(ValueError, match=message):
        fit(net, **arguments)


def test_single_steps_are_refused():
    net = make_net()
    net.backward(net.forward(X, training=True))
    message = r"^LBFGS minimizes the loss over the whole data: use fit\(x, y, optimizer=LBFGS\(...\)\), not "
    for step in (lambda: net.train_step(X, LABELS, "lbfgs"), lambda: net.update(nf.LBFGS())):
        with unchanged(net), pytest.raises(TypeError, match=message):
            step()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"history_size": 0}, ValueError, "history_size must be at least 1, got 0"),
        ({"history_size": 2.5}, TypeError, "history_size must be an integer"),
        ({"max_evaluations": 0}, ValueError, "max_evaluations must be at least 1, got 0"),
        ({"max_evaluations": 100.5}, TypeError, "max_evaluations must be an integer"),
        ({"max_evaluations": 2**31}, ValueError, "max_evaluations must be at most 2147483647, got 2147483648"),
        ({"tolerance": -1e-9}, ValueError, "tolerance must be a finite number"),
        ({"gradient_tolerance": np.nan}, ValueError, "gradient_tolerance must be a finite number"),
        ({"gradient_tolerance": "A"}, TypeError, "gradient_tolerance must be a number, got 'A'"),
    ],
)
def test_hyperparameters_are_checked(arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        nf.LBFGS(**arguments)
    optimizer = nf.LBFGS()
    ((name, value),) = arguments.items()
    setattr(optimizer, name, value)
    with pytest.raises(error, match=f"^{message}"):
        fit(make_net(), optimizer=optimizer)


def test_what_it_is():
    assert repr(nf.LBFGS(tolerance=0.5)) == "LBFGS(tolerance=0.5)"
    with pytest.raises(AttributeError, match="LBFGS has no hyperparameter 'learning_rate'"):
        nf.LBFGS().learning_rate = 0.1
    with pytest.raises(TypeError, match="epochs must be an integer"):
        fit(make_net(), epochs=2.5)


def test_what_it_refuses_leaves_an_unbuilt_network_unbuilt():
    net = nf.Sequential([nf.Dropout(0.5), nf.Dense(4, "softmax")], seed=0)
    with pytest.raises(ValueError, match=r"layers\[0\] is random in training: Dropout\(0.5\)"):
        fit(net)
    assert net.input_shape is None
    assert net.history is None


def test_a_refused_start_keeps_the_history():
    net = make_net()
    history = fit(net, epochs=2)
    net.params["W1"] = np.full_like(net.params["W1"], np.inf)
    with pytest.raises(ValueError, match="initial loss is not finite"), np.errstate(all="ignore"):
        fit(net)
    assert net.history is history


def test_more_history_than_scipy_has_room_for_is_refused():
    with pytest.raises(ValueError, match="history_size must be at most 1000, got 1001"):
        nf.LBFGS(history_size=1001)
