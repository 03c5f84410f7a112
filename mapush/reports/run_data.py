"""What a run folder holds, as far as it can be read: a report shows what there is and says what is missing."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np

from mapush.config import to_dict
from mapush.errors import ConfigError
from mapush.presets import PRESETS, preset
from mapush.run import checkpoint as checkpoints
from mapush.run.folder import CONFIG, VERSIONS, flat
from mapush.run.logger import CSV

RESULTS = Path("evaluation", "results.json")


@dataclasses.dataclass(frozen=True)
class CheckpointScore:
    """What one checkpoint of the run scored.

    Attributes:
      step: env steps that it was trained for.
      success_rate: share of the episodes that succeeded.
      interval: its 95 % interval.
    """

    step: int
    success_rate: float
    interval: List[float]


@dataclasses.dataclass(frozen=True)
class RunData:
    """A training run.

    Attributes:
      name: short.
      path: its folder.
      settings: its configuration, under dotted names.
      preset: the same of the preset that it started from; {} if that no longer exists.
      log: columns of its log, each (rows,); nan where there is no number.
      checkpoints: of ours, oldest first.
      results: of `python -m mapush.evaluate --checkpoint RUN`.
      versions: of what it was trained with.
      missing: what could not be read, in words.
    """

    name: str
    path: Path
    settings: Dict[str, Any]
    preset: Dict[str, Any]
    log: Dict[str, np.ndarray]
    checkpoints: List[Path]
    results: List[CheckpointScore]
    versions: Dict[str, str]
    missing: List[str]

    @property
    def task_name(self) -> str:
        """What it was trained to do."""
        return str(self.settings.get("task_name", "cuboid"))

    def last(self, column: str) -> Optional[float]:
        """Return the newest number of a column of the log; None where there is none."""
        values = self.log.get(column, np.empty(0))
        known = values[np.isfinite(values)]
        return float(known[-1]) if len(known) else None


def read_run(path: Path, name: str) -> RunData:
    """Return what there is of the run in `path`, under a short name.

    Raises:
      ConfigError: there is no run, or its configuration does not parse.
    """
    if not (path / CONFIG).is_file():
        fix = "name the folder that training wrote to: runs/TASK/NAME, or what --run-dir said"
        raise ConfigError("there is no run here", where=str(path), expected=f"a folder with {CONFIG}", fix=fix)
    missing: List[str] = []
    config = _json(path / CONFIG, missing)
    if not isinstance(config, dict):
        got = missing[0] if missing else f"no settings, but {type(config).__name__}"
        raise ConfigError("the run's configuration does not parse", where=str(path / CONFIG), got=got)
    task, origin = str(config.get("task_name")), str(config.get("preset"))
    versions = _json(path / VERSIONS, missing)
    return RunData(
        name=name,
        path=path,
        settings=flat(config),
        preset=flat(to_dict(preset(task, origin))) if origin in PRESETS.get(task, {}) else {},
        log=_log(path / CSV, missing),
        checkpoints=sorted((path / checkpoints.FOLDER).glob("step_*" + checkpoints.SUFFIX)),
        results=_results(path / RESULTS, missing),
        versions=versions if isinstance(versions, dict) else {},
        missing=missing,
    )


def _json(path: Path, missing: List[str]) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        missing.append(f"{path.name} is not there")
    except ValueError as error:
        missing.append(f"{path.name} does not parse: {error}")
    return None


def _log(path: Path, missing: List[str]) -> Dict[str, np.ndarray]:
    """Return the columns of a log; a last row that was cut short, as in a run that goes on, is left out."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    whole = text[: text.rfind("\n") + 1]
    rows = list(csv.reader(whole.splitlines()))
    columns = rows[0] if rows else []
    numbers = [[_number(value) for value in row] for row in rows[1:] if len(row) == len(columns)]
    if "step" not in columns or not numbers:
        missing.append("{} {}".format(path.name, "has no rows yet" if path.is_file() else "is not there"))
        return {}
    return dict(zip(columns, np.array(numbers).T))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _results(path: Path, missing: List[str]) -> List[CheckpointScore]:
    if not path.is_file():
        missing.append(
            "the checkpoints have not been evaluated: python -m mapush.evaluate TASK --checkpoint RUN does it"
        )
        return []
    try:
        results = _json(path, missing)["results"]
        return [
            CheckpointScore(item["step"], item["metrics"]["success_rate"], item["metrics"]["success_rate_interval"])
            for item in results
        ]
    except (KeyError, TypeError):
        missing.append(f"{path.name} is of another version")
        return []
