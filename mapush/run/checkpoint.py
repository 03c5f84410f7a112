"""Checkpoints: written atomically, read without running code, refused when they belong to another run."""

from __future__ import annotations

import dataclasses
import os
import pickle
import re
from pathlib import Path
from typing import Any, Dict, List

from mapush.config import RunConfig, run_config_from_dict, to_dict
from mapush.device.gpu_errors import explain
from mapush.errors import CheckpointError

FORMAT = 1
FOLDER = "checkpoints"
SUFFIX = ".pt"

_ASKS_FOR_CODE = re.compile(r"GLOBAL [\w.]+")  # how torch names what it refuses to call


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One saved moment of a run.

    Attributes:
      config: the run's resolved configuration.
      step: env steps taken so far.
      sizes: num_agents, obs_dim, share_obs_dim and action_dim of its networks.
      agent: the learner's state: actors and critic under HARL's names, value normaliser, optimisers, generator.
      run: what it takes to continue: env, rollout, counters; empty in a shipped policy.
    """

    config: RunConfig
    step: int
    sizes: Dict[str, int]
    agent: Dict[str, Any]
    run: Dict[str, Any]


def path_of(run_dir: Path, step: int) -> Path:
    """Return where the checkpoint after `step` env steps of a run lies."""
    return run_dir / FOLDER / f"step_{step:012d}{SUFFIX}"


def step_of(path: Path) -> int:
    """Return the env steps that `path_of` was given."""
    return int(path.stem.split("_")[1])


def save(checkpoint: Checkpoint, path: Path) -> Path:
    """Write a checkpoint so that at any moment the file is either whole or absent.

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
    """Write what torch can save, so that at any moment the file is either whole or absent.

    Raises:
      CheckpointError: the disk is full or the folder cannot be written.
    """
    import torch

    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            torch.save(payload, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(str(part), str(path))
        _sync_folder(path.parent)
    except (OSError, RuntimeError) as error:
        if part.is_file():
            part.unlink()
        if explain(error) is not None:  # the GPU's fault, not the disk's
            raise
        raise CheckpointError(
            "the checkpoint could not be written",
            where=str(path),
            got=str(error),
            cause="the disk is full, or the folder is not writable",
            fix=f"free space; earlier checkpoints are whole, continue with --resume {path.parent.parent}",
        ) from error
    return path


def _sync_folder(folder: Path) -> None:
    handle = os.open(str(folder), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in it is executed.

    Raises:
      CheckpointError: no such file, a truncated or foreign one, or another format version.
    """
    payload = read_tensors(path)
    if not isinstance(payload, dict) or not {"format", "config", "step", "sizes", "agent", "run"} <= set(payload):
        holds = ", ".join(sorted(map(str, payload))[:8]) if isinstance(payload, dict) else type(payload).__name__
        raise CheckpointError("this file is of another program", where=str(path), got=f"it holds {holds}")
    if payload["format"] != FORMAT:
        raise CheckpointError(
            "checkpoint of another version",
            where=str(path),
            got="format {}".format(payload["format"]),
            expected=f"format {FORMAT}",
        )
    config = run_config_from_dict(payload["config"])
    return Checkpoint(config, payload["step"], payload["sizes"], payload["agent"], payload["run"])


def read_tensors(path: Path) -> Any:
    """Return what torch saved in a file, on the CPU; nothing in it is executed.

    Raises:
      CheckpointError: no such file, a truncated one, one of another program, or one that would execute code.
    """
    import torch

    if not path.is_file():
        raise CheckpointError("there is no such checkpoint", where=str(path), expected="a file that training wrote")
    try:
        return torch.load(str(path), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        code = _ASKS_FOR_CODE.search(str(error))
        if code is not None:
            raise CheckpointError(
                "this file asks to execute code; it was not executed",
                where=str(path),
                got=code.group(),
                expected="tensors, numbers and texts alone",
                cause="it holds whole Python objects instead of weights, or it is an attack",
                fix="get a file with a state_dict from whoever you trust",
            ) from error
        foreign = isinstance(error, (KeyError, pickle.UnpicklingError))  # torch then says how to load it all the same
        reason = " that torch did not write" if foreign else "; " + (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            "this file is not a whole checkpoint",
            where=str(path),
            got=f"{path.stat().st_size} bytes{reason}",
            expected="a checkpoint that mapush wrote",
            cause="it was cut short in a copy, or another program wrote it",
        ) from error


def require_fit(checkpoint: Checkpoint, path: Path, task_name: str, sizes: Dict[str, int]) -> None:
    """Refuse a checkpoint of another task or of networks of another size.

    Args:
      checkpoint: as loaded.
      path: where it came from, for the error.
      task_name: what it is to be used for.
      sizes: of that use, those that matter to it: num_agents, obs_dim, share_obs_dim, action_dim.
    Raises:
      CheckpointError: it does not fit.
    """
    holds: Dict[str, Any] = {name: checkpoint.sizes.get(name) for name in sizes}
    holds["task"] = checkpoint.config.task_name
    wanted = dict(sizes, task=task_name)
    if holds != wanted:
        raise CheckpointError(
            "the checkpoint does not fit",
            where=str(path),
            got=_describe(holds),
            expected=_describe(wanted),
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
    """Return the newest checkpoint of a run."""
    return all_of(run_dir)[-1]
