"""Detect the command line, which exits with a message where a program gets an exception."""

from __future__ import annotations

import os
import sys


def is_command() -> bool:
    """Return whether this process was started as ``nnfast`` or ``python -m nnfast``."""
    if not sys.argv:
        return False
    if sys.argv[0] == "-m":  # while Python looks for the module
        return "nnfast" in sys.orig_argv[: len(sys.orig_argv) - len(sys.argv) + 1]
    return os.path.splitext(os.path.basename(sys.argv[0]))[0] in ("nnfast", "nnfast-script")


def exit_if_command(error: ImportError) -> None:
    """Exit with code 2 if this process is the command line: the kernels cannot be used as the environment requests."""
    if is_command():
        if sys.stderr is not None:
            print(f"nnfast: error: {error}", file=sys.stderr)
        raise SystemExit(2)
