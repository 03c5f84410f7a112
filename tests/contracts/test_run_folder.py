"""Contracts of run folders."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from mapush.config import PushRunConfig
from mapush.errors import CheckpointError, ConfigError
from mapush.run.atomic import written_at_once
from mapush.run.folder import RunFolder, read_config

pytestmark = pytest.mark.contracts

LOCK_AND_DIE = """
import os, sys
from pathlib import Path
from mapush.config import PushRunConfig
from mapush.run.folder import RunFolder
folder = RunFolder.create(PushRunConfig(), Path(sys.argv[1]))
os.kill(os.getpid(), 9)
"""


def test_new_run_writes_its_configuration(tmp_path):
    """The resolved configuration is in the folder and reads back equal."""
    config = PushRunConfig(seed=7, num_envs=13)
    run_dir = RunFolder.create(config, tmp_path / "a")
    assert read_config(run_dir.path) == config
    run_dir.close()


def test_non_empty_folder_is_refused_and_left_alone(tmp_path):
    """A new run does not start in a folder that holds files."""
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(ConfigError, match="not empty") as caught:
        RunFolder.create(PushRunConfig(), tmp_path)
    assert "--resume" in caught.value.fix
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "config.json").exists()


def test_folder_in_use_is_refused_to_new_and_resumed_runs(tmp_path):
    """Two trainings never write to the same folder; when the first has closed it, the second may."""
    first = RunFolder.create(PushRunConfig(), tmp_path / "a")
    with pytest.raises(ConfigError, match="another training"):
        RunFolder.create(PushRunConfig(), tmp_path / "a")
    with pytest.raises(ConfigError, match="another training"):
        RunFolder.reopen(tmp_path / "a")
    first.close()
    RunFolder.reopen(tmp_path / "a").close()


def test_resume_without_run_is_refused(tmp_path):
    """A folder without a run cannot be resumed, nor can one whose configuration is damaged."""
    with pytest.raises(ConfigError, match="no run to continue"):
        RunFolder.reopen(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="does not parse"):
        RunFolder.reopen(tmp_path)


def test_file_is_replaced_when_it_is_complete(tmp_path):
    """While a file is written, its old content remains; an error leaves it, and nothing else, in the folder."""
    path = tmp_path / "folder" / "file"
    with written_at_once(path, durable=True) as part:
        part.write_text("old")
    with written_at_once(path) as part:
        part.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with pytest.raises(ZeroDivisionError):
        with written_at_once(path) as part:
            part.write_text("broken")
            raise ZeroDivisionError
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_lock_ends_with_its_process(tmp_path):
    """A killed process leaves no lock behind."""
    run = tmp_path / "run"
    killed = subprocess.run([sys.executable, "-c", LOCK_AND_DIE, str(run)])
    assert killed.returncode == -signal.SIGKILL
    RunFolder.reopen(run).close()


def test_folder_without_a_checkpoint_has_no_newest(tmp_path):
    """A run that saved nothing yet can be opened, but has nothing to resume from."""
    folder = RunFolder.create(PushRunConfig(), tmp_path / "run")
    with pytest.raises(CheckpointError, match="no checkpoint"):
        assert folder.newest
    folder.close()
