"""Contracts of pairs of runs that must agree, to the bit."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from harness.contracts.env_under_test import (
    LONG_RUN,
    Bystanders,
    EnvUnderTest,
    close_quietly,
    first_difference,
    where_they_part,
)
from harness.contracts.registry import contract
from harness.contracts.timeline import EpisodeSpan, episodes
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import KINDS, ActionDriver
from harness.interface.player import Seen
from harness.object_graph import settings

BUILDS = 3  # to see whether a setting changes with each
BUILD_SHARE = 0.1  # of the budget that they may take
ILL, WELL_STEPS, ILL_STEPS = 2, 10, 8  # the env that is given NaN as actions, after how many steps and for how many
SUMMED = "an index or a sum over the wrong axis, or a random generator that all envs share"
MASKED = "the mask or the indices of the reset cover another env, too, or all envs share a random generator"
SPARED = 3  # envs that rest instead of failing
ALL_BUT = ((-1, 1.0), (0, 0.3))  # the env left alone, and for what share of the run
ALONE = ((1, "hold", 0.0, 0.1), (3, "far_out", 0.4, 0.5), (0, "descend", 0.92, 1.0))  # env, its actions, from, to


@contract("same-seed")
def same_seed(subject: EnvUnderTest) -> None:
    """The same seed and the same actions give the same trajectory, resets included."""
    original, again = subject.long_run().seen, subject.replayed
    found = where_they_part(original, again)
    if found is not None:
        _require_same_settings(subject)
        step, field, place = found
        details = _details(original[step], again[step], field, place)
        start = "the starts differ" if step == 0 else f"the runs part at step {step}"
        ended = step > 0 and bool(original[step].ended[place[0]])
        raise ContractError(
            "the same seed gives another run: " + start,
            step=step,
            cause="randomness that the seed does not reach"
            + (": at the reset within a step" if ended else "" if step else ": in reset"),
            fix="draw from one generator made from the seed, such as np.random.default_rng(seed)",
            **details,
        )


@contract("other-seed")
def other_seed(subject: EnvUnderTest) -> None:
    """Another seed gives other starts, and so do the envs and the episodes of one environment."""
    history = subject.long_run().seen
    starts = [seen.obs[env] for seen in history[1:] for env in np.flatnonzero(seen.ended)]
    start = history[0].obs
    random_starts = any(not np.array_equal(one, starts[0]) for one in starts) or bool((start != start[:1]).any())
    other = subject.player(subject.seed + 1).seen[0].obs if "seed" in subject.varied else None
    if other is not None and np.array_equal(start, other) and random_starts:
        raise ContractError(
            "the seed changes nothing",
            got=f"the same starts with seeds {subject.seed} and {subject.seed + 1}",
            cause="the seed is not handed on, or it is overwritten",
        )
    by_env = [[seen.obs[env] for seen in history[1:] if seen.ended[env]][:3] for env in range(len(start))]
    if random_starts and (start == start[:1]).all():
        raise ContractError(
            "all envs start alike",
            got=f"the same observation in all {len(start)} envs after reset, though starts are random",
            cause="the envs draw from generators of one seed, or one draw is broadcast",
        )
    repeats = [len(of_env) >= 2 and all(np.array_equal(one, of_env[0]) for one in of_env) for of_env in by_env]
    if random_starts and all(repeats):
        raise ContractError(
            "every episode of an env starts alike",
            got=f"the same first observation in the first {len(by_env[0])} episodes",
            cause="the generator is seeded anew at every reset",
        )
    if not random_starts:
        raise NotJudgedError("the starts are not random" if starts else "no random start was seen")


@contract("independence")
def independence(subject: EnvUnderTest) -> None:
    """What is done in one env changes nothing in the others, by as little as a bit."""
    for found, ended_differently, undisturbed in _disturbed_runs(subject):
        if found is not None and not ended_differently:
            raise _cross_talk("actions of one env change another", found, undisturbed, SUMMED)
    _require_no_contagion(subject)


def _require_no_contagion(subject: EnvUnderTest) -> None:
    """Raise if what one env makes of actions that are NaN reaches another one; to refuse them is in order."""
    original = subject.long_run().seen
    if subject.sizes.discrete:
        return
    ill = np.arange(subject.sizes.num_envs) == ILL % subject.sizes.num_envs
    others = Bystanders(~ill)
    player = subject.player(watch=False)
    try:
        for step in range(1, min(subject.steps(WELL_STEPS + ILL_STEPS, 1), len(original) - 1) + 1):
            poison = np.nan if step > WELL_STEPS else 0.0
            seen = player.step(original[step].actions + np.where(ill, poison, 0.0)[:, None, None])
            found = others.difference(original[step], seen)
            if found is not None:
                what = "an env that is given NaN harms another"
                raise _cross_talk(what, (step,) + found + (original[step], seen), _envs(ill), SUMMED)
    except ContractError as error:
        if error.contract != "step-form":
            raise
    finally:
        close_quietly(player.env)


@contract("partial-reset")
def partial_reset(subject: EnvUnderTest) -> None:
    """The reset of one env changes nothing in the others."""
    seen_one = False
    for found, ended_differently, undisturbed in _disturbed_runs(subject):
        seen_one |= ended_differently
        if found is not None and ended_differently:
            raise _cross_talk("the reset of one env changes another", found, undisturbed, MASKED)
    if not seen_one:
        raise NotJudgedError("no env ended without the others")


Found = Tuple[int, str, Tuple[int, ...], Seen, Seen]


def _disturbed_runs(subject: EnvUnderTest) -> List[Tuple[Optional[Found], bool, str]]:
    """Play the long run again while other actions are taken in some envs, and compare the envs left alone.

    Returns:
      For each run: the first difference in an env left alone, whether an env ended at another time than in the long
      run by then, and which envs were disturbed.
    """
    if "disturbed" in subject.kept:
        return subject.kept["disturbed"]
    subject.require_same_again()
    original = subject.long_run().seen
    count = subject.sizes.num_envs
    steps = subject.steps(min(LONG_RUN, len(original) - 1), 3, 0.15)
    plans = [_Plan(np.arange(count) != env % count, tuple(KINDS), 0, int(end * steps)) for env, end in ALL_BUT]
    plans += [
        _Plan(np.arange(count) == env, (kind,), int(start * steps), int(end * steps))
        for env, kind, start, end in ALONE
        if env < count
    ]
    runs = []
    for number, plan in enumerate(_spared(subject, original) + plans):
        driver = ActionDriver(subject.sizes, subject.seed + 11 + number, plan.kinds)
        found, diverged = _compare(subject, original[: plan.end + 1], plan.disturbed, driver, plan.start)
        runs.append((found, diverged, _envs(plan.disturbed)))
    subject.kept["disturbed"] = runs
    return runs


class _Plan(NamedTuple):
    """What is done otherwise than in the long run: in which envs (N,), with what actions, and in which steps."""

    disturbed: np.ndarray
    kinds: Tuple[str, ...]
    start: int
    end: int


def _spared(subject: EnvUnderTest, original: List[Seen]) -> List[_Plan]:
    """Return plans in which an env rests in its first episode that failed, so that it may not end there."""
    failed: Dict[int, EpisodeSpan] = {}
    for one in episodes(original):
        if not one.truncated:
            failed.setdefault(one.env, one)
    earliest = list(failed.values())[:SPARED]
    ends = np.cumsum([one.end for one in earliest])
    affordable = int((ends <= subject.steps(SPARED * LONG_RUN, 1)).sum())
    envs = np.arange(subject.sizes.num_envs)
    return [_Plan(envs == one.env, ("rest",), one.end - one.length, one.end) for one in earliest[:affordable]]


def _compare(
    subject: EnvUnderTest, original: List[Seen], disturbed: np.ndarray, driver: ActionDriver, start: int
) -> Tuple[Optional[Found], bool]:
    """Return the first difference, and whether an env ended at another time; `start` is the first disturbed step."""
    player = subject.player()
    others = Bystanders(~disturbed)
    try:
        for step in range(1, len(original)):
            acting = disturbed & (step > start)
            actions = np.where(acting[:, None, None], driver(player.seen[-1]), original[step].actions)
            seen = player.step(driver.legal(actions, player.seen[-1]))
            found = others.difference(original[step], seen)
            if found is not None:
                return (step,) + found + (original[step], seen), others.diverged
            if not others.compared.any():
                break
    finally:
        close_quietly(player.env)
    return None, others.diverged


def _cross_talk(what: str, found: Found, disturbed: str, usual_cause: str) -> ContractError:
    step, field, place, original, seen = found
    details = _details(original, seen, field, place)
    causes = {
        "dones": "the end of one env's episode is written to another",
        "rewards": "rewards mix envs",
    }
    return ContractError(
        f"{what}: {field} of env {place[0]}",
        step=step,
        cause=causes.get(field, usual_cause),
        **dict(details, where="step {}, {}; other actions in {}".format(step, details["where"], disturbed)),
    )


@contract("two-environments")
def two_environments(subject: EnvUnderTest) -> None:
    """Two environments in one process do not disturb each other."""
    _require_same_settings(subject)
    subject.require_same_again()
    original = subject.long_run().seen
    steps = subject.steps(len(original) - 1, 2)
    one = subject.player(watch=False)
    other = subject.player(subject.seed + 1 if "seed" in subject.varied else None, watch=False)
    driver = ActionDriver(subject.sizes, subject.seed + 5)
    for step in range(1, steps + 1):
        seen = one.step(original[step].actions)
        other.step(driver(other.seen[-1]))
        found = first_difference(original[step], seen, np.ones(subject.sizes.num_envs, bool))
        if found is not None:
            field, place = found
            raise ContractError(
                "an environment behaves otherwise while another one runs in the process",
                step=step,
                cause="they share state: the global random generator, a module's variable, or a class attribute",
                fix="keep all state, generators included, in the environment's own attributes",
                **_details(original[step], seen, field, place),
            )
    close_quietly(other.env)
    close_quietly(one.env)


def _require_same_settings(subject: EnvUnderTest) -> None:
    """Raise if a setting is multiplied whenever an environment is made."""
    if BUILDS * subject.build_s > BUILD_SHARE * subject.budget_s:
        return
    made = []
    for _ in range(BUILDS):
        env = subject.build()
        made.append(settings(env))
        close_quietly(env)
    for path in sorted(set.intersection(*map(set, made)), key=len):
        values = [one[path] for one in made]
        ratios = np.divide(values[1:], values[:-1])
        if np.ptp(ratios) <= 1e-9 * abs(ratios[0]) and abs(ratios[0] - 1.0) > 1e-3:
            raise ContractError(
                f"{path} is multiplied by {ratios[0]:g} with every environment that is made",
                contract="two-environments",
                got=", ".join(f"{value:g}" for value in values),
                expected="the same in each, as they are made alike",
                cause="a settings object that all share is changed in place",
                fix="copy.deepcopy the settings before changing them",
            )


@contract("aliasing")
def aliasing(subject: EnvUnderTest) -> None:
    """Whatever is returned belongs to the caller: it never changes later, and writing in it changes nothing."""
    original = subject.long_run().seen
    again = subject.replay(subject.steps(len(original) - 1, 1), scribble=True)
    found = where_they_part(original, again)
    if found is None:
        return
    step, field, place = found
    if where_they_part(original, subject.replay(step)) is not None:
        raise NotJudgedError("the same seed gives another run, so runs cannot be compared")
    raise ContractError(
        "a returned array is the environment's own state: writing in it changed the run",
        step=step,
        cause="a view of the state is returned instead of a copy",
        fix="return copies",
        **_details(original[step], again[step], field, place),
    )


def _details(one: Seen, other: Seen, field: str, place: Tuple[int, ...]) -> dict:
    names = ("env", "agent", "entry")
    return {
        "where": "{}, {}".format(field, ", ".join(f"{name} {index}" for name, index in zip(names, place))),
        "got": f"{getattr(other, field)[place]}",
        "expected": f"{getattr(one, field)[place]}",
    }


def _envs(which: np.ndarray) -> str:
    return f"envs {np.flatnonzero(which).tolist()}"
