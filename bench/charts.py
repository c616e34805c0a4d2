"""Charts of the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.report import threads_of

COLORS = {  # Okabe and Ito's palette, which colour-blind people can distinguish too
    "nnfast": "#D55E00", "nnfast, out=": "#F0E442", "NumPy": "#0072B2", "scikit-learn": "#E69F00", "PyTorch": "#009E73",
    "torch.compile": "#56B4E9", "JAX": "#CC79A7", "ONNX Runtime": "#999999",
}  # fmt: skip


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Draw the map of a sweep, estimators or models for tables, if there are any, else bars for the first run."""
    if "sweep" in runs[0]:
        draw_sweep(runs[0], path)
    elif "sklearn" in runs[0]:
        draw_estimators(runs[0], path)
    elif "tables" in runs[0]:
        draw_tables(runs[0], path)
    else:
        draw_bars(runs[0], path)


def bars(run: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the title of each panel and the ratios in it."""
    panels = [
        (f"train {race['description']}", {name: peer["ratio"] for name, peer in race["peers"].items()})
        for race in run["training"]
    ]
    for race in run["inference"]:
        for what, title in (("one", "one sample"), ("many", f"{race['rows']:,} samples")):
            ratios = {name: peer[what]["ratio"] for name, peer in race["peers"].items()}
            panels.append((f"predict {title}, {race['network']}", ratios))
    return panels


def draw_bars(run: dict[str, Any], path: Path) -> None:
    """Draw the time of each peer as a multiple of nnfast's, with the range over the rounds; one panel per race."""
    from matplotlib.figure import Figure

    panels = bars(run)
    columns = 2 if len(panels) > 2 else 1
    rows = -(-len(panels) // columns)
    height = 0.6 + rows * (0.7 + 0.24 * max(len(ratios) for _, ratios in panels))
    figure = Figure(figsize=(6 * columns, height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (title, ratios) in zip(grid, panels, strict=False):
        draw_panel(axes, ratios, COLORS)
        axes.set_title(title, fontsize="small", loc="left")
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    machine = run["machine"]
    figure.suptitle(
        f"Time, nnfast = 1: {machine['processor']}, {threads_of(machine)}, SIMD level {machine['simd']}",
        fontsize="medium",
    )
    figure.savefig(path, dpi=110)


def draw_panel(axes: Any, ratios: dict[str, dict[str, float]], colors: dict[str, str]) -> None:
    """Draw a bar with its range for each ratio."""
    for name, ratio in ratios.items():
        error = [[ratio["median"] - ratio["min"]], [ratio["max"] - ratio["median"]]]
        axes.barh(name, ratio["median"], xerr=error, color=colors[name], ecolor="0.3", capsize=2)
        axes.annotate(
            f"{ratio['median']:.3g} x", (ratio["max"], name), (5, 0), textcoords="offset points", va="center",
            fontsize="small",
        )  # fmt: skip
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.axvline(1, color="0.5", linewidth=0.8)
    axes.tick_params(labelsize="small")
    axes.spines[["top", "right"]].set_visible(False)


def draw_estimators(run: dict[str, Any], path: Path) -> None:
    """Draw the time of scikit-learn's estimators as a multiple of that of nnfast's."""
    from matplotlib.figure import Figure

    machine, result = run["machine"], run["sklearn"]
    ratios = {row["name"]: row["ratio"] for row in result["rows"]}
    figure = Figure(figsize=(9, 0.8 + 0.26 * len(ratios)), layout="constrained")
    draw_panel(figure.subplots(), ratios, dict.fromkeys(ratios, COLORS["scikit-learn"]))
    figure.suptitle(
        f"Time of scikit-learn {result['version']}, nnfast's estimators = 1: {machine['processor']}, "
        f"{threads_of(machine)}, SIMD level {machine['simd']}",
        fontsize="medium",
    )
    figure.savefig(path, dpi=110)


def draw_tables(run: dict[str, Any], path: Path) -> None:
    """Draw the error of each model for tables beside that of the reference, against the seconds of its training."""
    from matplotlib.figure import Figure

    machine, result = run["machine"], run["tables"]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for name, own in result["contenders"].items():
        if own["beside"] is None:
            continue
        color = COLORS["nnfast" if name.startswith("nnfast") else "NumPy"]
        percent, error = 100 * own["beside"], 100 * (own["standard_error"] or 0)
        axes.errorbar(own["fit"], percent, error, fmt="o", color=color, ecolor="0.7", capsize=2)
        axes.annotate(name, (own["fit"], percent), (5, 4), textcoords="offset points", fontsize="small", color=color)
    axes.set_xscale("log")
    axes.axhline(0, color="0.5", linewidth=0.8)
    axes.margins(x=0.16)
    axes.set(
        xlabel="CPU seconds of training for 1,000 rows",
        ylabel=f"error beside {result['reference']} (%), lower is better",
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{len(result['tables'])} tables, {result['splits']} split(s), defaults: {machine['processor']}, "
        f"{threads_of(machine)}",
        fontsize="medium",
    )
    figure.savefig(path, dpi=110)


def draw_sweep(run: dict[str, Any], path: Path) -> None:
    """Draw the ratio to the fastest peer over width and batch; one panel per kind of network."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    cells = run["sweep"]
    kinds = list(dict.fromkeys(cell["kind"] for cell in cells))
    widths, batches = (sorted({cell[key] for cell in cells}) for key in ("width", "batch"))
    columns = 3
    rows = -(-len(kinds) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.3 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, kind in zip(grid, kinds, strict=False):
        ratios = np.full((len(batches), len(widths)), np.nan)
        for cell in cells:
            if cell["kind"] == kind:
                ratios[batches.index(cell["batch"]), widths.index(cell["width"])] = cell["ratio"]
        image = axes.imshow(ratios, origin="lower", aspect="auto", cmap="PuOr", norm=LogNorm(1 / 8, 8))
        for (i, j), ratio in np.ndenumerate(ratios):
            axes.text(j, i, f"{ratio:.2g}", ha="center", va="center", fontsize="small")
        axes.set_xticks(range(len(widths)), widths, fontsize="small")
        axes.set_yticks(range(len(batches)), batches, fontsize="small")
        activation, optimizer, depth = kind.split()
        axes.set_title(f"{depth} hidden layer(s), {activation}, {optimizer}", fontsize="small")
        axes.set(xlabel="width", ylabel="batch")
    for axes in grid[len(kinds) :]:
        axes.set_visible(False)
    figure.colorbar(image, ax=grid.tolist(), label="time of the fastest peer / nnfast's", shrink=0.6)
    machine = run["machine"]
    figure.suptitle(f"{machine['processor']}, {threads_of(machine)}, SIMD level {machine['simd']}", fontsize="medium")
    figure.savefig(path, dpi=110)
