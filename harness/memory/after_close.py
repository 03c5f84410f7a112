"""Whether all came back: what the meters show after a close, and which objects live on."""

from __future__ import annotations

import contextlib
import gc
import math
import sys
import time
import weakref
from typing import Any, Dict, List, Mapping, Optional, Sequence

from harness.memory.meters import MIB, Meter
from harness.memory.object_sizes import holder_of
from harness.memory.verdict import amount

TOLERANCE = 64 * MIB  # what need not come back
COMES_BACK = ("driver", "torch", "torch-reserved", "warp", "heap", "descriptors", "threads", "children")
"""Meters that must show after the close what they showed before the start."""
EXACT = ("descriptors", "threads", "children")
"""Of those, the ones to the last one."""


def weak_references(owners: Mapping[str, Any]) -> Dict[str, Any]:
    """Return weak references to the owners that allow them."""
    found = {}
    for name, root in owners.items():
        with contextlib.suppress(TypeError):
            found[name] = weakref.ref(root)
    return found


def what_was_kept(
    meters: Sequence[Meter], before: Mapping[str, float], roots: Mapping[str, Any], patience: float
) -> List[str]:
    """Wait until all came back, or for `patience` [s]; return what did not, in words."""
    now = settled(meters, before, patience)
    kept = []
    for meter in meters:
        if meter.name in now and now[meter.name] > before.get(meter.name, math.inf) + _tolerance(meter.name):
            was, is_now = (amount(values[meter.name], meter.unit) for values in (before, now))
            kept.append(f"{meter.name}: {was} before the start, {is_now} after the close")
    for name, reference in roots.items():
        if reference() is not None:
            kept.append("{} lives on, held by {}".format(name, holder_of(reference()) or "something unknown"))
    return kept


def _tolerance(name: str) -> float:
    return 0.0 if name in EXACT else TOLERANCE


def settled(
    meters: Sequence[Meter], goal: Optional[Mapping[str, float]] = None, patience: float = 0.0
) -> Dict[str, float]:
    """Return what the meters show of what must come back, when none is above its goal, or after `patience` [s]."""
    deadline = time.monotonic() + patience
    while True:
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        read = {meter.name: meter.read() for meter in meters if meter.name in COMES_BACK}
        values = {name: value for name, value in read.items() if value is not None}
        highest = {name: value + _tolerance(name) for name, value in (goal or {}).items()}
        if all(values.get(name, 0.0) <= most for name, most in highest.items()) or time.monotonic() > deadline:
            return values
        time.sleep(0.1)
