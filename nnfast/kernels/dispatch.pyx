"""Choose the SIMD level of this process once, at import: the best one that was built and that the processor and the
operating system support, or the one named by NNFAST_SIMD."""

import os
import reprlib
from importlib import import_module

from cpython.pycapsule cimport PyCapsule_GetPointer

cdef extern from "simd.h" nogil:
    int simd_supported()

LEVELS = ("baseline", "avx2", "avx512")

cdef const Kernels* tables[2]


cdef const Kernels* table(bint double_precision) noexcept nogil:
    return tables[double_precision]


def supported_levels():
    """Return the names of the levels that this processor and operating system can run, lowest first."""
    return LEVELS[: simd_supported() + 1]


def built_levels():
    """Return the names of the levels that this build of nnfast has, lowest first."""
    from importlib.util import find_spec

    return tuple(level for level in LEVELS if find_spec(f"nnfast.kernels._{level}_float32"))


def _load(level):
    """Load the tables of a level; raise ModuleNotFoundError if it was not built."""
    for index, dtype in enumerate(("float32", "float64")):
        capsule = import_module(f"nnfast.kernels._{level}_{dtype}").table
        tables[index] = <const Kernels*>PyCapsule_GetPointer(capsule, "nnfast.kernels.table")
    return level


def _load_best(wanted, supported):
    if wanted and wanted not in LEVELS:
        raise ImportError(f"NNFAST_SIMD must be one of {', '.join(LEVELS)}, got {reprlib.repr(wanted)}")
    if wanted and wanted not in supported:
        raise ImportError(
            f"NNFAST_SIMD={wanted}, but this processor or operating system runs only {', '.join(supported)}"
        )
    for level in (wanted,) if wanted else reversed(supported):
        try:
            return _load(level)
        except ModuleNotFoundError:
            continue
    raise ImportError(f"nnfast was built without {wanted or 'any level'}: it has {', '.join(built_levels()) or 'none'}")


level = _load_best(os.environ.get("NNFAST_SIMD"), supported_levels())
