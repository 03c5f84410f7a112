"""Bugs of learner, logger, configuration and checkpoint, and what the contracts must say about each."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from unittest import mock

import torch
from torch.utils.tensorboard import SummaryWriter

from harness.stack.small_parts import WatchedEnv
from mapush import config as settings
from mapush import presets
from mapush.env.metrics import EpisodeMetrics
from mapush.env.push import PushEnv
from mapush.happo import update
from mapush.happo.happo import Happo
from mapush.happo.networks import Actor
from mapush.happo.optimizer import Optimizer
from mapush.happo.rollout import Rollout
from mapush.happo.value_norm import ValueNorm
from mapush.run import checkpoint as checkpoints
from mapush.run.logger import RunLogger
from mapush.sim.simulator import Simulator
from mapush.train import Run
from mapush.upstream import harl_config


@contextlib.contextmanager
def broken(owner, name, bug):
    """Put `bug`, which takes the original function and its arguments, in the place of a function."""
    original = getattr(owner, name)
    with mock.patch.object(owner, name, lambda *args, **kwargs: bug(original, *args, **kwargs)):
        yield


# -- bugs: each takes the original function and what it is called with ------------------------------------------------


def edits_actions(original, env, actions):
    commands = original(env, actions)
    actions.mul_(0.5)
    return commands


class Handed:
    """An env that is handed the tensor which is stored, not a copy, and edits it."""

    def __init__(self, env, decisions):
        self._env, self._decisions = env, decisions

    def __getattr__(self, name):
        return getattr(self._env, name)

    def step(self, actions):
        """Step the env."""
        with broken(PushEnv, "_commands", edits_actions):
            return self._env.step(self._decisions[-1].action)


def hands_over_what_is_stored(original, run):
    decisions, act = [], run.agent.act

    def noting(*args):
        decisions.append(act(*args))
        return decisions[-1]

    with mock.patch.object(run.agent, "act", noting), mock.patch.object(run, "env", Handed(run.env, decisions)):
        original(run)


def stores_clipped(original, rollout, decision, *rest):
    original(rollout, dataclasses.replace(decision, action=decision.action.clamp(-1.0, 1.0)), *rest)


def stores_swapped_actions(original, rollout, decision, *rest):
    original(rollout, dataclasses.replace(decision, action=decision.action.flip(1)), *rest)


def stores_actions_late(original, rollout, decision, *rest):
    original(rollout, decision, *rest)
    step = rollout.step - 1
    if step + 1 < rollout.num_steps:
        rollout.actions[step + 1] = decision.action
    rollout.actions[step] = getattr(rollout, "previous", decision.action)
    rollout.previous = decision.action.clone()


def acts_with_swapped_log_probs(original, agent, *args):
    decision = original(agent, *args)
    return dataclasses.replace(decision, log_prob=decision.log_prob.flip(1))


def acts_with_one_policy(original, agent, obs, share_obs):
    actors, agent.actors = agent.actors, [agent.actors[0]] * 2
    try:
        return original(agent, obs, share_obs)
    finally:
        agent.actors = actors


def stores_obs_early(original, rollout, decision, reward, terminated, truncated, obs, share_obs):
    rollout.obs[rollout.step].copy_(obs)
    original(rollout, decision, reward, terminated, truncated, obs, share_obs)


def has_wrong_density(original, actor, mean, action):
    return original(actor, mean, action) + 0.5


def draws_one_noise(original, actor, obs, generator):
    state = generator.get_state()
    try:
        return original(actor, obs, generator)
    finally:
        generator.set_state(state)


def keeps_reference(original, rollout, decision, reward, terminated, truncated, obs, share_obs):
    original(rollout, decision, reward, terminated, truncated, obs, share_obs)
    rollout.last_obs = obs


def gives_views(original, rollout):
    state = original(rollout)
    return {**state, "filled": {name: getattr(rollout, name)[: rollout.step] for name in state["filled"]}}


def writes_over_previous(original, rollout, decision, reward, *rest):
    original(rollout, decision, reward, *rest)
    rollout.rewards[max(rollout.step - 2, 0)].copy_(reward)


def stores_rewards_late(original, rollout, decision, reward, *rest):
    original(rollout, decision, getattr(rollout, "late", torch.zeros_like(reward)), *rest)
    rollout.late = reward.clone()


class FirstReward(WatchedEnv):
    """An env of which only the first agent's reward is seen."""

    def step(self, actions):
        """Step the env."""
        result = super().step(actions)
        return dataclasses.replace(result, reward=result.reward[:, :1])


