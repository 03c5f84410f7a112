"""Contracts of what an update reports about itself: KL divergence, clip fraction, explained variance, rates."""

from __future__ import annotations

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

from mapush.config import HappoConfig
from mapush.happo import update
from mapush.happo.happo import Happo
from mapush.happo.rollout import Rollout

pytestmark = pytest.mark.contracts

NUM_STEPS, NUM_ENVS, NUM_AGENTS, OBS_DIM, SHARE_OBS_DIM, ACTION_DIM = 7, 1500, 2, 8, 11, 3
CFG = HappoConfig(hidden_sizes=(16, 12), lr=3e-3, critic_lr=2e-3, std_y_coef=1.0)
SIZES = {
    "obs_dim": OBS_DIM,
    "share_obs_dim": SHARE_OBS_DIM,
    "action_dim": ACTION_DIM,
    "num_agents": NUM_AGENTS,
    "device": torch.device("cpu"),
}


def updated(cfg=CFG):
    """Return a learner before and after an update, the rollout, and what the update reported."""
    learner = Happo(cfg, seed=4, **SIZES)
    rollout = Rollout(num_steps=NUM_STEPS, num_envs=NUM_ENVS, **SIZES)
    world = torch.Generator().manual_seed(1)
    obs, share_obs = rollout.obs[0], rollout.share_obs[0]
    for _ in range(NUM_STEPS):
        decision = learner.act(obs, share_obs)
        reward = -(decision.action**2).sum(dim=(1, 2)).unsqueeze(1)
        obs = torch.randn(NUM_ENVS, NUM_AGENTS, OBS_DIM, generator=world)
        share_obs = torch.randn(NUM_ENVS, SHARE_OBS_DIM, generator=world)
        ended = torch.rand(NUM_ENVS, generator=world)
        rollout.insert(decision, reward, ended < 0.15, ended > 0.85, obs, share_obs)
    before = copy.deepcopy(learner)
    return before, learner, rollout, learner.update(rollout)


def gaussian(actor, obs):
    """Return mean and standard deviation of an actor's actions, in float64."""
    actor = copy.deepcopy(actor).double()
    return actor.mean(obs.double()).detach(), actor.std.detach()


@pytest.mark.parametrize("share_param", [False, True])
def test_approx_kl_is_the_divergence_of_the_gaussians(share_param):
    """It is log(s1/s0) + (s0^2 + (m0-m1)^2) / (2 s1^2) - 1/2, summed over dimensions, mean over observations."""
    before, after, rollout, metrics = updated(dataclasses.replace(CFG, share_param=share_param, fixed_order=True))
    agents = range(NUM_AGENTS)
    if share_param:
        agents = [NUM_AGENTS - 1]  # the actor after the first agent's turn is gone
    for agent in agents:
        obs = rollout.obs[:-1, :, agent].flatten(0, 1)
        m0, s0 = gaussian(before.actors[agent], obs)
        m1, s1 = gaussian(after.actors[agent], obs)
        exact = ((s1 / s0).log() + (s0**2 + (m0 - m1) ** 2) / (2 * s1**2) - 0.5).sum(-1).mean()
        assert float(exact) > 1e-3
        assert metrics[f"agent{agent}/approx_kl"] == pytest.approx(float(exact), rel=0.05)


def test_clip_fraction_counts_the_samples_outside_of_the_clip_range():
    """The fraction is counted one sample at a time from the densities of numpy's formula."""
    before, after, rollout, metrics = updated()
    for agent in range(NUM_AGENTS):
        obs = rollout.obs[:-1, :, agent].flatten(0, 1)
        actions = rollout.actions[:, :, agent].flatten(0, 1).double().numpy()
        densities = []
        for learner in (before, after):
            mean, std = (value.numpy() for value in gaussian(learner.actors[agent], obs))
            densities.append(np.prod(np.exp(-0.5 * ((actions - mean) / std) ** 2) / std, axis=1))
        ratio = densities[1] / densities[0]
        outside = np.mean((ratio > 1.0 + CFG.clip_param) | (ratio < 1.0 - CFG.clip_param))
        assert 0.01 < outside < 0.99
        assert metrics[f"agent{agent}/clip_fraction"] == pytest.approx(outside, abs=2e-3)
    for name in ("approx_kl", "clip_fraction"):
        assert metrics[name] == pytest.approx(np.mean([metrics[f"agent{agent}/{name}"] for agent in range(NUM_AGENTS)]))


