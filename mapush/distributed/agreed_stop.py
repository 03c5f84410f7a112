"""A stop on request that all ranks agree on: each stops before the same decision.

A Ctrl-C may reach one rank in the middle of a decision and another one after it. If each stopped by itself, one would
wait for ever in a collective that the other does not enter. So before each decision every rank starts a reduction over
the ranks, of one number on the CPU, and reads the result before the next decision. It has arrived by then, so it costs
microseconds, also where a GPU computes; agreeing only at the end of an iteration could take longer than a scheduler
waits after its SIGTERM.
"""

from __future__ import annotations

import signal
from typing import Any, Callable, Optional

from mapush.distributed.activity import Activity
from mapush.distributed.ranks import Ranks
from mapush.distributed.watched_ranks import WatchedRanks
from mapush.run.stop_request import StopRequest


class AgreedStop(StopRequest):
    """A `StopRequest` of all ranks: the first signal that any of them gets stops all before the same decision.

    Args:
      group: process group on the CPU.
      activity: notes every decision.
      warm_up: decisions, counted from the first, that may take long because kernels compile.
      still: called before every decision; it raises an error if this rank must not go on.
    """

    def __init__(self, group: Any, activity: Activity, warm_up: int, still: Callable[[], None]) -> None:
        super().__init__()
        self._group = group
        self._activity = activity
        self._decisions_to_warm_up = warm_up
        self._still = still
        self._sum: Any = None
        self._work: Any = None
        self._agreed: Optional[signal.Signals] = None

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
        doing = f"in the decision after env step {step:,}"
        self._count(doing)
        self._read(doing)
        if self._agreed is None:
            self._ask()
        return self.requested()

    def _count(self, doing: str) -> None:
        if self._decisions_to_warm_up == 0:
            self._activity.started()
        self._decisions_to_warm_up -= 1
        self._activity.mark(doing)

    def _ask(self) -> None:
        import torch
        import torch.distributed as dist

        self._sum = torch.tensor([int(self._signal or 0)], dtype=torch.int32)
        self._work = dist.all_reduce(self._sum, op=dist.ReduceOp.MAX, group=self._group, async_op=True)

    def _read(self, doing: str) -> None:
        if self._work is None:
            return
        with self._activity.waiting("the agreement to go on", then=doing):
            self._work.wait()
        self._work = None
        number = int(self._sum.item())
        if number:
            self._agreed = signal.Signals(number)

    def __exit__(self, error: Optional[type], *_: object) -> None:
        if error is None and self._work is not None:
            self._work.wait()  # the run is over, so what it says does not matter
        self._restore_handlers()
        if error is None and self._agreed is not None:
            raise SystemExit(128 + self._agreed)


def stop_of(ranks: Ranks, num_steps: int) -> StopRequest:
    """Return what asks a run to stop, which all its ranks agree on.

    Args:
      ranks: this process among the others.
      num_steps: decisions in an iteration.
    """
    if ranks.size == 1:
        return StopRequest()
    if not isinstance(ranks, WatchedRanks):
        return AgreedStop(ranks.host_group, Activity(), 0, lambda: None)
    two_iterations = 2 * (num_steps + 1)
    ranks.stop = AgreedStop(ranks.host_group, ranks.activity, two_iterations, ranks.still)
    return ranks.stop
