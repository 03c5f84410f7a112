"""Contracts of reading and writing HARL's saved models; HARL itself is not needed."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import OrderedDict

import pytest
import torch
from runs import assert_same

from mapush.assembly import make_agent
from mapush.config import HappoConfig, PushRunConfig, TaskConfig
from mapush.errors import CheckpointError, ConfigError
from mapush.evaluation import policy_formats
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.evaluation.loaded_policy import checkpoint_paths
from mapush.evaluation.policy_formats import LoadOptions, load_checkpoint
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint
from mapush.run.folder import RunFolder
from mapush.upstream.harl import models

pytestmark = pytest.mark.adapters

SIZES = {"num_agents": 3, "obs_dim": 8, "share_obs_dim": 11, "action_dim": 2}
CONFIG = PushRunConfig(device="cpu", happo=HappoConfig(hidden_sizes=(16, 12, 9), activation_func="tanh"))


def policy(**happo):
    """Return an untrained policy as a mapush checkpoint."""
    config = dataclasses.replace(CONFIG, happo=dataclasses.replace(CONFIG.happo, **happo))
    return Checkpoint(config, 70, SIZES, make_agent(config, SIZES).state_dict(), {})


def write(folder, checkpoint=None):
    """Write the models of a policy; return their folder."""
    return models.write(checkpoint or policy(), folder / "models")


class RunsCode:
    """Makes a folder when it is unpickled."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("change", [{}, {"use_feature_normalization": False}, {"hidden_sizes": (5,)}])
def test_models_written_and_read_are_the_same(tmp_path, change):
    """Weights, value statistics and sizes are unchanged, and the network's settings follow from the weights."""
    saved = policy(**change)
    found = models.read(write(tmp_path, saved), CONFIG, step=70)
    for name in ("actors", "critic", "value_norm"):
        if name == "actors":
            written = [dict(actor) for actor in saved.agent[name]]
        else:
            written = dict(saved.agent[name])
        assert_same(found.agent[name], written, name)
    assert (found.sizes, found.step, found.run) == (SIZES, 70, {})
    assert found.config == saved.config


def test_models_have_harls_names_and_hold_a_state_dict_each(tmp_path):
    """The files are those that HARL's `restore` opens: one for each actor, the critic and the statistics."""
    names = sorted(path.name for path in write(tmp_path).iterdir())
    assert names == ["actor_agent0.pt", "actor_agent1.pt", "actor_agent2.pt", "critic_agent.pt", "value_normalizer.pt"]
    weights = torch.load(str(tmp_path / "models" / "critic_agent.pt"), weights_only=True)
    assert weights["v_out.weight"].shape == (1, 9)
    assert "base.mlp.fc.6.weight" in weights


def test_models_without_critic_are_a_policy(tmp_path):
    """HARL's render mode and an evaluation need only actors; the size of the critic's state is then unknown."""
    folder = write(tmp_path)
    for name in (models.CRITIC, models.VALUE_NORM):
        (folder / name).unlink()
    found = models.read(folder, CONFIG)
    assert "share_obs_dim" not in found.sizes
    assert set(found.agent) == {"actors"}
    written = models.write(found, tmp_path / "again")
    names = sorted(path.name for path in written.iterdir())
    assert names == ["actor_agent0.pt", "actor_agent1.pt", "actor_agent2.pt"]


def test_models_of_more_than_ten_agents_keep_their_order(tmp_path):
    """Agent 10 comes after agent 9."""
    sizes = dict(SIZES, num_agents=11)
    agents = make_agent(CONFIG, sizes).state_dict()
    folder = models.write(Checkpoint(CONFIG, 0, sizes, agents, {}), tmp_path / "models")
    found = models.read(folder, CONFIG).agent["actors"]
    assert_same(found, [dict(one) for one in agents["actors"]], "actors")


def test_models_take_the_activation_from_harls_configuration(tmp_path):
    """The activation is read from `config.json` next to the folder; an unknown one is refused."""
    folder = write(tmp_path)
    config_file = tmp_path / "config.json"
    config_file.write_text(json.dumps({"algo_args": {"model": {"activation_func": "selu", "gain": 0.5}}}))
    assert models.read(folder, CONFIG).config.happo.activation_func == "selu"
    config_file.write_text(json.dumps({"algo_args": {"model": {"activation_func": "hardswish"}}}))
    with pytest.raises(ConfigError, match="unknown happo.activation_func 'hardswish'"):
        models.read(folder, CONFIG)
    config_file.write_text("{")
    with pytest.raises(CheckpointError, match="does not parse"):
        models.read(folder, CONFIG)


