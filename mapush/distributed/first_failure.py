"""Which rank of a job has failed, judged from what the ranks report."""

from __future__ import annotations

import dataclasses
import json
from typing import Dict, List, NamedTuple, Optional

from mapush.distributed.activity import WorkMoment

EXIT_LOST, EXIT_HANG = 1, 124


@dataclasses.dataclass(frozen=True)
class RankReport:
    """What a rank last said.

    Attributes:
      rank: its number.
      host: name of its machine.
      machine: what tells its machine from others, also those of the same name.
      pid: its process id there.
      beat: counts the reports of this rank.
      moment: what it does.
      left: it has ended as it should.
    """

    rank: int
    host: str
    machine: str
    pid: int
    beat: int
    moment: WorkMoment
    left: bool = False

    def to_json(self) -> str:
        """Return the report as text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: bytes) -> RankReport:
        """Return the report in a text."""
        values = json.loads(text)
        values["moment"] = WorkMoment(*values["moment"])
        return cls(**values)

    def __str__(self) -> str:
        return f"rank {self.rank}, process {self.pid} on {self.host}"


class JobFailure(NamedTuple):
    """Why a job ends.

    Attributes:
      ranks: the ranks that failed.
      text: the message; its first line names the ranks and the cause.
      exit_code: with which the ranks end.
      lost: a process, a machine or a connection is gone, and could not say why.
      machine: that of the rank that reports it.
      reporter: the rank that reports it, and prints it there.
    """

    ranks: List[int]
    text: str
    exit_code: int
    lost: bool
    machine: str
    reporter: int

    def to_json(self) -> str:
        """Return the failure as text."""
        return json.dumps(self)

    @classmethod
    def from_json(cls, text: bytes) -> JobFailure:
        """Return the failure in a text."""
        return cls(*json.loads(text))


class JobFinding(NamedTuple):
    """What is wrong with a job.

    Attributes:
      ranks: the ranks that failed.
      text: the message.
      exit_code: with which the ranks end.
      lost: a process, a machine or a connection is gone, and could not say why.
    """

    ranks: List[int]
    text: str
    exit_code: int
    lost: bool = False


class SeenRank(NamedTuple):
    """A rank as another one sees it.

    Attributes:
      report: what it last said.
      silent_for: since that report changed [s].
      is_here: it is on the same machine.
      gone: so its process is known not to exist any more.
    """

    report: RankReport
    silent_for: float
    is_here: bool
    gone: bool


def judge(seen: Dict[int, SeenRank], size: int) -> Optional[JobFinding]:
    """Return what is wrong with the ranks of a job; None if nothing is.

    Args:
      seen: the ranks that have reported.
      size: how many ranks there are.
    """
    present = {rank: one for rank, one in seen.items() if not one.report.left}
    for one in present.values():
        if one.gone:
            return _lost(one, size, "its process has ended without an error", _KILLED)
    for one in present.values():
        if one.silent_for <= one.report.moment.silent:
            continue
        if one.is_here:
            return _lost(one, size, f"no sign of life for {one.silent_for:.0f} s", _DEAF, lost=False)
        return _lost(one, size, f"no sign of life for {one.silent_for:.0f} s", _UNREACHABLE)
    if len(seen) < size or len(present) < len(seen):
        return None  # some are not here yet, or have finished: the others may wait
    return _hanging([one.report for one in present.values()], size)


_KILLED = "it was killed, by the system if memory was full, or it crashed"
_DEAF = "the process is suspended, or hangs in C code that holds Python's lock; it is killed now"
_UNREACHABLE = "its machine, its launcher or the network between the machines failed"


def _lost(one: SeenRank, size: int, how: str, cause: str, lost: bool = True) -> JobFinding:
    report = one.report
    lines = [
        f"rank {report.rank} of {size} is lost: {how}",
        f"  where     process {report.pid} on {report.host}, {report.moment.doing}",
        f"  cause     {cause}",
    ]
    exit_code = EXIT_HANG
    if lost:
        exit_code = EXIT_LOST
    return JobFinding([report.rank], "\n".join(lines), exit_code, lost)


def _hanging(reports: List[RankReport], size: int) -> Optional[JobFinding]:
    """Return which ranks hang: those that are behind, if the others have waited for them too long."""
    fewest = min(report.moment.marks for report in reports)
    behind = [report for report in reports if report.moment.marks == fewest]
    ahead = [report for report in reports if report.moment.marks > fewest]
    limit = max(report.moment.limit for report in behind)
    if any(report.moment.seconds <= limit for report in reports):
        return None
    ranks = [report.rank for report in behind]
    doing, seconds = behind[0].moment.doing, behind[0].moment.seconds
    if not ahead:
        first = f"all {size} ranks hang: nothing has happened for {seconds:.0f} s"
    elif len(behind) == 1:
        first = f"rank {ranks[0]} of {size} hangs: {doing} for {seconds:.0f} s"
    else:
        first = f"ranks {', '.join(map(str, ranks))} of {size} hang: {doing} for {seconds:.0f} s"
    lines = [first]
    for report in reports:
        lines.append(f"  {report}: {report.moment.doing} for {report.moment.seconds:.0f} s")
    return JobFinding(ranks, "\n".join(lines), EXIT_HANG)
