"""Contracts of `--env`: a run in an environment of the user's own, from training to evaluation."""

from __future__ import annotations

import json

import pytest
from own_things import write_meeting
from runs import assert_same, last_checkpoint, rows

from mapush.config import RunConfig
from mapush.evaluate import main as evaluate
from mapush.run.folder import read_config
from mapush.train import main, parse

pytestmark = pytest.mark.contracts

ROLLOUT = 6 * 5
SMALL = ["--num-envs", "6", "--num-steps", "5", "--checkpoint-every", str(2 * ROLLOUT)]
SMALL += ["--happo.hidden-sizes", "8", "--happo.ppo-epoch", "2", "--happo.critic-epoch", "2"]


def train(folder, env, iterations, *more):
    """Train in an environment; return the exit code."""
    words = ["--env", env, "--run-dir", str(folder), "--total-steps", str(iterations * ROLLOUT)]
    return main([*words, *SMALL, *more])


def test_own_environment_trains_resumes_and_is_evaluated(tmp_path, capsys):
    """A run that is resumed ends like one that was not; its policy is evaluated in the same environment."""
    env = f"{write_meeting(tmp_path)}:make"
    assert train(tmp_path / "run", env, 2, "--happo.no-use-linear-lr-decay") == 0
    assert train(tmp_path / "full", env, 4, "--happo.no-use-linear-lr-decay") == 0
    assert f"mapush.evaluate --env {env} --checkpoint" in capsys.readouterr().out
    assert main(["--resume", str(tmp_path / "run"), "--total-steps", str(4 * ROLLOUT)]) == 0
    one, other = last_checkpoint(tmp_path / "run"), last_checkpoint(tmp_path / "full")
    assert_same(one.agent, other.agent)
    assert_same(one.run, other.run)
    assert rows(tmp_path / "run") == rows(tmp_path / "full")
    assert "episode/success" in rows(tmp_path / "full")[0]

    results = tmp_path / "results.json"
    words = ["--env", env, "--checkpoint", str(tmp_path / "run" / "checkpoints" / "step_000000000120.pt")]
    assert evaluate([*words, "--num-envs", "7", "--json", str(results)]) == 0
    assert "success" in json.loads(results.read_text())["results"][0]["measures"]


def test_configuration_of_such_a_run_names_the_environment(tmp_path, monkeypatch):
    """The run is named after the file, and knows it from every folder."""
    write_meeting(tmp_path)
    monkeypatch.chdir(tmp_path)
    config, _, _ = parse(["--env", "meeting.py:make", "--num-envs", "7"])
    assert type(config) is RunConfig
    assert (config.task_name, config.num_envs) == ("meeting", 7)
    assert config.env == f"{tmp_path}/meeting.py:make"


def test_changed_environment_is_reported_on_resume(tmp_path, capsys):
    """The run keeps a copy of the file; resuming with different code goes on, and says so."""
    file = write_meeting(tmp_path)
    assert train(tmp_path / "run", f"{file}:make", 2) == 0
    assert (tmp_path / "run" / "own" / "meeting.py").read_text() == file.read_text()
    assert read_config(tmp_path / "run").env == f"{file}:make"
    file.write_text(file.read_text() + "\n# a thought\n")
    assert main(["--resume", str(tmp_path / "run"), "--total-steps", str(3 * ROLLOUT)]) == 0
    assert f"{file} has changed since this run began" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, more, said",
    [
        ("too_many", [], "different number of envs"),
        ("nothing", [], "Error"),
        ("mak", [], "did you mean 'make'"),
        ("make", ["--preset", "quick"], "no presets"),
        ("make", ["--object", "crate.py:CRATE"], "more than one thing to train"),
    ],
)
def test_environment_that_cannot_be_trained_in_is_one_message(tmp_path, capsys, name, more, said):
    """The command ends with code 2, and leaves no folder behind."""
    assert train(tmp_path / "run", f"{write_meeting(tmp_path)}:{name}", 2, *more) == 2
    error = capsys.readouterr().err
    assert said in error
    assert not (tmp_path / "run").exists()
