"""The benchmark runs, checks that all peers get the same result, and reports what it cannot do."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
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
    command = [sys.executable, "-m", "bench", "--brief", *map(str, arguments)]
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
    own, best = race["peers"]["nnfast"]["gflops"], max(figures["peak"]["gflops"].values())
    share, flops = f"{100 * own / best:.0f} %", f"{race['flops'] / 1e6:.4g} MFLOP a step"
    assert f"{share}, in the fastest round {share} ({flops})" in table  # there is only one
    assert figures["peak"]["gflops"]["NumPy"] > 0


def test_inference_reports_one_and_many(tiny):
    table, figures, _ = tiny
    assert [race["network"] for race in figures["inference"]] == [
        "3-8-2 sigmoid", "4-64-64-2 relu", "13-37-29-3 tanh", "784-50-10 sigmoid", "300-200-100-50 relu",
        "784-512-512-10 relu",
    ]  # fmt: skip
    for race in figures["inference"]:
        assert f"inference: {race['network']}, softmax" in table
        assert race["disagreements"] == []
        for what in ("one", "many"):
            assert race["peers"]["nnfast"][what]["ratio"] == {"median": 1, "min": 1, "max": 1}
            assert race["peers"]["nnfast, out="][what]["ratio"]["median"] > 0
            assert race["peers"]["NumPy"][what]["microseconds"]["median"] > 0
    assert "nnfast: predict_one(row) and predict(x), the plain calls; nnfast, out=: the same with out=" in table


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


@pytest.mark.parametrize("several", [True, False])
def test_libraries_rest_between_measurements(bench_importable, monkeypatch, several):
    """Otherwise the threads of one library would still be waiting for work while the next one is measured."""
    from bench import race

    class Trainer:
        def prepare(self, steps):
            pass

        def run(self, steps):
            done.append(steps)

    class Another(Trainer):
        pass

    done = []
    monkeypatch.setattr(race, "rest", lambda: done.append("rest"))
    seconds = race.time_in_turn({"a": Trainer(), "b": Another() if several else Trainer()}, 2, 3, None)
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}
    assert done == (["rest", 3] * 4 if several else [3] * 4)


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


def test_threads_are_compared_once_and_beside_a_busy_process(tmp_path):
    options = ["--shape", "32-64-3", "--batch", 100, "--steps", 20, "--rounds", 2, "--json", tmp_path / "figures.json"]
    run = run_bench("threads", "inference", *options, "--busy", "--threads", 1, 1)
    assert run.returncode == 0, run.stdout + run.stderr
    first, second = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["runs"]
    assert first["inference"]
    assert second["inference"]
    assert not {"threads", "busy"} & set(second)
    for name in ("threads", "busy"):
        (result,) = first[name]
        assert (result["workload"], result["steps"]) == ("32-64-3", 10)
        assert result["same_bits"] is True
        assert set(result["speedup"]) == set(result["chosen"]) == {"1", "2", "4", "8", "2 fixed"}
        assert result["speedup"]["1"] == {"median": 1, "min": 1, "max": 1}
        assert result["best"] in {"1", "2", "4", "2 fixed"}
        assert result["allowed"]["median"] > 0
        assert result["chosen"]["1"] == {"1": 1}
        for chosen in result["chosen"].values():
            assert sum(chosen.values()) == pytest.approx(1)
    assert run.stdout.count("how many times as fast as on one thread") == 2
    assert run.stdout.count("beside a process that keeps one core busy") == 1


def test_each_choice_of_threads_is_used(bench_importable):
    from bench.sweep import cells, data_of
    from bench.threads import CHOICES, train_in_turn
    from nnfast._threads import allowed_threads

    workload = next(cells())
    networks, seconds = train_in_turn(workload, data_of(workload), CHOICES, 2, 3)
    assert set(networks) == set(seconds) == set(CHOICES)
    for name, network in networks.items():
        assert sum(network.steps_on.values()) == 2 * 3
        with network.num_threads():
            assert allowed_threads() == (CHOICES[name], name == "2 fixed")


def test_threads_report_what_was_chosen(bench_importable):
    from bench.report import threads_lines
    from bench.threads import shares

    assert shares({1: 1, 8: 2, 4: 1}) == {"8": 0.5, "4": 0.25, "1": 0.25}
    ratio = dict.fromkeys(("median", "min", "max"), 1.5)
    result = {"workload": "w", "microseconds": 1.0, "speedup": {"1": ratio, "8": ratio, "2 fixed": ratio}, "best": "1"}
    result |= {"most": "8", "allowed": ratio, "chosen": {"8": shares({8: 3, 1: 997}), "2 fixed": {"2": 1.0}}}
    assert "1: 100 %  " in threads_lines([result | {"same_bits": True}], busy=False)
    told = threads_lines([result | {"same_bits": False}], busy=True)
    assert "NOT THE SAME BITS" in told
    assert "8 by best choice" in told


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell a process's time in /proc")
def test_a_neighbor_keeps_a_core_busy_until_the_end(bench_importable):
    from bench.threads import neighbor

    def ticks():
        return int(Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[11])

    with pytest.raises(KeyboardInterrupt), neighbor() as process:  # it ends in any case
        deadline = time.monotonic() + 60
        while ticks() < os.sysconf("SC_CLK_TCK") // 2:  # it starts in much less time
            assert time.monotonic() < deadline
            time.sleep(0.05)
        raise KeyboardInterrupt
    assert process.poll() is not None


@pytest.mark.skipif(sys.platform == "win32", reason="a process on Windows cannot see that its parent has ended")
def test_a_neighbor_ends_with_a_benchmark_that_is_killed():
    code = (
        "import os; from bench.threads import neighbor; neighbor().__enter__(); print('busy', flush=True); os._exit(3)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout) == (3, "busy\n"), (
        run.stderr
    )  # it holds the other end of this pipe while it runs


def test_small_calls(tmp_path):
    path = tmp_path / "figures.json"
    run = run_bench("calls", "--shape", "5-7-3", "--batch", 20, "--rounds", 1, "--threads", 1, "--json", path)
    assert run.returncode == 0, run.stdout + run.stderr
    calls = figures_in(path)["calls"]
    (row,), (batch,) = calls["rows"], calls["batches"]
    assert row["network"] == "5-7-3 relu"
    assert row["disagreements"] == []
    assert {"plain", "out"} <= set(row["microseconds"])
    assert all(time["median"] > 0 for time in row["microseconds"].values())
    assert set(row["ratio"]) == (set() if calls["absent"] else {"plain", "out"})
    assert {"train_step", "loss", "gradient", "forward, backward, update", "params['W1']"} <= set(batch["microseconds"])
    for name, ratio in batch["ratio"].items():
        assert f"\n{name:28}{ratio['median']:>7.2f}" in run.stdout
    assert "a call of fit takes this many µs longer than its steps" in run.stdout


def test_small_calls_compare_with_onnx_runtime(bench_importable):
    from bench.calls import of_one_row
    from bench.peers import ONNXRuntime
    from bench.workloads import MICRO

    if reason := ONNXRuntime.missing():
        pytest.skip(reason)
    found = of_one_row(MICRO, rounds=1, threads=1)
    assert found["ratio"]["plain"]["median"] > 0
    assert found["disagreements"] == []


def test_updates_of_a_deep_q_network_agree():
    code = "import json; from bench.dqn import compare_dqn; print(json.dumps(compare_dqn(rounds=1, threads=1)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["disagreements"] == []
    assert {*found["ratio"], *found["absent"]} == {"nnfast", "nnfast, backward", "nnfast, own loss", "PyTorch", "JAX"}
    assert all(ratio["median"] > 0 for ratio in found["ratio"].values())


def test_all_workloads_have_one_name(bench_importable, monkeypatch):
    from bench.__main__ import read_arguments
    from bench.workloads import WORKLOADS

    monkeypatch.setattr(sys, "argv", ["bench", "tiny", "all", "calls", "--threads", "1"])
    options = read_arguments()
    assert {workload.name for workload in options.workloads} == set(WORKLOADS)
    assert set(options.names) == {*WORKLOADS, "calls"}
    assert len(options.names) == len(WORKLOADS) + 1


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


def test_two_threads_on_a_cell(bench_importable):
    from bench.report import shapes_lines
    from bench.sweep import cells
    from bench.threads import compare_cell

    result = compare_cell(next(cells()), rounds=1)
    assert result["ratio"] > 0
    assert sum(result["chosen"].values()) == pytest.approx(1)
    assert "at least 0.0 times as fast as one in 1 of 1 cells" in shapes_lines([result], 0.0)


def test_the_lowest_ratios_of_a_sweep_are_listed(bench_importable):
    from bench.report import sweep_lines

    cell = {"description": "c", "microseconds": 1.0, "fastest": "JAX"}
    told = sweep_lines([cell | {"width": width, "ratio": ratio} for width, ratio in ((4, 2.0), (16, 0.8), (4, 1.2))])
    assert "in 2 of 3 cells; median ratio 1.20" in told
    assert told.endswith("4: 1.20, 16: 0.80")


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
        (["sweep", "--shape", "4-2"], "--shape is for training, inference, calls, threads, traffic, many: name one"),
        (["inference", "--busy"], "--busy is for threads: name it"),
        (["inference", "--folder", "."], "--folder is for tables: name it"),
        (["tables", "--splits", "0"], "must be a positive integer, got '0'"),
    ],
)
def test_usage_errors(arguments, message):
    run = run_bench(*arguments)
    assert run.returncode == 2
    assert message in run.stderr


def test_the_traffic_of_a_step_is_counted(bench_importable):
    """By hand: 16 chunks would be needed for 32 threads, so those share the layer by its parameters."""
    from bench.report import traffic_lines
    from bench.traffic import traffic
    from bench.workloads import Network, Workload

    found = traffic(Workload("own", Network((10, 5), "relu"), "sgd", batch=1024, steps=1))
    assert found["chunks"] == [8]
    assert found["kilobytes"]["as it is"] == pytest.approx(
        {"2": 4 * 55 / 1000, "8": 4 * 7 / 8 * 110 / 1000, "32": 4 * 31 / 32 * (55 + 1024 * (10 / 32 + 5)) / 1000}
    )
    assert found["kilobytes"]["without chunks"]["2"] == pytest.approx(4 / 2 * (55 + 1024 * 10) / 1000)
    assert traffic_lines([found]).splitlines()[-1].split() == [
        "own", "0.2", "(20.6)", "0.4", "(22.6)", "21.3", "(21.3)", "8"
    ]  # fmt: skip


def test_each_run_of_a_peer_begins_with_the_first_row():
    """Also after a run that has ended within an epoch."""
    from bench.data import Data, initial_parameters, load
    from bench.peers.with_nnfast import NNFast
    from bench.peers.with_numpy import NumPy
    from bench.workloads import WORKLOADS

    workload = WORKLOADS["micro"]
    whole = load(workload)
    n = 5 * workload.batch
    data = Data(whole.x[:n], whole.y[:n], whole.x_test, whole.y_test, whole.source)
    found = []
    for kind in (NNFast, NumPy):
        peer = kind(workload, data, initial_parameters(workload.network), 1)
        for steps in (3, 7, 10, 4):
            peer.run(steps)
        found.append(np.concatenate([array.ravel() for layer in peer.parameters() for array in layer]))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


@pytest.fixture(scope="module")
def estimators(tmp_path_factory):
    """The output, the figures and the chart of a short run."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    folder = tmp_path_factory.mktemp("estimators")
    chart = ["--chart", folder / "chart.png"] if find_spec("matplotlib") else []
    run = run_bench("sklearn", "--steps", 3, "--rounds", 1, "--json", folder / "figures.json", *chart)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    return run.stdout, figures_in(folder / "figures.json"), folder / "chart.png"


