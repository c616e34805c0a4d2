"""Models with changed nodes: what is read predicts what ONNX Runtime computes, and everything else is refused."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from rounds import seeds

import nnfast as nf

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
MODELS = [
    path
    for path in sorted((Path(__file__).parent.parent / "onnx_models").glob("*.onnx"))
    if "external" not in path.stem
]
OPERATORS = (
    *("Add", "Mul", "Sub", "Div", "Max", "Min", "Relu", "Tanh", "Sigmoid", "Elu", "Selu", "Softplus", "Softmax"),
    *("LeakyRelu", "Identity", "Neg", "Erf", "Exp"),
)
SHAPES = ([-1, 5], [0, -1], [5, 5], [1, -1], [-1, 1], [2, 3], [0, 5], [3, -1])


def changed(model, rng: random.Random) -> None:
    """Change one node: its operator, an input, an attribute, or the values or the shape of an array that it takes."""
    nodes = list(model.graph.node)
    node = rng.choice(nodes)
    tensors = [name for other in nodes for name in (*other.input, *other.output)]
    kind = rng.randrange(5)
    if kind == 0:
        node.op_type = rng.choice(OPERATORS)
        if rng.random() < 0.5:
            node.ClearField("attribute")
    elif kind == 1 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(tensors)
    elif kind == 2 and len(node.input) > 1:
        node.input[0], node.input[1] = node.input[1], node.input[0]
    elif kind == 3 and node.attribute:
        attribute = rng.choice(list(node.attribute))
        if attribute.type == 1:
            attribute.f = rng.choice((0.0, 0.5, 1.0, 2.0))
        elif attribute.type == 2:
            attribute.i = rng.choice((-2, -1, 0, 1, 2))
    elif model.graph.initializer:
        array = rng.choice(list(model.graph.initializer))
        values = onnx.numpy_helper.to_array(array)
        if values.dtype == np.int64:
            values = np.array(rng.choice(SHAPES))
        elif values.dtype.kind == "f":
            values = rng.choice((values.T, values[None], values.reshape(-1)[:1], values * 2, np.ones_like(values)))
        array.CopyFrom(onnx.numpy_helper.from_array(values, array.name))


def batch_of(model, rows: int) -> np.ndarray:
    """Samples for a model, whatever its batch."""
    kind = model.graph.input[0].type.tensor_type
    sizes = [size.dim_value for size in kind.shape.dim[1:]]
    rng = np.random.default_rng(rows)
    return rng.normal(size=(rows, *sizes)).astype(np.float64 if kind.elem_type == 11 else np.float32)


@pytest.mark.parametrize("seed", seeds(150))
def test_changed_models(seed, tmp_path):
    rng = random.Random(seed)
    model = onnx.load(rng.choice(MODELS))
    for _ in range(rng.choice((1, 1, 2, 3))):
        changed(model, rng)
    onnx.save(model, tmp_path / "model.onnx")
    try:
        net = nf.from_onnx(tmp_path / "model.onnx")
    except ValueError:
        return
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    names = [value.name for value in model.graph.output]
    for rows in (1, 7):
        x = batch_of(model, rows)
        try:
            session = runtime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
            results = dict(zip(names, session.run(None, {model.graph.input[0].name: x}), strict=True))
        except Exception:  # it is not a valid model: what is read of it is not defined
            return
        with np.errstate(all="ignore"):
            outputs = net.predict(x)
        expected = [array for array in results.values() if getattr(array, "dtype", None) == outputs.dtype]
        for array in expected or [np.array([[*row.values()] for row in results["output_probability"]], outputs.dtype)]:
            array = array[:, 1:] if outputs.shape[1:] == (1,) and array.shape == (rows, 2) else array
            size = max(1.0, float(np.abs(array[np.isfinite(array)]).max(initial=0)))
            assert array.size == outputs.size, (array.shape, outputs.shape)
            np.testing.assert_allclose(outputs.reshape(array.shape), array, rtol=1e-3, atol=1e-5 * size)
