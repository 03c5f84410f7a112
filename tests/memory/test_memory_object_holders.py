"""Tests of the search for the holder of an object."""

from __future__ import annotations

import collections
import functools
import gc

import pytest
from keepers import Part, Slotted

from harness.memory.object_holders import holder_of

pytestmark = pytest.mark.memory

HELD_BY_MODULE = []


def test_holder_is_found_through_containers():
    """The holder is the first attribute, module variable or function on the way up."""
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


def test_cache_of_a_function_is_named_after_the_function():
    """An `lru_cache` without a bound is held by the function that it wraps."""

    @functools.lru_cache(maxsize=None)
    def remembered(index):
        return [index]

    remembered(3)
    kept = next(each for each in gc.get_referents(remembered) if each == {3: [3]})
    assert holder_of(kept).endswith("<locals>.remembered")


def test_object_that_nobody_holds_has_no_holder():
    """A local variable is not a holder."""
    assert holder_of(Slotted(None)) == ""
