"""Contracts of the published protocol: the first episode of each env counts, and the metrics describe it."""

from __future__ import annotations

import csv
import json
import math
import statistics
import subprocess
import sys

import pytest
import torch
from walkers import untrained_walker

from mapush.assembly import make_agent
from mapush.config import PushRunConfig, SimConfig, TaskConfig
from mapush.env.vec_env import Observation, Transition
from mapush.evaluate import evaluate, first_episodes, main
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.evaluation.loaded_policy import load_in_env
from mapush.evaluation.results import Evaluation
from mapush.export import main as export_main
from mapush.reports.published import PUBLISHED
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint
from mapush.sim.walking import WalkingPolicy
from mapush.upstream.harl import models

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

NUM_ENVS = 5
SIZES = {"num_agents": 2, "obs_dim": 8, "share_obs_dim": 20, "action_dim": 3}
CAUSES = ("success", "collision", "fall", "timeout")


class ScriptedEnv:
    """Envs whose episodes end at random; logs what it returned."""

    num_envs, device = NUM_ENVS, torch.device("cpu")

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self.log = []

    def reset(self) -> Observation:
        """Return empty observations."""
        return Observation(torch.zeros(NUM_ENVS, 2, 8), torch.zeros(NUM_ENVS, 20))

    def check(self):
        """Report nothing."""
        return {}

    def step(self, actions: torch.Tensor) -> Transition:
        """End some episodes."""
        assert torch.equal(actions, torch.full((NUM_ENVS, 2, 3), 0.25))
        draw = torch.rand(NUM_ENVS, generator=self._generator)
        cause = torch.randint(len(CAUSES), (NUM_ENVS,), generator=self._generator)
        outcome = {name: cause == index for index, name in enumerate(CAUSES)}
        time_s = 20.0 * torch.rand(NUM_ENVS, generator=self._generator)
        outcome["finished_time"] = torch.where(outcome["success"], time_s, torch.full_like(time_s, 20.0))
        outcome["collaboration"] = torch.rand(NUM_ENVS, generator=self._generator)
        done = draw < 0.3
        logged = {name: value.tolist() for name, value in outcome.items()}
        self.log.append((done.tolist(), logged))
        observation = self.reset()
        return Transition(observation, torch.zeros(NUM_ENVS, 2), done, ~done & done, observation, outcome)


class ScriptedAgent:
    """A team that always acts in the same way."""

    device = torch.device("cpu")

    def act_deterministic(self, obs: torch.Tensor) -> torch.Tensor:
        """Return the same actions for all observations."""
        return torch.full((NUM_ENVS, 2, 3), 0.25)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_first_episodes_against_a_recount_of_the_transitions_agree(seed):
    """Only the first ending of each env counts, and stepping stops once every env has had one."""
    env = ScriptedEnv(seed)
    metrics = first_episodes(env, ScriptedAgent()).metrics()
    firsts = {}
    for index, (done, outcome) in enumerate(env.log):
        for env_id in range(NUM_ENVS):
            if done[env_id] and env_id not in firsts:
                firsts[env_id] = {name: value[env_id] for name, value in outcome.items()}
                last = index
    assert last == len(env.log) - 1
    assert len(firsts) == NUM_ENVS
    won = [first for first in firsts.values() if first["success"]]
    assert metrics.success_rate == pytest.approx(len(won) / NUM_ENVS)
    times = [first["finished_time"] for first in firsts.values()]
    assert metrics.finished_time == pytest.approx(statistics.fmean(times))
    half = 1.959964 * statistics.stdev(times) / math.sqrt(NUM_ENVS)
    assert metrics.finished_time_interval == pytest.approx((metrics.finished_time - half, metrics.finished_time + half))
    assert set(metrics.endings) == set(CAUSES)
    for cause, count in metrics.endings.items():
        assert count == sum(first[cause] for first in firsts.values()), cause
    if won:
        collaboration = statistics.fmean([first["collaboration"] for first in won])
        assert metrics.collaboration_degree == pytest.approx(collaboration)
        own_time = statistics.fmean([first["finished_time"] for first in won])
        assert Evaluation(None, 0, metrics).success_time == pytest.approx(own_time, rel=1e-5)


def test_success_interval_holds_the_rates_that_a_score_test_accepts():
    """Each end of the interval is a rate from which the observed one is 1.96 standard errors away."""
    from mapush.env.metrics import wilson_interval

    for successes, trials in ((179, 300), (1, 7), (6, 7)):
        for rate in wilson_interval(successes, trials):
            distance = abs(successes / trials - rate) / math.sqrt(rate * (1 - rate) / trials)
            assert distance == pytest.approx(1.959964, rel=1e-5)


