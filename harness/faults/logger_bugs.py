"""Bugs of the log: statistics that are missing or wrong, and loggers that grow."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any, Dict, Iterator

from harness.faults.plant import planted, replaced, replaces

SUMMARY = "mapush.env.metrics:EpisodeMetrics.summary"
WRITE_CSV = "mapush.run.logger:RunLogger._write_csv"
ROWS_PER_LEAK = 50  # a file or a thread is left behind once in so many rows

# -- what is logged ----------------------------------------------------------------------------------------------------


@replaces(SUMMARY, "logger", "logger-environment", "mission bug 7")
def logger_without_environment(original: Any, metrics: Any) -> Dict[str, float]:
    """The log contains none of the environment's statistics."""
    original(metrics)
    return {"episodes": 0.0}


@replaces(
    "mapush.env.metrics:EpisodeMetrics.add_episodes",
    "logger",
    "logger-environment",
    says="what happened in the environment",
)
def logger_counts_no_episodes(original: Any, metrics: Any, *args: Any) -> None:
    """Episodes that end do not enter the statistics."""


@replaces(SUMMARY, "logger", "logger-keys")
def logger_drops_a_reward_term(original: Any, metrics: Any) -> Dict[str, float]:
    """One term of the reward is not in the log."""
    summary = original(metrics)
    terms = [name for name in summary if name.startswith("reward/")]
    if terms:
        del summary[terms[-1]]
    return summary


@replaces(SUMMARY, "logger", "logger-keys", says="episode/collaboration never appears in the CSV")
def logger_drops_nan(original: Any, metrics: Any) -> Dict[str, float]:
    """A statistic that is not known yet is left out, so that it has no column."""
    return {name: value for name, value in original(metrics).items() if value == value}


@replaces(WRITE_CSV, "logger", "logger-keys", says="episode/success never appears in the CSV")
def csv_loses_a_column(original: Any, logger: Any, row: Dict[str, float]) -> None:
    """One statistic is not written to the CSV."""
    row = dict(row)
    row.pop("episode/success", None)
    original(logger, row)


@replaces(WRITE_CSV, "logger", "logger-keys", says="different numbers of reward/ocb")
def csv_differs_from_tensorboard(original: Any, logger: Any, row: Dict[str, float]) -> None:
    """The CSV has a reward in different units than TensorBoard."""
    original(logger, dict(row, **{"reward/ocb": 2.0 * row["reward/ocb"] + 1.0}))


@replaces(
    "torch.utils.tensorboard:SummaryWriter.add_scalar",
    "logger",
    "logger-keys",
    says="place their rows at different steps",
)
def tensorboard_counts_iterations(original: Any, writer: Any, name: str, value: float, step: int) -> None:
    """TensorBoard gets the number of the iteration where the CSV has env steps."""
    original(writer, name, value, step // 35)


# -- what grows --------------------------------------------------------------------------------------------------------


@replaces(
    "mapush.run.logger:RunLogger.log",
    "logger",
    "logger-bounded",
    "mission bug 2",
    says="grows without bound: bytes in RunLogger.history",
)
def logger_keeps_every_row(original: Any, logger: Any, step: int, iteration: int, metrics: Dict[str, float]) -> None:
    """The logger keeps all rows in memory."""
    vars(logger).setdefault("history", []).append(dict(metrics))
    original(logger, step, iteration, metrics)


@planted("logger", "logger-bounded", says="grows without bound: open files")
def logger_leaves_files_open(_: int = 1) -> Iterator[None]:
    """The logger opens files again and again, and closes none."""
    from mapush.run.logger import RunLogger

    def log(original: Any, logger: Any, step: int, iteration: int, metrics: Dict[str, float]) -> None:
        original(logger, step, iteration, metrics)
        if iteration % ROWS_PER_LEAK == 0:
            file = os.open(os.devnull, os.O_RDONLY)
            stack.callback(os.close, file)

    with contextlib.ExitStack() as stack, replaced(RunLogger, "log", log):
        yield


@planted("logger", "logger-bounded", says="grows without bound: threads")
def logger_starts_threads(_: int = 1) -> Iterator[None]:
    """The logger starts threads again and again, and none of them ends."""
    from mapush.run.logger import RunLogger

    over = threading.Event()

    def log(original: Any, logger: Any, step: int, iteration: int, metrics: Dict[str, float]) -> None:
        original(logger, step, iteration, metrics)
        if iteration % ROWS_PER_LEAK == 0:
            threading.Thread(target=over.wait, daemon=True).start()

    try:
        with replaced(RunLogger, "log", log):
            yield
    finally:
        over.set()
