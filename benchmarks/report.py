"""Measure what the report of an evaluation costs: `python -m benchmarks.report [--num-envs 300] [--policies 1]`.

The episodes are made up, of all kinds and up to 1,001 env steps long; joint positions are noise, which does not
compress. Prints lines of `name.metric value`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Dict, List

import numpy as np
import torch

from mapush.env.metrics import ENDINGS, FirstEpisodes
from mapush.env.terminations import MAX_EPISODE_LENGTH, ROBOT_HEIGHT
from mapush.evaluation.results import Evaluation
from mapush.evaluation.traces import Trace
from mapush.objects import CUBOID
from mapush.reports.evaluation_report import RECORDINGS, Setting, write_evaluation
from mapush.sim.physics import STEP_DT

SHARES = (0.6, 0.15, 0.1, 0.15)  # how often each of `ENDINGS` occurs
UPRIGHT, ON_ITS_SIDE = (1.0, 0.0, 0.0, 0.0), (0.6, 0.8, 0.0, 0.0)  # orientations


def made_up_trace(num_envs: int, seed: int, max_length: int = MAX_EPISODE_LENGTH + 1) -> Trace:
    """Return episodes of two robots and a box that nobody has simulated.

    Args:
      num_envs: number of episodes.
      seed: seed of the random numbers.
      max_length: length of the episodes that end by a time-out [env steps].
    """
    rng = np.random.default_rng(seed)
    endings = rng.choice(len(ENDINGS), num_envs, p=SHARES)
    lengths = np.where(endings == ENDINGS.index("timeout"), max_length, rng.integers(5, max_length, num_envs))
    bearing = rng.uniform(0.0, 2.0 * np.pi, num_envs)
    distance = rng.uniform(1.5, 3.0, num_envs)
    goals = (distance * np.stack((np.cos(bearing), np.sin(bearing)))).T.astype(np.float32)
    qpos: List[np.ndarray] = []
    for ending, length, goal in zip(endings, lengths, goals):
        qpos.append(_positions(rng, ENDINGS[ending], length, goal))
    outcome = _outcome(rng, endings, lengths)
    commands = [rng.uniform(-0.5, 0.5, (length, 2, 3)).astype(np.float32) for length in lengths]
    return Trace(qpos, commands, goals, outcome)


def _outcome(rng: np.random.Generator, endings: np.ndarray, lengths: np.ndarray) -> Dict[str, np.ndarray]:
    """Return the outcome of each episode, see `PushEnv`."""
    outcome: Dict[str, np.ndarray] = {}
    for index, name in enumerate(ENDINGS):
        outcome[name] = endings == index
    outcome["length"] = lengths
    outcome["finished_time"] = np.where(outcome["success"], lengths, MAX_EPISODE_LENGTH) * STEP_DT
    outcome["collaboration"] = rng.random(len(lengths), dtype=np.float32)
    outcome["return"] = rng.normal(size=len(lengths)).astype(np.float32)
    return outcome


def _positions(rng: np.random.Generator, ending: str, length: int, goal: np.ndarray) -> np.ndarray:
    """Return an episode in which the object drifts to the goal, or elsewhere, and that ends as `ending` says.

    Returns:
      Rows as in `Trace.qpos`: two robots of 19 numbers each, and the object, shape (length + 1, 45), float32.
    """
    rows = rng.normal(0.0, 0.3, (length + 1, 2 * 19 + 7)).astype(np.float32)
    progress = 0.8
    if ending != "success":
        progress = rng.uniform(-0.2, 0.25)
    aim = goal * progress + rng.normal(0.0, 0.1, 2)
    wobble = rng.normal(0.0, 0.005, (length + 1, 2)).cumsum(axis=0)
    centre = np.linspace(0.0, 1.0, length + 1)[:, None] * (aim - wobble[-1]) + wobble - wobble[0]
    yaw = rng.uniform(-np.pi, np.pi) + np.linspace(0.0, rng.normal(), length + 1)
    zero = np.zeros_like(yaw)
    rows[:, -7:-5] = centre
    rows[:, -5] = CUBOID.spawn_height
    rows[:, -4:] = np.stack((np.cos(yaw / 2), zero, zero, np.sin(yaw / 2)), axis=1)
    for start, side in ((0, -1.2), (19, 1.2)):
        rows[:, start : start + 2] = centre + (side, 0.0)
        rows[:, start + 2] = ROBOT_HEIGHT
        rows[:, start + 3 : start + 7] = UPRIGHT
    if ending == "collision":
        rows[-1, 19:21] = rows[-1, :2] + np.float32(0.1)
    if ending == "fall":
        rows[-1, 22:26] = ON_ITS_SIDE
    return rows


def evaluation_of(trace: Trace, step: int, name: str) -> Evaluation:
    """Return the evaluation that consists of the episodes in `trace`."""
    outcome = {key: torch.from_numpy(values) for key, values in trace.outcome.items()}
    first = FirstEpisodes(len(trace))
    first.add(torch.ones(len(trace), dtype=torch.bool), outcome)
    return Evaluation(Path(name), step, first.metrics(), name, trace)


def measure(num_envs: int, policies: int, folder: Path) -> Dict[str, float]:
    """Write a report to `folder`, and return what that cost.

    Args:
      num_envs: episodes per policy.
      policies: number of policies.
      folder: the folder of the report.
    """
    groups = {}
    for index in range(policies):
        name = f"policy {index + 1}"
        groups[name] = [evaluation_of(made_up_trace(num_envs, index), 10_000_000 * (index + 1), name)]
    start, cpu_start = time.perf_counter(), time.process_time()
    page = write_evaluation(folder, Setting("cuboid", num_envs, 0, "none"), groups)
    return {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu_start,
        "page_mib": page.stat().st_size / 2**20,
        "recordings_mib": _mib_in(folder / RECORDINGS),
        "folder_mib": _mib_in(folder),
    }


def _mib_in(folder: Path) -> float:
    """Return the size of all files in `folder` [MiB]."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-envs", type=int, default=300, help="episodes per policy (default 300)")
    parser.add_argument("--policies", type=int, default=1, help="number of policies (default 1)")
    parser.add_argument("--out", type=Path, help="folder in which to keep the report (default: discard it)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        for name, value in measure(options.num_envs, options.policies, folder).items():
            print(f"report.{name} {value:.2f}")


if __name__ == "__main__":
    main()
