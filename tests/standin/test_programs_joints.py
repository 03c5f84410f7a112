"""Joints, motors and small questions of `Gym`, about actors of two assets."""

from __future__ import annotations

import pytest
from physics_scenes import Place, actor, asset, box

from isaac_standin.api import gymapi
from isaac_standin.viewing.look import Look

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

HOPPER = """<mujoco model="hopper">
  <worldbody>
    <body name="trunk" pos="0 0 1">
      <freejoint/>
      <geom type="sphere" size="0.1"/>
      <body name="leg" pos="0 0 -0.1">
        <joint name="hip" axis="0 1 0"/>
        <joint name="knee" type="slide" axis="0 0 1"/>
        <geom type="sphere" size="0.05" pos="0 0 -0.3"/>
      </body>
      <body name="tail" pos="-0.1 0 0"><geom type="sphere" size="0.02"/></body>
    </body>
  </worldbody>
  <actuator>
    <motor name="push" joint="knee" gear="30" ctrllimited="true" ctrlrange="-1 1"/>
    <motor name="turn" joint="hip" gear="8" ctrllimited="true" ctrlrange="-1 1"/>
  </actuator>
</mujoco>"""
BALL, FIRST, SECOND = 0, 1, 2  # actors of each env


@pytest.fixture(scope="module")
def envs(tmp_path_factory):
    """Gym and three envs with a ball and two hoppers each."""
    folder = tmp_path_factory.mktemp("hopper")
    (folder / "hopper.xml").write_text(HOPPER)
    gym = gymapi.acquire_gym()
    params = gymapi.SimParams()
    params.use_gpu_pipeline = False
    sim = gym.create_sim(0, -1, gymapi.SIM_PHYSX, params)
    hopper = gym.load_asset(sim, str(folder), "hopper.xml", gymapi.AssetOptions())
    ball = gym.create_sphere(sim, 0.2)
    made = []
    for index in range(3):
        env = gym.create_env(sim, gymapi.Vec3(), gymapi.Vec3(), 3)
        for of in (ball, hopper, hopper):
            gym.create_actor(env, of, gymapi.Transform(), "", index, 0)
        made.append(env)
    return gym, made


def test_joints_of_an_actor_include_fixed_ones(envs):
    """A body with two joints has both, and a fixed body one that is named after it."""
    gym, (env, *_) = envs
    names = gym.get_actor_joint_names(env, FIRST)
    assert sorted(names) == ["hip", "knee", "tail"]
    assert gym.get_actor_joint_count(env, FIRST) == 3
    assert gym.get_actor_joint_count(env, BALL) == 0
    assert gym.get_actor_joint_dict(env, SECOND) == {name: index for index, name in enumerate(names)}
    hopper = gym.get_actor_asset(env, FIRST)
    kinds = [gym.get_asset_joint_type(hopper, names.index(name)) for name in ("hip", "knee", "tail")]
    assert kinds == [gymapi.JOINT_REVOLUTE, gymapi.JOINT_PRISMATIC, gymapi.JOINT_FIXED]
    assert [gym.get_joint_type_string(kind) for kind in kinds] == ["Revolute", "Prismatic", "Fixed"]


def test_index_of_a_joint_counts_from_its_domain(envs):
    """In the env, the joints of earlier actors come first; in the sim, those of earlier envs do, too."""
    gym, made = envs
    own = gym.get_actor_joint_names(made[2], SECOND).index("knee")
    for domain, before in ((gymapi.DOMAIN_ACTOR, 0), (gymapi.DOMAIN_ENV, 3), (gymapi.DOMAIN_SIM, 3 + 2 * 6)):
        assert gym.find_actor_joint_index(made[2], SECOND, "knee", domain) == before + own
        assert gym.get_actor_joint_index(made[2], SECOND, own, domain) == before + own
    assert gym.find_actor_joint_handle(made[2], SECOND, "knee") == gym.get_actor_joint_handle(made[2], SECOND, own)
    assert gym.find_actor_joint_handle(made[2], SECOND, "elbow") == -1
    assert gym.get_env_joint_count(made[0]) == 6


def test_motors_of_an_actor_are_those_of_its_file(envs):
    """Names, joints and efforts, gear times the largest control, in the order of the file."""
    gym, (env, *_) = envs
    assert gym.get_actor_actuator_count(env, FIRST) == 2
    assert gym.get_actor_actuator_count(env, BALL) == 0
    assert [gym.get_actor_actuator_name(env, FIRST, index) for index in range(2)] == ["push", "turn"]
    assert gym.get_actor_actuator_joint_name(env, FIRST, 0) == "knee"
    assert gym.find_actor_actuator_index(env, FIRST, "turn") == 1
    assert gym.find_actor_actuator_index(env, FIRST, "jump") == -1
    assert [motor.motor_effort for motor in gym.get_actor_actuator_properties(env, FIRST)] == [30.0, 8.0]


def test_small_questions_are_answered(envs):
    """The version, the time since the sim was created, and the kinds of degrees of freedom by name."""
    gym, (env, *_) = envs
    assert gym.get_version().major == 1
    assert 0.0 <= gym.get_elapsed_time(env.sim) < 3600.0
    assert gym.get_dof_type_string(gymapi.DOF_TRANSLATION) == "Translation"


def test_segmentation_id_of_a_body_goes_before_that_of_its_actor(envs):
    """The id that was set for one body can be read; other bodies have that of their actor."""
    gym, (env, *_) = envs
    gym.set_rigid_body_segmentation_id(env, SECOND, 1, 17)
    assert [gym.get_rigid_body_segmentation_id(env, SECOND, body) for body in range(3)] == [0, 17, 0]
    assert gym.get_rigid_body_segmentation_id(env, FIRST, 1) == 0


def test_images_show_the_id_of_a_body():
    """Geoms of a body whose id was set have it; the others have the id of their actor."""
    of = asset(box("one", (0.1, 0.2, 0.3), 1.0), box("two", (0.2, 0.1, 0.1), 1.0, parent=0, pos=(1.0, 0.0, 0.0)))
    first, second = actor(of), actor(of)
    first.segmentation, second.segmentation, second.body_segmentation[1] = 4, 5, 9
    simulation = Place("mujoco", "cpu").simulation([first, second])
    look = Look(simulation.built, simulation.layout)
    found = {}
    for geom, value in enumerate(look.segments(simulation.envs[0])[:-1]):
        found[look.model.body(look.model.geom_bodyid[geom]).name] = int(value)
    assert {name: found[name] for name in ("0/one", "0/two", "1/one", "1/two")} == dict(
        zip(("0/one", "0/two", "1/one", "1/two"), (4, 4, 5, 9), strict=True)
    )
