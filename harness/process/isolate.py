"""Runs a command or a function in a process of its own, so that whatever kills it becomes a report.

`python -m harness run [--timeout SECONDS] [--memory-limit SIZE] [--report DIR] -- COMMAND ...` wraps any training: what
is typed and printed passes through, Ctrl-C reaches the command once, and the exit code is the command's: 128 + its
number after a signal, 124 after a hang, 127 if there is no such command. Nothing that it started outlives it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import pickle
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import spawn
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from harness.process import monitor
from harness.process.diagnosis import Ending, Evidence, diagnose
from harness.units import bytes_of
from mapush.errors import ConfigError, MapushError

KEEPER, ANSWER = Path(__file__).with_name("supervisor.py"), Path(__file__).with_name("child_call.py")
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LAST_WORDS = 1.0  # for a process that was told to abort, to write its stack [s]
MOST_STACKS = 16  # processes that are asked for theirs
ENDLESS = 2**62  # what the system takes for a limit is less
PATIENCE = 15.0  # with a keeper that was told to kill everything, until that is done without it [s]


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a command may take; None for as much as it likes.

    Attributes:
      timeout: until its end [s].
      silence: without another line of output [s]; a progress bar that moves is none.
      memory: resident, of all its processes together [bytes]; looked at once a second.
      address_space: of each process [bytes], kept by the system (RLIMIT_AS); CUDA needs far more than it uses.
      cpu: time on processors of each process [s], kept by the system (RLIMIT_CPU).
    Raises:
      ConfigError: one of them is no positive number, or a memory or cpu is not whole.
    """

    timeout: Optional[float] = None
    silence: Optional[float] = None
    memory: Optional[int] = None
    address_space: Optional[int] = None
    cpu: Optional[int] = None

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            seconds = name in ("timeout", "silence")
            if value is not None and not (isinstance(value, (int, float) if seconds else int) and 0 < value < ENDLESS):
                expected = "a positive number" if seconds else "a positive whole number"
                raise ConfigError("no limit", where=name, got=repr(value), expected=expected)

    def of_system(self) -> Dict[str, Tuple[int, int]]:
        """Return those that the system keeps, soft and hard, under the names of `resource`."""
        space, cpu = self.address_space, self.cpu
        named = {} if space is None else {"RLIMIT_AS": (space, space)}
        return named if cpu is None else dict(named, RLIMIT_CPU=(cpu, cpu + 5))  # SIGXCPU at the first, then SIGKILL


def run(
    command: Sequence[str],
    limits: Limits = Limits(),  # noqa: B008 (it is frozen)
    *,
    attached: bool = False,
    env: Optional[Mapping[str, str]] = None,
) -> Ending:
    """Run a command to its end and say how it ended.

    Args:
      command: program and arguments.
      limits: what it may take.
      attached: pass through what is typed and printed, and hand on `FORWARDED` signals; only in the main thread.
      env: environment variables besides those of this process.
    Raises:
      ConfigError: there is no command.
    """
    if isinstance(command, str) or not command:
        raise ConfigError("no command", got=repr(command), expected="a program and its arguments: ['python', 'x.py']")
    try:
        opened = _Session(command, limits, attached, dict(env or {}))
    except (OSError, ValueError) as error:
        return diagnose(Evidence(tuple(map(str, command)), start_error=f"{command[0]}: {error}"))
    with opened as session:
        with _forwarding(session) if attached else contextlib.nullcontext():
            session.watch()
    return diagnose(session.evidence())


def call(function: Callable[..., Any], *args: Any, limits: Limits = Limits(), **kwargs: Any) -> Ending:  # noqa: B008
    """Call a function in a fresh process and say how that ended; the `result` is what it returned.

    Args:
      function: of a module, so that it can be pickled, as `args`, `kwargs` and what it returns.
      args: its arguments.
      limits: what it may take.
      kwargs: its named arguments.
    """
    preparation = spawn.get_preparation_data("isolated")
    preparation.pop("authkey")  # a secret, and of no use there
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder) / "request", Path(folder) / "answer"
        request.write_bytes(pickle.dumps(preparation) + pickle.dumps((function, args, kwargs)))
        ending = run([sys.executable, str(ANSWER), str(request), str(answer)], limits)
        returned = answer.is_file()
        result = pickle.loads(answer.read_bytes()) if returned else None
    evidence = dataclasses.replace(ending.evidence, command=(_name(function),), result_lost=not returned)
    return dataclasses.replace(diagnose(evidence), result=result)


def _name(function: Callable[..., Any]) -> str:
    return "{}.{}".format(function.__module__, getattr(function, "__qualname__", function))


