"""A failed check as a file, and `python -m harness replay FILE`, which runs it again.

Exit codes: 0 the contract holds now; 1 it is still broken; 2 it cannot be judged, or the file is no bundle.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from harness.findings import Finding, Report
from harness.report import versions
from mapush.errors import ConfigError, MapushError

FOLDER = Path("runs") / "harness"


@dataclasses.dataclass(frozen=True)
class Bundle:
    """All that it takes to break a contract again.

    Attributes:
      factory: "package.module:factory" of the environment.
      kwargs: what the factory was called with.
      seed: of environments and actions.
      finding: the fields of the `Finding`.
      versions: what was installed.
    """

    factory: str
    kwargs: Dict[str, Any]
    seed: int
    finding: Dict[str, Any]
    versions: Dict[str, str] = dataclasses.field(default_factory=versions)

    @classmethod
    def read(cls, path: Path) -> Bundle:
        """Return the bundle in a file.

        Raises:
          ConfigError: there is none.
        """
        try:
            bundle = cls(**json.loads(path.read_text(encoding="utf-8")))
            Finding(**bundle.finding)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigError("this is no replay bundle", where=str(path), got=str(error)) from error
        return bundle

    def write(self, folder: Path) -> Path:
        """Write the bundle into `folder` and return its path."""
        folder.mkdir(parents=True, exist_ok=True)
        name = "{}-{}-{}.json".format(self.factory.replace(":", "."), self.finding["contract"], self.seed)
        path = folder / name
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2, default=str) + "\n", encoding="utf-8")
        return path


def write_bundle(finding: Finding, factory: str, kwargs: Dict[str, Any], seed: int, folder: Path = FOLDER) -> Path:
    """Write what it takes to break the contract of `finding` again; return the path."""
    return Bundle(factory, kwargs, seed, dataclasses.asdict(finding)).write(folder)


def command(path: Path) -> str:
    """Return the command that replays the bundle at `path`."""
    return "python -m harness replay {}".format(shlex.quote(str(path)))


def check_command(factory: str, kwargs: Dict[str, Any], contract: str, seed: int) -> str:
    """Return the command that runs one contract again."""
    given = " --kwargs {}".format(shlex.quote(json.dumps(kwargs))) if kwargs else ""
    text = "python -m harness check {}{} --contracts {} --seed {}"
    return text.format(shlex.quote(factory), given, contract, seed)


def check(factory: str, kwargs: Dict[str, Any], contracts: Optional[Sequence[str]], seed: int) -> Report:
    """Check what the factory of that name builds, in a child process, as `python -m harness check` does.

    Raises:
      ConfigError: there is no such contract.
    """
    from harness import check as command_line
    from harness.contracts import chosen

    chosen(contracts)
    words = [factory, "--seed", str(seed)]
    words += ["--kwargs", json.dumps(kwargs)] if kwargs else []
    words += ["--contracts", ",".join(contracts)] if contracts else []
    return command_line._in_child(words, command_line._parser().parse_args(words))


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Replay a bundle and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m harness replay", description="Run a failed check again.")
    parser.add_argument("file", type=Path, help="bundle that a failed check wrote")
    try:
        bundle = Bundle.read(parser.parse_args(argv).file)
        contract = bundle.finding["contract"]
        report = check(bundle.factory, bundle.kwargs, [contract], bundle.seed)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    if not report.ok:
        print("{} is still broken".format(contract))
        print("\n".join(str(finding) for finding in report.findings))
        return 1
    if contract not in report.passed:
        print("{} could not be judged: {}".format(contract, report.not_judged.get(contract)), file=sys.stderr)
        return 2
    print("{} holds now; when it broke: {}".format(contract, bundle.finding["what"]))
    print("\n".join(_differences(bundle.versions)) or "the versions are the same")
    return 0


def _differences(then: Dict[str, str]) -> Sequence[str]:
    now = versions()
    names = sorted(name for name in {**then, **now} if then.get(name) != now.get(name))
    return ["{} was {}, is {}".format(name, then.get(name, "missing"), now.get(name, "missing")) for name in names]


if __name__ == "__main__":
    sys.exit(main())
