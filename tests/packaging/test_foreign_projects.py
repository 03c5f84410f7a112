"""Contracts of the installed wheel in other people's projects: it gets in nobody's way, and it works there."""

from __future__ import annotations

import subprocess
import textwrap
import zipfile
from pathlib import Path

import pytest
from wheels import clean_environment

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).parents[2]
ENV = ("--harness-env", "their_env:MeetingEnv", "-k", "spaces or finite")
THEIR_ENV = (ROOT / "examples" / "check_your_env.py").read_text(encoding="utf-8")
A_TEST = "def test_theirs(): pass\n"
ALL_SHORT_OPTIONS = """
def pytest_addoption(parser):
    for name in ("--env", "--seed", "--sim", "--task", "--report", "--soak", "--matrix", "--at-least"):
        parser.addoption(name, default="theirs")

def pytest_configure(config):
    for name in ("contracts", "memory", "soak"):
        config.addinivalue_line("markers", name + ": theirs")
"""
OPTIONS_ARE_THEIRS = """
import pytest

@pytest.mark.soak
def test_option_is_theirs(request):
    assert request.config.getoption("--env") == "theirs"
    assert request.config.getoption("--soak") == "their soak"
"""
SIM_IS_THEIRS = """
import pytest

@pytest.fixture
def sim():
    return "their simulator"

def test_fixture_is_theirs(sim, harness_sim):
    assert sim == "their simulator"
    assert harness_sim == "mujoco"
"""


@pytest.fixture
def project(python, tmp_path):
    """Return a function that writes a project and runs pytest in it, strictly; it returns exit code and output."""

    def run(files, *words):
        for name, text in {"test_it.py": A_TEST, "their_env.py": THEIR_ENV, **files}.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        command = [str(python), "-m", "pytest", "--strict-markers", "--strict-config", "-W", "error", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=300
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_wheel_puts_four_names_at_the_top_level(wheel):
    """Three packages and one module with a long name: nothing that a project would call its own, and no isaacgym."""
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {
        "mapush",
        "harness",
        "isaac_standin",
        "pytest_mapush_harness.py",
    }


@pytest.mark.mujoco
def test_stand_in_of_the_wheel_runs_a_program(python, tmp_path):
    """The launcher of an installed package finds its shim, and nothing is called isaacgym without it."""
    program = "from isaacgym import gymapi; print(gymapi.acquire_gym().get_version())"
    command = [str(python), "-c", program]
    options = dict(cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=300)
    launched = subprocess.run([str(python), "-m", "isaac_standin", "--", *command], **options)
    assert launched.returncode == 0, launched.stderr
    assert "Version" in launched.stdout
    assert "not affiliated with NVIDIA" in launched.stderr
    assert "No module named 'isaacgym'" in subprocess.run(command, **options).stderr


def test_wheel_holds_the_shipped_policies(wheel):
    """Every file of the folder is in it."""
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = {f"mapush/policies/{path.name}" for path in (ROOT / "mapush/policies").iterdir() if path.is_file()}
    assert "mapush/policies/go1_body.jit" in shipped
    assert shipped <= names


def test_plugin_without_its_options_loads_nothing_of_the_harness(python, tmp_path):
    """Every session of pytest on the machine imports the plugin, so it imports only pytest and the standard library."""
    code = """
        import sys, pytest
        class Spy:
            def pytest_sessionfinish(self):
                assert "pytest_mapush_harness" in sys.modules
                heavy = {"harness", "mapush", "numpy", "torch"} & set(sys.modules)
                assert not heavy, heavy
        sys.exit(pytest.main(["-q", "test_it.py"], plugins=[Spy()]))
        """
    (tmp_path / "test_it.py").write_text(A_TEST)
    command = [str(python), "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


def test_project_with_all_short_options_and_markers_keeps_its_own(project):
    """A project may define `--env`, `--soak` and the others itself, and markers of the same names."""
    files = {"conftest.py": ALL_SHORT_OPTIONS, "test_it.py": OPTIONS_ARE_THEIRS}
    code, output = project(files, "--soak", "their soak")
    assert code == 0, output


def test_project_with_all_short_options_can_check_an_environment(project):
    """The prefixed options work next to the project's own."""
    files = {"conftest.py": ALL_SHORT_OPTIONS}
    code, output = project(files, *ENV, "-m", "harness_contracts", "--harness-report", "out", "--harness-at-least=2")
    assert code == 0, output
    assert "2 of 2 contracts judged: 0 broken, 2 hold" in output
    assert "report: out" in output


def test_project_with_a_fixture_called_sim_keeps_its_own(project):
    """The plugin's fixtures are prefixed."""
    code, output = project({"test_it.py": SIM_IS_THEIRS}, "--harness-sim", "mujoco")
    assert code == 0, output


def test_project_with_a_package_harness_keeps_its_own(project):
    """A folder `harness/` is found before ours, and the project never notices."""
    files = {
        "harness/__init__.py": "",
        "harness/cables.py": "LENGTH = 3",
        "test_it.py": "from harness.cables import LENGTH\ndef test_theirs(): assert LENGTH == 3",
    }
    code, output = project(files)
    assert code == 0, output


@pytest.mark.parametrize("name", ["harness/__init__.py", "harness.py", "mapush.py"])
def test_project_that_hides_our_packages_gets_one_clear_error(project, name):
    """An option of the plugin names the file that hides ours, and what to do; there is no traceback."""
    code, output = project({name: "", "test_it.py": A_TEST}, *ENV)
    assert code == 4, output
    hidden = name.split("/")[0].replace(".py", "")
    assert f"hides the package {hidden!r} of mapush" in output
    assert "Rename it" in output
    assert "Traceback" not in output


def test_project_with_the_line_in_its_conftest_has_both_spellings(project):
    """Entry point and conftest line load the plugin once; short and prefixed options set the same value."""
    files = {"conftest.py": 'pytest_plugins = ["harness.plugin"]'}
    words = ("--env", "their_env:MeetingEnv", "--harness-seed", "5", "--seed", "7", "-m", "contracts", "-k", "spaces")
    code, output = project(files, *words)
    assert code == 0, output
    assert "1 of 1 contracts judged: 0 broken, 1 hold" in output


def test_project_with_a_soak_runs_it_when_asked(project):
    """A test with the plugin's marker says why it does not run, and gets its minutes if it does."""
    source = """
        import pytest

        @pytest.mark.harness_soak
        def test_soak(harness_soak_minutes, harness_soak_folder):
            assert harness_soak_minutes == 0.5
            assert harness_soak_folder.is_dir()

        def test_other(): pass
        """
    code, output = project({"test_it.py": source})
    assert code == 0, output
    assert "1 passed, 1 deselected" in output
    assert "deselected harness_soak: runs for as long as --harness-soak=MINUTES says" in output
    code, output = project({"test_it.py": source}, "--harness-soak=0.5")
    assert "2 passed" in output, output
