"""An object of the user's own through every command: train, resume, evaluate, report, record, export, size."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
from own_things import no_own_objects, write_crate, write_terms  # noqa: F401 (a fixture)

from mapush.env import push, terminations
from mapush.errors import ConfigError
from mapush.evaluate import main as evaluate
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.evaluation.load_policy import load_policy
from mapush.export import main as export
from mapush.objects import OBJECTS
from mapush.own import own_objects
from mapush.report import main as report
from mapush.train import main as train

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco, pytest.mark.usefixtures("no_own_objects")]

SIM = ["--sim", "mujoco", "--sim.threads", "1"]
SMALL = ["--num-envs", "3", "--num-steps", "4", "--happo.hidden-sizes", "8", "--happo.ppo-epoch", "1"]
SMALL += ["--happo.actor-num-mini-batch", "1", "--happo.critic-num-mini-batch", "1"]
ROLLOUT = 3 * 4 * 10


@pytest.fixture
def short_episodes(monkeypatch):
    """End episodes after 25 env steps."""
    for module in (push, terminations):
        monkeypatch.setattr(module, "MAX_EPISODE_LENGTH", 25)


@pytest.fixture
def run(tmp_path, short_episodes):
    """Train a team of four with a reward term of its own, and move the run to where its files are not."""
    folder = tmp_path / "made"
    folder.mkdir()
    words = ["--object", f"{write_crate(folder)}:CRATE", "--task.num-agents", "4"]
    words += ["--task.reward-terms", f"{write_terms(folder)}:near=0.01"]
    assert train([*words, *SMALL, *SIM, "--total-steps", str(ROLLOUT), "--run-dir", str(tmp_path / "run")]) == 0
    own_objects.forget("crate")
    return tmp_path / "run"


def test_run_knows_its_object_team_and_terms(run, tmp_path, capsys):
    """Without its files, a run is evaluated, reported, recorded, exported and loaded; each knows the object."""
    with (run / "progress.csv").open() as file:
        assert "reward/near" in next(csv.reader(file))
    assert (run / "own" / "terms.py").is_file()
    shutil.rmtree(str(tmp_path / "made"))

    page, results = tmp_path / "page", tmp_path / "results.json"
    words = ["crate", "--checkpoint", str(run), "--num-envs", "2", *SIM]
    capsys.readouterr()
    assert evaluate([*words, "--report", str(page), "--json", str(results)]) == 0
    said = capsys.readouterr().out
    assert "returns are without the run's own reward terms" in said
    assert "terms.py:near=0.01" in said
    assert json.loads(results.read_text())["task"] == "crate"
    text = (page / "index.html").read_text()
    assert "Within 1.2 m the goal counts as reached" in text
    assert "MAPush's" not in text
    assert len(list((page / "episodes").iterdir())) > 0

    assert report([str(run)]) == 0
    assert "near" in (run / "report.html").read_text()
    film = tmp_path / "film.html"
    assert evaluate([*words[:3], "--mode", "viewer", "--record", str(film), "--episodes", "1", *SIM]) == 0
    assert film.stat().st_size > 0

    policy = load_policy(run)
    assert policy.act([[0.0] * 14] * 4).shape == (4, 3)

    exported = tmp_path / "policy.pt"
    assert export([str(run), str(exported)]) == 0
    own_objects.forget("crate")
    assert EvaluateConfig("crate", checkpoint=(exported,)).task_name == "crate"
    assert OBJECTS["crate"].goal_radius == 1.2


def test_resumed_run_keeps_its_object_and_says_that_the_file_changed(run, tmp_path, capsys):
    """The object of a run is the stored one, whatever its file says now; a different team is refused."""
    file = tmp_path / "made" / "crate.py"
    changed = file.rename(file.with_name("crate_now.py"))
    changed.write_text(changed.read_text().replace("mass=3.0", "mass=9.0"))
    config = json.loads((run / "config.json").read_text())
    config["own_object"]["source"] = f"{changed}:CRATE"
    (run / "config.json").write_text(json.dumps(config))
    assert train(["--resume", str(run), "--total-steps", str(2 * ROLLOUT)]) == 0
    assert "mass 5.5 -> 11.5 kg" in capsys.readouterr().out
    assert OBJECTS["crate"].mass == 5.5
    assert train(["--resume", str(run), "--total-steps", str(3 * ROLLOUT), "--task.num-agents", "2"]) == 2
    assert "task.num_agents cannot change" in capsys.readouterr().err


def test_untrained_team_pushes_an_object_of_a_file(tmp_path, short_episodes, capsys):
    """`--object` names the task; terms that are named are part of the return."""
    words = ["--object", f"{write_crate(tmp_path)}:CRATE", "--untrained", "--num-envs", "2", *SIM]
    assert evaluate([*words, "--reward-terms", f"{write_terms(tmp_path)}:near=1"]) == 0
    assert "own reward terms" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, said",
    [
        (["crate", "--untrained"], "unknown task 'crate'"),
        (["tblock", "--object", "FILE:CRATE", "--untrained"], "the task is not the object's"),
        (["--object", "FILE:CRATE", "--upstream-quirks", "True"], "no policy is shipped"),
        (["--object", "FILE:CRATES", "--untrained"], "did you mean 'CRATE'"),
    ],
)
def test_object_that_cannot_be_evaluated_is_one_message(tmp_path, monkeypatch, capsys, words, said):
    """An unknown task says how to name an object of one's own."""
    file = str(write_crate(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert evaluate([word.replace("FILE", file) for word in [*words, *SIM]]) == 2
    assert said in capsys.readouterr().err


def test_two_runs_with_different_objects_of_one_name_are_not_compared(run, tmp_path):
    """One name in a table must mean one object."""
    other = tmp_path / "other"
    shutil.copytree(str(run), str(other))
    config = json.loads((other / "config.json").read_text())
    config["own_object"]["definition"]["goal_radius"] = 0.9
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="two different objects are called 'crate'"):
        EvaluateConfig("crate", checkpoint=(run, other))


def test_models_of_harl_say_how_large_their_team_is(run, tmp_path, capsys):
    """HARL's models of four actors are evaluated with four robots, whatever team the object has by default."""
    models = tmp_path / "models"
    assert export([str(run), str(models)]) == 0
    assert len(list(models.glob("actor_agent*.pt"))) == 4
    words = ["crate", "--checkpoint", str(models), "--num-envs", "2", *SIM]
    assert evaluate(words) == 0
    assert "published runs: the file does not say it" in capsys.readouterr().out


@pytest.mark.parametrize("what", [["--task.num-agents", "3"], ["--task.reward-terms", "here.py:near=1"]])
def test_mapush_itself_takes_no_team_or_term_of_ones_own(what, monkeypatch):
    """On MAPush's own environment these settings could not act, so they are refused."""
    from mapush import assembly
    from mapush.train import parse

    config, _, _ = parse(["cuboid", *what])
    with pytest.raises(ConfigError, match="MAPush's own environment"):
        assembly.make_mqe_env(config)


@pytest.mark.warp
@pytest.mark.slow
def test_size_measures_an_object_of_a_file(tmp_path, capsys):
    """`mapush size --object` prints the flags for this object and team."""
    from mapush.size import main as size

    words = ["--object", f"{write_crate(tmp_path)}:CRATE", "--num-agents", "2", "--num-envs", "2", "--device", "cpu"]
    assert size([*words, "--walk-s", "0.5", "--flail-s", "0.2"]) == 0
    assert "crate: " in capsys.readouterr().out
