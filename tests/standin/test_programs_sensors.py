"""Force sensors: the contact forces on a body, and their torque about the sensor."""

from __future__ import annotations

import math

import pytest
import torch
from physics_scenes import DOWN, GRAVITY, PLACES, actor, asset, body, box, hinge, roots, run

from isaac_standin.api import gymapi, gymtorch
from isaac_standin.errors import NotSupported, StandinError
from isaac_standin.scene.actor import ForceSensor
from isaac_standin.scene.terrain_types import Plane

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

GROUND = Plane((0.0, 0.0, 1.0))
UNTURNED = (1.0, 0.0, 0.0, 0.0)
MASS = 2.0


@pytest.fixture(scope="module", params=PLACES)
def place(request):
    """Where the physics runs."""
    return request.param


def resting(place, *sensors, steps=150):
    """Return the values of the sensors, (2, S, 6), of a brick in each of two envs that lies on the ground."""
    brick = box("brick", (0.2, 0.3, 0.1), MASS)
    balloon = asset(body("balloon"), gravity=False)
    envs = []
    for _ in range(2):
        lying = actor(asset(brick) if not envs else envs[0][1].asset, (0.0, 0.0, 0.1))
        lying.sensors = sensors
        of = balloon if not envs else envs[0][0].asset
        envs.append([actor(of, (0.0, 0.0, 9.0)), lying])
    simulation = place.simulation(*envs, on=GROUND, dt=0.002, gravity=DOWN)
    run(simulation, steps)
    simulation.sensors.refresh()
    return simulation.sensors.values.view(2, len(sensors), 6).cpu().double()


def test_sensor_of_a_resting_body_measures_its_weight(place):
    """The force is the weight upwards; about a point 0.1 m beside the middle, its torque is 0.1 times the weight."""
    weight = MASS * GRAVITY
    middle, beside = ForceSensor(0, (0.0, 0.0, 0.0), UNTURNED, False), ForceSensor(0, (0.1, 0.0, 0.0), UNTURNED, False)
    values = resting(place, middle, beside)
    expected = torch.tensor([[0, 0, weight, 0, 0, 0], [0, 0, weight, 0, 0.1 * weight, 0]], dtype=torch.float64)
    torch.testing.assert_close(values, expected.expand(2, 2, 6), rtol=0.0, atol=0.002 * weight)


