"""How many threads a call may use, that it uses them, and that concurrent callers do not disturb each other.

test_bits.py tests that results do not depend on threads.
"""

from __future__ import annotations

import contextvars
import copy
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from numpy_network import state, state_of_steps
from tasks import most_tasks_during

import nnfast as nf
from nnfast.training.lbfgs import Minimization

on_linux = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc/self/task")


def make_net(*, units=200, seed=0):
    """With 100 rows there is work for 47 threads."""
    return nf.Sequential([nf.Dense(units, "relu"), nf.Dense(10, "softmax")], input_shape=784, seed=seed)


def make_data(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((n, 784), dtype=np.float32), rng.integers(0, 10, n)


@pytest.fixture(autouse=True)
def same_threads_after():
    before = nf.get_num_threads()
    yield
    nf.set_num_threads(before)


# ---- how many


def test_set_num_threads_holds_everywhere():
    nf.set_num_threads(3)
    assert nf.get_num_threads() == 3
    seen = []
    thread = threading.Thread(target=lambda: seen.append(nf.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [3]
    nf.set_num_threads(np.int64(2))
    assert nf.get_num_threads() == 2


def test_num_threads_holds_within_its_block_in_its_own_thread():
    nf.set_num_threads(4)
    seen = []
    with nf.num_threads(2):
        assert nf.get_num_threads() == 2
        with nf.num_threads(3):
            assert nf.get_num_threads() == 3
        assert nf.get_num_threads() == 2
        contextvars.Context().run(lambda: seen.append(nf.get_num_threads()))
        nf.set_num_threads(5)
        assert nf.get_num_threads() == 2, "the block goes first"
    assert seen == [4]
    assert nf.get_num_threads() == 5


def test_num_threads_ends_with_an_error():
    before = nf.get_num_threads()
    with pytest.raises(LookupError), nf.num_threads(before + 1):
        raise LookupError
    assert nf.get_num_threads() == before


@pytest.mark.parametrize("function", [nf.set_num_threads, lambda n: nf.num_threads(n).__enter__()])
def test_threads_are_a_positive_integer(function):
    before = nf.get_num_threads()
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=f"^n must be at least 1, got {wrong}"):
            function(wrong)
    with pytest.raises(ValueError, match="^n must be at most 1024, got 1025"):
        function(1025)
    for wrong in (2.0, "2", None, True):
        with pytest.raises(TypeError, match="^n must be an integer, got"):
            function(wrong)
    assert nf.get_num_threads() == before


def threads_with(**variables):
    """What a new process reports with these environment variables."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    return subprocess.run(
        [sys.executable, "-P", "-c", "import nnfast; print(nnfast.get_num_threads())"],
        env=environment | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.once
@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"NNFAST_NUM_THREADS": "3"}, 3),
        ({"NNFAST_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, 3),
        ({"OMP_NUM_THREADS": "5"}, 5),
        ({"OMP_NUM_THREADS": "6,2"}, 6),
        ({"NNFAST_NUM_THREADS": "", "OMP_NUM_THREADS": "5"}, 5),
        ({"NNFAST_NUM_THREADS": "5000"}, 1024),
        ({"NNFAST_NUM_THREADS": "9" * 5000}, 1024),
        ({"NNFAST_NUM_THREADS": "0" * 5000 + "7"}, 7),
        ({"NNFAST_NUM_THREADS": " 3 "}, 3),
        ({"OMP_NUM_THREADS": "9" * 5000 + ",2"}, 1024),
    ],
)
def test_the_environment_sets_threads(variables, expected):
    assert threads_with(**variables).stdout == f"{expected}\n"


@pytest.mark.once
@pytest.mark.parametrize(
    "variables",
    [{}, {"OMP_NUM_THREADS": "many"}, {"OMP_NUM_THREADS": "0" * 5000}, {"OMP_NUM_THREADS": "\N{SUPERSCRIPT TWO}"}],
)
def test_otherwise_threads_are_the_cores_that_may_be_used(variables):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert 1 <= int(threads_with(**variables).stdout) <= cores


@pytest.mark.once
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs sched_setaffinity")
def test_affinity_bounds_the_threads():
    code = "import os, nnfast; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(nnfast.get_num_threads())"
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    assert subprocess.check_output([sys.executable, "-P", "-c", code], env=environment, text=True) == "1\n"


@pytest.mark.once
@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", " ", "\N{ARABIC-INDIC DIGIT THREE}", "\N{SUPERSCRIPT TWO}"])
def test_a_wrong_number_in_the_environment_is_an_error(value):
    """Not at import: the call that needs the number raises it."""
    result = threads_with(NNFAST_NUM_THREADS=value)
    assert result.returncode == 1
    assert re.search(rf"ValueError: NNFAST_NUM_THREADS must be a positive integer.*, got '{value}'\n$", result.stderr)


# ---- they are used, and end


@pytest.mark.once
@on_linux
@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize(
    "method", ["fit", "train_step", "gradient", "numerical_gradient", "predict", "loss", "forward", "backward"]
)
def test_a_call_uses_threads_and_leaves_none_behind(method, threads):
    net, (x, y) = make_net(), make_data(1500)
    gout = np.ones((1500, 10), np.float32)
    call = {
        "fit": lambda: net.fit(x, y, batch_size=100, epochs=5, verbose=0),
        "train_step": lambda: net.train_step(x, y),
        "gradient": lambda: net.gradient(x, y),
        "numerical_gradient": lambda: net.numerical_gradient(x[:100], y[:100], wrt="b1"),
        "predict": lambda: net.predict(x),
        "loss": lambda: net.loss(x, y),
        "forward": lambda: net.forward(x, training=True),
        "backward": lambda: net.backward(gout),
    }[method]

    for _ in range(50):  # until they are seen: on a busy machine the call may end before they are counted
        if method == "backward":
            with nf.num_threads(1):
                net.forward(x, training=True)
        with nf.num_threads(threads, fixed=True):
            more, left = most_tasks_during(call)
        assert left == 0
        assert more <= threads - 1
        if more == threads - 1:
            break
    assert more == threads - 1


@on_linux
def test_small_calls_start_no_thread():
    net = nf.Sequential([nf.Dense(8, "tanh"), nf.Dense(2, "softmax")], input_shape=4, seed=0)
    x, y = np.zeros((64, 4), np.float32), np.zeros(64, int)

    def calls():
        for _ in range(2000):
            net.train_step(x, y)
            net.gradient(x, y)
            net.predict(x)

    with nf.num_threads(8):
        assert most_tasks_during(calls) == (0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the size of a process that holds")
def test_where_no_thread_can_be_started_one_does_all_the_work():
    """No address space is left for the stack of a thread: the results have the same bits."""
    code = """if True:
        import resource, sys
        import numpy as np
        import nnfast as nf

        net = nf.Sequential([nf.Dense(50, "relu"), nf.Dense(10, "softmax")], input_shape=784, seed=0)
        x, y = np.ones((200, 784), np.float32), np.zeros(200, int)
        out = np.empty((200, 10), np.float32)
        with nf.num_threads(1):
            net.train_step(x, y)
            net.predict(x, out=out)
            twin = net.copy()
            twin.train_step(x, y)
            expected = twin.predict(x).tobytes()
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 2**20, -1))
        import threading
        try:
            threading.Thread(target=print).start()
        except RuntimeError:
            pass
        else:
            sys.exit("the limit does not hold")
        with nf.num_threads(4):
            net.train_step(x, y)
            net.predict(x, out=out)
        print(out.tobytes() == expected)
    """
    result = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    if "the limit does not hold" in result.stderr:
        pytest.skip("a thread could be started in spite of the limit")
    assert (result.stdout, result.stderr) == ("True\n", "")


# ---- many callers


def in_threads(count, work):
    """Run `work(i)` in this many threads at once; return the results."""
    results, errors, start = [None] * count, [], threading.Barrier(count)

    def run(i):
        try:
            start.wait()
            results[i] = work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    return results


@pytest.mark.parametrize("inner", [1, 2])
def test_predict_from_eight_threads_at_once(inner):
    net, (x, y) = make_net(units=60), make_data(500)
    expected = net.predict(x).tobytes(), net.loss(x, y), net.accuracy(x, y), net.predict_one(x[0]).tobytes()

    def work(i):
        with nf.num_threads(inner):
            for _ in range(15):
                got = net.predict(x).tobytes(), net.loss(x, y), net.accuracy(x, y), net.predict_one(x[0]).tobytes()
                if got != expected:
                    return False
        return True

    assert in_threads(8, work) == [True] * 8


def test_gradients_from_eight_threads_at_once():
    net, (x, y) = make_net(units=60), make_data(100)
    expected = {name: value.tobytes() for name, value in net.gradient(x, y).items()}

    def work(i):
        return all({name: value.tobytes() for name, value in net.gradient(x, y).items()} == expected for _ in range(10))

    assert in_threads(8, work) == [True] * 8


def test_predictions_of_different_rows_at_once():
    """Each caller has a separate workspace: with more callers than workspaces that are kept ready."""
    net = make_net(units=60)
    data = [make_data(40 + i, seed=i)[0] for i in range(24)]
    expected = [net.predict(x).tobytes() for x in data]
    assert in_threads(24, lambda i: [net.predict(data[i]).tobytes() for _ in range(5)]) == [[e] * 5 for e in expected]


def test_many_networks_are_trained_at_once():
    x, y = make_data(200)

    def train(i):
        net = make_net(units=30, seed=i)
        net.fit(x, y, epochs=3, optimizer="adam", verbose=0)
        return state(net)[:2]

    assert in_threads(6, train) == [train(i) for i in range(6)]


def test_of_many_writers_each_step_is_whole():
    """A step is either taken or raises RuntimeError; never half of it is taken."""
    net, twin = make_net(units=30), make_net(units=30)
    x, y = make_data(50)

    def train(i):
        taken = 0
        for _ in range(50):
            try:
                net.train_step(x, y)
                taken += 1
            except RuntimeError as error:
                assert "the network is busy" in str(error)
        return taken

    steps = sum(in_threads(4, train))
    assert steps > 0
    for _ in range(steps):
        twin.train_step(x, y)
    assert net.flat_params.tobytes() == twin.flat_params.tobytes()


def test_predict_while_another_thread_trains():
    """The result is that of some state of the network, and training continues."""
    net, calm = make_net(units=30), make_net(units=30)
    x, y = make_data(300)
    calm.fit(x, y, epochs=20, verbose=0)
    done = threading.Event()
    seen = []

    def read():
        while not done.is_set():
            seen.append(bool(np.isfinite(net.predict(x[:50])).all()))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        net.fit(x, y, epochs=20, verbose=0)
    finally:
        done.set()
        reader.join()
    assert seen
    assert all(seen)
    assert net.flat_params.tobytes() == calm.flat_params.tobytes()


@pytest.mark.once
def test_fit_lets_other_threads_run():
    """It releases Python's lock: other threads keep counting while epochs run."""
    net = nf.Sequential([nf.Dense(8, "tanh"), nf.Dense(2, "softmax")], input_shape=4, seed=0)
    done, counted = threading.Event(), []

    def count():
        while not done.is_set():
            counted.append(time.perf_counter())
            time.sleep(0.001)

    counter = threading.Thread(target=count)
    counter.start()
    begin = time.perf_counter()
    try:
        net.fit(np.zeros((4, 4)), np.zeros(4, int), steps=200_000, verbose=0, shuffle=False)
    finally:
        end = time.perf_counter()
        done.set()
        counter.join()
    during = [t for t in counted if begin < t < end]
    assert len(during) > 10


