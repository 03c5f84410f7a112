"""Episodes as plain numbers: all that a screen, a film or a report needs to show them again."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Tuple

import numpy as np

from mapush.env.metrics import ENDINGS
from mapush.sim.physics import STEP_DT

_QPOS_OF_ROBOT = 19  # numbers: position, orientation, joints


@dataclasses.dataclass(frozen=True)
class Frame:
    """One env step of one env; float32.

    Attributes:
      qpos: where everything is, as MuJoCo holds it: each robot's trunk position [m], orientation and joints [rad], then
        the object's position and orientation, (A * 19 + 7,).
      goal: where the object should be, in the world frame, (2,) [m].
      commands: that led here: v_x [m/s], v_y [m/s], omega_z [rad/s] in each robot's frame, (A, 3).
      rewards: the terms of the last decision's reward, mean over the team.
    """

    qpos: np.ndarray
    goal: np.ndarray
    commands: np.ndarray
    rewards: Dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def robots(self) -> np.ndarray:
        """Position and orientation of each trunk, (A, 7)."""
        return self.qpos[:-7].reshape(-1, _QPOS_OF_ROBOT)[:, :7]

    @property
    def object(self) -> np.ndarray:
        """Position and orientation of the object, (7,)."""
        return self.qpos[-7:]

    @property
    def distance(self) -> float:
        """From object to goal, in the plane [m]."""
        return float(np.linalg.norm(self.object[:2] - self.goal))


@dataclasses.dataclass
class Episode:
    """One episode of one env, as far as it has gone.

    Attributes:
      number: counted from 1.
      env_id: in which env.
      frames: env step by env step, the first after one step.
      outcome: what the task says of it, see `PushEnv`; empty until it has ended, or if it was cut short.
    """

    number: int
    env_id: int = 0
    frames: List[Frame] = dataclasses.field(default_factory=list)
    outcome: Dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def ending(self) -> str:
        """Return how it ended, of `ENDINGS`; '' if it has not."""
        return next((name for name in ENDINGS if self.outcome.get(name)), "")

    @property
    def seconds(self) -> float:
        """Return how long it has gone [s]."""
        return len(self.frames) * STEP_DT


def pose(model: Any, data: Any, frame: Frame) -> None:
    """Put `data`, a `mujoco.MjData` of `model`, where `frame` is, the goal's marker included."""
    import mujoco

    data.qpos[:] = frame.qpos
    data.mocap_pos[model.body("goal").mocapid[0], :2] = frame.goal
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)


def path_of(episode: Episode, upto: int) -> Tuple[np.ndarray, np.ndarray]:
    """Return the paths of the robots (T, A, 2) and of the object (T, 2) until the frame `upto`, that included [m]."""
    frames = episode.frames[: upto + 1]
    robots = np.stack([frame.robots[:, :2] for frame in frames])
    return robots, np.stack([frame.object[:2] for frame in frames])
