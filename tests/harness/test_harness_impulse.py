"""Tests of conclusions from impulses, on impulses written by hand."""

from __future__ import annotations

import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from harness.contracts import Effort, Task, check_env, impulse_probes
from harness.contracts.comparison import Difference
from harness.contracts.ignored_actions import require_effect, require_effect_in_every_env
from harness.contracts.impulse_probes import Impulse, Probe
from harness.contracts.late_actions import require_no_delay, require_none_later, stays_behind
from harness.contracts.swapped_actions import agreement, require_axis, require_own_agent, require_stated_effect
from harness.faults import find
from harness.findings import ContractError
from harness.interface.player import Seen
from harness.interface.spaces import Sizes
from harness.toys import PointMass, make_pointmass

pytestmark = pytest.mark.harness

NUM_ENVS, AGENTS, OBS_DIM, AXES = 5, 2, 6, 3
AGENTS_AND_AXES = list(itertools.product(range(AGENTS), range(AXES)))


def make_subject(task=None, time_s=1e9, build_s=0.0, step_s=1.0, **sizes):
    """Return a subject with sizes, a task and time, but without an environment."""
    bounds = {"low": -np.ones(AXES), "high": np.array([1.0, 1.0, 2.0])}
    sizes = Sizes(**dict({"obs_dim": OBS_DIM, "share_obs_dim": 4, "action_dim": AXES}, **{**bounds, **sizes}))
    subject = SimpleNamespace(task=task, sizes=sizes, notes=[], build_s=build_s, step_s=step_s, effort=Effort())
    subject.time_for = lambda share: share * time_s
    subject.long_run = lambda: SimpleNamespace(seen=[])
    return subject


def sized(**more):
    """Return a subject of the usual sizes."""
    return make_subject(num_envs=NUM_ENVS, num_agents=AGENTS, **more)


def impulse(agent=0, axis=0, sign=1, change=None, env=0, first=1, obs=1, share_obs=1):
    """Return an impulse that changes observations by `change` {(agent, entry): value}."""
    array = np.zeros((AGENTS, OBS_DIM))
    for place, value in (change or {}).items():
        array[place] = value
    return Impulse(env, agent, axis, sign, array, first, {"obs": obs, "share_obs": share_obs})


# -- which impulses are tried ------------------------------------------------------------------------------------


def test_every_action_has_its_own_run_if_there_is_time():
    """Each axis of each agent is tried in each env, upwards in even envs and downwards in odd ones."""
    batches = impulse_probes.choose_batches(sized(), 55)
    assert len(batches) == NUM_ENVS * AGENTS * AXES
    assert all(len(batch) == 1 for batch in batches)
    probes = [batch[0] for batch in batches]
    assert {probe[:3] for probe in probes} == set(itertools.product(range(NUM_ENVS), range(AGENTS), range(AXES)))
    assert all(probe.sign == (-1) ** probe.env for probe in probes)


def test_actions_share_runs_if_time_is_short():
    """Each run has one impulse in all envs but one, and all runs together cover all agents and axes."""
    single, together = 31 * 59.0, 3 * 59.0  # steps of a start of 55 and a window of 4, once without an impulse
    for time_s, number, size in ((single / 0.05 + 1, 30, 1), (single / 0.05, 2, 4), (together / 0.1 + 1, 2, 4)):
        batches = impulse_probes.choose_batches(sized(time_s=time_s), 55)
        assert len(batches) == number
        assert all(len(batch) == size for batch in batches)
    assert impulse_probes.choose_batches(sized(time_s=together / 0.1), 55) == []
    assert impulse_probes.choose_batches(sized(time_s=together / 0.1 + 1, build_s=1.0), 55) == []
    first, second = impulse_probes.choose_batches(sized(time_s=together / 0.1 + 1), 55)
    assert [probe.env for probe in first] == [0, 1, 2, 3]
    assert [probe.env for probe in second] == [1, 2, 3, 4]
    assert {(probe.agent, probe.axis) for probe in first + second} == set(AGENTS_AND_AXES)
    assert [probe.sign for probe in first + second] == [1, -1, 1, -1] * 2


