"""Watching a team: episodes one after another, in a window, in a browser, or recorded to a file."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Callable, List, Optional

if TYPE_CHECKING:
    import mujoco

    from mapush.env.push import PushEnv
    from mapush.env.vec_env import Team
    from mapush.evaluation.evaluate_config import EvaluateConfig
    from mapush.viewer.playback import Screen
    from mapush.viewer.playback_controls import Transport
    from mapush.viewer.selection import Choice

EPISODES = 3  # that are recorded if nobody says how many


def show(choice: Choice, config: EvaluateConfig, env: PushEnv, agent: Team, make_env: Callable[[int], PushEnv]) -> None:
    """Show episodes until there were enough, the user quits, closes the window or presses Ctrl-C.

    Args:
      choice: where.
      config: how many, and of what.
      env: the task; closed at the end.
      agent: who plays.
      make_env: makes the task from another seed.

    Raises:
      ConfigError: a port or a file that cannot be used.
    """
    from mapush.objects import OBJECTS
    from mapush.sim.scene import Scene, build_model
    from mapush.viewer.films.recorder import open_film
    from mapush.viewer.playback import Playback, Recording
    from mapush.viewer.playback_controls import Transport
    from mapush.viewer.scoreboard import Scoreboard

    title, failures, live = env.task.object, config.only == "failures", choice.viewer != "none"
    model = build_model(Scene(env.num_agents, OBJECTS[title]))
    transport = Transport(env.num_envs, env.num_agents, config.seed)
    board = Scoreboard(title, config.episodes or (EPISODES if choice.record else None), failures)
    with contextlib.ExitStack() as stack:
        recording: Optional[Recording] = None
        screens: List[Screen] = []
        if choice.record is not None:
            recording = Recording(open_film(choice.record, model, title), choice.record, failures, at_once=not live)
            stack.callback(recording.close)
        if live:
            screens.append(_open_screen(choice.viewer, model, transport, config, title))
            stack.callback(screens[0].close)
        Playback(env, make_env, agent, transport, board, screens, recording).play()


def _open_screen(
    viewer: str, model: mujoco.MjModel, transport: Transport, config: EvaluateConfig, title: str
) -> Screen:
    if viewer == "native":
        from mapush.viewer.native import NativeWindow

        return NativeWindow(model, transport)
    from mapush.viewer.web.browser_screen import WebScreen

    host = config.host or "127.0.0.1"
    return WebScreen(model, transport, host, config.port, title)
