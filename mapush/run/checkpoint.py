"""Checkpoints: written atomically, read without running code, refused where they do not fit."""

from __future__ import annotations

import dataclasses
import pickle
import re
from pathlib import Path
from typing import Any, Dict, List

from mapush.config import RunConfig, run_config_from_dict, to_dict
from mapush.device.gpu_errors import explain
from mapush.errors import CheckpointError
from mapush.run.atomic import written_at_once

FORMAT = 1
FOLDER = "checkpoints"
SUFFIX = ".pt"

_KEYS = {"format", "config", "step", "sizes", "agent", "run"}
_ASKS_FOR_CODE = re.compile(r"GLOBAL [\w.]+")  # how torch names a function that it refuses to call


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One saved moment of a run.

    Attributes:
      config: the run's resolved configuration.
      step: env steps taken so far.
      sizes: num_agents, obs_dim, share_obs_dim and action_dim of its networks.
      agent: the learner's state: actors and critic under HARL's names, value normaliser, optimisers, generator.
      run: the state that resuming needs: env, rollout, counters; empty in a shipped policy.
    """

    config: RunConfig
    step: int
    sizes: Dict[str, int]
    agent: Dict[str, Any]
    run: Dict[str, Any]


def path_of(run_dir: Path, step: int) -> Path:
    """Return the path of the checkpoint after `step` env steps of a run."""
    return run_dir / FOLDER / f"step_{step:012d}{SUFFIX}"


def step_of(path: Path) -> int:
    """Return the env steps in the name of a checkpoint; the inverse of `path_of`."""
    return int(path.stem.split("_")[1])


def save(checkpoint: Checkpoint, path: Path) -> Path:
    """Write a checkpoint; at any moment the file is either complete or absent.

    Raises:
      CheckpointError: the disk is full or the folder cannot be written; older checkpoints are untouched.
    """
    payload = {
        "format": FORMAT,
        "config": to_dict(checkpoint.config),
        "step": checkpoint.step,
        "sizes": checkpoint.sizes,
        "agent": checkpoint.agent,
        "run": checkpoint.run,
    }
    return write_tensors(payload, path)


def write_tensors(payload: Dict[str, Any], path: Path) -> Path:
    """Write a payload that `torch.save` accepts; at any moment the file is either complete or absent.

    Raises:
      CheckpointError: the disk is full or the folder cannot be written.
    """
    import torch

    try:
        with written_at_once(path, durable=True) as part, part.open("wb") as file:
            torch.save(payload, file)
    except (OSError, RuntimeError) as error:
        if explain(error) is not None:  # an error of the GPU, not of the disk
            raise
        raise CheckpointError(
            "the checkpoint could not be written",
            where=str(path),
            got=str(error),
            cause="the disk is full, or the folder is not writable",
            fix=f"free space; earlier checkpoints are complete, continue with --resume {path.parent.parent}",
        ) from error
    return path


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is executed.

    Raises:
      CheckpointError: the file is missing, truncated, not a mapush checkpoint, or of a different format version.
    """
    payload = read_tensors(path)
    if not isinstance(payload, dict) or not _KEYS <= set(payload):
        raise CheckpointError("not a mapush checkpoint", where=str(path), got=f"it holds {_contents(payload)}")
    if payload["format"] != FORMAT:
        raise CheckpointError(
            "checkpoint of a different version",
            where=str(path),
            got=f"format {payload['format']}",
            expected=f"format {FORMAT}",
        )
    config = run_config_from_dict(payload["config"])
    return Checkpoint(config, payload["step"], payload["sizes"], payload["agent"], payload["run"])


def _contents(payload: Any) -> str:
    if not isinstance(payload, dict):
        return type(payload).__name__
    names = sorted(map(str, payload))
    return ", ".join(names[:8])


def read_tensors(path: Path) -> Any:
    """Return the content of a file that `torch.save` wrote, on the CPU; nothing in it is executed.

    Raises:
      CheckpointError: the file is missing, truncated, written by a different program, or would execute code.
    """
    import torch

    if not path.is_file():
        raise CheckpointError("there is no such checkpoint", where=str(path), expected="a file that training wrote")
    try:
        return torch.load(str(path), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        code = _ASKS_FOR_CODE.search(str(error))
        if code is not None:
            raise _executes_code(path, code.group()) from error
        raise _unreadable(path, error) from error


def _executes_code(path: Path, code: str) -> CheckpointError:
    return CheckpointError(
        "this file asks to execute code; it was not executed",
        where=str(path),
        got=code,
        expected="only tensors, numbers and strings",
        cause="it holds complete Python objects instead of weights, or it is an attack",
        fix="get a file with a state_dict from somebody you trust",
    )


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    if isinstance(error, (KeyError, pickle.UnpicklingError)):  # torch's own message would advise to load it unsafely
        reason = " that torch did not write"
    else:
        message = str(error) or type(error).__name__
        reason = "; " + message.splitlines()[0]
    return CheckpointError(
        "this file is not a complete checkpoint",
        where=str(path),
        got=f"{path.stat().st_size} bytes{reason}",
        expected="a checkpoint that mapush wrote",
        cause="a copy was cut short, or a different program wrote it",
    )


def require_fit(checkpoint: Checkpoint, path: Path, task_name: str, sizes: Dict[str, int]) -> None:
    """Refuse a checkpoint of a different task or with networks of different sizes.

    Args:
      checkpoint: as loaded.
      path: where it was loaded from, for the error.
      task_name: the task that it shall be used for.
      sizes: the sizes that this use needs, some of num_agents, obs_dim, share_obs_dim and action_dim.

    Raises:
      CheckpointError: it does not fit.
    """
    held: Dict[str, Any] = {name: checkpoint.sizes.get(name) for name in sizes}
    held["task"] = checkpoint.config.task_name
    needed = dict(sizes, task=task_name)
    if held != needed:
        raise CheckpointError(
            "the checkpoint does not fit",
            where=str(path),
            got=_describe(held),
            expected=_describe(needed),
            fix=f"python -m mapush.evaluate {checkpoint.config.task_name} --checkpoint {path}",
        )


def _describe(values: Dict[str, Any]) -> str:
    return ", ".join(f"{name} {values[name]}" for name in sorted(values))


def all_of(run_dir: Path) -> List[Path]:
    """Return the checkpoints of a run, oldest first.

    Raises:
      CheckpointError: there is none.
    """
    paths = sorted((run_dir / FOLDER).glob("step_*" + SUFFIX))
    if not paths:
        raise CheckpointError("there is no checkpoint in this run", where=str(run_dir / FOLDER))
    return paths


def latest(run_dir: Path) -> Path:
    """Return the newest checkpoint of a run.

    Raises:
      CheckpointError: there is none.
    """
    return all_of(run_dir)[-1]
