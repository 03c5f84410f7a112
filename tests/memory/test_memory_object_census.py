"""Tests of the census of Python objects: what grew steadily, and who holds it."""

from __future__ import annotations

import collections
import functools
import gc

import numpy as np
import pytest
from keepers import Part, Slotted

from harness.memory.object_census import ExistingObjects, ObjectCensus

pytestmark = [pytest.mark.memory, pytest.mark.usefixtures("only_new_objects")]

HELD_BY_MODULE = []


def test_census_shows_what_grew():
    """Growing containers come first, with their holder; then types."""
    part = Part()
    part.history = list(range(100))
    census = ObjectCensus()
    for count in (1, 2, 3):
        part.history += list(range(100))
        part.table = {index: Slotted(index) for index in range(70 * count)}
        census.look(count)
    assert [(each.what, each.count, each.holder) for each in census.owners(least=150)] == [
        ("entries of a list", 300, "Part.history"),
        (f"objects {Slotted.__module__}.Slotted", 210, "Part.table"),
    ]


def test_census_finds_a_dict_that_is_hidden_from_the_collector():
    """A dict of arrays is hidden from the collector, but not from its owner."""
    part = Part()
    part.table = {index: np.ones(1) for index in range(100)}
    census = ObjectCensus()
    for step in (1, 2, 3):
        part.table.update({len(part.table) + index: np.ones(1) for index in range(50)})
        census.look(step)
    assert [str(each) for each in census.owners(least=100)] == ["entries of a dict held by Part.table: +150"]


@pytest.mark.parametrize("rises", [(300, 0, 0), (0, 0, 300), (150, 150, 0), (200, 90, 10)])
def test_growth_in_only_a_part_of_the_run_is_not_steady(rises):
    """What does not grow between all censuses is not a leak."""
    part = Part()
    part.history = list(range(100))
    census = ObjectCensus()
    for step, rise in enumerate(rises, 1):
        part.history += list(range(rise))
        census.look(step)
    assert census.growth(least=100) == {}


def test_growth_is_steady_by_steps_and_not_by_censuses():
    """Growth in proportion to the steps is steady; equal growth between censuses at uneven distances is not."""
    steady, equal = Part(), Part()
    steady.history, equal.history = list(range(100)), list(range(100))
    census = ObjectCensus()
    for step, before in zip((100, 110, 130, 150), (0, 100, 110, 130)):
        steady.history += list(range(5 * (step - before)))
        equal.history += list(range(200))
        census.look(step)
    assert census.growth(least=100) == {id(steady.history): 750}


@pytest.fixture
def thawed():
    """Freeze no object during the test, and restore the state from before afterwards."""
    frozen = gc.get_freeze_count() > len(gc.get_objects())
    gc.unfreeze()
    gc.collect()
    yield
    gc.unfreeze()
    if frozen:
        gc.freeze()


@pytest.fixture
def existing(thawed):
    """The existing objects, set aside."""
    with ExistingObjects() as objects:
        yield objects


def test_census_leaves_out_existing_objects(existing):
    """A census counts only the run's own objects, not the hundreds of thousands of the libraries."""
    assert len(gc.get_objects()) < 1000 < gc.get_freeze_count()
    existing.release()
    assert len(gc.get_objects()) > 1000
    assert gc.get_freeze_count() == 0


def test_existing_container_is_watched(request):
    """An existing registry that grows is reported with its holder, even a dict that is hidden from the collector."""
    HELD_BY_MODULE.extend(range(20))
    part = Part()
    part.table = {index: np.ones(1) for index in range(20)}
    census = ObjectCensus(request.getfixturevalue("existing"))
    for step in (1, 2, 3):
        HELD_BY_MODULE.extend(range(100))
        part.table.update({len(part.table) + index: np.ones(1) for index in range(50)})
        census.look(step)
    assert [str(each) for each in census.owners(least=100)] == [
        f"entries of a list held by {__name__}.HELD_BY_MODULE: +300",
        "entries of a dict held by Part.table: +150",
    ]
    HELD_BY_MODULE.clear()


