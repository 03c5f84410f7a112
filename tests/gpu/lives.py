"""A short life of a run for each object, through the command line: trained, killed, resumed, evaluated."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

import pynvml

from mapush.objects import OBJECTS
from mapush.run import checkpoint as checkpoints

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
      pids: of the processes of its training.
    """

    folder: Path
    peak: int
    pids: Tuple[int, int]


class Lives:
    """Starts a life for each object, side by side, because starting processes takes the most time.

    Args:
      folder: for the runs.

    Attributes:
      lost_before: what was taken of the GPU at the start and is no process's [bytes].
      futures: a `Life` for each object.
    """

    def __init__(self, folder: Path) -> None:
        pynvml.nvmlInit()
        self.lost_before = held_by_nobody()
        self._pool = ThreadPoolExecutor(len(OBJECTS))
        self.futures = {name: self._pool.submit(live, name, folder / name) for name in OBJECTS}

    def __enter__(self) -> Lives:
        return self

    def __exit__(self, *error: Any) -> None:
        self._pool.shutdown()


def live(name: str, folder: Path) -> Life:
    """Train and kill, resume for two rollouts, evaluate."""
    killed, peak = train_until_killed(name, folder)
    saved = checkpoints.step_of(checkpoints.latest(folder))
    last = saved + 2 * ROLLOUT
    process = start(folder, "mapush.train", "--resume", folder, "--total-steps", last)
    peak = max(peak, peak_until(process, lambda: process.poll() is not None))
    said = said_by(folder)
    assert process.returncode == 0, said
    assert f"{saved + ROLLOUT}/{last}" in said, said
    assert "done; evaluate with" in said, said
    words = ["--checkpoint", checkpoints.latest(folder), "--num-envs", EPISODES, "--json", folder / "results.json"]
    run("mapush.evaluate", name, "--sim", SIM, *words)
    return Life(folder, peak, (killed, process.pid))


def train_until_killed(name: str, folder: Path) -> Tuple[int, int]:
    """Train without end and kill the process after its first checkpoint; return its id and its peak [bytes]."""
    words = [name, "--sim", SIM, "--num-envs", NUM_ENVS, "--num-steps", NUM_STEPS, "--checkpoint-every", 2 * ROLLOUT]
    process = start(folder, "mapush.train", *words, "--run-dir", folder)
    try:
        peak = peak_until(process, lambda: list(folder.glob("checkpoints/step_*.pt")))
        assert process.poll() is None, said_by(folder)
    finally:
        process.kill()
        process.wait()
    return process.pid, peak


def peak_until(process: subprocess.Popen, happened: Any) -> int:
    """Wait for something while a process lives; return the most that it held of the GPU's memory [bytes]."""
    peak, deadline = 0, time.monotonic() + PATIENCE
    while not happened() and process.poll() is None:
        assert time.monotonic() < deadline, f"{process.args} does not end"
        peak = max(peak, held().get(process.pid, 0))
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


def held() -> Dict[int, int]:
    """Return what each process holds of the GPU's memory [bytes], by its id."""
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(0))
    return {process.pid: process.usedGpuMemory for process in processes}


def held_by_nobody() -> int:
    """Return what is taken of the GPU's memory and is no process's [bytes]: the driver's, or lost."""
    return pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used - sum(held().values())
