"""The log of a run: console, progress bar, log file, TensorBoard, and a CSV with the same numbers."""

from __future__ import annotations

import contextlib
import csv
import math
import os
import time
from pathlib import Path
from typing import Callable, Dict, List, Tuple

import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mapush.config import RunConfig
from mapush.errors import MapushError
from mapush.run.atomic import written_at_once
from mapush.run.console_rows import IterationTable, harl_lines
from mapush.run.learning_watch import LearningWatch
from mapush.run.progress import advice
from mapush.run.wandb_run import open_wandb

CSV = "progress.csv"
TENSORBOARD = "tensorboard"
TEXT = "train.log"
MIB = 2**20
SECONDS_PER_TICK = 0.25


class RunLogger:
    """Writes one row per log interval; holds no history.

    The console gets a compact row, or HARL's lines with `console` "harl"; the run's log file always gets HARL's lines.

    Args:
      run_dir: folder of the run.
      config: its configuration.
      step: env steps taken before; later rows, which a killed run has left, are dropped.
      clock: returns the time [s].
    """

    def __init__(
        self, run_dir: Path, config: RunConfig, step: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._config = config
        self._path = run_dir / CSV
        self._text = run_dir / TEXT
        self._table = IterationTable(config.total_steps)
        self._columns, kept = _drop_rows_after(self._path, step)
        self._wandb = open_wandb(run_dir, config)
        self._watch = LearningWatch(config)
        for row in kept:
            self._watch.look(int(row["step"]), row)
        self._advised = False
        self._wall_s_before = 0.0
        if kept:
            self._wall_s_before = kept[-1].get("wall_s", 0.0)
        self._clock = clock
        self._start = self._next_tick = clock()
        self._writer = SummaryWriter(str(run_dir / TENSORBOARD), purge_step=step + 1 if step else None)
        self._process = psutil.Process(os.getpid())
        self._console = Console(highlight=False)
        self._progress = _progress_bar(self._console)
        label = f"{config.task_name} seed {config.seed}"
        self._bar = self._progress.add_task("", total=config.total_steps, completed=step, label=label, rate="")
        self._progress.start()

    def say(self, text: str, style: str = "") -> None:
        """Print a line above the progress bar, and write it to the run's log file.

        Args:
          text: the line.
          style: how a terminal shows it, in rich's words.
        """
        self._show(text, style)
        self._note(text)

    def tick(self, step: int) -> None:
        """Move the progress bar within an iteration; this is cheap enough for every decision.

        Args:
          step: env steps taken so far.
        """
        now = self._clock()
        if now >= self._next_tick and not self._progress.disable:
            self._next_tick = now + SECONDS_PER_TICK
            self._progress.update(self._bar, completed=min(step, self._config.total_steps))

    def advance(self, step: int, rate: float, success: float) -> None:
        """Move the progress bar.

        Args:
          step: env steps taken so far.
          rate: env-steps/s.
          success: success rate; nan if the task has none.
        """
        text = f"{rate:,.0f} steps/s"
        if not math.isnan(success):
            text += f"  success {success:.0%}"
        self._progress.update(self._bar, completed=min(step, self._config.total_steps), rate=text)

    def report(
        self,
        step: int,
        iteration: int,
        rate: float,
        losses: Dict[str, float],
        health: Dict[str, float],
        metrics: Dict[str, float],
    ) -> None:
        """Write the row of an interval and move the progress bar.

        Args:
          step: env steps taken so far.
          iteration: rollouts and updates done so far.
          rate: env-steps/s.
          losses: the learner's report on its last update.
          health: the simulator's report.
          metrics: the result of `EpisodeMetrics.summary`.

        Raises:
          MapushError: the disk is full or the folder cannot be written.
        """
        row = {"reward/total": total_reward(metrics), "fps": rate}
        for name, value in losses.items():
            row["train/" + name] = value
        for name, value in health.items():
            row["sim/" + name] = value
        row.update(metrics)
        self.log(step, iteration, row)
        if not self._advised:
            self._advised = True
            hint = advice(self._config, (self._config.total_steps - step) / rate)
            if hint is not None:
                self.say(hint, "bold")
        self.advance(step, rate, metrics.get("episode/success", math.nan))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Write one number only to TensorBoard and Weights & Biases."""
        self._writer.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log({name: value}, step)

    def log(self, step: int, iteration: int, metrics: Dict[str, float]) -> None:
        """Write one row.

        Args:
          step: env steps taken so far.
          iteration: rollouts and updates done so far.
          metrics: name and value; the first row decides which columns the CSV has. `rss_mib` is this process's, if
            it is not among them.

        Raises:
          MapushError: the disk is full or the folder cannot be written.
        """
        wall_s = self._wall_s_before + self._clock() - self._start
        row = {"rss_mib": self._process.memory_info().rss / MIB, **metrics, "wall_s": wall_s}
        try:
            self._write_csv(dict(row, step=step, iteration=iteration))
            for name, value in row.items():
                self._writer.add_scalar(name, value, step)
            self._writer.flush()
        except OSError as error:
            raise MapushError(
                "the log could not be written",
                where=str(self._path.parent),
                got=str(error),
                cause="the disk is full, or the folder is not writable",
                fix=f"free space; earlier checkpoints are complete, continue with --resume {self._path.parent}",
            ) from error
        if self._wandb is not None:
            self._wandb.log(row, step)
        self._print(step, iteration, row)
        for warning in self._watch.look(step, row):
            self.say(warning, "bold yellow")

    def close(self) -> None:
        """Close the progress bar, TensorBoard's file and Weights & Biases; all rows are already written.

        Further calls do nothing.
        """
        self._progress.stop()
        if self._wandb is not None:
            self._wandb.close()
        with contextlib.suppress(OSError):
            self._writer.close()

    def _write_csv(self, row: Dict[str, float]) -> None:
        first = not self._columns
        if first:
            self._columns = ["step", "iteration"] + sorted(set(row) - {"step", "iteration"})
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore")
            if first:
                writer.writeheader()
            writer.writerow(row)

    def _print(self, step: int, iteration: int, row: Dict[str, float]) -> None:
        for line in harl_lines(self._config, step, iteration, row):
            self._note(line)
            if self._config.console == "harl":
                self._show(line)
        if self._config.console == "harl":
            return
        header, line = self._table.lines(step, row)
        if header is not None:
            self._show(header, "bold")
        self._show(line)

    def _show(self, text: str, style: str = "") -> None:
        self._console.print(text, markup=False, soft_wrap=True, style=style)

    def _note(self, line: str) -> None:
        """Write a line to the log file; if the disk is full, the CSV ends the run with an error that says so."""
        with contextlib.suppress(OSError), self._text.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def total_reward(metrics: Dict[str, float]) -> float:
    """Return the sum of the reward terms in the result of `EpisodeMetrics.summary`."""
    return sum(value for name, value in metrics.items() if name.startswith("reward/"))


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.fields[label]}"),
        BarColumn(),
        TextColumn("{task.percentage:>5.1f} %  {task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=120,
        disable=not console.is_terminal,
    )


def _drop_rows_after(path: Path, step: int) -> Tuple[List[str], List[Dict[str, float]]]:
    """Rewrite the CSV without rows after `step`; return its columns and its rows, or nothing if no row remains."""
    if not path.is_file():
        return [], []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        rows = []
        for row in reader:
            complete = None not in row.values()  # a killed process may have cut the last row short
            if complete and int(row["step"]) <= step:
                rows.append(row)
    if not rows:
        path.unlink()
        return [], []
    with written_at_once(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return columns, [_numbers_of(row) for row in rows]


def _numbers_of(row: Dict[str, str]) -> Dict[str, float]:
    """Return the cells of a row that hold a number."""
    numbers: Dict[str, float] = {}
    for name, text in row.items():
        with contextlib.suppress(ValueError):  # an empty cell
            numbers[name] = float(text)
    return numbers