# ---- copies of a network that another thread trains: each has the state after one step

COPIES = {
    "copy": lambda net, path: net.copy(),
    "deepcopy": lambda net, path: copy.deepcopy(net),
    "pickle": lambda net, path: pickle.loads(pickle.dumps(net)),
    "save": lambda net, path: (net.save(path), nf.load(path))[1],
}


def small_net(dtype="float32"):
    layers = [nf.Dense(60, "tanh"), nf.BatchNorm(), nf.Dropout(0.1), nf.Dense(10, "softmax")]
    return nf.Sequential(layers, input_shape=40, dtype=dtype, seed=0)


def while_training(train, take, most=200):
    """Return what `take()` gives, again and again while another thread runs `train`."""
    errors, taken, going = [], [], threading.Event()

    def run():
        try:
            going.set()
            train()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    going.wait()
    try:
        while thread.is_alive() and len(taken) < most:
            taken.append(take())
    finally:
        thread.join()
    assert not errors
    return taken


@pytest.mark.once
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("method", ["fit", "train_step", "numerical"])
def test_a_copy_while_another_thread_trains_is_of_one_step(how, method, tmp_path):
    net, twin = small_net(), small_net()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 40)), rng.integers(0, 10, 50)
    adam = nf.Adam(1e-3, average_decay=0.9)
    if method == "numerical":
        x, y = x[:3], y[:3]
    numerical = {"gradient": "numerical"} if method == "numerical" else {}

    steps = 20 if numerical else 1000

    def train():
        if method == "train_step":
            for _ in range(steps):
                net.train_step(x, y, adam)
        else:
            net.fit(x, y, steps=steps, batch_size=len(x), shuffle=False, optimizer=adam, verbose=0, **numerical)

    taken = while_training(train, lambda: COPIES[how](net, tmp_path / "net.npz"))
    for one in taken:  # the same bits as a twin has after so many steps: parameters, moments, statistics and noise
        if not one._network.built.slot.steps:  # the optimizer's slot may be empty, or ready for the first step
            assert one.flat_params.tobytes() == twin.flat_params.tobytes()
            continue
        ahead = one._network.built.slot.steps - twin._network.built.slot.steps
        if numerical and ahead:
            twin.fit(x, y, steps=ahead, shuffle=False, optimizer=adam, verbose=0, **numerical)
        elif not numerical:
            for _ in range(ahead):
                twin.train_step(x, y, adam)
        assert state_of_steps(one) == state_of_steps(twin)
        assert one.epochs_trained == (0 if method == "train_step" else one._network.built.slot.steps)
    assert taken


