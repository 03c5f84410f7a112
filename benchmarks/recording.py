"""Measure how fast films are written: `python -m benchmarks.recording [--episodes 2]`.

Plays episodes of the shipped cuboid policy, records them in every format, and prints lines of `name.metric value`:

  recording.FORMAT.fps     frames per second, drawn and encoded; repeated frames do not count
  recording.FORMAT.cpu_ms  CPU time per frame, of all processes
  recording.FORMAT.mb      size of the file
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional, Sequence, Tuple, cast

from mapush.evaluation.episode import Episode
from mapush.viewer.films.film import LinesOf, steps_of
from mapush.viewer.gl import choose_gl

if TYPE_CHECKING:
    import mujoco

    from mapush.env.push import PushEnv

Played = List[Tuple[Episode, LinesOf]]  # episodes with their text


class KeptEpisodes:
    """A film that only keeps its episodes."""

    def __init__(self) -> None:
        self.episodes: Played = []

    def add(self, episode: Episode, lines_of: LinesOf) -> None:
        """Keep an episode."""
        self.episodes.append((episode, lines_of))

    def close(self) -> None:
        """Do nothing."""


def play(episodes: int) -> Played:
    """Return episodes of the shipped policy, with their text."""
    from mapush.assembly import resolve
    from mapush.evaluation.evaluate_config import EvaluateConfig
    from mapush.evaluation.loaded_policy import checkpoint_paths, load_in_env
    from mapush.viewer.films.recording import Recording
    from mapush.viewer.playback import Playback
    from mapush.viewer.playback_controls import Transport
    from mapush.viewer.scoreboard import Scoreboard

    config, _ = resolve(EvaluateConfig("cuboid"))
    team = load_in_env(config, checkpoint_paths(config)[-1], num_envs=1)
    env = cast("PushEnv", team.env)
    kept = KeptEpisodes()
    board = Scoreboard("cuboid", episodes)
    recording = Recording(kept, Path("nowhere"), only_failures=False, at_once=True)
    Playback(env, lambda seed: env, team.policy.agent, Transport(), board, recording=recording).play()
    return kept.episodes


def frame_rates() -> Dict[str, int]:
    """Return the frames per second of each kind of film, by its suffix."""
    from mapush.viewer.films.encoder import FORMATS
    from mapush.viewer.films.html_film import FRAMES_PER_SECOND

    rates = {suffix: form.fps for suffix, form in FORMATS.items()}
    rates[".html"] = FRAMES_PER_SECOND
    return rates


def measure(played: Played, model: mujoco.MjModel, path: Path, fps: int) -> Dict[str, float]:
    """Write a film, and return what that cost.

    Args:
      played: the episodes, with their text.
      model: the scene.
      path: the file.
      fps: frames per second of this kind of film.
    """
    from mapush.viewer.films.recorder import open_film

    start, cpu_start = time.perf_counter(), cpu_seconds()
    film = open_film(path, model, "cuboid")
    for episode, lines_of in played:
        film.add(episode, lines_of)
    film.close()
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu_start
    frames = 0
    for episode, _ in played:
        frames += len(set(steps_of(episode, fps)))
    return {"fps": frames / seconds, "cpu_ms": 1000.0 * cpu / frames, "mb": path.stat().st_size / 1e6}


def cpu_seconds() -> float:
    """Return the CPU time of this process and of the child processes that have ended [s]."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line, measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recording", description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=2, help="how many episodes to record (default 2)")
    options = parser.parse_args(argv)
    print(f"recording.gl {choose_gl()}")  # before anything imports mujoco
    from mapush.objects import OBJECTS
    from mapush.sim.scene import Scene, build_model

    played = play(options.episodes)
    model = build_model(Scene(2, OBJECTS["cuboid"]))
    print(f"recording.seconds {sum(episode.seconds for episode, _ in played):.1f}")
    for suffix, fps in frame_rates().items():
        with tempfile.TemporaryDirectory() as folder:
            metrics = measure(played, model, Path(folder, f"film{suffix}"), fps)
        for name, value in metrics.items():
            print(f"recording{suffix}.{name} {value:.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
