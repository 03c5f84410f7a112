"""Contracts of HARL's vectorised interface: `check_env` runs them all on the environments of a factory."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import numpy as np

# In the order in which their contracts run.
# isort: off
from harness.contracts import shape, impulse, episodes, twins, upkeep  # noqa: F401

# isort: on
from harness.contracts.registry import CONTRACTS, Contract, contract, names
from harness.contracts.subject import Subject
from harness.contracts.task import Task
from harness.findings import ContractError, Finding, NotJudgedError, Report
from harness.interface import first_line, innermost_line
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


def check_env(
    make_env: Callable[..., Any],
    *,
    kwargs: Optional[Dict[str, Any]] = None,
    task: Optional[Task] = None,
    contracts: Optional[Sequence[str]] = None,
    seed: int = 0,
    budget_s: float = 60.0,
) -> Report:
    """Hold the environments that a factory builds to the contracts of HARL's interface.

    Args:
      make_env: builds an environment. Whichever of `num_envs`, `num_agents` and `seed` it takes are varied.
      kwargs: arguments of the factory that stay as they are.
      task: what you know about the task and the harness cannot.
      contracts: names of those to run; all by default.
      seed: of environments and actions; the same seed does the same.
      budget_s: about how long it may take at most [s]; slow environments are driven for fewer steps.
    Returns:
      What was found; nothing is raised for a broken environment.
    Raises:
      ConfigError: there is no contract of that name.
    """
    wanted = chosen(contracts)
    started = time.perf_counter()
    subject = Subject(make_env, dict(kwargs or {}), task, seed, budget_s)
    command = _command(make_env, kwargs, seed)
    found: Dict[str, Finding] = {}
    not_judged: Dict[str, str] = {}
    with _global_generators_kept():
        for name in wanted:
            try:
                CONTRACTS[name].check(subject)
            except NotJudgedError as reason:
                not_judged[name] = str(reason)
            except ContractError as error:
                finding = Finding.of(error, name, command)
                found.setdefault(finding.contract, finding)
                if finding.contract != name:
                    not_judged[name] = "{}: {}".format(finding.contract, finding.what)
            except Exception as error:
                what = "the check itself failed: {}: {}".format(type(error).__name__, first_line(error))
                not_judged[name] = "{} ({})".format(what, innermost_line(error))
    for name in wanted:
        if name in subject.violations:
            found.setdefault(name, Finding.of(subject.violations[name], name, command))
    passed = [name for name in wanted if name not in found and name not in not_judged]
    not_judged = {name: reason for name, reason in not_judged.items() if name not in found}
    findings = [found[name] for name in names("env") if name in found]
    return Report(findings, passed, not_judged, subject.notes, time.perf_counter() - started)


def chosen(contracts: Optional[Sequence[str]]) -> List[str]:
    """Return the names of the contracts to run, in their order; all for None.

    Raises:
      ConfigError: there is no contract of that name.
    """
    valid = names("env")
    for name in contracts or ():
        if name not in valid:
            raise ConfigError("there is no contract {!r}".format(name), fix=nearest(name, valid))
    return [name for name in valid if contracts is None or name in contracts]


def _command(make_env: Callable[..., Any], kwargs: Optional[Dict[str, Any]], seed: int) -> str:
    import json

    factory = "{}:{}".format(getattr(make_env, "__module__", "?"), getattr(make_env, "__qualname__", repr(make_env)))
    fixed = " --kwargs '{}'".format(json.dumps(kwargs, default=str)) if kwargs else ""
    return "python -m harness check {}{} --contracts {{}} --seed {}".format(factory, fixed, seed)


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
