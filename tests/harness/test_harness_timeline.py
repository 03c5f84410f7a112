"""Tests of what the contracts of episodes conclude, on runs written by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from harness.contracts import time_limits as contracts
from harness.contracts.auto_reset import is_drawn_each_step, require_running
from harness.contracts.episode_spans import EpisodeSpan, advice_for_more, episodes, reached_horizon, time_limit
from harness.contracts.timeline import Jumps, at_end, jumps_at_ends, largest, usual_change
from harness.findings import ContractError, NotJudgedError
from harness.interface.moment import StepErrors
from harness.interface.player import Seen

pytestmark = pytest.mark.harness

AGENTS, OBS_DIM = 2, 4


def run(num_envs, steps, ends, flagged=(), infos=None, seed=0):
    """Return a run in which (step, env) in `ends` ended an episode, and those in `flagged` have `bad_transition`."""
    rng = np.random.default_rng(seed)
    history = []
    for step in range(steps + 1):
        obs = rng.normal(size=(num_envs, AGENTS, OBS_DIM))
        dones, truncated = np.zeros((2, num_envs, AGENTS), bool)
        for env in range(num_envs):
            dones[env], truncated[env] = (step, env) in ends, (step, env) in flagged
        history.append(Seen(obs, obs[..., :3], rewards=np.ones((num_envs, AGENTS)), dones=dones, truncated=truncated))
        history[-1].infos = infos
    return history


def periodic(num_envs, steps, length, shift=1):
    """Return the ends of episodes of one length, shifted by `shift` steps from env to env."""
    ends = []
    for env in range(num_envs):
        for step in range(1 + shift * env, steps + 1, length):
            ends.append((step, env))
    return ends


class Played:
    """A subject that has played a run already and has no time for a second one."""

    def __init__(self, history, env=None, jumps=None, **errors):
        self.played = SimpleNamespace(seen=history, env=env or SimpleNamespace())
        self.errors = StepErrors()
        for name, error in errors.items():
            self.errors.record(name.replace("_", "-"), error)
        self.jumps, self.notes, self.seed, self.task = jumps, [], 0, None
        self.sizes = SimpleNamespace(num_envs=len(history[0].obs))

    def once(self, find):
        """Return the jumps, or the time limit that the environment states: the only facts that contracts ask for."""
        if find is contracts.horizon_of:
            return contracts.stated_horizon(self.played.env)
        assert find is jumps_at_ends
        return self.jumps

    def long_run(self):
        """Return the run."""
        return self.played

    def steps(self, wanted, runs, share=0.1):
        """Return 0: there is no time for more."""
        return 0


def listed(*lengths, truncated=False, envs=3):
    """Return later episodes of these lengths, of the envs in turn."""
    return [EpisodeSpan(index % envs, 10 * index + 9, length, truncated, False) for index, length in enumerate(lengths)]


# -- reading a run -----------------------------------------------------------------------------------------------


def test_episodes_are_counted_from_the_reset_and_from_each_end():
    """Each end closes the episode that began at the end before; only the first of an env may have begun earlier."""
    history = run(3, 9, [(3, 0), (3, 2), (7, 0), (8, 2), (9, 2)], flagged=[(7, 0)])
    history[3].truncated[2] = (True, False)  # not of all agents
    assert episodes(history) == [
        EpisodeSpan(0, 3, 3, False, True),
        EpisodeSpan(2, 3, 3, False, True),
        EpisodeSpan(0, 7, 4, True, False),
        EpisodeSpan(2, 8, 5, False, False),
        EpisodeSpan(2, 9, 1, False, False),
    ]


@pytest.mark.parametrize(
    "ended, limit",
    [
        (listed(9, 9, 4, truncated=True), 9),
        (listed(9, 4, truncated=True), None),
        (listed(9, 9, 4, 4, truncated=True), None),
        (listed(20, 20, 20, 20), 20),
        (listed(20, 20, 20), None),
        (listed(20, 20, 20, 20, envs=1), None),
        (listed(20, 20, 20, 20, 19), 20),
        (listed(20, 20, 20, 20, 19, 19), None),
        (listed(20, 20, 20, 20, 20, 20, 20, 19, 19), 20),
        (listed(2, 2, 2, 2, 2), None),
        (listed(3, 3, 3, 3), 3),
        ([EpisodeSpan(0, 9, 9, True, True)], None),
        ([], None),
    ],
)
def test_time_limit_is_where_episodes_pile_up(ended, limit):
    """The majority of the flags decides; without flags, four of the longest episodes in two envs do."""
    assert time_limit(ended) == limit


@pytest.mark.parametrize(
    "lengths, stated, limit",
    [((12, 12), 12, 12), ((12,), 12, None), ((12, 12), 13, None), ((12, 12, 13), 12, None), ((12, 12), None, None)],
)
def test_stated_horizon_counts_if_it_was_reached_twice_and_never_passed(lengths, stated, limit):
    """The first episode of an env does not count, because it may have begun earlier."""
    assert reached_horizon(listed(*lengths) + [EpisodeSpan(0, 40, 40, False, True)], stated) == limit


def test_usual_change_is_that_of_steps_far_from_ends():
    """It is the 99th percentile over the steps that are not ends and have no end as a neighbour."""
    history = run(3, 60, [(1, 0), (17, 0), (30, 1), (31, 1), (60, 2)])
    ended = np.stack([np.zeros(3, bool)] + [seen.ended for seen in history[1:]])
    changes = []
    for step in range(1, 61):
        for env in range(3):
            around = ended[max(step - 1, 1) : step + 2, env]
            if not around.any():
                changes.append(abs(history[step].obs[env] - history[step - 1].obs[env]))
    np.testing.assert_allclose(usual_change(history, "obs"), np.quantile(changes, 0.99, axis=0))
    assert np.isinf(usual_change(run(2, 3, [(2, 0), (2, 1)]), "share_obs")).all()
    still = run(2, 5, [])
    for seen in still:
        seen.obs[:] = 1.0
    assert (usual_change(still, "obs") == 1e-6).all()


def test_at_end_gives_the_step_of_the_end_and_the_one_before():
    """It returns what was seen with the done and in the step before, for each episode."""
    history = run(3, 9, [(3, 0), (7, 2)])
    new, old = at_end(history, "share_obs", episodes(history))
    assert np.array_equal(new, [history[3].share_obs[0], history[7].share_obs[2]])
    assert np.array_equal(old, [history[2].share_obs[0], history[6].share_obs[2]])


def test_largest_change_is_in_units_of_what_is_usual():
    """The entry with the largest relative change counts, whatever its size and sign."""
    assert largest(np.array([[0.5, -3.0], [8.0, 0.0]]), np.array([[0.1, 1.0], [4.0, 1.0]])) == 5.0


@pytest.mark.parametrize(
    "to_start, jumps, near, far",
    [
        (10.0, [1.0, 1.4, 1.2], True, False),
        (10.0, [1.6, 1.4, 1.6], False, False),
        (10.0, [1.0, 1.0, 1.0, 9.0], False, False),
        (2.9, [0.1, 0.2], False, False),
        (2.9, [2.0, 2.9], False, False),
        (10.0, [4.9, 4.9], False, False),
        (10.0, [5.1, 5.1, 0.0], False, True),
    ],
)
def test_jump_is_near_or_far_only_if_starts_are_further_than_steps(to_start, jumps, near, far):
    """Near is within 1.5 usual changes, far is beyond half of the way to a new start; in between, neither holds."""
    found = Jumps(to_start, *np.zeros((3, 2)))
    assert (found.is_near(np.array(jumps)), found.is_far(np.array(jumps))) == (near, far)


# -- ends that do not end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ends, found",
    [
        ([(step, 1) for step in range(27, 31)], True),
        ([(step, 1) for step in range(28, 31)], False),
        ([(5, 1), *((step, 1) for step in range(24, 31))], True),
        ([(5, 1), *((step, 1) for step in range(25, 31))], False),
        ([(step, 1) for step in range(20, 30)], False),
    ],
)
def test_env_that_stays_done_is_distinguished_from_short_episodes(ends, found):
    """Four dones in a row at the end are too many, plus three for each done of the longest earlier series."""
    history = run(3, 30, ends)
    if not found:
        require_running(history)
        return
    with pytest.raises(ContractError) as caught:
        require_running(history)
    first = next(step for step, _ in ends if step > 5)
    assert caught.value.step == first + 1
    assert caught.value.where == f"steps {first} to 30"


def test_env_done_at_every_step_is_distinguished_from_a_stuck_one():
    """If each step shows a new start, the clock is not reset; otherwise the env is not."""
    anew = run(3, 30, [(step, 2) for step in range(20, 31)])
    with pytest.raises(ContractError, match="every step ends an episode of env 2"):
        require_running(anew)
    follows = run(3, 30, [(step, 2) for step in range(20, 31)])
    for step, seen in enumerate(follows):
        seen.obs[2] = 0.1 * step
    with pytest.raises(ContractError, match="env 2 stays done"):
        require_running(follows)
    assert not is_drawn_each_step(np.ones((9, AGENTS, OBS_DIM)))
    scales = np.array([1e3, 1e3, 1.0, 1.0])  # each entry counts in its own unit
    assert not is_drawn_each_step(np.arange(30.0)[:, None, None] * np.tile(scales, (AGENTS, 1)))


# -- time limits -------------------------------------------------------------------------------------------------


def test_time_limits_without_a_flag_count_as_failures():
    """Episodes of one length without the flag are reported, with the flag's other name if there is one."""
    infos = [[{"outcome": 1, "TimeLimit.truncated": True}, {}]] * 3
    ends = periodic(3, 40, 12)
    with pytest.raises(ContractError, match="time limits count as failures") as caught:
        contracts.bad_transition(Played(run(3, 40, ends, infos=infos)))
    assert caught.value.where == "env 0, step 13, after 12 steps"
    assert caught.value.got.startswith("9 episodes end after 12 steps")
    assert caught.value.cause == "the flag has a different name: 'TimeLimit.truncated'"
    with pytest.raises(ContractError) as caught:
        contracts.bad_transition(Played(run(3, 40, ends, infos=[[{}] * AGENTS] * 3)))
    assert caught.value.cause is None