def stores_first_reward(original, run):
    env, run.env = run.env, FirstReward(run.env)
    original(run)
    run.env = env


def stores_values_late(original, rollout, decision, *rest):
    late = getattr(rollout, "late", decision.value)
    original(rollout, dataclasses.replace(decision, value=late), *rest)
    rollout.late = decision.value.clone()


def ignores_ends(original, rollout, values, cfg):
    with mock.patch.object(rollout, "masks", torch.ones_like(rollout.masks)):
        return original(rollout, values, cfg)


def ignores_time_limits(original, rollout, values, cfg):
    return original(rollout, values, dataclasses.replace(cfg, use_proper_time_limits=False))


def reads_masks_early(original, rollout, values, cfg):
    with mock.patch.object(rollout, "masks", torch.cat((rollout.masks[:1], rollout.masks[:-1]))):
        return original(rollout, values, cfg)


def does_not_bootstrap(original, rollout, values, cfg):
    values = values.clone()
    values[-1] = 0.0
    return original(rollout, values, cfg)


def returns_argument(original, norm, values):
    return values


def stores_limits_as_failures(original, rollout, *args):
    original(rollout, *args)
    rollout.bad_masks.fill_(1.0)


def stores_no_limits(original, rollout, decision, reward, terminated, truncated, *rest):
    original(rollout, decision, reward, terminated, torch.zeros_like(truncated), *rest)


def begins_anew(original, rollout):
    rollout.step = 0


def says_nothing_changed(original, agent, *args):
    return torch.zeros_like(original(agent, *args))


def says_the_opposite(original, agent, *args):
    return -original(agent, *args)


def counts_nothing(original, metrics, *args):
    pass


def drops_nan(original, metrics):
    return {name: value for name, value in original(metrics).items() if value == value}


def loses_first_column(original, logger, row):
    original(logger, {name: value for name, value in row.items() if name != "episode/success"})


def doubles_rewards(original, logger, row):
    original(logger, {**row, "reward/ocb": 2.0 * row["reward/ocb"] + 1.0})


