"""The command line: each command, each error with its message and exit code, and how it ends when it is interrupted."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import nnfast
from nnfast.cli import main
from nnfast.datasets import load_digits

# A shell may make its background jobs ignore SIGINT, and processes inherit that.
INTERRUPTIBLE = """
import signal, sys
from nnfast.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""
posix = pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def digits_net(tmp_path_factory):
    """A network as the command line trains and saves it."""
    path = tmp_path_factory.mktemp("net") / "net.npz"
    assert main(["train", "digits", "--save", str(path), "--quiet"]) == 0
    return str(path)


@pytest.fixture
def untrainable(monkeypatch):
    """Make training fail: errors must be found before it begins."""

    def fit(*args, **kwargs):
        raise AssertionError("the training has begun")

    monkeypatch.setattr(nnfast.Sequential, "fit", fit)


def environment(**more):
    """With buffered output, as is usual: what is left in the buffer is flushed at the very end."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | more


def run(*args, **more):
    command = [sys.executable, "-P", "-m", "nnfast", *map(str, args)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, env=environment(**more))


def start(*args, **streams):
    return subprocess.Popen([sys.executable, "-P", "-c", INTERRUPTIBLE, *map(str, args)], env=environment(), **streams)


def wait_for_second_epoch(stream):
    seen = b""
    while not re.search(rb"epoch ([2-9]|\d\d+)/", seen):
        chunk = os.read(stream.fileno(), 4096)
        assert chunk, f"the training has ended: {seen!r}"
        seen += chunk


def accuracy_of(part, text):
    return float(re.search(rf"^{part} +accuracy (\d\.\d+), cross entropy \d", text, re.MULTILINE).group(1))


def refused(capsys, *args):
    """Run a command that must be a usage error, and return its message."""
    capsys.readouterr()
    try:
        code = main(list(args))
    except SystemExit as error:  # raised by argparse
        code = error.code
    printed = capsys.readouterr()
    assert code == 2
    assert printed.out == ""
    *usage, message = printed.err.rstrip("\n").split("\n")
    assert not usage or usage[0].startswith("usage: nnfast")
    return message


def blobs(n=120, features=3, classes=3):
    """Samples of classes that a small network separates quickly."""
    y = np.arange(n) % classes
    return np.random.default_rng(0).normal(size=(n, features)) + 3 * np.eye(classes, features)[y], y


# ---- from start to end


def test_a_whole_run_on_digits():
    trained = run("train", "digits", "--plot", "loss.png", "--save", "net.npz")
    assert trained.returncode == 0, trained.stderr
    lines = trained.stdout.split("\n")
    assert lines[0] == "digits: 1,438 training samples, 359 test samples, 64 features, 10 classes"
    assert lines[1] == "input (n, 64), loss cross_entropy, float32, 3,760 parameters"
    assert lines[6].startswith("adam, learning rate 0.001, batches of 32, 100 epochs, seed 0, threads: ")
    assert re.search(r"^epoch 100/100: accuracy [01]\.\d+, val_accuracy 0\.9\d+$", trained.stderr, re.MULTILINE)
    assert accuracy_of("train", trained.stdout) >= 0.97
    assert accuracy_of("test", trained.stdout) >= 0.95
    seconds, rate = re.search(r"^time +([\d.]+) s, ([\d,]+) samples per second$", trained.stdout, re.MULTILINE).groups()
    seen = 100 * 1438
    assert (
        (float(seconds) - 0.005) * int(rate.replace(",", ""))
        <= seen
        <= (float(seconds) + 0.005) * (int(rate.replace(",", "")) + 1)
    )
    assert lines[-3:] == ["network saved as net.npz", "plot saved as loss.png", ""]

    from matplotlib.image import imread

    picture = imread("loss.png")
    assert picture.shape == (510, 1110, 4)
    for half in (picture[:, :555], picture[:, 555:]):  # curves in both
        assert len(np.unique(half.reshape(-1, 4), axis=0)) > 10

    x, y = load_digits()
    np.savez("samples.npz", x=x, y=y)
    predicted = run("predict", "net.npz", "samples.npz")
    assert predicted.returncode == 0
    classes = np.array(predicted.stdout.split(), int)
    np.testing.assert_array_equal(classes, nnfast.load("net.npz").predict_class(x))
    assert f"accuracy {(classes == y).mean():.4f}, cross entropy 0." in predicted.stderr
    assert (classes == y).mean() > 0.95


def test_defaults_reach_the_promised_accuracy_with_other_seeds_too(capsys):
    reached = []
    for seed in "12345":
        assert main(["train", "digits", "--quiet", "--seed", seed]) == 0
        reached.append(accuracy_of("test", capsys.readouterr().out))
    assert np.mean(reached) >= 0.95
    assert len(set(reached)) > 1  # each seed holds out different samples


@pytest.mark.usefixtures("needs_mnist")
def test_mnist_defaults(capsys):
    assert main(["train", "mnist", "--quiet"]) == 0
    assert accuracy_of("test", capsys.readouterr().out) >= 0.94


def test_help_and_version(capsys):
    for args in (["--help"], *([command, "--help"] for command in ("train", "predict", "info", "export"))):
        with pytest.raises(SystemExit) as ended:
            main(args)
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith("usage: nnfast")
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"nnfast {nnfast.__version__}\n"


def test_info(capsys, digits_net):
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    nnfast.show_config()
    assert printed == capsys.readouterr().out
    assert main(["info", digits_net]) == 0
    first, *summary, last = capsys.readouterr().out.splitlines()
    nnfast.load(digits_net).summary()
    assert summary == capsys.readouterr().out.splitlines()
    size = os.path.getsize(digits_net)
    assert first == f"{digits_net}: npz, {size:,} bytes, version 1 of the description"
    assert last == "training state: optimizer adam (steps: 4,500, vectors: 2), epochs: 100, random streams"


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_info_of_each_format(ending, capsys):
    x, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    layers = [nnfast.Dense(2000, "tanh"), nnfast.BatchNorm(), nnfast.Dense(2, "softmax")]
    net = nnfast.Sequential(layers, input_shape=3, dtype="float64", seed=0)
    how = {"batch_size": 8, "optimizer": nnfast.Adam(amsgrad=True, average_decay=0.9), "verbose": 0}
    net.save(f"new.{ending}")
    net.fit(x, y, epochs=1, **how)
    net.fit(x, y, steps=2, **how)
    net.save(f"trained.{ending}")
    net.save(f"predicts.{ending}", training_state=False)
    for name, version, state in (
        ("new", 1, "random streams"),
        ("trained", 1, "optimizer adam (steps: 5, vectors: 4), epochs: 1 and 16 of 20 rows, random streams"),
        ("predicts", 2, "none"),
    ):
        file = f"{name}.{ending}"
        assert main(["info", file]) == 0
        first, heading, *table, last = capsys.readouterr().out.splitlines()
        assert first == f"{file}: {ending}, {os.path.getsize(file):,} bytes, version {version} of the description"
        assert heading == "input (n, 3), loss cross_entropy, float64, 16,002 parameters"
        assert [row.split()[0] for row in table] == ["layer", "-----------", "Dense(2000)", "BatchNorm()", "Dense(2)"]
        assert last == f"training state: {state}"


def test_the_command_line_takes_safetensors_files(capsys):
    assert main(["train", "digits", "--epochs", "1", "--quiet", "--save", "net.safetensors"]) == 0
    x, y = nnfast.datasets.load_digits()
    np.savez("data.npz", x=x, y=y)
    capsys.readouterr()
    assert main(["predict", "net.safetensors", "data.npz"]) == 0
    classes = [int(line) for line in capsys.readouterr().out.split()]
    np.testing.assert_array_equal(classes, nnfast.load("net.safetensors").predict_class(x))
    with open("net.safetensors", "r+b") as file:
        file.truncate(1000)
    for args in (["info", "net.safetensors"], ["predict", "net.safetensors", "data.npz"]):
        message = r"nnfast \w+: error: net\.safetensors is damaged: its header cannot have \d+ bytes: the file has 1000"
        assert re.fullmatch(message, refused(capsys, *args))


# ---- export


def test_export_as_c(capsys, digits_net):
    assert main(["export", digits_net, "--to", "c", "--output", "my-net.c"]) == 0
    printed = capsys.readouterr().out
    written = nnfast.load(digits_net).to_c("same.c", prefix="my_net")
    assert printed == (
        f"my_net_predict in my-net.c and my-net.h: {written.constant_bytes:,} bytes of constants, "
        f"{written.stack_bytes:,} bytes of stack\n"
    )
    assert Path("my-net.h").read_text() == Path("same.h").read_text()
    assert Path("my-net.c").read_text() == Path("same.c").read_text().replace("same.h", "my-net.h")


def test_export_in_int8(capsys, digits_net):
    x, _ = nnfast.datasets.load_digits()
    np.save("samples.npy", x[:300])
    copied = shutil.copy(digits_net, "net.npz")
    assert main(["export", copied, "--to", "c", "--calibration", "samples.npy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    difference = nnfast.load(digits_net).to_c("net", dtype="int8", calibration=x[:300]).difference
    assert lines[0].startswith("net_predict in net.c and net.h: ")
    assert lines[1:] == [
        f"int8: outputs differ by at most {difference.largest:.3g}, {difference.mean:.3g} on average",
        f"int8: {difference.agreement:.2%} of the samples have the same class",
    ]


def test_export_as_safetensors(capsys, digits_net):
    assert main(["export", digits_net, "--to", "safetensors", "--output", "net.safetensors"]) == 0
    assert capsys.readouterr().out == f"net.safetensors: {Path('net.safetensors').stat().st_size:,} bytes\n"
    x, _ = nnfast.datasets.load_digits()
    assert (nnfast.load("net.safetensors").predict(x) == nnfast.load(digits_net).predict(x)).all()
    assert main(["info", "net.safetensors"]) == 0
    assert capsys.readouterr().out.endswith("training state: none\n")
    to_safetensors = ("export", digits_net, "--to", "safetensors")
    assert "--output must end in .safetensors, got 'net.npz'" in refused(capsys, *to_safetensors, "--output", "net.npz")
    assert "--calibration needs --to c" in refused(capsys, *to_safetensors, "--calibration", "samples.npy")


def test_onnx_files_are_models_too(capsys, digits_net):
    assert main(["export", digits_net, "--to", "onnx", "--output", "net.onnx"]) == 0
    x, _ = nnfast.datasets.load_digits()
    np.save("samples.npy", x[:20])
    capsys.readouterr()
    assert main(["predict", "net.onnx", "samples.npy"]) == 0
    printed = capsys.readouterr().out
    assert main(["predict", digits_net, "samples.npy"]) == 0
    assert capsys.readouterr().out == printed
    assert main(["info", "net.onnx"]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == f"net.onnx: onnx, {Path('net.onnx').stat().st_size:,} bytes"
    assert last == "training state: none"
    Path("bad.onnx").write_bytes(b"no")
    assert "bad.onnx is not an ONNX file, or is damaged" in refused(capsys, "info", "bad.onnx")


def test_export_errors(capsys, digits_net):
    start = "nnfast export: error: "
    assert "the following arguments are required: --to" in refused(capsys, "export", digits_net)
    assert "argument --to: invalid choice: 'pdf'" in refused(capsys, "export", digits_net, "--to", "pdf")
    to_c = ("export", digits_net, "--to", "c", "--output")
    assert refused(capsys, *to_c, "no/net.c").startswith(f"{start}--output: cannot write no/net.c: ")
    assert refused(capsys, *to_c, 'a".c').startswith(f"{start}path must end in the name of a file that #include")
    np.save("samples.npy", np.zeros((3, 5)))
    wrong = refused(capsys, *to_c, "net.c", "--calibration", "samples.npy")
    assert wrong == f"{start}samples.npy: for this network x must have shape (n, 64), got (3, 5)"
    Path("net.h").mkdir()
    assert refused(capsys, *to_c, "net.c").startswith(f"{start}--output: cannot write net.h: ")
    Path("net.h").rmdir()
    shutil.copy(digits_net, "own.c")
    assert refused(capsys, "export", "own.c", "--to", "c") == f"{start}--output: own.c would overwrite own.c"


@pytest.mark.parametrize("to", ["c", "onnx", "safetensors"])
def test_export_says_so_if_the_file_cannot_be_written(to, capsys, digits_net, monkeypatch):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    for method in ("to_c", "to_onnx", "save"):
        monkeypatch.setattr(nnfast.Sequential, method, full)
    assert main(["export", digits_net, "--to", to, "--output", f"net.{to}"]) == 1
    assert capsys.readouterr() == ("", f"nnfast: error: cannot write net.{to}: No space left on device\n")


# ---- train


def test_options_reach_the_network(capsys):
    options = "--layers 20 7 --activation tanh --epochs 3 --batch-size 50 --optimizer sgd --learning-rate 0.2"
    assert main(["train", "digits", *options.split(), "--validation", "0.1", "--seed", "4", "--save", "net.npz"]) == 0
    printed = capsys.readouterr().out
    assert "1,617 training samples, 180 test samples" in printed
    assert "sgd, learning rate 0.2, batches of 50, 3 epochs, seed 4, threads: " in printed
    saved = nnfast.load("net.npz")
    assert [(layer.units, layer.activation) for layer in saved.layers] == [(20, "tanh"), (7, "tanh"), (10, "softmax")]

    # The same by hand.
    x, y = load_digits()
    order = np.random.default_rng(4).permutation(len(x))[180:]
    layers = [nnfast.Dense(20, "tanh"), nnfast.Dense(7, "tanh"), nnfast.Dense(10, "softmax")]
    net = nnfast.Sequential(layers, input_shape=64, seed=4)
    net.fit(x[order], y[order], epochs=3, batch_size=50, optimizer=nnfast.SGD(0.2), verbose=0)
    np.testing.assert_array_equal(saved.flat_params, net.flat_params)


def test_each_optimizer_has_its_own_learning_rate(capsys):
    for optimizer, rate in (("adam", "0.001"), ("sgd", "0.1")):
        assert main(["train", "digits", "--epochs", "1", "--optimizer", optimizer]) == 0
        assert f"{optimizer}, learning rate {rate}," in capsys.readouterr().out


def test_the_seed_fixes_the_network_and_threads_do_not_matter():
    def train(*options):
        assert main(["train", "digits", "--epochs", "2", "--quiet", "--save", "net.npz", *options]) == 0
        return nnfast.load("net.npz").flat_params

    before = nnfast.get_num_threads()
    first = train("--threads", "1")
    np.testing.assert_array_equal(first, train("--threads", "2"))
    assert not np.array_equal(first, train("--seed", "1"))
    assert nnfast.get_num_threads() == before


def test_without_validation_all_samples_are_trained_on(capsys):
    assert main(["train", "digits", "--epochs", "1", "--validation", "0"]) == 0
    printed = capsys.readouterr().out
    assert "1,797 training samples, 0 test samples" in printed
    assert "\ntrain accuracy" in printed
    assert "\ntest" not in printed


def test_quiet_prints_the_results_alone(capsys):
    assert main(["train", "digits", "--epochs", "1", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == ["train", "test", "time"]
    assert printed.err == ""


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", ">i2"])
def test_integers_are_classes(capsys, dtype):
    x, y = blobs(classes=2)
    np.savez("data.npz", x=x, y=y.astype(dtype)[:, None])
    assert main(["train", "data.npz", "--save", "net.npz"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("data.npz: 96 training samples, 24 test samples, 3 features, 2 classes\n")
    assert accuracy_of("train", printed) > 0.8
    assert nnfast.load("net.npz").layers[-1].activation == "softmax"
    assert main(["predict", "net.npz", "data.npz"]) == 0
    printed = capsys.readouterr()
    assert set(printed.out.split()) == {"0", "1"}
    assert printed.err.startswith("accuracy 0.")


def test_floats_are_a_regression(capsys):
    x = np.random.default_rng(0).normal(size=(300, 4))
    y = x @ [[1, 0], [-2, 1], [0, 0.5], [0.3, 0]]
    for target, outputs in ((y, 2), (y[:, 0], 1), (y[:, :1], 1)):
        np.savez("data.npz", x=x, y=target)
        assert main(["train", "data.npz", "--activation", "identity", "--save", "net.npz"]) == 0
        printed = capsys.readouterr().out
        assert f"4 features, outputs: {outputs}\n" in printed
        errors = [float(error) for error in re.findall(r"^\w+ +mean squared error (\S+)$", printed, re.MULTILINE)]
        assert len(errors) == 2
        assert max(errors) < 0.01 < target.var()
        net = nnfast.load("net.npz")
        assert (net.layers[-1].units, net.layers[-1].activation) == (outputs, "identity")
        assert main(["predict", "net.npz", "data.npz"]) == 0
        printed = capsys.readouterr()
        rows = [[np.float32(value) for value in line.split(",")] for line in printed.out.splitlines()]
        np.testing.assert_array_equal(rows, net.predict(x))
        assert printed.err == f"mean squared error {net.loss(x, target):.4g}\n"


def test_images_keep_their_shape():
    images, labels = load_digits(flatten=False)
    np.savez("images.npz", x=images, y=labels)
    assert main(["train", "images.npz", "--epochs", "1", "--quiet", "--save", "net.npz"]) == 0
    assert nnfast.load("net.npz").input_shape == (8, 8)


def test_warnings_of_unfit_values(capsys):
    x, y = blobs()
    np.savez("data.npz", x=x * [1, 1, 1000], y=y)
    assert main(["train", "data.npz", "--epochs", "1", "--quiet"]) == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"nnfast: warning: x has values of about 1,\d{3}; networks learn best from values of about 1, "
                        r"such as \(x - x.mean\(0\)\) / x.std\(0\)", warning)  # fmt: skip

    np.savez("data.npz", x=x, y=y * 1000.0)
    assert main(["train", "data.npz", "--epochs", "1", "--quiet"]) == 0
    whole, large = capsys.readouterr().err.splitlines()
    assert whole.startswith("nnfast: warning: y holds whole numbers as floats, so this is a regression")
    assert large.startswith("nnfast: warning: y has values of about 1,000;")


def test_a_training_that_diverged_fails_and_replaces_nothing(capsys):
    x, y = blobs()
    np.savez("data.npz", x=x, y=y + 0.5)
    Path("net.npz").write_bytes(b"older")
    for epochs in ("1", "100"):
        args = ["train", "data.npz", "--optimizer", "sgd", "--learning-rate", "1e9", "--quiet", "--epochs", epochs]
        assert main([*args, "--save", "net.npz", "--plot", "loss.png"]) == 1
        printed = capsys.readouterr()
        cure = "try a smaller --learning-rate, and scale x and y to about 1"
        assert printed.err == (f"nnfast train: error: the training diverged, and net.npz is unchanged: {cure}\n")
        assert "mean squared error nan" in printed.out
        assert printed.out.endswith("plot saved as loss.png\n")
        assert Path("net.npz").read_bytes() == b"older"
    assert main(args) == 1
    assert capsys.readouterr().err == f"nnfast train: error: the training diverged: {cure}\n"


@pytest.mark.parametrize("dtype", [int, bool, np.float32, float])
def test_one_hot_rows_are_classes(capsys, dtype):
    x, y = blobs()
    np.savez("data.npz", x=x, y=np.eye(y.max() + 2)[y].astype(dtype))
    assert main(["train", "data.npz", "--epochs", "1", "--save", "net.npz"]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(
        "nnfast: warning: each row of y holds a single 1 and otherwise zeros: "
        f"they are taken as classes 0 to {y.max() + 1}\n"
    )
    assert f" {y.max() + 2} classes\n" in printed.out
    assert "test  accuracy" in printed.out
    assert ", 1 epoch, seed" in printed.out
    assert main(["predict", "net.npz", "data.npz"]) == 0
    assert "accuracy" in capsys.readouterr().err


def test_mnist_brings_its_own_test_set(capsys, monkeypatch):
    def load_mnist(data_home):
        assert data_home == "home"
        x, y = blobs()
        return (x[:90], y[:90]), (x[90:], y[90:])

    monkeypatch.setattr(nnfast.datasets, "load_mnist", load_mnist)
    assert main(["train", "mnist", "--data-home", "home"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("mnist: 90 training samples, 30 test samples, 3 features, 10 classes\n")
    assert " 10 epochs, " in printed


def test_an_older_file_is_replaced(capsys):
    for _ in range(2):
        options = ["--save", "net.npz", "--plot", "loss.svg"]
        assert main(["train", "digits", "--epochs", "1", "--quiet", *options]) == 0
    assert sorted(os.listdir()) == ["loss.svg", "net.npz"]
    assert main(["info", "net.npz"]) == 0


# ---- train: errors


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("", "the following arguments are required: DATA"),
        ("digit", "DATA must be digits, mnist, a file FILE.npz, or a table (.csv, .tsv or .parquet), got 'digit'"),
        ("digits --epochs 0", "argument --epochs: must be at least 1, got 0"),
        ("digits --epochs x", "argument --epochs: must be a whole number, got 'x'"),
        ("digits --batch-size 1.5", "argument --batch-size: must be a whole number, got '1.5'"),
        ("digits --threads 0", "argument --threads: must be at least 1, got 0"),
        ("digits --seed -1", "argument --seed: must be at least 0, got -1"),
        ("digits --layers", "argument --layers: expected at least one argument"),
        ("digits --layers 50 0", "argument --layers: must be at least 1, got 0"),
        (
            "--layers 50 digits",
            "argument --layers: must be whole numbers, got 'digits': put DATA before the options",
        ),
        (
            "--layers 5 ./data.npz",
            "argument --layers: must be whole numbers, got './data.npz': put DATA before the options",
        ),
        ("digits --learning-rate 0", "argument --learning-rate: must be a number above 0, got '0'"),
        ("digits --learning-rate nan", "argument --learning-rate: must be a number above 0, got 'nan'"),
        ("digits --learning-rate inf", "argument --learning-rate: must be a number above 0, got 'inf'"),
        ("digits --learning-rate x", "argument --learning-rate: must be a number above 0, got 'x'"),
        ("digits --validation 1", "argument --validation: must be a fraction: at least 0 and below 1, got '1'"),
        ("digits --validation 1e-4", "--validation 0.0001 of 1797 sample(s) leaves none to test with"),
        ("digits --validation 0.9999", "--validation 0.9999 of 1797 sample(s) leaves none to train on"),
        ("mnist --validation 0.1", "--validation cannot be used with mnist, which has its own test data"),
        ("digits --data-home .", "--data-home can only be used with mnist"),
        ("digits --save no/net.npz", "--save: cannot write no/net.npz: there is no folder no"),
        ("digits --save .", "--save: cannot write .: it is a folder or device, not a file"),
        ("digits --save=", "--save: the file name is empty"),
        ("digits --plot no/loss.png", "--plot: cannot write no/loss.png: there is no folder no"),
        ("digits --plot loss.txt", "--plot: loss.txt must end in .png, .svg, .pdf, .jpg"),
        ("digits --save a.png --plot ./a.png", "--plot: ./a.png would overwrite a.png"),
        ("no.npz", "cannot read no.npz: No such file or directory"),
    ],
)
def test_usage_errors_of_train(capsys, untrainable, args, message):
    assert refused(capsys, "train", *args.split()) == f"nnfast train: error: {message}"


def test_usage_errors_of_the_whole(capsys, untrainable):
    assert refused(capsys) == "nnfast: error: the following arguments are required: COMMAND"
    assert refused(capsys, "train", "digits", "more") == "nnfast: error: unrecognized arguments: more"
    # Allowing abbreviations would mean that --epoch-size could never be added.
    assert refused(capsys, "train", "digits", "--epoch=3") == "nnfast: error: unrecognized arguments: --epoch=3"


def test_unknown_choices_are_refused(capsys, untrainable):
    for args in ("tarin", "train digits --activation step", "train digits --optimizer lamb"):
        message = refused(capsys, *args.split())
        assert f"invalid choice: {args.split()[-1]!r} (choose from " in message


ROWS = np.ones((10, 2))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": ROWS}, "there is no array 'y' (numpy.savez(FILE, x=x, y=y) writes x and y)"),
        ({"y": ROWS}, "there is no array 'x' (numpy.savez(FILE, x=x, y=y) writes x and y)"),
        ({"x": ROWS, "y": np.arange(9)}, "x has 10 rows, but y has shape (9,)"),
        ({"x": ROWS, "y": np.array(3)}, "x has 10 rows, but y has shape ()"),
        ({"x": ROWS[:, 0], "y": np.arange(10)}, "x must have shape (samples, features), got (10,)"),
        ({"x": ROWS[:0], "y": np.arange(0)}, "x must have shape (samples, features), got (0, 2)"),
        ({"x": ROWS[:, :0], "y": np.arange(10)}, "x must have shape (samples, features), got (10, 0)"),
        ({"x": ROWS * [np.nan, 1], "y": np.arange(10)}, "x must be finite, got NaN or infinity at index (0, 0)"),
        ({"x": ROWS * [1, 1e40], "y": np.arange(10)},
             "x must fit into float32, got 1e+40 at index (0, 1)"),
        ({"x": ROWS, "y": np.full(10, np.inf)}, "y must be finite, got NaN or infinity at index 0"),
        ({"x": ROWS.astype(str), "y": np.arange(10)},
         "x must hold real numbers, got an array of shape (10, 2) and dtype <U32: these are numbers written as text, "
         "which np.asarray(x).astype(float) converts"),
        ({"x": ROWS, "y": np.array(["cat"] * 10)},
         "y must hold real numbers, got an array of shape (10,) and dtype <U3: use classes, y = np.unique(y, "
         "return_inverse=True) to number the classes from 0"),
        ({"x": ROWS, "y": 2 * np.eye(10, dtype=int)},
         "integer y must hold labels of shape (samples,) or one-hot rows, got (10, 10)"),
        ({"x": ROWS, "y": np.ones((10, 2, 2))},
         "floating-point y must have shape (samples,) or (samples, outputs), got (10, 2, 2)"),
        ({"x": ROWS, "y": np.ones((10, 0))},
         "floating-point y must have shape (samples,) or (samples, outputs), got (10, 0)"),
        ({"x": ROWS, "y": np.arange(10) - 1}, "integer y must hold labels 0, 1, 2, ..., got -1"),
        ({"x": ROWS, "y": np.zeros(10, int)}, "y has only label 0; there must be at least two classes"),
        ({"x": ROWS, "y": np.arange(10) + 2**40},
         "integer y must hold class labels, but 1099511627785 is too large for 10 samples: "
         "for a regression store y.astype(float)"),
    ],
)  # fmt: skip
def test_data_that_does_not_fit(capsys, untrainable, arrays, message):
    np.savez("data.npz", **arrays)
    assert refused(capsys, "train", "data.npz") == f"nnfast train: error: data.npz: {message}"


def test_too_few_samples_to_hold_some_out(capsys, untrainable):
    np.savez("data.npz", x=ROWS[:2], y=np.arange(2))
    message = refused(capsys, "train", "data.npz")
    assert message == "nnfast train: error: --validation 0.2 of 2 sample(s) leaves none to test with"


def test_damaged_and_foreign_archives(capsys, untrainable):
    x, y = blobs()
    np.savez_compressed("whole.npz", x=x, y=y)
    whole = Path("whole.npz").read_bytes()
    at = whole.index(b"x.npy") + 300  # in the middle of compressed numbers
    for damaged in (b"", b"x,y\n1,2\n", whole[:-30], whole[:at] + bytes(100) + whole[at + 100 :]):
        Path("data.npz").write_bytes(damaged)
        message = refused(capsys, "train", "data.npz")
        assert message.startswith("nnfast train: error: data.npz is not a .npz file of numbers, or is damaged: ")
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile("data.npz", "w", method) as archive, zipfile.ZipFile("whole.npz") as original:
            for name in original.namelist():
                archive.writestr(name, original.read(name))
        packed = Path("data.npz").read_bytes()
        at = packed.index(b"x.npy") + 50
        Path("data.npz").write_bytes(packed[:at] + bytes(100) + packed[at + 100 :])
        assert "data.npz" in refused(capsys, "train", "data.npz")
    np.savez("data.npz", x=np.array([[None]]), y=np.zeros(1, int))  # a pickle
    assert refused(capsys, "train", "data.npz").endswith("it holds Python objects, which are not read")


def test_results_must_not_overwrite_data(capsys, untrainable):
    x, y = blobs()
    np.savez("data.npz", x=x, y=y)
    message = refused(capsys, "train", "data.npz", "--save", "./data.npz")
    assert message == "nnfast train: error: --save: ./data.npz would overwrite data.npz"
    assert main(["info", "data.npz"]) == 2  # still the data


def test_results_must_be_writable(capsys, untrainable, monkeypatch):
    message = refused(capsys, "train", "digits", "--save", "n" * 300)
    assert message.startswith("nnfast train: error: --save: cannot write nnn")
    assert message.endswith("n: File name too long")

    # For the superuser no file is read-only, so simulate it for the folder and for the file in it.
    Path("net.npz").write_bytes(b"older")
    for forbidden, names in (("x+b", ["net.npz", "new.npz"]), ("ab", ["net.npz"]), ("xb", ["new.npz"])):

        def guarded_open(path, mode, forbidden=forbidden):
            if mode == forbidden:
                raise PermissionError(13, "Permission denied")
            return open(path, mode)

        monkeypatch.setattr(nnfast.files.writing, "open", guarded_open, raising=False)
        for name in names:
            for option in ("--save", "--plot"):
                path = name if option == "--save" else name.replace("npz", "png")
                Path("net.png").write_bytes(b"older")
                message = refused(capsys, "train", "digits", option, path)
                assert message == f"nnfast train: error: {option}: cannot write {path}: Permission denied"
    assert Path("net.npz").read_bytes() == Path("net.png").read_bytes() == b"older"
    assert sorted(os.listdir()) == ["net.npz", "net.png"]


@posix
def test_links_are_followed_before_training(capsys, untrainable):
    """The check applies to the file that would be written."""
    os.symlink("gone/net.npz", "link.npz")
    os.symlink("loop.npz", "loop.npz")
    os.symlink("net.npz", "one.npz")
    os.symlink("one.npz", "two.png")
    for args, message in (
        ("--save link.npz", f"cannot write link.npz: there is no folder {os.getcwd()}/gone"),
        ("--save loop.npz", "cannot write loop.npz: it is a link that leads back to itself"),
    ):
        assert refused(capsys, "train", "digits", *args.split()) == f"nnfast train: error: --save: {message}"
    message = refused(capsys, "train", "digits", "--save", "one.npz", "--plot", "two.png")
    assert message == "nnfast train: error: --plot: two.png would overwrite one.npz"


def test_numbers_of_thousands_of_digits_are_refused_in_a_line(capsys, untrainable):
    for option in ("--epochs", "--batch-size", "--seed", "--threads", "--layers"):
        message = refused(capsys, "train", "digits", option, "1" * 5000)
        assert f"argument {option}: must be a whole number with fewer digits, got '1111" in message
        assert len(message) < 200
    for option in ("--epochs", "--batch-size", "--layers"):
        assert f"must be at most {sys.maxsize}, got 1000" in refused(
            capsys, "train", "digits", option, "1" + "0" * 4000
        )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--learning-rate 1e-300", "learning_rate"),
        ("--dropout 0.99999999999", "rate must be below 1"),
        (f"--layers {'1 ' * 10_000}", "a network can have at most 10,000 layers"),
        (f"--epochs {10**15}", "no memory for the losses"),
    ],
)
def test_what_the_network_or_its_training_refuses_is_a_message(capsys, args, message):
    code = main(["train", "digits", "--quiet", "--save", "net.npz", *args.split()])
    printed = capsys.readouterr()
    assert code in (1, 2)
    assert printed.out == ""
    assert re.fullmatch(r"nnfast train: error: .*\n", printed.err)
    assert message in printed.err
    assert os.listdir() == []


def test_a_refused_training_leaves_nothing_behind(capsys, untrainable):
    refused(capsys, "train", "no.npz", "--save", "net.npz", "--plot", "loss.png")
    assert os.listdir() == []


def test_missing_matplotlib_is_found_before_training(capsys, untrainable, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"] + ["matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    message = refused(capsys, "train", "digits", "--plot", "loss.png")
    assert message.startswith("nnfast train: error: --plot: matplotlib")
    assert message.endswith("pip install 'nnfast[plot]'")


def test_missing_tqdm_means_plain_lines(capsys, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "tqdm"] + ["tqdm"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["train", "digits", "--epochs", "2"]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"epoch 2/2: accuracy [01]\.\d+, val_accuracy [01]\.\d+", last)


def test_missing_pooch_is_named(capsys, untrainable, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    message = refused(capsys, "train", "mnist", "--data-home", "home")
    assert message.startswith("nnfast train: error: MNIST's train-images-idx3-ubyte is not in ")
    assert "pip install 'nnfast[data]'" in message


def test_a_bad_number_of_threads_in_the_environment(capsys, untrainable, monkeypatch):
    monkeypatch.setattr(nnfast._threads, "_everywhere", None)
    monkeypatch.setenv("NNFAST_NUM_THREADS", "many")
    expected = "error: NNFAST_NUM_THREADS must be a positive integer, got 'many'"
    assert refused(capsys, "info") == f"nnfast info: {expected}"
    assert refused(capsys, "train", "digits") == f"nnfast train: {expected}"


def test_too_little_memory_is_no_traceback(capsys):
    assert main(["train", "digits", "--quiet", "--layers", "1000000000000"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("nnfast train: error: not enough memory: ")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize("method", ["save", "plot"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [(OSError(28, "No space left on device"), "No space left on device"), (MemoryError(), "not enough memory")],
    ids=["disk", "memory"],
)
def test_a_result_that_cannot_be_written_anywhere_loses_no_other(capsys, monkeypatch, method, error, reason):
    def full(*args, **kwargs):
        raise error

    monkeypatch.setattr({"save": nnfast.Sequential, "plot": nnfast.History}[method], method, full)
    assert main(["train", "digits", "--epochs", "1", "--quiet", "--save", "net.npz", "--plot", "loss.png"]) == 1
    printed = capsys.readouterr()
    failed, (what, kept) = {"save": ("net.npz", ("plot", "loss.png")), "plot": ("loss.png", ("network", "net.npz"))}[
        method
    ]
    assert printed.err == f"nnfast: error: cannot write {failed}: {reason}\n"
    assert "test  accuracy" in printed.out
    assert printed.out.endswith(f"per second\n{what} saved as {kept}\n")
    assert os.listdir() == [kept]


def train_and_break(monkeypatch, harm, *args):
    """Train, and break something when training has ended."""
    fit = nnfast.Sequential.fit

    def harmed(*args, **kwargs):
        fit(*args, **kwargs)
        harm()

    monkeypatch.setattr(nnfast.Sequential, "fit", harmed)
    return main(["train", "digits", "--epochs", "1", "--quiet", *args])


def test_a_network_is_saved_beside_a_place_that_was_taken(capsys, monkeypatch):
    assert train_and_break(monkeypatch, lambda: os.mkdir("net.npz"), "--save", "net.npz") == 1
    printed = capsys.readouterr()
    (kept,) = (name for name in os.listdir() if name != "net.npz")
    reason = "it is a folder or device, not a file"
    assert printed.err == f"nnfast: error: cannot write net.npz: {reason}; it was written to {kept} instead\n"
    assert printed.out.endswith(f"network saved as {kept}\n")
    assert re.fullmatch(r"net-[0-9a-f]{8}\.npz", kept)
    assert nnfast.load(kept).input_shape == (64,)


@posix
def test_results_are_saved_among_temporary_files_if_their_folder_is_gone(capsys, monkeypatch, tmp_path):
    os.makedirs("temporary")
    os.makedirs("folder")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    args = ["--save", "folder/net.npz", "--plot", "folder/loss.svg"]
    assert train_and_break(monkeypatch, lambda: os.rmdir("folder"), *args) == 1
    printed = capsys.readouterr()
    plot, net = sorted(f"{tmp_path}/temporary/{name}" for name in os.listdir("temporary"))
    assert f"cannot write folder/net.npz: there is no folder folder; it was written to {net} instead\n" in printed.err
    assert printed.out.endswith(f"network saved as {net}\nplot saved as {plot}\n")
    assert nnfast.load(net).input_shape == (64,)
    assert Path(plot).read_text().startswith("<?xml")


@pytest.mark.parametrize("length", [205, 229, 240, 250, 255])
def test_names_as_long_as_they_may_be_are_saved(capsys, length):
    names = ["n" * (length - 4) + ending for ending in (".npz", ".png")]
    assert main(["train", "digits", "--epochs", "1", "--quiet", "--save", names[0], "--plot", names[1]]) == 0
    assert sorted(os.listdir()) == names
    assert main(["predict", names[0], "no.npy", "--output", names[0]]) == 2
    np.save("x.npy", np.zeros((1, 64)))
    output = "p" * length
    assert main(["predict", names[0], "x.npy", "--output", output]) == 0
    assert len(Path(output).read_text()) == 2


def test_memory_that_runs_out_in_a_training_costs_no_network(capsys, monkeypatch):
    def out_of_memory():
        raise MemoryError("no memory for the validation")

    assert train_and_break(monkeypatch, out_of_memory, "--save", "net.npz", "--plot", "loss.png") == 1
    printed = capsys.readouterr()
    assert printed.err == "nnfast train: error: not enough memory: no memory for the validation\n"
    assert printed.out == "network saved as net.npz\nplot saved as loss.png\n"
    assert nnfast.load("net.npz").input_shape == (64,)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_behind_the_progress_costs_no_network():
    with open("/dev/full", "w") as full:
        process = start("train", "digits", "--epochs", "2000", "--save", "net.npz", stdout=subprocess.PIPE, stderr=full)
        process.communicate()
    assert process.returncode == 1
    assert nnfast.load("net.npz").input_shape == (64,)


def test_ctrl_c_while_saving_costs_no_network(capsys, monkeypatch):
    save, seen = nnfast.Sequential.save, []

    def interrupted(net, path):
        seen.append(path)
        if len(seen) == 1:
            raise KeyboardInterrupt
        save(net, path)

    monkeypatch.setattr(nnfast.Sequential, "save", interrupted)
    assert main(["train", "digits", "--epochs", "1", "--quiet", "--save", "net.npz"]) == 130
    printed = capsys.readouterr()
    assert printed.err == "nnfast train: interrupted after 45 of 45 steps\n"
    assert printed.out.endswith("network saved as net.npz\n")
    assert nnfast.load("net.npz").input_shape == (64,)


def test_a_plot_is_drawn_all_at_once(capsys, monkeypatch):
    from matplotlib.figure import Figure

    def half(figure, file, **options):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    Path("loss.png").write_bytes(b"older")
    monkeypatch.setattr(Figure, "savefig", half)
    assert main(["train", "digits", "--epochs", "1", "--quiet", "--plot", "loss.png"]) == 1
    assert "cannot write loss.png: No space left on device" in capsys.readouterr().err
    assert Path("loss.png").read_bytes() == b"older"
    assert os.listdir() == ["loss.png"]


@pytest.mark.parametrize("ending", [".png", ".svg", ".PDF", ".jpg"])
def test_a_plot_is_of_the_kind_that_its_name_says(ending):
    assert main(["train", "digits", "--epochs", "1", "--quiet", "--plot", f"loss{ending}"]) == 0
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".PDF": b"%PDF", ".jpg": b"\xff\xd8"}[ending]
    assert Path(f"loss{ending}").read_bytes().startswith(start)


# ---- the environment


@pytest.mark.parametrize(
    ("value", "args"),
    [
        ("foo", ["info"]),
        ("foo", ["train", "digits"]),
        (" ", ["--version"]),
        ("\N{SNOWMAN}", ["info"]),
        ("a" * 5000, ["info"]),
        ("../x", ["info"]),
    ],
)
def test_a_level_that_cannot_be_used_is_a_message(value, args):
    done = run(*args, NNFAST_SIMD=value)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(
        r"nnfast: error: NNFAST_SIMD must be one of baseline, avx2, avx512, got '.{1,80}'\n", done.stderr
    )


# Like the script that pip installs, which is named after the command.
SCRIPT = """
import sys
sys.argv[0] = "/usr/bin/nnfast"
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from nnfast.cli import main
sys.exit(main())
"""


def test_a_level_that_was_not_built_is_a_message():
    command = [sys.executable, "-P", "-c", SCRIPT, "nnfast.kernels._baseline_float32", "info"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(NNFAST_SIMD="baseline"))
    assert done.returncode == 2
    assert re.fullmatch(r"nnfast: error: nnfast was built without baseline: it has .*\n", done.stderr)


def test_a_level_that_the_processor_lacks_is_a_message(capsys, monkeypatch):
    """`exit_if_command` gets the errors of the import; here one that may not occur on this processor."""
    from nnfast._command import exit_if_command, is_command

    error = ImportError("NNFAST_SIMD=avx512, but this processor or operating system runs only baseline")
    monkeypatch.setattr(sys, "argv", ["/usr/bin/nnfast", "info"])
    with pytest.raises(SystemExit) as ended:
        exit_if_command(error)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"nnfast: error: {error}\n"
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit):
        exit_if_command(error)
    for argv, orig_argv, command in (
        (["/usr/bin/nnfast"], ["python", "/usr/bin/nnfast"], True),
        (["nnfast.exe", "info"], ["nnfast.exe", "info"], True),
        (["-m", "info"], ["python", "-W", "error", "-m", "nnfast", "info"], True),
        (["-m", "nnfast"], ["python", "-m", "other", "nnfast"], False),
        (["-m", "test_nnfast.py"], ["python", "-m", "pytest", "test_nnfast.py"], False),
        (["/usr/bin/pytest", "nnfast"], ["/usr/bin/pytest", "nnfast"], False),
        (["-c"], ["python", "-c", "import nnfast"], False),
        ([""], ["python"], False),
        ([], [], False),
    ):
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.setattr(sys, "orig_argv", orig_argv)
        assert is_command() == command
    assert exit_if_command(error) is None  # a program gets the exception


def test_a_program_gets_an_exception_for_a_level_that_cannot_be_used():
    code = "try:\n    import nnfast\nexcept ImportError as error:\n    print(error)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True,
                          env=environment(NNFAST_SIMD="foo"))  # fmt: skip
    assert (done.stdout, done.stderr) == ("NNFAST_SIMD must be one of baseline, avx2, avx512, got 'foo'\n", "")


@pytest.mark.parametrize("value", ["9" * 5000, "0" * 5000 + "3"])
def test_a_number_of_threads_of_many_digits_is_a_number(value):
    done = run("info", NNFAST_NUM_THREADS=value)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"threads: {1024 if value[0] == '9' else 3}\n")


@pytest.mark.parametrize("value", ["\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT THREE}", "0" * 5000, "x" * 5000, " "])
def test_a_number_of_threads_that_is_none_is_a_message(value):
    done = run("info", NNFAST_NUM_THREADS=value)
    assert done.returncode == 2
    assert re.fullmatch(
        r"nnfast info: error: NNFAST_NUM_THREADS must be a positive integer, got '.{1,50}'\n", done.stderr
    )


@pytest.mark.parametrize("value", ["\N{SNOWMAN}", "x" * 5000, " ", "~nobody-of-this-name", "/dev/null", "a\nb", ".."])
def test_any_data_home_is_read_or_refused(value):
    done = run(
        "train", "mnist", "--epochs", "1", NNFAST_DATA_HOME=value, NO_PROXY="*", HTTPS_PROXY="http://127.0.0.1:9"
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


# ---- interrupted


@posix
def test_ctrl_c_ends_the_training_and_keeps_what_was_learned():
    options = ["--epochs", "200000", "--save", "net.npz", "--plot", "loss.png"]
    with start("train", "digits", *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            wait_for_second_epoch(process.stderr)
            process.send_signal(signal.SIGINT)
            out, err = (text.decode() for text in process.communicate(timeout=20))
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    done, total = re.search(r"nnfast train: interrupted after ([\d,]+) of ([\d,]+) steps\n$", err).groups()
    assert total == "9,000,000"
    assert 45 <= int(done.replace(",", "")) < 9_000_000
    assert accuracy_of("test", out) > 0.3  # by chance it would be a tenth
    assert out.endswith(" samples per second\nnetwork saved as net.npz\nplot saved as loss.png\n")
    assert Path("loss.png").read_bytes().startswith(b"\x89PNG")
    x, y = load_digits()
    assert nnfast.load("net.npz").accuracy(x, y) > 0.3  # by chance it would be a tenth


def test_ctrl_c_before_the_first_step_keeps_the_older_file(capsys, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    Path("net.npz").write_bytes(b"older")
    monkeypatch.setattr(nnfast.Sequential, "fit", interrupt)
    assert main(["train", "digits", "--quiet", "--save", "net.npz"]) == 130
    assert capsys.readouterr() == ("", "nnfast train: interrupted\n")
    assert Path("net.npz").read_bytes() == b"older"


def test_ctrl_c_counts_samples_of_whole_and_begun_epochs(capsys, monkeypatch):
    """100 steps with 45 per epoch: two whole epochs and 10 full mini-batches."""
    fit = nnfast.Sequential.fit

    def interrupted_fit(net, x, y, *, epochs, **options):
        fit(net, x, y, steps=100, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(nnfast.Sequential, "fit", interrupted_fit)
    ticks = iter([100.0, 102.0])
    monkeypatch.setattr(nnfast.cli, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    assert main(["train", "digits", "--quiet"]) == 130
    printed = capsys.readouterr()
    assert printed.out.endswith(f"time  2.00 s, {(2 * 1438 + 10 * 32) // 2:,} samples per second\n")
    assert printed.err == "nnfast train: interrupted after 100 of 4,500 steps\n"


@posix
def test_a_reader_of_the_progress_who_leaves_costs_no_network():
    with start("train", "digits", "--epochs", "200000", "--save", "net.npz",
               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:  # fmt: skip
        try:
            wait_for_second_epoch(process.stderr)
            process.stderr.close()
            assert process.wait(timeout=20) == 141
        finally:
            process.kill()
    assert nnfast.load("net.npz").input_shape == (64,)


@posix
@pytest.mark.parametrize("options", [[], ["--outputs"]])
def test_a_reader_of_the_predictions_who_leaves_sees_no_traceback(digits_net, options):
    np.save("samples.npy", np.zeros((50_000, 64), np.float32))
    with start("predict", digits_net, "samples.npy", *options,
               stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdout.readline().endswith(b"\n")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@posix
def test_a_reader_who_leaves_before_anything_is_written_sees_no_traceback():
    with start("info", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_behind_the_standard_output_is_no_traceback():
    with open("/dev/full", "w") as full, start("info", stdout=full, stderr=subprocess.PIPE) as process:
        assert process.stderr.read() == b"nnfast: error: [Errno 28] No space left on device\n"
    assert process.returncode == 1


def test_a_name_that_the_terminal_cannot_show():
    x, y = blobs()
    name = "zw\N{LATIN SMALL LETTER O WITH DIAERESIS}lf.npz"
    np.savez(name, x=x, y=y)
    trained = run("train", name, PYTHONIOENCODING="ascii")
    assert trained.returncode == 0
    assert trained.stdout.startswith("zw\\xf6lf.npz: 96 training samples")


# ---- predict


@pytest.fixture
def rows():
    x, y = load_digits()
    return x[:50], y[:50]


def classes_of(net, x):
    return "".join(f"{digit}\n" for digit in nnfast.load(net).predict_class(x))


def test_predict_reads_each_kind_of_file(capsys, digits_net, rows):
    x, _ = rows
    np.save("samples.npy", np.asfortranarray(x.astype(">f8")))
    np.savez("samples.NPZ.npz", x=x)
    np.savetxt("plain.csv", x, delimiter=",")
    np.savetxt("named.CSV", x, delimiter=",", header=",".join(f"pixel{i}" for i in range(64)), comments="")
    Path("marked.csv").write_text(Path("plain.csv").read_text().replace("\n", "\n\n"), encoding="utf-8-sig")
    for name in ("samples.npy", "samples.NPZ.npz", "plain.csv", "named.CSV", "marked.csv"):
        assert main(["predict", digits_net, name, "--threads", "1"]) == 0
        assert capsys.readouterr() == (classes_of(digits_net, x), "")


def test_predict_tells_the_accuracy_if_it_can(capsys, digits_net, rows):
    x, y = rows
    net = nnfast.load(digits_net)
    for labels in (y, y[:, None], np.eye(10)[y]):
        np.savez("samples.npz", x=x, y=labels)
        assert main(["predict", digits_net, "samples.npz"]) == 0
        printed = capsys.readouterr()
        assert printed.out == classes_of(digits_net, x)
        assert printed.err == f"accuracy {net.accuracy(x, y):.4f}, cross entropy {net.loss(x, y):.4g}\n"


def test_predict_with_a_loss_that_is_not_in_the_file(capsys):
    def own(outputs, targets):
        return 0.0, 0 * outputs

    net = nnfast.Sequential([nnfast.Dense(1)], input_shape=2, loss=own, seed=0)
    net.save("net.npz")
    np.savez("samples.npz", x=np.ones((2, 2)), y=np.ones(2))
    assert main(["predict", "net.npz", "samples.npz"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{net.predict(np.ones((1, 2)))[0, 0]!s}\n" * 2
    assert "samples.npz: no score: the network was saved with a loss of the user's own, 'own'" in printed.err


def test_predict_prints_outputs_to_the_last_bit(capsys, digits_net, rows):
    x, _ = rows
    np.save("samples.npy", x)
    assert main(["predict", digits_net, "samples.npy", "--outputs"]) == 0
    outputs = [[np.float32(value) for value in line.split(",")] for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_array_equal(outputs, nnfast.load(digits_net).predict(x))


def test_predict_computes_in_the_precision_of_the_network(capsys):
    net = nnfast.Sequential([nnfast.Dense(2)], input_shape=3, dtype="float64", seed=0)
    net.save("net.npz")
    x = np.random.default_rng(0).normal(size=(5, 3))
    np.save("samples.npy", x)
    assert main(["predict", "net.npz", "samples.npy"]) == 0
    outputs = [[float(value) for value in line.split(",")] for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_array_equal(outputs, net.predict(x))


@pytest.mark.parametrize(("units", "width"), [(1, 1), (3, 3)])
def test_predict_prints_labels_of_sigmoid_outputs(capsys, units, width):
    net = nnfast.Sequential([nnfast.Dense(units, "sigmoid")], input_shape=3, seed=0)
    net.save("net.npz")
    x = np.random.default_rng(0).normal(size=(20, 3))
    answers = net.predict_class(x).reshape(20, units)
    np.savez("samples.npz", x=x, y=answers)
    assert main(["predict", "net.npz", "samples.npz"]) == 0
    printed = capsys.readouterr()
    np.testing.assert_array_equal([line.split(",") for line in printed.out.splitlines()], answers.astype(str))
    assert printed.err.startswith("accuracy 1.0000, binary cross entropy ")


def test_predict_takes_samples_in_their_shape_or_flat(capsys, rows):
    x, _ = rows
    nnfast.Sequential([nnfast.Dense(10, "softmax")], input_shape=(8, 8), seed=0).save("net.npz")
    printed = []
    for shape in ((50, 64), (50, 8, 8)):
        np.save("samples.npy", x.reshape(shape))
        assert main(["predict", "net.npz", "samples.npy"]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != ""
    np.save("samples.npy", x.reshape(50, 4, 16))
    message = refused(capsys, "predict", "net.npz", "samples.npy")
    assert message == ("nnfast predict: error: samples.npy: for this network x must have shape (n, 8, 8) or (n, 64), "
                       "got (50, 4, 16)")  # fmt: skip


def test_predict_of_no_samples_prints_nothing(capsys, digits_net):
    np.save("samples.npy", np.zeros((0, 64)))
    for options in ([], ["--outputs"]):
        assert main(["predict", digits_net, "samples.npy", *options]) == 0
        assert capsys.readouterr() == ("", "")


def test_predict_writes_to_a_file(capsys, digits_net, rows):
    x, _ = rows
    np.save("samples.npy", x)
    assert main(["predict", digits_net, "samples.npy", "--output", "classes.txt"]) == 0
    assert capsys.readouterr() == ("", "")
    assert Path("classes.txt").read_text() == classes_of(digits_net, x)


@posix
def test_predict_says_so_if_the_file_cannot_be_written(capsys, digits_net, rows, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    np.save("samples.npy", rows[0])
    monkeypatch.setattr(nnfast.cli, "write_text", full)
    assert main(["predict", digits_net, "samples.npy", "--output", "classes.txt"]) == 1
    assert capsys.readouterr() == ("", "nnfast: error: cannot write classes.txt: No space left on device\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("NET", "the following arguments are required: FILE"),
        ("no.npz samples.npy", "cannot read no.npz: No such file or directory"),
        ("samples.npz samples.npy", "samples.npz is not a network saved by nnfast: it has no description"),
        (
            "text.npz samples.npy",
            "text.npz is not a network saved by nnfast: it is neither a NumPy archive (.npz) nor a safetensors file",
        ),
        ("NET no.csv", "cannot read no.csv: No such file or directory"),
        ("NET samples.txt", "FILE must end in .npz, .npy, .csv, got 'samples.txt'"),
        ("NET narrow.npy", "narrow.npy: for this network x must have shape (n, 64), got (50, 63)"),
        ("NET one.npy", "one.npy: for this network x must have shape (n, 64), got (64,)"),
        ("NET nan.npy", "nan.npy: x must be finite, got NaN or infinity at index (0, 0)"),
        ("NET yonly.npz", "yonly.npz: there is no array 'x' (numpy.savez(FILE, x=x, y=y) writes x and y)"),
        ("NET short.npz", "short.npz: y must have as many rows as x: 50, got shape (49,)"),
        (
            "NET eleven.npz",
            "eleven.npz: y holds labels up to 10, which need at least 11 outputs, but there are 10: "
            "if the labels start at 1, use y - 1",
        ),
        ("NET samples.npy --output no/a.txt", "--output: cannot write no/a.txt: there is no folder no"),
        ("NET samples.npy --output samples.npy", "--output: samples.npy would overwrite samples.npy"),
        ("NET samples.npy --output NET", "--output: NET would overwrite NET"),
    ],
)
def test_usage_errors_of_predict(capsys, digits_net, rows, args, message):
    x, y = rows
    np.save("samples.npy", x)
    np.savez("samples.npz", x=x, y=y)
    np.save("narrow.npy", x[:, 1:])
    np.save("one.npy", x[0])
    np.save("nan.npy", x * np.nan)
    np.savez("yonly.npz", y=y)
    np.savez("short.npz", x=x, y=y[1:])
    np.savez("eleven.npz", x=x, y=y + 1)
    Path("text.npz").write_text("text")
    given = args.replace("NET", digits_net).split()
    assert refused(capsys, "predict", *given) == f"nnfast predict: error: {message}".replace("NET", digits_net)


def test_a_network_that_gives_no_answers_is_refused(capsys):
    net = nnfast.Sequential([nnfast.Dense(3, "softmax")], input_shape=2, seed=0)
    net.params["b1"][1] = np.nan
    net.save("nan.npz")
    np.save("rows.npy", np.ones((4, 2)))
    told = "nnfast predict: error: rows.npy: outputs must be numbers to determine a class, got NaN in 4 of 4 rows"
    assert refused(capsys, "predict", "nan.npz", "rows.npy").startswith(told)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it has no rows"),
        ("a,b,c\n", "it has no rows"),
        ("a,b\nc,d\n", "could not convert string 'c' to float64"),
        ("1,2\n3,x\n", "could not convert string 'x' to float64"),
        ("1,x\n3,4\n", "could not convert string 'x' to float64"),  # a name for some columns is a mistake
        ("1;2\n3;4\n", "numbers must be separated by commas, not semicolons"),
        ("1;2\n", "numbers must be separated by commas, not semicolons"),
        ("a;b\n1,5;2,5\n", "numbers must be separated by commas, not semicolons"),
        ("1,2\n3\n", "number of columns changed from 2 to 1"),
    ],
)
def test_csv_files_that_are_no_numbers(capsys, digits_net, text, reason):
    Path("samples.csv").write_text(text)
    message = refused(capsys, "predict", digits_net, "samples.csv")
    assert message.startswith("nnfast predict: error: samples.csv is not a .csv file of numbers, or is damaged: ")
    assert reason in message


def test_usage_errors_of_info(capsys):
    assert refused(capsys, "info", "no.npz") == "nnfast info: error: cannot read no.npz: No such file or directory"
    np.savez("data.npz", x=1)
    message = "nnfast info: error: data.npz is not a network saved by nnfast: it has no description"
    assert refused(capsys, "info", "data.npz") == message


def test_ctrl_c_in_other_commands(capsys, digits_net, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(nnfast.Sequential, "predict_class", interrupt)
    np.save("samples.npy", np.zeros((1, 64)))
    assert main(["predict", digits_net, "samples.npy"]) == 130
    assert capsys.readouterr() == ("", "nnfast predict: interrupted\n")


def test_too_many_threads_are_a_usage_error():
    done = run("train", "digits", "--threads", 5000)
    assert done.returncode == 2
    assert "argument --threads: must be at most 1024, got 5000" in done.stderr
    assert "Traceback" not in done.stderr


def test_values_that_float32_cannot_distinguish_are_reported(capsys, untrainable):
    x = 1.7e9 + np.arange(0, 600, 10.0)[:, None]
    np.savez("times.npz", x=x, y=x[:, 0] / 1e9)
    with pytest.raises(AssertionError, match="the training has begun"):
        main(["train", "times.npz"])
    told = capsys.readouterr().err
    assert "nnfast: warning: x holds values that float32 cannot tell apart" in told
    assert "nnfast: warning: y holds values that float32 cannot tell apart" in told
    assert "Subtract the mean" in told


# ---- data that needs much memory


def header_of(shape, dtype="<f8"):
    """The beginning of a .npy file that claims to contain such an array."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def hostile_npz(content, method=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("x.npy", content)
    return buffer.getvalue()


