"""Tests of the memory of a real GPU over a long training: `pytest -m gpu --soak=MINUTES`.

Each soak is a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
import torch

from harness.units import GIB

pytestmark = [pytest.mark.soak, pytest.mark.gpu]

LIMIT = "8GiB"
LARGEST = 4096
SHORTER = 8  # the smaller sizes are soaked for the n-th part of the time


def soak(folder, *words):
    """Soak a training in a process of its own.

    Returns:
      Exit code, printed text, report (None if there is none), and peak of the GPU in all processes, without what was in
      use before [bytes].
    """
    command = [sys.executable, "-m", "harness", "memory", *map(str, words), "--sim", "warp", "--report", str(folder)]
    before = least = torch.cuda.mem_get_info()[0]
    with (folder / "console.txt").open("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True)
        while process.poll() is None:
            least = min(least, torch.cuda.mem_get_info()[0])
            time.sleep(0.02)
        output.seek(0)
        said = output.read()
    written = folder / "soak.json"
    report = json.loads(written.read_text()) if written.is_file() else None
    return process.returncode, said, report, before - least


def show(capsys, said):
    """Print the report of a soak: verdict, peak and limit of each buffer, prediction."""
    with capsys.disabled():
        print(f"\n{said}")


@pytest.fixture
def small_card():
    """Occupy all of the GPU but 8 GiB."""
    torch.cuda.init()
    taken = torch.empty(torch.cuda.mem_get_info()[0] - 8 * GIB, dtype=torch.uint8, device="cuda")
    yield
    del taken
    torch.cuda.empty_cache()


@pytest.mark.parametrize("num_envs", [500, 2048, LARGEST])
def test_training_stays_within_the_predicted_memory(num_envs, soak_minutes, soak_folder, capsys):
    """No meter grows, no buffer overflows, the peak is within 10 % of the prediction, and everything is released."""
    torch.cuda.init()
    minutes = soak_minutes
    if num_envs != LARGEST:
        minutes = soak_minutes / SHORTER
    code, said, report, _ = soak(soak_folder, "--num-envs", num_envs, "--minutes", minutes)
    show(capsys, said)
    assert code == 0, said
    assert report["kind"] in ("clean", "growth that ends")
    assert not report["kept"]
    assert "driver" not in report["blind"]
    assert report["buffers"], "no buffer was watched"
    for name, (peak, limit) in report["buffers"].items():
        assert 0 < peak <= limit, name
    assert report["share"] < 0.01 or minutes < 5
    assert all((soak_folder / name).is_file() for name in ("soak.html", "soak.png"))


def test_published_setting_trains_on_a_card_of_8_gib(small_card, soak_folder, capsys):
    """500 envs with rollouts of 200 train with 8 GiB of free memory."""
    words = ["--preset", "published", "--vram-limit", LIMIT, "--minutes", 0, "--iterations", 12]
    code, said, report, used = soak(soak_folder, *words)
    show(capsys, said)
    assert code == 0, said
    assert report["peaks"]["driver"] <= 8 * GIB
    assert used <= 8 * GIB


@pytest.mark.parametrize(
    "words",
    [
        ["--num-envs", 1_000_000],
        ["--num-envs", LARGEST, "--num-steps", 10_000],
        ["--preset", "published", "--num-envs", 20_000],
    ],
    ids=["envs", "rollout", "published"],
)
def test_setting_that_cannot_fit_is_refused_before_anything_is_allocated(words, small_card, soak_folder):
    """The run ends with one message, which names a setting that fits, and takes nothing but the CUDA context."""
    code, said, report, used = soak(soak_folder, *words, "--vram-limit", LIMIT)
    assert code == 2, said
    assert report is None, said
    assert "CapacityError" in said
    assert "Traceback" not in said
    assert used < GIB
