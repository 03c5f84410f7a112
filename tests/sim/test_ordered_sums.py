"""Contracts of physics that adds in a fixed order, on Warp's CPU device and on a GPU."""

from __future__ import annotations

import contextlib
import dataclasses

import mujoco
import pytest
import torch
import warp
from mujoco_warp._src import constraint, solver
from shuffled_rows import shuffled
from twins import place

from mapush import assembly
from mapush.config import SimConfig
from mapush.device import ordered_kernels, ordered_sums
from mapush.device.ordered_sums import require_orderable
from mapush.errors import ConfigError, SimulatorError
from mapush.objects import CUBOID, CYLINDER, OBJECTS
from mapush.presets import preset
from mapush.sim import make_physics, mjwarp
from mapush.sim.go1 import DEFAULT_JOINT_POS
from mapush.sim.mjwarp import WarpPhysics
from mapush.sim.physics import Randomization
from mapush.sim.qpos_layout import rows_of
from mapush.sim.scene import Scene, build_model

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

DEVICES = [pytest.param("cpu", marks=pytest.mark.warp), pytest.param("cuda", marks=pytest.mark.gpu)]
NUM_ENVS = 5
SCENES = {"walk": Scene(1), "cuboid": Scene(2, CUBOID), "cylinder": Scene(3, CYLINDER)}
RANDOM = Randomization(payload=(-1.0, 3.0), com_shift=0.03)
ALIKE = 2e-3
"""Largest difference of a position between two orders of the sums, after 6 env steps [m, rad]."""


def make(name, device="cpu", deterministic=True, num_envs=NUM_ENVS, randomization=None):
    """Return physics whose robots touch the object, with bent and stretched legs."""
    physics = WarpPhysics(
        SCENES[name], num_envs, 4, randomization, device, nconmax=96, njmax=384, deterministic=deterministic
    )
    state = physics.state()
    state.joint_pos[:, 0, 2::3] = torch.tensor((-2.83, -0.88, -2.84, -0.87), device=state.joint_pos.device)
    if state.object_pos_w is not None:
        distance = torch.linspace(0.88, 0.98, num_envs, device=state.joint_pos.device).view(-1, 1, 1)
        state.robot_pos_w[..., :2] *= distance / state.robot_pos_w[..., :2].norm(dim=-1, keepdim=True)
    place(physics, state)
    return physics


def shake(physics, steps):
    """Step with targets that shake the robots and depend only on the step; return all positions and velocities."""
    home = torch.tensor(DEFAULT_JOINT_POS)
    seen = []
    for step in range(steps):
        noise = torch.rand((physics.num_envs, physics.num_agents, 12), generator=torch.Generator().manual_seed(step))
        state = physics.step((home + 1.6 * (noise - 0.5)).to(physics.device))
        seen += rows_of(state)
    return seen


def assert_equal(one, other):
    """Compare lists of tensors bit for bit."""
    differing = [index for index, (a, b) in enumerate(zip(one, other)) if not torch.equal(a, b)]
    assert not differing, f"first after {differing[0] // 2 + 1} env steps"


@pytest.mark.warp
@pytest.mark.parametrize("name", sorted(SCENES))
def test_order_of_the_threads_does_not_change_a_bit(name):
    """However contacts, rows, blocks and changes are shuffled, positions and velocities are the same bits."""
    seen = []
    for seed in (None, 1, 2):
        physics = make(name)
        with contextlib.nullcontext() if seed is None else shuffled(seed):
            physics._advance()  # Warp's CPU device records nothing
            seen.append([physics._qpos.clone(), physics._qvel.clone()] + _unrecorded(physics, 5))
        assert physics.demand().rows > 7
        physics.close()
    assert_equal(seen[0], seen[1])
    assert_equal(seen[0], seen[2])
    assert not torch.equal(seen[0][0], seen[0][2])


def _unrecorded(physics, steps):
    """Do as `shake`, but launch the kernels again instead of replaying a graph."""
    home, seen = torch.tensor(DEFAULT_JOINT_POS), []
    for step in range(steps):
        noise = torch.rand((physics.num_envs, physics.num_agents, 12), generator=torch.Generator().manual_seed(step))
        physics._ctrl.copy_((home + 1.6 * (noise - 0.5)).flatten(1))
        physics._advance()
        seen += [physics._qpos.clone(), physics._qvel.clone()]
    return seen


UPSTREAM = {
    "_sort_rows": lambda model, data: None,
    "_hessian_change": solver._update_gradient_h_incremental_sparse,
    "_update_contact_rows": lambda model, data: None,
}
"""What MuJoCo Warp does in place of functions of `ordered_sums`."""


