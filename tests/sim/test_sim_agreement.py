"""MuJoCo Warp against MuJoCo: single steps from the same states, and rollouts under the same commands.

Rollouts in contact are chaotic, so after a few steps only their statistics are compared.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

import pytest
import torch
from twins import RANDOM, joined, map_state, on, place, towards_object, twins

from mapush.config import TaskConfig
from mapush.env.push import PushEnv
from mapush.env.resets import Spawner
from mapush.errors import SimulatorError
from mapush.evaluation.walking_course import CourseRecording
from mapush.evaluation.walking_trials import COMMAND_GRID
from mapush.objects import CUBOID, OBJECTS
from mapush.sim.geometry import rotate_inverse
from mapush.sim.mjcpu import MujocoPhysics
from mapush.sim.physics import STEP_DT
from mapush.sim.qpos_layout import rows_of
from mapush.sim.scene import Scene
from mapush.sim.simulator import Simulator
from mapush.sim.walking import WalkingPolicy

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

DEVICES = [pytest.param("cpu", marks=pytest.mark.warp), pytest.param("cuda", marks=pytest.mark.gpu)]
MOMENTS = range(60, 160, 5)  # env steps of a rollout in which robots push
THRESHOLD = 0.01
"""A larger difference of a velocity [m/s or rad/s] means that only one of the two simulators has a contact."""


@pytest.fixture(scope="module", params=DEVICES)
def device(request):
    """The device of Warp. With Warp on the CPU, torch's threads would compete for the same cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield request.param
    torch.set_num_threads(threads)


@functools.lru_cache(maxsize=None)
def pushing(name, num_envs):
    """Return the states and joint targets of pushing teams at `MOMENTS`, concatenated, recorded on MuJoCo."""
    item, policy = OBJECTS[name], WalkingPolicy.load()
    physics = MujocoPhysics(Scene(item.num_agents, item), num_envs, seed=3, threads=1)
    place(physics, Spawner(item, num_envs, torch.Generator().manual_seed(0), 0.6).draw()[0])
    state, states, joint_targets = physics.state(), [], []
    memory = torch.zeros(num_envs, item.num_agents, policy.memory_dim)
    for step in range(max(MOMENTS) + 1):
        targets, memory = policy.step(state, towards_object(state), memory)
        if step in MOMENTS:
            states.append(state)
            joint_targets.append(targets)
        state = physics.step(targets)
    return joined(states), torch.cat(joint_targets)


@pytest.mark.parametrize(
    ("name", "num_envs", "randomization", "median", "bulk", "most_apart"),
    [
        ("cuboid", 25, None, 5e-5, 4e-4, 0.01),
        ("cuboid", 5, RANDOM, 5e-5, 4e-4, 0.02),
        ("tblock", 5, None, 5e-5, 4e-4, 0.02),
        ("cylinder", 5, None, 2e-4, 3e-3, 0.05),
    ],
)
def test_step_from_recorded_states_agrees(device, name, num_envs, randomization, median, bulk, most_apart):
    """After one env step from each state, velocities agree up to float32 noise and contacts that only one side has."""
    state, targets = pushing(name, num_envs)
    assert float(state.object_lin_vel_w[:, :2].norm(dim=1).mean()) > 0.2
    item, rows = OBJECTS[name], []
    for physics in twins(Scene(item.num_agents, item), len(targets), device, randomization):
        place(physics, state)
        rows.append(rows_of(on("cpu", physics.step(targets.to(physics.device)))))
        physics.check()
        physics.close()
    (qpos, qvel), (warp_qpos, warp_qvel) = rows
    apart = (qvel - warp_qvel).abs().amax(dim=1)
    assert float(apart.median()) < median
    assert float(apart.quantile(0.95)) < bulk
    assert float((apart > THRESHOLD).float().mean()) <= most_apart
    assert float((qpos - warp_qpos).abs().amax(dim=1).quantile(0.95)) < bulk * STEP_DT


# -- closed loop -----------------------------------------------------------------------------------------------------


def roam(physics, start, command, seconds):
    """Let robots walk from `start` under `command`, a function of the state; return the recording, on the CPU."""
    simulator = Simulator(physics, WalkingPolicy.load(device=str(physics.device)))
    place(physics, start)
    state, states, commands = physics.state(), [], []
    for _ in range(round(seconds / STEP_DT)):
        commands.append(command(state))
        state = simulator.step(commands[-1], state)
        states.append(state)
    simulator.check()
    simulator.close()
    run = on("cpu", map_state(lambda *values: torch.stack(values), *states))
    velocity = rotate_inverse(run.robot_quat_w, run.robot_lin_vel_w)
    yaw_rate = run.robot_ang_vel_b[..., 2]
    object_x = None
    if run.object_pos_w is not None:
        object_x = run.object_pos_w[..., 0]
    asked = torch.stack(commands).cpu()
    return CourseRecording(
        asked, run.robot_pos_w, run.robot_quat_w, velocity, yaw_rate, torch.zeros_like(yaw_rate), object_x
    )


