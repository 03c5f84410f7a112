"""Evaluate policies: `python -m mapush.evaluate [cuboid|tblock|cylinder|walk] [--checkpoint RUN_OR_FILE] ...`."""

from __future__ import annotations

import dataclasses
import json
import math
import multiprocessing
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple, cast

import tyro
from rich.console import Console

from mapush import checkpoint as checkpoints
from mapush.assembly import TASKS, make_mqe_env, resolve, share_the_cores
from mapush.candidates import checkpoint_paths, is_run, load, load_candidate
from mapush.checkpoint import Checkpoint
from mapush.config import PushRunConfig, SimConfig, to_dict
from mapush.errors import ConfigError, MapushError, nearest
from mapush.gpu_errors import gpu_errors
from mapush.harl import models
from mapush.sim import ISAAC_GYM

if TYPE_CHECKING:
    from mapush.acceptance import AcceptanceResult
    from mapush.env.base import Team, VecEnv
    from mapush.env.metrics import EvaluationMetrics
    from mapush.env.mqe import MqeEnv
    from mapush.env.push import PushEnv
    from mapush.sim.mjcpu import MujocoPhysics
    from mapush.sim.walking import WalkingPolicy

FOLDER = "evaluation"
MODES = ("calculator", "viewer")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate a policy by the published protocol, or watch it."""

    task_name: tyro.conf.Positional[str] = "cuboid"
    """cuboid, tblock, cylinder or walk."""
    checkpoint: Optional[Path] = None
    """A checkpoint, the folder of a run, whose checkpoints are all evaluated, or HARL's models. Default: ours."""
    untrained: bool = False
    """Evaluate the weights that training starts from."""
    mode: str = "calculator"
    """calculator prints the measures; viewer shows episodes in a window or records them."""
    num_envs: int = 300
    """Parallel envs of the calculator; the first episode of each counts."""
    episodes: int = 3
    """Episodes that the viewer shows."""
    record: Optional[Path] = None
    """MP4 that the viewer writes instead of opening a window."""
    json: Optional[Path] = None
    """Write the results to this file as well."""
    stand_checkpoint: Optional[Path] = None
    """walk only: take the network that stands from this checkpoint or run, not from `checkpoint`."""
    export: Optional[Path] = None
    """Write the policy, of a run the newest, to this .pt without the run that trained it, or as HARL's to a folder."""
    seed: int = 0
    """Seed of starts and of what differs between envs."""
    upstream_quirks: Optional[bool] = None
    """Behave as upstream does where it is wrong, see docs/deviations.md. Default: as the policy was trained."""
    device: str = "auto"
    """Where the policy computes: auto, cpu, cuda or cuda:1."""
    sim: SimConfig = SimConfig()
    """The simulator."""

    def __post_init__(self) -> None:
        walk, viewer = self.task_name == "walk", self.mode == "viewer"
        _require(self.task_name in TASKS, "unknown task {!r}".format(self.task_name), nearest(self.task_name, TASKS))
        _require(self.mode in MODES, "unknown mode {!r}".format(self.mode), nearest(self.mode, MODES))
        _require(self.num_envs >= 1 and self.episodes >= 1, "nothing to do", "at least one env and one episode")
        _require(not (walk and viewer), "the viewer shows pushing tasks only", "name cuboid, tblock or cylinder")
        _require(not (walk and self.untrained), "--untrained belongs to pushing tasks", "name a --checkpoint")
        _require(not (self.untrained and self.checkpoint), "--untrained takes no --checkpoint", "leave one of them out")
        _require(viewer or not self.record, "--record belongs to the viewer", "add --mode viewer")
        _require(not self.record or self.record.suffix == ".mp4", "the recorder writes MP4", "--record FILE.mp4")
        trained = self.checkpoint is not None
        _require(trained or not self.export, "--export is for a policy that was trained", "add --checkpoint RUN")
        _require(
            walk and trained or not self.stand_checkpoint, "--stand-checkpoint adds to one", "walk --checkpoint RUN"
        )


