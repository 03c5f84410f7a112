"""Where the time goes in MAPush's own environment: `python -m benchmarks.standin [--num-envs 64] [--learner harl]`.

MAPush's unmodified code trains on the stand-in for Isaac Gym: `MAPUSH_DIR` has to name a checkout of it, and for
`--learner harl` HARL has to be installed, or `HARL_DIR` has to name a checkout. Prints lines of `name.metric value`:
the rate of complete iterations, each of a rollout and an update, and what the parts take of them. The parts are
measured in further iterations, because that slows them down: on a GPU, each part waits for the device.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from benchmarks import harl
from mapush.assembly import resolve, share_the_cores
from mapush.config import RunConfig, SimConfig, steps_per_decision
from mapush.errors import MapushError

PARTS = {
    "physics": "MuJoCo",
    "tensors": "the stand-in around it: tensors of Isaac Gym's API",
    "mapush": "MAPush's own code, with its networks of the low level",
    "adapter": "`MqeEnv`: observations, endings and statistics",
    "learner": "the learner and its rollout",
}

Clock = Callable[[], float]


class Parts:
    """Measures parts of a program that call each other; each call counts for the innermost part.

    Args:
      clock: returns the time [s].
      outermost: the part that runs when no other does.

    Attributes:
      seconds: what each part took [s].
    """

    def __init__(self, clock: Clock, outermost: str) -> None:
        self.seconds: Dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._clock = clock
        self._running = [outermost]
        self._since = clock()

    def _switch(self) -> None:
        now = self._clock()
        self.seconds[self._running[-1]] += now - self._since
        self._since = now

    def finish(self) -> None:
        """Count what has passed until now."""
        self._switch()

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return `function`, the time in which counts for `part`."""

        @functools.wraps(function)
        def measured(*args: Any, **kwargs: Any) -> Any:
            self._switch()
            self._running.append(part)
            try:
                return function(*args, **kwargs)
            finally:
                self._switch()
                self._running.pop()

        return measured


@contextlib.contextmanager
def watched(env: Any, parts: Parts) -> Iterator[None]:
    """Let `parts` measure an environment within the block.

    Args:
      env: a `StandinEnv`.
      parts: counts the time.
    """
    gym, engine = type(env._upstream.gym), env._upstream.sim.simulation.engine
    with contextlib.ExitStack() as stack:

        def watch(owner: Any, name: str, part: str) -> None:
            original = getattr(owner, name)
            had_it = name in vars(owner)
            setattr(owner, name, parts.timed(part, original))
            if had_it:
                stack.callback(setattr, owner, name, original)
            else:
                stack.callback(delattr, owner, name)

        for name in dir(gym):
            if not name.startswith("_") and callable(getattr(gym, name)):
                watch(gym, name, "tensors")
        for name in ("step", "kinematics"):
            watch(engine, name, "physics")
        for name in ("step", "reset"):
            watch(env._wrapper, name, "mapush")
            watch(env, name, "adapter")
        watch(env._upstream, "reset_idx", "mapush")
        watch(env._upstream, "compute_observations", "mapush")
        yield


def iterate(config: RunConfig, stack: contextlib.ExitStack) -> Any:
    """Return the environment, and a function that does an iteration.

    Args:
      config: resolved configuration.
      stack: closes what is opened.
    """
    from mapush.train import Run

    steps = config.num_envs * config.num_steps * steps_per_decision(config)
    config = dataclasses.replace(config, total_steps=steps, checkpoint_every=10**12)
    if config.learner == "native":
        run = stack.enter_context(contextlib.closing(Run.start(config)))
        return run.env, harl.NativeTurns(run)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    runner = harl.adapter(config, folder / "harl", stack)
    return runner.envs.env, harl.HarlTurns(runner)


def measure(config: RunConfig, iterations: int, clock: Clock) -> Iterator[str]:
    """Yield the lines of the result.

    Args:
      config: resolved configuration.
      iterations: measured iterations, with and without the parts.
      clock: returns the time [s] at which the device has finished its work.
    """
    steps = config.num_envs * config.num_steps * steps_per_decision(config)
    name = f"standin.{config.task_name}.{config.preset}.{config.learner}.{config.num_envs}"
    with contextlib.ExitStack() as stack:
        env, turn = iterate(config, stack)
        turn()  # until every graph is recorded
        seconds: List[float] = []
        for _ in range(iterations):
            start = clock()
            turn()
            seconds.append(clock() - start)
        yield f"{name}.steps_per_second {steps / statistics.median(seconds):.0f}"
        parts = Parts(clock, "learner")
        with watched(env, parts):
            for _ in range(iterations):
                turn()
        parts.finish()
        total = sum(parts.seconds.values())
        for part, taken in parts.seconds.items():
            yield f"{name}.{part}_ms_per_step {1e3 * taken / steps / iterations:.4f}"
            yield f"{name}.{part}_percent {100.0 * taken / total:.1f}"


def gpu_memory() -> Optional[int]:
    """Return what is in use on the GPU, by all programs [MiB]; None without a GPU."""
    import torch

    if not torch.cuda.is_initialized():
        return None
    free, total = torch.cuda.mem_get_info()
    return (total - free) // 2**20


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print lines of `name.metric value`."""
    options = _parse(argv)
    clock = harl.clock
    if options.cpu_time:
        clock = time.process_time
    share_the_cores()
    try:
        config, reason = resolve(_config(options))
        print(f"machine.processor {platform.machine()} {os.cpu_count()} cores")
        print(f"machine.simulator {config.sim.backend} ({reason})", flush=True)
        for line in measure(config, options.iterations, clock):
            print(line, flush=True)
        if gpu_memory() is not None:
            print(f"machine.gpu_memory_mib {gpu_memory()}")
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parse(argv: Optional[Sequence[str]]) -> argparse.Namespace:
    what = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.standin", description=what)
    parser.add_argument("--task", default="cuboid", help="task (default cuboid)")
    parser.add_argument("--preset", default=harl.HARLS, help=f"its settings (default {harl.HARLS}: HARL's own)")
    parser.add_argument("--learner", default="harl", choices=("harl", "native"), help="learner (default harl)")
    parser.add_argument("--num-envs", type=int, default=64, help="envs (default 64)")
    parser.add_argument("--num-steps", type=int, help="decisions of a rollout (default: the preset's)")
    parser.add_argument("--iterations", type=int, default=3, help="measured iterations (default 3)")
    parser.add_argument("--threads", type=int, default=0, help="of the physics on the CPU (default: all cores)")
    parser.add_argument("--vram-limit", help="as of mapush train, such as 8GiB")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU seconds: for machines that others use, too")
    return parser.parse_args(argv)


def _config(options: argparse.Namespace) -> RunConfig:
    default = harl.settings(options.task, options.preset)
    return dataclasses.replace(
        default,
        learner=options.learner,
        num_envs=options.num_envs,
        num_steps=options.num_steps or default.num_steps,
        vram_limit=options.vram_limit,
        sim=SimConfig("standin", threads=options.threads),
    )


if __name__ == "__main__":
    sys.exit(main())
