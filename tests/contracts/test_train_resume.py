"""Contracts of runs that are killed, stopped, resumed and extended: real processes, real files."""

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
    interrupted,
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
from mapush.train import main, train

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
    """Return a run that was never interrupted."""
    return train(tiny(), tmp_path_factory.mktemp("straight") / "run")


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Return a run that was killed; copy it before you change it."""
    return killed_run(tmp_path_factory.mktemp("killed") / "run", tiny())


def test_run_killed_and_resumed_ends_bit_for_bit_the_same(straight, killed, tmp_path):
    """After kill -9 and `--resume`, learner, env, rollout and log equal those of an uninterrupted run."""
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
def test_run_stopped_in_a_rollout_is_saved_and_can_be_resumed(straight, tmp_path, number, code):
    """After a signal in a rollout the env step is finished and everything is saved; resuming completes the run."""
    folder, step = tmp_path / "run", 5 * ROLLOUT + 20
    ended, said = in_process(tmp_path / "said.txt", train_until_signal, number, step, tiny(), folder)
    assert ended == code, said
    assert f"stopped by {signal.Signals(number).name} and saved" in said
    assert f"continue with: python -m mapush.train --resume {folder}" in said
    saved = last_checkpoint(folder)
    assert (saved.step, saved.run["rollout"]["step"]) == (step + 5, 5)
    train(read_config(folder), folder, resume=True)
    assert_same_end(folder, straight)


def _hang_in_an_env_step(step, folder):
    def hang():
        (folder / "hangs").touch()
        time.sleep(50.0)

    flags = "walk --num-envs 5 --num-steps 7 --happo.hidden-sizes 16 12 --checkpoint-every 70 --run-dir".split()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background it is ignored
    return main(flags + [str(folder)], make_env=interrupted(step, hang))


def test_second_interrupt_acts_immediately(tmp_path):
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


def test_finished_run_is_reported_and_not_changed(straight, capsys):
    """`--resume` of a finished run changes nothing, says how to train on, and exits with 0."""
    before = contents(straight)
    assert main(["--resume", str(straight)]) == 0
    said = capsys.readouterr().out
    assert "finished" in said
    assert f"--resume {straight} --total-steps" in said
    assert contents(straight) == before


def test_finished_run_trains_on_with_more_steps(tmp_path):
    """A run of N steps extended to 2N equals a run of 2N, if no learning rate depends on N; its config says 2N."""
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
def test_resume_with_a_different_setting_is_refused_by_name(killed, capsys, flags, name):
    """A setting that decides what the run computes cannot change; the error names it, both values and a fix."""
    before = contents(killed)
    assert main(["--resume", str(killed)] + flags) == 2
    said = capsys.readouterr().err
    assert f"{name} cannot change" in said
    assert "expected" in said
    assert "total_steps" in said
    assert contents(killed) == before


def test_resume_with_changed_intervals_and_threads_ends_bit_for_bit_the_same(straight, killed, tmp_path):
    """Checkpoint and log intervals, device and threads may change; the numbers stay, and config.json is updated."""
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
def test_resume_refuses_flags_that_the_run_decides(killed, capsys, words):
    """A task, preset, folder or HARL configuration together with `--resume` would be ignored, so it is refused."""
    rest = ["--resume", str(killed)]
    assert main(words + rest) == 2
    assert "--resume takes" in capsys.readouterr().err


def test_resume_of_a_run_in_use_or_without_checkpoint_is_refused(tmp_path, capsys):
    """A folder that another training writes to cannot be resumed, nor can a run that has saved nothing."""
    folder = RunFolder.create(tiny(), tmp_path / "run")
    assert main(["--resume", str(folder.path)]) == 2
    assert "another training" in capsys.readouterr().err
    folder.close()
    assert main(["--resume", str(folder.path)]) == 2
    assert "no checkpoint" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="nothing to resume"):
        train(tiny(), resume=True)
