"""How long `import nnfast` takes compared with `import numpy`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from bench.race import ratios

CODE = "from time import perf_counter; start = perf_counter(); import {}; print(perf_counter() - start)"


def compare_imports(rounds: int) -> dict[str, Any]:
    """Return the time of both imports, in fresh processes, in turn; without the start of Python itself."""
    seconds: dict[str, list[float]] = {"numpy": [], "nnfast": []}
    for name in seconds:
        import_seconds(name)  # loads the files into memory
    for _ in range(rounds):
        for name, times in seconds.items():
            times.append(import_seconds(name))
    milliseconds = {name: 1e3 * median(times) for name, times in seconds.items()}
    return {"rounds": rounds, "ratio": ratios(seconds["nnfast"], seconds["numpy"]), "milliseconds": milliseconds}


def import_seconds(name: str) -> float:
    """Return how long the import of a module takes in a fresh process, which imports the same nnfast."""
    import nnfast

    home = str(Path(nnfast.__file__).parents[1])
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), home]))
    run = subprocess.run(
        [sys.executable, "-P", "-c", CODE.format(name)],
        env={**os.environ, "PYTHONPATH": path}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return float(run.stdout)
