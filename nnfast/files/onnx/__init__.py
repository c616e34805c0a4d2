"""Networks to and from ONNX, without the onnx package.

Files are written with our own writer of protocol buffers, and read with our own reader: both take fewer lines than
using the package's well would, need no 40 MB of installed packages, and the reader allocates nothing that the file
does not hold, which protocol buffers in C++ do not promise. Tests compare both with the package, its checker and ONNX
Runtime.
"""

from nnfast.files.onnx.export import save
from nnfast.files.onnx.importing import load

__all__ = ["load", "save"]
