"""Saving and loading networks: the format is chosen by the name when saving, and by the contents when loading."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnfast._validation import check_bool, describe
from nnfast.files.errors import LoadError, short
from nnfast.files.state import Foreign, described, from_state, live_state
from nnfast.files.writing import replacing
from nnfast.losses import Custom, loss_from, resolve_loss

if TYPE_CHECKING:
    from io import BufferedReader

    from nnfast._network import Network
    from nnfast.layers import Layer


class Saved(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    format : str
        ``"npz"``, ``"safetensors"`` or ``"onnx"``.
    description : dict or None
        As in `nnfast.files.state`; None for ONNX, which has none.
    network : Network
    """

    format: str
    description: dict[str, Any] | None
    network: Network


def save(network: Network, path: str | os.PathLike[str], training_state: bool) -> None:
    """Implement `Sequential.save`."""
    from nnfast.files import npz, safetensors
    from nnfast.files.kinds import check_ending

    check_bool("training_state", training_state)
    check_ending("path", path)
    network.built  # noqa: B018  raises RuntimeError if there is nothing to save

    write = safetensors.write if os.fsdecode(path).lower().endswith(safetensors.ENDING) else npz.write
    with network.guard.whole:  # training waits in the meantime, so that no copies are needed
        description, arrays = live_state(network, training=training_state)
        text = described(description)
        with replacing(path) as file:
            write(file, text, arrays)


def load(path: str | os.PathLike[str], loss: Any = None) -> Network:
    """Implement `nnfast.load`."""
    given = None if loss is None else resolve_loss(loss)
    if given is not None and not isinstance(given, Custom):
        raise TypeError(f"loss must be a function or an object of nf.losses.Custom, got {describe(loss)}")
    network = read(path, given, rename=given is not loss).network
    if given is not None and not isinstance(network.output_loss.loss, Custom):
        raise ValueError(
            f"loss must be left out: {os.fsdecode(path)} was saved with loss {network.output_loss.name!r}, which is "
            "not a user's own function"
        )
    return network


def read(path: str | os.PathLike[str], loss: Custom | None = None, *, rename: bool = False) -> Saved:
    """Read a network. `loss` stands for a user's own function; with `rename`, it gets the name in the file.

    Raises
    ------
    LoadError
        If the file is not a network of nnfast, is damaged, or was written by a newer version.
    OSError, MemoryError
        If it cannot be read, or there is not enough memory for its contents.
    """
    from zipfile import BadZipFile

    path = os.fsdecode(path)
    with open(path, "rb") as file:
        try:
            form, description, layers, arrays = _contents(file)
            kept = loss_from(description["loss"])
            if loss is not None and isinstance(kept, Custom):
                kept = Custom(loss.function, name=kept.name) if rename else loss
            return Saved(form, description, from_state(description, arrays, layers, kept))
        except Foreign as error:
            raise LoadError(path, f"is not a network saved by nnfast: {short(error)}") from None
        except BadZipFile as error:
            raise LoadError(path, f"is not a network saved by nnfast, or is damaged: {short(error)}") from None
        except MemoryError:
            raise
        except KeyError as error:
            raise LoadError(path, f"is damaged: its description has no {short(error)}") from error
        except Exception as error:  # the readers of zip and npy files raise many kinds of errors on damage
            raise LoadError(path, f"is damaged: {short(error)}") from error


def _contents(file: BufferedReader) -> tuple[str, dict[str, Any], list[Layer], dict[str, np.ndarray]]:
    """Return the format of a file, and what it holds."""
    from nnfast.files import npz, safetensors
    from nnfast.files.kinds import OLD_TORCH, of_start

    start = file.read(len(OLD_TORCH))
    if start.startswith(npz.MARK):
        return "npz", *npz.read(file)
    if start.startswith(safetensors.MARK, safetensors.LENGTH):
        return "safetensors", *safetensors.read(file)
    raise Foreign(of_start(start) or "it is neither a NumPy archive (.npz) nor a safetensors file")
