"""Choose an OpenGL library that works without a display, and how finely MuJoCo draws."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Optional, Sequence

from mapush.errors import ConfigError

if TYPE_CHECKING:
    import mujoco

GL_LIBRARIES = ("egl", "osmesa")  # EGL first: it is faster where there is a GPU, and as fast elsewhere
PROBE_TIMEOUT_S = 60.0

_PROBE = """
import mujoco
context = mujoco.GLContext(64, 64)
context.make_current()
from OpenGL import GL
print(GL.glGetString(GL.GL_RENDERER).decode())
context.free()
"""


def choose_gl() -> str:
    """Let MuJoCo draw with a library that works without a display; call it before anything imports `mujoco`.

    If the environment variable `MUJOCO_GL` names a library, only that one is tried.

    Returns:
      The library and what it draws with, in words.

    Raises:
      ConfigError: no library works on this machine.
    """
    if not sys.platform.startswith("linux"):
        return "the system's OpenGL"
    named = os.environ.get("MUJOCO_GL")
    libraries: Sequence[str] = GL_LIBRARIES
    if named:
        libraries = (named,)
    for library in libraries:
        renderer = renderer_of(library)
        if renderer is not None:
            os.environ["MUJOCO_GL"] = library
            return f"{library} on {renderer}"
    got = None
    if named:
        got = f"MUJOCO_GL={named}, which does not work on this machine"
    raise ConfigError(
        "nothing can draw without a display on this machine",
        got=got,
        expected=f"a working OpenGL library: {' or '.join(GL_LIBRARIES)}",
        fix="apt-get install libosmesa6 (draws on the CPU), or libegl1 libgl1-mesa-dri",
    )


def renderer_of(library: str) -> Optional[str]:
    """Return what `library`, named as in `MUJOCO_GL`, draws with; None if it does not work.

    It is tried in a separate process, because a broken library may kill the process.
    """
    env = dict(os.environ, MUJOCO_GL=library)
    command = [sys.executable, "-c", _PROBE]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=PROBE_TIMEOUT_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip()


def quick_to_draw(model: mujoco.MjModel) -> mujoco.MjModel:
    """Return a copy of `model` without details that are hardly visible, but slow where the CPU draws."""
    model = copy.deepcopy(model)
    quality = model.vis.quality
    quality.offsamples = 0
    quality.shadowsize = 0
    quality.numslices = 32
    quality.numstacks = 6
    return model
