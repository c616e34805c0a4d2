"""Optimizers as descriptions: hyperparameters only. Their state is part of the network that they train.

Hyperparameters may be changed at any time and are read at each call; one object can be shared by many networks.
Definitions and defaults are PyTorch's; those of `Lion`, which PyTorch does not have, are its paper's.
"""

from __future__ import annotations

from functools import cache
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from nnfast._description import Description, Field
from nnfast._validation import check_bool, check_float, check_int, choose, describe, range_of
from nnfast.schedules import Schedule, TimedSchedule

if TYPE_CHECKING:
    from nnfast.engine.program import Slot

INFINITY = float("inf")
MAX_MOMENTS = 3
MAX_EVALUATIONS = 2**31 - 1  # by L-BFGS


class Hyperparameters(NamedTuple):
    """The checked hyperparameters of an optimizer for the engine.

    Attributes
    ----------
    kind : str
        A name in `OPTIMIZERS`.
    moments : tuple of (float or None)
        The initial value of each moment; None for moments that are not kept.
    """

    kind: str
    moments: tuple[float | None, ...]
    learning_rate: float
    learning_rate_decay: float = 0.0
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    alpha: float = 0.0
    rho: float = 0.0
    beta1: float = 0.0
    beta2: float = 0.0
    epsilon: float = 0.0
    corrected_epsilon: bool = False
    momentum_decay: float = 0.0
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False
    decay_biases: bool = True
    clip_value: float = INFINITY
    clip_norm: float = INFINITY
    average_decay: float | None = None


# ---- checks of hyperparameters


def _positive(name: str, value: Any, dtype: Any) -> float:
    """Return a number above zero that `dtype` can hold."""
    return _in_range(name, check_float(name, value, 0.0, INFINITY, open_ends=True), dtype)


def _rate(name: str, value: Any, dtype: Any) -> float:
    """Return the learning rate, or the one that its schedule is computed from."""
    return _positive(name, value.learning_rate if isinstance(value, Schedule) else value, dtype)


def _not_negative(name: str, value: Any, dtype: Any) -> float:
    number = check_float(name, value, 0.0)
    return _in_range(name, number, dtype) if number else 0.0


def _in_range(name: str, number: float, dtype: Any) -> float:
    low, high = range_of(np.dtype(dtype))
    if not low <= number <= high:
        raise ValueError(
            f"{name} must be from {low:.3g} to {high:.3g} for a network of {np.dtype(dtype)}, got {number}"
        )
    return number


def _below_one(name: str, value: Any, dtype: Any) -> float:
    number = check_float(name, value, 0.0, 1.0)
    if number == 1.0:
        raise ValueError(f"{name} must be below 1, got 1.0")
    return number


def _limit(name: str, value: Any, dtype: Any) -> float:
    return INFINITY if value is None else _positive(name, value, dtype)


def _part(name: str, value: Any, dtype: Any) -> float:
    return check_float(name, value, 0.0, 1.0)


def _flag(name: str, value: Any, dtype: Any) -> bool:
    return check_bool(name, value)


def _average(name: str, value: Any, dtype: Any) -> float | None:
    return None if value is None else _below_one(name, value, dtype)


