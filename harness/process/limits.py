"""What a command is allowed to use."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Optional, Tuple

from mapush.errors import ConfigError

LARGEST_LIMIT = 2**62  # the system accepts no larger number
CPU_GRACE_S = 5  # CPU time between SIGXCPU, which a program can catch, and SIGKILL
SECONDS = ("timeout", "silence")


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a command is allowed to use; None means no limit.

    Attributes:
      timeout: time until it must have ended [s].
      silence: time without a new line of output [s]; a progress bar that moves is not a new line.
      memory: resident memory of all its processes together [bytes], measured about once a second.
      address_space: address space of each process [bytes], enforced by the system (RLIMIT_AS); CUDA reserves far more
        than it uses.
      cpu: CPU time of each process [s], enforced by the system (RLIMIT_CPU).

    Raises:
      ConfigError: a limit is not a positive number, or a limit of memory or CPU time is not a whole number.
    """

    timeout: Optional[float] = None
    silence: Optional[float] = None
    memory: Optional[int] = None
    address_space: Optional[int] = None
    cpu: Optional[int] = None

    def __post_init__(self) -> None:
        for name, value in self.given().items():
            if name in SECONDS:
                is_number, expected = isinstance(value, (int, float)), "a positive number"
            else:
                is_number, expected = isinstance(value, int), "a positive whole number"
            if not is_number or not 0 < value < LARGEST_LIMIT:
                raise ConfigError("invalid limit", where=name, got=repr(value), expected=expected)

    def given(self) -> Dict[str, Any]:
        """Return the limits that are set, by name."""
        fields = dataclasses.asdict(self)
        return {name: value for name, value in fields.items() if value is not None}

    def enforced_by_system(self) -> Dict[str, Tuple[int, int]]:
        """Return the soft and hard limits that the system enforces, under the names of the module `resource`."""
        limits = {}
        if self.address_space is not None:
            limits["RLIMIT_AS"] = (self.address_space, self.address_space)
        if self.cpu is not None:
            limits["RLIMIT_CPU"] = (self.cpu, self.cpu + CPU_GRACE_S)
        return limits
