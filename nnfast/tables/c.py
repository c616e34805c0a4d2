"""Table models as C: the preparation, the networks and what their outputs mean in one function."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnfast._version import __version__
from nnfast.files.c.export import (
    REALS,
    CExport,
    Code,
    checked_dtype,
    checked_prefix,
    code_of,
    definition,
    literals,
    numbers_of,
    paths_of,
    planned,
    write_files,
)
from nnfast.files.c.functions import source
from nnfast.files.c.int8 import Difference
from nnfast.sequential import Sequential, network_of
from nnfast.tables.dates import PARTS
from nnfast.tables.plan import Plan
from nnfast.tables.scaling import LIMIT
from nnfast.tables.targets import TINY, Classes, Numbers, Target

MOST_SHOWN = 60  # characters of a name in a comment
PART = {"value": -1} | {part: i for i, part in enumerate(PARTS)}  # codes in C


def save(
    path: str | os.PathLike[str],
    plan: Plan,
    target: Target,
    networks: Sequence[Sequential],
    linear: Sequential | None,
    *,
    prefix: str | None,
    dtype: Any,
    calibration: Callable[[], np.ndarray] | None,
) -> CExport:
    """Implement `TableModel.to_c`; `calibration` prepares the calibration data."""
    paths = paths_of(path)
    name = checked_prefix(prefix, paths[0])
    chosen = checked_dtype("float32" if dtype is None else dtype, calibration is not None)
    rows = None if calibration is None else calibration()
    made = [
        planned(network_of(net), chosen, rows, f"_{i}" if len(networks) > 1 else "") for i, net in enumerate(networks)
    ]
    if linear is not None:  # with float weights in any case: there are few
        made.append(planned(network_of(linear), "float32" if chosen == "int8" else chosen, None, "_linear"))
    codes = [code_of(one) for one, _ in made]
    model = _Model(name, plan, target, codes, linear is not None, REALS[made[0][0].dtype.name])
    text = model.source(numbers_of(network_of(networks[0]), made[0][0]), os.path.basename(paths[1]))
    write_files(paths, text, model.header())
    found = [difference for _, difference in made if difference is not None]
    return CExport(*paths, f"{name}_predict", model.size, model.stack, _worst(found) if found else None)


def _worst(found: Sequence[Difference]) -> Difference:
    """Return the greatest differences of several networks, and the least agreement."""
    agreements = [difference.agreement for difference in found if difference.agreement is not None]
    largest, mean = (max(getattr(difference, name) for difference in found) for name in ("largest", "mean"))
    return Difference(largest, mean, min(agreements) if agreements else None)


class _Model:
    """The text of the two files.

    Attributes
    ----------
    stack, size : int
        The bytes of arrays on the stack, and of constants.
    """

    def __init__(self, name: str, plan: Plan, target: Target, codes: Sequence[Code], linear: bool, real: str) -> None:
        self._name, self._plan, self._target, self._codes, self._real = name, plan, target, codes, real
        self._linear = linear  # whether the last network is the linear model
        self._inputs = plan.used if plan.names else list(range(len(plan.inputs)))  # an array goes in as it is
        self._place = {column: i for i, column in enumerate(self._inputs)}
        self._parts = [(self._place[i], PART[part]) for i in plan.used for part in plan.inputs[i].parts]
        item = 4 if real == "float" else 8
        self.stack = max(code.stack for code in codes) + item * (plan.n_raw + (1 + linear) * target.units)
        self._dated = any(part >= 0 for _, part in self._parts)
        integers = plan.n_numbers * (1 + self._dated) + len(plan.flagged) + 2 * len(plan.coded)
        names = [name for categories in self._categories() for name in categories.text_codes()]
        text = sum(len(name.encode("utf-8", "surrogatepass")) + 1 for name in names)
        self.size = sum(code.size for code in codes) + 16 * plan.n_numbers + 4 * integers + text + 16 * len(names)

    # ---- the header

    def header(self) -> str:
        """Return the text of the header."""
        name, macro = self._name, self._name.upper()
        categories = f"""
