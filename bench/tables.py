"""Models for tables with their defaults: errors beside those of the best gradient boosting here, and seconds."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import product
from math import exp, log, sqrt
from pathlib import Path
from statistics import fmean, median, stdev
from time import process_time
from timeit import Timer
from typing import Any, NamedTuple

import numpy as np

from bench.inference import time_calls
from bench.report import duration, left_out
from nnfast._progress import share_of_work

TEST_SHARE = 0.2
MOST_ROWS = 10_000  # to train on
LEAST_PROBABILITY = 1e-4  # in the log loss, which would be infinite for one wrong probability of 0
LEAST_ERROR = 1e-6  # ratios of errors need one above 0
REFERENCES = ("CatBoost", "LightGBM", "HistGradientBoosting")  # the first that is installed
INDEX = "datasets.json"  # beside the tables of a folder, or above
BUNDLED = {  # scikit-learn's tables: loader, task, columns of categories
    "iris": ("load_iris", "multiclass", []),
    "wine": ("load_wine", "multiclass", []),
    "diabetes": ("load_diabetes", "regression", ["sex"]),
    "breast_cancer": ("load_breast_cancer", "binary", []),
    "digits": ("load_digits", "multiclass", []),
}


# ---- tables


class Table(NamedTuple):
    """Inputs as a float64 array, or as a pandas frame if there are categories; targets: codes of classes or numbers."""

    name: str
    task: str
    x: Any
    y: np.ndarray

    def parts(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows to train on and those to test on, drawn in each class."""
        from sklearn.model_selection import train_test_split

        strata = None if self.task == "regression" else self.y
        train, test = train_test_split(np.arange(len(self.y)), test_size=TEST_SHARE, random_state=seed, stratify=strata)
        if len(train) > MOST_ROWS:
            strata = None if strata is None else strata[train]
            train, _ = train_test_split(train, train_size=MOST_ROWS, random_state=seed, stratify=strata)
        return train, test

    def rows(self, chosen: np.ndarray) -> Any:
        """Return the inputs of some rows."""
        return self.x[chosen] if isinstance(self.x, np.ndarray) else self.x.iloc[chosen]


def tables_in(folder: Path | None) -> Iterator[Table]:
    """Yield the tables of a folder, or scikit-learn's."""
    if folder is None:
        from sklearn import datasets

        for name, (loader, task, categorical) in BUNDLED.items():
            frame = getattr(datasets, loader)(as_frame=True).frame
            yield table_of(name, frame, {"task": task, "target": "target", "categorical": categorical})
        return
    import pandas as pd

    for entry in index_of(folder):
        as_text = dict.fromkeys(entry["categorical"], str)
        if entry["task"] != "regression":
            as_text[entry["target"]] = str
        path = folder / f"{entry['name']}.csv.gz"
        yield table_of(entry["name"], pd.read_csv(path, dtype=as_text, keep_default_na=False, na_values=[""]), entry)


def index_of(folder: Path) -> list[dict[str, Any]]:
    """Return the entries of ``datasets.json`` whose tables are in the folder; empty without such a file."""
    path = next((path for path in (folder / INDEX, folder.parent / INDEX) if path.is_file()), None)
    entries = [] if path is None else json.loads(path.read_text(encoding="utf-8"))
    return [entry for entry in entries if (folder / f"{entry['name']}.csv.gz").is_file()]


def table_of(name: str, frame: Any, entry: dict[str, Any]) -> Table:
    """Return a table without repeated rows, which a model could remember instead of predicting."""
    frame = frame.drop_duplicates(ignore_index=True)
    x, target = frame.drop(columns=entry["target"]), frame[entry["target"]]
    regression = entry["task"] == "regression"
    y = target.to_numpy(float) if regression else np.unique(target.to_numpy(str), return_inverse=True)[1]
    if not entry["categorical"]:
        return Table(name, entry["task"], x.to_numpy(float), y)
    kinds = {column: "category" if column in entry["categorical"] else float for column in x}
    x = x.astype(kinds)
    for column in entry["categorical"]:
        if x[column].cat.categories.dtype.kind == "f":  # XGBoost accepts none
            x[column] = x[column].cat.rename_categories(lambda category: f"{category:g}")
    return Table(name, entry["task"], x, y)


# ---- models: each with its defaults, on one thread


class Contender(NamedTuple):
    """A model: its name, the package that it needs, and a function of regression or not and of categories or not."""

    name: str
    package: str
    make: Callable[[bool, bool], Any]


