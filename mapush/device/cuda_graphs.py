"""Functions of tensors that the GPU repeats at the cost of one launch, whatever the number of their kernels."""

from __future__ import annotations

import contextlib
import functools
import gc
from typing import Any, Callable, Iterator, Optional, Tuple

import torch


class Captured:
    """A function of tensors; on the GPU it is recorded as a CUDA graph, which later calls replay.

    On the CPU calling it calls the function. On the GPU so do the first calls, in which libraries and optimisers set
    themselves up; the next one records. Arguments of other shapes start over.

    The function must do the same with any values: no branch on them, no copy to the host, no random numbers. It may
    change tensors in place, if they stay where they are; after one was replaced, call `forget`.

    Args:
      function: takes tensors of one device, at least one; returns a tensor or nested tuples or dicts of tensors.
      warmups: calls on the GPU before the one that records.
    """

    def __init__(self, function: Callable[..., Any], warmups: int = 2) -> None:
        self._function = function
        self._warmups = warmups
        self.forget()

    def forget(self) -> None:
        """Drop the recording; the next calls are as the first ones."""
        self._graph: Optional[torch.cuda.CUDAGraph] = None
        self._arguments: Tuple[torch.Tensor, ...] = ()
        self._result: Any = None
        self._shapes: Tuple[torch.Size, ...] = ()
        self._calls = 0

    def __call__(self, *arguments: torch.Tensor) -> Any:
        """Return what the function returns; on the GPU the next call overwrites it."""
        if not arguments[0].is_cuda:
            return self._function(*arguments)
        shapes = tuple(argument.shape for argument in arguments)
        if shapes != self._shapes:
            self.forget()
            self._shapes = shapes
        self._calls += 1
        if self._calls <= self._warmups:
            return self._warm_up(arguments)
        if self._graph is None:
            self._graph = self._record(arguments)
        for recorded, argument in zip(self._arguments, arguments):
            recorded.copy_(argument)
        self._graph.replay()
        return self._result

    def _warm_up(self, arguments: Tuple[torch.Tensor, ...]) -> Any:
        """Call the function where it is to be recorded: what autograd keeps must not belong to another stream."""
        caller, stream = torch.cuda.current_stream(arguments[0].device), _stream(arguments[0].device)
        stream.wait_stream(caller)
        with torch.cuda.stream(stream):
            result = self._function(*arguments)
        caller.wait_stream(stream)
        return result

    def _record(self, arguments: Tuple[torch.Tensor, ...]) -> torch.cuda.CUDAGraph:
        """Return the graph of the function, whose kernels have not run yet."""
        self._arguments = tuple(argument.detach().clone() for argument in arguments)
        graph = torch.cuda.CUDAGraph()
        with no_garbage_collection(), torch.cuda.graph(graph, stream=_stream(arguments[0].device)):
            self._result = self._function(*self._arguments)
        return graph


@functools.lru_cache(maxsize=None)
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of a device on which everything is recorded; each one more would cost a cuBLAS workspace."""
    return torch.cuda.Stream(device)


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Collect garbage now but not inside: CUDA forbids to destroy one graph while another is recorded."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
