"""Contracts of the learner: what it computes from a rollout is what HAPPO says."""

from __future__ import annotations

import copy
from typing import Any, Callable, List, Optional
from unittest import mock

import torch

from harness.findings import ContractError
from harness.stack.compare import close, explain, first_difference, log_prob
from harness.stack.small_parts import WatchedEnv, fill, random_ends
from mapush.config import HappoConfig
from mapush.happo import update
from mapush.happo.rollout import Rollout


def advantages(run: Any) -> None:
    """Advantages are those of a slow, independent GAE in float64, through terminations, time limits and ValueNorm."""
    for gamma, lam in ((0.99, 0.95), (0.9, 0.0), (0.5, 1.0), (1.0, 0.8)):
        for proper in (True, False):
            rollout = _random_rollout(seed=int(100 * gamma))
            values = torch.randn(rollout.values.shape, generator=torch.Generator().manual_seed(3))
            cfg = HappoConfig(gamma=gamma, gae_lambda=lam, use_proper_time_limits=proper)
            _require_returns(update.compute_returns(rollout, values, cfg), rollout, values, cfg)
    run.iterate()  # so that value normalisation does something
    terminated, truncated = random_ends(run.rollout.num_steps, run.rollout.actions.shape[1], seed=2)
    window = run.env = WatchedEnv(run.env, terminated, truncated)
    fill(run)
    agent, rollout = run.agent, run.rollout
    _require_rewards(rollout.rewards, torch.stack([result.reward for result in window.results]))
    kept = copy.deepcopy(rollout)
    with torch.no_grad():
        kept.values.copy_(torch.stack([agent.value(state) for state in rollout.share_obs]))
    _require_values(rollout.values[:-1], kept.values[:-1])
    values = _in_units_of_reward(agent.value_norm, kept.values)
    with mock.patch.object(update, "normalize_advantages", wraps=update.normalize_advantages) as normalize:
        agent.update(rollout)
    if normalize.call_args is None:
        raise ContractError("advantages are not normalised", where="Happo.update", fix="update.normalize_advantages")
    got = normalize.call_args[0][0]
    _require_returns(got + values[:-1], kept, values, agent.cfg, kept.values)
    _require_normalized(update.normalize_advantages(got, kept.active_masks[:-1]), got)


def factor(make_agent: Callable[..., Any], share_param: bool = False, num_agents: int = 3) -> None:
    """Each agent's loss is weighted by how the agents updated before it have changed the sample's probability.

    Args:
      make_agent: takes `num_agents`, `share_param`, `fixed_order`; returns a learner with 8 features, 11 of the
        critic and 3 numbers in an action, whose update passes over the whole batch.
      share_param: one policy for all agents.
      num_agents: how many.
    """
    for fixed_order in (True, False):
        agent = make_agent(num_agents=num_agents, share_param=share_param, fixed_order=fixed_order)
        rollout = _acted_rollout(agent, num_agents)
        watch = _FactorWatch(agent, rollout)
        with mock.patch.object(update, "policy_loss", watch.policy_loss):
            agent.update(rollout)
        if sorted(watch.order) != list(range(num_agents)) or (fixed_order and watch.order != sorted(watch.order)):
            raise ContractError(
                "agents are not updated in the order that was asked for",
                where=f"Happo.update, fixed_order={fixed_order}",
                got=str(watch.order),
                expected="{}every agent once".format("0, 1, ...: " if fixed_order else ""),
            )


def _require_rewards(got: torch.Tensor, rewards: torch.Tensor) -> None:
    """Require that the rewards (T, E, 1) to learn from are the team's means of those that the env gave (T, E, A)."""
    expected = rewards.mean(dim=2, keepdim=True)
    if close(got, expected):
        return
    explanations = {
        "only the reward of agent 0 is learned from": rewards[:, :, :1],
        "rewards are added up over the agents": rewards.sum(dim=2, keepdim=True),
        "rewards are stored with the wrong sign": -expected,
        "rewards are stored one step late": torch.cat((got[:1], expected[:-1])),
        "rewards are stored one step early": torch.cat((expected[1:], got[-1:])),
    }
    step, env_id, _ = first_difference(got, expected)
    raise ContractError(
        explain(got, explanations, "stored rewards are not those that the env gave"),
        where=f"rollout.rewards, step {step}, env {env_id}",
        got=f"{float(got[step, env_id]):.6g}",
        expected=f"{float(expected[step, env_id]):.6g}, the mean over the agents",
    )


