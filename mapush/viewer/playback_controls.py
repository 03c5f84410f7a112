"""What the user asks of the player: screens write it, from any thread, and the player reads it."""

from __future__ import annotations

import enum
import queue
from typing import Optional, Tuple

MAX_COMMAND = 0.5  # [m/s] and [rad/s]
SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


class Wish(enum.Enum):
    """What the user asks for once; all other settings of `Transport` hold until they are changed."""

    STEP = enum.auto()
    BACK = enum.auto()
    FOLLOW = enum.auto()
    NEXT = enum.auto()
    PREVIOUS = enum.auto()
    RESEED = enum.auto()
    QUIT = enum.auto()


class Transport:
    """The controls of a player.

    Args:
      num_envs: number of envs that the user can choose from.
      num_agents: robots per env.
      seed: the seed that the first episodes come from.

    Attributes:
      paused: whether time stands still.
      speed: how fast time passes; 1 is real time.
      teleop: the robot of the followed env that the user drives; None leaves all robots to the policy.
      command: the command of this robot: v_x [m/s], v_y [m/s], omega_z [rad/s] in its own frame, each in [-0.5, 0.5].
      seed: the seed that the episodes come from.
      scrubbed: the env step of the episode that the user went back to, counted from 0; None for the newest. It holds
        while time stands still.
      replay: number of the kept episode that is shown, for screens to read; None if the live episode is shown.
    """

    def __init__(self, num_envs: int = 1, num_agents: int = 2, seed: int = 0) -> None:
        self.num_envs = num_envs
        self.num_agents = num_agents
        self.seed = seed
        self.paused = False
        self.speed = 1.0
        self.scrubbed: Optional[int] = None
        self.replay: Optional[int] = None
        self.teleop: Optional[int] = None
        self.command: Tuple[float, float, float] = (0.0, 0.0, 0.0)
        self._follow = 0
        self._wishes: queue.SimpleQueue[Wish] = queue.SimpleQueue()

    @property
    def follow(self) -> int:
        """The env that is shown; after the last env comes the first."""
        return self._follow

    @follow.setter
    def follow(self, env_id: int) -> None:
        self._follow = env_id % self.num_envs
        self._wishes.put(Wish.FOLLOW)

    def step(self) -> None:
        """Advance by one env step, and pause."""
        self.paused = True
        self._wishes.put(Wish.STEP)

    def back(self) -> None:
        """Go back by one env step of the episode, and pause."""
        self.paused = True
        self._wishes.put(Wish.BACK)

    def scrub(self, step: int) -> None:
        """Show an earlier env step of the episode, counted from 0, and pause."""
        self.paused = True
        self.scrubbed = step

    def drive(self, axis: int, by: float) -> None:
        """Change the command of the robot that the user drives along `axis` by this much; nothing if there is none."""
        if self.teleop is None:
            return
        command = list(self.command)
        command[axis] = max(-MAX_COMMAND, min(command[axis] + by, MAX_COMMAND))
        self.command = (command[0], command[1], command[2])

    def next(self) -> None:
        """Go to the next episode: during a replay the next kept one, otherwise a new one."""
        self._wishes.put(Wish.NEXT)

    def previous(self) -> None:
        """Replay the kept episode before the one that is shown."""
        self._wishes.put(Wish.PREVIOUS)

    def reseed(self, seed: int) -> None:
        """Start again as if the program had been started with this seed."""
        self.seed = seed
        self._wishes.put(Wish.RESEED)

    def faster(self, by: int) -> None:
        """Change to the speed that is `by` places further up in `SPEEDS`; negative is slower."""
        nearest = min(range(len(SPEEDS)), key=lambda place: abs(SPEEDS[place] - self.speed))
        place = max(0, min(nearest + by, len(SPEEDS) - 1))
        self.speed = SPEEDS[place]

    def quit(self) -> None:
        """End the program."""
        self._wishes.put(Wish.QUIT)

    def take(self, seconds: float) -> Optional[Wish]:
        """Return the oldest wish that nobody has taken; wait up to `seconds` for one, then return None."""
        try:
            return self._wishes.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None
