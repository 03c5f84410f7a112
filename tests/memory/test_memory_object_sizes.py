"""Contracts of blame: sizes of parts by path, what has become more, and who holds it."""

from __future__ import annotations

import collections
import functools
import gc
import sys

import numpy as np
import pytest
import torch

from harness.memory import object_sizes
from harness.memory.meters import Blind
from harness.memory.object_census import ExistingObjects, ObjectCensus
from harness.memory.object_holders import holder_of
from harness.memory.object_sizes import PartMeter, sizes

pytestmark = pytest.mark.memory

HELD_BY_MODULE = []


class Part:
    """Something that keeps things."""

    def __init__(self) -> None:
        self.history = []
        self.inner = None
        self.table = {}


class Slotted:
    """Something that keeps a thing without a dict."""

    __slots__ = ("kept",)

    def __init__(self, kept) -> None:
        self.kept = kept


def size_of(value):
    """Return the bytes below `value`."""
    return sum(sizes(value, "value", set()).values())


def test_arrays_and_tensors_count_with_their_data():
    """Whatever holds it, a MiB is a MiB."""
    million = 2**20
    for value in (np.zeros(million, np.uint8), torch.zeros(million, dtype=torch.uint8), bytearray(million)):
        for holder in (value, [value], {"key": value}, (value,), collections.deque([value]), Slotted(value)):
            assert size_of(holder) == pytest.approx(million, abs=4096)


def test_closures_and_bound_methods_count():
    """What a function has captured lives as long as it."""
    big = np.zeros(2**20, np.uint8)
    assert size_of(lambda: big) > 2**20
    assert size_of(collections.deque([big]).append) > 2**20


def test_graph_of_a_tensor_counts_under_the_attribute_that_holds_it():
    """A sum of losses that were not detached keeps each of their graphs; each node counts once."""
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
    """What can be reached by two ways counts under the nearer attribute, whichever comes first."""
    for names in (("inner", "table"), ("table", "inner")):
        big, part = np.zeros(10_000), Part()
        part.__dict__.clear()
        ways = {"inner": [big], "table": Slotted([[[big]]])}
        for name in names:
            setattr(part, name, ways[name])
        found = sizes(part, "env", set())
        assert max(found, key=found.get) == "env.inner"


def test_memory_that_is_seen_twice_counts_once():
    """Views share the storage of their tensor, and two names one object."""
    part = Part()
    part.history = [torch.zeros(2**18)]
    part.inner = part.history[0].view(2, -1)
    part.table = {"again": part.history}
    assert size_of(part) == pytest.approx(2**20, abs=4096)


def test_bytes_are_listed_under_the_attribute_that_holds_them():
    """Paths name attributes; what containers hold counts under their path."""
    part = Part()
    part.inner = Part()
    part.inner.history = [np.zeros(1000), {"deep": [np.zeros(3000)]}]
    found = sizes(part, "env", set())
    assert found["env.inner.history"] == pytest.approx(32_000, abs=1000)
    assert max(found, key=found.get) == "env.inner.history"


def test_other_parts_do_not_count():
    """A part that is measured by itself is left out of the one that reaches it."""
    part = Part()
    part.inner = np.zeros(2**20)
    assert sum(PartMeter("part", part, (part.inner,)).parts().values()) < 10_000


def test_modules_and_classes_do_not_count():
    """A reference to a module is not the module's weight."""
    part = Part()
    part.inner, part.history = torch, [torch.nn.Linear, np.zeros]
    assert size_of(part) < 10_000


def test_many_entries_are_measured_by_a_sample():
    """A hundred thousand rows weigh what they weigh, within a tenth, without looking at each."""
    rows = [(float(index), float(-index)) for index in range(100_000)]
    each = sys.getsizeof(rows[0]) + 2 * sys.getsizeof(1.5)
    assert size_of(rows) == pytest.approx(100_000 * each + sys.getsizeof(rows), rel=0.1)
    table = {index: float(index) for index in range(100_000)}
    truth = sys.getsizeof(table) + 100_000 * (sys.getsizeof(10**5) + sys.getsizeof(1.5))
    assert size_of(table) == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("bound", [100, 3000])
