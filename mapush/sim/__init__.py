"""Simulators: the choice of the backend, and the physics of robots and object."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Optional, Tuple

from mapush.device.mujoco_packages import MUJOCO_DISTRIBUTION, how_to_install, why_no_warp
from mapush.errors import ConfigError, SimulatorError, unknown
from mapush.sim import isaac, standin

if TYPE_CHECKING:
    from mapush.config import SimConfig
    from mapush.sim.physics import Physics, Randomization
    from mapush.sim.scene import Scene

BACKENDS = {  # module, class, and the fields of `SimConfig` that the class takes
    "mujoco": ("mapush.sim.mjcpu", "MujocoPhysics", ("threads",)),
    "warp": ("mapush.sim.mjwarp", "WarpPhysics", ("nconmax", "njmax")),
}
ISAAC_GYM = "isaacgym"  # not a `Physics`: MQE computes the complete environment, see `mapush.upstream.mqe`
STANDIN = "standin"  # MQE's environment as well, on the stand-in for Isaac Gym
OF_MQE = (ISAAC_GYM, STANDIN)
SIMULATORS = ("auto",) + OF_MQE + tuple(BACKENDS)

_ALTERNATIVES = "use --sim mujoco to compute on the CPU, or --sim auto to use the GPU only if it works"


def choose_backend(name: str) -> Tuple[str, str]:
    """Decide which backend computes.

    Isaac Gym has to be loaded before torch, so choosing it loads it; so does choosing the stand-in for it. Otherwise,
    torch is loaded only to test the GPU for Warp, and only if Warp's packages are installed.

    Args:
      name: a backend; or auto, which chooses Warp if it works on this machine, otherwise MuJoCo.

    Returns:
      The backend, and the reason for the choice in a few words.

    Raises:
      ConfigError: unknown simulator.
      SimulatorError: this backend does not work on this machine.
    """
    if name not in SIMULATORS:
        raise _unknown_simulator(name)
    if name == "mujoco":
        return name, "as configured"
    if name == ISAAC_GYM:
        _require(name, _name_the_standin(isaac.load()))
        return name, "as configured"
    if name == STANDIN:
        _require(name, standin.load())
        return name, standin.describe()
    obstacle = why_no_warp()
    if name == "auto" and obstacle is not None:
        return "mujoco", obstacle.what
    _require(name, obstacle)
    return "warp", _gpu_and_version()


def make_physics(
    config: SimConfig,
    scene: Scene,
    num_envs: int,
    seed: int,
    randomization: Optional[Randomization] = None,
    deterministic: bool = False,
) -> Physics:
    """Make the physics that `config.backend` names.

    Args:
      config: a backend that `choose_backend` returned, and its settings; auto is chosen here.
      scene: the content of each env.
      num_envs: number of parallel copies.
      seed: seeds what differs from env to env.
      randomization: what differs from env to env, in addition to the object's friction.
      deterministic: compute the same bits in every run, which MuJoCo on the CPU always does.

    Raises:
      ConfigError: unknown simulator; physics that cannot be deterministic; or Isaac Gym or its stand-in, whose robots
        only MQE can drive.
      SimulatorError: MuJoCo cannot be loaded.
    """
    backend: str = config.backend
    if backend == "auto":
        backend, _ = choose_backend(backend)
    if backend in OF_MQE:
        what = "Isaac Gym and the stand-in for it compute only MQE's pushing tasks"
        raise ConfigError(what, where="sim.backend", got=backend, fix=_ALTERNATIVES)
    if backend not in BACKENDS:
        raise _unknown_simulator(backend)
    module, class_name, settings = BACKENDS[backend]
    physics = getattr(_load(module), class_name)
    options = {setting: getattr(config, setting) for setting in settings}
    if deterministic and backend == "warp":
        options["deterministic"] = True
    return physics(scene, num_envs, seed=seed, randomization=randomization, **options)


def _load(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if not (error.name or "").startswith("mujoco"):
            raise
        fix = how_to_install(MUJOCO_DISTRIBUTION)
        raise SimulatorError("MuJoCo cannot be loaded", where="sim.backend", cause=str(error), fix=fix) from error


def _unknown_simulator(name: str) -> ConfigError:
    error = unknown("simulator", name, SIMULATORS)
    error.where = "sim.backend"
    return error


def _require(name: str, obstacle: Optional[SimulatorError]) -> None:
    """Raise an error that the simulator is not available if there is an obstacle."""
    if obstacle is None:
        return
    cause, fix = obstacle.what, _ALTERNATIVES
    if obstacle.cause is not None:
        cause = f"{cause}: {obstacle.cause}"
    if obstacle.fix is not None:
        fix = f"{obstacle.fix}; {fix}"
    what = f"the simulator {name} is not available"
    raise SimulatorError(what, where="sim.backend", got=obstacle.got, cause=cause, fix=fix)


def _name_the_standin(obstacle: Optional[SimulatorError]) -> Optional[SimulatorError]:
    """Add to an error of Isaac Gym that the stand-in for it works here, if it does."""
    if obstacle is not None and standin.works_here():
        hint = "--sim standin runs MAPush's environment without Isaac Gym, on MuJoCo"
        if obstacle.fix is not None:
            hint = f"{hint}; for Isaac Gym itself: {obstacle.fix}"
        obstacle.fix = hint
    return obstacle


def _gpu_and_version() -> str:
    from importlib.metadata import version

    import torch

    return f"{torch.cuda.get_device_name()}, mujoco-warp {version('mujoco-warp')}"
