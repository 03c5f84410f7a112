"""Contracts of the fake of MQE: it is as strict as MQE, so that code that works on it can work on the original."""

from __future__ import annotations

import argparse
import types

import pytest
import torch
from doubles import NUM_ENVS, forget_doubles, load_doubles

pytestmark = pytest.mark.adapters


@pytest.fixture(autouse=True)
def upstream(monkeypatch):
    """Load the fakes in their own folder as the working directory, and unload them after the test."""
    from doubles import FOLDER

    load_doubles(monkeypatch)
    monkeypatch.chdir(str(FOLDER))
    yield
    forget_doubles()


def arguments(**changes):
    from isaacgym import gymapi

    values = {"num_envs": NUM_ENVS, "seed": 3, "physics_engine": gymapi.SIM_PHYSX, "use_gpu": False, "subscenes": 0}
    values.update(use_gpu_pipeline=False, num_threads=0, sim_device="cpu", headless=True, record_video=False)
    return argparse.Namespace(**dict(values, **changes))


def make(args=None):
    from mqe.envs.utils import custom_cfg, make_mqe_env

    if args is None:
        args = arguments()
    env, _ = make_mqe_env("go1push_mid", args, custom_cfg(args))
    return env


def test_double_has_upstreams_shapes():
    """Observation, reward, flags and root states have upstream's shapes and types."""
    env = make()
    assert env.reset().shape == (NUM_ENVS, 2, 8)
    obs, reward, done, _ = env.step(torch.zeros(NUM_ENVS, 2, 3))
    assert (obs.shape, reward.shape, done.shape, done.dtype) == ((5, 2, 8), (5, 2), (5,), torch.bool)
    assert (env.root_states.shape, env.root_states_npc.shape, env.base_quat.shape) == ((10, 13), (10, 13), (10, 4))
    assert env.max_episode_length == 1000
    assert env.num_npcs == 2


def test_double_refuses_transposed_actions_as_upstream_does():
    """Actions with the agents in the first axis do not broadcast with the scale."""
    env = make()
    env.reset()
    with pytest.raises(RuntimeError, match="must match the size"):
        env.step(torch.zeros(2, NUM_ENVS, 3))


@pytest.mark.parametrize("name", ["record_video", "seed", "subscenes", "use_gpu"])
def test_double_without_an_argument_raises_attribute_error(name):
    """Every argument that upstream reads must be given."""
    args = arguments()
    delattr(args, name)
    with pytest.raises(AttributeError, match=name):
        make(args)


def test_double_takes_any_object_with_these_attributes():
    """No line of upstream looks at the type of its arguments: a SimpleNamespace works, as there."""
    env = make(types.SimpleNamespace(**vars(arguments())))
    assert env.num_envs == NUM_ENVS


def test_double_without_custom_cfg_has_the_number_of_envs_but_also_a_camera():
    """Upstream takes the number of envs from the arguments anyway; only `record_video` needs `custom_cfg`."""
    from mqe.envs.utils import make_mqe_env

    env, _ = make_mqe_env("go1push_mid", arguments())
    assert env.num_envs == NUM_ENVS
    assert env.cfg.env.record_video


def test_double_multiplies_the_contact_pairs_in_place():
    """The parameters that the task gets have five times as many afterwards, as in upstream."""
    env = make()
    assert env.sim_params.physx.max_gpu_contact_pairs == 5 * 2**23
    assert env.sim._max_gpu_contact_pairs == 5 * 2**23


def test_double_refuses_a_second_simulation():
    """A process can have one simulation."""
    make()
    with pytest.raises(RuntimeError, match="second simulation"):
        make()


def test_double_depends_on_the_working_directory(monkeypatch, tmp_path):
    """Upstream's own configuration finds its networks only from its own folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="unitree_go1"):
        make()


def test_double_cannot_be_closed():
    """Upstream's wrapper calls `close` on an environment that has no such method."""
    with pytest.raises(AttributeError, match="close"):
        make().close()


def test_double_keeps_the_last_heading_after_a_reset():
    """The first observation of an episode has the new positions and the old heading."""
    env = make()
    env.reset()
    env.step(torch.zeros(NUM_ENVS, 2, 3))
    heading = env.base_quat.clone()
    env.reset()
    assert torch.equal(env.base_quat, heading)
    assert not torch.allclose(env.root_states[:, 3:7], heading)
