"""Contracts of environments with HARL's interface that our learner trains in."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from harness.toys import make_pointmass
from mapush.env.harl_env import HarlEnv
from mapush.env.harl_view import Box
from mapush.errors import CheckpointError, ConfigError, NonFiniteError, SpecError
from mapush.presets import own_env
from mapush.run import checkpoint as checkpoints
from mapush.run.failed_iteration import NON_FINITE
from mapush.run.folder import read_config
from mapush.train import train

pytestmark = pytest.mark.contracts

NUM_ENVS, NUM_AGENTS, OBS_DIM, SHARE_OBS_DIM, ACTION_DIM = 5, 2, 3, 4, 2


class CountingEnv:
    """An environment that counts: every number that it returns says which env, agent and step it belongs to.

    Env 1 ends at its second step by the task, env 3 by the time limit.
    """

    def __init__(self):
        self.num_envs, self.n_agents = NUM_ENVS, NUM_AGENTS
        self.observation_space = [Box(-np.inf, np.inf, (OBS_DIM,))] * NUM_AGENTS
        self.share_observation_space = [Box(-np.inf, np.inf, (SHARE_OBS_DIM,))] * NUM_AGENTS
        self.action_space = [Box(-1.0, 1.0, (ACTION_DIM,)), Box(-0.5, 0.5, (ACTION_DIM,))]
        self.time = 0
        self.acted = []
        self.closed = 0

    def reset(self):
        """Start again."""
        self.time = 0
        return self._obs(), self._share_obs(), None

    def step(self, actions):
        """Count; the reward is 10 env + agent."""
        self.time += 1
        self.acted.append(actions.copy())
        rewards = 10.0 * np.arange(NUM_ENVS)[:, None] + np.arange(NUM_AGENTS)
        dones = np.zeros((NUM_ENVS, NUM_AGENTS), bool)
        infos = [[{} for _ in range(NUM_AGENTS)] for _ in range(NUM_ENVS)]
        if self.time == 2:
            dones[[1, 3]] = True
            infos[3][0]["bad_transition"] = True
            for env_id, success in ((1, True), (3, False)):
                infos[env_id][0]["outcome"] = {"success": success}
                for agent in range(NUM_AGENTS):
                    infos[env_id][agent]["final_obs"] = np.full(OBS_DIM, -env_id, np.float32)
                infos[env_id][0]["final_share_obs"] = np.full(SHARE_OBS_DIM, -10 * env_id, np.float32)
        return self._obs(), self._share_obs(), rewards[..., None], dones, infos, None

    def close(self):
        """Count."""
        self.closed += 1

    def _obs(self):
        values = 100.0 * self.time + 10.0 * np.arange(NUM_ENVS)[:, None] + np.arange(NUM_AGENTS)
        return np.repeat(values[..., None], OBS_DIM, axis=2).astype(np.float32)

    def _share_obs(self):
        values = 100.0 * self.time + np.arange(NUM_ENVS)
        return np.tile(values[:, None, None], (1, NUM_AGENTS, SHARE_OBS_DIM)).astype(np.float32)


@pytest.fixture
def env():
    """Return the counting environment as the learner sees it."""
    return HarlEnv(CountingEnv(), outcomes=["success"])


def act(value=0.0):
    return torch.full((NUM_ENVS, NUM_AGENTS, ACTION_DIM), value)


def test_sizes_are_those_of_the_spaces(env):
    """Envs, agents and the widths of observations, state and actions come from the environment."""
    assert env.obs_spec.shape == (NUM_ENVS, NUM_AGENTS, OBS_DIM)
    assert env.share_obs_spec.shape == (NUM_ENVS, SHARE_OBS_DIM)
    assert env.action_spec.shape == (NUM_ENVS, NUM_AGENTS, ACTION_DIM)


def test_observations_and_rewards_keep_their_place(env):
    """Each number arrives at its env and agent; the state is the same for all agents, so it is kept once."""
    first = env.reset()
    result = env.step(act())
    assert first.obs[4, 1].tolist() == [41.0] * OBS_DIM
    assert first.share_obs[4].tolist() == [4.0] * SHARE_OBS_DIM
    assert result.observation.obs[4, 1].tolist() == [141.0] * OBS_DIM
    assert result.reward[4].tolist() == [40.0, 41.0]
    assert result.terms["env"].equal(result.reward)


def test_ends_of_task_and_of_time_are_told_apart(env):
    """`bad_transition` makes an end a truncation; the last observation of the ended episode is kept, only there."""
    env.reset()
    env.step(act())
    result = env.step(act())
    assert result.terminated.tolist() == [False, True, False, False, False]
    assert result.truncated.tolist() == [False, False, False, True, False]
    assert result.final_observation.obs[3].unique().tolist() == [-3.0]
    assert result.final_observation.share_obs[1].unique().tolist() == [-10.0]
    assert result.final_observation.obs[0].equal(result.observation.obs[0])


def test_log_counts_episodes(env):
    """Return is the mean over the team, summed over the episode; outcomes are means over the ended episodes."""
    env.reset()
    env.step(act())
    env.step(act())
    env.step(act())
    summary = env.metrics.summary()
    assert summary["episodes"] == 2
    assert summary["episode/return"] == pytest.approx((2 * 10.5 + 2 * 30.5) / 2)
    assert summary["episode/length"] == 2.0
    assert summary["episode/success"] == 0.5


def test_actions_are_clipped_to_the_bounds_of_their_agent(env):
    """The environment never sees an action out of its box; the learner's tensor stays as it is."""
    env.reset()
    actions = act(3.0)
    env.step(actions)
    assert env.env.acted[0][:, 0].max() == 1.0
    assert env.env.acted[0][:, 1].max() == 0.5
    assert actions.eq(3.0).all()


