"""The figures as text and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def machine_lines(machine: dict[str, Any]) -> str:
    """Say what the figures were measured on."""
    threads = f"{threads_of(machine)} each"
    if machine["pinned_to"]:
        threads += f", pinned to core{'s'[: machine['threads'] - 1]} {', '.join(map(str, machine['pinned_to']))}"
    versions = f"Python {machine['python']}, NumPy {machine['numpy']}"
    versions += f" ({machine['blas']})" if machine["blas"] else ""
    return f"{machine['processor']}; {threads}; SIMD level of nnfast: {machine['simd']}\n{versions}"


def race_lines(result: dict[str, Any]) -> str:
    """Return the table of one workload: times as ratios to nnfast's, and whether all trained the same network."""
    lines = [f"{'':14}{'time / nnfast time':^24}{'µs a step':>12}{'test loss':>12}{'test accuracy':>15}"]
    for name, peer in result["peers"].items():
        ratio = peer["ratio"]
        interval = f"({ratio['min']:.2f} to {ratio['max']:.2f})"
        lines.append(
            f"{name:14}{ratio['median']:>7.2f} {interval:<16}{peer['microseconds']['median']:>12.1f}"
            f"{peer['loss']:>12.4f}{peer['accuracy']:>15.4f}"
        )
    lines += [f"{name:14} left out: {reason}" for name, reason in result["absent"].items()]
    lines += [f"NOT THE SAME NETWORK: {disagreement}" for disagreement in result["disagreements"]]
    return "\n".join(lines)


def imports_line(result: dict[str, Any]) -> str:
    """Return the time of `import nnfast` as a ratio to that of `import numpy`."""
    ratio, milliseconds = result["ratio"], result["milliseconds"]
    return (
        f"import nnfast: {ratio['median']:.2f} times import numpy ({ratio['min']:.2f} to {ratio['max']:.2f} in "
        f"{result['rounds']} rounds; {milliseconds['nnfast']:.0f} and {milliseconds['numpy']:.0f} ms)"
    )


def draw(races: list[dict[str, Any]], machine: dict[str, Any], path: Path) -> None:
    """Draw how many times nnfast's time each peer takes, with the range over the rounds; a panel for each workload."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for race in races for name in race["peers"]))
    colors = {name: f"C{i}" for i, name in enumerate(names)}
    figure = Figure(figsize=(7, 1 + len(races) * (0.7 + 0.3 * len(names))), layout="constrained")
    panels = figure.subplots(len(races), squeeze=False)[:, 0]
    for race, axes in zip(races, panels, strict=True):
        for name, peer in race["peers"].items():
            ratio = peer["ratio"]
            error = [[ratio["median"] - ratio["min"]], [ratio["max"] - ratio["median"]]]
            axes.barh(name, ratio["median"], xerr=error, color=colors[name], ecolor="0.3", capsize=3)
            axes.annotate(
                f"{ratio['median']:.2f}", (ratio["max"], name), (6, 0), textcoords="offset points", va="center"
            )
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_title(f"{race['workload']}: {race['description']}", fontsize="small", loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("time of training, nnfast = 1 (median and range over the rounds)")
    figure.suptitle(f"{machine['processor']}, {threads_of(machine)}, SIMD level {machine['simd']}", fontsize="medium")
    figure.savefig(path, dpi=150)


def threads_of(machine: dict[str, Any]) -> str:
    """Return the number of threads in words."""
    return "1 thread" if machine["threads"] == 1 else f"{machine['threads']} threads"
