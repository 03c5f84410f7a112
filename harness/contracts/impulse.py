"""Contracts of what an action does: it moves its own env and agent, and nothing else."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from harness.contracts.env_under_test import Bystanders, EnvUnderTest, close_quietly, first_difference
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import finite_range, neutral
from harness.interface.player import COMPARED, Seen

STARTS = (1, 55, 1040)  # steps before the impulse: what goes wrong later shows in the later ones
WINDOW = 4  # steps that an impulse lasts
PERCEPTIBLE = 1e-3  # of the largest change; what physics couples by its solver alone is less
CLEAR = 1.25  # times as many entries changed as with the next agent
AT_ONCE = 2.0  # the same, in the first step that shows anything
ENOUGH = 4  # impulses on an axis to speak of its usual effect
AGAIN_SHARE = 0.2  # of the budget, for a second look at what seems to be ignored
AGAIN = 5  # starts after which an env or an agent that stays behind is looked at again
SATURATED = 1.6  # times the effect at the bound; a squashed action has less, one that is not clipped much more


@dataclasses.dataclass(frozen=True)
class Impulse:
    """What one action does.

    Attributes:
      env: whose action it is.
      agent: of which agent.
      axis: which entry of the action; for Discrete, which index is chosen.
      sign: 1 or -1.
      change: (A, D), of what each agent of the env sees, at the end of the window; None if an episode ended in it.
      first: the first step of the window, from 1, in which anything in the env changed by as little as a bit; or 0.
      seen: the same for each field of what is seen, "obs" and "share_obs".
      onset: `change` at the end of the first step in which any agent sees one; None as well if nobody does.
    """

    env: int
    agent: int
    axis: int
    sign: int
    change: Optional[np.ndarray]
    first: int
    seen: Dict[str, int]
    onset: Optional[np.ndarray] = None


SEEN = ("obs", "share_obs")
PARTS = ("env", "agent")
Probe = Tuple[int, int, int, int]  # env, agent, axis, sign


@contract("impulse")
def impulse(subject: EnvUnderTest) -> None:
    """An action of one agent, on one axis, in one env moves this agent in this env, and no other env."""
    subject.require_same_again()
    longest = len(subject.long_run().seen) - 1
    tried: Dict[int, List[Impulse]] = {}
    for start in STARTS:
        if start > longest:
            subject.notes.append(f"impulse: not tried after {start} steps, there was no time")
            continue
        impulses = list(_impulses(subject, start, _batches(subject, start)))
        if not impulses:
            subject.notes.append(f"impulse: not tried after {start} steps, there was no time")
            continue
        _require_effect(subject, start, impulses)
        _require_no_delay(subject, start, impulses)
        _require_own_agent(subject, start, impulses)
        _require_stated_effect(subject, start, impulses)
        tried[start] = impulses
    for found in (tried, _again(subject, tried)):
        _require_effect_in_every_env(subject, found)
        for part in PARTS:
            _require_none_later(subject, found, part)


def _batches(subject: EnvUnderTest, start: int) -> List[List[Probe]]:
    """Return the impulses of each run that there is time for: every one alone, or in all envs but one at a time."""
    sizes = subject.sizes
    pairs = [(agent, axis) for axis in _axes(subject) for agent in range(sizes.num_agents)]
    alone = [[(env, agent, axis, 1 - 2 * (env % 2))] for env in range(sizes.num_envs) for agent, axis in pairs]
    together: List[List[Probe]] = []
    for first in range(0, len(pairs) * (2 * ENOUGH if _states_effects(subject) else 1), sizes.num_envs - 1):
        turn = len(together)
        part = [pairs[i % len(pairs)] for i in range(first, first + sizes.num_envs - 1)]
        together.append([((i + turn) % sizes.num_envs, *pair, 1 - 2 * (i % 2)) for i, pair in enumerate(part)])
    for batches, share in ((alone, 0.05), (together, 0.2)):
        cost = (len(batches) + 1) * (subject.build_s + (start + WINDOW) * subject.step_s)
        if cost < subject.time_for(share):
            return batches
    return []


def _axes(subject: EnvUnderTest) -> Sequence[int]:
    """Return which entries of an action are tried; for one index, which indices."""
    sizes = subject.sizes
    return range(1, sizes.num_choices) if sizes.maskable else range(sizes.action_dim)


def _impulses(subject: EnvUnderTest, start: int, batches: List[List[Probe]]) -> Iterator[Impulse]:
    """Play the same start again for each batch, and compare with what happens without an action."""
    at_rest = _play(subject, start, []) if batches else []
    for batch in batches:
        seen = _play(subject, start, batch)
        others = Bystanders(~np.isin(np.arange(subject.sizes.num_envs), [probe[0] for probe in batch]))
        for a, b in zip(at_rest, seen):
            found = others.difference(a, b)
            if found is not None:
                own = np.arange(subject.sizes.num_envs) == batch[0][0]
                raise _wrong_env(start, batch[0], found[1][0], found[0], bool(_first_moved(at_rest, seen, own)))
        for env, agent, axis, sign in batch:
            if not subject.sizes.maskable or seen[0].actions[env, agent, 0] == axis:
                ended = any(one.ended[env] for one in at_rest + seen)
                changes = [(b.obs[env] - a.obs[env]).astype(float) for a, b in zip(at_rest, seen)]
                change = None if ended else changes[-1]
                own = np.arange(subject.sizes.num_envs) == env
                by_field = {name: _first_moved(at_rest, seen, own, (name,)) for name in SEEN}
                onset = changes[by_field["obs"] - 1] if by_field["obs"] and not ended else None
                yield Impulse(env, agent, axis, sign, change, _first_moved(at_rest, seen, own), by_field, onset)


def _first_moved(at_rest: List[Seen], seen: List[Seen], own: np.ndarray, fields: Sequence[str] = COMPARED) -> int:
    """Return the first step, from 1, in which a field of the env differs; or 0."""
    moved = [first_difference(a, b, own, fields) is not None for a, b in zip(at_rest, seen)]
    return moved.index(True) + 1 if any(moved) else 0


def _play(subject: EnvUnderTest, start: int, batch: List[Probe]) -> List[Seen]:
    """Return the steps of the window; an action that is not available is not taken."""
    sizes = subject.sizes
    player = subject.player(watch=False)
    try:
        player.replay(subject.long_run().seen[1 : start + 1])
        for _ in range(WINDOW):
            actions = np.tile(neutral(sizes), sizes.action_shape[:2] + (1,))
            available = player.seen[-1].available
            for env, agent, axis, sign in batch:
                if available is None or available[env, agent, axis]:
                    entry, value = (0, axis) if sizes.maskable else (axis, _level(subject, axis, sign))
                    actions[env, agent, entry] = value
            player.step(actions)
        return player.seen[-WINDOW:]
    finally:
        close_quietly(player.env)


def _level(subject: EnvUnderTest, axis: int, sign: int) -> float:
    low, high = finite_range(subject.sizes)
    level = high[axis] if sign > 0 else low[axis]
    return float(level if level != neutral(subject.sizes)[axis] else high[axis])


def _wrong_env(start: int, probe: Probe, other: int, field: str, moved: bool) -> ContractError:
    env, agent, axis, _ = probe
    what = "actions of env {0} also move env {1}" if moved else "actions of env {0} go to env {1}"
    if moved and field not in SEEN:
        what = "the {2} of env {1} follow the actions of env {0}"
    return ContractError(
        what.format(env, other, field),
        step=start + 1,
        where=f"after {start} steps: action on env {env}, agent {agent}, axis {axis}; {field} of env {other} changed",
        expected=f"a change in env {env} alone",
        cause="actions are transposed, reshaped or indexed with envs and agents confused: they are "
        "[num_envs, num_agents, action_dim], and not contiguous",
        fix="index actions[env, agent]; do not reshape without np.ascontiguousarray, do not swap the first two axes",
    )


def _require_effect(subject: EnvUnderTest, start: int, impulses: List[Impulse]) -> None:
    """Raise if an axis, or all of an agent's, never moves anything; ask all envs and both signs before."""
    by_agent = subject.sizes.maskable
    groups = sorted({(one.agent, -1 if by_agent else one.axis) for one in impulses})
    dead = [group for group in groups if not _moved(impulses, group)]
    if not dead:
        return
    if not by_agent:
        moved = _moved_after_all(subject, start, dead)
        if moved == dead:
            return
        dead = [group for group in dead if group not in moved]
    axes = {agent: [axis for a, axis in dead if a == agent] for agent, _ in dead}
    agent = min(axes)
    whole = by_agent or len(axes[agent]) == subject.sizes.action_dim
    everyone = len(axes) == subject.sizes.num_agents
    what = "the actions of agent {0} are ignored" if whole else "axis {1} of the actions of agent {0} is ignored"
    if everyone:
        what = "the actions are ignored" if whole else "axis {1} of the actions is ignored"
    raise ContractError(
        what.format(agent, axes[agent][0]),
        step=start + 1,
        where=f"after {start} steps, in every env",
        got=f"not a bit changes within {WINDOW} steps",
        expected="some change in what is seen or rewarded",
        cause="another entry is read twice, the action is overwritten, or it is scaled by 0",
    )


