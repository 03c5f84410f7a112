"""Checks of the user's logger: it has its environment, logs what an onlooker counts, and does not grow."""

from __future__ import annotations

import collections
import contextlib
import importlib.util
import io
import math
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from harness.findings import ContractError, NotJudgedError
from harness.harl.run_recording import LoggedScalar, StatisticsCall
from harness.harl.runner_checks import judges
from harness.harl.trial import Trial
from harness.harl.users_lines import place_of, trees_of_class
from harness.harl.users_logger import LoggersCode, line_that_grows, who_sets

MIN_LOGS = 2
CYCLES, LOOKS = 60, 3  # of the logger's callbacks, without training; how often its size is measured
MIN_GROWTH = 2.0  # entries per log: an entry for each log is a curve, an entry for each episode is a leak
TOLERANCE = 1e-4  # relative, of float32 sums
RETURN_TAG = "train_episode_rewards"
WORDS_OF_RATES = ("success", "collision")
RESET_METHOD = re.compile(r"def (\w*(?:reset|clear)\w*stat\w*)\(")
NOT_THE_LOGGERS = ("writter", "writer", "args", "algo_args", "env_args")


def _code(trial: Trial) -> LoggersCode:
    """Return what the logger's code says of its environment.

    Raises:
      NotJudgedError: nothing, or it is not the user's logger.
    """
    if "table-logger" in trial.tables.problems:
        raise NotJudgedError("the runner finds no logger of yours: see table-logger")
    if trial.logger is None:
        raise NotJudgedError("the runner has no logger")
    code = trial.code
    if code is None:
        raise NotJudgedError("the logger asks its environment for nothing")
    if not trial.logs:
        raise NotJudgedError("nothing was logged")
    return code


# -- the environment of the logger ------------------------------------------------------------------------------------


@judges("logger-environment")
def logger_environment(trial: Trial) -> None:
    """The logger has the training environment before it logs for the first time."""
    code = _code(trial)
    if trial.logs[0].has_env or trial.logs[0].gets:
        return
    raise without_env(trial, code)


def without_env(trial: Trial, code: LoggersCode, got: Optional[str] = None) -> ContractError:
    """Return the finding of a logger that has no environment when it needs one.

    Args:
      trial: the run.
      code: what the logger's code says.
      got: what happened instead.
    """
    name, attribute = code.kind.__name__, code.attribute
    owners: List[type] = []
    if trial.runner is not None:
        owners.append(type(trial.runner))
    if isinstance(trial.make_runner, type):
        owners.append(trial.make_runner)
    setters = who_sets(attribute, owners, trial.files)
    what = f"{name} never gets its environment: nobody sets {attribute}"
    where, cause = code.where, "its statistics are missing from every log, silently if it asks hasattr first"
    if setters or (trial.logger is not None and trial.logger_has_env()):
        what = f"{name} gets its environment too late: after it has logged"
        cause = f"{attribute} is set in a line that runs after the training has begun"
        if setters:
            where = f"{setters[0]}; it is read at {code.where}"
    return ContractError(
        what,
        where=where,
        got=got or f"at the first log, no attribute of {name} is the training environment",
        expected=f"self.{attribute} is runner.envs before run() begins",
        cause=cause,
        fix=f"self.{attribute} = None in {name}.__init__, and self.logger.set_envs(self.envs) at the end of the "
        "runner's __init__",
    )


# -- statistics of the environment ------------------------------------------------------------------------------------


@judges("logger-statistics")
def logger_statistics(trial: Trial) -> None:
    """The environment's statistics are read at every log, reset after it, and logged as they are."""
    code = _code(trial)
    if not code.getters:
        raise NotJudgedError("the logger reads no statistics of its environment")
    if not trial.logs[0].has_env:
        raise NotJudgedError("the logger has no environment: see logger-environment")
    if len(trial.logs) < MIN_LOGS:
        raise NotJudgedError(f"{len(trial.logs)} logs were seen, {MIN_LOGS} are needed")
    _require_reads(trial, code)
    _require_resets(trial, code)
    _require_same_rates(trial, code)


