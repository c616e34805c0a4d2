"""What `import nnfast` provides, and what it leaves alone."""

from __future__ import annotations

import importlib
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nnfast as nf
from nnfast._description import Description

ALL = [
    "LBFGS",
    "SGD",
    "Activation",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "BatchNorm",
    "ColumnEncoding",
    "Dense",
    "Descent",
    "Dropout",
    "Flatten",
    "GaussianNoise",
    "GradientReport",
    "History",
    "LayerNorm",
    "Lion",
    "LoadError",
    "NAdam",
    "Perceptron",
    "Predictor",
    "RMSprop",
    "Rescaling",
    "Reshape",
    "Residual",
    "Scale",
    "Sequential",
    "__version__",
    "activations",
    "assert_gradient_correct",
    "callbacks",
    "check_gradient",
    "columns",
    "datasets",
    "fit_many",
    "from_keras",
    "from_onnx",
    "from_sklearn",
    "from_torch",
    "functions",
    "get_include",
    "get_num_threads",
    "gradient_descent",
    "load",
    "losses",
    "metrics",
    "num_threads",
    "numerical_diff",
    "numerical_gradient",
    "numerical_jacobian",
    "perceptron",
    "plotting",
    "schedules",
    "set_num_threads",
    "show_config",
    "tables",
]


def run(code):
    return subprocess.check_output([sys.executable, "-P", "-W", "error", "-c", code], text=True)


# ---- names


def test_the_public_names():
    """A snapshot: a change to it is a change that users see, and needs a line in the changelog."""
    assert list(nf.__all__) == ALL
    assert dir(nf) == sorted(ALL)
    for name in ALL:
        assert getattr(nf, name) is not None


def test_a_star_import_brings_the_public_names():
    names = run("from nnfast import *; print(*sorted(n for n in dir() if not n.startswith('__')))").split()
    assert names == sorted(name for name in ALL if not name.startswith("__"))


def test_unknown_names():
    with pytest.raises(AttributeError, match="module 'nnfast' has no attribute 'Densest'"):
        nf.Densest  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Densest' from 'nnfast'"):
        from nnfast import Densest  # noqa: F401


@pytest.mark.parametrize("name", ["callbacks", "datasets", "perceptron", "plotting"])
def test_modules_that_are_imported_when_asked_for(name):
    assert getattr(nf, name) is importlib.import_module(f"nnfast.{name}")
    assert run(f"import nnfast; print(nnfast.{name}.__name__)") == f"nnfast.{name}\n"


def test_what_has_to_do_with_gradients_is_in_one_package():
    from nnfast import gradients
    from nnfast.gradients import checking, functions

    assert dir(gradients) == gradients.__all__ == sorted([*functions.__all__, *checking.__all__])
    for name in gradients.__all__:
        assert getattr(gradients, name) is getattr(functions if name in functions.__all__ else checking, name)
        assert getattr(nf, name, getattr(gradients, name)) is getattr(gradients, name)
    with pytest.raises(AttributeError, match="module 'nnfast.gradients' has no attribute 'numerical_slope'"):
        gradients.numerical_slope  # noqa: B018
    code = "from nnfast.gradients import *; print(numerical_gradient.__name__, ArrayReport.__name__)"
    assert run(code) == "numerical_gradient ArrayReport\n"


def test_the_version():
    parts = nf.__version__.split(".")
    assert len(parts) >= 3
    assert all(part.isdecimal() for part in parts[:2])


def test_show_config(capsys):
    assert nf.show_config() is None
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"nnfast {nf.__version__} (numpy ")
    assert lines[1].startswith("SIMD level: ")
    assert lines[2].startswith("compiler: ")
    assert lines[3] == f"threads: {nf.get_num_threads()}"


