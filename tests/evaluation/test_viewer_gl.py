"""The choice of an OpenGL library that works without a display."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mapush.errors import ConfigError
from mapush.viewer import gl
from mapush.viewer.gl import choose_gl

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems draw with their own library")
@pytest.mark.parametrize(("named", "tried"), [(None, ["egl", "osmesa"]), ("osmesa", ["osmesa"])])
def test_choose_gl_without_a_working_library_names_the_packages(monkeypatch, named, tried):
    """Each library is tried, or only the named one; if none works, the error names the packages."""
    asked = []

    def fail(command, env, **_):
        asked.append(env["MUJOCO_GL"])
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.delenv("MUJOCO_GL", raising=False)
    if named:
        monkeypatch.setenv("MUJOCO_GL", named)
    monkeypatch.setattr(gl.subprocess, "run", fail)
    with pytest.raises(ConfigError, match="libosmesa6") as caught:
        choose_gl()
    assert asked == tried
    assert os.environ.get("MUJOCO_GL") == named
    assert (named is None) == ("MUJOCO_GL" not in str(caught.value))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems draw with their own library")
def test_choose_gl_takes_the_first_library_that_works(monkeypatch):
    """A library that hangs counts as broken, and the choice is reported."""

    def run(command, env, timeout, **_):
        if env["MUJOCO_GL"] == "egl":
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, 0, stdout="llvmpipe\n")

    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(gl.subprocess, "run", run)
    assert choose_gl() == "osmesa on llvmpipe"
    assert os.environ.pop("MUJOCO_GL") == "osmesa"
