"""Initial values of weights.

Names follow Keras: ``glorot`` (Glorot and Bengio 2010), ``he`` (He et al. 2015) and ``lecun`` (LeCun et al. 1998), each
with the suffix ``_uniform`` or ``_normal``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._validation import as_array, check_shape, choose, describe, ignore_float_errors, to_array
from nnfast.activations import resolve_activation

if TYPE_CHECKING:
    from numpy.random import Generator

# The variance of a weight is gain / fan, by name.
_SCALES: dict[str, tuple[float, Callable[[int, int], int]]] = {
    "glorot": (2.0, lambda n_in, n_out: n_in + n_out),
    "he": (2.0, lambda n_in, n_out: n_in),
    "lecun": (1.0, lambda n_in, n_out: n_in),
}
NAMES = tuple(f"{name}_{shape}" for name in _SCALES for shape in ("uniform", "normal"))


def check_initializer(value: Any) -> Any:
    """Return `value` if it is a name, a standard deviation or an array of finite numbers.

    Raises
    ------
    TypeError, ValueError
        If it is none of these.
    """
    if isinstance(value, str):
        return choose("initializer", value, NAMES)
    array = to_array("initializer", value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"initializer must be a name, a standard deviation or an array, got {describe(value)}")
    array = as_array("initializer", array, np.float64, finite=True)
    if array.ndim:
        return array.copy()
    if array < 0:
        raise ValueError(f"initializer is a standard deviation and must not be negative, got {array:g}")
    return float(array)


def default_initializer(activation: str) -> str:
    """Return the default: He for the relu family, LeCun for selu (Klambauer et al. 2017), Glorot otherwise."""
    return resolve_activation(activation).initializer


@ignore_float_errors
def initial_weights(initializer: Any, shape: tuple[int, int], generator: Generator) -> np.ndarray:
    """Draw weights of `shape` (inputs, outputs) in float64.

    Raises
    ------
    ValueError
        If the initializer is an array of a different shape.
    """
    if isinstance(initializer, np.ndarray):
        check_shape("initializer", initializer, shape)
        return initializer
    if isinstance(initializer, float):
        return generator.normal(0.0, initializer, shape)
    name, distribution = initializer.split("_")
    gain, fan = _SCALES[name]
    deviation = np.sqrt(gain / fan(*shape))
    if distribution == "normal":
        return generator.normal(0.0, deviation, shape)
    limit = np.sqrt(3.0) * deviation  # the standard deviation is limit / sqrt(3)
    return generator.uniform(-limit, limit, shape)
