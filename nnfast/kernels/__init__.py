"""Compiled kernels: one operation each, for every SIMD level; they know nothing about networks.

`nnfast.kernels.dispatch` picks the level, `nnfast.kernels.arrays` runs the kernels on NumPy arrays, and
`nnfast.reference` holds the same operations in plain NumPy under the same names.
"""

from importlib.util import find_spec as _find_spec

if _find_spec("nnfast.kernels.dispatch") is None:
    raise ImportError(
        f"nnfast was imported from sources that are not compiled, in {__path__[0]}: "
        "run Python in another directory to use the installed nnfast, or compile the sources with `pip install -e .`"
    )
