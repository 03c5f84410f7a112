"""Tests of zeros that replace a NaN, on numbers written by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from wrapped import DONES, OBS, REWARDS, check, factory

from harness.contracts.values import at_bound, finite, isolated_zeros, require_no_zeros_outside
from harness.findings import ContractError
from harness.grid_toy import GridTeam, make_grid
from harness.interface.player import Seen

pytestmark = pytest.mark.harness

STEPS, NUM_ENVS, AGENTS, OBS_DIM = 60, 5, 2, 4
END = 30  # of env 2's episode


def seen(*zeros, base=3.0):
    """Return values (T + 1, N, A, D) near `base` with zeros at these places, and the ends (T, N)."""
    values = base + 0.1 * np.random.default_rng(0).normal(size=(STEPS + 1, NUM_ENVS, AGENTS, OBS_DIM))
    for place in zeros:
        values[place] = 0.0
    ended = np.zeros((STEPS, NUM_ENVS), bool)
    ended[END - 1, [0, 1, 2, 3, 4]] = True  # what is seen at END is the first of the next episode
    return values, ended


def found(*zeros, **options):
    """Return the places of the zeros that are found."""
    return [tuple(place) for place in isolated_zeros(*seen(*zeros, **options)).tolist()]


@pytest.mark.parametrize("step", [1, 17, END - 1, END, END + 1, STEPS - 1])
def test_zero_among_numbers_is_found_wherever_it_is(step):
    """It is found in the middle, at both ends of an episode and next to them, with its exact place."""
    assert found((step, 2, 1, 3)) == [(step, 2, 1, 3)]


@pytest.mark.parametrize("step", [0, STEPS])
def test_zero_at_the_ends_of_the_run_is_not_judged(step):
    """The first and the last step of a run have only one neighbour."""
    assert found((step, 2, 1, 3)) == []


def test_zero_of_a_number_that_is_often_zero_is_no_finding():
    """Two zeros are exceptions, three are not; each entry counts for itself."""
    two, three = [(9, 2, 1, 3), (21, 4, 1, 3)], [(9, 2, 1, 3), (21, 4, 1, 3), (40, 0, 1, 3)]
    assert found(*two) == two
    assert found(*three) == []
    assert found(*three, (9, 2, 0, 3)) == [(9, 2, 0, 3)]


def test_zero_next_to_a_small_number_is_no_finding():
    """A number that is small, rests or is clipped may be 0; one that changes its sign never is exactly."""
    values, ended = seen((17, 2, 1, 3))
    cases = (
        (3.0123, 3.0123, 1),
        (-3.0123, -3.0123, 1),
        (3.0123, -3.0123, 1),
        (-3.0123, 0.0113, 1),
        (3.0123, 0.01, 0),
        (0.01, 3.0123, 0),
        (0.0, 3.0123, 0),
        (1e-18, -3.0123, 0),
        (-3.0123, 1e-18, 0),
    )
    for before, after, expected in cases:
        values[16, 2, 1, 3], values[18, 2, 1, 3] = before, after
        assert len(isolated_zeros(values, ended)) == expected, (before, after)


def test_zero_of_a_number_with_few_values_is_no_finding():
    """A contact flag or a count is 0 at times; a continuous number is not."""
    values, ended = seen((17, 2, 1, 3))
    values[:, :, 1, 3] = np.round(values[:, :, 1, 3] * 5.0)
    assert isolated_zeros(values, ended).tolist() == []


@pytest.mark.parametrize("step", [END - 1, END])
def test_zero_of_a_small_number_among_large_ones_is_found(step):
    """Distances from neighbours are measured in the unit of each entry."""
    values, ended = seen((step, 2, 1, 3))
    values[..., :3] *= 1000.0
    assert isolated_zeros(values, ended).tolist() == [[step, 2, 1, 3]]


def test_starts_that_are_zero_at_times_are_no_finding():
    """An entry that a reset sets to 0 in a quarter of the starts is meant to be 0."""
    values, ended = seen((END, 2, 1, 3))
    assert len(isolated_zeros(values, ended)) == 1
    values[0, 4, 1, 3] = 0.0  # two of six known starts
    assert len(isolated_zeros(values, ended)) == 0


def test_observation_that_is_all_zero_is_found_unless_it_is_usual():
    """An agent that sees only zeros for a few steps is blind; for half of an env's steps it is idle."""
    blind = [(step, 2, 1) for step in range(20, 26)]
    assert {place[:3] for place in found(*blind)} == set(blind)
    idle = [(step, 2, 1) for step in range(20, 50)]
    assert found(*idle) == []
    assert found((20, 2, 1, slice(0, 3)), (21, 2, 1, slice(0, 3)), (22, 2, 1, slice(0, 3))) == []


