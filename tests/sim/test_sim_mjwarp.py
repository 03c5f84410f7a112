"""Contracts of the GPU simulator, tested on a GPU and, with the same kernels, on Warp's CPU device."""

from __future__ import annotations

import dataclasses
import gc
import re
from types import SimpleNamespace

import pytest
import torch
import warp
from fakes import rows_at
from twins import RANDOM, SEED, map_state, on, place, twins

from mapush.device import warp_graphs, warp_watch
from mapush.errors import CheckpointError, SimulatorError
from mapush.objects import CUBOID, TBLOCK
from mapush.run import measure_contacts
from mapush.sim import mjwarp
from mapush.sim.go1 import DEFAULT_JOINT_POS
from mapush.sim.mjcpu import MujocoPhysics
from mapush.sim.mjwarp import WarpPhysics
from mapush.sim.qpos_layout import MAX_SPEED, rows_of
from mapush.sim.scene import Scene, build_model
from mapush.size import main as size

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

DEVICES = [pytest.param("cpu", marks=pytest.mark.warp), pytest.param("cuda", marks=pytest.mark.gpu)]
NUM_ENVS = 5
SCENE = Scene(2, CUBOID)
DRIFT = 0.05
"""Largest difference of a position after 20 steps on a GPU, whose atomic additions have no fixed order [m, rad]."""


@pytest.fixture(scope="module", params=DEVICES)
def device(request):
    """The device of Warp."""
    return request.param


@pytest.fixture(scope="module")
def shared(device):
    """Two equal physics, which tests reset instead of making their own, because that takes a second."""
    pair = make(device), make(device)
    yield pair
    for physics in pair:
        physics.close()


def make(device, seed=SEED, **kwargs):
    """Return the physics of two robots and the cuboid."""
    return WarpPhysics(SCENE, NUM_ENVS, seed=seed, device=device, **kwargs)


def default_targets(physics):
    """Return the default pose for all robots."""
    return torch.tensor(DEFAULT_JOINT_POS, device=physics.device).repeat(physics.num_envs, physics.num_agents, 1)


def crowd(physics):
    """Return a state with every robot against the object, so that all kinds of contact occur at once."""
    state = physics.state()
    state.robot_pos_w[:, :, 0] = torch.tensor((-0.9, 0.9), device=physics.device)
    state.robot_pos_w[:, :, 1] = torch.linspace(-0.1, 0.1, NUM_ENVS, device=physics.device).unsqueeze(1)
    state.object_pos_w[:, :2] = 0.0
    return state


@pytest.fixture
def crowded(shared):
    """Both physics of `shared`, in the state `crowd` and without a past."""
    start = MujocoPhysics(SCENE, NUM_ENVS, threads=1).state()
    for physics in shared:
        place(physics, start)
        place(physics, crowd(physics))
        physics.check()
    return shared


def shake(physics, steps, start=0):
    """Step with targets that shake the robots and depend only on the step; return the last state."""
    for step in range(start, start + steps):
        noise = torch.randn(NUM_ENVS, 2, 12, generator=torch.Generator().manual_seed(step))
        state = physics.step(default_targets(physics) + 0.3 * noise.to(physics.device))
    return state


def assert_equal(one, other):
    """Compare two states bit for bit."""
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert torch.equal(a, b), f"{field.name} differs by {(a - b).abs().max()}"


def assert_same_future(one, other):
    """Compare two states after the same steps: bit for bit on the CPU, within `DRIFT` on a GPU."""
    if one.joint_pos.device.type == "cpu":
        assert_equal(one, other)
    else:
        torch.testing.assert_close(rows_of(one)[0], rows_of(other)[0], rtol=0.0, atol=DRIFT)


# -- state, reset, push ----------------------------------------------------------------------------------------------


def test_new_physics_stands_where_mujoco_stands(device):
    """A new physics is in the keyframe `home`, as on MuJoCo, and `check` passes."""
    cpu, physics = twins(Scene(2, TBLOCK), NUM_ENVS, device)
    assert_equal(on(cpu.device, physics.state()), cpu.state())
    physics.check()
    assert physics.demand().rows == 0


@pytest.mark.parametrize("randomization", [None, RANDOM])
def test_seed_draws_what_it_draws_on_mujoco(device, randomization):
    """With the same seed, friction, masses and gains of each env are those of the CPU simulator."""
    cpu, physics = twins(SCENE, NUM_ENVS, device, randomization)
    expected, fields = cpu.state_dict()["fields"], physics.state_dict()["fields"]
    if randomization is None:
        assert set(fields) == {"pair_friction"}
    else:
        assert set(fields) == set(expected)
    for name, values in fields.items():
        torch.testing.assert_close(values.cpu().double(), expected[name], rtol=1e-6, atol=1e-7)
        assert not torch.equal(values[0], values[1]), name