@pytest.mark.parametrize("unflagged, found", [(0, False), (2, False), (3, True)])
def test_time_limits_flagged_in_part(unflagged, found):
    """Two episodes of that length may have failed by accident; three without the flag are too many."""
    ends = periodic(3, 61, 12)
    subject = Played(run(3, 61, ends, flagged=[one for one in ends if one not in ends[3 : 3 + unflagged]]))
    if not found:
        assert contracts.bad_transition(subject) is None
        return
    with pytest.raises(ContractError, match="bad_transition is missing at some time limits") as caught:
        contracts.bad_transition(subject)
    assert caught.value.got == f"3 of {len(ends) - 3} episodes of 12 steps are not flagged"
    assert caught.value.where == "envs [0], first at step 37"


def test_time_limit_flag_on_a_shorter_episode_is_early():
    """A flagged success is reported; only the first episode of an env may be shorter."""
    ends = periodic(3, 61, 12)
    short = [one for one in ends if one != (37, 0)] + [(34, 0), (36, 0)]
    flags = [one for one in short if one != (36, 0)]
    with pytest.raises(ContractError, match="although no time limit was reached") as caught:
        contracts.bad_transition(Played(run(3, 61, short, flagged=flags)))
    assert caught.value.where == "env 0, step 34"
    assert caught.value.got == "flagged after 9, 13 steps"


