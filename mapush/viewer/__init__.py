"""Watch a team: episodes one after the other, in a window, in a browser, or recorded to a file."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Callable, List, Optional

if TYPE_CHECKING:
    from mapush.env.push import PushEnv
    from mapush.env.vec_env import Team
    from mapush.evaluation.evaluate_config import EvaluateConfig
    from mapush.run.shown_progress import SilentProgress
    from mapush.viewer.screen import Screen
    from mapush.viewer.selection import Choice

RECORDED_EPISODES = 3  # unless the user says how many


def policy_name(config: EvaluateConfig) -> str:
    """Return a short name of the policy that is watched: its run, its file, or where else its weights come from."""
    from mapush.evaluation.shipped_policies import shipped_for

    if config.untrained:
        return "untrained"
    if not config.checkpoint:
        return f"the {shipped_for(config).name}"
    return config.checkpoint[-1].resolve().name


def show(
    choice: Choice,
    config: EvaluateConfig,
    env: PushEnv,
    agent: Team,
    make_env: Callable[[int], PushEnv],
    progress: Optional[SilentProgress] = None,
) -> None:
    """Show episodes until there are enough, or the user quits, closes the window or presses Ctrl-C.

    Args:
      choice: where the episodes are shown and recorded.
      config: which episodes, and how many.
      env: the task; closed at the end.
      agent: the team.
      make_env: makes the task from a different seed.
      progress: gets every env step that is played, and every one that is drawn.

    Raises:
      ConfigError: a port or a file cannot be used.
    """
    from mapush.sim.scene import Scene, build_model
    from mapush.viewer import screen
    from mapush.viewer.films import recorder
    from mapush.viewer.films.recording import Recording
    from mapush.viewer.playback import Playback
    from mapush.viewer.playback_controls import Transport
    from mapush.viewer.scoreboard import Scoreboard

    title = env.task.object
    only_failures = config.only == "failures"
    live = choice.viewer != "none"
    episodes = config.episodes
    if episodes is None and choice.record is not None:
        episodes = RECORDED_EPISODES
    model = build_model(Scene(env.num_agents, env.item))
    transport = Transport(env.num_envs, env.num_agents, config.seed)
    board = Scoreboard(title, episodes, only_failures)
    with contextlib.ExitStack() as stack:
        recording: Optional[Recording] = None
        screens: List[Screen] = []
        if choice.record is not None:
            film = recorder.open_film(choice.record, model, title)
            recording = Recording(film, choice.record, only_failures, at_once=not live, progress=progress)
            stack.callback(recording.close)
        if live:
            page_title = f"mapush: {title}, {policy_name(config)}"
            opened = screen.open_screen(choice.viewer, model, transport, config.host, config.port, page_title)
            screens.append(opened)
            stack.callback(opened.close)
        Playback(env, make_env, agent, transport, board, screens, recording, progress).play()
