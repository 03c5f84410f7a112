"""Contracts of checkpoints."""

from __future__ import annotations

import itertools
import resource
import signal
import time

import pytest
import torch
from runs import start_process

from mapush.config import PushRunConfig
from mapush.errors import CheckpointError
from mapush.run import checkpoint as checkpoints
from mapush.run.checkpoint import Checkpoint

pytestmark = pytest.mark.contracts

SIZES = {"num_agents": 2, "obs_dim": 8, "share_obs_dim": 19, "action_dim": 3}


def make(step=700, size=13):
    agent = {"actors": [{"weight": torch.arange(size, dtype=torch.float32)}, {"weight": torch.ones(size)}]}
    return Checkpoint(PushRunConfig(seed=5), step, dict(SIZES), agent, {"iteration": 3, "env": {"rows": torch.eye(4)}})


def test_checkpoint_what_is_saved_is_what_is_loaded(tmp_path):
    """Configuration, step, sizes and every tensor come back equal."""
    saved = make()
    loaded = checkpoints.load(checkpoints.save(saved, checkpoints.path_of(tmp_path, saved.step)))
    assert (loaded.config, loaded.step, loaded.sizes) == (saved.config, saved.step, saved.sizes)
    assert torch.equal(loaded.agent["actors"][0]["weight"], saved.agent["actors"][0]["weight"])
    assert torch.equal(loaded.run["env"]["rows"], saved.run["env"]["rows"])


def test_latest_is_the_one_with_most_steps(tmp_path):
    """Steps, not the alphabet or the clock, order the checkpoints of a run."""
    for step in (9_000, 20_000_000, 100_000):
        checkpoints.save(make(step), checkpoints.path_of(tmp_path, step))
    assert checkpoints.load(checkpoints.latest(tmp_path)).step == 20_000_000
    assert [checkpoints.load(path).step for path in checkpoints.all_of(tmp_path)] == [9_000, 100_000, 20_000_000]


def test_run_without_checkpoint_is_an_error(tmp_path):
    """A run that has saved nothing yet says so."""
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoints.latest(tmp_path)


def test_truncated_file_is_refused(tmp_path):
    """A file cut short is an error that says how long it is, whatever the cut."""
    path = checkpoints.save(make(), tmp_path / "a.pt")
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError) as caught:
            checkpoints.load(path)
        assert f"{length} bytes" in caught.value.got


def test_foreign_files_are_refused(tmp_path):
    """Text, another program's torch file and a pickle that runs code are errors; nothing is executed."""
    text, other, code = tmp_path / "t.pt", tmp_path / "o.pt", tmp_path / "c.pt"
    text.write_text("hello")
    torch.save({"model": torch.zeros(3)}, other)
    torch.save(_Bomb(str(tmp_path / "exploded")), code)
    for path in (text, other, code):
        with pytest.raises(CheckpointError):
            checkpoints.load(path)
    assert not (tmp_path / "exploded").exists()
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(other)
    assert "it holds model" in caught.value.got


@pytest.mark.parametrize("content", [b"hello", bytes(range(256))])
def test_file_that_torch_did_not_write_is_told_in_our_words(tmp_path, content):
    """Of a text and of noise is told what they are not, without torch's advice to load them all the same."""
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(path)
    assert caught.value.got == f"{len(content)} bytes that torch did not write"


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_missing_file_is_an_error(tmp_path):
    """A checkpoint that is not there is named."""
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load(tmp_path / "none.pt")
    assert caught.value.where == str(tmp_path / "none.pt")


@pytest.mark.parametrize("name, value", [("num_agents", 3), ("obs_dim", 11), ("share_obs_dim", 27), ("action_dim", 12)])
def test_checkpoint_of_other_sizes_is_refused(tmp_path, name, value):
    """A checkpoint that does not fit says what it holds and what was expected."""
    with pytest.raises(CheckpointError) as caught:
        checkpoints.require_fit(make(), tmp_path, "cuboid", dict(SIZES, **{name: value}))
    assert f"{name} {SIZES[name]}" in caught.value.got
    assert f"{name} {value}" in caught.value.expected


def test_checkpoint_of_another_task_is_refused(tmp_path):
    """The same sizes are not enough: the task counts."""
    checkpoints.require_fit(make(), tmp_path, "cuboid", SIZES)
    with pytest.raises(CheckpointError, match="does not fit"):
        checkpoints.require_fit(make(), tmp_path, "tblock", SIZES)


def test_full_disk_leaves_the_old_checkpoint(tmp_path):
    """When the new file cannot be written, the old one is whole and no part of the new one remains."""
    path = checkpoints.save(make(step=700), checkpoints.path_of(tmp_path, 700))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10_000, hard))
    try:
        with pytest.raises(CheckpointError, match="could not be written"):
            checkpoints.save(make(step=900, size=1_000_000), checkpoints.path_of(tmp_path, 900))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert checkpoints.load(checkpoints.latest(tmp_path)).step == 700
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def _save_for_ever(folder):
    for step in itertools.count(1):
        saved = checkpoints.Checkpoint(PushRunConfig(), step, {}, {"w": torch.full((300_000,), float(step))}, {})
        checkpoints.save(saved, checkpoints.path_of(folder, step))


def test_newest_checkpoint_loads_after_kill_at_any_moment(tmp_path):
    """A process that saves without pause is killed in the middle of it: what it leaves can be loaded."""
    for delay in (0.05, 0.23):
        process = start_process(tmp_path / "said.txt", _save_for_ever, tmp_path)
        while not list(tmp_path.glob("checkpoints/step_*.pt")):
            assert process.is_alive(), (tmp_path / "said.txt").read_text()
            time.sleep(0.01)
        time.sleep(delay)
        process.kill()
        process.join()
        for path in checkpoints.all_of(tmp_path):
            loaded = checkpoints.load(path)
            assert torch.equal(loaded.agent["w"], torch.full((300_000,), float(loaded.step)))
            path.unlink()


def test_checkpoint_keeps_unknown_future_settings_out(tmp_path):
    """A setting that this version does not know is refused, not dropped."""
    saved = make()
    path = tmp_path / "a.pt"
    checkpoints.save(saved, path)
    payload = torch.load(path, weights_only=True)
    payload["config"]["happo"]["new_trick"] = True
    torch.save(payload, path)
    with pytest.raises(Exception, match="happo.new_trick"):
        checkpoints.load(path)
    payload["format"] = checkpoints.FORMAT + 1
    torch.save(payload, path)
    with pytest.raises(CheckpointError, match="a different version"):
        checkpoints.load(path)
