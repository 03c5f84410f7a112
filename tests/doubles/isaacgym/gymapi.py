"""What Isaac Gym's bindings offer."""

from __future__ import annotations

from typing import Optional

import isaacgym  # noqa: F401  # the original's, too, insists on being first

SIM_PHYSX, SIM_FLEX = 1, 0


class PhysXParams:
    """Settings of PhysX."""

    def __init__(self) -> None:
        self.use_gpu = False
        self.num_subscenes = 0
        self.num_threads = 0
        self.max_gpu_contact_pairs = 1024 * 1024


class SimParams:
    """Settings of a simulation. Like the original it can be changed in place, and not be copied by `copy`."""

    def __init__(self) -> None:
        self.dt = 1.0 / 60.0
        self.use_gpu_pipeline = False
        self.physx = PhysXParams()

    def __reduce_ex__(self, protocol: object) -> None:
        raise TypeError("cannot pickle 'SimParams' object")


class Sim:
    """A simulation.

    Attributes:
      max_gpu_contact_pairs: for how many it allocated room.
    """

    def __init__(self, params: SimParams) -> None:
        self.max_gpu_contact_pairs = params.physx.max_gpu_contact_pairs


class Gym:
    """What makes simulations: one in a process.

    Attributes:
      sim: the one that was made.
      destroyed: whether it was given up.
    """

    def __init__(self) -> None:
        self.sim: Optional[Sim] = None
        self.destroyed = False

    def create_sim(self, compute_device: int, graphics_device: int, physics_engine: int, params: SimParams) -> Sim:
        """Make the simulation."""
        if self.sim is not None:
            raise RuntimeError("PhysX: a second simulation in one process (the original crashes)")
        self.sim = Sim(params)
        return self.sim

    def destroy_sim(self, sim: Sim) -> None:
        """Give the simulation up."""
        assert sim is self.sim
        assert not self.destroyed
        self.destroyed = True

    def destroy_viewer(self, viewer: object) -> None:
        """Close the window."""


_GYM = Gym()


def acquire_gym() -> Gym:
    """Return the only gym."""
    return _GYM
