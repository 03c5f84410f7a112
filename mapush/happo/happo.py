"""HAPPO: agents are updated one after the other, each allowing for the change of those before it.

Source: Kuba et al., Trust Region Policy Optimisation in Multi-Agent Reinforcement Learning, ICLR 2022; the numbers are
those of HARL@d539bad with one state for all agents ("EP") and no recurrent layers.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Dict, List, Sequence, Union

import torch

from mapush.config import HappoConfig
from mapush.device.cuda_graphs import Captured
from mapush.errors import NonFiniteError
from mapush.happo import update
from mapush.happo.networks import Actor, Critic
from mapush.happo.optimizer import Optimizer
from mapush.happo.rollout import Decision, Rollout
from mapush.happo.update import ActorBatch, Batch, CriticBatch
from mapush.happo.value_norm import IdentityNorm, ValueNorm
from mapush.spec import TensorSpec


class Happo:
    """Actors, critic, their optimisers and their random numbers.

    On the CPU a batch passes through the networks in chunks, whose gradients add up to those of the batch. On the GPU
    it passes as a whole, every optimiser step is the replay of a CUDA graph, and only `update` waits for the device.

    Args:
      cfg: settings.
      obs_dim: features of an agent's observation.
      share_obs_dim: features of the critic's state.
      action_dim: K, numbers in an action.
      num_agents: A.
      device: where everything is computed.
      seed: of the initial weights and of everything drawn later; the global generators are left alone.

    Attributes:
      actors: one per agent; all the same object with `share_param`.
      critic: of all agents.
      value_norm: between units of reward and units of the critic.
      generator: draws actions and permutations.
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
    ) -> None:
        self.cfg = cfg
        self.device = torch.device(device)
        count = 1 if cfg.share_param else num_agents
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            actors = [Actor(cfg, obs_dim, action_dim).to(self.device) for _ in range(count)]
            self.critic = Critic(cfg, share_obs_dim).to(self.device)
        self._actor_optimizers = [Optimizer(actor, cfg.lr, cfg) for actor in actors]
        self._critic_optimizer = Optimizer(self.critic, cfg.critic_lr, cfg)
        self.actors: List[Actor] = [actors[agent % count] for agent in range(num_agents)]
        value_norm: Union[ValueNorm, IdentityNorm] = ValueNorm() if cfg.use_valuenorm else IdentityNorm()
        self.value_norm = value_norm.to(self.device)
        self._actor_steps = [
            Captured(functools.partial(update.improve_actor, actor, optimizer, cfg))
            for actor, optimizer in zip(actors, self._actor_optimizers)
        ]
        self._critic_step = Captured(
            functools.partial(update.improve_critic, self.critic, self.value_norm, self._critic_optimizer, cfg)
        )
        self.generator = torch.Generator(self.device)
        self.generator.manual_seed(seed)
        if self.device.type == "cpu":
            _keep_freed_memory()

    @torch.no_grad()
    def act(self, obs: torch.Tensor, share_obs: torch.Tensor) -> Decision:
        """Draw actions for observations (E, A, obs_dim) and value the states (E, share_obs_dim)."""
        samples = [actor.sample(obs[:, agent], self.generator) for agent, actor in enumerate(self.actors)]
        actions, log_probs = zip(*samples)
        return Decision(torch.stack(actions, dim=1), torch.stack(log_probs, dim=1), self.critic(share_obs))

    @torch.no_grad()
    def act_deterministic(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the mean actions (E, A, K) for observations (E, A, obs_dim)."""
        return torch.stack([actor.mean(obs[:, agent]) for agent, actor in enumerate(self.actors)], dim=1)

    @torch.no_grad()
    def value(self, share_obs: torch.Tensor) -> torch.Tensor:
        """Return the values (E, 1) of states (E, share_obs_dim), in the units of the value normalisation."""
        return self.critic(share_obs)

    def set_progress(self, fraction: float) -> None:
        """Lower the learning rates, if so configured, to what remains after a `fraction` in [0, 1) of the run."""
        if not self.cfg.use_linear_lr_decay:
            return
        for optimizer in self._actor_optimizers + [self._critic_optimizer]:
            optimizer.decay(1.0 - fraction)

    def update(self, rollout: Rollout) -> Dict[str, float]:
        """Improve all actors, one after the other in random order, then the critic.

        Args:
          rollout: T filled steps.
        Returns:
          Metrics, averaged over the optimiser steps: `policy_loss`, `entropy` [nat], `ratio` and `actor_grad_norm`
          (before clipping), over all agents and as `agent{i}/...`; `std` of the actions; `value_loss` and
          `critic_grad_norm`.
        Raises:
          NonFiniteError: a NaN or an infinity in the rollout, before anything is changed; or in a loss or gradient
            norm, when weights are already lost.
        """
        rollout.values[-1].copy_(self.value(rollout.share_obs[-1]))
        _require_finite_rollout(rollout)
        values = self.value_norm.denormalize(rollout.values)
        returns = update.compute_returns(rollout, values, self.cfg)
        advantages = update.normalize_advantages(returns - values[:-1], rollout.active_masks[:-1])
        metrics = self._update_actors(rollout, advantages)
        metrics.update(self._update_critic(rollout, returns))
        return _finite_floats(metrics)

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
        """Continue from what `state_dict` returned; on another kind of device, with other random numbers."""
        self.load_actors(state["actors"])
        self.critic.load_state_dict(state["critic"])
        self.value_norm.load_state_dict(state["value_norm"])
        for optimizer, moments in zip(self._actor_optimizers, state["actor_optimizers"]):
            optimizer.load_state_dict(moments)
        self._critic_optimizer.load_state_dict(state["critic_optimizer"])
        for step in self._actor_steps + [self._critic_step]:
            step.forget()
        if state["generator"]["device"] == self.device.type:
            self.generator.set_state(state["generator"]["state"].cpu())

    def load_actors(self, weights: Sequence[Dict[str, torch.Tensor]]) -> None:
        """Act as actors with these weights, one for each agent, do; all else stays as it is."""
        for actor, values in zip(self.actors, weights):
            actor.load_state_dict(values)

    def _update_actors(self, rollout: Rollout, advantages: torch.Tensor) -> Dict[str, torch.Tensor]:
        num_agents = len(self.actors)
        order = list(range(num_agents))
        if not self.cfg.fixed_order:
            order = torch.randperm(num_agents, generator=self.generator, device=self.device).tolist()
        metrics: Dict[str, torch.Tensor] = {}
        factor = torch.ones_like(rollout.rewards).flatten(0, 1)
        for agent in order:
            batch = _actor_batch(rollout, agent, advantages, factor, self.cfg)
            before = self._log_probs(agent, batch)
            for name, value in self._update_actor(agent, batch).items():
                metrics[f"agent{agent}/{name}"] = value
            log_ratio = self._log_probs(agent, batch) - before
            factor = factor * update.probability_ratio(log_ratio, self.cfg.action_aggregation)
        for name in ("policy_loss", "entropy", "ratio", "actor_grad_norm"):
            metrics[name] = torch.stack([metrics[f"agent{agent}/{name}"] for agent in order]).mean()
        metrics["std"] = torch.stack([actor.std.detach() for actor in self.actors]).mean()
        return metrics

    @torch.no_grad()
    def _log_probs(self, agent: int, batch: ActorBatch) -> torch.Tensor:
        actor = self.actors[agent]
        return torch.cat([actor.log_prob(chunk.obs, chunk.actions) for chunk in update.chunks(batch)])

    def _update_actor(self, agent: int, batch: ActorBatch) -> Dict[str, torch.Tensor]:
        step = self._actor_steps[agent % len(self._actor_steps)]
        means = self._epochs(step, batch, self.cfg.ppo_epoch, self.cfg.actor_num_mini_batch)
        return dict(zip(update.ACTOR_METRICS, means))

    def _update_critic(self, rollout: Rollout, returns: torch.Tensor) -> Dict[str, torch.Tensor]:
        arrays = (rollout.share_obs[:-1], rollout.values[:-1], returns)
        batch = CriticBatch(*(array.flatten(0, 1) for array in arrays))
        means = self._epochs(self._critic_step, batch, self.cfg.critic_epoch, self.cfg.critic_num_mini_batch)
        return dict(zip(update.CRITIC_METRICS, means))

    def _epochs(self, step: Captured, batch: Batch, epochs: int, num_mini_batch: int) -> Sequence[torch.Tensor]:
        """Pass over a batch several times, with one step per minibatch, and return the means of the steps' metrics."""
        total = torch.zeros((), device=self.device)
        for _ in range(epochs):
            for minibatch in update.minibatches(batch, num_mini_batch, self.generator):
                total = total + step(minibatch)
        return (total / (epochs * num_mini_batch)).unbind()


def _keep_freed_memory() -> None:
    """Make glibc keep up to 62 MiB of freed memory, instead of fetching zeroed pages for every chunk anew.

    Its thresholds for giving memory back follow the largest block freed so far, up to 32 MiB. Without this, page
    faults take a third of an update. Other allocators lose nothing by it.
    """
    torch.empty(31 << 20, dtype=torch.uint8)


def _actor_batch(
    rollout: Rollout, agent: int, advantages: torch.Tensor, factor: torch.Tensor, cfg: HappoConfig
) -> ActorBatch:
    active = rollout.active_masks[:-1]
    weight = active if cfg.use_policy_active_masks else torch.ones_like(active)
    arrays = (rollout.obs[:-1], rollout.actions, rollout.log_probs, advantages, weight)
    obs, actions, log_probs, advantages, weight = (array[:, :, agent].flatten(0, 1) for array in arrays)
    return ActorBatch(obs, actions, log_probs, advantages, factor, weight)


def _require_finite_rollout(rollout: Rollout) -> None:
    dims = {
        "rewards": ("step", "env", "agent"),
        "values": ("step", "env", "column"),
        "log_probs": ("step", "env", "agent", "action_dim"),
    }
    for name, axes in dims.items():
        array = getattr(rollout, name)
        TensorSpec(name, axes, tuple(array.shape)).validate(array, "rollout")


def _finite_floats(metrics: Dict[str, torch.Tensor]) -> Dict[str, float]:
    numbers = dict(zip(metrics, torch.stack(list(metrics.values())).tolist()))
    for name, number in numbers.items():
        if not math.isfinite(number):
            raise NonFiniteError(
                f"{name} is not finite",
                where="Happo.update",
                got=str(number),
                expected="a finite number",
                cause="the update diverged: the rollout itself is finite",
                fix="continue from the last checkpoint with a smaller happo.lr or happo.critic_lr",
            )
    return numbers
