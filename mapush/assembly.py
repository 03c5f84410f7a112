"""Build the parts of a run from its configuration: the environment and the learner.

The simulator is made first and torch is loaded after it, because Isaac Gym requires that order.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple, TypeVar

from mapush.config import PushRunConfig, RunConfig, WalkRunConfig
from mapush.device.gpu_errors import why_no_gpu
from mapush.errors import ConfigError, unknown
from mapush.objects import OBJECTS
from mapush.sim import OF_MQE, STANDIN, choose_backend, make_physics

if TYPE_CHECKING:
    import torch

    from mapush.env.push import PushEnv
    from mapush.env.vec_env import VecEnv
    from mapush.env.walk import WalkEnv
    from mapush.happo.happo import Happo
    from mapush.upstream.legs.legs_env import LegsEnv
    from mapush.upstream.mqe import MqeEnv

TASKS = tuple(OBJECTS) + ("walk",)

Config = TypeVar("Config", bound=Any)


def share_the_cores() -> None:
    """Make idle threads of torch sleep instead of spin while the simulator computes; call it before torch is loaded.

    Two thread pools that spin on the same cores slow each other down tenfold.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")


def resolve(config: Config) -> Tuple[Config, str]:
    """Choose the simulator; this is the only place that does.

    A run on your own environment has none of our simulators, so its configuration stays as it is.

    Args:
      config: a dataclass with a `SimConfig` as its `sim`.

    Returns:
      The configuration with the backend that will compute, and why it is that one, in a few words.

    Raises:
      ConfigError: unknown backend.
      SimulatorError: the backend that the configuration names does not work here.
    """
    if type(config) is RunConfig:
        return config, "your own environment"
    backend, reason = choose_backend(config.sim.backend)
    return dataclasses.replace(config, sim=dataclasses.replace(config.sim, backend=backend)), reason


def make_env(config: RunConfig) -> VecEnv:
    """Make the environment of a run on a built-in task.

    Args:
      config: the run's configuration; `resolve` is applied, which leaves a resolved one as it is.

    Raises:
      ConfigError: unknown task, object or simulator.
      SimulatorError: the simulator cannot be loaded here.
    """
    config, _ = resolve(config)
    if isinstance(config, WalkRunConfig):
        if config.task.robot == "mapush":
            return make_legs_env(config)
        return make_walk_env(config)
    if not isinstance(config, PushRunConfig):
        error = unknown("task", config.task_name, TASKS)
        error.fix = "to train in your own environment: train(config, make_env=...)"
        raise error
    if config.sim.backend in OF_MQE:
        return make_mqe_env(config)
    return make_push_env(config)


def make_push_env(config: PushRunConfig) -> PushEnv:
    """Make the pushing task on MuJoCo or MuJoCo Warp, with the shipped walking policy.

    Args:
      config: the run's resolved configuration.

    Raises:
      ConfigError: unknown object.
    """
    from mapush.sim.scene import Scene
    from mapush.sim.simulator import Simulator

    task = config.task
    if task.object not in OBJECTS:
        raise unknown("object", task.object, OBJECTS)
    pushed = OBJECTS[task.object]
    scene = Scene(num_agents=pushed.num_agents, object=pushed, upstream_inertia=task.upstream_quirks)
    physics = make_physics(config.sim, scene, config.num_envs, config.seed)

    from mapush.env.push_quirks import push_env_class
    from mapush.sim.walking import WalkingPolicy

    walking = WalkingPolicy.load(device=str(physics.device))
    return push_env_class(task)(Simulator(physics, walking), task, config.seed)


def make_mqe_env(config: PushRunConfig, window: bool = False, camera: bool = False) -> MqeEnv:
    """Make the pushing task as MQE computes it, on Isaac Gym, of which a process can have one, or on the stand-in.

    Args:
      config: the run's resolved configuration.
      window: open Isaac Gym's viewer.
      camera: make a camera that can record.
    """
    if config.sim.backend == STANDIN:
        from mapush.upstream import mqe_standin

        return mqe_standin.make(config, window, camera)
    from mapush.upstream import contact_pairs
    from mapush.upstream.mqe import MqeEnv

    free_memory: Optional[int] = None  # read from the GPU
    if why_no_gpu() is not None:
        free_memory = sys.maxsize  # PhysX on the CPU allocates as it goes
    pairs = contact_pairs.budget(config.sim.contact_pairs, free_memory).pairs
    return MqeEnv(config.task, config.num_envs, config.seed, pairs, window, camera)


def make_walk_env(config: WalkRunConfig) -> WalkEnv:
    """Make the walking task.

    Args:
      config: the run's resolved configuration.
    """
    from mapush.sim.physics import Randomization
    from mapush.sim.scene import Scene

    task = config.task
    randomization = Randomization(task.foot_friction, task.payload, task.com_shift, task.motor_strength)
    physics = make_physics(config.sim, Scene(num_agents=1), config.num_envs, config.seed, randomization)

    from mapush.env.walk import WalkEnv

    return WalkEnv(physics, task, config.seed)


def make_legs_env(config: WalkRunConfig) -> LegsEnv:
    """Make the walking task on MAPush's own robot, whose files the folder in the environment variable MAPUSH_DIR has.

    Args:
      config: the run's resolved configuration.

    Raises:
      ConfigError: MAPUSH_DIR is not set, or is not a checkout of MAPush.
    """
    from mapush.upstream.legs.legs_env import LegsEnv, randomization_of
    from mapush.upstream.legs.legs_physics import LegsPhysics, find_checkout

    device = {"warp": "cuda"}.get(config.sim.backend, "cpu")
    physics = LegsPhysics(
        find_checkout(),
        config.num_envs,
        config.seed,
        randomization_of(config.task),
        device,
        threads=config.sim.threads,
    )
    return LegsEnv(physics, config.task, config.seed)


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
      sizes: as `sizes_of` returns them.
      device: where to compute, if not on the device of the configuration.
    """
    from mapush.happo.happo import Happo

    return Happo(config.happo, device=device_of(device or config.device), seed=config.seed, **sizes)


def device_of(name: str) -> torch.device:
    """Return the torch device for a name.

    Args:
      name: auto, which selects a GPU if there is one; or cpu, cuda, cuda:1.

    Raises:
      ConfigError: torch cannot compute there.
    """
    import torch

    if name == "auto":
        name = "cuda" if why_no_gpu() is None else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        fix = "--device auto selects a GPU if there is one"
        raise ConfigError(f"device {name!r} cannot be used", got=reason, fix=fix) from error
    return device
