"""Contracts of `mapush export`: what is written acts as the policy, says what it is, and replaces nothing else."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from mapush.assembly import make_agent
from mapush.config import HappoConfig, PushRunConfig, TaskConfig
from mapush.env.push import COMMAND_SCALE
from mapush.evaluate import main as evaluate_main
from mapush.evaluation.exported_policy import METADATA, team_module
from mapush.evaluation.load_policy import load_named, load_policy
from mapush.export import SUFFIXES, main
from mapush.presets import preset
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint
from mapush.sim.walking import WalkingPolicy

pytestmark = pytest.mark.evaluation

SIZES = {"num_agents": 3, "obs_dim": 11, "share_obs_dim": 27, "action_dim": 3}
WALK_SIZES = {"num_agents": 1, "obs_dim": 50, "share_obs_dim": 64, "action_dim": 12}
ONNX = pytest.param(".onnx", marks=pytest.mark.onnx)
FUNCTIONS = (ONNX, ".jit", ".torchscript")
OBSERVATIONS = 1000
TOLERANCE = 1e-6


def saved(folder, config, sizes=SIZES, step=70):
    """Save a policy with random weights as the checkpoint of a run, and return the folder of the run."""
    agent = make_agent(config, sizes, "cpu")
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for actor in agent.actors:
            for weights in actor.parameters():
                weights.add_(0.03 * torch.randn(weights.shape, generator=generator))
    checkpoint = Checkpoint(config, step, sizes, agent.state_dict(), {"iteration": 1})
    checkpoints.save(checkpoint, checkpoints.path_of(folder, step))
    return folder


def pushing(**happo):
    task = TaskConfig(object="cylinder", steps_per_decision=7)
    return PushRunConfig(task_name="cylinder", task=task, happo=HappoConfig(hidden_sizes=(32, 16), **happo))


CONFIGS = {
    "shared": pushing(share_param=True),
    "separate": pushing(share_param=False, activation_func="tanh"),
    "plain": pushing(share_param=False, activation_func="leaky_relu", use_feature_normalization=False),
}


@pytest.fixture(params=sorted(CONFIGS))
def run(request, tmp_path):
    """A run of three agents."""
    return saved(tmp_path / "run", CONFIGS[request.param])


@pytest.fixture()
def shared_run(tmp_path):
    return saved(tmp_path / "run", CONFIGS["shared"])


def observations(count, num_agents=3, obs_dim=11):
    return 2.0 * torch.randn(count, num_agents, obs_dim, generator=torch.Generator().manual_seed(5))


def actions_of(path, obs):
    """Return the actions that a file gives, with the packages that a stranger would use."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(["actions"], {"obs": obs.numpy()})[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of torch say that TorchScript is deprecated
        return torch.jit.load(str(path))(obs)


