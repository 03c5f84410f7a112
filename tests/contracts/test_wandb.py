"""Contracts of Weights & Biases: the log's numbers, one run over resumes, and one message where it cannot work."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import types
from pathlib import Path

import pytest
from runs import ROLLOUT, assert_same_end, in_process, tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mapush.config import RunConfig
from mapush.errors import ConfigError
from mapush.run.wandb_run import require_wandb
from mapush.train import main, parse, train

pytestmark = pytest.mark.contracts

HEADER, FRAME, BLOCK = 7, 7, 32768  # bytes
COMPLETE, LAST = 1, 4  # kinds of a part of a record
SPEC = types.SimpleNamespace(origin="wandb/__init__.py")


@pytest.mark.parametrize(
    "words, project",
    [([], None), (["--wandb"], "mapush"), (["--wandb", "pushing"], "pushing"), (["--wandb", "--seed", "3"], "mapush")],
)
def test_flag_takes_a_project_or_none(words, project):
    """`--wandb` works with and without the name of a project."""
    config, _, _ = parse(["walk"] + words)
    assert config.wandb == project


@pytest.mark.parametrize("found", [None, types.SimpleNamespace(origin=None)])
def test_missing_package_is_one_message_with_the_pip_line(found):
    """Not installed, or only a folder called wandb, such as W&B leaves behind, is refused before the run."""
    with pytest.raises(ConfigError, match="not installed") as caught:
        require_wandb(RunConfig(wandb="mapush"), lambda name: found)
    assert "pip install wandb" in caught.value.fix


def test_package_is_not_needed_without_the_flag():
    """A run that does not ask for W&B does not look for it."""
    require_wandb(RunConfig(), lambda name: pytest.fail("looked for a package"))


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_offline_needs_no_account(monkeypatch, mode):
    """Offline, only the package is needed."""
    monkeypatch.setenv("WANDB_MODE", mode)
    require_wandb(RunConfig(wandb="mapush"), lambda name: SPEC)


# -- with the real package -------------------------------------------------------------------------------------------


def _train_logged_in_as_nobody(folder: Path) -> int:
    os.environ.update(HOME=str(folder), NETRC=str(folder / "none"), WANDB_CONFIG_DIR=str(folder))
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        os.environ.pop(name, None)
    return main(["walk", "--wandb", "--run-dir", str(folder / "run")])


@pytest.mark.wandb
@pytest.mark.slow
def test_run_without_an_account_is_refused_before_it_begins(tmp_path):
    """Nobody is asked for a key in the middle of a start: the message says what to do, and no folder is made."""
    code, said = in_process(tmp_path.with_suffix(".txt"), _train_logged_in_as_nobody, tmp_path)
    assert code == 2, said
    assert "not logged in" in said
    assert "WANDB_MODE=offline" in said
    assert not (tmp_path / "run").exists()


def _train_offline(folder: Path) -> int:
    os.environ["WANDB_MODE"] = "offline"
    config = dataclasses.replace(tiny(5, decay=False), wandb="pushing")
    train(dataclasses.replace(config, total_steps=3 * ROLLOUT), folder)
    return main(["--resume", str(folder), "--total-steps", str(5 * ROLLOUT)])


def records(data):
    """Yield the records of one of W&B's files: LevelDB's log format, after a header of seven bytes."""
    position, record = HEADER, b""
    while position + FRAME <= len(data):
        left_in_block = BLOCK - position % BLOCK
        if left_in_block < FRAME:
            position += left_in_block
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += FRAME
        record += data[position : position + length]
        position += length
        if kind in (COMPLETE, LAST):
            yield record
            record = b""


def history(file):
    """Return the rows in one of W&B's files, in order."""
    from wandb.proto import wandb_internal_pb2

    rows = []
    for data in records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == "history":
            items = {".".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            rows.append({name: json.loads(value) for name, value in items.items()})
    return rows


@pytest.mark.wandb
@pytest.mark.mujoco
def test_offline_run_has_tensorboards_numbers_and_is_continued_by_a_resume(tmp_path):
    """Real files have the names, steps and values of TensorBoard under one id, and the run computes the same."""
    folder = tmp_path / "run"
    code, said = in_process(tmp_path / "said.txt", _train_offline, folder)
    assert code == 0, said
    known = json.loads((folder / "wandb.json").read_text())
    assert known["project"] == "pushing"
    files = sorted((folder / "wandb").glob("offline-run-*/*.wandb"))
    assert [file.name for file in files] == [f"run-{known['id']}.wandb"] * len(files)
    rows = [row for file in files for row in history(file)]
    assert [row["env_steps"] for row in rows] == [count * ROLLOUT for count in range(1, 6)]
    accumulator = EventAccumulator(str(folder / "tensorboard"))
    accumulator.Reload()
    tags = accumulator.Tags()["scalars"]
    assert {name for name in rows[0] if not name.startswith("_")} == set(tags) | {"env_steps"}
    for tag in ("reward/total", "train/approx_kl", "train/lr", "wall_s"):
        there = [(event.step, event.value) for event in accumulator.Scalars(tag)]
        here = [(row["env_steps"], pytest.approx(row[tag], rel=1e-5)) for row in rows]
        assert there == here, tag
    assert_same_end(folder, train(tiny(5, decay=False), tmp_path / "plain"))
