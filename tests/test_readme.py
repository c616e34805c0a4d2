"""The programs in the README run exactly as written, and do what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

README = Path(__file__).parent.parent / "README.md"


def programs() -> list[str]:
    if not README.exists():
        return []
    return re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def in_a_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(not README.exists(), reason="README.md is not beside the tests")
def test_has_its_programs() -> None:
    assert len(programs()) == 6


@pytest.mark.skipif(not README.exists(), reason="README.md is not beside the tests")
def test_first_net(in_a_new_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import matplotlib.pyplot as plt

    import nnfast as nf

    program = programs()[0]
    assert len([line for line in program.splitlines() if line.strip()]) <= 11
    names: dict[str, object] = {}
    exec(program, names)
    plt.close("all")
    assert float(capfd.readouterr().out) > 0.9
    net = names["net"]
    assert isinstance(net, nf.Sequential)
    assert (nf.load(in_a_new_folder / "digits.npz").flat_params == net.flat_params).all()


@pytest.mark.skipif(not README.exists(), reason="README.md is not beside the tests")
def test_four_steps_of_learning(capsys: pytest.CaptureFixture[str]) -> None:
    program = programs()[1]
    for step in "1234":
        assert f"# {step}. " in program
    exec(program, {})
    loss, accuracy = map(float, capsys.readouterr().out.split())
    assert loss < 0.3
    assert accuracy > 0.9


@pytest.mark.skipif(not README.exists(), reason="README.md is not beside the tests")
def test_what_it_takes_to_train_well(capsys: pytest.CaptureFixture[str]) -> None:
    exec(programs()[2], {})
    accuracy, report = capsys.readouterr().out.split("\n", 1)
    assert float(accuracy) > 0.9
    assert ": right (" in report.splitlines()[0]


@pytest.mark.skipif(not README.exists(), reason="README.md is not beside the tests")
def test_many_networks(capsys: pytest.CaptureFixture[str]) -> None:
    exec(programs()[3], {})
    assert float(capsys.readouterr().out) > 0.95


@pytest.mark.skipif(not README.exists(), reason="README.md is not beside the tests")
def test_a_training_in_earnest(in_a_new_folder: Path) -> None:
    import matplotlib.pyplot as plt

    import nnfast as nf

    names: dict[str, object] = {}
    exec(programs()[4], names)
    plt.close("all")
    history, net = names["history"], names["net"]
    assert isinstance(history, nf.History)
    assert history["val_accuracy"][-1] > 0.9
    best = min(history["val_loss"])
    assert history["val_loss"][-1] > best, "it was stopped early"
    saved = nf.load(in_a_new_folder / "best.npz")
    assert isinstance(net, nf.Sequential)
    assert (saved.flat_params == net.flat_params).all()
    lines = (in_a_new_folder / "log.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + len(history["loss"])


@pytest.mark.skipif(not README.exists(), reason="README.md is not beside the tests")
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_at_home_in_scikit_learn(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn", minversion="1.5")
    names: dict[str, Any] = {}
    exec(programs()[5], names)
    assert names["search"].best_score_ > 0.9
    assert "mlpclassifier__dropout" in capsys.readouterr().out
