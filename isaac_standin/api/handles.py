"""What programs hold: simulations, envs and assets."""

from __future__ import annotations

import dataclasses
from typing import Any, Iterable

from isaac_standin.assets import asset as assets
from isaac_standin.errors import StandinError
from isaac_standin.scene.actor import Actor, ForceSensor, Surface
from isaac_standin.simulation import Simulation

NOT_FOUND = -1


@dataclasses.dataclass(eq=False)
class Asset:
    """What `load_asset` returns.

    Attributes:
      asset: bodies, joints and shapes.
      surfaces: of each shape; they count for actors that are created later.
      drive_mode: of all degrees of freedom, until an actor's properties say otherwise.
      sensors: force sensors of actors that are created later.
    """

    asset: assets.Asset
    surfaces: tuple[Surface, ...]
    drive_mode: int
    sensors: tuple[ForceSensor, ...] = ()


@dataclasses.dataclass(eq=False)
class Sim:
    """What `create_sim` returns.

    Attributes:
      simulation: the simulation.
      params: the parameters that it was created with.
      env_list: its envs.
      graphics: what cameras and viewers share; made when the first one is.
    """

    simulation: Simulation
    params: Any
    env_list: list[Env] = dataclasses.field(default_factory=list)
    graphics: Any = None


@dataclasses.dataclass(eq=False)
class Env:
    """What `create_env` returns.

    Attributes:
      sim: its simulation.
      index: its index.
      actors: its actors; an actor's handle is its index here.
      origin: where a viewer shows it [m]; states are relative to it.
    """

    sim: Sim
    index: int
    actors: list[Actor]
    origin: tuple[float, float, float]
    assets: list[Asset] = dataclasses.field(default_factory=list)

    def actor(self, handle: int, where: str) -> Actor:
        """Return an actor by its handle.

        Raises:
          StandinError: there is no such actor.
        """
        if not 0 <= handle < len(self.actors):
            raise StandinError(
                f"there is no actor {handle}",
                where=f"{where}, env {self.index}",
                expected=f"a handle that create_actor returned, 0 to {len(self.actors) - 1}",
            )
        return self.actors[handle]

    def bodies_before(self, handle: int) -> int:
        """Return how many bodies the actors before this one have."""
        return sum(len(actor.asset.bodies) for actor in self.actors[:handle])

    def dofs_of(self, handle: int) -> slice:
        """Return the place of an actor's degrees of freedom among those of the env."""
        first = sum(len(actor.drives) for actor in self.actors[:handle])
        return slice(first, first + len(self.actors[handle].drives))


def prepared(sim: Sim, where: str) -> Simulation:
    """Return the simulation of `sim`.

    Raises:
      StandinError: it is not a simulation, or was not prepared, or was destroyed.
    """
    if not isinstance(sim, Sim):
        raise StandinError(f"{where} needs a simulation", got=repr(sim), fix="pass what create_sim returned")
    if sim.simulation.closed:
        raise StandinError("the simulation was destroyed", where=where, cause="destroy_sim was called before")
    if not sim.simulation.prepared:
        raise StandinError(
            f"{where} before prepare_sim",
            cause="tensors and steps exist only after all actors were created and prepare_sim was called",
            fix="call gym.prepare_sim(sim) once, after the last create_actor",
        )
    return sim.simulation


def unprepared(sim: Sim, where: str) -> Simulation:
    """Return the simulation of `sim`.

    Raises:
      StandinError: it was prepared already.
    """
    if sim.simulation.prepared:
        raise StandinError(
            f"{where} after prepare_sim",
            cause="the model is complete once the simulation is prepared",
            fix="create everything before gym.prepare_sim(sim)",
        )
    return sim.simulation


def index_of(names: Iterable[str], name: str) -> int:
    """Return the index of a name; `NOT_FOUND` if there is none, as Isaac Gym does."""
    for index, known in enumerate(names):
        if known == name:
            return index
    return NOT_FOUND
