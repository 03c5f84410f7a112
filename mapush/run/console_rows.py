"""The rows that a training run prints: one compact line an iteration, or the lines of HARL."""

from __future__ import annotations

import math
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

from mapush.config import RunConfig
from mapush.env.metrics import wilson_interval
from mapush.run.progress import clock_time

ROWS_PER_HEADER = 20
EPISODES_IN_MEANS = 1000
"""Most recent episodes over which `EpisodeMetrics` takes its means."""

Numbers = Dict[str, float]


class _Column(NamedTuple):
    """A column of the table.

    Attributes:
      title: its header.
      width: characters, with the space on its left.
      needs: name of the number without which the column is left out.
      text: makes the cell from a row.
    """

    title: str
    width: int
    needs: str
    text: Callable[[Numbers], str]


class IterationTable:
    """Makes the compact rows of a run, and a header above the first and every twentieth of them.

    The first row decides which columns there are: a task without success has no column for it.

    Args:
      total_steps: env steps of the complete run.
    """

    def __init__(self, total_steps: int) -> None:
        self._total_steps = total_steps
        self._columns: List[_Column] = []
        self._rows = 0

    def lines(self, step: int, row: Numbers) -> Tuple[Optional[str], str]:
        """Return the header, or None where none is due, and the row of an iteration.

        Args:
          step: env steps taken so far.
          row: the numbers of `RunLogger.report`, and `rss_mib`.
        """
        steps_left = max(self._total_steps - step, 0)
        numbers = dict(row, step=step, seconds_left=steps_left / max(row["fps"], 1e-9))
        if not self._columns:
            self._columns = [column for column in _COLUMNS if column.needs in numbers]
        header: Optional[str] = None
        if self._rows % ROWS_PER_HEADER == 0:
            header = "".join(column.title.rjust(column.width) for column in self._columns)
        self._rows += 1
        cells = [_cell(column, numbers).rjust(column.width) for column in self._columns]
        return header, "".join(cells)


def harl_lines(config: RunConfig, step: int, iteration: int, row: Numbers) -> List[str]:
    """Return an iteration in HARL's words, so that scripts that parse HARL's console output can parse ours.

    Args:
      config: configuration of the run.
      step: env steps taken so far.
      iteration: rollouts and updates done so far.
      row: the numbers of `RunLogger.report`.
    """
    iterations = math.ceil(config.total_steps * iteration / step)
    run = f"Env mapush Task {config.task_name} Algo happo Exp {config.preset}"
    progress = f"updates {iteration}/{iterations} episodes, total num timesteps {step}/{config.total_steps}"
    lines = [
        f"{run} {progress}, FPS {row['fps']:.0f}.",
        f"Average step reward is {row['reward/total']:.6f}.",
    ]
    if row["episodes"] == 0:
        return lines
    lines.append(f"Some episodes done, average episode reward is {row['episode/return']:.4f}.")
    if "episode/success" in row and "episode/collision" in row:
        success = f"Success: {row['episode/success']:.3f}"
        collision = f"Collision: {row['episode/collision']:.3f}"
        lines.append(f"[MAPush Stats] {success} | {collision} | Episodes: {row['episodes']:.0f}")
    return lines


def _cell(column: _Column, row: Numbers) -> str:
    value = row.get(column.needs, math.nan)
    if math.isnan(value):
        return "-"
    return column.text(row)


def _success(row: Numbers) -> str:
    """Return the success rate and its 95 % interval [%]."""
    trials = min(int(row["episodes"]), EPISODES_IN_MEANS)
    if trials == 0:
        return "-"
    rate = row["episode/success"]
    successes = min(max(round(rate * trials), 0), trials)  # an environment of your own may report anything
    low, high = wilson_interval(successes, trials)
    return f"{100 * rate:.0f}% ({100 * low:.0f}-{100 * high:.0f})"


def _return(row: Numbers) -> str:
    value = row["episode/return"]
    if abs(value) < 1000.0:
        return f"{value:.2f}"
    if abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:.2e}"


def _kl(row: Numbers) -> str:
    value = row["train/approx_kl"]
    if value < 100.0:
        return f"{value:.4f}"
    return f"{value:.0e}"


def _memory(row: Numbers) -> str:
    mib = row["rss_mib"]
    if mib < 1000.0:
        return f"{mib:.0f}M"
    return f"{mib / 1024.0:.1f}G"


def _count(number: float) -> str:
    """Return a number with three digits and a unit, such as 1.23M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            digits = 2 - min(int(math.log10(1.0005 * number / size)), 2)
            return f"{number / size:.{digits}f}{unit}"
    return f"{number:.0f}"


_COLUMNS = (
    _Column("steps", 6, "step", lambda row: _count(row["step"])),
    _Column("success", 15, "episode/success", _success),
    _Column("return", 9, "episode/return", _return),
    _Column("steps/s", 10, "fps", lambda row: f"{row['fps']:,.0f}"),
    _Column("ETA", 7, "seconds_left", lambda row: clock_time(row["seconds_left"])),
    _Column("KL", 8, "train/approx_kl", _kl),
    _Column("entropy", 8, "train/entropy", lambda row: f"{row['train/entropy']:.2f}"),
    _Column("expl.var", 9, "train/explained_variance", lambda row: f"{row['train/explained_variance']:.2f}"),
    _Column("memory", 7, "rss_mib", _memory),
)
