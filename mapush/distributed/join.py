"""How a process becomes one of the ranks of a job, and how it leaves: together with the others, whatever happens."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import signal
import sys
import threading
import traceback
from typing import Any, Callable, Iterator, Mapping, Optional, TextIO, Tuple, Union

from mapush.config import RunConfig
from mapush.distributed.activity import DEFAULT_LIMITS, Activity, WatchLimits
from mapush.distributed.failure_watch import FailureWatch, leave, print_error
from mapush.distributed.first_failure import JobFinding
from mapush.distributed.place import Place, place_of
from mapush.distributed.rank_store import StoreLostError, connect, lost_store, wait_for
from mapush.distributed.ranks import ALONE, Ranks
from mapush.distributed.refusals import require_possible
from mapush.distributed.same_everywhere import difference, facts_of
from mapush.distributed.watched_ranks import WatchedRanks
from mapush.errors import DistributedError, MapushError

_FACTS, _DONE, _LEFT = "facts/", "done/", "left/"
_COMMUNICATION = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe", "Timed out waiting")
_MAX_CLOSE_S = 10.0
_EXIT_ERROR, _EXIT_TRACEBACK = 2, 1


class Single:
    """A job of one process."""

    place: Optional[Place] = None

    def join(self, config: RunConfig) -> Ranks:
        """Return the only rank."""
        return ALONE


class LeaveForFailure(SystemExit):
    """A different rank has failed, and so this one ends."""


class Job:
    """One of the ranks of a job.

    Args:
      place: this process in the job.
      limits: how long to wait for what.
    """

    def __init__(self, place: Place, limits: WatchLimits = DEFAULT_LIMITS) -> None:
        self.place: Optional[Place] = place
        self._here = place
        self._limits = limits
        self._activity = Activity(limits)
        self._store = connect(place)
        self._watch = FailureWatch(place, connect(place), self._activity, limits)
        self._ranks: Optional[WatchedRanks] = None
        self._watch.start()

    # -- joining ---------------------------------------------------------------------------------------------------

    def join(self, config: RunConfig) -> Ranks:
        """Become a rank, once it is certain that all ranks are to do the same.

        Args:
          config: configuration of the complete run.

        Raises:
          ConfigError: a setting that several ranks do not support, or more ranks than GPUs.
          DistributedError: a rank has different code, versions or settings; or one did not come.
        """
        place = self._here
        device = require_possible(config, place)
        self._activity.mark("comparing code and settings")
        self._compare(facts_of(config, device.split(":")[0]))
        self._activity.mark("connecting to the other ranks")
        ranks = WatchedRanks.connect(place.rank, place.size, device, store=self._connection())
        assert isinstance(ranks, WatchedRanks)
        ranks.activity, ranks.still = self._activity, self.require_no_failure
        self._ranks = ranks
        self._activity.mark("making the envs and the learner")
        return ranks

    @property
    def stop_was_agreed(self) -> bool:
        """Whether the ranks have stopped on request, with everything saved."""
        return self._ranks is not None and self._ranks.stop is not None and self._ranks.stop.requested()

    def require_no_failure(self) -> None:
        """Leave if a different rank has failed; raise LeaveForFailure."""
        if self._watch.failure is not None:
            raise LeaveForFailure(self._watch.failure.exit_code)

    def _connection(self) -> Any:
        import torch.distributed as dist

        return dist.PrefixStore("groups", connect(self._here))

    def _compare(self, facts: Mapping[str, str]) -> None:
        with lost_store(self._here):
            self._store.set(f"{_FACTS}{self._here.rank}", json.dumps(facts))
            self._wait_for_all(_FACTS)
            first = json.loads(self._store.get(f"{_FACTS}0"))
        found = difference(facts, first)
        if found is not None:
            raise DistributedError(
                "the ranks are not to do the same",
                got=found,
                fix="start the same version of mapush with the same arguments on every node",
            )

    def _wait_for_all(self, prefix: str) -> None:
        keys = [f"{prefix}{rank}" for rank in range(self._here.size)]
        wait_for(self._store, keys, self.require_no_failure)

    # -- leaving ---------------------------------------------------------------------------------------------------

    def finish(self, exit_code: int = 0) -> None:
        """Leave when all ranks have done their work.

        Args:
          exit_code: with which this process will end.
        """
        with self._activity.waiting("the end of the run", then_saving=True), lost_store(self._here):
            self._store.set(f"{_DONE}{self._here.rank}", "")
            self._wait_for_all(_DONE)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the agent sends SIGTERM when the first rank has ended
        self._watch.stop()
        self._close_groups(exit_code)
        self._store.set(f"{_LEFT}{self._here.rank}", "")
        if self._here.hosts_store:
            with contextlib.suppress(LeaveForFailure):
                self._wait_for_all(_LEFT)

    def _close_groups(self, exit_code: int) -> None:
        """Leave the process groups; NCCL can do so only once the CUDA graphs are gone that contain its collectives."""
        if self._ranks is None:
            return
        gc.collect()
        backstop = threading.Timer(_MAX_CLOSE_S, self._leave_without_closing, (exit_code,))
        backstop.daemon = True
        backstop.start()
        self._ranks.close()
        backstop.cancel()

    def _leave_without_closing(self, exit_code: int) -> None:
        late = f"{self._here}: the process groups did not close within {_MAX_CLOSE_S:.0f} s"
        print_error(f"{late}; everything is saved, and the process ends without them")
        leave(exit_code)

    def fail(self, error: BaseException) -> int:
        """Make an error of this rank the failure of the job, unless it only follows from one; return the exit code."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the agent may send it because of the failure that is looked for
        signal.signal(signal.SIGINT, _leave_at_once)
        if is_stop(error):
            failure = self._watch.find(3.0 * self._limits.beat_s)
        elif is_communication(error):
            failure = self._watch.find(self._limits.silent_s + 3.0 * self._limits.beat_s)
        else:
            failure = self._watch.failure
        if failure is None:
            text, exit_code = described(error, self._here)
            failure = self._watch.claim(JobFinding([self._here.rank], text, exit_code))
        self._watch.linger()
        return failure.exit_code


