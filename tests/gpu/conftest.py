"""The order of the GPU tests: what compiles kernels and starts processes goes on beside the rest."""

from __future__ import annotations

import pytest

ORDER = ("test_learner.py", "test_sim_mjwarp.py", "test_sim_agreement.py", "test_smoke.py")
"""The first files; the rest measures the GPU's free memory, and so needs it for itself."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Put the files of `ORDER` first if there is anything to run on a GPU."""
    if any(item.get_closest_marker("gpu") for item in items):
        items.sort(key=lambda item: ORDER.index(item.path.name) if item.path.name in ORDER else len(ORDER))


@pytest.fixture(scope="session")
def lives(tmp_path_factory):
    """The short lives of a run for each object; they go on while other tests run."""
    from lives import Lives  # needs NVML, which is there where there is a GPU

    with Lives(tmp_path_factory.mktemp("lives")) as lives:
        yield lives


@pytest.fixture(scope="session", autouse=True)
def early_start(request):
    """Start the lives at once, if a test will ask for them."""
    if any("lives" in item.fixturenames for item in request.session.items):
        request.getfixturevalue("lives")
