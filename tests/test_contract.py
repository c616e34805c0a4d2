"""The package's structure: twins with equal names and signatures, what belongs to a layer, imports in one direction,
the choice of a level."""

from __future__ import annotations

import ast
import graphlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import gradient_cases
import kernel_calls as kernels
import pytest
from hypothesis import settings
from optimizer_cases import OPTIMIZERS

import nnfast
from nnfast import activations, functions, layers, losses, metrics, optimizers, reference
from nnfast.engine.program import STAGES
from nnfast.kernels import arrays, dispatch

PACKAGE = Path(nnfast.__file__).parent
BESIDE = Path(__file__).parent.parent  # README and others, unless the tests were copied without them
README = BESIDE / "README.md"
# Wheels have no Cython sources: tests away from the sources have a copy of them beside.
COMPILED = PACKAGE if (PACKAGE / "engine" / "program.pyx").exists() else BESIDE / "sources" / "nnfast"


def public(module):
    """The functions of a module: those without an underscore."""
    return {
        name: value for name, value in vars(module).items() if not name.startswith("_") and inspect.isroutine(value)
    }


def parameters(function):
    """Name, kind and default of each parameter: annotations may differ, since compiled code has none."""
    return [(p.name, p.kind.name, p.default) for p in inspect.signature(function).parameters.values()]


# ---- the twins


def test_every_kernel_has_a_twin():
    twins = set(public(reference))
    missing = sorted(kernels.OPERATIONS - twins)
    assert not missing, f"nnfast/reference lacks {missing}"
    assert set(public(kernels)) == twins
    assert set(reference.__all__) == set(public(reference))


@pytest.mark.parametrize("name", sorted({*public(kernels), *public(reference)}))
def test_twins_have_one_signature(name):
    assert parameters(getattr(kernels, name)) == parameters(getattr(reference, name))


def test_every_kernel_has_a_description():
    missing = sorted(kernels.ACTIVATIONS.keys() - set(activations.NAMES))
    assert not missing, f"nnfast/activations.py lacks {missing}"
    described = {name for kind in losses.LOSSES.values() for name in (kind.name, *kind.fused.values())}
    missing = sorted(kernels.LOSSES.keys() - described)
    assert not missing, f"nnfast/losses.py lacks {missing}"


def test_every_activation_and_loss_has_its_functions():
    wanted = {*kernels.ACTIVATIONS, *kernels.LOSSES} - {"gelu_tanh"}  # which is gelu(x, "tanh")
    missing = sorted({name + end for name in wanted for end in ("", "_backward")} - set(functions.__all__))
    assert not missing, f"nnfast/functions.py lacks {missing}"


