"""Makes the models in tests/onnx_models: small networks of our own, written by other programs, and what they predict.

Each program is in an environment of its own: torch and onnxscript; scikit-learn and skl2onnx; tensorflow-cpu and
tf2onnx. Run ``python tests/make_onnx.py torch|sklearn|keras`` in each. The files in the repository were made with
PyTorch 2.13, onnxscript 0.7, scikit-learn 1.9, skl2onnx 1.20, TensorFlow 2.21, Keras 3.15 and tf2onnx 1.17. The
folder also has ``outputs.npz``: samples and outputs, computed by the program that the network came from.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "onnx_models"
RNG = np.random.default_rng(0)


def torch_models(results: dict[str, np.ndarray]) -> None:
    """Both exporters of PyTorch; the older one with an opset that lacks gelu and layer norms, too."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, n: int, hidden: int) -> None:
            super().__init__()
            self.norm, self.a, self.b = nn.LayerNorm(n), nn.Linear(n, hidden), nn.Linear(hidden, n)

        def forward(self, x):
            return x + self.b(nn.functional.gelu(self.a(self.norm(x))))

    class View(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 4), nn.Linear(4, 1)

        def forward(self, x):
            return self.b(torch.relu(self.a(x.view(x.size(0), -1)))).squeeze(-1)

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 5, bias=False), nn.Linear(5, 2)
            self.gamma = nn.Parameter(torch.rand(5) + 0.5)
            self.register_buffer("mean", torch.rand(4))

        def forward(self, x):
            return torch.log_softmax(self.b(self.gamma * self.a((x - self.mean) / 0.25)), dim=-1)

    def chain(*functions):
        layers = [nn.Linear(4, 5)]
        for function in functions:
            layers += [function, nn.Linear(5, 5)]
        return nn.Sequential(*layers)

    torch.manual_seed(0)
    networks = {
        "activations": chain(
            nn.ReLU(),
            nn.LeakyReLU(0.2),
            nn.ELU(0.7),
            nn.SELU(),
            nn.GELU(),
            nn.GELU("tanh"),
            nn.SiLU(),
            nn.Softplus(2),
            nn.Softplus(),
            nn.Mish(),
            nn.Hardsigmoid(),
            nn.Sigmoid(),
            nn.Tanh(),
            nn.LogSoftmax(-1),
            nn.Softmax(-1),
        ),
        "mlp": nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(1)),
        "norms": nn.Sequential(
            nn.BatchNorm1d(4), nn.Linear(4, 5, bias=False), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 1), nn.Sigmoid()
        ),
        "residual": nn.Sequential(nn.Linear(4, 5), Block(5, 7), Block(5, 7), nn.LayerNorm(5), nn.Linear(5, 2)),
        "view": View(),
        "scaled": Scaled(),
        "double": nn.Sequential(nn.Linear(4, 5), nn.ELU(0.7), nn.BatchNorm1d(5), nn.Linear(5, 2)).double(),
    }
    for name, net in networks.items():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm1d):
                for tensor in (module.running_mean, module.bias.data):
                    tensor.normal_()
                for tensor in (module.running_var, module.weight.data):
                    tensor.uniform_(0.5, 1.5)
        net.eval()
        x = torch.randn(5, *((2, 3) if name in ("mlp", "view") else (4,))).to(next(net.parameters()).dtype)
        y = net(x).detach().numpy()
        exports = {"new": {"dynamo": True, "external_data": False, "verbose": False}, "old": {"dynamo": False}}
        if name in ("activations", "residual"):
            exports["old_opset_13"] = {"dynamo": False, "opset_version": 13}
        for kind, options in exports.items():
            if options["dynamo"]:
                options["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
            else:
                options |= {"dynamic_axes": {"x": {0: "batch"}}, "input_names": ["x"]}
            path = f"torch_{name}_{kind}"
            torch.onnx.export(net, (x,), str(FOLDER / f"{path}.onnx"), **options)
            without_paths(FOLDER / f"{path}.onnx")
            results |= {f"{path}.x": x.numpy(), f"{path}.y": y}
    net = nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, 2)).eval()  # arrays of more than 1 KB
    x = torch.randn(5, 12)
    batch = {0: torch.export.Dim("batch")}
    path = FOLDER / "torch_external.onnx"
    torch.onnx.export(net, (x,), str(path), dynamo=True, dynamic_shapes=(batch,), verbose=False)
    without_paths(path)
    results |= {"torch_external.x": x.numpy(), "torch_external.y": net(x).detach().numpy()}


