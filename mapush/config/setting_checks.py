"""Checks of single settings, for the dataclasses of the configuration."""

from __future__ import annotations

from typing import Any

from typing_extensions import get_args

from mapush.errors import ConfigError, unknown


def require(good: bool, name: str, got: object, expected: str) -> None:
    """Refuse a setting whose value is out of range; raise ConfigError."""
    if not good:
        raise ConfigError(f"{name} is out of range", got=repr(got), expected=expected)


def require_choice(name: str, got: str, choices: Any) -> None:
    """Refuse a value that is not among the choices of a `Literal`; raise ConfigError."""
    if got not in get_args(choices):
        raise unknown(name, got, get_args(choices))
