"""The readable specification: every compiled kernel in plain NumPy, under the same name and signature.

Nothing here is used at run time, and nothing here imports nnfast: the tests compare the compiled kernels with it.
Arrays are of a float dtype; `out` is written and returned if it is given.

Every public function of the files listed here is the twin of a kernel, so a new one changes its own file only.
"""

from . import (
    activations,
    columns,
    conversion,
    elementwise,
    losses,
    metrics,
    noise,
    norms,
    optimizers,
    perceptron,
    shuffling,
    sparse,
)
from . import dense as _dense

_FILES = (
    activations,
    columns,
    conversion,
    _dense,
    elementwise,
    losses,
    metrics,
    noise,
    norms,
    optimizers,
    perceptron,
    shuffling,
    sparse,
)
_TWINS = {
    name: value
    for file in _FILES
    for name, value in vars(file).items()
    if not name.startswith("_") and getattr(value, "__module__", None) == file.__name__
}
globals().update(_TWINS)

__all__ = sorted(_TWINS)
