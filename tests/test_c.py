"""Networks as C, compiled and compared with `predict`."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from column_cases import mixed, samples
from gradient_cases import ACTIVATIONS, LAYERS, PLACES, LayerCase
from numpy.random import default_rng
from tolerances import tolerance

import nnfast as nf
from nnfast.engine.program import STAGES
from nnfast.files.c.functions import FUNCTIONS
from nnfast.files.c.int8 import COMPUTED, MAX_INPUTS
from nnfast.files.c.plan import KINDS

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion"]
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
needs_compiler = pytest.mark.skipif(not COMPILERS, reason="there is no C compiler: neither gcc nor clang")
MAIN = """
#include <stdio.h>
#include "{name}.h"

int main(void)
{{
    {real} x[{macro}_INPUTS], y[{macro}_OUTPUTS];
    while (fread(x, sizeof x, 1, stdin) == 1) {{
        {name}_predict(x, y);
        if (fwrite(y, sizeof y, 1, stdout) != 1)
            return 1;
    }}
    return 0;
}}
"""


def run(command: list[str], **options: object) -> bytes:
    done = subprocess.run(command, capture_output=True, **options)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr.decode()}"
    return done.stdout


def library(files, folder, *flags: str, compiler: str | None = None) -> ctypes.CDLL:
    """Compile generated files into a library; several of them in one source, which takes half the time."""
    path = os.path.join(folder, f"lib{len(os.listdir(folder))}.so")
    source = files[0].source if len(files) == 1 else together(files, folder)
    run([compiler or COMPILERS[0], *STRICT, *flags, "-shared", "-fPIC", source, "-o", path, "-lm"])
    return ctypes.CDLL(path)


def together(files, folder) -> str:
    """Write a source that includes all of them, the static names of each with a number; return its path."""
    lines = []
    for i, file in enumerate(files):
        with open(file.source, encoding="utf-8") as source:
            names = set(re.findall(r"^static [^\n]*?(\w+)[\[(]", source.read(), re.M))
        lines += [f"#define {name} {name}_{i}" for name in sorted(names)]
        lines += [f'#include "{file.source}"', *(f"#undef {name}" for name in sorted(names))]
    path = os.path.join(folder, "together.c")
    with open(path, "w", encoding="utf-8") as source:
        source.write("\n".join(lines) + "\n")
    return path


def outputs(function, net: nf.Sequential, x: np.ndarray, dtype: object = None) -> np.ndarray:
    """Call a compiled function for each row."""
    rows = np.ascontiguousarray(x, dtype or net.dtype).reshape(len(x), -1)
    y = np.full((len(rows), int(np.prod(net.output_shape))), np.nan, rows.dtype)
    pointer = ctypes.POINTER(ctypes.c_float if rows.dtype == np.float32 else ctypes.c_double)
    function.argtypes, function.restype = [pointer, pointer], None
    for row, out in zip(rows, y, strict=True):
        before = row.copy()
        function(row.ctypes.data_as(pointer), out.ctypes.data_as(pointer))
        np.testing.assert_array_equal(row, before)
    return y.reshape(len(x), *net.output_shape)


def predicted(net: nf.Sequential, x: np.ndarray, folder, *flags: str, compiler=None, **options) -> np.ndarray:
    """What the generated C computes."""
    written = net.to_c(os.path.join(folder, "net.c"), **options)
    function = library([written], folder, *flags, compiler=compiler)[written.function]
    dtype = options.get("dtype")
    return outputs(function, net, x, "float32" if dtype == "int8" else dtype)


def assert_agrees(actual: np.ndarray, net: nf.Sequential, x: np.ndarray, which: str = "") -> None:
    """Relative to the largest output of the row, of which an output may be a small difference."""
    expected = net.predict(x)
    limit = max(tolerance(actual.dtype, "C"), tolerance(net.dtype, "C"))
    size = np.abs(np.where(np.isfinite(expected), expected, 0)).max(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        wrong = ~(np.abs(actual - expected) <= limit * np.maximum(size, 1))
    np.testing.assert_array_equal(actual[wrong], expected[wrong], which)  # NaN and infinity


# ---- the same numbers


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layer", [*LAYERS, *ACTIVATIONS])
def test_layers_in_each_place(layer, dtype, tmp_path):
    x = 3 * default_rng(1).normal(size=(40, 4))
    nets = [LayerCase(layer, place, training=False, weighted=False).network(dtype) for place in PLACES]
    files = [net.to_c(tmp_path / f"net{i}.c") for i, net in enumerate(nets)]
    compiled = library(files, tmp_path, "-O0")
    for net, file in zip(nets, files, strict=True):
        assert_agrees(outputs(compiled[file.function], net, x), net, x)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("flags", [["-O0"], ["-O3", "-march=native", "-std=gnu99"]], ids=["O0", "native"])
def test_columns_of_a_table(dtype, flags, tmp_path):
    """Numbers with edges, and codes of which some are unknown."""
    rng = default_rng(5)
    columns = mixed(rng)
    net = nf.Sequential([nf.ColumnEncoding(columns), nf.Dense(3)], input_shape=len(columns), dtype=dtype, seed=0)
    x = samples(columns, rng, 60, dtype)
    x[:2, 0] = np.nan, np.inf  # codes
    assert_agrees(predicted(net, x, tmp_path, *flags), net, x)


WIDE = 100
EDGES = [0.0, -0.0, 1e-30, -1e-30, 1e19, -1e19, 3e38, -3e38, np.inf, -np.inf, np.nan, 88.0, -88.0, -3.0, 3.0]
PARAMETERS = [nf.activations.LeakyReLU(0.3), nf.activations.ELU(0.4), nf.activations.Softplus(2.5)]


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("flags", [["-O2"], ["-O3", "-march=native", "-std=gnu99"]], ids=["O2", "native"])
def test_activations_over_the_whole_range(dtype, flags, tmp_path):
    """Vectors and the numbers that are left over, NaN and infinity included."""
    rng = default_rng(2)
    x = rng.normal(size=(60, WIDE)) * np.exp(2 * rng.normal(size=(60, WIDE)))
    x[: len(EDGES), 5] = x[: len(EDGES), 97] = EDGES
    x = x.astype(dtype)
    functions = [*ACTIVATIONS.values(), *PARAMETERS]
    nets = [nf.Sequential([nf.Activation(function)], input_shape=WIDE, dtype=dtype) for function in functions]
    files = [net.to_c(tmp_path / f"net{i}.c") for i, net in enumerate(nets)]
    compiled = library(files, tmp_path, *flags)
    for function, net, file in zip(functions, nets, files, strict=True):
        assert_agrees(outputs(compiled[file.function], net, x), net, x, repr(function))


SIZES = (1, 2, 7, 8, 19, 31, 32, 33, 40, 64, 75)


def random_layers(rng: np.random.Generator, depth: int = 0) -> list[nf.layers.Layer]:
    """Layers of random kinds and widths."""
    layers: list[nf.layers.Layer] = []
    width = int(rng.choice(SIZES[1:]))
    layers.append(nf.Dense(width, use_bias=bool(rng.integers(2))))
    for _ in range(rng.integers(1, 6)):
        kind = rng.integers(9 if depth < 2 else 8)
        if kind < 2:
            width = int(rng.choice(SIZES[1:]))
            layers.append(nf.Dense(width, str(rng.choice([name for name in ACTIVATIONS if name != "step"]))))
        elif kind < 8:
            layers.append(
                [
                    nf.BatchNorm(affine=bool(rng.integers(2))),
                    nf.LayerNorm(epsilon=0.01, affine=bool(rng.integers(2))),
                    nf.Scale(use_bias=bool(rng.integers(2))),
                    nf.Rescaling(1.5, -0.25),
                    nf.Dropout(0.5),
                    nf.Reshape((1, width)),
                ][kind - 2]
            )
        else:
            layers.append(nf.Residual([*random_layers(rng, depth + 1), nf.Dense(width), nf.Reshape((width,))]))
            layers.insert(-1, nf.Flatten())
    return layers


def random_network(seed: int, dtype: str = "float32") -> nf.Sequential:
    rng = default_rng(seed)
    net = nf.Sequential(random_layers(rng), input_shape=int(rng.choice(SIZES)), dtype=dtype, seed=seed)
    net.flat_params[:] += 0.1 * rng.normal(size=net.n_parameters)
    for name, view in net.statistics.items():
        view[:] = rng.uniform(0.5, 1.5, len(view)) if name.startswith("variance") else rng.normal(size=len(view))
    return net


@needs_compiler
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("seed", range(12))
def test_random_networks(seed, compiler, tmp_path):
    net = random_network(seed)
    x = default_rng(seed).normal(size=(30, *net.input_shape))
    flags = [["-O2"], ["-O3", "-march=native", "-std=gnu99"], ["-Os"]][seed % 3]
    assert_agrees(predicted(net, x, tmp_path, *flags, compiler=compiler), net, x)


@needs_compiler
@pytest.mark.parametrize("inputs", [1, 4, 5, 8, 11, 784])
def test_each_number_of_inputs_and_outputs(inputs, tmp_path):
    x = default_rng(0).normal(size=(5, inputs))
    nets = [nf.Sequential([nf.Dense(n, bias_initializer=0.5)], input_shape=inputs, seed=0) for n in SIZES]
    files = [net.to_c(tmp_path / f"net{i}.c") for i, net in enumerate(nets)]
    compiled = library(files, tmp_path, "-O0")
    for units, net, file in zip(SIZES, nets, files, strict=True):
        assert_agrees(outputs(compiled[file.function], net, x), net, x, f"{units} outputs")


@needs_compiler
def test_samples_and_outputs_of_several_axes(tmp_path):
    net = nf.Sequential([nf.Dense(6, "tanh"), nf.Reshape((2, 3))], input_shape=(2, 2), seed=0)
    x = default_rng(0).normal(size=(5, 2, 2))
    assert_agrees(predicted(net, x, tmp_path), net, x)
    header = (tmp_path / "net.h").read_text()
    assert "#define NET_INPUTS 4 /* numbers in a sample, of shape (2, 2), in C order */" in header
    assert "#define NET_OUTPUTS 6 /* numbers in an output, of shape (2, 3), in C order */" in header


@needs_compiler
def test_a_network_that_only_reshapes(tmp_path):
    net = nf.Sequential([nf.Flatten(), nf.Dropout(0.5)], input_shape=(2, 3))
    x = default_rng(0).normal(size=(2, 2, 3))
    assert_agrees(predicted(net, x, tmp_path), net, x)


@needs_compiler
@pytest.mark.parametrize(("dtype", "other"), [("float64", "float32"), ("float32", "float64")])
def test_another_dtype(dtype, other, tmp_path):
    net = random_network(3, dtype)
    x = default_rng(0).normal(size=(9, *net.input_shape)).astype("float32")
    actual = predicted(net, x, tmp_path, dtype=other)
    assert actual.dtype == other
    assert_agrees(actual, net, x)
    assert f"Its parameters are {other}, rounded from {dtype}." in (tmp_path / "net.c").read_text()


@needs_compiler
def test_batch_norm_after_dense_leaves_no_code(tmp_path):
    net = nf.Sequential([nf.Dense(5), nf.BatchNorm(), nf.Activation("relu")], input_shape=3, seed=0)
    net.statistics["mean1"] = [1.0, 2.0, 3.0, 4.0, 5.0]
    x = default_rng(0).normal(size=(9, 3))
    assert_agrees(predicted(net, x, tmp_path), net, x)
    text = (tmp_path / "net.c").read_text()
    assert "standardize" not in text
    assert "Those of the BatchNorm that follows, layer 1, are included." in text


@needs_compiler
def test_batch_norm_after_a_value_that_is_used_again(tmp_path):
    net = nf.Sequential([nf.Dense(5), nf.Residual([nf.BatchNorm(), nf.Dense(5)])], input_shape=3, seed=0)
    net.statistics["mean1"] = [1.0, 2.0, 3.0, 4.0, 5.0]
    x = default_rng(0).normal(size=(9, 3))
    assert_agrees(predicted(net, x, tmp_path), net, x)
    assert "standardize" in (tmp_path / "net.c").read_text()


# ---- the text


def test_names(tmp_path):
    net = nf.Sequential([nf.Dense(2)], input_shape=3, seed=0)
    for path, options, name in (
        ("model.c", {}, "model"),
        ("model", {}, "model"),
        ("model.h", {}, "model"),
        ("my-net.v2", {}, "my_net_v2"),
        ("4-8-2.c", {}, "net_4_8_2"),
        ("möbel.c", {}, "m_bel"),
        ("model.c", {"prefix": "Wheel_2"}, "Wheel_2"),
    ):
        written = net.to_c(tmp_path / path, **options)
        stem = path.removesuffix(".c").removesuffix(".h")
        assert written.source == str(tmp_path / f"{stem}.c")
        assert written.header == str(tmp_path / f"{stem}.h")
        assert written.function == f"{name}_predict"
        header = (tmp_path / f"{stem}.h").read_text(encoding="utf-8")
        assert f"void {name}_predict(const float *x, float *y);" in header
        assert f"#define {name.upper()}_INPUTS 3 " in header
        assert f"#define {name.upper()}_OUTPUTS 2 " in header
        assert f'#include "{stem}.h"' in (tmp_path / f"{stem}.c").read_text(encoding="utf-8")


def test_needs_math_alone_and_allocates_nothing(tmp_path):
    for seed in range(6):
        written = random_network(seed).to_c(tmp_path / "net.c")
        text = (tmp_path / "net.c").read_text()
        assert re.findall("#include .*", text) == ['#include "net.h"', "#include <math.h>"]
        assert "alloc" not in text.partition("*/")[2]
        assert max(map(len, text.splitlines())) <= 120
        assert written.stack_bytes == 4 * sum(map(int, re.findall(r"^    float h\d+\[(\d+)\];", text, re.M)))
        assert f"arrays take {written.stack_bytes} bytes of the stack" in (tmp_path / "net.h").read_text()
        constants = re.findall(r"^static const float \w+\[(\d+)\]", text, re.M)
        assert written.constant_bytes == 4 * sum(map(int, constants))


def test_is_deterministic(tmp_path):
    texts = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        random_network(1).to_c(tmp_path / name / "net.c")
        texts.append([(tmp_path / name / file).read_bytes() for file in ("net.c", "net.h")])
    assert texts[0] == texts[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_are_exact(dtype, tmp_path):
    net = nf.Sequential([nf.Dense(45)], input_shape=9, dtype=dtype, seed=0)
    bits = default_rng(0).integers(0, 2**31 - 1, net.n_parameters, dtype=np.int64)
    values = bits.astype("i4").view("f4") if dtype == "float32" else (bits << 32 | bits).view("f8")
    net.flat_params[:] = np.where(np.isfinite(values), values, 1e20)  # of all sizes, subnormal numbers too
    net.to_c(tmp_path / "net.c")
    text = (tmp_path / "net.c").read_text()

    def constant(name):
        numbers = re.search(rf"{name}\[\d+\] = \{{(.*?)\}};", text, re.S)[1]
        return np.array([number.rstrip("f") for number in re.split(r",\s*", numbers.strip(", \n"))]).astype(dtype)

    w, W = constant("W1"), net.params["W1"]
    np.testing.assert_array_equal(constant("b1"), net.params["b1"])
    np.testing.assert_array_equal(w[: 32 * 9].reshape(9, 32), W[:, :32])  # outputs of an input side by side
    np.testing.assert_array_equal(w[32 * 9 : 40 * 9].reshape(9, 8), W[:, 32:40])
    np.testing.assert_array_equal(w[40 * 9 :].reshape(5, 9), W[:, 40:].T)  # what is left, by output


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_keeps_nothing_between_calls_and_needs_the_stack_it_says(dtype, tmp_path):
    net = nf.Sequential([nf.Dense(200, "gelu"), nf.LayerNorm(), nf.Dense(100, "softmax")], input_shape=300, seed=0)
    calibration = default_rng(0).normal(size=(10, 300)) if dtype == "int8" else None
    written = net.to_c(tmp_path / "net.c", dtype=dtype, calibration=calibration)
    command = [COMPILERS[0], *STRICT, "-O2", "-fstack-usage", "-c", written.source, "-o", str(tmp_path / "net.o")]
    run(command)
    frames = dict(re.findall(r":(\w+)\t(\d+)\t", (tmp_path / "net.su").read_text()))
    used = int(frames.pop(written.function)) + max(map(int, frames.values()))
    assert written.stack_bytes <= used < written.stack_bytes + 1000
    symbols = run(["nm", str(tmp_path / "net.o")]).decode().split("\n")
    assert not [line for line in symbols if re.search(r" [bBdDC] ", line)]  # variables that would last


def program(written, folder, compiler: str, *flags: str, dtype: str = "float32") -> str:
    """Compile a program that predicts rows from its standard input; return its path."""
    text = MAIN.format(name="net", macro="NET", real="double" if dtype == "float64" else "float")
    (folder / "main.c").write_text(text)
    path = str(folder / "program")
    run([compiler, *STRICT, *flags, str(folder / "main.c"), written.source, "-o", path, "-lm"])
    return path


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
@pytest.mark.parametrize("seed", range(4))
def test_stays_within_its_arrays(seed, dtype, tmp_path):
    """With the sanitizers of addresses and of undefined behaviour, which end the program."""
    net = random_network(seed)
    x = default_rng(seed).normal(size=(20, *net.input_shape)).astype("f8" if dtype == "float64" else "f4")
    x[0] = np.nan
    x[1] = 3e38
    written = net.to_c(tmp_path / "net.c", dtype=dtype, calibration=x[2:] if dtype == "int8" else None)
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    run([program(written, tmp_path, COMPILERS[0], *flags, dtype=dtype)], input=x.tobytes())


@pytest.mark.skipif(not shutil.which("g++"), reason="not installed: g++")
def test_the_header_is_one_of_cpp_too(tmp_path):
    written = random_network(0).to_c(tmp_path / "net.c")
    (tmp_path / "main.cpp").write_text('#include "net.h"\n#include "net.h"\nint main() { return NET_INPUTS == 0; }\n')
    run(["g++", "-Wall", "-Wextra", "-Werror", "-pedantic", str(tmp_path / "main.cpp"), "-o", str(tmp_path / "main")])
    run([str(tmp_path / "main")])
    assert 'extern "C"' in (tmp_path / written.header).read_text()


def test_every_stage_and_every_function_has_a_form(tmp_path):
    assert set(KINDS) == set(STAGES)
    assert {f"apply_{name}" for name in ACTIVATIONS if name != "identity"} <= set(FUNCTIONS)
    assert set(COMPUTED) <= set(FUNCTIONS)
    called = {operation for layer in LAYERS for operation in functions_of(layer, tmp_path)}
    assert called - {"copy"} <= set(COMPUTED)


def functions_of(layer: str, folder) -> list[str]:
    net = LayerCase(layer, "in the middle", training=False, weighted=False).network()
    net.to_c(folder / "net.c")
    body = (folder / "net.c").read_text().rpartition("_predict(")[2]
    return re.findall(r"^    (\w+)\(", body, re.M)


# ---- int8


def calibrated(**options) -> tuple[nf.Sequential, np.ndarray]:
    rng = default_rng(0)
    hidden = [nf.Dense(40), nf.BatchNorm(), nf.Activation("relu"), nf.Dense(33, "relu", use_bias=False)]
    layers = [*hidden, nf.Dense(5, **options)]
    net = nf.Sequential(layers, input_shape=20, seed=0)
    net.flat_params[:] += 0.1 * rng.normal(size=net.n_parameters)
    return net, rng.normal(size=(300, 20)).astype("f4")


@needs_compiler
@pytest.mark.parametrize("activation", ["identity", "softmax", "sigmoid"])
@pytest.mark.parametrize("flags", [["-O2"], ["-O3", "-march=native", "-std=gnu99"]], ids=["O2", "native"])
def test_int8_reports_the_difference_of_the_compiled_code(activation, flags, tmp_path):
    net, x = calibrated(activation=activation)
    written = net.to_c(tmp_path / "net.c", dtype="int8", calibration=x)
    actual = outputs(library([written], tmp_path, *flags)[written.function], net, x, "float32")
    error = np.abs(actual.astype("f8") - net.predict(x))
    difference = written.difference
    exact = activation == "identity"  # then all is integers, and products that are rounded once
    assert difference.largest == pytest.approx(error.max(), rel=0 if exact else 1e-4)
    assert difference.mean == pytest.approx(error.mean(), rel=1e-12 if exact else 1e-4)
    if exact:
        assert difference.agreement is None
    elif activation == "softmax":
        assert difference.agreement == (actual.argmax(axis=1) == net.predict_class(x)).mean()
    else:
        assert difference.agreement == ((actual > 0.5) == net.predict_class(x)).all(axis=1).mean()


@needs_compiler
@pytest.mark.parametrize("low", [-2.0, 0.0, 1.0])
def test_int8_is_off_by_the_rounding_of_weights_and_inputs(low, tmp_path):
    rng = default_rng(3)
    net = nf.Sequential([nf.Dense(7, bias_initializer=rng.normal(size=7))], input_shape=50, seed=0)
    x = rng.uniform(low, low + 3, size=(200, 50)).astype("f4")
    actual = predicted(net, x, tmp_path, dtype="int8", calibration=x)
    W = net.params["W1"].astype("f8")
    step = (max(x.max(), 0) - min(x.min(), 0)) / 255
    scale = np.abs(W).max(axis=0) / 127
    of_inputs = np.abs(W).sum(axis=0) * step  # zero is an integer: at the ends of the range another half step is lost
    of_weights = (np.abs(x).sum(axis=1, keepdims=True) + 50 * step) * scale / 2
    assert (np.abs(actual - net.predict(x)) <= of_inputs + of_weights + step * scale).all()
    assert np.abs(actual - net.predict(x)).max() > 0


@needs_compiler
def test_int8_clips_what_is_beyond_the_calibration(tmp_path):
    net = nf.Sequential([nf.Dense(1, initializer=[[1.0]])], input_shape=1)
    x = np.array([[-9.0], [-1.0], [0.0], [1.0], [9.0], [np.inf]], "f4")
    actual = predicted(net, x, tmp_path, dtype="int8", calibration=[[-1.0], [1.0]])[:, 0]
    assert actual[2] == 0  # exactly
    np.testing.assert_allclose(actual, [-1, -1, 0, 1, 1, 1], atol=2 / 255)


@needs_compiler
def test_int8_of_weights_and_inputs_that_are_zero(tmp_path):
    net = nf.Sequential([nf.Dense(3, initializer=0.0), nf.Dense(2, initializer=0.0)], input_shape=2)
    net.params["b1"] = [0.0, 1e-3, 1e3]
    net.params["b2"] = [1.0, -3.0]
    x = np.zeros((3, 2), "f4")
    written = net.to_c(tmp_path / "net.c", dtype="int8", calibration=x)
    assert written.difference.largest < 1e-6
    np.testing.assert_allclose(predicted(net, x, tmp_path, dtype="int8", calibration=x), net.predict(x), rtol=1e-6)


@needs_compiler
@pytest.mark.parametrize("seed", range(6))
def test_int8_of_random_networks(seed, tmp_path):
    net = random_network(seed)
    x = default_rng(seed).normal(size=(60, *net.input_shape)).astype("f4")
    written = net.to_c(tmp_path / "net.c", dtype="int8", calibration=x)
    actual = outputs(library([written], tmp_path, "-O2")[written.function], net, x)
    assert np.abs(actual.astype("f8") - net.predict(x)).mean() == pytest.approx(written.difference.mean, rel=0.01)
    assert re.findall("#include <.*", (tmp_path / "net.c").read_text()) == ["#include <math.h>", "#include <stdint.h>"]


@needs_compiler
def test_int8_encodes_columns_in_float(tmp_path):
    rng = default_rng(5)
    columns = mixed(rng)
    net = nf.Sequential([nf.ColumnEncoding(columns), nf.Dense(3)], input_shape=len(columns), seed=0)
    x = samples(columns, rng, 60, "float32")
    written = net.to_c(tmp_path / "net.c", dtype="int8", calibration=x)
    actual = outputs(library([written], tmp_path, "-O2")[written.function], net, x)
    assert np.abs(actual.astype("f8") - net.predict(x)).max() == pytest.approx(written.difference.largest, rel=0.01)
    assert written.difference.largest < 0.1
    known = nf.Sequential([nf.ColumnEncoding([nf.columns.Flag()])], input_shape=1)
    with pytest.raises(ValueError, match="^dtype='int8' needs a Dense layer"):
        known.to_c(tmp_path / "net.c", dtype="int8", calibration=[[1.0]])


def test_int8_is_a_quarter_of_the_size(tmp_path):
    net = nf.Sequential([nf.Dense(64, "relu"), nf.Dense(64, "relu"), nf.Dense(2)], input_shape=4, seed=0)
    x = default_rng(0).normal(size=(50, 4))
    written = net.to_c(tmp_path / "net.c", dtype="int8", calibration=x)
    assert written.constant_bytes == (4 * 64 + 64 * 64 + 64 * 2) + 8 * (64 + 64 + 2)
    assert written.stack_bytes == 4 * 128 + 64


def test_int8_leaves_a_layer_that_is_too_wide_in_float(tmp_path):
    net = nf.Sequential([nf.Dense(2, "relu"), nf.Dense(3)], input_shape=MAX_INPUTS + 1, seed=0)
    net.to_c(tmp_path / "net.c", dtype="int8", calibration=np.ones((2, MAX_INPUTS + 1), "f4"))
    calls = re.findall(r"^    (dense\w*)\(", (tmp_path / "net.c").read_text(), re.M)
    assert calls == ["dense", "dense_int8"]


# ---- other machines


ARM = "arm-linux-gnueabihf-gcc"
QEMU = next((name for name in ("qemu-arm-static", "qemu-arm") if shutil.which(name)), "qemu-arm")


def missing(*programs: str) -> pytest.MarkDecorator:
    absent = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(absent), reason=f"not installed: {', '.join(absent)}")


@missing(ARM, QEMU)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
@pytest.mark.parametrize("seed", range(4))
def test_runs_on_arm(seed, dtype, tmp_path):
    net, x = calibrated(activation="softmax") if seed == 0 else (random_network(seed), None)
    x = default_rng(seed).normal(size=(60, *net.input_shape)) if x is None else x
    written = net.to_c(tmp_path / "net.c", dtype=dtype, calibration=x if dtype == "int8" else None)
    kind = "f8" if dtype == "float64" else "f4"
    path = program(written, tmp_path, ARM, "-O2", "-static", dtype=dtype)
    output = np.frombuffer(run([QEMU, path], input=x.astype(kind).tobytes()), kind)
    output = output.reshape(len(x), *net.output_shape)
    if dtype == "int8":
        here = predicted(net, x, tmp_path, dtype=dtype, calibration=x)
        np.testing.assert_allclose(output, here, atol=0.01 * np.abs(here).max())
        assert np.abs(output - here).mean() < 1e-4 * np.abs(here).max()
    else:
        assert_agrees(output, net, x)


CORTEX = "arm-none-eabi-gcc"


@missing(CORTEX, "arm-none-eabi-size")
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_builds_for_a_microcontroller(dtype, tmp_path):
    """Constants stay in flash: no data that would be copied to memory; the sizes of code and constants are printed."""
    net = nf.Sequential([nf.Dense(64, "relu"), nf.Dense(64, "tanh"), nf.Dense(2)], input_shape=4, seed=0)
    calibration = default_rng(0).normal(size=(50, 4)) if dtype == "int8" else None
    written = net.to_c(tmp_path / "net.c", dtype=dtype, calibration=calibration)
    target = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]
    for level in ("-Os", "-O2"):
        run([CORTEX, *STRICT, *target, level, "-c", written.source, "-o", str(tmp_path / "net.o")])
        sections = run(["arm-none-eabi-size", "-A", str(tmp_path / "net.o")]).decode()
        sizes = {name: int(size) for name, size in re.findall(r"^(\.\w+)[\w.]*\s+(\d+)", sections, re.M)}
        assert sizes[".data"] == sizes[".bss"] == 0
        figures = f"{sizes['.text']} bytes of code, {sizes['.rodata']} of constants"
        print(f"4-64-64-2, {dtype}, Cortex-M4, {level}: {figures}")
        assert written.constant_bytes <= sizes[".rodata"] < written.constant_bytes + 100


# ---- errors


LARGE = [[3e38], [-3e38]]


def test_errors(tmp_path, monkeypatch):
    net = nf.Sequential([nf.Dense(2)], input_shape=3, seed=0)
    path, x = tmp_path / "net.c", np.zeros((4, 3))
    for error, match, arguments in (
        (TypeError, r"path must be a path such as 'model\.c', got 3 \(int\)", {"path": 3}),
        (ValueError, r"path must end in the name of a file that #include can take", {"path": str(tmp_path) + os.sep}),
        (ValueError, r"path must end in the name of a file that #include can take", {"path": tmp_path / 'a"b.c'}),
        (TypeError, r"prefix must be a name in C such as 'model', got 3 \(int\)", {"prefix": 3}),
        (ValueError, r"prefix must be a name in C, a letter .*, got '2nd'", {"prefix": "2nd"}),
        (ValueError, r"prefix must be a name in C, a letter .*, got 'a-b'", {"prefix": "a-b"}),
        (ValueError, r"dtype must be one of 'float32', 'float64', 'int8', got 'float16'", {"dtype": "float16"}),
        (TypeError, r"dtype must be one of 'float32', 'float64', 'int8', got 3 \(int\)", {"dtype": 3}),
        (ValueError, r"dtype='int8' needs calibration=x: typical samples", {"dtype": "int8"}),
        (ValueError, r"calibration is only for dtype='int8', got dtype 'float32'", {"calibration": x}),
        (
            ValueError,
            r"calibration: x must have shape \(n, 3\), got \(4, 2\)",
            {"dtype": "int8", "calibration": x[:, 1:]},
        ),
        (ValueError, r"calibration must have at least one sample, got none", {"dtype": "int8", "calibration": x[:0]}),
        (ValueError, r"calibration must be finite", {"dtype": "int8", "calibration": x + np.nan}),
        (
            ValueError,
            r"the calibration data have too large a range before W1",
            {"dtype": "int8", "calibration": x[:2] + LARGE},
        ),
    ):
        with pytest.raises(error, match=match):
            net.to_c(**{"path": path, **arguments})
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        net.to_c(tmp_path / "nowhere" / "net.c")
    net.params["b1"] = [0.0, np.inf]
    with pytest.raises(ValueError, match=r"all parameters must be finite to be written as C, but 0\.b has NaN or inf"):
        net.to_c(path)
    with pytest.raises(RuntimeError, match="the input shape of the network is not known yet"):
        nf.Sequential([nf.Dense(2)]).to_c(path)
    with pytest.raises(ValueError, match="dtype='int8' needs a Dense layer with at most 32768 inputs"):
        nf.Sequential([nf.LayerNorm()], input_shape=3).to_c(path, dtype="int8", calibration=x)
    wide = nf.Sequential([nf.Dense(2)], input_shape=3, dtype="float64", seed=0)
    wide.params["W1"][0, 0] = 1e300
    with pytest.raises(ValueError, match="W1 has numbers that are too large for float32"):
        wide.to_c(path, dtype="float32")
    tiny = nf.Sequential([nf.Rescaling(1e-300)], input_shape=3, dtype="float64")
    with pytest.raises(ValueError, match=r"layers\[0\] has the number 1e-300, but float32 only holds"):
        tiny.to_c(path, dtype="float32")
    assert os.listdir(tmp_path) == []


def test_an_error_leaves_both_old_files(tmp_path):
    net = nf.Sequential([nf.Dense(2)], input_shape=3, seed=0)
    (tmp_path / "net.c").write_text("old")
    (tmp_path / "net.h").mkdir()  # cannot be replaced
    with pytest.raises(OSError, match="it is a folder"):
        net.to_c(tmp_path / "net.c")
    assert (tmp_path / "net.c").read_text() == "old"
