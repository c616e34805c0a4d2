"""The scripts in examples/ run without a warning, and each saves its picture and is listed in the gallery."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
GALLERY = EXAMPLES / "README.md"
SCRIPTS = {path.stem: path for path in [*sorted(EXAMPLES.glob("book/ch*.py")), *sorted(EXAMPLES.glob("*.py"))]}
LONGER = {"mnist_best": 100, "dqn_cartpole": 70}  # lines
LARGEST_PICTURE = 60_000  # bytes

pytestmark = pytest.mark.skipif(not SCRIPTS, reason="examples/ is not beside the tests")
each_script = pytest.mark.parametrize("name", SCRIPTS)


def run(name: str, out: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as a reader would, from another folder; its path contains its own folder, which has no nnfast."""
    command = [sys.executable, "-W", "error", str(SCRIPTS[name]), "--out", str(out), *options]
    environment = os.environ | {"MPLBACKEND": "Agg", "PYTHONIOENCODING": "utf-8"} | environment
    return subprocess.run(command, cwd=out, env=environment, capture_output=True, text=True, encoding="utf-8")


def check_picture(path: Path) -> None:
    """Check for a PNG with something on it: many colours, and neither nearly all white nor all ink."""
    image = pytest.importorskip("matplotlib.image")
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = np.round(255 * image.imread(path)[..., :3]).astype(int)
    assert pixels.shape[0] > 250
    assert pixels.shape[1] > 800
    colours = pixels @ [1, 256, 256**2]
    assert len(np.unique(colours)) > 16
    assert 0.02 < np.mean(colours < 256**3 - 1) < 0.95


def numbers_in(told: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+e-\d+)?", told.splitlines()[0])]


def check_cart_pole(first: float, *counts: float) -> None:
    """Of 32 trainings with other seeds and SIMD levels, the worst balanced the pole 5 times as long as at first."""
    assert 10 < first < 40
    assert counts[1] > 4 * first


def check_derivative_loss(error: float, of_derivative: float) -> None:
    assert error < 0.01
    assert of_derivative < 0.05


LEARNED: dict[str, Callable[..., None]] = {"dqn_cartpole": check_cart_pole, "derivative_loss": check_derivative_loss}


@each_script
def test_runs_on_little_data(name: str, tmp_path: Path) -> None:
    """And some tell what they have learned."""
    pytest.importorskip("matplotlib")
    done = run(name, tmp_path, "--small")
    assert done.returncode == 0, done.stderr
    assert "arning" not in done.stderr
    assert done.stdout.splitlines()[-1] == f"picture: {tmp_path / name}.png"
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.png"]
    check_picture(tmp_path / f"{name}.png")
    if name in LEARNED:
        LEARNED[name](*numbers_in(done.stdout))


@each_script
def test_is_short_and_says_what_it_shows(name: str) -> None:
    source = SCRIPTS[name].read_text(encoding="utf-8")
    assert len(source.splitlines()) < LONGER.get(name, 40)
    assert ast.get_docstring(ast.parse(source))


@each_script
def test_is_in_the_gallery(name: str) -> None:
    gallery = GALLERY.read_text(encoding="utf-8")
    picture = SCRIPTS[name].parent / "pictures" / f"{name}.png"
    assert f"\npython examples/{SCRIPTS[name].relative_to(EXAMPLES).as_posix()}\n" in gallery
    assert re.search(rf"!\[.+\]\({picture.relative_to(EXAMPLES).as_posix()}\)", gallery)
    assert picture.stat().st_size < LARGEST_PICTURE
    check_picture(picture)


def test_the_gallery_shows_nothing_else() -> None:
    gallery = GALLERY.read_text(encoding="utf-8")
    shown = re.findall(r"pictures/(\w+)\.png", gallery)
    assert re.findall(r"^python examples/(?:book/)?(\w+)\.py$", gallery, re.MULTILINE) == shown
    assert sorted(shown) == sorted(SCRIPTS)
    assert sorted(path.stem for path in EXAMPLES.glob("**/pictures/*")) == sorted(SCRIPTS)


def test_without_mnist_the_digits_serve(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "pooch.py").write_text("raise ImportError('hidden: nothing is fetched')\n")
    path = os.pathsep.join([str(hidden), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run("ch03_batches", tmp_path, NNFAST_DATA_HOME=str(tmp_path), PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert "MNIST is not here" in done.stderr
    assert "8 x 8 digits" in done.stdout
    check_picture(tmp_path / "ch03_batches.png")
