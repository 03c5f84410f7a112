"""The store that all ranks of a job can read and write: how it is reached, and what to say if it is not."""

from __future__ import annotations

import contextlib
import datetime
import errno
import socket
import time
from typing import Any, Callable, Iterator, List

from mapush.distributed.place import Place
from mapush.errors import DistributedError


class StoreLostError(DistributedError):
    """The connection to the store of a job is lost, which only follows from something else."""


CONNECT_S = 120.0  # until rank 0's machine listens
REPLY_S = 10.0
_POLL_S = 0.02


def connect(place: Place, seconds: float = CONNECT_S) -> Any:
    """Return a new connection to the store of a job, on which operations of other connections do not wait.

    Args:
      place: this process in the job.
      seconds: how long to wait until the store listens [s].

    Raises:
      DistributedError: the port is in use, or nothing listens there.
    """
    import torch.distributed as dist

    if place.hosts_store:
        _require_free(place)
    else:
        _require_listener(place, seconds)
    try:
        store = dist.TCPStore(
            place.address,
            place.port,
            is_master=place.hosts_store,
            wait_for_workers=False,
            multi_tenant=True,
            timeout=datetime.timedelta(seconds=REPLY_S),
        )
    except RuntimeError as error:
        raise _unreachable(place, str(error).splitlines()[0]) from error
    return dist.PrefixStore(f"mapush/{place.run_id}", store)


_hosted = False


def _require_free(place: Place) -> None:
    """Refuse a port in use; the second store of this process shares the port with the first."""
    global _hosted
    if _hosted:
        return
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", place.port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise DistributedError(
                f"port {place.port} is in use, so the ranks cannot find each other",
                where=f"MASTER_PORT on {place.address}",
                cause="a different job uses it, or an earlier one still runs",
                fix="choose a free port: torchrun --master-port PORT, or --rdzv-endpoint HOST:PORT",
            ) from error
    _hosted = True


def _require_listener(place: Place, seconds: float) -> None:
    """Wait until something listens where the store is, so that torch does not print its own attempts."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((place.address, place.port), timeout=REPLY_S).close()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise _unreachable(place, str(error)) from error
        time.sleep(0.1)


def _unreachable(place: Place, reason: str) -> DistributedError:
    return DistributedError(
        f"{place} cannot reach the store of the job",
        where=f"{place.address}:{place.port}",
        got=reason,
        cause="rank 0 has not started, or a firewall blocks the port between the machines",
        fix="start all nodes with the same --rdzv-endpoint HOST:PORT, which every node must reach",
    )


def wait_for(store: Any, keys: List[str], still: Callable[[], None]) -> None:
    """Wait until the store has all keys.

    Args:
      store: the store.
      keys: the keys.
      still: called again and again; it raises an error to end the wait.
    """
    while not store.check(keys):
        still()
        time.sleep(_POLL_S)


@contextlib.contextmanager
def lost_store(place: Place) -> Iterator[None]:
    """Explain the error of a store that is not there any more.

    Raises:
      StoreLostError: the connection is lost.
    """
    try:
        yield
    except RuntimeError as error:
        raise StoreLostError(
            "the connection to the store of the job is lost",
            where=f"{place.address}:{place.port}",
            got=str(error).splitlines()[0],
        ) from error
