"""The command line of `mapush.size`, which needs neither torch nor a simulator."""

from __future__ import annotations

import dataclasses
from typing import Optional

import tyro

from mapush.errors import unknown
from mapush.objects import OBJECTS
from mapush.own import own_objects


@dataclasses.dataclass(frozen=True)
class SizeConfig:
    """Measure how large the contact buffers on a GPU must be."""

    task: tyro.conf.Positional[str] = "cuboid"
    """cuboid, tblock or cylinder."""
    object: Optional[str] = None
    """An object of your own: FILE.py:NAME or package.module:NAME."""
    num_agents: Optional[int] = None
    """Robots in a team. Default: the object's own number."""
    num_envs: int = 2048
    """Parallel envs; more of them find rarer heaps."""
    walk_s: float = 6.0
    """How long the robots walk against the object [s]."""
    flail_s: float = 6.0
    """How long they flail there [s]."""
    seed: int = 0
    """Seed for the initial states and the flailing."""
    device: str = "cuda"
    """Where to measure."""
    nconmax: int = 160
    """Contact buffer size while measuring, per env on average."""
    njmax: int = 640
    """Constraint buffer size while measuring, per env."""

    def __post_init__(self) -> None:
        if self.object is not None:
            object.__setattr__(self, "task", own_objects.load_object(self.object).name)
        if self.task not in OBJECTS:
            raise unknown("object", self.task, OBJECTS)
