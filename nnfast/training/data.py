"""The data that networks are trained on, in the engine's format."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nnfast._network import Network
from nnfast._samples import Rows, Sparse, as_samples, read_samples, reshaped, share_memory
from nnfast._validation import as_weights, describe, read_once, warn_of_lost_digits


class Data(NamedTuple):
    """Samples and targets in the engine's format.

    Of a whole data set, targets and weights are copies, which callbacks and threads cannot change, except for targets
    that share their memory with the samples. Samples are not copied unless they are few and need conversion.
    """

    rows: Rows
    targets: np.ndarray
    weights: np.ndarray | None

    @classmethod
    def checked(cls, network: Network, x: Any, y: Any, sample_weight: Any, shape: tuple[int, ...]) -> Data:
        """Return the data of a fit; TypeError or ValueError if they do not fit the network."""
        rows, targets = network.data(x, y, shape, finite=True)
        weights = as_weights(sample_weight, len(rows))
        if not share_memory(rows, targets):
            targets = targets.copy()
        return cls(rows, targets, None if weights is None else weights.copy())

    def taken(self, rows: np.ndarray) -> Data:
        """Return a copy of some rows."""
        return Data(self.rows[rows], self.targets[rows], None if self.weights is None else self.weights[rows])


class Given:
    """The training data of one or more networks: as given, and in the engine's format, which networks share.

    Parameters
    ----------
    x, y : array_like
        Samples and targets.
    validation_data : tuple or None
        As for `Sequential.fit`.
    """

    def __init__(self, x: Any, y: Any, validation_data: Any = None) -> None:
        self.x, self.y, self.validation_data = read_samples("x", x), read_once("y", y), validation_data
        self._made: dict[Any, Any] = {}
        self._samples: dict[Any, Rows] = {}
        self._shape: tuple[int, ...] | None = None
        self._weights: list[tuple[Any, np.ndarray | None]] = []

    @property
    def n(self) -> int:
        """The number of rows; ValueError if `x` has none."""
        _shape_of_samples(self.x)
        return len(self.x)

    @property
    def shape_of_samples(self) -> tuple[int, ...]:
        """The shape of a sample; ValueError if there is none."""
        if self._shape is None:
            self._shape = _shape_of_samples(self.x)
        return self._shape

    def data(self, network: Network, sample_weight: Any, shape: tuple[int, ...]) -> Data:
        """Return the data for a network whose samples have this shape; TypeError or ValueError if they do not fit."""
        kind = _kind(network, shape)
        data: Data | None = self._made.get(kind)
        if data is None:
            samples = self._samples.get(kind[:2], self.x)
            data = self._made[kind] = Data.checked(network, samples, self.y, None, shape)
            self._samples[kind[:2]] = reshaped(data.rows, shape)
            # not for sparse rows, of which a sample with all its zeros may be large
            looked_at = np.empty((0, 1)) if isinstance(self.x, Sparse) else self.x
            warn_of_lost_digits(looked_at, self.y, data.targets, network.dtype)
        if sample_weight is None:
            return data
        return Data(data.rows, data.targets, self._checked(sample_weight, len(data.rows)))

    def _checked(self, sample_weight: Any, n: int) -> np.ndarray | None:
        for known, weights in self._weights:
            if known is sample_weight:
                return weights
        weights = as_weights(sample_weight, n)
        weights = None if weights is None else weights.copy()
        self._weights.append((sample_weight, weights))
        return weights

    def validation(self, network: Network, shape: tuple[int, ...]) -> Data | None:
        """Return the validation data for such a network."""
        if self.validation_data is None:
            return None
        kind = ("validation", *_kind(network, shape))
        if kind not in self._made:
            self._made[kind] = checked_validation(network, self.validation_data, shape)
        found: Data = self._made[kind]
        return found


def _kind(network: Network, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Return what the engine's format of the data depends on."""
    loss = network.output_loss
    return shape, network.dtype, network.output_shape, loss.activation, loss.loss  # the samples: only the first two


def _shape_of_samples(x: Any) -> tuple[int, ...]:
    shape = as_samples("x", x).shape
    if len(shape) < 2 or 0 in shape[1:]:
        raise ValueError(f"x must have shape (n, features), got {shape}")
    return shape[1:]


def checked_validation(network: Network, data: Any, shape: tuple[int, ...]) -> Data | None:
    """Return validation data, None if there are none; TypeError or ValueError if they do not fit the network."""
    if data is None:
        return None
    if not (isinstance(data, (tuple, list)) and len(data) in (2, 3)):
        raise TypeError(f"validation_data must be (x, y) or (x, y, sample_weight), got {describe(data)}")
    try:
        return Data.checked(network, data[0], data[1], data[2] if len(data) == 3 else None, shape)
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation_data: {error}") from None
