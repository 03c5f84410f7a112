"""Bugs of learner, logger, configuration and checkpoint."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import sys
from typing import Any, Dict, Iterator, List

from harness.faults.plant import planted, replaced

# -- learner -----------------------------------------------------------------------------------------------------------


@planted("learner", "stored-actions", "HARL contract S12")
def stored_actions_clipped(_: int = 1) -> Iterator[None]:
    """The buffer stores clipped actions beside the log-probabilities of those that were drawn."""
    from mapush.happo.rollout import Rollout

    def broken(original: Any, rollout: Any, decision: Any, *args: Any, **kwargs: Any) -> None:
        action = decision.action.clamp(-1.0, 1.0)
        original(rollout, dataclasses.replace(decision, action=action), *args, **kwargs)

    with replaced(Rollout, "insert", broken):
        yield


@planted("learner", "log-probs")
def log_probs_without_std(_: int = 1) -> Iterator[None]:
    """The stored log-probabilities leave out the width of the distribution."""
    from mapush.happo.networks import Actor

    def broken(original: Any, actor: Any, *args: Any) -> Any:
        action, log_prob = original(actor, *args)
        return action, log_prob + actor.std.detach().log()

    with replaced(Actor, "sample", broken):
        yield


@planted("learner", "log-probs")
def log_probs_of_other_agent(_: int = 1) -> Iterator[None]:
    """The log-probabilities of a decision are stored in the wrong order of agents."""
    from mapush.happo.happo import Happo

    def broken(original: Any, agent: Any, *args: Any) -> Any:
        decision = original(agent, *args)
        return dataclasses.replace(decision, log_prob=decision.log_prob.flip(1))

    with replaced(Happo, "act", broken):
        yield


@planted("learner", "buffer-aliasing", "public reports: the buffer keeps a reference to the env's array")
def buffer_keeps_references(_: int = 1) -> Iterator[None]:
    """All stored observations are the same memory."""
    from mapush.happo.rollout import Rollout

    def broken(original: Any, rollout: Any, *args: Any, **kwargs: Any) -> None:
        original(rollout, *args, **kwargs)
        rollout.obs = rollout.obs[rollout.step].expand_as(rollout.obs)

    with replaced(Rollout, "insert", broken):
        yield


@planted("learner", "advantages")
def gae_ignores_episode_ends(_: int = 1) -> Iterator[None]:
    """Advantages bootstrap across the reset into the next episode."""
    with _returns_with(lambda rollout: {"masks": rollout.masks.clone().fill_(1.0)}):
        yield


@planted("learner", "advantages", "public reports: time limits are bootstrapped from the next episode")
def gae_ignores_time_limits(_: int = 1) -> Iterator[None]:
    """A time limit is handled as a termination although the configuration asks for the proper way."""
    with _returns_with(lambda rollout: {"bad_masks": rollout.bad_masks.clone().fill_(1.0)}):
        yield


@planted("learner", "advantages")
def gae_shifted_by_one_step(_: int = 1) -> Iterator[None]:
    """Rewards are taken one step late."""
    with _returns_with(lambda rollout: {"rewards": rollout.rewards.roll(1, 0)}):
        yield


@planted("learner", "masks")
def masks_one_step_early(_: int = 1) -> Iterator[None]:
    """The end of an episode is stored with the step before it."""
    from mapush.happo.rollout import Rollout

    def broken(original: Any, rollout: Any, *args: Any, **kwargs: Any) -> None:
        step = rollout.step
        original(rollout, *args, **kwargs)
        rollout.masks[step] = rollout.masks[step + 1]
        rollout.masks[step + 1] = 1.0

    with replaced(Rollout, "insert", broken):
        yield


@planted("learner", "masks")
def masks_of_first_env_for_all(_: int = 1) -> Iterator[None]:
    """When the first env's episode ends, the buffer believes that all do."""
    from mapush.happo.rollout import Rollout

    def broken(original: Any, rollout: Any, *args: Any, **kwargs: Any) -> None:
        original(rollout, *args, **kwargs)
        rollout.masks[rollout.step] = rollout.masks[rollout.step, :1]

    with replaced(Rollout, "insert", broken):
        yield


