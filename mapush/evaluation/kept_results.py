"""Results of evaluations on the disk: results that are based on fewer episodes never replace results based on more.

What results are based on is the number of episodes of each checkpoint. Results replace others only where they have at
least as many episodes of every checkpoint; otherwise both are kept, and the name of the new file says how many episodes
it is based on. So whatever is evaluated afterwards, the best result of each checkpoint stays on the disk.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional

from mapush.errors import ConfigError
from mapush.evaluation.kept_files import OVERWRITE
from mapush.run.atomic import written_at_once

FOLDER = "evaluation"  # of a run
NAME = "results"
SUFFIX = ".json"
UNTRAINED = "untrained"
ACCEPTANCE = "acceptance tests"  # of a walking policy; they always have the same length

Basis = Dict[str, int]  # number of episodes of each checkpoint


def basis_of(values: Any, by: str = "checkpoint") -> Optional[Basis]:
    """Return what results are based on; None if these are no results.

    Args:
      values: the content of a file that `mapush evaluate` wrote.
      by: what tells the checkpoints apart: their path ("checkpoint"), or within a run "step".
    """
    try:
        basis: Basis = {}
        for item in values["results"]:
            if "protocol" in item:
                basis[ACCEPTANCE] = 1
            else:
                name = item.get(by)
                if name is None:
                    name = UNTRAINED
                basis[str(name)] = _episodes_of(item, values)
        return basis
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _episodes_of(item: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    """Return the episodes of one result; files of an older version name them once for all results, or not at all."""
    metrics = item.get("metrics", item)
    number = metrics.get("episodes") or values.get("episodes") or values.get("num_envs") or 1
    return int(number)


def covers(new: Mapping[str, int], old: Mapping[str, int]) -> bool:
    """Return whether results are based on at least as many episodes of every checkpoint as others."""
    return all(new.get(name, 0) >= episodes for name, episodes in old.items())


def require_coverable(path: Path, planned: Basis, overwrite: bool) -> None:
    """Refuse, before an evaluation, a file whose content is worth more than the results that would replace it.

    Args:
      path: the file for the results.
      planned: what the results will be based on.
      overwrite: whether the user asked to replace it.

    Raises:
      ConfigError: the file holds results that are based on more, or something else, or it cannot be written.
    """
    if path.is_dir():
        raise ConfigError("the results cannot be written: there is a folder of this name", where=str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError("the results cannot be written", where=str(path), got=error.strerror) from error
    if overwrite or not _has_content(path):
        return
    held = basis_of(read(path))
    if held is None:
        raise ConfigError("the results would replace something different", where=str(path), fix=OVERWRITE)
    if covers(planned, held):
        return
    what = "the results would replace results that are based on more"
    if not set(held) <= set(planned):
        what = "the results would replace results of other checkpoints"
    raise ConfigError(
        what,
        where=str(path),
        got=f"would be evaluated: {describe(planned)}",
        expected=f"at least what the file holds: {describe(held)}",
        fix=OVERWRITE,
    )


def write_kept(path: Path, values: Dict[str, Any], overwrite: bool = False, by: str = "checkpoint") -> Path:
    """Write results to `path`, or where that holds something better, next to it; return the path.

    Args:
      path: the file.
      values: the results.
      overwrite: replace whatever is there.
      by: see `basis_of`.
    """
    basis = basis_of(values, by) or {}
    for candidate in _candidates(path, basis):
        if overwrite or _replaceable(candidate, basis, by):
            with written_at_once(candidate) as part:
                text = json.dumps(without_nan(values), indent=2, allow_nan=False)
                part.write_text(text + "\n", encoding="utf-8")
            return candidate
    raise AssertionError("there are infinitely many names")


def _candidates(path: Path, basis: Basis) -> Iterator[Path]:
    """Yield names for results: `path`, then names that say what they are based on."""
    yield path
    episodes = min(basis.values(), default=0)
    stem = f"{path.stem}-{episodes}-episodes"
    yield path.with_name(stem + path.suffix)
    number = 2
    while True:
        yield path.with_name(f"{stem}-{number}{path.suffix}")
        number += 1


def _replaceable(path: Path, basis: Basis, by: str) -> bool:
    if not _has_content(path):
        return True
    held = basis_of(read(path), by)
    return held is not None and covers(basis, held)


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def read(path: Path) -> Any:
    """Return the content of a JSON file; None if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def describe(basis: Basis) -> str:
    """Return what results are based on, in a few words."""
    checkpoints = f"{len(basis)} checkpoints"
    if len(basis) == 1:
        checkpoints = str(*basis)
    numbers = sorted(set(basis.values()))
    episodes = " to ".join(str(number) for number in (numbers[:1] + numbers[1:][-1:]))
    return f"{checkpoints}, {episodes or 0} episodes"


def without_nan(value: Any) -> Any:
    """Return nested values with None for NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


# -- in the folder of a run ------------------------------------------------------------------------------------------


def variant_of(
    steps_per_decision: Optional[int],
    upstream_quirks: Optional[bool],
    other_task: Optional[str] = None,
    num_agents: Optional[int] = None,
) -> str:
    """Return the part of a name that says what was different from the training of the run; "" if nothing was.

    Results under different conditions are kept apart, and a report on the run does not show them.
    """
    variant = ""
    if other_task is not None:
        variant += f"-of-{other_task}"
    if num_agents is not None:
        variant += f"-team-of-{num_agents}"
    if steps_per_decision is not None:
        variant += f"-decision-every-{steps_per_decision}"
    if upstream_quirks is not None:
        variant += {True: "-quirks", False: "-no-quirks"}[upstream_quirks]
    return variant


def result_files(run: Path) -> List[Path]:
    """Return the files with results of a run under the conditions of its training, oldest first."""
    folder = run / FOLDER
    paths = [folder / (NAME + SUFFIX), *folder.glob(f"{NAME}-[0-9]*-episodes*{SUFFIX}")]
    paths = [path for path in paths if path.is_file()]
    return sorted(paths, key=lambda path: path.stat().st_mtime_ns)


def best_results(run: Path) -> List[Dict[str, Any]]:
    """Return the best-founded result of each checkpoint of a run, oldest checkpoint first; [] if there are none.

    Of several results that are based on equally many episodes, the one that was written last counts.
    """
    best: Dict[int, Dict[str, Any]] = {}
    episodes: Dict[int, int] = {}
    for path in result_files(run):
        values = read(path)
        basis = basis_of(values, "step")
        if basis is None:
            continue
        for item in values["results"]:
            if basis[str(item["step"])] >= episodes.get(item["step"], 0):
                best[item["step"]] = item
                episodes[item["step"]] = basis[str(item["step"])]
    return [best[step] for step in sorted(best)]
