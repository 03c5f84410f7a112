"""Record what a real Isaac Gym does, for the stand-in: `python examples/isaac/record_fixture.py FILE.npz`.

It needs a real Isaac Gym, and nothing else: the scene is made of two small URDF files below. What is recorded: names,
counts, indices and properties; the tensors of ten steps in the air; and those of ten steps at rest, after the robots
have stood for two seconds.
"""

import argparse
import os
import tempfile
from typing import Dict, List

from isaacgym import gymapi, gymtorch, gymutil  # isort: skip  (Isaac Gym must be imported before torch)
import numpy as np
import torch

# the joints are in no alphabetical order, one link has no inertia, one is fixed, and no two numbers are the same
ROBOT = """<robot name="robot">
  <link name="trunk">
    <inertial><origin xyz="0.02 0.01 0"/><mass value="6"/>
      <inertia ixx="0.05" iyy="0.09" izz="0.11" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><geometry><box size="0.5 0.24 0.1"/></geometry></collision>
  </link>
  {legs}
  <link name="head"><collision><geometry><sphere radius="0.06"/></geometry></collision></link>
  <joint name="neck" type="fixed"><parent link="trunk"/><child link="head"/><origin xyz="0.3 0 0.05"/></joint>
</robot>"""
LEG = """<link name="{name}_leg">
    <inertial><origin xyz="0 0 -0.12"/><mass value="{mass}"/>
      <inertia ixx="0.004" iyy="0.003" izz="0.001" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><origin xyz="0 0 -0.13"/><geometry><box size="0.04 0.03 0.26"/></geometry></collision>
  </link>
  <joint name="{name}_joint" type="revolute">
    <parent link="trunk"/><child link="{name}_leg"/><origin xyz="{place}" rpy="{lean} 0 0"/><axis xyz="0 1 0"/>
    <limit lower="{lower}" upper="1.1" effort="35" velocity="21"/>
  </joint>
  <link name="{name}_foot">
    <inertial><mass value="0.11"/><inertia ixx="1e-4" iyy="1e-4" izz="1e-4" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><geometry><sphere radius="0.03"/></geometry></collision>
  </link>
  <joint name="{name}_ankle" type="fixed" dont_collapse="true">
    <parent link="{name}_leg"/><child link="{name}_foot"/><origin xyz="0 0 -0.28"/>
  </joint>"""
BOX = """<robot name="box"><link name="box">
  <inertial><mass value="3"/><inertia ixx="0.02" iyy="0.03" izz="0.04" ixy="0" ixz="0" iyz="0"/></inertial>
  <collision><geometry><box size="0.4 0.3 0.2"/></geometry></collision>
</link></robot>"""
LEGS = (("d", 0.8, "0.2 -0.12 0"), ("b", 0.7, "-0.2 0.12 0"), ("c", 0.9, "-0.2 -0.12 0"), ("a", 0.6, "0.2 0.12 0"))
NUM_ENVS = 3
STEPS = 10
ROBOT_HEIGHT, BOX_HEIGHT = 0.31, 0.1  # of their roots, on the ground [m]
DT = 0.005


def write_scene(folder):
    """Write the two URDF files into a folder."""
    legs = ""
    for index, (name, mass, place) in enumerate(LEGS):
        legs += LEG.format(name=name, mass=mass, place=place, lean=0.02 * index, lower=-0.9 - 0.1 * index)
    for name, text in (("robot.urdf", ROBOT.format(legs=legs)), ("box.urdf", BOX)):
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)


def make_sim(gym, sim_device):
    """Return an empty sim with a level ground."""
    kind, index = gymutil.parse_device_str(sim_device)
    params = gymapi.SimParams()
    params.dt = DT
    params.substeps = 2
    params.up_axis = gymapi.UP_AXIS_Z
    params.gravity = gymapi.Vec3(0.0, 0.0, -9.81)
    params.physx.use_gpu = kind == "cuda"
    params.use_gpu_pipeline = kind == "cuda"
    sim = gym.create_sim(index, -1, gymapi.SIM_PHYSX, params)
    ground = gymapi.PlaneParams()
    ground.normal = gymapi.Vec3(0.0, 0.0, 1.0)
    gym.add_ground(sim, ground)
    return sim


def record_asset(gym, name, asset):
    """Return names, counts and properties of an asset, by what they are."""
    found = {
        "dof_names": np.array(gym.get_asset_dof_names(asset), dtype=str),
        "body_names": np.array(gym.get_asset_rigid_body_names(asset), dtype=str),
        "shape_count": np.array(gym.get_asset_rigid_shape_count(asset)),
        "friction": np.array([shape.friction for shape in gym.get_asset_rigid_shape_properties(asset)]),
    }
    limits = gym.get_asset_dof_properties(asset)
    for field in limits.dtype.names:
        found["dof_" + field] = np.array(limits[field], dtype=float)
    return {name + "/" + key: value for key, value in found.items()}


def record_bodies(gym, name, env, actor):
    """Return masses, centres of mass and inertias of an actor's bodies."""
    bodies = gym.get_actor_rigid_body_properties(env, actor)
    inertias = []
    for body in bodies:
        rows = (body.inertia.x, body.inertia.y, body.inertia.z)
        inertias.append([[row.x, row.y, row.z] for row in rows])
    return {
        name + "/mass": np.array([body.mass for body in bodies]),
        name + "/com": np.array([[body.com.x, body.com.y, body.com.z] for body in bodies]),
        name + "/inertia": np.array(inertias),
    }


