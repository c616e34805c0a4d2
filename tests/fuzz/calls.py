"""Every public callable with valid arguments, shared by the fuzzers of calls and of error states."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import nnfast as nf
from nnfast import activations, columns, functions, losses, metrics, optimizers, perceptron, schedules

X = np.random.default_rng(1).normal(size=(8, 3))
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])
WEIGHTS = np.arange(8.0)


@dataclass
class Call:
    """A public callable: a function that creates it, and valid values for each argument in order.

    `make` returns the callable itself and what it belongs to: the network or perceptron that an error must not change.
    """

    name: str
    make: Callable[[], tuple[Callable[..., Any], Any]]
    positional: Mapping[str, Sequence[Any]]
    keywords: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    calls_the_user: bool = False  # a user function may raise and warn
    raises: tuple[type[Exception], ...] = ()  # further exceptions that it may raise

    @property
    def arguments(self) -> dict[str, Sequence[Any]]:
        return {**self.positional, **self.keywords}

    def run(self, function: Callable[..., Any], values: Mapping[str, Any]) -> Any:
        """Call it, and return the result."""
        keywords = {name: values[name] for name in self.keywords}
        return function(*(values[name] for name in self.positional), **keywords)


def network(loss: str | None = None, *, output: str = "softmax", dtype: str = "float32") -> nf.Sequential:
    layers = [nf.Dense(4, "tanh"), nf.BatchNorm(), nf.Dense(3, output)]
    net = nf.Sequential(layers, input_shape=3, loss=loss, dtype=dtype, seed=0)
    net.fit(X, LABELS, verbose=0, optimizer="adam")
    return net


def plain(function: Callable[..., Any], positional: Any, keywords: Any = None, name: str | None = None) -> Call:
    return Call(name or function.__name__, lambda: (function, None), positional, keywords or {})


def of_network(name: str, positional: Any, keywords: Any = None, dtype: str = "float32") -> Call:
    def make() -> tuple[Any, Any]:
        net = network(dtype=dtype)
        if name in ("backward", "update"):
            out = net.forward(X, training=True)
            if name == "update":
                net.backward(out)
        return getattr(net, name), net

    return Call(f"Sequential.{name}", make, positional, keywords or {})


# ---- constructors, whose arguments follow from their signatures

FLOATS = (0.5, 0.25, np.float32(0.5), np.array(0.125))
RATES = (0.1, 1, np.float64(1e-3))
GIVEN: dict[str, Sequence[Any]] = {
    "units": (1, 3, np.int64(4)),
    "n": (2, np.int64(5)),
    "edges": ((), [-1.0, 0.5, 2.0]),
    "columns": ([columns.Embedding(3, 2)], (columns.Embedding(2, 1), columns.Number())),
    "activation": ("relu", activations.ELU(0.5)),
    "function": ("tanh", activations.Softplus(2.0)),
    "initializer": (None, "he_normal", 0.5),
    "bias_initializer": (0.0, 0.5),
    "learning_rate": RATES,
    "steps": (50, np.int32(20)),
    "warmup": (0, 5),
    "step_size": (1, 7),
    "pct_start": (0.5,),
    "anneal_strategy": ("cos", "linear"),
    "by": ("step", "epoch"),
    "div_factor": (2.0,),
    "final_div_factor": (2.0,),
    "base_momentum": (0.5,),
    "max_momentum": (0.75,),
    "minimum": (0.0, 1e-4),
    "k": (1, 5),
    "monitor": ("loss", "val_accuracy"),
    "threshold_mode": ("rel", "abs"),
    "patience": (0, 3),
    "cooldown": (0, 3),
    "quantiles": (0.5, [0.1, 0.9]),
    "approximate": ("none", "tanh"),
    "nesterov": (False,),
    "dampening": (0.0,),
    "history_size": (1, 10),
    "layers": ([nf.Dense(3)], (nf.LayerNorm(), nf.Dense(3))),
    "clip_value": (None, 1.0),
    "clip_norm": (None, 1.0),
    "average_decay": (None, 0.5),
    "l1": (0.0,),
    "l2": (0.0,),
    "affine": (True,),
    "use_bias": (True,),
}


def constructor(kind: type) -> Call:
    positional, keywords = {}, {}
    for name, parameter in inspect.signature(kind).parameters.items():
        values = GIVEN.get(name, (True, False) if isinstance(parameter.default, bool) else FLOATS)
        where = keywords if parameter.kind is parameter.KEYWORD_ONLY else positional
        where[name] = values
    return plain(kind, positional, keywords)


LAYERS = tuple(nf.layers.Layer.registry.values())
KINDS = (
    *LAYERS,
    *optimizers.NAMES.values(),
    *(
        getattr(module, name)
        for module in (activations, columns, losses, metrics, schedules)
        for name in module.__all__
    ),
)

# ---- functions on arrays

SHARES = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])
PARAMETERS = {"negative_slope": (0.1,), "alpha": (0.5,), "beta": (2.0,), "approximate": ("none", "tanh"),
              "delta": (0.5,), "log_input": (True, False), "quantiles": (0.5, [0.1, 0.5, 0.9]),
              "label_smoothing": (0.0, 0.1)}  # fmt: skip


def function_on_arrays(name: str) -> Call:
    function = getattr(functions, name)
    signs = np.where(SHARES > 0.3, 1.0, -1.0)
    values: dict[str, Sequence[Any]] = {
        "x": (SHARES, [1, 2.5], np.float32(0.5), SHARES.T, SHARES.astype("f4")),
        "gradient": (np.ones((2, 3)), np.ones((2, 3), "f4")),
        "output": (SHARES,),
        "prediction": (SHARES, SHARES.tolist()),
        "target": (signs,) if name.startswith("hinge") else (SHARES[::-1],),
        "out": (None,),
        **PARAMETERS,
    }
    parameters = inspect.signature(function).parameters.items()
    positional = {name: values.get(name, (p.default,)) for name, p in parameters if name != "out"}
    positional = {p: ((SHARES,) if p == "x" and "gradient" in positional else v) for p, v in positional.items()}
    return plain(function, positional, {"out": (None, np.zeros(3))}, name=f"functions.{name}")


# ---- networks and perceptrons

METRICS = (None, [], ["accuracy", metrics.TopKAccuracy(2)], ("mean_absolute_error",))
DATA = {"x": (X, X.astype("f4"), X.tolist()), "y": (LABELS, np.eye(3)[LABELS])}
TARGETS = {"sample_weight": (None, WEIGHTS), "training": (False, True)}
FIT = {
    "epochs": (1, 2), "steps": (None,), "batch_size": (32,), "optimizer": ("sgd", nf.Adam(0.01), "lbfgs"),
    "gradient": ("backpropagation", "numerical"), "sample_weight": (None, WEIGHTS),
    "validation_data": (None, (X, LABELS)), "metrics": METRICS, "shuffle": (True,), "verbose": (0,),
    "callbacks": ((), [lambda net, history: None]),
}  # fmt: skip
FIT_MANY = {
    "epochs": (1, [1, 2]), "steps": (None,), "batch_size": (32, [4, 8]), "optimizer": ("sgd", [nf.Adam(0.01), "lion"]),
    "rows": (None, [LABELS > 0, None], [range(5), [1, 0, 1]]), "sample_weight": (None, WEIGHTS, [None, WEIGHTS]),
    "validation_data": (None,), "validation_rows": (None, [[1, 2, 3], range(4)]), "metrics": METRICS,
    "shuffle": (True, [True, False]), "verbose": (0,), "callbacks": FIT["callbacks"],
}  # fmt: skip
SEQUENTIAL = plain(
    nf.Sequential,
    {"layers": ([nf.Dense(2)], [nf.Dense(3, "relu"), nf.Dense(2, "softmax")])},
    {"input_shape": (3, (2, 2)), "loss": (None, "mean_squared_error"), "dtype": ("float32", np.float64),
     "seed": (0, 2**70, np.random.default_rng(0))},
)  # fmt: skip


def many() -> tuple[Any, Any]:
    nets = [network(), network()]
    return (lambda x, y, **keywords: nf.fit_many(nets, x, y, **keywords)), nets[0]


def unbuilt() -> tuple[Any, Any]:
    net = nf.Sequential([nf.Dense(2)], seed=0)
    return net.build, net


def assignment() -> tuple[Any, Any]:
    net = network()
    return (lambda W1: net.params.__setitem__("W1", W1)), net


def perceptron_method(name: str) -> Callable[[], tuple[Any, Any]]:
    def make() -> tuple[Any, Any]:
        neuron = nf.Perceptron([0.5, -0.25, 1.0], bias=0.125)
        return getattr(neuron, name), neuron

    return make


FIRES = (X @ [1.0, 2.0, 3.0] > 0).astype(int)
NETWORKS = [
    SEQUENTIAL,
    Call("Sequential.build", unbuilt, {"input_shape": (3, [2, 2])}),
    Call("params[...] = ", assignment, {"W1": (np.ones((3, 4)), np.full((3, 4), 1e-50))}),
    of_network("predict", {"x": DATA["x"]}, {"out": (None, np.zeros((8, 3), "f4"))}),
    of_network("predict_one", {"row": (X[0], X[0].astype("f4"))}, {"out": (None, np.zeros(3, "f4"))}),
    of_network("predict_class", {"x": DATA["x"]}),
    of_network("loss", DATA, TARGETS),
    of_network("accuracy", DATA, {"sample_weight": (None, WEIGHTS)}),
    of_network("evaluate", DATA, {"metrics": METRICS, "sample_weight": (None, WEIGHTS)}),
    of_network("gradient", DATA, {"wrt": (None, "W1", ["x", "0.b"]), **TARGETS}),
    of_network("numerical_gradient", DATA, {"h": (1e-4,), "wrt": (None, "x"), "verbose": (0,), **TARGETS}),
    of_network("check_gradient", DATA, {"tolerance": (1e-3,), "verbose": (0,), **TARGETS}, "float64"),
    of_network("fit", DATA, FIT),
    Call("fit_many", many, DATA, FIT_MANY),
    of_network("train_step", DATA, {"sample_weight": (None, WEIGHTS)}),
    of_network("forward", {"x": DATA["x"]}, {"training": (False, True)}),
    of_network("backward", {"gradient": (np.ones((8, 3)),)}, {"parameters": (True,), "accumulate": (False, True)}),
    of_network("update", {"optimizer": ("sgd", nf.Adam(0.01), nf.SGD(schedules.Cosine(0.1, steps=10)))}),
    Call("Perceptron", lambda: (nf.Perceptron, None), {"weights": ([0.5, 1],)}, {"bias": (0.5,)}),
    Call("Perceptron.fit",  # without `epochs`: 2**63 of them would take forever
         perceptron_method("fit"), {"x": (X,), "y": (FIRES, FIRES > 0)},
         {"learning_rate": (1.0, 0.5)}),
    Call("Perceptron.predict", perceptron_method("predict"), {"x": (X, X[0])}),
    Call("Perceptron.decision_function", perceptron_method("decision_function"), {"x": (X, X[0])}),
    Call("Perceptron()", perceptron_method("__call__"), {"input 1": (1.0,), "input 2": (0.5,), "input 3": (X[:, 0],)}),
    *(plain(getattr(perceptron, gate), {"input 1": (1.0, [0, 1]), "input 2": (0.0, [1, 1])}, name=gate)
      for gate in ("AND", "NAND", "OR", "XOR")),
]  # fmt: skip

# ---- derivatives of functions, schedules, and the rest


def squares(v: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.square(v)


def bowl(v: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.sum(np.square(v))


POINT = ([1.0, -2.0], np.array([[0.5, 1.5]]))
STEP = {"h": (1e-4, None)}
DERIVATIVES = [
    plain(nf.numerical_diff, {"f": (squares,), "x": (1.0, [1.0, 2.0])}, STEP),
    plain(nf.numerical_gradient, {"f": (bowl,), "x": POINT}, {**STEP, "method": ("central", "forward")}),
    plain(nf.numerical_jacobian, {"f": (squares,), "x": ([1.0, -2.0],)}, STEP),
    plain(
        nf.gradient_descent, {"f": (bowl,), "x0": ([1.0, -2.0],)}, {"learning_rate": (0.1,), "steps": (5, np.int64(3))}
    ),
    plain(
        nf.check_gradient, {"f": (bowl,), "gradient": (lambda v: 2 * v,), "x": ([1.0, -2.0],)}, {"tolerance": (1e-5,)}
    ),
    plain(nf.assert_gradient_correct, {"f": (bowl,), "gradient": (lambda v: 2 * v,), "x": ([1.0, 2.0],)}),
]


def within(n: int) -> None:
    with nf.num_threads(n):
        pass


TIMES = {"steps": ([0, 3, 100], 5, np.arange(4, dtype="u1"))}
SCHEDULES = [
    schedules.Constant(0.1, warmup=4),
    schedules.Step(0.1, step_size=3),
    schedules.Exponential(0.1, gamma=0.5),
    schedules.InverseTime(0.1, steps=5),
    schedules.Cosine(0.1, steps=50, warmup=5),
    schedules.OneCycle(0.1, steps=50),
]
OTHERS = [
    *(
        plain(schedule.rates, TIMES, {"steps_per_epoch": (None, 3)}, f"{type(schedule).__name__}.rates")
        for schedule in SCHEDULES
    ),
    *(
        plain(schedule.momenta, TIMES, {"steps_per_epoch": (None, 3)}, f"{type(schedule).__name__}.momenta")
        for schedule in SCHEDULES
    ),
    plain(nf.set_num_threads, {"n": (1, 2)}),
    plain(within, {"n": (1, 2)}, name="num_threads"),
    plain(nf.datasets.load_digits, {}, {"normalize": (True,), "flatten": (True, False), "one_hot": (True,)}),
]

for call in DERIVATIVES:
    call.calls_the_user = True
DERIVATIVES[-1].raises = (AssertionError,)

CALLS = [
    *map(constructor, KINDS),
    *map(function_on_arrays, functions.__all__),
    *NETWORKS,
    *DERIVATIVES,
    *OTHERS,
]
