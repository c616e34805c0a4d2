"""Worker processes that begin after a threaded fit: none hangs, and all train and predict with the parent's bits."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

# A file, for a spawned process imports the main module. 64-256-10 on 512 rows is work enough for several threads.
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
