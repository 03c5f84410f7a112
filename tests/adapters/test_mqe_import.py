"""Contracts of loading Isaac Gym and MQE: the order of imports, and the messages when they cannot be loaded."""

from __future__ import annotations

import pytest
from doubles import run

pytestmark = pytest.mark.adapters

CHOOSE_ISAAC_GYM = """
from mapush.errors import SimulatorError
from mapush.sim import choose_backend
try:
    print(choose_backend("isaacgym"))
except SimulatorError as error:
    print(error)
"""


def said(tmp_path, before="", **environ):
    """Return what a new process prints when it chooses Isaac Gym, after the statements `before`."""
    result = run(f"{before}\n{CHOOSE_ISAAC_GYM}", tmp_path, **environ)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr, result.stderr
    return result.stdout


def test_choose_backend_loads_isaac_gym_before_torch(tmp_path):
    """In a process that has not imported torch, both packages load and Isaac Gym is chosen."""
    assert said(tmp_path).strip() == "('isaacgym', 'as configured')"


@pytest.mark.parametrize(
    "before, environ, words",
    [
        ("import torch", {}, ("torch was imported first", "before anything that imports torch")),
        ("", {"ISAACGYM_DOUBLE": "python"}, ("Python 3.6 to 3.8", "conda create", "No gym module found")),
        ("", {"ISAACGYM_DOUBLE": "libpython"}, ("shared library of Python", "LD_LIBRARY_PATH")),
        ("", {"ISAACGYM_DOUBLE": "numpy"}, ("np.float", "numpy<1.24")),
        ("import sys; sys.modules['isaacgym.torch_utils'] = None", {}, ("MQE cannot be loaded", "isaacgym.md")),
        ("import sys; sys.path.remove([p for p in sys.path if p.endswith('doubles')][0])", {}, ("not installed",)),
    ],
    ids=["torch first", "wrong Python", "libpython", "numpy", "unknown", "absent"],
)
def test_isaac_gym_that_cannot_be_loaded_gives_cause_and_fix(tmp_path, before, environ, words):
    """Each known problem has its own cause and fix; every message names the documentation and an alternative."""
    text = said(tmp_path, before, **environ)
    assert text.startswith("SimulatorError: the simulator isaacgym is not available")
    for word in words + ("docs/isaacgym.md", "--sim mujoco"):
        assert word in text, (word, text)


def test_mqe_of_the_package_index_is_refused(tmp_path):
    """`pip install mqe` installs an unrelated package, which is not imported."""
    (tmp_path / "mqe").mkdir()
    (tmp_path / "mqe" / "__init__.py").write_text("raise SystemExit('loaded')")
    text = said(tmp_path, "import isaacgym, sys; sys.path.insert(0, '')")
    assert "the package mqe" in text
    assert "pip uninstall mqe" in text


def test_mqe_with_a_missing_dependency_names_the_package(tmp_path):
    """MQE imports packages that its setup does not declare."""
    (tmp_path / "mqe" / "envs").mkdir(parents=True)
    (tmp_path / "mqe" / "__init__.py").write_text("")
    (tmp_path / "mqe" / "envs" / "__init__.py").write_text("")
    (tmp_path / "mqe" / "envs" / "utils.py").write_text("import treelib_of_upstream")
    text = said(tmp_path, "import isaacgym, sys; sys.path.insert(0, '')")
    assert "treelib_of_upstream" in text
    assert "pip install openrl" in text
