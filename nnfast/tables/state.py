"""A fitted preparation as what JSON can hold and arrays, and back. What is read may come from anybody.

The description of a column has these members:

==================  ==================================================================================================
name                a string; null in all columns if the table has no names
kind, reason        strings
n_missing           a count
parts               a list: ``"value"`` for a number, the parts of a date, empty otherwise
flagged             whether a flag says where a value is missing
categories          null, or a list of the categories in the order of their codes
missing_category    whether missing values have the code after the last category
==================  ==================================================================================================

The arrays are ``center`` and ``width``, float64 numbers for each part in the order of the columns; ``edges``, float32,
the edges of all parts one after another; and ``edge_counts``, int64, how many of them each part has.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnfast._validation import shown
from nnfast.tables.categories import INT_BITS, Categories
from nnfast.tables.dates import PARTS
from nnfast.tables.kinds import GIVEN, KINDS
from nnfast.tables.plan import VALUE, Input, Plan
from nnfast.tables.scaling import LIMIT

VERSION = 1
MOST_CODES = 2**24 - 1  # float32 holds them
MOST_COLUMNS = 2**24
RANGES = {"bins": (2, 1000), "one_hot": (0, MOST_CODES), "max_categories": (2, MOST_CODES)}
PARAMETERS = (*RANGES, "kinds")
MEMBERS = {
    "name": (str, type(None)),
    "kind": (str,),
    "reason": (str,),
    "n_missing": (int,),
    "parts": (list,),
    "flagged": (bool,),
    "categories": (list, type(None)),
    "missing_category": (bool,),
}
DTYPES = {"center": np.float64, "width": np.float64, "edges": np.float32, "edge_counts": np.int64}


def plan_state(plan: Plan) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Return the descriptions of the columns, and copies of the arrays."""
    columns = [
        {
            "name": given.name,
            "kind": given.kind,
            "reason": given.reason,
            "n_missing": given.n_missing,
            "parts": list(given.parts),
            "flagged": given.flagged,
            "categories": None if given.categories is None else list(given.categories.values),
            "missing_category": given.categories is not None and given.categories.missing,
        }
        for given in plan.inputs
    ]
    edges = [edges for edges in plan.edges if edges is not None]
    counts = [0 if edges is None else len(edges) for edges in plan.edges]
    return columns, {
        "center": plan.center.copy(),
        "width": plan.width.copy(),
        "edges": np.concatenate(edges) if edges else np.empty(0, np.float32),
        "edge_counts": np.array(counts, dtype=np.int64),
    }


def plan_from_state(config: Any, arrays: Any) -> tuple[dict[str, Any], Plan]:
    """Return the parameters of a preparation and what was fitted; ValueError if `config` and `arrays` do not fit."""
    _check_members("config", config, ("version", *PARAMETERS, "columns"))
    if config["version"] != VERSION or type(config["version"]) is not int:
        raise _wrong(f"version must be {VERSION}, got {shown(config['version'])}")
    for name, (least, most) in RANGES.items():
        if type(config[name]) is not int or not least <= config[name] <= most:
            raise _wrong(f"{name} must be an integer from {least} to {most}, got {shown(config[name])}")
    columns = config["columns"]
    if type(columns) is not list or not 0 < len(columns) <= MOST_COLUMNS:
        raise _wrong("columns must be a list of at least one column")
    inputs = [_input(f"columns[{i}]", column, config["max_categories"]) for i, column in enumerate(columns)]
    names = [given.name for given in inputs]
    if None in names and set(names) != {None}:
        raise _wrong("either all columns must have a name, or none")
    if None not in names and len(set(names)) < len(names):
        raise _wrong("columns must have different names")
    if not any(given.used for given in inputs):
        raise _wrong("at least one column must be used")
    center, width, edges = _arrays(arrays, sum(len(given.parts) for given in inputs), config["bins"])
    parameters = {name: config[name] for name in PARAMETERS} | {"kinds": _kinds(config["kinds"])}
    return parameters, Plan(inputs, center, width, edges)


def _wrong(what: str) -> ValueError:
    return ValueError(f"not a preparation: {what}")


