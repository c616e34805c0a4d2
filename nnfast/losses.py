"""Losses as descriptions: which output layers they fit, and which targets they accept.

A loss is given by name or, to set its parameters, as an object such as ``nf.losses.Huber(delta=2.0)``. `OutputLoss` is
a loss combined with an output layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from nnfast._description import Description, Field
from nnfast._validation import (
    as_array,
    as_labels,
    check_bool,
    check_float,
    check_shape,
    choose,
    describe,
    to_array,
    where_not_finite,
)
from nnfast.activations import NAMES as NAMES_OF_ACTIVATIONS
from nnfast.activations import resolve_activation
from nnfast.kernels import arrays as kernels

__all__ = [
    "BinaryCrossEntropy",
    "BinaryFocal",
    "CrossEntropy",
    "Focal",
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


class Loss(Description, noun="a loss", tag="name"):
    """Base class of losses: the name, the parameters, the output layers that the loss fits, and its kernel.

    Attributes
    ----------
    name : str
        The name in files, and of the kernel that takes outputs.
    fused : dict
        By activation, the kernels that take the inputs of the last activation instead of its outputs.
    kinks : bool
        Whether the first or second derivative with respect to outputs jumps somewhere.
    takes_labels : bool
        Whether the kernel takes class labels directly; otherwise they are one-hot encoded.
    threshold : float or None
        The prediction is 1 if the input of the loss is above this; None if the activation determines the threshold.
    answers : bool
        Whether outputs can be right or wrong.
    example : str
        How to create the loss, if its name is not enough.
    """

    name: ClassVar[str]
    fused: ClassVar[dict[str, str]] = {}
    kinks: ClassVar[bool] = False
    takes_labels: ClassVar[bool] = False
    threshold: ClassVar[float | None] = None
    answers: ClassVar[bool] = True
    example: ClassVar[str] = ""

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters by name, in a form that JSON can represent."""
        return {name: getattr(self, name) for name in self.fields}

    @property
    def outputs(self) -> tuple[str, ...]:
        """The activations of output layers that the loss fits; an empty tuple means all."""
        return tuple(self.fused)

    def numbers(self) -> tuple[float, ...]:
        """Return the numbers that the kernel takes: at most two."""
        return ()

    def per_output(self) -> tuple[float, ...] | None:
        """Return one number for each output of a target, if targets have several outputs; usually None."""
        return None

    def check_output(self, activation: str, n_out: int) -> None:
        """Raise ValueError unless the loss fits the output layer; the message names a combination that fits."""
        if self.outputs and activation not in self.outputs:
            wanted = " or ".join(map(repr, self.outputs))
            raise ValueError(
                f"loss {self.name!r} needs an output layer with activation {wanted}, "
                f"got {activation!r}{self.hint(activation, n_out)}"
            )

    def hint(self, activation: str, n_out: int) -> str:
        """Return what to add to the error message for an output layer that does not fit."""
        return ""

    def checked_targets(self, target: np.ndarray) -> np.ndarray:
        """Return an array of targets in the kernel's format; ValueError if the loss does not accept them."""
        return target

    def config(self) -> str | dict[str, Any]:
        """Return what a file stores: the name if that is enough, else the name and all parameters."""
        return {"name": self.name, **self.parameters} if self.changed() else self.name

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.parameters.items())})"


def _check_range(loss: str, target: np.ndarray) -> None:
    if target.size and not (target.min() >= 0 and target.max() <= 1):
        raise ValueError(f"y must lie in [0, 1] for loss {loss!r}, got values from {target.min()} to {target.max()}")


def _check_shares(loss: str, target: np.ndarray) -> None:
    _check_range(loss, target)
    sums = target.sum(axis=1)
    off = np.flatnonzero(np.abs(sums - 1) > 1e-3)
    if off.size:
        raise ValueError(f"each row of y must sum to 1 for loss {loss!r}, got {sums[off[0]]} in row {off[0]}")