def test_models_in_a_mapush_run_belong_to_its_task(tmp_path):
    """`models/` of a run with `--learner harl` has the task of that run, and fits no other task."""
    run = dataclasses.replace(CONFIG, task_name="tblock", task=TaskConfig(object="tblock", steps_per_decision=4))
    RunFolder.create(run, tmp_path / "run").close()
    folder = write(tmp_path / "run", policy())
    assert load_checkpoint(folder, "tblock").config.task == run.task
    assert load_checkpoint(write(tmp_path), "cuboid").config.task.steps_per_decision == 1
    with pytest.raises(CheckpointError, match="does not fit"):
        load_checkpoint(folder, "cuboid")


def test_models_are_found_in_their_folder_and_in_a_harl_run(tmp_path):
    """`--checkpoint` takes a HARL run or its models; in a mapush run, the mapush checkpoints are used."""
    folder = write(tmp_path)
    assert models.folder_in(folder) == models.folder_in(tmp_path) == folder
    assert models.folder_in(tmp_path.parent) is None
    config = EvaluateConfig(checkpoint=(tmp_path,))
    assert checkpoint_paths(config) == [tmp_path]
    ours = checkpoints.save(policy(), checkpoints.path_of(tmp_path, 70))
    assert checkpoint_paths(config) == [ours]


@pytest.mark.parametrize("name", ["actor_agent1.pt", "critic_agent.pt", "value_normalizer.pt"])
def test_model_that_asks_to_run_code_is_refused(tmp_path, name):
    """A file that would execute code when it is unpickled is refused, and no code runs."""
    folder = write(tmp_path)
    torch.save({"base.mlp.fc.0.weight": RunsCode(tmp_path / "executed")}, str(folder / name))
    with pytest.raises(CheckpointError, match="asks to execute code") as caught:
        models.read(folder, CONFIG)
    assert name in caught.value.where
    assert "mkdir" in caught.value.got
    assert not (tmp_path / "executed").exists()


def test_own_checkpoint_that_asks_to_run_code_is_refused(tmp_path):
    """A mapush checkpoint that would execute code is refused, too."""
    path = tmp_path / "step_000000000070.pt"
    torch.save({"agent": RunsCode(tmp_path / "executed")}, str(path))
    with pytest.raises(CheckpointError, match="asks to execute code"):
        checkpoints.load(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("change", ["recurrent", "discrete", "no dict", "cut short"])
def test_model_of_a_different_kind_is_refused(tmp_path, change):
    """Recurrent and discrete policies, other objects and damaged files give one message with the file's name."""
    path = write(tmp_path) / "actor_agent1.pt"
    weights = OrderedDict(torch.load(str(path), weights_only=True))
    if change == "recurrent":
        weights["rnn.rnn.weight_ih_l0"] = torch.zeros(3, 3)
    elif change == "discrete":
        weights["act.action_out.linear.weight"] = weights.pop("act.action_out.fc_mean.weight")
    torch.save(weights, str(path))
    if change == "no dict":
        torch.save([1.5], str(path))
    if change == "cut short":
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError) as caught:
        models.read(path.parent, CONFIG)
    assert caught.value.where == str(path)
    said = "not the weights of one of HARL's feed-forward networks"
    if change == "cut short":
        said = "not a complete checkpoint"
    assert said in caught.value.what


def test_formats_are_recognised_by_what_was_saved(tmp_path):
    """HARL's folder and a mapush file have their own formats; any other path is left to the loader of mapush."""
    folder = write(tmp_path)
    ours = checkpoints.save(policy(), tmp_path / "ours.pt")
    assert policy_formats.format_of(folder).name == "HARL"
    assert policy_formats.format_of(ours) is policy_formats.MAPUSH
    assert policy_formats.format_of(tmp_path / "missing.pt") is policy_formats.MAPUSH
    assert not policy_formats.is_run(folder)
    assert not policy_formats.is_run(ours)
    with pytest.raises(CheckpointError, match="missing|no such checkpoint"):
        policy_formats.load(tmp_path / "missing.pt", LoadOptions("cuboid"))


def test_policy_loads_alike_from_both_formats(tmp_path):
    """The same weights act in the same way, whether mapush or HARL saved them."""
    saved = policy(activation_func="relu")  # the default, which HARL's weights do not contain
    ours = policy_formats.load(checkpoints.save(saved, tmp_path / "ours.pt"), LoadOptions("cuboid"))
    harls = policy_formats.load(write(tmp_path, saved), LoadOptions("cuboid", upstream_quirks=True))
    assert (ours.step, harls.step) == (70, 0)
    assert not ours.config.task.upstream_quirks
    assert harls.config.task.upstream_quirks
    obs = torch.randn(5, 3, 8)
    assert torch.equal(ours.agent.act_deterministic(obs), harls.agent.act_deterministic(obs))
