"""Descriptions: what layers, activations, losses, optimizers and schedules have in common.

A description is a class with declared fields. The constructor, its checks, ``repr``, equality, hash, immutability and
the form in files follow from them::

    class Shape(Description, noun="a shape", tag="kind"):  # a family, with its own registry
        kind: ClassVar[str]

    class Circle(Shape, name="circle"):  # enters the registry: Shape.registry["circle"] is Circle
        radius: float = Field(positive)  # required
        color: str = Field(a_color, default="black", kw_only=True)

    Circle(2)  # Circle(2.0)
    Circle(2, color="red").config()  # {"kind": "circle", "radius": 2.0, "color": "red"}

A check takes the name and the value of a field, and returns the value to keep or raises TypeError or ValueError. Only
a class that is given a `name` enters the registry, and a name is never replaced: a subclass of a user's stays outside.
Positional fields of a base class come first, its keyword-only ones last; a field that is declared again keeps its
place. Override `settle` to check fields against each other and to compute what is derived from them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, dataclass_transform

import numpy as np

from nnfast._validation import content

REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "REQUIRED"})()


class FieldSpec:
    """What `Field` was given."""

    __slots__ = ("check", "default", "in_files", "kw_only", "shown")

    def __init__(self, check: Callable[..., Any], default: Any, kw_only: bool, in_files: bool, shown: bool) -> None:
        self.check, self.default, self.kw_only, self.in_files, self.shown = check, default, kw_only, in_files, shown

    def is_default(self, value: Any) -> bool:
        """Whether the value is that of a field that was left out."""
        return self.default is not REQUIRED and content(value) == content(self.default)


def Field(
    check: Callable[..., Any],
    *,
    default: Any = REQUIRED,
    kw_only: bool = False,
    in_files: bool = True,
    shown: bool = True,
) -> Any:
    """Declare a field of a description.

    Parameters
    ----------
    check : callable
        Called with the name and the value; returns the value to keep.
    default : object
        Checked like any other value, which should not change it. A field without a default is required.
    kw_only : bool
        Whether the constructor takes it by keyword only.
    in_files : bool
        Whether files hold it.
    shown : bool
        Whether ``repr`` shows it where it differs from the default.
    """
    return FieldSpec(check, default, kw_only, in_files, shown)


class _Signature:
    """The constructor's signature, for `inspect` and `help`, which alone need it."""

    def __get__(self, instance: object, cls: type[Description]) -> Any:
        return _signature(cls) if cls.__init__ is Description.__init__ else None  # a subclass may have its own


def _signature(cls: type[Description]) -> Any:
    from inspect import Parameter, Signature

    return Signature(
        [
            Parameter(
                name,
                Parameter.KEYWORD_ONLY if field.kw_only else Parameter.POSITIONAL_OR_KEYWORD,
                default=Parameter.empty if field.default is REQUIRED else field.default,
                annotation=_annotation(cls, name),
            )
            for name, field in cls.fields.items()
        ],
        return_annotation="None",
    )


def _annotation(cls: type, name: str) -> Any:
    return next(found for base in cls.__mro__ if (found := vars(base).get("__annotations__", {}).get(name)) is not None)


