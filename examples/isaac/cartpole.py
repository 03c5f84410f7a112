"""A pole on a cart: `python -m isaac_standin -- python examples/isaac/cartpole.py [--sim_device cuda:0]`.

The poles first hang down and swing by themselves: their period is compared with that of the formula. Then a linear
policy balances them upright. The exit code is 1 if the period is wrong by more than 1 % or a pole falls.
"""

import argparse
import math
import os
import sys
import tempfile

from isaacgym import gymapi, gymtorch, gymutil  # isort: skip  (Isaac Gym must be imported before torch)
import torch

URDF = """<robot name="cartpole">
  <link name="rail"/>
  <link name="cart">
    <inertial><mass value="1.0"/><inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>
  </link>
  <link name="pole">
    <inertial>
      <origin xyz="0 0 0.5"/><mass value="0.5"/>
      <inertia ixx="0.0416667" iyy="0.0416667" izz="0.001" ixy="0" ixz="0" iyz="0"/>
    </inertial>
  </link>
  <joint name="slide" type="prismatic">
    <parent link="rail"/><child link="cart"/><axis xyz="1 0 0"/><limit lower="-9" upper="9" effort="200" velocity="50"/>
  </joint>
  <joint name="swing" type="continuous">
    <parent link="cart"/><child link="pole"/><axis xyz="0 1 0"/><limit effort="200" velocity="50"/>
  </joint>
</robot>"""
CART, POLE, HALF, INERTIA, GRAVITY = 1.0, 0.5, 0.5, 0.0416667, 9.81
NUM_ENVS = 5
DT = 1.0 / 240.0


def expected_period():
    """Return the period of a pole that hangs on a free cart and swings a little [s]."""
    about_the_hinge = INERTIA + POLE * HALF**2
    moving_cart = (POLE * HALF) ** 2 / (CART + POLE)
    return 2.0 * math.pi * math.sqrt((about_the_hinge - moving_cart) / (POLE * GRAVITY * HALF))


def make_sim(gym, sim_device):
    """Return a sim with `NUM_ENVS` cart-poles and the device of its tensors."""
    kind, index = gymutil.parse_device_str(sim_device)
    params = gymapi.SimParams()
    params.dt = DT
    params.substeps = 1
    params.up_axis = gymapi.UP_AXIS_Z
    params.gravity = gymapi.Vec3(0.0, 0.0, -GRAVITY)
    params.physx.use_gpu = kind == "cuda"
    params.use_gpu_pipeline = kind == "cuda"
    sim = gym.create_sim(index, -1, gymapi.SIM_PHYSX, params)
    options = gymapi.AssetOptions()
    options.fix_base_link = True
    options.angular_damping = 0.0
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "cartpole.urdf"), "w") as file:
            file.write(URDF)
        asset = gym.load_asset(sim, folder, "cartpole.urdf", options)
    pose = gymapi.Transform()
    pose.p = gymapi.Vec3(0.0, 0.0, 2.0)
    for index_of_env in range(NUM_ENVS):
        env = gym.create_env(sim, gymapi.Vec3(-2.0, -2.0, 0.0), gymapi.Vec3(2.0, 2.0, 4.0), NUM_ENVS)
        actor = gym.create_actor(env, asset, pose, "cartpole", index_of_env, 0)
        properties = gym.get_actor_dof_properties(env, actor)
        properties["driveMode"][:] = gymapi.DOF_MODE_EFFORT
        properties["stiffness"][:] = 0.0
        properties["damping"][:] = 0.0
        gym.set_actor_dof_properties(env, actor, properties)
    gym.prepare_sim(sim)
    return sim, sim_device


def start(gym, sim, dofs, angles):
    """Put the carts in the middle, at rest, and the poles at these angles from upright [rad]."""
    dofs[:] = 0.0
    dofs[:, 1, 0] = angles
    actors = torch.arange(NUM_ENVS, dtype=torch.int32, device=dofs.device)
    whole = gymtorch.unwrap_tensor(dofs.view(-1, 2))
    gym.set_dof_state_tensor_indexed(sim, whole, gymtorch.unwrap_tensor(actors), NUM_ENVS)


def step(gym, sim, forces):
    """Push each cart by its force [N] for one step, and read the new states."""
    efforts = torch.zeros(NUM_ENVS, 2, device=forces.device)
    efforts[:, 0] = forces
    gym.set_dof_actuation_force_tensor(sim, gymtorch.unwrap_tensor(efforts.view(-1)))
    gym.simulate(sim)
    gym.fetch_results(sim, True)
    gym.refresh_dof_state_tensor(sim)


def measured_period(gym, sim, dofs):
    """Let the poles hang and swing without a force; return the period of the first one [s]."""
    start(gym, sim, dofs, math.pi + torch.linspace(0.03, 0.05, NUM_ENVS, device=dofs.device))
    none = torch.zeros(NUM_ENVS, device=dofs.device)
    crossings = []
    before = 0.03
    for index in range(int(6.0 / DT)):
        step(gym, sim, none)
        now = float(dofs[0, 1, 0]) - math.pi
        if before < 0.0 <= now:
            crossings.append((index + before / (before - now)) * DT)
        before = now
    return (crossings[-1] - crossings[0]) / (len(crossings) - 1)


def largest_angle_of_balanced_poles(gym, sim, dofs):
    """Balance the poles for 8 s; return the largest angle from upright during the last second [rad]."""
    start(gym, sim, dofs, torch.linspace(-0.2, 0.15, NUM_ENVS, device=dofs.device))
    gym.refresh_dof_state_tensor(sim)
    largest = 0.0
    for index in range(int(8.0 / DT)):
        place, speed = dofs[:, 0, 0], dofs[:, 0, 1]
        angle, turning = dofs[:, 1, 0], dofs[:, 1, 1]
        step(gym, sim, 2.0 * place + 4.0 * speed + 50.0 * angle + 12.0 * turning)
        if index * DT >= 7.0:
            largest = max(largest, float(dofs[:, 1, 0].abs().max()))
    return largest


def main():
    """Run both parts, print what they give and return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sim_device", default="cpu")
    gym = gymapi.acquire_gym()
    sim, device = make_sim(gym, parser.parse_args().sim_device)
    dofs = gymtorch.wrap_tensor(gym.acquire_dof_state_tensor(sim)).view(NUM_ENVS, 2, 2)
    period = measured_period(gym, sim, dofs)
    print(f"period of the hanging pole on {device}: {period:.4f} s, by the formula {expected_period():.4f} s")
    angle = largest_angle_of_balanced_poles(gym, sim, dofs)
    print(f"largest angle after balancing for 8 s: {angle:.4f} rad")
    gym.destroy_sim(sim)
    return int(abs(period / expected_period() - 1.0) > 0.01 or angle > 0.05)


if __name__ == "__main__":
    sys.exit(main())