def test_nan_from_the_environment_is_found_at_once(env):
    """A NaN in an observation is reported with env and agent, in the step that returned it."""
    env.reset()
    observe = env.env._obs

    def poisoned():
        obs = observe()
        obs[2, 1] = np.nan
        return obs

    env.env._obs = poisoned
    with pytest.raises(NonFiniteError) as caught:
        env.step(act())
    assert "num_envs 2, num_agents 1" in caught.value.where


def test_wrong_shape_is_refused(env):
    """Observations without the axis of the agents are refused, with both shapes."""
    env.env._obs = lambda: np.zeros((NUM_ENVS, OBS_DIM), np.float32)
    with pytest.raises(SpecError) as caught:
        env.reset()
    assert str((NUM_ENVS, OBS_DIM)) in caught.value.got


def test_state_that_differs_between_agents_is_refused(env):
    """Our critic has one state for the team; states of single agents would be dropped in silence."""
    share_obs = np.zeros((NUM_ENVS, NUM_AGENTS, SHARE_OBS_DIM), np.float32)
    share_obs[2, 1, 3] = 1.0
    env.env._share_obs = lambda: share_obs
    with pytest.raises(SpecError, match="differs between the agents"):
        env.reset()


def test_outcome_that_the_environment_does_not_report_is_named():
    """An outcome that the log shall show and the infos lack is an error, not a column of zeros."""
    env = HarlEnv(CountingEnv(), outcomes=["speed"])
    env.reset()
    env.step(act())
    with pytest.raises(SpecError, match="no outcome 'speed'"):
        env.step(act())


def test_environment_that_cannot_be_trained_in_is_refused():
    """A missing attribute and discrete actions are refused when the environment is wrapped."""
    with pytest.raises(ConfigError, match="no num_envs"):
        HarlEnv(object())
    with pytest.raises(ConfigError, match="not boxes"):
        HarlEnv(make_pointmass(discrete=True))


# -- training --------------------------------------------------------------------------------------------------------


class ResumableEnv(CountingEnv):
    """The same, with a state."""

    def state_dict(self):
        """Return the time."""
        return {"time": self.time}

    def load_state_dict(self, state):
        """Continue at that time."""
        self.time = state["time"]


def small(total_steps):
    config = own_env("counting", num_envs=NUM_ENVS, num_steps=7, total_steps=total_steps, checkpoint_every=35)
    happo = dataclasses.replace(
        config.happo, hidden_sizes=(8,), actor_num_mini_batch=1, critic_num_mini_batch=1, use_linear_lr_decay=False
    )
    return dataclasses.replace(config, happo=happo)


def test_run_in_an_environment_of_ones_own_leaves_a_complete_folder(tmp_path, capsys):
    """It has configuration, log and checkpoints as any run; no simulator is chosen; the environment is closed."""
    made = []

    def make_env(config):
        made.append(CountingEnv())
        return HarlEnv(made[-1])

    folder = train(small(70), tmp_path / "run", make_env=make_env)
    assert read_config(folder) == small(70)
    assert [checkpoints.load(path).step for path in checkpoints.all_of(folder)] == [35, 70]
    assert [env.closed for env in made] == [1]
    said = capsys.readouterr().out
    assert "simulator CountingEnv on cpu (your own environment)" in said
    assert f'mapush.load_policy("{folder}")' in said


def test_nan_ends_the_run_with_a_dump(tmp_path):
    """The error names your environment and the env step; the state before the iteration is kept."""

    class PoisonedEnv(CountingEnv):
        """Returns a NaN in its ninth step."""

        def _obs(self):
            obs = super()._obs()
            if self.time == 9:
                obs[2, 1] = np.nan
            return obs

    with pytest.raises(NonFiniteError) as caught:
        train(small(70), tmp_path / "run", make_env=lambda _: HarlEnv(PoisonedEnv()))
    assert "step of your environment" in caught.value.where
    assert caught.value.where.endswith("env step 40")
    assert checkpoints.load(tmp_path / "run" / NON_FINITE).step == 35


def test_run_resumes_if_the_environment_has_a_state(tmp_path):
    """With `state_dict` the run continues bit for bit; without it, resuming is refused and says why."""
    straight = train(small(140), tmp_path / "straight", make_env=lambda _: HarlEnv(ResumableEnv()))
    half = train(small(70), tmp_path / "half", make_env=lambda _: HarlEnv(ResumableEnv()))
    train(small(140), half, resume=True, make_env=lambda _: HarlEnv(ResumableEnv()))
    weights = [checkpoints.load(checkpoints.latest(folder)).agent["actors"][0] for folder in (straight, half)]
    for name, value in weights[0].items():
        assert value.equal(weights[1][name]), name
    plain = train(small(70), tmp_path / "plain", make_env=lambda _: HarlEnv(CountingEnv()))
    with pytest.raises(CheckpointError, match="does not save its state"):
        train(small(140), plain, resume=True, make_env=lambda _: HarlEnv(CountingEnv()))


def test_name_of_a_built_in_task_is_refused():
    """An own environment under the name of a built-in task would be taken for it when its run is read."""
    with pytest.raises(ConfigError, match="built-in task"):
        own_env("cuboid")
