"""Tests of what infos say of an episode, held against its steps, on runs that are written down."""

from __future__ import annotations

import numpy as np
import pytest
from told_run import LONGEST, told_run

from harness.contracts.told_totals import last_of_the_episode_before, means_so_far, require_true_totals
from harness.findings import ContractError

pytestmark = pytest.mark.harness


def judge(say):
    """Judge a run, and return the error, or None."""
    try:
        require_true_totals(told_run(say))
    except ContractError as error:
        return error
    return None


@pytest.mark.parametrize(
    "say",
    [
        lambda speeds, rewards, earlier: {"episode": {"r": rewards.sum(), "l": len(rewards)}},
        lambda speeds, rewards, earlier: {"mean_speed": speeds.mean(), "top_speed": speeds.max(), "path": speeds.sum()},
        lambda speeds, rewards, earlier: {"episode_return": np.round(rewards.sum(), 2)},
        lambda speeds, rewards, earlier: {"episode_return": float(np.float32(rewards.sum()))},
        lambda speeds, rewards, earlier: {"meter": np.concatenate([earlier, speeds]).sum()},
        lambda speeds, rewards, earlier: {"total_path": np.concatenate([earlier, speeds]).sum()},
        lambda speeds, rewards, earlier: {"best_ever": np.concatenate([earlier, speeds]).max()},
        lambda speeds, rewards, earlier: {"last": speeds[-1], "bonus": 0.0, "length_of_rope": 3.0},
        lambda speeds, rewards, earlier: {"max_episode_length": LONGEST, "reward_scale": 0.5},
        lambda speeds, rewards, earlier: {"share_of_the_limit": len(speeds) / LONGEST},
    ],
)
def test_numbers_of_the_episode_hold(say):
    """Sums, means and extremes of the episode do; so do rounded returns, records by their name, and settings."""
    assert judge(say) is None


@pytest.mark.parametrize("name, aggregate", [("sum", np.sum), ("mean", np.mean), ("minimum", np.min)])
def test_number_that_goes_on_over_episodes_is_found(name, aggregate):
    """It is that of the episode in the first one of each env only; the error says what it is, and what it should be."""
    error = judge(lambda speeds, rewards, earlier: {"ep_effort": aggregate(np.concatenate([earlier, speeds]))})
    assert error.what == "ep_effort in infos goes on over the episodes of an env"
    assert f"the {name} of 'speed' in the infos of its steps over all episodes of this env so far" in error.got


def test_maximum_that_goes_on_is_found_in_a_dict_of_a_dict():
    """The path names the place."""
    error = judge(lambda speeds, rewards, earlier: {"stats": {"top": np.concatenate([earlier, speeds]).max()}})
    assert "['stats/top']" in error.where


def test_mean_that_is_divided_by_the_limit_is_found():
    """It is right where an episode was as long as the longest ones; the error has both divisors."""
    error = judge(lambda speeds, rewards, earlier: {"mean_speed": speeds.sum() / LONGEST})
    assert error.what == "mean_speed in infos is no mean over the steps of the episode"
    assert "divided by 9" in error.got
    assert "divided by 3" in error.expected
    assert judge(lambda speeds, rewards, earlier: {"cost": rewards.sum() / LONGEST}).got.count("the reward") == 1


@pytest.mark.parametrize("path", ["episode_return", "ep_r", "return"])
def test_return_that_is_always_the_same_is_found(path):
    """It was read after the reset, say."""
    error = judge(lambda speeds, rewards, earlier: {path: 0.0})
    assert error.what == "infos give the same return at the end of every episode"
    assert error.got == "0 at all 20 ends"


def test_length_that_is_always_the_same_is_found():
    """Even that of the longest episodes."""
    error = judge(lambda speeds, rewards, earlier: {"episode": {"l": LONGEST}})
    assert error.what == "infos give the same length at the end of every episode"


def test_return_without_the_last_reward_is_found():
    """Nor may it hold that of the episode before; a return before the last step has a different name."""
    error = judge(lambda speeds, rewards, earlier: {"episode_return": rewards[:-1].sum()})
    assert error.what == "infos give a return without the last reward of the episode"
    assert judge(lambda speeds, rewards, earlier: {"before_the_last": rewards[:-1].sum()}) is None
    before = last_of_the_episode_before(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), [0, 1, 0, 0, 1])
    assert before.tolist() == [0.0, 0.0, 1.0, 3.0, 2.0]


