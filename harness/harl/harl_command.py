"""`python -m harness harl PACKAGE.MODULE:RUNNER --env NAME`: a small run of your own HARL runner, watched and judged.

The runner is made and run as HARL's `examples/train.py` does, with a few envs and a few short rollouts, over a toy
environment: no simulator, seconds. `--real` runs it over your own environment. Everything happens in a child process.

Exit codes: 0 every contract that could be judged holds; 1 one is broken; 2 nothing could be judged, one that was asked
for by name could not, or the command line, HARL or its settings cannot be used.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import tyro
from typing_extensions import Annotated

from harness.findings import ContractError, Finding, Report, harness_command
from harness.harl import runner_process
from harness.harl.harl_folder import HarlFolder, missing_module, require_harl
from harness.harl.runner_checks import all_checks, chosen_checks
from harness.harl.runner_process import RunnerTarget
from harness.harl.settings import read_settings
from harness.harl.toy_env import ToySizes
from harness.process.ending import Ending
from harness.process.isolate import Limits, call
from harness.status.status_line import StatusLine
from mapush.errors import ConfigError, MapushError

TIMEOUT_S = 75.0
LAST_LINES = 5  # of what a process that died had printed
OWN_FOLDER = str(Path(__file__).resolve().parents[1])


@dataclasses.dataclass(frozen=True)
class HarlOptions:
    """Run your HARL runner small, and judge tables, logger, rollouts, updates and checkpoint."""

    runner: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PACKAGE.MODULE:RUNNER")]
    """Your runner's class, or a function that takes HARL's three dicts and returns a runner."""

    env: Annotated[str, tyro.conf.arg(metavar="NAME")]
    """The name of your environment in HARL's tables."""

    algo: Annotated[str, tyro.conf.arg(metavar="NAME")] = "happo"
    """The algorithm, one of HARL's."""

    config: Annotated[Optional[Path], tyro.conf.arg(metavar="FILE")] = None
    """The config.json of a run, or a yaml file; by default HARL's own files of algorithm and environment."""

    set: Annotated[Tuple[str, ...], tyro.conf.arg(metavar="KEY=VALUE")] = ()
    """Change settings, wherever the key occurs: --set use_eval=False task=go1push_upper."""

    harl: Annotated[str, tyro.conf.arg(metavar="DIR")] = ""
    """Your HARL; by default that of HARL_DIR, or an installed one."""

    real: bool = False
    """Run over your own environment instead of a toy."""

    contracts: Annotated[str, tyro.conf.arg(metavar="NAME,NAME")] = ""
    """Judge only these contracts."""

    num_envs: Annotated[Optional[int], tyro.conf.arg(metavar="N")] = None
    """How many envs train, by default 5."""

    toy: ToySizes = ToySizes()
    """Sizes of the toy; by default MAPush's."""

    timeout: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = TIMEOUT_S
    """Kill the run after so many seconds."""

    def changes(self) -> Tuple[Tuple[str, Any], ...]:
        """Return the settings of `--set`.

        Raises:
          ConfigError: one is no KEY=VALUE.
        """
        import yaml

        changes = []
        for text in self.set:
            key, equals, value = text.partition("=")
            if not equals or not key:
                raise ConfigError("--set takes KEY=VALUE", got=text)
            changes.append((key, yaml.safe_load(value)))
        return tuple(changes)

    def wanted(self) -> Optional[Tuple[str, ...]]:
        """Return the names of the contracts to judge; None for all."""
        if not self.contracts:
            return None
        return tuple(name for name in self.contracts.split(",") if name)

    def command(self, harl: HarlFolder) -> str:
        """Return the command that repeats the run."""
        words = ["harl", self.runner, "--env", self.env, "--algo", self.algo, "--harl", harl.path]
        if self.config is not None:
            words += ["--config", str(self.config)]
        if self.set:
            words += ["--set", *self.set]
        if self.real:
            words.append("--real")
        if self.num_envs is not None:
            words += ["--num-envs", str(self.num_envs)]
        for field, value in dataclasses.asdict(self.toy).items():
            if value != getattr(ToySizes(), field):
                words += [f"--toy.{field.replace('_', '-')}", str(value)]
        return harness_command(*words)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Judge a runner, print what was found, and return the exit code."""
    options = tyro.cli(HarlOptions, args=argv, prog="python -m harness harl", description=_help())
    try:
        report = judge_runner(options)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    print(report)
    if not report.ok:
        return 1
    if not report.passed or (options.wanted() is not None and report.not_judged):
        return 2
    return 0


def judge_runner(options: HarlOptions) -> Report:
    """Run a runner in a child process, and judge it; the death of that process is a finding.

    Raises:
      ConfigError: there is no HARL, it cannot be used, or the settings are wrong.
    """
    harl = require_harl(options.harl)
    wanted = options.wanted()
    chosen_checks(wanted)
    read_settings(harl.package, options.env, options.algo, options.config, dict(options.changes()))
    target = RunnerTarget(
        runner=options.runner,
        env=options.env,
        algo=options.algo,
        config=str(options.config or ""),
        changes=options.changes(),
        harl=harl,
        sizes=options.toy,
        real=options.real,
        num_envs=options.num_envs,
        checks=wanted,
        command=options.command(harl),
    )
    with tempfile.TemporaryDirectory() as folder, StatusLine("harness harl") as status:
        running = Path(folder, "running")

        def show_phase() -> None:
            if running.exists():
                status.say(running.read_text())

        ending = call(
            runner_process.judge_or_refuse, target, running, limits=Limits(timeout=options.timeout), watcher=show_phase
        )
        phase = running.read_text() if running.exists() else "starting"
    if not ending.ok:
        return _dead(target, ending, phase)
    if isinstance(ending.result, MapushError):
        raise ending.result
    return ending.result


def _dead(target: RunnerTarget, ending: Ending, phase: str) -> Report:
    """Return the report of a run whose process died or was stopped."""
    if "No module named" in ending.details:
        module = ending.details.rpartition("No module named")[2].strip().strip("'\"")
        what, fix = missing_module(module)
        raise ConfigError(what, where=target.harl.name, got=ending.details, fix=fix)
    manner = ending.evidence.signal or f"exit status {ending.exit_code}"
    what = f"the runner kills its process ({manner}), while {phase}"
    cause = ending.cause
    if ending.evidence.stopped_for:
        what = f"the runner does not end: it was stopped while {phase}"
        cause = "a loop that never ends, or an environment too slow for the time: raise --timeout"
    error = ContractError(
        what,
        where=_innermost_place(target.harl, ending),
        got=ending.summary,
        expected="four short rollouts",
        cause=cause,
        fix=ending.fix,
    )
    finding = Finding.of(error, "runs", lambda _: target.command)
    not_judged, notes = {}, []
    for check in chosen_checks(target.checks):
        if check.name != "runs":
            not_judged[check.name] = f"the process ended while {phase}"
    for line in list(ending.evidence.lines)[-LAST_LINES:]:
        notes.append(f"| {line}")
    return Report([finding], [], not_judged, notes, seconds=ending.evidence.seconds)


def _innermost_place(harl: HarlFolder, ending: Ending) -> Optional[str]:
    """Return the innermost line of the user's own files in the stacks of the processes, else any line."""
    from harness.harl.users_lines import UsersFiles

    files = UsersFiles(harl.package)
    stacks: List[str] = []
    for process in ending.evidence.processes:
        stacks += process.stack
    outside = None
    for line in stacks or ending.evidence.stacks:
        place = line.strip()
        if not place.startswith("File "):
            continue
        if files.owns(place.split('"')[1]):
            return place
        if outside is None and OWN_FOLDER not in place:
            outside = place
    return outside


def _help() -> str:
    exit_codes = str(__doc__).split("\n\n")[-1].strip()
    checks: Dict[str, str] = {check.name: check.sentence for check in all_checks()}
    return f"{HarlOptions.__doc__}\n\n{exit_codes}\n\nContracts: {', '.join(checks)}."
