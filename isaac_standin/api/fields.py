"""Objects with declared attributes, as strict as Isaac Gym's: an unknown name or a wrong type is an error.

Isaac Gym stores every number as a 32-bit one. So do we: after `params.dt = 0.005`, `params.dt` is
0.004999999888241291, and what programs compute from it (the length of an episode, say) is the same.
"""

from __future__ import annotations

import ctypes
import difflib
import math
import operator
from enum import IntEnum
from typing import Any, Callable, ClassVar

import numpy as np
import torch

from isaac_standin.errors import StandinError

Convert = Callable[[Any, str], Any]
INT_RANGE = (-(2**31), 2**32 - 1)  # of C's int and unsigned int


class UnknownAttribute(StandinError, AttributeError):
    """An attribute that the object does not have."""


class WrongValue(StandinError, TypeError, ValueError):
    """A value of the wrong type, or not a number."""


def wrong(where: str, value: Any, expected: str) -> WrongValue:
    """Return the error for `value` given to the attribute or argument `where`."""
    got = f"{value!r}, a {type(value).__name__}"
    return WrongValue(f"wrong value for {where}", where=where, got=got[:200], expected=expected)


def _plain(value: Any) -> Any:
    """Return the Python number in a tensor, array or numpy scalar of one element; other values unchanged."""
    if isinstance(value, (torch.Tensor, np.ndarray)) and math.prod(value.shape) == 1:
        return value.item()
    if isinstance(value, np.generic):
        return value.item()
    return value


def to_float(value: Any, where: str) -> float:
    """Return a number as the nearest 32-bit float."""
    if type(value) is not float:
        value = _plain(value)
        if not isinstance(value, (int, float)):
            raise wrong(where, value, "a number")
    rounded = ctypes.c_float(value).value
    if math.isnan(rounded):
        raise wrong(where, value, "a number that is not NaN")
    if math.isinf(rounded) and not math.isinf(value):
        raise wrong(where, value, "a number within the range of 32-bit floats")
    return rounded


def to_int(value: Any, where: str) -> int:
    """Return a whole number that fits 32 bits; floats are refused, as Isaac Gym does."""
    value = _plain(value)
    if not isinstance(value, int):
        raise wrong(where, value, "a whole number (an int)")
    if not INT_RANGE[0] <= value <= INT_RANGE[1]:
        raise wrong(where, value, "a whole number that fits 32 bits")
    return operator.index(value)


def to_bool(value: Any, where: str) -> bool:
    """Return a truth value; numbers count as in C, and None is false."""
    value = _plain(value)
    if value is None:
        return False
    if not isinstance(value, (bool, int, float)):
        raise wrong(where, value, "True or False")
    return bool(value)


def to_text(value: Any, where: str) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise wrong(where, value, "a string")
    return str(value)


def to_enum(kind: type[IntEnum]) -> Convert:
    """Return a converter to a member of `kind`, given as such or as its number."""

    def convert(value: Any, where: str) -> IntEnum:
        value = _plain(value)
        if isinstance(value, int) and value in list(kind):
            return kind(value)
        names = []
        for member in kind:
            names.append(f"{member.name} ({member.value})")
        raise wrong(where, value, "one of " + ", ".join(names))

    return convert


class Field:
    """The declaration of an attribute: how its value is converted, and its default."""

    def __init__(self, convert: Convert, default: Any) -> None:
        self.convert = convert
        self.default = default


def number(default: float = 0.0) -> Any:
    """Declare an attribute that is a float."""
    return Field(to_float, default)


def whole(default: int = 0) -> Any:
    """Declare an attribute that is an int."""
    return Field(to_int, default)


def flag(default: bool = False) -> Any:
    """Declare an attribute that is True or False."""
    return Field(to_bool, default)


def text(default: str = "") -> Any:
    """Declare an attribute that is a string."""
    return Field(to_text, default)


def choice(default: IntEnum) -> Any:
    """Declare an attribute that is a member of the enum of `default`."""
    return Field(to_enum(type(default)), default)


def nested(kind: type[Record], **values: Any) -> Any:
    """Declare an attribute that is a record; assigning copies it, and reading gives the very part, to be changed."""
    return Field(kind.converted, kind(**values))