def _moved_after_all(subject: EnvUnderTest, start: int, dead: List[Tuple[int, int]]) -> List[Tuple[int, int]]:
    """Return which axes of agents move something in some env, up or down: all, if those that there is time for do."""
    last = subject.sizes.num_envs - 1
    each = 4 * (subject.build_s + (start + WINDOW) * subject.step_s)
    asked = dead[: max(1, int(subject.time_for(AGAIN_SHARE) / max(each, 1e-6)))]
    again = [
        [(env, *group, sign) for env in envs] for group in asked for envs in (range(last), [last]) for sign in (1, -1)
    ]
    more = list(_impulses(subject, start, again))
    moved = [group for group in asked if _moved(more, group)]
    return dead if moved == asked else moved


def _again(subject: EnvUnderTest, tried: Dict[int, List[Impulse]]) -> Dict[int, List[Impulse]]:
    """Return what all actions of an agent do together, after more starts, if some env or agent stayed behind lately."""
    behind = []
    for start in sorted(tried, reverse=True):
        if not _stays_behind(tried[start]):
            break
        behind.append(start)
    if not behind:
        return {}
    sizes, longest = subject.sizes, len(subject.long_run().seen) - 1
    cost = AGAIN * (sizes.num_agents + 1) * (subject.build_s + (longest + WINDOW) * subject.step_s)
    if cost > subject.time_for(AGAIN_SHARE):
        return {}
    everything = [(env, axis) for env in range(sizes.num_envs) for axis in _axes(subject)]
    batches = [[(env, agent, axis, 1) for env, axis in everything] for agent in range(sizes.num_agents)]
    starts = np.linspace(behind[-1], longest, AGAIN).astype(int).tolist()
    return {start: list(_impulses(subject, start, batches)) for start in starts}


