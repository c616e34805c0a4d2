"""Nothing is read or written past the end of an array, and nothing that a user does crashes.

Arrays are placed directly before an inaccessible page: a read past their end ends the process.
"""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import kernel_calls as kernels
import numpy as np
import pytest
from tolerances import assert_close

import nnfast as nf
from nnfast import reference

PROT_NONE = 0
guarded = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="guard pages are set up for Linux alone")


class Guarded:
    """Creates arrays whose last byte is directly before an inaccessible page."""

    def __init__(self) -> None:
        self.maps: list[tuple[mmap.mmap, ctypes.c_char]] = []
        self.libc = ctypes.CDLL(None, use_errno=True)

    def __call__(self, array: np.ndarray) -> np.ndarray:
        page = mmap.PAGESIZE
        size = -(-max(array.nbytes, 1) // page) * page
        memory = mmap.mmap(-1, size + page)
        anchor = ctypes.c_char.from_buffer(memory)
        address = ctypes.addressof(anchor)
        assert self.libc.mprotect(ctypes.c_void_p(address + size), page, PROT_NONE) == 0
        self.maps.append((memory, anchor))
        raw = (ctypes.c_char * array.nbytes).from_address(address + size - array.nbytes)
        copy = np.frombuffer(raw, array.dtype).reshape(array.shape)
        copy[...] = array
        return copy


@pytest.fixture
def at_the_edge() -> Iterator[Guarded]:
    yield Guarded()


SHAPES = [(1, 1, 1), (3, 2, 5), (100, 784, 50), (7, 700, 33), (30, 300, 67), (13, 5, 257), (100, 600, 100), (5, 64, 2)]
SHAPES += [(1, 130, 67), (1, 9, 3)]


@guarded
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
def test_products(m: int, k: int, n: int, dtype: str, at_the_edge: Guarded) -> None:
    rng = np.random.default_rng(0)
    x, weights, gradient = (rng.normal(size=s).astype(dtype) for s in ((m, k), (k, n), (m, n)))
    bias = rng.normal(size=n).astype(dtype)
    for name, inputs, scale in (
        ("matmul", (x, weights), np.abs(x) @ np.abs(weights)),
        ("dense", (x, weights, bias), np.abs(x) @ np.abs(weights) + np.abs(bias)),
        ("dense_backward_input", (gradient, weights), np.abs(gradient) @ np.abs(weights).T),
        ("dense_backward_weights", (x, gradient), np.abs(x).T @ np.abs(gradient)),
        ("dense_backward_bias", (gradient,), np.abs(gradient).sum(0)),
        (
            "rank_one",
            (gradient, np.arange(m), x[:, 0].copy(), bias),
            np.abs(gradient) + np.abs(np.outer(x[:, 0], bias)),
        ),
    ):
        expected = getattr(reference, name)(*inputs)
        out = at_the_edge(np.zeros_like(expected))
        getattr(kernels, name)(*map(at_the_edge, inputs), out=out)
        assert_close(out, expected, scale=scale)


@guarded
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 10, 15, 16, 17, 31, 32, 33, 40])
@pytest.mark.parametrize("m", [1, 2, 7, 8, 16, 19])
def test_rows_of_classes(m: int, n: int, dtype: str, at_the_edge: Guarded) -> None:
    rng = np.random.default_rng(0)
    x, gradient = (rng.normal(size=(m, n)).astype(dtype) for _ in range(2))
    labels = rng.integers(n, size=m)
    for name, inputs in (
        ("softmax", (x,)),
        ("softmax_backward", (gradient, reference.softmax(x))),
        ("softmax_cross_entropy_backward", (x, labels)),
        ("softmax_cross_entropy_backward", (x, np.eye(n, dtype=dtype)[labels])),
    ):
        expected = getattr(reference, name)(*inputs)
        out = at_the_edge(np.zeros_like(expected))
        getattr(kernels, name)(*map(at_the_edge, inputs), out=out)
        assert_close(out, expected, scale=1 + np.abs(gradient).max())
    loss = kernels.softmax_cross_entropy(at_the_edge(x), at_the_edge(labels))
    assert_close(loss, reference.softmax_cross_entropy(x, labels), scale=1 + np.abs(x).max())