def without_paths(path: Path) -> None:
    """Remove the notes of PyTorch's exporter, which hold the paths of its source files."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    for item in (model, model.graph, *model.graph.node, *model.graph.value_info):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    path.write_bytes(model.SerializeToString())


def sklearn_models(results: dict[str, np.ndarray]) -> None:
    """Estimators, with what skl2onnx adds to them: casts, labels, dictionaries of probabilities."""
    from skl2onnx import to_onnx
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    x = RNG.normal(size=(60, 4))
    two = (x[:, 0] + x[:, 1] > 0).astype(int)
    three, values = two + (x[:, 2] > 0), x @ RNG.normal(size=(4, 2))
    options = {"hidden_layer_sizes": (5,), "max_iter": 30, "random_state": 0}
    arrays = {"options": {"zipmap": False}}
    for name, estimator, y, dtype, more in (
        ("binary", MLPClassifier(**options), two, np.float32, {}),
        ("classes", MLPClassifier(activation="tanh", **options), three, np.float32, {}),
        ("arrays", MLPClassifier(activation="logistic", **options), three, np.float32, arrays),
        ("names", MLPClassifier(**options), np.array(["a", "b", "c"])[three], np.float32, {}),
        ("regressor", MLPRegressor(**options), values[:, 0], np.float32, {}),
        ("double", MLPRegressor(activation="tanh", **options), values[:, 0], np.float64, {}),
        ("two_outputs", MLPRegressor(activation="identity", **options), values, np.float32, {}),
        ("labels", MLPClassifier(**options), np.stack([two, three > 1], 1).astype(int), np.float32, arrays),
        ("standard", make_pipeline(StandardScaler(), MLPClassifier(**options)), three, np.float32, {}),
        ("min_max", make_pipeline(MinMaxScaler(), MLPRegressor(**options)), values[:, 0], np.float32, {}),
    ):
        estimator.fit(x, y)
        rows = x[:5].astype(dtype)
        (FOLDER / f"sklearn_{name}.onnx").write_bytes(to_onnx(estimator, rows[:1], **more).SerializeToString())
        predict = estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.predict
        results |= {f"sklearn_{name}.x": rows, f"sklearn_{name}.y": predict(rows)}


def keras_models(results: dict[str, np.ndarray]) -> None:
    """Keras by tf2onnx."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras
    import tensorflow as tf
    import tf2onnx
    from keras import layers as L

    keras.utils.set_random_seed(0)
    names = ("relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "mish", "hard_sigmoid", "sigmoid", "tanh")
    hidden = [L.Dense(5, activation=name) for name in (*names, "log_softmax", "softmax")]
    approximate = [L.Dense(5), L.Lambda(lambda x: keras.activations.gelu(x, approximate=True))]
    scaling = [L.Rescaling(1 / 255, offset=-0.1), L.Flatten(), L.Dense(5, activation="relu"), L.Dropout(0.5)]
    norms = [L.Dense(5), L.BatchNormalization(), L.ReLU(), L.LayerNormalization(), L.Dense(3, activation="sigmoid")]
    normalization = L.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[4.0, 5.0, 6.0, 7.0])
    start = L.Input((4,))
    first = L.Dense(5)(start)
    sums = L.Add()([first, L.Dense(5)(L.Dense(6, activation="relu")(first))])
    for name, net in {
        "activations": keras.Sequential([L.Input((4,)), *hidden, *approximate, L.Dense(3)]),
        "scaling": keras.Sequential([L.Input((2, 3)), *scaling, L.Dense(3, activation="softmax")]),
        "norms": keras.Sequential([L.Input((4,)), *norms]),
        "normalization": keras.Sequential([L.Input((4,)), normalization, L.Dense(5, activation="tanh"), L.Dense(2)]),
        "residual": keras.Model(start, L.Dense(2)(sums)),
    }.items():
        for layer in net.layers:
            if isinstance(layer, (L.Dense, L.BatchNormalization, L.LayerNormalization)):
                layer.set_weights([array + RNG.uniform(-0.5, 0.5, array.shape) for array in layer.get_weights()])
        x = (RNG.integers(0, 255, (5, 2, 3)) if name == "scaling" else RNG.normal(size=(5, 4))).astype(np.float32)
        function = tf.function(lambda input, net=net: net(input, training=False))
        signature = [tf.TensorSpec((None, *x.shape[1:]), tf.float32, name="input")]
        path = FOLDER / f"keras_{name}.onnx"
        tf2onnx.convert.from_function(function, input_signature=signature, output_path=str(path))
        results |= {f"keras_{name}.x": x, f"keras_{name}.y": net(x, training=False).numpy()}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    FOLDER.mkdir(exist_ok=True)
    outputs = FOLDER / "outputs.npz"
    results = dict(np.load(outputs)) if outputs.exists() else {}
    {"torch": torch_models, "sklearn": sklearn_models, "keras": keras_models}[sys.argv[1]](results)
    np.savez_compressed(outputs, **results)
