"""The callback that saves the network during training."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from string import Formatter
from typing import TYPE_CHECKING, Any

from nnfast._description import Field
from nnfast._validation import check_count, check_float, check_quantity, choose
from nnfast.callbacks.base import (
    DeclaredCallback,
    Record,
    Records,
    as_path,
    direction_or_none,
    sign_of,
)
from nnfast.files.kinds import check_ending
from nnfast.files.writing import KEPT_NAME, remove_leftovers_in, sync_folder, target_of
from nnfast.training.recorded import check_recorded

if TYPE_CHECKING:
    from nnfast.training.history import History

SAVE = ("last", "best", "all")
UNITS = ("epochs", "steps")
COUNTS = ("epoch", "step", "epochs_trained")  # fields of a path that are not entries of the history

_Parts = tuple[tuple[str, str | None, str], ...]  # literal text, the name of a field after it or None, its format


def _path(name: str, value: Any) -> str:
    """Return the path as text; TypeError or ValueError unless its fields can be filled in."""
    text = as_path(name, value)
    check_ending(name, text)
    try:
        parts = _parts(text)
        _filled(parts, {field: 1 if field in COUNTS else 1.0 for field in _fields(parts)})
    except ValueError as error:
        raise ValueError(
            f"{name} must have fields such as {{epoch}} or {{val_loss:.4f}}, got {text!r}: {error}"
        ) from None
    return text


def _parts(path: str) -> _Parts:
    parts = []
    for text, field, form, conversion in Formatter().parse(path):
        if conversion or field == "" or "{" in (form or ""):
            raise ValueError("a field is a name, with or without a colon and a format; write other braces twice")
        parts.append((text, field, form or ""))
    return tuple(parts)


def _fields(parts: _Parts) -> list[str]:
    return [field for _, field, _ in parts if field is not None]


def _filled(parts: _Parts, values: dict[str, float]) -> str:
    """Return the path with its fields filled in; no attribute of anything is looked up."""
    return "".join(text + ("" if field is None else format(values[field], form)) for text, field, form in parts)


def _number(name: str, value: Any) -> float | None:
    return None if value is None else check_float(name, value)


def _monitor(name: str, value: Any) -> str | None:
    return None if value is None else check_quantity(name, value)


class _Saving(Record):
    """The checkpoints of one training."""

    def __init__(self, sign: float, limit: float, epochs: int) -> None:
        self.sign, self.limit = sign, limit
        self.path = ""  # of the latest checkpoint
        self.steps = self.saved = 0  # steps done, and saved; only if `unit` says so
        self.epochs = epochs  # completed when the last step began


class Checkpoint(DeclaredCallback):
    """Save the network during training, with all that is needed to continue: see `Sequential.save` and `load`.

    Parameters
    ----------
    path : path
        As for `Sequential.save`, usually with the extension ``.npz`` or ``.safetensors``. Fields are filled in:
        ``{epoch}`` and ``{step}``, counted from 1 in each `fit`, ``{epochs_trained}``, which counts the epochs of all
        fits, and entries of the history, as in ``net-{epoch:03}-{val_loss:.4f}.npz``. The folder must exist.
    save : {"last", "best", "all"}
        ``"last"`` keeps the latest checkpoint, ``"best"`` the one with the best value of `monitor`. If the path has
        fields, the previous one is removed once the new one is on disk. ``"all"`` keeps all of them.
    monitor : str, optional
        The entry of the history that determines the best, by default ``"val_loss"``; only with ``save="best"``.
    direction : {"lower", "higher"}, optional
        Which values are better, by default as for the loss or the metric; only with ``save="best"``.
    initial_best : float, optional
        Save only if the value is better than this, for example to keep the best checkpoint of an earlier `fit` that
        this one continues; only with ``save="best"``.
    every : int
        Save after each epoch (or step) divisible by it, and at the end of the training.
    unit : {"epochs", "steps"}
        What `every` counts. With steps, Python is called after each, and `path` may not use entries of the history.

    Attributes
    ----------
    best : float or None
        The best value so far in the last `fit`, initially `initial_best`; None if there is none.
    saved : str or None
        The file of the latest checkpoint of the last `fit`; None if there is none.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of its range or does not apply, or the extension is that of another format; from `fit`,
        before the first step, if `monitor` or a field of the path is not recorded.
    OSError
        From `fit`, if the folder does not exist, or the file cannot be written.
    RuntimeError
        From `fit_many`, if several networks would write the same files.

    Notes
    -----
    A file is replaced only when the new one is complete and on disk, so that a crash or a killed process always leaves
    a whole checkpoint. It may also leave a temporary file that ends in ``.part``, which is removed when a training with
    the same path begins.

    Examples
    --------
    >>> import os, tempfile
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(2, activation="softmax")], input_shape=2, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     best = nf.callbacks.Checkpoint(os.path.join(folder, "net-{epoch}.npz"), save="best", monitor="loss")
    ...     history = net.fit([[0, 1]], [0], epochs=5, callbacks=[best], verbose=0)
    ...     os.listdir(folder)
    ...     again = nf.load(best.saved)
    ['net-5.npz']
    """

    path: str = Field(_path)
    save: str = Field(lambda name, value: choose(name, value, SAVE), default="last", kw_only=True)
    monitor: str | None = Field(_monitor, default=None, kw_only=True)
    direction: str | None = Field(direction_or_none, default=None, kw_only=True)
    initial_best: float | None = Field(_number, default=None, kw_only=True)
    every: int = Field(check_count, default=1, kw_only=True)
    unit: str = Field(lambda name, value: choose(name, value, UNITS), default="epochs", kw_only=True)

    def settle(self) -> None:
        """Raise ValueError if arguments do not fit each other."""
        parts = _parts(self.path)
        if self.save == "all" and not _fields(parts):
            raise ValueError(
                f'path needs a field with save="all", such as {{epoch}}, or each file would replace the previous one, '
                f"got {self.path!r}"
            )
        for name in ("monitor", "direction", "initial_best"):
            if self.save != "best" and getattr(self, name) is not None:
                raise ValueError(f'{name} needs save="best", got save={self.save!r}')
        if self.unit == "steps":
            if self.save == "best":
                raise ValueError('save="best" needs unit="epochs", since values are recorded for epochs')
            others = [field for field in _fields(parts) if field not in COUNTS]
            if others:
                raise ValueError(
                    f'path may only have the fields {", ".join(COUNTS)} with unit="steps", got {others[0]!r}'
                )
        one = "which would write to the same files: give each network one of its own"
        self._parts, self._records = parts, Records[_Saving](self, one)

    @property
    def best(self) -> float | None:
        """The best value so far."""
        record = self._records.latest
        return None if record is None or abs(record.limit) == float("inf") else record.sign * record.limit

    @property
    def saved(self) -> str | None:
        """The file of the latest checkpoint."""
        return (None if self._records.latest is None else self._records.latest.path) or None

    def hooks(self) -> Collection[str]:
        """Return the methods to call: those for epochs or those for steps."""
        others = ("on_epoch_begin", "on_step_end", "on_train_end") if self.unit == "epochs" else ("on_epoch_end",)
        return [name for name in super().hooks() if name not in others]

    def on_train_begin(self, net: Any, history: History) -> None:
        """Check that the checkpoints can be written."""
        sign, limit = 1.0, float("inf")
        if self.save == "best":
            sign = sign_of(self.monitor or "val_loss", self.direction, history)
            limit = limit if self.initial_best is None else sign * self.initial_best
        fields = _fields(self._parts)
        for field in fields:
            if field not in COUNTS:
                check_recorded("a field of path", field, history)
        folder = os.path.dirname(target_of(_filled(self._parts, {f: 1 if f in COUNTS else 1.0 for f in fields})))
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"path must be in a writable folder, got {self.path!r}")
        remove_leftovers_in(folder, os.path.basename(self._parts[0][0])[:KEPT_NAME])
        self._records.begin(net, _Saving(sign, limit, net.epochs_trained))

    def on_epoch_end(self, net: Any, history: History) -> None:
        """Save, if it is the best or all are saved."""
        record, epoch = self._records.of[net], len(history["loss"])
        if self.save == "best":
            value = record.sign * history[self.monitor or "val_loss"][-1]
            if value < record.limit:
                self._write(net, history, record, epoch)
                record.limit = value
            return
        self._write(net, history, record, epoch)

    def on_step_end(self, net: Any, history: History) -> None:
        """Save if it is due; not yet if the step ends an epoch, which schedules have not counted."""
        record, epochs = self._records.of[net], net.epochs_trained
        record.steps += 1
        if record.steps % self.every == 0 and epochs == record.epochs:
            self._write(net, history, record, len(history["loss"]) + 1)
        record.epochs = epochs

    def on_epoch_begin(self, net: Any, history: History) -> None:
        """Save if it was due after the last step of the previous epoch."""
        record = self._records.of[net]
        if record.steps % self.every == 0 and record.saved < record.steps:
            self._write(net, history, record, len(history["loss"]))

    def on_train_end(self, net: Any, history: History) -> None:
        """Save the last step, unless it has been saved."""
        record = self._records.of[net]
        if record.saved < record.steps:
            self._write(net, history, record, len(history["loss"]))

    def _write(self, net: Any, history: History, record: _Saving, epoch: int) -> None:
        """Save the network, and remove the checkpoint that it replaces."""
        step = record.steps or len(history.step_loss)
        values: dict[str, Any] = {"step": step, "epoch": epoch, "epochs_trained": net.epochs_trained}
        for field in _fields(self._parts):
            if field not in COUNTS:
                values[field] = history[field][-1]
        path, before = _filled(self._parts, values), record.path
        net.save(path)
        record.path, record.saved = path, record.steps
        if self.save != "all" and before and os.path.realpath(before) != os.path.realpath(path):
            sync_folder(path)
            with suppress(FileNotFoundError):
                os.remove(before)

    def close(self, net: Any, history: History) -> None:
        """End the record."""
        self._records.end(net)
