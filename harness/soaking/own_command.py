"""`python -m harness memory PACKAGE.MODULE:MAKE`: soak an environment, a runner or a loop of your own.

MAKE returns a `harness.Subject`, an environment, a HARL runner, a generator, or a function that runs one cycle. With
`--env NAME` it is a class of HARL runners, which gets the settings that HARL's own script would read.

Exit codes: 0 no leak, and everything was released; 1 a leak, or something was not released; 2 an error, or too little
was seen to judge.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import tempfile
from pathlib import Path
from typing import Any, List, Optional, Sequence, TextIO, Tuple

import tyro
from typing_extensions import Annotated

from harness.harl.harl_folder import require_harl
from harness.memory.soak_report import SoakReport
from harness.memory.verdict import NOT_ENOUGH, NOT_JUDGED
from harness.pages.soak_page import make_writable, write_soak
from harness.process.ending import SHOWN_LINES, Ending
from harness.process.isolate import call
from harness.process.limits import Limits
from harness.soaking.own_soak import SoakTarget, soak_target
from harness.status.shared_progress import FollowedProgress
from harness.status.status_line import StatusLine
from mapush.errors import ConfigError, MapushError

MINUTES, CYCLES, WARM_UP = 1.0, 200, 20
START_S = 240.0
"""Time for everything but the judged cycles: imports, two builds, warm-up, close [s]."""
CYCLE_S = 2.0
"""How long a cycle may take on average before the soak is said to hang [s]."""


@dataclasses.dataclass(frozen=True)
class OwnSoakOptions:
    """Soak an environment, a runner or a loop of your own."""

    make: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PACKAGE.MODULE:MAKE")]
    """Your factory, or with --env your runner's class."""
    minutes: float = MINUTES
    """Minimum duration of the judged cycles [min]."""
    cycles: int = CYCLES
    """Minimum number of judged cycles: steps of an environment, iterations of a runner."""
    warm_up: int = WARM_UP
    """Cycles before anything is judged; enough to fill what has a bound."""
    once: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Call MAKE once, because a process can hold only one; what the close releases is then not judged."""
    gpu: bool = True
    """Measure the first GPU, if there is one and it is used."""
    trace: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Also name the lines that allocate what grows (slow)."""
    num_envs: Annotated[Optional[int], tyro.conf.arg(metavar="N")] = None
    """How many envs the factory is asked for, if it takes a number."""
    env: Annotated[str, tyro.conf.arg(metavar="NAME")] = ""
    """MAKE is a class of HARL runners: the name of your environment in HARL's tables."""
    algo: Annotated[str, tyro.conf.arg(metavar="NAME")] = "happo"
    """With --env: the algorithm, one of HARL's."""
    config: Annotated[Optional[Path], tyro.conf.arg(metavar="FILE")] = None
    """With --env: the config.json of a run, or a yaml file."""
    set: Annotated[Tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE")] = ()
    """With --env: change settings, wherever the key occurs."""
    harl: Annotated[str, tyro.conf.arg(metavar="DIR")] = ""
    """With --env: your HARL; by default that of HARL_DIR, or an installed one."""
    report: Annotated[Optional[Path], tyro.conf.arg(metavar="DIR")] = None
    """Folder to write soak.json, soak.html and soak.png to."""
    timeout: Annotated[Optional[float], tyro.conf.arg(metavar="SECONDS")] = None
    """End the soak after so many seconds; by default four minutes more than the cycles should take."""

    def target(self) -> SoakTarget:
        """Return what is soaked.

        Raises:
          ConfigError: an option is invalid, or there is no HARL.
        """
        if not 0.0 <= self.minutes < math.inf:
            raise ConfigError("invalid --minutes", got=str(self.minutes), expected="a finite number, at least 0")
        for name, least in (("cycles", 1), ("warm_up", 0)):
            if getattr(self, name) < least:
                flag = f"--{name.replace('_', '-')}"
                raise ConfigError(f"invalid {flag}", got=str(getattr(self, name)), expected=f"at least {least}")
        harl = None
        if self.env:
            harl = require_harl(self.harl)
        return SoakTarget(
            factory=self.make,
            minutes=self.minutes,
            cycles=self.cycles,
            warm_up=self.warm_up,
            once=self.once,
            trace=self.trace,
            gpu=self.gpu,
            num_envs=self.num_envs,
            harl=harl,
            env=self.env,
            algo=self.algo,
            config=str(self.config or ""),
            changes=changes_of(self.set),
        )


def changes_of(words: Sequence[str]) -> Tuple[Tuple[str, Any], ...]:
    """Return the settings of `--set`.

    Raises:
      ConfigError: one is no KEY=VALUE.
    """
    import yaml

    changes: List[Tuple[str, Any]] = []
    for text in words:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError("--set takes KEY=VALUE", got=text)
        changes.append((key, yaml.safe_load(value)))
    return tuple(changes)


def soak_in_child(target: SoakTarget, timeout: Optional[float] = None, stream: Optional[TextIO] = None) -> SoakReport:
    """Soak a target in a process of its own, of which nothing is left afterwards.

    Args:
      target: what to soak.
      timeout: when the process is killed [s]; None for the time that the cycles should take, and four minutes.
      stream: where to say how far it is; by default stderr.

    Raises:
      ConfigError: the factory fails, or its process dies or hangs; the error says in which phase.
    """
    if timeout is None:
        timeout = START_S + max(60.0 * target.minutes, CYCLE_S * (target.cycles + target.warm_up))
    with tempfile.TemporaryDirectory() as folder, StatusLine("harness memory", stream, even=True) as status:
        phase, progress = Path(folder, "phase"), Path(folder, "progress")
        shown = FollowedProgress(progress, status)
        ending = call(soak_target, target, phase, progress, limits=Limits(timeout=timeout), watcher=shown)
        reached = "starting"
        if phase.exists():
            reached = phase.read_text()
    if not ending.ok:
        raise _death(target, ending, reached)
    if isinstance(ending.result, MapushError):
        raise ending.result
    return ending.result


def _death(target: SoakTarget, ending: Ending, phase: str) -> ConfigError:
    """Return the end of the process as an error."""
    fix = ending.fix
    if phase == "making it, time 2":
        fix = "--once calls the factory once, for what a process can hold only one of"
    if ending.evidence.stopped_for:
        fix = fix or "raise --timeout"
    words = "\n".join(f"  | {line}" for line in list(ending.evidence.lines)[-SHOWN_LINES:])
    what = f"{target.factory} ends its process while {phase}: {ending.summary}"
    return ConfigError(f"{what}\n{words}" if words else what, cause=ending.cause, fix=fix)


def exit_code_of(report: SoakReport) -> int:
    """Return 0 if nothing leaks and everything was released, 2 if that could not be judged, else 1."""
    if report.ok:
        return 0
    if report.kind in (NOT_JUDGED, NOT_ENOUGH) and not report.kept:
        return 2
    return 1


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Soak what a factory makes, print the report, and return the exit code."""
    options = tyro.cli(OwnSoakOptions, args=argv, prog="python -m harness memory", description=__doc__)
    try:
        target = options.target()
        if options.report is not None:
            make_writable(options.report)
        report = soak_in_child(target, options.timeout)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    print(report)
    if options.report is not None:
        print(f"report: {write_soak(report, options.report)}")
    return exit_code_of(report)
