"""Random calls of everything public, with valid and invalid arguments: each error is documented, names an invalid
argument, and leaves everything unchanged."""

from __future__ import annotations

import re
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from calls import CALLS, X
from numpy_network import state
from rounds import seeds
from scipy import sparse

import nnfast as nf
from nnfast import functions

DOCUMENTED = (TypeError, ValueError, RuntimeError, OverflowError)


class Unreadable:
    """Like an array of another library that must be converted before NumPy can read it."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("detach it first")


class Unshowable:
    def __repr__(self):
        raise ZeroDivisionError


BAD = [
    lambda: None,
    lambda: True,
    lambda: np.False_,
    lambda: "text",
    lambda: "1",
    lambda: b"1",
    lambda: 1j,
    lambda: 0,
    lambda: -1,
    lambda: -0.0,
    lambda: 1.5,
    lambda: np.nan,
    lambda: np.inf,
    lambda: -np.inf,
    lambda: 1e308,
    lambda: 5e-324,
    lambda: np.float16(0.1),
    lambda: np.longdouble("1e4000"),
    lambda: 2**63,
    lambda: 10**400,
    lambda: -(10**5000),
    lambda: np.uint64(2**64 - 1),
    lambda: Fraction(1, 3),
    lambda: Decimal("0.5"),
    lambda: Decimal("sNaN"),
    lambda: Decimal("1e400"),
    lambda: np.timedelta64(3, "s"),
    lambda: np.datetime64("2020"),
    lambda: [],
    lambda: {},
    lambda: {"a": 1},
    lambda: {1, 2},
    lambda: [[1, 2], [3]],
    lambda: [[1, 2], 3],
    lambda: [10**400, 1],
    lambda: [1, None],
    lambda: ["a", "b"],
    lambda: (value for value in (1, 2)),
    lambda: object(),
    lambda: Unshowable(),
    lambda: Unreadable(),
    lambda: [Unreadable()],
    lambda: lambda *arguments: None,
    lambda: ...,
    lambda: np.array(0.5),
    lambda: np.array(True),
    lambda: np.array("0.5"),
    lambda: np.array([0.5]),
    lambda: np.array([[0.5]]),
    lambda: np.zeros(0),
    lambda: np.zeros((0, 3)),
    lambda: np.zeros((8, 0)),
    lambda: np.zeros((2, 2, 2, 2)),
    lambda: np.full((8, 3), np.nan),
    lambda: np.full((8, 3), 1e300),
    lambda: np.full((8, 3), 1e-320),
    lambda: np.arange(24.0).reshape(3, 8).T[::-1],
    lambda: np.zeros((8, 3), ">f8"),
    lambda: np.zeros((8, 3), bool),
    lambda: np.zeros((8, 3), complex),
    lambda: np.zeros((8, 3), object),
    lambda: np.full((8, 3), "a"),
    lambda: np.full((8, 3), "a", object),
    lambda: np.zeros(8, [("a", float), ("b", int)]),
    lambda: np.full(8, 99),
    lambda: np.full(8, np.nan),
    lambda: np.arange(8)[:, None],
    lambda: np.array(["cat", "dog"] * 4),
    lambda: np.ma.masked,
    lambda: np.ma.masked_array(X, X > 0),
    lambda: sparse.csr_array(X),
    lambda: nf.Dense(2),
    lambda: nf.Adam(),
    lambda: nf.schedules.OneCycle(0.1, steps=10),
    lambda: nf.losses.Hinge(),
    lambda: nf.activations.ELU(),
]


def everything(owner):
    """The whole state of a network or a perceptron, for comparison."""
    if isinstance(owner, nf.Sequential):
        return state(owner)
    return None if owner is None else (owner.weights.tobytes(), owner.bias, sorted(vars(owner)))


@pytest.mark.parametrize("call", CALLS, ids=[call.name for call in CALLS])
def test_an_error_names_an_argument_and_changes_nothing(call, threads):
    for seed in seeds(6 * len(call.arguments)):
        rng = np.random.default_rng([seed, *call.name.encode()])
        values = {name: good[rng.integers(len(good))] for name, good in call.arguments.items()}
        for name in rng.choice(list(values), rng.integers(1, 3)):
            values[name] = BAD[rng.integers(len(BAD))]()
        function, owner = call.make()
        before = everything(owner)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                warnings.filterwarnings("ignore", "the training diverged|L-BFGS did not converge", RuntimeWarning)
                if call.calls_the_user:
                    warnings.simplefilter("ignore", RuntimeWarning)
                call.run(function, values)
        except MemoryError:
            assert everything(owner) == before
        except (*DOCUMENTED, *call.raises) as error:
            words = re.findall(r"(?:input )?\w+", str(error))
            assert {*words} & {*call.arguments, "loss"}, str(error)
            assert everything(owner) == before, str(error)


@pytest.fixture
def threads():
    """Undo random calls of `set_num_threads` after the test."""
    before = nf.get_num_threads()
    yield
    nf.set_num_threads(before)


def test_nothing_public_is_left_out():
    """Each public name is called; each exception has a reason."""
    called = {call.name.removeprefix("functions.").split(".")[0] for call in CALLS}
    others = {
        "Descent", "GradientReport", "History",  # only returned as results
        "__version__", "get_include", "get_num_threads", "show_config",  # take no arguments
        "activations", "callbacks", "columns", "datasets", "functions", "losses",  # modules
        "metrics", "perceptron", "plotting", "schedules", "tables",
        "load", "LoadError", "from_onnx",  # see test_saving.py, test_onnx.py,
        "from_torch", "from_sklearn", "from_keras",  # test_exchange_*.py,
        "Predictor",  # and test_capi.py
        "read_idx", "load_mnist",  # the same: see test_datasets.py
        "ReduceOnPlateau", "ConvergenceWarning",
    }  # fmt: skip
    modules = (
        nf,
        nf.activations,
        nf.columns,
        nf.datasets,
        functions,
        nf.losses,
        nf.metrics,
        nf.perceptron,
        nf.schedules,
    )
    assert {name for module in modules for name in module.__all__} - called - others == set()