class Optimizer(Description, noun="an optimizer"):
    """Base class of optimizers, with their common hyperparameters.

    Parameters
    ----------
    learning_rate : float or Schedule
        Above zero; or one of `nnfast.schedules`.
    weight_decay : float
        At least 0. This multiple of each parameter is added to the gradient: half the sum of squares of all parameters,
        times `weight_decay`, is added to the loss. If the decay is decoupled, the parameters are shrunk by
        ``1 - learning_rate * weight_decay`` at each step instead.
    decay_biases : bool
        Whether biases and the parameters of normalization layers also decay, as in PyTorch.
    clip_value : float, optional
        Positive: each element of the gradient is clipped to ``-clip_value..clip_value``.
    clip_norm : float, optional
        Positive: the gradient of all parameters together is scaled down to this norm if its norm is larger, before it
        is clipped by value.
    average_decay : float, optional
        In [0, 1): decay of an exponential moving average of the parameters, updated at each step.

    Notes
    -----
    Clipping comes before weight decay, as with ``torch.nn.utils.clip_grad_norm_`` and ``clip_grad_value_``.

    An optimizer of the same kind continues with a network's state, whatever its hyperparameters. Options (momentum,
    `amsgrad`, `centered`) keep additional state: it starts when the option is turned on, and is discarded when it is
    turned off, while the count of steps and all other state are kept.
    """

    kind: ClassVar[str]
    constants: ClassVar[dict[str, Any]] = {}  # hyperparameters that the kind fixes
    steps: ClassVar[bool] = True  # takes single steps, with a state in the network's slot
    learning_rate: float | Schedule = Field(_rate, default=1e-3)
    weight_decay: float = Field(_not_negative, default=0.0, kw_only=True)
    decay_biases: bool = Field(_flag, default=True, kw_only=True)
    clip_value: float | None = Field(_limit, default=None, kw_only=True)
    clip_norm: float | None = Field(_limit, default=None, kw_only=True)
    average_decay: float | None = Field(_average, default=None, kw_only=True)

    def fill(self, values: dict[str, Any]) -> None:
        """Store the hyperparameters as given: they are checked whenever they are read."""
        for name, value in values.items():
            setattr(self, name, value)
        resolve_optimizer(self)
        self.settle()

    def settle(self) -> None:
        """Raise TypeError or ValueError if a hyperparameter is out of its range."""
        self.values()

    def __setattr__(self, name: str, value: object) -> None:
        if self._is_built_in() and name not in self.fields:  # a subclass may have more
            raise AttributeError(
                f"{type(self).__name__} has no hyperparameter {name!r}: there are {', '.join(self.fields)}"
            )
        self.__dict__.pop("_values", None)
        object.__setattr__(self, name, value)

    __hash__ = None  # type: ignore[assignment]  # it may change

    def _is_built_in(self) -> bool:
        return self.registry.get(getattr(self, "kind", "")) is type(self)

    def values(self, dtype: Any = np.float64) -> Hyperparameters:
        """Return the checked hyperparameters for the engine.

        Parameters
        ----------
        dtype : dtype
            The dtype of the network, float32 or float64, which must be able to represent the hyperparameters.

        Returns
        -------
        Hyperparameters
            The same object as before if nothing has changed, so that the engine can recognize it.

        Raises
        ------
        TypeError, ValueError
            If a hyperparameter is out of its range, or incompatible with another.

        Examples
        --------
        >>> import nnfast as nf
        >>> values = nf.SGD(learning_rate=0.1, momentum=0.9).values()
        >>> values.kind, values.learning_rate, values.momentum
        ('sgd', 0.1, 0.9)
        """
        known = self.__dict__.get("_values")
        if known is not None and (known[0] is dtype or known[0] == dtype):
            values: Hyperparameters = known[1]
            return values
        self.__dict__.pop("_values", None)
        checked = {name: field.check(name, getattr(self, name), dtype) for name, field in self.fields.items()}
        self._check_cycle(checked)
        moments = (*self.moments(checked), None, None, None)[:MAX_MOMENTS]
        values = Hyperparameters(self.kind, moments, **checked, **self.constants)
        # not for properties of a subclass and for arrays, which may change unnoticed
        if self._is_built_in() and all(
            isinstance(v, (float, int, np.generic, NoneType, Schedule)) for v in vars(self).values()
        ):
            self.__dict__["_values"] = (dtype, values)
        return values

    def _check_cycle(self, checked: dict[str, Any]) -> None:
        """Raise ValueError if a schedule cycles a momentum that does not exist. PyTorch gives plain SGD one."""
        rate = self.learning_rate
        if isinstance(rate, Schedule) and rate.cycle_momentum and not (checked.get("momentum") or "beta1" in checked):
            raise ValueError(
                f"learning_rate cycles the momentum too, but {type(self).__name__} has none: "
                f"pass cycle_momentum=False to {type(rate).__name__}"
            )

    def moments(self, checked: dict[str, Any]) -> tuple[float | None, ...]:
        """Return the initial values of the moments, None for those that are not kept.

        Parameters
        ----------
        checked : dict
            The hyperparameters by name. Those that only determine the moments are removed.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.SGD(momentum=0.9).moments({"momentum": 0.9, "dampening": 0.0, "nesterov": False})
        (0.0,)
        """
        raise NotImplementedError

    def shown(self) -> dict[str, Any]:
        """Return what ``repr`` shows: the learning rate, and what differs from the defaults."""
        rate = {name: value for name, value in vars(self).items() if name == "learning_rate"}
        return rate | super().shown()