def test_choices_are_tried_but_for_the_first():
    """Index 0 is what everyone else chooses, so the other indices are tried."""
    discrete = {"action_dim": 1, "low": np.zeros(1), "high": np.full(1, 4.0), "discrete": True, "maskable": True}
    probes = [batch[0] for batch in impulse_probes.choose_batches(sized(**discrete), 1)]
    assert {axis for _, _, axis, _ in probes} == {1, 2, 3, 4}


def test_level_is_the_bound_that_is_not_rest():
    """It is the upper bound upwards and the lower one downwards, unless that one is neutral."""
    subject = sized(low=np.array([-1.0, 0.0, -np.inf]), high=np.array([1.0, 3.0, 2.0]))
    assert [impulse_probes.level(subject, axis, 1) for axis in range(3)] == [1.0, 3.0, 2.0]
    assert [impulse_probes.level(subject, axis, -1) for axis in range(3)] == [-1.0, 3.0, -1.0]


def test_first_moved_step_is_counted_from_one():
    """It is 0 if nothing moves; other envs and other fields do not count."""

    def steps(*changed):
        history = [Seen(np.zeros((NUM_ENVS, AGENTS, 2)), np.zeros((NUM_ENVS, AGENTS, 2))) for _ in range(4)]
        for step, env in changed:
            history[step].share_obs[env, 1, 0] = 1e-12
        return history

    own = np.arange(NUM_ENVS) == 2
    assert impulse_probes.first_moved(steps(), steps((1, 2), (3, 2)), own) == 2
    assert impulse_probes.first_moved(steps(), steps((0, 2)), own, ("share_obs",)) == 1
    assert impulse_probes.first_moved(steps(), steps((0, 2)), own, ("obs",)) == 0
    assert impulse_probes.first_moved(steps(), steps((0, 1)), own) == 0


@pytest.mark.parametrize("end, found", [(None, True), (3, True), (2, False), (1, False)])
def test_what_the_end_of_an_episode_does_to_others_is_no_effect_of_the_impulse(end, found):
    """In the third step env 1 differs; from the step in which env 2 ends on, others may draw other noise."""
    runs = []
    for is_acting in (False, True):
        history = []
        for step in range(4):
            obs = np.zeros((NUM_ENVS, AGENTS, OBS_DIM))
            obs[1] = float(is_acting and step == 2)
            dones = np.zeros((NUM_ENVS, AGENTS), bool)
            dones[2] = is_acting and step == end
            history.append(Seen(obs, obs, rewards=np.zeros((NUM_ENVS, AGENTS)), dones=dones))
        runs.append(history)
    batch = [Probe(2, 0, 1, 1)]
    if not found:
        assert impulse_probes._require_no_other_env(55, batch, *runs) is None
        return
    with pytest.raises(ContractError, match="actions of env 2 .* env 1"):
        impulse_probes._require_no_other_env(55, batch, *runs)


def test_change_in_another_env_is_named_by_what_moved():
    """Actions also move the env, or go to it, or a field of it follows them."""
    named = [
        impulse_probes.wrong_env(55, Probe(2, 1, 0, 1), Difference(field, (4, 0, 0)), moved).what
        for field, moved in (("obs", True), ("rewards", True), ("rewards", False), ("share_obs", True))
    ]
    assert named[0] == named[3] == "actions of env 2 also move env 4"
    assert named[1] == "the rewards of env 4 follow the actions of env 2"
    assert named[2] == "actions of env 2 go to env 4"
    error = impulse_probes.wrong_env(55, Probe(2, 1, 0, 1), Difference("dones", (4, 0)), False)
    assert error.step == 56
    assert error.expected == "a change only in env 2"
    assert error.where == "after 55 steps: action on env 2, agent 1, axis 0; dones of env 4 changed"


