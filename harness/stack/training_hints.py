"""What the reports about crashes should know about this project's training stack.

The generic part of the harness knows nothing about mapush. This module hands in what it needs: explanations of the
error messages of PyTorch, CUDA and Warp, which `mapush.device.gpu_errors` has.
"""

from __future__ import annotations

from typing import Optional

from harness.causes.cause import Cause
from harness.process import known_crashes
from mapush.device.gpu_errors import explain


def activate() -> None:
    """Add the explanations to the catalogue of known crashes; doing so again changes nothing."""
    known_crashes.register(gpu_cause)


def gpu_cause(line: str) -> Optional[Cause]:
    """Return the cause of a printed line about the GPU; None if the line is not about the GPU."""
    explained = explain(RuntimeError(line))
    if explained is None:
        return None
    reason = explained.cause or explained.got
    return Cause(f"{explained.what}: {reason}", explained.fix or "")
