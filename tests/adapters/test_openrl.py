"""Contracts of MAPush's policies: they are read without OpenRL, and no code in their files runs."""

from __future__ import annotations

import io
import pickle
import sys
import types
import zipfile

import pytest
import torch
from torch import nn

from mapush.config import SimConfig
from mapush.errors import CheckpointError
from mapush.evaluation import policy_formats
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.evaluation.loaded_policy import load_in_env, require_readable
from mapush.evaluation.policy_formats import LoadOptions
from mapush.export import main as export_main
from mapush.objects import OBJECTS
from mapush.upstream import openrl

pytestmark = pytest.mark.adapters

FEATURES, HIDDEN, ACTIONS = 8, 7, 3


def module_of(kind, path):
    """Return a class as OpenRL defines it."""
    return type(kind, (nn.Module,), {"__module__": path})


class OpensFile:
    """An object that opens a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


PLACES = {
    "PPOModule": "ppo_module",
    "PolicyNetwork": "networks.policy_network",
    "MLPBase": "networks.utils.mlp",
    "MLPLayer": "networks.utils.mlp",
    "ACTLayer": "networks.utils.act",
    "DiagGaussian": "networks.utils.distributions",
}


@pytest.fixture
def classes(monkeypatch):
    """Return OpenRL's classes, which can be imported during the test."""
    made = {}
    for kind, place in PLACES.items():
        parts = ("openrl.modules." + place).split(".")
        for end in range(1, len(parts) + 1):
            path = ".".join(parts[:end])
            if path not in sys.modules:
                monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
        made[kind] = module_of(kind, path)
        setattr(sys.modules[path], kind, made[kind])
    return made


def policy(classes, hidden_layers=0, feature_norm=False, last=nn.ReLU):
    """Return an actor of OpenRL, and the same layers as a sequence."""
    torch.manual_seed(4)

    def block(size_in):
        return nn.Sequential(nn.Linear(size_in, HIDDEN), nn.ReLU(), nn.LayerNorm(HIDDEN))

    actor, base, mlp = classes["PolicyNetwork"](), classes["MLPBase"](), classes["MLPLayer"]()
    act, head = classes["ACTLayer"](), classes["DiagGaussian"]()
    row = []
    if feature_norm:
        base.feature_norm = nn.LayerNorm(FEATURES)
        row.append(base.feature_norm)
    mlp.fc1 = block(FEATURES)
    row.append(mlp.fc1)
    if hidden_layers:
        mlp.fc_h = block(HIDDEN)  # OpenRL keeps the block that it cloned
        mlp.fc2 = nn.ModuleList([block(HIDDEN) for _ in range(hidden_layers)])
        row += list(mlp.fc2)
    mlp.fc3 = nn.Sequential(nn.Linear(HIDDEN, HIDDEN), nn.LayerNorm(HIDDEN))
    head.fc_mean = nn.Linear(HIDDEN, ACTIONS)
    for parameter in list(mlp.parameters()) + list(head.parameters()):
        nn.init.normal_(parameter)
    base.mlp, act.action_out = mlp, head
    actor.base, actor.act = base, act
    return actor, nn.Sequential(*row, mlp.fc3, head.fc_mean)


def save(classes, path, actor, **attributes):
    """Write the file as OpenRL does: the complete module."""
    module = classes["PPOModule"]()
    module.__dict__["models"] = {"policy": actor, "critic": nn.Linear(2, 1)}
    for name, value in attributes.items():
        module.__dict__[name] = value
    torch.save(module, str(path))


