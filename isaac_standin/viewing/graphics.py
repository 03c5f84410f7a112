"""What shows a simulation: its cameras, its viewers, and the pace of real time."""

from __future__ import annotations

import time
from typing import Callable, Optional

from isaac_standin.simulation import Simulation
from isaac_standin.viewing.lens import Lens
from isaac_standin.viewing.look import Look
from isaac_standin.viewing.sensors import Cameras
from isaac_standin.viewing.viewer import Viewer


class Pace:
    """Keep simulated time from running ahead of real time.

    Args:
      now: returns the real time [s].
      sleep: waits for some time [s].
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, sleep: Callable[[float], None] = time.sleep) -> None:
        self._now = now
        self._sleep = sleep
        self._last: Optional[tuple[float, float]] = None  # simulated and real time of the last call

    def keep(self, simulated: float) -> None:
        """Wait until as much real time has passed since the last call as simulated time.

        Args:
          simulated: the simulated time [s].
        """
        if self._last is not None:
            due = self._last[1] + simulated - self._last[0]
            wait = due - self._now()
            if wait > 0.0:
                self._sleep(wait)
                self._last = simulated, due
                return
        self._last = simulated, self._now()  # it is late, and does not hurry afterwards


class Graphics:
    """What shows a simulation. Nothing is drawn, and no model to draw is made, before it is needed.

    Args:
      simulation: the simulation; it may still be unprepared.

    Attributes:
      cameras: its cameras.
      viewers: its viewers.
      pace: of real time.
    """

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._look: Optional[Look] = None
        self.cameras = Cameras(simulation, self.look)
        self.viewers: list[Viewer] = []
        self.pace = Pace()

    def look(self) -> Look:
        """Return the model that is drawn; the simulation must be prepared."""
        if self._look is None:
            self._look = Look(self._simulation.built, self._simulation.layout)
        return self._look

    def open_viewer(self, lens: Lens, up: tuple[float, float, float]) -> Viewer:
        """Return a new viewer.

        Args:
          lens: how it projects, and the size of its window.
          up: the direction that is up.

        Raises:
          StandinError: no window can be opened.
        """
        viewer = Viewer(self._simulation, self.look, lens, up)
        self.viewers.append(viewer)
        return viewer

    def close(self) -> None:
        """Release OpenGL and close all windows. It can be called twice."""
        self.cameras.close()
        for viewer in self.viewers:
            viewer.close()