def _require_reads(trial: Trial, code: LoggersCode) -> None:
    getter = code.getters[0]
    if "get" in trial.kinds_of_statistics:
        return
    if hasattr(trial.envs, getter):
        raise NotJudgedError(
            f"{getter} was not called in {len(trial.logs)} logs: a condition before the call was false"
        )
    raise ContractError(
        f"the environment has no {getter}, which the logger asks for",
        where=code.methods[getter],
        got=f"0 calls in {len(trial.logs)} logs",
        expected="one in every log",
        cause="hasattr is False, so no statistics are logged, silently",
    )


def _require_resets(trial: Trial, code: LoggersCode) -> None:
    """Raise if statistics are not reset between two logs, or before they are read."""
    kinds = trial.kinds_of_statistics
    getter = code.getters[0]
    if "reset" not in kinds:
        resetter = code.resetters[0] if code.resetters else _resetter_of_env(trial)
        if resetter is None:
            trial.notes.append(f"nobody resets what {getter} returns: it is judged as a moving window")
            return
        raise ContractError(
            f"statistics are never reset: {resetter} is not called",
            where=code.methods.get(resetter, code.methods[getter]),
            got=f"{kinds.count('get')} calls of {getter}, none of {resetter}",
            expected=f"{resetter} after each log",
            cause="each log shows all episodes since the start, and what the environment keeps of them grows",
            fix=f"self.{code.attribute}.{resetter}() after they are logged",
        )
    for earlier, later in zip(trial.statistics, trial.statistics[1:]):
        if earlier.kind == "reset" and later.kind == "get" and earlier.env_steps == later.env_steps > 0:
            raise ContractError(
                "statistics are reset before they are read: every log shows none",
                where=code.methods[getter],
                got=f"a reset and then {getter} at the same step",
                cause="the order of two lines is wrong",
            )


def _resetter_of_env(trial: Trial) -> Optional[str]:
    """Return the method of the user's environment that resets statistics, if it has one."""
    texts: List[str] = []
    if trial.maker is None:
        texts = [f"def {name}(" for name in dir(type(trial.envs))]
    elif trial.tables.module_of_env:
        with contextlib.suppress(ImportError, ValueError, OSError, AttributeError):
            spec: Any = importlib.util.find_spec(trial.tables.module_of_env)
            texts = [Path(spec.origin).read_text(encoding="utf-8")]
    for text in texts:
        found = RESET_METHOD.search(text)
        if found:
            return found.group(1)
    return None


def _logged(trial: Trial, log: int, word: str) -> List[LoggedScalar]:
    """Return what was written in a log under tags that contain a word."""
    logged: List[LoggedScalar] = []
    for scalar in trial.scalars:
        if scalar.log == log and word in scalar.tag.lower():
            logged.append(scalar)
    return logged


def _shares_a_value(logged: Sequence[LoggedScalar], said: Sequence[float]) -> bool:
    for scalar in logged:
        for value in said:
            if _close(scalar.value, value):
                return True
    return False


def _require_same_rates(trial: Trial, code: LoggersCode) -> None:
    """Raise if a rate that is logged differs from what the environment said at that log."""
    compared = 0
    for call in trial.statistics:
        if call.kind != "get" or not hasattr(call.result, "items"):
            continue
        for word in WORDS_OF_RATES:
            said = _said(call, word)
            logged = _logged(trial, call.log, word)
            compared += bool(said and logged)
            if said and logged and not _shares_a_value(logged, said):
                raise ContractError(
                    f"the logged {logged[0].tag} is not what the environment says",
                    where=code.methods[code.getters[0]],
                    got=f"{logged[0].value:.6g} in log {call.log + 1}",
                    expected=f"{said[0]:.6g}",
                    cause="another key is read, or a number of another log",
                )
    if compared == 0:
        trial.notes.append("no logged number could be told to be a statistic: only reads and resets were judged")


