"""What a run tells while it trains: console, progress bar, TensorBoard and a CSV of the same numbers."""

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

CSV = "progress.csv"
TENSORBOARD = "tensorboard"


class RunLogger:
    """Writes one row per log interval; holds no history.

    Args:
      run_dir: folder of the run.
      config: its configuration.
      step: env steps taken before; rows after it, left by a run that was killed, are dropped.
    """

    def __init__(self, run_dir: Path, config: RunConfig, step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._config = config
        self._path = run_dir / CSV
        self._columns = _drop_rows_after(self._path, step)
        self._writer = SummaryWriter(str(run_dir / TENSORBOARD), purge_step=step + 1 if step else None)
        self._process = psutil.Process(os.getpid())
        self._console = Console(highlight=False)
        self._progress = Progress(
            TextColumn("{task.fields[label]}"),
            BarColumn(),
            TextColumn("{task.percentage:>5.1f} %  {task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=self._console,
            speed_estimate_period=120,
            disable=not self._console.is_terminal,
        )
        label = f"{config.task_name} seed {config.seed}"
        self._bar = self._progress.add_task("", total=config.total_steps, completed=step, label=label, rate="")
        self._progress.start()

    def say(self, text: str) -> None:
        """Print a line above the progress bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def advance(self, step: int, rate: float, success: float) -> None:
        """Move the progress bar to `step` env steps, at `rate` env-steps/s and a success rate, nan for none."""
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
          losses: what the learner says of its last update.
          health: what the simulator says.
          metrics: what `EpisodeMetrics.summary` says.
        Raises:
          MapushError: the disk is full or the folder cannot be written.
        """
        rewards = [value for name, value in metrics.items() if name.startswith("reward/")]
        row = {"reward/total": sum(rewards), "fps": rate}
        row.update({("train/" + name): value for name, value in losses.items()})
        row.update({("sim/" + name): value for name, value in health.items()})
        self.log(step, iteration, dict(row, **metrics))
        self.advance(step, rate, metrics.get("episode/success", math.nan))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Write one number to TensorBoard alone."""
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
        row = dict(metrics, rss_mib=self._process.memory_info().rss / 2**20)
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
                fix=f"free space; earlier checkpoints are whole, continue with --resume {self._path.parent}",
            ) from error
        self._print(step, iteration, metrics)

    def close(self) -> None:
        """Close everything; all rows are in the files already. Further calls do nothing."""
        self._progress.stop()
        with contextlib.suppress(OSError):
            self._writer.close()

    def _write_csv(self, row: Dict[str, float]) -> None:
        new = not self._columns
        if new:
            self._columns = ["step", "iteration"] + sorted(set(row) - {"step", "iteration"})
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self._columns, extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerow(row)

    def _print(self, step: int, iteration: int, metrics: Dict[str, float]) -> None:
        """Print in HARL's format, so that scripts which read HARL's console read ours."""
        config = self._config
        iterations = math.ceil(config.total_steps * iteration / step)
        place = f"Env mapush Task {config.task_name} Algo happo Exp {config.preset}"
        progress = "updates {}/{} episodes, total num timesteps {}/{}, FPS {:.0f}.".format(
            iteration, iterations, step, config.total_steps, metrics["fps"]
        )
        self.say(f"{place} {progress}")
        self.say("Average step reward is {:.6f}.".format(metrics["reward/total"]))
        if metrics["episodes"] > 0:
            self.say("Some episodes done, average episode reward is {:.4f}.".format(metrics["episode/return"]))
            if "episode/success" in metrics:
                self.say(
                    "[MAPush Stats] Success: {:.1%} | Collision: {:.1%} | Episodes: {:.0f}".format(
                        metrics["episode/success"], metrics["episode/collision"], metrics["episodes"]
                    )
                )


def _drop_rows_after(path: Path, step: int) -> List[str]:
    """Rewrite the CSV without rows after `step`; return its columns, [] if none remains."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        whole = [row for row in reader if None not in row.values()]  # a kill may have cut the last one short
    rows = [row for row in whole if int(row["step"]) <= step]
    if not rows:
        path.unlink()
        return []
    part = path.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(str(part), str(path))
    return columns
