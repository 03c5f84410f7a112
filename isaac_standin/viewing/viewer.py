"""A window that shows one env at a time."""

from __future__ import annotations

import atexit
import dataclasses
import math
from typing import Callable, Optional

import numpy as np

from isaac_standin.simulation import Simulation
from isaac_standin.viewing.lens import Lens, Pose
from isaac_standin.viewing.look import Look
from isaac_standin.viewing.orbit import Orbit
from isaac_standin.viewing.painter import Line, Painter, frame_of
from isaac_standin.viewing.window import Signal, Window

NEXT_ENV, PREVIOUS_ENV, COLLISION_SHAPES = ord("]"), ord("["), 291  # GLFW's numbers of ], [ and F2
LEFT_BUTTON, RIGHT_BUTTON = 0, 1


class Viewer:
    """A window that shows one env at a time; the keys ] and [ choose it, and F2 shows the shapes that collide.

    The left button of the mouse turns the view, the right one shifts it, and the wheel zooms.

    Args:
      simulation: the simulation; it may still be unprepared.
      look: returns the model to draw, once the simulation is prepared.
      lens: how it projects, and the size of the window.
      up: the direction that is up.

    Attributes:
      window: the window.
      orbit: the camera, in the frame of the env that is shown.
      env: index of the env that is shown.
      collision: whether the shapes that collide are shown instead of the visual ones.
      lines: additional lines in each env; those of None are in all.

    Raises:
      StandinError: the window cannot be opened.
    """

    def __init__(
        self, simulation: Simulation, look: Callable[[], Look], lens: Lens, up: tuple[float, float, float]
    ) -> None:
        self._simulation = simulation
        self._look = look
        self._lens = lens
        self._painter: Optional[Painter] = None
        self.window = Window(lens.width, lens.height)
        self.orbit = Orbit(up)
        self.env = 0
        self.collision = False
        self.lines: dict[Optional[int], list[Line]] = {}
        self._unread: list[tuple[Signal, float]] = []
        atexit.register(self.close)

    def poll(self) -> None:
        """Collect what keys and mouse did, and do what they are for here."""
        window = self.window
        if window.closed:
            return
        window.poll()
        for signal, value in window.events:
            self._obey(signal, value)
        height = max(window.size[1], 1)
        for button, right, down in window.drags:
            if button == LEFT_BUTTON:
                self.orbit.turn(math.pi * right / height, math.pi * down / height)
            elif button == RIGHT_BUTTON:
                self.orbit.shift(right / height, down / height)
        self._unread += window.events
        window.events, window.drags = [], []

    def _obey(self, signal: Signal, value: float) -> None:
        if signal in (("scroll", "up"), ("scroll", "down")):
            self.orbit.zoom(value if signal[1] == "up" else -value)
        elif value > 0.0 and signal == ("key", NEXT_ENV):
            self.env = (self.env + 1) % len(self._simulation.envs)
        elif value > 0.0 and signal == ("key", PREVIOUS_ENV):
            self.env = (self.env - 1) % len(self._simulation.envs)
        elif value > 0.0 and signal == ("key", COLLISION_SHAPES):
            self.collision = not self.collision

    def take_events(self) -> list[tuple[Signal, float]]:
        """Return what came since the last call: signals and their values."""
        taken, self._unread = self._unread, []
        return taken

    def draw(self) -> None:
        """Show the present state; do nothing after the window was closed."""
        self.poll()
        if self.window.closed:
            return
        painter, _ = self._prepare()
        painter.to_window(*self.window.pixels)
        envs = len(self._simulation.envs)
        self.window.show(f"isaac_standin: env {self.env} of {envs} (keys: ] next, [ previous, F2 collision shapes)")

    def picture(self) -> np.ndarray:
        """Return what the window shows, (height, width, 3), uint8."""
        painter, lens = self._prepare()
        return painter.color(lens)

    def pose(self) -> Pose:
        """Return where the camera is, in the frame of the env that is shown."""
        return self.orbit.pose()

    def _prepare(self) -> tuple[Painter, Lens]:
        self.window.use()
        if self._painter is None:
            self._painter = Painter(self._look())
        width, height = self.window.pixels
        lens = dataclasses.replace(self._lens, width=max(width, 1), height=max(height, 1))
        self._painter.stage(frame_of(self._simulation.engine, self.env), self._simulation.envs[self.env])
        lines = self.lines.get(None, []) + self.lines.get(self.env, [])
        self._painter.prepare(lens, self.orbit.pose(), self.collision, lines)
        return self._painter, lens

    def close(self) -> None:
        """Close the window. It can be called twice."""
        if self._painter is not None:
            self.window.use()
            self._painter.free()
            self._painter = None
        self.window.close()
        atexit.unregister(self.close)
