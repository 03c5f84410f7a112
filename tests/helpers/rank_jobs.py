"""Training jobs of several real processes, in an environment that fails where a test wants it to."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import psutil

ENV = """
import ctypes, os, signal, sys, time
import numpy as np

A, OBS, SHARE, ACT = 2, 5, 7, 3
HOW, RANK, STEP = os.environ.get("FAULT", "none:0:0").split(":")

class Box:
    def __init__(self, size):
        self.shape = (size,)
        self.low, self.high = np.full(size, -1.0, "f4"), np.full(size, 1.0, "f4")

class Env:
    def __init__(self, num_envs, seed):
        self.num_envs, self.n_agents, self.time = num_envs, A, 0
        self.observation_space, self.share_observation_space = [Box(OBS)] * A, [Box(SHARE)] * A
        self.action_space = [Box(ACT)] * A
        self.random = np.random.default_rng(seed)

    def _observations(self):
        share = self.random.random((self.num_envs, 1, SHARE)).repeat(A, axis=1)
        return self.random.random((self.num_envs, A, OBS)), share

    def reset(self):
        return (*self._observations(), None)

    def step(self, actions):
        self.time += 1
        time.sleep(float(os.environ.get("STEP_S", "0.01")))
        if os.environ.get("RANK", "0") == RANK and self.time == int(STEP):
            FAULTS[HOW]()
        dones = np.full((self.num_envs, A), self.time % 6 == 0)
        reward = -np.square(actions).sum(axis=2, keepdims=True)
        return (*self._observations(), reward, dones, [[{}] * A] * self.num_envs, None)

    def close(self):
        pass

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def freeze():
    os.kill(os.getpid(), signal.SIGSTOP)

def hang():
    open("hangs", "w").close()
    time.sleep(1e4)

def hang_with_the_gil():
    ctypes.PyDLL(None).sleep(10000)

def raises():
    raise ZeroDivisionError("planted")

def oom():
    import torch
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)

def leave():
    sys.exit(7)

FAULTS = {name: one for name, one in list(globals().items()) if callable(one)}
FAULTS["none"] = lambda: None

def make(num_envs, seed):
    return Env(num_envs, seed)
"""

NUM_STEPS = 5
NUM_ENVS = 12
ROLLOUT = NUM_STEPS * NUM_ENVS  # env steps
AFTER_WARM_UP = 4 * NUM_STEPS + 2  # a step of an env in the fifth iteration
_MARK = "MAPUSH_TEST_JOB"


@dataclasses.dataclass
class Ended:
    """How a job ended.

    Attributes:
      code: exit code.
      out: what it printed.
      err: the lines of its errors.
      seconds: how long it took to end after it was asked, or had failed [s].
    """

    code: int
    out: str
    err: List[str]
    seconds: float


class RankJob:
    """A command whose processes can all be found again.

    Args:
      folder: where it runs, and writes its output.
      words: program and arguments.
      env: environment variables in addition to those of this process.
      name: of its output files.
    """

    def __init__(self, folder: Path, words: Sequence[str], env: Optional[Dict[str, str]] = None, name: str = "job"):
        self.mark = uuid.uuid4().hex
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", _MARK: self.mark, **(env or {})}
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                words, cwd=folder, env=variables, stdout=out, stderr=err, start_new_session=True
            )

    def processes(self) -> List[psutil.Process]:
        """Return its living processes, orphans included."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                alive = process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
                if alive and process.environ().get(_MARK) == self.mark:
                    found.append(process)
        return found

    def ranks(self) -> Dict[int, psutil.Process]:
        """Return its living ranks by number."""
        found = {}
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                rank = process.environ().get("RANK")
                if rank is not None:
                    found[int(rank)] = process
        return found

    def wait_until(self, condition: Any, seconds: float = 120.0) -> None:
        """Wait until a condition holds; the job must not end before."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def wait_for_rows(self, count: int) -> None:
        """Wait until the log has so many rows."""
        row = re.compile(r"^ +[\d,]+ +\S+ +[\d,]+ +\S+ ", re.M)
        self.wait_until(lambda: len(row.findall(self.out.read_text())) >= count)

    def end(self, seconds: float = 120.0) -> Ended:
        """Wait until it has ended, and no process of it is left."""
        start = time.monotonic()
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(self.said()) from error
        taken = time.monotonic() - start
        self.wait_until_gone(5.0)
        return Ended(code, self.out.read_text(), self.err.read_text().splitlines(), taken)

    def wait_until_gone(self, seconds: float) -> None:
        """Wait until no process of it is left."""
        deadline = time.monotonic() + seconds
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert self.processes() == [], self.said()

    def pause(self, seconds: float) -> None:
        """Let it run."""
        time.sleep(seconds)
        assert self.process.poll() is None, self.said()

    def said(self) -> str:
        """Return what it has printed."""
        return f"{self.out.read_text()}\n--\n{self.err.read_text()}"

    def close(self) -> None:
        """Kill whatever is left."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait(30.0)


def training(folder: Path, iterations: int = 400, more: Sequence[str] = ()) -> List[str]:
    """Return the words of a training after `python -m mapush.train`, and write its environment."""
    (folder / "world.py").write_text(ENV)
    words = ["--env", "world.py:make", "--run-dir", "run", "--num-envs", str(NUM_ENVS), "--num-steps", str(NUM_STEPS)]
    words += ["--total-steps", str(iterations * ROLLOUT), "--checkpoint-every", str(2 * ROLLOUT), "--device", "cpu"]
    words += ["--happo.hidden-sizes", "8", "--happo.ppo-epoch", "2", "--happo.critic-epoch", "2"]
    words += ["--happo.actor-num-mini-batch", "2", "--happo.critic-num-mini-batch", "2", *more]
    return words


TRAIN = [sys.executable, "-m", "mapush.train"]


def fault(how: str, rank: int, step: int = AFTER_WARM_UP) -> Dict[str, str]:
    """Return the environment variable that makes a rank fail in a step of its env."""
    return {"FAULT": f"{how}:{rank}:{step}"}


@contextlib.contextmanager
def running(
    folder: Path, words: Sequence[str], env: Optional[Dict[str, str]] = None, name: str = "job"
) -> Iterator[RankJob]:
    """Run a job, and kill what is left of it at the end."""
    one = RankJob(folder, words, env, name)
    try:
        yield one
    finally:
        one.close()
