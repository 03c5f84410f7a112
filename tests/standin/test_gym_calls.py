"""Calls of `Gym` as programs make them: indices, properties, setters, time, and every input that is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gym_scenes import DT, HAND, ROBOT, STONE, UPPER, Scene

from isaac_standin.api import gymapi, gymtorch
from isaac_standin.errors import NotSupported, StandinError
from mapush.errors import CapacityError

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

SIM, ENV, ACTOR = gymapi.DOMAIN_SIM, gymapi.DOMAIN_ENV, gymapi.DOMAIN_ACTOR
ACTORS, BODIES, DOFS = 2, 4, 2  # of each env


@pytest.fixture
def scene(tmp_path):
    """Three envs with a ball and an arm each, prepared."""
    return Scene(tmp_path)


def unwrapped(values, dtype=torch.float32):
    """Return a list as a tensor that `Gym` takes."""
    return gymtorch.unwrap_tensor(torch.tensor(values, dtype=dtype))


def new_sim():
    """Return a simulation without envs."""
    return gymapi.acquire_gym().create_sim(0, -1, gymapi.SIM_PHYSX, gymapi.SimParams())


# -- indices ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 1, 2])
def test_indices_count_env_by_env_then_actor_by_actor(scene, index):
    """An index counts within the actor, within the env, or over all envs, in which each has as many things."""
    gym, env = scene.gym, scene.envs[index]
    assert gym.get_actor_index(env, ROBOT, ENV) == 1
    assert gym.get_actor_index(env, ROBOT, SIM) == ACTORS * index + 1
    assert gym.find_actor_rigid_body_index(env, ROBOT, "hand", ACTOR) == 2
    assert gym.find_actor_rigid_body_handle(env, ROBOT, "hand") == HAND
    assert gym.find_actor_rigid_body_index(env, ROBOT, "hand", SIM) == BODIES * index + HAND
    assert gym.find_actor_dof_index(env, ROBOT, "slide", SIM) == DOFS * index + 1
    assert gym.get_actor_dof_index(env, ROBOT, 1, ENV) == 1


def test_degrees_of_freedom_count_those_of_earlier_actors(tmp_path):
    """The index of a joint in its env is behind the joints of the actors that were created before."""

    def add_a_second_arm(scene):
        arm = scene.envs[0].assets[ROBOT]
        for index, env in enumerate(scene.envs):
            scene.gym.create_actor(env, arm, gymapi.Transform(gymapi.Vec3(9.0, 0.0, 5.0)), "other", index, 0)

    scene = Scene(tmp_path, before=add_a_second_arm)
    assert scene.gym.get_actor_dof_index(scene.envs[1], 2, 1, ENV) == DOFS + 1
    assert scene.gym.get_actor_dof_index(scene.envs[1], 2, 1, SIM) == 2 * DOFS + DOFS + 1


def test_unknown_names_have_the_index_minus_one(scene):
    """Programs test for -1."""
    gym, env = scene.gym, scene.envs[1]
    assert gym.find_actor_rigid_body_handle(env, ROBOT, "tail") == -1
    assert gym.find_actor_dof_handle(env, ROBOT, "tail") == -1
    assert gym.find_actor_handle(env, "horse") == -1
    assert gym.find_actor_index(env, "horse", SIM) == -1


def test_counts_are_of_all_envs(scene):
    """Counts of the simulation are those that the tensors' rows have."""
    assert scene.gym.get_sim_actor_count(scene.sim) == 3 * ACTORS
    assert scene.gym.get_sim_rigid_body_count(scene.sim) == 3 * BODIES
    assert scene.gym.get_sim_dof_count(scene.sim) == 3 * DOFS
    assert scene.gym.get_env_count(scene.sim) == 3


def test_time_is_that_of_the_steps(scene):
    """Each `simulate` takes dt."""
    scene.run(7)
    assert scene.gym.get_frame_count(scene.sim) == 7
    assert scene.gym.get_sim_time(scene.sim) == pytest.approx(7 * DT)


def test_env_origins_form_rows(scene):
    """Two envs in a row, as far apart as their extents."""
    origins = [scene.gym.get_env_origin(env) for env in scene.envs]
    assert [(origin.x, origin.y, origin.z) for origin in origins] == [(0, 0, 0), (4, 0, 0), (0, 5, 0)]


# -- setters ---------------------------------------------------------------------------------------------------------


