"""HAPPO: agents are updated one after the other, and each one allows for the change of those before it.

Source: Kuba et al., Trust Region Policy Optimisation in Multi-Agent Reinforcement Learning, ICLR 2022. It computes the
same numbers as HARL@d539bad (`runners/on_policy_ha_runner.py`) with one state for all agents ("EP") and without
recurrent layers.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import torch

from mapush.config import HappoConfig
from mapush.device.cuda_graphs import Captured
from mapush.distributed.ranks import ALONE, Ranks
from mapush.errors import NonFiniteError
from mapush.happo import update
from mapush.happo.networks import Actor, Critic
from mapush.happo.optimizer import Optimizer
from mapush.happo.rollout import Decision, Rollout
from mapush.happo.update import ActorBatch, Batch, CriticBatch
from mapush.happo.value_norm import IdentityNorm, ValueNorm
from mapush.spec import SetLayout, TensorSpec

_MEANS_OVER_AGENTS = ("policy_loss", "entropy", "ratio", "actor_grad_norm", "approx_kl", "clip_fraction")
_MAY_BE_UNDEFINED = ("explained_variance",)


class Happo:
    """The learner: actors, critic, their optimisers and their random numbers.

    With several ranks, every rank has a replica and updates it from the rollouts of all of them; see `update`.

    On the CPU a batch passes through the networks in chunks, whose gradients add up to those of the batch. On the GPU
    it passes in one piece, every optimiser step is the replay of a CUDA graph, and the host waits for the device only
    in `update`.

    Args:
      cfg: settings of HAPPO and its networks.
      obs_dim: features of an agent's observation.
      share_obs_dim: features of the critic's state.
      action_dim: numbers in an action, K.
      num_agents: agents in each env, A.
      device: device of networks and batches.
      seed: seeds the initial weights and everything drawn later; the global generators are not used.
      ranks: this process among those that train the same team; its replicas have the same `seed`.
      sets: the rows of a set at the end of an observation and of a state, if there are any; then an agent may be absent
        from some envs.

    Attributes:
      actors: one per agent; with `share_param` all are the same object.
      critic: values the state of all agents.
      value_norm: converts between units of reward and units of the critic.
      generator: draws actions and permutations, of all ranks on each.
      ranks: this process among those that train the same team.
    """

    def __init__(
        self,
        cfg: HappoConfig,
        *,
        obs_dim: int,
        share_obs_dim: int,
        action_dim: int,
        num_agents: int,
        device: torch.device,
        seed: int,
        ranks: Ranks = ALONE,
        sets: Tuple[Optional[SetLayout], Optional[SetLayout]] = (None, None),
    ) -> None:
        self.cfg = cfg
        self._may_be_absent = sets != (None, None)
        self.ranks = ranks
        self.device = torch.device(device)
        count = num_agents
        if cfg.share_param:
            count = 1
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            actors = [Actor(cfg, obs_dim, action_dim, sets[0]).to(self.device) for _ in range(count)]
            self.critic = Critic(cfg, share_obs_dim, sets[1]).to(self.device)
        self._actor_optimizers = [Optimizer(actor, cfg.lr, cfg) for actor in actors]
        self._critic_optimizer = Optimizer(self.critic, cfg.critic_lr, cfg)
        self.actors: List[Actor] = actors
        if cfg.share_param:
            self.actors = actors * num_agents
        value_norm: Union[ValueNorm, IdentityNorm] = IdentityNorm()
        if cfg.use_valuenorm:
            value_norm = ValueNorm()
        self.value_norm = value_norm.to(self.device)
        self._capture_steps(actors)
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed(seed)
        if self.device.type == "cpu":
            _keep_freed_memory()

    def _capture_steps(self, actors: Sequence[Actor]) -> None:
        """Make the functions that take one optimiser step, on the GPU by replaying a CUDA graph."""
        # Partials, not methods: a learner must be in no reference cycle, or its graphs would outlive it.
        self._actor_steps: List[Captured] = []
        for actor, optimizer in zip(actors, self._actor_optimizers):
            improve_actor = functools.partial(update.improve_actor, actor, optimizer, self.cfg, self.ranks)
            self._actor_steps.append(Captured(improve_actor, before_capture=self.ranks.before_capture))
        improve_critic = functools.partial(
            update.improve_critic, self.critic, self.value_norm, self._critic_optimizer, self.cfg, self.ranks
        )
        self._critic_step = Captured(improve_critic, before_capture=self.ranks.before_capture)

    @torch.no_grad()
    def act(self, obs: torch.Tensor, share_obs: torch.Tensor) -> Decision:
        """Draw actions for observations (E, A, obs_dim), and value the states (E, share_obs_dim)."""
        actions, log_probs = [], []
        for agent, actor in enumerate(self.actors):
            action, log_prob = actor.sample(obs[:, agent], self.generator, self.ranks)
            actions.append(action)
            log_probs.append(log_prob)
        return Decision(
            action=torch.stack(actions, dim=1),
            log_prob=torch.stack(log_probs, dim=1),
            value=self.critic(share_obs),
        )

    @torch.no_grad()
    def act_deterministic(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the mean actions (E, A, K) for observations (E, A, obs_dim)."""
        means = [actor.mean(obs[:, agent]) for agent, actor in enumerate(self.actors)]
        return torch.stack(means, dim=1)

    @torch.no_grad()
    def value(self, share_obs: torch.Tensor) -> torch.Tensor:
        """Return the values (E, 1) of states (E, share_obs_dim), in the units of the value normalisation."""
        return self.critic(share_obs)

    def set_progress(self, fraction: float) -> None:
        """Lower the learning rates linearly, if `use_linear_lr_decay` is set.

        Args:
          fraction: share of the run that is done, in [0, 1].
        """
        if not self.cfg.use_linear_lr_decay:
            return
        for optimizer in self._actor_optimizers + [self._critic_optimizer]:
            optimizer.decay(1.0 - fraction)

    def update(self, rollout: Rollout) -> Dict[str, float]:
        """Improve all actors, one after the other in random order, then the critic.

        Several ranks do what one would with the envs of all: each sum over samples is also one over ranks. What comes
        from the common generator, such as the agents' order, is the same on each.

        Args:
          rollout: T filled steps of this rank's envs; its last value is filled in here.

        Returns:
          Metrics, averaged over the optimiser steps: `policy_loss`, `entropy` [nat], `ratio` and `actor_grad_norm`
          (before clipping), as the mean over all agents and as `agent{i}/...` for each; `std` of the actions;
          `value_loss` and `critic_grad_norm`. Of the complete update: `approx_kl` [nat] and `clip_fraction`, see
          `update.policy_change`, between the policy that filled the rollout and the one after the agent's turn, also
          as `agent{i}/...`; `explained_variance` of the returns by the values before the update, nan if all returns
          are the same; `lr` and `critic_lr`.

        Raises:
          NonFiniteError: the rollout holds a NaN or an infinity; nothing has been changed. Or a loss or a gradient norm
            is NaN or infinite; then the weights are already lost.
        """
        rollout.values[-1].copy_(self.value(rollout.share_obs[-1]))
        _require_finite_rollout(rollout)
        values = self.value_norm.denormalize(rollout.values)
        returns = update.compute_returns(rollout, values, self.cfg)
        advantages = update.normalize_advantages(returns - values[:-1], rollout.active_masks[:-1], self.ranks)
        metrics = self._update_actors(rollout, advantages)
        metrics["explained_variance"] = update.explained_variance(values[:-1], returns, self.ranks)
        metrics.update(self._update_critic(rollout, returns))
        numbers = _finite_floats(metrics)
        numbers["lr"] = self._actor_optimizers[0].lr
        numbers["critic_lr"] = self._critic_optimizer.lr
        return numbers

    def state_dict(self) -> Dict[str, Any]:
        """Return what `load_state_dict` needs to continue bit for bit; tensors are shared, not copied."""
        return {
            "actors": [actor.state_dict() for actor in self.actors],
            "critic": self.critic.state_dict(),
            "value_norm": self.value_norm.state_dict(),
            "actor_optimizers": [optimizer.state_dict() for optimizer in self._actor_optimizers],
            "critic_optimizer": self._critic_optimizer.state_dict(),
            "generator": {"device": self.device.type, "state": self.generator.get_state()},
        }

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what `state_dict` returned; on a different kind of device the random numbers differ."""
        self.load_actors(state["actors"])
        self.critic.load_state_dict(state["critic"])
        self.value_norm.load_state_dict(state["value_norm"])
        for optimizer, moments in zip(self._actor_optimizers, state["actor_optimizers"]):
            optimizer.load_state_dict(moments)
        self._critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.forget_graphs()
        if state["generator"]["device"] == self.device.type:
            self.generator.set_state(state["generator"]["state"].cpu())

    def forget_graphs(self) -> None:
        """Drop the CUDA graphs of the optimiser steps; NCCL's groups close only once none holds their collectives."""
        for step in self._actor_steps + [self._critic_step]:
            step.forget()

    def load_actors(self, weights: Sequence[Dict[str, torch.Tensor]]) -> None:
        """Load the weights of the actors only, one state dict for each agent."""
        for actor, values in zip(self.actors, weights):
            actor.load_state_dict(values)

    def _update_actors(self, rollout: Rollout, advantages: torch.Tensor) -> Dict[str, torch.Tensor]:
        """Improve the actors one after the other, and return their metrics.

        `factor` is what makes this HAPPO: for each sample, the product of the probability ratios by which the agents
        updated so far have changed their actions. It weights the loss of the next agent, which thereby improves the
        joint policy that it will act in, not the one that filled the rollout. Where an agent is absent, nobody carried
        out its actions, so their ratio does not count. (HARL counts the ratios of inactive agents.)
        """
        metrics: Dict[str, torch.Tensor] = {}
        order = self._agent_order()
        factor = torch.ones_like(rollout.rewards).flatten(0, 1)
        for agent in order:
            batch = _actor_batch(rollout, agent, advantages, factor, self.cfg)
            before = self._log_probs(agent, batch)
            for name, value in self._update_actor(agent, batch).items():
                metrics[f"agent{agent}/{name}"] = value
            after = self._log_probs(agent, batch)
            change = update.policy_change(after - batch.log_probs, batch.weight, self.cfg, self.ranks)
            metrics[f"agent{agent}/approx_kl"], metrics[f"agent{agent}/clip_fraction"] = change
            ratio = update.probability_ratio(after - before, self.cfg.action_aggregation)
            if self._may_be_absent:
                ratio = ratio.masked_fill(rollout.active_masks[:-1, :, agent].flatten(0, 1) == 0.0, 1.0)
            factor = factor * ratio
        for name in _MEANS_OVER_AGENTS:
            of_agents = [metrics[f"agent{agent}/{name}"] for agent in order]
            metrics[name] = torch.stack(of_agents).mean()
        stds = [actor.std.detach() for actor in self.actors]
        metrics["std"] = torch.stack(stds).mean()
        return metrics

    def _agent_order(self) -> List[int]:
        num_agents = len(self.actors)
        if self.cfg.fixed_order:
            return list(range(num_agents))
        return torch.randperm(num_agents, generator=self.generator, device=self.device).tolist()

    @torch.no_grad()
    def _log_probs(self, agent: int, batch: ActorBatch) -> torch.Tensor:
        """Return the log-probabilities (B, K) of the batch's actions under the agent's present policy."""
        actor = self.actors[agent]
        parts = [actor.log_prob(chunk.obs, chunk.actions) for chunk in update.chunks(batch)]
        return torch.cat(parts)

    def _update_actor(self, agent: int, batch: ActorBatch) -> Dict[str, torch.Tensor]:
        step = self._actor_steps[agent % len(self._actor_steps)]
        means = self._epochs(step, batch, self.cfg.ppo_epoch, self.cfg.actor_num_mini_batch)
        return dict(zip(update.ACTOR_METRICS, means))

    def _update_critic(self, rollout: Rollout, returns: torch.Tensor) -> Dict[str, torch.Tensor]:
        batch = CriticBatch(
            share_obs=rollout.share_obs[:-1].flatten(0, 1),
            values=rollout.values[:-1].flatten(0, 1),
            targets=returns.flatten(0, 1),
        )
        means = self._epochs(self._critic_step, batch, self.cfg.critic_epoch, self.cfg.critic_num_mini_batch)
        return dict(zip(update.CRITIC_METRICS, means))

    def _epochs(self, step: Captured, batch: Batch, epochs: int, num_mini_batch: int) -> Sequence[torch.Tensor]:
        """Pass over a batch several times, with one optimiser step per minibatch.

        Args:
          step: takes a minibatch; returns metrics (M,).
          batch: the samples of the rollout.
          epochs: number of passes.
          num_mini_batch: minibatches in each pass.

        Returns:
          The M metrics, averaged over all steps, () each.
        """
        total = torch.zeros((), device=self.device)
        for _ in range(epochs):
            for minibatch in update.minibatches(batch, num_mini_batch, self.generator, self.ranks):
                total = total + step(minibatch)
        return (total / (epochs * num_mini_batch)).unbind()


