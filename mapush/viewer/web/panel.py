"""The panel of the page: how it goes, and the controls."""

from __future__ import annotations

import threading
from typing import Any, Callable, List

import viser

from mapush.evaluation.episode import Episode
from mapush.viewer.playback_controls import SPEEDS, Transport
from mapush.viewer.scoreboard import Scoreboard
from mapush.viewer.web.panel_text import frame_text, rest_text

MAX_COMMAND = 0.5  # [m/s] and [rad/s]
MAX_SEED = 2**31 - 1
NOBODY = "no robot"
COMMANDS = ("Forward [m/s]", "Left [m/s]", "Turn left [rad/s]")


class Panel:
    """Tells of the episode, and writes what the user wants into a `Transport`.

    Args:
      gui: of the server.
      transport: the controls, which others may change as well.
    """

    def __init__(self, gui: viser.GuiApi, transport: Transport) -> None:
        self._transport, self._lock = transport, threading.Lock()
        self._bound: List[Bound] = []
        self._frame, self._rest = gui.add_html(""), gui.add_html("")
        self._add_playing(gui)
        self._add_choices(gui)
        with gui.add_folder("Drive by hand", expand_by_default=False):
            self._add_driving(gui)

    @property
    def camera_follows(self) -> bool:
        """Whether the user wants the object to stay in the middle."""
        return self._camera.value

    def refresh(self) -> None:
        """Follow what others have changed in the transport."""
        self._pause.label = "Resume" if self._transport.paused else "Pause"
        for widget in self._driving:
            widget.visible = self._transport.teleop is not None
        for bound in self._bound:
            bound.refresh()

    def show_frame(self, episode: Episode, step: int, board: Scoreboard) -> None:
        """Tell what changes with every frame; see `frame_text`."""
        self._frame.content = frame_text(episode, step, self._transport, board)

    def show_rest(self, episode: Episode, step: int, board: Scoreboard) -> None:
        """Tell what one need not see at once; see `rest_text`."""
        self._rest.content = rest_text(episode, step, board)

    def _add_playing(self, gui: viser.GuiApi) -> None:
        self._pause = gui.add_button("Pause", color="blue")
        self._pause.on_click(lambda _: self._toggle())
        moves = {"Previous": self._transport.previous, "Step": self._transport.step, "Next": self._transport.next}
        group = gui.add_button_group("Go to", tuple(moves))
        group.on_click(lambda event: moves[event.target.value]())
        speed = gui.add_slider("Speed", SPEEDS[0], SPEEDS[-1], 0.1, 1.0, hint="1 is real time")
        self._bind(speed, lambda: self._transport.speed, self._set_speed)

    def _add_choices(self, gui: viser.GuiApi) -> None:
        self._camera = gui.add_checkbox("Camera follows", False, hint="keep the object in the middle")
        last = self._transport.num_envs - 1
        if last > 0:
            env = gui.add_number("Env", 0, min=0, max=last, step=1, hint=f"which of {last + 1} is shown")
            self._bind(env, lambda: self._transport.follow, self._set_follow)
        seed = gui.add_number("Seed", self._transport.seed, min=0, max=MAX_SEED, step=1)
        again = gui.add_button("Restart from seed", color="gray")
        again.on_click(lambda _: self._transport.reseed(_clamp(seed.value, 0, MAX_SEED)))

    def _add_driving(self, gui: viser.GuiApi) -> None:
        robots = [_robot(agent) for agent in range(self._transport.num_agents)]
        who = gui.add_dropdown("By hand", [NOBODY] + robots, hint="the policy drives the others")
        self._bind(who, lambda: _robot(self._transport.teleop), self._set_driven)
        self._driving: List[Any] = []
        for axis, label in enumerate(COMMANDS):
            slider = gui.add_slider(label, -MAX_COMMAND, MAX_COMMAND, 0.05, 0.0)
            self._bind(slider, *self._command(axis))
            self._driving.append(slider)
        halt = gui.add_button("Stand still", color="gray")
        halt.on_click(lambda _: self._halt())
        self._driving.append(halt)

    def _bind(self, widget: Any, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self._bound.append(Bound(widget, read, write, self._lock))

    def _toggle(self) -> None:
        self._transport.paused = not self._transport.paused
        self.refresh()

    def _set_speed(self, speed: float) -> None:
        self._transport.speed = _clamp(speed, SPEEDS[0], SPEEDS[-1])

    def _set_follow(self, env_id: int) -> None:
        self._transport.follow = env_id

    def _set_driven(self, robot: str) -> None:
        names = [_robot(agent) for agent in range(self._transport.num_agents)]
        self._transport.teleop = names.index(robot) if robot in names else None

    def _command(self, axis: int) -> Any:
        """Return what reads and what writes the command along `axis`."""

        def write(value: float) -> None:
            command = list(self._transport.command)
            command[axis] = _clamp(value, -MAX_COMMAND, MAX_COMMAND)
            self._transport.command = command[0], command[1], command[2]

        return lambda: self._transport.command[axis], write

    def _halt(self) -> None:
        self._transport.command = (0.0, 0.0, 0.0)
        self.refresh()


class Bound:
    """A widget and the setting that it shows: when one changes, the other follows.

    A change that the user made is not sent back to the widget, which may have moved on, and a change that `refresh`
    made is not taken for the user's: nothing echoes.
    """

    def __init__(
        self, widget: Any, read: Callable[[], Any], write: Callable[[Any], None], lock: threading.Lock
    ) -> None:
        self._widget, self._read, self._write, self._lock = widget, read, write, lock
        self._known = widget.value
        widget.on_update(self._take)

    def _take(self, event: viser.GuiEvent) -> None:
        if event.client is None:
            return
        with self._lock:
            self._known = self._widget.value
            self._write(self._known)

    def refresh(self) -> None:
        """Show the setting, if it is no longer what the widget was last known to show."""
        with self._lock:
            value = self._read()
            if value != self._known:
                self._known = self._widget.value = value


def _robot(agent: Any) -> str:
    return NOBODY if agent is None else f"robot {agent}"


def _clamp(value: Any, low: Any, high: Any) -> Any:
    """Return `value` between `low` and `high`; `low` for nan."""
    return min(high, max(low, value))
