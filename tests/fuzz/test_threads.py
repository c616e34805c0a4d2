"""Threads that train, copy, save, predict, stop and fork one network at random: none hangs, and each copy is whole.

A child process does everything, so that a deadlock becomes a failure.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from rounds import seeds

PROGRAM = """
import faulthandler
import os
import pickle
import random
import sys
import tempfile
import threading
import time
import warnings
import numpy as np
import nnfast as nf

faulthandler.dump_traceback_later(100, exit=True)
warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
warnings.filterwarnings("ignore", "L-BFGS did not converge")
random.seed(int(sys.argv[1]))
dtype = random.choice(["float32", "float64"])
# All units and inputs are alike, and so are all parameters, whatever trains them but for numerical gradients, whose
# rounding differs: two steps that mix show.
layers = [nf.Dense(1000, initializer=0.0)]
shape = None if random.random() < 0.5 else 50
net = nf.Sequential(layers, input_shape=shape, loss="mean_absolute_error", dtype=dtype, seed=0)
x, y = np.ones((30, 50)), np.full((30, 1000), 1e6)
end, errors = time.monotonic() + 1, []

def whole(one):
    if one._network.program is not None:
        for vector in (one.flat_params, one._network.built.slot.average, *one._network.built.slot.moments):
            assert vector is None or (vector == vector[0]).all(), "of two steps"

def busy(call):
    try:
        return call()
    except RuntimeError as error:
        if not any(word in str(error) for word in ("busy", "not known", "needs", "built", "no average")):
            raise

def train():
    optimizer = random.choice(["adam", "sgd", nf.Adam(average_decay=0.9), nf.SGD(0.01, momentum=0.9)])
    batch = random.choice([7, 10, 30])
    net.fit(x, y, steps=random.randint(1, 300), batch_size=batch, optimizer=optimizer, verbose=0,
            callbacks=random.choice([(), (lambda net, history: whole(net.copy()),)]))

def minimize():
    net.fit(x, y, epochs=random.randint(1, 9), optimizer="lbfgs", verbose=0)

def custom():
    out = net.forward(x, training=True)
    net.backward(out / len(x))
    net.update("adam")

def save():
    with tempfile.TemporaryDirectory() as folder:
        net.save(f"{folder}/net.npz")
        whole(nf.load(f"{folder}/net.npz"))

def fork():
    child = os.fork()
    if not child:
        code = 1
        try:
            if net._network.program is not None:
                net.train_step(x, y)
                net.fit(x, y, verbose=0)
                whole(net.copy())
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0, "the child failed"

ACTIONS = [
    train, train, minimize, custom, save, net.stop, net.reset_optimizer,
    lambda: net.train_step(x, y, "adam"),
    lambda: net.predict(x), lambda: net.loss(x, y), lambda: net.gradient(x, y),
    lambda: whole(net.averaged()), lambda: whole(net.copy()), lambda: whole(pickle.loads(pickle.dumps(net))),
    lambda: net.numerical_gradient(x[:3], y[:3], wrt="b1", verbose=0),
]
if hasattr(os, "fork"):
    ACTIONS.append(fork)

def run():
    try:
        while time.monotonic() < end and not errors:
            busy(random.choice(ACTIONS))
    except BaseException as error:
        errors.append(error)
        raise

threads = [threading.Thread(target=run) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
if errors:
    sys.exit(1)
net.fit(x, y, verbose=0)
print("well")
"""


@pytest.mark.parametrize("seed", seeds(4))
def test_threads_that_do_anything(seed: int) -> None:
    run = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, str(seed)], capture_output=True, text=True, timeout=150, env=os.environ
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == "well\n", run.stderr
