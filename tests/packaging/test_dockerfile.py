"""Contracts of the Dockerfile, without Docker: what it copies and installs exists, and what it starts works."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import urllib.request

import pytest
import yaml
from documented import PYTORCH_INDEX, ROOT, arguments_of, commands, extras, pinned, pip_installs
from interrupts import interruptible
from wheels import all_of, clean_environment, copied, dockerfile

from mapush.__main__ import COMMANDS
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.run import command_line
from mapush.train import parse as parse_training

pytestmark = [pytest.mark.packaging, pytest.mark.mujoco]

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
ARGUMENTS = dict(rest.split("=") for rest in all_of("ARG"))
GPU = ["--build-arg", "TORCH=cu130", "--build-arg", "EXTRAS=viewer,gpu"]


def installs():
    """Return the words of each `RUN pip install`, as the build for the CPU sees them."""
    found = []
    for rest in all_of("RUN"):
        for name, value in ARGUMENTS.items():
            rest = rest.replace("${" + name + "}", value)
        if rest.startswith("pip install "):
            found.append(shlex.split(rest))
    return found


def started():
    """Return the words that the image runs by default."""
    (entrypoint,) = all_of("ENTRYPOINT")
    (command,) = all_of("CMD")
    return json.loads(entrypoint) + json.loads(command)


def documented(verb):
    """Return the arguments of each `docker VERB` in docs/install.md."""
    return [words[1:] for words in arguments_of("docker", "docs/install.md") if words[0] == verb]


# -- the build -------------------------------------------------------------------------------------------------------


def test_dockerfile_copies_only_what_git_tracks_and_the_builder_sees():
    """Every source exists in a fresh clone, and .dockerignore lets exactly these through."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    tops = {path.partition("/")[0] for path in tracked}
    names = list(copied())
    if tracked:  # a source distribution has no git
        assert set(names) <= tops
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert sorted(line[1:] for line in ignored if line.startswith("!")) == sorted(names)


def test_constraints_are_copied_before_pip_reads_them():
    """Each pip line finds its file in the layer that it runs in."""
    seen = set()
    count = 0
    for instruction in dockerfile():
        if instruction.name == "COPY":
            seen.update(shlex.split(instruction.rest)[:-1])
        if instruction.rest.startswith("pip install"):
            words = shlex.split(instruction.rest)
            assert words[words.index("-c") + 1] in seen
            count += 1
    assert count == 2


def test_image_gets_what_the_readme_installs():
    """The builds for CPU and GPU name the indexes and extras of the README's two pip lines."""
    torch, ours = installs()
    assert torch[-1] == "torch"
    cpu, gpu = pip_installs("README.md")
    assert torch[torch.index("--extra-index-url") + 1] == cpu[cpu.index("--extra-index-url") + 1]
    assert ours[-1] == cpu[-1]
    changed = dict(word.split("=") for word in GPU if "=" in word)
    assert set(changed) == set(ARGUMENTS)
    index = "https://download.pytorch.org/whl/" + changed["TORCH"]
    assert index == gpu[gpu.index("--extra-index-url") + 1]
    assert PYTORCH_INDEX.fullmatch(index)
    assert f".[{changed['EXTRAS']}]" == gpu[-1]
    assert set(changed["EXTRAS"].split(",")) <= set(extras())


def test_second_install_keeps_the_pytorch_of_the_first():
    """Both take the same constraints, so that pip finds the CPU build sufficient and fetches no CUDA."""
    assert pinned("torch")
    assert [words[words.index("-c") + 1] for words in installs()] == ["constraints.txt"] * 2


def test_image_has_the_python_and_the_opengl_library_that_ci_tests():
    """The base image's Python is in CI's matrix, and films are drawn by the same library."""
    workflow = yaml.safe_load(WORKFLOW.read_text())
    (base,) = all_of("FROM")
    version = re.fullmatch(r"python:(\d\.\d+)-slim-\w+", base)
    assert version
    assert version[1] in workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    (apt,) = [rest for rest in all_of("RUN") if "apt-get install" in rest]
    (packages,) = re.findall(r"--no-install-recommends (.*?) +&&", apt)
    assert set(packages.split()) <= set(WORKFLOW.read_text().split())


# -- what the pages say ----------------------------------------------------------------------------------------------


def test_documented_builds_are_those_of_the_dockerfile():
    """The two build commands of the page are the two in the head of the Dockerfile."""
    head = (ROOT / "Dockerfile").read_text().partition("FROM")[0]
    in_head = [shlex.split(line) for line in re.findall(r"^#\s+docker build (.*)$", head, re.MULTILINE)]
    assert documented("build") == in_head == [["-t", "mapush", "."], ["-t", "mapush:gpu", *GPU, "."]]


def test_documented_runs_are_understood():
    """What follows the image's name is a command line of mapush; a run folder that is kept is a mounted one."""
    runs = documented("run")
    assert len(runs) == 3
    trained = []
    for words in runs:
        (at,) = [index for index, word in enumerate(words) if word in ("mapush", "mapush:gpu")]
        command = words[at + 1 :]
        if command:
            assert command[0] == "train"
            parse_training(command[1:])
            assert "$PWD/runs:/data/runs" in words
            trained.append(words[at])
    assert trained == ["mapush", "mapush:gpu"]
    assert all_of("WORKDIR")[-1] == "/data"


def test_page_of_the_image_is_published_where_it_is_served():
    """The port of the command is the one that the image exposes and that the page publishes, to this machine only."""
    words = started()
    port = words[words.index("--port") + 1]
    assert all_of("EXPOSE") == [port]
    assert f"127.0.0.1:{port}:{port}" in documented("run")[0]
    program, command, *rest = words
    assert program == "mapush"
    assert command in COMMANDS
    config = command_line.parse(EvaluateConfig, [*rest, "--mode", "viewer"], "watch")
    assert (config.viewer, config.host) == ("web", "0.0.0.0")
    assert ["docker", "build", "-t", "mapush", "."] in list(commands("docs/install.md"))


# -- what the image starts -------------------------------------------------------------------------------------------


@pytest.mark.web
def test_default_command_serves_the_page_and_ends_by_the_stop_signal(python, tmp_path):
    """The installed wheel, in an empty folder, serves the page to whoever has the printed token; it takes seconds."""
    words = started()
    words[0] = str(python.with_name(words[0]))
    words[words.index("--port") + 1] = "0"
    environment = dict(clean_environment(), HOME=str(tmp_path), USER="mapush")
    (stop,) = all_of("STOPSIGNAL")
    with interruptible():
        process = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            address = printed_address(process.stdout)
            host = re.sub(r"//[^:/]+:", "//127.0.0.1:", address)
            with urllib.request.urlopen(host, timeout=30) as page:
                assert page.status == 200
            process.send_signal(getattr(signal, stop))
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
    assert "?token=" in address


def printed_address(lines):
    """Return the address that the program prints."""
    for line in lines:
        found = re.match(r"watch at (\S+)", line)
        if found:
            return found[1]
    raise AssertionError("no address was printed")
