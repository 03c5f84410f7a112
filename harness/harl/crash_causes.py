"""Explains what ended a run of the user's runner: the likely cause in the first line, and the line to edit."""

from __future__ import annotations

import re
import traceback
from typing import Any, Callable, List, Optional, Tuple

import numpy as np

from harness.findings import ContractError, NotJudgedError
from harness.harl import logger_checks, run_checks
from harness.harl.harl_tables import num_agents_of
from harness.harl.probe import LeastBox
from harness.harl.settings import NUM_ROLLOUTS
from harness.harl.toy_env import ToyEnv
from harness.harl.trial import TrainsForEverError, Trial
from harness.harl.users_lines import innermost_place, place_of, returned_place
from harness.interface.harl_forms import ONE_NONE_EACH, PLAIN_NONE, form_of
from harness.interface.infos import describe
from harness.interface.player import first_line
from harness.interface.spaces import read_sizes
from harness.interface.step_checks import check_shape, check_tuple
from mapush.errors import ConfigError

RESET_PARTS = ("obs", "share_obs", "available_actions")
STEP_PARTS = ("obs", "share_obs", "rewards", "dones", "infos", "available_actions")
PACKAGES_OF_HARL = {
    "setproctitle": "setproctitle",
    "tensorboardX": "tensorboardX",
    "absl": "absl-py",
    "cloudpickle": "cloudpickle",
    "yaml": "pyyaml",
}
SIZES_IN_MESSAGE = re.compile(r"size of tensor a \((\d+)\) must match the size of tensor b \((\d+)\)")
LONGEST_SHOWN = 60  # characters of an info
CALLED_AS = "Runner(args, algo_args, env_args): three dicts, as HARL's examples/train.py calls it"


def explain(trial: Trial) -> ContractError:
    """Return the finding that explains what ended a run; its `contract` names the check that it belongs to.

    Raises:
      NotJudgedError: the toy lacks something that the runner needs.
      ConfigError: HARL needs a package that is not installed.
    """
    error = trial.error
    assert error is not None
    for rule in RULES:
        finding = rule(trial, error)
        if finding is not None:
            return finding
    return _unknown(trial, error)


def _finding(contract: str, what: str, **details: Any) -> ContractError:
    return ContractError(what, contract=contract, **details)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _where(trial: Trial, error: BaseException) -> str:
    """Return the innermost line of the user's in a traceback; HARL's, and the user's class, if there is none."""
    line = trial.files.innermost(error, trial.files_of_classes)
    if line is not None:
        return line
    own = place_of(trial.make_runner)
    if trial.runner is not None:
        own = trial.place_of_method("run", "__init__")
    return f"{innermost_place(error)}, called by {own}"


# -- of the run as a whole --------------------------------------------------------------------------------------------


def _trains_for_ever(trial: Trial, error: BaseException) -> Optional[ContractError]:
    if not isinstance(error, TrainsForEverError):
        return None
    return _finding(
        "runs",
        f"the runner trains for ever: {trial.updates} updates, and num_env_steps asks for {NUM_ROLLOUTS}",
        where=_where(trial, error),
        cause="run() takes the number of iterations from somewhere else than num_env_steps",
        fix="int(num_env_steps) // episode_length // n_rollout_threads iterations",
    )


def _missing_package(trial: Trial, error: BaseException) -> Optional[ContractError]:
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.split(".")[0] in PACKAGES_OF_HARL:
        name = error.name.split(".")[0]
        raise ConfigError(
            "HARL needs packages that are not installed",
            where=trial.harl.name,
            got=str(error),
            cause="setup.py of HARL does not name them all, and a checkout installs none",
            fix=f"python -m pip install {PACKAGES_OF_HARL[name]}",
        )
    return None


def _other_signature(trial: Trial, error: BaseException) -> Optional[ContractError]:
    frames = traceback.extract_tb(error.__traceback__)
    if not isinstance(error, TypeError) or trial.runner is not None or len(frames) > 1:
        return None
    return _finding(
        "runs",
        f"the runner cannot be called as HARL calls runners: {str(error)}",
        where=place_of(getattr(trial.make_runner, "__init__", trial.make_runner)) or place_of(trial.make_runner),
        expected=CALLED_AS,
        cause="its constructor has other arguments",
        fix="name a function that takes the three dicts and returns the runner: package.module:make_runner",
    )


