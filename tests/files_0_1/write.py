"""Write small networks, and what they predict, with the nnfast that is installed: later versions must read them.

Run it with an interpreter in which the version is installed whose files are to be kept, and give it a new folder::

    python tests/files_0_1/write.py tests/files_0_2

The files in this folder were written by version 0.1.0. They are never written again: if a later version cannot read
them, that version is wrong. A new folder is worth having when the format grows.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import nnfast as nf

A, L, S = nf.activations, nf.losses, nf.schedules
ROWS, STEPS, MORE_STEPS = 12, 5, 3


class Case(NamedTuple):
    """A network to be saved: its layers, the shape of a sample, and how it is trained before and after."""

    layers: list[Any]
    optimizer: Any
    targets: str = "values"  # labels, shares (of classes), bits, counts or values
    loss: Any = None
    input_shape: Any = 4
    dtype: str = "float64"
    outputs: int = 3
    validation: bool = False
    untrained: bool = False


def cases() -> dict[str, Case]:
    """All networks by name: every kind of layer, activation, loss, optimizer and state of one."""
    return {
        "sgd": Case([nf.Dense(5, "sigmoid"), nf.Dense(3, "softmax")], nf.SGD(0.5), "labels"),
        "float32": Case([nf.Dense(5, "relu"), nf.Dense(3, "softmax")], nf.SGD(0.1), "labels", dtype="float32"),
        "untrained": Case([nf.Dense(3, "tanh", initializer=0.5)], nf.Adam(), untrained=True, dtype="float32"),
        "image": Case(
            [nf.Rescaling(2.0, -0.5), nf.Dense(4, A.LeakyReLU(0.2)), nf.Dense(3, "log_softmax")],
            nf.SGD(0.1, momentum=0.9), "shares", input_shape=(2, 3, 2),
        ),
        "norms": Case(
            [nf.BatchNorm(momentum=0.3, epsilon=1e-3, l2=0.01), nf.Dense(4, A.ELU(0.5), use_bias=False),
             nf.LayerNorm(epsilon=1e-4, l1=0.01), nf.BatchNorm(affine=False), nf.LayerNorm(affine=False),
             nf.BatchNorm(trainable=False), nf.LayerNorm(trainable=False), nf.Dense(3, "sigmoid")],
            nf.Adam(0.02), "bits",
        ),
        "noise": Case([nf.Dropout(0.3), nf.Dense(6, "selu"), nf.GaussianNoise(0.1), nf.Dense(3)], nf.RMSprop(0.01)),
        "noise_float32": Case([nf.GaussianNoise(0.2), nf.Dense(6), nf.Dropout(0.5), nf.Dense(3)], nf.AdamW(0.01),
                              dtype="float32"),
        "residual": Case(
            [nf.Dense(4, "gelu"),
             nf.Residual([nf.LayerNorm(), nf.Residual([nf.Dense(4, A.GELU("tanh")), nf.Dropout(0.2)]),
                          nf.Dense(4, "silu")]),
             nf.Dense(3)],
            nf.AdamW(0.02, amsgrad=True, decay_biases=False), loss=L.Huber(0.5),
        ),
        "activations": Case(
            [nf.Dense(4), nf.Activation(A.Softplus(2.0)), nf.Dense(4, "gelu_tanh"), nf.Activation("hard_sigmoid"),
             nf.Dense(4, "softplus"), nf.Activation(A.LeakyReLU(0.3)), nf.Dense(4, "elu"), nf.Activation("identity"),
             nf.Dense(3, "leaky_relu")],
            nf.NAdam(0.02), loss="log_cosh",
        ),
        "penalties": Case(
            [nf.Dense(4, "tanh", l1=0.01, l2=0.02), nf.Dense(3, "softmax", trainable=False)],
            nf.Adagrad(0.05, learning_rate_decay=0.1, initial_accumulator_value=0.1), "labels", L.CrossEntropy(0.1),
        ),
        "average": Case(
            [nf.Dense(4, "tanh"), nf.Dense(3, "sigmoid")],
            nf.Adam(0.02, average_decay=0.9, amsgrad=True), "bits", L.BinaryCrossEntropy(0.2),
        ),
        "plateau": Case(
            [nf.Dense(4, "tanh"), nf.Dense(3)],
            nf.SGD(S.ReduceOnPlateau(0.05, patience=0, monitor="val_loss"), momentum=0.5, nesterov=True),
            loss="mean_absolute_error", validation=True,
        ),
        "epochs": Case(
            [nf.Dense(4, "tanh"), nf.Dense(3)], nf.SGD(S.Step(0.1, step_size=2, gamma=0.5, by="epoch")),
            loss="sum_squared_error",
        ),
        "centered": Case(
            [nf.Dense(4, "relu"), nf.Dense(3, "softplus")],
            nf.RMSprop(S.Cosine(0.01, steps=20, warmup=3), centered=True, momentum=0.5), "counts",
            L.Poisson(log_input=False),
        ),
        "adadelta": Case([nf.Dense(4, "tanh"), nf.Dense(3)], nf.Adadelta(0.5), "counts", "poisson"),
        "quantiles": Case([nf.Dense(4, "tanh"), nf.Dense(6)], nf.Adam(0.02), loss=L.Quantile([0.1, 0.9])),
        "hinge": Case([nf.Dense(4, "tanh"), nf.Dense(1)], nf.NAdam(0.02), "bits", "hinge", outputs=1),
        "divergence": Case([nf.Dense(4, "tanh"), nf.Dense(3, "softmax")], nf.Adam(0.02), "shares", "kl_divergence"),
        "step": Case([nf.Dense(3, "step"), nf.Activation("softmax"), nf.Dense(3)], nf.SGD(0.1), loss=L.Quantile(0.3)),
        "lbfgs": Case([nf.Dense(4, "tanh"), nf.Dense(3)], nf.LBFGS(), loss="mean_squared_error"),
    }  # fmt: skip


def data(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Samples and targets, the same wherever they are made."""
    shape = case.input_shape if isinstance(case.input_shape, tuple) else (case.input_shape,)
    n = ROWS * int(np.prod(shape))
    x = ((np.arange(n) * 37 % 101 - 50) / 64).reshape(ROWS, *shape)
    values = ((np.arange(ROWS * case.outputs) * 53 % 97 - 48) / 64).reshape(ROWS, case.outputs)
    return x, {
        "labels": values.argmax(axis=1),
        "shares": np.eye(case.outputs)[values.argmax(axis=1)],
        "bits": (values > 0).astype(np.float64),
        "counts": np.floor(4 * np.abs(values)),
        "values": values,
    }[case.targets]


