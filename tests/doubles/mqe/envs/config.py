"""Nested classes that hold the configuration, of which upstream changes some in place.

`MQE_DOUBLE_SECONDS` makes episodes shorter than upstream's.
"""

from __future__ import annotations

import os
from typing import List


class Go1Cfg:
    """What all tasks share."""

    class env:
        """The episodes."""

        num_envs = 256
        num_npcs = 2
        num_obs = 0
        episode_length_s = float(os.environ.get("MQE_DOUBLE_SECONDS", 20))
        record_video = True

    class control:
        """The low level; its paths are relative to the working directory."""

        decimation = 4
        locomotion_policy_dir = "./mqe/utils/locomotion_checkpoints/walk_these_ways"
        actuator_network_path = "./resources/actuator_nets"

    class sim:
        """The simulation."""

        dt = 0.005

        class physx:
            """PhysX."""

            num_threads = 10
            max_gpu_contact_pairs = 2**23

    class asset:
        """The files of the object; `{LEGGED_GYM_ROOT_DIR}` is filled in."""

        file_npc = ""
        vertex_list: List[List[float]] = []

    class goal:
        """When the object has arrived."""

        THRESHOLD = 1.0

    class termination:
        """When an episode ends."""

        roll_kwargs = {"threshold": 0.8}
        z_wave_kwargs = {"threshold": 0.35}
        collision_kwargs = {"threshold": 0.25}

    class rewards:
        """What is rewarded."""

        expanded_ocb_reward = False

        class scales:
            """The weights."""

            target_reward_scale = 0.00325
            approach_reward_scale = 0.00075
            collision_punishment_scale = -0.0025
            push_reward_scale = 0.0015
            ocb_reward_scale = 0.004
            reach_target_reward_scale = 10
            exception_punishment_scale = -5
