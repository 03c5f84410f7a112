"""The file of a film: written under a temporary name, renamed when it is complete."""

from __future__ import annotations

from pathlib import Path

from mapush.errors import ConfigError, MapushError

PARTIAL_SUFFIX = ".part"


def partial_of(path: Path) -> Path:
    """Return the temporary name under which the file `path` is written until it is complete."""
    return path.with_name(path.name + PARTIAL_SUFFIX)


def require_writable(path: Path) -> None:
    """Check that the file `path` can be written; a file that is already there is not changed.

    Raises:
      ConfigError: the file cannot be written.
    """
    what = f"cannot record to {path}"
    if not path.parent.is_dir():
        raise ConfigError(what, cause=f"the folder {path.parent} does not exist", fix=f"mkdir -p {path.parent}")
    if path.is_dir():
        raise ConfigError(what, cause="it is a folder", fix="name a file in it")
    try:
        partial_of(path).open("wb").close()
    except OSError as error:
        raise ConfigError(what, cause=str(error), fix="name a file in a folder that you can write to") from error
    partial_of(path).unlink()


def write_error(path: Path, reason: str) -> MapushError:
    """Return the error for a film that was started and could not be finished."""
    return MapushError(
        "the film could not be written",
        where=str(path),
        got=reason,
        cause="often a full disk",
        fix="write to a different disk, or record fewer --episodes",
    )
