"""Contracts of runs of HARL that are killed, stopped, continued and extended: real processes, HARL's own loop."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest
from doubles import run
from runs import assert_same, contents, copy_of, in_process, last_checkpoint, rows

from mapush.run import checkpoint as checkpoints
from mapush.train import main
from mapush.upstream.harl.harl_logger import HarlLogger

pytestmark = [pytest.mark.adapters, pytest.mark.harl, pytest.mark.mujoco]

ROLLOUT = 5 * 7 * 2  # env steps
COMMAND = "cuboid --learner harl --num-envs 5 --num-steps 7 --task.steps-per-decision 2 --happo.hidden-sizes 16 12"
COMMAND += " --happo.use-linear-lr-decay --happo.ppo-epoch 2 --happo.critic-epoch 3"
COMMAND += " --sim mujoco --sim.threads 1 --device cpu --total-steps 300 --checkpoint-every 140"


def train(words, number=0, step=None):
    """Run `python -m mapush.train`, and send a signal to this process at an env step."""
    per_step = HarlLogger.per_step

    def per_step_with_signal(logger, data):
        if logger.step == step:
            os.kill(os.getpid(), number)
        per_step(logger, data)

    HarlLogger.per_step = per_step_with_signal
    return main(words)


def begin(folder, *more, **keywords):
    """Train a new run in a new process; return its exit code and what it said."""
    words = COMMAND.split() + ["--run-dir", str(folder), *more]
    return in_process(folder.parent / "said.txt", train, words, *keywords.values())


def go_on(folder, *more):
    """Continue a run in a new process; return its exit code and what it said."""
    return in_process(folder.parent / "said.txt", train, ["--learner", "harl", "--resume", str(folder), *more])


def assert_same_end(folder, other):
    """Assert that two runs ended bit for bit the same, and logged every rollout once with the same numbers."""
    one, two = last_checkpoint(folder), last_checkpoint(other)
    assert one.step == two.step
    assert_same(one.agent, two.agent, "agent")
    assert_same(one.run, two.run, "run")
    assert [row["step"] for row in rows(folder)] == [str(count * ROLLOUT) for count in range(1, 6)]
    assert rows(folder) == rows(other)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Return a run that was never interrupted, and what it said."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    code, said = begin(folder)
    assert code == 0, said
    return folder, said


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Return a run that was killed in its fourth rollout; copy it before you change it."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    code, said = begin(folder, number=signal.SIGKILL, step=3 * ROLLOUT + 20)
    assert code == -signal.SIGKILL, said
    return folder


def test_run_of_harl_killed_and_continued_ends_bit_for_bit_the_same(straight, killed, tmp_path):
    """Weights, optimisers, value statistics, random numbers, statistics and log equal those of a run never killed."""
    assert [checkpoints.load(path).step for path in checkpoints.all_of(killed)] == [2 * ROLLOUT]
    folder = copy_of(killed, tmp_path / "run")
    code, said = go_on(folder)
    assert code == 0, said
    assert f"continued at env step {2 * ROLLOUT}: weights, optimisers" in said
    assert "updates 5/5 episodes, total num timesteps 350/300" in (folder / "train.log").read_text()
    assert_same_end(folder, straight[0])


def test_run_of_harl_stopped_in_a_rollout_and_continued_ends_bit_for_bit_the_same(straight, tmp_path):
    """The rollout in progress is dropped, nothing was learned from it; the continued run plays it again."""
    folder = tmp_path / "run"
    code, said = begin(folder, number=signal.SIGTERM, step=3 * ROLLOUT + 20)
    assert code == 128 + signal.SIGTERM, said
    assert f"continue with: python -m mapush.train --resume {folder}" in said
    assert last_checkpoint(folder).step == 3 * ROLLOUT
    code, said = go_on(folder)
    assert code == 0, said
    assert_same_end(folder, straight[0])


def test_run_of_harl_stopped_before_it_learned_anything_can_be_continued(straight, tmp_path):
    """A stop in the first rollout saves the initial weights."""
    folder = tmp_path / "run"
    code, said = begin(folder, number=signal.SIGINT, step=20)
    assert code == 128 + signal.SIGINT, said
    assert last_checkpoint(folder).step == 0
    code, said = go_on(folder)
    assert code == 0, said
    assert_same_end(folder, straight[0])


def test_run_of_harl_says_that_it_ends_after_whole_rollouts(straight):
    """300 env steps are not whole rollouts of 70: the run has five, and says so when it begins."""
    folder, said = straight
    assert "the run ends after 350 env steps: 5 rollouts of 70; the 300 that were asked for are rounded up" in said
    assert last_checkpoint(folder).step == 350


def test_finished_run_of_harl_is_reported_and_trains_on_with_more_steps(straight, tmp_path):
    """Without more steps nothing changes; with them, HARL's loop does the rollouts that are left."""
    folder = copy_of(straight[0], tmp_path / "run")
    before = contents(folder)
    code, said = go_on(folder)
    assert (code, contents(folder)) == (0, before)
    assert "this run is finished: 350 of 300" in said
    code, said = go_on(folder, "--total-steps", "500")
    assert code == 0, said
    assert "the run ends after 560 env steps: 8 rollouts of 70" in said
    assert last_checkpoint(folder).step == 560
    assert last_checkpoint(folder).run["iteration"] == 8


