"""Errors that say what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from typing import Iterable, Optional

_FIELDS = ("where", "got", "expected", "cause", "fix")


class MapushError(Exception):
    """Base class of all errors of mapush; its message has a line for each field that is set.

    Args:
      what: the problem in one line; it becomes the first line of the message.
      where: the place: file, environment, agent, field, step.
      got: the value that was found.
      expected: the value that would be right.
      cause: the most likely reason.
      fix: what to change; a command if there is one.
    """

    def __init__(
        self,
        what: str,
        *,
        where: Optional[str] = None,
        got: Optional[str] = None,
        expected: Optional[str] = None,
        cause: Optional[str] = None,
        fix: Optional[str] = None,
    ) -> None:
        self.what = what
        self.where = where
        self.got = got
        self.expected = expected
        self.cause = cause
        self.fix = fix
        super().__init__(what)

    def __str__(self) -> str:
        lines = [f"{type(self).__name__}: {self.what}"]
        for name in _FIELDS:
            value = getattr(self, name)
            if value:
                lines.append(f"  {name:<9} {value}")
        return "\n".join(lines)

    def add_where(self, place: str) -> None:
        """Append a wider place, such as the env step, to `where`."""
        if self.where:
            self.where = f"{self.where}, {place}"
        else:
            self.where = place


class ConfigError(MapushError):
    """A setting that does not exist, or a combination that cannot run."""


class SpecError(MapushError):
    """An array that does not conform to its spec."""


class NonFiniteError(MapushError):
    """A NaN or an infinity, found before it spreads."""


class CheckpointError(MapushError):
    """A checkpoint that is missing, damaged, or of a different task or size."""


class SimulatorError(MapushError):
    """A simulator that cannot be loaded, or whose physics diverged."""


class LearnerError(MapushError):
    """A learner that cannot be loaded."""


class CapacityError(MapushError):
    """A run that does not fit in the memory of the GPU."""


class DistributedError(MapushError):
    """Ranks that cannot reach each other, do not fit together, or have lost each other."""


class ReplicaError(MapushError):
    """Ranks whose replicas of the learner are no longer equal."""


def unknown(kind: str, name: str, valid: Iterable[str]) -> ConfigError:
    """Return the error for a name that does not exist, with the closest name that does.

    Args:
      kind: the kind of thing that has names, such as "preset".
      name: the name that was given.
      valid: the names that exist.
    """
    names = sorted(valid)
    closest = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    hint = ""
    if closest:
        hint = f"; did you mean {closest[0]!r}?"
    return ConfigError(f"unknown {kind} {name!r}{hint}", expected="one of " + ", ".join(names))
