"""Presets: complete configurations under a name, which a command line or a script may change field by field."""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, Iterable

from mapush.config import (
    MIXED_TASK,
    HappoConfig,
    MixedRunConfig,
    MixedTaskConfig,
    PushRunConfig,
    RewardConfig,
    RunConfig,
    TaskConfig,
    WalkConfig,
    WalkRunConfig,
)
from mapush.errors import ConfigError, unknown
from mapush.objects import OBJECTS
from mapush.own import own_objects

PUBLISHED_REWARDS = {
    "cuboid": RewardConfig(
        target=65.0,
        approach=15.0,
        collision=-50.0,
        push=30.0,
        ocb=80.0,
        reach_target=200_000.0,
        exception=-100_000.0,
        expanded_ocb=True,
    ),
    "tblock": RewardConfig(
        target=60.0,
        approach=15.0,
        collision=-40.0,
        push=30.0,
        ocb=80.0,
        reach_target=200_000.0,
        exception=-100_000.0,
        expanded_ocb=True,
    ),
    "cylinder": RewardConfig(
        target=50.0,
        approach=15.0,
        collision=-30.0,
        push=30.0,
        ocb=120.0,
        reach_target=200_000.0,
        exception=-100_000.0,
        expanded_ocb=True,
    ),
}
"""The reward weights of MAPush's published runs, by object."""

SHAPED_REWARDS = RewardConfig(
    target=0.015, approach=0.006, collision=-0.002, push=0.002, ocb=0.02, reach_target=10.0, exception=-8.0
)
"""Upstream's terms, weighted so that walking to the far side of the object pays from the first step on."""

CYLINDER_REWARDS = dataclasses.replace(SHAPED_REWARDS, collision=-0.006, ocb=0.05, exception=-30.0)
"""`SHAPED_REWARDS`, with a failure that costs more than going on.

`approach` counts the distance to the object's centre, so robots that touch a cylinder of 1.5 m radius still pay for it
in every step, and the way around it takes twelve seconds. With the weights of the small objects, robots learn to end an
episode by a collision: docs/policies.md has the figures.
"""


def _default(object_name: str) -> RunConfig:
    """Decide five times a second, look about six seconds ahead, and learn one policy for all robots of the team."""
    happo = HappoConfig(
        use_feature_normalization=False,
        share_param=True,
        std_y_coef=1.0,
        lr=7e-4,
        critic_lr=1e-3,
        use_linear_lr_decay=True,
        ppo_epoch=10,
        critic_epoch=10,
        actor_num_mini_batch=8,
        critic_num_mini_batch=8,
        entropy_coef=0.003,
        gamma=0.97,
    )
    return PushRunConfig(
        task_name=object_name,
        num_envs=512,
        num_steps=16,
        total_steps=100_000_000,
        happo=happo,
        task=TaskConfig(object=object_name, steps_per_decision=10, reward=_shaped_rewards(object_name)),
    )


def _shaped_rewards(object_name: str) -> RewardConfig:
    if object_name == "cylinder":
        return CYLINDER_REWARDS
    return SHAPED_REWARDS


def _quick(object_name: str) -> RunConfig:
    """Show on two CPU cores, within 15 minutes, that a team learns."""
    config = _default(object_name)
    return dataclasses.replace(config, preset="quick", num_envs=256, total_steps=6_000_000, checkpoint_every=2_000_000)


def _gpu(object_name: str) -> RunConfig:
    """Fill one GPU: 100 M env steps in minutes."""
    return dataclasses.replace(_on_one_gpu(_default(object_name), 8192, 16), num_steps=8)


def _on_one_gpu(config: RunConfig, num_envs: int, num_mini_batch: int) -> RunConfig:
    happo = dataclasses.replace(config.happo, actor_num_mini_batch=num_mini_batch, critic_num_mini_batch=num_mini_batch)
    return dataclasses.replace(config, preset="gpu", num_envs=num_envs, happo=happo)


