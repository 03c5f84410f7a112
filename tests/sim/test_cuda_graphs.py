"""Contracts of captured functions on the CPU; tests/gpu/test_learner.py has the contracts on the GPU."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
from typing import NamedTuple, Optional

import pytest
import torch

from mapush.device import cuda_graphs
from mapush.device.cuda_graphs import Captured, map_tensors, no_garbage_collection, tensors_in

pytestmark = pytest.mark.sim


class Pair(NamedTuple):
    """Two tensors."""

    first: torch.Tensor
    second: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Thing:
    """A dataclass with a field that may be None."""

    pair: Pair
    by_name: dict
    missing: Optional[torch.Tensor] = None


def thing(start=0.0):
    """Return a structure of five tensors whose values count from `start`."""
    numbers = [torch.full((2, 3), start + number) for number in range(5)]
    return Thing(Pair(*numbers[:2]), {"list": [numbers[2]], "tuple": (numbers[3], numbers[4])})


def values_of(structure):
    """Return the value of each tensor of a structure."""
    return [float(tensor[1, 2]) for tensor in tensors_in(structure)]


def test_tensors_in_follows_the_order_of_the_structure():
    """Fields, entries and items come in their order; None holds no tensor."""
    assert values_of((thing(), None, thing(5.0))) == [float(number) for number in range(10)]


def test_map_tensors_keeps_the_form_and_leaves_the_original_as_it_was():
    """Every container has the type and the names that it had."""
    original = thing()
    changed = map_tensors(lambda tensor: tensor + 10.0, original)
    assert type(changed) is Thing
    assert type(changed.pair) is Pair
    assert list(changed.by_name) == ["list", "tuple"]
    assert type(changed.by_name["list"]) is list
    assert type(changed.by_name["tuple"]) is tuple
    assert changed.missing is None
    assert values_of(changed) == [10.0, 11.0, 12.0, 13.0, 14.0]
    assert values_of(original) == [0.0, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("wrong", [3.0, (torch.zeros(2), "name")])
def test_structure_of_something_else_is_refused(wrong):
    """A number or a string would be recorded once and never follow the caller: it is an error."""
    for function in (tensors_in, lambda value: map_tensors(torch.clone, value)):
        with pytest.raises(TypeError, match="neither a tensor nor a structure"):
            function(wrong)


def test_captured_on_the_cpu_passes_structures_through():
    """The function gets the caller's own structure, and the caller the function's own result."""
    given, returned = thing(), thing(5.0)
    seen = []

    def function(*arguments):
        seen.append(arguments)
        return returned

    assert Captured(function)(given, None) is returned
    assert seen[0][0] is given
    assert seen[0][1] is None


def test_captured_on_the_cpu_is_the_plain_function():
    """On the CPU every call calls the function with the caller's tensors, and returns its result."""
    seen = []

    def function(*arguments):
        seen.append(arguments)
        return {"sum": arguments[0] + arguments[1]}

    captured = Captured(function, warmups=1)
    kept = []
    for number in range(5):
        arguments = torch.full((5, 3), float(number)), torch.ones(5, 3)
        kept.append(captured(*arguments)["sum"])
        assert seen[-1][0] is arguments[0]
        assert seen[-1][1] is arguments[1]
        captured.forget()
    assert len(seen) == 5
    assert [float(result[4, 2]) for result in kept] == [1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("enabled", [True, False])
def test_no_garbage_collection_collects_before_and_leaves_the_collector_as_it_was(enabled):
    """Garbage is collected before the block, not within it; an error in it, too, leaves the collector as before."""
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


def recorded_with(monkeypatch, graph_class):
    """Record a function with a stand-in for `torch.cuda.graph`, as this machine may have no GPU."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", graph_class)
    monkeypatch.setattr(cuda_graphs, "_recording_stream", lambda device: None)
    Captured(lambda value: value)._record((torch.zeros(3),), torch.device("cpu"))


def test_recording_lets_other_threads_ask_for_events_where_torch_can(monkeypatch):
    """NCCL's thread asks for events during a recording; torch 2.0 has no option for that, and records without it."""
    asked = []

    class Graph(contextlib.nullcontext):
        def __init__(self, graph, stream=None, capture_error_mode="global"):
            super().__init__()
            asked.append(capture_error_mode)

    class GraphOfTorch20(contextlib.nullcontext):
        def __init__(self, graph, stream=None):
            super().__init__()
            asked.append("no such option")

    recorded_with(monkeypatch, Graph)
    recorded_with(monkeypatch, GraphOfTorch20)
    assert asked == ["thread_local", "no such option"]
