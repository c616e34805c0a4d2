"""The training of an estimator's networks: what happens after each epoch, and when it ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import ceil, inf, isnan
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from nnfast import training
from nnfast._threads import at_most
from nnfast._validation import warn
from nnfast.optimizers import LBFGS, SGD, Adam
from nnfast.sequential import Sequential, network_of
from nnfast.sklearn.networks import Member
from nnfast.training import Callback, History
from nnfast.training.data import Data
from nnfast.training.many import arguments_of_many, fit_many

SLOWEST = 1e-6  # learning_rate="adaptive" ends at this rate
MANY = 2**62  # epochs


class Rows(NamedTuple):
    """Samples, targets as the networks take them, and weights or None."""

    X: Any
    targets: np.ndarray
    weights: np.ndarray | None

    @property
    def weight(self) -> float:
        """The sum of the weights."""
        return self.X.shape[0] if self.weights is None else float(self.weights.sum())


class Validation(NamedTuple):
    """Rows to validate on, and their labels or targets as the user gave them."""

    rows: Rows
    y: Any


class Trained(ABC):
    """An estimator as its training sees it: its parameters, and what it computes."""

    solver: str
    alpha: float
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    tol: float
    verbose: bool | int
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    scoring: Any
    max_seconds: float | None
    n_threads: int | None

    @property
    @abstractmethod
    def coefs_(self) -> list[np.ndarray]:
        """The weights of its layers."""

    @property
    @abstractmethod
    def validation_metric(self) -> tuple[str, ...] | None:
        """The metric of nnfast that is the default score; None if `score_on` computes it."""

    @property
    def training_metrics(self) -> tuple[str, ...]:
        """The metrics from which, with the loss, the loss to report is computed."""
        return ()

    @property
    def scale_of_loss(self) -> float:
        """The factor by which the loss without penalties is multiplied when it is reported."""
        return 1.0

    def constant_of_loss(self, rows: Rows) -> float:
        """Return the part of the loss that depends on the targets alone, which nnfast leaves out."""
        return 0.0

    @abstractmethod
    def batch_size_of(self, n: int) -> int:
        """Return the rows of a mini-batch."""

    @abstractmethod
    def score_on(self, validation: Validation) -> float:
        """Return what early stopping watches."""

    @abstractmethod
    def with_members(self, members: list[Member]) -> Trained:
        """Return a copy of the estimator that has these networks, not copies; its samples have no names."""

    @abstractmethod
    def attributes_with(self, members: list[Member]) -> dict[str, Any]:
        """Return the attributes that make an estimator with copies of these networks."""


class Fit:
    """One call of `fit` or `partial_fit`.

    Parameters
    ----------
    estimator : Trained
        Its parameters determine how to train.
    members : list of Member
        The networks.
    rows : Rows
        The rows to train on.
    validation : Validation or None
        The rows to validate on after each epoch.
    once : bool
        Whether to train for one epoch, as `partial_fit` does.
    observed : tuple of callable, or None
        Functions that return the user's samples and targets, if there are callbacks of scikit-learn to call.

    Attributes
    ----------
    context : object
        The context of these callbacks, to be set before `run` if there are any.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit. No network has changed.
    """

    def __init__(
        self,
        estimator: Trained,
        members: list[Member],
        rows: Rows,
        validation: Validation | None,
        *,
        once: bool,
        observed: tuple[Callable[[], Any], Callable[[], Any]] | None = None,
    ) -> None:
        self.estimator, self.members, self.rows, self.validation = estimator, members, rows, validation
        self.once, self.observed = once, observed
        self.context: Any = None
        self.n: int = rows.X.shape[0]
        self.minimizes = estimator.solver == "lbfgs"
        self.batch_size = self.n if self.minimizes else estimator.batch_size_of(self.n)
        self.stops_early = estimator.early_stopping and validation is not None and not self.minimizes
        self.schedule = estimator.learning_rate if estimator.solver == "sgd" else "constant"
        self.of = {id(member.net): member for member in members}
        self.stopped = False  # by a callback of scikit-learn
        self.steps = ceil(self.n / self.batch_size)
        self.constant = self.constant_of_epoch()
        self.seen_before = {id(member): member.samples for member in members}
        if validation is not None:
            self.check_validation(validation.rows)
        for member in members:
            self.begin(member)
        self.arguments = self.checked_arguments()

    def constant_of_epoch(self) -> float:
        """Return the part of the loss that depends on the targets alone.

        For weighted rows, scikit-learn averages it over mini-batches, which are only known here without shuffling.
        """
        rows, estimator = self.rows, self.estimator
        if rows.weights is None or estimator.shuffle or self.steps == 1:
            return estimator.constant_of_loss(rows)
        total = 0.0
        for start in range(0, self.n, self.batch_size):
            part = slice(start, start + self.batch_size)
            batch = Rows(rows.X[part], rows.targets[part], rows.weights[part])
            if batch.weight:
                total += estimator.constant_of_loss(batch) * len(batch.targets)
        return total / self.n

    # ---- what is checked before anything changes

    def check_validation(self, rows: Rows) -> None:
        """Raise ValueError if the rows to validate on do not fit the networks."""
        network = network_of(self.members[0].net)
        assert network.input_shape is not None
        try:
            Data.checked(network, *rows, network.input_shape)
        except ValueError as error:
            raise ValueError(f"in the rows to validate on: {error}") from None

    def checked_arguments(self) -> list[training.FitArguments]:
        """Return the arguments for training each network."""
        networks = [network_of(member.net) for member in self.members]
        given = training.Given(self.rows.X, self.rows.targets)
        if self.minimizes:
            options: dict[str, Any] = {"batch_size": 32, "shuffle": True}  # the defaults: LBFGS accepts no others
            options["warns_unconverged"] = False
        else:
            options = {"batch_size": self.batch_size, "shuffle": bool(self.estimator.shuffle)}
        options |= self.options
        each: dict[str, list[Any]] = {
            "optimizer": [member.optimizer for member in self.members],
            "patience": [None if self.looks or self.minimizes else self.patience(member) for member in self.members],
        }
        if len(networks) > 1 and not self.minimizes:
            return arguments_of_many(networks, given, rows=None, validation_rows=None, each=each, shared=options)
        return [
            training.FitArguments(network, given, optimizer=optimizer, patience=patience, **options)
            for network, optimizer, patience in zip(networks, *each.values(), strict=True)
        ]

    # ---- running

    def run(self) -> None:
        """Train all networks; Ctrl-C ends the training, as in scikit-learn, and leaves what is learned."""
        try:
            with at_most(self.estimator.n_threads):
                self.train()
        except KeyboardInterrupt:
            warn("Training interrupted by user.", UserWarning)
        if self.stops_early and not self.once:
            for member in self.members:
                member.restore()

    def begin(self, member: Member) -> None:
        """Prepare a network's record for this call; the network itself is not changed."""
        member.n_iter = 0
        member.converged = False
        if not self.stops_early:  # what was best before is out of date
            member.best, member.best_score = None, -inf
        if not self.once:
            member.no_improvement = 0
            if self.stops_early and member.loss_curve:  # the best weights so far are those it begins with
                member.best, member.best_score = None, self.score(member)[0]
                member.keep()
        estimator = self.estimator
        if self.minimizes:
            member.optimizer = LBFGS(gradient_tolerance=estimator.tol, max_evaluations=estimator.max_fun)
        elif estimator.solver == "adam":
            member.optimizer = Adam(
                estimator.learning_rate_init, beta1=estimator.beta_1, beta2=estimator.beta_2,
                epsilon=estimator.epsilon, corrected_epsilon=True,
            )  # fmt: skip
        else:
            member.optimizer = self.sgd(member)

    def sgd(self, member: Member) -> SGD:
        """Return SGD with the learning rate of the previous call, or with the first one."""
        estimator, before = self.estimator, member.rate
        goes_on = self.schedule == "invscaling" or (self.schedule == "adaptive" and self.once)
        rate = float(estimator.learning_rate_init) if before is None or not goes_on else before
        momentum = estimator.momentum
        return SGD(rate, momentum=momentum, nesterov=bool(estimator.nesterovs_momentum and momentum))

    def train(self) -> None:
        """Train all networks, and record what the training has left to record."""
        nets = [member.net for member in self.members]
        if not self.minimizes:
            for member in self.members:
                self.prepare_steps(member)
        earlier = [net.history for net in nets]
        try:
            if len(nets) > 1 and not self.minimizes:
                fit_many(self.arguments, nets)
            else:
                for arguments, net in zip(self.arguments, nets, strict=True):
                    training.fit(arguments, net)
        finally:  # after Ctrl-C too
            for member, before in zip(self.members, earlier, strict=True):
                history = member.net.history
                if history is not None and history is not before:
                    self.record(member, history)

    def prepare_steps(self, member: Member) -> None:
        """Set the learning rate of sgd, and begin a new epoch: the rows may differ from those of an unfinished one."""
        if isinstance(member.optimizer, SGD):
            assert isinstance(member.optimizer.learning_rate, float)
            self.set_rate(member, member.optimizer.learning_rate)
        place = network_of(member.net).built.place
        place.restore({"epochs": place.epochs})

    def record(self, member: Member, history: History) -> None:
        """Record what is only known when the training of a network has ended."""
        if not self.looks:
            self.look_back(member, history)
        if self.minimizes:
            member.converged = bool(history.converged)
        else:
            self.count_rows(member, history)

    @property
    def options(self) -> dict[str, Any]:
        """Arguments of a training with any solver."""
        callback = Tasks(self, *self.observed) if self.observed else self.after_epoch
        return {
            "epochs": 1 if self.once else self.estimator.max_iter,
            "steps": None,
            "sample_weight": self.rows.weights,
            "metrics": self.estimator.training_metrics,
            "max_seconds": self.estimator.max_seconds,
            "gradient": "backpropagation",
            "verbose": 0,
            "callbacks": [callback] if self.looks else [],
        }

    @property
    def looks(self) -> bool:
        """Whether Python must look at each epoch while the training runs; otherwise the engine decides when it ends."""
        return bool(
            self.validation is not None
            or self.observed
            or self.estimator.verbose
            or self.schedule != "constant"
            or (self.rows.weights is not None and not self.minimizes)
            or self.estimator.scale_of_loss != 1
        )

    def patience(self, member: Member) -> training.Patience:
        """Return when the engine must end the training of a network; its losses do not include the constant."""
        limit = min(self.estimator.n_iter_no_change, MANY)
        return training.Patience(
            self.estimator.tol, MANY if self.once else int(limit), member.best_loss - self.constant,
            member.no_improvement,
        )  # fmt: skip

    def look_back(self, member: Member, history: History) -> None:
        """Record the epochs of a training that the engine has ended, in the same way as while it runs."""
        losses = [loss + self.constant for loss in history["loss"]]
        member.n_iter += len(losses)
        member.loss_curve += losses
        if self.minimizes:
            member.best_loss = min([member.best_loss, *losses])
            return
        for loss in losses:
            self.count(member, loss)
        member.converged = member.no_improvement > self.estimator.n_iter_no_change

    def warn_unconverged(self) -> None:
        """Warn if the training has not converged."""
        if self.once:
            return
        estimator = self.estimator
        unfinished = [member for member in self.members if not member.converged and member.n_iter >= estimator.max_iter]
        if self.minimizes:
            unfinished = [member for member in self.members if not member.converged]
            if unfinished and not self.stopped and estimator.max_seconds is None:
                warn(
                    f"lbfgs failed to converge after {unfinished[0].n_iter} iteration(s), at most max_iter="
                    f"{estimator.max_iter} and max_fun={estimator.max_fun} evaluations. Increase them, or scale the "
                    "data as shown in https://scikit-learn.org/stable/modules/preprocessing.html",
                    ConvergenceWarning,
                )
        elif unfinished:
            warn(
                f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
            )

    # ---- after each epoch

    def after_epoch(self, net: Sequential, history: History) -> None:
        """Record an epoch, and stop the training of a network that no longer improves."""
        member = self.of[id(net)]
        member.n_iter += 1
        if not self.minimizes:
            self.count_rows(member, history)
        loss = self.loss_of_epoch(history)
        member.loss_curve.append(loss)
        if self.estimator.verbose:
            print(f"Iteration {member.n_iter}, loss = {loss:.8f}")
        if self.validation is not None:
            self.validate(member)
        if self.minimizes:
            member.best_loss = min(member.best_loss, loss)
            return
        self.count(member, loss)
        if self.schedule == "invscaling":
            rate = self.estimator.learning_rate_init / (member.samples + 1) ** self.estimator.power_t
            self.set_rate(member, rate)
        if member.no_improvement > self.estimator.n_iter_no_change:
            self.give_up(member)
        elif isnan(loss) and not self.once:  # nothing can be learned from here
            member.net.stop()

    def loss_of_epoch(self, history: History) -> float:
        """Return the loss of the last epoch as scikit-learn defines it."""
        loss = history["loss"][-1]
        scale = self.estimator.scale_of_loss
        if scale != 1:  # the penalty is not scaled
            data = history["mean_squared_error"][-1] / 2
            return loss - data / scale + data
        steps = history.step_loss
        if self.rows.weights is not None and not self.minimizes and len(steps) >= self.steps:
            rows = np.full(self.steps, self.batch_size)  # scikit-learn weights mini-batches by their rows alone
            rows[-1] = self.n - self.batch_size * (self.steps - 1)
            loss = float(np.dot(steps[-self.steps :], rows)) / self.n
        return loss + self.constant

    def count_rows(self, member: Member, history: History) -> None:
        """Count the rows that were visited, also in an epoch that time or Ctrl-C has cut short."""
        epochs, steps = divmod(len(history.step_loss), self.steps)
        member.samples = self.seen_before[id(member)] + epochs * self.n + steps * self.batch_size

    def count(self, member: Member, loss: float) -> None:
        """Count the epochs that did not improve by `tol`, as scikit-learn does; any improvement is a new best."""
        tol = self.estimator.tol
        if self.stops_early:
            score = member.validation_scores[-1]
            member.no_improvement = member.no_improvement + 1 if score < member.best_score + tol else 0
            if score > member.best_score:
                member.best_score = score
                member.keep()
        else:
            member.no_improvement = member.no_improvement + 1 if loss > member.best_loss - tol else 0
        member.best_loss = min(member.best_loss, loss)

    def give_up(self, member: Member) -> None:
        """End the training of a network, or continue at a smaller learning rate."""
        adapts = self.schedule == "adaptive"
        if adapts:
            assert member.rate is not None
            if member.rate > SLOWEST:
                self.set_rate(member, member.rate / 5)
                member.no_improvement = 0
                self.say(f"Setting learning rate to {member.rate:f}")
                return
        member.converged = True
        if not self.once:
            member.net.stop()
            self.say("Learning rate too small. Stopping." if adapts else "Stopping.")
        elif self.stops_early:
            member.restore()
            member.no_improvement = 0

    def say(self, what: str) -> None:
        """Print why the training ends, or continues at a smaller learning rate."""
        if self.estimator.verbose:
            watched = "Validation score" if self.stops_early else "Training loss"
            print(
                f"{watched} did not improve more than tol={self.estimator.tol:f} for "
                f"{self.estimator.n_iter_no_change} consecutive epochs. {what}"
            )

    def set_rate(self, member: Member, rate: float) -> None:
        """Set the learning rate of sgd. Unlike nnfast's, scikit-learn's velocity includes the rate: rescale."""
        optimizer = member.optimizer
        assert isinstance(optimizer, SGD)
        slot = network_of(member.net).built.slot
        if member.rate not in (None, rate) and slot.kind == "sgd" and slot.moments[0] is not None:
            slot.moments[0] *= member.rate / rate
        optimizer.learning_rate = member.rate = rate

    # ---- validation

    def validate(self, member: Member) -> None:
        """Record the score and the loss on the validation rows."""
        score, loss = self.score(member)
        member.validation_scores.append(score)
        member.validation_losses.append(loss)
        if self.estimator.verbose:
            print(f"Validation score: {score:f}")

    def score(self, member: Member) -> tuple[float, float]:
        """Return the score and the loss, without penalties, on the validation rows."""
        assert self.validation is not None
        rows, view = self.validation.rows, self.estimator.with_members([member])
        metric = view.validation_metric if view.scoring is None else None
        found = member.net.evaluate(rows.X, rows.targets, sample_weight=rows.weights, metrics=metric or ())
        penalties = sum(float(np.vdot(W, W)) for W in view.coefs_) * view.alpha / 2 / rows.weight if view.alpha else 0.0
        loss = (found["loss"] - penalties) * view.scale_of_loss + view.constant_of_loss(rows)
        if view.scoring == "loss":
            return -loss, loss
        if metric:
            return found[metric[0]], loss
        return view.score_on(self.validation), loss


