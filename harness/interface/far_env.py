"""An environment in a process of its own, for a simulator that can be started only once in a process.

The process is a copy of this one (`fork`), made before this one has built anything. The player works there, next to the
environment, so that what it checks is what the environment returned and not a copy of it. At most one such process
lives at a time: whoever builds the next environment ends the one before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import pickle
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any, Callable, List, NamedTuple, NoReturn, Optional, Sequence, Tuple

import numpy as np

from harness.findings import ContractError, NotJudgedError
from harness.interface.harl_forms import HarlForms, JudgedFor
from harness.interface.moment import StepCheck, StepErrors
from harness.interface.player import Player, Seen, first_line, innermost_line, is_ctrl_c
from harness.interface.spaces import Sizes

END_GRACE_S = 5.0  # in which a process may close its environment and end
GONE = "it needs two environments at once, and each has a process of its own"


class Answer(NamedTuple):
    """What the process of an environment answers.

    Attributes:
      value: what the call returned.
      error: what it raised instead.
      recorded: the errors of steps, by contract, that the player has recorded since its last answer.
      notes: what was noted since the last answer.
      forms: what the user's HARL accepts, if that was asked for.
    """

    value: Any = None
    error: Optional[Exception] = None
    recorded: Sequence[Tuple[str, ContractError]] = ()
    notes: Sequence[str] = ()
    forms: Optional[HarlForms] = None


class Method(NamedTuple):
    """The value of an attribute that can be called."""

    name: str


class FarEnv:
    """An environment in a process of its own; its attributes are read there, its methods are called there.

    Args:
      make: builds the environment, in the new process.
      settle: completes a broken contract there, where its traceback and the user's code are known.
      judged_for: the HARL that the environment is judged for.

    Raises:
      ContractError: the factory raised, or killed the process.
    """

    def __init__(self, make: Callable[[], Any], settle: Callable[[ContractError], None], judged_for: JudgedFor) -> None:
        self._judged_for = judged_for
        self._ended = False
        sys.stdout.flush()
        sys.stderr.flush()
        self._pipe, there = multiprocessing.Pipe()
        self._pid = os.fork()
        if self._pid == 0:
            self._pipe.close()
            _serve(there, make, settle, judged_for)
        there.close()
        try:
            self.env_class: Optional[type] = self.ask("build").value
        except BaseException:
            self.end()
            raise

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = self.ask("get", name).value
        if isinstance(value, Method):
            return lambda *arguments: self.ask("call", value.name, arguments).value
        return value

    def apply(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function of a module returns for the environment, in its process."""
        return self.ask("apply", function, arguments).value

    def close(self) -> None:
        """Close the environment, and end its process."""
        try:
            if not self._ended:
                self.ask("call", "close", ())
        finally:
            self.end()

    def ask(self, *request: Any) -> Answer:
        """Return the answer to a request.

        Raises:
          ContractError: the environment broke a contract, or killed its process.
          NotJudgedError: the process has ended, because a later environment was built.
        """
        if self._ended:
            raise NotJudgedError(GONE)
        try:
            self._pipe.send(request)
            answer: Answer = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            raise self._death() from error
        for text in answer.notes:
            self._judged_for.note(text)
        if answer.forms is not None:
            forms = answer.forms
            self._judged_for.forms = lambda: forms
        if answer.error is not None:
            answer.error.recorded = answer.recorded  # type: ignore[attr-defined]
            raise answer.error
        return answer

    def end(self) -> None:
        """End the process, at once if it does not end by itself."""
        if self._ended:
            return
        self._ended = True
        self._pipe.close()
        _reap(self._pid)

    def _death(self) -> ContractError:
        """Return the end of the process as a broken contract."""
        self._ended = True
        self._pipe.close()
        status = _reap(self._pid)
        manner = f"exit status {os.WEXITSTATUS(status)}"
        if os.WIFSIGNALED(status):
            manner = signal.Signals(os.WTERMSIG(status)).name
        return ContractError(
            f"the environment kills the process ({manner})",
            expected="a result, or an exception if anything goes wrong",
        )


