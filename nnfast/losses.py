"""Losses, as descriptions: which fits which output layer, and what targets they take.

A loss is named, or an object such as ``nf.losses.Huber(delta=2.0)`` where it has parameters. `OutputLoss` is one of
them at a given output layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from nnfast._description import Description, between, boolean, declared_in, field, positive
from nnfast._validation import (
    as_array,
    as_labels,
    check_float,
    check_shape,
    choose,
    describe,
    to_array,
    where_not_finite,
)
from nnfast.activations import NAMES as ACTIVATIONS
from nnfast.activations import Activation, resolve_activation
from nnfast.kernels import arrays as kernels

__all__ = [
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Poisson",
    "Quantile",
    "SumSquaredError",
]

MAX_QUANTILES = 10_000


class Loss(Description):
    """What every loss has: a name, parameters, the output layers that it fits, and the kernel behind it.

    Attributes
    ----------
    name : str
        The name of the loss, as in ``Sequential(..., loss=name)``.
    has_kink : bool
        Whether the loss or its derivative jumps somewhere.
    fused : dict of str to str
        Kernels that take the input of the last activation, by the name of the activation.
    takes_labels : bool
        Whether the kernels take integer labels of classes.
    threshold : float or None
        Where what the loss is computed from turns from no to yes; None leaves that to the last activation.
    answers : bool
        Whether outputs can be answers to a question of classes at all.
    """

    name: ClassVar[str]
    has_kink: ClassVar[bool] = False
    fused: ClassVar[Mapping[str, str]] = {}
    takes_labels: ClassVar[bool] = False
    threshold: ClassVar[float | None] = None
    answers: ClassVar[bool] = True

    what = "a loss"
    shows_defaults = True

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters by name, as JSON can hold them."""
        return self.values_of_fields()

    def shown(self) -> Iterator[str]:
        """Return the arguments that `repr` shows."""
        return (f"{name}={value!r}" for name, value in self.parameters.items())

    def numbers(self) -> tuple[float, ...]:
        """Return the parameters of the kernel, two at most."""
        return tuple(map(float, self.values_of_fields().values()))

    def fits(self, activation: Activation) -> bool:
        """Return whether the loss fits an output layer with this activation."""
        return not self.fused or activation.name in self.fused

    def check_output(self, activation: Activation, n_out: int) -> None:
        """Raise ValueError unless the loss fits the output layer; the message says which pair is right."""
        if not self.fits(activation):
            wanted = " or ".join(repr(name) for name in ACTIVATIONS if self.fits(resolve_activation(name)))
            raise ValueError(
                f"loss {self.name!r} needs an output layer with activation {wanted}, "
                f"got {activation.name!r}{self._instead(activation, n_out)}"
            )

    def _instead(self, activation: Activation, n_out: int) -> str:
        return ""

    def checked_targets(self, target: np.ndarray) -> np.ndarray:
        """Return an array of targets as the kernel takes it; ValueError if the loss is not made for such values."""
        return target


def _check_range(loss: str, target: np.ndarray) -> None:
    if target.size and not (target.min() >= 0 and target.max() <= 1):
        raise ValueError(f"y must lie in [0, 1] for loss {loss!r}, got values from {target.min()} to {target.max()}")


def _check_shares(loss: str, target: np.ndarray) -> None:
    _check_range(loss, target)
    sums = target.sum(axis=1)
    off = np.flatnonzero(np.abs(sums - 1) > 1e-3)
    if off.size:
        raise ValueError(f"each row of y must sum to 1 for loss {loss!r}, got {sums[off[0]]} in row {off[0]}")


_smoothing = between(0.0, 1.0, excluded=": nothing would be left of the labels")


class MeanSquaredError(Loss):
    """The mean of squared errors over all elements, as PyTorch's ``MSELoss``. Fits any output layer.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Sequential([nf.Dense(1)], loss=nf.losses.MeanSquaredError()).loss_name
    'mean_squared_error'
    """

    name = "mean_squared_error"


class SumSquaredError(Loss):
    """Half the sum of squared errors over outputs, averaged over rows. Fits any output layer.

    Notes
    -----
    Chapter 4.2.1 of Saito's *Deep Learning from Scratch*, which sums over rows too.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Sequential([nf.Dense(1)], loss=nf.losses.SumSquaredError()).loss_name
    'sum_squared_error'
    """

    name = "sum_squared_error"