def test_new_objects_that_replace_existing_ones_are_not_growth(request):
    """A ring that was full before keeps its size, although all its entries are new."""
    ring = collections.deque((Slotted(index) for index in range(300)), maxlen=300)
    existing = request.getfixturevalue("existing")
    census = ObjectCensus(existing)
    for step in (1, 2, 3):
        ring.extend(Slotted(index) for index in range(90))
        census.look(step)
    existing.release()
    assert census.growth(least=30) == {}


def test_objects_that_the_program_froze_stay_frozen(thawed):
    """Objects that the program has frozen itself stay frozen."""
    gc.freeze()
    frozen = gc.get_freeze_count()
    with ExistingObjects() as objects:
        assert objects.containers == []
    assert gc.get_freeze_count() == pytest.approx(frozen, rel=0.01)


def test_bounded_deque_may_fill():
    """A ring that fills steadily is not growth, but is reported as filling; a full ring is not."""
    part = Part()
    part.history, part.table = collections.deque(range(100), maxlen=1000), collections.deque(range(100), maxlen=100)
    census = ObjectCensus()
    for step in (1, 2, 3):
        part.history.extend(range(100))
        part.table.extend(range(100))
        census.look(step)
    assert census.growth(least=100) == {}
    assert [str(each) for each in census.filling(least=100)] == [
        "entries of a deque of at most 1,000 held by Part.history: +300"
    ]


class Lazy:
    """An object that does something when it is asked for its class, as the lazy modules of some libraries do."""

    @property
    def __class__(self):
        """Fail."""
        raise RuntimeError("it was asked for its class")


def test_census_asks_no_object_for_its_class():
    """The type of an object is looked at, and none of its code runs."""
    part = Part()
    part.history, part.table = list(range(100)), Lazy()
    census = ObjectCensus()
    for step in (1, 2, 3):
        part.history += list(range(100))
        census.look(step)
    assert census.filling(least=100) == []
    assert list(census.growth(least=100).values()) == [300]


@functools.lru_cache(maxsize=1000)
def bounded(text):
    """Cache some results."""
    return text


@functools.lru_cache(maxsize=None)
def unbounded(text):
    """Cache all results."""
    return text


@pytest.mark.parametrize("cached", [bounded, unbounded])
def test_only_a_cache_without_a_bound_can_leak(cached, request):
    """The cache of a display that fills is reported as filling, as a ring is; one without a bound is growth."""
    cached.cache_clear()
    for index in range(20):
        cached(f"before {index}")
    census = ObjectCensus(request.getfixturevalue("existing"))
    for step in (1, 2, 3):
        for index in range(100):
            cached(f"{step} {index}")
        census.look(step)
    owners = [str(each) for each in census.owners(least=100)]
    filling = [str(each) for each in census.filling(least=100)]
    assert owners == [f"entries of a dict held by {__name__}.unbounded: +300"] * (cached is unbounded)
    assert filling == [f"entries of an lru_cache of at most 1,000 held by {__name__}.bounded: +300"] * (
        cached is bounded
    )


def test_caches_of_rich_are_not_growth(request):
    """A loop that draws a progress display fills rich's caches, which is no leak."""
    cells = pytest.importorskip("rich.cells")
    census = ObjectCensus(request.getfixturevalue("existing"))
    for step in (1, 2, 3):
        for index in range(100):
            cells.cached_cell_len(f"{step} of 3, {index} %")
        census.look(step)
    assert census.growth(least=100) == {}


def test_census_shows_nothing_where_nothing_grew():
    """Garbage does not count, nor does anything of constant size."""
    part = Part()
    part.history = list(range(1000))
    census = ObjectCensus()
    thresholds = gc.get_threshold()
    gc.set_threshold(10**9)
    try:
        for step in (1, 2, 3):
            for _ in range(500):
                cycle = Part()
                cycle.inner = cycle
            del cycle
            census.look(step)
    finally:
        gc.set_threshold(*thresholds)
    assert census.owners(least=50) == []


def test_cycles_count_if_the_collector_is_off():
    """Cyclic garbage counts as growth if the program has switched the collector off."""
    gc.collect()
    gc.disable()
    try:
        census = ObjectCensus()
        for step in (1, 2, 3):
            for _ in range(100):
                cycle = Part()
                cycle.inner = cycle
            census.look(step)
        assert census.growth(least=200)[f"{Part.__module__}.Part"] == pytest.approx(300, abs=2)
    finally:
        gc.enable()
