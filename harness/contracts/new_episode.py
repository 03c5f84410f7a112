"""Contracts of what a new episode shows: its own state, of one moment, and nothing of the episode before."""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Set, Tuple

import numpy as np

from harness.contracts.env_under_test import EnvUnderTest, close_quietly, drive, first_difference
from harness.contracts.registry import contract
from harness.contracts.timeline import episodes
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import ActionDriver
from harness.interface.player import Seen

OTHER_STEPS = 3  # at the end of an episode, in which other actions are taken
EXACT, BROKEN = 1e-3, 1e-2  # of an entry's standard deviation: how far it may be from what it follows from, or is not
LARGEST_PART = 3.0  # of an entry's standard deviation that one entry of the state may explain; more is cancelled out
LATER_RESETS, STEPS_BETWEEN = 4, 3
SAMPLES = 5  # for each number that is fitted
TINY = 1e-6  # of what does not vary
STARTS = 3  # that must break a relation, and half of all


@contract("no-memory")
def no_memory(subject: EnvUnderTest) -> None:
    """A new episode knows nothing of the one before: other actions at the end of that one change nothing in it."""
    subject.require_same_again()
    original = subject.long_run().seen
    original = original[: subject.steps(len(original) - 1, 1) + 1]
    other = _ends_at_limit(original)
    drawn = _drawn_anew(original)
    player, driver = subject.player(watch=False), ActionDriver(subject.sizes, subject.seed + 31, ("uniform",))
    in_step = np.ones(subject.sizes.num_envs, bool)  # has ended whenever it did in the long run
    fresh, begun, compared = np.zeros_like(in_step), np.zeros(len(in_step), int), 0
    try:
        for step, one in enumerate(original[1:], start=1):
            actions = np.where(other[step][:, None, None], driver(player.seen[-1]), one.actions)
            seen = player.step(driver.legal(actions, player.seen[-1]))
            in_step &= one.ended == seen.ended
            alike = _shows_alike(one, seen)
            fresh = np.where(one.ended, in_step & alike, fresh & in_step & ~other[step] & (alike | drawn))
            begun = np.where(one.ended, step, begun)
            compared += int((fresh & one.ended).sum())
            found = first_difference(one, seen, fresh & ~one.ended)
            found = found or first_difference(one, seen, fresh & one.ended, ("available",))
            if found is not None:
                raise _remembered(step, int(begun[found[1][0]]), found, one, seen)
    finally:
        close_quietly(player.env)
    if not compared:
        raise NotJudgedError("no episode that a time limit ended was followed by an equal start")


def _ends_at_limit(history: List[Seen]) -> np.ndarray:
    """Return in which steps of which envs (T, N) an episode is about to reach its time limit."""
    about = np.zeros((len(history), len(history[0].obs)), bool)
    for one in episodes(history):
        if one.truncated and one.length > 2 * OTHER_STEPS:
            about[one.end - OTHER_STEPS + 1 : one.end + 1, one.env] = True
    return about


def _drawn_anew(history: List[Seen]) -> np.ndarray:
    """Return which envs (N,) start every episode elsewhere: where two starts are alike, so are the generators.

    Where all starts are alike, what was drawn in the old episode may show in the new one, by chance and rightly.
    """
    starts: Dict[int, Set[bytes]] = {env: set() for env in range(len(history[0].obs))}
    ended = episodes(history)
    for one in ended:
        starts[one.env].add(history[one.end].share_obs[one.env].tobytes())
    return np.array([len(found) == sum(one.env == env for one in ended) for env, found in starts.items()])


def _shows_alike(one: Seen, seen: Seen) -> np.ndarray:
    """Return which envs (N,) show the same in both runs, to agents and as the shared state."""
    return (one.obs == seen.obs).all(axis=(1, 2)) & (one.share_obs == seen.share_obs).all(axis=(1, 2))


def _remembered(step: int, begun: int, found: Tuple[str, Tuple[int, ...]], one: Seen, seen: Seen) -> ContractError:
    field, place = found
    return ContractError(
        f"a new episode depends on the one before: {field}",
        step=step,
        where=f"env {place[0]}, step {step - begun} of the episode that began at step {begun}",
        got=f"{getattr(seen, field)[place]}, after other actions in the last {OTHER_STEPS} steps of the episode before",
        expected=f"{getattr(one, field)[place]}",
        cause="what is kept from step to step, for a reward, a mask or an action, is not reset with the episode",
    )