class SGD(Optimizer, name="sgd"):
    """Stochastic gradient descent, optionally with momentum: ``W -= learning_rate * gradient``.

    Parameters
    ----------
    learning_rate : float or Schedule
        Above zero; or one of `nnfast.schedules`.
    momentum : float
        In [0, 1). Above 0, steps follow ``v = momentum * v + (1 - dampening) * gradient`` instead of the gradient;
        ``v`` starts as the first gradient.
    dampening : float
        Dampening of the momentum, in [0, 1]; requires momentum.
    nesterov : bool
        Follow ``gradient + momentum * v``; requires momentum without dampening.
    weight_decay, decay_biases, clip_value, clip_norm, average_decay
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is out of its range, or incompatible with another.

    Notes
    -----
    Chapters 4.4.1 and 6.1 of Saito's *Deep Learning from Scratch*, whose ``v`` includes the learning rate. Nesterov's
    momentum is that of Sutskever et al., "On the importance of initialization and momentum in deep learning" (2013), as
    in PyTorch.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.SGD(learning_rate=0.1, momentum=0.9, nesterov=True)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=True)
    """

    momentum: float = Field(_below_one, default=0.0, kw_only=True)
    dampening: float = Field(_part, default=0.0, kw_only=True)
    nesterov: bool = Field(_flag, default=False, kw_only=True)

    def moments(self, checked: dict[str, Any]) -> tuple[float | None, ...]:
        momentum, dampening = checked["momentum"], checked["dampening"]
        if checked["nesterov"] and (not momentum or dampening):
            raise ValueError(
                f"nesterov needs a momentum above 0 and no dampening, got momentum={momentum}, dampening={dampening}"
            )
        if dampening and not momentum:
            raise ValueError(f"dampening needs a momentum above 0, got dampening={dampening}, momentum={momentum}")
        return (0.0 if momentum else None,)


class Adam(Optimizer, name="adam"):
    """Adam: steps scaled by running means of the gradient and of its square.

    Parameters
    ----------
    learning_rate : float or Schedule
        Above zero; or one of `nnfast.schedules`.
    beta1, beta2 : float
        Decay of the two running means, in [0, 1).
    epsilon : float
        Added to the square root of the second mean; above zero.
    corrected_epsilon : bool
        Divide epsilon by ``sqrt(1 - beta2**t)``, as the square root of the second mean is: the formula of scikit-learn
        and Keras. See Notes.
    amsgrad : bool
        Divide by the maximum of all second means so far.
    decoupled_weight_decay : bool
        Shrink the parameters themselves, as `AdamW` does.
    weight_decay, decay_biases, clip_value, clip_norm, average_decay
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is out of its range.

    Notes
    -----
    Kingma and Ba, "Adam: a method for stochastic optimization" (2015), algorithm 1, with epsilon as in PyTorch:
    ``W -= learning_rate / (1 - beta1**t) * m / (sqrt(v) / sqrt(1 - beta2**t) + epsilon)``.

    With `corrected_epsilon`, the last lines of section 2 of that paper, whose "epsilon hat" scikit-learn and Keras use:
    ``W -= learning_rate * sqrt(1 - beta2**t) / (1 - beta1**t) * m / (sqrt(v) + epsilon)``. The two differ in the first
    steps (of the order of ``1 / (1 - beta2)``), and where gradients are as small as epsilon.

    With `amsgrad`, Reddi, Kale and Kumar, "On the convergence of Adam and beyond" (2018), with PyTorch's bias
    corrections, not in the paper: ``v`` is the maximum of all second means in either formula.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Adam(learning_rate=0.01, beta2=0.99)
    Adam(learning_rate=0.01, beta2=0.99)
    """

    beta1: float = Field(_below_one, default=0.9, kw_only=True)
    beta2: float = Field(_below_one, default=0.999, kw_only=True)
    epsilon: float = Field(_positive, default=1e-8, kw_only=True)
    corrected_epsilon: bool = Field(_flag, default=False, kw_only=True)
    amsgrad: bool = Field(_flag, default=False, kw_only=True)
    decoupled_weight_decay: bool = Field(_flag, default=False, kw_only=True)

    def moments(self, checked: dict[str, Any]) -> tuple[float | None, ...]:
        return 0.0, 0.0, 0.0 if checked.pop("amsgrad") else None


