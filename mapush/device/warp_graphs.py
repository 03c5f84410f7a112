"""Records what Warp launches as a graph, which is replayed at the cost of one launch."""

from __future__ import annotations

import contextlib
from typing import Any, Callable

import warp

from mapush.device.cuda_graphs import no_garbage_collection


def record(function: Callable[[], None], device: Any) -> warp.Graph:
    """Return the graph of what a function launches.

    The function runs once before the recording, because older drivers cannot load kernels during it. Garbage is
    collected only on a GPU, because only CUDA forbids to destroy a graph meanwhile: on the CPU it would cost more time
    than the recording.

    Args:
      function: launches kernels on the current device of Warp.
      device: that device.
    """
    function()
    guard: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if device.is_cuda:
        guard = no_garbage_collection()
    with guard, warp.ScopedCapture() as capture:
        function()
    return capture.graph
