"""Bad input and failures of the physics are errors; results are reproducible. On the CPU and with MuJoCo Warp."""

from __future__ import annotations

import math

import pytest
import torch
from physics_scenes import (
    PLACES,
    Place,
    actor,
    asset,
    bodies,
    body,
    box,
    dofs,
    forces,
    ground,
    hinge,
    roots,
    run,
    with_mass,
)

from isaac_standin.assets.asset import Shape
from isaac_standin.errors import StandinError
from isaac_standin.scene.actor import DRIVE_EFFORT, DRIVE_POSITION
from isaac_standin.simulation import Simulation
from mapush.errors import SimulatorError

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

MOST_STEPS_UNTIL_AN_ERROR = 64
ARM = asset(body("base"), body("arm", parent=0, joint=hinge(), com=(0.3, 0.0, 0.0)), fixed_base=True)
BOX = asset(box("box", (0.2, 0.1, 0.1), 1.0))
CPU = Place("mujoco", "cpu")


@pytest.fixture(scope="module", params=PLACES)
def place(request):
    """Where the physics runs."""
    return request.param


# -- what cannot be simulated ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("envs", [[], [[], []]])
def test_nothing_to_simulate_is_an_error(envs):
    """`prepare` without envs, or with empty ones, says so."""
    with pytest.raises(StandinError) as caught:
        CPU.simulation(*envs)
    assert "nothing to simulate" in caught.value.what
    assert f"{len(envs)} envs" in caught.value.got


def other_envs():
    """Return for each way in which envs may not differ: an env, and one that differs from it."""
    one = actor(BOX)
    driven = actor(ARM, mode=DRIVE_EFFORT)
    return {
        "fewer actors": ([one, one], [one]),
        "no actors": ([one], []),
        "other asset": ([one], [driven]),
        "other order": ([one, driven], [driven, one]),
        "other filter": ([one], [actor(BOX, filter=1)]),
        "other groups": ([one, one], [one, actor(BOX, group=1)]),
        "other drive": ([driven], [actor(ARM, mode=DRIVE_POSITION)]),
    }


@pytest.mark.parametrize("case", other_envs())
def test_env_with_other_actors_is_an_error_that_names_it(case):
    """All envs need the same actors; the error names the first that differs."""
    first, other = other_envs()[case]
    with pytest.raises(StandinError) as caught:
        CPU.simulation(first, first, other, first)
    assert caught.value.where == "env 2"


def test_groups_may_have_other_numbers_in_other_envs():
    """Programs give the group `i` to all actors of env `i`, which is the same scene."""
    envs = [[actor(BOX, (0.0, 0.0, 0.1), group=env), actor(BOX, (0.0, 0.0, 0.3), group=env)] for env in range(3)]
    simulation = CPU.simulation(*envs, on=ground())
    run(simulation, 100)
    torch.testing.assert_close(roots(simulation)[:, 1, 2], torch.full((3,), 0.3).double(), rtol=0.0, atol=1e-3)


# -- divergence ------------------------------------------------------------------------------------------------------


def simulate_until_it_fails(simulation, before=lambda: None):
    """Simulate until the error, which has to come by itself, and return it."""
    with pytest.raises(SimulatorError) as caught:
        for _ in range(MOST_STEPS_UNTIL_AN_ERROR):
            before()
            simulation.simulate()
        if simulation.engine.device.type == "cuda":  # the flags arrive when the GPU has come that far
            torch.cuda.synchronize()
        simulation.simulate()
    return caught.value


@pytest.mark.parametrize("effort", [math.nan, math.inf, 1e20])
def test_wild_effort_is_an_error_that_names_the_env(place, effort):
    """An effort that is not finite, or far too large, ends with the number of the env."""
    simulation = place.simulation(*[[actor(ARM, mode=DRIVE_EFFORT)] for _ in range(3)])
    efforts = torch.tensor([0.1, effort, 0.2], device=simulation.engine.device)
    error = simulate_until_it_fails(simulation, lambda: simulation.set_efforts(efforts))
    assert "diverged" in error.what
    assert error.where == "envs 1"


def test_target_that_is_not_a_number_is_an_error(place):
    """A position target of nan is not hidden by the limit of the effort."""
    envs = [[actor(ARM, mode=DRIVE_POSITION, stiffness=5.0, effort=10.0)] for _ in range(3)]
    simulation = place.simulation(*envs)
    simulation.position_targets[2] = math.nan
    assert simulate_until_it_fails(simulation).where == "envs 2"


@pytest.mark.parametrize("on", [ground(), None], ids=["on the ground", "in the air"])
def test_root_state_that_is_not_a_number_is_an_error(place, on):
    """A position of nan that is set is found, though it is no velocity, also where nothing touches the body."""
    simulation = place.simulation(*[[actor(BOX, (0.0, 0.0, 0.1))] for _ in range(3)], on=on)
    states = simulation.state.roots.clone()
    states[1, 2] = math.nan
    simulation.state.set_roots(states)
    assert simulate_until_it_fails(simulation).where == "envs 1"


