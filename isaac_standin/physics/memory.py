"""PhysX's memory on a GPU, accounted for: settings that the real Isaac Gym would not survive are refused.

PhysX allocates its buffer of contact pairs at the start, and a process that gets less than it requested ends with a
segmentation fault. MuJoCo allocates nothing of the kind, so a program that runs here may still fail on Isaac Gym.

The sizes are those of `mapush.upstream.contact_pairs`, with the evidence for them. No size is known for what other
settings change (`default_buffer_size_multiplier`, `found_lost_pairs`), so they are not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mapush.errors import CapacityError
from mapush.run.capacity import gib
from mapush.upstream.contact_pairs import BYTES_PER_PAIR, OTHER_BYTES, ContactPairs


class Assignment(Protocol):
    """One assignment to a setting.

    Attributes:
      old: the value before.
      new: the value after.
      file: the file that assigned it.
      line: the line in that file.
    """

    @property
    def old(self) -> float:
        """The value before."""

    @property
    def new(self) -> float:
        """The value after."""

    @property
    def file(self) -> str:
        """The file that assigned it."""

    @property
    def line(self) -> int:
        """The line in that file."""


def physx_bytes(pairs: float) -> int:
    """Return what a run takes on the GPU with room for so many contact pairs [bytes], estimated."""
    return ContactPairs(int(pairs)).size + OTHER_BYTES


def account(pairs: float, assignments: Sequence[Assignment], limit_bytes: int | None) -> None:
    """Refuse a buffer of contact pairs for which PhysX would not get the memory.

    Args:
      pairs: `max_gpu_contact_pairs` when the simulation is created.
      assignments: what the program assigned to it before, in order.
      limit_bytes: memory of the GPU [bytes]; with None, nothing is judged.

    Raises:
      CapacityError: the buffer does not fit; `where` is the assignment that exceeded the limit.
    """
    if limit_bytes is None or physx_bytes(pairs) <= limit_bytes:
        return
    where = None
    blamed = _blamed(assignments, limit_bytes)
    if blamed is not None:
        where = _place(blamed)
    buffer = ContactPairs(int(pairs))
    raise CapacityError(
        "PhysX would end with a segmentation fault: its contact pair buffer does not fit in the memory of the GPU",
        where=where,
        got=f"max_gpu_contact_pairs = {buffer.pairs:,}, about {gib(buffer.size)}, and about {gib(OTHER_BYTES)} for "
        "the rest (estimated from runs of MAPush with 500 envs)",
        expected=f"at most {gib(limit_bytes)}, by --physx-memory",
        cause=_history(assignments),
        fix=_largest(limit_bytes),
    )


def _blamed(assignments: Sequence[Assignment], limit_bytes: int) -> Assignment | None:
    """Return the last assignment that exceeded the limit, or else the one that multiplied the value most.

    An assignment that exceeds the limit is more telling than the largest factor: a configuration that replaces
    Isaac Gym's default by eight times as much is harmless, and five times that may be too much.
    """
    for assignment in reversed(assignments):
        if physx_bytes(assignment.old) <= limit_bytes < physx_bytes(assignment.new):
            return assignment
    return max(assignments, key=_factor, default=None)


def _factor(assignment: Assignment) -> float:
    if assignment.old <= 0:
        return 0.0
    return assignment.new / assignment.old


def _place(assignment: Assignment) -> str:
    return f"{assignment.file}:{assignment.line}"


def _history(assignments: Sequence[Assignment]) -> str:
    if not assignments:
        return "nothing assigned it: this is the default"
    steps = []
    for assignment in assignments:
        change = f"from {assignment.old:,.0f} to {assignment.new:,.0f}"
        factor = _factor(assignment)
        if factor > 1.0:
            change += f", {factor:g} times as much"
        steps.append(f"{_place(assignment)} changed it {change}")
    return "; ".join(steps)


def _largest(limit_bytes: int) -> str:
    largest = (limit_bytes - OTHER_BYTES) // BYTES_PER_PAIR
    if largest < 1:
        return "no contact pair fits: use a GPU with more memory, and raise --physx-memory to its size"
    return f"max_gpu_contact_pairs = {largest} is the largest value that fits"
