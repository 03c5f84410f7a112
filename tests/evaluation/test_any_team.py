"""Contracts of a policy for any team from training to evaluation, on MuJoCo."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest
import torch

from mapush import evaluate
from mapush.assembly import make_env, make_push_env
from mapush.config import MixedTaskConfig, SimConfig, groups_of
from mapush.env.push import PushEnv
from mapush.errors import CheckpointError, ConfigError
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.evaluation.load_policy import load_policy
from mapush.evaluation.loaded_policy import load_in_env
from mapush.own import own_objects
from mapush.presets import preset
from mapush.run import checkpoint as checkpoints
from mapush.train import Run, train

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

SIM = SimConfig("mujoco", threads=1)
HELD_OUT = Path(__file__).resolve().parents[2] / "examples" / "held_out_objects.py"


def small_config(**changes):
    """Return a run of six envs: two objects, teams of one, two and three, with room for four."""
    config = preset("any", "default")
    happo = dataclasses.replace(
        config.happo, hidden_sizes=(16, 12), gain=1.0, actor_num_mini_batch=2, critic_num_mini_batch=2, ppo_epoch=2
    )
    task = dataclasses.replace(
        config.task, objects=("tblock", "cylinder"), team_sizes=(3, 1, 2), steps_per_decision=2, seats=4
    )
    settings = {
        "num_envs": 6,
        "num_steps": 3,
        "total_steps": 144,
        "sim": SIM,
        "happo": happo,
        "task": task,
        "device": "cpu",
    }
    return dataclasses.replace(config, **{**settings, **changes})


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Return the folder of a trained run: four iterations, a checkpoint after each second one."""
    return train(small_config(checkpoint_every=72), tmp_path_factory.mktemp("runs") / "any")


def test_groups_of_a_mixed_run_are_what_they_are_without_the_others():
    """On MuJoCo, the rows of a group are bit for bit those of the environment that its configuration makes."""
    config = small_config()
    with contextlib.ExitStack() as stack:
        mixed = stack.enter_context(contextlib.closing(make_env(config)))
        apart = [stack.enter_context(contextlib.closing(make_push_env(group))) for group in groups_of(config)]
        assert [env.num_agents for env in apart] == [3, 1, 2, 3, 1, 2]
        joint = mixed.reset()
        own = [env.reset() for env in apart]
        for number in range(4):
            for row, observation in enumerate(own):
                agents = apart[row].num_agents
                assert torch.equal(joint.obs[row : row + 1, :agents], observation.obs)
                assert torch.equal(joint.share_obs[row : row + 1], observation.share_obs)
            actions = torch.randn(6, 3, 3, generator=torch.Generator().manual_seed(number))
            joint = mixed.step(actions).observation
            own = [env.step(actions[row : row + 1, : env.num_agents]).observation for row, env in enumerate(apart)]


def test_resumed_run_ends_bit_for_bit_like_one_that_was_not_interrupted(run_dir):
    """Groups, rollout and learner continue from a checkpoint."""
    middle, last = checkpoints.all_of(run_dir)
    with contextlib.closing(Run.start(small_config())) as run:
        run.restore(checkpoints.load(middle), middle)
        run.iterate()
        run.iterate()
        state = run.agent.state_dict()
    expected = checkpoints.load(last).agent
    for name, value in expected["actors"][0].items():
        assert torch.equal(state["actors"][0][name], value), name
    for name, value in expected["critic"].items():
        assert torch.equal(state["critic"][name], value), name


def test_log_has_the_success_of_every_group(run_dir):
    """A column for each pair of object and team size."""
    header = (run_dir / "progress.csv").read_text().splitlines()[0].split(",")
    assert [name for name in header if name.startswith("success/")] == [
        "success/cylinder_1",
        "success/cylinder_2",
        "success/cylinder_3",
        "success/tblock_1",
        "success/tblock_2",
        "success/tblock_3",
    ]


@pytest.fixture
def hexagon():
    """Return an object of the user's own, which is forgotten afterwards."""
    item = own_objects.load_object(f"{HELD_OUT}:HEXAGON")
    yield item
    own_objects.forget(item.name)


