"""Contracts of the first seconds: a line before anything heavy is loaded, quick help, advice for slow machines."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest
from terminals import in_terminal

from mapush.config import SimConfig
from mapush.presets import preset
from mapush.run.progress import advice
from mapush.run.startup import Startup, first_line

HEAVY = ("torch", "mujoco", "numpy", "tensorboard", "matplotlib", "wandb", "warp")
TRAIN = [sys.executable, "-m", "mapush.train"]
FAILING_TORCH = "import os, sys, time\ntime.sleep(0.6)\nsys.stdout.flush()\nos._exit(71)\n"  # torch takes longer
EXIT_CODE = 71


@pytest.fixture
def no_torch(tmp_path):
    """Return the environment variables of a process that ends as soon as it imports torch or mujoco."""
    for name in ("torch", "mujoco"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(FAILING_TORCH)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.getcwd()])}


def test_first_line_comes_before_torch_and_mujoco(tmp_path, no_torch):
    """In a pipe the line is there when the process ends in the import of torch."""
    done = subprocess.run(TRAIN + ["tblock"], capture_output=True, text=True, env=dict(os.environ, **no_torch))
    assert done.returncode == EXIT_CODE, done.stderr
    assert done.stdout == first_line(preset("tblock")) + "\n"


def test_terminal_shows_that_it_is_loading(tmp_path, no_torch):
    """In a terminal there is a sign of life as well, below the line."""
    status, said = in_terminal(TRAIN + ["walk"], env=no_torch)
    assert status == EXIT_CODE, said
    assert said.startswith("walk, preset default: 1,024 envs, 20,000,000 env steps")
    what_it_does = said.split("\n", 1)[1]
    assert "loading PyTorch and the simulator" in what_it_does or "making 1,024 envs" in what_it_does


def test_sign_of_life_ends_with_an_error(capsys):
    """Whatever ends the start, the terminal is left clean."""
    with pytest.raises(ZeroDivisionError), Startup("line") as startup:
        startup.doing("something")
        raise ZeroDivisionError
    startup.close()
    assert capsys.readouterr().out == "line\n"


def test_first_line_of_a_resumed_run_says_where_it_goes_on():
    """The env steps of the checkpoint are in the line."""
    assert "continued from 40,960;" in first_line(preset("cuboid", "quick"), 40960)


@pytest.mark.parametrize("words", [["--help"], ["walk", "--help"], ["--preset", "fast"]])
def test_help_and_refusals_load_nothing_heavy(words):
    """`--help` and a wrong name need neither torch nor numpy, so they take half a second."""
    code = "import runpy, sys\ntry:\n    runpy.run_module('mapush.train', run_name='__main__')\nfinally:\n"
    code += f"    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code] + words, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "task, name, backend, hours, advised",
    [
        ("cuboid", "default", "mujoco", 13.8, True),
        ("cuboid", "default", "mujoco", 0.9, False),
        ("cuboid", "default", "warp", 13.8, False),
        ("cuboid", "quick", "mujoco", 13.8, False),
        ("walk", "default", "mujoco", 13.8, False),
    ],
)
def test_advice_is_for_hours_on_a_cpu(task, name, backend, hours, advised):
    """Only the default preset has a smaller brother, and only on a CPU and for hours is it worth a word."""
    config = dataclasses.replace(preset(task, name), sim=SimConfig(backend))
    line = advice(config, hours * 3600.0)
    if not advised:
        assert line is None
        return
    assert line.startswith("13 h 48 min to go")
    assert "--preset quick" in line
