"""A short run for each object, through the command line: trained, killed, resumed and evaluated."""

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
EPISODES = 37  # episodes of the evaluation
TIMEOUT_S = 300.0  # long enough to compile the kernels [s]


class Life(NamedTuple):
    """The result of one run.

    Attributes:
      folder: folder of the run.
      peak: peak of the GPU memory of its training, before and after the kill [bytes].
      pids: ids of the two processes of its training.
    """

    folder: Path
    peak: int
    pids: Tuple[int, int]


class Lives:
    """Run `live` for each object, in parallel, because starting the processes takes most of the time.

    Args:
      folder: folder for the runs.

    Attributes:
      lost_before: GPU memory that belonged to no process at the start [bytes].
      futures: a future `Life` for each object.
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
    """Train, kill the training, resume it for two rollouts, and evaluate."""
    killed, peak = train_until_killed(name, folder)
    saved = checkpoints.step_of(checkpoints.latest(folder))
    last = saved + 2 * ROLLOUT
    process = start(folder, "mapush.train", "--resume", folder, "--total-steps", last, "--console", "harl")
    peak = max(peak, peak_until(process, lambda: process.poll() is not None))
    said = said_by(folder)
    assert process.returncode == 0, said
    assert f"{saved + ROLLOUT}/{last}" in said, said
    assert "done; evaluate with" in said, said
    words = ["--checkpoint", checkpoints.latest(folder), "--num-envs", EPISODES, "--json", folder / "results.json"]
    run("mapush.evaluate", name, "--sim", SIM, *words)
    return Life(folder, peak, (killed, process.pid))


def train_until_killed(name: str, folder: Path) -> Tuple[int, int]:
    """Train, and kill the process after its first checkpoint; return its id and its peak of GPU memory [bytes]."""
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
    """Wait until `happened` or the end of the process; return its peak of GPU memory [bytes]."""
    peak, deadline = 0, time.monotonic() + TIMEOUT_S
    while not happened() and process.poll() is None:
        assert time.monotonic() < deadline, f"{process.args} does not end"
        peak = max(peak, held().get(process.pid, 0))
        time.sleep(0.05)
    return peak


def run(module: str, *words: Any) -> str:
    """Run a module, which must succeed, and return what it printed."""
    ended = subprocess.run(command(module, *words), capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def start(folder: Path, module: str, *words: Any) -> subprocess.Popen:
    """Start a module whose output goes to a file next to `folder`."""
    with folder.with_suffix(".txt").open("a") as console:
        return subprocess.Popen(command(module, *words), stdout=console, stderr=subprocess.STDOUT)


def said_by(folder: Path) -> str:
    """Return what the processes of a run have printed so far."""
    return folder.with_suffix(".txt").read_text()


def command(module: str, *words: Any) -> List[str]:
    """Return the command line that runs a module."""
    return [sys.executable, "-m", module] + [str(word) for word in words]


def held() -> Dict[int, int]:
    """Return the GPU memory of each process [bytes], by its id."""
    processes = pynvml.nvmlDeviceGetComputeRunningProcesses(_gpu())
    return {process.pid: process.usedGpuMemory for process in processes}


def held_by_nobody() -> int:
    """Return the GPU memory that is in use but belongs to no process [bytes]: of the driver, or leaked."""
    used = pynvml.nvmlDeviceGetMemoryInfo(_gpu()).used
    return used - sum(held().values())


def _gpu() -> Any:
    return pynvml.nvmlDeviceGetHandleByIndex(0)
