"""Contracts of HARL's vectorised interface: `check_env` runs them all on the environments of a factory."""

from __future__ import annotations

import contextlib
import random
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import numpy as np

# In the order in which their contracts run.
# isort: off
from harness.contracts import shape, impulse, episode_ends, new_episode, paired_runs, batch, lifecycle  # noqa: F401

# isort: on
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.registry import CONTRACTS, Contract, contract, names
from harness.contracts.shrink import shorten
from harness.contracts.task import Task
from harness.findings import CheckTarget, ContractError, Finding, NotJudgedError, Report
from harness.interface.player import first_line, innermost_line, is_ctrl_c
from mapush.errors import ConfigError, nearest

__all__ = [
    "CONTRACTS",
    "Contract",
    "ContractError",
    "Finding",
    "NotJudgedError",
    "Report",
    "Task",
    "check_env",
    "chosen",
    "contract",
    "names",
]

MOST_SHARES = 2.5  # what a single contract may take of the budget, of its share when all run
OWN_FOLDER = Path(__file__).resolve().parents[1]


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
) -> Report:
    """Hold the environments that a factory builds to the contracts of HARL's interface.

    Args:
      make_env: builds an environment. Whichever of `num_envs`, `num_agents` and `seed` it takes are varied.
      kwargs: arguments of the factory that stay as they are.
      task: what you know about the task and the harness cannot.
      contracts: names of those to run; all by default.
      seed: of environments and actions; the same seed does the same.
      budget_s: about how long it may take at most [s]; slow environments are driven for fewer steps.
      on_contract: called with the name of each contract before it runs.
      target: what is checked, as a command line names it; by default derived from the other arguments.
    Returns:
      What was found; nothing is raised for a broken environment.
    Raises:
      ConfigError: there is no contract of that name.
    """
    wanted = chosen(contracts)
    started = time.perf_counter()
    shares = min(MOST_SHARES, len(names("env")) / max(len(wanted), 1))
    subject = EnvUnderTest(make_env, dict(kwargs or {}), task, seed, budget_s, shares)
    command = (target or _target_of(make_env, kwargs or {}, task, seed)).command
    found: Dict[str, Finding] = {}
    not_judged: Dict[str, str] = {}
    times: Dict[str, float] = {}
    with _global_generators_kept(), np.errstate(all="ignore"):
        for name in wanted:
            on_contract(name)
            began = time.perf_counter()
            try:
                subject.require_time()
                CONTRACTS[name].check(subject)
            except NotJudgedError as reason:
                not_judged[name] = str(reason)
            except BaseException as error:
                if is_ctrl_c(error):
                    raise
                broken = error if isinstance(error, ContractError) else _unexpected(error)
                finding = _first_alike(found, Finding.of(broken, name, command))
                found.setdefault(finding.contract, finding)
                if finding.contract != name:
                    not_judged[name] = f"{finding.contract}: {finding.what}"
            times[name] = time.perf_counter() - began
        for name in wanted:
            if name in subject.violations:
                found.setdefault(name, Finding.of(subject.violations[name], name, command))
        findings = shorten(subject, [found[name] for name in names("env") if name in found])
    passed = [name for name in wanted if name not in found and name not in not_judged]
    not_judged = {name: reason for name, reason in not_judged.items() if name not in found}
    return Report(findings, passed, not_judged, subject.notes, time.perf_counter() - started, times)


def chosen(contracts: Optional[Sequence[str]]) -> List[str]:
    """Return the names of the contracts to run, in their order; all for None.

    Raises:
      ConfigError: there is no contract of that name.
    """
    valid = names("env")
    for name in contracts or ():
        if name not in valid:
            raise ConfigError(f"there is no contract {name!r}", fix=nearest(name, valid))
    return [name for name in valid if contracts is None or name in contracts]


def _first_alike(found: Dict[str, Finding], finding: Finding) -> Finding:
    """Return the first of the same cause: what breaks every contract that asks for it is said once."""
    alike = (one for one in found.values() if (one.what, one.where) == (finding.what, finding.where))
    return next(alike, finding)


def _unexpected(error: BaseException) -> ContractError:
    """Return what a contract did not reckon with as a broken one: nothing that went wrong counts as kept."""
    frames = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    ours = OWN_FOLDER in [frame for frame in frames if "numpy" not in frame.parts][-1].parents
    return ContractError(
        "the {} raised {}: {}".format(
            "check itself" if ours else "environment", type(error).__name__, first_line(error)
        ),
        where=innermost_line(error),
        expected="no exception",
        cause="a defect of the harness, or something that it was not made for: please report it" if ours else None,
    )


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
    """Give the process its random generators back as they were."""
    torch = sys.modules.get("torch")
    state, numpy_state = random.getstate(), np.random.get_state()
    torch_state = torch.get_rng_state() if torch is not None else None
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)
        if torch_state is not None:
            torch.set_rng_state(torch_state)
