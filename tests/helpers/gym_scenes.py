"""Three envs with a free ball and an arm on a fixed base each, made through Isaac Gym's API."""

from __future__ import annotations

from isaac_standin.api import gymapi, gymtorch

GRAVITY = 9.81
DT = 0.01
ARM = """<robot name="arm">
  <link name="base"/>
  <link name="upper">
    <inertial><origin xyz="0 0 0.2"/><mass value="2.0"/>
      <inertia ixx="0.03" iyy="0.03" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>
  </link>
  <link name="hand">
    <inertial><origin xyz="0.1 0 0"/><mass value="0.5"/>
      <inertia ixx="0.002" iyy="0.002" izz="0.002" ixy="0" ixz="0" iyz="0"/></inertial>
  </link>
  <joint name="shoulder" type="revolute">
    <parent link="base"/><child link="upper"/><axis xyz="0 1 0"/>
    <limit lower="-3" upper="3" effort="50" velocity="{speed}"/>
  </joint>
  <joint name="slide" type="prismatic">
    <parent link="upper"/><child link="hand"/><origin xyz="0 0 0.4"/><axis xyz="0 0 1"/>
    <limit lower="-0.2" upper="0.2" effort="90" velocity="30"/>
  </joint>
</robot>"""
BALL = """<robot name="ball">
  <link name="ball">
    <inertial><origin xyz="0.05 0 0"/><mass value="3.0"/>
      <inertia ixx="0.02" iyy="0.03" izz="0.04" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><geometry><sphere radius="0.1"/></geometry></collision>
  </link>
</robot>"""
STONE, ROBOT = 0, 1  # actors of each env
BASE, UPPER, HAND = 1, 2, 3  # bodies of each env, behind that of the stone


class Scene:
    """Three envs with a free ball and an arm on a fixed base each, without a ground."""

    def __init__(self, folder, *, gravity=0.0, speed=30.0, damping=(0.0, 0.0), mode=gymapi.DOF_MODE_NONE, before=None):
        self.gym = gymapi.acquire_gym()
        params = gymapi.SimParams()
        params.dt, params.substeps, params.use_gpu_pipeline = DT, 1, False
        params.gravity = gymapi.Vec3(0.0, 0.0, -gravity)
        self.sim = self.gym.create_sim(0, -1, gymapi.SIM_PHYSX, params)
        options = gymapi.AssetOptions()
        options.linear_damping, options.angular_damping = damping
        ball = self.load(folder, "ball.urdf", BALL, options)
        options.fix_base_link = True
        arm = self.load(folder, "arm.urdf", ARM.format(speed=speed), options)
        self.envs = []
        for index in range(3):
            env = self.gym.create_env(self.sim, gymapi.Vec3(0, 0, 0), gymapi.Vec3(4, 5, 6), 2)
            self.gym.create_actor(env, ball, gymapi.Transform(gymapi.Vec3(1.0, 2.0, 3.0)), "ball", index, 0)
            actor = self.gym.create_actor(env, arm, gymapi.Transform(gymapi.Vec3(0.0, 0.0, 5.0)), "arm", index, 0)
            props = self.gym.get_actor_dof_properties(env, actor)
            props["driveMode"][:] = mode
            props["stiffness"][:] = 400.0 * (mode != gymapi.DOF_MODE_NONE)
            props["damping"][:] = 40.0 * (mode != gymapi.DOF_MODE_NONE)
            self.gym.set_actor_dof_properties(env, actor, props)
            self.envs.append(env)
        if before is not None:
            before(self)
        self.gym.prepare_sim(self.sim)

    def load(self, folder, name, text, options):
        """Return the asset of a file with this text."""
        (folder / name).write_text(text)
        return self.gym.load_asset(self.sim, str(folder), name, options)

    def run(self, steps):
        """Simulate, and return the states of the balls, (3, 13)."""
        for _ in range(steps):
            self.gym.simulate(self.sim)
        roots = gymtorch.wrap_tensor(self.gym.acquire_actor_root_state_tensor(self.sim))
        self.gym.refresh_actor_root_state_tensor(self.sim)
        return roots.view(3, 2, 13)[:, STONE].clone()
