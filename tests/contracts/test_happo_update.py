"""Contracts of HAPPO's update, most of them against independent derivations."""

from __future__ import annotations

import copy
import dataclasses
import gc
import io
import weakref

import pytest
import torch

from mapush.config import HappoConfig
from mapush.errors import NonFiniteError
from mapush.happo import update
from mapush.happo.happo import Happo
from mapush.happo.rollout import Rollout
from mapush.happo.update import compute_returns

pytestmark = pytest.mark.contracts

NUM_STEPS, NUM_ENVS, NUM_AGENTS, OBS_DIM, SHARE_OBS_DIM, ACTION_DIM = 7, 5, 2, 8, 11, 3
CFG = HappoConfig(hidden_sizes=(16, 12), lr=3e-3, critic_lr=3e-3)


def _learner(cfg: HappoConfig = CFG, seed: int = 4, num_agents: int = NUM_AGENTS) -> Happo:
    return Happo(
        cfg,
        obs_dim=OBS_DIM,
        share_obs_dim=SHARE_OBS_DIM,
        action_dim=ACTION_DIM,
        num_agents=num_agents,
        device=torch.device("cpu"),
        seed=seed,
    )


def _rollout(num_steps: int = NUM_STEPS, num_envs: int = NUM_ENVS, num_agents: int = NUM_AGENTS) -> Rollout:
    return Rollout(
        num_steps=num_steps,
        num_envs=num_envs,
        num_agents=num_agents,
        obs_dim=OBS_DIM,
        share_obs_dim=SHARE_OBS_DIM,
        action_dim=ACTION_DIM,
        device=torch.device("cpu"),
    )


def _fill(learner: Happo, rollout: Rollout, seed: int = 0) -> Rollout:
    """Act on random observations; the team is rewarded for small actions."""
    world = torch.Generator().manual_seed(seed)
    num_envs, num_agents = rollout.obs.shape[1:3]
    obs, share_obs = rollout.obs[0], rollout.share_obs[0]
    for _ in range(rollout.num_steps):
        decision = learner.act(obs, share_obs)
        reward = -(decision.action**2).sum(dim=(1, 2)).unsqueeze(1)
        obs = torch.randn(num_envs, num_agents, OBS_DIM, generator=world)
        share_obs = torch.randn(num_envs, SHARE_OBS_DIM, generator=world)
        ended = torch.rand(num_envs, generator=world)
        rollout.insert(decision, reward, ended < 0.15, ended > 0.85, obs, share_obs)
    return rollout


def _weights(learner: Happo) -> torch.Tensor:
    values = []
    for module in learner.actors + [learner.critic, learner.value_norm]:
        values += [value.detach().flatten() for value in module.state_dict().values()]
    return torch.cat(values)


