"""nnfast's scikit-learn estimators beside scikit-learn's own: fits, predictions, and a search of hyperparameters.

Both get the same parameters and data, and check their input as they do for everybody who changes nothing. Fits that are
compared do the same number of epochs, or are compared by the time of an iteration. Beside each time stand the accuracy
or R² of both on rows held back, so that no speed is bought with quality, and what nnfast's estimator takes longer than
`Sequential` alone.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from timeit import Timer
from typing import Any

import numpy as np

from bench.data import Data, synthesize
from bench.inference import time_calls
from bench.machine import unpinned
from bench.race import ratios, spread

PEER, OWN, FLOOR = "scikit-learn", "nnfast", "Sequential"
CLASSIFIER, REGRESSOR = "MLPClassifier", "MLPRegressor"
SCORE_TOLERANCE = 0.03  # nnfast's accuracy or R² may be lower by this: weights begin equal, shuffles differ
PREDICTION_TOLERANCE = 1e-4  # of models trained from equal weights without shuffles
LARGE, LONG = "100,000 x 50", "200,000 x 8"
TEST_ROWS = 10_000  # of synthetic data; of real data, a quarter of the rows
SHORT_FIT = 2_000  # rows that models are trained on whose predictions are timed
MANY = 100_000  # rows to predict
BATCH = 32  # rows of `partial_fit`
FOLDS, JOBS = 5, 2
GRID = {
    "hidden_layer_sizes": [(50,), (100,), (50, 50)], "alpha": [1e-4, 1e-2], "learning_rate_init": [1e-3, 3e-3],
    "batch_size": [50, "auto"],
}  # fmt: skip


@dataclass(frozen=True)
class Training:
    """A fit of an estimator.

    Parameters
    ----------
    data : str
        The name of its data.
    kind : str
        The name of the class.
    epochs : int
        How many, or iterations of L-BFGS, unless the command line says otherwise.
    bar : float, optional
        The time of scikit-learn divided by that of nnfast should be at least so much.
    options : dict
        Parameters of the estimator that are not the defaults.
    """

    data: str
    kind: str
    epochs: int
    bar: float | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def iterative(self) -> bool:
        """Whether it is L-BFGS, whose iterations may end before the last one."""
        return self.options.get("solver") == "lbfgs"

    def batch(self, rows: int) -> int:
        """Return the rows of a mini-batch."""
        return min(self.options.get("batch_size", 200), rows)

    def shortened(self, rows: int, steps: int | None) -> tuple[int, int]:
        """Return the number of epochs and of rows for a fit of at most so many training steps."""
        if steps is None:
            return self.epochs, rows
        if self.iterative:
            return min(self.epochs, steps), rows
        batch = self.batch(rows)
        epochs = min(self.epochs, steps // -(-rows // batch))
        return (epochs, rows) if epochs else (1, steps * batch)


FITS = (
    Training("digits", CLASSIFIER, 200, 5.5),
    Training("breast cancer", CLASSIFIER, 200, 7),
    Training(LARGE, CLASSIFIER, 5, 5),
    Training(LONG, REGRESSOR, 3, 10, {"hidden_layer_sizes": (128, 32), "batch_size": 70}),
)
MINIMIZATIONS = tuple(
    Training(data, kind, 50, 3, {"solver": "lbfgs"})
    for data, kind in (
        ("digits", CLASSIFIER), ("breast cancer", CLASSIFIER), ("iris", CLASSIFIER), ("diabetes", REGRESSOR),
    )
)  # fmt: skip
PREDICTIONS = (  # name, model, method, rows, bar
    ("predict_proba, one row", FITS[0], "predict_proba", 1, 5),
    ("predict_proba, one row", FITS[2], "predict_proba", 1, None),
    (f"predict_proba, {MANY:,} rows", FITS[2], "predict_proba", MANY, 2),
    ("predict, one row", FITS[3], "predict", 1, None),
    (f"predict, {MANY:,} rows", FITS[3], "predict", MANY, None),
)
SEARCH = Training("digits", CLASSIFIER, 200, 10)  # each of its fits


def compare_estimators(rounds: int, threads: int, steps: int | None = None) -> dict[str, Any]:
    """Return all figures; a ratio is scikit-learn's time divided by nnfast's, measured in turn.

    With `steps`, each fit does at most so many training steps, on fewer rows if these are less than an epoch, and does
    not shuffle them: otherwise scores after so few steps would not be comparable.
    """
    import sklearn

    import nnfast as nf

    with convergence_not_asked(), nf.num_threads(threads):
        rows = [of_fit(training, rounds, threads, steps) for training in FITS]
        rows += [of_fit(training, rounds, threads, steps, np.float32) for training in FITS]
        rows += [of_fit(training, rounds, threads, steps) for training in MINIMIZATIONS]
        rows += [of_prediction(*which, rounds, threads) for which in PREDICTIONS]
        rows += [of_partial_fit(rounds, threads), of_search(steps)]
    return {"version": sklearn.__version__, "threads": threads, "rounds": rounds, "rows": rows,
            "disagreements": [f"{row['name']}: {what}" for row in rows for what in row["wrong"]]}  # fmt: skip


@contextmanager
def convergence_not_asked() -> Iterator[None]:
    """Ignore warnings, also in processes that begin meanwhile: fits of a fixed number of epochs do not converge."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = "ignore"
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        del os.environ["PYTHONWARNINGS"]
        if before is not None:
            os.environ["PYTHONWARNINGS"] = before