def _stays_behind(impulses: List[Impulse]) -> bool:
    """Return whether nothing moves in an env that was asked, or all that an env's or agent's actions do shows late."""
    alive, asked = {one.env for one in impulses if one.first}, {one.env for one in impulses}
    return alive != asked or any(any(_later(impulses, part).values()) for part in PARTS)


def _require_effect_in_every_env(subject: EnvUnderTest, tried: Dict[int, List[Impulse]]) -> None:
    """Raise if nothing that anyone does in an env moves anything there, after every start, in several episodes."""
    for env in range(subject.sizes.num_envs):
        own = [[one for one in impulses if one.env == env] for impulses in tried.values()]
        several = sum(map(bool, own)) > 1 and sum(map(len, own)) >= ENOUGH
        if several and not any(one.first for some in own for one in some) and _is_fresh(subject, env, sorted(tried)):
            raise ContractError(
                f"the actions in env {env} are ignored",
                where=f"{sum(map(len, own))} actions, after {sum(map(bool, own))} starts",
                got=f"not a bit changes within {WINDOW} steps; in other envs it does",
                expected="some change in what is seen or rewarded",
                cause="a loop or an index ends before the last env, or the env stays as it was after an error",
            )


def _is_fresh(subject: EnvUnderTest, env: int, starts: List[int]) -> bool:
    """Return whether an env is at the start of its first episode, or starts another between these steps."""
    between = subject.long_run().seen[starts[0] + 1 : starts[-1] + 1]
    return starts[0] <= STARTS[0] or any(bool(seen.ended[env]) for seen in between)


def _require_no_delay(subject: EnvUnderTest, start: int, impulses: List[Impulse]) -> None:
    """Raise if no action of anyone changes a bit before the second step."""
    delay = getattr(subject.task, "delay", 0)
    late = min((one.first for one in impulses if one.first), default=1) - 1
    lasting = [one.seen for one in impulses if one.change is not None]  # a start follows from no action
    by_field = {name: min((seen[name] for seen in lasting if seen[name]), default=1) - 1 for name in SEEN}
    stale = max(SEEN, key=lambda name: by_field[name])
    if late <= delay < by_field[stale]:
        raise ContractError(
            "{} comes {} step{} late".format(stale, by_field[stale], "s" * (by_field[stale] > 1)),
            step=start + 1,
            where=f"after {start} steps",
            got="not a bit of it changes in the step that an action is given to, while other things do",
            expected="what is seen after the step",
            cause="it is read before the step is taken",
            fix=f"if the delay is meant, pass Task(delay={by_field[stale]})",
        )
    if late > delay:
        raise ContractError(
            "actions take effect {} step{} late".format(late, "s" * (late > 1)),
            step=start + 1,
            where=f"after {start} steps",
            got="not a bit changes in the step that an action is given to",
            cause="the action of the step before is applied, or observations are from before the action",
            fix=f"if the delay is meant, pass Task(delay={late})",
        )


