"""Evaluate policies: `python -m mapush.evaluate [cuboid|tblock|cylinder|any|walk] [--checkpoint RUN_OR_FILE] ...`."""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence, Tuple

from rich.console import Console

from mapush.assembly import resolve, share_the_cores
from mapush.device.gpu_errors import gpu_errors
from mapush.errors import ConfigError, MapushError
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.evaluation.kept_files import require_absent
from mapush.evaluation.kept_results import (
    ACCEPTANCE,
    FOLDER,
    NAME,
    SUFFIX,
    UNTRAINED,
    Basis,
    read,
    require_coverable,
    variant_of,
    write_kept,
)
from mapush.evaluation.loaded_policy import load_in_env, named_paths, require_readable
from mapush.evaluation.play import first_episodes, label_of, progress_for
from mapush.evaluation.policy_formats import LoadedPolicy, is_run
from mapush.evaluation.results import Evaluation
from mapush.evaluation.shipped_policies import shipped_for
from mapush.run import command_line
from mapush.run.folder import CONFIG
from mapush.run.shown_progress import ShownProgress, SilentProgress
from mapush.sim import ISAAC_GYM, OF_MQE

if TYPE_CHECKING:
    from mapush.env.metrics import EvaluationMetrics, FirstEpisodes
    from mapush.env.vec_env import VecEnv
    from mapush.evaluation.acceptance import AcceptanceResult
    from mapush.sim.walking import WalkingPolicy


# -- modes -----------------------------------------------------------------------------------------------------------


def evaluate(config: EvaluateConfig, show_progress: bool = False) -> List[Evaluation]:
    """Measure every policy that `config` names by the published protocol; the checkpoints of a run oldest first.

    Each env is reset once and counts until its first episode ends, or its share of `config.episodes`; actions are the
    means of the policies. If a report was requested, the newest policy of each run is traced.

    Args:
      config: what is evaluated.
      show_progress: show on stderr how far it is.

    Raises:
      CheckpointError: a checkpoint is missing or does not fit.
    """
    named = named_paths(config)
    count = sum(len(paths) for paths in named.values())
    tasks: List[Tuple[EvaluateConfig, str, Optional[Path], bool, str]] = []
    for name, paths in named.items():
        for path in paths:
            label = ""
            if show_progress:
                label = label_of(path, len(tasks) + 1, count)
            tasks.append((config, name, path, path == paths[-1], label))
    if len(tasks) > 1:
        with progress_for(tasks[0][-1]) as progress:
            progress.stage(f"reading {count} checkpoints")
            require_readable([path for _, _, path, _, _ in tasks], config.task_name)
    if config.sim.backend != ISAAC_GYM or len(tasks) == 1:
        return [_measure(*task) for task in tasks]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:  # Isaac Gym runs once in a process
        return pool.starmap(_measure, tasks, chunksize=1)


def _measure(config: EvaluateConfig, name: str, path: Optional[Path], newest: bool, label: str) -> Evaluation:
    """Measure one policy; trace it if it is the newest of its run and a report was requested.

    Args:
      config: what is evaluated.
      name: name of the policy or run.
      path: the checkpoint; None for untrained weights.
      newest: whether it is the newest of its run.
      label: what the progress calls it; "" shows none.
    """
    with progress_for(label) as progress:
        return _measure_watched(config, name, path, newest, label, progress)


def _measure_watched(
    config: EvaluateConfig, name: str, path: Optional[Path], newest: bool, label: str, progress: SilentProgress
) -> Evaluation:
    progress.stage(f"{label}: loading policy and simulator")
    resolve(config)  # in a new process, Isaac Gym has to come before torch
    team = load_in_env(config, path, config.envs)
    with contextlib.closing(team.env):
        tracer = None
        if config.report is not None and newest and config.sim.backend not in OF_MQE:
            from mapush.env.push import PushEnv
            from mapush.evaluation.traces import Tracer

            assert isinstance(team.env, PushEnv), "a report is about pushing tasks"
            tracer = Tracer(team.env)
        _say_what_is_left_out(team.policy)
        progress.stage(label, config.episodes or config.envs, "episodes")
        first = first_episodes(team.env, team.policy.agent, config.episodes, progress)
        progress.finish(f"{label}: {first.episodes} episodes, success {first.mean_so_far('success'):.3f}")
        trace = None
        if tracer is not None:
            trace = tracer.trace(first.outcome)
        return Evaluation(
            path,
            team.policy.step,
            first.metrics(),
            name,
            trace,
            steps_per_decision=team.env.steps_per_decision,
            rate_from=team.policy.rate_from,
            kinds=_metrics_of_kinds(team.env, first),
        )


