"""Stand-ins for who plays and who watches."""

from __future__ import annotations

import torch
from walkers import untrained_walker

from mapush.assembly import make_push_env
from mapush.config import PushRunConfig, SimConfig, TaskConfig
from mapush.sim.walking import WalkingPolicy
from mapush.viewer.playback import Playback
from mapush.viewer.playback_controls import Transport
from mapush.viewer.scoreboard import Scoreboard

EPISODE = 21  # env steps of the longest episode
SEED = 3
ACTION, COMMAND = (1.0, 0.0, 0.5), (0.5, 0.0, 0.25)


class Team:
    """Two robots that are told to walk ahead and turn left."""

    device = torch.device("cpu")

    def act_deterministic(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the same actions for all observations."""
        return torch.tensor(ACTION).expand(len(obs), 2, 3).clone()


class Screen:
    """Keeps what it is shown, and lets a user watch: a generator that gets the number of each frame."""

    closed = False

    def __init__(self, user=None) -> None:
        self.shown = []
        self.user = user
        if user is not None:
            next(user)

    def show(self, episode, step, board) -> None:
        """Take a frame."""
        if not self.shown or self.shown[-1] != (episode.number, step):
            self.shown.append((episode.number, step))
        if self.user is not None:
            try:
                self.user.send((episode, step))
            except StopIteration:
                self.user = None


class Film:
    """Keeps which episodes it is given, and the text of their last frames."""

    def __init__(self) -> None:
        self.added, self.texts, self.closed = [], [], False

    def add(self, episode, lines_of) -> None:
        """Take an episode."""
        self.added.append(episode)
        self.texts.append(lines_of(len(episode.frames) - 1))

    def close(self) -> None:
        """Take note."""
        self.closed = True


class Clock:
    """Time that passes only while somebody waits for a wish."""

    def __init__(self, monkeypatch, transport) -> None:
        self.now = 1000.0
        self._take = transport.take
        monkeypatch.setattr("mapush.viewer.playback.time.monotonic", lambda: self.now)
        monkeypatch.setattr(transport, "take", self.take)

    def take(self, seconds):
        """Do not wait, but say that time has passed."""
        self.now += max(0.0, seconds)
        return self._take(0.0)


def until(wanted):
    """Wait for a frame, (number, step)."""
    while True:
        episode, step = yield
        if (episode.number, step) == wanted:
            return episode


def short_episodes(monkeypatch) -> None:
    """Let episodes be over soon, of robots that need no trained policy."""
    monkeypatch.setattr(WalkingPolicy, "load", classmethod(lambda cls, **_: untrained_walker()))
    for module in ("push", "terminations"):
        monkeypatch.setattr(f"mapush.env.{module}.MAX_EPISODE_LENGTH", EPISODE - 1)


def make_env(seed=SEED, num_envs=1, hold=1, **task):
    """Return a pushing task on MuJoCo."""
    task_config = TaskConfig(object="cuboid", steps_per_decision=hold, **task)
    sim = SimConfig("mujoco", threads=1)
    return make_push_env(PushRunConfig(num_envs=num_envs, seed=seed, sim=sim, task=task_config))


class NotingBoard(Scoreboard):
    """Keeps what it is told."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.outcomes = []

    def add(self, episode) -> None:
        """Count an episode, and note its outcome."""
        super().add(episode)
        self.outcomes.append(episode.outcome)


class Show:
    """A player with all that it needs; time passes a thousand times as fast.

    Args:
      user: what the user does; takes the transport, returns the generator of a `Screen`.
      episodes: how many.
      task: of `make_env`.
    """

    def __init__(self, user=None, episodes=2, num_envs=1, recording=None, team=None, **task) -> None:
        self.transport = Transport(num_envs, 2, SEED)
        self.transport.speed = 1000.0
        self.screen = Screen(None if user is None else user(self.transport))
        self.board = NotingBoard("cuboid", episodes)
        self.seeds = []
        self.env = make_env(num_envs=num_envs, **task)

        def again(seed):
            self.seeds.append(seed)
            return make_env(seed, num_envs, **task)

        rest = (self.transport, self.board, [self.screen], recording)
        self.player = Playback(self.env, again, team or Team(), *rest)

    def play(self):
        """Play, and return which frames were shown."""
        self.player.play()
        return self.screen.shown
