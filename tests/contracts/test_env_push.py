"""Contracts of PushEnv: timing, endings, held actions, resets and determinism, on a kinematic simulator."""

from __future__ import annotations

import math

import pytest
import torch
from fakes import (
    NUM_AGENTS,
    NUM_ENVS,
    KinematicSimulator,
    ended,
    make_env,
    put_object_at_goal,
    put_robots_together,
    random_actions,
    rest,
)

from mapush.config import TaskConfig
from mapush.env import observations
from mapush.env.push import PushEnv
from mapush.env.rewards import TERMS
from mapush.errors import ConfigError, MapushError, NonFiniteError, SpecError
from mapush.objects import OBJECTS
from mapush.sim.geometry import pairwise_distance, quat_from_rpy, yaw_of

pytestmark = pytest.mark.contracts


def causes_of(outcome, env_id):
    """Return the causes that an episode's outcome names."""
    return [name for name in ("success", "collision", "fall", "timeout") if outcome[name][env_id]]


@pytest.mark.parametrize("name", sorted(OBJECTS))
def test_push_env_returns_what_its_specs_say(name):
    """Observations, rewards and flags have the declared shapes and types, for every object."""
    agents = OBJECTS[name].num_agents
    env = make_env(object=name)
    observation = env.reset()
    transition = env.step(random_actions(num_agents=agents))
    for seen in (observation, transition.observation, transition.final_observation):
        env.obs_spec.validate(seen.obs, "test")
        env.share_obs_spec.validate(seen.share_obs, "test")
    assert env.obs_spec.shape == (NUM_ENVS, agents, 2 + 3 * agents)
    assert transition.reward.shape == (NUM_ENVS, agents)
    assert transition.reward.dtype == torch.float32
    for flag in (transition.terminated, transition.truncated):
        assert flag.shape == (NUM_ENVS,)
        assert flag.dtype == torch.bool
    assert env.max_episode_length == 1000
    assert env.goal_pos_w.shape == (NUM_ENVS, 3)


def test_step_action_is_scaled_once_and_clipped():
    """The command is 0.5 clip(a, -1, 1); values out of bounds are clipped, not refused."""
    env = make_env()
    env.reset()
    actions = random_actions()
    env.step(actions)
    assert torch.equal(env.simulator.commands, 0.5 * actions.clamp(-1.0, 1.0))


def test_step_action_array_is_neither_changed_nor_kept():
    """The caller's actions are not written to, and writing to them after the step has no effect."""
    first, second = make_env(), make_env()
    first.reset(), second.reset()
    actions, copy = random_actions(), random_actions()
    first.step(actions)
    assert torch.equal(actions, copy)
    actions.fill_(9.0)
    second.step(copy)
    assert torch.equal(first.simulator.commands, second.simulator.commands)
    after = [env.step(rest()).observation.share_obs for env in (first, second)]
    assert torch.equal(*after)


@pytest.mark.parametrize("value", (math.nan, math.inf))
def test_step_non_finite_action_names_env_and_agent(value):
    """An action that is not finite is refused before it reaches the physics; the error names its place."""
    env = make_env()
    env.reset()
    actions = rest()
    actions[3, 1, 2] = value
    with pytest.raises(NonFiniteError, match="num_envs 3, num_agents 1, action_dim 2"):
        env.step(actions)
    assert env.simulator.steps == 0


@pytest.mark.parametrize("actions", (torch.zeros(2, 5, 3), torch.zeros(5, 2, 3).double(), torch.zeros(5, 2, 1)))
def test_step_wrong_form_of_action_is_refused(actions):
    """Swapped axes, a different type or a broadcastable shape are errors."""
    env = make_env()
    env.reset()
    with pytest.raises(SpecError, match="actions"):
        env.step(actions)


def test_step_before_reset_is_refused():
    """A step before the first reset is an error that says so."""
    with pytest.raises(MapushError, match="before reset"):
        make_env().step(rest())


def test_step_non_finite_state_names_env_agent_field_step():
    """A NaN from the physics is an error in the same step; it names the place."""
    env = make_env()
    env.reset()
    env.step(rest())
    joint_vel = env.simulator.state().joint_vel
    joint_vel[3, 1, 7] = math.nan
    env.simulator.place(joint_vel=joint_vel)
    with pytest.raises(NonFiniteError, match=r"env 3, agent 1, joint_vel\[7\], env step 2"):
        env.step(rest())


@pytest.mark.parametrize(
    "task, expected",
    (({"object": "cubiod"}, "'cuboid'"), ({"steps_per_decision": 0}, "steps_per_decision")),
)
def test_push_env_wrong_task_is_refused(task, expected):
    """An impossible task is refused, and the error names the field or the nearest valid name."""
    with pytest.raises(ConfigError, match=expected):
        PushEnv(KinematicSimulator(NUM_ENVS, NUM_AGENTS), TaskConfig(**task), 0)


