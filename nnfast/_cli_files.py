"""The files of the command line: reading data, and checking before any work that results can be written."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from math import prod
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

import nnfast
from nnfast._validation import as_array, lost_in_float32, require
from nnfast.files import saving
from nnfast.files.archives import Archive, read_npy
from nnfast.files.errors import short
from nnfast.files.saving import Saved
from nnfast.files.writing import KEPT_NAME, check_writable, replacing, target_of

if TYPE_CHECKING:
    import argparse

PLOT_ENDINGS = (".png", ".svg", ".pdf", ".jpg")
LARGE = 10.0  # mean size of a feature above which a warning is printed
TABLE_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
FEW_CLASSES = 1000  # integers below this are always taken as labels


class UsageError(Exception):
    """The request cannot be carried out; the message says why."""


class Data(NamedTuple):
    """Training and test samples; `n_classes` is 0 for a regression."""

    name: str
    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    n_classes: int

    def __str__(self) -> str:
        task = f"{self.n_classes} classes" if self.n_classes else f"outputs: {columns(self.y)}"
        return (
            f"{self.name}: {len(self.x):,} training samples, {len(self.x_test):,} test samples, "
            f"{columns(self.x)} features, {task}"
        )


def columns(array: np.ndarray) -> int:
    """Return the number of values in a row."""
    return prod(array.shape[1:])


def say(message: str) -> None:
    """Print to standard error, if that is possible."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(message, file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Print a warning to standard error."""
    say(f"nnfast: warning: {message}")


def check_written(outputs: Mapping[str, str | None], inputs: Sequence[str]) -> None:
    """Raise UsageError unless the results can be written, in the same place and way as they will be."""
    taken = {os.path.realpath(path): path for path in inputs if os.path.exists(path)}
    for option, path in outputs.items():
        if path is None:
            continue
        if not path:
            raise UsageError(f"{option}: the file name is empty")
        try:
            target = target_of(path)
            if target in taken:
                raise UsageError(f"{option}: {path} would overwrite {taken[target]}")
            taken[target] = path
            check_writable(path)
        except OSError as error:
            raise UsageError(f"{option}: cannot write {path}: {error.strerror or error}") from None


def write(path: str, writer: Callable[[str], object], *, rescue: bool = False) -> str | None:
    """Write a file and return where it is, None if nowhere. With `rescue`, other places are tried as well.

    Errors are printed to standard error.
    """
    try:
        writer(path)
        return path
    except Exception as error:
        message = f"nnfast: error: cannot write {path}: {_reason(error)}"
    for place in _other_places(path) if rescue else ():
        with suppress(Exception):
            writer(place)
            say(f"{message}; it was written to {place} instead")
            return place
    say(message)
    return None


def write_text(path: str, lines: Iterable[str]) -> None:
    """Write lines, which end in newlines, to a file."""
    with replacing(path) as file:
        file.writelines(line.encode("utf-8") for line in lines)


def save_figure(path: str, figure: Any) -> None:
    """Write a figure of matplotlib to a file of the kind that its name says."""
    with replacing(path) as file:
        figure.savefig(file, format=os.path.splitext(path)[1][1:].lower())


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _other_places(path: str) -> Iterator[str]:
    """Yield new files beside `path` and in the folder for temporary files."""
    import tempfile

    folder, name = os.path.split(path)
    stem, ending = os.path.splitext(name)
    name = f"{stem[:KEPT_NAME]}-{os.urandom(4).hex()}{ending[:KEPT_NAME]}"
    yield os.path.join(folder, name)
    with suppress(OSError):
        yield os.path.join(tempfile.gettempdir(), name)


def check_plot(path: str) -> None:
    """Raise UsageError unless a plot can be saved to `path`."""
    if not path.lower().endswith(PLOT_ENDINGS):
        raise UsageError(f"--plot: {path} must end in {', '.join(PLOT_ENDINGS)}")
    try:
        require("matplotlib.figure", "plot")
    except ImportError as error:
        raise UsageError(f"--plot: {error}") from None


