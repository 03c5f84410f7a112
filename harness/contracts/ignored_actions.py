"""What follows from impulses that change nothing: an axis, an agent or an env is ignored.

An action that changes nothing after one start may be legitimate: a robot that has fallen lies still until its time is
up. So an axis is reported only if it moves nothing in any env with either sign, and an env only if nothing that anyone
did there changed anything after several starts, and a new episode began between them.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Sequence, Tuple

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.impulse_probes import MIN_IMPULSES, WINDOW_STEPS, Impulse, Probe, run_s, try_batches
from harness.findings import ContractError

AGAIN_SHARE = 0.2  # of the budget, for a second look at what seems to be ignored
RUNS_FOR_EACH_GROUP = 4  # two signs, each in all envs but the last and in the last
STEPS_BACK = (13, 29, 47)  # from a late start, after which an axis is tried that did something earlier
ALL_AXES = -1

Group = Tuple[int, int]  # agent and axis, or ALL_AXES
TryBatches = Callable[[EnvUnderTest, int, List[List[Probe]]], List[Impulse]]


def require_effect(
    subject: EnvUnderTest,
    start: int,
    impulses: List[Impulse],
    try_batches: TryBatches = try_batches,
    earlier: Sequence[Impulse] = (),
) -> None:
    """Raise if an axis, or every action of an agent, never changes anything.

    Before that, all envs and both signs are tried. What did something after an earlier start may need a state that is
    rare by now, as a plug needs a socket; it is tried after more starts, or left out if there is no time.

    Args:
      subject: the environment.
      start: number of steps before the impulses.
      impulses: after this start.
      try_batches: plays the tries.
      earlier: impulses after earlier starts.
    """
    dead = _dead_groups(subject, impulses)
    if not dead:
        return
    if not subject.sizes.maskable:
        moved = _moved_after_all(subject, start, dead, try_batches)
        dead = _dead_at_other_starts(subject, start, sorted(set(dead) - set(moved)), try_batches, earlier)
        if not dead:
            return
    raise ContractError(
        _ignored(subject, dead),
        step=start + 1,
        where=f"after {start} steps, in every env",
        got=f"not a bit changes within {WINDOW_STEPS} steps",
        expected="some change in what is seen or rewarded",
        cause="a different entry is read twice, the action is overwritten, or it is scaled by 0",
        fix="let step use it; if an axis does nothing by design, state it: harness.Task(idle_axes=(0,))",
    )


def _dead_at_other_starts(
    subject: EnvUnderTest, start: int, dead: List[Group], try_batches: TryBatches, earlier: Sequence[Impulse]
) -> List[Group]:
    """Return which groups change nothing after some more starts either, if all of them did something earlier."""
    for back in STEPS_BACK:
        for group in dead:
            if not _moves(earlier, group):
                return dead
        if len(STEPS_BACK) * _tries_s(subject, start, dead) > subject.time_for(AGAIN_SHARE):
            subject.notes.append(f"impulse: {_ignored(subject, dead)} after {start} steps; no time for other starts")
            return []
        moved = _moved_after_all(subject, max(start - back, 0), dead, try_batches)
        dead = sorted(set(dead) - set(moved))
        if not dead:
            break
    return dead


def _dead_groups(subject: EnvUnderTest, impulses: List[Impulse]) -> List[Group]:
    """Return the agents and axes whose impulses changed nothing; for Discrete, the agents."""
    dead = set()
    idle = getattr(subject.task, "idle_axes", ())
    for impulse in impulses:
        axis = impulse.axis
        if axis in idle:
            continue
        if subject.sizes.maskable:
            axis = ALL_AXES
        group = (impulse.agent, axis)
        if not _moves(impulses, group):
            dead.add(group)
    return sorted(dead)


def _moves(impulses: Sequence[Impulse], group: Group) -> bool:
    """Return whether any impulse of an agent on an axis changed anything."""
    agent, axis = group
    for impulse in impulses:
        if impulse.first_step and impulse.agent == agent and axis in (ALL_AXES, impulse.axis):
            return True
    return False


def _moved_after_all(subject: EnvUnderTest, start: int, dead: List[Group], try_batches: TryBatches) -> List[Group]:
    """Return which groups change something in some env with some sign.

    If there is time for some groups only and all of those change something, all groups are taken to do so.
    """
    last = subject.sizes.num_envs - 1
    each_s = _tries_s(subject, start, dead[:1])
    affordable = int(subject.time_for(AGAIN_SHARE) / max(each_s, 1e-6))
    asked = dead[: max(1, affordable)]
    batches = []
    for agent, axis in asked:
        for sign in (1, -1):
            batches.append([Probe(env, agent, axis, sign) for env in range(last)])
            batches.append([Probe(last, agent, axis, sign)])  # alone, so that each run has an env without a probe
    impulses = try_batches(subject, start, batches)
    moved = [group for group in asked if _moves(impulses, group)]
    if len(moved) == len(asked):
        return dead
    return moved


def _tries_s(subject: EnvUnderTest, start: int, groups: Sequence[Group]) -> float:
    """Return how long it takes to try some groups in all envs with both signs [s]."""
    return len(groups) * RUNS_FOR_EACH_GROUP * run_s(subject, start)


def _ignored(subject: EnvUnderTest, dead: List[Group]) -> str:
    """Return in words which actions are ignored."""
    axes_of: Dict[int, List[int]] = {}
    for of_agent, axis in dead:
        axes_of.setdefault(of_agent, []).append(axis)
    agent = min(axes_of)
    axes = axes_of[agent]
    every_agent = len(axes_of) == subject.sizes.num_agents
    if subject.sizes.maskable or len(axes) == subject.sizes.action_dim:
        if every_agent:
            return "the actions are ignored"
        return f"the actions of agent {agent} are ignored"
    if every_agent:
        return f"axis {axes[0]} of the actions is ignored"
    return f"axis {axes[0]} of the actions of agent {agent} is ignored"


def require_effect_in_every_env(subject: EnvUnderTest, tried: Dict[int, List[Impulse]]) -> None:
    """Raise if nothing that anyone does in an env changes anything there, after any start, in several episodes.

    Args:
      subject: the environment.
      tried: the impulses after each start.
    """
    for env in range(subject.sizes.num_envs):
        starts, count = 0, 0
        is_dead = True
        for impulses in tried.values():
            first_steps = [impulse.first_step for impulse in impulses if impulse.env == env]
            starts += bool(first_steps)
            count += len(first_steps)
            is_dead = is_dead and not any(first_steps)
        if is_dead and starts > 1 and count >= MIN_IMPULSES and _has_begun(subject, env, sorted(tried)):
            raise ContractError(
                f"the actions in env {env} are ignored",
                where=f"{count} actions, after {starts} starts",
                got=f"not a bit changes within {WINDOW_STEPS} steps; in other envs it does",
                expected="some change in what is seen or rewarded",
                cause="a loop or an index ends before the last env, or the env stays as it was after an error",
            )


def _has_begun(subject: EnvUnderTest, env: int, starts: List[int]) -> bool:
    """Return whether an episode of an env begins shortly before the first start, or between the starts."""
    if starts[0] <= subject.effort.impulse_starts[0]:
        return True
    between = subject.long_run().seen[starts[0] + 1 : starts[-1] + 1]
    return any(seen.ended[env] for seen in between)
