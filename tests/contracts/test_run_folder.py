"""Contracts of run folders."""

from __future__ import annotations

import pytest

from mapush.config import PushRunConfig
from mapush.errors import ConfigError
from mapush.run.folder import RunFolder, read_config

pytestmark = pytest.mark.contracts


def test_new_run_writes_its_configuration(tmp_path):
    """The resolved configuration lies beside the run and reads back equal."""
    config = PushRunConfig(seed=7, num_envs=13)
    run_dir = RunFolder.create(config, tmp_path / "a")
    assert read_config(run_dir.path) == config
    run_dir.close()


def test_non_empty_folder_is_refused_and_left_alone(tmp_path):
    """A folder with something in it is not a place for a new run."""
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(ConfigError, match="not empty") as caught:
        RunFolder.create(PushRunConfig(), tmp_path)
    assert "--resume" in caught.value.fix
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "config.json").exists()


def test_folder_in_use_is_refused_to_new_and_resumed_runs(tmp_path):
    """Two trainings never write to one folder; when the first has gone, the second may."""
    first = RunFolder.create(PushRunConfig(), tmp_path / "a")
    with pytest.raises(ConfigError, match="another training"):
        RunFolder.create(PushRunConfig(), tmp_path / "a")
    with pytest.raises(ConfigError, match="another training"):
        RunFolder.reopen(tmp_path / "a")
    first.close()
    RunFolder.reopen(tmp_path / "a").close()


def test_resume_without_run_is_refused(tmp_path):
    """A folder without a run cannot be continued, nor can one whose configuration is damaged."""
    with pytest.raises(ConfigError, match="no run to continue"):
        RunFolder.reopen(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="does not parse"):
        RunFolder.reopen(tmp_path)
