"""A stop on request that all ranks agree on: each stops before the same decision.

A Ctrl-C may reach one rank in the middle of a decision and another one after it. If each stopped by itself, one would
wait for ever in a collective that the other does not enter. So before each decision every rank starts a reduction over
the ranks, of one number on the CPU, and reads the result before the next decision. It has arrived by then, so it costs
microseconds, also where a GPU computes; agreeing only at the end of an iteration could take longer than a scheduler
waits after its SIGTERM.
"""

from __future__ import annotations

import signal
import time
from typing import Any, Callable, Optional

from mapush.distributed.activity import Activity
from mapush.distributed.ranks import Ranks
from mapush.distributed.watched_ranks import WatchedRanks, go_on
from mapush.run.stop_request import StopRequest

SAME_REQUEST_S = 1.0
"""Signals within this time are one request: a scheduler signals the launcher and the ranks, and the launcher passes it
on [s]."""

Reduction = Callable[[int], Callable[[], int]]
"""Starts to compute the largest of the numbers of all ranks; what it returns waits for the result."""


class AgreedStop(StopRequest):
    """A `StopRequest` of all ranks: the first signal that any of them gets stops all before the same decision.

    Args:
      largest: starts a reduction over the ranks.
      activity: notes every decision.
      warm_up: decisions in which kernels may compile; after as many again, what they took is known.
      still: called before every decision; it raises an error if this rank must not go on.
    """

    def __init__(
        self, largest: Reduction, activity: Activity, warm_up: int = 1, still: Callable[[], None] = go_on
    ) -> None:
        super().__init__()
        self._largest = largest
        self._activity = activity
        self._warm_up = warm_up
        self._decisions = 0
        self._still = still
        self._result: Optional[Callable[[], int]] = None
        self._agreed: Optional[signal.Signals] = None
        self._asked_at = 0.0

    @property
    def name(self) -> Optional[str]:
        """Name of the signal that asked to stop, or None."""
        if self._agreed is None:
            return None
        return self._agreed.name

    def requested(self) -> bool:
        """Return whether the ranks have agreed to stop."""
        return self._agreed is not None

    def before_decision(self, step: int) -> bool:
        """Return whether the ranks have agreed to stop.

        Args:
          step: env steps taken so far.
        """
        self._still()
        self._decisions += 1
        if self._decisions == self._warm_up:
            self._activity.compiled()
        if self._decisions == 2 * self._warm_up:
            self._activity.started()
        self._read(f"in the decision after env step {step:,}")
        if self._agreed is None:
            self._result = self._largest(int(self._signal or 0))
        return self.requested()

    def _read(self, doing: str) -> None:
        """Read the result of the last reduction, then begin to decide."""
        if self._result is None:
            self._activity.mark(doing)
            return
        with self._activity.waiting("the agreement to go on", then=doing):
            number = self._result()
        self._result = None
        if number:
            self._agreed = signal.Signals(number)

    def _note(self, number: int, _: object) -> None:
        now = time.monotonic()
        if self._signal is None:
            self._signal, self._asked_at = signal.Signals(number), now
        elif now - self._asked_at > SAME_REQUEST_S:
            self._restore_handlers()
            signal.raise_signal(number)

    def __exit__(self, error: Optional[type], *_: object) -> None:
        if error is None and self._result is not None:
            self._result()  # the run is over, so what it says does not matter
        self._restore_handlers()
        if error is None and self._agreed is not None:
            raise SystemExit(128 + self._agreed)


def largest_over(group: Any) -> Reduction:
    """Return a reduction over the ranks of a process group on the CPU, which goes on in a thread of its own."""

    def start(number: int) -> Callable[[], int]:
        import torch
        import torch.distributed as dist

        value = torch.tensor([number], dtype=torch.int32)
        work = dist.all_reduce(value, op=dist.ReduceOp.MAX, group=group, async_op=True)

        def result() -> int:
            work.wait()
            return int(value.item())

        return result

    return start


def stop_of(ranks: Ranks, num_steps: int) -> StopRequest:
    """Return what asks a run to stop, which all its ranks agree on.

    Args:
      ranks: this process among the others.
      num_steps: decisions in an iteration.
    """
    if ranks.size == 1:
        return StopRequest()
    largest = largest_over(ranks.host_group)
    if not isinstance(ranks, WatchedRanks):
        return AgreedStop(largest, Activity())
    an_iteration = num_steps + 2
    ranks.stop = AgreedStop(largest, ranks.activity, an_iteration, ranks.still)
    return ranks.stop
