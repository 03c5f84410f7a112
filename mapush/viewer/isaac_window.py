"""Watching a team in Isaac Gym: its own window, or what its camera filmed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

import numpy as np

from mapush.env.metrics import ENDINGS
from mapush.sim.physics import STEP_DT
from mapush.viewer.films.encoder import FORMATS, Encoder
from mapush.viewer.films.film_file import require_writable

if TYPE_CHECKING:
    from mapush.env.vec_env import Team, Transition
    from mapush.upstream.mqe import MqeEnv

STEPS_PER_FRAME = round(1 / (FORMATS[".mp4"].fps * STEP_DT))


def play(env: MqeEnv, agent: Team, episodes: int, record: Optional[Path]) -> List[str]:
    """Show episodes one after another, and say how each ended; closing Isaac Gym's window ends the program.

    Args:
      env: of one env, with a window or a camera.
      agent: the team; it acts without exploring.
      episodes: how many.
      record: the film to write, for which the env needs a camera; None writes none.
    Returns:
      What was said.
    Raises:
      ConfigError: the film cannot be written.
    """
    if record is not None:
        require_writable(record)
    said: List[str] = []
    frames: List[np.ndarray] = []
    observation = env.reset()
    while len(said) < episodes:
        if record is not None:
            env.record()
        done = False
        while not done:
            actions = agent.act_deterministic(observation.obs.to(agent.device))
            transition = env.step(actions.to(env.device))
            observation, done = transition.observation, bool(transition.done)
        said.append(_ending(len(said) + 1, episodes, transition))
        print(said[-1], flush=True)
        if record is not None:
            frames += env.film()[::STEPS_PER_FRAME]
    if record is not None:
        _write(frames, record)
    return said


def _ending(number: int, episodes: int, transition: Transition) -> str:
    cause = next(name for name in ENDINGS if bool(transition.outcome[name]))
    seconds = float(transition.outcome["length"]) * STEP_DT
    return f"episode {number} of {episodes}: {cause} after {seconds:.1f} s"


def _write(frames: List[np.ndarray], path: Path) -> None:
    height, width = frames[0].shape[:2]
    film = Encoder(path, width, height, "Isaac Gym")
    with contextlib.closing(film):
        for frame in frames:
            film.write(np.ascontiguousarray(frame[..., :3]))
