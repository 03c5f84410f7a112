"""Write a trained policy for use elsewhere: `python -m mapush.export RUN policy.onnx`."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Sequence

import tyro
from typing_extensions import Annotated, Literal, get_args

from mapush.assembly import share_the_cores
from mapush.errors import ConfigError, MapushError, unknown
from mapush.run import command_line
from mapush.run.shown_progress import ShownProgress

if TYPE_CHECKING:
    from mapush.evaluation.policy_formats import LoadedPolicy

Kind = Literal["onnx", "torchscript", "mapush", "harl", "walk"]

SUFFIXES: Dict[str, Kind] = {
    ".onnx": "onnx",
    ".jit": "torchscript",
    ".torchscript": "torchscript",
    ".pt": "mapush",
    ".npz": "walk",
}
"""What is written, by the suffix of the file; a folder is for HARL's models."""
MEANINGS: Dict[str, str] = {
    "onnx": "ONNX",
    "torchscript": "TorchScript",
    "mapush": "policy of mapush",
    "harl": "models of HARL",
    "walk": "walking policy",
}
_POLICY_PARTS = ("actors", "critic", "value_norm")  # of a learner's state; optimisers and generators are for training


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Write a trained policy to a file for other programs; nothing is evaluated."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_FILE")]
    """A checkpoint, the folder of a run (exports its newest checkpoint), HARL's models, MAPush's module.pt, or the
    name of a shipped policy."""
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Where to: .onnx, .jit or .torchscript (TorchScript), .pt (policy of mapush), .npz (walking policy), or a folder
    (models of HARL)."""
    to: Optional[Kind] = None
    """What to write. Default: what the suffix says; harl for a folder."""
    task: Optional[str] = None
    """The task that the policy was trained for. Needed only where the file does not say it: HARL's and MAPush's. Of a
    policy for any team, the object that it shall push."""
    num_agents: Optional[int] = None
    """Robots in a team, of a policy for any team. Default: those of the object, or as many as it has seats for."""
    steps_per_decision: Optional[int] = None
    """Env steps for which each action is held, for the metadata. Default: as the policy was trained."""
    stand_checkpoint: Optional[Path] = None
    """walk, .npz: take the standing network from this checkpoint or run instead of from RUN_OR_FILE."""
    acceptance: Optional[Path] = None
    """walk, .npz: results to put into the file, from: mapush evaluate walk --checkpoint RUN --json FILE."""
    overwrite: bool = False
    """Replace an existing file of other content."""

    def __post_init__(self) -> None:
        if self.to is not None and self.to not in get_args(Kind):
            raise unknown("kind of export", self.to, get_args(Kind))
        if self.steps_per_decision is not None and self.steps_per_decision < 1:
            got = f"--steps-per-decision {self.steps_per_decision}"
            raise ConfigError("a decision takes at least one env step", got=got)
        if self.num_agents is not None and self.num_agents < 1:
            raise ConfigError("a team has at least one robot", got=f"--num-agents {self.num_agents}")
        _require_suffix_of(self.kind, self.file)
        for flag in ("stand_checkpoint", "acceptance"):
            if getattr(self, flag) is not None and self.kind != "walk":
                name = "--" + flag.replace("_", "-")
                raise ConfigError(f"{name} belongs to the export of a walking policy", fix="name a file FILE.npz")

    @property
    def kind(self) -> Kind:
        """What to write: `to`, or what the suffix says."""
        if self.to is not None:
            return self.to
        if not self.file.suffix or self.file.is_dir():
            return "harl"
        if self.file.suffix not in SUFFIXES:
            error = unknown("suffix", self.file.suffix, SUFFIXES)
            error.where = str(self.file)
            error.fix = "--to harl writes a folder for HARL; --to onnx writes ONNX under any other name"
            raise error
        return SUFFIXES[self.file.suffix]


def _require_suffix_of(kind: Kind, file: Path) -> None:
    """Refuse a file whose suffix says something else than what it would hold.

    Raises:
      ConfigError: it does.
    """
    implied = SUFFIXES.get(file.suffix, kind)
    if file.is_dir():
        implied = "harl"
    if implied != kind:
        what = f"{file.name} would not hold what its name says: {MEANINGS[implied]}"
        raise ConfigError(what, got=f"--to {kind}", fix="leave --to out, or change the name of the file")


def export(config: ExportConfig) -> str:
    """Export the policy that `config` names, and return a line about what was written.

    Raises:
      CheckpointError: the policy is missing, damaged, or cannot be converted.
      ConfigError: the file exists with other content, or a package is missing.
    """
    if config.kind == "onnx":
        from mapush.evaluation.exported_policy import require_package

        require_package("onnx")
    if config.kind == "walk":
        return _export_walk(config)
    policy = _load(config)
    return WRITERS[config.kind](config, policy)


def _load(config: ExportConfig) -> LoadedPolicy:
    from mapush.evaluation.load_policy import load_named
    from mapush.evaluation.loaded_policy import at_rate

    policy = load_named(str(config.source), config.task, "cpu", config.num_agents)
    return at_rate(policy, config.steps_per_decision)


# -- what is written -------------------------------------------------------------------------------------------------


def _export_function(config: ExportConfig, policy: LoadedPolicy) -> str:
    """Write ONNX or TorchScript, and compare its actions with those of the policy before the file gets its name."""
    from mapush.evaluation import exported_policy as exported
    from mapush.evaluation.kept_files import new_or_equal

    writers = {"onnx": exported.write_onnx, "torchscript": exported.write_torchscript}
    with new_or_equal(config.file, config.overwrite, MEANINGS[config.kind]) as part:
        writers[config.kind](policy, part)
        checked = _checked(config, policy, part)
    num_agents, obs_dim, action_dim = exported.sizes_of_policy(policy)
    shapes = f"obs (batch, {num_agents}, {obs_dim}) to actions (batch, {num_agents}, {action_dim})"
    return f"{config.file}: {MEANINGS[config.kind]}, {shapes}; {checked}"


def _checked(config: ExportConfig, policy: LoadedPolicy, part: Path) -> str:
    """Return a few words about how well a file agrees with its policy.

    Raises:
      ConfigError: it does not.
    """
    from mapush.evaluation import exported_policy as exported

    try:
        difference, size = exported.relative_difference(policy, part, config.kind)
    except ConfigError as missing:
        return f"not checked, because {missing.what}"
    if difference > exported.MAX_DIFFERENCE:
        what = f"the {MEANINGS[config.kind]} file does not act as the policy; nothing was written"
        got = f"actions differ by up to {difference * size:.2g}"
        raise ConfigError(what, got=got, where=str(config.source))
    count = f"{exported.CHECKED_OBSERVATIONS:,} observations"
    if difference == 0:
        return f"actions equal over {count}"
    return f"actions differ by at most {difference:.1g} of the largest action, {size:.2g}, over {count}"


def _export_mapush(config: ExportConfig, policy: LoadedPolicy) -> str:
    from mapush.evaluation.kept_files import new_or_equal
    from mapush.evaluation.policy_formats import as_checkpoint
    from mapush.run import checkpoint as checkpoints

    trained = as_checkpoint(policy)
    agent = {name: value for name, value in trained.agent.items() if name in _POLICY_PARTS}
    bare = dataclasses.replace(trained, config=policy.config, agent=agent, run={})
    with new_or_equal(config.file, config.overwrite, MEANINGS["mapush"]) as part:
        checkpoints.save(bare, part)
    return f"{config.file}: {MEANINGS['mapush']}"


def _export_harl(config: ExportConfig, policy: LoadedPolicy) -> str:
    from mapush.evaluation.kept_files import new_or_equal_files
    from mapush.evaluation.policy_formats import as_checkpoint
    from mapush.upstream.harl import models

    checkpoint = as_checkpoint(policy)
    with new_or_equal_files(config.file, models.PATTERNS, config.overwrite, MEANINGS["harl"]) as folder:
        models.write(checkpoint, folder)
    return f"{config.file}: {MEANINGS['harl']}, for HARL's model_dir"


def _export_walk(config: ExportConfig) -> str:
    """Write a walking policy, whose header says how its networks were trained and what they scored."""
    from mapush.evaluation.kept_files import new_or_equal
    from mapush.evaluation.walking_networks import walking_policy

    card_results = _acceptance(config.acceptance)
    policy, card = walking_policy(config.source, config.stand_checkpoint)
    if card_results is not None:
        card["acceptance"] = card_results
    with new_or_equal(config.file, config.overwrite, MEANINGS["walk"]) as part:
        with part.open("wb") as file:
            policy.save(file, card)
    return f"{config.file}: {MEANINGS['walk']}"


def _acceptance(path: Optional[Path]) -> Any:
    """Return the results in a file that `mapush evaluate walk --json` wrote; None without one.

    Raises:
      ConfigError: it does not hold such results.
    """
    if path is None:
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["task"] == "walk":
            return values["results"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    fix = "mapush evaluate walk --checkpoint RUN --json FILE writes one"
    raise ConfigError("these are no results of the acceptance tests", where=str(path), fix=fix)


WRITERS: Dict[str, Callable[[ExportConfig, Any], str]] = {
    "onnx": _export_function,
    "torchscript": _export_function,
    "mapush": _export_mapush,
    "harl": _export_harl,
}


# -- command line ----------------------------------------------------------------------------------------------------


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line and export.

    Returns:
      0; 2 after an error.
    """
    share_the_cores()
    try:
        config = command_line.parse(ExportConfig, argv, "export")
        with ShownProgress() as progress:
            progress.stage(f"exporting {config.source}: {MEANINGS[config.kind]}")
            written = export(config)
        print(f"exported to {written}")
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
