"""Contracts of the log: it holds what happened, completely and in every row, and it does not grow in memory."""

from __future__ import annotations

import contextlib
import csv
import gc
import math
import os
import sys
import tempfile
import threading
import types
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, Set, Tuple

import psutil

from harness.findings import ContractError
from harness.object_graph import walk
from harness.stack.stack_under_test import StackUnderTest, train_in
from harness.stack.watched_env import watch
from mapush.errors import MapushError
from mapush.run.logger import CSV, TENSORBOARD
from mapush.train import Run

Columns = Dict[str, List[float]]
"""The numbers of a table by column; infinity stands for an empty cell."""

WARM_UP_ROWS = 100
"""Rows that are logged before the first look at the memory."""
PROGRESS_UPDATES = 1000
"""Updates that a progress bar keeps to estimate the speed; they are filled before the first look."""
ROWS_PER_BLOCK = 10  # a logger may keep one memory block for so many rows: the allocator's noise
BYTES_PER_ROW = 4  # that an attribute may keep: less than any reference takes
COUNTED_TOLERANCE = 1e-4  # relative: float32 sums in the log against float64 sums here
FORMAT_TOLERANCE = 1e-5  # relative: TensorBoard stores float32

RUN_FOLDER = "run"

_NOT_COUNTED = (type, types.ModuleType, types.FunctionType, threading.Thread)


# -- what the environment did ----------------------------------------------------------------------------------------


