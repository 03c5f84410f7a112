"""Room for contact pairs in Isaac Gym: how much, what it takes, and whether that fits, before PhysX allocates it.

PhysX allocates all of it at the start, and a process that gets less than it asked for ends in a segmentation fault.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Callable, Optional

from mapush.errors import CapacityError, ConfigError
from mapush.run import capacity
from mapush.run.capacity import MIB, gib

DEFAULT_PAIRS = 2**23
"""`max_gpu_contact_pairs` of MQE, times 1."""
BYTES_PER_PAIR = 256
"""Estimated; Isaac Gym does not tell. PhysX's public structures take 160 for a patch of four contacts with their
forces; a run of 500 envs takes 6,000 MiB with `DEFAULT_PAIRS`, and one with five times as many did not fit on 8 GiB, so
it is more than 68."""
REST = 3952 * MIB
"""What such a run takes besides: 6,000 MiB less the pairs."""


@dataclasses.dataclass(frozen=True)
class ContactPairs:
    """Room for contacts.

    Attributes:
      pairs: how many have room.
    """

    pairs: int

    @property
    def size(self) -> int:
        """What they take on the GPU [bytes], estimated."""
        return self.pairs * BYTES_PER_PAIR

    def __str__(self) -> str:
        return f"room for {self.pairs:,} contact pairs, about {gib(self.size)}"


def budget(multiplier: float = 1.0, free: Optional[int] = None, say: Callable[[str], Any] = print) -> ContactPairs:
    """Return the room for `multiplier` times `DEFAULT_PAIRS`, and tell it.

    Args:
      multiplier: how much more than MQE's own room.
      free: what the run may take of the GPU [bytes]; by default what is free.
      say: gets one line with the number and what it takes.
    Raises:
      ConfigError: there would be no room at all.
      CapacityError: it does not fit.
    """
    wanted = ContactPairs(int(multiplier * DEFAULT_PAIRS)) if 0.0 < multiplier < float("inf") else ContactPairs(0)
    if wanted.pairs < 1:
        raise ConfigError("the room for contact pairs is out of range", got=repr(multiplier), expected="more than 0")
    free = capacity.free_memory() if free is None else free
    if wanted.size + REST > free:
        most = math.floor(100.0 * (free - REST) / (DEFAULT_PAIRS * BYTES_PER_PAIR)) / 100.0
        raise CapacityError(
            "the room for contact pairs does not fit in the memory of the GPU",
            got=f"{multiplier:g} times MQE's: {wanted}, beside about {gib(REST)} for the rest",
            expected=f"at most {gib(free)}",
            cause="MAPush multiplies it by 5, which PhysX answers with a segmentation fault on a small card",
            fix=f"--sim.contact-pairs {most:g} is the most that fits"
            if most > 0.0
            else "free the GPU (nvidia-smi shows who uses it), or take a larger one",
        )
    say(f"PhysX: {wanted}")
    return wanted
