"""How long a fuzzer runs: a short round with every `pytest`, and as many of them as NNFAST_FUZZ says by hand.

`NNFAST_FUZZ=100 pytest tests/fuzz` runs a hundred times as long, each round with seeds of its own.
"""

from __future__ import annotations

import os

FACTOR = int(os.environ.get("NNFAST_FUZZ", "1"))


def seeds(short: int) -> range:
    """Return the seeds of a run: `short` of them, times NNFAST_FUZZ."""
    return range(short * FACTOR)
