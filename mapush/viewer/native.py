"""Show episodes in MuJoCo's own window."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, List, Optional, Tuple

import mujoco
import mujoco.viewer

from mapush.evaluation.episode import Episode, pose
from mapush.viewer.gl import quick_to_draw
from mapush.viewer.overlay import aim, draw, overlay_of

if TYPE_CHECKING:
    from mapush.viewer.playback_controls import Transport
    from mapush.viewer.scoreboard import Scoreboard

HELP = (
    ("space", "pause"),
    ("right", "one step"),
    ("N  P", "next, previous episode"),
    ("+  -", "speed"),
    ("[  ]", "other env"),
)
CAMERA_DISTANCE = 6.5  # [m]
EXIT_TIMEOUT_S = 5.0

Text = Tuple[None, mujoco.mjtGridPos, str, str]  # font, corner, and two columns

_SPACE, _RIGHT, _KEYPAD_MINUS, _KEYPAD_PLUS = 32, 262, 333, 334  # GLFW's numbers of keys
_SIDE_EFFECTS = (mujoco.mjtVisFlag.mjVIS_ISLAND, mujoco.mjtVisFlag.mjVIS_CONTACTSPLIT)  # MuJoCo toggles them by N and P


class _Simulate(mujoco.viewer._Simulate):
    """MuJoCo's part of a window, which its thread must not destroy while a different thread uses it."""

    in_use = threading.Lock()

    def destroy(self) -> None:
        """Release everything, at the end of the window's thread."""
        with self.in_use:
            super().destroy()


mujoco.viewer._Simulate = _Simulate  # the class that `launch_passive` instantiates


class NativeWindow:
    """A screen whose controls are keys; see `mapush.viewer.screen.Screen`.

    A separate thread draws the newest frame, because MuJoCo's window takes text no faster than it draws.

    Args:
      model: the scene.
      transport: the controls, which the keys change.

    Attributes:
      closed: whether the user has closed the window.
    """

    def __init__(self, model: mujoco.MjModel, transport: Transport) -> None:
        self.closed = False
        self._model = quick_to_draw(model)
        self._transport = transport
        self._data = mujoco.MjData(self._model)
        threads_before = set(threading.enumerate())
        self._viewer = mujoco.viewer.launch_passive(
            self._model, self._data, key_callback=self.on_key, show_left_ui=False, show_right_ui=False
        )
        self._threads = set(threading.enumerate()) - threads_before
        self._newest: Optional[Tuple[Episode, int, Scoreboard]] = None
        self._wake = threading.Event()
        self._aimed = False
        self._painter = threading.Thread(target=self._paint, daemon=True)
        self._painter.start()

    def on_key(self, key: int) -> None:
        """Do what a key is for; called by the window's thread with GLFW's number of the key."""
        transport = self._transport
        if key == _SPACE:
            transport.paused = not transport.paused
        elif key == _RIGHT:
            transport.step()
        elif key == ord("N"):
            transport.next()
        elif key == ord("P"):
            transport.previous()
        elif key in (ord("="), _KEYPAD_PLUS):
            transport.faster(1)
        elif key in (ord("-"), _KEYPAD_MINUS):
            transport.faster(-1)
        elif key == ord("]"):
            transport.follow += 1
        elif key == ord("["):
            transport.follow -= 1

    def show(self, episode: Episode, step: int, board: Scoreboard) -> None:
        """Show a frame, unless a newer one comes before the window is ready for it."""
        self._newest = episode, step, board
        self._wake.set()

    def close(self) -> None:
        """Close the window and wait for its threads; otherwise the process may crash at its exit."""
        self._newest = None  # ends the painter
        self._wake.set()
        self._painter.join(EXIT_TIMEOUT_S)
        with _Simulate.in_use:
            self._viewer.close()
        for thread in self._threads:
            thread.join(EXIT_TIMEOUT_S)

    def _paint(self) -> None:
        """Draw the newest frame whenever there is one, until `close` clears it or the user closes the window."""
        while self._wake.wait():
            self._wake.clear()
            newest = self._newest
            with _Simulate.in_use:
                self.closed = not self._viewer.is_running()
                if newest is None or self.closed:
                    return
                self._draw(*newest)

    def _draw(self, episode: Episode, step: int, board: Scoreboard) -> None:
        frame = episode.frames[step]
        overlay = overlay_of(episode, step, board.lines(episode, frame, step))
        with self._viewer.lock():
            pose(self._model, self._data, frame)
            self._viewer.user_scn.ngeom = 0
            draw(overlay, self._viewer.user_scn)
            self._undo_own_keys()
            if not self._aimed:
                aim(self._viewer.cam, overlay.look_at, CAMERA_DISTANCE)
        self._aimed = True
        self._viewer.set_texts(self._texts(overlay.lines))
        self._viewer.sync()

    def _undo_own_keys(self) -> None:
        """Undo what our keys do in MuJoCo's window: [ and ] change the camera, N and P the colours."""
        if self._viewer.cam.type == mujoco.mjtCamera.mjCAMERA_FIXED:
            self._viewer.cam.type = mujoco.mjtCamera.mjCAMERA_FREE
        for effect in _SIDE_EFFECTS:
            self._viewer.opt.flags[effect] = False

    def _texts(self, lines: Tuple[str, ...]) -> List[Text]:
        corners = mujoco.mjtGridPos
        keys, meanings = zip(*HELP)
        return [
            (None, corners.mjGRID_TOPLEFT, "\n".join(lines), ""),
            (None, corners.mjGRID_TOPRIGHT, "\n".join(self._status()), ""),
            (None, corners.mjGRID_BOTTOMLEFT, "\n".join(keys), "\n".join(meanings)),
        ]

    def _status(self) -> List[str]:
        transport = self._transport
        lines = [f"{transport.speed:g} x real time"]
        if transport.num_envs > 1:
            lines.append(f"env {transport.follow} of 0 to {transport.num_envs - 1}")
        if transport.replay is not None:
            lines.append(f"replay of episode {transport.replay}")
        if transport.paused:
            lines.append("paused")
        return lines
