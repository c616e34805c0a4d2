"""Worker processes that begin after a threaded fit, or during one: none hangs, and all train and predict with the
same bits as the parent."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

# A file, because a spawned process imports the main module. 64-256-10 on 512 rows is work enough for several threads.
PROGRAM = """
import sys
import warnings
import numpy as np
import nnfast as nf

def make():
    net = nf.Sequential([nf.Dense(256, "relu"), nf.Dense(10, "softmax")], input_shape=64, seed=0)
    rng = np.random.default_rng(0)
    return net, rng.normal(size=(2048, 64)), np.arange(2048) % 10

def work(threads):
    nf.set_num_threads(threads)
    net, x, y = make()
    net.fit(x, y, steps=8, batch_size=512, verbose=0)
    return net.flat_params.tobytes() + net.predict(x).tobytes()

if __name__ == "__main__":
    warnings.simplefilter("error")
    here, kind = work(4), sys.argv[1]
    if kind == "loky":
        from joblib import Parallel, delayed
        answers = Parallel(n_jobs=2, backend="loky")(delayed(work)(n) for n in (1, 2, 4))
    else:
        import multiprocessing
        with multiprocessing.get_context(kind).Pool(2) as pool:
            answers = pool.map(work, (1, 2, 4))
    assert answers == [here] * 3
    assert work(2) == here
    print("the same")
"""


@pytest.mark.parametrize("kind", ["fork", "spawn", "loky"])
def test_workers_give_the_same_bits(kind, tmp_path):
    if kind == "fork" and not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    if kind == "loky" and not find_spec("joblib"):
        pytest.skip("joblib is not installed")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    run = subprocess.run([sys.executable, str(program), kind], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "the same\n"


# ---- forks in the middle of a fit

FORKS = """
import os
import sys
import threading
import time
import warnings
import numpy as np
import nnfast as nf
from nnfast.files import state as states

warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
x, y = np.random.default_rng(0).normal(size=(200, 40)), np.arange(200) % 10
adam, where = nf.Adam(), sys.argv[1]

def make():
    layers = [nf.Dense(60, "tanh"), nf.BatchNorm(), nf.Dropout(0.1), nf.Dense(10, "softmax")]
    return nf.Sequential(layers, input_shape=40, seed=0)

def state(net):
    description, arrays = states.to_state(net._network)
    description.pop("place", None)  # in an epoch, which only fit knows
    return str(description), {name: array.tobytes() for name, array in arrays.items()}

def train(net, **arguments):
    net.fit(x, y, batch_size=200, shuffle=False, optimizer=adam, verbose=0, **arguments)

def look(net):
    twin = make()
    for _ in range(net._network.built.slot.steps):
        twin.train_step(x, y, adam)
    assert state(net) == state(twin), "not of one step"
    for one in (net, twin):
        train(one, epochs=2)
        one.train_step(x, y, adam)
    assert state(net) == state(twin), "it does not go on with the same bits"
    net.copy(), net.predict(x)

def fork(net, use):
    child = os.fork()
    if not child:
        code = 1
        try:
            use(net)
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0

net = make()
if where == "another thread":
    most = 0
    def wait(net, history):  # or the twins would have too much to catch up with
        while len(history["loss"]) >= most and not net._network.stopping:
            time.sleep(0.001)
    thread = threading.Thread(target=train, args=(net,), kwargs={"epochs": 10**6, "callbacks": [wait]})
    copier = threading.Thread(target=lambda: [net.copy() for _ in range(100)])
    thread.start(), copier.start()
    for _ in range(15):
        most += 20
        fork(net, look)
    try:
        net.train_step(x, y)
    except RuntimeError as error:
        assert "the network is busy" in str(error), "in the parent it is"
    copier.join()
    net.stop(), thread.join()
elif where == "a callback":
    train(net, epochs=3, callbacks=[lambda net, history: fork(net, look)])
else:  # the child goes on with the fit that its callback came from
    parent = os.getpid()
    def go_on(net, history):
        if len(history["loss"]) == 2 and not os.fork():
            net.train_step(x, y, adam)
    train(net, epochs=5, callbacks=[go_on])
    if os.getpid() != parent:
        ok = net._network.built.slot.steps == 6 and len(net.history["loss"]) == 5
        os._exit(not ok)
    assert os.wait()[1] == 0
    assert net._network.built.slot.steps == 5
look(net)
print("whole")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("where", ["another thread", "a callback", "a callback, and on"])
def test_a_fork_during_a_fit_leaves_the_child_a_whole_network_that_is_free(where):
    run = subprocess.run([sys.executable, "-P", "-c", FORKS, where], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "whole\n", run.stderr


IMPORTS = """
import importlib.abc
import os
import sys
import threading
import time
import warnings
import nnfast as nf

warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
assert "nnfast.training" not in sys.modules, "nothing is left to import"
begun = threading.Event()

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.startswith("nnfast.training."):
            begun.set()
            time.sleep(0.05)

sys.meta_path.insert(0, Slow())

def train():
    nf.Sequential([nf.Dense(1)], input_shape=2, seed=0).fit([[0, 1], [1, 0]], [1.0, 3.0], verbose=0)

thread = threading.Thread(target=train)
thread.start()
begun.wait()
child = os.fork()
if not child:
    train()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_another_thread_imports_what_trains():
    subprocess.run([sys.executable, "-P", "-c", IMPORTS], check=True, timeout=60)
