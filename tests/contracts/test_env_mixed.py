"""Contracts of groups of envs with different objects and teams in one environment."""

from __future__ import annotations

import pytest
import torch
from fakes import KinematicSimulator, put_object_at_goal, random_actions
from replayed import Replayed

from mapush.config import TaskConfig
from mapush.env import push
from mapush.env.harl_view import HarlView
from mapush.env.mixed_env import MixedEnv
from mapush.env.push import PushEnv
from mapush.env.vec_env import team_reward
from mapush.errors import ConfigError, NonFiniteError, SpecError

pytestmark = pytest.mark.contracts

GROUPS = (("tblock", 2, 3), ("cuboid", 4, 2), ("cylinder", 3, 5))  # object, robots, envs
NUM_ENVS, NUM_AGENTS = 10, 4
ROWS = {"tblock_2": slice(0, 3), "cuboid_4": slice(3, 5), "cylinder_3": slice(5, 10)}


def make_group(index, **changes):
    name, agents, envs = GROUPS[index]
    settings = {"view": "any_team", "steps_per_decision": 3, **changes}
    task = TaskConfig(object=name, num_agents=agents, **settings)
    return PushEnv(KinematicSimulator(envs, agents), task, seed=20 + index)


def make_mixed():
    return MixedEnv([make_group(index) for index in range(len(GROUPS))])


def actions(seed=0):
    return random_actions(seed, NUM_ENVS, NUM_AGENTS)


def test_sizes_are_those_of_all_groups():
    """Envs add up, and the largest team decides the number of agents."""
    env = make_mixed()
    observation = env.reset()
    transition = env.step(actions())
    for seen in (observation, transition.observation, transition.final_observation):
        assert env.obs_spec.validate(seen.obs, "test").shape == (NUM_ENVS, NUM_AGENTS, 35)
        assert env.share_obs_spec.validate(seen.share_obs, "test").shape == (NUM_ENVS, 54)
    assert transition.reward.shape == (NUM_ENVS, NUM_AGENTS)
    assert transition.done.shape == (NUM_ENVS,)
    assert env.active.tolist() == [[1.0, 1.0, 0.0, 0.0]] * 3 + [[1.0] * 4] * 2 + [[1.0, 1.0, 1.0, 0.0]] * 5


@pytest.mark.parametrize("replayed", [False, True])
def test_rows_of_a_group_are_those_of_its_environment(replayed, monkeypatch):
    """Through resets, each group computes bit for bit what its PushEnv computes without the others.

    So it does where recorded functions are replayed, as on a GPU, and each call overwrites the result of the last.
    """
    with monkeypatch.context() as patch:
        if replayed:
            patch.setattr(push, "Captured", Replayed)
        mixed = make_mixed()
    apart = [make_group(index) for index in range(len(GROUPS))]
    mixed_first = mixed.reset()
    firsts = [env.reset() for env in apart]
    for number in range(12):
        if number % 4 == 2:  # episodes end, so that resets draw random numbers
            put_object_at_goal(mixed.groups["tblock_2"], 1)
            put_object_at_goal(apart[0], 1)
        joint = mixed.step(actions(number))
        for rows, env, first in zip(ROWS.values(), apart, firsts):
            own = env.step(actions(number)[rows, : env.num_agents])
            require_same_rows(joint.observation, own.observation, rows, env.num_agents)
            require_same_rows(joint.final_observation, own.final_observation, rows, env.num_agents)
            require_same_rows(mixed_first, first, rows, env.num_agents)
            assert torch.equal(joint.reward[rows, : env.num_agents], own.reward)
            assert torch.equal(joint.terminated[rows], own.terminated)
            assert torch.equal(joint.truncated[rows], own.truncated)
            for name, value in own.outcome.items():
                assert torch.equal(joint.outcome[name][rows], value)
            for name, value in own.terms.items():
                assert torch.equal(joint.terms[name][rows, : env.num_agents], value)
    assert mixed.metrics.summary()["episodes"] >= 3


def require_same_rows(joint, own, rows, agents):
    """Require that a group's rows are its own, and zeros where it has no robot."""
    assert torch.equal(joint.obs[rows, :agents], own.obs)
    assert not joint.obs[rows, agents:].any()
    assert torch.equal(joint.share_obs[rows], own.share_obs)


