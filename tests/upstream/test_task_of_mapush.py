"""Our task against MAPush's own code on the same states: observation, every reward term, every ending.

Physics is switched off: a test writes states into MAPush's tensors, MAPush judges, rewards, resets and observes, and
our task is led through the same states.
"""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from mapush_code import (
    SCALES,
    WEIGHTS,
    Ours,
    angle_gap,
    nearest_edge_is_clear,
    on_track,
    our_state,
    random_roots,
    read_roots,
    reward_gap,
    weigh,
    write_roots,
)

from mapush.config import TaskConfig
from mapush.env import rewards
from mapush.objects import OBJECTS
from mapush.upstream.mqe import REWARD_TERMS

pytestmark = [
    pytest.mark.upstream,
    pytest.mark.usefixtures("mapush_code"),
    pytest.mark.filterwarnings("ignore"),
]

NAMES = sorted(OBJECTS)
TERMS = sorted(SCALES)
OBS_TOLERANCE = 1e-5  # positions are up to 25 m from the world's origin, where float32 has steps of 2e-6 m
TOLERANCE = 1e-5  # of a reward, as a share of 1 + its size
LATER = 1  # env steps by which MAPush's time limit is longer than ours: its dt is a single precision number


class Twins:
    """MAPush's wrapper and our task with upstream's quirks, through the same random states.

    Attributes:
      env: MAPush's environment without its wrapper.
      endings: how many episodes ended by each cause.
      clear: where rounding does not decide about the last reward, (E, A) bool.
    """

    def __init__(self, wrapper, name, weights, seed):
        self.wrapper, self.env, self.name = wrapper, wrapper.env, name
        weigh(wrapper, {term: getattr(weights, term) for term in SCALES})
        self.env.cfg.rewards.expanded_ocb_reward = weights.expanded_ocb
        self.ours = Ours(TaskConfig(object=name, reward=weights, upstream_quirks=True), self.env.env_origins)
        self.generator = torch.manual_seed(seed)  # MAPush draws from this one, too
        self.endings = dict.fromkeys(("success", "collision", "fall", "timeout"), 0)
        self.obs = wrapper.reset()
        self.first = self.ours.reset(read_roots(self.env))

    def states(self):
        """Return random root states (E, A + 2, 13), in the world."""
        roots = random_roots(self.name, self.env.num_envs, self.generator)
        return on_track(roots, self.env.env_origins)

    def step(self, judged):
        """Lead both to root states (E, A + 2, 13) and return what MAPush returns, and our transition."""
        write_roots(self.env, judged)
        shape = (self.env.num_envs, self.env.num_agents, 3)
        actions = 1.5 * torch.randn(shape, generator=self.generator)
        returned = self.wrapper.step(0.5 * actions)  # its training halves them first
        now = read_roots(self.env)
        transition = self.ours.step(actions, judged, now)
        self.clear = nearest_edge_is_clear(self.name, our_state(now, self.env.env_origins)[0])
        for cause in self.endings:
            self.endings[cause] += int((transition.outcome[cause] & transition.done).sum())
        return returned, transition