@contract("one-moment")
def one_moment(subject: EnvUnderTest) -> None:
    """What obs and share_obs both show is of one moment, also at the start of an episode and after every reset."""
    history = subject.long_run().seen
    begins = np.stack([np.ones(len(history[0].obs), bool)] + [seen.ended for seen in history[1:]])
    seen, (later, again) = _stacked(history), map(_stacked, _reset_often(subject))
    known = 0
    for agent in range(subject.sizes.num_agents):
        state, shown = (values[:, :, agent] for values in seen)
        related = _Related.of(state[~begins], shown[~begins])
        known += int(related.entries.sum())
        for what, starts in (
            ("the first step of an episode", (state[begins], shown[begins])),
            ("what a later reset returns", _of_agent(again, agent)),
            ("the steps after a later reset", _of_agent(later, agent)),
        ):
            for entry in np.flatnonzero(related.broken(*starts)):
                raise ContractError(
                    f"obs and share_obs are not of one moment in {what}",
                    where=f"agent {agent}, entry {entry} of obs",
                    got="another value than the one that follows from share_obs in every other step",
                    expected="the same relation in every step",
                    cause="one of them is of the old episode, of another agent or of another env",
                    fix="build both from the state after the reset",
                )
    if not known:
        raise NotJudgedError("no entry of obs follows from share_obs by sums alone")


def _reset_often(subject: EnvUnderTest) -> Tuple[List[Seen], List[Seen]]:
    """Return the steps that follow on later resets, in mid-episode, and what these return."""
    player, driver = subject.player(), ActionDriver(subject.sizes, subject.seed + 37)
    steps, starts = [], []
    for _ in range(LATER_RESETS):
        drive(player, driver, STEPS_BETWEEN)
        starts.append(player.reset())
        drive(player, driver, STEPS_BETWEEN)
        steps += player.seen[-STEPS_BETWEEN:]
    close_quietly(player.env)
    return steps, starts


def _of_agent(values: Tuple[np.ndarray, np.ndarray], agent: int) -> List[np.ndarray]:
    """Return what of values (T, N, A, ...) is an agent's, (T * N, ...) each."""
    return [each[:, :, agent].reshape(-1, each.shape[-1]) for each in values]


def _stacked(history: List[Seen]) -> Tuple[np.ndarray, np.ndarray]:
    """Return share_obs (T, N, A, S) and obs (T, N, A, D) as float64."""
    share_obs, obs = ([getattr(seen, name) for seen in history] for name in ("share_obs", "obs"))
    return np.stack(share_obs).astype(np.float64), np.stack(obs).astype(np.float64)


class _Related(NamedTuple):
    """Which entries of an observation follow exactly from the shared state, by a sum of its entries.

    Attributes:
      entries: which, (D,) bool.
      middle: of the state, (S,).
      scale: of the state, (S,); infinite where an entry does not vary.
      weights: of the state in these units, and a constant, (S + 1, D).
      spread: standard deviation of the observation, (D,).
    """

    entries: np.ndarray
    middle: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, state: np.ndarray, shown: np.ndarray) -> _Related:
        """Find them in samples of the state (M, S) and of what is shown (M, D)."""
        scale, spread = state.std(axis=0), shown.std(axis=0)
        scale = np.where(scale > TINY, scale, np.inf)
        none = np.zeros(shown.shape[1], bool)
        related = cls(none, state.mean(axis=0), scale, np.zeros((state.shape[1] + 1, shown.shape[1])), spread)
        if len(state) < SAMPLES * (state.shape[1] + 1):
            return related
        weights = np.linalg.lstsq(related.terms(state), shown, rcond=None)[0]
        related = related._replace(weights=weights)
        plain = abs(weights[:-1]).max(axis=0) <= LARGEST_PART * spread
        exact = related.distance(state, shown).max(axis=0) < EXACT
        return related._replace(entries=(spread > TINY) & plain & exact)

    def terms(self, state: np.ndarray) -> np.ndarray:
        """Return what is summed: the state in its units, and a one, (M, S + 1)."""
        return np.concatenate([(state - self.middle) / self.scale, np.ones((len(state), 1))], axis=1)

    def distance(self, state: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """Return how far what is shown is from what follows from the state, in standard deviations, (M, D)."""
        return abs(self.terms(state) @ self.weights - shown) / np.maximum(self.spread, TINY)

    def broken(self, state: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """Return for which entries (D,) most of these samples have another relation."""
        many = max(STARTS, 0.5 * len(state))
        return self.entries & ((self.distance(state, shown) > BROKEN).sum(axis=0) >= many)
