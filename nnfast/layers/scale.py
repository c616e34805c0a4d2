"""A learned factor and offset for each feature."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from nnfast._description import Field
from nnfast._validation import as_array, check_bool, check_reduction
from nnfast.layers.base import Array, Compiler, Layer, check_penalty, check_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike


class Scale(Layer, name="scale"):
    """A learned factor and offset for each feature: ``gamma * x + beta``.

    Like the last step of `LayerNorm` and `BatchNorm`, without their normalization. Each number of a sample has its own
    gamma and beta, whatever the sample's shape: as in these layers, both are vectors with one element for each.

    Parameters
    ----------
    use_bias : bool
        Whether there is a ``beta``.
    gamma_initializer, beta_initializer : float or array_like
        The initial values: one number, or an array of shape (features,), where features is the number of elements of a
        sample.
    l1, l2 : float
        Penalties on gamma, as those of `Dense` on the weights.
    penalty : {"mean", "sum"}
        What the penalties are added to: see `Dense`.
    trainable : bool
        False leaves gamma and beta unchanged in training.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, or is out of its range; and when the network is built, if the shape of the
        initial values is not that of gamma and beta.

    Notes
    -----
    With ``use_bias=False`` and a small `gamma_initializer` as the last layer of a `Residual`, it is the LayerScale of
    Touvron et al., "Going deeper with image transformers" (2021), with which deep networks begin close to the identity.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Scale(gamma_initializer=[1.0, 10.0], beta_initializer=0.5)], input_shape=2)
    >>> net.predict([[1.0, 2.0], [3.0, 4.0]])
    array([[ 1.5, 20.5],
           [ 3.5, 40.5]], dtype=float32)
    >>> nf.Residual([nf.Dense(8, "gelu"), nf.Dense(2), nf.Scale(use_bias=False, gamma_initializer=1e-4)]).layers[-1]
    Scale(use_bias=False, gamma_initializer=0.0001)
    """

    numbered_as = "gamma"
    use_bias: bool = Field(check_bool, default=True, kw_only=True)
    gamma_initializer: float | ArrayLike = Field(check_values, default=1.0, kw_only=True, in_files=False)
    beta_initializer: float | ArrayLike = Field(check_values, default=0.0, kw_only=True, in_files=False)
    l1: float = Field(check_penalty, default=0.0, kw_only=True)
    l2: float = Field(check_penalty, default=0.0, kw_only=True)
    penalty: str = Field(check_reduction, default="mean", kw_only=True)
    trainable: bool = Field(check_bool, default=True, kw_only=True)

    def settle(self) -> None:
        if not self.use_bias and np.any(self.beta_initializer):
            raise ValueError("beta_initializer has no effect with use_bias=False")

    def arrays(self, shape: tuple[int, ...]) -> tuple[Array, ...]:
        width = (prod(shape),)

        def initial(argument: str) -> Callable[[Any], Any]:
            values = getattr(self, argument)
            return lambda generator: as_array(argument, values, shape=width) if np.ndim(values) else values

        start = initial("gamma_initializer")
        gamma = Array("gamma", width, start, "gamma_initializer", self.l1, self.l2, self.penalty)
        beta = Array("beta", width, initial("beta_initializer"), "beta_initializer")
        return (gamma, beta) if self.use_bias else (gamma,)

    def add_stages(self, to: Compiler, path: str) -> None:
        to.add_stage(self, path, "scale")
