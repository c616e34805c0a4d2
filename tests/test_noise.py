"""Dropout and Gaussian noise: the twins bit for bit, what the random numbers depend on, and their statistics."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close

from nnfast import reference
from nnfast.kernels import arrays as kernels
from nnfast.reference.shared import mix64

DTYPES = (np.float32, np.float64)
WORDS = st.integers(0, 2**64 - 1)
RARE = 1e-4  # how often a fair sample fails a test by chance; the keys are fixed, so no test is flaky


def keep_of(rate, key, m, n, dtype=np.float32, row0=0):
    return kernels.dropout(np.ones((m, n), dtype), rate, key, row0)


def normals(key, m, n, dtype=np.float64, row0=0):
    return kernels.gaussian_noise(np.zeros((m, n), dtype), 1.0, key, row0)


# ---- the twins


def test_mixing_is_that_of_splitmix64():
    """The first numbers of SplitMix64 from seeds 0 (and its second) and 1234567, published with many codes."""
    first = mix64(np.array([0, 0x9E3779B97F4A7C15, 1234567], np.uint64))
    assert first.tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 6457827717110365317]


@given(seed=WORDS, step=WORDS, layer=WORDS)
def test_keys(seed, step, layer):
    key = kernels.noise_key(seed, step, layer)
    assert key == reference.noise_key(seed, step, layer)
    assert len({key, *(kernels.noise_key(*other) for other in ((seed ^ 1, step, layer), (seed, step ^ 1, layer)))}) == 3
    assert key != kernels.noise_key(seed, step, layer ^ 1)


@pytest.mark.parametrize("dtype", DTYPES)
@given(m=st.integers(0, 9), n=st.integers(0, 70), key=WORDS, row0=st.integers(0, 2**40), rate=st.floats(0, 0.999))
def test_dropout_is_its_twin_bit_for_bit(dtype, m, n, key, row0, rate):
    x = np.random.default_rng(m).normal(0, 3, (m, n)).astype(dtype)
    keeps = np.full((2, m, n), np.nan, dtype)
    results = [twin.dropout(x, rate, key, row0, keep) for twin, keep in zip((kernels, reference), keeps, strict=True)]
    np.testing.assert_array_equal(keeps[0], keeps[1])
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], x * keeps[0])
    assert set(np.unique(keeps)) <= {0, dtype(1 / (1 - rate))}


@pytest.mark.parametrize("dtype", DTYPES)
def test_hand_counted_normals(dtype):
    """Inverts what the kernel computes from two uniform numbers, which the twin returns."""
    keys = reference.noise._row_keys(7, 0, 300)
    u, v = (reference.noise._upper(reference.noise._hash(k, 200)) * 2.0**-24 for k in (keys, mix64(keys)))
    radius = np.sqrt(scipy.special.chdtri(2, u + 0.5 + 2.0**-24))  # the square of the radius is chi-square of 2
    z = normals(7, 300, 200, dtype)
    assert_close(z, radius * scipy.special.sindg(180 * v), scale=np.abs(z) + radius)


# ---- what the numbers depend on


@pytest.mark.parametrize("noise", [keep_of, lambda rate, *rest: normals(*rest)], ids=["dropout", "gaussian"])
def test_key_row_and_column_determine_everything(noise):
    """The numbers do not depend on other rows or columns, nor (for dropout) on the dtype."""
    for dtype in DTYPES:
        whole = noise(0.5, 3, 20, 70, dtype, 5)
        for m, n, row in ((1, 70, 7), (20, 3, 0), (4, 37, 16)):
            np.testing.assert_array_equal(noise(0.5, 3, m, n, dtype, 5 + row), whole[row : row + m, :n])
        assert (noise(0.5, 4, 20, 70, dtype, 5) != whole).any()
        assert (noise(0.5, 3 + 2**32, 20, 70, dtype, 5) != whole).any()
    np.testing.assert_array_equal(keep_of(0.5, 3, 20, 70, np.float32), keep_of(0.5, 3, 20, 70, np.float64))


def test_normals_are_the_same_in_both_dtypes():
    assert_close(normals(1, 100, 500, np.float32), normals(1, 100, 500, np.float64))


@pytest.mark.parametrize("dtype", DTYPES)
def test_edges(dtype):
    x = np.random.default_rng(0).normal(size=(5, 37)).astype(dtype)
    np.testing.assert_array_equal(kernels.dropout(x, 0.0, 1), x)
    np.testing.assert_array_equal(kernels.gaussian_noise(x, 0.0, 1), x)
    for noise in (kernels.dropout, kernels.gaussian_noise):
        spoilt, expected = x.copy(), noise(x, 0.3, 1)
        assert noise(spoilt, 0.3, 1, out=spoilt) is spoilt
        np.testing.assert_array_equal(spoilt, expected)
        spoilt = x.copy()
        spoilt[1::2] = np.nan
        result = noise(spoilt, 0.3, 1)
        assert np.isnan(result[1::2]).all()
        np.testing.assert_array_equal(result[::2], expected[::2])


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_rates_out_of_range_are_refused(rate):
    with pytest.raises(ValueError, match=r"^rate must be at least 0 and below 1, got "):
        kernels.dropout(np.ones((2, 2)), rate, 0)


# ---- statistics, of a million numbers each


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(1, 1_000_000), (1000, 1000), (200_000, 5)])
def test_rate(rate, shape):
    dropped = int((keep_of(rate, 11, *shape) == 0).sum())
    assert scipy.stats.binomtest(dropped, shape[0] * shape[1], rate).pvalue > RARE


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_rows_and_columns_have_the_rate_each(rate):
    """Neither too far from it nor too close to it, as a lattice would be."""
    dropped = keep_of(rate, 12, 1000, 1000) == 0
    for axis in (0, 1):
        counts = dropped.sum(axis=axis)
        chi_square = ((counts - 1000 * rate) ** 2).sum() / (1000 * rate * (1 - rate))
        assert RARE < scipy.stats.chi2.sf(chi_square, 1000) < 1 - RARE


def independent(a, b):
    """The chi-square test of a table of two by two."""
    return scipy.stats.chi2_contingency(np.histogram2d(a.ravel(), b.ravel(), 2)[0], correction=False).pvalue > RARE


SHIFTS = [(0, 1), (0, 2), (0, 8), (0, 16), (0, 64), (1, 0), (2, 0), (7, 0), (1, 1), (1, -1), (16, 16)]


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("shift", SHIFTS)
def test_neighbours_are_independent(rate, shift):
    keep = keep_of(rate, 13, 1000, 1100) > 0
    assert independent(keep[: 1000 - 20, 20:1020], keep[shift[0] : 980 + shift[0], 20 + shift[1] : 1020 + shift[1]])


def test_runs_of_columns_are_equally_frequent():
    """All 256 patterns of eight neighbours along a row and along a column."""
    keep = keep_of(0.5, 14, 1024, 1024) > 0
    for bits in (keep, keep.T):
        patterns = np.packbits(np.ascontiguousarray(bits))
        assert RARE < scipy.stats.chisquare(np.bincount(patterns, minlength=256)).pvalue < 1 - RARE


def test_keys_of_steps_and_layers_are_independent():
    keys = [kernels.noise_key(0, step, layer) for step in range(4) for layer in range(3)]
    keys += [0, 1, 2, 2**32, 2**63, kernels.noise_key(1, 0, 0)]  # and keys that differ in one bit
    masks = [keep_of(0.5, key, 300, 300) > 0 for key in keys]
    for i, mask in enumerate(masks):
        for other in masks[:i]:
            assert independent(mask, other)


def test_one_element_over_many_steps_has_the_rate():
    keeps = np.array([keep_of(0.3, kernels.noise_key(5, step, 0), 2, 16) > 0 for step in range(20_000)])
    dropped = (~keeps).sum(axis=0)
    chi_square = ((dropped - 6000) ** 2).sum() / (20_000 * 0.3 * 0.7)
    assert RARE < scipy.stats.chi2.sf(chi_square, 32) < 1 - RARE
    assert independent(keeps[1:], keeps[:-1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1000, 1000), (1, 1_000_000), (200_000, 5)])
def test_normals_are_normal(dtype, shape):
    z = normals(15, *shape, dtype).astype(np.float64).ravel()
    n = z.size
    assert scipy.stats.kstest(z, scipy.stats.norm.cdf).pvalue > RARE
    # moments 1 to 4 of a standard normal, and the variances of their estimates
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - moment) < 4 * np.sqrt(variance / n)
    tails = np.array([(np.abs(z) > limit).sum() for limit in (2, 3, 4)])
    for count, limit in zip(tails, (2, 3, 4), strict=True):
        assert scipy.stats.binomtest(int(count), n, 2 * scipy.stats.norm.sf(limit)).pvalue > RARE


@pytest.mark.parametrize("shift", SHIFTS)
def test_normals_are_uncorrelated(shift):
    """Neither the numbers nor their squares."""
    z = normals(16, 1000, 1100)
    a, b = z[: 1000 - 20, 20:1020].ravel(), z[shift[0] : 980 + shift[0], 20 + shift[1] : 1020 + shift[1]].ravel()
    for f in (lambda z: z, np.square):
        assert abs(np.corrcoef(f(a), f(b))[0, 1]) < 4 / np.sqrt(a.size)


def test_normals_are_scaled_and_added():
    x = np.linspace(-5, 5, 300 * 37).reshape(300, 37)
    assert_close(kernels.gaussian_noise(x, 0.25, 17), x + 0.25 * normals(17, 300, 37), scale=np.abs(x) + 2)