def nnfast(members: int) -> Contender:
    """Return our model with some members."""

    def make(regression: bool, categories: bool) -> Any:
        from nnfast.sklearn import TabularClassifier, TabularRegressor

        kind = TabularRegressor if regression else TabularClassifier
        return kind(n_members=members, n_threads=1, random_state=0)

    return Contender(f"nnfast, {members} member{'s' if members > 1 else ''}", "nnfast", make)


def prepared(estimator: Any, categories: bool, *, sparse: bool) -> Any:
    """Return an estimator behind medians for missing numbers, standard scores and one-hot categories."""
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    if not categories:
        return make_pipeline(numbers, estimator)
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=sparse)
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_exclude="category")),
        (one_hot, make_column_selector(dtype_include="category")),
    )
    return make_pipeline(columns, estimator)


def after(change: Callable[[Any], Any], estimator: Any, categories: bool) -> Any:
    """Return an estimator behind a function of frames; arrays need none."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    return make_pipeline(FunctionTransformer(change), estimator) if categories else estimator


def linear(regression: bool, categories: bool) -> Any:
    """Return ridge or logistic regression."""
    from sklearn.linear_model import LogisticRegression, Ridge

    return prepared(Ridge() if regression else LogisticRegression(max_iter=1000), categories, sparse=True)


def perceptron(regression: bool, categories: bool) -> Any:
    """Return scikit-learn's multilayer perceptron, with standardized targets."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.preprocessing import StandardScaler

    if not regression:
        return prepared(MLPClassifier(random_state=0), categories, sparse=False)
    scaled = TransformedTargetRegressor(MLPRegressor(random_state=0), transformer=StandardScaler())
    return prepared(scaled, categories, sparse=False)


def forest(regression: bool, categories: bool) -> Any:
    """Return a random forest on codes of categories."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestRegressor if regression else RandomForestClassifier
    return after(codes_of(0), kind(random_state=0, n_jobs=1), categories)


def histograms(regression: bool, categories: bool) -> Any:
    """Return scikit-learn's gradient boosting, which takes up to 255 categories; columns of more become codes."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    model = kind(random_state=0, categorical_features="from_dtype")
    return after(codes_of(255), model, categories)


def lightgbm(regression: bool, categories: bool) -> Any:
    """Return LightGBM."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    kind = LGBMRegressor if regression else LGBMClassifier
    return after(renamed, kind(random_state=0, n_jobs=1, verbose=-1), categories)


def xgboost(regression: bool, categories: bool) -> Any:
    """Return XGBoost."""
    from xgboost import XGBClassifier, XGBRegressor

    kind = XGBRegressor if regression else XGBClassifier
    return after(renamed, kind(random_state=0, n_jobs=1, enable_categorical=True), categories)


class ByName:
    """CatBoost for frames: it takes categories as text, and is told in `fit` which columns have them."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def fit(self, x: Any, y: np.ndarray) -> ByName:
        """Train on a frame."""
        self.model.fit(texts(x), y, cat_features=list(x.select_dtypes("category")))
        self.classes_ = getattr(self.model, "classes_", None)
        return self

    def predict(self, x: Any) -> Any:
        """Return predictions."""
        return self.model.predict(texts(x))

    def predict_proba(self, x: Any) -> Any:
        """Return probabilities."""
        return self.model.predict_proba(texts(x))


