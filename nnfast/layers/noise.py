"""Layers that are random in training, and do nothing outside of it."""

from __future__ import annotations

from typing import Any

from nnfast._description import Field
from nnfast._validation import check_float
from nnfast.layers.base import Compiler, Layer, check_penalty


def _rate(name: str, value: Any) -> float:
    rate = check_float(name, value, 0.0, 1.0)
    if rate > 1 - 2**-32:  # as finely as it is drawn
        raise ValueError(f"{name} must be below 1, for dropout of all numbers leaves nothing, got {rate}")
    return rate


class Dropout(Layer, name="dropout"):
    """Inverted dropout: in training each number is zero with probability `rate`, else divided by ``1 - rate``.

    Outside of training it does nothing: in `predict` and, by default, in `loss` and `gradient`.

    Parameters
    ----------
    rate : float
        In [0, 1).

    Raises
    ------
    TypeError, ValueError
        If the rate is not in [0, 1): a rate of 1 would leave nothing.

    Notes
    -----
    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting" (2014). Which numbers are
    dropped is determined by the network's seed, the step of training, the layer, and the position in the mini-batch,
    not by the number of threads.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dropout(0.5)], input_shape=8, seed=0)
    >>> out = net.forward([[1.0] * 8], training=True)
    >>> sorted(set(out[0].tolist()))
    [0.0, 2.0]
    >>> net.predict([[1.0] * 8])
    array([[1., 1., 1., 1., 1., 1., 1., 1.]], dtype=float32)
    """

    random = True
    rate: float = Field(_rate)

    def add_stages(self, to: Compiler, path: str) -> None:
        to.add_stage(self, path, "dropout", numbers={"rate": self.rate})


class GaussianNoise(Layer, name="gaussian_noise"):
    """Add numbers from a normal distribution with mean 0 in training, and do nothing outside of it.

    Parameters
    ----------
    stddev : float
        The standard deviation of the noise; not negative.

    Raises
    ------
    TypeError, ValueError
        If it is not such a number.

    Notes
    -----
    Bishop, "Training with noise is equivalent to Tikhonov regularization" (1995). The noise is determined as in
    `Dropout`.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.GaussianNoise(0.1), nf.Dense(1)], input_shape=3, seed=0)
    >>> bool((net.forward([[1.0, 2.0, 3.0]], training=True) == net.predict([[1.0, 2.0, 3.0]])).all())
    False
    """

    random = True
    stddev: float = Field(check_penalty)

    def add_stages(self, to: Compiler, path: str) -> None:
        to.add_stage(self, path, "gaussian_noise", numbers={"stddev": self.stddev})
