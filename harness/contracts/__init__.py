"""Contracts of HARL's vectorised interface: `check_env` runs them on the environments of a factory."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import random
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import numpy as np

from harness.apis.recognition import require_known
from harness.contracts.effort import USUAL_EFFORT, Effort
from harness.contracts.enough import NEEDS, require_enough
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.explanation import complete
from harness.contracts.registry import CONTRACTS, Contract, contract, names
from harness.contracts.shrink import shorten
from harness.contracts.task import Task
from harness.findings import CheckTarget, ContractError, Finding, NotJudgedError, Report
from harness.interface.harl_forms import HarlForms, upstream
from harness.interface.player import first_line, innermost_line, is_ctrl_c
from mapush.errors import unknown

__all__ = [
    "CONTRACTS",
    "Contract",
    "ContractError",
    "Effort",
    "Finding",
    "NotJudgedError",
    "Report",
    "Task",
    "check_env",
    "chosen",
    "contract",
    "names",
]

IN_ORDER = (
    "shape",
    "values",
    "forbidden_actions",
    "info_dicts",
    "agents_alike",
    "action_masks",
    "impulse",
    "action_levels",
    "action_range",
    "mask_effects",
    "fresh_reset",
    "auto_reset",
    "first_steps",
    "reward_parts",
    "lost_rewards",
    "end_rewards",
    "time_limits",
    "terminal_observation",
    "episode_infos",
    "new_episode",
    "clean_start",
    "left_agents",
    "timely_views",
    "paired_runs",
    "starts",
    "other_process",
    "two_environments",
    "aliasing",
    "batch",
    "lifecycle",
    "many_episodes",
    "made_and_closed",
    "reward_task",
)
"""The modules with contracts, in the order in which reports list their contracts."""

RUN_LAST = (
    "bounded-statistics",
    "impulse",
    "first-action",
    "no-memory",
    "clean-start",
    "left-agents",
    "action-levels",
    "mask-effects",
    "independence",
    "partial-reset",
    "other-process",
    "two-environments",
    "no-foresight",
    "timely-views",
    "made-and-closed",
    "many-episodes",
)
"""The contracts that take long, the most telling ones first; they run after all others, as time may be too short."""

FORMS = frozenset(NEEDS) | {"factory", "spaces", "reset-form"}  # contracts that need no run but the long one
WITHDRAWN_LATER = ("share-obs-same", "bad-transition")  # by their own check, where they cannot be judged
MAX_SHARES = 2.5  # times its usual share of the budget that a contract may take if few contracts run
HARNESS_FOLDER = Path(__file__).resolve().parents[1]


def silent(kind: str, contract: str, detail: Any = None) -> None:
    """Tell nobody what happens."""


def _register_in_order() -> None:
    for module in IN_ORDER:
        importlib.import_module(f"{__name__}.{module}")


_register_in_order()


def check_env(
    make_env: Callable[..., Any],
    *,
    kwargs: Optional[Dict[str, Any]] = None,
    task: Optional[Task] = None,
    contracts: Optional[Sequence[str]] = None,
    seed: int = 0,
    budget_s: float = 60.0,
    on_contract: Callable[[str], Any] = lambda name: None,
    target: Optional[CheckTarget] = None,
    effort: Effort = USUAL_EFFORT,
    harl: Callable[[], HarlForms] = upstream,
    one_per_process: bool = False,
    tell: Callable[..., Any] = silent,
    api: str = "",
) -> Report:
    """Check the environments that a factory builds against the contracts of HARL's interface.

    Args:
      make_env: builds an environment. Of its arguments, `num_envs`, `num_agents` and `seed` are varied.
      kwargs: fixed arguments of the factory.
      task: what you know about the task and the harness cannot know.
      contracts: names of the contracts to run; all by default.
      seed: seed for environments and actions; the same seed gives the same check.
      budget_s: how long the check may take, about [s]; slow environments are driven for fewer steps.
      on_contract: called with the name of each contract before it runs.
      target: what is checked, as a command line names it; by default derived from the other arguments.
      effort: upper limits of the work.
      harl: returns what the user's HARL accepts; by default, what upstream's does.
      one_per_process: build each environment in a process of its own, one at a time, for a simulator that can be
        started only once in a process.
      tell: called with what has happened at once, see `harness.checking.onlooker.Event`.
      api: name of the interface of the environments, one of `harness.apis.recognition.APIS`; by default, it is
        recognised.

    Returns:
      What was found. A broken environment raises nothing.

    Raises:
      ConfigError: there is no contract or no interface of that name.
    """
    require_known(api)
    wanted = chosen(contracts)
    subject = EnvUnderTest(
        make_env,
        kwargs,
        task,
        seed=seed,
        budget_s=budget_s,
        shares=_shares_of(wanted),
        effort=effort,
        harl=harl,
        one_per_process=one_per_process,
        api=api,
    )
    if target is None:
        target = dataclasses.replace(_target_of(make_env, kwargs or {}, task, seed), api=api)
    return _reported(_Judge(subject, target, wanted, tell), subject, wanted, on_contract, tell)


def _shares_of(wanted: Sequence[str]) -> float:
    """Return how many times its usual share of the budget each contract may take."""
    return min(MAX_SHARES, len(names("env")) / max(len(wanted), 1))


def _reported(
    judge: _Judge,
    subject: EnvUnderTest,
    wanted: Sequence[str],
    on_contract: Callable[[str], Any],
    tell: Callable[..., Any],
) -> Report:
    """Run the contracts, and return everything that was found."""
    started = time.perf_counter()
    if set(wanted) <= FORMS:
        subject.forms = wanted
    subject.complete = complete
    findings = _judge_all(judge, subject, wanted, on_contract, tell)
    passed = [name for name in wanted if name not in judge.found and name not in judge.not_judged]
    return Report(
        findings,
        passed,
        not_judged=judge.not_judged,
        notes=subject.notes,
        seconds=time.perf_counter() - started,
        times=judge.times,
    )


def _judge_all(
    judge: _Judge,
    subject: EnvUnderTest,
    wanted: Sequence[str],
    on_contract: Callable[[str], Any],
    tell: Callable[..., Any],
) -> List[Finding]:
    """Run the contracts one after the other, and return what was found with the shortest actions that show it."""
    subject.errors.on_first = judge.tell_step_error
    with _global_generators_kept(), np.errstate(all="ignore"):
        for name in run_order(wanted):
            on_contract(name)
            tell("began", name)
            judge.judge(name)
        judge.add_step_errors(wanted)
        found = [judge.found[name] for name in names("env") if name in judge.found]
        if found:
            tell("shortening", "the actions that show it")
        findings = shorten(subject, found)
    subject.note_shortage()
    return findings


def chosen(contracts: Optional[Sequence[str]]) -> List[str]:
    """Return the names of the contracts to run, in their order; all for None.

    Raises:
      ConfigError: there is no contract of that name.
    """
    valid = names("env")
    if contracts is None:
        return valid
    for name in contracts:
        if name not in valid:
            raise unknown("contract", name, valid)
    return [name for name in valid if name in contracts]


def run_order(wanted: Sequence[str]) -> List[str]:
    """Return the names of contracts in the order in which they run: those that take long come last."""
    quick = [name for name in wanted if name not in RUN_LAST]
    return quick + [name for name in RUN_LAST if name in wanted]


class _Judge:
    """Runs contracts one after the other and collects the outcomes.

    Args:
      subject: the environment under test.
      target: what is checked, for the commands that reproduce findings.
      wanted: names of the contracts that run.
      tell: called with what has happened.

    Attributes:
      found: the finding of each broken contract.
      not_judged: the reason for each contract that could not be judged.
      times: how long each contract took [s].
    """

    def __init__(
        self, subject: EnvUnderTest, target: CheckTarget, wanted: Sequence[str], tell: Callable[..., Any]
    ) -> None:
        self._subject = subject
        self._wanted = wanted
        self._tell = tell
        self._told: List[str] = []
        self._target = target
        self.found: Dict[str, Finding] = {}
        self.not_judged: Dict[str, str] = {}
        self.times: Dict[str, float] = {}

    def judge(self, name: str) -> None:
        """Run one contract."""
        began = time.perf_counter()
        self._subject.running = name
        try:
            self._subject.require_time()
            self._subject.require_applies(name)
            CONTRACTS[name].check(self._subject)
            if self._subject.errors.of(name) is None:
                require_enough(self._subject, name)
        except NotJudgedError as reason:
            self.not_judged[name] = str(reason)
            self._tell("not judged", name, str(reason))
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            self._add(name, error)
        self.times[name] = time.perf_counter() - began
        if name not in self.found and name not in self.not_judged:
            self._tell("holds", name)

    def _add(self, name: str, error: BaseException) -> None:
        """Add the finding of a contract that raised; what breaks several contracts is reported only once."""
        broken = error
        if not isinstance(broken, ContractError):
            broken = _as_contract_error(error)
        complete(broken, name, self._subject)
        finding = Finding.of(broken, name, self._target.command)
        for known in self.found.values():
            if (known.what, known.where) == (finding.what, finding.where):
                finding = known
                break
        self.found.setdefault(finding.contract, finding)
        self._tell_found(finding)
        if finding.contract != name:
            self.not_judged[name] = f"{finding.contract}: {finding.what}"

    def tell_step_error(self, name: str, error: ContractError) -> None:
        """Tell what a player found, unless its contract may withdraw it later."""
        if name in self._wanted and name not in WITHDRAWN_LATER:
            complete(error, name, self._subject)
            self._tell_found(Finding.of(error, name, self._target.command))

    def _tell_found(self, finding: Finding) -> None:
        if finding.contract not in self._told:
            self._told.append(finding.contract)
            self._tell("found", finding.contract, finding)

    def add_step_errors(self, wanted: Sequence[str]) -> None:
        """Add what players found at single steps, for contracts that no other finding breaks."""
        for name in wanted:
            error = self._subject.errors.of(name)
            if error is not None:
                complete(error, name, self._subject)
                self.found.setdefault(name, Finding.of(error, name, self._target.command))
        for name in self.found:
            self.not_judged.pop(name, None)


def _as_contract_error(error: BaseException) -> ContractError:
    """Return an unexpected exception as a broken contract, so that a contract that fails never counts as kept."""
    raised_by, cause = "environment", None
    if _is_raised_by_harness(error):
        raised_by = "check itself"
        cause = "a defect of the harness, or something that it was not made for: please report it"
    broken = ContractError(
        f"the {raised_by} raised {type(error).__name__}: {first_line(error)}",
        where=innermost_line(error),
        expected="no exception",
        cause=cause,
    )
    broken.__cause__ = error
    return broken


def _is_raised_by_harness(error: BaseException) -> bool:
    """Return whether the innermost line outside of numpy belongs to the harness."""
    innermost = Path()
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        if "numpy" not in file.parts:
            innermost = file
    return HARNESS_FOLDER in innermost.parents


def _target_of(make_env: Callable[..., Any], kwargs: Dict[str, Any], task: Optional[Task], seed: int) -> CheckTarget:
    """Return what is checked as a command line names it, and what a command line cannot express."""
    inexpressible = []
    if not _is_importable(make_env):
        inexpressible.append("the factory cannot be imported by its name")
    stated = ""
    if task is not None:
        if type(task) is not Task:
            stated = _import_name(type(task))
        if not _is_importable(type(task)) or not _is_default(task):
            inexpressible.append("the task is more than its class says")
    return CheckTarget(_import_name(make_env), kwargs, seed, stated, tuple(inexpressible))


def _import_name(thing: Any) -> str:
    module = getattr(thing, "__module__", "?")
    path = getattr(thing, "__qualname__", repr(thing))
    return f"{module}:{path}"


def _is_importable(thing: Any) -> bool:
    """Return whether a different process finds this class or function under its own name."""
    module, _, path = _import_name(thing).partition(":")
    if module == "__main__":
        return False
    found = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found == thing


def _is_default(task: Task) -> bool:
    """Return whether the class of a task makes the same task when it is called without arguments."""
    try:
        default = type(task)()
    except Exception:
        return False
    return repr(vars(default)) == repr(vars(task))


@contextlib.contextmanager
def _global_generators_kept() -> Iterator[None]:
    """Restore the random generators of the process afterwards."""
    torch: Any = sys.modules.get("torch")
    state, numpy_state = random.getstate(), np.random.get_state()
    torch_state = None
    if torch is not None:
        torch_state = torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
        if torch_state is not None:
            torch.set_rng_state(torch_state)
