"""Contracts of `--deterministic`: where it is refused, what it sets in torch, and that it reaches a run."""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch

from mapush.config import RunConfig, SimConfig, WalkConfig
from mapush.errors import ConfigError
from mapush.presets import own_env, preset
from mapush.run import determinism
from mapush.train import Run, main, train

pytestmark = pytest.mark.contracts


def config_of(name="cuboid", backend="warp", **changes):
    """Return the configuration of a deterministic run."""
    return dataclasses.replace(preset(name), deterministic=True, sim=SimConfig(backend=backend), **changes)


@pytest.mark.parametrize("backend", ["warp", "mujoco"])
@pytest.mark.parametrize("task", ["cuboid", "tblock", "cylinder", "walk"])
def test_our_own_simulators_and_learner_are_accepted(task, backend):
    """Pushing and walking on MuJoCo and on MuJoCo Warp pass in one process."""
    determinism.require(config_of(task, backend), {})
    determinism.require(config_of(task, backend), {"WORLD_SIZE": "1", determinism.WORKSPACE: ":16:8"})


REFUSED = {
    "harl": (config_of(learner="harl"), {}, "HARL"),
    "isaacgym": (config_of(backend="isaacgym"), {}, "--sim isaacgym"),
    "standin": (config_of(backend="standin"), {}, "--sim standin"),
    "own-env": (dataclasses.replace(own_env("pointmass"), deterministic=True), {}, "your own environment"),
    "named-env": (config_of(env="toys:make"), {}, "your own environment"),
    "legs": (config_of("walk", task=WalkConfig(robot="mapush")), {}, "MAPush's own robot"),
    "two-gpus": (config_of(), {"WORLD_SIZE": "2"}, "2 processes"),
    "cublas": (config_of(), {determinism.WORKSPACE: ":0:0"}, "CUBLAS_WORKSPACE_CONFIG is :0:0"),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_run_that_cannot_keep_it_is_refused_with_the_reason(name):
    """What is not known to repeat its bits is refused before anything is made; without the flag it runs."""
    config, environ, reason = REFUSED[name]
    with pytest.raises(ConfigError, match="--deterministic cannot be kept") as caught:
        determinism.require(config, environ)
    assert reason in caught.value.cause
    assert "leave out --deterministic" in caught.value.fix
    determinism.require(dataclasses.replace(config, deterministic=False), environ)


def test_run_is_refused_before_it_makes_anything(tmp_path):
    """Training with HARL and the flag makes no env and no folder."""

    def make_env(config):
        raise AssertionError("an env was made")

    config = dataclasses.replace(config_of(backend="mujoco"), learner="harl")
    with pytest.raises(ConfigError, match="cannot be kept"):
        train(config, tmp_path / "run", make_env=make_env)
    with pytest.raises(ConfigError, match="cannot be kept"):
        Run.start(config, make_env)
    assert not (tmp_path / "run").exists()


def test_torch_is_set_inside_and_as_before_outside(monkeypatch):
    """Inside, torch uses deterministic kernels and a fixed workspace; an error, too, restores the mode."""
    monkeypatch.delenv(determinism.WORKSPACE, raising=False)
    for before in (False, True):
        torch.use_deterministic_algorithms(before)
        try:
            with pytest.raises(KeyError), determinism.of_torch():
                assert torch.are_deterministic_algorithms_enabled()
                assert os.environ[determinism.WORKSPACE] == ":4096:8"
                raise KeyError
            assert torch.are_deterministic_algorithms_enabled() is before
        finally:
            torch.use_deterministic_algorithms(False)


class Seen(Exception):
    """The env was asked for."""


@pytest.mark.parametrize("deterministic", [True, False])
def test_run_sets_torch_before_it_makes_the_env_until_it_is_closed(deterministic):
    """Sentinel: the flag of a run decides torch's mode from before its env is made, and a failure restores it."""
    modes = []

    def make_env(config):
        modes.append(torch.are_deterministic_algorithms_enabled())
        raise Seen

    with pytest.raises(Seen):
        Run.start(dataclasses.replace(config_of(backend="mujoco"), deterministic=deterministic), make_env)
    assert modes == [deterministic]
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.mujoco
def test_closed_run_leaves_torch_as_it_was():
    """A run is deterministic from its start to its end, on the CPU as on a GPU."""
    config = dataclasses.replace(config_of("walk", "mujoco"), num_envs=3, num_steps=2, device="cpu")
    run = Run.start(config)
    assert torch.are_deterministic_algorithms_enabled()
    run.iterate()
    run.close()
    assert not torch.are_deterministic_algorithms_enabled()


def test_flag_is_off_by_default_and_parsed(capsys):
    """A run repeats its bits on a GPU only on request; `--deterministic` with HARL ends with the reason."""
    assert not RunConfig().deterministic
    assert main(["cuboid", "--sim", "mujoco", "--learner", "harl", "--deterministic"]) == 2
    assert "--deterministic cannot be kept" in capsys.readouterr().err