@pytest.mark.parametrize("hidden_layers, feature_norm", [(0, False), (2, False), (1, True)])
def test_load_computes_what_openrl_computes(classes, tmp_path, monkeypatch, hidden_layers, feature_norm):
    """Without OpenRL, the mean actions are those of the layers in OpenRL's order."""
    actor, row = policy(classes, hidden_layers, feature_norm)
    save(classes, tmp_path / "module.pt", actor)
    for name in list(sys.modules):
        if name.startswith("openrl"):
            monkeypatch.setitem(sys.modules, name, None)
    team = openrl.load(tmp_path / "module.pt")
    obs = torch.randn(5, 2, FEATURES)
    torch.testing.assert_close(team.act_deterministic(obs), row(obs).detach(), rtol=0, atol=0)
    half = openrl.load(tmp_path / "module.pt", scale=0.5)
    torch.testing.assert_close(half.act_deterministic(obs), 0.5 * row(obs).detach())
    assert (team.obs_dim, team.action_dim) == (FEATURES, ACTIONS)
    openrl.require_fit(team, tmp_path, OBJECTS["cuboid"])
    with pytest.raises(CheckpointError, match="(?s)does not fit.*11 features"):
        openrl.require_fit(team, tmp_path, OBJECTS["cylinder"])


def test_recognises_only_openrls_files(classes, tmp_path):
    """A mapush checkpoint, a text file and a missing file are not recognised."""
    actor, _ = policy(classes)
    save(classes, tmp_path / "module.pt", actor)
    torch.save({"format": 1}, str(tmp_path / "ours.pt"))
    (tmp_path / "text.pt").write_text("openrl.modules.")
    assert openrl.recognises(tmp_path / "module.pt")
    for name in ("ours.pt", "text.pt", "absent.pt"):
        assert not openrl.recognises(tmp_path / name), name


def test_load_of_a_file_that_would_run_code_is_refused(classes, tmp_path):
    """A file that names anything but layers and tensors is refused before it is called."""
    actor, _ = policy(classes)
    save(classes, tmp_path / "module.pt", actor, cfg=OpensFile(tmp_path / "harm"))
    with pytest.raises(CheckpointError, match=r"(?s)run code.*(io|builtins|__builtin__)\.open"):
        openrl.load(tmp_path / "module.pt")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "torch.load", "numpyx.save", "torch.hub.load"])
def test_load_refuses_every_name_that_is_not_known(tmp_path, name):
    """A name that is not on the list of harmless names is refused, even if it is similar to one."""
    module, attribute = name.encode().rsplit(b".", 1)
    pickled = b"\x80\x02copenrl.modules.x\nX\n0c%s\n%s\n." % (module, attribute)
    with zipfile.ZipFile(str(tmp_path / "module.pt"), "w") as archive:
        archive.writestr("module/data.pkl", pickled)
    assert openrl.recognises(tmp_path / "module.pt")
    with pytest.raises(CheckpointError, match=f"(?s)run code.*{name}"):
        openrl.load(tmp_path / "module.pt")


def test_load_of_harmless_names_imports_nothing(tmp_path):
    """Names on the list become stand-ins; their modules are not imported, even if they exist."""
    before = set(sys.modules)
    pickled = b"\x80\x02cisaacgym.gymapi\nSimType\ncgym.spaces.box\nBox\ncopenrl.modules.ppo_module\nPPOModule\n."
    reader = openrl._Reader(io.BytesIO(pickled), None, "", tmp_path)
    assert reader.load().__name__ == "PPOModule"
    assert set(sys.modules) == before


@pytest.mark.parametrize("kept", [0.2, 0.9])
def test_load_of_a_truncated_file_gives_one_message(classes, tmp_path, kept):
    """A file that lost its end is refused."""
    actor, _ = policy(classes)
    path = tmp_path / "module.pt"
    save(classes, path, actor)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(CheckpointError, match="can be read"):
        openrl.load(path)


def test_load_of_a_different_network_gives_one_message(classes, tmp_path):
    """A layer of an unknown kind is refused with its name, and so is a module without a policy."""
    actor, _ = policy(classes)
    actor.base.mlp.fc3 = nn.Sequential(nn.GRUCell(HIDDEN, HIDDEN))
    save(classes, tmp_path / "gru.pt", actor)
    with pytest.raises(CheckpointError, match="GRUCell"):
        openrl.load(tmp_path / "gru.pt")
    save(classes, tmp_path / "none.pt", nn.Linear(2, 3))
    with pytest.raises(CheckpointError, match="base"):
        openrl.load(tmp_path / "none.pt")


