"""The contract that each part of the reward, which infos give in every step, is in the reward once.

Nobody states which numbers are the parts. Numbers are taken for them that stand together in a dict of reward terms, or
whose names begin with `r_` or `reward_`, if their sum is the reward of agent 0, or of all agents together, in nearly
all steps. In the other steps, such as those that end an episode, one and the same part must not be missing or added
twice. A reward that differs by something else may contain a bonus that infos do not give, or be clipped. Nor may the
reward always be the sum of all parts but one, of at least three. One part that is always 0 is wrong if the sum is not
the reward in several steps.
"""

from __future__ import annotations

import collections
import re
from typing import Dict, List, NamedTuple, Optional

import numpy as np

from harness.contracts.end_infos import numbers_by_env
from harness.contracts.env_under_test import EnvUnderTest
from harness.contracts.registry import contract
from harness.findings import ContractError, NotJudgedError
from harness.interface.player import Seen

GROUP_NAME = re.compile(r"^rew(ard)?s?_?(terms?|parts?|components?)$", re.IGNORECASE)
SUM_NAME = re.compile(r"(^|_)((total|sum|mean|return)(_|$)|reward$)", re.IGNORECASE)
PART_NAME = re.compile(r"^(r|rew|reward)_", re.IGNORECASE)
MIN_STEPS = 30  # of single envs, in which several parts are not small
USUALLY = 0.8  # fraction of them in which the sum is the reward; and of the others, in which the same part is wrong
ALWAYS = 0.95  # fraction of them in which the same part is left out, if it is forgotten
MIN_OTHER_PARTS = 2  # that are not small, beside one that is always left out
MIN_OFF = 8  # steps in which the sum is not the reward, while one part is always 0
MIN_WRONG = 3  # steps in which a part is missing or added twice, for a finding
TOLERANCE = 1e-4  # relative, or absolute for small rewards
SMALL_PART = 1e-3  # of which little is known, because of the tolerance


class PartsOfStep(NamedTuple):
    """What infos and rewards of an env say in a step.

    Attributes:
      step: the step.
      env: the env.
      parts: the parts of the reward, by name.
      rewards: what the sum may be, by what it is called in a message.
    """

    step: int
    env: int
    parts: Dict[str, float]
    rewards: Dict[str, float]


@contract("reward-parts")
def reward_parts(subject: EnvUnderTest) -> None:
    """Each part of the reward that infos give is in the reward once."""
    history = subject.long_run().seen
    if subject.errors.of("infos-fresh") is not None:
        raise NotJudgedError("infos are shared, so those of different envs mix")
    judged = False
    for group, steps in parts_in(history).items():
        judged = require_complete_sums(group, steps) or judged
    if not judged:
        raise NotJudgedError("no numbers in infos are the parts of the reward")


def parts_in(history: List[Seen]) -> Dict[str, List[PartsOfStep]]:
    """Return the numbers in agent 0's infos that may be parts of the reward, by the name of their group."""
    found: Dict[str, List[PartsOfStep]] = collections.defaultdict(list)
    for step, seen in enumerate(history[1:], start=1):
        for env, numbers in numbers_by_env(seen).items():
            of_env: Dict[str, Dict[str, float]] = collections.defaultdict(dict)
            for path, value in numbers.items():
                group = _group_of(path)
                if group is not None:
                    of_env[group][path] = value
            rewards = {
                "the reward of agent 0": float(seen.rewards[env, 0]),
                "the reward of all agents together": float(seen.rewards[env].sum()),
            }
            for group, parts in of_env.items():
                found[group].append(PartsOfStep(step, env, parts, rewards))
    return found


def _group_of(path: str) -> Optional[str]:
    """Return the name of the group of parts to which a number belongs, or None."""
    *folders, name = path.split("/")
    if SUM_NAME.search(name):
        return None
    for depth, folder in enumerate(folders, start=1):
        if GROUP_NAME.search(folder):
            return "/".join(folders[:depth])
    if PART_NAME.search(name):
        return "/".join([*folders, name.split("_")[0] + "_*"])
    return None


