"""How far the long run goes: a number of steps that seldom depends on how busy the machine is.

It takes its usual number of steps if that fits into twice its share of the time. Otherwise it takes as many as the next
of `RUNGS`. If only forms are looked at, it ends as soon as all of them are broken, or has shown the end of an episode
and taken some seconds.
"""

from __future__ import annotations

import time
from typing import Callable, NamedTuple

import numpy as np

from harness.interface.player import Player, Seen

FIT = 2.0  # times its share that a run may take, if it then has its usual number of steps
FORMS_S = 5.0  # after which a run for forms ends, once it has shown the end of an episode
RUNGS = (8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)  # steps of a run that has no time for the usual number


class LongRunPlan(NamedTuple):
    """How far a long run goes.

    Attributes:
      usual: its usual number of steps.
      share_s: its share of the time [s].
      most_s: the time that it may take if the usual number of steps then fits [s].
      is_for_forms: whether only forms are looked at.
      is_decided: returns whether all that is looked at is broken already.
    """

    usual: int
    share_s: float
    most_s: float
    is_for_forms: bool
    is_decided: Callable[[], bool]


def drive_far(player: Player, driver: Callable[[Seen], np.ndarray], plan: LongRunPlan) -> float:
    """Drive a player as far as a plan says.

    Returns:
      How long a step took [s].
    """
    started = time.perf_counter()

    def drive_on(target: int, limit_s: float) -> float:
        while player.step_count < target and time.perf_counter() - started < limit_s and not plan.is_decided():
            player.step(driver(player.seen[-1]))
        return (time.perf_counter() - started) / max(player.step_count, 1)

    share_s = plan.share_s
    if plan.is_for_forms:
        share_s = min(share_s, FORMS_S)
    step_s = drive_on(plan.usual, share_s)
    target = plan.usual
    if plan.is_for_forms and any(seen.ended.any() for seen in player.seen[1:]):
        target = player.step_count
    elif plan.usual * step_s > plan.most_s:
        target = min((rung for rung in RUNGS if rung >= player.step_count), default=plan.usual)
    return drive_on(target, plan.most_s)
