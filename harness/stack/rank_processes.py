"""Processes on this machine that are the ranks of one job; they call functions until they are closed."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any, Callable, ContextManager, List, Tuple

from mapush.distributed.ranks import Ranks
from mapush.errors import MapushError

ANSWER_S = 120.0
"""How long a call may take by default [s]; then the processes are killed."""
PRELOADED = (
    "torch.distributed",
    "torch._dynamo",
    "torch.utils.tensorboard",
    "mapush.train",
    "mapush.happo.happo",
    "mapush.run.logger",
    "mapush.distributed.replica_check",
)
"""What the server of processes imports once, so that no rank has to."""


class RankProcesses:
    """Ranks 0 to `size` - 1, each in a process of its own.

    Args:
      size: number of ranks.
      planted: the options with which a bug is planted in this process, and so in each of these; "" for none.
      device: cpu, over gloo; or cuda, over NCCL, with a GPU for each rank.
      answer_s: how long a call may take [s]; then the processes are killed.
    """

    def __init__(self, size: int, planted: str = "", device: str = "cpu", answer_s: float = ANSWER_S) -> None:
        self._answer_s = answer_s
        context = _context()
        self._folder = tempfile.TemporaryDirectory()
        self._processes: List[Any] = []
        self._pipes: List[Any] = []
        store = str(Path(self._folder.name) / "store")
        for rank in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, rank, size, store, planted, device), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    def call(self, function: Callable[..., Any], *args: Any) -> List[Any]:
        """Return what `function(ranks, *args)` returns on each rank, in order.

        Args:
          function: can be pickled by its name, as can be its result.
          args: its further arguments.

        Raises:
          MapushError: it raised on a rank, or did not return in time; the processes are gone then.
        """
        for pipe in self._pipes:
            pipe.send((function, args))
        answers: List[Any] = [None] * len(self._pipes)
        waiting = dict(enumerate(self._pipes))
        while waiting:
            ready = multiprocessing.connection.wait(list(waiting.values()), self._answer_s)
            if not ready:
                self._fail(
                    "did not return in time", f"ranks {sorted(waiting)} work or wait after {self._answer_s:.0f} s"
                )
            for rank in list(waiting):
                if waiting[rank] in ready:
                    answers[rank] = self._answer(rank, waiting.pop(rank))
        return answers

    def _answer(self, rank: int, pipe: Any) -> Any:
        try:
            good, value = pipe.recv()
        except EOFError:
            good, value = False, "its process ended"
        if not good:
            self._fail(f"failed on rank {rank}", value)
        return value

    def _fail(self, what: str, got: str) -> None:
        self.close()
        raise MapushError(f"a job of {len(self._pipes)} ranks {what}", got=got)

    @property
    def closed(self) -> bool:
        """Whether the processes have been ended."""
        return not self._processes

    def close(self) -> None:
        """End the processes; further calls do nothing."""
        for process in self._processes:
            process.kill()
            process.join()
        self._processes = []
        self._folder.cleanup()


def _context() -> Any:
    """Return how processes are started: from a server that has imported torch, where the system can do that."""
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context(methods[0])
    if "forkserver" in methods:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
    return context


def _with_bug(options: str) -> ContextManager[None]:
    """Return a context with the bug that `--inject NAME` names; without a bug for "".

    After `harness faults --inject`, the server of processes has planted it already as Python started.
    """
    if not options or hasattr(sys.modules.get("sitecustomize"), "planted"):
        return contextlib.nullcontext()
    from harness.faults import find

    words = options.split()
    return find(words[words.index("--inject") + 1]).inject()


def _serve(pipe: Any, rank: int, size: int, store: str, planted: str, device: str) -> None:
    """Answer calls until the pipe is closed, with a bug planted."""
    import torch
    import torch.distributed as dist

    if sys.platform == "linux":  # the name of this machine may not resolve
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    if device == "cuda":
        device = f"cuda:{rank}"
        torch.cuda.set_device(device)
    ranks = Ranks.connect(rank, size, device, store=dist.FileStore(store, size))
    with _with_bug(planted), contextlib.suppress(EOFError):
        while True:
            function, args = pipe.recv()
            pipe.send(_result(function, ranks, args))


def _result(function: Callable[..., Any], ranks: Ranks, args: Tuple[Any, ...]) -> Tuple[bool, Any]:
    """Return whether a call succeeded, and what it returned or how it failed."""
    try:
        return True, function(ranks, *args)
    except Exception:
        return False, traceback.format_exc()
