"""The command line of `mapush.evaluate`, validated."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Iterable, Optional, Tuple

import tyro
from typing_extensions import Annotated, Literal, get_args

from mapush.assembly import TASKS
from mapush.config import MIXED_TASK, SimConfig, TaskConfig
from mapush.errors import ConfigError, unknown
from mapush.evaluation import saved_objects
from mapush.own import own_objects
from mapush.sim import OF_MQE

Mode = Literal["calculator", "viewer"]
Viewer = Literal["auto", "native", "web", "none"]

VIEWERS = get_args(Viewer)
CALCULATOR_ENVS = 300
RECORDING_SUFFIXES = (".mp4", ".gif", ".html")
VIEWER_FLAGS = ("viewer", "host", "port", "record", "only")

DEFAULT_TASK = "cuboid"

_TASK_CHOICES = "{" + ",".join(TASKS) + "}"


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate a policy by the published protocol, or watch it."""

    task_name: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar=_TASK_CHOICES)] = DEFAULT_TASK
    """The task that the policy was trained for; of a policy for any team, the object to push."""
    checkpoint: Tuple[Path, ...] = ()
    """Checkpoints, folders of runs (evaluates all of their checkpoints), HARL's models. Default: the shipped policy
    that fits, of the task or for any object and team."""
    env: Optional[str] = None
    """Your own environment: FILE.py:factory or package.module:factory, a function of num_envs and seed. The task is
    then ignored."""
    object: Optional[str] = None
    """An object of your own: FILE.py:NAME or package.module:NAME. A run knows its object without it."""
    reward_terms: tyro.conf.UseAppendAction[Tuple[str, ...]] = ()
    """Add a reward term of your own to the return: FILE.py:function=weight; can be repeated. Code that a run names is
    not executed without it."""
    num_agents: Optional[int] = None
    """Robots in a team. Default: as the policy was trained; for one for any team, the object's own number."""
    untrained: bool = False
    """Evaluate the initial weights of a training."""
    mode: Mode = "calculator"
    """calculator prints the metrics; viewer shows or records episodes."""
    num_envs: Optional[int] = None
    """Number of parallel envs. Default: 300, or as many as there are episodes; viewer: 1."""
    viewer: Optional[Viewer] = None
    """A window, a page, none (only record), or auto: a window if possible. Default: auto; with --record: none."""
    host: Optional[str] = None
    """Address of the page; if other machines can reach it, the page needs a token. Default: 127.0.0.1."""
    port: Optional[int] = None
    """Port of the page. Default: 8080, or the next free one."""
    episodes: Optional[int] = None
    """calculator: episodes in all, shared out evenly among the envs. Default: the first episode of each env.
    viewer: episodes to show, or with --only to record. Default: no limit, or 3 when recording."""
    record: Optional[Path] = None
    """Record the episodes to this file: .mp4, .gif, or .html (a page with a play bar)."""
    only: Optional[Literal["failures"]] = None
    """failures records only episodes without success; at most 50 are played for each one that is recorded."""
    json: Optional[Path] = None
    """Also write the results to this file."""
    report: Optional[Path] = None
    """Write an HTML report to this folder: metrics, failures, paths, recordings, and the data of all episodes."""
    overwrite: bool = False
    """Replace what --json, --report or --record names, even by results that are based on fewer episodes."""
    stand_checkpoint: Optional[Path] = None
    """walk: take the standing network from this checkpoint or run instead of from `checkpoint`."""
    seed: int = 0
    """Seed for the initial states and for the differences between envs."""
    upstream_quirks: Optional[bool] = None
    """Reproduce upstream's bugs, which docs/deviations.md lists. Default: as the policy was trained."""
    steps_per_decision: Optional[int] = None
    """Env steps for which each action is held. Default: as the policy was trained; 1 if its file does not say it."""
    device: str = "auto"
    """Device of the policy: auto, cpu, cuda or cuda:1."""
    sim: SimConfig = SimConfig()
    """The simulator."""

    def __post_init__(self) -> None:
        if self.env is None:
            _find_task(self)
        given = TaskConfig(reward_terms=self.reward_terms)  # checks their form
        object.__setattr__(self, "reward_terms", given.reward_terms)
        _require_choice("mode", self.mode, get_args(Mode))
        counted = {"num_envs": "env", "episodes": "episode", "steps_per_decision": "env step", "num_agents": "robot"}
        for name, least in counted.items():
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(
                    f"nothing to do: no {least}s", got=f"{name} {value}", expected=f"at least one {least}"
                )
        _check_own_env(self)
        _check_mixed(self)
        _check_policy_flags(self)
        _check_output_flags(self)
        _check_viewer_flags(self)
        if self.num_envs is None:
            num_envs = 1
            if self.mode == "calculator":
                num_envs = min(CALCULATOR_ENVS, self.episodes or CALCULATOR_ENVS)
            object.__setattr__(self, "num_envs", num_envs)

    @property
    def envs(self) -> int:
        """The number of parallel envs, as given or by default."""
        assert self.num_envs is not None, "__post_init__ fills it in"
        return self.num_envs

    @property
    def wanted_viewer(self) -> str:
        """The requested viewer: `viewer`, or its default."""
        if self.viewer is not None:
            return self.viewer
        if self.record is not None:
            return "none"
        return "auto"

    @property
    def has_address(self) -> bool:
        """Whether --host or --port was given."""
        return self.host is not None or self.port is not None


