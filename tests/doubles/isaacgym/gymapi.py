"""Isaac Gym's bindings."""

from __future__ import annotations

from typing import Optional

import isaacgym  # noqa: F401  # fails if torch was imported before, as the original does

SIM_PHYSX, SIM_FLEX = 1, 0


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
    """A simulation.

    Attributes:
      max_gpu_contact_pairs: size of the contact pair buffer.
    """

    def __init__(self, params: SimParams) -> None:
        self.max_gpu_contact_pairs = params.physx.max_gpu_contact_pairs


class Gym:
    """Makes simulations, one in each process.

    Attributes:
      sim: the simulation; None before it is made.
      destroyed: whether the simulation was destroyed.
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
        """Destroy the simulation."""
        assert sim is self.sim
        assert not self.destroyed
        self.destroyed = True

    def destroy_viewer(self, viewer: object) -> None:
        """Close the window."""


_GYM = Gym()


def acquire_gym() -> Gym:
    """Return the only gym."""
    return _GYM
