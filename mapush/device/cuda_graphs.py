"""Functions of tensors that the GPU repeats at the cost of one launch, whatever the number of their kernels.

A structure is a tensor, None, or a tuple, named tuple, list, dict or dataclass of structures.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import inspect
import math
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import torch


class Captured:
    """A function of structures of tensors; on the GPU it is recorded as a CUDA graph, which later calls replay.

    On the CPU calling it calls the function. On the GPU so do the first calls, in which libraries and optimisers set
    themselves up; the next one records. Arguments of other shapes start over.

    The function must do the same with any values: no branch on them, no copy to the host, no random numbers but those
    of `generators`. It may change tensors in place, if they stay where they are; after one was replaced, call `forget`.

    Args:
      function: takes structures with at least one tensor, all on one device; returns a structure.
      warmups: calls on the GPU before the one that records.
      generators: sources of the random numbers that the function draws, on the same device. They give the numbers that
        they would give to the plain function; a version of torch whose graphs do not know them calls it every time.
      before_capture: called before each recording; with several ranks, it waits until none communicates.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        warmups: int = 2,
        generators: Sequence[torch.Generator] = (),
        before_capture: Callable[[], None] = lambda: None,
    ) -> None:
        self._function = function
        self._warmups: float = warmups
        self._before_capture = before_capture
        self._generators = tuple(generators)
        if self._generators and not hasattr(torch.cuda.CUDAGraph, "register_generator_state"):
            self._warmups = math.inf
        self.forget()

    def forget(self) -> None:
        """Drop the recording; the next calls are as the first ones."""
        self._graph: Optional[torch.cuda.CUDAGraph] = None
        self._arguments: List[torch.Tensor] = []
        self._result: Any = None
        self._shapes: Tuple[torch.Size, ...] = ()
        self._calls = 0

    def __call__(self, *arguments: Any) -> Any:
        """Return what the function returns; on the GPU the next call overwrites it."""
        tensors = tensors_in(arguments)
        if not tensors[0].is_cuda:
            return self._function(*arguments)
        shapes = tuple(tensor.shape for tensor in tensors)
        if shapes != self._shapes:
            self.forget()
            self._shapes = shapes
        self._calls += 1
        if self._calls <= self._warmups:
            return self._warm_up(arguments, tensors[0].device)
        if self._graph is None:
            self._graph = self._record(arguments, tensors[0].device)
        _copy(tensors, self._arguments)
        self._graph.replay()
        return self._result

    def _warm_up(self, arguments: Tuple[Any, ...], device: torch.device) -> Any:
        """Call the function where it is to be recorded: what autograd keeps must not belong to a different stream."""
        caller, stream = torch.cuda.current_stream(device), _recording_stream(device)
        stream.wait_stream(caller)
        with torch.cuda.stream(stream):
            result = self._function(*arguments)
        caller.wait_stream(stream)
        return result

    def _record(self, arguments: Tuple[Any, ...], device: torch.device) -> torch.cuda.CUDAGraph:
        """Return the graph of the function, whose kernels have not run yet.

        The graph reads its arguments from copies that stay where they are; each call writes its tensors into them.
        """
        copies = map_tensors(lambda tensor: tensor.detach().clone(), arguments)
        self._arguments = tensors_in(copies)
        self._before_capture()
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        with no_garbage_collection(), torch.cuda.graph(graph, stream=_recording_stream(device), **_recording_options()):
            self._result = self._function(*copies)
        return graph


def _recording_options() -> Dict[str, Any]:
    """Return how to record while the thread in which NCCL watches its collectives may ask for their events.

    torch 2.0 does not have the option.
    """
    if "capture_error_mode" in inspect.signature(torch.cuda.graph.__init__).parameters:
        return {"capture_error_mode": "thread_local"}
    return {}


def _copy(sources: List[torch.Tensor], targets: List[torch.Tensor]) -> None:
    """Copy each source to its target of the same shape, those with the same layout in one launch for each type."""
    alike: Dict[torch.dtype, Tuple[List[torch.Tensor], List[torch.Tensor]]] = {}
    for source, target in zip(sources, targets):
        if source.data_ptr() == target.data_ptr() and source.stride() == target.stride():
            continue  # the function returned its argument, which was changed in place
        if source.dtype == target.dtype and source.is_contiguous() and target.is_contiguous():
            pair = alike.setdefault(source.dtype, ([], []))
            pair[0].append(source)
            pair[1].append(target)
        else:
            target.copy_(source)
    for many_sources, many_targets in alike.values():
        if hasattr(torch, "_foreach_copy_"):
            torch._foreach_copy_(many_targets, many_sources)
            continue
        for source, target in zip(many_sources, many_targets):
            target.copy_(source)


def tensors_in(structure: Any) -> List[torch.Tensor]:
    """Return the tensors of a structure, in order: of a dict by insertion, of a dataclass by field.

    Raises:
      TypeError: it holds something that is not part of a structure.
    """
    if isinstance(structure, torch.Tensor):
        return [structure]
    tensors: List[torch.Tensor] = []
    for part in _parts(structure):
        tensors.extend(tensors_in(part))
    return tensors


def map_tensors(function: Callable[[torch.Tensor], torch.Tensor], structure: Any) -> Any:
    """Return a structure of the same form, with `function` of each tensor in its place.

    Raises:
      TypeError: it holds something that is not part of a structure.
    """
    if isinstance(structure, torch.Tensor):
        return function(structure)
    parts = [map_tensors(function, part) for part in _parts(structure)]
    if structure is None:
        return structure
    if isinstance(structure, dict):
        return type(structure)(zip(structure, parts))
    if isinstance(structure, (tuple, list)) and not hasattr(structure, "_fields"):
        return type(structure)(parts)
    return type(structure)(*parts)


def _parts(structure: Any) -> Iterable[Any]:
    if structure is None:
        return ()
    if isinstance(structure, (tuple, list)):
        return structure
    if isinstance(structure, dict):
        return structure.values()
    if dataclasses.is_dataclass(structure):
        return [getattr(structure, field.name) for field in dataclasses.fields(structure)]
    raise TypeError(f"a {type(structure).__name__} is neither a tensor nor a structure of tensors")


def _recording_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream on which to record what the current stream will replay.

    It is the current stream. Only the default one cannot be recorded: one other stream stands in for it. cuBLAS has a
    workspace for each stream, and a recording writes to that of the stream on which it was made. So recordings that are
    replayed at the same time must not have been made on the same stream.
    """
    current = torch.cuda.current_stream(device)
    if current == torch.cuda.default_stream(device):
        return _stand_in_for_default_stream(device)
    return current


@functools.lru_cache(maxsize=None)
def _stand_in_for_default_stream(device: torch.device) -> torch.cuda.Stream:
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