# ---- data and contenders


@cache
def load(name: str) -> Data:
    """Return data in float64 with standardized features, and targets as scikit-learn's loaders give them."""
    if name == LARGE:
        (x, y), (x_test, y_test) = synthesize((50, 2), (100_000, TEST_ROWS))
        return Data(x.astype(float), y, x_test.astype(float), y_test, "synthetic data")
    rng = np.random.default_rng(0)
    if name == LONG:
        x = rng.standard_normal((200_000 + TEST_ROWS, 8))
        y = np.sin(x @ rng.standard_normal((8, 4))).sum(axis=1) + 0.1 * rng.standard_normal(len(x))
        return Data(x[TEST_ROWS:], y[TEST_ROWS:], x[:TEST_ROWS], y[:TEST_ROWS], "synthetic data")
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name.replace(' ', '_')}")(return_X_y=True)
    order = rng.permutation(len(x))
    x, y, test = x[order], y[order], len(x) // 4
    scale = x[test:].std(axis=0)
    x = (x - x[test:].mean(axis=0)) / np.where(scale > 0, scale, 1)
    return Data(x[test:], y[test:], x[:test], y[:test], name)


def estimator(library: str, training: Training, threads: int, **options: Any) -> Any:
    """Return an estimator of scikit-learn or of nnfast, which does all epochs, whether or not the loss falls."""
    options = {"random_state": 0, "tol": 0, "n_iter_no_change": 10**6} | training.options | options
    if library == PEER:
        from sklearn import neural_network

        return getattr(neural_network, training.kind)(**options)
    from nnfast import sklearn

    return getattr(sklearn, training.kind)(n_threads=threads, **options)


