"""Contracts of the learner: what it computes from a rollout is what HAPPO prescribes."""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Optional
from unittest import mock

import torch

from harness.findings import ContractError
from harness.stack.compare import close, explain, first_difference, log_prob
from harness.stack.stack_under_test import ACTION_DIM, NUM_ENVS, NUM_STEPS, OBS_DIM, SHARE_OBS_DIM, StackUnderTest
from harness.stack.watched_env import fill, random_ends, watch
from mapush.config import HappoConfig
from mapush.happo import update
from mapush.happo.rollout import Rollout

DISCOUNTS = ((0.99, 0.95), (0.9, 0.0), (0.5, 1.0), (1.0, 0.8))
"""Pairs of gamma and gae_lambda."""
MIN_VARIANCE = 0.01
"""Lower bound of the variance in HARL's ValueNorm."""
MIN_DEBIASING = 1e-5
"""Lower bound of the debiasing term in HARL's ValueNorm."""
NORMALIZE_EPSILON = 1e-5
"""What HARL adds to the standard deviation of the advantages."""


# -- advantages ------------------------------------------------------------------------------------------------------


def advantages(stack: StackUnderTest) -> None:
    """Advantages equal those of a slow, independent GAE in float64, across terminations, time limits and ValueNorm.

    First, `compute_returns` is compared with `slow_returns` on random rollouts with several discounts. Then a run
    learns from a rollout: its stored rewards and values, the advantages that `Happo.update` passes on, and their
    normalisation are compared with independent computations. The tolerance is `compare.TOLERANCE`.
    """
    _require_returns_of_random_rollouts()
    with stack.run() as run:
        run.iterate()  # value normalisation changes nothing before the first update
        env = watch(run, ends_seed=2)
        fill(run)
        agent, rollout = run.agent, run.rollout
        _require_rewards(rollout.rewards, torch.stack([result.reward for result in env.results]))
        kept = copy.deepcopy(rollout)
        with torch.no_grad():
            kept.values.copy_(torch.stack([agent.value(share_obs) for share_obs in rollout.share_obs]))
        _require_values(rollout.values[:-1], kept.values[:-1])
        values = _denormalized(agent.value_norm, kept.values)
        got = _advantages_of_update(agent, rollout)
        _require_returns(got + values[:-1], kept, values, agent.cfg, critic_values=kept.values)
        _require_normalized(update.normalize_advantages(got, kept.active_masks[:-1]), got)


def _require_returns_of_random_rollouts() -> None:
    """Compare `compute_returns` with slow returns, for several discounts and with and without proper time limits."""
    for gamma, gae_lambda in DISCOUNTS:
        rollout = _random_rollout(seed=int(100 * gamma))
        values = torch.randn(rollout.values.shape, generator=torch.Generator().manual_seed(3))
        for proper in (True, False):
            cfg = HappoConfig(gamma=gamma, gae_lambda=gae_lambda, use_proper_time_limits=proper)
            _require_returns(update.compute_returns(rollout, values, cfg), rollout, values, cfg)


def _random_rollout(seed: int) -> Rollout:
    """Return a rollout of random rewards and random ends of episodes."""
    rollout = _empty_rollout(num_agents=2)
    generator = torch.Generator().manual_seed(seed)
    rollout.rewards.copy_(torch.randn(rollout.rewards.shape, generator=generator))
    terminated, truncated = random_ends(NUM_STEPS, NUM_ENVS, seed)
    rollout.masks[1:, :, 0].copy_(~(terminated | truncated))
    rollout.bad_masks[1:, :, 0].copy_(terminated | ~truncated)
    return rollout


def _empty_rollout(num_agents: int) -> Rollout:
    return Rollout(
        num_steps=NUM_STEPS,
        num_envs=NUM_ENVS,
        num_agents=num_agents,
        obs_dim=OBS_DIM,
        share_obs_dim=SHARE_OBS_DIM,
        action_dim=ACTION_DIM,
        device=torch.device("cpu"),
    )


def _advantages_of_update(agent: Any, rollout: Any) -> torch.Tensor:
    """Update the learner, and return the advantages (T, E, 1) that it normalises."""
    with mock.patch.object(update, "normalize_advantages", wraps=update.normalize_advantages) as normalize:
        agent.update(rollout)
    if normalize.call_args is None:
        raise ContractError("advantages are not normalised", where="Happo.update", fix="update.normalize_advantages")
    return normalize.call_args[0][0]