def test_bounded_deque_counts_as_if_it_were_full(bound):
    """A ring that fills does not grow, also where a sample stands for its entries."""
    ring = collections.deque(maxlen=bound)
    found = []
    for index in range(bound):
        ring.append(np.full(50, index))
        if index % 97 == 0:
            found.append(size_of(ring))
    assert max(found) - min(found) < 1000
    assert found[0] == pytest.approx(bound * 512, rel=0.1)


def test_part_with_too_many_objects_is_blind(monkeypatch):
    """A part that cannot be measured is said to be so."""
    monkeypatch.setattr(object_sizes, "MAX_OBJECTS", 100)
    meter = PartMeter("part", [[index] for index in range(200)])
    assert meter.read() is None
    assert "100 objects" in meter.blind
    with pytest.raises(Blind):
        meter.parts()


def test_holder_is_found_through_containers():
    """Attribute of a class, name in a module or closure of a function: whoever is first on the way up."""
    thing, part = Slotted(None), Part()
    part.table = {"a": [collections.deque([(thing,)])]}
    assert holder_of(thing) == "Part.table"
    del part
    HELD_BY_MODULE.append({"key": thing})
    assert holder_of(thing) == f"{__name__}.HELD_BY_MODULE"
    HELD_BY_MODULE.clear()
    captured = [thing]

    def function():
        return captured

    assert holder_of(captured[0]).endswith("function")


def test_cache_of_a_function_is_called_by_the_function():
    """An `lru_cache` without a bound is held by what it was put around."""

    @functools.lru_cache(maxsize=None)
    def remembered(index):
        return [index]

    remembered(3)
    kept = next(each for each in gc.get_referents(remembered) if each == {3: [3]})
    assert holder_of(kept).endswith("<locals>.remembered")


def test_object_that_nobody_holds_has_no_holder():
    """A local variable is nobody."""
    assert holder_of(Slotted(None)) == ""


def test_population_shows_what_has_become_more():
    """Growing containers come first, with their holder; then types."""
    part = Part()
    part.history = list(range(100))
    population = ObjectCensus()
    for count in (1, 2, 3):
        part.history += list(range(100))
        part.table = {index: Slotted(index) for index in range(70 * count)}
        population.look(count)
    assert [(each.what, each.count, each.holder) for each in population.owners(least=150)] == [
        ("entries of a list", 300, "Part.history"),
        (f"objects {__name__}.Slotted", 210, "Part.table"),
    ]


def test_population_finds_a_dict_that_the_collector_does_not_know():
    """A dict of arrays is no object of the collector's, but its owner's."""
    part = Part()
    part.table = {index: np.ones(1) for index in range(100)}
    population = ObjectCensus()
    for step in (1, 2, 3):
        part.table.update({len(part.table) + index: np.ones(1) for index in range(50)})
        population.look(step)
    assert [str(each) for each in population.owners(least=100)] == ["entries of a dict held by Part.table: +150"]


@pytest.mark.parametrize("rises", [(300, 0, 0), (0, 0, 300), (150, 150, 0), (200, 90, 10)])
def test_growth_in_a_part_of_the_run_is_none_of_the_population(rises):
    """What does not grow between all censuses is no leak."""
    part = Part()
    part.history = list(range(100))
    population = ObjectCensus()
    for step, rise in enumerate(rises, 1):
        part.history += list(range(rise))
        population.look(step)
    assert population.growth(least=100) == {}


def test_growth_is_even_by_steps_and_not_by_censuses():
    """Between censuses at uneven distances, what grows with every step is growth, and equal rises are none."""
    steady, equal = Part(), Part()
    steady.history, equal.history = list(range(100)), list(range(100))
    population = ObjectCensus()
    for step, before in zip((100, 110, 130, 150), (0, 100, 110, 130)):
        steady.history += list(range(5 * (step - before)))
        equal.history += list(range(200))
        population.look(step)
    assert population.growth(least=100) == {id(steady.history): 750}


