"""What all tests share: hypothesis's settings, the path to the tolerance table, MNIST, and handling of Ctrl-C."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.append(str(Path(__file__).parent))

# No deadline: on a busy machine an example is sometimes slow. In CI the same examples run every time.
settings.register_profile("nnfast", deadline=None, max_examples=60)
settings.register_profile("ci", settings.get_profile("nnfast"), derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "nnfast")


@pytest.fixture(scope="session")
def needs_mnist():
    """Skip if MNIST is not available: no test downloads it."""
    home = os.environ.get("NNFAST_DATA_HOME")
    if not home or not Path(home, "mnist").is_dir():
        pytest.skip("MNIST is not in the folder that NNFAST_DATA_HOME names")


@pytest.fixture
def listening():
    """A process started in the background ignores Ctrl-C; and Python loses one that arrives within a callback of
    the garbage collector, such as hypothesis's."""
    before, callbacks = signal.signal(signal.SIGINT, signal.default_int_handler), gc.callbacks[:]
    gc.callbacks.clear()
    yield
    gc.callbacks[:] = callbacks
    signal.signal(signal.SIGINT, before)
