"""Robots that stand: `python -m isaac_standin -- python examples/isaac/quadruped.py [--sim_device cuda:0]`.

Position drives hold eight joints of each robot. Half of the robots carry a load. The sum of the contact forces on the
legs is compared with the weight; the exit code is 1 if they differ by more than 1 %, or if a robot has sunk by 2 cm.
"""

import argparse
import math
import os
import sys
import tempfile

from isaacgym import gymapi, gymtorch, gymutil  # isort: skip  (Isaac Gym must be imported before torch)
import torch

LINK = """  <link name="{name}">
    <inertial><origin xyz="0 0 {z}"/><mass value="{mass}"/>
      <inertia ixx="{i}" iyy="{i}" izz="{i}" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><origin xyz="0 0 {shape_z}"/><geometry>{shape}</geometry></collision>
  </link>
"""
JOINT = """  <joint name="{name}" type="revolute">
    <parent link="{parent}"/><child link="{child}"/><origin xyz="{xyz}"/><axis xyz="0 1 0"/>
    <limit lower="-2.5" upper="2.5" effort="40" velocity="30"/>
  </joint>
"""
LEGS = {"FR": "0.2 -0.15 0", "FL": "0.2 0.15 0", "RR": "-0.2 -0.15 0", "RL": "-0.2 0.15 0"}
GRAVITY = 9.81
NUM_ENVS = 6
LOAD = 3.0  # [kg]
BEND = 0.5  # of a thigh from the vertical, and of a shank back [rad]
HEIGHT = 2 * 0.2 * math.cos(BEND) + 0.02  # of the trunk, if the drives did not give [m]
DT = 1.0 / 200.0


def robot():
    """Return the URDF of a trunk on four legs with a hip and a knee each."""
    trunk = {"name": "trunk", "z": 0, "mass": 6.0, "i": 0.08, "shape_z": 0, "shape": '<box size="0.5 0.2 0.1"/>'}
    text = '<robot name="quadruped">\n' + LINK.format(**trunk)
    for leg, place in LEGS.items():
        thigh, shank = leg + "_thigh", leg + "_shank"
        bar = '<box size="0.03 0.03 0.1"/>'
        text += LINK.format(name=thigh, z=-0.1, mass=0.5, i=0.002, shape_z=-0.1, shape=bar)
        text += LINK.format(name=shank, z=-0.1, mass=0.25, i=0.001, shape_z=-0.2, shape='<sphere radius="0.02"/>')
        text += JOINT.format(name=leg + "_hip", parent="trunk", child=thigh, xyz=place)
        text += JOINT.format(name=leg + "_knee", parent=thigh, child=shank, xyz="0 0 -0.2")
    return text + "</robot>\n"


def make_sim(gym, sim_device):
    """Return a sim with one robot in each env, its DOF names, and the mass of each robot [kg]."""
    kind, index = gymutil.parse_device_str(sim_device)
    params = gymapi.SimParams()
    params.dt = DT
    params.substeps = 4
    params.up_axis = gymapi.UP_AXIS_Z
    params.gravity = gymapi.Vec3(0.0, 0.0, -GRAVITY)
    params.physx.use_gpu = kind == "cuda"
    params.use_gpu_pipeline = kind == "cuda"
    sim = gym.create_sim(index, -1, gymapi.SIM_PHYSX, params)
    ground = gymapi.PlaneParams()
    ground.normal = gymapi.Vec3(0.0, 0.0, 1.0)
    gym.add_ground(sim, ground)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "quadruped.urdf"), "w") as file:
            file.write(robot())
        asset = gym.load_asset(sim, folder, "quadruped.urdf", gymapi.AssetOptions())
    names = gym.get_asset_dof_names(asset)
    masses = [add_robot(gym, sim, asset, number) for number in range(NUM_ENVS)]
    gym.prepare_sim(sim)
    return sim, names, masses


def add_robot(gym, sim, asset, number):
    """Make an env with one robot; every second robot carries a load. Return the robot's mass [kg]."""
    pose = gymapi.Transform()
    pose.p = gymapi.Vec3(0.0, 0.0, 0.42)
    env = gym.create_env(sim, gymapi.Vec3(-1.0, -1.0, 0.0), gymapi.Vec3(1.0, 1.0, 1.0), 3)
    actor = gym.create_actor(env, asset, pose, "robot", number, 1)
    drives = gym.get_actor_dof_properties(env, actor)
    drives["driveMode"][:] = gymapi.DOF_MODE_POS
    drives["stiffness"][:] = 200.0
    drives["damping"][:] = 5.0
    gym.set_actor_dof_properties(env, actor, drives)
    bodies = gym.get_actor_rigid_body_properties(env, actor)
    if number % 2 == 1:
        bodies[0].mass += LOAD
        gym.set_actor_rigid_body_properties(env, actor, bodies, recomputeInertia=True)
    return sum(body.mass for body in bodies)


def stand(gym, sim, names):
    """Hold the joints for 3 s; return the mean vertical force on each robot in the last second, and its height."""
    roots = gymtorch.wrap_tensor(gym.acquire_actor_root_state_tensor(sim))
    forces = gymtorch.wrap_tensor(gym.acquire_net_contact_force_tensor(sim)).view(NUM_ENVS, -1, 3)
    bent = {"hip": BEND, "knee": -2 * BEND}
    targets = torch.tensor([bent[name.split("_")[1]] for name in names], device=roots.device).repeat(NUM_ENVS, 1)
    total = torch.zeros(NUM_ENVS, device=roots.device)
    last_second = int(1.0 / DT)
    for index in range(3 * last_second):
        gym.set_dof_position_target_tensor(sim, gymtorch.unwrap_tensor(targets))
        gym.simulate(sim)
        gym.fetch_results(sim, True)
        if index >= 2 * last_second:
            gym.refresh_net_contact_force_tensor(sim)
            total += forces[:, :, 2].sum(dim=1)
    gym.refresh_actor_root_state_tensor(sim)
    return (total / last_second).tolist(), roots[:, 2].tolist()


def main():
    """Print for each robot the force on its legs, its weight and its height; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sim_device", default="cpu")
    gym = gymapi.acquire_gym()
    sim, names, masses = make_sim(gym, parser.parse_args().sim_device)
    print("joints:", ", ".join(names))
    wrong = 0
    for mass, force, height in zip(masses, *stand(gym, sim, names)):
        weight = mass * GRAVITY
        print(f"force on the legs {force:.2f} N, weight {weight:.2f} N; height {height:.3f} m of {HEIGHT:.3f} m")
        if abs(force / weight - 1.0) > 0.01 or abs(height - HEIGHT) > 0.02:
            wrong += 1
    gym.destroy_sim(sim)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
