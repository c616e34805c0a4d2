"""JSON from untrusted sources: what parsing takes is bounded before it begins, or the text is read piece by piece."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

# Upper bounds in bytes on what each of these characters adds to the parsed objects. A text that is not hostile takes
# much less: its names repeat, and most of its characters are in names and numbers.
COSTS = {"{": 240, "[": 72, ",": 72, ":": 150}
RATIO = 5  # bytes of memory for each character
ALLOWANCE = 2**19  # bytes of memory in addition
MAX_TEXT = 2**17  # characters of a name or a text in an object: a message could repeat them several times
BLANKS = re.compile(r"[ \t\n\r]*")


def parse(name: str, text: str, allowance: int = 0) -> Any:
    """Return the contents of a JSON text.

    Parameters
    ----------
    name : str
        What it is, for messages.
    text : str
    allowance : int
        Bytes of memory that it may take in addition to what its length justifies.

    Raises
    ------
    ValueError
        If it is not valid JSON, an object has two members of the same name or a text of more than `MAX_TEXT`
        characters, or it could take far more memory than its length justifies.
    """
    import json

    if sum(cost * text.count(character) for character, cost in COSTS.items()) > RATIO * len(text) + (
        ALLOWANCE + allowance
    ):
        raise ValueError(f"{name} has too many values for its length of {len(text)}")
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} is not valid JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; ValueError if two members have the same name: programs differ in which one they read."""
    for name, value in pairs:
        _check_texts(name)
        _check_texts(value)
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise twice(name)
            seen.add(name)
    return found


def _check_texts(value: Any) -> None:
    """Raise ValueError if a text, or one in a list, is too long; those in objects were checked when they ended."""
    values = [value]
    while values:
        value = values.pop()
        if type(value) is str and len(value) > MAX_TEXT:
            raise ValueError(f"a text in it has {len(value)} characters, more than {MAX_TEXT}")
        if type(value) is list:
            values += [one for one in value if type(one) in (str, list)]


def twice(name: str) -> ValueError:
    """Return the error for two members of the same name."""
    return ValueError(f"there are two members named {name[:100]!r}")


class Pieces:
    """A JSON text that is read piece by piece, of which no more than one need be in memory at the same time.

    All methods raise ValueError if the text is not valid JSON.

    Parameters
    ----------
    name : str
        What it is, for messages.
    text : str
    """

    def __init__(self, name: str, text: str) -> None:
        import json

        self.text = text
        self._name = name
        self._decoder = json.JSONDecoder(object_pairs_hook=_unique)

    def members(self, at: int, member: Callable[[str, int], int]) -> int:
        """Read the object that begins at a position.

        Parameters
        ----------
        at : int
        member : callable
            Called with the name of each member and the position of its value; returns where the value ends.

        Returns
        -------
        int
            Where the object ends.
        """
        at = self._after("{", at)
        if self.text.startswith("}", at):
            return at + 1
        while True:
            name, at = self.string(at)
            at = self._blanks(member(name, self._after(":", at)))
            if self.text.startswith("}", at):
                return at + 1
            at = self._after(",", at)

    def string(self, at: int) -> tuple[str, int]:
        """Return the text in quotes that begins at a position, and where it ends."""
        if not self.text.startswith('"', at):
            raise self._invalid("expected a text in quotes", at)
        found, end = self._decoded(self.text, at, at)
        return str(found), end

    def value(self, at: int, most: int) -> tuple[Any, int]:
        """Return the value of at most so many characters that begins at a position, and where it ends."""
        piece = self.text[at : at + most]
        try:
            found, length = self._decoded(piece, 0, at)
        except ValueError:
            if len(piece) < most:
                raise
            raise ValueError(
                f"{self._name} has a value of more than {most} characters, or one that is not valid JSON, "
                f"at character {at}"
            ) from None
        return found, at + length

    def end(self, at: int) -> None:
        """Check that nothing follows but blanks."""
        if (at := self._blanks(at)) < len(self.text):
            raise self._invalid("expected nothing more", at)

    def _decoded(self, text: str, at: int, place: int) -> tuple[Any, int]:
        """Return the value that begins at a position, which in the whole text is `place`, and where it ends."""
        import json

        try:
            return self._decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise self._invalid(error.msg, place + error.pos - at) from None
        except RecursionError:
            raise ValueError(f"{self._name} is nested too deeply") from None

    def _after(self, character: str, at: int) -> int:
        """Return the position after a character and the blanks around it."""
        at = self._blanks(at)
        if not self.text.startswith(character, at):
            raise self._invalid(f"expected {character!r}", at)
        return self._blanks(at + 1)

    def _blanks(self, at: int) -> int:
        found = BLANKS.match(self.text, at)
        assert found is not None  # it may be empty
        return found.end()

    def _invalid(self, reason: str, at: int) -> ValueError:
        return ValueError(f"{self._name} is not valid JSON: {reason} at character {at}")
