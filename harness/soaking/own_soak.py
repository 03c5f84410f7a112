"""Soaks what a factory of the user's makes; runs in a child process, so that a crash or a hang becomes a message."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from harness.harl.harl_folder import HarlFolder
from harness.harl.settings import read_settings
from harness.interface.player import first_line, innermost_line, load_factory
from harness.memory.soak import Subject, say_nothing, soak
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import CLEAN, ENDS, NOT_JUDGED
from harness.soaking.subjects import EpisodeCounter, subject_of
from harness.status.shared_progress import ProgressWriter
from mapush.errors import ConfigError, MapushError

MIN_EPISODES = 128
"""EpisodeCounter that must have ended: fewer floats than these, one for each episode, do not show in any meter."""
BEFORE_TORCH = "isaacgym"


@dataclasses.dataclass(frozen=True)
class SoakTarget:
    """What is soaked.

    Attributes:
      factory: "package.module:make".
      minutes: shortest duration of the judged cycles [min].
      cycles: fewest judged cycles.
      warm_up: cycles before them.
      once: whether the factory is called once.
      trace: whether to find the lines that allocate what grows.
      gpu: whether to measure a GPU that is used.
      num_envs: how many envs the factory is asked for, if it takes a number.
      harl: the user's HARL; None if the factory is not a class of runners.
      env: name of the environment in HARL.
      algo: name of the algorithm.
      config: file with settings; "" for HARL's own.
      changes: settings by key.
    """

    factory: str
    minutes: float
    cycles: int
    warm_up: int
    once: bool = False
    trace: bool = False
    gpu: bool = True
    num_envs: Optional[int] = None
    harl: Optional[HarlFolder] = None
    env: str = ""
    algo: str = "happo"
    config: str = ""
    changes: Tuple[Tuple[str, Any], ...] = ()


def soak_target(target: SoakTarget, phase: Path, progress: Optional[Path] = None) -> Any:
    """Return the report on a target, or the error that ended it, which is shown as one message.

    Args:
      target: what to soak; its names are also searched in the current folder.
      phase: file to which the present phase is written, for the parent that finds this process dead.
      progress: file to which is written how far it is, for the parent that shows it; None for nobody.
    """
    on_progress: Callable[..., Any] = say_nothing
    if progress is not None:
        on_progress = ProgressWriter(progress)
        on_progress(f"importing {target.factory.partition(':')[0]}")
    sys.path.insert(0, os.getcwd())
    sys.argv[:] = [target.factory]  # HARL and simulators read the command line
    phase.write_text("importing")
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _Soaking(target, phase, Path(folder), on_progress).report()
    except MapushError as error:
        return ConfigError(error.what, where=error.where, got=error.got, expected=error.expected, fix=error.fix)
    except Exception as error:
        return ConfigError(
            f"{target.factory} raises {type(error).__name__}: {first_line(error)}",
            where=innermost_line(error),
            got=f"while {phase.read_text()}",
        )


class _Soaking:
    """One soak of a target.

    Args:
      target: what to soak.
      phase: file for the present phase.
      folder: where a runner writes.
      on_progress: see `soak`.
    """

    def __init__(self, target: SoakTarget, phase: Path, folder: Path, on_progress: Callable[..., Any]) -> None:
        self._target = target
        self._phase = phase
        self._on_progress = on_progress
        self._folder = folder
        self._made = 0
        self._episodes = EpisodeCounter()
        if target.harl is None:
            self._make = self._factory()
        else:
            self._make = self._runner_factory(target.harl)

    def report(self) -> SoakReport:
        """Soak the target, and return the report."""
        target = self._target
        report = soak(
            self._subject,
            warm_up=target.warm_up,
            cycles=target.cycles,
            seconds=60.0 * target.minutes,
            gpu="auto" if target.gpu else None,
            trace=target.trace,
            once=target.once,
            on_progress=self._on_progress,
        )
        return _require_episodes(report, self._episodes)

    def _subject(self) -> Subject:
        self._made += 1
        self._phase.write_text(f"making it, time {self._made}")
        self._episodes = EpisodeCounter()
        thing = self._make()
        self._phase.write_text("taking its first cycle")
        subject = subject_of(thing, self._episodes)
        cycle = subject.advance

        def advance() -> None:
            cycle()
            if subject.advance is advance:  # once is enough
                self._phase.write_text("running")
                subject.advance = cycle

        subject.advance = advance
        return subject

    def _factory(self) -> Callable[[], Any]:
        """Return the user's factory with the arguments that it takes."""
        with contextlib.suppress(ImportError):
            __import__(BEFORE_TORCH)
        make = load_factory(self._target.factory)
        arguments: Dict[str, Any] = {}
        if self._target.num_envs is not None:
            name = _name_of_num_envs(make)
            if name is None:
                raise ConfigError(
                    "the factory takes no number of envs", where=self._target.factory, fix="leave --num-envs out"
                )
            arguments[name] = self._target.num_envs
        return lambda: make(**arguments)

    def _runner_factory(self, harl: HarlFolder) -> Callable[[], Any]:
        """Return a function that makes the user's runner with the settings that their own script would read."""
        target = self._target
        sys.path.insert(0, harl.path)
        with contextlib.suppress(ImportError):
            __import__(BEFORE_TORCH)
        config = Path(target.config) if target.config else None
        settings = read_settings(harl.package, target.env, target.algo, config, dict(target.changes))
        settings.algo_args.setdefault("logger", {})["log_dir"] = str(self._folder)
        settings.train["model_dir"] = None
        if target.num_envs is not None:
            settings.train["n_rollout_threads"] = target.num_envs
        if not settings.evaluation_is_asked_for and "eval" in settings.algo_args:
            settings.algo_args["eval"]["use_eval"] = False  # a process may hold one simulation only
        make_runner = load_factory(target.factory, "runner")
        return lambda: make_runner(settings.main_args, settings.algo_args, settings.env_args)


def _name_of_num_envs(make: Callable[..., Any]) -> Optional[str]:
    names: List[str] = list(inspect.signature(make).parameters)
    for name in ("num_envs", "n_envs", "n_rollout_threads"):
        if name in names:
            return name
    return None


def _require_episodes(report: SoakReport, episodes: EpisodeCounter) -> SoakReport:
    """Withdraw a verdict of no leak if too few episodes ended to see what is kept of each."""
    if not episodes.watched:
        return report
    report.notes.append(f"{episodes.ended:,} episodes ended in {episodes.steps:,} steps of all envs")
    if report.kind in (CLEAN, ENDS) and episodes.ended < MIN_EPISODES:
        report.kind = NOT_JUDGED
        report.why = (
            f"{episodes.ended} episodes ended, at least {MIN_EPISODES} are needed to see what is kept of each: "
            f"{_longer(report, episodes)}"
        )
    return report


def _longer(report: SoakReport, episodes: EpisodeCounter) -> str:
    """Return how to see enough episodes."""
    if not episodes.ended:
        return "raise --minutes or --num-envs, or let episodes be shorter"
    minutes = report.seconds / 60.0 * MIN_EPISODES / episodes.ended
    return f"--minutes {math.ceil(1.2 * minutes)} would do"
