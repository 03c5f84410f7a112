"""The task with this object; upstream's scripts copy this file over `mqe/envs/configs/go1_push_mid_config.py`."""

from mqe.envs.go1.go1_config import Go1Cfg


class Go1PushMidCfg(Go1Cfg):
    """The task with this object."""

    class env(Go1Cfg.env):
        """The team."""

        num_agents = 3

    class asset(Go1Cfg.asset):
        """The object."""

        file_npc = "{LEGGED_GYM_ROOT_DIR}/resources/objects/cylinder/BigCylinder.urdf"
        vertex_list = [[-0.75, -1.3], [0.75, -1.3], [1.5, 0.0], [0.75, 1.3], [-0.75, 1.3], [-1.5, 0.0]]

    class termination(Go1Cfg.termination):
        """Distance at which robots collide."""

        collision_kwargs = {"threshold": 0.25}

    class rewards(Go1Cfg.rewards):
        """The reward."""

        class scales(Go1Cfg.rewards.scales):
            """Weights of the reward terms."""

            collision_punishment_scale = -0.0015