def _toy_lacks(trial: Trial, error: BaseException) -> Optional[ContractError]:
    if trial.maker is None or not isinstance(error, AttributeError):
        return None
    for kind, place in ((ToyEnv, "envs."), (LeastBox, "a space's ")):
        if str(error).startswith(f"'{kind.__name__}' object has no attribute "):
            name = str(error).split("'")[3]
            raise NotJudgedError(f"the runner needs {place}{name}, which the toy lacks: run it with --real")
    return None


def _of_logger(trial: Trial, error: BaseException) -> Optional[ContractError]:
    finding = logger_checks.crash_cause(trial, error)
    if finding is not None:
        finding.contract = "logger-environment"
    return finding


def _of_shared_evaluation(trial: Trial, error: BaseException) -> Optional[ContractError]:
    """Explain an exception during an evaluation that runs on the training environment."""
    if trial.runner is None or not _raised_in(error, "eval") or trial.steps_in_evaluations == 0:
        return None
    try:
        run_checks.own_evaluation(trial)
    except ContractError as finding:
        finding.contract = "own-evaluation"
        finding.got = f"{finding.got}; {_text(error)}"
        return finding
    return None


def _reads_unknown_setting(trial: Trial, error: BaseException) -> Optional[ContractError]:
    if not isinstance(error, KeyError) or trial.runner is not None:
        return None
    return _finding(
        "runs",
        f"the runner reads the setting or key {error}, which does not exist",
        where=_where(trial, error),
        cause="a setting of your own, which HARL's files lack; or a table of HARL without your name",
        fix="write it to the yaml file, or give it with --config FILE",
    )


# -- of what the environment returned ---------------------------------------------------------------------------------


def _in_step(trial: Trial, error: BaseException) -> Optional[ContractError]:
    """Explain an exception inside of the environment's own `step` or `reset`."""
    recorder = trial.training
    if recorder is None or not _raised_in(error, "_watched_step", "_watched_reset"):
        return None
    envs, agents = trial.settings.train["n_rollout_threads"], num_agents_of(recorder.env)
    found = SIZES_IN_MESSAGE.search(str(error))
    if found and {int(found.group(1)), int(found.group(2))} == {envs, agents}:
        return _finding(
            "env-forms",
            "actions are transposed: envs and agents are exchanged on their way into the simulator",
            where=_where(trial, error),
            got=f"{_text(error)}; {envs} is n_rollout_threads, {agents} is the number of agents",
            expected=f"actions ({envs}, {agents}, action_dim), as HARL's runner hands them over",
            cause="step() transposes actions that already are (num_envs, num_agents, action_dim)",
            fix="torch.from_numpy(actions) without transpose(1, 0, 2)",
        )
    return _finding(
        "env-forms",
        f"the environment's {recorder.last_call} raises {_text(error)}",
        where=_where(trial, error),
        got=_sizes_in_words(str(error), envs, agents),
        expected="no exception, whatever the actions",
    )


def _sizes_in_words(text: str, envs: int, agents: Optional[int]) -> Optional[str]:
    """Return which number of a message is which size."""
    numbers = set(map(int, re.findall(r"\b\d+\b", text)))
    names = []
    for number, name in ((envs, "n_rollout_threads"), (agents, "the number of agents")):
        if number in numbers:
            names.append(f"{number} is {name}")
    return ", ".join(names) or None


def _of_size(trial: Trial, error: BaseException) -> Optional[ContractError]:
    try:
        run_checks.require_size(trial)
    except ContractError as finding:
        finding.contract = "env-size"
        finding.got = f"{finding.got}; {_text(error)}"
        return finding
    return None


def _of_shapes(trial: Trial, error: BaseException) -> Optional[ContractError]:
    """Explain an exception of HARL by the shape or type of what the environment returned."""
    recorder = trial.training
    if recorder is None or recorder.returned is None:
        return None
    names: Tuple[str, ...] = RESET_PARTS
    shaped, step = 2, 0  # obs and share_obs
    if recorder.last_call == "step":
        names, shaped, step = STEP_PARTS, 4, recorder.num_steps
    function = getattr(type(recorder.env), recorder.last_call)
    index = 0
    try:
        check_tuple(recorder.returned, names, "env-forms", f"step {step}", step)
        sizes = read_sizes(recorder.env, trial.settings.train["n_rollout_threads"])
        for index, name in enumerate(names[:shaped]):
            check_shape(name, recorder.returned[index], sizes, "env-forms", step)
    except ContractError as finding:
        place = returned_place(function, index)
        return _finding(
            "env-forms",
            f"{finding.what}: {finding.cause or 'HARL cannot use it'}",
            where=place,
            got=_text(error),
            expected=finding.expected,
            cause=finding.cause,
            fix=finding.fix,
        )
    return None


