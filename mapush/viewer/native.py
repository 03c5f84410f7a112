"""Episodes in MuJoCo's own window, in real time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import mujoco
import mujoco.viewer

from mapush.sim.base import STEP_DT
from mapush.viewer.overlay import aim, draw_arrows

if TYPE_CHECKING:
    from mapush.viewer.overlay import Overlay

EXIT_TIMEOUT_S = 5.0


class Window:
    """A screen that shows each env step for as long as it lasts.

    Args:
      model: what is drawn.
      distance: of the camera at first; afterwards it is the user's [m].
    """

    def __init__(self, model: mujoco.MjModel, distance: float) -> None:
        self._model, self._data, self._distance = model, mujoco.MjData(model), distance
        others = set(threading.enumerate())
        self._viewer = mujoco.viewer.launch_passive(model, self._data, show_left_ui=False, show_right_ui=False)
        self._threads = set(threading.enumerate()) - others
        self._next = 0.0

    @property
    def closed(self) -> bool:
        """Whether the user has closed the window."""
        return not self._viewer.is_running()

    def show(self, data: mujoco.MjData, overlay: Overlay) -> None:
        """Show the state after one env step, no earlier than it is due."""
        if self.closed:
            return
        with self._viewer.lock():
            mujoco.mj_copyData(self._data, self._model, data)
            self._viewer.user_scn.ngeom = 0
            draw_arrows(overlay, self._viewer.user_scn)
            if not self._next:
                aim(self._viewer.cam, overlay.look_at, self._distance)
        self._viewer.set_texts((None, None, "\n".join(overlay.lines), ""))
        self._viewer.sync()
        now = time.monotonic()
        time.sleep(max(0.0, self._next - now))
        self._next = max(self._next, now) + STEP_DT

    def close(self) -> None:
        """Close the window and wait until its thread has ended, without which the process may crash at its exit."""
        self._viewer.close()
        for thread in self._threads:
            thread.join(EXIT_TIMEOUT_S)