def metadata(path):
    if path.suffix == ".onnx":
        import onnx

        values = {item.key: item.value for item in onnx.load(str(path)).metadata_props}
        texts = ("written_by", "task", "decision_rate_from")
        return {name: value if name in texts else json.loads(value) for name, value in values.items()}
    extra = {METADATA: ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.load(str(path), _extra_files=extra)
    return json.loads(extra[METADATA])


@pytest.mark.parametrize("suffix", FUNCTIONS)
def test_exported_function_acts_as_the_policy(suffix, run, tmp_path):
    """Its actions are those of the policy over 1,000 observations, one network for all agents or one for each."""
    path = tmp_path / f"policy{suffix}"
    assert main([str(run), str(path)]) == 0
    obs = observations(OBSERVATIONS)
    expected = load_policy(run).act(obs)
    assert expected.abs().max() > 0.1
    assert (expected[:, 0] - expected[:, 1]).abs().max() > 0.1
    assert (actions_of(path, obs) - expected).abs().max() <= TOLERANCE


@pytest.mark.parametrize("suffix", FUNCTIONS)
@pytest.mark.parametrize("count", [1, 2, 17])
def test_batch_of_an_exported_function_has_any_size(suffix, count, shared_run, tmp_path):
    """The number of observations is not fixed in the file; one is enough on a robot."""
    path = tmp_path / f"policy{suffix}"
    assert main([str(shared_run), str(path)]) == 0
    obs = observations(count)
    actions = actions_of(path, obs)
    assert actions.shape == (count, 3, 3)
    assert (actions - load_policy(shared_run).act(obs)).abs().max() <= TOLERANCE


@pytest.mark.parametrize("suffix", [ONNX, ".jit"])
def test_shipped_policy_and_a_walking_policy_can_be_exported(suffix, tmp_path):
    """A name of a shipped policy is enough; the walking task has one agent."""
    walk = saved(tmp_path / "walk", preset("walk", "default"), WALK_SIZES)
    for source, task, sizes in ((walk, "walk", (1, 50)), ("cuboid", "cuboid", (2, 8))):
        path = tmp_path / f"{task}{suffix}"
        assert main([str(source), str(path)]) == 0
        obs = observations(OBSERVATIONS, *sizes)
        actions, expected = actions_of(path, obs), load_policy(source).act(obs)
        size = expected.abs().max().clamp(min=1.0)
        assert (actions - expected).abs().max() <= TOLERANCE * size
        commands, wanted = COMMAND_SCALE * actions.clamp(-1.0, 1.0), COMMAND_SCALE * expected.clamp(-1.0, 1.0)
        assert (commands - wanted).abs().max() <= TOLERANCE  # [m/s], what the robots of the pushing task get
        assert metadata(path)["task"] == task


@pytest.mark.onnx
def test_file_is_as_exact_as_the_policy(tmp_path):
    """Measured against float64, the ONNX file of the shipped policy and the policy round by about the same."""
    path = tmp_path / "cuboid.onnx"
    assert main(["cuboid", str(path)]) == 0
    obs = observations(OBSERVATIONS, 2, 8)
    exact = team_module(load_named("cuboid", None, "cpu")).double()(obs.double())
    of_policy = (load_policy("cuboid").act(obs) - exact).abs().max()
    of_file = (actions_of(path, obs) - exact).abs().max()
    assert of_file <= 3.0 * of_policy


@pytest.mark.parametrize("suffix", [ONNX, ".jit"])
def test_metadata_says_how_to_use_the_file(suffix, shared_run, tmp_path, capsys):
    """Task, layout of observation and action, and how long an action is held; names and shapes are printed."""
    path = tmp_path / f"policy{suffix}"
    assert main([str(shared_run), str(path)]) == 0
    values = metadata(path)
    assert (values["task"], values["trained_env_steps"]) == ("cylinder", 70)
    assert (values["num_agents"], values["obs_dim"], values["action_dim"]) == (3, 11, 3)
    assert (values["steps_per_decision"], values["seconds_per_decision"]) == (7, 0.14)
    layout = [["goal_xy", 2], ["object_xy_yaw", 3], ["other_1", 3], ["other_2", 3]]
    assert values["obs_layout"] == layout
    assert values["action_layout"] == ["v_x [m/s]", "v_y [m/s]", "omega_z [rad/s]"]
    assert (values["action_scale"], values["action_limit"]) == (0.5, 1.0)
    assert "obs (batch, 3, 11) to actions (batch, 3, 3)" in capsys.readouterr().out


def test_commands_of_a_policy_with_upstreams_quirks_are_scaled_as_its_task_does(tmp_path):
    """There, an action of 2 is full speed."""
    config = dataclasses.replace(CONFIGS["shared"], task=TaskConfig(object="cylinder", upstream_quirks=True))
    path = tmp_path / "policy.jit"
    assert main([str(saved(tmp_path / "run", config)), str(path)]) == 0
    assert (metadata(path)["action_scale"], metadata(path)["action_limit"]) == (0.25, 2.0)


@pytest.mark.onnx
def test_names_and_shapes_are_in_the_onnx_graph(shared_run, tmp_path):
    """One input `obs` and one output `actions`, with a free first axis."""
    import onnxruntime

    path = tmp_path / "policy.onnx"
    assert main([str(shared_run), str(path)]) == 0
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    [taken], [given] = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.shape, taken.type) == ("obs", ["batch", 3, 11], "tensor(float)")
    assert (given.name, given.shape[1:], given.type) == ("actions", [3, 3], "tensor(float)")
    assert given.shape[0] == "batch"