def lying_about_size(content):
    """The list of members says that a compressed member has 4 GB."""
    data = bytearray(hostile_npz(content, zipfile.ZIP_DEFLATED))
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (2**32 - 2).to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", header_of((2**40, 64)) + bytes(1000), "does not fit"),
        ("x.npy", header_of((10, 64)) + bytes(10 * 64 * 8 + 1), "does not fit"),
        ("x.npy", header_of((10, 64)) + bytes(10 * 64 * 8 - 1), "does not fit"),
        ("x.npz", hostile_npz(header_of((2**40, 64)) + bytes(1000)), "does not fit"),
        ("x.npz", lying_about_size(header_of((2**29 - 16,)) + bytes(1000)), "cannot have 4294967294 bytes"),
        (
            "x.npz",
            hostile_npz(header_of((9000, 64)) + bytes(4_608_000), zipfile.ZIP_LZMA),
            "way that NumPy does not use",
        ),
        (
            "x.npz",
            hostile_npz(header_of((9000, 64)) + bytes(4_608_000), zipfile.ZIP_BZIP2),
            "way that NumPy does not use",
        ),
        ("x.csv", b"1\n" * 300_000, "x must have shape (n, 64)"),
        ("x.csv", b"1.5,2.5," * 40_000 + b"1\n", "x must have shape (n, 64)"),
    ],
)
def test_no_memory_is_taken_for_what_is_not_in_a_file(capsys, digits_net, name, content, message):
    Path(name).write_bytes(content)
    nnfast.load(digits_net)  # so that imports do not count
    tracemalloc.start()
    try:
        assert message in refused(capsys, "predict", digits_net, name)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert taken < 24 * len(content) + 5_000_000