@pytest.mark.skipif(not README.exists(), reason="README.md is not beside the tests")
@pytest.mark.parametrize(
    ("what", "names"),
    [("activations", activations.NAMES), ("losses", losses.NAMES), ("metrics", metrics.NAMES)],
)
def test_readme_lists_what_there_is(what, names):
    (row,) = re.findall(rf"^\| {what}.* \| (.*) \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    missing = sorted(set(names) - set(re.findall(r"\w+", row)))
    assert not missing, f"the table in README.md lacks {missing}"


def test_every_function_has_a_kernel():
    here = {name for name, value in public(functions).items() if value.__module__ == functions.__name__}
    assert set(functions.__all__) == here
    assert here <= set(public(kernels))


@pytest.mark.parametrize("name", functions.__all__)
def test_functions_have_the_signature_of_their_kernel(name):
    """Except that gelu chooses between two."""
    own = [p for p in parameters(getattr(functions, name)) if p[0] != "approximate"]
    assert own == parameters(getattr(reference, name))


@pytest.mark.parametrize("module", [arrays, dispatch], ids=lambda module: module.__name__)
def test_stubs_say_what_the_compiled_modules_are(module):
    path = PACKAGE.joinpath(*module.__name__.split(".")[1:]).with_suffix(".pyi")
    body = ast.parse(path.read_text(encoding="utf-8")).body
    stubs = {node.name: node.args for node in body if isinstance(node, ast.FunctionDef)}
    own = {name: value for name, value in public(module).items() if value.__module__ == module.__name__}
    assert set(stubs) == set(own)
    for name, value in own.items():
        kinds = inspect.signature(value).parameters.values()
        arguments = stubs[name]
        assert [a.arg for a in arguments.args] == [p.name for p in kinds if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert [a.arg for a in arguments.kwonlyargs] == [p.name for p in kinds if p.kind is p.KEYWORD_ONLY]
        defaults = [ast.literal_eval(d) for d in (*arguments.defaults, *arguments.kw_defaults)]
        assert defaults == [p.default for p in kinds if p.default is not p.empty]
    for node in body:
        if isinstance(node, ast.AnnAssign):
            assert hasattr(module, node.target.id)


# ---- what is to be added with a layer: the list in CONTRIBUTING.md

ROOT = Path(__file__).parent.parent


def in_backquotes(name, pattern=".*"):
    """The words in backquotes in the part of a document that `pattern` finds; the test is skipped without it."""
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"{name} is not beside the tests")
    return set(re.findall(r"`(\w+)`", re.search(pattern, path.read_text(encoding="utf-8"), re.DOTALL)[0]))


PLACES_OF_LAYERS = {
    "__all__ of nnfast/layers/__init__.py": lambda: set(layers.__all__),
    "__all__ of nnfast/__init__.py": lambda: set(nnfast.__all__),
    "LAYERS of tests/gradient_cases.py": lambda: {name.split()[0] for name in gradient_cases.LAYERS},
    "the table in README.md": lambda: in_backquotes("README.md", r"\n\| layers \|[^\n]*"),
    "CHANGELOG.md": lambda: in_backquotes("CHANGELOG.md"),
}


def layers_missing_from(place):
    return sorted({kind.__name__ for kind in layers.Layer.registry.values()} - PLACES_OF_LAYERS[place]())


@pytest.mark.parametrize("place", PLACES_OF_LAYERS)
def test_every_layer_is_in(place):
    assert not layers_missing_from(place), f"add to {place}"


@pytest.mark.parametrize("place", PLACES_OF_LAYERS)
def test_a_layer_that_was_forgotten_is_named(place, monkeypatch):
    class Forgotten(layers.Layer):
        pass

    monkeypatch.setitem(layers.Layer.registry, "forgotten", Forgotten)
    assert "Forgotten" in layers_missing_from(place)


ENGINE = COMPILED / "engine"
KINDS = {path.name: path.read_text(encoding="utf-8") for path in (ENGINE / "stages").glob("*.pxi")}
PROGRAM = (ENGINE / "program.pyx").read_text(encoding="utf-8")
PLAN = (ENGINE / "plan.pxi").read_text(encoding="utf-8")


def registered(files):
    """The kinds of stages that files register: whether each is random, by name."""
    pattern = re.compile(r'^register_kind\(\s*(\w+), b"(\w+)", [^,]+, (True|False),', re.MULTILINE)
    kinds = [kind for text in files.values() for kind in pattern.findall(text)]
    assert all(code == name.upper() for code, name, _ in kinds)
    return {name: random == "True" for _, name, random in kinds}


def stages_missing(files, program):
    """What is wrong with the files of engine/stages: one sentence for each kind or file."""
    codes = re.search(r"^cpdef enum StageCode:\n((?:    \w+\n)+)", PLAN, re.MULTILINE)[1].lower().split()
    included = re.findall(r'^include "stages/(\w+\.pxi)"', program, re.MULTILINE)
    missing = [f"no file in engine/stages registers {name.upper()} of plan.pxi" for name in codes]
    found = registered(files)
    return [text for name, text in zip(codes, missing, strict=True) if name not in found] + [
        f"program.pyx does not include stages/{name}" for name in sorted(set(files) - set(included))
    ]


def test_every_stage_has_a_file():
    assert stages_missing(KINDS, PROGRAM) == []
    assert set(registered(KINDS)) == set(STAGES)


def test_a_stage_without_a_file_is_named():
    others = {name: text for name, text in KINDS.items() if name != "rescaling.pxi"}
    assert stages_missing(others, PROGRAM) == ["no file in engine/stages registers RESCALING of plan.pxi"]
    program = PROGRAM.replace('include "stages/rescaling.pxi"\n', "")
    assert stages_missing(KINDS, program) == ["program.pyx does not include stages/rescaling.pxi"]


def test_a_layer_is_random_where_its_stage_is():
    random = registered(KINDS)
    kinds = {name: kind for name, kind in layers.Layer.registry.items() if name in random}
    assert {name: kind.random for name, kind in kinds.items()} == {name: random[name] for name in kinds}
    assert True in random.values()


def stages_of_cases():
    """The kinds of stages in the networks of gradient_cases.py."""
    for make in gradient_cases.LAYERS.values():
        compiler = layers.Compiler((4,))
        compiler.add_layers([make(4)])
        yield from (stage["kind"] for stage in compiler.stages)


def test_every_stage_has_gradient_cases():
    assert set(STAGES) == set(stages_of_cases()), "LAYERS of tests/gradient_cases.py needs a layer with each stage"


# ---- imports run in one direction

CYTHON_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([.\w]+)[ \t]+c?import[ \t]+(.*)|c?import[ \t]+(.*))$", re.MULTILINE)


