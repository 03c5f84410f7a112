"""The task with this object; upstream's scripts copy this file over `mqe/envs/configs/go1_push_mid_config.py`."""

from mqe.envs.go1.go1_config import Go1Cfg


class Go1PushMidCfg(Go1Cfg):
    """The task with this object."""

    class env(Go1Cfg.env):
        """The team."""

        num_agents = 2

    class asset(Go1Cfg.asset):
        """The object."""

        file_npc = "{LEGGED_GYM_ROOT_DIR}/resources/objects/cuboid/SmallBox.urdf"
        vertex_list = [[-0.6, -0.6], [0.6, -0.6], [0.6, 0.6], [-0.6, 0.6]]

    class termination(Go1Cfg.termination):
        """Distance at which robots collide."""

        collision_kwargs = {"threshold": 0.25}
