"""Predictions from compiled code, without the GIL: the bits of `predict_one`, from many threads."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import gc
import os
import pickle
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from gradient_cases import ACTIVATIONS, FEATURES, LAYERS, PLACES, LayerCase
from numpy.random import default_rng
from test_memory import Guarded, guarded

import nnfast as nf

EXAMPLES = Path(__file__).parents[1] / "examples" / "compiled"
COMPILER = shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler: neither gcc nor clang")
needs_headers = pytest.mark.skipif(
    not Path(sysconfig.get_path("include"), "Python.h").exists(), reason="Python's header files are not installed"
)
NAME = b"nnfast.predictor"
FLOAT32, FLOAT64 = 1, 2
OK, NO_MEMORY, BAD_POINTER, OVERLAP = range(4)


class Struct(ctypes.Structure):
    """What nnfast.h declares."""

    _fields_ = (
        ("abi_version", ctypes.c_uint32),
        ("struct_size", ctypes.c_uint32),
        ("dtype", ctypes.c_int32),
        ("reserved", ctypes.c_int32),
        ("n_inputs", ctypes.c_int64),
        ("n_outputs", ctypes.c_int64),
        ("predict_one", ctypes.c_void_p),
    )


def c_function(predictor: nf.Predictor):
    pointer = ctypes.c_void_p
    return ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer, pointer)(predictor.function_address)


def called(predictor: nf.Predictor, row: np.ndarray) -> np.ndarray:
    """The output for a row, from the C function."""
    out = np.full(predictor.output_shape, np.nan, predictor.dtype)
    row = np.ascontiguousarray(row, predictor.dtype)
    assert c_function(predictor)(predictor.address, row.ctypes.data, out.ctypes.data) == OK
    return out


def assert_same_bits(net: nf.Sequential, x: np.ndarray) -> None:
    predictor = net.predictor()
    for row in x.astype(net.dtype):
        expected = net.predict_one(row)
        out = np.full_like(expected, np.nan)
        assert predictor(row, out=out) is out
        for actual in (out, predictor(row), called(predictor, row)):
            assert actual.shape == expected.shape
            assert actual.dtype == expected.dtype
            assert actual.tobytes() == expected.tobytes()
    assert net.predict(x.astype(net.dtype)).tobytes() == b"".join(called(predictor, row).tobytes() for row in x)


def simple(*sizes: int, dtype: str = "float32", activation: str = "tanh") -> nf.Sequential:
    layers = [nf.Dense(units, activation) for units in sizes[1:-1]]
    return nf.Sequential([*layers, nf.Dense(sizes[-1])], input_shape=sizes[0], dtype=dtype, seed=0)


# ---- bits

by_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@by_dtype
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("layer", [*LAYERS, *ACTIVATIONS])
def test_every_layer_has_the_bits_of_predict_one(layer, place, dtype):
    net = LayerCase(layer, place, training=False, weighted=False).network(dtype)
    x = default_rng(1).normal(size=(7, FEATURES))
    x[0], x[1, 0], x[2] = 0, np.nan, 1e30
    assert_same_bits(net, x)


@by_dtype
@pytest.mark.parametrize("sizes", [(1, 1), (4, 64, 64, 2), (3, 700, 5), (784, 50, 10), (2, 5000, 3), (2, 9, 9000, 1)])
def test_every_size_has_the_bits_of_predict_one(sizes, dtype):
    """Wide layers take more memory than there is on the stack."""
    assert_same_bits(simple(*sizes, dtype=dtype), default_rng(0).normal(size=(9, sizes[0])))


def test_samples_of_several_axes():
    net = nf.Sequential([nf.Flatten(), nf.Dense(6, "relu"), nf.Reshape((2, 3))], input_shape=(3, 4), seed=0)
    assert_same_bits(net, default_rng(0).normal(size=(5, 3, 4)))
    predictor = net.predictor()
    assert (predictor.input_shape, predictor.output_shape) == ((3, 4), (2, 3))
    assert (predictor.n_inputs, predictor.n_outputs) == (12, 6)


def test_a_network_without_parameters():
    net = nf.Sequential([nf.Reshape((2, 2))], input_shape=4)
    assert net.predictor()([1, 2, 3, 4]).tolist() == [[1, 2], [3, 4]]


@by_dtype
def test_subnormal_numbers_and_the_mode_of_the_thread(dtype):
    """They are zero in a prediction, and numbers again after it."""
    tiny = np.finfo(dtype).smallest_subnormal * 100
    net = nf.Sequential([nf.Dense(3, initializer=1.0), nf.Activation("relu")], input_shape=3, dtype=dtype)
    row = np.full(3, tiny, dtype)
    assert_same_bits(net, row[None])
    assert called(net.predictor(), row).tolist() == [0, 0, 0]
    assert (row * row.dtype.type(0.5) > 0).all()
    large = np.finfo(dtype).max
    net = nf.Sequential([nf.Dense(1)], input_shape=2, dtype=dtype, seed=0)
    assert_same_bits(net, np.array([[large, -large], [-0.0, -0.0]], dtype))


# ---- the copy


def test_it_is_a_copy():
    net = nf.Sequential([nf.Dense(5, "relu"), nf.BatchNorm(), nf.Dense(2)], input_shape=3, seed=0)
    x = np.ones(3, np.float32)
    predictor, before = net.predictor(), net.predict_one(x)
    net.params["W1"] = 7.0 * np.ones((3, 5))
    net.statistics["mean1"] = np.full(5, 3.0)
    assert (net.predict_one(x) != before).any()
    net.fit(default_rng(0).normal(size=(50, 3)), np.zeros((50, 2)), epochs=2, verbose=0)
    after = net.predict_one(x)
    del net
    gc.collect()
    assert predictor(x).tobytes() == called(predictor, x).tobytes() == before.tobytes()
    assert (after != before).any()


def test_a_network_that_is_not_built():
    net = nf.Sequential([nf.Dense(2)])
    with pytest.raises(RuntimeError, match="input shape of the network is not known yet: give input_shape"):
        net.predictor()
    assert net.input_shape is None


def test_in_the_middle_of_training():
    """A callback sees a whole network."""
    net, found = simple(3, 8, 2), []

    def look(net: nf.Sequential, history: object) -> None:
        found.append((net.predictor(), net.predict_one(np.ones(3, np.float32))))

    x = default_rng(0).normal(size=(40, 3))
    net.fit(x, x[:, :2], epochs=3, callbacks=[look], verbose=0)
    assert len({expected.tobytes() for _, expected in found}) == 3
    for predictor, expected in found:
        assert called(predictor, np.ones(3)).tobytes() == expected.tobytes()


def test_a_loss_of_ones_own_is_not_needed():
    net = nf.Sequential([nf.Dense(2)], input_shape=3, loss=lambda y, t: (0.0, 0 * y), seed=0)
    predictor, expected = net.predictor(), net.predict_one(np.ones(3))
    del net
    gc.collect()
    assert predictor(np.ones(3)).tobytes() == expected.tobytes()


def test_what_it_is():
    net = simple(4, 8, 2)
    predictor = net.predictor()
    assert type(predictor) is nf.Predictor
    assert repr(predictor) == "Predictor(input_shape=(4,), output_shape=(2,), dtype='float32')"
    assert (predictor.input_shape, predictor.output_shape, predictor.dtype) == ((4,), (2,), np.float32)
    assert (predictor.n_inputs, predictor.n_outputs) == (4, 2)
    for name in ("input_shape", "dtype", "address", "capsule"):
        with pytest.raises(AttributeError):
            setattr(predictor, name, None)
    struct = Struct.from_address(predictor.address)
    assert (struct.abi_version, struct.struct_size, struct.dtype) == (1, ctypes.sizeof(Struct), FLOAT32)
    assert (struct.n_inputs, struct.n_outputs) == (4, 2)
    assert struct.predict_one == predictor.function_address
    assert Struct.from_address(simple(4, 2, dtype="float64").predictor().address).dtype in (FLOAT32, FLOAT64)
    other = net.predictor()
    assert other.address != predictor.address
    assert other.function_address == predictor.function_address


def test_a_copy_is_the_same_and_a_pickle_an_error():
    predictor = simple(4, 2).predictor()
    assert copy.copy(predictor) is predictor
    assert copy.deepcopy([predictor])[0] is predictor
    with pytest.raises(TypeError, match="a Predictor cannot be pickled, .* pickle the network, and call its predictor"):
        pickle.dumps(predictor)


# ---- from Python


def test_rows_that_need_conversion():
    net = simple(3, 4, 2)
    predictor, expected = net.predictor(), net.predict_one([1, 2, 3])
    for row in (
        [1, 2, 3],
        (1.0, 2.0, 3.0),
        np.array([1, 2, 3]),
        np.arange(1.0, 7)[::1][:3],
        np.array([[1, 2, 3]] * 2)[0],
    ):
        assert predictor(row).tobytes() == expected.tobytes()


def test_bad_arguments():
    predictor = simple(3, 4, 2).predictor()
    row = np.ones(3, np.float32)
    for bad, error, message in (
        (np.ones(4), ValueError, r"row must have shape \(3,\), got \(4,\)"),
        ("abc", TypeError, "row must"),
        (None, TypeError, "row must"),
    ):
        with pytest.raises(error, match=message):
            predictor(bad)
    memory = np.zeros(6, np.float32)
    read_only = np.zeros(2, np.float32)
    read_only.flags.writeable = False
    for out, error, message in (
        (np.zeros(3, np.float32), ValueError, r"out must have shape \(2,\), got \(3,\)"),
        (np.zeros(2), (TypeError, ValueError), "out must have dtype float32, got float64"),
        (memory[::3], ValueError, "out must be C-contiguous and aligned"),
        (read_only, ValueError, "out"),
        ([0, 0], TypeError, "out must be"),
    ):
        with pytest.raises(error, match=message):
            predictor(row, out=out)
    with pytest.raises(ValueError, match="out must not overlap the row"):
        predictor(memory[:3], out=memory[2:4])
    assert not memory.any()
    predictor(memory[:3], out=memory[3:5])  # next to each other
    with pytest.raises(TypeError):
        predictor(row, memory[:2])


# ---- from C, by addresses


def test_pointers_that_are_not_right():
    """A status, and y is unchanged."""
    for dtype in ("float32", "float64"):
        predictor = simple(3, 4, 2, dtype=dtype).predictor()
        call, size = c_function(predictor), predictor.dtype.itemsize
        memory = np.ones(10, dtype)
        x, y = memory.ctypes.data, memory[5:].ctypes.data
        for from_, to, status in (
            (None, y, BAD_POINTER),
            (x, None, BAD_POINTER),
            (x + 1, y, BAD_POINTER),
            (x, y + size // 2, BAD_POINTER),
            (x, x, OVERLAP),
            (x, x + 2 * size, OVERLAP),
            (x + size, x, OVERLAP),
        ):
            assert call(predictor.address, from_, to) == status
        assert (memory == 1).all()
        assert call(predictor.address, x, x + 3 * size) == OK
        assert call(predictor.address, x + 2 * size, x) == OK


@guarded
@by_dtype
@pytest.mark.parametrize("sizes", [(1, 1), (3, 5, 2), (9, 33), (700, 3), (5, 5000, 7)])
def test_nothing_is_read_or_written_past_the_end(sizes, dtype):
    at_the_edge, net = Guarded(), simple(*sizes, dtype=dtype)
    predictor, expected = net.predictor(), net.predict_one(np.ones(sizes[0]))
    x, y = at_the_edge(np.ones(sizes[0], dtype)), at_the_edge(np.zeros(sizes[-1], dtype))
    assert c_function(predictor)(predictor.address, x.ctypes.data, y.ctypes.data) == OK
    assert y.tobytes() == expected.tobytes()


NO_MEMORY_LEFT = """
import ctypes, resource
import numpy as np
import nnfast as nf

