"""A user's function as a metric."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nnfast._description import Field
from nnfast._validation import choose, describe, takes_keyword
from nnfast.metrics.base import DIRECTIONS, Metric, as_number


def _function(name: str, value: Any) -> Callable[..., Any]:
    if not callable(value):
        raise TypeError(f"{name} must be callable, as {name}(targets, outputs), got {describe(value)}")
    return value


def _name(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {describe(value)}")
    return value


def _direction(name: str, value: Any) -> str:
    return choose(name, value, DIRECTIONS)


class FunctionMetric(Metric):
    """A function of targets and outputs as a metric, such as those of scikit-learn that take outputs as they are.

    Parameters
    ----------
    function : callable
        Called as ``function(targets, outputs)`` with read-only arrays as in `Metric.compute`; returns a number. If rows
        have weights, also with ``sample_weight=`` and the weights, which its signature must then accept.
    name : str, optional
        As in `History`; by default the ``__name__`` of the function.
    direction : {"higher", "lower"}
        Which values are better.

    Raises
    ------
    TypeError, ValueError
        If `function` is not callable, has no ``__name__`` and `name` is not given, or `direction` is not valid.

    Notes
    -----
    ``metrics=[function]`` is the same as ``metrics=[nf.metrics.FunctionMetric(function)]``.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> def largest_error(targets, outputs):
    ...     return np.abs(outputs - targets).max()
    >>> net = nf.Sequential([nf.Dense(1, initializer=0.0)], input_shape=2, seed=0)
    >>> net.evaluate([[0, 1], [1, 0]], [1.0, 3.0], metrics=[largest_error])
    {'loss': 5.0, 'largest_error': 3.0}
    >>> nf.metrics.FunctionMetric(largest_error, direction="lower").direction
    'lower'
    """

    function: Callable[..., Any] = Field(_function)
    name: Any = Field(_name, default=None, kw_only=True)  # type: ignore[misc]  # of the object, not of the class
    direction: str = Field(_direction, default="higher", kw_only=True)  # type: ignore[misc]

    def settle(self) -> None:
        """Determine the name."""
        if self.name is None:
            name = getattr(self.function, "__name__", "")
            if not name.isidentifier():
                raise ValueError(
                    f"a metric needs a name, got {describe(self.function)}: "
                    'use nf.metrics.FunctionMetric(function, name="...")'
                )
            vars(self)["name"] = name

    @property
    def takes_weights(self) -> bool:
        """Whether the function's signature accepts `sample_weight`."""
        return takes_keyword(self.function, "sample_weight")

    def compute(self, outputs: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None) -> float:
        """Call the function."""
        options = {} if sample_weight is None else {"sample_weight": sample_weight}
        return as_number(self.name, self.function(targets, outputs, **options))
