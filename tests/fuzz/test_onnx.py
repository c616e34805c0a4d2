"""Hostile ONNX files: each is read or raises a LoadError, and takes little memory and time; `loaders` damages files."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from loaders import bound_of_onnx
from mutations import at_most

import nnfast as nf
from nnfast.files.onnx import graph
from nnfast.files.onnx.schema import LOSS, Attribute, Entry, Graph, Model, Node, Opset, Tensor, Value
from nnfast.files.protobuf import Message
from nnfast.layers import MAX_LAYERS, residual


def read(data: bytes, folder: Path) -> nf.Sequential | None:
    """Read a model; None if it is refused, as it may be."""
    path = folder / "model.onnx"
    path.write_bytes(data)
    with warnings.catch_warnings(), at_most(bound_of_onnx(data)):
        warnings.simplefilter("ignore")
        try:
            return nf.from_onnx(path)
        except ValueError as error:
            assert str(error).startswith(f"{path} ") and len(str(error)) < 3000
            return None


# ---- hostile models


def node(operator: str, inputs: list[str], outputs: list[str]) -> Message:
    message = Message()
    message.content(Node.INPUT, *inputs)
    message.content(Node.OUTPUT, *outputs)
    message.content(Node.OPERATOR, operator)
    return message


def array(name: str, shape: tuple[int, ...], raw: bytes, **external: str) -> Message:
    message = Message()
    message.integer(Tensor.DIMS, *shape)
    message.integer(Tensor.TYPE, Tensor.FLOAT)
    message.content(Tensor.NAME, name)
    if not external:
        message.content(Tensor.RAW, raw)
        return message
    for key, value in external.items():
        entry = Message()
        entry.content(1, key)
        entry.content(2, value)
        message.content(Tensor.EXTERNAL, entry)
    message.integer(Tensor.LOCATION, 1)
    return message


def model(nodes: list[Message], arrays: list[Message] = (), shape: tuple[int, ...] = (0, 4)) -> bytes:
    """A model with the input x and the output y."""
    body, whole, opset = Message(), Message(), Message()
    body.content(Graph.NODE, *nodes)
    body.content(Graph.INITIALIZER, *arrays)
    for name, field in (("x", Graph.INPUT), ("y", Graph.OUTPUT)):
        value, kind, tensor, axes = Message(), Message(), Message(), Message()
        for size in shape:
            axis = Message()
            axis.integer(Value.DIM_VALUE, size)
            axes.content(Value.DIM, axis)
        tensor.integer(Value.ELEMENT, Tensor.FLOAT)
        tensor.content(Value.SHAPE, axes)
        kind.content(Value.TENSOR, tensor)
        value.content(Value.NAME, name)
        value.content(Value.TYPE, kind)
        body.content(field, value)
    opset.integer(Opset.VERSION, 17)
    whole.content(Model.GRAPH, body)
    whole.content(Model.OPSET_IMPORT, opset)
    return b"".join(whole.parts)


def chain(operator: str, length: int, *others: str) -> list[Message]:
    """Nodes, each of which takes what the one before it makes."""
    names = ["x", *map(str, range(length - 1)), "y"]
    return [node(operator, [names[i], *others], [names[i + 1]]) for i in range(length)]


def refused(data: bytes, folder: Path, message: str) -> None:
    path = folder / "model.onnx"
    path.write_bytes(data)
    start = time.monotonic()
    with at_most(bound_of_onnx(data)), pytest.raises(ValueError, match=message):
        nf.from_onnx(path)
    assert time.monotonic() - start < 60


def test_more_of_anything_than_a_network_has(tmp_path):
    many = graph.MAX_NODES + 1
    refused(model(chain("Relu", many)), tmp_path, "more than 30,000 nodes, or 100,000 inputs of nodes")
    wide = node("Concat", ["x"] * (graph.MAX_NAMES + 1), ["y"])
    refused(model([wide]), tmp_path, "a node has more than 100,000 inputs")
    refused(model([], [array(str(i), (), b"1234") for i in range(many)]), tmp_path, "it has more than 30,000 arrays")
    refused(model([], [array("a", (), b"1234")] * 2), tmp_path, "two arrays have the name 'a'")
    refused(model([Message()] * 200_000), tmp_path, "has no output")
    refused(model([node("Relu", ["x"], ["y"])], shape=(1,) * 10**5), tmp_path, "has more than 64 axes")
    deep = model(chain("Relu", MAX_LAYERS + 1))
    refused(deep, tmp_path, "a network can have at most 10,000 layers")


def test_shapes_that_nothing_backs(tmp_path):
    gemm = [node("Gemm", ["x", "w"], ["y"])]
    refused(model(gemm, [array("w", (2**40, 2**40), b"1234")]), tmp_path, "an array of shape .* has .* bytes, not 4")
    refused(model(gemm, [array("w", (-1, 4), b"1234")]), tmp_path, r"no array has shape \(-1, 4\)")
    refused(model(gemm, [array("w", (1,) * 65, b"1234")]), tmp_path, "more than 64 axes")
    relu = [node("Relu", ["x"], ["y"])]
    refused(model(relu, shape=(0, 2**40)), tmp_path, "more than 2,147,483,647")
    refused(model(relu, shape=(0, 2**20, 2**20)), tmp_path, "more than 2,147,483,647")
    assert read(model(relu, shape=(0, 2**31 - 1)), tmp_path).input_shape == (2**31 - 1,)  # nothing is allocated for it
    refused(model(chain("Relu", 300), shape=(0, 2**31 - 1)), tmp_path, "can have at most 549755813888 outputs together")
    one = [array("w", (1,), b"1234")]
    refused(model([node("Scaler", ["x", "w"], ["y"])], one), tmp_path, "not supported")
    # one number for each of a sample's is not made of one
    assert read(model([node("Mul", ["x", "w"], ["y"])], one, shape=(0, 2**31 - 1)), tmp_path) is not None


def test_arrays_that_many_nodes_share(tmp_path):
    side = 512
    weights = array("w", (side, side), bytes(4 * side * side))
    refused(model(chain("MatMul", 1000, "w"), [weights], shape=(0, side)), tmp_path, "share arrays that together are")
    assert read(model(chain("MatMul", 2, "w"), [weights], shape=(0, side)), tmp_path).n_parameters == 2 * side * side


def test_long_ways(tmp_path, monkeypatch):
    """None of them makes Python recurse too deep, or takes long."""
    nodes = chain("Identity", graph.MAX_NODES)
    assert read(model(nodes), tmp_path).predict(np.ones((1, 4))).tolist() == [[1, 1, 1, 1]]
    arrays = [array("0", (4, 4), bytes(64))]
    folded = [node("Transpose", [str(i)], [str(i + 1)]) for i in range(10_000)]
    refused(
        model([*folded, node("MatMul", ["x", "10000"], ["y"])], arrays), tmp_path, "must be constant, and is computed"
    )
    sums, name = [], "x"
    monkeypatch.setattr(residual, "MAX_LAYERS", 2000)  # twice as deep as Python may go
    for i in range(1001):
        sums += [node("Relu", [name], [f"r{i}"]), node("Add", [name, f"r{i}"], [f"s{i}"])]
        name = f"s{i}"
    refused(model([*sums, node("Identity", [name], ["y"])]), tmp_path, "a network can have at most 2,000 layers")
    inner = [node("Relu", ["x"], ["0"]), *(node("Add", ["x", str(i)], [str(i + 1)]) for i in range(2000))]
    refused(
        model([*inner, node("Identity", ["2000"], ["y"])]),
        tmp_path,
        "its sums are more than 100 deep within each other",
    )
    squares = [node("Mul", [name, name], [f"m{name}"]) for name in ("x", *("m" * i + "x" for i in range(1, 200)))]
    refused(model([*squares, node("Identity", ["m" * 200 + "x"], ["y"])]), tmp_path, "both of its inputs are computed")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "", ".", "..", "link", "fifo", "absent", "folder"])
def test_arrays_in_files_elsewhere(name, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(64))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "folder").mkdir()
    os.symlink(tmp_path / "secret", folder / "link")
    if name == "fifo":
        if not hasattr(os, "mkfifo"):
            pytest.skip("this system has no such files")
        os.mkfifo(folder / "fifo")
    gemm = [node("Gemm", ["x", "w"], ["y"])]
    refused(model(gemm, [array("w", (4, 4), b"", location=name)]), folder, "the array 'w': ")


def test_parts_of_files_with_arrays(tmp_path):
    gemm = [node("Gemm", ["x", "w"], ["y"])]
    (tmp_path / "data").write_bytes(bytes(range(128)))

    def stored(shape: tuple[int, ...], **more: str) -> bytes:
        return model(gemm, [array("w", shape, b"", location="data", **more)])

    net = read(stored((4, 4), offset="64"), tmp_path)
    np.testing.assert_array_equal(net.params["W1"].ravel(), np.frombuffer(bytes(range(64, 128)), np.float32))
    refused(stored((4, 4), offset="65"), tmp_path, "data has 128 bytes: fewer than the arrays in it")
    refused(stored((4, 4), offset="-1"), tmp_path, "a position in its file must be a number, got '-1'")
    refused(stored((4, 4), offset="9" * 30), tmp_path, "a position in its file must be a number")
    refused(stored((4, 4), length="60"), tmp_path, "it has 60 bytes in data, where its shape has 64")
    refused(stored((4, 2**40)), tmp_path, "data has 128 bytes: fewer than the arrays in it")
    twice = [node("Gemm", ["x", "v"], ["a"]), node("Gemm", ["a", "w"], ["b"]), node("Gemm", ["b", "u"], ["y"])]
    arrays = [array(name, (4, 4), b"", location="data") for name in "uvw"]
    refused(model(twice, arrays), tmp_path, "fewer than the arrays in it")


def test_types_and_sizes_that_are_repeated(tmp_path):
    tensor, axis, kind = Message(), Message(), Message()
    tensor.integer(Value.ELEMENT, Tensor.FLOAT)
    kind.content(Value.TENSOR, *[tensor] * 100_000)
    axis.integer(Value.DIM_VALUE, *range(300, 75_300))
    axes, sized, typed = Message(), Message(), Message()
    axes.content(Value.DIM, axis)
    sized.content(Value.SHAPE, axes)
    typed.content(Value.TENSOR, sized)
    for value_type in (kind, typed):
        value, body, whole = Message(), Message(), Message()
        value.content(Value.NAME, "y")
        value.content(Value.TYPE, value_type)
        body.content(Graph.OUTPUT, value)
        whole.content(Model.GRAPH, body)
        refused(model(chain("Relu", 1)) + b"".join(whole.parts), tmp_path, "it must have one input, and has 0")


def test_many_attributes(tmp_path):
    def with_attributes(message: Message, number: int) -> Message:
        for i in range(number):
            attribute = Message()
            attribute.content(Attribute.NAME, str(i))
            message.content(Node.ATTRIBUTE, attribute)
        return message

    refused(model([with_attributes(node("Elu", ["x"], ["y"]), 51)]), tmp_path, "it has more than 50 attributes")
    many = [with_attributes(message, 50) for message in chain("Elu", 1_000)]
    assert len(read(model(many), tmp_path).layers) == 1_000


@pytest.mark.parametrize(
    "text",
    ["[[],", "[" * 10**5, '{"name": "none"}', '{"name": 1}', "1", '{"custom": true}', "[[]," * 10**6, '"hinge"x'],
)
def test_losses_that_are_none(text, tmp_path):
    entry, metadata = Message(), Message()
    entry.content(Entry.KEY, LOSS)
    entry.content(Entry.VALUE, text)
    metadata.content(Model.METADATA, entry)
    data = model(chain("Relu", 1)) + b"".join(metadata.parts)
    refused(data, tmp_path, "its loss is not described correctly, .*: give one with loss=")
    assert nf.from_onnx(tmp_path / "model.onnx", loss="huber").loss_name == "huber"
