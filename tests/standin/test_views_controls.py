"""The viewer without its window: errors, keys, the pace of real time, and how the mouse moves the view."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from isaac_standin.api import gymapi
from isaac_standin.api.input_codes import signal_of
from isaac_standin.errors import StandinError
from isaac_standin.viewing import gl
from isaac_standin.viewing.graphics import Pace
from isaac_standin.viewing.orbit import Orbit

glfw = pytest.importorskip("glfw")

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]


def new_sim():
    """Return a simulation without envs."""
    return gymapi.acquire_gym().create_sim(0, 0, gymapi.SIM_PHYSX, gymapi.SimParams())


@pytest.mark.parametrize("library", ["", "egl"])
def test_without_a_display_the_viewer_is_one_clear_error(monkeypatch, library):
    """The error says how to run without a window, also after cameras have chosen a library."""
    for name in gl.DISPLAY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MUJOCO_GL", library)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(StandinError) as failed:
        gymapi.acquire_gym().create_viewer(new_sim(), gymapi.CameraProperties())
    assert "--headless" in failed.value.fix
    assert "xvfb-run" in failed.value.fix


def test_a_library_without_windows_is_refused(monkeypatch):
    """With `MUJOCO_GL=osmesa` there is no window, whatever display there is."""
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(StandinError) as failed:
        gymapi.acquire_gym().create_viewer(new_sim(), gymapi.CameraProperties())
    assert failed.value.fix == "unset MUJOCO_GL"


def test_every_key_and_movement_has_a_signal_of_its_own():
    """All names of keys and of the mouse are known, and no two of them are the same."""
    sources = [*gymapi.KeyboardInput, *gymapi.MouseInput]
    signals = [signal_of(source) for source in sources]
    assert len(set(signals)) == len(sources) > 100
    assert signal_of(gymapi.KEY_DEL) == ("key", glfw.KEY_DELETE)
    assert signal_of(gymapi.KEY_NUMPAD_7) == ("key", glfw.KEY_KP_7)
    assert signal_of(gymapi.MOUSE_RIGHT_BUTTON) == ("button", glfw.MOUSE_BUTTON_RIGHT)
    assert signal_of(gymapi.MOUSE_SCROLL_DOWN) == ("scroll", "down")


class Clock:
    """A clock that only waiting moves."""

    def __init__(self):
        self.time = 100.0
        self.waits = []

    def sleep(self, seconds):
        """Wait."""
        self.waits.append(seconds)
        self.time += seconds


def test_pace_waits_until_real_time_has_caught_up():
    """It waits for what the step left over; after a step that was too slow it does not hurry."""
    clock = Clock()
    pace = Pace(lambda: clock.time, clock.sleep)
    pace.keep(0.0)
    clock.time += 0.005
    pace.keep(0.02)
    assert clock.waits == pytest.approx([0.015])
    clock.time += 0.5
    pace.keep(0.04)
    assert len(clock.waits) == 1
    pace.keep(0.07)
    assert clock.waits[1] == pytest.approx(0.03)


def test_sync_frame_time_counts_simulated_time():
    """It takes the time that `simulate` advanced."""
    gym, sim = gymapi.acquire_gym(), new_sim()
    gym.sync_frame_time(sim)
    clock = Clock()
    sim.graphics.pace = Pace(lambda: clock.time, clock.sleep)
    gym.sync_frame_time(sim)
    sim.simulation.frames += 3
    gym.sync_frame_time(sim)
    assert clock.waits == pytest.approx([3 * sim.params.dt])


@pytest.mark.parametrize("up", [(0.0, 0.0, 1.0), (0.0, 1.0, 0.0)])
def test_orbit_turns_about_the_axis_that_is_up(up):
    """A turn keeps height and distance, a tilt keeps the distance and stops before the pole."""
    orbit, target = Orbit(up), np.array([0.5, -0.3, 0.2])
    eye = target + np.array([1.0, 2.0, 3.0])
    orbit.look_at(eye, target)
    orbit.turn(0.7, 0.0)
    turned = orbit.pose().pos - target
    assert turned @ up == pytest.approx((eye - target) @ up)
    assert np.linalg.norm(turned) == pytest.approx(math.sqrt(14.0))
    across = np.cross(up, eye - target), np.cross(up, turned)
    cosine = across[0] @ across[1] / np.linalg.norm(across[0]) / np.linalg.norm(across[1])
    assert math.acos(cosine) == pytest.approx(0.7)
    orbit.turn(0.0, 9.0)
    steep = orbit.pose().pos - target
    assert np.linalg.norm(steep) == pytest.approx(math.sqrt(14.0))
    assert steep @ up == pytest.approx(math.sqrt(14.0) * math.sin(math.radians(89.0)))


def test_orbit_shifts_with_the_picture():
    """A shift to the right moves camera and target to the left, as a hand that holds the scene does."""
    orbit = Orbit((0.0, 0.0, 1.0))
    orbit.look_at(np.zeros(3), np.array([2.0, 0.0, 0.0]))
    orbit.shift(0.25, 0.0)
    assert orbit.pose().pos == pytest.approx([0.0, 0.5, 0.0])
    assert orbit.pose().rot[:, 0] == pytest.approx([1.0, 0.0, 0.0])