@pytest.fixture()
def run_dir(tmp_path, monkeypatch):
    """A run with three checkpoints of arbitrary weights, in episodes of at most 1.2 s."""
    monkeypatch.chdir(tmp_path)
    for module in ("push", "terminations"):
        monkeypatch.setattr(f"mapush.env.{module}.MAX_EPISODE_LENGTH", 60)
    monkeypatch.setattr(WalkingPolicy, "load", classmethod(lambda cls, **_: untrained_walker()))
    folder = tmp_path / "runs" / "cuboid" / "mine"
    for step, seed in ((30, 3), (10, 1), (20, 2)):
        config = PushRunConfig(seed=seed, task=TaskConfig(object="cuboid", steps_per_decision=7))
        agent = make_agent(config, SIZES, "cpu")
        with torch.no_grad():
            for weights in agent.actors[0].parameters():
                weights.add_(0.1)
        saved = Checkpoint(config, step, SIZES, agent.state_dict(), {"iteration": 1})
        checkpoints.save(saved, checkpoints.path_of(folder, step))
    return folder


def _config(**values) -> EvaluateConfig:
    return EvaluateConfig(num_envs=NUM_ENVS, device="cpu", sim=SimConfig(backend="mujoco", threads=1), **values)


def _argv(*words) -> list:
    return [*map(str, words), "--num-envs", str(NUM_ENVS), "--sim", "mujoco", "--sim.threads", "1", "--device", "cpu"]


def test_evaluation_of_one_checkpoint_twice_is_bit_for_bit_the_same(run_dir):
    """Checkpoint, num_envs and seed determine every number."""
    path = checkpoints.path_of(run_dir, 20)
    config = _config(checkpoint=(path,), seed=7)
    first, second = evaluate(config), evaluate(config)
    assert repr(first) == repr(second)
    assert first[0].step == 20
    assert first[0].metrics.episodes == NUM_ENVS
    assert sum(first[0].metrics.endings.values()) == NUM_ENVS


def test_loaded_policy_acts_in_its_own_task_under_the_seed_of_the_evaluation(run_dir):
    """Weights and task come from the checkpoint, number of envs and seed from the command line."""
    path = checkpoints.path_of(run_dir, 20)
    starts = []
    for seed in (7, 7, 8):
        team = load_in_env(_config(seed=seed), path, NUM_ENVS)
        starts.append(team.env.reset().obs)
        team.env.close()
    assert torch.equal(starts[0], starts[1])
    assert not torch.equal(starts[0], starts[2])
    assert (team.policy.step, team.env.num_envs, team.env.steps_per_decision) == (20, NUM_ENVS, 7)
    for actor, saved in zip(team.policy.agent.state_dict()["actors"], checkpoints.load(path).agent["actors"]):
        assert all(torch.equal(actor[name], saved[name]) for name in saved)