def test_absent_agents_act_in_vain_and_earn_nothing():
    """Their actions, even a NaN, change nothing; their rewards and terms are zero."""
    one, other = make_mixed(), make_mixed()
    one.reset(), other.reset()
    plain = actions(3)
    strange = torch.where(one.active.unsqueeze(-1) == 0.0, torch.full_like(plain, float("nan")), plain)
    expected, transition = one.step(plain), other.step(strange)
    assert torch.equal(transition.observation.obs, expected.observation.obs)
    gone = one.active == 0.0
    assert not transition.reward[gone].any()
    assert not torch.stack(list(transition.terms.values()))[:, gone].any()
    total = torch.stack(list(transition.terms.values())).sum(dim=0)
    torch.testing.assert_close(total, transition.reward)


def test_reward_of_a_team_is_the_mean_of_its_robots():
    """The share of absent agents does not lower it."""
    env = make_mixed()
    env.reset()
    transition = env.step(actions(4))
    means = team_reward(transition.reward, env.active)
    assert means.shape == (NUM_ENVS, 1)
    for env_id in range(NUM_ENVS):
        robots = int(env.active[env_id].sum())
        assert float(means[env_id]) == pytest.approx(float(transition.reward[env_id, :robots].mean()), rel=1e-5)
    everybody = torch.ones_like(env.active)
    torch.testing.assert_close(team_reward(transition.reward, everybody), team_reward(transition.reward, None))


def test_view_for_harl_gives_every_agent_the_reward_of_its_team():
    """There, too, absent agents do not lower the mean."""
    view, env = HarlView(make_mixed()), make_mixed()
    view.reset()
    env.reset()
    given = view.step(actions(4).numpy())[2]
    expected = team_reward(env.step(actions(4)).reward, env.active)
    assert given.shape == (NUM_ENVS, NUM_AGENTS, 1)
    torch.testing.assert_close(torch.from_numpy(given[..., 0]), expected.expand(NUM_ENVS, NUM_AGENTS))


def test_statistics_are_those_of_all_envs_and_of_each_group():
    """An object that arrives counts in its group and in the total, and a term is the mean over teams."""
    env = make_mixed()
    env.reset()
    put_object_at_goal(env.groups["cuboid_4"], 1)
    transition = env.step(torch.zeros(NUM_ENVS, NUM_AGENTS, 3))
    assert transition.outcome["success"].nonzero().flatten().tolist() == [4]
    summary = env.metrics.summary()
    assert summary["episodes"] == int(transition.done.sum())
    assert summary["success/cuboid_4"] == 1.0
    assert summary["success/tblock_2"] != summary["success/tblock_2"], "no episode of it has ended"
    expected = team_reward(transition.terms["approach"], env.active).mean()
    assert summary["reward/approach"] == pytest.approx(float(expected))


def test_state_continues_bit_for_bit():
    """A new environment with the saved state computes the same, through resets and statistics."""
    env, fresh = make_mixed(), make_mixed()
    env.reset()
    for number in range(7):
        env.step(actions(number))
    saved = env.state_dict()
    fresh.load_state_dict(saved)
    for number in range(7, 20):
        expected, transition = env.step(actions(number)), fresh.step(actions(number))
        assert torch.equal(transition.observation.obs, expected.observation.obs)
        assert torch.equal(transition.reward, expected.reward)
    one, other = env.metrics.summary(), fresh.metrics.summary()
    assert str(one) == str(other)  # nan is not equal to itself


def test_error_names_the_group_in_which_envs_are_counted():
    """An env number in an error is meaningless without its group."""
    env = make_mixed()
    env.reset()
    broken = actions()
    broken[6, 1, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="group cylinder_3"):
        env.step(broken)
    with pytest.raises(SpecError, match="num_agents=4"):
        env.step(torch.zeros(NUM_ENVS, 2, 3))


def test_largest_report_of_all_groups_is_returned():
    """The fullest buffer is the one to know about."""
    env = make_mixed()
    for value, group in zip((3.0, 7.0, 5.0), env.groups.values()):
        group.simulator.check = lambda value=value: {"contacts": value}
    env.reset()
    assert env.check() == {"contacts": 7.0}


def test_groups_that_do_not_fit_together_are_refused():
    """Different decision rates cannot share a step, and different widths cannot share a network."""
    with pytest.raises(ConfigError, match="steps_per_decision"):
        MixedEnv([make_group(0), make_group(1, steps_per_decision=2)])
    with pytest.raises(ConfigError, match="obs_dim"):
        MixedEnv([make_group(0), make_group(1, seats=5)])


def test_closing_closes_every_group():
    """Every simulator is released."""
    env, closed = make_mixed(), []
    for group in env.groups.values():
        group.simulator.close = lambda name=group.item.name: closed.append(name)
    env.close()
    assert closed == [name for name, _, _ in GROUPS]


def test_two_groups_of_one_kind_are_refused():
    """Groups are known by object and team size."""
    with pytest.raises(ConfigError, match="twice"):
        MixedEnv([make_group(0), make_group(0)])
