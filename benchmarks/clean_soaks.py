"""False alarms of the meters: `python -m benchmarks.clean_soaks [--cpu 200] [--gpu N] [--jobs 1]`.

Soaks subjects that leak nothing, of random kinds and sizes, and prints how many were called a leak or were not given
back. On a GPU, half of the soaks have a neighbour: a process that takes and frees its memory meanwhile. The exit code
is 1 after a false alarm.
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
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import numpy as np
import torch

from harness.memory.driver import DriverMeter
from harness.memory.soak import Subject, soak
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import CLEAN, ENDS, LEAK, NOT_ENOUGH

NEIGHBOUR = """
import random, time, torch
while True:
    taken = torch.empty(random.randint(1, 2000) << 20, dtype=torch.uint8, device="cuda")
    time.sleep(random.random())
    del taken
    torch.cuda.empty_cache()
    time.sleep(random.random())
"""


def arrays(draw: random.Random, device: str) -> Callable[[], Subject]:
    """Return a maker of a subject that computes on arrays of random sizes."""
    rows, columns = draw.randint(1, 2000), draw.randint(1, 50)

    def make() -> Subject:
        generator = np.random.default_rng(draw.randrange(1 << 30))

        def advance() -> None:
            size = (int(generator.integers(1, rows + 1)), columns)
            sorted(generator.normal(size=size).sum(axis=1).tolist())

        return Subject(advance, owners={"generator": generator})

    return make


def network(draw: random.Random, device: str) -> Callable[[], Subject]:
    """Return a maker of a subject that trains a network."""
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


def ring(draw: random.Random, device: str) -> Callable[[], Subject]:
    """Return a maker of a subject with bounded statistics that fill, and a cache that does."""
    bound, size = draw.randint(1, 2000), draw.randint(1, 5000)

    def make() -> Subject:
        recent: Any = collections.deque(maxlen=bound)
        cached = functools.lru_cache(maxsize=32)(lambda key: torch.zeros(size, device=device))

        def advance() -> None:
            recent.append({"return": random.random(), "length": 3})
            cached(random.randrange(48))

        return Subject(advance, owners={"recent": recent})

    return make


def buffer(draw: random.Random, device: str) -> Callable[[], Subject]:
    """Return a maker of a subject that collects rows and writes them out at intervals."""
    period, rows = draw.randint(2, 30), draw.randint(1, 500)

    def make() -> Subject:
        collected: List[float] = []

        def advance() -> None:
            collected.extend(float(row) for row in range(rows))
            if len(collected) >= period * rows:
                collected.clear()

        return Subject(advance, owners={"collected": collected})

    return make


def world(draw: random.Random, device: str) -> Callable[[], Subject]:
    """Return a maker of a subject that steps a small environment of HARL's kind."""
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


def log(draw: random.Random, device: str) -> Callable[[], Subject]:
    """Return a maker of a subject that writes scalars for TensorBoard."""
    tags = draw.randint(1, 12)

    def make() -> Subject:
        from torch.utils.tensorboard import SummaryWriter

        folder, step = tempfile.TemporaryDirectory(), [0]
        writer = SummaryWriter(folder.name)

        def advance() -> None:
            step[0] += 1
            for tag in range(tags):
                writer.add_scalar(f"tag {tag}", float(step[0]), step[0])

        def close() -> None:
            writer.close()
            folder.cleanup()

        return Subject(advance, close=close, owners={"writer": writer})

    return make


CPU = [arrays, network, ring, buffer, world, log]
GPU = [network, ring]


def clean_soak(number: int, on_gpu: bool) -> SoakReport:
    """Soak one subject that leaks nothing.

    Args:
      number: decides its kind and sizes.
      on_gpu: whether it uses a GPU.
    """
    torch.set_num_threads(1)
    gpu = DriverMeter() if on_gpu else None
    kinds = GPU if on_gpu else CPU
    draw = random.Random(number)
    kind = kinds[number % len(kinds)]
    make = kind(draw, "cuda" if on_gpu else "cpu")
    cycles = draw.randint(500, 5000) if on_gpu else draw.randint(60, 600)
    with _neighbour() if on_gpu and number // len(kinds) % 2 else contextlib.nullcontext():
        report = soak(make, warm_up=draw.randint(5, 30), cycles=cycles, gpu=gpu)
    if report.kind == LEAK or report.kept:
        print(f"soak {number} of {kind.__name__}\n{report}", flush=True)
    return report


@contextlib.contextmanager
def _neighbour() -> Iterator[None]:
    """Let another process take and free the memory of the GPU at random times."""
    process = subprocess.Popen([sys.executable, "-c", NEIGHBOUR])
    time.sleep(5.0)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Do what the command line asks for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clean_soaks", description=__doc__.splitlines()[0])
    parser.add_argument("--cpu", type=int, help="soaks on the CPU (default 200, with --gpu 0)")
    parser.add_argument("--gpu", type=int, default=0, help="soaks on a GPU, half of them with a neighbour")
    parser.add_argument("--seed", type=int, default=0, help="number of the first soak (default 0)")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side on the CPU (default 1)")
    options = parser.parse_args(argv)
    count = {"cpu": (0 if options.gpu else 200) if options.cpu is None else options.cpu, "gpu": options.gpu}
    alarms = 0
    for place, soaks in count.items():
        numbers = range(options.seed, options.seed + soaks)
        with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
            reports = list(pool.map(functools.partial(clean_soak, on_gpu=place == "gpu"), numbers))
        alarms += _count(place, reports)
    return int(alarms > 0)


def _count(place: str, reports: List[SoakReport]) -> int:
    """Print what became of the soaks in a place, and return how many were false alarms."""
    alarms = sum(report.kind == LEAK or bool(report.kept) for report in reports)
    kinds: Dict[str, int] = collections.Counter(report.kind for report in reports)
    if reports:
        print(f"{place}.soaks {len(reports)}\n{place}.alarms {alarms}")
    for kind in (CLEAN, ENDS, NOT_ENOUGH, LEAK):
        if kinds[kind]:
            print("{}.{} {}".format(place, kind.replace(" ", "_"), kinds[kind]), flush=True)
    return alarms


if __name__ == "__main__":
    raise SystemExit(main())
