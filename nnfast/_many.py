"""Training of many networks on the same data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nnfast._validation import UNSET, as_tuple, describe
from nnfast.metrics import MetricLike
from nnfast.optimizers import Optimizer
from nnfast.sequential import Sequential, network_of
from nnfast.training import Callback, Given, History

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from nnfast._typing import Data, Samples


def fit_many(
    networks: Sequence[Sequential],
    x: Samples,
    y: ArrayLike,
    /,
    *,
    epochs: int | Sequence[int] | None = None,
    steps: int | Sequence[int] | None = None,
    batch_size: int | Sequence[int] = 32,
    optimizer: str | Optimizer | Sequence[str | Optimizer] = "adam",
    rows: Sequence[ArrayLike | None] | None = None,
    sample_weight: ArrayLike | Sequence[ArrayLike | None] | None = None,
    validation_data: Data | None = None,
    validation_rows: Sequence[ArrayLike | None] | None = None,
    class_weight: Mapping[int, float] | str | Sequence[Mapping[int, float] | str | None] | None = None,
    metrics: Sequence[MetricLike] | None = None,
    shuffle: bool | Sequence[bool] = True,
    max_seconds: float | None = None,
    verbose: int = 1,
    callbacks: Sequence[Callable[[Sequential, History], Any] | Callback] = (),
) -> list[History]:
    """Train many networks in parallel on the same data: folds, seeds, hyperparameters, architectures.

    Each network is trained as by `Sequential.fit`, on one thread or more, with the same bits. `epochs`, `steps`,
    `batch_size`, `optimizer`, `shuffle`, `sample_weight` and `class_weight` are one for all networks, or a list or
    tuple with one for each; `rows` and `validation_rows` always have one for each. All networks share the data, which
    are not copied.

    Parameters
    ----------
    networks : sequence of Sequential
        Different objects, of any architectures. Each continues from its own parameters and optimizer state.
    x, y : array_like
        As for `Sequential.fit`, for all networks.
    epochs, steps, batch_size, shuffle
        As for `Sequential.fit`; or a list or tuple with one for each network.
    optimizer : str, Optimizer, or list of these
        As for `Sequential.fit`, except `LBFGS`. Networks may share one object, whose state is kept in each network.
    rows : sequence of array_like, optional
        For each network the rows to train on, as integers from 0 to n - 1 or as a boolean mask, or None for all rows.
        The network is trained as by ``net.fit(x[rows], y[rows])``; all rows of `x` must be finite. A row may occur
        more than once.
    sample_weight : array_like of shape (n,), or list of (array_like of shape (n,) or None), optional
        As for `Sequential.fit`: the weights of all rows of `x`.
    validation_data : (x, y) or (x, y, sample_weight), optional
        As for `Sequential.fit`, for all networks.
    validation_rows : sequence of array_like, optional
        Instead of `validation_data`, for each network the rows of `x` and `y` to validate on, in the form of `rows`, or
        None. They are weighted by `sample_weight` if it is given.
    class_weight : dict or "balanced", or list of (these or None), optional
        As for `Sequential.fit`. The classes of each network's own `rows` are balanced; in validation, classes have no
        weights.
    metrics : sequence of str, Metric or callable, optional
        As for `Sequential.fit`, for all networks.
    max_seconds : float, optional
        End the training after this many seconds, for all networks together, not counting the checks of the arguments.
        The networks share the time so that they advance evenly, by epochs. Each that has begun stops after the step
        during which the time is up, and does at least one. They begin in order, 16 for each thread at first and others
        as they end; those that have not begun by then are unchanged, and their histories are empty.
    verbose : {0, 1}
        1 shows the progress of all networks together on standard error if it takes longer than a second.
    callbacks : sequence of callable or Callback
        As for `Sequential.fit`: each is called for each network, as ``callback(net, history)``, in the thread that
        called `fit_many`. `Sequential.stop` ends the training of one network, now or before it has begun.

    Returns
    -------
    list of History
        One for each network, in the same order. After Ctrl-C and errors each network is as its last finished step left
        it.

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C.
    RuntimeError
        If a network is already being trained, in another thread or by a caller; nothing has changed then.
    TypeError, ValueError
        If an argument does not fit. All arguments of all networks are checked before any network changes; the message
        says which network.
    MemoryError
        If there is not enough memory. Networks that have not begun to train are unchanged.

    Warns
    -----
    RuntimeWarning, UserWarning
        As for `Sequential.fit`.

    Notes
    -----
    No more threads run than `get_num_threads` says. If there are fewer networks than threads, a network uses several,
    as many as pay. Networks with a loss of your own in Python are trained in turn by the thread that called `fit_many`.
    The more work there is between two calls of Python (validation and callbacks after each epoch), the better the
    threads are used.

    Examples
    --------
    Three learning rates, each on two folds:

    >>> import numpy as np
    >>> import nnfast as nf
    >>> x = np.random.default_rng(0).standard_normal((200, 2))
    >>> y = (x[:, 0] * x[:, 1] > 0).astype(int)
    >>> even, odd = np.arange(0, 200, 2), np.arange(1, 200, 2)
    >>> rates = [0.001, 0.01, 0.1]
    >>> networks = [
    ...     nf.Sequential([nf.Dense(16, "tanh"), nf.Dense(2, "softmax")], input_shape=2, seed=0) for _ in range(6)
    ... ]
    >>> histories = nf.fit_many(
    ...     networks, x, y, epochs=50, optimizer=[nf.Adam(rate) for rate in rates for _ in range(2)],
    ...     rows=[even, odd] * 3, validation_rows=[odd, even] * 3, verbose=0,
    ... )
    >>> accuracy = np.reshape([history["val_accuracy"][-1] for history in histories], (3, 2)).mean(axis=1)
    >>> rates[accuracy.argmax()]
    0.1
    """
    from nnfast.training import many

    owners = as_tuple("networks", networks, "networks")
    if not owners:
        raise ValueError("networks must not be empty")
    places: dict[int, int] = {}
    for i, net in enumerate(owners):
        if not isinstance(net, Sequential):
            raise TypeError(f"networks[{i}] must be a Sequential, got {describe(net)}")
        first = places.setdefault(id(net), i)
        if first < i:
            raise ValueError(
                f"networks must be different objects, but networks[{i}] is networks[{first}]: use net.copy()"
            )
    arguments = many.arguments_of_many(
        [network_of(net) for net in owners], Given(x, y, validation_data),
        rows=rows, validation_rows=validation_rows,
        each={
            "epochs": _unset(epochs), "steps": steps, "batch_size": batch_size,
            "optimizer": optimizer, "shuffle": shuffle, "sample_weight": sample_weight, "class_weight": class_weight,
        },
        shared={
            "gradient": "backpropagation", "metrics": metrics, "max_seconds": max_seconds, "verbose": verbose,
            "callbacks": callbacks,
        },
    )  # fmt: skip
    return many.fit_many(arguments, owners)


def _unset(epochs: Any) -> Any:
    """Return numbers of epochs in which the default stands for None."""
    if isinstance(epochs, (list, tuple)):
        return [_unset(each) for each in epochs]
    return UNSET if epochs is None else epochs
