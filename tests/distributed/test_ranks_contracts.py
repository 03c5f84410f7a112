"""Contracts of `harness stack --ranks 2`: mapush keeps them, and each planted bug of several ranks breaks one."""

from __future__ import annotations

import pytest

from harness.contracts import names
from harness.faults import FAULTS
from harness.faults.fault_matrix import run_matrix
from harness.stack.check_stack import RANKS_GROUP, check_stack
from harness.stack.rank_processes import RankProcesses
from harness.stack.stack_command import main
from mapush.errors import MapushError

pytestmark = pytest.mark.distributed

OF_THE_REFERENCE = {
    "rank-keeps-log-rows",
    "broadcast-off-by-one-actor",
    "rank-local-rate",
    "value-norm-per-rank",
    "value-norm-count-times-ranks",
    "ranks-share-a-device",
    "ranks-share-a-seed",
    "save-by-every-rank",
    "agent-order-differs-by-rank",
    "minibatches-differ-by-rank",
}
OF_RANKS = [fault for fault in FAULTS.values() if fault.group == RANKS_GROUP]


def test_several_ranks_keep_every_contract():
    """Two ranks keep every contract, with a seed that no bug is tried with."""
    report = check_stack(seed=3, ranks=2)
    assert report.ok, str(report)
    assert report.passed == names(RANKS_GROUP)


@pytest.mark.slow
def test_three_ranks_keep_every_contract():
    """Three ranks do so, too."""
    report = check_stack(seed=1, ranks=3)
    assert report.ok, str(report)


def test_bugs_of_public_stacks_are_planted():
    """The zoo has every bug that is known from other stacks, under its name."""
    assert {fault.name for fault in OF_RANKS} >= OF_THE_REFERENCE


@pytest.mark.parametrize("fault", OF_RANKS, ids=lambda fault: fault.name)
def test_bug_of_several_ranks_is_caught_by_the_contract_it_names(fault):
    """Every contract that a bug names is broken by it, and says why."""
    (row,) = run_matrix([fault])
    assert row.caught, row.diagnosis
    assert set(row.caught_by) == set(fault.contracts)


def test_finding_of_ranks_says_how_to_reproduce_it(capsys):
    """The command names the contract, the seed and the number of ranks."""
    from harness.faults import find

    with find("ranks-share-a-device").inject():
        assert main(["--ranks", "3", "--contracts", "rank-devices", "--seed", "2"]) == 1
    assert "harness stack --contracts rank-devices --seed 2 --ranks 3" in capsys.readouterr().out


def test_contract_of_ranks_needs_ranks(capsys):
    """The contracts of one process and those of several are not mixed up."""
    assert main(["--contracts", "rank-writes"]) == 2
    assert main(["--ranks", "2", "--contracts", "masks"]) == 2


def _fail_on_rank_1(ranks):
    if ranks.rank == 1:
        raise ValueError("no")
    return ranks.rank


def test_job_ends_when_a_rank_fails():
    """The error names the rank and its exception, and no process is left."""
    job = RankProcesses(2)
    with pytest.raises(MapushError, match="failed on rank 1") as caught:
        job.call(_fail_on_rank_1)
    assert "ValueError: no" in caught.value.got
    assert job.closed
