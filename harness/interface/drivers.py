"""What is done to an environment: actions that reach what random ones do not.

A driver is made for a run and asked for actions (N, A, K) at every step; it knows what was seen last.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

from harness.findings import ContractError
from harness.interface.player import Seen
from harness.interface.spaces import Sizes

FAR_OUT = 10.0  # times the bounds; HARL never clips what its normal distribution draws
PHASE = 25  # steps for which the mixture lets an env keep its kind of actions
REST = 8 * PHASE  # steps for which the mixture lets one env after the other rest, so that it comes to its time limit


class ActionDriver:
    """Draws every kind of actions, another kind for each env at a time.

    Kinds: uniform within the bounds; far out of them; extremes held for a phase; extremes that alternate; no action;
    and two that follow the reward: an env keeps its actions while its reward rises (or falls) and draws new extremes
    otherwise, which leads to contact, to success and to failure. One env at a time rests for long.

    Args:
      sizes: of the environment.
      seed: of the actions.
      kinds: which of `KINDS`; all by default.
    """

    def __init__(self, sizes: Sizes, seed: int, kinds: Optional[Sequence[str]] = None) -> None:
        self.sizes = sizes
        self._rng = np.random.default_rng([seed, 77])
        self._kinds = list(kinds or KINDS)
        self._step = 0
        self._held = self._extreme()
        self._last_reward = np.zeros(sizes.num_envs)

    def __call__(self, seen: Seen) -> np.ndarray:
        """Return the next actions (N, A, K)."""
        if self._step % PHASE == 0:
            self._held = self._extreme()
        reward = seen.rewards.mean(axis=1) if seen.rewards is not None else self._last_reward
        self._change = np.sign(reward - self._last_reward)
        self._last_reward = reward
        drawn = {kind: KINDS[kind](self) for kind in self._kinds}
        phase = self._step // PHASE
        kinds = [self._kinds[(env + phase) % len(self._kinds)] for env in range(self.sizes.num_envs)]
        if "rest" in self._kinds:
            kinds[self._step // REST % len(kinds)] = "rest"
        chosen = [drawn[kind][env] for env, kind in enumerate(kinds)]
        self._step += 1
        return self.legal(np.stack(chosen), seen)

    def legal(self, actions: np.ndarray, seen: Seen) -> np.ndarray:
        """Replace the actions (N, A, K) that are not available after the step `seen` by ones that are."""
        if seen.available is None:
            return actions
        scores = seen.available * (1.0 + self._rng.random(seen.available.shape))
        wanted = actions.astype(int)
        allowed = np.take_along_axis(seen.available, wanted, axis=-1) > 0
        return np.where(allowed, wanted, scores.argmax(axis=-1)[..., None]).astype(float)

    def _uniform(self, factor: float = 1.0) -> np.ndarray:
        low, high = finite_range(self.sizes)
        if self.sizes.discrete:
            return self._rng.integers(low, high + 1, self.sizes.action_shape).astype(float)
        return self._rng.uniform(factor * low, factor * high, self.sizes.action_shape)

    def _far_out(self) -> np.ndarray:
        return self._uniform(FAR_OUT)

    def _extreme(self) -> np.ndarray:
        low, high = finite_range(self.sizes)
        return np.where(self._rng.random(self.sizes.action_shape) < 0.5, low, high)

    def _hold(self) -> np.ndarray:
        return self._held

    def _alternate(self) -> np.ndarray:
        low, high = finite_range(self.sizes)
        return self._held if self._step % 2 else low + high - self._held

    def _rest(self) -> np.ndarray:
        return np.broadcast_to(neutral(self.sizes), self.sizes.action_shape)

    def _climb(self) -> np.ndarray:
        return self._tumble(self._change < 0)

    def _descend(self) -> np.ndarray:
        return self._tumble(self._change > 0)

    def _tumble(self, where: np.ndarray) -> np.ndarray:
        """Keep what is held, but draw anew in the envs `where` the reward went the wrong way."""
        self._held = np.where(where[:, None, None], self._extreme(), self._held)
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


def finite_range(sizes: Sizes) -> Tuple[np.ndarray, np.ndarray]:
    """Return the bounds of an action, (K,) each, with -1 and 1 for infinite ones."""
    return np.where(np.isfinite(sizes.low), sizes.low, -1.0), np.where(np.isfinite(sizes.high), sizes.high, 1.0)


def neutral(sizes: Sizes) -> np.ndarray:
    """Return the action that does the least, (K,): zero, or the nearest to it; index 0 where actions are indices."""
    low, high = finite_range(sizes)
    return np.clip(np.zeros_like(low), low, high)


Block = Tuple[int, float, int]  # which env and agent (their number, modulo N * A + 1: all), level of the bounds, steps


def shortest_failure(
    run: Callable[[List[Block]], None], seed: int, max_examples: int
) -> Optional[Tuple[ContractError, List[Block]]]:
    """Search sequences of actions for one that breaks a contract, and shorten it.

    Args:
      run: plays a sequence; raises `ContractError` where it breaks a contract.
      seed: of the search.
      max_examples: sequences to try.
    Returns:
      The error and its shortest sequence; None if none was found.
    """
    import hypothesis
    from hypothesis import strategies

    blocks = strategies.tuples(
        strategies.integers(0, 40),
        strategies.sampled_from([0.0, 1.0, -1.0, 0.5, FAR_OUT, -FAR_OUT]),
        strategies.integers(1, 12),
    )
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
    search = hypothesis.seed(seed)(
        settings(hypothesis.given(strategies.lists(blocks, min_size=1, max_size=6))(attempt))
    )
    try:
        search()
    except ContractError:
        pass
    except hypothesis.errors.Flaky:
        pass
    if not failures:
        return None
    return min(failures, key=lambda failure: sum(steps for _, _, steps in failure[1]))


def actions_of(sequence: List[Block], sizes: Sizes) -> List[np.ndarray]:
    """Return the actions (N, A, K) of every step of a sequence."""
    low, high = finite_range(sizes)
    actions = []
    for target, level, steps in sequence:
        block = np.tile(neutral(sizes), sizes.action_shape[:2] + (1,))
        value = np.where(level > 0, level * high, -level * low) if level else neutral(sizes)
        if sizes.discrete:
            value = np.clip(np.round(abs(level) * high), low, high)
        rows = block.reshape(-1, sizes.action_dim)
        which = target % (len(rows) + 1)
        rows[slice(None) if which == len(rows) else which] = value
        actions += [block] * steps
    return actions
