"""Soak a training: `python -m harness memory [cuboid|tblock|cylinder|walk] [--minutes 8] [--num-envs 4096] ...`.

For `--gpus`, see `harness.soaking.soak_ranks`; for `python -m harness memory PACKAGE.MODULE:MAKE`, see
`harness.soaking.own_command`.

It trains as `python -m mapush.train` does, with its log and its snapshots. In half of the envs all robots walk straight
at the object and end in a heap, so that contact buffers see their worst case.

Exit codes: 0 no leak, and everything was released; 1 a leak, not enough data, more memory than predicted, or memory
that was not released; 2 an error.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple

import tyro
from typing_extensions import Annotated, Literal

from harness.memory.driver import DriverMeter
from harness.memory.meters import BYTES
from harness.memory.soak import Subject, say_nothing, soak
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import amount
from harness.pages.soak_page import make_writable, write_soak
from harness.process.ending import SHOWN_LINES, Ending
from harness.process.isolate import call
from harness.soaking import own_command
from harness.soaking.soak_ranks import soak_ranks
from harness.status.shared_progress import FollowedProgress, ProgressWriter, read_progress
from harness.status.status_line import StatusLine
from mapush.assembly import TASKS, make_env, resolve, share_the_cores
from mapush.config import PushRunConfig, RunConfig, SimConfig, steps_per_decision
from mapush.errors import ConfigError, MapushError
from mapush.presets import preset
from mapush.run import capacity
from mapush.train import MakeEnv, Run

if TYPE_CHECKING:
    import torch

    from mapush.env.vec_env import Transition, VecEnv

NAME = "harness memory"
WARM_UP_ITERATIONS = 5  # after which everything is allocated
MIN_ITERATIONS = 40
CROWDED_STRIDE = 2  # every n-th env is driven into heaps
BUFFERS = {"contacts": "nconmax", "rows": "njmax"}
"""What the simulator reports as the peak of a buffer, and as its limit."""
ALLOWED_RATIO = 1.1  # of the peak of GPU memory to the prediction
NAME_OF_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[\w.]+")
ENDLESS_STEPS = 10**15  # more env steps than any soak takes


class CrowdedEnv:
    """A `VecEnv` that drives every `CROWDED_STRIDE`-th env into heaps.

    In these envs all robots walk straight at the object; the learner's actions are ignored there.

    Args:
      env: an environment with a `simulator`.
    """

    def __init__(self, env: VecEnv) -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def step(self, actions: torch.Tensor) -> Transition:
        """Take one decision; see `VecEnv.step`."""
        import torch

        from mapush.sim.geometry import rotate_xy, yaw_of

        state = self._env.simulator.state()  # type: ignore[attr-defined]
        offset = state.object_pos_w[:, None, :2] - state.robot_pos_w[..., :2]
        offset_in_robot_frame = rotate_xy(offset, -yaw_of(state.robot_quat_w))
        ahead = torch.nn.functional.normalize(offset_in_robot_frame, dim=-1)
        actions = actions.clone()
        actions[::CROWDED_STRIDE, :, :2] = ahead[::CROWDED_STRIDE]
        actions[::CROWDED_STRIDE, :, 2] = 0.0
        return self._env.step(actions)


def make_crowded_env(config: RunConfig) -> Any:
    """Return the environment of a run; a pushing task comes with half of its envs driven into heaps."""
    env = make_env(config)
    if isinstance(config, PushRunConfig):
        return CrowdedEnv(env)
    return env


def make_training(config: RunConfig, folder: Path, make_env: MakeEnv = make_crowded_env) -> Subject:
    """Start a training and return it as a subject whose cycles are iterations.

    Args:
      config: resolved configuration.
      folder: folder of its log.
      make_env: builds the environment from the configuration.

    Raises:
      CapacityError: the run does not fit into the GPU.
    """
    from mapush.run.logger import RunLogger

    run = Run.start(config, make_env)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        logger = RunLogger(folder, config)  # not in a terminal, so without a progress bar
    buffers: Dict[str, Tuple[float, float]] = {}

    def advance() -> None:
        run.snapshot()
        losses = run.iterate()
        assert losses is not None  # nothing asks the run to stop
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            logger.log(run.step, run.iteration, _row(run, losses))
        _note_peaks(buffers, run.health)

    def close() -> None:
        logger.close()
        run.close()

    return Subject(
        advance,
        steps=config.num_envs * config.num_steps * steps_per_decision(config),
        close=close,
        owners={
            "env": run.env,
            "metrics": run.env.metrics,
            "rollout": run.rollout,
            "learner": run.agent,
            "logger": logger,
        },
        buffers=lambda: dict(buffers),
    )


def _row(run: Run, losses: Dict[str, float]) -> Dict[str, float]:
    """Return a row of the log: that of `RunLogger.report`."""
    metrics = run.env.metrics.summary()
    row = {"reward/total": 0.0, "fps": 0.0}
    for name, value in metrics.items():
        if name.startswith("reward/"):
            row["reward/total"] += value
    for name, value in losses.items():
        row[f"train/{name}"] = value
    for name, value in run.health.items():
        row[f"sim/{name}"] = value
    row.update(metrics)
    return row


def _note_peaks(buffers: Dict[str, Tuple[float, float]], health: Dict[str, float]) -> None:
    """Update the peaks and limits of the buffers with what the simulator reported of the last rollout."""
    for name, limit in BUFFERS.items():
        if name in health:
            earlier_peak, _ = buffers.get(name, (0.0, 0.0))
            buffers[name] = (max(health[name], earlier_peak), health[limit])


def soak_training(
    config: RunConfig,
    minutes: float = 0.0,
    iterations: int = MIN_ITERATIONS,
    trace: bool = False,
    make_env: MakeEnv = make_crowded_env,
    on_progress: Callable[..., Any] = say_nothing,
) -> SoakReport:
    """Train under the meters, on the simulator that the configuration names, and judge the memory.

    Args:
      config: what to train.
      minutes: minimum duration [min].
      iterations: minimum number of iterations.
      trace: also find the lines that allocate what grows; see `soak`.
      make_env: builds the environment from the configuration.
      on_progress: see `soak`.

    Raises:
      CapacityError: the run does not fit into the GPU; nothing was made.
      SimulatorError: a buffer was too small, or the physics diverged.
    """
    driver = DriverMeter()  # before anything uses the GPU
    config, reason = resolve(dataclasses.replace(config, total_steps=ENDLESS_STEPS, log_interval=1))
    uses_gpu = config.sim.backend == "warp"
    with tempfile.TemporaryDirectory() as place:
        report = soak(
            lambda: make_training(config, Path(tempfile.mkdtemp(dir=place)), make_env),
            warm_up=WARM_UP_ITERATIONS,
            cycles=iterations,
            seconds=60.0 * minutes,
            gpu=driver if uses_gpu else None,
            trace=trace,
            on_progress=on_progress,
        )
    report.notes.insert(0, f"{config.num_envs} envs of {config.task_name} on {config.sim.backend} ({reason})")
    if uses_gpu:
        compare_with_prediction(report, capacity.predict(config).total)
    return report


def soak_training_in_child(
    config: RunConfig, minutes: float = 0.0, iterations: int = MIN_ITERATIONS, trace: bool = False
) -> SoakReport:
    """Train under the meters in a process of its own, and show in this one how far it is; see `soak_training`.

    The process that is judged has no terminal, so that nothing of a display is among what the meters see.

    Raises:
      MapushError: that of `soak_training`, or its process died.
    """
    with StatusLine(NAME, even=True) as status, tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "progress")
        shown = FollowedProgress(file, status)
        ending = call(_soaked, config, minutes, iterations, trace, file, watcher=shown)
        reached = read_progress(file).doing or "starting"
    if not ending.ok:
        raise _death(ending, reached)
    if isinstance(ending.result, MapushError):
        raise ending.result
    return ending.result


def _soaked(config: RunConfig, minutes: float, iterations: int, trace: bool, progress: Path) -> Any:
    """Return the report, or the error that ended the training, which is shown as one message."""
    os.environ["TTY_COMPATIBLE"] = "0"  # whatever the environment says, this is not a terminal
    try:
        return soak_training(config, minutes, iterations, trace, on_progress=ProgressWriter(progress))
    except MapushError as error:
        return error


def _death(ending: Ending, reached: str) -> MapushError:
    words = "".join(f"\n  | {line}" for line in list(ending.evidence.lines)[-SHOWN_LINES:])
    return MapushError(
        f"the training ends while {reached}: {ending.summary}{words}", cause=ending.cause, fix=ending.fix
    )


def compare_with_prediction(report: SoakReport, predicted: int) -> None:
    """Note the peak of GPU memory next to the prediction.

    A peak above `ALLOWED_RATIO` times the prediction makes the report fail, like memory that was not released.

    Args:
      report: of the soak; its notes are extended.
      predicted: the prediction [bytes].
    """
    used = report.peaks.get("driver")
    if used is None:
        return
    text = f"peak of the driver {amount(used, BYTES)}, predicted {amount(predicted, BYTES)}"
    report.notes.append(f"{text} ({used / predicted - 1.0:+.1%})")
    if used > ALLOWED_RATIO * predicted:
        report.kept.append(f"more than predicted: {text}")


# -- command line ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class MemoryConfig:
    """Train under memory meters and say what leaks, whose it is, and what is not released."""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="{" + ",".join(TASKS) + "}")] = "cuboid"
    """What to train."""
    preset: str = "default"
    """Preset of the task."""
    num_envs: Optional[int] = None
    """Number of parallel envs; by default the preset's."""
    num_steps: Optional[int] = None
    """Decisions in a rollout; by default the preset's."""
    sim: Literal["auto", "mujoco", "warp"] = "auto"
    """Simulator."""
    vram_limit: Annotated[Optional[str], tyro.conf.arg(metavar="8GiB")] = None
    """How much memory of the GPU the run may take."""
    gpus: Annotated[Optional[str], tyro.conf.arg(metavar="{N,all}")] = None
    """Train with several ranks, as `mapush train --gpus` does, and judge each of them, for --minutes."""
    minutes: float = 8.0
    """Minimum duration of the training under the meters [min]."""
    iterations: int = MIN_ITERATIONS
    """Minimum number of iterations under the meters."""
    report: Annotated[Optional[Path], tyro.conf.arg(metavar="DIR")] = None
    """Folder to write soak.json, soak.html and soak.png to."""
    trace: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also name the lines that allocate what grows (slow)."""

    def training(self) -> List[str]:
        """Return the words after `python -m mapush.train` that ask for this training."""
        words = [self.task]
        for name in ("preset", "gpus", "num_envs", "num_steps", "sim", "vram_limit"):
            value = getattr(self, name)
            if value is not None:
                words += [f"--{name.replace('_', '-')}", str(value)]
        return words

    def run_config(self) -> RunConfig:
        """Return the configuration of the training.

        Raises:
          ConfigError: a setting is invalid.
        """
        if not 0.0 <= self.minutes < math.inf:
            raise ConfigError("invalid --minutes", got=str(self.minutes), expected="a finite number, at least 0")
        if self.iterations < 1:
            raise ConfigError("invalid --iterations", got=str(self.iterations), expected="at least 1")
        if self.gpus is not None and self.trace:
            raise ConfigError(
                "--trace looks into one process only", got=f"--gpus {self.gpus}", fix="leave one of them out"
            )
        config = preset(self.task, self.preset)
        changes: Dict[str, Any] = {"sim": SimConfig(backend=self.sim), "vram_limit": self.vram_limit}
        if self.num_envs is not None:
            changes["num_envs"] = self.num_envs
        if self.num_steps is not None:
            changes["num_steps"] = self.num_steps
        return dataclasses.replace(config, **changes)


def main(
    argv: Optional[Sequence[str]] = None, *, soak_training: Callable[..., SoakReport] = soak_training_in_child
) -> int:
    """Run the command and return the exit code.

    Args:
      argv: the words after the command's name; by default those of this process.
      soak_training: trains under the meters; see `soak_training_in_child`.
    """
    if argv is None:
        argv = sys.argv[1:]
    if any(NAME_OF_FACTORY.fullmatch(word) for word in argv):
        return own_command.main(argv)
    share_the_cores()
    options = tyro.cli(MemoryConfig, args=argv, prog="python -m harness memory")
    try:
        config = options.run_config()
        if options.report is not None:
            make_writable(options.report)
        if options.gpus is not None:
            return soak_ranks(options.training(), options.minutes, options.report)
        report = soak_training(config, options.minutes, options.iterations, options.trace)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    print(report)
    if options.report is not None:
        print(f"report: {write_soak(report, options.report)}")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
