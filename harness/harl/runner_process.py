"""The part of `harness.harl.harl_command` that runs in the child process."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from harness.findings import ContractError, Finding, NotJudgedError, Report
from harness.harl.crash_causes import explain
from harness.harl.harl_folder import HarlFolder, missing_module
from harness.harl.quick_start import compile_nothing_yet
from harness.harl.runner_checks import RunnerCheck, chosen_checks
from harness.harl.settings import Settings, made_small, read_settings
from harness.harl.toy_env import ToyMaker, ToySizes
from harness.harl.trial import Trial
from harness.interface.player import first_line, innermost_line, load_factory
from mapush.errors import ConfigError

BEFORE_TORCH = "isaacgym"
MODULES_OF_HARL = ("harl.runners", "harl.utils.envs_tools", "harl.utils.configs_tools", "harl.envs")
EVALUATION_LEFT_OUT = (
    "HARL's own use_eval was turned off, as a process may hold one simulation only; --set use_eval=True evaluates"
)


@dataclasses.dataclass(frozen=True)
class RunnerTarget:
    """What is judged.

    Attributes:
      runner: "package.module:Runner".
      env: name of the environment.
      algo: name of the algorithm.
      config: file with settings; "" for HARL's own.
      changes: settings by key.
      harl: the user's HARL.
      sizes: of the toy.
      real: whether to run on the user's own environment.
      num_envs: how many envs train; None for the usual number.
      checks: names of the checks; None for all.
      command: repeats the run.
    """

    runner: str
    env: str
    algo: str
    config: str
    changes: Tuple[Tuple[str, Any], ...]
    harl: HarlFolder
    sizes: ToySizes
    real: bool
    num_envs: Optional[int]
    checks: Optional[Tuple[str, ...]]
    command: str


def judge_or_refuse(target: RunnerTarget, running: Path) -> Any:
    """Return the report; an error that concerns HARL or its settings is returned, too, to be shown as one message."""
    try:
        return judge(target, running)
    except ConfigError as error:
        return ConfigError(
            error.what, where=error.where, got=error.got, expected=error.expected, cause=error.cause, fix=error.fix
        )


def judge(target: RunnerTarget, running: Path) -> Report:
    """Run a runner and judge it.

    Args:
      target: what to judge; its names are also searched in the current folder.
      running: file to which the present phase is written, for the parent that finds this process dead.

    Raises:
      ConfigError: HARL cannot be imported, or the settings are wrong.
    """
    started = time.perf_counter()
    checks = chosen_checks(target.checks)
    running.write_text("reading the settings")
    config = Path(target.config) if target.config else None
    settings = read_settings(target.harl.package, target.env, target.algo, config, dict(target.changes))
    running.write_text(f"importing HARL and {target.runner.partition(':')[0]}")
    try:
        make_runner = _load(target)
    except ContractError as error:
        return Report([_finding_of(error, "runs", target)], [], {}, seconds=time.perf_counter() - started)
    with tempfile.TemporaryDirectory() as folder:
        small = made_small(settings, folder, target.num_envs, keep_device=target.real and _has_gpu())
        left_out = target.real and _leave_out_evaluation(small)
        trial = Trial(make_runner, small, target.harl, _maker(target, small))
        trial.run(running.write_text)
        report = _judged(trial, checks, target, running)
        if left_out:
            trial.notes.append(EVALUATION_LEFT_OUT)
    notes = [*trial.tables.notes, *dict.fromkeys(trial.notes), _about(target, trial)]
    return dataclasses.replace(report, notes=notes, seconds=time.perf_counter() - started)


def _load(target: RunnerTarget) -> Callable[..., Any]:
    """Import HARL and the user's runner, in the order in which the user's script does.

    Raises:
      ConfigError: HARL cannot be imported.
      ContractError: the runner cannot be imported.
    """
    sys.path.insert(0, os.getcwd())
    sys.path.insert(0, target.harl.path)
    sys.argv[:] = [target.runner]  # HARL and simulators read the command line
    if target.real:
        with contextlib.suppress(ImportError):
            importlib.import_module(BEFORE_TORCH)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in MODULES_OF_HARL:
            _import(module, target.harl)
        compile_nothing_yet()
        return load_factory(target.runner, "runner")


def _import(module: str, harl: HarlFolder) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        what, fix = missing_module(str(error.name))
        raise ConfigError(what, where=harl.name, got=str(error), fix=fix) from None
    except Exception as error:
        raise ConfigError(
            f"importing {module} raises {type(error).__name__}: {first_line(error)}",
            where=f"{innermost_line(error)}, {harl.name}",
        ) from None


def _leave_out_evaluation(settings: Settings) -> bool:
    """Turn the evaluation off unless the user asked for it; return whether it was on."""
    section = settings.algo_args.setdefault("eval", {})
    if settings.evaluation_is_asked_for or not section.get("use_eval", False):
        return False
    section["use_eval"] = False
    return True


def _has_gpu() -> bool:
    return bool(importlib.import_module("torch").cuda.is_available())


def _maker(target: RunnerTarget, settings: Settings) -> Optional[ToyMaker]:
    if target.real:
        return None
    return ToyMaker(target.sizes, settings.train["n_rollout_threads"], settings.state_type)


def _about(target: RunnerTarget, trial: Trial) -> str:
    what = f"a toy of {dataclasses.asdict(target.sizes)}; --real runs on your own environment"
    if target.real:
        what = "your own environment"
    sizes = f"{trial.settings.train['n_rollout_threads']} envs, {trial.updates} updates"
    return f"judged for {target.harl.name}, on {what}; {sizes}"


def _judged(trial: Trial, checks: List[RunnerCheck], target: RunnerTarget, running: Path) -> Report:
    """Make the checks; what ended the run is the finding of the check that it belongs to."""
    crash, no_toy = _crash(trial)
    findings: List[Finding] = []
    passed: List[str] = []
    not_judged: Dict[str, str] = {}
    times: Dict[str, float] = {}
    for index, check in enumerate(checks):
        running.write_text(f"judging the run: contract {index + 1} of {len(checks)}: {check.name}")
        began = time.perf_counter()
        try:
            if crash is not None and crash.contract == check.name:
                raise crash
            if check.name == "runs" and crash is not None:
                raise NotJudgedError(f"{crash.contract}: {crash.what}")
            if check.name == "runs" and no_toy:
                raise NotJudgedError(no_toy)
            if trial.trained_for_ever and not check.name.startswith("table-"):
                raise NotJudgedError("the runner trains for ever")
            check.judge(trial)
            passed.append(check.name)
        except NotJudgedError as reason:
            not_judged[check.name] = str(reason)
        except ContractError as error:
            findings.append(_finding_of(error, check.name, target))
        except Exception as error:
            not_judged[check.name] = f"it cannot read this runner: {type(error).__name__}: {first_line(error)}"
        times[check.name] = time.perf_counter() - began
    if crash is not None and not any(finding.contract == crash.contract for finding in findings):
        findings.append(_finding_of(crash, str(crash.contract), target))  # a crash is never lost
    return Report(findings, passed, not_judged, times=times)


def _crash(trial: Trial) -> Tuple[Optional[ContractError], str]:
    """Return what ended the run, or why the toy was not enough."""
    if trial.error is None:
        return None, ""
    try:
        return explain(trial), ""
    except NotJudgedError as reason:
        return None, str(reason)


def _finding_of(error: ContractError, name: str, target: RunnerTarget) -> Finding:
    return Finding.of(error, name, lambda _: target.command)
