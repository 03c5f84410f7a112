"""What a decision of the pushing task adds up, and what becomes of an episode that ends in it."""

from __future__ import annotations

import dataclasses
from typing import Dict, NamedTuple

import torch

from mapush.env.pushed_object import object_of
from mapush.env.terminations import Endings
from mapush.sim.physics import STEP_DT, State

COLLABORATION_DISTANCE = 1.0  # planar, between robot and object [m]
OUTCOMES = (
    "success",
    "collision",
    "fall",
    "timeout",
    "length",
    "finished_time",
    "collaboration",
    "collision_degree",
    "return",
)


class DecisionTally(NamedTuple):
    """What a decision adds up, env step by env step.

    Attributes:
      live: the episode goes on, (E,) bool.
      length: env steps of the episode, (E,) int64.
      steps_together: those in which all robots were near the object, (E,) int64.
      previous_object_xy: where the object was one env step ago, NaN if that is not known, (E, 2) [m].
      terms: reward terms in the order of `rewards.TERMS`, (N, E, A).
    """

    live: torch.Tensor
    length: torch.Tensor
    steps_together: torch.Tensor
    previous_object_xy: torch.Tensor
    terms: torch.Tensor


class Judgement(NamedTuple):
    """What one env step has led to.

    Attributes:
      seen: the state after it; in an env whose episode ended earlier in the decision, the state at that end.
      tally: the sums, this env step included.
      endings: which limits `seen` has reached.
    """

    seen: State
    tally: DecisionTally
    endings: Endings


def choose(mask: torch.Tensor, yes: State, no: State) -> State:
    """Return a state with the envs of `mask` (E,) bool from `yes` and the other envs from `no`."""
    fields = {}
    for field in dataclasses.fields(State):
        first, second = getattr(yes, field.name), getattr(no, field.name)
        one_flag_per_row = mask.reshape((-1,) + (1,) * (first.dim() - 1))
        fields[field.name] = torch.where(one_flag_per_row, first, second)
    return State(**fields)


def together(state: State) -> torch.Tensor:
    """Return where all robots are near the object, (E,) bool."""
    offset = state.robot_pos_w[..., :2] - object_of(state).pos_w[:, None, :2]
    return (offset.norm(dim=-1) < COLLABORATION_DISTANCE).all(dim=1)


def outcome_of(endings: Endings, tally: DecisionTally, max_episode_length: int) -> Dict[str, torch.Tensor]:
    """Return the outcome of each episode but for its return, (E,) each; of several causes the first counts.

    Args:
      endings: which limits the episodes have reached.
      tally: their length, and how long their robots were together.
      max_episode_length: what a failure counts as [env steps].
    """
    success = endings.success
    collision = endings.collision & ~success
    longest = torch.full_like(tally.length, max_episode_length)
    return {
        "success": success,
        "collision": collision,
        "fall": endings.exception & ~success & ~collision,
        "timeout": endings.timeout & ~endings.terminated,
        "length": tally.length,
        "finished_time": torch.where(success, tally.length, longest) * STEP_DT,
        "collaboration": tally.steps_together / tally.length,
        "collision_degree": torch.zeros_like(tally.terms[0, :, 0]),
    }
