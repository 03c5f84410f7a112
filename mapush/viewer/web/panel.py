"""The panel of the page: results and controls."""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, List, Optional

import viser

from mapush.env.terminations import MAX_EPISODE_LENGTH
from mapush.evaluation.episode import Episode
from mapush.sim.physics import STEP_DT
from mapush.viewer.playback_controls import MAX_COMMAND, SPEEDS, Transport
from mapush.viewer.scoreboard import Scoreboard
from mapush.viewer.web.panel_text import KEYS, frame_text, rest_text, reward_curve

MAX_SEED = 2**31 - 1
NO_ROBOT = "no robot"
COMMANDS = ("Forward [m/s]", "Left [m/s]", "Turn left [rad/s]")
DRIVING_KEYS = {"Q": (1, 1), "W": (0, 1), "E": (1, -1), "A": (2, 1), "S": (0, -1), "D": (2, -1)}
"""Buttons that drive a robot, which the keys of `page.js` press: the axis of the command, and the direction."""
HALT = "X"
KEY_STEP = 0.25  # by which one key changes a command [m/s] or [rad/s]


class Panel:
    """Show the results, and write what the user does into a `Transport`.

    The controls come first, and nothing above them changes its height: they stay where they are, whatever is played.
    Texts, which may get longer or shorter, are below.

    Args:
      gui: the GUI of the server.
      transport: the controls, which others may change as well.
    """

    def __init__(self, gui: viser.GuiApi, transport: Transport) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._bound: List[Bound] = []
        self._driving: List[Any] = []
        self._step = 0  # the env step that is shown
        self._add_playing(gui)
        self._add_choices(gui)
        with gui.add_folder("Drive by hand", expand_by_default=False):
            self._add_driving(gui)
        self._frame = gui.add_html("")
        self._curve = gui.add_html("")
        self._rest = gui.add_html("")
        self._add_keys(gui)

    @property
    def camera_follows(self) -> bool:
        """Whether the user wants the object to stay in the middle."""
        return self._camera.value

    def refresh(self) -> None:
        """Show what others have changed in the transport."""
        self._pause.label = "Resume" if self._transport.paused else "Pause"
        for widget in self._driving:
            widget.visible = self._transport.teleop is not None
        for bound in self._bound:
            bound.refresh()

    def show_frame(self, episode: Episode, step: int, board: Scoreboard) -> None:
        """Show what changes with every frame; see `frame_text`."""
        self._step = step
        self._frame.content = frame_text(episode, step, self._transport, board)

    def show_rest(self, episode: Episode, step: int, board: Scoreboard) -> None:
        """Show what changes slowly; see `reward_curve` and `rest_text`."""
        self._curve.content = reward_curve(episode, step)
        self._rest.content = rest_text(episode, step, board)

    # -- widgets -----------------------------------------------------------------------------------------------------

    def _add_playing(self, gui: viser.GuiApi) -> None:
        self._pause = gui.add_button("Pause", color="blue")
        self._pause.on_click(lambda _: self._toggle_pause())
        moves = {"Previous": self._transport.previous, "Step": self._transport.step, "Next": self._transport.next}
        buttons = gui.add_button_group("Go to", tuple(moves))
        buttons.on_click(lambda event: moves[event.target.value]())
        longest = MAX_EPISODE_LENGTH * STEP_DT
        scrubber = gui.add_slider("Time [s]", 0.0, longest, STEP_DT, 0.0, hint="go back in the episode")
        self._bind(scrubber, self._read_time, self._set_time)
        speed = gui.add_slider("Speed", SPEEDS[0], SPEEDS[-1], 0.1, 1.0, hint="1 is real time")
        self._bind(speed, lambda: self._transport.speed, self._set_speed)

    def _add_choices(self, gui: viser.GuiApi) -> None:
        self._camera = gui.add_checkbox("Camera follows", False, hint="keep the object in the middle")
        last = self._transport.num_envs - 1
        if last > 0:
            env = gui.add_number("Env", 0, min=0, max=last, step=1, hint=f"which of {last + 1} is shown")
            self._bind(env, lambda: self._transport.follow, self._set_follow)
        seed = gui.add_number("Seed", self._transport.seed, min=0, max=MAX_SEED, step=1)
        restart = gui.add_button("Restart from seed", color="gray")
        restart.on_click(lambda _: self._transport.reseed(_clamp(seed.value, 0, MAX_SEED)))

    def _add_driving(self, gui: viser.GuiApi) -> None:
        robots = self._robot_names()
        driven = gui.add_dropdown("By hand", [NO_ROBOT, *robots], hint="the policy drives the others")
        self._bind(driven, lambda: _robot_name(self._transport.teleop), self._set_driven)
        for axis, label in enumerate(COMMANDS):
            self._add_command(gui, axis, label)
        keys = gui.add_button_group("Keys", (*DRIVING_KEYS, HALT), hint="W S: forward, back; A D: turn; Q E: sideways")
        keys.on_click(lambda event: self._drive(event.target.value))
        halt = gui.add_button("Stand still", color="gray")
        halt.on_click(lambda _: self._halt())
        self._driving += [keys, halt]

    def _add_command(self, gui: viser.GuiApi, axis: int, label: str) -> None:
        """Add a slider for the command along `axis`."""

        def write(value: float) -> None:
            command = list(self._transport.command)
            command[axis] = _clamp(value, -MAX_COMMAND, MAX_COMMAND)
            self._transport.command = (command[0], command[1], command[2])

        slider = gui.add_slider(label, -MAX_COMMAND, MAX_COMMAND, 0.05, 0.0)
        self._bind(slider, lambda: self._transport.command[axis], write)
        self._driving.append(slider)

    def _add_keys(self, gui: viser.GuiApi) -> None:
        """Let keys do what buttons do; the keys that drive are in `page.js`."""
        actions: Dict[Any, Callable[[], None]] = {
            "space": self._toggle_pause,
            "arrowright": self._transport.step,
            "arrowleft": self._transport.back,
            "arrowdown": self._transport.next,
            "arrowup": self._transport.previous,
            "N": self._transport.next,
            "P": self._transport.previous,
        }
        for key, action in actions.items():
            command = gui.add_command(KEYS[key], hotkey=key)
            command.on_trigger(_ignoring_the_event(action))

    def _bind(self, widget: Any, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self._bound.append(Bound(widget, read, write, self._lock))

    # -- what the user does ------------------------------------------------------------------------------------------

    def _toggle_pause(self) -> None:
        self._transport.paused = not self._transport.paused
        self.refresh()

    def _read_time(self) -> float:
        return round((self._step + 1) * STEP_DT, 2)

    def _set_time(self, seconds: float) -> None:
        self._transport.scrub(round(seconds / STEP_DT) - 1)

    def _set_speed(self, speed: float) -> None:
        self._transport.speed = _clamp(speed, SPEEDS[0], SPEEDS[-1])

    def _set_follow(self, env_id: int) -> None:
        self._transport.follow = env_id

    def _set_driven(self, robot: str) -> None:
        robots = self._robot_names()
        if robot in robots:
            self._transport.teleop = robots.index(robot)
        else:
            self._transport.teleop = None

    def _drive(self, key: str) -> None:
        if key == HALT:
            self._halt()
            return
        axis, direction = DRIVING_KEYS[key]
        self._transport.drive(axis, direction * KEY_STEP)
        self.refresh()

    def _halt(self) -> None:
        self._transport.command = (0.0, 0.0, 0.0)
        self.refresh()

    def _robot_names(self) -> List[str]:
        return [_robot_name(agent_id) for agent_id in range(self._transport.num_agents)]


class Bound:
    """A widget and the setting that it shows: when one changes, the other follows.

    Nothing echoes: a change by the user is not sent back to the widget, which may have moved on, and a change by
    `refresh` is not taken for a change by the user.

    Args:
      widget: a widget of viser.
      read: returns the setting.
      write: changes the setting.
      lock: held while either side changes.
    """

    def __init__(
        self, widget: Any, read: Callable[[], Any], write: Callable[[Any], None], lock: threading.Lock
    ) -> None:
        self._widget = widget
        self._read = read
        self._write = write
        self._lock = lock
        self._known = widget.value
        widget.on_update(self._on_update)

    def _on_update(self, event: viser.GuiEvent) -> None:
        if event.client is None:  # changed by `refresh`
            return
        with self._lock:
            self._known = self._widget.value
            self._write(self._known)

    def refresh(self) -> None:
        """Show the setting, if it differs from what the widget was last known to show."""
        with self._lock:
            value = self._read()
            if value != self._known:
                self._known = value
                self._widget.value = value


def _ignoring_the_event(action: Callable[[], None]) -> Callable[[Any], None]:
    def run(event: Any) -> None:
        action()

    return run


def _robot_name(agent_id: Optional[int]) -> str:
    if agent_id is None:
        return NO_ROBOT
    return f"robot {agent_id}"


def _clamp(value: Any, low: Any, high: Any) -> Any:
    """Return `value` limited to [low, high]; `low` for NaN."""
    return min(high, max(low, value))