class AdamW(Optimizer, name="adamw"):
    """Adam with decoupled weight decay, which shrinks the parameters themselves.

    Parameters
    ----------
    learning_rate : float or Schedule
        Above zero; or one of `nnfast.schedules`.
    beta1, beta2 : float
        Decay of the two running means, in [0, 1).
    epsilon : float
        Added to the square root of the second mean; above zero.
    corrected_epsilon : bool
        Divide epsilon by ``sqrt(1 - beta2**t)``; see `Adam`.
    amsgrad : bool
        Divide by the maximum of all second means so far.
    weight_decay : float
        At least 0: each step begins with ``W *= 1 - learning_rate * weight_decay``.
    decay_biases, clip_value, clip_norm, average_decay
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is out of its range.

    Notes
    -----
    Loshchilov and Hutter, "Decoupled weight decay regularization" (2019), algorithm 2; with the decay multiplied
    by the learning rate, as in PyTorch.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.AdamW(learning_rate=0.01, decay_biases=False)
    AdamW(learning_rate=0.01, decay_biases=False)
    """

    constants = {"decoupled_weight_decay": True}  # noqa: RUF012
    beta1: float = Field(_below_one, default=0.9, kw_only=True)
    beta2: float = Field(_below_one, default=0.999, kw_only=True)
    epsilon: float = Field(_positive, default=1e-8, kw_only=True)
    corrected_epsilon: bool = Field(_flag, default=False, kw_only=True)
    amsgrad: bool = Field(_flag, default=False, kw_only=True)
    weight_decay: float = Field(_not_negative, default=1e-2, kw_only=True)

    def moments(self, checked: dict[str, Any]) -> tuple[float | None, ...]:
        return 0.0, 0.0, 0.0 if checked.pop("amsgrad") else None


class NAdam(Optimizer, name="nadam"):
    """Adam with Nesterov's momentum, which grows with each step.

    Parameters
    ----------
    learning_rate : float or Schedule
        Above zero; or one of `nnfast.schedules`.
    beta1, beta2 : float
        Decay of the two running means, in [0, 1).
    epsilon : float
        Added to the square root of the second mean; above zero.
    momentum_decay : float
        At least 0: the momentum of step ``t`` is ``beta1 * (1 - 0.5 * 0.96**(t * momentum_decay))``.
    decoupled_weight_decay : bool
        Shrink the parameters themselves, as `AdamW` does.
    weight_decay, decay_biases, clip_value, clip_norm, average_decay
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is out of its range.

    Notes
    -----
    Dozat, "Incorporating Nesterov momentum into Adam" (2016), with the momentum of its section 3.2, and epsilon as in
    PyTorch. The product of all momenta is kept in double precision; PyTorch keeps it in its default dtype.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.NAdam()
    NAdam(learning_rate=0.002)
    """

    learning_rate: float | Schedule = Field(_rate, default=2e-3)
    beta1: float = Field(_below_one, default=0.9, kw_only=True)
    beta2: float = Field(_below_one, default=0.999, kw_only=True)
    epsilon: float = Field(_positive, default=1e-8, kw_only=True)
    momentum_decay: float = Field(_not_negative, default=4e-3, kw_only=True)
    decoupled_weight_decay: bool = Field(_flag, default=False, kw_only=True)

    def moments(self, checked: dict[str, Any]) -> tuple[float | None, ...]:
        return 0.0, 0.0


