"""Contracts of what a new episode shows: its own state, at one moment, and nothing of the episode before.

`no-memory`: the long run is played again, but in the last `OTHER_STEPS` steps before a time limit different actions are
taken. The time limit ends the episode at the same step all the same, and the generators draw the same start. Nothing in
the new episode may then differ by a single bit; what differs was remembered. Envs are compared only as long as all
their episodes ended at the same steps in both runs, and only if their starts show that they are drawn independently of
the actions.

`one-moment`: many entries of an observation are sums of entries of the shared state, such as a difference of two
positions. For each entry of obs, such a sum is fitted by least squares to the steps within episodes. If it is exact
there, it must also hold in the first step of an episode, in what a later reset returns, and in the steps after it.
Where it does not hold, obs and share_obs were computed from different states.
"""

from __future__ import annotations

import collections
from typing import Dict, List, NamedTuple, Set, Tuple

import numpy as np

from harness.contracts.comparison import Difference, first_difference
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import episodes
from harness.contracts.factory_call import close_quietly
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import ActionDriver, drive
from harness.interface.player import Seen, stack

OTHER_STEPS = 3  # at the end of an episode, in which different actions are taken
MAX_EXACT_DISTANCE = 1e-3  # of an entry's standard deviation: an exact sum is never further off
MIN_BROKEN_DISTANCE = 1e-2  # of an entry's standard deviation: a broken sum is further off
MAX_TERM = 3.0  # of an entry's standard deviation, for one term of a sum; larger terms cancel each other out
MIN_COMPARED_STEPS = 8  # of all envs, after ends that were disturbed
NUM_LATER_RESETS = 4
STEPS_BETWEEN_RESETS = 3
SAMPLES_PER_WEIGHT = 5  # for a fit
MIN_SPREAD = 1e-6  # standard deviation below which a number is constant
MAX_UNSEEN_SPREAD = 1e-5  # root mean square in a direction in which the terms never varied
MIN_UNSEEN_DISTANCE = 1e-2  # of a state in such a direction, for one that differs from all others
MIN_BROKEN_STARTS = 3  # and at least half of all, for a broken sum


@contract("no-memory")
def no_memory(subject: EnvUnderTest) -> None:
    """A new episode does not depend on the one before: other actions at the end of that one change nothing in it."""
    subject.require_same_again()
    original = subject.long_run().seen
    original = original[: subject.steps(len(original) - 1, runs=1) + 1]
    comparison = _MemoryComparison(original)
    player = subject.player(watch=False)
    driver = ActionDriver(subject.sizes, subject.seed + 31, ("uniform",))
    try:
        for step, recorded in enumerate(original[1:], start=1):
            other = comparison.disturbed[step][:, None, None]
            actions = np.where(other, driver(player.seen[-1]), recorded.actions)
            seen = player.step(driver.legal(actions, player.seen[-1]))
            comparison.require_no_memory(step, recorded, seen)
    finally:
        close_quietly(player.env)
    if comparison.compared_steps < MIN_COMPARED_STEPS:
        raise _too_few_steps(subject, comparison.compared_steps, len(original) - 1)


def _too_few_steps(subject: EnvUnderTest, seen: int, steps: int) -> NotJudgedError:
    """Return why the contract cannot be judged if too little was compared in a number of steps."""
    what = "steps after an equal start that followed a disturbed end of an episode"
    most = subject.effort.long_run_steps
    if len(subject.long_run().seen) <= most or steps >= most:
        return subject.too_few(what, seen, MIN_COMPARED_STEPS)
    reason = f"{seen} {what} in {steps:,} steps, {MIN_COMPARED_STEPS} are needed"
    return NotJudgedError(f"{reason}; --budget {subject.budget_for(most * subject.step_s)} would do")


