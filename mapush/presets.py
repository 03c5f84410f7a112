"""Presets: whole configurations under a name, from which a command line may differ field by field."""

from __future__ import annotations

import dataclasses
from typing import Callable, Dict

from mapush.config import HappoConfig, PushRunConfig, RewardConfig, RunConfig, TaskConfig, WalkRunConfig
from mapush.errors import ConfigError, nearest
from mapush.objects import OBJECTS

PUBLISHED_REWARDS = {
    "cuboid": RewardConfig(65.0, 15.0, -50.0, 30.0, 80.0, 200_000.0, -100_000.0, expanded_ocb=True),
    "tblock": RewardConfig(60.0, 15.0, -40.0, 30.0, 80.0, 200_000.0, -100_000.0, expanded_ocb=True),
    "cylinder": RewardConfig(50.0, 15.0, -30.0, 30.0, 120.0, 200_000.0, -100_000.0, expanded_ocb=True),
}


SHAPED_REWARDS = RewardConfig(
    target=0.015, approach=0.006, collision=-0.002, push=0.002, ocb=0.02, reach_target=10.0, exception=-8.0
)
"""Upstream's terms, weighted so that walking to the far side of the object pays from the first step on."""


def _default(name: str) -> RunConfig:
    """Decide five times a second, look some six seconds ahead, learn one policy for all robots of the team."""
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
        task_name=name,
        num_envs=512,
        num_steps=16,
        total_steps=100_000_000,
        happo=happo,
        task=TaskConfig(object=name, steps_per_decision=10, reward=SHAPED_REWARDS),
    )


def _quick(name: str) -> RunConfig:
    """Show on two CPU cores, within 15 minutes, that a team learns."""
    config = _default(name)
    return dataclasses.replace(config, preset="quick", num_envs=256, total_steps=6_000_000, checkpoint_every=2_000_000)


def _gpu(name: str) -> RunConfig:
    """Fill one GPU: 100 M env steps in minutes."""
    config = _default(name)
    happo = dataclasses.replace(config.happo, actor_num_mini_batch=16, critic_num_mini_batch=16)
    return dataclasses.replace(config, preset="gpu", num_envs=8192, num_steps=8, happo=happo)


def _published(name: str) -> RunConfig:
    """Train as MAPush's published runs did: rewards, decision rate, rollout and length; the learner is HAPPO."""
    happo = HappoConfig(hidden_sizes=(64, 64), ppo_epoch=10, critic_epoch=10, value_loss_coef=0.5)
    return PushRunConfig(
        task_name=name,
        preset="published",
        num_envs=500,
        num_steps=200,
        total_steps=100_000_000,
        happo=happo,
        task=TaskConfig(object=name, reward=PUBLISHED_REWARDS[name]),
    )


def _walk(name: str) -> RunConfig:
    """Train the walking policy; the observation is scaled in the task, so it is not normalised again."""
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
        task_name=name, num_envs=1024, num_steps=24, total_steps=20_000_000, checkpoint_every=5_000_000, happo=happo
    )


PRESETS: Dict[str, Dict[str, Callable[[str], RunConfig]]] = {
    **{name: {"default": _default, "quick": _quick, "gpu": _gpu, "published": _published} for name in OBJECTS},
    "walk": {"default": _walk},
}


def preset(task_name: str, name: str) -> RunConfig:
    """Return the configuration called `name` for a task.

    Raises:
      ConfigError: no such task or preset.
    """
    if task_name not in PRESETS:
        raise ConfigError(f"unknown task {task_name!r}", fix=nearest(task_name, PRESETS))
    if name not in PRESETS[task_name]:
        raise ConfigError(f"unknown preset {name!r} of {task_name}", fix=nearest(name, PRESETS[task_name]))
    return PRESETS[task_name][name](task_name)
