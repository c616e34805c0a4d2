"""The benchmark runs, checks that all peers get the same result, and reports what it cannot do."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / "bench" / "__main__.py").is_file(), reason="bench/ is not beside tests/: it is not part of the package"
)


needs_examples = pytest.mark.skipif(not (ROOT / "examples").is_dir(), reason="examples/ is not beside bench/")


def run_bench(*arguments, **environment):
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=300, encoding="utf-8"
    )


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
    """The figures of a run with one number of threads."""
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


def test_all_train_the_same_network(tiny, bench_importable):
    from bench.race import TOLERANCES

    (race,) = tiny[1]["training"]
    assert race["disagreements"] == []
    losses = {name: peer["loss"] for name, peer in race["peers"].items()}
    assert len(losses) >= 2
    assert max(losses.values()) < math.log(2)  # the loss of guessing between two classes
    early = TOLERANCES["adam"]["early_loss"]  # the run is that short
    assert losses == pytest.approx(dict.fromkeys(losses, losses["nnfast"]), rel=early)


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


def test_a_network_from_the_command_line(tmp_path):
    """Measured with several numbers of threads, each in a separate process, and in one process."""
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


def test_many_networks_are_trained_by_all(tmp_path):
    options = ["--shape", "4-5-3", "--batch", 10, "--steps", 30, "--rounds", 1, "--threads", 1]
    run = run_bench("many", *options, "--json", tmp_path / "figures.json")
    assert run.returncode == 0, run.stdout + run.stderr
    (result,) = figures_in(tmp_path / "figures.json")["many"]
    assert result["disagreements"] == []
    assert {"fit_many", "a loop of fit"} <= set(result["contenders"])
    for name, found in result["contenders"].items():
        assert name in run.stdout
        assert found["ratio"]["median"] > 0


def test_networks_of_a_crowd_that_differ_are_named(bench_importable):
    from bench.data import initial_parameters, load
    from bench.many import CROWDS, FitMany, disagreements

    workload = CROWDS[1].workload
    data, initial = load(workload), [initial_parameters(workload.network, i) for i in range(2)]
    crowds = {name: FitMany(workload, data, initial, 1) for name in ("fit_many", "another")}
    for crowd in crowds.values():
        crowd.run(3)
    assert disagreements(workload, data, crowds) == []
    crowds["another"].run(1)
    assert disagreements(workload, data, crowds) == ["another: not the same bits"]


def test_cells_of_a_sweep(bench_importable):
    from bench.sweep import cells

    everything = list(cells())
    assert len({(str(cell), cell.batch) for cell in everything}) == len(everything) > 300
    assert {cell.activation for cell in everything} == {"sigmoid", "tanh", "relu"}
    assert {cell.optimizer for cell in everything} == {"sgd", "adam"}
    assert {len(cell.sizes) - 2 for cell in everything} == {1, 2, 4, 6}


def test_a_cell_is_measured(bench_importable):
    """A small network, for which JAX is the only peer."""
    pytest.importorskip("jax", reason="a sweep needs a peer: jax is not installed")
    from bench.report import sweep_lines
    from bench.sweep import cells, measure

    result = measure(next(cells()), threads=1, rounds=1)
    assert result["ratio"] > 0
    assert result["fastest"] == "JAX"
    assert "of 1 cells" in sweep_lines([result])


@pytest.fixture(scope="module")
def ingredients(tmp_path_factory):
    """The output and the figures of a short run."""
    path = tmp_path_factory.mktemp("ingredients") / "figures.json"
    run = run_bench("ingredients", "--threads", 1, "--rounds", 1, "--steps", 3, "--json", path)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout, figures_in(path)


def test_what_ingredients_cost(ingredients):
    table, figures = ingredients
    found = figures["ingredients"]["ingredients"]
    assert {"dropout 0.2", "BatchNorm", "LayerNorm", "gelu", "sample weights", "clipping by norm"} <= set(found)
    for name, cost in found.items():
        assert name in table
        assert cost["nnfast"]["ratio"]["median"] > 0
        assert cost["agree"] is True, name
    assert figures["machine"]["simd"] in table
    assert "NOT THE SAME" not in table


def test_what_ingredients_cost_in_pytorch(ingredients):
    pytest.importorskip("torch", reason="PyTorch is not installed")
    found = ingredients[1]["ingredients"]["ingredients"]
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


def learns(peer):
    """Return whether a peer has learned the ten digits, given its figures in a run without MNIST.

    Without learning, all images of a digit tend to get the same answer, which is right for one digit in ten: to be
    right for half of the images, five of ten digits would have to be right by chance, a probability below 1/500.
    """
    return peer["accuracy"]["median"] > 0.5


@needs_examples
def test_the_recipe_for_mnist(tmp_path):
    """On the small digits, even if MNIST is available: this test is the same on all machines."""
    options = ["--threads", 1, "--rounds", 1, "--steps", 60, "--json", tmp_path / "figures.json"]
    run = run_bench("mnist", *options, NNFAST_DATA_HOME=str(tmp_path))
    assert run.returncode == 0, run.stdout + run.stderr
    figures = figures_in(tmp_path / "figures.json")["mnist"]
    assert figures["data"].startswith("8 x 8 digits")
    assert (figures["rows"], figures["batch"], figures["epochs"], figures["seeds"]) == (1497, 256, 11, 1)
    assert set(figures["peers"]) | set(figures["absent"]) == {"nnfast", "PyTorch"}
    for name, peer in figures["peers"].items():
        assert name in run.stdout
        assert peer["seconds"]["median"] > 0
        assert learns(peer), name


@pytest.fixture
def changed_recipe(bench_importable, monkeypatch, tmp_path):
    """The figures of a run of the recipe with other settings, on the small digits with other labels."""
    from bench import mnist

    def run(steps=60, labels=None, **numbers):
        recipe, data = mnist.load_recipe(), mnist.load_images()
        for name, number in numbers.items():
            assert getattr(recipe, name) != number
            setattr(recipe, name, number)
        monkeypatch.setattr(mnist, "load_recipe", lambda: recipe)
        monkeypatch.setattr(mnist, "load_images", lambda: data if labels is None else replace(data, y=labels(data.y)))
        return mnist.compare_mnist(seeds=1, steps=steps, threads=1)["peers"]

    monkeypatch.setenv("NNFAST_DATA_HOME", str(tmp_path))
    return run


@needs_examples
@pytest.mark.parametrize("fault", [{"RATE": 1e-9}, {"labels": np.random.default_rng(0).permutation}])
def test_a_recipe_that_learns_nothing_is_recognized(changed_recipe, fault):
    for peer in changed_recipe(**fault).values():
        assert not learns(peer)


@needs_examples
def test_pytorch_trains_the_same_recipe(changed_recipe):
    """Without dropout, and with all rows in one mini-batch, nothing is random: both reach the same loss.

    In ten steps, rounding changes it by a few millionths; in 60, by a thousandth.
    """
    pytest.importorskip("torch", reason="PyTorch is not installed")
    from bench.race import TOLERANCES

    peers = changed_recipe(steps=10, BATCH=1497, DROPOUT=0.0)
    losses = {name: peer["loss"]["median"] for name, peer in peers.items()}
    assert losses["PyTorch"] == pytest.approx(losses["nnfast"], rel=TOLERANCES["sgd"]["early_loss"])


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
        (["book", "--shape", "4-2"], "do not name a workload as well"),
    ],
)
def test_usage_errors(arguments, message):
    run = run_bench(*arguments)
    assert run.returncode == 2
    assert message in run.stderr
