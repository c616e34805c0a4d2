"""The error that says why a file cannot be loaded, and the length of its message."""

from __future__ import annotations

MAX_MESSAGE = 500  # characters


class LoadError(ValueError):
    """A file cannot be loaded: it is damaged, not of a known kind, too new, or exceeds a limit.

    Attributes
    ----------
    path : str
        The file.
    reason : str
        What is wrong, and where in the file. The message is `path` followed by `reason`.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)  # both, or the error could not be unpickled in another process
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        """Return the message."""
        return f"{self.path} {self.reason}"


def short(error: Exception) -> str:
    """Return the message of an error, which may repeat much of a file, shortened to a readable length."""
    text = str(error)
    return text if len(text) <= MAX_MESSAGE else f"{text[:MAX_MESSAGE]}..."