@dataclass_transform(field_specifiers=(Field,))
class Description:
    """What every description has; it does not change after it is made.

    Attributes
    ----------
    fields : dict
        The declared fields by name, in the order of the constructor's arguments.
    registry : dict
        The classes of the family by name.
    shows_defaults : bool
        Whether ``repr`` shows fields that have their defaults, too.
    """

    fields: ClassVar[dict[str, FieldSpec]] = {}
    registry: ClassVar[dict[str, Any]] = {}
    shows_defaults: ClassVar[bool] = False
    _noun: ClassVar[str] = "a description"
    _tag: ClassVar[str] = "kind"
    _positional: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}
    __signature__: ClassVar[Any] = _Signature()

    def __init_subclass__(
        cls, name: str = "", noun: str = "", tag: str = "kind", inherit: bool = True, **others: Any
    ) -> None:
        """Collect the fields: those of the base, unless `inherit` is False, and those of the class."""
        super().__init_subclass__(**others)
        if noun:  # a family
            cls._noun, cls._tag, cls.registry = noun, tag, {}
        own = {field: spec for field, spec in vars(cls).items() if isinstance(spec, FieldSpec)}
        for field in own:
            delattr(cls, field)  # or an attribute that is missing would be found here
        kept = {field: own.pop(field, spec) for field, spec in cls.fields.items() if inherit}
        cls.fields = {
            **{field: spec for field, spec in kept.items() if not spec.kw_only},
            **{field: spec for field, spec in own.items() if not spec.kw_only},
            **{field: spec for field, spec in own.items() if spec.kw_only},
            **{field: spec for field, spec in kept.items() if spec.kw_only},
        }
        cls._positional = tuple(field for field, spec in cls.fields.items() if not spec.kw_only)
        cls._defaults = {field: spec.default for field, spec in cls.fields.items()}
        if name:
            if name in cls.registry:
                raise TypeError(f"{cls._noun} named {name!r} exists already: {cls.registry[name].__name__}")
            setattr(cls, cls._tag, name)
            cls.registry[name] = cls

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        given = dict(zip(self._positional, args, strict=False))
        values = self._defaults | given | kwargs
        if (
            len(args) > len(given)
            or len(values) > len(self._defaults)  # one that is not known
            or not given.keys().isdisjoint(kwargs)
            or any(value is REQUIRED for value in values.values())
        ):
            self._raise_of_arguments(*args, **kwargs)
        self.fill(values)

    @classmethod
    def _raise_of_arguments(cls, *args: Any, **kwargs: Any) -> None:
        """Raise the TypeError for arguments that do not fit the signature."""
        try:
            _signature(cls).bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{cls.__name__}() {error}") from None

    def fill(self, values: dict[str, Any]) -> None:
        """Check the fields' values and keep them."""
        vars(self).update({name: self.fields[name].check(name, value) for name, value in values.items()})
        self.settle()

    def settle(self) -> None:
        """Check fields against each other, and add what is derived from them with ``vars(self).update``."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(
            f"{self._noun} is a description and does not change: make a new {type(self).__name__} with another {name}"
        )

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _contents(self) == _contents(other)

    def __hash__(self) -> int:
        return hash((type(self), *_contents(self).values()))

    def changed(self) -> dict[str, Any]:
        """Return the fields that files hold and that differ from their defaults."""
        return {
            name: getattr(self, name)
            for name, field in self.fields.items()
            if field.in_files and not field.is_default(getattr(self, name))
        }

    def config(self) -> Any:
        """Return what a file holds of the description, as JSON can hold it."""
        return {self._tag: getattr(self, self._tag), **self.changed()}

    @classmethod
    def from_config(cls, config: Any) -> Any:
        """Return the description of the family that `config` describes.

        Raises
        ------
        KeyError, TypeError, ValueError
            If it describes none.
        """
        arguments = dict(config)
        name = arguments.pop(cls._tag)
        if name not in cls.registry:
            raise ValueError(f"unknown {cls._tag} of {cls._noun.partition(' ')[2]} {name!r}")
        made: type[Description] = cls.registry[name]
        for field in arguments:
            if field not in made.fields or not made.fields[field].in_files:
                raise ValueError(f"{cls._noun} of {cls._tag} {name!r} has no {field!r}")
        for field, spec in made.fields.items():
            if spec.default is REQUIRED and field not in arguments:
                raise KeyError(field)
        return made(**made.decoded(arguments))

    @classmethod
    def decoded(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the constructor's arguments, from those that a file holds."""
        return arguments

    def shown(self) -> dict[str, Any]:
        """Return the fields that ``repr`` shows, each with what stands there for its value."""
        values = vars(self)
        return {
            name: values[name]
            for name, field in self.fields.items()
            if name in values and field.shown and (self.shows_defaults or not field.is_default(values[name]))
        }

    def __repr__(self) -> str:
        """Return the call that makes it: required fields, and what differs from the defaults."""
        arguments = []
        for name, value in self.shown().items():
            text = "array(...)" if isinstance(value, np.ndarray) else repr(value)
            field = self.fields[name]
            bare = field.default is REQUIRED and not field.kw_only
            arguments.append(text if bare else f"{name}={text}")
        return f"{type(self).__name__}({', '.join(arguments)})"


def _contents(description: Description) -> dict[str, Any]:
    """What is compared: the attributes, arrays by content; not those that a class keeps for itself."""
    return {name: content(value) for name, value in vars(description).items() if not name.startswith("_")}
