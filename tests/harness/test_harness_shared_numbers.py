"""Tests of what infos say of an episode if other envs act differently: runs written by hand, and toys."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from wrapped import DONES, INFOS, REWARDS, factory, report_of

from harness.contracts import Effort
from harness.contracts.ended_episodes import EndedEpisode
from harness.contracts.episode_spans import EpisodeSpan
from harness.contracts.shared_numbers import (
    Changed,
    changed_numbers,
    is_named_after,
    is_within_range,
    own_numbers,
    require_own_numbers,
)
from harness.findings import ContractError
from harness.interface.moment import StepErrors
from harness.interface.player import Seen

pytestmark = pytest.mark.harness

EFFORT = Effort(long_run_steps=200, max_searches=0, growth_steps=40, max_kept_entries=150)
ENVS, AGENTS = 3, 2
ENDS = {2: [0], 4: [1, 2], 6: [0, 2]}  # envs whose episode ends, by step
EVERY_ENV = np.ones(ENVS, bool)


def run_of(numbers):
    """Return a run; `numbers(step, env)` are in the infos of an env whose episode ends."""
    obs = np.zeros((ENVS, AGENTS, 4))
    history = [Seen(obs, obs)]
    for step in range(1, 8):
        dones = np.zeros((ENVS, AGENTS), bool)
        infos = [[{}, {}] for _ in range(ENVS)]
        for env in ENDS.get(step, []):
            dones[env] = True
            infos[env][0] = numbers(step, env)
        history.append(Seen(obs, obs, rewards=np.zeros((ENVS, AGENTS)), dones=dones, truncated=dones, infos=infos))
    return history


def changed(original, played, same=EVERY_ENV, paths=("return",)):
    """Return step, env, path and both numbers of what differs in two runs."""
    found = changed_numbers(set(paths), run_of(original), run_of(played), same, "other actions in envs [1]")
    return [(one.step, one.env, one.path, one.expected, one.got) for one in found]


def test_numbers_that_differ_in_two_runs_are_found_in_envs_that_show_the_same():
    """Each end is compared, with both numbers; envs that were disturbed are not."""

    def one(step, env):
        return {"return": step + 0.1 * env, "length": step}

    def other(step, env):
        return {"return": step + 0.2 * env, "length": step}

    assert changed(one, one) == []
    assert changed(one, other) == [
        (4, 1, "return", 4.1, 4.2),
        (4, 2, "return", 4.2, 4.4),
        (6, 2, "return", 6.2, 6.4),
    ]
    assert changed(one, other, same=np.array([True, False, False])) == []
    assert changed(one, other, same=np.array([True, False, True])) == [
        (4, 2, "return", 4.2, 4.4),
        (6, 2, "return", 6.2, 6.4),
    ]
    assert changed(one, other, paths=["length"]) == []
    assert changed(one, other, paths=[]) == []
    assert changed(one, lambda step, env: {}) == []
    assert changed(one, other, paths=["length", "return"]) == changed(one, other)
    assert changed_numbers({"return"}, run_of(one), run_of(other), EVERY_ENV, "words")[0].disturbed == "words"


def test_envs_without_infos_are_left_out():
    """An end of which infos say nothing, in one run or in one of the envs, is not compared."""

    def one(step, env):
        return {"return": step + 0.1 * env}

    silent, speaking = run_of(one), run_of(lambda step, env: {"return": -1.0})
    for seen in silent:
        seen.infos = None
    assert changed_numbers({"return"}, silent, speaking, EVERY_ENV, "") == []
    assert changed_numbers({"return"}, speaking, silent, EVERY_ENV, "") == []
    short, shorter = run_of(one), run_of(lambda step, env: {"return": -1.0})
    for seen in short[1:]:
        del seen.infos[2]
    assert [found.env for found in changed_numbers({"return"}, short, shorter, EVERY_ENV, "")] == [0, 1, 0]


def own_of(numbers, again=None, broken=None):
    """Return which numbers in the infos of a run should belong to one episode."""
    errors = StepErrors()
    if broken is not None:
        errors.record(broken, ContractError("broken"))
    history = run_of(numbers)
    run = SimpleNamespace(seen=history)
    return own_numbers(SimpleNamespace(long_run=lambda: run, errors=errors, replayed=run_of(again or numbers)))


def test_own_numbers_are_those_that_fall_at_times_and_that_a_replay_repeats():
    """The ends are at steps 2, 4, 4, 6 and 6, so a number that never falls may count them."""
    falling, rising = {2: 9.0, 4: 8.0, 6: 7.0}, {2: 7.0, 4: 8.0, 6: 8.5}

    def one(step, env):
        return {"episode_score": falling[step], "episode_index": rising[step], "speed": falling[step]}

    assert own_of(one) == {"episode_score"}
    assert own_of(one, broken="infos-fresh") == set()
    assert own_of(one, broken="finite") == {"episode_score"}
    assert own_of(one, again=lambda step, env: {"episode_score": 1.0}) == set()
    assert own_of(lambda step, env: {"episode_score": 7.0 - (step == 6) * (env == 2) * 0.5}) == {"episode_score"}
    assert own_of(lambda step, env: {"episode_score": 7.0}) == set()


@pytest.mark.parametrize(
    "path, of_steps, is_named",
    [
        ("total_cost", ["cost"], True),
        ("log/items_picked", ["log/picked", "battery"], True),
        ("mean_tension", ["tension"], True),
        ("cost", ["cost"], False),  # the same name
        ("cost_rate", ["cost"], False),  # of several episodes
        ("mean_success", ["success"], False),
        ("total_cost_of_all_envs", ["cost"], False),
        ("bumps", ["bumped"], False),
    ],
)
def test_number_may_be_named_after_one_of_every_step(path, of_steps, is_named):
    """Then it should be one of this episode, unless its name says that it is a statistic."""
    assert is_named_after(path, of_steps) is is_named


def test_number_that_envs_share_is_a_statistic():
    """A mean of the episodes that end in one step is the same for all of them."""
    found = changed(lambda step, env: {"return": step}, lambda step, env: {"return": step + 0.5})
    assert [one[:2] for one in found] == [(2, 0)]


def test_two_numbers_of_one_path_are_a_finding():
    """A single difference may be an accident."""
    one = Changed("episode/r", 2, 17, 1.5, 1.25, "other actions in envs [0]")
    assert require_own_numbers([one, one._replace(path="episode/l")]) is None
    with pytest.raises(ContractError) as caught:
        require_own_numbers([one._replace(path="episode/l"), one, one._replace(env=1)])
    assert caught.value.what == "infos of an env depend on the actions in other envs"
    assert caught.value.where == "infos[2][0]['episode/r'], step 17; other actions in envs [0]"
    assert caught.value.got == "1.5, though the env shows the same; so it is at 2 ends"
    assert caught.value.expected.startswith("1.25, ")


def ended(*episodes, agents=(1.0, 1.0)):
    """Return episodes: the step of the end, return and length, and what infos say."""
    found = []
    for end, returned, length, said in episodes:
        span = EpisodeSpan(env=0, end=end, length=length, truncated=False, first=False)
        rewards = returned * np.array(agents)
        found.append(EndedEpisode(span, rewards, rewards, {"episode/x": said}))
    return found


@pytest.mark.parametrize(
    ("episodes", "is_within"),
    [
        (ended((3, -1.0, 30, -1.0), (5, -3.0, 40, -2.0)), True),  # a mean of all episodes
        (ended((3, -1.0, 30, -2.0), (3, -3.0, 40, -2.0)), True),  # of those that end in this step
        (ended((3, -1.0, 30, -2.0), (5, -3.0, 40, -2.0)), False),  # before the second one ended
        (ended((3, -1.0, 30, -1.0), (5, -3.0, 40, -3.1)), False),
        (ended((3, -1.0, 30, -1.0), (5, -3.0, 40, -0.9)), False),
        (ended((3, 999.0, 30, 999.9), (5, 1000.0, 40, 999.0)), True),  # rounded
        (ended((3, 0.0, 30, 0.0015), (5, 0.0, 40, 0.0)), False),
        (ended((3, -1.0, 30, 30.0), (5, -3.0, 40, 35.0)), True),  # of the lengths
        (ended((3, -1.0, 30, -2.0), (5, -3.0, 40, -4.0)), False),  # twice the return, of a team
        (ended((3, -1.0, 30, -3.0), (5, -3.0, 40, -5.0), agents=(1.0, 2.0)), True),  # of all agents
    ],
)
def test_mean_lies_within_the_range_of_the_episodes_so_far(episodes, is_within):
    """A number that is never outside may be a statistic of all envs."""
    assert is_within_range(episodes, "episode/x") == is_within


def total(value):
    """Return a toy whose infos have a number of each episode that ended: `value(env, rewards)`, summed over steps."""

    def result(env, returned):
        done = returned[DONES].all(axis=1)
        env.totals = getattr(env, "totals", 0.0) + value(returned[REWARDS][:, 0, 0])
        for env_id in np.flatnonzero(done):
            for info in returned[INFOS][env_id]:
                info["episode"]["score"] = float(env.totals[env_id])
        env.totals[done] = 0.0

    return factory(result=result)


def test_score_of_the_batch_is_found_and_that_of_an_env_is_not():
    """The sum over all envs depends on the actions of all of them; a multiple of the own return does not."""
    options = {"contracts": ["independence"], "effort": EFFORT}
    (finding,) = report_of(total(lambda rewards: rewards.sum() + 0.0 * rewards), **options).findings
    assert finding.what == "infos of an env depend on the actions in other envs"
    assert report_of(total(lambda rewards: 3.0 * rewards), **options).passed == ["independence"]


@pytest.mark.parametrize("name", ["return", "index"])
def test_mean_and_number_of_all_episodes_may_depend_on_all(name):
    """A mean over the batch, and a number of the episode that only rises, are statistics."""

    def result(env, returned):
        env.all_returns = getattr(env, "all_returns", [])
        for env_id in np.flatnonzero(returned[DONES].all(axis=1)):
            env.all_returns.append(returned[INFOS][env_id][0]["episode"]["return"])
            said = {"return": float(np.mean(env.all_returns)), "index": len(env.all_returns)}
            for info in returned[INFOS][env_id]:
                info["episode"] = {name: said[name]}

    report = report_of(factory(result=result), contracts=["independence"], effort=EFFORT)
    assert report.passed == ["independence"], report