net = nf.Sequential([nf.Dense(3_000_000, initializer=0.0), nf.Dense(1, initializer=0.0)], input_shape=1)
predictor, pointer = net.predictor(), ctypes.c_void_p
call = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer, pointer)(predictor.function_address)
x, y = np.ones(1, np.float32), np.full(1, 7, np.float32)
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**20, -1))
status = call(predictor.address, x.ctypes.data, y.ctypes.data)
try:
    predictor(x, out=y)
except MemoryError as error:
    message = str(error)
try:
    net.predictor()
except MemoryError:
    message += ", and no other predictor"
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
print(status, y[0], message, net.predictor()(x) == predictor(x, out=y))
"""


@pytest.mark.measures
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited on Linux alone")
def test_no_memory():
    done = subprocess.run([sys.executable, "-c", NO_MEMORY_LEFT], capture_output=True, text=True)
    assert done.stdout == "1 7.0 no memory for one row, and no other predictor [ True]\n", done.stderr


# ---- threads


def churn(net: nf.Sequential, until: threading.Event) -> None:
    """Train, and change the structure of what is trained, until told to stop."""
    x = default_rng(0).normal(size=(64, net.input_shape[0]))
    while not until.is_set():
        net.fit(x, x[:, : net.output_shape[0]], epochs=2, batch_size=16, verbose=0)


@pytest.mark.parametrize("sizes", [(4, 64, 64, 2), (4, 5000, 2)], ids=str)
def test_many_threads_while_the_network_is_trained(sizes):
    net = simple(*sizes)
    x = default_rng(1).normal(size=(50, 4)).astype(np.float32)
    expected = [row.tobytes() for row in net.predict(x)]
    predictor, done = net.predictor(), threading.Event()
    others: list[tuple[nf.Predictor, bytes]] = []

    def work(first: int) -> int:
        wrong = i = 0
        while i < 300 or (len({output for _, output in others}) < 2 and not training.done()):
            row = (first + i) % len(x)
            wrong += called(predictor, x[row]).tobytes() != expected[row]
            if i % 50 == 0:
                other = net.predictor()  # whole in the middle of the training
                others.append((other, other(x[0]).tobytes()))
            i += 1
        return wrong

    with ThreadPoolExecutor(9) as pool:
        training = pool.submit(churn, net, done)
        wrong = sum(pool.map(work, range(8)))  # which go on until the training has changed the network
        done.set()
        training.result()
    assert wrong == 0
    assert all(called(other, x[0]).tobytes() == output for other, output in others)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_uses_it():
    predictor, row = simple(4, 5000, 2).predictor(), np.ones(4, np.float32)
    expected, done = predictor(row).tobytes(), threading.Event()
    busy = threading.Thread(target=lambda: [predictor(row) for _ in iter(done.is_set, True)])
    busy.start()
    try:
        for _ in range(5):
            child = os.fork()
            if not child:
                os._exit(called(predictor, row).tobytes() != expected)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        done.set()
        busy.join()


# ---- lifetimes


def test_it_is_freed():
    predictor = simple(4, 8, 2).predictor()
    dies = weakref.ref(predictor)
    capsules = [predictor.capsule for _ in range(3)]
    del predictor
    gc.collect()
    assert dies() is None
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    addresses = {pointer(capsule, NAME) for capsule in capsules}
    assert len(addresses) == 1
    struct = Struct.from_address(addresses.pop())  # alive through the capsules
    assert (struct.n_inputs, struct.n_outputs) == (4, 2)
    del capsules


@pytest.mark.measures
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_no_memory_is_kept():
    net = simple(100, 1000, 100)

    def used() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    for i in range(400):
        capsule = net.predictor().capsule
        if i == 50:
            before = used()
    del capsule
    assert used() - before < 20 * 200_000 // 1024  # pages of 4 KB: 350 predictors have 300 MB


# ---- Cython

PYX = """
# cython: language_level=3, freethreading_compatible=True
from nnfast.capi cimport (
    NNFAST_ABI_VERSION, NNFAST_CAPSULE, NNFAST_FLOAT32, NNFAST_FLOAT64, NNFAST_OK, expect, nnfast_predictor,
    predict_one, predictor_of, status_message,
)

