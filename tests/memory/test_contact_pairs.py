"""Contracts of PhysX's contact pairs: what fits is told, and what does not is refused."""

from __future__ import annotations

import pytest

from mapush.errors import CapacityError, ConfigError
from mapush.run import capacity
from mapush.run.capacity import GIB, MIB
from mapush.upstream.contact_pairs import BYTES_PER_PAIR, DEFAULT_PAIRS, REST, budget

pytestmark = pytest.mark.memory


def quiet(multiplier=1.0, free=80 * GIB):
    """Return the budget without a word."""
    return budget(multiplier, free, say=[].append)


def test_default_is_once_mqes_and_is_told():
    """Without a word it is 2**23 pairs, and the line says how many and how much."""
    said = []
    room = budget(free=16 * GIB, say=said.append)
    assert room.pairs == DEFAULT_PAIRS == 8_388_608
    assert said == ["PhysX: room for 8,388,608 contact pairs, about 2.0 GiB"]


def test_published_setting_fits_a_card_of_8_gib_and_mapushs_does_not():
    """As it was seen: once MQE's room runs on 8 GiB, five times does not."""
    assert quiet(1.0, 8 * GIB).pairs == DEFAULT_PAIRS
    with pytest.raises(CapacityError) as caught:
        quiet(5.0, 8 * GIB)
    assert "8.0 GiB" in caught.value.expected
    assert "10.0 GiB" in caught.value.got


def test_refusal_names_a_multiplier_that_fits():
    """Whoever follows the fix gets through."""
    for free in (6 * GIB, 12 * GIB, 24 * GIB):
        with pytest.raises(CapacityError) as caught:
            quiet(1000.0, free)
        quiet(float(caught.value.fix.split(" ")[1]), free)


def test_full_card_is_refused_without_a_multiplier():
    """Where not even the rest fits, the fix is not a smaller number."""
    with pytest.raises(CapacityError, match="does not fit") as caught:
        quiet(0.1, REST // 2)
    assert "nvidia-smi" in caught.value.fix


def test_nothing_is_said_when_it_is_refused():
    """There is no room to tell of."""
    said = []
    with pytest.raises(CapacityError):
        budget(5.0, free=8 * GIB, say=said.append)
    assert said == []


@pytest.mark.parametrize("free, multiplier", [(REST + 256 * 2**23, 1.0), (REST + 256 * 2**22, 0.5)])
def test_budget_is_exact(free, multiplier):
    """It fits to the byte, and not with one byte less."""
    assert quiet(multiplier, free).size == free - REST
    with pytest.raises(CapacityError):
        quiet(multiplier, free - 1)


@pytest.mark.parametrize("multiplier", [0.0, -1.0, float("nan"), float("inf"), 1e-9])
def test_multiplier_that_leaves_no_room_is_refused(multiplier):
    """No pairs at all, or a number that is none, is an error of the configuration."""
    with pytest.raises(ConfigError, match="contact pairs"):
        quiet(multiplier, 80 * GIB)


def test_free_memory_is_asked_of_the_gpu(monkeypatch):
    """Without a number, what is free now counts."""
    monkeypatch.setattr(capacity, "free_memory", lambda: REST + BYTES_PER_PAIR * DEFAULT_PAIRS - MIB)
    with pytest.raises(CapacityError):
        budget()