def read_net(path: str) -> Saved:
    """Read a saved network, or one in an ONNX file; UsageError if that fails."""
    try:
        if path.lower().endswith(".onnx"):
            from nnfast.files import onnx

            return Saved("onnx", None, onnx.load(path))
        return saving.read(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except nnfast.LoadError as error:
        raise UsageError(str(error)) from None


def load_data(args: argparse.Namespace) -> Data:
    """Read the data for `nnfast train`."""
    if args.data_home is not None and args.data != "mnist":
        raise UsageError("--data-home can only be used with mnist")
    if args.data == "mnist":
        if args.validation is not None:
            raise UsageError("--validation cannot be used with mnist, which has its own test data")
        try:
            train, test = nnfast.datasets.load_mnist(args.data_home)
        except (OSError, ValueError, ImportError) as error:
            raise UsageError(str(error)) from None
        return Data("mnist", *train, *test, 10)
    if args.data == "digits":
        x, y = nnfast.datasets.load_digits()
        n_classes = 10
    elif args.data.lower().endswith(".npz"):
        x, y, n_classes = _load_samples(args.data)
    else:
        raise UsageError(
            f"DATA must be digits, mnist, a file FILE.npz, or a table (.csv, .tsv or .parquet), got {args.data!r}"
        )
    return _split(args.data, x, y, n_classes, 0.2 if args.validation is None else args.validation, args.seed)


def _split(name: str, x: np.ndarray, y: np.ndarray, n_classes: int, part: float, seed: int) -> Data:
    n_test = round(part * len(x))
    if part and not 0 < n_test < len(x):
        left = "train on" if n_test else "test with"
        raise UsageError(f"--validation {part:g} of {len(x)} sample(s) leaves none to {left}")
    order = np.random.default_rng(seed).permutation(len(x))
    test, train = order[:n_test], order[n_test:]
    return Data(name, x[train], y[train], x[test], y[test], n_classes)


def _load_samples(path: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Return x, y and the number of classes in y: 0 if y holds floats, unless these are one-hot rows."""
    arrays = _read(path)
    x, y = (_member(path, arrays, name) for name in ("x", "y"))
    if x.ndim < 2 or not x.size:
        raise UsageError(f"{path}: x must have shape (samples, features), got {x.shape}")
    if y.ndim == 0 or len(x) != len(y):
        raise UsageError(f"{path}: x has {len(x)} rows, but y has shape {y.shape}")
    _warn_of_lost_digits("x", x)
    x = _numbers(path, "x", x, np.dtype(np.float32))
    if _is_one_hot(y):
        n_classes = y.shape[1]
        y = y.argmax(axis=1)
        warn(f"each row of y holds a single 1 and otherwise zeros: they are taken as classes 0 to {n_classes - 1}")
    elif y.dtype.kind in "iub":
        n_classes = _count_classes(path, y)
        y = y.astype(np.int64)
    else:
        n_classes = 0
        y = _values(path, y)
    _warn_of_size("x", x)
    return x, y, n_classes


def _is_one_hot(y: np.ndarray) -> bool:
    if y.ndim != 2 or y.dtype.kind not in "fiub":
        return False
    return bool(((y == 0) | (y == 1)).all() and (np.count_nonzero(y, axis=1) == 1).all())


def _count_classes(path: str, labels: np.ndarray) -> int:
    if labels.ndim > 1:
        raise UsageError(f"{path}: integer y must hold labels of shape (samples,) or one-hot rows, got {labels.shape}")
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise UsageError(f"{path}: integer y must hold labels 0, 1, 2, ..., got {low}")
    if high == 0:
        raise UsageError(f"{path}: y has only label 0; there must be at least two classes")
    if high >= max(len(labels), FEW_CLASSES):
        raise UsageError(
            f"{path}: integer y must hold class labels, but {high} is too large for {len(labels)} samples: "
            "for a regression store y.astype(float)"
        )
    return high + 1


def _values(path: str, y: np.ndarray) -> np.ndarray:
    _warn_of_lost_digits("y", y)
    y = _numbers(path, "y", y, np.dtype(np.float32))
    if y.ndim > 2 or not y.size:
        raise UsageError(f"{path}: floating-point y must have shape (samples,) or (samples, outputs), got {y.shape}")
    if y.ndim == 1 and (y == np.rint(y)).all():
        warn("y holds whole numbers as floats, so this is a regression: if they are classes, store y.astype(int)")
    _warn_of_size("y", y)
    return y


def _warn_of_lost_digits(name: str, array: np.ndarray) -> None:
    lost = lost_in_float32(name, array)
    if lost:
        warn(lost)


def _warn_of_size(name: str, array: np.ndarray) -> None:
    size = np.abs(array).mean(axis=0, dtype=np.float64).max()  # float32 may overflow
    if size > LARGE:
        scaled = f"({name} - {name}.mean(0)) / {name}.std(0)"
        warn(f"{name} has values of about {size:,.0f}; networks learn best from values of about 1, such as {scaled}")


def load_rows(path: str, net: nnfast.Sequential) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the samples to predict, shaped for the network, and y if the file has it."""
    ending = os.path.splitext(path)[1].lower()
    if ending not in READERS:
        raise UsageError(f"FILE must end in {', '.join(READERS)}, got {path!r}")
    arrays = _read(path)
    x = _member(path, arrays, "x")
    shape = net.input_shape
    assert shape is not None  # a network in a file is built
    if x.shape[1:] not in (shape, (prod(shape),)):
        wanted = " or ".join(f"(n, {', '.join(map(str, s))})" for s in dict.fromkeys([shape, (prod(shape),)]))
        raise UsageError(f"{path}: for this network x must have shape {wanted}, got {x.shape}")
    return _numbers(path, "x", x, net.dtype).reshape(len(x), *shape), arrays.get("y")


def load_matrix(path: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the array x of a .npz or .npy file as it is, and y if the file has it."""
    arrays = _read(path)
    return _member(path, arrays, "x"), arrays.get("y")


def _numbers(path: str, name: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    try:
        return as_array(name, array, dtype, finite=True)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from None


def _member(path: str, arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise UsageError(f"{path}: there is no array {name!r} (numpy.savez(FILE, x=x, y=y) writes x and y)")
    return arrays[name]


def _read(path: str) -> dict[str, np.ndarray]:
    """Read the arrays x and y that the file has. Nothing in a file is ever executed."""
    ending = os.path.splitext(path)[1].lower()
    try:
        with open(path, "rb") as file:
            return READERS[ending](file)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except MemoryError:
        raise
    except Exception as error:  # the readers of zip and npy files raise many kinds of errors
        raise UsageError(f"{path} is not a {ending} file of numbers, or is damaged: {short(error)}") from None


def _read_npz(file: IO[bytes]) -> dict[str, np.ndarray]:
    with Archive(file) as archive:
        there = set(archive.namelist())
        arrays = {name: archive.read_array(name) for name in ("x", "y") if f"{name}.npy" in there}
    y = arrays.get("y")
    if y is not None and y.ndim == 2 and y.shape[1] == 1:
        arrays["y"] = y[:, 0]  # one value for each row, as a column
    return arrays


def _read_npy(file: IO[bytes]) -> dict[str, np.ndarray]:
    return {"x": read_npy(file)}


def _read_csv(file: IO[bytes]) -> dict[str, np.ndarray]:
    with io.TextIOWrapper(file, encoding="utf-8-sig") as lines:  # spreadsheets write a byte order mark
        return {"x": np.loadtxt(_rows(lines), delimiter=",", comments=None, ndmin=2)}


def _rows(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of numbers one by one: all of them at once would take much more memory than the file."""
    filled = (line for line in lines if line.strip())
    first = next(filled, "")
    cells = (match[0] for match in re.finditer("[^,]+", first))  # one by one: a line may be the whole file
    named = not any(map(is_number, cells))  # the names of the columns
    line = None if named else first
    for line in filled if named else chain([first], filled):
        if ";" in line:
            break
        yield line
    if ";" in (line or first):
        raise ValueError("numbers must be separated by commas, not semicolons")
    if line is None:
        raise ValueError("it has no rows")


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


READERS = {".npz": _read_npz, ".npy": _read_npy, ".csv": _read_csv}
