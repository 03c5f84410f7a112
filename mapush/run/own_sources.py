"""Copies of the user's own files in the folder of a run, so that later it is known what it was trained with."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import List

from mapush.config import PushRunConfig, RunConfig
from mapush.own import named_code, own_objects

FOLDER = "own"


def references(config: RunConfig) -> List[str]:
    """Return what the user named: reward terms and the environment. The object is part of the configuration."""
    found: List[str] = []
    if config.env is not None:
        found.append(config.env)
    if isinstance(config, PushRunConfig):
        for text in config.task.reward_terms:
            found.append(named_code.weighted(text)[0])
    return found


def keep(config: RunConfig, run_dir: Path) -> None:
    """Copy the files that the user named into the folder of the run; a module that is installed is not copied."""
    for reference in references(config):
        file = named_code.source_file(reference)
        if file is not None:
            with contextlib.suppress(OSError):  # a copy is a convenience; the run itself reports a full disk
                (run_dir / FOLDER).mkdir(exist_ok=True)
                shutil.copyfile(str(file), str(run_dir / FOLDER / file.name))


def changes(config: RunConfig, run_dir: Path) -> List[str]:
    """Return a line for each file of the user's that differs from what the run began with."""
    lines: List[str] = []
    if isinstance(config, PushRunConfig):
        change = own_objects.change_of(config.task.object)
        if change is not None:
            lines.append(change)
    for reference in references(config):
        file = named_code.source_file(reference)
        if file is None:
            continue
        copy = run_dir / FOLDER / file.name
        if copy.is_file() and copy.read_bytes() != file.read_bytes():
            lines.append(f"{file} has changed since this run began; the run continues with the new code")
    return lines
