"""False alarms: `python -m benchmarks.clean_runs [--light 1000] [--cuboid 100]`.

Runs `check_env` on environments without a bug, with random seeds and sizes, and prints which contracts tripped. The
exit code is 1 if one did.
"""

from __future__ import annotations

import argparse
import collections
import functools
import multiprocessing
import random
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Callable, Optional, Sequence

from harness.contracts import Report, check_env
from harness.toys import make_pointmass, make_push


def light(draw: random.Random) -> Callable[..., Any]:
    """Return a factory of the light toy with random sizes."""
    envs = draw.randint(2, 12)
    agents = draw.randint(2, 4)
    horizon = draw.randint(5, 40)
    discrete = draw.random() < 0.2
    # of a module, not of this function: some contracts build it in a new process
    return functools.partial(make_pointmass, num_envs=envs, num_agents=agents, horizon=horizon, discrete=discrete)


def cuboid(draw: random.Random) -> Callable[..., Any]:
    """Return a factory of the pushing task with a random size and decision rate."""
    envs = draw.randint(2, 7)
    steps_per_decision = draw.choice((1, 5, 10, 25))

    def make(num_envs: int = envs, seed: int = 0) -> Any:
        return make_push(num_envs, seed, "cuboid", steps_per_decision)

    return make


RUNS_PER_LINE = 20
WORLDS = {"light": light, "cuboid": cuboid}


def clean_run(name: str, number: int, budget_s: float, contracts: Optional[Sequence[str]] = None) -> Report:
    """Check a world once.

    Args:
      name: of the world, a key of `WORLDS`.
      number: of the run; it determines sizes and seed.
      budget_s: for all contracts together [s].
      contracts: names of the contracts to run; all by default.
    """
    draw = random.Random(f"{name} {number}")
    report = check_env(WORLDS[name](draw), contracts=contracts, seed=draw.randrange(1 << 31), budget_s=budget_s)
    if not report.ok:
        print(f"{name} run {number}\n{report}", flush=True)
    return report


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Do what the command line asks for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clean_runs", description=__doc__.splitlines()[0])
    parser.add_argument("--light", type=int, default=1000, help="runs on the light toy (default 1000)")
    parser.add_argument("--cuboid", type=int, default=100, help="runs on the pushing task (default 100)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first run, to repeat a part (default 0)")
    parser.add_argument("--budget", type=float, default=60.0, metavar="SECONDS", help="for a run (default 60)")
    parser.add_argument("--contracts", nargs="+", metavar="NAME", help="run only these contracts")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time (default 1)")
    options = parser.parse_args(argv)
    tripped = 0
    for name in WORLDS:
        began = time.perf_counter()
        numbers = range(options.seed, options.seed + getattr(options, name))
        with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
            run = functools.partial(clean_run, name, budget_s=options.budget, contracts=options.contracts)
            broken: collections.Counter = collections.Counter()
            bad = done = 0
            for report in pool.map(run, numbers):
                done += 1
                bad += not report.ok
                broken.update([finding.contract for finding in report.findings])
                if done % RUNS_PER_LINE == 0:
                    print(f"{name}: {done} runs, {bad} tripped, {time.perf_counter() - began:.0f} s", flush=True)
        tripped += bad
        print(f"{name}.runs {done}")
        print(f"{name}.tripped {bad}")
        print(f"{name}.seconds {time.perf_counter() - began:.0f}")
        for contract, count in sorted(broken.items()):
            print(f"{name}.tripped.{contract} {count}")
    return int(tripped > 0)


if __name__ == "__main__":
    raise SystemExit(main())
