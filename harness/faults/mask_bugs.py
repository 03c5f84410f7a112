"""Bugs in masks that an environment honours all the same, so that what it forbids does nothing."""

from __future__ import annotations

from typing import Any, List

import numpy as np

from harness.faults.plant import replaces

MASK = "harness.grid_toy:GridTeam._mask"


@replaces(MASK, "masks", "mask-effects", "a blind hold-out", world="grid")
def mask_with_rows_and_columns_swapped(original: Any, env: Any, env_id: int, agent: int) -> List[bool]:
    """The mask of moves is computed for the place of which row and column are swapped."""
    robots = env._robots
    row, column = robots[env_id, agent]
    moved = robots.copy()
    moved[env_id, agent] = column % env._walls.shape[1], row
    env._robots = moved
    try:
        return list(original(env, env_id, agent))
    finally:
        env._robots = robots


@replaces(MASK, "masks", "mask-effects", "a blind hold-out", world="grid")
def mask_of_the_next_agent(original: Any, env: Any, env_id: int, agent: int) -> List[bool]:
    """Every agent gets the mask of the next one."""
    return list(original(env, env_id, (agent + 1) % env.n_agents))


@replaces(MASK, "masks", "mask-effects", "a blind hold-out", world="grid")
def mask_of_one_action_of_the_last_agent(original: Any, env: Any, env_id: int, agent: int) -> List[bool]:
    """All agents may clear boxes where the last one may."""
    *moves, _ = original(env, env_id, agent)
    return [*moves, original(env, env_id, env.n_agents - 1)[-1]]


@replaces(MASK, "masks", "mask-effects", world="grid")
def mask_that_knows_no_boxes(original: Any, env: Any, env_id: int, agent: int) -> List[bool]:
    """Moves into boxes are allowed, moves into walls are not."""
    boxes = env._boxes
    env._boxes = np.zeros_like(boxes)
    try:
        *moves, _ = original(env, env_id, agent)
    finally:
        env._boxes = boxes
    return [*moves, original(env, env_id, agent)[-1]]