def test_estimators_are_compared(estimators):
    table, figures, _ = estimators
    result = figures["sklearn"]
    assert (result["threads"], result["rounds"], result["disagreements"]) == (1, 1, [])
    rows = {row["name"]: row for row in result["rows"]}
    assert {row["bar"] for row in rows.values()} == {5.5, 7, 5, 10, 3, 2, None}
    assert "GridSearchCV, 24 x 5 fits of 3 epochs, n_jobs=2, digits" in rows
    assert {f"fit, digits, 1 epoch{dtype}" for dtype in ("", ", float32")} < set(rows)
    for name, row in rows.items():
        assert f"\n{name}  " in table
        assert row["ratio"]["median"] > 0
        assert all(seconds["median"] > 0 for seconds in row["seconds"].values())
        if "epoch" in name and "float32" not in name:
            assert row["scores"]["nnfast"] == pytest.approx(row["scores"]["scikit-learn"], abs=0.01)
        if "fit" in name and "Grid" not in name and "partial" not in name:
            assert row["iterations"] == dict.fromkeys(("scikit-learn", "nnfast", "Sequential"), 1)


def test_the_chart_of_estimators_is_a_picture(estimators):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert estimators[2].read_bytes().startswith(b"\x89PNG")


def test_a_fit_is_shortened_to_some_steps(bench_importable):
    from bench.estimators import FITS, MINIMIZATIONS

    digits, minimized = FITS[0], MINIMIZATIONS[0]
    assert digits.shortened(1348, None) == (200, 1348)
    assert digits.shortened(1348, 21) == (3, 1348)  # 7 steps of up to 200 rows in an epoch
    assert digits.shortened(1348, 6) == (1, 1200)
    assert digits.shortened(1348, 10**6) == (200, 1348)
    assert minimized.shortened(1348, 7) == (7, 1348)


