"""A table model: a preparation, the networks behind it, and what their outputs mean."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnfast._threads import at_most
from nnfast._validation import as_array, as_weights, check_int, choose, describe
from nnfast.sequential import Sequential
from nnfast.tables import saving
from nnfast.tables.encoding import encoding_of
from nnfast.tables.frames import as_frame, missing_in
from nnfast.tables.linear import blend, fit_linear, joined, places_of
from nnfast.tables.preparation import Preparation
from nnfast.tables.targets import Classes, Numbers, Target, check_quantiles
from nnfast.tables.training import Recipe, Samples, Trained, calibrate, held_parts, interrupts_later, train

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from nnfast.files.c import CExport
    from nnfast.training import History

LINEAR_SECONDS = 0.25  # the part of `max_seconds` that fitting linear models may take
LEAST_SECONDS = 1e-3  # of the training of networks, however long that took
MOST_KEPT = 1000  # held rows that are kept for importances
LEAST_WEIGHT = 1e-30  # beside the largest one: less counts as 0
INTERRUPTED = "training was interrupted"  # how the warning begins
FEW_CLASSES = 20  # integers with at most so many different values are taken for classes


class Member(NamedTuple):
    """A network of a model, and how its training went.

    Attributes
    ----------
    net : Sequential
        From prepared rows to outputs; its first layer encodes the columns.
    factor : float
        By which the inputs of its softmax were multiplied: the inverse of the temperature.
    history : History or None
        Of its training; None if the model was read from a file.
    held_losses : list of float
        After each epoch, the loss of its averaged weights on the rows that it held back; empty if there are none.
    """

    net: Sequential
    factor: float = 1.0
    history: History | None = None
    held_losses: Sequence[float] = ()


class TableModel:
    """A model for tables that takes frames as they are: numbers, categories, dates, and missing values.

    `fit_table` trains one, and `nnfast.tables.load` reads one from a file; neither pandas nor scikit-learn is needed.

    Attributes
    ----------
    preparation : Preparation
        What was done to each column.
    target : Target
        What is predicted.
    members : tuple of Member
        The networks, whose outputs are averaged.
    linear : Sequential or None
        A linear model whose outputs, before the softmax, are added to those of each network; None if it has no share.
    linear_share : float
        Its share, from 0 to 1, by which its weights are multiplied already; those of the networks' last layers are
        multiplied by one less this share.
    held : Samples or None
        Some of the rows that no network of the first part was trained on; None after loading.
    held_scores : list of dict
        For each member its scores on the rows that it was not trained on.
    target_name : str or None
        The name of the column that is predicted, kept in files; None unless it is set.
    interrupted : bool
        Whether Ctrl-C ended its training; False after loading.
    """

    def __init__(
        self,
        preparation: Preparation,
        target: Target,
        members: Sequence[Member],
        linear: Sequential | None = None,
        linear_share: float = 0.0,
    ) -> None:
        self.preparation, self.target, self.members = preparation, target, tuple(members)
        self.linear, self.linear_share = linear, linear_share
        self.held: Samples | None = None
        self.held_scores: list[dict[str, float]] = []
        self.target_name: str | None = None
        self.interrupted = False

    @property
    def task(self) -> str:
        """What it does: ``"classification"`` or ``"regression"``."""
        return self.target.task

    @property
    def classes(self) -> np.ndarray | None:
        """The labels of the classes, None for a regression."""
        return self.target.classes if isinstance(self.target, Classes) else None

    def outputs(self, raw: np.ndarray) -> np.ndarray:
        """Return the average of the networks' outputs for prepared rows, as float64."""
        linear = None if self.linear is None else self.linear.predict(raw)
        total = self.member_outputs(self.members[0], raw, linear)
        for member in self.members[1:]:  # np.mean takes as long as several predictions of a row
            total += self.member_outputs(member, raw, linear)
        return total / len(self.members)

    def member_outputs(self, member: Member, raw: np.ndarray, linear: np.ndarray | None) -> np.ndarray:
        """Return the outputs of a network, together with those of the linear model, for prepared rows."""
        outputs = member.net.predict(raw)
        return outputs.astype(np.float64) if linear is None else self.target.added(outputs, linear)

    def response(self, raw: np.ndarray) -> np.ndarray:
        """Return probabilities, predictions or quantiles for prepared rows, of shape (n, outputs)."""
        return self.target.response(self.outputs(raw))

    def predict(self, X: Any) -> np.ndarray:
        """Return the predicted class or number for each row.

        Parameters
        ----------
        X : frame or array_like of shape (n, columns)
            Rows like those that the model was trained on.

        Returns
        -------
        ndarray of shape (n,)

        Raises
        ------
        TypeError, ValueError
            If `X` does not have the columns that the model was trained on.
        """
        return self.target.predicted(self.response(self.prepared(X)))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class for each row.

        Parameters
        ----------
        X : frame or array_like of shape (n, columns)
            Rows like those that the model was trained on.

        Returns
        -------
        ndarray of shape (n, classes)

        Raises
        ------
        AttributeError
            If the model predicts numbers.
        TypeError, ValueError
            If `X` does not have the columns that the model was trained on.
        """
        if self.classes is None:
            raise AttributeError("predict_proba needs classes, and this model predicts numbers: use predict")
        return self.response(self.prepared(X))

    def predict_quantiles(self, X: Any) -> np.ndarray:
        """Return the quantiles for each row, in increasing order.

        Parameters
        ----------
        X : frame or array_like of shape (n, columns)
            Rows like those that the model was trained on.

        Returns
        -------
        ndarray of shape (n, quantiles)

        Raises
        ------
        AttributeError
            If the model was not trained for quantiles.
        TypeError, ValueError
            If `X` does not have the columns that the model was trained on.
        """
        if not isinstance(self.target, Numbers) or not self.target.quantiles:
            raise AttributeError("predict_quantiles needs a model that was trained with quantiles=")
        return self.response(self.prepared(X))

    def prepared(self, X: Any) -> np.ndarray:
        """Return rows as the networks take them: float32, of shape (n, prepared columns)."""
        return self.preparation.transform(X)

    def importances(self, *, repeats: int = 3, seed: int = 0) -> np.ndarray:
        """Return how much worse the predictions of held rows become if a column is shuffled, as shares of the sum.

        Breiman, "Random forests" (2001). The measure is the log loss or the squared error, with quantiles that of the
        median.

        Parameters
        ----------
        repeats : int
            How often each column is shuffled.
        seed : int
            Determines the shuffling.

        Returns
        -------
        ndarray of shape (columns,)
            Not negative, with the sum 1, or all 0 if no column matters.

        Raises
        ------
        AttributeError
            If there are no held rows, as after loading.
        """
        check_int("repeats", repeats, 1)
        held = self.held
        if held is None:
            raise AttributeError(
                "importances need rows that were held back in training, which a file does not keep, and tables with "
                "fewer than 10 rows do not have"
            )
        random = np.random.default_rng(seed)
        before = self._error(held.raw, held)
        found: np.ndarray = np.zeros(len(self.preparation.columns))
        for i, places in enumerate(self.preparation.places()):
            for _ in range(repeats if len(places) else 0):
                raw = held.raw.copy()
                raw[:, places] = held.raw[random.permutation(len(raw))][:, places]
                found[i] += max(self._error(raw, held) - before, 0.0)
        return found / (found.sum() or 1.0)

    def _error(self, raw: np.ndarray, held: Samples) -> float:
        outputs = self.outputs(raw)
        if self.classes is not None:
            errors = -np.log(np.maximum(outputs[np.arange(len(raw)), held.values], 1e-12))
        else:
            errors = (self.target.predicted(outputs) - held.values[:, 0]) ** 2
        return float(np.average(errors, weights=held.weights))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file, which `nnfast.tables.load` reads; nothing in it is code.

        Written atomically, as by `Sequential.save`.

        Parameters
        ----------
        path : path
            Usually with the extension ``.npz``; no extension is added.

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError
            If classes or categories are neither text nor numbers.
        """
        networks = [(member.net, member.factor) for member in self.members]
        linear = None if self.linear is None else (self.linear, self.linear_share)
        saving.save(path, self.preparation, self.target, networks, linear, self.target_name)

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write the model to an ONNX file, with its preparation and all of its networks.

        Written atomically, as by `Sequential.save`; the onnx package is not needed.

        Parameters
        ----------
        path : path
            Usually with the extension ``.onnx``; no extension is added.

        Raises
        ------
        OSError
            If the file cannot be written.
        TypeError
            If `path` is not a path.
        ValueError
            If it would have more than 2 GB, or classes, categories or names cannot be written: text that UTF-8 cannot
            hold, or classes of several types.

        Notes
        -----
        The graph uses opset 17, and ``ai.onnx.ml`` 2 where there are categories. If all columns are numbers, it takes
        the tensor ``"input"`` of shape ``(batch, columns)``: all columns of the array that the model was trained on, or
        those of the table that the model uses (`preparation` tells), in their order. Otherwise it takes a tensor of
        shape ``(batch, 1)`` for each column that the model uses, under its name, or its number if there are no names.

        Numbers are float64; NaN is a missing value. Dates are seconds since 1970-01-01 UTC, also as float64, which
        holds them to within 0.2 µs. Categories are text: a number or a bool as Python's ``str`` writes it, a date as in
        ISO 8601. Empty text is a missing value, unless empty text is a category.

        It computes ``"label"`` of shape ``(batch,)`` and ``"probabilities"`` of shape ``(batch, classes)``, or
        ``"prediction"`` of shape ``(batch,)`` and, if the model has them, ``"quantiles"`` of shape
        ``(batch, quantiles)``. They differ from the model's by rounding. If an input has one of these names, that of
        the output ends in ``_2``.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> from nnfast.tables import fit_table
        >>> x = np.random.default_rng(0).uniform(size=(100, 2))
        >>> model = fit_table(x, x[:, 0] > x[:, 1], seed=0, verbose=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.to_onnx(os.path.join(folder, "model.onnx"))
        ...     os.listdir(folder)
        ['model.onnx']
        """
        from nnfast.tables.onnx import save  # few programs need it

        linear, *networks = self._copies()
        save(path, self.preparation.plan, self.target, networks, linear)

    def to_c(
        self, path: str | os.PathLike[str], *, prefix: str | None = None, dtype: Any = None, calibration: Any = None
    ) -> CExport:
        """Write the model as C, with its preparation and all of its networks: a source file and its header.

        The function ``void PREFIX_predict(const double *x, double *y)`` computes the probabilities of the classes, the
        prediction, or the quantiles for one row, as the model does up to rounding. The code is C99 and allocates no
        memory.

        Parameters
        ----------
        path : path
            ``"model.c"``, or without the extension: ``model.c`` and ``model.h`` are written, each atomically.
        prefix : str, optional
            The start of all public names; by default the name of the file.
        dtype : {"float32", "float64", "int8"}, optional
            The type of the numbers in the networks; ``"int8"`` as for `Sequential.to_c`.
        calibration : frame or array_like of shape (n, columns), optional
            For int8, which needs it: typical rows, such as a few hundred of the training data.

        Returns
        -------
        CExport
            As from `Sequential.to_c`; with int8, the ``difference`` is the greatest of those of the networks.

        Raises
        ------
        OSError
            If the files cannot be written.
        TypeError, ValueError
            If an argument has the wrong type or value, or a category has a zero byte in its text.

        Notes
        -----
        The header lists what the numbers of a row and of the outputs are. A row has all columns of the array that the
        model was trained on, or those of the table that the model uses, in their order. A date is given as seconds
        since 1970-01-01 UTC, a category as the number that ``double PREFIX_code(int input, const char *category)``
        returns for its text, which is that of `to_onnx`. NAN is a missing value.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> from nnfast.tables import Recipe, fit_table
        >>> x = np.random.default_rng(0).uniform(size=(100, 2))
        >>> model = fit_table(x, x[:, 0] > x[:, 1], recipe=Recipe(hidden=(16,)), seed=0, verbose=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = model.to_c(os.path.join(folder, "model.c"))
        ...     sorted(os.listdir(folder))
        ['model.c', 'model.h']
        >>> written.function
        'model_predict'
        """
        from nnfast.tables.c import save  # few programs need it

        def rows() -> np.ndarray:
            try:
                return self.prepared(calibration)
            except (TypeError, ValueError) as error:
                raise type(error)(f"calibration: {error}") from None

        plan, (linear, *networks) = self.preparation.plan, self._copies()
        given = None if calibration is None else rows
        return save(path, plan, self.target, networks, linear, prefix=prefix, dtype=dtype, calibration=given)

    def _copies(self) -> list[Any]:
        """Return copies of the linear model, or None, and of the networks: each between steps of training, if any."""
        return [None if self.linear is None else self.linear.copy(), *(member.net.copy() for member in self.members)]

    def to_network(self) -> Sequential:
        """Return the network behind the preparation, for exports other than `to_onnx` and `to_c`.

        It takes the rows that `prepared` returns. Its outputs are the model's probabilities, or its predictions in the
        unit of the target, but neither cut to the range of the targets in training nor, with quantiles, sorted. If a
        linear model has a share in them, the network has a residual layer, through which its outputs are added.

        Returns
        -------
        Sequential

        Raises
        ------
        ValueError
            If the model has several networks, or the targets are too large for float32.
        """
        if len(self.members) > 1:
            raise ValueError(f"the model has {len(self.members)} networks, where one is needed: train with n_members=1")
        net = self.members[0].net.copy() if self.linear is None else joined(self.members[0].net, self.linear)
        if isinstance(self.target, Numbers):
            for name, shift in zip(list(net.params)[-2:], (0.0, self.target.mean), strict=True):  # weights and biases
                array = net.params[name].astype(np.float64) * self.target.scale + shift
                if not (abs(array) <= np.finfo(np.float32).max).all():
                    raise ValueError(f"the targets are too large for float32: up to {self.target.high}")
                net.params[name][...] = array
        return net

    def __repr__(self) -> str:
        what = f"{self.target.units} classes" if self.classes is not None else "a number"
        n, columns = len(self.members), len(self.preparation.columns)
        more = "" if self.linear is None else " and a linear model"
        return f"TableModel({what} from {columns} columns, {n} network{'s' if n > 1 else ''}{more})"


def fit_table(
    X: Any,
    y: ArrayLike,
    /,
    *,
    task: str = "auto",
    n_members: int = 1,
    kinds: Mapping[Any, str] | None = None,
    quantiles: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    class_weight: Mapping[Any, float] | str | None = None,
    recipe: Recipe | None = None,
    max_seconds: float | None = None,
    n_threads: int | None = None,
    seed: int | np.random.Generator | None = None,
    verbose: int = 1,
) -> TableModel:
    """Train a model for a table.

    Parameters
    ----------
    X : frame or array_like of shape (n, columns)
        A frame of pandas, polars or PyArrow, a dict of columns, or an array: numbers, categories, dates, missing
        values.
    y : array_like of shape (n,)
        The class or the number to predict.
    task : {"auto", "classification", "regression"}
        ``"auto"`` takes text, bools, and up to 20 different integers for classes.
    n_members : int
        How many networks to train, which hold back different rows; their predictions are averaged.
    kinds : dict, optional
        Kinds of columns by name or position, where they are not as told: see `Preparation`.
    quantiles : sequence of float, optional
        For a regression: which quantiles to predict instead of the mean; 0.5 must be one of them.
    sample_weight : array_like of shape (n,), optional
        Not negative. A row of weight 0 counts as absent; only ratios of weights matter.
    class_weight : dict of label to float, or "balanced", optional
        Weights of the classes in training and in the choice of the epoch, above 0; 1 if not given.
    recipe : Recipe, optional
        How networks are built and trained.
    max_seconds : float, optional
        The longest time to train for.
    n_threads : int, optional
        The maximum number of threads; results do not depend on it.
    seed : int, numpy.random.Generator or None
        Determines held rows, initial weights and the order of rows.
    verbose : {0, 1}
        1 shows the progress if it takes longer than a second.

    Returns
    -------
    TableModel

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, shape or value.
    KeyboardInterrupt
        On Ctrl-C before a network has finished an epoch.

    Warns
    -----
    UserWarning
        On Ctrl-C later: the model is returned as far as it has learned, without networks that have not finished an
        epoch.

    Examples
    --------
    >>> import numpy as np
    >>> from nnfast.tables import fit_table
    >>> random = np.random.default_rng(0)
    >>> size, colour = random.uniform(size=200), random.choice(["red", "blue"], size=200)
    >>> price = np.where(colour == "red", 3 * size, 1 - size)
    >>> model = fit_table({"size": size, "colour": colour}, price, seed=0, verbose=0)
    >>> model.predict({"size": [0.5], "colour": ["red"]}).round(1)
    array([1.5])
    """
    recipe = (recipe or Recipe()).checked()
    check_int("n_members", n_members, 1, saving.MAX_NETWORKS)
    frame = as_frame(X)
    labels = _vector("y", y, frame.n_rows)
    weights = as_weights(sample_weight, frame.n_rows)
    if weights is not None:
        weights = np.ldexp(weights, -np.frexp(weights.max())[1])  # exactly, to at most 1
        used = weights > LEAST_WEIGHT
        if not used.all():
            frame, labels, weights = frame.chosen(used), labels[used], weights[used]
    target, values = _target(task, labels, weights, check_quantiles(quantiles))
    weights = _with_classes(weights, class_weight, target, values)
    if weights is not None:
        weights /= weights.mean()  # the size of all together means nothing
    random = np.random.default_rng(seed)
    recipe = recipe.for_rows(frame.n_rows)
    preparation = Preparation(kinds=kinds).fit(frame)
    samples = Samples(preparation.transform(frame), values, weights)
    parts = held_parts(values if isinstance(target, Classes) else None, frame.n_rows, recipe.held, n_members, random)
    networks = [
        recipe.network([encoding_of(preparation)], samples.raw.shape[1], target, int(random.integers(2**31)))
        for _ in range(n_members)
    ]
    start = perf_counter()
    fitted: dict[int, Sequential] = {}  # by the rows that are held back
    encoding = encoding_of(preparation)
    if recipe.linear and len(parts[0]) and len(places_of(encoding)):
        limit = None if max_seconds is None else max_seconds * LINEAR_SECONDS / n_members
        everything = np.arange(frame.n_rows)
        with at_most(n_threads):
            for part in parts:
                rows = np.setdiff1d(everything, part, assume_unique=True)
                fitted[id(part)] = fit_linear(encoding, samples, rows, target, limit)
    if max_seconds is not None:
        max_seconds = max(max_seconds - (perf_counter() - start), LEAST_SECONDS)
    trained, interrupted = train(
        networks, samples, parts, recipe, max_seconds=max_seconds, n_threads=n_threads, verbose=verbose
    )
    with interrupts_later() as later, at_most(n_threads):
        model = _finished(preparation, target, trained, fitted, samples)
    model.interrupted = interrupted or bool(later)
    if model.interrupted:
        epochs = max(len(each.history["loss"]) for each in trained)
        lost = n_members - len(trained)
        without = f", without {lost} network{'s' * (lost > 1)} that had not finished one" if lost else ""
        after = f"{epochs} epoch{'s' * (epochs > 1)}"
        warnings.warn(f"{INTERRUPTED} after {after}: the model is what was learned until then{without}", stacklevel=2)
    return model


def _finished(
    preparation: Preparation,
    target: Target,
    trained: Sequence[Trained],
    fitted: Mapping[int, Sequential],
    samples: Samples,
) -> TableModel:
    """Return the model of trained networks: with temperatures, the linear model, and scores on held rows."""
    classes = isinstance(target, Classes)
    factors = [calibrate(each.net, samples.chosen(each.part)) if classes else 1.0 for each in trained]
    beside = [fitted[id(each.part)] for each in trained] if fitted else []
    linear, share = blend(trained, beside, samples, target)
    members = [
        Member(each.net, factor * (1 - share), each.history, each.held_losses)
        for each, factor in zip(trained, factors, strict=True)
    ]
    model = TableModel(preparation, target, members, linear, share)
    _describe_held(model, samples, [each.part for each in trained])
    return model


def _vector(name: str, values: Any, n: int) -> np.ndarray:
    """Return targets as a vector of n values."""
    vector = np.asarray(values)
    if vector.ndim == 2 and vector.shape[1] == 1:
        vector = vector[:, 0]
    if vector.shape != (n,):
        raise ValueError(f"{name} must have shape ({n},), one value for each row of X, got shape {vector.shape}")
    return vector


def _target(
    task: str, y: np.ndarray, weights: np.ndarray | None, quantiles: tuple[float, ...]
) -> tuple[Target, np.ndarray]:
    """Return what is to be predicted, and targets as the networks take them."""
    choose("task", task, ("auto", "classification", "regression"))
    if task == "auto":
        task = "classification" if looks_like_classes(y) and not quantiles else "regression"
    if task == "classification":
        if quantiles:
            raise ValueError("quantiles need task='regression', got task='classification'")
        if n_missing := int(missing_in(y).sum()):
            raise ValueError(f"y must have a class for each row, and misses {n_missing}")
        classes = Classes.of(y)
        return classes, classes.values(y)
    if y.dtype.kind in "UST":
        raise ValueError(f"y must be of numbers for task='regression', got {describe(y)}")
    y = as_array("y", y, np.float64, finite=True)
    numbers = Numbers.of(y, quantiles, weights)
    return numbers, numbers.values(y)


def looks_like_classes(y: np.ndarray) -> bool:
    """Return whether ``task="auto"`` takes targets for classes."""
    if y.dtype.kind in "iu":
        return len(np.unique(y)) <= FEW_CLASSES
    return y.dtype.kind not in "f"


def _with_classes(
    weights: np.ndarray | None, class_weight: Any, target: Target, codes: np.ndarray
) -> np.ndarray | None:
    """Return the weights of rows times those of their classes."""
    if class_weight is None:
        return weights
    if not isinstance(target, Classes):
        raise ValueError("class_weight needs classes, and y has numbers: use sample_weight")
    if isinstance(class_weight, str):
        choose("class_weight", class_weight, ("balanced",))
        counts = np.bincount(codes, weights, target.units)
        of_class = counts.sum() / (target.units * np.maximum(counts, np.finfo(float).tiny))
    else:
        labels = target.classes.tolist()
        unknown = [label for label in class_weight if label not in labels]
        if unknown:
            raise ValueError(f"class_weight must be of classes in y, got {describe(unknown[0])}; they are {labels}")
        of_class = np.array([class_weight.get(label, 1.0) for label in labels], np.float64)
        if not ((of_class >= LEAST_WEIGHT) & (of_class <= 1 / LEAST_WEIGHT)).all():
            raise ValueError(f"class_weight must have weights above 0, from 1e-30 to 1e30, got {class_weight}")
    return of_class[codes] if weights is None else weights * of_class[codes]


def _describe_held(model: TableModel, samples: Samples, parts: Sequence[np.ndarray]) -> None:
    """Set the scores on held rows, and keep some of the rows."""
    if not len(parts[0]):
        return
    for member, part in zip(model.members, parts, strict=True):
        held = samples.chosen(part)
        linear = None if model.linear is None else model.linear.predict(held.raw)
        model.held_scores.append(_scores(model.member_outputs(member, held.raw, linear), held, model.target))
    model.held = samples.chosen(parts[0][:: -(-len(parts[0]) // MOST_KEPT)])


def _scores(outputs: np.ndarray, held: Samples, target: Target) -> dict[str, float]:
    """Return the scores of outputs for rows."""
    if isinstance(target, Classes):
        right = outputs.argmax(axis=1) == held.values
        losses = target.losses(target.logits(outputs), held.values)
        pairs = (("accuracy", right), ("log_loss", losses))
        return {name: float(np.average(values, weights=held.weights)) for name, values in pairs}
    assert isinstance(target, Numbers)
    difference = target.predicted(outputs) - held.values[:, 0]
    squared, absolute = (float(np.average(errors, weights=held.weights)) for errors in (difference**2, abs(difference)))
    return {"root_mean_squared_error": squared**0.5 * target.scale, "mean_absolute_error": absolute * target.scale}


def load(path: str | os.PathLike[str]) -> TableModel:
    """Read a model that `TableModel.save` wrote.

    Reading a file runs no code, and uses memory in proportion to its size only.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    TableModel
        It predicts the same bits as the model that was saved.

    Raises
    ------
    OSError
        If the file cannot be read.
    LoadError
        If it is not a table model, is damaged, or was written by a newer version. It is a ValueError.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import nnfast.tables
    >>> x = np.random.default_rng(0).uniform(size=(100, 2))
    >>> model = nnfast.tables.fit_table(x, x[:, 0] > x[:, 1], seed=0, verbose=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.save(os.path.join(folder, "model.npz"))
    ...     again = nnfast.tables.load(os.path.join(folder, "model.npz"))
    >>> again.predict([[0.9, 0.1], [0.1, 0.9]])
    array([ True, False])
    """
    preparation, target, networks, linear, target_name = saving.load(path)
    members = [Member(net, factor) for net, factor in networks]
    model = TableModel(preparation, target, members, *(linear or ()))
    model.target_name = target_name
    return model
