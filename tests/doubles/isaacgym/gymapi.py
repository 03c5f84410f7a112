"""Isaac Gym's bindings."""

from __future__ import annotations

import enum
from typing import Optional

import isaacgym  # noqa: F401  # fails if torch was imported before, as the original does


class SimType(enum.IntEnum):
    """Physics engines."""

    SIM_PHYSX = 0
    SIM_FLEX = 1


SIM_PHYSX, SIM_FLEX = SimType.SIM_PHYSX, SimType.SIM_FLEX


class PhysXParams:
    """Settings of PhysX."""

    def __init__(self) -> None:
        self.use_gpu = False
        self.num_subscenes = 0
        self.num_threads = 0
        self.max_gpu_contact_pairs = 1024 * 1024


class SimParams:
    """Settings of a simulation. Like the original, it can be changed in place but not be copied by `copy`."""

    def __init__(self) -> None:
        self.dt = 1.0 / 60.0
        self.use_gpu_pipeline = False
        self.physx = PhysXParams()

    def __reduce_ex__(self, protocol: object) -> None:
        raise TypeError("cannot pickle 'SimParams' object")


class Sim:
    """A simulation; the original is a handle without attributes."""

    def __init__(self, params: SimParams) -> None:
        self._max_gpu_contact_pairs = params.physx.max_gpu_contact_pairs


class Gym:
    """Makes simulations, one in each process."""

    def __init__(self) -> None:
        self._sim: Optional[Sim] = None
        self._destroyed = False

    def create_sim(self, compute_device: int, graphics_device: int, type: SimType, params: SimParams) -> Sim:
        """Make the simulation."""
        if self._sim is not None:
            raise RuntimeError("PhysX: a second simulation in one process (the original crashes)")
        self._sim = Sim(params)
        return self._sim

    def destroy_sim(self, sim: Sim) -> None:
        """Destroy the simulation."""
        assert sim is self._sim
        assert not self._destroyed
        self._destroyed = True

    def destroy_viewer(self, viewer: object) -> None:
        """Close the window."""


_GYM = Gym()


def acquire_gym() -> Gym:
    """Return the only gym."""
    return _GYM