@pytest.fixture
def slower_learner(bench_importable, monkeypatch):
    """Estimators of scikit-learn in place of nnfast's, with parameters of their own."""
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from bench import estimators

    original = estimators.estimator

    def replaced(**own):
        def estimator(library, training, threads, **options):
            changed = options | own if library == estimators.OWN else options
            return original(estimators.PEER, training, threads, **changed)

        monkeypatch.setattr(estimators, "estimator", estimator)
        return estimators

    return replaced


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("own", "complaint"),
    [
        ({}, None),
        ({"learning_rate_init": 1e-9}, "the score of nnfast is 0."),
        ({"max_iter": 1}, "nnfast did 1 epochs, scikit-learn 2"),
    ],
)
def test_an_estimator_that_does_less_is_named(slower_learner, own, complaint):
    """On one epoch of mini-batches of 200 of 426 rows."""
    module = slower_learner(**own)
    found = module.of_fit(module.FITS[1], rounds=1, threads=1, steps=6)
    assert found["wrong"] == [] if complaint is None else any(complaint in told for told in found["wrong"])


@pytest.mark.filterwarnings("ignore")
def test_an_estimator_that_predicts_something_else_is_named(slower_learner):
    module = slower_learner(alpha=100.0)
    found = module.of_prediction("predict", module.FITS[0], "predict_proba", 3, 5, rounds=1, threads=1)
    assert found["wrong"][0].startswith("predictions differ by")