def test_walking_follows_commands_as_well_as_on_mujoco(device):
    """The mean tracking errors of each command differ by at most 0.02 m/s and 0.03 rad/s, and nobody falls."""
    grid, worlds, seconds = (COMMAND_GRID, 4, 10.0) if device == "cuda" else (COMMAND_GRID[::10], 3, 5.0)
    commands = torch.tensor(grid).repeat_interleave(worlds, dim=0).unsqueeze(1)
    runs = []
    for physics in twins(Scene(1), len(commands), device):
        asked, start = commands.to(physics.device), on("cpu", physics.state())
        start.joint_pos.mul_(1.0 + 0.1 * torch.randn(start.joint_pos.shape, generator=torch.Generator().manual_seed(0)))
        runs.append(roam(physics, start, lambda state, asked=asked: asked, seconds))
    assert [run.falls for run in runs] == [0, 0]

    def per_command(errors):
        return CourseRecording.scored(errors).mean(dim=(0, 2)).view(len(grid), worlds).mean(dim=1)

    linear, warp_linear = (per_command(run.velocity_error) for run in runs)
    turn, warp_turn = (per_command(run.yaw_rate_error) for run in runs)
    assert 0.0 < float(linear.mean()) < 0.08
    assert 0.0 < float(turn.mean()) < 0.10
    assert float((linear - warp_linear).abs().max()) <= 0.02
    assert float((turn - warp_turn).abs().max()) <= 0.03


def test_object_travels_as_far_as_on_mujoco(device):
    """Two robots push the cuboid equally far; each env has its own friction, the same on both simulators."""
    num_envs, seconds = 10, 5.0
    if device == "cuda":
        num_envs = 64
    runs = []
    for physics in pair_behind_the_object(num_envs, device):
        ahead = torch.tensor((0.5, 0.0, 0.0), device=physics.device).expand(num_envs, 2, 3)
        runs.append(roam(physics, on("cpu", physics.state()), lambda state, ahead=ahead: ahead, seconds))
    travel, warp_travel = (run.object_x[-1] - run.object_x[0] for run in runs)
    assert [run.falls for run in runs] == [0, 0]
    assert float(travel.min()) > 1.5
    assert float((travel - warp_travel).mean().abs()) < 0.02 * float(travel.mean())
    assert float((travel - warp_travel).abs().quantile(0.9)) < 0.05 * float(travel.mean())


def pair_behind_the_object(num_envs, device):
    """Yield both physics, with robots 0.6 m apart that face the cuboid."""
    for physics in twins(Scene(2, CUBOID), num_envs, device):
        start = on("cpu", physics.state())
        start.robot_pos_w[..., 0] = -CUBOID.parts[0].half_size[0] - 0.4
        start.robot_pos_w[..., 1] = torch.tensor((-0.3, 0.3))
        start.robot_quat_w[:] = torch.tensor((1.0, 0.0, 0.0, 0.0))
        place(physics, start)
        yield physics


# -- the task --------------------------------------------------------------------------------------------------------


def push_envs(num_envs, device, **task):
    """Return the pushing task on both simulators, with the same starts; generators of a GPU draw different numbers."""
    envs = []
    for physics in twins(Scene(2, CUBOID), num_envs, device):
        policy = WalkingPolicy.load(device=str(physics.device))
        envs.append(PushEnv(Simulator(physics, policy), TaskConfig(object="cuboid", **task), seed=0))
    draws = [envs[0]._spawner.draw() for _ in range(7)]
    for env in envs:
        starts = []
        for state, goal in draws:
            starts.append((on(env.device, state), goal.to(env.device)))
        env._spawner.draw = functools.partial(next, itertools.cycle(starts))
    return envs


def test_task_on_warp_starts_as_on_mujoco(device):
    """With the same starts and actions, observations and rewards of the first decisions are the same."""
    envs = push_envs(5, device)
    first = [env.reset() for env in envs]
    for one, other in zip(*map(dataclasses.astuple, first)):
        torch.testing.assert_close(one, other.cpu(), rtol=0.0, atol=1e-5)
    for step in range(12):
        actions = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(step))
        cpu, warp = (env.step(actions.to(env.device)) for env in envs)
        torch.testing.assert_close(cpu.observation.obs, warp.observation.obs.cpu(), rtol=0.0, atol=2e-4)
        torch.testing.assert_close(cpu.observation.share_obs, warp.observation.share_obs.cpu(), rtol=0.0, atol=5e-3)
        torch.testing.assert_close(cpu.reward, warp.reward.cpu(), rtol=0.0, atol=1e-5)
        assert torch.equal(cpu.done, warp.done.cpu())
    for env in envs:
        env.check()


def test_task_check_raises_an_error_of_the_physics(device):
    """`check` of the task raises the error that `check` of the physics raises."""
    _, env = push_envs(5, device)
    env.reset()
    env.simulator.physics.step(torch.full((5, 2, 12), float("nan"), device=env.device))
    with pytest.raises(SimulatorError, match="diverged"):
        env.check()


def test_episodes_on_warp_end_as_on_mujoco(device):
    """Teams that run at the object get the same mean reward, push equally fast and collide equally often."""
    num_envs, decisions = 15, 25
    if device == "cuda":
        num_envs = 200
    rewards, collisions, speeds = [], [], []
    for env in push_envs(num_envs, device, steps_per_decision=10):
        env.reset()
        steps, ended, moved = [], [], []
        for _ in range(decisions):
            transition = env.step(2.0 * towards_object(env.simulator.state()))
            steps.append(transition.reward.mean())
            ended.append((transition.done & transition.outcome["collision"]).sum())
            moved.append(env.simulator.state().object_lin_vel_w[:, :2].norm(dim=1).mean())
        env.check()
        env.close()
        rewards.append(float(torch.stack(steps).mean()))
        collisions.append(int(torch.stack(ended).sum()))
        speeds.append(float(torch.stack(moved).mean()))
    assert rewards[1] == pytest.approx(rewards[0], rel=0.1)
    assert speeds[1] == pytest.approx(speeds[0], rel=0.1)
    assert speeds[0] > 0.1
    assert abs(collisions[1] - collisions[0]) <= 3.0 * max(sum(collisions), 1) ** 0.5