def _require_none_later(subject: EnvUnderTest, tried: Dict[int, List[Impulse]], part: str) -> None:
    """Raise if, after every start, what the actions of some envs or agents do shows later than what others' do."""
    later = [_later(impulses, part) for impulses in tried.values()]
    shown = {member: [one[member] for one in later if member in one] for member in set().union(*later)}
    always = sorted(member for member, steps in shown.items() if len(steps) > 1 and min(steps) > 0)
    late = min((min(shown[member]) for member in always), default=0)
    if late > getattr(subject.task, "delay", 0):
        raise ContractError(
            "actions of {} {} take effect {} step{} later than others".format(part, always[0], late, "s" * (late > 1)),
            where=f"{part}s {always}, after each of {len(tried)} starts",
            expected="the same delay for all",
            cause="the action of the step before is applied in a part of the batch",
            fix=f"if the delay is meant, pass Task(delay={late})",
        )


def _later(impulses: List[Impulse], part: str) -> Dict[int, int]:
    """Return by how many steps all impulses on an env (or agent) show later than the soonest; of those that show."""
    shows: Dict[int, List[int]] = {}
    for one in impulses:
        if one.change is not None and one.seen["obs"]:
            shows.setdefault(getattr(one, part), []).append(one.seen["obs"])
    soonest = min(map(min, shows.values()), default=0)
    return {member: min(steps) - soonest for member, steps in shows.items() if len(steps) > 1}


def _moved(impulses: List[Impulse], group: Tuple[int, int]) -> bool:
    agent, axis = group
    return any(one.first for one in impulses if one.agent == agent and axis in (-1, one.axis))


def _require_own_agent(subject: EnvUnderTest, start: int, impulses: List[Impulse]) -> None:
    """Raise if the actions of an agent change what another one sees more than what it sees itself.

    Whoever moves sees everything else move; the others see one thing move. So the agent of whose observation the most
    entries change is the one that moved. `Task(agents_by_effect=False)` switches this off for other observations.
    """
    agents = subject.sizes.num_agents
    if agents == 1 or not getattr(subject.task, "agents_by_effect", True):
        return
    entries = _changed(agents, [(one.agent, one.change) for one in impulses])
    clear = _clear(entries, CLEAR)
    if not clear:  # what couples agents, such as contact, shows later than who moved
        onsets = [(one.agent, one.onset) for one in impulses if one.onset is not None]
        entries = _changed(agents, onsets)
        clear = _clear(entries, AT_ONCE) and min(np.bincount([agent for agent, _ in onsets])) >= ENOUGH
    mover = entries.argmax(axis=1)
    if not clear:
        if start == STARTS[0]:
            subject.notes.append("impulse: agents are not told apart by what they see; state Task.effect")
        return
    wrong = [agent for agent in range(agents) if mover[agent] != agent]
    if not wrong:
        return
    first, other = wrong[0], int(mover[wrong[0]])
    swapped = mover[other] == first
    raise ContractError(
        ("actions of agents {} and {} are swapped" if swapped else "actions of agent {} go to agent {}").format(
            first, other
        ),
        step=start + 1,
        where=f"after {start} steps",
        got=f"actions of agent {first} change {entries[first, other]:.0f} entries of what agent {other} sees, "
        f"{entries[first, first]:.0f} of its own",
        expected=f"most change in what agent {first} sees itself",
        cause="agents are permuted between actions and observations",
        fix="if agents see less of themselves than of each other, pass Task(agents_by_effect=False)",
    )


def _changed(agents: int, changes: List[Tuple[int, Optional[np.ndarray]]]) -> np.ndarray:
    """Return how many entries each agent's actions change of what each of them sees, (A, A)."""
    entries = np.zeros((agents, agents))
    for agent, change in changes:
        if change is not None and abs(change).max() > 0:
            entries[agent] += (abs(change) > PERCEPTIBLE * abs(change).max()).sum(axis=1)
    return entries