def _smoothing(name: str, value: Any) -> float:
    smoothing = check_float(name, value, 0.0, 1.0)
    if smoothing == 1:
        raise ValueError(f"{name} must be below 1, got 1.0, which would erase the labels")
    return smoothing


def _not_negative(name: str, value: Any) -> float:
    return check_float(name, value, 0.0)


def _share(name: str, value: Any) -> float:
    share = check_float(name, value, 0.0, 1.0)
    if not share:
        raise ValueError(f"{name} must be above 0, got 0.0")
    return share


def _positive(name: str, value: Any) -> float:
    return check_float(name, value, 0.0, float("inf"), open_ends=True)


def _quantiles(name: str, value: Any) -> tuple[float, ...]:
    each = as_array(name, value, np.float64, ndim=(0, 1)).reshape(-1).tolist()
    if len(each) > MAX_QUANTILES:
        raise ValueError(f"{name} must hold at most {MAX_QUANTILES:,} numbers, got {len(each):,}")
    for number in each:
        check_float(name, number, 0.0, 1.0, open_ends=True)
    if not each:
        raise ValueError(f"{name} must hold at least one number in (0, 1), got none")
    if len(set(each)) < len(each):
        raise ValueError(f"{name} must not hold duplicates, got {each}")
    return tuple(each)


def _activations(attribute: str) -> tuple[str, ...]:
    """Return the names of the activations for which an attribute is true."""
    return tuple(name for name in NAMES_OF_ACTIVATIONS if getattr(resolve_activation(name), attribute))


class CrossEntropy(Loss, name="cross_entropy"):
    """Cross entropy for mutually exclusive classes, averaged over rows, as PyTorch's ``CrossEntropyLoss``.

    Requires an output layer with softmax or log-softmax, and is computed from the inputs of that activation.

    Parameters
    ----------
    label_smoothing : float
        The fraction of each target that is spread evenly over all classes; in [0, 1).

    Raises
    ------
    TypeError, ValueError
        If `label_smoothing` is not a number in [0, 1).

    Notes
    -----
    ``-sum(t * log(p))`` with ``t = target * (1 - label_smoothing) + label_smoothing / classes``. The reported
    loss is the smoothed one, as in PyTorch.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.losses.CrossEntropy(label_smoothing=0.1)
    CrossEntropy(label_smoothing=0.1)
    """

    fused = dict.fromkeys(("softmax", "log_softmax"), "softmax_cross_entropy")
    takes_labels = True
    label_smoothing: float = Field(_smoothing, default=0.0)

    def numbers(self) -> tuple[float, ...]:
        """Return `label_smoothing`, which the kernel takes."""
        return (self.label_smoothing,)

    def hint(self, activation: str, n_out: int) -> str:
        """Return a combination that fits."""
        return " (for one output, use 'binary_cross_entropy' with 'sigmoid')" if n_out == 1 else ""

    def checked_targets(self, target: np.ndarray) -> np.ndarray:
        """Return the targets; ValueError if rows are not probabilities."""
        _check_shares(self.name, target)
        return target


class BinaryCrossEntropy(Loss, name="binary_cross_entropy"):
    """Cross entropy for independent binary outputs, averaged over all elements, as PyTorch's ``BCELoss``.

    Requires an output layer with sigmoid, and is computed from the inputs of the sigmoid.

    Parameters
    ----------
    label_smoothing : float
        Moves targets toward one half: ``target * (1 - label_smoothing) + label_smoothing / 2``, as in Keras; in
        [0, 1).

    Raises
    ------
    TypeError, ValueError
        If `label_smoothing` is not a number in [0, 1).

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.losses.BinaryCrossEntropy(label_smoothing=0.1)
    BinaryCrossEntropy(label_smoothing=0.1)
    """

    fused = {"sigmoid": "sigmoid_binary_cross_entropy"}  # noqa: RUF012
    threshold = 0.0  # of the inputs of the sigmoid
    label_smoothing: float = Field(_smoothing, default=0.0)

    def numbers(self) -> tuple[float, ...]:
        """Return `label_smoothing`, which the kernel takes."""
        return (self.label_smoothing,)

    def hint(self, activation: str, n_out: int) -> str:
        """Return a combination that fits."""
        return " (with softmax, use 'cross_entropy')" if resolve_activation(activation).classes else ""

    def checked_targets(self, target: np.ndarray) -> np.ndarray:
        """Return the targets; ValueError if they are not in [0, 1]."""
        _check_range(self.name, target)
        return target