class _MemoryComparison:
    """Compares the new episodes of two runs whose actions differ at the ends of episodes.

    Args:
      original: the long run.

    Attributes:
      disturbed: the steps and envs in which the actions differ, (T, N) bool.
      compared_starts: number of starts that were compared after an end that was disturbed.
      compared_steps: number of steps of envs that were compared in the episodes after them.
    """

    def __init__(self, original: List[Seen]) -> None:
        num_envs = len(original[0].obs)
        self.disturbed = steps_before_limits(original)
        self.compared_starts = 0
        self.compared_steps = 0
        self._drawn = envs_with_drawn_starts(original)
        self._in_step = np.ones(num_envs, bool)  # all episodes have ended at the same steps so far
        self._comparable = np.zeros(num_envs, bool)  # the running episode should be the same in both runs
        self._after_disturbed = np.zeros(num_envs, bool)  # the episode before the running one ended in other actions
        self._begun = np.zeros(num_envs, int)  # step at which the running episode began

    def require_no_memory(self, step: int, original: Seen, seen: Seen) -> None:
        """Compare the next step of both runs.

        Raises:
          ContractError: a new episode differs.
        """
        ended = original.ended
        alike = shows_the_same(original, seen)
        self._in_step &= ended == seen.ended
        stays_comparable = self._comparable & self._in_step & ~self.disturbed[step] & (alike | self._drawn)
        self._comparable = np.where(ended, self._in_step & alike, stays_comparable)
        self._begun = np.where(ended, step, self._begun)
        self._after_disturbed = np.where(ended, self.disturbed[step], self._after_disturbed)
        after_disturbed = self._comparable & self._after_disturbed
        self.compared_starts += int((after_disturbed & ended).sum())
        self.compared_steps += int((after_disturbed & ~ended).sum())
        found = first_difference(original, seen, self._comparable & ~ended)
        if found is None:  # a start shows alike already, but its mask may differ
            found = first_difference(original, seen, self._comparable & ended, ("available",))
        if found is not None:
            raise _remembered(step, int(self._begun[found.env]), found, original, seen)


def steps_before_limits(history: List[Seen]) -> np.ndarray:
    """Return in which steps of which envs (T, N) an episode is about to reach its time limit."""
    about = np.zeros((len(history), len(history[0].obs)), bool)
    for span in episodes(history):
        if span.truncated and span.length > 2 * OTHER_STEPS:
            about[span.end - OTHER_STEPS + 1 : span.end + 1, span.env] = True
    return about


def envs_with_drawn_starts(history: List[Seen]) -> np.ndarray:
    """Return which envs (N,) start every episode in a different place.

    If two starts of an env are equal, so is the state of its generator, and draws of the old episode may rightly show
    in the new one.
    """
    num_envs = len(history[0].obs)
    starts: Dict[int, Set[bytes]] = collections.defaultdict(set)
    counts = np.zeros(num_envs, int)
    for span in episodes(history):
        starts[span.env].add(history[span.end].share_obs[span.env].tobytes())
        counts[span.env] += 1
    return np.array([len(starts[env]) == counts[env] for env in range(num_envs)])


def shows_the_same(one: Seen, other: Seen) -> np.ndarray:
    """Return which envs (N,) show the same obs and share_obs in two steps."""
    same_obs = (one.obs == other.obs).all(axis=(1, 2))
    same_share_obs = (one.share_obs == other.share_obs).all(axis=(1, 2))
    return same_obs & same_share_obs


def _remembered(step: int, begun: int, found: Difference, original: Seen, seen: Seen) -> ContractError:
    return ContractError(
        f"a new episode depends on the one before: {found.field}",
        step=step,
        where=f"env {found.env}, step {step - begun} of the episode that began at step {begun}",
        got=f"{found.value(seen)}, after other actions in the last {OTHER_STEPS} steps of the episode before",
        expected=found.value(original),
        cause="something that is kept from step to step, for a reward, a mask or an action, is not reset",
    )


class StateAndShown(NamedTuple):
    """Samples of the shared state and of the observations that belong to it.

    Attributes:
      state: (..., S).
      shown: (..., D).
    """

    state: np.ndarray
    shown: np.ndarray


@contract("one-moment")
def one_moment(subject: EnvUnderTest) -> None:
    """Obs and share_obs show the same moment, also at the start of an episode and after every reset."""
    history = subject.long_run().seen
    begins = np.ones((len(history), subject.sizes.num_envs), bool)
    begins[1:] = stack(history[1:], "ended")
    run = _stack(history)
    later_steps, later_starts = _reset_often(subject)
    steps, starts = _stack(later_steps), _stack(later_starts)
    num_known = 0
    for agent in range(subject.sizes.num_agents):
        state, shown = run.state[:, :, agent], run.shown[:, :, agent]
        sums = ExactSums.fit(state[~begins], shown[~begins])
        num_known += int(sums.entries.sum())
        _require_sums(sums, agent, "the first step of an episode", StateAndShown(state[begins], shown[begins]))
        _require_sums(sums, agent, "what a later reset returns", _of_agent(starts, agent))
        _require_sums(sums, agent, "the steps after a later reset", _of_agent(steps, agent))
    if not num_known:
        raise NotJudgedError("no entry of obs is a sum of entries of share_obs")


def _require_sums(sums: ExactSums, agent: int, what: str, samples: StateAndShown) -> None:
    """Raise if an exact sum does not hold in most of these samples."""
    for entry in np.flatnonzero(sums.broken(samples.state, samples.shown)):
        raise ContractError(
            f"obs and share_obs are not of one moment in {what}",
            where=f"agent {agent}, entry {entry} of obs",
            got="a different value than the one that follows from share_obs in every other step",
            expected="the same relation in every step",
            cause="one of them belongs to the old episode, to a different agent or to a different env",
            fix="build both from the state after the reset",
        )


