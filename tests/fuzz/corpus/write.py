"""Write the files in this folder, which the fuzzers damage: `python tests/fuzz/corpus/write.py`.

Together the networks contain every feature of files: nested layers, penalties, statistics, losses with parameters, the
states of optimizers and of an epoch that has begun, both dtypes, both formats, and files without a training state.
"""

from __future__ import annotations

import gzip
import struct
import warnings
from pathlib import Path

import numpy as np

import nnfast as nf

FOLDER = Path(__file__).parent
X = np.random.default_rng(0).normal(size=(12, 3))


def networks() -> dict[str, nf.Sequential]:
    block = [nf.LayerNorm(), nf.Dense(3, nf.activations.LeakyReLU(0.3), l1=0.1), nf.Residual([nf.Dropout(0.2)])]
    layers = {
        "classes": [nf.BatchNorm(), nf.Residual(block), nf.GaussianNoise(0.1), nf.Dense(3, "softmax", use_bias=False)],
        "quantiles": [nf.Rescaling(2.0, 1.0), nf.Reshape((3, 1)), nf.Flatten(), nf.Dense(4, "elu"), nf.Dense(4)],
        "lbfgs": [nf.Scale(), nf.Dense(2)],
    }
    made = {}
    for name, y, loss, dtype, optimizer in (
        ("classes", np.arange(12) % 3, None, "float32", nf.Adam(amsgrad=True, average_decay=0.9)),
        ("quantiles", X[:, :2], nf.losses.Quantile([0.2, 0.7]), "float64", "sgd"),
        ("lbfgs", X[:, :2], nf.losses.Huber(2.0), "float32", "lbfgs"),
    ):
        net = nf.Sequential(layers[name], input_shape=3, loss=loss, dtype=dtype, seed=0)
        length = {"epochs": 2} if optimizer == "lbfgs" else {"steps": 5, "batch_size": 5}  # ends within an epoch
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "L-BFGS did not converge", RuntimeWarning)
            net.fit(X, y, **length, optimizer=optimizer, verbose=0)
        made[name] = net
    return made


def exported() -> nf.Sequential:
    """A network with most of what ONNX files of ours may hold."""
    block = [nf.LayerNorm(), nf.Dense(4, "gelu"), nf.Residual([nf.BatchNorm(), nf.Activation("mish")])]
    layers = [nf.Rescaling(0.5), nf.Scale(), nf.Residual(block), nf.Reshape((2, 2)), nf.Dense(3, "softmax")]
    return nf.Sequential(layers, input_shape=4, dtype="float64", seed=0)


def idx(code: int, values: np.ndarray) -> bytes:
    """An IDX file; `code` is that of the type of the values, which must be big-endian."""
    return bytes([0, 0, code, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


if __name__ == "__main__":
    for name, net in networks().items():
        net.save(FOLDER / f"{name}.npz")
        net.save(FOLDER / f"{name}.safetensors")
        net.save(FOLDER / f"{name}_predicts.safetensors", training_state=False)
    exported().to_onnx(FOLDER / "exported.onnx")
    images = idx(0x08, np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    (FOLDER / "images.idx").write_bytes(images)
    (FOLDER / "images.idx.gz").write_bytes(gzip.compress(images, mtime=0))
    (FOLDER / "numbers.idx").write_bytes(idx(0x0E, np.linspace(-1, 1, 5, dtype=">f8")))
    (FOLDER / "shorts.idx.gz").write_bytes(gzip.compress(idx(0x0B, np.ones((3, 2), dtype=">i2")), mtime=0))
