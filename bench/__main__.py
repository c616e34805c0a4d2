"""`python -m bench`: read the command line, measure, report."""

from __future__ import annotations

import argparse
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.machine import cores, pin
from bench.workloads import WORKLOADS, Workload

IMPORTS = "imports"
ROUNDS, IMPORT_ROUNDS = 5, 15


def main() -> int:
    """Run what the command line asks for; 1 if a peer did not train the same network."""
    options = read_arguments()
    # The folder in which one stands comes last: an installed nnfast counts, then one that was built in place.
    sys.path.append(sys.path.pop(0))
    pin(options.threads)

    from bench import report  # and with it NumPy, only now
    from bench.machine import describe

    machine = describe(options.threads)
    print(report.machine_lines(machine))
    races = [run_race(WORKLOADS[name], options) for name in options.names if name in WORKLOADS]
    results: dict[str, Any] = {"machine": machine, "training": races}
    if IMPORTS in options.names:
        from bench.imports import compare_imports

        results["imports"] = compare_imports(options.rounds or IMPORT_ROUNDS)
        print("\n" + report.imports_line(results["imports"]))
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if options.chart:
        report.draw(races, machine, options.chart)
    return int(any(race["disagreements"] for race in races))


def run_race(workload: Workload, options: argparse.Namespace) -> dict[str, Any]:
    """Race the peers that are installed, and print the table."""
    from bench.peers import PEERS
    from bench.race import race
    from bench.report import race_lines

    absent = {peer.name: reason for peer in PEERS if (reason := peer.missing())}
    peers = [peer for peer in PEERS if peer.name not in absent]
    steps, rounds = options.steps or workload.steps, options.rounds or ROUNDS
    print(f"\n{workload.name}: {workload}", flush=True)
    result = race(workload, peers, threads=options.threads, rounds=rounds, steps=steps) | {"absent": absent}
    print(f"{result['rows']:,} rows of {result['data']}; {steps:,} steps of each, in {rounds} rounds, in turn")
    print(race_lines(result), flush=True)
    return result


def read_arguments() -> argparse.Namespace:
    """Return the command line's options, checked as far as can be before anything is measured."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure nnfast beside its peers: training, in turn, as ratios of time.",
        epilog="\n".join(["workloads:", *(f"  {name:9}{WORKLOADS[name]}" for name in WORKLOADS)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", type=known, metavar="NAME",
        help=f"a workload, or '{IMPORTS}' for the time of import nnfast; by default book",
    )  # fmt: skip
    parser.add_argument("--threads", type=positive, default=1, help="of each peer; by default 1")
    parser.add_argument("--rounds", type=positive, help=f"by default {ROUNDS}, of {IMPORTS} {IMPORT_ROUNDS}")
    parser.add_argument("--steps", type=positive, help="of training of each peer, in all rounds together")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the ratios there (.png, .svg, .pdf)")
    options = parser.parse_args()
    options.names = list(dict.fromkeys(options.names)) or ["book"]
    check(options, parser)
    return options


def check(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Refuse what would fail after minutes of measuring."""
    if options.threads > len(cores()):
        parser.error(f"--threads {options.threads}: this process may use {len(cores())} core(s)")
    for workload in (WORKLOADS[name] for name in options.names if name in WORKLOADS):
        steps, rounds = options.steps or workload.steps, options.rounds or ROUNDS
        if rounds > steps:
            parser.error(f"{rounds} rounds are too many for the {steps} steps of {workload.name}")
    for path in filter(None, (options.json, options.chart)):
        if not path.parent.is_dir():
            parser.error(f"{path}: there is no folder {path.parent}")
    if options.chart and options.chart.suffix not in (".png", ".svg", ".pdf"):
        parser.error(f"--chart {options.chart}: the name must end in .png, .svg or .pdf")
    if options.chart and options.names == [IMPORTS]:
        parser.error("--chart draws training: name a workload")
    if options.chart and not find_spec("matplotlib"):
        parser.error("--chart needs matplotlib, which is not installed")


def known(name: str) -> str:
    """Return `name` if there is something of that name to measure."""
    if name != IMPORTS and name not in WORKLOADS:
        raise argparse.ArgumentTypeError(f"unknown name {name!r}: choose from {', '.join([*WORKLOADS, IMPORTS])}")
    return name


def positive(text: str) -> int:
    """Return `text` as an integer above zero."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