def test_torchscript_needs_no_mapush(shared_run, tmp_path):
    """A process that cannot import this package runs the file, and reads its metadata."""
    assert main([str(shared_run), str(tmp_path / "policy.jit")]) == 0
    code = f"""
import sys, warnings
warnings.simplefilter("ignore")
sys.modules["mapush"] = None
import torch
extra = {{"{METADATA}": ""}}
policy = torch.jit.load("policy.jit", _extra_files=extra)
obs = 2.0 * torch.randn({OBSERVATIONS}, 3, 11, generator=torch.Generator().manual_seed(5))
torch.save(policy(obs), "actions.pt")
assert b"cylinder" in extra["{METADATA}"]
"""
    subprocess.run([sys.executable, "-c", code], cwd=str(tmp_path), check=True)
    expected = load_policy(shared_run).act(observations(OBSERVATIONS))
    assert (torch.load(str(tmp_path / "actions.pt")) - expected).abs().max() <= TOLERANCE


@pytest.mark.parametrize("name", ["policy.pt", "models"])
def test_policy_is_written_in_our_format_and_for_harl(name, run, tmp_path):
    """Both act the same; ours holds no training state, and the folder has one file for each actor."""
    path = tmp_path / name
    assert main([str(run), str(path)]) == 0
    obs = observations(13)
    again = load_policy(path, task_name="cylinder")
    harl_knows = load_policy(run).config.happo.activation_func == "relu"  # HARL's files do not say what it is
    if path.is_file() or harl_knows:
        torch.testing.assert_close(again.act(obs), load_policy(run).act(obs), rtol=0, atol=0)
    if path.is_dir():
        assert len(list(path.glob("actor_agent*.pt"))) == 3
    else:
        assert checkpoints.load(path).run == {}
        assert set(checkpoints.load(path).agent) <= {"actors", "critic", "value_norm"}


def test_rate_that_the_file_does_not_say_can_be_given(shared_run, tmp_path, capsys):
    """HARL's models name neither their task nor their rate."""
    assert main([str(shared_run), str(tmp_path / "models"), "--to", "harl"]) == 0
    words = [str(tmp_path / "models"), str(tmp_path / "policy.jit")]
    assert main(words) == 2
    assert "--task" in capsys.readouterr().err
    assert main([*words, "--task", "cylinder", "--steps-per-decision", "4"]) == 0
    values = metadata(tmp_path / "policy.jit")
    assert (values["steps_per_decision"], values["decision_rate_from"]) == (4, "by --steps-per-decision")