def test_flags_of_which_nothing_can_be_said_are_not_judged():
    """Without a time limit, or if infos or dones are mixed up, flags cannot be judged."""
    few = run(3, 20, [(4, 0), (11, 0)])
    with pytest.raises(NotJudgedError, match="no time limit was reached in 20 steps"):
        contracts.bad_transition(Played(few))
    mixed = Played(few, infos_fresh=ContractError("shared"), bad_transition=ContractError("wrong"))
    with pytest.raises(NotJudgedError, match="infos are shared, so the flags of different envs mix"):
        contracts.bad_transition(mixed)
    assert list(mixed.errors.by_contract()) == ["infos-fresh"]
    with pytest.raises(ContractError, match="wrong"):
        contracts.bad_transition(Played(few, bad_transition=ContractError("wrong")))
    late_dones = Jumps(10.0, before=np.full(3, 9.0), at=np.ones(3), after=np.ones(3))
    late = Played(few, jumps=late_dones, bad_transition=ContractError("wrong"))
    with pytest.raises(NotJudgedError, match="dones come at a different step"):
        contracts.bad_transition(late)
    assert not late.errors.by_contract()


def test_flags_at_all_lengths_are_early():
    """Flags at lengths that differ by more than a factor of two, without a limit, are enough."""
    ends = [(3, 0), (6, 0), (13, 0), (22, 1)]
    with pytest.raises(ContractError, match="although no time limit was reached") as caught:
        contracts.bad_transition(Played(run(3, 30, ends, flagged=ends)))
    assert caught.value.got == "flagged after 3, 7 steps"


