"""Tiny runs of the walking task, processes that are ended in the middle of one, and the files that they leave."""

from __future__ import annotations

import csv
import dataclasses
import multiprocessing
import os
import shutil
import signal
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import torch

from mapush.assembly import make_env
from mapush.config import RunConfig, SimConfig, WalkRunConfig
from mapush.presets import preset
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint
from mapush.run.folder import read_config
from mapush.train import main, train

ROLLOUT = 5 * 7  # env steps
MEASURED = ("fps", "rss_mib", "wall_s")

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(  # what a run imports, so that no child process has to import it again
    ["mapush.train", "mapush.env.walk", "mujoco.batch", "mapush.happo.happo", "torch._dynamo"]
    + ["torch.utils.tensorboard", "rich.progress", "tyro"]
)


def tiny(iterations: int = 10, decay: bool = True) -> WalkRunConfig:
    """Return a run that takes a second, of 35 env steps in each iteration."""
    config = preset("walk", "default")
    return dataclasses.replace(
        config,
        num_envs=5,
        num_steps=7,
        total_steps=iterations * ROLLOUT,
        checkpoint_every=2 * ROLLOUT,
        device="cpu",
        sim=SimConfig(backend="mujoco", threads=1),
        happo=dataclasses.replace(
            config.happo, hidden_sizes=(16, 12), ppo_epoch=2, critic_epoch=3, use_linear_lr_decay=decay
        ),
    )


def in_process(output: Path, function: Callable[..., int], *args: Any) -> Tuple[int, str]:
    """Call `function` in a new process; return its exit code (-n after signal n) and its output."""
    process = start_process(output, function, *args)
    process.join(timeout=60)
    assert process.exitcode is not None, output.read_text()
    return process.exitcode, output.read_text()


def start_process(output: Path, function: Callable[..., int], *args: Any) -> multiprocessing.Process:
    """Call `function` in a new process, which prints to the file `output`."""
    process = _PROCESSES.Process(target=_call, args=(output, function) + args)
    process.start()
    return process


def _call(output: Path, function: Callable[..., int], *args: Any) -> None:
    handle = os.open(str(output), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    torch.set_num_threads(1)
    try:
        code = function(*args)
    except Exception:
        traceback.print_exc()
        code = 1
    raise SystemExit(code)


class InterruptedEnv:
    """The environment of a run, in which something happens when one of its steps begins.

    Args:
      env: the environment.
      step: env steps, summed over envs, after which it happens.
      event: what happens.
    """

    def __init__(self, env: Any, step: int, event: Callable[[], Any]) -> None:
        self._env = env
        self._steps_left = step
        self._event = event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def step(self, actions: torch.Tensor) -> Any:
        """Step the environment."""
        if self._steps_left == 0:
            self._event()
        self._steps_left -= self._env.num_envs
        return self._env.step(actions)


def interrupted(step: int, event: Callable[[], Any]) -> Callable[[RunConfig], Any]:
    """Return a `make_env` for `train`, whose environment is an `InterruptedEnv`."""
    return lambda config: InterruptedEnv(make_env(config), step, event)


def train_until_signal(number: int, step: int, config: WalkRunConfig, folder: Path) -> int:
    """Train a new run, which gets a signal in the env step that begins after `step` env steps."""
    train(config, folder, make_env=interrupted(step, lambda: os.kill(os.getpid(), number)))
    return 0


def resume_from_command_line(folder: Path) -> int:
    """Do what `python -m mapush.train --resume FOLDER` does."""
    return main(["--resume", str(folder)])


def killed_run(folder: Path, config: WalkRunConfig) -> Path:
    """Train in `folder` and kill the run in its sixth iteration; its last checkpoint is from the fourth."""
    code, said = in_process(
        folder.with_suffix(".txt"), train_until_signal, signal.SIGKILL, 5 * ROLLOUT + 20, config, folder
    )
    assert code == -signal.SIGKILL, said
    return folder


def copy_of(folder: Path, place: Path) -> Path:
    """Return a copy of a run."""
    return Path(shutil.copytree(str(folder), str(place)))


def last_checkpoint(folder: Path) -> Checkpoint:
    """Return the newest checkpoint of a run."""
    return checkpoints.load(checkpoints.latest(folder))


def rows(folder: Path) -> List[Dict[str, str]]:
    """Return the rows of a run's CSV, without speed, time and memory, which depend on the machine."""
    with (folder / "progress.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in MEASURED} for row in csv.DictReader(file)]


def contents(folder: Path) -> Dict[str, bytes]:
    """Return the content of all files in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same(one: Any, other: Any, name: str = "") -> None:
    """Assert that two nested structures of dicts, lists and tensors are equal bit for bit."""
    assert type(one) is type(other), name
    if isinstance(one, dict):
        assert set(one) == set(other), name
        for key in one:
            assert_same(one[key], other[key], f"{name}/{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), name
        for index, (left, right) in enumerate(zip(one, other)):
            assert_same(left, right, f"{name}/{index}")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, name
        assert one.shape == other.shape, name
        assert one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes(), name
    else:
        assert one == other, name


def assert_same_end(folder: Path, other: Path) -> None:
    """Assert that two runs ended bit for bit the same and logged every step once with the same numbers."""
    one, two = last_checkpoint(folder), last_checkpoint(other)
    assert one.step == two.step == read_config(folder).total_steps
    assert_same(one.agent, two.agent, "agent")
    assert_same(one.run, two.run, "run")
    assert [int(row["step"]) for row in rows(folder)] == list(range(ROLLOUT, one.step + 1, ROLLOUT))
    assert rows(folder) == rows(other)
