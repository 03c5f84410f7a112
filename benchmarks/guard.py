"""The price of training under guard: `python -m benchmarks.guard [--sim warp] [--num-envs 64] [--pairs 20]`.

Two runs of the same task and seed take turns in one process: each collects a rollout and learns from it. One of them is
guarded as by `python -m harness train`. The slowdown is the median, over pairs of turns, of how much longer the guarded
run takes. The share is the time that the guard itself measures. Both need an idle machine; CPU time needs it less.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from typing import List, NamedTuple, Optional, Sequence, Tuple

import torch

from harness.stack.guarded_training import GuardedEnv, GuardedEnvs
from mapush.config import RunConfig, SimConfig
from mapush.presets import preset
from mapush.train import Run


class Turn(NamedTuple):
    """One turn of a run: wall time [s] and CPU time of all threads [s]."""

    wall: float
    cpu: float


def measure(config: RunConfig, pairs: int) -> Tuple[List[Turn], List[Turn], GuardedEnv]:
    """Return the turns of the plain run, the turns of the guarded run, and the guard.

    Args:
      config: what to run.
      pairs: number of pairs of turns.
    """
    plain = Run.start(config)
    guarded_envs = GuardedEnvs()
    watched = Run.start(config, guarded_envs)
    for run in (plain, watched):
        run.iterate()
    guard = guarded_envs.built[0]
    guard.started = time.perf_counter()
    guard.seconds = 0.0
    plain_turns: List[Turn] = []
    watched_turns: List[Turn] = []
    for pair in range(pairs):
        if pair % 2 == 0:
            watched_turns.append(_turn(watched))
        plain_turns.append(_turn(plain))
        guard.started += plain_turns[-1].wall  # the guard has no share of the plain run's time
        if pair % 2 == 1:
            watched_turns.append(_turn(watched))
    plain.close()
    watched.close()
    return plain_turns, watched_turns, guard


def _turn(run: Run) -> Turn:
    start, computed = time.perf_counter(), time.process_time()
    run.iterate()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Turn(wall=time.perf_counter() - start, cpu=time.process_time() - computed)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print lines of `name.metric value`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.guard", description="Measure the price of training under guard."
    )
    parser.add_argument("--task", default="cuboid", help="task whose default preset is run (default cuboid)")
    parser.add_argument("--sim", default="mujoco", help="simulator (default mujoco)")
    parser.add_argument("--num-envs", type=int, default=64, help="envs of each run (default 64)")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of turns (default 20)")
    options = parser.parse_args(argv)
    sim = SimConfig(backend=options.sim)
    config = dataclasses.replace(preset(options.task, "default"), num_envs=options.num_envs, sim=sim)
    plain, watched, guard = measure(config, options.pairs)
    name = f"guard.{options.task}.{options.num_envs}"
    wall_ratio = statistics.median(two.wall / one.wall for one, two in zip(plain, watched))
    cpu_ratio = statistics.median(two.cpu / one.cpu for one, two in zip(plain, watched))
    print(f"{name}.slowdown_percent {100.0 * (wall_ratio - 1.0):.2f}")
    print(f"{name}.slowdown_of_processors_percent {100.0 * (cpu_ratio - 1.0):.2f}")
    watched_time = sum(turn.wall for turn in watched)
    print(f"{name}.share_percent {100.0 * guard.seconds / watched_time:.2f}")
    print(f"{name}.watched_percent {100.0 * guard.watched / guard.decisions:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
