"""Independent work on a GPU at the same time, each part on a CUDA stream of its own."""

from __future__ import annotations

import contextlib
from typing import Iterator, List, Optional, Sequence

import torch


class SideStreams:
    """Streams that begin where the current stream is, and that it waits for at the end.

    A part of the work that is too small to fill the GPU leaves room for the others. On the CPU there are no streams,
    and the parts run one after another.

    Args:
      number: of the streams.
      device: where the work is done.
    """

    def __init__(self, number: int, device: torch.device) -> None:
        self._device = device
        self._streams: List[Optional[torch.cuda.Stream]] = [None] * number
        if device.type == "cuda":
            self._streams = [torch.cuda.Stream(device) for _ in range(number)]

    @contextlib.contextmanager
    def forked(self) -> Iterator[Sequence[Optional[torch.cuda.Stream]]]:
        """Yield the streams, to be passed to `torch.cuda.stream`, which ignores None.

        The streams see what the current stream did before, and it sees what they did afterwards, even after an error.
        Memory that is allocated on a stream in one fork may be freed at any time: nothing takes its place before the
        next fork, which waits for everything that has used it.
        """
        for stream in self._streams:
            if stream is not None:
                stream.wait_stream(torch.cuda.current_stream(self._device))
        try:
            yield self._streams
        finally:
            for stream in self._streams:
                if stream is not None:
                    torch.cuda.current_stream(self._device).wait_stream(stream)
