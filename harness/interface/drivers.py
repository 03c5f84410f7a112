"""Drivers choose the actions of a run: kinds of actions that reach states which random actions do not.

A driver is made for one run. At every step it is given what was seen last and returns actions (N, A, K).
"""

from __future__ import annotations

import time
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from harness.findings import ContractError
from harness.interface.player import Player, Seen
from harness.interface.spaces import Sizes

FAR_OUT = 10.0  # factor of the bounds; HARL never clips what its normal distribution draws
PHASE_STEPS = 25  # for which an env keeps its kind of actions
REST_STEPS = 8 * PHASE_STEPS  # for which one env after the other rests, so that it reaches its time limit
MAX_BLOCKS = 6  # in a sequence that the search tries
MAX_BLOCK_STEPS = 12


class ActionDriver:
    """Draws every kind of action, a different kind in each env at a time.

    The kinds are: uniform within the bounds; far outside the bounds; extremes held for a phase; extremes that
    alternate; no action; and two that follow the reward. Those two keep an env's actions while its reward rises (or
    falls) and draw new extremes otherwise, which leads to contact, to success and to failure. One env after the other
    rests for a long time.

    Args:
      sizes: sizes of the environment.
      seed: seed of the actions.
      kinds: names from `KINDS`; all by default.
    """

    def __init__(self, sizes: Sizes, seed: int, kinds: Optional[Sequence[str]] = None) -> None:
        self.sizes = sizes
        self._rng = np.random.default_rng([seed, 77])
        self._kinds = list(kinds or KINDS)
        self._range = finite_range(sizes)
        self._step = 0
        self._held = self._extreme()
        self._last_reward = np.zeros(sizes.num_envs)

    def __call__(self, seen: Seen) -> np.ndarray:
        """Return the next actions (N, A, K)."""
        if self._step % PHASE_STEPS == 0:
            self._held = self._extreme()
        reward = self._last_reward
        if not seen.is_reset:
            reward = seen.rewards.mean(axis=1)
        self._change = np.sign(reward - self._last_reward)
        self._last_reward = reward
        drawn = {kind: KINDS[kind](self) for kind in self._kinds}
        actions = np.stack([drawn[kind][env] for env, kind in enumerate(self._kinds_of_envs())])
        self._step += 1
        return self.legal(actions, seen)

    def _kinds_of_envs(self) -> List[str]:
        """Return the kind of actions of each env at this step."""
        phase = self._step // PHASE_STEPS
        kinds = []
        for env in range(self.sizes.num_envs):
            kinds.append(self._kinds[(env + phase) % len(self._kinds)])
        if "rest" in self._kinds:
            kinds[self._step // REST_STEPS % len(kinds)] = "rest"
        return kinds

    def legal(self, actions: np.ndarray, seen: Seen) -> np.ndarray:
        """Replace actions (N, A, K) that are not available after the step `seen` by actions that are."""
        if seen.available is None:
            return actions
        scores = seen.available * (1.0 + self._rng.random(seen.available.shape))
        wanted = actions.astype(int)
        allowed = np.take_along_axis(seen.available, wanted, axis=-1) > 0
        return np.where(allowed, wanted, scores.argmax(axis=-1)[..., None]).astype(float)

    def _uniform(self, factor: float = 1.0) -> np.ndarray:
        low, high = self._range
        if self.sizes.discrete:
            return self._rng.integers(low, high + 1, self.sizes.action_shape).astype(float)
        return self._rng.uniform(factor * low, factor * high, self.sizes.action_shape)

    def _far_out(self) -> np.ndarray:
        return self._uniform(FAR_OUT)

    def _extreme(self) -> np.ndarray:
        low, high = self._range
        return np.where(self._rng.random(self.sizes.action_shape) < 0.5, low, high)

    def _hold(self) -> np.ndarray:
        return self._held

    def _alternate(self) -> np.ndarray:
        if self._step % 2:
            return self._held
        low, high = self._range
        return low + high - self._held

    def _rest(self) -> np.ndarray:
        return at_rest(self.sizes)

    def _climb(self) -> np.ndarray:
        return self._redraw(self._change < 0)

    def _descend(self) -> np.ndarray:
        return self._redraw(self._change > 0)

    def _redraw(self, envs: np.ndarray) -> np.ndarray:
        """Keep the held actions, but draw new extremes in these envs (N,) bool."""
        self._held = np.where(envs[:, None, None], self._extreme(), self._held)
        return self._held


KINDS: Dict[str, Callable[[ActionDriver], np.ndarray]] = {
    "uniform": ActionDriver._uniform,
    "hold": ActionDriver._hold,
    "climb": ActionDriver._climb,
    "far_out": ActionDriver._far_out,
    "alternate": ActionDriver._alternate,
    "descend": ActionDriver._descend,
    "rest": ActionDriver._rest,
}


def drive(player: Player, driver: Callable[[Seen], np.ndarray], steps: int, limit_s: float = np.inf) -> float:
    """Drive a player for a number of steps, or until the time is up.

    Returns:
      How long a step took [s].
    """
    started = time.perf_counter()
    taken = 0
    while taken < steps and time.perf_counter() - started < limit_s:
        player.step(driver(player.seen[-1]))
        taken += 1
    return (time.perf_counter() - started) / max(taken, 1)


def finite_range(sizes: Sizes) -> Tuple[np.ndarray, np.ndarray]:
    """Return the bounds of an action, (K,) each, with -1 and 1 in place of infinite bounds."""
    low = np.where(np.isfinite(sizes.low), sizes.low, -1.0)
    high = np.where(np.isfinite(sizes.high), sizes.high, 1.0)
    return low, high


def neutral(sizes: Sizes) -> np.ndarray:
    """Return the action that does the least, (K,): the legal one nearest to zero; index 0 if actions are indices."""
    low, high = finite_range(sizes)
    return np.clip(np.zeros_like(low), low, high)


def at_rest(sizes: Sizes) -> np.ndarray:
    """Return the neutral action for all envs and agents, (N, A, K), writeable."""
    return np.tile(neutral(sizes), sizes.action_shape[:2] + (1,))


Block = Tuple[int, float, int]
"""Some steps of one action: the number of the env and agent (modulo N * A + 1; the last stands for all), the level as
a fraction of the bounds, and the number of steps."""


def shortest_failure(
    run: Callable[[List[Block]], None], seed: int, max_examples: int
) -> Optional[Tuple[ContractError, List[Block]]]:
    """Search for a sequence of actions that breaks a contract, and shorten it.

    Args:
      run: plays a sequence; raises `ContractError` if it breaks a contract.
      seed: seed of the search.
      max_examples: how many sequences to try.

    Returns:
      The error and its shortest sequence; None if no sequence broke a contract.
    """
    import hypothesis
    from hypothesis import strategies

    failures: List[Tuple[ContractError, List[Block]]] = []

    def attempt(sequence: List[Block]) -> None:
        try:
            run(sequence)
        except ContractError as error:
            failures.append((error, sequence))
            raise

    settings = hypothesis.settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=hypothesis.Verbosity.quiet,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    levels = [0.0, 1.0, -1.0, 0.5, FAR_OUT, -FAR_OUT]
    blocks = strategies.tuples(
        strategies.integers(0, 40), strategies.sampled_from(levels), strategies.integers(1, MAX_BLOCK_STEPS)
    )
    sequences = strategies.lists(blocks, min_size=1, max_size=MAX_BLOCKS)
    search = hypothesis.seed(seed)(settings(hypothesis.given(sequences)(attempt)))
    try:
        search()
    except (ContractError, hypothesis.errors.Flaky):
        pass
    if not failures:
        return None
    return min(failures, key=lambda failure: _num_steps(failure[1]))


def _num_steps(sequence: List[Block]) -> int:
    return sum(steps for _, _, steps in sequence)


def actions_of(sequence: List[Block], sizes: Sizes) -> List[np.ndarray]:
    """Return the actions (N, A, K) of every step of a sequence."""
    actions = []
    for target, level, steps in sequence:
        block = at_rest(sizes)
        rows = block.reshape(-1, sizes.action_dim)  # one for each agent of each env
        which = target % (len(rows) + 1)
        if which == len(rows):
            rows[:] = _action_at(level, sizes)
        else:
            rows[which] = _action_at(level, sizes)
        actions += [block] * steps
    return actions


def _action_at(level: float, sizes: Sizes) -> np.ndarray:
    """Return the action at a fraction of the bounds, (K,)."""
    low, high = finite_range(sizes)
    if sizes.discrete:
        return np.clip(np.round(abs(level) * high), low, high)
    if level > 0:
        return level * high
    if level < 0:
        return -level * low
    return neutral(sizes)
