"""Class `Gym`: every call of Isaac Gym's API, implemented or refused by name."""

from __future__ import annotations

from isaac_standin.api.gym_actors import ActorQueries
from isaac_standin.api.gym_assets import AssetQueries
from isaac_standin.api.gym_creation import Creation
from isaac_standin.api.gym_joints import JointQueries
from isaac_standin.api.gym_sensors import Sensors
from isaac_standin.api.gym_states import States
from isaac_standin.api.gym_tensors import Tensors
from isaac_standin.api.gym_views import Views
from isaac_standin.api.refusals import Refused


class Gym(Creation, AssetQueries, ActorQueries, JointQueries, Tensors, States, Sensors, Views, Refused):
    """What `acquire_gym` returns."""