def _published(object_name: str) -> RunConfig:
    """Use the rewards, decision rate, rollout and length of MAPush's published runs; the learner is HAPPO."""
    happo = HappoConfig(hidden_sizes=(64, 64), ppo_epoch=10, critic_epoch=10, value_loss_coef=0.5)
    return PushRunConfig(
        task_name=object_name,
        preset="published",
        num_envs=500,
        num_steps=200,
        total_steps=100_000_000,
        happo=happo,
        task=TaskConfig(object=object_name, reward=PUBLISHED_REWARDS.get(object_name, RewardConfig())),
    )


def _mixed(task_name: str) -> RunConfig:
    """Train one policy for cuboid, tblock and cylinder and for teams of two and four; 510 envs are 85 of each kind.

    Fewer epochs and more exploration than for one object, because one network is updated for up to four agents in turn:
    docs/policies.md has the figures.
    """
    config = _default("cuboid")
    happo = dataclasses.replace(config.happo, ppo_epoch=4, critic_epoch=5, entropy_coef=0.01)
    return MixedRunConfig(
        task_name=task_name,
        num_envs=510,
        num_steps=config.num_steps,
        total_steps=config.total_steps,
        happo=happo,
        task=MixedTaskConfig(reward=SHAPED_REWARDS, large_object_reward=CYLINDER_REWARDS),
    )


def _mixed_quick(task_name: str) -> RunConfig:
    config = _mixed(task_name)
    return dataclasses.replace(config, preset="quick", num_envs=252, total_steps=4_000_000, checkpoint_every=1_000_000)


def _mixed_gpu(task_name: str) -> RunConfig:
    """Fill one GPU: 1,024 envs of each of the six kinds, 75 M env steps."""
    return dataclasses.replace(_on_one_gpu(_mixed(task_name), 6144, 16), num_steps=8, total_steps=75_000_000)


def _walk(task_name: str) -> WalkRunConfig:
    """Train the walking policy; the task scales the observation already, so the network does not normalise it."""
    happo = HappoConfig(
        hidden_sizes=(128, 128),
        use_feature_normalization=False,
        std_y_coef=0.5,
        lr=1e-3,
        critic_lr=1e-3,
        use_linear_lr_decay=True,
        actor_num_mini_batch=4,
        critic_num_mini_batch=4,
        max_grad_norm=1.0,
        entropy_coef=0.005,
    )
    return WalkRunConfig(
        task_name=task_name,
        num_envs=1024,
        num_steps=24,
        total_steps=20_000_000,
        checkpoint_every=5_000_000,
        happo=happo,
    )


def _walk_gpu(task_name: str) -> RunConfig:
    """Fill one GPU: 70 M env steps in minutes."""
    config = _on_one_gpu(_walk(task_name), 4096, 8)
    return dataclasses.replace(config, total_steps=70_000_000, checkpoint_every=10_000_000)


def _legs(task_name: str) -> RunConfig:
    """Train the low level of MAPush's own robot on one GPU, for the commands that its environment gives."""
    config = _walk(task_name)
    happo = dataclasses.replace(config.happo, hidden_sizes=(256, 128), actor_num_mini_batch=8, critic_num_mini_batch=8)
    task = WalkConfig(robot="mapush", command_range=(0.6, 0.6, 0.6), push_ramp_s=60.0, payload=(-1.0, 2.0))
    return dataclasses.replace(config, preset="legs", num_envs=4096, total_steps=60_000_000, happo=happo, task=task)


PUSH_PRESETS: Dict[str, Callable[[str], RunConfig]] = {
    "default": _default,
    "quick": _quick,
    "gpu": _gpu,
    "published": _published,
}

PRESETS: Dict[str, Dict[str, Callable[[str], RunConfig]]] = {}
for _object_name in OBJECTS:
    PRESETS[_object_name] = dict(PUSH_PRESETS)
    if _object_name not in PUBLISHED_REWARDS:
        del PRESETS[_object_name]["published"]
PRESETS[MIXED_TASK] = {"default": _mixed, "quick": _mixed_quick, "gpu": _mixed_gpu}
PRESETS["walk"] = {"default": _walk, "gpu": _walk_gpu, "legs": _legs}


