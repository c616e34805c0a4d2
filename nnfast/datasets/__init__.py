"""Real data to learn on: small sets that come with the package, readers for the rest."""

from __future__ import annotations

from nnfast.datasets._digits import load_digits
from nnfast.datasets._idx import read_idx
from nnfast.datasets._mnist import load_mnist

__all__ = ["load_digits", "load_mnist", "read_idx"]
