"""Bug 1 in the user's own file: MAPush multiplies the contact pairs by five, and PhysX would not get the memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mapush_code import make_mqe, make_wrapper

from mapush.config import TaskConfig
from mapush.errors import CapacityError, SimulatorError

pytestmark = [
    pytest.mark.upstream,
    pytest.mark.usefixtures("mapush_code"),
    pytest.mark.filterwarnings("ignore"),
]

PROGRAM = """
import isaacgym
import torch
from mapush_code import make_wrapper
make_wrapper("cuboid", 500)
"""
ROOT = Path(__file__).resolve().parents[2]


def line_of_the_factor(checkout):
    """Return file and line of MAPush's multiplication."""
    path = Path(checkout, "mqe/envs/base/base_task.py").resolve()
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if "max_gpu_contact_pairs *= 5" in line:
            return f"{path}:{number}"
    raise AssertionError("MAPush multiplies the contact pairs")


@pytest.fixture
def card_of_8_gib(mapush_code, monkeypatch):
    """Let the stand-in account for PhysX's memory on a card of 8 GiB."""
    monkeypatch.setenv("ISAAC_STANDIN_PHYSX_MEMORY", "8GiB")


def test_mapush_with_500_envs_does_not_fit_on_a_card_of_8_gib(checkout):
    """`python -m isaac_standin --physx-memory 8GiB` ends with one error that names MAPush's own line."""
    words = [sys.executable, "-m", "isaac_standin", "--physx-memory", "8GiB", "--backend", "cpu", "--", sys.executable]
    paths = [str(ROOT / "tests" / "helpers"), str(ROOT), str(checkout), os.environ.get("PYTHONPATH", "")]
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(paths))
    finished = subprocess.run([*words, "-c", PROGRAM], cwd=checkout, env=environ, capture_output=True, text=True)
    assert finished.returncode == 1
    message = finished.stderr[finished.stderr.index("CapacityError") :]
    assert message.count("CapacityError: PhysX would end with a segmentation fault") == 1
    where = line_of_the_factor(checkout)
    assert where.endswith("base_task.py:44")
    assert f"where     {where}" in message
    assert "41,943,040" in message
    assert "5 times as much" in message


def test_error_is_raised_before_anything_is_built(card_of_8_gib, checkout):
    """In a process, the same error has the same place; no number of envs makes it fit."""
    with pytest.raises(CapacityError) as caught:
        make_wrapper("tblock", 3)
    assert caught.value.where == line_of_the_factor(checkout)


def test_adapter_undoes_the_factor_and_fits(card_of_8_gib):
    """`MqeEnv` gives the simulation exactly the configured number, with MAPush's class unchanged."""
    env = make_mqe(TaskConfig(object="cuboid"), 3, pairs=2**23)
    assert env._upstream.sim_params.physx.max_gpu_contact_pairs == 2**23
    env.reset()


def test_adapter_with_five_times_as_many_pairs_does_not_fit(card_of_8_gib):
    """What MAPush would request is refused for the adapter, too."""
    with pytest.raises((CapacityError, SimulatorError), match="41,943,040"):
        make_mqe(TaskConfig(object="cuboid"), 3, pairs=5 * 2**23)


def test_mapush_without_a_limit_runs(mapush_code):
    """The stand-in judges only if it is asked to."""
    assert make_wrapper("cuboid", 3).num_envs == 3