class Record:
    """Base class of objects with declared attributes; subclasses declare them with `number()`, `nested(...)` and so on.

    Positional and keyword arguments of the constructor set the attributes in the order of their declaration, for
    classes that set `takes_values`.
    """

    fields_: ClassVar[dict[str, Field]] = {}
    takes_values: ClassVar[bool] = False
    read_only: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        cls.fields_ = dict(cls.fields_)
        for name, value in list(vars(cls).items()):
            if isinstance(value, Field):
                cls.fields_[name] = value
                delattr(cls, name)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        for name, field in self.fields_.items():
            self.__dict__[name] = field.convert(field.default, f"{type(self).__name__}.{name}")
        if args or kwargs:
            self._set_values(args, kwargs)

    def _set_values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Set attributes from the constructor's arguments; None keeps the default."""
        kind = type(self).__name__
        if not self.takes_values:
            raise WrongValue(f"{kind}() takes no arguments", fix=f"params = {kind}(), then set its attributes")
        if len(args) > len(self.fields_):
            raise WrongValue(f"too many arguments for {kind}", got=str(len(args)), expected=", ".join(self.fields_))
        given = dict(zip(self.fields_, args, strict=False))
        for name in kwargs:
            if name in given:
                raise WrongValue(f"{kind}() got {name!r} twice")
        given.update(kwargs)
        for name, value in given.items():
            if value is not None:
                setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        field = self.fields_.get(name)
        if field is None:
            raise self._unknown(name)
        where = f"{type(self).__name__}.{name}"
        if name in self.read_only:
            raise UnknownAttribute(f"{where} can only be read")
        self.__dict__[name] = field.convert(value, where)

    def __getattr__(self, name: str) -> Any:
        raise self._unknown(name)

    def __delattr__(self, name: str) -> None:
        raise UnknownAttribute(f"attributes of {type(self).__name__} cannot be deleted", got=name)

    def _unknown(self, name: str) -> UnknownAttribute:
        names = list(self.fields_)
        closest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        what = f"{type(self).__name__} has no attribute {name!r}"
        if closest:
            what = f"{what}; did you mean {closest[0]!r}?"
        return UnknownAttribute(what, expected="one of " + ", ".join(names))

    def copied(self) -> Any:
        """Return a copy that shares nothing with this record."""
        made = object.__new__(type(self))
        for name, value in self.__dict__.items():
            if isinstance(value, Record):
                value = value.copied()
            elif isinstance(value, list):
                value = list(value)
            made.__dict__[name] = value
        return made

    def __repr__(self) -> str:
        parts = []
        for name in self.fields_:
            value = self.__dict__[name]
            if isinstance(value, float):
                value = f"{value:.7g}"
            parts.append(f"{name}={value}")
        return f"{type(self).__name__}({', '.join(parts)})"

    @classmethod
    def converted(cls, value: Any, where: str) -> Any:
        """Return a copy of a record of this class, which may also come as a row of a structured array."""
        if isinstance(value, cls):
            return value.copied()
        dtype = getattr(cls, "dtype", None)
        if dtype is not None and isinstance(value, (np.void, np.ndarray)) and value.dtype == dtype and value.size == 1:
            return cls.from_row(value)
        raise wrong(where, value, f"a {cls.__name__}")

    @classmethod
    def from_row(cls, row: Any) -> Any:
        """Return the record in one element of a structured array."""
        made = cls()
        for name in made.fields_:
            setattr(made, name, row[name])
        return made

    @classmethod
    def from_buffer(cls, buffer: Any) -> Any:
        """Return the record in a buffer of 32-bit numbers, such as a row of a structured array."""
        dtype = getattr(cls, "dtype", None)
        if dtype is None:
            raise wrong(f"{cls.__name__}.from_buffer", buffer, "a class with a dtype")
        rows = np.frombuffer(np.ascontiguousarray(buffer).tobytes(), dtype=dtype)
        if rows.size != 1:
            raise wrong(f"{cls.__name__}.from_buffer", buffer, f"one {cls.__name__}, {dtype.itemsize} bytes")
        return cls.from_row(rows[0])