class _Session:
    """A command, its keeper, and what is seen of both."""

    def __init__(self, command: Sequence[str], limits: Limits, attached: bool, env: Dict[str, str]) -> None:
        self._limits, self._command = limits, tuple(map(str, command))
        self._console, self._memory = monitor.Console(), monitor.MemoryCurve()
        self._told: Dict[str, Any] = {}  # by the keeper
        self._stopped_for: Optional[str] = None
        self._asked: Optional[int] = None
        self._processes: List[monitor.Process] = []
        self._oom_kills = monitor.oom_kills()
        self._start = time.monotonic()
        self._seconds = 0.0
        self._given_up = math.inf  # when the keeper will have had time enough to kill everything
        self._events = selectors.DefaultSelector()
        self._open(attached, env)

    def _open(self, attached: bool, env: Dict[str, str]) -> None:
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self._events.close)

            def kept(pair: Tuple[int, int]) -> Tuple[int, int]:
                for descriptor in pair:
                    on_failure.callback(os.close, descriptor)
                return pair

            control, self._control = kept(os.pipe())
            report, to_report = kept(os.pipe())
            terminal = attached and os.isatty(1) and os.isatty(2)
            outputs = [kept(_terminal())] if terminal else [kept(os.pipe()), kept(os.pipe())]
            settings = {
                "control": control,
                "report": to_report,
                "owner": os.getpid(),
                "limits": self._limits.of_system(),
            }
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), json.dumps(settings)] + list(self._command),
                stdin=None if attached else subprocess.DEVNULL,
                stdout=outputs[0][1],
                stderr=outputs[-1][1],
                env={"PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1", **os.environ, **env},
                pass_fds=(control, to_report),
                start_new_session=True,
            )
            on_failure.pop_all()
        for writer in {control, to_report}.union(writer for _, writer in outputs):
            os.close(writer)
        for (reader, _), sink in zip(outputs, (1, 2)):
            self._listen(reader, sink if attached else None)
        self._report = b""
        self._events.register(report, selectors.EVENT_READ, self._note)

    def _listen(self, reader: int, sink: Optional[int]) -> None:
        self._events.register(reader, selectors.EVENT_READ, lambda data: self._hear(reader, data, sink))

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: Any) -> None:
        """Leave nothing of the command running, whatever happened."""
        self._end_all()
        try:
            self._keeper.wait(timeout=max(self._given_up - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            monitor.kill_below(self._keeper.pid, LAST_WORDS)
            self._keeper.kill()
            self._keeper.wait()
        for key in list(self._events.get_map().values()):
            self._close(key.fd)
        self._events.close()

    def watch(self) -> None:
        """Follow the command to its end, and bring that about when it passes a limit."""
        while self._keeper.poll() is None and time.monotonic() < self._given_up:
            now = time.monotonic()
            if now >= self._memory.due:
                self._memory.sample(self._keeper.pid)
                self._keeper.send_signal(signal.SIGCONT)  # in case the command has stopped it
            reason = self._passed(now)
            if reason and not self._stopped_for:
                self._stop(reason)
            self._pump(min(max(self._next(now) - now, 0.0), 0.5))
        self._seconds = time.monotonic() - self._start
        for _ in range(1000):  # what is still in the pipes
            if not self._pump(0.0):
                break
        self._console.finish()

    def send(self, number: int) -> None:
        """Hand a signal on to the command."""
        self._asked = number
        if self._control is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self._control, bytes([number]))

    def evidence(self) -> Evidence:
        """Return all that was seen."""
        return Evidence(
            command=self._command,
            status=self._told.get("status"),
            start_error=self._told.get("error"),
            stopped_for=self._stopped_for,
            asked=self._asked,
            seconds=self._seconds,
            limits={name: value for name, value in dataclasses.asdict(self._limits).items() if value is not None},
            lines=list(self._console.lines),
            stacks=list(self._console.stacks),
            processes=self._processes,
            left=self._told.get("left", 0),
            oom_kills=monitor.oom_kills() - self._oom_kills,
            memory=self._memory.samples,
            peak=max(self._told.get("peak", 0), self._memory.peak),
            step=self._console.step,
            run=self._console.run,
        )

    def _next(self, now: float) -> float:
        deadlines = [self._memory.due]
        if self._limits.timeout is not None:
            deadlines.append(self._start + self._limits.timeout)
        if self._limits.silence is not None:
            deadlines.append(self._console.heard + self._limits.silence)
        return min((deadline for deadline in deadlines if deadline > now), default=now + 0.5)

    def _passed(self, now: float) -> Optional[str]:
        """Return the limit that the command has passed."""
        limits = self._limits
        if limits.memory is not None and self._memory.rss > limits.memory:
            return "memory"
        if limits.timeout is not None and now - self._start > limits.timeout:
            return "timeout"
        if limits.silence is not None and now - self._console.heard > limits.silence:
            return "silence"
        return None

    def _stop(self, reason: str) -> None:
        self._stopped_for = reason
        found = monitor.descendants(self._keeper.pid)
        self._processes = [
            one._replace(most_threads=max(one.threads, self._memory.threads.get(one.pid, 0)))
            for one in monitor.examine(found)
        ]
        for process in reversed(found[:MOST_STACKS]):  # children first: with its first child the keeper ends all others
            self._ask_for_stack(process.pid)
        self._end_all()

    def _ask_for_stack(self, pid: int) -> None:
        """Let `faulthandler`, if it is there, write the stacks of a process, which ends it."""
        before = len(self._console.stacks)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGABRT)
            os.kill(pid, signal.SIGCONT)  # in case it is stopped
        deadline = time.monotonic() + LAST_WORDS
        while monitor.alive(pid) and time.monotonic() < deadline:
            self._pump(0.01)
        while self._pump(0.02) and time.monotonic() < deadline + LAST_WORDS:
            pass
        stack = list(self._console.stacks)[before:]
        self._processes = [one._replace(stack=stack) if one.pid == pid else one for one in self._processes]

    def _end_all(self) -> None:
        """Let the keeper kill the command and all that came of it."""
        if self._control is not None:
            os.close(self._control)
            self._control = None
            self._given_up = time.monotonic() + PATIENCE

    def _pump(self, seconds: float) -> bool:
        """Take in what comes within some time; return whether anything did."""
        ready = self._events.select(seconds) if self._events.get_map() else []
        if not ready and not self._events.get_map():
            time.sleep(min(seconds, 0.01))
        for key, _ in ready:
            try:
                data = os.read(key.fd, 65536)
            except OSError:  # of a terminal that is closed
                data = b""
            if data:
                key.data(data)
            else:
                self._close(key.fd)
        return bool(ready)

    def _close(self, reader: int) -> None:
        self._events.unregister(reader)
        os.close(reader)

    def _hear(self, reader: int, data: bytes, sink: Optional[int]) -> None:
        self._console.feed(reader, data)
        if sink is not None:
            _write(sink, data)

    def _note(self, data: bytes) -> None:
        *lines, self._report = (self._report + data).split(b"\n")
        for line in lines:
            self._told.update(json.loads(line))


