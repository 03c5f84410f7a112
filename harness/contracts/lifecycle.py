"""Contracts of what an environment keeps while it runs, and of what it leaves when it is closed.

Growth: the entries of everything that can be reached from the environment are counted several times in a run. A path
grows without bound if it never shrinks, still grows at the end, and grows at least half as fast in the second half as
in the first; a cache that fills up slows down more than that. A path that is still small may have a bound that is not
reached yet, so more steps are taken until it stops, is large, or many steps have passed.

Left over: several environments are made and closed one after the other, and threads, processes and open files of this
process are counted. A count that rises with every environment is a leak. The first environment does not count, as it
may load what all of them share.
"""

from __future__ import annotations

import gc
import threading
import time
from typing import Any, Callable, Dict, List

import numpy as np
import psutil

from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.episode_spans import advice_for_more
from harness.contracts.factory_call import close_quietly
from harness.contracts.long_run import FIT
from harness.contracts.recorded_history import recorded_depths
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import ActionDriver, drive
from harness.interface.far_env import of_env
from harness.interface.player import Player, first_line, innermost_line
from harness.object_graph import measure

NUM_PARTS = 4  # of the run, after each of which entries are counted
MAX_COUNTS = 17  # if something is still small and still grows
WARM_UP_STEPS = 10
MOST_SHARE = 0.25  # of the budget, to see whether what grows comes to an end
MIN_PARTS_WITH_ENDS = 2  # with fewer, growth at the ends of episodes does not show
MIN_PART_STEPS = 15  # with fewer, nothing can be said
LATEST_PARTS = 2  # in which a path must have grown
MIN_SPEED = 0.5  # of the second half of a run in proportion to the first
FEW_STEPS = 10  # after which tensors that remember how they were computed are looked for, and again
NUM_CLOSED = 5  # environments that are made and closed one after the other
CLOSED_SHARE = 0.05  # of the budget that they may take
CLOSE_GRACE_S = 0.5  # in which threads and processes may end after `close`

Counts = Dict[str, int]


@contract("bounded-statistics")
def bounded_statistics(subject: EnvUnderTest) -> None:
    """What an environment keeps does not grow with the number of steps or episodes."""
    part_steps = subject.steps(subject.effort.growth_steps, runs=NUM_PARTS)
    if part_steps < MIN_PART_STEPS:
        reason = f"there was time for only {part_steps * NUM_PARTS} steps"
        raise NotJudgedError(f"{reason}; {_enough_time(subject)}")
    require_no_recorded_history(subject)
    player = subject.player()
    driver = ActionDriver(subject.sizes, subject.seed)
    ends: List[int] = []  # of episodes in each part

    def count_after(steps: int) -> Counts:
        drive(player, driver, steps)
        ends.append(sum(int(seen.ended.sum()) for seen in player.seen[1:]))
        player.seen = player.seen[-1:]  # so that the harness itself keeps nothing that grows
        return of_env(player.env, measure)

    most_s = subject.time_for(MOST_SHARE)
    started = time.perf_counter()

    def is_time_left() -> bool:
        return time.perf_counter() - started < most_s

    enough_steps = 2 * subject.effort.growth_steps
    try:
        require_bounded(count_after, part_steps, subject.effort.max_kept_entries, enough_steps, is_time_left)
    except NotJudgedError as error:
        budget = subject.budget_for(FIT * enough_steps * subject.step_s, MOST_SHARE)
        raise NotJudgedError(f"{error}; --budget {budget} would do") from None
    with_ends = int(np.count_nonzero(ends[1:]))
    if with_ends < MIN_PARTS_WITH_ENDS:
        raise _too_few_ends(subject, with_ends, part_steps, len(ends) - 1)


def require_no_recorded_history(subject: EnvUnderTest) -> None:
    """Raise if PyTorch records how the states of an environment are computed, from one step to the next."""
    player = subject.player(watch=False)
    driver = ActionDriver(subject.sizes, subject.seed)
    try:
        drive(player, driver, FEW_STEPS)
        before = of_env(player.env, recorded_depths)
        if not before:
            return
        drive(player, driver, FEW_STEPS)
        after = of_env(player.env, recorded_depths)
    finally:
        close_quietly(player.env)
    for path in sorted(set(before) & set(after)):
        if after[path] >= before[path] + FEW_STEPS:
            raise ContractError(
                f"{path} remembers how it was computed, in all steps",
                got=f"{after[path]:,} operations after {2 * FEW_STEPS} steps, {before[path]:,} after {FEW_STEPS}",
                expected="a tensor without grad_fn: memory grows with every step",
                cause="a parameter, or a network's output, is part of the simulation, and autograd records it",
                fix="step within torch.no_grad(), or detach() the state",
            )


def _too_few_ends(subject: EnvUnderTest, with_ends: int, part_steps: int, parts: int) -> NotJudgedError:
    """Return why nothing is known of what is kept when an episode ends, and the budget that would do."""
    text = f"episodes ended in {with_ends} of {parts} parts of {part_steps} steps, {MIN_PARTS_WITH_ENDS} are needed"
    if part_steps >= subject.effort.growth_steps:
        advice = advice_for_more(subject.long_run().seen) or "make episodes shorter for the check"
        return NotJudgedError(f"{text}; no budget gives more: {advice}")
    return NotJudgedError(f"{text}; {_enough_time(subject)}")


def _enough_time(subject: EnvUnderTest) -> str:
    seconds = NUM_PARTS * (subject.build_s + subject.effort.growth_steps * subject.step_s)
    return f"--budget {subject.budget_for(seconds)} would do"


def _always() -> bool:
    return True


