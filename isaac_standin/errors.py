"""Errors of the stand-in."""

from __future__ import annotations

from mapush.errors import MapushError


class StandinError(MapushError):
    """A call that Isaac Gym would not accept either, or whose input is wrong."""


class NotSupported(MapushError, NotImplementedError):
    """A part of Isaac Gym's API that the stand-in does not have."""
