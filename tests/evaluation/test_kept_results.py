"""Contracts of what evaluation writes: nothing that cost more is replaced by something that cost less."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_evaluate_calculator import SIZES
from test_report_training import make_run
from walkers import untrained_walker

from mapush.assembly import make_agent
from mapush.config import PushRunConfig, TaskConfig
from mapush.env.metrics import EvaluationMetrics
from mapush.errors import ConfigError
from mapush.evaluate import main as evaluate
from mapush.evaluation.kept_results import (
    basis_of,
    best_results,
    covers,
    require_coverable,
    variant_of,
    write_kept,
)
from mapush.evaluation.results import Evaluation
from mapush.report import main as report
from mapush.reports.run_data import read_run
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint
from mapush.sim.walking import WalkingPolicy

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]


def values(episodes, run="run"):
    """Return results of the checkpoints of a run, as an evaluation writes them.

    Args:
      episodes: number of episodes of each step.
      run: folder of the run.
    """
    results = []
    for step, number in episodes.items():
        metrics = {"episodes": number, "success_rate": 1.0 / number, "success_rate_interval": [0.0, 1.0]}
        results.append({"checkpoint": f"{run}/step_{step}.pt", "step": step, "metrics": metrics})
    return {"task": "cuboid", "results": results}


EVALUATIONS = st.lists(
    st.dictionaries(st.integers(0, 3), st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=6
)


@settings(deadline=None, max_examples=60)
@given(EVALUATIONS)
def test_best_result_of_every_checkpoint_stays_whatever_is_evaluated_afterwards(evaluations):
    """After any sequence of evaluations, a run has for each checkpoint a result of the most episodes ever played."""
    with tempfile.TemporaryDirectory() as name:
        run = Path(name)
        most = {}
        for episodes in evaluations:
            write_kept(run / "evaluation" / "results.json", values(episodes), by="step")
            for step, number in episodes.items():
                most[step] = max(most.get(step, 0), number)
            found = {item["step"]: item["metrics"]["episodes"] for item in best_results(run)}
            assert found == most


@settings(deadline=None, max_examples=60)
@given(EVALUATIONS)
def test_file_is_refused_exactly_if_the_results_would_be_kept_apart(evaluations):
    """What is refused before an evaluation, and what is kept at its end, are the same."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "out.json"
        for episodes in evaluations:
            new = values(episodes)
            refused = False
            try:
                require_coverable(path, basis_of(new), overwrite=False)
            except ConfigError:
                refused = True
            written = write_kept(Path(name) / "copy" / "out.json", new)
            assert refused == (written != Path(name) / "copy" / "out.json")
            if not refused:
                write_kept(path, new)


def test_results_cover_others_with_as_many_episodes_of_every_checkpoint():
    """One episode less of one checkpoint, or one checkpoint less, is not enough; more of either is."""
    old = {"a": 7, "b": 5}
    assert covers({"a": 7, "b": 5}, old)
    assert covers({"a": 8, "b": 5, "c": 1}, old)
    assert not covers({"a": 70, "b": 4}, old)
    assert not covers({"a": 70}, old)


def test_results_of_an_older_version_count_with_what_they_say():
    """Without a number for each result, that of all results counts; without any, one."""
    bare = {"results": [{"checkpoint": "a", "metrics": {}}]}
    assert basis_of(bare) == {"a": 1}
    assert basis_of(dict(bare, num_envs=7)) == {"a": 7}
    assert basis_of(dict(bare, num_envs=7, episodes=9)) == {"a": 9}


@pytest.mark.parametrize("content", [None, 3, {}, {"results": 3}, {"results": [3]}, {"results": [{"metrics": 3}]}])
def test_other_content_is_no_results(content):
    """A configuration or a list of numbers is never taken for results."""
    assert basis_of(content) is None


def test_results_under_other_conditions_have_names_of_their_own(tmp_path):
    """A report on the run shows what the policy scores as it was trained."""
    assert variant_of(None, None) == ""
    names = {variant_of(3, None), variant_of(4, None), variant_of(None, True), variant_of(None, False)}
    assert len(names) == 4
    for variant in names:
        write_kept(tmp_path / "evaluation" / f"results{variant}.json", values({70: 900}), by="step")
        write_kept(tmp_path / "evaluation" / f"results{variant}.json", values({70: 4}), by="step")
    assert best_results(tmp_path) == []
    write_kept(tmp_path / "evaluation" / "results.json", values({70: 5}), by="step")
    assert [item["metrics"]["episodes"] for item in best_results(tmp_path)] == [5]


