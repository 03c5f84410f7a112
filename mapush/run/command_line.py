"""Command lines from dataclasses: a flag for each field, and `--help` from the docstrings."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any, Dict, Optional, Sequence, Type, TypeVar

import tyro
from typing_extensions import Literal, get_args, get_origin

Arguments = TypeVar("Arguments")

COMPLETION_FLAGS = ("--tyro-print-completion", "--tyro-write-completion")

_choices = tyro.constructors.ConstructorRegistry()


@_choices.primitive_rule
def _literal(info: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """List the choices of a `Literal` in `--help`, but let the dataclass refuse other values.

    The dataclass raises our own error, which suggests the closest choice; tyro would only list the choices.
    """
    if get_origin(info.type) is not Literal:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="{" + ",".join(get_args(info.type)) + "}",
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: isinstance(value, str),
        str_from_instance=lambda value: [value],
    )


def program(command: str) -> str:
    """Return how the user called a command, for `--help`: `mapush train` or `python -m mapush.train`."""
    script = Path(sys.argv[0])
    if script.stem == "mapush":
        return f"mapush {command}"
    if script.name == "__main__.py" and script.parent.name == "mapush":
        return f"python -m mapush {command}"
    return f"python -m mapush.{command}"


def tolerate_narrow_encodings() -> None:
    """Print `?` for a character that the encoding of the output lacks, as that of a pipe on Windows may."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def parse(
    kind: Type[Arguments],
    argv: Optional[Sequence[str]],
    command: str,
    *,
    default: Optional[Arguments] = None,
    description: Optional[str] = None,
) -> Arguments:
    """Return the dataclass `kind`, filled in from the words of a command line.

    A wrong flag ends the process with a message and exit code 2, and `--help` ends it with exit code 0.

    Args:
      kind: dataclass of the arguments.
      argv: the words after the name of the command; by default those of this process.
      command: name of the command, such as "train".
      default: values for the flags that are not given.
      description: first paragraph of `--help`; by default the docstring of `kind`.

    Raises:
      ConfigError: a value that the dataclass refuses.
    """
    tolerate_narrow_encodings()
    words = sys.argv[1:] if argv is None else list(argv)
    registry: Optional[tyro.constructors.ConstructorRegistry] = _choices
    if words and words[0] in COMPLETION_FLAGS:
        registry = None  # completion needs the choices as tyro knows them
    options: Dict[str, Any] = {"prog": program(command), "description": description, "registry": registry}
    if default is None:
        return tyro.cli(kind, args=words, **options)
    return tyro.cli(kind, args=words, default=default, **options)


def parse_known(kind: Type[Arguments], argv: Sequence[str], command: str) -> Arguments:
    """Return the dataclass `kind`, filled in from a command line that has other flags and `--help`, too."""
    arguments, _ = tyro.cli(
        kind, args=list(argv), prog=program(command), registry=_choices, return_unknown_args=True, add_help=False
    )
    return arguments
