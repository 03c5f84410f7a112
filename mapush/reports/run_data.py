"""The contents of a run folder, as far as they can be read: a report shows them and says what is missing."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

import numpy as np

from mapush.config import OWN_OBJECT, to_dict
from mapush.errors import ConfigError
from mapush.evaluation.kept_results import best_results, result_files
from mapush.presets import presets_of, presets_of_own_object
from mapush.run import checkpoint as checkpoints
from mapush.run.folder import CONFIG, VERSIONS, flat
from mapush.run.logger import CSV


@dataclasses.dataclass(frozen=True)
class CheckpointScore:
    """What one checkpoint of the run scored.

    Attributes:
      step: env steps of training.
      success_rate: share of successful episodes.
      interval: bounds of its 95 % interval.
      episodes: number of episodes; None if the file does not say it.
    """

    step: int
    success_rate: float
    interval: Tuple[float, float]
    episodes: Optional[int] = None


@dataclasses.dataclass(frozen=True)
class RunData:
    """A training run.

    Attributes:
      name: a short name.
      path: its folder.
      settings: its configuration, under dotted names.
      preset: the configuration of the preset that it started from, under dotted names; {} if the preset is gone.
      log: columns of its log, each of shape (rows,); NaN where there is no number.
      checkpoints: its checkpoints, oldest first.
      results: what `python -m mapush.evaluate --checkpoint RUN` measured; of each checkpoint the best-founded result.
      versions: versions of the software that it was trained with.
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
        """The task that it was trained for."""
        return str(self.settings.get("task_name", "cuboid"))

    def last(self, column: str) -> Optional[float]:
        """Return the newest number in a column of the log; None if there is none."""
        values = self.log.get(column, np.empty(0))
        known = values[np.isfinite(values)]
        if len(known) == 0:
            return None
        return float(known[-1])


def has_numbers(runs: Sequence[RunData], column: str) -> bool:
    """Return whether any run has a number in this column of its log."""
    return any(run.last(column) is not None for run in runs)


def columns_under(runs: Sequence[RunData], prefix: str) -> List[str]:
    """Return the columns that start with `prefix` and have a number in any run, in alphabetical order."""
    names: Set[str] = set()
    for run in runs:
        names.update(run.log)
    return [name for name in sorted(names) if name.startswith(prefix) and has_numbers(runs, name)]


# -- reading ---------------------------------------------------------------------------------------------------------


def read_run(path: Path, name: str) -> RunData:
    """Read the run in the folder `path`.

    Args:
      path: the folder.
      name: a short name for the run.

    Raises:
      ConfigError: there is no run, or its configuration does not parse.
    """
    config = _read_config(path)
    missing: List[str] = []
    versions = _json(path / VERSIONS, missing)
    if not isinstance(versions, dict):
        versions = {}
    return RunData(
        name=name,
        path=path,
        settings=_settings_of(config),
        preset=_preset_of(config),
        log=_log(path / CSV, missing),
        checkpoints=sorted((path / checkpoints.FOLDER).glob(f"step_*{checkpoints.SUFFIX}")),
        results=_results(path, missing),
        versions=versions,
        missing=missing,
    )


def _read_config(path: Path) -> Dict[str, Any]:
    if not (path / CONFIG).is_file():
        fix = "name the folder that training wrote to: runs/TASK/NAME, or the one given by --run-dir"
        raise ConfigError("there is no run here", where=str(path), expected=f"a folder with {CONFIG}", fix=fix)
    problems: List[str] = []
    config = _json(path / CONFIG, problems)
    if isinstance(config, dict):
        return config
    got = f"no settings, but {type(config).__name__}"
    if problems:
        got = problems[0]
    raise ConfigError("the run's configuration does not parse", where=str(path / CONFIG), got=got)


def _preset_of(config: Dict[str, Any]) -> Dict[str, Any]:
    """Return the configuration of the preset that `config` started from; {} if the preset is gone."""
    task, name = str(config.get("task_name")), str(config.get("preset"))
    presets = presets_of(task)
    if OWN_OBJECT in config:
        presets = presets_of_own_object()
    if name not in presets:
        return {}
    return _settings_of(to_dict(presets[name](task)))


def _settings_of(config: Dict[str, Any]) -> Dict[str, Any]:
    """Return the settings under dotted names; of an object's definition, only where it comes from."""
    settings = {name: value for name, value in config.items() if name != OWN_OBJECT}
    own_object = config.get(OWN_OBJECT)
    if isinstance(own_object, dict):
        settings[OWN_OBJECT] = own_object.get("source")
    return flat(settings)


def _json(path: Path, missing: List[str]) -> Any:
    """Return the contents of a JSON file; if it cannot be read, return None and add the reason to `missing`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        missing.append(f"{path.name} is not there")
    except ValueError as error:
        missing.append(f"{path.name} does not parse: {error}")
    return None


def _log(path: Path, missing: List[str]) -> Dict[str, np.ndarray]:
    """Return the columns of a log; an incomplete last row, as of a run that is still going on, is left out.

    A log without rows is empty, and the reason is added to `missing`.
    """
    if not path.is_file():
        missing.append(f"{path.name} is not there")
        return {}
    text = path.read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1]
    columns: List[str] = []
    numbers: List[List[float]] = []
    for row in csv.reader(complete.splitlines()):
        if not columns:
            columns = row
        elif len(row) == len(columns):
            numbers.append([_float_or_nan(value) for value in row])
    if "step" not in columns or not numbers:
        missing.append(f"{path.name} has no rows yet")
        return {}
    return dict(zip(columns, np.array(numbers).T))


def _float_or_nan(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _results(run: Path, missing: List[str]) -> List[CheckpointScore]:
    """Return the scores of the checkpoints; if there are none, add the reason to `missing`."""
    files = result_files(run)
    if not files:
        missing.append(
            "the checkpoints have not been evaluated: python -m mapush.evaluate TASK --checkpoint RUN does it"
        )
        return []
    scores: List[CheckpointScore] = []
    try:
        for item in best_results(run):
            metrics = item["metrics"]
            low, high = metrics["success_rate_interval"]
            episodes = metrics.get("episodes")
            scores.append(CheckpointScore(item["step"], metrics["success_rate"], (low, high), episodes))
    except (KeyError, TypeError, ValueError):
        scores = []
    if not scores:
        names = ", ".join(path.name for path in files)
        missing.append(f"{names} is of a different version")
    return scores
