"""What a network predicts, for compiled code and for threads."""

from __future__ import annotations

import os
from math import prod
from typing import TYPE_CHECKING, Any, NoReturn

from nnfast._network import predicted
from nnfast.engine.program import Snapshot

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    from nnfast._network import Network


def get_include() -> str:
    """Return the folder of ``nnfast.h``, for compilers of C and Cython that use `Predictor`.

    Examples
    --------
    >>> import os
    >>> import nnfast as nf
    >>> os.listdir(nf.get_include())
    ['nnfast.h']
    """
    return os.path.join(os.path.dirname(__file__), "include")


class Predictor:
    """A copy of what a network predicts, which compiled code calls without the GIL.

    `Sequential.predictor` returns it. It never changes, also when the network is trained or deleted. Any number of
    threads may call it at the same time, from Python, where the call releases the GIL, and from compiled code; there
    are no locks. Dropout and noise do nothing, and batch norms use their running statistics.

    - Cython: ``from nnfast.capi cimport predictor_of, predict_one``, with `get_include` among the ``include_dirs``.
    - C and C++: ``nnfast.h`` in the folder `get_include`. ``nnfast_predictor_of`` takes this object or its `capsule`;
      functions that know nothing of Python take the `address` of the struct.
    - numba, ctypes and cffi: a function at `function_address` takes three addresses, those of the struct, of the sample
      and of the output, and returns a status, 0 if there was no error.

    Compiled code must keep a reference to this object, or to a capsule of it, as long as it uses an address.

    Attributes
    ----------
    input_shape, output_shape : tuple of int
        The shapes of a sample and of its output.
    n_inputs, n_outputs : int
        How many numbers these have. Compiled code passes them next to each other, in C order.
    dtype : dtype
        Of samples and outputs, float32 or float64.
    address : int
        The address of the C struct ``nnfast_predictor``.
    function_address : int
        The address of its function ``predict_one``.
    capsule : PyCapsule
        The address of the struct, under the name ``"nnfast.predictor"``. Each access returns a new capsule, which keeps
        the struct valid.

    Notes
    -----
    `copy.copy` and `copy.deepcopy` return the same object, since it cannot change. It cannot be pickled, since
    addresses mean nothing in another process: pickle the network. A forked process can use it.

    A sample and its output must not overlap, and must be aligned as their type requires. A call allocates no memory
    unless the outputs of two layers take more than 32 KB, or those of more layers where residual layers keep their
    inputs; it needs up to 400 KB of stack. As in all calls of nnfast, subnormal numbers count as zero; the
    floating-point mode of the thread is restored.

    Examples
    --------
    A call from Python, with or without memory for the output:

    >>> import numpy as np
    >>> import nnfast as nf
    >>> net = nf.Sequential([nf.Dense(64, "relu"), nf.Dense(2)], input_shape=4, seed=0)
    >>> predictor = net.predictor()
    >>> x, y = np.ones(4, np.float32), np.empty(2, np.float32)
    >>> bool((predictor(x, out=y) == net.predict_one(x)).all())
    True

    The same from any language that can call a C function:

    >>> import ctypes
    >>> pointer = ctypes.c_void_p
    >>> predict_one = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer, pointer)(predictor.function_address)
    >>> predict_one(predictor.address, x.ctypes.data, y.ctypes.data)
    0
    """

    def __init__(self, network: Network) -> None:
        program = network.built
        self._input_shape, self._output_shape = network.built_shape, network.output_shape
        self._flat = len(self._input_shape) == len(self._output_shape) == 1
        with network.guard.whole:
            self._snapshot = Snapshot(program)

    def __call__(self, row: ArrayLike, /, *, out: np.ndarray | None = None) -> np.ndarray:
        """Compute the outputs for one sample, as `Sequential.predict_one`, which documents arguments and errors."""
        snapshot = self._snapshot
        if self._flat:
            if out is None:
                result = snapshot.predict_row(row)
                if result is not None:
                    return result
            elif snapshot.predict_one(row, out):
                return out
        return predicted(snapshot, row, out, self._input_shape, self._output_shape)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of a sample."""
        return self._input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of its output."""
        return self._output_shape

    @property
    def n_inputs(self) -> int:
        """How many numbers a sample has."""
        return prod(self._input_shape)

    @property
    def n_outputs(self) -> int:
        """How many numbers its output has."""
        return prod(self._output_shape)

    @property
    def dtype(self) -> np.dtype:
        """The dtype of samples and outputs."""
        return self._snapshot.dtype

    @property
    def address(self) -> int:
        """The address of the C struct ``nnfast_predictor``."""
        return self._snapshot.address

    @property
    def function_address(self) -> int:
        """The address of its function ``predict_one``."""
        return self._snapshot.function_address

    @property
    def capsule(self) -> object:
        """A new capsule with the address of the struct, which it keeps valid."""
        return self._snapshot.capsule

    def __copy__(self) -> Predictor:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Predictor:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Predictor cannot be pickled, since its addresses mean nothing in another process: "
            "pickle the network, and call its predictor() there"
        )

    def __repr__(self) -> str:
        return f"Predictor(input_shape={self._input_shape}, output_shape={self._output_shape}, dtype='{self.dtype}')"
