"""Errors of the stand-in."""

from __future__ import annotations

from mapush.errors import MapushError, SimulatorError


class StandinError(MapushError):
    """A call that Isaac Gym would not accept either, or whose input is wrong."""


class NotSupported(MapushError, NotImplementedError):
    """A part of Isaac Gym's API that the stand-in does not have."""


class BufferOverflow(SimulatorError):
    """Contacts or constraint rows that did not fit into their buffers on a GPU.

    Args:
      what: see `MapushError`.
      contacts: contacts per env that would be enough.
      rows: constraint rows of one env that would be enough.
      **fields: see `MapushError`.
    """

    def __init__(self, what: str, contacts: int, rows: int, **fields: str) -> None:
        super().__init__(what, **fields)
        self.contacts = contacts
        self.rows = rows