def _reset_often(subject: EnvUnderTest) -> Tuple[List[Seen], List[Seen]]:
    """Reset in mid-episode several times, and return the steps after each reset and what the resets return."""
    player = subject.player()
    driver = ActionDriver(subject.sizes, subject.seed + 37)
    steps, starts = [], []
    for _ in range(NUM_LATER_RESETS):
        drive(player, driver, STEPS_BETWEEN_RESETS)
        starts.append(player.reset())
        drive(player, driver, STEPS_BETWEEN_RESETS)
        steps += player.seen[-STEPS_BETWEEN_RESETS:]
    close_quietly(player.env)
    return steps, starts


def _of_agent(samples: StateAndShown, agent: int) -> StateAndShown:
    """Return the samples (T, N, A, ...) of one agent, (T * N, ...)."""
    state, shown = samples.state[:, :, agent], samples.shown[:, :, agent]
    return StateAndShown(state.reshape(-1, state.shape[-1]), shown.reshape(-1, shown.shape[-1]))


def _stack(history: List[Seen]) -> StateAndShown:
    """Return share_obs (T, N, A, S) and obs (T, N, A, D) of all steps as float64."""
    state, shown = stack(history, "share_obs"), stack(history, "obs")
    return StateAndShown(state.astype(np.float64), shown.astype(np.float64))


class ExactSums(NamedTuple):
    """The entries of an observation that are exactly a weighted sum of entries of the shared state.

    Attributes:
      entries: which entries are, (D,) bool.
      middle: mean of the state, (S,).
      scale: standard deviation of the state, (S,); infinite for an entry that is constant.
      weights: weights of the state in these units, and of a constant, (S + 1, D).
      spread: standard deviation of the observation, (D,).
      unseen: directions in which the terms never varied, (S + 1, any number). What follows from a state that differs
        in one of them is unknown: a one-hot message, say, adds up to 1 in every step, but to 0 before the first one.
    """

    entries: np.ndarray
    middle: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    spread: np.ndarray
    unseen: np.ndarray

    @classmethod
    def fit(cls, state: np.ndarray, shown: np.ndarray) -> ExactSums:
        """Fit sums to samples of the state (M, S) and of what is shown (M, D)."""
        num_weights = state.shape[1] + 1
        scale, spread = state.std(axis=0), shown.std(axis=0)
        sums = cls(
            entries=np.zeros(shown.shape[1], bool),
            middle=state.mean(axis=0),
            scale=np.where(scale > MIN_SPREAD, scale, np.inf),
            weights=np.zeros((num_weights, shown.shape[1])),
            spread=spread,
            unseen=np.zeros((num_weights, 0)),
        )
        if len(state) < SAMPLES_PER_WEIGHT * num_weights:
            return sums
        weights = np.linalg.lstsq(sums.terms(state), shown, rcond=None)[0]
        sums = sums._replace(weights=weights, unseen=_unseen_directions(sums.terms(state)))
        is_plain = abs(weights[:-1]).max(axis=0) <= MAX_TERM * spread
        is_exact = sums.distance(state, shown).max(axis=0) < MAX_EXACT_DISTANCE
        return sums._replace(entries=(spread > MIN_SPREAD) & is_plain & is_exact)

    def terms(self, state: np.ndarray) -> np.ndarray:
        """Return the terms of the sums: the state in its units, and a one, (M, S + 1)."""
        in_units = (state - self.middle) / self.scale
        return np.concatenate([in_units, np.ones((len(state), 1))], axis=1)

    def distance(self, state: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """Return how far what is shown is from the sums, in standard deviations, (M, D)."""
        return abs(self.terms(state) @ self.weights - shown) / np.maximum(self.spread, MIN_SPREAD)

    def broken(self, state: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """Return for which entries (D,) the sum does not hold in most of these samples."""
        is_known = (abs(self.terms(state) @ self.unseen) < MIN_UNSEEN_DISTANCE).all(axis=1)
        state, shown = state[is_known], shown[is_known]
        enough = max(MIN_BROKEN_STARTS, 0.5 * len(state))
        num_broken = (self.distance(state, shown) > MIN_BROKEN_DISTANCE).sum(axis=0)
        return self.entries & (num_broken >= enough)


def _unseen_directions(terms: np.ndarray) -> np.ndarray:
    """Return the directions (S + 1, k) in which terms (M, S + 1) are always 0."""
    _, lengths, directions = np.linalg.svd(terms / np.sqrt(len(terms)), full_matrices=False)
    return np.asarray(directions[lengths < MAX_UNSEEN_SPREAD].T)
