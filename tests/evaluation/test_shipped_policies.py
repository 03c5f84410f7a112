"""Which shipped policy is taken without a checkpoint, and that the one for any object and team acts, on MuJoCo."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from mapush.config import SimConfig, to_dict
from mapush.env import push, terminations
from mapush.errors import CheckpointError, ConfigError
from mapush.evaluate import evaluate
from mapush.evaluate import main as evaluate_main
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.evaluation.load_policy import load_policy
from mapush.evaluation.loaded_policy import named_paths
from mapush.evaluation.shipped_policies import POLICIES, shipped_for
from mapush.export import main as export_main
from mapush.objects import BUILT_IN
from mapush.own import own_objects
from mapush.run import checkpoint as checkpoints
from mapush.viewer import policy_name

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

SIM = SimConfig("mujoco", threads=1)
SIM_FLAGS = ["--sim", "mujoco", "--sim.threads", "1"]
HEXAGON = f"{Path(__file__).resolve().parents[2] / 'examples' / 'held_out_objects.py'}:HEXAGON"
ANY = "any.pt"


@pytest.fixture(autouse=True)
def no_hexagon():
    """Forget the user's own object afterwards."""
    yield
    own_objects.forget("hexagon")


@pytest.fixture
def short_episodes(monkeypatch):
    """End episodes after 25 env steps."""
    for module in (push, terminations):
        monkeypatch.setattr(module, "MAX_EPISODE_LENGTH", 25)


# -- which one is taken ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings, expected, why",
    [
        ({}, "cuboid.pt", "shipped for this task"),
        ({"num_agents": 2}, "cuboid.pt", "shipped for this task"),
        ({"num_agents": 3}, ANY, "cuboid.pt is for 2 robots"),
        ({"num_agents": 1}, ANY, "cuboid.pt is for 2 robots"),
        ({"task_name": "cylinder", "num_agents": 3}, "cylinder.pt", "shipped for this task"),
        ({"task_name": "cylinder", "num_agents": 2}, ANY, "cylinder.pt is for 3 robots"),
        ({"object": HEXAGON}, ANY, "hexagon has no policy of its own"),
        ({"object": HEXAGON, "num_agents": 4}, ANY, "hexagon has no policy of its own"),
        ({"task_name": "any"}, ANY, "shipped for this task"),
        ({"num_agents": 3, "upstream_quirks": False}, ANY, "cuboid.pt is for 2 robots"),
        ({"num_agents": 2, "upstream_quirks": True}, "cuboid.pt", "shipped for this task"),
    ],
)
def test_shipped_policy_fits_object_and_team(settings, expected, why):
    """That of the task if it has the team's size; otherwise the one for any object and team, with the reason."""
    config = EvaluateConfig(**settings)
    chosen = shipped_for(config)
    assert chosen.path == POLICIES / expected
    assert why in chosen.reason
    [paths] = named_paths(config).values()
    assert paths == [chosen.path]


@pytest.mark.parametrize("item", BUILT_IN, ids=lambda item: item.name)
def test_policy_of_a_task_is_for_the_team_of_its_object(item):
    """The choice depends on it, because no file is read for it."""
    assert checkpoints.load(POLICIES / f"{item.name}.pt").sizes["num_agents"] == item.num_agents


def test_named_checkpoint_is_taken_whatever_fits_better(capsys):
    """A user who names a policy gets that one, or its refusal; no shipped one is announced."""
    path = POLICIES / "cuboid.pt"
    words = ["cuboid", "--num-agents", "3", "--checkpoint", str(path), "--num-envs", "2", *SIM_FLAGS]
    assert evaluate_main(words) == 2
    printed = capsys.readouterr()
    assert "the checkpoint does not fit" in printed.err
    assert "any.pt" not in printed.out + printed.err