def test_report_of_a_run_takes_the_best_founded_result(tmp_path):
    """Few episodes that were played later change neither page nor score."""
    run = make_run(tmp_path / "run")
    write_kept(run / "evaluation" / "results.json", values({7000: 40}), by="step")
    small = write_kept(run / "evaluation" / "results.json", values({7000: 2}), by="step")
    assert small.name == "results-2-episodes.json"
    [score] = read_run(run, "run").results
    assert (score.step, score.episodes, score.success_rate) == (7000, 40, 1 / 40)
    assert report([str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "0.025" in page
    assert "0.5</td>" not in page


# -- commands --------------------------------------------------------------------------------------------------------


@pytest.fixture()
def played(tmp_path, monkeypatch):
    """Work in a folder with a run of two checkpoints, whose evaluation costs nothing; return what was played."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(WalkingPolicy, "load", classmethod(lambda cls, **_: untrained_walker()))
    for step in (10, 20):
        config = PushRunConfig(task=TaskConfig(object="cuboid"))
        agent = make_agent(config, SIZES, "cpu")
        saved = Checkpoint(config, step, SIZES, agent.state_dict(), {})
        checkpoints.save(saved, checkpoints.path_of(Path("mine"), step))
    calls = []

    def measure(config, name, path, *_):
        calls.append(path)
        step = checkpoints.step_of(path)
        count = config.episodes or config.num_envs
        rates = (0.5, (0.25, 0.75))
        metrics = EvaluationMetrics(
            count, *rates, 7.0, (6.0, 8.0), *rates, 0.0, 0.5, (0.25, 0.75), dict.fromkeys(ENDINGS, 0)
        )
        return Evaluation(path, step, metrics, name, steps_per_decision=1, rate_from="as it was trained")

    monkeypatch.setattr("mapush.evaluate._measure", measure)
    return calls


ENDINGS = ("success", "collision", "fall", "timeout")


def test_evaluation_with_few_envs_keeps_the_results_of_many(played, capsys):
    """`evaluate RUN --num-envs 2` writes next to the results of 40 envs: results, curve and table."""
    assert evaluate(["--checkpoint", "mine", "--num-envs", "40", "--sim", "mujoco"]) == 0
    folder = Path("mine/evaluation")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(before) == ["results.json", "success.csv", "success.png"]
    assert evaluate(["--checkpoint", "mine", "--num-envs", "2", "--sim", "mujoco"]) == 0
    for name, content in before.items():
        assert (folder / name).read_bytes() == content
    small = json.loads((folder / "results-2-episodes.json").read_text())
    assert [item["metrics"]["episodes"] for item in small["results"]] == [2, 2]
    assert (folder / "success-2-episodes.png").is_file()
    assert "kept: mine/evaluation/results.json" in capsys.readouterr().out
    assert evaluate(["--checkpoint", "mine", "--num-envs", "50", "--sim", "mujoco"]) == 0
    assert json.loads((folder / "results.json").read_text())["num_envs"] == 50


def test_results_of_another_policy_are_other_content(played, capsys):
    """As many episodes of a different checkpoint do not replace them."""
    first, second = (str(checkpoints.path_of(Path("mine"), step)) for step in (10, 20))
    words = ["--num-envs", "7", "--sim", "mujoco", "--json", "out.json"]
    assert evaluate(["--checkpoint", first, *words]) == 0
    assert evaluate(["--checkpoint", second, *words]) == 2
    message = capsys.readouterr().err
    assert "results of other checkpoints" in message
    assert first in message
    assert evaluate(["--checkpoint", first, second, *words]) == 0


@pytest.mark.parametrize("few", [["--num-envs", "2"], ["--num-envs", "2", "--episodes", "39"]])
@pytest.mark.parametrize("flag, file", [("--json", "out.json"), ("--report", "out/results.json")])
def test_named_file_with_better_results_is_refused_before_anything_is_played(flag, file, few, played, capsys):
    """--overwrite replaces it all the same."""
    target = {"--json": "out.json", "--report": "out"}[flag]
    words = ["--checkpoint", "mine", "--sim", "mujoco", flag, target]
    assert evaluate([*words, "--num-envs", "40"]) == 0
    before = Path(file).read_bytes()
    count = len(played)
    assert evaluate([*words, *few]) == 2
    message = capsys.readouterr().err
    assert "based on more" in message
    assert "--overwrite" in message
    assert "40 episodes" in message
    assert len(played) == count
    assert Path(file).read_bytes() == before
    assert evaluate([*words, "--num-envs", "40"]) == 0
    assert evaluate([*words, *few, "--overwrite"]) == 0
    assert Path(file).read_bytes() != before


def test_results_that_became_worse_than_the_file_meanwhile_are_not_lost(played, capsys):
    """A second evaluation may have written the file while the first was running: both are kept."""
    write_kept(Path("out.json"), values({10: 900}))
    written = write_kept(Path("out.json"), values({10: 2}))
    assert written == Path("out-2-episodes.json")
    assert json.loads(Path("out.json").read_text())["results"][0]["metrics"]["episodes"] == 900


PRECIOUS = "the only copy"
SMALL = ("--checkpoint", "mine", "--num-envs", "2", "--sim", "mujoco")


@pytest.mark.parametrize(
    "command, words, file",
    [
        (evaluate, ["--checkpoint", "mine", "--num-envs", "2", "--json", "notes.json"], "notes.json"),
        (evaluate, ["walk", "--json", "notes.json"], "notes.json"),
        (evaluate, ["--checkpoint", "mine", "--num-envs", "2", "--report", "site"], "site/index.html"),
        (evaluate, ["--checkpoint", "mine", "--num-envs", "2", "--report", "site"], "site/results.json"),
        (evaluate, ["--untrained", "--mode", "viewer", "--record", "film.mp4"], "film.mp4"),
        (evaluate, ["--untrained", "--mode", "viewer", "--record", "film.gif"], "film.gif"),
        (evaluate, ["--untrained", "--mode", "viewer", "--record", "film.html"], "film.html"),
        (evaluate, ["--untrained", "--mode", "viewer", "--sim", "standin", "--record", "film.mp4"], "film.mp4"),
        (evaluate, ["--env", "own:make", "--untrained", "--json", "notes.json"], "notes.json"),
        (report, ["run", "--out", "page.html"], "page.html"),
        (report, ["run", "--out", "run/progress.csv"], "run/progress.csv"),
    ],
)
def test_file_of_other_content_is_kept(command, words, file, played, capsys, monkeypatch):
    """Whatever a command was asked to write to, it is refused at once, and stays as it is."""
    make_run(Path("run"))
    path = Path(file)
    path.parent.mkdir(exist_ok=True)
    path.write_text(PRECIOUS)
    monkeypatch.setattr("mapush.evaluate.evaluate_walk", lambda *_: pytest.fail("evaluated in vain"))
    monkeypatch.setattr("mapush.evaluation.own_env.evaluate_own", lambda *_: pytest.fail("evaluated in vain"))
    monkeypatch.setattr("mapush.evaluate.load_in_env", lambda *_: pytest.fail("made an environment in vain"))
    monkeypatch.setattr("mapush.viewer.watch_policy.load_in_env", lambda *_: pytest.fail("made an environment in vain"))
    monkeypatch.setattr("mapush.evaluate.resolve", lambda *_: pytest.fail("chose a simulator in vain"))
    assert command(words) == 2
    assert path.read_text() == PRECIOUS
    message = capsys.readouterr().err
    assert "--overwrite" in message or "unknown suffix" in message
    assert played == []


@pytest.mark.parametrize(
    "command, words, file",
    [
        (
            evaluate,
            ["--checkpoint", "mine", "--num-envs", "2", "--sim", "mujoco", "--json", "notes.json"],
            "notes.json",
        ),
        (
            evaluate,
            ["--checkpoint", "mine", "--num-envs", "2", "--sim", "mujoco", "--report", "site"],
            "site/index.html",
        ),
        (report, ["run", "--out", "page.html"], "page.html"),
    ],
)
def test_overwrite_replaces_what_it_names(command, words, file, played):
    """The user knows best."""
    make_run(Path("run"))
    path = Path(file)
    path.parent.mkdir(exist_ok=True)
    path.write_text(PRECIOUS)
    assert command([*words, "--overwrite"]) == 0
    assert path.read_text() != PRECIOUS


@pytest.mark.slow
def test_page_of_ours_is_replaced_by_a_newer_one(played):
    """A report on runs costs nothing that its runs do not hold."""
    run = str(make_run(Path("run")))
    for _ in range(2):
        assert report([run]) == 0
        assert report([run, "--out", "page.html"]) == 0


def test_overwrite_without_a_named_file_is_refused(played, capsys):
    """A flag that cannot act is refused: the results in the folder of a run are kept in any case."""
    assert evaluate(["--checkpoint", "mine", "--overwrite"]) == 2
    assert "--overwrite belongs to a file that you name" in capsys.readouterr().err


def test_folder_in_the_place_of_the_results_is_noticed_before_anything_is_played(played, capsys):
    """It is not found after an evaluation of minutes."""
    Path("out.json").mkdir()
    assert evaluate(["--checkpoint", "mine", "--num-envs", "2", "--sim", "mujoco", "--json", "out.json"]) == 2
    assert "there is a folder of this name" in capsys.readouterr().err
    assert played == []
