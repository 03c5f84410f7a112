"""Contracts of the doctor: every planted problem of a machine is found with its fix, and nothing else is."""

from __future__ import annotations

import ctypes.util
import json
import os
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from harness import doctor
from harness.doctor import machine, training_stack, upstream_stack
from harness.doctor.line import OK, WARNING, WRONG, Broken, Line, once, probe

pytestmark = pytest.mark.harness

NEEDS_MUJOCO = pytest.mark.skipif(find_spec("mujoco") is None, reason="needs MuJoCo, and so Python 3.11")
GIB = 2**30


def test_torch_stays_in_the_process_that_tries_it():
    """The facts about torch are plain types; unpickling one of torch's own types would load torch in the doctor."""
    pytest.importorskip("torch")
    plain = (str, int, dict, type(None))
    assert {name for name, value in training_stack.torch_facts().items() if type(value) not in plain} == set()


@NEEDS_MUJOCO
def test_this_machine_can_train(capsys):
    """On the machine that runs these tests nothing that training needs is wrong, and every check has one line."""
    code = doctor.main(["--json", "--no-measurement"])
    report = json.loads(capsys.readouterr().out)
    wrong = [line for line in report["lines"] if line["status"] == WRONG]
    names = [line["name"] for line in report["lines"]]
    assert code == 0, wrong
    assert not wrong, wrong
    assert len(set(names)) == len(names) > 15
    assert not any("could not be checked" in line["found"] for line in report["lines"]), report["lines"]
    assert sum(report["count"].values()) == len(names)


def test_upstream_stack_is_wrong_only_if_it_is_asked_for(monkeypatch, capsys):
    """Without `--upstream` the upstream stack only warns; with it, a missing part is wrong."""
    monkeypatch.setattr(training_stack, "checks", lambda upstream: [])
    missing = Line("HARL", WRONG, "not installed", "clone it")
    monkeypatch.setattr(upstream_stack, "checks", lambda only_found: [lambda: missing])
    assert doctor.main([]) == 0
    assert "! HARL" in capsys.readouterr().out
    assert doctor.main(["--upstream"]) == 1
    printed = capsys.readouterr().out
    assert "x HARL" in printed
    assert "fix: clone it" in printed


def test_check_that_raises_is_a_line_and_the_others_go_on(monkeypatch):
    """A check that raises becomes a line with its name, which is wrong if training needs what it checks."""

    def odd_disk():
        raise OSError("no such device")

    monkeypatch.setattr(training_stack, "checks", lambda upstream: [odd_disk, lambda: Line("torch", OK, "2.3.1")])
    monkeypatch.setattr(machine, "checks", lambda: [odd_disk])
    monkeypatch.setattr(upstream_stack, "checks", lambda only_found: [odd_disk])
    lines = doctor.examine()
    assert [line.status for line in lines] == [WRONG, OK, WARNING, WARNING]
    assert lines[0].name == "odd disk"
    assert "no such device" in lines[0].found


TWO_CHECKS = """
import os, threading
from harness import doctor
from harness.doctor import machine, training_stack, upstream_stack

def refuse(thread):
    raise RuntimeError("can't start new thread")

if "NO_THREADS" in os.environ:
    threading.Thread.start = refuse
training_stack.checks = lambda old: [machine.processors]
machine.checks = lambda: [machine.display]
upstream_stack.checks = lambda only_found: []
raise SystemExit(doctor.main(["--json"] if "NO_THREADS" in os.environ else []))
"""


def doctor_in_a_process(stdout=subprocess.PIPE, **environ):
    """Run the doctor with only the checks of display and processors in a process of its own."""
    env = dict(os.environ, PYTHONUNBUFFERED="", **environ)
    return subprocess.run([sys.executable, "-c", TWO_CHECKS], stdout=stdout, stderr=subprocess.PIPE, env=env)


def test_examination_needs_no_threads():
    """If the system allows no more threads, the checks run one after the other."""
    done = doctor_in_a_process(NO_THREADS="yes")
    assert done.returncode == 0
    assert done.stderr == b""
    assert [line["name"] for line in json.loads(done.stdout)["lines"]] == ["processors", "display"]


@pytest.mark.parametrize("encoding, name", [("ascii", b"Gr\\xf6\\xdfe:1"), ("utf-8", "Größe:1".encode())])
def test_report_is_printed_in_any_encoding(encoding, name):
    """Characters that the encoding of stdout lacks are escaped."""
    done = doctor_in_a_process(DISPLAY="Größe:1", PYTHONIOENCODING=encoding)
    assert name in done.stdout
    assert done.stderr == b""


def test_report_that_cannot_be_written_says_so_in_one_line():
    """A full disk and a reader that has left cause no traceback, and the exit code stays the same."""
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "w") as full, open(writer, "w") as gone:
        for stdout, reason in ((full, b"No space left on device"), (gone, b"Broken pipe")):
            done = doctor_in_a_process(stdout)
            assert done.returncode == 0
            assert reason in done.stderr
            assert done.stderr.count(b"\n") == 1


WITHOUT_PACKAGES = """
import sys
for name in ("psutil", "numpy", "tyro", "typing_extensions", "rich"):
    sys.modules[name] = None
from harness.__main__ import main
sys.exit(main(["doctor", "--json"]))
"""