def fill(gym, sim):
    """Put a robot and a box into each env; return what Isaac Gym says about them."""
    options = gymapi.AssetOptions()
    options.collapse_fixed_joints = True
    options.angular_damping = 0.0
    assets = {}
    with tempfile.TemporaryDirectory() as folder:
        write_scene(folder)
        for name in ("robot", "box"):
            assets[name] = gym.load_asset(sim, folder, name + ".urdf", options)
    found = {}
    for name in assets:
        found.update(record_asset(gym, name, assets[name]))
    nothing = gymapi.Vec3(0.0, 0.0, 0.0)
    indices = []
    for number in range(NUM_ENVS):
        env = gym.create_env(sim, nothing, nothing, NUM_ENVS)
        for name, place in (("robot", (0.0, 0.0, 0.6)), ("box", (1.0, 0.5, 0.4))):
            pose = gymapi.Transform()
            pose.p = gymapi.Vec3(*place)
            actor = gym.create_actor(env, assets[name], pose, name, number, 1)
            indices.append(gym.get_actor_index(env, actor, gymapi.DOMAIN_SIM))
            if number == 0:
                found.update(record_bodies(gym, name, env, actor))
            if name == "robot":
                drives = gym.get_actor_dof_properties(env, actor)
                drives["driveMode"][:] = gymapi.DOF_MODE_POS
                drives["stiffness"][:] = 90.0
                drives["damping"][:] = 2.5
                gym.set_actor_dof_properties(env, actor, drives)
    found["actor_indices"] = np.array(indices)
    return found


class Recorder:
    """Steps the sim and keeps a copy of each tensor."""

    def __init__(self, gym, sim):
        self._gym = gym
        self._sim = sim
        self.root = gymtorch.wrap_tensor(gym.acquire_actor_root_state_tensor(sim))
        self.dof = gymtorch.wrap_tensor(gym.acquire_dof_state_tensor(sim))
        self.body = gymtorch.wrap_tensor(gym.acquire_rigid_body_state_tensor(sim))
        self.contact = gymtorch.wrap_tensor(gym.acquire_net_contact_force_tensor(sim))

    def refresh(self):
        """Read all tensors."""
        self._gym.refresh_actor_root_state_tensor(self._sim)
        self._gym.refresh_dof_state_tensor(self._sim)
        self._gym.refresh_rigid_body_state_tensor(self._sim)
        self._gym.refresh_net_contact_force_tensor(self._sim)

    def record(self, name, steps):
        """Step, and return the tensors after each step."""
        kept: Dict[str, List[np.ndarray]] = {"root": [], "dof": [], "body": [], "contact": []}
        for _ in range(steps):
            self._gym.simulate(self._sim)
            self._gym.fetch_results(self._sim, True)
            self.refresh()
            for key in kept:
                kept[key].append(getattr(self, key).cpu().numpy().copy())
        return {name + "/" + key: np.array(values) for key, values in kept.items()}


def throw(gym, sim, recorder):
    """Let robots and boxes fly with a spin, while each joint moves to another target."""
    device = recorder.root.device
    recorder.root[:, 7:10] = torch.tensor([0.3, -0.2, 0.1], device=device)
    recorder.root[:, 10:13] = torch.tensor([0.5, 0.7, -0.4], device=device)
    gym.set_actor_root_state_tensor(sim, gymtorch.unwrap_tensor(recorder.root))
    targets = torch.linspace(-0.3, 0.4, recorder.dof.shape[0], device=device)
    gym.set_dof_position_target_tensor(sim, gymtorch.unwrap_tensor(targets))


def put_down(gym, sim, recorder, roots):
    """Put robots and boxes on the ground at these poses, at rest."""
    recorder.root[:] = roots
    recorder.root[0::2, 2] = ROBOT_HEIGHT
    recorder.root[1::2, 2] = BOX_HEIGHT
    recorder.dof[:] = 0.0
    gym.set_actor_root_state_tensor(sim, gymtorch.unwrap_tensor(recorder.root))
    gym.set_dof_state_tensor(sim, gymtorch.unwrap_tensor(recorder.dof))
    targets = torch.zeros(recorder.dof.shape[0], device=recorder.dof.device)
    gym.set_dof_position_target_tensor(sim, gymtorch.unwrap_tensor(targets))


def record(sim_device):
    """Run the scene and return all that is recorded, by name."""
    gym = gymapi.acquire_gym()
    sim = make_sim(gym, sim_device)
    found = fill(gym, sim)
    gym.prepare_sim(sim)
    recorder = Recorder(gym, sim)
    recorder.refresh()
    start = recorder.root.clone()
    throw(gym, sim, recorder)
    found.update(recorder.record("air", STEPS))
    put_down(gym, sim, recorder, start)
    recorder.record("settling", int(2.0 / DT))
    found.update(recorder.record("rest", STEPS))
    gym.destroy_sim(sim)
    return found


def main():
    """Record, and write the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("--sim_device", default="cpu")
    arguments = parser.parse_args()
    found = record(arguments.sim_device)
    np.savez_compressed(arguments.file, **found)
    print(f"{len(found)} arrays in {arguments.file}")


if __name__ == "__main__":
    main()
