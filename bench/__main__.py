"""`python -m bench`: read the command line, measure, report."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.machine import cores, pin, unpinned
from bench.workloads import ACTIVATIONS, OPTIMIZERS, USUAL, WORKLOADS, Network, Workload

OTHERS = {
    "inference": "one sample at a time, and 10,000 at once",
    "calls": "predict_one compared with ONNX Runtime, train_step with a step of fit, and other small calls",
    "threads": "fit with 1, 2, 4 and 8 threads allowed, even if there are fewer cores",
    "shapes": "fit with two threads allowed compared with one, on the networks of the sweep: takes 5 minutes",
    "traffic": "bytes that cross between cores in a training step, by design, for 2, 8 and 32 threads",
    "many": "many networks in one call: fit_many, a loop of fit, JAX's vmap, joblib with scikit-learn",
    "loop": "what callbacks, losses of one's own and data of other kinds cost; memory; a deep Q-network beside peers",
    "gradients": "numerical gradients of a network and of a function, compared with the book's loop and peers",
    "sklearn": "nnfast's scikit-learn estimators beside scikit-learn's own: takes minutes",
    "tables": "table models with their defaults, nnfast's beside gradient boosting: takes minutes to hours",
    "ingredients": "what dropout, norms, gelu and others add to a training step, in nnfast and in PyTorch",
    "mnist": "the recipe of examples/mnist_best.py, in nnfast and in PyTorch: takes minutes",
    "imports": "import nnfast compared with import numpy",
    "c": "predict_one compared with predictors in Cython and the C that to_c writes; does not depend on --threads",
    "sweep": "many shapes, batches, activations and optimizers against the fastest peer: takes 20 minutes",
}
ONCE = (
    "threads",
    "shapes",
    "traffic",
    "imports",
    "sklearn",
    "tables",
    "c",
)  # with the first of --threads, if it matters
# besides training, these accept a network described on the command line
OWN = ("inference", "calls", "threads", "traffic", "many")
ALL = "all"  # the name of all workloads
DEFAULT = [*USUAL, "inference"]
ROUNDS, MANY_ROUNDS = 5, 15
INGREDIENT_STEPS = 200  # per round
EPOCH_STEPS = 600  # for training with numerical gradients
OWN_STEPS = 2_000  # for a network described on the command line


def main() -> int:
    """Run what the command line asks for; return 1 if a peer did not train the same network."""
    options = read_arguments()
    # Move the current folder to the end: an installed nnfast takes precedence over one built in place.
    sys.path.append(sys.path.pop(0))
    if len(options.threads) == 1:
        runs = [run_here(options)]
    else:
        runs = [run_apart(n, again=i > 0) for i, n in enumerate(options.threads)]
    if options.json:
        options.json.write_text(json.dumps({"runs": runs}, indent=2) + "\n", encoding="utf-8")
    if options.chart:
        from bench.charts import draw

        draw(runs, options.chart)
    races = [
        race
        for run in runs
        for race in [*run["training"], *run["inference"], *run.get("calls", {}).get("rows", []), run.get("sklearn")]
        if race
    ]
    return int(any(race["disagreements"] for race in races))


def run_apart(threads: int, again: bool) -> dict[str, Any]:
    """Measure in a separate process: most libraries read the number of threads when they are imported."""
    arguments = [argument for argument in sys.argv[1:] if not (again and argument in (*ONCE, "--busy"))]
    with TemporaryDirectory() as folder:
        path = Path(folder, "figures.json")
        arguments += ["--threads", str(threads), "--json", str(path), "--no-chart"]
        subprocess.run([sys.executable, "-m", "bench", *arguments], cwd=Path(__file__).parents[1], check=False)
        if not path.exists():
            sys.exit(f"the run on {threads} thread(s) failed")
        run: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["runs"][0]
        return run


def run_here(options: argparse.Namespace) -> dict[str, Any]:
    """Measure with one number of threads."""
    threads = options.threads[0]
    pin(threads, threads)

    from bench import report  # this imports NumPy, so not before `pin`
    from bench.machine import describe

    if options.brief:
        shorten()
    machine = describe(threads)
    print(report.machine_lines(machine), flush=True)
    run: dict[str, Any] = {"machine": machine, "training": [], "inference": []}
    if options.workloads:
        run_races(options, run)
    others: dict[str, Callable[[argparse.Namespace, dict[str, Any]], None]] = {
        "inference": run_inference, "calls": run_calls, "threads": run_threads, "shapes": run_shapes,
        "traffic": run_traffic, "many": run_many, "loop": run_loop,
        "gradients": run_gradients, "sklearn": run_sklearn, "ingredients": run_ingredients, "mnist": run_mnist,
        "imports": run_imports, "sweep": run_sweep, "c": run_exported, "tables": run_tables,
    }  # fmt: skip
    for name in options.names:
        if name in others:
            others[name](options, run)
    return run


def shorten() -> None:
    """Let measurements and the rests between them be short, to try the benchmark rather than to measure."""
    from bench import inference, peak, race

    inference.SECONDS = race.REST = 1e-3
    peak.TRIES = 1


def run_races(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Train all installed peers, and print the tables."""
    from bench import report
    from bench.peak import Peak
    from bench.peers import TRAINERS
    from bench.race import race

    peers, absent = present(TRAINERS)
    peak = Peak(options.threads[0])
    for workload in options.workloads:
        steps, rounds = options.steps or workload.steps, options.rounds or ROUNDS
        print(f"\n{workload.name}: {workload}", flush=True)
        result = race(workload, peers, threads=options.threads[0], rounds=rounds, steps=steps, peak=peak)
        run["training"].append(result | {"absent": absent, "flops": workload.flops})
        run["peak"] = peak.figures()
        print(report.race_lines(run["training"][-1]), flush=True)
    print("\n" + report.peak_lines(run), flush=True)