def _reap(pid: int) -> int:
    """Wait for the end of a process, kill it if it takes long, and return its status."""
    deadline = time.monotonic() + END_GRACE_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def of_env(env: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function of a module returns for an environment, in the process in which the environment is."""
    if isinstance(env, FarEnv):
        return env.apply(function, *arguments)
    return function(env, *arguments)


def player_of(
    env: Any, sizes: Sizes, errors: StepErrors, checks: Sequence[StepCheck] = (), scribble: bool = False
) -> Player:
    """Return a player of an environment, which may be in a process of its own. For the arguments, see `Player`."""
    if isinstance(env, FarEnv):
        return FarPlayer(env, sizes, errors, checks, scribble)
    return Player(env, sizes, errors, checks, scribble)


class FarPlayer(Player):
    """A player whose work is done in the process of its environment."""

    def __init__(
        self,
        env: FarEnv,
        sizes: Sizes,
        errors: StepErrors,
        checks: Sequence[StepCheck] = (),
        scribble: bool = False,
    ) -> None:
        super().__init__(env, sizes, errors, checks, scribble)
        env.ask("player", sizes, list(checks), scribble)

    def reset(self) -> Seen:  # noqa: D102
        self.step_count = 0
        return self._far("reset")

    def step(self, actions: np.ndarray) -> Seen:  # noqa: D102
        self.before_step()
        self.step_count += 1
        return self._far("step", actions)

    def _far(self, *request: Any) -> Seen:
        try:
            answer = self.env.ask(*request)
        except Exception as error:
            self._record_all(getattr(error, "recorded", ()))
            raise
        self._record_all(answer.recorded)
        self.seen.append(answer.value)
        return answer.value

    def _record_all(self, recorded: Sequence[Tuple[str, ContractError]]) -> None:
        for contract, error in recorded:
            self.errors.record(contract, error)


# -- in the process of the environment -------------------------------------------------------------------------------


def _serve(
    pipe: Connection, make: Callable[[], Any], settle: Callable[[ContractError], None], judged_for: JudgedFor
) -> NoReturn:
    """Build an environment, and answer requests about it until there are no more."""
    status = 1
    try:
        server = _Server(make, settle, judged_for)
        while True:
            pipe.send_bytes(server.answer(pipe.recv()))
    except (EOFError, ConnectionError):
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


class _Server:
    """Holds the environment, and does what is asked for."""

    def __init__(self, make: Callable[[], Any], settle: Callable[[ContractError], None], judged_for: JudgedFor) -> None:
        self._make, self._settle, self._judged_for = make, settle, judged_for
        self._forms: Optional[HarlForms] = None
        self._find_forms = judged_for.forms
        judged_for.forms = self._keep_forms
        self._env: Any = None
        self._errors = StepErrors(judged_for)
        self._playing: Any = None
        self._num_notes = len(judged_for.notes)
        self._told: List[str] = []  # contracts of which the error was told

    def _keep_forms(self) -> HarlForms:
        self._forms = self._find_forms()
        return self._forms

    def answer(self, request: Sequence[Any]) -> bytes:
        """Do what is asked for, and return the answer, pickled."""
        value: Any = None
        error: Optional[Exception] = None
        try:
            value = getattr(self, "do_" + request[0])(*request[1:])
        except ContractError as broken:
            self._settle(broken)
            error = broken
        except (AttributeError, NotJudgedError) as raised:
            error = type(raised)(first_line(raised))
        except BaseException as raised:
            if is_ctrl_c(raised):
                raise
            error = _as_contract_error(raised, request)
            self._settle(error)
        recorded = []
        for contract, found in self._errors.by_contract().items():
            if contract not in self._told:
                self._told.append(contract)
                self._settle(found)
                recorded.append((contract, found))
        notes = self._judged_for.notes[self._num_notes :]
        self._num_notes += len(notes)
        return _pickled(Answer(value, error, recorded, notes, self._forms))

    def do_build(self) -> Optional[type]:
        self._env = self._make()
        kind = type(self._env)
        try:
            pickle.dumps(kind)
        except Exception:
            return None
        return kind

    def do_get(self, name: str) -> Any:
        value = getattr(self._env, name)
        if callable(value) and not isinstance(value, type):
            return Method(name)
        return value

    def do_call(self, name: str, arguments: Tuple[Any, ...]) -> Any:
        return getattr(self._env, name)(*arguments)

    def do_apply(self, function: Callable[..., Any], arguments: Tuple[Any, ...]) -> Any:
        return function(self._env, *arguments)

    def do_player(self, sizes: Sizes, checks: List[StepCheck], scribble: bool) -> None:
        self._told = []
        self._errors = StepErrors(self._judged_for)
        self._playing = Player(self._env, sizes, self._errors, checks, scribble)

    def do_reset(self) -> Seen:
        self._playing.seen = []
        return self._playing.reset()

    def do_step(self, actions: np.ndarray) -> Seen:
        self._playing.seen = []
        return self._playing.step(actions)


def _as_contract_error(raised: BaseException, request: Sequence[Any]) -> ContractError:
    """Return what a request raised as a broken contract."""
    broken = ContractError(
        f"{request[1]} of the environment raised {type(raised).__name__}: {first_line(raised)}",
        where=innermost_line(raised),
        expected="no exception",
    )
    broken.__cause__ = raised
    return broken


def _pickled(answer: Answer) -> bytes:
    """Return an answer as bytes; what cannot be pickled is left out, or named."""
    try:
        return pickle.dumps(answer)
    except Exception as failure:
        if isinstance(answer.value, Seen):
            return pickle.dumps(answer._replace(value=dataclasses.replace(answer.value, infos=None)))
        error = AttributeError(f"what is asked for cannot be pickled: {first_line(failure)}")
        return pickle.dumps(answer._replace(value=None, error=error))