/* Return the number that stands for a category, given as UTF-8, in x[input]: its code, or -1 if it did not occur in
 * training. Numbers are text, too: "3". */
double {name}_code(int input, const char *category);
"""
        return f"""\
/* A model for tables, written by nnfast {__version__}.
 *
 * The inputs. NAN, of <math.h>, stands for a missing value.
{self._described()} *
 * The outputs:
{self._outputs()} */
#ifndef {macro}_H
#define {macro}_H

#define {macro}_INPUTS {len(self._inputs)}
#define {macro}_OUTPUTS {self._target.units}

#ifdef __cplusplus
extern "C" {{
#endif
{categories if self._plan.coded else ""}
/* Compute the output y, of {macro}_OUTPUTS numbers, for the row x, of {macro}_INPUTS numbers. The two must not overlap.
 *
 * Nothing is kept between calls, so several threads may call the function at the same time. It allocates
 * no memory: its arrays take {self.stack} bytes of the stack, and its other variables less than 1000. */
void {name}_predict(const double *x, double *y);

#ifdef __cplusplus
}}
#endif

#endif
"""

    def _described(self) -> str:
        lines = []
        for place, i in enumerate(self._inputs):
            given = self._plan.inputs[i]
            what = {"number": "a number", "date": "a date, in seconds since 1970-01-01 UTC"}.get(given.kind, "not used")
            if given.categories is not None:
                what = f"a category, {self._name}_code({place}, its text)"
            lines.append(f" * x[{place}] {'' if given.name is None else _in_comment(given.name) + ': '}{what}\n")
        return "".join(lines)

    def _outputs(self) -> str:
        target = self._target
        if isinstance(target, Classes):
            what = [f"the probability of {_in_comment(repr(label))}" for label in target.classes.tolist()]
        else:
            quantiles = target.quantiles if isinstance(target, Numbers) else ()
            what = [f"the quantile {quantile:g}" for quantile in quantiles] or ["the prediction"]
        return "".join(f" * y[{j}] {each}\n" for j, each in enumerate(what))

    # ---- the source

    def source(self, numbers: str, header: str) -> str:
        """Return the text of the source file."""
        functions = set[str]().union(*(code.functions for code in self._codes))
        headers = ["<math.h>"]
        headers += ["<stdint.h>"] if any("int8_t" in code.body for code in self._codes) else []
        headers += ["<string.h>"] if self._plan.coded else []
        networks = "".join(
            f"\nstatic void network_{i}(const {self._real} *x, {self._real} *y)\n{{\n{code.body}}}\n"
            for i, code in enumerate(self._codes)
        )
        return f"""\
/* A model for tables, written by nnfast {__version__}.
 *
 * {numbers}
 * C99 with {", ".join(headers)} alone; numbers must be those of IEEE 754. Compile it with -O3. */
#include "{header}"

{"".join(f"#include {each}{chr(10)}" for each in headers)}
/* ---- functions */

{source(functions, self._real)}
/* ---- constants */
{self._constants()}{"".join(code.constants for code in self._codes)}
/* ---- the preparation */
{self._lookup()}{DATES.lstrip() if self._dated else ""}
static void prepare(const double *x, {self._real} *prepared)
{{
{self._prepare()}}}