def test_explained_variance_of_an_update_is_that_of_the_values_before_it():
    """It equals 1 - Var(R - V) / Var(R) in numpy, in units of reward."""
    before, _, rollout, metrics = updated()
    values = before.value_norm.denormalize(rollout.values)  # the update has filled in the last one
    returns = update.compute_returns(rollout, values, CFG)[..., 0].double().numpy()
    residual = returns - values[:-1, :, 0].double().numpy()
    assert metrics["explained_variance"] == pytest.approx(1.0 - np.var(residual) / np.var(returns), abs=1e-4)


@pytest.mark.parametrize("scale, expected", [(1.0, 1.0), (0.0, 0.0), (2.0, 0.0), (-1.0, -3.0)])
def test_explained_variance_by_its_definition(scale, expected):
    """Perfect values explain all, constants nothing, and values that are wrong by more than the returns less."""
    returns = torch.linspace(-1.0, 2.0, 35).reshape(7, 5, 1)
    assert float(update.explained_variance(scale * returns + 0.5, returns)) == pytest.approx(expected, abs=1e-5)


def test_explained_variance_of_constant_returns_is_undefined_and_ends_no_run():
    """If all returns are the same there is nothing to explain: nan, which an update may report."""
    assert math.isnan(update.explained_variance(torch.randn(7, 5, 1), torch.full((7, 5, 1), 3.0)))
    learner = Happo(CFG, seed=4, **SIZES)
    rollout = Rollout(num_steps=NUM_STEPS, num_envs=NUM_ENVS, **SIZES)
    nothing = torch.zeros(NUM_ENVS, dtype=torch.bool)
    for _ in range(NUM_STEPS):
        decision = learner.act(rollout.obs[0], rollout.share_obs[0])
        decision = dataclasses.replace(decision, value=torch.zeros(NUM_ENVS, 1))
        rollout.insert(decision, torch.zeros(NUM_ENVS, 1), ~nothing, nothing, rollout.obs[0], rollout.share_obs[0])
    assert math.isnan(learner.update(rollout)["explained_variance"])


def test_policy_change_leaves_out_inactive_samples_and_stays_finite():
    """Samples of weight 0 do not count, and a ratio beyond float32 gives a large number, not infinity."""
    log_ratio = torch.tensor([[0.1, 0.05], [3.0, 4.0], [-0.3, 0.0]])
    weight = torch.tensor([[1.0], [0.0], [1.0]])
    kl, clipped = update.policy_change(log_ratio, weight, CFG)
    expected = np.mean([np.exp(0.15) - 1 - 0.15, np.exp(-0.3) - 1 + 0.3])
    assert float(kl) == pytest.approx(expected, rel=1e-5)
    assert float(clipped) == pytest.approx(0.5)
    kl, _ = update.policy_change(torch.full((4000, 3), 60.0), torch.ones(4000, 1), CFG)
    assert math.isfinite(kl)
    assert float(kl) > 1e6


def test_learning_rates_are_those_of_the_update():
    """With linear decay an update after a quarter of the run reports three quarters of both rates."""
    learner = Happo(dataclasses.replace(CFG, use_linear_lr_decay=True), seed=4, **SIZES)
    rollout = updated()[2]
    learner.set_progress(0.25)
    metrics = learner.update(rollout)
    assert metrics["lr"] == pytest.approx(0.75 * CFG.lr)
    assert metrics["critic_lr"] == pytest.approx(0.75 * CFG.critic_lr)
