"""The checks of a runner by name: what each promises, and the function that judges a `Trial`."""

from __future__ import annotations

import importlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from mapush.errors import unknown

IN_ORDER = ("table_checks", "run_checks", "logger_checks", "rollout_checks", "update_checks")
"""The modules with checks, in the order in which these are made."""

Judge = Callable[[Any], None]


class RunnerCheck(NamedTuple):
    """A check.

    Attributes:
      name: what the report and `--contracts` call it.
      sentence: the promise.
      judge: takes the trial; raises `ContractError`, or `NotJudgedError` if it saw too little.
    """

    name: str
    sentence: str
    judge: Judge


CHECKS: Dict[str, RunnerCheck] = {}


def judges(name: str) -> Callable[[Judge], Judge]:
    """Register the decorated function as a check; the first line of its docstring is the promise."""

    def register(judge: Judge) -> Judge:
        sentence = (judge.__doc__ or "").strip().split("\n")[0]
        CHECKS[name] = RunnerCheck(name, sentence, judge)
        return judge

    return register


def all_checks() -> List[RunnerCheck]:
    """Return every check in order."""
    for module in IN_ORDER:
        importlib.import_module(f"{__package__}.{module}")
    return list(CHECKS.values())


def chosen_checks(names: Optional[Sequence[str]]) -> List[RunnerCheck]:
    """Return the checks of these names; all for None.

    Raises:
      ConfigError: there is no contract of a name.
    """
    checks = all_checks()
    if names is None:
        return checks
    for name in names:
        if name not in CHECKS:
            raise unknown("contract", name, CHECKS)
    return [check for check in checks if check.name in names]
