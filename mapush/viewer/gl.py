"""What draws: the OpenGL library where there is no display, and how finely."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Optional

from mapush.errors import ConfigError

if TYPE_CHECKING:
    import mujoco

GL_LIBRARIES = ("egl", "osmesa")  # the fastest on a GPU first; without one they are as fast
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

    A library that `MUJOCO_GL` names is the only one that is tried.

    Returns:
      What draws, for people to read.

    Raises:
      ConfigError: none works here.
    """
    if not sys.platform.startswith("linux"):
        return "the system's OpenGL"
    named = os.environ.get("MUJOCO_GL")
    for library in (named,) if named else GL_LIBRARIES:
        renderer = renderer_of(library)
        if renderer is not None:
            os.environ["MUJOCO_GL"] = library
            return f"{library} on {renderer}"
    raise ConfigError(
        "nothing here can draw without a display",
        got=f"MUJOCO_GL={named}, which does not work here" if named else None,
        expected="a working OpenGL library: {}".format(" or ".join(GL_LIBRARIES)),
        fix="apt-get install libosmesa6 (draws on the CPU), or libegl1 libgl1-mesa-dri",
    )


def renderer_of(library: str) -> Optional[str]:
    """Return what `library`, as `MUJOCO_GL` calls it, draws with; None if it does not work here.

    It is tried in another process, as a broken one may end the process that tries it.
    """
    env = dict(os.environ, MUJOCO_GL=library)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE], env=env, capture_output=True, text=True, check=True, timeout=PROBE_TIMEOUT_S
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip()


def quick_to_draw(model: mujoco.MjModel) -> mujoco.MjModel:
    """Return a copy of `model` without what is hardly seen, but takes most of the time where the CPU draws."""
    model = copy.deepcopy(model)
    quality = model.vis.quality
    quality.offsamples, quality.shadowsize = 0, 0
    quality.numslices, quality.numstacks = 32, 6
    return model
