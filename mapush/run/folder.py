"""The folder of a run: who may write to it, and what lies where."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import IO, Any, Dict

from mapush.config import RunConfig, run_config_from_dict, to_dict
from mapush.errors import ConfigError
from mapush.run.versions import versions

CONFIG = "config.json"
VERSIONS = "versions.json"
LOCK = ".lock"

RESUMABLE_WITH = (
    "total_steps",
    "checkpoint_every",
    "log_interval",
    "device",
    "vram_limit",
    "sim.threads",
    "sim.nconmax",
    "sim.njmax",
)
"""Settings that a run may change when it is resumed; the others decide what it computes."""


class RunDir:
    """A run's folder, locked against other trainings for as long as this process lives.

    The lock is the operating system's, so that a killed process leaves none behind.
    """

    def __init__(self, path: Path, lock: IO[str]) -> None:
        self.path = path
        self._lock = lock

    @staticmethod
    def default_path(config: RunConfig) -> Path:
        """Return `runs/TASK/PRESET-seedSEED-TIME`."""
        name = "{}-seed{}-{}".format(config.preset, config.seed, time.strftime("%Y%m%d-%H%M%S"))
        return Path("runs") / config.task_name / name

    @classmethod
    def require_free(cls, path: Path) -> Path:
        """Return `path` if a new run may have it; nothing is written.

        Raises:
          ConfigError: the folder is not empty, or another training writes to it.
        """
        if (path / LOCK).is_file():
            cls._locked(path).close()
        if path.is_dir() and any(entry.name != LOCK for entry in path.iterdir()):
            raise ConfigError(
                "the run folder is not empty",
                where=str(path),
                fix=f"continue that run with --resume {path}, or choose another --run-dir",
            )
        return path

    @classmethod
    def create(cls, config: RunConfig, path: Path) -> RunDir:
        """Make the folder of a new run and write its configuration there.

        Args:
          config: resolved configuration.
          path: where.
        Raises:
          ConfigError: the folder is not empty, cannot be written, or another training writes to it.
        """
        cls.require_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(path, error) from error
        run_dir = cls(path, cls._locked(path))
        run_dir.write(config)
        return run_dir

    @classmethod
    def reopen(cls, path: Path) -> RunDir:
        """Open the folder of a run that is to be continued.

        Raises:
          ConfigError: no such run, or another training writes to it.
        """
        read_config(path)
        return cls(path, cls._locked(path))

    def write(self, config: RunConfig) -> None:
        """Write the run's configuration, and the versions of what computes; at any moment each file is whole.

        Raises:
          ConfigError: the folder cannot be written.
        """
        for name, values in ((VERSIONS, versions()), (CONFIG, to_dict(config))):
            file = self.path / name
            part = file.with_suffix(".part")
            try:
                part.write_text(json.dumps(values, indent=2) + "\n")
                os.replace(str(part), str(file))
            except OSError as error:
                raise _unwritable(self.path, error) from error

    def close(self) -> None:
        """Let others write."""
        self._lock.close()

    @staticmethod
    def _locked(path: Path) -> IO[str]:
        try:
            lock = open(path / LOCK, "w")
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            fix = "wait for it, stop it, or choose another --run-dir"
            raise ConfigError("another training is writing to this run folder", where=str(path), fix=fix) from error
        return lock


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError("the run folder cannot be written", where=str(path), got=str(error))


def read_config(path: Path) -> RunConfig:
    """Return the configuration of the run in `path`.

    Raises:
      ConfigError: there is no run, or its configuration does not parse.
    """
    file = path / CONFIG
    if not file.is_file():
        raise ConfigError("there is no run to continue", where=str(path), expected=f"a folder with {CONFIG}")
    try:
        values = json.loads(file.read_text())
    except ValueError as error:
        raise ConfigError("the run's configuration does not parse", where=str(file), got=str(error)) from error
    return run_config_from_dict(values)


def require_same_run(config: RunConfig, saved: RunConfig, folder: Path) -> None:
    """Refuse to resume the run in `folder`, made with `saved`, with a `config` that computes something else.

    Raises:
      ConfigError: with the first setting that differs and may not.
    """
    made_with = flat(to_dict(saved))
    for name, value in flat(to_dict(config)).items():
        if name not in RESUMABLE_WITH and made_with.get(name) not in (value, "auto"):  # auto: an older run's simulator
            raise ConfigError(
                f"{name} cannot change when a run is resumed",
                where=str(folder),
                got=repr(value),
                expected=f"{made_with.get(name)!r}, with which the run was made",
                fix="leave it out, or start a new run; these may change: {}".format(", ".join(RESUMABLE_WITH)),
            )


def flat(values: Dict[str, Any], prefix: str = "") -> Dict[str, Any]:
    """Return the leaves of nested dicts under their dotted names."""
    leaves: Dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            leaves.update(flat(value, prefix + name + "."))
        else:
            leaves[prefix + name] = value
    return leaves
