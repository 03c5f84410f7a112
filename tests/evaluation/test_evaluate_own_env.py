"""Contracts of an evaluation in the user's own environment."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from own_worlds import ACTION_DIM, NUM_AGENTS, OBS_DIM, countdown

from mapush.assembly import make_agent
from mapush.env.harl_env import HarlEnv
from mapush.env.metrics import wilson_interval
from mapush.evaluate import main
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.evaluation.own_env import evaluate_own
from mapush.presets import own_env
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint
from mapush.train import train
from mapush.upstream.harl import models

pytestmark = pytest.mark.evaluation

SIZES = {"num_agents": NUM_AGENTS, "obs_dim": OBS_DIM, "share_obs_dim": 5, "action_dim": ACTION_DIM}
EPISODES = 38  # of 7 envs: three play six, four play five


def evaluate(name="countdown", **changes):
    """Evaluate untrained weights for a number of episodes."""
    values = {"untrained": True, "num_envs": 7, "episodes": EPISODES, "device": "cpu"}
    values.update(changes)
    return evaluate_own(EvaluateConfig(env=f"own_worlds:{name}", **values))


def expected_successes():
    """Return how many of the episodes that count succeed."""
    count = 0
    for env_id in range(7):
        share = EPISODES // 7 + (env_id < EPISODES % 7)
        count += sum((env_id + episode) % 3 == 0 for episode in range(share))
    return count


@pytest.fixture
def policy(tmp_path):
    """Return the path of a checkpoint for the environment."""
    config = own_env("countdown")
    agent = make_agent(config, SIZES, "cpu")
    return checkpoints.save(Checkpoint(config, 40, SIZES, agent.state_dict(), {}), tmp_path / "policy.pt")


@pytest.mark.parametrize("name", ["countdown", "countdown_ep"])
def test_outcomes_of_the_users_environment_are_measured_episode_by_episode(name):
    """Rates are exact, with Wilson's interval; numbers are means; short episodes have no advantage."""
    [evaluation] = evaluate(name)
    won = expected_successes()
    assert (evaluation.episodes, evaluation.num_envs) == (EPISODES, 7)
    success, collision = evaluation.measures["success"], evaluation.measures["collision"]
    assert (success.kind, success.value) == ("rate", won / EPISODES)
    assert success.interval == wilson_interval(won, EPISODES)
    assert collision.value == 1.0 - won / EPISODES
    assert (evaluation.measures["effort"].kind, evaluation.measures["effort"].value) == ("mean", 2.5)
    assert evaluation.measures["length"].value == pytest.approx((2 * won + 7 * (EPISODES - won)) / EPISODES)
    assert evaluation.measures["return"].value == pytest.approx(evaluation.measures["length"].value)


def test_command_prints_and_writes_the_measures(policy, tmp_path, capsys):
    """`mapush evaluate --env` takes a checkpoint of a run in that environment."""
    words = ["countdown", "--env", "own_worlds:countdown", "--checkpoint", str(policy), "--num-envs", "7"]
    assert main([*words, "--device", "cpu", "--episodes", str(EPISODES), "--json", str(tmp_path / "out.json")]) == 0
    said = capsys.readouterr().out
    assert "environment own_worlds:countdown, one decision per step of it" in said
    assert "success rate" in said
    assert "mean of effort" in said
    values = json.loads((tmp_path / "out.json").read_text())
    [result] = values["results"]
    assert (values["env"], result["step"], result["episodes"]) == ("own_worlds:countdown", 40, EPISODES)
    assert result["measures"]["success"]["value"] == expected_successes() / EPISODES


def test_run_in_the_users_environment_is_evaluated_checkpoint_by_checkpoint(tmp_path):
    """Each policy plays in a process of its own: a process may hold one simulation only."""
    config = own_env("countdown", num_envs=5, num_steps=7, total_steps=70, checkpoint_every=35)
    happo = dataclasses.replace(config.happo, ppo_epoch=2, critic_epoch=2)
    folder = train(
        dataclasses.replace(config, happo=happo), tmp_path / "run", make_env=lambda _: HarlEnv(countdown(num_envs=5))
    )
    found = evaluate(untrained=False, checkpoint=(folder,))
    assert [evaluation.step for evaluation in found] == [35, 70]
    assert {evaluation.measures["success"].value for evaluation in found} == {expected_successes() / EPISODES}


def test_models_of_harl_are_evaluated_in_the_users_environment(policy, tmp_path):
    """HARL's own files do not name the task."""
    folder = models.write(checkpoints.load(policy), tmp_path / "harl" / "models")
    [evaluation] = evaluate(untrained=False, checkpoint=(folder,))
    assert evaluation.episodes == EPISODES


def test_environment_without_outcomes_says_that_success_is_unknown(policy, capsys):
    """Return and length are measured all the same; a function without num_envs decides how many envs there are."""
    words = ["--env", "own_worlds:silent", "--checkpoint", str(policy), "--device", "cpu"]
    assert main([*words, "--episodes", "13"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "13 episodes of 6 envs" in said
    assert "success is not known" in said
    assert "success rate" not in said


@pytest.mark.parametrize(
    "words, phrases",
    [
        (["--env", "own_worlds"], ["names nothing to load", "package.module:NAME"]),
        (["--env", "own_wrlds:countdown"], ["cannot be imported", "own_wrlds"]),
        (["--env", "own_worlds:count"], ["unknown name 'count'", "did you mean 'countdown'"]),
        (["--env", "own_worlds:twenty"], ["another number of envs", "20 envs", "5"]),
        (["--env", "own_worlds:countdown", "--report", "page"], ["--report belongs to the built-in tasks"]),
        (["--env", "own_worlds:countdown", "--steps-per-decision", "5"], ["--steps-per-decision belongs"]),
        (["--env", "own_worlds:countdown", "--mode", "viewer"], ["works for the calculator only"]),
        (["--env", "own_worlds:silent", "--episodes", "5"], ["fewer episodes than envs"]),
    ],
)
def test_what_cannot_be_evaluated_is_one_message(words, phrases, capsys):
    """A wrong name, a wrong number of envs, or a flag of the built-in tasks ends with code 2."""
    assert main([*words, "--untrained", "--num-envs", "5", "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    for phrase in phrases:
        assert phrase in said


def test_policy_of_other_sizes_is_refused(tmp_path):
    """The message has both sizes."""
    sizes = dict(SIZES, obs_dim=9)
    agent = make_agent(own_env("other"), sizes, "cpu")
    path = checkpoints.save(Checkpoint(own_env("other"), 1, sizes, agent.state_dict(), {}), tmp_path / "other.pt")
    assert torch.is_tensor(agent.state_dict()["actors"][0]["base.mlp.fc.0.weight"])
    with pytest.raises(checkpoints.CheckpointError, match="does not fit your environment") as caught:
        evaluate(untrained=False, checkpoint=(path,))
    assert "'obs_dim': 9" in caught.value.got
    assert "'obs_dim': 4" in caught.value.expected