@pytest.mark.warp
@pytest.mark.parametrize("name", sorted(UPSTREAM))
def test_order_of_the_threads_changes_bits_without(name, monkeypatch):
    """The test above can fail: without one of our functions the shuffled order shows."""
    monkeypatch.setattr(ordered_sums, name, UPSTREAM[name])
    seen = []
    for seed in (1, 2):
        physics = make("cuboid")
        with shuffled(seed):
            seen.append(_unrecorded(physics, 5))
        physics.close()
    assert not all(torch.equal(one, other) for one, other in zip(*seen))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", sorted(SCENES))
def test_ordered_sums_are_the_sums_of_mujoco_warp(name, device):
    """Another order of the same sums: after 6 env steps the bodies are where they would be without the flag."""
    seen = []
    for deterministic in (False, True):
        physics = make(name, device, deterministic)
        seen.append(shake(physics, 6))
        physics.check()
        physics.close()
    torch.testing.assert_close(seen[1][-2], seen[0][-2], rtol=0.0, atol=ALIKE)
    assert not torch.equal(seen[1][0], seen[1][-2])


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(SCENES))
def test_gpu_computes_the_same_bits_twice(name):
    """500 envs whose robots are shaken against the object for a second: every position and velocity, bit for bit."""
    seen = []
    for _ in range(2):
        physics = make(name, "cuda", num_envs=500, randomization=RANDOM)
        seen.append(shake(physics, 50))
        physics.check()
        physics.close()
    assert_equal(*seen)


# -- more constraint rows than there is room for ---------------------------------------------------------------------


@pytest.mark.warp
def test_rows_without_room_are_not_ranked():
    """MuJoCo Warp counts the rows that it dropped, too: the ranks of the others are still their order."""
    warp.init()
    keys = torch.tensor([[40, 10, 30], [5, 25, 15]], dtype=torch.int64)
    ranks = torch.full((2, 3), -1, dtype=torch.int32)
    nefc = torch.tensor([7, 2], dtype=torch.int32)
    arrays = [warp.from_torch(tensor) for tensor in (nefc, keys, ranks)]
    warp.launch(ordered_kernels.row_ranks, (2, 3), arrays[:2], arrays[2:], device="cpu")
    assert ranks.tolist() == [[2, 0, 1], [0, 1, -1]]


@pytest.mark.warp
def test_rows_without_room_exert_no_force():
    """One degree of freedom on which each of three rows pushes with its own force; a fourth was dropped."""
    warp.init()
    worlds, rows = 2, 3
    force = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    addresses = torch.arange(rows, dtype=torch.int32).expand(worlds, rows).contiguous()
    inputs = [
        torch.tensor([4, 2], dtype=torch.int32),  # nefc
        torch.ones((worlds, rows), dtype=torch.int32),  # nonzeros of each row
        addresses,
        torch.zeros((worlds, 1, rows), dtype=torch.int32),  # their columns
        torch.ones((worlds, 1, rows)),
        force,
        torch.zeros((worlds, 1), dtype=torch.int32),
        torch.ones(worlds, dtype=torch.int32),
        torch.zeros(worlds, dtype=torch.bool),
    ]
    total = torch.full((worlds, 1), -1.0)
    arrays = [warp.from_torch(tensor) for tensor in (*inputs, total)]
    warp.launch(ordered_kernels.constraint_force, (worlds, rows), arrays[:-1], arrays[-1:], device="cpu")
    assert total.tolist() == [[7.0], [24.0]]


@pytest.mark.parametrize("device", DEVICES)
def test_overflow_of_rows_is_reported(device):
    """Robots against the cuboid in a buffer that is too small: the error that the physics raises without the flag."""
    physics = WarpPhysics(SCENES["cuboid"], NUM_ENVS, device=device, nconmax=96, njmax=17, deterministic=True)
    physics.check()
    shake(physics, 20)
    with pytest.raises(SimulatorError, match="buffer overflow"):
        physics.check()
    physics.close()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_team_of_four_starts_with_the_measured_buffers(name, device, monkeypatch):
    """The first step, which is recorded, begins with robots that stand apart, as the buffers were measured for."""
    rows = []
    record = mjwarp.warp_graphs.record

    def watched(advance, on_device):
        graph = record(advance, on_device)
        rows.append(int(advance.__self__.demand().rows))
        return graph

    monkeypatch.setattr(mjwarp.warp_graphs, "record", watched)
    physics = WarpPhysics(Scene(4, OBJECTS[name]), NUM_ENVS, device=device, deterministic=True)
    assert 0 < rows[0] < physics.njmax / 2.5
    physics.close()


# -- the flag reaches the physics ------------------------------------------------------------------------------------


