"""Measure the cost of HARL: `python -m benchmarks.harl [--num-envs 512] [--pairs 5] [--sim auto]`.

Three learners take turns on one task with the same settings: HARL's stock runner, wired by hand into HARL's tables; the
same loop through the adapter; and the native learner. Each runs in a separate process, because the state of the memory
allocator would otherwise speed up the next one. The results are medians, over rounds of turns, of the ratios within a
round. HARL must be installed, or `HARL_DIR` must name a checkout of it.
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
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple
from unittest.mock import patch

from mapush.assembly import device_of, make_env, resolve, share_the_cores
from mapush.config import HappoConfig, RunConfig, SimConfig, steps_per_decision
from mapush.errors import MapushError
from mapush.presets import preset

HARLS_SETTINGS = "happo.yaml"
LEARNERS = ["stock", "adapter", "native"]
WARM_UP_ROUNDS = 2  # until every CUDA graph is recorded

_read_clock = time.perf_counter


class Turn(NamedTuple):
    """The duration of one iteration.

    Attributes:
      seconds: total time [s].
      in_env: part of it that was spent in the environment [s].
    """

    seconds: float
    in_env: float

    @property
    def learning(self) -> float:
        """Time outside the environment [s]."""
        return self.seconds - self.in_env


Round = Dict[str, Turn]  # of each learner


def _clock() -> float:
    """Return the time [s] after the device has finished all its work."""
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
    """Make HARL's own `OnPolicyHARunner` with its own constructor; HARL's tables are patched meanwhile.

    Args:
      arguments: HARL's settings, by section.
      view: the training environment.
      folder: folder that it may write to.
      eval_view: the environment of its evaluation.
      cuda: compute on the GPU.
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
    """Runs one iteration of HARL's loop at each call.

    Args:
      runner: a runner whose runs take one iteration.
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
        """Run one iteration."""
        self._in_env = 0.0
        start = _clock()
        with contextlib.redirect_stdout(None):
            self._loop(self._runner)
        return Turn(_clock() - start, self._in_env)

    def _timed_step(self, actions: Any) -> Any:
        start = _clock()
        result = self._step(actions)
        self._in_env += _clock() - start
        return result


class NativeTurns:
    """Runs one iteration of the native learner at each call."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def __call__(self) -> Turn:
        """Run one iteration; the time in the environment is unknown, because the learner does not wait for it."""
        start = _clock()
        self._run.iterate()
        return Turn(_clock() - start, in_env=0.0)


def measure(arguments: Sequence[str], rounds: int) -> List[Round]:
    """Let the learners take turns.

    Args:
      arguments: command line for the processes of the learners.
      rounds: number of rounds; each starts with a different learner.
    """
    with contextlib.ExitStack() as stack:
        workers: Dict[str, _Worker] = {}
        for name in LEARNERS:
            workers[name] = stack.enter_context(_Worker(name, arguments))
        for _ in range(WARM_UP_ROUNDS):
            for worker in workers.values():
                worker.turn()
        measured = []
        for number in range(rounds):
            first = number % len(LEARNERS)
            order = LEARNERS[first:] + LEARNERS[:first]
            measured.append({name: workers[name].turn() for name in order})
        return measured


class _Worker:
    """A learner in a separate process, which waits between its turns."""

    def __init__(self, learner: str, arguments: Sequence[str]) -> None:
        words = [sys.executable, "-m", "benchmarks.harl", "--worker", learner, *arguments]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None, "it is a pipe"
        assert self._process.stdout is not None, "it is a pipe"
        self._stdin = self._process.stdin
        self._stdout = self._process.stdout

    def turn(self) -> Turn:
        """Let the learner take a turn."""
        self._stdin.write("go\n")
        self._stdin.flush()
        for line in self._stdout:
            if line.startswith("turn "):
                _, seconds, in_env = line.split()
                return Turn(float(seconds), float(in_env))
        raise SystemExit(self._process.wait())

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._stdin.close()
        self._process.wait()


def _work(config: RunConfig, learner: str) -> None:
    """Take a turn for every line of the standard input, and print its duration."""
    config = dataclasses.replace(config, total_steps=_steps_of_turn(config), checkpoint_every=10**12)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        take_turn = _turns(config, learner, folder / learner, stack)
        for _ in sys.stdin:
            turn = take_turn()
            print(f"turn {turn.seconds} {turn.in_env}", flush=True)