def test_limits_that_are_drawn_for_each_episode_are_not_judged():
    """Lengths of flagged episodes within a factor of two may be time limits that differ from episode to episode."""
    ends = [(3, 0), (7, 0), (15, 0), (22, 0), (9, 1), (15, 1)]
    flagged = [one for one in ends if one != (7, 0)]
    with pytest.raises(NotJudgedError, match="the time limit seems to differ from episode to episode: 6, 7, 8 steps"):
        contracts.bad_transition(Played(run(3, 30, ends, flagged=flagged)))


def test_horizon_of_drawn_limits_says_what_to_do():
    """A limit for each episode is not judged, with fitting advice; an overdue env is found."""
    ends = [(10, 0), (24, 0), (40, 0), (12, 1), (30, 1), (47, 1)]
    with pytest.raises(NotJudgedError, match="from episode to episode, 14 to 18 steps.*--kwargs"):
        contracts.horizon(Played(run(2, 50, ends, flagged=ends)))
    with pytest.raises(ContractError, match="the episode of env 1 never ends"):
        contracts.horizon(Played(run(2, 90, [*ends, (56, 0), (72, 0), (88, 0)], flagged=[*ends, (56, 0)])))


def test_advice_to_see_more_ends_fits_how_episodes_end():
    """Shorter episodes help only if one time limit ends them, and if few fit into the run."""
    shorter = "make episodes shorter for the check"
    assert advice_for_more(run(3, 60, [])) == shorter
    for steps, advice in ((70, shorter), (71, "")):
        ends = periodic(3, steps, 12)
        assert advice_for_more(run(3, steps, ends, flagged=ends)) == advice
    drawn = [(10, 0), (24, 0), (40, 0), (12, 1), (30, 1), (47, 1)]
    text = "its episodes end after 10 to 18 steps: for the check, build it with one short time limit (--kwargs)"
    assert advice_for_more(run(2, 50, drawn, flagged=drawn)) == text
    assert advice_for_more(run(2, 50, drawn)) == text


def test_drawn_limits_are_early_where_the_environment_states_a_limit():
    """An environment that states its time limit has no others."""
    ends = [(3, 0), (9, 0), (17, 0), (24, 0)]
    with pytest.raises(ContractError, match="although no time limit was reached"):
        contracts.bad_transition(Played(run(3, 30, ends, flagged=ends), env=SimpleNamespace(horizon=12)))


@pytest.mark.parametrize("steps, found", [(26 + 12, False), (27 + 12, True)])
def test_horizon_overdue_env_is_found(steps, found):
    """An env that has not ended for two time limits and two more steps never will."""
    ends = [one for one in periodic(3, steps, 12, shift=0) if one[1] != 2] + [(12, 2)]
    subject = Played(run(3, steps, ends, flagged=ends))
    if not found:
        assert contracts.horizon(subject) is None
        return
    with pytest.raises(ContractError, match="the episode of env 2 never ends") as caught:
        contracts.horizon(subject)
    assert caught.value.got == "no end for 27 steps; others end after 12"
    assert caught.value.where == "envs [2]"


@pytest.mark.parametrize("stated, found", [(11, True), (12, False), (13, True), (24, False)])
def test_horizon_off_by_one_is_found(stated, found):
    """A stated time limit that differs by one step is reported; a larger difference means something else."""
    ends = periodic(3, 60, 12)
    subject = Played(run(3, 60, ends, flagged=ends), env=SimpleNamespace(max_episode_steps=stated))
    if not found:
        assert contracts.horizon(subject) is None
        return
    with pytest.raises(ContractError, match="off by one") as caught:
        contracts.horizon(subject)
    assert caught.value.expected == f"{stated}, as env.max_episode_steps says"


@pytest.mark.parametrize(
    "value, stated",
    [(50, ("time_limit", 50)), (50.0, ("time_limit", 50)), (np.int64(2), ("time_limit", 2)), (1, None), (True, None)]
    + [("50", None), (None, None), (math.nan, None)],
)
def test_stated_horizon_is_a_number_above_one(value, stated):
    """Flags and texts are not time limits."""
    assert contracts.stated_horizon(SimpleNamespace(time_limit=value)) == stated
