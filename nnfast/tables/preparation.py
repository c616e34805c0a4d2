"""The preparation of a table for a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from nnfast._validation import check_int, describe
from nnfast.tables.categories import Categories
from nnfast.tables.dates import PARTS
from nnfast.tables.edges import mass_edges
from nnfast.tables.frames import Frame, as_frame, numbers_of_pandas
from nnfast.tables.kinds import LEARNED, Kind, kinds_of
from nnfast.tables.plan import VALUE, Input, Plan, numbers_of
from nnfast.tables.report import report_html, report_text
from nnfast.tables.scaling import Scale, scale_into, scale_of
from nnfast.tables.state import RANGES, plan_from_state, plan_state

FEW_VALUES = 3  # numbers with so many distinct values need no bins
MOST_UNITS = 50


class Column(NamedTuple):
    """What `Preparation` found out about a column of a table.

    Attributes
    ----------
    name : str or None
        None if the table has no names.
    kind : str
        ``"number"``, ``"category"``, ``"date"``, or, for a column that is left out, ``"constant"``, ``"identifier"``,
        ``"text"`` or ``"drop"``.
    reason : str
        Why it is of this kind.
    n_missing : int
        The number of training rows without a value.
    becomes : str
        What becomes of it.
    """

    name: str | None
    kind: str
    reason: str
    n_missing: int
    becomes: str


class Preparation:
    """Turn a table of numbers, categories and dates into a matrix of numbers for a network.

    It is fitted on training rows. Its matrix has three groups of columns, each in the order of the table:

    - numbers, scaled: less the median, divided by the quartile range (or by half of the range, if the quartile range is
      0). Missing values are 0, which is the median. Infinite values become ±1e9, beyond all others.
    - flags, 1 where a number or a date is missing, for columns in which this occurred in the training rows.
    - codes of categories, from 0. Missing values have a code of their own if they occurred in the training rows. Values
      that did not occur, and the rarest of more than `max_categories`, have the code -1. Numbers and text are compared
      as text: 3 is the category "3".

    A date becomes several numbers: days since 1970, year, day of the month, and sine and cosine of the month, of the
    day of the week and of the time of the day; those that are the same in all training rows are left out. A date with a
    time zone is read in UTC.

    Each row of the matrix depends on that row of the table only. `encoding_columns` says how a network should encode
    the matrix.

    Parameters
    ----------
    bins : int
        The maximum number of bins of a number's piecewise-linear encoding, 2 to 1,000.
    kinds : dict, optional
        Kinds of columns by name or position: ``"number"``, ``"category"``, ``"date"``, or ``"drop"`` to leave a column
        out. The kinds of other columns are told from their values. Integers and floats are numbers, however few of them
        differ; booleans are categories. Text is a category, unless all values are numbers or all are ISO 8601 dates; a
        mark such as ``"?"``, ``"NA"`` or nothing then stands for a missing value. Columns are left out if they are
        constant, if nearly all of their text differs, or if their whole numbers all differ and their name is that of an
        identifier, such as ``"id"``; except for constant ones, `kinds` can say otherwise. `report` tells why a column
        is of its kind.
    one_hot : int
        Columns of up to so many categories are encoded as one-hot vectors, those of more by learned embeddings. A code
        for missing values counts.
    max_categories : int
        The maximum number of categories of a column, at least 2; rarer ones count as unknown.

    Attributes
    ----------
    columns : list of Column
        What was found out about each column of the table.
    feature_names_in : list of str or None
        The names of the columns of the table.
    raw_names : list of str
        The names of the columns of the matrix.
    n_raw : int
        The number of columns of the matrix.

    Examples
    --------
    >>> from nnfast.tables import Preparation
    >>> table = {"age": [30, 50, None, 20, 40], "job": ["cook", "pilot", "cook", None, "cook"], "country": ["CH"] * 5}
    >>> preparation = Preparation().fit(table)
    >>> preparation.raw_names
    ['age', 'age: missing', 'job']
    >>> preparation.transform(table)
    array([[-0.5,  0. ,  0. ],
           [ 1.5,  0. ,  1. ],
           [ 0. ,  1. ,  0. ],
           [-1.5,  0. ,  2. ],
           [ 0.5,  0. ,  0. ]], dtype=float32)
    >>> preparation.encoding_columns(bins=False)
    [('number', None), ('flag',), ('one_hot', 3)]
    >>> print(preparation)
    column   kind      missing  becomes                                   because
    age      number          1  1 number with 4 bins, a flag for missing  it holds whole numbers
    job      category        1  2 categories and missing, one-hot         it holds text
    country  constant        0  left out                                  all values are 'CH'
    """

    def __init__(
        self,
        *,
        bins: int = 16,
        kinds: Mapping[Any, str] | None = None,
        one_hot: int = 32,
        max_categories: int = 10_000,
    ) -> None:
        self.bins = check_int("bins", bins, *RANGES["bins"])
        if kinds is not None and not isinstance(kinds, Mapping):
            raise TypeError(f"kinds must be a dict of columns and their kinds, got {describe(kinds)}")
        self.kinds = None if kinds is None else dict(kinds)
        self.one_hot = check_int("one_hot", one_hot, *RANGES["one_hot"])
        self.max_categories = check_int("max_categories", max_categories, *RANGES["max_categories"])
        self._plan: Plan | None = None

    def fit(self, X: Any) -> Preparation:
        """Determine kinds, scales, edges and categories from training rows.

        Parameters
        ----------
        X : table
            Anything that `as_frame` takes, or a `Frame`; at least two rows.

        Returns
        -------
        Preparation
            Itself.

        Raises
        ------
        KeyError
            If `kinds` names a column that does not exist.
        TypeError, ValueError
            If `X` is not a table, a column has values of no kind or not of the kind that `kinds` gives, or no column is
            left.
        """
        frame = _frame(X)
        if frame.n_rows < 2:
            raise ValueError("X must have at least 2 rows to fit a preparation, got 1 sample")
        inputs: list[Input] = []
        scales: list[Scale] = []
        edges: list[np.ndarray | None] = []
        for position, kind in enumerate(kinds_of(frame, self.kinds)):
            made, own, its_edges = self._input(frame, position, kind)
            inputs.append(made)
            scales += own
            edges += its_edges
        if not any(made.used for made in inputs):
            found = ", ".join(f"{frame.label(i)} ({made.reason})" for i, made in enumerate(inputs[:5]))
            raise ValueError(f"X must have a column to learn from, but all are left out: {found}")
        center, width = np.array(scales, dtype=np.float64).reshape(-1, 2).T.copy()
        self._plan = Plan(inputs, center, width, edges)
        return self

    def _input(self, frame: Frame, position: int, kind: Kind) -> tuple[Input, list[Scale], list[np.ndarray | None]]:
        """Fit one column; return what is known about it, and the scale and the edges of each of its numbers."""
        name = None if frame.names is None else frame.names[position]
        if kind.kind not in LEARNED:
            return Input(name, kind.kind, kind.reason, kind.n_missing), [], []
        if kind.counted is not None:
            categories = Categories.most_frequent(kind.counted, self.max_categories)
            n_missing = kind.counted.n_missing
            return Input(name, kind.kind, kind.reason, n_missing, categories=categories), [], []
        possible = PARTS if kind.kind == "date" else VALUE
        numbers, missing = numbers_of(frame.label(position), frame.columns[position], kind.kind, possible)
        n_missing = int(missing.sum())
        scales = [scale_of(values) for values in numbers]
        parts = tuple(part for part, scale in zip(possible, scales, strict=True) if scale is not None)
        if not parts and not 0 < n_missing < frame.n_rows:
            return Input(name, "constant", "all values are equal or missing", n_missing), [], []
        kept = [(scale, values) for scale, values in zip(scales, numbers, strict=True) if scale is not None]
        made = Input(name, kind.kind, kind.reason, n_missing, parts, n_missing > 0)
        return made, [scale for scale, _ in kept], [self._edges(values, scale) for scale, values in kept]

    def _edges(self, values: np.ndarray, scale: Scale) -> np.ndarray | None:
        """Return the edges of a number's bins, None if it needs none."""
        scaled = np.empty(len(values), np.float32)
        scale_into(scaled, values, scale.center, scale.width)
        infinite = np.isinf(values)
        if infinite.any() and not infinite.all():  # the last bin ends with the largest finite number
            scaled = np.clip(scaled, scaled[~infinite].min(), scaled[~infinite].max())
        edges = mass_edges(scaled, self.bins)
        few = len(edges) <= FEW_VALUES and len(np.unique(scaled)) <= FEW_VALUES
        return None if few or len(edges) < 3 else edges

    @property
    def plan(self) -> Plan:
        """What was fitted, for each column."""
        if self._plan is None:
            raise ValueError("the preparation is not fitted: call fit first")
        return self._plan

    def transform(self, X: Any) -> np.ndarray:
        """Return the matrix of a table.

        Parameters
        ----------
        X : table
            Anything that `as_frame` takes, or a `Frame`. If both it and the table of `fit` have names, columns are
            matched by name: their order may differ, other columns are ignored, and so may those be absent that are left
            out. Else they are matched by position.

        Returns
        -------
        ndarray of shape (rows, n_raw) and dtype float32

        Raises
        ------
        TypeError, ValueError
            If `X` is not a table, lacks a column, or has a value that is not of the kind of its column.
        """
        plan = self.plan
        if plan.takes(X):
            return plan.of_matrix(X)
        if plan.takes_numbers and (found := numbers_of_pandas(X)) is not None:
            names, matrix = found
            if plan.names in (names, None) and plan.takes(matrix):
                return plan.of_matrix(matrix)
        return plan.of_frame(_frame(X))

    def encoding_columns(self, *, bins: bool = True) -> list[tuple[Any, ...]]:
        """Return how a network should encode each column of the matrix.

        Parameters
        ----------
        bins : bool
            Whether numbers have edges of bins, for a piecewise-linear encoding.

        Returns
        -------
        list of tuple
            ``("number", edges)``, with ascending edges as a float32 array in scaled units, or None where the number has
            at most 3 distinct values; ``("flag",)``; ``("one_hot", n)`` with the number of codes; or
            ``("embedding", n, units)``.

        Notes
        -----
        An embedding has ``1.6 n**0.56`` units, at most 50: the rule of fastai [1]_ with a lower maximum.

        References
        ----------
        .. [1] J. Howard and S. Gugger, "fastai: a layered API for deep learning", Information 11 (2), 2020.
        """
        plan = self.plan
        numbers = [("number", None if edges is None or not bins else edges.copy()) for edges in plan.edges]
        codes = [self._encoding(plan.inputs[i].categories) for i in plan.coded]
        return [*numbers, *([("flag",)] * len(plan.flagged)), *codes]

    def _encoding(self, categories: Categories | None) -> tuple[Any, ...]:
        n = 0 if categories is None else categories.n_codes
        return ("one_hot", n) if n <= self.one_hot else ("embedding", n, embedding_units(n))

    def places(self) -> list[list[int]]:
        """Return for each column of the table the columns of the matrix that it became; none if it was left out."""
        return self.plan.places()

    @property
    def feature_names_in(self) -> list[str] | None:
        """The names of the columns of the table, None if it had none."""
        names = self.plan.names
        return None if names is None else list(names)

    @property
    def raw_names(self) -> list[str]:
        """The names of the columns of the matrix."""
        return self.plan.raw_names()

    @property
    def n_raw(self) -> int:
        """The number of columns of the matrix."""
        return self.plan.n_raw

    @property
    def columns(self) -> list[Column]:
        """What was found out about each column of the table."""
        plan = self.plan
        bins = iter([0 if edges is None else len(edges) - 1 for edges in plan.edges])
        return [
            Column(i.name, i.kind, i.reason, i.n_missing, self._becomes(i, [next(bins) for _ in i.parts]))
            for i in plan.inputs
        ]

    def _becomes(self, given: Input, bins: list[int]) -> str:
        """Return what becomes of a column, in words."""
        if given.categories is not None:
            kind, n, *units = self._encoding(given.categories)
            how = "one-hot" if kind == "one_hot" else f"embedded in {units[0]} numbers"
            missing = given.categories.missing
            return f"{n - missing:,} categor{'ies' if n - missing > 1 else 'y'}{' and missing' * missing}, {how}"
        words = []
        if given.parts:
            n = len(given.parts)
            most = f" with {'up to ' * (n > 1)}{max(bins)} bins" if max(bins) else ""
            words.append(f"{n} number{'s' * (n > 1)}{most}")
        if given.flagged:
            words.append("a flag for missing")
        return ", ".join(words) or "left out"

    def report(self, *, max_rows: int | None = None) -> str:
        """Return a table, as text, of what was found out about each column and what becomes of it.

        Parameters
        ----------
        max_rows : int, optional
            The maximum number of columns to list, the first and the last ones. All by default.
        """
        most = None if max_rows is None else check_int("max_rows", max_rows, 2)
        return report_text(self.columns, most)

    def __str__(self) -> str:
        """Return the report if it is fitted, of at most 60 columns."""
        return repr(self) if self._plan is None else self.report(max_rows=60)

    def __repr__(self) -> str:
        kinds = f"kinds={self.kinds!r}, " if self.kinds else ""
        return f"Preparation(bins={self.bins}, {kinds}one_hot={self.one_hot}, max_categories={self.max_categories})"

    def _repr_html_(self) -> str | None:
        """Return the report for notebooks."""
        return None if self._plan is None else report_html(self.columns)

    # ---- to and from files

    def config(self) -> dict[str, Any]:
        """Return what JSON can hold of a fitted preparation; with `arrays` it is all of it."""
        kinds = None if self.kinds is None else [[_plain(column), kind] for column, kind in self.kinds.items()]
        return {
            "version": 1,
            "bins": self.bins,
            "kinds": kinds,
            "one_hot": self.one_hot,
            "max_categories": self.max_categories,
            "columns": plan_state(self.plan)[0],
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays of a fitted preparation: ``center``, ``width``, ``edges`` and ``edge_counts``."""
        return plan_state(self.plan)[1]

    @classmethod
    def from_state(cls, config: Any, arrays: Any) -> Preparation:
        """Return the preparation that `config` and `arrays` describe.

        Parameters
        ----------
        config : dict
            As from `config`; perhaps read from JSON.
        arrays : dict of ndarray
            As from `arrays`.

        Raises
        ------
        ValueError
            If they describe none, whatever they are; they may come from anybody.
        """
        parameters, plan = plan_from_state(config, arrays)
        made = cls(**parameters)
        made._plan = plan
        return made


def _frame(X: Any) -> Frame:
    return X if isinstance(X, Frame) else as_frame(X)


def _plain(column: Any) -> str | int:
    return column if isinstance(column, str) else int(column)


def embedding_units(n: int) -> int:
    """Return the units of a learned embedding of `n` categories."""
    return min(MOST_UNITS, round(1.6 * n**0.56))
