"""The order of the GPU tests: processes that start early run in parallel with tests that compile kernels."""

from __future__ import annotations

import pytest

ORDER = ("test_learner.py", "test_sim_mjwarp.py", "test_sim_agreement.py", "test_smoke.py", "test_gpu_ranks.py")
"""The files that run first. The others measure the free memory of the GPU, so nothing else may use it then."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Put the files of `ORDER` first if any test needs a GPU."""
    if any(item.get_closest_marker("gpu") for item in items):
        items.sort(key=position)


def position(item):
    """Return the position of a test's file in `ORDER`; other files are last."""
    if item.path.name in ORDER:
        return ORDER.index(item.path.name)
    return len(ORDER)


@pytest.fixture(scope="session")
def lives(tmp_path_factory):
    """A short run for each object, in processes that work while other tests run."""
    from lives import Lives  # needs NVML, which only machines with a GPU have

    with Lives(tmp_path_factory.mktemp("lives")) as lives:
        yield lives


@pytest.fixture(scope="session", autouse=True)
def early_start(request):
    """Start these runs at once if a test will need them."""
    if any("lives" in item.fixturenames for item in request.session.items):
        request.getfixturevalue("lives")