# -- what they did -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dead, what",
    [
        ([(0, 1)], "axis 1 of the actions of agent 0 is ignored"),
        ([(1, 0), (1, 2)], "axis 0 of the actions of agent 1 is ignored"),
        ([(1, 0), (1, 1), (1, 2)], "the actions of agent 1 are ignored"),
        ([(0, 2), (1, 2)], "axis 2 of the actions is ignored"),
        (AGENTS_AND_AXES, "the actions are ignored"),
    ],
)
def test_ignored_actions_are_named_as_a_whole(dead, what):
    """The name covers one axis or all, of one agent or all; every env and both signs were tried before."""
    asked = []

    def try_batches(subject, start, batches):
        asked.extend(batches)
        return []

    found = [impulse(*group, first=2 * (group not in dead)) for group in AGENTS_AND_AXES]
    with pytest.raises(ContractError) as caught:
        require_effect(sized(), 55, found, try_batches)
    assert caught.value.what == what
    assert caught.value.step == 56
    assert caught.value.where == "after 55 steps, in every env"
    expected = set()
    for (agent, axis), env, sign in itertools.product(dead, range(NUM_ENVS), (1, -1)):
        expected.add(Probe(env, agent, axis, sign))
    assert set(itertools.chain(*asked)) == expected
    assert max(map(len, asked)) < NUM_ENVS  # in each run an env has no probe


@pytest.mark.parametrize("time_s, asked_again", [(1e9, 6), (2 * 4 * 59.0 / 0.2 + 1, 2), (0.0, 1)])
def test_ignored_actions_are_asked_again_as_far_as_time_goes(time_s, asked_again):
    """The groups that are tried again stand for all others, whether they move something or not."""
    asked = set()

    def try_batches(subject, start, batches):
        asked.update(probe[1:3] for probe in itertools.chain(*batches))
        return moving

    still, moving = [impulse(*group, first=0) for group in AGENTS_AND_AXES], []
    with pytest.raises(ContractError, match="the actions are ignored"):
        require_effect(sized(time_s=time_s), 55, still, try_batches)
    assert len(asked) == asked_again
    moving = [impulse(*group) for group in AGENTS_AND_AXES]
    assert require_effect(sized(time_s=time_s), 55, still, try_batches) is None


@pytest.mark.parametrize("moves_at, is_found", [(1040 - 29, False), (None, True)])
def test_action_that_did_something_earlier_is_tried_after_more_starts(moves_at, is_found):
    """A plug does nothing away from a socket; an action that does nothing after several starts is ignored by now."""
    starts = []

    def try_batches(subject, start, batches):
        starts.append(start)
        return [impulse(0, 1, first=2 * (start == moves_at))]

    late, earlier = [impulse(0, 1, first=0), impulse(0, 0)], [impulse(0, 1), impulse(0, 0)]
    if is_found:
        with pytest.raises(ContractError, match="axis 1 of the actions of agent 0 is ignored"):
            require_effect(sized(), 1040, late, try_batches, earlier)
        assert starts == [1040, 1040 - 13, 1040 - 29, 1040 - 47]
    else:
        assert require_effect(sized(), 1040, late, try_batches, earlier) is None
        assert starts == [1040, 1040 - 13, 1040 - 29]


def test_action_that_did_something_earlier_is_a_note_if_time_is_short():
    """Nobody knows whether it needs a state that is rare."""
    subject = sized(time_s=4 * 1044.0 / 0.2)
    late, earlier = [impulse(0, 1, first=0), impulse(0, 0)], [impulse(0, 1), impulse(0, 0)]
    assert require_effect(subject, 1040, late, lambda *_: [], earlier) is None
    assert subject.notes == [
        "impulse: axis 1 of the actions of agent 0 is ignored after 1040 steps; no time for other starts"
    ]


def test_action_that_moves_something_elsewhere_is_not_ignored():
    """An action without an effect in one env may have one in a different env."""
    again = [impulse(0, 1, env=3, first=4)]
    here = [impulse(0, 1, first=0), impulse(0, 0)]
    assert require_effect(sized(), 1, here, lambda subject, start, batches: again) is None


def of_envs(**firsts):
    """Return impulses of both agents on two axes in each env, which show in the given step, by default in the first."""
    impulses = []
    for env, agent, axis in itertools.product(range(NUM_ENVS), range(AGENTS), range(2)):
        first = firsts.get(f"env{env}", 1)
        impulses.append(impulse(agent, axis, env=env, first=first, obs=first))
    return impulses


def test_env_in_which_nothing_moves_is_named():
    """Nothing may move after any of several starts, and several actions must have been tried."""
    dead = of_envs(env4=0)
    with pytest.raises(ContractError) as caught:
        require_effect_in_every_env(sized(), {1: dead, 55: dead})
    assert caught.value.what == "the actions in env 4 are ignored"
    assert caught.value.where == "8 actions, after 2 starts"
    for tried in ([dead, of_envs()], [dead], [dead[:17], dead[:17]], [of_envs(), of_envs()]):
        assert require_effect_in_every_env(sized(), dict(zip(Effort().impulse_starts, tried))) is None