def test_push_env_other_team_is_refused():
    """A simulator whose number of robots is not that of the object's team is refused."""
    with pytest.raises(ConfigError, match="3 robots"):
        PushEnv(KinematicSimulator(NUM_ENVS, 2), TaskConfig(object="cylinder"), 0)


def test_step_success_ends_only_that_env():
    """A success terminates its env and pays the bonus to its team; other envs do not change."""
    env = make_env()
    env.reset()
    goal = env.goal_pos_w.clone()
    put_object_at_goal(env, 3)
    before = env.simulator.state()
    transition = env.step(rest())
    assert ended(transition) == [3]
    assert bool(transition.terminated[3])
    assert not transition.truncated.any()
    assert causes_of(transition.outcome, 3) == ["success"]
    assert float(transition.reward[3].min()) > 9.0
    assert float(transition.reward[[0, 1, 2, 4]].max()) < 1.0
    assert float(transition.outcome["finished_time"][3]) == pytest.approx(0.02)
    after = env.simulator.state()
    others = torch.tensor((0, 1, 2, 4))
    assert torch.equal(env.goal_pos_w[others], goal[others])
    assert not torch.equal(env.goal_pos_w[3], goal[3])
    assert torch.equal(after.robot_pos_w[others], before.robot_pos_w[others])
    assert torch.equal(after.joint_pos[others], before.joint_pos[others])


def test_step_after_an_end_measures_progress_from_the_new_start():
    """The first step of a new episode is not rewarded for the distance between the objects of both episodes."""
    env = make_env()
    env.reset()
    put_object_at_goal(env, 3)
    assert ended(env.step(rest())) == [3]
    assert float(env.step(rest()).reward.abs().max()) < 0.05


def test_step_collision_costs_and_counts_the_longest_time():
    """A collision terminates the episode, costs `exception`, and counts as 20 s."""
    env = make_env()
    env.reset()
    put_robots_together(env, 2)
    transition = env.step(rest())
    assert ended(transition) == [2]
    assert bool(transition.outcome["collision"][2])
    assert float(transition.reward[2].max()) < -4.9
    assert float(transition.outcome["finished_time"][2]) == 20.0


def test_step_success_and_collision_pays_both_and_counts_as_success():
    """If both happen in one step, both rewards are paid and the episode counts as a success."""
    env = make_env()
    env.reset()
    put_object_at_goal(env, 1)
    put_robots_together(env, 1)
    transition = env.step(rest())
    assert bool(transition.outcome["success"][1])
    assert not bool(transition.outcome["collision"][1])
    assert 4.0 < float(transition.reward[1].mean()) < 8.0  # 10 - 5, and some progress


def test_step_fall_is_named():
    """A robot on its side ends its episode as a fall."""
    env = make_env()
    env.reset()
    quat = env.simulator.state().robot_quat_w
    quat[4, 0] = quat_from_rpy(*torch.tensor((1.2, 0.0, 0.4)))
    env.simulator.place(robot_quat_w=quat)
    transition = env.step(rest())
    assert ended(transition) == [4]
    assert bool(transition.outcome["fall"][4])


def test_outcome_several_limits_at_once_names_one_cause():
    """Each episode has one cause: success before collision, collision before fall, the time limit last."""
    env = make_env()
    env.reset()
    quat = env.simulator.state().robot_quat_w
    quat[:, 0] = quat_from_rpy(*torch.tensor((1.2, 0.0, 0.4)))
    env.simulator.place(robot_quat_w=quat)
    put_object_at_goal(env, 3)
    put_robots_together(env, 1)
    saved = env.state_dict()
    saved["length"] = torch.full_like(saved["length"], 1000)
    env.load_state_dict(saved)
    outcome = env.step(rest()).outcome
    for env_id, cause in enumerate(("fall", "collision", "fall", "success", "fall")):
        assert causes_of(outcome, env_id) == [cause]


def test_step_timeout_comes_after_exactly_1001_env_steps():
    """The time limit truncates every env on step 1001, and is not a failure."""
    env = make_env(steps_per_decision=91)
    env.reset()
    for _ in range(10):
        assert not env.step(rest()).done.any()
    transition = env.step(rest())
    assert bool(transition.truncated.all())
    assert not transition.terminated.any()
    assert transition.outcome["length"].tolist() == [1001] * NUM_ENVS
    assert env.simulator.steps == 1001
    assert bool(transition.outcome["timeout"].all())
    assert float(transition.final_observation.share_obs[:, -1].abs().max()) == 0.0
    assert bool((transition.observation.share_obs[:, -1] == 1.0).all())


