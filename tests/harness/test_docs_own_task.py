"""`docs/your-own-task.md` can be followed from an empty folder: its files and commands are taken from the page."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from pathlib import Path

import pytest
from runs import start_process

from mapush.env.own_terms import TermInputs
from mapush.objects import PushObject

pytestmark = pytest.mark.harness

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "your-own-task.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.M | re.S)


def commands():
    """Return the words of each command on the page, in order."""
    lines = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    return [shlex.split(line) for line in lines]


def write_files(folder):
    """Write the files on the page, whose first line is a comment with the name; return the names."""
    names = []
    for kind, text in BLOCKS:
        if kind != "sh":
            name = re.match(r"# ([\w.]+)\n", text).group(1)
            (folder / name).write_text(text)
            names.append(name)
    return names


def run(folder, words):
    """Run a command of mapush in a folder, with episodes of one second; for `start_process`."""
    from mapush.__main__ import main
    from mapush.env import push, terminations

    push.MAX_EPISODE_LENGTH = terminations.MAX_EPISODE_LENGTH = 50
    os.chdir(str(folder))
    return main(words)


@pytest.mark.slow
@pytest.mark.mujoco
def test_page_works_from_an_empty_folder(tmp_path):
    """Every command of the page ends well, and leaves what the page says."""
    folder = tmp_path / "empty"
    folder.mkdir()
    assert write_files(folder) == ["crate.py", "wedge.obj", "terms.py", "meeting.py"]
    said = {}
    for number, (program, *words) in enumerate(commands()):
        assert program == "mapush"
        output = tmp_path / f"{number}.txt"
        process = start_process(output, run, folder, words)
        process.join(timeout=300)
        said[number] = output.read_text()
        assert process.exitcode == 0, said[number]
    for made in ("page/index.html", "crate.html", "runs/first/report.html", "runs/team/own/terms.py"):
        assert (folder / made).stat().st_size > 0, made
    assert "reward/spread" in (folder / "runs" / "team" / "progress.csv").read_text().splitlines()[0]
    assert "success" in said[len(said) - 1]


def first_column(heading):
    """Return the first column of the table after a heading, without the heads."""
    section = TEXT.split(heading)[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.M)


def test_page_lists_every_field_of_an_object():
    """No field is missing, and none is listed that is gone."""
    assert first_column("### Fields of `PushObject`") == [field.name for field in dataclasses.fields(PushObject)]


def test_page_lists_every_input_of_a_reward_term():
    """A function of the user's own can rely on the names on the page."""
    assert set(first_column("## A reward")) == {field.name for field in dataclasses.fields(TermInputs)}
