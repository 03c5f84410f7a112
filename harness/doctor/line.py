"""One line of the doctor's report, and how software that might crash is tried."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import threading
from concurrent.futures import Future
from typing import Any, Callable, Dict, Iterable, List, TypeVar

OK, WARNING, WRONG = "ok", "warning", "wrong"
SIGNS = {OK: "+", WARNING: "!", WRONG: "x"}
PROBE_TIMEOUT_S = 60.0
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Line:
    """What the doctor found out about one thing.

    Attributes:
      name: name of the thing.
      status: `OK`, `WARNING` or `WRONG`.
      found: what was found, in one line.
      fix: what to do about it; "" if nothing has to be done.
    """

    name: str
    status: str
    found: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{SIGNS[self.status]} {self.name:<13} {self.found}"
        if self.fix:
            text += f"\n  {'':<13} fix: {self.fix}"
        return text


Check = Callable[[], Line]


class Broken(Exception):
    """Software that cannot be loaded.

    Attributes:
      line: the line that reports it.
    """

    def __init__(self, line: Line) -> None:
        super().__init__(str(line))
        self.line = line


def probe(name: str, function: Callable[[], Dict[str, Any]]) -> Dict[str, Any]:
    """Return what a function finds out in a process of its own.

    Args:
      name: name of the software that the function loads.
      function: see `harness.process.isolate.call`.

    Raises:
      Broken: the function raised an exception, crashed or did not return, or processes cannot be watched here.
    """
    if importlib.util.find_spec("psutil") is None:
        found = "not tried, because psutil is not installed"
        raise Broken(Line(name, WARNING, found, "pip install psutil"))

    from harness.process.isolate import Limits, call

    ending = call(function, limits=Limits(timeout=PROBE_TIMEOUT_S))
    if not ending.ok:
        fix = ending.fix or ending.cause or "install it again"
        raise Broken(Line(name, WRONG, ending.summary, fix))
    return ending.result


def missing_modules(names: Iterable[str]) -> List[str]:
    """Return those of some modules that are not installed."""
    return [name for name in names if importlib.util.find_spec(name) is None]


def once(function: Callable[[], T]) -> Callable[[], T]:
    """Return a function that calls `function` once, and gives its result or its error to every caller.

    Args:
      function: something slow that several threads need; while it runs, they wait.
    """
    answer: Future[T] = Future()
    lock = threading.Lock()

    @functools.wraps(function)
    def ask() -> T:
        with lock:
            if not answer.done():
                try:
                    answer.set_result(function())
                except Exception as error:
                    answer.set_exception(error)
        return answer.result()

    return ask