def test_env_in_which_nothing_moves_for_one_episode_is_no_finding():
    """A robot that fell lies still until its time is up, so a new episode must have begun between the starts."""
    dead, subject = of_envs(env4=0), sized()
    for end, named in ((54, False), (55, False), (56, True), (1040, True), (1041, False)):
        history = [SimpleNamespace(ended=np.arange(NUM_ENVS) == 4 * (step == end)) for step in range(1100)]
        history[100].ended[3] = True
        subject.long_run = lambda history=history: SimpleNamespace(seen=history)
        if not named:
            assert require_effect_in_every_env(subject, {55: dead, 1040: dead}) is None
            continue
        with pytest.raises(ContractError, match="the actions in env 4 are ignored"):
            require_effect_in_every_env(subject, {55: dead, 1040: dead})


def test_late_envs_and_agents_are_distinguished_from_others():
    """They must be late after every start; a stated delay, or a single start, is not a finding."""
    late = of_envs(env2=3, env3=2)
    with pytest.raises(ContractError) as caught:
        require_none_later(sized(), {1: late, 55: late}, "env")
    assert caught.value.what == "actions of env 2 take effect 1 step later than others"
    assert caught.value.where == "envs [2, 3], after each of 2 starts"
    second = [dataclasses.replace(one, first_by_field={"obs": 1 + one.agent}) for one in of_envs()]
    with pytest.raises(ContractError, match="actions of agent 1 take effect 1 step later"):
        require_none_later(sized(), {1: second, 55: second, 1040: []}, "agent")
    stated = sized(task=Task(delay=1))
    for subject, tried in ((sized(), [late]), (sized(), [late, of_envs()]), (stated, [second, second])):
        for part in ("env", "agent"):
            assert require_none_later(subject, dict(zip(Effort().impulse_starts, tried)), part) is None


def test_only_envs_with_probes_can_stay_behind():
    """An env without probes is not a reason to try again; one that is dead or late is."""
    some = [one for one in of_envs() if one.env < 3]
    assert not stays_behind(some)
    assert stays_behind(of_envs(env4=0))
    assert stays_behind(of_envs(env2=2))


SHORT_RUN = Effort(long_run_steps=150)  # long enough only for starts after 1 and 55 steps


@pytest.mark.parametrize("name", ["last-env-ignored", "actions-late-in-some-envs"])
def test_env_that_falls_behind_later_is_looked_at_again(name):
    """A bug that shows only after the last start is distinguished from a moment at which nothing happens to move."""
    with find(name).inject(start=50):
        report = check_env(make_pointmass, contracts=["impulse"], effort=SHORT_RUN)
    assert [one.contract for one in report.findings] == ["impulse"]
    assert " env" in report.findings[0].what


@pytest.mark.parametrize("late", [False, True])
def test_env_that_is_behind_for_a_while_is_no_bug(monkeypatch, late):
    """Actions that are dead or late after the last start act normally after other starts."""
    step = PointMass.step

    def stunned(env, actions):
        env.steps, before = getattr(env, "steps", 0) + 1, getattr(env, "before", actions)
        env.before = actions.copy()
        if 55 < env.steps < 70:
            actions = np.concatenate([actions[:-1], late * before[-1:]])
        return step(env, actions)

    monkeypatch.setattr(PointMass, "step", stunned)
    report = check_env(make_pointmass, contracts=["impulse"], effort=SHORT_RUN)
    assert report.passed == ["impulse"], str(report)


