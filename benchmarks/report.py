"""What the report of an evaluation costs: `python -m benchmarks.report [--num-envs 300] [--policies 1]`.

The episodes are made up, of all kinds and up to 1,001 env steps long; joints are noise, which no compression makes
smaller. Prints lines of `name.metric value`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Dict

import numpy as np
import torch

from mapush.env.metrics import ENDINGS, FirstEpisodes
from mapush.env.terminations import MAX_EPISODE_LENGTH, ROBOT_HEIGHT
from mapush.evaluation.results import Evaluation
from mapush.evaluation.traces import Trace
from mapush.objects import CUBOID
from mapush.reports.evaluation_report import RECORDINGS, Setting, write_evaluation
from mapush.sim.physics import STEP_DT

SHARES = (0.6, 0.15, 0.1, 0.15)  # of `ENDINGS`
UPRIGHT, ON_ITS_SIDE = (1.0, 0.0, 0.0, 0.0), (0.6, 0.8, 0.0, 0.0)


def made_up_trace(num_envs: int, seed: int, max_length: int = MAX_EPISODE_LENGTH + 1) -> Trace:
    """Return episodes of two robots and a box that nobody has simulated."""
    rng = np.random.default_rng(seed)
    endings = rng.choice(len(ENDINGS), num_envs, p=SHARES)
    lengths = np.where(endings == ENDINGS.index("timeout"), max_length, rng.integers(5, max_length, num_envs))
    bearing, distance = rng.uniform(0.0, 2.0 * np.pi, num_envs), rng.uniform(1.5, 3.0, num_envs)
    goals = (distance * np.stack((np.cos(bearing), np.sin(bearing)))).T.astype(np.float32)
    qpos = [_positions(rng, ENDINGS[ending], length, goal) for ending, length, goal in zip(endings, lengths, goals)]
    outcome = {name: endings == index for index, name in enumerate(ENDINGS)}
    outcome.update(
        length=lengths,
        finished_time=np.where(outcome["success"], lengths, MAX_EPISODE_LENGTH) * STEP_DT,
        collaboration=rng.random(num_envs, dtype=np.float32),
    )
    outcome["return"] = rng.normal(size=num_envs).astype(np.float32)
    commands = [rng.uniform(-0.5, 0.5, (length, 2, 3)).astype(np.float32) for length in lengths]
    return Trace(qpos, commands, goals, outcome)


def _positions(rng: np.random.Generator, ending: str, length: int, goal: np.ndarray) -> np.ndarray:
    """Return an episode in which the object drifts to the goal, or to elsewhere, and its end is as `ending` says."""
    rows = rng.normal(0.0, 0.3, (length + 1, 2 * 19 + 7)).astype(np.float32)
    aim = goal * (0.8 if ending == "success" else rng.uniform(-0.2, 0.25)) + rng.normal(0.0, 0.1, 2)
    wobble = rng.normal(0.0, 0.005, (length + 1, 2)).cumsum(axis=0)
    centre = np.linspace(0.0, 1.0, length + 1)[:, None] * (aim - wobble[-1]) + wobble - wobble[0]
    yaw = rng.uniform(-np.pi, np.pi) + np.linspace(0.0, rng.normal(), length + 1)
    zero = np.zeros_like(yaw)
    rows[:, -7:-5], rows[:, -5] = centre, CUBOID.spawn_height
    rows[:, -4:] = np.stack((np.cos(yaw / 2), zero, zero, np.sin(yaw / 2)), axis=1)
    for start, side in ((0, -1.2), (19, 1.2)):
        rows[:, start : start + 2] = centre + (side, 0.0)
        rows[:, start + 2], rows[:, start + 3 : start + 7] = ROBOT_HEIGHT, UPRIGHT
    if ending == "collision":
        rows[-1, 19:21] = rows[-1, :2] + np.float32(0.1)
    if ending == "fall":
        rows[-1, 22:26] = ON_ITS_SIDE
    return rows


def evaluation_of(trace: Trace, step: int, name: str) -> Evaluation:
    """Return what the episodes of `trace` score."""
    first = FirstEpisodes(len(trace))
    first.add(torch.ones(len(trace), dtype=torch.bool), {key: torch.from_numpy(v) for key, v in trace.outcome.items()})
    return Evaluation(Path(name), step, first.metrics(), name, trace)


def measure(num_envs: int, policies: int, folder: Path) -> Dict[str, float]:
    """Write a report to `folder`, and return what that cost."""
    groups = {}
    for index in range(policies):
        name = f"policy {index + 1}"
        groups[name] = [evaluation_of(made_up_trace(num_envs, index), 10_000_000 * (index + 1), name)]
    start, cpu = time.perf_counter(), time.process_time()
    page = write_evaluation(folder, Setting("cuboid", num_envs, 0, "none"), groups)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    size = page.stat().st_size / 2**20
    recordings = sum(path.stat().st_size for path in (folder / RECORDINGS).glob("*")) / 2**20
    whole = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "page_mib": size,
        "recordings_mib": recordings,
        "folder_mib": whole,
    }


def main() -> None:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-envs", type=int, default=300)
    parser.add_argument("--policies", type=int, default=1)
    parser.add_argument("--out", type=Path, help="keep the report here")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for name, value in measure(options.num_envs, options.policies, options.out or Path(scratch)).items():
            print(f"report.{name} {value:.2f}")


if __name__ == "__main__":
    main()
