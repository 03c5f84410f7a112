"""Contracts of the statistics: bounded, on the device, and equal to a slow recount."""

from __future__ import annotations

import math
import random

import pytest
import torch

from mapush.env.metrics import EpisodeMetrics, FirstEpisodes, wilson_interval
from mapush.errors import ConfigError, MapushError, SpecError

pytestmark = pytest.mark.contracts

NUM_ENVS, NUM_AGENTS = 5, 2


def metrics_of(capacity=1000, num_envs=NUM_ENVS):
    return EpisodeMetrics(("success", "length"), num_envs, torch.device("cpu"), capacity)


def random_episodes(steps, num_envs=NUM_ENVS, seed=0):
    """Yield done and outcome of each step."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        done = torch.rand(num_envs, generator=generator) < 0.4
        success = torch.rand(num_envs, generator=generator) < 0.5
        yield done, {"success": success, "length": torch.randint(1, 1000, (num_envs,), generator=generator)}


@pytest.mark.parametrize("capacity, num_envs", ((1000, 5), (11, 5), (3, 5), (7, 23)))
def test_summary_after_episodes_equals_mean_of_the_latest(capacity, num_envs):
    """Means are taken over the most recent episodes only, also when one step ends more episodes than fit."""
    metrics, latest, total = metrics_of(capacity, num_envs), [], 0
    for done, outcome in random_episodes(60, num_envs):
        metrics.add_episodes(done, outcome)
        latest += [(float(outcome["success"][env]), float(outcome["length"][env])) for env in done.nonzero()]
        total += int(done.sum())
    latest = latest[-capacity:]
    summary = metrics.summary()
    assert summary["episodes"] == total
    assert summary["episode/success"] == pytest.approx(sum(row[0] for row in latest) / len(latest))
    assert summary["episode/length"] == pytest.approx(sum(row[1] for row in latest) / len(latest))


def test_metrics_many_episodes_memory_is_bounded():
    """At most 1,000 episodes are kept, however many end."""
    metrics = metrics_of()
    sizes = set()
    for done, outcome in random_episodes(1500):
        metrics.add_episodes(done, outcome)
        sizes.add(sum(value.numel() for value in metrics.state_dict().values() if isinstance(value, torch.Tensor)))
    assert metrics.summary()["episodes"] > 2500
    assert sizes == {1001 * 2 + 1}


def test_summary_reward_terms_restart_at_each_read():
    """Reward terms are means over envs, agents and the steps since the last summary."""
    metrics = metrics_of()
    for value in (1.0, 4.0):
        metrics.add_step({"target": torch.full((NUM_ENVS, NUM_AGENTS), value), "push": torch.full((NUM_ENVS,), -value)})
    summary = metrics.summary()
    assert (summary["reward/target"], summary["reward/push"]) == (2.5, -2.5)
    metrics.add_step({"target": torch.arange(NUM_ENVS * NUM_AGENTS).reshape(NUM_ENVS, NUM_AGENTS).float()})
    assert metrics.summary()["reward/target"] == 4.5


def test_summary_without_episodes_is_nan():
    """Before the first episode there is no rate, not a rate of zero."""
    summary = metrics_of().summary()
    assert summary["episodes"] == 0.0
    assert math.isnan(summary["episode/success"])


def test_metrics_state_dict_continues_exactly():
    """Statistics loaded from `state_dict` give the same summary, and later changes do not reach the saved state."""
    metrics, copy = metrics_of(7), metrics_of(7)
    episodes = list(random_episodes(20))
    for done, outcome in episodes[:10]:
        metrics.add_episodes(done, outcome)
        metrics.add_step({"target": torch.ones(NUM_ENVS, NUM_AGENTS)})
    saved = metrics.state_dict()
    rows = saved["episodes"].clone()
    for done, outcome in episodes[10:]:
        metrics.add_episodes(done, outcome)
    assert torch.equal(saved["episodes"], rows)
    copy.load_state_dict(saved)
    for done, outcome in episodes[10:]:
        copy.add_episodes(done, outcome)
    assert copy.summary() == metrics.summary()


def test_add_episodes_wrong_shape_is_refused():
    """A mask with a wrong number of envs is an error, not a broadcast."""
    with pytest.raises(SpecError, match="done"):
        metrics_of().add_episodes(torch.ones(NUM_ENVS + 1, dtype=torch.bool), {})


def evaluation_steps(num_envs, seed=0):
    """Return per-step done and outcome, with several episodes in every env."""
    generator, dice = torch.Generator().manual_seed(seed), random.Random(seed)
    steps = []
    for _ in range(60):
        done = torch.rand(num_envs, generator=generator) < 0.2
        ending = torch.tensor([dice.randrange(4) for _ in range(num_envs)])
        outcome = {name: ending == index for index, name in enumerate(("success", "collision", "fall", "timeout"))}
        time = torch.where(ending == 0, 20.0 * torch.rand(num_envs, generator=generator), torch.tensor(20.0))
        outcome.update(finished_time=time, collaboration=torch.rand(num_envs, generator=generator))
        steps.append((done, outcome))
    return steps


def test_first_episodes_equals_slow_recount():
    """Only the first episode of each env counts; every measure equals a recount episode by episode."""
    num_envs, steps = 37, evaluation_steps(37)
    first = FirstEpisodes(num_envs)
    for done, outcome in steps:
        first.add(done, outcome)
    rows = []
    for env in range(num_envs):
        outcome = next(outcome for done, outcome in steps if bool(done[env]))
        rows.append({name: float(value[env]) for name, value in outcome.items()})
    won = [row for row in rows if row["success"]]
    result = first.metrics()
    assert result.episodes == num_envs
    assert result.success_rate == pytest.approx(len(won) / num_envs)
    assert result.finished_time == pytest.approx(sum(row["finished_time"] for row in rows) / num_envs)
    assert result.collaboration_degree == pytest.approx(sum(row["collaboration"] for row in won) / len(won))
    assert result.collision_degree == 0.0
    assert set(result.endings) == {"success", "collision", "fall", "timeout"}
    for cause, count in result.endings.items():
        assert count == sum(int(row[cause]) for row in rows), cause
    for value, (low, high) in (
        (result.success_rate, result.success_rate_interval),
        (result.finished_time, result.finished_time_interval),
        (result.collaboration_degree, result.collaboration_degree_interval),
    ):
        assert low < value < high


def test_metrics_of_some_envs_equal_those_of_their_episodes():
    """A part of the envs, some of which play two episodes, is measured as if there were no others."""
    steps = evaluation_steps(11, seed=3)
    both, part = FirstEpisodes(11, episodes=15), FirstEpisodes(7, episodes=8)
    for done, outcome in steps:
        both.add(done, outcome)
        part.add(done[3:10], {name: values[3:10] for name, values in outcome.items()})
    assert both.metrics(slice(3, 10)) == part.metrics()
    assert both.metrics(slice(3, 10)) != both.metrics()


def test_first_episodes_no_success_has_no_collaboration():
    """Without a success the collaboration degree is nan, as upstream's."""
    first = FirstEpisodes(NUM_ENVS)
    never = torch.zeros(NUM_ENVS, dtype=torch.bool)
    outcome = {name: never for name in ("success", "collision", "fall")}
    outcome.update(timeout=~never, finished_time=torch.full((NUM_ENVS,), 20.0), collaboration=torch.rand(NUM_ENVS))
    first.add(~never, outcome)
    result = first.metrics()
    assert result.success_rate == 0.0
    assert result.finished_time == 20.0
    assert math.isnan(result.collaboration_degree)