def _require_rewards(got: torch.Tensor, rewards: torch.Tensor) -> None:
    """Require that the stored rewards are the team's means.

    Args:
      got: stored rewards (T, E, 1).
      rewards: rewards (T, E, A) that the env returned.
    """
    expected = rewards.mean(dim=2, keepdim=True)
    explanations = {
        "only the reward of agent 0 is learned from": rewards[:, :, :1],
        "rewards are added up over the agents": rewards.sum(dim=2, keepdim=True),
        "rewards are stored with the wrong sign": -expected,
        "rewards are stored one step late": torch.cat((got[:1], expected[:-1])),
        "rewards are stored one step early": torch.cat((expected[1:], got[-1:])),
    }
    _require_close("rollout.rewards", got, expected, explanations, "stored rewards are not those that the env gave")


def _require_values(got: torch.Tensor, expected: torch.Tensor) -> None:
    """Require that the stored values (T, E, 1) are those of the critic on the stored states."""
    explanations = {
        "values are stored one step late": torch.cat((got[:1], expected[:-1])),
        "values are stored one step early": torch.cat((expected[1:], got[-1:])),
    }
    _require_close("rollout.values", got, expected, explanations, "stored values are not those of the critic")


def _require_close(
    name: str, got: torch.Tensor, expected: torch.Tensor, explanations: Dict[str, torch.Tensor], otherwise: str
) -> None:
    """Require that two tensors (T, E, 1) are equal within the tolerance."""
    if close(got, expected):
        return
    step, env_id, _ = first_difference(got, expected)
    raise ContractError(
        explain(got, explanations, otherwise),
        where=f"{name}, step {step}, env {env_id}",
        got=f"{float(got[step, env_id]):.6g}",
        expected=f"{float(expected[step, env_id]):.6g}",
    )


def _denormalized(value_norm: Any, values: torch.Tensor) -> torch.Tensor:
    """Return the critic's values in units of reward.

    Undoes the normalisation by its definition: running moments divided by the debiasing term, and a variance of at
    least `MIN_VARIANCE`.
    """
    if not hasattr(value_norm, "running_mean"):
        return values
    weight = max(float(value_norm.debiasing_term), MIN_DEBIASING)
    mean = float(value_norm.running_mean) / weight
    variance = max(float(value_norm.running_mean_sq) / weight - mean**2, MIN_VARIANCE)
    return (values.double() * variance**0.5 + mean).float()


def slow_returns(
    rewards: torch.Tensor,
    values: torch.Tensor,
    masks: torch.Tensor,
    bad_masks: torch.Tensor,
    gamma: float,
    gae_lambda: float,
) -> torch.Tensor:
    """Return lambda-returns (T, E, 1) in float64, each as a plain sum over the steps that follow.

    The return at step t is the value at t plus the sum over k >= t of (gamma * gae_lambda)^(k - t) * delta_k, where
    delta_k is the TD error of step k. The sum stops at the end of the episode. A learner computes the same by a
    recursion from the last step to the first; the plain sum is independent of that.

    Args:
      rewards: (T, E, 1).
      values: (T+1, E, 1) in units of reward.
      masks: (T, E, 1), 0 where the step ended an episode.
      bad_masks: (T, E, 1), 0 where only a time limit ended it; such a step has no advantage.
      gamma: discount factor.
      gae_lambda: decay of the TD errors.
    """
    rewards, values, masks, bad_masks = rewards.double(), values.double(), masks.double(), bad_masks.double()
    returns = values[:-1].clone()
    for start in range(len(rewards)):
        weight = torch.ones_like(values[0])
        for step in range(start, len(rewards)):
            td_error = rewards[step] + gamma * masks[step] * values[step + 1] - values[step]
            returns[start] += weight * bad_masks[step] * td_error
            weight = weight * gamma * gae_lambda * masks[step]
    return returns


