"""The contact pair buffer of Isaac Gym: its size is checked before PhysX allocates it.

PhysX allocates the complete buffer at the start, and a process that gets less than it requested ends with a
segmentation fault.

Source: MAPush@0e61e1b, `mqe/envs/base/base_task.py` and `legged_robot_config.py`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Callable, Optional

from mapush.errors import CapacityError, ConfigError
from mapush.run import capacity
from mapush.run.capacity import MIB, gib

DEFAULT_PAIRS = 2**23
"""`max_gpu_contact_pairs` in MQE's configuration, before MAPush multiplies it by five."""
BYTES_PER_PAIR = 256
"""Estimated; Isaac Gym does not report it. PhysX's public structures take 160 bytes for a patch of four contacts with
forces. A run of 500 envs takes 6,000 MiB with `DEFAULT_PAIRS`, and one with five times as many did not fit in 8 GiB, so
a pair takes more than 68 bytes."""
OTHER_BYTES = 3952 * MIB
"""What such a run takes apart from the pairs: 6,000 MiB minus the pairs."""


@dataclasses.dataclass(frozen=True)
class ContactPairs:
    """A contact pair buffer.

    Attributes:
      pairs: its capacity.
    """

    pairs: int

    @property
    def size(self) -> int:
        """Size on the GPU [bytes], estimated."""
        return self.pairs * BYTES_PER_PAIR

    def __str__(self) -> str:
        return f"room for {self.pairs:,} contact pairs, about {gib(self.size)}"


def budget(multiplier: float = 1.0, free: Optional[int] = None, say: Callable[[str], Any] = print) -> ContactPairs:
    """Return a buffer for `multiplier` times `DEFAULT_PAIRS`, if it fits.

    Args:
      multiplier: size relative to MQE's default.
      free: GPU memory that the run may use [bytes]; by default all that is free.
      say: is called with one line that states the size.

    Raises:
      ConfigError: the buffer would be empty.
      CapacityError: the buffer does not fit.
    """
    wanted = ContactPairs(0)
    if 0.0 < multiplier < math.inf:
        wanted = ContactPairs(int(multiplier * DEFAULT_PAIRS))
    if wanted.pairs < 1:
        raise ConfigError("the number of contact pairs is out of range", got=repr(multiplier), expected="more than 0")
    if free is None:
        free = capacity.free_memory()
    if wanted.size + OTHER_BYTES > free:
        raise CapacityError(
            "the contact pair buffer does not fit in the memory of the GPU",
            got=f"{multiplier:g} times MQE's: {wanted}, and about {gib(OTHER_BYTES)} for the rest",
            expected=f"at most {gib(free)}",
            cause="MAPush multiplies the buffer by 5, and PhysX then ends with a segmentation fault on a small GPU",
            fix=_way_out(free),
        )
    say(f"PhysX: {wanted}")
    return wanted


def _way_out(free: int) -> str:
    """Return the largest multiplier that fits, as a flag, rounded down to two decimals."""
    largest = (free - OTHER_BYTES) / (DEFAULT_PAIRS * BYTES_PER_PAIR)
    rounded = math.floor(100.0 * largest) / 100.0
    if rounded <= 0.0:
        return "free the GPU (nvidia-smi lists the processes that use it), or use a larger one"
    return f"--sim.contact-pairs {rounded:g} is the largest value that fits"