def catboost(regression: bool, categories: bool) -> Any:
    """Return CatBoost."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    kind = CatBoostRegressor if regression else CatBoostClassifier
    model = kind(random_seed=0, thread_count=1, verbose=0, allow_writing_files=False)
    return ByName(model) if categories else model


def codes_of(most: int) -> Callable[[Any], Any]:
    """Return a function that turns columns of more than `most` categories into numbers."""

    def change(x: Any) -> Any:
        many = [name for name in x.select_dtypes("category") if len(x[name].cat.categories) > most]
        return x.assign(**{name: x[name].cat.codes.astype(float).replace(-1.0, np.nan) for name in many})

    return change


def renamed(x: Any) -> Any:
    """Return a frame whose names are plain: LightGBM and XGBoost refuse some characters."""
    return x.set_axis([f"x{i}" for i in range(x.shape[1])], axis=1)


def texts(x: Any) -> Any:
    """Return a frame with text for categories."""
    names = list(x.select_dtypes("category"))
    return x.assign(**{name: x[name].astype(object).where(x[name].notna(), "missing").astype(str) for name in names})


ANCHORS = (
    Contender("linear", "sklearn", linear),
    Contender("MLP of scikit-learn", "sklearn", perceptron),
    Contender("random forest", "sklearn", forest),
    Contender("HistGradientBoosting", "sklearn", histograms),
    Contender("LightGBM", "lightgbm", lightgbm),
    Contender("XGBoost", "xgboost", xgboost),
    Contender("CatBoost", "catboost", catboost),
)


# ---- measurement


def compare_tables(folder: Path | None, splits: int, members: Sequence[int], rounds: int) -> dict[str, Any]:
    """Return errors and seconds of all models on all tables, and summaries.

    The models are trained in turn: on each split of each table one after another.
    """
    everyone = [*map(nnfast, members), *ANCHORS]
    absent = {one.name: f"{one.package} is not installed" for one in everyone if not find_spec(one.package)}
    contenders = [one for one in everyone if one.name not in absent]
    tables = sorted(tables_in(folder), key=lambda table: len(table.y))
    cells: list[dict[str, Any]] = []
    failures: list[str] = []
    work = list(product(range(splits), tables, contenders))
    with share_of_work("tables", 1) as show:
        for done, (seed, table, contender) in enumerate(work):
            try:
                cells.append(measured(contender, table, seed))
            except Exception as error:  # of any library: the others go on
                failures.append(f"{contender.name} on {table.name}: {type(error).__name__}: {str(error)[:200]}")
            show((done + 1) / len(work))
    reference = next(name for name in REFERENCES if name not in absent)
    return {
        "folder": None if folder is None else str(folder), "splits": splits, "reference": reference,
        "tables": [{"name": t.name, "task": t.task, "rows": len(t.y), "columns": t.x.shape[1]} for t in tables],
        "contenders": summary(cells, [one.name for one in contenders], reference), "cells": cells,
        "one_row": one_row(contenders, tables, rounds), "absent": absent, "failures": failures,
    }  # fmt: skip


def measured(contender: Contender, table: Table, seed: int) -> dict[str, Any]:
    """Return the error of a model on one split of a table, and CPU seconds for 1,000 rows."""
    train, test = table.parts(seed)
    model = made_for(contender, table)
    x_train, x_test = table.rows(train), table.rows(test)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an optimizer has not converged, and such
        start = process_time()
        model.fit(x_train, table.y[train])
        fitted = process_time()
        predicted = np.asarray(model.predict(x_test) if table.task == "regression" else model.predict_proba(x_test))
        end = process_time()
    if table.task != "regression":
        predicted = of_all_classes(predicted, np.asarray(model.classes_, int), int(table.y.max()) + 1)
    return {
        "table": table.name, "split": seed, "model": contender.name,
        "error": error_of(table.task, table.y[test], predicted),
        "fit": (fitted - start) / len(train) * 1000, "predict": (end - fitted) / len(test) * 1000,
    }  # fmt: skip


def made_for(contender: Contender, table: Table) -> Any:
    """Return an untrained model."""
    return contender.make(table.task == "regression", not isinstance(table.x, np.ndarray))


def of_all_classes(probabilities: np.ndarray, classes: np.ndarray, n: int) -> np.ndarray:
    """Return probabilities with a column for each of n classes, also for those that a training set lacked."""
    every: np.ndarray = np.zeros((len(probabilities), n))
    every[:, classes] = probabilities
    return every


def error_of(task: str, y: np.ndarray, predicted: np.ndarray) -> float:
    """Return 1 - AUC for two classes, the log loss for more, the root mean squared error for numbers."""
    from sklearn.metrics import roc_auc_score

    if task == "regression":
        return float(np.sqrt(np.mean((predicted.ravel() - y) ** 2)))
    if task == "binary":
        return 1 - float(roc_auc_score(y, predicted[:, 1]))
    p = np.maximum(predicted, LEAST_PROBABILITY)
    p /= p.sum(axis=1, keepdims=True)
    return float(-np.log(p[np.arange(len(y)), y]).mean())


def summary(cells: list[dict[str, Any]], names: list[str], reference: str) -> dict[str, Any]:
    """Return for each model its errors by table, its mean rank, and its error beside the reference's with its spread.

    The error beside the reference's is the geometric mean of their ratios, first over splits, then over tables; its
    standard error is that over tables.
    """
    errors: dict[str, dict[str, dict[int, float]]] = {name: {} for name in names}
    for cell in cells:
        errors[cell["model"]].setdefault(cell["table"], {})[cell["split"]] = cell["error"]
    means = {name: {table: fmean(own.values()) for table, own in errors[name].items()} for name in names}
    complete = [name for name in names if means[name].keys() == {cell["table"] for cell in cells}]
    found: dict[str, Any] = {}
    for name in names:
        own = [cell for cell in cells if cell["model"] == name]
        ratios = [
            fmean(log_ratio(errors[name][table][seed], theirs[seed]) for seed in both)
            for table, theirs in errors.get(reference, {}).items()
            if (both := theirs.keys() & errors[name].get(table, {}).keys())
        ]
        ranks = [sorted(means[other][table] for other in complete).index(means[name][table]) + 1
                 for table in means[name]] if name in complete else []  # fmt: skip
        found[name] = {
            "errors": means[name],
            "beside": exp(fmean(ratios)) - 1 if ratios else None,
            "standard_error": exp(fmean(ratios)) * stdev(ratios) / sqrt(len(ratios)) if len(ratios) > 1 else None,
            "rank": fmean(ranks) if ranks else None,
            **{what: exp(fmean(log(max(cell[what], 1e-9)) for cell in own)) if own else None
               for what in ("fit", "predict")},
        }  # fmt: skip
    return found


def log_ratio(error: float, theirs: float) -> float:
    """Return the logarithm of the ratio of two errors."""
    return log(max(error, LEAST_ERROR) / max(theirs, LEAST_ERROR))


def one_row(contenders: Sequence[Contender], tables: Sequence[Table], rounds: int) -> dict[str, Any] | None:
    """Return the seconds of a prediction of one row, a float64 array, in turn; on the smallest table of numbers."""
    table = next((table for table in tables if isinstance(table.x, np.ndarray)), None)
    if table is None:
        return None
    row = table.x[:1].copy()
    calls = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for contender in contenders:
            model = made_for(contender, table).fit(table.x, table.y)
            method = model.predict if table.task == "regression" else model.predict_proba
            calls[contender.name] = Timer("method(row)", timer=process_time, globals={"method": method, "row": row})
        seconds = {name: median(times) for name, times in time_calls(calls, rounds).items()}
    return {"table": table.name, "columns": table.x.shape[1], "seconds": seconds}


# ---- report


def lines(result: dict[str, Any]) -> str:
    """Return the tables of a comparison."""
    reference, contenders = result["reference"], result["contenders"]
    one = result["one_row"]["seconds"] if result["one_row"] else {}
    text = [
        f"{len(result['tables'])} tables, {result['splits']} split(s), defaults, one thread; error: 1 - AUC, log loss "
        f"or RMSE; seconds: of CPU, for 1,000 rows",
        f"{'':22}{'error to ' + reference:>30}{'rank':>7}{'fit':>11}{'predict':>11}{'one row':>11}",
    ]
    for name, own in sorted(contenders.items(), key=lambda item: (item[1]["beside"] is None, item[1]["beside"])):
        times = [duration(seconds) if seconds else "" for seconds in (own["fit"], own["predict"], one.get(name))]
        rank = f"{own['rank']:.1f}" if own["rank"] else ""
        text.append(f"{name:22}{beside(own):>30}{rank:>7}" + "".join(f"{time:>11}" for time in times))
    names = list(contenders)
    widths = [max(len(name), 9) + 2 for name in names]
    text += [
        "",
        f"{'mean error':16}{'rows':>7}{'columns':>8} "
        + "".join(f"{n:>{w}}" for n, w in zip(names, widths, strict=True)),
    ]
    for table in result["tables"]:
        errors = [contenders[name]["errors"].get(table["name"]) for name in names]
        shown = ["" if error is None else f"{error:.4g}" for error in errors]
        figures = "".join(f"{error:>{w}}" for error, w in zip(shown, widths, strict=True))
        text.append(f"{table['name'][:16]:16}{table['rows']:>7}{table['columns']:>8} {figures}")
    return "\n".join([*text, *left_out(result), *(f"FAILED: {what}" for what in result["failures"])])


def beside(own: dict[str, Any]) -> str:
    """Return an error beside the reference's in words."""
    if own["beside"] is None:
        return ""
    spread = "" if own["standard_error"] is None else f" ± {100 * own['standard_error']:.1f}"
    return f"{100 * own['beside']:+.1f}{spread} %"
