"""Evaluate policies: `python -m mapush.evaluate [cuboid|tblock|cylinder|walk] [--checkpoint RUN_OR_FILE] ...`."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import math
import multiprocessing
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple, cast

from rich.console import Console

from mapush.assembly import make_mqe_env, make_push_env, resolve, share_the_cores
from mapush.config import PushRunConfig, to_dict
from mapush.device.gpu_errors import gpu_errors
from mapush.errors import MapushError
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.evaluation.loaded_policy import checkpoint_paths, load_in_env, named_paths, require_readable
from mapush.evaluation.policy_formats import is_run, load_checkpoint
from mapush.evaluation.results import Evaluation
from mapush.run import checkpoint as checkpoints
from mapush.run import command_line
from mapush.run.checkpoint import Checkpoint
from mapush.sim import ISAAC_GYM
from mapush.upstream.harl import models

if TYPE_CHECKING:
    from mapush.env.metrics import FirstEpisodes
    from mapush.env.push import PushEnv
    from mapush.env.vec_env import Team, VecEnv
    from mapush.evaluation.acceptance import AcceptanceResult
    from mapush.sim.walking import WalkingPolicy
    from mapush.upstream.mqe import MqeEnv

FOLDER, RESULTS = "evaluation", "results.json"


# -- modes -----------------------------------------------------------------------------------------------------------


def evaluate(config: EvaluateConfig) -> List[Evaluation]:
    """Measure every policy that `config` asks for by the published protocol, those of a run oldest first.

    Each env is reset once and counts until its first episode ends; actions are the policies' means. For a report, the
    newest of each run is traced.

    Raises:
      CheckpointError: a checkpoint that is missing or does not fit.
    """
    asked = [(config, name, path, path == paths[-1]) for name, paths in named_paths(config).items() for path in paths]
    if len(asked) > 1:
        require_readable([path for _, _, path, _ in asked], config.task_name)
    if config.sim.backend != ISAAC_GYM or len(asked) == 1:
        return [_measure(*one) for one in asked]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # Isaac Gym runs once in a process
        return pool.starmap(_measure, asked, chunksize=1)


def _measure(config: EvaluateConfig, name: str, path: Optional[Path], newest: bool) -> Evaluation:
    resolve(config)  # in a new process, Isaac Gym has to come before torch
    team = load_in_env(config, path, config.num_envs)
    try:
        tracer = None
        if config.report is not None and newest and config.sim.backend != ISAAC_GYM:
            from mapush.evaluation.traces import Tracer

            tracer = Tracer(cast("PushEnv", team.env))
        first = first_episodes(team.env, team.policy.agent)
        trace = None if tracer is None else tracer.trace(first.outcome)
        return Evaluation(path, team.policy.step, first.metrics(), name, trace)
    finally:
        team.env.close()


def first_episodes(env: VecEnv, agent: Team) -> FirstEpisodes:
    """Let each env end an episode under deterministic actions, and return those."""
    from mapush.env.metrics import FirstEpisodes

    observation, first = env.reset(), FirstEpisodes(env.num_envs)
    while not first.complete:
        actions = agent.act_deterministic(observation.obs.to(agent.device))
        transition = env.step(actions.to(env.device))
        first.add(transition.done, transition.outcome)
        observation = transition.observation
    env.check()
    return first


def evaluate_walk(config: EvaluateConfig) -> List[AcceptanceResult]:
    """Put the walking policy that `config` asks for through its acceptance tests, and export it if so asked.

    Raises:
      CheckpointError: a checkpoint that is missing or does not fit.
    """
    from mapush.evaluation.acceptance import run_acceptance

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
    if not config.checkpoint:
        return WalkingPolicy.load(device=str(device)), {}
    stand_checkpoint = (config.stand_checkpoint,) if config.stand_checkpoint else config.checkpoint
    stand = dataclasses.replace(config, checkpoint=stand_checkpoint, stand_checkpoint=None)
    sources = {"walk": config, "stand": stand}
    saved = {name: load_checkpoint(checkpoint_paths(source)[-1], "walk") for name, source in sources.items()}
    networks = [
        Network.from_actor(one.agent["actors"][0], one.config.happo.activation_func, device) for one in saved.values()
    ]
    card = {name: {"config": to_dict(one.config), "steps": one.step} for name, one in saved.items()}
    return WalkingPolicy(*networks), card


def view(config: EvaluateConfig) -> None:
    """Show episodes of the policy that `config` asks for, of a run the newest, until Ctrl-C at the latest.

    Raises:
      CheckpointError: a checkpoint that is missing or does not fit.
      ConfigError: what should show or record them does not work here.
    """
    path = None if config.untrained else checkpoint_paths(config)[-1]
    with contextlib.suppress(KeyboardInterrupt):
        if config.sim.backend == ISAAC_GYM:
            _view_upstream(config, path)
        else:
            _view(config, path)


def _view(config: EvaluateConfig, path: Optional[Path]) -> None:
    from mapush.viewer import show
    from mapush.viewer.selection import choose

    choice = choose(config)
    print(f"viewer {choice.viewer} ({choice.reason})", flush=True)
    team = load_in_env(config, path, config.num_envs)
    run_config = cast("PushRunConfig", team.policy.config)

    def make(seed: int) -> PushEnv:
        return make_push_env(dataclasses.replace(run_config, num_envs=config.num_envs, seed=seed))

    try:
        show(choice, config, cast("PushEnv", team.env), team.policy.agent, make)
    finally:
        team.env.close()


def _view_upstream(config: EvaluateConfig, path: Optional[Path]) -> None:
    from mapush.viewer import EPISODES
    from mapush.viewer.isaac_window import play

    def make(run_config: PushRunConfig) -> VecEnv:
        film = config.record is not None
        return make_mqe_env(run_config, window=not film, camera=film)

    team = load_in_env(config, path, num_envs=1, make=make)
    try:
        play(cast("MqeEnv", team.env), team.policy.agent, config.episodes or EPISODES, config.record)
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
            return _run(command_line.parse(EvaluateConfig, argv, "evaluate"))
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2


def _run(config: EvaluateConfig) -> int:
    config, reason = resolve(config)
    print(f"simulator {config.sim.backend} ({reason})", flush=True)
    if config.mode == "viewer":
        view(config)
        return 0
    return _report_walk(config) if config.task_name == "walk" else _report_push(config)


def _report_walk(config: EvaluateConfig) -> int:
    from mapush.reports.tables import acceptance_table

    results = evaluate_walk(config)
    Console().print(acceptance_table(results))
    if config.json is not None:
        _write_json(config.json, {"task": "walk", "seed": config.seed, "results": [item.as_dict() for item in results]})
    return 0 if all(result.passed for result in results) else 1


def _report_push(config: EvaluateConfig) -> int:
    from mapush.reports.tables import metrics_table, run_table

    if config.report is not None:
        from mapush.reports.evaluation_report import require_folder

        require_folder(config.report)
    evaluations = evaluate(config)
    for name, group in itertools.groupby(evaluations, lambda evaluation: evaluation.name):
        of_run = list(group)
        if Path(name) in config.checkpoint and is_run(Path(name)):
            Console().print(run_table(of_run))
            _write_run(config, of_run, Path(name) / FOLDER)
        else:
            Console().print(metrics_table(of_run[0]))
    if config.json is not None:
        _write_json(config.json, _values(config, evaluations))
    if config.report is not None:
        print(f"report: {_write_report(config, evaluations, config.report)}")
    if config.export is not None:
        print(f"exported to {_export(load_checkpoint(checkpoint_paths(config)[-1], config.task_name), config.export)}")
    return 0


def _values(config: EvaluateConfig, evaluations: Sequence[Evaluation]) -> Dict[str, Any]:
    results = [evaluation.as_dict() for evaluation in evaluations]
    return {"task": config.task_name, "num_envs": config.num_envs, "seed": config.seed, "results": results}


def _write_run(config: EvaluateConfig, evaluations: Sequence[Evaluation], folder: Path) -> None:
    from mapush.reports.tables import success_csv, success_curve

    _write_json(folder / RESULTS, _values(config, evaluations))
    success_curve({"this run": evaluations}, config.task_name, folder / "success.png")
    success_csv({"this run": evaluations}, config.task_name, folder / "success.csv")
    print(f"results and curve are in {folder}")


def _write_report(config: EvaluateConfig, evaluations: Sequence[Evaluation], folder: Path) -> Path:
    from mapush.reports.evaluation_report import Setting, write_evaluation

    _write_json(folder / RESULTS, _values(config, evaluations))
    setting = Setting(config.task_name, config.num_envs, config.seed, config.sim.backend)
    groups = itertools.groupby(evaluations, lambda evaluation: evaluation.name)
    return write_evaluation(folder, setting, {name: list(group) for name, group in groups})


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