def test_only_the_first_indices_count(scene):
    """The count says how many of the indices are meant; what follows them is left over from other steps."""
    gym, sim = scene.gym, scene.sim
    states = gymtorch.wrap_tensor(gym.acquire_actor_root_state_tensor(sim)).clone()
    states[:, 2] += 1.0
    chosen = unwrapped([2 * ACTORS + STONE, STONE], torch.int32)
    gym.set_actor_root_state_tensor_indexed(sim, gymtorch.unwrap_tensor(states), chosen, 1)
    assert scene.run(1)[:, 2].tolist() == pytest.approx([3.0, 3.0, 4.0])


def test_efforts_of_the_actors_that_were_not_chosen_are_zero(tmp_path):
    """The tensor has efforts for all; only those of the chosen actors act."""
    scene = Scene(tmp_path, mode=gymapi.DOF_MODE_EFFORT)
    chosen = unwrapped([ACTORS + ROBOT], torch.int32)
    scene.gym.set_dof_actuation_force_tensor_indexed(scene.sim, unwrapped([3.0, 2.0] * 3), chosen, 1)
    scene.run(1)
    dofs = gymtorch.wrap_tensor(scene.gym.acquire_dof_state_tensor(scene.sim))
    scene.gym.refresh_dof_state_tensor(scene.sim)
    moved = dofs.view(3, DOFS, 2)[:, :, 1].abs().amax(dim=1) > 1e-4
    assert moved.tolist() == [False, True, False]


@pytest.mark.parametrize("space, expected", [(gymapi.ENV_SPACE, (1.0, 0.0)), (gymapi.LOCAL_SPACE, (0.0, 1.0))])
def test_force_is_along_the_axes_of_the_world_or_of_the_body(scene, space, expected):
    """A ball that is turned by 90 degrees about z is pushed along the world's x, or along its own, which is y."""
    gym, sim = scene.gym, scene.sim
    states = gymtorch.wrap_tensor(gym.acquire_actor_root_state_tensor(sim)).clone()
    states[STONE, 3:7] = torch.tensor([0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5)])
    gym.set_actor_root_state_tensor(sim, gymtorch.unwrap_tensor(states))
    scene.run(1)
    forces = torch.zeros(3 * BODIES, 3)
    forces[0, 0] = 6.0  # on 3 kg
    gym.apply_rigid_body_force_tensors(sim, gymtorch.unwrap_tensor(forces), None, space)
    velocity = scene.run(1)[0, 7:9]
    assert (velocity / (6.0 / 3.0 * DT)).tolist() == pytest.approx(expected, abs=1e-3)


def test_gravity_changes_while_the_program_runs(scene):
    """`set_sim_params` takes gravity; the ball falls from then on."""
    params = scene.gym.get_sim_params(scene.sim)
    scene.run(2)
    params.gravity = gymapi.Vec3(0.0, 0.0, -5.0)
    scene.gym.set_sim_params(scene.sim, params)
    assert scene.run(3)[:, 9].tolist() == pytest.approx([-5.0 * 3 * DT] * 3, rel=1e-4)


# -- properties ------------------------------------------------------------------------------------------------------


def inertia_of(gym, env):
    """Return mass and the first moment of inertia of the arm's upper link."""
    upper = gym.get_actor_rigid_body_properties(env, ROBOT)[UPPER - 1]
    return upper.mass, upper.inertia.x.x


def test_inertia_is_recomputed_in_proportion_to_the_mass(scene):
    """A body of the same shape with three times the mass has three times the inertia; without the flag it keeps it."""
    for env, recompute in zip(scene.envs, (True, False), strict=False):
        props = scene.gym.get_actor_rigid_body_properties(env, ROBOT)
        props[UPPER - 1].mass *= 3.0
        scene.gym.set_actor_rigid_body_properties(env, ROBOT, props, recomputeInertia=recompute)
    assert inertia_of(scene.gym, scene.envs[0]) == pytest.approx((6.0, 0.09))
    assert inertia_of(scene.gym, scene.envs[1]) == pytest.approx((6.0, 0.03))
    assert inertia_of(scene.gym, scene.envs[2]) == pytest.approx((2.0, 0.03))


def test_properties_of_an_asset_count_for_actors_that_are_created_later(tmp_path):
    """Programs set the friction of the asset before each actor, and so give each env its own."""
    found = []

    def give_each_its_own(scene):
        ball = scene.envs[0].assets[STONE]
        for friction, env in zip((0.25, 0.75), scene.envs, strict=False):
            props = scene.gym.get_asset_rigid_shape_properties(ball)
            props[0].friction = torch.full((1, 1), friction)  # MAPush gives a tensor
            scene.gym.set_asset_rigid_shape_properties(ball, props)
            actor = scene.gym.create_actor(env, ball, gymapi.Transform(), "later", 7, 0)
            found.append(scene.gym.get_actor_rigid_shape_properties(env, actor)[0].friction)
        scene.gym.create_actor(scene.envs[2], ball, gymapi.Transform(), "later", 7, 0)

    Scene(tmp_path, before=give_each_its_own)
    assert found == pytest.approx([0.25, 0.75])