def _check_members(name: str, given: Any, members: Any) -> None:
    if type(given) is not dict or set(given) != set(members):
        got = ", ".join(map(shown, list(given)[:20])) if type(given) is dict else type(given).__name__
        raise _wrong(f"{name} must have exactly {', '.join(members)}, got {got}")


def _kinds(kinds: Any) -> dict[Any, str] | None:
    if kinds is None:
        return None
    pairs: list[Any] = kinds if type(kinds) is list else [None]
    for pair in pairs:
        if type(pair) is not list or len(pair) != 2 or type(pair[0]) not in (str, int) or pair[1] not in GIVEN:
            raise _wrong("kinds must be null or a list of pairs, each of a name or position and a kind")
    return dict(pairs)


def _input(where: str, given: Any, max_categories: int) -> Input:
    """Return the checked description of a column."""
    _check_members(where, given, MEMBERS)
    for member, types in MEMBERS.items():
        if type(given[member]) not in types:
            raise _wrong(f"{where} has {member} {shown(given[member])}")
    kind, parts, categories = given["kind"], given["parts"], given["categories"]
    if kind not in KINDS:
        raise _wrong(f"{where} has an unknown kind, {shown(kind)}")
    if given["n_missing"] < 0:
        raise _wrong(f"{where} has a negative number of missing values")
    possible = {"number": VALUE, "date": PARTS}.get(kind, ())
    if not all(type(part) is str for part in parts) or parts != [part for part in possible if part in parts]:
        raise _wrong(f"{where} has parts that a column of kind {kind!r} does not have: {shown(parts)}")
    if given["flagged"] and not possible:
        raise _wrong(f"{where} is flagged, but of kind {kind!r}")
    if (categories is None) == (kind == "category") or (categories is None and given["missing_category"]):
        raise _wrong(f"{where} must have categories if it is of kind 'category', and only then")
    if categories is not None:
        _check_categories(where, categories, max_categories)
        categories = Categories(categories, missing=given["missing_category"])
        if categories.n_codes < 2:
            raise _wrong(f"{where} must have at least 2 codes, got 1")
    return Input(given["name"], kind, given["reason"], given["n_missing"], tuple(parts), given["flagged"], categories)


def _check_categories(where: str, categories: list[Any], most: int) -> None:
    if not 0 < len(categories) <= most:
        raise _wrong(f"{where} must have 1 to {most} categories, got {len(categories)}")
    for value in categories:
        finite = (
            np.isfinite(value) if type(value) is float else type(value) is not int or value.bit_length() <= INT_BITS
        )
        if type(value) not in (str, bool, int, float) or not finite:
            raise _wrong(f"{where} has {shown(value)} as a category")
    if len(set(categories)) < len(categories):
        raise _wrong(f"{where} has equal categories")


def _arrays(arrays: Any, n: int, bins: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray | None]]:
    """Return the checked scales, and the edges of each of `n` numbers."""
    _check_members("arrays", arrays, DTYPES)
    for name, dtype in DTYPES.items():
        array = arrays[name]
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
            raise _wrong(f"the array {name} must be a vector of {np.dtype(dtype)}")
        if name != "edges" and len(array) != n:
            raise _wrong(f"the array {name} must have {n} elements, got {len(array)}")
    center, width, edges, counts = (np.array(arrays[name], dtype) for name, dtype in DTYPES.items())
    if not np.isfinite(center).all():
        raise _wrong("the array center must be finite")
    if not (np.isfinite(width) & (width > 0)).all():
        raise _wrong("the array width must be finite and positive")
    if not ((counts == 0) | ((counts >= 3) & (counts <= bins + 1))).all() or sum(counts.tolist()) != len(edges):
        raise _wrong(f"edge_counts must be 0 or from 3 to {bins + 1}, and their sum {len(edges)}, the number of edges")
    if not (np.abs(edges) <= LIMIT).all():
        raise _wrong(f"the array edges must be from {-LIMIT:g} to {LIMIT:g}")
    parts = np.split(edges, np.cumsum(counts)[:-1]) if n else []
    if not all((part[1:] > part[:-1]).all() for part in parts):
        raise _wrong("the edges of each number must be ascending")
    return center, width, [part if part.size else None for part in parts]
