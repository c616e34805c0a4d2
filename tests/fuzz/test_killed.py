"""Processes that are killed while they save: the file always holds a whole network, the last one saved or a newer one.

`PYTHONPATH=tests python tests/fuzz/test_killed.py 200` kills so many, and prints how many files could be read.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from rounds import seeds

import nnfast as nf

ENDINGS = (".npz", ".safetensors")
WRITER = """if True:
    import sys
    import nnfast as nf
    net = nf.Sequential([nf.Dense(300)], input_shape=300, seed=0)
    number = 0
    while True:  # without a pause: it is killed somewhere in a save, not between two
        number += 1
        net.flat_params[:] = number
        net.save(sys.argv[1])
        print(number, flush=True)
"""


def killed(path: Path, rng: random.Random) -> tuple[set[float], int]:
    """Kill a process that saves; return the values of the parameters in the file, and the last ones that it saved."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        assert process.wait() == -signal.SIGKILL
    complete = (first + rest).rpartition(b"\n")[0]
    return {*nf.load(path).flat_params.tolist()}, int(complete.split()[-1])


def check(path: Path, rng: random.Random) -> None:
    values, last = killed(path, rng)
    assert values in ({last}, {last + 1}), "one whole network, the last that was saved or the one after"
    assert len(os.listdir(path.parent)) <= 2, "what the one before has left was removed"


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("ending", ENDINGS)
def test_a_killed_process_leaves_a_whole_network(ending, tmp_path):
    for seed in seeds(3):
        check(tmp_path / f"net{ending}", random.Random(seed))


def main(number: int) -> None:
    """Kill a number of processes, print what they left, and raise AssertionError or LoadError at the first bad file."""
    leftovers = 0
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / ending[1:] / f"net{ending}" for ending in ENDINGS]
        for path in paths:
            path.parent.mkdir()
        for i in range(number):
            path = paths[i % len(paths)]
            check(path, random.Random(i))
            leftovers += len(os.listdir(path.parent)) - 1
    print(f"{number} of {number} files were readable and whole; {leftovers} were killed in the middle of a file")


if __name__ == "__main__":
    main(int(sys.argv[1]))
