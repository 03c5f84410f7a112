"""The ranks of a job that torchrun or `--gpus` has started: a meter for the memory of each."""

from __future__ import annotations

import contextlib
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import psutil

from harness.memory.meters import PROCESS, Blind, Meter
from harness.process.processes import rank_in
from harness.units import MIB


class RankNumbers:
    """Looks up which rank a process belongs to; children of a rank inherit its environment."""

    def __init__(self) -> None:
        self._known: Dict[Tuple[int, float], Optional[int]] = {}

    def of(self, process: psutil.Process) -> Optional[int]:
        """Return the rank of a process; None if it belongs to none, or this cannot be read."""
        key = (process.pid, process.create_time())
        if key not in self._known:
            environment: Dict[str, str] = {}
            with contextlib.suppress(psutil.Error, OSError):
                environment = process.environ()
            if not environment:
                return None  # it is just being started
            self._known[key] = rank_in(environment)
        return self._known[key]

    def forget_all_but(self, processes: Sequence[psutil.Process]) -> None:
        """Keep only what is known of these processes."""
        living = {(process.pid, process.create_time()) for process in processes}
        self._known = {key: rank for key, rank in self._known.items() if key in living}


class RankMeter(Meter):
    """The resident memory of one rank, with the processes that it has started.

    Args:
      number: of the rank.

    Attributes:
      processes: its living processes; set before each reading.
    """

    rank = PROCESS
    quantum: float = MIB

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"rank {number}"
        self.owner = f"memory of rank {number}"
        self.processes: List[psutil.Process] = []

    def read(self) -> Optional[float]:
        """Return the current value; None if the rank has ended, or the meter is blind."""
        if not self.processes:
            return None
        return super().read()

    def _read(self) -> float:
        total = 0.0
        for process in self.processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total


class RankGpuMeter(RankMeter):
    """The GPU memory of one rank.

    Args:
      number: of the rank.
      used: returns the GPU memory of each process by its id [bytes].
    """

    on_gpu = True
    quantum = 2.0 * MIB

    def __init__(self, number: int, used: Callable[[], Dict[int, float]]) -> None:
        super().__init__(number)
        self.name = f"rank {number} on its GPU"
        self.owner = f"GPU memory of rank {number}"
        self._used = used

    def _read(self) -> float:
        used = self._used()
        own = [process.pid for process in self.processes if process.pid in used]
        if used and not own:
            raise Blind("the driver lists processes by their ids on the host")
        return sum(used[pid] for pid in own)


class RankMeters:
    """The meters of all ranks that were seen.

    Args:
      on_gpu: returns the GPU memory of each process [bytes]; None where there is no GPU.

    Attributes:
      meters: two for each rank with a GPU, otherwise one.
      numbers: looks up ranks.
    """

    def __init__(self, on_gpu: Optional[Callable[[], Dict[int, float]]]) -> None:
        self._on_gpu = on_gpu
        self.meters: List[RankMeter] = []
        self.numbers = RankNumbers()

    def assign(self, processes: Sequence[psutil.Process]) -> None:
        """Give each meter the living processes of its rank; a rank that is new gets meters."""
        self.numbers.forget_all_but(processes)
        members: Dict[int, List[psutil.Process]] = {}
        for process in processes:
            rank = self.numbers.of(process)
            if rank is not None:
                members.setdefault(rank, []).append(process)
        known = {meter.number for meter in self.meters}
        for number in sorted(set(members) - known):
            self._add(number)
        for meter in self.meters:
            meter.processes = members.get(meter.number, [])

    def _add(self, number: int) -> None:
        self.meters.append(RankMeter(number))
        if self._on_gpu is not None:
            self.meters.append(RankGpuMeter(number, self._on_gpu))