def _of_infos(trial: Trial, error: BaseException) -> Optional[ContractError]:
    recorder = trial.training
    if recorder is None or recorder.last_call != "step" or not _raised_in(error, "insert"):
        return None
    infos = recorder.returned[4]
    wanted = [0]
    if trial.settings.state_type == "FP":
        wanted = list(range(num_agents_of(recorder.env) or 1))
    refused = _refused_info(infos, wanted)
    if refused is None:
        return None
    env, agent, got = refused
    return _finding(
        "env-forms",
        f"infos have no dict under agent {agent}, which HARL reads at every step: infos[{env}] is {got}",
        where=returned_place(type(recorder.env).step, 4),
        got=f"{_text(error)}, at step {recorder.num_steps} of env {env}",
        expected=f"infos[env][{agent}] is a dict, in every step",
        cause=f"in {trial.settings.state_type} mode the runner looks for bad_transition in "
        + ("info[0]" if wanted == [0] else "info[agent] of every agent"),
        fix="infos = [{0: {}} for _ in range(num_envs)] in EP mode; a dict for each agent in FP mode",
    )


def _refused_info(infos: Any, wanted: List[int]) -> Optional[Tuple[int, int, str]]:
    """Return env, agent and description of the first info that HARL cannot read."""
    if not hasattr(infos, "__iter__"):
        return 0, wanted[0], describe(infos)
    for env, info in enumerate(infos):
        for agent in wanted:
            try:
                info[agent].keys()
            except (KeyError, IndexError, TypeError, AttributeError):
                got = repr(info)
                if len(got) > LONGEST_SHOWN:
                    got = describe(info)
                return env, agent, got
    return None


def _raised_in(error: BaseException, *functions: str) -> bool:
    names = []
    for frame in traceback.extract_tb(error.__traceback__):
        names.append(frame.name)
    return bool(set(functions) & set(names))


def _of_available(trial: Trial, error: BaseException) -> Optional[ContractError]:
    recorder = trial.training
    if recorder is None or not _raised_in(error, "insert", "eval", "warmup", "render"):
        return None
    if not isinstance(recorder.returned, tuple):
        return None
    available = recorder.returned[-1]
    form = form_of(available, trial.settings.train["n_rollout_threads"])
    if form == ONE_NONE_EACH or not isinstance(error, (TypeError, IndexError, ValueError)):
        return None
    why = "its buffer has no place for it if actions are continuous"
    if form == PLAIN_NONE:
        why = "this HARL's runner indexes it without asking whether it is None"
    return _finding(
        "env-forms",
        f"available_actions is {form}, which this HARL does not accept: {why}",
        where=returned_place(getattr(type(recorder.env), recorder.last_call), len(recorder.returned) - 1),
        got=f"{_text(error)} at {innermost_place(error)}",
        expected=ONE_NONE_EACH,
        cause="continuous actions have no masks",
        fix=f"return {ONE_NONE_EACH}; or guard the runner: available_actions is not None and ...",
    )


def _unknown(trial: Trial, error: BaseException) -> ContractError:
    """Return the finding of an exception that no rule knows."""
    numbers = None
    if isinstance(error, (ValueError, RuntimeError, IndexError)):
        agents = trial.training and num_agents_of(trial.training.env)
        numbers = _sizes_in_words(str(error), trial.settings.train["n_rollout_threads"], agents or None)
    return _finding(
        "runs",
        f"the runner raises {_text(error)}, while {trial.error_in}",
        where=_where(trial, error),
        got=numbers,
        expected="no exception",
        cause=_non_finite(trial),
    )


def _non_finite(trial: Trial) -> Optional[str]:
    recorder = trial.training
    if recorder is None or not recorder.steps:
        return None
    for name in ("obs", "share_obs", "rewards"):
        value = getattr(recorder.steps[-1], name)
        if value is not None and not np.isfinite(value).all():
            return f"{name} of the environment holds NaN or infinity"
    return None


RULES: Tuple[Callable[[Trial, BaseException], Optional[ContractError]], ...] = (
    _trains_for_ever,
    _missing_package,
    _other_signature,
    _toy_lacks,
    _of_logger,
    _of_shared_evaluation,
    _reads_unknown_setting,
    _in_step,
    _of_size,
    _of_infos,
    _of_available,
    _of_shapes,
)
