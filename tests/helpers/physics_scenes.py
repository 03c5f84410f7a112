"""Small scenes for tests of the stand-in's physics: assets made by hand, their actors, and simulations of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from isaac_standin.assets.asset import IDENTITY, ORIGIN, Asset, Body, Joint, Quaternion, Shape, Vector
from isaac_standin.scene.actor import DRIVE_NONE, Actor, drives_of, masses_of, surfaces_of
from isaac_standin.scene.terrain_types import Plane
from isaac_standin.simulation import Options, Simulation

GRAVITY = 9.81
DOWN = (0.0, 0.0, -GRAVITY)
WEIGHTLESS = (0.0, 0.0, 0.0)
UP = (0.0, 0.0, 1.0)


def body(name: str, **kwargs: Any) -> Body:
    """Return a root of 1 kg without shapes; `kwargs` are other fields of `Body`."""
    fields: dict[str, Any] = {
        "parent": -1,
        "pos": ORIGIN,
        "quat": IDENTITY,
        "joint": None,
        "mass": 1.0,
        "com": ORIGIN,
        "inertia": np.diag([0.01, 0.01, 0.01]),
        "shapes": (),
        "visuals": (),
    }
    return Body(name=name, **{**fields, **kwargs})


def box(name: str, size: Vector, mass: float, **kwargs: Any) -> Body:
    """Return a solid box of these half extents [m] as a root."""
    squares = np.square(size)
    inertia = np.diag(squares.sum() - squares) * mass / 3.0
    fields = {"mass": mass, "inertia": inertia, "shapes": (Shape("box", size),), **kwargs}
    return body(name, **fields)


def asset(*bodies: Body, fixed_base: bool = False, gravity: bool = True) -> Asset:
    """Return an asset of these bodies."""
    return Asset("asset", "made by hand", bodies, fixed_base, gravity)


def hinge(name: str = "hinge", axis: Vector = (0.0, 1.0, 0.0), **kwargs: Any) -> Joint:
    """Return a revolute joint without limits."""
    return Joint(name, "revolute", axis, **kwargs)


def actor(
    of: Asset,
    pos: Vector = ORIGIN,
    quat: Quaternion = IDENTITY,
    *,
    group: int = 0,
    filter: int = 0,
    surface_friction: float | None = None,
    mode: int = DRIVE_NONE,
    **drive: Any,
) -> Actor:
    """Return an actor; every shape has `surface_friction`, and every degree of freedom the properties in `drive`."""
    surfaces = list(surfaces_of(of))
    if surface_friction is not None:
        surfaces = [surface._replace(friction=surface_friction) for surface in surfaces]
    drives = [each._replace(**drive) for each in drives_of(of, mode)]
    return Actor(of, "actor", pos, quat, group, filter, tuple(surfaces), masses_of(of), tuple(drives))


def with_mass(of: Actor, index: int, **fields: Any) -> Actor:
    """Return an actor with other properties of one body's mass distribution."""
    masses = list(of.masses)
    masses[index] = masses[index]._replace(**fields)
    return dataclasses.replace(of, masses=tuple(masses))


def ground(friction: float = 1.0, normal: Vector = UP) -> Plane:
    """Return a plane through the origin."""
    return Plane(normal, 0.0, friction)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a simulation runs.

    Attributes:
      engine: `mujoco` or `warp`.
      device: its torch device.
    """

    engine: str
    device: str

    def simulation(self, *envs: list[Actor], on: Any = None, **options: Any) -> Simulation:
        """Return a prepared simulation of these envs; `on` adds the ground, `options` are those of `Options`."""
        chosen = {"dt": 0.005, "substeps": 1, "gravity": DOWN, "threads": 1, **options}
        simulation = Simulation(Options(device=torch.device(self.device), engine=self.engine, **chosen))
        simulation.envs += envs
        if on is not None:
            simulation.grounds.append(on)
        simulation.prepare()
        return simulation


CPU = pytest.param(Place("mujoco", "cpu"), id="mujoco")
WARP = pytest.param(Place("warp", "cpu"), id="warp-on-cpu", marks=pytest.mark.warp)
SLOW_WARP = pytest.param(Place("warp", "cpu"), id="warp-on-cpu", marks=[pytest.mark.warp, pytest.mark.slow])
GPU = pytest.param(Place("warp", "cuda"), id="gpu", marks=pytest.mark.gpu)
PLACES = [CPU, SLOW_WARP, GPU]
PLACES_OF_CONTACTS = [CPU, WARP, GPU]  # without -m slow, Warp's kernels run on the CPU here only


def run(simulation: Simulation, steps: int) -> None:
    """Simulate some steps, check for errors, and refresh all tensors."""
    for _ in range(steps):
        simulation.simulate()
    refresh(simulation)


def refresh(simulation: Simulation) -> None:
    """Check for errors, and refresh all tensors."""
    simulation.engine.check()
    state = simulation.state
    for each in (state.refresh_roots, state.refresh_dofs, state.refresh_bodies, state.refresh_contact_forces):
        each()


def roots(simulation: Simulation) -> torch.Tensor:
    """Return a copy of the root states on the host, (E, A, 13) float64."""
    return _copy(simulation.state.roots, simulation, 13)


def dofs(simulation: Simulation) -> torch.Tensor:
    """Return a copy of the states of the degrees of freedom on the host, (E, D, 2) float64."""
    return _copy(simulation.state.dofs, simulation, 2)


def bodies(simulation: Simulation) -> torch.Tensor:
    """Return a copy of the body states on the host, (E, B, 13) float64."""
    return _copy(simulation.state.bodies, simulation, 13)


def forces(simulation: Simulation) -> torch.Tensor:
    """Return a copy of the contact forces on the host, (E, B, 3) float64."""
    return _copy(simulation.state.contact_forces, simulation, 3)


def _copy(tensor: torch.Tensor, simulation: Simulation, width: int) -> torch.Tensor:
    return tensor.cpu().double().clone().view(len(simulation.envs), -1, width)