def train(net: nf.Sequential, case: Case, steps: int, *, shuffle: bool = False) -> None:
    """Train for some steps, or as many epochs where the optimizer counts these.

    The order in which rows are shuffled may change between versions.
    """
    x, y = data(case)
    whole = isinstance(case.optimizer, nf.LBFGS)
    how: dict[str, Any] = {"epochs": steps} if case.validation or whole else {"steps": steps, "batch_size": 5}
    if not whole:
        how["shuffle"] = shuffle
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of activation "step", and of an L-BFGS that ends early
        net.fit(x, y, optimizer=case.optimizer, validation_data=(x, y) if case.validation else None, verbose=0, **how)


def outputs(net: nf.Sequential, case: Case) -> list[str]:
    """What a network predicts, as hexadecimal numbers: all digits."""
    return [float(value).hex() for value in net.predict(data(case)[0]).ravel()]


def write(folder: Path) -> None:
    """Write a file for each network, and ``expected.json``."""
    expected = {}
    for name, case in cases().items():
        net = nf.Sequential(case.layers, input_shape=case.input_shape, loss=case.loss, dtype=case.dtype, seed=3)
        if not case.untrained:
            train(net, case, STEPS, shuffle=True)
        net.save(folder / f"{name}.npz")
        net = nf.load(folder / f"{name}.npz")
        before = outputs(net, case)
        train(net, case, MORE_STEPS)
        expected[name] = {"predicted": before, "trained": outputs(net, case)}
    (folder / "expected.json").write_text(json.dumps(expected, indent=0) + "\n", encoding="ascii")


if __name__ == "__main__":
    if len(sys.argv) != 2 or (Path(sys.argv[1]) / "expected.json").exists():
        sys.exit(f"usage: python {sys.argv[0]} FOLDER  (which holds no such files yet)")
    Path(sys.argv[1]).mkdir(exist_ok=True)
    write(Path(sys.argv[1]))
