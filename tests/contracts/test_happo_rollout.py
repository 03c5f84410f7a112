"""Contracts of the rollout storage: each value lands at its index, as a copy."""

from __future__ import annotations

import pytest
import torch

from mapush.happo.rollout import Decision, Rollout

pytestmark = pytest.mark.contracts

NUM_STEPS, NUM_ENVS, NUM_AGENTS, OBS_DIM, SHARE_OBS_DIM, ACTION_DIM = 7, 5, 2, 8, 11, 3
NEVER = torch.zeros(NUM_ENVS, dtype=torch.bool)


def _rollout() -> Rollout:
    return Rollout(
        num_steps=NUM_STEPS,
        num_envs=NUM_ENVS,
        num_agents=NUM_AGENTS,
        obs_dim=OBS_DIM,
        share_obs_dim=SHARE_OBS_DIM,
        action_dim=ACTION_DIM,
        device=torch.device("cpu"),
    )


def _decision() -> Decision:
    shape = (NUM_ENVS, NUM_AGENTS, ACTION_DIM)
    return Decision(torch.randn(shape), torch.randn(shape), torch.randn(NUM_ENVS, 1))


def _observation() -> tuple:
    return torch.randn(NUM_ENVS, NUM_AGENTS, OBS_DIM), torch.randn(NUM_ENVS, SHARE_OBS_DIM)


def _fill(rollout: Rollout, num_steps: int) -> None:
    for _ in range(num_steps):
        reward = torch.randn(NUM_ENVS, 1)
        rollout.insert(_decision(), reward, torch.rand(NUM_ENVS) < 0.3, NEVER, *_observation())


def test_insert_copies_its_tensors() -> None:
    """The rollout shares no memory with the tensors that were inserted."""
    rollout, decision, (obs, share_obs) = _rollout(), _decision(), _observation()
    first_obs, first_share_obs = _observation()
    reward, terminated = torch.randn(NUM_ENVS, 1), NEVER.clone()
    rollout.start(first_obs, first_share_obs)
    rollout.insert(decision, reward, terminated, NEVER, obs, share_obs)
    stored = {name: array.clone() for name, array in vars(rollout).items() if isinstance(array, torch.Tensor)}
    changed = (first_obs, first_share_obs, decision.action, decision.log_prob, decision.value, reward, obs, share_obs)
    for tensor in changed:
        tensor.add_(1.0)
    terminated.fill_(True)
    assert all(torch.equal(getattr(rollout, name), array) for name, array in stored.items())


def test_insert_step_lands_at_its_index() -> None:
    """Decision and reward of step t are stored at t, the observation after the step at t + 1."""
    rollout, decision, (obs, share_obs) = _rollout(), _decision(), _observation()
    reward = torch.randn(NUM_ENVS, 1)
    rollout.start(*_observation())
    rollout.insert(_decision(), reward + 1.0, NEVER, NEVER, *_observation())
    rollout.insert(decision, reward, NEVER, NEVER, obs, share_obs)
    assert torch.equal(rollout.actions[1], decision.action)
    assert torch.equal(rollout.log_probs[1], decision.log_prob)
    assert torch.equal(rollout.values[1], decision.value)
    assert torch.equal(rollout.rewards[1], reward)
    assert torch.equal(rollout.obs[2], obs)
    assert torch.equal(rollout.share_obs[2], share_obs)


def test_insert_ended_episodes_set_masks() -> None:
    """An end clears `masks`; only a time limit that is not also a termination clears `bad_masks`."""
    rollout = _rollout()
    terminated = torch.tensor([False, True, False, True, False])
    truncated = torch.tensor([False, False, True, True, False])
    rollout.insert(_decision(), torch.zeros(NUM_ENVS, 1), terminated, truncated, *_observation())
    assert rollout.masks[1, :, 0].tolist() == [1.0, 0.0, 0.0, 0.0, 1.0]
    assert rollout.bad_masks[1, :, 0].tolist() == [1.0, 1.0, 0.0, 1.0, 1.0]
    assert rollout.active_masks[1].eq(1.0).all()


def test_insert_without_active_after_inactive_means_all_active() -> None:
    """Without `active` all agents are active, also if one was inactive in the last rollout."""
    rollout = _rollout()
    reward, active = torch.zeros(NUM_ENVS, 1), torch.zeros(NUM_ENVS, NUM_AGENTS)
    for _ in range(NUM_STEPS):
        rollout.insert(_decision(), reward, NEVER, NEVER, *_observation(), active=active)
    assert rollout.active_masks[1:].eq(0.0).all()
    rollout.finish()
    _fill(rollout, NUM_STEPS)
    assert rollout.active_masks[1:].eq(1.0).all()


def test_finish_next_rollout_begins_at_the_last_observation() -> None:
    """The observation after the last step is the first one of the next rollout, whose steps count from 0."""
    rollout = _rollout()
    _fill(rollout, NUM_STEPS)
    last_obs, last_share_obs = rollout.obs[-1].clone(), rollout.share_obs[-1].clone()
    rollout.finish()
    decision = _decision()
    rollout.insert(decision, torch.zeros(NUM_ENVS, 1), NEVER, NEVER, *_observation())
    assert torch.equal(rollout.obs[0], last_obs)
    assert torch.equal(rollout.share_obs[0], last_share_obs)
    assert torch.equal(rollout.actions[0], decision.action)


@pytest.mark.parametrize("filled", [0, 3])
def test_state_dict_loaded_into_a_second_rollout_continues_alike(filled: int) -> None:
    """A rollout that loads a partly filled one ends up equal to it, and shares no memory with it."""
    rollout, other = _rollout(), _rollout()
    _fill(rollout, NUM_STEPS)
    rollout.finish()
    _fill(rollout, filled)
    state = rollout.state_dict()
    stored = {name: array.clone() for name, array in state["filled"].items()}
    generator = torch.get_rng_state()
    _fill(rollout, NUM_STEPS - filled)
    rollout.finish()
    assert all(torch.equal(array, stored[name]) for name, array in state["filled"].items())
    other.load_state_dict(state)
    torch.set_rng_state(generator)
    _fill(other, NUM_STEPS - filled)
    other.finish()
    names = [name for name, array in vars(rollout).items() if isinstance(array, torch.Tensor) and name != "values"]
    assert all(torch.equal(getattr(other, name), getattr(rollout, name)) for name in names)
    assert torch.equal(other.values[:-1], rollout.values[:-1])
