"""JSON from untrusted sources: the memory that parsing could take is estimated from the text before it is parsed."""

from __future__ import annotations

from typing import Any

# Upper bounds in bytes on what each of these characters adds to the parsed objects. A text that is not hostile takes
# much less: its names repeat, and most of its characters are in names and numbers.
COSTS = {"{": 240, "[": 72, ",": 72, ":": 150}
RATIO = 16  # bytes of memory for each character
ALLOWANCE = 2**24  # bytes of memory in addition


def parse(name: str, text: str) -> Any:
    """Return the contents of a JSON text.

    Raises
    ------
    ValueError
        If it is not valid JSON, an object has two members of the same name, or it could take far more memory than its
        length justifies.
    """
    import json

    check_cost(name, text)
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} is not valid JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply") from None


def check_cost(name: str, text: str) -> None:
    """Raise ValueError if parsing a text could take far more memory than its length justifies."""
    if sum(cost * text.count(character) for character, cost in COSTS.items()) > RATIO * len(text) + ALLOWANCE:
        raise ValueError(f"{name} has too many values for its length of {len(text)}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; ValueError if two members have the same name: programs differ in which one they read."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"there are two members named {name[:100]!r}")
            seen.add(name)
    return found
