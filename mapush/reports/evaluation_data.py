"""The files in the folder of a report: a table of episodes, trajectories, and recordings."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

import numpy as np

from mapush.errors import MapushError
from mapush.evaluation.traces import Trace
from mapush.objects import OBJECTS
from mapush.reports.episode_data import Episodes
from mapush.sim.physics import STEP_DT

COLUMNS = {
    "time_s": "seconds",
    "goal_distance_m": "goal_distance",
    "goal_direction_deg": "goal_direction",
    "final_distance_m": "final_distance",
    "least_distance_m": "least_distance",
    "travelled_m": "travelled",
    "collaboration": "collaboration",
    "return": "team_return",
}
"""Columns of numbers in the table, and their names in `Episodes`."""


@dataclasses.dataclass(frozen=True)
class TracedPolicy:
    """A policy, or the newest policy of a run, with its episodes.

    Attributes:
      name: a short name.
      trace: its first episode in each env.
      episodes: the same episodes as numbers.
    """

    name: str
    trace: Trace
    episodes: Episodes


def write_table(path: Path, policies: Sequence[TracedPolicy]) -> None:
    """Write one row per episode, as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["policy", "env", "ending", "reason", *COLUMNS])
        for policy in policies:
            for env_id in range(len(policy.episodes)):
                writer.writerow(_table_row(policy, env_id))


def _table_row(policy: TracedPolicy, env_id: int) -> List[str]:
    episodes = policy.episodes
    row = [policy.name, str(env_id), episodes.ending[env_id], episodes.reason[env_id]]
    for name in COLUMNS.values():
        row.append(f"{getattr(episodes, name)[env_id]:.6g}")
    return row


def write_trajectories(path: Path, policies: Sequence[TracedPolicy]) -> None:
    """Write the positions and commands of all episodes, one after the other, in the order of the table."""
    lengths: List[np.ndarray] = []
    goals: List[np.ndarray] = []
    qpos: List[np.ndarray] = []
    commands: List[np.ndarray] = []
    for policy in policies:
        lengths.append(policy.trace.outcome["length"])
        goals.append(policy.trace.goals)
        qpos += policy.trace.qpos
        commands += policy.trace.commands
    np.savez_compressed(
        path,
        lengths=np.concatenate(lengths),
        goals=np.concatenate(goals),
        qpos=np.concatenate(qpos),
        commands=np.concatenate(commands),
    )


def record_episode(path: Path, task_name: str, policy: TracedPolicy, env_id: int) -> Optional[str]:
    """Write a replay of one episode as an HTML page.

    Args:
      path: the page; its folder is made.
      task_name: name of the task.
      policy: the policy.
      env_id: the env of the episode.

    Returns:
      None; if the page cannot be written, the reason, as a sentence.
    """
    from mapush.sim.scene import Scene, build_model
    from mapush.viewer.films.recorder import open_film

    item = OBJECTS[task_name]
    episode = policy.trace.episode(env_id)

    def lines_of(step: int) -> Tuple[str, ...]:
        return (
            f"{task_name}, env {env_id}: {episode.ending} after {episode.seconds:.1f} s",
            f"time {(step + 1) * STEP_DT:.1f} s",
            f"object to goal {episode.frames[step].distance:.2f} m",
        )

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        film = open_film(path, build_model(Scene(policy.trace.num_agents, item)), f"{policy.name}, env {env_id}")
        film.add(episode, lines_of)
        film.close()
    except MapushError as error:
        parts = [part for part in (error.what, error.cause, error.fix) if part]
        return f"There are no recordings: {', '.join(parts)}"
    return None
