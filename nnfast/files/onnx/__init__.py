"""Networks to and from ONNX, without the onnx package.

ONNX files are protocol buffers, whose wire format is small enough to write and read ourselves, in `files.protobuf`. The
package would need 36 MB installed, and its parser takes 78 bytes of memory for each byte of a file of empty nodes; a
file from a stranger must not do that. Ours is in Python, reads in place, and makes nothing of what does not lead to
the output. Tests compare both directions with the package, its checker and ONNX Runtime.
"""

from nnfast.files.onnx.export import save
from nnfast.files.onnx.importing import load

__all__ = ["load", "save"]
