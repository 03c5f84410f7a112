"""Contracts of the walking task: commands, disturbances, endings, observations and memory."""

from __future__ import annotations

import math

import pytest
import torch
from still import NUM_ENVS, act, command_of, make_env, walk_config

from mapush.config import WalkConfig
from mapush.env.walk import EPISODE_STEPS, WalkEnv
from mapush.errors import NonFiniteError, SpecError
from mapush.sim.geometry import quat_from_rpy, rotate_inverse
from mapush.sim.physics import STEP_DT
from mapush.sim.walking import NUM_JOINTS

pytestmark = pytest.mark.sim

CALM = walk_config(push_force=0.0, push_torque=0.0, kick=0.0)


def record(env, steps):
    """Take `steps` env steps in which no episode ends; return commands (T, E, 3) and forces (T, E, 3)."""
    observation = env.reset().obs
    commands, forces = [], []
    for _ in range(steps):
        env._buffers["length"].zero_()
        commands.append(command_of(observation))
        observation = act(env).observation.obs
        forces.append(env.physics.force_w[:, 0])
    return torch.stack(commands), torch.stack(forces)


def runs(values):
    """Yield start, length and value of each stretch of equal rows of (T, k), except the first and the last."""
    changes = (values[1:] != values[:-1]).any(dim=1).nonzero().flatten().add(1).tolist()
    for start, end in zip(changes, changes[1:]):
        yield start, end - start, values[start]


def runs_of_all(values):
    """Yield the stretches of every env, for values (T, E, k)."""
    for env_id in range(values.shape[1]):
        yield from runs(values[:, env_id])


# -- commands ----------------------------------------------------------------------------------------------------


def test_commands_fill_their_ranges_in_the_configured_shares():
    """Commands fill their ranges; the configured shares of them are zero, or have one component."""
    config = walk_config(command_range=(0.7, 0.5, 0.9), standing_share=0.15, single_axis_share=0.25)
    command = command_of(make_env(config, num_envs=3001).reset().obs)
    for axis, limit in enumerate(config.command_range):
        assert 0.95 * limit < float(command[:, axis].abs().max()) <= limit + 1e-6
        assert abs(float(command[:, axis].mean())) < 0.05
    components = (command != 0.0).sum(dim=1)
    shares = [float((components == count).float().mean()) for count in range(4)]
    assert shares == [pytest.approx(0.15, abs=0.03), pytest.approx(0.25, abs=0.03), 0.0, pytest.approx(0.6, abs=0.03)]
    single = (command[components == 1] != 0.0).float().mean(dim=0)
    torch.testing.assert_close(single, torch.full((3,), 1 / 3), atol=0.08, rtol=0)


@pytest.mark.parametrize("chatter_share, shortest, longest", [(0.0, 50, 300), (1.0, 1, 20)], ids=["slow", "chatter"])
def test_commands_are_held_as_long_as_configured(chatter_share, shortest, longest):
    """Commands change after 1 to 6 s, and in chattering episodes after 0.02 to 0.4 s."""
    config = walk_config(chatter_share=chatter_share, standing_share=0.0)
    commands, _ = record(make_env(config, num_envs=23), 2 * longest + 20)
    lengths = [length for _, length, _ in runs_of_all(commands)]
    assert min(lengths) >= shortest
    assert max(lengths) <= longest
    assert min(lengths) < shortest + 0.2 * longest
    assert max(lengths) > 0.8 * longest


def test_chatter_is_drawn_for_the_configured_share_of_episodes():
    """About the configured share of the episodes has quickly changing commands."""
    commands, _ = record(make_env(walk_config(chatter_share=0.3, standing_share=0.0), num_envs=601), 40)
    changed = (commands[1:] != commands[:-1]).any(dim=2).any(dim=0)
    assert float(changed.float().mean()) == pytest.approx(0.3, abs=0.06)


def test_command_to_stand_stays_until_it_expires():
    """A zero command is held as long as a command to walk."""
    commands, _ = record(make_env(walk_config(chatter_share=0.0, standing_share=0.5), num_envs=107), 400)
    standing = [length for _, length, value in runs_of_all(commands) if not value.any()]
    assert len(standing) > 5
    assert min(standing) >= 50


def test_parked_episodes_have_no_command_to_walk():
    """About the configured share of the episodes has only zero commands."""
    config = walk_config(parked_share=0.4, standing_share=0.0, chatter_share=1.0)
    commands, _ = record(make_env(config, num_envs=401), 30)
    parked = ~commands.any(dim=2).any(dim=0)
    assert float(parked.float().mean()) == pytest.approx(0.4, abs=0.08)


