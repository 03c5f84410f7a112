"""What the doctor says of one thing, and how what might crash is tried."""

from __future__ import annotations

import dataclasses
import functools
import threading
from concurrent.futures import Future
from typing import Any, Callable, Dict, TypeVar

from harness.process.isolate import Limits, call

OK, WARNING, WRONG = "ok", "warning", "wrong"
SIGNS = {OK: "+", WARNING: "!", WRONG: "x"}
T = TypeVar("T")
PROBE_TIMEOUT = 60.0  # for what is imported in a process of its own [s]


@dataclasses.dataclass(frozen=True)
class Line:
    """What was found of one thing.

    Attributes:
      name: of the thing.
      status: `OK`, `WARNING` or `WRONG`.
      found: what is there, in one line.
      fix: what to do about it; "" if nothing.
    """

    name: str
    status: str
    found: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{SIGNS[self.status]} {self.name:<13} {self.found}"
        return text + ("\n  {:<13} fix: {}".format("", self.fix) if self.fix else "")


Check = Callable[[], Line]


class Broken(Exception):
    """Something that cannot be loaded.

    Attributes:
      line: what to say about it.
    """

    def __init__(self, line: Line) -> None:
        super().__init__(str(line))
        self.line = line


def probe(name: str, function: Callable[[], Dict[str, Any]]) -> Dict[str, Any]:
    """Return what a function finds out in a process of its own.

    Args:
      name: of what it loads.
      function: see `harness.process.isolate.call`.
    Raises:
      Broken: it raised something, crashed or did not come back.
    """
    ending = call(function, limits=Limits(timeout=PROBE_TIMEOUT))
    if ending.ok:
        return ending.result
    what = ending.kind + (": " + ending.details if ending.details else "")
    raise Broken(Line(name, WRONG, what, ending.fix or ending.cause or "install it again"))


def once(function: Callable[[], T]) -> Callable[[], T]:
    """Return a function that calls another one when it is first asked, and gives that answer or error to all who ask.

    Args:
      function: what may take long.
    """
    answer: Future[T] = Future()
    lock = threading.Lock()

    @functools.wraps(function)
    def ask() -> T:
        with lock:  # who asks meanwhile waits
            if not answer.done():
                try:
                    answer.set_result(function())
                except Exception as error:
                    answer.set_exception(error)
        return answer.result()

    return ask
