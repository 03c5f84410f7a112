"""The mathematics of one HAPPO update: returns, advantages, minibatches, losses, and steps along their gradients.

Source: HARL@d539bad, `runners/on_policy_ha_runner.py`, `algorithms/` and `common/buffers/`.
"""

from __future__ import annotations

import math
from typing import Iterator, NamedTuple, Tuple, TypeVar, Union

import torch
from torch.nn import functional

from mapush.config import HappoConfig
from mapush.distributed.ranks import ALONE, Ranks
from mapush.happo.networks import Actor, Critic
from mapush.happo.optimizer import Optimizer
from mapush.happo.rollout import Rollout
from mapush.happo.value_norm import IdentityNorm, ValueNorm

CPU_CHUNK_ROWS = 4096
"""Number of samples whose activations still fit into the processor's cache."""

_MAX_LOG_RATIO = 50.0  # a larger one counts as this, so that the mean of the ratios stays finite in float32

ACTOR_METRICS = ("policy_loss", "ratio", "entropy", "actor_grad_norm")
CRITIC_METRICS = ("value_loss", "critic_grad_norm")


class ActorBatch(NamedTuple):
    """B samples of one agent.

    Attributes:
      obs: (B, obs_dim).
      actions: (B, K).
      log_probs: log-probability of each action dimension when it was drawn, (B, K).
      advantages: normalised, (B, 1).
      factor: ratio by which the agents updated before have changed the probability of the sample, (B, 1).
      weight: 0 for samples that do not count, else 1, (B, 1).
    """

    obs: torch.Tensor
    actions: torch.Tensor
    log_probs: torch.Tensor
    advantages: torch.Tensor
    factor: torch.Tensor
    weight: torch.Tensor


class CriticBatch(NamedTuple):
    """B samples of the critic.

    Attributes:
      share_obs: (B, share_obs_dim).
      values: the critic's output when the action was drawn, (B, 1).
      targets: the returns, (B, 1), in units of reward; `improve_critic` converts them to units of the critic.
    """

    share_obs: torch.Tensor
    values: torch.Tensor
    targets: torch.Tensor


Batch = TypeVar("Batch", ActorBatch, CriticBatch)


def compute_returns(rollout: Rollout, values: torch.Tensor, cfg: HappoConfig) -> torch.Tensor:
    """Return the lambda-returns of a rollout by generalised advantage estimation.

    From the last step to the first, advantage = delta + gamma lambda mask advantage of the next step, where
    delta = reward + gamma mask next value - value; a return is an advantage plus the value. Discounted returns are
    the case lambda = 1.

    A step that a time limit cuts off has advantage 0: the observation that would have followed is lost in the reset.
    Deviation: for discounted returns with ValueNorm, HARL adds a normalised last value to rewards that are not.

    Args:
      rollout: rewards and masks of T steps of E envs.
      values: (T+1, E, 1) in units of reward.
      cfg: `gamma`, `gae_lambda`, `use_gae` and `use_proper_time_limits` are used.

    Returns:
      (T, E, 1) in units of reward.
    """
    discount = cfg.gamma * rollout.masks[1:]
    gae_lambda = 1.0
    if cfg.use_gae:
        gae_lambda = cfg.gae_lambda
    decay = discount * gae_lambda
    delta = rollout.rewards + discount * values[1:] - values[:-1]
    if cfg.use_proper_time_limits:
        delta = delta * rollout.bad_masks[1:]
    advantages = torch.empty_like(delta)
    following = torch.zeros_like(delta[0])
    for step in reversed(range(rollout.num_steps)):
        following = torch.addcmul(delta[step], decay[step], following, out=advantages[step])
    return advantages + values[:-1]


def normalize_advantages(advantages: torch.Tensor, active: torch.Tensor, ranks: Ranks = ALONE) -> torch.Tensor:
    """Shift and scale advantages to mean 0 and standard deviation 1 over each agent's active samples of all ranks.

    Args:
      advantages: (T, E, 1).
      active: 1 where the agent takes part, else 0, (T, E, A, 1).
      ranks: this process among the others.

    Returns:
      (T, E, A, 1).
    """
    advantages = advantages.unsqueeze(2)
    count = active.sum(dim=(0, 1))
    total = (advantages * active).sum(dim=(0, 1))
    ranks.sum_(count, total)
    mean = total / count
    squares = ((advantages - mean) ** 2 * active).sum(dim=(0, 1))
    ranks.sum_(squares)
    return (advantages - mean) / ((squares / count).sqrt() + 1e-5)


