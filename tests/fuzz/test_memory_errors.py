"""Where memory ends, in any call and at any allocation: MemoryError, the network is as it was, and works afterwards.

Two ways, each in a process of its own: Python's allocator fails from the nth request on, and the system grants no more
addresses than a random limit.
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
from nnfast import saving

warnings.filterwarnings("ignore", "L-BFGS did not converge")
seed = int(sys.argv[1])
random.seed(seed)
rng = np.random.default_rng(seed)

def state(net):
    description, arrays = saving.to_state(net)
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
        "fit weights": (lambda: net.fit(x, y, sample_weight=np.ones(60), validation_data=(x, y), verbose=0), 2),
        "fit schedule": (lambda: net.fit(x, y, optimizer=nf.Adam(nf.schedules.Constant(0.1)), verbose=0), 2),
        "lbfgs": (lambda: net.fit(x, y, epochs=3, optimizer="lbfgs", verbose=0), 3),
        "train_step": (lambda: net.train_step(x, y, nf.AdamW(average_decay=0.5)), 1),
        "backward": (lambda: net.backward(gout), 0),
        "forward": (lambda: net.forward(np.repeat(x, 3, axis=0), training=True), 1),
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
        steps = net._built.optimizer_steps
        assert most_steps, f"{name} has changed the network"
        assert all(np.isfinite(view).all() for view in net.params.values())
    elif waiting >= 0 and name != "backward":
        assert net._built.saved_rows in (waiting, -1)
    net.train_step(x, y, "adam")  # neither busy nor held
    net.copy()
    return after == before
"""

PYTHONS = (
    COMMON
    + """
import _testcapi

def attempt(call, n):
    gc.collect()
    gc.disable()
    failed = False
    _testcapi.set_nomemory(n, n + random.choice([1, 10**6]))
    try:
        call()
    except MemoryError:
        failed = True
    except SystemError as error:  # some of NumPy's functions forget to say why they fail
        failed = True
        if "without" not in str(error):
            raise
    finally:
        _testcapi.remove_mem_hooks()
        gc.enable()
    return failed

net, x, y = make(4)
count = 0
for name in calls(net, x, y):
    net, x, y = make(4)
    call, most_steps = calls(net, x, y)[name]
    call()  # imports and caches are warm
    for _ in range(25):
        net, x, y = make(4)
        call, most_steps = calls(net, x, y)[name]
        before, waiting = state(net), net._built.saved_rows
        if attempt(call, random.randint(1, 400)):
            count += 1
            check(net, x, y, name, before, waiting, most_steps)
print("well", count > 20)
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
    before, waiting = state(net), net._built.saved_rows
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
    """Let a process say that all is well, and that memory has ended often enough."""
    process = subprocess.run(
        [sys.executable, "-P", "-c", program, str(seed)], capture_output=True, text=True, timeout=300,
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stdout == "well True\n", process.stderr


@pytest.mark.skipif(not find_spec("_testcapi"), reason="this Python is without _testcapi, which lets memory end")
@pytest.mark.parametrize("seed", seeds(2))
def test_memory_of_python_ends(seed: int) -> None:
    run(PYTHONS, seed)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the size of a process that holds")
@pytest.mark.parametrize("seed", seeds(1))
def test_memory_of_the_system_ends(seed: int) -> None:
    run(SYSTEMS, seed)