def test_limits_and_drives_have_the_fields_of_isaac_gym(scene):
    """The structured array shows what the file says; what has no limit is the largest float."""
    props = scene.gym.get_actor_dof_properties(scene.envs[2], ROBOT)
    assert props["hasLimits"].tolist() == [True, True]
    np.testing.assert_allclose(props["lower"], [-3.0, -0.2], rtol=1e-6)
    np.testing.assert_allclose(props["effort"], [50.0, 90.0])
    assert props["lower"][1].item() == pytest.approx(-0.2)


# -- what is refused -------------------------------------------------------------------------------------------------


def refused(call, *arguments, kind=StandinError):
    """Return the error of a call."""
    with pytest.raises(kind) as caught:
        call(*arguments)
    return caught.value


def test_calls_before_prepare_sim_are_refused():
    """Tensors and steps exist only after it; the message names the call and the remedy."""
    gym, sim = gymapi.acquire_gym(), new_sim()
    for name in ("simulate", "refresh_dof_state_tensor", "acquire_actor_root_state_tensor"):
        error = refused(getattr(gym, name), sim)
        assert name in str(error)
        assert "prepare_sim" in error.fix


def test_creating_after_prepare_sim_is_refused(scene):
    """The model is complete then."""
    gym, sim = scene.gym, scene.sim
    assert "add_ground" in refused(gym.add_ground, sim, gymapi.PlaneParams()).what
    env = (sim, gymapi.Vec3(), gymapi.Vec3(), 1)
    assert "create_env" in refused(gym.create_env, *env).what
    assert "prepare_sim" in refused(gym.prepare_sim, sim).what


def test_a_destroyed_simulation_is_refused(scene):
    """So is what is no simulation at all."""
    scene.gym.destroy_sim(scene.sim)
    assert "destroyed" in refused(scene.gym.simulate, scene.sim).what
    assert "create_sim" in refused(scene.gym.simulate, None).fix


@pytest.mark.parametrize("field, value", [("dt", 0.02), ("substeps", 3)])
def test_time_step_cannot_change(scene, field, value):
    """Another time step would need another model."""
    params = scene.gym.get_sim_params(scene.sim)
    setattr(params, field, value)
    assert "time step" in refused(scene.gym.set_sim_params, scene.sim, params, kind=NotSupported).what


@pytest.mark.parametrize("field, value", [("dt", 0.0), ("substeps", 0)])
def test_time_step_that_makes_no_sense_is_refused(field, value):
    """Nothing could be simulated with it."""
    params = gymapi.SimParams()
    setattr(params, field, value)
    error = refused(gymapi.acquire_gym().create_sim, 0, -1, gymapi.SIM_PHYSX, params)
    assert "time step makes no sense" in error.what


def test_flex_is_refused():
    """MuJoCo stands for PhysX only."""
    error = refused(gymapi.acquire_gym().create_sim, 0, -1, gymapi.SIM_FLEX, gymapi.SimParams(), kind=NotSupported)
    assert "SIM_FLEX" in str(error)


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(6, 13, dtype=torch.float32)[:5], torch.zeros(6, 13, dtype=torch.int32)],
    ids=["too few rows", "another type"],
)
def test_states_of_another_size_or_type_are_refused(scene, tensor):
    """The message says what was given and what is needed."""
    error = refused(scene.gym.set_actor_root_state_tensor, scene.sim, gymtorch.unwrap_tensor(tensor))
    assert str(tuple(tensor.shape)) in error.got
    assert "(6, 13) torch.float32 on cpu" in error.expected


def test_tensor_that_is_not_unwrapped_is_refused(scene):
    """A torch tensor itself is none of Isaac Gym's."""
    error = refused(scene.gym.set_dof_actuation_force_tensor, scene.sim, torch.zeros(6))
    assert "unwrap_tensor" in error.fix


