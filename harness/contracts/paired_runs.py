"""Contracts of pairs of runs that must agree bit for bit.

Seeds: the long run is played again with the same seed and the same actions, and must be equal.

Cross-talk: the long run is played again while different actions are taken in some envs ("disturbed"). The other envs
take the recorded actions and must not differ by a single bit. A difference before any episode ends at a different time
is caused by actions (`independence`), a later one by a reset (`partial-reset`). Several plans are played:

- all envs but one are disturbed, for all of the run or its beginning;
- one env is disturbed, in a part of the run;
- one env rests in an episode in which it had failed, so that its episode does not end when it did. Only this shows a
  reset that reaches others if all episodes end early.

What infos say of the episodes of the other envs must be the same, too (`shared_numbers`, a part of `independence`), and
so must the start of an episode if only the others acted differently just before it (`leaked_starts`).

For `partial-reset`, one env also ends early because its clock is put forward (`early_ends`), and noise from a generator
that all envs share is no finding (`drawn_noise`).

Finally one env is given NaN as actions for a few steps. An environment may refuse them, but other envs must not change.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Tuple

import numpy as np

from harness.contracts.comparison import Bystanders, first_divergence
from harness.contracts.cross_talk import CrossTalk, DisturbedRun, actions_of_run, cross_talk, envs_in_words
from harness.contracts.drawn_noise import is_only_noise
from harness.contracts.early_ends import early_end_runs
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import EpisodeSpan, episodes
from harness.contracts.factory_call import close_quietly
from harness.contracts.leaked_starts import require_no_leaked_starts
from harness.contracts.own_generators import better_start, judge_redrawn_start, note_shared_generator, redrawn_start
from harness.contracts.registry import contract
from harness.contracts.shared_numbers import Changed, changed_numbers, own_numbers, require_own_numbers
from harness.contracts.shared_settings import require_same_settings
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import KINDS, ActionDriver
from harness.interface.player import Seen

POISONED_ENV = 2  # the env that is given NaN as actions
STEPS_BEFORE_NAN = 10
STEPS_WITH_NAN = 8
MAX_RESTING_ENVS = 3  # envs that rest instead of failing
DISTURBED_SHARE = 0.15  # of the budget
ALL_BUT_ONE = ((-1, 1.0), (0, 0.3))  # the env that is not disturbed, and the end of the plan as a fraction of the run
ONLY_ONE = (  # the disturbed env, the kind of its actions, start and end of the plan as fractions of the run
    (1, "hold", 0.0, 0.1),
    (3, "far_out", 0.4, 0.5),
    (0, "descend", 0.92, 1.0),
)
CAUSE_IN_ACTIONS = "an index or a sum over the wrong axis, or a random generator that all envs share"
CAUSE_IN_RESETS = "the mask or the indices of the reset cover a different env, or all envs share a random generator"


@contract("same-seed")
def same_seed(subject: EnvUnderTest) -> None:
    """The same seed and the same actions give the same trajectory, resets included."""
    original, again = subject.long_run().seen, subject.replayed
    found = first_divergence(original, again)
    if found is None:
        return
    require_same_settings(subject)
    step, difference = found
    what, cause = "the starts differ", "randomness that the seed does not reach: in reset"
    if step > 0:
        what, cause = f"the runs diverge at step {step}", "randomness that the seed does not reach"
        if original[step].ended[difference.env]:
            cause += ": at the reset within a step"
    raise ContractError(
        f"the same seed gives a different run: {what}",
        step=step,
        where=difference.where(),
        got=difference.value(again[step]),
        expected=difference.value(original[step]),
        cause=cause,
        fix="draw from one generator made from the seed, such as np.random.default_rng(seed)",
    )


@contract("independence")
def independence(subject: EnvUnderTest) -> None:
    """What is done in one env changes nothing in the others, not by a single bit."""
    for run in subject.once(disturbed_runs):
        if run.found is not None and not run.ended_differently:
            raise cross_talk("actions of one env change another", run.found, run.disturbed, CAUSE_IN_ACTIONS)
    changed: List[Changed] = []
    for run in subject.once(disturbed_runs):
        changed += run.changed
    require_own_numbers(changed)
    require_no_contagion(subject)
    require_no_leaked_starts(subject)


@contract("partial-reset")
def partial_reset(subject: EnvUnderTest) -> None:
    """The reset of one env changes nothing in the others."""
    runs = subject.once(disturbed_runs) + subject.once(early_end_runs)
    for run in runs:
        if run.found is None or not run.ended_differently:
            continue
        if is_only_noise(subject, run):
            note_shared_generator(subject)
        else:
            raise cross_talk("the reset of one env changes another", run.found, run.disturbed, CAUSE_IN_RESETS)
    for run in runs:
        if run.redrawn is not None:
            judge_redrawn_start(subject, run.redrawn)
    if not any(run.ended_differently for run in runs):
        raise NotJudgedError("no env ended without the others")


class Plan(NamedTuple):
    """What is done differently than in the long run.

    Attributes:
      disturbed: in which envs, (N,) bool.
      kinds: with what kinds of actions.
      start: after which step.
      end: until which step.
    """

    disturbed: np.ndarray
    kinds: Tuple[str, ...]
    start: int
    end: int


def disturbed_runs(subject: EnvUnderTest) -> List[DisturbedRun]:
    """Play the long run again by every plan, and compare the envs that are not disturbed."""
    subject.require_same_again()
    original = subject.long_run().seen
    steps = subject.steps(min(subject.effort.long_run_steps, len(original) - 1), runs=3, share=DISTURBED_SHARE)
    runs = []
    for number, plan in enumerate(resting_plans(subject, original) + _usual_plans(subject, steps)):
        driver = ActionDriver(subject.sizes, subject.seed + 11 + number, plan.kinds)
        runs.append(_play(subject, original, plan, driver))
    return runs


def _usual_plans(subject: EnvUnderTest, steps: int) -> List[Plan]:
    """Return the plans that disturb all envs but one, or only one."""
    envs = np.arange(subject.sizes.num_envs)
    plans = []
    for spared, end in ALL_BUT_ONE:
        disturbed = envs != spared % len(envs)
        plans.append(Plan(disturbed, tuple(KINDS), start=0, end=int(end * steps)))
    for env, kind, start, end in ONLY_ONE:
        if env < len(envs):
            plans.append(Plan(envs == env, (kind,), start=int(start * steps), end=int(end * steps)))
    return plans


def resting_plans(subject: EnvUnderTest, original: List[Seen]) -> List[Plan]:
    """Return plans in which an env rests in its first episode that failed, so that it may not end there."""
    failed: Dict[int, EpisodeSpan] = {}
    for span in episodes(original):
        if not span.truncated:
            failed.setdefault(span.env, span)
    earliest = list(failed.values())[:MAX_RESTING_ENVS]
    affordable = subject.steps(MAX_RESTING_ENVS * subject.effort.long_run_steps, runs=1)
    envs = np.arange(subject.sizes.num_envs)
    plans = []
    for span in earliest:
        affordable -= span.end
        if affordable < 0:
            break
        plans.append(Plan(envs == span.env, ("rest",), start=span.end - span.length, end=span.end))
    return plans


def _play(subject: EnvUnderTest, original: List[Seen], plan: Plan, driver: ActionDriver) -> DisturbedRun:
    """Play the long run again by a plan, up to the first difference."""
    player = subject.player()
    bystanders = Bystanders(~plan.disturbed)
    found, redrawn = None, None
    try:
        for step in range(1, min(plan.end + 1, len(original))):
            acting = plan.disturbed & (step > plan.start)
            actions = np.where(acting[:, None, None], driver(player.seen[-1]), original[step].actions)
            seen = player.step(driver.legal(actions, player.seen[-1]))
            difference = bystanders.difference(original[step], seen)
            redrawn = better_start(redrawn, redrawn_start(bystanders, original, player.seen))
            if difference is not None:
                found = CrossTalk(step, difference, original[step], seen)
            if found is not None or not bystanders.compared.any():
                break
    finally:
        close_quietly(player.env)
    words = f"other actions in {envs_in_words(plan.disturbed)}"
    changed: List[Changed] = []
    if found is None:
        changed = changed_numbers(subject.once(own_numbers), original, player.seen, bystanders.compared, words)
    return DisturbedRun(
        found,
        bystanders.diverged,
        words,
        redrawn,
        ~plan.disturbed,
        actions_of_run(player.seen),
        changed=changed,
    )


def _require_noise(subject: EnvUnderTest, run: DisturbedRun) -> None:
    """Raise unless what an env with NaN did to others is only noise that they draw differently after an early end."""
    if run.ended_differently and is_only_noise(subject, run):
        note_shared_generator(subject)
        return
    assert run.found is not None
    raise cross_talk("an env that is given NaN harms another", run.found, run.disturbed, CAUSE_IN_ACTIONS)


def require_no_contagion(subject: EnvUnderTest) -> None:
    """Raise if actions that are NaN in one env change a different env; the environment may refuse them."""
    if subject.sizes.discrete:
        return
    original = subject.long_run().seen
    poisoned = np.arange(subject.sizes.num_envs) == POISONED_ENV % subject.sizes.num_envs
    bystanders = Bystanders(~poisoned)
    player = subject.player(watch=False)
    steps = min(subject.steps(STEPS_BEFORE_NAN + STEPS_WITH_NAN, runs=1), len(original) - 1)
    try:
        for step in range(1, steps + 1):
            actions = original[step].actions.copy()
            if step > STEPS_BEFORE_NAN:
                actions[poisoned] = np.nan
            seen = player.step(actions)
            difference = bystanders.difference(original[step], seen)
            if difference is not None:
                found = CrossTalk(step, difference, original[step], seen)
                words = f"other actions in {envs_in_words(poisoned)}"
                run = DisturbedRun(found, bystanders.diverged, words, None, ~poisoned, actions_of_run(player.seen))
                _require_noise(subject, run)
                return
    except ContractError as error:
        if error.contract != "step-form":  # the contract of a step that raises
            raise
    finally:
        close_quietly(player.env)
