"""Tests of the sizes of parts, by path."""

from __future__ import annotations

import collections
import sys

import numpy as np
import pytest
import torch
from keepers import Part, Slotted

from harness.memory import object_sizes
from harness.memory.meters import Blind
from harness.memory.object_sizes import PartMeter, sizes

pytestmark = pytest.mark.memory


def size_of(value):
    """Return the bytes of everything below a value."""
    return sum(sizes(value, "value", set()).values())


def test_arrays_and_tensors_count_with_their_data():
    """A MiB counts as a MiB, whatever holds it."""
    million = 2**20
    for value in (np.zeros(million, np.uint8), torch.zeros(million, dtype=torch.uint8), bytearray(million)):
        for holder in (value, [value], {"key": value}, (value,), collections.deque([value]), Slotted(value)):
            assert size_of(holder) == pytest.approx(million, abs=4096)


def test_closures_and_bound_methods_count():
    """What a function has captured lives as long as the function."""
    big = np.zeros(2**20, np.uint8)
    assert size_of(lambda: big) > 2**20
    assert size_of(collections.deque([big]).append) > 2**20


def test_graph_of_a_tensor_counts_under_the_attribute_that_holds_it():
    """A sum of losses that were not detached keeps all their graphs; each node counts once."""
    part, weight = Part(), torch.ones(4, requires_grad=True)
    part.inner, part.history = torch.zeros(()), [weight]
    grown = []
    for _ in range(3):
        for _ in range(100):
            part.inner = part.inner + weight.sum()
        grown.append(sizes(part, "trainer", set())["trainer.inner"])
    assert grown[0] > 200 * object_sizes.GRAPH_NODE_BYTES
    second, third = grown[1] - grown[0], grown[2] - grown[1]
    assert second == pytest.approx(200 * object_sizes.GRAPH_NODE_BYTES, rel=0.1)
    assert third == pytest.approx(second)


def test_path_is_the_shortest():
    """An object that is reached on two ways counts under the shorter path, whichever comes first."""
    for names in (("inner", "table"), ("table", "inner")):
        big, part = np.zeros(10_000), Part()
        part.__dict__.clear()
        ways = {"inner": [big], "table": Slotted([[[big]]])}
        for name in names:
            setattr(part, name, ways[name])
        found = sizes(part, "env", set())
        assert max(found, key=found.get) == "env.inner"


def test_memory_that_is_seen_twice_counts_once():
    """Views share the storage of their tensor, and two names may share an object."""
    part = Part()
    part.history = [torch.zeros(2**18)]
    part.inner = part.history[0].view(2, -1)
    part.table = {"again": part.history}
    assert size_of(part) == pytest.approx(2**20, abs=4096)


def test_bytes_are_listed_under_the_attribute_that_holds_them():
    """Paths consist of attributes; the content of a container counts under its path."""
    part = Part()
    part.inner = Part()
    part.inner.history = [np.zeros(1000), {"deep": [np.zeros(3000)]}]
    found = sizes(part, "env", set())
    assert found["env.inner.history"] == pytest.approx(32_000, abs=1000)
    assert max(found, key=found.get) == "env.inner.history"


def test_other_parts_do_not_count():
    """A part that is measured separately does not count for the part that leads to it."""
    part = Part()
    part.inner = np.zeros(2**20)
    assert sum(PartMeter("part", part, (part.inner,)).parts().values()) < 10_000


def test_modules_and_classes_do_not_count():
    """A reference to a module does not add the size of the module."""
    part = Part()
    part.inner, part.history = torch, [torch.nn.Linear, np.zeros]
    assert size_of(part) < 10_000


def test_many_entries_are_measured_by_a_sample():
    """The size of a hundred thousand rows is right within a tenth, although only a sample is measured."""
    rows = [(float(index), float(-index)) for index in range(100_000)]
    each = sys.getsizeof(rows[0]) + 2 * sys.getsizeof(1.5)
    assert size_of(rows) == pytest.approx(100_000 * each + sys.getsizeof(rows), rel=0.1)
    table = {index: float(index) for index in range(100_000)}
    truth = sys.getsizeof(table) + 100_000 * (sys.getsizeof(10**5) + sys.getsizeof(1.5))
    assert size_of(table) == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("bound", [100, 3000])
def test_bounded_deque_counts_as_if_it_were_full(bound):
    """A ring that fills does not grow, even where a sample stands for its entries."""
    ring = collections.deque(maxlen=bound)
    found = []
    for index in range(bound):
        ring.append(np.full(50, index))
        if index % 97 == 0:
            found.append(size_of(ring))
    assert max(found) - min(found) < 1000
    assert found[0] == pytest.approx(bound * 512, rel=0.1)


def test_part_with_too_many_objects_is_blind():
    """A part that cannot be measured is reported as such."""
    meter = PartMeter("part", [[index] for index in range(200)], max_objects=100)
    assert meter.read() is None
    assert "100 objects" in meter.blind
    with pytest.raises(Blind):
        meter.parts()
