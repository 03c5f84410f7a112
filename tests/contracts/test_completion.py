"""Contracts of completion in the shell: the script knows commands, flags and choices, and real shells run it."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from mapush.__main__ import COMMANDS, main
from mapush.run import completion
from mapush.run.completion import Words, script, words_of

pytestmark = pytest.mark.contracts

SHELLS = [shell for shell in completion.HEADS if shutil.which(shell)]
PROGRAM = {
    "train": Words(("--help", "--preset", "--num-envs"), {"--preset": ("quick", "gpu")}, ("cuboid", "walk")),
    "report": Words(("--help", "--out"), {}, ()),
}
TRIES = [
    (["tr"], ["train"]),
    ([""], ["train", "report"]),
    (["train", "w"], ["walk"]),
    (["train", "cuboid", ""], []),  # the shell then offers files
    (["train", "cuboid", "--n"], ["--num-envs"]),
    (["train", "--preset", ""], ["quick", "gpu"]),
    (["train", "--preset", "q"], ["quick"]),
    (["report", "run"], []),
    (["report", "--"], ["--help", "--out"]),
]
ASK = """
COMP_WORDS=(my-program {words}); COMP_CWORD={count}; COMPREPLY=()
_my_program
echo "${{COMPREPLY[*]}}"
"""


@pytest.fixture
def help_of(monkeypatch, capsys):
    """Return a function that returns what a command prints under `--help`, as the generator reads it."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")

    def read(command):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        return capsys.readouterr().out

    return read


def test_bash_completes_commands_flags_choices_and_first_words():
    """The function of the script, called as bash calls it, answers each of the tries."""
    asked = [script("bash", {"my-program": PROGRAM})]
    for words, _ in TRIES:
        quoted = " ".join(f"'{word}'" for word in words)
        asked.append(ASK.format(words=quoted, count=len(words)))
    done = subprocess.run(["bash", "-c", "".join(asked)], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert [line.split() for line in done.stdout.splitlines()] == [answers for _, answers in TRIES]


@pytest.mark.parametrize("shell", SHELLS)
def test_shell_registers_the_function(shell):
    """Each shell that is installed here reads its script without a message."""
    source = script(shell, {"my-program": PROGRAM})
    query = {"bash": "complete -p my-program", "zsh": "print -- $_comps[my-program]"}[shell]
    done = subprocess.run([shell], input=source + "\n" + query, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert "_my_program" in done.stdout


@pytest.mark.parametrize(
    "command, flag, choices",
    [
        ("train", "--preset", ("default", "quick", "gpu", "published")),
        ("evaluate", "--viewer", ("auto", "native", "web", "none")),
        ("train", "--happo.lr", None),
        ("evaluate", "--no-untrained", None),
    ],
)
def test_help_gives_flags_and_choices(help_of, command, flag, choices):
    """Flags are read where `--help` defines them, with their values, if they are a fixed set."""
    words = words_of(help_of(command))
    assert flag in words.flags
    assert words.choices.get(flag) == choices
    assert words.first == ("cuboid", "tblock", "cylinder", "any", "walk")
    assert len(set(words.flags)) == len(words.flags)


def test_help_of_argparse_is_understood():
    """Some commands of the harness use it."""
    text = (
        "usage: python -m harness doctor [-h] [--json]\n\noptions:\n  -h, --help  show this\n  --json      print --all"
    )
    assert words_of(text) == Words(("--help", "--json"), {}, ())


def test_unknown_shell_suggests_the_closest(capsys):
    """The command is refused before anything is read."""
    assert main(["completion", "bsh"]) == 2
    assert "unknown shell 'bsh'; did you mean 'bash'?" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.mujoco
def test_printed_script_knows_every_command_of_both_programs():
    """The complete command: it asks all commands for their help, a quarter of a minute."""
    from harness.__main__ import COMMANDS as HARNESS

    command = [sys.executable, "-m", "mapush", "completion", "bash"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f'compgen -W "{" ".join(COMMANDS)}"' in done.stdout
    assert f'compgen -W "{" ".join(HARNESS)}"' in done.stdout
    for name in COMMANDS:
        assert f'" {name} -"' in done.stdout