def test_run_folder_gives_table_results_and_curve_of_all_checkpoints(run_dir, capsys):
    """A run's checkpoints are evaluated oldest first; results and plot are written to its folder."""
    other = run_dir.parent / "copy.json"
    assert main(_argv("cuboid", "--checkpoint", run_dir, "--json", other)) == 0
    values = json.loads((run_dir / "evaluation" / "results.json").read_text())
    assert values == json.loads(other.read_text())
    assert [result["step"] for result in values["results"]] == [10, 20, 30]
    assert (values["task"], values["num_envs"], values["seed"]) == ("cuboid", NUM_ENVS, 0)
    assert (run_dir / "evaluation" / "success.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert printed.index("0.00001 ") < printed.index("0.00002 ") < printed.index("0.00003 ")
    single = evaluate(_config(checkpoint=(checkpoints.path_of(run_dir, 20),)))[0]
    result = values["results"][1]["metrics"]
    assert result["endings"] == single.metrics.endings
    assert result["finished_time"] == single.metrics.finished_time
    for name, value in (
        ("collaboration_degree", single.metrics.collaboration_degree),
        ("success_time", single.success_time),
    ):
        assert (result[name] is None) == math.isnan(value)
        assert result[name] in (None, value)


def test_run_folder_gives_a_table_for_other_programs(run_dir):
    """The CSV holds the run's success rates, followed by the published ones."""
    assert main(_argv("cuboid", "--checkpoint", run_dir)) == 0
    results = json.loads((run_dir / "evaluation" / "results.json").read_text())["results"]
    with (run_dir / "evaluation" / "success.csv").open() as file:
        rows = list(csv.DictReader(file))
    own = [row for row in rows if row["run"] == "this run"]
    assert [int(row["env_steps"]) for row in own] == [10, 20, 30]
    expected = [result["metrics"]["success_rate"] for result in results]
    expected += [item.success_rate for item in PUBLISHED["cuboid"]]
    assert [float(row["success_rate"]) for row in rows] == expected
    assert own == rows[:3]


def test_object_without_published_results_is_evaluated_all_the_same(run_dir, monkeypatch):
    """A new object has nothing to be compared with: its table and curve hold only its own results."""
    monkeypatch.delitem(PUBLISHED, "cuboid")
    assert main(_argv("cuboid", "--checkpoint", run_dir)) == 0
    with (run_dir / "evaluation" / "success.csv").open() as file:
        assert {row["run"] for row in csv.DictReader(file)} == {"this run"}
    assert (run_dir / "evaluation" / "success.png").is_file()


def test_exported_policy_scores_the_same_and_has_no_run_to_resume(run_dir, tmp_path):
    """`mapush export RUN FILE.pt` writes the newest policy of a run, without its training state."""
    path = tmp_path / "policy.pt"
    assert export_main([str(run_dir), str(path)]) == 0
    newest = checkpoints.path_of(run_dir, 30)
    assert checkpoints.load(path).run == {}
    assert checkpoints.load(newest).run != {}
    [exported] = evaluate(_config(checkpoint=(path,)))
    [original] = evaluate(_config(checkpoint=(newest,)))
    assert (exported.step, exported.metrics.endings) == (original.step, original.metrics.endings)
    assert exported.metrics.finished_time == original.metrics.finished_time


def test_published_curves_end_where_the_published_tables_do():
    """There are ten evaluations for each object; the last one is that of the published policy."""
    assert set(PUBLISHED) == {"cuboid", "tblock", "cylinder"}
    for evaluations in PUBLISHED.values():
        assert len(evaluations) == 10
    assert tuple(PUBLISHED["cuboid"][-1]) == (0.5967, 13.61, 0.1099)
    assert tuple(PUBLISHED["tblock"][-1]) == (0.7433, 11.63, 0.2224)
    assert tuple(PUBLISHED["cylinder"][-1]) == (0.6167, 11.749, 0.0)


@pytest.mark.parametrize(
    "argv, phrases",
    [
        (["cubod"], ["unknown task 'cubod'", "did you mean 'cuboid'?"]),
        (["--mode", "calculate"], ["unknown mode", "did you mean 'calculator'?"]),
        (["--checkpoint", "nowhere.pt"], ["there is no such checkpoint", "nowhere.pt"]),
        (["tblock", "--checkpoint", "runs/cuboid/mine"], ["does not fit", "task cuboid", "task tblock"]),
        (["walk", "--checkpoint", "runs/cuboid/mine"], ["does not fit", "task cuboid", "task walk"]),
        (["--checkpoint", "runs"], ["there is no checkpoint in this run"]),
        (["tblock"], ["no policy is shipped", "python -m mapush.train tblock"]),
        (["cuboid"], ["no policy is shipped", "--checkpoint runs/cuboid/mine"]),
        (["--untrained", "--checkpoint", "runs/cuboid/mine"], ["--untrained takes no --checkpoint"]),
        (["--untrained", "--record", "film.mp4"], ["add --mode viewer"]),
        (["--untrained", "--mode", "viewer", "--record", "film.avi"], ["unknown kind of film '.avi'", ".mp4"]),
        (["walk", "--mode", "viewer"], ["the viewer shows pushing tasks only"]),
        (["--num-envs", "0"], ["at least one env"]),
        (["--episodes", "0"], ["no episodes", "at least one episode"]),
        (["--steps-per-decision", "0"], ["at least one env step"]),
        (["--num-envs", "5", "--episodes", "4"], ["fewer episodes than envs", "--num-envs 4 or fewer"]),
        (["walk", "--episodes", "4"], ["--episodes works for pushing tasks only"]),
        (["walk", "--steps-per-decision", "4"], ["--steps-per-decision works for pushing tasks only"]),
    ],
)
def test_command_that_cannot_run_exits_with_code_two_and_one_message(argv, phrases, run_dir, capsys, monkeypatch):
    """A wrong command line, or a checkpoint that is missing or does not fit, gives an error without a traceback."""
    monkeypatch.setattr("mapush.evaluation.shipped_policies.POLICIES", run_dir)
    assert main(argv) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    for phrase in phrases:
        assert phrase in message


def test_more_episodes_than_envs_are_played_in_turn(run_dir, tmp_path, capsys):
    """--episodes counts exactly, in the few envs that fit on a card; the first episode of each env is among them."""
    path = checkpoints.path_of(run_dir, 20)
    few = ["cuboid", "--checkpoint", path, "--json", tmp_path / "out.json"]
    assert main(_argv(*few, "--episodes", 13)) == 0
    values = json.loads((tmp_path / "out.json").read_text())
    [result] = values["results"]
    assert (values["episodes"], values["num_envs"], result["metrics"]["episodes"]) == (13, NUM_ENVS, 13)
    assert sum(result["metrics"]["endings"].values()) == 13
    assert "13 episodes" in " ".join(capsys.readouterr().out.split())
    [firsts] = evaluate(_config(checkpoint=(path,)))
    for cause, count in firsts.metrics.endings.items():
        assert result["metrics"]["endings"][cause] >= count


def test_collision_rate_is_written_with_its_interval(run_dir, tmp_path):
    """It is the number of episodes that a collision ended, divided by all."""
    assert main(_argv("cuboid", "--checkpoint", checkpoints.path_of(run_dir, 20), "--json", tmp_path / "out.json")) == 0
    [result] = json.loads((tmp_path / "out.json").read_text())["results"]
    metrics = result["metrics"]
    low, high = metrics["collision_rate_interval"]
    assert metrics["collision_rate"] == metrics["endings"]["collision"] / NUM_ENVS
    assert low <= metrics["collision_rate"] <= high


# -- how often a policy decides --------------------------------------------------------------------------------------


@pytest.fixture()
def outside(run_dir, tmp_path):
    """A folder with models as HARL itself leaves them, without a configuration of ours."""
    return models.write(checkpoints.load(checkpoints.path_of(run_dir, 20)), tmp_path / "seed-00001" / "models")


def _decision(words, capsys, tmp_path):
    """Return the env steps per decision that the results name, and what was printed."""
    assert main(_argv("cuboid", *words, "--json", tmp_path / "out.json", "--overwrite")) == 0
    [result] = json.loads((tmp_path / "out.json").read_text())["results"]
    return result["decision"], capsys.readouterr().out


def test_rate_of_an_outside_policy_is_assumed_and_said(outside, capsys, tmp_path):
    """HARL's files do not say how often the policy decided: the published rate is taken, and named as assumed."""
    decision, said = _decision(["--checkpoint", outside], capsys, tmp_path)
    assert decision["env_steps"] == 1
    assert "one decision every env step (50 Hz)" in said
    assert "the file does not say it, --steps-per-decision does" in said


def test_rate_of_an_outside_policy_can_be_given(outside, capsys, tmp_path):
    """With --steps-per-decision, HARL's models act as the same policy of a run that decided at that rate."""
    decision, said = _decision(["--checkpoint", outside, "--steps-per-decision", 7], capsys, tmp_path)
    assert decision == {"env_steps": 7, "from": "by --steps-per-decision"}
    assert "one decision every 7 env steps (7.14286 Hz), by --steps-per-decision" in said
    team = load_in_env(_config(steps_per_decision=7), outside, NUM_ENVS)
    team.env.close()
    assert team.env.steps_per_decision == 7


def test_rate_of_a_run_of_ours_is_the_trained_one_and_can_be_changed(run_dir, capsys, tmp_path):
    """The checkpoint says how it was trained."""
    path = checkpoints.path_of(run_dir, 20)
    decision, said = _decision(["--checkpoint", path], capsys, tmp_path)
    assert decision == {"env_steps": 7, "from": "as it was trained"}
    assert "one decision every 7 env steps (7.14286 Hz), as it was trained" in said
    decision, _ = _decision(["--checkpoint", path, "--steps-per-decision", 3], capsys, tmp_path)
    assert decision == {"env_steps": 3, "from": "by --steps-per-decision"}
    decision, _ = _decision(["--untrained", "--steps-per-decision", 4], capsys, tmp_path)
    assert decision["env_steps"] == 4


def test_shipped_policy_is_evaluated_without_a_checkpoint(run_dir, monkeypatch):
    """Without --checkpoint, the policy shipped for the task is evaluated."""
    monkeypatch.setattr("mapush.evaluation.shipped_policies.POLICIES", run_dir)
    shipped = run_dir / "cuboid.pt"
    checkpoints.path_of(run_dir, 30).rename(shipped)
    assert [(item.path, item.step) for item in evaluate(_config())] == [(shipped, 30)]


def test_import_of_the_command_line_loads_neither_torch_nor_mujoco():
    """--help starts fast."""
    script = "import sys, mapush.evaluate; sys.exit(bool({'torch', 'mujoco', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