class Alone:
    """`Sequential` without an estimator, but with the network of one: the difference is what an estimator costs."""

    def __init__(self, training: Training, data: Data, epochs: int, rows: int, dtype: Any) -> None:
        import nnfast as nf

        self.optimizer = nf.LBFGS(tolerance=0, gradient_tolerance=0) if training.iterative else nf.Adam()
        self.options: dict[str, Any] = {"epochs": epochs, "optimizer": self.optimizer, "metrics": (), "verbose": 0}
        batch = len(data.x)
        if not training.iterative:
            batch = self.options["batch_size"] = training.batch(rows)
        classes = len(np.unique(data.y)) if training.kind == CLASSIFIER else 0
        units, activation, loss = {
            0: (1, "identity", "mean_squared_error"), 2: (1, "sigmoid", "binary_cross_entropy"),
        }.get(classes, (classes, "softmax", "cross_entropy"))  # fmt: skip
        penalty = 1e-4 / 2 / batch
        hidden = [nf.Dense(n, "relu", l2=penalty) for n in training.options.get("hidden_layer_sizes", (100,))]
        self.net = nf.Sequential(
            [*hidden, nf.Dense(units, activation, l2=penalty)], input_shape=data.x.shape[1], loss=loss, dtype=dtype,
            seed=0,
        )  # fmt: skip
        self.initial = self.net.flat_params.copy()
        self.predict_proba = self.predict = self.net.predict

    def fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Train from the beginning."""
        self.net.flat_params[...] = self.initial
        self.n_iter_ = len(self.net.fit(x, y, **self.options)["loss"])

    def partial_fit(self, x: np.ndarray, y: np.ndarray) -> None:
        """Do a training step."""
        self.net.train_step(x, y, self.optimizer)


def models_for(training: Training, threads: int, data: Data, epochs: int, dtype: Any, **options: Any) -> dict[str, Any]:
    """Return the three models that are compared."""
    models = {name: estimator(name, training, threads, max_iter=epochs, **options) for name in (PEER, OWN)}
    return models | {FLOOR: Alone(training, data, epochs, len(data.x), dtype)}


# ---- what is compared


def figures(
    name: str, bar: float | None, seconds: dict[str, list[float]], wrong: list[str], **more: Any
) -> dict[str, Any]:
    """Return the row of the table for the seconds of each contender in each round."""
    return {
        "name": name, "bar": bar, "ratio": ratios(seconds[PEER], seconds[OWN]),
        "cost": ratios(seconds[OWN], seconds[FLOOR]) if FLOOR in seconds else None,
        "seconds": {name: spread(own) for name, own in seconds.items()}, "wrong": wrong,
    } | more  # fmt: skip


def lower_scores(scores: dict[str, float]) -> list[str]:
    """Say if nnfast's score is lower than scikit-learn's."""
    if scores[OWN] >= scores[PEER] - SCORE_TOLERANCE:  # NaN is lower
        return []
    return [f"the score of {OWN} is {scores[OWN]:.4f}, that of {PEER} {scores[PEER]:.4f}"]


def of_fit(
    training: Training, rounds: int, threads: int, steps: int | None = None, dtype: Any = np.float64
) -> dict[str, Any]:
    """Compare fits with the same number of epochs, or iterations of L-BFGS."""
    data = load(training.data)
    epochs, rows = training.shortened(len(data.x), steps)
    x, y, x_test = data.x[:rows].astype(dtype), data.y[:rows], data.x_test.astype(dtype)
    if training.kind == REGRESSOR:
        y = y.astype(dtype)
    models = models_for(training, threads, data, epochs, dtype, shuffle=steps is None)
    seconds = time_calls({name: Timer(partial(model.fit, x, y)) for name, model in models.items()}, rounds)
    done = {name: int(model.n_iter_) for name, model in models.items()}
    scores = {name: float(models[name].score(x_test, data.y_test)) for name in (PEER, OWN)}
    wrong = lower_scores(scores)
    if training.iterative:
        seconds = {name: [s / done[name] for s in own] for name, own in seconds.items()}
        name = f"an iteration of lbfgs, {training.data}"
    else:
        wrong += [f"{name} did {n} epochs, {PEER} {done[PEER]}" for name, n in done.items() if n != done[PEER]]
        name = f"fit, {training.data}, {epochs} epoch{'s' * (epochs > 1)}"
    if dtype == np.float32:
        name += ", float32"
    bar = training.bar if dtype == np.float64 else None
    return figures(name, bar, seconds, wrong, iterations=done, scores=scores)


def of_prediction(
    what: str, training: Training, method: str, rows: int, bar: float | None, rounds: int, threads: int
) -> dict[str, Any]:
    """Compare predictions of models that have been trained from equal weights on the same mini-batches."""
    data = load(training.data)
    models = models_for(training, threads, data, 1, np.float64, shuffle=False)
    for model in models.values():
        model.fit(data.x[:SHORT_FIT], data.y[:SHORT_FIT])
    x = data.x[:rows]
    calls = {name: partial(getattr(model, method), x) for name, model in models.items()}
    far = float(np.abs(calls[PEER]() - calls[OWN]()).max())
    wrong = [] if far <= PREDICTION_TOLERANCE else [f"predictions differ by {far:.2g}"]
    seconds = time_calls({name: Timer(call) for name, call in calls.items()}, rounds)
    return figures(f"{what}, {training.data}", bar, seconds, wrong)


def of_partial_fit(rounds: int, threads: int) -> dict[str, Any]:
    """Compare steps on a small mini-batch, at a learning rate so low that the model stays as it is."""
    data = load(FITS[0].data)
    models = models_for(FITS[0], threads, data, 1, np.float64, learning_rate_init=1e-6)
    x, y = data.x[:BATCH], data.y[:BATCH]
    for name in (PEER, OWN):
        models[name].partial_fit(x, y, classes=np.unique(data.y))
    models[FLOOR].optimizer.learning_rate = 1e-6
    seconds = time_calls({name: Timer(partial(model.partial_fit, x, y)) for name, model in models.items()}, rounds)
    return figures(f"partial_fit, {BATCH} rows, {FITS[0].data}", None, seconds, [])


def of_search(steps: int | None) -> dict[str, Any]:
    """Compare searches on two cores, once: nnfast in threads, scikit-learn in processes, which have begun before."""
    from joblib import parallel_config
    from sklearn.model_selection import GridSearchCV, ParameterGrid

    data, searches, calls = load(SEARCH.data), {}, {}
    epochs = min(SEARCH.epochs, steps or SEARCH.epochs)
    backends: dict[str, dict[str, Any]] = {
        PEER: {"backend": "loky", "inner_max_num_threads": 1}, OWN: {"backend": "threading"},
    }  # fmt: skip
    for name in backends:
        model = estimator(name, SEARCH, 1, max_iter=epochs, shuffle=steps is None)
        searches[name] = GridSearchCV(model, GRID, cv=FOLDS, n_jobs=JOBS)

        def call(grid: Any, name: str = name) -> None:
            with parallel_config(**backends[name]):
                searches[name].set_params(param_grid=grid).fit(data.x, data.y)

        calls[name] = call
    with unpinned():
        for call in calls.values():
            call({"alpha": [1e-4]})
        seconds = time_calls({name: Timer(partial(call, GRID)) for name, call in calls.items()}, 1, repeat=False)
    scores = {name: float(search.score(data.x_test, data.y_test)) for name, search in searches.items()}
    candidates = len(ParameterGrid(GRID))
    name = f"GridSearchCV, {candidates} x {FOLDS} fits of {epochs} epochs, n_jobs={JOBS}, {SEARCH.data}"
    best = {name: search.best_params_ for name, search in searches.items()}
    return figures(name, SEARCH.bar, seconds, lower_scores(scores), scores=scores, best=best)