@pytest.fixture
def elders():
    """What lived before, set aside, also where that had been done."""
    frozen = gc.get_freeze_count() > len(gc.get_objects())
    gc.unfreeze()
    gc.collect()
    with ExistingObjects() as older:
        yield older
    if frozen:
        gc.freeze()


def test_census_leaves_out_what_lived_before(elders):
    """Libraries are hundreds of thousands of objects; a census is of the run's own."""
    assert len(gc.get_objects()) < 1000 < gc.get_freeze_count()
    elders.release()
    assert len(gc.get_objects()) > 1000
    assert gc.get_freeze_count() == 0


def test_container_that_lived_before_is_watched(request):
    """A registry of a module that grows is told with its holder, and so is a dict that is hidden from the collector."""
    HELD_BY_MODULE.extend(range(20))
    older = Part()
    older.table = {index: np.ones(1) for index in range(20)}
    population = ObjectCensus(request.getfixturevalue("elders"))
    for step in (1, 2, 3):
        HELD_BY_MODULE.extend(range(100))
        older.table.update({len(older.table) + index: np.ones(1) for index in range(50)})
        population.look(step)
    assert [str(each) for each in population.owners(least=100)] == [
        f"entries of a list held by {__name__}.HELD_BY_MODULE: +300",
        "entries of a dict held by Part.table: +150",
    ]
    HELD_BY_MODULE.clear()


def test_objects_that_take_the_place_of_older_ones_are_no_growth(request):
    """A ring that was full before is as large afterwards, though all that is in it is new."""
    ring = collections.deque((Slotted(index) for index in range(300)), maxlen=300)
    elders = request.getfixturevalue("elders")
    population = ObjectCensus(elders)
    for step in (1, 2, 3):
        ring.extend(Slotted(index) for index in range(90))
        population.look(step)
    elders.release()
    assert population.growth(least=30) == {}


def test_what_somebody_else_set_aside_stays_there():
    """Objects that were frozen for the whole process are none of ours to thaw."""
    gc.unfreeze()
    gc.freeze()
    frozen = gc.get_freeze_count()
    with ExistingObjects() as older:
        assert older.containers == []
    assert gc.get_freeze_count() == pytest.approx(frozen, rel=0.01)


def test_bounded_deque_may_fill():
    """A ring that fills in every part is no growth, but is told; one that is full is not."""
    part = Part()
    part.history, part.table = collections.deque(range(100), maxlen=1000), collections.deque(range(100), maxlen=100)
    population = ObjectCensus()
    for step in (1, 2, 3):
        part.history.extend(range(100))
        part.table.extend(range(100))
        population.look(step)
    assert population.growth(least=100) == {}
    assert [str(each) for each in population.filling(least=100)] == [
        "entries of a deque of at most 1,000 held by Part.history: +300"
    ]


def test_population_shows_nothing_where_nothing_grew():
    """Garbage does not count, nor what stayed the same."""
    part = Part()
    part.history = list(range(1000))
    population = ObjectCensus()
    thresholds = gc.get_threshold()
    gc.set_threshold(10**9)
    try:
        for step in (1, 2, 3):
            for _ in range(500):
                cycle = Part()
                cycle.inner = cycle
            del cycle
            population.look(step)
    finally:
        gc.set_threshold(*thresholds)
    assert population.owners(least=50) == []


def test_cycles_are_left_where_the_program_does_not_collect_them():
    """What is garbage for the collector stays, and so grows, where somebody has switched that off."""
    gc.collect()
    gc.disable()
    try:
        population = ObjectCensus()
        for step in (1, 2, 3):
            for _ in range(100):
                cycle = Part()
                cycle.inner = cycle
            population.look(step)
        assert population.growth(least=200)[f"{__name__}.Part"] == pytest.approx(300, abs=2)
    finally:
        gc.enable()