def test_masses_have_the_consequences_they_have_on_mujoco(device):
    """The fields that the solver derives from an env's masses are those that MuJoCo derives."""
    cpu, physics = twins(SCENE, NUM_ENVS, device, RANDOM)
    for name in ("body_subtreemass", "body_invweight0", "dof_invweight0"):
        expected = torch.stack([torch.tensor(getattr(cpu.batch.get_model(env), name)) for env in range(NUM_ENVS)])
        derived = torch.from_numpy(getattr(physics._m, name).numpy())
        torch.testing.assert_close(derived.view(expected.shape).double(), expected, rtol=1e-4, atol=1e-6)


def test_state_is_a_copy(crowded):
    """Further steps do not change a returned state, and writing to it does not change the simulation."""
    physics, _ = crowded
    for state in (physics.state(), shake(physics, 1)):
        kept = map_state(torch.clone, state)
        shake(physics, 2)
        assert_equal(state, kept)
        assert not torch.equal(state.robot_pos_w, physics.state().robot_pos_w)
    current = physics.state()
    physics.state().robot_pos_w.zero_()
    assert_equal(physics.state(), current)


def test_reset_of_some_envs_does_not_change_the_others(crowded):
    """A reset sets its envs to the given state, and changes neither a bit nor the future of the others."""
    physics, untouched = crowded
    for each in crowded:
        shake(each, 10)
    before, where = physics.state(), torch.tensor([False, True, False, True, False], device=physics.device)
    start = crowd(physics)
    start.robot_pos_w[..., 2] += torch.linspace(0.1, 0.5, NUM_ENVS, device=physics.device).unsqueeze(1)
    start.robot_lin_vel_w[..., 0] += 0.5
    physics.reset(where, start)
    assert_equal(rows_at(physics.state(), where), rows_at(start, where))
    assert_equal(rows_at(physics.state(), ~where), rows_at(before, ~where))
    assert_same_future(rows_at(shake(physics, 10, 10), ~where), rows_at(shake(untouched, 10, 10), ~where))


def test_reset_forgets_the_past(crowded):
    """After a reset, an env with contacts and a push in its past moves as one without."""
    physics, fresh = crowded
    start = fresh.state()
    wrench = torch.full((NUM_ENVS, 2, 3), 20.0, device=physics.device)
    physics.push(wrench, 0.1 * wrench)
    shake(physics, 10)
    for each in crowded:
        place(each, start)
    assert_same_future(shake(physics, 10), shake(fresh, 10))
    assert not bool(physics.state_dict()["warp"]["xfrc_applied"].any())


def test_reset_of_no_env_changes_nothing(crowded):
    """A reset of no env is valid and changes nothing."""
    physics, _ = crowded
    before = shake(physics, 3)
    physics.reset(torch.zeros(NUM_ENVS, dtype=torch.bool, device=physics.device), crowd(physics))
    assert_equal(physics.state(), before)


def test_push_accelerates_as_on_mujoco(device):
    """On robots in the air, a force and a torque on the trunks act as on MuJoCo, until the next push."""
    cpu, physics = pair = twins(SCENE, NUM_ENVS, device)
    start = cpu.state()
    start.robot_pos_w[..., 2] = 3.0
    force = torch.randn(NUM_ENVS, 2, 3, generator=torch.Generator().manual_seed(1)) * 20.0
    ends = []
    for each in pair:
        place(each, start)
        each.push(force.to(each.device), 0.1 * force.flip(-1).to(each.device))
        for _ in range(5):
            each.step(default_targets(each))
        each.push(0.0 * force.to(each.device), 0.0 * force.to(each.device))
        for _ in range(3):
            ends.append(each.step(default_targets(each)))
    pushed = ends[2].robot_lin_vel_w[..., :2] * (force[..., :2].sign())
    assert float(pushed.mean()) > 0.05
    torch.testing.assert_close(rows_of(ends[2]), rows_of(on(cpu.device, ends[5])), rtol=0.0, atol=2e-4)