def _joint_log_prob(actor: torch.nn.Module, obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    actor = copy.deepcopy(actor).double()
    normal = torch.distributions.Normal(actor.mean(obs.double()), actor.std)
    return normal.log_prob(action.double()).sum(-1).detach()


def test_networks_have_the_documented_number_of_parameters() -> None:
    """With default layers an actor of 8 features and 3 actions has 18,582 parameters, a critic of 19 has 19,751."""
    learner = Happo(
        HappoConfig(), obs_dim=8, share_obs_dim=19, action_dim=3, num_agents=2, device=torch.device("cpu"), seed=1
    )
    for network, count in ((learner.actors[0], 18582), (learner.critic, 19751)):
        assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_happo_does_not_use_the_global_generator() -> None:
    """A learner draws from its own generator only."""
    before = torch.get_rng_state()
    learner = _learner()
    learner.update(_fill(learner, _rollout()))
    assert torch.equal(torch.get_rng_state(), before)


def test_happo_dropped_is_freed_without_garbage_collection() -> None:
    """A learner is in no reference cycle, so that its memory on the GPU is freed with it."""
    learner = _learner()
    learner.update(_fill(learner, _rollout()))
    networks = [weakref.ref(network) for network in learner.actors + [learner.critic]]
    gc.disable()
    try:
        del learner
        assert [network() for network in networks] == [None] * len(networks)
    finally:
        gc.enable()


@pytest.mark.parametrize("use_gae", [True, False])
@pytest.mark.parametrize("use_proper_time_limits", [True, False])
def test_compute_returns_equals_slow_recursion(use_gae: bool, use_proper_time_limits: bool) -> None:
    """Returns obey R = r + gamma m ((1 - lambda) V' + lambda R'), and R = V where a time limit cuts, env by env."""
    cfg = dataclasses.replace(CFG, use_gae=use_gae, use_proper_time_limits=use_proper_time_limits)
    learner = _learner()
    rollout = _fill(learner, _rollout())
    values = torch.randn(NUM_STEPS + 1, NUM_ENVS, 1)
    assert (rollout.bad_masks == 0.0).any()
    assert ((rollout.masks == 0.0) & (rollout.bad_masks == 1.0)).any()
    returns = compute_returns(rollout, values, cfg)
    lam = cfg.gae_lambda if use_gae else 1.0
    for env in range(NUM_ENVS):
        following = float(values[-1, env])
        for step in reversed(range(NUM_STEPS)):
            goes_on = float(rollout.masks[step + 1, env])
            bootstrap = (1.0 - lam) * float(values[step + 1, env]) + lam * following
            following = float(rollout.rewards[step, env]) + cfg.gamma * goes_on * bootstrap
            if use_proper_time_limits and float(rollout.bad_masks[step + 1, env]) == 0.0:
                following = float(values[step, env])
            assert float(returns[step, env]) == pytest.approx(following, abs=1e-5)


def test_act_stored_log_prob_equals_recomputed() -> None:
    """Before any update, a stored log-probability equals that of the action under the actor's normal distribution."""
    learner = _learner()
    rollout = _fill(learner, _rollout())
    for agent, actor in enumerate(learner.actors):
        recomputed = _joint_log_prob(actor, rollout.obs[:-1, :, agent], rollout.actions[:, :, agent])
        torch.testing.assert_close(rollout.log_probs[:, :, agent].sum(-1).double(), recomputed, rtol=0.0, atol=1e-5)


def test_act_deterministic_is_the_mean_of_each_agent() -> None:
    """The deterministic action of an agent is its own actor's mean."""
    learner, obs = _learner(), torch.randn(NUM_ENVS, NUM_AGENTS, OBS_DIM)
    actions = learner.act_deterministic(obs)
    assert actions.shape == (NUM_ENVS, NUM_AGENTS, ACTION_DIM)
    for agent, actor in enumerate(learner.actors):
        torch.testing.assert_close(actions[:, agent], actor.mean(obs[:, agent]).detach())


def test_update_second_agent_is_weighted_by_the_first_agents_change() -> None:
    """At its first step the second agent's loss is -mean(M A), M = new over old probability of the first agent."""
    cfg = dataclasses.replace(CFG, fixed_order=True, ppo_epoch=1)
    learner = _learner(cfg)
    rollout = _fill(learner, _rollout())
    first = copy.deepcopy(learner.actors[0])
    values = learner.value_norm.denormalize(
        torch.cat([rollout.values[:-1], learner.value(rollout.share_obs[-1])[None]])
    )
    advantages = (compute_returns(rollout, values, cfg) - values[:-1]).double()
    advantages = ((advantages - advantages.mean()) / (advantages.std(unbiased=False) + 1e-5)).squeeze(-1)
    metrics = learner.update(rollout)
    sample = rollout.obs[:-1, :, 0], rollout.actions[:, :, 0]
    change = (_joint_log_prob(learner.actors[0], *sample) - _joint_log_prob(first, *sample)).exp()
    expected = -float((change * advantages).mean())
    assert abs(expected) > 1e-3
    assert metrics["agent1/policy_loss"] == pytest.approx(expected, abs=1e-5)
    assert metrics["agent0/policy_loss"] == pytest.approx(0.0, abs=1e-5)


def test_update_chunks_add_up_to_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients summed over chunks, of which the last is smaller, give the weights of one complete batch."""
    whole, chunked = _learner(), _learner()
    whole_metrics = whole.update(_fill(whole, _rollout()))
    monkeypatch.setattr(update, "CPU_CHUNK_ROWS", 4)
    chunked_metrics = chunked.update(_fill(chunked, _rollout()))
    torch.testing.assert_close(_weights(chunked), _weights(whole), rtol=0.0, atol=1e-5)
    assert chunked_metrics == pytest.approx(whole_metrics, rel=1e-4, abs=1e-5)


def test_update_shared_actor_is_one_object_updated_for_each_agent() -> None:
    """With `share_param` all agents have one actor, with one optimiser step per agent and epoch."""
    learner = _learner(dataclasses.replace(CFG, share_param=True), num_agents=3)
    learner.update(_fill(learner, _rollout(num_agents=3)))
    steps = [float(moments["step"]) for moments in learner.state_dict()["actor_optimizers"][0]["state"].values()]
    assert all(actor is learner.actors[0] for actor in learner.actors)
    assert set(steps) == {3.0 * CFG.ppo_epoch}


def test_state_dict_loaded_into_a_second_learner_continues_bit_for_bit() -> None:
    """A learner that loads a saved state continues with the same metrics, weights and learning rate."""
    cfg = dataclasses.replace(CFG, use_linear_lr_decay=True)
    learner, other = _learner(cfg), _learner(cfg, seed=5)
    learner.set_progress(0.4)
    learner.update(_fill(learner, _rollout()))
    stored = io.BytesIO()
    torch.save(learner.state_dict(), stored)
    stored.seek(0)
    other.load_state_dict(torch.load(stored, weights_only=True))
    metrics = [each.update(_fill(each, _rollout(), seed=1)) for each in (learner, other)]
    assert metrics[0] == metrics[1]
    assert torch.equal(_weights(learner), _weights(other))
    rates = [each.state_dict()["critic_optimizer"]["param_groups"][0]["lr"] for each in (learner, other)]
    assert rates == [CFG.critic_lr * (1.0 - 0.4)] * 2


@pytest.mark.parametrize(("decay", "expected"), [(True, 0.25), (False, 1.0)])
def test_set_progress_lowers_both_learning_rates_linearly(decay: bool, expected: float) -> None:
    """With decay, a quarter of the learning rates is left after three quarters of the run, also after loading."""
    learner = _learner(dataclasses.replace(CFG, use_linear_lr_decay=decay, lr=1e-3, critic_lr=2e-3))
    learner.set_progress(0.5)
    learner.load_state_dict(learner.state_dict())
    learner.set_progress(0.75)
    state = learner.state_dict()
    rates = [optimizer["param_groups"][0]["lr"] for optimizer in state["actor_optimizers"]]
    assert rates == pytest.approx([1e-3 * expected] * NUM_AGENTS)
    assert state["critic_optimizer"]["param_groups"][0]["lr"] == pytest.approx(2e-3 * expected)


def test_update_bandit_mean_action_approaches_target() -> None:
    """A team rewarded for being near its targets halves its distance from them within a few updates."""
    cfg = HappoConfig(hidden_sizes=(16, 12), lr=5e-3, critic_lr=5e-3, gamma=0.0)
    learner, rollout = _learner(cfg), _rollout(num_steps=8, num_envs=64)
    target = torch.tensor([[0.5, -0.4, 0.3], [-0.6, 0.2, 0.4]])
    obs, share_obs = torch.randn(64, NUM_AGENTS, OBS_DIM), torch.randn(64, SHARE_OBS_DIM)
    ended = torch.ones(64, dtype=torch.bool)

    def distance() -> float:
        return float((learner.act_deterministic(obs) - target).abs().mean())

    before = distance()
    rollout.start(obs, share_obs)
    for _ in range(12):
        for _ in range(rollout.num_steps):
            decision = learner.act(obs, share_obs)
            reward = -((decision.action - target) ** 2).sum(dim=(1, 2)).unsqueeze(1)
            rollout.insert(decision, reward, ended, ~ended, obs, share_obs)
        learner.update(rollout)
        rollout.finish()
    assert distance() < 0.5 * before


@pytest.mark.parametrize(
    ("name", "index", "place"),
    [
        ("rewards", (3, 2, 0), "step 3, env 2"),
        ("values", (4, 1, 0), "step 4, env 1"),
        ("log_probs", (5, 3, 1, 2), "step 5, env 3, agent 1"),
    ],
)
def test_update_non_finite_rollout_is_named_before_anything_changes(name: str, index: tuple, place: str) -> None:
    """A NaN in the rollout is an error that names its place, and the weights do not change."""
    learner = _learner()
    rollout = _fill(learner, _rollout())
    before = _weights(learner)
    getattr(rollout, name)[index] = float("nan")
    with pytest.raises(NonFiniteError, match=name) as error:
        learner.update(rollout)
    assert place in str(error.value)
    assert torch.equal(_weights(learner), before)


def test_update_diverging_agent_is_named() -> None:
    """A loss that becomes NaN during the update is an error that names the agent."""
    learner = _learner(dataclasses.replace(CFG, fixed_order=True))
    rollout = _fill(learner, _rollout())
    learner.actors[1].act.action_out.fc_mean.weight.data.fill_(float("inf"))
    with pytest.raises(NonFiniteError, match="agent1/policy_loss"):
        learner.update(rollout)
