"""The compiled kernels, each under the name and the signature of its twin in `nnfast.reference`.

`nnfast.kernels.arrays` has one entry for all activations, one for all losses and one for all optimizers; here each has
a function, made from the twin's signature.
"""

from __future__ import annotations

import inspect as _inspect
from collections.abc import Callable as _Callable
from typing import Any as _Any

from nnfast import reference as _reference
from nnfast.kernels import arrays as _arrays

_ENTRIES = ("apply", "apply_backward", "loss", "loss_backward", "update")


def __getattr__(name: str) -> _Any:
    """Everything else: the tables of names and codes."""
    return getattr(_arrays, name)


def _call_function(entry: _Callable, operation: str, values: dict[str, _Any], is_array: dict[str, bool]) -> _Any:
    out = values.pop("out")
    return entry(operation, *values.values(), out=out)  # arrays, and the parameter if there is one


def _call_loss(entry: _Callable, operation: str, values: dict[str, _Any], is_array: dict[str, bool]) -> _Any:
    prediction, target, out = (values.pop(name) for name in ("prediction", "target", "out"))
    summed = values.pop("reduction", "mean") == "sum"
    numbers = tuple(values[name] for name in values if not is_array[name])
    each = [values[name] for name in values if is_array[name]]
    return entry(operation, prediction, target, *each, numbers=numbers, summed=summed, out=out)


def _call_optimizer(entry: _Callable, operation: str, values: dict[str, _Any], is_array: dict[str, bool]) -> _Any:
    arrays = [values.pop(name) for name in is_array if is_array[name]]
    product = entry(operation, *arrays[:2], arrays[2:], **values)
    return product if "product" in values else None


def _bound(call: _Callable, entry: _Callable, operation: str, name: str) -> _Callable:
    """The function `name`, which calls `entry` for one operation."""
    signature = _inspect.signature(getattr(_reference, name))
    is_array = {p.name: "np.ndarray" in p.annotation for p in signature.parameters.values()}

    def function(*args: _Any, **kwargs: _Any) -> _Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return call(entry, operation, dict(bound.arguments), is_array)

    function.__name__ = function.__qualname__ = name
    function.__signature__ = signature  # type: ignore[attr-defined]
    return function


def _operations() -> dict[str, tuple[_Callable, _Callable, str]]:
    """How each operation is called, by the name of its twin."""
    found = {name: (_call_function, _arrays.apply, name) for name in _arrays.FUNCTIONS}
    found |= {f"{name}_backward": (_call_function, _arrays.apply_backward, name) for name in _arrays.ACTIVATIONS}
    found |= {name: (_call_loss, _arrays.loss, name) for name in _arrays.LOSSES}
    found |= {f"{name}_backward": (_call_loss, _arrays.loss_backward, name) for name in _arrays.LOSSES}
    return found | {name: (_call_optimizer, _arrays.update, name) for name in _arrays.OPTIMIZERS}


OPERATIONS = frozenset(_operations())  # what must have a twin

_plain = {name: value for name, value in vars(_arrays).items() if _inspect.isroutine(value) and name[0] != "_"}
globals().update({name: value for name, value in _plain.items() if name not in _ENTRIES})
globals().update({name: _bound(*how, name) for name, how in _operations().items() if hasattr(_reference, name)})