@pytest.mark.parametrize("object_name, size", [("cuboid", 4), ("tblock", 1), ("cylinder", None), ("hexagon", 3)])
def test_policy_acts_for_any_object_and_team(run_dir, hexagon, object_name, size):
    """Also for an object and a team size that it was not trained with; by default the team is the object's own."""
    config = EvaluateConfig(object_name, (run_dir,), num_agents=size, num_envs=2, sim=SIM)
    team = load_in_env(config, checkpoints.latest(run_dir), num_envs=2)
    with contextlib.closing(team.env) as env:
        assert isinstance(env, PushEnv)
        assert env.num_agents == (size or 3)
        assert env.steps_per_decision == 2
        actions = team.policy.agent.act_deterministic(env.reset().obs)
        assert actions.shape == (2, env.num_agents, 3)


def test_policy_acts_alike_whoever_loads_it(run_dir):
    """The actor of the run and that of a loaded team of four are the same function."""
    policy = load_policy(run_dir, "cuboid", num_agents=4)
    obs = torch.randn(5, 4, 35, generator=torch.Generator().manual_seed(1))
    with contextlib.closing(Run.start(small_config())) as run:
        path = checkpoints.latest(run_dir)
        run.restore(checkpoints.load(path), path)
        assert torch.equal(policy.act(obs), run.agent.actors[0].mean(obs).detach())


@pytest.mark.slow
def test_held_out_object_and_team_are_evaluated(run_dir, hexagon, capsys):
    """One command line; its results do not replace those of other objects and teams."""
    words = ["--object", f"{HELD_OUT}:HEXAGON", "--checkpoint", str(run_dir), "--num-agents", "2", "--num-envs", "2"]
    words += ["--steps-per-decision", "50", "--sim", "mujoco", "--sim.threads", "1"]
    assert evaluate.main(words) == 0
    assert (run_dir / "evaluation" / "results-of-hexagon-team-of-2-decision-every-50.json").is_file()


def test_team_that_finds_no_seat_is_refused(run_dir, capsys):
    """One message, with the number of robots that fit."""
    words = ["cuboid", "--checkpoint", str(run_dir), "--num-agents", "5", "--num-envs", "2", "--sim", "mujoco"]
    assert evaluate.main(words) == 2
    error = capsys.readouterr().err
    assert "the policy has no seat for so many robots" in error
    assert "at most 4" in error


def test_policy_for_one_team_is_refused_for_another():
    """Both sizes are named."""
    config = EvaluateConfig("cuboid", num_agents=3, num_envs=2, sim=SIM)
    with pytest.raises(CheckpointError, match="does not fit") as caught:
        load_in_env(config, Path(evaluate.__file__).parent / "policies" / "cuboid.pt", num_envs=2)
    assert "num_agents 2" in caught.value.got
    assert "num_agents 3" in caught.value.expected


def test_policy_is_exported(run_dir, tmp_path):
    """As a policy of mapush it stays one for any team; HARL, which has no such network, is refused."""
    from mapush.export import ExportConfig, export

    export(ExportConfig(run_dir, tmp_path / "any.pt"))
    assert load_policy(tmp_path / "any.pt", "cylinder").act(torch.zeros(3, 35)).shape == (3, 3)
    assert "actions" in export(ExportConfig(run_dir, tmp_path / "any.jit"))
    with pytest.raises(CheckpointError, match="HARL has no network"):
        export(ExportConfig(run_dir, tmp_path / "models", to="harl"))


def test_envs_that_cannot_be_shared_are_refused_before_a_simulator_is_made():
    """The error says what can be."""
    with pytest.raises(ConfigError, match="different sizes"):
        make_env(small_config(num_envs=7))


def test_group_without_room_for_its_team_is_refused():
    """The largest team has to fit around every object."""
    config = small_config(num_envs=2, task=MixedTaskConfig(objects=("cuboid",), team_sizes=(2, 30), seats=30))
    with pytest.raises(ConfigError, match="no room"):
        make_env(config)