/* ---- the networks */
{networks}
/* ---- the model */
{self._product()}
void {self._name}_predict(const double *x, double *y)
{{
{self._predict()}}}
"""

    def _constants(self) -> str:
        plan, text = self._plan, ""
        if plan.n_numbers:
            text += definition("double", "center", "Subtracted from the numbers.", *_listed(plan.center))
            text += definition("double", "width", "The numbers are divided by it.", *_listed(plan.width))
            places, parts = np.array(self._parts).T
            text += definition("int", "number_at", "The input of each number.", *_listed(places))
            if self._dated:
                comment = "What of a date a number is; -1 for a number that is none."
                text += definition("int", "part_at", comment, *_listed(parts))
        if plan.flagged:
            places = np.array([self._place[i] for i in plan.flagged])
            text += definition("int", "flag_at", "The inputs whose missing values have flags.", *_listed(places))
        if plan.coded:
            places = np.array([self._place[i] for i in plan.coded])
            text += definition("int", "code_at", "The inputs that are categories.", *_listed(places))
            missing = [categories.code_of_missing for categories in self._categories()]
            text += definition("int", "missing", "The codes of their missing values.", *_listed(np.array(missing)))
        return text

    def _categories(self) -> list[Any]:
        return [self._plan.inputs[i].categories for i in self._plan.coded]

    def _lookup(self) -> str:
        """Return the function that looks up categories, and their names; nothing if there are none."""
        if not self._plan.coded:
            return ""
        text, cases = "", ""
        for i, categories in zip(self._plan.coded, self._categories(), strict=True):
            place = self._place[i]
            names = "".join(f"    {{{_quoted(name)}, {code}}},\n" for name, code in categories.text_codes().items())
            text += f"\nstatic const struct category categories_{place}[] = {{\n{names}}};\n"
            cases += (
                f"    case {place}:\n        return look_up(categories_{place}, {names.count(chr(10))}, category);\n"
            )
        return f"""
struct category {{
    const char *name;
    int code;
}};
{text}
static double look_up(const struct category *known, int n, const char *category)
{{
    for (int i = 0; i < n; i++)
        if (strcmp(known[i].name, category) == 0)
            return known[i].code;
    return -1;
}}

double {self._name}_code(int input, const char *category)
{{
    switch (input) {{
{cases}    default:
        return -1;
    }}
}}
"""

    def _prepare(self) -> str:
        plan, real, text = self._plan, self._real, ""
        if plan.n_numbers:
            value = "part_of(x[number_at[i]], part_at[i])" if self._dated else "x[number_at[i]]"
            text += f"""\
    for (int i = 0; i < {plan.n_numbers}; i++) {{
        double z = ({value} - center[i]) / width[i];
        z = z > {LIMIT} ? {LIMIT} : z < {-LIMIT} ? {-LIMIT} : z;
        prepared[i] = z == z ? ({real})z : 0;
    }}
"""
        if plan.flagged:
            text += f"""\
    for (int i = 0; i < {len(plan.flagged)}; i++) {{
        const double value = x[flag_at[i]];
        prepared[{plan.n_numbers} + i] = value != value;
    }}
"""
        if plan.coded:
            text += f"""\
    for (int i = 0; i < {len(plan.coded)}; i++) {{
        const double given = x[code_at[i]], code = given == given ? given : missing[i];
        prepared[{plan.n_numbers + len(plan.flagged)} + i] = code >= 0 && code < 16777216 ? ({real})code : -1;
    }}
