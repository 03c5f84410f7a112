"""Contracts of the training loop: refused runs, reported progress, and the files after a failure."""

from __future__ import annotations

import dataclasses
import gc
import os
import re
import resource
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
import torch
from runs import ROLLOUT, contents, in_process, last_checkpoint, rows, tiny

import mapush
from mapush.config import SimConfig
from mapush.env.walk import WalkEnv
from mapush.errors import ConfigError, MapushError, SimulatorError
from mapush.run import checkpoint as checkpoints
from mapush.run.folder import RunFolder
from mapush.run.logger import RunLogger
from mapush.run.progress import time_left
from mapush.run.stop_request import StopRequest
from mapush.train import main, train

pytestmark = [pytest.mark.contracts, pytest.mark.mujoco]

TINY = "walk --num-envs 5 --num-steps 7 --happo.hidden-sizes 16 12 --device cpu --total-steps 70".split()
TINY += ["--sim", "mujoco", "--sim.threads", "1"]
YAML = "algo: {gama: 0.9}"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute on one thread: the networks are tiny."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def closed(monkeypatch):
    """Return a list that grows by one for every environment that is closed."""
    count, close = [], WalkEnv.close

    def close_and_count(env):
        count.append(env)
        close(env)

    monkeypatch.setattr(WalkEnv, "close", close_and_count)
    return count


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, said",
    [
        (["wlak"], "did you mean 'walk'"),
        (["cuboid", "--preset", "quik"], "did you mean 'quick'"),
        (["cuboid", "--load-config", "happo.yaml"], "did you mean 'gamma'"),
        (TINY + ["--total-steps", "34"], "at least 35"),
        (TINY + ["--num-envs", "0"], "num_envs is out of range"),
        (TINY + ["--sim", "mujocco"], "did you mean 'mujoco'"),
        (TINY + ["--sim", "isaacgym"], "isaacgym is not available"),
        (TINY + ["--device", "gpu"], "device 'gpu' cannot be used"),
        (TINY + ["--run-dir", "file/run"], "cannot be written"),
        (["--resume", "nowhere"], "no run to continue"),
    ],
)
def test_refused_run_says_why_and_leaves_nothing(tmp_path, monkeypatch, capsys, words, said):
    """A run that cannot start exits with 2 and one message, with the closest valid name; no folder is made."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "happo.yaml").write_text(YAML)
    (tmp_path / "file").write_text("mine")
    assert main(words) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.startswith(("ConfigError: ", "SimulatorError: "))
    assert sorted(contents(tmp_path)) == ["file", "happo.yaml"]
    assert len(list(tmp_path.iterdir())) == 2


def test_refused_run_that_cannot_start_closes_what_it_began(tmp_path, closed):
    """If the learner cannot be made, the simulator, which was made before, is closed."""
    with pytest.raises(ConfigError, match="cannot be used"):
        train(dataclasses.replace(tiny(), device="gpu"), tmp_path / "run")
    assert len(closed) == 1
    assert not (tmp_path / "run").exists()


def test_command_line_error_has_no_traceback(tmp_path):
    """The real command exits with 2 and one message on stderr; the right flag is suggested for a misspelt one."""
    command = [sys.executable, "-m", "mapush.train"]
    refused = subprocess.run(command + ["cubiod"], cwd=tmp_path, capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("ConfigError: unknown task 'cubiod'")
    assert "Traceback" not in refused.stderr
    misspelt = subprocess.run(command + ["--num-env", "5"], cwd=tmp_path, capture_output=True, text=True)
    assert misspelt.returncode == 2
    assert "--num-envs" in misspelt.stdout + misspelt.stderr
    assert list(tmp_path.iterdir()) == []


def test_folder_with_content_is_refused_and_left_alone(tmp_path, capsys):
    """Nothing is written to a run folder that is not empty, not even a lock; the simulator is not started."""
    (tmp_path / "precious").write_text("mine")
    made = []
    assert main(TINY + ["--run-dir", str(tmp_path)], make_env=made.append) == 2
    assert made == []
    assert "not empty" in capsys.readouterr().err
    assert contents(tmp_path) == {"precious": b"mine"}


def test_folder_in_use_is_refused_and_left_alone(tmp_path, capsys):
    """A folder that another training writes to is refused, and that training's files stay."""
    folder = RunFolder.create(tiny(), tmp_path / "run")
    before = contents(folder.path)
    assert main(TINY + ["--run-dir", str(folder.path)]) == 2
    assert "another training" in capsys.readouterr().err
    assert contents(folder.path) == before
    folder.close()


# -- what a run does and reports -------------------------------------------------------------------------------------


def test_run_saves_on_time_and_at_the_end(tmp_path, closed):
    """There is a checkpoint after each interval and one at the end; a rollout that passes a multiple counts."""
    folder = train(dataclasses.replace(tiny(7), checkpoint_every=50), tmp_path / "run")
    assert [checkpoints.load(path).step for path in checkpoints.all_of(folder)] == [70, 105, 175, 210, 245]
    assert len(closed) == 1
    assert {path.name for path in folder.iterdir()} == {
        ".lock",
        "checkpoints",
        "config.json",
        "progress.csv",
        "tensorboard",
        "train.log",
        "versions.json",
    }


