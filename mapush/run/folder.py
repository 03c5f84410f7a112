"""The folder of a run: who may write to it, and which files it holds."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Dict, List

import filelock

from mapush.config import RunConfig, run_config_from_dict, to_dict
from mapush.errors import CheckpointError, ConfigError
from mapush.run import checkpoint as checkpoints
from mapush.run import own_sources
from mapush.run.atomic import written_at_once
from mapush.run.versions import versions

CONFIG = "config.json"
VERSIONS = "versions.json"
LOCK = ".lock"

RESUMABLE_WITH = (
    "total_steps",
    "checkpoint_every",
    "checkpoint_minutes",
    "log_interval",
    "replica_check_every",
    "console",
    "wandb",
    "device",
    "vram_limit",
    "sim.threads",
    "sim.nconmax",
    "sim.njmax",
)
"""Settings that may change when a run is resumed; all others decide what it computes."""


class RunFolder:
    """A run's folder, locked against other trainings until it is closed or the process ends.

    The operating system holds the lock, so a killed process leaves none behind.

    Args:
      path: the folder.
      config: configuration of the run.
      lock: held lock.
    """

    def __init__(self, path: Path, config: RunConfig, lock: filelock.BaseFileLock) -> None:
        self.path = path
        self.config = config
        self._lock = lock

    @staticmethod
    def default_path(config: RunConfig) -> Path:
        """Return `runs/TASK/PRESET-seedSEED-TIME`."""
        now = time.strftime("%Y%m%d-%H%M%S")
        return Path("runs") / config.task_name / f"{config.preset}-seed{config.seed}-{now}"

    @classmethod
    def require_free(cls, path: Path) -> Path:
        """Return `path` if a new run may use it; nothing is written.

        Raises:
          ConfigError: the folder is not empty, or another training writes to it.
        """
        if (path / LOCK).is_file():
            _locked(path).release()
        if _holds_files(path):
            fix = f"continue that run with --resume {path}, or choose a different --run-dir"
            raise ConfigError("the run folder is not empty", where=str(path), fix=fix)
        return path

    @classmethod
    def create(cls, config: RunConfig, path: Path) -> RunFolder:
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
            raise _not_writable(path, error) from error
        folder = cls(path, config, _locked(path))
        folder.write(config)
        return folder

    @classmethod
    def reopen(cls, path: Path) -> RunFolder:
        """Open the folder of a run that is to be resumed.

        Raises:
          ConfigError: no such run, or another training writes to it.
        """
        _require_run(path)
        lock = _locked(path)
        try:
            return cls(path, read_config(path), lock)
        except ConfigError:
            lock.release()
            raise

    @property
    def newest(self) -> Path:
        """The newest checkpoint.

        Raises:
          CheckpointError: the run has not saved one.
        """
        return checkpoints.latest(self.path)

    def require_same_run(self, config: RunConfig) -> None:
        """Refuse to resume this run with a `config` that would compute something different.

        Raises:
          ConfigError: names the first setting that differs and may not.
        """
        made_with = flat(to_dict(self.config))
        for name, value in flat(to_dict(config)).items():
            before = made_with.get(name)
            if name in RESUMABLE_WITH or value == before or before == "auto":  # auto: the simulator of an older run
                continue
            changeable = ", ".join(RESUMABLE_WITH)
            raise ConfigError(
                f"{name} cannot change when a run is resumed",
                where=str(self.path),
                got=repr(value),
                expected=f"{before!r}, with which the run was made",
                fix=f"leave it out, or start a new run; these may change: {changeable}",
            )

    def write(self, config: RunConfig) -> None:
        """Write the run's configuration and the versions of the packages.

        Raises:
          ConfigError: the folder cannot be written.
        """
        self.config = config
        for name, values in ((VERSIONS, versions()), (CONFIG, to_dict(config))):
            try:
                with written_at_once(self.path / name) as part:
                    part.write_text(json.dumps(values, indent=2) + "\n")
            except OSError as error:
                raise _not_writable(self.path, error) from error
        own_sources.keep(config, self.path)

    def changes(self) -> List[str]:
        """Return a line for each file of the user's own that differs from what the run began with."""
        return own_sources.changes(self.config, self.path)

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()


def read_config(path: Path) -> RunConfig:
    """Return the configuration of the run in `path`.

    Raises:
      ConfigError: there is no run, or its configuration does not parse.
    """
    _require_run(path)
    file = path / CONFIG
    try:
        values = json.loads(file.read_text())
    except ValueError as error:
        raise ConfigError("the run's configuration does not parse", where=str(file), got=str(error)) from error
    return run_config_from_dict(values)


def how_to_continue(path: Path) -> str:
    """Return a hint on how to continue the run in `path` from its newest checkpoint; "" if it has none."""
    try:
        newest = checkpoints.latest(path)
    except CheckpointError:
        return ""
    return f"{newest} is complete: --resume {path} continues from it, with as many envs"


def flat(values: Dict[str, Any], prefix: str = "") -> Dict[str, Any]:
    """Return the leaves of nested dicts under their dotted names."""
    leaves: Dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            leaves.update(flat(value, prefix + name + "."))
        else:
            leaves[prefix + name] = value
    return leaves


def _require_run(path: Path) -> None:
    if not (path / CONFIG).is_file():
        raise ConfigError("no run to continue", where=str(path), expected=f"a folder with {CONFIG}")


def _holds_files(path: Path) -> bool:
    return path.is_dir() and any(entry.name != LOCK for entry in path.iterdir())


def _locked(path: Path) -> filelock.BaseFileLock:
    """Return the held lock of a run folder."""
    lock = filelock.FileLock(str(path / LOCK), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        fix = "wait until it ends, stop it, or choose a different --run-dir"
        raise ConfigError("another training is writing to this run folder", where=str(path), fix=fix) from error
    except OSError as error:
        raise _not_writable(path, error) from error
    return lock


def _not_writable(path: Path, error: OSError) -> ConfigError:
    return ConfigError("the run folder cannot be written", where=str(path), got=str(error))
