"""A replay bundle: a file that holds everything needed to see a finding again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, Dict, Mapping

from harness.findings import CheckTarget, Finding, harness_command
from harness.installed import versions
from mapush.errors import ConfigError

FOLDER = Path("runs") / "harness"

_BUNDLE_TYPES = {
    "factory": str,
    "kwargs": dict,
    "seed": int,
    "finding": dict,
    "versions": dict,
    "task": str,
    "api": str,
}
_REQUIRED_FIELDS = {"factory", "kwargs", "seed", "finding"}
_FINDING_TYPES = {"contract": str, "what": str}


@dataclasses.dataclass(frozen=True)
class Bundle:
    """Everything needed to break a contract again.

    Attributes:
      factory: "package.module:factory" of the environment.
      kwargs: fixed arguments of the factory.
      seed: seed for environments and actions.
      finding: the fields of the `Finding`.
      versions: what was installed.
      task: "package.module:task" of the stated task; "" if none was stated.
      api: name of the interface of the environment, if it was named.
    """

    factory: str
    kwargs: Dict[str, Any]
    seed: int
    finding: Dict[str, Any]
    versions: Dict[str, str] = dataclasses.field(default_factory=versions)
    task: str = ""
    api: str = ""

    @classmethod
    def read(cls, path: Path) -> Bundle:
        """Return the bundle in a file.

        Raises:
          ConfigError: the file is missing, damaged, or not a bundle.
        """
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            missing = _REQUIRED_FIELDS - set(fields)
            if missing:
                raise ValueError(f"these fields are missing: {', '.join(sorted(missing))}")
            bundle = cls(**fields)
            _require_types(vars(bundle), _BUNDLE_TYPES)
            finding = Finding(**bundle.finding)
            _require_types(vars(finding), _FINDING_TYPES)
            str(finding)  # raises if the actions are not a packed sequence
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ConfigError("not a replay bundle", where=str(path), got=str(error)) from error
        return bundle

    @property
    def contract(self) -> str:
        """Name of the broken contract."""
        return str(self.finding["contract"])

    def write(self, folder: Path) -> Path:
        """Write the bundle into a folder, which is created if it does not exist, and return the path of the file."""
        folder.mkdir(parents=True, exist_ok=True)
        factory = self.factory.replace(":", ".")
        path = folder / f"{factory}-{self.contract}-{self.seed}.json"
        text = json.dumps(dataclasses.asdict(self), default=str)
        path.write_text(text + "\n", encoding="utf-8")
        return path


def _require_types(fields: Mapping[str, Any], types: Mapping[str, type]) -> None:
    for name, kind in types.items():
        if not isinstance(fields[name], kind):
            raise TypeError(f"{name} is {fields[name]!r}, not a {kind.__name__}")


def keep(
    finding: Finding,
    factory: str,
    kwargs: Dict[str, Any],
    seed: int,
    folder: Path = FOLDER,
    task: str = "",
    api: str = "",
) -> Finding:
    """Write the bundle of a finding, and return the finding with the commands that show it again.

    Args:
      finding: what was found.
      factory: "package.module:factory" of the environment.
      kwargs: fixed arguments of the factory.
      seed: seed for environments and actions.
      folder: where the bundle is written.
      task: "package.module:task" of the stated task; "" if none was stated.
      api: name of the interface of the environment, if it was named.
    """
    target = CheckTarget(factory, kwargs, seed, task, api=api)
    bundle = Bundle(factory, kwargs, seed, dataclasses.asdict(finding), task=task, api=api)
    replay = harness_command("replay", str(bundle.write(folder)))
    reproduce = finding.reproduce or target.command(finding.contract)
    return dataclasses.replace(finding, reproduce=reproduce, replay=replay)
