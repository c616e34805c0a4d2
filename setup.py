"""Build the extensions: the one place for compiler flags, SIMD levels and Cython directives.

NNFAST_CHECKED=1 builds with bounds checks: Cython's on arrays, and the compiler's on C arrays, shifts and conversions
(an error stops the process). In this build the AVX-512 level is compiled for AVX2, so that its wide vectors can be
tested on processors without AVX-512. NNFAST_LEVELS=avx2 builds only that level (or several, separated by commas), in a
third of the time, which helps when working on the kernels.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CHECKED = os.environ.get("NNFAST_CHECKED", "") not in ("", "0")
X86 = platform.machine().lower() in ("x86_64", "amd64")
WINDOWS = sys.platform == "win32"

# Level: bytes per vector, compiler flags. Processors other than x86 only have the baseline (NEON on ARM).
AVX2_FLAGS = ["-mavx2", "-mfma", "-mtune=haswell"]
AVX512_FLAGS = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"]
SMALLER = ["-O2"] if X86 and not CHECKED else []  # few processors need this level there
LEVELS = {"baseline": (16, SMALLER)}
if X86:
    LEVELS |= {"avx2": (32, AVX2_FLAGS), "avx512": (64, AVX2_FLAGS if CHECKED else AVX512_FLAGS)}
WANTED = os.environ.get("NNFAST_LEVELS") or ",".join(LEVELS)

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": CHECKED,
    "wraparound": CHECKED,
    "initializedcheck": CHECKED,
    "cdivision": True,  # the kernels divide vectors; where Python's division is meant, code checks for zero
    "freethreading_compatible": True,
    "embedsignature": False,
    "auto_pickle": False,
    "binding": True,
}
MACROS = [("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"), ("NNFAST_CHECKED", str(int(CHECKED)))]
# Cython's `inline` alone is a hint that compilers ignore for large kernels.
LEVEL_MACROS = [("CYTHON_INLINE", "inline __attribute__((always_inline))")]
# No -ffast-math, and no contraction that depends on inlining: see simd.h.
COMPILE = [
    "-O3",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-g0",
    "-fvisibility=hidden",
    "-fno-asynchronous-unwind-tables",  # which nothing reads
    "-Wno-psabi",
]
# These unroll the loops of a matrix product's tile, which otherwise stays in memory, at a quarter of the speed. The
# last GCC option stops it from moving the last multiply-adds behind the loop, which costs copies of all accumulators.
GCC_TILES = ["--param", "max-completely-peeled-insns=2000", "--param", "max-completely-peel-times=24", "-fno-tree-sink"]
CLANG_TILES = ["-mllvm", "-unroll-threshold=4000"]
# Between Python and the kernels, which have all loops that take time: there, small is better than fast.
GLUE, ENGINE_FLAGS = ([], []) if CHECKED else (["-Os"], ["-O2"])
LINK = [] if WINDOWS or sys.platform == "darwin" else ["-Wl,--strip-all"]
if CHECKED:
    COMPILE = [
        "-O1",
        "-g0",
        "-ffp-contract=off",
        "-fsanitize=undefined",
        "-fsanitize-undefined-trap-on-error",
        "-Wno-psabi",
    ]

KERNELS = Path("nnfast", "kernels")
ENGINE = Path("nnfast", "engine")
SHIMS = Path("build", "levels")
SYNC = "nnfast/engine/sync.h"


def extension(name, source, flags=(), macros=(), headers=("nnfast/kernels/simd.h",)):
    return Extension(
        name,
        [str(source)],
        include_dirs=[*(str(Path(header).parent) for header in headers), np.get_include()],
        define_macros=[*MACROS, *macros],
        extra_compile_args=[*COMPILE, *flags],
        extra_link_args=LINK,
        depends=list(headers),
    )


def level_modules():
    """One module for each level and dtype: a shim that includes the sources all levels share."""
    SHIMS.mkdir(parents=True, exist_ok=True)
    for level in WANTED.split(","):
        vector_bytes, flags = LEVELS[level]
        for dtype in ("float32", "float64"):
            shim = SHIMS / f"_{level}_{dtype}.pyx"
            if not shim.exists():
                shim.write_text('include "level.pxi"\n')
            macros = [*LEVEL_MACROS, ("NNFAST_VECTOR_BYTES", str(vector_bytes))]
            if dtype == "float64":
                macros.append(("NNFAST_FLOAT64", "1"))
            yield extension(f"nnfast.kernels._{level}_{dtype}", shim, flags, macros)


def is_gcc(command):
    answer = subprocess.run([command[0], "--version"], capture_output=True, text=True, check=False).stdout
    return "Free Software Foundation" in answer


class ParallelBuild(build_ext):
    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self):
        if self.compiler.compiler_type == "unix":
            tiles = GCC_TILES if is_gcc(self.compiler.compiler) else CLANG_TILES
            for module in self.extensions:
                if module.name in KERNEL_MODULES:
                    module.extra_compile_args += tiles
        super().build_extensions()


kernels = list(level_modules())
KERNEL_MODULES = {module.name for module in kernels}
modules = [
    *kernels,
    extension("nnfast.kernels.table", KERNELS / "table.pyx", GLUE),
    extension("nnfast.kernels.dispatch", KERNELS / "dispatch.pyx", GLUE),
    extension("nnfast.kernels.arrays", KERNELS / "arrays.pyx", GLUE),
    extension("nnfast.engine.compiled", ENGINE / "compiled.pyx", GLUE, headers=[SYNC]),
    extension("nnfast.engine.program", ENGINE / "program.pyx", ENGINE_FLAGS, headers=[SYNC, "nnfast/include/nnfast.h"]),
]
setup(
    ext_modules=cythonize(
        modules,
        compiler_directives=DIRECTIVES,
        include_path=[str(KERNELS), str(ENGINE)],
        build_dir=str(Path("build", "cython")),
        nthreads=0,
    ),
    cmdclass={"build_ext": ParallelBuild},
)
