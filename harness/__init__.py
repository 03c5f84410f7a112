"""Finds the bugs of an environment, of a learner and of a training run in seconds, before the run starts.

An environment with the interface of HARL's vectorised environments is checked by its factory:

    import harness
    from my_project import make_env              # takes num_envs and seed, if it can

    report = harness.check_env(make_env)
    print(report)                                # each finding: what is wrong, where, and how to reproduce it
    assert report.ok

    ending = harness.call(train, limits=harness.Limits(timeout=3600.0))     # in a process of its own
    print(ending)                                # a crash, a hang or a full memory is a diagnosis, not the end

    print(harness.soak(make_subject, warm_up=20, cycles=200))               # does its memory grow?

- `check_env`, `Task`: check an environment; a `Task` states what its reward is for. The result is a `Report` of
  `Finding`s. `contract` registers a contract of your own, which raises `ContractError` or `NotJudgedError`.
- `run`, `call`, `Limits`: run a command, or call a function, in a process of its own; the result is an `Ending`.
- `soak`, `Subject`: run a loop for long, and judge its memory; the result is a `SoakReport`.

`python -m harness --help` lists the same as commands. Importing this package loads nothing; a name is imported when it
is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from harness.contracts import check_env
    from harness.contracts.registry import contract
    from harness.contracts.task import Task
    from harness.findings import ContractError, Finding, NotJudgedError, Report
    from harness.memory.soak import Subject, soak
    from harness.memory.soak_report import SoakReport
    from harness.process.isolate import Ending, Limits, call, run

__all__ = [
    "ContractError",
    "Ending",
    "Finding",
    "Limits",
    "NotJudgedError",
    "Report",
    "SoakReport",
    "Subject",
    "Task",
    "call",
    "check_env",
    "contract",
    "run",
    "soak",
]

_MODULES = {
    "harness.contracts": ["check_env"],
    "harness.contracts.registry": ["contract"],
    "harness.contracts.task": ["Task"],
    "harness.findings": ["ContractError", "Finding", "NotJudgedError", "Report"],
    "harness.memory.soak": ["Subject", "soak"],
    "harness.memory.soak_report": ["SoakReport"],
    "harness.process.isolate": ["Ending", "Limits", "call", "run"],
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    for module, names in _MODULES.items():
        if name in names:
            if module == "harness.process.isolate":
                importlib.import_module("harness.stack.training_hints").activate()
            value = getattr(importlib.import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> List[str]:
    """List the public names, too, for completion."""
    return sorted([*globals(), *__all__])