@planted("learner", "masks", "public reports: last mask is not carried into the next rollout")
def masks_lost_between_rollouts(_: int = 1) -> Iterator[None]:
    """An episode that ends with the rollout is forgotten in the next one."""
    from mapush.happo.rollout import Rollout

    def broken(original: Any, rollout: Any) -> None:
        original(rollout)
        rollout.masks[0], rollout.bad_masks[0] = 1.0, 1.0

    with replaced(Rollout, "finish", broken):
        yield


@planted("learner", "factor")
def factor_of_old_policy(_: int = 1) -> Iterator[None]:
    """The second agent does not allow for the change of the first."""
    from mapush.happo import update

    def broken(original: Any, log_ratio: Any, aggregation: str) -> Any:
        ratio = original(log_ratio, aggregation)
        return ratio if log_ratio.requires_grad else ratio.clone().fill_(1.0)

    with replaced(update, "probability_ratio", broken):
        yield


@planted("learner", "factor")
def factor_inverted(_: int = 1) -> Iterator[None]:
    """The factor is old policy over new, not new over old."""
    from mapush.happo import update

    def broken(original: Any, log_ratio: Any, aggregation: str) -> Any:
        return original(log_ratio if log_ratio.requires_grad else -log_ratio, aggregation)

    with replaced(update, "probability_ratio", broken):
        yield


def _returns_with(changes: Any) -> Any:
    """Return a context in which returns are computed from a rollout with `changes(rollout)`."""
    from mapush.happo import update

    def broken(original: Any, rollout: Any, *args: Any) -> Any:
        rollout = copy.copy(rollout)
        vars(rollout).update(changes(rollout))
        return original(rollout, *args)

    return replaced(update, "compute_returns", broken)


# -- logger ------------------------------------------------------------------------------------------------------------


@planted("logger", "logger-environment", "mission bug 7")
def logger_without_environment(_: int = 1) -> Iterator[None]:
    """What is logged holds nothing of the environment's statistics."""
    from mapush.env.metrics import EpisodeMetrics

    def broken(original: Any, metrics: Any) -> Dict[str, float]:
        original(metrics)
        return {"episodes": 0.0}

    with replaced(EpisodeMetrics, "summary", broken):
        yield


@planted("logger", "logger-keys")
def logger_drops_a_reward_term(_: int = 1) -> Iterator[None]:
    """One term of the reward is not in the log."""
    from mapush.env.metrics import EpisodeMetrics

    def broken(original: Any, metrics: Any) -> Dict[str, float]:
        summary = original(metrics)
        summary.pop(next(name for name in reversed(list(summary)) if name.startswith("reward/")), None)
        return summary

    with replaced(EpisodeMetrics, "summary", broken):
        yield


@planted("logger", "logger-bounded", "mission bug 2")
def logger_keeps_every_row(_: int = 1) -> Iterator[None]:
    """The logger keeps all rows in memory."""
    from mapush.run.logger import RunLogger

    def broken(original: Any, logger: Any, step: int, iteration: int, metrics: Dict[str, float]) -> None:
        vars(logger).setdefault("history", []).append(dict(metrics))
        original(logger, step, iteration, metrics)

    with replaced(RunLogger, "log", broken):
        yield


# -- configuration -----------------------------------------------------------------------------------------------------


@planted("configuration", "task-names", "mission bug 8")
def unknown_task_falls_through(_: int = 1) -> Iterator[None]:
    """A chain of ifs on the task's name knows no else, and returns a variable that nobody set."""
    from mapush import presets

    def broken(original: Any, task: str, *args: Any, **kwargs: Any) -> Any:
        if task in ("cuboid", "cylinder", "walk"):
            config = original(task, *args, **kwargs)
        return config

    with _everywhere(presets.preset, broken):
        yield


@planted("configuration", "task-names", "HARL's get_task_name")
def unknown_task_is_the_default(_: int = 1) -> Iterator[None]:
    """An unknown task trains the first one in silence."""
    from mapush import presets

    def broken(original: Any, task: str, *args: Any, **kwargs: Any) -> Any:
        return original(task if task in ("cuboid", "cylinder", "tblock", "walk") else "cuboid", *args, **kwargs)

    with _everywhere(presets.preset, broken):
        yield


