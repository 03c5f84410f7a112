"""Contracts of what an environment keeps, and of how it is put away."""

from __future__ import annotations

from typing import Dict, List

import numpy as np

from harness.contracts.reach import measure
from harness.contracts.registry import contract
from harness.contracts.subject import Subject, drive
from harness.drivers import Driver
from harness.findings import ContractError, NotJudgedError
from harness.interface import first_line, innermost_line

ROUNDS = 4  # measurements of what is kept, one after each part of the run
PART = 500  # steps between them
FEWEST = 15  # steps between them, to say anything
LATEST = 2  # parts, in which it must have grown
LARGE = 2500  # entries; what still grows beyond is not bounded


@contract("bounded-statistics")
def bounded_statistics(subject: Subject) -> None:
    """What an environment keeps does not grow with the number of steps or episodes."""
    part = subject.steps(PART, ROUNDS)
    if part < FEWEST:
        raise NotJudgedError("there was time for {} steps only".format(part * ROUNDS))
    player = subject.player()
    driver = Driver(subject.sizes, subject.seed)
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
            raise NotJudgedError("{} grew for {} steps; there was no time to see it end".format(path, steps))
        raise ContractError(
            "{} grows without bound".format(path),
            got="{:,} entries after {:,} steps, {:,} after {:,}".format(
                counts[-1][path], steps, counts[1].get(path, 0), 10 + part
            ),
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
def close(subject: Subject) -> None:
    """`close` exists, may be called twice, and leaves other environments, older and newer, at work."""
    older = subject.player()
    for steps in (0, 2):
        player = subject.player()
        drive(player, Driver(subject.sizes, subject.seed), steps)
        if not callable(getattr(player.env, "close", None)):
            raise ContractError("the environment has no method close", cause="HARL's runner calls it at the end")
        for call in ("first", "second"):
            try:
                player.env.close()
            except Exception as error:
                raise ContractError(
                    "the {} call of close raises {}: {}".format(call, type(error).__name__, first_line(error)),
                    where=innermost_line(error),
                    fix="do nothing if it is closed already",
                ) from error
    for name, player in (("made before", older), ("made after", subject.player())):
        try:
            drive(player, Driver(subject.sizes, subject.seed), 2)
        except ContractError as error:
            raise ContractError(
                "closing one environment breaks another that was {}".format(name),
                got=error.what,
                where=error.where,
                cause="close releases what all environments of the process share",
            ) from error