def test_step_final_observation_is_of_the_ended_episode():
    """`final_observation` is the last one where an episode ended, and equal to `observation` in the other envs."""
    env = make_env()
    env.reset()
    put_robots_together(env, 2)
    before, goal = env.simulator.state(), env.goal_pos_w.clone()  # robots at rest do not move
    transition = env.step(rest())
    final, now = transition.final_observation, transition.observation
    torch.testing.assert_close(final.obs, observations.actor_obs(before, yaw_of(before.robot_quat_w), goal))
    others = [0, 1, 3, 4]
    assert torch.equal(final.obs[others], now.obs[others])
    assert torch.equal(final.share_obs[others], now.share_obs[others])
    assert not torch.allclose(final.obs[2], now.obs[2])
    fresh = env.simulator.state()
    torch.testing.assert_close(now.obs, observations.actor_obs(fresh, yaw_of(fresh.robot_quat_w), env.goal_pos_w))


def test_step_transition_is_not_changed_by_later_steps():
    """Later steps do not change what a step has returned."""
    env = make_env()
    env.reset()
    transition = env.step(rest())
    kept = {name: value.clone() for name, value in transition.outcome.items()}
    obs = transition.observation.obs.clone()
    env.step(random_actions())
    assert torch.equal(transition.observation.obs, obs)
    assert all(torch.equal(transition.outcome[name], value) for name, value in kept.items())


def test_step_held_action_equals_single_steps():
    """One decision of 7 env steps equals 7 decisions of one env step with the same action, if no episode ends."""
    held, single = make_env(steps_per_decision=7), make_env()
    held.reset(), single.reset()
    for env in (held, single):
        env.simulator.object_velocity_w[:, 0] = 0.3
    actions = random_actions()
    whole = held.step(actions)
    parts = [single.step(actions) for _ in range(7)]
    assert not any(bool(part.done.any()) for part in parts)
    torch.testing.assert_close(whole.reward, torch.stack([part.reward for part in parts]).sum(0))
    assert torch.equal(whole.observation.obs, parts[-1].observation.obs)
    assert torch.equal(whole.observation.share_obs, parts[-1].observation.share_obs)
    assert whole.outcome["length"].tolist() == [7] * NUM_ENVS


@pytest.mark.parametrize("quirks", (False, True))
def test_step_held_action_reward_stops_at_the_end_of_the_episode(quirks):
    """After an episode ends within a decision, its remaining env steps add no reward, length or second ending."""
    held, single = (make_env(steps_per_decision=k, upstream_quirks=quirks, seed=3) for k in (7, 1))
    held.reset(), single.reset()
    for env in (held, single):
        put_object_at_goal(env, 3)
        env.simulator.object_velocity_w[3, 0] = 2.0  # leaves the goal again before the decision is over
    whole, first = held.step(rest()), single.step(rest())
    assert ended(whole) == ended(first) == [3]
    assert int(whole.outcome["length"][3]) == 1
    if not quirks:
        torch.testing.assert_close(whole.reward[3], first.reward[3])
        torch.testing.assert_close(whole.final_observation.obs[3], first.final_observation.obs[3])
    assert 9.0 < float(whole.reward[3].mean()) < 11.0


@pytest.mark.parametrize("quirks", (False, True))
def test_step_returns_terms_that_add_up_to_the_reward(quirks):
    """The terms have the names in TERMS, and add up to the reward, also where an episode ends."""
    env = make_env(steps_per_decision=7, upstream_quirks=quirks, seed=3)
    env.reset()
    put_object_at_goal(env, 3)
    transition = env.step(rest())
    assert set(transition.terms) == set(TERMS)
    torch.testing.assert_close(sum(transition.terms.values()), transition.reward)
    assert float(transition.terms["reach_target"][3].min()) > 9.0
    assert not transition.terms["reach_target"][:3].any()


def test_step_all_envs_ended_skips_the_rest_of_the_physics():
    """When every episode is over, the rest of the decision is not simulated."""
    env = make_env(steps_per_decision=7)
    env.reset()
    for env_id in range(NUM_ENVS):
        put_robots_together(env, env_id)
    assert env.step(rest()).done.all()
    assert env.simulator.steps == 1


def test_reset_robots_start_apart():
    """Robots start well apart, so no episode ends on its first step."""
    env = make_env(num_envs=400)
    env.reset()
    nearest = pairwise_distance(env.simulator.state().robot_pos_w).flatten(1).amin(dim=1)
    assert float(nearest.min()) >= 0.25 + 0.35
    assert not env.step(torch.zeros(400, NUM_AGENTS, 3)).done.any()


