"""Make MAPush's `go1push_mid`: its arguments, its configuration, and a task whose resets can be observed.

No file and no class of upstream is changed: what differs is a subclass, registered under its own name. Isaac Gym or
the stand-in for it has to be loaded already (`mapush.sim.isaac`, `mapush.sim.standin`).

Source: MAPush@0e61e1b, `mqe/envs/utils.py` (registry), `mqe/utils/helpers.py` (arguments), `mqe/envs/base/base_task.py`
(contact pairs), `mqe/envs/base/legged_robot.py` (resets), `task/*/config.py` (configuration).
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import torch

from mapush.config import RewardConfig, TaskConfig
from mapush.errors import ConfigError, MapushError, SimulatorError
from mapush.objects import OBJECTS
from mapush.sim.mapush_source import GET_MQE
from mapush.upstream.low_level import low_level

UPSTREAM_TASK = "go1push_mid"
OUR_TASK = "go1push_mid_of_mapush"
CONFIG_FOLDERS = {"cuboid": "cuboid", "tblock": "Tblock", "cylinder": "cylinder"}  # in upstream's task/
REWARD_SCALES = {  # upstream's name: ours
    "target_reward_scale": "target",
    "approach_reward_scale": "approach",
    "collision_punishment_scale": "collision",
    "push_reward_scale": "push",
    "ocb_reward_scale": "ocb",
    "reach_target_reward_scale": "reach_target",
    "exception_punishment_scale": "exception",
}
ATTRIBUTES = (
    "root_states",
    "root_states_npc",
    "env_origins",
    "episode_length_buf",
    "max_episode_length",
    "finished_buf",
    "time_out_buf",
    "reset_idx",
    "compute_observations",
    "gym",
    "sim",
)
"""The attributes of upstream's environment that `MqeEnv` uses."""


def make_upstream(
    task: TaskConfig,
    num_envs: int,
    seed: int,
    contact_pairs: int,
    window: bool,
    camera: bool,
    use_gpu: Optional[bool] = None,
) -> Any:
    """Make MQE's wrapper around its environment.

    Args:
      task: what to push and how it is rewarded.
      num_envs: number of parallel envs.
      seed: upstream seeds every global generator with it.
      contact_pairs: size of the contact pair buffer on the GPU.
      window: open Isaac Gym's viewer.
      camera: make a camera that can record.
      use_gpu: whether physics and tensors are on a GPU; by default if there is one.

    Raises:
      ConfigError: upstream's configuration of this object or a network is missing, or the team size differs.
      SimulatorError: upstream failed.
    """
    from mqe import LEGGED_GYM_ROOT_DIR
    from mqe.envs.utils import ENV_DICT, make_mqe_env

    if UPSTREAM_TASK not in ENV_DICT:
        raise _different_version(f"no task {UPSTREAM_TASK} in {LEGGED_GYM_ROOT_DIR}")
    root = Path(LEGGED_GYM_ROOT_DIR)
    config = configure(root, task, num_envs, contact_pairs, camera)
    entry = ENV_DICT[UPSTREAM_TASK]
    with low_level(Path(config.control.locomotion_policy_dir)) as folder:
        config.control = _subclass(config.control, locomotion_policy_dir=str(folder))
        ENV_DICT[OUR_TASK] = {"class": observed(entry["class"]), "config": config, "wrapper": entry["wrapper"]}
        try:
            env, _ = make_mqe_env(OUR_TASK, arguments(num_envs, seed, window, camera, use_gpu), lambda cfg: cfg)
        except MapushError:
            raise
        except Exception as error:
            raise _failed(error, f"{task.object}, {num_envs} envs, {root}") from error
    _require_attributes(env.env)
    return env


def _failed(error: Exception, where: str) -> SimulatorError:
    reason = (str(error) or "no message").splitlines()[0]
    return SimulatorError(
        "MQE could not make its environment",
        where=where,
        got=f"{type(error).__name__}: {reason}",
        cause="on Isaac Gym: no NVIDIA GPU or no Vulkan driver; or this MQE is not MAPush's version, commit 0e61e1b",
        fix="python -m harness doctor --upstream; docs/isaacgym.md",
    )


def _require_attributes(env: Any) -> None:
    missing = [name for name in ATTRIBUTES if not hasattr(env, name)]
    if missing:
        raise _different_version("its environment lacks " + ", ".join(missing))


def _different_version(got: str) -> SimulatorError:
    expected = "MAPush's copy, commit 0e61e1b or a similar one"
    return SimulatorError("this is a different version of MQE", got=got, expected=expected)


def arguments(
    num_envs: int, seed: int, window: bool, camera: bool, use_gpu: Optional[bool] = None
) -> argparse.Namespace:
    """Return every argument that upstream reads, as its own parser does.

    Source: MAPush@0e61e1b, `mqe/utils/helpers.py`.
    """
    from isaacgym import gymapi

    if use_gpu is None:
        use_gpu = torch.cuda.is_available()
    device, device_type, pipeline = "cpu", "cpu", "cpu"
    if use_gpu:
        device, device_type, pipeline = "cuda:0", "cuda", "gpu"
    unused = ("max_iterations", "resume", "experiment_name", "run_name", "load_run", "checkpoint")
    return argparse.Namespace(
        task=UPSTREAM_TASK,
        num_envs=num_envs,
        seed=seed,
        headless=not window,
        record_video=camera,
        physics_engine=gymapi.SIM_PHYSX,
        sim_device=device,
        sim_device_type=device_type,
        sim_device_id=0,
        compute_device_id=0,
        graphics_device_id=0,
        device=device,
        rl_device=device,
        use_gpu=use_gpu,
        use_gpu_pipeline=use_gpu,
        pipeline=pipeline,
        subscenes=0,
        slices=0,
        num_threads=0,
        **dict.fromkeys(unused),
    )


