"""Fuzzing of loaders that is guided by coverage, with atheris (https://pypi.org/project/atheris), which is optional.

`PYTHONPATH=tests python tests/fuzz/guided.py LOADER FOLDER -max_total_time=600` starts from the corpus of a loader,
keeps in FOLDER the files that reach new code, and stops at the first file that `loaders.check_file` finds bad. Options
are libFuzzer's. It changes files as `loaders.py` does, and as libFuzzer does.
"""

from __future__ import annotations

import contextlib
import random
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["nnfast.files", "nnfast.datasets"]):
    import nnfast.datasets
    import nnfast.files.npz
    import nnfast.files.onnx
    import nnfast.files.safetensors
    import nnfast.files.saving  # noqa: F401  imported here, they are instrumented

from loaders import LOADERS, check_file, warm_up


def main(name: str, folder: Path, options: list[str]) -> None:
    """Run until libFuzzer ends the process."""
    warnings.filterwarnings("ignore", "Duplicate name", UserWarning)
    loader = LOADERS[name]
    path = Path(tempfile.mkdtemp(prefix=f"{name}-")) / "some.file"
    folder.mkdir(parents=True, exist_ok=True)
    for i, content in enumerate(loader.seeds):
        (folder / f"seed-{i}").write_bytes(content)
    warm_up(loader, path)

    def changed(content: bytes, size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.5:
            with contextlib.suppress(Exception):  # a file that is damaged already may have no structure to change
                result = rng.choice(loader.kinds)(content, rng)
                if len(result) <= size:
                    return result
        return bytes(atheris.Mutate(content, size))

    def run(content: bytes) -> None:
        check_file(loader, content, path)

    atheris.Setup([sys.argv[0], *options, str(folder)], run, custom_mutator=changed)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), ["-max_len=65536", "-timeout=60", *sys.argv[3:]])
