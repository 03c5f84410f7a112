"""Contracts of reports and of replay bundles."""

from __future__ import annotations

import dataclasses
import json
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.check_report import ReportRow, write_report
from harness.checking import replay_finding
from harness.checking.bundle import Bundle, keep
from harness.checking.replay_finding import main
from harness.findings import Finding, Report, check_command

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
VOID = {"meta"}


class Page(HTMLParser):
    """Reads a page: the open tags, the attributes that load something, the text."""

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
def checked(monkeypatch):
    """Let every check come to `checked.report`, one by actions to `checked.by_actions`, and keep their arguments."""

    def check(*arguments, actions=None, task=""):
        check.calls.append(arguments)
        return check.by_actions if actions == check.actions else check.report

    check.calls, check.actions = [], ACTIONS

    monkeypatch.setattr(replay_finding, "check", check)
    return check


def test_report_page_is_whole_and_loads_nothing(tmp_path):
    """The page is well formed, escapes what it shows, and needs neither network nor other files."""
    page = Page(write_report(tmp_path / "new" / "folder", ROWS, "checks of <this>"))
    assert page.open == []
    assert page.loads == []
    text = " ".join(page.words)
    for expected in ("reward <buffer> is reused", "all & everything", "checks of <this>", "check again", "replay it"):
        assert expected in text


def test_report_shows_failures_first(tmp_path):
    """What is broken is at the top, whatever the order of the checks."""
    text = " ".join(Page(write_report(tmp_path, ROWS, "")).words)
    assert text.index("aliasing") < text.index("finite")


def test_nothing_is_marked_as_failed_where_nothing_is(tmp_path):
    """Red is for what is broken."""
    page = write_report(tmp_path, [ROWS[0]], "")
    assert 'class="failed"' not in page.read_text()
    assert "0 failed" in page.read_text()


def test_report_json_holds_rows_counts_versions_and_matrix(tmp_path):
    """A program finds in the JSON all that the page shows."""
    write_report(tmp_path, ROWS, "title", MATRIX)
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["counts"] == {"passed": 1, "failed": 1, "skipped": 1}
    assert content["checks"] == [dataclasses.asdict(row) for row in ROWS]
    assert content["matrix"] == MATRIX
    assert "python" in content["versions"]


def test_report_shows_missed_bugs_first(tmp_path):
    """A planted bug that none of the expected contracts caught is marked, above those that were caught."""
    page = write_report(tmp_path, [], "", MATRIX)
    words = Page(page).words
    assert words.index("swapped-actions") < words.index("missed") < words.index("late-reward")
    assert words.count("missed") == 1
    assert "reward-task, bounds" in words


def test_report_without_rows_is_written(tmp_path):
    """A session in which nothing ran has a report, too."""
    assert write_report(tmp_path, [], "empty").exists()


def test_bundle_read_gives_what_was_written(bundle):
    """A bundle holds the factory, its arguments, the seed and the finding, exactly."""
    read = Bundle.read(bundle)
    assert (read.factory, read.kwargs, read.seed) == ("some.module:make_env", {"num_envs": 5}, 11)
    assert Finding(**read.finding) == FINDING


def test_check_command_quotes_what_a_shell_would_read():
    """The reproducing line can be pasted, whatever the arguments are."""
    command = check_command("some.module:make_env", {"object": "it's"}, "aliasing", 3)
    words = shlex.split(command)
    assert json.loads(words[words.index("--kwargs") + 1]) == {"object": "it's"}
    assert words[-4:] == ["--contracts", "aliasing", "--seed", "3"]


def test_replay_broken_again_says_so(bundle, checked, capsys):
    """A contract that is still broken is exit code 1, with the finding."""
    checked.report = Report([FINDING], [])
    assert main([str(bundle)]) == 1
    assert checked.calls == [("some.module:make_env", {"num_envs": 5}, ["aliasing"], 11)]
    assert "reward buffer is reused" in capsys.readouterr().out


def test_replay_mended_names_what_differs_from_then(bundle, checked, capsys):
    """A contract that holds now is exit code 0, and the versions that changed are the first suspects."""
    content = json.loads(bundle.read_text())
    content["versions"]["numpy"] = "0.1"
    bundle.write_text(json.dumps(content))
    checked.report = Report([], ["aliasing"])
    assert main([str(bundle)]) == 0
    said = capsys.readouterr().out
    assert "aliasing holds now" in said
    assert "numpy was 0.1" in said


def test_replay_not_judged_is_no_success(bundle, checked, capsys):
    """A contract that the check could not judge is exit code 2, with the reason."""
    checked.report = Report([], [], {"aliasing": "the environment has no steps"})
    assert main([str(bundle)]) == 2
    assert "the environment has no steps" in capsys.readouterr().err


def test_replay_of_an_unknown_contract_names_the_nearest(tmp_path, capsys):
    """A bundle of another version may name a contract that is no more."""
    finding = keep(dataclasses.replace(FINDING, contract="aliasin"), "some.module:make_env", {}, 11, tmp_path)
    assert main([str(path_of(finding))]) == 2
    assert "did you mean 'aliasing'" in capsys.readouterr().err


@pytest.mark.parametrize("still, status, checks", [(True, 1, 1), (False, 0, 2)])
@pytest.mark.parametrize("count, text", [(3, "its 3 steps no longer show it"), (1, "its one step no longer shows it")])
def test_replay_tries_the_actions_before_the_whole_contract(
    tmp_path, checked, capsys, count, text, still, status, checks
):
    """The sequence of the bundle is enough where it breaks the contract again; else the whole contract is judged."""
    checked.actions = [[count, ACTIONS[0][1]]]
    finding = keep(dataclasses.replace(FINDING, actions=checked.actions), "some.module:make_env", {}, 11, tmp_path)
    checked.by_actions, checked.report = Report([FINDING] * still, ["aliasing"]), Report([], ["aliasing"])
    assert main([str(path_of(finding))]) == status
    assert len(checked.calls) == checks
    assert (text in capsys.readouterr().out) == (not still)


OTHER_FINDING = '{"factory": "a:b", "kwargs": {}, "seed": 1, "finding": {"unknown": 1}}'


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"factory": "a:b"}', '{"unknown": 1}', OTHER_FINDING])
def test_replay_of_no_bundle_says_so(tmp_path, capsys, content):
    """A file that is missing, damaged or something else is exit code 2 and a message, not a traceback."""
    path = tmp_path / "bundle.json"
    if content is not None:
        path.write_text(content)
    assert main([str(path)]) == 2
    assert "no replay bundle" in capsys.readouterr().err
