"""The command line: ``nnfast train``, ``nnfast predict``, ``nnfast info``, ``nnfast export``.

Results go to standard output; progress, warnings and errors to standard error. Problems with arguments and files are
found before training begins. Once it has begun, nothing that was learned is lost: Ctrl-C ends it early, and the network
or table model is still saved. `_cli_tables` trains on tables, and `_cli_models` is for its models.
"""

from __future__ import annotations

import argparse
import io
import os
import reprlib
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import nnfast
from nnfast._cli_files import (
    PLOT_ENDINGS,
    TABLE_ENDINGS,
    Data,
    UsageError,
    check_plot,
    check_written,
    columns,
    is_number,
    load_data,
    load_rows,
    read_net,
    save_figure,
    say,
    write,
    write_text,
)
from nnfast._threads import MAX_THREADS
from nnfast.activations import NAMES
from nnfast.files.kinds import check_ending
from nnfast.kernels.arrays import all_finite
from nnfast.layers import output_activation
from nnfast.optimizers import OPTIMIZERS
from nnfast.sequential import network_of, sequential_of
from nnfast.training import DIVERGED

if TYPE_CHECKING:
    from nnfast.tables import TableModel

OK, FAILED, USAGE, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 130, 141  # the last two as a shell reports SIGINT and SIGPIPE

EPOCHS, EPOCHS_MNIST = 100, 10
LEARNING_RATES = {name: 0.1 if name == "sgd" else kind().learning_rate for name, kind in OPTIMIZERS.items()}
# of hidden layers: those with a gradient that work on each unit separately
KINDS = ("number", "category", "date", "drop")  # of columns
MAX_MEMBERS = 1000
# the options of train with their defaults
FOR_TABLES = {
    "target": None, "task": "auto", "members": 2, "kinds": (), "test_fraction": 0.2, "max_seconds": None,
}  # fmt: skip
FOR_NETWORKS = {
    "layers": [50], "activation": "sigmoid", "dropout": 0.0, "epochs": None, "batch_size": 32, "optimizer": "adam",
    "learning_rate": None, "validation": None, "data_home": None,
}  # fmt: skip
ACTIVATIONS = tuple(name for name in NAMES if name not in ("step", "softmax", "log_softmax"))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        The exit code: 0 for success, 1 if something failed while running, 2 for invalid arguments or files, 130 after
        Ctrl-C, 141 if the reader of the output went away.

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version``, and with code 2 if the arguments cannot be parsed.

    Examples
    --------
    >>> from nnfast.cli import main
    >>> main(["info"])  # doctest: +ELLIPSIS
    nnfast ...
    0
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name that the terminal cannot show must not end training
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            return _run(_parser().parse_args(argv))
        finally:
            print(end="", flush=True)
    except OSError as error:
        return _give_up_output(error)


def _give_up_output(error: OSError) -> int:
    """Give up standard output: its reader has gone, which needs no message, or its disk is full."""
    broken = isinstance(error, BrokenPipeError)
    if not broken:
        say(f"nnfast: error: {error}")
    # When Python exits, it flushes what is left: discard that, or it would fail again.
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):  # a stream replaced by the program has no file descriptor
                os.dup2(null, stream.fileno())
    return BROKEN_PIPE if broken else FAILED


def _run(args: argparse.Namespace) -> int:
    threads = getattr(args, "threads", None)
    try:
        with nnfast.num_threads(threads) if threads else nullcontext():
            _number_of_threads()
            code: int = args.run(args)
            return code
    except UsageError as error:
        return _complain(args, f"error: {error}", USAGE)
    except MemoryError as error:
        return _complain(args, f"error: not enough memory: {error}", FAILED)
    except KeyboardInterrupt:
        return _complain(args, "interrupted", INTERRUPTED)


def _complain(args: argparse.Namespace, message: str, code: int) -> int:
    say(f"nnfast {args.command}: {message}")
    return code


