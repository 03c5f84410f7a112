"""Bad input and failures of the physics are errors; results are reproducible. On the CPU and with MuJoCo Warp."""

from __future__ import annotations

import math
import re

import pytest
import torch
from physics_scenes import (
    PLACES,
    Place,
    actor,
    asset,
    bodies,
    body,
    box,
    dofs,
    forces,
    ground,
    hinge,
    refresh,
    roots,
    run,
)

from isaac_standin.errors import StandinError
from isaac_standin.physics.gpu_limits import STEPS_BETWEEN_LOOKS
from isaac_standin.scene.actor import DRIVE_EFFORT, DRIVE_POSITION
from mapush.errors import SimulatorError
