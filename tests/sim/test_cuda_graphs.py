"""Contracts of captured functions on the CPU; those of the GPU are in tests/gpu/test_learner.py."""

from __future__ import annotations

import gc

import pytest
import torch

from mapush.device.cuda_graphs import Captured, no_garbage_collection

pytestmark = pytest.mark.sim


def test_captured_on_the_cpu_is_the_plain_function():
    """Every call calls the function, with the caller's own tensors, and returns the function's own result."""
    seen = []

    def function(*arguments):
        seen.append(arguments)
        return {"sum": arguments[0] + arguments[1]}

    captured = Captured(function, warmups=1)
    kept = []
    for number in range(5):
        arguments = torch.full((5, 3), float(number)), torch.ones(5, 3)
        kept.append(captured(*arguments)["sum"])
        assert all(one is two for one, two in zip(seen[-1], arguments))
        captured.forget()
    assert len(seen) == 5
    assert [float(result[4, 2]) for result in kept] == [1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("enabled", [True, False])
def test_no_garbage_collection_collects_before_and_leaves_the_collector_as_it_was(enabled):
    """Garbage is collected before the block and not inside; after it, or an error in it, the collector is as before."""
    was_enabled = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        cycle = []
        cycle.append(cycle)
        del cycle
        with pytest.raises(ValueError), no_garbage_collection():
            assert not gc.isenabled()
            assert gc.collect() == 0
            raise ValueError
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
