"""Watch a team in MAPush's environment: in Isaac Gym's own window, or as a film of its camera."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, List, Optional

import numpy as np

from mapush.env.metrics import ENDINGS
from mapush.run.shown_progress import SilentProgress
from mapush.sim.physics import STEP_DT
from mapush.viewer.films.encoder import FORMATS, Encoder
from mapush.viewer.films.film_file import require_writable

if TYPE_CHECKING:
    from mapush.env.vec_env import Team, Transition
    from mapush.upstream.mqe import MqeEnv

STEPS_PER_FRAME = round(1 / (FORMATS[".mp4"].fps * STEP_DT))


def play(
    env: MqeEnv, agent: Team, episodes: int, record: Optional[Path], progress: Optional[SilentProgress] = None
) -> List[str]:
    """Show episodes one after the other, and print how each ended; closing Isaac Gym's window ends the program.

    Args:
      env: one env, with a window or a camera.
      agent: the team; it acts without exploration.
      episodes: how many.
      record: the film to write, for which the env needs a camera; None writes no film.
      progress: gets every decision.

    Returns:
      The lines that were printed.

    Raises:
      ConfigError: the film cannot be written.
    """
    if record is not None:
        require_writable(record)
    progress = progress or SilentProgress()
    printed: List[str] = []
    frames: List[np.ndarray] = []
    observation = env.reset()
    for number in range(1, episodes + 1):
        if record is not None:
            env.record()
        done = False
        decisions = 0
        progress.stage(f"playing episode {number} of {episodes}")
        while not done:
            decisions += 1
            progress.update(decisions, f"{decisions * env.steps_per_decision * STEP_DT:.1f} s")
            actions = agent.act_deterministic(observation.obs.to(agent.device))
            transition = env.step(actions.to(env.device))
            observation = transition.observation
            done = bool(transition.done)
        printed.append(f"episode {number} of {episodes}: {_ending(transition)}")
        print(printed[-1], flush=True)
        if record is not None:
            frames += env.film()[::STEPS_PER_FRAME]
    if record is not None:
        _write(frames, record, env.simulator_name)
    return printed


def _ending(transition: Transition) -> str:
    cause = next(name for name in ENDINGS if bool(transition.outcome[name]))
    seconds = float(transition.outcome["length"]) * STEP_DT
    return f"{cause} after {seconds:.1f} s"


def _write(frames: List[np.ndarray], path: Path, simulator: str) -> None:
    height, width = frames[0].shape[:2]
    encoder = Encoder(path, width, height, simulator)
    with contextlib.closing(encoder):
        for frame in frames:
            encoder.write(np.ascontiguousarray(frame[..., :3]))
