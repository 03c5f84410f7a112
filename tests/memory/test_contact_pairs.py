"""Contracts of PhysX's contact pair buffer: a size that fits is reported, and one that does not is refused."""

from __future__ import annotations

import pytest

from mapush.errors import CapacityError, ConfigError
from mapush.run import capacity
from mapush.run.capacity import GIB, MIB
from mapush.upstream.contact_pairs import BYTES_PER_PAIR, DEFAULT_PAIRS, OTHER_BYTES, budget

pytestmark = pytest.mark.memory


def quiet(multiplier=1.0, free=80 * GIB):
    """Return the budget without printing it."""
    return budget(multiplier, free, say=[].append)


def test_default_is_mqes_size_and_is_reported():
    """The default is 2**23 pairs, and one line states their number and size."""
    said = []
    room = budget(free=16 * GIB, say=said.append)
    assert room.pairs == DEFAULT_PAIRS == 8_388_608
    assert said == ["PhysX: room for 8,388,608 contact pairs, about 2.0 GiB"]


def test_mqes_size_fits_a_card_of_8_gib_and_mapushs_does_not():
    """As observed on a card of 8 GiB: MQE's size runs, five times that does not."""
    assert quiet(1.0, 8 * GIB).pairs == DEFAULT_PAIRS
    with pytest.raises(CapacityError) as caught:
        quiet(5.0, 8 * GIB)
    assert "8.0 GiB" in caught.value.expected
    assert "10.0 GiB" in caught.value.got


def test_refusal_names_a_multiplier_that_fits():
    """The multiplier in the fix is accepted."""
    for free in (6 * GIB, 12 * GIB, 24 * GIB):
        with pytest.raises(CapacityError) as caught:
            quiet(1000.0, free)
        quiet(float(caught.value.fix.split(" ")[1]), free)


def test_full_card_is_refused_without_a_multiplier():
    """If not even the rest fits, the fix is not a smaller multiplier."""
    with pytest.raises(CapacityError, match="does not fit") as caught:
        quiet(0.1, OTHER_BYTES // 2)
    assert "nvidia-smi" in caught.value.fix


def test_refused_size_is_not_reported():
    """A refusal prints nothing."""
    said = []
    with pytest.raises(CapacityError):
        budget(5.0, free=8 * GIB, say=said.append)
    assert said == []


@pytest.mark.parametrize("free, multiplier", [(OTHER_BYTES + 256 * 2**23, 1.0), (OTHER_BYTES + 256 * 2**22, 0.5)])
def test_budget_is_exact(free, multiplier):
    """A buffer fits in exactly its size, and not in one byte less."""
    assert quiet(multiplier, free).size == free - OTHER_BYTES
    with pytest.raises(CapacityError):
        quiet(multiplier, free - 1)


@pytest.mark.parametrize("multiplier", [0.0, -1.0, float("nan"), float("inf"), 1e-9])
def test_multiplier_without_a_pair_is_refused(multiplier):
    """A multiplier that gives no pair at all, or is not a finite number, is a ConfigError."""
    with pytest.raises(ConfigError, match="contact pairs"):
        quiet(multiplier, 80 * GIB)


def test_free_memory_of_the_gpu_is_the_default_limit(monkeypatch):
    """Without `free`, the memory that is free now counts."""
    monkeypatch.setattr(capacity, "free_memory", lambda: OTHER_BYTES + BYTES_PER_PAIR * DEFAULT_PAIRS - MIB)
    with pytest.raises(CapacityError):
        budget()