class MeanAbsoluteError(Loss):
    """The mean of absolute errors over all elements, as PyTorch's ``L1Loss``. Fits any output layer.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Sequential([nf.Dense(1)], loss=nf.losses.MeanAbsoluteError()).loss_name
    'mean_absolute_error'
    """

    name = "mean_absolute_error"
    has_kink = True


class Huber(Loss):
    """Half the squared error up to `delta`, and its tangent from there on: large errors pull no harder than `delta`.

    Averaged over all elements, as PyTorch's ``HuberLoss``. Fits any output layer.

    Parameters
    ----------
    delta : float
        Above zero.

    Raises
    ------
    TypeError, ValueError
        If `delta` is not a positive number.

    Notes
    -----
    ``d**2 / 2`` for ``abs(d) <= delta``, else ``delta * (abs(d) - delta / 2)``, with ``d = output - target``.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.losses.Huber(delta=2.0)
    Huber(delta=2.0)
    """

    name = "huber"
    has_kink = True
    delta: float = field(positive, default=1.0)


class LogCosh(Loss):
    """The logarithm of the error's hyperbolic cosine, averaged over all elements, as Keras' ``LogCosh``.

    About half the square of small errors and the size of large ones. Fits any output layer.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Sequential([nf.Dense(1)], loss=nf.losses.LogCosh()).loss_name
    'log_cosh'
    """

    name = "log_cosh"


class Poisson(Loss):
    """The negative log-likelihood of counts, averaged over all elements, as PyTorch's ``PoissonNLLLoss``.

    Parameters
    ----------
    log_input : bool
        Whether the outputs are the logarithms of rates, which an output layer with the identity gives; otherwise they
        are rates and must not be negative, as from softplus.

    Raises
    ------
    TypeError
        If `log_input` is not a bool.

    Notes
    -----
    ``exp(output) - target * output``, or ``output - target * log(output + 1e-8)`` of rates; the part that depends on
    the targets alone is left out.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.losses.Poisson(log_input=False)
    Poisson(log_input=False)
    """

    name = "poisson"
    log_input: bool = field(boolean, default=True)

    def numbers(self) -> tuple[float, ...]:
        """Return the parameters of the kernel: the second one says whether outputs are logarithms."""
        return 0.0, float(self.log_input)

    def fits(self, activation: Activation) -> bool:
        """Return whether the activation gives rates, or their logarithms."""
        return activation.unbounded if self.log_input else activation.not_negative

    def _instead(self, activation: Activation, n_out: int) -> str:
        if self.log_input and activation.not_negative:
            return ": its outputs are rates, not their logarithms, and go with Poisson(log_input=False)"
        if not self.log_input and activation.unbounded:
            return ": its outputs may be negative, as the logarithms of rates, and go with Poisson(log_input=True)"
        return ""

    def checked_targets(self, target: np.ndarray) -> np.ndarray:
        """Return the targets; ValueError if one is negative."""
        if target.size and not target.min() >= 0:
            raise ValueError(f"y holds counts for loss 'poisson' and must not be negative, got {target.min()}")
        return target


def _quantiles(name: str, quantiles: Any) -> tuple[float, ...]:
    each = as_array(name, quantiles, np.float64, ndim=(0, 1)).reshape(-1).tolist()
    if len(each) > MAX_QUANTILES:
        raise ValueError(f"{name} must hold at most {MAX_QUANTILES:,} numbers, got {len(each):,}")
    for value in each:
        check_float(name, value, 0.0, 1.0, open_ends=True)
    if not each:
        raise ValueError(f"{name} must hold at least one number in (0, 1), got none")
    if len(set(each)) < len(each):
        raise ValueError(f"{name} must hold each once, got {each}")
    return tuple(each)


