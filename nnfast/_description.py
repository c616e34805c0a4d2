"""Descriptions: layers, activations, losses, optimizers and schedules, declared by their fields.

A description says what something is, and computes nothing. Its class declares fields, each with a check:

    class Huber(Loss):
        name = "huber"
        delta: float = field(positive, default=1.0)

From this come the constructor (``Huber(delta=1.0)``, which type checkers and editors see as well), the checks, `repr`,
equality and hash by value, immutability, and the values that files hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar, dataclass_transform

import numpy as np

from nnfast._validation import check_bool, check_float, choose, content

Check = Callable[[str, Any], Any]
MISSING: Any = object()


class Field:
    """A declared field: see `field`."""

    __slots__ = ("check", "default", "kw_only", "name", "stored")

    def __init__(self, check: Check | None, default: Any, kw_only: bool, stored: bool) -> None:
        self.name = ""
        self.check = check
        self.default = default
        self.kw_only = kw_only
        self.stored = stored

    def checked(self, value: Any) -> Any:
        """Return the value as it is kept; TypeError or ValueError if the field cannot have it."""
        return value if self.check is None else self.check(self.name, value)


def field(check: Check | None = None, *, default: Any = MISSING, kw_only: bool = False, stored: bool = True) -> Any:
    """Declare a field of a description.

    Parameters
    ----------
    check : callable, optional
        Called as ``check(name, value)``; returns the value to keep, or raises TypeError or ValueError.
    default : object, optional
        Without one the constructor needs the argument.
    kw_only : bool
        Whether the constructor takes it by keyword alone.
    stored : bool
        Whether files hold it.
    """
    return Field(check, default, kw_only, stored)


# ---- checks


def between(
    minimum: float, maximum: float = float("inf"), *, open_ends: bool = False, excluded: str = ""
) -> Callable[[str, Any], float]:
    """Return a check for a finite number within bounds.

    Parameters
    ----------
    minimum, maximum : float
        The bounds.
    open_ends : bool
        Whether the bounds themselves are out of range.
    excluded : str
        Why `maximum` alone is out of range; for the message.
    """

    def check(name: str, value: Any) -> float:
        number = check_float(name, value, minimum, maximum, open_ends=open_ends)
        if excluded and number == maximum:
            raise ValueError(f"{name} must be below {maximum:g}, got {number}{excluded}")
        return number

    return check


finite = between(float("-inf"), open_ends=True)
positive = between(0.0, open_ends=True)
not_negative = between(0.0)
boolean: Check = check_bool


def one_of(*choices: str) -> Callable[[str, Any], str]:
    """Return a check for one of some names."""
    return lambda name, value: choose(name, value, choices)


# ---- the base class


class _Signature:
    """The signature of a description's constructor, for `inspect.signature`, computed when it is asked for."""

    def __get__(self, instance: object, owner: type[Description]) -> Any:
        import inspect

        owner.prepare()
        return inspect.signature(owner.__init__).replace(
            parameters=[*inspect.signature(owner.__init__).parameters.values()][1:]
        )


