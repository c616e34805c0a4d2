"""Numerical gradients, of any function and of a network, and checks of gradients with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nnfast.gradients.checking import ArrayReport, GradientReport, assert_gradient_correct, check_gradient
    from nnfast.gradients.functions import (
        Descent,
        gradient_descent,
        numerical_diff,
        numerical_gradient,
        numerical_jacobian,
    )

__all__ = [
    "ArrayReport",
    "Descent",
    "GradientReport",
    "assert_gradient_correct",
    "check_gradient",
    "gradient_descent",
    "numerical_diff",
    "numerical_gradient",
    "numerical_jacobian",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: training needs none of them, and `import nnfast` stays quick."""
    if name not in __all__:
        raise AttributeError(f"module 'nnfast.gradients' has no attribute {name!r}")
    from nnfast.gradients import functions

    if name in functions.__all__:
        return getattr(functions, name)
    from nnfast.gradients import checking

    return getattr(checking, name)


def __dir__() -> list[str]:
    return sorted(__all__)
