"""Programs that import `isaacgym` run on the stand-in, and a real Isaac Gym is never hidden."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from isaac_standin import install, launch
from isaac_standin.errors import StandinError
from isaac_standin.install import SHIM, SUBMODULES, Settings, settings
from mapush.errors import ConfigError, SimulatorError

pytestmark = [pytest.mark.sim, pytest.mark.mujoco]

STARTS = {"OMP_NUM_THREADS": "1"}


def clean_environment(**variables):
    """Return the environment of this process without settings of the stand-in, and with `variables`."""
    environ = {**os.environ, **STARTS, **variables}
    for name in list(environ):
        if name.startswith(install.PREFIX) and name not in variables:
            del environ[name]
    return environ


def launched(*words, folder=None, **variables):
    """Run `python -m isaac_standin` with these words."""
    command = [sys.executable, "-m", "isaac_standin", *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env=clean_environment(**variables), cwd=folder
    )


def run_source(source, *flags, **variables):
    """Run a program by the launcher, and return how it ended."""
    return launched(*flags, "--", sys.executable, "-c", source, **variables)


@pytest.fixture
def real(tmp_path):
    """Return a folder with a package that could be Isaac Gym, and that says so when it is imported."""
    package = tmp_path / "real" / "isaacgym"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("print('the real one')")
    return package.parent


def existing():
    """Return the names of the modules of the API that exist."""
    names = []
    for name in SUBMODULES:
        if (Path(install.__file__).parent / "api" / f"{name}.py").exists():
            names.append(name)
    return names


@pytest.mark.parametrize("order", ["import isaacgym, torch", "import torch, isaacgym"])
def test_a_program_gets_the_modules_of_the_stand_in(order):
    """Each module of the API is the same object under both names, however it is imported, with one line on stderr."""
    checks = [order]
    for name in existing():
        checks += [
            f"import isaacgym.{name}",
            f"from isaacgym import {name}",
            f"from isaacgym.{name} import *",
            f"import isaac_standin.api.{name}",
            f"assert isaacgym.{name} is {name} is isaac_standin.api.{name}",
        ]
    checks.append("print(isaacgym.__file__)")
    ended = run_source("\n".join(checks), "--threads", "2", "--backend", "cpu")
    assert ended.stdout == f"{SHIM / 'isaacgym' / '__init__.py'}\n", ended.stderr
    line = "isaac_standin: runs code written for Isaac Gym on MuJoCo 4.0.0 (CPU, 2 threads); not affiliated with NVIDIA"
    assert ended.stderr.splitlines() == [line]


def test_a_module_that_isaac_gym_has_and_we_do_not_is_no_module():
    """Importing a part that the stand-in lacks fails as for any module."""
    ended = run_source("from isaacgym import rlgpu")
    assert ended.returncode == 1
    assert "ImportError: cannot import name 'rlgpu' from 'isaacgym'" in ended.stderr


def test_settings_reach_the_program_and_its_children(tmp_path):
    """The flags arrive in the program and in a process that it spawns, which says no second line."""
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing\n"
        "import isaacgym\n"
        "from isaac_standin.install import settings\n"
        "def child():\n"
        "    print('child', isaacgym.__name__, settings(), flush=True)\n"
        "if __name__ == '__main__':\n"
        "    print(settings(), flush=True)\n"
        "    started = multiprocessing.get_context('spawn').Process(target=child)\n"
        "    started.start()\n"
        "    started.join()\n"
    )
    words = ["--physx-memory", "8GiB", "--backend", "cpu", "--contacts-per-env", 40, "--rows-per-env", 90]
    ended = launched(*words, "--", sys.executable, program)
    expected = Settings(backend="cpu", physx_memory="8GiB", contacts_per_env=40, rows_per_env=90)
    assert ended.stdout.splitlines() == [str(expected), f"child isaacgym {expected}"], ended.stderr
    assert ended.stderr.count("isaac_standin:") == 1


def test_the_exit_code_and_signals_are_the_programs():
    """A failing program ends with its own exit code; a signal reaches the program itself."""
    assert run_source("raise SystemExit(7)").returncode == 7
    ended = run_source("import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    assert ended.returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    "words, status, part",
    [
        ([], 2, "no command after --"),
        (["python", "train.py"], 2, "no command after --"),
        (["--threads", "2", "--"], 2, "no command after --"),
        (["--threads", "0", "--", "true"], 2, "threads is not positive"),
        (["--physx-memory", "8", "--", "true"], 2, "not a size of memory"),
        (["--", "no-such-command-here"], 127, "there is no such command"),
        (["--", "train.py"], 127, "python -m isaac_standin -- python train.py"),
        (["--", "./data.txt"], 126, "not executable"),
    ],
)
def test_a_wrong_command_line_is_one_message(capsys, monkeypatch, tmp_path, words, status, part):
    """Nothing is started, and the message says what is wrong."""
    monkeypatch.chdir(tmp_path)
    Path("data.txt").write_text("no program")
    assert launch.main(words) == status
    assert part in capsys.readouterr().err


def test_a_real_isaac_gym_is_refused_by_the_launcher_and_the_shim(real):
    """Neither the launcher nor a path set by hand hides it, and nothing of it is run."""
    by_launcher = run_source("import isaacgym", PYTHONPATH=str(real))
    assert by_launcher.returncode == 2
    assert "Isaac Gym itself can be imported" in by_launcher.stderr
    path = os.pathsep.join([str(SHIM), str(real)])
    command = [sys.executable, "-c", "import isaacgym"]
    by_hand = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=clean_environment(PYTHONPATH=path)
    )
    assert by_hand.returncode == 1
    assert str(real / "isaacgym" / "__init__.py") in by_hand.stderr
    assert "the real one" not in by_launcher.stdout + by_hand.stdout


def test_a_real_isaac_gym_is_hidden_if_that_is_allowed(real):
    """With --allow-real, the program gets the stand-in."""
    ended = run_source("import isaacgym; print(isaacgym.__file__)", "--allow-real", PYTHONPATH=str(real))
    assert ended.stdout.startswith(str(SHIM)), ended.stderr


def test_a_folder_without_a_package_is_no_isaac_gym(tmp_path):
    """The unpacked archive of Isaac Gym in the working directory is not an installed one."""
    (tmp_path / "isaacgym" / "python").mkdir(parents=True)
    ended = launched("--", sys.executable, "-c", "import isaacgym; print(isaacgym.__file__)", folder=tmp_path)
    assert ended.stdout.startswith(str(SHIM)), ended.stderr


def test_installing_in_a_running_process_does_the_same(tmp_path):
    """`install` makes the package importable, also for a spawned child; again it does nothing."""
    program = tmp_path / "program.py"
    program.write_text(
        "import multiprocessing\n"
        "from isaac_standin.install import Settings, install, settings\n"
        "def child():\n"
        "    import isaacgym\n"
        "    print(settings().threads, flush=True)\n"
        "if __name__ == '__main__':\n"
        "    install(Settings(threads=3, backend='cpu'))\n"
        "    install()\n"
        "    import isaacgym\n"
        "    started = multiprocessing.get_context('spawn').Process(target=child)\n"
        "    started.start()\n"
        "    started.join()\n"
    )
    command = [sys.executable, str(program)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, env=clean_environment())
    assert ended.stdout == "3\n", ended.stderr
    assert ended.stderr.count("isaac_standin:") == 1


@pytest.mark.parametrize("start", ["", "import isaacgym; "])
def test_installing_over_a_real_isaac_gym_is_refused(real, start):
    """Whether it is imported already, or could be."""
    source = start + "from isaac_standin.install import install; install()"
    environ = clean_environment(PYTHONPATH=str(real))
    ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, env=environ)
    assert ended.returncode == 1
    assert "StandinError: Isaac Gym itself can be imported" in ended.stderr


def test_settings_survive_the_environment():
    """What is exported is read again, and what is not set is removed."""
    chosen = Settings(backend="gpu", threads=3, physx_memory="1.5GB", contacts_per_env=5, allow_real=True)
    environ = {"ISAAC_STANDIN_ROWS_PER_ENV": "17", "PATH": "/bin"}
    chosen.export(environ)
    assert settings(environ) == chosen
    assert chosen.physx_bytes == 1_500_000_000
    Settings().export(environ)
    assert environ == {"PATH": "/bin"}


def test_flags_override_the_environment(monkeypatch):
    """A flag that is not given is as the environment says."""
    monkeypatch.setenv("ISAAC_STANDIN_THREADS", "5")
    monkeypatch.setenv("ISAAC_STANDIN_BACKEND", "gpu")
    chosen, command = launch.parse(["--backend", "cpu", "--", "python", "train.py", "--", "x"])
    assert (chosen.backend, chosen.threads) == ("cpu", 5)
    assert command == ["python", "train.py", "--", "x"]


@pytest.mark.parametrize(
    "variable, text, error",
    [
        ("ISAAC_STANDIN_THREAD", "2", ConfigError),
        ("ISAAC_STANDIN_BACKEND", "tpu", ConfigError),
        ("ISAAC_STANDIN_THREADS", "many", StandinError),
        ("ISAAC_STANDIN_ALLOW_REAL", "maybe", StandinError),
        ("ISAAC_STANDIN_PHYSX_MEMORY", "8", ConfigError),
    ],
)
def test_a_wrong_variable_is_refused(variable, text, error):
    """A misspelled name or a value that is none is not ignored."""
    with pytest.raises(error):
        settings({variable: text})


def test_the_shim_comes_first_on_the_path_and_once():
    """What PYTHONPATH had before stays behind it."""
    environ = launch.environment(Settings(), {"PYTHONPATH": os.pathsep.join(["/a", str(SHIM), "/b"])})
    assert environ["PYTHONPATH"].split(os.pathsep) == [str(SHIM), "/a", "/b"]
    again = launch.environment(Settings(), environ)
    assert again["PYTHONPATH"] == environ["PYTHONPATH"]


def test_a_gpu_that_is_asked_for_and_cannot_be_used_is_an_error(monkeypatch):
    """With `gpu` the reason is an error, with `auto` the CPU is used, and `cpu` does not look for a GPU."""
    obstacle = SimulatorError("the driver is too old")
    monkeypatch.setattr("mapush.device.mujoco_packages.why_no_warp", lambda: obstacle)
    with pytest.raises(StandinError) as caught:
        install.choose_backend(Settings(backend="gpu"))
    assert caught.value.cause == "the driver is too old"
    assert install.choose_backend(Settings()) == "cpu"
    monkeypatch.setattr("mapush.device.mujoco_packages.why_no_warp", lambda: None)
    assert install.choose_backend(Settings()) == "gpu"
    assert install.choose_backend(Settings(backend="cpu")) == "cpu"


def test_the_line_says_what_computes():
    """The GPU, or the number of threads on the CPU."""
    assert "(GPU)" in install.banner(Settings(), "gpu")
    assert "(CPU, 1 thread)" in install.banner(Settings(threads=1), "cpu")
    assert "(CPU, 7 threads)" in install.banner(Settings(threads=7), "cpu")


def test_a_python_without_mujoco_is_named(monkeypatch):
    """The message names the Python that lacks it."""

    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(install, "version", missing)
    with pytest.raises(StandinError) as caught:
        install.choose_backend(Settings(backend="cpu"))
    assert caught.value.where == sys.executable


def test_isaac_gyms_own_python_can_read_the_shim():
    """Python 3.8 gets to the message that it is too old, instead of a syntax error."""
    source = (SHIM / "isaacgym" / "__init__.py").read_text()
    ast.parse(source, feature_version=(3, 7))
    assert source.index("sys.version_info < (3, 11)") < source.index("from isaac_standin")