def absolute(target, package):
    """`target` as seen from inside `package`: leading dots resolved."""
    dots = len(target) - len(target.lstrip("."))
    if not dots:
        return target
    base = package.split(".")
    return ".".join([*base[: len(base) - dots + 1], *filter(None, [target[dots:]])])


def python_imports(source, package):
    """Pairs of a module, or a name in it, and whether it is imported together with the importing module.

    Imports that only type checkers read are among those that are not.
    """

    def visit(node, at_once):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            at_once = False
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, at_once
        elif isinstance(node, ast.ImportFrom):
            origin = absolute("." * node.level + (node.module or ""), package)
            for alias in node.names:
                yield f"{origin}.{alias.name}", at_once
        inside = at_once and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    return list(visit(ast.parse(source), True))


def cython_imports(source, package):
    """The same for Cython, line by line: an import inside a function counts as immediate."""
    found = []
    for origin, names, modules in CYTHON_IMPORT.findall(source):
        if origin:
            words = re.findall(r"\w+", re.sub(r"#.*| as \w+", "", names)) or ["*"]  # names in brackets may follow below
            found += [(f"{absolute(origin, package)}.{word}", True) for word in words]
        else:
            found += [(part.split()[0], True) for part in modules.split("#")[0].split(",")]
    return found


def sources():
    """The text of every file of the package that can contain imports, with its module and package."""
    python = [(PACKAGE, path) for path in PACKAGE.rglob("*.py")]
    for root, path in sorted(python + [(COMPILED, path) for path in COMPILED.rglob("*.p[yx][xdi]")]):
        if path.suffix != ".pyi":
            parts = [PACKAGE.name, *path.relative_to(root).with_suffix("").parts]
            package = ".".join(parts[:-1])
            module = package if parts[-1] == "__init__" else ".".join(parts)
            yield path, module, package


def imports_by_module():
    """For every module of nnfast, the modules of nnfast that it imports, each with whether this is immediate."""
    found = {}
    for path, module, package in sources():
        read = python_imports if path.suffix == ".py" else cython_imports
        found.setdefault(module, []).extend(read(path.read_text(encoding="utf-8"), package))
    modules = set(found)

    def home(target):
        """The module that is imported: the name itself, or the module that contains it."""
        while target not in modules and "." in target:
            target = target.rpartition(".")[0]
        return target

    return {
        module: {(home(target), at_once) for target, at_once in targets if target.split(".")[0] == PACKAGE.name}
        for module, targets in found.items()
    }


