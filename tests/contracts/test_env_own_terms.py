"""Contracts of reward terms of the user's own: added up, logged, validated before the first step."""

from __future__ import annotations

import pytest
import torch
from fakes import NUM_AGENTS, NUM_ENVS, make_env, put_object_at_goal, random_actions, rest
from own_things import write_terms

from mapush.config import TaskConfig, run_config_from_dict, to_dict
from mapush.env import rewards
from mapush.env.own_terms import load_terms
from mapush.errors import ConfigError, MapushError, NonFiniteError
from mapush.train import parse

pytestmark = pytest.mark.contracts


def own_env(folder, *terms, text=None, **task):
    """Return an environment with terms of a file."""
    path = write_terms(folder, text) if text is not None else write_terms(folder)
    return make_env(reward_terms=tuple(f"{path}:{term}" for term in terms), **task)


@pytest.mark.parametrize("held", [1, 3])
def test_own_terms_are_added_to_the_reward_under_their_names(tmp_path, held):
    """The reward is that without them plus weight times value, summed over the steps of the decision."""
    plain, env = make_env(steps_per_decision=held), own_env(tmp_path, "near=0.5", "upright=-2", steps_per_decision=held)
    plain.reset(), env.reset()
    actions = random_actions(seed=4)
    before, after = plain.step(actions), env.step(actions)
    assert tuple(after.terms) == (*rewards.TERMS, "near", "upright")
    for name, value in before.terms.items():
        assert torch.equal(after.terms[name], value)
    state = env.simulator.state()
    if held == 1:
        near = -0.5 * (state.robot_pos_w - state.object_pos_w.unsqueeze(1)).norm(dim=-1)
        assert torch.allclose(after.terms["near"], near)
        assert torch.allclose(after.terms["upright"], -2.0 * state.object_pos_w[:, 2:].expand(-1, NUM_AGENTS))
    assert torch.allclose(after.reward, before.reward + after.terms["near"] + after.terms["upright"])


def test_own_terms_are_columns_of_the_log(tmp_path):
    """The summary of an interval has a mean for each term."""
    env = own_env(tmp_path, "near=0.5")
    env.reset()
    env.step(random_actions())
    assert "reward/near" in env.metrics.summary()


def test_own_term_counts_where_an_episode_ends(tmp_path):
    """The last step of an episode is rewarded for the state at its end, as by built-in terms."""
    env = own_env(tmp_path, "won=3", text="def won(inputs):\n    return inputs.success.float()\n")
    env.reset()
    put_object_at_goal(env, 2)
    terms = env.step(rest()).terms["won"]
    expected = torch.zeros(NUM_ENVS, NUM_AGENTS)
    expected[2] = 3.0
    assert torch.equal(terms, expected)


def test_own_terms_do_not_change_the_random_numbers(tmp_path):
    """Validation draws nothing: a run with a term of weight 0 goes the same way as one without it."""
    plain, env = make_env(seed=2), own_env(tmp_path, "near=0", seed=2)
    assert torch.equal(plain.reset().obs, env.reset().obs)


def test_own_term_sees_the_motion_of_the_robots(tmp_path):
    """Yaw and velocity of the robots are among the inputs, with the shapes that are documented."""
    text = (
        "def fast(inputs):\n"
        "    assert inputs.robot_yaw.shape == inputs.robot_pos_w.shape[:2]\n"
        "    return inputs.robot_lin_vel_w.norm(dim=-1)\n"
    )
    env = own_env(tmp_path, "fast=1", text=text)
    env.reset()
    terms = env.step(random_actions()).terms["fast"]
    assert torch.allclose(terms, env.simulator.state().robot_lin_vel_w.norm(dim=-1))


@pytest.mark.parametrize(
    "body, said, got",
    [
        ("return inputs.robot_pos_w", "wrong form", "(5, 2, 3)"),
        ("return inputs.success", "wrong form", "bool (5,)"),
        ("return inputs.object_yaw.double()", "wrong form", "float64"),
        ("return 1.0", "wrong form", "a float"),
        ("return inputs.object_yaw[:3]", "wrong form", "(3,)"),
        ("return inputs.object_yaw / 0.0", "is not finite", "5 of 5"),
        ("return inputs.robot_position", "fails", "AttributeError"),
        ("inputs.object_yaw.zero_()\n    return inputs.object_yaw", "changes its input object_yaw", None),
    ],
)
def test_term_that_cannot_be_added_is_refused_at_the_start(tmp_path, body, said, got):
    """The first reset says in one message what the function returned and what is expected."""
    env = own_env(tmp_path, "term=1", text=f"def term(inputs):\n    {body}\n")
    with pytest.raises(MapushError, match=said) as caught:
        env.reset()
    assert "terms.py:term" in caught.value.where
    assert got is None or got in caught.value.got


def test_term_that_becomes_nan_later_is_named(tmp_path):
    """A term that is finite at the start and not later stops the run, with its name; one `check` later all is well."""
    text = "def rare(inputs):\n    return 1.0 / (~inputs.success).float()\n"
    env = own_env(tmp_path, "rare=1", text=text)
    env.reset()
    put_object_at_goal(env, 1)
    for ask in (lambda: env.step(rest()), env.check):
        with pytest.raises(NonFiniteError, match="the reward term 'rare' is not finite"):
            ask()
    env.check()


@pytest.mark.parametrize(
    "text, said",
    [
        ("terms.py:near", "names no function and weight"),
        ("terms.py:near=heavy", "names no function and weight"),
        ("terms.py=1", "names nothing to load"),
    ],
)
def test_text_of_a_term_is_checked_with_the_configuration(text, said):
    """A wrong flag is an error before anything is built."""
    with pytest.raises(ConfigError, match=said):
        TaskConfig(reward_terms=(text,))


@pytest.mark.parametrize(
    "terms, said",
    [
        (("none.py:near=1",), "no such file"),
        (("terms.py:neer=1",), "did you mean 'near'"),
        (("terms.py:ocb=1",), "two reward terms have one name"),
        (("terms.py:near=1", "terms.py:near=2"), "two reward terms have one name"),
        (("terms.py:NUMBER=1",), "names no function"),
    ],
)
def test_term_that_cannot_be_loaded_is_refused(tmp_path, monkeypatch, terms, said):
    """A function that does not exist, or a name that is taken, is one message."""
    write_terms(tmp_path, "def near(inputs):\n    return inputs.object_yaw\nocb = near\nNUMBER = 3\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        load_terms(TaskConfig(reward_terms=terms).reward_terms)


def test_flag_can_be_repeated_and_means_the_same_from_every_folder(tmp_path, monkeypatch):
    """The configuration holds the absolute path of the file, in the order of the flags."""
    monkeypatch.chdir(tmp_path)
    words = "cuboid --task.reward-terms a.py:one=0.5 --task.reward-terms package.b:two=-3".split()
    config, _, _ = parse(words)
    assert config.task.reward_terms == (f"{tmp_path}/a.py:one=0.5", "package.b:two=-3")
    assert run_config_from_dict(to_dict(config)) == config