@pytest.mark.parametrize(
    "settings, cause, fix",
    [
        ({"num_agents": 3, "upstream_quirks": True}, "upstream's bugs", "leave --upstream-quirks out"),
        ({"num_agents": 3, "sim": SimConfig("standin")}, "MAPush's own environment", "--sim mujoco"),
        ({"num_agents": 3, "sim": SimConfig("isaacgym")}, "MAPush's own environment", "--sim mujoco"),
        ({"object": HEXAGON, "upstream_quirks": True}, "upstream's bugs", "leave --upstream-quirks out"),
    ],
)
def test_setting_that_the_policy_for_any_team_does_not_know_is_refused(settings, cause, fix):
    """It was not trained with it; the message says what no shipped policy fits, and what can be done."""
    with pytest.raises(CheckpointError, match="no policy is shipped for this") as caught:
        shipped_for(EvaluateConfig(**settings))
    assert cause in caught.value.cause
    assert fix in caught.value.fix


def test_team_without_seats_is_refused(capsys):
    """The number of robots that fit is in the message."""
    assert evaluate_main(["tblock", "--num-agents", "5", "--num-envs", "2", *SIM_FLAGS]) == 2
    printed = capsys.readouterr()
    assert "policy any.pt (for any object and team; tblock.pt is for 2 robots)" in printed.out
    assert "the policy has no seat for so many robots" in printed.err
    assert "at most 4" in printed.err


def test_newest_run_of_the_object_is_named(tmp_path, monkeypatch):
    """Who has trained a policy for the object gets the flag that evaluates it."""
    run = tmp_path / "runs" / "hexagon" / "mine"
    (run / checkpoints.FOLDER).mkdir(parents=True)
    checkpoints.path_of(run, 10).touch()
    monkeypatch.chdir(tmp_path)
    assert f"--checkpoint {Path('runs/hexagon/mine')}" in shipped_for(EvaluateConfig(object=HEXAGON)).reason


# -- the policy for any object and team ------------------------------------------------------------------------------


def test_file_is_small_and_names_no_place_of_the_machine_that_trained_it():
    """Less than 1 MB, no training state, and nothing in its configuration looks like a path."""
    path = POLICIES / ANY
    saved = checkpoints.load(path)
    assert path.stat().st_size < 1_000_000
    assert saved.run == {}
    assert set(saved.agent) == {"actors", "critic", "value_norm"}
    assert os.sep not in json.dumps(to_dict(saved.config))


@pytest.mark.parametrize(
    "settings, least",
    [
        ({"num_agents": 3}, 0.6),
        ({"object": HEXAGON}, 0.6),
        pytest.param({"num_agents": 1}, 0.3, marks=pytest.mark.slow),
        pytest.param({"task_name": "cylinder", "num_agents": 4}, 0.6, marks=pytest.mark.slow),
        pytest.param({"task_name": "tblock", "num_agents": 4}, 0.6, marks=pytest.mark.slow),
        pytest.param({"object": HEXAGON, "num_agents": 4}, 0.6, marks=pytest.mark.slow),
    ],
)
def test_policy_for_any_team_pushes_what_it_was_not_made_for(settings, least):
    """Most of a few episodes succeed, with teams and an object that no other shipped policy can push."""
    [result] = evaluate(EvaluateConfig(num_envs=20, device="cpu", sim=SIM, **settings))
    assert result.path == POLICIES / ANY
    assert result.metrics.success_rate >= least


def test_command_line_says_which_policy_it_takes(short_episodes, capsys):
    """One line with the file and the reason."""
    few = ["--num-envs", "2", *SIM_FLAGS]
    assert evaluate_main(["cuboid", *few]) == 0
    assert "policy cuboid.pt (shipped for this task)\n" in capsys.readouterr().out
    assert evaluate_main(["cuboid", "--num-agents", "3", *few]) == 0
    assert "policy any.pt (for any object and team; cuboid.pt is for 2 robots)\n" in capsys.readouterr().out
    assert evaluate_main(["cuboid", "--untrained", *few]) == 0
    assert "policy " not in capsys.readouterr().out