class MeanSquaredError(Loss, name="mean_squared_error"):
    """Mean of squared errors over all elements, as PyTorch's ``MSELoss``. Fits any output layer.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Sequential([nf.Dense(1)], loss=nf.losses.MeanSquaredError()).loss_name
    'mean_squared_error'
    """


class SumSquaredError(Loss, name="sum_squared_error"):
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


class MeanAbsoluteError(Loss, name="mean_absolute_error"):
    """Mean of absolute errors over all elements, as PyTorch's ``L1Loss``. Fits any output layer.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Sequential([nf.Dense(1)], loss=nf.losses.MeanAbsoluteError()).loss_name
    'mean_absolute_error'
    """

    kinks = True


class Huber(Loss, name="huber"):
    """Half the squared error up to `delta`, and its tangent beyond: the derivative is at most `delta` in magnitude.

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

    kinks = True
    delta: float = Field(_positive, default=1.0)

    def numbers(self) -> tuple[float, ...]:
        """Return `delta`, which the kernel takes."""
        return (self.delta,)


class LogCosh(Loss, name="log_cosh"):
    """Logarithm of the hyperbolic cosine of the error, averaged over all elements, as Keras' ``LogCosh``.

    Close to half the square of small errors and to the absolute value of large ones. Fits any output layer.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Sequential([nf.Dense(1)], loss=nf.losses.LogCosh()).loss_name
    'log_cosh'
    """


class Poisson(Loss, name="poisson"):
    """Negative log-likelihood of counts, averaged over all elements, as PyTorch's ``PoissonNLLLoss``.

    Parameters
    ----------
    log_input : bool
        Whether the outputs are the logarithms of rates, as with an identity output layer; otherwise they are rates and
        must not be negative, as with softplus.

    Raises
    ------
    TypeError
        If `log_input` is not a bool.

    Notes
    -----
    ``exp(output) - target * output``, or ``output - target * log(output + 1e-8)`` for rates; the part that depends only
    on the targets is omitted.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.losses.Poisson(log_input=False)
    Poisson(log_input=False)
    """

    log_input: bool = Field(check_bool, default=True)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The activations of output layers that the loss fits."""
        return _activations("unbounded" if self.log_input else "not_negative")

    def numbers(self) -> tuple[float, ...]:
        """Return 1.0 if outputs are logarithms, else 0.0."""
        return (float(self.log_input),)

    def hint(self, activation: str, n_out: int) -> str:
        """Return which variant of the loss fits the output layer, if any."""
        if self.log_input and resolve_activation(activation).not_negative:
            return ": its outputs are rates, not their logarithms, so use Poisson(log_input=False)"
        if not self.log_input and resolve_activation(activation).unbounded:
            return ": its outputs may be negative, as logarithms of rates are, so use Poisson(log_input=True)"
        return ""

    def checked_targets(self, target: np.ndarray) -> np.ndarray:
        """Return the targets; ValueError if one is negative."""
        if target.size and not target.min() >= 0:
            raise ValueError(f"y must not be negative for loss 'poisson', got {target.min()}")
        return target