def room(module):
    """`kernels` for `nnfast.kernels.arrays`; nothing for nnfast itself."""
    return ".".join(module.split(".")[1:2])


IMPORTS = imports_by_module()


def test_the_readers_of_imports_read():
    python = (
        "from nnfast import a\nimport nnfast.b as b, os\nfrom . import c\nfrom ..d import e\nfrom .f import *\n"
        "if TYPE_CHECKING:\n    import typed\ndef function():\n    from nnfast.late import g\n"
    )
    assert python_imports(python, "nnfast.room") == [
        ("nnfast.a", True),
        ("nnfast.b", True),
        ("os", True),
        ("nnfast.room.c", True),
        ("nnfast.d.e", True),
        ("nnfast.room.f.*", True),
        ("typed", False),
        ("nnfast.late.g", False),
    ]
    cython = (
        "cimport numpy as cnp  # comment\nfrom nnfast.x cimport a as b, c\nfrom nnfast.y cimport (\n    d,\n)\n"
        'from .z import e\n    import nnfast.u, os\ncdef extern from "simd.h" nogil:\n    important = 1\n'
    )
    assert cython_imports(cython, "nnfast.room") == [
        ("numpy", True),
        ("nnfast.x.a", True),
        ("nnfast.x.c", True),
        ("nnfast.y.*", True),
        ("nnfast.room.z.e", True),
        ("nnfast.u", True),
        ("os", True),
    ]
    assert {"nnfast", "nnfast.functions", "nnfast.kernels", "nnfast.reference.dense"} <= set(IMPORTS)
    assert ("nnfast._validation", True) in IMPORTS["nnfast.functions"]


@pytest.mark.parametrize(
    ("where", "allowed"),
    [
        ("kernels", {"kernels"}),
        ("capi", set()),
        ("reference", {"reference"}),
        ("engine", {"engine", "kernels", "capi"}),
        ("_validation", set()),
        ("functions", {"_validation", "kernels"}),
    ],
)
def test_a_room_imports_only_what_lies_below(where, allowed):
    modules = {module for module in IMPORTS if room(module) == where}
    assert modules
    upward = {(m, target) for m in modules for target, _ in IMPORTS[m] if room(target) not in allowed}
    assert not upward


# From the bottom to the top. A room may import others on its own storey, but not in a circle.
STOREYS = [
    {"kernels", "capi"},
    {"engine"},
    {"layers", "columns", "activations", "losses", "metrics", "optimizers", "schedules", "initializers"},
    {"_network"},
    {"gradients", "training", "files", "predictor"},
    {"sequential"},
    {"tables"},
    {"sklearn"},
]


def test_nothing_imports_upward():
    storey = {name: number for number, rooms in enumerate(STOREYS) for name in rooms}
    assert set(storey) <= {room(module) for module in IMPORTS}
    upward = {
        (module, target)
        for module, targets in IMPORTS.items()
        for target, _ in targets
        if storey.get(room(target), 0) > storey.get(room(module), len(STOREYS))
    }
    assert not upward