def _require_choice(kind: str, name: str, valid: Iterable[str]) -> None:
    if name not in valid:
        raise unknown(kind, name, valid)


def _require(good: bool, what: str, fix: str) -> None:
    if not good:
        raise ConfigError(what, fix=fix)


def _find_task(config: EvaluateConfig) -> None:
    """Register the object of the user's own that the command line names or a run holds, and check the task's name.

    Raises:
      ConfigError: no such task, or the object cannot be loaded.
    """
    if config.object is not None:
        name = own_objects.load_object(config.object).name
        if config.task_name not in (name, DEFAULT_TASK):
            what = "the task is not the object's"
            raise ConfigError(what, got=config.task_name, expected=name, fix="leave the task out")
        object.__setattr__(config, "task_name", name)
    saved_objects.register(config.checkpoint, config.task_name)
    own_objects.require_task(config.task_name)


def _check_own_env(config: EvaluateConfig) -> None:
    """Check the flags for an environment of the user's own.

    Raises:
      ConfigError: a flag belongs to the built-in tasks.
    """
    if config.env is None:
        return
    _require(config.mode == "calculator", "--env works for the calculator only", "leave out --mode")
    named = config.untrained or bool(config.checkpoint)
    _require(named, "no policy is shipped for your own environment", "--checkpoint RUN_OR_FILE, or --untrained")
    for flag in ("report", "stand_checkpoint", "upstream_quirks", "steps_per_decision", "object", "num_agents"):
        name = "--" + flag.replace("_", "-")
        what = f"{name} belongs to the built-in tasks, not to your own environment"
        _require(getattr(config, flag) is None, what, "leave it out")


def _check_mixed(config: EvaluateConfig) -> None:
    """Check the flags for the task that mixes objects and teams.

    Raises:
      ConfigError: a flag belongs to tasks with one object.
    """
    if config.task_name != MIXED_TASK or config.env is not None:
        return
    fix = f"name one object instead of {MIXED_TASK}, such as cuboid --num-agents 3"
    _require(config.mode == "calculator", "the viewer shows one object and team", fix)
    _require(config.reward_terms == (), "--reward-terms belongs to tasks with one object", fix)
    for flag in ("num_agents", "steps_per_decision", "upstream_quirks", "report"):
        name = "--" + flag.replace("_", "-")
        _require(getattr(config, flag) is None, f"{name} belongs to tasks with one object", fix)