class Quantile(Loss, name="quantile"):
    """Pinball loss, for one or more quantiles of the target, averaged over all elements.

    Parameters
    ----------
    quantiles : float or sequence of float
        Distinct numbers in (0, 1), at most 10,000.

    Raises
    ------
    TypeError, ValueError
        If they are not distinct numbers in (0, 1), or too many.

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

    kinks = True
    answers = False  # outputs are quantiles, whatever the activation
    example = "Quantile([0.1, 0.5, 0.9])"
    quantiles: tuple[float, ...] = Field(_quantiles)

    def __init__(self, quantiles: float | Sequence[float]) -> None:  # accepts more than it stores
        super().__init__(quantiles)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters by name, in a form that JSON can represent."""
        return {"quantiles": list(self.quantiles)}

    def per_output(self) -> tuple[float, ...]:
        """Return the quantiles."""
        return self.quantiles

    def check_output(self, activation: str, n_out: int) -> None:
        """Raise ValueError unless there is an output for each quantile of each target."""
        if resolve_activation(activation).mixes:
            raise ValueError(
                f"loss 'quantile' needs independent outputs, such as those of 'identity', got {activation!r}"
            )
        if n_out % len(self.quantiles):
            raise ValueError(
                f"loss 'quantile' needs {len(self.quantiles)} outputs for each target, one for each quantile, "
                f"so their number must be a multiple of {len(self.quantiles)}, got {n_out} outputs"
            )


class Hinge(Loss, name="hinge"):
    """Hinge loss of support vector machines: by how much outputs miss a margin of one, averaged over all elements.

    Fits an output layer with identity or tanh. Targets are -1 and 1, or 0 and 1; the sign of an output is the
    prediction.

    Notes
    -----
    ``max(0, 1 - target * output)``; its derivative at the kink is defined as 0, as for PyTorch's ``relu``.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(1, initializer=[[2.0]])], input_shape=1, loss=nf.losses.Hinge())
    >>> net.loss([[0.25], [0.25]], [1, -1]), net.predict_class([[0.25], [-0.25]])
    (1.0, array([1, 0]))
    """

    kinks = True
    threshold = 0.0  # the sign of an output is the prediction
    outputs = ("identity", "tanh")

    def hint(self, activation: str, n_out: int) -> str:
        """Return a combination that fits."""
        return " (with sigmoid, use 'binary_cross_entropy')" if activation == "sigmoid" else ""

    def checked_targets(self, target: np.ndarray) -> np.ndarray:
        """Return the targets as -1 and 1; ValueError unless they are -1 and 1, or 0 and 1."""
        low = -1 if (target == -1).any() else 0
        wrong = ~((target == low) | (target == 1))
        if wrong.any():
            raise ValueError(f"y must hold -1 and 1, or 0 and 1, for loss 'hinge', got {target[wrong][0]}")
        return target if low else 2 * target - 1


class Focal(Loss, name="focal"):
    """Cross entropy in which classes that are already likely count less (Lin et al. 2017), averaged over rows.

    Requires an output layer with softmax or log-softmax, and is computed from the inputs of that activation.

    Parameters
    ----------
    gamma : float
        The exponent of ``1 - p``, at least 0: the larger, the less a likely class counts.
    alpha : float
        A factor, in (0, 1].

    Raises
    ------
    TypeError, ValueError
        If `gamma` or `alpha` is not a number in its range.

    Notes
    -----
    ``-alpha * sum(target * (1 - p)**gamma * log(p))``, as Keras' ``CategoricalFocalCrossentropy``. With ``gamma=0`` and
    ``alpha=1`` it is `CrossEntropy`.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(2, "softmax", initializer=0.0)], input_shape=1, loss=nf.losses.Focal(gamma=1.0))
    >>> round(net.loss([[1.0]], [0]), 4)  # 0.25 * 0.5 * log(2)
    0.0866
    """

    fused = dict.fromkeys(("softmax", "log_softmax"), "softmax_focal")
    takes_labels = True
    gamma: float = Field(_not_negative, default=2.0)
    alpha: float = Field(_share, default=0.25)

    def numbers(self) -> tuple[float, ...]:
        """Return `gamma` and `alpha`, which the kernel takes."""
        return (self.gamma, self.alpha)

    def hint(self, activation: str, n_out: int) -> str:
        """Return a combination that fits."""
        return " (for independent outputs, use 'binary_focal' with 'sigmoid')" if activation == "sigmoid" else ""

    def checked_targets(self, target: np.ndarray) -> np.ndarray:
        """Return the targets; ValueError if rows are not probabilities."""
        _check_shares(self.name, target)
        return target