def test_actor_indices_of_another_type_or_too_few_are_refused(scene):
    """They are int32, and at least as many as the count says."""
    states = gymtorch.unwrap_tensor(torch.zeros(6, 13))
    for chosen, count in ((unwrapped([0.0, 1.0]), 2), (unwrapped([0, 1], torch.int32), 3)):
        error = refused(scene.gym.set_actor_root_state_tensor_indexed, scene.sim, states, chosen, count)
        assert f"at least {count} indices, torch.int32" in error.expected


def test_handle_that_no_actor_has_is_refused(scene):
    """The message gives the handles that there are."""
    error = refused(scene.gym.get_actor_name, scene.envs[1], 2)
    assert "0 to 1" in error.expected


def test_what_is_no_asset_is_refused():
    """`create_actor` names `load_asset`."""
    gym, sim = gymapi.acquire_gym(), new_sim()
    env = gym.create_env(sim, gymapi.Vec3(), gymapi.Vec3(), 1)
    assert "load_asset" in refused(gym.create_actor, env, "robot.urdf", gymapi.Transform()).fix


@pytest.mark.parametrize("mass", [0.0, -1.0])
def test_mass_that_is_not_positive_is_refused(scene, mass):
    """The message names actor and env."""
    props = scene.gym.get_actor_rigid_body_properties(scene.envs[1], ROBOT)
    props[1].mass = mass
    error = refused(scene.gym.set_actor_rigid_body_properties, scene.envs[1], ROBOT, props)
    assert "arm, env 1, body 1" in error.where


def test_properties_that_are_too_few_are_refused(scene):
    """One for each shape, body or degree of freedom."""
    gym, env = scene.gym, scene.envs[0]
    assert "bodies" in refused(gym.set_actor_rigid_body_properties, env, ROBOT, []).what
    assert "shapes" in refused(gym.set_actor_rigid_shape_properties, env, STONE, []).what
    rows = gym.get_actor_dof_properties(env, ROBOT)
    assert "degrees of freedom" in refused(gym.set_actor_dof_properties, env, ROBOT, rows[:1]).what
    assert "structured array" in refused(gym.set_actor_dof_properties, env, ROBOT, np.zeros(2)).expected


def test_ground_that_is_rotated_is_refused():
    """It would be built as if it were not."""
    params = gymapi.HeightFieldParams()
    params.nbRows = params.nbColumns = 3
    params.transform.r = gymapi.Quat(0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5))
    samples = np.zeros(9, dtype=np.int16)
    error = refused(gymapi.acquire_gym().add_heightfield, new_sim(), samples, params, kind=NotSupported)
    assert "rotated" in error.what


def test_mesh_whose_sizes_are_not_those_of_its_parameters_is_refused():
    """Isaac Gym would read beyond the arrays."""
    params = gymapi.TriangleMeshParams()
    params.nb_vertices, params.nb_triangles = 4, 2
    vertices, triangles = np.zeros(12, dtype=np.float32), np.zeros(9, dtype=np.uint32)
    error = refused(gymapi.acquire_gym().add_triangle_mesh, new_sim(), vertices, triangles, params)
    assert "triangles" in error.what
    assert error.got == "9 numbers"


def test_buffer_that_physx_would_not_survive_names_the_line_that_multiplied_it(monkeypatch):
    """With the memory of a card given, `create_sim` ends; without it nothing is judged."""
    params = gymapi.SimParams()
    params.physx.max_gpu_contact_pairs = 2**23
    params.physx.max_gpu_contact_pairs *= 5
    create = gymapi.acquire_gym().create_sim
    create(0, -1, gymapi.SIM_PHYSX, params)
    monkeypatch.setenv("ISAAC_STANDIN_PHYSX_MEMORY", "8GiB")
    error = refused(create, 0, -1, gymapi.SIM_PHYSX, params, kind=CapacityError)
    assert "test_gym_calls.py" in error.where
    params.physx.max_gpu_contact_pairs = 2**23
    create(0, -1, gymapi.SIM_PHYSX, params)


@pytest.mark.parametrize(
    "pipeline, backend, expected", [(True, "gpu", "cuda:1"), (True, "cpu", "cpu"), (False, "gpu", "cpu")]
)
def test_device_is_a_gpu_if_the_program_asks_and_there_is_one(monkeypatch, pipeline, backend, expected):
    """`use_gpu_pipeline` asks; `compute_device` says which."""
    monkeypatch.setattr("isaac_standin.api.gym_creation.choose_backend", lambda chosen: backend)
    params = gymapi.SimParams()
    params.use_gpu_pipeline = pipeline
    sim = gymapi.acquire_gym().create_sim(1, -1, gymapi.SIM_PHYSX, params)
    assert str(sim.simulation.options.device) == expected