class Lion(Optimizer, name="lion"):
    """Lion: a step moves each parameter by the learning rate, against the sign of a mean of its gradients.

    Parameters
    ----------
    learning_rate : float or Schedule
        The length of a step, above zero; or one of `nnfast.schedules`. The paper recommends a third to a tenth of the
        learning rate that is right for `AdamW`, with a weight decay that is as many times larger.
    beta1 : float
        Weight of the running mean in the direction of a step, in [0, 1); the gradient has weight ``1 - beta1``.
    beta2 : float
        Decay of the running mean, in [0, 1).
    weight_decay : float
        At least 0: each step begins with ``W *= 1 - learning_rate * weight_decay``.
    decay_biases, clip_value, clip_norm, average_decay
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is out of its range.

    Notes
    -----
    Chen et al., "Symbolic discovery of optimization algorithms" (2023), https://arxiv.org/abs/2302.06675, algorithm 2:
    ``W -= learning_rate * (sign(beta1 * m + (1 - beta1) * gradient) + weight_decay * W)``, then
    ``m = beta2 * m + (1 - beta2) * gradient``. The sign of zero is zero: a parameter that never had a gradient does not
    move. The sign of NaN is NaN.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Lion(weight_decay=0.01)
    Lion(learning_rate=0.0001, weight_decay=0.01)
    """

    constants = {"decoupled_weight_decay": True}  # noqa: RUF012
    learning_rate: float | Schedule = Field(_rate, default=1e-4)
    beta1: float = Field(_below_one, default=0.9, kw_only=True)
    beta2: float = Field(_below_one, default=0.99, kw_only=True)

    def moments(self, checked: dict[str, Any]) -> tuple[float | None, ...]:
        return (0.0,)


class Adagrad(Optimizer, name="adagrad"):
    """AdaGrad: steps divided by the square root of the sum of all squared gradients.

    Parameters
    ----------
    learning_rate : float or Schedule
        Above zero; or one of `nnfast.schedules`.
    learning_rate_decay : float
        At least 0: at step ``t`` the learning rate is ``learning_rate / (1 + (t - 1) * learning_rate_decay)``.
    initial_accumulator_value : float
        The initial value of the sum; at least 0.
    epsilon : float
        Added to the square root; above zero.
    weight_decay, decay_biases, clip_value, clip_norm, average_decay
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is out of its range.

    Notes
    -----
    Duchi, Hazan and Singer, "Adaptive subgradient methods for online learning and stochastic optimization" (2011), in
    its diagonal form.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Adagrad()
    Adagrad(learning_rate=0.01)
    """

    learning_rate: float | Schedule = Field(_rate, default=1e-2)
    learning_rate_decay: float = Field(_not_negative, default=0.0, kw_only=True)
    initial_accumulator_value: float = Field(_not_negative, default=0.0, kw_only=True)
    epsilon: float = Field(_positive, default=1e-10, kw_only=True)

    def moments(self, checked: dict[str, Any]) -> tuple[float | None, ...]:
        return (checked.pop("initial_accumulator_value"),)


class RMSprop(Optimizer, name="rmsprop"):
    """RMSprop: steps divided by the square root of a running mean of the squared gradient.

    Parameters
    ----------
    learning_rate : float or Schedule
        Above zero; or one of `nnfast.schedules`.
    alpha : float
        Decay of the running means, in [0, 1).
    epsilon : float
        Added to the square root; above zero.
    momentum : float
        In [0, 1): this fraction of the previous step is added to each step.
    centered : bool
        Divide by the standard deviation of the gradient, for which a running mean of the gradient is kept too.
    weight_decay, decay_biases, clip_value, clip_norm, average_decay
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is out of its range.

    Notes
    -----
    Tieleman and Hinton, lecture 6.5 of "Neural networks for machine learning" (2012); centered as in Graves,
    "Generating sequences with recurrent neural networks" (2013), with PyTorch's epsilon outside the root. A variance
    that is negative because of rounding counts as zero; in PyTorch, parameters become NaN.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.RMSprop(learning_rate=1e-3, centered=True)
    RMSprop(learning_rate=0.001, centered=True)
    """

    learning_rate: float | Schedule = Field(_rate, default=1e-2)
    alpha: float = Field(_below_one, default=0.99, kw_only=True)
    epsilon: float = Field(_positive, default=1e-8, kw_only=True)
    momentum: float = Field(_below_one, default=0.0, kw_only=True)
    centered: bool = Field(_flag, default=False, kw_only=True)

    def moments(self, checked: dict[str, Any]) -> tuple[float | None, ...]:
        return 0.0, 0.0 if checked.pop("centered") else None, 0.0 if checked["momentum"] else None