class Quantile(Loss):
    """Quantiles of the target, several at once: the pinball loss, averaged over all elements.

    Parameters
    ----------
    quantiles : float or sequence of float
        In (0, 1); each once, at most 10,000.

    Raises
    ------
    TypeError, ValueError
        If they are no such numbers.

    Notes
    -----
    ``q * d`` for ``d = target - output > 0``, else ``(q - 1) * d``. The network has an output for each target and
    quantile: output ``t * len(quantiles) + q`` is quantile ``q`` of target ``t``. `y` has shape (n,) or (n, targets).

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> loss = nf.losses.Quantile([0.1, 0.5, 0.9])
    >>> net = nf.Sequential([nf.Dense(3)], input_shape=1, loss=loss, seed=0)
    >>> y = np.random.default_rng(0).uniform(size=2000)
    >>> _ = net.fit(np.zeros((2000, 1)), y, epochs=100, optimizer=nf.SGD(learning_rate=0.05), verbose=0)
    >>> net.predict([[0.0]]).round(1)
    array([[0.1, 0.5, 0.9]], dtype=float32)
    """

    name = "quantile"
    has_kink = True
    answers = False  # they are numbers, whatever the activation
    quantiles: tuple[float, ...] = field(_quantiles)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters by name, as JSON can hold them."""
        return {"quantiles": list(self.quantiles)}

    def numbers(self) -> tuple[float, ...]:
        """Return none: each output has a parameter of its own."""
        return ()

    def check_output(self, activation: Activation, n_out: int) -> None:
        """Raise ValueError unless there is an output for each quantile of each target."""
        if activation.excludes:
            raise ValueError(
                f"loss 'quantile' needs independent outputs, such as of 'identity', got {activation.name!r}"
            )
        if n_out % len(self.quantiles):
            raise ValueError(
                f"loss 'quantile' needs an output for each of {len(self.quantiles)} quantiles of each target, "
                f"and so a multiple of {len(self.quantiles)}, got {n_out} outputs"
            )


class Hinge(Loss):
    """How far outputs are from being right by a margin of one, averaged over all elements: support vector machines'.

    Fits an output layer with the identity or tanh. Targets are -1 and 1, or 0 and 1; the sign of an output is the
    answer.

    Notes
    -----
    ``max(0, 1 - target * output)``; its derivative at the kink is taken as 0, as PyTorch's ``relu`` has it.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(1, initializer=[[2.0]])], input_shape=1, loss=nf.losses.Hinge())
    >>> net.loss([[0.25], [0.25]], [1, -1]), net.predict_class([[0.25], [-0.25]])
    (1.0, array([1, 0]))
    """

    name = "hinge"
    has_kink = True
    threshold = 0.0

    def fits(self, activation: Activation) -> bool:
        """Return whether the activation keeps the sign."""
        return activation.name in ("identity", "tanh")

    def _instead(self, activation: Activation, n_out: int) -> str:
        return " (sigmoid goes with 'binary_cross_entropy')" if activation.name == "sigmoid" else ""

    def checked_targets(self, target: np.ndarray) -> np.ndarray:
        """Return the targets as -1 and 1; ValueError if they are neither that nor 0 and 1."""
        low = -1 if (target == -1).any() else 0
        wrong = ~((target == low) | (target == 1))
        if wrong.any():
            raise ValueError(f"y must hold -1 and 1, or 0 and 1, for loss 'hinge', got {target[wrong][0]}")
        return target if low else 2 * target - 1


class CrossEntropy(Loss):
    """The cross entropy of classes that exclude each other, averaged over rows, as PyTorch's ``CrossEntropyLoss``.

    Follows an output layer with softmax or log-softmax, and is computed from what these are applied to.

    Parameters
    ----------
    label_smoothing : float
        The part of each target that is spread evenly over all classes; in [0, 1).

    Raises
    ------
    TypeError, ValueError
        If `label_smoothing` is no such number.

    Notes
    -----
    ``-sum(t * log(p))`` with ``t = target * (1 - label_smoothing) + label_smoothing / classes``. The loss that is
    reported is the smoothed one, as in PyTorch.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.losses.CrossEntropy(label_smoothing=0.1)
    CrossEntropy(label_smoothing=0.1)
    """

    name = "cross_entropy"
    fused: ClassVar = dict.fromkeys(("softmax", "log_softmax"), "softmax_cross_entropy")
    takes_labels = True
    label_smoothing: float = field(_smoothing, default=0.0)

    def _instead(self, activation: Activation, n_out: int) -> str:
        return " (and for one output 'binary_cross_entropy' with 'sigmoid')" if n_out == 1 else ""

    def checked_targets(self, target: np.ndarray) -> np.ndarray:
        """Return the targets; ValueError if rows are not probabilities."""
        _check_shares(self.name, target)
        return target


class BinaryCrossEntropy(Loss):
    """The cross entropy of outputs that each say yes or no, averaged over all elements, as PyTorch's ``BCELoss``.

    Follows an output layer with sigmoid, and is computed from what that is applied to.

    Parameters
    ----------
    label_smoothing : float
        Moves targets towards one half: ``target * (1 - label_smoothing) + label_smoothing / 2``, as in Keras; in
        [0, 1).

    Raises
    ------
    TypeError, ValueError
        If `label_smoothing` is no such number.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.losses.BinaryCrossEntropy(label_smoothing=0.1)
    BinaryCrossEntropy(label_smoothing=0.1)
    """

    name = "binary_cross_entropy"
    fused: ClassVar = {"sigmoid": "sigmoid_binary_cross_entropy"}
    threshold = 0.0  # of logits
    label_smoothing: float = field(_smoothing, default=0.0)

    def _instead(self, activation: Activation, n_out: int) -> str:
        return " (softmax goes with 'cross_entropy')" if activation.excludes else ""

    def checked_targets(self, target: np.ndarray) -> np.ndarray:
        """Return the targets; ValueError if they are not in [0, 1]."""
        _check_range(self.name, target)
        return target


class KLDivergence(Loss):
    """The Kullback-Leibler divergence from the targets, rows of probabilities, averaged over rows.

    PyTorch's ``KLDivLoss(reduction="batchmean")``. Follows an output layer with softmax or log-softmax, and is computed
    from what these are applied to.

    Notes
    -----
    ``sum(t * (log(t) - log(p)))``, where a target of zero costs nothing. Its gradient is that of the cross entropy,
    from which it differs by what depends on the targets alone.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(2, "softmax", initializer=0.0)], input_shape=1, loss="kl_divergence")
    >>> net.loss([[1.0]], [[0.5, 0.5]])
    0.0
    """

    name = "kl_divergence"
    fused: ClassVar = dict.fromkeys(("softmax", "log_softmax"), "softmax_kl_divergence")

    def checked_targets(self, target: np.ndarray) -> np.ndarray:
        """Return the targets; ValueError if rows are not probabilities."""
        _check_shares(self.name, target)
        return target


LOSSES = {cls.name: cls for cls in declared_in(globals(), Loss)}
NAMES = tuple(LOSSES)


def resolve_loss(loss: Any) -> Loss:
    """Return the loss; a name means its defaults.

    Raises
    ------
    TypeError, ValueError
        If it is neither a loss nor the name of one, or a name is not enough.
    """
    if isinstance(loss, Loss) and type(loss) in LOSSES.values():
        return loss
    if not isinstance(loss, str):
        raise TypeError(f"loss must be one of {', '.join(map(repr, NAMES))} or of nf.losses, got {describe(loss)}")
    name = choose("loss", loss, NAMES)
    if LOSSES[name].needs_arguments():
        raise ValueError("loss 'quantile' needs its quantiles: give nf.losses.Quantile([0.1, 0.5, 0.9])")
    return LOSSES[name]()


def to_description(loss: Loss) -> str | dict[str, Any]:
    """Return the loss as files hold it: its name where that is enough, else its name and parameters."""
    return {"name": loss.name, **loss.parameters} if loss.changed() else loss.name


def from_description(description: Any) -> Loss:
    """Return the loss that `to_description` describes.

    Raises
    ------
    KeyError, TypeError, ValueError
        If there is no such loss.
    """
    if isinstance(description, str):
        return resolve_loss(description)
    if not isinstance(description, dict):
        raise TypeError(f"the loss must be a name, or a name and parameters, got {description!r}")
    parameters = dict(description)
    return LOSSES[choose("loss", parameters.pop("name"), NAMES)](**parameters)


class OutputLoss:
    """A loss at a given output layer.

    Parameters
    ----------
    loss : Loss, str or None
        None picks the one that belongs to the activation.
    activation : Activation or str
        Of the output layer.
    n_out : int
        Outputs.

    Raises
    ------
    TypeError, ValueError
        If there is no such loss, or it does not fit the output layer; the message says which pair is right.
    """

    def __init__(self, loss: Loss | str | None, activation: Activation | str, n_out: int) -> None:
        self.activation = activation = resolve_activation(activation)
        self.loss = resolve_loss(activation.loss if loss is None else loss)
        self.loss.check_output(activation, n_out)
        self.name = self.loss.name
        self.n_out = n_out

    @property
    def fused(self) -> bool:
        """Whether the loss is computed from what the last activation is applied to."""
        return self.activation.name in self.loss.fused

    @property
    def quantiles(self) -> tuple[float, ...] | None:
        """Those that each target is repeated for."""
        return self.loss.quantiles if isinstance(self.loss, Quantile) else None

    def kernel(self, dtype: np.dtype) -> tuple[str, tuple[float, ...], np.ndarray | None]:
        """Return what the engine needs: the kernel's name, its parameters, and those of the outputs in turn."""
        name = self.loss.fused.get(self.activation.name, self.name)
        return name, self.loss.numbers(), None if self.quantiles is None else np.array(self.quantiles, dtype)

    @property
    def takes_classes(self) -> bool:
        """Whether the outputs exclude each other, so that integer labels make sense."""
        return self.activation.name == "softmax" or (self.activation.excludes and self.fused)

    def targets(self, y: Any, n: int, dtype: np.dtype, *, finite: bool = False) -> np.ndarray:
        """Return `y` as the engine takes it: int64 labels, or an array of `dtype` and shape (n, outputs).

        Raises
        ------
        TypeError, ValueError
            If `y` has the wrong shape, a label is no class, the loss is not made for such values, or (with `finite`) a
            value is not finite.
        """
        array = to_array("y", y)
        if array.ndim == 0 or len(array) != n:
            raise ValueError(f"y must have as many rows as x: {n}, got shape {array.shape}")
        columns = self.n_out // len(self.quantiles or (0,))
        if array.ndim == 1 and columns > 1 and self.takes_classes:
            return self._labels(array, dtype)
        if array.shape == (n, 1) and columns > 1 and self.takes_classes:
            raise ValueError(
                f"y must have shape ({n},) of labels or ({n}, {columns}), got {array.shape}: for labels, np.ravel(y)"
            )
        if array.ndim == 1 and columns > 1 and array.dtype.kind in "iub":
            raise ValueError(
                f"y must have shape ({n}, {columns}), got {array.shape}: labels need an output layer with "
                f"activation 'softmax', for each output of {self.activation.name!r} is a value of its own"
            )
        target = as_array("y", array if array.dtype.kind in "fiub" else y, dtype, ndim=(1, 2))
        if target.ndim == 1 and columns == 1:
            target = target.reshape(n, 1)
        check_shape("y", target, (n, columns))
        if finite and not kernels.all_finite(target):
            raise ValueError(f"y must be finite, got NaN or infinity {where_not_finite(target)}")
        target = self.loss.checked_targets(target)
        return target if self.quantiles is None else np.repeat(target, len(self.quantiles), axis=1)

    def _labels(self, labels: np.ndarray, dtype: np.dtype) -> np.ndarray:
        classes = as_labels("y", labels, self.n_out)
        if self.loss.takes_labels:
            return classes
        one_hot = np.zeros((len(labels), self.n_out), dtype)
        one_hot[np.arange(len(labels)), classes] = 1
        return one_hot

    @property
    def answers(self) -> str | float | None:
        """What answer the outputs give: "classes", the threshold of what the loss is computed from, or None."""
        if not self.loss.answers:
            return None
        if self.activation.excludes:
            return "classes"
        return self.activation.threshold if self.loss.threshold is None else self.loss.threshold

    def counting(self, targets: np.ndarray) -> str | float | None:
        """Return how the engine tells right answers: as `answers`.

        A squared error is a matter of right and wrong only if the targets are classes: all 0 or 1.
        """
        if self.answers == 0.5 and not bool(((targets == 0) | (targets == 1)).all()):
            return None
        if self.activation.excludes and not self.takes_classes:  # the targets are logarithms
            return None
        return self.answers
