"""The sections of an evaluation's page that show its episodes: goals, failures, paths and recordings."""

from __future__ import annotations

from functools import partial
from typing import Callable, List, Optional, Sequence

import numpy as np
from markupsafe import Markup

from mapush.env.terminations import MAX_EPISODE_LENGTH
from mapush.objects import PushObject
from mapush.reports import evaluation_figures as figures
from mapush.reports.episode_data import MAX_SETBACK, MIN_TRAVELLED, REASONS, Episodes
from mapush.reports.evaluation_data import TracedPolicy
from mapush.reports.formatting import DISTANCE_DECIMALS, TIME_DECIMALS, UNKNOWN, fixed
from mapush.reports.page import Block, Cell, Figure, Row, Section, Table
from mapush.sim.physics import STEP_DT

RECORDED_EPISODES = 3  # of each policy


def _figures_of(
    policies: Sequence[TracedPolicy],
    draw: Callable[[str, str, Episodes], Markup],
    name: str,
    caption: str,
    wide: bool = False,
) -> List[Block]:
    """Draw one figure per policy; if there are several, each has the policy's name as title."""
    blocks: List[Block] = []
    for index, policy in enumerate(policies):
        title = policy.name if len(policies) > 1 else ""
        blocks.append(Figure(draw(f"{name}{index}", title, policy.episodes), caption, wide))
    return blocks


def goal_section(policies: Sequence[TracedPolicy], item: PushObject) -> Section:
    """Show the success rate by the position of the goal."""
    caption = (
        "The object at the start, seen from above, with its own x axis. Each cell stands for the episodes whose goal "
        "was at this distance in this direction, and says how many of them succeeded. Green is good, orange is bad."
    )
    text = (
        "Directions are in the object's own frame at the start: the position of the goal in the world makes no "
        "difference, but the side of the object that has to be pushed may."
    )
    rates = (
        "The same rates by distance only and by direction only. Differences within the 95 % intervals may be chance."
    )
    blocks = _figures_of(policies, partial(figures.goal_map, item=item), "goals", caption)
    by_goal = figures.rates_by_goal({policy.name: policy.episodes for policy in policies})
    blocks.append(Figure(by_goal, rates, wide=len(policies) > 1))
    return Section("Where the goal was", blocks, text)


def path_section(policies: Sequence[TracedPolicy], item: PushObject) -> Section:
    """Show the paths of the object."""
    caption = (
        "Paths of the object, seen from above, turned so that the goal (+) is to the right of every start. Inside the "
        "green disc the goal counts as reached. Colours show how an episode ended, crosses show where."
    )
    return Section(
        "Paths of the object", _figures_of(policies, partial(figures.paths, item=item), "paths", caption, wide=True)
    )


# -- failures --------------------------------------------------------------------------------------------------------


def failure_section(policies: Sequence[TracedPolicy], item: PushObject) -> Section:
    """Show when, where and why episodes failed."""
    limit = MAX_EPISODE_LENGTH * STEP_DT
    over_time = f"When the episodes ended, stacked by how they ended; the time limit is {limit:g} s."
    where = (
        "Where robots collided (midpoint of the two) and fell, seen from above, with the object in the middle (grey: "
        "its circumscribed circle) and the goal to the right."
    )
    blocks = _figures_of(policies, figures.endings_over_time, "endings", over_time)
    with_spots: List[TracedPolicy] = []
    for policy in policies:
        if np.isin(policy.episodes.ending, ("collision", "fall")).any():
            with_spots.append(policy)
    blocks += _figures_of(with_spots, partial(figures.failure_map, item=item), "spots", where)
    blocks.append(_reason_table(policies, item))
    return Section("When, where and why episodes fail", blocks)


def _reason_table(policies: Sequence[TracedPolicy], item: PushObject) -> Table:
    rows: List[Row] = []
    for policy in policies:
        for ending, reasons in REASONS.items():
            for reason in reasons:
                chosen = policy.episodes.reason == reason
                if chosen.any():
                    rows.append([policy.name, ending, reason, *_reason_cells(policy.episodes, chosen)])
    if not rows:
        rows.append([UNKNOWN, UNKNOWN, "no episode failed"])
    headings = [
        "policy",
        "ended by",
        "because",
        "episodes",
        "share",
        "time [s]",
        "final distance [m]",
        "least distance [m]",
    ]
    note = (
        f"Times and distances to the goal are medians. The object hardly moved if its path is shorter than "
        f"{MIN_TRAVELLED:g} m, and moved away again if it ended more than {MAX_SETBACK:g} m beyond its least distance "
        f"to the goal. Within {item.goal_radius:g} m the goal counts as reached."
    )
    return Table(headings, rows, texts=3, note=note)


def _reason_cells(episodes: Episodes, chosen: np.ndarray) -> List[str]:
    """Return count, share, and medians of the `chosen` episodes, shape (E,), bool."""
    cells = [str(int(chosen.sum())), f"{chosen.mean():.1%}"]
    cells.append(fixed(float(np.median(episodes.seconds[chosen])), TIME_DECIMALS))
    for distance in (episodes.final_distance, episodes.least_distance):
        cells.append(fixed(float(np.median(distance[chosen])), DISTANCE_DECIMALS))
    return cells


# -- recordings ------------------------------------------------------------------------------------------------------


def recording_section(
    policies: Sequence[TracedPolicy], folder: str, record: Callable[[str, TracedPolicy, int], Optional[str]]
) -> Section:
    """Record the worst episodes, and link them.

    Args:
      policies: the policies.
      folder: where the recordings go, relative to the page.
      record: writes one recording; takes its path relative to the page, the policy, and the env of the episode, and
        returns why there are no recordings, or None.
    """
    rows: List[Row] = []
    problem: Optional[str] = None
    for index, policy in enumerate(policies):
        prefix = f"policy{index}_" if index > 0 else ""
        for env_id in policy.episodes.worst(RECORDED_EPISODES):
            name = f"{folder}/{prefix}env{env_id:03d}.html"
            if problem is None:
                problem = record(name, policy, env_id)
            rows.append([*_episode_cells(policy, env_id), _link(name, problem)])
    headings = [
        "policy",
        "ended by",
        "because",
        "env",
        "goal distance [m]",
        "goal direction [°]",
        "time [s]",
        "final distance [m]",
        "watch",
    ]
    text = "The failed episodes that ended farthest from the goal; if none failed, the slowest episodes."
    return Section("The worst episodes", [Table(headings, rows, texts=3, note=problem or "")], text)


def _episode_cells(policy: TracedPolicy, env_id: int) -> List[str]:
    episodes = policy.episodes
    cells = [policy.name, str(episodes.ending[env_id]), str(episodes.reason[env_id]) or UNKNOWN, str(env_id)]
    return [
        *cells,
        fixed(float(episodes.goal_distance[env_id]), DISTANCE_DECIMALS),
        fixed(float(episodes.goal_direction[env_id]), 0),
        fixed(float(episodes.seconds[env_id]), TIME_DECIMALS),
        fixed(float(episodes.final_distance[env_id]), DISTANCE_DECIMALS),
    ]


def _link(name: str, problem: Optional[str]) -> Cell:
    if problem is not None:
        return Cell(UNKNOWN)
    return Cell("replay", href=name)
