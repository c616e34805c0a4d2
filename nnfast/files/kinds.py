"""What files of other programs are: by their names before one is written, and by their contents when one is read."""

from __future__ import annotations

import os
from collections.abc import Collection

WRITTEN = ".npz and .safetensors"
_PICKLE = "pickle.dump(net, file) writes one"
_TORCH = "net.to_torch() makes a module that torch.save writes"
# Endings that stand for other formats, and what writes these, if anything does.
OTHERS = {
    ".onnx": "net.to_onnx(path) or `nnfast export MODEL --to onnx` writes one",
    **dict.fromkeys((".c", ".h"), "net.to_c(path) or `nnfast export MODEL --to c` writes both files"),
    ".pt2": "`nnfast export MODEL --to torch` writes one",
    **dict.fromkeys((".pt", ".pth"), _TORCH),
    **dict.fromkeys((".pkl", ".pickle"), _PICKLE),
    **dict.fromkeys((".keras", ".h5", ".hdf5", ".pb", ".tflite", ".mlmodel", ".mlpackage", ".gguf"), ""),
    **dict.fromkeys((".joblib", ".skops", ".pmml", ".npy", ".mat", ".csv"), ""),
    **dict.fromkeys((".json", ".yaml", ".yml", ".toml", ".xml", ".txt", ".py"), ""),
}

HDF5, NPY = b"\x89HDF\r\n\x1a\n", b"\x93NUMPY"
OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the number with which PyTorch's older files begin
PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))
ONNX = 0x08  # the key of the version with which an ONNX file begins
ONNX_VERSIONS = range(1, 64)
ONNX_NEXT = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42)  # keys of the fields that may follow it

IS_TORCH = (
    "it seems to be a file of PyTorch: load the module there, if you trust the file, and pass it to nnfast.from_torch"
)
IS_KERAS = "it seems to be a model of Keras: load it there, and pass it to nnfast.from_keras"


def check_ending(name: str, path: str | os.PathLike[str]) -> None:
    """Raise ValueError if the name of a file is that of a format which `Sequential.save` does not write.

    Parameters
    ----------
    name : str
        The argument, for the message.
    path : path
    """
    text = os.fsdecode(path)
    ending = os.path.splitext(text)[1].lower()
    if ending in OTHERS:
        instead = OTHERS[ending]
        raise ValueError(
            f"{name} must not end in {ending}, the name of another format, got {text!r}: networks are saved as "
            f"{WRITTEN}" + (f"; {instead}" if instead else "")
        )


def of_start(start: bytes) -> str | None:
    """Return what a file seems to be that begins with these bytes, and how to read it; None if that is not known."""
    if start.startswith(OLD_TORCH):
        return IS_TORCH
    if start.startswith(PICKLES):
        return (
            "it seems to be a pickle, which can run any code and is not read: load it with the program that wrote it, "
            "if you trust it, and pass what it holds to nnfast.from_sklearn, nnfast.from_torch or nnfast.from_keras"
        )
    if start.startswith(HDF5):
        return IS_KERAS
    if start.startswith(NPY):
        return "it seems to be a single array (.npy), which numpy.load reads"
    if len(start) > 2 and start[0] == ONNX and start[1] in ONNX_VERSIONS and start[2] in ONNX_NEXT:
        return "it seems to be an ONNX file, which nnfast.from_onnx reads"
    return None


def of_members(names: Collection[str]) -> str | None:
    """Return what an archive with these members seems to be, as `of_start` does."""
    if any(name.endswith(("/data.pkl", "/archive_format", "/serialized_exported_program.json")) for name in names):
        return IS_TORCH
    if "model.weights.h5" in names and "config.json" in names:
        return IS_KERAS
    return None
