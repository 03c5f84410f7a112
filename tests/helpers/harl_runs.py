"""Tiny runs of HARL through the adapter."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import torch
from fakes import make_env, put_object_at_goal

from mapush.config import HappoConfig, PushRunConfig
from mapush.env.harl_view import HarlView
from mapush.run.logger import RunLogger
from mapush.upstream.harl.arguments import algo_args
from mapush.upstream.harl.harl_logger import HarlLogger, ScalarWriter

NUM_ENVS, NUM_STEPS, ITERATIONS = 5, 7, 3
NETWORK = HappoConfig(hidden_sizes=(16, 12), lr=3e-3, critic_lr=3e-3)


def run_config(**changes):
    """Return a run of three iterations of the pushing task."""
    config = PushRunConfig(
        num_envs=NUM_ENVS,
        num_steps=NUM_STEPS,
        total_steps=ITERATIONS * NUM_ENVS * NUM_STEPS,
        checkpoint_every=ITERATIONS * NUM_ENVS * NUM_STEPS,
        seed=11,
        device="cpu",
        happo=NETWORK,
    )
    return dataclasses.replace(config, **changes)


def make_ending_env(seed=3):
    """Return the pushing task on a kinematic world; the episodes of envs 1, 2 and 4 end within a run."""
    env = make_env(seed)
    reset = env.reset

    def reset_near_the_end():
        observation = reset()
        env._length += torch.tensor([0, 985, 995, 0, 0])  # two by the time limit
        put_object_at_goal(env, 4)
        return observation

    env.reset = reset_near_the_end
    return env


class Harl:
    """The adapter's runner on a kinematic world, with its parts as attributes."""

    def __init__(self, folder: Path, logs, config=None, env=None, eval_env=None, stopped=lambda: False) -> None:
        from mapush.upstream.harl.runner import DEFAULTS, HarlRunner

        folder.mkdir(parents=True, exist_ok=True)
        make_eval_envs = None
        if eval_env is not None:
            make_eval_envs = functools.partial(HarlView, eval_env)
        self.config = config or run_config()
        self.env = env or make_ending_env()
        self.log = RunLogger(folder, self.config)
        logs.append(self.log)
        self.logger = HarlLogger(self.log, self.env, stopped)
        self.runner = HarlRunner(
            algo_args(self.config, DEFAULTS),
            HarlView(self.env),
            logger=self.logger,
            writer=ScalarWriter(self.log),
            save_dir=folder / "models",
            device=torch.device("cpu"),
            make_eval_envs=make_eval_envs,
        )
