"""The command line for tables: ``nnfast train table.csv --target COLUMN`` and its report."""

from __future__ import annotations

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
    save_figure,
    say,
    write,
)
from nnfast._cli_frames import check_target, listed, read_frame, targets_in
from nnfast._cli_scores import lines_of, number, report_lines
from nnfast._validation import require, shown
from nnfast.kernels.arrays import all_finite
from nnfast.tables import TableModel, fit_table
from nnfast.tables.model import INTERRUPTED, looks_like_classes
from nnfast.tables.targets import Classes, Numbers
from nnfast.training import DIVERGED

if TYPE_CHECKING:
    import argparse

OK, FAILED, STOPPED = 0, 1, 130  # the last one as a shell reports Ctrl-C
TASKS = {"auto": "auto", "classify": "classification", "regress": "regression"}
FEW_CLASSES = 20  # whole floats of which are suspected to be classes
MOST_SINGLE = 20  # texts that may all differ
MOST_NAMED = 12  # classes in a line
MOST_IMPORTANCES = 10  # columns in the report
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
    networks = [*(member.net for member in model.members), *([model.linear] if model.linear else [])]
    diverged = not all(all_finite(net.flat_params) for net in networks)
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
    if model.interrupted:
        say(f"nnfast train: interrupted after {_epochs(model)}")
        return STOPPED
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
    if targets.dtype.kind == "U" and len(np.unique(targets)) == len(targets) > MOST_SINGLE:
        raise UsageError(
            f"{args.data}: the target {shown(args.target)} has another text in each row: there are no classes"
        )
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
        doubtful = classes.dtype.kind in "iu" and len(named) > 2 and args.task == "auto"
        advice = "; if they are amounts, use --task regress" if doubtful else ""
        lines.append(f"target {args.target}: {len(named):,} classes: {', '.join(named[:MOST_NAMED])}{more}{advice}")
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
            warnings.filterwarnings("ignore", INTERRUPTED, UserWarning)  # also reported at the end
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
        print(*report_lines(model.target, response, truth, "test rows", _trivial(model, split)), sep="\n")
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
    n = len(model.members)
    each = f"{model.members[0].net.flat_params.size:,} parameters"
    linear = f"\na linear model beside them has a share of {model.linear_share:.2f}" if model.linear else ""
    return f"{n} network{'s' * (n > 1)} of {each}{' each' * (n > 1)}, trained for {_epochs(model)}{linear}"


def _epochs(model: TableModel) -> str:
    """Return how many epochs the networks were trained for, in words."""
    epochs = [len(member.history["loss"]) for member in model.members if member.history is not None]
    low, high = min(epochs), max(epochs)
    return f"{low if low == high else f'{low} to {high}'} epoch{'s' * (high != 1)}"


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
    panels.append(lambda ax: _plot_losses(model, ax))
    rows, columns = (2, 2) if len(panels) == 4 else (1, len(panels))
    figure = Figure(figsize=(5.2 * columns, 4.4 * rows), dpi=120, layout="constrained")
    for draw, ax in zip(panels, figure.subplots(rows, columns, squeeze=False).flat, strict=True):
        draw(ax)
    return figure


def _plot_losses(model: TableModel, ax: Any) -> None:
    """Draw the losses of each network in training, and dashed those of its averages on the rows that it held back."""
    from nnfast import plotting

    runs = {f"network {i}": member.history for i, member in enumerate(model.members, start=1) if member.history}
    plotting.plot_history(runs, quantities="loss", axes=ax)
    for name, line, member in zip(runs, ax.get_lines(), model.members, strict=False):
        losses = member.held_losses
        ax.plot(range(1, len(losses) + 1), losses, "--", color=line.get_color(), label=f"{name}, held rows")
    ax.legend()
