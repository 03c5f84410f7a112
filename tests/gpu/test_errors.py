"""Errors of a real GPU: each ends with one message and exit code 2, and leaves complete checkpoints."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mapush.device.gpu_errors import explain
from mapush.run import checkpoint as checkpoints
from mapush.run.folder import read_config

pytestmark = pytest.mark.gpu

ROLLOUT = 37 * 5  # env steps
RUN = "cuboid --num-envs 37 --num-steps 5 --task.steps-per-decision 1 --happo.hidden-sizes 16 12".split()
HIDDEN = {"CUDA_VISIBLE_DEVICES": ""}
WALK = "walk --num-envs 5 --num-steps 7 --happo.hidden-sizes 16 12 --total-steps 70 --device cpu".split()

FILLS_THE_CARD_IN_UPDATE_4 = """
import sys, torch
from mapush.train import Run, main

learn, held = Run.learn, []

def learn_on_a_full_card(run):
    while run.iteration == 3:
        held.append(torch.empty(2**30, dtype=torch.uint8, device="cuda"))
    return learn(run)

Run.learn = learn_on_a_full_card
sys.exit(main(sys.argv[1:]))
"""

ILLEGAL_INDEX = """
import torch
from mapush.errors import SimulatorError
from mapush.device.gpu_errors import gpu_errors

try:
    with gpu_errors():
        torch.zeros(3, device="cuda")[torch.full((5,), 7, device="cuda")].sum().item()
except SimulatorError as error:
    print(error)
"""


def python(*words, **environment):
    """Run Python in a new process; return its exit code and what it printed."""
    command = [sys.executable] + [str(word) for word in words]
    return subprocess.run(
        command, env=dict(os.environ, **environment), capture_output=True, text=True, timeout=300, check=False
    )


def one_message(ended):
    """Assert that a process ended with exit code 2 and one message, and return the message."""
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert ended.stderr.count("SimulatorError: ") == 1, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.stderr


@pytest.fixture(scope="module")
def side_by_side(tmp_path_factory):
    """The results of command lines that run in parallel, by name, and the folder of their runs."""
    folder = tmp_path_factory.mktemp("runs")
    train, until = ["-m", "mapush.train"], ["--total-steps", 2 * ROLLOUT]
    words = {
        "auto": train + RUN + until,
        "auto-hidden": train + WALK,
        "warp-hidden": train + RUN + ["--sim", "warp"],
        "small-buffer": train + RUN + until + ["--sim", "warp", "--sim.njmax", 9],
    }
    with ThreadPoolExecutor(len(words) + 1) as pool:
        ended = {}
        for name, command in words.items():
            environment = {}
            if "hidden" in name:
                environment = HIDDEN
            ended[name] = pool.submit(python, *command, "--run-dir", folder / name, **environment)
        ended["illegal-index"] = pool.submit(python, "-c", ILLEGAL_INDEX)
    return {name: future.result() for name, future in ended.items()}, folder


@pytest.fixture(scope="module")
def run_dir(side_by_side):
    """The folder of a run of two rollouts on the simulator that auto chose."""
    ended, folder = side_by_side
    assert ended["auto"].returncode == 0, ended["auto"].stdout + ended["auto"].stderr
    return folder / "auto"


def test_auto_chooses_warp_and_names_the_gpu(side_by_side, run_dir):
    """With a usable GPU, auto chooses Warp; the console shows GPU and version, the stored configuration says warp."""
    said = " ".join(side_by_side[0]["auto"].stdout.split())
    assert f"({torch.cuda.get_device_name()}, mujoco-warp 4.0.0)" in said
    assert read_config(run_dir).sim.backend == "warp"


def test_hidden_gpu_is_named_by_auto_and_refused_by_warp(side_by_side):
    """With CUDA_VISIBLE_DEVICES="", auto trains on MuJoCo and says why, and --sim warp is refused with the same."""
    ended, folder = side_by_side
    auto = ended["auto-hidden"]
    assert auto.returncode == 0, auto.stderr
    assert "(CUDA sees no GPU)" in " ".join(auto.stdout.split()), auto.stderr
    said = one_message(ended["warp-hidden"])
    assert "the simulator warp is not available" in said
    assert "CUDA_VISIBLE_DEVICES" in said
    assert not (folder / "warp-hidden").exists()


def test_full_gpu_refuses_a_run_and_leaves_no_folder(tmp_path):
    """A run that does not fit on the GPU ends before it creates its folder."""
    free, _ = torch.cuda.mem_get_info()
    held = torch.empty(free - 3 * 2**29, dtype=torch.uint8, device="cuda")  # some envs would fit
    try:
        flags = ["--sim", "warp", "--num-envs", 65536, "--total-steps", 10**8, "--run-dir", tmp_path / "run"]
        ended = python("-m", "mapush.train", *RUN, *flags)
    finally:
        del held
        torch.cuda.empty_cache()
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    assert "Error: " in ended.stderr.splitlines()[0]
    assert "--num-envs" in ended.stderr
    assert not (tmp_path / "run").exists()


def test_gpu_that_fills_up_in_training_leaves_a_checkpoint_that_resumes(tmp_path):
    """Out of memory in an update: one message with the newest checkpoint, from which the run continues to its end."""
    folder = tmp_path / "run"
    flags = ["--sim", "warp", "--total-steps", 5 * ROLLOUT, "--checkpoint-every", 2 * ROLLOUT, "--run-dir", folder]
    said = one_message(python("-c", FILLS_THE_CARD_IN_UPDATE_4, *RUN, *flags))
    newest = checkpoints.latest(folder)
    assert "the memory of the GPU is full" in said
    assert f"{newest} is complete: --resume {folder}" in said
    assert checkpoints.load(newest).step == 2 * ROLLOUT
    ended = python("-m", "mapush.train", "--resume", folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert checkpoints.load(checkpoints.latest(folder)).step == 5 * ROLLOUT


def test_buffer_that_is_too_small_ends_a_run_with_the_flag_that_raises_it(side_by_side):
    """A full buffer ends training after its rollout: one message with demand, limit, flag and dump."""
    ended, folder = side_by_side
    said = one_message(ended["small-buffer"])
    assert "buffer overflow" in said
    assert "--sim.njmax" in said
    assert "python -m mapush.replay" in said
    assert (folder / "small-buffer" / "nonfinite.pt").is_file()


def test_evaluation_on_a_hidden_gpu_ends_in_one_message(run_dir):
    """The evaluation also refuses --sim warp without a GPU, with one message."""
    words = ["cuboid", "--checkpoint", checkpoints.latest(run_dir), "--num-envs", 5, "--sim", "warp"]
    said = one_message(python("-m", "mapush.evaluate", *words, CUDA_VISIBLE_DEVICES=""))
    assert "the simulator warp is not available" in said


def test_allocations_that_do_not_fit_are_explained():
    """The errors that PyTorch and Warp raise when memory is full are explained."""
    import warp

    for allocate in (lambda size: torch.empty(size, dtype=torch.uint8, device="cuda"), _allocate_with(warp)):
        with pytest.raises(RuntimeError) as failed:
            allocate(2**42)
        assert explain(failed.value).what == "the memory of the GPU is full", str(failed.value)


def _allocate_with(warp):
    return lambda size: warp.empty(size // 2**12, dtype=warp.types.vector(2**10, float), device="cuda")


def test_kernel_that_fails_is_explained(side_by_side):
    """The error that PyTorch raises after a kernel accessed memory out of bounds is explained."""
    ended = side_by_side[0]["illegal-index"]
    assert ended.stdout.startswith("SimulatorError: the GPU failed\n"), ended.stdout + ended.stderr
