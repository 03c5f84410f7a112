"""What the tests of memory share."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="module")
def only_new_objects():
    """Hide from the collector, and so from every census, what lives already: hundreds of thousands of objects."""
    gc.freeze()
    yield
    gc.unfreeze()
