"""The double of MQE and Isaac Gym offers nothing that MAPush's real code on the stand-in does not offer, too."""

from __future__ import annotations

import json
import sys
import types

import described
import doubles
import pytest
import torch
from mapush_code import arguments, freeze, make_mqe, make_wrapper

from mapush.config import TaskConfig

pytestmark = [
    pytest.mark.upstream,
    pytest.mark.usefixtures("mapush_code"),
    pytest.mark.filterwarnings("ignore"),
]

DESCRIBE = """
import isaacgym, json, sys, mqe.envs.utils
import described
json.dump(described.environment(), open(sys.argv[1], "w"))
"""


@pytest.fixture(scope="module")
def original(mapush_code):
    """Return the description of MAPush's environment."""
    return described.environment()


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    """Return the description of the double, from a process of its own: both use the same names of modules."""
    file = tmp_path_factory.mktemp("double") / "described.json"
    code = DESCRIBE.replace("sys.argv[1]", repr(str(file)))
    finished = doubles.run(code, doubles.FOLDER, MQE_DOUBLE="glide")
    assert finished.returncode == 0, finished.stderr
    return json.loads(file.read_text())


def test_everything_that_the_double_offers_exists_in_mapush(original, double):
    """Every attribute has the same type, shape, dtype and device, every function the same arguments."""
    wrong = []
    for part, items in double.items():
        for name, mine in items.items():
            theirs = original.get(part, {}).get(name)
            if theirs != mine:
                wrong.append(f"{part}: {name} is {mine!r} in the double, and {theirs!r} in MAPush")
    assert not wrong, "\n".join(wrong)
    assert len(double) > 20
    assert len(double["env when stepped"]) > 40


def test_parts_of_the_double_are_those_of_mapush(original, double):
    """The double has no module that MAPush and Isaac Gym do not have."""
    assert set(double) <= set(original)


def test_observations_of_mapush_are_attributes_of_its_configuration(mapush_code):
    """The buffer of observations is the class `cfg.obs`, so all environments share it, also in the double."""
    first, second = make_wrapper("tblock", 3), make_wrapper("tblock", 4)
    assert first.obs_buf is first.cfg.obs
    assert first.obs_buf is second.obs_buf


def test_adapters_in_one_process_do_not_share_their_observations(mapush_code):
    """Our adapter gives each environment a class of its own, so a second one changes nothing in the first."""
    first, second = make_mqe(TaskConfig(object="tblock"), 3), make_mqe(TaskConfig(object="tblock"), 4)
    first.reset()
    expected = {name: value.clone() for name, value in vars(first._upstream.obs_buf).items() if torch.is_tensor(value)}
    assert "projected_gravity" in expected
    second.reset()
    for name, value in expected.items():
        assert torch.equal(getattr(first._upstream.obs_buf, name), value), name
    first.step(torch.zeros(3, 2, 3))


def test_mapush_multiplies_the_contact_pairs_of_every_environment_by_five(mapush_code):
    """A second environment gets five times as many, too, and not 25 times: each has parameters of its own."""
    for _ in range(2):
        env = make_wrapper("cuboid", 2)
        assert env.sim_params.physx.max_gpu_contact_pairs == 5 * 2**23
        assert env.cfg.sim.physx.max_gpu_contact_pairs == 2**23


def test_mapush_takes_any_object_with_these_attributes(mapush_code, monkeypatch):
    """A SimpleNamespace works, and the number of envs needs no `custom_cfg`."""
    from mqe.envs.utils import ENV_DICT, make_mqe_env

    monkeypatch.setattr(ENV_DICT["go1push_mid"]["config"].env, "record_video", False)
    env, _ = make_mqe_env("go1push_mid", types.SimpleNamespace(**vars(arguments(3))))
    assert env.num_envs == 3


@pytest.mark.parametrize("name", ["record_video", "seed", "subscenes", "use_gpu"])
def test_mapush_without_an_argument_raises_attribute_error(mapush_code, name):
    """Every argument that MAPush reads must be given."""
    from mqe.envs.utils import custom_cfg, make_mqe_env

    args = arguments(2)
    delattr(args, name)
    with pytest.raises(AttributeError, match=name):
        make_mqe_env("go1push_mid", args, custom_cfg(args))


def test_mapush_refuses_transposed_actions(mapush_code):
    """Actions with the agents in the first axis do not broadcast with the scale."""
    env = make_wrapper("cuboid", 5)
    freeze(env)
    env.reset()
    with pytest.raises(RuntimeError, match="must match the size"):
        env.step(torch.zeros(2, 5, 3))


def test_mapush_cannot_be_closed(mapush_code):
    """MAPush's wrapper calls `close` on an environment that has no such method."""
    with pytest.raises(AttributeError, match="close"):
        make_wrapper("cuboid", 2).close()


def test_mapush_depends_on_the_working_directory(mapush_code, monkeypatch, tmp_path):
    """MAPush's own configuration finds its networks only from its own folder."""
    from mqe.envs.utils import custom_cfg, make_mqe_env

    args = arguments(2)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match="unitree_go1"):
        make_mqe_env("go1push_mid", args, custom_cfg(args))


def test_the_double_is_not_what_these_tests_compare_with(mapush_code):
    """`mqe` and `isaacgym` are MAPush's checkout and the stand-in here."""
    assert str(doubles.FOLDER) not in str(sys.modules["mqe"].__file__)
    assert "isaac_standin" in str(sys.modules["isaacgym"].__file__)