def test_sensor_measures_along_its_own_axes_or_the_worlds(place):
    """Turned about x by 90 degrees, a sensor sees what points up along its y axis, unless it uses the world's axes."""
    weight = MASS * GRAVITY
    turned = (math.sqrt(0.5), math.sqrt(0.5), 0.0, 0.0)
    values = resting(
        place, ForceSensor(0, (0.0, 0.0, 0.0), turned, False), ForceSensor(0, (0.0, 0.0, 0.0), turned, True)
    )
    expected = torch.tensor([[0, weight, 0, 0, 0, 0], [0, 0, weight, 0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(values, expected.expand(2, 2, 6), rtol=0.0, atol=0.002 * weight)


def test_sensor_of_a_free_body_measures_nothing(place):
    """Gravity is not a contact: a falling body's sensor reads exactly zero."""
    falling = actor(asset(box("brick", (0.2, 0.3, 0.1), MASS)), (0.0, 0.0, 5.0))
    falling.sensors = (ForceSensor(0, (0.3, 0.0, 0.0), UNTURNED, False),)
    simulation = place.simulation([falling], on=GROUND)
    run(simulation, 4)
    simulation.sensors.refresh()
    assert roots(simulation)[0, 0, 9] < -0.1
    assert bool((simulation.sensors.values == 0.0).all())


def test_sensors_of_different_actors_differ(place):
    """An env whose actors have other sensors than those of the first env is refused, with its number."""
    first, second = (actor(asset(body("root"), body("leg", parent=0, joint=hinge()))) for _ in range(2))
    second = actor(first.asset)
    second.sensors = (ForceSensor(1, (0.0, 0.0, 0.0), UNTURNED, False),)
    with pytest.raises(StandinError, match="env 1"):
        place.simulation([first], [second])


URDF = """<robot name="brick">
  <link name="brick">
    <inertial><mass value="2.0"/><inertia ixx="0.06" iyy="0.03" izz="0.08" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><geometry><box size="0.4 0.6 0.2"/></geometry></collision>
  </link>
</robot>"""


def two_bricks(folder, props=None):
    """Return gym, sim and envs: three envs with a brick without a sensor, and one with two of them."""
    gym = gymapi.acquire_gym()
    params = gymapi.SimParams()
    params.dt, params.substeps, params.use_gpu_pipeline = 0.002, 1, False
    params.gravity = gymapi.Vec3(0.0, 0.0, -GRAVITY)
    sim = gym.create_sim(0, -1, gymapi.SIM_PHYSX, params)
    ground = gymapi.PlaneParams()
    ground.normal = gymapi.Vec3(0.0, 0.0, 1.0)
    gym.add_ground(sim, ground)
    (folder / "brick.urdf").write_text(URDF)
    plain, sensing = (gym.load_asset(sim, str(folder), "brick.urdf", gymapi.AssetOptions()) for _ in range(2))
    for x in (0.0, 0.1):
        gym.create_asset_force_sensor(sensing, 0, gymapi.Transform(gymapi.Vec3(x, 0.0, 0.0)), props)
    envs = []
    for index in range(3):
        env = gym.create_env(sim, gymapi.Vec3(), gymapi.Vec3(), 3)
        gym.create_actor(env, plain, gymapi.Transform(gymapi.Vec3(0.0, 0.0, 0.1)), "plain", index, 0)
        gym.create_actor(env, sensing, gymapi.Transform(gymapi.Vec3(3.0, 0.0, 0.1)), "sensing", index, 0)
        envs.append(env)
    return gym, sim, envs


def test_tensor_and_objects_of_the_api_agree(tmp_path):
    """The tensor has a row for each sensor, and `get_actor_force_sensor` finds the same row and values."""
    gym, sim, envs = two_bricks(tmp_path)
    gym.prepare_sim(sim)
    values = gymtorch.wrap_tensor(gym.acquire_force_sensor_tensor(sim))
    assert values.shape == (6, 6)
    assert gym.get_sim_force_sensor_count(sim) == 6
    assert [gym.get_actor_force_sensor_count(envs[1], actor) for actor in (0, 1)] == [0, 2]
    for _ in range(150):
        gym.simulate(sim)
    assert bool((values == 0.0).all())
    gym.refresh_force_sensor_tensor(sim)
    weight = 2.0 * GRAVITY
    assert values[:, 2].tolist() == pytest.approx([weight] * 6, rel=2e-3)
    assert values[:, 4].tolist() == pytest.approx([0.0, 0.1 * weight] * 3, abs=0.01)
    sensor = gym.get_actor_force_sensor(envs[2], 1, 1)
    assert sensor.get_global_index() == 5
    assert sensor.get_forces().force.z == pytest.approx(weight, rel=2e-3)
    assert sensor.get_forces().torque.y == pytest.approx(0.1 * weight, abs=0.01)
    assert gym.get_actor_force_sensor(envs[2], 0, 0) is None


def test_sensor_that_cannot_be_is_refused(tmp_path):
    """A sensor of a body that is not there, or of forces that are not measured, is an error at once."""
    props = gymapi.ForceSensorProperties()
    props.enable_constraint_solver_forces = False
    with pytest.raises(NotSupported, match="constraint solver"):
        two_bricks(tmp_path, props)
    gym, sim, _ = two_bricks(tmp_path)
    asset_of_one = gym.load_asset(sim, str(tmp_path), "brick.urdf", gymapi.AssetOptions())
    with pytest.raises(StandinError, match="no body 1"):
        gym.create_asset_force_sensor(asset_of_one, 1, gymapi.Transform())
