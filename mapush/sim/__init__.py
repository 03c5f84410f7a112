"""Physics of robots and object: velocity commands in, state out."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Optional, Tuple

from mapush.device.gpu_errors import why_no_gpu
from mapush.errors import ConfigError, SimulatorError, nearest
from mapush.sim import isaac

if TYPE_CHECKING:
    from mapush.config import SimConfig
    from mapush.sim.physics import Physics, Randomization
    from mapush.sim.scene import Scene

BACKENDS = {  # module, class, settings that it takes
    "mujoco": ("mapush.sim.mjcpu", "MujocoPhysics", ("threads",)),
    "warp": ("mapush.sim.mjwarp", "WarpPhysics", ("nconmax", "njmax")),
}
ISAAC_GYM = "isaacgym"  # no physics of ours: MQE's whole environment, see `mapush.upstream.mqe`
_INSTALL = "python -m pip install {} (needs Python 3.11 or later)"
_ELSE = "--sim mujoco computes on the CPU, --sim auto takes the best that is here"


def choose_backend(name: str) -> Tuple[str, str]:
    """Decide which backend computes.

    Isaac Gym has to be loaded before torch, so it is loaded here; torch is for Warp alone, if Warp's packages are here.

    Args:
      name: of a backend, or auto: Warp if it can work here, else MuJoCo.
    Returns:
      The backend, and in a few words why it is that one.
    Raises:
      ConfigError: no backend has this name.
      SimulatorError: this backend cannot work here.
    """
    if name not in ("auto", ISAAC_GYM) + tuple(BACKENDS):
        names = ("auto", ISAAC_GYM) + tuple(BACKENDS)
        raise ConfigError("no such simulator", where="sim.backend", got=name, fix=nearest(name, names))
    if name == "mujoco":
        return name, "as configured"
    obstacle = isaac.why_not_here() if name == ISAAC_GYM else _why_no_warp()
    if obstacle is None:
        return (name, "as configured") if name == ISAAC_GYM else ("warp", _gpu_and_version())
    if name == "auto":
        return "mujoco", obstacle.what
    raise _unavailable(name, obstacle)


def _unavailable(name: str, obstacle: SimulatorError) -> SimulatorError:
    return SimulatorError(
        f"the simulator {name} is not available",
        where="sim.backend",
        got=obstacle.got,
        cause=obstacle.what if obstacle.cause is None else f"{obstacle.what}: {obstacle.cause}",
        fix=_ELSE if obstacle.fix is None else f"{obstacle.fix}; {_ELSE}",
    )


def _why_no_warp() -> Optional[SimulatorError]:
    for package, distribution in (("mujoco_warp", "mujoco-warp==4.0.0"), ("warp", "warp-lang==1.19.0")):
        if importlib.util.find_spec(package) is None:
            return SimulatorError(f"{package} is not installed", fix=_INSTALL.format(distribution))
    return why_no_gpu()


def _gpu_and_version() -> str:
    from importlib.metadata import version

    import torch

    return "{}, mujoco-warp {}".format(torch.cuda.get_device_name(), version("mujoco-warp"))


def make_physics(
    config: SimConfig, scene: Scene, num_envs: int, seed: int, randomization: Optional[Randomization] = None
) -> Physics:
    """Make the physics that `config.backend` names.

    Args:
      config: which backend, and its settings.
      scene: what stands in each env.
      num_envs: parallel copies.
      seed: of what differs from env to env.
      randomization: what differs, besides the object's friction.

    Raises:
      ConfigError: no backend has this name, or it is Isaac Gym, whose robots walk as MQE makes them.
      SimulatorError: the backend is not available here.
    """
    backend, _ = choose_backend(config.backend)
    if backend == ISAAC_GYM:
        raise ConfigError("Isaac Gym computes MQE's pushing tasks alone", where="sim.backend", got=backend, fix=_ELSE)
    module, name, settings = BACKENDS[backend]
    try:
        physics = getattr(importlib.import_module(module), name)
    except ImportError as error:
        if not (error.name or "").startswith("mujoco"):
            raise
        fix = _INSTALL.format("mujoco==4.0.0")
        raise SimulatorError("MuJoCo cannot be loaded", where="sim.backend", cause=str(error), fix=fix) from error
    options = {setting: getattr(config, setting) for setting in settings}
    return physics(scene, num_envs, seed=seed, randomization=randomization, **options)