def test_short_run_is_not_judged():
    """With fewer than twenty steps, nothing is rare."""
    values, ended = seen((17, 2, 1, 3))
    assert len(isolated_zeros(values[:20], ended[:19])) == 1
    assert len(isolated_zeros(values[:19], ended[:18])) == 0


ACTIONS_OUTSIDE = (13, 26, 39)  # steps at which env 1 acts outside of its bounds


def played(zero_steps, num_steps=STEPS):
    """Return a run in which env 1 acts outside of [-1, 1] three times, and its reward is 0 at some steps."""
    random = np.random.default_rng(1)
    history = []
    for step in range(num_steps + 1):
        obs = random.normal(size=(NUM_ENVS, AGENTS, OBS_DIM))
        rewards = random.normal(size=(NUM_ENVS, AGENTS))
        actions = random.uniform(-1.0, 1.0, size=(NUM_ENVS, AGENTS, 3))
        if step in ACTIONS_OUTSIDE:
            actions[1, 1, 2] = 6.0
        if step in zero_steps:
            rewards[1] = 0.0
        dones = np.zeros((NUM_ENVS, AGENTS), bool)
        history.append(Seen(obs, obs, actions=actions, rewards=rewards, dones=dones))
    return history


@pytest.mark.parametrize(
    "zero_steps, num_steps, is_found",
    [
        (ACTIONS_OUTSIDE, STEPS, True),
        (ACTIONS_OUTSIDE[:2], STEPS, False),
        ((*ACTIONS_OUTSIDE, 50), STEPS, False),
        ((), STEPS, False),
        (ACTIONS_OUTSIDE, 40, False),
    ],
)
def test_zeros_only_after_actions_outside_are_found(zero_steps, num_steps, is_found):
    """Three zeros are enough, one at another step is too many, and 200 other values must have been seen."""
    history = played(zero_steps, num_steps)
    low, high = -np.ones(3), np.ones(3)
    if not is_found:
        assert require_no_zeros_outside(history, low, high) is None
        return
    with pytest.raises(ContractError, match="rewards drops to exactly 0 after actions outside") as caught:
        require_no_zeros_outside(history, low, high)
    assert caught.value.where == "step 13, env 1, agent 0, entry 0"
    assert caught.value.step == 13


def test_few_zeros_of_many_actions_outside_are_no_finding():
    """Two speeds at their bounds differ by exactly 0 at times: a NaN would be there more often."""
    history = played(ACTIONS_OUTSIDE)
    for seen in history[1:]:
        seen.actions[2] = 6.0
    assert require_no_zeros_outside(history, -np.ones(3), np.ones(3)) is None


def test_reward_that_is_replaced_once_is_found():
    """Rewards with a rare large one have a small usual spread, so a zero among small rewards is found."""

    def result(env, returned):
        if env.count == 27:
            returned[REWARDS][3] = 0.0

    assert check(factory(result=result), "finite") == "rewards drops to exactly 0"


def test_clipped_numbers_are_at_their_bounds():
    """A wall that is reached three times is a bound; the extremes of other numbers, of flags, and 0 are none."""
    values, _ = seen()
    wall = [(9, 2, 1, 3), (21, 4, 1, 3), (40, 0, 1, 3)]
    for place in wall[:2]:
        values[place] = 5.0
    assert not at_bound(values).any()
    values[wall[2]] = 5.0
    assert np.argwhere(at_bound(values)).tolist() == [[9, 2], [21, 4], [40, 0]]
    values[..., 2] = np.round(values[..., 2])
    for place in wall:
        values[place] = 0.0
    assert not at_bound(values).any()


def test_wall_at_0_that_is_reached_often_is_a_bound():
    """Zeros that replace a NaN are few; a position that is clipped at 0 is there more often."""
    values, _ = seen()
    values[..., 1, 3] += 1.0 - values[..., 1, 3].min()
    wall = [(step, step % NUM_ENVS, 1, 3) for step in range(3, 33, 6)]
    for place in wall[:3]:
        values[place] = 0.0
    assert not at_bound(values).any()
    for place in wall:
        values[place] = 0.0
    assert np.argwhere(at_bound(values)).tolist() == [[step, env] for step, env, _, _ in wall]


def test_difference_of_two_clipped_numbers_is_no_finding():
    """Two bodies move at random and stop at walls: their distance is exactly 0 while both are at the same one."""
    values = random_walk_between_walls(steps=400, wall=1.0)
    ended = np.zeros((400, NUM_ENVS), bool)
    zeros = isolated_zeros(values, ended)
    assert len(zeros) > 0
    assert at_bound(values)[zeros[:, 0], zeros[:, 1]].all()


