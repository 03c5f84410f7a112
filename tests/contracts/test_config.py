"""Contracts of configuration and presets."""

from __future__ import annotations

import dataclasses
import json

import pytest
from typing_extensions import Literal, get_args, get_origin, get_type_hints

from mapush.assembly import TASKS
from mapush.config import (
    HappoConfig,
    PushRunConfig,
    SimConfig,
    require_full_minibatches,
    run_config_from_dict,
    steps_per_decision,
    to_dict,
)
from mapush.errors import ConfigError
from mapush.objects import CUBOID, OBJECTS
from mapush.presets import PRESETS, PUSH_PRESETS, preset
from mapush.run.folder import flat
from mapush.train import main, parse
from mapush.upstream.harl_config import apply

pytestmark = pytest.mark.contracts

ALL_PRESETS = [(task, name) for task in PRESETS for name in PRESETS[task]]

HAPPO_YAML = """
seed: {seed_specify: True, seed: 7}
device: {cuda: False, cuda_deterministic: True, torch_threads: 4}
train: {n_rollout_threads: 20, num_env_steps: 10000000, episode_length: 200, log_interval: 5, eval_interval: 25,
  use_valuenorm: True, use_linear_lr_decay: False, use_proper_time_limits: True, model_dir: ~}
eval: {use_eval: True, n_eval_rollout_threads: 10, eval_episodes: 20}
render: {use_render: False, render_episodes: 10}
model: {hidden_sizes: [64, 32], activation_func: tanh, use_feature_normalization: True,
  initialization_method: orthogonal_, gain: 0.01, use_naive_recurrent_policy: False, use_recurrent_policy: False,
  recurrent_n: 1, data_chunk_length: 10, lr: 5e-4, critic_lr: 0.0005, opti_eps: 0.00001, weight_decay: 0,
  std_x_coef: 1, std_y_coef: 0.5}
algo: {ppo_epoch: 5, critic_epoch: 5, use_clipped_value_loss: True, clip_param: 0.2, actor_num_mini_batch: 1,
  critic_num_mini_batch: 1, entropy_coef: 0.01, value_loss_coef: 1, use_max_grad_norm: True, max_grad_norm: 10.0,
  use_gae: True, gamma: 0.97, gae_lambda: 0.95, use_huber_loss: True, use_policy_active_masks: True,
  huber_delta: 10.0, action_aggregation: prod, share_param: False, fixed_order: False}
logger: {log_dir: ./results}
"""


def test_every_task_has_a_default_preset():
    """Each task that can be named can be trained."""
    assert set(PRESETS) == set(TASKS)
    assert all("default" in presets for presets in PRESETS.values())


