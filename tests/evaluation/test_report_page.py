"""The report of an evaluation: its page and the files in its folder."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from pages import Document
from walkers import untrained_walker

from benchmarks.report import evaluation_of, made_up_trace
from mapush.assembly import make_agent
from mapush.config import PushRunConfig, TaskConfig
from mapush.evaluate import main
from mapush.reports.evaluation_report import Setting, write_evaluation
from mapush.reports.published import PUBLISHED
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint
from mapush.sim.walking import WalkingPolicy

pytestmark = [pytest.mark.evaluation, pytest.mark.mujoco]

NUM_ENVS, LONGEST = 37, 60
SETTING = Setting("cuboid", NUM_ENVS, 3, "mujoco")
SIZES = {"num_agents": 2, "obs_dim": 8, "share_obs_dim": 20, "action_dim": 3}


def evaluations():
    """Return a run with two checkpoints, of which the newer is traced, and a policy, under names that need escaping."""
    run, policy = (made_up_trace(NUM_ENVS, seed, LONGEST) for seed in (1, 2))
    old = dataclasses.replace(evaluation_of(made_up_trace(NUM_ENVS, 3, LONGEST), 10_000_000, "old.pt"), trace=None)
    return {
        "runs/<b>bold & co": [old, evaluation_of(run, 20_000_000, "step_000020000000.pt")],
        "other/policy.pt": [evaluation_of(policy, 30_000_000, "policy.pt")],
    }


def no_recording(*_):
    """Record nothing, to save time."""
    return "There are no recordings: no time"


@pytest.fixture(scope="module")
def groups():
    """Two runs or policies."""
    return evaluations()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, groups):
    """The report of both, without recordings."""
    path = tmp_path_factory.mktemp("report")
    write_evaluation(path, SETTING, groups, record=no_recording)
    return path


@pytest.fixture(scope="module")
def page(folder):
    """The page, as a reader sees it."""
    return Document(folder / "index.html")


def test_measures_on_the_page_are_those_of_the_evaluation(page, groups):
    """All measures and intervals of the newest checkpoints are there, and MAPush's published results."""
    rows = page.table("success rate")
    for row, name, group in zip(rows, ("<b>bold & co", "policy.pt"), groups.values()):
        metrics, newest = group[-1].metrics, group[-1]
        low, high = metrics.success_rate_interval
        early, late = metrics.finished_time_interval
        few, many = metrics.collaboration_degree_interval
        rare, frequent = metrics.collision_rate_interval
        assert row == [
            name,
            f"{newest.step / 1e6:.3g}",
            f"{metrics.success_rate:.3f} {low:.3f} to {high:.3f}",
            f"{metrics.finished_time:.1f} {early:.1f} to {late:.1f}",
            f"{newest.success_time:.1f}",
            f"{metrics.collaboration_degree:.3f} {few:.3f} to {many:.3f}",
            f"{metrics.collision_rate:.3f} {rare:.3f} to {frequent:.3f}",
            "0.000",
            *(str(metrics.endings[ending]) for ending in ("collision", "fall", "timeout")),
        ]
    assert rows[2][:4] == ["MAPush, published", "100", "0.597 0.540 to 0.651", "13.6"]
    assert rows[2][4:7] == ["9.3", "0.110", "–"]


def test_all_checkpoints_of_a_run_are_listed(page, groups):
    """A second table has all checkpoints, oldest first."""
    oldest = groups["runs/<b>bold & co"][0]
    rows = page.table("checkpoint")
    assert [row[:2] for row in rows] == [["old.pt", "10"], ["step_000020000000.pt", "20"]]
    assert rows[0][2].split()[0] == f"{oldest.metrics.success_rate:.3f}"


def test_reasons_on_the_page_add_up_to_the_failures(page, groups):
    """Each failed episode has one reason, and no successful one has any."""
    rows = page.table("because")
    for name, group in (("<b>bold & co", groups["runs/<b>bold & co"]), ("policy.pt", groups["other/policy.pt"])):
        for ending in ("collision", "fall", "timeout"):
            counted = sum(int(row[3]) for row in rows if row[:2] == [name, ending])
            assert counted == group[-1].metrics.endings[ending] > 0