def test_return_in_half_precision_is_found():
    """All of them are numbers of 16 bits, and most are off by more than a rounding error."""

    def say(speeds, rewards, earlier):
        total = np.float16(0.0)
        for reward in rewards:
            total = np.float16(total + np.float16(reward))
        return {"episode_return": float(total)}

    error = judge(say)
    assert error.what == "infos give an imprecise return"
    assert "16 bits" in error.got


@pytest.mark.parametrize("off_by", [1, -1])
def test_length_that_is_off_by_one_is_found(off_by):
    """Two more is a different way of counting; so is one more of what is not called the length."""
    error = judge(lambda speeds, rewards, earlier: {"episode_length": len(rewards) + off_by})
    assert error.what == "infos give a length that is off by one"
    assert error.got.endswith(f", {off_by:+d} at all 20 ends")
    assert judge(lambda speeds, rewards, earlier: {"episode_length": len(rewards) + 2 * off_by}) is None
    assert judge(lambda speeds, rewards, earlier: {"num_observations": len(rewards) + off_by}) is None


@pytest.mark.parametrize("whose", ["all envs", "its env"])
def test_mean_of_episodes_under_the_name_of_a_return_is_found(whose):
    """Over the episodes of one env, or of all of them; a mean that says so is fine."""
    told = {"all envs": [], "its env": {}}

    def mean(speeds, rewards, earlier):
        returns = told["all envs"]
        if whose == "its env":
            env = tuple(np.round(earlier, 9)[:1]) or tuple(np.round(speeds, 9)[:1])
            returns = told["its env"].setdefault(env, [])
        returns.append(rewards.sum())
        return float(np.mean(returns))

    error = judge(lambda *steps: {"episode_return": mean(*steps)})
    assert error.what == "infos give a mean over several episodes as the return"
    assert error.got.endswith(f"the mean of the latest episodes of {whose}")
    told.update({"all envs": [], "its env": {}})
    assert judge(lambda *steps: {"mean_return": mean(*steps)}) is None


def test_means_so_far_are_of_the_latest_episodes():
    """A window bounds how many; each key has its own."""
    returns = np.array([1.0, 3.0, 5.0, 7.0])
    assert means_so_far(returns, [0, 0, 0, 0], 2).tolist() == [1.0, 2.0, 4.0, 6.0]
    assert means_so_far(returns, [0, 1, 0, 1], 9).tolist() == [1.0, 3.0, 3.0, 5.0]


@pytest.mark.parametrize("name, is_found", [("clipped_share", True), ("clipped_steps", False)])
def test_share_that_exceeds_1_in_later_episodes_is_found(name, is_found):
    """The count behind it goes on; what is not called a share may be anything."""
    error = judge(lambda speeds, rewards, earlier: {name: (len(earlier) + len(speeds) - 0.5) / len(speeds)})
    if is_found:
        assert error.what == "clipped_share in infos exceeds 1 from the second episode on"
    else:
        assert error is None
    assert judge(lambda speeds, rewards, earlier: {name: float((speeds > 0).mean())}) is None


def at_limit_only(speeds, rewards, earlier):
    """Return an info whose return lacks a bonus, unless the episode was as long as the longest ones."""
    lacking = 1.5 * (len(rewards) < LONGEST)
    return {"episode_return": rewards.sum() - lacking}


def test_return_that_is_right_at_time_limits_only_is_found():
    """The bonus that ends an episode is missing; the error says at how many ends."""
    error = judge(at_limit_only)
    assert error.what == "infos give the return only at time limits"
    assert "wrong at all" in error.got


def test_return_that_is_wrong_at_time_limits_only_is_found():
    """It may be the other way round, too."""

    def say(speeds, rewards, earlier):
        return {"episode_return": rewards.sum() - 1.5 * (len(rewards) == LONGEST)}

    error = judge(say)
    assert error.what == "infos give the return only where no time limit ended the episode"


def test_return_that_is_wrong_here_and_there_is_no_such_finding():
    """A clipped or smoothed return may be right by chance; only a clean split by how episodes end is a pattern."""
    assert judge(lambda speeds, rewards, _: {"episode_return": max(rewards.sum(), 0.0)}) is None


def test_return_with_the_last_reward_twice_is_found():
    """It is added in the step and once more at the end."""
    error = judge(lambda speeds, rewards, earlier: {"episode_return": rewards.sum() + rewards[-1]})
    assert error.what == "infos give a return with twice the last reward of the episode"