def _metrics_of_kinds(env: VecEnv, first: FirstEpisodes) -> Dict[str, EvaluationMetrics]:
    """Return the metrics of each object and team size of an environment that mixes them; {} for any other."""
    from mapush.env.mixed_env import MixedEnv

    if not isinstance(env, MixedEnv):
        return {}
    found: Dict[str, EvaluationMetrics] = {}
    start = 0
    for name, group in env.groups.items():
        found[name] = first.metrics(slice(start, start + group.num_envs))
        start += group.num_envs
    return found


def _say_what_is_left_out(policy: LoadedPolicy) -> None:
    if policy.left_out:
        flags = " ".join(f"--reward-terms {term}" for term in policy.left_out)
        print(f"returns are without the run's own reward terms; to execute their code, add {flags}", flush=True)


def evaluate_walk(config: EvaluateConfig, show_progress: bool = False) -> List[AcceptanceResult]:
    """Run the acceptance tests on the walking policy that `config` names.

    Args:
      config: what is evaluated.
      show_progress: show on stderr how far it is.

    Raises:
      CheckpointError: a checkpoint is missing or does not fit.
    """
    label = ""
    if show_progress:
        label = "walking policy"
    with progress_for(label) as progress:
        progress.stage(f"{label}: loading policy and simulator")
        from mapush.evaluation.acceptance import run_acceptance

        return run_acceptance(_walking_policy(config), config.sim, config.seed, progress=progress)


def _walking_policy(config: EvaluateConfig) -> WalkingPolicy:
    """Return the policy, on the simulator's device."""
    from mapush.evaluation.walking_networks import walking_policy
    from mapush.sim.walking import WalkingPolicy

    device = "cuda" if config.sim.backend == "warp" else "cpu"
    if not config.checkpoint:
        return WalkingPolicy.load(device=device)
    policy, _ = walking_policy(config.checkpoint[0], config.stand_checkpoint, device)
    return policy