ctypedef fused real:
    float
    double

def predict(predictor, const real[:, ::1] x, real[:, ::1] y, int repetitions):
    cdef const nnfast_predictor* p = predictor_of(predictor)
    cdef int status = NNFAST_OK
    cdef Py_ssize_t i
    expect(p, NNFAST_FLOAT32 if real is float else NNFAST_FLOAT64, x.shape[1], y.shape[1])
    with nogil:
        for _ in range(repetitions):
            for i in range(x.shape[0]):
                status = p.predict_one(p, &x[i, 0], &y[i, 0])
                if status == NNFAST_OK:
                    status = predict_one(p, &x[i, 0], &y[i, 0])
                if status != NNFAST_OK:
                    break
    return status, status_message(status).decode()

def look(predictor):
    cdef const nnfast_predictor* p = predictor_of(predictor)
    return <size_t>p, p.abi_version, p.struct_size, p.n_inputs, NNFAST_ABI_VERSION, NNFAST_CAPSULE
"""
SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup
import nnfast
setup(
    name="m",
    ext_modules=cythonize([Extension("compiled_here", ["compiled_here.pyx"], include_dirs=[nnfast.get_include()])]),
)
"""


def build(folder: Path) -> None:
    """Build the extensions of a folder as its author would."""
    for needed in ("Cython", "setuptools"):
        if not find_spec(needed):
            pytest.skip(f"{needed} is not installed")
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    paths = os.pathsep.join([str(Path(nf.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": paths, "CFLAGS": "-O0"}  # without optimization it takes half the time
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def imported(name: str, folder: Path) -> ModuleType:
    return module_at(name, folder / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}")


def module_at(name: str, path: Path) -> ModuleType:
    spec = spec_from_file_location(name, path)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cython_module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    if COMPILER is None:
        pytest.skip("there is no C compiler: neither gcc nor clang")
    folder = tmp_path_factory.mktemp("cython")
    (folder / "compiled_here.pyx").write_text(PYX)
    (folder / "setup.py").write_text(SETUP)
    build(folder)
    return imported("compiled_here", folder)


@pytest.mark.once
@needs_headers
@by_dtype
def test_from_cython(dtype, cython_module):
    net = LayerCase("Residual of norms", "in the middle", training=False, weighted=False).network(dtype)
    x = default_rng(0).normal(size=(100, FEATURES)).astype(dtype)
    for given in (net.predictor(), net.predictor().capsule):
        y = np.zeros((100, 3), dtype)
        assert cython_module.predict(given, x, y, 1) == (OK, "no error")
        assert y.tobytes() == net.predict(x).tobytes()


@pytest.mark.once
@needs_headers
def test_cython_runs_in_threads_while_the_network_is_trained(cython_module):
    net = simple(4, 64, 64, 2)
    x = default_rng(0).normal(size=(100, 4)).astype(np.float32)
    predictor, expected, done = net.predictor(), net.predict(x), threading.Event()
    outputs = np.zeros((6, 100, 2), np.float32)
    with ThreadPoolExecutor(7) as pool:
        training = pool.submit(churn, net, done)
        list(pool.map(lambda y: cython_module.predict(predictor, x, y, 200), outputs))
        done.set()
        training.result()
    assert all(y.tobytes() == expected.tobytes() for y in outputs)


@pytest.mark.once
@needs_headers
def test_without_the_gil(cython_module):
    """A thread that waits for the GIL gets it while another predicts, not only afterwards."""
    predictor = simple(4, 64, 64, 2).predictor()
    x, y = np.ones((1000, 4), np.float32), np.zeros((1000, 2), np.float32)
    order: list[str] = []
    go = threading.Event()

    def other() -> None:
        go.wait()
        order.append("other")

    thread, before = threading.Thread(target=other), sys.getswitchinterval()
    thread.start()
    sys.setswitchinterval(100)  # no thread gives the GIL away unless it has nothing to do
    try:
        go.set()
        cython_module.predict(predictor, x, y, 500)
        order.append("predicted")
    finally:
        sys.setswitchinterval(before)
        thread.join()
    assert order == ["other", "predicted"]


@pytest.mark.once
@needs_headers
def test_what_is_not_a_predictor(cython_module):
    net = simple(4, 8, 2)
    for bad in (None, 3, net, net.predictor().address, type("Other", (), {"capsule": 3})(), nf.Predictor):
        with pytest.raises(
            TypeError,
            match=r"expected an nnfast.Predictor, which net.predictor\(\) returns, or its capsule; got <class",
        ):
            cython_module.look(bad)

    class Broken:
        @property
        def capsule(self) -> object:
            raise ZeroDivisionError("broken")

    with pytest.raises(ZeroDivisionError, match="broken"):
        cython_module.look(Broken())
    x, y = np.ones((1, 4), np.float32), np.zeros((1, 3), np.float32)
    message = "expected a predictor of 4 inputs and 3 outputs in float32, got 4 and 2 in float32"
    with pytest.raises(ValueError, match=message):
        cython_module.predict(net.predictor(), x, y, 1)
    with pytest.raises(ValueError, match="4 inputs and 2 outputs in float64, got 4 and 2 in float32"):
        cython_module.predict(net.predictor(), np.ones((1, 4)), np.zeros((1, 2)), 1)
    assert not y.any()


def capsule_of(struct: Struct, name: bytes) -> object:
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return make(ctypes.addressof(struct), name, None)


@pytest.mark.once
@needs_headers
def test_capsules_of_other_names_and_versions(cython_module):
    predictor = simple(4, 2).predictor()
    assert cython_module.look(predictor) == (predictor.address, 1, ctypes.sizeof(Struct), 4, 1, NAME)
    struct = Struct.from_buffer_copy(Struct.from_address(predictor.address))
    assert cython_module.look(capsule_of(struct, NAME))[1:4] == (1, ctypes.sizeof(Struct), 4)
    with pytest.raises(TypeError, match="or its capsule; got <class 'PyCapsule'>"):
        cython_module.look(capsule_of(struct, b"nnfast.kernels.table"))
    struct.struct_size += 8  # a later version that has more
    cython_module.look(capsule_of(struct, NAME))
    for changes in ({"abi_version": 2}, {"abi_version": 0}, {"struct_size": ctypes.sizeof(Struct) - 8}):
        other = Struct.from_buffer_copy(Struct.from_address(predictor.address))
        for name, value in changes.items():
            setattr(other, name, value)
        message = (
            f"this module was compiled for version 1 of nnfast's predictors, of {ctypes.sizeof(Struct)} bytes, but the "
            f"installed nnfast has version {other.abi_version}, of {other.struct_size} bytes: compile it again"
        )
        with pytest.raises(ValueError, match=re.escape(message)):
            cython_module.look(capsule_of(other, NAME))


@pytest.mark.once
@needs_headers
@needs_compiler
@pytest.mark.skipif(not EXAMPLES.exists(), reason="examples/ is not beside the tests")
def test_the_example_in_cython(tmp_path):
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("build", "*.c", "*.so"))
    build(tmp_path)
    check_example("balance.py", tmp_path)


@pytest.mark.once
@pytest.mark.skipif(not EXAMPLES.exists(), reason="examples/ is not beside the tests")
def test_the_example_in_numba(tmp_path):
    pytest.importorskip("numba")
    shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True)
    check_example("balance_numba.py", tmp_path)


def check_example(name: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "error", name], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    upright, per_second = re.match(
        r"(\d+)% are upright after 500 steps, ([\d.]+) million a second\n", done.stdout
    ).groups()
    assert int(upright) > 95
    assert float(per_second) > 0


@pytest.mark.skipif(not EXAMPLES.exists(), reason="examples/ is not beside the tests")
def test_examples_are_short_and_listed():
    gallery = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    for path in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.pyx")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) < 45
    for name in ("setup.py", "balance.py", "balance_numba.py"):
        assert f"python {name}" in gallery


# ---- numba


@pytest.mark.once
def test_from_numba():
    """The Python of the wheel's tests has numba, but not the examples."""
    numba = pytest.importorskip("numba")
    net = simple(4, 64, 2)
    predictor = net.predictor()
    function = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p)(
        predictor.function_address
    )

    @numba.njit(nogil=True)
    def predict(address, x, y):
        status = 0
        for i in range(len(x)):
            status |= function(address, x[i].ctypes, y[i].ctypes)
        return status

    x = default_rng(0).normal(size=(60, 4)).astype(np.float32)
    outputs = np.zeros((4, 60, 2), np.float32)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda y: predict(predictor.address, x, y), outputs)) == [OK] * 4
    assert all(y.tobytes() == net.predict(x).tobytes() for y in outputs)