def test_sources_that_are_not_compiled_say_what_to_do(tmp_path):
    """For example if Python is started in a clone in which nothing was built."""
    compiled = shutil.ignore_patterns("*.so", "*.pyd")
    shutil.copytree(Path(nf.__file__).parent, tmp_path / "nnfast", ignore=compiled)
    done = subprocess.run([sys.executable, "-c", "import nnfast"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: nnfast was imported from sources that are not compiled, in ")
    assert str(tmp_path) in last
    assert last.endswith("or compile the sources with `pip install -e .`")


# ---- what it imports


def test_import_brings_only_what_it_needs():
    """Beyond what numpy imports: nothing large, and nothing that is only for tests."""
    code = (
        "import sys; import numpy; before = set(sys.modules); import nnfast; print(*sorted(set(sys.modules) - before))"
    )
    brought = run(code).split()
    assert "nnfast.sequential" in brought
    for name in (
        "scipy", "matplotlib", "tqdm", "pooch", "numpy.random", "nnfast.reference", "nnfast.plotting",
        "nnfast.datasets", "nnfast.perceptron", "nnfast.cli", "nnfast.gradients.functions", "nnfast.gradients.checking",
        "nnfast.callbacks", "argparse", "zipfile", "json", "subprocess",
        "multiprocessing", "asyncio",
    ):  # fmt: skip
        assert not [module for module in brought if module == name or module.startswith(f"{name}.")], name


def test_a_network_is_used_without_scipy_and_the_rest():
    code = """if True:
        import sys
        for name in ("scipy", "matplotlib", "tqdm", "pooch"):
            sys.modules[name] = None
        import nnfast as nf
        net = nf.Sequential([nf.Dense(2, "softmax")], input_shape=2, seed=0)
        history = net.fit([[0, 1], [1, 0]], [0, 1], epochs=3)
        net.predict_class([[0, 1]])
        print(len(history["loss"]), *sorted(m for m in sys.modules if m.startswith("nnfast.reference")))
    """
    assert run(code).split() == ["3"]


def test_subnormal_numbers_survive_the_import():
    code = "import numpy as np, nnfast; print((np.array([1e-40], 'f4') * np.float32(1))[0] > 0, 5e-324 * 1.0 > 0)"
    assert run(code) == "True True\n"


def test_types_are_there_to_be_read():
    package = Path(nf.__file__).parent
    assert (package / "py.typed").is_file()
    for compiled in (*package.glob("engine/*.pyx"), *package.glob("kernels/*.pyx")):
        assert compiled.with_suffix(".pyi").is_file(), compiled.name


# ---- documentation

CLASSES = [name for name in ALL if inspect.isclass(getattr(nf, name))]
FUNCTIONS = [name for name in ALL if inspect.isfunction(getattr(nf, name))]
MODULES = [name for name in ALL if inspect.ismodule(getattr(nf, name))]


def methods(cls):
    """The methods that nnfast defines itself: History inherits others from Mapping."""
    for name, member in inspect.getmembers(cls, inspect.isfunction):
        declared = hasattr(Description, name)  # how fields are declared, which is for those who add a description
        if not name.startswith("_") and member.__module__.startswith("nnfast") and not declared:
            yield name, member


def documented():
    """Every public function, class and method, with its arguments."""
    for name in CLASSES + FUNCTIONS:
        yield name, getattr(nf, name)
    for name in CLASSES:
        for method, function in methods(getattr(nf, name)):
            yield f"{name}.{method}", function
    for name in MODULES:
        module = getattr(nf, name)
        for public in module.__all__:
            member = getattr(module, public)
            if inspect.isclass(member) or inspect.isroutine(member):
                yield f"{name}.{public}", member


def section(text, title):
    """The lines of one section of a docstring; None if it has no such section."""
    lines = inspect.cleandoc(text).splitlines()
    starts = [i for i in range(len(lines) - 1) if lines[i] == title and lines[i + 1] == "-" * len(title)]
    if not starts:
        return None
    rest = lines[starts[0] + 2 :]
    ends = [
        i
        for i in range(len(rest) - 1)
        if rest[i + 1] and set(rest[i + 1]) == {"-"} and len(rest[i + 1]) == len(rest[i])
    ]
    return rest[: ends[0]] if ends else rest


ONLY_RESULTS = {  # only nnfast creates these
    "Descent", "GradientReport", "History", "Predictor", "tables.Column", "tables.Frame", "tables.Member",
    "tables.TableModel",
}  # fmt: skip


def test_there_is_something_to_document():
    assert len(CLASSES) > 20
    assert len(FUNCTIONS) >= 4
    assert len(MODULES) == 11
    assert len(dict(documented())) > 50


@pytest.mark.parametrize(("name", "thing"), [pytest.param(*pair, id=pair[0]) for pair in documented()])
def test_every_public_name_has_a_docstring(name, thing):
    """Its first line is a sentence; its parameters are those that it has; a class or function shows an example."""
    text = inspect.getdoc(thing)  # a method's may be that of the method it overrides
    assert text, name
    assert text.strip().splitlines()[0].rstrip().endswith(".")
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return
    parameters = set(inspect.signature(thing).parameters) - {"self"}
    if name in ONLY_RESULTS:
        assert section(text, "Attributes")
        return
    if parameters:
        listed = section(text, "Parameters")
        assert listed is not None, f"{name} says nothing of its parameters"
        names = [line.split(":")[0].split(",") for line in listed if line and line[0] != " "]
        assert {name.strip().lstrip("*") for line in names for name in line} == parameters
    assert section(text, "Examples"), f"{name} shows no example"


@pytest.mark.parametrize("name", MODULES)
def test_modules_say_what_they_are_for(name):
    assert getattr(nf, name).__doc__
