"""Contracts of the first hour: what README and docs/install.md say to type exists and is understood."""

from __future__ import annotations

import re
import subprocess

import pytest
from documented import PAGES, PYTORCH_INDEX, ROOT, arguments_of, commands, extras, pinned, pip_installs

from harness.__main__ import COMMANDS as HARNESS_COMMANDS
from mapush.__main__ import COMMANDS
from mapush.evaluation.evaluate_config import EvaluateConfig
from mapush.run import command_line
from mapush.train import parse as parse_training

pytestmark = pytest.mark.packaging

MOST_LINES, MOST_WORDS = 120, 1000
LINK = re.compile(r"\]\(([^)#:]+)(?:#[\w-]+)?\)")


def test_readme_shows_a_policy_with_three_commands():
    """Clone, install into `.venv`, watch: each names its programs by path, so that no shell has to be prepared."""
    typed = list(commands("README.md"))
    assert typed[0] == ["git", "clone", "REPOSITORY", "mapush"]
    assert typed[1] == ["cd", "mapush"]
    assert typed[2] == ["python3", "-m", "venv", ".venv"]
    assert typed[3][:2] == [".venv/bin/pip", "install"]
    assert typed[4][:2] == [".venv/bin/mapush", "watch"]


def test_readme_is_short():
    """A reader sees all of it on two pages."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert len(text.split()) <= MOST_WORDS


@pytest.mark.parametrize("page", [*PAGES, "docs/index.md"])
def test_links_lead_to_files(page):
    """Every relative link of the page names a file that is in the repository."""
    folder = (ROOT / page).parent
    links = LINK.findall((ROOT / page).read_text(encoding="utf-8"))
    assert links
    missing = [link for link in links if not (folder / link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_pip_installs_what_exists(page):
    """Constraints, extras and PyTorch's own index are named as they are."""
    installs = pip_installs(page)
    assert installs
    for words in installs:
        assert (ROOT / words[words.index("-c") + 1]).is_file()
        assert PYTORCH_INDEX.fullmatch(words[words.index("--extra-index-url") + 1])
        (wanted,) = re.findall(r"^\.\[(.+)\]$", words[words.index("-e") + 1])
        assert set(wanted.split(",")) <= set(extras())


def test_uv_installs_the_same_as_pip():
    """The line for uv differs only in how it names the build of PyTorch."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"uv venv --python 3.11 && (uv pip install .*)$", text, re.MULTILINE)
    pip = " ".join(pip_installs("README.md")[0]).replace("[viewer]", '"[viewer]"')
    expected = pip.replace("--extra-index-url https://download.pytorch.org/whl/cpu", "--torch-backend cpu")
    assert line.replace("uv pip install ", "").replace('"', "") == expected.replace('"', "")


def test_constraints_pin_a_release_of_pytorch():
    """A pin with a local part, such as +cpu, would exclude the builds of other machines."""
    assert re.fullmatch(r"\d+\.\d+\.\d+", pinned("torch"))


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_mapush_are_understood(page):
    """Every documented command line is parsed without an error; nothing is run."""
    lines = arguments_of("mapush", page)
    assert lines
    for command, *words in lines:
        assert command in COMMANDS
        if command == "train":
            parse_training(words)
        if command in ("evaluate", "watch"):
            if command == "watch":
                words += ["--mode", "viewer"]
            command_line.parse(EvaluateConfig, words, command)


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_harness_exist(page):
    """Every documented command of the harness is one."""
    for command, *_ in arguments_of("harness", page) + arguments_of("mapush-harness", page):
        assert command in HARNESS_COMMANDS


def test_released_readme_names_the_repository(tmp_path):
    """`make dist REPOSITORY=...` puts the address into the clone line and into the links, also that of the notebook."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").partition("sed -E -i '")[2].partition("'")[0]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script = recipe.replace("$(REPOSITORY)", "https://github.com/OWNER/NAME")
    script = script.replace("$$", "$")
    done = subprocess.run(["sed", "-E", script], input=readme, capture_output=True, text=True, check=True)
    assert "git clone https://github.com/OWNER/NAME mapush" in done.stdout
    assert "(https://github.com/OWNER/NAME/blob/main/examples/first_hour.ipynb)" in done.stdout
    assert "REPOSITORY" not in done.stdout
    assert "](docs/" not in done.stdout


@pytest.mark.parametrize("words, index", [([], []), (["TORCH=cpu"], ["https://download.pytorch.org/whl/cpu"])])
def test_make_installs_the_build_of_pytorch_that_is_asked_for(words, index):
    """`make install TORCH=cpu` names PyTorch's own index; without it, the pip of the machine decides."""
    command = ["make", "--dry-run", "--always-make", "VENV=no-such-folder", "install", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (line,) = [line for line in done.stdout.splitlines() if line.endswith(" torch")]
    assert [match[0] for match in PYTORCH_INDEX.finditer(line)] == index
