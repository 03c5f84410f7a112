"""Episodes as plain numbers: all that a screen, a film or a report needs to show them again."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Tuple

import numpy as np

from mapush.env.metrics import ENDINGS
from mapush.sim.physics import STEP_DT

_NUMBERS_PER_ROBOT = 19  # position, orientation and joints
_NUMBERS_OF_OBJECT = 7  # position and orientation


@dataclasses.dataclass(frozen=True)
class Frame:
    """One env step of one env with A robots; arrays are float32.

    Attributes:
      qpos: MuJoCo's positions, (A * 19 + 7,): for each robot the trunk's position [m], its orientation and the joints
        [rad], then the object's position [m] and orientation.
      goal: target position of the object in the world frame [m], (2,).
      commands: v_x [m/s], v_y [m/s] and omega_z [rad/s] in each robot's frame that led to this frame, (A, 3).
      rewards: reward terms of the last decision, mean over the team.
    """

    qpos: np.ndarray
    goal: np.ndarray
    commands: np.ndarray
    rewards: Dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def robots(self) -> np.ndarray:
        """Position [m] and orientation of each trunk, (A, 7)."""
        robots = self.qpos[:-_NUMBERS_OF_OBJECT].reshape(-1, _NUMBERS_PER_ROBOT)
        return robots[:, :7]

    @property
    def object(self) -> np.ndarray:
        """Position [m] and orientation of the object, (7,)."""
        return self.qpos[-_NUMBERS_OF_OBJECT:]

    @property
    def distance(self) -> float:
        """Horizontal distance between object and goal [m]."""
        return float(np.linalg.norm(self.object[:2] - self.goal))


@dataclasses.dataclass
class Episode:
    """One episode of one env, up to the present.

    Attributes:
      number: counted from 1.
      env_id: the env.
      frames: one for each env step; the first shows the state after one step.
      outcome: the task's outcome, see `PushEnv`; empty until the episode has ended, or if it was cut short.
      goal_radius: the object has arrived when it is nearer to the goal than this [m].
    """

    number: int
    env_id: int = 0
    frames: List[Frame] = dataclasses.field(default_factory=list)
    outcome: Dict[str, float] = dataclasses.field(default_factory=dict)
    goal_radius: float = 1.0

    @property
    def ending(self) -> str:
        """How the episode ended, one of `ENDINGS`; '' if it has not ended."""
        for name in ENDINGS:
            if self.outcome.get(name):
                return name
        return ""

    @property
    def seconds(self) -> float:
        """Duration up to the present [s]."""
        return len(self.frames) * STEP_DT


def pose(model: Any, data: Any, frame: Frame) -> None:
    """Set robots, object and goal marker to a frame.

    Args:
      model: `mujoco.MjModel` of the scene.
      data: `mujoco.MjData` of the model; changed in place.
      frame: the frame.
    """
    import mujoco

    data.qpos[:] = frame.qpos
    data.mocap_pos[model.body("goal").mocapid[0], :2] = frame.goal
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)


def path_of(episode: Episode, upto: int) -> Tuple[np.ndarray, np.ndarray]:
    """Return the paths of the robots and of the object, up to and including the frame `upto`.

    Returns:
      Positions of the robots [m], (T, A, 2), and of the object [m], (T, 2).
    """
    frames = episode.frames[: upto + 1]
    robots = np.stack([frame.robots[:, :2] for frame in frames])
    objects = np.stack([frame.object[:2] for frame in frames])
    return robots, objects