# -- disturbances ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def disturbed():
    """Force stretches (start, length, force in the robot's frame) of many envs, under a ramp of 4 s."""
    config = walk_config(push_ramp_s=4.0)
    env = make_env(config, num_envs=251)
    _, forces = record(env, 450)
    forces = rotate_inverse(env.physics.state().robot_quat_w[:, 0].expand(450, 251, 4), forces)
    return config, [stretch for stretch in runs_of_all(forces) if stretch[2].any()]


def test_pushes_grow_over_the_ramp_and_mostly_oppose_the_heading(disturbed):
    """A push lasts 0.5 to 6 s, is horizontal, stays below the ramp, and mostly comes from ahead."""
    config, stretches = disturbed
    pushes = [stretch for stretch in stretches if stretch[1] > 5]
    limits = [
        config.push_force * min(1.0, 0.25 + 0.75 * start * STEP_DT / config.push_ramp_s) for start, _, _ in pushes
    ]
    shares = [float(force.norm()) / limit for (_, _, force), limit in zip(pushes, limits)]
    assert 0.95 < max(shares) <= 1.0 + 1e-5
    assert all(25 <= length <= 300 for _, length, _ in pushes)
    forces = torch.stack([force for _, _, force in pushes])
    assert float(forces[:, 2].abs().max()) < 1e-4
    behind = (forces[:, 0] < -math.cos(0.5) * forces.norm(dim=1)).float().mean()
    assert float(behind) == pytest.approx(0.6 + 0.4 / (2 * math.pi), abs=0.08)


def test_kicks_are_short_and_change_the_velocity_by_at_most_the_configured(disturbed):
    """A kick lasts 5 steps, is horizontal, and gives each axis at most the configured velocity."""
    config, stretches = disturbed
    kicks = torch.stack([force for _, length, force in stretches if length == 5])
    assert all(length == 5 or length >= 25 for _, length, _ in stretches)
    assert 0.1 < len(kicks) / len(stretches) < 0.4
    velocity = kicks.norm(dim=1) * 5 * STEP_DT / 12.74
    assert 0.8 * config.kick < float(velocity.max()) <= math.sqrt(2) * config.kick + 1e-5
    assert float(kicks[:, 2].abs().max()) < 1e-4


def test_calm_episodes_have_no_disturbances():
    """About the configured share of the episodes is never pushed or kicked."""
    _, forces = record(make_env(walk_config(calm_share=0.4), num_envs=201), 350)
    calm = ~forces.any(dim=2).any(dim=0)
    assert float(calm.float().mean()) == pytest.approx(0.4, abs=0.1)


def test_critic_sees_the_wrench_and_the_feet():
    """The critic also sees force and torque in the robot's frame, foot heights and contacts."""
    env = make_env(CALM)
    env.reset()
    env.physics.place(
        robot_quat_w=quat_from_rpy(*torch.tensor((0.0, 0.0, math.pi / 2)).expand(NUM_ENVS, 1, 3).unbind(-1))
    )
    env._buffers["disturbance_left"].fill_(9.0)
    env._buffers["force_w"][:] = torch.tensor((0.0, 30.0, 0.0))
    env._buffers["torque_w"][:] = torch.tensor((-2.0, 0.0, 1.0))
    env.physics.place(joint_pos=torch.tensor((0.1, 0.9, -1.8, -0.1, 0.9, -1.8) * 2).expand(NUM_ENVS, 1, 12))
    env.physics.set_height(0.28)
    share_obs = act(env).observation.share_obs
    down = 0.213 * 2 * math.cos(0.9) * math.cos(0.1) + 0.08 * math.sin(0.1)
    expected = torch.tensor(
        (1.5, 0.0, 0.0, 0.0, 0.4, 0.2) + (10 * (0.28 - down),) * 4 + (float(0.28 - down < 0.03),) * 4
    )
    torch.testing.assert_close(share_obs[:, 50:], expected.expand(NUM_ENVS, 14), atol=1e-4, rtol=0)


# -- endings -----------------------------------------------------------------------------------------------------


def test_time_limit_truncates_and_a_fall_terminates():
    """Episodes end by the time limit, a tilt beyond 70 degrees or a height below 0.15 m, by one cause only."""
    env = make_env(CALM)
    env.reset()
    tilt = torch.tensor((0.0, math.radians(75.0), math.radians(65.0), 0.0, 0.0)).unsqueeze(1)
    env.physics.place(robot_quat_w=quat_from_rpy(tilt, torch.zeros_like(tilt), torch.zeros_like(tilt)))
    env.physics.set_height(torch.tensor((0.28, 0.28, 0.28, 0.14, 0.14)))
    env._buffers["length"][:] = torch.tensor((EPISODE_STEPS - 1, 3, 3, 3, EPISODE_STEPS - 1)).float()
    transition = act(env)
    assert transition.terminated.tolist() == [False, True, False, True, True]
    assert transition.truncated.tolist() == [True, False, False, False, False]
    assert torch.equal(transition.outcome["fall"], transition.terminated)
    assert transition.outcome["length"].tolist() == [1000, 4, 4, 4, 1000]
    assert env.physics.reset_ids[-1] == [0, 1, 3, 4]