def test_a_score_that_is_not_a_number_is_lower(bench_importable):
    from bench.estimators import SCORE_TOLERANCE, lower_scores

    assert lower_scores({"scikit-learn": 0.9, "nnfast": 0.9 - 0.9 * SCORE_TOLERANCE}) == []
    assert lower_scores({"scikit-learn": 0.9, "nnfast": 0.9 - 1.1 * SCORE_TOLERANCE})
    assert lower_scores({"scikit-learn": 0.9, "nnfast": math.nan})


def test_what_estimators_miss_is_in_the_table(bench_importable):
    from bench.estimators import FLOOR, OWN, PEER, figures
    from bench.report import estimators_lines

    seconds = {PEER: [0.3, 0.5], OWN: [1e-3, 1e-3], FLOOR: [5e-4, 1e-3]}
    row = figures("a fit", 500, seconds, ["wrong"], scores={PEER: 0.25, OWN: 0.75})
    assert (row["ratio"]["median"], row["cost"]["median"]) == (pytest.approx(400), pytest.approx(1.5))
    told = estimators_lines({"version": "1", "rounds": 2, "rows": [row], "disagreements": ["a fit: wrong"]})
    line, last = told.splitlines()[-2:]
    assert line.split() == [
        "a", "fit", "400.00", "(300.00", "to", "500.00)", "500", "1.50", "(1.00", "to", "2.00)", "400", "ms", "1", "ms",
        "0.2500", "0.7500", "below", "the", "bar",
    ]  # fmt: skip
    assert last == "NOT THE SAME: a fit: wrong"


def test_estimators_need_scikit_learn(bench_importable, monkeypatch, capsys):
    from bench import __main__ as command

    monkeypatch.setattr(sys, "argv", ["bench", "sklearn"])
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        command.read_arguments()
    assert "sklearn needs scikit-learn, which is not installed" in capsys.readouterr().err


