"""Networks to and from PyTorch, which is imported here and nowhere else in the package."""

from nnfast._validation import require

require("torch", "torch")