@pytest.mark.once
def test_an_average_while_another_thread_trains_is_of_one_step():
    net, twin = small_net(), small_net()
    x, y = np.ones((50, 40)), np.arange(50) % 10
    averages, adam = set(), nf.Adam(1e-2, average_decay=0.9)
    for _ in range(200):
        twin.train_step(x, y, adam)
        averages.add(twin.averaged().flat_params.tobytes())
    net.train_step(x, y, adam)
    callback = [lambda net, history: len(history["loss"]) < 199 and time.sleep(0.001)]
    seen = while_training(
        lambda: net.fit(x, y, steps=199, batch_size=50, shuffle=False, optimizer=adam, verbose=0, callbacks=callback),
        lambda: net.averaged().flat_params.tobytes(),
    )
    assert seen
    assert set(seen) <= averages


@pytest.mark.filterwarnings("ignore:L-BFGS did not converge")
def test_a_copy_while_lbfgs_runs_is_of_an_iteration():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 40)), rng.integers(0, 10, 300)
    net = nf.Sequential([nf.Dense(60, "tanh"), nf.Dense(10, "softmax")], input_shape=40, seed=0)
    iterations = {net.flat_params.tobytes()}
    for _ in range(20):  # on a busy machine a fit may end before it is copied for the first time
        net.flat_params[:] = rng.normal(size=net.flat_params.size)
        iterations.add(net.flat_params.tobytes())
        seen = while_training(
            lambda: net.fit(
                x, y, epochs=300, optimizer=nf.LBFGS(tolerance=0, gradient_tolerance=0), verbose=0,
                callbacks=[lambda net, history: iterations.add(net.flat_params.tobytes())],
            ),
            lambda: net.copy().flat_params.tobytes(),
        )  # fmt: skip
        if seen:
            break
    assert seen
    assert set(seen) <= iterations


