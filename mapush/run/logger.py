"""The log of a run: console, progress bar, TensorBoard, and a CSV with the same numbers."""

from __future__ import annotations

import contextlib
import csv
import math
import os
from pathlib import Path
from typing import Dict, List

import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mapush.config import RunConfig
from mapush.errors import MapushError
from mapush.run.atomic import written_at_once

CSV = "progress.csv"
TENSORBOARD = "tensorboard"
MIB = 2**20


class RunLogger:
    """Writes one row per log interval; holds no history.

    Args:
      run_dir: folder of the run.
      config: its configuration.
      step: env steps taken before; later rows, which a killed run has left, are dropped.
    """

    def __init__(self, run_dir: Path, config: RunConfig, step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._config = config
        self._path = run_dir / CSV
        self._columns = _drop_rows_after(self._path, step)
        self._writer = SummaryWriter(str(run_dir / TENSORBOARD), purge_step=step + 1 if step else None)
        self._process = psutil.Process(os.getpid())
        self._console = Console(highlight=False)
        self._progress = _progress_bar(self._console)
        label = f"{config.task_name} seed {config.seed}"
        self._bar = self._progress.add_task("", total=config.total_steps, completed=step, label=label, rate="")
        self._progress.start()

    def say(self, text: str) -> None:
        """Print a line above the progress bar."""
        self._console.print(text, markup=False, soft_wrap=True)

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
        self.advance(step, rate, metrics.get("episode/success", math.nan))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Write one number only to TensorBoard."""
        self._writer.add_scalar(name, value, step)

    def log(self, step: int, iteration: int, metrics: Dict[str, float]) -> None:
        """Write one row.

        Args:
          step: env steps taken so far.
          iteration: rollouts and updates done so far.
          metrics: name and value; the first row decides which columns the CSV has.

        Raises:
          MapushError: the disk is full or the folder cannot be written.
        """
        row = dict(metrics, rss_mib=self._process.memory_info().rss / MIB)
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
        self._print(step, iteration, metrics)

    def close(self) -> None:
        """Close the progress bar and TensorBoard's file; all rows are already written. Further calls do nothing."""
        self._progress.stop()
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

    def _print(self, step: int, iteration: int, metrics: Dict[str, float]) -> None:
        """Print in HARL's format, so that scripts that parse HARL's console output can parse ours."""
        config = self._config
        iterations = math.ceil(config.total_steps * iteration / step)
        run = f"Env mapush Task {config.task_name} Algo happo Exp {config.preset}"
        progress = f"updates {iteration}/{iterations} episodes, total num timesteps {step}/{config.total_steps}"
        self.say(f"{run} {progress}, FPS {metrics['fps']:.0f}.")
        self.say(f"Average step reward is {metrics['reward/total']:.6f}.")
        if metrics["episodes"] == 0:
            return
        self.say(f"Some episodes done, average episode reward is {metrics['episode/return']:.4f}.")
        if "episode/success" in metrics and "episode/collision" in metrics:
            success = f"Success: {metrics['episode/success']:.3f}"
            collision = f"Collision: {metrics['episode/collision']:.3f}"
            self.say(f"[MAPush Stats] {success} | {collision} | Episodes: {metrics['episodes']:.0f}")


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


def _drop_rows_after(path: Path, step: int) -> List[str]:
    """Rewrite the CSV without rows after `step`; return its columns, or [] if no row remains."""
    if not path.is_file():
        return []
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
        return []
    with written_at_once(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return columns
