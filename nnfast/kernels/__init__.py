"""Compiled kernels: one operation each, in every SIMD level; they know nothing of networks.

`nnfast.kernels.dispatch` picks the level, `nnfast.kernels.arrays` runs the kernels on NumPy arrays, and
`nnfast.reference` holds the same operations in plain NumPy under the same names.
"""