class BinaryFocal(Loss, name="binary_focal"):
    """Binary cross entropy in which answers that are already likely count less, averaged over all elements.

    Requires an output layer with sigmoid, and is computed from the inputs of the sigmoid. Made for rare positive
    targets (Lin et al. 2017).

    Parameters
    ----------
    gamma : float
        The exponent of the probability of the wrong answer, at least 0: the larger, the less a likely answer counts.
    alpha : float
        The weight of targets of 1, in (0, 1]; that of targets of 0 is ``1 - alpha``.

    Raises
    ------
    TypeError, ValueError
        If `gamma` or `alpha` is not a number in its range.

    Notes
    -----
    ``-alpha * target * (1 - p)**gamma * log(p) - (1 - alpha) * (1 - target) * p**gamma * log(1 - p)``; for targets of 0
    and 1, torchvision's ``sigmoid_focal_loss``.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.losses.BinaryFocal(alpha=0.5)
    BinaryFocal(gamma=2.0, alpha=0.5)
    """

    fused = {"sigmoid": "sigmoid_binary_focal"}  # noqa: RUF012
    threshold = 0.0  # of the inputs of the sigmoid
    gamma: float = Field(_not_negative, default=2.0)
    alpha: float = Field(_share, default=0.25)

    def numbers(self) -> tuple[float, ...]:
        """Return `gamma` and `alpha`, which the kernel takes."""
        return (self.gamma, self.alpha)

    def hint(self, activation: str, n_out: int) -> str:
        """Return a combination that fits."""
        return " (with softmax, use 'focal')" if resolve_activation(activation).classes else ""

    def checked_targets(self, target: np.ndarray) -> np.ndarray:
        """Return the targets; ValueError if they are not in [0, 1]."""
        _check_range(self.name, target)
        return target


class KLDivergence(Loss, name="kl_divergence"):
    """Kullback-Leibler divergence from targets that are rows of probabilities, averaged over rows.

    As PyTorch's ``KLDivLoss(reduction="batchmean")``. Requires an output layer with softmax or log-softmax, and is
    computed from the inputs of that activation.

    Notes
    -----
    ``sum(t * (log(t) - log(p)))``, where a target of zero contributes nothing. It differs from the cross entropy by
    a term that depends only on the targets, so the gradient is the same.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(2, "softmax", initializer=0.0)], input_shape=1, loss="kl_divergence")
    >>> net.loss([[1.0]], [[0.5, 0.5]])
    0.0
    """

    fused = dict.fromkeys(("softmax", "log_softmax"), "softmax_kl_divergence")

    def checked_targets(self, target: np.ndarray) -> np.ndarray:
        """Return the targets; ValueError if rows are not probabilities."""
        _check_shares(self.name, target)
        return target


LOSSES: dict[str, type[Loss]] = Loss.registry
NAMES = tuple(LOSSES)


def resolve_loss(loss: Any) -> Loss:
    """Return the loss as an object; a name means the loss with its defaults.

    Raises
    ------
    TypeError, ValueError
        If it is neither a loss nor the name of one, or the loss has required parameters.
    """
    if isinstance(loss, Loss) and type(loss) in LOSSES.values():
        return loss
    if not isinstance(loss, str):
        raise TypeError(
            f"loss must be one of {', '.join(map(repr, NAMES))} or an object of nf.losses, got {describe(loss)}"
        )
    name = choose("loss", loss, NAMES)
    kind = LOSSES[name]
    if kind.example:
        raise ValueError(f"loss {name!r} needs {', '.join(kind.fields)}: use nf.losses.{kind.example}")
    return kind()


def loss_from(config: Any) -> Loss:
    """Return the loss that `Loss.config` describes.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it does not describe a loss.
    """
    if isinstance(config, str):
        return resolve_loss(config)
    if not isinstance(config, dict):
        raise TypeError(f"the loss must be a name, or a name and parameters, got {config!r}")
    parameters = dict(config)
    return LOSSES[choose("loss", parameters.pop("name"), NAMES)](**parameters)


