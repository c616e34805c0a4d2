"""Many networks in one call: `fit_many` compared with a loop of `fit`, JAX's `vmap`, and joblib with scikit-learn."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from bench.data import Data, Parameters, evaluate, initial_parameters, load
from bench.peers.with_jax import JAX
from bench.peers.with_nnfast import sequential
from bench.race import TOLERANCES, spread, time_in_turn
from bench.workloads import WORKLOADS, Workload

SKLEARN_NETWORKS = 16  # scikit-learn trains only so many: its time is proportional to their number
OWN_NETWORKS, OWN_STEPS = 100, 100  # for a network described on the command line
FIRST = "fit_many"


@dataclass(frozen=True)
class Crowd:
    """Networks that differ in their initial parameters, and what `fit_many` should reach on two threads.

    Parameters
    ----------
    workload : Workload
        Of each network.
    networks : int
        How many.
    steps : int
        Of each network, in each round, unless the command line says otherwise.
    bars : dict
        By contender: its time divided by that of `fit_many` should be at least so much.
    """

    workload: Workload
    networks: int
    steps: int
    bars: dict[str, float]


CROWDS = (
    Crowd(WORKLOADS["book"], 32, 300, {"fit_many, 1 thread": 1.9}),
    Crowd(WORKLOADS["tiny"], 1000, 100, {"JAX vmap": 2.2, "joblib + scikit-learn": 20}),
)


def compare_many(crowd: Crowd, threads: int, rounds: int, steps: int) -> dict[str, Any]:
    """Return the time of each contender for one step of one network, measured in turn."""
    workload = crowd.workload
    data, initial = load(workload), [initial_parameters(workload.network, i) for i in range(crowd.networks)]
    contenders: dict[str, Any] = {FIRST: FitMany(workload, data, initial, threads)}
    if threads > 1:
        contenders["fit_many, 1 thread"] = FitMany(workload, data, initial, 1)
    contenders["a loop of fit"] = Loop(workload, data, initial, threads)
    absent = {}
    for name, module, kind in (("JAX vmap", "jax", Vmap), ("joblib + scikit-learn", "sklearn", Joblib)):
        if find_spec(module):
            contenders[name] = kind(workload, data, initial, threads)
        else:
            absent[name] = f"{module} is not installed"
    seconds = time_in_turn(contenders, rounds, steps, None)
    each = {name: [s / contenders[name].networks for s in own] for name, own in seconds.items()}
    ratios = {name: spread([a / b for a, b in zip(own, each[FIRST], strict=True)]) for name, own in each.items()}
    return {
        "workload": str(workload), "networks": crowd.networks, "threads": threads, "rounds": rounds, "steps": steps,
        "bars": crowd.bars if threads == 2 else {}, "absent": absent,
        "contenders": {
            name: {"ratio": ratios[name], "microseconds": spread([1e6 * s for s in own])} for name, own in each.items()
        },
        "disagreements": disagreements(workload, data, contenders),
    }  # fmt: skip


def disagreements(workload: Workload, data: Data, contenders: dict[str, Any]) -> list[str]:
    """Describe which contenders have not trained the same networks: nnfast to the last bit, JAX up to rounding."""
    found, first = [], contenders[FIRST]
    for name, contender in contenders.items():
        if isinstance(contender, FitMany) and not all(
            np.array_equal(a.flat_params, b.flat_params) for a, b in zip(first.nets, contender.nets, strict=True)
        ):
            found.append(f"{name}: not the same bits")
        if isinstance(contender, Vmap):
            for i in (0, first.networks - 1):
                own, other = (
                    evaluate(workload, found_by.parameters_of(i), data.x_test, data.y_test)[0]
                    for found_by in (first, contender)
                )
                if not abs(other - own) <= TOLERANCES[workload.optimizer]["loss"] * own:
                    found.append(f"{name}: loss {other:.6g} of network {i}, {FIRST} {own:.6g}")
    return found


class FitMany:
    """`nnfast.fit_many`."""

    def __init__(self, workload: Workload, data: Data, initial: list[Parameters], threads: int) -> None:
        import nnfast as nf

        self.nets = [sequential(workload.network, parameters) for parameters in initial]
        self.optimizer = {"sgd": nf.SGD, "adam": nf.Adam}[workload.optimizer](workload.learning_rate)
        self.batch, self.data, self.threads, self.networks = workload.batch, data, threads, len(initial)

    def prepare(self, steps: int) -> None:
        """Nothing is needed."""

    def run(self, steps: int) -> None:
        """Train all networks."""
        import nnfast as nf

        with nf.num_threads(self.threads):
            nf.fit_many(
                self.nets, self.data.x, self.data.y, steps=steps, batch_size=self.batch, optimizer=self.optimizer,
                shuffle=False, verbose=0,
            )  # fmt: skip

    def parameters_of(self, i: int) -> Parameters:
        """Return weights and biases of one network."""
        params = self.nets[i].params
        return [(params[f"W{k}"], params[f"b{k}"]) for k in range(1, len(self.nets[i].layers) + 1)]


class Loop(FitMany):
    """`Sequential.fit`, one network after another."""

    def run(self, steps: int) -> None:
        """Train all networks."""
        import nnfast as nf

        with nf.num_threads(self.threads):
            for net in self.nets:
                net.fit(
                    self.data.x, self.data.y, steps=steps, batch_size=self.batch, optimizer=self.optimizer,
                    shuffle=False, verbose=0,
                )  # fmt: skip


class Vmap(JAX):
    """`vmap` of a training step over all parameters, in a compiled `lax.scan`; each run begins with the first rows."""

    def __init__(self, workload: Workload, data: Data, initial: list[Parameters], threads: int) -> None:
        stacked = [
            tuple(np.stack(arrays) for arrays in zip(*layer, strict=True)) for layer in zip(*initial, strict=True)
        ]
        super().__init__(workload, data, stacked, threads)
        self.networks = len(initial)

    def prepare(self, steps: int) -> None:
        """Compile a run of `steps` steps."""
        if steps in self.compiled:
            return
        jax = self.jax

        def step(state: Any, batch: Any) -> Any:
            loss, gradient = jax.value_and_grad(self.loss)(state[0], *batch)
            return self.update(state, gradient), loss

        moments = self.state[1]
        axes = (0, (0, 0, None) if moments else ())  # all count the same steps
        all_step = jax.vmap(step, in_axes=(axes, None), out_axes=(axes, 0))

        def run(state: Any, x: Any, y: Any) -> Any:
            return jax.lax.scan(all_step, state, (x[:steps], y[:steps]))

        self.compiled[steps] = jax.jit(run, donate_argnums=0).lower(self.state, self.x, self.y).compile()

    def parameters_of(self, i: int) -> Parameters:
        """Return weights and biases of one network."""
        return [(weights[i], bias[i]) for weights, bias in self.parameters()]


class Joblib:
    """`MLPClassifier.fit` for one epoch on as many rows as the steps need, in the processes of joblib."""

    def __init__(self, workload: Workload, data: Data, initial: list[Parameters], threads: int) -> None:
        self.workload, self.data, self.threads = workload, data, threads
        self.networks = min(len(initial), SKLEARN_NETWORKS)

    def prepare(self, steps: int) -> None:
        """Start the processes."""
        self.run(1)

    def run(self, steps: int) -> None:
        """Train all networks, from initial parameters of their own."""
        from joblib import Parallel, delayed, parallel_config

        rows = steps * self.workload.batch
        x, y = self.data.x[:rows], self.data.y[:rows]
        with parallel_config("loky", inner_max_num_threads=1):  # threads of BLAS, in each process
            parallel = Parallel(n_jobs=self.threads)
        parallel(delayed(fit_classifier)(self.workload, x, y, seed) for seed in range(self.networks))


def fit_classifier(workload: Workload, x: np.ndarray, y: np.ndarray, seed: int) -> Any:
    """Return a classifier of scikit-learn, trained for one epoch."""
    from sklearn.neural_network import MLPClassifier

    network = workload.network
    activation = {"sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}[network.activation]
    model = MLPClassifier(
        network.sizes[1:-1], activation=activation, solver=workload.optimizer, alpha=0, batch_size=workload.batch,
        learning_rate_init=workload.learning_rate, momentum=0, nesterovs_momentum=False, shuffle=False, max_iter=1,
        random_state=seed,
    )  # fmt: skip
    with warnings.catch_warnings(action="ignore"):  # that one epoch is not enough
        return model.fit(x, y)
