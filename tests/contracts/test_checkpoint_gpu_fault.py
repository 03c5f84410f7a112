"""A save that fails because of the GPU is not reported as a failure of the disk."""

from __future__ import annotations

import pytest
import torch

from mapush.config import PushRunConfig
from mapush.errors import CheckpointError
from mapush.run import checkpoint as checkpoints

pytestmark = pytest.mark.contracts


@pytest.mark.parametrize(
    "said, kind",
    [("CUDA error: an illegal memory access was encountered", RuntimeError), ("unexpected pos 64", CheckpointError)],
)
def test_save_that_fails_says_whose_fault_it_is(tmp_path, monkeypatch, said, kind):
    """An error of the GPU is passed on; any other says what to do about the disk; neither leaves a partial file."""

    def fail(payload, file):
        raise RuntimeError(said)

    monkeypatch.setattr(torch, "save", fail)
    saved = checkpoints.Checkpoint(PushRunConfig(), 700, {}, {}, {})
    with pytest.raises((RuntimeError, CheckpointError), match=said) as caught:
        checkpoints.save(saved, checkpoints.path_of(tmp_path, 700))
    assert type(caught.value) is kind
    assert list((tmp_path / "checkpoints").iterdir()) == []
