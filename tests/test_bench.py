"""The benchmark runs, holds its peers to the same result, and says what it cannot do."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "bench" / "__main__.py").is_file(), reason="bench/ is not beside tests/: it is not part of the package"
)


def run_bench(*arguments):
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, encoding="utf-8")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The output, the figures and the chart of a short run."""
    folder = tmp_path_factory.mktemp("bench")
    chart = ["--chart", folder / "chart.png"] if find_spec("matplotlib") else []
    options = ["--threads", 1, "--steps", 20, "--rounds", 1, "--json", folder / "figures.json", *chart]
    run = run_bench("tiny", "inference", *options)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    return run.stdout, figures_in(folder / "figures.json"), folder / "chart.png"


def figures_in(path):
    """The figures of a run on one number of threads."""
    (run,) = json.loads(path.read_text(encoding="utf-8"))["runs"]
    return run


@pytest.fixture
def bench_importable(monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])


def rows_of(table):
    return {line.split()[0] for line in table.splitlines() if line.strip()}


def test_a_run_reports_ratios_and_losses(tiny):
    table, figures, _ = tiny
    assert {"tiny:", "nnfast", "NumPy"} <= rows_of(table)
    assert "1 thread" in table
    assert figures["machine"]["simd"] in table
    (race,) = figures["training"]
    assert (race["workload"], race["steps"], race["rounds"]) == ("tiny", 20, 1)
    assert race["peers"]["nnfast"]["ratio"] == {"median": 1, "min": 1, "max": 1}
    assert race["peers"]["NumPy"]["ratio"]["median"] > 0
    assert "The best product of 2048 x 2048 matrices" in table
    assert figures["peak"]["gflops"]["NumPy"] > 0


def test_inference_reports_one_and_many(tiny):
    table, figures, _ = tiny
    assert [race["network"] for race in figures["inference"]] == [
        "4-64-64-2 relu", "784-50-10 sigmoid", "784-512-512-10 relu",
    ]  # fmt: skip
    for race in figures["inference"]:
        assert f"inference: {race['network']}, softmax" in table
        assert race["disagreements"] == []
        for what in ("one", "many"):
            assert race["peers"]["nnfast"][what]["ratio"] == {"median": 1, "min": 1, "max": 1}
            assert race["peers"]["NumPy"][what]["microseconds"]["median"] > 0


def test_all_train_the_same_network(tiny):
    (race,) = tiny[1]["training"]
    assert race["disagreements"] == []
    losses = [peer["loss"] for peer in race["peers"].values()]
    assert len(losses) >= 2
    assert max(losses) < 0.7  # better than guessing between two classes, whose loss is log 2
    assert len({f"{loss:.3g}" for loss in losses}) == 1


def test_scikit_learn_takes_part(tiny):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    table, figures, _ = tiny
    assert "scikit-learn" in rows_of(table)
    assert figures["training"][0]["peers"]["scikit-learn"]["ratio"]["median"] > 0


def test_the_chart_is_a_picture(tiny):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert tiny[2].read_bytes().startswith(b"\x89PNG")


