"""All commands of mapush as one: `mapush COMMAND ...` or `python -m mapush COMMAND ...`."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Dict, List, Optional, Sequence, Tuple

from mapush import __version__
from mapush.errors import unknown

EXIT_BROKEN_PIPE = 128 + 13  # as of a program that SIGPIPE ends
COMMANDS: Dict[str, Tuple[str, str]] = {  # name: module with `main`, and a line of help
    "train": ("mapush.train", "train a team to push an object, or the walking policy"),
    "evaluate": ("mapush.evaluate", "measure policies by the published protocol"),
    "watch": ("mapush.evaluate", "show episodes in a window or a browser, or record them"),
    "report": ("mapush.report", "write a page about training runs"),
    "export": ("mapush.export", "write a trained policy as ONNX, TorchScript, for HARL or as a file of ours"),
    "size": ("mapush.size", "measure how large the contact buffers on a GPU must be"),
    "replay": ("mapush.replay", "repeat the failure of a run"),
    "completion": ("mapush.run.completion", "print a script that completes commands and flags in bash or zsh"),
}


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command that the first word names.

    Returns:
      The exit code of the command; 2 for an unknown one.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _dispatch(words)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except BrokenPipeError:  # as in `mapush --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # takes what is still to be flushed at exit
        return EXIT_BROKEN_PIPE


def _dispatch(words: List[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0
    if words[0] == "--version":
        print(f"mapush {__version__}")
        return 0
    command = words.pop(0)
    if command not in COMMANDS:
        print(unknown("command", command, COMMANDS), file=sys.stderr)
        return 2
    if command == "watch":
        words += ["--mode", "viewer"]
    module = importlib.import_module(COMMANDS[command][0])
    return module.main(words)


def _help() -> str:
    lines = ["usage: mapush COMMAND [--help] ...", "", "Train and evaluate teams of robots that push an object.", ""]
    for name, (_, text) in COMMANDS.items():
        lines.append(f"  {name:<12}{text}")
    lines += ["", "mapush COMMAND --help lists the flags of a command; mapush --version prints the version."]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