@guarded
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("widths", "rows"), [((784, 50, 10), 100), ((784, 100), 100), ((3, 2, 900), 7), ((2, 301, 3), 64)]
)
def test_a_network(widths: tuple[int, ...], rows: int, dtype: str, at_the_edge: Guarded) -> None:
    rng = np.random.default_rng(0)
    layers = [nf.Dense(n, "tanh") for n in widths[1:]]
    net = nf.Sequential(layers, input_shape=widths[0], dtype=dtype, seed=0)
    twin = net.copy()
    plain_x, plain_y = (
        rng.normal(size=(rows, widths[0])).astype(dtype),
        rng.normal(size=(rows, widths[-1])).astype(dtype),
    )
    x, y = at_the_edge(plain_x), at_the_edge(plain_y)
    out = at_the_edge(np.empty((rows, widths[-1]), dtype))
    np.testing.assert_array_equal(net.predict(x, out=out), twin.predict(plain_x))
    row_out = at_the_edge(np.empty(widths[-1], dtype))
    np.testing.assert_array_equal(net.predict_one(at_the_edge(plain_x[0]), out=row_out), out[0])
    assert net.loss(x, y) == twin.loss(plain_x, plain_y)
    for method in ("gradient", "numerical_gradient"):
        found = getattr(net, method)(x[-7:], y[-7:], wrt=["b1", "x"])
        for name, expected in getattr(twin, method)(plain_x[-7:], plain_y[-7:], wrt=["b1", "x"]).items():
            np.testing.assert_array_equal(found[name], expected)
    net.forward(x, training=True)
    net.backward(y)
    for shuffle in (False, True):
        net.fit(x, y, epochs=2, batch_size=rows // 2, shuffle=shuffle, verbose=0)
        twin.fit(plain_x, plain_y, epochs=2, batch_size=rows // 2, shuffle=shuffle, verbose=0)
    assert net.train_step(x, y) == twin.train_step(plain_x, plain_y)
    np.testing.assert_array_equal(net.flat_params, twin.flat_params)


def test_a_wide_layer_after_a_narrow_one() -> None:
    """Its weights end the arena, and their transpose is packed in whole vectors along the narrow side."""
    net = nf.Sequential([nf.Dense(2), nf.Dense(1_000_000, initializer=0.0)], input_shape=2, seed=0)
    assert net.train_step(np.ones((2, 2)), np.zeros((2, 1_000_000))) == 0


def test_labels_that_change_while_they_are_used() -> None:
    """They were valid when they were checked. `fit` keeps a copy; a single step may see the change: its loss is NaN."""
    program = """
        import numpy as np, nnfast as nf
        x, y = np.ones((40, 3)), np.zeros(40, int)
        net = nf.Sequential([nf.Dense(4, "softmax")], input_shape=3, seed=0)
        for wrong in (10**5, -(10**5), 4, -1):
            y.fill(0)
            history = net.fit(x, y, epochs=3, batch_size=7, callbacks=[lambda net, history: y.fill(wrong)], verbose=0)
            print(np.isnan(history["loss"]).any())
            rows, labels = net._network.data(x, np.zeros(40, int))
            labels.fill(wrong)
            print(net.copy()._network.built.train_step(rows, labels, None, nf.SGD().values(), 1, False))
    """
    run = subprocess.run(
        [sys.executable, "-P", "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["False", "nan"] * 4


def test_no_rows() -> None:
    net = nf.Sequential([nf.Dense(3, "tanh"), nf.Dense(2)], input_shape=4, seed=0)
    assert net.predict(np.ones((0, 4))).shape == (0, 2)
    assert net.forward(np.ones((0, 4)), training=True).shape == (0, 2)
    assert net.backward(np.ones((0, 2))).shape == (0, 4)
    assert not net.flat_grads.any()