@pytest.mark.parametrize("task, name", ALL_PRESETS)
def test_preset_is_complete_and_survives_json(task, name):
    """A preset names itself, has room for at least one rollout, and survives a round trip through JSON."""
    config = preset(task, name)
    assert (config.task_name, config.preset) == (task, name)
    assert config.total_steps >= config.num_envs * config.num_steps * steps_per_decision(config)
    assert run_config_from_dict(json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize("task, name, meant", [("cubiod", "default", "cuboid"), ("cuboid", "quik", "quick")])
def test_preset_unknown_name_suggests_the_closest(task, name, meant):
    """The error for a misspelt task or preset suggests the right one."""
    with pytest.raises(ConfigError) as caught:
        preset(task, name)
    assert f"did you mean {meant!r}" in caught.value.what


def test_object_without_published_rewards_has_no_published_preset(monkeypatch):
    """A new object can be trained with every other preset; the error for this one says where to add its rewards."""
    monkeypatch.setitem(OBJECTS, "sphere", dataclasses.replace(CUBOID, name="sphere"))
    monkeypatch.setitem(PRESETS, "sphere", {"default": PUSH_PRESETS["default"]})
    assert preset("sphere").task_name == "sphere"
    with pytest.raises(ConfigError, match="published no rewards") as caught:
        preset("sphere", "published")
    assert "PUBLISHED_REWARDS" in caught.value.fix


def test_part_of_unknown_shape_is_refused():
    """An object with a shape that the simulators do not know cannot be made."""
    with pytest.raises(ConfigError, match="did you mean 'cylinder'"):
        dataclasses.replace(CUBOID.parts[0], shape="cylindre")


@pytest.mark.parametrize("section", [HappoConfig, PushRunConfig, SimConfig])
def test_unknown_choice_suggests_the_closest(section):
    """Every field with a fixed set of choices refuses others by name."""
    hints = get_type_hints(section)
    choices = {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}
    assert choices
    for name, valid in choices.items():
        with pytest.raises(ConfigError, match=f"did you mean '{valid[-1]}'"):
            section(**{name: valid[-1] + "x"})


# -- the command line ------------------------------------------------------------------------------------------------


def test_command_line_changes_its_preset():
    """The preset gives the defaults, and each flag changes one of them."""
    config, run_dir, resume = parse("tblock --preset quick --num-envs 7 --happo.lr 0.1 --run-dir there".split())
    expected = preset("tblock", "quick")
    happo = dataclasses.replace(expected.happo, lr=0.1)
    assert config == dataclasses.replace(expected, num_envs=7, happo=happo)
    assert str(run_dir) == "there"
    assert not resume


def test_command_line_without_a_task_trains_the_cuboid():
    """The task may be left out; a HARL configuration then changes the cuboid's default preset."""
    assert parse([])[0] == preset("cuboid", "default")


def test_command_line_task_must_come_first():
    """A task in any other place would come too late to choose the defaults, so it is refused."""
    with pytest.raises(ConfigError, match="not the first word"):
        parse(["--num-envs", "7", "walk"])


@pytest.mark.parametrize("task", TASKS)
def test_help_lists_every_flag_and_every_choice(task, capsys):
    """--help shows the flags of the run, a flag for every setting, and the choices of those that have some."""
    with pytest.raises(SystemExit) as ended:
        parse([task, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for flag in ("--preset", "--run-dir", "--resume", "--load-config"):
        assert flag in said
    for name in flat(to_dict(preset(task, "default"))):
        if name not in ("task_name", "preset", "task.object"):
            assert "--" + name.replace("_", "-").replace("sim.backend", "sim") in said, name
    for choices in ("{native,harl}", "{auto,mujoco,warp,isaacgym,standin}", "{relu,tanh,sigmoid,leaky_relu,selu}"):
        assert choices in said


# -- configuration files ---------------------------------------------------------------------------------------------


def test_config_unknown_key_is_refused_with_its_path():
    """The error for an unknown key gives its dotted name and suggests the closest one."""
    values = to_dict(PushRunConfig())
    values["happo"]["gama"] = 0.9
    with pytest.raises(ConfigError) as caught:
        run_config_from_dict(values)
    assert caught.value.what == "unknown setting 'happo.gama'; did you mean 'happo.gamma'?"


@pytest.mark.parametrize(
    "field, value", [("gamma", 1.5), ("lr", 0.0), ("ppo_epoch", 0), ("hidden_sizes", ()), ("action_aggregation", "sum")]
)
def test_happo_config_out_of_range_is_refused(field, value):
    """A value that cannot train is refused when the configuration is made."""
    with pytest.raises(ConfigError):
        dataclasses.replace(HappoConfig(), **{field: value})


def harl(tmp_path, text, name="happo.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return apply(preset("cuboid", "published"), path)


def test_harl_config_every_key_takes_effect_under_our_name(tmp_path):
    """HARL's complete `happo.yaml` loads; different names are translated, and `5e-4` without a dot is a number."""
    config = harl(tmp_path, HAPPO_YAML)
    assert (config.num_envs, config.total_steps, config.num_steps, config.seed) == (20, 10_000_000, 200, 7)
    assert (config.device, config.log_interval) == ("cpu", 5)
    assert (config.happo.lr, config.happo.gamma, config.happo.hidden_sizes) == (5e-4, 0.97, (64, 32))
    assert config.happo.activation_func == "tanh"


def test_harl_config_of_a_run_loads(tmp_path):
    """The `config.json` of a HARL run loads like a `happo.yaml`."""
    import yaml

    run = {"main_args": {"algo": "happo"}, "algo_args": yaml.safe_load(HAPPO_YAML), "env_args": {"state_type": "EP"}}
    assert harl(tmp_path, json.dumps(run), "config.json").happo.gamma == 0.97
    run["env_args"]["state_type"] = "FP"
    with pytest.raises(ConfigError, match="per-agent states"):
        harl(tmp_path, json.dumps(run), "config.json")
    run["main_args"]["algo"] = "mappo"
    with pytest.raises(ConfigError, match="not a run of HAPPO"):
        harl(tmp_path, json.dumps(run), "config.json")


@pytest.mark.parametrize("name", ["actor_num_mini_batch", "critic_num_mini_batch"])
def test_more_minibatches_than_samples_are_refused_before_training(tmp_path, name, capsys):
    """An empty minibatch is one message with the numbers, for both learners; no folder is made."""
    flag = "--happo." + name.replace("_", "-")
    words = [
        "cuboid",
        "--num-envs",
        "3",
        "--num-steps",
        "2",
        "--total-steps",
        "600",
        "--run-dir",
        str(tmp_path / "run"),
    ]
    for learner in ("native", "harl"):
        assert main(words + ["--happo.actor-num-mini-batch", "6", flag, "7", "--learner", learner]) == 2
        said = capsys.readouterr().err
        assert "a rollout has fewer samples than minibatches" in said
        assert f"{flag} 7" in said
        assert "at most 6 = num_envs 3 x num_steps 2" in said
    assert not (tmp_path / "run").exists()


def test_as_many_minibatches_as_samples_are_accepted():
    """A minibatch of one sample is small, but it is one."""
    happo = HappoConfig(actor_num_mini_batch=6, critic_num_mini_batch=6)
    require_full_minibatches(PushRunConfig(num_envs=3, num_steps=2, happo=happo))


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("gamma: 0.97", "gama: 0.97", "unknown key 'gama'"),
        ("use_recurrent_policy: False", "use_recurrent_policy: True", "recurrent networks"),
        ("model_dir: ~", "model_dir: ./models", "other weights"),
        ("ppo_epoch: 5", "ppo_epoch: five", "ppo_epoch has the wrong type"),
        ("use_gae: True", "use_gae: 3", "use_gae has the wrong type"),
        ("clip_param: 0.2", "clip_param: 0", "out of range"),
        ("algo: {", "algo: [", "does not parse"),
    ],
)
def test_harl_config_unsupported_content_is_refused_by_name(tmp_path, old, new, said):
    """An unsupported setting is an error, and is not ignored."""
    assert old in HAPPO_YAML
    with pytest.raises(ConfigError, match=said):
        harl(tmp_path, HAPPO_YAML.replace(old, new, 1))


def test_harl_config_missing_file_is_refused(tmp_path):
    """The error for a missing file names it."""
    with pytest.raises(ConfigError) as caught:
        apply(preset("cuboid", "default"), tmp_path / "none.yaml")
    assert str(tmp_path) in caught.value.where
