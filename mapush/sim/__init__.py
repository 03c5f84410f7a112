"""Physics of robots and object: velocity commands in, state out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Optional

from mapush.errors import ConfigError, SimulatorError, nearest

if TYPE_CHECKING:
    from mapush.config import SimConfig
    from mapush.sim.base import Physics, Randomization
    from mapush.sim.scene import Scene

BACKENDS = {"mujoco": "mapush.sim.mjcpu:MujocoPhysics"}
_ABSENT = {
    "warp": "this version has no simulator on mujoco-warp yet; it will need: pip install mujoco-warp==4.0.0, a GPU",
    "isaacgym": "this version has no adapter for Isaac Gym and MQE yet; both will have to be installed by hand",
}
_INSTALL = "python -m pip install mujoco==4.0.0 (needs Python 3.11 or later)"


def make_physics(
    config: SimConfig, scene: Scene, num_envs: int, seed: int, randomization: Optional[Randomization] = None
) -> Physics:
    """Make the physics that `config.backend` names.

    Args:
      config: which backend, on how many threads.
      scene: what stands in each env.
      num_envs: parallel copies.
      seed: of what differs from env to env.
      randomization: what differs, besides the object's friction.

    Raises:
      ConfigError: no backend has this name.
      SimulatorError: the backend is not available here.
    """
    backend = "mujoco" if config.backend == "auto" else config.backend
    if backend in _ABSENT:
        raise SimulatorError(
            "the simulator {} is not available".format(backend),
            where="sim.backend",
            cause=_ABSENT[backend],
            fix="use --sim mujoco, or --sim auto for the best that is here",
        )
    if backend not in BACKENDS:
        names = ("auto",) + tuple(BACKENDS) + tuple(_ABSENT)
        raise ConfigError("no such simulator", where="sim.backend", got=backend, fix=nearest(backend, names))
    module, name = BACKENDS[backend].split(":")
    try:
        physics = getattr(importlib.import_module(module), name)
    except ImportError as error:
        if not (error.name or "").startswith("mujoco"):
            raise
        raise SimulatorError("MuJoCo cannot be loaded", where="sim.backend", cause=str(error), fix=_INSTALL) from error
    return physics(scene, num_envs, seed=seed, threads=config.threads, randomization=randomization)