def require_complete_sums(group: str, steps: List[PartsOfStep]) -> bool:
    """Raise if the sum of the parts is usually the reward, but sometimes lacks a part or contains it twice.

    Returns:
      Whether it is usually the reward.
    """
    telling = [one for one in steps if _num_large(one.parts) > 1]
    if len(telling) < MIN_STEPS:
        return False
    for quantity in telling[0].rewards:
        num_right = sum(_is_near(_excess(one, quantity), 0.0, one.rewards[quantity]) for one in telling)
        if num_right < USUALLY * len(telling):
            _require_no_part_left_out(group, quantity, telling)
            continue
        off = [one for one in steps if not _is_near(_excess(one, quantity), 0.0, one.rewards[quantity])]
        for name in telling[0].parts:
            for times, what in ((-1.0, "is left out"), (1.0, "is added twice")):
                wrong = [one for one in off if _deviates_by(one, quantity, name, times)]
                if len(wrong) >= max(MIN_WRONG, USUALLY * len(off)):
                    raise _broken_sum(group, quantity, f"{name.split('/')[-1]} {what}", wrong, len(steps))
        _require_no_empty_part(group, quantity, steps, off)
        return True
    return False


def _require_no_empty_part(group: str, quantity: str, steps: List[PartsOfStep], off: List[PartsOfStep]) -> None:
    """Raise if one part is always 0, while the reward contains something in some steps that no part has."""
    empty = []
    for name in steps[0].parts:
        if all(one.parts.get(name, 0.0) == 0.0 for one in steps):
            empty.append(name)
    if len(empty) == 1 and len(off) >= MIN_OFF:
        raise _broken_sum(group, quantity, f"{empty[0].split('/')[-1]} is always 0", off, len(steps))


def _require_no_part_left_out(group: str, quantity: str, telling: List[PartsOfStep]) -> None:
    """Raise if the reward is always the sum of all parts but one, of at least three that are not 0."""
    for name in telling[0].parts:
        without = [one for one in telling if _deviates_by(one, quantity, name, -1.0)]
        right = [one for one in without if _num_large(one.parts) > MIN_OTHER_PARTS]
        if len(right) >= MIN_STEPS and len(without) >= ALWAYS * len(telling):
            raise _broken_sum(group, quantity, f"{name.split('/')[-1]} is left out", without, len(telling))


def _num_large(parts: Dict[str, float]) -> int:
    """Return how many parts are not small."""
    return int((abs(np.array(list(parts.values()))) > SMALL_PART).sum())


def _excess(one: PartsOfStep, quantity: str) -> float:
    """Return by how much the reward exceeds the sum of the parts."""
    return one.rewards[quantity] - sum(one.parts.values())


def _deviates_by(one: PartsOfStep, quantity: str, name: str, times: float) -> bool:
    """Return whether the reward exceeds the sum of the parts by a part, so many times."""
    part = one.parts.get(name, 0.0)
    is_telling = abs(part) > SMALL_PART * max(1.0, abs(one.rewards[quantity]))
    return is_telling and _is_near(_excess(one, quantity), times * part, one.rewards[quantity])


def _is_near(value: float, expected: float, reward: float) -> bool:
    return abs(value - expected) <= TOLERANCE * max(1.0, abs(reward))


def _broken_sum(group: str, quantity: str, what: str, wrong: List[PartsOfStep], num_steps: int) -> ContractError:
    first = wrong[0]
    return ContractError(
        f"the reward is not the sum of its parts in infos: {what}",
        step=first.step,
        where=f"infos[{first.env}][0][{group!r}], step {first.step}",
        got=f"{first.rewards[quantity]:g} for {quantity}; so it is in {len(wrong)} of {num_steps} steps",
        expected=f"{sum(first.parts.values()):g}, the sum of the parts",
        cause="a part is added before it is known, or once more where an episode ends",
        fix="add up the parts once, after the last of them is known",
    )
