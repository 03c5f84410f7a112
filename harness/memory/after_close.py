"""What a subject did not release: memory that the meters still show after the close, and parts that are still alive."""

from __future__ import annotations

import contextlib
import gc
import math
import sys
import time
import weakref
from typing import Any, Dict, List, Mapping, Optional, Sequence

from harness.memory.meters import Meter
from harness.memory.object_holders import holder_of
from harness.memory.verdict import amount
from harness.units import MIB

TOLERANCE = 64 * MIB
"""How much memory a subject may keep: caches of libraries, fragments of allocators [bytes]."""
RELEASED = ("driver", "torch", "torch-reserved", "warp", "heap", "descriptors", "threads", "children")
"""Meters that must return after the close to their value before the start."""
EXACT = ("descriptors", "threads", "children")
"""Those of the meters above that have no tolerance."""
POLL_INTERVAL_S = 0.1


def weak_references(owners: Mapping[str, Any]) -> Dict[str, Any]:
    """Return weak references to those owners that allow them, by name."""
    found = {}
    for name, owner in owners.items():
        with contextlib.suppress(TypeError):
            found[name] = weakref.ref(owner)
    return found


def what_was_kept(
    meters: Sequence[Meter], before: Mapping[str, float], roots: Mapping[str, Any], timeout: float
) -> List[str]:
    """Wait until everything is released, at most for the timeout, and return what was not, one text each.

    Args:
      meters: the meters to read.
      before: their values before the start, by name.
      roots: weak references to parts that must be gone, by name.
      timeout: how long to wait [s].
    """
    now = settled(meters, before, timeout)
    kept = []
    for meter in meters:
        if meter.name in now and now[meter.name] > before.get(meter.name, math.inf) + _tolerance(meter.name):
            value_before = amount(before[meter.name], meter.unit)
            value_now = amount(now[meter.name], meter.unit)
            kept.append(f"{meter.name}: {value_before} before the start, {value_now} after the close")
    for name, reference in roots.items():
        part = reference()
        if part is not None:
            holder = holder_of(part) or "something unknown"
            kept.append(f"{name} lives on, held by {holder}")
    return kept


def settled(
    meters: Sequence[Meter], goal: Optional[Mapping[str, float]] = None, timeout: float = 0.0
) -> Dict[str, float]:
    """Collect garbage until no meter is above its goal, at most for the timeout, and return the values by name.

    Args:
      meters: the meters to read; those that need not return to their earlier value are ignored.
      goal: value that each meter should reach, plus its tolerance; None to read the meters once.
      timeout: how long to wait [s].
    """
    deadline = time.monotonic() + timeout
    limits = {}
    for name, value in (goal or {}).items():
        limits[name] = value + _tolerance(name)
    while True:
        _release_garbage()
        values = {}
        for meter in meters:
            if meter.name in RELEASED:
                reading = meter.read()
                if reading is not None:
                    values[meter.name] = reading
        reached = all(values.get(name, 0.0) <= limit for name, limit in limits.items())
        if reached or time.monotonic() > deadline:
            return values
        time.sleep(POLL_INTERVAL_S)


def _tolerance(name: str) -> float:
    return 0.0 if name in EXACT else TOLERANCE


def _release_garbage() -> None:
    """Free cyclic garbage, and the blocks that PyTorch keeps for reuse on a GPU."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
