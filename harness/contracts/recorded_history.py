"""Tensors that keep the history of all steps: PyTorch records how they were computed, a part of `bounded-statistics`.

A parameter in the simulation, or a policy's output without `torch.no_grad()`, makes every later state remember how it
was computed. Memory then grows with every step, where no list and no array does.
"""

from __future__ import annotations

from typing import Any, Dict

from harness.object_graph import recorded_tensors

MAX_DEPTH = 5000  # operations that are counted


def recorded_depths(env: Any) -> Dict[str, int]:
    """Return how many operations in a row lead to each recorded tensor that an environment keeps, by path."""
    return {path: _depth(tensor) for path, tensor in recorded_tensors(env)}


def _depth(tensor: Any) -> int:
    """Return the number of operations along the longest of the first inputs."""
    depth, level, known = 0, [tensor.grad_fn], set()
    while level and depth < MAX_DEPTH:
        depth += 1
        following = []
        for operation in level:
            for earlier, _ in operation.next_functions:
                if earlier is not None and earlier not in known:
                    known.add(earlier)
                    following.append(earlier)
        level = following
    return depth