def _require(good: bool, what: str, fix: str) -> None:
    if not good:
        raise ConfigError(what, fix=fix)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What one policy scored.

    Attributes:
      path: its checkpoint; None for untrained weights.
      step: env steps that it was trained for.
      metrics: its measures.
    """

    path: Optional[Path]
    step: int
    metrics: EvaluationMetrics

    @property
    def success_time(self) -> float:
        """Mean duration of the successful episodes [s]; NaN without one."""
        from mapush.env.terminations import MAX_EPISODE_LENGTH
        from mapush.sim.base import STEP_DT

        rate = self.metrics.success_rate
        failed = (1.0 - rate) * MAX_EPISODE_LENGTH * STEP_DT
        return (self.metrics.finished_time - failed) / rate if rate > 0 else math.nan

    def as_dict(self) -> Dict[str, Any]:
        """Return everything as plain values."""
        values = dict(dataclasses.asdict(self.metrics), success_time=self.success_time)
        path = None if self.path is None else str(self.path)
        return {"checkpoint": path, "step": self.step, "metrics": values}


# -- modes -----------------------------------------------------------------------------------------------------------


def evaluate(config: EvaluateConfig) -> List[Evaluation]:
    """Measure every policy that `config` asks for by the published protocol, oldest first.

    Each env is reset once and counts until its first episode ends; actions are the policies' means.

    Raises:
      CheckpointError: a checkpoint that is missing or does not fit.
    """
    paths = [None] if config.untrained else checkpoint_paths(config)
    if config.sim.backend != ISAAC_GYM or len(paths) == 1:
        return [_measure(config, path) for path in paths]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # Isaac Gym runs once in a process
        return pool.starmap(_measure, [(config, path) for path in paths], chunksize=1)


def _measure(config: EvaluateConfig, path: Optional[Path]) -> Evaluation:
    resolve(config)  # in a new process, Isaac Gym has to come before torch
    team = load_candidate(config, path, config.num_envs)
    try:
        return Evaluation(path, team.step, first_episodes(team.env, team.agent))
    finally:
        team.env.close()


def first_episodes(env: VecEnv, agent: Team) -> EvaluationMetrics:
    """Return the measures of the first episode of each env, under deterministic actions."""
    from mapush.env.metrics import FirstEpisodes

    observation, first = env.reset(), FirstEpisodes(env.num_envs)
    while not first.complete:
        actions = agent.act_deterministic(observation.obs.to(agent.device))
        transition = env.step(actions.to(env.device))
        first.add(transition.done, transition.outcome)
        observation = transition.observation
    env.check()
    return first.metrics()


def evaluate_walk(config: EvaluateConfig) -> List[AcceptanceResult]:
    """Put the walking policy that `config` asks for through its acceptance tests, and export it if so asked.

    Raises:
      CheckpointError: a checkpoint that is missing or does not fit.
    """
    from mapush.acceptance import run_acceptance

    policy, card = _walking_policy(config)
    results = run_acceptance(policy, config.sim, config.seed)
    if config.export is not None:
        policy.save(config.export, _without_nan(dict(card, acceptance=[result.as_dict() for result in results])))
    return results


def _walking_policy(config: EvaluateConfig) -> Tuple[WalkingPolicy, Dict[str, Any]]:
    """Return the policy, on the simulator's device, and where it comes from."""
    import torch

    from mapush.sim.walking import Network, WalkingPolicy

    device = torch.device("cuda" if config.sim.backend == "warp" else "cpu")
    if config.checkpoint is None:
        return WalkingPolicy.load(device=str(device)), {}
    stand = dataclasses.replace(config, checkpoint=config.stand_checkpoint or config.checkpoint, stand_checkpoint=None)
    sources = {"walk": config, "stand": stand}
    saved = {name: load(checkpoint_paths(source)[-1], "walk") for name, source in sources.items()}
    networks = [
        Network.from_actor(one.agent["actors"][0], one.config.happo.activation_func, device) for one in saved.values()
    ]
    card = {name: {"config": to_dict(one.config), "steps": one.step} for name, one in saved.items()}
    return WalkingPolicy(*networks), card


