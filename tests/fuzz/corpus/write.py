"""Write the networks in this folder, which the fuzzers damage: `python tests/fuzz/corpus/write.py`.

Together they contain every feature of files: nested layers, penalties, statistics, losses with parameters, the states
of optimizers and of an epoch that has begun, both dtypes, both formats, and a file without the state of a training.
"""

from __future__ import annotations

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


if __name__ == "__main__":
    for name, net in networks().items():
        net.save(FOLDER / f"{name}.npz")
        net.save(FOLDER / f"{name}.safetensors")
        net.save(FOLDER / f"{name}_predicts.safetensors", training_state=False)
