"""What it takes to see a finding again, as a file and as commands."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any, Dict, Mapping

from harness.findings import Finding, check_command
from mapush.errors import ConfigError
from mapush.run.versions import versions

FOLDER = Path("runs") / "harness"
TYPES = {"factory": str, "kwargs": dict, "seed": int, "finding": dict, "versions": dict, "task": str}
TYPES_OF_FINDING = {"contract": str, "what": str}


@dataclasses.dataclass(frozen=True)
class Bundle:
    """All that it takes to break a contract again.

    Attributes:
      factory: "package.module:factory" of the environment.
      kwargs: what the factory was called with.
      seed: of environments and actions.
      finding: the fields of the `Finding`.
      versions: what was installed.
      task: "package.module:task" that was stated; "" if none was.
    """

    factory: str
    kwargs: Dict[str, Any]
    seed: int
    finding: Dict[str, Any]
    versions: Dict[str, str] = dataclasses.field(default_factory=versions)
    task: str = ""

    @classmethod
    def read(cls, path: Path) -> Bundle:
        """Return the bundle in a file.

        Raises:
          ConfigError: there is none.
        """
        try:
            bundle = cls(**json.loads(path.read_text(encoding="utf-8")))
            _require_types(vars(bundle), TYPES)
            finding = Finding(**bundle.finding)
            _require_types(vars(finding), TYPES_OF_FINDING)
            str(finding)  # fails where the actions are no packed sequence
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ConfigError("this is no replay bundle", where=str(path), got=str(error)) from error
        return bundle

    def write(self, folder: Path) -> Path:
        """Write the bundle into `folder` and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        name = "{}-{}-{}.json".format(self.factory.replace(":", "."), self.finding["contract"], self.seed)
        path = folder / name
        path.write_text(json.dumps(dataclasses.asdict(self), default=str) + "\n", encoding="utf-8")
        return path


def _require_types(fields: Dict[str, Any], types: Mapping[str, type]) -> None:
    for name, kind in types.items():
        if not isinstance(fields[name], kind):
            raise TypeError(f"{name} is {fields[name]!r}, not a {kind.__name__}")


def keep(
    finding: Finding, factory: str, kwargs: Dict[str, Any], seed: int, folder: Path = FOLDER, task: str = ""
) -> Finding:
    """Write the bundle of a finding into a folder, and return the finding with the commands that show it again."""
    reproduce = check_command(factory, kwargs, finding.contract, seed, task)
    path = Bundle(factory, kwargs, seed, dataclasses.asdict(finding), task=task).write(folder)
    replay = f"python -m harness replay {shlex.quote(str(path))}"
    return dataclasses.replace(finding, reproduce=reproduce, replay=replay)
