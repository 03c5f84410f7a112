"""Contracts of the log: it tells what happened, all of it, every time, and it stays small."""

from __future__ import annotations

import contextlib
import csv
import gc
import math
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Callable, Dict, List, Set

from harness.findings import ContractError
from harness.stack.small_parts import WatchedEnv, train_in
from mapush.errors import MapushError
from mapush.run.logger import CSV, TENSORBOARD

Columns = Dict[str, List[float]]

ROWS, WARM_UP_ROWS = 3000, 100
"""How many rows are logged, and how many of them before it is looked."""

_REMEMBERED = 1000  # updates that a progress bar keeps, to estimate the speed


def logger_environment(run: Any) -> None:
    """The log has the environment's own statistics: episodes and rewards are those that an onlooker counts."""
    _require_metrics(getattr(run.env, "metrics", None))
    window = run.env = WatchedEnv(run.env)
    _make_episodes_end(run.env)
    with tempfile.TemporaryDirectory() as folder:
        _train(Path(folder), run)
        columns = read_csv(Path(folder) / "run" / CSV)
    if not any(name.startswith("episode/") for name in columns):
        raise _no_statistics("the columns {}".format(", ".join(columns)), "episode/...: env.metrics.summary()")
    ended = sum(int(result.done.sum()) for result in window.results)
    _require_column(columns, "episodes", len(columns["step"]) - 1, float(ended))
    for row, first in enumerate(range(0, len(window.results), run.config.num_steps)):
        rewards = [float(result.reward.mean()) for result in window.results[first : first + run.config.num_steps]]
        _require_column(columns, "reward/total", row, sum(rewards) / len(rewards) / run.env.steps_per_decision)


def logger_keys(run: Any) -> None:
    """Every key of every term is in every row, from the first, with one number in CSV and TensorBoard."""
    expected: Set[str] = {"fps", "rss_mib", "episodes"} | {"episode/" + name for name in run.env.metrics.names}
    _note_keys(run.env.metrics, "add_step", lambda terms, _: {"reward/" + name for name in terms}, expected)
    _note_keys(run.agent, "update", lambda _, losses: {"train/" + name for name in losses}, expected)
    with tempfile.TemporaryDirectory() as folder:
        _train(Path(folder), run)
        in_csv = read_csv(Path(folder) / "run" / CSV)
        in_tensorboard = read_tensorboard(Path(folder) / "run" / TENSORBOARD)
    steps = in_csv.pop("step")
    in_csv.pop("iteration")
    _require_same_steps(steps, in_tensorboard.pop("step"))
    for name in sorted(expected | set(in_csv) | set(in_tensorboard)):
        for place, columns in (("CSV", in_csv), ("TensorBoard", in_tensorboard)):
            _require_complete(name, place, columns, len(steps))
        for step, one, other in zip(steps, in_csv[name], in_tensorboard[name]):
            if not (math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-30) or (math.isnan(one) and math.isnan(other))):
                raise ContractError(
                    f"CSV and TensorBoard tell different numbers of {name}",
                    where=f"env step {step:.0f}",
                    got=f"{one!r} in the CSV, {other!r} in TensorBoard",
                    expected="the same number",
                )


