"""Tables as data for networks: frames of any library, the kinds of their columns, and their preparation.

Needs neither pandas nor scikit-learn.
"""

from nnfast.tables.frames import Frame, as_frame
from nnfast.tables.preparation import Column, Preparation

__all__ = ["Column", "Frame", "Preparation", "as_frame"]


def __dir__() -> list[str]:
    return sorted(__all__)