# -- saved and loaded ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("randomization", [None, RANDOM])
def test_state_dict_continues_bit_for_bit(device, randomization):
    """A physics that loads a state in contact continues as the saved one, even if its constants were different."""
    physics = make(device, SEED, randomization=randomization)
    other = make(device, 99, randomization=randomization)
    place(physics, crowd(physics))
    physics.push(torch.full((NUM_ENVS, 2, 3), 8.0, device=device), torch.zeros(NUM_ENVS, 2, 3, device=device))
    shake(physics, 15)
    saved = physics.state_dict()
    expected = shake(physics, 10, 15)
    shake(other, 4)
    for each in (other, physics):
        each.load_state_dict(saved)
        assert_same_future(shake(each, 10, 15), expected)


@pytest.mark.parametrize(
    "make_other",
    [
        lambda device: WarpPhysics(SCENE, 3, device=device),
        lambda device: WarpPhysics(Scene(1, CUBOID), NUM_ENVS, device=device),
        lambda device: make(device, randomization=RANDOM),
        lambda device: MujocoPhysics(SCENE, NUM_ENVS, threads=1),
    ],
    ids=["num_envs", "num_agents", "randomization", "simulator"],
)
def test_state_dict_of_a_different_simulation_is_refused(shared, device, make_other):
    """A state of a different size, scene or simulator is refused and changes nothing."""
    physics, _ = shared
    before = physics.state()
    with pytest.raises(CheckpointError, match="does not fit"):
        physics.load_state_dict(make_other(device).state_dict())
    assert_equal(physics.state(), before)


# -- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_check_after_a_target_that_is_not_finite_names_the_env(crowded, value):
    """After a target that is not finite, `check` names the env; the others are not affected, and a reset repairs it."""
    physics, healthy = crowded
    targets = default_targets(physics)
    expected = healthy.step(targets)
    targets[2, 1, 5] = value
    state = physics.step(targets)
    with pytest.raises(SimulatorError) as caught:
        physics.check()
    assert caught.value.where == "env 2"
    others = torch.tensor([0, 1, 3, 4], device=physics.device)
    assert_same_future(rows_at(state, others), rows_at(expected, others))
    place(physics, crowd(healthy))
    physics.check()
    shake(physics, 3)
    physics.check()


@pytest.mark.parametrize("speed", [1.5 * MAX_SPEED, 2.5e4, float("nan")])
def test_check_of_a_diverged_env_names_it_once(crowded, speed):
    """An env that was impossibly fast since the last `check` raises an error with its speed, once."""
    physics, _ = crowded
    start = physics.state()
    state = physics.state()
    state.object_pos_w[:, 2] = 9.0
    state.object_lin_vel_w[4] = speed
    place(physics, state)
    physics.step(default_targets(physics))
    place(physics, start)
    physics.step(default_targets(physics))
    with pytest.raises(SimulatorError) as caught:
        physics.check()
    assert caught.value.where == "env 4"
    assert f"{speed:g} in 1 envs" in caught.value.got
    physics.check()


@pytest.mark.parametrize(
    ("flag", "sizes"),
    [
        ("nconmax", {"nconmax": 2, "njmax": 192}),
        ("njmax", {"nconmax": 48, "njmax": 9}),
        ("nconmax", {"nconmax": 3, "njmax": 12}),
    ],
)
def test_check_of_a_full_buffer_names_flags_that_are_enough(device, flag, sizes, capfd):
    """A full buffer raises an error with demand, limit and flags; following them leads to success; no kernel prints."""
    physics = make(device, **sizes)
    capfd.readouterr()
    place(physics, crowd(physics))
    shake(physics, 10)
    with pytest.raises(SimulatorError, match="buffer overflow") as caught:
        physics.check()
    assert capfd.readouterr() == ("", "")
    assert caught.value.where.startswith("env ")
    assert caught.value.expected == "at most {nconmax} contacts per env and {njmax} rows in each".format(**sizes)
    advice = dict(re.findall(r"--sim\.(\w+) (\d+)", caught.value.fix))
    assert int(advice[flag]) > sizes[flag]
    for _ in range(4):  # the demand of a world that lost contacts is underestimated
        roomy = make(device, **{name: int(number) for name, number in advice.items()})
        place(roomy, crowd(roomy))
        shake(roomy, 10)
        try:
            roomy.check()
            return
        except SimulatorError as error:
            advice = dict(re.findall(r"--sim\.(\w+) (\d+)", error.fix))
    pytest.fail(f"still too small with {advice}")