def _said(call: StatisticsCall, word: str) -> List[float]:
    """Return the numbers under keys with a word, as fractions and in per cent."""
    numbers = []
    for key, value in call.result.items():
        if word in str(key).lower() and isinstance(value, (int, float, np.number)):
            numbers += [float(value), 100.0 * float(value)]
    return numbers


# -- returns and steps ------------------------------------------------------------------------------------------------


@judges("logger-returns")
def logger_returns(trial: Trial) -> None:
    """The logged mean return and the number of env steps are those that an onlooker counts."""
    if trial.logger is None or not trial.logs:
        raise NotJudgedError("nothing was logged")
    training = trial.training
    if training is None or len(training.steps) != training.num_steps:
        raise NotJudgedError("the steps of the environment were not recorded completely")
    logged = []
    for scalar in trial.scalars:
        if scalar.tag.startswith(RETURN_TAG) and scalar.log >= 0:
            logged.append(scalar)
    counted = _returns_by_log(trial)
    if not logged or not any(counted):
        raise NotJudgedError(f"no {RETURN_TAG} was written, or no episode ended")
    for scalar in logged:
        _require_count(trial, scalar, counted)
    _require_proportional_steps(trial, logged)


def _is_a_mean(value: float, means: np.ndarray, agents: int) -> bool:
    """Return whether a value is one of some means, or such a mean summed over the agents."""
    for mean in means:
        if _close(value, mean) or _close(value, mean * agents):
            return True
    return False


def _require_count(trial: Trial, scalar: LoggedScalar, counted: List[List[float]]) -> None:
    """Raise unless a mean is that of the episodes since the last log, or of a window that ends now."""
    returns = np.concatenate(counted[: scalar.log + 1])
    if len(returns) == 0 or not counted[scalar.log]:
        return
    expected = float(np.mean(counted[scalar.log]))
    means = np.cumsum(returns[::-1]) / np.arange(1, len(returns) + 1)
    if not _is_a_mean(scalar.value, means, trial.settings_of_agents):
        raise ContractError(
            f"the logged mean return is not that of the episodes that ended: {scalar.tag}",
            where=_place_in_logger(trial, "per_step", "episode_log"),
            got=f"{scalar.value:.6g} in log {scalar.log + 1}",
            expected=f"{expected:.6g}, counted from rewards and dones",
            cause="episodes of another log are counted again, or sums are not reset where an episode ends",
        )


def _require_proportional_steps(trial: Trial, logged: List[LoggedScalar]) -> None:
    """Raise unless what is written as the number of steps grows with the steps that were taken."""
    ratios = []
    for scalar in logged:
        if isinstance(scalar.step, (int, float)) and trial.logs[scalar.log].env_steps:
            ratios.append(scalar.step / trial.logs[scalar.log].env_steps)
    if ratios and max(ratios) > min(ratios) * (1.0 + TOLERANCE):
        raise ContractError(
            f"{logged[0].tag} is logged at another number of env steps than were taken",
            where=_place_in_logger(trial, "episode_log"),
            got=f"from {min(ratios):g} to {max(ratios):g} for each step of the environment",
            expected="a number that grows in proportion to the steps",
        )


def _returns_by_log(trial: Trial) -> List[List[float]]:
    """Return the returns of the episodes that ended before each log and after the one before it."""
    assert trial.training is not None
    steps = trial.training.steps
    running = np.zeros(trial.settings.train["n_rollout_threads"])
    by_log: List[List[float]] = []
    begin = 0
    for call in trial.logs:
        ended: List[float] = []
        for step in steps[begin : call.env_steps]:
            if step.rewards is None or step.dones is None or step.evaluates:
                return []
            running = running + step.rewards.mean(axis=1).ravel()
            done = np.asarray(step.dones, bool).all(axis=1)
            ended += list(running[done])
            running[done] = 0.0
        begin = call.env_steps
        by_log.append(ended)
    return by_log


