"""Contracts of the settings, the logger and the writer that HARL gets; HARL itself is not needed."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from fakes import NUM_AGENTS, NUM_ENVS, make_env, put_object_at_goal, random_actions
from harl_runs import run_config
from runs import rows

from mapush.config import HappoConfig, HarlConfig, TaskConfig
from mapush.run.logger import RunLogger
from mapush.upstream.harl.arguments import algo_args, iterations_of
from mapush.upstream.harl.harl_logger import HarlLogger, ScalarWriter, Stopped
from mapush.upstream.harl_config import apply

pytestmark = pytest.mark.adapters

LOSSES = [
    {"policy_loss": 1.0, "dist_entropy": 2.0, "ratio": torch.tensor(0.5, requires_grad=True)},
    {"policy_loss": 3.0, "dist_entropy": 6.0, "ratio": torch.tensor(1.5)},
]


class FakeRunLogger:
    """A fake of `RunLogger` that stores its calls."""

    def __init__(self) -> None:
        self.said = []
        self.scalars = []

    def say(self, text):
        """Store a line."""
        self.said.append(text)

    def tick(self, step):
        """Ignore the progress within an iteration."""

    def scalar(self, *arguments):
        """Store a number."""
        self.scalars.append(arguments)


def steps(num_envs=NUM_ENVS, rewards=None, dones=None):
    """Return the data that HARL passes to `per_step` or `eval_per_step` after a step."""
    return (None, None, rewards, dones, [[{}] * NUM_AGENTS] * num_envs, [None] * num_envs)


# -- settings --------------------------------------------------------------------------------------------------------


def test_settings_read_back_are_the_same_settings(tmp_path):
    """HARL's settings, read like those of a HARL run, give the configuration that they were made from."""
    happo = HappoConfig((16, 12), "tanh", gamma=0.97, share_param=True, entropy_coef=0.02, use_valuenorm=False, lr=1e-3)
    config = run_config(happo=happo, seed=7, log_interval=4)
    path = tmp_path / "config.json"
    written = {"main_args": {"algo": "happo"}, "algo_args": algo_args(config, {}), "env_args": {}}
    path.write_text(json.dumps(written))
    default = dataclasses.replace(config, happo=HappoConfig(), seed=1, log_interval=1, num_envs=3, total_steps=10**6)
    assert apply(default, path) == config


def test_settings_count_decisions_and_save_where_the_configuration_says():
    """HARL takes enough rollouts to reach the env steps of the run, and saves as often as the run asks."""
    config = run_config(task=TaskConfig(steps_per_decision=4), total_steps=1000, checkpoint_every=300)
    train = algo_args(config, {})["train"]
    assert iterations_of(config) == 8  # of 140 env steps
    assert train["num_env_steps"] // train["episode_length"] // train["n_rollout_threads"] == 8
    assert train["eval_interval"] == 2
    assert train["use_eval"] is False
    often = dataclasses.replace(config, checkpoint_every=1, harl=HarlConfig(eval_episodes=3))
    train = algo_args(often, {})["train"]
    assert (train["eval_interval"], train["use_eval"], train["n_eval_rollout_threads"]) == (1, True, 3)


def test_settings_keep_what_only_a_fork_has():
    """A key that only a fork has keeps the fork's value in every section; our settings override its defaults."""
    sections = algo_args(run_config(), {"curriculum": 3, "gamma": 0.1})
    for section in sections.values():
        assert (section["curriculum"], section["gamma"]) == (3, 0.99)


# -- logger ----------------------------------------------------------------------------------------------------------


def test_logger_cannot_be_made_without_the_environment():
    """Success and collisions come from the environment, so the logger cannot work without it."""
    with pytest.raises(TypeError, match="env"):
        HarlLogger(FakeRunLogger())


def test_logger_tells_statistics_of_the_environment_and_means_over_agents(tmp_path):
    """A row holds the environment's episodes, and the losses under our names as means over all agents."""
    env, log = make_env(seed=3), RunLogger(tmp_path, run_config())
    env.reset()
    put_object_at_goal(env, 1)
    logger = HarlLogger(log, env)
    logger.init(episodes=3)
    logger.episode_init(1)
    env.step(random_actions())
    logger.per_step(steps())
    logger.episode_log(LOSSES, {"value_loss": torch.tensor(4.0)}, "actor buffers", "critic buffer")
    logger.close()
    (row,) = rows(tmp_path)
    assert (row["step"], row["iteration"], float(row["episodes"])) == (str(NUM_ENVS), "1", 1.0)
    for name, value in {"policy_loss": 2.0, "entropy": 4.0, "ratio": 1.0, "value_loss": 4.0}.items():
        assert float(row[f"train/{name}"]) == value
    said = (tmp_path / "train.log").read_text()
    assert "[MAPush Stats] Success: 1.000 | Collision: 0.000 | Episodes: 1" in said


def test_logger_evaluation_is_the_mean_return_of_the_teams_that_ended():
    """The return of a team is the sum of its mean rewards; every evaluation starts from zero."""
    log = FakeRunLogger()
    rewards = np.arange(2 * NUM_AGENTS, dtype=np.float32).reshape(2, NUM_AGENTS, 1)
    logger = HarlLogger(log, make_env())
    for scale in (1.0, 2.0):
        logger.eval_init()
        for _ in range(3):
            logger.eval_per_step(steps(2, scale * rewards))
        logger.eval_thread_done(1)
        logger.eval_per_step(steps(2, scale * rewards))
        logger.eval_thread_done(1)
        logger.eval_thread_done(0)
        logger.eval_log(3)
    mean = (3 * 2.5 + 2.5 + 4 * 0.5) / 3
    assert log.scalars == [("eval/return", pytest.approx(mean), 0), ("eval/return", pytest.approx(2 * mean), 0)]
    assert log.said[0] == "Evaluation average episode reward is 4.0000."


def test_logger_raises_in_the_step_of_a_stop_request():
    """The step in which the request comes is counted, and then the loop ends."""
    requests = iter([False, True])
    logger = HarlLogger(FakeRunLogger(), make_env(), lambda: next(requests))
    logger.per_step(steps())
    with pytest.raises(Stopped):
        logger.per_step(steps())
    assert logger.step == 2 * NUM_ENVS


def test_writer_passes_numbers_on_and_keeps_none():
    """HARL's repeated tags become one name each; nothing is stored for a summary at the end."""
    log = FakeRunLogger()
    writer = ScalarWriter(log)
    before = dict(vars(writer))
    writer.add_scalars("agent0/ratio", {"agent0/ratio": torch.tensor(1.5)}, 35)
    writer.add_scalars("train_episode_rewards", {"aver_rewards": 2.0}, 35)
    writer.export_scalars_to_json("nowhere/summary.json")
    writer.close()
    assert log.scalars == [("harl/agent0/ratio", 1.5, 35), ("harl/train_episode_rewards/aver_rewards", 2.0, 35)]
    assert vars(writer) == before
