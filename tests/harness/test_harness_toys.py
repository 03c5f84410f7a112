"""Contracts of the toys: they move as an independent, slow derivation says, and keep HARL's interface."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest

from harness.toys import make_pointmass, make_push
from mapush.errors import ConfigError, SpecError

pytestmark = pytest.mark.harness

NUM_ENVS, NUM_AGENTS, ACTION_DIM, HORIZON = 6, 2, 3, 7
MOVES = [(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 0, 1), (0, 0, -1)]


def random_actions(generator, env, scale=2.0):
    """Return actions, many of them out of bounds; like HARL's, they are a view of an array with the agents first."""
    if hasattr(env.action_space[0], "n"):
        return generator.integers(0, 5, (env.n_agents, env.num_envs, 1)).swapaxes(0, 1)
    drawn = scale * generator.standard_normal((env.n_agents, env.num_envs, ACTION_DIM))
    return drawn.astype(np.float32).swapaxes(0, 1)


def play(env, steps, seed=0, hold=4):
    """Yield share_obs before, actions, and what `step` returned; each action is held, so that robots touch things."""
    generator = np.random.default_rng(seed)
    share_obs = env.reset()[1]
    for step in range(steps):
        if step % hold == 0:
            actions = random_actions(generator, env)
        before = actions.copy()
        returned = env.step(actions)
        assert np.array_equal(actions, before)
        yield share_obs, actions, returned
        share_obs = returned[1]


def slow_step(world, commands):
    """Move one env by one step, computed only with scalars.

    Args:
      world: disc, goal, robots, headings (cos, sin) and the share of the time that is left: one row of share_obs.
      commands: v_x, v_y, turn rate of each robot, not yet clipped.

    Returns:
      The next row of share_obs, what each robot observes, the reward, and whether the task ended the episode.
    """
    agents = len(commands)
    x, y, goal_x, goal_y = world[:4]
    robots, yaws = [], []
    for i in range(agents):
        robots.append(world[4 + 2 * i : 6 + 2 * i])
        cosine, sine = world[4 + 2 * agents + 2 * i : 6 + 2 * agents + 2 * i]
        yaws.append(math.atan2(sine, cosine))
    left = world[-1] - 1.0 / HORIZON
    before = math.hypot(goal_x - x, goal_y - y)
    for i, command in enumerate(commands):
        ahead, aside, turn = (min(max(float(value), -1.0), 1.0) for value in command)
        robots[i][0] += 0.2 * (ahead * math.cos(yaws[i]) - aside * math.sin(yaws[i]))
        robots[i][1] += 0.2 * (ahead * math.sin(yaws[i]) + aside * math.cos(yaws[i]))
        robots[i] = [min(max(value, -3.0), 3.0) for value in robots[i]]
        yaws[i] += 0.2 * 2.0 * turn
    push_x = push_y = 0.0
    for robot_x, robot_y in robots:
        distance = math.hypot(x - robot_x, y - robot_y)
        if distance < 0.5:
            push_x += (0.5 - distance) * (x - robot_x) / distance
            push_y += (0.5 - distance) * (y - robot_y) / distance
    x, y = min(max(x + push_x, -3.0), 3.0), min(max(y + push_y, -3.0), 3.0)
    after = math.hypot(goal_x - x, goal_y - y)
    gaps = [math.dist(one, other) for one, other in itertools.combinations(robots, 2)]
    success = after < 0.2
    collision = min(gaps) < 0.25 and not success
    away = sum(math.hypot(x - a, y - b) for a, b in robots) / agents
    reward = before - after - 0.01 * away + success - collision
    views = []
    for i, (robot_x, robot_y) in enumerate(robots):
        points = [(x, y), (goal_x, goal_y), *robots[i + 1 :], *robots[:i]]
        view = []
        for a, b in points:
            a, b = a - robot_x, b - robot_y
            view += [a * math.cos(yaws[i]) + b * math.sin(yaws[i]), b * math.cos(yaws[i]) - a * math.sin(yaws[i])]
        views.append(view + [left])
    row = [x, y, goal_x, goal_y]
    for robot in robots:
        row += robot
    for yaw in yaws:
        row += [math.cos(yaw), math.sin(yaw)]
    row.append(left)
    return row, views, reward, success or collision


