"""Normalization."""

from __future__ import annotations

from math import prod
from typing import Any

from nnfast._description import Field
from nnfast._validation import check_bool, check_float, check_positive, check_reduction
from nnfast.layers.base import Array, Compiler, Layer, check_penalty


def _momentum(name: str, value: Any) -> float:
    return check_float(name, value, 0.0, 1.0)


class _Norm(Layer):
    """What batch and layer normalization have in common."""

    numbered_as = "gamma"
    epsilon: float = Field(check_positive, default=1e-5, kw_only=True)
    affine: bool = Field(check_bool, default=True, kw_only=True)
    l1: float = Field(check_penalty, default=0.0, kw_only=True)
    l2: float = Field(check_penalty, default=0.0, kw_only=True)
    penalty: str = Field(check_reduction, default="mean", kw_only=True)
    trainable: bool = Field(check_bool, default=True, kw_only=True)

    def settle(self) -> None:
        if not self.affine and (self.l1 or self.l2):
            raise ValueError("l1 and l2 need affine=True: otherwise there is no gamma to penalize")

    def arrays(self, shape: tuple[int, ...]) -> tuple[Array, ...]:
        width = (prod(shape),)
        gamma = Array("gamma", width, 1.0, l1=self.l1, l2=self.l2, penalty=self.penalty)
        return (gamma, Array("beta", width)) if self.affine else ()


class BatchNorm(_Norm, name="batch_norm"):
    """Batch normalization: ``gamma * (x - mean) / sqrt(variance + epsilon) + beta`` in each column.

    In training, mean and (biased) variance are those of the mini-batch; and ``running = (1 - momentum) * running +
    momentum * batch``, with the unbiased variance, as in PyTorch. Outside of training, as in `predict` and `loss`, the
    running ones are used, which are in ``net.statistics``.

    Parameters
    ----------
    momentum : float
        Of the running statistics, in [0, 1]: PyTorch's, which is 1 minus Keras'.
    epsilon : float
        Added to the variance; above zero.
    affine : bool
        Whether gamma and beta are learned; otherwise they are 1 and 0.
    l1, l2 : float
        Penalties on gamma, as those of `Dense` on the weights.
    penalty : {"mean", "sum"}
        What the penalties are added to: see `Dense`.
    trainable : bool
        False leaves gamma, beta and the running statistics unchanged, and uses the latter in training, too, as in
        Keras.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, or is out of its range.

    Notes
    -----
    Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate shift"
    (2015). A mini-batch of one row has no variance: in training it raises a ValueError.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.BatchNorm()], input_shape=1, seed=0)
    >>> net.forward([[1.0], [2.0], [3.0]], training=True).ravel().round(3)
    array([-1.225,  0.   ,  1.225], dtype=float32)
    >>> net.statistics["mean1"]
    array([0.2], dtype=float32)
    """

    momentum: float = Field(_momentum, default=0.1, kw_only=True)

    def statistics(self, shape: tuple[int, ...]) -> tuple[Array, ...]:
        width = (prod(shape),)
        return Array("mean", width), Array("variance", width, 1.0)

    def add_stages(self, to: Compiler, path: str) -> None:
        to.add_stage(self, path, "batch_norm", numbers={"epsilon": self.epsilon, "momentum": self.momentum})


class LayerNorm(_Norm, name="layer_norm"):
    """Layer normalization: ``gamma * (x - mean) / sqrt(variance + epsilon) + beta`` in each row.

    Mean and (biased) variance are those of the row.

    Parameters
    ----------
    epsilon : float
        Added to the variance; above zero.
    affine : bool
        Whether gamma and beta are learned; otherwise they are 1 and 0.
    l1, l2 : float
        Penalties on gamma, as those of `Dense` on the weights.
    penalty : {"mean", "sum"}
        What the penalties are added to: see `Dense`.
    trainable : bool
        False leaves gamma and beta unchanged in training.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, or is out of its range.

    Notes
    -----
    Ba, Kiros and Hinton, "Layer normalization" (2016).

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.LayerNorm()], input_shape=3)
    >>> net.predict([[1.0, 2.0, 3.0]]).round(3)
    array([[-1.225,  0.   ,  1.225]], dtype=float32)
    """

    def add_stages(self, to: Compiler, path: str) -> None:
        to.add_stage(self, path, "layer_norm", numbers={"epsilon": self.epsilon})