def test_missing_packages_are_lines_and_not_a_traceback():
    """Without psutil, numpy and tyro the doctor still runs, and reports what it therefore cannot check."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_PACKAGES], capture_output=True)
    assert done.stderr == b""
    lines = {line["name"]: line for line in json.loads(done.stdout)["lines"]}
    if find_spec("torch") is not None:
        assert lines["torch"]["found"] == "not tried, because psutil is not installed"
        assert lines["torch"]["fix"] == "pip install psutil"
    else:
        assert lines["torch"]["found"] == "not installed"
    if Path("/proc/meminfo").exists():
        assert lines["memory"]["found"].endswith("available")
    else:
        assert lines["memory"]["found"] == "could not be checked: psutil is missing"


def crash():
    """Crash as a broken library would."""
    ctypes.string_at(0)


def test_probe_survives_a_crash():
    """A library that kills the process which loads it becomes a line."""
    with pytest.raises(Broken) as caught:
        probe("library", crash)
    assert caught.value.line.status == WRONG
    assert caught.value.line.found.startswith("segmentation fault")
    assert caught.value.line.fix


def test_once_calls_once_and_answers_all_the_same():
    """However many threads ask, the function runs once, and all of them get its error."""
    asked = []

    def fail():
        asked.append(1)
        raise Broken(Line("torch", WRONG, "broken"))

    ask = once(fail)
    with ThreadPoolExecutor(4) as pool:
        errors = [pool.submit(ask).exception() for _ in range(4)]
    assert asked == [1]
    assert {error.line.found for error in errors} == {"broken"}


@pytest.mark.parametrize(
    "check, plant, status, named",
    [
        (machine.display, {"DISPLAY": ":4711"}, WARNING, "no X server answers"),
        (machine.display, {"DISPLAY": "nonsense:xx.y"}, WARNING, "not the name of a display"),
        (machine.display, {"DISPLAY": "localhost:10.0"}, OK, "localhost:10.0"),
        (machine.display, {"DISPLAY": ""}, OK, "none"),
        (machine.offscreen, {"MUJOCO_GL": "egl"}, WRONG, "import mujoco fails"),
        (machine.offscreen, {"MUJOCO_GL": ""}, WARNING, "neither EGL nor OSMesa"),
        (machine.libraries, {"LD_LIBRARY_PATH": "/no/such/place"}, WARNING, "/no/such/place"),
        (upstream_stack.vulkan, {"VK_ICD_FILENAMES": "/no/icd.json"}, WRONG, "/no/icd.json"),
        (upstream_stack.vulkan, {"VK_ICD_FILENAMES": ""}, WRONG, "libvulkan is not installed"),
    ],
)
def test_environment_variables_are_checked(monkeypatch, check, plant, status, named):
    """Displays, libraries and drivers that a variable names but that do not exist are found."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "VK_DRIVER_FILES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in plant.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    line = check()
    assert line.status == status
    assert named in line.found
    assert bool(line.fix) == (status != OK)


@pytest.mark.parametrize("free, status", [(500 * GIB, OK), (5 * GIB, WARNING), (GIB // 2, WRONG)])
def test_disk_must_hold_a_run(monkeypatch, free, status):
    """Little space is a warning, almost none is wrong."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert machine.disk().status == status


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which not even root can write")
def test_folder_that_cannot_be_written_is_wrong(monkeypatch):
    """A folder that cannot be written is not reported as a full disk."""
    monkeypatch.chdir("/proc")
    line = machine.disk()
    assert line.status == WRONG
    assert line.found.startswith("/proc cannot be written: ")
    assert "--run-dir" in line.fix


def test_folder_that_was_removed_is_wrong(monkeypatch, tmp_path):
    """Nothing can run in a folder that was removed, and the line of the disk says so."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    line = machine.disk()
    assert line.status == WRONG
    assert "removed" in line.found
    assert line.fix.startswith("cd")


NO_FILE_SIZE = """
import resource
from harness.doctor import machine

resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
print(machine.disk(), flush=True)
"""


def test_limit_of_file_size_is_wrong():
    """A limit of the file size has its own fix."""
    done = subprocess.run([sys.executable, "-c", NO_FILE_SIZE], stdout=-1, stderr=-1, text=True)
    assert "File too large" in done.stdout, done.stderr
    assert "fix: ulimit -f unlimited" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "available, limit, status", [(30, None, OK), (2, None, WARNING), (0.5, None, WRONG), (30, 2, WARNING)]
)
def test_memory_is_that_of_the_container(monkeypatch, tmp_path, available, limit, status):
    """The available memory is limited by the machine and by the container."""
    now = SimpleNamespace(available=int(available * GIB), total=64 * GIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: now)
    cgroup = tmp_path / "memory.max"
    cgroup.write_text("max\n" if limit is None else f"{limit * GIB}\n")
    monkeypatch.setattr(machine, "CONTAINER_MEMORY", (str(tmp_path / "missing"), str(cgroup)))
    assert machine.memory().status == status


@pytest.mark.parametrize("limit, status", [(65536, OK), (256, WARNING), (64, WRONG)])
def test_limit_of_open_files_is_judged(monkeypatch, limit, status):
    """Few open files are a warning, very few are wrong."""
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limit, limit))
    assert machine.files().status == status
