"""Runs a command or a function in a process of its own, so that whatever kills it becomes a report.

  ending = run(["python", "train.py"], Limits(timeout=600))
  ending = call(make_env, num_envs=500, limits=Limits(timeout=60))
  if not ending.ok:
      print(ending)

Every process that the command started is killed when the command ends, even if this process itself is killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import signal
import sys
import tempfile
from multiprocessing import spawn
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence

from harness.process.command_onlooker import CommandOnlooker
from harness.process.diagnosis import diagnose
from harness.process.ending import Ending
from harness.process.evidence import Evidence
from harness.process.limits import Limits
from harness.process.plain_child import run_plainly
from harness.process.session import Session, Watcher, watch_nothing
from mapush.errors import ConfigError

CHILD_CALL = Path(__file__).with_name("child_call.py")
FORWARDED_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
NO_LIMITS = Limits()


def can_isolate() -> bool:
    """Return whether this system can run a command under supervision, for which it needs `fork`."""
    return hasattr(os, "fork")


def run(
    command: Sequence[str],
    limits: Limits = NO_LIMITS,
    *,
    attached: bool = False,
    env: Optional[Mapping[str, str]] = None,
    onlooker: Optional[CommandOnlooker] = None,
    watcher: Watcher = watch_nothing,
    on_output: Callable[[], Any] = watch_nothing,
) -> Ending:
    """Run a command to its end and report how it ended.

    Args:
      command: program and arguments.
      limits: what the command may use.
      attached: pass through what is typed and printed, and forward `FORWARDED_SIGNALS`; only in the main thread.
      env: environment variables in addition to those of this process.
      onlooker: measures the command meanwhile; when it has seen enough, the command is asked to end, then killed.
      watcher: called several times a second; what it returns is the reason to end the command, if it is not None.
      on_output: called before output of the command is printed here.

    Raises:
      ConfigError: the command is empty or a string, or this system cannot isolate processes.
    """
    if isinstance(command, str) or not command:
        raise ConfigError("no command", got=repr(command), expected="a program and its arguments: ['python', 'x.py']")
    if not can_isolate():
        raise ConfigError(
            "processes cannot be isolated on this system",
            got=f"{sys.platform}, which has no fork",
            expected="Linux or macOS",
            fix="run the command directly, or under WSL",
        )
    try:
        opened = Session(command, limits, attached, env or {}, onlooker, watcher, on_output)
    except (OSError, ValueError) as error:
        return diagnose(Evidence(tuple(map(str, command)), start_error=f"{command[0]}: {error}"))
    with opened as session:
        if attached:
            with _forwarding(session):
                session.watch()
        else:
            session.watch()
    return diagnose(session.evidence())


def call(
    function: Callable[..., Any],
    *args: Any,
    limits: Limits = NO_LIMITS,
    watcher: Watcher = watch_nothing,
    **kwargs: Any,
) -> Ending:
    """Call a function in a new process and report how that ended; `Ending.result` is what the function returned.

    Where this system cannot isolate processes, it is a plain child process: of the limits only the times count, and
    what it starts itself may outlive it.

    Args:
      function: a function of a module, because it is pickled like its arguments and its result.
      args: its positional arguments.
      limits: what the process may use.
      watcher: as in `run`.
      kwargs: its keyword arguments.
    """
    preparation = spawn.get_preparation_data("isolated")
    preparation.pop("authkey")  # a secret, which the child does not need
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder, "request"), Path(folder, "answer")
        request.write_bytes(pickle.dumps(preparation) + pickle.dumps((function, args, kwargs)))
        words = [sys.executable, str(CHILD_CALL), str(request), str(answer)]
        if can_isolate():
            evidence = run(words, limits, watcher=watcher).evidence
        else:
            evidence = run_plainly(words, limits, watcher)
        result, returned = None, answer.is_file()
        if returned:
            result = pickle.loads(answer.read_bytes())
    name = getattr(function, "__qualname__", function)
    command = (f"{function.__module__}.{name}",)
    evidence = dataclasses.replace(evidence, command=command, result_lost=not returned)
    return dataclasses.replace(diagnose(evidence), result=result)


@contextlib.contextmanager
def _forwarding(session: Session) -> Iterator[None]:
    """Forward signals to the command, which decides what they mean."""
    previous = {}
    for name in FORWARDED_SIGNALS:
        number = getattr(signal, name, None)
        if number is None:
            continue
        previous[number] = signal.signal(number, lambda received, _: session.forward(received))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
