"""An OpenGL context to draw in: of the display where there is one, else of a library that needs none."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from typing import Any

from isaac_standin.errors import StandinError
from mapush.errors import ConfigError
from mapush.viewer.gl import choose_gl

DISPLAY_VARIABLES = ("DISPLAY", "WAYLAND_DISPLAY")
HEADLESS_LIBRARIES = ("egl", "osmesa")


def has_display() -> bool:
    """Return whether a window can be opened, as far as the environment says."""
    if not sys.platform.startswith("linux"):
        return True
    return any(os.environ.get(name) for name in DISPLAY_VARIABLES)


def start_glfw() -> Any:
    """Return the started module `glfw`; None if there is no display that works."""
    if not has_display():
        return None
    import glfw

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # glfw warns where it fails
        if glfw.init():
            return glfw
    return None


def headless_library() -> str:
    """Return the library that the user has chosen for drawing without a window; nothing if there is no such choice."""
    chosen = os.environ.get("MUJOCO_GL", "").lower().strip()
    if chosen in HEADLESS_LIBRARIES:
        return chosen
    return ""


def open_context() -> Any:
    """Return a new OpenGL context that shows nothing, and make it current.

    It is one of the display where there is one, because a window and EGL or OSMesa cannot draw in the same process.
    `MUJOCO_GL=egl` or `osmesa` chooses otherwise.

    Raises:
      StandinError: nothing can draw on this machine.
    """
    library = headless_library()
    if not library and _display_draws():
        library = "glfw"
    if not library:
        library = _without_display()
    try:
        return _opened(library)
    except Exception as error:  # each library has errors of its own, or raises those of ctypes
        raise _cannot_draw(f"{library}: {type(error).__name__}: {error}") from error


def _opened(library: str) -> Any:
    context = importlib.import_module(f"mujoco.{library}").GLContext(64, 64)
    context.make_current()
    return context


def _display_draws() -> bool:
    """Return whether there is a display with OpenGL; one that is forwarded over a network may have none."""
    glfw = start_glfw()
    if glfw is None:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        glfw.default_window_hints()
        glfw.window_hint(glfw.VISIBLE, False)
        window = glfw.create_window(16, 16, "", None, None)
        if window:
            glfw.destroy_window(window)
    return bool(window)


def _without_display() -> str:
    if not sys.platform.startswith("linux"):
        return "glfw"
    try:
        choose_gl()
    except ConfigError as error:
        raise _cannot_draw(error.got or error.what) from error
    return os.environ["MUJOCO_GL"]


def _cannot_draw(got: str) -> StandinError:
    return StandinError(
        "camera images cannot be drawn on this machine",
        where="the first image of a camera",
        got=got,
        expected="a display, or an OpenGL library that needs none: EGL or OSMesa",
        cause="cameras are drawn by MuJoCo with OpenGL, which is not installed or does not work",
        fix="apt-get install libosmesa6 (draws on the CPU), or libegl1 libgl1-mesa-dri, or read no images",
    )
