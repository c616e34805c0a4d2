"""The command line for tables: ``nnfast train table.csv --target COLUMN``, and the other commands for its models."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import nnfast
from nnfast._cli_files import (
    TABLE_ENDINGS,
    UsageError,
    check_plot,
    check_written,
    load_matrix,
    save_figure,
    say,
    warn,
    write,
    write_text,
)
from nnfast._cli_frames import check_target, csv_lines, listed, read_frame, targets_in
from nnfast._cli_scores import Score, lines_of, matrix_lines, number, score_lines, scores_of
from nnfast._validation import require, shown
from nnfast.kernels.arrays import all_finite
from nnfast.tables import TableModel, fit_table, load
from nnfast.tables.model import looks_like_classes
from nnfast.tables.targets import Classes, Numbers
from nnfast.training import DIVERGED

if TYPE_CHECKING:
    import argparse

OK, FAILED, USAGE = 0, 1, 2
TASKS = {"auto": "auto", "classify": "classification", "regress": "regression"}
FEW_CLASSES = 20  # whole floats of which are suspected to be classes
MOST_NAMED = 12  # classes in a line
MOST_IMPORTANCES = 10  # columns in the report
ROUNDED = 1e5  # centers of so many widths lose more than 1 % of a width in float32
NOT_SAVED = (".safetensors", ".onnx", *TABLE_ENDINGS)  # endings of other formats


class Split(NamedTuple):
    """Rows of a table to train on and to test with; all have a target."""

    frame: Any  # a DataFrame of pandas, without the target
    targets: np.ndarray
    test: np.ndarray  # which rows are held back, as booleans
    task: str
    n_repeated: int  # rows that are equal to an earlier one


# ---- train


def train(args: argparse.Namespace) -> int:
    """Train on a table, report and save."""
    _check_outputs(args)
    frame = read_frame(args.data)
    split = _split(args, frame)
    if not args.quiet:
        print(*_described(args, frame, split), sep="\n", flush=True)
    start = time.perf_counter()
    model = _fit(args, split)
    seconds = time.perf_counter() - start
    diverged = not all(all_finite(member.net.flat_params) for member in model.members)
    if diverged:
        unsaved = f", and {args.save} is unchanged" if args.save else ""
        say(f"nnfast train: error: the training diverged{unsaved}: look for very large numbers in the table")
        return FAILED
    # First what would be lost, then what is only printed.
    saved = write(args.save, model.save, rescue=True) if args.save else None
    drawn = _report(args, model, split)
    print(f"time  {seconds:.2f} s")
    for what, place in (("model", saved), ("plot", drawn)):
        if place:
            print(f"{what} saved as {place}")
    return OK if (saved, drawn) == (args.save, args.plot) else FAILED


def columns_of(path: str) -> str:
    """Return a sentence with the names of the columns of a table."""
    return listed(read_frame(path).columns.tolist())


def _check_outputs(args: argparse.Namespace) -> None:
    check_written({"--save": args.save, "--plot": args.plot}, [args.data])
    if args.save and args.save.lower().endswith(NOT_SAVED):
        raise UsageError(f"--save: a table model is a .npz file, got {args.save!r}")
    if args.plot:
        check_plot(args.plot)


def _split(args: argparse.Namespace, frame: Any) -> Split:
    """Return the rows with a target, and which of them are for the test."""
    check_target(args.data, frame.columns.tolist(), args.target)
    if len(frame.columns) == 1:
        raise UsageError(f"{args.data} has no column besides the target")
    if args.target in args.kinds:
        raise UsageError(
            f"--kinds: {shown(args.target)} is the target: --task says whether it holds classes or numbers"
        )
    try:
        targets, known = targets_in(frame, args.target)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{args.data}: {error}") from None
    if not known.any():
        raise UsageError(f"{args.data}: the target {shown(args.target)} is missing in all rows")
    if targets.dtype.kind == "M":
        raise UsageError(f"{args.data}: the target {shown(args.target)} holds dates: make numbers or classes of them")
    task = TASKS[args.task]
    if task == "auto":
        task = "classification" if looks_like_classes(targets) else "regression"
    if task == "regression" and targets.dtype.kind not in "fiub":
        raise UsageError(f"{args.data}: --task regress needs numbers, but {shown(args.target)} holds text")
    kept = frame[known]
    same = _same(kept)
    test = _held_back(same, targets if task == "classification" else None, args)
    return Split(kept.drop(columns=args.target), targets, test, task, len(same) - len(np.unique(same)))


def _held_back(same: np.ndarray, classes: np.ndarray | None, args: argparse.Namespace) -> np.ndarray:
    """Return which rows are held back for a test: about the same share of each class.

    Rows that have the same number in `same` stay together. At least one row of each class is trained on.
    """
    n, fraction = len(same), args.test_fraction
    _, first, group = np.unique(same, return_index=True, return_inverse=True)
    order = np.random.default_rng(args.seed).permutation(len(first))
    ends = np.zeros(len(order), bool)
    ends[0] = True
    if classes is not None:
        codes = np.unique(classes, return_inverse=True)[1][first]
        order = order[np.argsort(codes[order], kind="stable")]
        ends = np.append(True, codes[order][1:] != codes[order][:-1])
    taken = np.diff(np.floor(np.arange(len(order) + 1) * fraction + 1e-9)) > 0
    held: np.ndarray = np.zeros(len(order), bool)
    held[order] = taken & ~ends
    test: np.ndarray = held[group]
    if fraction and not test.any():
        raise UsageError(
            f"--test-fraction {fraction:g} of {n} row(s) leaves none to test with: for no test use --test-fraction 0"
        )
    if n - test.sum() < 2:
        raise UsageError(f"{args.data}: there must be at least 2 rows to train on, got {n - test.sum()}")
    return test


def _same(frame: Any) -> np.ndarray:
    """Return a number for each row, equal for equal rows."""
    try:
        return require("pandas.util", "tables").hash_pandas_object(frame, index=False).to_numpy()
    except TypeError:  # lists and the like, which the preparation refuses with their column
        return np.arange(len(frame))


def _described(args: argparse.Namespace, frame: Any, split: Split) -> list[str]:
    """Return lines on the table, its target and its rows."""
    n, n_test, n_lost = len(split.targets), int(split.test.sum()), len(frame) - len(split.targets)
    lines = [f"{args.data}: {len(frame):,} rows, {len(frame.columns) - 1:,} columns besides the target"]
    if split.task == "classification":
        classes, counts = np.unique(split.targets, return_counts=True)
        named = [f"{c} ({k:,})" for c, k in zip(classes.tolist(), counts.tolist(), strict=True)]
        more = f", ... {len(named) - MOST_NAMED:,} more" if len(named) > MOST_NAMED else ""
        lines.append(f"target {args.target}: {len(named):,} classes: {', '.join(named[:MOST_NAMED])}{more}")
    else:
        numbers = split.targets
        low, high, mean = (number(float(value)) for value in (numbers.min(), numbers.max(), numbers.mean()))
        few = len(np.unique(numbers)) <= FEW_CLASSES and (numbers == np.rint(numbers)).all()
        advice = "; if they are classes, use --task classify" if few and args.task == "auto" else ""
        lines.append(f"target {args.target}: numbers from {low} to {high}, mean {mean}{advice}")
    if n_lost:
        lines.append(f"{n_lost:,} row{'s' * (n_lost > 1)} without a target: left out")
    if split.n_repeated:
        kept = ": equal rows are never both trained on and tested with" if n_test else ""
        lines.append(f"{split.n_repeated:,} repeated row{'s' * (split.n_repeated > 1)}{kept}")
    held = f"{n_test:,} held back for the test" if n_test else "none held back for a test"
    lines.append(f"{n - n_test:,} rows to train on, {held}; seed {args.seed}, threads: {nnfast.get_num_threads()}")
    return lines


def _fit(args: argparse.Namespace, split: Split) -> TableModel:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", DIVERGED, RuntimeWarning)  # reported at the end, as an error
            model = fit_table(
                split.frame[~split.test],
                split.targets[~split.test],
                task=split.task,
                n_members=args.members,
                kinds=args.kinds,
                max_seconds=args.max_seconds,
                seed=args.seed,
                verbose=int(not args.quiet),
            )
    except KeyError as error:
        raise UsageError(f"--kinds: {error.args[0]}") from None
    except (TypeError, ValueError) as error:
        raise UsageError(f"{args.data}: {error}") from None
    model.target_name = args.target
    return model


# ---- the report


def _report(args: argparse.Namespace, model: TableModel, split: Split) -> str | None:
    """Print what was done and the scores; draw the plot and return where it is, None if nowhere."""
    if not args.quiet:
        print(f"\n{model.preparation.report(max_rows=60)}\n\n{_trained(model)}")
    importances = None if model.held is None else model.importances(seed=args.seed)
    names = [str(column.name) for column in model.preparation.columns]
    response = truth = None
    if split.test.any():
        response, truth = (
            model.response(model.prepared(split.frame[split.test])),
            _truth(model, split.targets[split.test]),
        )
        print(*_score_lines(model, response, truth, "test rows", _trivial(model, split)), sep="\n")
    else:
        print(*_held_lines(model), sep="\n")
    if importances is not None and importances.any() and not args.quiet:
        first = np.argsort(-importances, kind="stable")[:MOST_IMPORTANCES]
        rows = [["column", "importance"], *([names[i], f"{importances[i]:.3f}"] for i in first if importances[i])]
        print(
            "",
            *lines_of(rows),
            "importance: how much worse predictions become if the column is shuffled; sum 1",
            "",
            sep="\n",
        )
    if not args.plot:
        return None
    return write(
        args.plot, lambda at: save_figure(at, _figure(model, importances, names, response, truth)), rescue=True
    )


def _trained(model: TableModel) -> str:
    """Return a line on the networks and how long they were trained."""
    epochs = [len(member.history["loss"]) for member in model.members if member.history is not None]
    n = len(model.members)
    each = f"{model.members[0].net.flat_params.size:,} parameters"
    spread = f"{min(epochs)}" if min(epochs) == max(epochs) else f"{min(epochs)} to {max(epochs)}"
    return f"{n} network{'s' * (n > 1)} of {each}{' each' * (n > 1)}, trained for {spread} epochs"


def _truth(model: TableModel, targets: np.ndarray) -> np.ndarray:
    """Return the numbers of classes, or numbers, for targets that the model knows."""
    if isinstance(model.target, Classes):
        return model.target.values(targets)
    return targets.astype(np.float64)


def _trivial(model: TableModel, split: Split) -> np.ndarray:
    """Return the response that is best without regard to the row: shares of classes, or the mean."""
    targets = _truth(model, split.targets[~split.test])
    if isinstance(model.target, Classes):
        return np.bincount(targets, minlength=model.target.units) / len(targets)
    return np.array([targets.mean()])


def _score_lines(
    model: TableModel, response: np.ndarray, truth: np.ndarray, what: str, trivial: np.ndarray | None = None
) -> list[str]:
    """Return the scores of predictions, and for few classes the confusion matrix."""
    target = model.target
    constant = "most frequent class" if isinstance(target, Classes) else "mean"
    scores: list[Score] = scores_of(target, response, truth, trivial)
    lines = score_lines(scores, len(truth), what, constant)
    if isinstance(target, Classes):
        if trivial is not None:
            lines[-1] += "; the log loss beside it is that of the shares of the classes"
        matrix = matrix_lines(target, response.argmax(axis=1), truth)
        lines += ["", *matrix] if matrix else []
    return lines


def _held_lines(model: TableModel) -> list[str]:
    """Return the scores of the networks on the rows that each held back."""
    if not model.held_scores:
        return ["no scores: there are too few rows to hold some back"]
    rows = [["rows held back in training", "score"]]
    for name in model.held_scores[0]:
        values = [scores[name] for scores in model.held_scores]
        spread = f" ± {number(float(np.std(values, ddof=1)), 2)}" if len(values) > 1 else ""
        rows.append([name.replace("_", " "), number(float(np.mean(values))) + spread])
    what = "±: the standard deviation over the networks; t" if len(model.members) > 1 else "T"
    return [*lines_of(rows), f"{what}hese rows chose the best epoch, so scores on new rows may be a little worse"]


def _figure(
    model: TableModel,
    importances: np.ndarray | None,
    names: Sequence[str],
    response: np.ndarray | None,
    truth: np.ndarray | None,
) -> Any:
    """Return a figure of what is known about a model: mistakes on test rows, importances, and losses."""
    from matplotlib.figure import Figure  # without pyplot: no window, whatever the backend

    from nnfast import plotting
    from nnfast.plotting.mistakes import MOST_CLASSES

    panels: list[Callable[[Any], object]] = []
    if response is not None and truth is not None:
        if isinstance(model.target, Classes) and model.target.units <= MOST_CLASSES:
            labels = [str(label) for label in model.target.classes.tolist()]
            predicted = response.argmax(axis=1)
            panels.append(
                lambda ax: plotting.plot_confusion_matrix(lambda _: predicted, truth, truth, names=labels, ax=ax)
            )
        if isinstance(model.target, Numbers):
            numbers = model.target.predicted(response)
            panels.append(lambda ax: plotting.plot_predictions(truth, numbers, ax=ax))
            panels.append(lambda ax: plotting.plot_residuals(truth, numbers, ax=ax))
    if importances is not None:
        panels.append(lambda ax: plotting.plot_importances(importances, names, ax=ax))
    histories = [member.history for member in model.members if member.history is not None]
    runs = {f"network {i + 1}": history for i, history in enumerate(histories)}
    panels.append(lambda ax: plotting.plot_history(runs if len(runs) > 1 else histories[0], quantities="loss", axes=ax))
    rows, columns = (2, 2) if len(panels) == 4 else (1, len(panels))
    figure = Figure(figsize=(5.2 * columns, 4.4 * rows), dpi=120, layout="constrained")
    for draw, ax in zip(panels, figure.subplots(rows, columns, squeeze=False).flat, strict=True):
        draw(ax)
    return figure


# ---- predict, info and export


def read_model(path: str) -> TableModel:
    """Read a table model; UsageError if that fails."""
    try:
        return load(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except nnfast.LoadError as error:
        raise UsageError(str(error)) from None


def predict(args: argparse.Namespace) -> int:
    """Write predictions for the rows of a file, and print their scores if it has the targets."""
    if args.outputs:
        raise UsageError("--outputs is for networks: the predictions of a table model come with their probabilities")
    if args.output and args.output.lower().endswith(TABLE_ENDINGS) and not args.output.lower().endswith(".csv"):
        raise UsageError(f"--output: predictions are written as .csv, got {args.output!r}")
    check_written({"--output": args.output}, [args.net, args.file])
    model = read_model(args.net)
    rows, given = _rows(args.file, model)
    try:
        response = model.response(model.prepared(rows))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{args.file}: {error}") from None
    names, columns = _columns(model, response)
    lines = csv_lines(names, columns)
    if args.output:
        if not write(args.output, lambda path: write_text(path, lines)):
            return FAILED
    else:
        print(*lines, sep="", end="", flush=True)
    if given is not None:
        _say_scores(args.file, model, response, *given)
    return OK


def _rows(path: str, model: TableModel) -> tuple[Any, tuple[np.ndarray, np.ndarray] | None]:
    """Return the rows of a file, and its targets with a mask of the rows that have one, None if it has none."""
    if path.lower().endswith(TABLE_ENDINGS):
        frame = read_frame(path)
        name = model.target_name
        return frame, None if name is None or name not in frame.columns else targets_in(frame, name)
    if not path.lower().endswith((".npz", ".npy")):
        raise UsageError(f"FILE must end in {', '.join(TABLE_ENDINGS)}, .npz or .npy, got {path!r}")
    x, y = load_matrix(path)
    if y is not None and y.shape != x.shape[:1]:
        raise UsageError(f"{path}: y must have shape {x.shape[:1]}, one target for each row of x, got {y.shape}")
    return x, None if y is None else (y, np.ones(len(y), bool))


def _columns(model: TableModel, response: np.ndarray) -> tuple[list[str], list[list[Any]]]:
    """Return the names and the values of the columns of predictions."""
    names, columns = ["prediction"], [model.target.predicted(response).tolist()]
    if isinstance(model.target, Classes):
        names += [f"probability_{label}" for label in model.target.classes.tolist()]
    elif isinstance(model.target, Numbers) and model.target.quantiles:
        names += [f"quantile_{quantile:g}" for quantile in model.target.quantiles]
    else:
        return names, columns
    return names, [*columns, *response.T.tolist()]


def _say_scores(path: str, model: TableModel, response: np.ndarray, targets: np.ndarray, known: np.ndarray) -> None:
    """Print the scores of the rows whose target is known, to standard error."""
    response = response[known]
    if isinstance(model.target, Classes):
        code = {label: i for i, label in enumerate(model.target.classes.tolist())}
        truth = np.array([code.get(label, -1) for label in targets.tolist()], int)
        usable = truth >= 0
    elif targets.dtype.kind in "fiub":
        truth = targets.astype(np.float64)
        usable = np.isfinite(truth)
    else:
        return say(f"{path}: no score: its targets are not numbers")
    n_lost = len(known) - int(usable.sum())
    if n_lost:
        what = "a target that the model knows" if model.classes is not None else "a finite target"
        say(f"{path}: {n_lost:,} row{'s' * (n_lost > 1)} without {what}: left out of the scores")
    if usable.any():
        say("\n".join(_score_lines(model, response[usable], truth[usable], "rows")))
    return None


def info(args: argparse.Namespace) -> int:
    """Describe a table model."""
    model = read_model(args.net)
    target = model.target
    print(f"{args.net}: table model, {os.path.getsize(args.net):,} bytes")
    name = "" if model.target_name is None else f" {model.target_name}"
    if isinstance(target, Classes):
        labels = [str(label) for label in target.classes.tolist()]
        more = f", ... {len(labels) - MOST_NAMED:,} more" if len(labels) > MOST_NAMED else ""
        print(f"target{name}: {len(labels):,} classes: {', '.join(labels[:MOST_NAMED])}{more}")
    elif isinstance(target, Numbers):
        what = (
            f"quantiles {', '.join(f'{q:g}' for q in target.quantiles)} of a number" if target.quantiles else "a number"
        )
        print(f"target{name}: {what} from {number(target.low)} to {number(target.high)}, mean {number(target.mean)}")
    print(model.preparation.report())
    n = len(model.members)
    print(f"{n} network{'s' * (n > 1)}{', each' * (n > 1)}:")
    model.members[0].net.summary()
    return OK


def network_for_export(path: str) -> nnfast.Sequential:
    """Return the network of a model for numbers, which takes the numbers as they are in the table.

    Raises
    ------
    UsageError
        If the model has several networks, or columns that need more than centering and scaling.
    """
    model = read_model(path)
    try:
        net = model.to_network()
    except ValueError as error:
        raise UsageError(f"{path}: {error} (on the command line, --members 1)") from None
    preparation = model.preparation
    used = [column for column, places in zip(preparation.columns, preparation.places(), strict=True) if places]
    other = next((column for column in used if column.kind != "number" or column.n_missing), None)
    if other is not None:
        what = f"is a {other.kind}" if other.kind != "number" else "has missing values"
        raise UsageError(
            f"{path}: an exported network can take numbers only, without missing values, but the column "
            f"{shown(other.name)} {what}: leave it out of the table, or prepare the rows in Python: "
            "nnfast.tables.load(MODEL).to_network() takes the rows that model.prepared(X) returns"
        )
    arrays = preparation.arrays()
    center, width = arrays["center"], arrays["width"]
    if (np.abs(center) > ROUNDED * width).any():
        warn("some numbers differ little for their size: the exported network takes them as float32, which rounds them")
    scale = nnfast.Scale(gamma_initializer=1 / width, beta_initializer=-center / width, trainable=False)
    layers = [scale, *net.layers]
    exported = nnfast.Sequential(layers, input_shape=len(used), loss=net.loss_function)
    for ours, theirs in zip(list(exported.params)[2:], list(net.params), strict=True):
        exported.params[ours][...] = net.params[theirs]
    names = [str(i) if column.name is None else column.name for i, column in enumerate(used)]
    say(f"inputs, in this order: {', '.join(names)}")
    if isinstance(model.target, Numbers):
        low, high = number(model.target.low), number(model.target.high)
        say(f"the predictions of the model are limited to the range from {low} to {high}; those of the export are not")
    return exported
