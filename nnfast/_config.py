"""Information about this installation of nnfast."""

from __future__ import annotations

from nnfast._threads import get_num_threads
from nnfast._version import __version__
from nnfast.kernels import arrays, dispatch


def show_config() -> None:
    """Print the version, the SIMD level in use and those built, the compiler, and the number of threads.

    Examples
    --------
    >>> import nnfast as nf
    >>> nf.show_config()  # doctest: +ELLIPSIS
    nnfast ...
    SIMD level: ...
    """
    import numpy as np

    print(f"nnfast {__version__} (numpy {np.__version__})")
    print(f"SIMD level: {dispatch.level} (built: {', '.join(dispatch.built_levels())}; "
          f"this machine runs: {', '.join(dispatch.supported_levels())})")  # fmt: skip
    print(f"compiler: {arrays.COMPILER}{', checked build' if arrays.CHECKED else ''}")
    print(f"threads: {get_num_threads()}")