def test_outcome_counts_equal_slow_recount():
    """Return, length and collaboration of every episode equal a recount from the transitions."""
    env = make_env(seed=5)
    blocks = observations.share_obs_blocks(NUM_AGENTS)
    env.reset()
    returns, lengths, together = torch.zeros(NUM_ENVS), torch.zeros(NUM_ENVS), torch.zeros(NUM_ENVS)
    episodes, collaborations = 0, set()
    for _ in range(500):
        transition = env.step(pull_towards_object(env))
        part = dict(zip(blocks, transition.final_observation.share_obs.split(list(blocks.values()), dim=1)))
        near = [part[f"robot_{agent}_xy"].norm(dim=1) < 1.0 for agent in range(NUM_AGENTS)]
        together += near[0] & near[1]
        lengths, returns = lengths + 1, returns + transition.reward.mean(dim=1)
        for env_id in ended(transition):
            episodes += 1
            outcome = {name: float(value[env_id]) for name, value in transition.outcome.items()}
            assert outcome["length"] == lengths[env_id]
            assert outcome["return"] == pytest.approx(float(returns[env_id]), rel=1e-5)
            assert outcome["collaboration"] == pytest.approx(float(together[env_id] / lengths[env_id]))
            collaborations.add(outcome["collaboration"])
            returns[env_id] = lengths[env_id] = together[env_id] = 0.0
    assert episodes >= 7
    assert max(collaborations) > 0.2


def pull_towards_object(env):
    """Return actions that bring the robots near the object."""
    state = env.simulator.state()
    obs = observations.actor_obs(state, yaw_of(state.robot_quat_w), env.goal_pos_w)
    return torch.cat((obs[..., 2:4], torch.zeros_like(obs[..., :1])), dim=-1)


def test_metrics_of_push_env_hold_terms_and_outcomes():
    """The running statistics name every reward term and every outcome."""
    env = make_env()
    env.reset()
    put_object_at_goal(env, 3)
    transition = env.step(rest())
    summary = env.metrics.summary()
    assert summary["episodes"] == 1.0
    assert summary["episode/success"] == 1.0
    assert summary["episode/return"] == pytest.approx(float(transition.reward[3].mean()))
    terms = [value for name, value in summary.items() if name.startswith("reward/")]
    assert len(terms) == 7
    assert sum(terms) == pytest.approx(float(transition.reward.mean()), rel=1e-5)


@pytest.mark.parametrize("quirks", (False, True))
def test_push_env_same_seed_is_bitwise_equal(quirks):
    """The same seed and actions give the same trajectory bit for bit."""
    runs = []
    for _ in range(2):
        env = make_env(seed=11, upstream_quirks=quirks)
        env.reset()
        runs.append([env.step(random_actions(seed)) for seed in range(30)])
    for first, second in zip(*runs):
        assert torch.equal(first.observation.share_obs, second.observation.share_obs)
        assert torch.equal(first.reward, second.reward)


@pytest.mark.parametrize("quirks", (False, True))
def test_push_env_state_dict_continues_bitwise(quirks):
    """An env loaded from `state_dict` continues bit for bit, through later resets; the saved state does not change."""
    env, fresh = make_env(seed=11, upstream_quirks=quirks), make_env(seed=99, upstream_quirks=quirks)

    def play(one):
        steps = []
        for seed in range(20):
            if seed % 6 == 5:
                put_robots_together(one, seed % NUM_ENVS)
            steps.append(one.step(random_actions(seed)))
        return steps, one.metrics.summary()

    env.reset()
    play(env)
    saved = env.state_dict()
    first, first_summary = play(env)
    fresh.load_state_dict(saved)
    second, second_summary = play(fresh)
    assert sum(int(step.done.sum()) for step in first) >= 3
    assert first_summary == second_summary
    for one, other in zip(first, second):
        assert torch.equal(one.observation.obs, other.observation.obs)
        assert torch.equal(one.reward, other.reward)
        assert torch.equal(one.final_observation.share_obs, other.final_observation.share_obs)
        assert all(torch.equal(one.outcome[name], other.outcome[name]) for name in one.outcome)


def test_reset_twice_starts_new_episodes():
    """`reset` starts a new episode in every env, in a new place and with nothing left of the old one."""
    env = make_env()
    first = env.reset()
    env.step(random_actions())
    second = env.reset()
    assert not torch.equal(first.obs, second.obs)
    assert bool((second.share_obs[:, -1] == 1.0).all())
    transition = env.step(rest())
    assert transition.outcome["length"].tolist() == [1] * NUM_ENVS
    torch.testing.assert_close(transition.outcome["return"], transition.reward.mean(dim=1))
