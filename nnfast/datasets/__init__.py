"""Real data sets: small ones that come with the package, and readers for others."""

from __future__ import annotations

from nnfast.datasets._digits import load_digits
from nnfast.datasets._idx import read_idx
from nnfast.datasets._mnist import load_mnist

__all__ = ["load_digits", "load_mnist", "read_idx"]