def random_walk_between_walls(steps: int, wall: float) -> np.ndarray:
    """Return two positions and their difference, (T + 1, N, 1, 3), of bodies that turn round when they meet a wall."""
    rng = np.random.default_rng(0)
    position, velocity = rng.uniform(-wall, wall, (NUM_ENVS, 2)), rng.normal(0.0, 0.2, (NUM_ENVS, 2))
    rows = []
    for _ in range(steps + 1):
        position = np.clip(position + velocity, -wall, wall)
        rows.append(np.stack((position[:, 0], position[:, 1], position[:, 0] - position[:, 1]), axis=1))
        at_wall = np.abs(position) == wall
        velocity = np.where(at_wall, -velocity, velocity + rng.normal(0.0, 0.02, velocity.shape))
    return np.stack(rows)[:, :, None]


def test_agent_that_has_left_may_observe_nothing():
    """Its observation is 0 until the episode ends; the same zeros of an agent that goes on are found."""

    def leaves(says_so):
        def result(env, returned):
            has_left = 5 <= env.count < 9
            if has_left:
                returned[OBS][2, 1] = 0.0
            if has_left and says_so and not returned[DONES][2].all():
                returned[DONES][2, 1] = True

        return factory(result=result)

    assert check(leaves(says_so=True), "finite") == ""
    assert check(leaves(says_so=False), "finite") == "obs drops to exactly 0"


@pytest.mark.parametrize("writes", [True, False])
def test_forbidden_actions_that_step_replaces_in_place_are_found(writes):
    """Only in the array that it is given; a copy may be changed."""

    class Replacing(GridTeam):
        def step(self, actions):
            allowed = np.take_along_axis(self._available_actions(), np.asarray(actions), axis=-1) > 0
            legal = np.where(allowed, actions, 0)
            if writes:
                actions[:] = legal
            return super().step(legal)

    def make_env(num_envs=5, num_agents=3, seed=0):
        env = make_grid(num_envs, num_agents, seed)
        env.__class__ = Replacing
        return env

    expected = "step writes into the actions it is given" if writes else ""
    assert check(make_env, "actions-untouched") == expected


def test_stock_that_runs_out_is_no_finding():
    """A number with one sign reaches 0 from a low value; from a usual one, it does not in one step."""
    draw = np.random.default_rng(2)
    walk = np.cumsum(0.1 * draw.normal(size=(STEPS + 1, NUM_ENVS, AGENTS, OBS_DIM)), axis=0)
    values = 0.3 + abs(walk)
    ended = np.zeros((STEPS, NUM_ENVS), bool)
    for before, expected in ((0.3017, 0), (0.9017, 1)):
        values[16, 2, 1, 3], values[17, 2, 1, 3], values[18, 2, 1, 3] = before, 0.0, before + 0.0106
        assert len(isolated_zeros(values, ended)) == expected


def test_zero_among_short_decimals_is_no_finding():
    """Where a reward is a sum of few events, it may be that of none; so it may if its neighbour occurs repeatedly."""
    values, ended = seen((17, 2, 1, 3))
    values[16, 2, 1, 3] = 2.95
    assert len(isolated_zeros(values, ended)) == 0
    values[16, 2, 1, 3] = 2.9517
    assert len(isolated_zeros(values, ended)) == 1
    values[[3, 40], 1, 1, 3] = 2.9517
    assert len(isolated_zeros(values, ended)) == 0


@pytest.mark.parametrize("before, is_found", [(0.0137, False), (2.5137, True)])
def test_last_reward_is_compared_with_the_one_before(before, is_found):
    """The reward after it is of the next episode."""
    draw = np.random.default_rng(3)
    history = []
    for step in range(STEPS + 1):
        obs = draw.normal(size=(NUM_ENVS, AGENTS, OBS_DIM))
        rewards, dones = draw.uniform(2.0, 3.0, (NUM_ENVS, AGENTS)), np.zeros((NUM_ENVS, AGENTS), bool)
        if step == END - 1:
            rewards[2] = before
        if step == END:
            rewards[2], dones[2] = 0.0, True
        history.append(Seen(obs, obs, actions=obs, rewards=rewards, dones=dones))
    subject = SimpleNamespace(long_run=lambda: SimpleNamespace(seen=history), sizes=SimpleNamespace(discrete=True))
    if is_found:
        with pytest.raises(ContractError, match="rewards drops to exactly 0"):
            finite(subject)
    else:
        finite(subject)