@pytest.mark.parametrize(
    "firsts, obs, share_obs, delay, what",
    [
        ((2, 3), (2, 3), (2, 3), 0, "actions take effect 1 step late"),
        ((3, 3), (3, 3), (3, 3), 0, "actions take effect 2 steps late"),
        ((3, 3), (3, 3), (3, 3), 1, "actions take effect 2 steps late"),
        ((1, 2), (2, 2), (1, 2), 0, "obs comes 1 step late"),
        ((1, 1), (1, 1), (3, 0), 0, "share_obs comes 2 steps late"),
        ((3, 3), (3, 3), (3, 3), 2, None),
        ((1, 2), (1, 4), (4, 1), 0, None),
        ((0, 0), (0, 0), (0, 0), 0, None),
        ((0, 2), (0, 2), (0, 2), 1, None),
    ],
)
def test_delay_is_that_of_the_fastest_action(firsts, obs, share_obs, delay, what):
    """Actions are late if none shows in its own step; a field is late if only this field shows none."""
    found = [impulse(first=first, obs=a, share_obs=b) for first, a, b in zip(firsts, obs, share_obs)]
    subject = sized(task=Task(delay=delay))
    if what is None:
        assert require_no_delay(subject, 55, found) is None
        return
    with pytest.raises(ContractError) as caught:
        require_no_delay(subject, 55, found)
    late = what.split()[-3]
    assert caught.value.what == what
    assert caught.value.fix.endswith(f"Task(delay={late})")


def sees_itself(agent, seen_by):
    """Return an impulse of `agent` that changes most of what `seen_by` sees, and one entry of the other agent."""
    change = {(seen_by, entry): 1.0 for entry in range(5)}
    return impulse(agent, change={**change, (1 - seen_by, 5): -2.0})


def test_coupled_agents_are_distinguished_by_what_moves_first():
    """After some steps all agents have moved, but in the first step only the one that acted."""
    everything = np.ones((AGENTS, OBS_DIM))
    swapped = [sees_itself(0, 1), sees_itself(1, 0)] * 4
    coupled = [dataclasses.replace(one, change=everything, onset=one.change) for one in swapped]
    with pytest.raises(ContractError, match="actions of agents 0 and 1 are swapped"):
        require_own_agent(sized(), 55, coupled)
    less = impulse(change={(0, 0): 1.0, (0, 1): 1.0, (1, 0): 1.0}).change  # two entries against one, both times
    for unclear in (coupled[:6], [dataclasses.replace(one, onset=less) for one in coupled]):
        subject = sized()
        assert require_own_agent(subject, 1, unclear) is None
        assert "cannot be distinguished" in subject.notes[0]


def test_agent_that_moves_is_the_one_that_sees_everything_move():
    """Swapped agents are named, and so is an agent that gets the actions of a different one."""
    assert require_own_agent(sized(), 1, [sees_itself(0, 0), sees_itself(1, 1)]) is None
    with pytest.raises(ContractError, match="actions of agents 0 and 1 are swapped") as caught:
        require_own_agent(sized(), 55, [sees_itself(0, 1), sees_itself(1, 0)])
    assert caught.value.got == "actions of agent 0 change 5 entries of what agent 1 sees, 1 of its own"
    with pytest.raises(ContractError, match="actions of agent 1 go to agent 0"):
        require_own_agent(sized(), 55, [sees_itself(0, 0), sees_itself(1, 0)])
    stated = sized(task=Task(agents_by_effect=False))
    assert require_own_agent(stated, 1, [sees_itself(0, 1), sees_itself(1, 0)]) is None


def test_agents_that_cannot_be_distinguished_are_noted_once():
    """Five changed entries are not clearly more than four; faint changes and ended episodes do not count."""
    five = {(0, entry): 1.0 for entry in range(5)}
    four = {(1, entry): 1.0 for entry in range(4)}
    for start, notes in ((1, 1), (55, 0)):
        subject = sized()
        assert require_own_agent(subject, start, [impulse(0, change={**five, **four})] * 2) is None
        assert len(subject.notes) == notes
    faint = {(1, entry): 1e-4 for entry in range(6)}
    clear = [impulse(0, change={**five, **faint}), sees_itself(1, 1)]
    ended = Impulse(0, 0, 0, 1, None, 1, {"obs": 1, "share_obs": 1})
    subject = sized()
    assert require_own_agent(subject, 1, [*clear, ended, impulse(0)]) is None
    assert not subject.notes


def changes(axis, *values):
    """Return impulses on an axis that move entry 2 of agent 1 by these values, alternately upwards and downwards."""
    signs = itertools.cycle((1, -1))
    return [impulse(1, axis, sign, {(1, 2): sign * value}) for sign, value in zip(signs, values)]


