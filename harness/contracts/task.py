"""What a user may state about a task."""

from __future__ import annotations

from typing import Literal, Optional, Sequence, Tuple

import numpy as np

from harness.interface.player import Seen


class Task:
    """What the harness cannot know about a task. Override the methods that you can answer.

    Args:
      state_type: HARL's setting: "EP" if agents share state and reward, "FP" if not.
      agents_by_effect: whether an agent's action changes its own observation more than those of its teammates.
      delay: number of steps after which an action takes effect, by design.
      settling: number of steps at the start of an episode in which actions are ignored, by design.
      fixed_starts: whether all episodes of an environment start alike, by design.
      uneven_actions: whether a part of the range of an action does nothing, by design, such as an engine without
        reverse.
      idle_axes: axes of an action that do nothing, by design, such as the first of PettingZoo's continuous MPE.
      time_left: whether obs show how old an episode is; then it is a finding if no number does.
      loose_masks: whether masks may allow what does nothing, by design.
      own_generators: whether each env draws from a random generator of its own; then it is a finding if the start of
        an env depends on when others end.
    """

    def __init__(
        self,
        state_type: Literal["EP", "FP"] = "EP",
        agents_by_effect: bool = True,
        delay: int = 0,
        *,
        settling: int = 0,
        fixed_starts: bool = False,
        uneven_actions: bool = False,
        idle_axes: Sequence[int] = (),
        time_left: bool = False,
        loose_masks: bool = False,
        own_generators: bool = False,
    ) -> None:
        self.state_type = state_type
        self.agents_by_effect = agents_by_effect
        self.delay = delay
        self.settling = settling
        self.fixed_starts = fixed_starts
        self.uneven_actions = uneven_actions
        self.idle_axes = tuple(idle_axes)
        self.time_left = time_left
        self.loose_masks = loose_masks
        self.own_generators = own_generators

    def reward(self, previous: Seen, current: Seen) -> Optional[np.ndarray]:
        """Return a quantity with which the reward of the step from `previous` to `current` should rise and fall.

        The difference of a potential is enough, such as the progress of the object towards the goal. Steps at which an
        episode ended are ignored.

        Returns:
          (N,) or (N, A), with NaN for an env about whose step nothing is known; None if nothing is known at all.
        """
        return None

    def effect(self, agent: int, axis: int) -> Optional[Tuple[int, float]]:
        """Return which entry of the agent's own observation this axis of its action changes the most, and the sign.

        The sign is that of the change over the first steps under a positive action; 0 if it depends.

        Returns:
          Entry and sign; None if the effect is unknown.
        """
        return None
