"""`Ranks` that note when this process waits for the others, so that a rank that hangs can be named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, List, Optional, Sequence

from mapush.distributed.activity import Activity
from mapush.distributed.ranks import Ranks
from mapush.run.stop_request import StopRequest

if TYPE_CHECKING:
    import torch


def go_on() -> None:
    """Let this rank work."""


class WatchedRanks(Ranks):
    """Ranks whose collectives are pieces of work in an `Activity`.

    Attributes:
      activity: what this rank does.
      still: raises an error if this rank must not go on.
      stop: what asks the run to stop; None before it trains.
    """

    activity = Activity()
    stop: Optional[StopRequest] = None

    still: Callable[[], None] = staticmethod(go_on)

    def sum_(self, *tensors: torch.Tensor) -> None:
        """See `Ranks.sum_`."""
        with self.activity.waiting("an all-reduce"):
            super().sum_(*tensors)

    def barrier(self) -> None:
        """See `Ranks.barrier`."""
        with self.activity.waiting("a barrier"):
            super().barrier()

    def gather(self, value: Any) -> List[Any]:
        """See `Ranks.gather`; rank 0 may save afterwards."""
        with self.activity.waiting("a gather to rank 0", then_saving=True):
            return super().gather(value)

    def share(self, value: Any) -> Any:
        """See `Ranks.share`."""
        with self.activity.waiting("a broadcast of rank 0"):
            return super().share(value)

    def scatter(self, values: Sequence[Any]) -> Any:
        """See `Ranks.scatter`."""
        with self.activity.waiting("a scatter of rank 0"):
            return super().scatter(values)