# -- what cannot be continued ----------------------------------------------------------------------------------------


def test_run_of_harl_with_weights_only_is_refused_with_the_reason(killed, tmp_path, capsys):
    """What an older version saved has no optimisers; the message says what is missing, and nothing is changed."""
    folder = copy_of(killed, tmp_path / "run")
    newest = checkpoints.latest(folder)
    saved = checkpoints.load(newest)
    agent = {name: value for name, value in saved.agent.items() if name != "harl_optimizers"}
    checkpoints.save(dataclasses.replace(saved, agent=agent, run={}), newest)
    before = contents(folder)
    assert main(["--resume", str(folder)]) == 2
    said = capsys.readouterr().err
    assert "has no training state, so the run cannot be continued" in said
    assert "optimisers" in said
    assert contents(folder) == before


@pytest.mark.parametrize("learner", ["native", "harl"])
def test_models_that_harl_itself_saved_are_refused_with_the_reason(killed, tmp_path, capsys, learner):
    """HARL's own folder holds weights; the message says what is missing, and how to use them."""
    models = copy_of(killed / "models", tmp_path / "models")
    (tmp_path / "config.json").write_text('{"main_args": {"algo": "happo"}, "algo_args": {}}')
    for folder in (models, tmp_path):
        assert main(["--learner", learner, "--resume", str(folder)]) == 2
        said = capsys.readouterr().err
        assert "a run that HARL itself made cannot be continued" in said
        assert "mapush evaluate --checkpoint" in said


def test_other_learner_cannot_continue_a_run_of_harl(killed, capsys):
    """The learner decides what a run computes."""
    assert main(["--resume", str(killed), "--learner", "native"]) == 2
    assert "learner cannot change when a run is resumed" in capsys.readouterr().err


def test_run_of_harl_on_isaac_gym_continues_with_new_episodes(tmp_path):
    """Isaac Gym cannot continue an episode; learners and counts go on, and the run says so."""
    words = "cuboid --learner harl --sim isaacgym --device cpu --num-envs 5 --num-steps 3 --total-steps 300"
    words += " --task.steps-per-decision 10 --happo.ppo-epoch 2 --happo.critic-epoch 2 --run-dir run"
    assert run(["mapush.train"] + words.split(), tmp_path).returncode == 0
    result = run("mapush.train --resume run --total-steps 600".split(), tmp_path)
    assert result.returncode == 0, result.stderr
    assert "continued at env step 300" in result.stdout
    assert "all envs begin new ones" in result.stdout
    assert last_checkpoint(tmp_path / "run").step == 600