PRESET_LINES = {
    "default": "the settings to start from: 100 M env steps of pushing, or 20 M of walking",
    "quick": "the same, sized for two CPU cores and a quarter of an hour",
    "gpu": "the same, sized for one GPU: 4,096 to 8,192 envs",
    "published": "MAPush's published settings: its rewards, 50 decisions a second, 500 envs, rollouts of 200 steps",
    "legs": "the low level of MAPush's own robot, sized for one GPU: 4,096 envs",
}
"""What each preset is for, in a line."""


def presets_of(task_name: str) -> Dict[str, Callable[[str], RunConfig]]:
    """Return the presets of a task by name; {} if there is no such task."""
    if task_name in PRESETS or task_name not in OBJECTS:
        return PRESETS.get(task_name, {})
    return presets_of_own_object()


def presets_of_own_object() -> Dict[str, Callable[[str], RunConfig]]:
    """Return the presets that need no published numbers, by name."""
    found = dict(PUSH_PRESETS)
    del found["published"]
    return found


def as_published(task_name: str) -> RunConfig:
    """Return MAPush's published settings for an object, with its own rewards if MAPush published some."""
    return _published(task_name)


OWN_ENV_HAPPO = HappoConfig(
    hidden_sizes=(64, 64),
    use_feature_normalization=False,
    gain=0.1,
    std_y_coef=1.0,
    lr=1e-3,
    critic_lr=2e-3,
    use_linear_lr_decay=True,
    ppo_epoch=10,
    critic_epoch=10,
    actor_num_mini_batch=4,
    critic_num_mini_batch=4,
    entropy_coef=0.003,
    gamma=0.97,
)
"""The learner's settings of `own_env`.

They learn `harness.toys.make_pointmass` to 95 % success in 100,000 env steps, where HARL's defaults reach 17 %. A
LayerNorm on the observation is off: of an observation of two numbers it leaves only which one is larger.
"""


def preset(task_name: str, name: str = "default") -> RunConfig:
    """Return the configuration called `name` for a built-in task.

    Raises:
      ConfigError: unknown task or preset; or "published" for an object that has no published rewards.
    """
    own_objects.require_task(task_name)
    presets = presets_of(task_name)
    if name not in presets:
        if name == "published" and task_name in OBJECTS:
            fix = "use a different preset, or add its weights to mapush.presets.PUBLISHED_REWARDS"
            raise ConfigError("MAPush published no rewards for this object", got=repr(task_name), fix=fix)
        raise _unknown_preset(task_name, name, presets)
    return presets[name](task_name)


def _unknown_preset(task_name: str, name: str, presets: Iterable[str]) -> ConfigError:
    """Return the error for a preset that does not exist, which lists those that do, with a line each."""
    error = unknown("preset", name, presets)
    error.add_where(f"task {task_name}")
    lines = ["one of"]
    for valid in presets:
        lines.append(f"{'':14}{valid:<11} {PRESET_LINES[valid]}")
    error.expected = "\n".join(lines)
    return error


def own_env(task_name: str, **changes: Any) -> RunConfig:
    """Return a configuration for your own environment, which you pass to `train` as `make_env`.

    The settings suit a small environment: 64 envs, 100,000 env steps, higher learning rates and more exploration than
    HARL's defaults, and one policy for each agent. Observations should be of the order of 1.

    Args:
      task_name: name of the environment; it names the folder of the run and its checkpoints.
      **changes: fields of `RunConfig` to set, such as num_envs, total_steps, seed or happo.

    Raises:
      ConfigError: a value out of range, or the name of a built-in task.
    """
    if task_name in own_objects.task_names():
        raise ConfigError("this is the name of a built-in task", got=repr(task_name), fix="choose a different name")
    config = RunConfig(
        task_name=task_name,
        preset="own",
        num_envs=64,
        num_steps=32,
        total_steps=100_000,
        checkpoint_every=50_000,
        device="cpu",
        happo=OWN_ENV_HAPPO,
    )
    return dataclasses.replace(config, **changes)
