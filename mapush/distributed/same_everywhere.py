"""What must be the same on every rank, compared when a job starts: code, versions and configuration."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from mapush.config import RunConfig, to_dict
from mapush.own import named_code
from mapush.run.own_sources import references
from mapush.run.versions import PACKAGES, versions

MISSING = "missing"
MAX_SHOWN = 5
_SAME = ("python", *PACKAGES)


def facts_of(config: RunConfig, device: str) -> Dict[str, str]:
    """Return by name what must be the same on every rank.

    Args:
      config: configuration of the run.
      device: kind of device on which the learner computes.
    """
    facts = {"device": device}
    for name, version in versions().items():
        if name in _SAME:
            facts[name] = version
    root = Path(__file__).resolve().parents[1]
    for path in sorted(root.rglob("*.py")):
        facts[f"mapush/{path.relative_to(root).as_posix()}"] = _digest(path)
    for reference in references(config):
        file = named_code.source_file(reference)
        if file is not None:
            facts[file.name] = _digest(file)
    facts.update(_flat("--", to_dict(config)))
    return facts


def _digest(path: Path) -> str:
    return f"file {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"


def _flat(prefix: str, values: Mapping[str, Any]) -> Dict[str, str]:
    """Return nested settings by the names of their flags."""
    found: Dict[str, str] = {}
    for name, value in values.items():
        flag = prefix + name.replace("_", "-")
        if isinstance(value, dict):
            found.update(_flat(f"{flag}.", value))
        else:
            found[flag] = json.dumps(value)
    return found


def difference(own: Mapping[str, str], first: Mapping[str, str]) -> Optional[str]:
    """Return in words what differs from rank 0; None if nothing does.

    Args:
      own: facts of this rank.
      first: facts of rank 0.
    """
    lines: List[str] = []
    for name in sorted({**own, **first}):
        here, there = own.get(name, MISSING), first.get(name, MISSING)
        if here != there:
            lines.append(f"{name} is {here}, on rank 0 {there}")
    if not lines:
        return None
    more = len(lines) - MAX_SHOWN
    if more > 0:
        lines = lines[:MAX_SHOWN] + [f"and {more} more"]
    return "; ".join(lines)
