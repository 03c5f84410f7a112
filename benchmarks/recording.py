"""Films: `python -m benchmarks.recording [--episodes 2]`.

Plays episodes of the shipped cuboid policy, records them in every format, and prints frames/s with overlays and with
encoding, where held frames do not count, the CPU time that a frame takes in all processes, and the size of the file.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable, List, Optional, Sequence, Tuple, cast

from mapush.evaluation.episode import Episode
from mapush.viewer.gl import choose_gl

if TYPE_CHECKING:
    from mapush.env.push import PushEnv

Lines = Callable[[int], Sequence[str]]


class Kept:
    """A film that only keeps what it is given."""

    def __init__(self) -> None:
        self.episodes: List[Tuple[Episode, Lines]] = []

    def add(self, episode: Episode, lines_of: Lines) -> None:
        """Keep an episode."""
        self.episodes.append((episode, lines_of))

    def close(self) -> None:
        """Do nothing."""


def play(episodes: int) -> List[Tuple[Episode, Lines]]:
    """Return episodes of the shipped policy, with their text."""
    from mapush.assembly import resolve
    from mapush.evaluation.evaluate_config import EvaluateConfig
    from mapush.evaluation.loaded_policy import checkpoint_paths, load_in_env
    from mapush.viewer.playback import Playback, Recording
    from mapush.viewer.playback_controls import Transport
    from mapush.viewer.scoreboard import Scoreboard

    config, _ = resolve(EvaluateConfig("cuboid"))
    team = load_in_env(config, checkpoint_paths(config)[-1], num_envs=1)
    kept, board = Kept(), Scoreboard("cuboid", episodes)
    recording = Recording(kept, Path("nowhere"), only_failures=False, at_once=True)
    env = cast("PushEnv", team.env)
    Playback(env, lambda seed: env, team.policy.agent, Transport(), board, recording=recording).play()
    return kept.episodes


def cpu_seconds() -> float:
    """Return the CPU time of this process and of those that it waited for [s]."""
    return sum(os.times()[:4])


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Do what the command line asks for, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recording", description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=2, help="how many (default 2)")
    options = parser.parse_args(argv)
    print(f"recording.gl {choose_gl()}")
    from mapush.objects import OBJECTS
    from mapush.sim.scene import Scene, build_model
    from mapush.viewer.encoder import FORMATS
    from mapush.viewer.html_film import FRAMES_PER_SECOND
    from mapush.viewer.recorder import open_film, steps_of

    played, model = play(options.episodes), build_model(Scene(2, OBJECTS["cuboid"]))
    print(f"recording.seconds {sum(episode.seconds for episode, _ in played):.1f}")
    rates = {**{suffix: form.fps for suffix, form in FORMATS.items()}, ".html": FRAMES_PER_SECOND}
    for suffix, fps in rates.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "film" + suffix)
            began, cpu = time.perf_counter(), cpu_seconds()
            film = open_film(path, model, "cuboid")
            for episode, lines_of in played:
                film.add(episode, lines_of)
            film.close()
            frames = sum(len(set(steps_of(episode, fps))) for episode, _ in played)
            print(f"recording{suffix}.fps {frames / (time.perf_counter() - began):.1f}")
            print(f"recording{suffix}.cpu_ms {1000 * (cpu_seconds() - cpu) / frames:.1f}")
            print(f"recording{suffix}.mb {path.stat().st_size / 1e6:.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
