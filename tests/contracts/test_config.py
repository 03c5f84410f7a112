"""Contracts of configuration and presets."""

from __future__ import annotations

import dataclasses
import json

import pytest

from mapush.assembly import TASKS
from mapush.config import HappoConfig, PushRunConfig, run_config_from_dict, steps_per_decision, to_dict
from mapush.errors import ConfigError
from mapush.presets import PRESETS, preset
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
    """A preset names itself, holds at least one rollout, and is the same after a trip through a file."""
    config = preset(task, name)
    assert (config.task_name, config.preset) == (task, name)
    assert config.total_steps >= config.num_envs * config.num_steps * steps_per_decision(config)
    assert run_config_from_dict(json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize("task, name, meant", [("cubiod", "default", "cuboid"), ("cuboid", "quik", "quick")])
def test_preset_unknown_name_suggests_the_nearest(task, name, meant):
    """A misspelt task or preset gets the one that was meant."""
    with pytest.raises(ConfigError) as caught:
        preset(task, name)
    assert f"did you mean {meant!r}" in caught.value.what


def test_config_unknown_key_is_refused_with_its_path():
    """A key that does not exist is an error that names it from the top, and the nearest valid one."""
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
    """HARL's whole `happo.yaml` loads; names that differ are translated, and `5e-4` without a dot is a number."""
    config = harl(tmp_path, HAPPO_YAML)
    assert (config.num_envs, config.total_steps, config.num_steps, config.seed) == (20, 10_000_000, 200, 7)
    assert (config.device, config.log_interval) == ("cpu", 5)
    assert (config.happo.lr, config.happo.gamma, config.happo.hidden_sizes) == (5e-4, 0.97, (64, 32))
    assert config.happo.activation_func == "tanh"


def test_harl_config_of_a_run_loads(tmp_path):
    """The `config.json` that HARL leaves beside a run loads like a `happo.yaml`."""
    import yaml

    run = {"main_args": {"algo": "happo"}, "algo_args": yaml.safe_load(HAPPO_YAML), "env_args": {"state_type": "EP"}}
    assert harl(tmp_path, json.dumps(run), "config.json").happo.gamma == 0.97
    run["env_args"]["state_type"] = "FP"
    with pytest.raises(ConfigError, match="per-agent states"):
        harl(tmp_path, json.dumps(run), "config.json")
    run["main_args"]["algo"] = "mappo"
    with pytest.raises(ConfigError, match="not a run of HAPPO"):
        harl(tmp_path, json.dumps(run), "config.json")


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
    """What cannot be done is an error, never silence."""
    assert old in HAPPO_YAML
    with pytest.raises(ConfigError, match=said):
        harl(tmp_path, HAPPO_YAML.replace(old, new, 1))


def test_harl_config_missing_file_is_refused(tmp_path):
    """A configuration that is not there is an error that names it."""
    with pytest.raises(ConfigError) as caught:
        apply(preset("cuboid", "default"), tmp_path / "none.yaml")
    assert str(tmp_path) in caught.value.where
