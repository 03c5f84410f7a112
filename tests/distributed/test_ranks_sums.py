"""Contracts of `Ranks`: sums over ranks, and objects from one rank to others."""

from __future__ import annotations

import pytest
import torch

from mapush.distributed.ranks import ALONE

pytestmark = pytest.mark.distributed


def sums(ranks):
    """Return the sums of tensors of several shapes, one of them a view that is not contiguous."""
    scalar = torch.tensor(1.5 + ranks.rank, requires_grad=True).detach()
    table = torch.full((2, 3), float(10**ranks.rank))
    column = torch.zeros(4, 2)
    column[:, 1] = ranks.rank + 1.0
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(ranks.rank))
    ranks.sum_(scalar, table, column[:, 1], noise)
    return scalar, table, column, noise


def test_sum_is_over_all_ranks_in_place_and_the_same_bits_on_each(jobs):
    """Every tensor holds the sum of those of all ranks; nothing else has changed."""
    of_ranks = jobs.of(3).call(sums)
    for scalar, table, column, noise in of_ranks:
        assert float(scalar) == 1.5 + 2.5 + 3.5
        assert torch.equal(table, torch.full((2, 3), 111.0))
        assert torch.equal(column, torch.tensor([0.0, 6.0]).expand(4, 2))
        assert torch.equal(noise, of_ranks[0][3])
    expected = sum(torch.randn(1000, generator=torch.Generator().manual_seed(rank)) for rank in range(3))
    torch.testing.assert_close(of_ranks[0][3], expected)


def exchanged(ranks):
    """Return what each kind of exchange gives this rank."""
    own = {"rank": ranks.rank, "tensor": torch.tensor([ranks.rank])}
    gathered = [part["rank"] for part in ranks.gather(own)]
    shared = ranks.share(own)["rank"]
    scattered = ranks.scatter(["a", "b", "c"] if ranks.is_main else [])
    ranks.barrier()
    return gathered, shared, scattered, ranks.rows(5)


def test_objects_go_to_rank_0_and_come_from_it(jobs):
    """Only rank 0 gets what all have; all get what rank 0 has, or each its own part of it."""
    rows = [slice(0, 5), slice(5, 10), slice(10, 15)]
    expected = [([0, 1, 2], 0, "a", rows[0]), ([], 0, "b", rows[1]), ([], 0, "c", rows[2])]
    assert jobs.of(3).call(exchanged) == expected


def test_one_process_needs_nobody():
    """Without other ranks everything is its own, and nothing is started."""
    value = torch.ones(3)
    ALONE.sum_(value)
    ALONE.barrier()
    ALONE.before_capture()
    assert torch.equal(value, torch.ones(3))
    assert ALONE.gather("x") == ["x"]
    assert ALONE.share("x") == ALONE.scatter(["x"]) == "x"
    assert ALONE.is_main
    assert ALONE.rows(5) == slice(0, 5)
    assert not torch.distributed.is_initialized()
