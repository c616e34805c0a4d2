"""Table models as ONNX files: one graph that prepares rows, runs the networks, and says what their outputs mean."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from nnfast._validation import shown
from nnfast.files.onnx.export import write_network
from nnfast.files.onnx.formulas import Formula, X
from nnfast.files.onnx.schema import COLUMNS, Tensor
from nnfast.files.onnx.writer import ELEMENTS, ML, Writer
from nnfast.files.protobuf import Message
from nnfast.files.writing import replacing
from nnfast.sequential import Sequential, network_of
from nnfast.tables.categories import Categories
from nnfast.tables.dates import DIGITS, PERIODS
from nnfast.tables.plan import Input, Plan
from nnfast.tables.scaling import LIMIT
from nnfast.tables.targets import TINY, Classes, Numbers, Target

DOUBLE, SINGLE = np.dtype(np.float64), np.dtype(np.float32)
OUTPUTS = ("label", "probabilities", "prediction", "quantiles")
ROUNDING = 10.0**DIGITS


def save(
    path: str | os.PathLike[str], plan: Plan, target: Target, networks: Sequence[Sequential], linear: Sequential | None
) -> None:
    """Implement `TableModel.to_onnx`."""
    target.config()  # which rejects labels that are neither text nor numbers
    try:
        message = _model(plan, target, networks, linear)
    except UnicodeEncodeError as error:
        raise ValueError(f"text must be valid in UTF-8, got {shown(error.object)}") from None
    with replacing(path) as file:
        message.write(file)


def _model(plan: Plan, target: Target, networks: Sequence[Sequential], linear: Sequential | None) -> Message:
    writer = Writer(DOUBLE)
    rows = _Rows(writer, plan)
    names = {name: writer.free(name) for name in OUTPUTS}  # before nodes can take them
    raw = rows.prepared()
    writer.dtype = SINGLE
    several = len(networks) > 1
    outputs = [
        write_network(writer, network_of(net), raw, f"{i}." if several else "") for i, net in enumerate(networks)
    ]
    if linear is not None:
        outputs.append(write_network(writer, network_of(linear), raw, "linear."))
    writer.dtype, writer.path = DOUBLE, "target"
    doubles = [writer.node("Cast", each, to=Tensor.DOUBLE) for each in outputs]
    if linear is not None:
        other = doubles.pop()
        doubles = [_added(writer, target, each, other) for each in doubles]
    total, *others = doubles
    for each in others:
        total = writer.node("Add", total, each)
    mean = writer.node("Div", total, writer.number(len(networks))) if others else total
    if isinstance(target, Classes):
        _classes(writer, target, mean, names)
    elif isinstance(target, Numbers):
        _numbers(writer, target, mean, names)
    return writer.model({COLUMNS: json.dumps(rows.columns)})


class _Rows:
    """Writes the inputs and the preparation of a table.

    Its values are numbers in double precision, or text for categories, all of shape (batch, columns).

    Attributes
    ----------
    columns : list of str
        The columns that become something: the names of their inputs, unless they are numbers in one input.
    """

    def __init__(self, writer: Writer, plan: Plan) -> None:
        self._writer, self._plan = writer, plan
        writer.path = "preparation"
        if plan.takes_numbers:
            self.columns = plan.used_names()
            # an array goes in as it is
            self._given = plan.used if plan.names else list(range(len(plan.inputs)))
            text = f"columns: {', '.join(self.columns)}" if plan.names else "the columns of the array in training"
            self._matrix = writer.input("input", Tensor.DOUBLE, (len(self._given),), text)
        else:
            self._inputs = {
                i: self._input(name, plan.inputs[i]) for i, name in zip(plan.used, plan.used_names(), strict=True)
            }
            self.columns = list(self._inputs.values())

    def _input(self, name: str, given: Input) -> str:
        if given.categories is not None:
            code = given.categories.text_codes().get("")
            missing = given.categories.code_of_missing
            text = CATEGORY if code in (None, missing) else CATEGORY_OR_EMPTY
            return self._writer.input(name, Tensor.STRING, (1,), text)
        return self._writer.input(name, Tensor.DOUBLE, (1,), DATE if given.kind == "date" else NUMBER)

    def prepared(self) -> str:
        """Return the matrix that the networks take."""
        values, flagged, codes = self._of_matrix() if self._plan.takes_numbers else self._of_columns()
        parts = [self._scaled(self._joined(values))] if values else []
        if flagged:
            parts.append(self._cast(self._writer.node("IsNaN", self._joined(flagged))))
        return self._joined([*parts, *codes])

    def _of_matrix(self) -> tuple[list[str], list[str], list[str]]:
        """Return the numbers, and those whose missing values have flags, of a table of numbers: a single input."""
        plan = self._plan
        return self._columns([i for i in plan.used if plan.inputs[i].parts]), self._columns(plan.flagged), []

    def _columns(self, chosen: list[int]) -> list[str]:
        """Return some of the columns of the matrix, as one tensor if there are any."""
        if not chosen or chosen == self._given:
            return [self._matrix] if chosen else []
        places = np.array([self._given.index(i) for i in chosen])
        return [self._writer.node("Gather", self._matrix, self._writer.array("columns", places), axis=1)]

    def _of_columns(self) -> tuple[list[str], list[str], list[str]]:
        """Return numbers, those with flags, and codes of categories, of a table with an input for each column."""
        numbers, flagged, codes = list[str](), list[str](), list[str]()
        for i, x in self._inputs.items():
            given = self._plan.inputs[i]
            if given.categories is not None:
                codes.append(self._codes(x, given.categories))
                continue
            if given.parts:
                numbers.append(self._date(x, given) if given.kind == "date" else x)
            if given.flagged:
                flagged.append(x)
        return numbers, flagged, codes

    def _date(self, x: str, given: Input) -> str:
        parts = [part_formula(part) for part in given.parts]
        return self._writer.formula(("Concat", *parts, {"axis": 1}) if len(parts) > 1 else parts[0], x, {})

    def _codes(self, x: str, categories: Categories) -> str:
        """Return the codes of text."""
        codes = categories.text_codes()
        values = [float(code) for code in codes.values()]
        return self._writer.node(
            "LabelEncoder", x, domain=ML, keys_strings=list(codes), values_floats=values, default_float=-1.0
        )

    def _scaled(self, values: str) -> str:
        node, number, plan = self._writer.node, self._writer.number, self._plan
        center, width = (self._writer.array(name, getattr(plan, name)) for name in ("center", "width"))
        scaled = node("Div", node("Sub", values, center), width)
        bounded = node("Max", node("Min", scaled, number(LIMIT)), number(-LIMIT))
        return self._cast(node("Where", node("IsNaN", values), number(0.0), bounded))

    def _cast(self, x: str) -> str:
        return self._writer.node("Cast", x, to=Tensor.FLOAT)

    def _joined(self, parts: Sequence[str]) -> str:
        return self._writer.node("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


NUMBER = "a number; NaN where it is missing"
DATE = "a date in seconds since 1970-01-01 UTC; NaN where it is missing"
CATEGORY = "a category as text; empty where it is missing"
CATEGORY_OR_EMPTY = "a category as text, of which one is empty; a missing value cannot be given"


def _quotient(x: Formula, n: float) -> Formula:
    return "Floor", ("Div", x, n)


def _rest(x: Formula, n: float) -> Formula:
    return "Sub", x, ("Mul", _quotient(x, n), n)


def _count_formulas() -> dict[str, Formula]:
    """Return formulas of the counts in a date, which `nnfast.tables.dates` makes parts of, given seconds since 1970.

    Years begin in March, so that a leap day is the last of its year; the days before a month are then a linear function
    of it, rounded down. Days are counted from March 1 of the year 0, in eras of 400 years.
    """
    time = "Div", X, 86400.0
    day = "Floor", time
    date = "Add", day, 719468.0
    of_era = _rest(date, 146097.0)
    without_leap_days = (
        "Sub",
        ("Add", ("Sub", of_era, _quotient(of_era, 1460.0)), _quotient(of_era, 36524.0)),
        _quotient(of_era, 146096.0),
    )
    year = _quotient(without_leap_days, 365.0)
    before_year = "Sub", ("Add", ("Mul", year, 365.0), _quotient(year, 4.0)), _quotient(year, 100.0)
    of_year = "Sub", of_era, before_year
    month = _quotient(("Add", ("Mul", of_year, 5.0), 2.0), 153.0)
    before_month = _quotient(("Add", ("Mul", month, 153.0), 2.0), 5.0)
    from_january = "Add", month, 2.0
    first_year = "Mul", _quotient(date, 146097.0), 400.0
    return {
        "days": time,
        "hour": ("Div", ("Sub", X, ("Mul", day, 86400.0)), 3600.0),
        "weekday": _rest(("Add", day, 3.0), 7.0),
        "year": ("Add", ("Add", first_year, year), _quotient(from_january, 12.0)),
        "month": _rest(from_january, 12.0),
        "day": ("Add", ("Sub", of_year, before_month), 1.0),
    }


COUNTS = _count_formulas()


def part_formula(part: str) -> Formula:
    """Return the formula of one of `nnfast.tables.dates.PARTS`."""
    name, _, wave = part.partition(" ")
    if not wave:
        return COUNTS[name]
    angle = "Mul", COUNTS[name], 2 * np.pi / PERIODS[name]
    sine = "Sin", angle if wave == "sine" else ("Add", angle, np.pi / 2)
    return "Div", ("Round", ("Mul", sine, ROUNDING)), ROUNDING


def _added(writer: Writer, target: Target, outputs: str, others: str) -> str:
    """Return what `Target.added` does."""
    if isinstance(target, Numbers):
        return writer.node("Add", outputs, others)
    product = writer.node("Mul", *(writer.node("Max", each, writer.number(TINY)) for each in (outputs, others)))
    total = writer.node("ReduceSum", product, writer.array("axes", np.array([1])), keepdims=1)
    return writer.node("Div", product, total)


def _classes(writer: Writer, target: Classes, mean: str, names: dict[str, str]) -> None:
    """Add the outputs for classes: the labels and their probabilities."""
    labels = _labels(target)
    chosen = writer.node("ArgMax", mean, axis=1, keepdims=0)
    label = writer.node("Gather", writer.array("classes", labels), chosen, axis=0)
    element = Tensor.STRING if labels.dtype == object else ELEMENTS[labels.dtype.name]
    writer.output(label, names["label"], element, ())
    probabilities = writer.node("Cast", mean, to=Tensor.FLOAT)
    writer.output(probabilities, names["probabilities"], Tensor.FLOAT, (target.units,))


def _labels(target: Classes) -> np.ndarray:
    """Return the labels as bools, int64, uint64, float64, or objects of text."""
    labels = target.classes.tolist()
    kinds = {type(label) for label in labels}
    if kinds == {str}:
        return np.array(labels, dtype=object)
    dtypes = {bool: (np.bool_,), int: (np.int64, np.uint64), float: (np.float64,)}.get(next(iter(kinds)), ())
    for dtype in dtypes if len(kinds) == 1 else ():
        with suppress(OverflowError):
            return np.array(labels, dtype=dtype)
    raise ValueError(
        "classes must be all text, all bools, all integers of 64 bits or all floats to be written as ONNX, got "
        f"{shown(labels[0])} and {shown(labels[-1])}"
    )


def _numbers(writer: Writer, target: Numbers, mean: str, names: dict[str, str]) -> None:
    """Add the outputs for numbers: the prediction, and quantiles if there are any."""
    node, number = writer.node, writer.number
    # not mean * scale + shift: ONNX Runtime leaves out the addition of a number that is 0 in single precision
    y = node("Mul", node("Add", mean, number(target.mean / target.scale)), number(target.scale))
    y = node("Max", node("Min", y, number(target.high)), number(target.low))
    chosen = 0
    if target.quantiles:
        k = writer.array("count", np.array([target.units], np.int64))
        y = node("TopK", y, k, n_outputs=2, axis=1, largest=0)
        chosen = target.quantiles.index(0.5)
    prediction = node("Gather", y, writer.array("place", np.array(chosen)), axis=1)
    writer.output(prediction, names["prediction"], Tensor.DOUBLE, ())
    if target.quantiles:
        writer.output(y, names["quantiles"], Tensor.DOUBLE, (target.units,))