def test_task_any_is_reported_by_object_and_team(tmp_path, monkeypatch, capsys):
    """Without a checkpoint, the kinds of the training are evaluated, each with a share of the envs."""
    for module in (push, terminations):
        monkeypatch.setattr(module, "MAX_EPISODE_LENGTH", 180)  # some episodes succeed until then, some do not
    path = tmp_path / "results.json"
    assert evaluate_main(["any", "--num-envs", "12", "--json", str(path), *SIM_FLAGS]) == 0
    printed = capsys.readouterr().out
    [result] = json.loads(path.read_text())["results"]
    assert set(result["kinds"]) == {f"{item.name}_{size}" for item in BUILT_IN for size in (2, 4)}
    for name, kind in result["kinds"].items():
        assert kind["episodes"] == 2, name
        assert " ".join(name.split("_")) in " ".join(printed.split())
    assert 0 < result["metrics"]["endings"]["success"] < 12
    for cause, count in result["metrics"]["endings"].items():
        assert count == sum(kind["endings"][cause] for kind in result["kinds"].values())


def test_recording_shows_a_team_of_four(short_episodes, tmp_path, capsys):
    """The viewer takes the same policy and says so; its page has the policy's name."""
    film = tmp_path / "film.html"
    words = ["cuboid", "--num-agents", "4", "--mode", "viewer", "--record", str(film), "--episodes", "1", *SIM_FLAGS]
    assert evaluate_main(words) == 0
    assert "policy any.pt (for any object and team; cuboid.pt is for 2 robots)\n" in capsys.readouterr().out
    assert film.stat().st_size > 0
    assert policy_name(EvaluateConfig(num_agents=4)) == "the shipped policy for any team"


# -- for other programs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task_name, width", [("cuboid", 3), ("cylinder", 1), (None, 2)])
def test_policy_for_any_team_is_loaded_by_its_name(task_name, width):
    """The actor is the same for every object and team size."""
    policy = load_policy("any", task_name=task_name, num_agents=width)
    obs = torch.randn(5, 4, 35, generator=torch.Generator().manual_seed(2))
    assert policy.act(obs[:, :width]).shape == (5, width, 3)
    assert torch.allclose(policy.act(obs[:, :width]), load_policy("any").act(obs)[:, :width], atol=1e-6)


@pytest.mark.parametrize("task_name", ["cuboid", None])
def test_loaded_team_without_seats_is_refused(task_name):
    """With an object and without."""
    with pytest.raises(ConfigError, match="no seat"):
        load_policy("any", task_name=task_name, num_agents=5)


def test_policy_for_one_team_is_not_loaded_for_a_different_one():
    """The name of a policy is an explicit choice; the message names the policy that fits."""
    with pytest.raises(CheckpointError, match="the checkpoint does not fit") as caught:
        load_policy("cuboid", num_agents=3)
    assert "2 robots" in caught.value.got
    assert "3 robots" in caught.value.expected
    assert 'load_policy("any", task_name="cuboid", num_agents=3)' in caught.value.fix
    assert "mapush export any FILE --task cuboid --num-agents 3" in caught.value.fix


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_policy_for_any_team_is_exported_for_one(tmp_path):
    """A file for three robots and a T; its metadata say so."""
    file = tmp_path / "team.jit"
    assert export_main(["any", str(file), "--task", "tblock", "--num-agents", "3"]) == 0
    extra = {"metadata.json": ""}
    exported = torch.jit.load(str(file), _extra_files=extra)
    obs = torch.randn(5, 3, 35, generator=torch.Generator().manual_seed(3))
    difference = exported(obs) - load_policy("any", "tblock", num_agents=3).act(obs)
    assert difference.abs().max() < 1e-5
    metadata = json.loads(extra["metadata.json"])
    assert (metadata["task"], metadata["num_agents"]) == ("tblock", 3)
    assert export_main(["cuboid", str(tmp_path / "no.jit"), "--num-agents", "3"]) == 2
    assert export_main(["any", str(tmp_path / "no.jit"), "--num-agents", "0"]) == 2
    assert not (tmp_path / "no.jit").exists()
