"""Contracts of settings that cannot act: refused by name in one message, and never a setting that does act."""

from __future__ import annotations

import dataclasses

import pytest

from mapush.config import MIXED_TASK, HarlConfig, PushRunConfig, RunConfig, SimConfig, WalkConfig, WalkRunConfig
from mapush.errors import ConfigError
from mapush.presets import PRESETS, preset
from mapush.run.idle_settings import refuse_idle
from mapush.sim import OF_MQE
from mapush.train import main

pytestmark = pytest.mark.contracts

SETTINGS = {
    "vram_limit": {"vram_limit": "8GiB"},
    "sim.threads": {"sim": {"threads": 3}},
    "sim.nconmax": {"sim": {"nconmax": 40}},
    "sim.njmax": {"sim": {"njmax": 90}},
    "sim.contact_pairs": {"sim": {"contact_pairs": 5.0}},
    "harl.eval_episodes": {"harl": {"eval_episodes": 2}},
}
GPU_SIMULATOR = {"vram_limit", "sim.nconmax", "sim.njmax"}
PLACES = [  # backend, whether the stand-in is on a GPU, learner, and the settings that act there
    ("mujoco", False, "native", {"sim.threads"}),
    ("mujoco", False, "harl", {"sim.threads", "harl.eval_episodes"}),
    ("warp", False, "native", GPU_SIMULATOR),
    ("isaacgym", False, "native", {"sim.contact_pairs"}),
    ("standin", False, "harl", {"sim.threads", "sim.contact_pairs", "harl.eval_episodes"}),
    ("standin", True, "native", GPU_SIMULATOR | {"sim.contact_pairs"}),
]


def run_with(backend, learner, setting):
    """Return a run of the pushing task with one setting changed."""
    values = SETTINGS[setting]
    return PushRunConfig(
        learner=learner,
        vram_limit=values.get("vram_limit"),
        sim=SimConfig(backend=backend, **values.get("sim", {})),
        harl=HarlConfig(**values.get("harl", {})),
    )


@pytest.mark.parametrize("setting", sorted(SETTINGS))
@pytest.mark.parametrize("backend, standin_on_gpu, learner, acting", PLACES)
def test_setting_is_refused_exactly_where_it_cannot_act(setting, backend, standin_on_gpu, learner, acting):
    """The documented table of where each setting acts, by hand."""
    config = run_with(backend, learner, setting)
    if setting in acting:
        refuse_idle(config, standin_on_gpu=standin_on_gpu)
        return
    with pytest.raises(ConfigError, match="cannot act") as caught:
        refuse_idle(config, standin_on_gpu=standin_on_gpu)
    assert f"--{setting.replace('_', '-')} " in caught.value.got
    assert "acts only with --" in caught.value.got
    assert backend in caught.value.where


def test_all_idle_settings_are_in_one_message():
    """Two idle settings make one error that names both."""
    config = dataclasses.replace(run_with("warp", "native", "sim.threads"), harl=HarlConfig(eval_episodes=2))
    with pytest.raises(ConfigError) as caught:
        refuse_idle(config)
    assert "--sim.threads 3" in caught.value.got
    assert "--harl.eval-episodes 2" in caught.value.got


def test_own_environment_has_no_simulator_to_set():
    """A run on your own environment uses none of our simulators, so none of their settings acts."""
    for setting in ("vram_limit", "sim.threads", "sim.nconmax", "sim.contact_pairs"):
        values = SETTINGS[setting]
        config = RunConfig(vram_limit=values.get("vram_limit"), sim=SimConfig("mujoco", **values.get("sim", {})))
        with pytest.raises(ConfigError) as caught:
            refuse_idle(config)
        assert "your own environment" in caught.value.where


def test_walking_robot_of_mapush_has_fixed_buffers():
    """Its simulation has measured buffers, whatever the flags say."""
    for robot, refused in (("go1", False), ("mapush", True)):
        config = WalkRunConfig(task_name="walk", sim=SimConfig("warp", nconmax=40), task=WalkConfig(robot=robot))
        if refused:
            with pytest.raises(ConfigError, match="cannot act"):
                refuse_idle(config)
        else:
            refuse_idle(config)


def test_resumed_run_keeps_the_settings_that_it_was_made_with():
    """A run of an older version, made with an idle setting, can be resumed; only a new idle setting is refused."""
    made = run_with("mujoco", "native", "vram_limit")
    refuse_idle(made, before=made)
    with pytest.raises(ConfigError, match="cannot act"):
        refuse_idle(dataclasses.replace(made, vram_limit="9GiB"), before=made)


@pytest.mark.parametrize("backend", ["mujoco", "warp", "isaacgym", "standin"])
def test_presets_have_no_idle_setting(backend):
    """Every preset can be run on every simulator, but the mix of objects only on those that are not MAPush's own."""
    tasks = dict(PRESETS)
    if backend in OF_MQE:
        del tasks[MIXED_TASK]
    for task, names in tasks.items():
        for name in names:
            refuse_idle(dataclasses.replace(preset(task, name), sim=SimConfig(backend)))


def test_vram_limit_on_a_cpu_is_refused_by_the_command(tmp_path, monkeypatch, capsys):
    """The command exits with 2 before it makes anything."""
    monkeypatch.chdir(tmp_path)
    assert main(["cuboid", "--sim", "mujoco", "--vram-limit", "8GiB"]) == 2
    assert "--vram-limit 8GiB, which acts only with --sim warp" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unknown_preset_lists_all_presets_with_a_line_each(capsys):
    """`--preset fast` resembles none, so none is suggested; each preset has its line."""
    assert main(["cuboid", "--preset", "fast"]) == 2
    message = capsys.readouterr().err
    assert "unknown preset 'fast'\n" in message
    assert "did you mean" not in message
    for name in PRESETS["cuboid"]:
        assert any(line.split()[:1] == [name] and len(line.split()) > 4 for line in message.splitlines()), name


@pytest.mark.parametrize("task", sorted(PRESETS))
def test_every_preset_has_its_line(task):
    """The list of an unknown preset names all of the task's presets, also those of walk."""
    with pytest.raises(ConfigError) as caught:
        preset(task, "zzz")
    for name in PRESETS[task]:
        assert any(line.split()[0] == name for line in caught.value.expected.splitlines())
