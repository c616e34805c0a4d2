"""Losses as descriptions: which output layers they fit, and which targets they accept.

A loss is given by name or, to set its parameters, as an object such as ``nf.losses.Huber(delta=2.0)``; a loss of your
own as a function or as a `Custom` object. `OutputLoss` is a loss combined with an output layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from nnfast._compiled import Compiled, Signature, compiled_function
from nnfast._description import REQUIRED, Description, Field
from nnfast._validation import (
    as_array,
    as_labels,
    check_bool,
    check_float,
    check_not_negative,
    check_positive,
    check_reduction,
    check_shape,
    choose,
    describe,
    number,
    read_only,
    takes_keyword,
    to_array,
    warn,
    where_not_finite,
)
from nnfast.activations import NAMES as NAMES_OF_ACTIVATIONS
from nnfast.activations import resolve_activation
from nnfast.kernels import arrays as kernels

__all__ = [
    "BinaryCrossEntropy",
    "BinaryFocal",
    "CrossEntropy",
    "Custom",
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
    reduction : {"mean", "sum"}
        Whether the losses of a row's outputs are averaged or added up; rows are always averaged.
    """

    name: ClassVar[str]
    fused: ClassVar[dict[str, str]] = {}
    kinks: ClassVar[bool] = False
    takes_labels: ClassVar[bool] = False
    threshold: ClassVar[float | None] = None
    answers: ClassVar[bool] = True
    example: ClassVar[str] = ""
    reduction = "sum"  # a field of those that can average

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters by name, in a form that JSON can represent; those by keyword only if they are not defaults."""
        return {
            name: value
            for name, field in self.fields.items()
            if not (field.is_default(value := getattr(self, name)) and field.kw_only)
        }

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


class _OfOutputs(Loss):
    """A loss that has a value for each output."""

    reduction: str = Field(check_reduction, default="mean", kw_only=True)


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


def _any_labels(labels: np.ndarray) -> np.ndarray:
    """Return integers as int64; ValueError if one is too large."""
    if labels.size and labels.dtype.kind == "u" and int(labels.max()) > np.iinfo(np.int64).max:
        raise ValueError(f"y must hold labels that fit into int64, got {labels.max()}")
    return np.require(labels, np.int64, ("C", "A"))


def _share(name: str, value: Any) -> float:
    share = check_float(name, value, 0.0, 1.0)
    if not share:
        raise ValueError(f"{name} must be above 0, got 0.0")
    return share


def _quantiles(name: str, value: Any) -> tuple[float, ...]:
    if isinstance(value, (list, tuple)):  # NumPy would make each as long as the longest text, which may be a file's
        for quantile in value:
            if isinstance(quantile, (str, bytes)):
                raise TypeError(f"{name} must hold real numbers, got {describe(quantile)}")
    each = as_array(name, value, np.float64, ndim=(0, 1)).reshape(-1).tolist()
    if len(each) > MAX_QUANTILES:
        raise ValueError(f"{name} must hold at most {MAX_QUANTILES:,} numbers, got {len(each):,}")
    for quantile in each:
        check_float(name, quantile, 0.0, 1.0, open_ends=True)
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


class BinaryCrossEntropy(_OfOutputs, name="binary_cross_entropy"):
    """Cross entropy for independent binary outputs, averaged over all elements, as PyTorch's ``BCELoss``.

    Requires an output layer with sigmoid, and is computed from the inputs of the sigmoid.

    Parameters
    ----------
    label_smoothing : float
        Moves targets toward one half: ``target * (1 - label_smoothing) + label_smoothing / 2``, as in Keras; in
        [0, 1).
    reduction : {"mean", "sum"}
        Whether the losses of a row's outputs are averaged or added up; rows are averaged in both cases.

    Raises
    ------
    TypeError, ValueError
        If `label_smoothing` is not a number in [0, 1), or `reduction` is unknown.

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