def test_a_compressed_array_takes_what_it_unpacks_to(capsys, digits_net):
    x = np.zeros((4000, 64))
    np.savez_compressed("x.npz", x=x)
    tracemalloc.start()
    try:
        assert main(["predict", digits_net, "x.npz"]) == 0
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert capsys.readouterr().out.count("\n") == 4000
    assert taken < 3 * x.nbytes + 5_000_000


def test_arrays_in_the_order_of_fortran_and_headers_of_each_version_are_read(capsys, digits_net, rows):
    x, _ = rows
    for version in ((1, 0), (2, 0), (3, 0)):
        for order in "CF":
            with open("x.npy", "wb") as file:
                np.lib.format.write_array(file, np.array(x, order=order), version)
            assert main(["predict", digits_net, "x.npy"]) == 0
            assert capsys.readouterr().out == classes_of(digits_net, x)


@pytest.mark.parametrize("text", ["a,b\r1,2\r3,4\r", "a,b\r\n\r\n1,2\r\n3,4", "1,2\n3,4\n\n", "  \n1,2\n \n3,4"])
def test_lines_of_csv_may_end_in_any_way(capsys, text):
    nnfast.Sequential([nnfast.Rescaling(1.0)], input_shape=2).save("net.npz")
    Path("x.csv").write_bytes(text.encode())
    assert main(["predict", "net.npz", "x.csv"]) == 0
    assert capsys.readouterr().out == "1.0,2.0\n3.0,4.0\n"
