"""What infos say of an episode, held against the steps of that episode; a part of `episode-infos`.

Numbers that only the infos of ends have are compared with sums, means, minima and maxima over the episode: of the
rewards, and of the numbers that the infos of every step have (`played_run`). Nobody states what a number is, so a bug
must show as a pattern that nothing else explains:

- it is one of these in the first episode of each env, and in later ones over all episodes of its env so far;
- it is a sum divided by the length of the longest episodes, also where an episode was shorter;
- it is called a return or a length, and is the same at all ends although returns and lengths differ;
- it is called a length, and is off by one at all ends;
- it is called a return, and lacks the last reward at all ends or has it twice, or is a mean over several episodes;
- it is called a return, and is right at all time limits and wrong at all other ends, or the other way round;
- it is called a share, and exceeds 1 in later episodes only;
- it is a return, and was added up in 16 bits.
"""

from __future__ import annotations

import collections
import functools
import re
from typing import Deque, Dict, List, Sequence

import numpy as np

from harness.contracts.ended_episodes import speaks_of_one_episode
from harness.contracts.played_run import AGGREGATES, REWARD, PlayedRun
from harness.findings import ContractError
from harness.interface.player import Seen

CLOSE = 1e-4  # relative: numbers are float32, and sums depend on the order
MIN_EPISODES = 3  # of each kind, for a pattern
MIN_ENDS = 6  # at which a return or a length is the same
MANY_ENDS = 20  # at which a return is right, so that a single wrong one is an exception
MIN_DIFFERENT = 3  # returns or lengths
IMPRECISE = 2e-2  # relative: a return that is further off was not added up imprecisely
PRECISE = 2e-4  # relative: one that is nearer is precise enough
RETURN_NAME = re.compile(r"(^|_)(r|ret|returns?)$", re.IGNORECASE)
LENGTH_NAME = re.compile(r"^((.*/)?(episode|ep)_(l|len|length)|(episode|ep)/(l|len|length))$", re.IGNORECASE)
SHARE_NAME = re.compile(r"(^|[_/])(share|fraction|percentage|rate)(_|$)", re.IGNORECASE)
WINDOWS = (5, 10, 20, 50, 100, 10_000)  # episodes of which a mean may be taken
IN_AN_EPISODE = re.compile(r"(^|/)(episode|ep)[_/]", re.IGNORECASE)
OF_ALL_EPISODES = re.compile(r"(^|[_/])(ever|all|total|record|so_far|run|life\w*|cum\w*|best)([_/]|$)", re.IGNORECASE)


def require_true_totals(history: List[Seen]) -> int:
    """Raise if a number at the ends of a run cannot be one of the episode that ended.

    Returns:
      How many numbers are known to be one of the episode.
    """
    run = PlayedRun(history)
    num_known = 0
    for path in run.paths_of_ends():
        values = run.values(path)
        _require_different_values(path, values, run)
        _require_exact_length(path, values, run)
        _require_precise(path, values, run)
        _require_last_reward(path, values, run)
        _require_return_of_one_episode(path, values, run)
        _require_return_at_every_end(path, values, run)
        _require_share(path, values, run)
        _require_one_episode(path, values, run)
        _require_own_length(path, values, run)
        num_known += _is_known(values, run)
    return num_known


def _is_return(path: str) -> bool:
    return speaks_of_one_episode(path) and RETURN_NAME.search(path.split("/")[-1]) is not None


def _is_length(path: str) -> bool:
    return LENGTH_NAME.search(path) is not None


def _num_different(values: np.ndarray) -> int:
    return len(np.unique(values))


def _require_different_values(path: str, values: np.ndarray, run: PlayedRun) -> None:
    """Raise if what is called a return or a length is the same at all ends, although these differ."""
    if len(values) < MIN_ENDS or _num_different(values) > 1:
        return
    if _is_return(path):
        quantity, expected = "return", run.returns.round(3)
    elif _is_length(path):
        quantity, expected = "length", run.lengths
    else:
        return
    if _num_different(expected) >= MIN_DIFFERENT:
        raise wrong_number(
            f"infos give the same {quantity} at the end of every episode",
            path,
            run,
            0,
            f"{values[0]:g} at all {len(values)} ends",
            f"the {quantity} of the episode that ended, such as {expected[0]:g}",
            "it is read after the reset, or it is never updated",
        )


def _require_exact_length(path: str, values: np.ndarray, run: PlayedRun) -> None:
    """Raise if what is called the length is one more, or one less, than the number of steps at every end."""
    off_by = values - run.lengths
    if not _is_length(path) or _num_different(run.lengths) < MIN_DIFFERENT or abs(off_by[0]) != 1.0:
        return
    if (off_by == off_by[0]).all():
        raise wrong_number(
            "infos give a length that is off by one",
            path,
            run,
            0,
            f"{values[0]:g}, {off_by[0]:+g} at all {len(values)} ends",
            f"{run.lengths[0]:g}, the number of steps from one end of the env to the next",
            "the step is counted before or after the length is read",
        )


