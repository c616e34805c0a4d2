"""Tables as data for networks: frames of any library, the kinds of their columns, their preparation, and models.

Needs neither pandas nor scikit-learn. `nnfast.sklearn.TabularClassifier` and `TabularRegressor` are the same models as
estimators for scikit-learn.
"""

from nnfast.tables.frames import Frame, as_frame
from nnfast.tables.model import Member, TableModel, fit_table, load
from nnfast.tables.preparation import Column, Preparation
from nnfast.tables.training import Recipe

__all__ = [
    "Column", "Frame", "Member", "Preparation", "Recipe", "TableModel", "as_frame", "fit_table", "load",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted(__all__)