@pytest.mark.parametrize("expanded", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_mapush_and_our_task_observe_reward_and_end_alike(wrapper_of, name, expanded):
    """Observation, reward and ending are equal in 1,290 random states with all reward terms."""
    twins = Twins(wrapper_of(name), name, dataclasses.replace(WEIGHTS, expanded_ocb=expanded), seed=1 + expanded)
    for step in range(30):
        (obs, reward, done, _), mine = twins.step(twins.states())
        assert angle_gap(obs, mine.observation.obs) < OBS_TOLERANCE, step
        assert reward_gap(reward, mine.reward, twins.clear) < TOLERANCE, step
        assert torch.equal(done, mine.done), step
        assert torch.equal(twins.env.finished_buf, mine.outcome["success"]), step
    assert min(twins.endings[cause] for cause in ("success", "collision", "fall")) > 30, twins.endings


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("name", NAMES)
def test_single_reward_term_of_mapush_equals_ours(wrapper_of, name, term):
    """With only one weight that is not 0, rewards are equal: MAPush itself returns no terms."""
    nothing = dict.fromkeys(SCALES, 0.0)
    weights = dataclasses.replace(WEIGHTS, **dict(nothing, **{term: 3.7}), expanded_ocb=True)
    twins, largest = Twins(wrapper_of(name), name, weights, seed=TERMS.index(term)), 0.0
    for step in range(5):
        (_, reward, _, _), mine = twins.step(twins.states())
        assert reward_gap(reward, mine.reward, twins.clear) < TOLERANCE, step
        torch.testing.assert_close(mine.terms[term], mine.reward)
        largest = max(largest, float(reward.abs().max()))
    assert largest > 1.0, "the term occurs"


@pytest.mark.parametrize("term", TERMS)
def test_reward_term_of_weight_zero_adds_nothing(wrapper_of, term):
    """With one weight of 0, the reward is that of the other terms, and MAPush's sum of the term stays 0."""
    twins = Twins(wrapper_of("tblock"), "tblock", dataclasses.replace(WEIGHTS, **{term: 0.0}), seed=5)
    clear_sums(twins.wrapper)
    for step in range(5):
        (_, reward, _, _), mine = twins.step(twins.states())
        assert reward_gap(reward, mine.reward, twins.clear) < TOLERANCE, step
        assert not mine.terms[term].any()
    for theirs, (ours, _) in REWARD_TERMS.items():
        assert (float(twins.wrapper.reward_buffer[theirs]) == 0.0) == (ours == term), theirs


@pytest.mark.parametrize("name", NAMES)
def test_sums_of_reward_terms_of_mapush_equal_our_terms(wrapper_of, name):
    """What MAPush adds up per term is our term, summed over envs, robots or pairs as the adapter assumes."""
    twins = Twins(wrapper_of(name), name, WEIGHTS, seed=4)
    clear_sums(twins.wrapper)
    sums = dict.fromkeys(rewards.TERMS, 0.0)
    for _ in range(9):
        _, mine = twins.step(twins.states())
        for term in rewards.TERMS:
            sums[term] += float(mine.terms[term].double().sum())
    share = {"env": 1.0 / twins.env.num_agents, "robot": 1.0, "pair": 0.5}
    for theirs, (ours, kind) in REWARD_TERMS.items():
        assert float(twins.wrapper.reward_buffer[theirs]) == pytest.approx(sums[ours] * share[kind], rel=1e-4), ours


def clear_sums(wrapper):
    """Set MAPush's sums of reward terms to 0, as its training does."""
    for name in wrapper.reward_buffer:
        wrapper.reward_buffer[name] = 0


# -- endings -----------------------------------------------------------------------------------------------------------


def calm(twins):
    """Return root states (E, A + 2, 13) in which nothing ends an episode."""
    roots = read_roots(twins.env)
    thing = roots[:, -2]
    thing[:, 2] = twins.env.base_init_state_npc[0, 2]
    roots[:, -1, 0] = thing[:, 0] + 2.5
    roots[:, -1, 1] = thing[:, 1]
    for robot, (x, y) in enumerate(((0.0, 2.0), (-2.0, 0.0), (0.0, -2.0))[: twins.env.num_agents]):
        roots[:, robot, 0] = thing[:, 0] + x
        roots[:, robot, 1] = thing[:, 1] + y
        roots[:, robot, 2] = 0.3
        roots[:, robot, 3:7] = torch.tensor((0.0, 0.0, 0.0, 1.0))
    return roots


@pytest.mark.parametrize("name", NAMES)
def test_time_limit_of_mapush_is_one_step_longer_than_ours(wrapper_of, name):
    """An episode ends when it is longer than the limit; MAPush's is 1,001 env steps, because float32(0.005) < 0.005."""
    twins = Twins(wrapper_of(name), name, WEIGHTS, seed=6)
    assert twins.env.max_episode_length == twins.ours.env.max_episode_length + LATER
    lengths = torch.arange(twins.env.num_envs) % 7 + 995
    twins.env.episode_length_buf[:] = lengths + LATER
    twins.ours.env._length[:] = lengths
    roots = calm(twins)
    for step in range(5):
        (_, reward, done, _), mine = twins.step(roots)
        assert torch.equal(twins.env.time_out_buf, mine.truncated), step
        assert torch.equal(done, mine.done), step
        assert reward_gap(reward, mine.reward, twins.clear) < TOLERANCE, step
    assert twins.endings["timeout"] == int((lengths + 5 > 1000).sum())


def roll(robot):
    """Return an edit of a robot's roll [rad]."""

    def edit(roots, value, _):
        roots[robot, 3:7] = torch.tensor((math.sin(value / 2.0), 0.0, 0.0, math.cos(value / 2.0)))

    return edit


def height(body):
    """Return an edit of a body's height above MAPush's spawn height [m]."""

    def edit(roots, value, spawn_heights):
        roots[body, 2] = spawn_heights[body] + value

    return edit


def gap(roots, value, _):
    """Put the second robot at a distance from the first [m], in a direction that is not level."""
    roots[1, :3] = roots[0, :3] + value * torch.tensor((0.6, 0.64, 0.48))


def goal_distance(roots, value, _):
    """Put the goal at a planar distance from the object [m], and 5 m above it."""
    roots[-1, :2] = roots[-2, :2] + value * torch.tensor((0.8, -0.6))


EDGE = 1e-3
LIMITS = (  # edit, limit, on which side of it the episode ends, and the flag of MAPush
    (roll(0), 0.8, 1, "r_term_buff"),
    (roll(1), -0.8, -1, "r_term_buff"),
    (height(0), 0.35, 1, "z_wave_term_buff"),
    (height(1), -0.35, -1, "z_wave_term_buff"),
    (height(-2), 0.35, 1, "z_wave_term_buff"),
    (height(-2), -0.35, -1, "z_wave_term_buff"),
    (gap, None, -1, "collision_term_buff"),
    (goal_distance, 1.0, -1, "finished_buf"),
)


@pytest.mark.parametrize("name", NAMES)
def test_limits_of_mapush_are_ours(wrapper_of, name):
    """1 mm or 1 mrad on either side of each limit, the same episodes end for the same reason."""
    twins = Twins(wrapper_of(name), name, WEIGHTS, seed=8)
    roots, item = calm(twins), OBJECTS[name]
    agents = item.num_agents
    heights = [float(twins.env.base_init_state[robot, 2]) for robot in range(agents)]
    heights += [float(twins.env.base_init_state_npc[npc, 2]) for npc in range(2)]
    for env_id, (edit, limit, side, _) in enumerate(LIMITS):
        limit = limit or item.collision_distance
        edit(roots[2 * env_id], limit + side * EDGE, heights)
        edit(roots[2 * env_id + 1], limit - side * EDGE, heights)
    (_, _, done, _), mine = twins.step(roots)
    assert torch.equal(done, mine.done)
    for env_id, (_, _, _, flag) in enumerate(LIMITS):
        assert done[2 * env_id : 2 * env_id + 2].tolist() == [True, False], LIMITS[env_id]
        assert getattr(twins.env, flag)[2 * env_id], flag
    assert not done[2 * len(LIMITS) :].any()


@pytest.mark.parametrize("name", NAMES)
def test_endings_that_we_leave_out_never_happen(wrapper_of, name):
    """Pitch is judged against 1.6 rad, which no quaternion reaches; far_away and out_of_area are off."""
    twins = Twins(wrapper_of(name), name, WEIGHTS, seed=9)
    assert twins.env.cfg.termination.termination_terms == ["roll", "pitch", "z_wave", "collision"]
    for _ in range(9):
        twins.step(twins.states())
        assert not twins.env.p_term_buff.any()
    roots = calm(twins)
    roots[:, 0, 3:7] = torch.tensor((0.0, math.sqrt(0.5), 0.0, math.sqrt(0.5)))  # its nose points down
    twins.step(roots)
    assert not twins.env.p_term_buff.any()


# -- numbers that are none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("body, rewards_agree", [(0, True), (-2, False)])
def test_nan_in_mapush_is_shown_as_zero_and_costs_the_exception_reward(wrapper_of, value, body, rewards_agree):
    """In both the episode goes on; of the object's NaN MAPush's reward becomes NaN, ours with quirks does not."""
    twins = Twins(wrapper_of("cylinder"), "cylinder", WEIGHTS, seed=3)
    roots = calm(twins)
    twins.step(roots)
    broken = roots.clone()
    broken[7, body, 0] = value
    (obs, reward, done, _), mine = twins.step(broken)
    assert not done.any()
    assert not mine.done.any()
    assert obs.isfinite().all()
    assert angle_gap(obs, mine.observation.obs) < OBS_TOLERANCE
    assert bool(reward[7].isfinite().all()) == rewards_agree
    assert mine.reward.isfinite().all()
    if rewards_agree:
        assert reward_gap(reward, mine.reward, twins.clear) < TOLERANCE
