"""Completion in the shell: `mapush completion bash` prints a script that completes `mapush` and `mapush-harness`.

The script is made from what the commands say under `--help`, so it knows every command, flag and choice, and nothing
runs when a key is pressed.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import re
import subprocess
import sys
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

import tyro
from typing_extensions import Annotated, Literal

from mapush.errors import MapushError, unknown
from mapush.run import command_line
from mapush.run.shown_progress import ShownProgress, SilentProgress

PROGRAMS = {"mapush": "mapush", "mapush-harness": "harness"}
"""For each console script, the module that it runs."""

_COMMAND = re.compile(r"^  ([a-z]+) +\S", re.MULTILINE)
_FLAG = re.compile(r"^(?:│ |  )(?:-\w, )?(--[a-z][^│]*?)(?:  |│|$)", re.MULTILINE)
_NAME = re.compile(r"--[a-z][\w.-]*")
_CHOICES = re.compile(r"\{([^}]*)\}")


@dataclasses.dataclass(frozen=True)
class CompletionConfig:
    """Print a script that completes commands, flags and choices in your shell."""

    shell: Annotated[tyro.conf.Positional[Literal["bash", "zsh"]], tyro.conf.arg(metavar="{bash,zsh}")] = "bash"
    """The shell that reads the script."""

    def __post_init__(self) -> None:
        if self.shell not in HEADS:
            raise unknown("shell", self.shell, HEADS)


@dataclasses.dataclass(frozen=True)
class Words:
    """What can follow a command.

    Attributes:
      flags: its flags.
      choices: for each flag with a fixed set of values, these.
      first: the values of its first word.
    """

    flags: Tuple[str, ...]
    choices: Dict[str, Tuple[str, ...]]
    first: Tuple[str, ...]


HEADS = {
    "bash": "",
    "zsh": "autoload -Uz compinit bashcompinit && compinit && bashcompinit\n",
}
"""For each shell, the lines before the functions; zsh understands bash's when asked to."""


def script(shell: str, programs: Dict[str, Dict[str, Words]]) -> str:
    """Return the script for a shell.

    Args:
      shell: bash or zsh.
      programs: for each program, its commands and what can follow them.
    """
    parts = ["# made by: mapush completion " + shell + "\n" + HEADS[shell]]
    for program, commands in programs.items():
        choices: List[str] = []
        others: List[str] = []
        for command, words in commands.items():
            for flag, values in words.choices.items():
                choices.append(_case(f'"{command} {flag}"', values))
            others.append(_case(f'*" {command} -"*', words.flags))
            if words.first:
                others.append(_case(f'"2 {command} "*', words.first))
        parts.append(_function(program, commands, choices, others))
    return "\n".join(parts)


def _function(program: str, commands: Iterable[str], choices: Sequence[str], others: Sequence[str]) -> str:
    """Return a function that completes a program.

    Args:
      program: its name.
      commands: names of its commands.
      choices: a case for each flag with values, which follow the flag.
      others: a case for each command, for its flags and its first word.
    """
    function = program.replace("-", "_")
    all_commands = " ".join(commands)
    choices_lines = "\n".join(choices)
    others_lines = "\n".join(others)
    return f"""\
_{function}() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" words=""
    if [[ $COMP_CWORD -eq 1 ]]; then
        COMPREPLY=($(compgen -W "{all_commands}" -- "$current"))
        return
    fi
    case "${{COMP_WORDS[1]}} $previous" in
{choices_lines}
    esac
    if [[ -z "$words" ]]; then
        case "$COMP_CWORD ${{COMP_WORDS[1]}} $current" in
{others_lines}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _{function} {program}
"""


def _case(pattern: str, words: Sequence[str]) -> str:
    return f'        {pattern}) words="{" ".join(words)}" ;;'


def words_of(text: str) -> Words:
    """Return what can follow a command, from what it prints under `--help`."""
    flags: List[str] = []
    choices: Dict[str, Tuple[str, ...]] = {}
    for line in _FLAG.findall(text):
        names = _NAME.findall(line)
        flags.extend(names)
        values = _values(line)
        if values:
            choices[names[0]] = values
    usage = text.partition("\n\n")[0]
    return Words(tuple(flags), choices, _values(usage))


def _values(line: str) -> Tuple[str, ...]:
    """Return the values that a line of `--help` lists in braces; None, which is the default of a flag, is not typed."""
    found = _CHOICES.search(line)
    if found is None:
        return ()
    return tuple(value for value in found[1].split(",") if value not in ("", "None"))


def read_help(module: str, progress: Optional[SilentProgress] = None) -> Dict[str, Words]:
    """Return the commands of a module that has some, and what can follow each.

    Args:
      module: name of the module.
      progress: gets each command whose help was read.
    """
    progress = progress or SilentProgress()
    commands = _COMMAND.findall(_help(module))
    progress.stage(f"reading --help of every command of {module}", len(commands), "commands")
    words: Dict[str, Words] = {}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        texts = pool.map(_help, [module] * len(commands), commands)
        for command, text in zip(commands, texts):
            words[command] = words_of(text)
            progress.update(len(words))
    return words


def _help(module: str, *words: str) -> str:
    """Return what `python -m MODULE WORDS --help` prints.

    Raises:
      MapushError: it prints no help.
    """
    command = [sys.executable, "-m", module, *words, "--help"]
    env = dict(os.environ, COLUMNS="80", NO_COLOR="1", PYTHONIOENCODING="utf-8")
    done = subprocess.run(command, env=env, capture_output=True)
    if done.returncode != 0:
        got = done.stderr.decode(errors="replace").strip()
        raise MapushError("a command prints no help", where=" ".join(command[1:]), got=got)
    return done.stdout.decode("utf-8")


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Print the script for a shell; return the exit code."""
    try:
        shell = command_line.parse(CompletionConfig, argv, "completion").shell
        programs: Dict[str, Dict[str, Words]] = {}
        with ShownProgress() as progress:
            for program, module in PROGRAMS.items():
                progress.stage(f"reading --help of {program}")
                programs[program] = read_help(module, progress)
    except MapushError as error:
        print(error, file=sys.stderr)
        return 2
    print(script(shell, programs))
    return 0