@pytest.mark.parametrize("num_agents, discrete", ((2, False), (3, False), (2, True)))
def test_pointmass_moves_as_the_slow_derivation(num_agents, discrete):
    """Observations, rewards, endings and final observations follow from share_obs and the actions, in every env."""
    env = make_pointmass(num_agents=num_agents, seed=5, horizon=HORIZON, discrete=discrete)
    pushes = 0
    ends = {"task": 0, "time": 0, "task in the last step": 0}
    for share_obs, actions, (obs, next_share, rewards, dones, infos, _) in play(env, 400):
        for env_id in range(NUM_ENVS):
            commands = actions[env_id]
            if discrete:
                commands = [MOVES[move] for move in commands[:, 0]]
            row, views, reward, terminated = slow_step(share_obs[env_id, 0].tolist(), commands)
            expired = row[-1] < 0.5 / HORIZON
            truncated = expired and not terminated
            assert dones[env_id].tolist() == [terminated or truncated] * num_agents
            for agent, info in enumerate(infos[env_id]):
                seen, known = obs[env_id, agent], next_share[env_id, agent]
                if dones[env_id, agent]:
                    assert "outcome" in info
                    seen, known = info["final_obs"], info["final_share_obs"]
                else:
                    assert info == {}
                np.testing.assert_allclose(known, row, atol=2e-6)
                np.testing.assert_allclose(seen, views[agent], atol=4e-6)
                assert rewards[env_id, agent, 0] == pytest.approx(reward, abs=4e-6)
                assert ("bad_transition" in info) == truncated
            pushes += not dones[env_id, 0] and next_share[env_id, 0, 0] != share_obs[env_id, 0, 0]
            if truncated:
                ends["time"] += 1
            elif terminated and expired:
                ends["task in the last step"] += 1
            elif terminated:
                ends["task"] += 1
    assert pushes > 100, (pushes, ends)
    assert min(ends.values()) > 0, (pushes, ends)


@pytest.mark.parametrize("discrete", (False, True))
def test_pointmass_returns_what_its_spaces_say(discrete):
    """Shapes and types are HARL's, values lie in the declared boxes, and share_obs is the same for all agents."""
    env = make_pointmass(discrete=discrete)
    for _, _, returned in play(env, 60, hold=30):
        obs, share_obs, rewards, dones, infos, available = returned
        assert obs.shape == (6, 2, 7)
        assert share_obs.shape == (6, 2, 13)
        assert rewards.shape == (6, 2, 1)
        assert obs.dtype == share_obs.dtype == rewards.dtype == np.float32
        assert dones.dtype == bool
        for env_id, agent in np.ndindex(6, 2):
            assert env.observation_space[agent].contains(obs[env_id, agent])
            assert env.share_observation_space[agent].contains(share_obs[env_id, agent])
        assert np.array_equal(share_obs[:, 0], share_obs[:, 1])
        assert np.array_equal(rewards[:, 0], rewards[:, 1])
        assert [len(row) for row in infos] == [2] * 6
        if discrete:
            assert available.shape == (6, 2, 5)
            assert available.dtype == np.float32
        else:
            assert available == [None] * 6
    kinds = {False: "Box", True: "Discrete"}
    assert [type(space).__name__ for space in env.action_space] == [kinds[discrete]] * 2


def test_pointmass_disc_stays_in_the_arena():
    """A robot that chases the disc pushes it to the wall, and not beyond it."""
    env = make_pointmass(horizon=60, seed=1)
    obs, _, _ = env.reset()
    farthest = 0.0
    for _ in range(60):
        actions = np.zeros((NUM_ENVS, NUM_AGENTS, ACTION_DIM), np.float32)
        actions[:, 0, :2] = 10.0 * obs[:, 0, :2]
        obs, share_obs, _, _, _, _ = env.step(actions)
        farthest = max(farthest, abs(share_obs[:, 0, :2]).max())
    assert farthest == 3.0


@pytest.mark.parametrize("axis", range(ACTION_DIM))
def test_pointmass_impulse_moves_one_robot_of_one_env(axis):
    """An action on one axis of one agent changes that robot's place or heading, and nothing in another env."""
    still, pushed = make_pointmass(seed=2), make_pointmass(seed=2)
    still.reset()
    pushed.reset()
    rest = np.zeros((NUM_ENVS, NUM_AGENTS, ACTION_DIM), np.float32)
    impulse = rest.copy()
    impulse[4, 1, axis] = 0.1
    obs_of_still, share_obs_of_still, *_ = still.step(rest)
    obs, share_obs, *_ = pushed.step(impulse)
    changed = np.argwhere(share_obs_of_still[:, 0] != share_obs[:, 0]).tolist()
    place, heading = [[4, 6], [4, 7]], [[4, 10], [4, 11]]
    assert changed == [place, place, heading][axis]
    assert not np.array_equal(obs_of_still[4, 1], obs[4, 1])
    changed_envs = (obs_of_still != obs).any(axis=(1, 2))
    assert np.flatnonzero(changed_envs).tolist() == [4]


def test_pointmass_env_does_not_depend_on_the_others():
    """The first envs of a large batch move, bit for bit, like those of a small batch, whatever the others do."""
    few, many = make_pointmass(num_envs=3, seed=1), make_pointmass(num_envs=11, seed=1)
    generator = np.random.default_rng(0)
    pairs = [(few.reset(), many.reset())]
    for _ in range(60):
        actions = random_actions(generator, many)
        pairs.append((few.step(actions[:3]), many.step(actions)))
    for small, large in pairs:
        for one, other in zip(small[:4], large[:4]):
            assert np.array_equal(one, other[:3])
    assert any(large[3].any() for _, large in pairs[1:])


