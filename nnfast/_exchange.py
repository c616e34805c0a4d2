"""Networks from files and from other libraries."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nnfast.losses import Loss
from nnfast.sequential import Sequential, sequential_of

if TYPE_CHECKING:
    from numpy.random import Generator


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
