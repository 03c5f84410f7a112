"""The viewer: what is drawn over the scene, how episodes are shown, and the film that a recorder writes."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from walkers import untrained_walker

from mapush.assembly import make_push_env
from mapush.config import PushRunConfig, SimConfig, TaskConfig
from mapush.errors import ConfigError
from mapush.geometry import quat_from_rpy
from mapush.sim.walking import WalkingPolicy
from mapush.viewer import Scoreboard, open_screen, play
from mapush.viewer import recorder as recorder_module
from mapush.viewer.overlay import TURN_COLOUR, WALK_COLOUR, command_arrows
from mapush.viewer.recorder import choose_gl

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

EPISODE = 21  # env steps of the longest episode in these tests


class Team:
    """Two robots that are told to walk ahead and turn left."""

    device = torch.device("cpu")

    def act_deterministic(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the same actions for all observations."""
        return torch.tensor((1.0, 0.0, 0.5)).expand(1, 2, 3).clone()


class Screen:
    """Keeps what it is shown, and closes itself or is interrupted after a number of frames."""

    closed = False

    def __init__(self, close_after: int = -1, interrupt_after: int = -1) -> None:
        self.frames = []
        self.close_after, self.interrupt_after = close_after, interrupt_after

    def show(self, data, overlay) -> None:
        """Take one env step."""
        self.frames.append((data.mocap_pos.copy(), data.qpos.copy(), overlay))
        self.closed = len(self.frames) == self.close_after
        if len(self.frames) == self.interrupt_after:
            raise KeyboardInterrupt


def _env(monkeypatch, steps_per_decision):
    monkeypatch.setattr(WalkingPolicy, "load", classmethod(lambda cls, **_: untrained_walker()))
    for module in ("push", "terminations"):
        monkeypatch.setattr("mapush.env.{}.MAX_EPISODE_LENGTH".format(module), EPISODE - 1)
    task = TaskConfig(object="cuboid", steps_per_decision=steps_per_decision)
    return make_push_env(PushRunConfig(sim=SimConfig(threads=1)), task, 1, seed=3)


@pytest.mark.parametrize("steps_per_decision", [1, 10])
def test_play_shows_every_env_step_of_every_episode(monkeypatch, steps_per_decision):
    """However long an action is held, each env step is a frame, with the goal where the env has it."""
    env, screen = _env(monkeypatch, steps_per_decision), Screen()
    board = play(env, Team(), screen, episodes=2)
    assert [outcome["length"] for outcome in board.outcomes] == [EPISODE, EPISODE]
    assert len(screen.frames) == 2 * EPISODE
    last = screen.frames[-1][2]
    assert last.lines[:2] == ("cuboid, episode 2 of 2", "time {:.1f} s".format(EPISODE * 0.02))
    assert "last: timeout after {:.1f} s".format(EPISODE * 0.02) in last.lines
    for goal, qpos, overlay in screen.frames:
        distance = np.linalg.norm(qpos[-7:-5] - goal[0, :2])
        assert overlay.lines[2] == "object to goal {:.2f} m".format(distance)
        assert overlay.look_at[:2] == pytest.approx((qpos[-7:-5] + goal[0, :2]) / 2, abs=1e-5)
        assert len(overlay.arrows) == 4
    env.close()


def test_play_on_a_closed_screen_or_after_ctrl_c_ends_cleanly(monkeypatch):
    """The user can stop at any time, and play returns what there was until then."""
    for screen in (Screen(close_after=5), Screen(interrupt_after=5)):
        env = _env(monkeypatch, 1)
        assert play(env, Team(), screen, episodes=3).outcomes == []
        assert len(screen.frames) == 5
        env.close()