class MeanSquaredError(_OfOutputs, name="mean_squared_error"):
    """Mean of squared errors over all elements, as PyTorch's ``MSELoss``. Fits any output layer.

    Parameters
    ----------
    reduction : {"mean", "sum"}
        Whether the losses of a row's outputs are averaged or added up; rows are averaged in both cases.

    Raises
    ------
    TypeError, ValueError
        If `reduction` is unknown.

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


class MeanAbsoluteError(_OfOutputs, name="mean_absolute_error"):
    """Mean of absolute errors over all elements, as PyTorch's ``L1Loss``. Fits any output layer.

    Parameters
    ----------
    reduction : {"mean", "sum"}
        Whether the losses of a row's outputs are averaged or added up; rows are averaged in both cases.

    Raises
    ------
    TypeError, ValueError
        If `reduction` is unknown.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Sequential([nf.Dense(1)], loss=nf.losses.MeanAbsoluteError()).loss_name
    'mean_absolute_error'
    """

    kinks = True


class Huber(_OfOutputs, name="huber"):
    """Half the squared error up to `delta`, and its tangent beyond: the derivative is at most `delta` in magnitude.

    Averaged over all elements, as PyTorch's ``HuberLoss``. Fits any output layer.

    Parameters
    ----------
    delta : float
        Above zero.
    reduction : {"mean", "sum"}
        Whether the losses of a row's outputs are averaged or added up; rows are averaged in both cases.

    Raises
    ------
    TypeError, ValueError
        If `delta` is not a positive number, or `reduction` is unknown.

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
    delta: float = Field(check_positive, default=1.0)

    def numbers(self) -> tuple[float, ...]:
        """Return `delta`, which the kernel takes."""
        return (self.delta,)


class LogCosh(_OfOutputs, name="log_cosh"):
    """Logarithm of the hyperbolic cosine of the error, averaged over all elements, as Keras' ``LogCosh``.

    Close to half the square of small errors and to the absolute value of large ones. Fits any output layer.

    Parameters
    ----------
    reduction : {"mean", "sum"}
        Whether the losses of a row's outputs are averaged or added up; rows are averaged in both cases.

    Raises
    ------
    TypeError, ValueError
        If `reduction` is unknown.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Sequential([nf.Dense(1)], loss=nf.losses.LogCosh()).loss_name
    'log_cosh'
    """


class Poisson(_OfOutputs, name="poisson"):
    """Negative log-likelihood of counts, averaged over all elements, as PyTorch's ``PoissonNLLLoss``.

    Parameters
    ----------
    log_input : bool
        Whether the outputs are the logarithms of rates, as with an identity output layer; otherwise they are rates and
        must not be negative, as with softplus.
    reduction : {"mean", "sum"}
        Whether the losses of a row's outputs are averaged or added up; rows are averaged in both cases.

    Raises
    ------
    TypeError, ValueError
        If `log_input` is not a bool, or `reduction` is unknown.

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


class Quantile(_OfOutputs, name="quantile"):
    """Pinball loss, for one or more quantiles of the target, averaged over all elements.

    Parameters
    ----------
    quantiles : float or sequence of float
        Distinct numbers in (0, 1), at most 10,000.
    reduction : {"mean", "sum"}
        Whether the losses of a row's outputs are averaged or added up; rows are averaged in both cases.

    Raises
    ------
    TypeError, ValueError
        If they are not distinct numbers in (0, 1), or too many, or `reduction` is unknown.

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

    def __init__(self, quantiles: float | Sequence[float], *, reduction: str = "mean") -> None:  # more than it stores
        self.fill({"quantiles": quantiles, "reduction": reduction})

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters by name, in a form that JSON can represent."""
        return super().parameters | {"quantiles": list(self.quantiles)}

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


class Hinge(_OfOutputs, name="hinge"):
    """Hinge loss of support vector machines: by how much outputs miss a margin of one, averaged over all elements.

    Fits an output layer with identity or tanh. Targets are -1 and 1, or 0 and 1; the sign of an output is the
    prediction.

    Parameters
    ----------
    reduction : {"mean", "sum"}
        Whether the losses of a row's outputs are averaged or added up; rows are averaged in both cases.

    Raises
    ------
    TypeError, ValueError
        If `reduction` is unknown.

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
    gamma: float = Field(check_not_negative, default=2.0)
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