def run_inference(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Run the networks of all peers, and print the tables."""
    from bench import report
    from bench.inference import race_predictors
    from bench.peers import PREDICTORS
    from bench.workloads import INFERENCE

    peers, absent = present(PREDICTORS)
    networks = [options.own.network] if options.own else INFERENCE
    for network in networks:
        print(f"\ninference: {network}, softmax", flush=True)
        result = race_predictors(network, peers, threads=options.threads[0], rounds=options.rounds or ROUNDS)
        run["inference"].append(result | {"absent": absent})
        print(report.inference_lines(run["inference"][-1]), flush=True)


def run_calls(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Time small calls."""
    from bench import report
    from bench.calls import compare_calls

    own = options.own and [options.own]
    run["calls"] = compare_calls(options.rounds or MANY_ROUNDS, options.threads[0], own)
    print("\n" + report.calls_lines(run["calls"]), flush=True)


def run_threads(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Train nnfast alone, with several numbers of threads; with --busy again beside another program."""
    from bench import report
    from bench.threads import compare_threads, neighbor

    workloads = [options.own] if options.own else list(WORKLOADS.values())
    rounds = options.rounds or ROUNDS
    steps = options.steps and max(1, options.steps // rounds)
    for name, beside in ({"threads": nullcontext} | ({"busy": neighbor} if options.busy else {})).items():
        with unpinned(), beside():
            run[name] = [compare_threads(workload, rounds, steps) for workload in workloads]
        print(f"\n{report.threads_lines(run[name], busy=name == 'busy')}", flush=True)


def run_shapes(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Compare two threads with one on many networks, and print the lowest ratios."""
    from bench import report
    from bench.sweep import sweep
    from bench.threads import CELL_BAR, compare_cell

    with unpinned():
        run["shapes"] = sweep(lambda workload: compare_cell(workload, options.rounds or 3))
    print("\n" + report.shapes_lines(run["shapes"], CELL_BAR), flush=True)


def run_traffic(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Count the bytes that cross between cores; nothing is measured."""
    from bench import report
    from bench.traffic import traffic

    run["traffic"] = [traffic(workload) for workload in ([options.own] if options.own else WORKLOADS.values())]
    print("\n" + report.traffic_lines(run["traffic"]), flush=True)


def run_many(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Train many networks at the same time."""
    from bench import report
    from bench.many import CROWDS, OWN_NETWORKS, OWN_STEPS, Crowd, compare_many

    rounds = options.rounds or ROUNDS
    crowds = [Crowd(options.own, OWN_NETWORKS, OWN_STEPS, {})] if options.own else CROWDS
    run["many"] = []
    for crowd in crowds:
        steps = max(1, options.steps // rounds) if options.steps else crowd.steps
        run["many"].append(compare_many(crowd, options.threads[0], rounds, steps))
        print("\n" + report.many_lines(run["many"][-1]), flush=True)


def run_loop(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Measure the training loop."""
    from bench import report
    from bench.loop import compare_loop

    run["loop"] = compare_loop(options.rounds or MANY_ROUNDS, options.threads[0], options.gigabytes)
    print("\n" + report.loop_lines(run["loop"]), flush=True)


def run_gradients(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Compute numerical gradients in many ways."""
    from bench import report
    from bench.gradients import compare_gradients

    run["gradients"] = compare_gradients(options.rounds or ROUNDS, options.steps or EPOCH_STEPS)
    print("\n" + report.gradients_lines(run["gradients"]), flush=True)


def run_sklearn(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Compare estimators, and print the table."""
    from bench import report
    from bench.estimators import compare_estimators

    rounds = options.rounds or ROUNDS
    steps = options.steps and max(1, options.steps // rounds)
    run["sklearn"] = compare_estimators(rounds, options.threads[0], steps)
    print("\n" + report.estimators_lines(run["sklearn"]), flush=True)


def run_tables(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Compare models for tables, and print the tables of errors and times."""
    from bench.tables import compare_tables, lines

    run["tables"] = compare_tables(options.folder, options.splits, options.members, options.rounds or MANY_ROUNDS)
    print("\n" + lines(run["tables"]), flush=True)


def run_ingredients(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Compare training steps with and without each ingredient."""
    from bench import report
    from bench.ingredients import compare_ingredients

    rounds = options.rounds or MANY_ROUNDS
    steps = max(1, options.steps // rounds) if options.steps else INGREDIENT_STEPS
    run["ingredients"] = compare_ingredients(rounds, steps, options.threads[0])
    print("\n" + report.ingredients_lines(run["ingredients"]), flush=True)


def run_mnist(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Train the best network for MNIST, several times."""
    from bench import report
    from bench.mnist import compare_mnist

    run["mnist"] = compare_mnist(options.rounds or 3, options.steps, options.threads[0])
    print("\n" + report.mnist_lines(run["mnist"]), flush=True)


def run_imports(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Compare the times of the two imports."""
    from bench import report
    from bench.imports import compare_imports

    run["imports"] = compare_imports(options.rounds or MANY_ROUNDS)
    print("\n" + report.imports_line(run["imports"]), flush=True)


def run_exported(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Time networks as C."""
    from bench.exported import compare_exported, lines

    run["c"] = compare_exported(options.rounds or MANY_ROUNDS)
    print("\n" + lines(run["c"]), flush=True)


def run_sweep(options: argparse.Namespace, run: dict[str, Any]) -> None:
    """Compare many networks with the fastest peer, and print the lowest ratios."""
    from bench import report
    from bench.sweep import measure, sweep

    run["sweep"] = sweep(lambda workload: measure(workload, options.threads[0], options.rounds or 3))
    print("\n" + report.sweep_lines(run["sweep"]), flush=True)


def present(peers: tuple[Any, ...]) -> tuple[list[Any], dict[str, str]]:
    """Return the peers that can take part, and why the others cannot."""
    absent = {peer.name: reason for peer in peers if (reason := peer.missing())}
    return [peer for peer in peers if peer.name not in absent], absent


# ---- the command line


def read_arguments() -> argparse.Namespace:
    """Return the command line's options, checked as far as possible before anything is measured."""
    described = WORKLOADS | {ALL: "all of the above"} | OTHERS
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure nnfast and its peers in turn, and print the ratios of their times.",
        epilog="\n".join(["names:", *(f"  {name:13}{text}" for name, text in described.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("names", nargs="*", type=known, metavar="NAME", help=f"what to measure; by default {', '.join(DEFAULT)}")
    add(
        "--threads",
        type=positive,
        nargs="+",
        metavar="N",
        help=f"threads of each peer; by default 1, then 2; {', '.join(ONCE)} are measured once",
    )
    add("--busy", action="store_true", help="threads: measure again while another process keeps one core busy")
    add(
        "--rounds",
        type=positive,
        help=f"by default {ROUNDS}; for calls, imports, ingredients, loop {MANY_ROUNDS}; for mnist, shapes, sweep 3",
    )
    add("--steps", type=positive, help="training steps of each peer, in all rounds together; not for calls and shapes")
    add("--gigabytes", type=float, default=2.0, metavar="N", help="loop: size of the memory map, by default 2")
    add("--folder", type=Path, help="tables: NAME.csv.gz with datasets.json; by default scikit-learn's own tables")
    add("--splits", type=positive, default=3, metavar="N", help="tables: by default 3")
    add("--members", type=positive, nargs="+", default=[1, 2], metavar="N", help="tables: n_members, by default 1 2")
    add("--brief", action="store_true", help="measure each for a moment: to try this program, not to quote its figures")
    add("--json", type=Path, metavar="FILE", help="write all figures to this file")
    add("--chart", type=Path, metavar="FILE", help="draw the ratios in this file (.png, .svg, .pdf)")
    add("--no-chart", dest="chart", action="store_const", const=None, help=argparse.SUPPRESS)
    own = parser.add_argument_group("a network of your own, instead of the workloads")
    own.add_argument("--shape", type=shape, metavar="N-N-...", help="features, hidden units, classes: 20-64-3")
    own.add_argument("--batch", type=positive, default=50, metavar="N", help="by default 50")
    own.add_argument("--activation", choices=ACTIVATIONS, default="relu", help="by default relu")
    own.add_argument("--optimizer", choices=tuple(OPTIMIZERS), default="adam", help="by default adam")
    options = parser.parse_args()
    options.own = options.shape and Workload(
        options.shape, Network(tuple(map(int, options.shape.split("-"))), options.activation), options.optimizer,
        options.batch, OWN_STEPS,
    )  # fmt: skip
    named = [name for given in options.names for name in (WORKLOADS if given == ALL else [given])]
    names = options.names = list(dict.fromkeys(named)) or DEFAULT
    options.workloads = [WORKLOADS[name] for name in names if name in WORKLOADS]
    if options.own and options.workloads:  # named by default; if named explicitly, the check below raises an error
        options.workloads = [options.own]
    options.threads = options.threads or [n for n in (1, 2) if n <= len(cores())]
    if set(names).issubset(ONCE):
        del options.threads[1:]
    check(options, parser)
    return options


def check(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Exit with an error for options that would fail after minutes of measuring."""
    for threads in options.threads:
        if threads > len(cores()):
            parser.error(f"--threads {threads}: this process may use {len(cores())} core(s)")
    if options.own and options.names != DEFAULT and set(options.names) & set(WORKLOADS):
        parser.error("--shape describes your own network: do not name a workload as well")
    if options.own and not (options.workloads or set(options.names) & set(OWN)):
        parser.error(f"--shape is for training, {', '.join(OWN)}: name one")
    if not 0 < options.gigabytes <= 1024:
        parser.error(f"--gigabytes {options.gigabytes}: must be above 0 and at most 1024")
    if "sklearn" in options.names and not find_spec("sklearn"):
        parser.error("sklearn needs scikit-learn, which is not installed")
    if "tables" in options.names:
        check_tables(options, parser)
    elif options.folder:
        parser.error("--folder is for tables: name it")
    if options.busy and "threads" not in options.names:
        parser.error("--busy is for threads: name it")
    for workload in options.workloads:
        steps, rounds = options.steps or workload.steps, options.rounds or ROUNDS
        if rounds > steps:
            parser.error(f"{rounds} rounds are too many for the {steps} steps of {workload.name}")
    for path in filter(None, (options.json, options.chart)):
        if not path.parent.is_dir():
            parser.error(f"{path}: there is no folder {path.parent}")
    if not options.chart:
        return
    if options.chart.suffix not in (".png", ".svg", ".pdf"):
        parser.error(f"--chart {options.chart}: the name must end in .png, .svg or .pdf")
    if not options.workloads and not set(options.names) & {"inference", "sklearn", "sweep", "tables"}:
        parser.error("--chart draws training, inference, sklearn, tables or a sweep: name one")
    if not find_spec("matplotlib"):
        parser.error("--chart needs matplotlib, which is not installed")


def check_tables(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Exit with an error if there are no tables to compare models on."""
    for package, name in (("sklearn", "scikit-learn"), ("pandas", "pandas")):
        if not find_spec(package):
            parser.error(f"tables needs {name}, which is not installed")
    if options.folder:
        from bench.tables import INDEX, index_of

        if not index_of(options.folder):
            parser.error(f"--folder {options.folder}: must have NAME.csv.gz, and {INDEX} beside it or above it")


def known(name: str) -> str:
    """Return `name` if it is the name of something to measure."""
    names = [*WORKLOADS, ALL, *OTHERS]
    if name not in names:
        raise argparse.ArgumentTypeError(f"unknown name {name!r}: choose from {', '.join(names)}")
    return name


def positive(text: str) -> int:
    """Return `text` as a positive integer."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)


def shape(text: str) -> str:
    """Return `text` if it is a chain of layers."""
    sizes = text.split("-")
    if len(sizes) < 2 or not all(size.isdecimal() and int(size) > 0 for size in sizes) or int(sizes[-1]) < 2:
        raise argparse.ArgumentTypeError(f"must be features, hidden units, classes (at least 2), got {text!r}")
    return text


if __name__ == "__main__":
    sys.exit(main())
