"""Predictions from compiled code, compared with `predict_one`: networks as C, and predictors called from Cython."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from timeit import Timer
from typing import Any

import numpy as np

from bench.inference import SECONDS
from bench.race import ratios, rest, spread

LAYERS = ((4, 64, 64, 2), (64, 50, 20, 10), (784, 50, 10))
ACTIVATIONS = ("relu", "tanh", "gelu")
FLAGS = {"-O3 -march=native": ("-O3", "-march=native"), "-O2": ("-O2",)}
CALLS = 1000  # of the compiled function in one call from Python
LOOP = """
#include "net.h"
void repeat(const float *x, float *y, int n) { while (n-- > 0) net_predict(x, y); }
"""
CYTHON = "Cython without the GIL"
CYTHON_LOOP = """# cython: language_level=3
from nnfast.capi cimport NNFAST_FLOAT32, expect, nnfast_predictor, predict_one, predictor_of

def repeat(predictor, const float[::1] x, float[::1] y, int n):
    cdef const nnfast_predictor* p = predictor_of(predictor)
    cdef int i, status = 0
    expect(p, NNFAST_FLOAT32, x.shape[0], y.shape[0])
    with nogil:
        for i in range(n):
            status |= predict_one(p, &x[0], &y[0])
    assert status == 0
"""
CYTHON_SETUP = """
import nnfast
from Cython.Build import cythonize
from setuptools import Extension, setup
module = Extension("nnfast_loop", ["nnfast_loop.pyx"], include_dirs=[nnfast.get_include()])
setup(name="nnfast_loop", ext_modules=cythonize([module], quiet=True))
"""


def compare_exported(rounds: int) -> dict[str, Any]:
    """Return nanoseconds of `predict_one` and of the compiled functions, and the ratios of their times to its."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return {"rounds": rounds, "networks": [], "absent": "there is no C compiler: neither gcc nor clang"}
    with TemporaryDirectory() as folder:
        loop = cython_loop(Path(folder))
        networks = [compare(sizes, name, compiler, rounds, loop) for sizes in LAYERS for name in ACTIVATIONS]
    return {"rounds": rounds, "compiler": compiler, "networks": networks, "without_cython": loop is None}


def cython_loop(folder: Path) -> Callable[..., None] | None:
    """Return a function in Cython that predicts many times; None if Cython or setuptools is not installed."""
    if not (find_spec("Cython") and find_spec("setuptools")):
        return None
    (folder / "nnfast_loop.pyx").write_text(CYTHON_LOOP, encoding="ascii")
    (folder / "setup.py").write_text(CYTHON_SETUP, encoding="ascii")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True)
    spec = spec_from_file_location("nnfast_loop", next(folder.glob("nnfast_loop.*[od]")))  # .so, or .pyd on Windows
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Callable[..., None] = module.repeat
    return function


def compare(
    sizes: tuple[int, ...], activation: str, compiler: str, rounds: int, loop: Callable[..., None] | None
) -> dict[str, Any]:
    """Time one network in turn, round after round; `loop` calls its predictor."""
    import nnfast as nf

    layers = [nf.Dense(units, activation) for units in sizes[1:-1]]
    net = nf.Sequential([*layers, nf.Dense(sizes[-1])], input_shape=sizes[0], seed=0)
    x = np.random.default_rng(0).standard_normal((200, sizes[0]), np.float32)
    row, out = x[0], np.empty(sizes[-1], np.float32)
    with TemporaryDirectory() as folder:
        functions = {}
        for dtype in ("float32", "int8"):
            calibration = x if dtype == "int8" else None
            own = Path(folder, dtype)
            own.mkdir()
            written = net.to_c(own / "net.c", dtype=dtype, calibration=calibration)
            for name, flags in FLAGS.items():
                functions[f"{dtype} {name}"] = compiled(written.source, compiler, flags)
        values = {"net": net, "row": row, "out": out}
        timers = {"predict_one": (Timer("net.predict_one(row, out=out)", timer=process_time, globals=values), 1)}
        if loop is not None:
            values = {"function": loop, "arguments": (net.predictor(), row, out, CALLS)}
            timers[CYTHON] = Timer("function(*arguments)", timer=process_time, globals=values), CALLS
        for name, function in functions.items():
            values = {"function": function, "arguments": (row.ctypes.data, out.ctypes.data, CALLS)}
            timers[name] = Timer("function(*arguments)", timer=process_time, globals=values), CALLS
        seconds = in_turn(timers, rounds)
    return {
        "network": f"{'-'.join(map(str, sizes))} {activation}",
        "nanoseconds": {name: spread([1e9 * s for s in taken]) for name, taken in seconds.items()},
        "ratio": {name: ratios(taken, seconds["predict_one"]) for name, taken in seconds.items()},
    }


def compiled(source: str, compiler: str, flags: tuple[str, ...]) -> Any:
    """Return a compiled function that predicts many times."""
    folder = Path(source).parent
    (folder / "repeat.c").write_text(LOOP, encoding="ascii")
    path = folder / f"net{''.join(flags)}.so"
    files = [source, str(folder / "repeat.c")]
    subprocess.run([compiler, *flags, "-shared", "-fPIC", *files, "-o", str(path), "-lm"], check=True)
    function = ctypes.CDLL(str(path)).repeat
    function.argtypes, function.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int), None
    return function


def in_turn(timers: dict[str, tuple[Timer, int]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of processor time of one prediction in each round."""
    counts = {name: max(1, int(100 * SECONDS / timer.timeit(100))) for name, (timer, _) in timers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    names = list(timers)
    for i in range(rounds):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            rest()
            timer, calls = timers[name]
            seconds[name].append(timer.timeit(counts[name]) / counts[name] / calls)
    return seconds


def lines(result: dict[str, Any]) -> str:
    """Return the table."""
    if not result["networks"]:
        return f"C: {result['absent']}"
    names = list(result["networks"][0]["nanoseconds"])
    text = [f"one prediction in C ({result['compiler']}), nanoseconds and ratio to predict_one(row, out=out):"]
    if result["without_cython"]:
        text.append(f"{CYTHON}: Cython or setuptools is not installed")
    for network in result["networks"]:
        text.append(network["network"])
        for name in names:
            figure, ratio = network["nanoseconds"][name], network["ratio"][name]
            text.append(f"  {name:26}{figure['median']:8.0f}  {ratio['median']:5.2f}")
    return "\n".join(text)
