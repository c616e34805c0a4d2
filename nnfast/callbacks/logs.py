"""Callbacks that log a training: to CSV files, with Python's logging, for TensorBoard."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from nnfast._description import Field
from nnfast._validation import check_bool, check_count, describe, require
from nnfast.callbacks.base import DeclaredCallback, Record, Records, as_path

if TYPE_CHECKING:
    from nnfast.training.history import History

OWN = ("epoch", "seconds", "learning_rate")  # columns before those of the history
SHARED = "which would write to the same files: give each network one of its own"


def last_rate(history: History) -> float | None:
    """Return the learning rate of the last step; None for L-BFGS, which has none."""
    rates = history.learning_rate
    return float(rates[-1]) if len(rates) else None


# ---- CSV


class _Table(Record):
    """The file of one training; its row numbers and seconds continue those in the file."""

    def __init__(self, file: TextIO, columns: Sequence[str]) -> None:
        self.file, self.columns = file, columns
        self.before, self.begin = 0, perf_counter()
        self.is_new = True  # whether the file is still to be replaced, or has no header yet


class CSVLog(DeclaredCallback):
    """Write a row for each epoch to a CSV file.

    The columns are ``epoch``, ``seconds`` since the beginning, ``learning_rate`` (of the last step; empty for L-BFGS),
    and all that the history records. Each row is written when its epoch ends, so that an interrupted training loses
    none; numbers are written with all digits. ``pandas.read_csv`` reads the file.

    Parameters
    ----------
    path : path
        The file. Its folder must exist.
    append : bool
        Continue an existing file, its count of epochs and its seconds, if it has the same columns. Otherwise it is
        replaced when the first epoch ends.

    Raises
    ------
    TypeError
        If an argument does not fit.
    OSError
        From `fit`, if the file cannot be written.
    ValueError
        From `fit`, before the first step, if the file to continue was not written by `CSVLog` or has other columns.
    RuntimeError
        From `fit_many`, if several networks would write the same file.

    Notes
    -----
    An incomplete last line, which a killed process may leave, is removed before the file is continued.

    Examples
    --------
    >>> import os, tempfile
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(2, activation="softmax")], input_shape=2, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "log.csv")
    ...     history = net.fit([[0, 1]], [0], epochs=3, callbacks=[nf.callbacks.CSVLog(path)], verbose=0)
    ...     with open(path) as file:
    ...         lines = file.read().splitlines()
    >>> lines[0], len(lines)
    ('epoch,seconds,learning_rate,loss,accuracy', 4)
    """

    path: str = Field(as_path)
    append: bool = Field(check_bool, default=False, kw_only=True)

    def settle(self) -> None:
        """Begin without a file."""
        self._records = Records[_Table](self, SHARED)

    def on_train_begin(self, net: Any, history: History) -> None:
        """Open the file."""
        columns = [*OWN, *history]
        file = open(self.path, "a", encoding="utf-8", newline="")  # noqa: SIM115  `close` closes it
        try:
            table = _Table(file, columns)
            if self.append:
                self._continue(table)
            self._records.begin(net, table)
        except BaseException:
            file.close()
            raise

    def _continue(self, table: _Table) -> None:
        """Continue after the last row of the file, if it has any."""
        with open(self.path, "rb") as file:
            content = file.read()
        if not content:
            return
        complete = content[: content.rfind(b"\n") + 1]
        rows = list(csv.reader(complete.decode("utf-8", "backslashreplace").splitlines()))
        if not rows:
            raise ValueError(f"append needs a file that CSVLog wrote, but {self.path!r} has no complete line")
        if rows[0] != table.columns:
            raise ValueError(
                f"append needs a file with the columns {', '.join(table.columns)}, which this fit records, but "
                f"{self.path!r} has {', '.join(rows[0])}"
            )
        if len(rows) > 1:
            try:
                table.before, table.begin = int(rows[-1][0]), table.begin - float(rows[-1][1])
            except (ValueError, IndexError):
                raise ValueError(
                    f"append needs a file that CSVLog wrote, but the last row of {self.path!r} is {rows[-1]}"
                ) from None
        if complete != content:
            table.file.truncate(len(complete))
        table.is_new = False

    def on_epoch_end(self, net: Any, history: History) -> None:
        """Write a row, and flush the file."""
        table = self._records.of[net]
        epoch, seconds = table.before + len(history["loss"]), round(perf_counter() - table.begin, 6)
        values = [history[name][-1] for name in table.columns[len(OWN) :]]
        rows: list[Sequence[Any]] = [[epoch, seconds, last_rate(history), *values]]
        if table.is_new:
            if os.fstat(table.file.fileno()).st_size:  # a device cannot be truncated
                table.file.truncate(0)
            rows.insert(0, table.columns)
            table.is_new = False
        csv.writer(table.file, lineterminator="\n").writerows(rows)
        table.file.flush()

    def close(self, net: Any, history: History) -> None:
        """Close the file."""
        table = self._records.end(net)
        if table is not None:
            table.file.close()


# ---- logging


def _logger(name: str, value: Any) -> str | logging.Logger | logging.LoggerAdapter[Any]:
    if not isinstance(value, (str, logging.Logger, logging.LoggerAdapter)):
        raise TypeError(f"{name} must be a logging.Logger or the name of one, got {describe(value)}")
    return value


def _level(name: str, value: Any) -> int:
    known = logging.getLevelNamesMapping()
    if isinstance(value, str) and value in known:
        return known[value]
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a level of logging, such as logging.INFO or 'INFO', got {describe(value)}")
    return value


class Logging(DeclaredCallback):
    """Log a line for each epoch with Python's `logging`.

    Parameters
    ----------
    logger : str or logging.Logger
        The logger, or its name.
    level : int or str
        The level of the lines.
    every : int
        Log after each epoch divisible by it, and after the last one.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Notes
    -----
    Python shows lines of level INFO only if it is configured to, as by ``logging.basicConfig(level=logging.INFO)``.

    Examples
    --------
    >>> import logging, sys
    >>> import nnfast as nf
    >>> logger = logging.getLogger("training")
    >>> logger.setLevel(logging.INFO)
    >>> logger.addHandler(logging.StreamHandler(sys.stdout))
    >>> net = nf.Sequential([nf.Dense(2, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
    >>> log = nf.callbacks.Logging(logger, every=2)
    >>> history = net.fit([[0, 1]], [0], epochs=4, optimizer=nf.SGD(0.1), callbacks=[log], verbose=0)
    epoch 2: loss 0.5981, accuracy 1.0000
    epoch 4: loss 0.4582, accuracy 1.0000
    """

    logger: Any = Field(_logger, default="nnfast")
    level: int = Field(_level, default=logging.INFO, kw_only=True)
    every: int = Field(check_count, default=1, kw_only=True)

    def on_epoch_end(self, net: Any, history: History) -> None:
        """Log the last values."""
        logger = logging.getLogger(self.logger) if isinstance(self.logger, str) else self.logger
        if logger.isEnabledFor(self.level):
            values = ", ".join(f"{name} {values[-1]:.4f}" for name, values in history.items())
            logger.log(self.level, "epoch %d: %s", len(history["loss"]), values)


# ---- TensorBoard


class _Board(Record):
    """The writer of one training."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer


class TensorBoard(DeclaredCallback):
    """Write what is recorded for TensorBoard. Requires tensorboardX (extra `tensorboard`).

    Parameters
    ----------
    folder : path
        Where to write: a new folder for each run, which is created if it does not exist.
    every : int
        Write after each epoch divisible by it, and after the last one.
    histograms : bool
        Also write a histogram of each array of parameters, except while it contains NaN or infinity.

    Raises
    ------
    ImportError
        If tensorboardX is missing; the message names the extra that installs it.
    TypeError, ValueError
        If an argument does not fit.
    OSError
        From `fit`, if the folder cannot be written.
    RuntimeError
        From `fit_many`, if several networks would write to the same folder.

    Examples
    --------
    >>> import nnfast as nf
    >>> board = nf.callbacks.TensorBoard("runs/first", histograms=True)  # doctest: +SKIP
    >>> history = net.fit(x, y, epochs=100, callbacks=[board])  # doctest: +SKIP

    In a terminal, ``tensorboard --logdir runs`` shows it.
    """

    folder: str = Field(as_path)
    every: int = Field(check_count, default=1, kw_only=True)
    histograms: bool = Field(check_bool, default=False, kw_only=True)

    def settle(self) -> None:
        """Raise ImportError if tensorboardX is missing."""
        require("tensorboardX", "tensorboard")
        self._records = Records[_Board](self, SHARED)

    def on_train_begin(self, net: Any, history: History) -> None:
        """Open a file in the folder."""
        board = _Board(None)
        self._records.begin(net, board)
        board.writer = require("tensorboardX", "tensorboard").SummaryWriter(self.folder)

    def on_epoch_end(self, net: Any, history: History) -> None:
        """Write the last values."""
        writer, epoch = self._records.of[net].writer, len(history["loss"])
        for name, values in history.items():
            writer.add_scalar(name, values[-1], epoch)
        rate = last_rate(history)
        if rate is not None:
            writer.add_scalar("learning_rate", rate, epoch)
        if self.histograms:
            for name, array in net.params.items():
                if np.isfinite(array).all():
                    writer.add_histogram(name, array, epoch)
        writer.flush()

    def close(self, net: Any, history: History) -> None:
        """Close the file."""
        board = self._records.end(net)
        if board is not None and board.writer is not None:
            board.writer.close()
