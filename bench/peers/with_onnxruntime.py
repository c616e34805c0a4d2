"""ONNX Runtime: inference only."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from bench.data import Parameters
from bench.peers.base import Predictor
from bench.workloads import Network


class ONNXRuntime(Predictor):
    """A session on a graph of Gemm nodes."""

    name = "ONNX Runtime"
    module = package = "onnxruntime"

    @classmethod
    def missing(cls) -> str | None:
        """Return why this peer cannot take part, or None if it can."""
        return super().missing() or (None if find_spec("onnx") else "onnx, which writes its models, is not installed")

    def __init__(self, network: Network, parameters: Parameters, threads: int) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        model = self.model(network, parameters)
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def model(self, network: Network, parameters: Parameters) -> bytes:
        """Return the network as a serialized ONNX model."""
        from onnx import TensorProto, helper, numpy_helper

        nodes, arrays, name = [], [], "x"
        function = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}[network.activation]
        for i, (weights, bias) in enumerate(parameters):
            arrays += [numpy_helper.from_array(np.ascontiguousarray(weights), f"W{i}")]
            arrays += [numpy_helper.from_array(bias, f"b{i}")]
            last = i == len(parameters) - 1
            nodes.append(helper.make_node("Gemm", [name, f"W{i}", f"b{i}"], [f"z{i}"]))
            nodes.append(helper.make_node("Softmax" if last else function, [f"z{i}"], ["y" if last else f"h{i}"]))
            name = f"h{i}"
        ends = [
            helper.make_tensor_value_info(end, TensorProto.FLOAT, ["n", size])
            for end, size in (("x", network.sizes[0]), ("y", network.sizes[-1]))
        ]
        graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], arrays)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()

    def one(self, row: np.ndarray) -> np.ndarray:
        """Predict a batch of one."""
        return self.session.run(None, {"x": row[None]})[0][0]

    def many(self, x: np.ndarray) -> np.ndarray:
        """Predict a batch."""
        return self.session.run(None, {"x": x})[0]