def _require_precise(path: str, values: np.ndarray, run: PlayedRun) -> None:
    """Raise if what is a return was added up in 16 bits."""
    errors = abs(values - run.returns)
    sizes = run.own(REWARD, lambda rewards: float(abs(rewards).sum()))
    is_nearly = speaks_of_one_episode(path) and bool((errors <= IMPRECISE * sizes).all())
    if not is_nearly or (errors > PRECISE * sizes).sum() < MIN_EPISODES:
        return
    is_16_bits = np.float64(np.float16(values)) == values
    if not is_16_bits.all() or _num_different(values[values != np.round(values)]) < MIN_ENDS:
        return
    worst = int(np.argmax(errors / np.maximum(sizes, 1e-12)))
    raise wrong_number(
        "infos give an imprecise return",
        path,
        run,
        worst,
        f"{values[worst]:g}; all {len(values)} returns are numbers of 16 bits",
        f"{run.returns[worst]:g}",
        "rewards are added up in half precision",
    )


def _require_last_reward(path: str, values: np.ndarray, run: PlayedRun) -> None:
    """Raise if what is called a return lacks the last reward of its episode, or has it twice, at all ends."""
    last = run.own(REWARD, lambda rewards: float(rewards[-1]))
    before = last_of_the_episode_before(last, [one.ended.span.env for one in run.episodes])
    is_large = abs(last) > PRECISE * np.maximum(abs(run.returns), 1.0)
    if not _is_return(path) or is_large.sum() < MIN_ENDS or _num_different(values) < MIN_ENDS:
        return
    for wrong, words in (
        (run.returns - last, "without the last reward"),
        (run.returns - last + before, "without the last reward, and with that of the episode before"),
        (run.returns + last, "with twice the last reward"),
    ):
        if _close(values, wrong).all():
            at = int(np.flatnonzero(is_large)[0])
            raise wrong_number(
                f"infos give a return {words.partition(',')[0]} of the episode",
                path,
                run,
                at,
                f"{values[at]:g}, the sum of the rewards {words}, at all {len(values)} ends",
                f"{run.returns[at]:g}",
                "the last reward is added before or after the return is read, or after the env is reset",
            )


def _require_return_of_one_episode(path: str, values: np.ndarray, run: PlayedRun) -> None:
    """Raise if what is called a return is the mean over several episodes."""
    if not _is_return(path) or _num_different(run.returns) < MIN_ENDS or _close(values, run.returns).all():
        return
    envs = [one.ended.span.env for one in run.episodes]
    for whose, keys in (("all envs", [0] * len(envs)), ("its env", envs)):
        for window in WINDOWS:
            if _close(values, means_so_far(run.returns, keys, window)).all():
                raise wrong_number(
                    "infos give a mean over several episodes as the return",
                    path,
                    run,
                    len(values) - 1,
                    f"{values[-1]:g}, the mean of the latest episodes of {whose}",
                    f"{run.returns[-1]:g}, the return of the episode that ended",
                    "a smoothed number is put under the name of the return",
                )


def _require_return_at_every_end(path: str, values: np.ndarray, run: PlayedRun) -> None:
    """Raise if what is called a return is right at time limits only, or only at the other ends."""
    errors = abs(values - run.returns)
    sizes = run.own(REWARD, lambda rewards: float(abs(rewards).sum()))
    is_right, is_wrong = errors <= PRECISE * sizes, errors > 10.0 * PRECISE * sizes
    at_limit = np.array([one.ended.span.truncated for one in run.episodes], bool)
    if not _is_return(path) or _num_different(values[is_right]) < MIN_ENDS:
        return
    if is_wrong.sum() < MIN_EPISODES and is_right.sum() < MANY_ENDS:
        return
    for right_at, words in ((at_limit, "at time limits"), (~at_limit, "where no time limit ended the episode")):
        if is_right[right_at].all() and is_wrong[~right_at].all() and is_wrong.any():
            at = int(np.flatnonzero(is_wrong)[0])
            raise wrong_number(
                f"infos give the return only {words}",
                path,
                run,
                at,
                f"{values[at]:g}; right at {is_right.sum()} ends {words}, wrong at all {is_wrong.sum()} others",
                f"{run.returns[at]:g}, the sum of all rewards of the episode",
                "a reward that only such ends have is added after the return is read, or to the reward only",
            )


def means_so_far(returns: np.ndarray, keys: Sequence[int], window: int) -> np.ndarray:
    """Return for each episode the mean return of the latest `window` episodes with its key, itself included, (E,)."""
    latest: Dict[int, Deque[float]] = collections.defaultdict(functools.partial(collections.deque, maxlen=window))
    means = []
    for key, value in zip(keys, returns):
        latest[key].append(float(value))
        means.append(sum(latest[key]) / len(latest[key]))
    return np.array(means)