class Tasks(Callback):
    """Tells scikit-learn's callbacks of each epoch.

    Parameters
    ----------
    fit : Fit
        The training.
    X, y : callable
        Return the samples and targets, as the user gave them.
    """

    def __init__(self, fit: Fit, X: Callable[[], Any], y: Callable[[], Any]) -> None:
        self.fit, self.X, self.y = fit, X, y
        self.networks: dict[int, Any] = {}  # the tasks of networks, if there are several
        self.epochs: dict[int, Any] = {}

    def arguments(self, net: Sequential) -> dict[str, Any]:
        """Return what the hooks of a callback may ask for."""
        fit = self.fit
        rows = fit.rows

        def attributes() -> dict[str, Any]:
            return fit.estimator.attributes_with([fit.of[id(net)]])

        return {
            "estimator": fit.estimator,
            "X": self.X,
            "y": self.y,
            "metadata": None if rows.weights is None else {"sample_weight": rows.weights},
            "reconstruction_attributes": attributes,
        }

    def on_train_begin(self, net: Sequential, history: History) -> None:
        """Begin the task of a network, if there are several."""
        fit = self.fit
        if len(fit.members) == 1:
            self.networks[id(net)] = fit.context
            return
        number = [id(member.net) for member in fit.members].index(id(net))
        context = fit.context.subcontext(
            task_name="network", task_id=number, max_subtasks=fit.estimator.max_iter, sequential_subtasks=True
        )
        self.networks[id(net)] = context.call_on_fit_task_begin(**self.arguments(net))

    def on_epoch_begin(self, net: Sequential, history: History) -> None:
        """Begin the task of an epoch."""
        context = self.networks[id(net)].subcontext(task_name="epoch")
        self.epochs[id(net)] = context.call_on_fit_task_begin(**self.arguments(net))

    def on_epoch_end(self, net: Sequential, history: History) -> None:
        """End the task of an epoch, and the training if a callback asks for it."""
        self.fit.after_epoch(net, history)
        if self.epochs.pop(id(net)).call_on_fit_task_end(**self.arguments(net)):
            self.fit.stopped = True
            net.stop()

    def on_train_end(self, net: Sequential, history: History) -> None:
        """End the task of a network."""
        if len(self.fit.members) > 1:
            self.networks[id(net)].call_on_fit_task_end(**self.arguments(net))
