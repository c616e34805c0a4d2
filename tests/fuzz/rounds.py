"""How long a fuzzer runs: one short round with every `pytest`, or as many rounds as NNFAST_FUZZ sets.

`NNFAST_FUZZ=100 pytest tests/fuzz` runs a hundred times as long, each round with different seeds.
"""

from __future__ import annotations

import os

FACTOR = int(os.environ.get("NNFAST_FUZZ", "1"))


def seeds(short: int) -> range:
    """Return the seeds of a run: `short` of them, times NNFAST_FUZZ."""
    return range(short * FACTOR)
