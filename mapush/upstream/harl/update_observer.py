"""What HARL's update does not report: KL divergence, clip fraction, explained variance, standard deviation, rates.

Everything is taken from numbers that HARL computes anyway; nothing is computed a second time, and no random number is
drawn.

Source: HARL@d539bad, `harl/runners/on_policy_ha_runner.py` (after an actor's update its log-probabilities are computed
once more, for the factor of the next agent) and `harl/models/base/distributions.py` (the standard deviation).
"""

from __future__ import annotations

from typing import Any, Dict, List

import torch

from mapush.config import HappoConfig
from mapush.happo import update
from mapush.upstream.harl.harl_source import load

_HAPPO: Any = load().HAPPO


class ObservedActor(_HAPPO):
    """HARL's actor; it keeps the log-probabilities that HARL computes right after an update, in the agent's buffer."""

    _updated_buffer: Any = None

    def train(self, actor_buffer: Any, *args: Any) -> Any:
        """Update the actor from the buffer of an agent."""
        losses = super().train(actor_buffer, *args)
        self._updated_buffer = actor_buffer
        return losses

    def evaluate_actions(self, *args: Any, **kwargs: Any) -> Any:
        """Return log-probabilities, entropy and distribution of actions."""
        result = super().evaluate_actions(*args, **kwargs)
        if self._updated_buffer is not None:
            self._updated_buffer.log_probs_after_update = result[0].detach()
            self._updated_buffer = None
        return result


def explained_variance_of(critic_buffer: Any, value_normalizer: Any) -> float:
    """Return the share of the returns' variance that the values explain; call it before the update.

    Args:
      critic_buffer: HARL's, with the returns of the rollout.
      value_normalizer: HARL's, or None.
    """
    values = critic_buffer.value_preds[:-1]
    if value_normalizer is not None:
        values = value_normalizer.denormalize(values)
    returns = torch.from_numpy(critic_buffer.returns[:-1])
    return float(update.explained_variance(torch.as_tensor(values), returns))


def changes_of(runner: Any) -> Dict[str, float]:
    """Return what an update has done to the policies, as means over agents, and the learning rates.

    Args:
      runner: a runner of HARL after its `train`.

    Returns:
      `approx_kl` and `clip_fraction`, see `mapush.happo.update.policy_change`; `std`, `lr` and `critic_lr`. What a fork
      of HARL does not offer is left out.
    """
    changes: Dict[str, float] = {}
    moved = [_policy_change(runner, buffer) for buffer in runner.actor_buffer]
    known = [change for change in moved if change is not None]
    if len(known) == len(moved):
        kl, clipped = torch.stack(known).mean(dim=0).tolist()
        changes.update(approx_kl=kl, clip_fraction=clipped)
    stds = _standard_deviations(runner.actor)
    if stds:
        changes["std"] = sum(stds) / len(stds)
    changes["lr"] = float(runner.actor[0].actor_optimizer.param_groups[0]["lr"])
    changes["critic_lr"] = float(runner.critic.critic_optimizer.param_groups[0]["lr"])
    return changes


def _policy_change(runner: Any, buffer: Any) -> Any:
    """Return KL divergence and clip fraction of an agent, (2,); None if they are not known."""
    after = getattr(buffer, "log_probs_after_update", None)
    if after is None:
        return None
    del buffer.log_probs_after_update
    before = torch.from_numpy(buffer.action_log_probs).flatten(0, 1).to(after.device)
    settings = runner.algo_args["algo"]
    cfg = HappoConfig(clip_param=settings["clip_param"], action_aggregation=settings["action_aggregation"])
    weight = torch.from_numpy(buffer.active_masks[:-1]).flatten(0, 1).to(after.device)
    if not settings["use_policy_active_masks"]:
        weight = torch.ones_like(weight)
    return torch.stack(update.policy_change(after - before, weight, cfg))


def _standard_deviations(actors: List[Any]) -> List[float]:
    """Return the mean standard deviation of each actor's actions; nothing for actors of a different form."""
    stds = []
    for actor in actors:
        head: Any = getattr(getattr(actor.actor, "act", None), "action_out", None)
        if not all(hasattr(head, name) for name in ("log_std", "std_x_coef", "std_y_coef")):
            return []
        std = torch.sigmoid(head.log_std.detach() / head.std_x_coef) * head.std_y_coef
        stds.append(float(std.mean()))
    return stds
