"""Contracts of what an environment keeps, and of how it is put away."""

from __future__ import annotations

import gc
import threading
import time
from typing import Dict, List

import numpy as np
import psutil

from harness.contracts.env_under_test import EnvUnderTest, drive
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.drivers import ActionDriver
from harness.interface.player import first_line, innermost_line
from harness.object_graph import measure

ROUNDS = 4  # measurements of what is kept, one after each part of the run
PART = 500  # steps between them
FEWEST = 15  # steps between them, to say anything
LATEST = 2  # parts, in which it must have grown
LARGE = 2500  # entries; what still grows beyond is not bounded
LIVES = 5  # environments made and closed one after another, to see what each of them leaves
LIVES_SHARE = 0.05  # of the budget that they may take
PATIENCE = 0.5  # for what ends soon after `close` [s]


@contract("bounded-statistics")
def bounded_statistics(subject: EnvUnderTest) -> None:
    """What an environment keeps does not grow with the number of steps or episodes."""
    part = subject.steps(PART, ROUNDS)
    if part < FEWEST:
        raise NotJudgedError(f"there was time for {part * ROUNDS} steps only")
    player = subject.player()
    driver = ActionDriver(subject.sizes, subject.seed)
    drive(player, driver, 10)
    counts = [measure(player.env)]
    for _ in range(ROUNDS):
        player.seen = player.seen[-1:]
        drive(player, driver, part)
        counts.append(measure(player.env))
    growing = _growing(counts)
    while growing and max(counts[-1][path] for path in growing) < LARGE and len(counts) <= 4 * ROUNDS:
        player.seen = player.seen[-1:]
        drive(player, driver, part)
        counts.append(measure(player.env))
        growing = [path for path in _growing(counts) if path in growing]
    if growing:
        path = max(growing, key=lambda path: counts[-1][path])
        steps = 10 + (len(counts) - 1) * part
        if counts[-1][path] < LARGE and steps < 2 * PART:
            raise NotJudgedError(f"{path} grew for {steps} steps; there was no time to see it end")
        raise ContractError(
            f"{path} grows without bound",
            got=f"{counts[-1][path]:,} entries after {steps:,} steps, {counts[1].get(path, 0):,} after {10 + part:,}",
            expected="a bounded number, however long training runs",
            cause="something is appended at every step or episode and never taken out",
            fix="collections.deque(maxlen=1000), or sums instead of lists",
        )


def _growing(counts: List[Dict[str, int]]) -> List[str]:
    """Return the paths whose size still grows, and not ever more slowly; the growth may have begun late."""
    found = []
    for path in counts[-1]:
        growth = np.diff([one.get(path, 0) for one in counts])
        half = len(growth) // 2
        if growth[-LATEST:].sum() > 0 and growth[half:].sum() >= 0.5 * growth[:half].sum() and growth.min() >= 0:
            found.append(path)
    return found


@contract("close")
def close(subject: EnvUnderTest) -> None:
    """`close` exists, may be called twice, leaves other environments at work, and nothing of its own."""
    older = subject.player()
    for steps in (0, 2):
        player = subject.player()
        drive(player, ActionDriver(subject.sizes, subject.seed), steps)
        if not callable(getattr(player.env, "close", None)):
            raise ContractError("the environment has no method close", cause="HARL's runner calls it at the end")
        for call in ("first", "second"):
            try:
                player.env.close()
            except Exception as error:
                raise ContractError(
                    f"the {call} call of close raises {type(error).__name__}: {first_line(error)}",
                    where=innermost_line(error),
                    fix="do nothing if it is closed already",
                ) from error
    for name, player in (("made before", older), ("made after", subject.player())):
        try:
            drive(player, ActionDriver(subject.sizes, subject.seed), 2)
        except ContractError as error:
            raise ContractError(
                f"closing one environment breaks another that was {name}",
                got=error.what,
                where=error.where,
                cause="close releases what all environments of the process share",
            ) from error
    _require_nothing_left(subject)


def _require_nothing_left(subject: EnvUnderTest) -> None:
    """Raise if each environment that is closed leaves a thread, a process or an open file."""
    if LIVES * subject.build_s > LIVES_SHARE * subject.budget_s:
        return
    counts = [_left_over()]
    for _ in range(LIVES):
        player = subject.player()
        drive(player, ActionDriver(subject.sizes, subject.seed), 2)
        player.env.close()
        del player
        counts.append(_settled(counts[-1]))
    for what in counts[0]:
        growth = np.diff([one[what] for one in counts[1:]])  # the first may load what all share
        if growth.min() > 0:
            raise ContractError(
                f"each environment leaves {what} when it is closed",
                got=f"{counts[1][what]} after one environment, {counts[-1][what]} after {LIVES}",
                expected="as many as before",
                cause="what was started or opened for the environment is not ended by its close",
                fix="end it in close: threads ({}) are joined, processes waited for, files closed".format(
                    ", ".join(sorted({thread.name for thread in threading.enumerate()}))
                ),
            )


def _settled(before: Dict[str, int]) -> Dict[str, int]:
    """Return what is left over, once it is no more than before or has had time to end."""
    end = time.perf_counter() + PATIENCE
    gc.collect()
    counts = _left_over()
    while any(counts[what] > before[what] for what in counts) and time.perf_counter() < end:
        time.sleep(0.01)
        counts = _left_over()
    return counts


def _left_over() -> Dict[str, int]:
    process = psutil.Process()
    files = process.num_fds() if hasattr(process, "num_fds") else len(process.open_files())
    return {"a thread": process.num_threads(), "a process": len(process.children()), "an open file": files}
