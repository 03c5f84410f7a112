"""From a configuration to the parts of a run: environment and learner.

The simulator is made first and torch is loaded after it, because Isaac Gym insists on that order.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple, TypeVar

from mapush.config import PushRunConfig, RunConfig, TaskConfig, WalkRunConfig
from mapush.device.gpu_errors import why_no_gpu
from mapush.errors import ConfigError, nearest
from mapush.objects import OBJECTS
from mapush.sim import ISAAC_GYM, choose_backend, make_physics

if TYPE_CHECKING:
    import torch

    from mapush.env.push import PushEnv
    from mapush.env.vec_env import VecEnv
    from mapush.happo.happo import Happo
    from mapush.upstream.mqe import MqeEnv

TASKS = tuple(OBJECTS) + ("walk",)

Config = TypeVar("Config", bound=Any)


def share_the_cores() -> None:
    """Let the threads of torch sleep, not spin, while those of the simulator compute; call it before torch is loaded.

    Two pools of threads that spin on the same cores slow each other down tenfold.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")


def resolve(config: Config) -> Tuple[Config, str]:
    """Name the simulator, where a configuration leaves the choice open.

    Args:
      config: a dataclass with a `SimConfig` as its `sim`.
    Returns:
      The configuration with the backend that will compute, and in a few words why it is that one.
    Raises:
      ConfigError: no backend has this name.
      SimulatorError: the backend that it names cannot work here.
    """
    backend, reason = choose_backend(config.sim.backend)
    return dataclasses.replace(config, sim=dataclasses.replace(config.sim, backend=backend)), reason


def make_env(config: RunConfig, num_envs: Optional[int] = None, seed: Optional[int] = None) -> VecEnv:
    """Make the environment of a run.

    Args:
      config: the run's configuration.
      num_envs: parallel envs, if not the run's.
      seed: seed, if not the run's.
    Raises:
      ConfigError: a task or simulator that does not exist.
      SimulatorError: a simulator that cannot be loaded here.
    """
    num_envs = config.num_envs if num_envs is None else num_envs
    seed = config.seed if seed is None else seed
    if isinstance(config, WalkRunConfig):
        return _make_walk_env(config, num_envs, seed)
    if isinstance(config, PushRunConfig):
        upstream = config.sim.backend == ISAAC_GYM
        return (make_mqe_env if upstream else make_push_env)(config, config.task, num_envs, seed)
    raise ConfigError(f"unknown task {config.task_name!r}", fix=nearest(config.task_name, TASKS))


def make_push_env(config: RunConfig, task: TaskConfig, num_envs: int, seed: int) -> PushEnv:
    """Make the pushing task on the simulator of `config`, with the shipped walking policy."""
    from mapush.sim.scene import Scene
    from mapush.sim.simulator import Simulator

    if task.object not in OBJECTS:
        raise ConfigError(f"unknown object {task.object!r}", fix=nearest(task.object, OBJECTS))
    thing = OBJECTS[task.object]
    scene = Scene(num_agents=thing.num_agents, object=thing, upstream_inertia=task.upstream_quirks)
    physics = make_physics(config.sim, scene, num_envs, seed)

    from mapush.env.push_quirks import push_env_class
    from mapush.sim.walking import WalkingPolicy

    return push_env_class(task)(Simulator(physics, WalkingPolicy.load(device=str(physics.device))), task, seed)


def make_mqe_env(
    config: RunConfig, task: TaskConfig, num_envs: int, seed: int, window: bool = False, camera: bool = False
) -> MqeEnv:
    """Make the pushing task as MQE computes it on Isaac Gym; one in a process.

    Args:
      config: the run's configuration.
      task: what to push and how it is rewarded.
      num_envs: parallel envs.
      seed: of the starts.
      window: open Isaac Gym's viewer.
      camera: make a camera that can record.
    """
    choose_backend(ISAAC_GYM)

    from mapush.upstream import contact_pairs
    from mapush.upstream.mqe import MqeEnv

    free = None if why_no_gpu() is None else sys.maxsize  # PhysX on the CPU takes what it needs
    pairs = contact_pairs.budget(config.sim.contact_pairs, free).pairs
    return MqeEnv(task, num_envs, seed, pairs, window, camera)


def _make_walk_env(config: WalkRunConfig, num_envs: int, seed: int) -> VecEnv:
    from mapush.sim.physics import Randomization
    from mapush.sim.scene import Scene

    task = config.task
    randomization = Randomization(task.foot_friction, task.payload, task.com_shift, task.motor_strength)
    physics = make_physics(config.sim, Scene(num_agents=1), num_envs, seed, randomization)

    from mapush.env.walk import WalkEnv

    return WalkEnv(physics, task, seed)


def sizes_of(env: VecEnv) -> Dict[str, int]:
    """Return the sizes that a checkpoint has to fit: num_agents, obs_dim, share_obs_dim, action_dim."""
    return {
        "num_agents": env.num_agents,
        "obs_dim": env.obs_spec.shape[-1],
        "share_obs_dim": env.share_obs_spec.shape[-1],
        "action_dim": env.action_spec.shape[-1],
    }


def make_agent(config: RunConfig, sizes: Dict[str, int], device: Optional[str] = None) -> Happo:
    """Make the learner of a run, with fresh weights.

    Args:
      config: the run's configuration.
      sizes: what `sizes_of` says.
      device: where to compute, if not where the run says.
    """
    from mapush.happo.happo import Happo

    return Happo(config.happo, device=device_of(device or config.device), seed=config.seed, **sizes)


def device_of(name: str) -> torch.device:
    """Return where to compute.

    Args:
      name: auto takes a GPU where there is one; or cpu, cuda, cuda:1.
    Raises:
      ConfigError: torch cannot compute there.
    """
    import torch

    if name == "auto":
        name = "cuda" if why_no_gpu() is None else "cpu"
    try:
        place = torch.device(name)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        fix = "--device auto takes a GPU where there is one"
        raise ConfigError(f"device {name!r} cannot be used", got=str(error).splitlines()[0], fix=fix) from error
    return place
