"""Contracts of the announcement by which a training reports its progress to the harness that watches it."""

from __future__ import annotations

import json

import pytest
from programs import PYTHON

from harness.process.announcement import Announcement, AnnouncementFile
from harness.process.isolate import run
from mapush.run.announce import announce

pytestmark = pytest.mark.harness

ANNOUNCING = """
import os
with open(os.environ["HARNESS_ANNOUNCE"], "w") as file:
    file.write({!r})
os.abort()
"""


def test_report_shows_what_a_training_announced():
    """The report names the last announced step, the newest checkpoint and the command that continues the run."""
    content = {"folder": "runs/x", "step": 4321, "checkpoint": "runs/x/4000.pt", "resume": "python train.py --resume"}
    ending = run(PYTHON + [ANNOUNCING.format(json.dumps(content))])
    assert ending.evidence.announced == Announcement(**content)
    assert "at env step 4,321" in str(ending).splitlines()[0]
    assert "runs/x/4000.pt; continue with: python train.py --resume" in str(ending)
    assert (ending.as_dict()["evidence"]["run"], ending.as_dict()["evidence"]["step"]) == ("runs/x", 4321)


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"step": "many", "folder": 3}'])
def test_announcement_that_cannot_be_read_is_ignored(content):
    """Invalid content of the file announces nothing, and the report is written."""
    ending = run(PYTHON + [ANNOUNCING.format(content)])
    assert ending.kind == "abort"
    assert ending.evidence.announced == Announcement()


@pytest.fixture
def announcements(monkeypatch):
    """Return the file to which this process announces."""
    file = AnnouncementFile()
    for name, value in file.environment.items():
        monkeypatch.setenv(name, value)
    yield file
    file.close()


def test_mapush_announces_folder_step_and_newest_checkpoint(tmp_path, announcements):
    """The harness reads what mapush writes; without a checkpoint the report says that nothing was saved."""
    announce(tmp_path, 0)
    assert announcements.read().in_words() == f"nothing yet in {tmp_path}"
    (tmp_path / "checkpoints").mkdir()
    checkpoint = tmp_path / "checkpoints" / "step_000000004000.pt"
    checkpoint.write_text("")
    announce(tmp_path, 4321)
    resume = f"python -m mapush.train --resume {tmp_path}"
    assert announcements.read() == Announcement(str(tmp_path), 4321, str(checkpoint), resume)
    announce(tmp_path, 5000, resumable=False)
    assert announcements.read() == Announcement(str(tmp_path), 5000, str(checkpoint))
    announcements.close()
    announce(tmp_path, 6000)
    assert announcements.read() == Announcement()


@pytest.mark.mujoco
def test_training_announces_its_progress(tmp_path, announcements):
    """`mapush.train` announces its run folder, and the env steps that it had taken when the last iteration began."""
    pytest.importorskip("torch")
    from runs import ROLLOUT, tiny

    from mapush.train import train

    train(tiny(3), tmp_path / "run")
    announced = announcements.read()
    assert announced.folder == str(tmp_path / "run")
    assert announced.step == 2 * ROLLOUT
    assert announced.checkpoint is not None
    assert announced.resume == f"python -m mapush.train --resume {tmp_path / 'run'}"
