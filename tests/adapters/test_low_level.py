"""Which body MAPush's robots walk with: the checkout's, or the one that comes with this package."""

from __future__ import annotations

import pytest

from mapush.upstream.low_level import ADAPTATION, BODY, folder_with_body


@pytest.fixture
def shipped(tmp_path):
    """Return the file of a shipped body."""
    path = tmp_path / "shipped.jit"
    path.write_bytes(b"ours")
    return path


@pytest.fixture
def folder(tmp_path):
    """Return a folder of a checkout that lacks the body."""
    path = tmp_path / "walk_these_ways"
    path.mkdir()
    (path / ADAPTATION).write_bytes(b"theirs")
    return path


def test_body_of_the_checkout_is_used(folder, shipped, capsys):
    """Where the checkout has a body nothing changes and nothing is said."""
    (folder / BODY).write_bytes(b"theirs")
    assert folder_with_body(folder, shipped) == folder
    assert capsys.readouterr().out == ""


def test_shipped_body_stands_in_beside_the_adaptation_module(folder, shipped, capsys):
    """Where it lacks one, upstream gets a folder with the shipped body and its own other file, and one line says so."""
    made = folder_with_body(folder, shipped)
    assert (made / BODY).read_bytes() == b"ours"
    assert (made / ADAPTATION).read_bytes() == b"theirs"
    assert not (folder / BODY).exists()
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert str(folder) in said


def test_without_any_body_upstream_reports_it(folder, tmp_path):
    """If there is no shipped body either, upstream sees its own folder."""
    assert folder_with_body(folder, tmp_path / "none.jit") == folder
