"""False alarms of the meters: `python -m benchmarks.clean_soaks [--cpu 200] [--gpu N] [--jobs 1]`.

Soaks subjects of random kinds and sizes that do not leak, and prints how many were reported as leaking or as not
releasing their memory. On a GPU, half of the soaks have a neighbour: a process that takes and frees memory of the GPU
meanwhile. Exit code 1 after a false alarm.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import functools
import multiprocessing
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Callable, Iterator, List, Optional, Sequence

import numpy as np
import torch

from harness.memory.driver import DriverMeter
from harness.memory.soak import Subject, soak
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import CLEAN, ENDS, LEAK, NOT_ENOUGH

NEIGHBOUR_START_S = 5.0  # until the neighbour uses the GPU

Make = Callable[[], Subject]

NEIGHBOUR = """
import random, time, torch
while True:
    taken = torch.empty(random.randint(1, 2000) << 20, dtype=torch.uint8, device="cuda")
    time.sleep(random.random())
    del taken
    torch.cuda.empty_cache()
    time.sleep(random.random())
"""


def arrays(draw: random.Random, device: str) -> Make:
    """Return a function that makes a subject: it computes on arrays of random sizes.

    Args:
      draw: decides the sizes; so in all functions below.
      device: where it computes; so in all functions below.
    """
    rows, columns = draw.randint(1, 2000), draw.randint(1, 50)

    def make() -> Subject:
        generator = np.random.default_rng(draw.randrange(1 << 30))

        def advance() -> None:
            size = (int(generator.integers(1, rows + 1)), columns)
            sorted(generator.normal(size=size).sum(axis=1).tolist())

        return Subject(advance, owners={"generator": generator})

    return make


def network(draw: random.Random, device: str) -> Make:
    """Return a function that makes a subject: it trains a network."""
    width, batch = draw.randint(4, 128), draw.randint(1, 256)

    def make() -> Subject:
        model = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, 1))
        model.to(device)
        optimizer = torch.optim.Adam(model.parameters())

        def advance() -> None:
            optimizer.zero_grad(set_to_none=True)
            model(torch.randn(batch, width, device=device)).square().mean().backward()
            optimizer.step()

        return Subject(advance, owners={"model": model, "optimizer": optimizer})

    return make


def ring(draw: random.Random, device: str) -> Make:
    """Return a function that makes a subject: it fills bounded statistics and a bounded cache."""
    bound, size = draw.randint(1, 2000), draw.randint(1, 5000)

    def make() -> Subject:
        recent: Any = collections.deque(maxlen=bound)
        cached = functools.lru_cache(maxsize=32)(lambda key: torch.zeros(size, device=device))

        def advance() -> None:
            recent.append({"return": random.random(), "length": 3})
            cached(random.randrange(48))

        return Subject(advance, owners={"recent": recent})

    return make


def buffer(draw: random.Random, device: str) -> Make:
    """Return a function that makes a subject: it collects rows and drops them at intervals."""
    period, rows = draw.randint(2, 30), draw.randint(1, 500)

    def make() -> Subject:
        collected: List[float] = []

        def advance() -> None:
            collected.extend(map(float, range(rows)))
            if len(collected) >= period * rows:
                collected.clear()

        return Subject(advance, owners={"collected": collected})

    return make


def world(draw: random.Random, device: str) -> Make:
    """Return a function that makes a subject: it steps a small environment with HARL's interface."""
    from harness.toys import make_pointmass

    envs, agents, seed = draw.randint(2, 20), draw.randint(2, 4), draw.randrange(1000)

    def make() -> Subject:
        env = make_pointmass(envs, agents, seed)
        env.reset()
        generator = np.random.default_rng(seed)

        def advance() -> None:
            env.step(generator.uniform(-1.0, 1.0, (envs, agents, 3)).astype(np.float32))

        return Subject(advance, close=env.close, owners={"env": env})

    return make


