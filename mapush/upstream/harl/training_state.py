"""What a run needs to continue and HARL does not save: optimisers, random numbers, and the place between two rollouts.

Source: HARL@d539bad, `warmup` and `after_update` of `harl/runners/on_policy_base_runner.py`, and the buffers in
`harl/common/buffers/`, whose first row holds what the next rollout begins with.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Any, Callable, Dict, List, Sequence

import numpy as np
import torch

from mapush.errors import CheckpointError
from mapush.run.checkpoint import Checkpoint

OPTIMIZERS = "harl_optimizers"
"""Key in `Checkpoint.agent`; the native learner has optimisers of a different form."""

_ACTOR_ROWS = ("obs", "rnn_states", "masks", "active_masks")
_CRITIC_ROWS = ("share_obs", "rnn_states_critic", "masks", "bad_masks")


@dataclasses.dataclass(frozen=True)
class BetweenRollouts:
    """The place between two rollouts.

    Attributes:
      step: env steps taken so far, summed over envs.
      iteration: rollouts and updates done so far.
      run: the state of environment, buffers and random numbers, for `Checkpoint.run`.
    """

    step: int
    iteration: int
    run: Dict[str, Any]


def moment_of(runner: Any) -> BetweenRollouts:
    """Return the present moment of a runner of HARL, between two rollouts; later steps do not change it."""
    run = {
        "env": runner.envs.env.state_dict(),
        "rows": {
            "actors": [_rows(buffer, _ACTOR_ROWS) for buffer in runner.actor_buffer],
            "critic": _rows(runner.critic_buffer, _CRITIC_ROWS),
        },
        "random": _random_state(runner.device),
        "iteration": runner.logger.iteration,
    }
    return BetweenRollouts(runner.logger.step, runner.logger.iteration, run)


def restore_moment(runner: Any, run: Dict[str, Any], same_episodes: bool) -> None:
    """Put environment, buffers and random numbers where `moment_of` found them.

    Args:
      runner: a runner of HARL whose environment was reset.
      run: the `run` of the moment.
      same_episodes: False keeps the episodes that the reset began, for a simulator that cannot continue one.
    """
    runner.envs.env.load_state_dict(run["env"])
    if same_episodes:
        for buffer, rows in zip(runner.actor_buffer, run["rows"]["actors"]):
            _set_rows(buffer, rows)
        _set_rows(runner.critic_buffer, run["rows"]["critic"])
    _set_random_state(run["random"], runner.device)


def optimizers_of(runner: Any) -> Dict[str, Any]:
    """Return the state of the optimisers, one for each agent, and that of the critic's."""
    actors = [actor.actor_optimizer.state_dict() for actor in runner.actor]
    return {"actors": actors, "critic": runner.critic.critic_optimizer.state_dict()}


def restore_learners(runner: Any, saved: Checkpoint) -> None:
    """Load weights, value statistics and optimisers of a checkpoint that `require_training_state` accepts."""
    optimizers = saved.agent[OPTIMIZERS]
    for actor, weights, moments in zip(runner.actor, saved.agent["actors"], optimizers["actors"]):
        actor.actor.load_state_dict(weights)
        actor.actor_optimizer.load_state_dict(moments)
    runner.critic.critic.load_state_dict(saved.agent["critic"])
    runner.critic.critic_optimizer.load_state_dict(optimizers["critic"])
    if runner.value_normalizer is not None:
        runner.value_normalizer.load_state_dict(saved.agent["value_norm"])


def require_training_state(saved: Checkpoint, path: object) -> None:
    """Refuse a checkpoint that has only a policy.

    Raises:
      CheckpointError: it was exported, or a version of mapush made it that did not save more.
    """
    if OPTIMIZERS in saved.agent and "rows" in saved.run:
        return
    raise CheckpointError(
        "this checkpoint has no training state, so the run cannot be continued",
        where=str(path),
        got="weights and value statistics only",
        expected="optimisers, random numbers and the state of the environment as well",
        cause="it was exported, or an older version of mapush made it, which saved what HARL itself saves",
        fix="train again under a different --run-dir; the policy can be evaluated: mapush evaluate --checkpoint",
    )


def continue_decay(learners: List[Any], done: int, total: int) -> None:
    """Make the learning rates of a continued run fall as in an uninterrupted one; HARL's loop counts from 1 again.

    Args:
      learners: actors and critic of HARL.
      done: rollouts done before.
      total: rollouts of the complete run.
    """
    for learner in set(learners):  # agents may share an actor
        learner.lr_decay = _shifted(learner.lr_decay, done, total)


def _shifted(decay: Callable[[int, int], None], done: int, total: int) -> Callable[[int, int], None]:
    def decay_from_there(episode: int, episodes: int) -> None:
        decay(done + episode, total)

    return decay_from_there


# -- buffers and random numbers --------------------------------------------------------------------------------------


def _rows(buffer: Any, names: Sequence[str]) -> Dict[str, torch.Tensor]:
    """Return copies of the first rows of some arrays of a buffer."""
    return {name: torch.from_numpy(np.array(getattr(buffer, name)[0])) for name in names}


def _set_rows(buffer: Any, rows: Dict[str, torch.Tensor]) -> None:
    for name, row in rows.items():
        getattr(buffer, name)[0] = row.numpy()


def _random_state(device: torch.device) -> Dict[str, Any]:
    """Return the state of the global generators, which HARL draws from, without arrays of numpy."""
    numpy_state: Any = np.random.get_state(legacy=True)
    name, keys, *rest = numpy_state
    state: Dict[str, Any] = {
        "python": random.getstate(),
        "numpy": [str(name), torch.from_numpy(keys.astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device).cpu()
    return state


def _set_random_state(state: Dict[str, Any], device: torch.device) -> None:
    """Set the global generators; on a different kind of device the random numbers differ."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