def _number_of_threads() -> int:
    try:
        return nnfast.get_num_threads()
    except ValueError as error:  # from the environment
        raise UsageError(str(error)) from None


# ---- arguments


TRAIN = """\
Train a network on

  digits    1,797 handwritten digits of 8x8 pixels, which come with nnfast,
  mnist     70,000 handwritten digits of 28x28 pixels, downloaded if needed, or
  FILE.npz  your own samples: an array x of shape (samples, features) and an
            array y, written by numpy.savez("FILE.npz", x=x, y=y), or
  a table   a .csv, .tsv or .parquet file with names of columns, of which
            --target is predicted from all others.

Tables are taken as they are: numbers, categories, dates and missing values. A
part of the rows is held back to test with, and a report says what became of
each column and how good the predictions are. --max-seconds ends the training
early. Tables need pandas, and .parquet files PyArrow, too:
pip install "nnfast[tables]".

If y of a .npz file holds integers, they are classes 0, 1, 2, ...: the network
ends in softmax and is trained with cross entropy. One-hot rows are classes too.
If y holds other floats, of shape (samples,) or (samples, outputs), they are
values: the network ends in identity and is trained with the mean squared error.
x and y are not scaled for you: scale them to about 1.

Ctrl-C ends training early; what was learned is still reported, saved and drawn.
A file that cannot be written where you asked is written beside it or to the
folder for temporary files, and a message says where.

examples:
  nnfast train table.csv --target price --save model.npz --plot report.png
  nnfast train digits --layers 50 20 --activation relu --plot loss.png
  nnfast train mnist --optimizer sgd --batch-size 100 --epochs 17 --save net.npz
"""
PREDICT = """\
Print a line for each sample: its class, or the values of a regression.

FILE is a .npz with an array x, a .npy, or a .csv: numbers separated by commas,
with at most one line of column names above them. Samples have the shape of
those that the network was trained on, or are flattened to rows. If a .npz also
has an array y, accuracy and loss are printed to standard error.

For a table model, FILE has the columns of the table that it was trained on, or
is a .npz or .npy with rows; a line of names comes first, then for each row its
prediction, with the probabilities of all classes. If FILE has the target, too,
scores are printed to standard error.

examples:
  nnfast predict net.npz samples.csv | head
  nnfast predict model.npz new.csv --output predictions.csv
"""
INFO = """\
Print version, SIMD level, compiler and threads; or describe a saved network:
the format of the file, layers, shapes, parameters, loss, dtype, and the
training state. Of a table model: the target, what becomes of each column, and
the networks."""
MODEL = "a saved network, .npz, .safetensors or .onnx, or a table model, .npz"
EXPORT = """\
Write a saved network in another format.

  c  a source file in C99 and its header, for programs and microcontrollers:
     MODEL.c and MODEL.h with void MODEL_predict(const float *x, float *y).
     With --calibration FILE, typical samples as for predict, its weights are
     8-bit integers, and how far its outputs are off is printed.
  onnx  for ONNX Runtime and other programs.
  safetensors  the weights for other programs, without the training state.
  torch  a program of torch.export, MODEL.pt2, which needs PyTorch alone:
     torch.export.load("MODEL.pt2").module()

Of a table model, c and onnx hold everything: preparation, categories, dates,
missing values and all networks. safetensors and torch take one network (train
with --members 1) for columns of numbers without missing values.

examples:
  nnfast export net.npz --to c --output model.c
  nnfast export model.npz --to onnx
"""
EXIT_CODES = (
    "exit codes: 0 success, 1 something failed while running, 2 invalid arguments or files, 130 Ctrl-C, "
    "141 the reader of the output went away"
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnfast",
        description="Neural networks at compiled speed on the CPU you already have.",
        epilog=EXIT_CODES,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"nnfast {nnfast.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_train(_add_command(commands, "train", _train_any, "train on digits, mnist, arrays or a table", TRAIN))
    _add_predict(_add_command(commands, "predict", _predict_any, "run a saved model on the rows of a file", PREDICT))
    info = _add_command(commands, "info", _info, "describe this installation, or a saved model", INFO)
    info.add_argument("net", metavar="MODEL", nargs="?", help=MODEL)
    _add_export(_add_command(commands, "export", _export, "write a saved model in another format", EXPORT))
    return parser


def _add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str, description: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="digits, mnist, FILE.npz, or a table: .csv, .tsv or .parquet")

    add = parser.add_argument_group("tables").add_argument
    add("--target", metavar="COLUMN", help="the column to predict")
    task = "whether the target holds classes or numbers (default: auto, which looks at its values)"
    add("--task", choices=("auto", "classify", "regress"), help=task)
    members = f"networks whose predictions are averaged (default: {FOR_TABLES['members']})"
    add("--members", metavar="N", type=_whole(1, MAX_MEMBERS), help=members)
    kinds = f"what columns hold, where it was not recognized: {', '.join(KINDS)}"
    add("--kinds", metavar="COLUMN=KIND", type=_kind, nargs="+", help=kinds)
    add("--test-fraction", metavar="PART", type=_part, help="fraction of the rows to test with (default: 0.2)")
    add("--max-seconds", metavar="S", type=_positive, help="the longest time to train for")

    add = parser.add_argument_group("network (not for tables)").add_argument
    add("--layers", metavar="N", type=_width, nargs="+", help="units of each hidden layer (default: 50)")
    add("--activation", choices=ACTIVATIONS, help="of the hidden layers (default: sigmoid)")
    add("--dropout", metavar="RATE", type=_part, help="after each hidden layer, from 0 to below 1")

    add = parser.add_argument_group("training (not for tables)").add_argument
    epochs = f"passes over the samples (default: {EPOCHS}; for mnist {EPOCHS_MNIST})"
    add("--epochs", metavar="N", type=_whole(1, sys.maxsize), help=epochs)
    add("--batch-size", metavar="N", type=_whole(1, sys.maxsize), help="samples in a mini-batch (default: 32)")
    add("--optimizer", choices=tuple(LEARNING_RATES), help="(default: adam)")
    rates = ", ".join(f"{rate} for {name}" for name, rate in LEARNING_RATES.items())
    add("--learning-rate", metavar="RATE", type=_positive, help=f"(default: {rates})")
    validation = "fraction of the samples, drawn at random, to test with (default: 0.2); mnist has its own test data"
    add("--validation", metavar="PART", type=_part, help=validation)
    home = "where the folder mnist is or will be stored (default: $NNFAST_DATA_HOME, else a cache folder)"
    add("--data-home", metavar="FOLDER", help=home)

    add = parser.add_argument_group("all").add_argument
    seed = "determines initial weights, mini-batches and the samples to test with (default: 0)"
    add("--seed", metavar="N", type=_whole(0), default=0, help=seed)
    _add_threads(add)
    plot = f"plot loss and accuracy, or for tables mistakes, importances and losses ({', '.join(PLOT_ENDINGS)})"
    add("--plot", metavar="FILE", help=plot)
    add("--save", metavar="MODEL", help="save the model, for predict and info: .npz, or for networks .safetensors")
    add("--quiet", action="store_true", help="print only the results: neither network, columns nor progress")


