"""Proof that the replicas of all ranks are equal, bit for bit: weights, optimisers, normaliser, rates, generator.

Every tensor gets a checksum on its device. Only these numbers come to the host and travel between ranks.
"""

from __future__ import annotations

import collections
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch

from mapush.distributed.ranks import Ranks
from mapush.errors import ReplicaError

Checksums = Dict[str, str]
_INTEGER_OF = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes of an element


def require_equal_replicas(state: Dict[str, Any], ranks: Ranks, where: str) -> None:
    """End the run on all ranks if a part of their state differs.

    Args:
      state: nested dicts and lists of tensors and numbers, which must be equal on all ranks.
      ranks: this process among the others.
      where: when, for the error.

    Raises:
      ReplicaError: it names the first part that differs, and on which ranks.
    """
    if ranks.size == 1:
        return
    of_ranks = ranks.gather(checksums(state))
    difference: Optional[Tuple[str, str]] = None
    if ranks.is_main:
        difference = first_difference_of(of_ranks)
    difference, where = ranks.share((difference, where))
    if difference is not None:
        path, values = difference
        raise ReplicaError(
            f"the replicas of the ranks differ in {path}",
            where=where,
            got=values,
            expected="the same bits on every rank",
            cause="a reduction is missing, or something was drawn, loaded or set on one rank only",
            fix="the checkpoint before was equal on all ranks: continue from it with --resume",
        )


def checksums(state: Dict[str, Any]) -> Checksums:
    """Return a number for each tensor in a state, and the text of each other value, by its path."""
    found: Checksums = {}
    tensors: Dict[str, torch.Tensor] = {}
    for path, value in _leaves(state, ""):
        if isinstance(value, torch.Tensor):
            tensors[path] = value
            found[path] = ""
        else:
            found[path] = repr(value)
    for path, number in zip(tensors, _sums(list(tensors.values()))):
        found[path] = f"checksum {number}"
    return found


def first_difference_of(of_ranks: List[Checksums]) -> Optional[Tuple[str, str]]:
    """Return the first path at which ranks differ, and which ranks have what there; None if they are equal.

    The ranks that differ are those without the most common value; if two are as common, those that differ from rank 0.
    """
    paths: Dict[str, None] = {}
    for one in of_ranks:
        paths.update(dict.fromkeys(one))
    for path in paths:
        values = [one.get(path, "nothing") for one in of_ranks]
        (common, _), *others = collections.Counter(values).most_common()
        if others:
            odd = [f"rank {rank} has {value}" for rank, value in enumerate(values) if value != common]
            return path, f"{', '.join(odd)}, the others have {common}"
    return None


def _sums(tensors: List[torch.Tensor]) -> List[int]:
    """Return the sum of each tensor's elements, as integers of the same bits, with weights that depend on their place.

    The weights are odd, so that no change of a single element can leave the sum, which overflows, as it was; and they
    differ, so that neither can an exchange of two elements.
    """
    if not tensors:
        return []
    device = tensors[0].device
    bits = []
    for tensor in tensors:
        flat = tensor.detach().reshape(-1)
        bits.append(flat.view(_INTEGER_OF[flat.element_size()]).to(device, torch.int64))
    joined = torch.cat(bits)
    weights = 2 * torch.arange(len(joined), device=device) + 1
    parts = (joined * weights).split([len(part) for part in bits])
    return torch.stack([part.sum() for part in parts]).tolist()


def _leaves(value: Any, path: str) -> Iterator[Tuple[str, Any]]:
    """Yield each value below nested dicts and lists with its path."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            yield from _leaves(part, f"{path}.{index}")
    else:
        yield path[1:], value
