"""Compiled functions that a user passes in: ctypes functions, SciPy's LowLevelCallables and numba's cfuncs.

They are called without the GIL, so a function that needs it is rejected, and so is one of another signature.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

FUNCTION: Any = ctypes._CFuncPtr  # type: ignore[attr-defined]
PYTHON_API = 4  # the flag of a ctypes function that needs the GIL
TYPES = {
    "int": ("c_int", ctypes.c_int),
    "double": ("c_double", ctypes.c_double),
    "int64_t": ("c_int64", ctypes.c_int64),
    "double *": ("POINTER(c_double)", ctypes.POINTER(ctypes.c_double)),
    "void *": ("c_void_p", ctypes.c_void_p),
}
INT64 = ("npy_int64", ctypes.c_int64.__name__.removeprefix("c_"))  # other names of int64_t


class Signature:
    """A signature in C, such as ``double (int, double *, void *)``, whose types are among `TYPES`."""

    def __init__(self, text: str) -> None:
        self.text = text

    @property
    def _arguments(self) -> list[str]:
        return [argument.strip() for argument in self.text.partition("(")[2].rstrip(")").split(",")]

    @property
    def for_ctypes(self) -> str:
        """The ``argtypes`` of a ctypes function, as text."""
        return f"({', '.join(TYPES[argument][0] for argument in self._arguments)})"

    def fits(self, f: Any) -> bool:
        """Whether a ctypes function declares this signature."""
        declared = tuple(f.argtypes or ())
        wanted = tuple(TYPES[argument][1] for argument in self._arguments)
        return f.restype is ctypes.c_double and declared == wanted

    def is_named(self, name: str) -> bool:
        """Whether the name of a capsule means this signature."""
        return _plain(name) == _plain(self.text)


def _plain(signature: str) -> str:
    """Return a signature without spaces, qualifiers and other names of types."""
    text = re.sub(r"\bconst\b", "", signature).replace("long long", "longlong")
    text = re.sub(rf"\b({'|'.join(INT64)})\b", "int64_t", text)
    return re.sub(r"\s", "", text)


class Compiled(NamedTuple):
    """A compiled function.

    Attributes
    ----------
    address, user_data : int
        Of the function, and of what it gets as its last argument; 0 for none.
    signature : Signature
        The accepted signature that it has.
    """

    address: int
    user_data: int
    signature: Signature


def compiled_function(name: str, f: Any, signatures: Sequence[Signature]) -> Compiled | None:
    """Return what is needed to call a compiled function; None for Python code.

    Raises
    ------
    TypeError
        If it has another signature, or needs the GIL.
    ValueError
        If it is a null pointer.
    """
    if "numba" in sys.modules and hasattr(f, "ctypes") and hasattr(f, "address"):
        f = f.ctypes
    # without SciPy there are no LowLevelCallables, nor while another thread is importing it
    low_level = getattr(sys.modules.get("scipy"), "LowLevelCallable", ())
    if isinstance(f, FUNCTION):
        signature = _checked_ctypes(name, f, signatures)
        found = Compiled(ctypes.cast(f, ctypes.c_void_p).value or 0, 0, signature)
    elif isinstance(f, low_level):
        if isinstance(f.function, FUNCTION):
            _check_free_of_python(name, f.function)
        found = _checked_capsule(name, tuple.__getitem__(f, 0), signatures)
    else:
        return None
    if not found.address:
        raise ValueError(f"{name} must point to a function, got a null pointer")
    return found


def _either(signatures: Sequence[Signature]) -> str:
    return " or ".join(signature.text for signature in signatures)


def _checked_ctypes(name: str, f: Any, signatures: Sequence[Signature]) -> Signature:
    _check_free_of_python(name, f)
    for signature in signatures:
        if signature.fits(f):
            return signature
    names = ", ".join(getattr(kind, "__name__", str(kind)) for kind in f.argtypes or ())
    raise TypeError(
        f"{name} must have the signature {_either(signatures)}, got restype {getattr(f.restype, '__name__', f.restype)}"
        f" and argtypes ({names}): set them to c_double and {' or '.join(known.for_ctypes for known in signatures)}"
    )


def _check_free_of_python(name: str, f: Any) -> None:
    if f._flags_ & PYTHON_API:
        raise TypeError(f"{name} must run without the GIL, got a function of a ctypes.PyDLL: load it with ctypes.CDLL")


def _checked_capsule(name: str, capsule: Any, signatures: Sequence[Signature]) -> Compiled:
    """Return the function in a capsule, whose name is its signature, and its context, which is the user data."""
    api = ctypes.pythonapi
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", api))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api))
    context_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object)(("PyCapsule_GetContext", api))
    given = name_of(capsule)
    for signature in signatures:
        if given is not None and signature.is_named(given.decode()):
            return Compiled(pointer_of(capsule, given) or 0, context_of(capsule) or 0, signature)
    got = given.decode() if given else "none"
    raise TypeError(f"{name} must have the signature {_either(signatures)}, got {got}")
