"""Soak a training: `python -m harness memory [cuboid|tblock|cylinder|walk] [--minutes 8] [--num-envs 4096] ...`.

It trains as `python -m mapush.train` does, with its log and its snapshots, while half of the envs are driven into
heaps: there all robots walk straight at the object. Exit codes: 0 no leak, and all came back; 1 a leak, not enough data
to tell, more memory than predicted, or memory that did not come back; 2 an error.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, Optional, Sequence, Tuple
from unittest import mock

from harness.memory.curves import make_writable, write_soak
from harness.memory.driver import DriverMeter
from harness.memory.soak import Subject, soak
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import amount
from mapush import train
from mapush.assembly import TASKS, resolve, share_the_cores
from mapush.config import PushRunConfig, RunConfig, SimConfig, steps_per_decision
from mapush.errors import MapushError
from mapush.presets import preset
from mapush.run import capacity

if TYPE_CHECKING:
    import torch

    from mapush.env.vec_env import Transition, VecEnv
    from mapush.train import Run

WARM_UP = 5  # iterations; then all is allocated and recorded
ITERATIONS = 40  # at least
CROWDED = 2  # one env of so many is driven into heaps
LIMITS = {"contacts": "nconmax", "rows": "njmax"}
"""What the simulator reports of its buffers, and of their limits."""
ALLOWED = 1.1  # of the prediction


class Crowd:
    """A `VecEnv` in which the robots of every `CROWDED`-th env walk straight at the object, whatever the learner says.

    Args:
      env: an environment with a `simulator`.
    """

    def __init__(self, env: VecEnv) -> None:
        self._env = env

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def step(self, actions: torch.Tensor) -> Transition:
        """Act; see `VecEnv.step`."""
        import torch

        from mapush.sim.geometry import rotate_xy, yaw_of

        state = self._env.simulator.state()  # type: ignore[attr-defined]
        offset = state.object_pos_w[:, None, :2] - state.robot_pos_w[..., :2]
        ahead = torch.nn.functional.normalize(rotate_xy(offset, -yaw_of(state.robot_quat_w)), dim=-1)
        actions = actions.clone()
        actions[::CROWDED, :, :2], actions[::CROWDED, :, 2] = ahead[::CROWDED], 0.0
        return self._env.step(actions)


@contextlib.contextmanager
def crowded() -> Iterator[None]:
    """Let every pushing run that is started in this context be driven into heaps."""
    make_env = train.make_env

    def make_crowd(config: RunConfig) -> Any:
        env = make_env(config)
        return Crowd(env) if isinstance(config, PushRunConfig) else env

    with mock.patch.object(train, "make_env", make_crowd):
        yield


def make_training(config: RunConfig, folder: Path) -> Subject:
    """Start a training whose cycles are iterations.

    Args:
      config: resolved.
      folder: of its log.
    Raises:
      CapacityError: it does not fit.
    """
    from mapush.run.logger import RunLogger

    with crowded():
        run = train.Run.start(config)
    logger = RunLogger(folder, config)
    buffers: Dict[str, Tuple[float, float]] = {}

    def advance() -> None:
        run.snapshot()
        losses = run.iterate()
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            logger.log(run.step, run.iteration, _row(run, losses))
        for name, limit in LIMITS.items():
            if name in run.health:
                peak = max(run.health[name], buffers.get(name, (0.0,))[0])
                buffers[name] = (peak, run.health[limit])

    def close() -> None:
        logger.close()
        run.close()

    env, agent = run.env, run.agent
    owners = {"env": env, "metrics": env.metrics, "rollout": run.rollout, "learner": agent, "logger": logger}
    steps = config.num_envs * config.num_steps * steps_per_decision(config)
    return Subject(advance, steps, close, owners, lambda: dict(buffers))


def soak_training(
    config: RunConfig, minutes: float = 0.0, iterations: int = ITERATIONS, trace: bool = False
) -> SoakReport:
    """Train under the meters, on the simulator that is in `config`, and judge.

    Args:
      config: what to train.
      minutes: for how long at least [min].
      iterations: how many at least.
      trace: see `soak`.
    Raises:
      CapacityError: it does not fit; nothing was made.
      SimulatorError: a buffer was too small, or the physics diverged.
    """
    driver = DriverMeter()  # before anything uses the GPU
    config, reason = resolve(dataclasses.replace(config, total_steps=10**15, log_interval=1))
    uses_gpu = config.sim.backend == "warp"
    with tempfile.TemporaryDirectory() as place:
        report = soak(
            lambda: make_training(config, Path(tempfile.mkdtemp(dir=place))),
            WARM_UP,
            iterations,
            60.0 * minutes,
            gpu=driver if uses_gpu else None,
            trace=trace,
        )
    report.notes.insert(0, f"{config.num_envs} envs of {config.task_name} on {config.sim.backend} ({reason})")
    if uses_gpu:
        _compare(report, capacity.predict(config).total)
    return report


def _compare(report: SoakReport, predicted: int) -> None:
    """Note what was predicted; more than `ALLOWED` times that is as bad as what did not come back."""
    used = report.peaks.get("driver")
    if used is None:
        return
    text = "peak of the driver {}, predicted {}".format(amount(used, "bytes"), amount(predicted, "bytes"))
    report.notes.append(f"{text} ({used / predicted - 1.0:+.1%})")
    if used > ALLOWED * predicted:
        report.kept.append("more than predicted: " + text)


def _row(run: Run, losses: Dict[str, float]) -> Dict[str, float]:
    row = {"train/" + name: value for name, value in losses.items()}
    row.update({"sim/" + name: value for name, value in run.health.items()})
    metrics = run.env.metrics.summary()
    rewards = [value for name, value in metrics.items() if name.startswith("reward/")]
    return dict(row, **metrics, **{"reward/total": sum(rewards), "fps": 0.0})


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Do what the command line asks for, and return the exit code."""
    share_the_cores()
    parser = argparse.ArgumentParser(prog="python -m harness memory", description=__doc__.splitlines()[0])
    parser.add_argument("task", nargs="?", default="cuboid", choices=TASKS)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--num-envs", type=int, help="parallel envs, if not the preset's")
    parser.add_argument("--num-steps", type=int, help="decisions of a rollout, if not the preset's")
    parser.add_argument("--sim", default="auto", help="auto, mujoco or warp")
    parser.add_argument("--vram-limit", metavar="8GiB")
    parser.add_argument("--minutes", type=duration, default=8.0, help="of training under the meters (default 8)")
    parser.add_argument("--iterations", type=count, default=ITERATIONS, help="at least (default %(default)s)")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write soak.json, soak.html and soak.png there")
    parser.add_argument("--trace", action="store_true", help="name the lines that allocate what grows (slow)")
    options = parser.parse_args(argv)
    try:
        if options.report is not None:
            make_writable(options.report)
        report = soak_training(_config(options), options.minutes, options.iterations, options.trace)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    print(report)
    if options.report is not None:
        print(f"report: {write_soak(report, options.report)}")
    return 0 if report.ok else 1


def duration(text: str) -> float:
    """Return the time that a text says, if it ends.

    Raises:
      ArgumentTypeError: it does not.
    """
    if not 0.0 <= float(text) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no finite time of 0 or more")
    return float(text)


def count(text: str) -> int:
    """Return the number that a text says, if it is 1 or more.

    Raises:
      ArgumentTypeError: it is less.
    """
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


def _config(options: argparse.Namespace) -> RunConfig:
    config = preset(options.task, options.preset)
    sizes = {name: getattr(options, name) for name in ("num_envs", "num_steps") if getattr(options, name) is not None}
    return dataclasses.replace(config, sim=SimConfig(backend=options.sim), vram_limit=options.vram_limit, **sizes)


if __name__ == "__main__":
    sys.exit(main())
