"""What is concluded from impulses, on impulses that are written down by hand."""

from __future__ import annotations

import dataclasses
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


def make_subject(task=None, time_s=1e9, build_s=0.0, step_s=1.0, **sizes):
    """Return a subject with sizes, a task and time, and no environment."""
    bounds = {"low": -np.ones(AXES), "high": np.array([1.0, 1.0, 2.0])}
    sizes = Sizes(**dict({"obs_dim": OBS_DIM, "share_obs_dim": 4, "action_dim": AXES}, **{**bounds, **sizes}))
    subject = SimpleNamespace(task=task, sizes=sizes, notes=[], build_s=build_s, step_s=step_s, effort=Effort())
    subject.time_for = lambda share: share * time_s
    subject.long_run = lambda: SimpleNamespace(seen=[])
    return subject


def sized(**more):
    """Return the usual sizes."""
    return make_subject(num_envs=NUM_ENVS, num_agents=AGENTS, **more)


def impulse(agent=0, axis=0, sign=1, change=None, env=0, first=1, obs=1, share_obs=1):
    """Return an impulse that changes what agents see by `change` {(agent, entry): value}."""
    array = np.zeros((AGENTS, OBS_DIM))
    for place, value in (change or {}).items():
        array[place] = value
    return Impulse(env, agent, axis, sign, array, first, {"obs": obs, "share_obs": share_obs})


# -- which impulses are tried ------------------------------------------------------------------------------------


def test_every_action_is_tried_alone_where_there_is_time():
    """Each agent's each axis in each env, up in even envs and down in odd ones."""
    batches = impulse_probes.choose_batches(sized(), 55)
    assert len(batches) == NUM_ENVS * AGENTS * AXES
    assert all(len(batch) == 1 for batch in batches)
    probes = [batch[0] for batch in batches]
    assert {probe[:3] for probe in probes} == {(e, a, k) for e in range(5) for a in range(2) for k in range(3)}
    assert all(sign == (1 if env % 2 == 0 else -1) for env, _, _, sign in probes)


def test_actions_are_tried_side_by_side_where_time_is_short():
    """Each run has one impulse in all envs but one; together they are all agents and axes."""
    alone, together = 31 * 59.0, 3 * 59.0  # steps of a start of 55 and a window of 4, once without an impulse
    for time_s, number, size in ((alone / 0.05 + 1, 30, 1), (alone / 0.05, 2, 4), (together / 0.2 + 1, 2, 4)):
        batches = impulse_probes.choose_batches(sized(time_s=time_s), 55)
        assert len(batches) == number
        assert all(len(batch) == size for batch in batches)
    assert impulse_probes.choose_batches(sized(time_s=together / 0.2), 55) == []
    assert impulse_probes.choose_batches(sized(time_s=together / 0.2 + 1, build_s=1.0), 55) == []
    envs = [
        [probe[0] for probe in batch] for batch in impulse_probes.choose_batches(sized(time_s=together / 0.2 + 1), 55)
    ]
    assert envs == [[0, 1, 2, 3], [1, 2, 3, 4]]
    probes = [probe for batch in impulse_probes.choose_batches(sized(time_s=together / 0.2 + 1), 55) for probe in batch]
    assert {probe[1:3] for probe in probes} == {(agent, axis) for agent in range(2) for axis in range(3)}
    assert [probe[3] for probe in probes] == [1, -1, 1, -1] * 2


def test_choices_are_tried_but_for_the_first():
    """An index is chosen against index 0, which is what everyone else chooses."""
    discrete = {"action_dim": 1, "low": np.zeros(1), "high": np.full(1, 4.0), "discrete": True, "maskable": True}
    probes = [batch[0] for batch in impulse_probes.choose_batches(sized(**discrete), 1)]
    assert {axis for _, _, axis, _ in probes} == {1, 2, 3, 4}


def test_level_is_the_bound_that_is_not_rest():
    """The upper bound for a push up, the lower one for a push down, the upper one if the lower one is rest."""
    subject = sized(low=np.array([-1.0, 0.0, -np.inf]), high=np.array([1.0, 3.0, 2.0]))
    levels = [[impulse_probes.level(subject, axis, sign) for sign in (1, -1)] for axis in range(3)]
    assert levels == [[1.0, -1.0], [3.0, 3.0], [2.0, -1.0]]


def test_first_moved_step_is_counted_from_one():
    """It is 0 where nothing moves, and other envs and other fields do not count."""

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


def test_change_in_another_env_is_named_by_what_moved():
    """Actions that also move it, that go to it, or a field of it that follows."""
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
        ([(agent, axis) for agent in range(2) for axis in range(3)], "the actions are ignored"),
    ],
)
def test_ignored_actions_are_named_as_a_whole(dead, what):
    """One axis of one agent, one of all, all of one, or all of all; every env and both signs were asked again."""
    asked = []

    def try_batches(subject, start, batches):
        asked.extend(batches)
        return []

    found = [impulse(a, k, first=0 if (a, k) in dead else 2) for a in range(2) for k in range(3)]
    with pytest.raises(ContractError) as caught:
        require_effect(sized(), 55, found, try_batches)
    assert caught.value.what == what
    assert caught.value.step == 56
    assert caught.value.where == "after 55 steps, in every env"
    probes = {probe for batch in asked for probe in batch}
    assert probes == {(e, a, k, s) for a, k in dead for e in range(5) for s in (1, -1)}
    assert max(map(len, asked)) < NUM_ENVS  # in each run an env is left alone


