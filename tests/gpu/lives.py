"""A short life of a run for each object, through the command line: trained, killed, resumed, evaluated."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, List, NamedTuple

import pynvml

from mapush import checkpoint as checkpoints
from mapush.objects import OBJECTS

SIM = "warp"
NUM_ENVS, NUM_STEPS, STEPS_PER_DECISION = 500, 4, 10
ROLLOUT = NUM_ENVS * NUM_STEPS * STEPS_PER_DECISION  # env steps
EPISODES = 37  # of the evaluation
PATIENCE = 300.0  # kernels may have to be compiled [s]


class Life(NamedTuple):
    """What became of one run.

    Attributes:
      folder: of the run.
      peak: of the GPU's memory that its training took, before and after the kill [bytes].
    """

    folder: Path
    peak: int


class Lives:
    """Starts a life for each object, side by side, because starting processes takes the most time.

    Args:
      folder: for the runs.

    Attributes:
      others_before: what other processes than this one held of the GPU at the start [bytes].
      futures: a `Life` for each object.
    """

    def __init__(self, folder: Path) -> None:
        pynvml.nvmlInit()
        self.others_before = held_by_others()
        self._pool = ThreadPoolExecutor(len(OBJECTS))
        self.futures = {name: self._pool.submit(live, name, folder / name) for name in OBJECTS}

    def __enter__(self) -> Lives:
        return self

    def __exit__(self, *error: Any) -> None:
        self._pool.shutdown()


def live(name: str, folder: Path) -> Life:
    """Train and kill, resume for two rollouts, evaluate."""
    peak = train_until_killed(name, folder)
    saved = checkpoints.step_of(checkpoints.latest(folder))
    last = saved + 2 * ROLLOUT
    process = start(folder, "mapush.train", "--resume", folder, "--total-steps", last)
    peak = max(peak, peak_until(process, lambda: process.poll() is not None))
    said = said_by(folder)
    assert process.returncode == 0, said
    assert "{}/{}".format(saved + ROLLOUT, last) in said and "done; evaluate with" in said, said
    words = ["--checkpoint", checkpoints.latest(folder), "--num-envs", EPISODES, "--json", folder / "results.json"]
    run("mapush.evaluate", name, "--sim", SIM, *words)
    return Life(folder, peak)


def train_until_killed(name: str, folder: Path) -> int:
    """Train without end and kill the process after its first checkpoint; return the peak of its memory [bytes]."""
    words = [name, "--sim", SIM, "--num-envs", NUM_ENVS, "--num-steps", NUM_STEPS, "--checkpoint-every", 2 * ROLLOUT]
    process = start(folder, "mapush.train", *words, "--run-dir", folder)
    try:
        peak = peak_until(process, lambda: list(folder.glob("checkpoints/step_*.pt")))
        assert process.poll() is None, said_by(folder)
    finally:
        process.kill()
        process.wait()
    return peak


def peak_until(process: subprocess.Popen, happened: Any) -> int:
    """Wait for something while a process lives; return the most that it held of the GPU's memory [bytes]."""
    peak, deadline = 0, time.monotonic() + PATIENCE
    while not happened() and process.poll() is None:
        assert time.monotonic() < deadline, "{} does not end".format(process.args)
        peak = max(peak, held_by(process.pid))
        time.sleep(0.05)
    return peak


def run(module: str, *words: Any) -> str:
    """Run a module to its end; it must go well. Return what it said."""
    ended = subprocess.run(command(module, *words), capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def start(folder: Path, module: str, *words: Any) -> subprocess.Popen:
    """Start a module whose console goes to a file beside `folder`."""
    with folder.with_suffix(".txt").open("a") as console:
        return subprocess.Popen(command(module, *words), stdout=console, stderr=subprocess.STDOUT)


def said_by(folder: Path) -> str:
    """Return what the processes of a run have said so far."""
    return folder.with_suffix(".txt").read_text()


def command(module: str, *words: Any) -> List[str]:
    """Return the words of a command line."""
    return [sys.executable, "-m", module] + [str(word) for word in words]


def held_by(pid: int) -> int:
    """Return what a process holds of the GPU's memory [bytes]; 0 for one that is not there."""
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(0))
    return sum(process.usedGpuMemory for process in processes if process.pid == pid)


def held_by_others() -> int:
    """Return what is taken of the GPU's memory by anyone but this process [bytes]."""
    return pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used - held_by(os.getpid())
