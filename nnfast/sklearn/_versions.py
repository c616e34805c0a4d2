"""What differs between the versions of scikit-learn, from 1.5 on, and which of its private names nnfast uses."""

from __future__ import annotations

from collections.abc import Callable
from operator import methodcaller
from typing import Any, ClassVar, TypeVar

from sklearn.base import _fit_context as fit_context
from sklearn.utils import _safe_indexing as safe_indexing
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call as check_partial_fit_first_call
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

__all__ = [
    "CallbackSupport",
    "Interval",
    "Options",
    "StrOptions",
    "Tags",
    "check_features",
    "check_partial_fit_first_call",
    "check_sample_weight",
    "check_table",
    "fit_context",
    "safe_indexing",
    "validate_data",
    "with_callbacks",
]

Method = TypeVar("Method", bound=Callable[..., Any])

try:
    from sklearn.utils.validation import validate_data  # since 1.6

    SKIPS = True
except ImportError:
    SKIPS = False

    def validate_data(estimator: Any, X: Any, y: Any = "no_validation", **options: Any) -> Any:
        """Check data, and set or compare the number and the names of features."""
        return methodcaller("_validate_data", X, y, **options)(estimator)


def check_features(estimator: Any, X: Any, *, reset: bool) -> None:
    """Set or compare the number and the names of features, and check nothing else."""
    as_they_are: dict[str, Any] = {"skip_check_array": True} if SKIPS else {"cast_to_ndarray": False}
    validate_data(estimator, X, reset=reset, **as_they_are)


def check_table(estimator: Any, X: Any) -> Any:
    """Return what is not a frame as an array of values of any kind, after scikit-learn's checks of its shape."""
    any_value: dict[str, Any] = {"ensure_all_finite" if SKIPS else "force_all_finite": False}
    return check_array(X, dtype=None, estimator=estimator, **any_value)


try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupport  # since 1.9
    from sklearn.callback import with_callbacks
except ImportError:

    class CallbackSupport:  # type: ignore[no-redef]
        """Nothing, in versions of scikit-learn without callbacks."""

    def with_callbacks(method: Method) -> Method:
        """Return the method, in versions of scikit-learn without callbacks."""
        return method


class Tags:
    """What an estimator tells scikit-learn about itself: attributes of `__sklearn_tags__`, by dotted name.

    A class lists its own in `own_tags`; a version of scikit-learn ignores those that it does not know.
    """

    own_tags: ClassVar[dict[str, bool]] = {}

    def __sklearn_tags__(self) -> Any:  # since 1.6
        """Return the tags."""
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        for path, value in self.own_tags.items():
            *parents, name = path.split(".")
            holder = tags
            for parent in parents:
                holder = getattr(holder, parent)
            if hasattr(holder, name):
                setattr(holder, name, value)
        return tags

    def _more_tags(self) -> dict[str, Any]:  # until 1.5
        names = {
            "classifier_tags.multi_label": "multilabel",
            "target_tags.multi_output": "multioutput",
            "input_tags.allow_nan": "allow_nan",
        }
        tags: dict[str, Any] = {names[path]: value for path, value in self.own_tags.items() if path in names}
        if self.own_tags.get("input_tags.string"):
            tags["X_types"] = ["2darray", "string"]
        return tags