@pytest.mark.parametrize(
    "own, other, sign, what",
    [
        ((1, 1, 1, 1), (0, 0, 0, 0), 1, None),
        ((1, 1, 1, -1), (3, 3, 3, 3), 1, None),
        ((-1, -1, -1, -1), (0, 0, 0, 0), 1, "axis 0 of the actions has the wrong sign"),
        ((1, 1, 1, 1), (0, 0, 0, 0), -1, "axis 0 of the actions has the wrong sign"),
        ((-1, -1, -1, 1), (0, 0, 0, 0), 1, "axis 0 of the actions has the wrong sign"),
        ((-1, -1, 1, 1), (0, 0, 0, 0), 1, None),
        ((-1, -1, -1, -1), (2, 2, 2, 2), 1, "axes 0 and 1 of the actions are swapped"),
        ((-1, -1, -1, -1), (1.2, 1.2, 1.2, 1.2), 1, "axis 0 of the actions has the wrong sign"),
        ((1, -1, 1, -1), (2, -2, 2, -2), 0, "axes 0 and 1 of the actions are swapped"),
        ((2, -2, 2, -2), (1, -1, 1, -1), 0, None),
        ((-1, -1, -1), (2, 2, 2, 2), 1, None),
        ((-1, -1, -1, -1), (2, 2, 2), 1, None),
    ],
)
def test_axis_does_what_the_task_says(own, other, sign, what):
    """Sign and strength are judged from four impulses on; a stated sign of 0 is not judged."""
    found = changes(0, *own) + changes(1, *other)
    if what is None:
        assert require_axis(55, found, 0, entry=2, sign=sign) is None
        return
    with pytest.raises(ContractError) as caught:
        require_axis(55, found, 0, entry=2, sign=sign)
    assert caught.value.what == what
    assert caught.value.where == "after 55 steps, agent 1, entry 2 of its observation"


def test_axis_without_impulses_is_not_judged():
    """Nothing was tried at all, or nothing on that axis."""
    assert require_axis(1, [], 0, entry=2, sign=1) is None
    assert require_axis(1, changes(1, 1, 1, 1, 1), 0, entry=2, sign=1) is None


@pytest.mark.parametrize("values, majority", [((1, 2), 1), ((-1, -3), -1), ((1, -1), 0), ((0, 5), 1), ((0, 0), 0)])
def test_agreement_is_the_majority_of_the_signs(values, majority):
    """Zeros do not count."""
    assert agreement(np.array(values, float)) == majority


def test_stated_effects_are_asked_of_every_agent_and_axis():
    """A single stated effect is enough; discrete actions have no axes."""

    class OfTheLast(Task):
        def effect(self, agent, axis):
            if (agent, axis) == (1, 2):
                return 2, -1.0
            return None

    assert impulse_probes.states_effects(sized(task=OfTheLast()))
    assert not impulse_probes.states_effects(sized(task=OfTheLast(), discrete=True))
    assert not impulse_probes.states_effects(sized(task=Task()))
    assert not impulse_probes.states_effects(sized())
    wrong = changes(2, 1, 1, 1, 1)
    with pytest.raises(ContractError, match="axis 2 of the actions has the wrong sign"):
        require_stated_effect(sized(task=OfTheLast()), 1, wrong)
    ended = Impulse(0, 1, 2, 1, None, 1, {})
    assert require_stated_effect(sized(task=OfTheLast()), 1, wrong[:3] + [ended]) is None
    assert require_stated_effect(sized(task=Task()), 1, wrong) is None


def test_starts_beyond_the_run_are_said_to_be_left_out():
    """A start that a short run does not reach is noted."""
    report = check_env(make_pointmass, contracts=["impulse"], effort=Effort(long_run_steps=90))
    assert report.ok
    assert "impulse: not tried after 1040 steps, there was no time" in report.notes
    assert not any("after 1 steps" in note or "after 55 steps" in note for note in report.notes)
    starts = (200, 300)
    notes = check_env(make_pointmass, contracts=["impulse"], effort=Effort(90, impulse_starts=starts)).notes
    assert [note for note in notes if note.startswith("impulse")] == [
        f"impulse: not tried after {start} steps, there was no time" for start in starts
    ]
