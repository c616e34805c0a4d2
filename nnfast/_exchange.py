"""Networks from files and from other libraries."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

from nnfast.losses import Loss
from nnfast.sequential import Sequential, network_of, sequential_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.random import Generator

    from nnfast.optimizers import Optimizer


def load(path: str | os.PathLike[str], *, loss: Loss | Callable[..., Any] | None = None) -> Sequential:
    """Read a network that `Sequential.save` wrote.

    Parameters
    ----------
    path : path
        The file, in either format, which is recognized by its contents. Reading it runs no code, and uses at most 8
        times its size of memory, plus 1 MB, plus 3 KB for each layer.
    loss : callable or losses.Custom, optional
        The loss of your own that the network was trained with: files hold only its name. Without it the network
        predicts, and raises RuntimeError where it needs the loss.

    Returns
    -------
    Sequential
        It predicts, and continues training unless saved with ``training_state=False``, with the same bits as the
        network that was saved.

    Raises
    ------
    OSError
        If the file cannot be read.
    LoadError
        If it is not a network of nnfast, is damaged, or was written by a newer version; the message says which, and
        what else the file seems to be. It is a ValueError.
    TypeError, ValueError
        If `loss` is not a function, or the network was saved with one of nnfast's losses.
    MemoryError
        If there is not enough memory for the contents of the file.

    Examples
    --------
    >>> import os, tempfile
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(3)], input_shape=2, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(os.path.join(folder, "net.npz"))
    ...     again = nf.load(os.path.join(folder, "net.npz"))
    >>> bool((again.flat_params == net.flat_params).all())
    True
    """
    from nnfast.files import saving

    return sequential_of(saving.load(path, loss))


def from_onnx(
    path: str | os.PathLike[str],
    *,
    output: str | None = None,
    loss: str | Loss | Callable[..., Any] | None = None,
    seed: int | Generator | None = None,
) -> Sequential:
    """Read a network from an ONNX file, such as those that PyTorch, tf2onnx (Keras) and skl2onnx write.

    Parameters
    ----------
    path : path
        The file. Reading it runs no code, and uses at most 8 times its size of memory, plus 1 MB, plus 4 KB for each
        node and array and 128 bytes for each of a node's inputs and outputs. Arrays that it keeps in other files must
        be in the same folder. The onnx package is not needed.
    output : str, optional
        The name of the tensor to predict; any tensor of the graph. By default the only output of floating-point
        numbers.
    loss : str, Loss or callable, optional
        As for `Sequential`. By default, the one that `Sequential.to_onnx` wrote; otherwise it depends on the last
        activation.
    seed : int, numpy.random.Generator or None
        As for `Sequential`: determines the shuffling and the noise.

    Returns
    -------
    Sequential
        It predicts what the graph computes, up to rounding, and can be trained.

    Raises
    ------
    OSError
        If the file cannot be read.
    LoadError
        If it is not an ONNX file, is damaged, or its graph is not a chain of layers that nnfast has; the message names
        the node. It is a ValueError.
    TypeError, ValueError
        If another argument has the wrong type or value.

    Notes
    -----
    Supported are opsets 7 to 28 and fully connected layers (Gemm, MatMul and Add), all activations of nnfast, even if
    written as several nodes, BatchNormalization and LayerNormalization, Dropout, arithmetic with constants (as
    `Rescaling` and `Scale`), Flatten, Reshape and Squeeze, and sums ``x + f(x)`` (as `Residual`).

    - A `Scale` before the first `Dense` is usually a normalization of the data: it is frozen.
    - scikit-learn's classifiers compute labels, which are left out, and the probabilities of two classes as 1 - p and
      p: the network predicts p.
    - A sample's output has at least one axis: where a graph removes the last one, the network's output has the shape
      (n, 1).

    Examples
    --------
    >>> import os, tempfile
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(4), nf.LayerNorm(), nf.Activation("gelu"), nf.Dense(1)], input_shape=2, seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.to_onnx(os.path.join(folder, "net.onnx"))
    ...     nf.from_onnx(os.path.join(folder, "net.onnx")).layers
    (Dense(4), LayerNorm(), Activation('gelu'), Dense(1))
    """
    from nnfast.files.onnx import load as load_onnx

    return sequential_of(load_onnx(path, output, loss, seed))


@overload
def from_torch(
    module: torch.nn.Module,
    *,
    input_shape: int | Sequence[int] | None = None,
    optimizer: None = None,
    loss: str | Loss | Callable[..., Any] | None = None,
    seed: int | Generator | None = None,
) -> Sequential: ...
@overload
def from_torch(
    module: torch.nn.Module,
    *,
    input_shape: int | Sequence[int] | None = None,
    optimizer: torch.optim.Optimizer,
    loss: str | Loss | Callable[..., Any] | None = None,
    seed: int | Generator | None = None,
) -> tuple[Sequential, Optimizer]: ...
def from_torch(
    module: torch.nn.Module,
    *,
    input_shape: int | Sequence[int] | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    loss: str | Loss | Callable[..., Any] | None = None,
    seed: int | Generator | None = None,
) -> Sequential | tuple[Sequential, Optimizer]:
    """Copy a module of PyTorch as a network, and with it the state of its optimizer.

    Parameters
    ----------
    module : torch.nn.Module
        A chain of layers: ``nn.Sequential``, or a module of your own, whose ``forward`` torch.fx traces as it is in
        training. Its parameters must be float32 or float64, on the CPU. It is not changed, but its ``forward`` runs
        once, to compare the outputs for random samples.
    input_shape : int or sequence of int, optional
        The shape of one sample. By default it is taken from the first layer that has one, such as ``nn.Linear``.
    optimizer : torch.optim.Optimizer, optional
        The one that trains the module: SGD, Adam, AdamW, NAdam, Adagrad, RMSprop or Adadelta. Its groups of parameters
        must have the same settings; only the weight decay may be 0 in a group for all but the weights of linear layers.
    loss : str, Loss or callable, optional
        As for `Sequential`. By default it depends on the last activation.
    seed : int, numpy.random.Generator or None
        As for `Sequential`: determines the shuffling and the noise.

    Returns
    -------
    net : Sequential
        It predicts what the module computes in evaluation mode, up to rounding, and can be trained.
    optimizer : Optimizer
        Only if `optimizer` is given: the same in nnfast. The network holds its state: ``net.fit(x, y,
        optimizer=optimizer)`` continues the training.

    Raises
    ------
    ImportError
        If PyTorch is missing; the message names the extra that installs it.
    TypeError, ValueError
        If an argument has the wrong type or value; the module is not a chain of layers that nnfast has, and then the
        message names the submodule or function; or the optimizer does something that nnfast's does not.

    Notes
    -----
    Supported are ``nn.Linear``, all activations of nnfast, also if written as arithmetic (``x * torch.sigmoid(x)``),
    ``nn.BatchNorm1d``, ``nn.LayerNorm``, ``nn.Dropout``, ``nn.Flatten``, ``nn.Unflatten``, ``nn.Identity``, views that
    keep samples apart, arithmetic with constants and buffers (as `Rescaling` and `Scale`), and sums ``x + f(x)`` (as
    `Residual`); as modules, functions and methods of tensors.

    - Parameters that do not require a gradient are frozen; a layer is frozen as a whole. A frozen batch norm also keeps
      its running statistics, in training too, which in PyTorch need ``eval()``.
    - A factor or offset alone that is learned for each feature becomes a `Scale`, which learns both; and where weights
      are computed from parameters, as by ``parametrizations.weight_norm``, the network learns the weights themselves.
      Both change how training goes on, so with `optimizer` they are errors.
    - A parameter that requires a gradient and is used twice is an error.
    - The network of a module without parameters and buffers has PyTorch's default dtype.
    - A network that ends in a linear layer has the mean squared error as its loss: a classifier that was trained with
      ``nn.CrossEntropyLoss`` needs ``loss="cross_entropy"``, or ``nn.Softmax(dim=1)`` as its last layer.
    - SGD does not count its steps in PyTorch: a schedule begins anew.

    Examples
    --------
    >>> import nnfast as nf
    >>> from torch import nn  # doctest: +SKIP
    >>> net = nf.from_torch(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))  # doctest: +SKIP
    >>> net.layers  # doctest: +SKIP
    (Dense(8, activation='relu'), Dense(2))
    """
    from nnfast.files.pytorch import importing

    network, ours = importing.from_torch(module, input_shape, optimizer, loss, seed)
    net = sequential_of(network)
    return net if ours is None else (net, ours)


def from_sklearn(
    estimator: Any, *, loss: str | Loss | Callable[..., Any] | None = None, seed: int | Generator | None = None
) -> Sequential:
    """Return the network that a fitted estimator of scikit-learn, or of `nnfast.sklearn`, is.

    Parameters
    ----------
    estimator : object
        `MLPClassifier`, `MLPRegressor`, a linear model, a `Pipeline` of scalers and one of these, or a
        `TransformedTargetRegressor`; see Notes.
    loss : str, Loss or callable, optional
        As for `Sequential`. By default, the one that a multilayer perceptron was trained with; the hinge loss for
        ``SGDClassifier(loss="hinge")`` and ``LinearSVC(loss="hinge")``; otherwise it depends on the activation of the
        output.
    seed : int, numpy.random.Generator or None
        As for `Sequential`: determines the shuffling and the noise.

    Returns
    -------
    Sequential
        It has copies of the estimator's weights, in its dtype. Its output has shape (n, outputs), with one output for
        two classes.

    Raises
    ------
    TypeError, ValueError
        If the estimator is not fitted, or is not supported; the message names it, and its step in a pipeline. If
        another argument has the wrong type or value.

    Notes
    -----
    What the network computes:

    ==================================================  ==============================================================
    MLPClassifier                                       `predict_proba`; for two classes its second column
    MLPRegressor                                        `predict`; its logarithm with ``loss="poisson"``
    LogisticRegression, LogisticRegressionCV            `predict_proba`; for two classes its second column
    LinearRegression, Ridge, Lasso, ElasticNet (CV      `predict`
    versions too), SGDRegressor, LinearSVR, other
    linear regressions, TransformedTargetRegressor
    SGDClassifier, Perceptron, LinearSVC,               `decision_function`; the second column of `predict_proba` for
    RidgeClassifier                                     ``SGDClassifier(loss="log_loss")`` and two classes
    ==================================================  ==============================================================

    A network does not know labels: with several classes, they are
    ``estimator.classes_[net.predict(x).argmax(axis=1)]``; with two,
    ``estimator.classes_[net.predict_class(x)]`` for probabilities and the hinge loss, and otherwise
    ``estimator.classes_[(net.predict(x)[:, 0] > 0).astype(int)]``.

    StandardScaler, MinMaxScaler, MaxAbsScaler and RobustScaler become `Scale` layers, which are frozen, before the
    network; the scaler of a TransformedTargetRegressor becomes one after it.

    Multilayer perceptrons keep their penalty `alpha`, and the state of ``solver="adam"`` and ``"sgd"``. With an
    optimizer of the same hyperparameters, the network's next steps are those of `partial_fit`::

        nf.Adam(learning_rate_init, beta1=beta_1, beta2=beta_2, epsilon=epsilon, corrected_epsilon=True)
        nf.SGD(learning_rate, momentum=momentum, nesterov=nesterovs_momentum)

    Estimators of nnfast with Adam use `corrected_epsilon` too. The learning rate of ``"invscaling"`` and ``"adaptive"``
    is the current one. Scikit-learn does not count the steps of ``"sgd"``, which only schedules by step need: they are
    estimated. The penalties of linear models, and in a TransformedTargetRegressor the state of the optimizer, are left
    out.

    Examples
    --------
    >>> import nnfast as nf
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> net = nf.from_sklearn(model)
    >>> bool(abs(net.predict(X) - model.predict_proba(X)).max() < 1e-12)
    True
    """
    from nnfast.files.sklearn import load as load_estimator

    return sequential_of(load_estimator(estimator, loss, seed, network_of))


def from_keras(
    model: Any, *, loss: str | Loss | Callable[..., Any] | None = None, seed: int | Generator | None = None
) -> Sequential:
    """Return the network that a model of Keras 3 is, whatever its backend.

    Parameters
    ----------
    model : keras.Model
        A Sequential or functional model, built, with one input and one output.
    loss : str, Loss or callable, optional
        As for `Sequential`. By default, the one that the model was compiled with; otherwise it depends on the last
        activation.
    seed : int, numpy.random.Generator or None
        As for `Sequential`: determines the shuffling and the noise.

    Returns
    -------
    Sequential
        It has copies of the model's weights, in its dtype, and predicts what the model predicts, up to rounding.

    Raises
    ------
    TypeError, ValueError
        If the model is not one of Keras, or has a layer that is not supported; the message names it. If the loss that
        it was compiled with is not supported, or another argument has the wrong type or value.

    Notes
    -----
    Supported are Dense, Activation, ReLU, LeakyReLU, ELU, Softmax, BatchNormalization, LayerNormalization, Dropout,
    GaussianNoise, Flatten, Reshape, Rescaling, Normalization (as frozen `Scale` layers), Identity, sums ``x + f(x)``
    (as `Residual`), and models within models, in float32 and float64. `Dense` and the normalizations need samples with
    one axis.

    Layers that are not trainable are frozen. L1 and L2 penalties on kernels and factors are kept; other regularizers
    and constraints are left out. Two normalizations differ in training: the running variance of a batch is unbiased
    here and biased in Keras; and with ``center=True, scale=False`` there is a factor, 1 at first, that is learned.

    If the model was trained with one of these optimizers, its state is kept, and training goes on with nnfast's, given
    the same hyperparameters::

        Adam      nf.Adam(learning_rate, beta1=beta_1, beta2=beta_2, epsilon=epsilon, corrected_epsilon=True)
        AdamW     nf.AdamW(..., corrected_epsilon=True)
        Nadam     nf.NAdam(..., momentum_decay=1.0)
        SGD       nf.SGD(learning_rate, momentum=momentum, nesterov=nesterov)
        Lion      nf.Lion(...)
        Adadelta  nf.Adadelta(learning_rate, rho=rho, epsilon=epsilon)

    Keras's epsilon is 1e-7, unless given, and its weight decay is decoupled. With other optimizers, whose formulas
    differ, and with ``gradient_accumulation_steps``, training begins with a new state.

    Examples
    --------
    >>> import nnfast as nf
    >>> import keras  # doctest: +SKIP
    >>> layers = [keras.Input((2,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(1)]  # doctest: +SKIP
    >>> model = keras.Sequential(layers)  # doctest: +SKIP
    >>> nf.from_keras(model).layers  # doctest: +SKIP
    (Dense(3, activation='relu'), Dense(1))
    """
    from nnfast.files.keras import load as load_model

    return sequential_of(load_model(model, loss, seed))