def configure(root: Path, task: TaskConfig, num_envs: int, contact_pairs: int, camera: bool) -> Any:
    """Return upstream's configuration of an object with our settings, without changing upstream's classes.

    It is read from `task/<object>/config.py`: the one inside the package belongs to the object that was trained last.

    Args:
      root: upstream's checkout; upstream's own paths are relative to it and need it as the working directory.
      task: what to push and how it is rewarded.
      num_envs: number of parallel envs.
      contact_pairs: size of the contact pair buffer on the GPU.
      camera: make a camera that can record.

    Raises:
      ConfigError: MQE has no such object, or its file is missing or has a different team size.
    """
    if task.object not in CONFIG_FOLDERS:
        fix = "train it with --sim mujoco or --sim warp"
        raise ConfigError(f"MQE has no object {task.object!r}", expected="one of " + ", ".join(CONFIG_FOLDERS), fix=fix)
    path = root / "task" / CONFIG_FOLDERS[task.object] / "config.py"
    upstream = _load_config(path)
    num_agents = OBJECTS[task.object].num_agents
    if upstream.env.num_agents != num_agents:
        got, expected = f"{upstream.env.num_agents} robots", f"{num_agents} robots"
        raise ConfigError("MQE's configuration has a different team size", where=str(path), got=got, expected=expected)
    control = _subclass(
        upstream.control,
        locomotion_policy_dir=str(_present(root / upstream.control.locomotion_policy_dir)),
        actuator_network_path=str(_present(root / upstream.control.actuator_network_path)),
    )
    physx = _subclass(upstream.sim.physx, max_gpu_contact_pairs=contact_pairs)
    return _subclass(
        _own(upstream),
        env=_subclass(upstream.env, num_envs=num_envs, record_video=camera),
        control=control,
        sim=_subclass(upstream.sim, physx=physx),
        obs=_subclass(upstream.obs),  # upstream's buffer of observations is this class: a second env would share it
        rewards=_rewards(upstream.rewards, task.reward),
    )


def _present(folder: Path) -> Path:
    """Return a folder of networks, if it is there."""
    if not folder.is_dir():
        raise _incomplete(f"{folder.name}, a folder with networks of the low level, is missing", folder)
    return folder


def _incomplete(what: str, where: Path) -> ConfigError:
    cause = "only the package mqe was copied, not MAPush's complete checkout"
    return ConfigError(what, where=str(where), cause=cause, fix=GET_MQE)


def _load_config(path: Path) -> Any:
    if not path.is_file():
        raise _incomplete("MQE's configuration of this object is missing", path)
    spec = importlib.util.spec_from_file_location("mqe_task_config", str(path))
    assert spec is not None, "a path that ends in .py has a spec"
    assert spec.loader is not None, "and a loader"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "Go1PushMidCfg"):
        raise _different_version(f"no class Go1PushMidCfg in {path}")
    return module.Go1PushMidCfg


def _rewards(upstream: Any, weights: RewardConfig) -> Any:
    scales: Dict[str, float] = {}
    for upstream_name, name in REWARD_SCALES.items():
        scales[upstream_name] = getattr(weights, name)
    return _subclass(upstream, expanded_ocb_reward=weights.expanded_ocb, scales=_subclass(upstream.scales, **scales))


def _subclass(upstream: type, **changes: Any) -> Any:
    """Return a subclass with some attributes changed; upstream's configuration consists of nested classes."""
    return type(upstream.__name__, (upstream,), changes)


def _own(upstream: type) -> Any:
    """Return a subclass with subclasses of all nested classes, so that nothing is written into upstream's.

    MAPush keeps its last observation in `copy(cfg.obs)`, which is the class `cfg.obs` itself, because the copy of a
    class is that class. Two environments in a process would overwrite each other's observation.

    Source: MAPush@0e61e1b, `mqe/envs/go1/go1.py`.
    """
    nested: Dict[str, Any] = {}
    for name in dir(upstream):
        value = getattr(upstream, name)
        if isinstance(value, type) and not name.startswith("__"):
            nested[name] = _own(value)
    return _subclass(upstream, **nested)


def observed(upstream: type) -> type:
    """Return a subclass of upstream's task that reports before it resets, and can leave the reset to its user.

    Source: MAPush@0e61e1b, `mqe/envs/base/base_task.py`, which multiplies the contact pairs by five; and `create_sim`
    and `reset_idx` of `mqe/envs/base/legged_robot.py`, whose env step resets after it has judged every env.
    """

    class ObservedTask(upstream):  # type: ignore[valid-type,misc]
        """Upstream's task.

        Attributes:
          on_judged: called in each env step, after all envs were judged and before any is reset; None calls nothing.
          resets_itself: reset envs whose episode ended within the env step, as upstream does.
        """

        on_judged: Optional[Callable[[], None]] = None
        resets_itself = True

        def create_sim(self) -> None:
            """Make the simulation with the configured contact pair buffer, not with five times its size."""
            self.sim_params.physx.max_gpu_contact_pairs = self.cfg.sim.physx.max_gpu_contact_pairs
            super().create_sim()

        def reset_idx(self, env_ids: torch.Tensor) -> None:
            """Start new episodes in `env_ids`, (k,), or leave that to the user."""
            if self.on_judged is not None:
                self.on_judged()
            if self.resets_itself:
                super().reset_idx(env_ids)

    return ObservedTask