def _place_in_logger(trial: Trial, *methods: str) -> Optional[str]:
    kind = type(trial.logger)
    for name in methods:
        place = place_of(getattr(kind, name, None))
        if place is not None and trial.files.owns(place.rpartition(":")[0]):
            return place
    return place_of(kind)


def _close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-6)


# -- size -------------------------------------------------------------------------------------------------------------


@judges("logger-bounded")
def logger_bounded(trial: Trial) -> None:
    """What the logger keeps does not grow with the number of episodes and logs."""
    if trial.logger is None or not trial.logs or not trial.data:
        raise NotJudgedError("nothing was logged")
    looks = _sizes_over_many_episodes(trial)
    for name in looks[-1]:
        sizes = [look.get(name, 0) for look in looks]
        growth = min(sizes[1] - sizes[0], sizes[2] - sizes[1]) * LOOKS / CYCLES  # entries per log
        if 0.0 < growth < MIN_GROWTH:
            trial.notes.append(f"the logger's {name} grows by {growth:g} entries with each log")
        elif growth >= MIN_GROWTH:
            kind = type(trial.logger)
            raise ContractError(
                f"the logger's {name} grows without bound",
                where=line_that_grows(trees_of_class(kind, trial.files), name) or place_of(kind),
                got=" then ".join(map(str, sizes)) + f" entries, {CYCLES // LOOKS} logs apart",
                expected="the same number of entries after each log",
                cause="entries of every episode are appended and never dropped",
                fix=f"self.{name} = collections.deque(maxlen=1000), or empty it after each log",
            )


def _sizes_over_many_episodes(trial: Trial) -> List[Dict[str, int]]:
    """Repeat the callbacks of the recorded steps, and return the sizes of what the logger keeps, three times."""
    looks: List[Dict[str, int]] = []
    arguments = trial.logs[-1].arguments
    logger = trial.logger
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            for cycle in range(CYCLES):
                logger.episode_init(len(trial.logs) + 1)
                for data in trial.data:
                    logger.per_step(data)
                logger.episode_log(*arguments)
                if (cycle + 1) % (CYCLES // LOOKS) == 0:
                    looks.append(_sizes_of(logger, trial.envs))
    except Exception as error:
        raise NotJudgedError(f"its callbacks raise {type(error).__name__} without a training") from None
    return looks


def _sizes_of(logger: Any, envs: Any) -> Dict[str, int]:
    sizes = {}
    for name, value in vars(logger).items():
        if value is not envs and name not in NOT_THE_LOGGERS:
            sizes[name] = _size(value, depth=3)
    return sizes


def _size(value: Any, depth: int) -> int:
    """Return how many entries a container holds; a deque with a bound counts as none."""
    if isinstance(value, np.ndarray):
        return value.size
    if isinstance(value, collections.deque) and value.maxlen is not None:
        return 0
    if not isinstance(value, (list, tuple, set, dict, collections.deque)):
        return 0
    inner: Tuple[Any, ...] = tuple(value)
    if isinstance(value, dict):
        inner = tuple(value.values())
    total = len(inner)
    if depth > 1:
        for part in inner[:1000]:
            total += _size(part, depth - 1)
    return total


def crash_cause(trial: Trial, error: BaseException) -> Optional[ContractError]:
    """Return the finding of a logger that raised because it has no environment; None if that is not the reason."""
    code = trial.code
    if code is None and isinstance(trial.make_runner, type):
        return None
    if code is None or not isinstance(error, AttributeError):
        return None
    line = trial.files.innermost(error)
    text = str(error)
    lost = f"has no attribute '{code.attribute}'" in text or (
        "'NoneType'" in text and any(f"'{method}'" in text for method in code.methods)
    )
    if not lost:
        return None
    finding = without_env(trial, code, got=f"{type(error).__name__}: {error}")
    if line is not None and finding.where is not None and line not in finding.where:
        finding.where = f"{line}; {finding.where}"
    return finding
