"""If memory runs out, in any call and at any allocation: MemoryError, and the network is unchanged and still works.

Two ways, each in a separate process: NumPy fails to allocate from the nth array on, and the system limits the address
space at random. Python's own allocator is made to fail in one place only, because NumPy does not survive that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
from rounds import seeds

COMMON = """
import gc
import random
import sys
import warnings
import numpy as np
import nnfast as nf
from nnfast.files import state as states

warnings.filterwarnings("ignore", "L-BFGS did not converge")
seed = int(sys.argv[1])
random.seed(seed)
rng = np.random.default_rng(seed)

def state(net):
    description, arrays = states.to_state(net._network)
    return str(description), {name: array.tobytes() for name, array in arrays.items()}

def make(width, outputs=3):
    layers = [nf.Dense(width, "tanh"), nf.BatchNorm(), nf.Dense(outputs, "softmax")]
    net = nf.Sequential(layers, input_shape=width, dtype="float32", seed=seed)
    x, y = rng.normal(size=(60, width)).astype(np.float32), rng.integers(0, outputs, 60)
    net.train_step(x, y, "adam")
    net.forward(x, training=True)
    return net, x, y

def calls(net, x, y):
    # what is called, and how many steps it takes at most
    gout = np.ones((60, 3), np.float32)
    unbuilt = lambda: nf.Sequential(net.layers, seed=0)
    return {
        "fit": (lambda: net.fit(x, y, batch_size=20, epochs=2, verbose=0), 6),
        "fit sgd": (lambda: net.fit(x, y, steps=3, optimizer=nf.SGD(momentum=0.9, average_decay=0.9), verbose=0), 3),
        "fit weights": (lambda: net.fit(x, y, sample_weight=[1.0] * 60, validation_data=(x, y), verbose=0), 2),
        "fit schedule": (lambda: net.fit(x, y, optimizer=nf.Adam(nf.schedules.Constant(0.1)), verbose=0), 2),
        "lbfgs": (lambda: net.fit(x, y, epochs=3, optimizer="lbfgs", verbose=0), 3),
        "train_step": (lambda: net.train_step(x, y, nf.AdamW(average_decay=0.5)), 0),
        "backward": (lambda: net.backward(gout), 0),
        "forward": (lambda: net.forward(np.repeat(x, 3, axis=0), training=True), 0),
        "predict": (lambda: net.predict(x), 0),
        "predict_class": (lambda: net.predict_class(x), 0),
        "loss": (lambda: net.loss(x, y), 0),
        "accuracy": (lambda: net.accuracy(x, y), 0),
        "gradient": (lambda: net.gradient(x, y), 0),
        "numerical": (lambda: net.numerical_gradient(x[:4], y[:4], wrt="b1", verbose=0), 0),
        "copy": (lambda: net.copy(), 0),
        "build": (lambda: unbuilt().build(x.shape[1]), 0),
        "fit unbuilt": (lambda: unbuilt().fit(x, y, verbose=0), 0),
    }

def check(net, x, y, name, before, waiting, most_steps):
    # as before, unless steps were taken: then the count of steps tells
    after = state(net)
    if after != before:
        assert most_steps, f"{name} has changed the network"
        # a fit with a schedule has drawn its first order by the time it makes rates
        assert len(net.history.step_loss) or (name == "fit schedule" and after[1] == before[1] | after[1])
        assert len(net.history.step_loss) <= most_steps
        assert all(np.isfinite(view).all() for view in net.params.values())
    elif waiting >= 0 and name != "backward":
        assert net._network.built.saved_rows in (waiting, -1)
    net.train_step(x, y, "adam")  # neither busy nor held
    net.copy()
    return after == before
"""

ARRAYS = (
    COMMON
    + """
left = -1  # arrays that may be made yet

def failing(function):
    def make(*arguments, **keywords):
        global left
        left -= 1
        if left == 0 or (left < 0 and lasting and left > -1000):
            raise MemoryError("no array")
        return function(*arguments, **keywords)
    return make

names = ("empty", "zeros", "arange", "full", "array", "empty_like", "zeros_like", "repeat", "concatenate", "require")
originals = {name: getattr(np, name) for name in names}
count = 0
for name in calls(*make(4)):
    for nth in range(1, 40):
        net, x, y = make(4)
        call, most_steps = calls(net, x, y)[name]
        before, waiting = state(net), net._network.built.saved_rows
        left, lasting = nth, random.random() < 0.5
        vars(np).update({name: failing(function) for name, function in originals.items()})
        try:
            call()
            failed = False
        except MemoryError:
            failed = True
        finally:
            vars(np).update(originals)
        count += failed
        if failed:
            check(net, x, y, name, before, waiting, most_steps)
        elif left > 0:
            break
print("well", count > 20)
"""
)

WITHOUT_MEMORY = (
    COMMON
    + """
import _testcapi

net, x, y = make(4)
failed = 0
for context in (lambda: net._network.guard, lambda: net._network.guard.change, lambda: net._network.guard.whole):
    tuples = [(i,) * 3 for i in range(5000)]  # none is left that could be used again
    try:
        with context():
            _testcapi.set_nomemory(0)
            [] + [1]
    except MemoryError:
        failed += 1
    finally:
        _testcapi.remove_mem_hooks()
net.train_step(x, y)
net.copy()
print("well", failed == 3)
"""
)

SYSTEMS = (
    COMMON
    + """
import resource

def size():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()

count = 0
names = list(calls(*make(4)))
for name in names:
    calls(*make(4))[name][0]() if name != "backward" else None  # SciPy is imported, and threads' first needs are met
nf.set_num_threads(1)
for name in random.sample(names, 8):
    net, x, y = make(800)
    call, most_steps = calls(net, x, y)[name]
    before, waiting = state(net), net._network.built.saved_rows
    gc.collect()
    resource.setrlimit(resource.RLIMIT_AS, (size() + random.choice([0, 1, 2, 4, 8, 16]) * 2**20, -1))
    try:
        call()
        failed = False
    except MemoryError:
        failed = True
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    if failed:
        count += 1
        check(net, x, y, name, before, waiting, most_steps)
print("well", count > 0)
"""
)


def run(program: str, seed: int) -> None:
    """Run a process and check that it succeeded and that memory ran out often enough."""
    process = subprocess.run(
        [sys.executable, "-P", "-c", program, str(seed)], capture_output=True, text=True, timeout=300,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stdout == "well True\n", process.stderr


@pytest.mark.parametrize("seed", seeds(1))
def test_no_array_can_be_made(seed: int) -> None:
    run(ARRAYS, seed)


@pytest.mark.skipif(not find_spec("_testcapi"), reason="this Python is without _testcapi, which lets memory end")
def test_a_network_is_let_go_without_memory() -> None:
    run(WITHOUT_MEMORY, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the size of a process that holds")
@pytest.mark.parametrize("seed", seeds(1))
def test_memory_of_the_system_ends(seed: int) -> None:
    run(SYSTEMS, seed)
