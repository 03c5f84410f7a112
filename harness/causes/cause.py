"""An explanation of a failure."""

from __future__ import annotations

from typing import NamedTuple


class Cause(NamedTuple):
    """An explanation of a failure.

    Attributes:
      cause: the most likely reason; "" if it is not known.
      fix: what to do about it; "" if there is no advice.
    """

    cause: str = ""
    fix: str = ""