@pytest.mark.parametrize(
    "path, steps", [("a/rl_model_90000000_steps/module.pt", 90_000_000), ("somewhere/module.pt", 0)]
)
def test_steps_of_reads_the_folder(path, steps):
    """The name of the folder contains the env steps of the training."""
    assert openrl.steps_of(path) == steps


def test_files_of_these_tests_are_what_openrl_writes(classes, tmp_path):
    """They are complete pickled modules, which `weights_only` refuses."""
    actor, _ = policy(classes)
    save(classes, tmp_path / "module.pt", actor)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(str(tmp_path / "module.pt"), weights_only=True)


@pytest.mark.parametrize("option, quirks, scale", [(None, True, 1.0), (True, True, 1.0), (False, False, 0.5)])
def test_loaded_policy_of_openrl_gives_the_same_commands(classes, tmp_path, option, quirks, scale):
    """By default the task has upstream's quirks; without them, the policy scales its actions instead of the task."""
    actor, row = policy(classes)
    path = tmp_path / "rl_model_100_steps" / "module.pt"
    path.parent.mkdir()
    save(classes, path, actor)
    made = []
    config = EvaluateConfig(checkpoint=(path,), upstream_quirks=option, sim=SimConfig(backend="mujoco"))
    team = load_in_env(config, path, 5, make=made.append)
    assert [(run.num_envs, run.seed) for run in made] == [(5, 0)]
    assert (team.policy.path, team.policy.step) == (path, 100)
    task = made[0].task
    assert (task.upstream_quirks, task.steps_per_decision, task.object) == (quirks, 1, "cuboid")
    obs = torch.randn(5, 2, FEATURES)
    torch.testing.assert_close(team.policy.agent.act_deterministic(obs), scale * row(obs).detach())


@pytest.mark.parametrize("suffix", [pytest.param(".onnx", marks=pytest.mark.onnx), ".jit"])
def test_policy_of_openrl_can_be_exported_as_a_function(classes, tmp_path, suffix, capsys):
    """Its actions are compared with those of the policy before the file gets its name; our format cannot hold it."""
    actor, _ = policy(classes)
    path = tmp_path / "module.pt"
    save(classes, path, actor)
    exported = tmp_path / f"policy{suffix}"
    assert export_main([str(path), str(exported), "--task", "cuboid"]) == 0
    assert "over 1,000 observations" in capsys.readouterr().out
    assert exported.is_file()
    assert export_main([str(path), str(tmp_path / "policy.pt"), "--task", "cuboid"]) == 2
    assert "OpenRL cannot be converted" in capsys.readouterr().err


def test_policy_of_openrl_cannot_be_converted_or_walk(classes, tmp_path):
    """Exporting it, or evaluating it as a walking policy, gives one message each."""
    actor, _ = policy(classes)
    path = tmp_path / "module.pt"
    save(classes, path, actor)
    assert policy_formats.format_of(path).name == "OpenRL"
    assert policy_formats.load(path, LoadOptions("cuboid")).checkpoint is None
    with pytest.raises(CheckpointError, match="OpenRL cannot be converted"):
        policy_formats.load_checkpoint(path, "cuboid")
    with pytest.raises(CheckpointError, match="cannot perform the task 'walk'"):
        policy_formats.load(path, LoadOptions("walk"))


def test_truncated_policy_of_openrl_is_refused_before_the_evaluation(classes, tmp_path):
    """A damaged file among several is found before the first one is evaluated."""
    actor, _ = policy(classes)
    save(classes, tmp_path / "module.pt", actor)
    with zipfile.ZipFile(str(tmp_path / "damaged.pt"), "w") as archive:
        archive.writestr("module/data.pkl", openrl.OPENRL_MARK)
    with pytest.raises(CheckpointError, match="can be read") as caught:
        require_readable([tmp_path / "module.pt", tmp_path / "damaged.pt"], "cuboid")
    assert caught.value.where.endswith("damaged.pt")