def _require_returns(
    got: torch.Tensor,
    rollout: Any,
    values: torch.Tensor,
    cfg: HappoConfig,
    critic_values: Optional[torch.Tensor] = None,
) -> None:
    """Require that returns are the slow returns.

    Args:
      got: returns (T, E, 1).
      rollout: rewards and masks.
      values: values (T+1, E, 1) in units of reward.
      cfg: settings of the learner.
      critic_values: the same values as the critic outputs them, if they are normalised.
    """
    ends, limits = rollout.masks[1:], rollout.bad_masks[1:]
    if not cfg.use_proper_time_limits:
        limits = torch.ones_like(limits)
    settings = {
        "rewards": rollout.rewards,
        "values": values,
        "masks": ends,
        "bad_masks": limits,
        "gamma": cfg.gamma,
        "gae_lambda": cfg.gae_lambda if cfg.use_gae else 1.0,
    }
    expected = slow_returns(**settings)
    if close(got, expected):
        return
    explanations = _wrong_returns(settings, rollout)
    explanations["returns are advantages: the value is not added"] = expected - values[:-1]
    if critic_values is not None:
        wrong = slow_returns(**{**settings, "values": critic_values}) - critic_values[:-1] + values[:-1]
        explanations["values are used in the units of the critic, not of the reward"] = wrong
    step, env_id, _ = first_difference(got, expected)
    raise ContractError(
        explain(got, explanations, "advantages are not those of GAE"),
        where=f"step {step}, env {env_id}; gamma {cfg.gamma}, gae_lambda {cfg.gae_lambda}, "
        f"use_proper_time_limits {cfg.use_proper_time_limits}",
        got=f"return {float(got[step, env_id]):.6g}",
        expected=f"{float(expected[step, env_id]):.6g}",
    )


def _wrong_returns(settings: Dict[str, Any], rollout: Any) -> Dict[str, torch.Tensor]:
    """Return the returns that known bugs would compute, by the text that describes the bug."""
    values, rewards, ends = settings["values"], settings["rewards"], settings["masks"]
    without_last = torch.cat((values[:-1], torch.zeros_like(values[-1:])))
    changes = {
        "advantages run on across the end of an episode": {"masks": torch.ones_like(ends)},
        "a time limit is treated as a failure": {"bad_masks": torch.ones_like(ends)},
        "a failure is treated as a time limit": {"bad_masks": ends},
        "masks are read one step early": {"masks": rollout.masks[:-1]},
        "the value of the last state is missing": {"values": without_last},
        "rewards are taken one step late": {"rewards": rewards.roll(1, 0)},
        "rewards are taken one step early": {"rewards": rewards.roll(-1, 0)},
        "gae_lambda is ignored": {"gae_lambda": 1.0},
        "gamma is ignored": {"gamma": 1.0},
        "advantages look only one step ahead": {"gae_lambda": 0.0},
    }
    found = {}
    for text, change in changes.items():
        found[text] = slow_returns(**{**settings, **change})
    return found


def _require_normalized(got: torch.Tensor, raw: torch.Tensor) -> None:
    """Require that normalised advantages (T, E, A, 1) have mean 0 and standard deviation 1.

    Args:
      got: the normalised advantages.
      raw: the advantages (T, E, 1).
    """
    raw = raw.double()
    scaled = (raw - raw.mean()) / (raw.std(unbiased=False) + NORMALIZE_EPSILON)
    expected = scaled.unsqueeze(2).expand_as(got)
    if not close(got, expected):
        index = first_difference(got, expected)
        raise ContractError(
            "advantages are not normalised to mean 0 and standard deviation 1",
            where=f"step {index[0]}, env {index[1]}, agent {index[2]}",
            got=f"{float(got[index]):.6g}",
            expected=f"{float(expected[index]):.6g}",
        )


# -- factor ----------------------------------------------------------------------------------------------------------


def factor(stack: StackUnderTest) -> None:
    """Each agent's loss is weighted by how the agents updated before it have changed the probability of the sample.

    During an update, the factor that `update.policy_loss` gets for each agent is compared, within `compare.TOLERANCE`,
    with the product of the probability ratios, new policy over old policy, of all agents updated before. With a fixed
    and with a random order of the agents, and with one policy for all agents, too.
    """
    for share_param in (False, True):
        for fixed_order in (True, False):
            _require_factors(stack, share_param, fixed_order)