class Adadelta(Optimizer, name="adadelta"):
    """Adadelta: steps as long, on average, as the previous changes of the parameters.

    Parameters
    ----------
    learning_rate : float or Schedule
        A factor for each step, above zero; not in the paper.
    rho : float
        Decay of the running means of the squared gradient and the squared change, in [0, 1).
    epsilon : float
        Added to both means; above zero.
    weight_decay, decay_biases, clip_value, clip_norm, average_decay
        See `Optimizer`.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is out of its range.

    Notes
    -----
    Zeiler, "ADADELTA: an adaptive learning rate method" (2012), algorithm 1, with PyTorch's defaults.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.Adadelta()
    Adadelta(learning_rate=1.0)
    """

    learning_rate: float | Schedule = Field(_rate, default=1.0)
    rho: float = Field(_below_one, default=0.9, kw_only=True)
    epsilon: float = Field(_positive, default=1e-6, kw_only=True)

    def moments(self, checked: dict[str, Any]) -> tuple[float | None, ...]:
        return 0.0, 0.0


def rate_at(optimizer: Optimizer, slot: Slot) -> tuple[float, float | None] | None:
    """Return the learning rate of the next update, and its momentum or None; None without a schedule.

    Raises
    ------
    ValueError
        If the schedule is by epoch: only `fit` counts epochs.
    """
    schedule = optimizer.learning_rate
    if not isinstance(schedule, Schedule):
        return None
    if not isinstance(schedule, TimedSchedule) or schedule.by == "epoch":
        raise ValueError(
            f"learning_rate must be a number or a schedule by step outside fit, since only fit counts epochs, "
            f"got {schedule!r}: use a number, and change it after each epoch"
        )
    return schedule.at(slot.steps_of(optimizer.kind))


def _history(name: str, value: Any) -> int:
    return check_int(name, value, 1, 1000)


def _tolerance(name: str, value: Any) -> float:
    return check_float(name, value, 0.0)


def _evaluations(name: str, value: Any) -> int:
    return MAX_EVALUATIONS if value is None else check_int(name, value, 1, MAX_EVALUATIONS)


