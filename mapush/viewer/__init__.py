"""Watching a team: episodes one after another, in a window or as a film."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Callable, Dict, List, Optional, Tuple, Union, cast

from mapush.errors import ConfigError
from mapush.sim.base import STEP_DT, Simulator, State

if TYPE_CHECKING:
    import mujoco
    import torch

    from mapush.env.base import Team
    from mapush.env.push import PushEnv
    from mapush.sim.mjcpu import MujocoPhysics
    from mapush.viewer.native import Window
    from mapush.viewer.recorder import Recorder

    Screen = Union[Window, Recorder]

CAMERA_DISTANCE = 6.5  # [m]


def open_screen(record: Optional[Path]) -> Callable[[mujoco.MjModel], Screen]:
    """Find out where to show episodes, and return what makes that screen; call it before `mujoco` is imported.

    Args:
      record: the film to write; None opens a window.

    Raises:
      ConfigError: a window was asked for and there is no display, or nothing here can draw.
    """
    if record is not None:
        from mapush.viewer.recorder import Recorder, choose_gl

        choose_gl()
        return lambda model: Recorder(model, record, CAMERA_DISTANCE)
    if not _has_display():
        raise ConfigError(
            "there is no display to open a window on",
            cause="neither DISPLAY nor WAYLAND_DISPLAY is set",
            fix="record a film instead: add --record episodes.mp4",
        )

    def window(model: mujoco.MjModel) -> Screen:
        from mapush.viewer.native import Window

        return Window(model, CAMERA_DISTANCE)

    return window


def _has_display() -> bool:
    return not sys.platform.startswith("linux") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


class WatchedSimulator(Simulator):
    """A simulator that shows every env step, also those between two decisions.

    Args:
      simulator: what it replaces; nothing has been simulated yet.
      on_step: called with commands (E, A, 3) and the state that they led to.
    """

    def __init__(self, simulator: Simulator, on_step: Callable[[torch.Tensor, State], None]) -> None:
        super().__init__(simulator.physics, simulator.walking)
        self._on_step = on_step

    def step(self, commands: torch.Tensor, state: Optional[State] = None) -> State:
        """See `Simulator.step`."""
        state = super().step(commands, state)
        self._on_step(commands, state)
        return state


class Scoreboard:
    """Counts the episodes that were shown.

    Args:
      title: what is shown.
      episodes: how many are to be shown.
    """

    def __init__(self, title: str, episodes: int) -> None:
        self.title = title
        self.episodes = episodes
        self.outcomes: List[Dict[str, float]] = []
        self.steps = 0

    @property
    def over(self) -> bool:
        """Whether all episodes have ended."""
        return len(self.outcomes) >= self.episodes

    def add(self, outcome: Dict[str, torch.Tensor]) -> None:
        """Take the `outcome` of the episode that ended, each (1,)."""
        self.outcomes.append({name: float(value) for name, value in outcome.items()})
        self.steps = 0

    def lines(self, distance: float) -> Tuple[str, ...]:
        """Return what to write on the screen while the object is `distance` [m] from the goal."""
        lines = [
            "{}, episode {} of {}".format(self.title, min(len(self.outcomes) + 1, self.episodes), self.episodes),
            "time {:.1f} s".format(self.steps * STEP_DT),
            "object to goal {:.2f} m".format(distance),
        ]
        return tuple(lines + (self._results() if self.outcomes else []))

    def _results(self) -> List[str]:
        last = self.outcomes[-1]
        ending = next(name for name in ("success", "collision", "fall", "timeout") if last[name])
        together = [outcome["collaboration"] for outcome in self.outcomes if outcome["success"]]
        mean_time = sum(outcome["finished_time"] for outcome in self.outcomes) / len(self.outcomes)
        lines = [
            "last: {} after {:.1f} s".format(ending, last["length"] * STEP_DT),
            "success {} of {}, finished time {:.1f} s".format(len(together), len(self.outcomes), mean_time),
        ]
        return lines + (["collaboration {:.2f}".format(sum(together) / len(together))] if together else [])


def play(env: PushEnv, agent: Team, screen: Screen, episodes: int) -> Scoreboard:
    """Show episodes until there were enough, the screen is closed or Ctrl-C is pressed.

    Args:
      env: of one env.
      agent: the team; it acts without exploring.
      screen: where to show it; not closed here.
      episodes: how many.
    """
    import mujoco

    from mapush.viewer.overlay import Overlay, command_arrows

    board = Scoreboard(env.task.object, episodes)
    physics = cast("MujocoPhysics", env.simulator.physics)
    goal = physics.model.body("goal").mocapid[0]

    def show(commands: torch.Tensor, state: State) -> None:
        board.steps += 1
        data = physics.mj_data(0)
        object_pos_w, goal_pos_w = state.object_pos_w[0].cpu(), env.goal_pos_w[0].cpu()
        data.mocap_pos[goal, :2] = goal_pos_w[:2]
        mujoco.mj_kinematics(physics.model, data)
        middle = (object_pos_w + goal_pos_w) / 2
        distance = float((object_pos_w - goal_pos_w)[:2].norm())
        screen.show(data, Overlay(board.lines(distance), command_arrows(state, commands), tuple(middle.tolist())))

    env.simulator = WatchedSimulator(env.simulator, show)
    try:
        observation = env.reset()
        while not (board.over or screen.closed):
            actions = agent.act_deterministic(observation.obs.to(agent.device))
            transition = env.step(actions.to(env.device))
            if bool(transition.done):
                board.add(transition.outcome)
            observation = transition.observation
    except KeyboardInterrupt:
        print("stopped")
    return board
