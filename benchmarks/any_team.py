"""Success of a policy for any team, by object and number of robots: `python -m benchmarks.any_team --checkpoint RUN`.

The rows are the objects of its training and three that are held out, the columns are team sizes. Each cell is the share
of episodes that succeed, with its 95 % interval, as `mapush evaluate OBJECT --num-agents N` measures it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from mapush.assembly import resolve, share_the_cores
from mapush.config import Backend, MixedRunConfig, SimConfig
from mapush.errors import CheckpointError
from mapush.evaluate import evaluate
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.evaluation.policy_formats import is_run
from mapush.evaluation.results import Evaluation
from mapush.own import own_objects
from mapush.run import checkpoint as checkpoints

HELD_OUT = Path(__file__).resolve().parents[1] / "examples" / "held_out_objects.py"
HELD_OUT_NAMES = ("HEXAGON", "LBLOCK", "BAR")
TEAM_SIZES = (2, 3, 4)
EPISODES = 512  # of each cell, one in each env


@dataclasses.dataclass(frozen=True)
class Cell:
    """How often one object arrives with one team.

    Attributes:
      object: name of the object.
      num_agents: robots in the team.
      trained: whether object and team size were in the training.
      evaluation: what was measured.
    """

    object: str
    num_agents: int
    trained: bool
    evaluation: Evaluation

    def __str__(self) -> str:
        metrics = self.evaluation.metrics
        low, high = metrics.success_rate_interval
        text = f"{metrics.success_rate:.3f} ({low:.3f} to {high:.3f})"
        if not self.trained:
            text += " *"
        return text

    def as_dict(self) -> Dict[str, Any]:
        """Return the cell as JSON types."""
        values = {"object": self.object, "num_agents": self.num_agents, "trained": self.trained}
        return {**values, **self.evaluation.as_dict()}


def measure(path: Path, sizes: Sequence[int], episodes: int, seed: int, backend: Backend) -> List[Cell]:
    """Evaluate a policy for any team with every object and team size.

    Args:
      path: a checkpoint of the task `any`, or the folder of its run, whose newest checkpoint is taken.
      sizes: the team sizes.
      episodes: of each cell.
      seed: of the initial states.
      backend: the simulator.

    Raises:
      CheckpointError: it is not a policy for any team.
    """
    if is_run(path):
        path = checkpoints.latest(path)
    trained = checkpoints.load(path).config
    if not isinstance(trained, MixedRunConfig):
        expected = "a policy that mapush train any made"
        raise CheckpointError("not a policy for any team", where=str(path), got=trained.task_name, expected=expected)
    held_out = [own_objects.load_object(f"{HELD_OUT}:{name}").name for name in HELD_OUT_NAMES]
    cells: List[Cell] = []
    for name in (*trained.task.objects, *held_out):
        for size in sizes:
            sim = SimConfig(backend=backend)
            config = EvaluateConfig(name, (path,), num_agents=size, num_envs=episodes, seed=seed, sim=sim)
            began = time.monotonic()
            [evaluation] = evaluate(resolve(config)[0])
            in_training = name in trained.task.objects and size in trained.task.team_sizes
            cells.append(Cell(name, size, in_training, evaluation))
            print(f"{name}, {size} robots: {cells[-1]}, {time.monotonic() - began:.1f} s", flush=True)
    return cells


def table(cells: Sequence[Cell]) -> str:
    """Return the cells as a table in Markdown; a star marks what was not in the training."""
    rows: Dict[str, List[str]] = {}
    sizes: List[int] = []
    for cell in cells:
        rows.setdefault(cell.object, []).append(str(cell))
        if cell.num_agents not in sizes:
            sizes.append(cell.num_agents)
    header = ["object", *(f"{size} robots" for size in sizes)]
    lines = [header, ["---"] * len(header)]
    for name, row in rows.items():
        lines.append([name, *row])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Do what the command line asks for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.any_team", description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint of the task any, or its run")
    parser.add_argument("--num-agents", type=int, nargs="+", default=list(TEAM_SIZES), help="team sizes")
    parser.add_argument("--episodes", type=int, default=EPISODES, help="of each object and team size")
    parser.add_argument("--seed", type=int, default=0, help="seed for the initial states")
    parser.add_argument("--backend", default="auto", help="simulator: auto, mujoco or warp")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args(argv)
    share_the_cores()
    cells = measure(options.checkpoint, options.num_agents, options.episodes, options.seed, options.backend)
    print(table(cells))
    print("* the object or the team size was not in the training")
    if options.json is not None:
        values = [cell.as_dict() for cell in cells]
        options.json.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