class OutputLoss:
    """A loss combined with an output layer.

    Parameters
    ----------
    loss : Loss, str or None
        None means the default loss of the activation.
    activation : str
        The activation of the output layer.
    n_out : int
        The number of outputs.

    Attributes
    ----------
    takes_any : bool
        Whether any numbers may be targets, as they are.

    Raises
    ------
    TypeError, ValueError
        If `loss` is not a loss, or does not fit the output layer; the message names a combination that fits.
    """

    def __init__(self, loss: Loss | str | None, activation: str, n_out: int) -> None:
        self.function = resolve_activation(activation)
        self.loss = resolve_loss(self.function.loss if loss is None else loss)
        self.loss.check_output(activation, n_out)
        self.name = self.loss.name
        self.activation = activation
        self.n_out = n_out
        self.takes_any = type(self.loss).checked_targets is Loss.checked_targets and self.outputs_per_target == 1

    @property
    def fused(self) -> bool:
        """Whether the loss is computed from the inputs of the last activation."""
        return self.activation in self.loss.fused

    @property
    def outputs_per_target(self) -> int:
        """The number of outputs for each target: usually one."""
        return len(self.loss.per_output() or (0,))

    def kernel(self, dtype: np.dtype) -> tuple[str, tuple[float, ...], np.ndarray | None]:
        """Return what the engine needs: the kernel's name, its numbers, and the numbers for the outputs of a target."""
        each = self.loss.per_output()
        name = self.loss.fused.get(self.activation, self.name)
        return name, self.loss.numbers(), None if each is None else np.array(each, dtype)

    @property
    def takes_classes(self) -> bool:
        """Whether the outputs are of mutually exclusive classes, so that integer labels make sense."""
        return self.function.classes and (self.fused or not self.function.logarithms)

    def targets(self, y: Any, n: int, dtype: np.dtype, *, finite: bool = False) -> np.ndarray:
        """Return `y` in the engine's format: int64 labels, or an array of `dtype` and shape (n, outputs).

        Raises
        ------
        TypeError, ValueError
            If `y` has the wrong shape, a label is not a class, the loss does not accept the values, or (with
            `finite`) a value is not finite.
        """
        array = to_array("y", y)
        if array.ndim == 0 or len(array) != n:
            raise ValueError(f"y must have as many rows as x: {n}, got shape {array.shape}")
        columns = self.n_out // self.outputs_per_target
        if array.ndim == 1 and columns > 1 and self.takes_classes:
            return self._labels(array, dtype)
        if array.shape == (n, 1) and columns > 1 and self.takes_classes:
            raise ValueError(
                f"y must have shape ({n},) of labels or ({n}, {columns}), got {array.shape}: "
                "for labels, use np.ravel(y)"
            )
        if array.ndim == 1 and columns > 1 and array.dtype.kind in "iub":
            raise ValueError(
                f"y must have shape ({n}, {columns}), got {array.shape}: labels need an output layer with "
                f"activation 'softmax', since each output of {self.activation!r} is a separate value"
            )
        target = as_array("y", array if array.dtype.kind in "fiub" else y, dtype, ndim=(1, 2))
        if target.ndim == 1 and columns == 1:
            target = target.reshape(n, 1)
        check_shape("y", target, (n, columns))
        if finite and not kernels.all_finite(target):
            raise ValueError(f"y must be finite, got NaN or infinity {where_not_finite(target)}")
        target = self.loss.checked_targets(target)
        return target if self.outputs_per_target == 1 else np.repeat(target, self.outputs_per_target, axis=1)

    def _labels(self, labels: np.ndarray, dtype: np.dtype) -> np.ndarray:
        classes = as_labels("y", labels, self.n_out)
        if self.loss.takes_labels:
            return classes
        one_hot = np.zeros((len(labels), self.n_out), dtype)
        one_hot[np.arange(len(labels)), classes] = 1
        return one_hot

    @property
    def answers(self) -> str | float | None:
        """How outputs are interpreted: "classes", the threshold for the input of the loss, or None."""
        if not self.loss.answers:
            return None
        if self.function.classes:
            return "classes"
        return self.function.threshold if self.loss.threshold is None else self.loss.threshold
