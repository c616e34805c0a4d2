"""The only table of tolerances: no test defines its own."""

from __future__ import annotations

import numpy as np

# The largest error of a compiled elementary function, in units in the last place: the bounds that
# nnfast/kernels/elementary.pxi and activations.pxi state, at every level and in both dtypes.
ULPS = {
    "exp": 2, "log": 2, "tanh": 4, "sigmoid": 4, "elu": 2, "selu": 3, "gelu": 6, "silu": 4, "softplus": 3, "mish": 5,
}  # fmt: skip

# The largest error of a result, relative to its scale. The scale of an elementwise result is its own magnitude; of a
# sum, the sum of the magnitudes of its terms; of a central difference, that of the function and its derivative.
_TABLE = {
    # kind: multiples of the dtype's epsilon
    "elementwise": {"float32": 8 * 2.0**-23, "float64": 8 * 2.0**-52},
    "sum": {"float32": 16 * 2.0**-23, "float64": 16 * 2.0**-52},
    # a number that is computed more exactly and then rounded once: half a unit in the last place, and a little
    "rounding": {"float32": 0.51 * 2.0**-23, "float64": 0.51 * 2.0**-52},
    # absolute figures, for float64 only: float32 has too few digits for some, and rightly drifts in others
    "difference": {"float64": 1e-8},
    "rough difference": {"float64": 1e-7},  # of functions with large third derivatives, such as norms of a few rows
    "trajectory": {"float64": 1e-10},
    "C": {"float32": 1e-5, "float64": 1e-12},  # outputs of generated C, which sums in another order
    "saved": {"float32": 1e-5, "float64": 1e-10},  # some steps of a network of a few units, at another SIMD level
    "peer": {"float64": 1e-12},  # a function as another library computes it
    "PyTorch": {"float64": 1e-8},  # a trajectory of another program, which sums in another order
    "minimization": {"float64": 1e-9},  # iterates of another program, which computes each direction in another way
    "scikit-learn": {"float64": 1e-6},  # losses of its optima, and of trajectories of many steps
    "recursion": {"float64": 1e-12},  # values that PyTorch computes from the one before, and nnfast directly
}


def tolerance(dtype: object, kind: str) -> float:
    """The tolerance of one kind of result in one dtype.

    Kinds are those of the table, and "best difference" and "forward difference", for a derivative whose h fits the
    dtype.
    """
    powers = {"best difference": 2 / 3, "forward difference": 1 / 2}
    if kind in powers:
        return 16 * float(np.finfo(np.dtype(dtype)).eps) ** powers[kind]
    return _TABLE[kind][np.dtype(dtype).name]


def assert_close(actual: object, expected: object, *, scale: object = None, kind: str | None = None) -> None:
    """Compare `actual` with `expected`, with the tolerance for the dtype of `actual`.

    Without `scale` a result is elementwise, with it a sum; `kind` says otherwise. `expected` may be of a wider dtype.
    Shapes must be equal; NaN matches NaN, and an infinity the same infinity.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    kind = kind or ("elementwise" if scale is None else "sum")
    with np.errstate(over="ignore", under="ignore"):
        rounded = expected.astype(actual.dtype)
    finite = np.isfinite(rounded) & np.isfinite(actual)
    np.testing.assert_array_equal(np.where(finite, 0, actual), np.where(finite, 0, rounded))
    wide = np.where(finite, expected, 0).astype(np.float64)
    error = np.abs(np.where(finite, actual, 0).astype(np.float64) - wide)
    size = np.abs(wide) if scale is None else np.abs(np.asarray(scale, np.float64))
    with np.errstate(invalid="ignore", under="ignore"):  # the scale of an infinite result may be NaN
        # subnormal numbers have the spacing of the smallest normal ones
        bound = tolerance(actual.dtype, kind) * np.maximum(size, np.finfo(actual.dtype).tiny)
    bad = finite & ~(error <= bound)
    if bad.any():
        at = np.unravel_index(np.argmax(np.where(bad, error / bound, 0)), bad.shape)
        raise AssertionError(
            f"{bad.sum()} of {bad.size} are off; worst at {tuple(map(int, at))}: {actual[at]!r}, "
            f"expected {expected[at]!r}, error {error[at]:.3g}, "
            f"allowed {np.broadcast_to(bound, bad.shape)[at]:.3g} ({kind}, {actual.dtype})"
        )


def ulp_error(actual: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The error of each element of `actual` in units in the last place of its dtype; `exact` has a wider dtype.

    Infinity counts as the number that would follow the largest one. NaN against NaN is no error; against a number, the
    error is infinite.
    """
    info, one = np.finfo(actual.dtype), exact.dtype.type(1)
    beyond = np.ldexp(one, info.maxexp)
    with np.errstate(invalid="ignore"):  # NaN
        value = np.where(np.isinf(actual), np.copysign(beyond, actual), actual.astype(exact.dtype))
        exact = np.where(np.isinf(actual), np.clip(exact, -beyond, beyond), exact)
        exponent = np.where(exact == 0, info.minexp, np.frexp(exact)[1] - 1)
        unit = np.ldexp(one, np.maximum(exponent, info.minexp) - info.nmant)
        error = np.abs(value - exact) / unit
    error = np.where(np.isnan(actual) & np.isnan(exact), 0, error)
    return np.where(np.isnan(error), np.inf, error).astype(np.float64)