def counts_iterations(original, writer, name, value, step):
    original(writer, name, value, step // 35)


def keeps_rows(original, logger, step, iteration, metrics):
    original(logger, step, iteration, metrics)
    logger.__dict__.setdefault("history", []).append(dict(metrics))


FILES, OVER = [], threading.Event()


def leaves_files_open(original, logger, step, iteration, metrics):
    original(logger, step, iteration, metrics)
    if iteration % 50 == 0:
        FILES.append(os.open(os.devnull, os.O_RDONLY))


def starts_threads(original, logger, step, iteration, metrics):
    original(logger, step, iteration, metrics)
    OVER.clear()
    if iteration % 50 == 0:
        threading.Thread(target=OVER.wait, daemon=True).start()


def falls_through(original, task_name, name):
    return original(task_name if task_name in presets.PRESETS else "cuboid", name)


def takes_any_key(original, kind, values, prefix):
    known = {field.name for field in dataclasses.fields(kind)}
    return original(kind, {name: value for name, value in values.items() if name in known}, prefix)


def takes_any_harl_key(original, key, value, changes, happo, path):
    with contextlib.suppress(settings.ConfigError):
        original(key, value, changes, happo, path)


def does_nothing(original, *args):
    pass


def saves_no_optimizers(original, agent):
    return {name: value for name, value in original(agent).items() if name != "actor_optimizers"}


def loses_memory(original, simulator, state):
    original(simulator, {**state, "memory": torch.zeros_like(state["memory"])})


def loses_generator(original, agent, state):
    generator = agent.generator.get_state()
    original(agent, state)
    agent.generator.set_state(generator)


def loses_bad_masks(original, rollout, state):
    filled = {name: value for name, value in state["filled"].items() if name != "bad_masks"}
    original(rollout, {**state, "filled": filled})


def saves_half_precision(original, checkpoint, path):
    critic = {name: value.half().float() for name, value in checkpoint.agent["critic"].items()}
    return original(dataclasses.replace(checkpoint, agent={**checkpoint.agent, "critic": critic}), path)


BUGS = (
    ("stored-actions", Run, "advance", hands_over_what_is_stored, "the env edits the actions it is given in place"),
    ("stored-actions", Rollout, "insert", stores_clipped, "the buffer holds clipped actions"),
    ("stored-actions", Rollout, "insert", stores_swapped_actions, "actions of agents 0 and 1 are swapped"),
    ("stored-actions", Rollout, "insert", stores_actions_late, "actions are stored one step late"),
    ("log-probs", Happo, "act", acts_with_swapped_log_probs, "log-probabilities of agents 0 and 1 are swapped"),
    ("log-probs", Happo, "act", acts_with_one_policy, "agent 1 acts with the policy of agent 0"),
    ("log-probs", Rollout, "insert", stores_obs_early, "obs is stored one step early"),
    ("log-probs", Actor, "_log_prob", has_wrong_density, "the policy's log-probability is not that of its normal"),
    ("log-probs", Actor, "sample", draws_one_noise, "steps 0 and 1 draw the same random numbers"),
    ("buffer-aliasing", Rollout, "insert", keeps_reference, "the buffer shares memory with what is handed to"),
    ("buffer-aliasing", Rollout, "state_dict", gives_views, "the buffer shares memory with what is returned by"),
    ("buffer-aliasing", Rollout, "insert", writes_over_previous, "the buffer's step 0 changed at step 1"),
    ("advantages", Rollout, "insert", stores_rewards_late, "rewards are stored one step late"),
    ("advantages", Run, "advance", stores_first_reward, "only the reward of agent 0 is learned from"),
    ("advantages", Rollout, "insert", stores_values_late, "values are stored one step late"),
    ("advantages", update, "compute_returns", ignores_ends, "advantages run on across the end of an episode"),
    ("advantages", update, "compute_returns", ignores_time_limits, "a time limit is treated as a failure"),
    ("advantages", update, "compute_returns", reads_masks_early, "masks are read one step early"),
    ("advantages", update, "compute_returns", does_not_bootstrap, "the value of the last state is missing"),
    ("advantages", ValueNorm, "denormalize", returns_argument, "values are used in the units of the critic"),
    ("masks", Rollout, "insert", stores_limits_as_failures, "a time limit is stored as a failure"),
    ("masks", Rollout, "insert", stores_no_limits, "a time limit does not begin a new episode"),
    ("masks", Rollout, "finish", begins_anew, "the next rollout does not begin where this one ended"),
    ("factor", Happo, "_log_probs", says_nothing_changed, "ignores that the agents before it have changed"),
    ("factor", Happo, "_log_probs", says_the_opposite, "the factor is upside down"),
    ("logger-environment", EpisodeMetrics, "add_episodes", counts_nothing, "does not tell what happened"),
    ("logger-keys", EpisodeMetrics, "summary", drops_nan, "episode/collaboration never appears in the CSV"),
    ("logger-keys", RunLogger, "_write_csv", loses_first_column, "episode/success never appears in the CSV"),
    ("logger-keys", RunLogger, "_write_csv", doubles_rewards, "tell different numbers of reward/ocb"),
    ("logger-keys", SummaryWriter, "add_scalar", counts_iterations, "place their rows at different steps"),
    ("logger-bounded", RunLogger, "log", keeps_rows, "grows without bound: bytes in RunLogger.history"),
    ("logger-bounded", RunLogger, "log", leaves_files_open, "grows without bound: open files"),
    ("logger-bounded", RunLogger, "log", starts_threads, "grows without bound: threads"),
    ("task-names", presets, "preset", falls_through, "an unknown task is accepted in silence"),
    ("unknown-keys", settings, "_from_dict", takes_any_key, "an unknown setting is accepted in silence"),
    ("unknown-keys", harl_config, "_place", takes_any_harl_key, "an unknown key is accepted in silence"),
    ("checkpoint-complete", Optimizer, "load_state_dict", does_nothing, "the checkpoint lacks the actors' optimisers"),
    ("checkpoint-complete", Happo, "state_dict", saves_no_optimizers, "the checkpoint lacks the actors' optimisers"),
    ("checkpoint-complete", ValueNorm, "load_state_dict", does_nothing, "the checkpoint lacks the value normaliser"),
    ("checkpoint-complete", Happo, "load_state_dict", loses_generator, "the learner's random generator"),
    ("checkpoint-complete", EpisodeMetrics, "load_state_dict", does_nothing, "lacks the episode statistics"),
    ("checkpoint-complete", Simulator, "load_state_dict", loses_memory, "lacks the memory of the walking policy"),
    ("checkpoint-complete", Rollout, "load_state_dict", loses_bad_masks, "lacks the rollout in progress"),
    ("checkpoint-restores", checkpoints, "save", saves_half_precision, "the file does not hold what was saved"),
    ("checkpoint-restores", Optimizer, "load_state_dict", does_nothing, "has forgotten the actors' optimisers"),
    ("checkpoint-restores", ValueNorm, "load_state_dict", does_nothing, "has forgotten the value normaliser"),
)
