"""Checks of the run as a whole, and of what the environment returns to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.findings import ContractError, NotJudgedError
from harness.harl.runner_checks import judges
from harness.harl.settings import NUM_ROLLOUTS
from harness.harl.trial import Trial
from harness.harl.users_lines import place_of
from harness.interface.harl_forms import ONE_NONE_EACH, UPSTREAM, form_of


@judges("runs")
def runs(trial: Trial) -> None:
    """The runner is made as HARL makes runners, trains as long as it is told to, and raises nothing."""
    if trial.error is not None:
        raise NotJudgedError("see above")  # the crash is a finding of its own
    if trial.updates == 0 and not hasattr(trial.runner, "actor_buffer"):
        raise NotJudgedError("it ended without an exception, and no update was seen: is it off-policy?")
    if trial.updates == 0:
        raise ContractError(
            "the runner trains nothing: no update was made",
            where=place_of(type(trial.runner)),
            expected=f"{NUM_ROLLOUTS} updates, as num_env_steps, episode_length and n_rollout_threads say",
            cause="run() does not train through self.train, or the number of iterations is 0",
        )


@judges("env-size")
def env_size(trial: Trial) -> None:
    """The environment has as many envs as `n_rollout_threads` asks for."""
    _require_step(trial)
    if trial.training is None or not trial.training.steps or trial.training.steps[0].obs is None:
        raise NotJudgedError("obs is no numpy array")
    require_size(trial)


def require_size(trial: Trial) -> None:
    """Raise if what the environment returned belongs to another number of envs than was asked for."""
    asked = trial.settings.train["n_rollout_threads"]
    recorder = trial.training
    obs: Any = recorder.returned[0] if recorder is not None and isinstance(recorder.returned, tuple) else None
    shape = np.shape(obs) if hasattr(obs, "shape") else ()
    if recorder is None or not shape or shape[0] == asked or recorder.evaluates:
        return
    raise ContractError(
        f"the environment has {shape[0]} envs where n_rollout_threads asks for {asked}",
        where=place_of(type(recorder.env).__init__) or place_of(type(recorder.env)),
        got=f"obs of shape {tuple(shape)}",
        expected=f"({asked}, num_agents, obs_dim)",
        cause="the number never reaches the simulator, which takes its own default: its settings are not passed on "
        "(for MAPush: custom_cfg(args)), or another key than n_threads is read",
        fix='read env_args["n_threads"], and hand it to the simulator',
    )


@judges("env-forms")
def env_forms(trial: Trial) -> None:
    """This HARL accepts what the environment returns: shapes, infos and available_actions."""
    _require_step(trial)
    add_notes_on_forms(trial)


def _require_step(trial: Trial) -> None:
    if trial.maker is not None:
        raise NotJudgedError("the environment is a toy: judge yours with --real")
    if trial.training is None or trial.training.num_steps == 0:
        raise NotJudgedError("no step of the environment was seen")


def add_notes_on_forms(trial: Trial) -> None:
    """Note what this HARL accepts and upstream's does not, or what a different mode would read."""
    recorder = trial.training
    if recorder is None or not isinstance(recorder.returned, tuple) or len(recorder.returned) != 6:
        return
    infos, available = recorder.returned[4:]
    form = form_of(available, trial.settings.train["n_rollout_threads"])
    discrete = _is_discrete(recorder.env)
    if form != ONE_NONE_EACH and not discrete:
        trial.notes.append(
            f"available_actions is {form}: {trial.harl.name} accepts it; {UPSTREAM.name} needs {ONE_NONE_EACH}"
        )
    if trial.settings.state_type == "EP" and recorder.steps and np.isnan(recorder.steps[-1].flags[:, 1:]).any():
        trial.notes.append("infos hold agent 0 only: HARL's EP mode reads no other; FP mode would need every agent's")


def _is_discrete(env: Any) -> bool:
    return "Discrete" in type(env.action_space[0]).__name__


@judges("own-evaluation")
def own_evaluation(trial: Trial) -> None:
    """An evaluation runs on an environment of its own, and takes no step of the training environment."""
    runner = trial.runner
    if runner is None:
        raise NotJudgedError("the runner was not made")
    eval_envs = getattr(runner, "eval_envs", None)
    if eval_envs is None and trial.evaluations == 0:
        raise NotJudgedError("use_eval is False, or the runner does not evaluate")
    shared = eval_envs is not None and eval_envs is trial.envs
    if not shared and trial.steps_in_evaluations == 0:
        if trial.evaluations == 0:
            raise NotJudgedError("no evaluation was seen")
        return
    raise ContractError(
        "the evaluation runs on the training environment",
        where=trial.place_of_method("eval", "__init__"),
        got=f"{trial.steps_in_evaluations} steps of the training environment in {trial.evaluations} evaluations",
        expected="eval_envs of its own",
        cause="eval_envs is the training environment: the next action after an evaluation answers an observation of "
        "before it, and running sums of episodes are stale",
        fix="make a second environment for eval_envs; where a process can hold one simulation only, set use_eval False "
        "and evaluate in another process",
    )