def _terminal() -> Tuple[int, int]:
    """Return (reader, writer) of a terminal of the size of the present one."""
    import fcntl
    import termios

    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, fcntl.ioctl(1, termios.TIOCGWINSZ, b"\0" * 8))
    return reader, writer


def _write(descriptor: int, data: bytes) -> None:
    """Write all of it, unless it is not taken: by a disk that is full, or a pipe that nobody reads any more."""
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(descriptor, data) :]


@contextlib.contextmanager
def _forwarding(session: _Session) -> Iterator[None]:
    """Hand on signals to the command, which decides what they mean."""
    before = {number: signal.signal(number, lambda number, _: session.send(number)) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run what the command line says, report how it ended if that was not well, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m harness run", description="Run a command; if it crashes or hangs, say why."
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="it hangs if it has not ended then")
    parser.add_argument("--silence", type=float, metavar="SECONDS", help="it hangs if it prints nothing for so long")
    parser.add_argument("--memory-limit", metavar="SIZE", help="of all its processes together, as in 8GiB")
    parser.add_argument("--cpu-limit", type=int, metavar="SECONDS", help="time on processors of each process")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write crash.txt and crash.json there")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND ...")
    _fill_standard_streams()
    options = parser.parse_args(argv)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        parser.error("no command; python -m harness run -- python -m mapush.train ...")
    try:
        memory = None if options.memory_limit is None else bytes_of(options.memory_limit)
        limits = Limits(options.timeout, options.silence, memory, cpu=options.cpu_limit)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    ending = run(command, limits, attached=True)
    if not ending.ok and not ending.as_asked:
        _say(f"\n{ending}")
        if options.report is not None:
            _say(_written(ending, options.report))
    return ending.exit_code


def _fill_standard_streams() -> None:
    """Open those of the descriptors 0 to 2 that are closed, so that no pipe takes their place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest that is closed


def _say(text: str) -> None:
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    _write(2, (text + "\n").encode(encoding, "backslashreplace"))


def _written(ending: Ending, folder: Path) -> str:
    """Write the report into a folder and say where it is, or why it is not there."""
    try:
        return f"report: {ending.write(folder)}"
    except OSError as error:
        fix = "--report with a folder that can be written to"
        return str(ConfigError("the report cannot be written", where=str(folder), cause=str(error), fix=fix))
