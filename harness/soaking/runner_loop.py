"""A HARL runner as a loop: its `run` goes on for one iteration at a time."""

from __future__ import annotations

import sys
import threading
from typing import Any, List, Optional, Tuple

from harness.memory.soak import Subject
from mapush.errors import ConfigError

HOOKS = ("after_update", "train")
"""Methods that HARL's runners call once in an iteration; the first that a runner has is used."""
ENDLESS_STEPS = 10**15  # more env steps than any soak takes
OWNERS = (
    ("env", "envs"),
    ("logger", "logger"),
    ("actors", "actor"),
    ("actor buffers", "actor_buffer"),
    ("critic", "critic"),
    ("critic buffer", "critic_buffer"),
    ("value normalizer", "value_normalizer"),
)
"""Parts of a runner that are measured separately, and the attributes that hold them."""
END_TIMEOUT_S = 30.0
WRITER_KEEPS = "the writer keeps every number it has logged until its close (scalar_dict of tensorboardX): left out"


class _EndOfRunError(BaseException):
    """Ends `run`; not an `Exception`, so that no handler of the user's takes it."""


def is_runner(thing: Any) -> bool:
    """Return whether an object is a runner: it has `run`, environments, and a method of `HOOKS`."""
    if not callable(getattr(thing, "run", None)) or not hasattr(thing, "envs"):
        return False
    return any(callable(getattr(thing, name, None)) for name in HOOKS)


class RunnerLoop:
    """Lets `runner.run()` go on from the end of one iteration to the end of the next.

    `run` is called in a thread of its own, which waits between two iterations. Only one of the two threads runs at any
    time.

    Args:
      runner: a runner that has not run yet.
    """

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self._may_go_on = threading.Semaphore(0)
        self._has_stopped = threading.Semaphore(0)
        self._ending = False
        self._ended = False
        self._iterations = 0
        self._error: List[BaseException] = []
        self._thread: Optional[threading.Thread] = None
        self._hook = next(name for name in HOOKS if callable(getattr(runner, name, None)))
        self._original = getattr(runner, self._hook)
        setattr(runner, self._hook, self._called)
        _never_end(runner)

    def advance(self) -> None:
        """Run one iteration.

        Raises:
          ConfigError: the runner has ended by itself.
          Exception: the runner raised it.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="harl-runner", daemon=True)
            self._thread.start()
        else:
            self._may_go_on.release()
        self._has_stopped.acquire()
        written = numbers_kept_by_writer(self._runner)
        if written is not None:
            written.clear()
        if self._error:
            raise self._error[0]
        if self._ended:
            raise ConfigError(
                "the runner's run() ended by itself",
                got=f"{self._iterations} iterations",
                expected="a loop that goes on",
                fix="raise num_env_steps in its settings",
            )

    def close(self) -> None:
        """End `run`, and close the runner."""
        self._ending = True
        if self._thread is not None and self._thread.is_alive():
            self._may_go_on.release()
            self._thread.join(END_TIMEOUT_S)
        delattr(self._runner, self._hook)
        close = getattr(self._runner, "close", None)
        if callable(close):
            close()

    def _run(self) -> None:
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(torch.get_num_threads())  # each thread has its own number
        try:
            self._runner.run()
        except _EndOfRunError:
            pass
        except BaseException as error:
            self._error.append(error)
        self._ended = True
        self._has_stopped.release()

    def _called(self, *arguments: Any, **named: Any) -> Any:
        result = self._original(*arguments, **named)
        self._iterations += 1
        self._has_stopped.release()
        self._may_go_on.acquire()
        if self._ending:
            raise _EndOfRunError
        return result


def _never_end(runner: Any) -> None:
    """Let a runner train for as long as it is asked to."""
    train = getattr(runner, "algo_args", {}).get("train", {})
    if "num_env_steps" in train:
        train["num_env_steps"] = ENDLESS_STEPS


def numbers_kept_by_writer(runner: Any) -> Optional[dict]:
    """Return what tensorboardX's writer, which HARL uses, keeps of every number that was logged; None if nothing."""
    written = getattr(getattr(runner, "writter", None), "scalar_dict", None)
    return written if isinstance(written, dict) else None


def runner_subject(runner: Any) -> Subject:
    """Return a HARL runner as a subject, whose cycles are iterations and whose steps are env steps.

    Args:
      runner: a runner that has not run yet, or any object with `run`, `envs` and a method of `HOOKS`.
    """
    loop = RunnerLoop(runner)
    owners = {}
    for name, attribute in OWNERS:
        part = getattr(runner, attribute, None)
        if part is not None:
            owners[name] = part
    owners["runner"] = runner
    train = getattr(runner, "algo_args", {}).get("train", {})
    steps = int(train.get("episode_length", 1)) * int(train.get("n_rollout_threads", 1))
    notes: Tuple[str, ...] = ()
    if numbers_kept_by_writer(runner) is not None:
        notes = (WRITER_KEEPS,)
    return Subject(loop.advance, steps=steps, close=loop.close, owners=owners, notes=notes)
