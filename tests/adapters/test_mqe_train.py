"""Contracts of the commands with `--sim isaacgym`, on the fakes: train, resume, evaluate, record."""

from __future__ import annotations

import json

import pytest
from doubles import forget_doubles, load_doubles, run

from mapush import evaluate, train
from mapush.run.folder import read_config

pytestmark = pytest.mark.adapters

ISAAC = ["--sim", "isaacgym", "--device", "cpu"]
TINY = "--num-envs 5 --num-steps 3 --checkpoint-every 150 --happo.ppo-epoch 2 --happo.critic-epoch 2"
BATCHES = "--happo.actor-num-mini-batch 1 --happo.critic-num-mini-batch 1"
TRAIN = ["cuboid"] + ISAAC + TINY.split() + BATCHES.split()


@pytest.fixture
def fresh(monkeypatch):
    """Return a function that resets this process to one without an Isaac Gym simulation."""
    monkeypatch.setenv("MQE_DOUBLE_SECONDS", "1")
    yield lambda: load_doubles(monkeypatch)
    forget_doubles()


@pytest.mark.slow
def test_train_resume_and_evaluate_on_isaac_gym(fresh, tmp_path, capsys):
    """A run trains and is resumed; all its checkpoints are evaluated, each in a separate process."""
    folder = tmp_path / "run"
    fresh()
    assert train.main(TRAIN + ["--total-steps", "150", "--run-dir", str(folder)]) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "simulator Isaac Gym on cpu" in said.replace("\n", " ")
    fresh()
    assert train.main(["--resume", str(folder), "--total-steps", "300"]) == 0, capsys.readouterr().err
    assert read_config(folder).sim.backend == "isaacgym"
    fresh()
    words = ["cuboid"] + ISAAC + ["--checkpoint", str(folder), "--num-envs", "3"]
    assert evaluate.main(words) == 0, capsys.readouterr().err
    results = json.loads((folder / "evaluation" / "results.json").read_text())["results"]
    assert [result["step"] for result in results] == [150, 300]
    assert all(result["metrics"]["episodes"] == 3 for result in results)


def test_episodes_on_isaac_gym_are_recorded(fresh, tmp_path, capsys):
    """The recording holds the frames of Isaac Gym's camera; the endings are printed."""
    fresh()
    film = tmp_path / "two.mp4"
    words = ["cuboid"] + ISAAC + ["--untrained", "--mode", "viewer", "--episodes", "2", "--record", str(film)]
    assert evaluate.main(words) == 0, capsys.readouterr().err
    assert film.stat().st_size > 0
    assert "episode 2 of 2: " in capsys.readouterr().out


def test_walking_task_on_isaac_gym_is_refused(fresh, tmp_path, capsys):
    """MQE has its own walking policy, so it cannot be trained there."""
    fresh()
    assert train.main(["walk"] + ISAAC + ["--run-dir", str(tmp_path / "run")]) == 2
    assert "pushing tasks" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("program", ["train", "evaluate"])
def test_command_without_isaac_gym_gives_one_message(tmp_path, program):
    """Without the packages, a command ends with exit code 2 and one message that says where to get them."""
    code = "import sys; sys.path = [p for p in sys.path if not p.endswith('doubles')]; "
    code += f"from mapush.{program} import main; sys.exit(main(['cuboid', '--sim', 'isaacgym']))"
    result = run(code, tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "Isaac Gym is not installed" in result.stderr
    assert "developer.nvidia.com" in result.stderr
    assert list(tmp_path.iterdir()) == []
