"""Contracts of reports and of replay bundles."""

from __future__ import annotations

import dataclasses
import json
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.checking.bundle import Bundle, keep
from harness.checking.replay_finding import replay
from harness.findings import Finding, Report, check_command
from harness.pages.check_page import ReportRow, write_report
from harness.stack import replay_command

pytestmark = pytest.mark.harness

FINDING = Finding("aliasing", "reward buffer is reused", got="5 values changed", step=4)
ACTIONS = [[3, [[[0.0, 0.5]]]]]  # for three steps
ROWS = [
    ReportRow("finite", "passed", 0.25),
    ReportRow("aliasing", "failed", 1.5, "reward <buffer> is reused", "all & everything", "check again", "replay it"),
    ReportRow("horizon", "skipped", 0.0, "episodes never end"),
]
MATRIX = [
    {
        "fault": "late-reward",
        "kind": "reward",
        "expected": ["reward-task", "bounds"],
        "caught_by": ["bounds"],
        "step": 2,
        "seconds": 0.5,
        "diagnosis": "the reward is late",
    },
    {
        "fault": "swapped-actions",
        "kind": "actions",
        "expected": ["impulse"],
        "caught_by": ["finite"],
        "step": None,
        "seconds": 0.0,
        "diagnosis": "",
    },
]
VOID = {"meta", "link"}