def log(draw: random.Random, device: str) -> Make:
    """Return a function that makes a subject: it writes scalars for TensorBoard."""
    tags = draw.randint(1, 12)

    def make() -> Subject:
        from torch.utils.tensorboard import SummaryWriter

        folder = tempfile.TemporaryDirectory()
        writer = SummaryWriter(folder.name)
        step = 0

        def advance() -> None:
            nonlocal step
            step += 1
            for tag in range(tags):
                writer.add_scalar(f"tag {tag}", float(step), step)

        def close() -> None:
            writer.close()
            folder.cleanup()

        return Subject(advance, close=close, owners={"writer": writer})

    return make


CPU = [arrays, network, ring, buffer, world, log]
GPU = [network, ring]


def soak_on_cpu(number: int) -> SoakReport:
    """Soak a subject that does not leak.

    Args:
      number: decides its kind and sizes.
    """
    torch.set_num_threads(1)
    kind, draw = CPU[number % len(CPU)], random.Random(number)
    make = kind(draw, "cpu")
    cycles = draw.randint(60, 600)
    report = soak(make, warm_up=draw.randint(5, 30), cycles=cycles)
    _print_alarm(number, kind, report)
    return report


def soak_on_gpu(number: int) -> SoakReport:
    """Soak a subject that does not leak, on a GPU.

    Args:
      number: decides its kind and sizes, and whether it has a neighbour.
    """
    torch.set_num_threads(1)
    gpu = DriverMeter()
    kind, draw = GPU[number % len(GPU)], random.Random(number)
    make = kind(draw, "cuda")
    cycles = draw.randint(500, 5000)
    with contextlib.ExitStack() as context:
        if number // len(GPU) % 2:
            context.enter_context(_neighbour())
        report = soak(make, warm_up=draw.randint(5, 30), cycles=cycles, gpu=gpu)
    _print_alarm(number, kind, report)
    return report


def _print_alarm(number: int, kind: Callable[..., Make], report: SoakReport) -> None:
    if _is_alarm(report):
        print(f"soak {number} of {kind.__name__}\n{report}", flush=True)


def _is_alarm(report: SoakReport) -> bool:
    return report.kind == LEAK or bool(report.kept)


@contextlib.contextmanager
def _neighbour() -> Iterator[None]:
    """Let a second process take and free memory of the GPU at random times."""
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR])
    time.sleep(NEIGHBOUR_START_S)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clean_soaks", description="Look for false alarms.")
    parser.add_argument("--cpu", type=int, help="soaks on the CPU (default 200, with --gpu 0)")
    parser.add_argument("--gpu", type=int, default=0, help="soaks on a GPU, half of them with a neighbour")
    parser.add_argument("--seed", type=int, default=0, help="number of the first soak (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="parallel processes (default 1)")
    options = parser.parse_args(argv)
    on_cpu = options.cpu
    if on_cpu is None:
        on_cpu = 0 if options.gpu else 200
    alarms = 0
    for place, soak_one, count in (("cpu", soak_on_cpu, on_cpu), ("gpu", soak_on_gpu, options.gpu)):
        numbers = range(options.seed, options.seed + count)
        with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
            reports = list(pool.map(soak_one, numbers))
        alarms += _print_counts(place, reports)
    return int(alarms > 0)


def _print_counts(place: str, reports: List[SoakReport]) -> int:
    """Print the number of soaks by verdict, and return the number of false alarms."""
    if not reports:
        return 0
    alarms = sum(map(_is_alarm, reports))
    print(f"{place}.soaks {len(reports)}")
    print(f"{place}.alarms {alarms}")
    kinds = [report.kind for report in reports]
    for kind in (CLEAN, ENDS, NOT_ENOUGH, LEAK):
        if kind in kinds:
            name = kind.replace(" ", "_")
            print(f"{place}.{name} {kinds.count(kind)}", flush=True)
    return alarms


if __name__ == "__main__":
    raise SystemExit(main())