def _require_share(path: str, values: np.ndarray, run: PlayedRun) -> None:
    """Raise if what is called a share is one in the first episodes of all envs, and more than 1 in many later ones."""
    is_share = (values >= 0.0) & (values <= 1.0 + CLOSE)
    wrong = (values > 1.0 + CLOSE) & ~run.first
    if (
        not SHARE_NAME.search(path)
        or not is_share[run.first].all()
        or _num_different(values[run.first]) < MIN_DIFFERENT
    ):
        return
    if wrong.sum() >= MIN_ENDS:
        at = int(np.flatnonzero(wrong)[0])
        raise wrong_number(
            f"{path} in infos exceeds 1 from the second episode on",
            path,
            run,
            at,
            f"{values[at]:g}; more than 1 at {wrong.sum()} of {(~run.first).sum()} ends, and never in first episodes",
            "at most 1, as in the first episode of every env",
            "what is counted is not set back where an episode ends within a step",
        )


def last_of_the_episode_before(last: np.ndarray, envs: Sequence[int]) -> np.ndarray:
    """Return for each episode the last reward of the one before it in its env, 0 for the first ones, (E,)."""
    latest: Dict[int, float] = {}
    before = np.zeros(len(last))
    for number, env in enumerate(envs):
        before[number] = latest.get(env, 0.0)
        latest[env] = float(last[number])
    return before


def _require_one_episode(path: str, values: np.ndarray, run: PlayedRun) -> None:
    """Raise if a number goes on over the episodes of an env."""
    if OF_ALL_EPISODES.search(path):
        return
    may_run_on = not (speaks_of_one_episode(path) or IN_AN_EPISODE.search(path))
    for source in run.sources:
        for name, aggregate in AGGREGATES.items():
            if name == "sum" and may_run_on:  # as a meter does
                continue
            own = run.own(source, aggregate)
            is_own = _close(values, own)
            wrong = ~is_own & ~run.first
            is_own_at_first = is_own[run.first].all() and _num_different(own[run.first]) >= MIN_EPISODES
            if not is_own_at_first or wrong.sum() < MIN_EPISODES:
                continue
            if not _close(values, run.so_far(source, aggregate)).all():
                continue
            at = int(np.flatnonzero(wrong)[0])
            raise wrong_number(
                f"{path} in infos goes on over the episodes of an env",
                path,
                run,
                at,
                f"{values[at]:g}: the {name} of {_in_words(source)} over all episodes of this env so far",
                f"{own[at]:g}: that of the episode that ended, as in the first episode of every env",
                "it is not set again where an episode ends within a step",
            )


def _require_own_length(path: str, values: np.ndarray, run: PlayedRun) -> None:
    """Raise if a number is a sum divided by the length of the longest episodes, instead of the episode's own."""
    longest = run.lengths.max()
    is_shorter = run.lengths < longest
    if min(is_shorter.sum(), (~is_shorter).sum()) < MIN_EPISODES:
        return
    for source in run.sources:
        sums = run.own(source, AGGREGATES["sum"])
        if _num_different(sums) < 2 * MIN_EPISODES or not _close(values, sums / longest).all():
            continue
        wrong = is_shorter & ~_close(values, sums / run.lengths)
        if wrong.sum() < MIN_EPISODES:
            continue
        at = int(np.flatnonzero(wrong)[0])
        length = run.lengths[at]
        raise wrong_number(
            f"{path} in infos is no mean over the steps of the episode",
            path,
            run,
            at,
            f"{values[at]:g}: the sum of {_in_words(source)} over the episode, divided by {longest:g}",
            f"{sums[at] / length:g}: divided by {length:g}, the length of this episode",
            "the sum is divided by the time limit",
        )


def _is_known(values: np.ndarray, run: PlayedRun) -> bool:
    """Return whether a number is a sum, mean, minimum or maximum over each episode."""
    for source in run.sources:
        for aggregate in AGGREGATES.values():
            own = run.own(source, aggregate)
            if _num_different(own) >= MIN_DIFFERENT and _close(values, own).all():
                return True
    return False


def _in_words(source: str) -> str:
    if source == REWARD:
        return source
    return f"{source!r} in the infos of its steps"


def _close(values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return np.isclose(values, expected, rtol=CLOSE, atol=1e-6)


def wrong_number(what: str, path: str, run: PlayedRun, at: int, got: str, expected: str, cause: str) -> ContractError:
    """Return the error for a number of the episode `at` of a run."""
    span = run.episodes[at].ended.span
    return ContractError(
        what,
        step=span.end,
        where=f"infos[{span.env}][0][{path!r}], step {span.end}",
        got=got,
        expected=expected,
        cause=cause,
        fix="compute it from the steps of the episode that ended, before the env is reset, then set it again",
    )