def _keep_freed_memory() -> None:
    """Make glibc keep up to 62 MiB of freed memory, so that not every chunk has to fetch zeroed pages again.

    glibc gives memory back above a threshold that follows the largest block freed so far, up to 32 MiB. Freeing one
    large block raises it. Without this, page faults take a third of an update. Other allocators lose nothing by it.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def _actor_batch(
    rollout: Rollout, agent: int, advantages: torch.Tensor, factor: torch.Tensor, cfg: HappoConfig
) -> ActorBatch:
    """Return the B = T E samples of one agent.

    Args:
      rollout: T filled steps of E envs.
      agent: index of the agent.
      advantages: normalised, (T, E, A, 1).
      factor: see `Happo._update_actors`, (B, 1).
      cfg: `use_policy_active_masks` is used.
    """
    weight = rollout.active_masks[:-1]
    if not cfg.use_policy_active_masks:
        weight = torch.ones_like(weight)

    def samples(array: torch.Tensor) -> torch.Tensor:
        """Return the rows (B, ...) of the agent in an array (T, E, A, ...)."""
        return array[:, :, agent].flatten(0, 1)

    return ActorBatch(
        obs=samples(rollout.obs[:-1]),
        actions=samples(rollout.actions),
        log_probs=samples(rollout.log_probs),
        advantages=samples(advantages),
        factor=factor,
        weight=samples(weight),
    )


def _require_finite_rollout(rollout: Rollout) -> None:
    arrays = (
        ("rewards", rollout.rewards, ("step", "env", "agent")),
        ("values", rollout.values, ("step", "env", "column")),
        ("log_probs", rollout.log_probs, ("step", "env", "agent", "action_dim")),
    )
    for name, array, dims in arrays:
        TensorSpec(name, dims, tuple(array.shape)).validate(array, "rollout")


def _finite_floats(metrics: Dict[str, torch.Tensor]) -> Dict[str, float]:
    """Return the metrics, () each, as Python numbers, all of which come to the host in one transfer.

    Raises:
      NonFiniteError: one of them is NaN or infinite and may not be.
    """
    values = torch.stack(list(metrics.values())).tolist()
    numbers = dict(zip(metrics, values))
    for name, number in numbers.items():
        if name not in _MAY_BE_UNDEFINED and not math.isfinite(number):
            raise NonFiniteError(
                f"{name} is not finite",
                where="Happo.update",
                got=str(number),
                expected="a finite number",
                cause="the update diverged: the rollout itself is finite",
                fix="continue from the last checkpoint with a smaller happo.lr or happo.critic_lr",
            )
    return numbers