def logger_bounded(make_logger: Callable[[Path], Any]) -> None:
    """Nothing grows with the number of rows: no objects, no bytes, no open files, no threads.

    Args:
      make_logger: takes a folder; returns what has `log(step, iteration, metrics)`, `advance(step, rate, success)` and
        `close()`.
    """
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        with contextlib.redirect_stdout(nowhere), contextlib.closing(make_logger(Path(folder))) as logger:
            for step in range(_REMEMBERED):
                logger.advance(0, 1e3 + step, math.nan)
            _log_rows(logger, 1, WARM_UP_ROWS)
            before = _holdings(logger)
            _log_rows(logger, WARM_UP_ROWS, ROWS)
            after = _holdings(logger)
    rows = ROWS - WARM_UP_ROWS
    allowed = {"open files": 0, "threads": 0, "memory blocks": rows // 10}
    for name, amount in after.items():
        growth = amount - before.get(name, 0)
        if growth > allowed.get(name, 4 * rows):
            raise ContractError(
                f"the log grows without bound: {name}",
                where=f"{type(logger).__name__}, rows {WARM_UP_ROWS} to {ROWS}",
                got=f"{growth} more after {rows} rows",
                expected=f"at most {allowed.get(name, 4 * rows)}",
                cause="every row is kept, or opens something that is not closed",
                fix="write rows out and forget them; a collections.deque(maxlen=...) keeps the last ones",
            )


def read_csv(path: Path) -> Columns:
    """Return the columns of a CSV of numbers."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or "inf") for row in rows] for name in (rows[0] if rows else ())}


def read_tensorboard(folder: Path) -> Columns:
    """Return the scalars of TensorBoard's event files, each tag in the order of its steps, and the steps as `step`."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    columns = {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    every = [event.step for tag in columns for event in events.Scalars(tag)]
    return dict(columns, step=sorted(map(float, set(every))))


def _require_same_steps(in_csv: List[float], in_tensorboard: List[float]) -> None:
    if in_csv != in_tensorboard:
        raise ContractError(
            "CSV and TensorBoard place their rows at different steps",
            where=f"{CSV} and {TENSORBOARD}",
            got=f"{in_tensorboard[:5]} in TensorBoard",
            expected=f"{in_csv[:5]}, as in the CSV",
        )


def _train(folder: Path, run: Any) -> None:
    """Train; what is raised while it logs is a finding."""
    try:
        train_in(folder / "run", run)
    except MapushError:
        raise
    except Exception as error:
        raise ContractError(
            f"training dies when it logs: {type(error).__name__}: {error}",
            where=f"env step {run.step}, after {run.iteration} iterations",
            cause="the logger reads something that environment or learner do not offer",
        ) from error


def _require_metrics(metrics: Any) -> None:
    if metrics is None or not callable(getattr(metrics, "summary", None)):
        expected = "mapush.env.metrics.EpisodeMetrics, or anything with names, add_step and summary"
        raise _no_statistics(f"env.metrics is a {type(metrics).__name__}", expected)


def _no_statistics(got: str, expected: str) -> ContractError:
    return ContractError(
        "the logger has no environment: none of its statistics are logged",
        where="env.metrics",
        got=got,
        expected=expected,
        cause="the environment does not keep them, or a wrapper does not pass them on",
        fix="self.metrics = EpisodeMetrics(names, num_envs, device) in the environment",
    )


def _make_episodes_end(env: Any) -> None:
    """Bring two envs to their time limit, where the env's state tells how long its episodes are."""
    state = env.state_dict()
    if "length" in state:
        state["length"][:2] = env.max_episode_length
        env.load_state_dict(state)


def _require_column(columns: Columns, name: str, row: int, expected: float) -> None:
    got = columns.get(name, [])[row : row + 1]
    if not got or not math.isclose(got[0], expected, rel_tol=1e-4, abs_tol=1e-6):
        raise ContractError(
            f"the log does not tell what happened in the environment: {name}",
            where=f"{CSV}, row {row}",
            got=str(got[0] if got else "no such column"),
            expected=f"{expected:.6g}, counted from what the environment returned",
            cause="the statistics are of another environment, or of another time",
        )


def _note_keys(owner: Any, method: str, names: Callable[[Any, Any], Set[str]], into: Set[str]) -> None:
    """Note which names a method of `owner` gets or returns, whenever it is called."""
    original = getattr(owner, method)

    def noting(argument: Any) -> Any:
        result = original(argument)
        into.update(names(argument, result))
        return result

    setattr(owner, method, noting)


def _require_complete(name: str, place: str, columns: Columns, rows: int) -> None:
    values = columns.get(name, [])
    there = sum(not math.isinf(value) for value in values)
    if there == rows:
        return
    when = "never appears" if not there else f"is in {there} of {rows} rows"
    raise ContractError(
        f"{name} {when} in the {place}",
        where=place,
        got=f"{there} numbers",
        expected=f"one in each of {rows} rows",
        cause="a key that is not in the first row, or not in every row, has no place in a table",
        fix="log every key from the first row on, nan where there is no number yet",
    )


def _log_rows(logger: Any, first: int, last: int) -> None:
    for iteration in range(first, last):
        # a success now and then, so that both forms of the console's text are written
        metrics = {"fps": 1e3 + iteration, "reward/total": 0.5 * iteration, "episodes": float(iteration % 50 == 0)}
        logger.log(iteration * 100, iteration, dict(metrics, **{"episode/return": math.sqrt(iteration)}))
        logger.advance(iteration * 100, 1e3 + iteration, math.nan)


def _holdings(logger: Any) -> Dict[str, int]:
    """Count what a logger may pile up: files, threads, bytes below each attribute, and memory of the process."""
    gc.collect()
    held = {"open files": len(os.listdir("/proc/self/fd")), "threads": threading.active_count()}
    attributes = {**{name: value for name, value in vars(type(logger)).items() if _is_data(value)}, **vars(logger)}
    for name, value in attributes.items():
        held[f"bytes in {type(logger).__name__}.{name}"] = _bytes_below(value)
    held["memory blocks"] = sys.getallocatedblocks()
    return held


def _is_data(value: Any) -> bool:
    return isinstance(value, (list, dict, set, bytearray)) or type(value).__name__ == "deque"


def _bytes_below(root: Any) -> int:
    """Return the size of all objects that can be reached from one, but for classes, modules and functions."""
    seen: Set[int] = set()
    size, queue = 0, [root]
    while queue:
        value = queue.pop()
        if id(value) in seen or isinstance(value, (type, type(sys), type(_is_data), threading.Thread)):
            continue
        seen.add(id(value))
        size += sys.getsizeof(value)
        queue.extend(gc.get_referents(value))
    return size
