"""The command line for table models: what ``nnfast predict``, ``nnfast info`` and ``nnfast export`` do with them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

import nnfast
from nnfast._cli_files import TABLE_ENDINGS, UsageError, check_written, load_matrix, say, warn, write, write_text
from nnfast._cli_frames import csv_lines, read_frame, targets_in
from nnfast._cli_scores import number, report_lines
from nnfast._validation import shown
from nnfast.tables import TableModel, load
from nnfast.tables.targets import Classes, Numbers

if TYPE_CHECKING:
    import argparse

OK, FAILED = 0, 1
MOST_NAMED = 12  # classes in a line
ROUNDED = 1e5  # centers of so many widths lose more than 1 % of a width in float32


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
    try:
        rows, given = _rows(args.file, model)
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
    x, y = _array_rows(path)
    if y is not None and y.shape != x.shape[:1]:
        raise UsageError(f"{path}: y must have shape {x.shape[:1]}, one target for each row of x, got {y.shape}")
    return x, None if y is None else (y, np.ones(len(y), bool))


def rows_of(path: str) -> Any:
    """Return the rows of a file, of a table or of an array."""
    return read_frame(path) if path.lower().endswith(TABLE_ENDINGS) else _array_rows(path)[0]


def _array_rows(path: str) -> tuple[np.ndarray, np.ndarray | None]:
    if not path.lower().endswith((".npz", ".npy")):
        raise UsageError(f"FILE must end in {', '.join(TABLE_ENDINGS)}, .npz or .npy, got {path!r}")
    return load_matrix(path)


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
        labels = model.target.classes.tolist()
        code = {str(label): i for i, label in enumerate(labels)} | {label: i for i, label in enumerate(labels)}
        truth = np.array([code.get(label, code.get(str(label), -1)) for label in targets.tolist()], int)
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
        say("\n".join(report_lines(model.target, response[usable], truth[usable], "rows")))
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
    if model.linear is not None:
        print(f"a linear model, with a share of {model.linear_share:.2f} in what the networks compute")
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
        raise UsageError(f"{path}: {error} (on the command line, --members 1), or use --to onnx or --to c") from None
    preparation = model.preparation
    used = [column for column, places in zip(preparation.columns, preparation.places(), strict=True) if places]
    other = next((column for column in used if column.kind != "number" or column.n_missing), None)
    if other is not None:
        what = f"is a {other.kind}" if other.kind != "number" else "has missing values"
        raise UsageError(
            f"{path}: an exported network can take numbers only, without missing values, but the column "
            f"{shown(other.name)} {what}: use --to onnx or --to c, which hold the preparation"
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