def test_command_arrows_turn_with_the_robot():
    """Ahead is along the robot's own x axis, a turn to the left points to its left, and no command has no arrow."""
    from fakes import random_state

    state = random_state(1, 2)
    zero = torch.zeros(1, 2)
    quat = quat_from_rpy(zero, zero, torch.full((1, 2), math.pi / 2))
    state = dataclasses.replace(state, robot_quat_w=quat)
    ahead, left = command_arrows(state, torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.0, 0.25]]]))
    assert (ahead.colour, left.colour) == (WALK_COLOUR, TURN_COLOUR)
    assert np.subtract(ahead.end, ahead.start) == pytest.approx((0.0, 0.6, 0.0), abs=1e-6)
    assert np.subtract(left.end, left.start) == pytest.approx((-0.3, 0.0, 0.0), abs=1e-6)
    assert ahead.start[:2] == pytest.approx(state.robot_pos_w[0, 0, :2].tolist())
    assert command_arrows(state, torch.zeros(1, 2, 3)) == ()


def test_scoreboard_after_successes_tells_rate_time_and_collaboration():
    """The running measures are those of the calculator, over the episodes shown so far."""
    board = Scoreboard("tblock", episodes=5)
    assert len(board.lines(1.0)) == 3
    for success, time_s, share in ((1, 6.0, 0.4), (0, 20.0, 0.9), (1, 10.0, 0.2)):
        names = {"success": success, "collision": 1 - success, "fall": 0, "timeout": 0, "length": time_s * 50}
        outcome = dict(names, finished_time=time_s, collaboration=share)
        board.add({name: torch.tensor([float(value)]) for name, value in outcome.items()})
    assert board.lines(1.25) == (
        "tblock, episode 4 of 5",
        "time 0.0 s",
        "object to goal 1.25 m",
        "last: success after 10.0 s",
        "success 2 of 3, finished time 12.0 s",
        "collaboration 0.30",
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
def test_window_without_a_display_is_refused_with_the_way_out(monkeypatch):
    """Where there is no display, the error names the flag that records instead."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="--record"):
        open_screen(None)


def test_choose_gl_without_a_working_library_names_the_packages(monkeypatch):
    """Each library is tried; where none draws, the error says what to install."""
    tried = []

    def fail(command, env, **_):
        tried.append(env["MUJOCO_GL"])
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(recorder_module.subprocess, "run", fail)
    with pytest.raises(ConfigError, match="libosmesa6"):
        choose_gl()
    assert tried == ["egl", "osmesa"] and "MUJOCO_GL" not in os.environ


_RECORD = """
import sys
from walkers import untrained_walker
import mapush.env.push, mapush.env.terminations
from mapush.sim.walking import WalkingPolicy
from mapush.evaluate import main
WalkingPolicy.load = classmethod(lambda cls, **_: untrained_walker())
mapush.env.push.MAX_EPISODE_LENGTH = mapush.env.terminations.MAX_EPISODE_LENGTH = {last}
sys.exit(main(["cuboid", "--untrained", "--mode", "viewer", "--record", sys.argv[1], "--episodes", "2"]))
"""


@pytest.mark.render
def test_recording_without_a_display_is_a_film_with_the_expected_frames(tmp_path):
    """An H.264 film of 25 frames/s, a frame for every second env step, in which something moves."""
    import imageio_ffmpeg

    film = tmp_path / "new" / "episodes.mp4"
    env = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MUJOCO_GL")}
    env["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1] / "helpers"), env.get("PYTHONPATH", "")])
    script = _RECORD.format(last=EPISODE - 1)
    done = subprocess.run([sys.executable, "-c", script, str(film)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    decode = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(film), "-vf", "scale=320:180", "-pix_fmt", "gray"]
    decoded = subprocess.run([*decode, "-f", "rawvideo", "-"], capture_output=True, check=True)
    for property_ in ("h264", "1280x720", "25 fps"):
        assert property_ in decoded.stderr.decode()
    frames = np.frombuffer(decoded.stdout, np.uint8).reshape(-1, 180, 320).astype(int)
    assert len(frames) == 2 * EPISODE // 2
    assert frames[0].std() > 10.0
    changes = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2))
    assert changes.min() > 0.0 and changes.max() > 0.1