def _add_predict(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("net", metavar="MODEL", help=MODEL)
    parser.add_argument(
        "file", metavar="FILE", help="a .npz with x, a .npy or a .csv; for table models a .tsv or .parquet, too"
    )
    outputs = "print the outputs of the network, such as probabilities, instead of classes; not for table models"
    parser.add_argument("--outputs", action="store_true", help=outputs)
    parser.add_argument("--output", metavar="FILE", help="write the lines to this file instead of standard output")
    _add_threads(parser.add_argument)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("net", metavar="MODEL", help=MODEL)
    parser.add_argument("--to", choices=tuple(EXPORTS), required=True, help="the format")
    parser.add_argument("--output", metavar="FILE", help="the file to write (default: beside MODEL)")
    parser.add_argument("--calibration", metavar="FILE", help="typical samples, for C with 8-bit integers")


def _add_threads(add: Callable[..., object]) -> None:
    threads = "maximum number of threads (default: the number of cores); the results do not depend on it"
    add("--threads", metavar="N", type=_whole(1, MAX_THREADS), help=threads)


def _whole(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            what = "a whole number with fewer digits" if text.isdecimal() else "a whole number"
            raise argparse.ArgumentTypeError(f"must be {what}, got {reprlib.repr(text)}") from None
        if number < minimum:
            raise argparse.ArgumentTypeError(f"must be at least {minimum}, got {reprlib.repr(number)}")
        if maximum is not None and number > maximum:
            raise argparse.ArgumentTypeError(f"must be at most {maximum}, got {reprlib.repr(number)}")
        return number

    return convert


def _width(text: str) -> int:
    if text[:1].isalpha() or text.endswith(".npz"):  # --layers 50 digits
        raise argparse.ArgumentTypeError(
            f"must be whole numbers, got {reprlib.repr(text)}: put DATA before the options"
        )
    return _whole(1, sys.maxsize)(text)


def _kind(text: str) -> tuple[str, str]:
    column, equals, kind = text.rpartition("=")
    if not equals or not column:
        raise argparse.ArgumentTypeError(f"must be COLUMN=KIND, got {reprlib.repr(text)}: put DATA before the options")
    if kind not in KINDS:
        raise argparse.ArgumentTypeError(f"must be COLUMN=KIND with {', '.join(KINDS)}, got {reprlib.repr(text)}")
    return column, kind


def _positive(text: str) -> float:
    return _real(text, lambda number: 0 < number < float("inf"), "a number above 0")


def _part(text: str) -> float:
    return _real(text, lambda number: 0 <= number < 1, "a fraction: at least 0 and below 1")


def _real(text: str, fits: Callable[[float], bool], wanted: str) -> float:
    if not (is_number(text) and fits(float(text))):
        raise argparse.ArgumentTypeError(f"must be {wanted}, got {reprlib.repr(text)}")
    return float(text)


# ---- train


def _train_any(args: argparse.Namespace) -> int:
    """Train on a table or on arrays, told by the name of the file; options of the other are an error."""
    table = args.data.lower().endswith(TABLE_ENDINGS)
    others, own = (FOR_NETWORKS, FOR_TABLES) if table else (FOR_TABLES, FOR_NETWORKS)
    for name in others:
        if getattr(args, name) is not None:
            option = f"--{name.replace('_', '-')}"
            wanted = "digits, mnist and .npz files" if table else f"tables ({', '.join(TABLE_ENDINGS)})"
            raise UsageError(f"{option} is for {wanted}, got {args.data!r}")
    for name, default in own.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
    if not table:
        return _train(args)
    from nnfast import _cli_tables

    if args.target is None:
        raise UsageError(f"a table needs --target COLUMN, the column to predict: {_cli_tables.columns_of(args.data)}")
    args.kinds = dict(args.kinds)
    return _cli_tables.train(args)


def _train(args: argparse.Namespace) -> int:
    if args.save:
        try:
            check_ending("--save", args.save)
        except ValueError as error:
            raise UsageError(str(error)) from None
    check_written({"--save": args.save, "--plot": args.plot}, [args.data])
    if args.plot:
        check_plot(args.plot)
    args.epochs = args.epochs or (EPOCHS_MNIST if args.data == "mnist" else EPOCHS)
    args.learning_rate = args.learning_rate or LEARNING_RATES[args.optimizer]
    data = load_data(args)
    try:
        net = _network(args, data)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not args.quiet:
        print(data)
        net.summary()
        epochs = f"{args.epochs:,} epoch{'s' if args.epochs > 1 else ''}"
        how = f"learning rate {args.learning_rate:g}, batches of {args.batch_size:,}, {epochs}"
        print(f"{args.optimizer}, {how}, seed {args.seed}, threads: {_number_of_threads()}", flush=True)

    start = time.perf_counter()
    stopped = _fit(args, net, data)
    seconds = time.perf_counter() - start
    history = net.history
    if stopped and (history is None or not len(history.step_loss)):
        if isinstance(stopped, (TypeError, ValueError)):
            raise UsageError(str(stopped))
        raise stopped  # nothing was learned yet: an older file is worth more
    assert history is not None
    return _conclude(args, net, data, history, stopped, seconds)


def _conclude(
    args: argparse.Namespace,
    net: nnfast.Sequential,
    data: Data,
    history: nnfast.History,
    stopped: BaseException | None,
    seconds: float,
) -> int:
    """Write and report what was learned, and return the exit code; `stopped` is what ended training early."""
    # First what would be lost, then what is only printed. An older file is worth more than infinite weights.
    diverged = not (np.isfinite(history.step_loss[-1]) and all_finite(net.flat_params))
    products: Products = {
        "network": (None if diverged else args.save, net.save),
        "plot": (args.plot, lambda path: _draw(history, path)),
    }
    try:
        kept = _keep(products)
    except KeyboardInterrupt as error:  # meant for the training, or pressed a second time
        stopped = stopped or error
        kept = _keep(products)
    if isinstance(stopped, OSError):  # nobody reads the output any more
        raise stopped
    if not isinstance(stopped, MemoryError):
        _report(net, data, history, args.batch_size, seconds)
    for what, place in kept.items():
        if place:
            print(f"{what} saved as {place}")
    if diverged:
        unsaved = f", and {args.save} is unchanged" if args.save else ""
        cure = "try a smaller --learning-rate, and scale x and y to about 1"
        _complain(args, f"error: the training diverged{unsaved}: {cure}", FAILED)
    if isinstance(stopped, KeyboardInterrupt):
        total = args.epochs * history.steps_per_epoch
        return _complain(args, f"interrupted after {len(history.step_loss):,} of {total:,} steps", INTERRUPTED)
    if stopped:
        raise stopped
    return OK if all(place == products[what][0] for what, place in kept.items()) and not diverged else FAILED


Products = dict[str, tuple[str | None, Callable[[str], object]]]


def _keep(products: Products) -> dict[str, str | None]:
    """Write what was learned, to another place if necessary; return where each file is, None if nowhere."""
    return {what: write(path, writer, rescue=True) for what, (path, writer) in products.items() if path}


def _fit(args: argparse.Namespace, net: nnfast.Sequential, data: Data) -> BaseException | None:
    """Train, and return what ended it early: Ctrl-C, progress that nobody reads any more, or an error."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", DIVERGED, RuntimeWarning)  # reported at the end, as an error
            net.fit(
                data.x,
                data.y,
                epochs=args.epochs,
                batch_size=args.batch_size,
                optimizer=OPTIMIZERS[args.optimizer](args.learning_rate),
                validation_data=(data.x_test, data.y_test) if len(data.x_test) else None,
                verbose=int(not args.quiet and sys.stderr is not None),
            )
    except (KeyboardInterrupt, Exception) as error:
        return error
    return None


def _network(args: argparse.Namespace, data: Data) -> nnfast.Sequential:
    hidden: list[nnfast.layers.Layer] = []
    for units in args.layers:
        hidden.append(nnfast.Dense(units, args.activation))
        if args.dropout:
            hidden.append(nnfast.Dropout(args.dropout))
    last = nnfast.Dense(data.n_classes, "softmax") if data.n_classes else nnfast.Dense(columns(data.y), "identity")
    return nnfast.Sequential([*hidden, last], input_shape=data.x.shape[1:], seed=args.seed)


def _report(net: nnfast.Sequential, data: Data, history: nnfast.History, batch_size: int, seconds: float) -> None:
    for part, x, y in (("train", data.x, data.y), ("test", data.x_test, data.y_test)):
        if len(x):
            print(f"{part:5} {_score(net, x, y)}")
    epochs, steps = divmod(len(history.step_loss), history.steps_per_epoch)
    seen = epochs * len(data.x) + steps * batch_size  # only the last step of an epoch may be smaller
    print(f"time  {seconds:.2f} s, {seen / seconds:,.0f} samples per second")


def _score(net: nnfast.Sequential, x: np.ndarray, y: np.ndarray) -> str:
    loss = f"{net.loss_name.replace('_', ' ')} {net.loss(x, y):.4g}"
    try:
        return f"accuracy {net.accuracy(x, y):.4f}, {loss}"
    except ValueError:  # x and y are valid, as the loss has shown: there are no classes
        return loss


def _draw(history: nnfast.History, path: str) -> None:
    from matplotlib.figure import Figure  # without pyplot: no window, whatever the backend

    figure = Figure(figsize=(7.4, 3.4), dpi=150, layout="constrained")
    by_epoch = "accuracy" if "accuracy" in history else "loss"
    history.plot(figure.subplots(1, 2), quantities=["step_loss", by_epoch])
    save_figure(path, figure)


# ---- predict and info


def _predict_any(args: argparse.Namespace) -> int:
    from nnfast.tables.saving import is_table_model

    if not is_table_model(args.net):
        return _predict(args)
    from nnfast import _cli_models

    return _cli_models.predict(args)


def _predict(args: argparse.Namespace) -> int:
    check_written({"--output": args.output}, [args.net, args.file])
    net = sequential_of(read_net(args.net).network)
    rows, y = load_rows(args.file, net)
    score = None
    if y is not None:
        try:
            score = _score(net, rows, y)
        except RuntimeError as error:  # the loss is a function that the file does not hold
            say(f"{args.file}: no score: {error}")
        except (TypeError, ValueError) as error:
            raise UsageError(f"{args.file}: {error}") from None
    classes = output_activation(net.layers) in ("softmax", "sigmoid", "step") and not args.outputs
    try:
        lines = _lines(net.predict_class(rows) if classes else net.predict(rows))
    except ValueError as error:  # NaN has no class
        raise UsageError(f"{args.file}: {error}") from None
    if args.output:
        if not write(args.output, lambda path: write_text(path, lines)):
            return FAILED
    else:
        print(*lines, sep="", end="", flush=True)
    if score:
        say(score)
    return OK


def _lines(results: np.ndarray) -> list[str]:
    # str of a NumPy scalar has the digits that its dtype needs, and no more.
    return [",".join(map(str, row)) + "\n" for row in results.reshape(len(results), columns(results))]


def _info(args: argparse.Namespace) -> int:
    if args.net is None:
        nnfast.show_config()
        return OK
    from nnfast.tables.saving import is_table_model

    if is_table_model(args.net):
        from nnfast import _cli_models

        return _cli_models.info(args)
    saved = read_net(args.net)
    version = f", version {saved.description['version']} of the description" if saved.description else ""
    print(f"{args.net}: {saved.format}, {os.path.getsize(args.net):,} bytes{version}")
    sequential_of(saved.network).summary()
    print(_training_state(saved.description))
    return OK


def _training_state(description: dict[str, Any] | None) -> str:
    """Return a line on what a file holds besides layers and their arrays."""
    if description is None or description["streams"] is None:
        return "training state: none"
    parts = []
    optimizer, place = description["optimizer"], description.get("place")
    if optimizer is not None:
        vectors = len(optimizer["moments"]) + optimizer["averaged"]
        parts.append(f"optimizer {optimizer['kind']} (steps: {optimizer['steps']:,}, vectors: {vectors})")
    if place is not None:
        within = f" and {place['position']:,} of {place['n']:,} rows" if "drawing" in place else ""
        parts.append(f"epochs: {place['epochs']:,}{within}")
    return f"training state: {', '.join([*parts, 'random streams'])}"


# ---- export


def _export(args: argparse.Namespace) -> int:
    from nnfast.tables.saving import is_table_model

    path = args.output or f"{os.path.splitext(args.net)[0]}.{ENDINGS.get(args.to, args.to)}"
    if not is_table_model(args.net):
        return EXPORTS[args.to](args, sequential_of(read_net(args.net).network), path)
    from nnfast import _cli_models

    if args.to in WHOLE:
        return WHOLE[args.to](args, _cli_models.read_model(args.net), path)
    return EXPORTS[args.to](args, _cli_models.network_for_export(args.net), path)


def _export_c(args: argparse.Namespace, net: nnfast.Sequential | TableModel, path: str) -> int:
    from nnfast.files.c import paths_of

    inputs = [args.net, *([args.calibration] if args.calibration else [])]
    try:
        for file in paths_of(path):
            check_written({"--output": file}, inputs)
        samples = _calibration(args.calibration, net) if args.calibration else None
        written = net.to_c(path, dtype="int8" if args.calibration else None, calibration=samples)
    except OSError as error:
        say(f"nnfast: error: cannot write {path}: {error.strerror or error}")
        return FAILED
    except (TypeError, ValueError) as error:
        raise UsageError(str(error).replace("calibration:", f"{args.calibration}:", 1)) from None
    sizes = f"{written.constant_bytes:,} bytes of constants, {written.stack_bytes:,} bytes of stack"
    print(f"{written.function} in {written.source} and {written.header}: {sizes}")
    lost = written.difference
    if lost is not None:
        print(f"int8: outputs differ by at most {lost.largest:.3g}, {lost.mean:.3g} on average")
        if lost.agreement is not None:
            print(f"int8: {lost.agreement:.2%} of the samples have the same class")
    return OK


def _calibration(path: str, net: nnfast.Sequential | TableModel) -> Any:
    """Return the samples of a file, for a network, or the rows of a table."""
    if isinstance(net, nnfast.Sequential):
        return load_rows(path, net)[0]
    from nnfast import _cli_models

    return _cli_models.rows_of(path)


def _export_file(args: argparse.Namespace, save: Callable[[str], object], path: str) -> int:
    """Write one file."""
    if args.calibration:
        raise UsageError("--calibration needs --to c")
    check_written({"--output": path}, [args.net])
    if not write(path, save):
        return FAILED
    print(f"{path}: {os.path.getsize(path):,} bytes")
    return OK


def _export_onnx(args: argparse.Namespace, net: nnfast.Sequential | TableModel, path: str) -> int:
    return _export_file(args, net.to_onnx, path)


def _export_safetensors(args: argparse.Namespace, net: nnfast.Sequential, path: str) -> int:
    if not path.lower().endswith(".safetensors"):
        raise UsageError(f"--output must end in .safetensors, got {path!r}")
    return _export_file(args, partial(net.save, training_state=False), path)


def _export_torch(args: argparse.Namespace, net: nnfast.Sequential, path: str) -> int:
    if not path.lower().endswith(".pt2"):
        raise UsageError(f"--output must end in .pt2, got {path!r}")
    try:
        from nnfast.files.pytorch import export
    except ImportError as error:
        raise UsageError(str(error)) from None
    return _export_file(args, partial(export.save, network_of(net)), path)


EXPORTS: dict[str, Callable[[argparse.Namespace, nnfast.Sequential, str], int]] = {
    "c": _export_c,
    "onnx": _export_onnx,
    "safetensors": _export_safetensors,
    "torch": _export_torch,
}
# Formats that hold whole table models.
WHOLE: dict[str, Callable[[argparse.Namespace, TableModel, str], int]] = {"c": _export_c, "onnx": _export_onnx}
ENDINGS = {"torch": "pt2"}  # of files, where it is not the name of the format
