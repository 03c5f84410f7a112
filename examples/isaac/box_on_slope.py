"""Boxes on a slope: `python -m isaac_standin -- python examples/isaac/box_on_slope.py [--sim_device cuda:0]`.

The ground leans by 20 degrees and has a friction of 0.4; each env has a box with another friction. What counts is the
mean of the two: a box slides if it is less than tan(20 degrees) = 0.364. The exit code is 1 if a box slides otherwise
than by the formula.
"""

import argparse
import math
import os
import sys
import tempfile

from isaacgym import gymapi, gymtorch, gymutil  # isort: skip  (Isaac Gym must be imported before torch)
import torch

URDF = """<robot name="box">
  <link name="box">
    <inertial><mass value="2.0"/><inertia ixx="0.06" iyy="0.06" izz="0.1" ixy="0" ixz="0" iyz="0"/></inertial>
    <visual><geometry><box size="0.6 0.5 0.2"/></geometry></visual>
    <collision><geometry><box size="0.6 0.5 0.2"/></geometry></collision>
  </link>
</robot>"""
HALF_HEIGHT, GRAVITY = 0.1, 9.81
SLOPE = math.radians(20.0)
GROUND_FRICTION = 0.4
BOX_FRICTIONS = (0.0, 0.1, 0.2, 0.4, 0.8)
NUM_ENVS = len(BOX_FRICTIONS)
DT = 1.0 / 200.0
SECONDS = 1.0


def expected_distance(box_friction):
    """Return how far a box slides from rest in `SECONDS` [m]."""
    friction = (GROUND_FRICTION + box_friction) / 2.0
    acceleration = GRAVITY * (math.sin(SLOPE) - friction * math.cos(SLOPE))
    return max(0.0, acceleration) * SECONDS**2 / 2.0


def make_sim(gym, sim_device):
    """Return a sim with one box in each env, at rest on a slope that falls along x."""
    kind, index = gymutil.parse_device_str(sim_device)
    params = gymapi.SimParams()
    params.dt = DT
    params.substeps = 2
    params.up_axis = gymapi.UP_AXIS_Z
    params.gravity = gymapi.Vec3(0.0, 0.0, -GRAVITY)
    params.physx.use_gpu = kind == "cuda"
    params.use_gpu_pipeline = kind == "cuda"
    sim = gym.create_sim(index, -1, gymapi.SIM_PHYSX, params)
    ground = gymapi.PlaneParams()
    ground.normal = gymapi.Vec3(math.sin(SLOPE), 0.0, math.cos(SLOPE))
    ground.static_friction = GROUND_FRICTION
    ground.dynamic_friction = GROUND_FRICTION
    ground.restitution = 0.0
    gym.add_ground(sim, ground)
    options = gymapi.AssetOptions()
    options.angular_damping = 0.0
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "box.urdf"), "w") as file:
            file.write(URDF)
        asset = gym.load_asset(sim, folder, "box.urdf", options)
    pose = gymapi.Transform()
    pose.p = gymapi.Vec3(HALF_HEIGHT * math.sin(SLOPE), 0.0, HALF_HEIGHT * math.cos(SLOPE))
    pose.r = gymapi.Quat.from_axis_angle(gymapi.Vec3(0.0, 1.0, 0.0), SLOPE)
    nothing = gymapi.Vec3(0.0, 0.0, 0.0)  # all envs at one place: the same slope for each
    for index_of_env, friction in enumerate(BOX_FRICTIONS):
        env = gym.create_env(sim, nothing, nothing, NUM_ENVS)
        actor = gym.create_actor(env, asset, pose, "box", index_of_env, 0)
        shapes = gym.get_actor_rigid_shape_properties(env, actor)
        shapes[0].friction = friction
        gym.set_actor_rigid_shape_properties(env, actor, shapes)
    gym.prepare_sim(sim)
    return sim


def distances(gym, sim):
    """Let the boxes go for `SECONDS`; return how far each has come down the slope [m]."""
    roots = gymtorch.wrap_tensor(gym.acquire_actor_root_state_tensor(sim))
    gym.refresh_actor_root_state_tensor(sim)
    before = roots[:, 0:3].clone()
    for _ in range(int(SECONDS / DT)):
        gym.simulate(sim)
        gym.fetch_results(sim, True)
    gym.refresh_actor_root_state_tensor(sim)
    downhill = torch.tensor([math.cos(SLOPE), 0.0, -math.sin(SLOPE)], device=roots.device)
    return ((roots[:, 0:3] - before) @ downhill).tolist()


def main():
    """Print for each box how far it came and should have come; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sim_device", default="cpu")
    gym = gymapi.acquire_gym()
    sim = make_sim(gym, parser.parse_args().sim_device)
    wrong = 0
    for friction, distance in zip(BOX_FRICTIONS, distances(gym, sim)):
        expected = expected_distance(friction)
        print(f"friction {friction:.1f} on {GROUND_FRICTION}: {distance:.3f} m, by the formula {expected:.3f} m")
        if abs(distance - expected) > 0.01 + 0.03 * expected:
            wrong += 1
    gym.destroy_sim(sim)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
