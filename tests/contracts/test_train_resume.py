"""Contracts of runs that are killed, stopped, resumed and prolonged: real processes, real files."""

from __future__ import annotations

import dataclasses
import os
import signal
import time

import pytest
import torch
from runs import (
    ROLLOUT,
    assert_same,
    assert_same_end,
    contents,
    copy_of,
    in_process,
    killed_run,
    last_checkpoint,
    resume_from_command_line,
    rows,
    start_process,
    tiny,
    train_until_signal,
)

from mapush.config import SimConfig
from mapush.errors import ConfigError
from mapush.run import checkpoint as checkpoints
from mapush.run.folder import RunFolder, read_config
from mapush.train import Run, main, train

pytestmark = [pytest.mark.contracts, pytest.mark.mujoco]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute on one thread, as the child processes do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Return a run that nothing stopped."""
    return train(tiny(), tmp_path_factory.mktemp("straight") / "run")


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Return a run that was killed; copy it before you touch it."""
    return killed_run(tmp_path_factory.mktemp("killed") / "run", tiny())


def test_run_killed_and_resumed_ends_in_the_same_bits(straight, killed, tmp_path):
    """After kill -9 and `--resume` in a new process, learner, env, rollout and log are those of an unbroken run."""
    steps = [checkpoints.load(path).step for path in checkpoints.all_of(killed)]
    assert steps == [2 * ROLLOUT, 4 * ROLLOUT]
    assert len(rows(killed)) == 5
    run = copy_of(killed, tmp_path / "run")
    code, said = in_process(tmp_path / "said.txt", resume_from_command_line, run)
    assert code == 0, said
    assert "min to go" in said
    assert "done; evaluate with" in said
    assert_same_end(run, straight)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_run_stopped_in_a_rollout_saves_says_how_to_go_on_and_does(straight, tmp_path, number, code):
    """A signal in the middle of a rollout: the env step is finished, all is saved, and the rest is as if unbroken."""
    folder, step = tmp_path / "run", 5 * ROLLOUT + 20
    ended, said = in_process(tmp_path / "said.txt", train_until_signal, number, step, tiny(), folder)
    assert ended == code, said
    told = "stopped by {} and saved; continue with: python -m mapush.train --resume {}"
    assert told.format(signal.Signals(number).name, folder) in said
    saved = last_checkpoint(folder)
    assert (saved.step, saved.run["rollout"]["step"]) == (step + 5, 5)
    train(read_config(folder), folder, resume=True)
    assert_same_end(folder, straight)


def _hang_in_an_env_step(step, folder):
    advance = Run.advance

    def hang(run):
        if run.step == step:
            (folder / "hangs").touch()
            time.sleep(50.0)
        advance(run)

    Run.advance = hang
    flags = "walk --num-envs 5 --num-steps 7 --happo.hidden-sizes 16 12 --checkpoint-every 70 --run-dir".split()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background it is ignored
    return main(flags + [str(folder)])


def test_second_interrupt_acts_at_once(tmp_path):
    """While an env step hangs, the first Ctrl-C waits for it and the second does not; older checkpoints remain."""
    folder = tmp_path / "run"
    process = start_process(tmp_path / "said.txt", _hang_in_an_env_step, 3 * ROLLOUT, folder)
    while not (folder / "hangs").exists():
        assert process.is_alive()
        time.sleep(0.02)
    process.join(timeout=0.2)
    os.kill(process.pid, signal.SIGINT)
    process.join(timeout=0.5)
    assert process.is_alive()
    os.kill(process.pid, signal.SIGINT)
    process.join(timeout=20.0)
    assert process.exitcode == 130
    assert "Traceback" not in (tmp_path / "said.txt").read_text()
    assert last_checkpoint(folder).step == 2 * ROLLOUT


def test_finished_run_says_so_and_is_left_alone(straight, capsys):
    """`--resume` of a finished run changes nothing, says how to train on and counts as success."""
    before = contents(straight)
    assert main(["--resume", str(straight)]) == 0
    said = capsys.readouterr().out
    assert "finished" in said
    assert f"--resume {straight} --total-steps" in said
    assert contents(straight) == before


def test_finished_run_trains_on_with_more_steps(tmp_path):
    """A run of N steps prolonged to 2N is a run of 2N, if no learning rate depends on N; its config says 2N."""
    whole = train(tiny(decay=False), tmp_path / "whole")
    half = train(tiny(5, decay=False), tmp_path / "half")
    assert main(["--resume", str(half), "--total-steps", str(10 * ROLLOUT)]) == 0
    assert read_config(half) == tiny(decay=False)
    assert_same_end(half, whole)


@pytest.mark.parametrize(
    "flags, name",
    [
        (["--num-envs", "6"], "num_envs"),
        (["--num-steps", "8"], "num_steps"),
        (["--seed", "2"], "seed"),
        (["--happo.hidden-sizes", "16", "13"], "happo.hidden_sizes"),
        (["--happo.lr", "0.1"], "happo.lr"),
        (["--task.push-force", "3"], "task.push_force"),
    ],
)
def test_resume_with_another_structure_is_refused_by_name(killed, capsys, flags, name):
    """A setting that decides what the run computes cannot change on the way; the error names it, both values, a fix."""
    before = contents(killed)
    assert main(["--resume", str(killed)] + flags) == 2
    said = capsys.readouterr().err
    assert f"{name} cannot change" in said
    assert "expected" in said
    assert "total_steps" in said
    assert contents(killed) == before


def test_resume_with_other_harmless_settings_ends_in_the_same_bits(straight, killed, tmp_path):
    """Checkpoint and log intervals, device and threads may change; the numbers do not, and config.json follows."""
    run = copy_of(killed, tmp_path / "run")
    changes = {
        "checkpoint_every": ROLLOUT,
        "log_interval": 3,
        "device": "cpu:0",
        "sim": SimConfig(backend="mujoco", threads=2),
    }
    config = dataclasses.replace(tiny(), **changes)
    train(config, run, resume=True)
    assert read_config(run) == config
    one, two = last_checkpoint(run), last_checkpoint(straight)
    assert_same(one.agent, two.agent, "agent")
    assert_same(one.run["rollout"], two.run["rollout"], "rollout")
    assert_same(one.run["env"]["physics"], two.run["env"]["physics"], "physics")
    assert [checkpoints.step_of(path) for path in checkpoints.all_of(run)][-3:] == [280, 315, 350]


@pytest.mark.parametrize("words", [["walk"], ["--preset", "default"], ["--run-dir", "x"], ["--load-config", "x"]])
def test_resume_takes_nothing_else_that_names_a_run(killed, capsys, words):
    """A task, preset, folder or configuration beside `--resume` would be ignored, so it is refused."""
    rest = ["--resume", str(killed)]
    assert main(words + rest) == 2
    assert "--resume takes" in capsys.readouterr().err


def test_resume_of_a_run_in_use_or_without_checkpoint_is_refused(tmp_path, capsys):
    """A folder that another training holds is not continued; nor is a run that has saved nothing."""
    folder = RunFolder.create(tiny(), tmp_path / "run")
    assert main(["--resume", str(folder.path)]) == 2
    assert "another training" in capsys.readouterr().err
    folder.close()
    assert main(["--resume", str(folder.path)]) == 2
    assert "no checkpoint" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="nothing to resume"):
        train(tiny(), resume=True)