@planted("configuration", "unknown-keys", "HARL's update_args")
def unknown_keys_ignored(_: int = 1) -> Iterator[None]:
    """A misspelled key of a configuration has no effect, and nobody says so."""
    from mapush import config
    from mapush.upstream import harl_config

    def broken_dict(original: Any, kind: Any, values: Any, prefix: str) -> Any:
        names = {field.name for field in dataclasses.fields(kind)}
        return original(kind, {name: value for name, value in values.items() if name in names}, prefix)

    def broken_place(original: Any, key: str, *args: Any) -> None:
        try:
            original(key, *args)
        except config.ConfigError as error:
            if "unknown key" not in error.what:
                raise

    with replaced(config, "_from_dict", broken_dict), replaced(harl_config, "_place", broken_place):
        yield


@contextlib.contextmanager
def _everywhere(function: Any, broken: Any) -> Iterator[None]:
    """Replace a function in every module of ours that imported it by name."""
    with contextlib.ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith(("mapush", "harness")) and vars(module).get(function.__name__) is function:
                stack.enter_context(replaced(module, function.__name__, broken))
        yield


# -- checkpoint --------------------------------------------------------------------------------------------------------


@planted("checkpoint", "checkpoint-complete", "HARL saves weights alone")
def checkpoint_without_optimizer(_: int = 1) -> Iterator[None]:
    """A checkpoint does not hold the moments of Adam."""
    with _saves_without(["actor_optimizers", "critic_optimizer"]):
        yield


@planted("checkpoint", "checkpoint-complete", "HARL on a GPU: the value normaliser's state is empty")
def checkpoint_without_value_norm(_: int = 1) -> Iterator[None]:
    """A checkpoint holds no statistics of the value normaliser."""
    with _saves_without(["value_norm"]):
        yield


@planted("checkpoint", "checkpoint-complete")
def checkpoint_without_generator(_: int = 1) -> Iterator[None]:
    """A checkpoint does not hold the state of the random numbers."""
    with _saves_without(["generator"]):
        yield


@planted("checkpoint", "checkpoint-restores", "public reports: a resumed run learns anew from Adam's first step")
def resume_forgets_optimizer(_: int = 1) -> Iterator[None]:
    """The optimisers' moments are saved and not restored."""
    from mapush.happo.optimizer import Optimizer

    with replaced(Optimizer, "load_state_dict", lambda *_: None):
        yield


@planted("checkpoint", "checkpoint-restores", "public reports: resume loses the normaliser")
def resume_forgets_value_norm(_: int = 1) -> Iterator[None]:
    """The value normaliser's statistics are saved and not restored."""
    from mapush.happo.happo import Happo

    def broken(original: Any, agent: Any, state: Dict[str, Any]) -> None:
        fresh = {name: value.clone().zero_() for name, value in state["value_norm"].items()}
        original(agent, dict(state, value_norm=fresh))

    with replaced(Happo, "load_state_dict", broken):
        yield


@planted("checkpoint", "checkpoint-restores")
def resume_forgets_environment(_: int = 1) -> Iterator[None]:
    """A resumed run starts new episodes instead of continuing those that were under way."""
    from mapush.env.push import PushEnv
    from mapush.env.walk import WalkEnv

    with replaced(PushEnv, "load_state_dict", lambda *_: None):
        with replaced(WalkEnv, "load_state_dict", lambda *_: None):
            yield


@planted("checkpoint", "checkpoint-restores")
def resume_swaps_actors(_: int = 1) -> Iterator[None]:
    """The weights of the agents come back in the wrong order."""
    from mapush.happo.happo import Happo

    def broken(original: Any, agent: Any, state: Dict[str, Any]) -> None:
        original(agent, dict(state, actors=state["actors"][::-1]))

    with replaced(Happo, "load_state_dict", broken):
        yield


@contextlib.contextmanager
def _saves_without(names: List[str]) -> Iterator[None]:
    """Leave the learner's `names` out of what is saved, and read what is there."""
    from mapush.happo.happo import Happo

    def save(original: Any, agent: Any) -> Dict[str, Any]:
        return {name: value for name, value in original(agent).items() if name not in names}

    def load(original: Any, agent: Any, state: Dict[str, Any]) -> None:
        original(agent, dict(full(agent), **state))

    full = Happo.state_dict
    with replaced(Happo, "state_dict", save), replaced(Happo, "load_state_dict", load):
        yield
