"""MNIST, from its original files: found on this machine, or downloaded once from a public mirror.

Every file is verified by the SHA-256 of its *uncompressed* contents, since mirrors compress differently; this also
distinguishes MNIST from other data sets that were published under the same file names.
"""

from __future__ import annotations

import os
import struct
import sys
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np

from nnfast._validation import require
from nnfast.datasets._idx import as_path, open_idx, read_data, read_header
from nnfast.datasets._images import arrange, check_options
from nnfast.files.writing import replacing

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)


class File(NamedTuple):
    """One of the original files: uint8 data of `shape`; `sha256` is of the uncompressed file."""

    name: str
    shape: tuple[int, ...]
    sha256: str


FILES = (
    File(
        "train-images-idx3-ubyte",
        (60_000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    File("train-labels-idx1-ubyte", (60_000,), "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    File(
        "t10k-images-idx3-ubyte",
        (10_000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    File("t10k-labels-idx1-ubyte", (10_000,), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)


def load_mnist(
    data_home: str | os.PathLike[str] | None = None,
    normalize: bool = True,
    flatten: bool = True,
    one_hot: bool = False,
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return MNIST: 60,000 handwritten digits to train on and 10,000 to test with, of 28x28 pixels.

    The four original IDX files, compressed with gzip or not, are read from the folder ``mnist`` in `data_home`. Missing
    files are downloaded from a public mirror, which requires pooch (``pip install 'nnfast[data]'``), and kept there for
    the next time: 12 MB in all. Dimensions, sizes and checksums of all files are verified.

    Parameters
    ----------
    data_home : str or path-like, optional
        The folder that contains the folder ``mnist``. By default the value of the environment variable
        ``NNFAST_DATA_HOME``, or if it is not set, ``nnfast`` in the user's cache folder: ``$XDG_CACHE_HOME`` or
        ``~/.cache``, on macOS ``~/Library/Caches``, on Windows ``%LOCALAPPDATA%``.
    normalize : bool
        Scale the pixels to [0, 1]; otherwise they are from 0 (paper) to 255 (ink).
    flatten : bool
        Make each image a row of 784 pixels, top row first; otherwise it stays 28x28.
    one_hot : bool
        Return each label as a row with a one in the column of its digit.

    Returns
    -------
    (x, y) : tuple of numpy.ndarray
        Training data. The images `x` have shape (60000, 784) or (60000, 28, 28), float32 if normalized, else uint8. The
        digits `y` are int64 of shape (60000,), or float32 of shape (60000, 10) if one-hot.
    (x_test, y_test) : tuple of numpy.ndarray
        Test data: the same for 10,000 digits by other writers.

    Raises
    ------
    TypeError
        If `data_home` is not a path, or an option is neither True nor False.
    ValueError
        If a file is damaged, or is not MNIST's.
    FileNotFoundError
        If a file is missing and no mirror provides it; the message says which files to put where.
    ImportError
        If a file is missing and pooch is not installed; the message says which files to put where.
    OSError
        If a file cannot be read, or `data_home` cannot be written to.

    Notes
    -----
    Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits". Licence of the data: CC BY-SA 3.0.
    It is not part of nnfast.

    Examples
    --------
    >>> from nnfast.datasets import load_mnist
    >>> (x, y), (x_test, y_test) = load_mnist()  # doctest: +SKIP
    >>> x.shape, x_test.shape  # doctest: +SKIP
    ((60000, 784), (10000, 784))
    """
    check_options(normalize=normalize, flatten=flatten, one_hot=one_hot)
    home = default_data_home() if data_home is None else as_path("data_home", data_home)
    folder = os.path.join(home, "mnist")
    x, y, x_test, y_test = (load_file(file, folder) for file in FILES)
    return (
        arrange(x, y, 255, normalize=normalize, flatten=flatten, one_hot=one_hot),
        arrange(x_test, y_test, 255, normalize=normalize, flatten=flatten, one_hot=one_hot),
    )


def default_data_home() -> str:
    """Return the default folder for data: the one in the environment, or else one in the user's cache folder."""
    if home := os.environ.get("NNFAST_DATA_HOME"):
        return os.path.expanduser(home)
    if sys.platform == "win32":
        cache = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        cache = "~/Library/Caches"
    else:
        cache = os.environ.get("XDG_CACHE_HOME", "")
        cache = cache if os.path.isabs(cache) else "~/.cache"  # XDG: relative paths are to be ignored
    return os.path.join(os.path.expanduser(cache), "nnfast")


def load_file(file: File, folder: str) -> np.ndarray:
    """Return the data of `file` from `folder`, downloaded if it is not there."""
    for name in (file.name, f"{file.name}.gz"):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            try:
                return read(path, file)
            except ValueError as error:
                raise ValueError(f"{path}: {error}. {instead(path)}") from error
    return fetch(file, folder)


def instead(path: str) -> str:
    """Say what to do about a file that has a name of MNIST's but is not MNIST's."""
    return (
        "If it is Fashion-MNIST or another data set that was published under MNIST's file names, "
        f"read it with nnfast.datasets.read_idx({path!r}). Otherwise remove it, and load_mnist will download the "
        "original."
    )


def read(path: str, file: File) -> np.ndarray:
    """Return the data at `path`; ValueError unless it is `file`, byte for byte."""
    import hashlib  # imported here to keep `import nnfast` fast

    with open_idx(path) as stream:
        dtype, shape = read_header(stream)
        if dtype != np.uint8 or shape != file.shape:
            raise ValueError(f"not MNIST's: {dtype.name} of shape {shape} instead of uint8 of shape {file.shape}")
        data = read_data(stream, dtype, shape)
    digest = hashlib.sha256(struct.pack(f">4B{len(shape)}I", 0, 0, 0x08, len(shape), *shape))  # the header just read
    digest.update(data.data)
    if digest.hexdigest() != file.sha256:
        raise ValueError(
            f"damaged, or another data set: the SHA-256 of its contents is {digest.hexdigest()}, that of MNIST is "
            f"{file.sha256}"
        )
    return data


def fetch(file: File, folder: str) -> np.ndarray:
    """Return the data of `file` from the first mirror that provides it intact, and store it in `folder`."""
    missing = f"MNIST's {file.name} is not in {folder}"
    try:
        pooch = require("pooch", "data")
    except ImportError as error:
        raise ImportError(f"{missing}, and cannot be downloaded: {error}. {by_hand(folder)}") from error
    name, failures = f"{file.name}.gz", []
    with ExitStack() as stack:
        try:
            os.makedirs(folder, exist_ok=True)
            part = stack.enter_context(replacing(os.path.join(folder, name)))
        except OSError as error:
            raise OSError(f"{missing}, and it cannot be stored there: {error}. Choose another data_home.") from error
        for mirror in MIRRORS:
            try:
                part.seek(0)
                part.truncate()
                pooch.HTTPDownloader(progressbar=shows_progress(), chunk_size=2**16)(mirror + name, part, None)
                part.flush()
                return read(part.name, file)
            except (OSError, ValueError) as error:
                failures.append(f"  {mirror}{name}: {error}\n")
        raise FileNotFoundError(f"{missing}, and no mirror provided it:\n{''.join(failures)}{by_hand(folder)}")


def shows_progress() -> bool:
    """Whether a progress bar can be drawn and somebody may see it."""
    from importlib.util import find_spec

    return sys.stderr is not None and sys.stderr.isatty() and find_spec("tqdm") is not None


def by_hand(folder: str) -> str:
    """Say how to obtain the files by hand."""
    names = ", ".join(file.name for file in FILES)
    mirrors = " and ".join(MIRRORS)
    return f"Or put these files, uncompressed or as .gz, into {folder}: {names}. They are available at {mirrors}"