@dataclass_transform(eq_default=False, field_specifiers=(field,))
class Description:
    """An object declared by fields; see the module's docstring.

    Descriptions are equal if they are of one class and their fields have equal values, arrays by content.

    Attributes
    ----------
    fields : tuple of Field
        In the order of declaration, those of base classes first.
    """

    fields: ClassVar[tuple[Field, ...]] = ()
    frozen: ClassVar[bool] = True
    what: ClassVar[str] = "this"  # what messages call it
    shows_defaults: ClassVar[bool] = False  # in its repr, which then names all fields
    __signature__ = _Signature()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        fields = {known.name: known for known in cls.fields}
        declared = {name: value for name, value in vars(cls).items() if isinstance(value, Field)}
        for name, value in declared.items():
            value.name = name
            fields[name] = value
            delattr(cls, name)
        cls.fields = tuple(fields.values())
        if "__init__" not in vars(cls) and hasattr(cls.__init__, "from_fields"):
            cls.__init__ = _first_init  # type: ignore[assignment]

    @classmethod
    def prepare(cls) -> None:
        """Write the constructor, if it was not needed before: that keeps the import quick."""
        for owner in cls.__mro__:
            if vars(owner).get("__init__") is _first_init:
                owner.__init__ = _constructor(owner)  # type: ignore[misc]

    @classmethod
    def needs_arguments(cls) -> bool:
        """Return whether the constructor needs any."""
        return any(known.default is MISSING for known in cls.fields)

    def settle(self, values: dict[str, Any]) -> None:
        """Check the values of all fields and keep them; then `derive` what follows from them."""
        vars(self).update({known.name: known.checked(values[known.name]) for known in self.fields})
        self.derive()

    def derive(self) -> None:
        """Check what several fields have to do with each other, and keep what follows from them in ``vars(self)``."""

    def values_of_fields(self) -> dict[str, Any]:
        """Return the values of the fields by name."""
        return {known.name: getattr(self, known.name) for known in self.fields}

    def changed(self) -> dict[str, Any]:
        """Return the values of the fields that have no default, or differ from it."""
        return {
            known.name: value
            for known, value in zip(self.fields, self.values_of_fields().values(), strict=True)
            if known.default is MISSING or content(value) != content(known.default)
        }

    def __setattr__(self, name: str, value: object) -> None:
        if self.frozen:
            raise AttributeError(
                f"{self.what} is a description and does not change: "
                f"make a new {type(self).__name__} with another {name}"
            )
        super().__setattr__(name, value)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return content(list(self.values_of_fields().values())) == content(list(other.values_of_fields().values()))

    def __hash__(self) -> int:
        return hash((type(self), content(list(self.values_of_fields().values()))))

    def shown(self) -> Iterator[str]:
        """Return the arguments that `repr` shows: those without a default by position, then those that differ."""
        named = {known.name for known in self.fields if self.shows_defaults or known.default is not MISSING}
        values = self.values_of_fields() if self.shows_defaults else self.changed()
        for name, value in values.items():
            text = "array(...)" if isinstance(value, np.ndarray) else repr(value)
            yield f"{name}={text}" if name in named else text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.shown())})"


def _first_init(self: Description, *args: Any, **options: Any) -> None:
    """Stand for a constructor until it is needed."""
    type(self).prepare()
    type(self).__init__(self, *args, **options)


_first_init.from_fields = True  # type: ignore[attr-defined]
Description.__init__ = _first_init  # type: ignore[method-assign, assignment]


def _constructor(cls: type[Description]) -> Any:
    """Return the constructor of a class: a function with an argument for each field."""
    arguments = ["self"]
    starred = False
    for known in sorted(cls.fields, key=lambda known: known.kw_only):
        if known.kw_only and not starred:
            arguments.append("*")
            starred = True
        arguments.append(known.name if known.default is MISSING else f"{known.name}=defaults[{known.name!r}]")
    values = ", ".join(f"{known.name!r}: {known.name}" for known in cls.fields)
    space = {"defaults": {known.name: known.default for known in cls.fields}}
    exec(f"def __init__({', '.join(arguments)}):\n    self.settle({{{values}}})", space)
    made: Any = space["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    made.__module__ = cls.__module__
    made.from_fields = True
    hints = _annotations(cls)
    made.__annotations__ = {known.name: hints[known.name] for known in cls.fields if known.name in hints} | {
        "return": "None"
    }
    return made


def _annotations(cls: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for owner in reversed(cls.__mro__):
        found |= vars(owner).get("__annotations__", {})
    return found


D = TypeVar("D", bound=Description)


def declared_in(namespace: dict[str, Any], base: type[D]) -> tuple[type[D], ...]:
    """Return the classes of a module that descend from `base`, in the order of their declaration: those that it names.

    A user's subclass elsewhere does not enter the registry that is made of them.
    """
    return tuple(
        value
        for name, value in namespace.items()
        if isinstance(value, type) and issubclass(value, base) and value is not base and not name.startswith("_")
    )