# ---- C

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
ROWS = """
#include "nnfast.h"
#include "nnfast.h"
int rows(const nnfast_predictor *p, int n, const float *x, float *y) {
    for (int i = 0; i < n; i++) {
        const int status = nnfast_predict_one(p, x + i * p->n_inputs, y + i * p->n_outputs);
        if (status != NNFAST_OK) return status;
    }
    return NNFAST_OK;
}
const char *message(int status) { return nnfast_status_message(status); }
int sizes(int i) { return i == 0 ? (int)sizeof(nnfast_predictor) : i == 1 ? NNFAST_ABI_VERSION : NNFAST_FLOAT64; }
"""


def compile_with(command: list[str], text: str, folder: Path, name: str, *more: str) -> Path:
    source, library = folder / name, folder / f"{name}.so"
    source.write_text(text)
    done = subprocess.run(
        [*command, f"-I{nf.get_include()}", "-shared", "-fPIC", *more, str(source), "-o", str(library)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return library


@needs_compiler
def test_from_c(tmp_path):
    library = ctypes.CDLL(str(compile_with([COMPILER, *STRICT, "-Wconversion"], ROWS, tmp_path, "rows.c")))
    net = simple(4, 64, 2)
    predictor = net.predictor()
    x, y = default_rng(0).normal(size=(60, 4)).astype(np.float32), np.zeros((60, 2), np.float32)
    library.rows.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    assert library.rows(predictor.address, 60, x.ctypes.data, y.ctypes.data) == OK
    assert y.tobytes() == net.predict(x).tobytes()
    assert [library.sizes(i) for i in range(3)] == [ctypes.sizeof(Struct), 1, FLOAT64]
    library.message.restype = ctypes.c_char_p
    messages = [library.message(i).decode() for i in range(6)]
    assert messages == [
        "no error",
        "no memory for the outputs of the layers",
        "x or y is NULL, or not aligned as its type requires",
        "x and y overlap",
        "unknown status",
        "unknown status",
    ]


MODULE = """
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include "nnfast.h"

static PyObject *predict(PyObject *module, PyObject *arguments) {
    PyObject *predictor;
    double x, y;
    const nnfast_predictor *p;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "Od", &predictor, &x)) return NULL;
    if ((p = nnfast_predictor_of(predictor)) == NULL || nnfast_expect(p, NNFAST_FLOAT64, 1, 1) < 0) return NULL;
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = nnfast_predict_one(p, &x, &y);
    Py_END_ALLOW_THREADS
    if (status != NNFAST_OK) return PyErr_Format(PyExc_RuntimeError, "%s", nnfast_status_message(status));
    return PyFloat_FromDouble(y);
}
static PyMethodDef methods[] = {{"predict", predict, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "plain", NULL, -1, methods, NULL, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_plain(void);
PyMODINIT_FUNC PyInit_plain(void) { return PyModule_Create(&definition); }
"""


@pytest.mark.once
@needs_headers
@pytest.mark.parametrize(
    ("compiler", "name", "flags"),
    [
        ("gcc", "plain.c", STRICT),
        ("clang", "plain.c", STRICT),
        ("gcc", "plain.c", [*STRICT, "-DPy_LIMITED_API=0x030B0000"]),
        ("g++", "plain.cpp", ["-std=c++11", *STRICT[1:]]),
        ("g++", "plain.cpp", ["-std=c++20", *STRICT[1:]]),
    ],
    ids=["gcc", "clang", "stable interface", "C++11", "C++20"],
)
def test_an_extension_module(compiler, name, flags, tmp_path):
    if not shutil.which(compiler):
        pytest.skip(f"not installed: {compiler}")
    python = f"-isystem{sysconfig.get_path('include')}"
    plain = module_at("plain", compile_with([compiler, *flags], MODULE, tmp_path, name, python))
    net = simple(1, 5, 1, dtype="float64")
    assert plain.predict(net.predictor(), 0.3) == net.predict_one([0.3])[0]
    assert plain.predict(net.predictor().capsule, 0.3) == net.predict_one([0.3])[0]
    with pytest.raises(TypeError, match="expected an nnfast.Predictor"):
        plain.predict(net, 0.3)
    with pytest.raises(ValueError, match="expected a predictor of 1 inputs and 1 outputs in float64, got 1 and 2 in"):
        plain.predict(simple(1, 2).predictor(), 0.3)


SMALL_STACKS = """
#include <pthread.h>
#include <stddef.h>
#include "nnfast.h"

typedef struct {
    const nnfast_predictor *predictor;
    const void *x;
    void *y;
} job;
static void *run(void *argument) {
    job *j = (job *)argument;
    return (void *)(ptrdiff_t)nnfast_predict_one(j->predictor, j->x, j->y);
}
int in_thread(const nnfast_predictor *p, const void *x, void *y, size_t bytes) { /* -1: no such thread */
    pthread_attr_t attributes;
    pthread_t thread;
    void *status = 0;
    job j = {p, x, y};
    if (pthread_attr_init(&attributes) || pthread_attr_setstacksize(&attributes, bytes)) return -1;
    if (pthread_create(&thread, &attributes, run, &j) || pthread_join(thread, &status)) return -1;
    return (int)(ptrdiff_t)status;
}
"""


@needs_compiler
@pytest.mark.measures  # the sanitizer needs more
@by_dtype
def test_the_stack_that_a_thread_needs(dtype, tmp_path):
    path = compile_with([COMPILER, "-std=gnu99"], SMALL_STACKS, tmp_path, "stacks.c", "-pthread")
    in_thread = ctypes.CDLL(str(path)).in_thread
    in_thread.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    for layer in (*LAYERS, *ACTIVATIONS):
        net = LayerCase(layer, "in the middle", training=False, weighted=False).network(dtype)
        assert_runs(in_thread, net)
    for sizes in ((4, 64, 64, 2), (500, 37, 33, 3), (3, 4000, 5), (3, 5000, 5)):
        assert_runs(in_thread, simple(*sizes, dtype=dtype, activation="softmax"))


def assert_runs(in_thread, net: nf.Sequential) -> None:
    predictor = net.predictor()
    x, y = np.ones(predictor.n_inputs, net.dtype), np.zeros(predictor.n_outputs, net.dtype)
    assert in_thread(predictor.address, x.ctypes.data, y.ctypes.data, 400 * 1024) == OK
    assert y.tobytes() == net.predict_one(x).tobytes()


# ---- what is installed


def test_the_files_for_compilers_are_installed():
    include = Path(nf.get_include())
    assert [path.name for path in include.iterdir()] == ["nnfast.h"]
    assert include.parent == Path(nf.__file__).parent
    header = (include / "nnfast.h").read_text(encoding="ascii")
    declared = (include.parent / "capi.pxd").read_text(encoding="ascii")
    for name in re.findall(r"\b(NNFAST_\w+|nnfast_\w+)\b", header):
        assert name in declared or name == "NNFAST_H", f"capi.pxd lacks {name}"


@contextlib.contextmanager
def no_cycles() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_neither_predictors_nor_capsules_are_in_cycles():
    with no_cycles():
        predictor = simple(4, 2).predictor()
        dies = weakref.ref(predictor)
        capsule = predictor.capsule
        del predictor, capsule
        assert dies() is None
