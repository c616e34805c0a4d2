"""The network for users: a chain of layers, compiled to a program when its input shape is known."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from math import isfinite, isnan, prod
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from nnfast._network import ArrayViews, Network, checked_shape, paths, predicted, views
from nnfast._samples import share_memory
from nnfast._threads import allowed_threads, get_num_threads
from nnfast._transfer import set_trainable, with_last
from nnfast._validation import (
    UNSET,
    Unset,
    as_array,
    as_weights,
    check_bool,
    check_float,
    check_out,
    check_verbose,
    ignore_float_errors,
    warn,
)
from nnfast.engine.program import aligned_zeros
from nnfast.files import state
from nnfast.gradients.network import INPUT, chosen_names, slopes
from nnfast.layers import Dense, Layer, walk
from nnfast.losses import Loss
from nnfast.metrics import ACCURACY, MetricLike, MetricSet
from nnfast.optimizers import Optimizer, rate_at, resolve_optimizer

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator
    from numpy.typing import ArrayLike

    from nnfast._typing import Data, Samples
    from nnfast.files.c import CExport
    from nnfast.gradients.checking import GradientReport
    from nnfast.predictor import Predictor
    from nnfast.training import Callback, History


class Sequential:
    """A feed-forward network: a chain of layers.

    Parameters
    ----------
    layers : sequence of Layer
        From the input to the output: `Dense`, `Activation`, `Dropout`, `BatchNorm`, `Reshape`, ...; at most 10,000,
        including those within residual layers.
    input_shape : int or tuple of int, optional
        The shape of one sample, such as ``(28, 28)``. By default it is taken from the first `fit`.
    loss : str, Loss or callable, optional
        A name such as ``"cross_entropy"`` or ``"mean_squared_error"``, or an object with parameters from
        `nnfast.losses`, such as ``nf.losses.Quantile([0.1, 0.5, 0.9])``; `nnfast.losses` lists all. A function is a
        loss of your own: ``f(outputs, targets)`` that returns ``(loss, gradient)``, or a compiled function; see
        `nnfast.losses.Custom`. By default it depends on the last activation: cross entropy for softmax, binary cross
        entropy for sigmoid, the mean squared error for any other.
    dtype : {"float32", "float64"}
        The dtype of all parameters and all arithmetic.
    seed : int, numpy.random.Generator or None
        Determines the initial values, the shuffling and the noise. None uses fresh entropy.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, or the loss does not fit the output layer.
    MemoryError
        If there is not enough memory for the parameters.

    Notes
    -----
    A network may be used by many threads. One call at a time trains it: `fit`, `train_step`, ``forward(x,
    training=True)``, `backward`, `update`, `reset_optimizer`, `freeze`, `unfreeze` and `build` raise RuntimeError while
    another is running. `copy`, `save`, `averaged`, `with_last`, `numerical_gradient`, `check_gradient`, pickling and
    `os.fork` wait for the step that is running (with L-BFGS, the iteration), and use the network as that step leaves
    it; callbacks of `fit` run between steps. `predict`, `activations`, `jacobian`, `loss`, `accuracy`, `gradient` and
    the arrays in `params` do not wait: while another thread trains the network, they may see part of a step. In a
    forked process no other thread continues, so the network can be trained there.

    Examples
    --------
    >>> import numpy as np
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(8, activation="tanh"), nf.Dense(2, activation="softmax")], input_shape=2, seed=0)
    >>> x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    >>> history = net.fit(x, y, steps=500, batch_size=4, optimizer=nf.Adam(0.01), verbose=0)
    >>> net.predict_class(x)
    array([0, 1, 1, 0])
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        input_shape: int | Sequence[int] | None = None,
        loss: str | Loss | Callable[..., Any] | None = None,
        dtype: Any = "float32",
        seed: int | Generator | None = None,
    ) -> None:
        self._network = Network(layers, input_shape, loss, dtype, seed)

    # ---- building

    def build(self, input_shape: int | Sequence[int]) -> None:
        """Set the shape of a sample, allocate the parameters and set their initial values.

        The constructor calls it if `input_shape` is given, otherwise the first `fit` does.

        Parameters
        ----------
        input_shape : int or sequence of int
            The shape of one sample.

        Raises
        ------
        RuntimeError
            If the network is already built, or another thread is building it.
        TypeError, ValueError
            If the shape does not consist of positive integers, or an initial array does not fit it.
        MemoryError
            If there is not enough memory for the parameters.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3)], seed=0)
        >>> net.build(4)
        >>> net.params["W1"].shape
        (4, 3)
        """
        network = self._network
        with network.guard:
            if network.program is not None:
                raise RuntimeError(f"the network is already built, for input_shape {network.input_shape}")
            network.build(checked_shape(input_shape))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, from the input to the output."""
        return self._network.layers

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of one sample's output."""
        return self._network.output_shape

    @property
    def dtype(self) -> np.dtype:
        """The dtype of all parameters and all arithmetic."""
        return self._network.dtype

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of one sample; None if it is not known yet."""
        return self._network.input_shape

    @property
    def history(self) -> History | None:
        """What the last `fit` recorded; None if there was none."""
        return self._network.history

    @property
    def epochs_trained(self) -> int:
        """The number of epochs on mini-batches that all calls of `fit` have completed; saved with the network."""
        program = self._network.program
        return 0 if program is None else program.place.epochs

    @property
    def loss_name(self) -> str:
        """The name of the loss."""
        return self._network.output_loss.name

    @property
    def loss_function(self) -> Loss:
        """The loss, as an object of `nnfast.losses` with its parameters."""
        return self._network.output_loss.loss

    @property
    def n_parameters(self) -> int:
        """The number of parameters."""
        return len(self._network.built.parameters)

    # ---- arrays

    @property
    def params(self) -> ArrayViews:
        """The parameters by name: writable views; assignment copies into them."""
        return self._network.params

    @property
    def flat_params(self) -> np.ndarray:
        """All parameters as one vector: a view."""
        return self._network.built.parameters[:]

    @property
    def grads(self) -> ArrayViews:
        """The gradients by name: views, valid after `backward`, undefined after `fit` and `train_step`."""
        return self._network.named(self._network.built.gradients)

    @property
    def flat_grads(self) -> np.ndarray:
        """All gradients as one vector: a view, valid like `grads`."""
        return self._network.built.gradients[:]

    @property
    def statistics(self) -> ArrayViews:
        """Running means and variances of batch norms by name (``"mean1"``, ``"variance1"``, ...): writable views."""
        return self._network.statistics

    # ---- running

    def predict(self, x: Samples, /, *, out: np.ndarray | None = None) -> np.ndarray:
        """Compute the network's outputs.

        Parameters
        ----------
        x : array_like of shape (n, *input_shape)
            Samples, as for `fit`; they need not be finite.
        out : ndarray of shape (n, *output_shape), optional
            Where to write, of the network's dtype and C-contiguous; it must overlap neither `x` nor the parameters.

        Returns
        -------
        ndarray of shape (n, *output_shape)
            Probabilities, for a network that ends in softmax or sigmoid. A row's bits do not depend on the other rows.

        Raises
        ------
        RuntimeError
            If the network is not built.
        TypeError, ValueError
            If `x` or `out` does not fit.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> net.predict([[1.0, 2.0], [3.0, 4.0]]).round(4)
        array([[0.3333, 0.3333, 0.3333],
               [0.3333, 0.3333, 0.3333]], dtype=float32)
        """
        network = self._network
        if network.row_program is not None:
            result = network.row_program.predict_rows(x, out, *allowed_threads())
            if result is not None:
                return result
        program = network.built
        rows = network.rows_in_place(x)
        shape = (len(rows), *network.output_shape)
        if out is None:
            out = np.empty(shape, network.dtype)
        else:
            check_out("out", out, shape, network.dtype)
            if not out.flags.carray:
                raise ValueError("out must be C-contiguous and aligned")
            if share_memory(rows, out):
                raise ValueError("out must not overlap x")
            if np.may_share_memory(out, program.parameters):
                raise ValueError("out must not overlap the network's parameters")
        if len(rows):
            program.predict(rows, out.reshape(len(rows), network.units), *allowed_threads())
        return out

    def predict_one(self, row: ArrayLike, /, *, out: np.ndarray | None = None) -> np.ndarray:
        """Compute the outputs for one sample; with `out`, without allocating anything.

        Parameters
        ----------
        row : array_like of the input shape
            One sample.
        out : ndarray of the output shape, optional
            Where to write, of the network's dtype and C-contiguous; it must overlap neither `row` nor the parameters.

        Returns
        -------
        ndarray of the output shape
            The same bits that `predict` gives for this row in any batch.

        Raises
        ------
        RuntimeError
            If the network is not built.
        TypeError, ValueError
            If `row` or `out` does not fit.

        Examples
        --------
        >>> import numpy as np
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> out = np.empty(3, np.float32)
        >>> net.predict_one(np.ones(2, np.float32), out=out).round(4)
        array([0.3333, 0.3333, 0.3333], dtype=float32)
        """
        program = self._network.row_program
        if program is not None:
            if out is None:
                result = program.predict_row(row)
                if result is not None:
                    return result
            elif program.predict_one(row, out):
                return out
        network = self._network
        return predicted(network.built, row, out, network.built_shape, network.output_shape)

    def activations(self, x: Samples, /, layer: int | str) -> np.ndarray:
        """Compute the outputs of one layer, as in `predict`.

        Parameters
        ----------
        x : array_like of shape (n, *input_shape)
            Samples.
        layer : int or str
            The index of a layer, such as 0 or -2; or a path, such as ``"2.0"`` for the first layer within the residual
            layer 2.

        Returns
        -------
        ndarray of shape (n, *shape)
            After the layer's activation; for a residual layer, its sum. A new array. A row's bits do not depend on the
            other rows, and those of the last layer are those of `predict`.

        Raises
        ------
        RuntimeError
            If the network is not built.
        TypeError, ValueError
            If `x` does not fit, or there is no such layer.

        Notes
        -----
        As in `predict`, dropout and noise do nothing, and batch norms use their running statistics.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(2, "relu", initializer=[[1, -1]]), nf.Dense(1)], input_shape=1, seed=0)
        >>> net.activations([[1.0], [-2.0]], 0)
        array([[1., 0.],
               [0., 2.]], dtype=float32)
        """
        network = self._network
        program = network.built
        stage, shape = network.ends[network.path_of("layer", layer)]
        rows = network.rows(x)
        if stage < 0:  # it only reshapes the input
            return rows.reshape(len(rows), *shape).copy()
        out = np.empty((len(rows), prod(shape)), network.dtype)
        if len(rows):
            program.predict_stage(rows, out, stage, *allowed_threads())
        return out.reshape(len(rows), *shape)

    def predict_class(self, x: Samples, /) -> np.ndarray:
        """Predict the class of each sample.

        Parameters
        ----------
        x : array_like of shape (n, *input_shape)
            As for `predict`.

        Returns
        -------
        ndarray of int64
            Of shape (n,): the index of the largest output or, for one output, whether it is above one half (with loss
            'hinge', above zero). Several sigmoid, step or hinge outputs are separate labels: 0 or 1 each, of shape
            (n, outputs). Where outputs differ by less than their rounding, the inputs of the last activation decide, as
            in `accuracy`.

        Raises
        ------
        RuntimeError
            If the network is not built.
        TypeError, ValueError
            If `x` does not fit, the outputs are not classes, or outputs are NaN; the message says in which rows.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> net.params["b1"] = [0.0, 0.0, 1.0]
        >>> net.predict_class([[1.0, 2.0], [3.0, 4.0]])
        array([2, 2])
        """
        network = self._network
        program = network.built
        rows = network.rows_in_place(x)
        answers = network.output_loss.answers
        if answers is None:
            raise ValueError(
                "predict_class needs an output layer with activation 'softmax', 'sigmoid' or 'step', or loss 'hinge', "
                f"got {network.output_loss.activation!r}"
            )
        outputs = np.empty((len(rows), network.units), network.dtype)
        if len(rows):
            program.predict(rows, outputs, *allowed_threads(), fused=True)
        network.check_answers(outputs, rows)
        if answers == "classes":
            return outputs.argmax(axis=1)
        classes = (outputs > answers).astype(np.int64)
        return classes[:, 0] if classes.shape[1] == 1 else classes.reshape(len(rows), *network.output_shape)

    def loss(
        self, x: Samples, y: ArrayLike, /, *, sample_weight: ArrayLike | None = None, training: bool = False
    ) -> float:
        """Compute the loss over a data set.

        Parameters
        ----------
        x : array_like of shape (n, *input_shape)
            As for `predict`.
        y : array_like
            Labels of shape (n,), or targets of shape (n, *output_shape); for one output also (n,).
        sample_weight : array_like of shape (n,), optional
            The weight of each row, not negative: a row of weight 2 counts as two rows, a row of weight 0 not at all
            (except in the statistics of a batch norm, which count each row once). Averages are weighted.
        training : bool
            Whether to compute as in the next step of training: with its dropout and noise, and with the statistics of
            the batch in batch norms. Nothing is changed.

        Returns
        -------
        float
            The average by which the loss is defined, plus the penalties of layers with `l1` or `l2`.

        Raises
        ------
        RuntimeError
            If the network is not built.
        TypeError, ValueError
            If `x` or `y` does not fit.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> round(net.loss([[1.0, 2.0]], [0]), 4)  # log 3, as nothing is learned yet
        1.0986
        """
        network = self._network
        rows, targets = network.data(x, y)
        weights = as_weights(sample_weight, len(rows))
        if not network.in_training(training, len(rows)):
            return network.built.evaluate(rows, targets, weights, (), *allowed_threads())[0]
        return network.built.training_loss(rows, targets, weights, (), get_num_threads())[0]

    def evaluate(
        self,
        x: Samples,
        y: ArrayLike,
        /,
        *,
        metrics: Sequence[MetricLike] | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> dict[str, float]:
        """Compute the loss and metrics over a data set, in one pass.

        Parameters
        ----------
        x, y, sample_weight : array_like
            As for `loss`.
        metrics : sequence of str, Metric or callable, optional
            By name, as objects of `nnfast.metrics`, or as functions of targets and outputs (see
            `nnfast.metrics.FunctionMetric`). By default the accuracy, if the outputs and targets are those of a
            classification. The names are:

            - for classes or binary outputs ``"accuracy"``, ``"balanced_accuracy"``, ``"precision"``, ``"recall"``,
              ``"f1"``, ``"roc_auc"`` and ``"log_loss"``, where ``"f1_macro"`` and others say how classes are averaged
              (see `nnfast.metrics.Precision`), and ``"f1_by_class"`` gives one value for each class;
            - for classes ``"top_5_accuracy"`` (with any number); for several binary outputs ``"subset_accuracy"``;
            - for regression ``"mean_absolute_error"``, ``"mean_squared_error"``, ``"root_mean_squared_error"`` and
              ``"r2"``.

        Returns
        -------
        dict
            ``"loss"``, and the metrics by name; of a metric by class, ``"f1_class_0"`` and so on.

        Raises
        ------
        RuntimeError
            If the network is not built.
        TypeError, ValueError
            If `x` or `y` does not fit, or a metric cannot be computed from them.

        Warns
        -----
        UserWarning
            As for `accuracy`.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=[[0, 1, 2]])], input_shape=1, seed=0)
        >>> values = net.evaluate([[1.0], [2.0]], [2, 1], metrics=["accuracy", "top_2_accuracy"])
        >>> values["accuracy"], values["top_2_accuracy"]
        (0.5, 1.0)
        """
        network = self._network
        rows, targets = network.data(x, y)
        weights = as_weights(sample_weight, len(rows))
        chosen = MetricSet.chosen(metrics, network.output_loss, targets, weighted=weights is not None)
        network.warn_of_one_hot(targets, chosen)
        return network.evaluate(rows, targets, weights, chosen)

    def accuracy(self, x: Samples, y: ArrayLike, /, *, sample_weight: ArrayLike | None = None) -> float:
        """Compute the fraction of correct predictions.

        Parameters
        ----------
        x, y, sample_weight : array_like
            As for `loss`.

        Returns
        -------
        float
            Of rows, if the largest output is the prediction; of elements, if each output predicts 0 or 1.

        Raises
        ------
        RuntimeError
            If the network is not built.
        TypeError, ValueError
            If `x` or `y` does not fit, they are not those of a classification, or outputs are NaN; the message says in
            which rows.

        Warns
        -----
        UserWarning
            If each output is counted separately, but the targets are mutually exclusive classes: then most outputs are
            correct whatever the network has learned.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> net.accuracy([[1.0, 2.0], [3.0, 4.0]], [0, 1])
        0.5
        """
        network = self._network
        rows, targets = network.data(x, y)
        weights = as_weights(sample_weight, len(rows))
        ACCURACY.check(network.output_loss, targets)
        metrics = MetricSet((ACCURACY,), network.output_loss)
        values = network.evaluate(rows, targets, weights, metrics)
        if isnan(values["loss"]):
            outputs = np.empty((len(rows), network.units), network.dtype)
            network.built.predict(rows, outputs, *allowed_threads(), fused=True)
            if weights is not None:  # rows of weight zero need no answer
                outputs[weights == 0] = 0
            network.check_answers(outputs, rows)
        network.warn_of_one_hot(targets, metrics)
        return values["accuracy"]

    def gradient(
        self,
        x: Samples,
        y: ArrayLike,
        /,
        *,
        wrt: str | Sequence[str] | None = None,
        sample_weight: ArrayLike | None = None,
        training: bool = False,
    ) -> ArrayViews:
        """Compute the gradient of the loss, by backpropagation.

        Parameters
        ----------
        x, y : array_like
            As for `loss`.
        wrt : str or sequence of str, optional
            With respect to which arrays: names or paths as in `params`, and ``"x"`` for the input. By default all
            parameters.
        sample_weight : array_like of shape (n,), optional
            As for `loss`.
        training : bool
            As for `loss`: False gives the gradient of what `loss` returns, True the one that a step of `fit` follows.

        Returns
        -------
        Mapping of str to ndarray
            By name, as in `params`; new arrays.

        Raises
        ------
        RuntimeError
            If the network is not built.
        TypeError, ValueError
            If `x`, `y` or `wrt` does not fit.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> net.gradient([[1.0, 2.0]], [0])["b1"].round(4)
        array([-0.6667,  0.3333,  0.3333], dtype=float32)
        """
        network = self._network
        names = chosen_names(network, wrt)
        rows, targets = network.batch(x, y)
        weights = as_weights(sample_weight, len(rows))
        vector = aligned_zeros(self.n_parameters, network.dtype)
        gx = np.empty(rows.shape, network.dtype) if INPUT in names else None
        training = network.in_training(training, len(rows))
        network.built.gradient(rows, targets, weights, vector, gx, *allowed_threads(), training)
        found = views(network.built.layout, vector)
        if gx is not None:
            found[INPUT] = gx.reshape(len(rows), *network.built_shape)
        return ArrayViews({name: found[name] for name in names}, paths(network.built.layout))

    def jacobian(self, x: Samples, /) -> np.ndarray:
        """Compute the derivatives of the outputs with respect to the input, by backpropagation.

        Parameters
        ----------
        x : array_like of shape (n, *input_shape)
            Samples.

        Returns
        -------
        ndarray of shape (n, *output_shape, *input_shape)
            For each row the derivative of each output, as `predict` returns them, with respect to each number of that
            row. A row's bits do not depend on the other rows.

        Raises
        ------
        RuntimeError
            If the network is not built.
        TypeError, ValueError
            If `x` does not fit.
        MemoryError
            If there is not enough memory.

        Notes
        -----
        As in `predict`, dropout and noise do nothing, and batch norms use their running statistics, so the outputs of a
        row depend on no other row. It takes one forward pass, and a backward pass for each output. At a kink, such as
        relu at zero, the derivative is the one that training uses.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(2, "tanh", initializer=[[1.0, -2.0]])], input_shape=1)
        >>> net.jacobian([[0.0], [1.0]]).round(4)  # of tanh(x) and tanh(-2 x)
        array([[[ 1.    ],
                [-2.    ]],
        <BLANKLINE>
               [[ 0.42  ],
                [-0.1413]]], dtype=float32)
        """
        network = self._network
        program = network.built
        rows = network.rows(x)
        out = np.empty((len(rows), network.units, rows.shape[1]), network.dtype)
        if len(rows):
            program.jacobian(rows, out, *allowed_threads())
        return out.reshape(len(rows), *network.output_shape, *network.built_shape)

    @ignore_float_errors
    def numerical_gradient(
        self,
        x: Samples,
        y: ArrayLike,
        /,
        *,
        h: float = 1e-4,
        wrt: str | Sequence[str] | None = None,
        sample_weight: ArrayLike | None = None,
        training: bool = False,
        verbose: int = 1,
    ) -> ArrayViews:
        """Compute the gradient of the loss by central differences: each number is moved by `h`, up and down.

        Parameters
        ----------
        x, y : array_like
            As for `loss`.
        h : float
            The difference.
        wrt : str or sequence of str, optional
            As for `gradient`.
        sample_weight : array_like of shape (n,), optional
            As for `loss`.
        training : bool
            As for `gradient`.
        verbose : {0, 1}
            1 shows progress on standard error if it takes longer than a second.

        Returns
        -------
        Mapping of str to ndarray
            By name, as in `params`; always float64.

        Raises
        ------
        RuntimeError
            If the network is not built.
        TypeError, ValueError
            If an argument does not fit.
        MemoryError
            If there is not enough memory for the changed rows.

        Notes
        -----
        Chapter 4.4.2 of Saito's *Deep Learning from Scratch*. The results equal those of the book's loop up to
        rounding, and are computed in float64 whatever the network's dtype; but only what a change affects is computed
        again: a weight changes one unit of its layer, in rows whose input to it is not zero.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> net.numerical_gradient([[1.0, 2.0]], [0])["b1"].round(4)
        array([-0.6667,  0.3333,  0.3333])
        """
        network = self._network
        h = check_float("h", h, 0.0, float("inf"), open_ends=True)
        verbose = check_verbose(verbose)
        double = network.in_double()
        names = chosen_names(double, wrt)
        rows, targets = double.dense_batch(x, y)
        weights = as_weights(sample_weight, len(rows))
        training = network.in_training(training, len(rows))
        double.warn_of_float32(rows, targets, weights)
        sides = slopes(double, rows, targets, weights, names, h, verbose, training=training)
        found = {name: (right + left) / 2 for name, (right, left) in sides.items()}
        if INPUT in found:
            found[INPUT] = found[INPUT].reshape(len(rows), *network.built_shape)
        return ArrayViews(found, paths(network.built.layout))

    @ignore_float_errors
    def check_gradient(
        self,
        x: Samples,
        y: ArrayLike,
        /,
        *,
        gradient: Mapping[str, ArrayLike] | None = None,
        wrt: str | Sequence[str] | None = None,
        h: float | None = None,
        tolerance: float = 1e-6,
        sample_weight: ArrayLike | None = None,
        training: bool = False,
        verbose: int = 1,
    ) -> GradientReport:
        """Check the gradient by backpropagation, or a claimed one, against the numerical gradient.

        Parameters
        ----------
        x, y : array_like
            As for `loss`.
        gradient : mapping of str to array_like, optional
            A claimed gradient, by name or path, instead of the network's own.
        wrt : str or sequence of str, optional
            As for `gradient`; by default all arrays of the claimed gradient.
        h : float, optional
            The difference; by default the cube root of float64's epsilon. Entries that fail are checked again with
            smaller and larger differences.
        tolerance : float
            The largest relative error that counts as right.
        sample_weight : array_like of shape (n,), optional
            As for `loss`.
        training : bool
            As for `gradient`.
        verbose : {0, 1}
            As for `numerical_gradient`.

        Returns
        -------
        GradientReport
            True if nothing is wrong; when printed, it shows what is wrong, by how much and, as far as the numbers show,
            why. Entries at a kink, such as relu at zero, are reported separately, and so are those that cannot be
            decided because rounding hides their slopes: neither is an error.

        Raises
        ------
        RuntimeError
            If the network is not built.
        TypeError, ValueError
            If an argument does not fit.

        Notes
        -----
        A float32 network is checked in float64, with the same parameters, so that rounding is not taken for an error.
        An entry is called wrong only if neither rounding nor a kink can explain the difference.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(4, "tanh"), nf.Dense(3, "softmax")], input_shape=2, seed=0)
        >>> x, y = [[1.0, 2.0], [0.5, -1.0]], [0, 2]
        >>> bool(net.check_gradient(x, y))
        True
        >>> mine = {name: -array for name, array in net.gradient(x, y).items()}
        >>> net.check_gradient(x, y, gradient=mine)["W1"].why
        'has the wrong sign'
        """
        from nnfast.gradients.checking import check_network

        training = check_bool("training", training)
        verbose = check_verbose(verbose)
        double = self._network.in_double()
        return check_network(
            double, self._around(double, self._added()), repr(self), x, y,
            gradient=gradient, wrt=wrt, h=h, tolerance=tolerance, sample_weight=sample_weight,
            training=training, verbose=verbose,
        )  # fmt: skip

    # ---- training

    def fit(
        self,
        x: Samples | Iterable[Data],
        y: ArrayLike | None = None,
        /,
        *,
        epochs: int | Unset | None = UNSET,
        steps: int | None = None,
        batch_size: int = 32,
        optimizer: str | Optimizer = "adam",
        gradient: str = "backpropagation",
        sample_weight: ArrayLike | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        validation_data: Data | None = None,
        validation_split: float | None = None,
        metrics: Sequence[MetricLike] | None = None,
        shuffle: bool = True,
        replacement: bool = False,
        drop_last: bool = False,
        max_seconds: float | None = None,
        verbose: int = 1,
        callbacks: Sequence[Callable[[Sequential, History], Any] | Callback] = (),
    ) -> History:
        """Train on mini-batches.

        Parameters
        ----------
        x : array_like of shape (n, *input_shape), or iterable of mini-batches
            Samples; finite. Real numbers of any dtype, booleans included: arrays with any strides, memory maps larger
            than memory, data frames of pandas and polars, and objects with ``__dlpack__`` or ``__array_interface__``.
            More than 2**18 numbers are not converted as a whole: each mini-batch is converted when it is gathered, with
            the bits of ``np.asarray(x, net.dtype)``. Columns of a data frame that are not one NumPy array in memory
            (nullable or categorical ones; in polars booleans and several chunks) are copied. Rows whose numbers are
            next to each other in memory are fastest.

            Or a CSR matrix of SciPy, ``csr_array`` or ``csr_matrix``, with sorted indices and without duplicates, which
            gives the bits of ``x.toarray()`` as long as parameters and gradients are finite. A first layer `Dense`
            computes with the stored elements alone, and so does its gradient. With plain `SGD` (no momentum, weight
            decay, penalties, `clip_norm` or averaging) a step changes only the weights of features that occur in its
            mini-batch; any other optimizer changes all weights, which takes most of the time of a step where few
            features occur. Other first layers get rows with all their zeros when a mini-batch is gathered.

            Without `y`, an iterator or another iterable of mini-batches ``(x, y)`` or ``(x, y, sample_weight)`` of any
            sizes, such as a generator, in which your own code chooses what to train on.
        y : array_like
            As for `loss`; finite. Left out if `x` yields mini-batches.
        epochs : int or None, optional
            The number of passes over the data; 1 if neither `epochs` nor `steps` is given. None trains until a callback
            calls `stop` or `max_seconds` have passed. The last mini-batch of an epoch may be smaller.
        steps : int, optional
            The number of mini-batches to train on, instead of `epochs`. If `x` yields mini-batches: how many make an
            epoch; by default all of one iteration.
        batch_size : int
            The number of samples in a mini-batch; all if there are fewer.
        optimizer : str or Optimizer
            ``"adam"``, ``"sgd"``, ``"lbfgs"``, ... or an object such as ``nf.SGD(learning_rate=0.1)``, whose learning
            rate may be one of `nnfast.schedules`. An optimizer of the same kind as in the last training continues
            with its state. `LBFGS` uses all data at once; its iterations count as epochs, and there are up to 200
            if `epochs` is not given.
        gradient : {"backpropagation", "numerical"}
            How the gradient of each mini-batch is computed; ``"numerical"`` is `numerical_gradient`, a hundred times
            slower and with an error of about the square of its `h`.
        sample_weight : array_like of shape (n,), optional
            As for `loss`. The loss of a mini-batch, and so its gradient, is averaged over its weights.
        class_weight : dict or "balanced", optional
            The weight of each class, such as ``{0: 1.0, 1: 5.0}``; others have weight 1. It multiplies the weights of
            the rows of that class in training, not in validation. ``"balanced"`` gives all classes in the training data
            the same total weight, ``n / (n_classes * count)`` for each row, as in scikit-learn; it needs `y`, and so
            not mini-batches from an iterator.
        validation_data : (x, y) or (x, y, sample_weight), optional
            Evaluated after each epoch.
        validation_split : float, optional
            The fraction of the data to set aside for validation, in (0, 1), instead of `validation_data`. The rows are
            chosen at random, the same fraction of each class, and are the same in each fit of this network on the same
            number of rows. If `shuffle` is False, they are the last rows.
        metrics : sequence of str, Metric or callable, optional
            Recorded in each epoch besides the loss, as for `evaluate`: on the training data from the outputs of each
            mini-batch before its update, and on the validation data. By default the accuracy, if the outputs and
            targets are those of a classification.
        shuffle : bool
            Visit the samples in a new order in each epoch.
        replacement : bool
            Draw each sample of each mini-batch from all samples, with replacement, as ``np.random.choice`` does in
            chapter 4.5 of Saito's book. An epoch still has as many mini-batches, all of `batch_size`.
        drop_last : bool
            Leave out the last mini-batch of an epoch if it is smaller than the others.
        max_seconds : float, optional
            The longest time to train for, in seconds: training ends after the step during which it is exceeded.
        verbose : {0, 1}
            1 shows progress on standard error: a bar in a terminal or notebook if tqdm is installed, else lines.
        callbacks : sequence of callable or Callback
            Functions are called after each epoch as ``callback(net, history)``; objects of `nnfast.callbacks`, or of
            your own subclasses of `nnfast.callbacks.Callback`, when they ask for it: at the beginning and the end of
            the training and of each epoch, and after each step. They may predict, copy and save the network, write to
            its parameters, change the optimizer's hyperparameters, and call `stop`. They must not change `x` or the
            inputs in `validation_data`, which are used in place unless they are few and need conversion.
            `y` and `sample_weight` are copied, except for targets that share their memory with `x`.

        Returns
        -------
        History
            Also available as ``net.history``. After Ctrl-C the network is as the last finished step left it, and
            ``net.history`` holds what was recorded.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C.
        RuntimeError
            If the network is already being trained, in another thread or by a caller.
        TypeError, ValueError
            If an argument does not fit; nothing has changed then. If a mini-batch that `x` yields does not fit, which
            ends the training.
        MemoryError
            If there is not enough memory; nothing has changed then, unless steps were taken before: the network is as
            the last finished step left it.

        Warns
        -----
        RuntimeWarning
            Once, if training diverges (a loss or the parameters become infinite or NaN), and if L-BFGS ends before it
            has converged.
        UserWarning
            If a layer cannot learn because its activation is ``"step"``; if each output is counted separately, but the
            targets are mutually exclusive classes; if `x` or `y` is float64 and holds values that float32, the
            network's dtype, cannot tell apart; if an iterator ends before `epochs` and `steps` are done.

        Notes
        -----
        Training continues where it ended: with the same arguments, n epochs and then m epochs give the bits of
        n + m epochs, whatever the number of threads, also if the network is copied, or saved and loaded, in between
        (L-BFGS begins anew). An epoch that was not finished, after `steps`, `stop`, Ctrl-C or an error, is finished by
        the next fit on the same number of rows with the same `batch_size`, `shuffle`, `replacement` and `drop_last`: it
        counts as the first of its `epochs`, and is recorded as a whole; only metrics that are computed from all outputs
        of an epoch at once, such as F1 or a function of yours, are those of the mini-batches of the last fit.
        `epochs_trained` says how many epochs were completed. Epochs of mini-batches from an iterator are not continued.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> x, y = [[0, 0], [0, 1], [1, 0]], [0, 1, 2]
        >>> history = net.fit(x, y, epochs=200, optimizer=nf.SGD(learning_rate=1.0), verbose=0)
        >>> len(history["loss"]), history["accuracy"][-1]
        (200, 1.0)
        """
        from nnfast import training

        given = training.Batches(x, validation_data) if y is None else training.Given(x, y, validation_data)
        arguments = training.FitArguments(
            self._network, given, epochs=epochs, steps=steps, batch_size=batch_size, optimizer=optimizer,
            gradient=gradient, sample_weight=sample_weight, class_weight=class_weight,
            validation_split=validation_split, metrics=metrics, shuffle=shuffle, replacement=replacement,
            drop_last=drop_last, max_seconds=max_seconds, verbose=verbose, callbacks=callbacks,
        )  # fmt: skip
        return training.fit(arguments, self)

    def stop(self) -> None:
        """End the `fit` that is running, from a callback or another thread.

        `fit` returns within a tenth of a second, or after the current step if that takes longer. The unfinished epoch
        is recorded for the steps that were taken.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> history = net.fit([[0, 1]], [0], epochs=100, verbose=0, callbacks=[lambda net, history: net.stop()])
        >>> len(history["loss"])
        1
        """
        self._network.stopping = True

    def train_step(
        self,
        x: Samples,
        y: ArrayLike,
        /,
        optimizer: str | Optimizer = "adam",
        *,
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """Train on one mini-batch.

        Parameters
        ----------
        x, y : array_like
            As for `loss`.
        optimizer : str or Optimizer
            As for `fit`, except those that need the whole data or epochs: `LBFGS` and schedules by epoch.
        sample_weight : array_like of shape (n,), optional
            As for `loss`. All may be zero, as in a mini-batch of `fit`: the loss then consists only of the penalties
            (without those of layers with ``penalty="sum"``).

        Returns
        -------
        float
            The loss before the update.

        Raises
        ------
        RuntimeError
            If the network is not built, or is already being trained.
        TypeError, ValueError
            If an argument does not fit; nothing has changed then.
        MemoryError
            If there is not enough memory; nothing has changed then.

        Warns
        -----
        RuntimeWarning
            If the loss is infinite or NaN.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> [round(net.train_step([[1.0, 2.0]], [0], nf.SGD(learning_rate=0.1)), 4) for _ in range(3)]
        [1.0986, 0.7408, 0.522]
        """
        network = self._network
        program = network.built
        chosen = resolve_optimizer(optimizer)
        values = chosen.values(network.dtype)
        rows, targets = network.batch(x, y)
        weights = None if sample_weight is None else as_weights(sample_weight, len(rows), all_zero=True)
        if weights is not None:
            network.output_loss.check_weights()
        network.check_trainable()
        if len(rows) < 2:
            network.check_batch(len(rows))
        network.warn_of_zero_gradients()
        with network.guard:
            scheduled = rate_at(chosen, program.slot)
            threads, fixed = allowed_threads()
            loss = program.train_step(rows, targets, weights, values, threads, fixed, scheduled)
        if not isfinite(loss):
            self._warn_of_divergence(chosen, values, scheduled, loss)
        return loss

    def _warn_of_divergence(
        self, optimizer: Optimizer, values: Any, scheduled: tuple[float, float | None] | None, loss: float
    ) -> None:
        """Warn of a loss that `train_step` returns."""
        network = self._network
        rate = values.learning_rate if scheduled is None else scheduled[0]
        what = f"the loss of step {network.built.slot.steps} with {type(optimizer).__name__} is {loss}"
        from nnfast.training import divergence

        warn(divergence(what, rate))

    def forward(self, x: Samples, /, *, training: bool = False) -> np.ndarray:
        """Compute the network's outputs; with ``training=True``, keep what `backward` needs.

        Parameters
        ----------
        x : array_like of shape (n, *input_shape)
            Samples.
        training : bool
            Whether `backward` will follow.

        Returns
        -------
        ndarray of shape (n, *output_shape)
            As from `predict`.

        Raises
        ------
        RuntimeError
            If the network is not built, or is being trained.
        TypeError, ValueError
            If `x` does not fit.

        Examples
        --------
        A custom loss, in a custom loop:

        >>> import numpy as np
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(1)], input_shape=1, seed=0)
        >>> x = np.linspace(-1, 1, 20)[:, None]
        >>> for _ in range(200):
        ...     out = net.forward(x, training=True)
        ...     _ = net.backward((out - 3 * x) / len(x))
        ...     net.update(nf.SGD(learning_rate=0.5))
        >>> net.params["W1"].round(3)
        array([[3.]], dtype=float32)
        """
        network = self._network
        if not check_bool("training", training):
            return self.predict(x)
        program = network.built
        rows = network.rows(x)
        network.check_batch(len(rows))
        out = np.empty((len(rows), network.units), network.dtype)
        with network.guard:
            program.forward(rows, out, get_num_threads())
        return out if network.row_program is not None else out.reshape(len(rows), *network.output_shape)

    def backward(self, gradient: ArrayLike, /, *, parameters: bool = True, accumulate: bool = False) -> np.ndarray:
        """Compute gradients from the gradient of a loss with respect to the outputs.

        Parameters
        ----------
        gradient : array_like of shape (n, *output_shape)
            The gradient with respect to what the last ``forward(x, training=True)`` returned.
        parameters : bool
            Whether to compute the gradients of the parameters, in `grads`.
        accumulate : bool
            Whether to add to `grads` rather than overwrite them.

        Returns
        -------
        ndarray of shape (n, *input_shape)
            The gradient with respect to the input.

        Raises
        ------
        RuntimeError
            If there was no forward pass since the last `backward` or update.
        TypeError, ValueError
            If `gradient` does not fit.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> out = net.forward([[1.0, 2.0]], training=True)
        >>> net.backward([[1.0, 0.0, 0.0]])  # the weights are zero
        array([[0., 0.]], dtype=float32)
        >>> net.grads["b1"].round(4)
        array([ 0.2222, -0.1111, -0.1111], dtype=float32)
        """
        network = self._network
        program = network.built
        shape = network.built_shape
        parameters, accumulate = check_bool("parameters", parameters), check_bool("accumulate", accumulate)
        if accumulate and not parameters:
            raise ValueError("accumulate=True needs parameters=True: otherwise there is nothing to add to")
        with network.guard:
            n = program.saved_rows
            if n < 0:
                raise RuntimeError(
                    "backward needs a forward(x, training=True) before it: "
                    "call forward again after each backward or update"
                )
            gout: Any = gradient
            if network.row_program is None or not program.accepts_outputs(gradient, n):
                gout = as_array("gradient", gradient, network.dtype, shape=(n, *network.output_shape))
                gout = gout.reshape(n, network.units)
            network.warn_of_zero_gradients()
            gx = np.empty((n, prod(shape)), network.dtype)
            program.backward(gout, gx, parameters, accumulate, get_num_threads())
        return gx if network.row_program is not None else gx.reshape(n, *shape)

    def update(self, optimizer: str | Optimizer = "adam") -> None:
        """Take one step of the optimizer with the gradients of the last `backward`.

        Parameters
        ----------
        optimizer : str or Optimizer
            As for `train_step`.

        Raises
        ------
        RuntimeError
            If there are no gradients: none were computed since the last update.
        TypeError, ValueError
            If `optimizer` is not an optimizer, or not one for single steps.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> out = net.forward([[1.0, 2.0]], training=True)
        >>> gradient = net.backward([[1.0, 0.0, 0.0]])
        >>> net.update(nf.SGD(learning_rate=0.9))
        >>> net.params["b1"].round(4)
        array([-0.2,  0.1,  0.1], dtype=float32)
        """
        network = self._network
        program = network.built
        chosen = resolve_optimizer(optimizer)
        values = chosen.values(network.dtype)
        with network.guard:
            if not program.has_gradients:
                raise RuntimeError("update needs gradients: call backward first")
            program.update(values, rate_at(chosen, program.slot))

    def reset_optimizer(self) -> None:
        """Clear the optimizer's state; the next training starts without it.

        Raises
        ------
        RuntimeError
            If the network is being trained.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> loss = net.train_step([[1.0, 2.0]], [0], "adam")
        >>> net.reset_optimizer()
        """
        network = self._network
        program = network.built
        with network.guard:
            program.slot.reset()

    def freeze(self, *layers: int | str) -> None:
        """Freeze layers: training leaves their parameters and running statistics unchanged.

        Parameters
        ----------
        *layers : int or str
            Indices, such as 0 or -2, or paths, such as ``"2.0"`` within a residual layer; a residual layer stands for
            all layers within it. Without arguments, all layers with parameters.

        Raises
        ------
        RuntimeError
            If the network is being trained.
        TypeError, ValueError
            If a layer does not exist, or has nothing to freeze; then none is frozen.

        See Also
        --------
        unfreeze : The opposite.
        with_last : New last layers, on a base that may be frozen.

        Notes
        -----
        A layer of `layers` is replaced by one with ``trainable=False``, as if built that way: copies and files
        keep it, a batch norm uses its running statistics in training too, and `gradient` and `backward` still compute
        the gradients of all parameters. Everything else stays: parameters, statistics, the state of the optimizer,
        random streams; only a forward pass that waits for `backward`, and gradients that wait for `update`, are lost.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, "relu"), nf.Dense(2)], input_shape=2, seed=0)
        >>> net.freeze(0)
        >>> net.layers
        (Dense(3, activation='relu', trainable=False), Dense(2))
        """
        set_trainable(self._network, layers, False)

    def unfreeze(self, *layers: int | str) -> None:
        """Let training change layers again that were frozen by `freeze` or ``trainable=False``.

        Parameters
        ----------
        *layers : int or str
            As for `freeze`.

        Raises
        ------
        RuntimeError, TypeError, ValueError
            As for `freeze`.

        Notes
        -----
        The state of the optimizer for these parameters, such as momentum, is as it was before they were frozen.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, "relu"), nf.Dense(2)], input_shape=2, seed=0)
        >>> net.freeze()
        >>> net.unfreeze(-1)
        >>> net.layers
        (Dense(3, activation='relu', trainable=False), Dense(2))
        """
        set_trainable(self._network, layers, True)

    def with_last(
        self,
        layers: Sequence[Layer],
        *,
        drop: int = 1,
        freeze: bool = False,
        loss: str | Loss | Callable[..., Any] | None = None,
        seed: int | Generator | None = None,
    ) -> Sequential:
        """Return a network with new last layers after the first layers of this one, as trained.

        Parameters
        ----------
        layers : sequence of Layer
            The new last layers, with initial values of their own.
        drop : int
            How many of this network's layers they replace; 0 adds to them. At least one layer is kept.
        freeze : bool
            Whether to freeze the layers that are kept, as `freeze` does; otherwise each keeps its `trainable`.
        loss, seed
            As for `Sequential`. The loss is not taken from this network: its last activation determines the default.

        Returns
        -------
        Sequential
            Independent of this network: it shares no memory with it. The parameters and running statistics of the
            layers that are kept are copied; the state of the optimizer and the random streams are new.

        Raises
        ------
        RuntimeError
            If the network is not built.
        TypeError, ValueError
            If an argument does not fit.
        MemoryError
            If there is not enough memory for the parameters.

        See Also
        --------
        freeze, unfreeze : Freeze layers of a network, and let training change them again.

        Examples
        --------
        A network trained on three classes is trained on five: first only the new layer, then all layers.

        >>> import numpy as np
        >>> import nnfast as nf
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(500, 2))
        >>> angle = np.arctan2(x[:, 1], x[:, 0]) / (2 * np.pi) + 0.5
        >>> net = nf.Sequential([nf.Dense(16, "tanh"), nf.Dense(3, "softmax")], input_shape=2, seed=0)
        >>> history = net.fit(x, (3 * angle).astype(int), epochs=50, verbose=0)
        >>> other = net.with_last([nf.Dense(5, "softmax")], freeze=True, seed=0)
        >>> history = other.fit(x, (5 * angle).astype(int), epochs=20, verbose=0)
        >>> (other.params["W1"] == net.params["W1"]).all()
        np.True_
        >>> other.unfreeze()
        >>> history = other.fit(x, (5 * angle).astype(int), epochs=50, verbose=0)
        >>> history["accuracy"][-1] > 0.9
        True
        """
        return self._around(with_last(self._network, layers, drop, freeze, loss, seed), deepcopy(self._added()))

    def averaged(self) -> Sequential:
        """Return a copy whose parameters are the average that the optimizer keeps with an `average_decay`.

        Returns
        -------
        Sequential
            Independent of this network, with the same running statistics of batch norms.

        Raises
        ------
        RuntimeError
            If there is no average: no step was taken by an optimizer with an `average_decay`.

        Notes
        -----
        Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992), with weights that decay
        exponentially.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> for _ in range(3):
        ...     loss = net.train_step([[1.0, 2.0]], [0], nf.SGD(0.1, average_decay=0.9))
        >>> net.averaged().params["b1"][0] < net.params["b1"][0]
        np.True_
        """
        network = self._network
        network.built  # noqa: B018  says what to do if there is none
        twin, arrays = self._twin()
        average = arrays.get("optimizer.average")
        if average is None:
            raise RuntimeError(
                "there is no average: train with an optimizer that keeps one, such as Adam(average_decay=0.999)"
            )
        layers = dict(walk(network.layers))
        for _, path, at, shape in network.built.layout:
            if layers[path.rpartition(".")[0]].trainable:
                part = slice(at, at + prod(shape))
                twin.flat_params[part] = average[part]
        return twin

    # ---- printing, copying, saving

    def summary(self) -> None:
        """Print the layers, their shapes and their numbers of parameters.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> net.summary()
        input (n, 2), loss cross_entropy, float32, 9 parameters
        layer     activation  output  parameters
        --------  ----------  ------  ----------
        Dense(3)  softmax     (n, 3)  9
        """
        print(self._summary())

    def _summary(self) -> str:
        heading, rows = self._described()
        columns = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, columns, strict=True)).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * w for w in columns))
        return "\n".join([heading, *lines])

    def _described(self) -> tuple[str, list[tuple[str, str, str, str]]]:
        """Return a line on the network, and a table of its layers with a header."""
        network = self._network
        flow = network.input_shape
        rows = [("layer", "activation", "output", "parameters")]
        for path, layer in walk(network.layers):
            count = "?" if flow is None else f"{layer.count(flow):,}"
            flow = layer.fixed_shape if flow is None else layer.output_shape(flow)
            indent = "  " * path.count(".")
            activation = layer.function.name if isinstance(layer, Dense) else ""
            rows.append((indent + layer.label, activation, f"(n, {', '.join(map(str, flow or '?'))})", count))
        shape = "not known yet" if network.input_shape is None else f"(n, {', '.join(map(str, network.input_shape))})"
        total = "" if network.program is None else f", {self.n_parameters:,} parameters"
        return f"input {shape}, loss {self._loss_text}, {network.dtype}{total}", rows

    def _repr_html_(self) -> str:
        from nnfast._html import network_html

        heading, (header, *rows) = self._described()
        return network_html(heading, header, rows)

    def __repr__(self) -> str:
        layers = ", ".join(map(repr, self.layers))
        loss = repr(self._loss_text) if self._loss_text == self.loss_name else self._loss_text
        return f"Sequential([{layers}], input_shape={self.input_shape}, loss={loss}, dtype='{self.dtype}')"

    @property
    def _loss_text(self) -> str:
        """The name of the loss if its parameters are the defaults, else its repr."""
        return self.loss_name if self.loss_function.config() == self.loss_name else repr(self.loss_function)

    def copy(self) -> Sequential:
        """Return an independent network with the same parameters, optimizer state and random streams.

        Returns
        -------
        Sequential
            Trained on the same data, both give the same bits.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> twin = net.copy()
        >>> twin.params["b1"] = [1.0, 2.0, 3.0]
        >>> net.params["b1"]
        array([0., 0., 0.], dtype=float32)
        """
        return self._twin()[0]

    def _twin(self) -> tuple[Sequential, dict[str, np.ndarray]]:
        """Return a copy, and the arrays from which it was created."""
        description, arrays = state.to_state(self._network)
        return self._around(
            state.from_state(description, arrays, self.layers, self.loss_function), deepcopy(self._added())
        ), arrays

    def _around(self, network: Network, added: dict[str, Any]) -> Sequential:
        """Return a `Sequential` of this class that holds another network."""
        twin = _holding(type(self), network)
        vars(twin).update(added)
        return twin

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle, and so copy, what `copy` copies."""
        parts = (*state.to_state(self._network), self.layers, self.loss_function)
        return _restored, (type(self), *parts), self._added()

    def _added(self) -> dict[str, Any]:
        """The attributes that a subclass has added."""
        return {name: value for name, value in vars(self).items() if name != "_network"}

    def save(self, path: str | os.PathLike[str], *, training_state: bool = True) -> None:
        """Write the network to a file atomically: on failure, an existing file of that name is unchanged.

        Parameters
        ----------
        path : path
            With the extension ``.safetensors`` for a file in that format, which programs in many languages read;
            with any other, usually ``.npz``, a NumPy archive. No extension is added. Those of other programs' formats,
            such as ``.onnx``, ``.pt``, ``.keras``, ``.pkl`` and ``.json``, are rejected.
        training_state : bool
            Whether to also write what training continues from: the state of the optimizer, which for Adam is twice as
            large as the parameters, the place in an epoch, and the random streams. Without it, the network that `load`
            returns makes the same predictions, but is trained like a new one with ``seed=0``.

        Raises
        ------
        TypeError
            If `training_state` is not a bool.
        RuntimeError
            If the network is not built.
        OSError
            If the file cannot be written.
        ValueError
            If the extension is that of another format; or if `load` could not read the file: a sample has more than 64
            axes, or a layer is not one of nnfast's.

        Notes
        -----
        Plain arrays, named by path (``0.W``, ``0.b``, ...), and a JSON description with a version; no pickles. In an
        archive the description is the member ``description``, in a safetensors file the entry ``nnfast`` of the
        metadata. Of a loss of your own, only the name is written: see `load`.

        Examples
        --------
        >>> import os, tempfile
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(os.path.join(folder, "net.npz"))
        ...     os.listdir(folder)
        ['net.npz']
        """
        from nnfast.files import saving

        saving.save(self._network, path, training_state)

    def to_c(
        self,
        path: str | os.PathLike[str],
        *,
        prefix: str | None = None,
        dtype: Any = None,
        calibration: Samples | None = None,
    ) -> CExport:
        """Write the network as C: a source file and its header, for programs and microcontrollers without Python.

        The function ``void PREFIX_predict(const float *x, float *y)`` computes the output for one sample, with the
        numbers of `predict` up to rounding. The code is C99, needs only ``<math.h>`` and allocates no memory; weights
        are constants. The header defines the sizes of `x` and `y` as ``PREFIX_INPUTS`` and ``PREFIX_OUTPUTS``, and says
        how much of the stack is used.

        Parameters
        ----------
        path : path
            ``"model.c"``, or without the extension: ``model.c`` and ``model.h`` are written, each atomically.
        prefix : str, optional
            The start of all public names; by default the name of the file.
        dtype : {"float32", "float64", "int8"}, optional
            The type of the numbers; by default that of the network. ``"float64"`` makes a function of doubles;
            parameters are converted where types differ. With ``"int8"``, weights and inputs of dense layers are
            8-bit integers, a quarter of the size, and sums are integers, too; all other layers, `x` and `y` stay float.
        calibration : array_like of shape (n, *input_shape), optional
            For int8, which needs it: typical samples, such as a few hundred of the training data. They determine the
            range of the inputs of each dense layer; what is outside of it is clipped. Features with a much smaller
            range than others lose most of their digits: scale all features alike.

        Returns
        -------
        CExport
            A named tuple: the paths ``source`` and ``header``, the name of the ``function``, ``constant_bytes``,
            ``stack_bytes``, and for int8 the ``difference`` from the network over the calibration data: the
            ``largest`` and the ``mean`` absolute difference of an output, and the ``agreement``, the share of samples
            with the same class (None if outputs are not classes).

        Raises
        ------
        RuntimeError
            If the network is not built.
        OSError
            If the files cannot be written.
        TypeError, ValueError
            If an argument has the wrong type or value, or a parameter is not finite.

        Notes
        -----
        `Dropout` and `GaussianNoise` do nothing outside of training and leave no code. A `BatchNorm` right after a
        `Dense` without activation becomes part of its weights. exp and functions of it are computed with polynomials,
        which compilers vectorize: call the compiler with ``-O3``. Quantization is symmetric for the weights, with a
        scale for each output, and affine for the inputs of a layer, with one scale: Jacob et al., "Quantization and
        training of neural networks for efficient integer-arithmetic-only inference" (2018).

        Examples
        --------
        >>> import os, tempfile
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(64, "relu"), nf.Dense(2)], input_shape=4, seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = net.to_c(os.path.join(folder, "model.c"))
        ...     sorted(os.listdir(folder))
        ['model.c', 'model.h']
        >>> written.function, written.constant_bytes, written.stack_bytes
        ('model_predict', 1800, 256)
        """
        from nnfast.files.c import export  # few programs need it

        return export(self._network, path, prefix, dtype, calibration)

    def predictor(self) -> Predictor:
        """Return a copy of what the network predicts, for compiled code and for threads.

        Returns
        -------
        Predictor
            A function of one sample that Cython, C and numba call without the GIL, from any number of threads. Its
            outputs have the bits that `predict_one` gives now; it does not change when the network is trained.

        Raises
        ------
        RuntimeError
            If the network is not built.
        MemoryError
            If there is not enough memory for the copy.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax", initializer=0.0)], input_shape=2, seed=0)
        >>> predictor = net.predictor()
        >>> net.params["b1"] = [0.0, 0.0, 9.0]
        >>> predictor([1.0, 2.0]).round(4)
        array([0.3333, 0.3333, 0.3333], dtype=float32)
        """
        from nnfast.predictor import Predictor  # few programs need it

        return Predictor(self._network)

    def to_onnx(self, path: str | os.PathLike[str]) -> None:
        """Write what the network predicts to an ONNX file, which ONNX Runtime and other programs run.

        Written atomically, as by `save`; the onnx package is not needed.

        Parameters
        ----------
        path : path
            Usually with the extension ``.onnx``; no extension is added.

        Raises
        ------
        RuntimeError
            If the network is not built.
        OSError
            If the file cannot be written.
        ValueError
            If it would have more than 2 GB.

        Notes
        -----
        The graph uses opset 17 (of 2022). It takes the tensor ``"input"`` of shape ``(batch, *input_shape)`` and
        computes ``"output"``, both of the network's dtype; the batch may have any size. ONNX Runtime's outputs differ
        from those of `predict` by rounding, with one exception: NaN before a step activation becomes 0.

        A file holds what prediction needs, and the loss. `Dropout`, `GaussianNoise`, penalties, the state of the
        optimizer and whether layers are trainable are left out: to continue training, use `save`.

        ONNX Runtime 1.15, the oldest version tested, and later ones run float32 networks; 1.20 and later ones run
        float64 networks. It has no version of Erf, which gelu needs, in double precision: a float64 network with gelu
        is written, but does not run there. Use float32, or ``"gelu_tanh"``.

        Examples
        --------
        >>> import os, tempfile
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="softmax")], input_shape=2, seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.to_onnx(os.path.join(folder, "net.onnx"))
        ...     again = nf.from_onnx(os.path.join(folder, "net.onnx"))
        >>> bool((again.predict([[1.0, 2.0]]) == net.predict([[1.0, 2.0]])).all())
        True
        """
        from nnfast.files.onnx import save

        save(self._network, path)

    @overload
    def to_torch(self, *, optimizer: None = None) -> torch.nn.Module: ...
    @overload
    def to_torch(self, *, optimizer: str | Optimizer) -> tuple[torch.nn.Module, torch.optim.Optimizer]: ...
    def to_torch(
        self, *, optimizer: str | Optimizer | None = None
    ) -> torch.nn.Module | tuple[torch.nn.Module, torch.optim.Optimizer]:
        """Copy the network as a module of PyTorch, and with it the state of the optimizer.

        Parameters
        ----------
        optimizer : str or Optimizer, optional
            The one that trains the network, with a number as its learning rate.

        Returns
        -------
        module : torch.nn.Sequential
            In evaluation mode, in which it computes what `predict` does, up to rounding. In training mode, after
            ``module.train()``, dropout, noise and batch norms do what they do in training here.
        optimizer : torch.optim.Optimizer
            Only if `optimizer` is given: the same in PyTorch, with the state that this network has of it.

        Raises
        ------
        RuntimeError
            If the network is not built.
        ImportError
            If PyTorch is missing; the message names the extra that installs it.
        TypeError, ValueError
            If `optimizer` is not an optimizer, or PyTorch's has no such option.

        Notes
        -----
        Layers of ``torch.nn``, named as the arrays here are: ``W1`` is ``dense1.weight``, transposed; ``mean1`` is
        ``batch_norm1.running_mean``. What PyTorch lacks (`Residual`, `Scale`, `Rescaling`, `ColumnEncoding`,
        `GaussianNoise`, a frozen `BatchNorm`, and the step activation) are modules of
        ``nnfast.files.pytorch.modules``, which pickles need. To run without nnfast, export the module with
        ``torch.export`` or ``nnfast export --to torch``. Parameters of frozen layers do not require a gradient.

        The loss and penalties are left out. ``nn.CrossEntropyLoss`` expects outputs without softmax: for a network that
        ends in it, train ``module[:-1]``.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(3, activation="relu"), nf.Dense(1)], input_shape=2, seed=0)
        >>> net.to_torch()  # doctest: +SKIP
        Sequential(
          (dense1): Linear(in_features=2, out_features=3, bias=True)
          (relu1): ReLU()
          (dense2): Linear(in_features=3, out_features=1, bias=True)
        )
        """
        from nnfast.files.pytorch import export

        return export.to_torch(self._network, optimizer)

    def to_sklearn(self, *, classes: ArrayLike | None = None, optimizer: str | Optimizer | None = None) -> Any:
        """Return a fitted estimator of scikit-learn that predicts what the network predicts.

        Parameters
        ----------
        classes : array_like of shape (n_classes,), optional
            The labels of a classifier, in ascending order, in which scikit-learn keeps them, and in the order of the
            outputs. By default 0, 1, 2, ....
        optimizer : str or Optimizer, optional
            With which `partial_fit` trains on, as ``fit(optimizer=...)`` here: ``nf.Adam(corrected_epsilon=True)`` or
            ``nf.SGD()``, which may have hyperparameters that scikit-learn has too. If the network was trained with this
            kind of optimizer, training goes on with its state. By default, scikit-learn's, which begins anew.

        Returns
        -------
        MLPClassifier, MLPRegressor or Pipeline
            An MLPClassifier if the output layer has softmax, log_softmax or sigmoid (several outputs with sigmoid are
            several labels for each sample), an MLPRegressor if it has the identity. `Scale` and `Rescaling` before the
            first `Dense` become a StandardScaler, in a Pipeline.

        Raises
        ------
        RuntimeError
            If the network is not built.
        ImportError
            If scikit-learn is not installed.
        TypeError, ValueError
            If an argument does not fit, or scikit-learn's perceptron does not have a layer; the message names it.

        See Also
        --------
        from_sklearn : The other direction.

        Notes
        -----
        A perceptron of scikit-learn has `Dense` layers only, of which the hidden ones have one activation: identity,
        sigmoid, tanh or relu. `Dropout` and `GaussianNoise`, which do nothing in predictions, are left out. A layer
        without biases gets zeros. Samples with several axes must be reshaped to rows for scikit-learn.

        Training goes on with scikit-learn's losses, cross entropy and squared error, and of all penalties with those
        that it has, ``Dense(l2=alpha / 2, penalty="sum")`` in all layers. It trains frozen layers, too, but for those
        that became a scaler. A softmax of two outputs becomes one output, their difference, without the optimizer's
        state. A network with the Poisson loss, which predicts logarithms, becomes ``MLPRegressor(loss="poisson")``,
        which predicts their exponentials.

        For an estimator of `nnfast.sklearn`, assign `coefs_` and `intercepts_` before its first `partial_fit`.

        Examples
        --------
        >>> import nnfast as nf
        >>> net = nf.Sequential([nf.Dense(4, "tanh"), nf.Dense(3, "softmax")], input_shape=2, seed=0)
        >>> estimator = net.to_sklearn(classes=["a", "b", "c"])
        >>> estimator.predict([[1.0, 2.0]]).shape
        (1,)
        """
        from nnfast.files.sklearn import to_estimator

        return to_estimator(self._network, classes, optimizer)


def network_of(net: Sequential) -> Network:
    """Return the network that a `Sequential` holds."""
    return net._network


def sequential_of(network: Network) -> Sequential:
    """Return a `Sequential` that holds a network."""
    return _holding(Sequential, network)


def _holding(kind: type[Sequential], network: Network) -> Sequential:
    """Create a `Sequential` of a class without calling its constructor, whose arguments are not known."""
    net = kind.__new__(kind)
    net._network = network
    return net


def _restored(
    kind: type[Sequential],
    description: dict[str, Any],
    arrays: dict[str, np.ndarray],
    layers: Sequence[Layer],
    loss: Loss | None = None,
) -> Sequential:
    """Recreate a network from what `Sequential.__reduce__` returned; older pickles have no loss."""
    return _holding(kind, state.from_state(description, arrays, layers, loss))
