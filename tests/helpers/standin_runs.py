"""Run commands with `--sim standin` in new processes, on a copy of the checkout of MAPush in `MAPUSH_DIR`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Dict

import torch

from mapush.upstream.low_level import BODY, OURS

ROOT = Path(__file__).resolve().parents[2]
WALKING = "mqe/utils/locomotion_checkpoints/walk_these_ways"
TINY = "--num-envs 5 --num-steps 4 --device cpu --sim.threads 1 --checkpoint-every 200"
TINY += " --happo.actor-num-mini-batch 1 --happo.critic-num-mini-batch 1"


def copy_of_mapush(folder: Path) -> Path:
    """Copy what a run reads of the checkout, with a body that stands still if neither MAPush nor we have one.

    The time limit in its configuration files is 1 s instead of 20 s; its code is as it was.
    """
    source = Path(os.environ["MAPUSH_DIR"]).resolve()
    for name in ("mqe", "task"):
        shutil.copytree(str(source / name), str(folder / name), ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "resources").symlink_to(source / "resources")
    for config in sorted(folder.glob("task/*/config.py")):
        text = config.read_text()
        assert "episode_length_s = 20" in text, config
        config.write_text(text.replace("episode_length_s = 20", "episode_length_s = 1"))
    if not (folder / WALKING / BODY).is_file() and not OURS.is_file():
        write_still_body(folder / WALKING / BODY)
    return folder


def write_still_body(path: Path) -> None:
    """Write a body whose robots stand still."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(_Still()).save(str(path))


class _Still(torch.nn.Module):
    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return torch.zeros(seen.shape[0], 12)


def files_of(folder: Path) -> Dict[str, float]:
    """Return the time of the last change of every file and folder below `folder`."""
    times = {}
    for path in folder.rglob("*"):
        times[str(path)] = path.stat().st_mtime
    return times


def run(words, cwd, mapush_dir, **environ) -> subprocess.CompletedProcess:
    """Run `python -m` with some words, or Python code, in a new process without a GPU.

    Args:
      words: one string; code begins with "import".
      cwd: working directory.
      mapush_dir: the checkout.
      **environ: more of the environment.
    """
    command = [sys.executable, "-m", *words.split()]
    if words.startswith("import"):
        command = [sys.executable, "-c", words]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("ISAAC_STANDIN_")}
    settings.update(MAPUSH_DIR=str(mapush_dir), PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    settings.update(PYTHONDONTWRITEBYTECODE="1", **environ)
    return subprocess.run(command, cwd=str(cwd), env=settings, stdout=-1, stderr=-1, text=True)