def logger_environment(stack: StackUnderTest) -> None:
    """The log holds the environment's own statistics: its episodes and rewards are those that an observer counts.

    A run is trained to its end. The column `episodes` is compared with the ends that the environment returned, and
    `reward/total` with the mean of the rewards that it returned, within `COUNTED_TOLERANCE`.
    """
    with stack.run() as run, tempfile.TemporaryDirectory() as folder:
        _require_metrics(getattr(run.env, "metrics", None))
        env = watch(run)
        _end_two_episodes(run.env)
        columns = read_csv(_train(Path(folder), run) / CSV)
        if not any(name.startswith("episode/") for name in columns):
            got = f"the columns {', '.join(columns)}"
            raise _no_statistics(got, expected="episode/...: env.metrics.summary()")
        ended = sum(int(result.done.sum()) for result in env.results)
        _require_number(columns, "episodes", row=len(columns["step"]) - 1, expected=float(ended))
        num_steps = run.config.num_steps
        for row in range(len(env.results) // num_steps):
            total = 0.0
            for result in env.results[row * num_steps : (row + 1) * num_steps]:
                total += float(result.reward.mean())
            mean = total / num_steps / run.env.steps_per_decision
            _require_number(columns, "reward/total", row, expected=mean)


def _require_metrics(metrics: Any) -> None:
    if metrics is None or not callable(getattr(metrics, "summary", None)):
        expected = "mapush.env.metrics.EpisodeMetrics, or an object with names, add_step and summary"
        raise _no_statistics(f"env.metrics is a {type(metrics).__name__}", expected)


def _no_statistics(got: str, expected: str) -> ContractError:
    return ContractError(
        "the logger has no environment: none of its statistics are logged",
        where="env.metrics",
        got=got,
        expected=expected,
        cause="the environment has no statistics, or a wrapper does not pass them on",
        fix="self.metrics = EpisodeMetrics(names, num_envs, device) in the environment",
    )


def _end_two_episodes(env: Any) -> None:
    """Bring two envs to their time limit, if the state of the environment holds the length of its episodes."""
    state = env.state_dict()
    if "length" in state:
        state["length"][:2] = env.max_episode_length
        env.load_state_dict(state)


def _require_number(columns: Columns, name: str, row: int, expected: float) -> None:
    values = columns.get(name)
    if values is not None and row < len(values):
        if math.isclose(values[row], expected, rel_tol=COUNTED_TOLERANCE, abs_tol=1e-6):
            return
        got = str(values[row])
    else:
        got = "no such column"
    raise ContractError(
        f"the log does not match what happened in the environment: {name}",
        where=f"{CSV}, row {row}",
        got=got,
        expected=f"{expected:.6g}, counted from what the environment returned",
        cause="the statistics belong to a different environment, or to a different time",
    )


# -- every key in every row ------------------------------------------------------------------------------------------


def logger_keys(stack: StackUnderTest) -> None:
    """Every key of every term is in every row, from the first row on, with the same number in CSV and TensorBoard.

    Expected are all reward terms that the environment reports, all losses that the learner returns and all statistics
    of episodes, in each row, and the same steps in both files. Numbers must be equal within `FORMAT_TOLERANCE`.
    """
    with stack.run() as run, tempfile.TemporaryDirectory() as folder:
        expected = {"fps", "rss_mib", "episodes"}
        expected.update(f"episode/{name}" for name in run.env.metrics.names)
        _record_terms(run.env.metrics, expected)
        _record_losses(run.agent, expected)
        place = _train(Path(folder), run)
        in_csv = read_csv(place / CSV)
        in_tensorboard = read_tensorboard(place / TENSORBOARD)
    steps = in_csv.pop("step")
    in_csv.pop("iteration")
    _require_same_steps(steps, in_tensorboard.pop("step"))
    for name in sorted(expected | set(in_csv) | set(in_tensorboard)):
        _require_complete(name, "CSV", in_csv, len(steps))
        _require_complete(name, "TensorBoard", in_tensorboard, len(steps))
        _require_same_numbers(name, steps, in_csv[name], in_tensorboard[name])


def _record_terms(metrics: Any, into: Set[str]) -> None:
    """Add the column of every reward term that the environment reports from now on."""
    add_step = metrics.add_step

    def add_and_record(terms: Dict[str, Any]) -> None:
        add_step(terms)
        into.update(f"reward/{name}" for name in terms)

    metrics.add_step = add_and_record


def _record_losses(agent: Any, into: Set[str]) -> None:
    """Add the column of every loss that the learner returns from now on."""
    update = agent.update

    def update_and_record(rollout: Any) -> Any:
        losses = update(rollout)
        into.update(f"train/{name}" for name in losses)
        return losses

    agent.update = update_and_record


def _require_same_steps(in_csv: List[float], in_tensorboard: List[float]) -> None:
    if in_csv != in_tensorboard:
        raise ContractError(
            "CSV and TensorBoard place their rows at different steps",
            where=f"{CSV} and {TENSORBOARD}",
            got=f"{in_tensorboard[:5]} in TensorBoard",
            expected=f"{in_csv[:5]}, as in the CSV",
        )


def _require_complete(name: str, place: str, columns: Columns, rows: int) -> None:
    values = columns.get(name, [])
    present = len(values) - values.count(math.inf) - values.count(-math.inf)
    if present == rows:
        return
    when = f"is in {present} of {rows} rows"
    if present == 0:
        when = "never appears"
    raise ContractError(
        f"{name} {when} in the {place}",
        where=place,
        got=f"{present} numbers",
        expected=f"one in each of {rows} rows",
        cause="a key that is missing from the first row, or from any other row, has no place in a table",
        fix="log every key from the first row on, and nan where there is no number yet",
    )


def _require_same_numbers(name: str, steps: List[float], in_csv: List[float], in_tensorboard: List[float]) -> None:
    for step, one, other in zip(steps, in_csv, in_tensorboard):
        both_nan = math.isnan(one) and math.isnan(other)
        if not both_nan and not math.isclose(one, other, rel_tol=FORMAT_TOLERANCE, abs_tol=1e-30):
            raise ContractError(
                f"CSV and TensorBoard hold different numbers of {name}",
                where=f"env step {step:.0f}",
                got=f"{one!r} in the CSV, {other!r} in TensorBoard",
                expected="the same number",
            )


# -- reading a log ---------------------------------------------------------------------------------------------------


def read_csv(path: Path) -> Columns:
    """Return the columns of a CSV of numbers."""
    columns: Columns = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            for name, text in row.items():
                columns.setdefault(name, []).append(float(text or "inf"))
    return columns


def read_tensorboard(folder: Path) -> Columns:
    """Return the scalars of TensorBoard's event files by tag, in the order of their steps, and the steps as `step`."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    accumulator.Reload()
    columns: Columns = {}
    steps: Set[float] = set()
    for tag in accumulator.Tags()["scalars"]:
        events = accumulator.Scalars(tag)
        columns[tag] = [event.value for event in events]
        steps.update(float(event.step) for event in events)
    columns["step"] = sorted(steps)
    return columns


def _train(folder: Path, run: Run) -> Path:
    """Train a run to its end and return its folder; an exception while it logs is a finding."""
    place = folder / RUN_FOLDER
    try:
        train_in(place, run)
    except MapushError:
        raise
    except Exception as error:
        raise ContractError(
            f"training dies when it logs: {type(error).__name__}: {error}",
            where=f"env step {run.step}, after {run.iteration} iterations",
            cause="the logger reads something that the environment or the learner does not offer",
        ) from error
    return place


# -- growth ----------------------------------------------------------------------------------------------------------


def logger_bounded(stack: StackUnderTest) -> None:
    """Nothing grows with the number of rows: no objects, no bytes, no open files, no threads.

    Open files, threads, Python's memory blocks and the bytes of each attribute are counted after `WARM_UP_ROWS` rows
    and after `logger_rows` rows. Files and threads may not grow at all. The others may grow by less than any row that
    is kept would take, because the memory allocator itself adds some noise.
    """
    with contextlib.ExitStack() as context:
        folder = context.enter_context(tempfile.TemporaryDirectory())
        nowhere = context.enter_context(open(os.devnull, "w"))
        context.enter_context(contextlib.redirect_stdout(nowhere))
        logger = context.enter_context(contextlib.closing(stack.logger(Path(folder))))
        for step in range(PROGRESS_UPDATES):
            logger.advance(0, 1e3 + step, math.nan)
        _log_rows(logger, range(1, WARM_UP_ROWS))
        before = _holdings(logger)
        _log_rows(logger, range(WARM_UP_ROWS, stack.logger_rows))
        after = _holdings(logger)
    rows = stack.logger_rows - WARM_UP_ROWS
    allowed = {"open files": 0, "threads": 0, "memory blocks": rows // ROWS_PER_BLOCK}
    for name, amount in after.items():
        growth = amount - before.get(name, 0)
        limit = allowed.get(name, BYTES_PER_ROW * rows)
        if growth > limit:
            raise ContractError(
                f"the log grows without bound: {name}",
                where=f"{type(logger).__name__}, rows {WARM_UP_ROWS} to {stack.logger_rows}",
                got=f"{growth} more after {rows} rows",
                expected=f"at most {limit}",
                cause="every row is kept, or opens something that is not closed",
                fix="write rows out and forget them; a collections.deque(maxlen=...) keeps the last rows",
            )


def _log_rows(logger: Any, iterations: Iterable[int]) -> None:
    for iteration in iterations:
        metrics = {
            "fps": 1e3 + iteration,
            "reward/total": 0.5 * iteration,
            "episodes": float(iteration % 50 == 0),  # rarely, so that both forms of the console's text are written
            "episode/return": math.sqrt(iteration),
        }
        logger.log(iteration * 100, iteration, metrics)
        logger.advance(iteration * 100, 1e3 + iteration, math.nan)


def _holdings(logger: Any) -> Dict[str, int]:
    """Return how much of everything a logger may accumulate: files, threads, memory blocks, bytes of each attribute."""
    gc.collect()
    held = {"threads": threading.active_count()}
    if hasattr(psutil.Process, "num_fds"):  # not on Windows
        held["open files"] = psutil.Process().num_fds()
    attributes = {}
    for name, value in vars(type(logger)).items():
        if isinstance(value, (list, dict, set, bytearray)) or type(value).__name__ == "deque":
            attributes[name] = value
    attributes.update(vars(logger))
    for name, value in attributes.items():
        held[f"bytes in {type(logger).__name__}.{name}"] = _bytes_below(value)
    held["memory blocks"] = sys.getallocatedblocks()
    return held


def _bytes_below(root: Any) -> int:
    """Return the size of all objects that the collector reaches from an object, without classes, modules, functions."""
    if isinstance(root, _NOT_COUNTED):
        return 0
    return sum(sys.getsizeof(value) for _, value in walk(root, None, _referents))


def _referents(label: None, value: Any) -> Iterator[Tuple[None, Any]]:
    for referent in gc.get_referents(value):
        if not isinstance(referent, _NOT_COUNTED):
            yield label, referent