def test_final_observation_is_from_before_the_reset():
    """Where an episode ended, the last observation shows the fallen robot and the next one the new episode."""
    env = make_env(CALM)
    env.reset()
    fallen = quat_from_rpy(torch.full((NUM_ENVS, 1), 2.0), torch.zeros(NUM_ENVS, 1), torch.zeros(NUM_ENVS, 1))
    fallen[[0, 2, 4]] = torch.tensor((1.0, 0.0, 0.0, 0.0))
    env.physics.place(robot_quat_w=fallen)
    transition = act(env)
    last, following = transition.final_observation, transition.observation
    gravity = torch.tensor((0.0, -math.sin(2.0), -math.cos(2.0)))
    torch.testing.assert_close(last.obs[[1, 3], 0, 6:9], gravity.expand(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(following.obs[[1, 3], 0, 8], torch.full((2,), -1.0))
    assert torch.equal(last.obs[[0, 2, 4]], following.obs[[0, 2, 4]])
    assert torch.equal(last.share_obs[[0, 2, 4]], following.share_obs[[0, 2, 4]])
    assert torch.equal(following.obs, following.share_obs[:, :50].unsqueeze(1))


def end(env, env_ids):
    """Take a step in which `env_ids` fall; return the buffers after it."""
    height = torch.full((NUM_ENVS,), 0.28)
    height[env_ids] = 0.1
    env.physics.set_height(height)
    act(env, 0.3)
    return env._buffers


def test_reset_changes_only_the_rows_that_ended():
    """A reset clears the buffers of the envs whose episode ended, and does not change those of the other envs."""
    one, other = make_env(CALM), make_env(CALM)
    for env in (one, other):
        env.reset()
        env._buffers["command_left"].fill_(9.0)
        env._buffers["disturbance_left"].fill_(9.0)
        act(env, 0.5)
    ended, going = [1, 3], [0, 2, 4]
    after, expected = end(one, ended), end(other, [])
    for name in set(after) - {"command_left"}:
        assert torch.equal(after[name][going], expected[name][going]), name
    for name in ("length", "return", "linear_error", "yaw_error", "drift", "memory", "force_w", "torque_w"):
        forgotten = after[name][ended][..., :NUM_JOINTS] if name == "memory" else after[name][ended]
        assert not forgotten.any(), name
    assert torch.equal(after["age"], torch.full((NUM_ENVS,), 2.0))


def test_reset_does_not_change_the_commands_of_other_envs():
    """A reset of some envs does not change how long the others hold their commands."""
    env = make_env(CALM)
    env.reset()
    env._buffers["command_left"].fill_(9.0)
    assert end(env, [1, 3])["command_left"][[0, 2, 4]].tolist() == [8.0, 8.0, 8.0]


def test_reset_staggers_the_episodes():
    """The first episodes begin at all ages, so that they do not end together."""
    env = make_env(CALM, num_envs=601)
    env.reset()
    ages = env._buffers["length"]
    assert float(ages.min()) < 50
    assert 950 < float(ages.max()) < EPISODE_STEPS
    assert float(ages.mean()) == pytest.approx(500, abs=50)


def phase_of(obs):
    """Return the phase of the gait, (E,), in (-0.5, 0.5], that observations (E, 1, 50) of walking robots show."""
    sine, cosine = obs[:, 0, -2], obs[:, 0, -1]
    return torch.atan2(sine, cosine) / (2 * math.pi)


def test_episodes_start_in_any_phase_of_the_gait():
    """The phase of the gait is drawn for each episode: those that start together are not in step."""
    env = make_env(walk_config(standing_share=0.0), num_envs=601)
    first = phase_of(env.reset().obs)
    assert torch.histc(first, 4, -0.5, 0.5).min() > 601 / 4 * 0.7
    second = phase_of(env.reset().obs)
    assert abs(float(torch.corrcoef(torch.stack((first, second)))[0, 1])) < 0.15


def test_reset_draws_a_standing_robot():
    """A new episode starts level, slow and near the default pose, at 0.30 to 0.43 m, with any heading."""
    env = make_env(CALM, num_envs=601)
    env.reset()
    state = env.physics.state()
    height = state.robot_pos_w[:, 0, 2]
    assert 0.30 <= float(height.min()) < 0.31
    assert 0.42 < float(height.max()) <= 0.43
    assert not state.robot_pos_w[..., :2].any()
    assert not state.joint_vel.any()
    assert float(state.robot_quat_w[..., 1:3].abs().max()) == 0.0
    assert float(state.robot_lin_vel_w.abs().max()) <= 0.3
    assert float(state.robot_ang_vel_b.abs().max()) <= 0.3
    share = state.joint_pos / torch.tensor((0.1, 0.9, -1.8, -0.1, 0.9, -1.8) * 2)
    assert 0.7 - 1e-5 < float(share.min()) < 0.71
    assert 1.29 < float(share.max()) < 1.3 + 1e-5


# -- actions and determinism -------------------------------------------------------------------------------------


def test_actions_beyond_the_limits_are_clipped():
    """An action beyond 6 acts as 6 and is remembered as 6; the caller's tensor does not change."""
    one, other = make_env(CALM), make_env(CALM)
    one.reset(), other.reset()
    action = torch.full((NUM_ENVS, 1, 12), 40.0)
    clipped, limit = one.step(action), other.step(action.clamp(max=6.0))
    assert torch.equal(one.physics.targets, other.physics.targets)
    assert torch.equal(clipped.observation.obs, limit.observation.obs)
    assert torch.equal(clipped.reward, limit.reward)
    assert bool((action == 40.0).all())
    assert bool((clipped.observation.obs[..., 33:45] == 6.0).all())


@pytest.mark.parametrize("action", [torch.zeros(1, NUM_ENVS, 12), torch.zeros(NUM_ENVS, 1, 12).double(), None])
def test_step_with_actions_of_a_wrong_form_is_refused(action):
    """A different shape or type is an error."""
    env = make_env(CALM)
    env.reset()
    with pytest.raises(SpecError):
        env.step(action)


def test_step_with_an_action_that_is_not_finite_is_refused():
    """A NaN is an error that names its env, before anything moves."""
    env = make_env(CALM)
    env.reset()
    action = torch.zeros(NUM_ENVS, 1, 12)
    action[3, 0, 7] = float("nan")
    with pytest.raises(NonFiniteError, match="num_envs 3"):
        env.step(action)
    assert env.physics.targets is None


def make_real(seed):
    """Return the task on MuJoCo, with episodes about to end."""
    mjcpu = pytest.importorskip("mapush.sim.mjcpu")
    from mapush.sim.scene import Scene

    env = WalkEnv(mjcpu.MujocoPhysics(Scene(1), NUM_ENVS, seed=3, threads=1), WalkConfig(), seed)
    env.reset()
    env._buffers["length"][2] = EPISODE_STEPS - 20.0
    return env


def play(env, steps, seed):
    """Act at random and return observations, rewards and endings."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(steps):
        step = env.step(torch.randn(NUM_ENVS, 1, 12, generator=generator))
        rows.append((step.observation.share_obs, step.final_observation.share_obs, step.reward, step.done))
    return [torch.stack(column) for column in zip(*rows)]


def test_same_seed_gives_the_same_trajectory():
    """The same seed gives the same trajectory bit for bit, through disturbances and resets; others do not."""
    first, again, other = (play(make_real(seed), 30, 0) for seed in (5, 5, 6))
    assert all(torch.equal(one, two) for one, two in zip(first, again))
    assert bool(first[3].any())
    assert not torch.equal(first[0], other[0])


def test_state_dict_continues_bitwise():
    """A saved run continues bit for bit in a new env, statistics included."""
    env, fresh = make_real(5), make_real(6)
    play(env, 12, 0)
    saved = env.state_dict()
    expected = play(env, 25, 1)
    play(fresh, 4, 2)
    fresh.load_state_dict(saved)
    assert all(torch.equal(one, two) for one, two in zip(play(fresh, 25, 1), expected))
    assert bool(expected[3].any())
    summary, loaded = env.metrics.summary(), fresh.metrics.summary()
    assert loaded == pytest.approx(summary)
    assert summary["episodes"] > 0
    for name, value in env._buffers.items():
        assert torch.equal(value, fresh._buffers[name]), name


def test_specs_are_those_of_what_comes_out():
    """Observations have the shape and type of their specs, and the robot is the only agent."""
    env = make_env(CALM)
    observation = env.reset()
    env.obs_spec.validate(observation.obs, "test")
    env.share_obs_spec.validate(observation.share_obs, "test")
    transition = act(env)
    assert env.num_agents == 1
    assert tuple(transition.reward.shape) == (NUM_ENVS, 1)