def test_a_numerical_gradient_of_a_network_that_is_trained_is_of_one_step():
    net = nf.Sequential([nf.Dense(30, "tanh"), nf.Dense(1)], input_shape=20, dtype="float64", seed=0)
    x, y = np.ones((30, 20)), np.zeros(30)
    reached = [net.copy()]
    seen = while_training(
        lambda: net.fit(
            x, y, epochs=50, batch_size=30, optimizer=nf.SGD(1e-3), verbose=0,
            callbacks=[lambda net, history: (reached.append(net.copy()), time.sleep(0.001))],
        ),
        lambda: net.numerical_gradient(x, y, verbose=0)["W1"].tobytes(),
    )  # fmt: skip
    assert seen
    assert set(seen) <= {one.numerical_gradient(x, y, verbose=0)["W1"].tobytes() for one in reached}


def test_callbacks_may_copy_and_so_may_threads_they_wait_for(tmp_path):
    net, copies = small_net(), []

    def look(net, history):
        thread = threading.Thread(target=lambda: copies.append(net.copy()))
        thread.start()
        thread.join()
        net.save(tmp_path / "net.npz")
        assert state(net)[:2] == state(copies[-1])[:2] == state(nf.load(tmp_path / "net.npz"))[:2]
        with pytest.raises(RuntimeError, match="the network is busy"):
            net.train_step(np.ones((2, 40)), [0, 1])

    for arguments in ({}, {"gradient": "numerical"}):
        net.fit(np.ones((4, 40)), [0, 1, 2, 3], epochs=3, verbose=0, callbacks=[look], **arguments)
    assert len({one.flat_params.tobytes() for one in copies}) == 6


