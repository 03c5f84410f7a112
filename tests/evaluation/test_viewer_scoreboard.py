"""The results on the screen, and the controls of the player."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from mapush.evaluation.episode import Episode, Frame
from mapush.viewer.playback_controls import SPEEDS, Transport, Wish
from mapush.viewer.scoreboard import ATTEMPTS, Scoreboard

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]


def _episode(number=1, length=100, **outcome):
    qpos = np.zeros(2 * 19 + 7, np.float32)
    frame = Frame(qpos, np.array((3.0, 4.0)), np.zeros((2, 3)), {"target": 0.25, "push": -0.5})
    return Episode(number, 0, [frame] * length, outcome)


def _outcome(success, seconds, share):
    rest = {"collision": 1.0 - success, "fall": 0.0, "timeout": 0.0, "collision_degree": 0.0}
    return dict(rest, success=success, finished_time=seconds, collaboration=share)


def test_board_after_episodes_shows_the_measures_of_the_calculator():
    """Rates and times are over all episodes, degrees over the successes; at the start there are none."""
    board = Scoreboard("tblock", episodes=5)
    first = _episode(4)
    assert all(math.isnan(value) for value in board.totals().values())
    lines = ("tblock, episode 4", "time 0.5 s", "object to goal 5.00 m", "reward -0.250", "target +0.250   push -0.500")
    assert board.lines(first, first.frames[24], 24) == lines
    for success, seconds, share in ((1.0, 6.0, 0.4), (0.0, 20.0, 0.9), (1.0, 10.0, 0.2)):
        board.add(_episode(length=int(50 * seconds), **_outcome(success, seconds, share)))
    assert board.totals() == pytest.approx(
        {"success_rate": 2 / 3, "finished_time": 12.0, "collision_degree": 0.0, "collaboration_degree": 0.3}
    )
    ended = _episode(4, **_outcome(0.0, 20.0, 0.0))
    assert board.lines(ended, ended.frames[99], 99) == (
        "tblock, episode 4",
        "time 2.0 s: collision",
        *lines[2:],
        "last: success after 10.0 s",
        "success 2 of 3, finished time 12.0 s",
        "collaboration 0.30, collision 0.00",
    )
    assert board.lines(ended, ended.frames[98], 98)[1] == "time 2.0 s"


def test_board_does_not_grow_with_the_episodes():
    """Memory does not grow with the number of episodes."""
    sizes, board = [], Scoreboard("cuboid")
    for _ in range(2):
        for number in range(200):
            board.add(_episode(**_outcome(float(number % 3 > 0), 5.0, 0.5)))
        sizes.append(len(pickle.dumps(board)))
    assert sizes[1] - sizes[0] < 10
    assert board.totals()["success_rate"] == pytest.approx(266 / 400)


def test_board_of_failures_counts_them_but_does_not_wait_for_ever():
    """A policy that hardly ever fails is not played for ever."""
    board = Scoreboard("cuboid", episodes=2, only_failures=True)
    for success in (1.0, 0.0, 1.0):
        board.add(_episode(**_outcome(success, 5.0, 0.5)))
    assert not board.over
    board.add(_episode(**_outcome(0.0, 5.0, 0.5)))
    assert board.over
    flawless = Scoreboard("cuboid", episodes=2, only_failures=True)
    for _ in range(2 * ATTEMPTS):
        assert not flawless.over
        flawless.add(_episode(**_outcome(1.0, 5.0, 0.5)))
    assert flawless.over
    assert not Scoreboard("cuboid").over


def test_transport_delivers_wishes_in_order():
    """Each wish is taken once, in order; a step pauses; envs wrap around and speeds are limited."""
    transport = Transport(num_envs=3)
    transport.next()
    transport.step()
    transport.follow -= 1
    transport.reseed(12)
    transport.previous()
    transport.quit()
    taken = [transport.take(0.0) for _ in range(7)]
    assert taken == [Wish.NEXT, Wish.STEP, Wish.FOLLOW, Wish.RESEED, Wish.PREVIOUS, Wish.QUIT, None]
    assert (transport.paused, transport.follow, transport.seed) == (True, 2, 12)
    for by, expected in ((1, 2.0), (-2, 0.5), (-99, SPEEDS[0]), (99, SPEEDS[-1])):
        transport.faster(by)
        assert transport.speed == expected
