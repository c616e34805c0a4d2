"""Which metrics are asked for, and their values at an output layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from nnfast._validation import as_tuple, choose, describe, read_only
from nnfast.losses import OutputLoss
from nnfast.metrics.accuracy import ACCURACY, TopKAccuracy
from nnfast.metrics.base import DIRECTIONS, Computation, Metric, Scoring, as_number

# The names in `Metric.registry`, whose modules are imported when first asked for, to keep `import nnfast` quick.
MODULES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "by_class",
    "f1": "by_class",
    "log_loss": "probabilities",
    "mean_absolute_error": "regression",
    "mean_squared_error": "regression",
    "precision": "by_class",
    "r2": "regression",
    "recall": "by_class",
    "roc_auc": "probabilities",
    "root_mean_squared_error": "regression",
    "subset_accuracy": "accuracy",
}
NAMES = tuple(MODULES)
_TOP_K = r"top_([1-9][0-9]{0,8})_accuracy"


def resolve_metric(metric: Any) -> Metric:
    """Return the metric that is given by name, such as ``"accuracy"`` or ``"f1_macro"``, as an object or a function.

    Raises
    ------
    TypeError, ValueError
        If it is neither a metric nor the name of one, or its name or direction is not valid.
    """
    if callable(metric) and not isinstance(metric, (Metric, type)):
        from nnfast.metrics.function import FunctionMetric

        metric = FunctionMetric(metric)
    if isinstance(metric, Metric):
        name = getattr(metric, "name", None)
        if not isinstance(name, str) or name in ("", "loss") or name.startswith("val_"):
            raise ValueError(
                f"{type(metric).__name__}.name must be a string other than 'loss' that does not begin with 'val_', "
                f"got {describe(name)}"
            )
        choose(f"{type(metric).__name__}.direction", metric.direction, DIRECTIONS)
        kind = type(metric)
        if kind.scoring is Metric.scoring and kind.for_output is Metric.for_output and not metric.has_own_compute:
            raise TypeError(f"{kind.__name__} must define compute(outputs, targets, sample_weight)")
        return metric
    found = _named(metric) if isinstance(metric, str) else None
    if found is None:
        known = ", ".join(map(repr, sorted((*NAMES, "f1_macro", "top_5_accuracy"))))
        got = repr(metric) if isinstance(metric, str) else describe(metric)
        error = ValueError if isinstance(metric, str) else TypeError
        raise error(f"a metric must be one of {known}, of nf.metrics, or a function of targets and outputs, got {got}")
    return found


def _named(name: str) -> Metric | None:
    """Return the metric of this name, or None."""
    if top := re.fullmatch(_TOP_K, name):
        return TopKAccuracy(int(top[1]))
    stem = next((stem for stem in NAMES if name == stem or name.startswith(f"{stem}_")), None)
    if stem is None:
        return None
    import_module(f"nnfast.metrics.{MODULES[stem]}")
    kind: type[Metric] = Metric.registry[stem]
    return kind.named(name.removeprefix(stem))


def resolve_metrics(metrics: Sequence[Any]) -> tuple[Metric, ...]:
    """Return the metrics that are given by name or as objects.

    Raises
    ------
    TypeError, ValueError
        If `metrics` is not a sequence, contains anything else, or contains two metrics of the same name.
    """
    if isinstance(metrics, str):
        raise TypeError(f"metrics must be a sequence of metrics, got {metrics!r}: use [{metrics!r}]")
    found = tuple(map(resolve_metric, as_tuple("metrics", metrics, "metrics")))
    names = [metric.name for metric in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"metrics must not contain duplicates, got {name!r} twice")
    return found


class MetricSet:
    """Metrics at a given output layer: those that the engine computes, and those computed from all outputs.

    Parameters
    ----------
    metrics : iterable of Metric
        Compatible with the output layer.
    output : OutputLoss
        The loss at the output layer.

    Attributes
    ----------
    scorings : tuple of Scoring
        For the engine.
    scored : tuple of str
        Their names.
    others : tuple of Metric
        Those that the engine does not compute.
    directions : dict
        The names of all values, in order, and which are better: "higher" or "lower". A metric by class has several.

    Raises
    ------
    ValueError
        If two values would have the same name.
    """

    def __init__(self, metrics: Iterable[Metric], output: OutputLoss) -> None:
        self.metrics = tuple(metrics)
        self.directions: dict[str, str] = {}
        scored: list[tuple[str, Scoring]] = []
        computed: list[tuple[Metric, tuple[str, ...], Computation]] = []
        for metric in self.metrics:
            own = metric.has_own_compute  # also of a subclass of ours
            names = (metric.name,) if own else metric.names(output)
            scoring = None if own else metric.scoring(output)
            if scoring is not None:
                scored.append((metric.name, scoring))
            else:
                computed.append((metric, names, metric.compute if own else metric.for_output(output)))
            for name in names:
                if name in self.directions:
                    raise ValueError(f"metrics must not contain duplicates, got {name!r} twice")
                self.directions[name] = metric.direction
        self.scorings = tuple(scoring for _, scoring in scored)
        self.scored = tuple(name for name, _ in scored)
        self.others = tuple(metric for metric, _, _ in computed)
        self._scored, self._computed = scored, computed

    @classmethod
    def chosen(
        cls, metrics: Sequence[Any] | None, output: OutputLoss, targets: np.ndarray, *, weighted: bool = False
    ) -> MetricSet:
        """Return the metrics that are asked for; if that is None, the accuracy where it can be computed.

        Parameters
        ----------
        metrics : sequence of (str, Metric or callable), or None
            By name, as objects, or as functions of targets and outputs.
        output : OutputLoss
            The loss at the output layer.
        targets : ndarray
            As `OutputLoss.targets` returns them.
        weighted : bool
            Whether rows have weights.

        Raises
        ------
        TypeError, ValueError
            If `metrics` is not valid, or one of them cannot be computed from the targets.
        """
        if metrics is None:
            return cls(() if output.misfit(targets) or ACCURACY.misfit(output, targets) else (ACCURACY,), output)
        chosen = resolve_metrics(metrics)
        for metric in chosen:
            metric.check(output, targets, weighted=weighted)
        return cls(chosen, output)

    def averages(self, totals: np.ndarray, weight: Any) -> dict[str, Any]:
        """Return the averages of what the engine has computed, by name.

        Parameters
        ----------
        totals : ndarray of shape (..., metrics)
            Sums over rows.
        weight : float or ndarray of shape (...)
            The sum of the weights of these rows.
        """
        scored = enumerate(self._scored)
        return {name: totals[..., i] / (weight * scoring.per_row) for i, (name, scoring) in scored}

    def computed(self, outputs: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> dict[str, float]:
        """Return the values that the engine does not compute, by name.

        Raises
        ------
        TypeError
            If a metric returns something other than a number.
        """
        given = [None if array is None else read_only(array) for array in (outputs, targets, weights)]
        found: dict[str, float] = {}
        for metric, names, compute in self._computed:
            value: Any = compute(*given)  # type: ignore[arg-type]  # only the weights may be None
            if metric.has_own_compute:
                value = as_number(f"{type(metric).__name__}.compute", value)
            found |= zip(names, np.ravel(value).tolist(), strict=True)
        return found


def names_in(history: Iterable[str]) -> list[str]:
    """Return the metrics among the entries of a history, in order, without ``val_``."""
    names = dict.fromkeys(name.removeprefix("val_") for name in history)
    return [name for name in names if name != "loss"]