def is_stop(error: BaseException) -> bool:
    """Whether a signal has raised this, which may be that of an agent whose other rank has failed."""
    return isinstance(error, KeyboardInterrupt) or (
        isinstance(error, SystemExit) and error.code == 128 + signal.SIGTERM
    )


def is_communication(error: BaseException) -> bool:
    """Whether an error may only follow from the failure of a different rank: a collective that did not end."""
    import torch.distributed as dist

    kinds = [getattr(dist, name) for name in ("DistError", "DistBackendError") if hasattr(dist, name)]
    if isinstance(error, (LeaveForFailure, StoreLostError, *kinds)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _COMMUNICATION)


def described(error: BaseException, place: Place) -> Tuple[str, int]:
    """Return the message for an error of a rank, whose first line names both, and the exit code."""
    if isinstance(error, MapushError):
        return f"{place}: {error}", _EXIT_ERROR
    if isinstance(error, KeyboardInterrupt):
        return f"{place}: stopped by SIGINT, without saving", 128 + signal.SIGINT
    if is_stop(error):
        return f"{place}: stopped by SIGTERM, without saving", 128 + signal.SIGTERM
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else _EXIT_TRACEBACK
        return f"{place}: ended with exit code {error.code}", code
    if is_communication(error):
        lines = [
            f"{place} has lost the connection to the other ranks",
            f"  got       {str(error).splitlines()[0]}",
            "  cause     the network between the machines failed, or a collective took too long",
        ]
        return "\n".join(lines), _EXIT_TRACEBACK
    last = traceback.format_exception_only(type(error), error)[-1].strip()
    stack = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return f"{place}: {last}\n{stack.rstrip()}", _EXIT_TRACEBACK


@contextlib.contextmanager
def job(
    environment: Mapping[str, str] = os.environ,
    limits: WatchLimits = DEFAULT_LIMITS,
    end: Callable[[int], None] = leave,
) -> Iterator[Union[Single, Job]]:
    """Give this process its place among the ranks that torchrun started; without torchrun, it is the only one.

    While the context lasts, ranks other than 0 print nothing but errors. If a rank fails, the error of the first one
    is printed once, and every rank ends.

    Args:
      environment: environment variables.
      limits: how long to wait for what.
      end: ends this process after a failure of any rank.

    Raises:
      ConfigError: WORLD_SIZE is set, but not by torchrun.
      DistributedError: the ranks cannot reach each other.
    """
    place = place_of(environment)
    if place is None:
        yield Single()
        return
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # otherwise torch warns of every connection that ends
    with _quiet(place):
        here = Job(place, limits)
        previous = signal.signal(signal.SIGTERM, _raise_exit)
        try:
            yield here
            here.finish()
        except BaseException as error:
            if not _saved_and_stopped(error, here):
                end(here.fail(error))
            raise
        finally:
            signal.signal(signal.SIGTERM, previous)


def _saved_and_stopped(error: BaseException, here: Job) -> bool:
    """Leave with the other ranks if all have stopped on request; return whether that is so."""
    if not isinstance(error, SystemExit) or isinstance(error, LeaveForFailure):
        return False
    code = error.code or 0
    if isinstance(code, int) and (code == 0 or here.stop_was_agreed):
        traceback.clear_frames(error.__traceback__)  # which hold the learner
        with contextlib.suppress(LeaveForFailure):
            here.finish(code)
            return True
    return False


def _leave_at_once(number: int, _: object) -> None:
    leave(128 + number)


def _raise_exit(number: int, _: object) -> None:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def _quiet(place: Place) -> Iterator[None]:
    if place.rank == 0:
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        errors = PrefixedLines(sys.stderr, f"rank {place.rank}: ")
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(errors):
            yield


class PrefixedLines(io.TextIOBase):
    """Writes lines to a different stream, each after a prefix.

    Args:
      stream: where to write to.
      prefix: what every line begins with.
    """

    def __init__(self, stream: TextIO, prefix: str) -> None:
        self._stream = stream
        self._prefix = prefix
        self._unfinished = ""

    def write(self, text: str) -> int:
        """Write the lines that are complete."""
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in lines:
            self._stream.write(f"{self._prefix}{line}\n")
        self._stream.flush()
        return len(text)

    def fileno(self) -> int:
        """Return the descriptor of the stream, to which C code writes without a prefix."""
        return self._stream.fileno()
