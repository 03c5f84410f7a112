"""Speed over ranks: `python -m benchmarks.ranks [--ranks 1 2 4] [--num-envs 8192]`, on GPUs or, with gloo, on the CPU.

Each number of ranks trains a run of its own, with as many envs on each rank (weak scaling) or, with `--strong`, as many
in all. The runs take turns, so that a machine that becomes slower slows all of them. Prints lines of
`name.metric value`: env-steps/s, its share of linear, and what the comparison of the replicas costs.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import statistics
import time
from typing import Any, Dict, List, Optional, Sequence

from harness.stack.rank_processes import RankProcesses
from mapush.config import RunConfig, SimConfig, steps_per_decision
from mapush.distributed.ranks import Ranks
from mapush.presets import preset

WARM_UP = 4  # iterations until every graph is recorded
MOST_S = 1200.0  # of a turn, and of a start, in which kernels are compiled
CHECKS = 10  # comparisons of the replicas that are timed together

_of_this_rank: Dict[str, Any] = {}


@dataclasses.dataclass(frozen=True)
class Job:
    """What is trained.

    Attributes:
      task: name of the task.
      num_envs: envs of all ranks.
      num_steps: decisions in a rollout; each is held for some env steps.
      backend: the simulator.
      device: cpu or cuda.
    """

    task: str
    num_envs: int
    num_steps: int
    backend: str
    device: str


def start(ranks: Ranks, job: Job) -> None:
    """Start a run on this rank, and train until everything is compiled and recorded."""
    from mapush.train import Run

    backend: Any = job.backend
    config = dataclasses.replace(
        settings_of(job),
        num_envs=job.num_envs,
        num_steps=job.num_steps,
        device=job.device,
        sim=SimConfig(backend, threads=_threads(backend)),
    )
    run = _of_this_rank["run"] = Run.start(config, ranks=ranks)
    for _ in range(WARM_UP):
        run.iterate()


def settings_of(job: Job) -> RunConfig:
    """Return the preset that a job changes: the one for a GPU, or the default one for the CPU."""
    if job.device == "cuda":
        return preset(job.task, "gpu")
    return preset(job.task, "default")


def _threads(backend: str) -> int:
    """Return the threads of a rank's simulator: on the CPU, every rank has one core."""
    if backend == "mujoco":
        return 1
    return 0


def seconds_of_iterations(ranks: Ranks, count: int) -> float:
    """Return how long some iterations of all ranks take [s]."""
    run = _of_this_rank["run"]
    begin = _moment(ranks)
    for _ in range(count):
        run.iterate()
    return _moment(ranks) - begin


def seconds_of_a_check(ranks: Ranks) -> float:
    """Return how long a comparison of the replicas takes [s]."""
    run = _of_this_rank["run"]
    begin = _moment(ranks)
    for _ in range(CHECKS):
        run.require_equal_replicas()
    return (_moment(ranks) - begin) / CHECKS


def _moment(ranks: Ranks) -> float:
    """Return the time [s] at which all ranks and their devices have finished."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    ranks.barrier()
    return time.perf_counter()


def measure(jobs: Dict[int, Job], iterations: int, repeats: int) -> Dict[str, float]:
    """Return the figures of each number of ranks.

    Args:
      jobs: what is trained, by the number of ranks, the smallest first.
      iterations: iterations in a turn.
      repeats: turns of each; the median counts.
    """
    with contextlib.ExitStack() as stack:
        processes: Dict[int, RankProcesses] = {}
        for size, job in jobs.items():
            ranks = RankProcesses(size, device=job.device, answer_s=MOST_S)
            processes[size] = stack.enter_context(contextlib.closing(ranks))
            ranks.call(start, job)
        seconds: Dict[int, List[float]] = {size: [] for size in jobs}
        check_seconds: Dict[int, List[float]] = {size: [] for size in jobs}
        for _ in range(repeats):
            for size, ranks in processes.items():
                seconds[size].append(max(ranks.call(seconds_of_iterations, iterations)) / iterations)
                check_seconds[size].append(max(ranks.call(seconds_of_a_check)))
    return _figures(jobs, seconds, check_seconds)


def _figures(
    jobs: Dict[int, Job], seconds: Dict[int, List[float]], check_seconds: Dict[int, List[float]]
) -> Dict[str, float]:
    """Return speed, share of linear and cost of the check, from the seconds of an iteration and of a check."""
    found: Dict[str, float] = {}
    of_one: Optional[float] = None
    for size, job in jobs.items():
        iteration = statistics.median(seconds[size])
        rate = job.num_envs * job.num_steps * steps_per_decision(settings_of(job)) / iteration
        of_one = of_one or rate / size
        check = statistics.median(check_seconds[size])
        every = settings_of(job).replica_check_every
        name = f"{job.task}.{size}"
        found[f"{name}.env_steps_per_s"] = rate
        found[f"{name}.percent_of_linear"] = 100.0 * rate / (size * of_one)
        found[f"{name}.iteration_ms"] = 1e3 * iteration
        found[f"{name}.replica_check_ms"] = 1e3 * check
        found[f"{name}.replica_check_percent"] = 100.0 * check / (every * iteration)
    return found


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2], help="numbers of ranks (default 1 2)")
    parser.add_argument("--task", default="cuboid", help="the task (default cuboid)")
    parser.add_argument("--num-envs", type=int, default=64, help="envs of a rank (default 64)")
    parser.add_argument("--strong", action="store_true", help="--num-envs are those of all ranks together")
    parser.add_argument("--num-steps", type=int, default=20, help="decisions in a rollout (default 20)")
    parser.add_argument("--iterations", type=int, default=5, help="iterations in a turn (default 5)")
    parser.add_argument("--repeats", type=int, default=5, help="turns; the median counts (default 5)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda needs a GPU for each rank")
    options = parser.parse_args(argv)
    backend = "mujoco"
    if options.device == "cuda":
        backend = "warp"
    jobs: Dict[int, Job] = {}
    for size in sorted(options.ranks):
        num_envs = options.num_envs
        if not options.strong:
            num_envs *= size
        jobs[size] = Job(options.task, num_envs, options.num_steps, backend, options.device)
    for name, value in measure(jobs, options.iterations, options.repeats).items():
        print(f"{name} {value:.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
