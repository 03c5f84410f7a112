"""The configuration as nested classes; upstream changes some of them in place.

The environment variable `MQE_DOUBLE_SECONDS` sets a shorter episode length.
"""

from __future__ import annotations

import os
from typing import List


class Go1Cfg:
    """The settings that all tasks share."""

    class env:
        """The episodes."""

        num_envs = 256
        num_npcs = 2
        episode_length_s = int(os.environ.get("MQE_DOUBLE_SECONDS", 20))
        record_video = True

    class control:
        """The walking policy; paths are relative to the working directory."""

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

    class obs:
        """What upstream's environment observes: the class is its buffer, so all environments of a process share it."""

    class asset:
        """The object; upstream replaces `{LEGGED_GYM_ROOT_DIR}` in its path."""

        file_npc = ""
        vertex_list: List[List[float]] = []

    class goal:
        """Distance at which the object is at the goal."""

        THRESHOLD = 1.0

    class termination:
        """Conditions that end an episode."""

        roll_kwargs = {"threshold": 0.8}
        z_wave_kwargs = {"threshold": 0.35}
        collision_kwargs = {"threshold": 0.25}

    class rewards:
        """The reward."""

        expanded_ocb_reward = False

        class scales:
            """Weights of the reward terms."""

            target_reward_scale = 0.00325
            approach_reward_scale = 0.00075
            collision_punishment_scale = -0.0025
            push_reward_scale = 0.0015
            ocb_reward_scale = 0.004
            reach_target_reward_scale = 10
            exception_punishment_scale = -5
