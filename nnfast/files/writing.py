"""Atomic replacement of files: a reader sees either the old file or the complete new one, never a part of it.

A file is written under a temporary name in the folder of its target, and replaces the target when it is complete. A
process that is killed leaves its temporary file behind; the next one that writes to the same target removes it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

ENDING = ".part"
TEMPORARY = rf"\.[0-9a-f]{{8}}\.[0-9a-f]{{8}}{re.escape(ENDING)}\Z"  # how a temporary name ends; compiled when used
KEPT_NAME = 20  # characters of the target's name kept in temporary names, to recognize it by
FORGOTTEN = 3600.0  # seconds after which a temporary file counts as abandoned, where there are no locks


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when the block ends, and is removed if the block raises.

    A link stays a link: its target is replaced. The new contents are on disk before the old file is gone.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    target = target_of(path)
    remove_leftovers(target)
    file = _create(target)
    try:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            with suppress(OSError):  # keep the permissions of the old file, if there is one
                os.chmod(file.name, stat.S_IMODE(os.stat(target).st_mode))
            if sys.platform == "win32":  # an open file cannot be renamed on Windows
                file.close()
            os.replace(file.name, target)  # while the lock is held
        finally:
            with suppress(Exception):  # it tries again to write what it could not
                file.close()
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(file.name)
        raise


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Wait until the name of a file that was replaced is on disk too, before another file may be removed for it."""
    if sys.platform == "win32":  # a folder cannot be opened there
        return
    folder = os.open(os.path.dirname(target_of(path)), os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems cannot do it
            os.fsync(folder)
    finally:
        os.close(folder)


def target_of(path: str | os.PathLike[str]) -> str:
    """Return the file that would be replaced, with links resolved.

    Raises
    ------
    OSError
        If no file can be there: its folder is missing, or it is a folder or device.
    """
    name = os.fsdecode(path)
    if "\0" in name:
        raise OSError(errno.EINVAL, "the name contains a null character", name)
    target = os.path.realpath(name)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        own = os.path.dirname(name)
        missing = folder if os.path.isdir(own or os.curdir) else own  # the folder of the link's target, or of the name
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {missing}", name)
    if os.path.basename(name) in ("", os.curdir, os.pardir) or (os.path.exists(target) and not os.path.isfile(target)):
        raise OSError(errno.EISDIR, "it is a folder or device, not a file", name)
    if os.path.islink(target):
        raise OSError(errno.ELOOP, "it is a link that leads back to itself", name)
    return target


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check that `replacing` can write to `path`, in the same folder and under the same names.

    Raises
    ------
    OSError
        If it cannot.
    """
    target = target_of(path)
    file = _create(target)
    file.close()
    os.remove(file.name)
    try:
        with open(target, "xb") as new:
            made = os.fstat(new.fileno())
        if os.path.samestat(made, os.stat(target)):  # and not one that another process has just created
            os.remove(target)
    except FileExistsError:
        with open(target, "ab"):  # a file that is read-only is not meant to be replaced
            pass


def remove_leftovers(target: str) -> None:
    """Remove the temporary files for `target` of processes that no longer exist."""
    remove_leftovers_in(*os.path.split(_start_of_name(target)))


def remove_leftovers_in(folder: str, start: str) -> None:
    """Remove the temporary files in a folder, for any targets, of processes that no longer exist.

    `start` is how their names begin, with at most `KEPT_NAME` characters of those of the targets.
    """
    with suppress(OSError), os.scandir(folder) as entries:  # what cannot be listed stays
        for entry in entries:
            if entry.name.startswith(start) and re.search(TEMPORARY, entry.name):
                with suppress(OSError):
                    _remove_if_forgotten(entry)


def _remove_if_forgotten(entry: os.DirEntry[str]) -> None:
    if not entry.is_file(follow_symlinks=False):
        return
    if sys.platform == "win32":  # an open file cannot be removed on Windows
        if time.time() - entry.stat().st_mtime > FORGOTTEN:
            os.remove(entry.path)
        return
    file = os.open(entry.path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails if its writer, a thread or a process, is alive
        os.remove(entry.path)
    finally:
        os.close(file)


def _create(target: str) -> BinaryIO:
    """Open a temporary file for `target`; its lock tells `remove_leftovers` that it is being written."""
    while True:
        file = open(f"{_start_of_name(target)}{os.urandom(4).hex()}{ENDING}", "x+b")  # noqa: SIM115  it outlives this function
        if sys.platform == "win32":
            return file
        with suppress(OSError):  # where there are no locks, nobody can get one and remove the file
            fcntl.flock(file, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(file.name)):
                return file
        file.close()  # it was removed before it was locked


def _start_of_name(target: str) -> str:
    """Return the start of the names of temporary files for `target`, short enough for any file system."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f"{name[:KEPT_NAME]}.{zlib.crc32(os.fsencode(name)):08x}.")
