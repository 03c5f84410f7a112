"""Finds in the lines of a job of several ranks which rank failed first, and how.

`mapush.train` says so itself: `rank 1 of 2: ValueError: ...`. Of other programs, torchrun's agent reports the first
failure under "Root Cause", and torch puts `[rank1]: ` before each line of a rank's traceback.
"""

from __future__ import annotations

import re
from typing import Dict, List, NamedTuple, Optional, Sequence

_OWN = re.compile(r"rank \d+ of \d+(: | is lost: | hangs: | has lost )|(ranks [\d, ]+ of|all) \d+ (ranks )?hang: ")
_PREFIX = re.compile(r"(\[rank\d+\]: ?|rank \d+( of \d+)?: )")
_AGENT = "Root Cause (first observed failure):"
_LOGGED_BY_AGENT = re.compile(r"[WE]\d{4} [\d:.]+ \d+ torch/distributed/")
_FIELD = re.compile(r"  (rank|exitcode|traceback) *: (.*)")
_SIGNAL = re.compile(r"\((SIG\w+)\)")


class RankFailure(NamedTuple):
    """The first failure of a job.

    Attributes:
      text: which rank failed, and how.
      lost: its process was killed, or is gone.
      hangs: it did not come back from a piece of work.
      lines: what was printed from then on, without the names of ranks.
    """

    text: str
    lost: bool
    hangs: bool
    lines: List[str]


def rank_failure(lines: Sequence[str]) -> Optional[RankFailure]:
    """Return the first failure of a rank; None if the lines are not those of a job, or no rank has failed.

    Args:
      lines: the last lines that a command printed.
    """
    for index, line in enumerate(lines):
        if _OWN.match(line):
            return RankFailure(line, " lost" in line, " hang" in line, without_ranks(_before_agent(lines[index:])))
    if _AGENT in lines:
        return _reported_by_agent(lines, lines.index(_AGENT))
    return None


def _before_agent(lines: Sequence[str]) -> List[str]:
    """Return the lines up to the first that torchrun's agent has logged."""
    kept = []
    for line in lines:
        if _LOGGED_BY_AGENT.match(line):
            break
        kept.append(line)
    return kept


def without_ranks(lines: Sequence[str]) -> List[str]:
    """Return the lines without the names of ranks that torch and mapush put before them."""
    plain = []
    for line in lines:
        prefix = _PREFIX.match(line)
        if prefix is not None:
            line = line[prefix.end() :]
        plain.append(line)
    return plain


def _reported_by_agent(lines: Sequence[str], begin: int) -> Optional[RankFailure]:
    fields: Dict[str, str] = {}
    for line in lines[begin:]:
        found = _FIELD.match(line)
        if found:
            fields.setdefault(found.group(1), found.group(2))
    rank = fields.get("rank", "").split(" ")[0]
    if not rank.isdecimal():
        return None
    killed = _SIGNAL.search(fields.get("exitcode", ""))
    if killed is not None:
        return RankFailure(f"rank {rank}: {killed.group(1)}", True, False, list(lines))
    printed = [line for line in lines[:begin] if line.startswith(f"[rank{rank}]: ")]
    plain = without_ranks(printed or lines[:begin])
    words = f"exit code {fields.get('exitcode', '').split(' ')[0]}"
    if printed:
        words = plain[-1]
    return RankFailure(f"rank {rank}: {words}", False, False, plain)
