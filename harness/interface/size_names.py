"""Says which number of an error about shapes is which size of the environment.

The sizes of an environment under test are pairwise different wherever the harness can choose them, so a number often
has one meaning only.
"""

from __future__ import annotations

import re
from typing import Dict, List, Optional, Sequence, Tuple

from harness.interface.spaces import Sizes

Pair = Tuple[int, int]
SWAPPED = "axes swapped"
NAMES = ("num_envs", "num_agents", "obs_dim", "share_obs_dim", "action_dim")

_PAIRS = (  # messages of torch and numpy in which two numbers should be equal
    r"size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\) at non-singleton dimension (\d+)",
    r"expanded size of the tensor \((\d+)\) must match the existing size \((\d+)\)",
    r"Expected size (\d+) but got size (\d+)",
    r"size of axis is (\d+) but size of corresponding boolean axis is (\d+)",
    r"dimension is (\d+) but corresponding boolean dimension is (\d+)",
    r"shapes cannot be multiplied \(\d+x(\d+) and (\d+)x\d+\)",
    r"size (\d+) is different from (\d+)",
)
_SHAPES = (  # messages in which two shapes should be equal, or broadcast
    r"could not be broadcast together with shapes \(([\d,]+)\) \(([\d,]+)\)",
    r"broadcast input array from shape \(([\d,]+)\) into shape \(([\d,]+)\)",
    r"shape mismatch: value array of shape \(([\d,]+)\) .* of shape \(([\d,]+)\)",
)


def explain_shapes(message: str, sizes: Sizes) -> Optional[str]:
    """Return which number of a message about shapes is which size; None if it is no such message, or names no size."""
    pairs, is_swapped = _pairs(message, sizes)
    named = name_numbers([number for pair in pairs for number in pair], sizes)
    if named is None:
        return None
    if is_swapped:
        return f"{named}: {SWAPPED}"
    return named


def _pairs(message: str, sizes: Sizes) -> Tuple[List[Pair], bool]:
    """Return the pairs of numbers that should be equal, and whether envs and agents are swapped."""
    ends = {sizes.num_envs, sizes.num_agents}
    for pattern in _SHAPES:
        found = re.search(pattern, message)
        if found:
            pairs = unequal(_shape(found[1]), _shape(found[2]))
            return pairs, len(pairs) == 2 and pairs[0] == pairs[1][::-1] and set(pairs[0]) == ends
    for pattern in _PAIRS:
        found = re.search(pattern, message)
        if found:
            numbers = list(map(int, found.groups()))
            return [(numbers[0], numbers[1])], set(numbers[:2]) == ends and numbers[2:] == [1]
    return [], False


def _shape(text: str) -> List[int]:
    return [int(number) for number in text.split(",") if number]


def unequal(one: Sequence[int], other: Sequence[int]) -> List[Pair]:
    """Return the sizes of two shapes that differ, axis by axis from the last; an axis of size 1 fits every other."""
    pairs = []
    for a, b in zip(reversed(one), reversed(other)):
        if a != b and 1 not in (a, b):
            pairs.append((a, b))
    return pairs


def name_numbers(numbers: Sequence[int], sizes: Sizes) -> Optional[str]:
    """Return the sizes that numbers stand for: "7 is num_envs, 2 is num_agents"; None if none of them is a size."""
    known = _names_by_number(sizes)
    words: List[str] = []
    for number in dict.fromkeys(numbers):
        words.append(f"{number} is {' or '.join(known.get(number, ['no size of this environment']))}")
    if not any(number in known for number in numbers):
        return None
    return ", ".join(words)


def _names_by_number(sizes: Sizes) -> Dict[int, List[str]]:
    """Return the names of every number above 1 that is a size, or the number of all agents of all envs."""
    known: Dict[int, List[str]] = {}
    for name in NAMES:
        known.setdefault(getattr(sizes, name), []).append(name)
    known.setdefault(sizes.num_envs * sizes.num_agents, []).append("num_envs x num_agents")
    known.pop(1, None)
    return known