class BinaryFocal(_OfOutputs, name="binary_focal"):
    """Binary cross entropy in which answers that are already likely count less, averaged over all elements.

    Requires an output layer with sigmoid, and is computed from the inputs of the sigmoid. Made for rare positive
    targets (Lin et al. 2017).

    Parameters
    ----------
    gamma : float
        The exponent of the probability of the wrong answer, at least 0: the larger, the less a likely answer counts.
    alpha : float
        The weight of targets of 1, in (0, 1]; that of targets of 0 is ``1 - alpha``.
    reduction : {"mean", "sum"}
        Whether the losses of a row's outputs are averaged or added up; rows are averaged in both cases.

    Raises
    ------
    TypeError, ValueError
        If `gamma` or `alpha` is not a number in its range, or `reduction` is unknown.

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
    gamma: float = Field(check_not_negative, default=2.0)
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


OF_VALUES = Signature("double (int, double *, double *, double *, void *)")
OF_LABEL = Signature("double (int, double *, int64_t, double *, void *)")
SIGNATURES = (OF_VALUES, OF_LABEL)


class _Missing:
    """Stands for the function of a loss that was loaded from a file."""

    def __init__(self, name: str) -> None:
        self.__name__ = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            f"the network was saved with a loss of the user's own, {self.__name__!r}, which is not in the file: "
            f"use load(path, loss={self.__name__ if self.__name__.isidentifier() else 'f'})"
        )


def _function(name: str, value: Any) -> Any:
    if compiled_function(name, value, SIGNATURES) is None and (not callable(value) or isinstance(value, (type, Loss))):
        raise TypeError(f"{name} must be a function of (outputs, targets), or a compiled one, got {describe(value)}")
    return value


def _own_name(name: str, value: Any) -> Any:
    if value is None:
        return value
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {describe(value)}")
    if not value or value in Loss.registry:
        raise ValueError(f"{name} must not be empty or the name of one of nnfast's losses, got {value!r}")
    return value


class Custom(Loss):
    """A loss of your own: a Python function of mini-batches, or a compiled function of rows.

    Parameters
    ----------
    function : callable
        Either a Python function ``f(outputs, targets)`` that returns ``(loss, gradient)``: a number, by convention the
        mean over rows, and its gradient with respect to `outputs`, an array of the same shape. Or a compiled function,
        as a `scipy.LowLevelCallable`, a ctypes function or a numba ``cfunc``, with one of the signatures ::

            double f(int n, double *outputs, double *targets, double *gradient, void *user_data)
            double f(int n, double *outputs, int64_t label, double *gradient, void *user_data)

        that returns the loss of one row and writes its gradient with respect to the row's `n` outputs to `gradient`,
        which is zero at first.
    name : str, optional
        The name in files and messages; by default that of the function, or ``"custom"``.

    Raises
    ------
    TypeError, ValueError
        If `function` is not callable or has another signature, or `name` is the name of one of nnfast's losses.

    Notes
    -----
    Fits any output layer. The outputs are those of `Sequential.predict`, after the last activation. Targets are labels
    if the network has several outputs and `y` is a vector of integers, and floats of the network's dtype otherwise:

    ========  ==================================  ===========================================================
    ..        labels                              floats
    ========  ==================================  ===========================================================
    Python    int64 of shape (m,), any integers   of shape (m, ...), with any shape of a row; for one output,
                                                  `y` of shape (n,) becomes (n, 1)
    compiled  from 0 to n - 1                     of the shape of the outputs
    ========  ==================================  ===========================================================

    A Python function gets read-only arrays, `outputs` of shape (m, *output_shape), which it may keep. If there are
    sample weights, it is called as ``f(outputs, targets, sample_weight=w)``, with float64 of shape (m,), and must
    weight the mean and the gradient itself; it is not called for a mini-batch whose weights are all zero. `fit` calls
    it once for each mini-batch, `Sequential.loss` and `Sequential.evaluate` once for the whole data set, always in the
    thread that called them. If it raises, the step changes nothing, and the exception ends the training. `fit_many`
    trains networks with a Python loss one at a time.

    A compiled function is called without the GIL and from several threads at once, in double precision whatever the
    network's dtype. It must not change `outputs` and `targets`. Rows are averaged and weighted as for nnfast's own
    losses; a row of weight zero is left out.

    Copies of a network share the function. Files hold only its name: see `nnfast.load`.

    `Sequential.check_gradient` checks the gradient. It calls the function with float64, and so the function should
    compute in the dtype of `outputs`. With a Python function, each number of the numerical gradient takes two losses
    of the whole data set.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> def quartic(outputs, targets):
    ...     error = outputs - targets
    ...     return (error**4).mean(), 4 * error**3 / error.size
    >>> net = nf.Sequential([nf.Dense(1)], input_shape=1, loss=quartic, seed=0)
    >>> x = np.linspace(-1, 1, 20)[:, None]
    >>> history = net.fit(x, 2 * x, epochs=200, optimizer=nf.SGD(0.1), verbose=0)
    >>> history["loss"][-1] < history["loss"][0]
    True
    >>> bool(net.check_gradient(x, 2 * x))
    True
    """

    example = "Custom(f)"
    takes_labels = True
    function: Any = Field(_function)
    name: Any = Field(_own_name, default=None, kw_only=True)  # type: ignore[misc]  # of the object, not of the class

    def settle(self) -> None:
        """Determine the name."""
        if self.name is None:
            own = getattr(self.function, "__name__", "")
            vars(self)["name"] = own if own.isidentifier() and own not in Loss.registry else "custom"

    @property
    def compiled(self) -> Compiled | None:
        """The compiled function; None for a Python function."""
        return compiled_function("function", self.function, SIGNATURES)

    @property
    def is_missing(self) -> bool:
        """Whether the function is not known, because the network was loaded without it."""
        return isinstance(self.function, _Missing)

    def evaluate(
        self, outputs: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None
    ) -> tuple[float, np.ndarray]:
        """Call the Python function; return the loss and its gradient.

        Parameters
        ----------
        outputs, targets, sample_weight : ndarray
            As for the function; weights may be None.

        Returns
        -------
        (float, ndarray)
            The gradient has the shape and dtype of `outputs`, and may share memory that the function uses again.

        Raises
        ------
        TypeError, ValueError
            If the function returns something other than a number and an array of the shape of `outputs`.
        """
        given = [None if array is None else read_only(array) for array in (outputs, targets, sample_weight)]
        weights = {} if sample_weight is None else {"sample_weight": given[2]}
        found = self.function(given[0], given[1], **weights)
        who = f"loss {self.name!r}"
        if not (isinstance(found, (tuple, list)) and len(found) == 2):
            raise TypeError(f"{who} must return (loss, gradient), got {describe(found)}")
        gradient = as_array(f"the gradient of {who}", found[1], outputs.dtype, shape=outputs.shape)
        value = found[0]
        return (value if type(value) is float else float(number(who, value))), gradient

    def warn_of_float32(self, outputs: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None) -> None:
        """Warn if the Python function seems to compute in float32 from outputs in float64."""
        value = self.evaluate(outputs, targets, sample_weight)[0]
        with np.errstate(all="ignore"):
            single, half = (float(dtype(value)) == value for dtype in (np.float32, np.float16))
        if single and not half:  # half: a simple number such as 0.25
            warn(
                f"loss {self.name!r} returned {value!r} for outputs in float64, which looks like float32, whose "
                "rounding hides the slopes: compute in the dtype of outputs",
                UserWarning,
            )

    def check_weights(self) -> None:
        """Raise TypeError if the Python function takes no sample weights."""
        if not takes_keyword(self.function, "sample_weight"):
            raise TypeError(
                f"loss {self.name!r} must accept weights if there are any, as f(outputs, targets, sample_weight=None): "
                "it has no argument sample_weight"
            )

    def config(self) -> dict[str, Any]:
        """Return what a file stores: the name."""
        return {"name": self.name, "custom": True}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Custom) and (self.function, self.name) == (other.function, other.name)

    def __hash__(self) -> int:
        return hash((Custom, self.name))  # not that of a function, which may have none

    def __deepcopy__(self, memo: Any) -> Custom:  # capsules cannot be copied
        return self

    def __repr__(self) -> str:
        own = getattr(self.function, "__name__", type(self.function).__name__)
        return f"Custom({own})" if own == self.name else f"Custom({own}, name={self.name!r})"


LOSSES: dict[str, type[Loss]] = Loss.registry
NAMES = tuple(LOSSES)


def resolve_loss(loss: Any) -> Loss:
    """Return the loss as an object; a name means the loss with its defaults, and a function a `Custom` loss.

    Raises
    ------
    TypeError, ValueError
        If it is neither a loss, nor the name of one, nor a function, or the loss has required parameters.
    """
    if isinstance(loss, Loss) and type(loss) in (*LOSSES.values(), Custom):
        return loss
    if not isinstance(loss, str):
        if compiled_function("loss", loss, SIGNATURES) or (callable(loss) and not isinstance(loss, (type, Loss))):
            return Custom(loss)
        raise TypeError(
            f"loss must be one of {', '.join(map(repr, NAMES))}, an object of nf.losses or a function, "
            f"got {describe(loss)}"
        )
    name = choose("loss", loss, NAMES)
    kind = LOSSES[name]
    if kind.example:
        needed = ", ".join(name for name, field in kind.fields.items() if field.default is REQUIRED)
        raise ValueError(f"loss {name!r} needs {needed}: use nf.losses.{kind.example}")
    return kind()


def loss_from(config: Any) -> Loss:
    """Return the loss that `Loss.config` describes; the function of a `Custom` loss is missing.

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
    if parameters.get("custom") is True:
        return Custom(_Missing(str(parameters["name"])), name=parameters["name"])
    kind = LOSSES[choose("loss", parameters.pop("name"), NAMES)]
    for parameter in parameters:
        if parameter not in kind.fields:
            raise ValueError(f"loss {kind.name!r} has no {parameter!r}")
    return kind(**parameters)