def _require_factors(stack: StackUnderTest, share_param: bool, fixed_order: bool, num_agents: int = 3) -> None:
    agent = stack.agent(num_agents, share_param=share_param, fixed_order=fixed_order)
    rollout = _acted_rollout(agent, num_agents)
    observer = _FactorObserver(agent, rollout)
    with mock.patch.object(update, "policy_loss", observer.policy_loss):
        agent.update(rollout)
    in_order = list(range(num_agents))
    if sorted(observer.order) != in_order or (fixed_order and observer.order != in_order):
        raise ContractError(
            "agents are not updated in the configured order",
            where=f"Happo.update, fixed_order={fixed_order}",
            got=str(observer.order),
            expected=f"{in_order}" if fixed_order else "every agent once",
        )


def _acted_rollout(agent: Any, num_agents: int) -> Rollout:
    """Return a rollout in which a learner acted on random observations."""
    rollout = _empty_rollout(num_agents)
    generator = torch.Generator().manual_seed(num_agents)
    never = torch.zeros(NUM_ENVS, dtype=torch.bool)

    def random_tensor(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    rollout.start(random_tensor(NUM_ENVS, num_agents, OBS_DIM), random_tensor(NUM_ENVS, SHARE_OBS_DIM))
    for step in range(NUM_STEPS):
        decision = agent.act(rollout.obs[step], rollout.share_obs[step])
        reward = random_tensor(NUM_ENVS, 1)
        obs = random_tensor(NUM_ENVS, num_agents, OBS_DIM)
        share_obs = random_tensor(NUM_ENVS, SHARE_OBS_DIM)
        rollout.insert(decision, reward, never, never, obs, share_obs)
    return rollout


class _FactorObserver:
    """Takes the place of `update.policy_loss`: compares the factor of every agent with the expected factor.

    Args:
      agent: the learner.
      rollout: the rollout that it learns from.

    Attributes:
      order: the agents in the order of their update.
    """

    def __init__(self, agent: Any, rollout: Rollout) -> None:
        self._agent = agent
        self._rollout = rollout
        self._policy_loss = update.policy_loss
        self._factor = torch.ones(rollout.rewards.numel(), 1)
        self._last_ratio = self._factor
        self._old_policy: Optional[Any] = None
        self.order: List[int] = []

    def policy_loss(self, actor: Any, batch: Any, cfg: HappoConfig) -> Any:
        """Check the batch if it is the first of an agent, and return its loss."""
        agent = self._agent_of(batch)
        if agent not in self.order:
            self._begin(agent, actor)
            self._require_factor(batch.factor)
        return self._policy_loss(actor, batch, cfg)

    def _agent_of(self, batch: Any) -> int:
        """Return the agent that saw the observations of a batch."""
        for agent in range(self._rollout.actions.shape[2]):
            if torch.equal(batch.obs, self._rollout.obs[:-1, :, agent].flatten(0, 1)):
                return agent
        what = "a policy is updated on observations that no agent has seen"
        raise ContractError(what, where="Happo.update, update.policy_loss")

    def _begin(self, agent: int, actor: Any) -> None:
        """Multiply the factor by the ratio of the agent updated last, and keep the policy of the next agent."""
        if self.order:
            self._last_ratio = self._ratio(self.order[-1])
            self._factor = self._factor * self._last_ratio
        self.order.append(agent)
        self._old_policy = copy.deepcopy(actor)

    def _ratio(self, agent: int) -> torch.Tensor:
        """Return the ratios (T * E, 1) of the probabilities of an agent's actions, after its update over before."""
        obs, actions = self._rollout.obs[:-1, :, agent], self._rollout.actions[:, :, agent]
        after = log_prob(self._agent.actors[agent], obs, actions)
        before = log_prob(self._old_policy, obs, actions)
        change = (after - before).double().sum(-1)
        return change.exp().flatten().unsqueeze(1).float()

    def _require_factor(self, got: torch.Tensor) -> None:
        expected = self._factor
        if close(got, expected):
            return
        agent, earlier = self.order[-1], self.order[:-1]
        explanations = {
            f"agent {agent} ignores that the agents before it have changed": torch.ones_like(got),
            "the factor is upside down: old policy over new": 1.0 / expected,
            "the factor counts only the last agent before": self._last_ratio,
        }
        worst = int((got - expected).abs().argmax())
        raise ContractError(
            explain(got, explanations, "the factor is not the change of the policies updated before"),
            where=f"agent {agent}, updated after {earlier}; sample {worst}",
            got=f"{float(got[worst]):.6g}",
            expected=f"{float(expected[worst]):.6g}",
            cause="HAPPO weights an agent's loss by the product of the ratios, new over old, of all agents before it",
        )