def test_first_episodes_incomplete_is_refused():
    """Measures are refused as long as one env has not ended an episode."""
    first = FirstEpisodes(NUM_ENVS)
    assert not first.complete
    with pytest.raises(MapushError, match="0 of 5"):
        first.metrics()


@pytest.mark.parametrize(
    "successes, trials, low, high", ((0, 10, 0.0, 0.2775), (179, 300, 0.5404, 0.6505), (10, 10, 0.7225, 1.0))
)
def test_wilson_interval_matches_tables(successes, trials, low, high):
    """The interval of a rate is Wilson's, and stays within [0, 1]."""
    assert wilson_interval(successes, trials) == (pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))


# -- more episodes than envs -----------------------------------------------------------------------------------------

CHANCE, QUICK, SLOW = 0.3, 2, 11  # of a success; env steps of a success and of a failure


def uneven_episodes(num_envs, seed):
    """Yield done and outcome of envs in which successes take two steps and failures eleven; for ever."""
    generator = torch.Generator().manual_seed(seed)

    def draw():
        return torch.rand(num_envs, generator=generator) < CHANCE

    success, age = draw(), torch.zeros(num_envs, dtype=torch.long)
    while True:
        age = age + 1
        done = age == torch.where(success, QUICK, SLOW)
        outcome = {"success": success.clone(), "timeout": ~success, "finished_time": age * 0.02}
        outcome.update({name: torch.zeros_like(success) for name in ("collision", "fall")})
        outcome["collaboration"] = torch.zeros(num_envs)
        yield done, outcome
        success, age = torch.where(done, draw(), success), age.masked_fill(done, 0)


