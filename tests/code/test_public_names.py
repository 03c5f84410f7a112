"""Contracts of the public face: the names in `mapush`, and the command `mapush`."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mapush
from mapush.__main__ import COMMANDS, main
from mapush.errors import CheckpointError, ConfigError, SpecError
from mapush.run import checkpoint as checkpoints
from mapush.upstream.harl import models


def names_for_type_checkers():
    """Return the names that `mapush/__init__.py` imports under TYPE_CHECKING."""
    tree = ast.parse(Path(mapush.__file__).read_text())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            for statement in node.body:
                names.update(alias.asname or alias.name for alias in statement.names)
    return names


@pytest.mark.parametrize("name", mapush.__all__)
def test_public_name_exists(name):
    """Every promised name can be had, and `dir` lists it."""
    assert getattr(mapush, name) is not None
    assert name in dir(mapush)


def test_public_names_are_known_to_type_checkers():
    """Editors and mypy see exactly the names that exist at run time."""
    assert names_for_type_checkers() == set(mapush.__all__) - {"__version__"}


def test_unknown_public_name_is_an_attribute_error():
    """A name that does not exist behaves as in any module."""
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        mapush.nothing_of_ours  # noqa: B018


def test_modules_keep_their_names():
    """`mapush.train` is the module, whatever was imported before; the function is `run_training`."""
    code = "import mapush; run = mapush.run_training; import mapush.train; assert mapush.train.train is run"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_import_is_light():
    """Importing the package loads neither torch nor numpy nor any other room of it."""
    code = "import sys, mapush; sys.exit(bool({'torch', 'numpy', 'tyro', 'mapush.config'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# -- the command -----------------------------------------------------------------------------------------------------


def test_command_lists_its_commands(capsys):
    """Without a word, and with --help, every command is listed with a line."""
    for words in ([], ["--help"]):
        assert main(words) == 0
        said = capsys.readouterr().out
        for command, (_, text) in COMMANDS.items():
            assert f"  {command:<12}{text}" in said


def test_command_prints_its_version(capsys):
    """--version is for bug reports."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mapush {mapush.__version__}\n"


def test_unknown_command_suggests_the_closest(capsys):
    """A misspelt command exits with 2."""
    assert main(["trian"]) == 2
    message = capsys.readouterr().err
    assert "unknown command 'trian'; did you mean 'train'?" in message
    assert "evaluate" in message


@pytest.mark.parametrize("command", COMMANDS)
def test_command_has_help_under_the_name_it_was_called_by(command):
    """Each command answers --help, with the usage line that the user typed."""
    result = subprocess.run([sys.executable, "-m", "mapush", command, "--help"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: python -m mapush ")


def test_command_passes_errors_on(tmp_path, monkeypatch, capsys):
    """The exit code and the message are those of the command that was chosen."""
    monkeypatch.chdir(tmp_path)
    assert main(["train", "wlak"]) == 2
    assert "unknown task 'wlak'; did you mean 'walk'?" in capsys.readouterr().err
    assert main(["watch", "walk"]) == 2
    assert "the viewer shows pushing tasks only" in capsys.readouterr().err
    assert main(["export", "cuboid", "policy.ptt"]) == 2
    assert "unknown suffix '.ptt'; did you mean '.pt'?" in capsys.readouterr().err


# -- a trained policy ------------------------------------------------------------------------------------------------


def test_shipped_policy_acts():
    """The shipped policy maps observations to actions of the same kind, for many envs and for one."""
    policy = mapush.load_policy("cuboid")
    obs = torch.zeros(5, 2, 8)
    actions = policy.act(obs)
    assert actions.shape == (5, 2, 3)
    assert not actions.requires_grad
    one = policy.act(obs[0].numpy())
    assert one.shape == (2, 3)
    assert torch.allclose(torch.from_numpy(one), actions[0], atol=1e-6)
    assert policy.config.task_name == "cuboid"
    assert policy.step > 0


def test_policy_that_harl_saved_needs_its_task(tmp_path):
    """HARL's files do not say which task they are for; with its name they act like any other."""
    shipped = checkpoints.load(mapush.load_policy("cuboid").path)
    folder = models.write(shipped, tmp_path / "models")
    with pytest.raises(ConfigError, match="which task"):
        mapush.load_policy(folder)
    policy = mapush.load_policy(folder, task_name="cuboid")
    assert policy.act(torch.zeros(5, 2, 8)).shape == (5, 2, 3)


def test_policy_refuses_observations_of_the_wrong_shape():
    """A single observation without its agents is refused."""
    with pytest.raises(SpecError, match="wrong shape"):
        mapush.load_policy("cuboid").act(torch.zeros(8))


@pytest.mark.parametrize("shape", [(5, 2, 7), (5, 3, 8)])
def test_policy_refuses_other_agents_or_entries_with_the_sizes_expected(shape):
    """Seven of eight entries, or three agents instead of two, are refused before torch sees them."""
    with pytest.raises(SpecError, match="wrong shape") as caught:
        mapush.load_policy("cuboid").act(torch.zeros(shape))
    assert "num_agents 2, obs_dim 8" in caught.value.expected


def test_policy_that_does_not_exist_is_refused(tmp_path):
    """A misspelt name gets the right one; a missing file is named."""
    with pytest.raises(ConfigError, match="did you mean 'cuboid'"):
        mapush.load_policy("cubiod")
    with pytest.raises(CheckpointError, match="no such policy"):
        mapush.load_policy(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="no checkpoint in this run"):
        mapush.load_policy(tmp_path)


@pytest.mark.parametrize("package", ["mapush", "harness"])
def test_reader_that_goes_away_ends_a_command_quietly(package):
    """In `mapush --help | head`, the pipe closes early: no traceback, and the exit code of SIGPIPE."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", package, "--help"], stdout=write, stderr=subprocess.PIPE, text=True
        )
    finally:
        os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141
