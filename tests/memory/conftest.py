"""Fixtures of the memory tests."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="module")
def only_new_objects():
    """Hide the existing objects, hundreds of thousands, from the collector and so from every census."""
    gc.freeze()
    yield
    gc.unfreeze()