def _clear(entries: np.ndarray, times: float) -> bool:
    """Return whether each agent changes so many times more of what one agent sees than of what the next does."""
    ranked = np.sort(entries, axis=1)
    return bool((ranked[:, -1] > times * ranked[:, -2]).all())


def _states_effects(subject: EnvUnderTest) -> bool:
    """Return whether the task says of any axis what it does."""
    if subject.task is None or subject.sizes.discrete:
        return False
    pairs = itertools.product(range(subject.sizes.num_agents), range(subject.sizes.action_dim))
    return any(subject.task.effect(agent, axis) is not None for agent, axis in pairs)


def _require_stated_effect(subject: EnvUnderTest, start: int, impulses: List[Impulse]) -> None:
    """Raise if an axis does not do what the task says it does."""
    if not _states_effects(subject):
        return
    for agent in range(subject.sizes.num_agents):
        for axis in range(subject.sizes.action_dim):
            stated = subject.task.effect(agent, axis)
            if stated is not None:
                own = [one for one in impulses if one.agent == agent and one.change is not None]
                _require_axis(start, own, axis, *stated)


def _require_axis(start: int, impulses: List[Impulse], axis: int, entry: int, sign: float) -> None:
    """Raise if this axis moves the entry the other way, or another axis moves it more, and always alike."""
    agent = impulses[0].agent if impulses else 0
    effects = {}
    for other in sorted({one.axis for one in impulses}):
        changes = [one.change[agent, entry] * (one.sign * sign or 1.0) for one in impulses if one.axis == other]
        if len(changes) < ENOUGH:
            return
        effects[other] = np.array(changes if sign else np.abs(changes))
    if axis not in effects or (sign and _agreement(effects[axis]) >= 0.5):
        return
    clear = {other: abs(effect.mean() * _agreement(effect)) for other, effect in effects.items()}
    strongest = max(clear, key=lambda other: clear[other])
    details = {"where": f"after {start} steps, agent {agent}, entry {entry} of its observation"}
    if clear[strongest] > CLEAR * clear[axis]:
        raise ContractError(
            "axes {} and {} of the actions are swapped".format(*sorted((axis, strongest))),
            step=start + 1,
            got=f"axis {strongest} moves it by {effects[strongest].mean():.3g}, "
            f"axis {axis} by {effects[axis].mean():.3g}",
            **details,
        )
    if _agreement(effects[axis]) <= -0.5:
        raise ContractError(f"axis {axis} of the actions has the wrong sign", step=start + 1, **details)


def _agreement(changes: np.ndarray) -> float:
    """Return 1 if all changes are positive, -1 if all are negative, 0 if as many are."""
    return float(np.sign(changes).sum() / max(np.count_nonzero(changes), 1))


@contract("actions-any-range")
def actions_any_range(subject: EnvUnderTest) -> None:
    """Actions beyond the action_space are clipped or squashed: HARL draws them, and never clips."""
    sizes = subject.sizes
    subject.long_run()
    if sizes.discrete:
        raise NotJudgedError("indices are always in range")
    low, high = finite_range(sizes)
    at_rest = _held(subject, neutral(sizes))
    for axis in range(sizes.action_dim):
        for bound, value in (("high", high[axis]), ("low", low[axis])):
            if not np.isfinite(getattr(sizes, bound)[axis]) or value == neutral(sizes)[axis]:
                continue
            effects = []
            for factor in (1.0, 100.0):
                action = neutral(sizes).copy()
                action[axis] = factor * value
                effects.append(abs(_held(subject, action) - at_rest).max(axis=(1, 2)))
            ratio = float(np.median(effects[1] / np.maximum(effects[0], 1e-9)))
            if effects[0].max() > 0 and ratio > SATURATED:
                raise ContractError(
                    "actions beyond the action_space are not clipped",
                    where=f"axis {axis}",
                    got=f"an action of {100 * value:g} moves {ratio:.1f} times as far as one of {value:g}",
                    expected=f"no more than the bound of the space, {value:g}",
                    fix="actions = np.clip(actions, low, high)",
                )


def _held(subject: EnvUnderTest, action: np.ndarray) -> np.ndarray:
    """Return what is seen (N, A, D) after all agents did the same for one step."""
    player = subject.player()
    try:
        return player.step(np.tile(action, subject.sizes.action_shape[:2] + (1,))).obs.astype(float)
    finally:
        close_quietly(player.env)
