"""Making MAPush's `go1push_mid` on Isaac Gym: arguments, configuration, and a task whose resets can be watched.

No file and no class of upstream's is changed: what differs is a subclass of theirs, registered under a name of its own.
Isaac Gym has to be loaded already (`mapush.sim.isaac`).

Source: MAPush@0e61e1b, `mqe/envs/utils.py`, `mqe/utils/helpers.py`, `mqe/envs/base/base_task.py`.
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import Any, Callable, Optional

import torch

from mapush.config import RewardConfig, TaskConfig
from mapush.errors import ConfigError, MapushError, SimulatorError
from mapush.objects import OBJECTS
from mapush.sim.isaac import GET_MQE

UPSTREAM_TASK, OUR_TASK = "go1push_mid", "go1push_mid_of_mapush"
FOLDERS = {"cuboid": "cuboid", "tblock": "Tblock", "cylinder": "cylinder"}  # below upstream's task/
SCALES = {  # upstream's: ours
    "target_reward_scale": "target",
    "approach_reward_scale": "approach",
    "collision_punishment_scale": "collision",
    "push_reward_scale": "push",
    "ocb_reward_scale": "ocb",
    "reach_target_reward_scale": "reach_target",
    "exception_punishment_scale": "exception",
}
READ = (  # of the environment, by `MqeEnv`
    "root_states root_states_npc env_origins episode_length_buf max_episode_length finished_buf time_out_buf "
    "reset_idx compute_observations gym sim"
).split()


def make_upstream(task: TaskConfig, num_envs: int, seed: int, contact_pairs: int, window: bool, camera: bool) -> Any:
    """Make MQE's wrapper around its environment.

    Args:
      task: what to push and how it is rewarded.
      num_envs: parallel envs.
      seed: of every global generator, which upstream seeds.
      contact_pairs: room for contacts on the GPU.
      window: whether to open Isaac Gym's viewer.
      camera: whether to make a camera that can record.
    Raises:
      ConfigError: upstream's configuration of this object is missing or of another team.
      SimulatorError: upstream failed.
    """
    from mqe import LEGGED_GYM_ROOT_DIR
    from mqe.envs.utils import ENV_DICT, make_mqe_env

    config = configure(Path(LEGGED_GYM_ROOT_DIR), task, num_envs, contact_pairs, camera)
    entry = ENV_DICT[UPSTREAM_TASK]
    ENV_DICT[OUR_TASK] = {"class": watched(entry["class"]), "config": config, "wrapper": entry["wrapper"]}
    try:
        env, _ = make_mqe_env(OUR_TASK, arguments(num_envs, seed, window, camera), lambda cfg: cfg)
    except MapushError:
        raise
    except Exception as error:
        raise SimulatorError(
            "MQE could not make its environment",
            where=f"{task.object}, {num_envs} envs",
            got="{}: {}".format(type(error).__name__, (str(error) or "no message").splitlines()[0]),
            cause="no NVIDIA GPU or no Vulkan driver, or another version of MQE than MAPush's",
            fix="python -m harness doctor --upstream; docs/isaacgym.md",
        ) from error
    return _checked(env)


def _checked(env: Any) -> Any:
    missing = [name for name in READ if not hasattr(env.env, name)]
    if missing:
        raise SimulatorError(
            "this MQE is of another version",
            got="its environment lacks {}".format(", ".join(missing)),
            expected="MAPush's copy, commit 0e61e1b or one like it",
        )
    return env


def arguments(num_envs: int, seed: int, window: bool, camera: bool) -> argparse.Namespace:
    """Return every argument that upstream reads, as its own parser would."""
    from isaacgym import gymapi

    gpu = torch.cuda.is_available()
    unused = ("max_iterations", "resume", "experiment_name", "run_name", "load_run", "checkpoint")
    return argparse.Namespace(
        task=UPSTREAM_TASK,
        num_envs=num_envs,
        seed=seed,
        headless=not window,
        record_video=camera,
        physics_engine=gymapi.SIM_PHYSX,
        sim_device="cuda:0" if gpu else "cpu",
        sim_device_type="cuda" if gpu else "cpu",
        sim_device_id=0,
        compute_device_id=0,
        graphics_device_id=0,
        device="cuda:0" if gpu else "cpu",
        rl_device="cuda:0" if gpu else "cpu",
        use_gpu=gpu,
        use_gpu_pipeline=gpu,
        pipeline="gpu" if gpu else "cpu",
        subscenes=0,
        slices=0,
        num_threads=0,
        **dict.fromkeys(unused),
    )


def configure(root: Path, task: TaskConfig, num_envs: int, contact_pairs: int, camera: bool) -> Any:
    """Return upstream's configuration of an object with our settings; upstream's classes stay as they are.

    It is read from `task/<object>/config.py`: the one inside the package is that of whatever was trained last.

    Args:
      root: of upstream's checkout, which its own paths are relative to, as long as it is the working directory.
      task: what to push and how it is rewarded.
      num_envs: parallel envs.
      contact_pairs: room for contacts on the GPU.
      camera: whether to make a camera that can record.
    Raises:
      ConfigError: the file is missing or of another team.
    """
    path = root / "task" / FOLDERS[task.object] / "config.py"
    theirs, agents = _load(path), OBJECTS[task.object].num_agents
    if theirs.env.num_agents != agents:
        got = f"{theirs.env.num_agents} robots"
        raise ConfigError("MQE has another team", where=str(path), got=got, expected=f"{agents} robots")
    return _derived(
        theirs,
        env=_derived(theirs.env, num_envs=num_envs, record_video=camera),
        control=_derived(
            theirs.control,
            locomotion_policy_dir=str(root / theirs.control.locomotion_policy_dir),
            actuator_network_path=str(root / theirs.control.actuator_network_path),
        ),
        sim=_derived(theirs.sim, physx=_derived(theirs.sim.physx, max_gpu_contact_pairs=contact_pairs)),
        rewards=_rewards(theirs.rewards, task.reward),
    )


def _load(path: Path) -> Any:
    if not path.is_file():
        raise ConfigError(
            "MQE's configuration of this object is missing",
            where=str(path),
            cause="only the package mqe was copied, not MAPush's whole checkout",
            fix=GET_MQE,
        )
    spec = importlib.util.spec_from_file_location("mqe_task_config", str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Go1PushMidCfg


def _rewards(theirs: Any, weights: RewardConfig) -> Any:
    scales = {name: getattr(weights, ours) for name, ours in SCALES.items()}
    return _derived(theirs, expanded_ocb_reward=weights.expanded_ocb, scales=_derived(theirs.scales, **scales))


def _derived(theirs: type, **changes: Any) -> Any:
    return type(theirs.__name__, (theirs,), changes)


def watched(theirs: type) -> type:
    """Return upstream's task as a subclass that tells before it resets, and that can leave the reset to its user."""

    class Watched(theirs):  # type: ignore[valid-type,misc]
        """Upstream's task.

        Attributes:
          on_judged: called after each env step, when it was judged and nothing was reset; None calls nothing.
          resets_itself: whether ended envs start anew within the env step, as upstream's do.
        """

        on_judged: Optional[Callable[[], None]] = None
        resets_itself = True

        def create_sim(self) -> None:
            """Make the simulation with the configured room for contacts, not with that times five."""
            self.sim_params.physx.max_gpu_contact_pairs = self.cfg.sim.physx.max_gpu_contact_pairs
            super().create_sim()

        def reset_idx(self, env_ids: torch.Tensor) -> None:
            """Start new episodes in `env_ids` (k,), or leave that to the user."""
            if self.on_judged is not None:
                self.on_judged()
            if self.resets_itself:
                super().reset_idx(env_ids)

    return Watched
