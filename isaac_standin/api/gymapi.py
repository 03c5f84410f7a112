"""Isaac Gym's main module: types, enumerations, constants and `acquire_gym`."""

from __future__ import annotations

from isaac_standin.api.enums import *  # noqa: F403
from isaac_standin.api.gym import Gym
from isaac_standin.api.gym_sensors import ForceSensor
from isaac_standin.api.gym_views import Viewer
from isaac_standin.api.gymtorch import GymTensor as Tensor
from isaac_standin.api.handles import Asset, Env, Sim
from isaac_standin.api.options import *  # noqa: F403
from isaac_standin.api.refusals import refuse_name as __getattr__  # noqa: F401
from isaac_standin.api.values import *  # noqa: F403

_GYM = Gym()


def acquire_gym() -> Gym:
    """Return the one object that all calls go through."""
    return _GYM


__all__ = ["Asset", "Env", "ForceSensor", "Gym", "Sim", "Tensor", "Viewer", "acquire_gym"]
