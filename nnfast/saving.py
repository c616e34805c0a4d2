"""Networks as files: a NumPy archive of plain arrays and a JSON description. Nothing in a file is ever executed."""

from __future__ import annotations

import io
import os
import threading
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._validation import MAX_SIZE
from nnfast.layers import Dense
from nnfast.optimizers import OPTIMIZERS
from nnfast.schedules import check_plateau

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Sequence

    from nnfast.sequential import Sequential

FORMAT = "nnfast"
VERSION = 1
DESCRIPTION = "description"  # the archive's member that holds the JSON text
MAX_AXES = 64  # of a sample
MAX_HEADER = 1024  # bytes of a .npy header
MAX_DESCRIPTION = 2**24  # bytes


def to_state(net: Sequential) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return all that makes a network: a description that JSON can hold, and arrays by path."""
    program = net._program
    description = {
        "format": FORMAT,
        "version": VERSION,
        "layers": [{"kind": "dense", "units": layer.units, "activation": layer.activation} for layer in net.layers],
        "input_shape": net.input_shape,
        "loss": net.loss_name,
        "dtype": str(net.dtype),
        "streams": [stream.bit_generator.state for stream in (net._initial_stream, net._shuffle_stream)],
        "optimizer": None,
    }
    arrays: dict[str, np.ndarray] = {}
    if program is not None:
        params = net.params
        arrays = {path: params[path] for path in _paths(net)}
        if program.optimizer_kind is not None:
            slot: dict[str, Any] = {"kind": program.optimizer_kind, "steps": program.optimizer_steps}
            description["optimizer"] = slot if program.plateau is None else slot | {"plateau": program.plateau}
            arrays |= {f"optimizer.{i}": moment for i, moment in enumerate(program.moments)}
    return description, arrays


def from_state(
    description: dict[str, Any],
    arrays: dict[str, np.ndarray],
    layers: Sequence[Dense] | None = None,
    kind: type[Sequential] | None = None,
) -> Sequential:
    """Make the network that `to_state` took apart; without `layers`, how they began is not known any more.

    A `kind` of its own is made without its constructor, whose arguments nobody knows.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the parts do not fit together.
    """
    from nnfast.sequential import Sequential

    if layers is None:
        layers = []
        for layer in description["layers"]:
            if layer["kind"] != "dense":
                raise ValueError(f"unknown kind of layer {layer['kind']!r}")
            layers.append(Dense(layer["units"], layer["activation"]))
    loss, shape = description["loss"], description["input_shape"]
    if not isinstance(loss, str):
        raise TypeError(f"the loss must be a name, got {loss!r}")
    kind = kind or Sequential
    net = kind.__new__(kind)
    Sequential.__init__(net, layers, input_shape=shape, loss=loss, dtype=description["dtype"], seed=0)
    for stream, state in zip((net._initial_stream, net._shuffle_stream), description["streams"], strict=True):
        stream.bit_generator.state = state
    if net._program is not None:
        params = net.params
        for path in _paths(net):
            params[path] = arrays[path]
        if description["optimizer"] is not None:
            _restore_optimizer(net, description["optimizer"], arrays)
    return net


def _paths(net: Sequential) -> list[str]:
    return [f"{s}.{name}" for s, name, _, _ in net._built.layout]


def _restore_optimizer(net: Sequential, slot: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    moments = [arrays[f"optimizer.{i}"] for i in range(OPTIMIZERS[slot["kind"]].n_moments)]
    for moment in moments:
        if moment.shape != (net.n_parameters,) or moment.dtype != net.dtype:
            raise ValueError(f"the optimizer's state must have shape ({net.n_parameters},) and dtype {net.dtype}")
    if type(slot["steps"]) is not int or slot["steps"] < 0:
        raise ValueError(f"the optimizer's steps must be a count, got {slot['steps']!r}")
    plateau = slot.get("plateau")
    if plateau is not None:
        check_plateau(plateau)
    net._built.restore_optimizer(slot["kind"], slot["steps"], moments, plateau)


def save(net: Sequential, path: str | os.PathLike[str]) -> None:
    """`Sequential.save`."""
    net._built  # noqa: B018  an unbuilt network has nothing to save, and says so
    import json

    description, arrays = to_state(net)
    buffer = io.BytesIO()
    members: dict[str, Any] = {DESCRIPTION: np.array(json.dumps(description)), **arrays}
    np.savez(buffer, **members)
    path = os.path.realpath(os.fsdecode(path))  # through a link, which stays one
    if not os.path.isdir(os.path.dirname(path)):
        raise FileNotFoundError(f"cannot write {path}: there is no folder {os.path.dirname(path)}")
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(f"cannot replace {path}: it is a folder or device, and no file")
    temporary = f"{path}.{os.getpid()}.{threading.get_ident()}.part"
    try:
        with open(temporary, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def load(path: str | os.PathLike[str]) -> Sequential:
    """Read a network that `Sequential.save` wrote.

    Parameters
    ----------
    path : path
        The file. Reading it runs no code, and takes no more memory than its size allows.

    Returns
    -------
    Sequential
        It predicts, and goes on training, with the same bits as the one that was saved.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no network of nnfast, is damaged, or was written by a newer version; the message says which.

    Examples
    --------
    >>> import os, tempfile
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(3)], input_shape=2, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(os.path.join(folder, "net.npz"))
    ...     again = nf.load(os.path.join(folder, "net.npz"))
    >>> bool((again.flat_params == net.flat_params).all())
    True
    """
    import zipfile

    path = os.fsdecode(path)
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                description = _read_description(archive)
                counts = _expected_arrays(description)
                _check_sizes(archive, counts, np.dtype(description["dtype"]))
                arrays = {name: _read_array(archive.read(f"{name}.npy")) for name in counts}
                for name, array in arrays.items():
                    if array.dtype != description["dtype"]:
                        raise ValueError(f"the array {name} has dtype {array.dtype}, not {description['dtype']}")
            return from_state(description, arrays)
        except _Foreign as error:
            raise ValueError(f"{path} is not a network saved by nnfast: {error}") from None
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path} is not a network saved by nnfast, or is damaged: {error}") from None
        except MemoryError:
            raise
        except KeyError as error:
            raise ValueError(f"{path} is damaged: its description has no {error}") from error
        except Exception as error:  # what the readers of zip and npy files raise on damage is a long list
            raise ValueError(f"{path} is damaged: {error}") from error


class _Foreign(Exception):
    """The file is whole, but is something else."""


def _read_description(archive: zipfile.ZipFile) -> dict[str, Any]:
    import json

    member = f"{DESCRIPTION}.npy"
    info = archive.getinfo(member) if member in archive.namelist() else None
    if info is None or info.compress_type or info.file_size > MAX_DESCRIPTION:
        raise _Foreign("it has no description")
    try:
        description = json.loads(str(_read_array(archive.read(member))))
    except json.JSONDecodeError as error:
        raise ValueError(f"its description is no JSON: {error}") from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise _Foreign("its description is another's")
    version = description.get("version")
    if type(version) is not int or version < 1:
        raise ValueError(f"its description has no version, which is a number from 1, but {version!r}")
    if version > VERSION:
        raise _Foreign(
            f"it has version {version!r} of the format, and this nnfast reads up to {VERSION}: install a newer one"
        )
    return description


def _expected_arrays(description: dict[str, Any]) -> dict[str, int]:
    """Return the paths of the arrays that the description tells of, and how many numbers each has."""
    if len(description["input_shape"]) > MAX_AXES:
        raise ValueError(f"input_shape must have at most {MAX_AXES} axes, got {len(description['input_shape'])}")
    width = prod(_size("input_shape", size) for size in description["input_shape"])
    counts: dict[str, int] = {}
    for i, layer in enumerate(description["layers"]):
        units = _size("units", layer["units"])
        counts[f"{i}.W"], counts[f"{i}.b"] = width * units, units
        width = units
    total = sum(counts.values())
    if description["optimizer"]:
        kind = description["optimizer"]["kind"]
        if kind not in OPTIMIZERS:
            raise ValueError(f"unknown optimizer {kind!r}")
        for i in range(OPTIMIZERS[kind].n_moments):
            counts[f"optimizer.{i}"] = total
    return counts


def _size(name: str, value: Any) -> int:
    """Return `value` if it is a size: a text or a list would be multiplied into a long one."""
    if type(value) is not int or not 1 <= value <= MAX_SIZE:
        raise ValueError(f"{name} must be of integers from 1 to {MAX_SIZE}, got {value!r}")
    return value


def _check_sizes(archive: zipfile.ZipFile, counts: dict[str, int], dtype: np.dtype) -> None:
    """Refuse what could not be in the file, before any room is made for it."""
    names = set(archive.namelist())
    for path, count in counts.items():
        if f"{path}.npy" not in names:
            raise ValueError(f"the array {path} is missing")
        info = archive.getinfo(f"{path}.npy")
        if info.compress_type:  # a small file could ask for much
            raise ValueError(f"the array {path} is compressed, which nnfast does not do")
        expected = count * dtype.itemsize
        if not expected < info.file_size <= expected + MAX_HEADER:
            raise ValueError(f"the array {path} has {info.file_size} bytes, not some {expected}")


def _read_array(raw: bytes) -> np.ndarray:
    """Return the array in the bytes of a .npy file; numpy.load would believe the header and make room for it."""
    file = io.BytesIO(raw)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    if dtype.hasobject or fortran or prod(shape) * dtype.itemsize != len(raw) - file.tell():
        raise ValueError(f"an array of shape {shape} and dtype {dtype} cannot be in {len(raw)} bytes")
    return np.frombuffer(raw, dtype, offset=file.tell()).reshape(shape)