def test_a_fast_wrong_result_is_named(bench_importable):
    from bench.peers.with_nnfast import NNFast
    from bench.peers.with_numpy import NumPy
    from bench.race import race
    from bench.workloads import WORKLOADS

    class Idler(NumPy):
        name = "idler"

        def run(self, steps):
            super().run(steps // 2)

    workload = replace(WORKLOADS["tiny"], optimizer="sgd")
    result = race(workload, [NNFast, NumPy, Idler], threads=1, rounds=1, steps=40)
    assert result["disagreements"]
    assert {line.split(":")[0] for line in result["disagreements"]} == {"idler"}


def test_a_network_of_ones_own(tmp_path):
    """Measured on several numbers of threads, each in a process of its own, and in one."""
    options = ["--shape", "5-7-3", "--batch", 20, "--activation", "tanh", "--optimizer", "sgd"]
    options += ["--steps", 20, "--rounds", 1, "--json", tmp_path / "figures.json"]
    run = run_bench(*options, "--threads", 1, 1)
    assert run.returncode == 0, run.stdout + run.stderr
    runs = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["runs"]
    assert len(runs) == 2
    for figures in runs:
        (race,) = figures["training"]
        assert race["description"] == "5-7-3 tanh, softmax + cross entropy, SGD 0.1, batch 20"
        assert race["flops"] == 2 * 20 * (3 * (5 * 7 + 7 * 3) - 5 * 7)
        assert race["disagreements"] == []
    run = run_bench("threads", *options, "--threads", 1)
    assert run.returncode == 0, run.stdout + run.stderr
    (result,) = figures_in(tmp_path / "figures.json")["threads"]
    assert result["same_bits"] is True
    assert set(result["speedup"]) == {"1", "2", "4", "8"}


def test_cells_of_a_sweep(bench_importable):
    from bench.report import sweep_lines
    from bench.sweep import cells, measure

    everything = list(cells())
    assert len({(str(cell), cell.batch) for cell in everything}) == len(everything) > 300
    assert {cell.activation for cell in everything} == {"sigmoid", "tanh", "relu"}
    assert {cell.optimizer for cell in everything} == {"sgd", "adam"}
    assert {len(cell.sizes) - 2 for cell in everything} == {1, 2, 4, 6}
    pytest.importorskip("jax", reason="a sweep needs a peer: jax is not installed")
    result = measure(everything[0], threads=1, rounds=1)
    assert result["ratio"] > 0
    assert result["fastest"] == "JAX"
    assert "of 1 cells" in sweep_lines([result])


def test_what_ingredients_cost(tmp_path):
    options = ["--threads", 1, "--rounds", 1, "--steps", 3, "--json", tmp_path / "figures.json"]
    run = run_bench("ingredients", *options)
    assert run.returncode == 0, run.stdout + run.stderr
    figures = figures_in(tmp_path / "figures.json")
    found = figures["ingredients"]["ingredients"]
    assert {"dropout 0.2", "BatchNorm", "LayerNorm", "gelu", "sample weights", "clipping by norm"} <= set(found)
    for name, cost in found.items():
        assert name in run.stdout
        assert cost["nnfast"]["ratio"]["median"] > 0
        assert cost["agree"] is True, name
    assert figures["machine"]["simd"] in run.stdout
    assert "NOT THE SAME" not in run.stdout
    if find_spec("torch"):
        assert found["residual sum"]["PyTorch"]["microseconds"]["with"] > 0


def test_another_network_is_named(bench_importable):
    from bench.ingredients import INGREDIENTS, NNFast, agree
    from bench.report import ingredients_lines

    losses = {name: NNFast(recipe, threads=1).run(3) for name, (recipe, _, _) in INGREDIENTS.items()}
    assert len(set(losses.values())) == len(losses)
    assert not agree({"nnfast": losses["gelu"], "PyTorch": losses["BatchNorm"]})
    assert agree({"nnfast": losses["gelu"]})
    cost = {"bar": 1.1, "agree": False, "nnfast": {"ratio": dict.fromkeys(("median", "min", "max"), 1.2)}}
    cost["nnfast"]["microseconds"] = {"with": 12.0, "without": 10.0}
    told = ingredients_lines(
        {"workload": "w", "rounds": 1, "steps": 1, "ingredients": {"x": cost}, "absent": {"PyTorch": "not there"}}
    )
    assert "above the bar  NOT THE SAME NETWORK" in told
    assert "left out: not there" in told


@pytest.mark.skipif(not (ROOT / "examples").is_dir(), reason="examples/ is not beside bench/")
def test_the_recipe_for_mnist(tmp_path):
    run = run_bench("mnist", "--threads", 1, "--rounds", 1, "--steps", 40, "--json", tmp_path / "figures.json")
    assert run.returncode == 0, run.stdout + run.stderr
    figures = figures_in(tmp_path / "figures.json")["mnist"]
    assert (figures["rows"], figures["epochs"], figures["seeds"]) == (40 * figures["batch"], 1, 1)
    for name, peer in figures["peers"].items():
        assert name in run.stdout
        assert peer["seconds"]["median"] > 0
        assert 0.15 < peer["accuracy"]["median"] <= 1  # guessing reads a tenth
    if "PyTorch" in figures["peers"]:
        own, theirs = (figures["peers"][name]["accuracy"]["median"] for name in ("nnfast", "PyTorch"))
        assert abs(own - theirs) < 0.05


def test_a_missing_peer_says_so(bench_importable):
    from bench.peers import Peer

    class Absent(Peer):
        name, module, package = "Absent", "no_such_module", "no-such-package"

    assert Absent.missing() == "no-such-package is not installed"


def test_import_time(tmp_path):
    run = run_bench("imports", "--threads", 1, "--rounds", 1, "--json", tmp_path / "figures.json")
    assert run.returncode == 0, run.stderr
    assert "import nnfast:" in run.stdout
    figures = figures_in(tmp_path / "figures.json")["imports"]
    assert figures["ratio"]["median"] > 0
    assert figures["milliseconds"]["nnfast"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["huge"], "unknown name 'huge': choose from book, tiny"),
        (["--threads", "0"], "must be a positive integer, got '0'"),
        (["--threads", "100000"], "this process may use"),
        (["tiny", "--rounds", "30", "--steps", "20"], "30 rounds are too many for the 20 steps of tiny"),
        (["--json", "no/such/folder/figures.json"], "there is no folder"),
        (["--chart", "chart.txt"], "must end in .png, .svg or .pdf"),
        (["imports", "--chart", "chart.png"], "name one"),
        (["--shape", "4-x-2"], "must be features, hidden units, classes (at least 2), got '4-x-2'"),
        (["--shape", "4-1"], "must be features, hidden units, classes"),
        (["book", "--shape", "4-2"], "name no workload beside it"),
    ],
)
def test_usage_errors(arguments, message):
    run = run_bench(*arguments)
    assert run.returncode == 2
    assert message in run.stderr