def test_run_reports_its_progress(tmp_path, monkeypatch, capsys):
    """With HARL's format, its lines at each interval and, once, the time left; walking has no pushing statistics."""
    monkeypatch.chdir(tmp_path)
    assert main(TINY + ["--total-steps", "210", "--log-interval", "2", "--console", "harl"]) == 0
    said = capsys.readouterr().out
    (folder,) = (tmp_path / "runs" / "walk").iterdir()
    assert f"training walk in {folder.relative_to(tmp_path)}" in said
    assert len(re.findall(r"about 1 min to go at [\d,]+ env-steps/s", said)) == 1
    updates = re.findall(
        r"Task walk Algo happo Exp default updates (\d)/6 episodes, total num timesteps (\d+)/210", said
    )
    assert updates == [("2", "70"), ("4", "140"), ("6", "210")]
    assert len(re.findall(r"Average step reward is -?\d+\.\d+\.", said)) == 3
    assert "MAPush Stats" not in said
    assert "nan" not in said
    assert f"done; evaluate with: python -m mapush.evaluate walk --checkpoint {folder.relative_to(tmp_path)}" in said
    assert [row["step"] for row in rows(folder)] == ["70", "140", "210"]


@pytest.mark.parametrize("steps, rate, said", [(1, 1e6, "1 min"), (6e5, 100.0, "1 h 40 min"), (6e3, 50.0, "2 min")])
def test_time_left_is_in_hours_and_minutes(steps, rate, said):
    """The time left is given in hours and minutes."""
    assert time_left(steps, rate).startswith(f"about {said} to go")


def test_run_twice_from_one_seed_is_the_same_run(tmp_path):
    """Seed and configuration decide every number of the log; a different seed gives different numbers."""
    logs = [rows(train(dataclasses.replace(tiny(3), seed=seed), tmp_path / str(i))) for i, seed in enumerate((4, 4, 9))]
    assert logs[0] == logs[1] != logs[2]


def test_log_keeps_no_history(tmp_path):
    """After 120 rows this package uses no more memory than after 20."""
    sizes, logger = [], RunLogger(tmp_path, tiny())
    tracemalloc.start()
    try:
        for iteration in range(1, 121):
            metrics = {f"reward/{index}": float(iteration) for index in range(9)}
            row = dict(metrics, fps=100.0, episodes=0.0, **{"reward/total": 1.0})
            logger.log(iteration * ROLLOUT, iteration, row)
            logger.advance(iteration * ROLLOUT, 100.0, 0.5)
            if iteration in (20, 120):
                gc.collect()
                ours = tracemalloc.Filter(True, str(Path(mapush.__file__).parent / "*"))
                traces = tracemalloc.take_snapshot().filter_traces((ours,)).traces
                sizes.append(sum(trace.size for trace in traces))
    finally:
        tracemalloc.stop()
        logger.close()
    assert sizes[1] - sizes[0] < 1_500


# -- failures --------------------------------------------------------------------------------------------------------


def test_failed_run_closes_its_simulator_and_frees_its_folder(tmp_path, monkeypatch, closed):
    """After any error the simulator is closed, the lock is released and signals act as before."""
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def fail(env, actions):
        raise ZeroDivisionError("anything")

    monkeypatch.setattr(WalkEnv, "step", fail)
    with pytest.raises(ZeroDivisionError):
        train(tiny(), tmp_path / "run")
    assert len(closed) == 1
    RunFolder.reopen(tmp_path / "run").close()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers


def test_stop_request_does_not_hide_an_error():
    """An error after a signal is reported as the error that it is."""
    with pytest.raises(SimulatorError):
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.name == "SIGTERM"
            raise SimulatorError("the physics diverged")


def _train_on_a_disk_that_fills(limit, folder):
    save = checkpoints.save

    def save_and_fill(saved, path):
        save(saved, path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    checkpoints.save = save_and_fill
    return main(TINY + ["--total-steps", "350", "--checkpoint-every", "70", "--run-dir", str(folder)])


@pytest.mark.parametrize("limit, what", [(60_000, "the checkpoint could not"), (1_500, "the log could not")])
def test_full_disk_ends_the_run_with_its_older_checkpoint(tmp_path, limit, what):
    """When the disk is full, the run exits with 2 and one message, and the last checkpoint loads."""
    folder = tmp_path / "run"
    code, said = in_process(tmp_path / "said.txt", _train_on_a_disk_that_fills, limit, folder)
    assert code == 2, said
    assert what in said
    assert f"--resume {folder}" in said
    assert "Traceback" not in said
    assert last_checkpoint(folder).step == 70
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step_000000000070.pt"]


def test_log_that_cannot_be_closed_does_not_hide_the_error(tmp_path, monkeypatch):
    """TensorBoard's error on closing, because the disk is full, does not replace the error that ended the run."""
    from torch.utils.tensorboard import SummaryWriter

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "close", fail)
    monkeypatch.setattr(SummaryWriter, "flush", fail)
    with pytest.raises(MapushError, match="the log could not be written"):
        train(tiny(), tmp_path / "run")


def test_simulator_threads_are_a_setting(tmp_path):
    """The number of simulator threads does not change any bit of the run."""
    one = train(tiny(3), tmp_path / "one")
    two = train(dataclasses.replace(tiny(3), sim=SimConfig(threads=2)), tmp_path / "two")
    assert rows(one) == rows(two)
    assert last_checkpoint(one).step == 3 * ROLLOUT
