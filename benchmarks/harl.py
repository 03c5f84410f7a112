"""What HARL costs: `python -m benchmarks.harl [--num-envs 512] [--preset happo.yaml] [--pairs 5] [--sim auto]`.

Three learners take turns on one task with the same settings: HARL's stock runner, wired by hand into HARL's tables; the
same loop through the adapter; and the native learner. Each works in a process of its own, because what one does to the
memory allocator would speed up the others. The result is the median over rounds of turns of the ratio of two learners
in the same round. HARL has to be installed, or `HARL_DIR` has to name a checkout of it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence
from unittest.mock import patch

from mapush.assembly import device_of, make_env, resolve, share_the_cores
from mapush.config import HappoConfig, RunConfig, SimConfig, steps_per_decision
from mapush.errors import MapushError
from mapush.presets import preset

HARLS = "happo.yaml"
LEARNERS = ["stock", "adapter", "native"]


class Turn(NamedTuple):
    """One iteration of a learner.

    Attributes:
      seconds: how long it took [s].
      in_env: how much of that was spent in the environment [s]; 0 if unknown.
    """

    seconds: float
    in_env: float

    @property
    def learning(self) -> float:
        """How much was spent outside the environment [s]."""
        return self.seconds - self.in_env


_read_clock = time.perf_counter


def clock() -> float:
    """Return the time [s] at which the device has finished its work."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return _read_clock()


