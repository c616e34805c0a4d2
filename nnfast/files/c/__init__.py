"""Networks as C: `plan` makes calls of a network, `functions` has what they call, `int8` quantizes, `export` writes."""

from nnfast.files.c.export import CExport, export, paths_of

__all__ = ["CExport", "export", "paths_of"]
