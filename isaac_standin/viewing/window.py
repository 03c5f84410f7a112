"""A window with an OpenGL context, and what its keys and its mouse did."""

from __future__ import annotations

from typing import Any, Literal

from isaac_standin.errors import StandinError
from isaac_standin.viewing.gl import DISPLAY_VARIABLES, has_display, headless_library, start_glfw

# What a window reports: a key or a button by GLFW's number, or a direction of the wheel or of the mouse.
Signal = tuple[Literal["key", "button", "scroll", "move"], int | str]


class Window:
    """A window.

    Args:
      width: of the window.
      height: of the window.

    Attributes:
      events: signals that came, and their values: 1 if pressed, 0 if released, or how far; cleared by the reader.
      drags: movements while a button is held: GLFW's number of the button, and pixels to the right and downward.

    Raises:
      StandinError: it cannot be opened.
    """

    def __init__(self, width: int, height: int) -> None:
        glfw = _start()
        glfw.default_window_hints()
        self._glfw = glfw
        self._handle: Any = glfw.create_window(width, height, "isaac_standin", None, None)
        if not self._handle:
            raise _no_window("GLFW opens no window", "the display offers no OpenGL")
        self.events: list[tuple[Signal, float]] = []
        self.drags: list[tuple[int, float, float]] = []
        self._cursor = glfw.get_cursor_pos(self._handle)
        glfw.set_key_callback(self._handle, self._on_key)
        glfw.set_mouse_button_callback(self._handle, self._on_button)
        glfw.set_scroll_callback(self._handle, self._on_scroll)
        glfw.set_cursor_pos_callback(self._handle, self._on_move)
        self.use()
        glfw.swap_interval(0)  # the program sets the pace, not the screen

    @property
    def closed(self) -> bool:
        """Whether the user, or the program, has closed it."""
        return self._handle is None or bool(self._glfw.window_should_close(self._handle))

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height of the picture in it [pixels]."""
        return self._glfw.get_framebuffer_size(self._handle)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in units of the mouse's position."""
        return self._glfw.get_window_size(self._handle)

    @property
    def mouse(self) -> tuple[float, float]:
        """Where the mouse is: shares of the width from the left and of the height from the top."""
        width, height = self.size
        x, y = self._glfw.get_cursor_pos(self._handle)
        return x / max(width, 1), y / max(height, 1)

    def use(self) -> None:
        """Make its OpenGL context current."""
        self._glfw.make_context_current(self._handle)

    def show(self, title: str) -> None:
        """Show what was drawn, under a title."""
        self._glfw.set_window_title(self._handle, title)
        self._glfw.swap_buffers(self._handle)

    def poll(self) -> None:
        """Collect what keys and mouse did."""
        self._glfw.poll_events()

    def close(self) -> None:
        """Close it. It can be called twice."""
        if self._handle is not None:
            self._glfw.make_context_current(None)
            self._glfw.destroy_window(self._handle)
        self._handle = None

    def _on_key(self, _: Any, key: int, scancode: int, action: int, mods: int) -> None:
        if action != self._glfw.REPEAT:
            self.events.append((("key", key), float(action == self._glfw.PRESS)))

    def _on_button(self, _: Any, button: int, action: int, mods: int) -> None:
        self.events.append((("button", button), float(action == self._glfw.PRESS)))

    def _on_scroll(self, _: Any, right: float, up: float) -> None:
        self._report("scroll", right, "right", "left")
        self._report("scroll", up, "up", "down")

    def _on_move(self, _: Any, x: float, y: float) -> None:
        right, down = x - self._cursor[0], y - self._cursor[1]
        self._cursor = x, y
        self._report("move", right, "right", "left")
        self._report("move", down, "down", "up")
        for button in range(3):
            if self._glfw.get_mouse_button(self._handle, button) == self._glfw.PRESS:
                self.drags.append((button, right, down))

    def _report(self, kind: Literal["scroll", "move"], amount: float, forward: str, backward: str) -> None:
        if amount > 0:
            self.events.append(((kind, forward), amount))
        elif amount < 0:
            self.events.append(((kind, backward), -amount))


def _start() -> Any:
    """Return the started module `glfw`.

    Raises:
      StandinError: there is no display, or `MUJOCO_GL` forbids its use.
    """
    library = headless_library()
    if has_display() and library:
        got = f"MUJOCO_GL={library}, which draws without a window"
        raise _no_window(got, "a process can draw in one way only", "unset MUJOCO_GL")
    glfw = start_glfw()
    if glfw is None:
        raise _no_window("no display that works", f"{' and '.join(DISPLAY_VARIABLES)} are unset or wrong")
    return glfw


def _no_window(got: str, cause: str, fix: str = "") -> StandinError:
    without = "run without a window (most programs take --headless), or on a virtual display: xvfb-run -a python ..."
    return StandinError(
        "the viewer cannot open a window",
        where="create_viewer",
        got=got,
        expected="a display with OpenGL",
        cause=cause,
        fix=fix or without,
    )