def test_single_policy_has_its_measures_on_tiles(tmp_path, groups):
    """The most important numbers are large, and each is compared with MAPush's."""
    group = groups["other/policy.pt"]
    page = Document(write_evaluation(tmp_path, SETTING, {"p": group}, record=no_recording))
    tiles = {tile[0]: tile[1:] for tile in page.tiles}
    assert tiles["success rate"][0] == f"{group[0].metrics.success_rate:.3f}"
    assert tiles["success rate"][1].endswith("MAPush, published: 0.597")
    assert tiles["finished time"][0] == f"{group[0].metrics.finished_time:.1f} s"
    assert tiles["collaboration degree"][0] == f"{group[0].metrics.collaboration_degree:.3f}"
    assert tiles["collision degree"][0] == "0.000"


def test_object_without_published_results_has_a_page(tmp_path, groups, monkeypatch):
    """A new object has nothing to be compared with, on the tiles of one policy and of several."""
    monkeypatch.delitem(PUBLISHED, "cuboid")
    one = {"p": groups["other/policy.pt"]}
    for name, evaluations in (("one", one), ("several", groups)):
        (tmp_path / name).mkdir()
        path = write_evaluation(tmp_path / name, SETTING, evaluations, record=no_recording)
        assert "MAPush, published" not in path.read_text(encoding="utf-8")


def test_page_needs_nothing_from_elsewhere_and_is_small(page, folder):
    """No script, font, picture or style is fetched; links lead to existing files in the folder."""
    assert page.outside() == []
    assert "script" not in {tag for tag, _ in page.references}
    assert page.source.count("<script>") == page.source.count("<script") == 1
    links = {address for tag, address in page.references if tag == "a" and not address.startswith("#")}
    assert links == {"episodes.csv", "trajectories.npz", "results.json"}
    assert len(page.source) < 5 * 2**20
    anchors = {address[1:] for tag, address in page.references if address.startswith("#")}
    assert anchors <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_names_are_text_and_never_markup(page):
    """A name that looks like HTML is shown literally."""
    assert "<b>bold" not in page.source.replace("&lt;b&gt;bold", "")
    assert "<b>bold & co" in page.text


def test_every_kind_of_figure_is_there_for_every_policy(page):
    """Progress and rates are shared; goals, endings, spots and paths exist for each policy."""
    assert page.figures == 2 + 2 * 4
    for name in (
        "progress",
        "rates",
        "goals0",
        "goals1",
        "endings0",
        "endings1",
        "spots0",
        "spots1",
        "paths0",
        "paths1",
    ):
        assert f"{name}-figure_1" in page.ids
    assert "var(--success)" in page.source
    assert "#0b9e73" not in page.source.split("</style>")[1]


