"""Contracts of `--learner harl` from outside: forks of HARL, and the command line."""

from __future__ import annotations

import os
import shutil
import signal

import pytest
from doubles import run
from harl_runs import Harl
from runs import assert_same, in_process, last_checkpoint

from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.evaluation.loaded_policy import load_in_env
from mapush.run import checkpoint as checkpoints
from mapush.train import main
from mapush.upstream.harl import harl_source, models
from mapush.upstream.harl.harl_logger import HarlLogger

pytestmark = [pytest.mark.adapters, pytest.mark.harl]

# -- forks -----------------------------------------------------------------------------------------------------------

BASE, HAPPO = "runners/on_policy_base_runner.py", "algorithms/actors/happo.py"
GUARD = "if available_actions[0] is not None"


def fork(folder, changes):
    """Return a checkout of HARL with a text replaced in some files.

    Args:
      folder: where to write it.
      changes: pairs of a file and the old and the new text.
    """
    shutil.copytree(str(harl_source.locate()), str(folder / "harl"), ignore=shutil.ignore_patterns("__pycache__"))
    for name, (old, new) in changes:
        text = (folder / "harl" / name).read_text()
        assert old in text
        (folder / "harl" / name).write_text(text.replace(old, new))
    return folder


@pytest.fixture
def logs():
    """Return a list; the logs in it are closed at the end of the test."""
    opened = []
    yield opened
    for log in opened:
        log.close()


def train_with(checkout, folder):
    """Train with the HARL of a checkout, in a process that has not imported HARL yet."""
    os.environ["HARL_DIR"] = str(checkout)
    logs = []
    harl = Harl(folder, logs)
    harl.runner.run()
    logs[0].close()
    return 0


def test_patched_fork_trains_to_the_same_parameters(tmp_path, logs):
    """A fork that guards against None and needs a setting from its own file gives bit for bit the same weights."""
    changes = [
        (BASE, (GUARD, "if available_actions is not None and available_actions[0] is not None")),
        (HAPPO, ('self.clip_param = args["clip_param"]', 'self.clip_param = args["clip_param"] + args["bonus"]')),
        ("configs/algos_cfgs/happo.yaml", ("algo:\n", "algo:\n  bonus: 0.0\n")),
    ]
    code, said = in_process(tmp_path / "said.txt", train_with, fork(tmp_path / "fork", changes), tmp_path / "forked")
    assert code == 0, said
    harl = Harl(tmp_path / "ours", logs)
    harl.runner.run()
    assert_same(
        models.read(tmp_path / "forked" / "models", harl.config).agent,
        models.read(tmp_path / "ours" / "models", harl.config).agent,
    )


@pytest.mark.parametrize("attribute", ["self.curriculum", "self.logger.curriculum", "self.envs.curriculum"])
def test_fork_whose_loop_uses_other_attributes_is_refused(tmp_path, attribute):
    """A loop that uses an attribute that upstream's does not gives one message that names it."""
    changes = [(BASE, ("            self.prep_rollout()", f"            {attribute}.advance()"))]
    code, said = in_process(tmp_path / "said.txt", train_with, fork(tmp_path / "fork", changes), tmp_path / "run")
    assert code == 1
    assert "LearnerError: this HARL's loop asks for something" in said
    assert "'curriculum'" in said


# -- from the command line -------------------------------------------------------------------------------------------

COMMAND = "cuboid --learner harl --num-envs 5 --num-steps 7 --task.steps-per-decision 2 --happo.hidden-sizes 16 12"
COMMAND += " --sim mujoco --sim.threads 1 --device cpu --total-steps 200 --checkpoint-every 140"


def command(folder, stop_at=None):
    """Run `python -m mapush.train --learner harl`, and send SIGTERM to this process at an env step."""
    per_step = HarlLogger.per_step

    def per_step_with_signal(logger, data):
        if logger.step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        per_step(logger, data)

    HarlLogger.per_step = per_step_with_signal
    return main(COMMAND.split() + ["--run-dir", str(folder)])


@pytest.mark.mujoco
def test_command_trains_on_the_cpu_and_its_checkpoints_can_be_evaluated(tmp_path):
    """`--learner harl` trains to the end and writes checkpoints that act as HARL does."""
    code, said = in_process(tmp_path / "said.txt", command, tmp_path / "run")
    assert code == 0, said
    log = (tmp_path / "run" / "train.log").read_text()
    assert "updates 3/3 episodes, total num timesteps 210/200" in log
    assert "done; evaluate with" in said
    names = [path.name for path in checkpoints.all_of(tmp_path / "run")]
    assert names == ["step_000000000140.pt", "step_000000000210.pt"]
    saved = last_checkpoint(tmp_path / "run")
    assert (saved.config.learner, saved.step) == ("harl", 210)
    team = load_in_env(EvaluateConfig(checkpoint=(tmp_path / "run",)), tmp_path / "run" / "models", num_envs=2)
    team.env.close()
    for actor, weights in zip(team.policy.agent.actors, saved.agent["actors"]):
        assert_same(dict(actor.state_dict()), weights)


@pytest.mark.mujoco
def test_command_that_is_stopped_saves_and_reports_it(tmp_path):
    """SIGTERM in the second rollout gives exit code 143, a checkpoint of the first update, and a last line."""
    code, said = in_process(tmp_path / "said.txt", command, tmp_path / "run", 100)
    assert code == 128 + signal.SIGTERM, said
    assert "stopped and saved" in said
    assert last_checkpoint(tmp_path / "run").step == 70


@pytest.mark.mujoco
def test_command_trains_on_isaac_gym(tmp_path):
    """The complete upstream stack trains in a new process: HARL on the fakes of MQE and Isaac Gym."""
    words = "cuboid --learner harl --sim isaacgym --device cpu --num-envs 5 --num-steps 3 --total-steps 300"
    words += " --task.steps-per-decision 10 --happo.ppo-epoch 2 --happo.critic-epoch 2 --run-dir run"
    result = run(["mapush.train"] + words.split(), tmp_path)
    assert result.returncode == 0, result.stderr
    assert "simulator Isaac Gym on cpu" in result.stdout.replace("\n", " ")
    assert "HARL on cpu" in result.stdout
    assert last_checkpoint(tmp_path / "run").step == 300