@pytest.mark.parametrize("time_s, asked_again", [(1e9, 6), (2 * 4 * 59.0 / 0.2 + 1, 2), (0.0, 1)])
def test_ignored_actions_are_asked_again_as_far_as_time_goes(time_s, asked_again):
    """If those that are asked again move nothing, neither do the others; if they do, nothing is said."""
    asked = set()

    def try_batches(subject, start, batches):
        asked.update(probe[1:3] for batch in batches for probe in batch)
        return moving

    still, moving = [impulse(a, k, first=0) for a in range(2) for k in range(3)], []
    with pytest.raises(ContractError, match="the actions are ignored"):
        require_effect(sized(time_s=time_s), 55, still, try_batches)
    assert len(asked) == asked_again
    moving = [impulse(a, k) for a in range(2) for k in range(3)]
    assert require_effect(sized(time_s=time_s), 55, still, try_batches) is None


def test_action_that_moves_something_elsewhere_is_not_ignored():
    """What shows no effect in one env may show it in another."""
    again = [impulse(0, 1, env=3, first=4)]
    here = [impulse(0, 1, first=0), impulse(0, 0)]
    assert require_effect(sized(), 1, here, lambda subject, start, batches: again) is None


def of_envs(**firsts):
    """Return impulses of both agents on two axes in each env, which show in these steps; in other envs in the first."""
    return [
        impulse(a, k, env=e, first=firsts.get(f"env{e}", 1), obs=firsts.get(f"env{e}", 1))
        for e in range(NUM_ENVS)
        for a in range(AGENTS)
        for k in range(2)
    ]


def test_env_in_which_nothing_moves_is_named():
    """After every start that was tried, and not if something did after one of them, or if few things were tried."""
    dead = of_envs(env4=0)
    with pytest.raises(ContractError) as caught:
        require_effect_in_every_env(sized(), {1: dead, 55: dead})
    assert caught.value.what == "the actions in env 4 are ignored"
    assert caught.value.where == "8 actions, after 2 starts"
    for tried in ([dead, of_envs()], [dead], [dead[:17], dead[:17]], [of_envs(), of_envs()]):
        assert require_effect_in_every_env(sized(), dict(zip(Effort().impulse_starts, tried))) is None


def test_env_in_which_nothing_moves_for_one_episode_is_none():
    """Who fell may lie until the time is up: later starts count where another episode began between them."""
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


def test_envs_and_agents_that_are_late_are_told_from_the_others():
    """By how much, and after every start; a delay that is stated is none, nor is one after a single start."""
    late = of_envs(env2=3, env3=2)
    with pytest.raises(ContractError) as caught:
        require_none_later(sized(), {1: late, 55: late}, "env")
    assert caught.value.what == "actions of env 2 take effect 1 step later than others"
    assert caught.value.where == "envs [2, 3], after each of 2 starts"
    second = [impulse(a, k, env=e, obs=1 + a) for e in range(NUM_ENVS) for a in range(AGENTS) for k in range(2)]
    with pytest.raises(ContractError, match="actions of agent 1 take effect 1 step later"):
        require_none_later(sized(), {1: second, 55: second, 1040: []}, "agent")
    stated = sized(task=Task(delay=1))
    for subject, tried in ((sized(), [late]), (sized(), [late, of_envs()]), (stated, [second, second])):
        for part in ("env", "agent"):
            assert require_none_later(subject, dict(zip(Effort().impulse_starts, tried)), part) is None


def test_only_what_was_asked_can_stay_behind():
    """An env in which nothing was tried is no reason to look again; one that is dead or late is."""
    some = [one for one in of_envs() if one.env < 3]
    assert not stays_behind(some)
    assert stays_behind(of_envs(env4=0))
    assert stays_behind(of_envs(env2=2))


SHORT_RUN = Effort(long_run_steps=150)  # long enough only for starts after 1 and 55 steps


@pytest.mark.parametrize("name", ["last-env-ignored", "actions-late-in-some-envs"])
def test_env_that_falls_behind_later_is_looked_at_again(name):
    """A bug that shows after the last start alone is told from a moment at which nothing happens to move."""
    with find(name).inject(start=50):
        report = check_env(make_pointmass, contracts=["impulse"], effort=SHORT_RUN)
    assert [one.contract for one in report.findings] == ["impulse"]
    assert " env" in report.findings[0].what