def _require_values(got: torch.Tensor, expected: torch.Tensor) -> None:
    """Require that the stored values (T, E, 1) are those of the critic on the stored states."""
    if close(got, expected):
        return
    explanations = {
        "values are stored one step late": torch.cat((got[:1], expected[:-1])),
        "values are stored one step early": torch.cat((expected[1:], got[-1:])),
    }
    step, env_id, _ = first_difference(got, expected)
    raise ContractError(
        explain(got, explanations, "stored values are not those of the critic"),
        where=f"rollout.values, step {step}, env {env_id}",
        got=f"{float(got[step, env_id]):.6g}",
        expected=f"{float(expected[step, env_id]):.6g}",
    )


def _random_rollout(seed: int) -> Rollout:
    rollout = Rollout(7, 5, 2, 8, 11, 3, torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    rollout.rewards.copy_(torch.randn(rollout.rewards.shape, generator=generator))
    terminated, truncated = random_ends(7, 5, seed)
    rollout.masks[1:, :, 0].copy_(~(terminated | truncated))
    rollout.bad_masks[1:, :, 0].copy_(terminated | ~truncated)
    return rollout


def _in_units_of_reward(value_norm: Any, values: torch.Tensor) -> torch.Tensor:
    """Undo the normalisation by its definition: a debiased average, and a variance of at least 0.01."""
    if not hasattr(value_norm, "running_mean"):
        return values
    weight = max(float(value_norm.debiasing_term), 1e-5)
    mean = float(value_norm.running_mean) / weight
    variance = max(float(value_norm.running_mean_sq) / weight - mean**2, 0.01)
    return (values.double() * variance**0.5 + mean).float()


def slow_returns(
    rewards: torch.Tensor,
    values: torch.Tensor,
    masks: torch.Tensor,
    bad_masks: torch.Tensor,
    gamma: float,
    decay: float,
) -> torch.Tensor:
    """Return lambda-returns (T, E, 1) in float64, each as a sum over the steps that follow.

    Args:
      rewards: (T, E, 1).
      values: (T+1, E, 1) in units of reward.
      masks: (T, E, 1), 0 where the step ended an episode.
      bad_masks: (T, E, 1), 0 where only a time limit did; such a step has no advantage.
      gamma: discount.
      decay: lambda.
    """
    rewards, values, masks, bad_masks = (array.double() for array in (rewards, values, masks, bad_masks))
    returns = values[:-1].clone()
    for start in range(len(rewards)):
        weight = torch.ones_like(values[0])
        for step in range(start, len(rewards)):
            surprise = rewards[step] + gamma * masks[step] * values[step + 1] - values[step]
            returns[start] += weight * bad_masks[step] * surprise
            weight = weight * gamma * decay * masks[step]
    return returns


def _require_returns(
    got: torch.Tensor, rollout: Any, values: torch.Tensor, cfg: HappoConfig, raw: Optional[torch.Tensor] = None
) -> None:
    """Compare returns with slow ones; `raw` are the values in the units of the critic, if these are others."""
    rewards, ends, limits = rollout.rewards, rollout.masks[1:], rollout.bad_masks[1:]
    if not cfg.use_proper_time_limits:
        limits = torch.ones_like(limits)
    never, last = torch.ones_like(ends), torch.cat((values[:-1], torch.zeros_like(values[-1:])))
    decay = cfg.gae_lambda if cfg.use_gae else 1.0

    def slow(ends: torch.Tensor = ends, limits: torch.Tensor = limits, **changes: Any) -> torch.Tensor:
        settings = {"rewards": rewards, "values": values, "gamma": cfg.gamma, "decay": decay, **changes}
        return slow_returns(masks=ends, bad_masks=limits, **settings)

    expected = slow()
    if close(got, expected):
        return
    explanations = {
        "advantages run on across the end of an episode": slow(ends=never),
        "a time limit is treated as a failure": slow(limits=never),
        "a failure is treated as a time limit": slow(limits=ends),
        "masks are read one step early": slow(ends=rollout.masks[:-1]),
        "the value of the last state is missing": slow(values=last),
        "rewards are taken one step late": slow(rewards=rewards.roll(1, 0)),
        "rewards are taken one step early": slow(rewards=rewards.roll(-1, 0)),
        "gae_lambda is ignored": slow(decay=1.0),
        "gamma is ignored": slow(gamma=1.0),
        "advantages look one step ahead only": slow(decay=0.0),
        "returns are advantages: the value is not added": expected - values[:-1],
    }
    if raw is not None:
        wrong_units = slow(values=raw) - raw[:-1] + values[:-1]
        explanations["values are used in the units of the critic, not of the reward"] = wrong_units
    step, env_id, _ = first_difference(got, expected)
    raise ContractError(
        explain(got, explanations, "advantages are not those of GAE"),
        where=f"step {step}, env {env_id}; gamma {cfg.gamma}, gae_lambda {cfg.gae_lambda}, "
        f"use_proper_time_limits {cfg.use_proper_time_limits}",
        got=f"return {float(got[step, env_id]):.6g}",
        expected=f"{float(expected[step, env_id]):.6g}",
    )


def _require_normalized(got: torch.Tensor, raw: torch.Tensor) -> None:
    raw = raw.double()
    expected = ((raw - raw.mean()) / (raw.std(unbiased=False) + 1e-5)).unsqueeze(2).expand_as(got)
    if not close(got, expected):
        where = first_difference(got, expected)
        raise ContractError(
            "advantages are not normalised to mean 0 and standard deviation 1",
            where="step {}, env {}, agent {}".format(*where[:3]),
            got=f"{float(got[where]):.6g}",
            expected=f"{float(expected[where]):.6g}",
        )


def _acted_rollout(agent: Any, num_agents: int) -> Rollout:
    """Return 7 steps of 5 envs in which `agent` acted on random observations."""
    rollout = Rollout(7, 5, num_agents, 8, 11, 3, torch.device("cpu"))
    generator = torch.Generator().manual_seed(num_agents)
    never = torch.zeros(5, dtype=torch.bool)
    rollout.start(torch.randn(5, num_agents, 8, generator=generator), torch.randn(5, 11, generator=generator))
    for step in range(7):
        decision = agent.act(rollout.obs[step], rollout.share_obs[step])
        reward = torch.randn(5, 1, generator=generator)
        following = torch.randn(5, num_agents, 8, generator=generator), torch.randn(5, 11, generator=generator)
        rollout.insert(decision, reward, never, never, *following)
    return rollout


class _FactorWatch:
    """Stands before `update.policy_loss` and compares the factor that every agent gets with the one it should."""

    def __init__(self, agent: Any, rollout: Rollout) -> None:
        self._agent, self._rollout = agent, rollout
        self._policy_loss = update.policy_loss
        self._factor = self._last = torch.ones(rollout.rewards.numel(), 1)
        self._old: Optional[Any] = None
        self.order: List[int] = []

    def policy_loss(self, actor: Any, batch: Any, cfg: HappoConfig) -> Any:
        """Check the batch, and pass it on."""
        agent = self._agent_of(batch)
        if agent not in self.order:
            self._begin(agent, actor)
            self._require(batch.factor)
        return self._policy_loss(actor, batch, cfg)

    def _agent_of(self, batch: Any) -> int:
        for agent in range(self._rollout.actions.shape[2]):
            if torch.equal(batch.obs, self._rollout.obs[:-1, :, agent].flatten(0, 1)):
                return agent
        raise ContractError(
            "a policy is updated on observations that no agent has seen", where="Happo.update, update.policy_loss"
        )

    def _begin(self, agent: int, actor: Any) -> None:
        """Take the change of the agent before into account; then remember the policy of this one."""
        if self.order:
            self._last = self._ratio(self.order[-1])
            self._factor = self._factor * self._last
        self.order.append(agent)
        self._old = copy.deepcopy(actor)

    def _ratio(self, agent: int) -> torch.Tensor:
        obs = self._rollout.obs[:-1, :, agent]
        actions = self._rollout.actions[:, :, agent]
        change = log_prob(self._agent.actors[agent], obs, actions) - log_prob(self._old, obs, actions)
        return change.double().sum(-1).exp().flatten().unsqueeze(1).float()

    def _require(self, got: torch.Tensor) -> None:
        expected = self._factor
        if close(got, expected):
            return
        previous = self.order[:-1]
        explanations = {
            f"agent {self.order[-1]} ignores that the agents before it have changed": torch.ones_like(got),
            "the factor is upside down: old policy over new": 1.0 / expected,
            "the factor counts the last agent before only": self._last,
        }
        worst = int((got - expected).abs().argmax())
        raise ContractError(
            explain(got, explanations, "the factor is not the change of the policies updated before"),
            where=f"agent {self.order[-1]}, updated after {previous}; sample {worst}",
            got=f"{float(got[worst]):.6g}",
            expected=f"{float(expected[worst]):.6g}",
            cause="HAPPO weights an agent's loss by the product of the new over the old probabilities of all before it",
        )