class LBFGS(Optimizer, name="lbfgs", inherit=False):
    """L-BFGS: a quasi-Newton method on all data at once, for small data and smooth networks.

    Only for `fit`, where ``epochs`` is the maximum number of iterations, by default 200: `fit` ends earlier if the loss
    has converged. Each iteration is one epoch of the history, with the loss and accuracy after it. There are no
    mini-batches, so ``steps``, ``batch_size`` and ``shuffle`` must not be given. An iteration may compute the gradient
    several times. No state is kept for a later `fit`, and the state of other optimizers is cleared.

    Parameters
    ----------
    history_size : int
        The number of pairs of steps and changes of the gradient that approximate the curvature.
    tolerance : float
        Converged when an iteration lowers the loss by less than this fraction of it (of 1, if the loss is below 1).
    gradient_tolerance : float
        Converged when no element of the gradient is larger.
    max_evaluations : int, optional
        The maximum number of evaluations of the loss and its gradient; by default there is no limit. The iteration that
        exceeds it is completed, and is the last one. Then the history's ``converged`` is False.

    Raises
    ------
    TypeError, ValueError
        If a hyperparameter is out of its range.

    Notes
    -----
    The direction of an iteration is the two-loop recursion of Nocedal, "Updating quasi-Newton matrices with limited
    storage" (1980); the step in this direction satisfies the strong Wolfe conditions and is found as in Moré and
    Thuente, "Line search algorithms with guaranteed sufficient decrease" (1994). The iterations, tolerances and limits
    are those of Byrd, Lu, Nocedal and Zhu, "A limited memory algorithm for bound constrained optimization" (1995)
    without bounds, as in ``scipy.optimize.minimize(method="L-BFGS-B")``, whose ``maxfun`` is `max_evaluations`. In
    float32 it ends when rounding hides further progress; float64 gets closer to the minimum.

    Examples
    --------
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(4, "tanh"), nf.Dense(2, "softmax")], input_shape=2, dtype="float64", seed=0)
    >>> history = net.fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0], optimizer=nf.LBFGS(), verbose=0)
    >>> history["accuracy"][-1], len(history["loss"]) < 200  # it has converged
    (1.0, True)
    """

    steps = False
    history_size: int = Field(_history, default=10, kw_only=True)
    tolerance: float = Field(_tolerance, default=2.220446049250313e-09, kw_only=True)
    gradient_tolerance: float = Field(_tolerance, default=1e-5, kw_only=True)
    max_evaluations: int | None = Field(_evaluations, default=None, kw_only=True)

    if TYPE_CHECKING:  # without the arguments of other optimizers

        def __init__(
            self,
            *,
            history_size: int = ...,
            tolerance: float = ...,
            gradient_tolerance: float = ...,
            max_evaluations: int | None = ...,
        ) -> None: ...

    def settle(self) -> None:
        """Raise TypeError or ValueError if a hyperparameter is out of its range."""
        self.options()

    def options(self) -> dict[str, Any]:
        """Return the checked hyperparameters under the names of SciPy's options.

        Raises
        ------
        TypeError, ValueError
            If a hyperparameter is out of its range.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.LBFGS().options()
        {'maxcor': 10, 'ftol': 2.220446049250313e-09, 'gtol': 1e-05, 'maxfun': 2147483647}
        """
        names = {
            "history_size": "maxcor", "tolerance": "ftol", "gradient_tolerance": "gtol", "max_evaluations": "maxfun"
        }  # fmt: skip
        return {names[name]: field.check(name, getattr(self, name)) for name, field in self.fields.items()}

    def values(self, dtype: Any = np.float64) -> Hyperparameters:
        """Raise TypeError: there are no single steps.

        Parameters
        ----------
        dtype : dtype
            The dtype of the network.

        Raises
        ------
        TypeError
            Always.

        Examples
        --------
        >>> import nnfast as nf
        >>> nf.LBFGS().values()
        Traceback (most recent call last):
        TypeError: LBFGS minimizes the loss over the whole data: use fit(x, y, optimizer=LBFGS(...)), not single steps
        """
        raise TypeError(
            f"{type(self).__name__} minimizes the loss over the whole data: "
            "use fit(x, y, optimizer=LBFGS(...)), not single steps"
        )


NAMES: dict[str, type[Optimizer]] = Optimizer.registry
_KINDS = frozenset(NAMES.values())
OPTIMIZERS = {name: kind for name, kind in NAMES.items() if kind.steps}


@cache
def _default(name: str) -> Optimizer:
    """Return the optimizer of this name with its defaults: always the same object, so that the engine recognizes it."""
    return NAMES[name]()


def resolve_optimizer(optimizer: Any) -> Optimizer:
    """Return the optimizer as an object; a name means the optimizer with its defaults.

    Raises
    ------
    TypeError, ValueError
        If it is neither an optimizer nor the name of one.
    """
    if type(optimizer) in _KINDS:
        return optimizer
    if isinstance(optimizer, Optimizer) and isinstance(optimizer, NAMES.get(getattr(optimizer, "kind", ""), ())):
        return optimizer
    if isinstance(optimizer, str):
        return _default(choose("optimizer", optimizer, tuple(NAMES)))
    raise TypeError(
        f"optimizer must be an optimizer, such as nf.SGD(0.1), or one of {', '.join(map(repr, NAMES))}, "
        f"got {describe(optimizer)}"
    )
