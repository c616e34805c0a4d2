"""The edges of bins, between which the piecewise-linear encoding of a number rises."""

from __future__ import annotations

import numpy as np

TINY = np.float32(2.0**-75)  # smaller edges count as 0, so that edges differ by more than 1e-30


def mass_edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Return edges between which about the same number of values lie.

    Up to ``bins + 1`` distinct values are the edges themselves. Otherwise a value that makes up more than the share of
    one bin is an edge of its own. The other values share the other bins, so that further values may exceed the share of
    a bin, until there are none. The smallest and the largest value are edges, too.

    Parameters
    ----------
    values : ndarray of float32
        Without NaN and infinity.
    bins : int
        The maximum number of bins.

    Returns
    -------
    ndarray of float32
        At most ``bins + 1`` ascending edges.

    Notes
    -----
    Quantiles as edges are those of [1]_. If a single value is frequent, several quantiles coincide with it, and so
    leave the other values fewer bins; here they do not.

    References
    ----------
    .. [1] Y. Gorishniy, I. Rubachev and A. Babenko, "On embeddings for numerical features in tabular deep learning",
       NeurIPS 2022, arXiv 2203.05556.

    Examples
    --------
    >>> import numpy as np
    >>> from nnfast.tables.edges import mass_edges
    >>> values = np.float32([0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6])
    >>> mass_edges(values, 4)
    array([0., 2., 4., 6.], dtype=float32)
    """
    distinct, counts = np.unique(np.where(np.abs(values) < TINY, np.float32(0), values), return_counts=True)
    if len(distinct) <= bins + 1:
        return distinct
    heavy = _heavy(counts, bins)
    others, counts = distinct[~heavy], counts[~heavy]
    n = max(bins - int(heavy.sum()), 1)
    # in integers, so that rounding decides nothing
    quantiles = others[np.searchsorted(np.cumsum(counts) * n, np.arange(1, n) * counts.sum())]
    return np.unique(np.concatenate([distinct[[0, -1]], distinct[heavy], quantiles]))


def _heavy(counts: np.ndarray, bins: int) -> np.ndarray:
    """Return which values make up more than the share of a bin."""
    heavy = np.zeros(len(counts), dtype=bool)
    while (left := bins - int(heavy.sum())) > 0:
        more = heavy | (counts * left > counts[~heavy].sum())
        if (more == heavy).all():
            break
        heavy = more
    return heavy
