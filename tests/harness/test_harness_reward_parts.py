"""Tests of the contract of the parts of the reward, on runs that are written down, and of toys."""

from __future__ import annotations

import numpy as np
import pytest
from wrapped import report_of

from harness.contracts.reward_parts import parts_in, require_complete_sums
from harness.findings import ContractError
from harness.interface.player import Seen
from harness.toys import PointMass

pytestmark = pytest.mark.harness

ENVS, AGENTS = 3, 2


def run_of(reward, info, steps=40):
    """Return a run.

    Args:
      reward: `reward(step, env)`, of each agent.
      info: `info(step, env)`, of agent 0.
      steps: number of steps.
    """
    nothing = np.zeros((ENVS, AGENTS, 4))
    history = [Seen(nothing, nothing)]
    for step in range(1, steps + 1):
        rewards = np.array([[reward(step, env)] * AGENTS for env in range(ENVS)])
        infos = [[info(step, env), {}] for env in range(ENVS)]
        history.append(Seen(nothing, nothing, rewards=rewards, dones=rewards > 1e9, infos=infos))
    return history


def terms(step, env):
    """Return two parts of a reward, the second only in every eighth step."""
    return {"goal": 0.25 * step + env, "end": -3.0 * (step % 8 == 0)}


def judge(history):
    """Return the error, or whether any group was judged."""
    try:
        return any([require_complete_sums(group, steps) for group, steps in parts_in(history).items()])
    except ContractError as error:
        return error


def total(step, env, end=1.0):
    """Return the sum of the parts, with the last so many times."""
    parts = terms(step, env)
    return parts["goal"] + end * parts["end"]


def always(step, env):
    """Return two parts that are never 0."""
    return {"goal": 0.25 * step + env, "effort": -0.5, "end": -3.0 * (step % 8 == 0)}


FORMS = {
    "dict": lambda step, env: {"reward_terms": always(step, env)},
    "nested": lambda step, env: {"log": {"rewards_parts": always(step, env)}},
    "names": lambda step, env: {f"r_{name}": value for name, value in always(step, env).items()},
    "names with a sum in them": lambda step, env: {f"r_{name}_consumption": v for name, v in always(step, env).items()},
    "long names": lambda step, env: {f"reward_{name}": value for name, value in always(step, env).items()},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("end, what", [(2.0, "end is added twice"), (0.0, "end is left out")])
def test_part_that_is_lost_or_added_twice_is_found(form, end, what):
    """In every eighth step, of 40 in three envs."""
    error = judge(run_of(lambda step, env: total(step, env, end) - 0.5, FORMS[form]))
    assert isinstance(error, ContractError)
    assert error.what.replace("_consumption", "").endswith(what)
    assert error.where.endswith("step 8")
    assert error.got.endswith("in 15 of 120 steps")


@pytest.mark.parametrize("form", FORMS)
def test_parts_that_add_up_hold(form):
    """To the reward of one agent, or of all of them together."""
    assert judge(run_of(lambda step, env: total(step, env) - 0.5, FORMS[form])) is True
    assert judge(run_of(lambda step, env: (total(step, env) - 0.5) / AGENTS, FORMS[form])) is True


def test_part_that_is_always_left_out_is_found():
    """The reward is the sum of the two others in every step."""
    error = judge(
        run_of(lambda step, env: 0.25 * step + env - 0.5, lambda step, env: {"reward_terms": three(step, env)})
    )
    assert isinstance(error, ContractError)
    assert error.what.endswith("comfort is left out")
    assert error.got.endswith("in 120 of 120 steps")


def test_part_that_is_often_left_out_may_be_something_else():
    """In every fourth step the reward is something that has nothing to do with the parts."""

    def reward(step, env):
        parts = three(step, env)
        return 77.0 if step % 4 == 0 else parts["goal"] + parts["effort"]

    assert judge(run_of(reward, lambda step, env: {"reward_terms": three(step, env)})) is False


def three(step, env):
    """Return three parts that are never 0."""
    return {"goal": 0.25 * step + env, "effort": -0.5, "comfort": 0.125 * (1 + step % 3)}


def test_total_among_the_parts_is_no_part():
    """A dict may hold the sum, too; and with two parts, one of them may be the other, scaled."""

    def info(step, env):
        parts = three(step, env)
        return {"reward_terms": {**parts, "total": sum(parts.values())}}

    assert judge(run_of(lambda step, env: sum(three(step, env).values()), info)) is True
    assert (
        judge(run_of(lambda step, env: 0.5 * step, lambda step, env: {"r_a": 0.5 * step, "r_b": 0.25 * step})) is False
    )


@pytest.mark.parametrize(
    "reward",
    [
        lambda step, env: max(total(step, env) - 0.5, 1.0),  # clipped
        lambda step, env: total(step, env) - 0.5 + 7.0 * (step % 8 == 0),  # a bonus of which infos say nothing
    ],
)
def test_reward_that_differs_by_something_else_holds(reward):
    """It is no part that is missing."""
    assert judge(run_of(reward, FORMS["dict"])) is True


def test_numbers_that_are_usually_not_the_reward_are_no_parts():
    """Scaled rewards, a single part, and few steps."""
    assert judge(run_of(lambda step, env: 0.1 * total(step, env, 2.0), FORMS["dict"])) is False
    assert judge(run_of(total, lambda step, env: {"r_goal": total(step, env)})) is False
    assert judge(run_of(lambda step, env: total(step, env, 2.0) - 0.5, FORMS["dict"], steps=9)) is False
    assert judge(run_of(total, lambda step, env: {"rewarded": always(step, env)})) is False


def test_toy_without_parts_is_not_judged():
    """Its infos say nothing of the reward."""
    report = report_of(lambda num_envs=5, seed=0: PointMass(num_envs, 2, seed, 20), contracts=["reward-parts"])
    assert report.not_judged["reward-parts"] == "no numbers in infos are the parts of the reward"


def with_an_empty_part(step, env):
    """Return two parts that are never 0, and one that always is."""
    return {"r_goal": 0.25 * step + env, "r_effort": -0.5, "r_bump": 0.0}


@pytest.mark.parametrize("every, is_found", [(5, True), (40, False)])
def test_part_that_is_always_empty_is_found_if_the_reward_has_more(every, is_found):
    """The reward contains something in several steps that no part has; once in a while, it may be a bonus."""

    def reward(step, env):
        return 0.25 * step + env - 0.5 - 0.7 * (step % every == 0)

    error = judge(run_of(reward, with_an_empty_part, steps=60))
    if is_found:
        assert error.what == "the reward is not the sum of its parts in infos: r_bump is always 0"
    else:
        assert error is True


def test_empty_part_holds_if_all_parts_add_up():
    """It may be switched off; and of two empty ones, nobody knows which is wrong."""
    assert judge(run_of(lambda step, env: 0.25 * step + env - 0.5, with_an_empty_part)) is True

    def two(step, env):
        return dict(with_an_empty_part(step, env), r_fall=0.0)

    assert judge(run_of(lambda step, env: 0.25 * step + env - 0.5 - 0.7 * (step % 5 == 0), two, steps=60)) is True