def view(config: EvaluateConfig) -> None:
    """Show episodes of the policy that `config` asks for, of a run the newest, in a window or as an MP4.

    Raises:
      CheckpointError: a checkpoint that is missing or does not fit.
      ConfigError: there is neither a display nor a file to record to, or nothing here can draw.
    """
    from mapush.viewer import open_screen, play

    path = None if config.untrained else checkpoint_paths(config)[-1]
    if config.sim.backend == ISAAC_GYM:
        _view_upstream(config, path)
        return
    make_screen = open_screen(config.record)
    team = load_candidate(config, path, num_envs=1)
    env = cast("PushEnv", team.env)
    screen = make_screen(cast("MujocoPhysics", env.simulator.physics).model)
    try:
        play(env, team.agent, screen, config.episodes)
    finally:
        screen.close()
        team.env.close()


def _view_upstream(config: EvaluateConfig, path: Optional[Path]) -> None:
    from mapush.viewer.isaac import play

    def make(run_config: PushRunConfig, num_envs: int, seed: int) -> VecEnv:
        film = config.record is not None
        return make_mqe_env(run_config, run_config.task, num_envs, seed, window=not film, camera=film)

    team = load_candidate(config, path, num_envs=1, make=make)
    try:
        play(cast("MqeEnv", team.env), team.agent, config.episodes, config.record)
    finally:
        team.env.close()


# -- command line ----------------------------------------------------------------------------------------------------


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line, evaluate and report.

    Returns:
      0; 1 if a walking policy failed an acceptance test; 2 after an error.
    """
    share_the_cores()
    try:
        with gpu_errors():
            return _run(tyro.cli(EvaluateConfig, args=argv, prog="python -m mapush.evaluate"))
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2


def _run(config: EvaluateConfig) -> int:
    config, reason = resolve(config)
    print("simulator {} ({})".format(config.sim.backend, reason), flush=True)
    if config.mode == "viewer":
        view(config)
        return 0
    return _report_walk(config) if config.task_name == "walk" else _report_push(config)


def _report_walk(config: EvaluateConfig) -> int:
    from mapush.report import acceptance_table

    results = evaluate_walk(config)
    Console().print(acceptance_table(results))
    if config.json is not None:
        _write_json(config.json, {"task": "walk", "seed": config.seed, "results": [item.as_dict() for item in results]})
    return 0 if all(result.passed for result in results) else 1


def _report_push(config: EvaluateConfig) -> int:
    from mapush.report import metrics_table, run_table, success_csv, success_curve

    evaluations = evaluate(config)
    results = [evaluation.as_dict() for evaluation in evaluations]
    values = {"task": config.task_name, "num_envs": config.num_envs, "seed": config.seed, "results": results}
    if config.checkpoint is not None and is_run(config.checkpoint):
        folder = config.checkpoint / FOLDER
        Console().print(run_table(evaluations))
        _write_json(folder / "results.json", values)
        success_curve({"this run": evaluations}, config.task_name, folder / "success.png")
        success_csv({"this run": evaluations}, config.task_name, folder / "success.csv")
        print("results and curve are in {}".format(folder))
    else:
        Console().print(metrics_table(evaluations[0]))
    if config.json is not None:
        _write_json(config.json, values)
    if config.export is not None:
        print("exported to {}".format(_export(load(checkpoint_paths(config)[-1], config.task_name), config.export)))
    return 0


def _export(policy: Checkpoint, path: Path) -> Path:
    if path.suffix != checkpoints.SUFFIX:
        return models.write(policy, path)
    return checkpoints.save(dataclasses.replace(policy, run={}), path)


def _write_json(path: Path, values: Dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_without_nan(values), indent=2, allow_nan=False) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


if __name__ == "__main__":
    sys.exit(main())