@pytest.mark.parametrize("late", [False, True])
def test_env_that_is_behind_for_a_while_is_no_bug(monkeypatch, late):
    """Where actions do nothing for some steps, or act late, it is so after the last start and not after others."""
    step = PointMass.step

    def stunned(env, actions):
        env.steps, before = getattr(env, "steps", 0) + 1, getattr(env, "before", actions)
        env.before = actions.copy()
        if 55 < env.steps < 70:
            actions = np.concatenate([actions[:-1], before[-1:] if late else 0.0 * before[-1:]])
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
    """If no action shows in the step that it is given to, all are late; if only a field shows none, it is."""
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
    """Return an impulse of `agent` that changes most of what `seen_by` sees, and one entry for the other."""
    change = {(seen_by, entry): 1.0 for entry in range(5)}
    return impulse(agent, change={**change, (1 - seen_by, 5): -2.0})


def test_agents_that_hang_together_are_told_apart_by_what_moves_first():
    """After some steps all have moved; in the first step only the one that was told to."""
    everything = {(agent, entry): 1.0 for agent in range(2) for entry in range(6)}
    coupled = [
        dataclasses.replace(sees_itself(agent, 1 - agent), change=impulse(change=everything).change, onset=onset)
        for agent in range(2)
        for onset in [sees_itself(agent, 1 - agent).change]
    ] * 4
    with pytest.raises(ContractError, match="actions of agents 0 and 1 are swapped"):
        require_own_agent(sized(), 55, coupled)
    less = impulse(change={(0, 0): 1.0, (0, 1): 1.0, (1, 0): 1.0}).change  # two entries against one, both times
    for unclear in (coupled[:6], [dataclasses.replace(one, onset=less) for one in coupled]):
        subject = sized()
        assert require_own_agent(subject, 1, unclear) is None
        assert "cannot be distinguished" in subject.notes[0]


def test_agent_that_moves_is_the_one_that_sees_everything_move():
    """Agents that are swapped, or of which one gets the other's actions, are named."""
    assert require_own_agent(sized(), 1, [sees_itself(0, 0), sees_itself(1, 1)]) is None
    with pytest.raises(ContractError, match="actions of agents 0 and 1 are swapped") as caught:
        require_own_agent(sized(), 55, [sees_itself(0, 1), sees_itself(1, 0)])
    assert caught.value.got == "actions of agent 0 change 5 entries of what agent 1 sees, 1 of its own"
    with pytest.raises(ContractError, match="actions of agent 1 go to agent 0"):
        require_own_agent(sized(), 55, [sees_itself(0, 0), sees_itself(1, 0)])
    stated = sized(task=Task(agents_by_effect=False))
    assert require_own_agent(stated, 1, [sees_itself(0, 1), sees_itself(1, 0)]) is None


def test_agents_that_cannot_be_told_apart_are_noted_once():
    """Five entries against four are no more than 1.25 times as many; small changes and ended episodes do not count."""
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
    """Return impulses on an axis that move entry 2 of agent 1 by these values, in turn up and down."""
    signs = [1 if index % 2 == 0 else -1 for index in range(len(values))]
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
    """Its sign, and that no other axis moves the entry more, are judged from four impulses on; 0 is no sign."""
    found = changes(0, *own) + changes(1, *other)
    if what is None:
        assert require_axis(55, found, 0, entry=2, sign=sign) is None
        return
    with pytest.raises(ContractError) as caught:
        require_axis(55, found, 0, entry=2, sign=sign)
    assert caught.value.what == what
    assert caught.value.where == "after 55 steps, agent 1, entry 2 of its observation"


def test_axis_without_impulses_is_not_judged():
    """Nothing was tried, or nothing on that axis."""
    assert require_axis(1, [], 0, entry=2, sign=1) is None
    assert require_axis(1, changes(1, 1, 1, 1, 1), 0, entry=2, sign=1) is None


@pytest.mark.parametrize("values, majority", [((1, 2), 1), ((-1, -3), -1), ((1, -1), 0), ((0, 5), 1), ((0, 0), 0)])
def test_agreement_is_the_majority_of_the_signs(values, majority):
    """What did not change has no vote."""
    assert agreement(np.array(values, float)) == majority


def test_stated_effects_are_asked_of_every_agent_and_axis():
    """One that is stated is enough; indices have no axes."""

    class OfTheLast(Task):
        def effect(self, agent, axis):
            return (2, -1.0) if (agent, axis) == (1, 2) else None

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
    """What a short run does not reach is a note, no finding and no silence."""
    report = check_env(make_pointmass, contracts=["impulse"], effort=Effort(long_run_steps=90))
    assert report.ok
    assert "impulse: not tried after 1040 steps, there was no time" in report.notes
    assert not any("after 1 steps" in note or "after 55 steps" in note for note in report.notes)
    starts = (200, 300)
    notes = check_env(make_pointmass, contracts=["impulse"], effort=Effort(90, impulse_starts=starts)).notes
    assert [note for note in notes if note.startswith("impulse")] == [
        f"impulse: not tried after {start} steps, there was no time" for start in starts
    ]