class OutputLoss:
    """A loss combined with an output layer.

    Parameters
    ----------
    loss : Loss, str, callable or None
        None means the default loss of the activation.
    activation : str
        The activation of the output layer.
    n_out : int
        The number of outputs.

    Attributes
    ----------
    takes_any : bool
        Whether any numbers may be targets, as they are.
    compiled : Compiled or None
        The compiled function of a loss of the user's.
    in_python : bool
        Whether the loss is a Python function of the user's, whose targets may have any shape.

    Raises
    ------
    TypeError, ValueError
        If `loss` is not a loss, or does not fit the output layer; the message names a combination that fits.
    """

    def __init__(self, loss: Loss | str | Callable[..., Any] | None, activation: str, n_out: int) -> None:
        self.function = resolve_activation(activation)
        self.loss = resolve_loss(self.function.loss if loss is None else loss)
        self.loss.check_output(activation, n_out)
        self.name = self.loss.name
        self.activation = activation
        self.n_out = n_out
        own = isinstance(self.loss, Custom)
        self.compiled = self.loss.compiled if isinstance(self.loss, Custom) else None
        self.in_python = own and self.compiled is None
        any_numbers = type(self.loss).checked_targets is Loss.checked_targets and self.outputs_per_target == 1
        of_values = self.compiled is not None and self.compiled.signature is OF_VALUES
        self.takes_any = any_numbers and (of_values or not own)

    @property
    def fused(self) -> bool:
        """Whether the loss is computed from the inputs of the last activation."""
        return self.activation in self.loss.fused

    @property
    def outputs_per_target(self) -> int:
        """The number of outputs for each target: usually one."""
        return len(self.loss.per_output() or (0,))

    def kernel(self, dtype: np.dtype) -> tuple[str, tuple[float, ...], np.ndarray | None, bool] | None:
        """Return what the engine needs; None for a loss of the user's: see `own`.

        It is the kernel's name, its numbers, the numbers for the outputs of a target, and whether outputs are added up.
        """
        if isinstance(self.loss, Custom):
            return None
        each = self.loss.per_output()
        name = self.loss.fused.get(self.activation, self.name)
        per_output = None if each is None else np.array(each, dtype)
        return name, self.loss.numbers(), per_output, self.loss.reduction == "sum"

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
        if isinstance(self.loss, Custom):
            return self._targets_of_own(self.loss, array if array.dtype.kind in "fiub" else y, array, dtype, finite)
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

    def _targets_of_own(self, loss: Custom, y: Any, array: np.ndarray, dtype: np.dtype, finite: bool) -> np.ndarray:
        """Return targets for a loss of the user's: labels as int64, or floats."""
        if loss.is_missing:
            loss.function()
        compiled = self.compiled
        wants_labels = compiled is not None and compiled.signature is OF_LABEL
        if array.ndim == 1 and array.dtype.kind in "iub" and (wants_labels or (self.n_out > 1 and compiled is None)):
            return _any_labels(array) if compiled is None else as_labels("y", array, self.n_out)
        if wants_labels:
            raise ValueError(
                f"y must hold integer labels, of shape ({len(array)},), for loss {loss.name!r}, whose "
                f"function takes a label; got {describe(array)}"
            )
        target = as_array("y", y, dtype)
        if target.ndim == 1 and self.n_out == 1:
            target = target.reshape(-1, 1)
        if compiled is not None:
            check_shape("y", target, (len(array), self.n_out))
        if target.ndim == 1 or 0 in target.shape[1:]:
            raise ValueError(
                f"y must hold integer labels, of shape ({len(array)},), or rows of numbers, of shape "
                f"({len(array)}, ...), for loss {loss.name!r}; got {describe(array)}"
                + (": for one number in each row, use y[:, None]" if target.ndim == 1 else "")
            )
        if finite and not kernels.all_finite(target):
            raise ValueError(f"y must be finite, got NaN or infinity {where_not_finite(target)}")
        return target

    def misfit(self, targets: np.ndarray) -> str:
        """Return why outputs cannot be compared with the targets of a user's loss; an empty string if they can."""
        if not isinstance(self.loss, Custom):
            return ""
        if targets.ndim > 1:
            fits = targets.size == len(targets) * self.n_out
            return "" if fits else f"targets of the shape of the outputs, got shape {targets.shape}"
        if not self.function.classes:
            return f"labels at an output layer with softmax, got activation {self.activation!r}"
        return self.range_misfit(targets)

    def range_misfit(self, labels: np.ndarray) -> str:
        """Return why labels are not the numbers of outputs, as a user's loss permits; an empty string if they are."""
        if labels.min(initial=0) >= 0 and labels.max(initial=0) < self.n_out:
            return ""
        return f"labels from 0 to {self.n_out - 1}, got {labels.min()} to {labels.max()}"

    def check_weights(self) -> None:
        """Raise TypeError if the loss does not accept sample weights."""
        if self.in_python and isinstance(self.loss, Custom):
            self.loss.check_weights()

    def own(self, shape: tuple[int, ...]) -> Callable[..., tuple[float, np.ndarray]] | tuple[int, int, bool] | None:
        """Return the user's loss in the engine's format, for outputs of this shape; None if there is none."""
        loss = self.loss
        if not isinstance(loss, Custom):
            return None
        if self.compiled is not None:
            return self.compiled.address, self.compiled.user_data, self.compiled.signature is OF_LABEL

        checked: set[bool] = set()

        def call(
            outputs: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None
        ) -> tuple[float, np.ndarray]:
            if sample_weight is not None and not checked:
                loss.check_weights()
                checked.add(True)
            value, gradient = loss.evaluate(outputs.reshape(-1, *shape), targets, sample_weight)
            return value, gradient.reshape(outputs.shape)

        return call

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
