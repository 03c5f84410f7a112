"""Contracts of what a row of HARL's says about its updates, derived a second time from its networks and buffers."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from harl_runs import ITERATIONS, NETWORK, Harl, run_config
from runs import rows

pytestmark = [pytest.mark.adapters, pytest.mark.harl]


@pytest.fixture
def logs():
    """Return a list of logs, which are closed at the end."""
    made = []
    yield made
    for log in made:
        log.close()


def distribution(actor, obs):
    """Return mean and standard deviation of the actions of one of HARL's actors."""
    network = copy.deepcopy(actor.actor)
    with torch.no_grad():
        head = network.act.action_out
        std = torch.sigmoid(head.log_std / head.std_x_coef) * head.std_y_coef
        return head.fc_mean(network.base(torch.from_numpy(obs))).double(), std.double()


def watched(harl):
    """Train one of HARL's runs; return the last update's networks before and after, buffers and returns."""
    runner, seen = harl.runner, {}
    train = runner.train

    def train_and_look():
        seen["before"] = copy.deepcopy(runner.actor)
        seen["values"] = runner.value_normalizer.denormalize(runner.critic_buffer.value_preds[:-1])
        result = train()
        seen["after"] = copy.deepcopy(runner.actor)
        seen["buffers"] = copy.deepcopy(runner.actor_buffer)
        seen["returns"] = runner.critic_buffer.returns[:-1].copy()
        return result

    runner.train = train_and_look
    runner.run()
    return seen


def log_prob(mean, std, actions):
    """Return the log-probabilities of the dimensions of actions."""
    return torch.distributions.Normal(mean, std).log_prob(torch.from_numpy(actions).double())


def test_row_says_how_far_the_update_went(tmp_path, logs):
    """KL, clip fraction and standard deviation are those of HARL's networks; explained variance follows numpy."""
    seen = watched(Harl(tmp_path, logs))
    divergences, clipped, stds = [], [], []
    for before, after, buffer in zip(seen["before"], seen["after"], seen["buffers"]):
        obs = buffer.obs[:-1].reshape(-1, buffer.obs.shape[-1])
        actions = buffer.actions.reshape(-1, buffer.actions.shape[-1])
        old, new = (log_prob(*distribution(actor, obs), actions) for actor in (before, after))
        log_ratio = (new - old).sum(-1)
        divergences.append(float((log_ratio.exp() - 1.0 - log_ratio).mean()))
        clipped.append(float(((log_ratio.exp() - 1.0).abs() > NETWORK.clip_param).double().mean()))
        stds.append(float(distribution(after, obs)[1].mean()))
    residual = seen["returns"] - np.asarray(seen["values"])
    expected = {
        "approx_kl": np.mean(divergences),
        "clip_fraction": np.mean(clipped),
        "std": np.mean(stds),
        "explained_variance": 1.0 - residual.var() / seen["returns"].var(),
        "lr": NETWORK.lr,
        "critic_lr": NETWORK.critic_lr,
    }
    assert expected["approx_kl"] > 1e-4
    row = rows(tmp_path)[-1]
    for name, value in expected.items():
        assert float(row[f"train/{name}"]) == pytest.approx(value, rel=2e-3, abs=1e-4), name


def test_learning_rate_of_a_row_falls_with_linear_decay(tmp_path, logs):
    """The rates are those of the optimisers, which HARL lowers before each rollout."""
    happo = dataclasses.replace(NETWORK, use_linear_lr_decay=True)
    Harl(tmp_path, logs, run_config(happo=happo)).runner.run()
    rates = [float(row["train/lr"]) for row in rows(tmp_path)]
    expected = [NETWORK.lr * (1 - done / ITERATIONS) for done in range(ITERATIONS)]
    assert rates == pytest.approx(expected, abs=1e-9)


def test_shared_actor_has_the_change_of_each_agents_turn(tmp_path, logs):
    """With one actor for all agents, each agent's log-probabilities are those right after its own turn."""
    harl = Harl(tmp_path, logs, run_config(happo=dataclasses.replace(NETWORK, share_param=True)))
    harl.runner.run()
    for row in rows(tmp_path):
        assert float(row["train/approx_kl"]) > 0.0
        assert 0.0 <= float(row["train/clip_fraction"]) <= 1.0
    assert not any(hasattr(buffer, "log_probs_after_update") for buffer in harl.runner.actor_buffer)