def test_episodes_in_waves_are_counted_exactly_and_without_favour_for_short_ones():
    """The rate is the analytic one, 0.3; the first episodes to end, in whatever env, would give a far higher one."""
    num_envs, episodes = 371, 1000
    first, hasty = FirstEpisodes(num_envs, episodes), []
    for done, outcome in uneven_episodes(num_envs, seed=0):
        first.add(done, outcome)
        hasty += outcome["success"][done].tolist()
        if first.complete:
            break
    result = first.metrics()
    deviation = math.sqrt(CHANCE * (1 - CHANCE) / episodes)
    assert result.episodes == episodes
    assert sum(result.endings.values()) == episodes
    assert abs(result.success_rate - CHANCE) < 3 * deviation
    low, high = result.success_rate_interval
    assert low < CHANCE < high
    hasty_rate = sum(hasty[:num_envs]) / num_envs
    assert hasty_rate - CHANCE > 4 * math.sqrt(CHANCE * (1 - CHANCE) / num_envs)


@pytest.mark.parametrize("episodes", (37, 38, 73, 90))
def test_episodes_of_each_env_are_its_share(episodes):
    """Every env plays the same number of episodes; the first envs play the remainder."""
    num_envs, steps = 37, evaluation_steps(37, seed=2)
    first = FirstEpisodes(num_envs, episodes)
    for done, outcome in steps:
        first.add(done, outcome)
    expected = []
    for env in range(num_envs):
        ended = [float(outcome["finished_time"][env]) for done, outcome in steps if bool(done[env])]
        share = episodes // num_envs + (env < episodes % num_envs)
        expected += ended[:share]
    found = first.results()["finished_time"]
    assert sorted(found.tolist()) == pytest.approx(sorted(expected))
    assert found.numel() == episodes


def test_fewer_episodes_than_envs_are_refused():
    """An env that plays no episode is a mistake in the setting."""
    with pytest.raises(ConfigError, match="would play no episode"):
        FirstEpisodes(NUM_ENVS, NUM_ENVS - 1)


def test_collision_rate_has_its_interval():
    """It is the share of all episodes that a collision ended, with Wilson's interval."""
    first = FirstEpisodes(37)
    for done, outcome in evaluation_steps(37):
        first.add(done, outcome)
    result = first.metrics()
    assert 0 < result.endings["collision"] < 37
    assert result.collision_rate == result.endings["collision"] / 37
    assert result.collision_rate_interval == wilson_interval(result.endings["collision"], 37)
