"""Names and files of other programs' formats: neither written nor read, and the message says what to do instead."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import numpy as np
import pytest

import nnfast as nf
from nnfast.callbacks import Checkpoint
from nnfast.cli import main
from nnfast.files.kinds import OTHERS


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return nf.Sequential([nf.Dense(2)], input_shape=3, seed=0)


# ---- names


@pytest.mark.parametrize("ending", OTHERS)
def test_a_name_of_another_format_is_rejected(ending, net):
    for name in (f"net{ending}", f"net{ending.upper()}", f"net.npz{ending}"):
        message = rf"^path must not end in \{ending}, .* got '{name}': networks are saved as \.npz and \.safetensors"
        with pytest.raises(ValueError, match=message):
            net.save(name)
    assert not os.listdir()


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("net.onnx", "; net.to_onnx(path) or `nnfast export MODEL --to onnx` writes one"),
        ("net.h", "; net.to_c(path) or `nnfast export MODEL --to c` writes both files"),
        ("net.pt2", "; `nnfast export MODEL --to torch` writes one"),
        ("net.pth", "; net.to_torch() makes a module that torch.save writes"),
        ("net.pkl", "; pickle.dump(net, file) writes one"),
        ("net.keras", "networks are saved as .npz and .safetensors"),
    ],
)
def test_the_message_says_what_writes_the_format(name, instead, net):
    with pytest.raises(ValueError) as caught:
        net.save(name)
    assert str(caught.value).endswith(instead)


@pytest.mark.parametrize("name", ["net", "net.npz", "net.bin", "net.ckpt", "net.v1.2", ".onnx", "onnx", "net.onnx.npz"])
def test_other_names_are_those_of_archives(name, net):
    net.save(name)
    assert zipfile.is_zipfile(name)
    np.testing.assert_array_equal(nf.load(name).flat_params, net.flat_params)


@pytest.mark.parametrize("path", ["net.onnx", "net-{epoch}.PT"])
def test_a_checkpoint_is_rejected_before_training(path, net):
    with pytest.raises(ValueError, match=r"^path must not end in \.(onnx|pt), the name of another format"):
        Checkpoint(path)
    assert Checkpoint("net-{val_loss:.4f}").path == "net-{val_loss:.4f}"


def test_the_command_line_rejects_it_before_training(net, capsys, monkeypatch):
    monkeypatch.setattr("nnfast.cli.load_data", None)  # it is not called
    assert main(["train", "digits", "--save", "net.onnx"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("nnfast train: error: --save must not end in .onnx, the name of another format")
    assert "nnfast export MODEL --to onnx" in message
    assert not os.listdir()


# ---- contents


def archive(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, b"content")
    return buffer.getvalue()


def onnx() -> bytes:
    nf.Sequential([nf.Dense(2)], input_shape=3, seed=0).to_onnx("own.onnx")
    with open("own.onnx", "rb") as file:
        content = file.read()
    os.remove("own.onnx")
    return content


def npy() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


FOREIGN = {
    "onnx": (onnx, "it seems to be an ONNX file, which nnfast.from_onnx reads"),
    "pt": (lambda: archive("model/data.pkl", "model/data/0", "model/version"), "nnfast.from_torch"),
    "pt2": (lambda: archive("model/archive_format", "model/data/weights/0"), "nnfast.from_torch"),
    "old pt": (lambda: pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2), "nnfast.from_torch"),
    "keras": (lambda: archive("metadata.json", "config.json", "model.weights.h5"), "nnfast.from_keras"),
    "h5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(100), "nnfast.from_keras"),
    "pickle": (lambda: pickle.dumps([1, 2, 3]), "it seems to be a pickle, which can run any code and is not read"),
    "npy": (npy, "it seems to be a single array (.npy), which numpy.load reads"),
    "npz": (lambda: archive("x.npy", "y.npy"), "it has no description"),
    "text": (lambda: b"something else", "it is neither a NumPy archive (.npz) nor a safetensors file"),
    "two bytes": (lambda: b"\x08\x08", "it is neither a NumPy archive (.npz) nor a safetensors file"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_of_another_program_says_what_it_is(name, net, capsys):
    make, expected = FOREIGN[name]
    with open("some.file", "wb") as file:
        file.write(make())
    with pytest.raises(nf.LoadError) as caught:
        nf.load("some.file")
    assert str(caught.value).startswith("some.file is not a network saved by nnfast: it ")
    assert expected in str(caught.value)
    np.save("x.npy", np.zeros((1, 3)))
    for args in (["info", "some.file"], ["predict", "some.file", "x.npy"]):
        assert main(args) == 2
        assert capsys.readouterr().err == f"nnfast {args[0]}: error: {caught.value}\n"


def test_files_of_pytorch(net):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    module = torch.nn.Linear(3, 2)
    torch.save(module.state_dict(), "new.file")
    torch.save(module.state_dict(), "old.file", _use_new_zipfile_serialization=False)
    for name in ("new.file", "old.file"):
        with pytest.raises(nf.LoadError, match=r"it seems to be a file of PyTorch: .* nnfast\.from_torch$"):
            nf.load(name)