def test_check_finds_the_divergence_of_a_single_step(place):
    """`check` raises an error after one bad step, and none before."""
    simulation = place.simulation(*[[actor(ARM, mode=DRIVE_EFFORT)] for _ in range(2)])
    simulation.simulate()
    simulation.engine.check()
    simulation.set_efforts(torch.tensor([0.0, math.inf], device=simulation.engine.device))
    with pytest.raises(SimulatorError) as caught:
        simulation.simulate()
        simulation.engine.check()
    assert caught.value.where == "envs 1"


# -- limits of the GPU's engine --------------------------------------------------------------------------------------

WARP = [each for each in PLACES if each.values[0].engine == "warp"]


@pytest.mark.parametrize("place", WARP, indirect=True)
@pytest.mark.parametrize(
    ("sizes", "option"), [({"nconmax": 1}, "--contacts-per-env"), ({"njmax": 3}, "--rows-per-env")]
)
def test_buffer_that_is_too_small_is_an_error_with_a_size_that_is_enough(place, sizes, option):
    """Too many contacts or rows end with an error; with the sizes that it advises the program runs."""
    envs = [[actor(BOX, (0.0, 0.0, 0.099))] for _ in range(3)]
    error = simulate_until_it_fails(place.simulation(*envs, on=ground(), **sizes))
    assert "overflow" in error.what
    words = error.fix.split()
    contacts, rows = (int(words[words.index(name) + 1]) for name in ("--contacts-per-env", "--rows-per-env"))
    simulation = place.simulation(*envs, on=ground(), nconmax=contacts, njmax=rows)
    run(simulation, 70)


@pytest.mark.parametrize("place", WARP, indirect=True)
def test_check_finds_a_state_that_no_step_has_seen(place):
    """Velocities are watched in the steps; `check` also looks at the state itself, positions included."""
    simulation = place.simulation(*[[actor(BOX)] for _ in range(3)])
    simulation.engine.check()
    simulation.engine.qpos[2, 0] = math.nan
    with pytest.raises(SimulatorError) as caught:
        simulation.engine.check()
    assert caught.value.where == "envs 2"


@pytest.mark.parametrize("place", WARP, indirect=True)
def test_property_that_differs_late_is_an_error_on_a_gpu(place):
    """What was the same in all envs in `prepare` cannot change later; the error names it and what to do."""
    simulation = place.simulation(*[[actor(BOX)] for _ in range(3)])
    simulation.simulate()
    simulation.envs[1] = [with_mass(simulation.envs[1][0], 0, mass=2.0)]
    simulation.properties_changed()
    with pytest.raises(SimulatorError) as caught:
        simulation.simulate()
    assert "body_mass" in caught.value.got
    assert "before prepare_sim" in caught.value.fix


def test_simulations_can_be_closed_twice(place):
    """`close` releases the engine; a second call does nothing."""
    simulation = place.simulation([actor(BOX)], [actor(BOX)])
    simulation.close()
    simulation.close()
    Simulation(simulation.options).close()  # one that was never prepared


# -- reproducibility -------------------------------------------------------------------------------------------------


def walker():
    """Return an asset with two driven legs that touch the ground."""
    foot = Shape("sphere", (0.05,), (0.0, 0.0, -0.3))
    legs = []
    for index, x in enumerate((0.3, -0.3)):
        legs.append(body(f"leg{index}", parent=0, pos=(x, 0.1 * x, 0.0), joint=hinge(f"hip{index}"), shapes=(foot,)))
    return asset(box("trunk", (0.3, 0.2, 0.1), 4.0), *legs)


def history(place, threads=1):
    """Return all tensors after a program with contacts, drives, efforts and resets, in five envs."""
    of = walker()
    envs = []
    for env in range(5):
        drives = {"mode": DRIVE_POSITION, "stiffness": 50.0 + env, "damping": 2.0}
        envs.append([with_mass(actor(of, (0.0, 0.0, 0.33), **drives), 0, mass=4.0 + 0.1 * env)])
    simulation = place.simulation(*envs, on=ground(), threads=threads, substeps=2)
    generator = torch.Generator().manual_seed(1)
    pushed = torch.zeros(5, 3, 3, dtype=torch.float64)
    for step in range(40):
        simulation.position_targets.copy_(torch.randn(5, 2, generator=generator))
        simulation.set_efforts(torch.randn(10, generator=generator).to(simulation.engine.device))
        if step == 20:
            rows = torch.tensor([3, 1], dtype=torch.int32, device=simulation.engine.device)
            simulation.state.set_roots(simulation.state.roots, rows)
        run(simulation, 1)
        pushed += forces(simulation)
    return roots(simulation), dofs(simulation), bodies(simulation), pushed


@pytest.mark.parametrize("place", [each for each in PLACES if each.values[0].device == "cpu"], indirect=True)
def test_same_program_gives_the_same_bits(place):
    """On the CPU, two runs of a program are equal bit for bit, on both engines."""
    for one, other in zip(history(place), history(place), strict=True):
        assert one.abs().max() > 0.0
        assert torch.equal(one, other)


def test_results_do_not_depend_on_threads():
    """On the CPU, one thread and three give the same bits."""
    for one, other in zip(history(CPU, threads=1), history(CPU, threads=3), strict=True):
        assert torch.equal(one, other)