def test_a_long_call_is_measured_once_a_round(bench_importable, monkeypatch):
    from bench import inference

    class Call:
        def __init__(self, seconds):
            self.seconds, self.counts = seconds, []

        def timeit(self, count):
            self.counts.append(count)
            return count * self.seconds

    monkeypatch.setattr(inference, "rest", lambda: None)
    calls = {"long": Call(2 * inference.SECONDS), "short": Call(inference.SECONDS / 5.5)}
    found = inference.time_calls(calls, 2)
    assert found == {name: pytest.approx([call.seconds] * 2) for name, call in calls.items()}
    assert calls["long"].counts == [1, 1, 1, 1]
    assert calls["short"].counts == [1, 1, 3, 3, 5, 5]
    inference.time_calls(calls, 1, repeat=False)
    assert {name: call.counts[-2:] for name, call in calls.items()} == {"long": [1, 1], "short": [5, 1]}


# ---- models for tables


@pytest.fixture(scope="module")
def folder_of_tables(tmp_path_factory):
    """Two small tables: numbers with a number as target, and classes with categories and missing values."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    folder = tmp_path_factory.mktemp("tables")
    random = np.random.default_rng(0)
    x = random.standard_normal((60, 2))
    numbers = pandas.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": x[:, 0] + x[:, 1] ** 2})
    (folder / "open").mkdir()
    pandas.concat([numbers, numbers[:10]]).to_csv(folder / "open" / "numbers.csv.gz", index=False)
    kinds = pandas.DataFrame({"size {": x[:, 0], "kind": random.choice(["u", "v", ""], 60)})
    kinds.loc[3, "size {"] = np.nan
    kinds.assign(y=np.where(x[:, 0] > 0, "yes", "no")).to_csv(folder / "open" / "kinds.csv.gz", index=False)
    entries = [
        {"name": "numbers", "task": "regression", "target": "y", "categorical": []},
        {"name": "kinds", "task": "binary", "target": "y", "categorical": ["kind"]},
        {"name": "elsewhere", "task": "binary", "target": "y", "categorical": []},
    ]
    (folder / "datasets.json").write_text(json.dumps(entries))
    return folder / "open"


@pytest.fixture(scope="module")
def compared_tables(folder_of_tables, tmp_path_factory):
    """The output, the figures and the chart of a short run."""
    folder = tmp_path_factory.mktemp("compared")
    chart = ["--chart", folder / "chart.png"] if find_spec("matplotlib") else []
    options = ["--splits", 1, "--members", 1, "--rounds", 1, "--folder", folder_of_tables]
    run = run_bench("tables", *options, "--json", folder / "figures.json", *chart)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout, figures_in(folder / "figures.json")["tables"], folder / "chart.png"


def test_models_for_tables_are_compared(compared_tables):
    text, result, _ = compared_tables
    assert result["failures"] == []
    assert [(table["name"], table["rows"], table["columns"]) for table in result["tables"]] == [
        ("numbers", 60, 2), ("kinds", 60, 2)
    ]  # fmt: skip
    installed = {name for name in ("lightgbm", "xgboost", "catboost") if find_spec(name)}
    assert len(result["contenders"]) == 5 + len(installed)
    assert len(result["absent"]) == 3 - len(installed)
    assert result["contenders"][result["reference"]]["beside"] == 0
    for name, own in result["contenders"].items():
        assert f"\n{name}  " in text
        assert set(own["errors"]) == {"numbers", "kinds"}
        assert own["fit"] > 0
        assert own["predict"] > 0
        assert 1 <= own["rank"] <= len(result["contenders"])
        assert result["one_row"]["seconds"][name] > 0
    assert result["one_row"]["table"] == "numbers"
    ranks = [own["rank"] for own in result["contenders"].values()]
    assert sum(ranks) <= len(ranks) * (len(ranks) + 1) / 2


def test_the_chart_of_tables_is_a_picture(compared_tables):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert compared_tables[2].read_bytes().startswith(b"\x89PNG")


def test_scikit_learns_own_tables(bench_importable):
    pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from bench.tables import BUNDLED, tables_in

    tables = {table.name: table for table in tables_in(None)}
    assert set(tables) == set(BUNDLED)
    assert tables["iris"].x.shape == (149, 4)  # one of 150 rows is repeated
    assert str(tables["diabetes"].x.dtypes["sex"]) == "category"
    train, test = tables["wine"].parts(0)
    assert np.sort(np.concatenate([train, test])).tolist() == list(range(178))
    assert np.bincount(tables["wine"].y[test]).tolist() == [12, 14, 10]
    assert tables["wine"].parts(1)[1].tolist() != test.tolist()


def test_large_tables_are_cut(bench_importable, monkeypatch):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from bench import tables

    monkeypatch.setattr(tables, "MOST_ROWS", 50)
    table = tables.Table("own", "binary", np.zeros((200, 1)), np.arange(200) % 2)
    train, test = table.parts(0)
    assert (len(train), len(test)) == (50, 40)
    assert np.bincount(table.y[train]).tolist() == [25, 25]
    assert not np.intersect1d(train, test).size


def test_errors_of_tables_by_hand(bench_importable):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from bench.tables import error_of, of_all_classes, summary

    assert error_of("regression", np.array([1.0, 2.0]), np.array([[1.0], [4.0]])) == pytest.approx(2**0.5)
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    assert error_of("binary", np.array([0, 1, 0]), probabilities) == pytest.approx(0)
    assert error_of("binary", np.array([1, 1, 0]), probabilities) == pytest.approx(0.5)
    certain = of_all_classes(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, 2]), 3)
    assert certain.tolist() == [[1, 0, 0], [0, 0, 1]]
    own = 1 + 2e-4
    expected = -(math.log(1 / own) + math.log(1e-4 / own)) / 2
    assert error_of("multiclass", np.array([0, 1]), certain) == pytest.approx(expected)
    figures = {("a", "t"): [2.0, 8.0], ("b", "t"): [1.0, 2.0], ("a", "u"): [1.0, 1.0], ("b", "u"): [2.0, 2.0]}
    cells = [
        {"model": model, "table": table, "split": split, "error": error, "fit": 2.0, "predict": 0.5}
        for (model, table), errors in figures.items()
        for split, error in enumerate(errors)
    ]
    found = summary([*cells, {**cells[0], "model": "c"}], ["a", "b", "c"], "b")
    # of a: log 2 and log 4 on t, twice -log 2 on u
    assert found["a"]["beside"] == pytest.approx(2 ** ((1.5 - 1) / 2) - 1)
    assert found["a"]["standard_error"] == pytest.approx(2**0.25 * math.log(2) * 2.5 / 2)
    assert (found["a"]["rank"], found["b"]["rank"], found["c"]["rank"]) == (1.5, 1.5, None)
    assert found["a"]["errors"] == {"t": 5, "u": 1}
    assert found["c"]["beside"] == pytest.approx(1)
    assert (found["a"]["fit"], found["a"]["predict"]) == (pytest.approx(2), pytest.approx(0.5))


def test_a_model_that_fails_is_named(bench_importable, monkeypatch):
    pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from bench import tables

    class Broken:
        def fit(self, x, y):
            raise RuntimeError("out of order")

    broken = tables.Contender("broken", "sklearn", lambda regression, categories: Broken())
    monkeypatch.setattr(tables, "ANCHORS", [broken, tables.ANCHORS[0]])
    monkeypatch.setattr(tables, "BUNDLED", {"diabetes": tables.BUNDLED["diabetes"]})
    monkeypatch.setattr(tables, "REFERENCES", ("linear",))
    result = tables.compare_tables(None, 1, [], 1)
    assert result["failures"] == ["broken on diabetes: RuntimeError: out of order"]
    assert result["one_row"] is None  # the only table has categories
    assert "FAILED: broken on diabetes: RuntimeError: out of order" in tables.lines(result)


def test_a_folder_needs_tables(bench_importable, monkeypatch, capsys, tmp_path):
    from bench import __main__ as command

    monkeypatch.setattr(command, "find_spec", lambda name: True)
    monkeypatch.setattr(sys, "argv", ["bench", "tables", "--folder", str(tmp_path)])
    with pytest.raises(SystemExit):
        command.read_arguments()
    assert "must have NAME.csv.gz, and datasets.json beside it or above it" in capsys.readouterr().err
    for missing in ("pandas", "sklearn"):
        monkeypatch.setattr(command, "find_spec", lambda name, missing=missing: name != missing)
        with pytest.raises(SystemExit):
            command.read_arguments()
        assert "which is not installed" in capsys.readouterr().err