class Silent:
    """A TensorBoard writer that writes nothing."""

    def add_scalars(self, *_: Any) -> None:
        """Do nothing."""

    def export_scalars_to_json(self, _: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


@contextlib.contextmanager
def stock_runner(
    arguments: Dict[str, Dict[str, Any]], view: Any, folder: Path, eval_view: Any = None, cuda: bool = False
) -> Iterator[Any]:
    """Make upstream's own `OnPolicyHARunner` by its own constructor; HARL's tables are changed meanwhile.

    Args:
      arguments: HARL's settings, by section.
      view: the training environment.
      folder: where the runner may write.
      eval_view: the environment of its evaluation.
      cuda: whether it computes on the GPU.
    """
    import torch

    from mapush.upstream.harl.harl_source import load

    load()
    from harl.common.base_logger import BaseLogger
    from harl.runners import on_policy_base_runner as base
    from harl.runners.on_policy_ha_runner import OnPolicyHARunner

    class Logger(BaseLogger):
        def get_task_name(self) -> str:
            return "cuboid"

    (folder / "models").mkdir(parents=True)
    device = dict(arguments["device"], cuda=cuda, cuda_deterministic=False, torch_threads=torch.get_num_threads())
    arguments = dict(arguments, device=device, logger={"log_dir": str(folder)})
    tables: Dict[str, Any] = {
        "LOGGER_REGISTRY": {"mapush": Logger},
        "init_dir": lambda *_, **__: (str(folder), str(folder), str(folder / "models"), Silent()),
        "save_config": lambda *_: None,
        "make_train_env": lambda *_: view,
        "make_eval_env": lambda *_: eval_view,
        "get_num_agents": lambda *_: view.n_agents,
    }
    with patch.multiple(base, **tables), contextlib.redirect_stdout(None):
        runner = OnPolicyHARunner({"algo": "happo", "env": "mapush", "exp_name": "stock"}, arguments, {})
    with contextlib.closing(runner):
        yield runner


class HarlTurns:
    """Runs HARL's loop, one iteration a turn.

    Args:
      runner: set up for runs of one iteration.
    """

    def __init__(self, runner: Any) -> None:
        from harl.runners.on_policy_ha_runner import OnPolicyHARunner

        self._runner = runner
        self._loop = OnPolicyHARunner.run
        self._in_env = 0.0
        self._step = runner.envs.step
        runner.envs.step = self._timed_step
        runner.warmup()
        runner.warmup = lambda: None  # the next iteration continues where the last one ended

    def __call__(self) -> Turn:
        """Take a turn."""
        self._in_env = 0.0
        start = clock()
        with contextlib.redirect_stdout(None):
            self._loop(self._runner)
        return Turn(clock() - start, self._in_env)

    def _timed_step(self, actions: Any) -> Any:
        start = clock()
        result = self._step(actions)
        self._in_env += clock() - start
        return result


class NativeTurns:
    """Runs the native learner, one iteration a turn."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def __call__(self) -> Turn:
        """Take a turn; the time in the environment is unknown, because the learner does not wait for it."""
        start = clock()
        self._run.iterate()
        return Turn(clock() - start, in_env=0.0)


def measure(arguments: Sequence[str], pairs: int) -> List[Dict[str, Turn]]:
    """Return the turn of each learner, for each round.

    Args:
      arguments: of the command line, for the processes of the learners.
      pairs: number of rounds; each begins with the next learner.
    """
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(_Worker(name, arguments)) for name in LEARNERS}
        for _ in range(2):  # until every graph is recorded
            for worker in workers.values():
                worker.turn()
        rounds = []
        for number in range(pairs):
            first = number % len(LEARNERS)
            order = LEARNERS[first:] + LEARNERS[:first]
            rounds.append({name: workers[name].turn() for name in order})
        return rounds


class _Worker:
    """A learner in a process of its own, which waits between its turns."""

    def __init__(self, learner: str, arguments: Sequence[str]) -> None:
        words = [sys.executable, "-m", "benchmarks.harl", "--worker", learner] + list(arguments)
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout

    def turn(self) -> Turn:
        """Take a turn.

        Raises:
          SystemExit: the process has ended.
        """
        self._to.write("go\n")
        self._to.flush()
        for line in self._from:
            if line.startswith("turn "):
                _, seconds, in_env = line.split()
                return Turn(float(seconds), float(in_env))
        raise SystemExit(self._process.wait())

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._to.close()
        self._process.wait()


def _work(config: RunConfig, learner: str) -> None:
    """Take a turn for every line of the standard input."""
    from mapush.env.harl_view import HarlView
    from mapush.train import Run
    from mapush.upstream.harl.arguments import algo_args

    steps = config.num_envs * config.num_steps * steps_per_decision(config)
    config = dataclasses.replace(config, total_steps=steps, checkpoint_every=10**12)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if learner == "native":
            take_turn: Callable[[], Turn] = NativeTurns(stack.enter_context(contextlib.closing(Run.start(config))))
        elif learner == "adapter":
            take_turn = HarlTurns(adapter(config, folder / learner, stack))
        else:
            view = HarlView(make_env(config))
            cuda = device_of(config.device).type == "cuda"
            runner = stock_runner(algo_args(config, {}), view, folder / learner, cuda=cuda)
            take_turn = HarlTurns(stack.enter_context(runner))
        for _ in sys.stdin:
            turn = take_turn()
            print(f"turn {turn.seconds} {turn.in_env}", flush=True)


def adapter(config: RunConfig, folder: Path, stack: contextlib.ExitStack) -> Any:
    """Return HARL's runner as our adapter makes it.

    Args:
      config: resolved configuration.
      folder: where it may write; it is made.
      stack: closes the runner.
    """
    from mapush.env.harl_view import HarlView
    from mapush.run.logger import RunLogger
    from mapush.upstream.harl.arguments import algo_args
    from mapush.upstream.harl.harl_logger import HarlLogger, ScalarWriter
    from mapush.upstream.harl.runner import DEFAULTS, HarlRunner

    folder.mkdir()
    env = make_env(config)
    log = RunLogger(folder, config)
    logger = HarlLogger(log, env)
    writer = ScalarWriter(log)
    runner = HarlRunner(
        algo_args(config, DEFAULTS),
        HarlView(env),
        logger=logger,
        writer=writer,
        save_dir=folder / "models",
        device=device_of(config.device),
    )
    return stack.enter_context(contextlib.closing(runner))


def _lines(config: RunConfig, rounds: List[Dict[str, Turn]]) -> Iterator[str]:
    name = f"harl.{config.task_name}.{config.preset}.{config.num_envs}"
    steps = config.num_envs * config.num_steps * steps_per_decision(config)
    for learner in LEARNERS:
        seconds = statistics.median([turns[learner].seconds for turns in rounds])
        yield f"{name}.{learner}_steps_per_second {steps / seconds:.0f}"
    added: List[float] = []
    added_to_learning: List[float] = []
    faster: List[float] = []
    for turns in rounds:
        stock, adapter, native = turns["stock"], turns["adapter"], turns["native"]
        added.append(100.0 * (adapter.seconds / stock.seconds - 1.0))
        added_to_learning.append(100.0 * (adapter.learning / stock.learning - 1.0))
        faster.append(adapter.seconds / native.seconds)
    yield f"{name}.adapter_cost_percent {_spread(added)}"
    yield f"{name}.adapter_cost_percent_of_learning {_spread(added_to_learning)}"
    yield f"{name}.native_times_as_fast {_spread(faster)}"


def _spread(values: List[float]) -> str:
    """Return median, lowest and highest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def settings(task: str, name: str) -> RunConfig:
    """Return a preset; `HARLS` is MAPush's task with HARL's own settings, which are our defaults."""
    if name != HARLS:
        return preset(task, name)
    return dataclasses.replace(preset(task, "published"), preset=HARLS, happo=HappoConfig())


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print lines of `name.metric median (lowest to highest)`."""
    if argv is None:
        argv = sys.argv[1:]
    options = _parse(argv)
    if options.cpu_time:
        global _read_clock
        _read_clock = time.process_time
    share_the_cores()
    try:
        config, reason = resolve(_config(options))
        if options.worker:
            _work(config, options.worker)
            return 0
        print(f"machine.processor {platform.machine()} {os.cpu_count()} cores")
        print(f"machine.simulator {config.sim.backend} ({reason})", flush=True)
        for line in _lines(config, measure(argv, options.pairs)):
            print(line, flush=True)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harl", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--task", default="cuboid", help="task (default cuboid)")
    parser.add_argument("--preset", default=HARLS, help=f"its settings (default {HARLS}: HARL's own)")
    parser.add_argument("--num-envs", type=int, default=512, help="envs of each learner (default 512)")
    parser.add_argument("--num-steps", type=int, help="decisions of a rollout (default: the preset's)")
    parser.add_argument("--pairs", type=int, default=5, help="rounds of turns (default 5)")
    parser.add_argument("--sim", default="auto", help="simulator (default auto)")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU seconds: for machines that others use, too")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _config(options: argparse.Namespace) -> RunConfig:
    default = settings(options.task, options.preset)
    return dataclasses.replace(
        default,
        num_envs=options.num_envs,
        num_steps=options.num_steps or default.num_steps,
        sim=SimConfig(options.sim),
    )


if __name__ == "__main__":
    sys.exit(main())
