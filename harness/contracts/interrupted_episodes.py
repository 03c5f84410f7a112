"""Returns and lengths in infos after a call of `reset` in mid-episode, a part of `episode-infos`.

A number that is the return or the length of every episode of the long run must also be that of the first one after
such a call: the steps before it belong to an episode that never ended.
"""

from __future__ import annotations

from typing import Dict, List

import numpy as np

from harness.contracts.ended_episodes import TOLERANCE, EndedEpisode, ended_episodes, quantities, speaks_of_one_episode
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.factory_call import close_quietly
from harness.findings import ContractError
from harness.interface.drivers import ActionDriver, drive
from harness.interface.player import Seen

STEPS_BEFORE = 7
MOST_STEPS = 250  # after the call
SHARE = 0.03  # of the budget
MIN_WRONG = 2  # ends, for a finding


def require_fresh_counts(subject: EnvUnderTest) -> None:
    """Raise if a return or a length in infos counts steps from before a call of `reset`."""
    meanings = known_meanings(ended_episodes(subject.long_run().seen))
    if not meanings:
        return
    first = [one for one in ended_episodes(subject.once(interrupted_run)) if one.span.first]
    for path, quantity in meanings.items():
        wrong = [one for one in first if not _is_near(one, path, quantity)]
        if len(wrong) >= MIN_WRONG and len(wrong) > 0.5 * len(first):
            raise _counted_before(path, quantity, wrong)


def interrupted_run(subject: EnvUnderTest) -> List[Seen]:
    """Reset an environment in mid-episode, and return what it shows from then on."""
    player = subject.player(watch=False)
    driver = ActionDriver(subject.sizes, subject.seed + 83)
    try:
        drive(player, driver, STEPS_BEFORE)
        player.reset()
        begun = len(player.seen) - 1
        drive(player, driver, subject.steps(MOST_STEPS, runs=1, share=SHARE))
        return player.seen[begun:]
    finally:
        close_quietly(player.env)


def known_meanings(ended: List[EndedEpisode]) -> Dict[str, str]:
    """Return which numbers are a quantity of every episode, by path."""
    meanings: Dict[str, str] = {}
    if not ended:
        return meanings
    for path in ended[0].numbers:
        if not speaks_of_one_episode(path):
            continue
        for quantity in quantities(ended[0]):
            if all(_is_near(one, path, quantity) for one in ended):
                meanings.setdefault(path, quantity)
    return meanings


def _is_near(one: EndedEpisode, path: str, quantity: str) -> bool:
    value = one.numbers.get(path, np.nan)
    return bool(np.isclose(value, quantities(one)[quantity], rtol=TOLERANCE, atol=TOLERANCE))


def _counted_before(path: str, quantity: str, wrong: List[EndedEpisode]) -> ContractError:
    first = wrong[0]
    span = first.span
    return ContractError(
        f"infos give a wrong number for {quantity} of an episode after reset in mid-episode",
        where=f"infos[{span.env}][0][{path!r}], {span.end} steps after a call of reset",
        got=f"{first.numbers.get(path, np.nan):g}; wrong in {len(wrong)} envs, right at all ends without such a call",
        expected=f"{quantities(first)[quantity]:g}",
        cause="reset does not set it to 0: only the end of an episode does",
        fix="set it to 0 in the function that starts an episode, which both reset and step call",
    )