def test_pointmass_repeats_only_with_the_same_seed():
    """The same seed gives the same trajectory, a different seed a different one, and all envs start differently."""

    def observations(seed):
        return np.array([returned[0] for _, _, returned in play(make_pointmass(seed=seed), 30)])

    first, again, other = observations(3), observations(3), observations(4)
    assert np.array_equal(first, again)
    assert not (first == other).all(axis=(1, 2, 3)).any()
    assert len(np.unique(make_pointmass().reset()[1][:, 0, 0])) == NUM_ENVS


def test_pointmass_returns_new_arrays_and_infos():
    """No returned array is shared with an earlier step or a different info."""
    arrays, infos = [], []
    for _, _, returned in play(make_pointmass(), 25):
        values = list(returned)
        for row in returned[4]:
            infos += row
            for info in row:
                values += info.values()
        arrays += [value for value in values if isinstance(value, np.ndarray)]
    assert len(set(map(id, infos))) == len(infos)
    assert len(arrays) > 100
    for one, other in itertools.combinations(arrays, 2):
        assert not np.may_share_memory(one, other)


def test_pointmass_statistics_are_bounded():
    """However many episodes end, only the 100 latest returns are kept, each the sum of its episode's rewards."""
    env = make_pointmass(num_envs=9, horizon=2)
    returns, running = [], np.zeros(9)
    for _, _, (_, _, rewards, dones, _, _) in play(env, 50):
        running += rewards[:, 0, 0]
        returns += running[dones[:, 0]].tolist()
        running[dones[:, 0]] = 0.0
    assert len(returns) > 200
    assert list(env.recent_returns) == pytest.approx(returns[-100:], abs=1e-5)


def test_discrete_pointmass_masks_the_moves_that_leave_the_arena():
    """A move is available if it stays in the arena; resting and turning always are."""
    env = make_pointmass(discrete=True, horizon=60)
    masked = 0
    for _, _, (_, share_obs, _, _, _, available) in play(env, 60, hold=60):
        for env_id, agent in np.ndindex(NUM_ENVS, NUM_AGENTS):
            place, heading = share_obs[env_id, 0, 4 + 2 * agent :][:2], share_obs[env_id, 0, 8 + 2 * agent :][:2]
            for move, (ahead, _, _) in enumerate(MOVES):
                there = abs(place + 0.2 * ahead * heading).max()
                if abs(there - 3.0) > 1e-5:
                    assert available[env_id, agent, move] == (ahead == 0 or there < 3.0)
                masked += available[env_id, agent, move] == 0.0
    assert masked > 0


@pytest.mark.parametrize("wrong", ("transposed", "flat", "integer", "list", "nan"))
def test_pointmass_malformed_actions_are_refused(wrong):
    """Actions of the wrong form, and NaN, are an error that shows the expected form."""
    env, actions = make_pointmass(), np.zeros((NUM_ENVS, NUM_AGENTS, ACTION_DIM), np.float32)
    env.reset()
    given = {
        "transposed": actions.swapaxes(0, 1),
        "flat": actions.reshape(NUM_ENVS, -1),
        "integer": actions.astype(np.int64),
        "list": actions.tolist(),
        "nan": actions * math.nan,
    }[wrong]
    with pytest.raises(SpecError, match="num_envs=6, num_agents=2, action_dim=3"):
        env.step(given)


@pytest.mark.parametrize("move", (-1, 5))
def test_discrete_pointmass_unknown_move_is_refused(move):
    """A move that does not exist is an error, not the last one."""
    env = make_pointmass(discrete=True)
    env.reset()
    assert env.action_space[0].contains(4)
    assert not any(env.action_space[0].contains(wrong) for wrong in (move, 1.0, [1]))
    with pytest.raises(SpecError, match="0 to 4"):
        env.step(np.full((NUM_ENVS, NUM_AGENTS, 1), move))


@pytest.mark.parametrize("size", ({"num_envs": 0}, {"num_agents": 0}, {"num_agents": 9}, {"horizon": 0}))
def test_pointmass_impossible_size_is_refused(size):
    """A size that is impossible is an error that names it."""
    with pytest.raises(ConfigError, match=next(iter(size))):
        make_pointmass(**size)


def test_toys_load_no_torch_until_it_is_needed():
    """The light toys start quickly: only the pushing task loads torch."""
    code = "import sys, harness.toys as toys; toys.make_pointmass().reset(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.mujoco
def test_push_is_the_pushing_task_behind_harls_interface():
    """`make_push` has robots with legs, HARL's shapes, and initial states that depend only on the seed."""
    starts = []
    for seed in (0, 0, 1):
        env = make_push(seed=seed, object="tblock", steps_per_decision=2)
        obs, share_obs, _ = env.reset()
        obs, share_obs, rewards, dones, infos, available = env.step(np.ones((5, 2, 3), np.float32))
        assert obs.shape == (5, 2, 8)
        assert share_obs.shape == (5, 2, 20)
        assert rewards.shape == (5, 2, 1)
        assert dones.shape == (5, 2)
        assert available == [None] * 5
        assert env.env.steps_per_decision == 2
        assert env.env.task.object == "tblock"
        starts.append(obs)
        env.close()
    assert np.array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])