"""
        return text

    def _product(self) -> str:
        """Return the function that adds the logits of two networks for classes; nothing if none is needed."""
        units, real = self._target.units, self._real
        return (
            PRODUCT.format(units=units, real=real, tiny=TINY)
            if self._linear and isinstance(self._target, Classes)
            else ""
        )

    def _predict(self) -> str:
        units, count, real = self._target.units, len(self._codes) - self._linear, self._real
        each = f"    for (int j = 0; j < {units}; j++)\n        "
        text = f"    {real} prepared[{self._plan.n_raw}];\n    {real} outputs[{units}];\n"
        text += f"    {real} linear[{units}];\n" * self._linear
        text += "\n    prepare(x, prepared);\n"
        if self._linear:
            text += f"    network_{count}(prepared, linear);\n"
        text += f"{each}y[j] = 0;\n"
        for i in range(count):
            text += f"    network_{i}(prepared, outputs);\n"
            if not self._linear:
                text += f"{each}y[j] += outputs[j];\n"
            elif isinstance(self._target, Numbers):
                text += f"{each}y[j] += (double)outputs[j] + linear[j];\n"
            else:
                text += "    add_product(outputs, linear, y);\n"
        if count > 1:
            text += f"{each}y[j] /= {count};\n"
        if isinstance(self._target, Numbers):
            scale, mean, low, high = literals(
                np.array([getattr(self._target, name) for name in ("scale", "mean", "low", "high")])
            )
            text += f"    for (int j = 0; j < {units}; j++) {{\n        const double v = y[j] * {scale} + {mean};\n"
            text += f"        y[j] = v < {low} ? {low} : v > {high} ? {high} : v;\n    }}\n"
            text += SORT.format(units=units) if units > 1 else ""
        return text


def _listed(values: np.ndarray) -> tuple[list[str], int]:
    """Return the numbers of an array as C has them, and how many there are."""
    texts = literals(values) if values.dtype.kind == "f" else list(map(str, values.tolist()))
    return texts, len(texts)


def _in_comment(text: str) -> str:
    """Return a text that can stand in a comment, and neither ends it nor begins another."""
    plain = "".join(c if c.isprintable() else " " for c in text[: MOST_SHOWN + 1]).replace("\\", "|")
    plain = plain.replace("*", "x") if "*/" in plain or "/*" in plain else plain
    return plain if len(text) <= MOST_SHOWN else f"{plain[:MOST_SHOWN]}..."


def _quoted(text: str) -> str:
    """Return a text as a C string: in UTF-8, with octal numbers for what C may not take."""
    if "\0" in text:
        raise ValueError(f"a category with a zero byte cannot be written as C: {text!r}")
    plain = set(range(32, 127)) - set(b'"\\?')
    return f'"{"".join(chr(c) if c in plain else f"{chr(92)}{c:03o}" for c in text.encode("utf-8", "surrogatepass"))}"'


DATES = """
/* A sine or cosine, rounded as in training. */
static double wave(double angle, int sine)
{
    return rint((sine ? sin(angle) : cos(angle)) * 1e12) / 1e12;
}

/* A part of a date, in seconds since 1970-01-01 UTC; of another number, itself. Years begin in March, so that
 * a leap day is the last of its year. */
static double part_of(double x, int part)
{
    const double turn = 6.28318530717958648, time = x / 86400, days = floor(time), date = days + 719468;
    double era, day, year, month;
    if (part < 0)
        return x;
    if (part == 0)
        return time;
    if (part == 5 || part == 6)
        return wave((days + 3 - 7 * floor((days + 3) / 7)) * (turn / 7), part == 5);
    if (part > 6)
        return wave((x - 86400 * days) * (turn / 86400), part == 7);
    era = floor(date / 146097);
    day = date - 146097 * era;
    year = floor((day - floor(day / 1460) + floor(day / 36524) - floor(day / 146096)) / 365);
    day -= 365 * year + floor(year / 4) - floor(year / 100);
    month = floor((5 * day + 2) / 153);
    if (part == 4)
        return day - floor((153 * month + 2) / 5) + 1;
    if (part == 1)
        return year + 400 * era + floor((month + 2) / 12);
    return wave((month + 2) * (turn / 12), part == 2);
}
"""
PRODUCT = """
/* Add to y the softmax of the sum of the logarithms of p and q: their product, divided by its sum. */
static void add_product(const {real} *p, const {real} *q, double *y)
{{
    double sum = 0;
    for (int j = 0; j < {units}; j++)
        sum += (p[j] > {tiny} ? p[j] : {tiny}) * (double)(q[j] > {tiny} ? q[j] : {tiny});
    for (int j = 0; j < {units}; j++)
        y[j] += (p[j] > {tiny} ? p[j] : {tiny}) * (double)(q[j] > {tiny} ? q[j] : {tiny}) / sum;
}}
"""
SORT = """\
    for (int j = 1; j < {units}; j++)
        for (int i = j; i > 0 && y[i] < y[i - 1]; i--) {{
            const double v = y[i];
            y[i] = y[i - 1];
            y[i - 1] = v;
        }}
"""