def require_bounded(
    count_after: Callable[[int], Counts],
    part_steps: int,
    max_entries: int,
    enough_steps: int,
    is_time_left: Callable[[], bool] = _always,
) -> None:
    """Raise if something grows without bound.

    Args:
      count_after: takes a number of steps and returns the number of entries by path.
      part_steps: steps between two counts.
      max_entries: number of entries above which something that still grows is unbounded.
      enough_steps: steps after which something that still grows is unbounded, even if it is small.
      is_time_left: returns whether there is time for more steps.
    """
    counts = [count_after(WARM_UP_STEPS)]
    for _ in range(NUM_PARTS):
        counts.append(count_after(part_steps))
    growing = growing_paths(counts)
    while growing and len(counts) < MAX_COUNTS and counts[-1][_largest(growing, counts)] < max_entries:
        if not is_time_left():
            break
        counts.append(count_after(part_steps))
        growing = [path for path in growing_paths(counts) if path in growing]
    if not growing:
        return
    path = _largest(growing, counts)
    entries = counts[-1][path]
    first_steps = WARM_UP_STEPS + part_steps
    steps = WARM_UP_STEPS + (len(counts) - 1) * part_steps
    if entries < max_entries and steps < enough_steps:
        raise NotJudgedError(f"{path} grew for {steps} steps; there was no time to see it end")
    raise ContractError(
        f"{path} grows without bound",
        got=f"{entries:,} entries after {steps:,} steps, {counts[1].get(path, 0):,} after {first_steps:,}",
        expected="a bounded number, however long training runs",
        cause="something is appended at every step or episode and never removed",
        fix="collections.deque(maxlen=1000), or sums instead of lists",
    )


def _largest(paths: List[str], counts: List[Counts]) -> str:
    """Return the path with the most entries in the last count."""
    return max(paths, key=lambda path: counts[-1][path])


def growing_paths(counts: List[Counts]) -> List[str]:
    """Return the paths that still grow and do not slow down; the growth may have begun late."""
    found = []
    for path in counts[-1]:
        growth = np.diff([count.get(path, 0) for count in counts])
        half = len(growth) // 2
        still_grows = growth[-LATEST_PARTS:].sum() > 0
        keeps_its_speed = growth[half:].sum() >= MIN_SPEED * growth[:half].sum()
        if still_grows and keeps_its_speed and growth.min() >= 0:
            found.append(path)
    return found


@contract("close")
def close(subject: EnvUnderTest) -> None:
    """`close` exists, can be called twice, does not affect other environments, and leaks nothing.

    What could leak: threads, processes and open files.
    """
    if subject.one_per_process:
        for steps in (0, 2):
            player = subject.player()
            _drive(subject, player, steps)
            of_env(player.env, _require_close_twice)
        subject.notes.append("close: whether it harms other environments or leaks anything was not looked at")
        return
    older = subject.player()
    for steps in (0, 2):
        player = subject.player()
        _drive(subject, player, steps)
        _require_close_twice(player.env)
    for name, player in (("made before", older), ("made after", subject.player())):
        try:
            _drive(subject, player, 2)
        except ContractError as error:
            raise ContractError(
                f"closing one environment breaks an environment that was {name}",
                got=error.what,
                where=error.where,
                cause="close releases what all environments of the process share",
            ) from error
    require_nothing_left(subject)


def _drive(subject: EnvUnderTest, player: Player, steps: int) -> None:
    drive(player, ActionDriver(subject.sizes, subject.seed), steps)


def _require_close_twice(env: Any) -> None:
    """Raise unless an environment can be closed, and closed again."""
    if not callable(getattr(env, "close", None)):
        raise ContractError("the environment has no method close", cause="HARL's runner calls it at the end")
    for call, fix in (("first", None), ("second", "do nothing if it is closed already")):
        try:
            env.close()
        except Exception as error:
            raise ContractError(
                f"the {call} call of close raises {type(error).__name__}: {first_line(error)}",
                where=innermost_line(error),
                fix=fix,
            ) from error


def require_nothing_left(subject: EnvUnderTest) -> None:
    """Raise if each environment that is closed leaves a thread, a process or an open file."""
    if NUM_CLOSED * subject.build_s > CLOSED_SHARE * subject.budget_s:
        return
    counts = [_left_over()]
    for _ in range(NUM_CLOSED):
        player = subject.player()
        _drive(subject, player, 2)
        player.env.close()
        del player
        counts.append(_left_over_in_the_end(counts[-1]))
    for what in counts[0]:
        growth = np.diff([count[what] for count in counts[1:]])
        if growth.min() > 0:
            threads = sorted({thread.name for thread in threading.enumerate()})
            raise ContractError(
                f"each environment leaves {what} when it is closed",
                got=f"{counts[1][what]} after one environment, {counts[-1][what]} after {NUM_CLOSED}",
                expected="as many as before",
                cause="something that was started or opened for the environment is not ended by its close",
                fix=f"in close, join threads ({', '.join(threads)}), wait for processes and close files",
            )


def _left_over_in_the_end(before: Counts) -> Counts:
    """Return what is left over, once it is no more than before or has had time to end."""
    deadline = time.perf_counter() + CLOSE_GRACE_S
    gc.collect()
    counts = _left_over()
    while _exceeds(counts, before) and time.perf_counter() < deadline:
        time.sleep(0.01)
        counts = _left_over()
    return counts


def _exceeds(counts: Counts, before: Counts) -> bool:
    return any(counts[what] > before[what] for what in counts)


def _left_over() -> Counts:
    process = psutil.Process()
    if hasattr(process, "num_fds"):
        files = process.num_fds()
    else:  # on Windows
        files = len(process.open_files())
    return {"a thread": process.num_threads(), "a process": len(process.children()), "an open file": files}