# -- command line ----------------------------------------------------------------------------------------------------


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Parse the command line, evaluate and report.

    Returns:
      0; 1 if a walking policy failed an acceptance test; 2 after an error.
    """
    share_the_cores()
    try:
        with gpu_errors():
            _refuse_to_export(argv)
            return _run(command_line.parse(EvaluateConfig, argv, "evaluate"))
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2


def _refuse_to_export(argv: Optional[Sequence[str]]) -> None:
    words = sys.argv[1:] if argv is None else argv
    for word in words:
        if word.partition("=")[0] == "--export":
            fix = "mapush export RUN_OR_FILE FILE.onnx; also .jit, .pt, .npz, or a folder for HARL"
            raise ConfigError("evaluate does not export policies", fix=fix)


def _run(config: EvaluateConfig) -> int:
    with ShownProgress() as progress:
        progress.stage(_title(config))
        _require_outputs(config)
        if config.env is None:
            progress.stage(f"{_title(config)}: choosing the simulator")
            config, reason = resolve(config)
    if config.env is not None:
        return _report_own(config, config.env)
    print(f"simulator {config.sim.backend} ({reason})", flush=True)
    if config.task_name != "walk" and not config.checkpoint and not config.untrained:
        print(shipped_for(config), flush=True)
    if config.mode == "viewer":
        from mapush.viewer.watch_policy import watch_policy

        watch_policy(config)
        return 0
    if config.task_name == "walk":
        return _report_walk(config)
    return _report_push(config)


def _title(config: EvaluateConfig) -> str:
    """Return what the command was asked to do, in a few words."""
    verb = "evaluating"
    if config.mode == "viewer":
        verb = "watching"
        if config.record is not None:
            verb = "recording"
    if config.env is not None:
        return f"{verb} in {config.env}"
    return f"{verb} {config.task_name}"


def _report_walk(config: EvaluateConfig) -> int:
    from mapush.reports.tables import acceptance_table

    results = evaluate_walk(config, show_progress=True)
    Console().print(acceptance_table(results))
    rows = [result.as_dict() for result in results]
    _write_json(config, {"task": "walk", "seed": config.seed, "results": rows})
    if all(result.passed for result in results):
        return 0
    return 1


def _report_own(config: EvaluateConfig, env: str) -> int:
    from mapush.evaluation.own_env import evaluate_own
    from mapush.reports.tables import own_table

    print(f"environment {env}, one decision per step of it", flush=True)
    evaluations = evaluate_own(config, show_progress=True)
    for evaluation in evaluations:
        Console().print(own_table(evaluation))
    if "success" not in evaluations[0].measures:
        print("success is not known: infos[env][0]['outcome'] of your environment has no 'success' where episodes end")
    rows = [evaluation.as_dict() for evaluation in evaluations]
    _write_json(config, {"env": env, "seed": config.seed, "results": rows})
    return 0


def _report_push(config: EvaluateConfig) -> int:
    evaluations = evaluate(config, show_progress=True)
    for name, of_name in _by_name(evaluations).items():
        _print_and_write(config, name, of_name)
    _write_json(config, _values(config, evaluations))
    if config.report is not None:
        print(f"report: {_write_report(config, evaluations, config.report)}")
    return 0


def _require_outputs(config: EvaluateConfig) -> None:
    """Refuse, before anything is loaded, files that could not be written at the end.

    Raises:
      ConfigError: they hold something that is worth more, or cannot be written.
    """
    if config.record is not None:
        from mapush.viewer.films.film_file import require_writable

        require_absent(config.record, config.overwrite, "recording")
        require_writable(config.record)
    if config.json is not None:
        require_coverable(config.json, _planned(config), config.overwrite)
    if config.report is not None:
        from mapush.reports.evaluation_report import RESULTS, require_folder

        require_folder(config.report, config.overwrite)
        require_coverable(config.report / RESULTS, _planned(config), config.overwrite)


def _planned(config: EvaluateConfig) -> Basis:
    """Return what the results will be based on, if every environment has as many envs as it was asked for."""
    if config.task_name == "walk" and config.env is None:
        return {ACCEPTANCE: 1}
    episodes = config.episodes or config.envs
    planned: Basis = {}
    for paths in named_paths(config).values():
        for path in paths:
            planned[str(path or UNTRAINED)] = episodes
    return planned


def _by_name(evaluations: Sequence[Evaluation]) -> Dict[str, List[Evaluation]]:
    """Group evaluations by policy or run, in their order."""
    groups: Dict[str, List[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault(evaluation.name, []).append(evaluation)
    return groups


def _print_and_write(config: EvaluateConfig, name: str, evaluations: Sequence[Evaluation]) -> None:
    """Print the measures of one policy or run; for a run, write them to its folder as well."""
    from mapush.reports.tables import kinds_table, metrics_table, run_table

    print(f"{name}: {evaluations[0].decision_rate}")
    if Path(name) in config.checkpoint and is_run(Path(name)):
        Console().print(run_table(evaluations))
        _write_run(config, evaluations, Path(name))
    else:
        Console().print(metrics_table(evaluations[0]))
    if evaluations[-1].kinds:
        Console().print(kinds_table(evaluations[-1]))


def _values(config: EvaluateConfig, evaluations: Sequence[Evaluation]) -> Dict[str, Any]:
    results = [evaluation.as_dict() for evaluation in evaluations]
    episodes = config.episodes or config.num_envs
    setting = {"task": config.task_name, "num_envs": config.num_envs, "episodes": episodes, "seed": config.seed}
    return dict(setting, results=results)


def _write_run(config: EvaluateConfig, evaluations: Sequence[Evaluation], run: Path) -> None:
    """Write results and curve into the folder of a run; results that are based on more episodes are kept."""
    from mapush.reports.tables import success_csv, success_curve

    other_task = _other_task(config, run)
    name = NAME + variant_of(config.steps_per_decision, config.upstream_quirks, other_task, config.num_agents)
    path = run / FOLDER / (name + SUFFIX)
    written = write_kept(path, _values(config, evaluations), by="step")
    curve = written.with_name(written.stem.replace(NAME, "success", 1))
    success_curve({"this run": evaluations}, config.task_name, curve.with_suffix(".png"))
    success_csv({"this run": evaluations}, config.task_name, curve.with_suffix(".csv"))
    if written != path:
        print(f"kept: {path}, whose results are based on more episodes or other checkpoints")
    print(f"results and curve are in {written.parent}: {written.name}, {curve.name}.png, {curve.name}.csv")


def _other_task(config: EvaluateConfig, run: Path) -> Optional[str]:
    """Return the task that is evaluated if the run trained a different one, as one for any team does; else None."""
    values = read(run / CONFIG) or {}
    if values.get("task_name", config.task_name) == config.task_name:
        return None
    return config.task_name


def _write_report(config: EvaluateConfig, evaluations: Sequence[Evaluation], folder: Path) -> Path:
    from mapush.reports.evaluation_report import RESULTS, Setting, write_evaluation

    write_kept(folder / RESULTS, _values(config, evaluations), overwrite=True)  # `_require_outputs` has checked it
    setting = Setting(config.task_name, config.envs, config.seed, config.sim.backend, config.episodes)
    with ShownProgress() as progress:
        progress.stage("writing the report")
        return write_evaluation(folder, setting, _by_name(evaluations), progress=progress)


def _write_json(config: EvaluateConfig, values: Dict[str, Any]) -> None:
    """Write the results to the file that the user named, if any; say so if something better is there by now."""
    if config.json is None:
        return
    written = write_kept(config.json, values, config.overwrite)
    if written != config.json:
        print(f"kept: {config.json}, whose results are based on more; the new ones are in {written}")


if __name__ == "__main__":
    sys.exit(main())
