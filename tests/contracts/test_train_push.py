"""Contracts of training on the pushing task."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from fakes import KinematicSimulator

from mapush.config import TaskConfig
from mapush.env.push import PushEnv
from mapush.presets import preset
from mapush.train import Run

pytestmark = pytest.mark.contracts


def make_run():
    config = dataclasses.replace(preset("cuboid", "default"), num_envs=5, num_steps=7, device="cpu")
    task = TaskConfig(steps_per_decision=3)
    return Run.start(config, lambda _: PushEnv(KinematicSimulator(5, 2), task, seed=4))


def test_team_learns_from_the_mean_of_its_agents_rewards(monkeypatch):
    """The learner maximises the mean of the agents' rewards, not the reward of agent 0."""
    run, seen = make_run(), []
    step = run.env.step

    def remember(actions):
        seen.append(step(actions))
        return seen[-1]

    monkeypatch.setattr(run.env, "step", remember)
    while run.rollout.step < run.config.num_steps:
        run.advance()
    rewards = torch.stack([transition.reward for transition in seen])
    assert rewards.shape == (7, 5, 2)
    assert float((rewards[..., 0] - rewards[..., 1]).abs().min()) > 0.0
    torch.testing.assert_close(run.rollout.rewards[..., 0], rewards.mean(dim=2))


def test_run_counts_every_env_step_of_a_held_action():
    """Steps are env steps: a decision that is held for three of them, in five envs, counts as fifteen."""
    run = make_run()
    run.advance()
    assert run.step == 15