def probability_ratio(log_ratio: torch.Tensor, aggregation: str) -> torch.Tensor:
    """Return one probability ratio for each sample.

    Args:
      log_ratio: logarithm of new over old probability, for each action dimension, (B, K).
      aggregation: `prod` takes the product of the ratios, the joint probability's; `mean` takes their mean.

    Returns:
      (B, 1).
    """
    if aggregation == "prod":
        return log_ratio.sum(dim=-1, keepdim=True).exp()
    return log_ratio.exp().mean(dim=-1, keepdim=True)


def policy_change(
    log_ratio: torch.Tensor, weight: torch.Tensor, cfg: HappoConfig, ranks: Ranks = ALONE
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return how far an update has moved a policy: KL divergence from the old to the new one, and clip fraction.

    The divergence is estimated from the actions that the old policy drew, as the mean of r - 1 - log r, where r is the
    ratio of new over old probability. It is never negative, and its expectation is KL(old || new).

    Source: J. Schulman, http://joschu.net/blog/kl-approx.html, the estimator k3.

    Args:
      log_ratio: logarithm of new over old probability, for each action dimension, (B, K).
      weight: 0 for samples that do not count, else 1, (B, 1).
      cfg: `clip_param` and `action_aggregation` are used.
      ranks: this process among the others.

    Returns:
      The divergence [nat], (), and the share of the samples whose ratio is outside of the clip range, ().
    """
    joint = log_ratio.sum(dim=-1, keepdim=True).clamp(max=_MAX_LOG_RATIO)
    divergence = torch.expm1(joint) - joint
    outside = (probability_ratio(log_ratio, cfg.action_aggregation) - 1.0).abs() > cfg.clip_param
    total, diverged, clipped = weight.sum(), (weight * divergence).sum(), (weight * outside).sum()
    ranks.sum_(total, diverged, clipped)
    return diverged / total, clipped / total


def explained_variance(values: torch.Tensor, returns: torch.Tensor, ranks: Ranks = ALONE) -> torch.Tensor:
    """Return the share of the returns' variance that the values explain: 1 - Var(returns - values) / Var(returns).

    1 is a perfect prediction, 0 is as good as a constant, and less than 0 is worse than that.

    Args:
      values: predictions, of any shape.
      returns: of the same shape and in the same units.
      ranks: this process among the others, which have arrays of the same shape.

    Returns:
      (); nan if all returns are the same.
    """
    spread = _variance(returns, ranks)
    share = 1.0 - _variance(returns - values, ranks) / spread
    return share.masked_fill(spread == 0.0, math.nan)


def _variance(values: torch.Tensor, ranks: Ranks) -> torch.Tensor:
    """Return the variance over all ranks: the mean of their variances, plus the variance of their means.

    float64 holds the sum of equal means exactly, so that the variance of equal values is 0 on any number of ranks.
    """
    mean = values.mean().double()
    mean_of_all = mean.clone()
    ranks.sum_(mean_of_all)
    variance = values.var(unbiased=False).double() + (mean - mean_of_all / ranks.size) ** 2
    ranks.sum_(variance)
    return (variance / ranks.size).to(values.dtype)


def policy_loss(actor: Actor, batch: ActorBatch, cfg: HappoConfig) -> Tuple[torch.Tensor, torch.Tensor]:
    """Return PPO's clipped loss, weighted by the agents updated before, and the ratio; both summed over the batch."""
    log_ratio = actor.log_prob(batch.obs, batch.actions) - batch.log_probs
    ratio = probability_ratio(log_ratio, cfg.action_aggregation)
    clipped = ratio.clamp(1.0 - cfg.clip_param, 1.0 + cfg.clip_param)
    surrogate = torch.min(ratio * batch.advantages, clipped * batch.advantages)
    return -(batch.weight * batch.factor * surrogate).sum(), ratio.detach().sum()


def value_loss(values: torch.Tensor, batch: CriticBatch, cfg: HappoConfig) -> torch.Tensor:
    """Return the loss of value predictions (B, 1), summed over the batch; everything in units of the critic.

    With `use_clipped_value_loss`, a prediction gains nothing by moving more than `clip_param` away from the old one.
    """
    loss = _value_error(values, batch.targets, cfg)
    if cfg.use_clipped_value_loss:
        clipped = batch.values + (values - batch.values).clamp(-cfg.clip_param, cfg.clip_param)
        loss = torch.max(loss, _value_error(clipped, batch.targets, cfg))
    return loss.sum()


def minibatches(batch: Batch, count: int, generator: torch.Generator, ranks: Ranks = ALONE) -> Iterator[Batch]:
    """Shuffle a rank's batch into `count` minibatches of equal size; the remainder is left out.

    One minibatch needs no shuffling, but the permutation is drawn, so that random numbers are drawn in HARL's order.
    It permutes the batch of all ranks, so that their generators stay equal; each rank takes its rows in that order.
    """
    rows = batch[0].shape[0]
    order = torch.randperm(ranks.size * rows, generator=generator, device=generator.device)
    if count == 1:
        yield batch
        return
    order = own_order(order, ranks)
    size = rows // count
    for indices in order[: size * count].split(size):
        arrays = [array[indices] for array in batch]
        yield type(batch)(*arrays)


def own_order(order: torch.Tensor, ranks: Ranks) -> torch.Tensor:
    """Return in which order a permutation of the rows of all ranks comes to the rows of this one, counted from 0."""
    if ranks.size == 1:
        return order
    position = order.argsort()
    return position[ranks.rows(len(order) // ranks.size)].argsort()


def chunks(batch: Batch) -> Iterator[Batch]:
    """Cut a batch, in order, into pieces that suit its device: on the GPU it stays in one piece."""
    rows = len(batch[0])
    if batch[0].device.type == "cpu":
        rows = CPU_CHUNK_ROWS
    pieces = [array.split(rows) for array in batch]
    for arrays in zip(*pieces):
        yield type(batch)(*arrays)


def improve_actor(
    actor: Actor, optimizer: Optimizer, cfg: HappoConfig, ranks: Ranks, batch: ActorBatch
) -> torch.Tensor:
    """Take one step along the gradient of a minibatch's policy loss and of the entropy bonus.

    The gradients of the chunks, and those of the ranks, add up to that of the minibatch. The entropy does not depend on
    the observations, so its gradient is taken once, each rank's share of it.

    Args:
      actor: the actor; its weights are changed.
      optimizer: the actor's optimiser.
      cfg: clipping, entropy bonus and aggregation.
      ranks: this process among the others.
      batch: this rank's part of the minibatch.

    Returns:
      The values of `ACTOR_METRICS`, (4,).
    """
    optimizer.zero_grad()
    entropy = actor.entropy
    (-cfg.entropy_coef * entropy / ranks.size).backward()
    total_weight = batch.weight.sum()
    ranks.sum_(total_weight)
    total_weight = total_weight.clamp(min=1.0)  # a minibatch may have no sample of an agent that is rarely present
    loss = ratio = torch.zeros_like(total_weight)
    for chunk in chunks(batch):
        chunk_loss, chunk_ratio = policy_loss(actor, chunk, cfg)
        (chunk_loss / total_weight).backward()
        loss = loss + chunk_loss.detach() / total_weight
        ratio = ratio + chunk_ratio / (ranks.size * len(batch.obs))
    ranks.sum_(loss, ratio, *optimizer.gradients())
    return torch.stack((loss, ratio, entropy.detach(), optimizer.step()))


def improve_critic(
    critic: Critic,
    value_norm: Union[ValueNorm, IdentityNorm],
    optimizer: Optimizer,
    cfg: HappoConfig,
    ranks: Ranks,
    batch: CriticBatch,
) -> torch.Tensor:
    """Take one step along the gradient of a minibatch's value loss.

    Args:
      critic: the critic; its weights are changed.
      value_norm: its statistics are updated by the targets before the loss is computed.
      optimizer: the critic's optimiser.
      cfg: clipping and form of the loss.
      ranks: this process among the others.
      batch: this rank's part of the minibatch, with targets in units of reward.

    Returns:
      The values of `CRITIC_METRICS`, (2,).
    """
    optimizer.zero_grad()
    value_norm.update(batch.targets, ranks)
    batch = batch._replace(targets=value_norm.normalize(batch.targets))
    loss = torch.zeros_like(batch.targets[0, 0])
    rows = ranks.size * len(batch.values)
    for chunk in chunks(batch):
        chunk_loss = value_loss(critic(chunk.share_obs), chunk, cfg) / rows
        (cfg.value_loss_coef * chunk_loss).backward()
        loss = loss + chunk_loss.detach()
    ranks.sum_(loss, *optimizer.gradients())
    return torch.stack((loss, optimizer.step()))


def _value_error(values: torch.Tensor, targets: torch.Tensor, cfg: HappoConfig) -> torch.Tensor:
    if cfg.use_huber_loss:
        return functional.huber_loss(values, targets, reduction="none", delta=cfg.huber_delta)
    return 0.5 * (values - targets) ** 2
