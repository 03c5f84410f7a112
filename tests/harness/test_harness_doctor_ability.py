"""Tests of what the doctor says about machines that have nothing yet, and of what a machine can do."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.doctor import upstream_stack
from harness.doctor.ability import CHECKOUT, STATED_PER_CORE, ability, install, usable_cores
from harness.doctor.line import OK, WARNING, WRONG, Line

pytestmark = pytest.mark.harness

ROOT = Path(__file__).resolve().parents[2]
NOT_ASKED_FOR = ("Isaac Gym", "gymtorch", "Vulkan", "MQE", "HARL")
GPU = "NVIDIA RTX 4070 (compute capability 8.9)"


def lines(**changes):
    """Return the lines of a machine without a GPU that can train, with changes of status, text and fix by name."""
    found = {"Python": (OK, "3.11.7"), "dependencies": (OK, "all"), "torch": (OK, "2.3.1"), "MuJoCo": (OK, "4.0.0")}
    found.update({"GPU": (OK, "none; the CPU computes"), "Warp": (OK, "missing")}, **changes)
    return [Line(name, *details) for name, details in found.items()]


def fast():
    """Return the speed of a machine."""
    return {"rate": 8123.4, "seconds": 3.2}


def broken():
    """Raise as a training that cannot begin."""
    raise ValueError("no walking policy")


def test_doctor_works_where_nothing_is_installed(tmp_path):
    """In a venv without packages it names what is missing and the command, and nothing that nobody asked for."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    names = ("HARL_DIR", "MAPUSH_DIR", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if name not in names}
    env["PYTHONPATH"] = str(ROOT)
    program = next((tmp_path / "venv").glob("[bS]*/python*"))
    words = [str(program), "-m", "harness", "doctor"]
    done = subprocess.run(words, cwd=str(tmp_path), env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == ""
    rows = done.stdout.splitlines()
    missing = next(row for row in rows if "missing: " in row)
    for name in ("numpy", "torch", "tyro", "rich", "psutil"):
        assert name in missing
    last = rows[-1]
    if sys.version_info >= (3, 11):
        assert last.startswith("this machine cannot train yet (dependencies, torch, MuJoCo): pip install -c ")
        assert f'-e "{CHECKOUT}[viewer]"' in last
        assert f"{STATED_PER_CORE:,} per core" in last
    else:
        assert "use Python 3.11" in last
    assert not [row for row in rows if row[2:].startswith(NOT_ASKED_FOR)]
    assert "could not be checked" not in done.stdout


def test_upstream_stack_is_examined_where_something_of_it_is_found(monkeypatch, tmp_path):
    """Nothing is said about Isaac Gym, MQE and HARL unless a package or a variable points to them."""
    for name in ("HARL_DIR", "MAPUSH_DIR"):
        monkeypatch.delenv(name, raising=False)
    installed = set()
    monkeypatch.setattr(upstream_stack, "_is_installed", lambda package: package in installed)
    assert upstream_stack.checks(only_found=True) == []
    assert len(upstream_stack.checks()) == 7
    monkeypatch.setenv("HARL_DIR", str(tmp_path))
    assert upstream_stack.checks(only_found=True) == [upstream_stack.harl, upstream_stack.harl_needs]
    installed.add("mqe")
    assert len(upstream_stack.checks(only_found=True)) == 4
    installed.add("isaacgym")
    assert len(upstream_stack.checks(only_found=True)) == 7


def test_machine_that_can_train_says_how_fast():
    """The speed is measured by training, and the line says so; without a measurement it states a figure per core."""
    pytest.importorskip("psutil")
    cores = usable_cores()
    text = ability(lines(), measure=True, speed=fast)
    assert text.startswith(f"trains on {cores} core")
    assert "at about 8,100 env-steps/s (measured for 3 s" in text
    assert "; for a GPU: an NVIDIA card with driver 580 or later, and pip install -c " in text
    text = ability(lines(), measure=False, speed=broken)
    assert f"at about {STATED_PER_CORE * cores:,} env-steps/s (stated, not measured" in text


@pytest.mark.parametrize(
    "changes, begins",
    [
        ({"MuJoCo": (WRONG, "not installed", "pip install mujoco")}, "cannot train yet (MuJoCo): pip install -c "),
        ({"Python": (WRONG, "3.7", "use Python 3.11")}, "cannot train: use Python 3.11"),
        ({"MuJoCo": (WARNING, "not installed", "")}, "trains only with --sim isaacgym"),
        ({"GPU": (OK, GPU)}, f"trains on the {GPU} with --preset gpu (stated, not measured here: "),
    ],
)
def test_line_follows_from_what_was_found(changes, begins):
    """What is missing comes with the command that installs it; a GPU is what trains."""
    assert ability(lines(**changes), measure=True, speed=broken).startswith(begins)


def test_gpu_that_cannot_be_used_comes_with_its_fix():
    """The CPU trains, and the line says what the GPU lacks."""
    text = ability(lines(GPU=(WARNING, "built for the CPU", "install torch for CUDA")), measure=False)
    assert text.startswith("trains on ")
    assert text.endswith("; for a GPU: install torch for CUDA")


def test_training_that_fails_is_said():
    """A machine on which everything is installed and training fails cannot train."""
    pytest.importorskip("psutil")
    assert "ValueError: no walking policy" in ability(lines(), measure=True, speed=broken)


def test_command_names_the_checkout_from_elsewhere(monkeypatch, tmp_path):
    """In the checkout the command is the README's; elsewhere it works as well."""
    monkeypatch.chdir(tmp_path)
    assert f"-c {CHECKOUT / 'constraints.txt'} " in install()
    monkeypatch.chdir(CHECKOUT)
    assert install().startswith("pip install -c constraints.txt --extra-index-url ")
    assert install().endswith(' -e ".[viewer]"')


@pytest.mark.slow  # ten seconds: it trains
@pytest.mark.skipif(find_spec("mujoco") is None, reason="needs MuJoCo, and so Python 3.11")
def test_speed_is_measured_by_training():
    """The real measurement returns a plausible speed."""
    text = ability(lines(), measure=True)
    assert "(measured for " in text
