"""Files of earlier versions: they load, predict and go on training as they did, and are saved as they were."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from tolerances import assert_close

import nnfast as nf

FOLDER = Path(__file__).with_name("files_0_1")
write = runpy.run_path(str(FOLDER / "write.py"))
CASES = write["cases"]()
# What version 0.1 could write. Later names are not added here.
KNOWN = {
    "layer": {"dense", "activation", "rescaling", "dropout", "gaussian_noise", "batch_norm", "layer_norm", "residual"},
    "activation": {
        "identity", "step", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu",
        "softplus", "hard_sigmoid", "softmax", "log_softmax",
    },
    "loss": {
        "cross_entropy", "binary_cross_entropy", "mean_squared_error", "sum_squared_error", "mean_absolute_error",
        "huber", "log_cosh", "poisson", "hinge", "kl_divergence", "quantile",
    },
    "optimizer": {"sgd", "adam", "adamw", "nadam", "adagrad", "rmsprop", "adadelta"},
}  # fmt: skip
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="ascii"))


def description(path):
    with np.load(path) as archive:
        return json.loads(str(archive["description"]))


def numbers(texts):
    return np.array([float.fromhex(text) for text in texts])


def check(net, case, expected):
    """Predictions are below 10, and most of them about 1."""
    outputs = net.predict(write["data"](case)[0]).ravel()
    assert_close(outputs, numbers(expected), scale=np.full(len(outputs), 1.0), kind="saved")


def test_every_file_is_tested():
    assert {path.stem for path in FOLDER.glob("*.npz")} == set(CASES) == set(EXPECTED)


@pytest.mark.parametrize("name", CASES)
def test_files_of_version_0_1(name, tmp_path):
    case = CASES[name]
    net = nf.load(FOLDER / f"{name}.npz")
    assert net.dtype == case.dtype
    assert net.input_shape == (case.input_shape if isinstance(case.input_shape, tuple) else (case.input_shape,))
    check(net, case, EXPECTED[name]["predicted"])
    net.save(tmp_path / "again.npz")
    assert description(tmp_path / "again.npz") == description(FOLDER / f"{name}.npz")
    with np.load(tmp_path / "again.npz") as again, np.load(FOLDER / f"{name}.npz") as old:
        assert {path: again[path].tobytes() for path in again} == {path: old[path].tobytes() for path in old}
    write["train"](net, case, write["MORE_STEPS"])
    check(net, case, EXPECTED[name]["trained"])


def kinds(config):
    """The kinds of layers and the activations in a description."""
    for layer in config:
        yield "layer", layer["kind"]
        for name in ("activation", "function"):
            if name in layer:
                function = layer[name]
                yield "activation", function if isinstance(function, str) else function[0]
        yield from kinds(layer.get("layers", ()))


def test_the_files_have_everything_that_version_0_1_knew():
    found = {"layer": set(), "activation": set(), "loss": set(), "optimizer": set()}
    for name in CASES:
        described = description(FOLDER / f"{name}.npz")
        for what, kind in kinds(described["layers"]):
            found[what].add(kind)
        loss = described["loss"]
        found["loss"].add(loss if isinstance(loss, str) else loss["name"])
        if described["optimizer"]:
            found["optimizer"].add(described["optimizer"]["kind"])
    assert found == KNOWN
