"""What lies beside the page of an evaluation: a table of episodes, trajectories, and recordings."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Optional, Sequence, Tuple

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
"""Numbers of the table, and what they are called in `Episodes`."""


@dataclasses.dataclass(frozen=True)
class Policy:
    """What is told of one policy, or of the newest of a run, episode by episode.

    Attributes:
      name: short.
      trace: of its first episodes.
      episodes: the same as numbers.
    """

    name: str
    trace: Trace
    episodes: Episodes


def write_table(path: Path, policies: Sequence[Policy]) -> None:
    """Write one row for each episode, as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["policy", "env", "ending", "reason", *COLUMNS])
        for policy in policies:
            data = policy.episodes
            numbers = [getattr(data, name) for name in COLUMNS.values()]
            for env_id, told in enumerate(zip(data.ending, data.reason, *numbers)):
                writer.writerow([policy.name, env_id, *told[:2], *(f"{value:.6g}" for value in told[2:])])


def write_trajectories(path: Path, policies: Sequence[Policy]) -> None:
    """Write where everything was and what was commanded, one episode after the other in the order of the table."""
    traces = [policy.trace for policy in policies]
    np.savez_compressed(
        path,
        lengths=np.concatenate([trace.outcome["length"] for trace in traces]),
        goals=np.concatenate([trace.goals for trace in traces]),
        qpos=np.concatenate([rows for trace in traces for rows in trace.qpos]),
        commands=np.concatenate([rows for trace in traces for rows in trace.commands]),
    )


def record(path: Path, task_name: str, policy: Policy, env_id: int) -> Optional[str]:
    """Write a replay of one episode, or say why there is none."""
    from mapush.sim.scene import Scene, build_model
    from mapush.viewer.films.recorder import open_film

    try:
        item, episode = OBJECTS[task_name], policy.trace.episode(env_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        film = open_film(path, build_model(Scene(item.num_agents, item)), f"{policy.name}, env {env_id}")
        film.add(episode, lambda step: _lines(task_name, policy.episodes, env_id, episode.frames[step].distance, step))
        film.close()
    except MapushError as error:
        return "There are no recordings: {}".format(", ".join(filter(None, (error.what, error.cause, error.fix))))
    return None


def _lines(task_name: str, episodes: Episodes, env_id: int, distance: float, step: int) -> Tuple[str, ...]:
    ending = f"{episodes.ending[env_id]} after {episodes.seconds[env_id]:.1f} s"
    seconds = (step + 1) * STEP_DT
    title = f"{task_name}, env {env_id}: {ending}"
    return (title, f"time {seconds:.1f} s", f"object to goal {distance:.2f} m")
