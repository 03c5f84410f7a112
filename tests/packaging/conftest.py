"""The wheel, and an environment in which it is installed."""

from __future__ import annotations

import sys
import venv
from pathlib import Path

import pytest
from wheels import copy_sources, link_packages, pip


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Build the wheel, offline, from what the Dockerfile copies, and return its path."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    copy_sources(source)
    pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def python(wheel, tmp_path_factory):
    """Install the wheel into a new environment with the packages of this one but mapush; return its interpreter."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False)
    interpreter = folder / "bin" / "python"
    (site_packages,) = folder.glob("lib/python*/site-packages")
    for place in map(Path, sys.path):
        if place.name == "site-packages":
            link_packages(place, site_packages)
    pip(str(interpreter), "install", "--no-deps", str(wheel))
    return interpreter