def test_walking_policy_carries_what_its_networks_scored(tmp_path, capsys):
    """FILE.npz has both networks, their configurations, and the results that `evaluate walk --json` wrote."""
    walk = saved(tmp_path / "walk", preset("walk", "default"), WALK_SIZES, step=70)
    stand = saved(tmp_path / "stand", preset("walk", "default"), WALK_SIZES, step=90)
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"task": "walk", "results": [{"name": "kicks"}]}))
    path = tmp_path / "walk.npz"
    words = [str(walk), str(path), "--stand-checkpoint", str(stand), "--acceptance", str(results)]
    assert main(words) == 0
    with np.load(path, allow_pickle=False) as archive:
        card = json.loads(str(archive["header"]))["card"]
    assert (card["walk"]["steps"], card["stand"]["steps"]) == (70, 90)
    assert card["acceptance"] == [{"name": "kicks"}]
    WalkingPolicy.load(path)
    results.write_text(json.dumps({"task": "cuboid", "results": []}))
    assert main(words) == 2
    assert "no results of the acceptance tests" in capsys.readouterr().err


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, phrases",
    [
        (["policy.onxx"], ["unknown suffix '.onxx'; did you mean '.onnx'?", *SUFFIXES]),
        (["policy.tar"], ["unknown suffix '.tar'", "--to harl"]),
        (["policy.pt", "--to", "onnx"], ["policy.pt would not hold what its name says"]),
        (["policy.onnx", "--to", "harl"], ["policy.onnx would not hold what its name says"]),
        (["policy.onnx", "--to", "onxn"], ["unknown kind of export 'onxn'; did you mean 'onnx'?"]),
        (
            ["policy.onnx", "--stand-checkpoint", "run"],
            ["--stand-checkpoint belongs to the export of a walking policy"],
        ),
        (["policy.onnx", "--steps-per-decision", "0"], ["at least one env step"]),
        (["policy.npz"], ["does not fit", "task cylinder", "task walk"]),
        (["folder.onnx"], ["folder.onnx would not hold what its name says", "models of HARL"]),
    ],
)
def test_file_that_cannot_be_written_is_refused(words, phrases, shared_run, tmp_path, capsys, monkeypatch):
    """One message, no traceback, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    Path("folder.onnx").mkdir()
    before = sorted(tmp_path.rglob("*"))
    words = ["run", *words]
    if "folder.onnx" in words:
        words += ["--to", "onnx"]
    assert main(words) == 2
    message = capsys.readouterr().err
    for phrase in phrases:
        assert phrase in message
    assert "Traceback" not in message
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "name", [pytest.param("policy.onnx", marks=pytest.mark.onnx), "policy.jit", "policy.pt", "models", "walk.npz"]
)
def test_export_replaces_only_what_is_the_same(name, tmp_path, capsys):
    """A file of other content is kept, unless --overwrite is given; the same command twice is no error."""
    sizes, config = SIZES, CONFIGS["separate"]
    if name == "walk.npz":
        sizes, config = WALK_SIZES, preset("walk", "default")
    first, second = saved(tmp_path / "a", config, sizes, 70), saved(tmp_path / "b", config, sizes, 90)
    path = tmp_path / name
    assert main([str(first), str(path)]) == 0
    before = content(path)
    if path.suffix != ".jit":  # within a process, TorchScript gives the classes of a second trace other names
        assert main([str(first), str(path)]) == 0
        assert content(path) == before
    assert main([str(second), str(path)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert content(path) == before
    assert main([str(second), str(path), "--overwrite"]) == 0
    assert content(path) != before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(["a", "b", name])


def content(path):
    """Return the content of a file, or of each file in a folder."""
    if path.is_dir():
        return {entry.name: entry.read_bytes() for entry in path.iterdir()}
    return path.read_bytes()


def test_smaller_team_leaves_no_robot_of_the_larger_one(tmp_path):
    """HARL counts the files, so an actor that is left over would be one agent too many; other files stay."""
    large = saved(tmp_path / "large", CONFIGS["separate"])
    small = saved(tmp_path / "small", CONFIGS["separate"], dict(SIZES, num_agents=2))
    folder = tmp_path / "models"
    assert main([str(large), str(folder)]) == 0
    (folder / "notes.txt").write_text("mine")
    assert main([str(small), str(folder), "--overwrite"]) == 0
    assert sorted(path.name for path in folder.glob("actor_*")) == ["actor_agent0.pt", "actor_agent1.pt"]
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.onnx
@pytest.mark.parametrize("package, code", [("onnx", 2), ("onnxruntime", 0)])
def test_missing_package_is_one_message(package, code, shared_run, tmp_path, capsys, monkeypatch):
    """Without onnx there is no file; without onnxruntime it is written, but not checked. TorchScript needs neither."""
    monkeypatch.setitem(sys.modules, package, None)
    assert main([str(shared_run), str(tmp_path / "policy.onnx")]) == code
    said = capsys.readouterr()
    assert f"{package}, which ONNX files need, is not installed" in said.out + said.err
    if code:
        assert "pip install 'mapush-stack[export]'" in said.err
    assert (tmp_path / "policy.onnx").exists() == (code == 0)
    assert main([str(shared_run), str(tmp_path / "policy.jit")]) == 0


def test_file_that_would_act_differently_is_not_written(shared_run, tmp_path, capsys, monkeypatch):
    """The file is compared with the policy before it gets its name."""
    wrong = saved(tmp_path / "wrong", CONFIGS["shared"], step=90)
    made = team_module(load_named(wrong, None, "cpu"))
    monkeypatch.setattr("mapush.evaluation.exported_policy.team_module", lambda policy: made)
    assert main([str(shared_run), str(tmp_path / "policy.jit")]) == 2
    assert "does not act as the policy" in capsys.readouterr().err
    assert not (tmp_path / "policy.jit").exists()


def test_export_evaluates_nothing(tmp_path, monkeypatch):
    """No environment is made."""
    monkeypatch.setattr("mapush.assembly.make_env", lambda *_: pytest.fail("made an environment"))
    monkeypatch.setattr("mapush.assembly.make_physics", lambda *_: pytest.fail("made a simulator"))
    assert main(["cuboid", str(tmp_path / "policy.jit")]) == 0


@pytest.mark.parametrize("words", [["--export", "policy.pt"], ["--export=policy.pt"]])
def test_evaluate_points_to_the_command(words, capsys):
    """Evaluation writes no policies."""
    assert evaluate_main(["cuboid", *words]) == 2
    assert "mapush export RUN_OR_FILE FILE.onnx" in capsys.readouterr().err
