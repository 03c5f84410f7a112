"""Contracts of networks and learner for sets of team mates: order, empty rows and absent agents mean nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mapush.config import HappoConfig
from mapush.happo.happo import Happo
from mapush.happo.networks import Actor, Critic
from mapush.happo.rollout import Rollout
from mapush.spec import SetLayout

pytestmark = pytest.mark.contracts

OTHERS, ACTION_DIM, BATCH = 3, 2, 11
LAYOUT = SetLayout(rows=4, width=5)
OBS_DIM = OTHERS + LAYOUT.rows * LAYOUT.width
STATE_LAYOUT = SetLayout(rows=3, width=6)
SHARE_OBS_DIM = 7 + STATE_LAYOUT.rows * STATE_LAYOUT.width
CFG = HappoConfig(hidden_sizes=(13, 9), share_param=True, gain=1.0, lr=0.001, critic_lr=0.001, ppo_epoch=2)
NUM_STEPS, NUM_ENVS, NUM_AGENTS = 6, 10, 3
SIZES = {
    "num_agents": NUM_AGENTS,
    "obs_dim": OBS_DIM,
    "share_obs_dim": SHARE_OBS_DIM,
    "action_dim": ACTION_DIM,
}


def random_input(seed, present=(1.0, 0.0, 1.0, 0.0)):
    """Return inputs (BATCH, OBS_DIM) of which these rows are present."""
    inputs = torch.randn(BATCH, OBS_DIM, generator=torch.Generator().manual_seed(seed))
    rows = inputs[:, OTHERS:].view(BATCH, LAYOUT.rows, LAYOUT.width)
    rows[..., -1] = torch.tensor(present)
    return inputs


def rows_of(inputs):
    return inputs[:, OTHERS:].view(BATCH, LAYOUT.rows, LAYOUT.width)


def actor():
    torch.manual_seed(0)
    return Actor(CFG, OBS_DIM, ACTION_DIM, LAYOUT)


def test_order_of_the_rows_means_nothing():
    """Every permutation of the team mates gives the same action, up to the rounding of a sum."""
    inputs, network = random_input(1, present=(1.0, 1.0, 1.0, 0.0)), actor()
    shuffled = inputs.clone()
    rows_of(shuffled).copy_(rows_of(inputs)[:, [2, 3, 0, 1]])
    assert not torch.equal(shuffled, inputs)
    torch.testing.assert_close(network.mean(shuffled), network.mean(inputs), rtol=1e-5, atol=1e-6)


def test_content_of_a_row_that_is_present_matters():
    """Each team mate has an influence, so that the other tests of this file can fail."""
    inputs, network = random_input(2), actor()
    for row in (0, 2):
        other = inputs.clone()
        rows_of(other)[:, row, :-1] += 0.5
        change = (network.mean(other) - network.mean(inputs)).detach()
        assert float(change.abs().max()) > 1e-2


def test_content_of_an_empty_row_changes_nothing():
    """Not one bit of the action depends on what an empty row holds, and no gradient reaches it."""
    inputs, network = random_input(3), actor()
    other = inputs.clone()
    rows_of(other)[:, [1, 3], :-1] = 1e6
    assert torch.equal(network.mean(other), network.mean(inputs))
    inputs.requires_grad_(True)
    network.mean(inputs).square().sum().backward()
    gradient = rows_of(inputs.grad)
    assert not gradient[:, [1, 3], :-1].any()
    assert gradient[:, [0, 2], :-1].any()


def test_empty_set_gives_a_finite_action():
    """A robot without team mates has actions and gradients, too."""
    inputs, network = random_input(4, present=(0.0, 0.0, 0.0, 0.0)), actor()
    mean = network.mean(inputs)
    mean.sum().backward()
    assert bool(mean.isfinite().all())
    assert all(
        bool(parameter.grad.isfinite().all()) for parameter in network.parameters() if parameter.grad is not None
    )


def test_network_takes_any_leading_shape():
    """A team's observations can pass at once, as in an exported policy."""
    network, inputs = actor(), random_input(5)
    team = torch.stack((inputs, random_input(6)), dim=1)
    torch.testing.assert_close(network.base(team)[:, 0], network.base(inputs))


