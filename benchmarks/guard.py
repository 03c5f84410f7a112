"""The price of training under guard: `python -m benchmarks.guard [--sim warp] [--num-envs 64] [--pairs 20]`.

Two runs of the same task and seed, one of them guarded as `python -m harness train` guards it, take turns in one
process to collect a rollout and to learn from it. The slowdown is the median, over pairs of turns, of how much longer
the guarded one takes; the share is what the guard itself clocks. Both need an idle machine; processor time less so.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from typing import List, Optional, Sequence, Tuple

import torch

from harness.stack.guarded_training import GuardedEnv, GuardedEnvs
from mapush.config import RunConfig, SimConfig
from mapush.presets import preset
from mapush.train import Run

Turn = Tuple[float, float]  # seconds, and seconds of processors


def measure(config: RunConfig, pairs: int) -> Tuple[List[Turn], List[Turn], GuardedEnv]:
    """Return the turns without guard, those under guard, and the guard."""
    plain = Run.start(config)
    guarded_envs = GuardedEnvs()
    watched = Run.start(config, guarded_envs)
    for run in (plain, watched):
        run.iterate()
    guard = guarded_envs.built[0]
    guard.started, guard.seconds = time.perf_counter(), 0.0
    runs: List[Tuple[Run, List[Turn]]] = [(plain, []), (watched, [])]
    for pair in range(pairs):
        for run, turns in runs if pair % 2 else reversed(runs):
            turns.append(_turn(run))
            if run is plain:
                guard.started += turns[-1][0]  # of the time of the other run, the guard has no share
    for run, _ in runs:
        run.close()
    return runs[0][1], runs[1][1], guard


def _turn(run: Run) -> Turn:
    start, computed = time.perf_counter(), time.process_time()
    run.iterate()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - computed


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print lines of `name.metric value`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="cuboid", help="task whose default preset is run (default cuboid)")
    parser.add_argument("--sim", default="mujoco", help="simulator (default mujoco)")
    parser.add_argument("--num-envs", type=int, default=64, help="envs of each run (default 64)")
    parser.add_argument("--pairs", type=int, default=20, help="pairs of turns (default 20)")
    options = parser.parse_args(argv)
    sim = SimConfig(backend=options.sim)
    config = dataclasses.replace(preset(options.task, "default"), num_envs=options.num_envs, sim=sim)
    plain, watched, guard = measure(config, options.pairs)
    name = f"guard.{options.task}.{options.num_envs}"
    for index, what in enumerate(("slowdown_percent", "slowdown_of_processors_percent")):
        ratio = statistics.median(two[index] / one[index] for one, two in zip(plain, watched))
        print(f"{name}.{what} {100.0 * (ratio - 1.0):.2f}")
    print(f"{name}.share_percent {100.0 * guard.seconds / sum(turn[0] for turn in watched):.2f}")
    print(f"{name}.watched_percent {100.0 * guard.watched / guard.decisions:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
