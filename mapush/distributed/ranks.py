"""The processes that train one team together: sums over them, and host objects from one to another.

Each process is a rank with its own envs and a replica of the learner. Everything that must agree is either computed
from the same numbers on every rank, or reduced here.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, List, Optional, Sequence

if TYPE_CHECKING:
    import torch

MAX_WAIT = datetime.timedelta(hours=1)
"""How long a rank waits for the others by default; what watches the job notices a lost rank long before."""


class Ranks:
    """This process among those that train one team; with a size of 1, nothing is communicated.

    Every method except `rows` is collective: all ranks must call it, in the same order.

    Args:
      rank: number of this process, from 0.
      size: number of processes.
      device: name of the device on which this rank's learner computes; None leaves it to the configuration.
      tensor_group: process group that reduces tensors of that device, nccl or gloo; None for one process.
      host_group: process group for Python objects, gloo; None for one process.

    Attributes:
      rank: see above.
      size: see above.
      device: see above.
      host_group: see above.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        device: Optional[str] = None,
        tensor_group: Any = None,
        host_group: Any = None,
    ) -> None:
        self.rank = rank
        self.size = size
        self.device = device
        self.host_group = host_group
        self._tensor_group = tensor_group

    @classmethod
    def connect(
        cls, rank: int, size: int, device: str, *, store: Any = None, wait: datetime.timedelta = MAX_WAIT
    ) -> Ranks:
        """Join the process groups, which waits until all ranks do.

        Args:
          rank: number of this process.
          size: number of processes.
          device: name of the device on which this rank's learner computes, such as cpu or cuda:1.
          store: a `torch.distributed` store that all ranks share; None reads the address from torchrun's variables.
          wait: how long a collective may wait for the other ranks.
        """
        import torch.distributed as dist

        backend = "gloo"
        if device.startswith("cuda"):
            backend = "nccl"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=wait)
        host_group = dist.new_group(backend="gloo", timeout=wait)
        return cls(rank, size, device, dist.group.WORLD, host_group)

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the only one that writes."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """Return this rank's rows in the batch of all ranks, whose rows are ordered by rank.

        Args:
          count: rows of one rank.
        """
        return slice(self.rank * count, (self.rank + 1) * count)

    # -- tensors on the learner's device ---------------------------------------------------------------------------

    def sum_(self, *tensors: torch.Tensor) -> None:
        """Replace each tensor by its sum over the ranks, in one all-reduce, which a CUDA graph can record.

        Every rank gets the same bits.

        Args:
          tensors: of one type, on one device.
        """
        if self.size == 1:
            return
        import torch
        import torch.distributed as dist

        with torch.no_grad():
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
            dist.all_reduce(flat, group=self._tensor_group)
            parts = flat.split([tensor.numel() for tensor in tensors])
            for tensor, part in zip(tensors, parts):
                tensor.copy_(part.view_as(tensor))

    def before_capture(self) -> None:
        """Wait until no rank communicates or computes: while a CUDA graph is recorded, nobody may ask for events."""
        if self.size == 1:
            return
        import torch

        torch.cuda.synchronize(self.device)
        self.barrier()

    # -- objects of the host ---------------------------------------------------------------------------------------

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier(group=self.host_group)

    def gather(self, value: Any) -> List[Any]:
        """Return the values of all ranks on rank 0, and [] on the others.

        Args:
          value: can be pickled; its tensors should be on the CPU.
        """
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: List[Any] = []
        if self.is_main:
            values = [None] * self.size
        dist.gather_object(value, values or None, dst=0, group=self.host_group)
        return values

    def share(self, value: Any) -> Any:
        """Return rank 0's value on every rank; the values of the others are ignored."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        values = [value]
        dist.broadcast_object_list(values, src=0, group=self.host_group)
        return values[0]

    def scatter(self, values: Sequence[Any]) -> Any:
        """Return on each rank its own of the values that rank 0 has; those of the others are ignored.

        Args:
          values: one for each rank.
        """
        if self.size == 1:
            return values[0]
        import torch.distributed as dist

        own: List[Any] = [None]
        to_send: Optional[List[Any]] = None
        if self.is_main:
            to_send = list(values)
        dist.scatter_object_list(own, to_send, src=0, group=self.host_group)
        return own[0]

    def close(self) -> None:
        """Leave the process groups."""
        if self.size > 1:
            import torch.distributed as dist

            dist.destroy_process_group()


ALONE = Ranks()
"""A run of one process."""
