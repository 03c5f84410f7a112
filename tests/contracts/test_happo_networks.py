"""Contracts of the networks: layers, and the distribution of actions against PyTorch's."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.distributions import Normal

from mapush.config import HappoConfig
from mapush.happo.networks import Actor, Critic

pytestmark = pytest.mark.contracts

OBS_DIM, SHARE_OBS_DIM, ACTION_DIM, BATCH = 8, 19, 3, 13


def config(*hidden_sizes):
    """Return settings with these layers."""
    return dataclasses.replace(HappoConfig(), hidden_sizes=hidden_sizes)


@pytest.mark.parametrize("hidden_sizes", [(5,), (5, 7), (5, 7, 11), (17, 11, 7, 5)])
def test_networks_have_the_configured_layers(hidden_sizes):
    """Each hidden size has one linear layer, in order, and the head follows the last one."""
    widths = list(zip((OBS_DIM, *hidden_sizes), hidden_sizes))
    actor, critic = Actor(config(*hidden_sizes), OBS_DIM, ACTION_DIM), Critic(config(*hidden_sizes), SHARE_OBS_DIM)
    linear = [tuple(layer.weight.shape) for layer in actor.modules() if isinstance(layer, torch.nn.Linear)]
    assert linear == [(size, below) for below, size in widths] + [(ACTION_DIM, hidden_sizes[-1])]
    linear = [tuple(layer.weight.shape) for layer in critic.modules() if isinstance(layer, torch.nn.Linear)]
    assert linear[0] == (hidden_sizes[0], SHARE_OBS_DIM)
    assert linear[-1] == (1, hidden_sizes[-1])
    assert actor.mean(torch.zeros(BATCH, OBS_DIM)).shape == (BATCH, ACTION_DIM)
    assert critic(torch.zeros(BATCH, SHARE_OBS_DIM)).shape == (BATCH, 1)


def test_actions_are_normal_about_the_mean():
    """Probabilities and entropy are those of PyTorch's normal distribution, and samples are drawn from it."""
    actor = Actor(config(7, 5), OBS_DIM, ACTION_DIM)
    with torch.no_grad():
        actor.act.action_out.log_std.copy_(torch.tensor([0.2, 1.0, 2.5]))
    obs = torch.randn(BATCH, OBS_DIM, generator=torch.Generator().manual_seed(1))
    normal = Normal(actor.mean(obs), actor.std)
    action, log_prob = actor.sample(obs, torch.Generator().manual_seed(2))
    torch.testing.assert_close(log_prob, normal.log_prob(action))
    torch.testing.assert_close(actor.log_prob(obs, action + 0.3), normal.log_prob(action + 0.3))
    torch.testing.assert_close(actor.entropy, normal.entropy()[0].sum())
    many, _ = actor.sample(obs[:1].expand(20_000, OBS_DIM), torch.Generator().manual_seed(3))
    torch.testing.assert_close(many.std(dim=0), actor.std, rtol=0.03, atol=0.0)
    torch.testing.assert_close(many.mean(dim=0), actor.mean(obs)[0], rtol=0.0, atol=0.02)
