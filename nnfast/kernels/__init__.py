"""Compiled kernels: one operation each, in every SIMD level; they know nothing of networks.

`nnfast.kernels.dispatch` picks the level, `nnfast.kernels.arrays` runs the kernels on NumPy arrays, and
`nnfast.reference` holds the same operations in plain NumPy under the same names.
"""

from importlib.util import find_spec as _find_spec

if _find_spec("nnfast.kernels.dispatch") is None:
    raise ImportError(
        f"nnfast was imported from sources that are not compiled, in {__path__[0]}: "
        "run Python in another folder to use the nnfast that is installed, or compile these with `pip install -e .`"
    )