def _turns(config: RunConfig, learner: str, folder: Path, stack: contextlib.ExitStack) -> Callable[[], Turn]:
    from mapush.env.harl_view import HarlView
    from mapush.train import Run
    from mapush.upstream.harl.arguments import algo_args

    if learner == "native":
        return NativeTurns(stack.enter_context(contextlib.closing(Run.start(config))))
    if learner == "adapter":
        return HarlTurns(_adapter(config, folder, stack))
    cuda = device_of(config.device).type == "cuda"
    runner = stock_runner(algo_args(config, {}), HarlView(make_env(config)), folder, cuda=cuda)
    return HarlTurns(stack.enter_context(runner))


def _steps_of_turn(config: RunConfig) -> int:
    return config.num_envs * config.num_steps * steps_per_decision(config)


def _adapter(config: RunConfig, folder: Path, stack: contextlib.ExitStack) -> Any:
    from mapush.env.harl_view import HarlView
    from mapush.run.logger import RunLogger
    from mapush.upstream.harl.arguments import algo_args
    from mapush.upstream.harl.harl_logger import HarlLogger, ScalarWriter
    from mapush.upstream.harl.runner import DEFAULTS, HarlRunner

    folder.mkdir()
    env = make_env(config)
    log = RunLogger(folder, config)
    runner = HarlRunner(
        algo_args(config, DEFAULTS),
        HarlView(env),
        logger=HarlLogger(log, env),
        writer=ScalarWriter(log),
        save_dir=folder / "models",
        device=device_of(config.device),
    )
    return stack.enter_context(contextlib.closing(runner))


def _lines(config: RunConfig, rounds: List[Round]) -> Iterator[str]:
    """Yield the results."""
    name = f"harl.{config.task_name}.{config.preset}.{config.num_envs}"
    for learner in LEARNERS:
        seconds = statistics.median([turns[learner].seconds for turns in rounds])
        yield f"{name}.{learner}_steps_per_second {_steps_of_turn(config) / seconds:.0f}"
    added, added_to_learning, faster = [], [], []
    for turns in rounds:
        stock, adapter, native = turns["stock"], turns["adapter"], turns["native"]
        added.append(100.0 * (adapter.seconds / stock.seconds - 1.0))
        added_to_learning.append(100.0 * (adapter.learning / stock.learning - 1.0))
        faster.append(adapter.seconds / native.seconds)
    yield _line(f"{name}.adapter_cost_percent", added)
    yield _line(f"{name}.adapter_cost_percent_of_learning", added_to_learning)
    yield _line(f"{name}.native_times_as_fast", faster)


def _line(metric: str, values: Sequence[float]) -> str:
    return f"{metric} {statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _settings(task: str, name: str) -> RunConfig:
    """Return a preset, or MAPush's task with HARL's own settings, which are the defaults of `HappoConfig`."""
    if name != HARLS_SETTINGS:
        return preset(task, name)
    return dataclasses.replace(preset(task, "published"), preset=HARLS_SETTINGS, happo=HappoConfig())


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harl", description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="cuboid", help="task (default cuboid)")
    parser.add_argument("--preset", default=HARLS_SETTINGS, help="settings (default happo.yaml: HARL's own)")
    parser.add_argument("--num-envs", type=int, default=512, help="envs of each learner (default 512)")
    parser.add_argument("--num-steps", type=int, help="decisions of a rollout (default: the preset's)")
    parser.add_argument("--pairs", type=int, default=5, help="rounds of turns (default 5)")
    parser.add_argument("--sim", default="auto", help="simulator (default auto)")
    parser.add_argument("--cpu-time", action="store_true", help="count CPU seconds, for a machine with other users")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _config(options: argparse.Namespace) -> Tuple[RunConfig, str]:
    """Return the resolved configuration, and why it has this simulator."""
    default = _settings(options.task, options.preset)
    config = dataclasses.replace(
        default,
        num_envs=options.num_envs,
        num_steps=options.num_steps or default.num_steps,
        sim=SimConfig(options.sim),
    )
    return resolve(config)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print lines of `name.metric median (lowest to highest)`."""
    global _read_clock
    words = sys.argv[1:]
    if argv is not None:
        words = list(argv)
    options = _options(words)
    if options.cpu_time:
        _read_clock = time.process_time
    share_the_cores()
    try:
        config, reason = _config(options)
        if options.worker:
            _work(config, options.worker)
            return 0
        print(f"machine.processor {platform.machine()} {os.cpu_count()} cores")
        print(f"machine.simulator {config.sim.backend} ({reason})", flush=True)
        for line in _lines(config, measure(words, options.pairs)):
            print(line, flush=True)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
