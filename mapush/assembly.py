"""Build the parts of a run from its configuration: the environment and the learner.

The simulator is made first and torch is loaded after it, because Isaac Gym requires that order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Tuple, TypeVar

from mapush.config import (
    MIXED_TASK,
    MixedRunConfig,
    PushRunConfig,
    RunConfig,
    WalkRunConfig,
    groups_of,
    pushed_object,
    seats_of,
    team_size,
)
from mapush.device.gpu_errors import why_no_gpu
from mapush.distributed.ranks import ALONE, Ranks
from mapush.errors import ConfigError
from mapush.objects import OBJECTS
from mapush.own import named_code, own_objects
from mapush.sim import OF_MQE, STANDIN, choose_backend, make_physics

if TYPE_CHECKING:
    import torch

    from mapush.env.mixed_env import MixedEnv
    from mapush.env.push import PushEnv
    from mapush.env.vec_env import VecEnv
    from mapush.env.walk import WalkEnv
    from mapush.happo.happo import Happo
    from mapush.spec import SetLayout
    from mapush.upstream.legs.legs_env import LegsEnv
    from mapush.upstream.mqe import MqeEnv

TASKS = tuple(OBJECTS) + (MIXED_TASK, "walk")

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
    if config.env is not None:
        return make_named_env(config)
    if isinstance(config, WalkRunConfig):
        if config.task.robot == "mapush":
            return make_legs_env(config)
        return make_walk_env(config)
    if isinstance(config, MixedRunConfig):
        return make_mixed_env(config)
    if not isinstance(config, PushRunConfig):
        own_objects.require_task(config.task_name)
        raise ConfigError("the settings are not those of this task", got=type(config).__name__)
    if config.sim.backend in OF_MQE:
        return make_mqe_env(config)
    return make_push_env(config)


def make_named_env(config: RunConfig) -> VecEnv:
    """Make the environment that `config.env` names: a `VecEnv`, or one with HARL's interface.

    The function gets `num_envs` and `seed`, as far as it has these arguments.

    Raises:
      ConfigError: there is no such function, or what it made has no such interface or a different number of envs.
    """
    assert config.env is not None, "the caller checks it"
    factory = named_code.load_function(config.env, "--env")
    made = factory(**named_code.accepted(factory, {"num_envs": config.num_envs, "seed": config.seed}))

    from mapush.env.harl_env import HarlEnv
    from mapush.env.vec_env import VecEnv

    env = made
    if not isinstance(made, VecEnv):
        env = HarlEnv(made, getattr(made, "outcomes", ()))
    if env.num_envs != config.num_envs:
        env.close()
        raise ConfigError(
            "the environment has a different number of envs than the run",
            where=config.env,
            got=f"{env.num_envs} envs",
            expected=f"{config.num_envs}",
            fix=f"build as many as num_envs says, or train with --num-envs {env.num_envs}",
        )
    return env


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
    pushed = pushed_object(task)
    _require_possible(config)
    scene = Scene(num_agents=pushed.num_agents, object=pushed, upstream_inertia=task.upstream_quirks)
    physics = make_physics(config.sim, scene, config.num_envs, config.seed, deterministic=config.deterministic)

    from mapush.env.push_quirks import push_env_class
    from mapush.sim.walking import WalkingPolicy

    walking = WalkingPolicy.load(device=str(physics.device))
    return push_env_class(task)(Simulator(physics, walking), task, config.seed)


def make_mixed_env(config: MixedRunConfig) -> MixedEnv:
    """Make the groups of a mixed run, each with a simulator of its own.

    Args:
      config: the run's resolved configuration.

    Raises:
      ConfigError: the envs cannot be shared evenly among the groups.
    """
    groups = groups_of(config)
    for group in groups:
        _require_possible(group)
    with contextlib.ExitStack() as on_error:
        envs: List[PushEnv] = []
        for group in groups:
            envs.append(make_push_env(group))
            on_error.callback(envs[-1].close)

        from mapush.env.mixed_env import MixedEnv

        mixed = MixedEnv(envs)
        on_error.pop_all()
    return mixed


def _require_possible(config: PushRunConfig) -> None:
    """Check team and reward terms before the simulator is made.

    Raises:
      ConfigError: there is no room for the team, or a function does not exist.
    """
    from mapush.env.own_terms import load_terms
    from mapush.env.resets import require_room

    require_room(pushed_object(config.task))
    load_terms(config.task.reward_terms)


def make_mqe_env(config: PushRunConfig, window: bool = False, camera: bool = False) -> MqeEnv:
    """Make the pushing task as MQE computes it, on Isaac Gym, of which a process can have one, or on the stand-in.

    Args:
      config: the run's resolved configuration.
      window: open Isaac Gym's viewer.
      camera: make a camera that can record.

    Raises:
      ConfigError: the team has a different size than MAPush's, or there are reward terms of the user's own.
    """
    _require_as_upstream(config)
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


def _require_as_upstream(config: PushRunConfig) -> None:
    fix = "--sim mujoco or --sim warp"
    own_team = OBJECTS.get(config.task.object)
    if own_team is not None and team_size(config.task) != own_team.num_agents:
        got = f"--task.num-agents {config.task.num_agents}"
        raise ConfigError("MAPush's own environment has teams of one size", got=got, fix=fix)
    if config.task.reward_terms:
        got = f"{named_code.TERMS_FLAG} {config.task.reward_terms[0]}"
        raise ConfigError("MAPush's own environment takes no reward terms", got=got, fix=fix)


def make_walk_env(config: WalkRunConfig) -> WalkEnv:
    """Make the walking task.

    Args:
      config: the run's resolved configuration.
    """
    from mapush.sim.physics import Randomization
    from mapush.sim.scene import Scene

    task = config.task
    randomization = Randomization(task.foot_friction, task.payload, task.com_shift, task.motor_strength)
    scene = Scene(num_agents=1)
    physics = make_physics(config.sim, scene, config.num_envs, config.seed, randomization, config.deterministic)

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


def make_agent(config: RunConfig, sizes: Dict[str, int], device: Optional[str] = None, ranks: Ranks = ALONE) -> Happo:
    """Make the learner of a run, with fresh weights.

    Args:
      config: the run's configuration.
      sizes: as `sizes_of` returns them.
      device: where to compute, if not on the device of the ranks or of the configuration.
      ranks: this process among those that train the same team.
    """
    from mapush.happo.happo import Happo

    device = device or ranks.device or config.device
    sets = _sets_of(config)
    return Happo(config.happo, device=device_of(device), seed=config.seed, ranks=ranks, sets=sets, **sizes)


def _sets_of(config: RunConfig) -> Tuple[Optional[SetLayout], Optional[SetLayout]]:
    """Return which features of an observation and of a state are the rows of a set."""
    from mapush.env import any_team

    seats = seats_of(config)
    if seats is None:
        return None, None
    return any_team.sets(seats)


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