def _check_policy_flags(config: EvaluateConfig) -> None:
    """Check the flags that choose the policies.

    Raises:
      ConfigError: the flags do not fit the task, the mode or each other.
    """
    walk = config.task_name == "walk"
    one_policy = len(config.checkpoint) <= 1
    compares = config.mode == "calculator" and not walk
    _require(not walk or not config.untrained, "--untrained works for pushing tasks only", "name a --checkpoint")
    _require(
        not config.untrained or not config.checkpoint, "--untrained takes no --checkpoint", "leave one of them out"
    )
    _require(one_policy or compares, "only the calculator compares policies", "name one --checkpoint")
    if config.stand_checkpoint is not None:
        trained_walk = walk and bool(config.checkpoint)
        what = "--stand-checkpoint needs the checkpoint of a walking policy"
        _require(trained_walk, what, "walk --checkpoint RUN --stand-checkpoint RUN")


def _check_output_flags(config: EvaluateConfig) -> None:
    walk = config.task_name == "walk"
    viewer = config.mode == "viewer"
    _require(not (walk and viewer), "the viewer shows pushing tasks only", "name cuboid, tblock or cylinder")
    for flag in ("episodes", "steps_per_decision", "num_agents"):
        name = "--" + flag.replace("_", "-")
        _require(not walk or getattr(config, flag) is None, f"{name} works for pushing tasks only", "leave it out")
    if not viewer and config.episodes is not None and config.num_envs is not None:
        fix = f"--num-envs {config.episodes} or fewer"
        _require(config.episodes >= config.num_envs, "there are fewer episodes than envs", fix)
    if config.overwrite:
        written = (config.json, config.report, config.record)
        what = "--overwrite belongs to a file that you name"
        _require(written != (None, None, None), what, "add --json FILE, --report DIR or --record FILE")
    if config.report is not None:
        _require(not walk, "--report works for pushing tasks only", "leave it out; --json FILE writes the results")
        _require(not viewer, "--report belongs to the calculator", "leave out --mode viewer")


# -- flags of the viewer ---------------------------------------------------------------------------------------------


def _check_viewer_flags(config: EvaluateConfig) -> None:
    """Check that the viewer's flags fit the mode and each other.

    Raises:
      ConfigError: they do not fit.
    """
    if config.mode != "viewer":
        for flag in VIEWER_FLAGS:
            _require(getattr(config, flag) is None, f"--{flag} belongs to the viewer", "add --mode viewer")
        return
    _check_values(config)
    if config.sim.backend in OF_MQE:
        _check_isaac_gym(config)
    else:
        _check_combinations(config)


def _check_values(config: EvaluateConfig) -> None:
    if config.viewer is not None:
        _require_choice("viewer", config.viewer, VIEWERS)
    if config.record is not None:
        _require_choice("kind of film", config.record.suffix, RECORDING_SUFFIXES)
    if config.only is not None:
        _require(config.only == "failures", f"unknown choice of episodes {config.only!r}", "--only failures")
        _require(config.record is not None, "--only chooses what is recorded", "add --record FILE.mp4")


def _check_combinations(config: EvaluateConfig) -> None:
    if config.wanted_viewer == "none":
        _require(config.record is not None, "nobody would see anything", "add --record FILE.mp4")
        fix = "leave --num-envs out, or add --viewer auto"
        _require(config.num_envs in (None, 1), "a recording without a viewer shows one env", fix)
    if config.has_address:
        has_page = config.wanted_viewer in ("auto", "web")
        _require(has_page, "--host and --port belong to a page", "add --viewer web")


def _check_isaac_gym(config: EvaluateConfig) -> None:
    """Check the flags for Isaac Gym or the stand-in for it, which draw by themselves.

    Raises:
      ConfigError: Isaac Gym cannot do that.
    """
    what = "MAPush's environment shows one env in its own window, or records it"
    possible: Tuple[Optional[str], ...] = (None, "auto", "native")
    if config.record is not None:
        _require(config.record.suffix == ".mp4", what, "--record FILE.mp4")
        possible = (None, "auto", "none")
    plain = not config.has_address and config.only is None and config.num_envs in (None, 1)
    _require(plain and config.viewer in possible, what, "leave out --viewer, --host, --port, --only and --num-envs")