class Page(HTMLParser):
    """Parses a page into its open tags, the addresses that it loads, and its text."""

    def __init__(self, path):
        super().__init__()
        self.open, self.loads, self.words = [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        """Note what is open, and what would be loaded."""
        self.loads += [value for name, value in attributes if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        """Close the tag that is open."""
        assert self.open.pop() == tag

    def handle_data(self, data):
        """Note the text."""
        self.words.append(data)


@pytest.fixture
def bundle(tmp_path):
    """Return the path of the bundle of a broken contract."""
    return path_of(keep(FINDING, "some.module:make_env", {"num_envs": 5}, 11, tmp_path))


def path_of(finding):
    return Path(shlex.split(finding.replay)[-1])


@pytest.fixture
def checked():
    """Return a stand-in for `check` that records its arguments and returns `report`, or `by_actions` for actions."""

    def check(*arguments, actions=None, task=""):
        check.calls.append(arguments)
        return check.by_actions if actions == check.actions else check.report

    check.calls, check.actions = [], ACTIONS
    return check


def test_report_page_is_well_formed_and_loads_nothing(tmp_path):
    """The page is well formed, escapes its text, and needs neither a network nor other files."""
    page = Page(write_report(tmp_path / "new" / "folder", ROWS, "checks of <this>"))
    assert page.open == []
    assert page.loads == ["data:,"]  # no icon
    text = " ".join(page.words)
    for expected in ("reward <buffer> is reused", "all & everything", "checks of <this>", "check again", "replay it"):
        assert expected in text


def test_report_shows_failures_first(tmp_path):
    """Failed checks come first, whatever the order of the checks."""
    text = " ".join(Page(write_report(tmp_path, ROWS, "")).words)
    assert text.index("aliasing") < text.index("finite")


def test_nothing_is_marked_as_failed_where_nothing_is(tmp_path):
    """Without a failed check, nothing on the page is marked as failed."""
    page = write_report(tmp_path, [ROWS[0]], "")
    assert 'class="failed"' not in page.read_text()
    assert "<span>failed</span><b>0</b>" in page.read_text()
    assert "Findings" not in page.read_text()


def test_report_json_holds_rows_counts_versions_and_matrix(tmp_path):
    """The JSON holds everything that the page shows."""
    write_report(tmp_path, ROWS, "title", MATRIX)
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["counts"] == {"passed": 1, "failed": 1, "skipped": 1}
    assert content["checks"] == [dataclasses.asdict(row) for row in ROWS]
    assert content["matrix"] == MATRIX
    assert "python" in content["versions"]


def test_report_shows_missed_bugs_first(tmp_path):
    """Bugs that no expected contract caught are marked and come first."""
    page = write_report(tmp_path, [], "", MATRIX)
    words = Page(page).words
    assert words.index("swapped-actions") < words.index("missed") < words.index("late-reward")
    assert words.count("missed") == 1
    assert "reward-task, bounds" in words


def test_report_without_rows_is_written(tmp_path):
    """A session without any check has a report, too."""
    assert write_report(tmp_path, [], "empty").exists()


def test_bundle_read_gives_what_was_written(bundle):
    """Factory, arguments, seed and finding are read as they were written."""
    read = Bundle.read(bundle)
    assert (read.factory, read.kwargs, read.seed) == ("some.module:make_env", {"num_envs": 5}, 11)
    assert Finding(**read.finding) == FINDING


def test_check_command_quotes_what_a_shell_would_read():
    """The command can be pasted into a shell, whatever the arguments are."""
    command = check_command("some.module:make_env", {"object": "it's"}, "aliasing", 3)
    words = shlex.split(command)
    assert json.loads(words[words.index("--kwargs") + 1]) == {"object": "it's"}
    assert words[-4:] == ["--contracts", "aliasing", "--seed", "3"]


def test_replay_broken_again_says_so(bundle, checked, capsys):
    """If the contract is still broken, the exit code is 1, and the finding is printed."""
    checked.report = Report([FINDING], [])
    assert replay(bundle, checked) == 1
    assert checked.calls == [("some.module:make_env", {"num_envs": 5}, ["aliasing"], 11)]
    assert "reward buffer is reused" in capsys.readouterr().out


def test_replay_of_a_fixed_contract_names_changed_versions(bundle, checked, capsys):
    """If the contract holds now, the exit code is 0, and the changed versions are printed."""
    content = json.loads(bundle.read_text())
    content["versions"]["numpy"] = "0.1"
    bundle.write_text(json.dumps(content))
    checked.report = Report([], ["aliasing"])
    assert replay(bundle, checked) == 0
    said = capsys.readouterr().out
    assert "aliasing holds now" in said
    assert "numpy was 0.1" in said


def test_replay_that_is_not_judged_exits_with_2(bundle, checked, capsys):
    """If the contract cannot be judged, the exit code is 2, and the reason is printed."""
    checked.report = Report([], [], {"aliasing": "the environment has no steps"})
    assert replay(bundle, checked) == 2
    assert "the environment has no steps" in capsys.readouterr().err


def test_replay_of_an_unknown_contract_names_the_nearest(tmp_path, capsys):
    """A bundle of a different version may name a contract that does not exist any more."""
    finding = keep(dataclasses.replace(FINDING, contract="aliasin"), "some.module:make_env", {}, 11, tmp_path)
    assert replay(path_of(finding)) == 2
    assert "did you mean 'aliasing'" in capsys.readouterr().err


@pytest.mark.parametrize("still, status, checks", [(True, 1, 1), (False, 0, 2)])
@pytest.mark.parametrize("count, text", [(3, "its 3 steps no longer show it"), (1, "its one step no longer shows it")])
def test_replay_tries_the_actions_before_the_complete_contract(
    tmp_path, checked, capsys, count, text, still, status, checks
):
    """If the actions of the bundle do not break the contract again, the complete contract is judged."""
    checked.actions = [[count, ACTIONS[0][1]]]
    finding = keep(dataclasses.replace(FINDING, actions=checked.actions), "some.module:make_env", {}, 11, tmp_path)
    checked.by_actions, checked.report = Report([FINDING] * still, ["aliasing"]), Report([], ["aliasing"])
    assert replay(path_of(finding), checked) == status
    assert len(checked.calls) == checks
    assert (text in capsys.readouterr().out) == (not still)


OTHER_FINDING = '{"factory": "a:b", "kwargs": {}, "seed": 1, "finding": {"unknown": 1}}'


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"factory": "a:b"}', '{"unknown": 1}', OTHER_FINDING])
def test_replay_refuses_a_file_that_is_not_a_bundle(tmp_path, capsys, content):
    """A missing, damaged or different file leads to exit code 2 and a message, not a traceback."""
    path = tmp_path / "bundle.json"
    if content is not None:
        path.write_text(content)
    assert replay(path) == 2
    assert "not a replay bundle" in capsys.readouterr().err


def test_replay_of_a_failed_run_is_left_to_mapush(tmp_path, capsys):
    """A .pt file is not read as a bundle; `mapush.replay` reports what is wrong with it."""
    pytest.importorskip("torch")
    assert replay_command.main([str(tmp_path / "failure.pt")]) == 2
    assert "\nCheckpointError: there is no such" in capsys.readouterr().err


LONG_ROW = ReportRow(
    "tests/some/folder/test_of_a_module.py::test_with_a_long_name[a-parameter-or-two]",
    "failed",
    1.5,
    "a diagnosis " * 10,
    "details/" * 40,
    "python -m harness check " + "x" * 150,
    "python -m harness replay " + "y" * 150,
)
BACKGROUND = "getComputedStyle(document.body).backgroundColor"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme, background", [("light", "rgb(244, 246, 248)"), ("dark", "rgb(17, 23, 29)")])
def test_report_page_fits_the_window_and_follows_the_colour_scheme(tmp_path, width, scheme, background):
    """On a phone and on a desktop only tables scroll sideways, and the page follows light or dark mode."""
    from browsers import open_browser

    path = write_report(tmp_path, [*ROWS, LONG_ROW], "checks", MATRIX)
    errors = []
    with open_browser() as browser:
        window = browser.new_context(offline=True, color_scheme=scheme, viewport={"width": width, "height": 800})
        page = window.new_page()
        page.on("console", lambda message: errors.append(message.text))
        page.goto(path.as_uri())
        assert page.evaluate(OVERFLOW) <= 0
        assert page.evaluate(BACKGROUND) == background
        assert page.locator("circle").count() == len(MATRIX)
    assert errors == []