def learner(seed=4):
    return Happo(CFG, seed=seed, device=torch.device("cpu"), sets=(LAYOUT, STATE_LAYOUT), **SIZES)


def filled_rollout(agent, noise_seed, absent_from):
    """Return a rollout whose last agents are absent from the last envs; there, everything comes from `noise_seed`."""
    generator, noise = torch.Generator().manual_seed(8), torch.Generator().manual_seed(noise_seed)
    active = torch.ones(NUM_ENVS, NUM_AGENTS)
    active[absent_from:, 1:] = 0.0
    gone = active == 0.0

    def draw(*shape):
        value = torch.randn(NUM_ENVS, *shape, generator=generator)
        if len(shape) == 2:
            value[gone] = torch.randn(int(gone.sum()), shape[1], generator=noise)
        return value

    rollout = Rollout(NUM_STEPS, NUM_ENVS, device=torch.device("cpu"), **SIZES)
    rollout.start(draw(NUM_AGENTS, OBS_DIM), draw(SHARE_OBS_DIM), active)
    nowhere = torch.zeros(NUM_ENVS, dtype=torch.bool)
    for step in range(NUM_STEPS):
        decision = agent.act(rollout.obs[step], rollout.share_obs[step])
        action = 0.3 * draw(NUM_AGENTS, ACTION_DIM)
        log_prob = torch.stack(
            [agent.actors[0].log_prob(rollout.obs[step][:, i], action[:, i]) for i in range(3)], dim=1
        )
        decision = dataclasses.replace(decision, action=action, log_prob=log_prob.detach())
        ended = torch.rand(NUM_ENVS, generator=generator) < 0.1
        obs, share_obs = draw(NUM_AGENTS, OBS_DIM), draw(SHARE_OBS_DIM)
        rollout.insert(decision, draw(1), ended, nowhere, obs, share_obs, active)
    return rollout


@pytest.mark.parametrize("minibatches", [1, 3])
def test_learner_learns_nothing_from_absent_agents(minibatches):
    """What an absent agent saw and did changes no weight: neither its own loss nor the factor of the others."""
    weights = []
    for noise_seed in (1, 2):
        agent = learner()
        agent.cfg = dataclasses.replace(CFG, actor_num_mini_batch=minibatches)
        agent.update(filled_rollout(agent, noise_seed, absent_from=4))
        weights.append(
            [value for network in (agent.actors[0], agent.critic) for value in network.state_dict().values()]
        )
    for one, other in zip(*weights):
        torch.testing.assert_close(one, other, rtol=0.0, atol=1e-6)


def test_present_agents_are_learned_from():
    """The same change where the agents are present changes the weights, so that the test above can fail."""
    weights = []
    for noise_seed in (1, 2):
        agent = learner()
        rollout = filled_rollout(agent, noise_seed, absent_from=4)
        rollout.active_masks.fill_(1.0)
        agent.update(rollout)
        weights.append(agent.actors[0].base.base.mlp["fc"][0].weight)
    difference = (weights[0] - weights[1]).detach()
    assert float(difference.abs().max()) > 1e-4


def test_minibatch_without_a_sample_of_an_agent_changes_nothing_by_its_loss():
    """An agent that is present in one env of ten is in few of many minibatches; no weight becomes NaN."""
    agent = learner()
    agent.cfg = dataclasses.replace(CFG, actor_num_mini_batch=30)
    numbers = agent.update(filled_rollout(agent, 1, absent_from=1))
    assert numbers["policy_loss"] == numbers["policy_loss"]
    assert all(bool(value.isfinite().all()) for value in agent.actors[0].state_dict().values())


def test_critic_pools_the_robots():
    """The value of a state does not depend on how its robots are numbered."""
    torch.manual_seed(0)
    critic = Critic(CFG, SHARE_OBS_DIM, STATE_LAYOUT)
    state = torch.randn(BATCH, SHARE_OBS_DIM)
    state[:, 7:].view(BATCH, *STATE_LAYOUT)[..., -1] = 1.0
    other = state.clone()
    other[:, 7:] = state[:, 7:].view(BATCH, *STATE_LAYOUT).flip(1).flatten(1)
    torch.testing.assert_close(critic(other), critic(state), rtol=1e-5, atol=1e-6)
