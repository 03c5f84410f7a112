"""Tests of how rewards are checked against what a task states, on series whose relation is known."""

from __future__ import annotations

import numpy as np
import pytest

from harness.contracts import reward_task as contracts
from harness.contracts.task import Task
from harness.findings import ContractError, NotJudgedError
from harness.interface.player import Seen

pytestmark = pytest.mark.harness

STEPS, NUM_ENVS, AGENTS = 200, 5, 2


def series(seed=0):
    """Return numbers (T, N) that are unrelated to each other."""
    return np.random.default_rng(seed).normal(size=(STEPS, NUM_ENVS))


def later(values, lag):
    """Return the series `lag` steps late; unknown numbers are NaN."""
    shifted = np.full_like(values, np.nan)
    if lag >= 0:
        shifted[lag:] = values[: len(values) - lag]
    else:
        shifted[:lag] = values[-lag:]
    return shifted


@pytest.mark.parametrize("lag", [0, 1, 2, -1])
def test_correlation_is_that_of_the_pairs_so_many_steps_apart(lag):
    """It is Pearson's coefficient over the pairs in which both numbers are known."""
    expected, actual = series(1), series(1) + series(2)
    expected[3, 1] = actual[7, 2] = np.nan
    pairs = []
    for step in range(STEPS):
        for env in range(NUM_ENVS):
            if 0 <= step - lag < STEPS and np.isfinite((expected[step - lag, env], actual[step, env])).all():
                pairs.append((expected[step - lag, env], actual[step, env]))
    a, b = np.array(pairs).T
    slow = ((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std())
    assert contracts.correlation(expected, actual, lag) == pytest.approx(slow)
    assert contracts.correlations(expected, actual)[lag] == pytest.approx(slow)


def test_correlation_of_little_or_of_a_constant_is_none():
    """Nine pairs, or a constant, have no correlation; ten pairs have one."""
    values = series()
    assert contracts.correlation(values[:10, :1], values[:10, :1], 0) == pytest.approx(1.0)
    assert contracts.correlation(values[:9, :1], values[:9, :1], 0) == 0.0
    assert contracts.correlation(values, np.ones_like(values), 0) == 0.0
    assert contracts.correlation(np.ones_like(values), values, 0) == 0.0


@pytest.mark.parametrize(
    "lag, sign, what, cause",
    [
        (0, -1.0, "the reward has the wrong sign", None),
        (1, 1.0, "the reward comes 1 step late", "it is computed from the positions before the step"),
        (2, 1.0, "the reward comes 2 steps late", "it is computed from the positions before the step"),
        (-1, 1.0, "the reward comes 1 step early", "it looks ahead"),
        (1, -1.0, "the reward has the wrong sign", None),
    ],
)
def test_reward_of_the_wrong_sign_or_step_is_named(lag, sign, what, cause):
    """The lag with the strongest correlation decides, and its sign is named before its lag."""
    with pytest.raises(ContractError) as caught:
        contracts.require_agreement(series(), sign * later(series(), lag))
    assert caught.value.what == what
    assert caught.value.cause == cause
    assert f"{sign:+.2f} at lag {lag}" in caught.value.got


@pytest.mark.parametrize("noise, kept", [(2.0, True), (8.0, False)])
def test_reward_of_a_weak_relation_is_kept_and_of_none_is_not(noise, kept):
    """A correlation of 0.45 is not an accident, but one of 0.12 may be."""
    actual = series() + noise * series(5)
    if kept:
        assert contracts.require_agreement(series(), actual) is None
        return
    with pytest.raises(ContractError, match="unrelated to"):
        contracts.require_agreement(series(), actual)


# -- a run -------------------------------------------------------------------------------------------------------


class Stated(Task):
    """A task whose reward is the first entry of the observation."""

    def reward(self, previous, current):
        """Return what each agent is subject."""
        return current.obs[:, :, 0]


class Played:
    """A subject that has played a run already."""

    def __init__(self, history, task=None):
        self.seen, self.task = history, task

    def long_run(self):
        """Return what was played."""
        return self


def run(expected, rewards, ends=()):
    """Return a run in which the first entry of the observation is `expected` (T, N)."""
    nothing = np.zeros((NUM_ENVS, AGENTS, 1))
    history = [Seen(nothing, nothing)]
    for step, (wanted, given) in enumerate(zip(expected, rewards)):
        dones = np.zeros((NUM_ENVS, AGENTS), bool)
        dones[[env for at, env in ends if at == step]] = True
        obs = np.stack([wanted + 0.5, wanted - 0.5], axis=1)[..., None]
        history.append(Seen(obs, obs, rewards=np.stack([given] * AGENTS, axis=1), dones=dones))
    return history


def test_reward_task_needs_a_statement():
    """Without a task, or if it states nothing about the reward, the contract is not judged."""
    history = run(series(), series())
    with pytest.raises(NotJudgedError, match="no task is stated"):
        contracts.reward_task(Played(history))
    with pytest.raises(NotJudgedError, match="says nothing about the reward"):
        contracts.reward_task(Played(history, Task()))


@pytest.mark.parametrize(
    "known, error, text", [(29, NotJudgedError, "too few steps"), (30, ContractError, "wrong sign")]
)
def test_reward_task_is_judged_by_thirty_rewards(known, error, text):
    """NaN marks what a task does not know, and is left out."""
    expected = np.full((STEPS, NUM_ENVS), np.nan)
    expected.flat[:known] = series().flat[:known]
    subject = Played(run(expected, -series()), Stated())
    with pytest.raises(error, match=text):
        contracts.reward_task(subject)


def test_reward_task_leaves_out_the_steps_that_end_an_episode():
    """A quantity for each agent is averaged, and a bonus at an end does not count."""
    ends = [(step, step % NUM_ENVS) for step in range(0, STEPS, 3)]
    rewards = series().copy()
    for step, env in ends:
        rewards[step, env] = 1e3
    subject = Played(run(series(), rewards, ends), Stated())
    assert contracts.reward_task(subject) is None
    expected, actual = contracts.stated_and_actual(subject.task, subject.seen)
    at_end = np.zeros((STEPS, NUM_ENVS), bool)
    at_end[tuple(np.transpose(ends))] = True
    assert np.array_equal(np.isnan(expected), at_end)
    assert np.array_equal(np.isnan(actual), at_end)
    np.testing.assert_allclose(expected[~at_end], series()[~at_end])
    np.testing.assert_allclose(actual[~at_end], series()[~at_end])


@pytest.mark.parametrize("steps, found", [(400, True), (300, False)])
def test_reward_task_looks_at_the_end_of_a_long_run_by_itself(steps, found):
    """A sign that flips for the last 90 of 400 steps is found, although the complete run agrees."""
    expected = np.random.default_rng(0).normal(size=(steps, NUM_ENVS))
    rewards = expected.copy()
    rewards[-90:] *= -1.0
    subject = Played(run(expected, rewards), Stated())
    if not found:
        assert contracts.reward_task(subject) is None
        return
    with pytest.raises(ContractError, match="wrong sign"):
        contracts.reward_task(subject)


@pytest.mark.parametrize("lost, others, found", [(5, 1.0, True), (4, 1.0, False), (5, 0.8, False)])
def test_reward_lost_at_the_last_ends_is_found(lost, others, found):
    """Five consecutive ends without a reward are not an accident if nearly all other steps have one."""
    ends = [(10 * index + 9, index % NUM_ENVS) for index in range(12)]
    rewards = np.where(np.random.default_rng(3).random((STEPS, NUM_ENVS)) < others, 1.0, 0.0)
    for step, env in ends:
        rewards[step, env] = 1.0
    for step, env in ends[-lost:]:
        rewards[step, env] = 0.0
    history = run(series(), rewards, ends)
    if not found:
        assert contracts.require_last_reward(history) is None
        return
    with pytest.raises(ContractError, match="ends an episode is lost") as caught:
        contracts.require_last_reward(history)
    assert caught.value.got == "exactly 0 at the last 5 ends"


def test_reward_lost_at_every_end_is_found():
    """The ends need not have had a reward before."""
    ends = [(10 * index + 9, index % NUM_ENVS) for index in range(12)]
    rewards = np.ones((STEPS, NUM_ENVS))
    rewards[tuple(np.transpose(ends))] = 0.0
    with pytest.raises(ContractError) as caught:
        contracts.require_last_reward(run(series(), rewards, ends))
    assert caught.value.got == "exactly 0 at the last 12 ends"


def test_task_says_what_it_was_given_and_nothing_else():
    """By default agents share state and reward, move mostly what they see themselves, and act at once."""
    task = Task()
    assert (task.state_type, task.agents_by_effect, task.delay) == ("EP", True, 0)
    task = Task("FP", agents_by_effect=False, delay=2)
    assert (task.state_type, task.agents_by_effect, task.delay) == ("FP", False, 2)
    assert task.reward(None, None) is None
    assert task.effect(0, 0) is None