def test_two_threads_that_fit_a_network_without_a_shape():
    """One builds it and trains; the other gets an error."""
    x, y = np.ones((4, 40)), [0, 1, 2, 3]
    for seed in range(20):
        net = nf.Sequential([nf.Dense(60, "tanh"), nf.Dense(10, "softmax")], seed=seed)
        calm = nf.Sequential([nf.Dense(60, "tanh"), nf.Dense(10, "softmax")], seed=seed)
        calm.fit(x, y, epochs=3, verbose=0)

        def train(i, net=net):
            try:
                net.fit(x, y, epochs=3, verbose=0, callbacks=[lambda net, history: time.sleep(0.001)])
                return True
            except RuntimeError as error:
                assert "the network is busy" in str(error)
                return False

        steps = sum(in_threads(2, train)) * 3
        assert net._network.built.slot.steps == steps
        if steps == 3:
            assert net.flat_params.tobytes() == calm.flat_params.tobytes()


@pytest.mark.once
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timer that sends signals")
def test_a_signal_handler_in_the_middle_of_a_step_gets_a_whole_copy():
    """Long steps let handlers run: the parameters and the count of steps are those before the step."""
    net, copies = make_net(units=400), []
    twin = net.copy()
    x, y = make_data(6000)

    def handler(*_):
        copies.append(net.copy())
        signal.setitimer(signal.ITIMER_REAL, 0.03)  # not before this one has returned

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.03)
    try:
        net.fit(x, y, steps=12, batch_size=len(x), shuffle=False, verbose=0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    reached = [state_of_steps(twin)]
    for _ in range(12):
        twin.train_step(x, y)
        reached.append(state_of_steps(twin))
    copies = [one for one in copies if one._network.built.slot.steps]  # before, the slot is ready for the first step
    assert copies
    assert all(state_of_steps(one) in reached for one in copies)


def test_a_signal_handler_within_an_iteration_of_lbfgs_cannot_copy():
    """The parameters are at a trial point of the line search."""
    net, told = make_net(units=20), []
    x, y = make_data(20)
    gradient = Minimization._by_backpropagation

    def interrupted(self):
        if self.step == 2 and not told:
            with pytest.raises(RuntimeError, match=r"in the middle of a step of this same thread.*callback of fit"):
                net.copy()
            told.append(True)
        return gradient(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Minimization, "_by_backpropagation", interrupted)
        net.fit(x, y, optimizer=nf.LBFGS(tolerance=1e-3), verbose=0)
    assert told
    net.copy()


# ---- how many threads a fit uses


def wide_net():
    return nf.Sequential([nf.Dense(256, "relu"), nf.Dense(10, "softmax")], input_shape=200, seed=0)


@pytest.mark.once
@pytest.mark.parametrize(("threads", "allowed"), [(1, {1}), (2, {1, 2}), (5, {1, 2, 4, 5}), (8, {1, 2, 4, 8})])
def test_a_fit_tries_fewer_threads_and_records_them(threads, allowed):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(640, 200)).astype("f4"), rng.integers(0, 10, 640)
    nets = [wide_net(), wide_net()]
    with nf.num_threads(threads):
        history = nets[0].fit(x, y, epochs=60, batch_size=64, verbose=0)
    with nf.num_threads(threads, fixed=True):
        fixed = nets[1].fit(x, y, epochs=60, batch_size=64, verbose=0)
    assert sum(history.threads.values()) == 600
    assert set(history.threads) <= allowed
    assert len(history.threads) >= min(2, len(allowed)), "none but the maximum was tried"
    assert fixed.threads == {threads: 600}
    assert nets[0].flat_params.tobytes() == nets[1].flat_params.tobytes()


@pytest.mark.parametrize(("fixed", "threads"), [(False, 1), (True, 4)])
def test_small_steps_begin_with_one_thread_unless_the_number_is_fixed(fixed, threads):
    x, y = np.ones((50, 4), np.float32), np.arange(50) % 3
    net = nf.Sequential([nf.Dense(3, "softmax")], input_shape=4, seed=0)
    with nf.num_threads(4, fixed=fixed):
        assert net.fit(x, y, steps=1, batch_size=5, verbose=0).threads == {threads: 1}


def test_whether_the_number_is_fixed_must_be_a_bool():
    before = nf.get_num_threads()
    with pytest.raises(TypeError, match=r"^fixed must be True or False, got 'yes'"):
        nf.set_num_threads(2, fixed="yes")
    assert nf.get_num_threads() == before
    with pytest.raises(TypeError, match=r"^fixed must be True or False, got 1"), nf.num_threads(2, fixed=1):
        pass
