"""Networks to ONNX, checked with the onnx package and ONNX Runtime; and from ONNX, as other programs write it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from gradient_cases import ACTIVATIONS, LAYERS, PLACES, LayerCase

import nnfast as nf
from nnfast.cli import main
from nnfast.engine.program import STAGES
from nnfast.files import protobuf
from nnfast.files.onnx import export, formulas, graph, writer

DTYPES = ("float32", "float64")
CLOSE = {"float32": 1e-6, "float64": 1e-12}  # relative to the largest output
MODELS = Path(__file__).parent / "onnx_models"
OUTPUTS = MODELS / "outputs.npz"


def normal(*shape: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def difference(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest output unless that is zero."""
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / (np.abs(expected).max() or 1))


def networks(layer: str, dtype: str):
    """A network with the layer in each position, and samples."""
    for place in PLACES:
        case = LayerCase(layer, place, training=False, weighted=False)
        yield place, case.network(dtype), normal(7, 4, dtype=dtype)


def uses_erf(net: nf.Sequential) -> bool:
    return "'gelu'" in repr(net.layers)


# ---- export


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", [*LAYERS, *ACTIVATIONS])
def test_onnx_runtime_computes_the_same(layer, dtype, tmp_path):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    for place, net, x in networks(layer, dtype):
        if dtype == "float64" and uses_erf(net):
            continue
        net.to_onnx(tmp_path / "net.onnx")
        onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)
        session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
        # the norm of three numbers that are close to each other multiplies the rounding of these
        factor = 4 if "LayerNorm" in layer and place == "last" else 1
        for rows in (x[:1], x):
            (outputs,) = session.run(None, {"input": rows})
            assert outputs.dtype == dtype
            assert difference(outputs, net.predict(rows)) <= factor * CLOSE[dtype]