def test_the_reference_imports_itself_by_dots():
    """So that it can be read and moved without nnfast."""
    for path, module, _ in sources():
        if room(module) == "reference":
            assert not re.search(r"^\s*(from|import)\s+nnfast\b", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_nothing_at_run_time_imports_the_reference():
    users = {m for m, targets in IMPORTS.items() for target, _ in targets if room(target) == "reference"}
    assert {room(user) for user in users} == {"reference"}


def test_no_module_imports_in_a_circle():
    """Neither at run time, early or late, nor for type checkers. The package itself imports all, late for the most."""
    package = PACKAGE.name
    graph = {m: {target for target, _ in targets} - {m, package} for m, targets in IMPORTS.items() if m != package}
    list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the circle


# ---- what begins with an underscore is used by its own module alone

# Of the standard library, and of scikit-learn for its estimators, which have no other names for them.
FOREIGN = {
    "_CFuncPtr", "_flags_", "_getframe", "_check_partial_fit_first_call", "_check_sample_weight", "_fit_context",
    "_safe_indexing",
}  # fmt: skip


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def private_uses(source):
    """Private names that a module takes from others: imported, or attributes that nothing in it defines.

    An attribute of `self` or `cls` is defined by a class, perhaps a parent of that in the module.
    """
    nodes = list(ast.walk(ast.parse(source)))
    own = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            own.add(node.attr)
    found = []
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            if node.module not in (None, PACKAGE.name):  # of which private modules may be imported
                found += [alias.name for alias in node.names if is_private(alias.name) and alias.name not in FOREIGN]
        elif (
            isinstance(node, ast.Attribute)
            and is_private(node.attr)
            and node.attr not in own | FOREIGN
            and ast.unparse(node.value) not in ("self", "cls", "super()")
        ):
            found.append(ast.unparse(node))
    return found


def test_the_reader_of_private_uses_reads():
    source = (
        "from nnfast import _files\nfrom nnfast._files import _open, replacing as _replacing\n_kept = 1\n"
        "class A:\n    def __init__(self): self._x = self._parent\n    def _m(self, other): other._x = other.__dict__\n"
        "a._m()\na._y = b()._z + sys._getframe() + m._kept\n"
    )
    assert sorted(private_uses(source)) == ["_open", "a._y", "b()._z"]


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_names_stay_in_their_module(path):
    assert not private_uses(path.read_text(encoding="utf-8"))


# ---- separate processes


def python(code, *arguments, **environment):
    """Run code in a new interpreter; a variable set to None is removed from its environment."""
    merged = {key: value for key, value in {**os.environ, **environment}.items() if value is not None}
    command = [sys.executable, "-P", "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=merged)


def output(run):
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_importing_everything_leaves_the_reference_out():
    mine = [module for path, module, _ in sources() if path.suffix == ".py" and room(module) != "reference"]
    mine = [module for module in mine if not module.endswith("__main__")]
    mine = [module for module in mine if not module.startswith("nnfast.files.pytorch")]  # which needs PyTorch
    code = "import importlib, sys; [importlib.import_module(m) for m in sys.argv[1:]]; print(*sys.modules)"
    loaded = output(python(code, *mine)).split()
    assert {"nnfast.kernels.arrays", "nnfast.datasets", *mine} <= set(loaded)
    assert not [module for module in loaded if module.startswith("nnfast.reference")]


RUNNABLE = [level for level in dispatch.supported_levels() if level in dispatch.built_levels()]

SUBNORMALS = """
import numpy as np

def check(when):
    for dtype, small in ((np.float32, 1e-40), (np.float64, 1e-310)):
        small, one = np.full(3, small, dtype), np.ones(3, dtype)
        assert ((small * one) != 0).all() and ((small + small) > small).all(), f"flushed in {dtype}, {when}"
        assert dtype(small[0]) * dtype(1) != 0, f"flushed in {dtype}, {when}"

check("before nnfast")
import nnfast
check("after import nnfast")
from nnfast.kernels import arrays as k, dispatch
check("after the kernels are loaded")
for dtype in (np.float32, np.float64):
    x = np.full((5, 5), 1e-40, dtype)
    for name in ("exp", "log", "tanh", "sigmoid", "softmax"):
        k.apply(name, x)
    k.matmul(x, x), k.dense(x, x, x[0], "tanh")
    k.loss("softmax_cross_entropy", x, np.arange(5)), k.loss_backward("softmax_cross_entropy", x, np.arange(5))
    k.update("sgd", x[0], x[1], learning_rate=0.1), k.update("adam", x[0], x[1], (x[2], x[3]), learning_rate=0.1)
check("after kernels ran")
print(dispatch.level)
"""


@pytest.mark.parametrize("level", RUNNABLE)
def test_each_level_loads_and_keeps_subnormals(level):
    """A library linked with -ffast-math, or a kernel that forgets to restore the mode, flushes them to zero."""
    assert output(python(SUBNORMALS, NNFAST_SIMD=level)) == level


LEVEL = "from nnfast.kernels import dispatch; print(dispatch.level)"


@pytest.mark.parametrize("value", [None, ""])
def test_the_best_level_is_the_default(value):
    assert output(python(LEVEL, NNFAST_SIMD=value)) == RUNNABLE[-1]


def test_the_level_in_use_is_the_one_that_was_asked_for():
    assert dispatch.level == (os.environ.get("NNFAST_SIMD") or RUNNABLE[-1])
    assert dispatch.supported_levels()[0] == dispatch.built_levels()[0] == "baseline"
    assert {*dispatch.supported_levels(), *dispatch.built_levels()} <= set(dispatch.LEVELS)


@pytest.mark.parametrize("level", ["nonsense", "AVX2", "avx2 "])
def test_an_unknown_level_is_refused(level):
    run = python("import nnfast.kernels.dispatch", NNFAST_SIMD=level)
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last == f"ImportError: NNFAST_SIMD must be one of baseline, avx2, avx512, got {level!r}"


@pytest.mark.skipif(len(dispatch.supported_levels()) == len(dispatch.LEVELS), reason="this processor runs every level")
def test_a_level_the_processor_lacks_is_refused():
    level, runs = dispatch.LEVELS[-1], ", ".join(dispatch.supported_levels())
    run = python("import nnfast.kernels.dispatch", NNFAST_SIMD=level)
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last == f"ImportError: NNFAST_SIMD={level}, but this processor or operating system runs only {runs}"


# Imports the kernels as if the given levels had not been built.
WITHOUT = """
import sys
for level in sys.argv[1:]:
    sys.modules[f"nnfast.kernels._{level}_float32"] = None
from nnfast.kernels import arrays, dispatch
print(dispatch.level, *dispatch.built_levels())
"""


@pytest.mark.parametrize("level", RUNNABLE)
def test_a_level_that_was_not_built_is_refused(level):
    others = ", ".join(other for other in dispatch.built_levels() if other != level) or "none"
    run = python(WITHOUT, level, NNFAST_SIMD=level)
    assert run.returncode == 1
    last = run.stderr.strip().splitlines()[-1]
    assert last == f"ImportError: nnfast was built without {level}: it has {others}"


def test_the_default_is_the_best_level_that_was_built():
    for i, level in enumerate(RUNNABLE[:-1]):
        missing = RUNNABLE[i + 1 :]
        built = [other for other in dispatch.built_levels() if other not in missing]
        assert output(python(WITHOUT, *missing, NNFAST_SIMD=None)).split() == [level, *built]
    run = python(WITHOUT, *dispatch.LEVELS, NNFAST_SIMD=None)
    assert run.stderr.strip().splitlines()[-1] == "ImportError: nnfast was built without any level: it has none"


# ---- what each optimizer has

# Prints each optimizer after an update by it: one without a loop ends the process.
UPDATES = """
import sys
import numpy as np
from nnfast.kernels import arrays
for name in sys.argv[1:]:
    arrays.update(name, np.ones(3), np.ones(3), [np.ones(3) for _ in range(3)], learning_rate=0.1, epsilon=0.1)
    print(name, flush=True)
"""


def with_a_loop(names):
    found, left = set(), sorted(names)
    while left:
        ran = python(UPDATES, *left).stdout.split()
        found |= set(ran)
        left = left[len(ran) + 1 :]
    return found


def listed(names, path, line):
    """The classes named in those lines of a file that contain `line`; all if the file is not beside the tests."""
    if not path.exists():
        return set(names)
    text = "".join(part for part in re.split(r"\n(?=[-|#])", path.read_text(encoding="utf-8")) if line in part.lower())
    return {name for name in names if re.search(rf"\b{names[name]}\b", text)}


def assigned(path, name):
    """The value of a variable in a file that is not run: tests that read it may not even be collected."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)


def signature(function):
    return inspect.signature(function).parameters


@pytest.fixture(scope="module")
def places():
    """What an optimizer needs, by the file in which it stands, and the names of those that have it."""
    classes = {name: kind.__name__ for name, kind in optimizers.OPTIMIZERS.items()}
    twins = public(reference.optimizers)
    snapshot = assigned(Path(__file__).with_name("test_import.py"), "ALL")
    sources = {name for name, row in OPTIMIZERS.items() if row.pytorch or (row.program and row.defaults)}
    exported = {name for name, kind in optimizers.OPTIMIZERS.items() if getattr(nnfast, kind.__name__, None) is kind}
    return {
        "kernels/table.pxd": ("a code in OptimizerKind", set(kernels.OPTIMIZERS)),
        "kernels/optimizers.pxi": ("a branch of update_vectors", with_a_loop(kernels.OPTIMIZERS)),
        "reference/optimizers.py": ("a twin", {name for name in twins if "learning_rate" in signature(twins[name])}),
        "optimizers.py": ("a class with this name", set(classes)),
        "__init__.py": ("its class in __all__", {name for name in exported if classes[name] in nnfast.__all__}),
        "tests/optimizer_cases.py": (
            "a row with steps by hand, and hyperparameters of PyTorch or a program and defaults",
            {name for name in sources if OPTIMIZERS[name].by_hand},
        ),
        "tests/test_import.py": ("its class in ALL", {name for name in classes if classes[name] in snapshot}),
        "README.md": ("its class in the row of optimizers", listed(classes, BESIDE / "README.md", "| optimizers |")),
        "CHANGELOG.md": ("its class in the line of optimizers", listed(classes, BESIDE / "CHANGELOG.md", "optimizer")),
    }


def forgotten(places):
    names = set().union(*(found for _, found in places.values()))
    return [f"{name} lacks {what}: {file}" for file, (what, found) in places.items() for name in sorted(names - found)]


def test_every_optimizer_is_complete(places):
    assert not forgotten(places)


def test_rows_make_their_optimizers():
    assert {name: type(row.make()) for name, row in OPTIMIZERS.items()} == optimizers.OPTIMIZERS


def test_what_an_optimizer_lacks_is_named(places):
    known = forgotten(places)
    for file, (what, found) in places.items():
        lacking = forgotten(places | {file: (what, found - {"adam"})})
        assert [message for message in lacking if message not in known] == [f"adam lacks {what}: {file}"]


@pytest.mark.skipif(not (BESIDE / "CONTRIBUTING.md").exists(), reason="CONTRIBUTING.md is not beside the tests")
def test_contributing_lists_what_an_optimizer_needs(places):
    text = (BESIDE / "CONTRIBUTING.md").read_text(encoding="utf-8")
    entry = re.search(r"^- \*\*an optimizer\*\*:.*\n(?:  .*\n)*", text, re.MULTILINE)[0]
    assert set(re.findall(r"`([\w/]+\.\w+)`", entry)) == {*places, "tests/test_contract.py"}


# ---- the tests themselves


def test_examples_have_no_deadline_and_repeat_in_ci():
    assert settings.default.deadline is None
    assert settings.default.derandomize == bool(os.environ.get("CI"))
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[1]); from hypothesis import settings; print(settings().derandomize)"
    )
    conftest = str(Path(__file__).with_name("conftest.py"))
    assert output(python(code, conftest, CI="true")) == "True"
    assert output(python(code, conftest, CI=None)) == "False"
