"""The order of the GPU tests."""

from __future__ import annotations

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Start with the smoke runs, whose processes compile the kernels of all objects side by side, for all tests."""
    items.sort(key=lambda item: item.path.name != "test_smoke.py" or item.path.parent.name != "gpu")