def test_table_of_episodes_has_one_row_for_each(folder, groups):
    """The CSV file has the outcome of every episode of every policy, in order."""
    with (folder / "episodes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["env"]) for row in rows] == 2 * list(range(NUM_ENVS))
    trace = groups["other/policy.pt"][0].trace
    for env_id, row in enumerate(rows[NUM_ENVS:]):
        assert row["policy"] == "policy.pt"
        assert trace.outcome[row["ending"]][env_id]
        assert float(row["time_s"]) == pytest.approx(0.02 * trace.outcome["length"][env_id])
        start = trace.goals[env_id] - trace.qpos[env_id][0][-7:-5]
        assert float(row["goal_distance_m"]) == pytest.approx(np.linalg.norm(start), rel=1e-4)
        assert float(row["collaboration"]) == pytest.approx(trace.outcome["collaboration"][env_id], rel=1e-4)
        assert float(row["return"]) == pytest.approx(trace.outcome["return"][env_id], rel=1e-4)
        assert bool(row["reason"]) != bool(trace.outcome["success"][env_id])


def test_trajectories_can_be_split_into_episodes(folder, groups):
    """The lengths assign the rows of the arrays to the rows of the table."""
    data = np.load(folder / "trajectories.npz")
    ends = np.cumsum(data["lengths"] + 1)
    trace, index = groups["other/policy.pt"][0].trace, NUM_ENVS + 5
    assert np.array_equal(data["qpos"][ends[index - 1] : ends[index]], trace.qpos[5])
    assert np.array_equal(data["goals"][index], trace.goals[5])
    first = data["lengths"][:index].sum()
    assert np.array_equal(data["commands"][first : first + data["lengths"][index]], trace.commands[5])


def test_worst_episodes_are_recorded_and_linked(tmp_path, groups):
    """Each of the worst episodes has a page of its own, linked from the report."""
    path = write_evaluation(tmp_path, SETTING, {"p": groups["other/policy.pt"]})
    page = Document(path)
    rows = page.table("watch")
    links = [address for tag, address in page.references if tag == "a" and address.startswith("episodes/")]
    assert [row[-1] for row in rows] == ["replay"] * 3
    assert len(links) == 3
    for row, link in zip(rows, links):
        assert link == f"episodes/env{int(row[3]):03d}.html"
        assert (tmp_path / link).stat().st_size > 10_000


def test_report_without_a_recorder_says_why(tmp_path, groups, monkeypatch):
    """Without viser, only the recordings are missing, and the page says so."""
    monkeypatch.setitem(sys.modules, "mapush.viewer.films.html_film", None)  # the module that imports viser
    page = Document(write_evaluation(tmp_path, SETTING, {"p": groups["other/policy.pt"]}))
    assert "There are no recordings" in page.text
    assert "pip install viser" in page.text
    assert [row[-1] for row in page.table("watch")] == ["–"] * 3


def test_report_without_traces_shows_the_measures(tmp_path, groups):
    """Without traces, there are no episodes on the page, but all measures."""
    untraced = [dataclasses.replace(groups["other/policy.pt"][0], trace=None)]
    page = Document(write_evaluation(tmp_path, SETTING, {"p": untraced}))
    assert page.table("success rate")[0][0] == "p"
    assert page.figures == 1
    assert not (tmp_path / "episodes.csv").exists()


def test_team_that_never_fails_or_always_does_has_a_page(tmp_path):
    """No number of successes, including none and all, breaks a figure or a table."""
    trace = made_up_trace(NUM_ENVS, 4, LONGEST)
    for ending in ("success", "timeout", "collision"):
        outcome = dict(trace.outcome)
        for name in ("success", "collision", "fall", "timeout"):
            outcome[name] = np.full(NUM_ENVS, name == ending)
        group = [evaluation_of(dataclasses.replace(trace, outcome=outcome), 0, "p")]
        page = Document(write_evaluation(tmp_path, SETTING, {"p": group}, record=no_recording))
        rate = page.table("success rate")[0][2].split()[0]
        assert rate == {"success": "1.000", "timeout": "0.000", "collision": "0.000"}[ending]
        assert ("no episode failed" in page.text) == (ending == "success")
        assert "nan" not in page.text.split()


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture()
def run_dir(tmp_path, monkeypatch):
    """Two runs with arbitrary weights and episodes of at most 0.8 s, without recordings."""
    monkeypatch.chdir(tmp_path)
    for module in ("push", "terminations"):
        monkeypatch.setattr(f"mapush.env.{module}.MAX_EPISODE_LENGTH", 40)
    monkeypatch.setattr(WalkingPolicy, "load", classmethod(lambda cls, **_: untrained_walker()))
    monkeypatch.setitem(sys.modules, "mapush.viewer.films.html_film", None)  # no recordings, which take time
    config = PushRunConfig(task=TaskConfig(object="cuboid", steps_per_decision=7))
    for step, name in ((10, "mine"), (20, "mine"), (30, "yours")):
        agent = make_agent(dataclasses.replace(config, seed=step), SIZES, "cpu")
        saved = Checkpoint(config, step, SIZES, agent.state_dict(), {"iteration": 1})
        checkpoints.save(saved, checkpoints.path_of(tmp_path / name, step))
    return tmp_path


def _argv(*words) -> list:
    return [*map(str, words), "--num-envs", "5", "--sim", "mujoco", "--sim.threads", "1", "--device", "cpu"]


def test_command_reports_on_several_runs_and_checkpoints(run_dir, capsys):
    """Runs and checkpoints are compared on one page, whose numbers equal those of the JSON file."""
    one = checkpoints.path_of(Path("mine"), 10)
    assert main(_argv("cuboid", "--checkpoint", "mine", "yours", one, "--report", "out/report")) == 0
    assert "report: out/report/index.html" in capsys.readouterr().out
    page, values = Document(Path("out/report/index.html")), json.loads(Path("out/report/results.json").read_text())
    assert [result["step"] for result in values["results"]] == [10, 20, 30, 10]
    rows = page.table("success rate")
    assert [row[0] for row in rows] == ["mine", "yours", one.name, "MAPush, published"]
    for row, index in zip(rows, (1, 2, 3)):
        metrics = values["results"][index]["metrics"]
        assert row[3].split()[0] == f"{metrics['finished_time']:.1f}"
        assert row[-1] == str(metrics["endings"]["timeout"])
    with open("out/report/episodes.csv") as file:
        assert len(list(csv.DictReader(file))) == 3 * 5
    for name, steps in (("mine", [10, 20]), ("yours", [30])):
        own = json.loads(Path(name, "evaluation", "results.json").read_text())
        assert [result["step"] for result in own["results"]] == steps


def test_command_with_a_report_scores_what_it_scores_without(run_dir):
    """The report changes no number."""
    assert main(_argv("cuboid", "--checkpoint", "yours", "--json", "plain.json")) == 0
    assert main(_argv("cuboid", "--checkpoint", "yours", "--json", "traced.json", "--report", "out")) == 0
    assert Path("plain.json").read_text() == Path("traced.json").read_text() == Path("out/results.json").read_text()


@pytest.mark.parametrize(
    "argv, phrases",
    [
        (["--untrained", "--report", "file/report"], ["the report cannot be written there", "--report DIR"]),
        (["walk", "--report", "out"], ["--report works for pushing tasks only"]),
        (["--mode", "viewer", "--report", "out"], ["--report belongs to the calculator"]),
        (["--mode", "viewer", "--checkpoint", "mine", "yours"], ["only the calculator compares"]),
        (["walk", "--checkpoint", "mine", "yours"], ["only the calculator compares"]),
        (["--checkpoint", "mine", "nowhere", "--report", "out"], ["there is no such checkpoint", "nowhere"]),
        (
            ["tblock", "--checkpoint", "mine", "yours", "--report", "out"],
            ["does not fit", "task cuboid", "task tblock"],
        ),
    ],
)
def test_command_that_cannot_report_says_so_before_it_evaluates(argv, phrases, run_dir, capsys, monkeypatch):
    """A report that cannot be written is refused at once, with a way out."""
    Path("file").write_text("in the way")
    monkeypatch.setattr("mapush.evaluate.first_episodes", lambda *_: pytest.fail("evaluated in vain"))
    assert main(argv) == 2
    message = capsys.readouterr().err
    for phrase in phrases:
        assert phrase in message


# -- in a browser ----------------------------------------------------------------------------------------------------


@pytest.mark.browser
def test_page_opens_in_a_browser_from_the_disk(folder):
    """From file://, without a network: no console errors, visible figures, and dark colours on request."""
    from browsers import open_browser

    asked, errors = [], []
    with open_browser() as browser:
        for scheme, dark in (("light", False), ("dark", True)):
            window = browser.new_context(offline=True, color_scheme=scheme, viewport={"width": 1200, "height": 800})
            page = window.new_page()
            page.on("console", lambda message: errors.append(message.text))
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            page.goto((folder / "index.html").as_uri())
            assert page.title() == "cuboid: <b>bold & co and policy.pt"
            sizes = page.eval_on_selector_all("figure svg", "all => all.map(one => one.getBoundingClientRect().height)")
            assert len(sizes) == 10
            assert min(sizes) > 100
            brightness = sum(map(int, page.eval_on_selector("body", _BACKGROUND)[4:-1].split(",")[:3]))
            assert (brightness < 200) == dark
            width = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert width <= 0, "the page is wider than the window"
            assert page.eval_on_selector("figure path[style*='--success']", _FILL) not in ("none", "rgb(0, 0, 0)")
    assert errors == []
    assert all(address.startswith(("file:", "data:")) for address in asked)


_BACKGROUND = "body => getComputedStyle(body).backgroundColor"
_FILL = "path => { const style = getComputedStyle(path); return style.fill == 'none' ? style.stroke : style.fill }"