@pytest.mark.warp
def test_kernels_of_a_deterministic_step_are_ours(monkeypatch):
    """Sentinel: with the flag a step launches our kernels in place of those with unordered sums, without it none."""
    launched = {}
    for deterministic in (True, False):
        physics = make("walk", deterministic=deterministic)
        names = launched.setdefault(deterministic, [])
        plain = warp.launch

        def note(kernel, *args, names=names, plain=plain, **kwargs):
            names.append((kernel.key, kernel.func.__module__))
            return plain(kernel, *args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(warp, "launch", note)
            physics._advance()
        physics.close()
    ours = {name for name, module in launched[True] if module == "mapush.device.ordered_kernels"}
    assert ours == {
        "row_velocities", "row_keys", "row_ranks", "scatter_rows", "gather_rows", "move_contacts", "scatter_blocks",
        "gather_blocks", "constraint_force", "hessian", "gradient", "changed_gradient", "hessian_change",
    }  # fmt: skip
    replaced = {"_JTDACJ", "_update_gradient_grad", "_update_gradient_h_incremental", "_init_qfrc_constraint"}
    for name, _ in launched[True]:
        assert not any(part in name for part in replaced), name
    assert not any(module == "mapush.device.ordered_kernels" for _, module in launched[False])


@pytest.mark.warp
def test_step_without_the_flag_is_mujoco_warps_own():
    """After a deterministic step everything is as before: only steps of deterministic physics are ordered."""
    before = constraint._sort_constraints, solver._JTDACJ_sparse, solver._update_gradient_grad
    physics = make("walk")
    assert physics._m.opt.deterministic == 3
    assert physics._m.is_sparse
    assert (constraint._sort_constraints, solver._JTDACJ_sparse, solver._update_gradient_grad) == before
    physics.close()
    plain = make("walk", deterministic=False)
    assert plain._m.opt.deterministic == 0
    plain.close()


class Reached(Exception):
    """The physics was asked for; its arguments are known."""


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("task", ["cuboid", "walk"])
def test_flag_reaches_the_physics(task, deterministic, monkeypatch):
    """Sentinel: `--deterministic` of a run becomes the argument of the physics, and only if it is set."""
    asked = []

    def refuse(*args, **kwargs):
        asked.append(kwargs.get("deterministic", False))
        raise Reached

    monkeypatch.setattr(mjwarp, "WarpPhysics", refuse)
    config = preset(task)
    config = dataclasses.replace(config, deterministic=deterministic, sim=SimConfig(backend="warp"), num_envs=3)
    build = {"cuboid": assembly.make_push_env, "walk": assembly.make_walk_env}[task]
    with pytest.raises(Reached):
        build(config)
    assert asked == [deterministic]


def test_physics_on_the_cpu_takes_the_flag():
    """MuJoCo on the CPU always computes the same bits, so it needs no argument."""
    physics = make_physics(SimConfig(backend="mujoco", threads=1), Scene(1), 2, seed=0, deterministic=True)
    physics.close()


# -- refusals --------------------------------------------------------------------------------------------------------


def elliptic(model):
    """Give the model elliptic friction cones."""
    model.opt.cone = mujoco.mjtCone.mjCONE_ELLIPTIC


def dry(model):
    """Give one joint dry friction."""
    model.dof_frictionloss[7] = 0.2


@pytest.mark.parametrize("change, named", [(elliptic, "elliptic friction cones"), (dry, "dry friction")])
def test_scene_with_other_sums_is_refused(change, named):
    """A model whose step contains sums that were not replaced is refused by name; ours are not."""
    model = build_model(Scene(1), visuals=False)
    require_orderable(model)
    change(model)
    with pytest.raises(ConfigError, match="--deterministic cannot be kept") as caught:
        require_orderable(model)
    assert named in caught.value.got


def test_model_with_a_tendon_is_refused():
    """Tendons have sums of their own."""
    xml = """<mujoco><worldbody><body><joint name="a"/><geom size="1"/></body></worldbody>
    <tendon><fixed name="t"><joint joint="a" coef="1"/></fixed></tendon></mujoco>"""
    with pytest.raises(ConfigError) as caught:
        require_orderable(mujoco.MjModel.from_xml_string(xml))
    assert caught.value.got == "ntendon 1"


def test_other_version_of_mujoco_warp_is_refused(monkeypatch):
    """The kernels replace those of one version; with any other the promise would be empty."""
    monkeypatch.setattr(ordered_sums.mujoco_warp, "__version__", "4.0.1")
    with pytest.raises(ConfigError, match="--deterministic cannot be kept") as caught:
        require_orderable(build_model(Scene(1), visuals=False))
    assert caught.value.got == "mujoco-warp 4.0.1"
    assert caught.value.expected == "4.0.0"