def test_solver_that_stops_early_is_counted_and_not_fatal(device, monkeypatch, capfd):
    """Envs whose solver reached its limit, and the largest demand, are kept until the next `check`, which passes."""

    def impatient(scene, visuals=True):
        model = build_model(scene, visuals)
        model.opt.iterations = 1
        return model

    monkeypatch.setattr(mjwarp, "build_model", impatient)
    physics = make(device)
    capfd.readouterr()
    place(physics, crowd(physics))
    shake(physics, 5)
    demand = physics.demand()
    assert demand.unconverged == NUM_ENVS
    assert demand.contacts > 4.0
    assert demand.rows > 12
    in_the_air = physics.state()
    in_the_air.robot_pos_w[..., 2] = 3.0
    in_the_air.object_pos_w[:, 2] = 9.0
    place(physics, in_the_air)
    shake(physics, 1)
    assert physics.demand() == demand
    assert physics.check() == dataclasses.asdict(demand)
    assert physics.demand().unconverged == 0
    assert physics.demand().contacts == 0.0
    assert physics.demand().rows == 0
    assert capfd.readouterr() == ("", "")


def test_first_compilation_for_a_gpu_is_announced(tmp_path, monkeypatch, capsys):
    """One line is printed if Warp's cache has no kernel of mapush for a GPU; none otherwise, and none on a CPU."""
    monkeypatch.setattr(warp_watch.warp.config, "kernel_cache_dir", str(tmp_path))
    folder = tmp_path / "wp_mapush.device.warp_watch_0ce0189"
    folder.mkdir()
    (folder / "wp_mapush.device.warp_watch_0ce0189.cpu202debe6.o").touch()
    warp_watch.announce_compilation(torch.device("cpu"))
    assert capsys.readouterr().out == ""
    warp_watch.announce_compilation(torch.device("cuda", 0))
    assert capsys.readouterr().out == "compiling the GPU kernels: about two minutes the first time\n"
    (folder / "wp_mapush.device.warp_watch_0ce0189.sm90.cubin").touch()
    warp_watch.announce_compilation(torch.device("cuda", 0))
    assert capsys.readouterr().out == ""


def test_compilation_is_announced_before_anything_is_compiled(device, monkeypatch):
    """The announcement comes before anything is created on the device."""

    def announce(device):
        raise InterruptedError(device.type)

    monkeypatch.setattr(mjwarp, "announce_compilation", announce)
    monkeypatch.setattr(WarpPhysics, "_upload", None)
    with pytest.raises(InterruptedError, match=torch.device(device).type):
        WarpPhysics(SCENE, 3, device=device)


def test_close_twice_is_harmless(device):
    """`close` can be called twice."""
    physics = make(device)
    physics.close()
    physics.close()


# -- sizes of the buffers --------------------------------------------------------------------------------------------


def test_size_prints_flags_that_are_enough(device, capsys, monkeypatch):
    """The printed flags are twice the measured demand, and are enough for a team that piles up in a different way."""
    demands, measure = [], measure_contacts.measure

    def remember(config, *others):
        demands.append(measure(config, *others))
        return demands[-1]

    monkeypatch.setattr(measure_contacts, "measure", remember)
    words = f"cuboid --num-envs 5 --walk-s 2.0 --flail-s 1.0 --device {device}".split()
    assert size(words) == 0
    [said] = re.findall(r"--sim.nconmax (\d+) --sim.njmax (\d+)\n", capsys.readouterr().out)
    nconmax, njmax = map(int, said)
    assert nconmax - 1 < 2 * demands[0].contacts <= nconmax
    assert njmax == 2 * demands[0].rows
    physics = make(device, nconmax=nconmax, njmax=njmax)
    place(physics, crowd(physics))
    shake(physics, 10)
    assert (physics.demand().nconmax, physics.demand().njmax) == (nconmax, njmax)
    physics.check()


@pytest.mark.warp
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cubiod"], "did you mean 'cuboid'"),
        ("cuboid --num-envs 5 --nconmax 1 --walk-s 0.5 --flail-s 0.1 --device cpu".split(), "buffer overflow"),
    ],
)
def test_size_that_cannot_be_measured_exits_with_2(words, said, capsys):
    """An unknown object or a full buffer ends with one message and exit code 2."""
    assert size(words) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert not captured.out


@pytest.mark.warp
@pytest.mark.parametrize("on_gpu", [False, True])
def test_recording_collects_garbage_only_on_a_gpu(monkeypatch, on_gpu):
    """CUDA forbids to destroy a graph during a recording; on the CPU, a collection is time lost."""
    collected, launched = [], []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(len(launched)))
    with warp.ScopedDevice("cpu"):
        warp_graphs.record(lambda: launched.append(gc.isenabled()), SimpleNamespace(is_cuda=on_gpu))
    assert collected == [1] * on_gpu
    assert launched == [True, not on_gpu]