def test_gelu_in_double_precision(tmp_path):
    """ONNX Runtime has no Erf in double precision, and says so; the reference implementation rounds to single."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    from onnx.reference import ReferenceEvaluator

    net = nf.Sequential([nf.Dense(3, "gelu")], input_shape=4, dtype="float64", seed=0)
    net.to_onnx(tmp_path / "net.onnx")
    onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)
    x = normal(5, 4)
    (outputs,) = ReferenceEvaluator(str(tmp_path / "net.onnx")).run(None, {"input": x})
    assert outputs.dtype == np.float64 and difference(outputs, net.predict(x)) <= 1e-7
    runtime.set_default_logger_severity(4)
    try:
        session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    except Exception as error:
        assert "Erf" in str(error)
    else:  # a newer one has it
        assert difference(session.run(None, {"input": x})[0], net.predict(x)) <= 1e-12


@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_of_several_axes(dtype, tmp_path):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    block = [nf.LayerNorm(), nf.Scale(gamma_initializer=2.0), nf.Activation("tanh"), nf.Reshape((6,)), nf.Dense(6)]
    layers = [
        nf.Rescaling(0.5),
        nf.BatchNorm(),
        nf.Residual([*block, nf.Reshape((2, 3))]),
        nf.Activation("softmax"),
        nf.Reshape((3, 1, 2)),
    ]
    net = nf.Sequential(layers, input_shape=(2, 3), dtype=dtype, seed=0)
    net.to_onnx(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    for value, sizes in ((model.graph.input[0], (2, 3)), (model.graph.output[0], (3, 1, 2))):
        batch, *others = value.type.tensor_type.shape.dim
        assert batch.dim_param == "batch" and tuple(size.dim_value for size in others) == sizes
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    again = nf.from_onnx(tmp_path / "net.onnx")
    assert again.input_shape == (2, 3) and again.output_shape == (3, 1, 2)
    for rows in (0, 1, 7):
        x = normal(rows, 2, 3, dtype=dtype)
        (outputs,) = session.run(None, {"input": x})
        np.testing.assert_array_equal(again.predict(x), net.predict(x))
        np.testing.assert_allclose(outputs, net.predict(x), rtol=0, atol=CLOSE[dtype])


def test_the_model_says_where_it_comes_from(tmp_path):
    onnx = pytest.importorskip("onnx")
    net = nf.Sequential([nf.Dense(3)], input_shape=2, loss=nf.losses.Huber(0.5), seed=0)
    net.to_onnx(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    assert (model.producer_name, model.producer_version) == ("nnfast", nf.__version__)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", writer.OPSET)]
    assert {entry.key: json.loads(entry.value) for entry in model.metadata_props} == {
        "nnfast.loss": net.loss_function.config()
    }
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["input", "output"]
    assert {array.name for array in model.graph.initializer} == {"0.W", "0.b"}


def test_equal_parts_of_a_formula_and_equal_numbers_are_written_once(tmp_path):
    onnx = pytest.importorskip("onnx")
    net = nf.Sequential([nf.Activation("gelu_tanh"), nf.Activation("gelu_tanh")], input_shape=2)
    net.to_onnx(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    assert sum(node.op_type == "Tanh" for node in model.graph.node) == 2
    assert len(model.graph.node) == 2 * 9 and len(model.graph.initializer) == 4


def test_what_is_exported_is_the_state_after_a_step(tmp_path):
    x, y = normal(32, 4), normal(32, 2)
    net = nf.Sequential([nf.Dense(8, "tanh"), nf.BatchNorm(), nf.Dense(2)], input_shape=4, seed=0)
    net.fit(x, y, epochs=2, optimizer=nf.Adam(average_decay=0.9), verbose=0)
    net.to_onnx(tmp_path / "net.onnx")
    np.testing.assert_array_equal(nf.from_onnx(tmp_path / "net.onnx").predict(x), net.predict(x))


def test_a_network_that_cannot_be_exported(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    with pytest.raises(RuntimeError, match="the input shape of the network is not known yet"):
        nf.Sequential([nf.Dense(3)]).to_onnx(path)
    net = nf.Sequential([nf.Dense(3)], input_shape=2, seed=0)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        net.to_onnx(tmp_path / "absent" / "net.onnx")
    path.write_bytes(b"before")
    monkeypatch.setattr(protobuf, "MAX_MESSAGE", 100)
    with pytest.raises(ValueError, match=r"would have \d+ bytes, and no protocol buffer may have more than 100"):
        net.to_onnx(path)
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["net.onnx"]


def test_each_stage_and_each_activation_can_be_written():
    assert export.WRITERS.keys() == STAGES.keys()
    assert formulas.SINGLE.keys() == formulas.DOUBLE.keys() == set(nf.activations.NAMES)


# ---- there and back


WRITTEN_ONLY = [layer for layer in LAYERS if layer.startswith("ColumnEncoding")]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", [*(layer for layer in LAYERS if layer not in WRITTEN_ONLY), *ACTIVATIONS])
def test_a_network_that_was_exported_predicts_the_same_bits(layer, dtype, tmp_path):
    for _, net, x in networks(layer, dtype):
        net.to_onnx(tmp_path / "net.onnx")
        again = nf.from_onnx(tmp_path / "net.onnx")
        assert (again.dtype, again.input_shape, again.loss_function) == (net.dtype, net.input_shape, net.loss_function)
        np.testing.assert_array_equal(again.predict(x), net.predict(x))


@pytest.mark.parametrize("layer", WRITTEN_ONLY)
def test_a_layer_that_is_not_read_is_refused(layer, tmp_path):
    for _, net, _ in networks(layer, "float32"):
        net.to_onnx(tmp_path / "net.onnx")
        with pytest.raises(nf.LoadError, match="is not supported|cannot be"):
            nf.from_onnx(tmp_path / "net.onnx")


@pytest.mark.parametrize("dtype", DTYPES)
def test_layers_come_back_as_they_were(dtype, tmp_path):
    layers = (
        nf.Rescaling(0.1, 0.2),
        nf.Dense(4, nf.activations.LeakyReLU(0.3)),
        nf.BatchNorm(momentum=0.3, epsilon=1e-3),
        nf.Residual([nf.LayerNorm(epsilon=1e-4), nf.Dense(8, "gelu_tanh"), nf.Dense(4), nf.Scale(use_bias=False)]),
        nf.LayerNorm(affine=False),
        nf.Dense(3, use_bias=False),
        nf.Activation("softmax"),
    )
    net = nf.Sequential(layers, input_shape=5, dtype=dtype, loss="focal", seed=0)
    net.flat_params[:] += normal(net.n_parameters)
    net.to_onnx(tmp_path / "net.onnx")
    again = nf.from_onnx(tmp_path / "net.onnx")
    assert again.layers == (*layers[:-2], nf.Dense(3, "softmax", use_bias=False))  # the same, in one layer
    assert again.loss_name == "focal"
    np.testing.assert_array_equal(again.flat_params, net.flat_params)
    for name, statistic in net.statistics.items():
        np.testing.assert_allclose(again.statistics[name], statistic, rtol=1e-15)


def test_factors_of_one_feature_are_learned_or_not_as_before(tmp_path):
    layers = (nf.Dense(1), nf.Rescaling(2.0, 1.0), nf.Scale(), nf.Activation("tanh"))
    net = nf.Sequential(layers, input_shape=1, seed=0)
    net.params["gamma1"] = [0.5]
    net.to_onnx(tmp_path / "net.onnx")
    again = nf.from_onnx(tmp_path / "net.onnx")
    assert again.layers == layers
    np.testing.assert_array_equal(again.flat_params, net.flat_params)


@pytest.mark.parametrize("epsilon", [1e-5, 1e300])
def test_a_variance_is_exact_although_epsilon_is_rounded(epsilon, tmp_path):
    """Attributes are in single precision: 1e-5 becomes 9.99999974e-6, which matters where the variance is small."""
    runtime = pytest.importorskip("onnxruntime")
    net = nf.Sequential([nf.BatchNorm(epsilon=epsilon)], input_shape=2, dtype="float64")
    net.statistics["variance1"] = [1e-6, 1e-9]
    net.to_onnx(tmp_path / "net.onnx")
    x = normal(3, 2)
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"input": x})[0], net.predict(x), rtol=1e-13)
    np.testing.assert_allclose(nf.from_onnx(tmp_path / "net.onnx").predict(x), net.predict(x), rtol=1e-15)


# ---- import


def model_names() -> list[str]:
    return sorted(path.stem for path in MODELS.glob("*.onnx"))


REFUSED = {
    "keras_normalization": r"it must have one input, and has 3: 'input', .*normalization_1/Sub/y:0'",
    "sklearn_labels": r"node 'Concat' \(Concat\): it joins 1 - p and p, which is supported for one probability p; got "
    r"samples of shape \(2,\); choose 'out_activations_result' with output=",
    "sklearn_two_outputs": r"node 'Reshape' \(Reshape\): its shape \[-1, 1\] does not keep samples of shape \(2,\) "
    "apart; if it is not needed, choose 'add_result1' with output=",
}


@pytest.mark.parametrize("name", sorted(set(model_names()) - set(REFUSED)))
def test_models_of_other_programs_predict_what_these_computed(name):
    net = nf.from_onnx(MODELS / f"{name}.onnx", seed=0)
    with np.load(OUTPUTS) as outputs:
        x, y = outputs[f"{name}.x"], outputs[f"{name}.y"]
    y = y[:, 1:] if name == "sklearn_binary" else y  # 1 - p and p
    y = y.reshape(len(y), -1)  # PyTorch's squeeze and scikit-learn's single output leave no second axis
    assert net.dtype == ("float64" if "double" in name else "float32")
    assert difference(net.predict(x), y) <= (1e-6 if net.dtype == np.float32 else 1e-12)
    targets = {"cross_entropy": lambda: (y.argmax(axis=1) + 1) % y.shape[1], "binary_cross_entropy": lambda: y < 0.5}
    others = targets.get(net.loss_name, lambda: y + 1)()
    before = net.loss(x, others)
    net.fit(x, others, epochs=20, batch_size=5, optimizer=nf.Adam(0.001), verbose=0)
    assert net.loss(x, others) < before


@pytest.mark.parametrize(("name", "message"), REFUSED.items())
def test_models_of_other_programs_that_cannot_be_networks(name, message):
    with pytest.raises(ValueError, match=message):
        nf.from_onnx(MODELS / f"{name}.onnx")


@pytest.mark.parametrize(
    ("name", "tensor"), [("sklearn_two_outputs", "add_result1"), ("sklearn_labels", "out_activations_result")]
)
def test_any_tensor_can_be_the_output(name, tensor):
    net = nf.from_onnx(MODELS / f"{name}.onnx", output=tensor)
    with np.load(OUTPUTS) as outputs:
        x, y = outputs[f"{name}.x"], outputs[f"{name}.y"]
    assert difference(net.predict(x), y) <= 1e-6


def test_layers_of_models_of_other_programs():
    def layers(name: str) -> list[nf.layers.Layer]:
        return [*nf.from_onnx(MODELS / f"{name}.onnx").layers]

    norm, block = nf.LayerNorm(), nf.Residual([nf.LayerNorm(), nf.Dense(7, "gelu"), nf.Dense(5)])
    for name in ("torch_residual_new", "torch_residual_old", "torch_residual_old_opset_13"):
        assert layers(name) == [nf.Dense(5), block, block, norm, nf.Dense(2)]
    assert layers("torch_double_old") == [nf.Dense(5, nf.activations.ELU(0.7)), nf.BatchNorm(), nf.Dense(2)]
    hidden = [layer.function for layer in layers("torch_activations_new")]
    assert hidden == [layer.function for layer in layers("torch_activations_old_opset_13")]
    assert {function.name for function in hidden} == set(nf.activations.NAMES) - {"step"}
    scales = layers("torch_scaled_new")
    assert [layer.trainable for layer in scales if isinstance(layer, nf.Scale)] == [False, True]
    assert layers("keras_scaling")[:2] == [nf.Rescaling(0.003921569, -0.1), nf.Flatten()]
    assert nf.LayerNorm(epsilon=0.001) in layers("keras_norms")
    assert layers("sklearn_binary") == [nf.Dense(5, "relu"), nf.Dense(1, "sigmoid")]


def test_the_loss_depends_on_the_last_activation_unless_given(tmp_path):
    assert nf.from_onnx(MODELS / "sklearn_classes.onnx").loss_name == "cross_entropy"
    assert nf.from_onnx(MODELS / "sklearn_binary.onnx").loss_name == "binary_cross_entropy"
    assert nf.from_onnx(MODELS / "sklearn_regressor.onnx").loss_name == "mean_squared_error"
    assert nf.from_onnx(MODELS / "sklearn_regressor.onnx", loss="huber").loss_name == "huber"
    own = nf.Sequential([nf.Dense(2)], input_shape=3, loss=lambda outputs, targets: (0.0, outputs), seed=0)
    own.to_onnx(tmp_path / "own.onnx")
    assert nf.from_onnx(tmp_path / "own.onnx").loss_name == "mean_squared_error"
    with pytest.raises(ValueError, match=r"cannot become a network: .*cross_entropy"):
        nf.from_onnx(MODELS / "sklearn_regressor.onnx", loss="cross_entropy")


def test_the_seed_determines_the_training():
    x, y = normal(32, 4), normal(32)
    nets = [nf.from_onnx(MODELS / "sklearn_regressor.onnx", seed=seed) for seed in (1, 1, 2)]
    for net in nets:
        net.fit(x, y, epochs=2, batch_size=4, verbose=0)
    np.testing.assert_array_equal(nets[0].flat_params, nets[1].flat_params)
    assert (nets[0].flat_params != nets[2].flat_params).any()


def test_wrong_arguments():
    path = MODELS / "sklearn_classes.onnx"
    with pytest.raises(FileNotFoundError):
        nf.from_onnx(MODELS / "absent.onnx")
    with pytest.raises(TypeError, match=r"output must be the name of a tensor, got 1 \(int\)"):
        nf.from_onnx(path, output=1)
    with pytest.raises(ValueError, match=r"output must be the name of a tensor that it computes, such as .*, got 'z'"):
        nf.from_onnx(path, output="z")
    with pytest.raises(ValueError, match="loss must be one of"):
        nf.from_onnx(path, loss="z")
    with pytest.raises(ValueError, match="seed must be a non-negative int"):
        nf.from_onnx(path, seed=-1)


# ---- models made here: each message, and rare forms

FLOAT, INT64 = 1, 7


def make(nodes, arrays=None, inputs=None, outputs=("y",), opset=17):
    """A model as bytes; `nodes` are tuples of an operator, inputs, outputs and attributes."""
    pytest.importorskip("onnx")
    from onnx import helper, numpy_helper

    made = []
    for operator, node_inputs, node_outputs, *more in nodes:
        domain, _, kind = operator.rpartition(":")
        attributes = more[0] if more else {}
        made.append(helper.make_node(kind, node_inputs, node_outputs, name=f"the {kind}", domain=domain, **attributes))
    values = [numpy_helper.from_array(np.asarray(array), name) for name, array in (arrays or {}).items()]
    inputs = {"x": ["n", 3]} if inputs is None else inputs
    takes = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items()]
    gives = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    graph_ = helper.make_graph(made, "graph", takes, gives, values)
    return helper.make_model(graph_, opset_imports=[helper.make_opsetid("", opset)], ir_version=8).SerializeToString()


def read(data: bytes, tmp_path: Path, **arguments) -> nf.Sequential:
    (tmp_path / "model.onnx").write_bytes(data)
    return nf.from_onnx(tmp_path / "model.onnx", **arguments)


def f32(*values):
    return np.array(values, np.float32)


W = np.arange(6, dtype=np.float32).reshape(3, 2) - 2
ONE = f32(1.0).reshape(())
WRONG = {
    "operator": (
        [("Conv", ["x", "W"], ["y"])],
        r"node 'the Conv' \(Conv\): this operator is not supported; supported are Add, BatchNormalization, .*",
    ),
    "domain": (
        [("com.example:Gemm", ["x", "W"], ["y"])],
        r"node 'the Gemm' \(com.example.Gemm\): this operator is not",
    ),
    "two branches": (
        [("Relu", ["x"], ["a"]), ("Tanh", ["x"], ["b"]), ("Add", ["a", "b"], ["y"])],
        r"node 'the Add' \(Add\): it adds two results of which neither is computed from the other; a sum must be a "
        r"residual block, x \+ f\(x\)",
    ),
    "product": (
        [("Relu", ["x"], ["a"]), ("Mul", ["x", "a"], ["y"])],
        r"node 'the Mul' \(Mul\): both of its inputs are",
    ),
    "division": ([("Div", ["one", "x"], ["y"])], "a constant divided by what is computed is not supported"),
    "integers": ([("Mul", ["x", "shape"], ["y"])], "its constant is of integers"),
    "one input": ([("Mul", ["x"], ["y"])], r"node 'the Mul' \(Mul\) must have two inputs, and has 1"),
    "no input": ([("Relu", [""], ["y"])], r"node 'the Relu' \(Relu\) has no input"),
    "computed weights": ([("MatMul", ["x", "x"], ["y"])], "its input 'x' must be constant, and is computed"),
    "no weights": ([("Gemm", ["x"], ["y"])], r"node 'the Gemm' \(Gemm\) has no input 1"),
    "samples as columns": ([("Gemm", ["x", "W"], ["y"], {"transA": 1})], "transA=1, which mixes samples"),
    "vector": ([("MatMul", ["x", "three"], ["y"])], r"its weights must have two axes, got shape \(3,\)"),
    "width": ([("Gemm", ["x", "W"], ["a"]), ("Gemm", ["a", "W"], ["y"])], r"weights are for 3 features, and .* \(2,\)"),
    "dtype": (
        [("Gemm", ["x", "W"], ["a"]), ("Mul", ["a", "double"], ["y"])],
        "array of float64, and others are of float32",
    ),
    "half precision": (
        [("Mul", ["x", "half"], ["y"])],
        "the array 'half': it is of type FLOAT16, and FLOAT, DOUBLE and",
    ),
    "shape of a constant": (
        [("Mul", ["x", "two"], ["y"])],
        r"one for each number of a sample, .* \(3,\); got shape \(2,\)",
    ),
    "rank of a number": ([("Max", ["x", "flat"], ["y"])], r"\(Max\): with its inputs and attributes, it"),
    "rank of a constant": ([("Mul", ["x", "cube"], ["y"])], r"got shape \(1, 1, 1\)"),
    "sum": ([("Gemm", ["x", "W"], ["a"]), ("Add", ["a", "x"], ["y"])], r"adds samples of shapes \(3,\) and \(2,\)"),
    "training": (
        [("BatchNormalization", ["x", *["three"] * 4], ["y"], {"training_mode": 1})],
        "was exported in training mode",
    ),
    "size of a norm": (
        [("BatchNormalization", ["x", *["two"] * 4], ["y"])],
        r"its gamma must have shape \(3,\), got \(2,\)",
    ),
    "epsilon": (
        [("LayerNormalization", ["x", "three"], ["y"], {"epsilon": 0.0})],
        r"node 'the LayerNormalization' \(LayerNormalization\): epsilon must be",
    ),
    "axis of a norm": ([("LayerNormalization", ["x", "three"], ["y"], {"axis": 0})], "axis=0 is not supported"),
    "axis": ([("Flatten", ["x"], ["y"], {"axis": 0})], "axis=0 mixes samples"),
    "softmax over samples": (
        [("Softmax", ["x"], ["y"], {"axis": 0})],
        r"\(Softmax\): with its inputs and attributes, it",
    ),
    "reshape": (
        [("Reshape", ["x", "shape"], ["y"])],
        r"its shape \[3, -1\] does not keep samples of shape \(3,\) apart",
    ),
    "shape of weights": (
        [
            ("Shape", ["W"], ["s"], {"end": 1}),
            ("Concat", ["s", "left"], ["c"], {"axis": 0}),
            ("Reshape", ["x", "c"], ["y"]),
        ],
        "its shape must be constant, but for the size of the batch",
    ),
    "other selu": (
        [("Selu", ["x"], ["y"], {"gamma": 1.0})],
        r"\(Selu\): with its inputs and attributes, it",
    ),
    "low threshold": (
        [("Softplus", ["x"], ["s"]), ("Greater", ["x", "one"], ["g"]), ("Where", ["g", "x", "s"], ["y"])],
        r"\(Where\): with its inputs and attributes, it",
    ),
    "mean over samples": (
        [("ReduceMean", ["x"], ["m"], {"axes": [0]}), ("Sub", ["x", "m"], ["y"])],
        r"node 'the Sub' \(Sub\): both of its inputs are computed",
    ),
    "computed shape": (
        [("Shape", ["x"], ["s"]), ("Reshape", ["x", "s"], ["y"])],
        "its shape must be constant, but for",
    ),
    "squeeze": ([("Squeeze", ["x", "axis"], ["y"])], r"axes \[1\] cannot be removed from samples of shape \(3,\)"),
    "cast": ([("Cast", ["x"], ["y"], {"to": 6})], "only casts to FLOAT and DOUBLE are supported"),
    "cast to another dtype": (
        [("Gemm", ["x", "W"], ["a"]), ("Cast", ["a"], ["y"], {"to": 11})],
        r"node 'the Cast' \(Cast\) to DOUBLE is not supported: the network has float32",
    ),
    "rate": ([("Dropout", ["x", "two"], ["y"])], r"node 'the Dropout' \(Dropout\): rate must be"),
    "alpha": ([("Elu", ["x"], ["y"], {"alpha": -1.0})], r"node 'the Elu' \(Elu\): alpha must be"),
    "type of an attribute": ([("Gemm", ["x", "W"], ["y"], {"alpha": 1})], "its attribute alpha must be of type float"),
    "constant of text": (
        [("Constant", [], ["c"], {"value_string": "a"}), ("Mul", ["x", "c"], ["y"])],
        "has no numbers",
    ),
    "constant transposed": (
        [("Transpose", ["W"], ["V"], {"perm": [0, 0]}), ("MatMul", ["x", "V"], ["y"])],
        r"node 'the Transpose' \(Transpose\) of a constant is not possible",
    ),
    "no path": ([("Relu", ["z"], ["y"])], "the tensor 'z' is not computed from 'x'"),
    "not sorted": ([("Relu", ["a"], ["y"]), ("Relu", ["x"], ["a"])], r"node 'the Relu' \(Relu\) comes before the node"),
    "made twice": ([("Relu", ["x"], ["y"]), ("Tanh", ["x"], ["y"])], "two nodes make the tensor 'y'"),
    "no output": ([("Relu", ["x"], [])], r"node 'the Relu' \(Relu\) has no output"),
}
ARRAYS = {
    "W": W,
    "one": ONE,
    "two": f32(1, 2),
    "three": f32(1, 2, 3),
    "flat": f32(0).reshape(1, 1, 1),
    "cube": f32(1).reshape(1, 1, 1),
    "zero": f32(0).reshape(()),
    "double": np.float64(2),
    "half": np.float16(2),
    "half of one": f32(0.5),
    "small": f32(0.001),
    "nought": np.array([0]),
    "left": np.array([-1]),
    "shape": np.array([3, -1]),
    "axis": np.array([1]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_graph_that_cannot_be_a_network(case, tmp_path):
    nodes, message = WRONG[case]
    with pytest.raises(ValueError, match=message) as raised:
        read(make(nodes, ARRAYS), tmp_path)
    assert str(raised.value).startswith(f"{tmp_path / 'model.onnx'} ")


def test_inputs_and_outputs_that_cannot_be_those_of_a_network(tmp_path):
    relu = [("Relu", ["x"], ["y"])]
    with pytest.raises(ValueError, match="it must have one input, and has 2: 'x', 'z'"):
        read(make(relu, inputs={"x": ["n", 3], "z": [3]}), tmp_path)
    with pytest.raises(
        ValueError, match=r"its input 'x' must have the axis of the batch and another, got shape \(3,\)"
    ):
        read(make(relu, inputs={"x": [3]}), tmp_path)
    with pytest.raises(ValueError, match="the shape of a sample is not known: export the model with it"):
        read(make(relu, inputs={"x": ["n", "m"]}), tmp_path)
    with pytest.raises(ValueError, match="the shape of a sample is not known here"):
        read(make([("Softmax", ["x"], ["y"])], inputs={"x": ["n", "m"]}), tmp_path)
    with pytest.raises(
        ValueError, match="it has 2 outputs of floating-point numbers: choose one with output=, 'a', 'y'"
    ):
        read(make([("Relu", ["x"], ["a"]), ("Tanh", ["a"], ["y"])], outputs=("a", "y")), tmp_path)
    with pytest.raises(ValueError, match=r"it uses version 6 of ONNX's operators; 7 to 28 are supported"):
        read(make(relu, opset=6), tmp_path)
    with pytest.raises(ValueError, match="samples must have one axis"):
        read(make([("Softmax", ["x"], ["y"])], inputs={"x": ["n", 2, 3]}), tmp_path)
    with pytest.raises(
        ValueError, match=r"its weights are for 3 features, and samples have shape \(2, 3\); layers on the"
    ):
        read(make([("MatMul", ["x", "W"], ["y"])], ARRAYS, inputs={"x": ["n", 2, 3]}), tmp_path)


def close(net: nf.Sequential, function, shape=(3,)) -> None:
    x = normal(4, *shape, dtype="float32")
    np.testing.assert_allclose(net.predict(x), function(x), rtol=1e-6, atol=1e-6)


def test_rare_forms(tmp_path):
    def net(*nodes, **arguments):
        return read(make(nodes, ARRAYS, **arguments), tmp_path)

    close(net(("Sub", ["three", "x"], ["y"])), lambda x: f32(1, 2, 3) - x)
    close(net(("Div", ["x", "three"], ["y"])), lambda x: x / f32(1, 2, 3))
    close(net(("Identity", ["x"], ["y"])), lambda x: x)
    close(net(("Add", ["x", "x"], ["y"])), lambda x: 2 * x)
    close(net(("Gemm", ["x", "W", "two"], ["y"], {"alpha": 2.0, "beta": -1.0})), lambda x: 2 * x @ W - f32(1, 2))
    close(net(("HardSigmoid", ["x"], ["y"])), lambda x: np.clip(0.2 * x + 0.5, 0, 1))
    assert net(("HardSigmoid", ["x"], ["a"]), ("Gemm", ["a", "W"], ["y"])).dtype == np.float32
    close(net(("HardSigmoid", ["x"], ["y"], {"alpha": 0.25, "beta": 0.4})), lambda x: np.clip(x / 4 + 0.4, 0, 1))
    close(net(("Max", ["x", "zero"], ["y"])), lambda x: np.maximum(x, 0))
    close(net(("Constant", [], ["c"], {"value_float": 2.0}), ("Mul", ["c", "x"], ["y"])), lambda x: 2 * x)
    close(
        net(("Constant", [], ["c"], {"value_floats": [1.0, 2.0, 3.0]}), ("Mul", ["x", "c"], ["y"])),
        lambda x: x * f32(1, 2, 3),
    )
    transposed = net(("Transpose", ["W"], ["V"]), ("Transpose", ["V"], ["U"]), ("MatMul", ["x", "U"], ["y"]))
    close(transposed, lambda x: x @ W)
    dropped = net(("Dropout", ["x"], ["y"], {"ratio": 0.25}), opset=10)
    assert dropped.layers == (nf.Dropout(0.25),)
    scaler = ("ai.onnx.ml:Scaler", ["x"], ["y"], {"offset": [1.0, 2.0, 3.0], "scale": [2.0, 2.0, 4.0]})
    close(net(scaler), lambda x: (x - f32(1, 2, 3)) * f32(2, 2, 4))
    unknown = net(("MatMul", ["x", "W"], ["a"]), ("Relu", ["a"], ["y"]), inputs={"x": ["n", "m"]})
    assert unknown.input_shape == (3,)
    fixed = net(("Reshape", ["x", "shape"], ["y"]), inputs={"x": [3, 2, 2]})
    assert fixed.layers == (nf.Flatten(),) and fixed.input_shape == (2, 2)
    for part in ([("Shape", ["x"], ["b"], {"end": 1})], [("Shape", ["x"], ["s"]), ("Gather", ["s", "nought"], ["b"])]):
        computed = net(
            *part, ("Unsqueeze", ["b", "nought"], ["u"]), ("Concat", ["u", "left"], ["c"], {"axis": 0}),
            ("Reshape", ["x", "c"], ["y"]), inputs={"x": ["n", 2, 3]},
        )  # fmt: skip
        assert computed.layers == (nf.Flatten(),)
    sliced = [
        ("Shape", ["x"], ["s"]),
        ("Slice", ["s", "nought", "axis"], ["b"]),
        ("Concat", ["b", "left"], ["c"], {"axis": 0}),
    ]
    assert net(*sliced, ("Reshape", ["x", "c"], ["y"]), inputs={"x": ["n", 2, 3]}).layers == (nf.Flatten(),)
    dropped = net(("Dropout", ["x", "half of one"], ["a"]), ("Relu", ["a"], ["y"]))
    assert dropped.layers == (nf.Dropout(0.5), nf.Activation("relu"))
    cast = net(("CastLike", ["one", "x"], ["c"]), ("Mul", ["c", "x"], ["a"]), ("Tanh", ["a"], ["y"]))
    assert cast.layers == (nf.Activation("tanh"),)
    mean, square = ("ReduceMean", ["x", "axis"], ["m"]), ("Mul", ["d", "d"], ["q"])
    norm = [
        mean,
        ("Sub", ["x", "m"], ["d"]),
        square,
        ("ReduceMean", ["q", "axis"], ["v"]),
        ("Add", ["small", "v"], ["e"]),
    ]
    assert net(*norm, ("Sqrt", ["e"], ["r"]), ("Div", ["d", "r"], ["y"]), opset=18).layers == (
        nf.LayerNorm(epsilon=0.001, affine=False),
    )
    squeezed = net(("Squeeze", ["x", "axis"], ["y"]), inputs={"x": ["n", 1, 3]})
    close(squeezed, lambda x: x[:, 0], (1, 3))


# ---- our reader and writer of protocol buffers


@pytest.mark.parametrize("name", model_names())
def test_the_reader_finds_what_the_onnx_package_finds(name):
    onnx = pytest.importorskip("onnx")
    path = MODELS / f"{name}.onnx"
    theirs = onnx.load(path)
    model = graph.Opened(path.read_bytes(), str(MODELS))
    nodes = {node.place: node for node in model.producers.values()}
    assert len(nodes) == len(theirs.graph.node)
    for place, node in enumerate(theirs.graph.node):
        ours = nodes[place]
        assert (ours.name, list(ours.inputs), list(ours.outputs)) == (node.name, list(node.input), list(node.output))
        assert ours.operator == (f"{node.domain}.{node.op_type}" if node.domain else node.op_type)
        for attribute in node.attribute:
            if attribute.type not in (8, 4) or attribute.t.data_type in (1, 7, 11):  # strings, tensors
                value = onnx.helper.get_attribute_value(attribute)
                if attribute.type == 8:
                    continue
                found = graph.attributes(ours, model.tensors)[attribute.name]
                if attribute.type == 4:
                    value = onnx.numpy_helper.to_array(value)
                value = value.decode() if isinstance(value, bytes) else value
                if isinstance(value, str):
                    assert found == value
                else:
                    np.testing.assert_array_equal(np.float32(found), np.float32(value))
    for array in theirs.graph.initializer:
        if array.data_type in (1, 7, 11):
            found = model.tensors[array.name]
            np.testing.assert_array_equal(found, onnx.numpy_helper.to_array(array))
            assert found.dtype == onnx.numpy_helper.to_array(array).dtype
    assert {name for name, _ in model.outputs} == {value.name for value in theirs.graph.output}


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**63 - 1, -1, -(2**63)])
def test_integers(value):
    coded = protobuf.encoded(value)
    found, end = protobuf.decoded(memoryview(coded), 0)
    assert (protobuf.signed(found), end) == (value, len(coded))
    assert len(coded) == max(1, -(-(value % 2**64).bit_length() // 7))


def test_the_example_of_the_specification():
    message = protobuf.Message()
    message.integer(1, 150)
    message.content(2, "testing")
    assert b"".join(message.parts) == bytes.fromhex("089601 120774657374696e67")
    assert [(number, protobuf.as_int(value)) for number, value in protobuf.fields(memoryview(b"\x08\x96\x01"))] == [
        (1, 150)
    ]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x08", "an integer in it does not end"),
        (b"\x08" + b"\xff" * 10 + b"\x01", "an integer in it does not end"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "an integer in it does not end"),
        (b"\x12\x05abc", "a field in it has 5 bytes, but only 3 are left"),
        (b"\x0d\x00", "a field in it has 4 bytes, but only 1 are left"),
        (b"\x0b", "a field in it is of an unknown kind, 3"),
    ],
)
def test_damaged_messages(data, message):
    with pytest.raises(ValueError, match=message):
        list(protobuf.fields(memoryview(data)))


def test_fields_of_the_wrong_kind():
    with pytest.raises(ValueError, match="should be an integer and is not"):
        protobuf.as_int(memoryview(b"a"))
    with pytest.raises(ValueError, match="should have a length and is an integer"):
        protobuf.as_text(1)
    with pytest.raises(ValueError, match="should have four bytes, and has 3"):
        protobuf.as_float(memoryview(b"abc"))
    with pytest.raises(ValueError, match="has more than 2"):
        protobuf.as_integers(memoryview(b"\x01\x02\x03"), 2)


@pytest.mark.parametrize("numbers", ["raw", "list"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_arrays_in_all_their_forms(numbers, dtype):
    onnx = pytest.importorskip("onnx")
    array = np.array([[1, -2, 3], [4, 5, -6]], dtype)
    if numbers == "raw":
        message = onnx.numpy_helper.from_array(array, "a")
    else:
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        message = onnx.helper.make_tensor("a", kind, array.shape, array.ravel())
    found = graph.Tensors("").array(memoryview(message.SerializeToString()))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)


# ---- the command line


def test_the_command_line_exports(tmp_path, capsys):
    net = nf.Sequential([nf.Dense(3, "softmax")], input_shape=2, seed=0)
    net.save(tmp_path / "net.npz")
    assert main(["export", str(tmp_path / "net.npz"), "--to", "onnx"]) == 0
    size = (tmp_path / "net.onnx").stat().st_size
    assert capsys.readouterr().out == f"{tmp_path / 'net.onnx'}: {size:,} bytes\n"
    again = nf.from_onnx(tmp_path / "net.onnx")
    np.testing.assert_array_equal(again.flat_params, net.flat_params)
    assert main(["export", str(tmp_path / "net.npz"), "--to", "onnx", "--output", str(tmp_path / "other.onnx")]) == 0
    assert (tmp_path / "other.onnx").read_bytes() == (tmp_path / "net.onnx").read_bytes()
    assert main(["export", str(tmp_path / "net.npz"), "--to", "onnx", "--output", str(tmp_path / "net.npz")]) == 2
    assert "would overwrite" in capsys.readouterr().err
